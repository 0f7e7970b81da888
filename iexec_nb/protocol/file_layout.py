"""The CID that an IPFS node gives to a file, computed from the file's bytes as they come.

How a file is cut into blocks decides its CID. A node with default settings cuts it into chunks of 256 KiB under a
balanced tree of 174 links a node; newer programs have other defaults. This file builds those trees, in one pass and
without keeping the content: to know the CID of what is uploaded, to serve the blocks of a file that lies on disk, and
to check what a gateway sends that serves whole files only.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from iexec_nb.errors import ValidationError
from iexec_nb.protocol.cid import DAG_PB, RAW, SHA256, Cid, varint
from iexec_nb.protocol.types import shown

CHUNK_BYTES = 262_144
LINKS_PER_NODE = 174

_FILE = 2

Keep = Callable[[Cid, int, int, bytes | None], object]
"""Takes the CID of a block, its part of the file (offset and length), and the block itself unless it is a leaf."""


@dataclass(frozen=True, slots=True)
class Layout:
    """How a program cuts files.

    Parameters
    ----------
    version
        Of the CIDs that it makes.
    raw_leaves
        Whether a leaf is the plain bytes; else it is wrapped in a node.
    chunk_bytes
        Size of a leaf in bytes.
    links_per_node
        Children of an inner node.
    """

    version: int
    raw_leaves: bool
    chunk_bytes: int = CHUNK_BYTES
    links_per_node: int = LINKS_PER_NODE


LAYOUTS = (
    Layout(0, raw_leaves=False),
    Layout(1, raw_leaves=True),
    Layout(1, raw_leaves=False),
    Layout(1, raw_leaves=True, chunk_bytes=2**20, links_per_node=1024),
    Layout(1, raw_leaves=True, chunk_bytes=2**20),
    Layout(0, raw_leaves=False, chunk_bytes=2**20),
)
"""What is in use: kubo's defaults for both versions, older programs that make version 1, Helia and kubo's profile
``unixfs-v1-2025``, kubo's ``test-cid-v1``, and kubo told to use larger chunks."""


@dataclass(frozen=True, slots=True)
class _Node:
    cid: Cid
    file_bytes: int
    dag_bytes: int


def leaf_frame(size: int, kind: int = _FILE) -> tuple[bytes, bytes]:
    """Return what stands before and after the bytes of a leaf that is a node.

    Parameters
    ----------
    size
        Of the bytes.
    kind
        2 (a file), or 0 as older programs write leaves.
    """
    head = bytes([0x08, kind]) + (b"\x12" + varint(size) if size else b"")
    tail = b"\x18" + varint(size)
    return b"\x0a" + varint(len(head) + size + len(tail)) + head, tail


def is_leaf(cid: Cid, data: bytes | memoryview) -> bool:
    """Return whether a leaf with these bytes of a file is the block that `cid` names."""
    if cid.codec == RAW:
        return cid.names(data)
    frames = (leaf_frame(len(data), kind) for kind in (_FILE, 0))
    return cid.codec == DAG_PB and any(cid.names(head, data, tail) for head, tail in frames)


def _field(number: int, payload: bytes) -> bytes:
    return bytes([number << 3 | 2]) + varint(len(payload)) + payload


class Tree:
    """Balanced tree of one file, built leaf by leaf; it holds one node's links per level.

    Parameters
    ----------
    layout
        How the file is cut.
    keep
        Is told of each block when it is complete, children before their parents.
    """

    def __init__(self, layout: Layout, keep: Keep | None = None) -> None:
        self.layout = layout
        self._keep = keep
        self._rest = bytearray()
        self._bytes = 0
        self._levels: list[list[_Node]] = [[]]

    def update(self, data: bytes | bytearray | memoryview) -> None:
        """Add the next bytes of the file."""
        view = memoryview(data).cast("B")
        size = self.layout.chunk_bytes
        if self._rest:
            missing = size - len(self._rest)
            self._rest += view[:missing]
            view = view[missing:]
            if len(self._rest) < size:
                return
            self._push(self._leaf(memoryview(bytes(self._rest))), 0)
            self._rest.clear()
        whole = len(view) - len(view) % size
        for at in range(0, whole, size):
            self._push(self._leaf(view[at : at + size]), 0)
        self._rest += view[whole:]

    def root(self) -> Cid:
        """Return the CID of everything so far; without `keep`, `update` may go on afterwards."""
        levels = [list(level) for level in self._levels]
        done = self._bytes
        if self._rest or levels == [[]]:
            self._push(self._leaf(memoryview(bytes(self._rest))), 0, levels)
        height = 0
        while height + 1 < len(levels) or len(levels[height]) > 1:
            self._push(self._parent(levels[height]), height + 1, levels)
            height += 1
        self._bytes = done
        return levels[height][0].cid

    def _push(self, node: _Node, height: int, levels: list[list[_Node]] | None = None) -> None:
        levels = self._levels if levels is None else levels
        if height == len(levels):
            levels.append([])
        # A full node is closed only when another child comes: 174 chunks are one node, not a node in a node.
        if len(levels[height]) == self.layout.links_per_node:
            self._push(self._parent(levels[height]), height + 1, levels)
            levels[height] = []
        levels[height].append(node)

    def _leaf(self, chunk: memoryview) -> _Node:
        size = len(chunk)
        if self.layout.raw_leaves:
            node = _Node(Cid(1, RAW, hashlib.sha256(chunk).digest()), size, size)
        else:
            head, tail = leaf_frame(size)
            hasher = hashlib.sha256(head)
            hasher.update(chunk)
            hasher.update(tail)
            cid = Cid(self.layout.version, DAG_PB, hasher.digest())
            node = _Node(cid, size, len(head) + size + len(tail))
        if self._keep is not None:
            self._keep(node.cid, self._bytes, size, None)
        self._bytes += size
        return node

    def _parent(self, children: list[_Node]) -> _Node:
        links = b"".join(
            _field(2, _field(1, bytes(child.cid)) + b"\x12\x00\x18" + varint(child.dag_bytes)) for child in children
        )
        size = sum(child.file_bytes for child in children)
        sizes = b"".join(b"\x20" + varint(child.file_bytes) for child in children)
        block = links + _field(1, b"\x08\x02\x18" + varint(size) + sizes)
        cid = Cid(self.layout.version, DAG_PB, hashlib.sha256(block).digest())
        if self._keep is not None:
            self._keep(cid, 0, size, block)
        return _Node(cid, size, len(block) + sum(child.dag_bytes for child in children))


class Hasher:
    """Compute the CID that ``ipfs add`` gives to a file, from its bytes as they come.

    Parameters
    ----------
    versions
        The CID versions wanted, 0 (dag-pb leaves) and 1 (raw leaves); both by default. Each costs a SHA-256 pass.
    chunk_bytes
        Size of a leaf in bytes.
    links_per_node
        Children of an inner node.
    """

    def __init__(self, *versions: int, chunk_bytes: int = CHUNK_BYTES, links_per_node: int = LINKS_PER_NODE) -> None:
        self._trees = {
            version: Tree(Layout(version, version == 1, chunk_bytes, links_per_node)) for version in versions or (0, 1)
        }

    def update(self, data: bytes | bytearray | memoryview) -> None:
        """Add the next bytes of the file."""
        for tree in self._trees.values():
            tree.update(data)

    def cid(self, version: int = 0) -> str:
        """Return the CID of the bytes so far, as text.

        Parameters
        ----------
        version
            0 for ``Qm...``, 1 for ``baf...``; one of those given to the constructor.
        """
        return str(self._trees[version].root())


def content_cid(data: bytes | bytearray | memoryview, version: int = 0) -> str:
    """Return the CID that ``ipfs add`` gives to `data`, as text.

    Parameters
    ----------
    data
        The whole file.
    version
        0 for ``Qm...`` (default of a node), 1 for ``baf...``.
    """
    hasher = Hasher(version)
    hasher.update(data)
    return hasher.cid(version)


def names_file(cid: Cid, read: Callable[[], Iterable[bytes]]) -> bool:
    """Return whether a CID is that of a whole file, for a layout that is in use.

    Parameters
    ----------
    cid
        Of one block with the file's bytes, or of the root of a tree.
    read
        Gives the bytes of the file from the start; called once for each layout that comes into question.

    Raises
    ------
    ValidationError
        When the CID names something that is neither a UnixFS node nor raw bytes.
    """
    if cid.codec not in (DAG_PB, RAW):
        raise not_a_file(cid)
    if (hasher := cid.hasher()) is None or cid.codec == RAW:
        if hasher is None:
            return cid.names(b"".join(read()))
        for chunk in read():
            hasher.update(chunk)
        return hasher.digest() == cid.digest
    # A tree that was made with version 0 may be named by a CID of version 1; the digest of its root is the same.
    likely = sorted(LAYOUTS, key=lambda layout: layout.version != cid.version)
    for layout in likely if cid.hash_code == SHA256 else ():
        tree = Tree(layout)
        for chunk in read():
            tree.update(chunk)
        root = tree.root()
        if (root.digest, root.codec) == (cid.digest, cid.codec):
            return True
    return False


def not_a_file(cid: Cid) -> ValidationError:
    """Return the error for a CID whose codec says that it is neither a file nor a folder."""
    return ValidationError(
        f"the content of {shown(str(cid))} cannot be checked",
        context={"codec": hex(cid.codec), "rule": "the CID of a file: codec 0x70 (dag-pb) or 0x55 (raw)"},
        hint="add the file with `ipfs add` and use the CID that it prints",
    )

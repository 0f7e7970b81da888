"""Files and folders as blocks: what a block says, and which blocks a file still needs.

Content on IPFS is a graph of blocks (dag-pb with UnixFS inside, or raw bytes), each named by its hash, so that whoever
holds a name can check every block and from the blocks every byte, however the file was cut and whoever sends it. That
a block has the right hash says nothing about the honesty of who made it: sizes in it may be lies, and a few kilobytes
can declare petabytes. So what a block declares is held against what was declared of it, and the work is bounded.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from iexec_nb.errors import IpfsGatewayCallError, UnsafeArchiveError, ValidationError
from iexec_nb.protocol.cid import DAG_PB, RAW, Cid
from iexec_nb.protocol.protobuf import fields
from iexec_nb.protocol.types import shown

MAX_BLOCK_BYTES = 4 * 2**20
"""The most that one block may hold. Nodes exchange blocks of at most 2 MiB."""
MAX_LINKS = 2**16
"""The most links of nodes that are being read at the same time: a node within a node, and so on."""
MAX_DEPTH = 64

_FREE_BLOCKS = 2**16
_SMALL_BLOCK_BYTES = 4096
_BLOCKS_PER_FILE = 8
_BYTES_AS_A_BLOCK = 128

RAW_BYTES, DIRECTORY, FILE, METADATA, SYMLINK, SHARD = range(6)
_KINDS = ("raw", "folder", "file", "metadata", "symlink", "folder")


@dataclass(frozen=True, slots=True)
class Link:
    """One child of a node: its name (empty within a file) and its CID."""

    name: str
    cid: Cid


@dataclass(frozen=True, slots=True)
class Node:
    """What a dag-pb block says, when it is a UnixFS node.

    Parameters
    ----------
    kind
        ``RAW_BYTES``, ``DIRECTORY``, ``FILE``, ``METADATA``, ``SYMLINK`` or ``SHARD`` (a part of a large folder).
    data
        Bytes of the file that the node holds itself; they come before those of its children.
    size
        Bytes of the file in all, where it is one.
    blocksizes
        Bytes that each child brings to the file.
    links
        The children.
    fanout
        Of a shard: how many places it has.
    """

    kind: int
    data: bytes
    size: int
    blocksizes: tuple[int, ...]
    links: tuple[Link, ...]
    fanout: int

    @property
    def is_file(self) -> bool:
        """Whether it is a file, or a part of one."""
        return self.kind in (FILE, RAW_BYTES)

    @property
    def is_folder(self) -> bool:
        """Whether it is a folder, or the root of a large one."""
        return self.kind in (DIRECTORY, SHARD)

    @property
    def what(self) -> str:
        """The kind in one word for messages."""
        return _KINDS[self.kind]


def decode(cid: Cid, block: bytes) -> Node:
    """Return what a block says that was checked against its CID.

    Raises
    ------
    ValidationError
        When it is not a UnixFS node, or contradicts itself.
    """
    if cid.codec == RAW:
        return Node(FILE, block, len(block), (), (), 0)
    if cid.codec != DAG_PB:
        raise malformed(cid, f"its codec is {cid.codec:#x}, neither dag-pb nor raw")
    try:
        return _decoded(block)
    except (ValueError, UnicodeDecodeError) as error:
        raise malformed(cid, str(error)) from error


def malformed(cid: Cid, reason: str) -> ValidationError:
    """Return the error for content that is what its CID names and makes no sense."""
    return ValidationError(
        f"{cid} does not name a file or folder that can be read",
        context={"reason": reason},
        hint="no gateway can help: whoever made this content made it wrong, or in another format",
    )


class Budget:
    """What may be read before content is refused, so that a few blocks cannot keep a reader busy for a day.

    The same block can be named a million times and is fetched once, and a block can be megabytes of links, or of
    nothing, for one byte of a file. So each block that is read counts, and as so many more as there are 128 bytes in it
    that are no bytes of a file.

    Parameters
    ----------
    cid
        Of the content.
    max_bytes
        The most that it may hold: one block for every 4 KiB, and 65,536.
    max_files
        How many files and folders it may hold: eight blocks for each.
    """

    def __init__(self, cid: Cid, max_bytes: int, max_files: int = 0) -> None:
        self._cid = cid
        self._max_bytes = max_bytes
        self._left = _FREE_BLOCKS + max_bytes // _SMALL_BLOCK_BYTES + max_files * _BLOCKS_PER_FILE

    def decode(self, cid: Cid, block: bytes) -> Node:
        """Return what a block says, as :func:`decode`.

        Raises
        ------
        ValidationError
            When it is not a UnixFS node, or contradicts itself.
        UnsafeArchiveError
            When too much was read.
        """
        node = decode(cid, block)
        self._left -= 1 + (len(block) - len(node.data)) // _BYTES_AS_A_BLOCK
        if self._left < 0:
            raise too_much(self._cid, "it is cut into too many blocks", self._max_bytes)
        return node


def _decoded(block: bytes) -> Node:
    links: list[Link] = []
    message = b""
    for number, value in fields(block):
        if number == 2 and isinstance(value, bytes):
            if len(links) == MAX_LINKS:
                raise ValueError(f"a node has more than {MAX_LINKS} links")
            links.append(_link(value))
        elif number == 1 and isinstance(value, bytes):
            message = value
        else:
            raise ValueError("not a dag-pb node")
    kind, data, declared, fanout = -1, b"", None, 0
    sizes: list[int] = []
    for number, value in fields(message):
        if number == 2 and isinstance(value, bytes):
            data = value
        elif number == 4:
            sizes += [value] if isinstance(value, int) else _packed(value)
            if len(sizes) > MAX_LINKS:
                raise ValueError(f"a node has the sizes of more than {MAX_LINKS} parts")
        elif isinstance(value, int):
            kind = value if number == 1 else kind
            declared = value if number == 3 else declared
            fanout = value if number == 6 else fanout
    if kind not in range(6):
        raise ValueError("a dag-pb node without UnixFS in it")
    size = len(data) + sum(sizes)
    if kind in (FILE, RAW_BYTES) and len(sizes) != len(links):
        raise ValueError(f"a file has {len(links)} parts and the sizes of {len(sizes)}")
    if kind in (FILE, RAW_BYTES) and declared not in (None, size):
        raise ValueError(f"a file declares {declared} bytes and has parts of {size}")
    return Node(kind, data, size, tuple(sizes), tuple(links), fanout)


def _link(message: bytes) -> Link:
    cid, name = None, ""
    for number, value in fields(message):
        if number == 1 and isinstance(value, bytes):
            cid = Cid.from_bytes(value)
        elif number == 2 and isinstance(value, bytes):
            name = value.decode()
    if cid is None:
        raise ValueError("a link without a CID")
    return Link(name, cid)


def _packed(value: bytes) -> list[int]:
    # Numbers of a repeated field may stand in one field behind each other; as fields they would have keys.
    sizes, at = [], 0
    while at < len(value):
        number, shift = 0, 0
        while True:
            if at >= len(value) or shift > 63:
                raise ValueError("not a varint")
            byte = value[at]
            number |= (byte & 0x7F) << shift
            at, shift = at + 1, shift + 7
            if byte < 0x80:
                break
        sizes.append(number)
    return sizes


# --- folders ---------------------------------------------------------------------------------------------------------


def entries(cid: Cid, node: Node) -> Iterator[tuple[str | None, Cid]]:
    """Yield what is in a folder: names with their CIDs; a name of None is a further part of the same folder.

    Raises
    ------
    ValidationError
        When the node of a large folder is not as such nodes are.
    """
    if node.kind == DIRECTORY:
        yield from ((link.name, link.cid) for link in node.links)
        return
    if node.fanout not in (8, 16, 32, 64, 128, 256, 512, 1024) or len(node.links) > node.fanout:
        raise malformed(cid, f"a part of a large folder with {len(node.links)} links in {node.fanout} places")
    width = len(f"{node.fanout - 1:X}")
    for link in node.links:
        place, name = link.name[:width], link.name[width:]
        if len(place) < width or not all(digit in "0123456789ABCDEF" for digit in place):
            raise malformed(cid, f"a link of a large folder is named {shown(link.name)}")
        yield name or None, link.cid


# --- files -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Want:
    """A block that is needed: its CID, where in the file it begins, and how many bytes of it the block stands for.

    The size is None for the root, about which nobody has said anything yet.
    """

    cid: Cid
    offset: int
    size: int | None


class FileReader:
    """Says which blocks of a file are needed, in the order of the file, and what each of them brings.

    Parameters
    ----------
    cid
        Of the file.
    max_bytes
        More is refused.
    budget
        What may be read, of other files of the same content as well; default: what a file of `max_bytes` can need.

    Attributes
    ----------
    size
        Of the file in bytes; None until the first block has said it.
    offset
        Where in the file the next wanted block begins.
    """

    def __init__(self, cid: Cid, *, max_bytes: int, budget: Budget | None = None) -> None:
        self.cid = cid
        self.size: int | None = None
        self.offset = 0
        self._max_bytes = max_bytes
        self._budget = budget or Budget(cid, max_bytes)
        # Each frame: links and sizes of a node, and which of them is next.
        self._frames: list[tuple[Sequence[Link], Sequence[int], list[int]]] = []
        self._links = 0

    def wanted(self, most: int = 1) -> list[Want]:
        """Return the blocks that are needed next, as far as they are known; none when the file is complete."""
        if self.size is None:
            return [Want(self.cid, 0, None)]
        found: list[Want] = []
        offset = self.offset
        for links, sizes, at in reversed(self._frames):
            for index in range(at[0], len(links)):
                if len(found) == most:
                    return found
                if sizes[index]:
                    found.append(Want(links[index].cid, offset, sizes[index]))
                    offset += sizes[index]
        return found

    def take(self, block: bytes) -> bytes:
        """Take in the block that is wanted next and return the bytes of the file that it holds itself.

        Raises
        ------
        ValidationError
            When it is no part of a file, or of another size than its parent says.
        IpfsGatewayCallError
            When the file is too large.
        UnsafeArchiveError
            When its tree is too wide, too deep or in too many pieces.
        """
        want = self._next()
        node = self._budget.decode(want.cid, block)
        if not node.is_file:
            raise malformed(want.cid, f"it is a {node.what}, not a file or a part of one")
        if want.size not in (None, node.size):
            raise malformed(self.cid, f"a part that was declared as {want.size} bytes has {node.size}")
        if self.size is None:
            if node.size > self._max_bytes:
                raise too_large(self.cid, node.size, self._max_bytes)
            self.size = node.size
        else:
            self._frames[-1][2][0] += 1
        self.offset += len(node.data)
        self._enter(node)
        return node.data

    def skip(self) -> None:
        """Go on behind the block that is wanted next, with all that is below it: its bytes are known already."""
        want = self._next()
        self._frames[-1][2][0] += 1
        self.offset += want.size or 0
        self._leave()

    def _next(self) -> Want:
        self._leave()
        return self.wanted()[0]

    def _enter(self, node: Node) -> None:
        if node.links:
            self._frames.append((node.links, node.blocksizes, [0]))
            self._links += len(node.links)
        if len(self._frames) > MAX_DEPTH or self._links > MAX_LINKS:
            raise too_much(self.cid, "its tree is too deep or too wide", self._max_bytes)
        self._leave()

    def _leave(self) -> None:
        """Step over parts without bytes, which need not be read, and out of nodes that are finished."""
        while self._frames:
            links, sizes, at = self._frames[-1]
            while at[0] < len(links) and not sizes[at[0]]:
                at[0] += 1
            if at[0] < len(links):
                return
            self._frames.pop()
            self._links -= len(links)


def too_large(cid: Cid, size: int, max_bytes: int) -> IpfsGatewayCallError:
    """Return the error for a file that is larger than was allowed."""
    return IpfsGatewayCallError(
        f"{cid} is {size} bytes, which is larger than {max_bytes} bytes", hint=f"max_bytes={size} allows it"
    )


def too_much(cid: Cid, reason: str, max_bytes: int) -> UnsafeArchiveError:
    """Return the error for content that is more than was allowed."""
    return UnsafeArchiveError(
        f"{cid} is more than is allowed: {reason}",
        context={"allowed": f"{max_bytes} bytes"},
        hint="nothing was kept; if you trust who made it, raise max_bytes",
    )

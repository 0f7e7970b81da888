"""What the sandbox's IPFS holds: blocks by their hashes, and the files and folders that they make up.

The blocks of a file that is added are places in that file, so that a gigabyte is kept once and on disk; blocks that
come from elsewhere in a CAR, whatever program cut them, are kept as they are.
"""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from iexec_nb.errors import IExecError, ValidationError
from iexec_nb.protocol.car import CarReader
from iexec_nb.protocol.cid import DAG_PB, RAW, Cid, varint
from iexec_nb.protocol.file_layout import Layout, Tree, leaf_frame
from iexec_nb.protocol.unixfs import FileReader, decode, entries

_CHUNK_BYTES = 1 << 20
_NO_LIMIT = 2**62

_Key = tuple[int, bytes]


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a block is: bytes in memory, or a part of a file, wrapped where it is a leaf that is a node."""

    block: bytes | None = None
    path: Path | None = None
    offset: int = 0
    size: int = 0
    wrapped: bool = False

    def read(self) -> bytes:
        if self.path is None:
            return self.block or b""
        with self.path.open("rb") as file:
            file.seek(self.offset)
            data = file.read(self.size)
        head, tail = leaf_frame(self.size) if self.wrapped else (b"", b"")
        return head + data + tail


class BlockStore:
    """Blocks, files and folders by CID, in a temporary folder that disappears with `close` or with the object.

    Parameters
    ----------
    within
        Where the temporary folder is made; the system's place for such folders unless given.
    """

    def __init__(self, within: str | None = None) -> None:
        self._within = within
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._lock = threading.Lock()
        self._blocks: dict[_Key, _Place] = {}
        self._files: dict[tuple[int, _Key], Path] = {}
        self._drafts = 0

    def __repr__(self) -> str:
        return f"BlockStore({len(self._files)} files)"

    def add(self, data: bytes | BinaryIO, *, version: int = 0, layout: Layout | None = None) -> str:
        """Keep bytes, or a file read to its end, and return their CID.

        Parameters
        ----------
        data
            The content.
        version
            0 for the default of kubo (``Qm...``), 1 for raw leaves (``baf...``).
        layout
            How the file is cut, instead of a node's default for the version.
        """
        source = BytesIO(data) if isinstance(data, bytes) else data
        found: list[tuple[Cid, int, int, bytes | None]] = []
        tree = Tree(layout or Layout(version, version == 1), lambda *block: found.append(block))
        draft = self._draft()
        with draft.open("wb") as file:
            while chunk := source.read(_CHUNK_BYTES):
                file.write(chunk)
                tree.update(chunk)
        cid = tree.root()
        with self._lock:
            path = self._files[cid.codec, _key(cid)] = draft.replace(draft.with_name(str(cid)))
            for name, offset, size, block in found:
                place = _Place(block) if block is not None else _Place(None, path, offset, size, name.codec == DAG_PB)
                self._blocks.setdefault(_key(name), place)
        return str(cid)

    def add_folder(self, children: Mapping[str, str]) -> str:
        """Keep a folder of things that are here already and return its CID (version 1).

        Parameters
        ----------
        children
            CID of each file or folder by its name.
        """
        links = []
        for name in sorted(children, key=str.encode):
            cid = Cid.parse(children[name])
            size = sum(len(block) for _, block in self.walk(cid))
            link = _field(1, bytes(cid)) + _field(2, name.encode()) + b"\x18" + varint(size)
            links.append(_field(2, link))
        return str(self.put(b"".join(links) + _field(1, b"\x08\x01"), DAG_PB))

    def put(self, block: bytes, codec: int = RAW) -> Cid:
        """Keep a block and return its CID (version 1, SHA-256)."""
        cid = Cid.of(block, codec)
        with self._lock:
            self._blocks.setdefault(_key(cid), _Place(block))
        return cid

    def import_car(self, source: BinaryIO) -> int:
        """Keep the blocks of a CAR and return how many there were.

        Raises
        ------
        ValidationError
            When it is no CAR, or a block is not what its CID names.
        """
        reader, count = CarReader(), 0
        path, offset = self._draft(), 0
        with path.open("wb") as file:
            while chunk := source.read(_CHUNK_BYTES):
                for cid, block in reader.feed(chunk):
                    if not cid.names(block):
                        raise ValidationError(f"a block of the CAR is not what {cid} names", hint="make the CAR anew")
                    file.write(block)
                    with self._lock:
                        self._blocks.setdefault(_key(cid), _Place(None, path, offset, len(block)))
                    offset += len(block)
                    count += 1
            reader.end()
        return count

    def block(self, cid: Cid) -> bytes | None:
        """Return a block, or None where it is not here."""
        if cid.inline is not None:
            return cid.inline
        with self._lock:
            place = self._blocks.get(_key(cid))
        return None if place is None else place.read()

    def walk(self, cid: Cid, scope: str = "all") -> Iterator[tuple[Cid, bytes]]:
        """Yield the blocks of a file or folder, each node before what is below it, as far as they are here.

        Parameters
        ----------
        cid
            Where to begin.
        scope
            ``all``, ``entity`` (of a folder only its own blocks) or ``block``.
        """
        # Not by recursion: how deep it goes is up to whoever made the content.
        left = [cid]
        root_is_folder = False
        while left:
            here = left.pop()
            block = self.block(here)
            if block is None:
                return
            yield here, block
            if scope == "block" or here.codec != DAG_PB:
                continue
            try:
                node = decode(here, block)
                below = [(None, link.cid) for link in node.links] if node.is_file else list(entries(here, node))
            except ValidationError:
                continue
            root_is_folder = root_is_folder or node.is_folder
            if scope == "entity" and root_is_folder:
                below = [(name, child) for name, child in below if name is None]
            left += [child for _, child in reversed(below)]

    def path(self, cid: str) -> Path | None:
        """Return the file of a CID, or None; the file must not be changed."""
        try:
            name = Cid.parse(cid)
        except ValidationError:
            return None
        with self._lock:
            found = self._files.get((name.codec, _key(name)))
        return found or self._assembled(name)

    def get(self, cid: str) -> bytes | None:
        """Return the bytes of a file, or None."""
        path = self.path(cid)
        return None if path is None else path.read_bytes()

    def close(self) -> None:
        """Forget everything and remove the temporary folder; calling it again does nothing."""
        with self._lock:
            self._files.clear()
            self._blocks.clear()
            if self._folder is not None:
                self._folder.cleanup()
                self._folder = None

    def _assembled(self, cid: Cid) -> Path | None:
        """Write the file that blocks from elsewhere make up, once; None where they make up none."""
        if self.block(cid) is None:
            return None
        draft = self._draft()
        reader = FileReader(cid, max_bytes=_NO_LIMIT)
        try:
            with draft.open("wb") as file:
                while wanted := reader.wanted():
                    block = self.block(wanted[0].cid)
                    if block is None:
                        return None
                    file.write(reader.take(block))
        except IExecError:
            return None
        with self._lock:
            return self._files.setdefault((cid.codec, _key(cid)), draft)

    def _draft(self) -> Path:
        with self._lock:
            if self._folder is None:
                self._folder = tempfile.TemporaryDirectory(
                    prefix="iexec_nb-ipfs-", dir=self._within, ignore_cleanup_errors=True
                )
            self._drafts += 1
            return Path(self._folder.name) / f"draft-{self._drafts}"


def _key(cid: Cid) -> _Key:
    return cid.hash_code, cid.digest


def _field(number: int, payload: bytes) -> bytes:
    return bytes([number << 3 | 2]) + varint(len(payload)) + payload

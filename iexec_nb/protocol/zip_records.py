"""The records of a zip: where its entries are, read twice and compared.

A zip says everything about an entry in two places, and programs differ in which they believe. Here both must say the
same, and the entries must fill the file from its first byte to its directory. What the entries are called and hold is
judged in `archive`.
"""

from __future__ import annotations

import mmap
import os
import struct
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

from iexec_nb.errors import UnsafeArchiveError, ValidationError
from iexec_nb.protocol.types import shown

MAX_FILES = 10_000
IN_MEMORY_BYTES = 64 << 20
"""What is larger stays on the disk."""
PIECE = 1 << 18
STORED, DEFLATED = 0, 8
ENCRYPTED = 0x0001 | 0x0040 | 0x2000

_DIRECTORY_BYTES_A_FILE = 400
_MIN_DIRECTORY_BYTES = 4_000_000
_MAX_TAIL_BYTES = 22 + 65_535
_END = struct.Struct("<4s4H2LH")
_ZIP64_LOCATOR = struct.Struct("<4sLQL")
_ZIP64_END = struct.Struct("<4sQ2H2L4Q")
_CENTRAL = struct.Struct("<4s6H3L5H2L")
_LOCAL = struct.Struct("<4s5H3L2H")
_SIZE_FOLLOWS = 0x0008
_UTF8_NAME = 0x0800
_MAX16, _MAX32 = 0xFFFF, 0xFFFFFFFF
_ZIP64_EXTRA, _NAME_EXTRA = 0x0001, 0x7075


def refusal(reason: str, *, hint: str | None = None, **context: object) -> UnsafeArchiveError:
    """Return the error for an archive that is not used, with the reason and the facts."""
    return UnsafeArchiveError(
        f"this archive is refused: {reason}",
        context={**context, "written": "nothing"},
        hint=hint or "ask who ran the app for another result, or look at the bytes with a tool that you trust",
    )


# --- where the bytes are ---------------------------------------------------------------------------------------------


class Source:
    """Bytes that are read at any place: those in memory as they are, those of a file piece by piece.

    A file is read and not mapped: a map of a file that somebody shortens ends the whole process. Windows shortens no
    file that is mapped, and knows no reading at a place.

    Parameters
    ----------
    data
        Bytes, or a file that was opened for reading bytes; it is closed with the last use of this object.
    mapped
        Whether a file is mapped.
    """

    def __init__(self, data: bytes | bytearray | memoryview | IO[bytes], *, mapped: bool = os.name == "nt") -> None:
        self._view: memoryview | None = None
        self._handle = -1
        if isinstance(data, bytes | bytearray | memoryview):
            self._view = memoryview(data).toreadonly()
            self.size = len(self._view)
            return
        self.size = data.seek(0, 2)
        self._handle = data.fileno()
        if mapped and self.size:
            self._view = memoryview(mmap.mmap(self._handle, 0, access=mmap.ACCESS_READ))
        weakref.finalize(self, data.close)

    @classmethod
    def of(cls, data: object) -> Source:
        """Return the source of bytes, of a `Path` (a small file is read now, a large one stays open) or itself.

        Raises
        ------
        ValidationError
            When it is neither, or there is no such file.
        """
        if isinstance(data, Source):
            return data
        if isinstance(data, bytes | bytearray | memoryview):
            return cls(data)
        if not isinstance(data, Path):
            raise ValidationError(f"a zip is bytes or a Path, not {type(data).__name__}", context={"argument": "data"})
        try:
            file = data.open("rb")
            if file.seek(0, 2) > IN_MEMORY_BYTES:
                return cls(file)
            with file:
                file.seek(0)
                return cls(file.read(IN_MEMORY_BYTES))
        except OSError as error:
            raise ValidationError(
                f"{shown(data.name)} cannot be read: {error.strerror}", hint="give the path of a result on the disk"
            ) from error

    def __len__(self) -> int:
        return self.size

    def read(self, start: int, end: int) -> memoryview:
        """Return the bytes from one place to another, which must exist.

        Raises
        ------
        UnsafeArchiveError
            When they do not, or the file became shorter meanwhile.
        """
        if not 0 <= start <= end <= self.size:
            raise refusal("it is not a readable zip", detail="it points to bytes that are not there")
        if self._view is not None:
            return self._view[start:end]
        found = os.pread(self._handle, end - start, start)
        if len(found) != end - start:
            raise refusal("it became shorter while it was read")
        return memoryview(found)

    def pieces(self, start: int, end: int) -> Iterator[memoryview]:
        """Yield the bytes from one place to another, 256 KiB at a time."""
        for at in range(start, end, PIECE):
            yield self.read(at, min(at + PIECE, end))


# --- the directory of a zip ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry as directory and header say it; `start` is where its packed data begins."""

    name: str
    raw_name: bytes
    size: int
    packed: int
    crc: int
    method: int
    flags: int
    mode: int
    header: int
    start: int = 0

    @property
    def is_folder(self) -> bool:
        """Whether it is a folder: its name ends in ``/``."""
        return self.name.endswith("/")

    @property
    def end(self) -> int:
        """Where its packed data ends."""
        return self.start + self.packed


@dataclass(frozen=True, slots=True)
class Place:
    """Where the directory of a zip is, and how many entries it says that it has."""

    start: int
    end: int
    count: int

    def require(self, max_files: int | None) -> None:
        """Refuse a directory that is too large, before it is parsed: empty entries by the million fill the memory.

        Raises
        ------
        UnsafeArchiveError
            When it has more entries than `max_files`, by default 10,000, or is larger than so many need.
        """
        files = max_files or MAX_FILES
        limit = max(_DIRECTORY_BYTES_A_FILE * files, _MIN_DIRECTORY_BYTES)
        if self.end - self.start > limit:
            raise refusal(f"its directory is larger than {limit} bytes", hint=raise_hint("max_files", self.count))
        if self.count > files:
            hint = raise_hint("max_files", self.count)
            raise refusal("too many files", files=self.count, rule=f"at most {files}", hint=hint)


def raise_hint(limit: str, needed: int) -> str:
    """Return what to type where somebody trusts an archive that is beyond a limit."""
    return f"where you trust it, raise the limit: {limit}={needed}"


def locate(source: Source) -> Place:
    """Return where the directory is; it must end where the records begin that end the file.

    Raises
    ------
    UnsafeArchiveError
        When it is no zip, or was cut short.
    """
    tail_start = max(0, source.size - _MAX_TAIL_BYTES)
    tail = bytes(source.read(tail_start, source.size))
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or len(tail) < at + _END.size:
        raise refusal("it is not a readable zip", detail="no end record: it was cut short, or is something else")
    _, disk, first_disk, here, count, size, start, comment = _END.unpack_from(tail, at)
    if at + _END.size + comment != len(tail):
        raise refusal("it is not a readable zip", detail="bytes follow its end")
    end = tail_start + at
    if end >= _ZIP64_LOCATOR.size:
        locator = bytes(source.read(end - _ZIP64_LOCATOR.size, end))
        if locator.startswith(b"PK\x06\x07"):
            return _locate64(source, locator, end - _ZIP64_LOCATOR.size, (here, count, size, start))
    if disk or first_disk or here != count or start + size != end:
        raise refusal("its directory is damaged", declared=count)
    return Place(start, end, count)


def _locate64(source: Source, locator: bytes, locator_at: int, short: tuple[int, int, int, int]) -> Place:
    """Return where the directory of a zip64 is; what its short record says must be the same, or "see the long one"."""
    _, first_part, at, disks = _ZIP64_LOCATOR.unpack(locator)
    head = source.read(at, at + _ZIP64_END.size) if at + _ZIP64_END.size <= locator_at else b""
    if len(head) != _ZIP64_END.size or first_part or disks > 1:
        raise refusal("its directory is damaged", detail="the zip64 record is not where it should be")
    magic, length, _, _, disk, first_disk, here, count, size, start = _ZIP64_END.unpack(head)
    same = all(
        little in (long, most)
        for little, long, most in zip(short, (here, count, size, start), (_MAX16, _MAX16, _MAX32, _MAX32), strict=True)
    )
    whole = at + 12 + length == locator_at and start + size == at and here == count
    if magic != b"PK\x06\x06" or disk or first_disk or not (same and whole):
        raise refusal("its directory is damaged", detail="the zip64 record contradicts the end record")
    return Place(start, at, count)


def read_entries(source: Source, place: Place) -> list[Entry]:
    """Return all entries, each found a second time in the header before its data.

    Raises
    ------
    UnsafeArchiveError
        When the records do not agree.
    """
    raw = bytes(source.read(place.start, place.end))
    entries, at = [], 0
    for _ in range(place.count):
        entry, at = _central(raw, at)
        entries.append(entry)
    if at != len(raw):
        raise refusal("its directory is damaged", found=len(entries), declared=place.count)
    return _located(source, entries, place.start)


def _central(raw: bytes, at: int) -> tuple[Entry, int]:
    """Return one entry of the directory, and where the next begins."""
    if len(raw) - at < _CENTRAL.size or raw[at : at + 4] != b"PK\x01\x02":
        raise refusal("its directory is damaged", detail="an entry is cut short")
    (_, _, _, flags, method, _, _, crc, packed, size, name_bytes, extra_bytes, comment_bytes, disk, _, attributes,
     header) = _CENTRAL.unpack_from(raw, at)  # fmt: skip
    name_at = at + _CENTRAL.size
    extra_at = name_at + name_bytes
    following = extra_at + extra_bytes + comment_bytes
    if following > len(raw):
        raise refusal("its directory is damaged", detail="an entry is cut short")
    raw_name = raw[name_at:extra_at]
    name = _decoded(raw_name, flags)
    extras = _extras(raw[extra_at : extra_at + extra_bytes], name)
    size, packed, header, disk = _long(extras, name, [(size, 8), (packed, 8), (header, 8), (disk, 4)])
    if disk:
        raise refusal("its directory is damaged", entry=shown(name), detail="it is in several parts")
    return Entry(name, raw_name, size, packed, crc, method, flags, attributes >> 16, header), following


def _decoded(raw: bytes, flags: int) -> str:
    try:
        return raw.decode("utf-8" if flags & _UTF8_NAME else "cp437")
    except UnicodeDecodeError as error:
        raise refusal("a name is not UTF-8, as it says", entry=shown(repr(raw))) from error


def _extras(raw: bytes, name: str) -> dict[int, bytes]:
    """Return the extra fields of an entry by their number; one that gives it another name is refused."""
    found: dict[int, bytes] = {}
    at = 0
    while len(raw) - at >= 4:
        kind, size = struct.unpack_from("<2H", raw, at)
        value = raw[at + 4 : at + 4 + size]
        if len(value) != size or (kind in found and kind in (_ZIP64_EXTRA, _NAME_EXTRA)):
            raise refusal("it contradicts itself", entry=shown(name), rule="each extra field is whole and stands once")
        found[kind] = value
        at += 4 + size
    if _NAME_EXTRA in found and found[_NAME_EXTRA][5:] != name.encode("utf-8", "surrogatepass"):
        raise refusal("it contradicts itself", entry=shown(name), rule="an entry has one name")
    return found


def _long(extras: dict[int, bytes], name: str, fields: list[tuple[int, int]]) -> list[int]:
    """Return numbers of an entry, those too large for their place from the zip64 field."""
    raw, at, found = extras.get(_ZIP64_EXTRA, b""), 0, []
    for value, width in fields:
        if value == (_MAX32 if width == 8 else _MAX16) and raw:
            if len(raw) - at < width:
                raise refusal("it contradicts itself", entry=shown(name), rule="a zip64 field holds what it stands for")
            value, at = int.from_bytes(raw[at : at + width], "little"), at + width
        found.append(value)
    return found


def _located(source: Source, entries: Sequence[Entry], end_of_data: int) -> list[Entry]:
    """Return the entries with the places of their data, which follow one another without a gap."""
    order = sorted(range(len(entries)), key=lambda index: entries[index].header)
    found = list(entries)
    at = 0
    for place, index in enumerate(order):
        entry = entries[index]
        if entry.header != at:
            raise refusal("its entries overlap" if entry.header < at else "bytes lie between its entries")
        at = entries[order[place + 1]].header if place + 1 < len(order) else end_of_data
        found[index] = _with_header(source, entry, at)
    if at != end_of_data:
        raise refusal("bytes lie between its entries")
    return found


def _with_header(source: Source, entry: Entry, following: int) -> Entry:
    """Return an entry with the place of its data; the header there must say what the directory says."""
    head_end = entry.header + _LOCAL.size
    if head_end + len(entry.raw_name) > following:
        raise refusal("its entries overlap", entry=shown(entry.name))
    magic, _, flags, method, _, _, crc, packed, size, name_bytes, extra_bytes = _LOCAL.unpack(
        source.read(entry.header, head_end)
    )
    start = head_end + name_bytes + extra_bytes
    end = start + entry.packed
    if end > following:
        raise refusal("its entries overlap", entry=shown(entry.name))
    extras = _extras(bytes(source.read(head_end + name_bytes, start)), entry.name)
    size, packed = _long(extras, entry.name, [(size, 8), (packed, 8)])
    told, true = (crc, packed, size), (entry.crc, entry.packed, entry.size)
    behind = bytes(source.read(end, min(following, end + 25)))
    right = told == true and not behind
    if flags & _SIZE_FOLLOWS and behind:
        # The writer could not go back: what it did not know yet is zero here, and stands behind the data.
        right = behind in _descriptors(*true) and all(one in (0, that) for one, that in zip(told, true, strict=True))
    if (
        magic != b"PK\x03\x04"
        or bytes(source.read(head_end, head_end + name_bytes)) != entry.raw_name
        or method != entry.method
        or (flags ^ entry.flags) & (ENCRYPTED | _SIZE_FOLLOWS | _UTF8_NAME)
        or not right
        or (method == STORED and entry.packed != entry.size)
    ):
        raise refusal("it contradicts itself", entry=shown(entry.name), rule="directory and data must say the same")
    return replace(entry, start=start)


def _descriptors(crc: int, packed: int, size: int) -> set[bytes]:
    """Return the forms in which a writer who could not go back leaves checksum and sizes behind the packed data."""
    forms = {struct.pack("<L2Q", crc, packed, size)}
    if max(packed, size) <= _MAX32:
        forms.add(struct.pack("<3L", crc, packed, size))
    return forms | {b"PK\x07\x08" + form for form in forms}

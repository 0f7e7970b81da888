"""Where a task's result lies, and how its zip is opened without harm.

The result of a task is a zip written by somebody else: an app, a worker, whoever runs the gateway. It is judged as a
whole before the first byte of it is written: one entry that points outside its folder, stands twice, lies about its
size or would fill the disk condemns all of it. The central directory, the headers before the data and the data itself
must tell the same story, so that no other program can see other files in the same archive.
"""

from __future__ import annotations

import difflib
import filecmp
import hashlib
import io
import os
import re
import shutil
import stat
import struct
import tempfile
import unicodedata
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from iexec_nb.errors import ResultNotFoundError, UnsafeArchiveError, ValidationError
from iexec_nb.protocol import foreign
from iexec_nb.protocol.types import keccak, shown

MAX_FILES = 10_000
MAX_BYTES = 2_000_000_000
MAX_ARCHIVE_BYTES = 1 << 30
MAX_RATIO = 200
RATIO_FREE_BYTES = 10_000_000
"""Up to this size an entry may be as compressible as it likes: deflate reaches 1000:1 on honest, dull data."""

COMPUTED = "computed.json"
OUTPUT_FOLDER = "iexec_out"

_PIECE = 1 << 20
_MAX_DIRECTORY_BYTES = 4_000_000
_MAX_TAIL_BYTES = 22 + 65_535
_MAX_NAME_BYTES = 255
_MAX_PATH_BYTES = 1024
_END_RECORD = b"PK\x05\x06"
_ZIP64_LOCATOR = b"PK\x06\x07"
_LOCAL_HEADER = struct.Struct("<4s5H3L2H")
_ENCRYPTED = 0x0001 | 0x0040 | 0x2000
_SIZE_FOLLOWS = 0x0008
_UTF8_NAME = 0x0800
_SIZE_IN_EXTRA = 0xFFFFFFFF


# --- where the result lies -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ResultDescriptor:
    """Where the result of a task lies: the decoded ``results`` of ``viewTask``.

    Parameters
    ----------
    storage
        ``ipfs``, ``dropbox``, ``ethereum`` (a callback), or ``none``.
    location
        ``/ipfs/<cid>``, ``/results/<taskid>`` or the callback contract; ``None`` without one.
    """

    storage: str
    location: str | None = None

    @classmethod
    def from_bytes(cls, data: bytes) -> ResultDescriptor:
        """Read the bytes of the chain; what is not a descriptor is the storage ``none``, as in the JavaScript SDK."""
        try:
            decoded = foreign.loads(data)
        except (ValueError, RecursionError):
            decoded = None
        if not isinstance(decoded, dict) or not isinstance(decoded.get("storage"), str):
            return cls("none")
        location = decoded.get("location")
        return cls(decoded["storage"], location if isinstance(location, str) and location else None)

    def to_bytes(self) -> bytes:
        """Return the bytes that a worker writes, spaces included.

        Raises
        ------
        ValidationError
            When a part would need escaping, which workers do not do.
        """
        for value in (self.storage, self.location or ""):
            if re.search(r'["\\\x00-\x1f]', value):
                raise ValidationError(f"{shown(value)} cannot stand in a result descriptor")
        return f'{{ "storage": "{self.storage}", "location": "{self.location or ""}" }}'.encode()


# --- the directory of a zip ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Entry:
    name: str
    size: int
    crc: int
    method: int
    flags: int
    mode: int
    header: int
    start: int
    end: int

    @property
    def is_folder(self) -> bool:
        return self.name.endswith("/")


def _refusal(reason: str, **context: object) -> UnsafeArchiveError:
    return UnsafeArchiveError(
        f"this archive is refused: {reason}",
        context={**context, "written": "nothing"},
        hint="ask who ran the app for another result, or look at the bytes with a tool that you trust",
    )


def _end(data: bytes) -> tuple[int, int, int]:
    """Return where the record that ends a zip stands, the number of entries and the size of the directory."""
    at = data.rfind(_END_RECORD, max(0, len(data) - _MAX_TAIL_BYTES))
    if at < 0 or len(data) < at + 22:
        raise _refusal("it is not a readable zip", detail="no end record")
    count, size = struct.unpack_from("<HL", data, at + 10)
    return at, count, size


def _too_much(data: bytes) -> str | None:
    # The directory is measured before it is parsed: a gigabyte of empty entries would fill the memory as objects.
    at, _, size = _end(data)
    if size > _MAX_DIRECTORY_BYTES:
        return f"its directory is larger than {_MAX_DIRECTORY_BYTES} bytes"
    if data[max(0, at - 20) :].startswith(_ZIP64_LOCATOR):
        return f"it uses zip64, but results stay below {MAX_ARCHIVE_BYTES} bytes and {MAX_FILES} files"
    return None


def _directory(data: bytes) -> list[_Entry]:
    """Return all entries, each found a second time in the header before its data."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = [_entry(data, info) for info in archive.infolist()]
            end_of_data = archive.start_dir
    except UnsafeArchiveError:
        raise
    except (zipfile.BadZipFile, ValueError, NotImplementedError, struct.error, EOFError) as error:
        raise _refusal("it is not a readable zip", detail=error) from error
    if len(entries) != _end(data)[1]:
        raise _refusal("its directory is damaged", found=len(entries), declared=_end(data)[1])
    ranges = sorted((entry.header, entry.end) for entry in entries)
    for before, after in zip(ranges, [*ranges[1:], (end_of_data, end_of_data)], strict=False):
        if after[0] < before[1]:
            raise _refusal("its entries overlap")
    return entries


def _entry(data: bytes, info: zipfile.ZipInfo) -> _Entry:
    at = info.header_offset
    if at < 0:
        raise _refusal("an entry starts before the file")
    magic, _, flags, method, _, _, crc, packed, size, name_bytes, extra_bytes = _LOCAL_HEADER.unpack_from(data, at)
    start = at + _LOCAL_HEADER.size
    # zipfile cuts a name at NUL and turns the separators of the system; the name as it was written is judged instead.
    name = info.orig_filename
    written = name.encode("utf-8" if info.flag_bits & _UTF8_NAME else "cp437")
    true = (info.CRC, info.compress_size, info.file_size)
    told = {(crc, packed, size)}
    if flags & _SIZE_FOLLOWS:
        told = told - {(0, 0, 0)} | {_descriptor(data, start + name_bytes + extra_bytes + info.compress_size)}
    if (
        magic != b"PK\x03\x04"
        or data[start : start + name_bytes] != written
        or method != info.compress_type
        or (flags ^ info.flag_bits) & (_ENCRYPTED | _SIZE_FOLLOWS | _UTF8_NAME)
        or (told != {true} and _SIZE_IN_EXTRA not in (packed, size))
    ):
        raise _refusal("it contradicts itself", entry=shown(name), rule="directory and data must say the same")
    start += name_bytes + extra_bytes
    return _Entry(
        name=name,
        size=info.file_size,
        crc=info.CRC,
        method=method,
        flags=flags,
        mode=info.external_attr >> 16,
        header=at,
        start=start,
        end=start + info.compress_size,
    )


# --- the judgement ---------------------------------------------------------------------------------------------------


def _judge(entries: Sequence[_Entry]) -> None:
    """Refuse the archive when any of its entries is not a plain file or folder inside it."""
    if len(entries) > MAX_FILES:
        raise _refusal("too many files", files=len(entries), rule=f"at most {MAX_FILES}")
    total, packed = sum(entry.size for entry in entries), sum(entry.end - entry.start for entry in entries)
    if total > MAX_BYTES or (total > 10 * RATIO_FREE_BYTES and total > MAX_RATIO * packed):
        raise _refusal(
            "it unpacks to too much",
            size=f"{packed} bytes to {total} bytes",
            rule=f"at most {MAX_BYTES} bytes and {MAX_RATIO} times the packed size",
        )
    keys: dict[str, _Entry] = {}
    for entry in entries:
        if problem := _problem_of_name(entry.name) or _problem_of_kind(entry):
            raise _refusal(problem, entry=shown(entry.name))
        # Names that one system keeps apart are one file on another: case, accents in two spellings, a final dot.
        key = "/".join(part.rstrip(" .") or part for part in _folded(entry.name.rstrip("/")).split("/"))
        if key in keys:
            raise _refusal("two entries have the same name", entry=shown(entry.name), other=shown(keys[key].name))
        keys[key] = entry
    for key, entry in keys.items():
        parts = key.split("/")
        for depth in range(1, len(parts)):
            above = keys.get("/".join(parts[:depth]))
            if above is not None and not above.is_folder:
                raise _refusal("a file is also a folder", entry=shown(entry.name), other=shown(above.name))


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def _problem_of_name(name: str) -> str | None:
    parts = name.removesuffix("/").split("/")
    if re.search(r"[\x00-\x1f\x7f\\]", name):
        return "a name holds a control character or a backslash"
    if name.startswith("/") or re.match(r"[A-Za-z]:", name):
        return "a name is an absolute path"
    if any(part in ("", ".", "..") for part in parts):
        return "a name leaves its folder or is not in its plain form"
    if len(name.encode()) > _MAX_PATH_BYTES or any(len(part.encode()) > _MAX_NAME_BYTES for part in parts):
        return "a name is too long"
    return None


def _problem_of_kind(entry: _Entry) -> str | None:
    kind = stat.S_IFMT(entry.mode)
    if kind not in (0, stat.S_IFDIR if entry.is_folder else stat.S_IFREG):
        return "an entry is a link or a special file"
    if entry.is_folder and entry.size:
        return "a folder has content"
    if entry.flags & _ENCRYPTED:
        return "an entry is encrypted with a zip password"
    if entry.method not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return f"an entry is packed with method {entry.method}, not deflate"
    packed = entry.end - entry.start
    if entry.size > RATIO_FREE_BYTES and entry.size > MAX_RATIO * packed:
        return f"an entry claims to unpack {packed} bytes to {entry.size}"
    return None


# --- the content -----------------------------------------------------------------------------------------------------


def _descriptor(data: bytes, at: int) -> tuple[int, int, int]:
    """Return checksum and sizes that a writer who could not go back left behind the packed data."""
    at += 4 if data[at : at + 4] == b"PK\x07\x08" else 0
    crc, packed, size = struct.unpack_from("<3L", data, at)
    return crc, packed, size


def _pieces(data: bytes, entry: _Entry) -> Iterator[bytes]:
    """Yield the content of one entry, at most 1 MiB at a time and never more than was declared."""
    packed = memoryview(data)[entry.start : entry.end]
    left, crc = entry.size, 0
    for piece in _inflated(packed) if entry.method == zipfile.ZIP_DEFLATED else _slices(packed):
        left -= len(piece)
        if left < 0:
            break
        crc = zlib.crc32(piece, crc)
        yield piece
    if left or crc != entry.crc:
        raise _refusal("an entry has not the size and checksum that it declares", entry=shown(entry.name))


def _slices(data: memoryview) -> Iterator[bytes]:
    for at in range(0, len(data), _PIECE):
        yield bytes(data[at : at + _PIECE])


def _inflated(packed: memoryview) -> Iterator[bytes]:
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        for piece in _slices(packed):
            if inflater.eof:
                raise _refusal("an entry goes on after its end")
            waiting = piece
            while waiting and not inflater.eof:
                yield inflater.decompress(waiting, _PIECE)
                waiting = inflater.unconsumed_tail
        while not inflater.eof and (rest := inflater.decompress(b"", _PIECE)):
            yield rest
    except zlib.error as error:
        raise _refusal("packed data is damaged", detail=error) from error
    if not inflater.eof or inflater.unused_data:
        raise _refusal("an entry ends too early or goes on after its end")


def damage(data: bytes) -> str | None:
    """Return what is wrong with a zip as a whole, or ``None``: every byte of content is checked against its checksum.

    Parameters
    ----------
    data
        The zip. What is beyond the limits of this file is not looked at: `open_archive` refuses it anyway.
    """
    budget = MAX_BYTES
    try:
        if _too_much(data):
            return None
        for entry in _directory(data):
            for piece in _pieces(data, entry):
                budget -= len(piece)
                if budget < 0:
                    return None
    except UnsafeArchiveError as error:
        return error.message
    return None


class Archive:
    """The files of a result, judged safe by `open_archive`; nothing is on the disk until `extract`."""

    __slots__ = ("_data", "_entries")

    def __init__(self, data: bytes, entries: Sequence[_Entry]) -> None:
        self._data = data
        self._entries = {entry.name: entry for entry in entries}

    def __repr__(self) -> str:
        return f"Archive({len(self.names)} files, {sum(self.sizes.values())} bytes)"

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the files (not of the folders) in the order of the archive."""
        return tuple(name for name, entry in self._entries.items() if not entry.is_folder)

    @property
    def sizes(self) -> dict[str, int]:
        """Size of each file in bytes."""
        return {name: self._entries[name].size for name in self.names}

    def read(self, name: str) -> bytes:
        """Return the content of one file.

        Parameters
        ----------
        name
            One of `names`.

        Raises
        ------
        ResultNotFoundError
            When there is no such file.
        UnsafeArchiveError
            When its content is not what the archive declares.
        """
        return b"".join(_pieces(self._data, self._file(name)))

    def _file(self, name: str) -> _Entry:
        entry = self._entries.get(name)
        if entry is None or entry.is_folder:
            near = difflib.get_close_matches(str(name), self.names, n=1)
            raise ResultNotFoundError(
                f'No "{shown(name)}" file found in the result',
                context={"files": ", ".join(shown(each, 40) for each in self.names[:20]) or "none"},
                hint=f"did you mean {near[0]!r}?" if near else "take one of the files listed",
            )
        return entry

    def extract(self, directory: str | Path, *, overwrite: bool = False) -> list[Path]:
        """Write all files, or none, and return their paths.

        Everything is unpacked and checked in a temporary folder first and then moved. Files get mode 600.

        Parameters
        ----------
        directory
            Where to; made when it does not exist.
        overwrite
            Replace files that are there already with other content.

        Raises
        ------
        UnsafeArchiveError
            When the content of a file is not what the archive declares.
        ValidationError
            When a file with other content, or a link, is in the way.
        """
        target = Path(directory)
        home = target if target.is_dir() else target.absolute().parent
        home.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=".result-", suffix=".part", dir=home))
        try:
            self._unpack(staging)
            if target.is_dir():
                self._move(staging, target, overwrite)
            else:
                _make_way(target)
                staging.rename(target)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
        return [target / name for name in self.names]

    def _unpack(self, folder: Path) -> None:
        for entry in self._entries.values():
            path = folder / entry.name
            if entry.is_folder:
                path.mkdir(parents=True, exist_ok=True)
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                for piece in _pieces(self._data, entry):
                    file.write(piece)

    def _move(self, staging: Path, target: Path, overwrite: bool) -> None:
        for name in self._entries:
            _check_place(target, name, staging / name, overwrite)
        for name, entry in self._entries.items():
            place = target / name
            (place if entry.is_folder else place.parent).mkdir(parents=True, exist_ok=True)
            if not entry.is_folder:
                (staging / name).replace(place)

    @property
    def computed(self) -> dict[str, Any]:
        """The decoded ``computed.json`` that the app left; empty without one.

        Raises
        ------
        ValidationError
            When it is not a JSON object.
        """
        for name in (COMPUTED, f"{OUTPUT_FOLDER}/{COMPUTED}"):
            if name in self._entries:
                return _json_object(self.read(name))
        return {}


def _make_way(target: Path) -> None:
    if target.is_symlink() or target.exists():
        raise ValidationError(
            f"{target} is in the way and is not a folder",
            hint="give the name of a folder, or of one that does not exist",
        )


def _check_place(target: Path, name: str, new: Path, overwrite: bool) -> None:
    place = target
    parts = name.rstrip("/").split("/")
    for part in parts:
        place = place / part
        if place.is_symlink():
            raise ValidationError(f"{place} is a link and would be followed", hint="extract into another folder")
    for folder in list(place.parents)[: len(parts) - 1] + ([place] if name.endswith("/") else []):
        if folder.exists() and not folder.is_dir():
            raise ValidationError(f"{folder} is in the way and is not a folder", hint="extract into another folder")
    if name.endswith("/") or not place.exists():
        return
    if place.is_dir() or not (overwrite or filecmp.cmp(place, new, shallow=False)):
        raise ValidationError(
            f"{place} exists with other content", hint="extract into another folder, or pass overwrite=True"
        )


def _json_object(data: bytes) -> dict[str, Any]:
    try:
        decoded = foreign.loads(data)
    except (ValueError, RecursionError):
        decoded = None
    if not isinstance(decoded, dict):
        raise ValidationError(f"{COMPUTED} is not a JSON object", hint="the app must write it; see archive.read")
    return decoded


def open_archive(data: bytes | Path) -> Archive:
    """Open the zip of a result after judging all of its entries.

    Parameters
    ----------
    data
        The zip, or the path of it; at most 1 GiB.

    Raises
    ------
    UnsafeArchiveError
        When any entry leaves the folder, is a link, stands twice, is encrypted, overlaps another, or when the archive
        is no zip, contradicts itself or unpacks to too much.
    """
    if isinstance(data, Path):
        if data.stat().st_size > MAX_ARCHIVE_BYTES:
            raise _refusal("it is too large", size=f"{data.stat().st_size} bytes", rule=f"{MAX_ARCHIVE_BYTES} bytes")
        data = data.read_bytes()
    if not isinstance(data, bytes):
        raise ValidationError(f"a zip is bytes or a Path, not {type(data).__name__}", context={"argument": "data"})
    if problem := _too_much(data):
        raise _refusal(problem)
    entries = _directory(data)
    _judge(entries)
    return Archive(data, entries)


# --- the digest ------------------------------------------------------------------------------------------------------


def result_digest(archive: Archive, callback: bytes | None = None) -> str:
    """Return the digest that workers agree on.

    Parameters
    ----------
    archive
        The result, not encrypted.
    callback
        Data for the callback contract, for a task that has one.

    Returns
    -------
    str
        keccak-256 of `callback`; or SHA-256 of the file that ``deterministic-output-path`` names; or, when that is a
        folder, keccak-256 of the SHA-256 of each file directly in it, sorted by name.

    Raises
    ------
    ResultNotFoundError
        When ``computed.json`` names nothing that is in the archive.
    ValidationError
        When `callback` is empty.
    """
    if callback is not None:
        if not callback:
            raise ValidationError("callback data must not be empty", context={"argument": "callback"})
        return "0x" + keccak(callback).hex()
    path = archive.computed.get("deterministic-output-path")
    place = _inside(path) if isinstance(path, str) else None
    if place and place in archive.names:
        return "0x" + hashlib.sha256(archive.read(place)).hexdigest()
    children = [] if place is None else _children(archive, place)
    if not children:
        raise ResultNotFoundError(
            f"computed.json names no output of this result: {shown(path)}",
            context={"rule": f"deterministic-output-path is a file or folder under /{OUTPUT_FOLDER}"},
            hint='the app must write {"deterministic-output-path": "/iexec_out/<file>"}',
        )
    return "0x" + keccak(b"".join(hashlib.sha256(archive.read(name)).digest() for name in children)).hex()


def _inside(path: str) -> str | None:
    parts = [part for part in path.split("/") if part]
    return "/".join(parts[1:]) if parts and parts[0] == OUTPUT_FOLDER else None


def _children(archive: Archive, folder: str) -> list[str]:
    head = f"{folder}/" if folder else ""
    names = [name for name in archive.names if name.startswith(head) and "/" not in name[len(head) :]]
    return sorted(names, key=lambda name: name.encode("utf-16-be"))

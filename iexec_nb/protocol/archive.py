"""How the zip of a result is opened without harm.

The result of a task is a zip written by somebody else: an app, a worker, whoever runs the gateway. It is judged as a
whole before the first byte of it is used: one entry that points outside its folder, stands twice, lies about its size
or would fill the disk condemns all of it. The central directory, the headers before the data and the data itself must
tell the same story and fill the file from its first byte to its last, so that no other program can see other files in
the same archive. A large archive stays on the disk and is read piece by piece.
"""

from __future__ import annotations

import stat
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from iexec_nb.errors import UnsafeArchiveError, ValidationError
from iexec_nb.protocol.file_names import problem_of_name, same_name_key
from iexec_nb.protocol.result_files import Files
from iexec_nb.protocol.types import shown
from iexec_nb.protocol.zip_records import (
    DEFLATED,
    ENCRYPTED,
    PIECE,
    STORED,
    Entry,
    Source,
    locate,
    raise_hint,
    read_entries,
    refusal,
)

MAX_BYTES = 2_000_000_000
MAX_RATIO = 200
RATIO_FREE_BYTES = 10_000_000
"""Up to this size an entry may be as compressible as it likes: deflate reaches 1000:1 on honest, dull data."""


# --- the judgement ---------------------------------------------------------------------------------------------------


def _judge(entries: Sequence[Entry], max_bytes: int | None) -> None:
    """Refuse the archive when any of its entries is not a plain file or folder inside it."""
    _judge_size(entries, max_bytes)
    keys: dict[str, Entry] = {}
    for entry in entries:
        if problem := problem_of_name(entry.name) or _problem_of_kind(entry):
            raise refusal(problem, entry=shown(entry.name))
        key = same_name_key(entry.name)
        if key in keys:
            raise refusal("two entries have the same name", entry=shown(entry.name), other=shown(keys[key].name))
        keys[key] = entry
    for key, entry in keys.items():
        at = key.find("/")
        while at >= 0:
            above = keys.get(key[:at])
            if above is not None and not above.is_folder:
                raise refusal("a file is also a folder", entry=shown(entry.name), other=shown(above.name))
            at = key.find("/", at + 1)


def _judge_size(entries: Sequence[Entry], max_bytes: int | None) -> None:
    total, packed = sum(entry.size for entry in entries), sum(entry.packed for entry in entries)
    limit, reason, rule = max_bytes or MAX_BYTES, "it unpacks to too much", ""
    if total > limit:
        rule = f"at most {limit} bytes"
    elif max_bytes is None and total > 10 * RATIO_FREE_BYTES and total > MAX_RATIO * packed:
        rule = f"at most {MAX_RATIO} times the packed size"
    elif max_bytes is None and (bomb := next(filter(_is_bomb, entries), None)):
        reason = f"{shown(bomb.name)} claims to unpack {bomb.packed} bytes to {bomb.size}"
        rule = f"at most {MAX_RATIO} times the packed size above {RATIO_FREE_BYTES} bytes"
    if rule:
        size = f"{packed} bytes to {total} bytes"
        raise refusal(reason, size=size, rule=rule, hint=raise_hint("max_bytes", total))


def _is_bomb(entry: Entry) -> bool:
    return entry.size > RATIO_FREE_BYTES and entry.size > MAX_RATIO * entry.packed


def _problem_of_kind(entry: Entry) -> str | None:
    kind = stat.S_IFMT(entry.mode)
    if kind not in (0, stat.S_IFDIR if entry.is_folder else stat.S_IFREG):
        return "an entry is a link or a special file"
    if entry.is_folder and entry.size:
        return "a folder has content"
    if entry.flags & ENCRYPTED:
        return "an entry is encrypted with a zip password"
    if entry.method not in (STORED, DEFLATED):
        return f"an entry is packed with method {entry.method}, not deflate"
    return None


# --- the content -----------------------------------------------------------------------------------------------------


def _content(source: Source, entry: Entry) -> Iterator[bytes | memoryview]:
    """Yield the content of one entry, at most 256 KiB at a time and never more than was declared."""
    packed = source.pieces(entry.start, entry.end)
    left = entry.size
    for piece in _inflated(packed) if entry.method == DEFLATED else packed:
        left -= len(piece)
        if left < 0:
            break
        yield piece
    if left:
        raise _not_declared(entry)


def _checked(pieces: Iterator[bytes | memoryview], entry: Entry) -> Iterator[bytes | memoryview]:
    """Yield pieces, and compare the checksum behind the last: whoever uses them before undoes it when this raises."""
    crc = 0
    for piece in pieces:
        crc = zlib.crc32(piece, crc)
        yield piece
    if crc != entry.crc:
        raise _not_declared(entry)


def _not_declared(entry: Entry) -> UnsafeArchiveError:
    return refusal("an entry has not the size and checksum that it declares", entry=shown(entry.name))


def _inflated(packed: Iterator[memoryview]) -> Iterator[bytes]:
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        for piece in packed:
            if inflater.eof:
                raise refusal("an entry goes on after its end")
            waiting: bytes | memoryview = piece
            while waiting and not inflater.eof:
                yield inflater.decompress(waiting, PIECE)
                waiting = inflater.unconsumed_tail
        while not inflater.eof and (rest := inflater.decompress(b"", PIECE)):
            yield rest
    except zlib.error as error:
        raise refusal("packed data is damaged", detail=error) from error
    if not inflater.eof or inflater.unused_data:
        raise refusal("an entry ends too early or goes on after its end")


class Archive(Files):
    """The files of a zip, judged safe by `open_archive`; nothing is on the disk until they are saved.

    Parameters
    ----------
    source
        The zip.
    entries
        What is in it.
    """

    def __init__(self, source: Source, entries: Sequence[Entry]) -> None:
        self.source = source
        self._entries = {entry.name: entry for entry in entries}
        super().__init__(
            {name: entry.size for name, entry in self._entries.items() if not entry.is_folder},
            tuple(name for name, entry in self._entries.items() if entry.is_folder),
        )

    def _pieces(self, name: str) -> Iterator[bytes | memoryview]:
        return _checked(_content(self.source, self._entries[name]), self._entries[name])

    def unchecked(self, name: str) -> Iterator[bytes | memoryview]:
        """Yield a file of `names` piece by piece without comparing its checksum, for what has a check of its own."""
        return _content(self.source, self._entries[name])


def open_archive(
    data: bytes | bytearray | memoryview | Path | Source,
    *,
    max_bytes: int | None = None,
    max_files: int | None = None,
) -> Archive:
    """Open the zip of a result after judging all of its entries.

    Parameters
    ----------
    data
        The zip, or the path of it; a large file is not read into the memory.
    max_bytes
        How much all files together may be, unpacked; default: 2 GB, and not more than 200 times the packed size.
    max_files
        How many entries it may have; default: 10,000.

    Raises
    ------
    UnsafeArchiveError
        When any entry leaves the folder, is a link, stands twice, is encrypted, overlaps another, or when the archive
        is no zip, contradicts itself or unpacks to too much.
    ValidationError
        When `data` is no bytes and no file, or a limit is not a whole number above 0.
    """
    check_limits(max_bytes, max_files)
    source = Source.of(data)
    place = locate(source)
    place.require(max_files)
    return judged(source, read_entries(source, place), max_bytes)


def judged(source: Source, entries: Sequence[Entry], max_bytes: int | None) -> Archive:
    """Return the archive of these entries after judging all of them.

    Raises
    ------
    UnsafeArchiveError
        As `open_archive`.
    """
    _judge(entries, max_bytes)
    return Archive(source, entries)


def check_limits(max_bytes: object = None, max_files: object = None) -> None:
    """See that limits are whole numbers above 0, or None.

    Raises
    ------
    ValidationError
        When one is not.
    """
    for name, limit in (("max_bytes", max_bytes), ("max_files", max_files)):
        if limit is not None and (type(limit) is not int or limit < 1):
            raise ValidationError(f"{shown(limit)} is not a limit", hint=f"give {name} as a whole number above 0")

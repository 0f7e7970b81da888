"""What a file is, by what it holds.

A name is a claim of whoever wrote the result. Formats that begin with a mark of their own are known by it, whatever
they are called; kinds of text look alike, so there a name that fits decides.
"""

from __future__ import annotations

import json
import re
import struct
from dataclasses import dataclass
from pathlib import PurePosixPath

HEAD_BYTES = 8192
"""How much of a file is looked at."""

_LINES = 20
_MEANT = {"csv": ",", "tsv": "\t"}


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of file.

    Parameters
    ----------
    name
        One word: ``csv``, ``parquet``, ``png``, ``binary`` ...
    what
        The same for people: ``a Parquet table``.
    suffix
        What a name of it ends in.
    """

    name: str
    what: str
    suffix: str

    @property
    def is_text(self) -> bool:
        """Whether it is some kind of text."""
        return self.name in _TEXTS

    @property
    def is_table(self) -> bool:
        """Whether it can be read as a table."""
        return self.name in _TABLES

    @property
    def is_picture(self) -> bool:
        """Whether it is a picture that notebooks show."""
        return self.name in _PICTURES


_KINDS = {
    kind.name: kind
    for kind in (
        Kind("empty", "empty", ""),
        Kind("binary", "bytes of no known format", ".bin"),
        Kind("text", "text", ".txt"),
        Kind("csv", "a CSV table", ".csv"),
        Kind("tsv", "a TSV table", ".tsv"),
        Kind("json", "JSON", ".json"),
        Kind("jsonl", "JSON lines", ".jsonl"),
        Kind("html", "a web page", ".html"),
        Kind("xml", "XML", ".xml"),
        Kind("svg", "an SVG drawing", ".svg"),
        Kind("parquet", "a Parquet table", ".parquet"),
        Kind("feather", "a Feather (Arrow) table", ".feather"),
        Kind("xlsx", "an Excel workbook", ".xlsx"),
        Kind("npy", "a NumPy array", ".npy"),
        Kind("npz", "an archive of NumPy arrays", ".npz"),
        Kind("pickle", "a Python pickle, which can run code when it is opened", ".pkl"),
        Kind("png", "a PNG picture", ".png"),
        Kind("jpeg", "a JPEG picture", ".jpg"),
        Kind("gif", "a GIF picture", ".gif"),
        Kind("webp", "a WebP picture", ".webp"),
        Kind("pdf", "a PDF document", ".pdf"),
        Kind("zip", "a zip archive", ".zip"),
        Kind("gzip", "compressed with gzip", ".gz"),
        Kind("zstd", "compressed with Zstandard", ".zst"),
        Kind("sqlite", "an SQLite database", ".sqlite"),
        Kind("hdf5", "an HDF5 file", ".h5"),
        Kind("elf", "a program", ""),
    )
}
_TEXTS = frozenset({"text", "csv", "tsv", "json", "jsonl", "html", "xml", "svg"})
_TABLES = frozenset({"csv", "tsv", "json", "jsonl", "parquet", "feather", "xlsx"})
_PICTURES = frozenset({"png", "jpeg", "gif", "webp"})
_MARKS: tuple[tuple[bytes, str], ...] = (
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"\xff\xd8\xff", "jpeg"),
    (b"GIF87a", "gif"),
    (b"GIF89a", "gif"),
    (b"PAR1", "parquet"),
    (b"ARROW1\0\0", "feather"),
    (b"\x93NUMPY", "npy"),
    (b"%PDF-", "pdf"),
    (b"PK\x05\x06", "zip"),
    (b"\x1f\x8b\x08", "gzip"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"SQLite format 3\0", "sqlite"),
    (b"\x89HDF\r\n\x1a\n", "hdf5"),
    (b"\x7fELF", "elf"),
)
_SUFFIXES = {kind.suffix: kind.name for kind in _KINDS.values() if kind.name in _TEXTS} | {
    ".log": "text", ".md": "text", ".ndjson": "jsonl", ".htm": "html", ".tab": "tsv", ".geojson": "json",
}  # fmt: skip


def kind_of(head: bytes, size: int, name: str = "") -> Kind:
    """Return what a file is.

    Parameters
    ----------
    head
        Its first `HEAD_BYTES` bytes, or all of it.
    size
        Its size in bytes.
    name
        What it is called; decides between kinds of text that the content fits.
    """
    if not size:
        return _KINDS["empty"]
    found = next((kind for mark, kind in _MARKS if head.startswith(mark)), None) or _container(head)
    if found is None:
        text = _text(head, whole=len(head) >= size)
        found = "binary" if text is None else _kind_of_text(text, PurePosixPath(name).suffix.lower(), len(head) >= size)
    return _KINDS[found]


def separator_of(head: bytes, kind: Kind) -> str:
    """Return what separates the columns of a CSV or TSV file, as its first lines have it."""
    lines = _lines(_text(head, whole=False) or "")
    order = ("\t", ",", ";") if kind.name == "tsv" else (",", ";", "\t", "|")
    return next((one for one in order if _is_even(lines, one)), _MEANT.get(kind.name, ","))


def _container(head: bytes) -> str | None:
    if head.startswith(b"PK\x03\x04"):
        return _kind_of_zip(head)
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return "webp"
    # Protocol 2 and later begin with its number; a text does not begin with this sign.
    if len(head) > 2 and head[0] == 0x80 and head[1] in (2, 3, 4, 5):
        return "pickle"
    return None


def _kind_of_zip(head: bytes) -> str:
    if len(head) < 30:
        return "zip"
    (count,) = struct.unpack_from("<H", head, 26)
    first = head[30 : 30 + count]
    if first.endswith(b".npy"):
        return "npz"
    is_office = first.startswith((b"[Content_Types].xml", b"_rels/", b"docProps/", b"xl/"))
    return "xlsx" if is_office and b"word/" not in head and b"ppt/" not in head else "zip"


def _text(head: bytes, *, whole: bool) -> str | None:
    """Return bytes as text, or None where they are none; a letter that the end of the head cuts does not count."""
    try:
        text = head.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if whole or error.start < len(head) - 3 or error.reason != "unexpected end of data":
            return None
        text = head[: error.start].decode("utf-8-sig")
    # Line ends, tabs, form feeds and the colours of a terminal are in texts; other signs of that kind are not.
    return None if re.search(r"[\x00-\x08\x0e-\x1a\x1c-\x1f]", text) else text


def _kind_of_text(text: str, suffix: str, whole: bool) -> str:
    claimed = _SUFFIXES.get(suffix)
    guessed = _guess(text, whole)
    if claimed in ("json", "jsonl") and guessed in ("json", "jsonl"):
        return claimed
    if claimed == "json" and whole:
        return "json" if _is_json(text) else guessed
    if claimed in _MEANT and (guessed in ("jsonl", "html", "svg", "xml") or (guessed == "json" and whole)):
        return guessed
    # A column of numbers is a table by its name only, and a text with commas in it is none.
    return claimed if claimed is not None and claimed not in ("json", "jsonl") else guessed


def _guess(text: str, whole: bool) -> str:
    stripped = text.lstrip()
    start = stripped[:200].lower()
    if start.startswith(("<!doctype html", "<html")):
        return "html"
    if "<svg" in stripped[:1000].lower() and stripped.startswith("<"):
        return "svg"
    if start.startswith("<?xml"):
        return "xml"
    lines = _lines(text)
    if stripped[:1] in ("{", "["):
        if len(lines) > 1 and all(line[:1] in ("{", "[") and _is_json(line) for line in lines[:2]):
            return "jsonl"
        if _is_json(text) or (not whole and re.match(r'[{\[]\s*["{\[\d\-tfn]', stripped)):
            return "json"
    if _is_even(lines, "\t"):
        return "tsv"
    return "csv" if len(lines) > 1 and any(_is_even(lines, sign) for sign in (",", ";")) else "text"


def _lines(text: str) -> list[str]:
    """Return the first lines that are whole and not empty."""
    lines = text.split("\n")
    return [line.rstrip("\r") for line in (lines[:-1] or lines)[:_LINES] if line.strip()]


def _is_even(lines: list[str], sign: str) -> bool:
    # Between quotes it separates nothing.
    counts = {re.sub(r'"[^"]*"', "", line).count(sign) for line in lines}
    return len(counts) == 1 and counts != {0}


def _is_json(text: str) -> bool:
    if len(re.findall(r"[{\[]", text)) > 200:
        # Deep brackets end some parsers; whether it is JSON is seen when it is read.
        return True
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True

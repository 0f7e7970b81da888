"""The published format of protected data: an object of values becomes a zip and a public schema of its types.

DataProtector's apps find each value under its path in a zip (``a.b`` is the file ``a/b``), written as Borsh writes it,
and data is found by its schema: so types, names and bytes here are those of ``@iexec/dataprotector`` 2. What that
package would write and nobody could read again is refused: an integer of 2**127, text that is not Unicode.
"""

from __future__ import annotations

import re
import struct
import warnings
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from iexec_nb.errors import ValidationError
from iexec_nb.protocol import params
from iexec_nb.protocol.types import shown

BOOL, I128, F64, STRING = "bool", "i128", "f64", "string"
SCALARS = (BOOL, I128, F64, STRING)
LEGACY_SCALARS = ("boolean", "number", "string")
"""What ``@iexec/dataprotector`` 0 and 1 called the types of their values."""
BINARY = "application/octet-stream"
MIME_TYPES = (
    BINARY, "application/pdf", "application/xml", "application/zip", "audio/midi", "audio/mpeg", "audio/x-wav",
    "image/bmp", "image/gif", "image/jpeg", "image/png", "image/webp", "video/mp4", "video/mpeg", "video/x-msvideo",
)  # fmt: skip
SEARCHABLE = tuple(dict.fromkeys((*SCALARS, *MIME_TYPES, *LEGACY_SCALARS)))
"""Every type that can stand in a schema."""

MAX_DEPTH = 32
MAX_READABLE_TEXT = 120_000
"""Bytes of text that the npm deserializer can read as text: above, JavaScript runs out of arguments and it guesses."""

_KEY = re.compile(r"[a-zA-Z0-9_-]+")
_I128_MIN, _I128_MAX = -(2**127), 2**127 - 1
_HEAD_BYTES = 16
_COPY_BYTES = 1 << 20
# The same data gives the same zip, whenever and wherever it is made.
_DATE = (1980, 1, 1, 0, 0, 0)

Schema = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Blob:
    """Bytes, or the path of a file, and the type that the schema gives them; what they look like where it is None."""

    content: bytes | Path
    type: str | None = None

    def __post_init__(self) -> None:
        if isinstance(self.content, Path) and not self.content.is_file():
            raise _invalid(f"{shown(self.content.name)!r} is not a file", "give the path of a file that exists")
        if self.type is not None and self.type not in MIME_TYPES:
            raise _invalid(f'Unsupported type "{shown(self.type)}"', f"the types of bytes are {', '.join(MIME_TYPES)}")

    def head(self) -> bytes:
        """Return the first bytes, by which a type is recognized."""
        if isinstance(self.content, bytes):
            return self.content[:_HEAD_BYTES]
        with self.content.open("rb") as file:
            return file.read(_HEAD_BYTES)

    def chunks(self) -> Iterator[bytes]:
        """Yield the content piece by piece."""
        if isinstance(self.content, bytes):
            yield self.content
            return
        with self.content.open("rb") as file:
            while chunk := file.read(_COPY_BYTES):
                yield chunk


def check(data: object) -> None:
    """See that data can be protected: what its keys and values are, at any depth.

    Parameters
    ----------
    data
        Nested mappings whose keys are letters, digits, ``-`` and ``_``, and whose values are ``bool``, ``int``,
        ``float``, ``str``, bytes, a `Path` or a `Blob`.

    Raises
    ------
    ValidationError
        In the words of the SDK, and where.
    """
    _check(data, "", 0)
    if not data:
        raise _invalid("there is nothing in it", 'give values by name, such as {"email": "alice@example.com"}')


def _check(data: object, where: str, depth: int) -> None:
    if data is None:
        raise _invalid("Unsupported null data", "leave the key out", where)
    if isinstance(data, list | tuple | set | frozenset):
        raise _invalid("Unsupported array data", "give a dict with a key for each value, or bytes", where)
    if not isinstance(data, Mapping):
        if where:
            _check_value(data, where)
            return
        raise _invalid(f"Unsupported {type(data).__name__} data", "give a dict of values, a DataFrame or a file")
    if depth > MAX_DEPTH:
        raise _invalid("Unsupported depth", f"nest at most {MAX_DEPTH} levels")
    for key, value in data.items():
        if key == "":
            raise _invalid("Unsupported empty key", "give every value a name", where)
        if not isinstance(key, str) or not _KEY.fullmatch(key):
            raise _invalid(
                "Unsupported special character in key", "use letters, digits, - and _", where, key=shown(key)
            )
        _check(value, f"{where}.{key}" if where else key, depth + 1)


def _check_value(value: object, where: str) -> None:
    if isinstance(value, bool | bytes | bytearray | memoryview | Blob):
        return
    if isinstance(value, Path):
        Blob(value)
    elif isinstance(value, int):
        if not _I128_MIN <= value <= _I128_MAX:
            raise _invalid("Unsupported integer value: out of i128 range", "give it as text", where)
    elif isinstance(value, float):
        if not -float("inf") < value < float("inf"):
            raise _invalid("Unsupported number value: infinity", "give a finite number", where)
    elif isinstance(value, str):
        _encoded(value, where)
    else:
        raise _invalid(f"Unsupported {type(value).__name__} data", "give text, numbers, bytes or dicts of them", where)


def _encoded(text: str, where: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        # Raised out here: the encoder's own error holds the text, which is what is to be protected.
        pass
    raise _invalid("Unsupported text: it has half of a surrogate pair", "give it as bytes", where)


def _invalid(problem: str, hint: str, where: str = "", **context: object) -> ValidationError:
    place: dict[str, object] = {"at": where} if where else {}
    return ValidationError(f"data is not valid: {problem}", context=place | context, hint=hint)


# --- the schema ----------------------------------------------------------------------------------------------------


def extract_schema(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return the type of each value, nested as the values are; it becomes public.

    Parameters
    ----------
    data
        What `check` accepts.

    Examples
    --------
    >>> extract_schema({"email": "a@b.c", "age": 36, "photo": b"BM6"})
    {'email': 'string', 'age': 'i128', 'photo': 'image/bmp'}
    """
    return {key: extract_schema(value) if isinstance(value, Mapping) else type_of(value) for key, value in data.items()}


def type_of(value: object) -> str:
    """Return the type of one value: ``bool i128 f64 string``, or the MIME type that its first bytes show."""
    if isinstance(value, bool):
        return BOOL
    if isinstance(value, int):
        return I128
    if isinstance(value, float):
        return F64
    if isinstance(value, str):
        return STRING
    blob = _blob(value)
    return blob.type or mime_type(blob.head())


def mime_type(head: bytes) -> str:
    """Return the MIME type of bytes by their first 16, as ``magic-bytes.js`` tells it to the SDK.

    It knows no more than signatures: whatever begins with a ``G`` is a video to it.
    """
    if head[4:8] == b"ftyp" and not head[8:].startswith((b"mif1", b"heic", b"avif", b"qt")):
        return "video/mp4"
    if head[:4] == b"RIFF" and (kind := _RIFF.get(head[8:12])):
        return kind
    return next((kind for start, kind in _SIGNATURES if head.startswith(start)), BINARY)


_RIFF = {b"WEBP": "image/webp", b"WAVE": "audio/x-wav", b"AVI ": "video/x-msvideo"}
_SIGNATURES = (
    (b"GIF87a", "image/gif"), (b"GIF89a", "image/gif"), (b"\xff\xd8\xff", "image/jpeg"),
    (b"PK\x03\x04", "application/zip"), (b"PK\x05\x06", "application/zip"), (b"PK\x07\x08", "application/zip"),
    (b"\x89PNG\r\n\x1a\n", "image/png"), (b"%PDF", "application/pdf"), (b"\xef\xbb\xbf%PDF", "application/pdf"),
    (b"\xff\xfb", "audio/mpeg"), (b"\xff\xf3", "audio/mpeg"), (b"\xff\xf2", "audio/mpeg"), (b"ID3", "audio/mpeg"),
    (b"BM", "image/bmp"), (b"MThd", "audio/midi"), (b"<?xml ", "application/xml"),
    (b"\x00\x00\x01\xba", "video/mpeg"), (b"\x00\x00\x01\xb3", "video/mpeg"), (b"G", "video/mpeg"),
)  # fmt: skip


def schema_text(schema: Schema) -> str:
    """Return the JSON text of a schema as the contract is given it: that of JavaScript's ``JSON.stringify``."""
    return params.dumps(schema)


def schema_entries(schema: Schema, parent: str = "") -> list[str]:
    """Return a schema as the subgraph lists it: ``path:type`` for each value, such as ``address.zip:string``."""
    entries: list[str] = []
    for key, value in schema.items():
        path = f"{parent}.{key}" if parent else key
        entries += schema_entries(value, path) if isinstance(value, Mapping) else [f"{path}:{value}"]
    return entries


def schema_of(entries: Sequence[str]) -> dict[str, Any]:
    """Return the nested schema of entries such as ``address.zip:string``.

    Somebody else made them, so one that contradicts another (a value that is also a folder) is left out.
    """
    schema: dict[str, Any] = {}
    for entry in entries:
        path, _, kind = entry.partition(":")
        *folders, name = path.split(".")
        if len(folders) > MAX_DEPTH:
            continue
        current: Any = schema
        for folder in folders:
            current = current.setdefault(folder, {}) if isinstance(current, dict) else None
        if isinstance(current, dict) and not isinstance(current.get(name), dict):
            current[name] = kind
    return schema


def search_filters(required: object) -> list[dict[str, Any]]:
    """Return the subgraph's filters for a schema that must be there.

    Parameters
    ----------
    required
        Nested as a schema; a type may be a list of types, any of which will do.

    Returns
    -------
    list of dict
        Parts of ``where: {and: [...]}``.

    Raises
    ------
    ValidationError
        In the words of the SDK.
    """
    every: list[str] = []
    some: list[list[str]] = []
    _collect(required, "", every, some)
    filters: list[dict[str, Any]] = [{"schema_contains": every}] if every else []
    return filters + [{"or": [{"schema_contains": [one]} for one in kinds]} for kinds in some]


def _collect(schema: object, parent: str, every: list[str], some: list[list[str]]) -> None:
    if schema is None:
        raise _bad_schema("Unsupported null schema")
    if isinstance(schema, list | tuple) or not isinstance(schema, Mapping):
        raise _bad_schema("Unsupported array schema" if isinstance(schema, list | tuple) else "Unsupported schema")
    if parent.count(".") >= MAX_DEPTH:
        raise _bad_schema("Unsupported depth")
    for key, value in schema.items():
        if key == "":
            raise _bad_schema("Unsupported empty key")
        if not isinstance(key, str) or not _KEY.fullmatch(key):
            raise _bad_schema("Unsupported special character in key")
        path = f"{parent}.{key}" if parent else key
        if isinstance(value, Mapping):
            _collect(value, path, every, some)
            continue
        kinds = list(value) if isinstance(value, list | tuple) else [value]
        if not kinds:
            raise _bad_schema("Unsupported empty type array")
        if wrong := [kind for kind in kinds if kind not in SEARCHABLE]:
            where = "type array" if isinstance(value, list | tuple) else "schema"
            raise _bad_schema(f'Unsupported type "{shown(wrong[0])}" in {where}')
        entries = [f"{path}:{kind}" for kind in kinds]
        if len(entries) == 1:
            every += entries
        else:
            some.append(entries)


def _bad_schema(problem: str) -> ValidationError:
    return ValidationError(
        f"requiredSchema is not valid: {problem}",
        context={"types": ", ".join(SEARCHABLE)},
        hint='give it as {"email": "string"}, or {"photo": ["image/png", "image/jpeg"]} where either will do',
    )


# --- the zip -------------------------------------------------------------------------------------------------------


def serialize(value: object) -> bytes:
    """Return the bytes of one value: Borsh for ``bool``, ``int`` (i128), ``float`` (f64) and ``str``; else itself."""
    if isinstance(value, bool):
        return bytes([value])
    if isinstance(value, int):
        return value.to_bytes(16, "little", signed=True)
    if isinstance(value, float):
        return struct.pack("<d", value)
    if isinstance(value, str):
        text = _encoded(value, "")
        return struct.pack("<I", len(text)) + text
    return b"".join(_blob(value).chunks())


def write_zip(data: Mapping[str, Any], target: BinaryIO) -> None:
    """Write the values of data into a zip, one file each, as ``@iexec/dataprotector`` 2 does.

    Parameters
    ----------
    data
        What `check` accepts. Files are read piece by piece.
    target
        Open for writing bytes.

    Warns
    -----
    UserWarning
        When a text is longer than apps in JavaScript can read as text.
    """
    long: list[str] = []
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        _write(archive, data, "", long)
    if long:
        warnings.warn(
            f"{', '.join(long)}: apps that read it with @iexec/dataprotector-deserializer get wrong text when it is "
            f"longer than {MAX_READABLE_TEXT:,} bytes; give it as bytes: text.encode()",
            stacklevel=2,
        )


def _write(archive: zipfile.ZipFile, data: Mapping[str, Any], parent: str, long: list[str]) -> None:
    for key, value in data.items():
        name = f"{parent}{key}"
        if isinstance(value, Mapping):
            archive.writestr(_info(f"{name}/", 0o40755), b"")
            _write(archive, value, f"{name}/", long)
        elif isinstance(value, bool | int | float | str):
            content = serialize(value)
            if isinstance(value, str) and len(content) - 4 > MAX_READABLE_TEXT:
                long.append(name.replace("/", "."))
            archive.writestr(_info(name, 0o100644), content)
        else:
            _write_blob(archive, _info(name, 0o100644), _blob(value))


def _write_blob(archive: zipfile.ZipFile, info: zipfile.ZipInfo, blob: Blob) -> None:
    content = blob.content
    info.file_size = len(content) if isinstance(content, bytes) else content.stat().st_size
    with archive.open(info, "w") as entry:
        for chunk in blob.chunks():
            entry.write(chunk)


def _info(name: str, mode: int) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name, _DATE)
    info.create_system = 3
    info.external_attr = mode << 16
    return info


def _blob(value: Any) -> Blob:
    if isinstance(value, Blob):
        return value
    return Blob(value if isinstance(value, Path) else bytes(value))

"""Reading protected data inside an app, as ``@iexec/dataprotector-deserializer`` does, and after a decryption.

An app is given a zip that somebody else made, so it is read with limits and without trust: what is damaged, bigger than
allowed or of another type than was asked for is an error that names the path and holds none of the data.
"""

from __future__ import annotations

import contextlib
import io
import os
import struct
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from iexec_nb.errors import ValidationError
from iexec_nb.protocol.protected_data import BOOL, F64, I128, STRING
from iexec_nb.protocol.types import shown

Mode = Literal["optimistic", "legacy", "borsh"]
MODES = ("optimistic", "legacy", "borsh")
MAX_BYTES = 1 << 30
MAX_DIRECTORY_BYTES = 8 << 20
"""The most that a zip's table of contents may hold: some 100,000 entries."""

_END, _END_BYTES = b"PK\5\6", 22
_LOCATOR, _LOCATOR_BYTES = b"PK\6\7", 20
_BROKEN = (
    zipfile.BadZipFile, zlib.error, struct.error, EOFError, NotImplementedError, RuntimeError, OSError, ValueError,
    OverflowError, KeyError, IndexError,
)  # fmt: skip


class Deserializer:
    """Reads the values of one protected data.

    Parameters
    ----------
    source
        The zip as a path or bytes; default: the dataset of the task that runs, which the environment names
        (``IEXEC_IN`` and ``IEXEC_DATASET_FILENAME``).
    mode
        ``borsh`` for what version 2 of DataProtector made, ``legacy`` for what version 0 and 1 made, ``optimistic``
        for either.
    max_bytes
        The most that one value may hold, and that the zip may be when it is given as a path.

    Raises
    ------
    ValidationError
        When there is no such zip, or it is damaged.

    Examples
    --------
    >>> import io, zipfile
    >>> made = io.BytesIO()
    >>> with zipfile.ZipFile(made, "w") as archive:
    ...     archive.writestr("email", b"\\x05\\0\\0\\0a@b.c")
    >>> Deserializer(made.getvalue()).get_value("email", "string")
    'a@b.c'
    """

    def __init__(
        self, source: Path | str | bytes | None = None, *, mode: Mode = "optimistic", max_bytes: int = MAX_BYTES
    ) -> None:
        if mode not in MODES:
            raise ValidationError(f"{shown(mode)} is not a mode", hint=f"use one of {', '.join(MODES)}")
        self.mode = mode
        self._max_bytes = max_bytes
        given = _source(source)
        try:
            archive = zipfile.ZipFile(given) if _has_small_directory(given) else None
        except _BROKEN as error:
            raise _unusable(type(error).__name__) from error
        if archive is None:
            raise _unusable("it has too many entries")
        self._archive = archive
        names = [entry.filename for entry in self._archive.infolist()]
        if len(set(names)) < len(names):
            self._archive.close()
            raise _unusable("it has two entries of one name")

    @property
    def paths(self) -> tuple[str, ...]:
        """The paths of all values, such as ``address.zip``."""
        names = (entry.filename for entry in self._archive.infolist())
        return tuple(name.replace("/", ".") for name in names if not name.endswith("/"))

    def get_value(self, path: str, schema: str) -> Any:
        """Return one value.

        Parameters
        ----------
        path
            Where it is, such as ``address.zip``.
        schema
            Its type: ``bool`` gives a bool, ``i128`` an int, ``f64`` a float, ``string`` text, ``boolean`` and
            ``number`` (legacy) a bool and a number, and anything else the bytes as they are.

        Raises
        ------
        ValidationError
            When there is no such value, or it is not of this type.
        """
        if not isinstance(path, str) or not isinstance(schema, str):
            raise ValidationError("path and schema are texts", hint='get_value("address.zip", "string")')
        raw = self._read(path)
        if schema in (BOOL, I128, F64) and self.mode == "legacy":
            raise self._unsupported(schema)
        if schema in ("number", "boolean") and self.mode == "borsh":
            raise self._unsupported(schema)
        reader = _READERS.get(schema)
        if reader is None:
            return raw
        try:
            return reader(raw, self.mode)
        except (ValueError, struct.error, OverflowError):
            # Raised out here: the reader's own error may hold the data.
            pass
        raise ValidationError(
            f'Failed to deserialize "{shown(path)}" as "{schema}" in "{self.mode}" mode',
            hint="ask for the type that the schema of the protected data says",
        )

    def values(self, schema: Mapping[str, Any], parent: str = "") -> dict[str, Any]:
        """Return all values that a schema names, nested as it is.

        Parameters
        ----------
        schema
            The types, as the record of a protected data has them (``.schema``).
        parent
            The path of the part that is meant; default: everything.

        Raises
        ------
        ValidationError
            As `get_value`.
        """
        found: dict[str, Any] = {}
        for key, kind in schema.items():
            path = f"{parent}.{key}" if parent else key
            found[key] = self.values(kind, path) if isinstance(kind, Mapping) else self.get_value(path, kind)
        return found

    def close(self) -> None:
        """Close the file."""
        self._archive.close()

    def __repr__(self) -> str:
        return f"Deserializer({len(self.paths)} values, mode={self.mode!r})"

    def _unsupported(self, schema: str) -> ValidationError:
        return ValidationError(
            f'Unsupported schema "{schema}" in "{self.mode}" mode', hint='mode="optimistic" reads both formats'
        )

    def _read(self, path: str) -> bytes:
        name = path.replace(".", "/")
        try:
            entry = self._archive.getinfo(name)
        except KeyError:
            entry = None
        if entry is None or entry.is_dir():
            known = ", ".join(self.paths[:10])
            raise ValidationError(
                f"Failed to load path {shown(path)}",
                context={"paths": shown(known, 300) or "none"},
                hint="ask for one of its paths",
            )
        if entry.file_size > self._max_bytes:
            raise self._too_big(path)
        try:
            with self._archive.open(entry) as file:
                # One more than allowed: the size that a zip announces is not always the size that comes out.
                raw = file.read(self._max_bytes + 1)
        except _BROKEN as error:
            raise ValidationError(
                f"Failed to load path {shown(path)}",
                context={"reason": type(error).__name__},
                hint="the zip is damaged: take it from where it was made",
            ) from error
        if len(raw) > self._max_bytes:
            raise self._too_big(path)
        return raw

    def _too_big(self, path: str) -> ValidationError:
        return ValidationError(
            f"{shown(path)} is larger than {self._max_bytes} bytes", hint="Deserializer(..., max_bytes=...) allows more"
        )


def _unusable(reason: str) -> ValidationError:
    return ValidationError(
        "Failed to load protected data", context={"reason": reason}, hint="give the decrypted zip of a protected data"
    )


def _has_small_directory(given: Path | io.BytesIO) -> bool:
    """Return whether a zip's table of contents may be read into memory as a whole.

    Raises
    ------
    OSError, BadZipFile
        When it cannot be read, or has none.
    """
    with contextlib.closing(given.open("rb")) if isinstance(given, Path) else contextlib.nullcontext(given) as file:
        end = file.seek(0, io.SEEK_END)
        file.seek(max(end - _END_BYTES - 0xFFFF, 0))
        tail = file.read()
    at = tail.rfind(_END)
    if at < 0 or len(tail) < at + _END_BYTES:
        raise zipfile.BadZipFile("no end record")
    (size,) = struct.unpack_from("<L", tail, at + 12)
    # Big zips have a second record in front of this one, which would be believed more than this one.
    is_big = tail[max(at - _LOCATOR_BYTES, 0) : at].startswith(_LOCATOR)
    return bool(size <= MAX_DIRECTORY_BYTES) and not is_big


def _source(given: object) -> Path | io.BytesIO:
    if given is None:
        folder, name = os.environ.get("IEXEC_IN"), os.environ.get("IEXEC_DATASET_FILENAME")
        if not folder or not name:
            raise ValidationError(
                "Missing protected data",
                context={"environment": "IEXEC_IN and IEXEC_DATASET_FILENAME name the dataset of a task"},
                hint="give its path, or run it as an app with a dataset",
            )
        return Path(folder, name)
    if isinstance(given, bytes | bytearray):
        return io.BytesIO(given)
    if isinstance(given, str | os.PathLike):
        return Path(given)
    raise ValidationError(f"a {type(given).__name__} is not a zip", hint="give its path, or bytes")


def _bool(raw: bytes, mode: str) -> bool:
    if raw not in (b"\0", b"\1"):
        raise ValueError("not a bool")
    return raw == b"\1"


def _i128(raw: bytes, mode: str) -> int:
    if len(raw) != 16:
        raise ValueError("not 16 bytes")
    return int.from_bytes(raw, "little", signed=True)


def _f64(raw: bytes, mode: str) -> float:
    (value,) = struct.unpack("<d", raw)
    return float(value)


def _string(raw: bytes, mode: str) -> str:
    # The length in front tells the formats apart. The npm package compares less: it takes the length for granted.
    if mode != "legacy" and len(raw) >= 4 and struct.unpack("<I", raw[:4])[0] == len(raw) - 4:
        return raw[4:].decode()
    if mode == "borsh":
        raise ValueError("not a string")
    return raw.decode()


def _number(raw: bytes, mode: str) -> int | float:
    text = raw.decode("ascii").strip()
    if "_" in text:
        raise ValueError("not a number")
    return int(text) if text.lstrip("-").isdigit() and len(text) <= 16 else float(text)


_READERS = {STRING: _string, BOOL: _bool, I128: _i128, F64: _f64, "number": _number, "boolean": _bool}

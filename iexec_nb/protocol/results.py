"""Where a task's result lies, what in it counts, and the digest that the workers agreed on.

The chain keeps two things of a result: where it is, and a digest of the part that every honest worker computes alike.
Which part that is stands in a file of the result itself, ``computed.json``.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Any

from iexec_nb.errors import ResultNotFoundError, ValidationError
from iexec_nb.protocol import foreign
from iexec_nb.protocol.archive import open_archive
from iexec_nb.protocol.result_files import Files, NoFiles, SingleFile
from iexec_nb.protocol.sniffing import HEAD_BYTES, kind_of
from iexec_nb.protocol.types import keccak, shown
from iexec_nb.protocol.zip_records import Source

COMPUTED = "computed.json"
OUTPUT_FOLDER = "iexec_out"

_MAX_COMPUTED_BYTES = 1 << 20
_ZIP_STARTS = (b"PK\x03\x04", b"PK\x05\x06", b"PK\x06\x06")


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


# --- the files -------------------------------------------------------------------------------------------------------


def open_files(source: Source, *, max_bytes: int | None = None, max_files: int | None = None) -> Files:
    """Return the files of a result that is not encrypted: those of a zip, or one file that is none, or nothing.

    Parameters
    ----------
    source
        What was downloaded.
    max_bytes, max_files
        As for `archive.open_archive`.

    Raises
    ------
    UnsafeArchiveError
        When it begins as a zip does and is not a whole and harmless one.
    """
    if not source.size:
        return NoFiles()
    if bytes(source.read(0, min(4, source.size))) in _ZIP_STARTS:
        return open_archive(source, max_bytes=max_bytes, max_files=max_files)
    kind = kind_of(bytes(source.read(0, min(HEAD_BYTES, source.size))), source.size)
    return SingleFile(f"result{kind.suffix}", source)


def computed(files: Files) -> dict[str, Any]:
    """Return the decoded ``computed.json`` that the app left; empty without one.

    Raises
    ------
    ValidationError
        When it is not a JSON object, or larger than 1 MiB.
    """
    name = _root(files) + COMPUTED
    if name not in files.sizes:
        return {}
    raw = files.read(name) if files.sizes[name] <= _MAX_COMPUTED_BYTES else b""
    try:
        decoded = foreign.loads(raw)
    except (ValueError, RecursionError):
        decoded = None
    if isinstance(decoded, dict):
        return decoded
    raise ValidationError(f"{COMPUTED} is not a JSON object", hint="the app must write it; see its bytes")


def main_files(files: Files) -> tuple[str, ...]:
    """Return the names of the files that ``computed.json`` says are the output, sorted; none where it says nothing.

    Raises
    ------
    ValidationError
        When ``computed.json`` is not a JSON object.
    """
    return _output(files, computed(files).get("deterministic-output-path"))[0]


def _output(files: Files, path: object) -> tuple[tuple[str, ...], bool]:
    """Return the names that an output path stands for, and whether it is a folder."""
    parts = [part for part in path.split("/") if part] if isinstance(path, str) else []
    if parts[:1] != [OUTPUT_FOLDER]:
        return (), False
    where = (_root(files) + "/".join(parts[1:])).rstrip("/")
    return ((where,), False) if where in files.sizes else (_children(files, where), True)


def _root(files: Files) -> str:
    # Archives of protocol versions before 5 hold the folder itself, beside what the app printed.
    old = f"{OUTPUT_FOLDER}/"
    return old if COMPUTED not in files.sizes and old + COMPUTED in files.sizes else ""


# --- the digest ------------------------------------------------------------------------------------------------------


def result_digest(files: Files, callback: bytes | None = None) -> str:
    """Return the digest that workers agree on.

    Parameters
    ----------
    files
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
        When `callback` is empty, or ``computed.json`` is not a JSON object.
    """
    if callback is not None:
        if not callback:
            raise ValidationError("callback data must not be empty", context={"argument": "callback"})
        return "0x" + keccak(callback).hex()
    path = computed(files).get("deterministic-output-path")
    names, is_folder = _output(files, path)
    if not names:
        raise ResultNotFoundError(
            f"computed.json names no output of this result: {shown(path)}",
            context={"rule": f"deterministic-output-path is a file or folder under /{OUTPUT_FOLDER}"},
            hint=f'the app must write {{"deterministic-output-path": "/{OUTPUT_FOLDER}/<file>"}}',
        )
    digests = [_sha256(files, name) for name in names]
    return "0x" + (keccak(b"".join(digests)) if is_folder else digests[0]).hex()


@dataclass(frozen=True, slots=True)
class Agreement:
    """Whether what was downloaded is what the workers agreed on.

    Parameters
    ----------
    verified
        True and False where the digest says so; None where it cannot be known.
    text
        The reason, for people.
    """

    verified: bool | None
    text: str


NOT_ASKED = Agreement(None, "not compared with the chain: the task is not known")


def agreement(files: Files, digest: str) -> Agreement:
    """Compare the files of a task without a callback with the digest on the chain.

    Parameters
    ----------
    files
        The result, not encrypted.
    digest
        ``resultDigest`` of the task.
    """
    if isinstance(files, SingleFile):
        if "0x" + _sha256(files, files.names[0]).hex() == digest:
            return Agreement(True, "the file has the digest that the workers agreed on")
        return Agreement(None, "not compared: a single file does not say what the digest covers")
    try:
        found, names = result_digest(files), main_files(files)
    except (ValidationError, ResultNotFoundError) as error:
        return Agreement(None, f"not compared: {error.message}")
    covered = shown(names[0]) if len(names) == 1 else f"{len(names)} files"
    if found == digest:
        return Agreement(True, f"{covered}: the digest that the workers agreed on")
    return Agreement(False, f"{covered}: NOT what the workers agreed on (here {found}, on the chain {shown(digest)})")


def callback_agreement(data: bytes, digest: str) -> Agreement:
    """Compare the data of a callback with the digest on the chain."""
    if "0x" + keccak(data).hex() == digest:
        return Agreement(True, "the callback data has the digest that the workers agreed on; files are not covered")
    return Agreement(False, "the callback data is NOT what the workers agreed on")


def _sha256(files: Files, name: str) -> bytes:
    hasher = hashlib.sha256()
    for piece in files.pieces(name):
        hasher.update(piece)
    return hasher.digest()


def _children(files: Files, folder: str) -> tuple[str, ...]:
    head = f"{folder}/" if folder else ""
    names = (name for name in files.names if name.startswith(head) and "/" not in name[len(head) :])
    # Java compares text by its UTF-16 units.
    return tuple(sorted(names, key=lambda name: name.encode("utf-16-be", "surrogatepass")))

"""Encryption of datasets, in the format that workers and the JavaScript SDK use.

A dataset is AES-256-CBC with its IV in front, written and hashed in one pass so that its size does not matter. The
format carries no checksum of its content: what can be checked (padding, lengths) is checked, and anything else than the
original is an error rather than garbage.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import BinaryIO

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC

from iexec_nb.errors import DecryptionError, ValidationError
from iexec_nb.protocol.types import Secret, shown

KEY_BYTES = 32
BLOCK_BYTES = 16
CHUNK_BYTES = 4 << 20
"""Plaintext handled at a time: few hand-overs between the two threads, and 13 MiB of memory in all."""

_DATASET_KEY = "the key that the dataset was encrypted with (base64 of 32 bytes), as it was pushed to the SMS"
_NOT_BLOCKS = "this is not an IV and whole blocks of 16 bytes: it was cut short, or is not encrypted"
_DATASET_FAILED = "Failed to decrypt the dataset"


# --- dataset keys ----------------------------------------------------------------------------------------------------


def generate_dataset_key(random32: bytes) -> Secret:
    """Return a dataset key as base64 text of 44 characters.

    Parameters
    ----------
    random32
        32 bytes from the system's random source.
    """
    if not isinstance(random32, bytes) or len(random32) != KEY_BYTES:
        raise ValidationError("a dataset key is made of 32 random bytes", context={"argument": "random32"})
    return Secret(base64.b64encode(random32).decode())


def dataset_key(value: str | Secret) -> bytes:
    """Return the 32 bytes of a dataset key.

    Parameters
    ----------
    value
        Base64 text; white space around it, the URL-safe letters and missing ``=`` are accepted, as Node does. It
        appears in no message.

    Raises
    ------
    ValidationError
        When it is not base64 of exactly 32 bytes.
    """
    key = _decoded(value if isinstance(value, Secret) else Secret(value if isinstance(value, str) else ""))
    if len(key) != KEY_BYTES:
        raise ValidationError(
            "**** is not a valid encryption key (must be base64 encoded 256 bits key)",
            context={"argument": "key", "given": f"{len(key)} bytes in base64" if key else "not base64"},
            hint="give the 44 characters that `dataset encrypt` made",
        )
    return key


def _decoded(value: Secret) -> bytes:
    letters = "".join(value.reveal().split()).rstrip("=").replace("-", "+").replace("_", "/")
    # Hidden again: frames above this one may raise.
    return Secret(unbase64(letters.encode() + b"=" * (-len(letters) % 4))).reveal_bytes()


def _cipher(key: bytes, iv: bytes) -> Cipher[CBC]:
    if len(key) != KEY_BYTES or len(iv) != BLOCK_BYTES:
        raise ValidationError(
            "AES-256-CBC takes a key of 32 bytes and an IV of 16 bytes",
            context={"key": f"{len(key)} bytes", "iv": f"{len(iv)} bytes"},
        )
    return Cipher(AES(key), CBC(iv))


def _padding(size: int) -> bytes:
    count = BLOCK_BYTES - size % BLOCK_BYTES
    return bytes([count]) * count


def unpadded(plain: bytes, message: str, needs: str) -> bytes:
    """Return `plain` without its PKCS#7 padding; a wrong one is a `DecryptionError` with these words."""
    count = plain[-1]
    if not 1 <= count <= BLOCK_BYTES or plain[-count:] != bytes([count]) * count:
        raise failure(message, needs, "the padding is wrong: another key, or damaged data")
    return plain[:-count]


def failure(message: str, needs: str, problem: str, **context: object) -> DecryptionError:
    """Return the error that says what happened and which key would be needed."""
    return DecryptionError(
        message,
        context={"problem": problem, **context, "needs": needs},
        hint="check that the key belongs to this data, and that the data arrived whole",
    )


def unbase64(data: bytes) -> bytes:
    """Return the bytes in base64 text, whatever its white space; empty when it is not base64."""
    try:
        return base64.b64decode(re.sub(rb"\s", b"", data), validate=True)
    except (ValueError, binascii.Error):
        return b""


# --- bytes -----------------------------------------------------------------------------------------------------------


def as_bytes(data: object) -> bytes | bytearray | memoryview:
    """Return bytes as they are given; text and everything else is a `ValidationError`."""
    if isinstance(data, bytes | bytearray | memoryview):
        return data
    raise ValidationError(
        f"Invalid file buffer, must be bytes, not {type(data).__name__}",
        context={"argument": "data"},
        hint="text: data.encode(); a file: its Path",
    )


def encrypt_bytes(data: bytes, key: bytes, iv: bytes) -> bytes:
    """Return `data` encrypted as a dataset: IV, then AES-256-CBC with PKCS#7 padding.

    Parameters
    ----------
    data
        The plaintext.
    key
        32 bytes, see `dataset_key`.
    iv
        16 random bytes, never used before with this key.
    """
    plain = as_bytes(data)
    encryptor = _cipher(key, iv).encryptor()
    return b"".join((iv, encryptor.update(plain), encryptor.update(_padding(len(plain))), encryptor.finalize()))


def decrypt_bytes(data: bytes, key: bytes) -> bytes:
    """Return the plaintext of an encrypted dataset.

    Parameters
    ----------
    data
        IV and ciphertext.
    key
        32 bytes, see `dataset_key`.

    Raises
    ------
    DecryptionError
        When the length or the padding is wrong. A wrong key passes this check once in 256 times: the format holds
        nothing else to compare with.
    """
    return decrypt_cbc(as_bytes(data), key, _DATASET_FAILED, _DATASET_KEY)


def decrypt_cbc(data: bytes | bytearray | memoryview, key: bytes, message: str, needs: str) -> bytes:
    """Return the plaintext of an IV and AES-256-CBC blocks; a failure is a `DecryptionError` with these words."""
    view = memoryview(data)
    if len(view) < 2 * BLOCK_BYTES or len(view) % BLOCK_BYTES:
        raise failure(message, needs, _NOT_BLOCKS)
    decryptor = _cipher(key, bytes(view[:BLOCK_BYTES])).decryptor()
    return unpadded(decryptor.update(view[BLOCK_BYTES:]) + decryptor.finalize(), message, needs)


def checksum(data: bytes | Path) -> str:
    """Return the SHA-256 of bytes or of a file, as the chain keeps it (``0x`` and 64 hex digits).

    Parameters
    ----------
    data
        The encrypted dataset, or its path.
    """
    if not isinstance(data, Path):
        return "0x" + hashlib.sha256(as_bytes(data)).hexdigest()
    with _reading(data) as file:
        hasher = hashlib.sha256()
        for piece in _chunks(file, CHUNK_BYTES, None):
            hasher.update(piece)
        return "0x" + hasher.hexdigest()


# --- files -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Encrypted:
    """An encrypted file.

    Parameters
    ----------
    path
        Where it lies.
    checksum
        SHA-256 of it, as a dataset's entry on the chain keeps it.
    size
        Its size in bytes.
    """

    path: Path
    checksum: str
    size: int


def encrypt_file(
    source: Path | BinaryIO,
    target: Path,
    key: bytes,
    iv: bytes,
    *,
    chunk: int = CHUNK_BYTES,
    progress: Callable[[int], None] | None = None,
) -> Encrypted:
    """Encrypt a file as a dataset and compute its checksum in the same pass; memory does not grow with its size.

    Parameters
    ----------
    source
        Path, or a file opened for reading bytes.
    target
        Where the encrypted file goes (mode 600). It appears there whole or not at all.
    key
        32 bytes, see `dataset_key`.
    iv
        16 random bytes, never used before with this key.
    chunk
        Bytes handled at a time.
    progress
        Called with the number of bytes read so far.

    Raises
    ------
    ValidationError
        When `source` is no file, is `target` itself, or the folder of `target` does not exist.
    """
    cipher = _cipher(key, iv)
    with _reading(source, target) as stream, _replacing(target) as file:
        pieces = _encrypted(_chunks(stream, chunk, progress), cipher, chunk)
        digest, size = _write(file, iv, pieces)
    return Encrypted(path=target, checksum=digest, size=size)


def decrypt_file(
    source: Path | BinaryIO,
    target: Path,
    key: bytes,
    *,
    checksum: str | None = None,
    chunk: int = CHUNK_BYTES,
    progress: Callable[[int], None] | None = None,
) -> Path:
    """Decrypt a dataset from file to file; memory does not grow with its size.

    Parameters
    ----------
    source, chunk, progress
        As for `encrypt_file`.
    target
        Where the plaintext goes (mode 600). It appears there only after everything was checked.
    key
        32 bytes, see `dataset_key`.
    checksum
        What the SHA-256 of `source` must be, such as the dataset's ``datasetChecksum``.

    Raises
    ------
    DecryptionError
        When checksum, length or padding is wrong. Without `checksum`, a wrong key passes once in 256 times.
    ValidationError
        When `source` is no file, is `target` itself, or the folder of `target` does not exist.
    """
    hasher = hashlib.sha256()
    with _reading(source, target) as stream, _replacing(target) as file:
        chunks = _chunks(stream, chunk, progress, hasher if checksum else None)
        _write(file, b"", _decrypted(chunks, key, chunk))
        if checksum and checksum.lower() != (got := "0x" + hasher.hexdigest()):
            raise failure(_DATASET_FAILED, _DATASET_KEY, f"the file has the checksum {got}, not {shown(checksum)}")
    return target


def _chunks(
    stream: BinaryIO, size: int, progress: Callable[[int], None] | None, hasher: hashlib._Hash | None = None
) -> Iterator[memoryview]:
    """Yield what is read, each piece valid until the next."""
    buffer = memoryview(bytearray(size))
    into = getattr(stream, "readinto", None)
    done = 0
    while view := buffer[: into(buffer) or 0] if into else memoryview(as_bytes(stream.read(size))):
        if hasher:
            hasher.update(view)
        yield view
        done += len(view)
        if progress:
            progress(done)


def _encrypted(chunks: Iterable[memoryview], cipher: Cipher[CBC], size: int) -> Iterator[bytes | memoryview]:
    """Yield the ciphertext; each piece is valid until the next but one is asked for."""
    encryptor = cipher.encryptor()
    total = 0
    for data, out in zip(chunks, cycle((bytearray(size + BLOCK_BYTES), bytearray(size + BLOCK_BYTES))), strict=False):
        yield memoryview(out)[: encryptor.update_into(data, out)]
        total += len(data)
    yield encryptor.update(_padding(total)) + encryptor.finalize()


def _decrypted(chunks: Iterable[memoryview], key: bytes, size: int) -> Iterator[bytes | memoryview]:
    """Yield the plaintext; each piece is valid until the next but one is asked for. The last block is held back."""
    decryptor, iv, last = None, b"", b""
    for data, out in zip(chunks, cycle((bytearray(size + BLOCK_BYTES), bytearray(size + BLOCK_BYTES))), strict=False):
        missing = BLOCK_BYTES - len(iv)
        iv += bytes(data[:missing])
        if len(iv) < BLOCK_BYTES:
            continue
        decryptor = decryptor or _cipher(key, iv).decryptor()
        done = decryptor.update_into(data[missing:], out)
        if done:
            yield last
            last = bytes(out[done - BLOCK_BYTES : done])
            yield memoryview(out)[: done - BLOCK_BYTES]
    try:
        if decryptor is None or not last:
            raise ValueError("no block")
        decryptor.finalize()
    except ValueError:
        raise failure(_DATASET_FAILED, _DATASET_KEY, _NOT_BLOCKS) from None
    yield unpadded(last, _DATASET_FAILED, _DATASET_KEY)


def _write(file: BinaryIO, head: bytes, pieces: Iterable[bytes | memoryview]) -> tuple[str, int]:
    """Write and hash in a second thread while the next piece is computed; return checksum and size."""
    hasher = hashlib.sha256(head)
    size = file.write(head)

    def put(piece: bytes | memoryview) -> None:
        hasher.update(piece)
        file.write(piece)

    with ThreadPoolExecutor(max_workers=1) as pool:
        pending: Future[None] | None = None
        for piece in pieces:
            if pending:
                pending.result()
            pending = pool.submit(put, piece)
            size += len(piece)
        if pending:
            pending.result()
    return "0x" + hasher.hexdigest(), size


@contextmanager
def _reading(source: Path | BinaryIO, target: Path | None = None) -> Iterator[BinaryIO]:
    if not isinstance(source, Path):
        yield source
        return
    if not source.is_file():
        raise ValidationError(f"{source} is not a file", hint="a folder: put it into a zip first")
    if target is not None and target.exists() and target.samefile(source):
        raise ValidationError(f"{source} would be replaced by its own encryption", hint="give another target")
    with source.open("rb") as file:
        yield file


@contextmanager
def _replacing(target: Path) -> Iterator[BinaryIO]:
    """Give a private temporary file beside `target` that takes its place at the end, or leaves no trace."""
    if not target.parent.is_dir():
        raise ValidationError(f"{target.parent} is not a folder", hint="make the folder first")
    descriptor, name = tempfile.mkstemp(prefix=f".{target.name[:100]}-", suffix=".part", dir=target.parent)
    try:
        with open(descriptor, "wb") as file:
            yield file
        os.replace(name, target)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise

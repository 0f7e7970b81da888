"""Encryption of datasets and of results, in the formats that workers and the JavaScript SDK use.

A dataset is AES-256-CBC with its IV in front, written and hashed in one pass so that its size does not matter. A
result is a zip encrypted with a one-time AES key, which is itself encrypted with the beneficiary's RSA key; results of
protocol versions before 9 have another layout and are still readable. Neither format carries a checksum of its content:
what can be checked (padding, lengths, that a result is an intact zip) is checked, and anything else than the original
is an error rather than garbage.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import io
import os
import re
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import BinaryIO, NoReturn

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization as forms
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC, ECB

from iexec_nb.errors import DecryptionError, UnsafeArchiveError, ValidationError
from iexec_nb.protocol.results import Archive, damage, open_archive
from iexec_nb.protocol.secrets import RESULT_KEY_NAME
from iexec_nb.protocol.types import Secret, shown

KEY_BYTES = 32
BLOCK_BYTES = 16
CHUNK_BYTES = 4 << 20
"""Plaintext handled at a time: few hand-overs between the two threads, and 13 MiB of memory in all."""

KEY_FILE = "aes-key.rsa"
PAYLOAD_FILE = "iexec_out.zip.aes"
MAX_KEY_FILE_BYTES = 1000
MAX_PAYLOAD_BYTES = 1_000_000_000

_LEGACY_KEY_BYTES = 16
_DATASET_KEY = "the key that the dataset was encrypted with (base64 of 32 bytes), as it was pushed to the SMS"
_NOT_BLOCKS = "this is not an IV and whole blocks of 16 bytes: it was cut short, or is not encrypted"
_DATASET_FAILED = "Failed to decrypt the dataset"
_KEY_FAILED = "Failed to decrypt results key with beneficiary key"
_PAYLOAD_FAILED = "Failed to decrypt results with decrypted results key"
_RESULT_KEY = f"the private key of the beneficiary; its public half was the SMS secret {RESULT_KEY_NAME} during the run"

# SHA-256 of private keys that passed the full check of their primes, which takes longer than all the rest: a key is
# checked once per process. No key is kept.
_checked_keys: set[bytes] = set()


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
    text = value.reveal() if isinstance(value, Secret) else value
    letters = "".join(text.split()).rstrip("=") if isinstance(text, str) else ""
    key = _base64(letters.replace("-", "+").replace("_", "/").encode() + b"=" * (-len(letters) % 4))
    if len(key) != KEY_BYTES:
        raise ValidationError(
            "**** is not a valid encryption key (must be base64 encoded 256 bits key)",
            context={"argument": "key", "given": f"{len(key)} bytes in base64" if key else "not base64"},
            hint="give the 44 characters that `dataset encrypt` made",
        )
    return key


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


def _unpadded(plain: bytes, message: str, needs: str) -> bytes:
    count = plain[-1]
    if not 1 <= count <= BLOCK_BYTES or plain[-count:] != bytes([count]) * count:
        _fail(message, needs, "the padding is wrong: another key, or damaged data")
    return plain[:-count]


def _fail(message: str, needs: str, problem: str, **context: object) -> NoReturn:
    raise DecryptionError(
        message,
        context={"problem": problem, **context, "needs": needs},
        hint="check that the key belongs to this data, and that the data arrived whole",
    )


# --- bytes -----------------------------------------------------------------------------------------------------------


def _bytes(data: object) -> bytes | bytearray | memoryview:
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
    plain = _bytes(data)
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
    return _decrypt_cbc(_bytes(data), key, _DATASET_FAILED, _DATASET_KEY)


def _decrypt_cbc(data: bytes | bytearray | memoryview, key: bytes, message: str, needs: str) -> bytes:
    view = memoryview(data)
    if len(view) < 2 * BLOCK_BYTES or len(view) % BLOCK_BYTES:
        _fail(message, needs, _NOT_BLOCKS)
    decryptor = _cipher(key, bytes(view[:BLOCK_BYTES])).decryptor()
    return _unpadded(decryptor.update(view[BLOCK_BYTES:]) + decryptor.finalize(), message, needs)


def checksum(data: bytes | Path) -> str:
    """Return the SHA-256 of bytes or of a file, as the chain keeps it (``0x`` and 64 hex digits).

    Parameters
    ----------
    data
        The encrypted dataset, or its path.
    """
    if not isinstance(data, Path):
        return "0x" + hashlib.sha256(_bytes(data)).hexdigest()
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
            _fail(_DATASET_FAILED, _DATASET_KEY, f"the file has the checksum {got}, not {shown(checksum)}")
    return target


def _chunks(
    stream: BinaryIO, size: int, progress: Callable[[int], None] | None, hasher: hashlib._Hash | None = None
) -> Iterator[memoryview]:
    """Yield what is read, each piece valid until the next."""
    buffer = memoryview(bytearray(size))
    into = getattr(stream, "readinto", None)
    done = 0
    while view := buffer[: into(buffer) or 0] if into else memoryview(_bytes(stream.read(size))):
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
        _fail(_DATASET_FAILED, _DATASET_KEY, _NOT_BLOCKS)
    yield _unpadded(last, _DATASET_FAILED, _DATASET_KEY)


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


# --- results ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyPair:
    """An RSA pair for results, in PEM; its repr does not show the private half."""

    public_pem: str
    private_pem: Secret


def generate_result_keypair(bits: int = 4096) -> KeyPair:
    """Return a new RSA pair: SPKI and PKCS#8 PEM with a final line feed, as the JavaScript CLI writes them.

    Parameters
    ----------
    bits
        Size of the key; 4096 is what workers and the official SDKs use. The randomness is that of OpenSSL.
    """
    if bits < 2048:
        raise ValidationError(f"an RSA key of {bits} bits protects nothing", hint="use 4096")
    key = rsa.generate_private_key(public_exponent=65537, key_size=bits)
    private = key.private_bytes(forms.Encoding.PEM, forms.PrivateFormat.PKCS8, forms.NoEncryption())
    public = key.public_key().public_bytes(forms.Encoding.PEM, forms.PublicFormat.SubjectPublicKeyInfo)
    return KeyPair(public_pem=public.decode(), private_pem=Secret(private.decode()))


def encrypt_result(zip_bytes: bytes, public_pem: str | bytes, aes_key: bytes, iv: bytes) -> bytes:
    """Return the encrypted form of a result, as a worker publishes it: a zip of the sealed key and the payload.

    Parameters
    ----------
    zip_bytes
        The plain result.
    public_pem
        RSA public key of the beneficiary, SPKI PEM.
    aes_key
        32 random bytes, used for this result only.
    iv
        16 random bytes.

    Raises
    ------
    ValidationError
        When `public_pem` is not an RSA public key.
    """
    pem = public_pem.encode() if isinstance(public_pem, str) else public_pem
    try:
        public = forms.load_pem_public_key(pem.strip() + b"\n")
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ValidationError("this is not a public key in PEM", context={"argument": "public_pem"}) from error
    if not isinstance(public, rsa.RSAPublicKey):
        raise ValidationError("results are encrypted for RSA keys only", context={"argument": "public_pem"})
    outer = io.BytesIO()
    with zipfile.ZipFile(outer, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, content in (
            (PAYLOAD_FILE, encrypt_bytes(zip_bytes, aes_key, iv)),
            (KEY_FILE, public.encrypt(aes_key, padding.PKCS1v15())),
        ):
            # A bare ZipInfo has a fixed date: the bytes do not depend on the clock.
            archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED, 1)
    return outer.getvalue()


def is_encrypted_result(data: bytes | Path) -> bool:
    """Return whether a result is the encrypted form: a zip of ``aes-key.rsa`` and ``iexec_out.zip.aes``."""
    try:
        return {KEY_FILE, PAYLOAD_FILE} <= set(open_archive(data).names)
    except UnsafeArchiveError:
        return False


def decrypt_result(data: bytes | Path, private_pem: str | bytes | Secret) -> bytes:
    """Return the plain zip of an encrypted result, of the current or the legacy format.

    Parameters
    ----------
    data
        The zip that a worker published, or its path.
    private_pem
        RSA private key of the beneficiary: PKCS#8 or PKCS#1 PEM without a password.

    Returns
    -------
    bytes
        The plain zip, every file of it checked against its checksum.

    Raises
    ------
    DecryptionError
        When the key does not fit, or the data is cut, damaged or too large. Never returns anything else than the
        original.
    ValidationError
        When `private_pem` is not a private key.
    """
    key = _private_key(private_pem)
    archive = _outer(data)
    sealed = _member(archive, KEY_FILE, MAX_KEY_FILE_BYTES)
    payload = _member(archive, PAYLOAD_FILE, MAX_PAYLOAD_BYTES)
    plain = _decrypt_payload(_unseal(key, sealed), payload)
    if problem := damage(plain):
        _fail(_PAYLOAD_FAILED, _RESULT_KEY, f"what comes out is not an intact zip ({problem})")
    return plain


def _private_key(pem: str | bytes | Secret) -> rsa.RSAPrivateKey:
    raw = pem.reveal_bytes() if isinstance(pem, Secret) else pem.encode() if isinstance(pem, str) else _bytes(pem)
    mark = hashlib.sha256(raw).digest()
    try:
        key = forms.load_pem_private_key(
            bytes(raw).strip() + b"\n", password=None, unsafe_skip_rsa_key_validation=mark in _checked_keys
        )
    except (TypeError, ValueError, UnsupportedAlgorithm) as error:
        raise ValidationError(
            "Invalid beneficiary key",
            context={"argument": "private_pem", "rule": "an RSA private key in PKCS#8 or PKCS#1 PEM, without password"},
            hint="give the content of the key file; a password is removed by: openssl pkey -in key -out plain_key",
        ) from error
    if not isinstance(key, rsa.RSAPrivateKey):
        raise ValidationError("Invalid beneficiary key: it is not an RSA key", context={"argument": "private_pem"})
    _checked_keys.add(mark)
    return key


def _outer(data: bytes | Path) -> Archive:
    try:
        return open_archive(data)
    except UnsafeArchiveError as error:
        raise DecryptionError(
            "Failed to load encrypted results zip file",
            context={"problem": error.message, **error.context},
            hint="fetch the result again; a plain result needs no decryption",
        ) from error


def _member(archive: Archive, name: str, limit: int) -> bytes:
    size = archive.sizes.get(name)
    if size is None:
        raise DecryptionError(
            f"Missing {name} file in zip input file",
            context={"files": ", ".join(shown(each, 40) for each in archive.names[:20]) or "none"},
            hint="this result is not encrypted: open it as it is",
        )
    if size > limit:
        raise DecryptionError(f"{name} is too large", context={"given": f"{size} bytes", "limit": f"{limit} bytes"})
    try:
        return archive.read(name)
    except UnsafeArchiveError as error:
        raise DecryptionError(
            f"Failed to load {name} file from zip input file: {error.message}", hint="fetch the result again"
        ) from error


def _unseal(key: rsa.RSAPrivateKey, sealed: bytes) -> bytes:
    """Return the one-time AES key: sealed as it is (current), or as base64 inside and outside (legacy)."""
    legacy = _base64(sealed)
    for aes_key in (_rsa_decrypt(key, sealed), _base64(_rsa_decrypt(key, legacy))):
        if len(aes_key) in (KEY_BYTES, _LEGACY_KEY_BYTES):
            return aes_key
    public = key.public_key().public_bytes(forms.Encoding.DER, forms.PublicFormat.SubjectPublicKeyInfo)
    fits = key.key_size in (len(sealed) * 8, len(legacy) * 8)
    _fail(
        _KEY_FAILED,
        _RESULT_KEY,
        "another key" if fits else f"the sealed key was not made by an RSA key of {key.key_size} bits",
        given=f"RSA-{key.key_size} whose public half has the SHA-256 {hashlib.sha256(public).hexdigest()[:16]}...",
    )


def _rsa_decrypt(key: rsa.RSAPrivateKey, sealed: bytes) -> bytes:
    if len(sealed) * 8 != key.key_size:
        return b""
    # OpenSSL 3.2 and later answer a wrong key with random bytes of a random length instead of an error, so that nobody
    # can tell the difference by asking. The length, the padding of the payload and the zip tell it here.
    try:
        return key.decrypt(sealed, padding.PKCS1v15())
    except ValueError:
        return b""


def _base64(data: bytes) -> bytes:
    try:
        return base64.b64decode(re.sub(rb"\s", b"", data), validate=True)
    except (ValueError, binascii.Error):
        return b""


def _decrypt_payload(aes_key: bytes, payload: bytes) -> bytes:
    if len(aes_key) == KEY_BYTES:
        return _decrypt_cbc(payload, aes_key, _PAYLOAD_FAILED, _RESULT_KEY)
    blocks = _base64(payload)
    if not blocks or len(blocks) % BLOCK_BYTES:
        _fail(_PAYLOAD_FAILED, _RESULT_KEY, "the payload is not base64 of whole blocks: cut short or damaged")
    decryptor = Cipher(AES(aes_key), ECB()).decryptor()  # noqa: S305 - what workers before version 9 wrote
    return _unpadded(decryptor.update(blocks) + decryptor.finalize(), _PAYLOAD_FAILED, _RESULT_KEY)

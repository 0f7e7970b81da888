"""Encryption of results for their beneficiary, and decryption of what workers publish.

A result is a zip encrypted with a one-time AES key, which is itself encrypted with the beneficiary's RSA key; results
of protocol versions before 9 have another layout and are still readable. The format carries no checksum of its content:
lengths, padding and that an intact zip comes out are checked, and anything else than the original is an error.
"""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from itertools import chain
from pathlib import Path
from typing import IO

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization as forms
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC, ECB

from iexec_nb.errors import DecryptionError, UnsafeArchiveError, ValidationError
from iexec_nb.protocol.archive import MAX_BYTES, Archive, check_limits, judged, open_archive
from iexec_nb.protocol.encryption import (
    BLOCK_BYTES,
    KEY_BYTES,
    as_bytes,
    encrypt_bytes,
    failure,
    unbase64,
    unpadded,
)
from iexec_nb.protocol.result_files import Files, spooled
from iexec_nb.protocol.secrets import RESULT_KEY_NAME
from iexec_nb.protocol.types import Secret, shown
from iexec_nb.protocol.zip_records import IN_MEMORY_BYTES, PIECE, Entry, Source, locate, raise_hint, read_entries

KEY_FILE = "aes-key.rsa"
PAYLOAD_FILE = "iexec_out.zip.aes"
MAX_KEY_FILE_BYTES = 1000
MAX_PAYLOAD_BYTES = 1_000_000_000

_LEGACY_KEY_BYTES = 16
_KEY_FAILED = "Failed to decrypt results key with beneficiary key"
_PAYLOAD_FAILED = "Failed to decrypt results with decrypted results key"
_NOT_BLOCKS = "the payload is not an IV and whole blocks of 16 bytes: cut short or damaged"
_NOT_BASE64 = "the payload is not base64 of whole blocks: cut short or damaged"
_RESULT_KEY = f"the private key of the beneficiary; its public half was the SMS secret {RESULT_KEY_NAME} during the run"

# SHA-256 of private keys that passed the full check of their primes, which takes longer than all the rest: a key is
# checked once per process. No key is kept.
_checked_keys: set[bytes] = set()


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


def public_pem_of(private_pem: Secret) -> str:
    """Return the public half of a beneficiary's private key, as PEM (SPKI).

    Raises
    ------
    ValidationError
        When it is not a private RSA key in PEM.
    """
    key = _private_key(private_pem).public_key()
    return key.public_bytes(forms.Encoding.PEM, forms.PublicFormat.SubjectPublicKeyInfo).decode()


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
    outer = BytesIO()
    with zipfile.ZipFile(outer, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, content in (
            (PAYLOAD_FILE, encrypt_bytes(zip_bytes, aes_key, iv)),
            (KEY_FILE, public.encrypt(aes_key, padding.PKCS1v15())),
        ):
            # A bare ZipInfo has a fixed date: the bytes do not depend on the clock.
            archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED, 1)
    return outer.getvalue()


def is_encrypted_result(data: bytes | Path | Source | Files) -> bool:
    """Return whether a result is the encrypted form: a zip of ``aes-key.rsa`` and ``iexec_out.zip.aes``."""
    try:
        files = data if isinstance(data, Files) else open_archive(data)
    except UnsafeArchiveError:
        return False
    return {KEY_FILE, PAYLOAD_FILE} <= files.sizes.keys()


def decrypt_result(
    data: bytes | Path | Source,
    private_pem: str | bytes | Secret,
    *,
    max_bytes: int | None = None,
    max_files: int | None = None,
) -> bytes:
    """Return the plain zip of an encrypted result, of the current or the legacy format.

    Parameters
    ----------
    data
        The zip that a worker published, or its path.
    private_pem
        RSA private key of the beneficiary: PKCS#8 or PKCS#1 PEM without a password.
    max_bytes
        How large the payload may be; default: 1 GB, as in the JavaScript SDK.
    max_files
        How many files may be in it; default: 10,000.

    Returns
    -------
    bytes
        The plain zip, every file of it checked against its checksum; the names in it are not judged.

    Raises
    ------
    DecryptionError
        When the key does not fit, or the data is cut, damaged or too large. Never returns anything else than the
        original.
    ValidationError
        When `private_pem` is not a private key.
    """
    content = _in_memory(_unlocked(data, private_pem, max_bytes), checked=False)
    _check_content(Source(content), max_files)
    return content


def decrypted(
    data: bytes | Path | Source,
    private_pem: str | bytes | Secret,
    *,
    max_bytes: int | None = None,
    max_files: int | None = None,
) -> Source:
    """Return what `decrypt_result` returns; a large result is in a nameless file on the disk, not in the memory."""
    plain = _plain(_unlocked(data, private_pem, max_bytes), checked=False)
    _check_content(plain, max_files)
    return plain


def open_encrypted(
    data: bytes | Path | Source,
    private_pem: str | bytes | Secret,
    *,
    max_bytes: int | None = None,
    max_files: int | None = None,
) -> Archive:
    """Decrypt a result and open it; each file is compared with its checksum when it is read.

    Parameters
    ----------
    data, private_pem
        As for `decrypt_result`.
    max_bytes, max_files
        As for `archive.open_archive`. A large result is decrypted to a nameless file on the disk.

    Raises
    ------
    DecryptionError, ValidationError
        As `decrypt_result`.
    UnsafeArchiveError
        When what comes out would harm the machine.
    """
    plain = _plain(_unlocked(data, private_pem, max_bytes), checked=True)
    archive = judged(plain, _entries(plain, max_files), max_bytes)
    if is_encrypted_result(archive):
        raise DecryptionError(
            "the result is encrypted a second time",
            context={"files": ", ".join(shown(name, 40) for name in archive.names[:20])},
            hint="write the inner zip with result.decrypt(path, target=...), and decrypt that with its own key",
        )
    return archive


def _entries(plain: Source, max_files: int | None) -> list[Entry]:
    """Return the entries of the plain zip; one that is no zip was decrypted with another key, or is damaged."""
    try:
        place = locate(plain)
    except UnsafeArchiveError as error:
        raise _not_intact(error) from error
    place.require(max_files)
    try:
        return read_entries(plain, place)
    except UnsafeArchiveError as error:
        raise _not_intact(error) from error


def _check_content(plain: Source, max_files: int | None) -> None:
    entries = _entries(plain, max_files)
    try:
        Archive(plain, entries).check()
    except UnsafeArchiveError as error:
        raise _not_intact(error) from error


def _not_intact(error: UnsafeArchiveError) -> DecryptionError:
    reason = error.message.partition(": ")[2] or error.message
    return failure(_PAYLOAD_FAILED, _RESULT_KEY, f"what comes out is not an intact zip ({reason})")


@dataclass(frozen=True, slots=True)
class _Unlocked:
    """An encrypted result whose one-time key is known."""

    archive: Archive
    aes_key: Secret

    @property
    def size(self) -> int:
        """Size of the payload in bytes."""
        return self.archive.sizes[PAYLOAD_FILE]


def _unlocked(data: bytes | Path | Source, private_pem: str | bytes | Secret, max_bytes: int | None) -> _Unlocked:
    check_limits(max_bytes)
    key = _private_key(private_pem)
    archive = _outer(data, max_bytes)
    for name, limit in ((KEY_FILE, MAX_KEY_FILE_BYTES), (PAYLOAD_FILE, max_bytes or MAX_PAYLOAD_BYTES)):
        _require(archive, name, limit)
    with _loading(KEY_FILE):
        sealed = archive.read(KEY_FILE)
    return _Unlocked(archive, Secret(_unseal(key, sealed)))


def _plain(unlocked: _Unlocked, *, checked: bool) -> Source:
    """Return the decrypted payload; it is in the memory or, when it is large, in a nameless file on the disk."""
    if unlocked.size <= IN_MEMORY_BYTES:
        return Source(_in_memory(unlocked, checked=checked))
    return Source(spooled(lambda file: _decrypt(unlocked, file, checked=checked)))


def _in_memory(unlocked: _Unlocked, *, checked: bool) -> bytes:
    plain = BytesIO()
    # As large as it gets at once: a buffer that grows is copied, which takes longer than the decryption.
    plain.seek(unlocked.size)
    plain.write(b"\0")
    plain.seek(0)
    _decrypt(unlocked, plain, checked=checked)
    plain.truncate()
    return plain.getvalue()


def _decrypt(unlocked: _Unlocked, plain: IO[bytes], *, checked: bool) -> None:
    """Write the payload, decrypted and without its padding, into a file that is open.

    The outer zip has a checksum of the payload, the inner one of each of its files. One is enough to find damage:
    with `checked` it is the outer one, and without it the caller looks at the inner ones.
    """
    with _loading(PAYLOAD_FILE):
        pieces = unlocked.archive.pieces(PAYLOAD_FILE) if checked else unlocked.archive.unchecked(PAYLOAD_FILE)
        _write_plain(pieces, unlocked.aes_key.reveal_bytes(), plain)


@contextmanager
def _loading(name: str) -> Iterator[None]:
    try:
        yield
    except UnsafeArchiveError as error:
        raise DecryptionError(
            f"Failed to load {name} file from zip input file: {error.message}", hint="fetch the result again"
        ) from error


def _private_key(pem: str | bytes | Secret) -> rsa.RSAPrivateKey:
    raw = pem.reveal_bytes() if isinstance(pem, Secret) else pem.encode() if isinstance(pem, str) else as_bytes(pem)
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


def _outer(data: bytes | Path | Source, max_bytes: int | None) -> Archive:
    try:
        return open_archive(data, max_bytes=max_bytes and max(max_bytes, MAX_BYTES) + MAX_KEY_FILE_BYTES)
    except UnsafeArchiveError as error:
        is_limit = "max_bytes" in (error.hint or "")
        raise DecryptionError(
            "Failed to load encrypted results zip file",
            context={"problem": error.message, **error.context},
            hint=error.hint if is_limit else "fetch the result again; a plain result needs no decryption",
        ) from error


def _require(archive: Archive, name: str, limit: int) -> None:
    size = archive.sizes.get(name)
    if size is None:
        raise DecryptionError(
            f"Missing {name} file in zip input file",
            context={"files": ", ".join(shown(each, 40) for each in archive.names[:20]) or "none"},
            hint="this result is not encrypted: open it as it is",
        )
    if size > limit:
        raise DecryptionError(
            f"{name} is too large",
            context={"given": f"{size} bytes", "limit": f"{limit} bytes"},
            hint=raise_hint("max_bytes", size) if name == PAYLOAD_FILE else None,
        )


def _unseal(key: rsa.RSAPrivateKey, sealed: bytes) -> bytes:
    """Return the one-time AES key: sealed as it is (current), or as base64 inside and outside (legacy)."""
    legacy = unbase64(sealed)
    for aes_key in (_rsa_decrypt(key, sealed), unbase64(_rsa_decrypt(key, legacy))):
        if len(aes_key) in (KEY_BYTES, _LEGACY_KEY_BYTES):
            # Hidden in the frames of a traceback, as every key is.
            return Secret(aes_key).reveal_bytes()
    public = key.public_key().public_bytes(forms.Encoding.DER, forms.PublicFormat.SubjectPublicKeyInfo)
    fits = key.key_size in (len(sealed) * 8, len(legacy) * 8)
    raise failure(
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


def _write_plain(pieces: Iterator[bytes | memoryview], aes_key: bytes, plain: IO[bytes]) -> None:
    """Decrypt a payload piece by piece; the last block is held back until its padding is taken off."""
    if len(aes_key) == KEY_BYTES:
        iv, pieces = _iv_of(pieces)
        decryptor = Cipher(AES(aes_key), CBC(iv)).decryptor()
    else:
        decryptor = Cipher(AES(aes_key), ECB()).decryptor()  # noqa: S305 - what workers before version 9 wrote
        pieces = _unbase64(pieces)
    buffer, last = bytearray(2 * PIECE + BLOCK_BYTES), b""
    for piece in pieces:
        done = decryptor.update_into(piece, buffer)
        if done:
            plain.write(last)
            last = bytes(buffer[done - BLOCK_BYTES : done])
            plain.write(memoryview(buffer)[: done - BLOCK_BYTES])
    try:
        decryptor.finalize()
    except ValueError:
        last = b""
    if not last:
        raise failure(_PAYLOAD_FAILED, _RESULT_KEY, _NOT_BLOCKS)
    plain.write(unpadded(last, _PAYLOAD_FAILED, _RESULT_KEY))


def _iv_of(pieces: Iterator[bytes | memoryview]) -> tuple[bytes, Iterator[bytes | memoryview]]:
    """Return the IV at the start of a payload, and the rest of it."""
    head = b""
    for piece in pieces:
        head += piece
        if len(head) >= BLOCK_BYTES:
            return head[:BLOCK_BYTES], chain([head[BLOCK_BYTES:]], pieces)
    raise failure(_PAYLOAD_FAILED, _RESULT_KEY, _NOT_BLOCKS)


def _unbase64(pieces: Iterator[bytes | memoryview]) -> Iterator[bytes]:
    """Yield the bytes of base64 text, whatever its white space; nothing may follow its end."""
    waiting, ended = b"", False
    for piece in chain(pieces, [b""]):
        waiting += b"".join(bytes(piece).split())
        whole = waiting if not piece else waiting[: len(waiting) // 4 * 4]
        waiting = waiting[len(whole) :]
        decoded = unbase64(whole)
        if whole and (ended or not decoded):
            raise failure(_PAYLOAD_FAILED, _RESULT_KEY, _NOT_BASE64)
        ended = ended or whole.endswith(b"=")
        if decoded:
            yield decoded

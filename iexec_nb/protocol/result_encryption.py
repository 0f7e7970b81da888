"""Encryption of results for their beneficiary, and decryption of what workers publish.

A result is a zip encrypted with a one-time AES key, which is itself encrypted with the beneficiary's RSA key; results
of protocol versions before 9 have another layout and are still readable. The format carries no checksum of its content:
lengths, padding and that an intact zip comes out are checked, and anything else than the original is an error.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization as forms
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import ECB

from iexec_nb.errors import DecryptionError, UnsafeArchiveError, ValidationError
from iexec_nb.protocol.encryption import (
    BLOCK_BYTES,
    KEY_BYTES,
    as_bytes,
    decrypt_cbc,
    encrypt_bytes,
    failure,
    unbase64,
    unpadded,
)
from iexec_nb.protocol.results import Archive, damage, open_archive
from iexec_nb.protocol.secrets import RESULT_KEY_NAME
from iexec_nb.protocol.types import Secret, shown

KEY_FILE = "aes-key.rsa"
PAYLOAD_FILE = "iexec_out.zip.aes"
MAX_KEY_FILE_BYTES = 1000
MAX_PAYLOAD_BYTES = 1_000_000_000

_LEGACY_KEY_BYTES = 16
_KEY_FAILED = "Failed to decrypt results key with beneficiary key"
_PAYLOAD_FAILED = "Failed to decrypt results with decrypted results key"
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
        raise failure(_PAYLOAD_FAILED, _RESULT_KEY, f"what comes out is not an intact zip ({problem})")
    return plain


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


def _decrypt_payload(aes_key: bytes, payload: bytes) -> bytes:
    if len(aes_key) == KEY_BYTES:
        return decrypt_cbc(payload, aes_key, _PAYLOAD_FAILED, _RESULT_KEY)
    blocks = unbase64(payload)
    if not blocks or len(blocks) % BLOCK_BYTES:
        raise failure(_PAYLOAD_FAILED, _RESULT_KEY, "the payload is not base64 of whole blocks: cut short or damaged")
    decryptor = Cipher(AES(aes_key), ECB()).decryptor()  # noqa: S305 - what workers before version 9 wrote
    return unpadded(decryptor.update(blocks) + decryptor.finalize(), _PAYLOAD_FAILED, _RESULT_KEY)

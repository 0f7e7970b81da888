"""What the secret management service (SMS) asks to be signed, and which names and values it accepts.

A secret is bound to its owner by a signature over a challenge that holds the hash of its value; most secrets can never
be replaced. So a wrong value is refused here, before it is pushed for good. Source: endpoints of the SMS
(``/secrets/web2``, ``/secrets/web3``, ``/apps/{app}/secrets``, ``/requesters/{address}/secrets/{key}``).
"""

from __future__ import annotations

import base64
import binascii
import re

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from iexec_nb.errors import ValidationError
from iexec_nb.protocol.types import Secret, address, keccak, shown

RESULT_KEY_NAME = "iexec-result-encryption-public-key"
"""Web2 secret of the beneficiary: the RSA public key that results are encrypted for."""
DROPBOX_TOKEN_NAME = "iexec-result-dropbox-token"  # noqa: S105 - the name of a secret, not a secret
"""Web2 secret of the requester: where results go when their storage is Dropbox."""
IPFS_TOKEN_NAME = "iexec-result-iexec-ipfs-token"  # noqa: S105
"""Web2 secret of the requester, read by protocol versions before 9."""
RESULT_PROXY_URL_NAME = "iexec-result-iexec-result-proxy-url"
"""Web2 secret of a worker."""
APP_SECRET_KEY = "1"  # noqa: S105
"""The only key that an app developer's secret has."""

MAX_SECRET_BYTES = 4096

_DOMAIN = keccak(b"IEXEC_SMS_DOMAIN")
_NAME = re.compile(r"[0-9A-Za-z\-_]{1,64}")
_SPKI_HEAD = "-----BEGIN PUBLIC KEY-----"


def check_secret_value(value: str | bytes | Secret) -> bytes:
    """Return the value of a secret as the UTF-8 bytes that are hashed and sent.

    Parameters
    ----------
    value
        1 to 4096 bytes. It appears in no message.

    Raises
    ------
    ValidationError
        When it is empty, too long, or not text.
    """
    raw = _raw(value.reveal_bytes() if isinstance(value, Secret) else value)
    if not isinstance(raw, bytes):
        raise ValidationError(
            "this must be a `string` type",
            context={"argument": "value", "given": f"a {type(raw).__name__} (not shown)"},
        )
    try:
        raw.decode()
    except UnicodeDecodeError:
        raise ValidationError(
            "a secret value must be UTF-8 text",
            context={"argument": "value", "given": f"{len(raw)} bytes (not shown)"},
            hint="encode binary data as base64",
        ) from None
    if not 1 <= len(raw) <= MAX_SECRET_BYTES:
        raise ValidationError(
            "Secret size should not exceed 4 Kb" if raw else "a secret value must not be empty",
            context={"argument": "value", "given": f"{len(raw)} bytes", "rule": f"1 to {MAX_SECRET_BYTES} bytes"},
            hint="put larger data into a dataset" if raw else "most secrets can never be replaced: give the real value",
        )
    return raw


def _raw(value: object) -> object:
    # Half of a surrogate pair has no UTF-8; it becomes bytes that are refused as such, and the value stays unsaid.
    return value.encode(errors="surrogatepass") if isinstance(value, str) else value


def check_secret_name(name: str) -> str:
    """Return the name of a requester secret, checked: 1 to 64 characters from ``[0-9A-Za-z-_]``.

    Raises
    ------
    ValidationError
        With the message of the SMS.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ValidationError(
            "Secret key should contain at most 64 characters from [0-9A-Za-z-_]",
            context={"argument": "name", "given": shown(name)},
            hint="a name such as my-secret",
        )
    return name


def web3_challenge(resource: str, value: str | bytes | Secret) -> bytes:
    """Return the 32 bytes to sign (EIP-191) to set the secret of a dataset, such as its encryption key.

    Parameters
    ----------
    resource
        Address of the dataset.
    value
        The secret.

    Raises
    ------
    ValidationError
        When the address or the value is not acceptable.
    """
    return _challenge(resource, None, value)


def web2_challenge(owner: str, name: str, value: str | bytes | Secret) -> bytes:
    """Return the 32 bytes to sign (EIP-191) to set a named secret of a wallet, such as its result encryption key.

    Parameters
    ----------
    owner
        Address of the wallet that signs.
    name
        Name of the secret: `RESULT_KEY_NAME` or `DROPBOX_TOKEN_NAME`.
    value
        The secret.

    Raises
    ------
    ValidationError
        When the address or the value is not acceptable.
    """
    return _challenge(owner, name, value)


def requester_challenge(requester: str, name: str, value: str | bytes | Secret) -> bytes:
    """Return the 32 bytes to sign (EIP-191) to set a secret that the requester's runs can read.

    Parameters
    ----------
    requester
        Address of the wallet that signs.
    name
        1 to 64 characters from ``[0-9A-Za-z-_]``.
    value
        The secret.

    Raises
    ------
    ValidationError
        When the address, the name or the value is not acceptable.
    """
    return _challenge(requester, check_secret_name(name), value)


def app_challenge(app: str, value: str | bytes | Secret, key: str = APP_SECRET_KEY) -> bytes:
    """Return the 32 bytes to sign (EIP-191) to set the secret that an app's developer gives to the app.

    Parameters
    ----------
    app
        Address of the app; its owner signs.
    value
        The secret.
    key
        Always ``"1"`` in the versions that are live.

    Raises
    ------
    ValidationError
        When the address or the value is not acceptable.
    """
    return _challenge(app, key, value)


def _challenge(owner: str, name: str | None, value: str | bytes | Secret) -> bytes:
    named = b"" if name is None else keccak(name.encode())
    return keccak(_DOMAIN + bytes.fromhex(address(owner)[2:]) + named + keccak(check_secret_value(value)))


def result_public_key_value(key: str | bytes) -> str:
    """Return the value of the secret `RESULT_KEY_NAME`: base64 of an RSA public key in PEM.

    Parameters
    ----------
    key
        PEM text that starts with ``-----BEGIN PUBLIC KEY-----``; or the base64 of such a text, returned unchanged as
        the JavaScript SDK does.

    Raises
    ------
    ValidationError
        For a private key (which must never reach the SMS), another PEM form, or text that is not base64.
    """
    text = key.decode(errors="replace") if isinstance(key, bytes) else key
    if not isinstance(text, str) or "PRIVATE KEY" in text or "PRIVATE KEY" in _decoded(text):
        raise ValidationError(
            "this is not a public key and it was not sent",
            context={"argument": "key", "rule": f"PEM that starts with {_SPKI_HEAD}"},
            hint="give the .pub file of the pair; the private key stays on your machine",
        )
    if text.startswith(_SPKI_HEAD):
        _check_rsa(text)
        return base64.b64encode(text.encode()).decode()
    if not _decoded(text):
        raise ValidationError(
            "this is not a result encryption key",
            context={"argument": "key", "given": shown(text, 40), "rule": "PEM, or base64 of PEM"},
            hint=f"give the PEM text that starts with {_SPKI_HEAD}",
        )
    return text


def _decoded(text: str) -> str:
    try:
        return base64.b64decode(text, validate=True).decode(errors="replace")
    except (binascii.Error, ValueError):
        return ""


def _check_rsa(pem: str) -> None:
    # A worker strips the armour and the line feeds only: a carriage return makes it fail after the task was paid.
    try:
        readable = "\r" not in pem and isinstance(load_pem_public_key(pem.encode()), RSAPublicKey)
    except (ValueError, UnsupportedAlgorithm):
        readable = False
    if not readable:
        raise ValidationError(
            "this PEM holds no RSA public key that a worker can read",
            context={"argument": "key", "rule": "an RSA key in SPKI PEM with LF line ends"},
            hint="make a pair with `%iexec result keypair`",
        )

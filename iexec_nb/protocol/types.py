"""Parsing and checking of the values that every other rule is made of.

Addresses, ids, hashes and unsigned numbers enter the package here and nowhere else, so that inside it an address is
always EIP-55 text, a hash always lower-case ``0x`` text of 66 characters, and a number always an ``int`` that fits a
``uint256``.
"""

from __future__ import annotations

import re
from contextlib import suppress
from functools import lru_cache
from typing import NoReturn

from Crypto.Hash import keccak as _keccak

from iexec_nb.errors import ValidationError

Address = str
Bytes32 = str

NULL_ADDRESS: Address = "0x" + "0" * 40
NULL_BYTES32: Bytes32 = "0x" + "0" * 64
UINT256_MAX = 2**256 - 1

_ADDRESS = re.compile(r"(?:0[xX])?([0-9a-fA-F]{40})")
_BYTES32 = re.compile(r"0[xX][0-9a-fA-F]{64}")
_HEX = re.compile(r"0x(?:[0-9a-fA-F]{2})*")
_DIGITS = re.compile(r"0*([0-9]{1,100})")


def keccak(data: bytes) -> bytes:
    """Return the 32 bytes of Keccak-256 of `data` (the Ethereum variant, not SHA3-256)."""
    return _keccak.new(digest_bits=256, data=data).digest()


@lru_cache(maxsize=65536)
def _checksum(digits: str) -> Address:
    digest = keccak(digits.encode()).hex()
    return "0x" + "".join(c.upper() if int(h, 16) > 7 else c for c, h in zip(digits, digest, strict=False))


def to_checksum(raw: bytes) -> Address:
    """Return the EIP-55 text of 20 raw bytes."""
    return _checksum(raw.hex())


def shown(value: object, limit: int = 80) -> str:
    """Return `value` as text for a message: one line, no control characters, at most `limit` characters."""
    text = value if isinstance(value, str) else repr(value)
    text = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
    return text if len(text) <= limit else f"{text[:limit]}… ({len(text)} characters)"


def address(value: object, name: str = "address") -> Address:
    """Return an Ethereum address as EIP-55 text.

    Parameters
    ----------
    value
        20 raw bytes, or 40 hex digits in any case with or without ``0x``. The case of the digits is not checked,
        as in the JavaScript SDK.
    name
        What the message calls it.

    Raises
    ------
    ValidationError
        For anything else.
    """
    if isinstance(value, bytes) and len(value) == 20:
        return to_checksum(value)
    if isinstance(value, str) and (match := _ADDRESS.fullmatch(value)):
        return _checksum(match[1].lower())
    if isinstance(value, str) and value.endswith(".eth"):
        raise _refusal(
            f"{shown(value)} is not a valid ethereum address", name, "0x and 40 hex digits (ENS names are not resolved)"
        )
    raise _refusal(f"{shown(value)} is not a valid ethereum address", name, "40 hex digits after 0x")


def bytes32(value: object, name: str = "id") -> Bytes32:
    """Return a hash, id, salt or tag as lower-case ``0x`` text of 66 characters.

    Raises
    ------
    ValidationError
        When `value` is neither 32 raw bytes nor ``0x`` and 64 hex digits.
    """
    if isinstance(value, bytes) and len(value) == 32:
        return "0x" + value.hex()
    if isinstance(value, str) and _BYTES32.fullmatch(value):
        return value.lower()
    raise _refusal(f"{shown(value)} is not a bytes32 hexstring", name, "64 hex digits after 0x")


def uint256(value: object, name: str = "value") -> int:
    """Return a whole number from 0 to 2**256 - 1.

    Parameters
    ----------
    value
        An ``int``, or its decimal digits as text. A ``bool``, a ``float`` and hexadecimal text are refused.
    name
        What the message calls it.

    Raises
    ------
    ValidationError
        For anything else.
    """
    if type(value) is int and 0 <= value <= UINT256_MAX:
        return value
    if isinstance(value, str) and (digits := _DIGITS.fullmatch(value)) and (number := int(digits[1])) <= UINT256_MAX:
        return number
    raise _refusal(f"{shown(value)} is not a valid uint256", name, "a whole number from 0 to 2**256 - 1, such as 3")


def hexbytes(value: object, name: str = "bytes") -> bytes:
    """Return raw bytes given as ``bytes`` or as ``0x`` text.

    Raises
    ------
    ValidationError
        When the text is not an even number of hex digits after ``0x``.
    """
    if isinstance(value, bytes | bytearray):
        return bytes(value)
    if isinstance(value, str) and _HEX.fullmatch(value):
        return bytes.fromhex(value[2:])
    raise _refusal(f"{shown(value)} is not a hexstring", name, "an even number of hex digits after 0x")


def address_from_uint(number: int) -> Address:
    """Return the address that a registry's ``uint256`` token id stands for."""
    if not 0 <= number < 2**160:
        raise _refusal(f"{number} is not the token id of a registry entry", "token id", "a number below 2**160")
    return to_checksum(number.to_bytes(20, "big"))


def _refusal(message: str, name: str, rule: str) -> ValidationError:
    return ValidationError(message, context={"argument": name}, hint=f"give {name} as {rule}")


class _HiddenText(str):
    """A revealed secret: text that tracebacks with local variables show as ``****``."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "****"


class _HiddenBytes(bytes):
    """A revealed secret: bytes that tracebacks with local variables show as ``****``."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "****"


class Secret:
    """A private key, password or dataset key that never shows itself.

    ``repr``, ``str`` and ``format`` give ``****``; pickling and copying into a notebook's history are refused.
    """

    __slots__ = ("_value",)

    def __init__(self, value: str | bytes) -> None:
        if not isinstance(value, str | bytes):
            raise ValidationError("a secret is text or bytes", context={"given": type(value).__name__})
        self._value = value

    def reveal(self) -> str:
        """Return the secret as text, whose ``repr`` is ``****`` as well.

        Raises
        ------
        ValidationError
            When it is bytes that are not text; the message does not repeat them.
        """
        if isinstance(self._value, str):
            return _HiddenText(self._value)
        with suppress(UnicodeDecodeError):
            return _HiddenText(self._value.decode())
        # Raised out here: the decoder's own error holds the bytes.
        raise ValidationError("the secret is bytes that are not text", hint="give it as text")

    def reveal_bytes(self) -> bytes:
        """Return the secret as bytes, whose ``repr`` is ``****`` as well."""
        # Half of a surrogate pair has no UTF-8; the encoder's own error would hold the text.
        text = self._value
        return _HiddenBytes(text if isinstance(text, bytes) else text.encode(errors="surrogatepass"))

    def __repr__(self) -> str:
        return "****"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return "****"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self.reveal_bytes() == other.reveal_bytes()

    def __hash__(self) -> int:
        return hash((Secret, self._value))

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret is not pickled: give the key again where it is needed")

"""Ethereum transactions as bytes: RLP, and the signature over it.

Written out because it is short and exact, and because the library that does the same takes half a second to import and,
with its dependencies, raises the interpreter's recursion limit so far that hostile JSON can end the process. The tests
hold it against that library. Sources: Yellow Paper appendix B, EIP-155 (legacy), EIP-1559 (type 2).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from iexec_nb.errors import ValidationError
from iexec_nb.protocol.typed_data import sign_digest
from iexec_nb.protocol.types import address, hexbytes, keccak, uint256

Item = bytes | Sequence["Item"]


def rlp(item: Item) -> bytes:
    """Return the RLP encoding of bytes or of a list of items."""
    if isinstance(item, bytes):
        return item if len(item) == 1 and item[0] < 0x80 else _head(0x80, len(item)) + item
    body = b"".join(rlp(part) for part in item)
    return _head(0xC0, len(body)) + body


def sign_transaction(transaction: Mapping[str, Any], private_key: bytes) -> bytes:
    """Return the raw signed transaction.

    Parameters
    ----------
    transaction
        ``chainId nonce to value data gas`` and either ``maxFeePerGas maxPriorityFeePerGas`` (EIP-1559) or ``gasPrice``;
        numbers as ``int``, amounts in wei, `data` as ``bytes``.
    private_key
        32 bytes.

    Raises
    ------
    ValidationError
        When a field is missing, unknown or malformed.
    """
    fees = ("maxPriorityFeePerGas", "maxFeePerGas") if "maxFeePerGas" in transaction else ("gasPrice",)
    expected = {"chainId", "nonce", "to", "value", "data", "gas", *fees}
    if expected != set(transaction):
        wrong = ", ".join(sorted(expected ^ set(transaction)))
        raise ValidationError(f"the transaction's fields are not those of a transaction: {wrong}")

    def number(name: str) -> bytes:
        return _number(uint256(transaction[name], name))

    call: list[Item] = [
        hexbytes(address(transaction["to"], "to")),
        number("value"),
        hexbytes(transaction["data"], "data"),
    ]
    if len(fees) == 1:
        body = [number("nonce"), number("gasPrice"), number("gas"), *call]
        v, r, s = _signature(keccak(rlp([*body, number("chainId"), b"", b""])), private_key)
        return rlp([*body, _number(v + 35 + 2 * transaction["chainId"]), r, s])
    body = [number("chainId"), number("nonce"), *map(number, fees), number("gas"), *call, []]
    v, r, s = _signature(keccak(b"\x02" + rlp(body)), private_key)
    return b"\x02" + rlp([*body, _number(v), r, s])


def _signature(digest: bytes, private_key: bytes) -> tuple[int, bytes, bytes]:
    raw = hexbytes(sign_digest(digest, private_key))
    return raw[64] - 27, raw[:32].lstrip(b"\0"), raw[32:64].lstrip(b"\0")


def _number(value: int) -> bytes:
    return value.to_bytes((value.bit_length() + 7) // 8, "big")


def _head(base: int, length: int) -> bytes:
    if length < 56:
        return bytes([base + length])
    size = _number(length)
    return bytes([base + 55 + len(size)]) + size

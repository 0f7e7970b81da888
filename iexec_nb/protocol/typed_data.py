"""EIP-712 for iExec: what an order hashes to, what a wallet is asked to sign, and who signed.

The encoder is written out for the four order types and for login challenges, because a general one takes ten times
longer and an order book has ten thousand of them. The type strings are those of ``IexecLibOrders_v5.sol``; signatures
are deterministic (RFC 6979), low-s, ``r || s || v`` with v 27 or 28.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import coincurve

from iexec_nb.errors import InvalidSignatureError
from iexec_nb.protocol.orders import ORDERS, Order
from iexec_nb.protocol.types import Address, Bytes32, Secret, address, hexbytes, keccak, to_checksum, uint256

_TYPES = {
    "app": "address", "dataset": "address", "workerpool": "address", "requester": "address",
    "beneficiary": "address", "callback": "address", "apprestrict": "address", "datasetrestrict": "address",
    "workerpoolrestrict": "address", "requesterrestrict": "address", "tag": "bytes32", "salt": "bytes32",
    "params": "string",
}  # fmt: skip
_HALF_ORDER = 0x7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF5D576E7357A4501DDFE92F46681B20A0


def _members(kind: str) -> list[dict[str, str]]:
    names = (*ORDERS[kind].FIELDS, "salt")
    return [{"name": name, "type": _TYPES.get(name, "uint256")} for name in names]


MEMBERS: dict[str, list[dict[str, str]]] = {kind: _members(kind) for kind in ORDERS}
"""The EIP-712 members of each kind of order, in the order of the struct."""


def _type_hash(name: str, members: list[dict[str, str]]) -> bytes:
    return keccak(f"{name}({','.join(m['type'] + ' ' + m['name'] for m in members)})".encode())


_ORDER_TYPE_HASH = {kind: _type_hash(ORDERS[kind].__name__, members) for kind, members in MEMBERS.items()}
_CHALLENGE_MEMBERS = [{"name": "challenge", "type": "string"}]
_CHALLENGE_TYPE_HASH = _type_hash("Challenge", _CHALLENGE_MEMBERS)


@dataclass(frozen=True, kw_only=True)
class Domain:
    """The EIP-712 domain that a signature is bound to (contract function ``domain()`` of the hub)."""

    chainId: int
    verifyingContract: Address | None = None
    name: str = "iExecODB"
    version: str = "5.0.0"

    def __post_init__(self) -> None:
        object.__setattr__(self, "chainId", uint256(self.chainId, "chainId"))
        if self.verifyingContract is not None:
            object.__setattr__(self, "verifyingContract", address(self.verifyingContract, "verifyingContract"))

    @property
    def members(self) -> list[dict[str, str]]:
        """The members of ``EIP712Domain``: the contract is left out where there is none."""
        names = {"name": "string", "version": "string", "chainId": "uint256", "verifyingContract": "address"}
        if self.verifyingContract is None:
            del names["verifyingContract"]
        return [{"name": name, "type": kind} for name, kind in names.items()]

    @cached_property
    def separator(self) -> bytes:
        """The 32-byte domain separator."""
        contract = b"" if self.verifyingContract is None else _word(self.verifyingContract, "address")
        return keccak(
            _type_hash("EIP712Domain", self.members)
            + keccak(self.name.encode())
            + keccak(self.version.encode())
            + self.chainId.to_bytes(32, "big")
            + contract
        )

    def to_json(self) -> dict[str, str]:
        """Return the domain as it stands in typed data: the chain id as decimal text."""
        body = {"name": self.name, "version": self.version, "chainId": str(self.chainId)}
        return body if self.verifyingContract is None else {**body, "verifyingContract": self.verifyingContract}


def struct_hash(order: Order) -> bytes:
    """Return the 32-byte EIP-712 struct hash of an order that has a salt.

    Raises
    ------
    InvalidSignatureError
        When the order has no salt: without it the hash is not defined.
    """
    if order.salt is None:
        raise InvalidSignatureError(f"the {order.kind}order has no salt", hint="sign it first: order.sign(...)")
    words = [_ORDER_TYPE_HASH[order.kind]]
    words += [_word(getattr(order, member["name"]), member["type"]) for member in MEMBERS[order.kind]]
    return keccak(b"".join(words))


def order_digest(order: Order, domain: Domain) -> bytes:
    """Return the 32 bytes that are signed: ``keccak256(0x1901 || separator || structHash)``."""
    return keccak(b"\x19\x01" + domain.separator + struct_hash(order))


def order_hash(order: Order, domain: Domain) -> Bytes32:
    """Return the order's hash, which is its name on the market and on the chain."""
    return "0x" + order_digest(order, domain).hex()


def typed_data(order: Order, domain: Domain) -> dict[str, Any]:
    """Return what ``eth_signTypedData_v4`` takes, so that any wallet can sign the same order."""
    name = type(order).__name__
    message = {key: value for key, value in order.to_json().items() if key != "sign"}
    return {
        "types": {"EIP712Domain": domain.members, name: MEMBERS[order.kind]},
        "domain": domain.to_json(),
        "primaryType": name,
        "message": message,
    }


def challenge_digest(challenge: str, domain: Domain) -> bytes:
    """Return the 32 bytes that log in to a service: type ``Challenge(string challenge)``."""
    struct = keccak(_CHALLENGE_TYPE_HASH + keccak(challenge.encode()))
    return keccak(b"\x19\x01" + domain.separator + struct)


def challenge_typed_data(challenge: str, domain: Domain) -> dict[str, Any]:
    """Return the typed data of a login challenge, as the market API sends it."""
    return {
        "types": {"EIP712Domain": domain.members, "Challenge": _CHALLENGE_MEMBERS},
        "domain": domain.to_json(),
        "primaryType": "Challenge",
        "message": {"challenge": challenge},
    }


def personal_digest(data: bytes) -> bytes:
    """Return the 32 bytes that ``personal_sign`` signs for `data` (EIP-191)."""
    return keccak(b"\x19Ethereum Signed Message:\n" + str(len(data)).encode() + data)


def sign_digest(digest: bytes, private_key: bytes) -> str:
    """Return the 65-byte signature of 32 bytes as ``0x`` text.

    This signs whatever it is given: callers show what the digest stands for before they come here.
    """
    signature = coincurve.PrivateKey(private_key).sign_recoverable(digest, hasher=None)
    return "0x" + signature[:64].hex() + f"{signature[64] + 27:02x}"


def address_of(private_key: bytes | Secret) -> Address:
    """Return the address that a 32-byte private key signs for."""
    raw = private_key.reveal_bytes() if isinstance(private_key, Secret) else private_key
    return _address_of_public_key(coincurve.PrivateKey(raw).public_key)


def recover(digest: bytes, sign: str) -> Address:
    """Return the address that signed 32 bytes.

    Parameters
    ----------
    digest
        What was signed.
    sign
        65 bytes ``r || s || v``, or 64 bytes of EIP-2098.

    Raises
    ------
    InvalidSignatureError
        When it is no signature of a private key.
    """
    raw = hexbytes(sign, "sign")
    if len(raw) == 64:
        y_and_s = int.from_bytes(raw[32:], "big")
        raw = raw[:32] + (y_and_s & (2**255 - 1)).to_bytes(32, "big") + bytes([27 + (y_and_s >> 255)])
    # OpenZeppelin's ECDSA, which the contracts use, refuses the mirrored half of the curve and any other v.
    if len(raw) != 65 or raw[64] not in (27, 28) or int.from_bytes(raw[32:64], "big") > _HALF_ORDER:
        raise InvalidSignatureError(
            "the signature is malformed", hint="65 bytes r || s || v with v 27 or 28 and a low s"
        )
    try:
        key = coincurve.PublicKey.from_signature_and_message(raw[:64] + bytes([raw[64] - 27]), digest, hasher=None)
    except Exception as error:  # coincurve raises bare Exception, ValueError or its own, by the place of the fault
        raise InvalidSignatureError("the signature is not valid for any key") from error
    return _address_of_public_key(key)


def verify_order(order: Order, domain: Domain, signer: Address, orderHash: Bytes32 | None = None) -> Bytes32:
    """Check that `signer` signed an order, and that it is the one called `orderHash`; return its hash.

    Raises
    ------
    InvalidSignatureError
        When the hash differs, or somebody else signed.
    """
    digest = order_digest(order, domain)
    name = f"{order.kind}order"
    if orderHash is not None and orderHash != "0x" + digest.hex():
        raise InvalidSignatureError(
            f"{name} {orderHash} does not hash to its name", context={"hash of its fields": "0x" + digest.hex()}
        )
    if order.sign is None:
        raise InvalidSignatureError(f"the {name} is not signed")
    actual = recover(digest, order.sign)
    if actual != signer:
        raise InvalidSignatureError(
            f"{name} invalid sign", context={"signed by": actual, "expected": signer, "orderHash": "0x" + digest.hex()}
        )
    return "0x" + digest.hex()


def _word(value: Any, kind: str) -> bytes:
    if kind == "address":
        return bytes(12) + bytes.fromhex(value[2:])
    if kind == "bytes32":
        return bytes.fromhex(value[2:])
    if kind == "string":
        return keccak(value.encode())
    number: int = value
    return number.to_bytes(32, "big")


def _address_of_public_key(key: coincurve.PublicKey) -> Address:
    return to_checksum(keccak(key.format(compressed=False)[1:])[12:])

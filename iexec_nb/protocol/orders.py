"""The four kinds of orders, as the contracts, the market and the JavaScript SDK know them.

A field has one name everywhere (EIP-712 member, JSON key, contract argument, DataFrame column, keyword) and the
fields stand in the order of the contract's struct (``IexecLibOrders_v5``). An order without `salt` and `sign` is a
template; with both it is signed and can be published or matched. Amounts are ``int`` nRLC; JSON carries numbers as
decimal text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Any, ClassVar, Self

from iexec_nb.errors import ValidationError
from iexec_nb.protocol.params import dumps, parse
from iexec_nb.protocol.tags import TEE_TDX, describe, tag
from iexec_nb.protocol.types import NULL_ADDRESS, NULL_BYTES32, Address, Bytes32, address, bytes32, shown, uint256
from iexec_nb.protocol.units import format_rlc, nrlc

DATASET_INFINITE_VOLUME = 2**53 - 1

_SIGN = re.compile(r"0x(?:[0-9a-fA-F]{2})*")
_PARSERS = {"address": address, "price": nrlc, "number": uint256, "tag": tag, "bytes32": bytes32}
_STRUCT = {
    "app": "address", "dataset": "address", "workerpool": "address", "requester": "address",
    "appprice": "price", "datasetprice": "price", "workerpoolprice": "price",
    "appmaxprice": "price", "datasetmaxprice": "price", "workerpoolmaxprice": "price",
    "volume": "number", "category": "number", "trust": "number", "tag": "tag",
    "apprestrict": "address", "datasetrestrict": "address", "workerpoolrestrict": "address",
    "requesterrestrict": "address", "beneficiary": "address", "callback": "address",
}  # fmt: skip


class _Order:
    __slots__ = ()
    KIND: ClassVar[str]
    RESOURCE: ClassVar[str]
    PRICE: ClassVar[str]
    FIELDS: ClassVar[tuple[str, ...]]

    tag: Bytes32
    volume: int
    salt: Bytes32 | None
    sign: str | None

    def __post_init__(self) -> None:
        for name in self.FIELDS:
            if kind := _STRUCT.get(name):
                object.__setattr__(self, name, _PARSERS[kind](getattr(self, name), name))
        if self.salt is not None:
            object.__setattr__(self, "salt", bytes32(self.salt, "salt"))
        if self.sign is not None:
            object.__setattr__(self, "sign", _signature(self.sign))

    @property
    def kind(self) -> str:
        """``app``, ``dataset``, ``workerpool`` or ``request``."""
        return self.KIND

    @property
    def resource(self) -> Address:
        """The address that the order sells, or the requester of a request order."""
        value: Address = getattr(self, self.RESOURCE)
        return value

    @property
    def price(self) -> int:
        """The price of one task in nRLC (of the workerpool, in a request order)."""
        value: int = getattr(self, self.PRICE)
        return value

    @property
    def is_signed(self) -> bool:
        """Whether the order has a salt and a signature."""
        return self.salt is not None and self.sign is not None

    def signed(self, salt: Bytes32, sign: str) -> Self:
        """Return the same order with this salt and signature."""
        # The other fields were checked when this order was made, and checking them is most of what signing costs.
        signed = object.__new__(type(self))
        for name in self.FIELDS:
            object.__setattr__(signed, name, getattr(self, name))
        object.__setattr__(signed, "salt", bytes32(salt, "salt"))
        object.__setattr__(signed, "sign", _signature(sign))
        return signed

    def to_json(self) -> dict[str, str]:
        """Return the JSON form of the SDK: numbers as decimal text, `salt` and `sign` where they are set."""
        body = {name: value if isinstance(value := getattr(self, name), str) else str(value) for name in self.FIELDS}
        if self.salt is not None:
            body["salt"] = self.salt
        if self.sign is not None:
            body["sign"] = self.sign
        return body

    @classmethod
    def from_json(cls, obj: object) -> Self:
        """Return the order in a JSON object; numbers may be text or JSON integers, unknown keys are ignored.

        Raises
        ------
        ValidationError
            When a field is missing or malformed.
        """
        name = f"{cls.KIND}order"
        if not isinstance(obj, Mapping):
            raise ValidationError(f"{name} is not an object: {shown(obj)}")
        lacking = [key for key in cls.FIELDS if obj.get(key) is None]
        if lacking:
            raise ValidationError(
                f"{lacking[0]} is a required field", context={"order": name, "missing": ", ".join(lacking)}
            )
        return cls(**{key: obj[key] for key in (*cls.FIELDS, "salt", "sign") if obj.get(key) is not None})

    def to_abi(self) -> tuple[Any, ...]:
        """Return the struct as the contracts take it, `sign` last; bytes32 and signatures as ``bytes``.

        Raises
        ------
        ValidationError
            When the order is not signed.
        """
        if self.salt is None or self.sign is None:
            raise ValidationError(f"the {self.KIND}order is not signed", hint="sign it first: order.sign(...)")
        values: list[Any] = [getattr(self, name) for name in self.FIELDS]
        values[self.FIELDS.index("tag")] = bytes.fromhex(self.tag[2:])
        return (*values, bytes.fromhex(self.salt[2:]), bytes.fromhex(self.sign[2:]))

    def __repr__(self) -> str:
        state = "signed" if self.is_signed else "not signed"
        tags = ",".join(describe(self.tag)) or "none"
        volume = self.volume
        return (
            f"{type(self).__name__}({self.RESOURCE}={self.resource}, price={format_rlc(self.price)}, "
            f"volume={volume}, tag={tags}, {state})"
        )


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class AppOrder(_Order):
    """An offer to let an app run: `appprice` nRLC a task, `volume` tasks, to whom the restrictions allow."""

    KIND: ClassVar[str] = "app"
    RESOURCE: ClassVar[str] = "app"
    PRICE: ClassVar[str] = "appprice"
    FIELDS: ClassVar[tuple[str, ...]] = (
        "app", "appprice", "volume", "tag", "datasetrestrict", "workerpoolrestrict", "requesterrestrict",
    )  # fmt: skip

    app: Address
    appprice: int = 0
    volume: int = 1
    tag: Bytes32 = TEE_TDX
    datasetrestrict: Address = NULL_ADDRESS
    workerpoolrestrict: Address = NULL_ADDRESS
    requesterrestrict: Address = NULL_ADDRESS
    salt: Bytes32 | None = None
    sign: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class DatasetOrder(_Order):
    """An offer to let a dataset be used: `datasetprice` nRLC a task, `volume` tasks."""

    KIND: ClassVar[str] = "dataset"
    RESOURCE: ClassVar[str] = "dataset"
    PRICE: ClassVar[str] = "datasetprice"
    FIELDS: ClassVar[tuple[str, ...]] = (
        "dataset", "datasetprice", "volume", "tag", "apprestrict", "workerpoolrestrict", "requesterrestrict",
    )  # fmt: skip

    dataset: Address
    datasetprice: int = 0
    volume: int = 1
    tag: Bytes32 = TEE_TDX
    apprestrict: Address = NULL_ADDRESS
    workerpoolrestrict: Address = NULL_ADDRESS
    requesterrestrict: Address = NULL_ADDRESS
    salt: Bytes32 | None = None
    sign: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class WorkerpoolOrder(_Order):
    """An offer to compute: `workerpoolprice` nRLC a task of `category`, with at least `trust`."""

    KIND: ClassVar[str] = "workerpool"
    RESOURCE: ClassVar[str] = "workerpool"
    PRICE: ClassVar[str] = "workerpoolprice"
    FIELDS: ClassVar[tuple[str, ...]] = (
        "workerpool", "workerpoolprice", "volume", "tag", "category", "trust",
        "apprestrict", "datasetrestrict", "requesterrestrict",
    )  # fmt: skip

    workerpool: Address
    workerpoolprice: int = 0
    volume: int = 1
    tag: Bytes32 = TEE_TDX
    category: int
    trust: int = 0
    apprestrict: Address = NULL_ADDRESS
    datasetrestrict: Address = NULL_ADDRESS
    requesterrestrict: Address = NULL_ADDRESS
    salt: Bytes32 | None = None
    sign: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class RequestOrder(_Order):
    """A wish to compute: the most that the requester pays for each part of a task, and what is to be run.

    `params` may be given as a mapping; it is kept as JSON text and signed byte for byte. `beneficiary` (who may
    decrypt the result) defaults to the requester.
    """

    KIND: ClassVar[str] = "request"
    RESOURCE: ClassVar[str] = "requester"
    PRICE: ClassVar[str] = "workerpoolmaxprice"
    FIELDS: ClassVar[tuple[str, ...]] = (
        "app", "appmaxprice", "dataset", "datasetmaxprice", "workerpool", "workerpoolmaxprice", "requester", "volume",
        "tag", "category", "trust", "beneficiary", "callback", "params",
    )  # fmt: skip

    app: Address
    appmaxprice: int = 0
    dataset: Address = NULL_ADDRESS
    datasetmaxprice: int = 0
    workerpool: Address = NULL_ADDRESS
    workerpoolmaxprice: int = 0
    requester: Address
    volume: int = 1
    tag: Bytes32 = TEE_TDX
    category: int
    trust: int = 0
    beneficiary: Address = ""
    callback: Address = NULL_ADDRESS
    params: str = "{}"
    salt: Bytes32 | None = None
    sign: str | None = None

    def __post_init__(self) -> None:
        if self.beneficiary in ("", None):
            object.__setattr__(self, "beneficiary", self.requester)
        object.__setattr__(self, "params", _params_text(self.params))
        # A slots dataclass is rebuilt by its decorator, which breaks the short form of super().
        _Order.__post_init__(self)


Order = AppOrder | DatasetOrder | WorkerpoolOrder | RequestOrder
ORDERS: dict[str, type[AppOrder] | type[DatasetOrder] | type[WorkerpoolOrder] | type[RequestOrder]] = {
    cls.KIND: cls for cls in (AppOrder, DatasetOrder, WorkerpoolOrder, RequestOrder)
}


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class PublishedOrder:
    """A signed order as the market lists it, with the volume that remains (endpoint ``/{kind}orders``)."""

    orderHash: Bytes32
    order: Order
    chainId: int
    remaining: int
    status: str
    publicationTimestamp: datetime
    signer: Address

    @classmethod
    def from_json(cls, kind: str, obj: object) -> PublishedOrder:
        """Return the record in one element of the market's ``orders`` list; the signature is not yet checked.

        Raises
        ------
        ValidationError
            When a field is missing or malformed.
        """
        if not isinstance(obj, Mapping):
            raise ValidationError(f"published {kind}order is not an object: {shown(obj)}")
        lacking = [field.name for field in fields(cls) if obj.get(field.name) is None]
        if lacking:
            raise ValidationError(
                f"{lacking[0]} is a required field", context={"published order": shown(obj.get("orderHash"))}
            )
        return cls(
            orderHash=bytes32(obj["orderHash"], "orderHash"),
            order=ORDERS[kind].from_json(obj["order"]),
            chainId=uint256(obj["chainId"], "chainId"),
            remaining=uint256(obj["remaining"], "remaining"),
            status=shown(obj["status"], 16),
            publicationTimestamp=_moment(obj["publicationTimestamp"]),
            signer=address(obj["signer"], "signer"),
        )

    def __repr__(self) -> str:
        return f"PublishedOrder({self.order!r}, remaining={self.remaining}, {self.status}, orderHash={self.orderHash})"


def _params_text(value: object) -> str:
    text = dumps(value) if isinstance(value, Mapping) else value
    parse(text)  # type: ignore[arg-type]
    return str(text)


def _signature(value: object) -> str:
    if isinstance(value, bytes):
        return "0x" + value.hex()
    if isinstance(value, str) and len(value) <= 4096 and _SIGN.fullmatch(value):
        return value.lower()
    raise ValidationError(f"{shown(value)} is not a valid signature", hint="give it as 0x and 130 hex digits")


def _moment(value: object) -> datetime:
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else None
        if moment is not None and moment.tzinfo is not None:
            return moment.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise ValidationError(f"{shown(value)} is not a UTC time", hint="ISO 8601, such as 2026-01-31T12:00:00.000Z")


NULL_DATASETORDER = DatasetOrder(dataset=NULL_ADDRESS, volume=0, tag=NULL_BYTES32, salt=NULL_BYTES32, sign="0x")
"""What a match is given where the request has no dataset."""

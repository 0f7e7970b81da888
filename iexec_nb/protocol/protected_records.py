"""Records of protected data, of who may use it, and of bulks: what the DataProtector SDK has, in Python's types."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from iexec_nb.errors import ValidationError
from iexec_nb.protocol import cid, encryption, params
from iexec_nb.protocol.orders import DatasetOrder, RequestOrder
from iexec_nb.protocol.protected_data import schema_entries, schema_of
from iexec_nb.protocol.types import NULL_ADDRESS, Address, Bytes32, Secret, address, hexbytes, shown, uint256

MAX_SECONDS = 253_402_300_799
"""The last second that a datetime can hold (year 9999)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProtectedData:
    """What is public about protected data.

    Attributes
    ----------
    name, address, owner
        Its name, the address of its dataset, and who decides about it.
    schema
        The types of its values, nested as they are.
    creationTimestamp
        When it was made.
    multiaddr
        Where the encrypted zip lies, or None where the chain does not say it.
    """

    name: str
    address: Address
    owner: Address
    schema: Mapping[str, Any]
    creationTimestamp: datetime
    multiaddr: str | None

    @classmethod
    def from_subgraph(cls, row: Mapping[str, Any]) -> ProtectedData:
        """Return the record of a row of the DataProtector subgraph.

        Raises
        ------
        ValidationError
            When a member is missing or malformed.
        """
        owner, entries, name = row.get("owner"), row.get("schema"), row.get("name")
        if not isinstance(owner, Mapping) or not isinstance(entries, list) or not isinstance(name, str):
            raise ValidationError("a row has no owner, schema or name")
        ids = [entry.get("id") if isinstance(entry, Mapping) else None for entry in entries]
        if not all(isinstance(one, str) for one in ids):
            raise ValidationError("a row has a schema that is no list of entries")
        seconds = uint256(row.get("creationTimestamp"), "creationTimestamp")
        if seconds > MAX_SECONDS:
            raise ValidationError(f"{seconds} is not a time")
        return cls(
            name=name,
            address=address(row.get("id"), "id"),
            owner=address(owner.get("id"), "owner"),
            schema=schema_of([str(one) for one in ids]),
            creationTimestamp=datetime.fromtimestamp(seconds, UTC),
            multiaddr=_multiaddr(row.get("multiaddr")),
        )

    @property
    def paths(self) -> tuple[str, ...]:
        """The schema as one text for each value: ``path:type``."""
        return tuple(schema_entries(self.schema))

    def to_json(self) -> dict[str, Any]:
        """Return the members that the DataProtector SDK has."""
        return {
            "name": self.name, "address": self.address.lower(), "owner": self.owner.lower(), "schema": self.schema,
            "creationTimestamp": int(self.creationTimestamp.timestamp()), "multiaddr": self.multiaddr,
        }  # fmt: skip

    def __repr__(self) -> str:
        return f"ProtectedData({shown(self.name)!r}, {self.address}, {shown(', '.join(self.paths), 60)})"


def _multiaddr(value: object) -> str | None:
    """Return where something lies, as the SDK reads it: an https address, else a multiaddr, else nothing."""
    if not isinstance(value, str) or len(value) < 3:
        return None
    try:
        text = cid.multiaddr_decode(hexbytes(value, "multiaddr"))
    except ValidationError:
        return None
    return text if text.startswith(("https://", "/")) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Protected:
    """Protected data that was made here: what is public about it, and what only its owner has.

    Attributes
    ----------
    data
        What is public.
    transactionHash
        The transaction that made it.
    path
        The encrypted zip on this machine.
    encryptionKey
        What opens it; the secret service has it, and so has the client's store.
    """

    data: ProtectedData
    transactionHash: Bytes32
    path: Path
    encryptionKey: Secret = field(repr=False)

    @property
    def address(self) -> Address:
        """The address of the protected data."""
        return self.data.address

    @property
    def name(self) -> str:
        """Its name."""
        return self.data.name

    @property
    def owner(self) -> Address:
        """Who decides about it."""
        return self.data.owner

    @property
    def schema(self) -> Mapping[str, Any]:
        """The types of its values."""
        return self.data.schema

    @property
    def creationTimestamp(self) -> datetime:
        """When it was made."""
        return self.data.creationTimestamp

    @property
    def multiaddr(self) -> str | None:
        """Where the encrypted zip lies."""
        return self.data.multiaddr

    @property
    def zipFile(self) -> bytes:
        """The zip before its encryption, decrypted again from `path`."""
        return encryption.decrypt_bytes(self.path.read_bytes(), encryption.dataset_key(self.encryptionKey))

    def to_json(self) -> dict[str, Any]:
        """Return the members that the DataProtector SDK has, the secret ones excepted."""
        return {**self.data.to_json(), "transactionHash": self.transactionHash}

    def __repr__(self) -> str:
        return f"Protected({self.data!r}, transactionHash={self.transactionHash}, encryptionKey=****)"


@dataclass(frozen=True, slots=True, kw_only=True)
class GrantedAccess:
    """The right to use protected data: the owner's dataset order, and how many times it can still be used."""

    order: DatasetOrder
    remainingAccess: int

    def to_json(self) -> dict[str, Any]:
        """Return the members that the DataProtector SDK has: all lower case, numbers as text."""
        members: dict[str, Any] = {name: value.lower() for name, value in self.order.to_json().items()}
        return {**members, "remainingAccess": self.remainingAccess}

    def __repr__(self) -> str:
        order = self.order
        who = "anybody" if order.requesterrestrict == NULL_ADDRESS else order.requesterrestrict
        times = "any number of times, in bulks too" if self.is_bulk else f"{self.remainingAccess} times"
        return f"GrantedAccess({order.dataset} to app {order.apprestrict} for {who}, {times})"

    @property
    def is_bulk(self) -> bool:
        """Whether it can be used in bulks: it costs nothing and never ends."""
        return self.order.datasetprice == 0 and self.order.volume >= 2**53 - 2


@dataclass(frozen=True, slots=True, kw_only=True)
class RevokedAccess:
    """A right that was taken back, and the transaction that did it."""

    access: GrantedAccess
    txHash: Bytes32

    def to_json(self) -> dict[str, Any]:
        """Return the members that the DataProtector SDK has."""
        return {"access": self.access.to_json(), "txHash": self.txHash}


@dataclass(frozen=True, slots=True, kw_only=True)
class BulkRequest:
    """A signed request to process much protected data: who has it can match it, at the prices that it allows.

    Attributes
    ----------
    order
        The signed request order; its params name the bulk on IPFS.
    """

    order: RequestOrder

    def __post_init__(self) -> None:
        order = self.order
        if order.dataset != NULL_ADDRESS or order.datasetmaxprice != 0 or not order.is_signed:
            raise ValidationError(
                "the requestorder is not one of a bulk: it has a dataset, a price for it, or no signature",
                hint="protected_data.prepare_bulk(...) makes one",
            )
        if not isinstance(self.params.get("bulk_cid"), str):
            raise ValidationError(
                "params should be a valid JSON string with bulk_cid field", hint="protected_data.prepare_bulk(...)"
            )

    @property
    def params(self) -> dict[str, Any]:
        """The params of the request."""
        return params.loads(self.order.params)

    @property
    def is_encrypted(self) -> bool:
        """Whether results will be encrypted for the beneficiary."""
        return self.params.get("iexec_result_encryption") is True

    def to_json(self) -> dict[str, Any]:
        """Return the members that the DataProtector SDK has."""
        return self.order.to_json()

    def __repr__(self) -> str:
        order = self.order
        return f"BulkRequest({order.volume} tasks of app {order.app}, bulk_cid={shown(self.params['bulk_cid'])})"


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskEnd:
    """How a task ended: ``COMPLETED``, ``FAILED`` or ``TIMEOUT``, and whether that is a success."""

    taskid: Bytes32
    status: str
    success: bool

    def to_json(self) -> dict[str, Any]:
        """Return the members that the DataProtector SDK has."""
        return {"status": self.status, "success": self.success}

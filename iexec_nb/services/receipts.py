"""What the chain says happened: receipts and logs, checked field by field because a node may send anything."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self

from iexec_nb.errors import ValidationError, Web3ProviderCallError
from iexec_nb.protocol.types import Address, Bytes32, address, bytes32, shown
from iexec_nb.services.answers import hexdata, quantity


@dataclass(frozen=True, kw_only=True, slots=True)
class Log:
    """One event as a contract wrote it, not yet decoded."""

    address: Address
    topics: tuple[Bytes32, ...]
    data: bytes
    block_number: int
    tx_hash: Bytes32
    index: int

    @classmethod
    def from_rpc(cls, answer: object) -> Self:
        """Return the log in a node's answer.

        Raises
        ------
        Web3ProviderCallError
            When it is not a log.
        """
        if not isinstance(answer, Mapping) or not isinstance(answer.get("topics"), list):
            raise Web3ProviderCallError(f"the node answered {shown(answer, 60)} where a log was expected")
        try:
            return cls(
                address=address(answer.get("address")),
                topics=tuple(bytes32(topic, "topic") for topic in answer["topics"][:4]),
                data=hexdata(answer.get("data")),
                block_number=quantity(answer.get("blockNumber")),
                tx_hash=bytes32(answer.get("transactionHash"), "transactionHash"),
                index=quantity(answer.get("logIndex")),
            )
        except ValidationError as error:
            raise Web3ProviderCallError(f"the node sent a malformed log: {error.message}") from error


@dataclass(frozen=True, kw_only=True, slots=True)
class Receipt:
    """The outcome of a mined transaction: `status` 1 for done, 0 for reverted; `gas_used` in units of gas.

    `gas_price` is what each unit cost, in wei; None where the node does not say it.
    """

    tx_hash: Bytes32
    block_number: int
    status: int
    gas_used: int
    logs: tuple[Log, ...] = field(repr=False)
    gas_price: int | None = None

    @classmethod
    def from_rpc(cls, answer: object, tx_hash: Bytes32) -> Self:
        """Return the receipt in a node's answer.

        Raises
        ------
        Web3ProviderCallError
            When it is not a receipt, or one of another transaction.
        """
        if not isinstance(answer, Mapping) or not isinstance(answer.get("logs"), list):
            raise Web3ProviderCallError(f"the node answered {shown(answer, 60)} where a receipt was expected")
        if str(answer.get("transactionHash")).lower() != tx_hash:
            raise Web3ProviderCallError(
                f"the node sent the receipt of another transaction: {shown(answer.get('transactionHash'))}",
                context={"expected": tx_hash},
            )
        return cls(
            tx_hash=tx_hash,
            block_number=quantity(answer.get("blockNumber")),
            status=quantity(answer.get("status")),
            gas_used=quantity(answer.get("gasUsed")),
            logs=tuple(Log.from_rpc(log) for log in answer["logs"]),
            gas_price=None if (price := answer.get("effectiveGasPrice")) is None else quantity(price),
        )

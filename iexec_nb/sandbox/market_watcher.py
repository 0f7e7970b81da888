"""Keeps the sandbox's market in step with the chain: what was matched, cancelled, transferred or can no longer be paid.

The real market has a separate process that follows the chain and lags behind it. Here each request first reads the
events since the block that was seen last, so that a listing never shows an order that the chain knows to be gone, and
tests never have to wait.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from iexec_nb.protocol.types import NULL_ADDRESS, Address, Bytes32, address_from_uint, hexbytes
from iexec_nb.sandbox.market_rules import bury_requests, required_stake
from iexec_nb.sandbox.market_store import Listed, MarketStore
from iexec_nb.sandbox.web import dumps
from iexec_nb.services import abi
from iexec_nb.services.reads import Call
from iexec_nb.services.receipts import Log

if TYPE_CHECKING:
    from iexec_nb.services.chain import Chain

_KINDS = ("app", "dataset", "workerpool", "request")
_SQLITE_MAX = 2**63 - 1


class Watcher:
    """Applies the chain's events to a `MarketStore`, each once.

    Parameters
    ----------
    chain
        The chain of the market.
    store
        What is listed.
    """

    def __init__(self, chain: Chain, store: MarketStore) -> None:
        self._chain = chain
        self._store = store
        self._lock = threading.Lock()
        self._last_block = -1
        self._gone: dict[str, set[Address]] = {}
        self._poorer: set[Address] = set()

    @property
    def last_block(self) -> int:
        """The last block whose events are applied."""
        return self._last_block

    def sync(self) -> None:
        """Apply everything that happened on the chain since the last call."""
        with self._lock:
            newest = self._chain.block_number()
            if newest <= self._last_block:
                return
            logs = self._logs(self._last_block + 1, newest)
            self._apply(logs)
            self._last_block = newest

    def _logs(self, first: int, last: int) -> list[Log]:
        chain = self._chain
        addresses = [chain.hub_address, chain.appregistry, chain.datasetregistry, chain.workerpoolregistry]
        query = {"address": addresses, "fromBlock": hex(first), "toBlock": hex(last)}
        return [Log.from_rpc(entry) for entry in chain.rpc.call("eth_getLogs", query)]

    def _apply(self, logs: Sequence[Log]) -> None:
        self._gone, self._poorer = {"app": set(), "dataset": set()}, set()
        times = self._times(logs)
        matched = [log for log in logs if abi.ORDERS_MATCHED.matches(log)]
        with self._store.exclusive():
            for log in logs:
                self._categories(log, times)
                self._cancellations(log)
                self._transfers(log)
                self._stake_losses(log)
            if matched:
                self._matches(matched, times)
            self._bury_unpaid()
            bury_requests(self._store, self._gone["app"], self._gone["dataset"])

    def _times(self, logs: Sequence[Log]) -> dict[int, str]:
        """Return the time of every block that a deal or a category was made in, ISO 8601."""
        numbers = sorted(
            {log.block_number for log in logs if abi.ORDERS_MATCHED.matches(log) or abi.CATEGORY_CREATED.matches(log)}
        )
        blocks = self._chain.rpc.batch([("eth_getBlockByNumber", [hex(number), False]) for number in numbers])
        return {number: iso_time(int(block["timestamp"], 16)) for number, block in zip(numbers, blocks, strict=True)}

    def _categories(self, log: Log, times: Mapping[int, str]) -> None:
        if not abi.CATEGORY_CREATED.matches(log):
            return
        made = abi.CATEGORY_CREATED.decode(log)
        body = {
            "catid": made["catid"],
            "chainId": self._chain.chain_id,
            "name": made["name"],
            "description": made["description"],
            "workClockTimeRef": made["workClockTimeRef"],
            "transactionHash": log.tx_hash,
            "blockNumber": log.block_number,
            "blockTimestamp": times[log.block_number],
        }
        self._store.add_category(made["catid"], made["workClockTimeRef"], dumps(body))

    def _cancellations(self, log: Log) -> None:
        for kind in _KINDS:
            if abi.CLOSED_ORDER[kind].matches(log):
                (orderHash,) = abi.CLOSED_ORDER[kind].decode(log).values()
                self._close(kind, orderHash, "canceled", 0)

    def _transfers(self, log: Log) -> None:
        registries = {
            self._chain.appregistry: "app",
            self._chain.datasetregistry: "dataset",
            self._chain.workerpoolregistry: "workerpool",
        }
        kind = registries.get(log.address)
        if kind is None or not abi.REGISTRY_TRANSFER.matches(log):
            return
        moved = abi.REGISTRY_TRANSFER.decode(log)
        if moved["from"] == NULL_ADDRESS:
            return
        resource = address_from_uint(moved["tokenId"])
        owner = self._chain.owners([resource])[resource]
        for row in self._store.listed(f"kind = ? AND status = 'open' AND {kind} = ?", kind, resource):
            if row.signer != owner:
                self._close(kind, row.orderHash, "dead")

    def _stake_losses(self, log: Log) -> None:
        # Withdrawals and locks are transfers of staked RLC, for which the hub is the token.
        if log.address == self._chain.hub_address and abi.TRANSFER.matches(log):
            moved = abi.TRANSFER.decode(log)
            if moved["from"] != NULL_ADDRESS and moved["value"]:
                self._poorer.add(moved["from"])

    def _matches(self, logs: Sequence[Log], times: Mapping[int, str]) -> None:
        events = [abi.ORDERS_MATCHED.decode(log) for log in logs]
        hub = self._chain.hub_address
        deals = self._chain.read([Call(hub, abi.VIEW_DEAL, (hexbytes(event["dealid"]),)) for event in events])
        for log, event, deal in zip(logs, events, deals, strict=True):
            self._store.add_deal(deal_columns(event, deal, log, self._chain.chain_id, times[log.block_number]))
        touched = sorted({(kind, event[f"{kind}Hash"]) for event in events for kind in _KINDS})
        orders = [row for kind, orderHash in touched if (row := self._store.find(kind, orderHash))]
        consumed = self._chain.read([Call(hub, abi.VIEW_CONSUMED, (hexbytes(row.orderHash),)) for row in orders])
        for row, amount in zip(orders, consumed, strict=True):
            remaining = min(row.volume - amount, row.remaining)
            if remaining != row.remaining:
                self._close(row.kind, row.orderHash, "filled" if remaining == 0 else None, remaining)

    def _close(self, kind: str, orderHash: Bytes32, status: str | None, remaining: int | None = None) -> None:
        row = self._store.find(kind, orderHash)
        if row is None:
            return
        self._store.update(kind, orderHash, status=status, remaining=remaining)
        if status is not None and kind in self._gone:
            self._gone[kind].add(row.app if kind == "app" else row.dataset)

    def _bury_unpaid(self) -> None:
        if not self._poorer:
            return
        query = "kind IN ('workerpool', 'request') AND status = 'open' AND remaining > 0 AND signer = ?"
        rows = {owner: self._store.listed(query, owner) for owner in sorted(self._poorer)}
        owners = [owner for owner in rows if rows[owner]]
        hub = self._chain.hub_address
        accounts = self._chain.read([Call(hub, abi.VIEW_ACCOUNT, (owner,)) for owner in owners])
        for owner, (stake, _) in zip(owners, accounts, strict=True):
            for row in rows[owner]:
                if stake < _needed(row):
                    self._close(row.kind, row.orderHash, "dead")


def _needed(row: Listed) -> int:
    if row.kind == "workerpool":
        return required_stake(row.price, row.remaining)
    return (row.appmaxprice + row.datasetmaxprice + row.price) * row.remaining


def deal_columns(
    event: Mapping[str, Any], deal: tuple[Any, ...], log: Log, chain_id: int, at: str
) -> dict[str, object]:
    """Return the row of a deal: its JSON text as the market answers it, and the columns that filters look at.

    Parameters
    ----------
    event
        The decoded ``OrdersMatched``.
    deal
        What ``viewDeal`` returned (prices in nRLC).
    log
        The log of the event.
    chain_id
        The chain of the market.
    at
        Time of the block, ISO 8601.
    """
    (app, dataset, workerpool, trust, category, tag, requester, beneficiary, callback, params, start, first, size) = (
        deal[:13]
    )
    worker_stake, reward_ratio = deal[13:15]
    body = {
        "dealid": event["dealid"],
        "chainId": chain_id,
        **{name: _resource(value) for name, value in (("app", app), ("dataset", dataset), ("workerpool", workerpool))},
        "requester": requester,
        "beneficiary": beneficiary,
        "callback": callback,
        **{f"{kind}Hash": event[f"{kind}Hash"] for kind in _KINDS},
        "params": params,
        "volume": event["volume"],
        "category": category,
        "tag": "0x" + tag.hex(),
        "trust": trust,
        "startTime": start,
        "botFirst": first,
        "botSize": size,
        "schedulerRewardRatio": reward_ratio,
        "workerStake": worker_stake,
        "blockNumber": log.block_number,
        "blockTimestamp": at,
        "transactionHash": log.tx_hash,
    }
    return {
        "dealid": event["dealid"], "blockNumber": log.block_number, "blockTimestamp": at,
        "volume": min(event["volume"], _SQLITE_MAX), "price": min(workerpool[2], _SQLITE_MAX), "category": category,
        "requester": requester, "beneficiary": beneficiary,
        "app": app[0], "dataset": dataset[0], "workerpool": workerpool[0],
        "appOwner": app[1], "datasetOwner": dataset[1], "workerpoolOwner": workerpool[1],
        **{f"{kind}orderHash": event[f"{kind}Hash"] for kind in _KINDS},
        "body": dumps(body),
    }  # fmt: skip


def _resource(value: tuple[Address, Address, int]) -> dict[str, object]:
    pointer, owner, price = value
    return {"pointer": pointer, "owner": owner, "price": price}


def iso_time(seconds: int) -> str:
    """Return a Unix time as the market writes it: ISO 8601, milliseconds, Z."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")

"""The members of the official CLI's JSON (``--raw``) for the verbs of orders."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from iexec_nb.actions.order_base import FAIL
from iexec_nb.commands import JsonNumber
from iexec_nb.protocol.matching import Cost
from iexec_nb.protocol.orders import Order, PublishedOrder
from iexec_nb.protocol.receipts import Cancelled, DatasetBulk, Explanation, Matched, Presigned, ShownOrder


def signed(value: Any) -> dict[str, Any]:
    """Return ``{"apporder": {...}}`` of orders that were created or signed."""
    return _each(value, lambda order: order.to_json())


def sent(value: Any) -> dict[str, Any]:
    """Return ``{"apporder": {"txHash": ...}}`` of orders that were cancelled or presigned."""
    return _each(value, lambda record: {"txHash": record.txHash})


def listed(value: Any) -> dict[str, Any]:
    """Return ``{"apporder": {"orderHash": ...}}`` of orders that were put on the market or taken off."""
    if isinstance(value, str | tuple):
        return {"orderHash": _plain(value)}
    return _each(value, lambda orderHash: {"orderHash": _plain(orderHash)})


def shown(value: Any) -> dict[str, Any]:
    """Return ``{"apporder": {...}}`` of orders of the market."""
    return _each(value, _shown)


def explained(value: Any) -> dict[str, Any]:
    """Return ``{"apporder": {"orderHash", "summary", "typedData"}}`` of orders that were explained."""
    return _each(
        value, lambda one: {"orderHash": one.orderHash, "summary": one.summary, "typedData": dict(one.typedData)}
    )


def matched(value: Matched) -> dict[str, Any]:
    """Return the deal of a match."""
    return {"dealid": value.dealid, "volume": str(value.volume), "txHash": value.txHash}


def estimated(value: Cost) -> dict[str, Any]:
    """Return what a match would cost, in nRLC."""
    return {"volume": str(value.volume), "total": str(value.total)}


def hashed(value: str) -> dict[str, Any]:
    """Return the hash of an order."""
    return {"orderHash": value}


def bulk(value: DatasetBulk) -> dict[str, Any]:
    """Return a bulk as the SDK's library has it."""
    return {"cid": value.cid, "volume": value.volume}


def _each(value: Any, member: Any) -> dict[str, Any]:
    """Return the members for one order, or for several that are in a dict beside what failed."""
    if isinstance(value, Mapping):
        found = {name: member(one) for name, one in value.items() if name != FAIL}
        return {**found, FAIL: list(value[FAIL])} if FAIL in value else found
    return {f"{_order(value).kind}order": member(value)}


def _order(value: Any) -> Order:
    if isinstance(value, ShownOrder):
        return value.published.order
    found: Order = value.order if isinstance(value, Cancelled | Presigned | Explanation | PublishedOrder) else value
    return found


def _shown(value: Any) -> dict[str, Any]:
    published: PublishedOrder = value.published if isinstance(value, ShownOrder) else value
    order = published.order
    # As the market sends it: numbers are numbers here, where a signed order has them as text.
    fields = {name: getattr(order, name) for name in (*order.FIELDS, "salt", "sign")}
    body = {
        "orderHash": published.orderHash, "chainId": published.chainId, "order": fields,
        "remaining": published.remaining, "status": published.status,
        "publicationTimestamp": _time(published.publicationTimestamp), "signer": published.signer,
    }  # fmt: skip
    if isinstance(value, ShownOrder):
        body["deals"] = {"count": value.dealsCount, "lastDeals": [dict(deal) for deal in value.lastDeals]}
    sent: dict[str, Any] = _numbers(body)
    return sent


def _numbers(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _numbers(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_numbers(one) for one in value]
    return JsonNumber(value) if type(value) is int else value


def _time(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value

"""Orders in plain words, shown before they are signed or matched."""

from __future__ import annotations

from iexec_nb.protocol import tags
from iexec_nb.protocol.orders import DATASET_INFINITE_VOLUME, Order, RequestOrder
from iexec_nb.protocol.types import NULL_ADDRESS, shown
from iexec_nb.protocol.units import format_rlc

_RESTRICTIONS = ("apprestrict", "datasetrestrict", "workerpoolrestrict", "requesterrestrict")


def describe(order: Order) -> str:
    """Return what an order promises, line by line: prices with units, restrictions by name, tags by name."""
    lines = [f"{order.kind}order of {order.RESOURCE} {order.resource}"]
    if isinstance(order, RequestOrder):
        lines += _request_lines(order)
    else:
        lines.append(f"price: {format_rlc(order.price)} a task")
        limits = [f"only {name.removesuffix('restrict')} {getattr(order, name)}" for name in _limits(order)]
        lines.append("for: " + ("; ".join(limits) or "anyone"))
    lines.append(f"volume: {'without limit' if order.volume >= DATASET_INFINITE_VOLUME else order.volume} tasks")
    lines.append(f"tag: {', '.join(tags.describe(order.tag)) or 'none'}")
    return "\n  ".join(lines)


def _request_lines(order: RequestOrder) -> list[str]:
    total = (order.appmaxprice + order.datasetmaxprice + order.workerpoolmaxprice) * order.volume
    lines = [
        f"app: {order.app} for at most {format_rlc(order.appmaxprice)} a task",
        f"workerpool: {_any(order.workerpool)} for at most {format_rlc(order.workerpoolmaxprice)} a task",
        f"category: {order.category}, trust {order.trust}",
        f"beneficiary: {order.beneficiary}",
        f"params: {shown(order.params, 500)}",
        f"at most in all: {format_rlc(total)}",
    ]
    if order.dataset != NULL_ADDRESS:
        lines.insert(1, f"dataset: {order.dataset} for at most {format_rlc(order.datasetmaxprice)} a task")
    if order.callback != NULL_ADDRESS:
        lines.insert(-1, f"callback: {order.callback}")
    return lines


def _limits(order: Order) -> list[str]:
    return [name for name in _RESTRICTIONS if getattr(order, name, NULL_ADDRESS) != NULL_ADDRESS]


def _any(address: str) -> str:
    return "any" if address == NULL_ADDRESS else address

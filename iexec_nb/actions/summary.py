"""Orders in plain words, shown before they are signed or matched."""

from __future__ import annotations

from iexec_nb.protocol import tags
from iexec_nb.protocol.orders import DATASET_INFINITE_VOLUME, Order, RequestOrder, WorkerpoolOrder
from iexec_nb.protocol.receipts import Explanation
from iexec_nb.protocol.typed_data import MEMBERS, Domain, order_hash, typed_data
from iexec_nb.protocol.types import NULL_ADDRESS, shown
from iexec_nb.protocol.units import format_rlc

_RESTRICTIONS = ("apprestrict", "datasetrestrict", "workerpoolrestrict", "requesterrestrict")
_MEANINGS = {
    "app": "the app that runs",
    "dataset": "the dataset that it reads",
    "workerpool": "the workerpool that computes",
    "requester": "who pays",
    "beneficiary": "who may decrypt the result",
    "category": "size of a task: %iexec category show says how long one may take",
    "trust": "confidence level: how many workers have to agree",
    "salt": "makes the order unlike any other",
}


def describe(order: Order) -> str:
    """Return what an order promises, line by line: prices with units, restrictions by name, tags by name."""
    lines = [f"{order.kind}order of {order.RESOURCE} {order.resource}"]
    if isinstance(order, RequestOrder):
        lines += _request_lines(order)
    else:
        lines.append(f"price: {format_rlc(order.price)} a task")
        limits = [f"only {name.removesuffix('restrict')} {getattr(order, name)}" for name in _limits(order)]
        lines.append("for: " + ("; ".join(limits) or "anyone"))
    if isinstance(order, WorkerpoolOrder):
        lines.append(f"category: {order.category}, trust {order.trust}")
    lines.append(f"volume: {_tasks(order.volume)}")
    lines.append(f"tag: {', '.join(tags.describe(order.tag)) or 'none'}")
    return "\n  ".join(lines)


def explain(order: Order, domain: Domain) -> Explanation:
    """Return an order in plain words, and each field that is signed with its meaning beside it."""
    values = order.to_json()
    rows = []
    for member in MEMBERS[order.kind]:
        name = member["name"]
        value = values.get(name, "none yet")
        rows.append((name, member["type"], shown(value, len(str(value))), _meaning(order, name)))
    return Explanation(
        order=order,
        orderHash=None if order.salt is None else order_hash(order, domain),
        summary=describe(order),
        rows=tuple(rows),
        typedData=typed_data(order, domain),
    )


def _meaning(order: Order, name: str) -> str:
    value = getattr(order, name)
    if name.endswith("maxprice"):
        return f"at most {format_rlc(value)} a task for the {name.removesuffix('maxprice')}"
    if name.endswith("price"):
        return f"{format_rlc(value)} a task"
    if name.endswith("restrict"):
        kind = name.removesuffix("restrict")
        return f"any {kind}" if value == NULL_ADDRESS else f"only this {kind}, or members of this group"
    if name == "volume":
        return _tasks(value)
    if name == "tag":
        return ", ".join(tags.describe(value)) or "no tag"
    if name == "params":
        return "what the task is told"
    if name == "callback":
        return "nobody is called back" if value == NULL_ADDRESS else "the contract that is given the result"
    if value == NULL_ADDRESS:
        return f"no {name}" if name == "dataset" else f"any {name}"
    return _MEANINGS[name]


def _tasks(volume: int) -> str:
    if volume >= DATASET_INFINITE_VOLUME - 1:
        return "as many tasks as are wanted"
    return f"{volume} task" if volume == 1 else f"{volume} tasks"


def _request_lines(order: RequestOrder) -> list[str]:
    total = (order.appmaxprice + order.datasetmaxprice + order.workerpoolmaxprice) * order.volume
    lines = [
        f"app: {order.app} for at most {format_rlc(order.appmaxprice)} a task",
        f"workerpool: {_any(order.workerpool)} for at most {format_rlc(order.workerpoolmaxprice)} a task",
        f"category: {order.category}, trust {order.trust}",
        f"beneficiary: {order.beneficiary}",
        f"params: {shown(order.params, len(order.params))}",
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

"""Finding the orders for a run: the cheapest that fit, or every order that exists and what keeps it out.

The market sorts by price, but it does not know everything: each candidate is verified, judged by the same rules as
the contracts', and asked on the chain what is left of it. A search that fails fetches the book again without filters,
so that it can say what was there.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

from iexec_nb.actions.book import verified
from iexec_nb.errors import OrderMismatchError
from iexec_nb.protocol import matching
from iexec_nb.protocol.matching import Reason
from iexec_nb.protocol.orders import PublishedOrder
from iexec_nb.protocol.types import Address
from iexec_nb.protocol.units import format_rlc

if TYPE_CHECKING:
    from iexec_nb.client import IExec

_PAGE = 100
_EXPLAINED = 1000
_SHOWN = 5
_MOST_AT_ONCE = 64
_POOL = "workerpool"
_NEGOTIABLE = frozenset({"0x02", "0x03", "0x04", "0x05", "volume"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a counter order must serve, `tasks` of it in one deal; names as in `matching.candidate_reasons`."""

    requester: Address
    app: Address
    dataset: Address | None
    workerpool: Address | None
    tag: str
    category: int | None = None
    trust: int = 0
    max_price: int | None = None
    tasks: int = 1


Find = Callable[["IExec", str, Wanted, Mapping[str, Any]], PublishedOrder]
"""How a counter order is found: `cheapest`, or what has the same arguments."""


class Serving(NamedTuple):
    """An order that serves: how many tasks it has left, and how many its owner can stake for at this moment."""

    published: PublishedOrder
    left: int
    at_once: int


def cheapest(client: IExec, kind: str, wanted: Wanted, filters: Mapping[str, Any]) -> PublishedOrder:
    """Return the first order of the market that serves, cheapest first.

    Parameters
    ----------
    client
        Where to look.
    kind
        ``app``, ``dataset`` or ``workerpool``.
    wanted
        What it must serve.
    filters
        The filters of the market API that narrow the book down.

    Raises
    ------
    OrderMismatchError
        When none serves; ``.reasons`` says for each order that exists what keeps it out.
    """
    found = next(serving(client, kind, wanted, filters), None)
    if found is None:
        raise explain(client, kind, wanted)
    return found.published


def serving(client: IExec, kind: str, wanted: Wanted, filters: Mapping[str, Any]) -> Iterator[Serving]:
    """Yield the orders of the market that serve, cheapest first; the parameters are those of `cheapest`.

    The market is asked for a further page, and the chain for what is left of further orders, when they are needed.
    """
    groups = cache(client.chain.group_member)
    for page in _pages(client, kind, wanted, filters):
        fitting = (order for order in verified(client.chain, kind, page) if not _against(order, wanted, groups))
        # Nearly always the first one serves. Where it does not, many are asked about together.
        size = 1
        while few := list(itertools.islice(fitting, size)):
            yield from (one for one in _standing(client, few) if not _lacking(one, wanted))
            size = min(size * 4, _MOST_AT_ONCE)


def _pages(client: IExec, kind: str, wanted: Wanted, filters: Mapping[str, Any]) -> Iterator[list[dict[str, Any]]]:
    """Yield the book page by page, cheapest first; without a category in mind the smallest category comes first."""
    if kind == "workerpool" and wanted.category is None:
        for category in range(client.chain.category_count()):
            yield from client.market.pages(kind, page_size=_PAGE, **{**filters, "category": category})
    else:
        yield from client.market.pages(kind, page_size=_PAGE, **filters)


def _against(published: PublishedOrder, wanted: Wanted, groups: Callable[[Address, Address], bool]) -> Sequence[Reason]:
    """Return which rules keep an order out, whatever is left of it: that is the chain's to say (`_lacking`)."""
    order = published.order
    assert order.kind != "request"
    return matching.candidate_reasons(
        order,  # type: ignore[arg-type]
        requester=wanted.requester, app=wanted.app, dataset=wanted.dataset, workerpool=wanted.workerpool,
        tag=wanted.tag, category=wanted.category, trust=wanted.trust, max_price=wanted.max_price, groups=groups,
    )  # fmt: skip


def _standing(client: IExec, orders: Sequence[PublishedOrder]) -> list[Serving]:
    """Return what the chain says about orders: the tasks that are left, and those that their owners can stake for."""
    consumed = client.chain.consumed([one.orderHash for one in orders])
    left = {one.orderHash: max(one.order.volume - consumed[one.orderHash], 0) for one in orders}
    stakes = {one.orderHash: matching.workerpool_stake(one.order.price) for one in orders if one.order.kind == _POOL}
    sellers = [one.signer for one in orders if stakes.get(one.orderHash)]
    accounts = client.chain.accounts(sellers) if sellers else {}

    def at_once(one: PublishedOrder) -> int:
        stake = stakes.get(one.orderHash)
        return accounts[one.signer].stake // stake if stake else left[one.orderHash]

    return [Serving(one, left[one.orderHash], at_once(one)) for one in orders]


def _lacking(one: Serving, wanted: Wanted) -> Sequence[Reason]:
    """Return what an order lacks on the chain: tasks that are left, or its owner's stake for them."""
    order = one.published.order
    if one.left < wanted.tasks:
        if one.left <= 0:
            return [_reason(matching.CONSUMED, f"{order.kind}order is fully consumed")]
        return [_reason("volume", f"{one.left} tasks are left of it, {wanted.tasks} are wanted")]
    if one.at_once < wanted.tasks:
        stake = matching.workerpool_stake(order.price)
        has = "does not cover" if wanted.tasks == 1 else f"covers {one.at_once} tasks and not {wanted.tasks}:"
        text = f"its owner's stake {has} the {format_rlc(stake)} that a task needs"
        return [_reason(matching.WORKERPOOL_STAKE, text)]
    return []


def _reason(code: str, message: str) -> Reason:
    return Reason(code=code, message=message)


def explain(client: IExec, kind: str, wanted: Wanted) -> OrderMismatchError:
    """Return the error that says which orders there are and what keeps them out, the nearest misses first."""
    parties = {name: "any" for name in ("app", "dataset", "workerpool", "requester") if name != kind}
    filters = {**parties, kind: getattr(wanted, kind) or "any"}
    raw = itertools.islice(client.market.orders(kind, page_size=_EXPLAINED, **filters), _EXPLAINED)
    judged = _judged(client, verified(client.chain, kind, raw), wanted)
    judged.sort(key=lambda pair: (_distance(pair[1]), pair[0].order.price))
    reasons = [_candidate(order, found) for order, found in judged[:_SHOWN]]
    return OrderMismatchError(
        _headline(kind, wanted, len(judged)),
        reasons=reasons,
        context=_counted(judged),
        hint=_hint(kind, wanted, judged),
    )


def _judged(
    client: IExec, orders: Sequence[PublishedOrder], wanted: Wanted
) -> list[tuple[PublishedOrder, Sequence[Reason]]]:
    """Return orders with what keeps each of them out; the chain is asked about those that pass the rules."""
    groups = cache(client.chain.group_member)
    found = {one.orderHash: _against(one, wanted, groups) for one in orders}
    for one in _standing(client, [one for one in orders if not found[one.orderHash]]):
        found[one.published.orderHash] = _lacking(one, wanted)
    return [(one, found[one.orderHash]) for one in orders]


def _distance(found: Sequence[Reason]) -> int:
    # A price, a trust or a volume can be changed by whoever asks; the rest makes it another computation.
    return sum(1 if reason.code in _NEGOTIABLE else 3 for reason in found)


def _candidate(published: PublishedOrder, found: Sequence[Reason]) -> Reason:
    messages = "; ".join(reason.message for reason in found)
    price = format_rlc(published.order.price)
    return _reason("candidate", f"{published.order.kind}order {published.orderHash} ({price}): {messages}")


def _counted(judged: Sequence[tuple[PublishedOrder, Sequence[Reason]]]) -> dict[str, str]:
    """Return how many orders each rule keeps out, by the field that would have to change."""
    counts = Counter(field for _, found in judged for field in {reason.field or reason.code for reason in found})
    return {f"kept out by {field}": f"{count} of {len(judged)}" for field, count in counts.most_common()}


def _headline(kind: str, wanted: Wanted, count: int) -> str:
    if kind == "workerpool":
        where = f"in category {wanted.category}" if wanted.category is not None else "currently"
        head = f"No workerpoolorder matching your conditions available {where}"
    else:
        head = f"No order available for {kind} {getattr(wanted, kind)}"
    more = f"; the nearest {_SHOWN}" if count > _SHOWN else ""
    return f"{head}: {count or 'no'} order{'s' if count != 1 else ''} published{more}"


def _hint(kind: str, wanted: Wanted, judged: Sequence[tuple[PublishedOrder, Sequence[Reason]]]) -> str:
    if judged:
        fields = {reason.field or reason.code for reason in judged[0][1]}
        words = sorted("max_price" if field.endswith("maxprice") else field for field in fields)
        return f"the nearest order would fit with another {' and '.join(words)}; or wait for other orders"
    if kind == "workerpool":
        return "no pool sells at the moment: try again later, or name another category"
    return (
        f"ask the owner of the {kind} to publish an order, or publish one if it is yours: order.create({kind!r}, ...)"
    )

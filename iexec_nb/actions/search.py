"""Finding the orders for a run: the cheapest that fit, or every order that exists and what keeps it out.

The market sorts by price, but it does not know everything: each candidate is verified, judged by the same rules as
the contracts', and asked on the chain what is left of it. A search that fails fetches the book again without filters,
so that it can say what was there.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

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
_NEGOTIABLE = frozenset({"0x02", "0x03", "0x04", "0x05", "volume"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a counter order must serve; names as in `matching.candidate_reasons`."""

    requester: Address
    app: Address
    dataset: Address | None
    workerpool: Address | None
    tag: str
    category: int | None = None
    trust: int = 0
    max_price: int | None = None


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
    for page in _pages(client, kind, wanted, filters):
        for order in verified(client.chain, kind, page):
            if not _against(client, order, wanted):
                return order
    raise _explain(client, kind, wanted)


def _pages(client: IExec, kind: str, wanted: Wanted, filters: Mapping[str, Any]) -> Iterator[list[dict[str, Any]]]:
    """Yield the book page by page, cheapest first; without a category in mind the smallest category comes first."""
    if kind == "workerpool" and wanted.category is None:
        for category in range(client.chain.category_count()):
            yield from client.market.pages(kind, page_size=_PAGE, **{**filters, "category": category})
    else:
        yield from client.market.pages(kind, page_size=_PAGE, **filters)


def _against(client: IExec, published: PublishedOrder, wanted: Wanted) -> Sequence[Reason]:
    """Return what keeps an order out; the chain is asked only about one that passes the rules."""
    chain, order = client.chain, published.order
    assert order.kind != "request"
    found = matching.candidate_reasons(
        order,  # type: ignore[arg-type]
        requester=wanted.requester, app=wanted.app, dataset=wanted.dataset, workerpool=wanted.workerpool,
        tag=wanted.tag, category=wanted.category, trust=wanted.trust, max_price=wanted.max_price,
        groups=chain.group_member,
    )  # fmt: skip
    if found:
        return found
    left = order.volume - chain.consumed([published.orderHash])[published.orderHash]
    if left <= 0:
        return [_reason(matching.CONSUMED, f"{order.kind}order is fully consumed")]
    if order.kind == "workerpool":
        return _unstaked(client, published)
    return []


def _unstaked(client: IExec, published: PublishedOrder) -> Sequence[Reason]:
    needed = matching.workerpool_stake(published.order.price)
    stake = client.chain.account(published.signer).stake
    if needed <= stake:
        return []
    text = f"its owner's stake of {format_rlc(stake)} does not cover the {format_rlc(needed)} that a task needs"
    return [_reason(matching.WORKERPOOL_STAKE, text)]


def _reason(code: str, message: str) -> Reason:
    return Reason(code=code, message=message)


def _explain(client: IExec, kind: str, wanted: Wanted) -> OrderMismatchError:
    """Return the error that says which orders there are and what keeps them out, the nearest misses first."""
    parties = {name: "any" for name in ("app", "dataset", "workerpool", "requester") if name != kind}
    filters = {**parties, kind: getattr(wanted, kind) or "any"}
    raw = itertools.islice(client.market.orders(kind, page_size=_EXPLAINED, **filters), _EXPLAINED)
    judged = [(order, _against(client, order, wanted)) for order in verified(client.chain, kind, raw)]
    judged.sort(key=lambda pair: (_distance(pair[1]), pair[0].order.price))
    reasons = [_candidate(order, found) for order, found in judged[:_SHOWN]]
    return OrderMismatchError(
        _headline(kind, wanted, len(judged)),
        reasons=reasons,
        context=_counted(judged),
        hint=_hint(kind, wanted, judged),
    )


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

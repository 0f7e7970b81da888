"""Counter orders for many runs: what the market sells, less what was planned with already.

One run takes the cheapest orders. Two hundred runs would all take the same, which may have three tasks left. A shelf
keeps the books that were read and counts what was taken from each order, so that the next cheapest follows, and each
book is read once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from iexec_nb.actions.dispatch import UNLIMITED
from iexec_nb.actions.plan import Offers
from iexec_nb.actions.search import Serving, Wanted, explain, serving
from iexec_nb.errors import OrderMismatchError
from iexec_nb.protocol.orders import Order, PublishedOrder
from iexec_nb.protocol.types import Bytes32

if TYPE_CHECKING:
    from iexec_nb.client import IExec

_AHEAD = 20


class Shelf:
    """The orders of one market for the runs of one wallet, whose own resources are sold without limit.

    Parameters
    ----------
    client
        Where to look.
    """

    def __init__(self, client: IExec) -> None:
        self._client = client
        self._books: dict[tuple[object, ...], _Book] = {}
        self._known: dict[Order, Serving] = {}
        self._taken: Counter[Bytes32] = Counter()

    def find(self, client: IExec, kind: str, wanted: Wanted, filters: Mapping[str, Any]) -> PublishedOrder:
        """Return the cheapest order that serves and has enough left; of equally cheap ones that with the most.

        It has the arguments of `search.cheapest`, in whose place it stands.

        Raises
        ------
        OrderMismatchError
            When none serves.
        """
        key = (kind, wanted, tuple(sorted(filters.items(), key=lambda item: item[0])))
        if key not in self._books:
            self._books[key] = _Book(serving(client, kind, wanted, filters))
        best: Serving | None = None
        seen = 0
        for one in self._books[key]:
            if self._free(one) < wanted.tasks:
                continue
            if best is None:
                best = one
            elif one.published.order.price > best.published.order.price or seen >= _AHEAD:
                break
            elif self._free(one) > self._free(best):
                best = one
            seen += 1
        if best is None and self._books[key].read:
            left = sum(max(self._free(one), 0) for one in self._books[key].read)
            raise OrderMismatchError(
                f"The {kind}orders that fit have too few tasks left: {left} besides those that are planned already",
                hint="map fewer tasks, raise max_price, or wait for other orders",
            )
        if best is None:
            raise explain(client, kind, wanted)
        self._known[best.published.order] = best
        return best.published

    def left(self, offers: Offers) -> int:
        """Return how many tasks can still be planned with these orders."""
        return min((self._free(one) for one in self._served(offers)), default=UNLIMITED)

    def at_once(self, offers: Offers) -> int:
        """Return how many tasks these orders can sell in one deal: what is left, and what the pool can stake for."""
        return min((min(self._free(one), one.at_once) for one in self._served(offers)), default=UNLIMITED)

    def room(self, offers: Offers) -> int:
        """Return for how many unfinished tasks the owner of the workerpool can stake."""
        return self._known[offers.workerpool].at_once if offers.workerpool.is_signed else UNLIMITED

    def take(self, offers: Offers, tasks: int) -> None:
        """Count tasks as planned with these orders."""
        for one in self._served(offers):
            self._taken[one.published.orderHash] += tasks

    def forget(self) -> None:
        """Forget what was read: the market changed."""
        self._books.clear()
        self._known.clear()
        self._taken.clear()

    def _free(self, one: Serving) -> int:
        return one.left - self._taken[one.published.orderHash]

    def _served(self, offers: Offers) -> list[Serving]:
        orders = (offers.app, offers.dataset, offers.workerpool)
        return [self._known[one] for one in orders if one is not None and one.is_signed]


class _Book:
    """A book that is read on as far as somebody looks, and once."""

    def __init__(self, source: Iterator[Serving]) -> None:
        self._source = source
        self.read: list[Serving] = []

    def __iter__(self) -> Iterator[Serving]:
        yield from self.read
        for one in self._source:
            self.read.append(one)
            yield one

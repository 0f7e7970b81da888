"""A map before it is paid: which tasks share a deal, which orders each deal takes, and what it all costs.

Tasks that are given the same are bought together where orders sell that many; tasks that differ by their index alone
are of one request; datasets whose owners signed orders for bulks are processed as one bulk where the app reads bulks;
all else is a deal for each task. Everything is planned and shown before one question is asked, and nothing above what
was shown is ever paid.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from iexec_nb.actions import bulk
from iexec_nb.actions.dispatch import UNLIMITED
from iexec_nb.actions.map_rows import Rows
from iexec_nb.actions.plan import Plan
from iexec_nb.actions.portions import Portions
from iexec_nb.errors import InsufficientFundsError
from iexec_nb.protocol import params as request_params
from iexec_nb.protocol.orders import DatasetOrder
from iexec_nb.protocol.types import NULL_ADDRESS, shown
from iexec_nb.protocol.units import format_rlc

if TYPE_CHECKING:
    from iexec_nb.actions.map_run import MapRun
    from iexec_nb.actions.run import Run
    from iexec_nb.actions.wishes import Wishes
    from iexec_nb.client import IExec


@dataclass(slots=True, kw_only=True)
class Lot:
    """Tasks that are bought in one deal.

    Attributes
    ----------
    rows
        The tasks of the map that its request is for, by index; empty where these are all tasks.
    tasks
        How many of them it has.
    plan
        The orders; None where it was paid before.
    portions
        The request that it is a part of.
    key
        The name of a request that is wanted as one deal; None where it may have several.
    room
        For how many unfinished tasks the pool can stake.
    run
        The deal, where it was paid before.
    """

    rows: tuple[int, ...]
    tasks: int
    portions: Portions
    plan: Plan | None = None
    key: str | None = None
    room: int = UNLIMITED
    run: Run | None = None

    @property
    def cost(self) -> int:
        """What still has to be paid for it, in nRLC."""
        if self.plan is None:
            return 0
        return self.plan.cost.per_task * self.tasks

    @property
    def pool(self) -> str:
        """The workerpool of a deal that is still to be made."""
        return "" if self.plan is None else self.plan.workerpoolorder.workerpool

    def buy(self, made: Callable[[Run], None]) -> None:
        """Match the orders and tell of all deals that come of it; the whole map was shown and approved before."""
        plan, key = self.plan, self.key
        assert plan is not None
        if key is None:
            self.portions.match(plan, made)
        else:
            self.portions.with_others(self.tasks, lambda: plan.execute(approved=True, idempotency_key=key), made)


@dataclass(frozen=True, slots=True, kw_only=True)
class MapPlan:
    """What a map would do and cost; nothing is signed or sent before `execute`.

    Attributes
    ----------
    client
        Who pays.
    wishes
        What all tasks have in common.
    rows
        What each of them is given.
    lots
        The deals.
    bulk
        The dataset orders that become one bulk, in slices of `per_task`.
    most
        How many tasks may be unfinished at the same time.
    """

    client: IExec
    wishes: Wishes
    rows: Rows
    lots: tuple[Lot, ...]
    bulk: tuple[DatasetOrder, ...] = ()
    per_task: int = 1
    most: int = field(default=100)

    @property
    def tasks(self) -> int:
        """How many tasks there are, those that were paid before included."""
        return len(self.rows.tasks)

    @property
    def deals(self) -> int:
        """How many deals still have to be made."""
        return sum(lot.plan is not None for lot in self.lots)

    @property
    def cost(self) -> int:
        """What still has to be paid for all of it, in nRLC."""
        return sum(lot.cost for lot in self.lots)

    def check_funds(self) -> None:
        """Refuse a map that the account's stake does not cover.

        Raises
        ------
        InsufficientFundsError
            With what is missing.
        """
        cost, requester = self.cost, self.wishes.requester
        stake = self.client.chain.account(requester).stake if cost else 0
        if cost > stake:
            lacking = format_rlc(cost - stake)
            raise InsufficientFundsError(
                "the requester's account does not hold enough RLC for this map",
                context={
                    "cost": f"{format_rlc(cost)} in {self.deals} deals", "account stake": format_rlc(stake),
                    "missing": lacking, "requester": requester,
                },
                hint=f'iexec.account.deposit("{lacking}"), or map fewer tasks',
            )  # fmt: skip

    def execute(self, *, fetch: bool = True) -> MapRun:
        """Ask, and return what buys the tasks and follows them; nothing is asked where everything was paid before.

        Parameters
        ----------
        fetch
            Whether results are going to be downloaded.

        Raises
        ------
        ConfigurationError
            When the person says no.
        ValidationError
            When the bulk cannot be used.
        """
        from iexec_nb.actions.map_run import MapRun

        if self.bulk:
            self._with_bulk()
        if self.deals:
            self.client.approve(str(self))
        return MapRun(self, fetch=fetch)

    def _with_bulk(self) -> None:
        """Upload the bulk, which pays for nothing, and check the request that names it."""
        made = bulk.prepare(self.client, self.bulk, self.per_task)
        for lot in self.lots:
            if lot.plan is not None:
                lot.plan = lot.plan.with_params({"bulk_cid": made.cid})

    def __str__(self) -> str:
        lot = next((lot for lot in self.lots if lot.plan is not None), None)
        if lot is None or lot.plan is None:
            return f"run app {self.wishes.app}: all {self.tasks} tasks were paid before"
        request = lot.plan.requestorder
        common = request_params.dumps(self.wishes.params) if lot.rows else request.params
        rows = [
            f"run app {request.app} for {_count(self.tasks, 'task')} in {_count(self.deals, 'deal')}, "
            f"{format_rlc(self.cost)} in all",
            *self._paid(),
            *self._prices(),
            f"besides, the gas of {_count(self.deals, 'transaction')}",
            f"params of all: {_whole(common)}",
            *self._differences(),
            f"paid by {request.requester}, result for {request.beneficiary}",
        ]
        if request.callback != NULL_ADDRESS:
            rows.append(f"callback: {request.callback}")
        if own := self._own():
            rows.append(f"signs also: {', '.join(own)} of your own, for this requester, at no price")
        return "\n  ".join(rows)

    def __repr__(self) -> str:
        return f"MapPlan({self})"

    def _paid(self) -> Iterator[str]:
        paid = [lot for lot in self.lots if lot.run is not None]
        if paid:
            yield f"{_count(sum(lot.tasks for lot in paid), 'task')} were paid before and are not paid again"

    def _prices(self) -> Iterator[str]:
        """Yield a line for each price and pool."""
        tasks: Counter[str] = Counter()
        for lot in self.lots:
            if (plan := lot.plan) is not None:
                cost, request = plan.cost, plan.requestorder
                # Who sees the signed request may be faster, with another pool.
                others = "" if request.workerpool != NULL_ADDRESS else ", or another one that takes it at this price"
                where = f"{plan.workerpoolorder.workerpool}{others}, category {request.category}, trust {request.trust}"
                prices = [f"app {format_rlc(cost.app)}", f"workerpool {format_rlc(cost.workerpool)}"]
                if plan.datasetorder is not None:
                    prices.insert(1, f"dataset {format_rlc(cost.dataset)}")
                tasks[f"{', '.join(prices)} a task; workerpool {where}"] += lot.tasks
        for line, count in tasks.items():
            yield f"{_count(count, 'task')}: {line}"
        yield from self._most_for_portions()

    def _most_for_portions(self) -> Iterator[str]:
        """Yield what a request of several deals allows: whoever matches it may take the dearest of its prices."""
        requests: dict[Portions, list[Lot]] = {}
        for lot in self.lots:
            if lot.plan is not None:
                requests.setdefault(lot.portions, []).append(lot)
        for lots in requests.values():
            assert lots[0].plan is not None
            request, tasks = lots[0].plan.requestorder, sum(lot.tasks for lot in lots)
            most = (request.appmaxprice + request.datasetmaxprice + request.workerpoolmaxprice) * tasks
            if most > sum(lot.cost for lot in lots):
                of = f"tasks {_ranges(lots[0].rows)}" if lots[0].rows else "all"
                yield f"one request for {of}, which other sellers may fill too: {format_rlc(most)} at the most"

    def _differences(self) -> Iterator[str]:
        """Yield what each deal is given besides what all have, whole: it is signed."""
        if self.bulk:
            yield "the orders of these datasets are uploaded already, where everybody may read them"
        for order in self.bulk:
            yield f"bulk: dataset {order.dataset}"
        for lot in self.lots:
            if lot.plan is None or not lot.rows:
                continue
            before = self.wishes.params
            own = {name: one for name, one in lot.plan.wishes.params.items() if before.get(name) != one}
            parts = [_whole(request_params.dumps(own))] if own else []
            if lot.plan.wishes.dataset != NULL_ADDRESS:
                parts.append(f"dataset {lot.plan.wishes.dataset}")
            if parts:
                yield f"{'task' if lot.tasks == 1 else 'tasks'} {_ranges(lot.rows)}: {', '.join(parts)}"

    def _own(self) -> list[str]:
        found = (
            order.kind
            for lot in self.lots
            if (plan := lot.plan) is not None
            for order in (plan.apporder, plan.datasetorder, plan.workerpoolorder)
            if order is not None and not order.is_signed
        )
        return [f"{kind}orders" for kind in dict.fromkeys(found)]


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _whole(text: str) -> str:
    return shown(text, len(text))


def _ranges(rows: Sequence[int]) -> str:
    """Return numbers with each run of them as first and last: ``0-3, 7``."""
    parts: list[list[int]] = []
    for row in rows:
        if parts and row == parts[-1][-1] + 1:
            parts[-1][1:] = [row]
        else:
            parts.append([row])
    return ", ".join("-".join(map(str, part)) for part in parts)

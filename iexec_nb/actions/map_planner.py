"""Plans a map: finds orders for each of its tasks, the cheapest first and each as long as it has tasks left."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from iexec_nb.actions.journal import Entry, Journal
from iexec_nb.actions.map_plan import Lot, MapPlan
from iexec_nb.actions.map_rows import Given, Rows
from iexec_nb.actions.plan import Offers, Plan, Planner
from iexec_nb.actions.portions import Portions
from iexec_nb.actions.search import Wanted, serving
from iexec_nb.actions.shelf import Shelf
from iexec_nb.errors import OrderMismatchError, ValidationError
from iexec_nb.protocol import params as request_params
from iexec_nb.protocol.orders import DATASET_INFINITE_VOLUME, DatasetOrder
from iexec_nb.protocol.types import NULL_ADDRESS, Address, shown, uint256

if TYPE_CHECKING:
    from iexec_nb.actions.run import Run
    from iexec_nb.actions.wishes import Wishes
    from iexec_nb.client import IExec

_Kind = tuple[Address, int | None, Address]
"""What the wishes of tasks of one map differ in besides their params: dataset, category and workerpool."""

MOST_PER_SLICE = 100
_THREADS = 8


class MapPlanner:
    """Makes the plan of one map.

    Parameters
    ----------
    client
        Who pays.
    wishes
        What all tasks have in common.
    rows
        What each of them is given.
    key
        The name of the map (``idempotency_key``), or None.
    per_task
        How many datasets one task may process, where the app reads bulks; None where it reads one dataset.
    most
        How many tasks may be unfinished at the same time.
    """

    def __init__(
        self,
        client: IExec,
        wishes: Wishes,
        rows: Rows,
        *,
        key: str | None = None,
        per_task: object = None,
        most: int = 100,
    ) -> None:
        self._client, self._wishes, self._rows, self._key, self._most = client, wishes, rows, key, most
        self._per_task = None if per_task is None else _slice_size(per_task, rows)
        self._shelf = Shelf(client)
        self._planners: dict[_Kind, Planner] = {}
        self._drafts: dict[tuple[_Kind, Offers, int], Plan] = {}
        self._current: dict[Address, Offers] = {}

    def plan(self) -> MapPlan:
        """Return the plan.

        Raises
        ------
        ObjectNotFoundError
            When the app, a dataset or the workerpool is not deployed.
        OrderMismatchError
            When orders do not fit, or sell too few tasks.
        ValidationError
            When an argument does not fit, the preflight check fails, or the name was used for something else.
        InsufficientFundsError
            When the account's stake does not cover all of it.
        """
        one = self._key is not None and self._entry(self._key) is not None
        each = self._key is not None and any(self._begun(row) for row in range(len(self._rows.tasks)))
        made = None if each else self._as_bulk(begun=one)
        if made is None:
            self._check_kind(one=one, each=each)
            made = self._plan(self._rows, self._by_index() if self._rows.indexed else self._in_groups())
        self._check()
        made.check_funds()
        return made

    def _check_kind(self, *, one: bool, each: bool) -> None:
        """Refuse a name under which a map was begun in another way: it would be paid a second time."""
        if each if self._rows.indexed else one:
            way = "a request for each task" if each else "one request for all tasks"
            raise ValidationError(
                f"the map {shown(self._key)!r} was begun as {way}; nothing was sent",
                hint="give another idempotency_key, or the arguments of then",
            )

    def _plan(self, rows: Rows, lots: Sequence[Lot], **more: Any) -> MapPlan:
        return MapPlan(client=self._client, wishes=self._wishes, rows=rows, lots=tuple(lots), most=self._most, **more)

    # Tasks that differ by their index alone.

    def _by_index(self) -> list[Lot]:
        wishes = self._of(self._rows.tasks[0])
        portions = Portions(self._client, wishes, len(self._rows.tasks), self._key)
        return self._of_one_request(wishes, portions, portions.found())

    def _of_one_request(
        self,
        wishes: Wishes,
        portions: Portions,
        found: tuple[list[Run], int],
        rows: tuple[int, ...] = (),
        params: Mapping[str, Any] | None = None,
    ) -> list[Lot]:
        """Return the deals of one request: those that were made, and those that its other tasks are bought in.

        Parameters
        ----------
        wishes
            What is wanted.
        portions
            The request.
        found
            The deals that were made of it, and how many tasks can still be bought.
        rows
            Its tasks; empty where these are all tasks.
        params
            What its tasks are given besides the wishes.
        """
        runs, left = found
        lots = [Lot(rows=rows, tasks=run.deal.botSize, portions=portions, run=run) for run in runs]
        if not left:
            return lots
        signed = portions.request
        if signed is not None:
            wishes = replace(wishes, category=signed.category, workerpool=signed.workerpool)
        pieces = self._pieces(wishes, left, one_category=True)
        plans = [self._draft(wishes, offers, count) for offers, count in pieces]
        pools = {plan.workerpoolorder.workerpool for plan in plans}
        request = replace(
            plans[0].requestorder,
            volume=portions.volume,
            appmaxprice=max(plan.apporder.appprice for plan in plans),
            datasetmaxprice=max(plan.cost.dataset for plan in plans),
            workerpool=pools.pop() if len(pools) == 1 else NULL_ADDRESS,
            workerpoolmaxprice=max(plan.workerpoolorder.workerpoolprice for plan in plans),
        )
        if params:
            plans = [plan.with_params(params) for plan in plans]
            request = replace(request, params=plans[0].requestorder.params)
        asked = request if signed is None else signed
        new = [
            Lot(
                rows=rows,
                tasks=count,
                plan=replace(plan, requestorder=asked),
                portions=portions,
                room=self._shelf.room(offers),
            )
            for plan, (offers, count) in zip(plans, pieces, strict=True)
        ]
        portions.approved = sum(run.price for run in runs) + sum(lot.cost for lot in new)
        return lots + new

    def _pieces(self, wishes: Wishes, count: int, *, one_category: bool = False) -> list[tuple[Offers, int]]:
        """Return orders for tasks that may share deals, the cheapest ones first: one deal where that costs no more."""
        pieces: list[tuple[Offers, int]] = []
        offers = self._planner(wishes).choose(1)
        if count > 1 and (whole := self._whole(wishes, count)) is not None and _price(whole) <= _price(offers):
            offers = whole
        while True:
            tasks = min(count, self._shelf.at_once(offers))
            self._shelf.take(offers, tasks)
            pieces.append((offers, tasks))
            count -= tasks
            if not count:
                return pieces
            if one_category:
                wishes = replace(wishes, category=offers.workerpool.category)
            offers = self._planner(wishes).choose(1)

    def _whole(self, wishes: Wishes, count: int) -> Offers | None:
        try:
            return self._planner(wishes).choose(count)
        except OrderMismatchError:
            return None

    # Tasks that are given something each.

    def _in_groups(self) -> list[Lot]:
        """Return a deal for each group of tasks that are given the same, more where orders are too small."""
        groups: dict[tuple[str, Address], list[int]] = {}
        for row, task in enumerate(self._rows.tasks):
            groups.setdefault((request_params.dumps(dict(task.params)), task.dataset), []).append(row)
        wanted = [(self._rows.tasks[rows[0]], rows) for rows in groups.values()]
        chunks = [(task, chunk, begun) for task, rows in wanted for chunk, begun in self._chunks(rows)]
        with ThreadPoolExecutor(_THREADS) as threads:
            paid = list(threads.map(lambda one: self._paid(one[0], one[1]) if one[2] else None, chunks))
        lots: list[Lot] = []
        for (task, rows, _), begun in zip(chunks, paid, strict=True):
            if begun is None:
                lots += self._lots(task, rows)
            elif begun[1][0]:
                lots += self._of_one_request(self._of(task, common=True), *begun, rows, task.params)
            else:
                # What was to be one deal and is none yet stays one.
                offers = self._planner(self._of(task, common=True)).choose(len(rows))
                self._shelf.take(offers, len(rows))
                lots.append(self._lot(task, rows, offers))
        return lots

    def _chunks(self, rows: Sequence[int]) -> Iterator[tuple[tuple[int, ...], bool]]:
        """Yield tasks that are given the same, parted as the journal has them, and whether they were begun."""
        start = at = 0
        while at < len(rows):
            volume = 0 if self._key is None else self._begun(rows[at])
            if volume:
                if start < at:
                    yield tuple(rows[start:at]), False
                yield tuple(rows[at : at + volume]), True
                start = at + volume
            at += volume or 1
        if start < len(rows):
            yield tuple(rows[start:]), False

    def _lots(self, task: Given, rows: tuple[int, ...]) -> Iterator[Lot]:
        common = self._of(task, common=True)
        at = 0
        for offers, count in [(self._next(common), 1)] if len(rows) == 1 else self._pieces(common, len(rows)):
            yield self._lot(task, rows[at : at + count], offers)
            at += count

    def _lot(self, task: Given, rows: tuple[int, ...], offers: Offers) -> Lot:
        """Return one deal that is a request of its own."""
        plan = self._draft(self._of(task, common=True), offers, len(rows))
        name = self._name(rows)
        lot = Lot(
            rows=rows,
            tasks=len(rows),
            portions=Portions(self._client, self._of(task), len(rows), name),
            key=name,
            plan=plan.with_params(task.params) if task.params else plan,
            room=self._shelf.room(offers),
        )
        lot.portions.approved = lot.cost
        return lot

    def _next(self, wishes: Wishes) -> Offers:
        """Return orders for one task: the last ones as long as they have tasks left."""
        offers = self._current.get(wishes.dataset)
        if offers is None or self._shelf.left(offers) < 1:
            offers = self._current[wishes.dataset] = self._planner(wishes).choose(1)
        self._shelf.take(offers, 1)
        return offers

    # Datasets in bulks.

    def _as_bulk(self, *, begun: bool) -> MapPlan | None:
        """Return the plan of a bulk; None where not every dataset is sold for bulks, or none was asked for."""
        if self._per_task is None or not self._client.require_tdx:
            return None
        datasets = [task.dataset for task in self._rows.tasks]
        # What was begun as a bulk stays one, whatever the market sells now.
        orders = [] if begun else [self._bulk_order(dataset) for dataset in dict.fromkeys(datasets)]
        known = {order.dataset: order for order in orders if order is not None}
        if len(known) < len(orders):
            return None
        slices = [tuple(datasets[at : at + self._per_task]) for at in range(0, len(datasets), self._per_task)]
        rows = Rows.of_slices(slices)
        wishes = replace(self._wishes, dataset=NULL_ADDRESS)
        terms = {"datasets": request_params.dumps(datasets), "datasets_per_task": str(self._per_task)}
        portions = Portions(self._client, wishes, len(rows.tasks), self._key, terms)
        lots = self._of_one_request(wishes, portions, portions.found())
        own = () if begun else tuple(known[one] for one in datasets)
        return self._plan(rows, lots, bulk=own, per_task=self._per_task)

    def _bulk_order(self, dataset: Address) -> DatasetOrder | None:
        """Return an order of a dataset that allows a bulk: it costs nothing and has no limit."""
        wishes = self._wishes
        pool = None if wishes.workerpool == NULL_ADDRESS else wishes.workerpool
        wanted = Wanted(
            requester=wishes.requester, app=wishes.app, dataset=dataset, workerpool=pool, tag=wishes.tag, max_price=0
        )
        filters = {
            "app": wishes.app, "dataset": dataset, "workerpool": pool, "requester": wishes.requester,
            "maxTag": wishes.tag, "bulkOnly": True,
        }  # fmt: skip
        for one in serving(self._client, "dataset", wanted, filters):
            order = one.published.order
            if isinstance(order, DatasetOrder) and order.volume >= DATASET_INFINITE_VOLUME - 1:
                return order
        return None

    # What all have in common.

    def _of(self, task: Given, *, common: bool = False) -> Wishes:
        wishes = replace(self._wishes, dataset=task.dataset)
        return wishes if common or not task.params else wishes.with_params(task.params)

    def _planner(self, wishes: Wishes) -> Planner:
        kind = _kind(wishes)
        if kind not in self._planners:
            self._planners[kind] = Planner(self._client, wishes, self._shelf.find)
        return self._planners[kind]

    def _draft(self, wishes: Wishes, offers: Offers, count: int) -> Plan:
        key = (_kind(wishes), offers, count)
        if key not in self._drafts:
            sized = [order if order is None or order.is_signed else replace(order, volume=count) for order in offers]
            self._drafts[key] = self._planner(wishes).draft(Offers(*sized), count)  # type: ignore[arg-type]
        return self._drafts[key]

    def _check(self) -> None:
        """Ask the secret service and the chain, once for each dataset, whether the tasks could work."""
        plans = {plan.wishes.dataset: plan for plan in self._drafts.values()}
        with ThreadPoolExecutor(_THREADS) as threads:
            for _ in threads.map(Plan.check, plans.values()):
                pass

    def _name(self, rows: Sequence[int]) -> str | None:
        return None if self._key is None else f"{self._key}/{rows[0]}"

    def _begun(self, row: int) -> int:
        """Return how many tasks the deal has that the journal knows by the name of this task; 0 for none."""
        entry = self._entry(self._name([row]))
        return 0 if entry is None else entry.request.volume

    def _entry(self, name: str | None) -> Entry | None:
        return Journal(self._client, name, self._wishes.requester).read()

    def _paid(self, task: Given, rows: Sequence[int]) -> tuple[Portions, tuple[list[Run], int]]:
        """Return a request that was begun, and which deals it has."""
        portions = Portions(self._client, self._of(task), len(rows), self._name(rows))
        return portions, portions.found()


def _kind(wishes: Wishes) -> _Kind:
    return wishes.dataset, wishes.category, wishes.workerpool


def _price(offers: Offers) -> int:
    dataset = 0 if offers.dataset is None else offers.dataset.datasetprice
    return offers.app.appprice + dataset + offers.workerpool.workerpoolprice


def _slice_size(per_task: object, rows: Rows) -> int:
    size = uint256(per_task, "datasets_per_task")
    if not 1 <= size <= MOST_PER_SLICE:
        raise ValidationError(f"{size} is not a valid datasets_per_task", hint=f"give 1 to {MOST_PER_SLICE}")
    if rows.indexed or any(task.dataset == NULL_ADDRESS or task.params for task in rows.tasks):
        raise ValidationError(
            "datasets_per_task is for a map of datasets", hint="app.map(app, datasets=[...], datasets_per_task=10)"
        )
    return size

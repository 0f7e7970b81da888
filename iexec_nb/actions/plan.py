"""A run before it is paid: which orders, which price, and what is going to be signed.

`Planner` does what the CLI's ``app run`` does before its prompt (choose orders, build the request, check), `Plan` is
the result that people can look at, and `execute` is the only step that signs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from iexec_nb.actions import bulk, preflight
from iexec_nb.actions.funds import too_poor
from iexec_nb.actions.run import Run, run_of
from iexec_nb.actions.search import Find, Wanted, cheapest
from iexec_nb.actions.wishes import Wishes
from iexec_nb.errors import ValidationError
from iexec_nb.protocol import matching, tags
from iexec_nb.protocol import params as request_params
from iexec_nb.protocol.orders import (
    NULL_DATASETORDER,
    AppOrder,
    DatasetOrder,
    Order,
    PublishedOrder,
    RequestOrder,
    WorkerpoolOrder,
)
from iexec_nb.protocol.types import NULL_ADDRESS, Address, shown, uint256
from iexec_nb.protocol.units import format_ether, format_rlc
from iexec_nb.services.rehearsal import Rehearsal, rehearse_match

if TYPE_CHECKING:
    from iexec_nb.client import IExec

Chosen = tuple[AppOrder, DatasetOrder | None, WorkerpoolOrder]

_ASKED_ABOUT = ("iexec_result_encryption", "iexec_result_storage_provider", "iexec_secrets", "bulk_cid")
"""The params about which the secret service or a gateway is asked before a run."""


class Offers(NamedTuple):
    """The counter orders of a run; those of the wallet's own resources are not signed."""

    app: AppOrder
    dataset: DatasetOrder | None
    workerpool: WorkerpoolOrder


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a run would do: the four orders, and what it costs.

    Orders of the wallet's own resources and the request are not signed yet; `execute` signs them.

    Attributes
    ----------
    client
        Who pays.
    wishes
        What was asked for.
    apporder, datasetorder, workerpoolorder
        The counter orders.
    requestorder
        What is going to be signed; its ``volume`` is the number of tasks.
    cost
        What all tasks cost, in nRLC.
    """

    client: IExec
    wishes: Wishes
    apporder: AppOrder
    datasetorder: DatasetOrder | None
    workerpoolorder: WorkerpoolOrder
    requestorder: RequestOrder
    cost: matching.Cost

    def with_params(self, params: str | Mapping[str, Any]) -> Plan:
        """Return the same plan, with the same counter orders, for other params.

        What depends on the params is checked again; the market is not asked.

        Parameters
        ----------
        params
            Params by name (``iexec_args``, ``iexec_input_files``...), which take the place of those that are there; or
            text, which is ``iexec_args`` alone.

        Raises
        ------
        ValidationError
            When a name is none of the params, a value does not fit, or the preflight check fails.
        """
        wishes = self.wishes.with_params(params)
        request = replace(self.requestorder, params=request_params.dumps(wishes.params))
        plan = replace(self, wishes=wishes, requestorder=request)
        before = self.wishes.params
        if any(wishes.params.get(name) != before.get(name) for name in _ASKED_ABOUT):
            plan.check()
        return plan

    def problems(self) -> list[tuple[str, str]]:
        """Return what would make the run fail later, as pairs of message and hint (secrets, enclaves, bulks)."""
        client, request = self.client, self.requestorder
        tag = tags.union(self.apporder.tag, request.tag)
        found = preflight.request_problems(client, request) + preflight.app_problems(client, request.app, tag)
        return found + bulk.problems(client, request, workerpool=self.workerpoolorder.workerpool, tag=tag)

    def check(self) -> None:
        """Refuse a plan that would fail later, unless its wishes say not to look.

        Raises
        ------
        ValidationError
            With everything that is missing.
        """
        if not self.wishes.skip_preflight_check:
            preflight.refuse("Request", self.problems())

    def execute(self, *, approved: bool = False, idempotency_key: str | None = None, digest: str | None = None) -> Run:
        """Ask, sign, match, and return the handle of the run.

        Parameters
        ----------
        approved
            Whether the person has said yes to this plan and its price already, as for one of many.
        idempotency_key
            A name for this run: executing again under the same name, in this kernel or after it died, never pays a
            second time, and returns the handle of the run that was paid.
        digest
            What else has to be the same when the name is used again.

        Raises
        ------
        ConfigurationError
            When the person says no.
        OrderMismatchError, OrderConsumedError, InsufficientFundsError
            When the chain changed in between; nothing was sent then.
        ValidationError
            When the name was used for a run with other arguments.
        Web3ProviderSendError
            When the transaction was refused, reverted or lost, or its deal cannot be read; what is known is in it.
        """
        client = self.client
        if idempotency_key is not None:
            from iexec_nb.actions.once import Once

            once = Once(client, self.wishes, idempotency_key, volume=self.requestorder.volume, digest=digest)
            return once.execute(self, approved=approved)
        if not approved:
            client.approve(self.question)
        four = client.order.sign_four(self.apporder, self.datasetorder, self.workerpoolorder, self.requestorder)
        return run_of(client, client.order.match_four(four, client.order.check_four(four, whole=True)))

    def question(self) -> str:
        """Return what a person is asked: the plan, and what the gas of its transaction costs about, asked now."""
        needed = self.rehearsed()
        gas = "known when the request is signed"
        if needed.units is not None:
            gas = f"about {format_ether(needed.units * needed.price)} besides"
        return f"{self}\n  gas: {gas}"

    def rehearsed(self) -> Rehearsal:
        """Return the gas that the transaction needs, simulated with orders that are not signed yet."""
        request = self.requestorder
        orders: tuple[Order, ...] = (
            self.apporder, self.datasetorder or NULL_DATASETORDER, self.workerpoolorder, request,
        )  # fmt: skip
        salt = self.client.random_bytes
        salted = [order if order.is_signed else order.signed("0x" + salt(32).hex(), "0x") for order in orders]
        return rehearse_match(self.client.chain, salted, request.requester, self.cost.total, self.client.gas_price)

    def __str__(self) -> str:
        request = self.requestorder
        tasks = f", {request.volume} tasks" if request.volume > 1 else ""
        a_task = " a task" if request.volume > 1 else ""
        # Who sees the signed request may be faster, with another pool.
        others = "" if request.workerpool != NULL_ADDRESS else ", or another one that takes it at this price"
        rows = [
            f"run app {request.app}{tasks} for {format_rlc(self.cost.total)} in all",
            f"app {format_rlc(self.cost.app)}, dataset {format_rlc(self.cost.dataset)}, "
            f"workerpool {format_rlc(self.cost.workerpool)}{a_task}",
            f"workerpool: {self.workerpoolorder.workerpool}{others}",
            f"category {request.category}, trust {request.trust}",
            f"params: {shown(request.params, len(request.params))}",
            f"paid by {request.requester}, result for {request.beneficiary}",
        ]
        if request.callback != NULL_ADDRESS:
            rows.append(f"callback: {request.callback}")
        if self.datasetorder is not None:
            rows.insert(3, f"dataset: {self.datasetorder.dataset}")
        own = [
            o.kind
            for o in (self.apporder, self.datasetorder, self.workerpoolorder)
            if o is not None and not o.is_signed
        ]
        if own:
            rows.append(
                f"signs also: {', '.join(kind + 'order' for kind in own)} of your own, for this requester, at no price"
            )
        return "\n  ".join(rows)

    def __repr__(self) -> str:
        return f"Plan({self})"


class Planner:
    """Chooses the orders of a run, in the CLI's order: app, dataset, workerpool, then the request.

    Parameters
    ----------
    client
        Who pays.
    wishes
        What is wanted.
    find
        How a counter order is found, with the arguments of `search.cheapest`.
    """

    def __init__(self, client: IExec, wishes: Wishes, find: Find = cheapest) -> None:
        self._client = client
        self._wishes = wishes
        self._find = find

    def plan(self, orders: Chosen | None = None, volume: int = 1) -> Plan:
        """Return the plan.

        Parameters
        ----------
        orders
            Counter orders (app, dataset or None, workerpool) that were chosen before; default: the cheapest that fit.
        volume
            How many tasks, all in one deal. Orders that sell fewer are refused.

        Raises
        ------
        ObjectNotFoundError
            When the app, dataset or workerpool is not deployed.
        OrderMismatchError
            When no order fits.
        ValidationError
            When the preflight check fails, or a task would cost more than `max_price`.
        InsufficientFundsError
            When the account's stake does not cover the price.
        """
        plan = self.draft(orders, volume)
        plan.check()
        stake = self._client.chain.account(self._wishes.requester).stake
        if plan.cost.total > stake:
            raise too_poor(plan.cost, stake, self._wishes.requester)
        return plan

    def draft(self, orders: Chosen | None = None, volume: int = 1) -> Plan:
        """Return the plan before anybody looked whether it can be paid and would not fail later; as `plan` otherwise.

        Raises
        ------
        ObjectNotFoundError, OrderMismatchError, ValidationError
            As `plan`.
        """
        tasks = uint256(volume, "volume")
        if tasks == 0:
            raise ValidationError("volume must be greater than 0", hint="give volume as the number of tasks")
        app, dataset, workerpool = self.choose(tasks) if orders is None else orders
        cost = matching.cost(app, workerpool, dataset, volume=tasks)
        self._check_price(cost)
        return Plan(
            client=self._client,
            wishes=self._wishes,
            apporder=app,
            datasetorder=dataset,
            workerpoolorder=workerpool,
            requestorder=self._request(app, dataset, workerpool, tasks),
            cost=cost,
        )

    def choose(self, volume: int = 1) -> Offers:
        """Return the cheapest orders that fit and sell `volume` tasks.

        Raises
        ------
        ObjectNotFoundError
            When the app, dataset or workerpool is not deployed.
        OrderMismatchError
            When no order fits.
        """
        wishes = self._wishes
        owners = self._owners()
        app = self._app_order(owners[wishes.app], volume)
        dataset = self._dataset_order(owners[wishes.dataset], volume) if wishes.dataset != NULL_ADDRESS else None
        return Offers(app, dataset, self._workerpool_order(owners.get(wishes.workerpool), app, dataset, volume))

    def _check_price(self, cost: matching.Cost) -> None:
        most = self._wishes.max_price
        if most is not None and cost.per_task > most:
            raise ValidationError(
                f"the run would cost {format_rlc(cost.per_task)}, more than max_price {format_rlc(most)}",
                context={
                    "app": format_rlc(cost.app),
                    "dataset": format_rlc(cost.dataset),
                    "workerpool": format_rlc(cost.workerpool),
                },
                hint=f'max_price="{format_rlc(cost.per_task)}" would allow it',
            )

    def _owners(self) -> dict[Address, Address]:
        wishes, chain = self._wishes, self._client.chain
        parts = {"app": wishes.app, "dataset": wishes.dataset, "workerpool": wishes.workerpool}
        named = {kind: where for kind, where in parts.items() if where != NULL_ADDRESS}
        for kind, where in named.items():
            chain.require_registered(kind, where)
        return chain.owners(named.values())

    def _app_order(self, owner: Address, volume: int) -> AppOrder:
        wishes = self._wishes
        if owner == wishes.requester:
            return AppOrder(app=wishes.app, tag=wishes.tag, requesterrestrict=wishes.requester, volume=volume)
        least = tags.tag([name for name in ("tee", "tdx") if tags.has(wishes.tag, name)])
        found = self._cheapest("app", minTag=least, maxTag=wishes.tag, minVolume=volume)
        assert isinstance(found.order, AppOrder)
        return found.order

    def _dataset_order(self, owner: Address, volume: int) -> DatasetOrder:
        wishes = self._wishes
        if owner == wishes.requester:
            return DatasetOrder(
                dataset=wishes.dataset, tag=wishes.tag, requesterrestrict=wishes.requester, volume=volume
            )
        found = self._cheapest("dataset", maxTag=wishes.tag, minVolume=volume)
        assert isinstance(found.order, DatasetOrder)
        return found.order

    def _workerpool_order(
        self, owner: Address | None, app: AppOrder, dataset: DatasetOrder | None, volume: int
    ) -> WorkerpoolOrder:
        wishes = self._wishes
        least = tags.union(app.tag, wishes.tag, tags.without_frameworks((dataset or NULL_DATASETORDER).tag))
        if owner is not None and owner == wishes.requester:
            return WorkerpoolOrder(
                workerpool=wishes.workerpool, category=wishes.category or 0, trust=wishes.trust, tag=least,
                requesterrestrict=wishes.requester, volume=volume,
            )  # fmt: skip
        filters = {"category": wishes.category, "minTag": least, "minTrust": wishes.trust or None, "minVolume": volume}
        spent = app.appprice + (dataset.datasetprice if dataset is not None else 0)
        found = self._cheapest("workerpool", tag=least, spent=spent, **filters)
        assert isinstance(found.order, WorkerpoolOrder)
        return found.order

    def _cheapest(self, kind: str, *, tag: str | None = None, spent: int = 0, **filters: Any) -> PublishedOrder:
        wishes = self._wishes
        left = None if wishes.max_price is None else max(wishes.max_price - spent, 0)
        parties = {
            "app": wishes.app, "dataset": _given(wishes.dataset), "workerpool": _given(wishes.workerpool),
            "requester": wishes.requester,
        }  # fmt: skip
        wanted = Wanted(
            requester=wishes.requester, app=wishes.app, dataset=_given(wishes.dataset),
            workerpool=_given(wishes.workerpool), tag=tag or wishes.tag, category=wishes.category, trust=wishes.trust,
            max_price=left, tasks=filters["minVolume"],
        )  # fmt: skip
        return self._find(self._client, kind, wanted, {**parties, **filters})

    def _request(
        self, app: AppOrder, dataset: DatasetOrder | None, workerpool: WorkerpoolOrder, volume: int
    ) -> RequestOrder:
        wishes = self._wishes
        return RequestOrder(
            app=wishes.app,
            appmaxprice=app.appprice,
            dataset=wishes.dataset,
            datasetmaxprice=dataset.datasetprice if dataset is not None else 0,
            # The pool that is shown, as the CLI does it: whoever sees the request on its way cannot take it elsewhere.
            workerpool=workerpool.workerpool,
            workerpoolmaxprice=workerpool.workerpoolprice,
            requester=wishes.requester,
            volume=volume,
            tag=wishes.tag,
            category=workerpool.category,
            trust=wishes.trust,
            beneficiary=wishes.beneficiary,
            callback=wishes.callback,
            params=request_params.dumps(wishes.params),
        )


def _given(value: Address) -> Address | None:
    return None if value == NULL_ADDRESS else value

"""A run before it is paid: which orders, which price, and what is going to be signed.

`Planner` does what the CLI's ``app run`` does before its prompt (choose orders, build the request, check), `Plan` is
the result that people can look at, and `execute` is the only step that signs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from iexec_nb.actions import bulk, preflight
from iexec_nb.actions.base import Tags
from iexec_nb.actions.funds import too_poor
from iexec_nb.actions.run import Run
from iexec_nb.actions.search import Wanted, cheapest
from iexec_nb.errors import ValidationError
from iexec_nb.protocol import matching, tags
from iexec_nb.protocol import params as request_params
from iexec_nb.protocol.orders import (
    NULL_DATASETORDER,
    AppOrder,
    DatasetOrder,
    PublishedOrder,
    RequestOrder,
    WorkerpoolOrder,
)
from iexec_nb.protocol.types import NULL_ADDRESS, Address, address, shown, uint256
from iexec_nb.protocol.units import format_rlc, nrlc

if TYPE_CHECKING:
    from iexec_nb.client import IExec


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """The arguments of a run, checked."""

    app: Address
    requester: Address
    dataset: Address
    workerpool: Address
    category: int | None
    tag: str
    trust: int
    beneficiary: Address
    callback: Address
    params: Mapping[str, Any]
    max_price: int | None
    skip_preflight_check: bool

    @classmethod
    def read(
        cls,
        app: str,
        requester: Address,
        *,
        args: str | None = None,
        dataset: str | None = None,
        workerpool: str | None = None,
        category: int | str | None = None,
        tag: Tags = ("tee", "tdx"),
        trust: int | str = 0,
        input_files: Sequence[str] | None = None,
        secret: Sequence[str] | Mapping[int, str] | None = None,
        encrypt_result: bool = False,
        storage_provider: str | None = None,
        beneficiary: str | None = None,
        callback: str | None = None,
        params: str | Mapping[str, Any] | None = None,
        max_price: int | str | None = None,
        skip_preflight_check: bool = False,
    ) -> Wishes:
        """Return the checked wishes; the parameters are those of ``app.run``.

        Raises
        ------
        ValidationError
            When an argument is malformed.
        """
        wanted_tag = tags.tag(tag)
        if wrong := tags.check(wanted_tag, agnostic=False, legacy=True):
            raise ValidationError(wrong[0], hint='the tag that today\'s pools offer is "tee,tdx"')
        reader = address(callback, "callback") if callback is not None else NULL_ADDRESS
        given = _params(params)
        extra = {
            "iexec_args": args, "iexec_input_files": _files(input_files),
            "iexec_secrets": _secrets(secret), "iexec_result_storage_provider": storage_provider,
            "iexec_result_encryption": encrypt_result or None,
        }  # fmt: skip
        given |= {key: value for key, value in extra.items() if value is not None}
        built = request_params.create_params(given, tee=tags.has(wanted_tag, "tee"), callback=reader != NULL_ADDRESS)
        return cls(
            app=address(app, "app"),
            requester=requester,
            dataset=_optional(dataset, "dataset"),
            workerpool=_optional(workerpool, "workerpool"),
            category=None if category is None else uint256(category, "category"),
            tag=wanted_tag,
            trust=uint256(trust, "trust"),
            beneficiary=address(beneficiary, "beneficiary") if beneficiary is not None else requester,
            callback=reader,
            params=built,
            max_price=None if max_price is None else nrlc(max_price, "max_price"),
            skip_preflight_check=skip_preflight_check,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a run would do: the four orders, and what it costs.

    Orders of the wallet's own resources and the request are not signed yet; `execute` signs them.
    """

    client: IExec
    apporder: AppOrder
    datasetorder: DatasetOrder | None
    workerpoolorder: WorkerpoolOrder
    requestorder: RequestOrder
    cost: matching.Cost

    def execute(self) -> Run:
        """Ask, sign, match, and return the handle of the run.

        Raises
        ------
        ConfigurationError
            When the person says no.
        OrderMismatchError, OrderConsumedError, InsufficientFundsError
            When the chain changed in between; nothing was sent then.
        """
        self.client.approve(str(self))
        matched = self.client.order.sign_and_match(
            self.apporder, self.datasetorder, self.workerpoolorder, self.requestorder
        )
        return Run(self.client, self.client.chain.deal(matched.dealid), matched.txHash)

    def __str__(self) -> str:
        request = self.requestorder
        rows = [
            f"run app {request.app} for {format_rlc(self.cost.total)} in all",
            f"app {format_rlc(self.cost.app)}, dataset {format_rlc(self.cost.dataset)}, "
            f"workerpool {format_rlc(self.cost.workerpool)}",
            f"workerpool: {self.workerpoolorder.workerpool}, category {request.category}, trust {request.trust}",
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
    """Chooses the orders of a run, in the CLI's order: app, dataset, workerpool, then the request."""

    def __init__(self, client: IExec, wishes: Wishes) -> None:
        self._client = client
        self._wishes = wishes

    def plan(self) -> Plan:
        """Return the plan.

        Raises
        ------
        ObjectNotFoundError
            When the app, dataset or workerpool is not deployed.
        OrderMismatchError
            When no order fits.
        ValidationError
            When the preflight check fails, or it would cost more than `max_price`.
        """
        wishes = self._wishes
        owners = self._owners()
        app = self._app_order(owners[wishes.app])
        dataset = self._dataset_order(owners[wishes.dataset]) if wishes.dataset != NULL_ADDRESS else None
        workerpool = self._workerpool_order(owners.get(wishes.workerpool), app, dataset)
        cost = matching.cost(app, workerpool, dataset, volume=1)
        if wishes.max_price is not None and cost.total > wishes.max_price:
            raise ValidationError(
                f"the run would cost {format_rlc(cost.total)}, more than max_price {format_rlc(wishes.max_price)}",
                context={
                    "app": format_rlc(cost.app),
                    "dataset": format_rlc(cost.dataset),
                    "workerpool": format_rlc(cost.workerpool),
                },
                hint=f'max_price="{format_rlc(cost.total)}" would allow it',
            )
        request = self._request(app, dataset, workerpool)
        if not wishes.skip_preflight_check:
            client = self._client
            tag = tags.union(app.tag, wishes.tag)
            problems = preflight.request_problems(client, request) + preflight.app_problems(client, wishes.app, tag)
            problems += bulk.problems(client, request, workerpool=workerpool.workerpool, tag=tag)
            preflight.refuse("Request", problems)
        self._check_funds(cost)
        return Plan(
            client=self._client,
            apporder=app,
            datasetorder=dataset,
            workerpoolorder=workerpool,
            requestorder=request,
            cost=cost,
        )

    def _owners(self) -> dict[Address, Address]:
        wishes, chain = self._wishes, self._client.chain
        parts = {"app": wishes.app, "dataset": wishes.dataset, "workerpool": wishes.workerpool}
        named = {kind: where for kind, where in parts.items() if where != NULL_ADDRESS}
        for kind, where in named.items():
            chain.require_registered(kind, where)
        return chain.owners(named.values())

    def _app_order(self, owner: Address) -> AppOrder:
        wishes = self._wishes
        if owner == wishes.requester:
            return AppOrder(app=wishes.app, tag=wishes.tag, requesterrestrict=wishes.requester)
        least = tags.tag([name for name in ("tee", "tdx") if tags.has(wishes.tag, name)])
        found = self._cheapest("app", minTag=least, maxTag=wishes.tag)
        assert isinstance(found.order, AppOrder)
        return found.order

    def _dataset_order(self, owner: Address) -> DatasetOrder:
        wishes = self._wishes
        if owner == wishes.requester:
            return DatasetOrder(dataset=wishes.dataset, tag=wishes.tag, requesterrestrict=wishes.requester)
        found = self._cheapest("dataset", maxTag=wishes.tag)
        assert isinstance(found.order, DatasetOrder)
        return found.order

    def _workerpool_order(self, owner: Address | None, app: AppOrder, dataset: DatasetOrder | None) -> WorkerpoolOrder:
        wishes = self._wishes
        least = tags.union(app.tag, wishes.tag, tags.without_frameworks((dataset or NULL_DATASETORDER).tag))
        if owner is not None and owner == wishes.requester:
            return WorkerpoolOrder(
                workerpool=wishes.workerpool, category=wishes.category or 0, trust=wishes.trust, tag=least,
                requesterrestrict=wishes.requester,
            )  # fmt: skip
        filters = {"category": wishes.category, "minTag": least, "minTrust": wishes.trust or None, "minVolume": 1}
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
            max_price=left,
        )  # fmt: skip
        return cheapest(self._client, kind, wanted, {**parties, **filters})

    def _request(self, app: AppOrder, dataset: DatasetOrder | None, workerpool: WorkerpoolOrder) -> RequestOrder:
        wishes = self._wishes
        return RequestOrder(
            app=wishes.app,
            appmaxprice=app.appprice,
            dataset=wishes.dataset,
            datasetmaxprice=dataset.datasetprice if dataset is not None else 0,
            workerpool=wishes.workerpool,
            workerpoolmaxprice=workerpool.workerpoolprice,
            requester=wishes.requester,
            tag=wishes.tag,
            category=workerpool.category,
            trust=wishes.trust,
            beneficiary=wishes.beneficiary,
            callback=wishes.callback,
            params=request_params.dumps(wishes.params),
        )

    def _check_funds(self, cost: matching.Cost) -> None:
        who = self._wishes.requester
        stake = self._client.chain.account(who).stake
        if cost.total > stake:
            raise too_poor(cost, stake, who)


def _optional(value: str | None, name: str) -> Address:
    return NULL_ADDRESS if value is None else address(value, name)


def _given(value: Address) -> Address | None:
    return None if value == NULL_ADDRESS else value


def _params(given: str | Mapping[str, Any] | None) -> dict[str, Any]:
    if given is None or isinstance(given, Mapping):
        return dict(given or {})
    return request_params.loads(given)


def _files(given: str | Sequence[str] | None) -> str | list[str] | None:
    """Return addresses of input files; several in one text are parted by commas, as in the SDK."""
    if not given:
        return None
    if isinstance(given, str):
        return given
    return _texts(given, "input_files", '["https://example.com/a.csv"]')


def _secrets(given: Sequence[str] | Mapping[int, str] | None) -> dict[str, str] | None:
    if not given:
        return None
    if isinstance(given, Mapping):
        return {str(number): name for number, name in given.items()}
    given = [given] if isinstance(given, str) else _texts(given, "secret", '{1: "api-key"}')
    pairs = [str(item).partition("=") for item in given]
    if wrong := next(
        (item for item, (_, equals, name) in zip(given, pairs, strict=True) if not (equals and name)), None
    ):
        raise ValidationError(
            f"{shown(wrong)} is not a secret mapping", hint="give secrets as number=name, such as 1=api-key"
        )
    return {number: name for number, _, name in pairs}


def _texts(given: object, name: str, example: str) -> list[str]:
    if isinstance(given, list | tuple) and all(isinstance(one, str) for one in given):
        return list(given)
    raise ValidationError(f"{shown(given)} is not a valid {name}", hint=f"give {name} as texts, such as {example}")

"""From four orders to a deal: estimate, match and fill, and bulks of datasets for one request."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from iexec_nb.actions import bulk, preflight
from iexec_nb.actions import order_raw as raw
from iexec_nb.actions.funds import too_poor
from iexec_nb.actions.order_base import Given, OrderT
from iexec_nb.actions.order_listing import OrderListing
from iexec_nb.actions.summary import describe
from iexec_nb.actions.transfers import fee_line
from iexec_nb.commands import command
from iexec_nb.errors import OrderConsumedError, ValidationError, Web3ProviderSendError
from iexec_nb.protocol import matching, tags
from iexec_nb.protocol.orders import (
    NULL_DATASETORDER,
    AppOrder,
    DatasetOrder,
    Order,
    RequestOrder,
    WorkerpoolOrder,
)
from iexec_nb.protocol.receipts import DatasetBulk, Matched
from iexec_nb.protocol.types import NULL_ADDRESS
from iexec_nb.protocol.units import format_rlc
from iexec_nb.services import abi
from iexec_nb.services.wallet import Signer

if TYPE_CHECKING:
    import pandas as pd

    from iexec_nb.services.transactions import OnSigned

Four = tuple[AppOrder, DatasetOrder, WorkerpoolOrder, RequestOrder]


class OrderMatching(OrderListing):
    """The verbs that make deals."""

    @command(
        "order estimate --apporder $app --workerpoolorder $pool --requestorder $request",
        js=("order.estimateMatchOrders",),
        options={"app": "apporder", "dataset": "datasetorder", "workerpool": "workerpoolorder",
                 "request": "requestorder"},
        raw=raw.estimated,
    )  # fmt: skip
    def estimate(
        self,
        *,
        apporder: Given | None = None,
        workerpoolorder: Given | None = None,
        requestorder: Given | None = None,
        datasetorder: Given | None = None,
        params: str | Mapping[str, Any] | None = None,
    ) -> matching.Cost:
        """Return how many tasks a match of these orders would buy and what they cost, in nRLC; nothing is sent.

        Parameters
        ----------
        apporder, workerpoolorder, requestorder, datasetorder
            Signed orders, or hashes of published ones; what is left out is taken from ``orders.json``.
        params
            Params of a request that is made for these orders, instead of `requestorder`; JSON text or a dict.

        Returns
        -------
        Cost
            ``volume`` (tasks), ``per_task`` and ``total`` (nRLC).

        Raises
        ------
        OrderMismatchError
            When they do not match; every reason is in ``.reasons``, with what to do about it.
        """
        four = self._four_of(apporder, datasetorder, workerpoolorder, requestorder, params)
        return self._estimate(*four, solvable=False)

    @command(
        "order match --apporder $app --workerpoolorder $pool --requestorder $request",
        spends=True,
        js=("order.matchOrders",),
        options={"skip-request-check": "skip_preflight_check"},
        raw=raw.matched,
    )
    def match(
        self,
        *,
        apporder: Given | None = None,
        workerpoolorder: Given | None = None,
        requestorder: Given | None = None,
        datasetorder: Given | None = None,
        params: str | Mapping[str, Any] | None = None,
        skip_preflight_check: bool = False,
    ) -> Matched:
        """Match orders on the chain and return the deal; the requester pays from the account's stake.

        Parameters
        ----------
        apporder, workerpoolorder, requestorder, datasetorder
            Signed orders, or hashes of published ones; what is left out is taken from ``orders.json``. The dataset may
            be left out.
        params
            Params of a request that is made and signed for these orders, instead of `requestorder`; JSON text or a
            dict. It pays what the orders ask for one task.
        skip_preflight_check
            Do not ask the secret service whether the run could work.

        Returns
        -------
        Matched
            ``dealid``, ``volume`` (tasks), ``total`` (nRLC) and ``txHash``.

        Raises
        ------
        OrderMismatchError
            When they do not match, or the requester's stake is too low; every reason is in ``.reasons``, with what to
            do about it.
        OrderConsumedError
            When one of them is fully consumed.
        ValidationError
            When the preflight check fails, or an order is missing.

        Source
        ------
        Contract function ``matchOrders``.
        """
        signer = self._signer("match")
        four = self._four_of(apporder, datasetorder, workerpoolorder, requestorder, params)
        return self._match(signer, four, skip_preflight_check=skip_preflight_check)

    @command(
        "order fill --app 0x0123456789012345678901234567890123456789012345678901234567890123 "
        "--workerpool 0x0123456789012345678901234567890123456789012345678901234567890123",
        spends=True,
        js=("order.matchOrders",),
        options={"skip-request-check": "skip_preflight_check"},
        raw=raw.matched,
    )
    def fill(
        self,
        *,
        app: Given | None = None,
        dataset: Given | None = None,
        workerpool: Given | None = None,
        request: Given | None = None,
        params: str | Mapping[str, Any] | None = None,
        skip_preflight_check: bool = False,
    ) -> Matched:
        """Match the signed orders of ``orders.json``, or orders of the market by their hash, and return the deal.

        Parameters
        ----------
        app, dataset, workerpool, request
            Hashes of published orders, or orders; what is left out is taken from ``orders.json``. A dataset is used
            where the request names one; with `params`, where there is one.
        params
            Params of a request that is made and signed for these orders, instead of one that exists; JSON text or a
            dict, such as ``'{"iexec_args":"hello"}'``. It pays what the orders ask for one task.
        skip_preflight_check
            Do not ask the secret service whether the run could work.

        Returns
        -------
        Matched
            ``dealid``, ``volume`` (tasks), ``total`` (nRLC) and ``txHash``.

        Raises
        ------
        OrderMismatchError
            When they do not match, or the requester's stake is too low; every reason is in ``.reasons``, with what to
            do about it.
        OrderConsumedError
            When one of them is fully consumed.
        ValidationError
            When the preflight check fails, or an order is missing.

        Source
        ------
        Contract function ``matchOrders``.
        """
        signer = self._signer("match")
        four = self._four_of(app, dataset, workerpool, request, params, from_files=True)
        return self._match(signer, four, skip_preflight_check=skip_preflight_check)

    @command("order prepare-dataset-bulk $orders", js=("order.prepareDatasetBulk",), raw=raw.bulk)
    def prepare_dataset_bulk(
        self,
        datasetorders: Sequence[Given] | pd.DataFrame,
        /,
        *,
        max_dataset_per_task: int | str = bulk.MAX_DATASETS_PER_TASK,
    ) -> DatasetBulk:
        """Upload dataset orders as one bulk, so that a single request processes all of the datasets.

        The request gets ``params={"bulk_cid": bulk.cid}``, ``volume=bulk.volume`` and no dataset. What is uploaded is
        public.

        Parameters
        ----------
        datasetorders
            Signed orders that cost nothing and have no limit of volume: order objects, JSON texts, hashes of published
            orders, or a DataFrame of ``orderbook.dataset(..., bulk_only=True)``.
        max_dataset_per_task
            Datasets in one task, 1 to 100.

        Returns
        -------
        DatasetBulk
            ``cid``, ``volume`` (tasks) and ``datasets`` (how many).

        Raises
        ------
        ValidationError
            When an order cannot be used in a bulk, was revoked, or is not signed by the dataset's owner; all of them
            are named.
        ConfigurationError
            When bulks are not known on the network, or there is no IPFS node to upload to.
        IpfsGatewayCallError
            When an upload fails.

        Source
        ------
        Endpoint ``POST /api/v0/add`` of an IPFS node; contract function ``assertDatasetDealCompatibility``.
        """
        orders = list(self._dataset_orders(datasetorders))
        return bulk.prepare(self._client, orders, max_dataset_per_task)

    def sign_and_match(
        self, app: AppOrder, dataset: DatasetOrder | None, workerpool: WorkerpoolOrder, request: RequestOrder
    ) -> Matched:
        """Sign those of a plan's orders that are not signed, and match them; the plan was shown and approved before.

        Raises
        ------
        OrderMismatchError, OrderConsumedError, InsufficientFundsError
            When the chain changed since the plan was made; nothing was sent then.
        """
        four = self.sign_four(app, dataset, workerpool, request)
        return self.match_four(four, self.check_four(four))

    def sign_four(
        self, app: AppOrder, dataset: DatasetOrder | None, workerpool: WorkerpoolOrder, request: RequestOrder
    ) -> Four:
        """Return a plan's orders with those signed that are not; the plan was shown and approved before."""
        self._signer("match")
        return (
            app if app.is_signed else self._signed(app),
            NULL_DATASETORDER if dataset is None else dataset if dataset.is_signed else self._signed(dataset),
            workerpool if workerpool.is_signed else self._signed(workerpool),
            request if request.is_signed else self._signed(request),
        )

    def check_four(self, four: Four, *, whole: bool = False) -> matching.Cost:
        """Return what a match of four signed orders costs, after asking the chain whether they match and can be paid.

        Parameters
        ----------
        four
            The orders of app, dataset (the null order for none), workerpool and request.
        whole
            Whether orders that would give fewer tasks than the request asks for are refused.

        Raises
        ------
        OrderMismatchError, OrderConsumedError, InsufficientFundsError
            When they do not match, or the requester's stake is too low.
        """
        cost = self._estimate(*four, solvable=True)
        if whole and cost.volume < four[3].volume:
            raise OrderConsumedError(
                f"the orders sell {cost.volume} of {four[3].volume} tasks", hint="take orders that sell more"
            )
        return cost

    def match_four(self, four: Four, cost: matching.Cost, *, on_signed: OnSigned | None = None) -> Matched:
        """Match four signed orders, which were shown and approved before.

        Parameters
        ----------
        four
            The orders of app, dataset (the null order for none), workerpool and request.
        cost
            What `check_four` said of them a moment ago.
        on_signed
            Told the hash and the nonce of the transaction before the node sees it; when it raises, nothing is sent.

        Raises
        ------
        Web3ProviderCallError
            When the contract would refuse; nothing was sent.
        Web3ProviderSendError
            When the transaction was refused, reverted or lost.
        """
        return self._send_match(self._signer("match"), _matching(*four), cost, on_signed=on_signed)

    def _match(self, signer: Signer, four: Four, *, skip_preflight_check: bool) -> Matched:
        app, dataset, workerpool, request = four
        cost = self._estimate(*four, solvable=True)
        if not skip_preflight_check:
            self._check_match(*four)
        text = f"match orders into a deal of {cost.volume} tasks for {format_rlc(cost.total)}"
        if request.is_signed:
            text += f"\n  paid by: {request.requester}\n  app: {app.app}\n  workerpool: {workerpool.workerpool}"
            text += "" if dataset.dataset == NULL_ADDRESS else f"\n  dataset: {dataset.dataset}"
            data = _matching(*four)
            quote = self._chain.quote(signer.address, self._chain.hub_address, data)
            self._client.approve(text + fee_line(quote.max_fee))
            return self._send_match(signer, data, cost, max_fee=quote.max_fee)
        self._client.approve(f"sign {describe(request)}\n{text}")
        # What was made a moment ago is hashed and asked about again: its hash is new.
        return self.sign_and_match(app, dataset, workerpool, request)

    def _check_match(
        self, app: AppOrder, dataset: DatasetOrder, workerpool: WorkerpoolOrder, request: RequestOrder
    ) -> None:
        tag = tags.union(app.tag, tags.without_frameworks(dataset.tag), request.tag)
        found = preflight.request_problems(self._client, request)
        if tags.has(tag, "tee") and not tags.has(request.tag, "tee"):
            found += preflight.dataset_problems(self._client, dataset.dataset)
        found += bulk.problems(self._client, request, app=app.app, workerpool=workerpool.workerpool, tag=tag)
        preflight.refuse("Request", found + preflight.app_problems(self._client, app.app, tag))

    def _send_match(
        self,
        signer: Signer,
        data: bytes,
        cost: matching.Cost,
        *,
        max_fee: int | None = None,
        on_signed: OnSigned | None = None,
    ) -> Matched:
        receipt = self._chain.send(signer, self._chain.hub_address, data, max_fee=max_fee, on_signed=on_signed)
        event = self._chain.find_event(receipt, abi.ORDERS_MATCHED)
        if event is None:
            raise Web3ProviderSendError("OrdersMatched not confirmed", tx_hash=receipt.tx_hash)
        total = cost.per_task * event["volume"]
        return Matched(dealid=event["dealid"], volume=event["volume"], total=total, txHash=receipt.tx_hash)

    def _four_of(
        self,
        apporder: Given | None,
        datasetorder: Given | None,
        workerpoolorder: Given | None,
        requestorder: Given | None,
        params: str | Mapping[str, Any] | None,
        *,
        from_files: bool = False,
    ) -> Four:
        """Return four orders, the request unsigned where `params` ask for a new one.

        An order that is left out is that of ``orders.json``; a dataset only where others are from there too, or where
        the caller says so.
        """
        if params is not None and requestorder is not None:
            raise ValidationError("requestorder and params were given", hint="params are for a new request: give one")
        needed = [apporder, workerpoolorder] if params is not None else [apporder, workerpoolorder, requestorder]
        from_files = from_files or None in needed
        app = self._found(AppOrder, apporder)
        workerpool = self._found(WorkerpoolOrder, workerpoolorder)
        request = self._found(RequestOrder, requestorder) if params is None else None
        dataset = NULL_DATASETORDER
        if datasetorder is None and from_files:
            from_files = self._has_saved("dataset") if request is None else request.dataset != NULL_ADDRESS
        if datasetorder is not None or from_files:
            dataset = self._found(DatasetOrder, datasetorder)
        return app, dataset, workerpool, request or self._request_for(app, dataset, workerpool, params)

    def _found(self, cls: type[OrderT], value: Given | None) -> OrderT:
        kind = cls.KIND
        if value is None and not self._has_saved(kind):
            hint = f"give its hash or an order, or sign one into orders.json: %iexec order sign --{kind}"
            raise ValidationError(f"Missing {kind}order", hint=hint)
        order = self._picked(kind, True) if value is None else self._given(kind, value)
        if not isinstance(order, cls):
            raise ValidationError(f"a {order.kind}order was given as {kind}order", hint=f"give {kind}order=...")
        if not order.is_signed:
            raise ValidationError(f"the {kind}order is not signed", hint="order.sign(...) first")
        return order

    def _given(self, kind: str, value: Given) -> Order:
        """Return an order that was given as such, as JSON text, or by the hash under which the market knows it."""
        if isinstance(value, str) and not value.lstrip().startswith("{"):
            return self._by_hash(kind, value)
        return self.read(value)

    def _has_saved(self, kind: str) -> bool:
        return self._client.files.exists and self._saved(kind) is not None

    def _request_for(
        self, app: AppOrder, dataset: DatasetOrder, workerpool: WorkerpoolOrder, params: object
    ) -> RequestOrder:
        """Return a request that pays what these orders ask, as the CLI makes it for ``--params``."""
        request = self.create(
            "request",
            app=app.app,
            appmaxprice=app.appprice,
            dataset=dataset.dataset,
            datasetmaxprice=dataset.datasetprice,
            workerpool=workerpool.workerpool,
            workerpoolmaxprice=workerpool.workerpoolprice,
            category=workerpool.category,
            params=params,
        )
        assert isinstance(request, RequestOrder)
        return request

    def _estimate(
        self,
        app: AppOrder,
        dataset: DatasetOrder,
        workerpool: WorkerpoolOrder,
        request: RequestOrder,
        *,
        solvable: bool,
    ) -> matching.Cost:
        facts = self._chain.facts(app, None if dataset == NULL_DATASETORDER else dataset, workerpool, request)
        tdx = self._client.require_tdx
        cost = matching.check(app, workerpool, request, dataset, facts=facts, require_tdx=tdx, solvable=False)
        if solvable and matching.reasons(app, workerpool, request, dataset, facts=facts, require_tdx=tdx):
            raise too_poor(cost, facts.stakes[request.requester], request.requester)
        return cost

    def _dataset_orders(self, given: object) -> Iterator[DatasetOrder]:
        """Yield the orders in a list of orders, texts, hashes and tables of orders."""
        if hasattr(given, "iexec"):
            given = given.iexec.orders()
        if isinstance(given, Iterable) and not isinstance(given, str | bytes | Mapping):
            for one in given:
                yield from self._dataset_orders(one)
            return
        order = self._given("dataset", given)  # type: ignore[arg-type]
        if not isinstance(order, DatasetOrder):
            raise ValidationError(f"a {order.kind}order was given as datasetorder", hint="give signed dataset orders")
        yield order


def _matching(*four: Order) -> bytes:
    return abi.MATCH_ORDERS.encode(*(order.to_abi() for order in four))

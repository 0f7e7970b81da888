"""The noun ``order``: from a template to a deal."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from iexec_nb.actions import preflight
from iexec_nb.actions.base import Noun
from iexec_nb.actions.book import fetch_order
from iexec_nb.actions.funds import too_poor
from iexec_nb.actions.summary import describe
from iexec_nb.commands import command, noun
from iexec_nb.errors import ObjectNotFoundError, ValidationError, Web3ProviderSendError
from iexec_nb.protocol import foreign, matching, params, tags
from iexec_nb.protocol.orders import (
    NULL_DATASETORDER,
    ORDERS,
    AppOrder,
    DatasetOrder,
    Order,
    PublishedOrder,
    RequestOrder,
    WorkerpoolOrder,
)
from iexec_nb.protocol.receipts import Matched
from iexec_nb.protocol.typed_data import order_hash
from iexec_nb.protocol.types import NULL_ADDRESS, Address, Bytes32, address, bytes32, shown
from iexec_nb.protocol.units import format_rlc
from iexec_nb.services import abi
from iexec_nb.services.wallet import Signer

Given = Order | PublishedOrder | str


@noun("order")
class OrderActions(Noun):
    """Orders: create, sign, publish, show and match the four kinds."""

    @command('order create dataset --dataset 0x0123456789012345678901234567890123456789 --datasetprice "0.1 RLC"')
    def create(self, kind: str, /, **fields: Any) -> Order:
        """Return a new order that is not signed yet, with the SDK's defaults; prices are nRLC without a unit.

        Parameters
        ----------
        kind
            ``app``, ``dataset``, ``workerpool`` or ``request``.
        fields
            The order's fields by their iExec names, such as ``datasetprice="0.1 RLC"``, ``volume=10``,
            ``tag="tee,tdx"``, ``requesterrestrict=...``. A request's ``requester`` defaults to the client's wallet
            and its ``params`` are completed as SDK 9 does.

        Returns
        -------
        AppOrder, DatasetOrder, WorkerpoolOrder or RequestOrder

        Raises
        ------
        ValidationError
            For an unknown kind or field, a missing field, or a value that breaks a rule.
        """
        cls = _class(kind)
        if unknown := [name for name in fields if name not in cls.FIELDS]:
            close = get_close_matches(unknown[0], cls.FIELDS, 1)
            hint = f"did you mean {close[0]!r}?" if close else f"the fields are {', '.join(cls.FIELDS)}"
            raise ValidationError(f"a {kind}order has no field {unknown[0]!r}", hint=hint)
        if cls is RequestOrder:
            fields = self._request_fields(fields)
        required = (cls.RESOURCE, *(name for name in ("app", "category") if name in cls.FIELDS))
        for name in required:
            if fields.get(name) is None:
                raise ValidationError(f"{name} is a required field", hint=f"order.create({kind!r}, {name}=...)")
        order: Order = cls(**fields)
        self._check_tag(order)
        return order

    @command("order sign $order", spends=True)
    def sign(self, order: Given, /, *, skip_preflight_check: bool = False) -> Order:
        """Return the order with a new random salt and the wallet's signature (EIP-712).

        Parameters
        ----------
        order
            An order, or its JSON text. A salt that it has is replaced.
        skip_preflight_check
            Do not ask the secret service whether a run of it could work.

        Returns
        -------
        AppOrder, DatasetOrder, WorkerpoolOrder or RequestOrder
            Signed.

        Raises
        ------
        ValidationError
            When the wallet is not the resource's owner (or the requester), or the preflight check fails.
        ObjectNotFoundError
            When what the order sells is not deployed.

        Source
        ------
        EIP-712 under the hub's ``domain()``.
        """
        given = self.read(order)
        signer = self._signer("sign the order")
        self._check_tag(given)
        owner = self._owner(given)
        if owner != signer.address:
            who = "requester" if given.kind == "request" else "resource owner"
            raise ValidationError(
                f"Invalid order signer, must be the {who}", context={"wallet": signer.address, who: owner}
            )
        if not skip_preflight_check:
            preflight.check_order(self._client, given)
        self._client.approve(f"sign {describe(given)}")
        return self._signed(given)

    @command("order publish $signed")
    def publish(self, order: Given, /, *, skip_preflight_check: bool = False) -> Bytes32:
        """Put a signed order on the market and return its hash.

        Parameters
        ----------
        order
            A signed order, or its JSON text.
        skip_preflight_check
            Do not ask the secret service whether a run of it could work.

        Raises
        ------
        ValidationError
            When the order is not signed, or the preflight check fails.
        MarketCallError
            When the market refuses; its reason is in the message.

        Source
        ------
        Endpoint ``POST /{kind}orders`` of the market API.
        """
        given = self.read(order)
        signer = self._signer("publish the order")
        if not given.is_signed:
            raise ValidationError(f"the {given.kind}order is not signed", hint="order.publish(order.sign(...))")
        if not skip_preflight_check:
            preflight.check_order(self._client, given)
        return self._client.market.publish(given, signer)

    @command("order show workerpool 0x0123456789012345678901234567890123456789012345678901234567890123")
    def show(self, kind: str, orderHash: str, /) -> PublishedOrder:
        """Return an order of the market by its hash, with the volume that remains; hash and signature are checked.

        Parameters
        ----------
        kind
            ``app``, ``dataset``, ``workerpool`` or ``request``.
        orderHash
            32 bytes as ``0x`` text.

        Raises
        ------
        MarketCallError
            When the market has no such order (``<kind>order not found``).
        InvalidSignatureError
            When what the market sends is not what the hash or the signature says.

        Source
        ------
        Endpoint ``GET /{kind}orders/{orderHash}`` of the market API.
        """
        _class(kind)
        name = bytes32(orderHash, "orderHash")
        published = fetch_order(self._chain, kind, self._client.market.order(kind, name))
        if published.orderHash != name:
            raise ValidationError("the market sent another order than was asked for", context={"asked": name})
        return published

    def hash(self, order: Given, /) -> Bytes32:
        """Return the hash of an order that has a salt.

        Raises
        ------
        InvalidSignatureError
            When it has none.
        """
        return order_hash(self.read(order), self._chain.domain)

    @command("order estimate --apporder $app --workerpoolorder $pool --requestorder $request")
    def estimate(
        self,
        *,
        apporder: Given,
        workerpoolorder: Given,
        requestorder: Given,
        datasetorder: Given | None = None,
    ) -> matching.Cost:
        """Return how many tasks a match of these orders would buy and what they cost, in nRLC; nothing is sent.

        Parameters
        ----------
        apporder, workerpoolorder, requestorder, datasetorder
            Signed orders, or hashes of published ones.

        Raises
        ------
        OrderMismatchError
            When they do not match; every reason is in ``.reasons``.
        """
        return self._estimate(*self._four(apporder, datasetorder, workerpoolorder, requestorder), solvable=False)

    @command("order match --apporder $app --workerpoolorder $pool --requestorder $request", spends=True)
    def match(
        self,
        *,
        apporder: Given,
        workerpoolorder: Given,
        requestorder: Given,
        datasetorder: Given | None = None,
        skip_preflight_check: bool = False,
    ) -> Matched:
        """Match orders on the chain and return the deal; the requester pays from the account's stake.

        Parameters
        ----------
        apporder, workerpoolorder, requestorder, datasetorder
            Signed orders, or hashes of published ones. The dataset may be left out.
        skip_preflight_check
            Do not ask the secret service whether the run could work.

        Returns
        -------
        Matched
            ``dealid``, ``volume`` (tasks), ``total`` (nRLC) and ``txHash``.

        Raises
        ------
        OrderMismatchError
            When they do not match, or the requester's stake is too low; every reason is in ``.reasons``.
        OrderConsumedError
            When one of them is fully consumed.
        ValidationError
            When the preflight check fails.

        Source
        ------
        Contract function ``matchOrders``.
        """
        signer = self._signer("match")
        app, dataset, workerpool, request = self._four(apporder, datasetorder, workerpoolorder, requestorder)
        cost = self._estimate(app, dataset, workerpool, request, solvable=True)
        if not skip_preflight_check:
            problems = preflight.request_problems(self._client, request)
            preflight.refuse("Request", problems + preflight.app_problems(self._client, app.app))
        self._client.approve(f"match orders into a deal of {cost.volume} tasks for {format_rlc(cost.total)}")
        return self._send_match(signer, app, dataset, workerpool, request, cost)

    def sign_and_match(
        self, app: AppOrder, dataset: DatasetOrder | None, workerpool: WorkerpoolOrder, request: RequestOrder
    ) -> Matched:
        """Sign those of a plan's orders that are not signed, and match them; the plan was shown and approved before.

        Raises
        ------
        OrderMismatchError, OrderConsumedError, InsufficientFundsError
            When the chain changed since the plan was made; nothing was sent then.
        """
        signer = self._signer("match")
        four = (app, dataset if dataset is not None else NULL_DATASETORDER, workerpool, request)
        signed = self._four(*(order if order.is_signed else self._signed(order) for order in four))
        cost = self._estimate(*signed, solvable=True)
        return self._send_match(signer, *signed, cost)

    def _send_match(
        self,
        signer: Signer,
        app: AppOrder,
        dataset: DatasetOrder,
        workerpool: WorkerpoolOrder,
        request: RequestOrder,
        cost: matching.Cost,
    ) -> Matched:
        data = abi.MATCH_ORDERS.encode(app.to_abi(), dataset.to_abi(), workerpool.to_abi(), request.to_abi())
        receipt = self._chain.send(signer, self._chain.hub_address, data)
        event = self._chain.find_event(receipt, abi.ORDERS_MATCHED)
        if event is None:
            raise Web3ProviderSendError("OrdersMatched not confirmed", tx_hash=receipt.tx_hash)
        total = cost.per_task * event["volume"]
        return Matched(dealid=event["dealid"], volume=event["volume"], total=total, txHash=receipt.tx_hash)

    def read(self, value: Any) -> Order:
        """Return the order in an order object, a published order or JSON text."""
        if isinstance(value, PublishedOrder):
            return value.order
        if isinstance(value, AppOrder | DatasetOrder | WorkerpoolOrder | RequestOrder):
            return value
        body = _json(value) if isinstance(value, str) else value
        if isinstance(body, Mapping):
            inner = body.get("order", body)
            # A request names an app and a requester too, so the price is what tells the kinds apart.
            kind = next((k for k, cls in ORDERS.items() if isinstance(inner, Mapping) and cls.PRICE in inner), None)
            if kind is not None:
                return ORDERS[kind].from_json(inner)
        raise ValidationError(
            f"{shown(value)} is not an order", hint="give an order object, its JSON text, or $name in a magic"
        )

    def _owner(self, order: Order) -> Address:
        chain, where = self._chain, order.resource
        if isinstance(order, RequestOrder):
            return where
        if not chain.registered(order.kind, [where])[where]:
            raise ObjectNotFoundError(order.kind, where, chain.chain_id, hint="check the address and the chain")
        return chain.owners([where])[where]

    def _signed(self, order: Order) -> Order:
        signer = self._signer("sign the order")
        salted = order.signed("0x" + self._client.random_bytes(32).hex(), "0x")
        sign = signer.sign_order(salted, self._chain.domain)
        assert salted.salt is not None
        return salted.signed(salted.salt, sign)

    def _four(
        self, apporder: Given, datasetorder: Given | None, workerpoolorder: Given, requestorder: Given
    ) -> tuple[AppOrder, DatasetOrder, WorkerpoolOrder, RequestOrder]:
        app = self._found("app", apporder)
        dataset = NULL_DATASETORDER if datasetorder is None else self._found("dataset", datasetorder)
        workerpool, request = self._found("workerpool", workerpoolorder), self._found("request", requestorder)
        assert isinstance(app, AppOrder)
        assert isinstance(dataset, DatasetOrder)
        assert isinstance(workerpool, WorkerpoolOrder)
        assert isinstance(request, RequestOrder)
        return app, dataset, workerpool, request

    def _found(self, kind: str, value: Given) -> Order:
        is_hash = isinstance(value, str) and value.startswith("0x")
        order = self.show(kind, value).order if is_hash else self.read(value)  # type: ignore[arg-type]
        if order.kind != kind:
            raise ValidationError(f"a {order.kind}order was given as {kind}order", hint=f"give {kind}order=...")
        if not order.is_signed:
            raise ValidationError(f"the {kind}order is not signed", hint="order.sign(...) first")
        return order

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

    def _request_fields(self, given: Mapping[str, Any]) -> dict[str, Any]:
        requester = given.get("requester") or self._signer("know the requester").address
        fields = {**given, "requester": requester}
        tag = tags.tag(fields["tag"]) if "tag" in fields else tags.TEE_TDX
        callback = address(fields.get("callback", NULL_ADDRESS), "callback")
        built = params.create_params(fields.get("params"), tee=tags.has(tag, "tee"), callback=callback != NULL_ADDRESS)
        return {**fields, "params": built}

    def _check_tag(self, order: Order) -> None:
        agnostic = order.kind in ("dataset", "request")
        legacy = order.kind == "dataset" or not self._client.require_tdx
        if wrong := tags.check(order.tag, agnostic=agnostic, legacy=legacy):
            names = ", ".join(tags.describe(order.tag))
            raise ValidationError(wrong[0], context={"tag": names}, hint='the live tag is "tee,tdx"')


def _class(kind: str) -> Any:
    if kind in ORDERS:
        return ORDERS[kind]
    close = get_close_matches(str(kind).removesuffix("order"), ORDERS, 1)
    hint = f"did you mean {close[0]!r}?" if close else f"use one of {', '.join(ORDERS)}"
    raise ValidationError(f"{shown(kind)} is not a kind of order", hint=hint)


def _json(text: str) -> object:
    try:
        return foreign.loads(text)
    except (ValueError, RecursionError):
        return None

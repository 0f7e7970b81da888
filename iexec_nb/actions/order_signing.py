"""From a template to a signed order: the verbs create, hash, explain and sign."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any, overload

from iexec_nb.actions import order_raw as raw
from iexec_nb.actions.order_base import (
    Choice,
    Given,
    Orders,
    chosen,
    class_of,
    gather,
    not_done,
    only_one_form,
    outcome,
)
from iexec_nb.actions.summary import describe, explain
from iexec_nb.actions.transfers import fee_line
from iexec_nb.commands import command
from iexec_nb.errors import IExecError, ValidationError
from iexec_nb.protocol import params, tags
from iexec_nb.protocol.orders import ORDERS, Order, RequestOrder
from iexec_nb.protocol.receipts import Explanation
from iexec_nb.protocol.typed_data import order_hash
from iexec_nb.protocol.types import NULL_ADDRESS, Bytes32, address


class OrderSigning(Orders):
    """The verbs that make orders and sign them."""

    @command(
        'order create dataset --dataset 0x0123456789012345678901234567890123456789 --datasetprice "0.1 RLC"',
        js=("order.createApporder", "order.createDatasetorder", "order.createWorkerpoolorder",
            "order.createRequestorder"),
        raw=raw.signed,
    )  # fmt: skip
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
        cls = class_of(kind)
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

    @command(
        "order hash $signed",
        js=("order.hashApporder", "order.hashDatasetorder", "order.hashWorkerpoolorder", "order.hashRequestorder"),
        raw=raw.hashed,
    )
    def hash(self, order: Given, /) -> Bytes32:
        """Return the hash of an order that has a salt: its name on the market and on the chain.

        Parameters
        ----------
        order
            A signed order, or its JSON text.

        Raises
        ------
        InvalidSignatureError
            When it has no salt.

        Source
        ------
        EIP-712 under the hub's ``domain()``.
        """
        return order_hash(self.read(order), self._chain.domain)

    @overload
    def explain(self, order: Given, /) -> Explanation: ...
    @overload
    def explain(
        self,
        order: None = ...,
        /,
        *,
        app: Choice = ...,
        dataset: Choice = ...,
        workerpool: Choice = ...,
        request: Choice = ...,
    ) -> dict[str, Any]: ...
    @command("order explain $order", raw=raw.explained)
    def explain(
        self,
        order: Given | None = None,
        /,
        *,
        app: bool | str = False,
        dataset: bool | str = False,
        workerpool: bool | str = False,
        request: bool | str = False,
    ) -> Explanation | dict[str, Any]:
        """Say in plain words what an order promises, beside each field that is signed; prices in RLC.

        Parameters
        ----------
        order
            An order, signed or not, or its JSON text.
        app, dataset, workerpool, request
            Instead: the signed order of ``orders.json``, or the hash of an order on the market.

        Returns
        -------
        Explanation
            ``summary``, ``rows`` (field, EIP-712 type, value, meaning) and ``typedData``; a dict of them by kind for
            orders that are chosen by kind.

        Raises
        ------
        ValidationError
            When there is no such order.

        Source
        ------
        EIP-712 members of ``IexecLibOrders_v5``.
        """
        choices = {"app": app, "dataset": dataset, "workerpool": workerpool, "request": request}
        only_one_form(order, choices)
        if order is not None:
            return explain(self.read(order), self._chain.domain)
        kinds = chosen(choices)
        found, failed = gather(kinds, lambda kind: explain(self._picked(kind, kinds[kind]), self._chain.domain))
        return outcome("explain", found, failed)

    @overload
    def sign(self, order: Given, /, *, skip_preflight_check: bool = ...) -> Order: ...
    @overload
    def sign(
        self,
        order: None = ...,
        /,
        *,
        app: bool = ...,
        dataset: bool = ...,
        workerpool: bool = ...,
        request: bool = ...,
        skip_preflight_check: bool = ...,
    ) -> dict[str, Any]: ...
    @command(
        "order sign --app --dataset",
        spends=True,
        js=("order.signApporder", "order.signDatasetorder", "order.signWorkerpoolorder", "order.signRequestorder"),
        options={"skip-request-check": "skip_preflight_check"},
        raw=raw.signed,
    )
    def sign(
        self,
        order: Given | None = None,
        /,
        *,
        app: bool = False,
        dataset: bool = False,
        workerpool: bool = False,
        request: bool = False,
        skip_preflight_check: bool = False,
    ) -> Order | dict[str, Any]:
        """Sign an order with a new random salt (EIP-712), or the templates of ``iexec.json``.

        Parameters
        ----------
        order
            An order, or its JSON text. A salt that it has is replaced.
        app, dataset, workerpool, request
            Instead: the templates of ``iexec.json`` to sign, all four when nothing is given. What is signed is saved
            in ``orders.json``. On a live network a template gets the tags tee and tdx, as SDK 9 does.
        skip_preflight_check
            Do not ask the secret service whether a run of it could work.

        Returns
        -------
        AppOrder, DatasetOrder, WorkerpoolOrder or RequestOrder
            Signed; for templates a dict of them, with the reasons of those that failed under ``fail``.

        Raises
        ------
        ValidationError
            When the wallet is not the resource's owner (or the requester), or the preflight check fails.
        ObjectNotFoundError
            When what the order sells is not deployed.
        ConfigurationError
            When there is no wallet, no ``iexec.json``, or the answer is no.

        Source
        ------
        EIP-712 under the hub's ``domain()``.
        """
        choices = {"app": app, "dataset": dataset, "workerpool": workerpool, "request": request}
        only_one_form(order, choices)
        if order is not None:
            given = self._ready(self.read(order), skip_preflight_check=skip_preflight_check)
            self._client.approve(f"sign {describe(given)}")
            return self._signed(given)
        kinds = list(chosen(choices, words=False)) if any(choices.values()) else list(ORDERS)
        templates, failed = self._templates(kinds, "sign", skip_preflight_check=skip_preflight_check)
        self._ask_about("sign", templates, failed)
        signed = {kind: self._signed(one) for kind, one in templates.items()}
        saved = {kind: one.to_json() for kind, one in signed.items()}
        self._client.files.save_signed(self._chain.chain_id, saved)
        return outcome("sign", signed, failed)

    def _templates(
        self, kinds: list[str], verb: str, *, skip_preflight_check: bool
    ) -> tuple[dict[str, Order], dict[str, IExecError]]:
        """Return the templates of ``iexec.json`` that can be signed, and what is wrong with the others.

        Raises
        ------
        IExecError
            When nothing can be signed.
        """
        self._signer(f"{verb} the orders")
        self._client.files.read("iexec.json")
        # A broken orders.json is found before anything is signed, which would have no place then.
        self._client.files.signed_order(kinds[0], self._chain.chain_id)
        skip = skip_preflight_check
        found, failed = gather(kinds, lambda kind: self._ready(self._unsigned(kind), skip_preflight_check=skip))
        outcome(verb, found, failed)
        return found, failed

    def _unsigned(self, kind: str) -> Order:
        files = self._client.files
        content = files.order(kind)
        fields = {name: content[name] for name in ORDERS[kind].FIELDS if content.get(name) is not None}
        with files.naming("iexec.json", "order", f"{kind}order"):
            if self._client.require_tdx:
                fields["tag"] = tags.union(tags.tag(fields.get("tag")), tags.TEE_TDX)
            order = self.create(kind, **fields)
        if isinstance(order, RequestOrder):
            self._chain.require_registered("app", order.app)
        return order

    def _ask_about(
        self,
        verb: str,
        orders: Mapping[str, Order],
        failed: Mapping[str, IExecError],
        fees: Mapping[str, int] | None = None,
    ) -> None:
        texts = [f"{verb} {describe(order)}{fee_line(fees[kind]) if fees else ''}" for kind, order in orders.items()]
        self._client.approve("\n".join(texts) + not_done(failed))

    def _request_fields(self, given: Mapping[str, Any]) -> dict[str, Any]:
        requester = given.get("requester")
        if requester in (None, ""):
            requester = self._signer("know the requester").address
        fields = {**given, "requester": requester}
        tag = tags.tag(fields["tag"]) if "tag" in fields else tags.TEE_TDX
        callback = address(fields.get("callback", NULL_ADDRESS), "callback")
        built = params.create_params(fields.get("params"), tee=tags.has(tag, "tee"), callback=callback != NULL_ADDRESS)
        return {**fields, "params": built}

"""Orders on the market: publish, unpublish and show."""

from __future__ import annotations

from typing import Any, overload

from iexec_nb.actions import order_raw as raw
from iexec_nb.actions.order_base import (
    Choice,
    Given,
    OrderT,
    bytes32_of,
    chosen,
    class_of,
    gather,
    not_done,
    only_one_form,
    outcome,
)
from iexec_nb.actions.order_closing import OrderClosing
from iexec_nb.actions.summary import describe
from iexec_nb.commands import command
from iexec_nb.errors import ValidationError
from iexec_nb.protocol.orders import ORDERS, Order, PublishedOrder
from iexec_nb.protocol.receipts import ShownOrder
from iexec_nb.protocol.types import Address, Bytes32, address

_NO_HASH = 'No orderHash specified and no signed {name} found for chain {chain} in "orders.json"'
_TARGETS = {
    "orderHash": "{kind}order {subject}",
    "last": "the last {kind}order for {subject}",
    "all": "all {kind}orders for {subject}",
}
_NONE_HERE = 'Missing {name} in "orders.json" for chain {chain}'


class OrderListing(OrderClosing):
    """The verbs of the market."""

    @overload
    def publish(self, order: Given, /, *, skip_preflight_check: bool = ...) -> Bytes32: ...
    @overload
    def publish(
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
        "order publish --app",
        js=("order.publishApporder", "order.publishDatasetorder", "order.publishWorkerpoolorder",
            "order.publishRequestorder"),
        spends=True,
        options={"skip-request-check": "skip_preflight_check"},
        raw=raw.listed,
    )  # fmt: skip
    def publish(
        self,
        order: Given | None = None,
        /,
        *,
        app: bool = False,
        dataset: bool = False,
        workerpool: bool = False,
        request: bool = False,
        skip_preflight_check: bool = False,
    ) -> Bytes32 | dict[str, Any]:
        """Put a signed order on the market and return its hash.

        Parameters
        ----------
        order
            A signed order, or its JSON text.
        app, dataset, workerpool, request
            Instead: the signed orders of ``orders.json``.
        skip_preflight_check
            Do not ask the secret service whether a run of it could work.

        Returns
        -------
        str
            The hash; for orders of ``orders.json`` a dict of hashes, with the reasons of those that failed under
            ``fail``.

        Raises
        ------
        ValidationError
            When the order is not signed, or the preflight check fails.
        MarketCallError
            When the market refuses; its reason is in the message.
        ConfigurationError
            When there is no wallet, or the answer is no.

        Source
        ------
        Endpoint ``POST /{kind}orders`` of the market API.
        """
        choices = {"app": app, "dataset": dataset, "workerpool": workerpool, "request": request}
        only_one_form(order, choices)
        if order is not None:
            given = self._publishable(self.read(order), skip_preflight_check)
            self._client.approve(f"publish {describe(given)}")
            return self._client.market.publish(given, self._signer("publish the order"))
        kinds = chosen(choices, words=False)
        signer = self._signer("publish the orders")
        skip = skip_preflight_check
        found, failed = gather(kinds, lambda kind: self._publishable(self._picked(kind, True), skip))
        outcome("publish", found, failed)
        self._ask_about("publish", found, failed)
        done, refused = gather(found, lambda kind: self._client.market.publish(found[kind], signer))
        return outcome("publish", done, {**failed, **refused})

    @overload
    def unpublish(self, order: Given, /) -> Bytes32: ...
    @overload
    def unpublish(
        self,
        order: None = ...,
        /,
        *,
        app: Choice = ...,
        dataset: Choice = ...,
        workerpool: Choice = ...,
        request: Choice = ...,
        last: bool = ...,
        all: bool = ...,
    ) -> dict[str, Any]: ...
    @command(
        "order unpublish --app 0x0123456789012345678901234567890123456789012345678901234567890123",
        js=tuple(
            f"order.{verb}{kind}{'orders' if verb == 'unpublishAll' else 'order'}"
            for verb in ("unpublish", "unpublishLast", "unpublishAll")
            for kind in ("App", "Dataset", "Workerpool", "Request")
        ),
        raw=raw.listed,
    )
    def unpublish(
        self,
        order: Given | None = None,
        /,
        *,
        app: bool | str = False,
        dataset: bool | str = False,
        workerpool: bool | str = False,
        request: bool | str = False,
        last: bool = False,
        all: bool = False,
    ) -> Bytes32 | dict[str, Any]:
        """Take own orders off the market; who has one already can still match it until it is cancelled.

        Parameters
        ----------
        order
            A signed order, or its JSON text.
        app, dataset, workerpool, request
            Instead: the hash of an order on the market, or the signed order of ``orders.json`` when none is given. With
            `last` or `all` the address of the app, dataset or workerpool (default: that of ``deployed.json``); of a
            request nothing is needed.
        last
            The order that the wallet published last for this address.
        all
            All open orders that the wallet published for this address.

        Returns
        -------
        str
            The hash; for orders that are chosen by kind a dict of hashes (of tuples of hashes with `all`), with the
            reasons of those that failed under ``fail``.

        Raises
        ------
        ValidationError
            When there is no such order, or both `last` and `all` are given.
        MarketCallError
            When the market refuses: it is not listed, or somebody else's.

        Source
        ------
        Endpoint ``PUT /{kind}orders`` of the market API.
        """
        choices = {"app": app, "dataset": dataset, "workerpool": workerpool, "request": request}
        only_one_form(order, choices)
        signer = self._signer("unpublish the order")
        if last and all:
            raise ValidationError("last and all were given", hint="give one of them")
        if order is not None:
            given = self.read(order)
            self._client.approve(f"unpublish {given.kind}order {self.hash(given)}")
            return self._client.market.unpublish(given.kind, signer, orderHash=self.hash(given))[0]
        kinds = chosen(choices)
        which = "all" if all else "last" if last else "orderHash"
        found, failed = gather(kinds, lambda kind: self._target(kind, kinds[kind], which))
        outcome("unpublish", found, failed)
        texts = [f"unpublish {_TARGETS[which].format(kind=kind, subject=found[kind])}" for kind in found]
        self._client.approve("\n".join(texts) + not_done(failed))
        market = self._client.market
        done, refused = gather(found, lambda kind: market.unpublish(kind, signer, **{which: found[kind]}))
        hashes = {kind: tuple(gone) if all else gone[0] for kind, gone in done.items()}
        return outcome("unpublish", hashes, {**failed, **refused})

    @overload
    def show(self, kind: str, orderHash: str, /) -> PublishedOrder: ...
    @overload
    def show(self, kind: str, orderHash: str, /, *, deals: bool) -> PublishedOrder | ShownOrder: ...
    @overload
    def show(
        self,
        kind: None = ...,
        orderHash: None = ...,
        /,
        *,
        app: Choice = ...,
        dataset: Choice = ...,
        workerpool: Choice = ...,
        request: Choice = ...,
        deals: bool = ...,
    ) -> dict[str, Any]: ...
    @command(
        "order show --workerpool 0x0123456789012345678901234567890123456789012345678901234567890123 --deals",
        js=("orderbook.fetchApporder", "orderbook.fetchDatasetorder", "orderbook.fetchWorkerpoolorder",
            "orderbook.fetchRequestorder", "deal.fetchDealsByApporder", "deal.fetchDealsByDatasetorder",
            "deal.fetchDealsByWorkerpoolorder", "deal.fetchDealsByRequestorder"),
        raw=raw.shown,
    )  # fmt: skip
    def show(
        self,
        kind: str | None = None,
        orderHash: str | None = None,
        /,
        *,
        app: bool | str = False,
        dataset: bool | str = False,
        workerpool: bool | str = False,
        request: bool | str = False,
        deals: bool = False,
    ) -> PublishedOrder | ShownOrder | dict[str, Any]:
        """Return an order of the market by its hash, with the volume that remains; hash and signature are checked.

        Parameters
        ----------
        kind
            ``app``, ``dataset``, ``workerpool`` or ``request``, with `orderHash` behind it.
        orderHash
            32 bytes as ``0x`` text.
        app, dataset, workerpool, request
            Instead: the hash, or the signed order of ``orders.json`` when none is given.
        deals
            Count the deals of the order as well, and show the last 20.

        Returns
        -------
        PublishedOrder
            With `deals` a `ShownOrder`; for orders that are chosen by kind a dict of them, with the reasons of those
            that failed under ``fail``.

        Raises
        ------
        MarketCallError
            When the market has no such order (``<kind>order not found``).
        InvalidSignatureError
            When what the market sends is not what the hash or the signature says.

        Source
        ------
        Endpoints ``GET /{kind}orders/{orderHash}`` and ``GET /deals`` of the market API.
        """
        choices = {"app": app, "dataset": dataset, "workerpool": workerpool, "request": request}
        only_one_form(kind, choices)
        if kind is not None or orderHash is not None:
            class_of(kind)
            assert kind is not None
            return self._shown(kind, bytes32_of(kind, orderHash), deals)
        kinds = chosen(choices)

        def shown(kind: str) -> PublishedOrder | ShownOrder:
            return self._shown(kind, self._hash_of(kind, kinds[kind], _NONE_HERE), deals)

        return outcome("show", *gather(kinds, shown))

    def sign_and_publish(self, order: Order, *, skip_preflight_check: bool = False) -> Bytes32:
        """Sign an order and publish it, with one question for both; return its hash.

        Raises
        ------
        ValidationError, ObjectNotFoundError, MarketCallError, ConfigurationError
            As `sign` and `publish`.
        """
        return self.sign_to_publish(order, skip_preflight_check=skip_preflight_check)[1]

    def sign_to_publish(self, order: OrderT, *, skip_preflight_check: bool = False) -> tuple[OrderT, Bytes32]:
        """Sign an order and publish it, with one question for both; return the signed order and its hash.

        Raises
        ------
        ValidationError, ObjectNotFoundError, MarketCallError, ConfigurationError
            As `sign` and `publish`.
        """
        self._ready(order, skip_preflight_check=skip_preflight_check)
        self._client.approve(f"sign and publish {describe(order)}")
        signed = self._signed(order)
        return signed, self._client.market.publish(signed, self._signer("publish the order"))

    def _publishable(self, order: Order, skip_preflight_check: bool) -> Order:
        self._signer("publish the order")
        if not order.is_signed:
            raise ValidationError(f"the {order.kind}order is not signed", hint="order.publish(order.sign(...))")
        if order.sign == "0x":
            raise ValidationError(
                f"the {order.kind}order is presigned, and the market lists signed orders only",
                hint="give it to whom it is for as JSON: order.to_json()",
            )
        if not skip_preflight_check:
            self._preflight(order)
        return order

    def _shown(self, kind: str, orderHash: Bytes32, deals: bool) -> PublishedOrder | ShownOrder:
        published = self._listed(kind, orderHash)
        if not deals:
            return published
        count, last = self._client.market.last_deals(**{f"{kind}orderHash": orderHash})
        return ShownOrder(published=published, dealsCount=count, lastDeals=tuple(last))

    def _hash_of(self, kind: str, choice: Choice, missing: str) -> Bytes32:
        if isinstance(choice, str):
            return bytes32_of(kind, choice)
        return self.hash(self._picked(kind, True, missing))

    def _target(self, kind: str, choice: Choice, which: str) -> Bytes32 | Address:
        """Return what is unpublished: a hash, or the address whose orders are meant."""
        if which == "orderHash":
            return self._hash_of(kind, choice, _NO_HASH)
        if isinstance(choice, str):
            return address(choice, ORDERS[kind].RESOURCE)
        if kind == "request":
            return self._signer("know the requester").address
        deployed: Address = self._client.files.require_deployed(kind, self._chain.chain_id)
        return deployed

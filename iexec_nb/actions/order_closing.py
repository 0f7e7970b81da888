"""Orders on the chain: presign, which makes one valid by a transaction, and cancel, which ends it."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, overload

from iexec_nb.actions import order_raw as raw
from iexec_nb.actions.order_base import Choice, Given, chosen, gather, only_one_form, outcome
from iexec_nb.actions.order_signing import OrderSigning
from iexec_nb.actions.summary import describe
from iexec_nb.actions.transfers import fee_line
from iexec_nb.commands import command
from iexec_nb.errors import IExecError, OrderConsumedError, ValidationError, Web3ProviderSendError
from iexec_nb.protocol.orders import Order
from iexec_nb.protocol.receipts import Cancelled, Presigned
from iexec_nb.protocol.typed_data import order_hash
from iexec_nb.protocol.types import Address, Bytes32
from iexec_nb.services import abi

_PRESIGN, _CLOSE = 0, 1


class OrderClosing(OrderSigning):
    """The verbs that tell the chain about an order before it is matched."""

    @overload
    def presign(self, order: Given, /, *, skip_preflight_check: bool = ...) -> Presigned: ...
    @overload
    def presign(
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
    @command("order presign $order", spends=True, raw=raw.sent)
    def presign(
        self,
        order: Given | None = None,
        /,
        *,
        app: bool = False,
        dataset: bool = False,
        workerpool: bool = False,
        request: bool = False,
        skip_preflight_check: bool = False,
    ) -> Presigned | dict[str, Any]:
        """Make an order valid by a transaction instead of a signature; anyone may match it then.

        For wallets that are contracts, which cannot sign. The market lists signed orders only: give a presigned one to
        whom it is for as JSON (``order.to_json()``).

        Parameters
        ----------
        order
            An order, or its JSON text. A salt that it has is kept, so that its hash stays.
        app, dataset, workerpool, request
            Instead: the templates of ``iexec.json``. What is presigned is saved in ``orders.json``.
        skip_preflight_check
            Do not ask the secret service whether a run of it could work.

        Returns
        -------
        Presigned
            ``order``, ``orderHash`` and ``txHash``; for templates a dict of them, with the reasons of those that
            failed under ``fail``.

        Raises
        ------
        ValidationError
            When the wallet is not the resource's owner (or the requester), the preflight check fails, or the order is
            presigned already.
        OrderConsumedError
            When it is cancelled or fully consumed.
        ObjectNotFoundError
            When what the order sells is not deployed.

        Source
        ------
        Contract functions ``manageAppOrder``, ``manageDatasetOrder``, ``manageWorkerpoolOrder`` and
        ``manageRequestOrder``, operation 0.
        """
        choices = {"app": app, "dataset": dataset, "workerpool": workerpool, "request": request}
        only_one_form(order, choices)
        skip = skip_preflight_check
        if order is not None:
            given = self._presignable(self._ready(self.read(order), skip_preflight_check=skip))
            fee = self._fee(given, _PRESIGN)
            self._client.approve(f"presign, by a transaction, {describe(given)}{fee_line(fee)}")
            return self._presigned(given, fee)
        templates, failed = self._templates(list(chosen(choices, words=False)), "presign", skip_preflight_check=skip)
        salted = {kind: self._salted(one) for kind, one in templates.items()}
        fees, unpaid = gather(salted, lambda kind: self._fee(salted[kind], _PRESIGN))
        failed = {**failed, **unpaid}
        outcome("presign", fees, failed)
        self._ask_about("presign, by a transaction,", {kind: salted[kind] for kind in fees}, failed, fees)
        done, refused = gather(fees, lambda kind: self._presigned(salted[kind], fees[kind], save=True))
        return outcome("presign", done, {**failed, **refused})

    @overload
    def cancel(self, order: Given, /) -> Cancelled: ...
    @overload
    def cancel(
        self,
        order: None = ...,
        /,
        *,
        app: Choice = ...,
        dataset: Choice = ...,
        workerpool: Choice = ...,
        request: Choice = ...,
    ) -> dict[str, Any]: ...
    @command(
        "order cancel --app",
        spends=True,
        js=("order.cancelApporder", "order.cancelDatasetorder", "order.cancelWorkerpoolorder",
            "order.cancelRequestorder"),
        raw=raw.sent,
    )  # fmt: skip
    def cancel(
        self,
        order: Given | None = None,
        /,
        *,
        app: bool | str = False,
        dataset: bool | str = False,
        workerpool: bool | str = False,
        request: bool | str = False,
    ) -> Cancelled | dict[str, Any]:
        """End an order on the chain, for good: nobody can match it any more; deals that it made go on.

        Parameters
        ----------
        order
            A signed order, or its JSON text.
        app, dataset, workerpool, request
            Instead: the signed order of ``orders.json``, or the hash of an order on the market.

        Returns
        -------
        Cancelled
            ``order``, ``orderHash`` and ``txHash``; for orders that are chosen by kind a dict of them, with the reasons
            of those that failed under ``fail``.

        Raises
        ------
        OrderConsumedError
            When it is cancelled already, or fully consumed.
        ValidationError
            When the wallet is not the resource's owner (or the requester), or there is no such order.

        Source
        ------
        Contract functions ``manageAppOrder``, ``manageDatasetOrder``, ``manageWorkerpoolOrder`` and
        ``manageRequestOrder``, operation 1.
        """
        choices = {"app": app, "dataset": dataset, "workerpool": workerpool, "request": request}
        only_one_form(order, choices)
        if order is not None:
            given = self._cancellable(self.read(order))
            fee = self._fee(given, _CLOSE)
            self._client.approve(f"cancel, for good, {describe(given)}{fee_line(fee)}")
            return self._cancelled(given, fee)
        kinds = chosen(choices)
        self._signer("cancel the orders")
        found, failed = gather(kinds, lambda kind: self._cancellable(self._picked(kind, kinds[kind])))
        fees, unpaid = gather(found, lambda kind: self._fee(found[kind], _CLOSE))
        failed = {**failed, **unpaid}
        outcome("cancel", fees, failed)
        self._ask_about("cancel, for good,", {kind: found[kind] for kind in fees}, failed, fees)
        done, refused = gather(fees, lambda kind: self._cancelled(found[kind], fees[kind]))
        return outcome("cancel", done, {**failed, **refused})

    def cancel_all(self, orders: Sequence[Order]) -> list[Cancelled]:
        """End several orders on the chain with one question for all; a transaction for each, in their order.

        Raises
        ------
        OrderConsumedError, ValidationError
            As `cancel`; nothing was sent then.
        IExecError
            When a transaction fails; it says which orders were cancelled before.
        """
        given = [self._cancellable(one) for one in orders]
        fees = [self._fee(one, _CLOSE) for one in given]
        lines = "".join(f"\n{describe(one)}" for one in given)
        self._client.approve(f"cancel, for good, {len(given)} orders:{lines}{fee_line(sum(fees))}")
        done: list[Cancelled] = []
        for order, fee in zip(given, fees, strict=True):
            try:
                done.append(self._cancelled(order, fee))
            except IExecError as error:
                error.context["cancelled before"] = ", ".join(one.orderHash for one in done) or "none"
                raise
        return done

    def _presignable(self, order: Order) -> Order:
        """Return the order with a salt, which neither the chain nor its owner has done with.

        Raises
        ------
        OrderConsumedError, ValidationError
            When there is nothing to presign any more.
        """
        if order.salt is None:
            return self._salted(order)
        left, presigner = self._standing(order)
        name = f"{order.kind}order"
        if left <= 0:
            raise OrderConsumedError(
                f"{name} already canceled", context={"orderHash": self.hash(order)}, hint="create a new order"
            )
        if presigner == self._owner_of(order):
            raise ValidationError(
                f"{name} already presigned", context={"orderHash": self.hash(order)}, hint="use it as it is"
            )
        return order.signed(order.salt, order.sign or "0x")

    def _cancellable(self, order: Order) -> Order:
        if order.salt is None:
            raise ValidationError(
                f"the {order.kind}order is not signed", hint="there is nothing to cancel: nobody can match it"
            )
        self._check_owner(order, "cancel the order")
        left, _ = self._standing(order)
        if left <= 0:
            raise OrderConsumedError(
                f"{order.kind}order already canceled",
                context={"orderHash": self.hash(order), "tasks left": 0},
                hint="nobody can match it: it was cancelled or is fully consumed",
            )
        return order.signed(order.salt, order.sign or "0x")

    def _standing(self, order: Order) -> tuple[int, Address]:
        """Return how many tasks an order has left, and who presigned it (the null address for nobody)."""
        used, presigner = self._chain.standing(self.hash(order))
        return order.volume - used, presigner

    def _presigned(self, order: Order, max_fee: int, *, save: bool = False) -> Presigned:
        tx_hash = self._manage(order, _PRESIGN, abi.SIGNED_ORDER[order.kind], max_fee)
        if save:
            try:
                self._client.files.save_signed(self._chain.chain_id, {order.kind: order.to_json()})
            except IExecError as error:
                # It is done and paid for; what is returned is the only copy then.
                warnings.warn(f"the presigned {order.kind}order is not in orders.json: {error.message}", stacklevel=4)
        return Presigned(order=order, orderHash=self.hash(order), txHash=tx_hash)

    def _cancelled(self, order: Order, max_fee: int) -> Cancelled:
        tx_hash = self._manage(order, _CLOSE, abi.CLOSED_ORDER[order.kind], max_fee)
        return Cancelled(order=order, orderHash=self.hash(order), txHash=tx_hash)

    def _fee(self, order: Order, operation: int) -> int:
        """Return the most that it costs to tell the chain about an order, in wei; it is simulated on the way."""
        me, chain = self._signer("change the order").address, self._chain
        return chain.quote(me, chain.hub_address, _managing(order, operation)).max_fee

    def _manage(self, order: Order, operation: int, event: abi.Event, max_fee: int) -> Bytes32:
        signer, data = self._signer("change the order"), _managing(order, operation)
        receipt = self._chain.send(signer, self._chain.hub_address, data, max_fee=max_fee)
        found = self._chain.find_event(receipt, event)
        if found is None or order_hash(order, self._chain.domain) not in found.values():
            raise Web3ProviderSendError(f"{event.name} not confirmed", tx_hash=receipt.tx_hash)
        return receipt.tx_hash


def _managing(order: Order, operation: int) -> bytes:
    return abi.MANAGE_ORDER[order.kind].encode((order.to_abi(), operation, b""))

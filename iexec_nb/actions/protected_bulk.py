"""The verbs of bulks: much protected data in one signed request, matched task by task as workerpools have room.

A bulk request is signed once and matched until its volume is used up, by whoever has it. Its deals follow from its
hash, so what became of it is read from the chain, wherever and by whomever it was matched.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from iexec_nb.actions import bulk, preflight
from iexec_nb.actions.base import Amount, Noun, secret_of
from iexec_nb.actions.plan import Offers, Planner
from iexec_nb.actions.protected_handover import Handover, SecretValues
from iexec_nb.actions.protected_making import step
from iexec_nb.actions.protected_processing import finder, pool_of
from iexec_nb.actions.protected_progress import BulkProgress, followed, progress
from iexec_nb.actions.summary import describe
from iexec_nb.actions.watch import seconds
from iexec_nb.actions.wishes import Wishes
from iexec_nb.commands import command
from iexec_nb.errors import OrderConsumedError, OrderMismatchError, ValidationError, Web3ProviderError
from iexec_nb.protocol import foreign
from iexec_nb.protocol.orders import PublishedOrder, RequestOrder
from iexec_nb.protocol.protected_records import BulkRequest, GrantedAccess
from iexec_nb.protocol.typed_data import order_hash
from iexec_nb.protocol.types import NULL_ADDRESS, Address, Secret, address
from iexec_nb.protocol.units import format_rlc, nrlc

if TYPE_CHECKING:
    import pandas as pd

Request = BulkRequest | RequestOrder | PublishedOrder | str
Accesses = Sequence[Any]


class ProtectedBulk(Noun):
    """The verbs of many tasks."""

    @command(
        "protected-data prepare-bulk $orders --app 0x1234567890123456789012345678901234567890",
        spends=True,
        raw=lambda request: {"bulkRequest": request.to_json()},
        js=("dataProtectorCore.prepareBulkRequest",),
    )
    def prepare_bulk(
        self,
        bulk_accesses: Accesses | pd.DataFrame,
        /,
        *,
        app: str,
        max_protected_data_per_task: int | str = bulk.MAX_DATASETS_PER_TASK,
        app_max_price: Amount = 0,
        workerpool_max_price: Amount = 0,
        args: str | None = None,
        input_files: Sequence[str] | None = None,
        secrets: SecretValues | None = None,
        workerpool: str | None = None,
        category: int | str = 0,
        encrypt_result: bool = False,
        pem_private_key: Secret | None = None,
    ) -> BulkRequest:
        """Sign a request that an app processes much protected data, many in one task; nothing is paid yet.

        Parameters
        ----------
        bulk_accesses
            Accesses that allow bulks: what `grant` with ``allow_bulk`` returned, dataset orders, their hashes, or a
            DataFrame of ``granted_access(bulk_only=True)``. They are put on IPFS, where everybody can read them.
        app
            The app's address.
        max_protected_data_per_task
            Protected data in one task, 1 to 100.
        app_max_price, workerpool_max_price
            The most that is paid to each for one task, in nRLC or with a unit; default: nothing.
        args
            What the app is told.
        input_files
            Addresses of files for the app.
        secrets
            Values for the app by number: ``{1: Secret(...)}``.
        workerpool
            Only on this pool; default: any.
        category
            The size of the computation.
        encrypt_result
            Encrypt the results for the wallet, with the key pair of the client's store (made where there is none).
        pem_private_key
            Another private key (PEM) to encrypt for; give it to `process_bulk` or `inspect_bulk` to read results.

        Returns
        -------
        BulkRequest
            For `process_bulk` and `inspect_bulk`; ``request.to_json()`` is what the DataProtector SDK takes.

        Raises
        ------
        ValidationError
            When an argument is malformed, or an access cannot be used in this bulk: all of them are named.
        ObjectNotFoundError
            When the app does not exist.
        IpfsGatewayCallError
            When an upload fails.

        Source
        ------
        ``prepareBulkRequest`` of ``@iexec/dataprotector``.
        """
        where = address(app, "app")
        handover = Handover.read(self._client, secrets, encrypt_result=encrypt_result, pem_private_key=pem_private_key)
        prices = {
            "appmaxprice": nrlc(app_max_price, "appMaxPrice"),
            "workerpoolmaxprice": nrlc(workerpool_max_price, "workerpoolMaxPrice"),
        }
        wishes = Wishes.read(
            where, self._signer("request a bulk").address, args=args, input_files=input_files, workerpool=workerpool,
            category=category,
        )  # fmt: skip
        accesses = _accesses(bulk_accesses)
        self._chain.require_registered("app", where)
        with step("Failed to prepare bulk request"):
            orders = self._client.order
            made = orders.prepare_dataset_bulk(accesses, max_dataset_per_task=max_protected_data_per_task)
            plain: Any = orders.create(
                "request", app=where, workerpool=wishes.workerpool, category=wishes.category, volume=made.volume,
                params={**wishes.params, "bulk_cid": made.cid}, **prices,
            )  # fmt: skip
            return BulkRequest(order=self._signed(plain, handover))

    def _signed(self, plain: RequestOrder, handover: Handover) -> RequestOrder:
        """Ask, hand over what the request needs, and sign it."""
        client = self._client
        order: Any = handover.within(plain)
        if handover.is_empty:
            order = client.order.sign(plain)
            assert isinstance(order, RequestOrder)
            return order
        # What can be checked before the secrets are there is checked before the question.
        preflight.refuse("Request", preflight.request_problems(client, plain) + bulk.problems(client, plain))
        client.approve_secret("secrets for an app")
        client.approve(f"sign {describe(order)}{handover.question}")
        handover.give()
        with client.without_asking():
            order = client.order.sign(order)
        assert isinstance(order, RequestOrder)
        return order

    @command(
        "protected-data process-bulk $request",
        spends=True,
        raw=BulkProgress.to_json,
        js=("dataProtectorCore.processBulkRequest",),
    )
    def process_bulk(
        self,
        bulk_request: Request | Mapping[str, Any],
        /,
        *,
        workerpool: str | None = None,
        wait: bool = False,
        path: str | None = None,
        pem_private_key: Secret | None = None,
        timeout_s: float = 0,
    ) -> BulkProgress:
        """Match a bulk request until all its tasks are deals, and return how far they are.

        It goes on where it was stopped: what was matched before, from here or elsewhere, is not matched again.

        Parameters
        ----------
        bulk_request
            What `prepare_bulk` returned, or its JSON.
        workerpool
            On which pool, where the request allows any; default: the chain's pool for protected data, else any.
        wait
            Wait until all tasks are over, and fetch their results.
        path
            The name of the file in the results that is wanted; default: all of them.
        pem_private_key
            The beneficiary's private key (PEM); default: the one in the client's store.
        timeout_s
            How long to wait for orders of workerpools when there is none at the price; default: not at all.

        Returns
        -------
        BulkProgress
            ``tasks`` (a DataFrame of schema `tables.BULK_TASKS`), ``bulkStatus`` and the numbers of tasks.

        Raises
        ------
        ValidationError
            When it is no bulk request, the key for its results is not here, or its tasks would fail.
        OrderMismatchError
            When no order of the app or a workerpool fits the request; it says how many tasks are matched.
        InsufficientFundsError
            When the requester's stake does not cover the price.

        Source
        ------
        ``processBulkRequest`` of ``@iexec/dataprotector``; contract function ``matchOrders``.
        """
        request = _request(bulk_request)
        limit = seconds(timeout_s) or 0.0
        self._signer("match a bulk")
        key = self._result_key(request, pem_private_key) if wait else None
        with step("Failed to process protected data"):
            self._match_all(request, pool_of(self._client, workerpool), time.monotonic() + limit)
        found = followed(self._client, request, to_the_end=wait)
        return progress(self._client, request, found, path=path, key=key, fetch=wait)

    @command(
        "protected-data inspect-bulk $request --detailed",
        raw=BulkProgress.to_json,
        js=("dataProtectorCore.inspectBulkRequest",),
    )
    def inspect_bulk(
        self,
        bulk_request: Request | Mapping[str, Any],
        /,
        *,
        with_result: bool = False,
        detailed: bool = False,
        path: str | None = None,
        pem_private_key: Secret | None = None,
    ) -> BulkProgress:
        """Return how far the tasks of a bulk request are; nothing is signed or sent.

        Parameters
        ----------
        bulk_request
            What `prepare_bulk` returned, or its JSON.
        with_result
            Fetch the results of completed tasks.
        detailed
            Say which protected data each task processes, as the bulk on IPFS has it.
        path
            The name of the file in the results that is wanted; default: all of them.
        pem_private_key
            The beneficiary's private key (PEM); default: the one in the client's store.

        Returns
        -------
        BulkProgress
            ``bulkStatus`` (``INITIALIZING`` while tasks are not matched, ``IN_PROGRESS``, ``FINISHED``), the numbers
            of tasks, and ``tasks``, a DataFrame of schema `tables.BULK_TASKS`.

        Raises
        ------
        ValidationError
            When it is no bulk request, or the key for its results is not here.

        Source
        ------
        ``inspectBulkRequest`` of ``@iexec/dataprotector``; contract functions ``viewConsumed``, ``viewDeal`` and
        ``viewTask``.
        """
        request = _request(bulk_request)
        if path is not None and not with_result:
            raise ValidationError("path parameter is only allowed when withResult is true", hint="add with_result=True")
        key = self._result_key(request, pem_private_key) if with_result else None
        found = followed(self._client, request, to_the_end=False)
        return progress(self._client, request, found, path=path, key=key, fetch=with_result, detailed=detailed)

    def _result_key(self, request: BulkRequest, given: Secret | None) -> Secret | None:
        if given is not None and not request.is_encrypted:
            raise ValidationError(
                "pemPrivateKey is passed but result encryption is not enabled in bulkRequest this is likely an error "
                "when preparing the bulk request",
                hint="leave it out",
            )
        if given is not None:
            return secret_of(given, "pem_private_key")
        if request.is_encrypted and self._client.store.result_key(request.order.beneficiary) is None:
            raise ValidationError(
                "Missing pemPrivateKey required for result decryption",
                context={"beneficiary": request.order.beneficiary},
                hint="pem_private_key=Secret(open(file).read())",
            )
        return None

    def _match_all(self, request: BulkRequest, pool: Address | None, end: float) -> None:
        """Match until nothing is left of a request, waiting for orders until `end`."""
        order = request.order
        is_asked = False
        try:
            while (left := self._left(order)) > 0:
                offers = self._offers_until(order, pool, left, end)
                if offers is None:
                    continue
                if not is_asked:
                    self._ask(order, offers, left)
                    is_asked = True
                self._match(order, offers, left)
        except (KeyboardInterrupt, Web3ProviderError) as stop:
            stop.add_note("Run it again to go on: the chain takes no task of the request twice.")
            raise

    def _offers_until(self, order: RequestOrder, pool: Address | None, left: int, end: float) -> Offers | None:
        """Return orders that the request allows; None where it was waited for them."""
        try:
            return self._offers(order, pool)
        except OrderMismatchError as error:
            if time.monotonic() >= end:
                error.context["matched"] = f"{order.volume - left} of {order.volume} tasks"
                error.hint = "run it again to go on, or wait for orders: process_bulk(request, timeout_s=600)"
                raise
            time.sleep(min(self._client.poll_s, max(end - time.monotonic(), 0.0)))
            return None

    def _match(self, order: RequestOrder, offers: Offers, left: int) -> None:
        orders = self._client.order
        four = orders.sign_four(offers.app, None, offers.workerpool, order)
        try:
            orders.match_four(four, orders.check_four(four))
        except OrderConsumedError:
            # Somebody else may have matched it meanwhile: then there is nothing wrong.
            if self._left(order) == left:
                raise

    def _left(self, order: RequestOrder) -> int:
        digest = order_hash(order, self._chain.domain)
        return order.volume - self._chain.consumed([digest])[digest]

    def _offers(self, order: RequestOrder, pool: Address | None) -> Offers:
        """Return an app order and a workerpool order that the request allows, for one task or more."""
        wishes = Wishes(
            app=order.app, requester=order.requester, dataset=NULL_ADDRESS,
            workerpool=order.workerpool if order.workerpool != NULL_ADDRESS else pool or NULL_ADDRESS,
            category=order.category, tag=order.tag, trust=order.trust, beneficiary=order.beneficiary,
            callback=order.callback, params=BulkRequest(order=order).params, max_price=None, skip_preflight_check=False,
        )  # fmt: skip
        find = finder({"app": order.appmaxprice, "workerpool": order.workerpoolmaxprice})
        offers = Planner(self._client, wishes, find).choose()
        own = [one.kind for one in (offers.app, offers.workerpool) if not one.is_signed]
        if own and self._signer("match a bulk").address != order.requester:
            raise OrderMismatchError(
                f"No {own[0].capitalize()} order found for the desired price: it is the requester's own",
                hint=f"{order.requester} has to publish an order for it, or to process the bulk",
            )
        return offers

    def _ask(self, order: RequestOrder, offers: Offers, left: int) -> None:
        client = self._client
        problems = preflight.request_problems(client, order)
        problems += bulk.problems(client, order, workerpool=offers.workerpool.workerpool)
        preflight.refuse("Request", problems)
        task = order.appmaxprice + order.workerpoolmaxprice
        now = offers.app.appprice + offers.workerpool.workerpoolprice
        client.approve(
            f"process a bulk: {left} of {order.volume} tasks of app {order.app}\n"
            f"  for at most {format_rlc(task * left)} in all; the first for {format_rlc(now)} a task\n"
            f"  a task: app at most {format_rlc(order.appmaxprice)}, workerpool at most "
            f"{format_rlc(order.workerpoolmaxprice)}\n"
            f"  paid by {order.requester}, result for {order.beneficiary}; a transaction for each deal"
        )


def _request(given: object) -> BulkRequest:
    """Return a bulk request in any form: its record, its order, or their JSON."""
    if isinstance(given, BulkRequest):
        return given
    if isinstance(given, PublishedOrder):
        given = given.order
    if isinstance(given, RequestOrder):
        return BulkRequest(order=given)
    body = given
    if isinstance(given, str):
        try:
            body = foreign.loads(given)
        except ValueError:
            body = None
    if isinstance(body, Mapping):
        return BulkRequest(order=RequestOrder.from_json(body.get("bulkRequest", body)))
    raise ValidationError(
        f"a {type(given).__name__} is not a bulk request", hint="give what prepare_bulk(...) returned, or its JSON"
    )


def _accesses(given: Any) -> Any:
    """Return accesses as dataset orders, for the verb of bulks."""
    if hasattr(given, "columns"):
        empty = not len(given)
    elif isinstance(given, Sequence) and not isinstance(given, str | bytes):
        given = [one.order if isinstance(one, GrantedAccess) else one for one in given]
        empty = not given
    else:
        empty = True
    if empty:
        raise ValidationError(
            "bulkAccesses is required and must not be empty",
            hint="protected_data.granted_access(authorized_app=app, bulk_only=True) finds them",
        )
    return given

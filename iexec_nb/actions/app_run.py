"""Running apps: at once with the cheapest orders, or by a request on the market that others may fill."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from iexec_nb.actions.base import Amount, Tags
from iexec_nb.actions.deal_raw import started
from iexec_nb.actions.entries import published_raw
from iexec_nb.actions.once import Once
from iexec_nb.actions.plan import Plan, Planner
from iexec_nb.actions.quote import AppQuotes
from iexec_nb.actions.request import check_request, request_order
from iexec_nb.actions.run import Run
from iexec_nb.actions.wishes import Wishes
from iexec_nb.commands import command
from iexec_nb.errors import IExecError
from iexec_nb.protocol.types import Bytes32


class AppRuns(AppQuotes):
    """The verbs that run an app."""

    @command(
        'app run 0x0123456789012345678901234567890123456789 --args "hello" --category 0',
        spends=True,
        js=("order.matchOrders",),
        options={"skip-request-check": "skip_preflight_check", "secret": "secrets"},
        raw=started,
    )
    def run(
        self,
        app: str | None = None,
        /,
        *,
        args: str | None = None,
        dataset: str | None = None,
        workerpool: str | None = None,
        category: int | str | None = None,
        tag: Tags = ("tee", "tdx"),
        trust: int | str = 0,
        input_files: Sequence[str] | None = None,
        secrets: Sequence[str] | Mapping[int, str] | None = None,
        encrypt_result: bool = False,
        storage_provider: str | None = None,
        beneficiary: str | None = None,
        callback: str | None = None,
        params: str | Mapping[str, Any] | None = None,
        max_price: Amount | None = None,
        idempotency_key: str | None = None,
        skip_preflight_check: bool = False,
        watch: bool = False,
    ) -> Run:
        """Run an app once: find the cheapest orders that fit, sign a request, match, and return a handle.

        The price is shown and asked for before anything is signed (in the sandbox nothing is asked). Orders of
        resources that the wallet owns are signed on the way, for nothing and for this requester only.

        With `idempotency_key` the cell may be run again, also after its kernel died at any moment: the run is paid
        once, and the same handle comes back. What was signed is kept in the client's store.

        Parameters
        ----------
        app
            The app's address; default: the one in ``deployed.json``.
        args
            Arguments of the app, as on a command line.
        dataset
            Address of a dataset that the app computes on, or ``deployed`` for the one in ``deployed.json``.
        workerpool
            Only this pool, or ``deployed`` for the one in ``deployed.json``; default: the cheapest that fits.
        category
            Size of the computation; default: the smallest for which a pool sells.
        tag
            The hardware that is needed: ``tee,tdx`` is what today's pools offer.
        trust
            How sure replicated results must be, on pools without enclaves.
        input_files
            URLs of public files that the app reads.
        secrets
            Names of requester secrets by number, as a mapping or as ``1=name``.
        encrypt_result
            Encrypt the result for the beneficiary.
        storage_provider
            ``ipfs`` (default) or ``dropbox``.
        beneficiary
            Who may decrypt the result; default: the client's wallet.
        callback
            Contract that receives the result.
        params
            Further params of the request, or all of them as JSON.
        max_price
            The most that one task may cost in all, in nRLC or with a unit.
        idempotency_key
            A name for this run of this wallet, such as ``"prices of May"``; the same name is never paid twice.
        skip_preflight_check
            Do not ask the secret service whether the run could work.
        watch
            Wait until the run is over before the handle is returned.

        Returns
        -------
        Run
            ``run.wait()`` or ``await run``; ``run.result()``; ``run.dealid``.

        Raises
        ------
        ValidationError
            When an argument is malformed, the preflight check fails, or `idempotency_key` was used for a run with other
            arguments.
        OrderMismatchError
            When no order fits; for each that exists, what keeps it out.
        InsufficientFundsError
            When the account's stake does not cover the price.

        Source
        ------
        The CLI's ``iexec app run``; contract function ``matchOrders``.
        """
        wishes = self._wishes(
            app, self._signer("run an app").address, args=args, dataset=dataset, workerpool=workerpool,
            category=category, tag=tag, trust=trust, input_files=input_files, secrets=secrets,
            encrypt_result=encrypt_result, storage_provider=storage_provider, beneficiary=beneficiary,
            callback=callback, params=params, max_price=max_price, skip_preflight_check=skip_preflight_check,
        )  # fmt: skip
        if idempotency_key is None:
            run = Planner(self._client, wishes).plan().execute()
        else:
            run = Once(self._client, wishes, idempotency_key).execute()
        if watch:
            try:
                run.wait()
            except IExecError as error:
                # The deal is paid whatever comes of it: who reads JSON has to learn its id as well.
                error.done = started(run)
                raise
        return run

    def plan(self, app: str | None = None, /, **wishes: Any) -> Plan:
        """Return what `run` with the same arguments would do and cost, without signing or sending anything.

        Returns
        -------
        Plan
            ``cost`` (nRLC), the orders, and ``execute()``.

        Raises
        ------
        ValidationError, OrderMismatchError, InsufficientFundsError
            As `run`.
        """
        return self._planner(app, **wishes).plan()

    def _planner(self, app: str | None, **wishes: Any) -> Planner:
        return Planner(self._client, self._wishes(app, self._signer("run an app").address, **wishes))

    @command(
        'app request-execution 0x0123456789012345678901234567890123456789 --workerpool-price "0.1 RLC" --args "hello"',
        spends=True,
        options={"skip-request-check": "skip_preflight_check", "secret": "secrets"},
        raw=published_raw,
    )
    def request_execution(
        self,
        app: str,
        /,
        *,
        dataset: str | None = None,
        workerpool: str | None = None,
        app_price: Amount = 0,
        dataset_price: Amount = 0,
        workerpool_price: Amount = 0,
        volume: int | str = 1,
        args: str | None = None,
        category: int | str = 0,
        tag: Tags = ("tee", "tdx"),
        trust: int | str = 0,
        input_files: Sequence[str] | None = None,
        secrets: Sequence[str] | Mapping[int, str] | None = None,
        encrypt_result: bool = False,
        storage_provider: str | None = None,
        beneficiary: str | None = None,
        callback: str | None = None,
        params: str | Mapping[str, Any] | None = None,
        skip_preflight_check: bool = False,
    ) -> Bytes32:
        """Ask the market for a computation: sign a request with the most that is paid, publish it, return its hash.

        Nothing is paid before somebody fills the request; then the price comes from the account.

        Parameters
        ----------
        app
            The app's address.
        dataset
            Address of a dataset that the app computes on.
        workerpool
            Only this pool; default: any.
        app_price
            The most that the app may cost for one task, in nRLC or with a unit.
        dataset_price
            The most that the dataset may cost for one task.
        workerpool_price
            The most that the pool may cost for one task.
        volume
            How many tasks.
        args
            Arguments of the app, as on a command line.
        category
            Size of the computation.
        tag
            The hardware that is needed: ``tee,tdx`` is what today's pools offer.
        trust
            How sure replicated results must be, on pools without enclaves.
        input_files
            URLs of public files that the app reads.
        secrets
            Names of requester secrets by number, as a mapping or as ``1=name``.
        encrypt_result
            Encrypt the result for the beneficiary.
        storage_provider
            ``ipfs`` (default) or ``dropbox``.
        beneficiary
            Who may decrypt the result; default: the client's wallet.
        callback
            Contract that receives the result.
        params
            Further params of the request, or all of them as JSON.
        skip_preflight_check
            Do not ask the secret service whether the run could work.

        Returns
        -------
        str
            The request order's hash.

        Raises
        ------
        ValidationError
            When an argument is malformed, or the preflight check fails.
        ObjectNotFoundError
            When the app, dataset or workerpool is not deployed.
        InsufficientFundsError
            When the account's stake does not cover the price.
        MarketCallError
            When the market refuses; its reason is in the message.

        Source
        ------
        The CLI's ``iexec app request-execution``; endpoint ``POST /requestorders`` of the market API.
        """
        wishes = Wishes.read(
            app, self._signer("request an execution").address, args=args, dataset=dataset, workerpool=workerpool,
            category=category, tag=tag, trust=trust, input_files=input_files, secrets=secrets,
            encrypt_result=encrypt_result, storage_provider=storage_provider, beneficiary=beneficiary,
            callback=callback, params=params, skip_preflight_check=skip_preflight_check,
        )  # fmt: skip
        order = request_order(wishes, app_price, dataset_price, workerpool_price, volume)
        check_request(self._client, order)
        return self._client.order.sign_and_publish(order, skip_preflight_check=skip_preflight_check)

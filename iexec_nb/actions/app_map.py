"""Running an app many times: over rows, values, datasets or an index, with a table back, or from any Python program."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from iexec_nb.actions.base import Amount, Tags
from iexec_nb.actions.map_plan import MapPlan
from iexec_nb.actions.map_planner import MapPlanner
from iexec_nb.actions.map_rows import Args, is_alike, read_rows
from iexec_nb.actions.quote import AppQuotes
from iexec_nb.commands import command
from iexec_nb.errors import ValidationError
from iexec_nb.protocol.types import shown, uint256
from iexec_nb.protocol.units import nrlc

if TYPE_CHECKING:
    import pandas as pd

    from iexec_nb.actions.executor import AppExecutor
    from iexec_nb.actions.map_run import MapRun

MAX_WORKERS = 50
"""Tasks that are unfinished at the same time, unless somebody says otherwise."""
_MOST_WORKERS = 100_000


def _map_raw(table: pd.DataFrame) -> dict[str, Any]:
    known = table.drop(columns="result")
    return {"tasks": known.astype(object).where(known.notna(), None).to_dict("records")}


class AppMap(AppQuotes):
    """The verbs that run an app many times."""

    last_map: MapRun | None = None
    """The last map: its table so far, its deals, and how to go on with it after Ctrl-C."""

    @command(
        'app map 0x0123456789012345678901234567890123456789 10 --args "hello" --category 0',
        spends=True,
        options={"skip-request-check": "skip_preflight_check", "secret": "secrets"},
        raw=_map_raw,
    )
    def map(
        self,
        app: str | None = None,
        tasks: Any = None,
        /,
        *,
        args: Args = None,
        dataset: str | None = None,
        datasets: Sequence[str] | pd.Series | str | None = None,
        datasets_per_task: int | str | None = None,
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
        max_workers: int | str = MAX_WORKERS,
        idempotency_key: str | None = None,
        skip_preflight_check: bool = False,
        skip_download: bool = False,
    ) -> pd.DataFrame:
        """Run an app many times and return a table with a row for each task: its parameters, cost and result.

        The cheapest way is taken that is possible: one deal for tasks that are given the same, one bulk for datasets
        whose owners sell them for bulks, else a deal for each task. What it costs in all is shown and asked for once.
        A task that fails is a row that says why. Ctrl-C stops the waiting: ``iexec.app.last_map`` has the table so far
        and goes on.

        Parameters
        ----------
        app
            The app's address; default: the one in ``deployed.json``.
        tasks
            What the tasks differ in: a number (they differ by ``IEXEC_TASK_INDEX``), a list of texts (the arguments of
            each), of values or of mappings, or a DataFrame with a row for each. Columns named as params, such as
            ``iexec_input_files``, are params.
        args
            How the values become arguments: text with names in braces such as ``--alpha {alpha}``, where each value
            stays one word, or a function of a row. Default: ``--name value`` for each column. Where tasks are a number
            or datasets: the arguments of all.
        dataset
            Address of a dataset that all tasks compute on, or ``deployed`` for the one in ``deployed.json``.
        datasets
            The dataset of each task: addresses, or the name of the column that has them. Without `tasks` there is one
            task for each.
        datasets_per_task
            For apps that read bulks (``IEXEC_BULK_SLICE_SIZE``): how many datasets one task may process.
        workerpool
            Only this pool, or ``deployed`` for the one in ``deployed.json``; default: the cheapest that fit.
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
            Encrypt the results for the beneficiary.
        storage_provider
            ``ipfs`` (default) or ``dropbox``.
        beneficiary
            Who may decrypt the results; default: the client's wallet.
        callback
            Contract that receives the results.
        params
            Further params of all requests, or all of them as JSON.
        max_price
            The most that one task may cost in all, in nRLC or with a unit.
        max_workers
            How many tasks may be unfinished at the same time. One deal of more than that is made when no other runs.
        idempotency_key
            A name for this map: the same call under the same name, in this kernel or after it died, pays nothing
            twice; it goes on with what was paid, and pays what was not.
        skip_preflight_check
            Do not ask the secret service whether the tasks could work.
        skip_download
            Do not download the results.

        Returns
        -------
        pandas.DataFrame
            The columns of the params with their index, then ``idx taskid dealid status seconds cost error result``,
            of schema `tables.RUNS`; cost in nRLC.

        Raises
        ------
        ValidationError
            When an argument is malformed, the preflight check fails, or the name was used for something else.
        OrderMismatchError
            When orders do not fit, or sell too few tasks.
        InsufficientFundsError
            When the account's stake does not cover all of it.

        Source
        ------
        Contract function ``matchOrders``.
        """
        plan = self.map_plan(
            app, tasks, args=args, dataset=dataset, datasets=datasets, datasets_per_task=datasets_per_task,
            workerpool=workerpool, category=category, tag=tag, trust=trust, input_files=input_files, secrets=secrets,
            encrypt_result=encrypt_result, storage_provider=storage_provider, beneficiary=beneficiary,
            callback=callback, params=params, max_price=max_price, max_workers=max_workers,
            idempotency_key=idempotency_key, skip_preflight_check=skip_preflight_check,
        )  # fmt: skip
        self.last_map = plan.execute(fetch=not skip_download)
        return self.last_map.wait().table()

    def map_plan(
        self,
        app: str | None = None,
        tasks: Any = None,
        /,
        *,
        args: Args = None,
        datasets: Any = None,
        datasets_per_task: int | str | None = None,
        max_workers: int | str = MAX_WORKERS,
        idempotency_key: str | None = None,
        **wishes: Any,
    ) -> MapPlan:
        """Return what `map` with the same arguments would do and cost, without signing, sending or uploading anything.

        Returns
        -------
        MapPlan
            ``cost`` (nRLC for all that is not paid yet), ``tasks``, ``deals``, the orders in ``lots``, and
            ``execute()``.

        Raises
        ------
        ValidationError, OrderMismatchError, InsufficientFundsError
            As `map`.
        """
        from iexec_nb import tables

        most = workers_of(max_workers)
        # Text is a template where tasks have values to put in, else the arguments of all.
        common = args if isinstance(args, str) and is_alike(tasks) else None
        read = self._wishes(app, self._signer("run an app").address, args=common, **wishes)
        own = None if common is not None else args
        rows = read_rows(tasks, args=own, datasets=datasets, dataset=read.dataset, taken=tables.RUNS.dtypes)
        planner = MapPlanner(self._client, read, rows, key=idempotency_key, per_task=datasets_per_task, most=most)
        return planner.plan()

    def executor(
        self,
        app: str | None = None,
        /,
        *,
        args: Args = None,
        budget: Amount | None = None,
        max_workers: int | str = MAX_WORKERS,
        idempotency_key: str | None = None,
        **wishes: Any,
    ) -> AppExecutor:
        """Return an executor after ``concurrent.futures`` that runs the app: ``submit`` gives a future of a `Result`.

        Parameters
        ----------
        app
            The app's address; default: the one in ``deployed.json``.
        args
            How values become arguments, as for `map`.
        budget
            What all tasks may cost together, in nRLC or with a unit. It is asked for once, and then each task is
            signed without a further question; without it each task is shown and asked for.
        max_workers
            How many tasks may be unfinished at the same time.
        idempotency_key
            A name for this executor: a program that submits the same again, in any order, pays nothing twice.
        wishes
            What all tasks have in common, as for `run`.

        Raises
        ------
        ValidationError
            When an argument is malformed.
        ConfigurationError
            When the person says no to the budget.

        Notes
        -----
        Plain Python::

            with iexec.app.executor(app, args="--alpha {}", budget="1 RLC") as tasks:
                results = list(tasks.map([0.1, 0.2, 0.3]))

        joblib, whose threads wait for the futures::

            def run(alpha):
                return tasks.submit(alpha).result()

            results = Parallel(n_jobs=8, prefer="threads")(delayed(run)(alpha) for alpha in alphas)
        """
        from iexec_nb.actions.executor import AppExecutor

        return AppExecutor(
            self._client,
            self._wishes(app, self._signer("run an app").address, **wishes),
            args=args,
            budget=None if budget is None else nrlc(budget, "budget"),
            most=workers_of(max_workers),
            key=idempotency_key,
        )


def workers_of(given: object) -> int:
    """Return how many tasks may be unfinished at the same time.

    Raises
    ------
    ValidationError
        When it is not a number from 1.
    """
    most = uint256(given, "max_workers")
    if not 1 <= most <= _MOST_WORKERS:
        raise ValidationError(
            f"{shown(given)} is not a valid max_workers", hint=f"give max_workers as 1 to {_MOST_WORKERS}"
        )
    return most

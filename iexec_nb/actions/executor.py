"""An executor after ``concurrent.futures`` whose workers are those of a workerpool.

Plain Python programs, asyncio and joblib know executors. This one turns what it is given into the arguments of one
app, buys a task for it, and gives a future of its result. What was not bought yet can be cancelled; what was paid
goes on.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Executor, Future
from itertools import count
from types import TracebackType
from typing import TYPE_CHECKING, Any

from iexec_nb.actions.dispatch import Dispatch, Job, may_be_paid
from iexec_nb.actions.funds import too_poor
from iexec_nb.actions.harvest import Harvest, Outcome, said
from iexec_nb.actions.journal import Journal
from iexec_nb.actions.map_rows import Args, changes
from iexec_nb.actions.once import Once
from iexec_nb.actions.plan import Offers, Plan, Planner
from iexec_nb.actions.poll import TaskState
from iexec_nb.actions.shelf import Shelf
from iexec_nb.errors import InsufficientFundsError, OrderMismatchError, Web3ProviderCallError
from iexec_nb.protocol import params as request_params
from iexec_nb.protocol.types import NULL_ADDRESS, keccak, shown
from iexec_nb.protocol.units import format_rlc

_SLICE_S = 0.1

if TYPE_CHECKING:
    from iexec_nb.actions.outcome import Result
    from iexec_nb.actions.run import Run
    from iexec_nb.actions.wishes import Wishes
    from iexec_nb.client import IExec


class AppExecutor(Executor):
    """Runs one app for whoever submits; made by ``iexec.app.executor``.

    Parameters
    ----------
    client
        Who pays.
    wishes
        What all tasks have in common.
    args
        How values become arguments.
    budget
        What all tasks may cost together, in nRLC; None to ask for each.
    most
        How many tasks may be unfinished at the same time.
    key
        The name under which tasks are kept in the journal, or None.

    Raises
    ------
    ConfigurationError
        When the person says no to the budget.
    ValidationError
        When the name is malformed.
    """

    def __init__(
        self, client: IExec, wishes: Wishes, *, args: Args, budget: int | None, most: int, key: str | None
    ) -> None:
        self._client, self._wishes, self._args = client, wishes, args
        self._key = None if key is None else Journal(client, key, wishes.requester).key
        self._names: set[str] = set()
        self._budget = budget
        self._spent = 0
        self._count = 0
        self._closed = False
        self._shelf = Shelf(client)
        self._draft: Plan | None = None
        self._dispatch = Dispatch(client, most, on_error=self._give_up)
        self._harvest = Harvest(client)
        self._pending: set[_Task] = set()
        self._planning = threading.Lock()
        self._ended = threading.Condition()
        if budget is not None:
            client.approve(self._question(budget))

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Result]:  # type: ignore[override]
        """Buy a task and return the future of its result.

        Parameters
        ----------
        fn
            The arguments as text, a value or a mapping, as one of the tasks of ``app.map``; or a function that gives
            them: it is called here and now, only what it returns goes to the app.
        args, kwargs
            What the function is called with.

        Returns
        -------
        Future
            Of a `Result`. It can be cancelled as long as the task was not bought. A task that fails raises
            `TaskFailedError` from ``result()``.

        Raises
        ------
        ValidationError
            When the arguments are malformed.
        ConfigurationError
            When the person says no.
        OrderMismatchError, InsufficientFundsError
            When no orders fit, the stake is too low, or the budget is spent.
        RuntimeError
            After `shutdown`.
        """
        params = changes(fn(*args, **kwargs) if callable(fn) else fn, self._args)
        task = self._task(params)
        try:
            if task.run is None and self._budget is None:
                self._client.approve(str(task.plan))
            self._begin(task)
        except BaseException:
            self._give_back(task)
            raise
        self._dispatch.resume()
        return task.future

    def map(  # type: ignore[override]
        self, fn: Any, /, *iterables: Iterable[Any], timeout: float | None = None, chunksize: int = 1
    ) -> Iterator[Result]:
        """Yield the results of many tasks in their order, as ``Executor.map`` does.

        Parameters
        ----------
        fn
            A function that gives the arguments of a task, or an iterable of them.
        iterables
            What the function is called with.
        timeout
            Seconds to wait for the next result.
        chunksize
            As in ``Executor.map``; every task is one here.
        """
        if callable(fn):
            return super().map(fn, *iterables, timeout=timeout, chunksize=chunksize)
        return super().map(_itself, fn, timeout=timeout, chunksize=chunksize)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more tasks.

        Parameters
        ----------
        wait
            Return when all futures are done.
        cancel_futures
            Cancel the tasks that were not bought yet. What was paid goes on.
        """
        with self._ended:
            self._closed = True
            waiting = [task for task in self._pending if cancel_futures and task.future.cancel()]
        for task in waiting:
            task.withdraw()
        with self._ended:
            while wait and self._pending:
                # In slices, because on Windows Ctrl-C ends no wait.
                self._ended.wait(_SLICE_S)
            if not self._pending:
                self._dispatch.hold()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Wait for all tasks; after an error or Ctrl-C buy no more and wait for none."""
        self.shutdown(wait=kind is None, cancel_futures=kind is not None)

    def __repr__(self) -> str:
        left = "" if self._budget is None else f", {format_rlc(self._budget - self._spent)} left"
        return f"AppExecutor({self._wishes.app}, {self._count} submitted, {len(self._pending)} unfinished{left})"

    def _begin(self, task: _Task) -> None:
        with self._ended:
            self._refuse_when_closed()
            self._pending.add(task)
            try:
                if task.run is None:
                    self._dispatch.put(task)
                else:
                    task.future.set_running_or_notify_cancel()
                    self._dispatch.attach(task, task.run)
            except BaseException:
                self._pending.discard(task)
                raise
            self._count += 1

    def _refuse_when_closed(self) -> None:
        if self._closed:
            raise RuntimeError("cannot schedule new futures after shutdown")

    def _task(self, params: Mapping[str, Any]) -> _Task:
        """Return one more task: what was paid under its name before, or a plan that can be paid."""
        with self._planning:
            self._refuse_when_closed()
            wishes = self._wishes.with_params(params)
            name = self._name(wishes)
            if name is not None:
                run = Once(self._client, wishes, name).found()
                if run is not None:
                    self._names.add(name)
                    return _Task(self, None, name, run)
            plan = self._next().with_params(params)
            stake = self._client.chain.account(self._wishes.requester).stake
            if plan.cost.total > stake:
                raise too_poor(plan.cost, stake, self._wishes.requester)
            if self._budget is not None and self._spent + plan.cost.total > self._budget:
                raise InsufficientFundsError(
                    f"the budget of {format_rlc(self._budget)} does not cover another task for "
                    f"{format_rlc(plan.cost.total)}",
                    context={"spent": format_rlc(self._spent)},
                    hint="make another executor, with a budget of its own",
                )
            self._spent += plan.cost.total
            self._shelf.take(_offers(plan), 1)
            if name is not None:
                self._names.add(name)
            return _Task(self, plan, name)

    def _name(self, wishes: Wishes) -> str | None:
        """Return the name of a task: what it is given, and how many like it there are, in whatever order they come."""
        if self._key is None:
            return None
        content = keccak(request_params.dumps(wishes.params).encode()).hex()[:32]
        names = (f"{self._key}/{content}/{number}" for number in count())
        return next(name for name in names if name not in self._names)

    def _next(self) -> Plan:
        """Return a plan for one task: the last orders as long as they have tasks left."""
        if self._draft is None or self._shelf.left(_offers(self._draft)) < 1:
            self._draft = Planner(self._client, self._wishes, self._shelf.find).draft()
            self._draft.check()
        return self._draft

    def _question(self, budget: int) -> str:
        wishes = self._wishes
        rows = [
            f"run app {wishes.app} as often as this program asks, for {format_rlc(budget)} in all",
            f"a task: at most {format_rlc(budget if wishes.max_price is None else wishes.max_price)}",
            "its arguments come from the program, and are not shown before they are signed",
            f"params of all: {shown(text := request_params.dumps(wishes.params), len(text))}",
            f"paid by {wishes.requester}, result for {wishes.beneficiary}",
        ]
        if wishes.dataset != NULL_ADDRESS:
            rows.append(f"dataset: {wishes.dataset}")
        if wishes.callback != NULL_ADDRESS:
            rows.append(f"callback: {wishes.callback}")
        return "\n  ".join(rows)

    # What the threads tell.

    def _give_up(self, error: Exception) -> None:
        """Tell everybody who waits for a paid task that the node is away; the task goes on."""
        for task in list(self._pending):
            if (run := task.run) is not None:
                told = Web3ProviderCallError(
                    f"the task was paid, and how far it is cannot be read: {said(error)}",
                    context={"deal": run.dealid},
                    hint=f"it goes on: iexec.deal.attach({run.dealid!r})",
                )
                told.__cause__ = error
                task.finish(error=told)

    def _forget(self, task: _Task) -> None:
        with self._ended:
            self._pending.discard(task)
            self._ended.notify_all()
            if self._closed and not self._pending:
                self._dispatch.hold()
                self._harvest.close()

    def _give_back(self, task: _Task, error: Exception | None = None) -> None:
        """Have a task that was not bought not be counted; orders that do not match are not taken again.

        Its name is free again, also where nobody knows whether it was paid: who submits the same once more goes on
        with the same request, which is never paid twice.
        """
        unpaid = error is None or not may_be_paid(self._client, error)
        with self._planning:
            if task.name is not None:
                self._names.discard(task.name)
            if task.plan is not None and unpaid:
                self._spent -= task.plan.cost.total
            if isinstance(error, OrderMismatchError):
                self._shelf.forget()
                self._draft = None


class _Task(Job):
    """One task: a future, and the deal that it is bought in."""

    tasks = 1

    def __init__(self, executor: AppExecutor, plan: Plan | None, name: str | None, run: Run | None = None) -> None:
        self._executor = executor
        self.name = name
        self.plan = plan
        self.run = run
        if plan is not None:
            self.pool, self.room = plan.workerpoolorder.workerpool, executor._shelf.room(_offers(plan))
        self.future: Future[Result] = Future()

    def start(self, made: Callable[[Run], None]) -> None:
        if not self.future.set_running_or_notify_cancel():
            self._drop()
            return
        assert self.plan is not None
        made(self.plan.execute(approved=True, idempotency_key=self.name))

    def withdraw(self) -> None:
        """Have a cancelled task not be bought; where its turn has come already, `start` sees that it is cancelled."""
        if self._executor._dispatch.withdraw(self):
            self.future.set_running_or_notify_cancel()
            self._drop()

    def _drop(self) -> None:
        self._executor._give_back(self)
        self._executor._forget(self)

    def started(self, run: Run) -> None:
        self.run = run

    def refused(self, error: Exception) -> None:
        self._executor._give_back(self, error)
        self.finish(error=error)

    def changed(self, state: TaskState) -> None:
        if state.over:
            self._executor._harvest.add(state).add_done_callback(self._harvested)

    def finish(self, result: Result | None = None, error: BaseException | None = None) -> None:
        """Say what came out, once."""
        if not self.future.done():
            if error is not None:
                self.future.set_exception(error)
            else:
                self.future.set_result(result)  # type: ignore[arg-type]
        self._executor._forget(self)

    def _harvested(self, found: Future[Outcome]) -> None:
        try:
            outcome = found.result()
        except BaseException as error:  # it is for whoever waits for the future
            self.finish(error=error)
        else:
            self.finish(outcome.result, outcome.error)


def _itself(given: Any) -> Any:
    return given


def _offers(plan: Plan) -> Offers:
    return Offers(plan.apporder, plan.datasetorder, plan.workerpoolorder)

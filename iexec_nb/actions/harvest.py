"""What became of many tasks, as one table: a row for each, with its parameters, cost, result, or what went wrong.

Results are downloaded side by side, and while other tasks still run. A task that failed, or whose result cannot be
had, is a row that says so: it never hides the others.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from iexec_nb.actions.poll import TaskState
from iexec_nb.actions.watch import failure, update_of
from iexec_nb.errors import IExecError, TaskFailedError, Web3ProviderError
from iexec_nb.protocol.execution import TaskStatus
from iexec_nb.protocol.types import shown
from iexec_nb.services import abi
from iexec_nb.services.history import block_at, block_times, event_of, task_events
from iexec_nb.services.receipts import Log

if TYPE_CHECKING:
    import pandas as pd

    from iexec_nb.actions.outcome import Result
    from iexec_nb.client import IExec

THREADS = 8
"""Downloads at the same time."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a task that is over gave: its result, or the error that says why there is none."""

    result: Result | None = None
    error: Exception | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskRow:
    """One task in a table of results; the names are those of `tables.RUNS`."""

    idx: int | None = None
    taskid: str | None = None
    dealid: str | None = None
    status: str
    seconds: int | None = None
    cost: int | None = None
    error: str | None = None
    result: Result | None = None


class Harvest:
    """Learns what became of tasks that are over: downloads results, asks why others failed.

    Parameters
    ----------
    client
        Where to look.
    fetch
        Whether results are downloaded.
    """

    def __init__(self, client: IExec, *, fetch: bool = True) -> None:
        self._client = client
        self._fetch = fetch
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="iexec-harvest")
        self._found: dict[str, Future[Outcome]] = {}
        self._ends: dict[str, datetime] = {}
        self._lock = threading.Lock()

    def add(self, state: TaskState) -> Future[Outcome]:
        """Begin to learn what became of a task that is over, once, and return where that will stand."""
        with self._lock:
            if state.task.taskid not in self._found:
                self._found[state.task.taskid] = self._threads.submit(self._learn, state)
            return self._found[state.task.taskid]

    def ends(self, states: Iterable[TaskState]) -> dict[str, datetime]:
        """Return when completed tasks got their result, as the chain has it; begins to learn what became of all.

        A node that shows no old events leaves them out.
        """
        over = [state for state in states if state.over]
        for state in over:
            self.add(state)
        completed = [state for state in over if state.task.status is TaskStatus.COMPLETED]
        unknown = [state for state in completed if state.task.taskid not in self._ends]
        # How long it took is good to know, and no reason to withhold results.
        with suppress(Web3ProviderError):
            self._ends.update(_ends(self._client, unknown))
        return self._ends

    def row(self, state: TaskState, end: datetime | None) -> TaskRow:
        """Return the row of a task that ended at `end`, waiting for its result where it is over."""
        task, deal = state.task, state.deal
        outcome = self.add(state).result() if state.over else Outcome()
        return TaskRow(
            idx=task.idx,
            taskid=task.taskid,
            dealid=deal.dealid,
            status=state.phase,
            seconds=None if end is None else int((end - deal.startTime).total_seconds()),
            cost=0 if task.status is TaskStatus.FAILED else deal.price_per_task,
            error=None if outcome.error is None else said(outcome.error),
            result=outcome.result,
        )

    def close(self, *, cancel: bool = False) -> None:
        """Let the threads end: after all that was asked for, or after what they have begun."""
        self._threads.shutdown(wait=False, cancel_futures=cancel)

    def _learn(self, state: TaskState) -> Outcome:
        try:
            if state.failed:
                return Outcome(error=failure(self._client, update_of(state.deal, [state])))
            return Outcome(result=self._client.result.of_task(state.task, state.deal)) if self._fetch else Outcome()
        except Exception as error:  # a full disk is one row's matter, too: it must not hide the others
            return Outcome(error=error)


def harvest(
    client: IExec,
    states: Sequence[TaskState],
    params: Sequence[Mapping[str, Any]] | pd.DataFrame | None = None,
    fetch: bool = True,
) -> pd.DataFrame:
    """Return what became of tasks: a row for each, of schema `tables.RUNS` behind the columns of its params.

    Parameters
    ----------
    client
        Where to look.
    states
        How far the tasks are; those that are not over have no result yet.
    params
        The parameters of each task, in the same order.
    fetch
        Whether results are downloaded.
    """
    work = Harvest(client, fetch=fetch)
    try:
        ends = work.ends(states)
        return table(client, [work.row(state, ends.get(state.task.taskid)) for state in states], params)
    finally:
        work.close(cancel=True)


def table(
    client: IExec, rows: Iterable[TaskRow], params: Sequence[Mapping[str, Any]] | pd.DataFrame | None = None
) -> pd.DataFrame:
    """Return rows as a table of schema `tables.RUNS`, behind the columns of their params and with their index."""
    import pandas as pd

    from iexec_nb import tables

    attrs = {"chain": client.network.name, "chain_id": client.chain.chain_id, "source": "viewTask"}
    found = tables.frame(tables.RUNS, rows, attrs=attrs)
    if params is None:
        return found
    given = params if isinstance(params, pd.DataFrame) else pd.DataFrame(list(params), index=found.index)
    found.index = given.index
    joined = pd.concat([given, found], axis=1)
    joined.attrs = found.attrs
    return joined


def _ends(client: IExec, states: Sequence[TaskState]) -> dict[str, datetime]:
    """Return the times (UTC) of the blocks in which tasks were finalized."""
    if not states:
        return {}
    wanted = {state.task.taskid for state in states}
    first = block_at(client.chain, min(state.deal.startTime for state in states))

    def finalized(logs: Iterable[Log]) -> dict[str, int]:
        return {log.topics[1]: log.block_number for log in logs if event_of(log) is abi.TASK_FINALIZE}

    logs, _ = task_events(
        client.chain, list(wanted), first, client.chain.block_number(), lambda seen: wanted <= finalized(seen).keys()
    )
    blocks = finalized(logs)
    times = block_times(client.chain, blocks.values())
    return {taskid: times[block] for taskid, block in blocks.items()}


def said(error: Exception) -> str:
    """Return an error as the text of one cell."""
    if not isinstance(error, IExecError):
        return f"{type(error).__name__}: {shown(str(error), 200)}"
    code = error.exit_code if isinstance(error, TaskFailedError) else None
    return error.message if code is None else f"{error.message} (exit code {code})"

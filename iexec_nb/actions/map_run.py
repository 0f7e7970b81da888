"""A map that was paid for: it makes the deals, follows all tasks by one poll, and has a row for each of them.

It outlives the waiting: after Ctrl-C, or when the node is away, the table so far is there and the waiting can go on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from iexec_nb.actions import watch
from iexec_nb.actions.dispatch import Dispatch, Job, may_be_paid
from iexec_nb.actions.harvest import Harvest, TaskRow, said, table
from iexec_nb.actions.map_plan import Lot, MapPlan
from iexec_nb.actions.poll import TaskState

if TYPE_CHECKING:
    import pandas as pd

    from iexec_nb.actions.run import Run
    from iexec_nb.client import IExec

AGAIN = "iexec.app.last_map.wait()"
_SETTLE_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class MapUpdate:
    """How far a map is, each time something changed.

    Attributes
    ----------
    phase
        ``running``, ``completed``, or ``failed`` where it is over and a task has no result.
    message
        One line for people.
    tasksCount, completedTasksCount, failedTasksCount, runningTasksCount
        How many tasks there are, are completed, never will be, and are on their way.
    done, failed
        Whether nothing more is to be expected, and whether a task has no result then.
    """

    phase: str
    message: str
    tasksCount: int
    completedTasksCount: int
    failedTasksCount: int
    runningTasksCount: int
    done: bool
    failed: bool

    def __repr__(self) -> str:
        return f"MapUpdate({self.phase}: {self.message})"


class MapRun:
    """The deals and tasks of one map.

    Parameters
    ----------
    plan
        What was shown and approved.
    fetch
        Whether results are downloaded.
    """

    def __init__(self, plan: MapPlan, *, fetch: bool = True) -> None:
        self.plan = plan
        self._client = plan.client
        self._runs: list[Run] = []
        self._states: dict[int, TaskState] = {}
        self._errors: list[tuple[Lot, Exception]] = []
        self._completed: set[int] = set()
        self._failed: set[int] = set()
        self._harvest = Harvest(plan.client, fetch=fetch)
        self._dispatch = Dispatch(plan.client, plan.most)
        for lot in plan.lots:
            job = _LotJob(self, lot)
            if lot.run is None:
                self._dispatch.put(job)
            else:
                self._dispatch.attach(job, lot.run)

    @property
    def client(self) -> IExec:
        """Who pays."""
        return self._client

    @property
    def runs(self) -> tuple[Run, ...]:
        """The deals that were made, each as a handle."""
        return tuple(self._runs)

    @property
    def done(self) -> bool:
        """Whether every task is over."""
        return self._dispatch.done

    def wait(self) -> MapRun:
        """Make the deals that are left, wait until all tasks are over, and return the same object.

        Ctrl-C stops the waiting, and that further deals are made; what was paid goes on.

        Raises
        ------
        Web3ProviderCallError
            When the node is away for good.
        """
        updates = self.watch()
        try:
            # To the end and no break: what shows the updates has to see that they ended.
            for _ in updates if watch.on_update is None else watch.on_update(updates, AGAIN):
                pass
        except BaseException as stop:
            self._dispatch.hold(_SETTLE_S)
            stop.add_note(self._stopped())
            raise
        return self

    def watch(self) -> Iterator[MapUpdate]:
        """Yield an update at once and after each change, until all tasks are over; deals are made on the way."""
        self._dispatch.resume()
        version = 0
        while not (update := self.update()).done:
            yield update
            version = self._dispatch.wait(version)
        self._dispatch.hold()
        self._harvest.close()
        yield update

    def update(self) -> MapUpdate:
        """Return how far it is."""
        done, total, completed = self.done, self.plan.tasks, len(self._completed)
        failed = total - completed if done else len(self._failed)
        running = 0 if done else self._dispatch.running
        words = [f"{completed} of {total} completed"]
        words += [f"{number} {word}" for number, word in ((failed, "failed"), (running, "running")) if number]
        return MapUpdate(
            phase="failed" if done and failed else "completed" if done else "running",
            message=", ".join(words),
            tasksCount=total,
            completedTasksCount=completed,
            failedTasksCount=failed,
            runningTasksCount=running,
            done=done,
            failed=done and failed > 0,
        )

    def table(self) -> pd.DataFrame:
        """Return a row for each task as it is now, in the order of the params; of schema `tables.RUNS`.

        Results of completed tasks are in it; that they are downloaded is waited for. No deal is made.
        """
        if not self.done:
            self._dispatch.glance()
        ends = self._harvest.ends(self._states.values())
        # In one question for each, however many tasks it is about; the worst news is for all of them.
        errors = sorted(
            ((lot, said(error), may_be_paid(self._client, error)) for lot, error in self._errors),
            key=lambda one: not one[2],
        )
        lost = {row: one for lot, *one in reversed(errors) for row in lot.rows or range(self.plan.tasks)}
        rows = [self._row(row, ends, *lost.get(row, (None, False))) for row in range(self.plan.tasks)]
        return table(self._client, rows, self.plan.rows.table)

    def _row(self, row: int, ends: Mapping[str, datetime], error: str | None, unknown: bool) -> TaskRow:
        if row in self._states:
            state = self._states[row]
            return self._harvest.row(state, ends.get(state.task.taskid))
        if not self.done and row not in self._failed:
            return TaskRow(status="waiting", cost=0)
        if unknown:
            # No number is claimed of what is not known.
            return TaskRow(status="unknown", error=error)
        return TaskRow(status="not started", cost=0, error=error or "the orders sold fewer tasks than was planned")

    def _stopped(self) -> str:
        deals, making = len(self._runs), self._dispatch.matching
        more = f"nothing more but {_deals(making)} that may be on the way is paid" if making else "nothing more is paid"
        return (
            f"The waiting stopped: {_deals(deals)} made, what was paid goes on, {more}. "
            f"The table so far: iexec.app.last_map.table(). To go on: {AGAIN}"
        )

    def _began(self, lot: Lot, run: Run) -> None:
        self._runs.append(run)

    def _place(self, lot: Lot, state: TaskState) -> None:
        """Keep the state of a task at its row."""
        row = lot.rows[state.task.idx] if lot.rows else state.task.idx
        self._states[row] = state
        if state.over:
            self._failed.discard(row)
            (self._failed if state.failed else self._completed).add(row)
            self._harvest.add(state)

    def _refused(self, lot: Lot, error: Exception) -> None:
        self._errors.append((lot, error))
        if lot.tasks == len(lot.rows):
            # No other deal of its request can have them.
            self._failed.update(lot.rows)

    def __repr__(self) -> str:
        return f"MapRun({self.update().message}, {_deals(len(self._runs))})"


def _deals(number: int) -> str:
    return f"{number} deal{'' if number == 1 else 's'}"


class _LotJob(Job):
    """One deal of a map."""

    def __init__(self, whole: MapRun, lot: Lot) -> None:
        self._whole = whole
        self._lot = lot
        self.tasks = lot.tasks
        self.pool, self.room, self.queue = lot.pool, lot.room, lot.portions

    def start(self, made: Callable[[Run], None]) -> None:
        self._lot.buy(made)

    def started(self, run: Run) -> None:
        self._whole._began(self._lot, run)

    def refused(self, error: Exception) -> None:
        self._whole._refused(self._lot, error)

    def changed(self, state: TaskState) -> None:
        self._whole._place(self._lot, state)

"""Asking about the unfinished tasks of any number of deals, in at most two requests a tick.

One request goes to the node and one to a scheduler, however many tasks there are: 1,000 tasks of a map cost what one
task costs. What is over is not asked again. Everything that waits (`watch`, a run, a map of many runs) waits by this.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from heapq import nsmallest
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from iexec_nb.actions.offchain import FAILED_OFFCHAIN, exit_code_of, scheduler, status_of
from iexec_nb.errors import ApiCallError, Web3ProviderCallError
from iexec_nb.protocol.execution import Deal, Task, TaskStatus
from iexec_nb.protocol.types import Bytes32
from iexec_nb.services.answers import MAX_BATCH
from iexec_nb.services.task_reads import Happened, TasksSeen, read_tasks

if TYPE_CHECKING:
    from iexec_nb.client import IExec
    from iexec_nb.services.workerpool import WorkerpoolApi

FIRST_PAUSE_S = 0.02
MAX_VIEWS = 100
"""Unfinished tasks that are viewed in each tick; of more, those that moved and those not viewed for longest."""
_ASK_ALL = 3
_SLICE_S = 0.1
_PATIENCE = 3
_LONGEST_SILENCE = 64
_GROWTH = 1.5
_RUNNING = ("RUNNING", "CONSENSUS", "RESULT", "FINALIZ")


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskState:
    """How far one task is.

    Attributes
    ----------
    deal
        Its deal.
    task
        The task as the chain had it, one that is not initialized yet included.
    offchain
        The scheduler's word for it, or nothing; it is a claim, not a fact of the chain.
    now
        Time of the block (UTC) in which this state was first seen.
    exit_code
        What the app exited with, where the scheduler says it.
    """

    deal: Deal
    task: Task
    offchain: str = ""
    now: datetime
    exit_code: int | None = None

    @property
    def phase(self) -> str:
        """``matched``, ``initialized``, ``running``, ``revealing``, ``completed``, ``failed`` or ``timeout``."""
        if self.task.status is TaskStatus.COMPLETED:
            return "completed"
        if self.task.status is TaskStatus.FAILED or self.offchain in FAILED_OFFCHAIN:
            return "failed"
        if self.task.timed_out(self.now):
            return "timeout"
        if self.task.status is TaskStatus.REVEALING:
            return "revealing"
        if self.offchain.startswith(_RUNNING):
            return "running"
        return "initialized" if self.task.status is TaskStatus.ACTIVE else "matched"

    @property
    def over(self) -> bool:
        """Whether nothing more is to be expected: completed, failed or timed out."""
        return self.phase in ("completed", "failed", "timeout")

    @property
    def failed(self) -> bool:
        """Whether it is over without a result."""
        return self.phase in ("failed", "timeout")


@dataclass(slots=True)
class _Watched:
    """A task that somebody waits for, and when (in ticks) it was last viewed and last asked about."""

    deal: Deal
    taskid: Bytes32
    idx: int
    viewed: int = 0
    asked: int = 0


@dataclass(slots=True)
class _Scheduler:
    """A workerpool's scheduler; one that does not answer is left alone for a growing number of ticks."""

    api: WorkerpoolApi | None = None
    failures: int = 0
    silent_until: int = 0

    def fail(self, tick: int) -> None:
        """Note that it did not answer."""
        self.silent_until = tick + min(2**self.failures, _LONGEST_SILENCE)
        self.failures += 1


class Poll:
    """The state of tasks of any number of deals, read again with each `tick`. Threads may share one.

    Parameters
    ----------
    client
        Where to look.
    """

    def __init__(self, client: IExec) -> None:
        self._client = client
        self._ticking = threading.Lock()
        self._adding = threading.Lock()
        self._wake = threading.Event()
        self._known: dict[Bytes32, None] = {}
        self._new: list[_Watched] = []
        self._open: dict[Bytes32, _Watched] = {}
        self._moved: set[Bytes32] = set()
        self._said: dict[Bytes32, dict[str, Any]] = {}
        self._states: Mapping[Bytes32, TaskState] = MappingProxyType({})
        self._schedulers: dict[str, _Scheduler] = {}
        self._blocks: list[int] = []
        self._heard: frozenset[Happened] = frozenset()
        self._refusals = 0
        self._ticks = 0
        self._failures = 0
        self._pause_s = 0.0

    @property
    def states(self) -> Mapping[Bytes32, TaskState]:
        """The last known state of each task by its id, in the order in which they were added; a snapshot."""
        return self._states

    @property
    def taskids(self) -> tuple[Bytes32, ...]:
        """The ids of all tasks that were added, in that order."""
        with self._adding:
            return tuple(self._known)

    @property
    def done(self) -> bool:
        """Whether every task that was added is over."""
        with self._adding:
            return not self._new and not self._open

    def add(self, deal: Deal, taskids: Sequence[str] | None = None) -> None:
        """Wait for tasks of a deal too; those that are known already are left as they are.

        Parameters
        ----------
        deal
            The deal.
        taskids
            Only these tasks of it; default: all.

        Raises
        ------
        ObjectNotFoundError
            When a task is not of this deal.
        """
        indexes = deal.indexes(taskids, self._client.network.chain_id)
        with self._adding:
            for taskid in indexes:
                if taskid not in self._known:
                    self._known[taskid] = None
                    self._new.append(_Watched(deal, taskid, indexes[taskid]))
        self._wake.set()

    def tick(self) -> list[TaskState]:
        """Read once and return the states that changed since the last tick; those of new tasks are among them.

        At most one request goes to the node and one to a scheduler. Tasks that were added since the last tick are all
        read in this one, a thousand with each request. Where three tasks or fewer were added in all, the schedulers are
        asked about each of them, and where they are in the same tick.

        Raises
        ------
        Web3ProviderCallError
            When the node did not answer in the first tick, or three times in a row.
        """
        with self._ticking:
            self._wake.clear()
            with self._adding:
                self._open.update({one.taskid: one for one in self._new})
                self._new = []
            self._ticks += 1
            chosen = self._chosen()
            # What is not viewed now has to be heard of.
            since = min(self._blocks) if len(chosen) < len(self._open) and self._refusals < _PATIENCE else None
            try:
                seen = read_tasks(self._client.chain, chosen, since=since)
            except Web3ProviderCallError:
                # A node that is away for a moment does not end a map of many hours.
                self._failures += 1
                if self._failures >= _PATIENCE or not self._blocks:
                    raise
                return []
            self._failures = 0
            # First what may take long, so that Ctrl-C meets a tick that is done as a whole or not at all.
            answers = {**self._said, **self._ask(seen)}
            self._hear(seen, since)
            return self._take(seen, answers)

    def pause(self, end: float = math.inf, over: threading.Event | None = None) -> bool:
        """Sleep until the next tick is due: 20 ms after a change, then half as long again each time.

        The longest pause is the client's ``poll_s``. Tasks that are added end it.

        Parameters
        ----------
        end
            When to stop, on the clock of ``time.monotonic``.
        over
            Set when nobody wants to know any more.

        Returns
        -------
        bool
            False when it is time to stop.
        """
        left = end - time.monotonic()
        if left <= 0 or (over is not None and over.is_set()):
            return False
        self._pause_s = min(max(self._pause_s * _GROWTH, FIRST_PAUSE_S), self._client.poll_s)
        due = time.monotonic() + min(self._pause_s, left)
        # In slices: no wait of Python ends by one of two events, and on Windows Ctrl-C ends none.
        while (rest := due - time.monotonic()) > 0 and not self._wake.is_set():
            if over is None:
                self._wake.wait(min(rest, _SLICE_S))
            elif over.wait(min(rest, _SLICE_S)):
                return False
        return True

    def _chosen(self) -> list[Bytes32]:
        """Return which tasks are viewed in this tick: new ones, those that moved, and those not viewed for longest."""
        new = [taskid for taskid, one in self._open.items() if not one.viewed]
        moved = [taskid for taskid in self._open if taskid in self._moved and self._open[taskid].viewed]
        # A place for the block and one for the logs: what fits into one request is one request.
        chosen = [*new, *moved[: max(MAX_BATCH - 2 - len(new), 0)]]
        if (room := MAX_VIEWS - len(chosen)) > 0:
            others = self._open.keys() - set(chosen)
            chosen += nsmallest(room, others, key=lambda taskid: (self._open[taskid].viewed, taskid))
        return chosen

    def _hear(self, seen: TasksSeen, since: int | None) -> None:
        """Note which tasks moved since the last tick; they are viewed in the next one."""
        for taskid in seen.tasks:
            self._open[taskid].viewed = self._ticks
        self._moved.difference_update(seen.tasks)
        # Two ticks back and not one: what a node behind the others did not tell yet is asked again.
        self._blocks = [*self._blocks[-1:], seen.block.number]
        if since is None:
            missed = set(self._open) - seen.tasks.keys()
        elif seen.events is None:
            self._refusals += 1
            self._blocks = self._blocks[-1:]
            missed = set(self._open)
        else:
            self._refusals = 0
            missed = {taskid for taskid, _, _ in seen.events - self._heard} & self._open.keys()
            self._heard = seen.events
        self._moved.update(missed)

    def _ask(self, seen: TasksSeen) -> dict[Bytes32, dict[str, Any]]:
        """Return what schedulers say about unfinished tasks: about one of them, or about all where few were added."""
        if len(seen.tasks) >= MAX_BATCH:
            return {}
        tasks = {taskid: self._task(one, seen) for taskid, one in self._open.items()}
        waiting = [
            one
            for taskid, one in self._open.items()
            if not tasks[taskid].ended(seen.block.time) and self._scheduler(one).silent_until <= self._ticks
        ]
        few = len(self._known) <= _ASK_ALL
        # What the chain has not heard of yet its scheduler has hardly begun.
        chosen = nsmallest(
            len(waiting) if few else 1,
            waiting,
            key=lambda one: (tasks[one.taskid].status is TaskStatus.UNSET, one.asked),
        )
        answers = {one.taskid: self._answer(one, few) for one in chosen}
        return {taskid: answer for taskid, answer in answers.items() if answer is not None}

    def _answer(self, one: _Watched, few: bool) -> dict[str, Any] | None:
        known = self._scheduler(one)
        try:
            if known.api is None:
                known.api = scheduler(self._client, one.deal.workerpool.pointer)
                if known.api is None:
                    known.fail(self._ticks)
                if known.api is None or not few:
                    # The question where the scheduler is was this tick's request.
                    return None
            one.asked = self._ticks
            answer = known.api.task(one.taskid)
        except ApiCallError:
            # What the scheduler says is a help, not a need: the chain decides.
            known.fail(self._ticks)
            return None
        known.failures = 0
        return answer

    def _scheduler(self, one: _Watched) -> _Scheduler:
        return self._schedulers.setdefault(one.deal.workerpool.pointer, _Scheduler())

    def _task(self, one: _Watched, seen: TasksSeen) -> Task:
        """Return a task as it was viewed in this tick, else as it was known before."""
        if one.taskid not in seen.tasks:
            return self._states[one.taskid].task
        return seen.tasks[one.taskid] or Task.unset(one.deal, one.idx)

    def _take(self, seen: TasksSeen, answers: dict[Bytes32, dict[str, Any]]) -> list[TaskState]:
        """Keep what was read and return what of it is new."""
        changed = {}
        for taskid, one in self._open.items():
            before, answer = self._states.get(taskid), answers.get(taskid)
            state = TaskState(
                deal=one.deal,
                task=self._task(one, seen),
                offchain=status_of(answer) or (before.offchain if before else ""),
                now=seen.block.time,
                exit_code=exit_code_of(answer) if answer else before.exit_code if before else None,
            )
            if before is not None and state.failed and taskid not in seen.tasks:
                # It may have been completed in the last second: the chain is asked before it is given up.
                self._moved.add(taskid)
                if answer is not None:
                    self._said[taskid] = answer
            elif before is None or state.phase != before.phase or replace(state, now=before.now) != before:
                changed[taskid] = state
        with self._adding:
            self._states = MappingProxyType({**self._states, **changed})
            for taskid in [taskid for taskid, state in changed.items() if state.over]:
                del self._open[taskid]
                self._said.pop(taskid, None)
        self._moved &= self._open.keys()
        if changed or self._moved:
            self._pause_s = 0.0
        return list(changed.values())

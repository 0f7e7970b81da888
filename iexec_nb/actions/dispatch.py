"""Making deals and following them, at most so many unfinished tasks at once, with one poll for all of them.

Threads do it: a few make deals, because each waits for its transaction, and one asks the chain about all tasks. Whoever
waits only waits, so that Ctrl-C stops the waiting and never tears a step apart: no deal is made whose job does
not learn of it.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections import Counter, deque
from collections.abc import Callable
from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING

from iexec_nb.actions.poll import Poll, TaskState
from iexec_nb.actions.run import Run, run_of
from iexec_nb.errors import IExecError, OrderMismatchError, Web3ProviderError, Web3ProviderSendError
from iexec_nb.protocol import matching
from iexec_nb.protocol.receipts import Matched
from iexec_nb.protocol.types import shown
from iexec_nb.services import abi

if TYPE_CHECKING:
    from iexec_nb.client import IExec

UNLIMITED = 2**62
"""More tasks than anybody will ever ask for."""
MATCHERS = 4
"""Deals that are made at the same time."""
_SLICE_S = 0.1
_AHEAD = 100
"""Deals that are looked at for one whose pool has room."""


class Job(ABC):
    """One deal that is to be made. Its methods are called by the threads of a `Dispatch`.

    Attributes
    ----------
    tasks
        How many tasks it is going to have.
    pool, room
        Its workerpool, and for how many unfinished tasks that could stake when the deal was planned.
    queue
        What it has in common with others that are made one after the other, in the order in which they were put; None
        where it waits for no other.
    """

    tasks: int
    pool: str = ""
    room: int = UNLIMITED
    queue: object | None = None

    @abstractmethod
    def start(self, made: Callable[[Run], None]) -> None:
        """Make the deal, unless nobody wants it any more, and tell of it, and of each other that was found with it."""

    @abstractmethod
    def started(self, run: Run) -> None:
        """Learn that a deal was made."""

    @abstractmethod
    def refused(self, error: Exception) -> None:
        """Learn that it was not, or not wholly, or that nobody can tell."""

    @abstractmethod
    def changed(self, state: TaskState) -> None:
        """Learn how far one of its tasks is."""


class Dispatch:
    """Makes deals and follows their tasks, between `resume` and `hold`.

    Parameters
    ----------
    client
        Who pays.
    most
        How many tasks may be unfinished at the same time. A deal of more than that is made when nothing else runs.
    on_error
        Told that the node is away; then it is asked again. Without it the following ends, and `wait` raises.
    """

    def __init__(self, client: IExec, most: int, *, on_error: Callable[[Exception], None] | None = None) -> None:
        self._client = client
        self._poll = Poll(client)
        self._on_error = on_error
        self._most = most
        self._news = threading.Condition()
        self._version = 0
        self._error: Exception | None = None
        self._waiting: deque[Job] = deque()
        # With how many tasks each is still counted.
        self._matching: dict[Job, int] = {}
        self._jobs: dict[str, Job] = {}
        self._told: dict[str, TaskState] = {}
        self._unfinished = 0
        self._in_pool: Counter[str] = Counter()
        self._crowded = False
        self._telling = threading.Lock()
        self._held = threading.Event()
        self._held.set()

    def put(self, job: Job) -> None:
        """Make a deal when its turn comes."""
        with self._news:
            self._waiting.append(job)
            self._news.notify_all()

    def attach(self, job: Job, run: Run) -> None:
        """Follow a deal that was made before."""
        self._enter(job, run)

    def withdraw(self, job: Job) -> bool:
        """Return whether a deal's turn had not come; then it is not made any more."""
        with self._news:
            if job not in self._waiting:
                return False
            self._waiting.remove(job)
            self._changed()
            return True

    def resume(self) -> None:
        """Make deals and follow them, in threads; where that is done already nothing happens."""
        with self._news:
            self._error = None
            if not self._held.is_set():
                return
            # Threads that were told to stop may not have heard of it: each generation has an event of its own.
            self._held = held = threading.Event()
        work = [self._follow, *[self._work] * MATCHERS]
        for number, one in enumerate(work):
            # Daemons: a program that ends does not wait for tasks that go on without it.
            threading.Thread(target=one, args=(held,), name=f"iexec-dispatch-{number}", daemon=True).start()

    def hold(self, timeout_s: float = 0.0) -> None:
        """Make no further deal and ask no more; wait for the deals that are being made, as long as that at most."""
        with self._news:
            self._held.set()
            self._news.notify_all()
            self._news.wait_for(lambda: not self._matching, timeout_s)

    @property
    def running(self) -> int:
        """How many tasks are unfinished, those whose deal is being made included."""
        with self._news:
            return self._running()

    @property
    def matching(self) -> int:
        """How many deals are being made at this moment."""
        with self._news:
            return len(self._matching)

    @property
    def done(self) -> bool:
        """Whether nothing is to be made or followed any more."""
        with self._news:
            return self._done()

    def wait(self, version: int) -> int:
        """Wait until something changed since a version, which is 0 at first, or all is done; return the new version.

        Raises
        ------
        Exception
            What ended the following; it goes on with `resume`.
        """
        with self._news:
            # In slices, because on Windows Ctrl-C ends no wait.
            while self._version == version and self._error is None and not self._done():
                self._news.wait(_SLICE_S)
            if self._error is not None:
                raise self._error
            return self._version

    def glance(self) -> None:
        """Read once how far all tasks are, as far as the node says it, while nobody follows them."""

        def look() -> None:
            with suppress(Web3ProviderError):
                self._look()

        # Not in the thread of who asks: Ctrl-C must not come between what is read and what is told.
        thread = threading.Thread(target=look, name="iexec-dispatch-glance", daemon=True)
        thread.start()
        while thread.is_alive():
            thread.join(_SLICE_S)

    def _look(self) -> None:
        """Read once how far all tasks are, and tell the jobs."""
        self._poll.tick()
        with self._telling:
            # All states and not those of this tick: nothing is lost where a tick's answer was.
            for taskid, state in self._poll.states.items():
                if self._told.get(taskid) is not state:
                    self._tell(taskid, state)

    def _tell(self, taskid: str, state: TaskState) -> None:
        job = self._jobs[state.deal.dealid]
        before = self._told.get(taskid)
        job.changed(state)
        self._told[taskid] = state
        with self._news:
            if state.over and not (before is not None and before.over):
                self._unfinished -= 1
                self._in_pool[state.deal.workerpool.pointer] -= 1
                self._crowded = False
            self._changed()

    def _changed(self) -> None:
        self._version += 1
        self._news.notify_all()

    def _running(self) -> int:
        return self._unfinished + sum(self._matching.values())

    def _done(self) -> bool:
        return not self._waiting and not self._matching and not self._unfinished

    # The threads.

    def _follow(self, held: threading.Event) -> None:
        while not held.is_set():
            try:
                self._look()
            except Exception as error:  # a thread that ends tells nobody, and everybody would wait for ever
                self._tell_error(error, held)
            with self._news:
                while self._poll.done and not held.is_set():
                    self._news.wait()
            self._poll.pause(over=held)

    def _tell_error(self, error: Exception, held: threading.Event) -> None:
        if self._on_error is not None:
            self._on_error(error)
            return
        with self._news:
            held.set()
            self._error = error
            self._changed()

    def _work(self, held: threading.Event) -> None:
        while (job := self._take(held)) is not None:
            error: Exception | None = None
            runs: list[Run] = []
            try:
                self._make(job, runs.append)
            except Exception as problem:  # it is the job's, not the thread's
                error = problem
            for run in runs:
                try:
                    self._enter(job, run)
                except Exception as problem:  # as above, and what is paid must not be called unpaid
                    error = _not_followed(run, problem)
            if error is None:
                self._leave(job)
            else:
                self._refuse(job, error)

    def _make(self, job: Job, made: Callable[[Run], None]) -> None:
        try:
            job.start(made)
        except Web3ProviderSendError as error:
            # A transaction that was not confirmed in time may be there by now: then it is paid.
            run = None
            with suppress(IExecError):
                run = _matched(self._client, error)
            if run is None:
                raise
            made(run)

    def _take(self, held: threading.Event) -> Job | None:
        """Return a deal that is to be made now; None when nothing more is to be done."""
        with self._news:
            while not held.is_set():
                if (job := self._next()) is not None:
                    self._waiting.remove(job)
                    self._matching[job] = job.tasks
                    self._in_pool[job.pool] += job.tasks
                    self._changed()
                    return job
                self._news.wait()
            return None

    def _next(self) -> Job | None:
        if self._crowded:
            return None
        running = self._running()
        queues = {job.queue for job in self._matching}
        for job in islice(self._waiting, _AHEAD):
            if job.queue is not None and job.queue in queues:
                continue
            if running and running + job.tasks > self._most:
                return None
            inside = self._in_pool[job.pool]
            # Two deals at once may both be simulated well, and one of them be refused when it is paid for.
            if not inside or inside + job.tasks <= job.room:
                return job
            queues.add(job.queue)
        return None

    def _enter(self, job: Job, run: Run) -> None:
        """Follow a deal; the tasks of its job count no more as being bought."""
        with self._news:
            if run.dealid in self._jobs:
                return
            self._jobs[run.dealid] = job
            try:
                self._poll.add(run.deal)
            except BaseException:
                del self._jobs[run.dealid]
                raise
            job.started(run)
            self._unfinished += run.deal.botSize
            self._in_pool[run.deal.workerpool.pointer] += run.deal.botSize
            if job in self._matching:
                self._in_pool[job.pool] -= self._matching[job]
                self._matching[job] = 0
            self._changed()

    def _leave(self, job: Job) -> None:
        with self._news:
            self._in_pool[job.pool] -= self._matching.pop(job)
            self._changed()

    def _refuse(self, job: Job, error: Exception) -> None:
        with self._news:
            if _is_crowded(error) and self._unfinished:
                # A pool stakes for each unfinished task, and gets that back when one is over.
                self._crowded = True
                self._waiting.appendleft(job)
                self._leave(job)
                return
        # Before it is left: who sees that all is done sees what became of it.
        job.refused(error)
        self._leave(job)


def may_be_paid(client: IExec, error: Exception) -> bool:
    """Return whether a deal that was not seen may be there or come all the same, because a transaction was sent."""
    if not isinstance(error, Web3ProviderSendError):
        return False
    if "deal" in error.context:
        return True
    if error.tx_hash is None:
        return False
    with suppress(IExecError):
        receipt = client.chain.receipt(error.tx_hash)
        return receipt is None or receipt.status == 1
    return True


def _matched(client: IExec, error: Web3ProviderSendError) -> Run | None:
    """Return the deal of a transaction that an error is about, where it is on the chain."""
    receipt = None if error.tx_hash is None else client.chain.receipt(error.tx_hash)
    if (
        receipt is None
        or receipt.status != 1
        or (event := client.chain.find_event(receipt, abi.ORDERS_MATCHED)) is None
    ):
        return None
    # What it cost is read from the deal.
    return run_of(client, Matched(dealid=event["dealid"], volume=event["volume"], total=0, txHash=receipt.tx_hash))


def _not_followed(run: Run, error: Exception) -> Web3ProviderSendError:
    """Return what is said of a deal that is paid, and whose tasks cannot be followed."""
    reason = error.message if isinstance(error, IExecError) else f"{type(error).__name__}: {shown(str(error), 200)}"
    return Web3ProviderSendError(
        f"the deal {run.dealid} was paid, and its tasks cannot be followed: {reason}",
        tx_hash=run.txHash,
        context={"deal": run.dealid},
        hint=f"iexec.deal.show({run.dealid!r})",
    )


def _is_crowded(error: Exception) -> bool:
    return (
        isinstance(error, OrderMismatchError)
        and bool(error.reasons)
        and all(getattr(reason, "code", None) == matching.WORKERPOOL_STAKE for reason in error.reasons)
    )

"""What the sandbox's scheduler knows about each run, kept beside the chain.

The chain says nothing about a run that failed: the task stays active until its deadline. The scheduler does, so its
record is where a client learns within a second that an app crashed, with its exit code and what it printed.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from iexec_nb.protocol.types import Address, Bytes32

TASK_FINAL_STATUSES = ("COMPLETED", "FAILED")


def utc_now() -> datetime:
    """Return the time as an aware UTC datetime."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class StatusChange:
    """A status, when it was reached, and why where something failed."""

    status: str
    date: datetime
    cause: str | None = None


@dataclass(slots=True)
class Replicate:
    """One worker's attempt at a task."""

    worker: Address
    history: list[StatusChange] = field(default_factory=list)
    exit_code: int | None = None
    stdout: str = ""
    stderr: str = ""


@dataclass(slots=True)
class TaskRecord:
    """A task as the scheduler sees it; `max_execution_s` is in seconds, deadlines are UTC."""

    taskid: Bytes32
    dealid: Bytes32
    requester: Address
    workerpool: Address
    tag: Bytes32
    trust: int
    app_type: str
    app_name: str
    command_line: str
    max_execution_s: float
    contribution_deadline: datetime | None = None
    final_deadline: datetime | None = None
    initialization_block: int = 0
    result_link: str | None = None
    callback_data: str | None = None
    uploader: Address | None = None
    history: list[StatusChange] = field(default_factory=list)
    replicates: dict[Address, Replicate] = field(default_factory=dict)

    @property
    def status(self) -> str:
        """The latest status."""
        return self.history[-1].status if self.history else "RECEIVED"


class RunRecords:
    """Thread-safe records of tasks: the worker writes, the scheduler API reads.

    Parameters
    ----------
    clock
        The time that status changes carry.
    """

    def __init__(self, clock: Callable[[], datetime] = utc_now) -> None:
        self._clock = clock
        self._changed = threading.Condition()
        self._tasks: dict[Bytes32, TaskRecord] = {}

    def add(self, record: TaskRecord) -> None:
        """Keep the record of a task; one that is known is left as it is."""
        with self._changed:
            self._tasks.setdefault(record.taskid, record)

    def get(self, taskid: Bytes32) -> TaskRecord | None:
        """Return the record of a task, or None; it may still change."""
        with self._changed:
            return self._tasks.get(taskid)

    def task_status(self, taskid: Bytes32, *statuses: str) -> None:
        """Add statuses to a task's history."""
        with self._changed:
            record = self._tasks[taskid]
            record.history += [StatusChange(status, self._clock()) for status in statuses]
            self._changed.notify_all()

    def replicate_status(self, taskid: Bytes32, worker: Address, *statuses: str, cause: str | None = None) -> None:
        """Add statuses to the history of one worker's attempt; `cause` is that of the last one."""
        with self._changed:
            replicate = self._replicate(taskid, worker)
            changes = [StatusChange(status, self._clock()) for status in statuses]
            if changes and cause is not None:
                changes[-1] = StatusChange(changes[-1].status, changes[-1].date, cause)
            replicate.history += changes
            self._changed.notify_all()

    def output(self, taskid: Bytes32, worker: Address, *, exit_code: int | None, stdout: str, stderr: str) -> None:
        """Keep how one worker's app ended and what it printed."""
        with self._changed:
            replicate = self._replicate(taskid, worker)
            replicate.exit_code, replicate.stdout, replicate.stderr = exit_code, stdout, stderr

    def wait(self, taskid: Bytes32, statuses: Sequence[str] = TASK_FINAL_STATUSES, timeout_s: float = 30.0) -> bool:
        """Wait until the task has one of the statuses; return False when the time (seconds) is up."""

        def reached() -> bool:
            record = self._tasks.get(taskid)
            return record is not None and record.status in statuses

        with self._changed:
            return self._changed.wait_for(reached, timeout_s)

    def _replicate(self, taskid: Bytes32, worker: Address) -> Replicate:
        return self._tasks[taskid].replicates.setdefault(worker, Replicate(worker))

"""What is told about a task besides the chain: the scheduler's history of it, and what its app printed.

It comes from somebody who is paid for the task and nobody checks it, so each part is read by itself and what is not of
the expected kind is left out. Source: the scheduler's ``TaskModel`` and ``ComputeLogs``, as the JavaScript SDK shows
them (``task.fetchOffchainInfo``, ``task.fetchLogs``).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from iexec_nb.protocol.execution import Task
from iexec_nb.protocol.types import Bytes32, shown

_MAX_ROWS = 10_000
_MAX_WORD = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusChange:
    """One step of a task or of a worker: the new status, when (UTC; None where it is not told), and why."""

    status: str
    date: datetime | None = None
    cause: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OffchainTask:
    """What the scheduler says of a task: where it is now, and how it came there."""

    status: str
    statusHistory: tuple[StatusChange, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Replicate:
    """What the scheduler says of one worker's part; `exitCode` is that of the app, where it ran."""

    worker: str
    status: str
    exitCode: int | None = None
    statusHistory: tuple[StatusChange, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class OffchainInfo:
    """What the scheduler says of a task and of each worker's part in it."""

    task: OffchainTask
    replicates: tuple[Replicate, ...] = ()

    @classmethod
    def from_json(cls, body: dict[str, Any]) -> OffchainInfo:
        """Read the scheduler's ``TaskModel``; what is malformed in it is left out."""
        return cls(
            task=OffchainTask(status=_word(body, "currentStatus"), statusHistory=_history(body, "dateStatusList")),
            replicates=tuple(
                Replicate(
                    worker=_word(one, "walletAddress"),
                    status=_word(one, "currentStatus"),
                    exitCode=exit_code(one),
                    statusHistory=_history(one, "statusUpdateList"),
                )
                for one in _rows(body, "replicates")
            ),
        )

    @property
    def exitCode(self) -> int | None:
        """The exit code of the first worker's app that has one."""
        return next((one.exitCode for one in self.replicates if one.exitCode is not None), None)

    def __repr__(self) -> str:
        code = "" if self.exitCode is None else f", exit code {self.exitCode}"
        return f"OffchainInfo({self.task.status or 'no status'}, {len(self.replicates)} replicates{code})"


@dataclass(frozen=True, slots=True, kw_only=True)
class AppLog:
    """What the app printed on one worker."""

    worker: str
    stdout: str
    stderr: str

    def __repr__(self) -> str:
        return f"AppLog({self.worker}, {len(self.stdout)} characters of stdout, {len(self.stderr)} of stderr)"


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskLogs:
    """What the app of a task printed on every worker; a sequence of `AppLog`."""

    taskid: Bytes32
    replicates: tuple[AppLog, ...] = ()

    @property
    def stdout(self) -> str:
        """What it printed on standard output, worker after worker."""
        return "\n".join(one.stdout for one in self.replicates)

    @property
    def stderr(self) -> str:
        """What it printed on standard error, worker after worker."""
        return "\n".join(one.stderr for one in self.replicates)

    def __len__(self) -> int:
        return len(self.replicates)

    def __iter__(self) -> Iterator[AppLog]:
        return iter(self.replicates)

    def __getitem__(self, index: int) -> AppLog:
        return self.replicates[index]

    def __repr__(self) -> str:
        return f"TaskLogs({self.taskid}, {len(self)} replicates)"


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskDebug:
    """All that there is to know about a task: the chain's view, the scheduler's, and what the app printed.

    Attributes
    ----------
    onchainData
        The task on the chain.
    offchainData
        What the scheduler says; None where it does not.
    appLogs
        What the app printed; None where that was not asked, or not told.
    warnings
        Why something is missing.
    """

    onchainData: Task
    offchainData: OffchainInfo | None = None
    appLogs: TaskLogs | None = None
    warnings: tuple[str, ...] = ()

    def __repr__(self) -> str:
        said = self.offchainData.task.status if self.offchainData is not None else "nothing"
        return f"TaskDebug({self.onchainData.taskid}, {self.onchainData.status.name}, the scheduler says {said})"


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskDownload:
    """A task and the file that its result was written to; without one `note` says why."""

    task: Task
    resultPath: Path | None = None
    note: str | None = None

    def __repr__(self) -> str:
        return f"TaskDownload({self.task.taskid}, {self.resultPath.name if self.resultPath else self.note})"


def exit_code(replicate: dict[str, Any]) -> int | None:
    """Return the exit code in a scheduler's ``ReplicateModel`` (``appExitCode``); None where it is not one."""
    code = replicate.get("appExitCode")
    return code if type(code) is int and abs(code) < 2**31 else None


def moment(value: object) -> datetime | None:
    """Return a scheduler's date (ISO 8601 text, or milliseconds since 1970) in UTC; None where it is not one."""
    try:
        if type(value) in (int, float):
            return datetime.fromtimestamp(value / 1000, UTC)  # type: ignore[operator]
        if not isinstance(value, str) or len(value) > _MAX_WORD:
            return None
        read = datetime.fromisoformat(value)
        return read.replace(tzinfo=UTC) if read.tzinfo is None else read.astimezone(UTC)
    except (ValueError, OverflowError, OSError):
        return None


def _history(body: dict[str, Any], name: str) -> tuple[StatusChange, ...]:
    return tuple(
        StatusChange(status=_word(row, "status"), date=moment(row.get("date")), cause=_word(row, "cause") or None)
        for row in _rows(body, name)
    )


def _rows(body: dict[str, Any], name: str) -> list[dict[str, Any]]:
    rows = body.get(name)
    return [row for row in rows[:_MAX_ROWS] if isinstance(row, dict)] if isinstance(rows, list) else []


def _word(body: dict[str, Any], name: str) -> str:
    value = body.get(name)
    return shown(value, _MAX_WORD) if isinstance(value, str) else ""

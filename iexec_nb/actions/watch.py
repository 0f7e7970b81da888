"""Following deals to their end: the chain is asked in one batch a tick, the scheduler where it can be found.

The chain alone does not say that an app crashed: the task stays active until its deadline. The scheduler does say it,
so both are read and a failed run is known within a tick. Ctrl-C stops the waiting, not the paid task.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from iexec_nb.actions.updates import Update
from iexec_nb.errors import (
    ApiCallError,
    IExecError,
    TaskFailedError,
    TaskTimeoutError,
    ValidationError,
    Web3ProviderError,
)
from iexec_nb.protocol.execution import Deal, Task, TaskStatus
from iexec_nb.protocol.types import shown

if TYPE_CHECKING:
    from iexec_nb.client import IExec
    from iexec_nb.services.workerpool import WorkerpoolApi

on_update: Callable[[Iterator[Update], str], Iterator[Update]] | None = None
"""What shows people that something is waited for, and what to type to wait again: the notebook extension's progress."""

_FIRST_TICK_S = 0.02
_FAILED_OFFCHAIN = frozenset(
    {"FAILED", "RUNNING_FAILED", "INITIALIZE_FAILED", "CONTRIBUTION_TIMEOUT", "FINALIZE_FAILED"}
)


def watch(
    client: IExec,
    deal: Deal,
    taskids: Sequence[str] | None = None,
    *,
    timeout_s: float | None = None,
    over: threading.Event | None = None,
) -> Iterator[Update]:
    """Yield an update at once and after each change, until every task is completed, failed or timed out.

    Parameters
    ----------
    client
        Where to look.
    deal
        The deal.
    taskids
        Only these tasks of it; default: all.
    timeout_s
        End after this many seconds, also where nothing changes; default: never.
    over
        Set when nobody wants to know any more.
    """
    end = math.inf if timeout_s is None else time.monotonic() + timeout_s
    watched = tuple(taskids or deal.taskids)
    api = scheduler(client, deal.workerpool.pointer)
    last: tuple[object, ...] | None = None
    tick = _FIRST_TICK_S
    while True:
        tasks, now = _read(client, deal, watched)
        offchain = _offchain(api, tasks, now)
        state = (tuple((task.status, task.timed_out(now)) for task in tasks), offchain)
        if state != last:
            last, tick = state, _FIRST_TICK_S
            update = _update(deal, tasks, offchain, now)
            yield update
            if update.done:
                return
        left = end - time.monotonic()
        if left <= 0:
            return
        if over is None:
            time.sleep(min(tick, left))
        elif over.wait(min(tick, left)):
            return
        tick = min(tick * 1.5, client.poll_s)


def wait(updates: Iterator[Update], client: IExec, timeout_s: float | None, again: str) -> Update:
    """Return the last update; the errors say what became of the task.

    Parameters
    ----------
    updates
        What `watch` yields, ended after `timeout_s`.
    client
        Where an app's output is asked for.
    timeout_s
        The limit of `updates`, in seconds.
    again
        What to type to wait again.

    Raises
    ------
    TaskFailedError
        When the app failed, with what it printed.
    TaskTimeoutError
        When a task passed its final deadline, or `timeout_s` its limit.
    """
    update = None
    try:
        # To the end and no break: what shows the updates has to see that they ended.
        for one in updates if on_update is None else on_update(updates, again):
            update = one
    except (KeyboardInterrupt, Web3ProviderError) as stop:
        stop.add_note(stopped_note(again))
        raise
    if update is None or not update.done:
        raise TaskTimeoutError(f"not finished after {timeout_s} s; the task goes on", hint=f"go on waiting: {again}")
    if update.failed:
        raise failure(client, update)
    return update


def stopped_note(again: str) -> str:
    """Return what is said to somebody who stopped the waiting; `again` is what to type to wait again."""
    return f"The waiting stopped, the paid task goes on. To wait again: {again}"


def seconds(timeout_s: object) -> float | None:
    """Return a limit of waiting in seconds, None for no limit.

    Raises
    ------
    ValidationError
        When it is not a number from 0.
    """
    if timeout_s is None or (type(timeout_s) in (int, float) and timeout_s >= 0):  # type: ignore[operator]
        return timeout_s  # type: ignore[return-value]
    raise ValidationError(f"{shown(timeout_s)} is not a valid timeout_s", hint="give timeout_s as seconds, such as 60")


def failure(client: IExec, update: Update) -> IExecError:
    """Return the error for a deal that did not end well, with the app's own output where the scheduler gives it."""
    words = dict(update.offchain)
    broken = next((t for t in update.tasks if words.get(t.taskid) in _FAILED_OFFCHAIN), None)
    if broken is None:
        late = [task.taskid for task in update.tasks if task.status != TaskStatus.COMPLETED]
        return TaskTimeoutError(
            f"{len(late)} of {len(update.tasks)} tasks passed the deadline without a result",
            context={"task": late[0] if late else "", "deal": update.deal.dealid},
            hint=f"take the money back: iexec.deal.claim({update.deal.dealid!r})",
        )
    stdout, stderr, exit_code = _output(client, update.deal, broken)
    return TaskFailedError(
        f"the app failed: {_last_line(stderr) or words[broken.taskid]}",
        stdout=stdout,
        stderr=stderr,
        exit_code=exit_code,
        context={
            "task": broken.taskid, "exit code": exit_code, "scheduler says": words[broken.taskid],
            "stdout": _tail(stdout), "stderr": _tail(stderr),
        },
        hint="what it printed is in error.stdout and error.stderr; "
        f"after {update.deal.finalTime:%Y-%m-%d %H:%M} UTC the "
        f"money can be claimed back: iexec.deal.claim({update.deal.dealid!r})",
    )  # fmt: skip


def scheduler(client: IExec, workerpool: str) -> WorkerpoolApi | None:
    """Return the API of a workerpool's scheduler, or None where compass does not know it or does not answer."""
    try:
        url = client.compass.api_url(workerpool) if client.compass else None
        return client.workerpool_api(url) if url else None
    except ApiCallError:
        return None


def _read(client: IExec, deal: Deal, taskids: Sequence[str]) -> tuple[tuple[Task, ...], datetime]:
    return tuple(client.chain.deal_tasks(deal, taskids)), client.chain.now()


def _offchain(api: WorkerpoolApi | None, tasks: Sequence[Task], now: datetime) -> tuple[tuple[str, str], ...]:
    if api is None:
        return ()
    words = []
    for task in tasks:
        if task.status in (TaskStatus.COMPLETED, TaskStatus.FAILED):
            continue
        try:
            answer = api.task(task.taskid)
        except ApiCallError:
            # What the scheduler says is a help, not a need: the chain decides.
            continue
        if answer is not None:
            words.append((task.taskid, shown(answer.get("currentStatus"), 40)))
    return tuple(words)


def _update(deal: Deal, tasks: tuple[Task, ...], offchain: tuple[tuple[str, str], ...], now: datetime) -> Update:
    words = dict(offchain)
    completed = sum(task.status == TaskStatus.COMPLETED for task in tasks)
    crashed = sum(words.get(task.taskid) in _FAILED_OFFCHAIN for task in tasks)
    late = sum(task.timed_out(now) for task in tasks)
    over = completed + len({t.taskid for t in tasks if t.timed_out(now) or words.get(t.taskid) in _FAILED_OFFCHAIN})
    done = over == len(tasks)
    phase = _phase(tasks, words, completed, crashed, late)
    parts = [f"{completed} of {len(tasks)} completed", *sorted({word.lower() for word in words.values()} - {phase})]
    return Update(
        phase=phase, message=", ".join(parts), deal=deal, tasks=tasks, offchain=offchain, done=done,
        failed=done and completed < len(tasks),
    )  # fmt: skip


def _phase(tasks: Sequence[Task], words: dict[str, str], completed: int, crashed: int, late: int) -> str:
    if completed == len(tasks):
        return "completed"
    if crashed:
        return "failed"
    if late:
        return "timeout"
    if any(task.status == TaskStatus.REVEALING for task in tasks):
        return "revealing"
    if any(word.startswith(("RUNNING", "CONSENSUS", "RESULT", "FINALIZ")) for word in words.values()):
        return "running"
    return "initialized" if any(task.status == TaskStatus.ACTIVE for task in tasks) else "matched"


def _output(client: IExec, deal: Deal, task: Task) -> tuple[str, str, int | None]:
    api = scheduler(client, deal.workerpool.pointer)
    if api is None:
        return "", "", None
    exit_code = None
    try:
        replicates = (api.task(task.taskid) or {}).get("replicates") or [{}]
        code = replicates[0].get("appExitCode")
        exit_code = code if type(code) is int else None
        if client.signer is None or client.signer.address != deal.requester:
            return "", "", exit_code
        logs = api.logs(task.taskid, client.signer, client.chain.chain_id)
    except (ApiCallError, AttributeError, IndexError, TypeError):
        return "", "", exit_code
    return _joined(logs, "stdout"), _joined(logs, "stderr"), exit_code


def _joined(logs: Sequence[object], name: str) -> str:
    return "\n".join(str(log.get(name) or "") for log in logs if isinstance(log, dict))


def _tail(text: str, lines: int = 8) -> str:
    rows = text.rstrip().splitlines()[-lines:]
    return "".join(f"\n    {shown(row, 200)}" for row in rows) or "(empty)"


def _last_line(text: str) -> str:
    rows = text.strip().splitlines()
    return shown(rows[-1], 200) if rows else ""

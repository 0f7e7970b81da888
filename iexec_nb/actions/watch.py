"""Following deals to their end: an update each time something changed, and an error that says what went wrong.

The chain alone does not say that an app crashed: the task stays active until its deadline. The scheduler does say it,
so `Poll` reads both and a failed run is known soon. Ctrl-C stops the waiting, not the paid task.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from iexec_nb.actions.offchain import FAILED_OFFCHAIN, output
from iexec_nb.actions.poll import Poll, TaskState
from iexec_nb.actions.updates import Update
from iexec_nb.errors import IExecError, TaskFailedError, TaskTimeoutError, ValidationError, Web3ProviderError
from iexec_nb.protocol.execution import Deal, TaskStatus
from iexec_nb.protocol.types import shown

if TYPE_CHECKING:
    from iexec_nb.client import IExec

on_update: Callable[[Iterator[Any], str], Iterator[Any]] | None = None
"""What shows people that something is waited for, and what to type to wait again: the notebook extension's progress."""

_PHASES = ("failed", "timeout", "revealing", "running", "initialized")


def watch(
    client: IExec,
    deal: Deal,
    taskids: Sequence[str] | None = None,
    *,
    timeout_s: float | None = None,
    over: threading.Event | None = None,
    poll: Poll | None = None,
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
    poll
        A new one, for who wants to see the states that it leaves.
    """
    end = math.inf if timeout_s is None else time.monotonic() + timeout_s
    poll = Poll(client) if poll is None else poll
    poll.add(deal, taskids)
    one_task = taskids is not None and len(poll.taskids) == 1
    while True:
        if poll.tick():
            yield update_of(deal, tuple(poll.states.values()), one_task=one_task)
        if poll.done or not poll.pause(end, over):
            return


def update_of(deal: Deal, states: Sequence[TaskState], *, one_task: bool = False) -> Update:
    """Return what the states of tasks of one deal say together.

    Parameters
    ----------
    deal
        The deal.
    states
        How far each of its tasks is.
    one_task
        Whether one task is watched and not its deal: then the events are those of a task.
    """
    completed = sum(state.task.status is TaskStatus.COMPLETED for state in states)
    late = sum(state.task.timed_out(state.now) for state in states)
    done = all(state.over for state in states)
    phases = {state.phase for state in states}
    whole = "completed" if completed == len(states) else next((one for one in _PHASES if one in phases), "matched")
    unfinished = [state for state in states if state.task.status < TaskStatus.COMPLETED]
    words = {state.offchain.lower() for state in unfinished if state.offchain} - {whole}
    return Update(
        phase=whole,
        message=", ".join([f"{completed} of {len(states)} completed", *sorted(words)]),
        deal=deal,
        tasks=tuple(state.task for state in states),
        event=_task_event(states[0]) if one_task else _deal_event(completed, late, len(states)),
        completedTasksCount=completed,
        failedTasksCount=sum(state.failed for state in states),
        offchain=tuple((state.task.taskid, state.offchain) for state in unfinished if state.offchain),
        done=done,
        failed=done and completed < len(states),
    )


def _deal_event(completed: int, late: int, count: int) -> str:
    if completed == count:
        return "DEAL_COMPLETED"
    return "DEAL_TIMEDOUT" if completed + late == count else "DEAL_UPDATED"


def _task_event(state: TaskState) -> str:
    if state.task.status in (TaskStatus.COMPLETED, TaskStatus.FAILED):
        return f"TASK_{state.task.status.name}"
    return "TASK_TIMEDOUT" if state.task.timed_out(state.now) else "TASK_UPDATED"


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
    update = last_of(updates, again)
    if not update.done:
        raise TaskTimeoutError(f"not finished after {timeout_s} s; the task goes on", hint=f"go on waiting: {again}")
    if update.failed:
        raise failure(client, update)
    return update


def last_of(updates: Iterator[Update], again: str) -> Update:
    """Return the last of the updates that `watch` yields, and show people that something is waited for.

    Parameters
    ----------
    updates
        There is always one: `watch` yields at once.
    again
        What to type to wait again; somebody who stops the waiting is told.
    """
    followed: Iterator[Update] = updates if on_update is None else on_update(updates, again)
    try:
        # To the end and no break: what shows the updates has to see that they ended.
        return deque(followed, maxlen=1).pop()
    except (KeyboardInterrupt, Web3ProviderError) as stop:
        stop.add_note(stopped_note(again))
        raise


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
    broken = next((task for task in update.tasks if words.get(task.taskid) in FAILED_OFFCHAIN), None)
    if broken is None:
        return _late(update)
    stdout, stderr, exit_code = output(client, update.deal, broken.taskid)
    return TaskFailedError(
        f"the app failed: {_last_line(stderr) or words[broken.taskid]}",
        stdout=stdout,
        stderr=stderr,
        exit_code=exit_code,
        context={
            "task": broken.taskid, "exit code": exit_code, "scheduler says": words[broken.taskid],
            "stdout": _tail(stdout), "stderr": _tail(stderr),
        },
        # A scheduler that calls a task failed and computes it all the same would be paid for the next one, too.
        hint="what it printed is in error.stdout and error.stderr; its scheduler says so, not the chain: should a "
        f"result come all the same, iexec.deal.attach({update.deal.dealid!r}).results() has it, else after "
        f"{update.deal.finalTime:%Y-%m-%d %H:%M} UTC the money can be claimed back: "
        f"iexec.deal.claim({update.deal.dealid!r})",
    )  # fmt: skip


def _late(update: Update) -> TaskTimeoutError:
    late = [task for task in update.tasks if task.status is not TaskStatus.COMPLETED]
    claimed = all(task.status is TaskStatus.FAILED for task in late)
    again = f"take the money back: iexec.deal.claim({update.deal.dealid!r})"
    return TaskTimeoutError(
        f"{len(late)} of {len(update.tasks)} tasks passed the deadline without a result"
        + (" and were claimed: the money is back" if claimed else ""),
        context={"task": late[0].taskid if late else "", "deal": update.deal.dealid},
        hint="run it again, on another workerpool" if claimed else again,
    )


def _tail(text: str, lines: int = 8) -> str:
    rows = text.rstrip().splitlines()[-lines:]
    return "".join(f"\n    {shown(row, 200)}" for row in rows) or "(empty)"


def _last_line(text: str) -> str:
    rows = text.strip().splitlines()
    return shown(rows[-1], 200) if rows else ""

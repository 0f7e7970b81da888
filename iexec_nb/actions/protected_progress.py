"""How far the tasks of a bulk request are: its deals, read from the chain, and their results side by side."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from iexec_nb.actions import bulk
from iexec_nb.actions.harvest import THREADS, said
from iexec_nb.actions.poll import Poll, TaskState
from iexec_nb.actions.protected_processing import file_in
from iexec_nb.actions.watch import failure, stopped_note, update_of
from iexec_nb.errors import IExecError, ObjectNotFoundError
from iexec_nb.protocol.execution import Deal, deal_id
from iexec_nb.protocol.protected_records import BulkRequest
from iexec_nb.protocol.typed_data import order_hash
from iexec_nb.protocol.types import Address, Secret

if TYPE_CHECKING:
    import pandas as pd

    from iexec_nb.client import IExec

_STATUS = {
    "matched": "UNSET", "initialized": "ACTIVE", "running": "ACTIVE", "revealing": "REVEALING",
    "completed": "COMPLETED", "failed": "FAILED", "timeout": "TIMEOUT",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class BulkProgress:
    """How far a bulk request is.

    Attributes
    ----------
    bulkStatus
        ``INITIALIZING`` while tasks are not matched yet, ``IN_PROGRESS`` while some are not over, ``FINISHED``.
    tasksTotalCount, tasksToCreateCount, tasksProcessingCount, tasksCompletedCount
        Tasks in all, not matched yet, matched and not over, and over in whatever way.
    tasks
        DataFrame of schema `tables.BULK_TASKS`, a row for each task that is matched.
    """

    bulkStatus: str
    tasksTotalCount: int
    tasksToCreateCount: int
    tasksProcessingCount: int
    tasksCompletedCount: int
    tasks: pd.DataFrame = field(compare=False)

    def to_json(self) -> dict[str, Any]:
        """Return the members that the DataProtector SDK has, results excepted."""
        names = {"taskid": "taskId", "dealid": "dealId", "bulkIndex": "bulkIndex", "status": "status"}
        rows = [{names[key]: row[key] for key in names} | _rest(row) for row in self.tasks.to_dict("records")]
        return {
            "bulkStatus": self.bulkStatus, "tasksTotalCount": self.tasksTotalCount,
            "tasksToCreateCount": self.tasksToCreateCount, "tasksProcessingCount": self.tasksProcessingCount,
            "tasksCompletedCount": self.tasksCompletedCount, "tasks": rows,
        }  # fmt: skip

    def __repr__(self) -> str:
        over, count = self.tasksCompletedCount, self.tasksTotalCount
        return f"BulkProgress({self.bulkStatus}, {over} of {count} tasks over, {self.tasksToCreateCount} to be matched)"


@dataclass(frozen=True, slots=True, kw_only=True)
class BulkTask:
    """One task of a bulk; the names are those of `tables.BULK_TASKS`."""

    bulkIndex: int
    taskid: str
    dealid: str
    status: str
    success: bool | None
    protectedData: tuple[Address, ...] | None = None
    result: Any = None
    error: str | None = None


def followed(client: IExec, request: BulkRequest, *, to_the_end: bool) -> list[TaskState]:
    """Return how far the tasks of a request's deals are, in the order of their index.

    Parameters
    ----------
    client
        Where to look.
    request
        The request.
    to_the_end
        Whether to wait until all of them are over.
    """
    poll = Poll(client)
    for deal in _deals(client, request):
        poll.add(deal)
    if poll.taskids:
        poll.tick()
    try:
        while to_the_end and not poll.done and poll.pause():
            poll.tick()
    except KeyboardInterrupt as stop:
        stop.add_note(stopped_note("iexec.protected_data.inspect_bulk(request)"))
        raise
    return sorted(poll.states.values(), key=lambda state: state.task.idx)


def progress(
    client: IExec,
    request: BulkRequest,
    states: list[TaskState],
    *,
    fetch: bool,
    path: str | None = None,
    key: Secret | None = None,
    detailed: bool = False,
) -> BulkProgress:
    """Return how far a request is, with what its tasks gave.

    Parameters
    ----------
    client
        Where to look.
    request
        The request.
    states
        How far its tasks are.
    fetch
        Whether results are downloaded; what goes wrong with one is in its row.
    path, key
        The file that is wanted of each, and what opens it.
    detailed
        Whether to say which protected data each task processes.
    """
    from iexec_nb import tables

    order = request.order
    digest = order_hash(order, client.chain.domain)
    left = order.volume - client.chain.consumed([digest])[digest]
    over = sum(state.over for state in states)
    datasets = bulk.datasets(client, request.params["bulk_cid"], order.volume) if detailed else []

    def row(state: TaskState) -> BulkTask:
        index = state.task.idx
        result, error = _outcome(client, state, path, key) if fetch else (None, _reason(client, state))
        return BulkTask(
            bulkIndex=index, taskid=state.task.taskid, dealid=state.deal.dealid, status=_STATUS[state.phase],
            success=not state.failed if state.over else None, result=result, error=error,
            protectedData=datasets[index] if index < len(datasets) else None,
        )  # fmt: skip

    rows = _side_by_side(row, states)
    # A request that was cancelled has fewer tasks than its volume says.
    total = order.volume if left > 0 else len(states)
    attrs = {
        "chain": client.network.name, "chain_id": client.chain.chain_id, "source": "viewTask",
        "fetched_at": datetime.now(UTC),
    }  # fmt: skip
    return BulkProgress(
        bulkStatus="FINISHED" if over == total else "INITIALIZING" if left > 0 else "IN_PROGRESS",
        tasksTotalCount=total,
        tasksToCreateCount=left,
        tasksProcessingCount=len(states) - over,
        tasksCompletedCount=over,
        tasks=tables.frame(tables.BULK_TASKS, rows, attrs=attrs),
    )


def _side_by_side(row: Callable[[TaskState], BulkTask], states: list[TaskState]) -> list[BulkTask]:
    with ThreadPoolExecutor(THREADS, thread_name_prefix="iexec-bulk") as threads:
        return list(threads.map(row, states))


def _deals(client: IExec, request: BulkRequest) -> list[Deal]:
    """Return the deals of a request: each is named after the volume that was consumed before it."""
    chain = client.chain
    digest = order_hash(request.order, chain.domain)
    consumed = chain.consumed([digest])[digest]
    deals: list[Deal] = []
    first = 0
    while first < consumed:
        try:
            deals.append(chain.deal(deal_id(digest, first)))
        except ObjectNotFoundError:
            # What is consumed without a deal was cancelled.
            break
        first += deals[-1].botSize
    return deals


def _outcome(client: IExec, state: TaskState, path: str | None, key: Secret | None) -> tuple[Any, str | None]:
    """Return the result of a task and nothing, or nothing and what went wrong."""
    if not state.over or state.failed:
        return None, _reason(client, state)
    try:
        result = client.result.of_task(state.task, state.deal, key=key)
        return (result if path is None else file_in(result, path)), None
    except IExecError as error:
        return None, said(error)


def _reason(client: IExec, state: TaskState) -> str | None:
    return said(failure(client, update_of(state.deal, [state]))) if state.failed else None


def _rest(row: Mapping[Any, Any]) -> dict[str, Any]:
    rest: dict[str, Any] = {} if row["success"] is None else {"success": row["success"]}
    if row["protectedData"] is not None:
        rest["protectedDataAddresses"] = [one.lower() for one in row["protectedData"]]
    return rest | ({"error": row["error"]} if isinstance(row["error"], str) else {})

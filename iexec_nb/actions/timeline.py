"""The story of a run: what the chain wrote down, and beside it what the scheduler says happened in between.

People see a task that takes minutes and ask what it does. The hub's events say when it began, when workers agreed and
when the result was there; between them the scheduler tells downloads, the computation and uploads. Both are in one
table, and each row says whose word it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from iexec_nb.actions.offchain import scheduler
from iexec_nb.errors import ApiCallError, ValidationError
from iexec_nb.protocol.execution import Deal, Task, TaskStatus
from iexec_nb.protocol.results import ResultDescriptor
from iexec_nb.protocol.types import Address, Bytes32, address, shown
from iexec_nb.services import abi
from iexec_nb.services.history import block_at, block_times, event_of, task_events
from iexec_nb.services.receipts import Log

if TYPE_CHECKING:
    import pandas as pd

    from iexec_nb.client import IExec
    from iexec_nb.services.workerpool import WorkerpoolApi

MAX_ASKED = 100
"""Tasks about which the scheduler is asked, which is one request for each."""
_MAX_CHANGES = 1_000
_LAST = {TaskStatus.COMPLETED: abi.TASK_FINALIZE, TaskStatus.FAILED: abi.TASK_CLAIMED}
_WHO = ("worker", "workerpool")


@dataclass(frozen=True, slots=True, kw_only=True)
class Happening:
    """One line of the story.

    Attributes
    ----------
    time
        When, UTC: the time of the block, or the scheduler's.
    event
        Name of the contract's event, or the scheduler's word.
    idx, taskid
        Which task; None where it is about the deal.
    who
        Whose act it is, where that is said.
    source
        ``chain``, or ``scheduler`` for what is claimed only.
    txHash
        The transaction, on the chain.
    detail
        What is said besides: the place of a result, the cause of a failure.
    """

    time: datetime
    event: str
    idx: int | None = None
    taskid: Bytes32 | None = None
    who: Address | None = None
    source: str = "chain"
    txHash: Bytes32 | None = None
    detail: str | None = None


def timeline(client: IExec, deal: Deal, tx_hash: Bytes32 | None = None) -> pd.DataFrame:
    """Return what happened to a deal and its tasks, as a DataFrame of schema `tables.TIMELINE`.

    Parameters
    ----------
    client
        Where to look.
    deal
        The deal.
    tx_hash
        The transaction that matched it, if it is known: then its block need not be searched for.

    Raises
    ------
    Web3ProviderCallError
        When the node does not answer, or shows no events.
    """
    from iexec_nb import tables

    tasks = client.chain.deal_tasks(deal)
    first, matched = _match(client, deal, tx_hash)
    last = _last_block(client, deal, tasks)
    logs, complete = task_events(client.chain, deal.taskids, first, last, lambda found: _is_all(found, tasks))
    times = block_times(client.chain, {log.block_number for log in logs})
    index = {task.taskid: task.idx for task in tasks}
    rows = [*matched, *(_happening(log, index, times[log.block_number]) for log in logs)]
    asked = tasks[:MAX_ASKED]
    if (api := scheduler(client, deal.workerpool.pointer)) is not None:
        rows += [row for task in asked for row in _told(api, task)]
    attrs = {
        "chain": client.network.name, "chain_id": client.chain.chain_id, "dealid": deal.dealid, "complete": complete,
        "source": f"events of the hub; the scheduler about {len(asked) if api else 0} of {len(tasks)} tasks",
    }  # fmt: skip
    # The sort is stable, so that what is in one block keeps its order.
    return tables.frame(tables.TIMELINE, sorted(rows, key=lambda row: row.time), attrs=attrs)


def _match(client: IExec, deal: Deal, tx_hash: Bytes32 | None) -> tuple[int, list[Happening]]:
    """Return the block of the match and the row that tells it."""
    chain = client.chain
    receipt = chain.receipt(tx_hash) if tx_hash is not None else None
    if receipt is not None:
        first = last = receipt.block_number
    else:
        first = block_at(chain, deal.startTime)
        last = max(block_at(chain, deal.startTime + timedelta(seconds=1)) - 1, first)
    found = chain.logs(abi.ORDERS_MATCHED, from_block=first, to_block=last)
    rows = [
        Happening(time=deal.startTime, event=abi.ORDERS_MATCHED.name, who=deal.requester, txHash=log.tx_hash)
        for log, event in found
        if event["dealid"] == deal.dealid
    ]
    return first, rows


def _last_block(client: IExec, deal: Deal, tasks: Sequence[Task]) -> int:
    """Return the last block in which something may have happened to the tasks."""
    if deal.deadline_reached(client.chain.now()) and not any(task.status is TaskStatus.FAILED for task in tasks):
        # After the deadline there are claims and nothing else, and a task that was claimed is a failed one.
        return block_at(client.chain, deal.finalTime)
    return client.chain.block_number()


def _is_all(logs: Sequence[Log], tasks: Sequence[Task]) -> bool:
    """Return whether every task is over and the event that ended it is there."""
    seen = {(log.topics[0], log.topics[1]) for log in logs}
    return all(task.status in _LAST and (_LAST[task.status].topic, task.taskid) in seen for task in tasks)


def _happening(log: Log, index: dict[Bytes32, int], time: datetime) -> Happening:
    event = event_of(log)
    assert event is not None
    values = event.decode(log)
    detail = None
    if event is abi.TASK_FINALIZE:
        place = ResultDescriptor.from_bytes(values["results"])
        detail = shown(f"{place.storage} {place.location or ''}".strip(), 200)
    return Happening(
        time=time, event=event.name, idx=index[values["taskid"]], taskid=values["taskid"],
        who=next((values[name] for name in _WHO if name in values), None), txHash=log.tx_hash, detail=detail,
    )  # fmt: skip


def _told(api: WorkerpoolApi, task: Task) -> Iterator[Happening]:
    """Yield what the scheduler says about a task and its replicates; what cannot be read is left out."""
    try:
        answer = api.task(task.taskid) or {}
    except ApiCallError:
        # What the scheduler says is a help, not a need: the chain decides.
        return
    for change in _list(answer.get("dateStatusList")):
        yield from _change(change, task, None)
    for replicate in _list(answer.get("replicates")):
        if isinstance(replicate, dict):
            for change in _list(replicate.get("statusUpdateList")):
                yield from _change(change, task, _address(replicate.get("walletAddress")))


def _change(change: Any, task: Task, who: Address | None) -> Iterator[Happening]:
    if not isinstance(change, dict) or not isinstance(word := change.get("status"), str):
        return
    if (time := _time(change.get("date"))) is not None:
        cause = change.get("cause")
        yield Happening(
            time=time, event=shown(word, 40), idx=task.idx, taskid=task.taskid, who=who, source="scheduler",
            detail=shown(cause, 200) if isinstance(cause, str) else None,
        )  # fmt: skip


def _list(value: object) -> list[Any]:
    return value[:_MAX_CHANGES] if isinstance(value, list) else []


def _address(value: object) -> Address | None:
    try:
        return address(value)
    except ValidationError:
        return None


def _time(value: object) -> datetime | None:
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else None
        if moment is None:
            return None
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return None

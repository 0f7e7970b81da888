"""The members of the official CLI's JSON (``--raw``) for the verbs of deals and tasks.

Numbers of the chain are text there and times are seconds since 1970; whether something is late is told by the clock of
the machine, as the official CLI does.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from iexec_nb.actions.updates import Update
from iexec_nb.commands import JsonNumber
from iexec_nb.protocol.execution import Deal, DealResource, Task, TaskStatus
from iexec_nb.protocol.offchain import OffchainInfo, StatusChange, TaskDebug, TaskDownload, TaskLogs
from iexec_nb.protocol.receipts import Claimed

if TYPE_CHECKING:
    import pandas as pd

    from iexec_nb.actions.run import Run

_DEAL_NUMBERS = ("trust", "category", "botFirst", "botSize", "workerStake", "schedulerRewardRatio")
_DEAL_TEXTS = ("tag", "requester", "beneficiary", "callback", "params", "sponsor")


def shown_deal(value: Deal | Update) -> dict[str, Any]:
    """Return the members of ``deal show``; of a deal that was watched with its tasks."""
    if isinstance(value, Deal):
        return {"deal": deal(value)}
    return {
        "tasksCount": JsonNumber(value.tasksCount),
        "completedTasksCount": JsonNumber(value.completedTasksCount),
        "failedTasksCount": JsonNumber(value.failedTasksCount),
        "deal": deal(value.deal),
        "tasks": [_numbered(one, value.deal) for one in value.tasks],
        "failedTasks": [_numbered(one, value.deal) for one in value.failedTasks],
    }


def started(value: Run) -> dict[str, Any]:
    """Return the members of ``app run``; of a run that was waited for to its end with its tasks."""
    told: dict[str, Any] = {"deals": [{"dealid": value.dealid, "volume": value.deal.botSize, "txHash": value.txHash}]}
    last = value.last_update
    if last is None or not last.done:
        return told
    watched = shown_deal(last)
    told["tasks"] = watched["tasks"]
    return told | ({"failedTasks": watched["failedTasks"]} if watched["failedTasks"] else {})


def shown_task(value: Task | TaskDownload) -> dict[str, Any]:
    """Return the members of ``task show``."""
    found = value.task if isinstance(value, TaskDownload) else value
    late = found.status < TaskStatus.COMPLETED and found.timed_out(datetime.now(UTC))
    path = value.resultPath if isinstance(value, TaskDownload) else None
    return {"task": task(found), "claimable": late, "resultPath": None if path is None else str(path.absolute())}


def claimed(value: Claimed) -> dict[str, Any]:
    """Return the members of ``deal claim``."""
    sent = [{"txHash": one.txHash, "type": one.type} for one in value.transactions]
    return {"claimed": {str(idx): taskid for idx, taskid in value.claimed.items()}, "transactions": sent}


def debugged(value: TaskDebug) -> dict[str, Any]:
    """Return the members of ``task debug``."""
    return {
        "onchainData": task(value.onchainData),
        "offchainData": None if value.offchainData is None else offchain(value.offchainData),
        "appLogs": None if value.appLogs is None else logs(value.appLogs),
    }


def listed(table: pd.DataFrame) -> dict[str, Any]:
    """Return how many deals a table has, and its rows."""
    rows = json.loads(table.to_json(orient="records", date_format="iso"))
    return {"count": JsonNumber(len(table)), "deals": rows}


def deal(value: Deal) -> dict[str, Any]:
    """Return a deal as the SDK's library shows it."""
    return {
        "dealid": value.dealid,
        **{name: _resource(getattr(value, name)) for name in ("app", "dataset", "workerpool")},
        **{name: str(getattr(value, name)) for name in _DEAL_NUMBERS},
        **{name: getattr(value, name) for name in _DEAL_TEXTS},
        "startTime": _seconds(value.startTime),
        "finalTime": _seconds(value.finalTime),
        "deadlineReached": value.deadline_reached(datetime.now(UTC)),
        "tasks": list(value.taskids),
    }


def task(value: Task) -> dict[str, Any]:
    """Return a task as the SDK's library shows it; of one that was never initialized there is less to say."""
    now = datetime.now(UTC)
    told = {
        "taskid": value.taskid, "dealid": value.dealid, "status": JsonNumber(value.status),
        "statusName": value.status_name(now), "taskTimedOut": value.timed_out(now),
    }  # fmt: skip
    if value.status is TaskStatus.UNSET:
        return told
    results = {"storage": value.results.storage, "location": value.results.location}
    return told | {
        "idx": str(value.idx),
        "timeref": str(value.timeref),
        "contributionDeadline": _seconds(value.contributionDeadline),
        "revealDeadline": _seconds(value.revealDeadline),
        "finalDeadline": _seconds(value.finalDeadline),
        "consensusValue": value.consensusValue,
        "revealCounter": str(value.revealCounter),
        "winnerCounter": str(value.winnerCounter),
        "contributors": list(value.contributors),
        "resultDigest": value.resultDigest,
        "results": {name: one for name, one in results.items() if one is not None},
        "resultsTimestamp": _seconds(value.resultsTimestamp),
        "resultsCallback": f"0x{value.resultsCallback.hex()}",
    }


def offchain(value: OffchainInfo) -> dict[str, Any]:
    """Return what the scheduler says of a task as the SDK's library shows it (``fetchOffchainInfo``)."""
    return {
        "task": {"status": value.task.status, "statusHistory": [_change(one) for one in value.task.statusHistory]},
        "replicates": [
            {
                "worker": one.worker,
                **({} if one.exitCode is None else {"exitCode": JsonNumber(one.exitCode)}),
                "status": one.status,
                "statusHistory": [_change(step) for step in one.statusHistory],
            }
            for one in value.replicates
        ],
    }


def logs(value: TaskLogs) -> list[dict[str, str]]:
    """Return what an app printed as the SDK's library shows it (``fetchLogs``)."""
    return [{"worker": one.worker, "stdout": one.stdout, "stderr": one.stderr} for one in value]


def _numbered(value: Task, of: Deal) -> dict[str, Any]:
    # The CLI numbers the tasks of a watched deal from 0, and one that is initialized has its own index over that.
    return {"idx": str(value.idx - of.botFirst), **task(value)}


def _resource(value: DealResource) -> dict[str, Any]:
    return {"pointer": value.pointer, "owner": value.owner, "price": str(value.price)}


def _change(value: StatusChange) -> dict[str, Any]:
    date = None if value.date is None else value.date.isoformat(timespec="milliseconds")
    told = {"date": date, "status": value.status, "cause": value.cause}
    return {name: one for name, one in told.items() if one is not None}


def _seconds(moment: datetime | None) -> str:
    return "0" if moment is None else str(int(moment.timestamp()))

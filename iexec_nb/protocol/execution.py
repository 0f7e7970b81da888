"""Deals and tasks: their ids, their deadlines and what state they are in.

A match of orders makes a deal, a deal is a number of tasks, and a task moves through a few states until it is
completed, failed or late. The chain gives these as bare tuples of numbers; here they become records whose times are
dates and whose questions (is it late, what did it cost, what is its id) have one answer. Source: the structs ``Deal``
and ``Task`` of PoCo (``IexecLibCore_v5``), ``viewDeal(bytes32)``, ``viewTask(bytes32)``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import IntEnum
from typing import Any

from iexec_nb.errors import ObjectNotFoundError, ValidationError
from iexec_nb.protocol.results import ResultDescriptor
from iexec_nb.protocol.types import NULL_ADDRESS, NULL_BYTES32, address, bytes32, hexbytes, keccak, uint256

CONTRIBUTION_RATIO = 7
REVEAL_RATIO = 2
FINAL_RATIO = 10

MAX_TASKIDS = 100_000

_END_OF_TIME = datetime.max.replace(tzinfo=UTC)


class TaskStatus(IntEnum):
    """State of a task on the chain (``IexecLibCore_v5.TaskStatusEnum``)."""

    UNSET = 0
    ACTIVE = 1
    REVEALING = 2
    COMPLETED = 3
    FAILED = 4


# --- ids and hashes --------------------------------------------------------------------------------------------------


def _word(number: int) -> bytes:
    return number.to_bytes(32, "big")


def deal_id(request_hash: str, consumed: int) -> str:
    """Return the id of the deal that a match makes.

    Parameters
    ----------
    request_hash
        Hash of the request order.
    consumed
        Volume of the request order that was consumed before the match, in tasks.
    """
    return "0x" + keccak(hexbytes(bytes32(request_hash)) + _word(uint256(consumed, "consumed"))).hex()


def task_id(dealid: str, idx: int) -> str:
    """Return the id of one task of a deal.

    Parameters
    ----------
    dealid
        Id of the deal.
    idx
        Index of the task, from ``botFirst`` to ``botFirst + botSize - 1``.
    """
    return "0x" + keccak(hexbytes(bytes32(dealid, "dealid")) + _word(uint256(idx, "idx"))).hex()


def result_hash(taskid: str, digest: str) -> str:
    """Return what all workers that agree contribute: keccak-256 of task id and result digest."""
    return "0x" + keccak(hexbytes(bytes32(taskid, "taskid")) + hexbytes(bytes32(digest, "digest"))).hex()


def result_seal(worker: str, taskid: str, digest: str) -> str:
    """Return what one worker contributes to prove that it knew the digest: keccak-256 of worker, task id and digest."""
    packed = hexbytes(address(worker, "worker")) + hexbytes(bytes32(taskid, "taskid"))
    return "0x" + keccak(packed + hexbytes(bytes32(digest, "digest"))).hex()


def authorization_hash(worker: str, taskid: str, enclave: str = NULL_ADDRESS) -> bytes:
    """Return the 32 bytes that a scheduler signs (EIP-191) to let a worker contribute to a task.

    Parameters
    ----------
    worker
        Address of the worker.
    taskid
        Id of the task.
    enclave
        Address of the enclave's signing key; the null address without one.
    """
    packed = hexbytes(address(worker, "worker")) + hexbytes(bytes32(taskid, "taskid"))
    return keccak(packed + hexbytes(address(enclave, "enclave")))


# --- times -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Deadlines:
    """When the parts of a task must be over.

    Parameters
    ----------
    contribution
        Last moment for workers to contribute.
    final
        Moment from which an unfinished task can be claimed.
    reveal_s
        Seconds that workers have to reveal, counted from their consensus.
    """

    contribution: datetime
    final: datetime
    reveal_s: int


def deadlines(start: datetime, seconds: int) -> Deadlines:
    """Return the deadlines of the tasks of a deal.

    Parameters
    ----------
    start
        When the orders were matched.
    seconds
        ``workClockTimeRef`` of the category, in seconds.
    """
    return Deadlines(
        contribution=_later(start, CONTRIBUTION_RATIO * seconds),
        final=_later(start, FINAL_RATIO * seconds),
        reveal_s=REVEAL_RATIO * seconds,
    )


def _later(start: datetime, seconds: int) -> datetime:
    # Numbers of the chain go far beyond the year 9999, the last that a date can hold: then it is that.
    try:
        return start + timedelta(seconds=seconds)
    except OverflowError:
        return _END_OF_TIME


def _moment(seconds: int) -> datetime:
    return _later(datetime(1970, 1, 1, tzinfo=UTC), seconds)


def _moment_or_none(seconds: int) -> datetime | None:
    return _moment(seconds) if seconds else None


def _aware(now: datetime) -> datetime:
    if now.tzinfo is None:
        raise ValidationError(
            f"{now} has no time zone", context={"argument": "now"}, hint="give datetime.now(UTC) or the block's time"
        )
    return now


# --- deals -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class DealResource:
    """App, dataset or workerpool of a deal: its address, its owner at that time, its price per task in nRLC."""

    pointer: str
    owner: str
    price: int

    @classmethod
    def from_chain(cls, raw: Sequence[Any]) -> DealResource:
        """Read the decoded ``Resource`` struct."""
        pointer, owner, price = raw
        return cls(pointer=address(pointer), owner=address(owner), price=uint256(price, "price"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Deal:
    """Orders that were matched: who computes what for whom, at which price, until when.

    Parameters
    ----------
    dealid
        Id of the deal.
    app, dataset, workerpool
        What was sold; a deal without a dataset has the null address there.
    trust, category, tag, requester, beneficiary, callback, params
        As in the orders.
    startTime
        When the orders were matched.
    botFirst, botSize
        Index of the first task and number of tasks.
    workerStake
        What each worker locks per task, in nRLC.
    schedulerRewardRatio
        Share of the workerpool's price that its scheduler keeps, in percent.
    sponsor
        Who pays.
    finalTime
        Moment from which unfinished tasks can be claimed.
    """

    dealid: str
    app: DealResource
    dataset: DealResource
    workerpool: DealResource
    trust: int
    category: int
    tag: str
    requester: str
    beneficiary: str
    callback: str
    params: str
    startTime: datetime
    botFirst: int
    botSize: int
    workerStake: int
    schedulerRewardRatio: int
    sponsor: str
    finalTime: datetime

    @classmethod
    def from_chain(
        cls,
        dealid: str,
        raw: Sequence[Any],
        *,
        final_deadline_ratio: int,
        category_seconds: int,
        chain_id: int | None = None,
    ) -> Deal:
        """Read the decoded ``Deal`` struct.

        Parameters
        ----------
        dealid
            Id that was asked for.
        raw
            The members of the struct in order; hubs before PoCo 5.5 leave out the last one, the sponsor.
        final_deadline_ratio
            ``final_deadline_ratio()`` of the hub.
        category_seconds
            ``workClockTimeRef`` of the deal's category, in seconds.
        chain_id
            Named in the error.

        Raises
        ------
        ObjectNotFoundError
            When the struct is empty: there is no such deal.
        """
        app, dataset, workerpool = (DealResource.from_chain(member) for member in raw[:3])
        if app.pointer == NULL_ADDRESS:
            raise ObjectNotFoundError("deal", dealid, chain_id)
        trust, category, tag, requester, beneficiary, callback, params, start, first, size, stake, share = raw[3:15]
        if uint256(size, "botSize") == 0:
            raise ValidationError(f"deal {bytes32(dealid, 'dealid')} has no tasks")
        start_time = _moment(uint256(start, "startTime"))
        requester = address(requester)
        return cls(
            dealid=bytes32(dealid, "dealid"),
            app=app,
            dataset=dataset,
            workerpool=workerpool,
            trust=uint256(trust, "trust"),
            category=uint256(category, "category"),
            tag=bytes32(tag, "tag"),
            requester=requester,
            beneficiary=address(beneficiary),
            callback=address(callback),
            params=str(params),
            startTime=start_time,
            botFirst=uint256(first, "botFirst"),
            botSize=uint256(size, "botSize"),
            workerStake=uint256(stake, "workerStake"),
            schedulerRewardRatio=uint256(share, "schedulerRewardRatio"),
            sponsor=address(raw[15]) if len(raw) > 15 else requester,
            finalTime=_later(start_time, final_deadline_ratio * category_seconds),
        )

    @property
    def taskids(self) -> tuple[str, ...]:
        """Ids of the tasks, that of index ``botFirst`` first.

        Raises
        ------
        ValidationError
            For a deal of more than 100,000 tasks.
        """
        if self.botSize > MAX_TASKIDS:
            raise ValidationError(
                f"deal {self.dealid} has {self.botSize} tasks",
                context={"rule": f"at most {MAX_TASKIDS} ids are listed at once"},
                hint="task_id(deal.dealid, idx) gives the id of one task",
            )
        head = hexbytes(self.dealid)
        return tuple("0x" + keccak(head + _word(self.botFirst + i)).hex() for i in range(self.botSize))

    def indexes(self, taskids: Sequence[str] | None = None, chain_id: int | None = None) -> dict[str, int]:
        """Return the index of tasks by their ids.

        Parameters
        ----------
        taskids
            Which of its tasks, in which order; all of them by index when None.
        chain_id
            Named in the error.

        Raises
        ------
        ObjectNotFoundError
            When a task is not of this deal.
        """
        known = {taskid: self.botFirst + place for place, taskid in enumerate(self.taskids)}
        if taskids is None:
            return known
        wanted = [bytes32(one, "taskid") for one in taskids]
        for taskid in wanted:
            if taskid not in known:
                raise ObjectNotFoundError("task", taskid, chain_id, hint=f"it is not a task of deal {self.dealid}")
        return {taskid: known[taskid] for taskid in wanted}

    @property
    def price_per_task(self) -> int:
        """What one task of the deal costs, in nRLC."""
        return self.app.price + self.dataset.price + self.workerpool.price

    @property
    def total_cost(self) -> int:
        """What all tasks of the deal cost together, in nRLC."""
        return self.botSize * self.price_per_task

    def deadline_reached(self, now: datetime) -> bool:
        """Return whether unfinished tasks can be claimed at `now`."""
        return _aware(now) >= self.finalTime


# --- tasks -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One run of an app.

    Parameters
    ----------
    taskid, dealid, idx
        Its id, its deal and its index in the request order.
    status
        State on the chain; `status_name` also knows lateness.
    timeref
        ``workClockTimeRef`` of the category, in seconds.
    contributionDeadline, revealDeadline, finalDeadline
        Until when; ``None`` when the chain has not set it yet.
    consensusValue
        Result hash that the workers agreed on; zero before.
    revealCounter, winnerCounter
        How many workers revealed, and how many agreed.
    contributors
        Addresses of the workers that contributed.
    resultDigest
        Digest of the result; zero before.
    results
        Where the result lies.
    resultsTimestamp
        When the result was finalized; ``None`` before.
    resultsCallback
        Data for the callback contract.
    """

    taskid: str
    dealid: str
    idx: int
    status: TaskStatus
    timeref: int
    contributionDeadline: datetime | None
    revealDeadline: datetime | None
    finalDeadline: datetime | None
    consensusValue: str
    revealCounter: int
    winnerCounter: int
    contributors: tuple[str, ...]
    resultDigest: str
    results: ResultDescriptor
    resultsTimestamp: datetime | None
    resultsCallback: bytes

    @classmethod
    def from_chain(cls, taskid: str, raw: Sequence[Any], *, chain_id: int | None = None) -> Task:
        """Read the decoded ``Task`` struct.

        Parameters
        ----------
        taskid
            Id that was asked for.
        raw
            The members of the struct in order.
        chain_id
            Named in the error.

        Raises
        ------
        ObjectNotFoundError
            When the struct is empty: no such task, or its scheduler has not initialized it yet.
        ValidationError
            When the state is not one that the protocol knows.
        """
        status, dealid, idx, timeref, contribution, reveal, final, consensus, revealed, winners = raw[:10]
        contributors, digest, results, timestamp, callback = raw[10:15]
        dealid = bytes32(dealid, "dealid")
        if dealid == NULL_BYTES32:
            raise ObjectNotFoundError("task", taskid, chain_id)
        if status not in TaskStatus.__members__.values():
            raise ValidationError(f"{status} is not a task status", context={"task": taskid, "rule": "0 to 4"})
        return cls(
            taskid=bytes32(taskid, "taskid"),
            dealid=dealid,
            idx=uint256(idx, "idx"),
            status=TaskStatus(status),
            timeref=uint256(timeref, "timeref"),
            contributionDeadline=_moment_or_none(contribution),
            revealDeadline=_moment_or_none(reveal),
            finalDeadline=_moment_or_none(final),
            consensusValue=bytes32(consensus, "consensusValue"),
            revealCounter=uint256(revealed, "revealCounter"),
            winnerCounter=uint256(winners, "winnerCounter"),
            contributors=tuple(address(contributor) for contributor in contributors),
            resultDigest=bytes32(digest, "resultDigest"),
            results=ResultDescriptor.from_bytes(results),
            resultsTimestamp=_moment_or_none(timestamp),
            resultsCallback=hexbytes(callback, "resultsCallback"),
        )

    @classmethod
    def unset(cls, deal: Deal, idx: int) -> Task:
        """Return the task of a deal that its scheduler has not initialized yet; the deal's end is its deadline.

        Parameters
        ----------
        deal
            The deal.
        idx
            Index of the task, from ``botFirst`` on.
        """
        return cls(
            taskid=task_id(deal.dealid, idx),
            dealid=deal.dealid,
            idx=idx,
            status=TaskStatus.UNSET,
            timeref=0,
            contributionDeadline=None,
            revealDeadline=None,
            finalDeadline=deal.finalTime,
            consensusValue=NULL_BYTES32,
            revealCounter=0,
            winnerCounter=0,
            contributors=(),
            resultDigest=NULL_BYTES32,
            results=ResultDescriptor(storage="none"),
            resultsTimestamp=None,
            resultsCallback=b"",
        )

    def timed_out(self, now: datetime) -> bool:
        """Return whether the task was not completed before its final deadline."""
        late = self.finalDeadline is not None and _aware(now) >= self.finalDeadline
        return late and self.status is not TaskStatus.COMPLETED

    def status_name(self, now: datetime) -> str:
        """Return the name of the state; ``TIMEOUT`` for a task that is late and neither completed nor failed."""
        if self.status < TaskStatus.COMPLETED and self.timed_out(now):
            return "TIMEOUT"
        return self.status.name

    def ended(self, now: datetime) -> bool:
        """Return whether nothing more will happen without a claim: completed, failed or timed out."""
        return self.status >= TaskStatus.COMPLETED or self.timed_out(now)

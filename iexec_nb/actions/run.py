"""The handle of a run: a deal that somebody waits for."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING

from iexec_nb.actions.offchain import require_requester, scheduler, status_of
from iexec_nb.actions.outcome import Result
from iexec_nb.actions.poll import Poll, TaskState
from iexec_nb.actions.timeline import timeline
from iexec_nb.actions.updates import Update
from iexec_nb.actions.watch import last_of, seconds, stopped_note, update_of, wait, watch
from iexec_nb.errors import (
    ApiCallError,
    IExecError,
    ResultNotFoundError,
    Web3ProviderSendError,
)
from iexec_nb.protocol.execution import Deal, TaskStatus
from iexec_nb.protocol.quotes import RunCost
from iexec_nb.protocol.receipts import Claimed, Matched
from iexec_nb.protocol.types import Bytes32, shown
from iexec_nb.protocol.units import format_rlc

if TYPE_CHECKING:
    import pandas as pd

    from iexec_nb.client import IExec
    from iexec_nb.services.workerpool import WorkerpoolApi

_WAKE_S = 0.25
_ASKED = 20
_LAG_PAUSES_S = (0.1, 0.2, 0.5, 1.0, 1.5)


class Run:
    """A deal and its tasks; the deal's id alone is enough to make another handle (``iexec.deal.attach``).

    Attributes
    ----------
    deal
        The deal as it was matched.
    txHash
        The transaction that matched it, where this handle was made by it.
    last_update
        What was told last by `wait` or ``await`` of this handle; None before.
    """

    def __init__(self, client: IExec, deal: Deal, txHash: Bytes32 | None = None) -> None:
        self._client = client
        self.deal = deal
        self.txHash = txHash
        self.last_update: Update | None = None

    @property
    def dealid(self) -> Bytes32:
        """The id of the deal."""
        return self.deal.dealid

    @property
    def taskids(self) -> tuple[Bytes32, ...]:
        """The ids of its tasks, in the order of their index."""
        return self.deal.taskids

    @property
    def price(self) -> int:
        """What the deal costs for all tasks, in nRLC."""
        return self.deal.total_cost

    @property
    def cost(self) -> RunCost:
        """What the run cost until now: the price in nRLC, what came back for claimed tasks, and the gas in wei.

        The gas is known where this handle was made by the transaction; the chain is asked each time.
        """
        chain, deal = self._client.chain, self.deal
        claimed = sum(task.status is TaskStatus.FAILED for task in chain.deal_tasks(deal))
        receipt = None if self.txHash is None else chain.receipt(self.txHash)
        used, price = (None, None) if receipt is None else (receipt.gas_used, receipt.gas_price)
        return RunCost(
            volume=deal.botSize, app=deal.app.price, dataset=deal.dataset.price, workerpool=deal.workerpool.price,
            refunded=claimed * deal.price_per_task, gasUsed=used,
            fee=None if used is None or price is None else used * price, txHash=self.txHash,
        )  # fmt: skip

    @property
    def status(self) -> str:
        """One word for the whole run, asked now.

        ``matched``, ``initialized``, ``running``, ``revealing``, ``completed``, ``failed`` or ``timeout``. The
        scheduler is asked about the first 20 tasks that are not over; waiting asks about all of them.
        """
        client, deal = self._client, self.deal
        tasks, now = client.chain.deal_tasks(deal), client.chain.now()
        unfinished = [task.taskid for task in tasks if not task.ended(now)]
        api = scheduler(client, deal.workerpool.pointer) if unfinished else None
        words = {} if api is None else {one: _word(api, one) for one in unfinished[:_ASKED]}
        states = [TaskState(deal=deal, task=task, offchain=words.get(task.taskid, ""), now=now) for task in tasks]
        return update_of(deal, states).phase

    def timeline(self) -> pd.DataFrame:
        """Return what happened until now, oldest first, as a DataFrame of schema `tables.TIMELINE`.

        Returns
        -------
        pandas.DataFrame
            ``time`` (UTC), ``event``, ``idx``, ``taskid``, ``who``, ``source`` (``chain`` for events of the hub,
            ``scheduler`` for what the workerpool claims), ``txHash`` and ``detail``. ``attrs["complete"]`` says whether
            all events could be had.

        Raises
        ------
        Web3ProviderCallError
            When the node does not answer, or shows no events.
        """
        return timeline(self._client, self.deal, self.txHash)

    def watch(self) -> Iterator[Update]:
        """Yield an update at once and after each change, until all tasks are over."""
        return watch(self._client, self.deal)

    def wait(self, timeout_s: float | None = None) -> Run:
        """Wait until all tasks are completed; return the handle.

        Ctrl-C stops the waiting, not the paid task.

        Parameters
        ----------
        timeout_s
            Give up waiting after this many seconds; default: wait until the deal's deadline.

        Raises
        ------
        TaskFailedError
            When an app failed; what it printed is in ``.stdout`` and ``.stderr``.
        TaskTimeoutError
            When a task passed its final deadline, or the waiting its limit.
        """
        return self._wait(seconds(timeout_s))

    def __await__(self) -> Generator[object, None, Run]:
        """Wait without blocking the event loop: ``await run``."""
        return self._wait_aside().__await__()

    async def _wait_aside(self) -> Run:
        over = threading.Event()
        waiting = asyncio.ensure_future(asyncio.to_thread(self._wait, None, over))
        try:
            # The loop wakes now and then: one that sleeps would learn of a kernel's interrupt when the run is over.
            while not waiting.done():
                await asyncio.wait({waiting}, timeout=_WAKE_S)
            return waiting.result()
        except asyncio.CancelledError as stop:
            over.set()
            # Long enough for the last view of the run to be drawn as an output of this cell.
            await asyncio.wait({waiting}, timeout=_WAKE_S)
            stop.add_note(stopped_note(self._again))
            raise
        finally:
            # A thread cannot be cancelled, and one that goes on until the deadline would keep the program from ending.
            over.set()
            waiting.cancel()

    def _wait(self, limit: float | None, over: threading.Event | None = None) -> Run:
        updates = watch(self._client, self.deal, timeout_s=limit, over=over)
        wait(self._noted(updates), self._client, limit, self._again)
        return self

    def _noted(self, updates: Iterator[Update]) -> Iterator[Update]:
        for update in updates:
            self.last_update = update
            yield update

    @property
    def _again(self) -> str:
        return f"iexec.deal.attach({self.dealid!r}).wait()"

    def result(self, index: int = 0) -> Result:
        """Return the files of one task's result, waiting for it where needed.

        Parameters
        ----------
        index
            Which task of this deal, from 0.

        Raises
        ------
        ResultNotFoundError
            When the deal has no such task.
        TaskFailedError, TaskTimeoutError
            As `wait`.
        DecryptionError
            When the key does not fit.
        """
        taskid = self._taskid(index)
        updates = watch(self._client, self.deal, [taskid])
        last = wait(updates, self._client, None, f"iexec.deal.attach({self.dealid!r}).result({index})")
        return self._client.result.of_task(last.tasks[0], self.deal)

    def results(self, timeout_s: float | None = None, *, fetch: bool = True) -> pd.DataFrame:
        """Return one row for each task with its result, waiting for all of them; a task that failed is a row, too.

        Parameters
        ----------
        timeout_s
            Wait no longer than this many seconds; what is not over by then is a row without a result. Default: wait
            until the deal's deadline.
        fetch
            Whether the results are downloaded.

        Returns
        -------
        pandas.DataFrame
            Of schema `tables.RUNS`: ``idx``, ``taskid``, ``dealid``, ``status``, ``seconds``, ``cost`` (nRLC),
            ``error`` and ``result``.
        """
        from iexec_nb.actions.harvest import harvest

        poll = Poll(self._client)
        updates = watch(self._client, self.deal, timeout_s=seconds(timeout_s), poll=poll)
        last_of(updates, f"iexec.deal.attach({self.dealid!r}).results()")
        return harvest(self._client, tuple(poll.states.values()), fetch=fetch)

    def tasks(self) -> pd.DataFrame:
        """Return the tasks as they are now, as a DataFrame of schema `tables.TASKS`."""
        from iexec_nb import tables

        tasks = self._client.chain.deal_tasks(self.deal)
        attrs = {"chain": self._client.network.name, "chain_id": self._client.chain.chain_id, "source": "viewTask"}
        return tables.frame(tables.TASKS, tasks, attrs=attrs)

    def logs(self, index: int = 0) -> list[dict[str, str]]:
        """Return what the workers' apps printed for one task: ``worker``, ``stdout``, ``stderr``.

        Raises
        ------
        ResultNotFoundError
            When the deal has no such task, or its scheduler cannot be found.
        ConfigurationError
            When there is no wallet.
        ValidationError
            When the wallet is not the requester's, who alone may read logs.
        WorkerpoolCallError
            When the scheduler refuses.
        """
        taskid = self._taskid(index)
        signer = require_requester(self._client, self.deal, taskid)
        api = scheduler(self._client, self.deal.workerpool.pointer)
        if api is None:
            raise ResultNotFoundError(f"Impossible to resolve API url for workerpool {self.deal.workerpool.pointer}")
        return api.logs(taskid, signer, self._client.chain.chain_id)

    def claim(self) -> Claimed:
        """Take back the money for tasks that passed their final deadline without a result; asks first.

        Raises
        ------
        ValidationError
            Before the deadline, or when there is nothing to claim.

        Source
        ------
        Contract functions ``claimArray`` and ``initializeAndClaimArray``.
        """
        return self._client.deal.claim(self.dealid)

    def _taskid(self, index: int) -> Bytes32:
        if type(index) is int and 0 <= index < len(self.taskids):
            return self.taskids[index]
        raise ResultNotFoundError(
            f"the deal has no task {shown(index)}", hint=f"its tasks are 0 to {len(self.taskids) - 1}"
        )

    def __repr__(self) -> str:
        tasks = f"{len(self.taskids)} task{'s' if len(self.taskids) != 1 else ''}"
        return f"Run({tasks} for {format_rlc(self.price)}, dealid={self.dealid})"


def run_of(client: IExec, matched: Matched) -> Run:
    """Return the handle of a run whose orders were matched a moment ago.

    Parameters
    ----------
    client
        Who pays.
    matched
        The match: it is paid, whatever can be read now.

    Raises
    ------
    Web3ProviderSendError
        When the node does not show the deal; ``.tx_hash`` and ``.context`` say which it is.
    """
    again = f"iexec.deal.attach({matched.dealid!r})"
    try:
        return Run(client, _new_deal(client, matched.dealid), matched.txHash)
    except KeyboardInterrupt as stop:
        stop.add_note(f"The run was paid. To go on with it: {again}")
        raise
    except IExecError as error:
        raise Web3ProviderSendError(
            f"the run was paid, and the node does not show its deal: {error.message}",
            tx_hash=matched.txHash,
            context={"deal": matched.dealid, "transaction": matched.txHash},
            hint=f"it need not be run again: {again}",
        ) from error


def _new_deal(client: IExec, dealid: Bytes32) -> Deal:
    # Behind one address a node may have told of the match, and another one has not heard of it yet.
    for pause_s in _LAG_PAUSES_S:
        try:
            return client.chain.deal(dealid)
        except IExecError:
            time.sleep(pause_s)
    return client.chain.deal(dealid)


def _word(api: WorkerpoolApi, taskid: Bytes32) -> str:
    try:
        return status_of(api.task(taskid))
    except ApiCallError:
        # What the scheduler says is a help, not a need: the chain decides.
        return ""

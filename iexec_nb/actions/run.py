"""The handle of a run: a deal that somebody waits for."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING

from iexec_nb.actions.outcome import Result
from iexec_nb.actions.updates import Update
from iexec_nb.actions.watch import scheduler, seconds, stopped_note, wait, watch
from iexec_nb.errors import ResultNotFoundError
from iexec_nb.protocol.execution import Deal
from iexec_nb.protocol.types import Bytes32, shown
from iexec_nb.protocol.units import format_rlc

if TYPE_CHECKING:
    import pandas as pd

    from iexec_nb.client import IExec

_WAKE_S = 0.25


class Run:
    """A deal and its tasks; the deal's id alone is enough to make another handle (``iexec.deal.attach``).

    Attributes
    ----------
    deal
        The deal as it was matched.
    txHash
        The transaction that matched it, where this handle was made by it.
    """

    def __init__(self, client: IExec, deal: Deal, txHash: Bytes32 | None = None) -> None:
        self._client = client
        self.deal = deal
        self.txHash = txHash

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
        wait(updates, self._client, limit, self._again)
        return self

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
        WorkerpoolCallError
            When it refuses: only the requester may read logs.
        """
        taskid = self._taskid(index)
        api = scheduler(self._client, self.deal.workerpool.pointer)
        if api is None:
            raise ResultNotFoundError(f"Impossible to resolve API url for workerpool {self.deal.workerpool.pointer}")
        signer = self._client.require_signer("read the logs")
        return api.logs(taskid, signer, self._client.chain.chain_id)

    def _taskid(self, index: int) -> Bytes32:
        if type(index) is int and 0 <= index < len(self.taskids):
            return self.taskids[index]
        raise ResultNotFoundError(
            f"the deal has no task {shown(index)}", hint=f"its tasks are 0 to {len(self.taskids) - 1}"
        )

    def __repr__(self) -> str:
        tasks = f"{len(self.taskids)} task{'s' if len(self.taskids) != 1 else ''}"
        return f"Run({tasks} for {format_rlc(self.price)}, dealid={self.dealid})"

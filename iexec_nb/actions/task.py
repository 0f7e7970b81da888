"""The noun ``task``: one computation of a deal."""

from __future__ import annotations

from collections.abc import Iterator

from iexec_nb.actions.base import Noun
from iexec_nb.actions.updates import Update
from iexec_nb.actions.watch import wait, watch
from iexec_nb.commands import command, noun
from iexec_nb.errors import ValidationError
from iexec_nb.protocol.execution import Task, TaskStatus
from iexec_nb.protocol.types import Bytes32, bytes32
from iexec_nb.services import abi


@noun("task")
class TaskActions(Noun):
    """Tasks: one computation each, from its start to its result."""

    @command("task show 0x0123456789012345678901234567890123456789012345678901234567890123 --watch")
    def show(self, taskid: str, /, *, watch: bool = False) -> Task:
        """Return a task as the chain knows it; times are UTC.

        Parameters
        ----------
        taskid
            The task's id, 32 bytes as ``0x`` text.
        watch
            Wait until the task is completed, failed or timed out.

        Returns
        -------
        Task
            The contract's struct; ``results`` says where the result is.

        Raises
        ------
        ObjectNotFoundError
            When no such task was initialized.
        TaskFailedError
            With `watch`, when the app failed.
        TaskTimeoutError
            With `watch`, when the task passed its final deadline.

        Source
        ------
        Contract function ``viewTask``.
        """
        where = bytes32(taskid, "taskid")
        if watch:
            wait(self.watch(where), self._client, None, f"iexec.task.show({where!r}, watch=True)")
        return self._chain.task(where)

    def watch(self, taskid: str, /) -> Iterator[Update]:
        """Yield an update at once and after each change, until the task is over.

        Parameters
        ----------
        taskid
            The task's id.

        Yields
        ------
        Update
            ``phase``, ``message``, ``tasks``, ``done`` and ``failed``.
        """
        task = self._chain.task(bytes32(taskid, "taskid"))
        return watch(self._client, self._chain.deal(task.dealid), [task.taskid])

    @command("task claim 0x0123456789012345678901234567890123456789012345678901234567890123", spends=True)
    def claim(self, taskid: str, /) -> Bytes32:
        """Take back the money for a task that passed its final deadline; return the transaction's hash.

        A task that was never initialized is claimed through its deal: ``deal.claim``.

        Parameters
        ----------
        taskid
            The task's id.

        Raises
        ------
        ValidationError
            When the task is completed or failed already, or before its deadline.
        ObjectNotFoundError
            When no such task was initialized.

        Source
        ------
        Contract function ``claim``.
        """
        signer = self._signer("claim")
        task = self._chain.task(bytes32(taskid, "taskid"))
        if task.status in (TaskStatus.COMPLETED, TaskStatus.FAILED):
            raise ValidationError(
                f"Cannot claim a task having status {task.status.name}", context={"task": task.taskid}
            )
        now = self._chain.now()
        if not task.timed_out(now):
            raise ValidationError(
                "Cannot claim a task before reaching the consensus deadline date: "
                f"{task.finalDeadline:%Y-%m-%d %H:%M:%S} UTC",
                context={"now": f"{now:%Y-%m-%d %H:%M:%S} UTC"},
            )
        self._client.approve(f"claim the timed-out task {task.taskid}")
        data = abi.CLAIM.encode(bytes.fromhex(task.taskid[2:]))
        return self._chain.send(signer, self._chain.hub_address, data).tx_hash

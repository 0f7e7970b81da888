"""The noun ``task``: one computation of a deal."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Literal, overload

from iexec_nb.actions import deal_raw as raw
from iexec_nb.actions import offchain
from iexec_nb.actions.base import Noun
from iexec_nb.actions.claims import claim_parts, parts_of
from iexec_nb.actions.updates import Update
from iexec_nb.actions.watch import wait, watch
from iexec_nb.commands import command, noun
from iexec_nb.errors import IExecError, ObjectNotFoundError, TaskTimeoutError, ValidationError
from iexec_nb.protocol.execution import Deal, Task, TaskStatus
from iexec_nb.protocol.offchain import OffchainInfo, TaskDebug, TaskDownload, TaskLogs
from iexec_nb.protocol.types import Bytes32, bytes32
from iexec_nb.protocol.units import format_rlc

_IGNORED = "Task status is not COMPLETED, option --download [fileName] will be ignored"


@noun("task")
class TaskActions(Noun):
    """Tasks: one computation each, from its start to its result."""

    @overload
    def show(
        self, taskid: str, /, *, watch: bool = ..., download: Literal[False] = ..., dealid: str | None = ...
    ) -> Task: ...
    @overload
    def show(
        self,
        taskid: str,
        /,
        *,
        watch: bool = ...,
        download: bool | str | Path,
        decrypt: bool = ...,
        beneficiary_keystoredir: str | Path | None = ...,
        beneficiary_key_file: str | Path | None = ...,
        dealid: str | None = ...,
    ) -> Task | TaskDownload: ...
    @command(
        "task show 0x0123456789012345678901234567890123456789012345678901234567890123 --watch --download my-result",
        js=("task.show",),
        raw=raw.shown_task,
    )
    def show(
        self,
        taskid: str,
        /,
        *,
        watch: bool = False,
        download: bool | str | Path = False,
        decrypt: bool = False,
        beneficiary_keystoredir: str | Path | None = None,
        beneficiary_key_file: str | Path | None = None,
        dealid: str | None = None,
    ) -> Task | TaskDownload:
        """Return a task as the chain knows it; times are UTC.

        Parameters
        ----------
        taskid
            The task's id, 32 bytes as ``0x`` text.
        watch
            Wait until the task is completed, failed or timed out.
        download
            Write the result into a zip file, named after the task or as given here.
        decrypt
            With `download`: decrypt the result.
        beneficiary_keystoredir, beneficiary_key_file
            With `decrypt`: folder and file of the beneficiary's private key.
        dealid
            The deal of the task: then one that was not initialized yet is found too.

        Returns
        -------
        Task
            The contract's struct; ``results`` says where the result is. With `download` a `TaskDownload`: ``task``
            and ``resultPath``.

        Raises
        ------
        ObjectNotFoundError
            When no such task was initialized.
        TaskFailedError
            With `watch`, when the app failed.
        ValidationError
            When `decrypt` is given without `download`.
        ResultNotFoundError, DecryptionError, IpfsGatewayCallError
            With `download`, as `result.download`.

        Source
        ------
        Contract function ``viewTask``.
        """
        where = bytes32(taskid, "taskid")
        if download is False and (decrypt or beneficiary_keystoredir is not None or beneficiary_key_file is not None):
            raise ValidationError("decrypt is for a result that is downloaded", hint="--download --decrypt")
        if watch:
            # A task that is late is shown as such; one whose app failed looks as if it ran, so that is an error.
            with suppress(TaskTimeoutError):
                again = "" if dealid is None else f", dealid={dealid!r}"
                updates = self.watch(where, dealid=dealid)
                wait(updates, self._client, None, f"iexec.task.show({where!r}, watch=True{again})")
        task = self._known(where, dealid)
        if download is False:
            return task
        if task.status is not TaskStatus.COMPLETED:
            return TaskDownload(task=task, note=_IGNORED)
        path = self._client.result.download(
            where, None if download is True else download, decrypt=decrypt,
            beneficiary_keystoredir=beneficiary_keystoredir, beneficiary_key_file=beneficiary_key_file,
        )  # fmt: skip
        return TaskDownload(task=task, resultPath=path)

    def watch(self, taskid: str, /, *, dealid: str | None = None) -> Iterator[Update]:
        """Yield an update at once and after each change, until the task is over.

        Parameters
        ----------
        taskid
            The task's id.
        dealid
            The deal of the task: then one that was not initialized yet is waited for too.

        Yields
        ------
        Update
            ``event`` (``TASK_UPDATED``, ``TASK_COMPLETED``, ``TASK_TIMEDOUT``, ``TASK_FAILED``), ``phase``,
            ``message``, ``tasks``, ``done`` and ``failed``.

        Raises
        ------
        ObjectNotFoundError
            When no such task was initialized, and `dealid` is not given or not its deal.
        """
        task, deal = self._both(taskid, dealid)
        return watch(self._client, deal, [task.taskid])

    @command(
        "task claim 0x0123456789012345678901234567890123456789012345678901234567890123",
        js=("task.claim",),
        raw=lambda txHash: {"txHash": txHash},
        spends=True,
    )
    def claim(self, taskid: str, /, *, dealid: str | None = None) -> Bytes32:
        """Take back the money for a task that passed its final deadline; return the transaction's hash.

        Parameters
        ----------
        taskid
            The task's id.
        dealid
            The deal of the task: then one that was never initialized is claimed too.

        Raises
        ------
        ValidationError
            When the task is completed or failed already, or before its deadline.
        ObjectNotFoundError
            When no such task was initialized, and `dealid` is not given or not its deal.
        Web3ProviderSendError
            When the transaction failed.

        Source
        ------
        Contract functions ``claimArray`` and ``initializeAndClaimArray``.
        """
        signer = self._signer("claim")
        task, deal = self._both(taskid, dealid)
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
        back = format_rlc(deal.price_per_task)
        text = f"claim the timed-out task {task.taskid}: {back} back to {deal.sponsor}"
        parts = parts_of(self._client, signer, deal, [task])
        return claim_parts(self._client, signer, parts, text)[0].txHash

    @command(
        "task offchain-info 0x0123456789012345678901234567890123456789012345678901234567890123",
        js=("task.fetchOffchainInfo",),
        raw=raw.offchain,
    )
    def offchain_info(self, taskid: str, /, *, dealid: str | None = None) -> OffchainInfo:
        """Return what the workerpool's scheduler says about a task: its history, and each worker's part; times are UTC.

        Parameters
        ----------
        taskid
            The task's id.
        dealid
            The deal of the task: then one that was not initialized yet is found too.

        Returns
        -------
        OffchainInfo
            ``task`` (``status``, ``statusHistory``) and ``replicates`` (``worker``, ``status``, ``exitCode``,
            ``statusHistory``).

        Raises
        ------
        ObjectNotFoundError
            When no such task was initialized.
        WorkerpoolCallError, CompassCallError
            When the scheduler cannot be found, does not answer, or does not know the task.

        Source
        ------
        Endpoint ``GET /tasks/{taskid}`` of the scheduler.
        """
        task, deal = self._both(taskid, dealid)
        return offchain.offchain_info(self._client, deal, task.taskid)

    @command(
        "task logs 0x0123456789012345678901234567890123456789012345678901234567890123",
        js=("task.fetchLogs",),
        raw=lambda found: {"appLogs": raw.logs(found)},
    )
    def logs(self, taskid: str, /, *, dealid: str | None = None) -> TaskLogs:
        """Return what the app of a task printed on each worker; for the requester of the deal only.

        Parameters
        ----------
        taskid
            The task's id.
        dealid
            The deal of the task, where it is known.

        Returns
        -------
        TaskLogs
            A sequence of ``worker``, ``stdout`` and ``stderr``; all of them together in ``.stdout`` and ``.stderr``.

        Raises
        ------
        ObjectNotFoundError
            When no such task was initialized.
        ValidationError
            When the wallet is not the requester's.
        WorkerpoolCallError, CompassCallError
            When the scheduler cannot be found, does not answer, or refuses.

        Source
        ------
        Endpoints ``GET /tasks/logs/challenge`` and ``GET /tasks/{taskid}/logs`` of the scheduler.
        """
        task, deal = self._both(taskid, dealid)
        return offchain.app_logs(self._client, deal, task.taskid)

    @command(
        "task debug 0x0123456789012345678901234567890123456789012345678901234567890123 --logs",
        raw=raw.debugged,
    )
    def debug(self, taskid: str, /, *, logs: bool = False, dealid: str | None = None) -> TaskDebug:
        """Return all that there is to know about a task: what the chain and what the scheduler says; times are UTC.

        What the scheduler does not tell is a warning and no error.

        Parameters
        ----------
        taskid
            The task's id.
        logs
            Also what the app printed; for the requester of the deal only.
        dealid
            The deal of the task: then one that was not initialized yet is found too.

        Returns
        -------
        TaskDebug
            ``onchainData``, ``offchainData``, ``appLogs`` and ``warnings``.

        Raises
        ------
        ObjectNotFoundError
            When no such task was initialized.
        ConfigurationError
            With `logs`, when there is no wallet.

        Source
        ------
        Contract function ``viewTask``; the endpoints of `offchain_info` and `logs`.
        """
        if logs:
            self._signer("read the logs")
        task, deal = self._both(taskid, dealid)
        warnings = []
        told = printed = None
        try:
            told = offchain.offchain_info(self._client, deal, task.taskid)
        except IExecError as error:
            warnings.append(f"Failed to fetch off-chain data: {error.message}")
        try:
            printed = offchain.app_logs(self._client, deal, task.taskid) if logs else None
        except IExecError as error:
            warnings.append(f"Failed to fetch app logs: {error.message}")
        return TaskDebug(onchainData=task, offchainData=told, appLogs=printed, warnings=tuple(warnings))

    def _both(self, taskid: str, dealid: str | None) -> tuple[Task, Deal]:
        task = self._known(taskid, dealid)
        return task, self._chain.deal(task.dealid)

    def _known(self, taskid: str, dealid: str | None) -> Task:
        where, of = bytes32(taskid, "taskid"), None if dealid is None else bytes32(dealid, "dealid")
        task = self._chain.task(where, of)
        if of not in (None, task.dealid):
            raise ObjectNotFoundError("task", where, self._chain.chain_id, hint=f"it is not a task of deal {of}")
        return task

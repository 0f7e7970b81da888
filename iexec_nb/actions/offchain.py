"""What a workerpool's scheduler tells about a task: a claim of somebody who is paid, never a fact of the chain.

The chain alone does not say that an app crashed: the task stays active until its deadline. The scheduler says it at
once, where it can be found and answers; so it is asked, and everything but these functions' own verbs works without it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from iexec_nb.errors import (
    ApiCallError,
    ConfigurationError,
    ValidationError,
    Web3ProviderSignMessageError,
    WorkerpoolCallError,
)
from iexec_nb.protocol.offchain import AppLog, OffchainInfo, TaskLogs

if TYPE_CHECKING:
    from iexec_nb.client import IExec
    from iexec_nb.protocol.execution import Deal
    from iexec_nb.services.wallet import Signer
    from iexec_nb.services.workerpool import WorkerpoolApi

FAILED_OFFCHAIN = frozenset(
    {"FAILED", "RUNNING_FAILED", "INITIALIZE_FAILED", "CONTRIBUTION_TIMEOUT", "FINALIZE_FAILED"}
)
"""Words of the scheduler after which no result will come."""


def scheduler(client: IExec, workerpool: str) -> WorkerpoolApi | None:
    """Return the API of a workerpool's scheduler, or None where compass does not know it or does not answer."""
    try:
        return _found(client, workerpool)
    except ApiCallError:
        return None


def require_scheduler(client: IExec, workerpool: str) -> WorkerpoolApi:
    """Return the API of a workerpool's scheduler.

    Raises
    ------
    CompassCallError
        When compass does not answer.
    WorkerpoolCallError
        When it does not know the workerpool, or knows an address that is none.
    """
    api = _found(client, workerpool)
    if api is None:
        raise WorkerpoolCallError(
            f"Impossible to resolve API url for workerpool {workerpool}",
            hint="its owner did not register one; what the chain knows: iexec.task.show(taskid)",
        )
    return api


def offchain_info(client: IExec, deal: Deal, taskid: str) -> OffchainInfo:
    """Return what the scheduler knows about a task of a deal.

    Raises
    ------
    CompassCallError, WorkerpoolCallError
        When the scheduler cannot be found, does not answer, or does not know the task.
    """
    answer = require_scheduler(client, deal.workerpool.pointer).task(taskid)
    if answer is None:
        raise WorkerpoolCallError(
            "the scheduler does not know the task",
            status=404,
            context={"task": taskid, "workerpool": deal.workerpool.pointer},
            hint="it may not have seen the deal yet: try again in a moment",
        )
    return OffchainInfo.from_json(answer)


def app_logs(client: IExec, deal: Deal, taskid: str) -> TaskLogs:
    """Return what the app of a task printed, which the scheduler tells the requester of the deal and nobody else.

    Raises
    ------
    ConfigurationError
        When there is no wallet.
    ValidationError
        When the wallet is not the requester's.
    CompassCallError, WorkerpoolCallError
        When the scheduler cannot be found, does not answer, or refuses.
    """
    signer = require_requester(client, deal, taskid)
    rows = require_scheduler(client, deal.workerpool.pointer).logs(taskid, signer, client.chain.chain_id)
    return TaskLogs(taskid=taskid, replicates=tuple(AppLog(**row) for row in rows))


def require_requester(client: IExec, deal: Deal, taskid: str) -> Signer:
    """Return the wallet that logs in to the scheduler: a login is signed by the requester of the deal or by nobody.

    Raises
    ------
    ConfigurationError
        When there is no wallet.
    ValidationError
        When the wallet is not the requester's.
    """
    signer = client.require_signer("read the logs")
    if signer.address != deal.requester:
        raise ValidationError(
            f"Only task requester {deal.requester} can access replicates logs",
            context={"task": taskid, "wallet": signer.address},
            hint="use the requester's wallet",
        )
    return signer


def output(client: IExec, deal: Deal, taskid: str) -> tuple[str, str, int | None]:
    """Return what an app printed on both streams, on every worker, and its exit code; empty where that is not told."""
    api = scheduler(client, deal.workerpool.pointer)
    if api is None:
        return "", "", None
    exit_code = None
    try:
        exit_code = exit_code_of(api.task(taskid))
        if client.signer is None or client.signer.address != deal.requester:
            return "", "", exit_code
        logs = app_logs(client, deal, taskid)
    except (ApiCallError, Web3ProviderSignMessageError):
        return "", "", exit_code
    return logs.stdout, logs.stderr, exit_code


def status_of(answer: dict[str, Any] | None) -> str:
    """Return the scheduler's word for a task (``currentStatus``), cut to a length; nothing where it has none."""
    return "" if answer is None else OffchainInfo.from_json({"currentStatus": answer.get("currentStatus")}).task.status


def exit_code_of(answer: dict[str, Any] | None) -> int | None:
    """Return the exit code of the first replicate that has one (``appExitCode``)."""
    return None if answer is None else OffchainInfo.from_json({"replicates": answer.get("replicates")}).exitCode


def _found(client: IExec, workerpool: str) -> WorkerpoolApi | None:
    url = client.compass.api_url(workerpool) if client.compass else None
    try:
        return client.workerpool_api(url) if url else None
    except ConfigurationError as error:
        # Its owner registered what no address is, which nobody here can put right.
        raise WorkerpoolCallError(
            f"the address that workerpool {workerpool} registered cannot be used: {error.message}"
        ) from error

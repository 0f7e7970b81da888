"""The two services by which a client asks about a run off the chain: compass, and a workerpool's scheduler.

Compass tells the API address of a workerpool; the scheduler behind it tells the status of a task and, to its requester
only, what the app printed (reference: results.md section 7).
"""

from __future__ import annotations

import base64
import secrets
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from flask import Flask, Response, request

from iexec_nb.errors import InvalidSignatureError
from iexec_nb.protocol.typed_data import Domain
from iexec_nb.protocol.types import Address
from iexec_nb.sandbox.records import Replicate, RunRecords, StatusChange, TaskRecord
from iexec_nb.sandbox.web import Challenges, address_or_none, json_response, new_app

if TYPE_CHECKING:
    from iexec_nb.services.chain import Chain

CHALLENGE_LIFETIME_S = 3600.0


def compass_app(api_urls: Mapping[tuple[int, Address], str] | Mapping[Address, str]) -> Flask:
    """Return compass as a WSGI app: ``GET /<chainId>/workerpools/<address>`` gives ``{"apiUrl": ...}``.

    Parameters
    ----------
    api_urls
        API address by workerpool, or by chain id and workerpool; read at each request, so later entries count.
    """
    app = new_app("compass")

    @app.get("/<int:chain_id>/workerpools/<workerpool>")
    def workerpool(chain_id: int, workerpool: str) -> Response:
        known: Mapping[Any, str] = api_urls
        pool = address_or_none(workerpool)
        if pool is None:
            return json_response({"error": "Invalid workerpool address"}, 400)
        url = known.get((chain_id, pool)) or known.get(pool)
        if url is None:
            return json_response({"error": "Workerpool not found"}, 404)
        return json_response({"apiUrl": url})

    return app


def scheduler_app(records: RunRecords, chain: Chain) -> Flask:
    """Return a workerpool's API as a WSGI app: status of tasks for everybody, logs for the requester.

    Parameters
    ----------
    records
        What the worker writes.
    chain
        The chain that challenges are bound to.
    """
    app = new_app("scheduler")
    challenges = Challenges(
        Domain(chainId=chain.chain_id, name="iExec Core", version="1"),
        lambda: base64.b64encode(secrets.token_bytes(32)).decode(),
        lifetime_s=CHALLENGE_LIFETIME_S,
        single_use=False,
    )

    @app.get("/tasks/logs/challenge")
    def challenge() -> Response:
        owner = address_or_none(request.args.get("address"))
        return Response(status=400) if owner is None else json_response(challenges.issue(owner))

    @app.get("/tasks/<taskid>")
    def task(taskid: str) -> Response:
        record = records.get(taskid.lower())
        return Response(status=404) if record is None else json_response(_task(record))

    @app.get("/tasks/<taskid>/logs")
    def logs(taskid: str) -> Response:
        return _logs(records.get(taskid.lower()), challenges)

    return app


def _logs(record: TaskRecord | None, challenges: Challenges) -> Response:
    try:
        caller = challenges.signer(request.headers.get("Authorization", ""))
    except InvalidSignatureError:
        return Response(status=401)
    if record is None or caller != record.requester:
        return Response(status=403)
    entries = [_replicate_logs(replicate) for replicate in list(record.replicates.values())]
    if not entries:
        return Response(status=404)
    return json_response({"chainTaskId": record.taskid, "computeLogsList": entries})


def _replicate_logs(replicate: Replicate) -> dict[str, object]:
    return {"walletAddress": replicate.worker, "stdout": replicate.stdout, "stderr": replicate.stderr}


def _task(record: TaskRecord) -> dict[str, object]:
    """Return a task in the shape of the scheduler's ``TaskModel``."""
    return {
        "chainTaskId": record.taskid,
        "replicates": [_replicate(record, replicate) for replicate in list(record.replicates.values())],
        "maxExecutionTime": int(record.max_execution_s * 1000),
        "tag": record.tag,
        "dappType": record.app_type,
        "dappName": record.app_name,
        "commandLine": record.command_line,
        "initializationBlockNumber": record.initialization_block,
        "currentStatus": record.status,
        "trust": record.trust,
        "uploadingWorkerWalletAddress": record.uploader,
        "consensus": None,
        "contributionDeadline": _date(record.contribution_deadline),
        "revealDeadline": None,
        "finalDeadline": _date(record.final_deadline),
        "resultLink": record.result_link,
        "chainCallbackData": record.callback_data,
        "dateStatusList": [_change(change) for change in list(record.history)],
    }


def _replicate(record: TaskRecord, replicate: Replicate) -> dict[str, object]:
    history = list(replicate.history)
    body: dict[str, object] = {
        "self": f"/tasks/{record.taskid}/replicates/{replicate.worker}",
        "chainTaskId": record.taskid,
        "walletAddress": replicate.worker,
        "currentStatus": history[-1].status if history else "CREATED",
        "statusUpdateList": [_change(change) for change in history],
    }
    if replicate.exit_code is not None:
        body["appExitCode"] = replicate.exit_code
    return body


def _change(change: StatusChange) -> dict[str, object]:
    body: dict[str, object] = {"date": _date(change.date), "status": change.status}
    if change.cause is not None:
        body["cause"] = change.cause
    return body


def _date(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat(timespec="milliseconds")

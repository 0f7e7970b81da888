"""Compass and the scheduler API: where a workerpool answers, what it says of a task, and who may read logs."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from flask.testing import FlaskClient
from sandbox_stack import Wallet, wallet

from iexec_nb.protocol import typed_data
from iexec_nb.sandbox.compass import compass_app, scheduler_app
from iexec_nb.sandbox.records import RunRecords, TaskRecord

CHAIN_ID = 134135
POOL = wallet("pool").address
REQUESTER, STRANGER, WORKER = wallet("requester"), wallet("stranger"), wallet("worker")
TASK = "0x" + "ab" * 32
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.fixture
def records() -> RunRecords:
    return RunRecords(clock=lambda: NOW)


@pytest.fixture
def client(records: RunRecords) -> FlaskClient:
    chain: Any = SimpleNamespace(chain_id=CHAIN_ID)
    return scheduler_app(records, chain).test_client()


def record() -> TaskRecord:
    return TaskRecord(
        taskid=TASK, dealid="0x" + "cd" * 32, requester=REQUESTER.address, workerpool=POOL, tag="0x" + "0" * 64,
        trust=1, app_type="DOCKER", app_name="docker.io/a:1", command_line="x", max_execution_s=300,
    )  # fmt: skip


def login(client: FlaskClient, signer: Wallet) -> dict[str, str]:
    data = client.get(f"/tasks/logs/challenge?address={signer.address}&chainId={CHAIN_ID}").json
    assert data["domain"] == {"name": "iExec Core", "version": "1", "chainId": str(CHAIN_ID)}
    domain = typed_data.Domain(chainId=CHAIN_ID, name="iExec Core", version="1")
    digest = typed_data.challenge_digest(data["message"]["challenge"], domain)
    return {"Authorization": f"0x{digest.hex()}_{typed_data.sign_digest(digest, signer.key)}_{signer.address}"}


def test_compass_gives_the_address_of_a_workerpool_and_learns_of_new_ones() -> None:
    urls: dict[str, str] = {}
    client = compass_app(urls).test_client()
    assert client.get(f"/{CHAIN_ID}/workerpools/{POOL}").status_code == 404
    urls[POOL] = "http://127.0.0.1:1"
    assert client.get(f"/{CHAIN_ID}/workerpools/{POOL.lower()}").json == {"apiUrl": "http://127.0.0.1:1"}
    assert client.get(f"/{CHAIN_ID}/workerpools/pool").status_code == 400


def test_compass_can_tell_chains_apart() -> None:
    client = compass_app({(1, POOL): "http://127.0.0.1:1"}).test_client()
    assert client.get(f"/1/workerpools/{POOL}").status_code == 200
    assert client.get(f"/2/workerpools/{POOL}").status_code == 404


def test_a_task_is_shown_with_its_history_and_that_of_its_workers(client: FlaskClient, records: RunRecords) -> None:
    assert client.get(f"/tasks/{TASK}").status_code == 404
    records.add(record())
    records.task_status(TASK, "RECEIVED", "RUNNING", "RUNNING_FAILED", "FAILED")
    records.replicate_status(TASK, WORKER.address, "COMPUTING", "COMPUTE_FAILED", cause="APP_COMPUTE_FAILED")
    records.output(TASK, WORKER.address, exit_code=3, stdout="out", stderr="err")
    body = client.get(f"/tasks/{TASK}").json
    assert (body["currentStatus"], body["chainTaskId"], body["maxExecutionTime"]) == ("FAILED", TASK, 300_000)
    assert [change["status"] for change in body["dateStatusList"]] == [
        "RECEIVED", "RUNNING", "RUNNING_FAILED", "FAILED",
    ]  # fmt: skip
    (replicate,) = body["replicates"]
    assert (replicate["walletAddress"], replicate["appExitCode"]) == (WORKER.address, 3)
    assert replicate["currentStatus"] == "COMPUTE_FAILED"
    assert replicate["statusUpdateList"][-1] == {
        "date": "2026-01-02T03:04:05.000+00:00", "status": "COMPUTE_FAILED", "cause": "APP_COMPUTE_FAILED",
    }  # fmt: skip
    assert "err" not in str(body)


def test_only_the_requester_reads_the_logs(client: FlaskClient, records: RunRecords) -> None:
    records.add(record())
    url = f"/tasks/{TASK}/logs"
    assert client.get(url).status_code == 401
    assert client.get(url, headers=login(client, STRANGER)).status_code == 403
    assert client.get(url, headers=login(client, REQUESTER)).status_code == 404
    records.output(TASK, WORKER.address, exit_code=0, stdout="hello\n", stderr="")
    mine = login(client, REQUESTER)
    for _ in range(2):
        answer = client.get(url, headers=mine)
        assert answer.json["computeLogsList"] == [{"walletAddress": WORKER.address, "stdout": "hello\n", "stderr": ""}]
    forged = {"Authorization": mine["Authorization"].replace(REQUESTER.address, STRANGER.address)}
    assert client.get(url, headers=forged).status_code == 401


def test_a_challenge_needs_an_address(client: FlaskClient) -> None:
    assert client.get("/tasks/logs/challenge?chainId=1").status_code == 400


def test_waiting_for_a_task_ends_with_its_status_or_its_time(records: RunRecords) -> None:
    assert not records.wait(TASK, timeout_s=0.01)
    records.add(record())
    records.task_status(TASK, "COMPLETED")
    assert records.wait(TASK, timeout_s=5)

"""Compass and the scheduler API: the requests of the JavaScript SDK, and what each answer means."""

from __future__ import annotations

import copy
from typing import Any

import httpx
import pytest

from iexec_nb.errors import CompassCallError, ValidationError, WorkerpoolCallError
from iexec_nb.protocol.typed_data import Domain, challenge_digest, challenge_typed_data, recover
from iexec_nb.services.http import Http
from iexec_nb.services.wallet import PrivateKeySigner
from iexec_nb.services.workerpool import Compass, WorkerpoolApi

CHAIN = 421614
POOL = "0x" + "33" * 20
TASK = "0x" + "ab" * 32
SIGNER = PrivateKeySigner("0x" + "11" * 32)
TEXT = "3q2+796tvu/erb7v3q2+796tvu/erb7v3q2+796tvu8="
DOMAIN = Domain(name="iExec Core", version="1", chainId=CHAIN)
CHALLENGE: dict[str, Any] = challenge_typed_data(TEXT, DOMAIN)
CHALLENGE["domain"]["chainId"] = CHAIN


class Server:
    def __init__(self, *answers: httpx.Response | Exception) -> None:
        self.answers = list(answers)
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    @property
    def seen(self) -> list[str]:
        return [f"{request.method} {request.url.raw_path.decode()}" for request in self.requests]

    @property
    def compass(self) -> Compass:
        http = Http(
            "https://compass.example", service="Compass", error=CompassCallError,
            transport=httpx.MockTransport(self), sleep=lambda seconds: None,
        )  # fmt: skip
        return Compass(http, CHAIN)

    @property
    def api(self) -> WorkerpoolApi:
        http = Http(
            "https://core.example", service="Workerpool API", error=WorkerpoolCallError,
            transport=httpx.MockTransport(self), sleep=lambda seconds: None,
        )  # fmt: skip
        return WorkerpoolApi(http)


def json(body: object, status: int = 200) -> httpx.Response:
    return httpx.Response(status, json=body)


# --- Compass ---


def test_compass_gives_the_address_of_a_scheduler() -> None:
    server = Server(json({"apiUrl": "https://core.example:8443/v1"}))
    assert server.compass.api_url(POOL) == "https://core.example:8443/v1"
    assert server.seen == [f"GET /421614/workerpools/{POOL}"]


@pytest.mark.parametrize(
    "answer", [json({"error": "not found"}, 404), json({}, 400), httpx.Response(404, text="no"), json({}), json([])]
)
def test_a_workerpool_that_compass_does_not_know_has_no_address(answer: httpx.Response) -> None:
    assert Server(answer).compass.api_url(POOL) is None


@pytest.mark.parametrize("answer", [httpx.ConnectError("refused"), httpx.Response(503)])
def test_a_compass_that_is_down_is_an_error(answer: httpx.Response | Exception) -> None:
    with pytest.raises(CompassCallError, match="Compass error: "):
        Server(answer).compass.api_url(POOL)


@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "javascript:alert(1)", "https://", "https://a b", "https://user@host", 5, ["x"], ""]
)
def test_an_address_that_is_no_web_address_is_refused(url: object) -> None:
    with pytest.raises(CompassCallError, match="not http or https"):
        Server(json({"apiUrl": url})).compass.api_url(POOL)


def test_a_malformed_workerpool_is_refused_before_any_request() -> None:
    server = Server(json({}))
    with pytest.raises(ValidationError):
        server.compass.api_url("../../admin")
    assert server.seen == []


# --- scheduler ---


def test_a_task_is_given_as_the_scheduler_sends_it() -> None:
    server = Server(json({"currentStatus": "COMPLETED", "replicates": []}))
    assert server.api.task(TASK.upper().replace("X", "x")) == {"currentStatus": "COMPLETED", "replicates": []}
    assert server.seen == [f"GET /tasks/{TASK}"]


def test_a_task_that_the_scheduler_does_not_know_is_none() -> None:
    assert Server(json({}, 404)).api.task(TASK) is None


def test_logs_are_asked_for_with_a_signed_challenge() -> None:
    rows = [{"walletAddress": POOL, "stdout": "hello", "stderr": "oops", "more": 1}, {"walletAddress": POOL}]
    server = Server(json(CHALLENGE), json({"computeLogsList": rows}))
    assert server.api.logs(TASK, SIGNER, CHAIN) == [
        {"worker": POOL, "stdout": "hello", "stderr": "oops"},
        {"worker": POOL, "stdout": "", "stderr": ""},
    ]
    assert server.seen == [
        f"GET /tasks/logs/challenge?address={SIGNER.address}&chainId=421614",
        f"GET /tasks/{TASK}/logs",
    ]
    digest, signature, account = server.requests[1].headers["authorization"].split("_")
    assert digest == "0x" + challenge_digest(TEXT, DOMAIN).hex()
    assert recover(bytes.fromhex(digest[2:]), signature) == account == SIGNER.address


@pytest.mark.parametrize("answer", [json({}, 404), json({}), json({"computeLogsList": None})])
def test_no_logs_are_an_empty_list(answer: httpx.Response) -> None:
    assert Server(json(CHALLENGE), answer).api.logs(TASK, SIGNER, CHAIN) == []


@pytest.mark.parametrize("status", [401, 403])
def test_a_refusal_of_logs_is_an_error_with_its_status(status: int) -> None:
    with pytest.raises(WorkerpoolCallError) as caught:
        Server(json(CHALLENGE), json({}, status)).api.logs(TASK, SIGNER, CHAIN)
    assert caught.value.status == status


@pytest.mark.parametrize("rows", ["x", [1], {"0": {}}])
def test_logs_that_are_no_list_of_records_are_an_error(rows: object) -> None:
    with pytest.raises(WorkerpoolCallError, match="not a list of logs"):
        Server(json(CHALLENGE), json({"computeLogsList": rows})).api.logs(TASK, SIGNER, CHAIN)


def test_a_wallet_is_asked_once_even_when_the_scheduler_fails() -> None:
    server = Server(json(CHALLENGE), httpx.Response(503))
    with pytest.raises(WorkerpoolCallError):
        server.api.logs(TASK, SIGNER, CHAIN)
    assert len(server.seen) == 2


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("domain", {"name": "iExec Gateway", "version": "1", "chainId": CHAIN}),
        ("domain", {"name": "iExecODB", "version": "5.0.0", "chainId": CHAIN, "verifyingContract": POOL}),
        ("domain", {"name": "iExec Core", "version": "1", "chainId": 1}),
        ("primaryType", "RequestOrder"),
        ("message", {"challenge": "Sign this message to log into iExec Gateway: 0123456789abcdef"}),
        ("message", {"challenge": "pay"}),
    ],
)
def test_a_scheduler_gets_no_signature_on_anything_but_its_login(member: str, value: object) -> None:
    challenge = {**copy.deepcopy(CHALLENGE), member: value}
    server = Server(json(challenge), json({"computeLogsList": []}))
    with pytest.raises(WorkerpoolCallError, match="Unexpected challenge format"):
        server.api.logs(TASK, SIGNER, CHAIN)
    assert len(server.seen) == 1

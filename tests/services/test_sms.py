"""The SMS: requests as captured from the JavaScript SDK, what each status means, and no secret ever shown."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable

import httpx
import pytest

from iexec_nb.errors import IExecError, SecretExistsError, SmsCallError, ValidationError
from iexec_nb.protocol.types import Secret
from iexec_nb.services.http import Http
from iexec_nb.services.sms import Sms
from iexec_nb.services.wallet import PrivateKeySigner

SIGNER = PrivateKeySigner("0x" + "11" * 32)
OWNER = "0x19E7E376E7C213B7E7e7e46cc70A5dD086DAff2A"
RESOURCE = "0x" + "11" * 20
DATASET_KEY = "m7/kaM4WMTxHNPNAhaTAdC+8VJv8UdcsxPYpc94jls0="
KEY_NAME = "iexec-result-encryption-public-key"

WEB3_AUTH = (
    "0x0fa0403f72891a15219820e3be7d33582f73272b27dfa3a801a54bf7e3f8591150365ebc4e7b4692f3a06811c291aca0"
    "a73e88dc20f7a06941bd2b181832143a1b"
)
WEB2_AUTH = (
    "0x9734786d997012b9aa162e11b8f184e39f130ebdeef46527e6a80efeed5a3f9369bc9a11dab8805435fa929e0b169e25"
    "3747fc0a327159c60535244cbc34b1cc1b"
)
REQUESTER_AUTH = (
    "0x7736c590b5c96da970e746fce6be2e3535fe922fe69c6fe47fcd0bfb7b59ead303f9e509aaa8b559ea3f9061baae44e6"
    "33afc06d0dd7361fac7335aada34eb9c1b"
)
APP_AUTH = (
    "0x4c7867ea7b52e8a70526694c49d20f4ae2309e614372dcfe30bb86fcf60847b3449d077de750e9cfc2c3d965b82b0f78"
    "b7e46de476f4b888b48cb30395e181c11c"
)


class Server:
    """Answers HEAD and everything else with a status each; remembers the requests."""

    def __init__(self, head: int = 404, push: int = 204) -> None:
        self.head, self.push = head, push
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        return httpx.Response(self.head if request.method == "HEAD" else self.push)

    @property
    def seen(self) -> list[str]:
        return [f"{request.method} {request.url.raw_path.decode()}" for request in self.requests]

    @property
    def sms(self) -> Sms:
        http = Http(
            "https://sms.example", service="SMS", error=SmsCallError,
            transport=httpx.MockTransport(self), sleep=lambda seconds: None,
        )  # fmt: skip
        return Sms(http)


def web3(sms: Sms) -> object:
    return sms.push_web3(RESOURCE, Secret(DATASET_KEY), SIGNER)


def web2(sms: Sms) -> object:
    return sms.push_web2(KEY_NAME, "QUJD", SIGNER)


def requester(sms: Sms) -> object:
    return sms.push_requester("my-secret", "s3cr3t é", SIGNER)


def app(sms: Sms) -> object:
    return sms.push_app(RESOURCE, "app s3cr3t", SIGNER)


PUSHES: list[tuple[Callable[[Sms], object], list[str], str, str]] = [
    (web3, [f"POST /secrets/web3?secretAddress={RESOURCE}"], WEB3_AUTH, DATASET_KEY),
    (
        web2,
        [f"{method} /secrets/web2?ownerAddress={OWNER}&secretName={KEY_NAME}" for method in ("HEAD", "POST")],
        WEB2_AUTH,
        "QUJD",
    ),
    (
        requester,
        [f"{method} /requesters/{OWNER}/secrets/my-secret" for method in ("HEAD", "POST")],
        REQUESTER_AUTH,
        "s3cr3t é",
    ),
    (app, [f"POST /apps/{RESOURCE}/secrets"], APP_AUTH, "app s3cr3t"),
]


@pytest.mark.parametrize(("push", "seen", "authorization", "body"), PUSHES)
def test_a_push_is_the_request_captured_from_the_javascript_sdk(
    push: Callable[[Sms], object], seen: list[str], authorization: str, body: str
) -> None:
    server = Server()
    push(server.sms)
    assert server.seen == seen
    sent = server.requests[-1]
    assert sent.headers["authorization"] == authorization
    assert sent.headers["content-type"] == "text/plain"
    assert sent.content == body.encode()
    assert all("authorization" not in request.headers for request in server.requests[:-1])


def questions(sms: Sms) -> list[Callable[[], bool]]:
    return [
        lambda: sms.has_web3(RESOURCE),
        lambda: sms.has_web2(OWNER.lower(), KEY_NAME),
        lambda: sms.has_requester(OWNER, "my-secret"),
        lambda: sms.has_app(RESOURCE),
    ]


def test_questions_are_head_requests_as_captured_from_the_javascript_sdk() -> None:
    server = Server()
    assert [ask() for ask in questions(server.sms)] == [False] * 4
    assert server.seen == [
        f"HEAD /secrets/web3?secretAddress={RESOURCE}",
        f"HEAD /secrets/web2?ownerAddress={OWNER}&secretName={KEY_NAME}",
        f"HEAD /requesters/{OWNER}/secrets/my-secret",
        f"HEAD /apps/{RESOURCE}/secrets",
    ]


@pytest.mark.parametrize("status", [200, 204])
def test_a_secret_that_exists_is_asked_for_once(status: int) -> None:
    server = Server(head=status)
    sms = server.sms
    for ask in questions(sms):
        assert ask()
        assert ask()
    assert len(server.seen) == 4


def test_a_secret_that_does_not_exist_is_asked_for_again() -> None:
    server = Server()
    sms = server.sms
    assert not sms.has_web3(RESOURCE)
    server.head = 204
    assert sms.has_web3(RESOURCE)


@pytest.mark.parametrize("status", [400, 401, 403, 418, 429])
def test_any_other_answer_to_a_question_is_neither_yes_nor_no(status: int) -> None:
    for ask in questions(Server(head=status).sms):
        with pytest.raises(SmsCallError, match=f"SMS answered with unexpected status: {status}") as caught:
            ask()
        assert caught.value.status == status


def test_a_service_that_is_down_is_neither_yes_nor_no() -> None:
    server = Server(head=503)
    with pytest.raises(SmsCallError, match=r"SMS error: Server at https://sms\.example encountered an internal error"):
        server.sms.has_web3(RESOURCE)
    assert len(server.seen) == 3


# --- what each status of a push means ---


@pytest.mark.parametrize("push", [web3, app])
def test_a_resource_s_secret_is_never_replaced(push: Callable[[Sms], object]) -> None:
    with pytest.raises(SecretExistsError, match=f"Secret already exists for {RESOURCE} and can't be updated"):
        push(Server(push=409).sms)


@pytest.mark.parametrize("push", [web3, app])
def test_only_the_owner_of_a_resource_sets_its_secret(push: Callable[[Sms], object]) -> None:
    message = f"Wallet {OWNER} is not allowed to set secret for {RESOURCE}"
    with pytest.raises(SmsCallError, match=message) as caught:
        push(Server(push=401).sms)
    assert caught.value.status == 401


@pytest.mark.parametrize(("push", "name"), [(web2, KEY_NAME), (requester, "my-secret")])
@pytest.mark.parametrize("server", [Server(head=204), Server(push=409)])
def test_a_wallet_s_secret_is_not_replaced_unasked(push: Callable[[Sms], object], name: str, server: Server) -> None:
    server.requests.clear()
    with pytest.raises(SecretExistsError, match=f'Secret "{name}" already exists for {OWNER}'):
        push(server.sms)
    assert len(server.seen) == (1 if server.head == 204 else 2)


def test_force_update_replaces_with_put_and_says_so() -> None:
    server = Server(head=204)
    assert server.sms.push_web2(KEY_NAME, "QUJD", SIGNER, force_update=True) is True
    assert [line.split()[0] for line in server.seen] == ["HEAD", "PUT"]
    assert server.requests[1].headers["authorization"] == WEB2_AUTH


def test_force_update_of_a_new_secret_is_a_post_and_says_that_nothing_was_replaced() -> None:
    server = Server()
    assert server.sms.push_web2(KEY_NAME, "QUJD", SIGNER, force_update=True) is False
    assert [line.split()[0] for line in server.seen] == ["HEAD", "POST"]


@pytest.mark.parametrize("push", [web3, web2, requester, app])
@pytest.mark.parametrize("status", [400, 403, 404, 413])
def test_any_other_status_of_a_push_is_an_error(push: Callable[[Sms], object], status: int) -> None:
    with pytest.raises(SmsCallError, match=f"SMS answered with unexpected status: {status}"):
        push(Server(push=status).sms)


@pytest.mark.parametrize("push", [web3, web2, requester, app])
def test_a_push_whose_answer_is_an_error_is_not_sent_again(push: Callable[[Sms], object]) -> None:
    server = Server(push=503)
    with pytest.raises(SmsCallError):
        push(server.sms)
    assert [line.split()[0] for line in server.seen].count("POST") == 1


@pytest.mark.parametrize("push", [web3, web2, requester, app])
def test_a_pushed_secret_is_known_to_exist(push: Callable[[Sms], object]) -> None:
    server = Server()
    sms = server.sms
    push(sms)
    count = len(server.seen)
    assert any(ask() for ask in questions(sms) if ask)
    assert len(server.seen) < count + 4


# --- arguments, and what is never shown ---


@pytest.mark.parametrize("value", ["", "x" * 4097, "é" * 2049])
@pytest.mark.parametrize("kind", ["web3", "web2", "requester", "app"])
def test_a_value_that_does_not_fit_is_refused_before_any_request(kind: str, value: str) -> None:
    server = Server()
    name = RESOURCE if kind in ("web3", "app") else "name"
    with pytest.raises(ValidationError):
        getattr(server.sms, f"push_{kind}")(name, value, SIGNER)
    assert server.seen == []


@pytest.mark.parametrize("key", ["../../admin", "a b", "x" * 65, "", "é"])
def test_a_requester_key_that_could_lead_elsewhere_is_refused_before_any_request(key: str) -> None:
    server = Server()
    with pytest.raises(ValidationError, match="at most 64 characters"):
        server.sms.has_requester(OWNER, key)
    with pytest.raises(ValidationError, match="at most 64 characters"):
        server.sms.push_requester(key, "value", SIGNER)
    assert server.seen == []


@pytest.mark.parametrize("status", [400, 401, 409, 500])
@pytest.mark.parametrize("kind", ["web3", "web2", "requester", "app"])
def test_neither_secret_nor_signature_shows_in_error_traceback_or_log(
    kind: str, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)

    def echo(request: httpx.Request) -> httpx.Response:
        if request.method == "HEAD":
            return httpx.Response(404)
        seen.append(request.headers["authorization"])
        return httpx.Response(status, json={"data": None, "error": [request.read().decode()]})

    seen: list[str] = []
    sms = Sms(Http("https://sms.example", service="SMS", error=SmsCallError, transport=httpx.MockTransport(echo)))
    name = RESOURCE if kind in ("web3", "app") else "name"
    with pytest.raises(IExecError) as caught:
        getattr(sms, f"push_{kind}")(name, Secret("TOPSECRET"), SIGNER)
    stack = traceback.TracebackException.from_exception(caught.value, capture_locals=True).stack
    frames = ["".join((frame.locals or {}).values()) for frame in stack if "/iexec_nb/" in frame.filename]
    assert frames
    shown = [str(caught.value), repr(caught.value), caplog.text, *frames]
    assert not [text for text in shown if "TOPSECRET" in text or seen[0] in text]

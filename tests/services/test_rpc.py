from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from fake_node import FakeNode, NodeError

from iexec_nb.errors import ConfigurationError, Web3ProviderCallError
from iexec_nb.services import rpc as rpc_module
from iexec_nb.services.answers import RpcFailure, hexdata, quantity
from iexec_nb.services.rpc import Rpc


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rpc_module, "backoff", lambda attempt: 0.0)


def rpc_over(handler: Callable[[httpx.Request], httpx.Response], **options: Any) -> Rpc:
    return Rpc("https://user:pw@node.example/v3/KEY?token=KEY", transport=httpx.MockTransport(handler), **options)


def test_a_batch_is_one_http_request_and_answers_in_any_order_come_back_in_the_order_asked() -> None:
    node = FakeNode(eth_chainId="0x1", eth_blockNumber="0x2", eth_gasPrice="0x3")
    node.edit = lambda reply: reply[::-1]
    assert node.rpc().batch([("eth_chainId", []), ("eth_blockNumber", []), ("eth_gasPrice", [])]) == [
        "0x1",
        "0x2",
        "0x3",
    ]
    assert node.posts == 1


def test_a_single_request_is_not_sent_as_a_batch() -> None:
    node = FakeNode()
    node.edit = lambda reply: reply if isinstance(reply, dict) else pytest.fail("a batch was sent")
    assert node.rpc().call("eth_chainId") == "0x4d2"


def test_an_answer_that_is_missing_from_a_batch_is_an_error() -> None:
    node = FakeNode()
    node.edit = lambda reply: [reply[0], {"id": 77, "result": "0x9"}, "noise"]
    with pytest.raises(Web3ProviderCallError, match="without an answer"):
        node.rpc().batch([("eth_chainId", []), ("eth_gasPrice", [])])


def test_outcomes_keeps_the_answers_beside_a_refused_one() -> None:
    data = "0x08c379a0" + "20".rjust(64, "0") + "18".rjust(64, "0") + b"iExecV5-matchOrders-0x03".hex().ljust(64, "0")
    node = FakeNode(eth_call=NodeError(3, "execution reverted", data))
    chain_id, refused = node.rpc().outcomes([("eth_chainId", []), ("eth_call", [{}, "latest"])])
    assert chain_id == "0x4d2"
    assert refused.reverted
    assert "the app price is higher than appmaxprice" in refused.reason
    with pytest.raises(Web3ProviderCallError, match="iExecV5-matchOrders-0x03"):
        node.rpc().call("eth_call", {}, "latest")


@pytest.mark.parametrize(
    "error",
    [
        NodeError(-32015, "VM execution error.", "Reverted 0x4e487b71" + "11".rjust(64, "0")),
        NodeError(-32603, "Internal", {"data": {"result": "0x4e487b71" + "11".rjust(64, "0")}}),
    ],
)
def test_revert_data_is_found_where_other_nodes_put_it(error: NodeError) -> None:
    (refused,) = FakeNode(eth_call=error).rpc().outcomes([("eth_call", [])])
    assert "range of the contract's numbers" in refused.reason


def test_a_read_is_retried_after_a_lost_connection_and_after_a_busy_node() -> None:
    failures = [httpx.ConnectError("refused")]
    replies = iter([httpx.Response(503), httpx.Response(200, json={"id": 1, "result": "0x1"})])

    def handler(request: httpx.Request) -> httpx.Response:
        if failures:
            raise failures.pop()
        return next(replies)

    assert rpc_over(handler).call("eth_chainId") == "0x1"
    assert next(replies, None) is None


def test_a_read_is_given_up_after_its_retries() -> None:
    node = FakeNode()
    node.status = 503
    node.edit = lambda reply: "busy"
    with pytest.raises(Web3ProviderCallError, match="HTTP status 503"):
        node.rpc(retries=2).call("eth_chainId")
    assert node.posts == 3


def test_only_the_rate_limited_part_of_a_batch_is_asked_again() -> None:
    busy = iter([NodeError(-32005, "rate limit exceeded")])
    node = FakeNode(eth_gasPrice=lambda: next(busy, "0x3"))
    assert node.rpc().batch([("eth_chainId", []), ("eth_gasPrice", [])]) == ["0x4d2", "0x3"]
    assert node.asked == ["eth_chainId", "eth_gasPrice", "eth_gasPrice"]


@pytest.mark.parametrize("method", ["eth_sendTransaction", "eth_sendRawTransaction", "evm_mine", "evm_increaseTime"])
def test_what_changes_the_chain_goes_out_once_even_when_no_answer_comes(method: str) -> None:
    posts = []

    def handler(request: httpx.Request) -> httpx.Response:
        posts.append(request)
        raise httpx.ReadTimeout("lost")

    with pytest.raises(Web3ProviderCallError):
        rpc_over(handler).batch([("eth_chainId", []), (method, [])])
    assert len(posts) == 1


def test_a_node_that_takes_only_small_batches_gets_small_ones() -> None:
    node = FakeNode()
    node.edit = lambda reply: (
        {"id": None, "error": {"code": -32600, "message": "batch too large"}} if len(reply) > 3 else reply
    )
    rpc = node.rpc()
    node.answers["eth_getBalance"] = lambda account: account
    requests = [("eth_getBalance", [hex(i)]) for i in range(10)]
    assert rpc.batch(requests) == [hex(i) for i in range(10)]
    node.posts = 0
    rpc.batch(requests[:3])
    assert node.posts <= 2


def test_a_silent_node_is_given_up_within_the_timeout_and_only_its_host_is_named() -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        raise httpx.ReadTimeout("lost", request=request)

    with pytest.raises(Web3ProviderCallError) as caught:
        rpc_over(handler, timeout_s=0.2).call("eth_chainId")
    assert "https://node.example did not answer within 0.2 s" in str(caught.value)
    assert "KEY" not in str(caught.value)
    assert "KEY" not in repr(rpc_over(handler)) + repr(vars(rpc_over(handler)))


def test_a_node_that_trickles_its_answer_is_given_up() -> None:
    class Trickle(httpx.SyncByteStream):
        def __iter__(self) -> Any:
            while True:
                time.sleep(0.01)
                yield b" "

    with pytest.raises(Web3ProviderCallError, match="did not answer within"):
        rpc_over(lambda request: httpx.Response(200, stream=Trickle()), timeout_s=0.1).call("eth_chainId")


def test_a_refused_connection_says_that_the_node_cannot_be_reached() -> None:
    rpc = Rpc("http://127.0.0.1:1/KEY", timeout_s=2)
    with pytest.raises(Web3ProviderCallError, match=r"node at http://127\.0\.0\.1:1 cannot be reached") as caught:
        rpc.call("eth_chainId")
    rpc.close()
    assert "KEY" not in str(caught.value)


@pytest.mark.parametrize(
    "answer",
    [b"<html>502</html>", b"", b"3", b'"x"', b"null", b"[" * 100_000, b"\xff\xfe", b'{"id":1,"result":' + b"9" * 9999],
)
def test_an_answer_that_is_not_json_rpc_is_a_typed_error(answer: bytes) -> None:
    with pytest.raises(Web3ProviderCallError):
        rpc_over(lambda request: httpx.Response(200, content=answer)).call("eth_chainId")


@pytest.mark.parametrize("reply", [{}, [], [1, None], {"id": 1}, {"id": 2, "result": "0x1"}, {"id": 1, "error": "no"}])
def test_an_answer_of_the_wrong_shape_is_a_typed_error(reply: Any) -> None:
    with pytest.raises(Web3ProviderCallError):
        rpc_over(lambda request: httpx.Response(200, json=reply)).call("eth_chainId")


def test_an_error_without_an_id_belongs_to_the_only_request() -> None:
    reply = {"id": None, "error": {"code": -32700, "message": "parse error"}}
    with pytest.raises(Web3ProviderCallError, match="parse error"):
        rpc_over(lambda request: httpx.Response(400, json=reply)).call("eth_chainId")


def test_an_endless_answer_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rpc_module, "MAX_ANSWER_BYTES", 1000)
    with pytest.raises(Web3ProviderCallError, match="more than 1000 bytes"):
        rpc_over(lambda request: httpx.Response(200, content=b" " * 2000)).call("eth_chainId")


def test_a_refused_access_key_is_not_retried_and_gets_a_hint() -> None:
    posts = []

    def handler(request: httpx.Request) -> httpx.Response:
        posts.append(request)
        return httpx.Response(401, content=b"unauthorized")

    with pytest.raises(Web3ProviderCallError, match="access key"):
        rpc_over(handler).call("eth_chainId")
    assert len(posts) == 1


@pytest.mark.parametrize("url", ["node.example", "ftp://node.example", "", "https://"])
def test_what_is_not_an_http_url_is_refused_at_once(url: str) -> None:
    with pytest.raises(ConfigurationError):
        Rpc(url)


def test_the_whole_url_is_used_although_only_its_host_is_shown() -> None:
    seen = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(str(request.url))
        return httpx.Response(200, json={"id": 1, "result": "0x1"})

    rpc_over(handler).call("eth_chainId")
    assert seen == ["https://user:pw@node.example/v3/KEY?token=KEY"]


@pytest.mark.parametrize("value", ["0x", "1", 1, None, True, "0x" + "f" * 65, "0xg", [], -1])
def test_a_number_that_is_not_a_quantity_is_refused(value: object) -> None:
    with pytest.raises(Web3ProviderCallError):
        quantity(value)


@pytest.mark.parametrize("value", ["", "0x1", "00", None, {}, "0xzz"])
def test_bytes_that_are_not_data_are_refused(value: object) -> None:
    with pytest.raises(Web3ProviderCallError):
        hexdata(value)


def test_a_failure_that_is_not_a_revert_is_told_from_one() -> None:
    assert not RpcFailure("eth_call", -32601, "the method does not exist").reverted
    assert RpcFailure("eth_call", -32000, "execution reverted").reverted

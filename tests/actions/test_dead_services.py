"""Nodes and services that are dead, slow or half there: a clear error in time, reads retried, nothing sent twice."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

import httpx
import pytest
from stage import RLC, Person, nonce, person, wallet

from iexec_nb.client import IExec
from iexec_nb.errors import (
    ConfigurationError,
    InsufficientFundsError,
    IpfsGatewayCallError,
    MarketCallError,
    SmsCallError,
    Web3ProviderCallError,
    Web3ProviderError,
    Web3ProviderSendError,
)
from iexec_nb.sandbox.network import Sandbox
from iexec_nb.services.transactions import Transactions

SECRET_PATH = "canary-access-key-0123456789"


@pytest.fixture
def me(net: Sandbox) -> Iterator[Person]:
    with person(net, net.client(rlc="5 RLC", deposit="5 RLC"), confirm=False) as one:
        # The same as always, with less patience for a transaction whose sending was not answered.
        one.client.chain.__dict__["_transactions"] = Transactions(
            one.client.chain.rpc, net.chain_id, lookup_s=0.3, timeout_s=1.0
        )
        yield one


class Silent:
    """A server that takes connections and never answers."""

    def __enter__(self) -> Silent:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self._kept: list[socket.socket] = []
        self._thread = threading.Thread(target=self._take, daemon=True)
        self._thread.start()
        return self

    def _take(self) -> None:
        while True:
            try:
                self._kept.append(self._socket.accept()[0])
            except OSError:
                return

    def __exit__(self, *_: object) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join()
        for one in self._kept:
            one.close()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@contextmanager
def elsewhere(net: Sandbox, port: int) -> Iterator[IExec]:
    """Give a client whose every counterpart is on a port that is dead or silent."""
    url = f"http://127.0.0.1:{port}"
    client = IExec(
        net.chain_id, rpc=f"{url}/{SECRET_PATH}", hub_address=net.user.hub_address, market=url, sms=url,
        ipfs_gateway=url, ipfs_node=url, compass=url, signer=net.user.signer, confirm=False, timeout_s=0.5,
    )  # fmt: skip
    with closing(client):
        yield client


def test_a_dead_node_is_said_in_time_without_the_path_of_its_address(net: Sandbox) -> None:
    port = free_port()
    start = time.monotonic()
    with elsewhere(net, port) as client:
        for call in (client.wallet.show, client.category.count, lambda: client.account.deposit(1)):
            with pytest.raises(Web3ProviderError) as caught:
                call()
            assert f"127.0.0.1:{port}" in str(caught.value)
            assert SECRET_PATH not in str(caught.value)
            assert caught.value.hint
    assert time.monotonic() - start < 30


def test_a_silent_node_is_given_up_at_its_timeout(net: Sandbox) -> None:
    with Silent() as server, elsewhere(net, server.port) as client:
        start = time.monotonic()
        with pytest.raises(Web3ProviderCallError, match=r"did not answer within 0\.5 s") as caught:
            client.wallet.show()
        assert time.monotonic() - start < 10
        assert "timeout" in str(caught.value.hint)


@pytest.mark.parametrize("service", ["market", "sms", "ipfs"])
@pytest.mark.parametrize("kind", ["dead", "silent"])
def test_a_service_that_does_not_answer_is_named_in_time(net: Sandbox, service: str, kind: str) -> None:
    with Silent() as server, elsewhere(net, server.port if kind == "silent" else free_port()) as client:
        client.chain = net.user.chain
        call: Callable[[], Any] = {
            "market": lambda: client.orderbook.workerpool(),
            "sms": lambda: client.result.check_encryption_key(),
            "ipfs": lambda: client.ipfs.get("QmW2WQi7j6c7UgJTarActp7tDNikE4B2qXtFCfLPdsgaTQ", max_bytes=9),
        }[service]
        error = {"market": MarketCallError, "sms": SmsCallError, "ipfs": IpfsGatewayCallError}[service]
        start = time.monotonic()
        with pytest.raises(error) as caught:
            call()
        assert time.monotonic() - start < 10
        assert str(client._urls[{"ipfs": "ipfs_gateway"}.get(service, service)]) in str(caught.value)
        assert caught.value.status is None


def failing(times: int, make: Callable[[], Any]) -> Callable[[Any], Any]:
    """Fail so many times, then let everything through."""
    left = [times]

    def before(_: Any) -> Any:
        if left[0] > 0:
            left[0] -= 1
            return make()
        return None

    return before


def unreachable() -> Any:
    raise httpx.ConnectError("no way")


def test_reads_of_the_node_are_retried(me: Person) -> None:
    for make in (unreachable, lambda: httpx.Response(503), lambda: httpx.Response(429)):
        me.node.methods.clear()
        me.node.before = failing(2, make)
        assert me.client.wallet.show().nRLC == 5 * RLC
        assert me.node.methods["eth_getBalance"] == 3
    me.node.before = failing(9, unreachable)
    with pytest.raises(Web3ProviderCallError, match="cannot be reached"):
        me.client.wallet.show()


def test_reads_of_services_are_retried_and_writes_are_not(net: Sandbox, me: Person) -> None:
    for make in (unreachable, lambda: httpx.Response(502)):
        me.web.requests.clear()
        me.web.before = failing(2, make)
        assert len(me.client.orderbook.workerpool()) >= 5
        assert len(me.web.to("market", "/workerpoolorders")) == 3
    pool = me.client.workerpool.deploy(description="p").address
    order = me.client.order.sign(me.client.order.create("workerpool", workerpool=pool, category=0))
    for make in (unreachable, lambda: httpx.Response(503, json={"ok": False, "error": "busy"})):
        me.web.requests.clear()
        me.web.before = lambda request, make=make: make() if request.method == "POST" else None  # type: ignore[misc]
        with pytest.raises(MarketCallError):
            me.client.order.publish(order)
        assert len(me.web.to("market", "/workerpoolorders", "POST")) == 1
        me.web.requests.clear()
        with pytest.raises(IpfsGatewayCallError):
            me.client.storage.add(b"x")
        assert len(me.web.writes()) == 1
        me.web.requests.clear()
        key = me.client.dataset.encrypt(b"x")
        with pytest.raises(SmsCallError):
            me.client.sms.push_web3(pool, key.key, me.client.require_signer())
        assert len(me.web.writes()) == 1


def test_a_transaction_whose_answer_is_lost_is_found_and_not_sent_again(me: Person) -> None:
    def lose(methods: list[str], response: httpx.Response) -> httpx.Response:
        if "eth_sendRawTransaction" in methods:
            raise httpx.ReadTimeout("lost")
        return response

    me.node.after = lose
    moved = me.client.account.deposit("1 RLC")
    assert me.node.sent == 1
    assert me.client.account.show().stake == 6 * RLC
    assert moved.txHash.startswith("0x")


@pytest.mark.parametrize("status", [None, 500, 502, 200])
def test_a_transaction_that_the_node_never_took_is_unknown_and_has_a_hash(me: Person, status: int | None) -> None:
    def swallow(methods: list[str]) -> httpx.Response | None:
        if "eth_sendRawTransaction" not in methods:
            return None
        if status is None:
            raise httpx.ReadTimeout("swallowed")
        return httpx.Response(status, content=b"<html>oops")

    before = nonce(me.client)
    me.node.before = swallow
    with pytest.raises(Web3ProviderSendError, match="may have been sent, or not") as caught:
        me.client.account.deposit("1 RLC")
    assert me.node.sent == 1
    assert caught.value.tx_hash is not None
    assert caught.value.tx_hash in str(caught.value)
    assert "look the transaction up" in str(caught.value.hint)
    me.node.before = None
    assert nonce(me.client) == before
    assert me.client.account.deposit("1 RLC").amount == RLC
    assert me.client.account.show().stake == 6 * RLC


def test_a_node_that_says_already_known_means_that_it_has_it(me: Person) -> None:
    def twice(methods: list[str], response: httpx.Response) -> httpx.Response:
        if "eth_sendRawTransaction" in methods:
            error = {"code": -32000, "message": "already known"}
            return httpx.Response(200, json={"jsonrpc": "2.0", "id": 1, "error": error})
        return response

    me.node.after = twice
    me.client.account.deposit("1 RLC")
    assert me.node.sent == 1
    assert me.client.account.show().stake == 6 * RLC


def test_a_transaction_that_is_not_confirmed_in_time_is_named_and_not_repeated(me: Person) -> None:
    def blind(methods: list[str], response: httpx.Response) -> httpx.Response:
        if methods == ["eth_getTransactionReceipt"]:
            return httpx.Response(200, json={"jsonrpc": "2.0", "id": 1, "result": None})
        return response

    me.node.after = blind
    with pytest.raises(Web3ProviderSendError, match="not confirmed within 1 s") as caught:
        me.client.account.deposit("1 RLC")
    assert caught.value.tx_hash is not None
    assert me.node.sent == 1


def test_a_run_whose_match_is_lost_is_not_paid_twice(app: str, me: Person) -> None:
    def lose(methods: list[str], response: httpx.Response) -> httpx.Response:
        if "eth_sendRawTransaction" in methods:
            raise httpx.ReadError("lost")
        return response

    me.node.after = lose
    run = me.client.app.run(app, category=0)
    assert me.node.sent == 1
    assert run.wait().price == RLC // 10
    account = me.client.account.show()
    assert (account.stake, account.locked) == (5 * RLC - RLC // 10, 0)


def test_the_node_may_die_while_a_run_is_waited_for_and_come_back(app: str, me: Person) -> None:
    run = me.client.app.run(app, category=0)
    me.node.before = failing(9, unreachable)
    with pytest.raises(Web3ProviderCallError):
        run.wait()
    me.node.before = None
    assert run.wait().tasks()["statusName"].tolist() == ["COMPLETED"]


def test_a_dead_compass_or_scheduler_does_not_keep_a_run_from_its_end(app: str, me: Person) -> None:
    for host in ("compass", "scheduler"):
        run = me.client.app.run(app, args=host, category=0)
        me.web.before = lambda request, host=host: (  # type: ignore[misc]
            httpx.Response(500) if request.url.host.startswith(host) else None
        )
        assert run.wait().result()["out.txt"].text() == host
        me.web.before = None


def test_a_dead_sms_stops_a_run_before_anything_is_signed(net: Sandbox, app: str, me: Person) -> None:
    me.web.before = lambda request: httpx.Response(503) if request.url.host.startswith("sms") else None
    with pytest.raises(SmsCallError):
        me.client.app.run(app, category=0, encrypt_result=True)
    assert me.node.sent == 0


def test_a_node_of_another_chain_is_refused_before_anything_is_read(net: Sandbox) -> None:
    rpc, hub = net.user.network.rpc, net.user.hub_address
    with closing(IExec(1, rpc=rpc, hub_address=hub, signer=net.user.signer, confirm=False)) as client:
        calls: list[Callable[[], Any]] = [
            client.wallet.show, client.account.show, client.category.count, lambda: client.account.deposit(1),
            lambda: client.app.show(0), lambda: client.deal.show("0x" + "1" * 64), client.orderbook.workerpool,
        ]  # fmt: skip
        for call in calls:
            with pytest.raises(ConfigurationError, match=str(net.chain_id)):
                call()


def test_an_address_without_a_hub_is_said(net: Sandbox) -> None:
    client = IExec(net.chain_id, rpc=net.user.network.rpc, hub_address=wallet(net.user))
    with closing(client), pytest.raises(ConfigurationError, match="there is no iExec hub"):
        client.category.count()


@pytest.mark.parametrize(
    "body",
    [b"", b"null", b"{}", b"[]", b"<html>", b'{"jsonrpc":"2.0","id":1,"result":5}', b'{"error":"no"}', b"[" * 5000,
     b'{"jsonrpc":"2.0","id":1,"result":"0x"}'],
)  # fmt: skip
def test_a_node_that_answers_nonsense_is_a_typed_error(me: Person, body: bytes) -> None:
    assert me.client.chain.hub
    me.node.before = lambda methods: httpx.Response(200, content=body)
    for call in (me.client.wallet.show, lambda: me.client.account.deposit(1), lambda: me.client.category.count()):
        with pytest.raises(Web3ProviderError):
            call()
    assert me.node.sent == 0


def test_a_node_that_asks_for_absurd_fees_is_not_believed(me: Person) -> None:
    def dear(methods: list[str], response: httpx.Response) -> httpx.Response:
        if "eth_gasPrice" not in methods:
            return response
        body = response.json()
        body[methods.index("eth_gasPrice")]["result"] = hex(10**17)
        body[methods.index("eth_getBlockByNumber")]["result"]["baseFeePerGas"] = hex(10**17)
        return httpx.Response(200, json=body)

    me.node.after = dear
    with pytest.raises((Web3ProviderSendError, InsufficientFundsError), match="ether"):
        me.client.account.deposit(1)
    assert me.node.sent == 0

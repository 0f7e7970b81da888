"""The sandbox as a whole: who gets what, what the clock does, what is served, and that nothing is left of it."""

from __future__ import annotations

import gc
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from iexec_nb import client as clients
from iexec_nb.client import IExec
from iexec_nb.errors import (
    IExecError,
    MarketCallError,
    ObjectNotFoundError,
    SandboxError,
    TaskTimeoutError,
    ValidationError,
)
from iexec_nb.protocol.orders import PublishedOrder, WorkerpoolOrder
from iexec_nb.protocol.tags import TEE_TDX
from iexec_nb.protocol.typed_data import verify_order
from iexec_nb.protocol.types import NULL_ADDRESS, Address
from iexec_nb.sandbox import Endpoints, Sandbox
from iexec_nb.sandbox.node import usable_port
from iexec_nb.services.wallet import PrivateKeySigner

ROOT = Path(__file__).resolve().parents[2]
RLC = 10**9
ETHER = 10**18
linux = pytest.mark.skipif(sys.platform != "linux", reason="signals and /proc")


@pytest.fixture(scope="module")
def net() -> Iterator[Sandbox]:
    with Sandbox() as running:
        yield running


@pytest.fixture(scope="module")
def served(net: Sandbox) -> Endpoints:
    return net.serve()


def wallet(client: IExec) -> Address:
    assert client.signer is not None
    return client.signer.address


def held(client: IExec) -> tuple[int, int, int]:
    """Wei, nRLC in the wallet, nRLC on the account."""
    wei, nrlc = client.chain.balances(wallet(client))
    return wei, nrlc, client.chain.account(wallet(client)).stake


def book(client: IExec, **filters: object) -> list[WorkerpoolOrder]:
    """The workerpool orders on the market, hashes and signatures verified."""
    orders = []
    for row in client.market.orders("workerpool", **filters):
        published = PublishedOrder.from_json("workerpool", row)
        assert isinstance(published.order, WorkerpoolOrder)
        verify_order(published.order, client.chain.domain, published.signer, published.orderHash)
        orders.append(published.order)
    return orders


def listening(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def freed(*ports: int) -> bool:
    deadline = time.monotonic() + 30
    while any(listening(port) for port in ports) and time.monotonic() < deadline:
        time.sleep(0.01)
    return not any(listening(port) for port in ports)


# People.


def test_a_new_client_has_what_was_asked_for_and_a_key_of_its_own(net: Sandbox) -> None:
    rich = net.client(rlc="10 RLC", deposit="2.5 RLC", eth="3 ether")
    poor = net.client()
    assert held(rich) == (3 * ETHER, 10 * RLC, 2_500_000_000)
    assert held(poor) == (10 * ETHER, 0, 0)
    assert wallet(rich) != wallet(poor)
    assert rich.network.chain_id == net.chain_id == rich.chain.chain_id


def test_a_client_can_bring_its_own_wallet(net: Sandbox) -> None:
    signer = PrivateKeySigner(bytes(31) + b"\x07")
    client = net.client(rlc=5, signer=signer)
    assert client.signer is signer
    assert held(client)[1] == 5


def test_funding_adds_to_what_is_there(net: Sandbox) -> None:
    person = net.client(rlc="1 RLC", eth="1 ether")
    net.fund(person, rlc="2 RLC", deposit="4 RLC", eth="5 ether")
    net.fund(wallet(person).lower(), rlc=1)
    assert held(person) == (6 * ETHER, 3 * RLC + 1, 4 * RLC)


def test_no_repr_shows_a_key(net: Sandbox) -> None:
    shown = repr([net, net.user, *net._live.pools.values()])
    keys = [pool.key.reveal_bytes().hex() for pool in net._live.pools.values()]
    assert keys
    assert not any(key in shown for key in keys)


@pytest.mark.parametrize("amount", [0.5, "-1 RLC", "1 rlc", True])
def test_a_malformed_amount_is_refused_before_anything_is_sent(net: Sandbox, amount: object) -> None:
    before = net.user.chain.block_number()
    with pytest.raises(ValidationError):
        net.client(rlc=amount)
    with pytest.raises(ValidationError):
        net.fund(net.user, deposit=amount)
    assert net.user.chain.block_number() == before


# The active client.


def test_a_running_sandbox_lends_its_user_to_the_notebook_and_takes_it_back() -> None:
    before = clients.set_active(None)
    try:
        outer = IExec().activate()
        with Sandbox(workerpools=0) as net:
            assert clients.active() is net.user
            assert held(net.user) == (10 * ETHER, 100 * RLC, 100 * RLC)
        assert clients.active() is outer
    finally:
        clients.set_active(before)


def test_a_client_that_was_chosen_meanwhile_stays_when_it_is_not_the_sandboxs() -> None:
    before = clients.set_active(None)
    try:
        with Sandbox(workerpools=0) as net:
            net.client().activate()
        assert clients.set_active(None) is None
        with Sandbox(workerpools=0):
            mine = IExec().activate()
        assert clients.active() is mine
    finally:
        clients.set_active(before)


def test_of_two_sandboxes_the_later_one_is_active_and_a_stopped_one_never_is() -> None:
    before = clients.set_active(None)
    try:
        first, second = Sandbox(workerpools=0).start(), Sandbox(workerpools=0).start()
        assert first.user.chain.hub_address == second.user.chain.hub_address
        assert first._live.node.port != second._live.node.port
        first.stop()
        assert clients.active() is second.user
        second.stop()
        assert clients.set_active(None) is None
    finally:
        clients.set_active(before)


# Time.


def test_travelling_moves_the_time_of_the_chain(net: Sandbox) -> None:
    start = net.now()
    assert net.travel(days=1, hours=2) - start >= timedelta(days=1, hours=2)
    assert net.travel(timedelta(minutes=10)) - start >= timedelta(days=1, hours=2, minutes=10)
    assert net.user.chain.now() == net.now()


@pytest.mark.parametrize("way", [timedelta(0), timedelta(days=-1), timedelta(milliseconds=5)])
def test_time_goes_forward_only(net: Sandbox, way: timedelta) -> None:
    with pytest.raises(ValidationError, match="travel"):
        net.travel(way)


def test_mining_adds_exactly_that_many_blocks(net: Sandbox) -> None:
    before = net.user.chain.block_number()
    assert net.mine(5) == before + 5
    with pytest.raises(ValidationError, match="give blocks as 1 to"):
        net.mine(0)


# Workerpools.


def test_the_first_workerpool_offers_every_category_for_nothing(net: Sandbox) -> None:
    [pool] = net.workerpools[:1]
    own = [order for order in book(net.user) if order.workerpool == pool]
    assert {order.category for order in own} == {0, 1, 2, 3, 4}
    assert {order.workerpoolprice for order in own} == {0}
    assert net.user.chain.workerpool(pool).workerpoolDescription == "sandbox workerpool"


def test_a_new_workerpool_can_pay_the_stake_of_all_its_orders(net: Sandbox) -> None:
    pool = net.workerpool("mine", price="2 RLC", category=[1, 2], volume=2000, trust=5, order_tag=["tee", "tdx", "gpu"])
    orders = [order for order in book(net.user) if order.workerpool == pool]
    assert [(order.category, order.workerpoolprice, order.volume, order.trust) for order in orders] == [
        (1, 2 * RLC, 2000, 5),
        (2, 2 * RLC, 2000, 5),
    ]
    assert int(orders[0].tag, 16) == int(TEE_TDX, 16) | 1 << 8
    owner = net.user.chain.workerpool(pool).owner
    assert net.user.chain.account(owner).stake >= 2 * 2000 * (2 * RLC * 30 // 100)


def test_a_workerpool_without_a_price_offers_nothing_but_is_found(net: Sandbox) -> None:
    pool = net.workerpool("quiet", idle=True)
    assert pool in net.workerpools
    assert not [order for order in book(net.user) if order.workerpool == pool]
    assert net.user.compass is not None
    assert net.user.compass.api_url(pool) == "http://scheduler.sandbox.test"


def test_a_malformed_workerpool_is_refused_before_it_is_deployed(net: Sandbox) -> None:
    before = net.workerpools
    with pytest.raises(ValidationError):
        net.workerpool("wrong", price=0.1)
    with pytest.raises(ValidationError):
        net.workerpool("wrong", price=1, order_tag="tea")
    with pytest.raises(ValidationError):
        net.workerpool("wrong", price=1, volume=-1)
    with pytest.raises(ObjectNotFoundError, match="No category found for id 9"):
        net.workerpool("wrong", price=1, category=[0, 9])
    assert net.workerpools == before


# Work.


def shout(words: list[str]) -> None:
    target = Path(os.environ["IEXEC_OUT"]) / "said.txt"
    target.write_text(" ".join(words).upper())
    (target.parent / "computed.json").write_text(json.dumps({"deterministic-output-path": str(target)}))


def test_what_is_registered_for_an_image_runs_and_brings_its_result(net: Sandbox) -> None:
    net.image("docker.io/me/shout:1.0", shout)
    app = net.user.app.deploy(name="shout", multiaddr="docker.io/me/shout:1.0")
    result = net.user.app.run(app.address, args="hello you").result()
    assert result["said.txt"].bytes == b"HELLO YOU"


def test_nobody_computes_for_an_idle_workerpool_and_its_tasks_time_out(net: Sandbox) -> None:
    net.image("docker.io/me/shout:1.0", shout)
    pool = net.workerpool("sleepy", price="1 RLC", idle=True)
    app = net.user.app.deploy(name="unheard", multiaddr="docker.io/me/shout:1.0")
    before = net.user.chain.account(wallet(net.user))
    run = net.user.app.run(app.address, workerpool=pool)
    assert net.user.chain.account(wallet(net.user)).locked == before.locked + RLC
    net.travel(hours=1)
    with pytest.raises(TaskTimeoutError):
        run.wait()
    assert net.user.chain.tasks(run.taskids) == [None]


@pytest.mark.parametrize("run", ["echo hello", [], 7, ["python", 3]])
def test_something_that_cannot_be_run_is_refused_at_once(net: Sandbox, run: Any) -> None:
    with pytest.raises(ValidationError, match="cannot be run"):
        net.image("docker.io/me/wrong:1.0", run)


# The populated book.


def test_a_populated_book_is_varied_and_every_order_in_it_is_signed(net: Sandbox) -> None:
    pools = net.populate(orders=60, pools=4, seed=3)
    orders = [order for order in book(net.user) if order.workerpool in pools]
    assert len(pools) == len({order.workerpool for order in orders}) == 4
    assert len(orders) == 60
    assert len({order.workerpoolprice for order in orders}) > 30
    assert {order.category for order in orders} >= {0, 1, 2}
    assert len({order.trust for order in orders}) > 2
    assert len({order.tag for order in orders}) == 2
    assert len({net.user.chain.workerpool(pool).workerpoolDescription for pool in pools}) == 4


def test_the_same_seed_gives_the_same_prices_and_another_one_others(net: Sandbox) -> None:
    def prices(seed: int) -> list[tuple[int, int, int]]:
        pools = net.populate(orders=12, pools=1, seed=seed)
        own = [order for order in book(net.user) if order.workerpool in pools]
        return sorted((order.workerpoolprice, order.category, order.volume) for order in own)

    first = prices(7)
    assert prices(7) == first
    assert prices(8) != first


def test_more_orders_than_the_market_lists_are_refused_with_the_pools_that_they_need(net: Sandbox) -> None:
    with pytest.raises(ValidationError, match=r"populate\(orders=101, pools=3\)"):
        net.populate(orders=101, pools=2)


# Served on ports.


def test_the_served_services_are_the_same_ones(net: Sandbox, served: Endpoints) -> None:
    listed = httpx.get(f"{served.market}/workerpoolorders", params={"chainId": net.chain_id}).json()
    assert listed["count"] == len(book(net.user))
    cid = net.user.ipfs.add(b"seen from both sides")
    assert httpx.get(f"{served.ipfs_gateway}/ipfs/{cid}").content == b"seen from both sides"
    assert httpx.head(f"{served.sms}/secrets/web3", params={"secretAddress": wallet(net.user)}).status_code == 404
    pool = net.workerpools[0]
    answer = httpx.get(f"{served.compass}/{net.chain_id}/workerpools/{pool}").json()
    assert answer == {"apiUrl": served.workerpool_api}
    assert httpx.get(f"{served.workerpool_api}/tasks/0x{'0' * 64}").status_code == 404


def test_another_kernel_can_join_with_the_options(net: Sandbox, served: Endpoints) -> None:
    other = IExec(**served.options())
    assert other.compass is not None
    try:
        assert other.chain.chain_id == net.chain_id
        assert book(other) == book(net.user)
        assert other.compass.api_url(net.workerpools[0]) == served.workerpool_api
    finally:
        other.chain.rpc.close()
        other.market.http.close()
        other.compass.http.close()


def test_chain_json_is_what_the_cli_accepts(served: Endpoints, tmp_path: Path) -> None:
    content = json.loads(served.write(tmp_path).read_text())
    assert content == served.chain_json()
    assert content["default"] == "sandbox"
    [chain] = content["chains"].values()
    assert set(chain) <= {"id", "host", "hub", "sms", "ipfsGateway", "iexecGateway", "compass", "pocoSubgraph"}
    assert chain["id"] == str(served.chain_id)
    assert chain["host"] == served.rpc


def test_an_existing_chain_json_is_kept_unless_it_may_be_replaced(served: Endpoints, tmp_path: Path) -> None:
    (tmp_path / "chain.json").write_text("mine")
    with pytest.raises(ValidationError, match="overwrite=True"):
        served.write(tmp_path)
    assert (tmp_path / "chain.json").read_text() == "mine"
    served.write(tmp_path, overwrite=True)
    assert json.loads((tmp_path / "chain.json").read_text())["default"] == "sandbox"
    with pytest.raises(ValidationError, match="existing folder"):
        served.write(tmp_path / "none")


def test_the_options_for_the_js_sdk_have_its_names(served: Endpoints) -> None:
    assert served.js_options() == {
        "hubAddress": served.hub_address,
        "smsURL": served.sms,
        "iexecGatewayURL": served.market,
        "ipfsGatewayURL": served.ipfs_gateway,
        "ipfsNodeURL": served.ipfs_node,
        "compassURL": served.compass,
        "pocoSubgraphURL": served.poco_subgraph,
    }


def test_the_options_for_the_js_dataprotector_have_its_names(served: Endpoints) -> None:
    assert served.dataprotector_options() == {
        "dataprotectorContractAddress": served.dataprotector_address,
        "subgraphUrl": served.dataprotector_subgraph,
        "ipfsNode": served.ipfs_node,
        "ipfsGateway": served.ipfs_gateway,
        "iexecOptions": served.js_options(),
    }


def test_serving_twice_gives_the_same_ports(net: Sandbox, served: Endpoints) -> None:
    assert net.serve() == served


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.2", "example.org", ""])
def test_other_machines_are_kept_out(net: Sandbox, host: str) -> None:
    with pytest.raises(ValidationError, match="is not a loopback address"):
        net.serve(host)


def test_the_chosen_ports_are_used_and_free_afterwards(capfd: pytest.CaptureFixture[str]) -> None:
    names = ("market", "sms", "ipfs", "compass", "workerpool_api", "poco_subgraph", "dataprotector_subgraph")
    *ports, node = (usable_port(0) for _ in (*names, "node"))
    with Sandbox(chain_id=4711, port=node, workerpools=0) as net:
        served = net.serve(**dict(zip(names, ports, strict=True)))
        assert served.chain_id == 4711
        assert served.rpc == f"http://127.0.0.1:{node}"
        found = [served.ipfs_node if name == "ipfs" else getattr(served, name) for name in names]
        assert found == [f"http://127.0.0.1:{port}" for port in ports]
        assert httpx.get(f"{served.market}/version").json()["ok"]
        assert httpx.get(f"{served.market}/nothing").status_code == 404
    assert not any(listening(port) for port in (*ports, node))
    assert capfd.readouterr() == ("", "")


def test_when_one_port_is_taken_none_is_used_and_the_sandbox_runs_on() -> None:
    free = usable_port(0)
    with Sandbox(workerpools=0) as net, socket.create_server(("127.0.0.1", 0)) as taken:
        with pytest.raises(SandboxError, match="choose another port"):
            net.serve(workerpool_api=free, sms=taken.getsockname()[1])
        assert not listening(free)
        assert net.serve(workerpool_api=free).workerpool_api.endswith(str(free))


def test_every_client_finds_dataprotector_and_the_subgraphs(net: Sandbox, served: Endpoints) -> None:
    for client, url in ((net.client(), "http://{}-subgraph.sandbox.test"), (IExec(**served.options()), "")):
        assert client.dataprotector_address == served.dataprotector_address
        for name in ("poco", "dataprotector"):
            expected = url.format(name) or getattr(served, f"{name}_subgraph")
            assert client.url(f"{name}_subgraph") == expected
            answer = client.subgraph(f"{name}_subgraph").query("{ _meta { hasIndexingErrors } }")
            assert answer == {"_meta": {"hasIndexingErrors": False}}
    assert net.user.network.dataprotector_workerpool == net.workerpools[0]


# Groups.


def test_a_whitelist_has_the_members_that_were_named(net: Sandbox) -> None:
    person, stranger = net.client(), net.client()
    group = net.whitelist([person, net.workerpools[0]])
    chain = net.user.chain
    assert chain.group_member(group, wallet(person))
    assert chain.group_member(group, net.workerpools[0])
    assert not chain.group_member(group, wallet(stranger))
    assert not chain.group_member(net.whitelist([]), wallet(person))


@pytest.mark.parametrize("members", [["0x12"], [5], [NULL_ADDRESS] * 501], ids=["short", "number", "too many"])
def test_a_malformed_whitelist_is_refused_before_it_is_deployed(net: Sandbox, members: list[object]) -> None:
    before = net.user.chain.block_number()
    with pytest.raises(ValidationError) as caught:
        net.whitelist(members)
    assert caught.value.hint
    assert net.user.chain.block_number() == before


# Its end.


def test_a_sandbox_that_is_not_started_says_how_to_start_it() -> None:
    net = Sandbox()
    assert not net.running
    assert repr(net) == "Sandbox(chain_id=134134, stopped)"
    for use in (net.client, net.populate, net.serve, net.now, lambda: net.user, lambda: net.workerpools):
        with pytest.raises(SandboxError, match=r"with Sandbox\(\) as net"):
            use()


@pytest.mark.parametrize("wrong", [{"chain_id": 0}, {"port": 70000}, {"workerpools": -1}, {"chain_id": "x"}])
def test_wrong_numbers_are_refused_before_anything_starts(wrong: dict[str, int]) -> None:
    with pytest.raises(ValidationError):
        Sandbox(**wrong)


def test_after_an_exception_in_its_block_nothing_runs_any_more() -> None:
    before = clients.set_active(None)
    net = Sandbox(workerpools=0)
    seen = []

    def cell() -> None:
        with net:
            seen.extend([net.serve(), net._live, net.user.market, net.user.chain])
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        cell()
    served, parts, market, chain = seen
    ports = [int(url.rpartition(":")[2]) for url in (served.rpc, served.market, served.sms, served.compass)]
    assert not any(listening(port) for port in ports)
    assert not Path(parts.folder).exists()
    net.stop()
    with pytest.raises(MarketCallError, match=r"market\.sandbox\.test"):
        market.version()
    with pytest.raises(IExecError, match="cannot be reached"):
        chain.block_number()
    clients.set_active(before)


def test_a_stopped_sandbox_starts_anew_and_empty() -> None:
    net = Sandbox(workerpools=0)
    with net:
        net.workerpool("first", price=1)
        assert net.start() is net
        assert len(book(net.user)) == 1
    with net:
        assert net.workerpools == ()
        assert book(net.user) == []


def test_a_failing_start_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    port = usable_port(0)
    net = Sandbox(port=port)
    monkeypatch.setattr(Sandbox, "_deploy_first_pools", lambda self, parts: 1 / 0)
    before = clients.set_active(None)
    with pytest.raises(ZeroDivisionError):
        net.start()
    assert not net.running
    assert not listening(port)
    assert clients.set_active(before) is None


def test_a_sandbox_that_nobody_holds_any_more_stops() -> None:
    before = clients.set_active(None)
    net = Sandbox(workerpools=0).start()
    port = net._live.node.port
    del net
    gc.collect()
    assert freed(port)
    clients.set_active(before)


@linux
def test_a_chain_that_was_killed_is_noticed() -> None:
    with Sandbox(workerpools=0) as net:
        node = net._live.node
        os.kill(node.pid, signal.SIGKILL)
        node._process.wait()
        with pytest.raises(SandboxError, match="the local chain has ended"):
            net.client()


SCRIPT = """
import os, sys, time
from iexec_nb.sandbox import Sandbox
net = Sandbox().start()
served = net.serve()
print(*(url.rpartition(":")[2] for url in (served.rpc, served.market, served.sms, served.ipfs_node)), flush=True)
{ending}
"""


@linux
@pytest.mark.parametrize("ending", ["time.sleep(600)", "raise SystemExit(3)", "raise KeyboardInterrupt", "os._exit(1)"])
def test_no_port_stays_taken_however_the_kernel_ends(ending: str) -> None:
    kernel = subprocess.Popen(
        [sys.executable, "-c", SCRIPT.format(ending=ending)],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert kernel.stdout is not None
    assert kernel.stderr is not None
    ports = [int(text) for text in kernel.stdout.readline().split()]
    if "sleep" in ending:
        kernel.kill()
    errors = kernel.stderr.read()
    kernel.wait()
    kernel.stdout.close()
    kernel.stderr.close()
    assert len(ports) == 4
    assert freed(*ports)
    assert [line for line in errors.splitlines() if "Error" in line or "Exception" in line] == []

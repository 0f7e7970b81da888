"""The local node and the real contracts on it; above all: whatever ends the Python process, nothing stays behind."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from iexec_nb.errors import SandboxError
from iexec_nb.protocol.typed_data import Domain
from iexec_nb.protocol.types import NULL_ADDRESS
from iexec_nb.sandbox import contracts, packages
from iexec_nb.sandbox.chain import CATEGORIES, Deployment, Operator, Transaction, create_address, deploy, give, stake
from iexec_nb.sandbox.node import HOST, Node, usable_port
from iexec_nb.services import abi
from iexec_nb.services.rpc import Rpc

CHAIN_ID = 424242
ROOT = Path(__file__).resolve().parents[2]
RECEIVER = "0x1111111111111111111111111111111111111111"
posix = pytest.mark.skipif(os.name != "posix", reason="POSIX signals")
linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    running = Node(packages.anvil(), chain_id=CHAIN_ID)
    yield running
    running.stop()


@pytest.fixture(scope="module")
def rpc(node: Node) -> Iterator[Rpc]:
    connection = Rpc(node.url)
    yield connection
    connection.close()


@pytest.fixture(scope="module")
def operator(rpc: Rpc) -> Operator:
    return Operator(rpc)


@pytest.fixture(scope="module")
def hub(rpc: Rpc, operator: Operator) -> Deployment:
    return deploy(rpc, operator, contracts.load(), CHAIN_ID)


def read(rpc: Rpc, to: str, function: abi.Function, *arguments: object) -> object:
    answer = rpc.call("eth_call", {"to": to, "data": "0x" + function.encode(*arguments).hex()}, "latest")
    return function.decode(bytes.fromhex(answer[2:]))


def listening(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection((HOST, port), timeout=1):
        return True
    return False


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # A process that ended and was not waited for still has a number, but runs no more.
    state = Path(f"/proc/{pid}/stat")
    return not (state.exists() and state.read_text().rpartition(")")[2].split()[0] == "Z")


def children(pid: int) -> list[int]:
    return [int(text) for text in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def gone(port: int, *pids: int) -> bool:
    """Wait until nothing listens and nothing runs any more."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if not listening(port) and not any(alive(pid) for pid in pids):
            return True
        time.sleep(0.01)
    return False


def test_the_hub_signs_for_the_domain_of_its_chain(rpc: Rpc, hub: Deployment) -> None:
    assert read(rpc, hub.hub, abi.DOMAIN) == ("iExecODB", "5.0.0", CHAIN_ID, hub.hub)
    separator = read(rpc, hub.hub, abi.DOMAIN_SEPARATOR)
    assert separator == Domain(chainId=CHAIN_ID, verifyingContract=hub.hub).separator


def test_the_hub_knows_its_token_and_registries(rpc: Rpc, hub: Deployment) -> None:
    assert read(rpc, hub.hub, abi.TOKEN) == hub.token
    assert read(rpc, hub.hub, abi.APP_REGISTRY) == hub.registries["app"]
    assert read(rpc, hub.hub, abi.DATASET_REGISTRY) == hub.registries["dataset"]
    assert read(rpc, hub.hub, abi.WORKERPOOL_REGISTRY) == hub.registries["workerpool"]


def test_the_categories_and_ratios_are_those_of_production(rpc: Rpc, hub: Deployment) -> None:
    count = read(rpc, hub.hub, abi.COUNT_CATEGORY)
    seen = [read(rpc, hub.hub, abi.VIEW_CATEGORY, number) for number in range(len(CATEGORIES))]
    assert count == 5
    assert seen == [("XS", "{}", 300), ("S", "{}", 1200), ("M", "{}", 3600), ("L", "{}", 10800), ("XL", "{}", 36000)]
    assert read(rpc, hub.hub, abi.FINAL_DEADLINE_RATIO) == 10
    assert read(rpc, hub.hub, abi.WORKERPOOL_STAKE_RATIO) == 30


def test_every_function_of_every_facet_is_reachable_through_the_hub(rpc: Rpc, hub: Deployment) -> None:
    facet_address = abi.Function("facetAddress(bytes4)", "address")
    code = contracts.load()
    selectors = {s for name in (*contracts.BOOTSTRAP, *contracts.FACETS) for s in code[name].selectors}
    facets = {read(rpc, hub.hub, facet_address, bytes.fromhex(selector[2:])) for selector in selectors}
    assert NULL_ADDRESS not in facets
    assert len(selectors) > 90


def test_rlc_can_be_given_and_staked_for_anybody(rpc: Rpc, operator: Operator, hub: Deployment) -> None:
    operator.send([give(hub, RECEIVER, 5), *stake(hub, operator.address, {RECEIVER: 7, operator.address: 1})])
    assert read(rpc, hub.token, abi.BALANCE_OF, RECEIVER) == 5
    assert read(rpc, hub.hub, abi.VIEW_ACCOUNT, RECEIVER) == (7, 0)


def test_a_refused_transaction_is_named_and_the_operator_goes_on(operator: Operator, hub: Deployment) -> None:
    bad = Transaction(hub.hub, abi.CLAIM.encode(bytes(32)), "claim nothing")
    with pytest.raises(SandboxError, match="the local chain refused: claim nothing"):
        operator.send([give(hub, RECEIVER, 1), bad])
    assert len(operator.send([give(hub, RECEIVER, 1)])) == 1


def test_a_batch_that_does_not_fit_into_one_block_is_mined_to_its_end(operator: Operator, hub: Deployment) -> None:
    receipts = operator.send([give(hub, RECEIVER, 1)] * 60)
    assert len(receipts) == 60
    assert {receipt["status"] for receipt in receipts} == {"0x1"}


@pytest.mark.parametrize("nonce", [0, 1, 127, 128, 255, 256, 65535, 65536, 2**32])
def test_contract_addresses_are_predicted_as_ethereum_computes_them(nonce: int) -> None:
    import rlp
    from eth_utils import keccak, to_checksum_address

    sender = "0x6ac7ea33f8831ea9dcc53393aaa88b25a785dbf0"
    expected = to_checksum_address(keccak(rlp.encode([bytes.fromhex(sender[2:]), nonce]))[12:])
    assert create_address(sender, nonce) == expected


def test_the_node_runs_on_the_chosen_port_and_frees_it_when_stopped() -> None:
    port = usable_port(0)
    node = Node(packages.anvil(), chain_id=7, port=port)
    pids = [node.pid, *(children(node.pid) if sys.platform == "linux" else [])]
    assert node.url == f"http://127.0.0.1:{port}"
    assert node.running
    node.stop()
    node.stop()
    assert not node.running
    assert gone(port, *pids)
    again = Node(packages.anvil(), chain_id=7, port=port)
    again.stop()


def test_a_port_that_is_taken_is_refused_with_a_way_out() -> None:
    with socket.create_server((HOST, 0)) as taken, pytest.raises(SandboxError, match="0 for a free one"):
        Node(packages.anvil(), chain_id=7, port=taken.getsockname()[1])


@pytest.mark.parametrize("port", [-1, 65536, "8545"])
def test_a_number_that_is_no_port_is_refused(port: int) -> None:
    with pytest.raises(SandboxError, match=f"port {port} cannot be used"):
        usable_port(port)


@posix
def test_a_program_that_ends_at_once_is_an_error_that_repeats_what_it_said(tmp_path: Path) -> None:
    program = tmp_path / "anvil"
    program.write_text("#!/bin/sh\necho it is broken >&2\nexit 3\n")
    program.chmod(0o755)
    with pytest.raises(SandboxError, match="ended at its start with code 3") as caught:
        Node(program, chain_id=7)
    assert caught.value.context["anvil says"] == "it is broken"


SCRIPT = """
import os, signal, sys, time
from iexec_nb.sandbox import packages
from iexec_nb.sandbox.node import Node
node = Node(packages.anvil(), chain_id=7)
{before}
print(node.port, node.pid, flush=True)
sys.stdin.readline()  # until the test has seen who is there
{after}
"""


def start(after: str, before: str = "") -> tuple[subprocess.Popen[str], int, list[int]]:
    """Run a Python program that starts a node; return it with the node's port, watchdog and anvil."""
    body = SCRIPT.format(before=textwrap.dedent(before), after=textwrap.dedent(after))
    program = subprocess.Popen(
        [sys.executable, "-c", body],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    assert program.stdin is not None
    assert program.stdout is not None
    line = program.stdout.readline().split()
    program.stdout.close()
    port, watchdog = map(int, line)
    pids = [watchdog, *children(watchdog)]
    program.stdin.close()
    return program, port, pids


@linux
@pytest.mark.parametrize(
    "ending",
    ["time.sleep(600)", "raise RuntimeError('a cell failed')", "sys.exit(1)", "os._exit(2)", "os.abort()"],
)
def test_nothing_stays_behind_however_the_program_ends(ending: str) -> None:
    program, port, pids = start(ending)
    if "sleep" in ending:
        program.kill()
    program.wait()
    assert len(pids) == 2
    assert gone(port, *pids)


@linux
def test_an_interrupt_for_the_terminal_does_not_reach_the_node() -> None:
    program, port, pids = start("while True: time.sleep(1)", before="signal.signal(signal.SIGINT, lambda *_: None)")
    os.killpg(program.pid, signal.SIGINT)
    time.sleep(0.2)
    assert program.poll() is None
    assert listening(port)
    program.kill()
    program.wait()
    assert gone(port, *pids)


@linux
def test_a_forked_child_neither_stops_the_node_nor_keeps_it_alive() -> None:
    fork = """
        child = os.fork()
        if child == 0:
            node.stop()
            time.sleep(600)
            os._exit(0)
        time.sleep(0.2)
        assert node.running
    """
    program, port, pids = start("time.sleep(600)", before=fork)
    [forked] = [pid for pid in children(program.pid) if pid not in pids]
    try:
        assert listening(port)
        program.kill()
        program.wait()
        assert gone(port, *pids)
        assert alive(forked)
    finally:
        os.kill(forked, signal.SIGKILL)


@linux
def test_anvil_ends_when_its_watchdog_is_killed(node: Node) -> None:
    other = Node(packages.anvil(), chain_id=7)
    [anvil] = children(other.pid)
    os.kill(other.pid, signal.SIGKILL)
    assert gone(other.port, anvil)
    other.stop()
    assert node.running

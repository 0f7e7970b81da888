"""Many deals and tasks from one request, and what a node may send instead."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from iexec_nb.errors import Web3ProviderCallError
from iexec_nb.protocol.execution import TaskStatus
from iexec_nb.protocol.types import address
from iexec_nb.services import abi
from iexec_nb.services.chain import Chain
from iexec_nb.services.deal_reads import read_deals
from iexec_nb.services.rpc import Rpc
from iexec_nb.services.task_reads import read_tasks

HUB = address("0x" + "11" * 20)
WHO = address("0x" + "33" * 20)
ONE, TWO, THREE = ("0x" + f"{number:064x}" for number in (1, 2, 3))
BLOCK = {"number": "0x64", "timestamp": "0x65920080", "gasLimit": "0x1c9c380"}


def a_task(status: int = 1, dealid: str = ONE, idx: int = 0) -> bytes:
    row: tuple[Any, ...] = (
        status, bytes.fromhex(dealid[2:]), idx, 300, 0, 0, 4000, bytes(32), 0, 0, [], bytes(32), b"", 0, b"",
    )  # fmt: skip
    return abi.encode_values(abi.VIEW_TASK.outputs, [row], "task")


def a_deal(pointer: str = WHO, category: int = 0) -> bytes:
    sold = (pointer, WHO, 5)
    row: tuple[Any, ...] = (
        sold, sold, sold, 1, category, bytes(32), WHO, WHO, WHO, "{}", 1_700_000_000, 0, 2, 0, 1, WHO
    )  # fmt: skip
    return abi.encode_values(abi.VIEW_DEAL.outputs, [row], "deal")


def a_log(taskid: str = TWO, **changes: Any) -> dict[str, Any]:
    return {
        "address": HUB, "topics": [abi.TASK_FINALIZE.topic, taskid], "data": "0x", "blockNumber": "0x63",
        "transactionHash": "0x" + "00" * 32, "logIndex": "0x4", **changes,
    }  # fmt: skip


class Node:
    """A node that answers by the first bytes of a call, and counts requests."""

    def __init__(self, **answers: Any) -> None:
        self.answers = answers
        self.requests = 0

    def chain(self) -> Chain:
        chain = Chain(Rpc("http://node.test", transport=httpx.MockTransport(self._answer), retries=0), HUB, chain_id=7)
        assert chain.chain_id == 7
        self.requests = 0
        return chain

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.requests += 1
        body = json.loads(request.content)
        calls = body if isinstance(body, list) else [body]
        said = [{"jsonrpc": "2.0", "id": call["id"], **self._one(call)} for call in calls]
        return httpx.Response(200, json=said if isinstance(body, list) else said[0])

    def _one(self, call: dict[str, Any]) -> dict[str, Any]:
        method = call["method"]
        if method == "eth_call":
            answer = self._call(bytes.fromhex(call["params"][0]["data"][2:]))
        else:
            answer = {"eth_chainId": "0x7", "eth_getBlockByNumber": BLOCK, **self.answers}.get(method)
        if isinstance(answer, Exception):
            return {"error": {"code": -32000, "message": str(answer)}}
        return {"result": "0x" + answer.hex() if isinstance(answer, bytes) else answer}

    def _call(self, data: bytes) -> Any:
        if data[:4] == abi.VIEW_TASK.selector:
            return self.answers.get("0x" + data[4:].hex(), abi.encode_values(abi.VIEW_TASK.outputs, [_EMPTY], "task"))
        if data[:4] == abi.VIEW_DEAL.selector:
            return self.answers.get("0x" + data[4:].hex(), a_deal("0x" + "00" * 20))
        if data[:4] == abi.VIEW_CATEGORY.selector:
            return abi.encode_values(abi.VIEW_CATEGORY.outputs, [("XS", "", 300)], "category")
        constants: dict[bytes, tuple[Any, Any]] = {
            abi.DOMAIN.selector: (abi.DOMAIN.outputs, ("iExecODB", "5.0.0", 7, HUB)),
            abi.FINAL_DEADLINE_RATIO.selector: (["uint256"], 10),
        }
        types, value = constants.get(data[:4], (["address"], HUB))
        return abi.encode_values(types, [value], "constant")


_EMPTY: tuple[Any, ...] = (0, bytes(32), 0, 0, 0, 0, 0, bytes(32), 0, 0, [], bytes(32), b"", 0, b"")


def test_tasks_the_time_and_what_else_happened_come_from_one_request() -> None:
    node = Node(**{ONE: a_task(), "eth_getLogs": [a_log(), a_log(THREE, logIndex="0x5")]})
    chain = node.chain()
    seen = read_tasks(chain, [ONE, THREE], since=90)
    assert node.requests == 1
    assert (seen.block.number, int(seen.block.time.timestamp())) == (100, 0x65920080)
    assert [None if task is None else task.status for task in seen.tasks.values()] == [TaskStatus.ACTIVE, None]
    assert seen.events == frozenset({(TWO, 99, 4), (THREE, 99, 5)})
    assert read_tasks(chain, []).events is None


@pytest.mark.parametrize(
    "logs",
    [
        RuntimeError("block range is too large"), "0x", None, {}, [None], [a_log(topics="0x")],
        [a_log(blockNumber="x")], [a_log(topics=[abi.TASK_FINALIZE.topic, "0x12"])],
    ],
    ids=["refused", "text", "nothing", "mapping", "no log", "no topics", "no block", "no id"],
)  # fmt: skip
def test_logs_that_cannot_be_read_are_no_logs(logs: Any) -> None:
    seen = read_tasks(Node(**{ONE: a_task(), "eth_getLogs": logs}).chain(), [ONE], since=90)
    assert seen.events is None
    assert seen.tasks[ONE] is not None


def test_logs_that_were_not_asked_for_are_left_out() -> None:
    strange = [
        a_log(address=WHO), a_log(topics=["0x" + "ab" * 32, TWO]), a_log(topics=[abi.TASK_FINALIZE.topic]),
        a_log(topics=[]),
    ]  # fmt: skip
    assert read_tasks(Node(eth_getLogs=[*strange, a_log(ONE)]).chain(), [], since=1).events == frozenset({(ONE, 99, 4)})


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        ({ONE: a_task(status=9)}, "9 is not a task status"),
        ({ONE: a_task()[:-40]}, "cannot be decoded"),
        ({ONE: "0xzz"}, "where data was expected"),
        ({ONE: RuntimeError("execution reverted")}, "the contract refused"),
        ({"eth_getBlockByNumber": None}, "where a block was expected"),
        ({"eth_getBlockByNumber": {**BLOCK, "timestamp": "0x" + "f" * 60}}, "no valid time"),
    ],
    ids=["status", "cut off", "no hex", "refused", "no block", "no time"],
)
def test_a_node_that_sends_no_tasks_is_an_error(answers: dict[str, Any], words: str) -> None:
    with pytest.raises(Web3ProviderCallError, match=words):
        read_tasks(Node(**answers).chain(), [ONE])


def test_deals_come_from_one_request_and_one_for_each_new_category() -> None:
    node = Node(**{ONE: a_deal(), THREE: a_deal(category=2)})
    chain = node.chain()
    first, second, third = read_deals(chain, [ONE, TWO, THREE])
    assert first is not None
    assert third is not None
    assert (first.dealid, first.total_cost, second, third.category) == (ONE, 30, None, 2)
    assert int((first.finalTime - first.startTime).total_seconds()) == 3000
    assert node.requests == 3
    assert read_deals(chain, [THREE, ONE]) == [third, first]
    assert node.requests == 4
    assert read_deals(chain, []) == []
    assert node.requests == 4


@pytest.mark.parametrize(
    "answer",
    [a_deal()[:200], b"", RuntimeError("execution reverted")],
    ids=["cut off", "nothing", "refused"],
)
def test_a_node_that_sends_no_deals_is_an_error(answer: Any) -> None:
    with pytest.raises(Web3ProviderCallError):
        read_deals(Node(**{ONE: answer}).chain(), [ONE])


@pytest.mark.parametrize("read", [read_tasks, read_deals], ids=["tasks", "deals"])
def test_ids_are_checked_before_anything_is_asked(read: Callable[..., Any]) -> None:
    node = Node()
    chain = node.chain()
    with pytest.raises(ValueError, match="0x12"):
        read(chain, ["0x12"])
    assert node.requests == 0

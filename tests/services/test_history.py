"""Finding when something happened on a chain: blocks by time, and events in ranges that a node allows."""

from __future__ import annotations

import itertools
import math
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from fake_node import CHAIN_ID, FakeNode, NodeError
from hypothesis import given, settings
from hypothesis import strategies as st

from iexec_nb.errors import Web3ProviderCallError
from iexec_nb.services import abi, history
from iexec_nb.services.history import block_at, block_times, event_of, task_events
from iexec_nb.services.reads import Reader
from iexec_nb.services.receipts import Log

HUB = "0x3eca1B216A7DF1C7689aEb259fFB83ADFB894E7f"
TASKS = tuple("0x" + f"{number:02x}" * 32 for number in range(1, 4))
START = datetime(2026, 1, 1, tzinfo=UTC)


def chain_of(times: list[int], **answers: Any) -> tuple[FakeNode, Reader]:
    """Return a node whose blocks are at these seconds after `START`, and a reader of it."""

    def block(number: str, full: bool) -> dict[str, str] | None:
        height = len(times) - 1 if number == "latest" else int(number, 16)
        if height >= len(times):
            return None
        stamp = int((START + timedelta(seconds=times[height])).timestamp())
        return {"number": hex(height), "timestamp": hex(stamp), "gasLimit": "0x1"}

    node = FakeNode(
        eth_getBlockByNumber=block, eth_blockNumber=lambda: hex(len(times) - 1), **{"eth_getLogs": [], **answers}
    )
    return node, Reader(node.rpc(retries=0), HUB, chain_id=CHAIN_ID)


def log(event: abi.Event, task: str, block: int, index: int = 0, emitter: str = HUB) -> dict[str, Any]:
    topics = [event.topic, task, *(["0x" + "00" * 32] if event in (abi.TASK_INITIALIZE,) else [])]
    return {
        "address": emitter, "topics": topics, "data": "0x", "blockNumber": hex(block), "logIndex": hex(index),
        "transactionHash": "0x" + "ab" * 32,
    }  # fmt: skip


def never(_: object) -> bool:
    return False


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 3), min_size=1, max_size=400), st.integers(-5, 1300))
def test_the_first_block_that_is_not_earlier_is_found(gaps: list[int], second: int) -> None:
    times = [sum(gaps[: at + 1]) for at in range(len(gaps))]
    _, reader = chain_of(times)
    expected = next((at for at, one in enumerate(times) if one >= second), len(times))
    assert block_at(reader, START + timedelta(seconds=second)) == expected


def test_a_long_chain_takes_few_requests() -> None:
    class Long(list[int]):
        def __len__(self) -> int:
            return 400_000_000

        def __getitem__(self, at: Any) -> Any:
            return at // 4

    node, reader = chain_of(Long())
    assert block_at(reader, START + timedelta(seconds=77_777_777)) == 4 * 77_777_777
    assert node.posts <= 2 + math.ceil(math.log(400_000_000, 16))


def test_a_block_that_was_not_asked_for_is_an_error() -> None:
    answer = {"number": "0x5", "timestamp": "0x1", "gasLimit": "0x1"}
    node, reader = chain_of([0, 1, 2])
    node.answers["eth_getBlockByNumber"] = answer
    with pytest.raises(Web3ProviderCallError, match="block 5 where"):
        block_times(reader, [1])
    node.answers["eth_getBlockByNumber"] = None
    with pytest.raises(Web3ProviderCallError, match="where a block was expected"):
        block_at(reader, START)


def test_times_of_blocks_are_one_request() -> None:
    node, reader = chain_of([0, 4, 9])
    assert block_times(reader, [2, 0, 2]) == {0: START, 2: START + timedelta(seconds=9)}
    assert node.posts == 1
    assert block_times(reader, []) == {}


def test_events_are_found_in_one_question_and_in_the_order_of_the_chain() -> None:
    logs = [log(abi.TASK_FINALIZE, TASKS[1], 7, 1), log(abi.TASK_REOPEN, TASKS[0], 7, 0)]
    node, reader = chain_of([0] * 10, eth_getLogs=logs)
    found, complete = task_events(reader, TASKS, 0, 9, never)
    assert [event_of(one) for one in found] == [abi.TASK_REOPEN, abi.TASK_FINALIZE]
    assert complete is True
    assert node.posts == 1


def test_what_was_not_asked_for_is_left_out() -> None:
    strange = [
        log(abi.TASK_REOPEN, TASKS[0], 1, emitter="0x" + "12" * 20),
        log(abi.TASK_REOPEN, "0x" + "ff" * 32, 1),
        log(abi.TRANSFER, TASKS[0], 1),
        {**log(abi.TASK_REOPEN, TASKS[0], 1), "topics": []},
    ]
    _, reader = chain_of([0] * 3, eth_getLogs=strange)
    assert task_events(reader, TASKS, 0, 2, never) == ([], True)


@pytest.mark.parametrize("most", [5_000, 700, 100])
def test_a_node_that_shows_few_blocks_at_a_time_is_asked_in_parts(most: int) -> None:
    placed = {block: log(abi.TASK_REOPEN, TASKS[block % 3], block) for block in (0, 99, 100, 4_321, 9_999)}
    spans = []

    def logs(where: dict[str, Any]) -> list[dict[str, Any]]:
        first, last = int(where["fromBlock"], 16), int(where["toBlock"], 16)
        if last - first + 1 > most:
            raise NodeError(-32000, "query exceeds the range of blocks")
        spans.append((first, last))
        return [one for block, one in placed.items() if first <= block <= last]

    _, reader = chain_of([0] * 10_000, eth_getLogs=logs)
    found, complete = task_events(reader, TASKS, 0, 9_999, never)
    assert complete is True
    assert [one.block_number for one in found] == list(placed)
    assert spans[0][0] == 0
    assert spans[-1][1] == 9_999
    assert all(after[0] == before[1] + 1 for before, after in itertools.pairwise(spans))


def test_the_search_ends_when_everything_is_known() -> None:
    def logs(where: dict[str, Any]) -> list[dict[str, Any]]:
        if int(where["toBlock"], 16) - int(where["fromBlock"], 16) >= 100:
            raise NodeError(-32000, "too many")
        return [log(abi.TASK_FINALIZE, TASKS[0], int(where["fromBlock"], 16))]

    node, reader = chain_of([0] * 100_000, eth_getLogs=logs)
    found, complete = task_events(reader, TASKS, 0, 99_999, lambda known: len(known) >= 3)
    assert (len(found), complete) == (3, True)
    assert node.posts < 12


def test_a_search_without_end_ends_and_says_that_it_is_not_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "MAX_QUESTIONS", 10)

    def logs(where: dict[str, Any]) -> list[dict[str, Any]]:
        if int(where["toBlock"], 16) - int(where["fromBlock"], 16) >= 100:
            raise NodeError(-32000, "too many")
        return []

    node, reader = chain_of([0] * 1_000_000, eth_getLogs=logs)
    assert task_events(reader, TASKS, 0, 999_999, never) == ([], False)
    assert node.posts == 10


def test_a_node_that_shows_no_events_is_an_error() -> None:
    _, reader = chain_of([0] * 50, eth_getLogs=NodeError(-32000, "no logs here"))
    with pytest.raises(Web3ProviderCallError, match="no logs here"):
        task_events(reader, TASKS, 0, 49, never)


@pytest.mark.parametrize("answer", ["0x", {}, [5], [{"topics": 5}]], ids=range(4))
def test_an_answer_that_is_no_list_of_events_is_an_error(answer: Any) -> None:
    _, reader = chain_of([0] * 5, eth_getLogs=lambda where: answer)
    with pytest.raises(Web3ProviderCallError, match="expected"):
        task_events(reader, TASKS, 0, 4, never)


def test_many_tasks_are_asked_about_in_parts_of_one_request() -> None:
    wanted = [f"0x{number:064x}" for number in range(1, 1_202)]
    asked: list[int] = []

    def logs(where: dict[str, Any]) -> list[dict[str, Any]]:
        asked.append(len(where["topics"][1]))
        return [log(abi.TASK_REOPEN, where["topics"][1][0], 3)]

    node, reader = chain_of([0] * 5, eth_getLogs=logs)
    found, _ = task_events(reader, wanted, 0, 4, never)
    assert sorted(asked) == [201, 500, 500]
    assert node.posts == 1
    assert len(found) == 3


def test_a_log_of_another_kind_has_no_event() -> None:
    assert event_of(Log.from_rpc(log(abi.TRANSFER, TASKS[0], 1))) is None

"""Waiting for many tasks: what is asked, how often, and that nothing is missed when a node is slow, behind or gone."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from iexec_nb.actions.poll import MAX_VIEWS, Poll, TaskState
from iexec_nb.actions.watch import update_of
from iexec_nb.errors import (
    CompassCallError,
    ConfigurationError,
    ObjectNotFoundError,
    Web3ProviderCallError,
    WorkerpoolCallError,
)
from iexec_nb.protocol.execution import Deal, DealResource, Task, TaskStatus, task_id
from iexec_nb.protocol.types import NULL_ADDRESS, address
from iexec_nb.services import abi
from iexec_nb.services.chain import Chain
from iexec_nb.services.rpc import Rpc

HUB = address("0x" + "11" * 20)
POOL = address("0x" + "22" * 20)
WHO = address("0x" + "33" * 20)
START = datetime(2026, 1, 1, tzinfo=UTC)
DIGEST = b"\x07" * 32
CHAIN_ID = 65535


def a_deal(count: int, first: int = 0, seed: int = 1) -> Deal:
    sold = DealResource(pointer=POOL, owner=WHO, price=1)
    return Deal(
        dealid="0x" + f"{seed:064x}", app=sold, dataset=replace(sold, pointer=NULL_ADDRESS), workerpool=sold, trust=1,
        category=0, tag="0x" + "00" * 32, requester=WHO, beneficiary=WHO, callback=NULL_ADDRESS, params="",
        startTime=START, botFirst=first, botSize=count, workerStake=0, schedulerRewardRatio=0, sponsor=WHO,
        finalTime=START + timedelta(seconds=3000),
    )  # fmt: skip


class World:
    """A hub whose tasks are set by hand, behind a node that counts requests; and a scheduler that counts questions."""

    def __init__(self) -> None:
        self.status: dict[str, int] = {}
        self.deals: dict[str, tuple[str, int]] = {}
        self.block, self.now = 100, START
        self.logs: list[dict[str, Any]] = []
        self.requests = 0
        self.methods: Counter[str] = Counter()
        self.viewed: Counter[str] = Counter()
        self.node_fails = 0
        self.logs_answer: Callable[[int], Any] = lambda since: [
            log for log in self.logs if int(log["blockNumber"], 16) >= since
        ]
        self.words: dict[str, Any] = {}
        self.asked: list[str] = []
        self.looked_up = 0
        self.scheduler_down = self.compass_down = False
        rpc = Rpc("http://node.test", transport=httpx.MockTransport(self._node), retries=0)
        self.client: Any = SimpleNamespace(
            chain=Chain(rpc, HUB, chain_id=CHAIN_ID), poll_s=2.0, compass=SimpleNamespace(api_url=self._api_url),
            workerpool_api=lambda url: SimpleNamespace(task=self._task), network=SimpleNamespace(chain_id=CHAIN_ID),
        )  # fmt: skip
        assert self.client.chain.chain_id == CHAIN_ID
        self.reset()

    def reset(self) -> None:
        self.requests, self.asked, self.looked_up = 0, [], 0
        self.methods.clear()
        self.viewed.clear()

    @property
    def cost(self) -> int:
        return self.requests + len(self.asked) + self.looked_up

    def move(self, deal: Deal, idx: int, status: TaskStatus, *, told: bool = True) -> str:
        """Put a task into a state in a block of its own; `told` is whether the node has the log of it."""
        taskid = task_id(deal.dealid, idx)
        self.status[taskid] = status
        self.deals[taskid] = (deal.dealid, idx)
        self.block += 1
        if told:
            event = abi.TASK_FINALIZE if status is TaskStatus.COMPLETED else abi.TASK_INITIALIZE
            self.logs.append(
                {
                    "address": HUB, "topics": [event.topic, taskid], "data": "0x", "blockNumber": hex(self.block),
                    "transactionHash": "0x" + "00" * 32, "logIndex": "0x0",
                }
            )  # fmt: skip
        return taskid

    def _node(self, request: httpx.Request) -> httpx.Response:
        self.requests += 1
        if self.node_fails:
            self.node_fails -= 1
            raise httpx.ConnectError("connection refused", request=request)
        body = json.loads(request.content)
        calls = body if isinstance(body, list) else [body]
        answers = [{"jsonrpc": "2.0", "id": call["id"], **self._answer(call)} for call in calls]
        return httpx.Response(200, json=answers if isinstance(body, list) else answers[0])

    def _answer(self, call: dict[str, Any]) -> dict[str, Any]:
        self.methods[call["method"]] += 1
        if call["method"] == "eth_chainId":
            return {"result": hex(CHAIN_ID)}
        if call["method"] == "eth_getBlockByNumber":
            head = {"number": hex(self.block), "timestamp": hex(int(self.now.timestamp())), "gasLimit": "0x1c9c380"}
            return {"result": head}
        if call["method"] == "eth_getLogs":
            answer = self.logs_answer(int(call["params"][0]["fromBlock"], 16))
            return {"error": {"code": -32000, "message": answer}} if isinstance(answer, str) else {"result": answer}
        data = bytes.fromhex(call["params"][0]["data"][2:])
        return {"result": "0x" + self._call(data).hex()}

    def _call(self, data: bytes) -> bytes:
        if data[:4] == abi.VIEW_TASK.selector:
            taskid = "0x" + data[4:].hex()
            self.viewed[taskid] += 1
            dealid, idx = self.deals.get(taskid, ("0x" + "00" * 32, 0))
            final = int(START.timestamp()) + 3000 if taskid in self.deals else 0
            row: tuple[Any, ...] = (
                self.status.get(taskid, 0), bytes.fromhex(dealid[2:]), idx, 300, 0, 0, final, bytes(32), 0, 0, [],
                bytes(32), b"", 0, b"",
            )  # fmt: skip
            return abi.encode_values(abi.VIEW_TASK.outputs, [row], "task")
        constants: dict[bytes, tuple[Sequence[str], Any]] = {
            abi.DOMAIN.selector: (abi.DOMAIN.outputs, ("iExecODB", "5.0.0", CHAIN_ID, HUB)),
            abi.FINAL_DEADLINE_RATIO.selector: (["uint256"], 10),
        }
        types, value = constants.get(data[:4], (["address"], HUB))
        return abi.encode_values(types, [value], "constant")

    def _api_url(self, workerpool: str) -> str:
        self.looked_up += 1
        if self.compass_down:
            raise CompassCallError("silence")
        return "http://scheduler.test"

    def _task(self, taskid: str) -> dict[str, Any] | None:
        self.asked.append(taskid)
        if self.scheduler_down:
            raise WorkerpoolCallError("silence")
        word = self.words.get(taskid)
        return {"currentStatus": word} if isinstance(word, str) else word


@pytest.fixture
def world() -> World:
    return World()


def follow(poll: Poll, world: World, ticks: int) -> list[int]:
    """Return what each of several ticks cost in requests."""
    costs = []
    for _ in range(ticks):
        before = world.cost
        poll.tick()
        costs.append(world.cost - before)
    return costs


def test_a_thousand_tasks_cost_two_requests_a_tick_from_the_first_on(world: World) -> None:
    deal, poll = a_deal(1000), Poll(world.client)
    poll.add(deal)
    for idx in range(1000):
        world.move(deal, idx, TaskStatus.ACTIVE)
    costs = follow(poll, world, 3)
    for idx in range(0, 600, 2):
        world.move(deal, idx, TaskStatus.COMPLETED)
        if idx % 100 == 0:
            costs += follow(poll, world, 1)
    costs += follow(poll, world, 20)
    assert max(costs) <= 2
    assert sum(state.phase == "completed" for state in poll.states.values()) == 300
    assert list(poll.states) == list(deal.taskids)
    assert not poll.done


def test_a_tick_of_a_thousand_tasks_views_a_tenth_of_them_and_those_that_moved(world: World) -> None:
    deal, poll = a_deal(1000), Poll(world.client)
    poll.add(deal)
    assert len(poll.tick()) == 1000
    world.reset()
    poll.tick()
    assert (world.methods["eth_call"], world.methods["eth_getLogs"]) == (MAX_VIEWS, 1)
    last = world.move(deal, 999, TaskStatus.COMPLETED)
    assert last not in world.viewed
    changed = [*poll.tick(), *poll.tick()]
    assert [(state.task.taskid, state.phase) for state in changed] == [(last, "completed")]


def test_what_is_over_is_not_asked_again_and_the_rest_in_one_request(world: World) -> None:
    deal, poll = a_deal(3, first=5), Poll(world.client)
    world.move(deal, 5, TaskStatus.COMPLETED)
    poll.add(deal)
    assert [state.phase for state in poll.tick()] == ["completed", "matched", "matched"]
    assert [state.task.idx for state in poll.states.values()] == [5, 6, 7]
    world.reset()
    assert poll.tick() == []
    assert (world.requests, dict(world.viewed)) == (1, {deal.taskids[1]: 1, deal.taskids[2]: 1})
    for idx in (6, 7):
        world.move(deal, idx, TaskStatus.COMPLETED)
    poll.tick()
    assert poll.done
    world.reset()
    assert poll.tick() == []
    assert world.viewed == Counter()


def test_a_log_that_the_node_never_told_is_made_up_for_by_viewing_in_turns(world: World) -> None:
    deal, poll = a_deal(350), Poll(world.client)
    poll.add(deal)
    poll.tick()
    silent = world.move(deal, 17, TaskStatus.COMPLETED, told=False)
    seen = [state.task.taskid for _ in range(5) for state in poll.tick()]
    assert seen == [silent]


@pytest.mark.parametrize(
    "answer",
    ["query exceeds the range of blocks", {"not": "a list"}, [{"address": HUB}], ["0x", None]],
    ids=["refused", "no list", "half a log", "no logs"],
)
def test_a_node_without_usable_logs_is_asked_for_views_alone(world: World, answer: Any) -> None:
    deal, poll = a_deal(500), Poll(world.client)
    poll.add(deal)
    world.logs_answer = lambda since: answer
    assert max(follow(poll, world, 10)) <= 2
    world.reset()
    poll.tick()
    assert world.methods["eth_getLogs"] == 0
    moved = world.move(deal, 400, TaskStatus.COMPLETED)
    assert [state.task.taskid for _ in range(2) for state in poll.tick()] == [moved]


def test_logs_of_other_contracts_other_events_and_strangers_tasks_change_nothing(world: World) -> None:
    deal, poll = a_deal(200), Poll(world.client)
    poll.add(deal)
    poll.tick()
    other = a_deal(1, seed=9)
    world.move(other, 0, TaskStatus.COMPLETED)
    mine = world.move(deal, 150, TaskStatus.ACTIVE)
    world.logs[-1]["address"] = POOL
    world.logs.append({**world.logs[0], "topics": ["0x" + "ab" * 32, mine]})
    world.logs.append({**world.logs[0], "topics": [abi.TASK_FINALIZE.topic]})
    poll.tick()
    assert poll._moved == set()
    assert list(poll.states) == list(deal.taskids)


def test_the_same_log_is_not_acted_on_twice_while_no_block_comes(world: World) -> None:
    deal, poll = a_deal(300), Poll(world.client)
    poll.add(deal)
    poll.tick()
    moved = world.move(deal, 299, TaskStatus.ACTIVE)
    poll.tick()
    poll.tick()
    seen = world.viewed[moved]
    for _ in range(2):
        poll.tick()
    assert world.viewed[moved] == seen


def test_tasks_time_out_by_the_clock_of_the_chain_and_are_viewed_once_more_before(world: World) -> None:
    deal, poll = a_deal(250), Poll(world.client)
    poll.add(deal)
    poll.tick()
    for idx in range(250):
        world.move(deal, idx, TaskStatus.COMPLETED if idx >= 240 else TaskStatus.ACTIVE, told=False)
    world.now = deal.finalTime
    while not poll.done:
        poll.tick()
    phases = Counter(state.phase for state in poll.states.values())
    assert phases == {"timeout": 240, "completed": 10}


def test_a_few_tasks_are_all_asked_about_and_of_many_one_in_turn_the_started_first(world: World) -> None:
    few, poll = a_deal(3), Poll(world.client)
    poll.add(few)
    poll.tick()
    assert sorted(world.asked) == sorted(few.taskids)
    many, poll = a_deal(8, seed=2), Poll(world.client)
    started = [world.move(many, idx, TaskStatus.ACTIVE) for idx in (2, 5, 6)]
    poll.add(many)
    world.reset()
    assert follow(poll, world, 7) == [2] * 7
    assert world.looked_up == 1
    assert sorted(world.asked[:3]) == sorted(started)
    assert world.asked[3:] == world.asked[:3]


def test_a_crash_that_only_the_scheduler_knows_ends_the_task(world: World) -> None:
    deal, poll = a_deal(1), Poll(world.client)
    taskid = world.move(deal, 0, TaskStatus.ACTIVE)
    poll.add(deal)
    world.words[taskid] = {"currentStatus": "RUNNING", "replicates": "?"}
    assert [state.phase for state in poll.tick()] == ["running"]
    world.words[taskid] = {"currentStatus": "FAILED", "replicates": [7, {}, {"appExitCode": True}, {"appExitCode": 3}]}
    [state] = poll.tick()
    assert (state.phase, state.over, state.failed, state.offchain, state.exit_code) == (
        "failed", True, True, "FAILED", 3
    )  # fmt: skip
    assert poll.done


@pytest.mark.parametrize(
    "word",
    [None, 7, ["FAILED"], {"FAILED": 1}, "x" * 10_000, "\x1b[2J"],
    ids=["nothing", "number", "list", "mapping", "long", "escape"],
)
def test_a_scheduler_that_says_nonsense_changes_nothing(world: World, word: Any) -> None:
    deal, poll = a_deal(1), Poll(world.client)
    taskid = world.move(deal, 0, TaskStatus.ACTIVE)
    world.words[taskid] = {"currentStatus": word}
    poll.add(deal)
    [state] = poll.tick()
    assert state.phase == "initialized"
    assert len(state.offchain) < 300
    assert "\x1b" not in state.offchain


def test_a_scheduler_that_does_not_answer_is_asked_less_and_less(world: World) -> None:
    deal, poll = a_deal(1), Poll(world.client)
    poll.add(deal)
    world.scheduler_down = True
    follow(poll, world, 40)
    assert len(world.asked) == 6
    world.scheduler_down = False
    world.words[deal.taskids[0]] = "INITIALIZED"
    follow(poll, world, 40)
    assert poll.states[deal.taskids[0]].offchain == "INITIALIZED"


def test_a_compass_that_does_not_answer_is_asked_less_and_less(world: World) -> None:
    deal, poll = a_deal(1), Poll(world.client)
    poll.add(deal)
    world.compass_down = True
    follow(poll, world, 40)
    assert (world.looked_up, world.asked) == (6, [])


def test_a_scheduler_whose_address_is_none_does_not_end_the_waiting(world: World) -> None:
    deal, poll = a_deal(1), Poll(world.client)

    def refuse(url: str) -> None:
        raise ConfigurationError(f"{url} is not an http or https address")

    world.client.workerpool_api = refuse
    poll.add(deal)
    assert [state.phase for state in poll.tick()] == ["matched"]
    world.move(deal, 0, TaskStatus.COMPLETED)
    poll.tick()
    assert poll.done


def test_ctrl_c_while_the_scheduler_is_asked_loses_no_change(world: World) -> None:
    deal, poll = a_deal(150), Poll(world.client)
    poll.add(deal)
    poll.tick()
    moved = world.move(deal, 149, TaskStatus.COMPLETED)
    asked = world.client.workerpool_api

    def interrupt(url: str) -> None:
        raise KeyboardInterrupt

    poll._schedulers.clear()
    world.client.workerpool_api = interrupt
    with pytest.raises(KeyboardInterrupt):
        poll.tick()
    world.client.workerpool_api = asked
    assert moved in [state.task.taskid for _ in range(2) for state in poll.tick()]
    late = a_deal(150, seed=2)
    poll.add(late)
    poll._schedulers.clear()
    world.client.workerpool_api = interrupt
    with pytest.raises(KeyboardInterrupt):
        poll.tick()
    world.client.workerpool_api = asked
    assert {state.task.taskid for state in poll.tick()} == set(late.taskids)


def test_of_many_tasks_too_the_chain_overrules_the_scheduler(world: World) -> None:
    """What the scheduler says is held back until the chain was asked about just that task."""
    deal, poll = a_deal(400), Poll(world.client)
    for idx in range(400):
        world.move(deal, idx, TaskStatus.ACTIVE)
    poll.add(deal)
    poll.tick()
    for taskid in deal.taskids:
        world.words[taskid] = {"currentStatus": "FAILED", "replicates": [{"appExitCode": 9}]}
    for idx in range(0, 400, 2):
        world.move(deal, idx, TaskStatus.COMPLETED, told=False)
    costs = follow(poll, world, 420)
    assert max(costs) <= 2
    assert poll.done
    ended = [(state.task.idx % 2, state.phase, state.exit_code) for state in poll.states.values()]
    assert set(ended) <= {(0, "completed", None), (0, "completed", 9), (1, "failed", 9)}


def test_the_chain_overrules_the_scheduler(world: World) -> None:
    deal, poll = a_deal(1), Poll(world.client)
    taskid = world.move(deal, 0, TaskStatus.COMPLETED)
    world.words[taskid] = "FAILED"
    poll.add(deal)
    assert [state.phase for state in poll.tick()] == ["completed"]
    assert world.asked == []


def test_deals_are_added_between_ticks_and_twice_is_once(world: World) -> None:
    one, two = a_deal(2), a_deal(2, seed=2)
    poll = Poll(world.client)
    assert poll.done
    poll.add(one)
    assert not poll.done
    assert len(poll.tick()) == 2
    poll.add(two, [two.taskids[1], two.taskids[1].upper().replace("X", "x")])
    poll.add(one)
    assert [state.task.taskid for state in poll.tick()] == [two.taskids[1]]
    assert poll.taskids == (*one.taskids, two.taskids[1])
    with pytest.raises(ObjectNotFoundError, match="No task found") as caught:
        poll.add(one, [two.taskids[0]])
    assert one.dealid in str(caught.value.hint)
    assert poll.taskids == (*one.taskids, two.taskids[1])


def test_a_node_that_is_away_for_a_moment_does_not_end_the_waiting_and_one_that_stays_away_does(world: World) -> None:
    deal, poll = a_deal(2), Poll(world.client)
    poll.add(deal)
    world.node_fails = 1
    with pytest.raises(Web3ProviderCallError, match="cannot be reached"):
        poll.tick()
    assert len(poll.tick()) == 2
    world.move(deal, 1, TaskStatus.COMPLETED)
    world.node_fails = 2
    assert [poll.tick(), poll.tick()] == [[], []]
    assert [state.phase for state in poll.tick()] == ["completed"]
    world.node_fails = 3
    assert [poll.tick(), poll.tick()] == [[], []]
    with pytest.raises(Web3ProviderCallError, match="cannot be reached"):
        poll.tick()


def test_pauses_grow_while_nothing_changes_and_are_short_again_after_a_change(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0]
    slept: list[float] = []
    deal, poll = a_deal(1), Poll(world.client)
    poll.add(deal)

    def wait(seconds: float) -> bool:
        clock[0] += seconds
        slept.append(seconds)
        return False

    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    pauses = []
    for step in range(14):
        poll.tick()
        monkeypatch.setattr(poll._wake, "wait", wait)
        before = clock[0]
        assert poll.pause()
        pauses.append(round(clock[0] - before, 4))
        if step == 12:
            world.move(deal, 0, TaskStatus.ACTIVE)
    assert pauses[:4] == [0.02, 0.03, 0.045, 0.0675]
    assert max(pauses) == pauses[12] == world.client.poll_s
    assert max(slept) <= 0.1
    assert pauses[13] == 0.02
    assert not poll.pause(end=clock[0])
    before = clock[0]
    assert poll.pause(end=clock[0] + 0.001)
    assert clock[0] - before == pytest.approx(0.001)


def test_a_pause_ends_when_a_task_is_added_and_when_nobody_waits_any_more(world: World) -> None:
    world.client.poll_s = 3600.0
    poll, over = Poll(world.client), threading.Event()
    poll.add(a_deal(1))
    poll.tick()
    poll._pause_s = 3600.0
    ended: list[bool] = []
    threads = [threading.Thread(target=lambda: ended.append(poll.pause(over=over))) for _ in range(2)]
    threads[0].start()
    poll.add(a_deal(1, seed=2))
    threads[0].join()
    assert ended == [True]
    poll.tick()
    poll._pause_s = 3600.0
    threads[1].start()
    over.set()
    threads[1].join()
    assert ended == [True, False]
    assert not poll.pause(over=over)


def test_threads_share_one_poll(world: World) -> None:
    poll = Poll(world.client)
    deals = [a_deal(5, seed=seed) for seed in range(1, 41)]
    seen: list[TaskState] = []
    stop = threading.Event()

    def add(part: int) -> None:
        for deal in deals[part::4]:
            poll.add(deal)

    def tick() -> None:
        while not stop.is_set() or len(poll.states) < 200:
            seen.extend(poll.tick())

    threads = [threading.Thread(target=add, args=(part,)) for part in range(4)]
    threads += [threading.Thread(target=tick) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads[:4]:
        thread.join()
    stop.set()
    for thread in threads[4:]:
        thread.join()
    assert sorted(state.task.taskid for state in seen) == sorted(taskid for deal in deals for taskid in deal.taskids)


def a_state(deal: Deal, idx: int, status: TaskStatus, now: datetime = START, offchain: str = "") -> TaskState:
    task = replace(Task.unset(deal, idx), status=status)
    return TaskState(deal=deal, task=task, now=now, offchain=offchain)


@pytest.mark.parametrize(
    ("states", "event", "phase", "done", "failed"),
    [
        ("AA", "DEAL_UPDATED", "initialized", False, False),
        ("CA", "DEAL_UPDATED", "initialized", False, False),
        ("CR", "DEAL_UPDATED", "revealing", False, False),
        ("CC", "DEAL_COMPLETED", "completed", True, False),
        ("CL", "DEAL_TIMEDOUT", "timeout", True, True),
        ("LL", "DEAL_TIMEDOUT", "timeout", True, True),
        ("FF", "DEAL_TIMEDOUT", "failed", True, True),
        ("XA", "DEAL_UPDATED", "failed", False, False),
        ("XC", "DEAL_UPDATED", "failed", True, True),
        ("UU", "DEAL_UPDATED", "matched", False, False),
    ],
)
def test_the_states_of_tasks_together_are_what_the_javascript_sdk_says_of_a_deal(
    states: str, event: str, phase: str, done: bool, failed: bool
) -> None:
    deal = a_deal(2)
    late = deal.finalTime
    made = {
        "A": lambda idx: a_state(deal, idx, TaskStatus.ACTIVE), "U": lambda idx: a_state(deal, idx, TaskStatus.UNSET),
        "C": lambda idx: a_state(deal, idx, TaskStatus.COMPLETED, late),
        "R": lambda idx: a_state(deal, idx, TaskStatus.REVEALING),
        "L": lambda idx: a_state(deal, idx, TaskStatus.ACTIVE, late),
        "F": lambda idx: a_state(deal, idx, TaskStatus.FAILED, late),
        "X": lambda idx: a_state(deal, idx, TaskStatus.ACTIVE, START, "FAILED"),
    }  # fmt: skip
    update = update_of(deal, [made[letter](idx) for idx, letter in enumerate(states)])
    assert (update.event, update.phase, update.done, update.failed) == (event, phase, done, failed)
    assert update.tasksCount == 2
    assert update.completedTasksCount == states.count("C")
    assert update.failedTasksCount == sum(states.count(letter) for letter in "LFX")
    assert len(update.failedTasks) == (2 - states.count("C") if done else 0)


@pytest.mark.parametrize(
    ("letter", "event"),
    [("A", "TASK_UPDATED"), ("C", "TASK_COMPLETED"), ("F", "TASK_FAILED"), ("L", "TASK_TIMEDOUT")],
)
def test_the_state_of_one_task_is_what_the_javascript_sdk_says_of_a_task(letter: str, event: str) -> None:
    deal = a_deal(1)
    status = {"A": TaskStatus.ACTIVE, "C": TaskStatus.COMPLETED, "F": TaskStatus.FAILED, "L": TaskStatus.ACTIVE}
    now = START if letter == "A" else deal.finalTime
    assert update_of(deal, [a_state(deal, 0, status[letter], now)], one_task=True).event == event

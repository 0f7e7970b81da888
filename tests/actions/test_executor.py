"""An executor whose workers are a workerpool's: futures of results, for plain Python, asyncio and joblib."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from typing import Any

import pytest
from stage import RLC, deploy_app, nonce, person, wallet

from iexec_nb.actions.dispatch import Dispatch
from iexec_nb.actions.executor import AppExecutor
from iexec_nb.actions.order_matching import Four, OrderMatching
from iexec_nb.client import IExec
from iexec_nb.errors import (
    ConfigurationError,
    InsufficientFundsError,
    OrderMismatchError,
    TaskFailedError,
    ValidationError,
    Web3ProviderCallError,
    Web3ProviderSendError,
)
from iexec_nb.protocol.matching import Cost
from iexec_nb.protocol.receipts import Matched
from iexec_nb.protocol.types import NULL_ADDRESS
from iexec_nb.sandbox.network import Sandbox


def picky(words: list[str]) -> None:
    """An app that fails when it is told to, and else writes what it was given."""
    import json
    import os
    import sys

    if "bad" in words:
        print("no good", file=sys.stderr)
        sys.exit(3)
    with open(os.path.join(os.environ["IEXEC_OUT"], "out.txt"), "w") as file:
        file.write(" ".join(words))
    with open(os.path.join(os.environ["IEXEC_OUT"], "computed.json"), "w") as file:
        json.dump({"deterministic-output-path": "/iexec_out/out.txt"}, file)


@pytest.fixture(scope="module")
def echo(net: Sandbox, seller: IExec) -> str:
    return deploy_app(net, seller, picky, price="0.01 RLC", volume=1000)


def stake(client: IExec) -> int:
    return client.account.show().stake


def no_thread_is_left() -> bool:
    for thread in threading.enumerate():
        if thread.name.startswith("iexec-dispatch"):
            thread.join(20)
    return not [thread for thread in threading.enumerate() if thread.name.startswith("iexec-dispatch")]


def test_futures_give_the_results_of_what_was_submitted(echo: str, buyer: IExec) -> None:
    with buyer.app.executor(echo, category=0) as tasks:
        assert isinstance(tasks, concurrent.futures.Executor)
        futures = [tasks.submit(word) for word in ("a", "b c", "d")]
        assert all(isinstance(future, concurrent.futures.Future) for future in futures)
        assert [future.result(60).text("out.txt") for future in futures] == ["a", "b c", "d"]
        assert concurrent.futures.wait(futures).not_done == set()
    assert stake(buyer) == 5 * RLC - 3 * RLC // 100
    assert no_thread_is_left()


@pytest.mark.parametrize(
    ("args", "submit", "line"),
    [
        (None, lambda tasks: tasks.submit({"alpha": 1, "name": "x y"}), "--alpha 1 --name x y"),
        ("--alpha {}", lambda tasks: tasks.submit(0.5), "--alpha 0.5"),
        ("--alpha {alpha}", lambda tasks: tasks.submit({"alpha": 2}), "--alpha 2"),
        (None, lambda tasks: tasks.submit("--n {}".format, 3), "--n 3"),
        (None, lambda tasks: tasks.submit(lambda *, n: f"-n {n}", n=4), "-n 4"),
        (None, lambda tasks: tasks.submit({"iexec_args": "own"}), "own"),
        (lambda n: f"<{n}>", lambda tasks: tasks.submit(5), "<5>"),
    ],
    ids=["mapping", "value", "template", "function", "keyword", "params", "args-function"],
)
def test_what_is_submitted_becomes_arguments(echo: str, buyer: IExec, args: Any, submit: Any, line: str) -> None:
    with buyer.app.executor(echo, args=args, category=0) as tasks:
        assert submit(tasks).result(60).text("out.txt") == line


def test_map_yields_results_in_order(echo: str, buyer: IExec) -> None:
    with buyer.app.executor(echo, args="--x {}", category=0) as tasks:
        assert [result.text("out.txt") for result in tasks.map([1, 2, 3])] == ["--x 1", "--x 2", "--x 3"]
    with buyer.app.executor(echo, category=0) as tasks:
        found = tasks.map("{} {}".format, "ab", "cd", timeout=60)
        assert [result.text("out.txt") for result in found] == ["a c", "b d"]


def test_a_task_that_fails_raises_from_its_future_alone(echo: str, buyer: IExec) -> None:
    with buyer.app.executor(echo, category=0) as tasks:
        good, bad = tasks.submit("good"), tasks.submit("bad")
        error = bad.exception(60)
        assert good.result(60).text("out.txt") == "good"
    assert isinstance(error, TaskFailedError)
    assert error.exit_code == 3
    assert error.stderr.endswith("no good\n")


def test_asyncio_runs_tasks_in_it(echo: str, buyer: IExec) -> None:
    async def main(tasks: AppExecutor) -> list[str]:
        loop = asyncio.get_running_loop()
        results = await asyncio.gather(*(loop.run_in_executor(tasks, "{}".format, n) for n in range(3)))
        return [result.text("out.txt") for result in results]  # type: ignore[attr-defined]

    with buyer.app.executor(echo, category=0) as tasks:
        assert asyncio.run(main(tasks)) == ["0", "1", "2"]


def test_joblib_runs_tasks_with_it(echo: str, buyer: IExec) -> None:
    import joblib

    with buyer.app.executor(echo, category=0) as tasks:

        def run(n: int) -> str:
            return tasks.submit(n).result(60).text("out.txt")

        found = joblib.Parallel(n_jobs=3, prefer="threads")(joblib.delayed(run)(n) for n in range(4))
    assert found == ["0", "1", "2", "3"]


def test_threads_submit_at_once(echo: str, buyer: IExec) -> None:
    with buyer.app.executor(echo, category=0) as tasks, concurrent.futures.ThreadPoolExecutor(4) as threads:
        found = threads.map(lambda n: tasks.submit(n).result(60).text("out.txt"), range(6))
        assert list(found) == [str(n) for n in range(6)]
    assert stake(buyer) == 5 * RLC - 6 * RLC // 100


# What is asked.


def test_without_a_budget_each_task_is_shown_and_asked_for(net: Sandbox, echo: str, buyer: IExec) -> None:
    with person(net, buyer) as me, me.client.app.executor(echo, category=0) as tasks:
        assert not me.asked
        tasks.submit("first").result(60)
        assert "first" in me.asked[0]
        assert "0.01 RLC" in me.asked[0]
        me.answer = False
        before = nonce(buyer)
        with pytest.raises(ConfigurationError, match="aborted by user"):
            tasks.submit("second")
        assert nonce(buyer) == before
        assert len(me.asked) == 2


def test_a_budget_is_asked_for_once_and_never_exceeded(net: Sandbox, echo: str, buyer: IExec) -> None:
    with person(net, buyer) as me:
        with me.client.app.executor(echo, args="--n {}", budget="0.03 RLC", category=0, max_price="0.02 RLC") as tasks:
            for words in ("0.03 RLC in all", "at most 0.02 RLC", "not shown before they are signed", echo,
                          wallet(buyer), str(net.chain_id)):  # fmt: skip
                assert words in me.asked[0]
            futures = [tasks.submit(n) for n in range(3)]
            with pytest.raises(InsufficientFundsError, match=r"budget of 0\.03 RLC does not cover"):
                tasks.submit(3)
            assert [future.result(60).text("out.txt") for future in futures] == ["--n 0", "--n 1", "--n 2"]
            assert "0 RLC left" in repr(tasks)
        assert len(me.asked) == 1
        me.answer = False
        with pytest.raises(ConfigurationError, match="aborted"):
            me.client.app.executor(echo, budget=1)
    assert stake(buyer) == 5 * RLC - 3 * RLC // 100


def test_what_is_wrong_is_said_when_it_is_submitted(net: Sandbox, echo: str, buyer: IExec) -> None:
    with person(net, buyer) as me:
        with me.client.app.executor(echo, args="{alpha}", category=0) as tasks:
            with pytest.raises(ValidationError, match=r"there is no \{alpha\}"):
                tasks.submit({"beta": 1})
            with pytest.raises(ZeroDivisionError):
                tasks.submit(lambda: 1 / 0)
        for wrong in ({"max_workers": 0}, {"budget": 0.5}, {"dataset": "0x1"}):
            with pytest.raises(ValidationError):
                me.client.app.executor(echo, **wrong)
        with me.client.app.executor(echo, category=0, max_price=1) as tasks, pytest.raises(OrderMismatchError):
            tasks.submit("dear")
        assert not me.touched
        assert not me.asked


def test_a_stake_that_is_too_low_is_said_before_the_question(net: Sandbox, echo: str) -> None:
    with person(net, net.client(deposit="0.005 RLC")) as me, me.client.app.executor(echo, category=0) as tasks:
        with pytest.raises(InsufficientFundsError, match="does not hold enough"):
            tasks.submit("x")
        assert not me.asked


# Its end.


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Deals are begun when this is set."""
    go = threading.Event()
    take = Dispatch._next
    monkeypatch.setattr(Dispatch, "_next", lambda self: take(self) if go.is_set() else None)
    return go


def test_what_was_not_bought_is_cancelled_and_costs_nothing(echo: str, buyer: IExec, slow: threading.Event) -> None:
    before = nonce(buyer)
    with buyer.app.executor(echo, budget="0.03 RLC", category=0) as tasks:
        futures = [tasks.submit(word) for word in "abc"]
        assert futures[0].cancel()
        slow.set()
        assert futures[1].result(60).text("out.txt") == "b"
        assert futures[2].result(60).text("out.txt") == "c"
        assert tasks.submit("d").result(60).text("out.txt") == "d"
        assert not futures[1].cancel()
    assert nonce(buyer) == before + 3


def test_shutdown_cancels_what_waits_when_it_is_told_to(echo: str, buyer: IExec, slow: threading.Event) -> None:
    before = nonce(buyer)
    tasks = buyer.app.executor(echo, category=0)
    futures = [tasks.submit(word) for word in "abc"]
    tasks.shutdown(wait=False, cancel_futures=True)
    assert all(future.cancelled() for future in futures)
    with pytest.raises(RuntimeError, match="after shutdown"):
        tasks.submit("d")
    slow.set()
    tasks.shutdown()
    assert no_thread_is_left()
    assert nonce(buyer) == before


def test_leaving_with_an_error_buys_nothing_more_and_waits_for_nothing(
    echo: str, buyer: IExec, slow: threading.Event
) -> None:
    before = nonce(buyer)
    futures = []

    def work() -> None:
        with buyer.app.executor(echo, category=0) as tasks:
            futures.append(tasks.submit("a"))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        work()
    assert futures[0].cancelled()
    slow.set()
    assert nonce(buyer) == before


def test_an_executor_that_was_never_used_ends_at_once(echo: str, buyer: IExec) -> None:
    with buyer.app.executor(echo) as tasks:
        assert "0 submitted" in repr(tasks)
    assert no_thread_is_left()


def test_only_so_many_tasks_are_unfinished_at_once(echo: str, buyer: IExec, monkeypatch: pytest.MonkeyPatch) -> None:
    take, unfinished = Dispatch._take, []

    def counted(self: Dispatch, held: threading.Event) -> Any:
        job = take(self, held)
        unfinished.append(self.running)
        return job

    monkeypatch.setattr(Dispatch, "_take", counted)
    with buyer.app.executor(echo, category=0, max_workers=2) as tasks:
        futures = [tasks.submit(n) for n in range(6)]
        assert [future.result(60).text("out.txt") for future in futures] == [str(n) for n in range(6)]
    assert max(unfinished) == 2


def test_a_node_that_is_away_is_told_to_who_waits_and_what_was_paid_is_found_again(
    echo: str, buyer: IExec, monkeypatch: pytest.MonkeyPatch
) -> None:
    look, bought = Dispatch._look, threading.Event()

    def away(self: Dispatch) -> None:
        if self._unfinished and not bought.is_set():
            bought.set()
            raise Web3ProviderCallError("the node is away")
        look(self)

    monkeypatch.setattr(Dispatch, "_look", away)
    with buyer.app.executor(echo, category=0, idempotency_key="away") as tasks:
        future = tasks.submit("x")
        error = future.exception(60)
        assert isinstance(error, Web3ProviderCallError)
        assert "the node is away" in error.message
        assert f"iexec.deal.attach({error.context['deal']!r})" in str(error.hint)
        assert buyer.deal.attach(str(error.context["deal"])).deal.requester == wallet(buyer)
    paid = stake(buyer)
    with buyer.app.executor(echo, category=0, idempotency_key="away") as tasks:
        assert tasks.submit("x").result(60).text("out.txt") == "x"
    assert stake(buyer) == paid == 5 * RLC - RLC // 100


def test_the_same_program_under_the_same_name_pays_nothing_twice(net: Sandbox, echo: str, buyer: IExec) -> None:
    with person(net, buyer) as me:
        for _ in range(2):
            with me.client.app.executor(echo, category=0, idempotency_key="program") as tasks:
                assert [tasks.submit(word).result(60).text("out.txt") for word in "ab"] == ["a", "b"]
        assert len(me.asked) == 2
        wrong: Any
        for wrong in ("", 5):
            with pytest.raises(ValidationError, match="idempotency_key"):
                me.client.app.executor(echo, category=0, idempotency_key=wrong)
    assert stake(buyer) == 5 * RLC - 2 * RLC // 100
    assert NULL_ADDRESS not in me.asked[0]


def test_the_order_in_which_threads_submit_changes_no_name(net: Sandbox, echo: str, buyer: IExec) -> None:
    with person(net, buyer) as me:
        for words in ("aba", "aab", "baa"):
            with me.client.app.executor(echo, category=0, idempotency_key="any order") as tasks:
                assert [tasks.submit(word).result(60).text("out.txt") for word in words] == list(words)
            assert me.node.sent == 3
    assert stake(buyer) == 5 * RLC - 3 * RLC // 100


def test_a_submit_that_was_refused_uses_up_no_name(net: Sandbox, echo: str, buyer: IExec) -> None:
    with person(net, buyer) as me:
        with me.client.app.executor(echo, category=0, idempotency_key="refused") as tasks:
            me.answer = False
            with pytest.raises(ConfigurationError, match="aborted"):
                tasks.submit("a")
            me.answer = True
            assert tasks.submit("a").result(60).text("out.txt") == "a"
        with me.client.app.executor(echo, category=0, idempotency_key="refused") as tasks:
            assert tasks.submit("a").result(60).text("out.txt") == "a"
        assert me.node.sent == 1
    assert stake(buyer) == 5 * RLC - RLC // 100


def test_a_price_whose_payment_is_not_known_stays_in_the_budget(
    echo: str, buyer: IExec, monkeypatch: pytest.MonkeyPatch
) -> None:
    match = OrderMatching.match_four

    def lost(self: Any, four: Four, cost: Cost, **options: Any) -> Matched:
        if "lost" not in four[3].params:
            return match(self, four, cost, **options)
        raise Web3ProviderSendError("not confirmed in time", tx_hash="0x" + "ab" * 32)

    monkeypatch.setattr(OrderMatching, "match_four", lost)
    with buyer.app.executor(echo, budget="0.02 RLC", category=0) as tasks:
        assert isinstance(tasks.submit("lost").exception(60), Web3ProviderSendError)
        assert "0.01 RLC left" in repr(tasks)
        assert tasks.submit("a").result(60).text("out.txt") == "a"
        with pytest.raises(InsufficientFundsError, match="does not cover"):
            tasks.submit("b")

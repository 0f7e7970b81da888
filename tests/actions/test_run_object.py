"""The handle of a run: its status in a word, its cost and gas, its story, and all of its results."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pandas as pd
import pytest
from stage import RLC, crash, deploy_app, json_answer, person, publish, wallet

from iexec_nb import tables
from iexec_nb.actions import poll as polling
from iexec_nb.actions import timeline as stories
from iexec_nb.actions import watch as watching
from iexec_nb.actions.run import Run
from iexec_nb.actions.updates import Update
from iexec_nb.client import IExec
from iexec_nb.errors import ResultNotFoundError, TaskFailedError, ValidationError, Web3ProviderCallError
from iexec_nb.protocol.quotes import RunCost
from iexec_nb.sandbox.network import Sandbox
from iexec_nb.services import abi

HUB = ["OrdersMatched", "TaskInitialize", "TaskContribute", "TaskConsensus", "TaskReveal", "TaskFinalize"]


def uneven() -> None:
    """An app that fails where its index is odd."""
    import json
    import os

    if int(os.environ.get("IEXEC_TASK_INDEX", os.environ.get("IEXEC_BOT_TASK_INDEX", "0"))) % 2:
        raise SystemExit(3)
    out = os.environ["IEXEC_OUT"]
    with open(os.path.join(out, "out.txt"), "w") as file:
        file.write("even")
    with open(os.path.join(out, "computed.json"), "w") as file:
        json.dump({"deterministic-output-path": "/iexec_out/out.txt"}, file)


def slow() -> None:
    import json
    import os

    time.sleep(float(sys.argv[1]))
    with open(os.path.join(os.environ["IEXEC_OUT"], "computed.json"), "w") as file:
        json.dump({"deterministic-output-path": "/iexec_out/computed.json"}, file)


@pytest.fixture(scope="module")
def done(app: str, seller: IExec, net: Sandbox) -> Run:
    """A run that is over."""
    return net.client(deposit="5 RLC").app.run(app, args="a", category=0).wait()


def many(buyer: IExec, app: str, volume: int, **wishes: Any) -> Run:
    return buyer.app._planner(app, category=0, **wishes).plan(volume=volume).execute()


# In a word, and in money.


def test_a_run_says_its_status_in_a_word(net: Sandbox, seller: IExec, done: Run) -> None:
    buyer = net.client(deposit="5 RLC")
    idle = net.workerpool("asleep", price=0, idle=True)
    app = deploy_app(net, seller, price=0)
    assert buyer.app.run(app, category=0, workerpool=idle).status == "matched"
    assert done.status == "completed"
    crashed = buyer.app.run(deploy_app(net, seller, crash, price=0), args="x", category=0)
    with pytest.raises(TaskFailedError):
        crashed.wait()
    assert crashed.status == "failed"
    with person(net, buyer) as me:
        me.web.before = lambda request: httpx.Response(500) if request.url.path.startswith("/tasks") else None
        assert me.client.deal.attach(crashed.dealid).status == "initialized"


def test_a_run_knows_what_it_cost_and_the_gas_where_it_was_sent(done: Run) -> None:
    cost = done.cost
    assert isinstance(cost, RunCost)
    assert (cost.volume, cost.app, cost.dataset, cost.workerpool) == (1, RLC // 10, 0, 0)
    assert (cost.per_task, cost.total, cost.refunded, cost.paid) == (RLC // 10, RLC // 10, 0, RLC // 10)
    assert done.txHash is not None
    receipt = done._client.chain.rpc.call("eth_getTransactionReceipt", done.txHash)
    assert cost.gasUsed == int(receipt["gasUsed"], 16)
    assert cost.fee == int(receipt["gasUsed"], 16) * int(receipt["effectiveGasPrice"], 16) > 0
    assert "0.1 RLC for 1 task" in repr(cost)
    assert "ether" in repr(cost)
    again = done._client.deal.attach(done.dealid).cost
    assert (again.total, again.gasUsed, again.fee, again.txHash) == (RLC // 10, None, None, None)
    assert "ether" not in repr(again)


def test_a_node_that_does_not_say_the_price_of_gas_leaves_the_fee_open(net: Sandbox, done: Run) -> None:
    with person(net, done._client) as me:

        def silent(methods: list[str], response: httpx.Response) -> httpx.Response:
            if methods == ["eth_getTransactionReceipt"]:
                body = response.json()
                del body["result"]["effectiveGasPrice"]
                return json_answer(response, body)
            return response

        me.node.after = silent
        cost = Run(me.client, done.deal, done.txHash).cost
    assert cost.gasUsed
    assert cost.fee is None


# Its story.


def test_the_story_of_a_run_is_a_table_of_the_chain_and_the_scheduler(done: Run) -> None:
    story = done.timeline()
    assert list(story.columns) == list(tables.TIMELINE.dtypes)
    assert story.iexec.schema is tables.TIMELINE
    chain = story[story["source"] == "chain"]
    assert chain["event"].tolist() == HUB
    assert story["time"].is_monotonic_increasing
    assert str(story["time"].dt.tz) == "UTC"
    match = chain.iloc[0]
    assert (match["who"], match["txHash"]) == (done.deal.requester, done.txHash)
    assert pd.isna(match["idx"])
    assert match["time"] == done.deal.startTime
    rest = chain.iloc[1:]
    assert set(rest["taskid"]) == {done.taskids[0]}
    assert set(rest["idx"]) == {0}
    assert rest["txHash"].notna().all()
    assert rest.iloc[0]["who"] == done.deal.workerpool.pointer
    assert rest.iloc[1]["who"] == rest.iloc[3]["who"]
    assert rest.iloc[-1]["detail"].startswith("ipfs /ipfs/")
    told = story[story["source"] == "scheduler"]
    assert {"RECEIVED", "INITIALIZED", "RUNNING", "COMPUTED", "COMPLETED"} <= set(told["event"])
    assert told["txHash"].isna().all()
    assert story.attrs["complete"] is True
    assert story.attrs["dealid"] == done.dealid
    assert "1 of 1 tasks" in story.attrs["source"]


def test_somebody_who_knows_the_deal_alone_reads_the_same_story(net: Sandbox, done: Run) -> None:
    net.mine(40)
    with person(net, net.user) as me:
        found = me.client.deal.attach(done.dealid).timeline()
    pd.testing.assert_frame_equal(found, done.timeline())


def test_a_deal_of_several_tasks_tells_the_story_of_each(net: Sandbox, seller: IExec, buyer: IExec) -> None:
    app = deploy_app(net, seller, price=0)
    first = many(buyer, app, 3, args="x").wait()
    story = first.timeline()
    assert story["event"].value_counts()["TaskFinalize"] == 3
    assert story[story["event"] == "TaskFinalize"]["idx"].tolist() != []
    assert set(story["idx"].dropna()) == {0, 1, 2}
    index = dict(zip(first.taskids, range(3), strict=True))
    for _, row in story.dropna(subset=["taskid"]).iterrows():
        assert index[row["taskid"]] == row["idx"]


def test_a_story_without_a_scheduler_is_the_chain_s(net: Sandbox, done: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stories, "scheduler", lambda *_: None)
    story = done.timeline()
    assert story["event"].tolist() == HUB
    assert "0 of 1 tasks" in story.attrs["source"]


def _said(status: Any, date: Any, **more: Any) -> dict[str, Any]:
    return {"status": status, "date": date, **more}


NOON = "2026-01-01T12:00:00.000+00:00"


@pytest.mark.parametrize(
    ("answer", "events"),
    [
        ({"dateStatusList": "x", "replicates": 5}, []),
        ({"dateStatusList": [5, None, [], {}, _said(5, NOON), _said("A", 5), _said("B", "soon")]}, []),
        ({"dateStatusList": [_said("<b>\n", NOON)]}, ["<b>\ufffd"]),
        ({"dateStatusList": [_said("X" * 500, "2026-01-01T12:00:00")]}, ["X" * 39]),
        ({"dateStatusList": [_said("LAST", "9999-12-31T23:59:59-23:59"), _said("OK", NOON)]}, ["OK"]),
        ({"replicates": [5, {"walletAddress": "me", "statusUpdateList": [_said("R", NOON, cause=5)]}]}, ["R"]),
        ({"dateStatusList": [_said("S", NOON)] * 5000}, ["S"] * 1000),
        ([], []),
    ],
    ids=range(8),
)
def test_what_a_scheduler_sends_is_shown_or_left_out_and_never_an_error(
    net: Sandbox, done: Run, answer: Any, events: list[str]
) -> None:
    with person(net, net.user) as me:

        def lie(request: httpx.Request, response: httpx.Response) -> httpx.Response:
            if request.url.path.startswith("/tasks/"):
                return httpx.Response(200, json=answer)
            return response

        me.web.change = lie
        story = me.client.deal.attach(done.dealid).timeline()
    told = story[story["source"] == "scheduler"]
    assert [event[:39] for event in told["event"]] == [event[:39] for event in events]
    assert told["who"].isna().all()
    assert all(len(event) <= 60 for event in told["event"])


def test_many_tasks_are_not_as_many_questions_to_a_scheduler(
    net: Sandbox, seller: IExec, buyer: IExec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stories, "MAX_ASKED", 2)
    run = many(buyer, deploy_app(net, seller, price=0), 5, workerpool=net.workerpool("lazy", price=0, idle=True))
    with person(net, buyer) as me:
        story = me.client.deal.attach(run.dealid).timeline()
        assert len(me.web.to("scheduler", "/tasks/")) <= 2
    assert "of 5 tasks" in story.attrs["source"]
    assert story[story["source"] == "chain"]["event"].tolist() == ["OrdersMatched"]


# All results.


@pytest.fixture(scope="module")
def uneven_app(net: Sandbox, seller: IExec) -> str:
    return deploy_app(net, seller, uneven, price="0.2 RLC")


def test_results_are_a_row_for_each_task_and_failures_are_rows(
    net: Sandbox, buyer: IExec, uneven_app: str, app: str
) -> None:
    run = many(buyer, uneven_app, 4, args="x")
    found = run.results()
    assert list(found.columns) == list(tables.RUNS.dtypes)
    assert found["idx"].tolist() == [0, 1, 2, 3]
    assert found["taskid"].tolist() == list(run.taskids)
    assert found["cost"].tolist() == [RLC // 5] * 4
    assert found["status"].tolist() == ["completed", "failed"] * 2
    assert [one["out.txt"].text() for one in found["result"].dropna()] == ["even", "even"]
    assert found["error"].isna().tolist() == [True, False] * 2
    assert "3" in found["error"][1]
    assert run.status == "failed"


def test_results_without_downloads_and_of_tasks_that_are_not_over(
    net: Sandbox, seller: IExec, buyer: IExec, done: Run
) -> None:
    with person(net, buyer) as me:
        me.client.deal.attach(done.dealid).results(fetch=False)
        assert not me.web.to("ipfs")
    idle = net.workerpool("asleep too", price=0, idle=True)
    run = buyer.app.run(deploy_app(net, seller, price=0), category=0, workerpool=idle)
    found = run.results(timeout_s=0)
    assert found["status"].tolist() == ["matched"]
    assert found["result"].tolist() == [None]
    with pytest.raises(ValidationError, match="timeout_s"):
        run.results(timeout_s="soon")  # type: ignore[arg-type]


def test_what_shows_people_a_run_shows_the_waiting_for_results(done: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []

    def show(updates: Iterator[Update], again: str) -> Iterator[Update]:
        seen.append(again)
        for update in updates:
            seen.append(update.phase)
            yield update

    monkeypatch.setattr(watching, "on_update", show)
    done.results()
    assert seen == [f"iexec.deal.attach({done.dealid!r}).results()", "completed"]


@pytest.mark.parametrize("stop", [KeyboardInterrupt, Web3ProviderCallError], ids=["ctrl-c", "node"])
def test_a_stop_while_waiting_for_results_says_how_to_go_on(
    net: Sandbox, seller: IExec, buyer: IExec, monkeypatch: pytest.MonkeyPatch, stop: Callable[..., BaseException]
) -> None:
    run = buyer.app.run(deploy_app(net, seller, slow, price=0), args="0.4", category=0)

    def stopped(*_: object, **__: object) -> None:
        raise stop("stopped")

    with monkeypatch.context() as patch:
        patch.setattr(polling.Poll, "pause", stopped)
        with pytest.raises((KeyboardInterrupt, Web3ProviderCallError)) as caught:
            run.results()
    [note] = caught.value.__notes__
    assert "the paid task goes on" in note
    expression = note.partition("To wait again: ")[2]
    assert eval(expression, {"iexec": buyer})["status"].tolist() == ["completed"]


def test_a_task_that_is_none_of_the_run_s_is_named(done: Run) -> None:
    for index in (1, -1, "0", 0.0, None, True):
        with pytest.raises(ResultNotFoundError, match="no task"):
            done.result(index)  # type: ignore[arg-type]


# Money back.


def test_a_run_that_was_never_computed_is_claimed_and_says_what_came_back() -> None:
    with Sandbox(workerpools=0) as net:
        seller, buyer = net.client(), net.client(deposit="5 RLC")
        pool = net.workerpool("asleep", price="0.3 RLC", category=0, idle=True)
        app = deploy_app(net, seller, price="0.2 RLC")
        run = many(buyer, app, 2, workerpool=pool)
        assert run.cost.paid == RLC
        with pytest.raises(ValidationError, match="before reaching the final time"):
            run.claim()
        net.travel(run.deal.finalTime - net.now())
        assert run.status == "timeout"
        before = run.timeline()
        assert before[before["source"] == "chain"]["event"].tolist() == ["OrdersMatched"]
        assert run.results()["status"].tolist() == ["timeout", "timeout"]
        claimed = run.claim()
        assert claimed.claimed == dict(enumerate(run.taskids))
        assert (run.cost.total, run.cost.refunded, run.cost.paid) == (RLC, RLC, 0)
        assert "refunded" in repr(run.cost)
        assert buyer.account.show().stake == 5 * RLC
        net.mine(30)
        after = run.timeline()
        assert after[after["source"] == "chain"]["event"].value_counts().to_dict() == {
            "OrdersMatched": 1, "TaskInitialize": 2, "TaskClaimed": 2,
        }  # fmt: skip
        assert after.attrs["complete"] is True
        assert (after["event"] == abi.TASK_CLAIMED.name).sum() == 2
        publish(seller, "app", app=app, appprice=0)
        assert wallet(buyer) == run.deal.requester

"""Running an app many times: which deals are made, one question, a row for each task, and nothing paid twice."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pandas as pd
import pytest
from stage import NOBODY, RLC, NoSigner, deploy_app, deploy_dataset, nonce, person, publish, wallet

from iexec_nb import tables
from iexec_nb.actions import watch
from iexec_nb.actions.dispatch import Dispatch
from iexec_nb.actions.harvest import harvest
from iexec_nb.actions.journal import Journal
from iexec_nb.actions.map_run import MapUpdate
from iexec_nb.actions.order_matching import Four, OrderMatching
from iexec_nb.actions.poll import Poll
from iexec_nb.client import IExec
from iexec_nb.commands import COMMANDS, parse
from iexec_nb.errors import (
    ConfigurationError,
    InsufficientFundsError,
    ObjectNotFoundError,
    OrderMismatchError,
    ValidationError,
    Web3ProviderCallError,
    Web3ProviderSendError,
)
from iexec_nb.protocol.matching import Cost
from iexec_nb.protocol.orders import DATASET_INFINITE_VOLUME
from iexec_nb.protocol.receipts import Matched
from iexec_nb.sandbox.network import Sandbox
from iexec_nb.sandbox.treasury import new_key
from iexec_nb.services.transactions import Transactions


def picky(words: list[str]) -> None:
    """An app that fails when it is told to, and else writes its index and what it was given."""
    import json
    import os
    import sys

    if "bad" in words:
        print("no good", file=sys.stderr)
        sys.exit(3)
    with open(os.path.join(os.environ["IEXEC_OUT"], "out.txt"), "w") as file:
        file.write(" ".join([os.environ["IEXEC_TASK_INDEX"], *words]))
    with open(os.path.join(os.environ["IEXEC_OUT"], "computed.json"), "w") as file:
        json.dump({"deterministic-output-path": "/iexec_out/out.txt"}, file)


def read_data() -> None:
    """An app that writes what is in its dataset, or in all datasets of its slice of a bulk."""
    import json
    import os

    count = int(os.environ.get("IEXEC_BULK_SLICE_SIZE", "0"))
    names = [os.environ[f"IEXEC_DATASET_{n}_FILENAME"] for n in range(1, count + 1)]
    texts = []
    for name in names or [os.environ["IEXEC_DATASET_FILENAME"]]:
        with open(os.path.join(os.environ["IEXEC_IN"], name)) as file:
            texts.append(file.read())
    with open(os.path.join(os.environ["IEXEC_OUT"], "out.txt"), "w") as file:
        file.write(f"{count}: {','.join(texts)}")
    with open(os.path.join(os.environ["IEXEC_OUT"], "computed.json"), "w") as file:
        json.dump({"deterministic-output-path": "/iexec_out/out.txt"}, file)


@pytest.fixture(scope="module")
def seller(net: Sandbox) -> IExec:
    """Somebody else than in other modules: the market lists fifty orders of one owner."""
    return net.client()


@pytest.fixture(scope="module")
def echo(net: Sandbox, seller: IExec) -> str:
    return deploy_app(net, seller, picky, price="0.01 RLC", volume=1000)


def texts(table: pd.DataFrame) -> list[str | None]:
    return [None if result is None else result.text("out.txt") for result in table["result"]]


def stake(client: IExec) -> int:
    return client.account.show().stake


# One row for each task.


def test_rows_of_a_table_become_tasks_and_come_back_with_cost_and_result(echo: str, buyer: IExec) -> None:
    given = pd.DataFrame({"alpha": [0.5, 0.25, 1.0], "name": ["a b", "c", "d"]}, index=["x", "y", "z"])
    table = buyer.app.map(echo, given, args="--alpha {alpha} --name {name}", category=0)
    assert list(table.columns) == ["alpha", "name", *tables.RUNS.dtypes]
    assert {name: str(kind) for name, kind in table.dtypes.items()} | {"alpha": "", "name": ""} == {
        **tables.RUNS.dtypes, "alpha": "", "name": "",
    }  # fmt: skip
    assert table.index.tolist() == ["x", "y", "z"]
    pd.testing.assert_frame_equal(table[["alpha", "name"]], given)
    assert texts(table) == ["0 --alpha 0.5 --name a b", "0 --alpha 0.25 --name c", "0 --alpha 1.0 --name d"]
    assert table["status"].tolist() == ["completed"] * 3
    assert table["cost"].tolist() == [RLC // 100] * 3
    assert table["dealid"].nunique() == table["taskid"].nunique() == 3
    assert table["seconds"].notna().all()
    assert table["error"].isna().all()
    assert stake(buyer) == 5 * RLC - 3 * RLC // 100
    assert table.iexec.schema is tables.RUNS
    assert table.attrs["chain_id"] == buyer.chain.chain_id


def test_a_number_is_one_deal_whose_tasks_have_an_index(echo: str, buyer: IExec) -> None:
    before = nonce(buyer)
    table = buyer.app.map(echo, 4, args="same", category=0)
    assert nonce(buyer) == before + 1
    assert table["dealid"].nunique() == 1
    assert texts(table) == ["0 same", "1 same", "2 same", "3 same"]
    assert table["idx"].tolist() == [0, 1, 2, 3]


def test_a_deal_of_more_tasks_than_may_run_is_made_when_nothing_else_runs(echo: str, buyer: IExec) -> None:
    table = buyer.app.map(echo, ["a", "b", "c", "c", "c"], category=0, max_workers=2)
    assert table["status"].tolist() == ["completed"] * 5
    assert table["dealid"].nunique() == 3


def test_tasks_that_are_given_the_same_share_a_deal_and_keep_their_rows(echo: str, buyer: IExec) -> None:
    plan = buyer.app.map_plan(echo, ["a", "b", "a", "a"], category=0)
    assert [(lot.rows, lot.tasks) for lot in plan.lots] == [((0, 2, 3), 3), ((1,), 1)]
    assert (plan.tasks, plan.deals, plan.cost) == (4, 2, 4 * RLC // 100)
    table = plan.execute().wait().table()
    assert table["args"].tolist() == ["a", "b", "a", "a"]
    assert texts(table) == ["0 a", "0 b", "1 a", "2 a"]
    assert table["dealid"].tolist()[0] == table["dealid"].tolist()[2]


def test_a_task_that_fails_is_a_row_and_hides_no_other(echo: str, buyer: IExec) -> None:
    table = buyer.app.map(echo, ["ok", "bad", "fine"], category=0)
    assert table["status"].tolist() == ["completed", "failed", "completed"]
    assert table["error"][1] == "the app failed: no good (exit code 3)"
    assert texts(table) == ["0 ok", None, "0 fine"]
    assert table["cost"].tolist() == [RLC // 100] * 3


def test_a_result_that_cannot_be_had_is_a_row_and_hides_no_other(net: Sandbox, echo: str, buyer: IExec) -> None:
    with person(net, buyer, confirm=False) as me:
        away: list[str] = []

        def gone(request: httpx.Request) -> httpx.Response | None:
            if request.url.host.startswith("ipfs") and not request.url.path.startswith("/api"):
                away.append(request.url.path.split("/")[2])
                return httpx.Response(404, request=request) if request.url.path.split("/")[2] == away[0] else None
            return None

        me.web.before = gone
        table = me.client.app.map(echo, ["a", "b"], category=0)
    assert table["status"].tolist() == ["completed"] * 2
    assert sorted(result is None for result in table["result"]) == [False, True]
    assert sorted(table["error"].isna()) == [False, True]


def test_tasks_past_their_deadline_are_rows_and_cost_nothing_once_they_are_claimed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with Sandbox(workerpools=0) as world:
        world.workerpool("asleep", price="1 RLC", idle=True)
        me = world.client(deposit="5 RLC")
        app = deploy_app(world, me, picky)

        def travelling(updates: Any, again: str) -> Any:
            for update in updates:
                if update.runningTasksCount == 3 and me.account.show().locked == 3 * RLC:
                    monkeypatch.setattr(watch, "on_update", None)
                    world.travel(days=1)
                yield update

        monkeypatch.setattr(watch, "on_update", travelling)
        table = me.app.map(app, ["a", "b", "b"], category=0)
        assert table["status"].tolist() == ["timeout"] * 3
        assert table["cost"].tolist() == [RLC] * 3
        assert table["error"].str.contains("passed the deadline").all()
        for dealid in table["dealid"].unique():
            me.deal.claim(dealid)
        assert me.app.last_map is not None
        poll = Poll(me)
        for run in me.app.last_map.runs:
            poll.add(run.deal)
        poll.tick()
        table = harvest(me, list(poll.states.values()))
        assert table["status"].tolist() == ["failed"] * 3
        assert table["cost"].tolist() == [0] * 3
        assert stake(me) == 5 * RLC


def test_results_are_left_where_they_are_when_nobody_wants_them(net: Sandbox, echo: str, buyer: IExec) -> None:
    with person(net, buyer, confirm=False) as me:
        table = me.client.app.map(echo, ["a", "b"], category=0, skip_download=True)
        assert table["result"].tolist() == [None, None]
        assert table["status"].tolist() == ["completed"] * 2
        assert not me.web.to("ipfs")


def test_all_tasks_of_any_deals_are_harvested_as_one_table(echo: str, buyer: IExec) -> None:
    one, other = (buyer.app.run(echo, args=word, category=0).wait() for word in "ab")
    poll = Poll(buyer)
    poll.add(one.deal)
    poll.add(other.deal)
    poll.tick()
    table = harvest(buyer, list(poll.states.values()), [{"n": 1}, {"n": 2}])
    assert table[["n", "dealid", "status"]].values.tolist() == [
        [1, one.dealid, "completed"], [2, other.dealid, "completed"],
    ]  # fmt: skip
    assert texts(table) == ["0 a", "0 b"]
    bare = harvest(buyer, list(poll.states.values()), fetch=False)
    assert bare["result"].tolist() == [None, None]
    assert {name: str(kind) for name, kind in bare.dtypes.items()} == tables.RUNS.dtypes
    assert (bare["seconds"] >= 0).all()
    assert harvest(buyer, []).dtypes.astype(str).to_dict() == tables.RUNS.dtypes


def test_a_node_without_old_events_gives_results_without_seconds(net: Sandbox, echo: str, buyer: IExec) -> None:
    with person(net, buyer, confirm=False) as me:
        run = me.client.app.run(echo, category=0).wait()

        def silent(methods: list[str]) -> httpx.Response | None:
            if "eth_getLogs" in methods:
                error = {"code": -32000, "message": "logs are pruned"}
                return httpx.Response(200, json=[{"jsonrpc": "2.0", "id": i, "error": error} for i in range(99)])
            return None

        poll = Poll(me.client)
        poll.add(run.deal)
        poll.tick()
        me.node.before = silent
        table = harvest(me.client, list(poll.states.values()))
    assert table["seconds"].isna().all()
    assert texts(table) == ["0"]


def test_a_map_is_a_command_that_takes_variables(net: Sandbox, echo: str, buyer: IExec) -> None:
    line = ["app", "map", echo, "$table", "--args", "-n {n}", "--category", "0", "--max-workers", "2"]
    table = parse(line, {"table": pd.DataFrame({"n": [1, 2]})}).on(buyer)
    assert texts(table) == ["0 -n 1", "0 -n 2"]
    raw = COMMANDS["app", "map"].raw
    assert raw is not None
    told = json.loads(json.dumps(raw(table), default=int))
    assert [task["status"] for task in told["tasks"]] == ["completed"] * 2
    assert told["tasks"][0]["error"] is None
    assert parse(["app", "map", echo, "2", "--args", "x", "--category", "0"]).on(buyer)["idx"].tolist() == [0, 1]


# What is planned and asked.


def test_a_plan_signs_sends_and_uploads_nothing(net: Sandbox, echo: str) -> None:
    with person(net, net.client(), signer=NoSigner(new_key())) as me:
        net.fund(wallet(me.client), deposit="1 RLC")
        plan = me.client.app.map_plan(echo, 20, category=0)
        assert (plan.cost, plan.deals) == (20 * RLC // 100, 1)
        assert not me.touched
        assert not me.asked


def test_one_question_shows_everything_that_is_signed_and_a_no_signs_nothing(
    net: Sandbox, echo: str, buyer: IExec
) -> None:
    with person(net, buyer) as me:
        me.answer = False
        before = nonce(buyer)
        table = pd.DataFrame({"alpha": range(12)})
        with pytest.raises(ConfigurationError, match="aborted by user"):
            me.client.app.map(echo, table, args="--alpha {alpha}", category=0, max_price="1 RLC")
        [text] = me.asked
        for words in (f"run app {echo} for 12 tasks in 12 deals, 0.12 RLC in all", "the gas of 12 transactions",
                      "12 tasks: app 0.01 RLC, workerpool 0 RLC a task", net.workerpools[0], wallet(buyer),
                      str(net.chain_id)):  # fmt: skip
            assert words in text
        for alpha in range(12):
            assert f'task {alpha}: {{"iexec_args":"--alpha {alpha}"}}' in text
        assert not me.touched
        assert nonce(buyer) == before
        me.answer = True
        me.client.app.map(echo, table.head(3), args="--alpha {alpha}", category=0)
        assert len(me.asked) == 2


def test_the_market_is_read_once_for_many_tasks(net: Sandbox, echo: str, buyer: IExec) -> None:
    with person(net, buyer) as me:
        me.client.app.map_plan(echo, range(2), category=0)
        few, calls = len(me.web.requests), me.node.methods.total()
        me.web.requests.clear()
        me.node.methods.clear()
        me.client.app.map_plan(echo, range(60), category=0)
        assert len(me.web.requests) == few
        assert me.node.methods.total() <= calls + 2


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"max_workers": 0}, "max_workers"),
        ({"max_workers": "many"}, "many"),
        ({"datasets_per_task": 2}, "datasets_per_task is for a map of datasets"),
        ({"tag": "tea"}, "tea"),
        ({"max_price": 0.5}, "0.5"),
        ({"args": "{nothing}"}, "there is no {nothing}"),
        ({"datasets": ["0x12", NOBODY]}, "0x12"),
        ({"dataset": "0x12"}, "0x12"),
    ],
    ids=lambda value: next(iter(value)) + str(next(iter(value.values())))[:4] if isinstance(value, dict) else None,
)
def test_a_wrong_argument_is_refused_before_any_request(
    net: Sandbox, echo: str, buyer: IExec, wrong: dict[str, Any], words: str
) -> None:
    with person(net, buyer) as me:
        with pytest.raises(ValidationError) as caught:
            me.client.app.map(echo, ["a", "b"], **wrong)
        assert words in str(caught.value)
        assert not me.node.methods
        assert not me.web.requests
        assert not me.asked


@pytest.mark.parametrize("key", ["", " ", 5, "k" * 501], ids=["empty", "blank", "number", "long"])
def test_a_wrong_name_is_refused(net: Sandbox, echo: str, buyer: IExec, key: Any) -> None:
    with person(net, buyer) as me:
        with pytest.raises(ValidationError, match="idempotency_key"):
            me.client.app.map(echo, 2, idempotency_key=key)
        assert not me.touched


def test_an_app_that_is_not_deployed_is_named(buyer: IExec) -> None:
    with pytest.raises(ObjectNotFoundError, match=NOBODY):
        buyer.app.map(NOBODY, 2)


def test_a_map_that_the_stake_does_not_cover_is_refused_as_a_whole(net: Sandbox, echo: str) -> None:
    with person(net, net.client(deposit="0.05 RLC")) as me:
        with pytest.raises(InsufficientFundsError) as caught:
            me.client.app.map(echo, ["a", "b", "c", "d", "e", "f"], category=0)
        assert "missing: 0.01 RLC" in str(caught.value)
        assert 'deposit("0.01 RLC")' in str(caught.value)
        assert not me.touched
        assert not me.asked


def test_a_secret_that_is_missing_is_found_before_anything_is_signed(net: Sandbox, seller: IExec, buyer: IExec) -> None:
    app = deploy_app(net, seller, read_data, price=0)
    locked = [deploy_dataset(net, buyer, secret=False) for _ in range(2)]
    with person(net, buyer) as me:
        with pytest.raises(ValidationError, match="Dataset encryption key is not set"):
            me.client.app.map(app, datasets=locked, category=0)
        with pytest.raises(ValidationError, match="result encryption key is not set"):
            me.client.app.map(app, ["a", "b"], encrypt_result=True, category=0)
        assert not me.touched
        assert not me.asked


# Which orders are taken.


@pytest.fixture
def stairs(net: Sandbox) -> str:
    """An app of which three tasks cost 5 each, two 7 each, and ten 9 each."""
    seller = net.client()
    app = deploy_app(net, seller, picky, price=9, volume=10)
    publish(seller, "app", app=app, appprice=7, volume=2)
    publish(seller, "app", app=app, appprice=5, volume=3)
    return app


def test_the_cheapest_orders_are_taken_as_long_as_they_last(stairs: str, buyer: IExec) -> None:
    table = buyer.app.map(stairs, ["a", "b", "c", "d", "e", "f", "g"], category=0)
    assert sorted(table["cost"]) == [5, 5, 5, 7, 7, 9, 9]
    assert texts(table) == [f"0 {word}" for word in "abcdefg"]


def test_a_number_of_tasks_that_no_order_sells_is_one_request_with_several_deals(stairs: str, buyer: IExec) -> None:
    plan = buyer.app.map_plan(stairs, 7, args="q", category=0)
    assert [lot.tasks for lot in plan.lots] == [3, 2, 2]
    assert plan.cost == 3 * 5 + 2 * 7 + 2 * 9
    assert "which other sellers may fill too: 0.000000063 RLC at the most" in str(plan)
    table = plan.execute().wait().table()
    assert table["cost"].tolist() == [5, 5, 5, 7, 7, 9, 9]
    assert texts(table) == [f"{index} q" for index in range(7)]


def test_equal_tasks_are_parted_where_orders_are_too_small(stairs: str, buyer: IExec) -> None:
    table = buyer.app.map(stairs, ["a", "b", "a", "a", "a", "a"], category=0)
    assert table["cost"].tolist() == [5, 9, 5, 5, 7, 7]
    assert texts(table) == ["0 a", "0 b", "1 a", "2 a", "0 a", "1 a"]


def test_of_equally_cheap_orders_the_one_that_sells_most_makes_the_fewest_deals(
    net: Sandbox, seller: IExec, buyer: IExec
) -> None:
    app = deploy_app(net, seller, picky, price=5, volume=1)
    publish(seller, "app", app=app, appprice=5, volume=2)
    publish(seller, "app", app=app, appprice=5, volume=9)
    assert buyer.app.map_plan(app, 6, category=0).deals == 1
    assert buyer.app.map_plan(app, 12, category=0).deals == 3


def test_no_task_costs_more_than_the_limit(stairs: str, buyer: IExec) -> None:
    assert buyer.app.map_plan(stairs, ["a", "b", "c", "d", "e"], category=0, max_price=7).cost == 29
    with pytest.raises(OrderMismatchError, match="too few tasks left"):
        buyer.app.map(stairs, ["a", "b", "c", "d", "e", "f"], category=0, max_price=7)
    with pytest.raises(OrderMismatchError):
        buyer.app.map(stairs, 2, category=0, max_price=4)


def test_more_tasks_than_all_orders_sell_are_refused_with_what_there_is(stairs: str, buyer: IExec) -> None:
    before = nonce(buyer)
    with pytest.raises(OrderMismatchError, match="too few tasks left: 0 besides"):
        buyer.app.map(stairs, [str(n) for n in range(16)], category=0)
    assert nonce(buyer) == before


def test_own_resources_are_sold_without_limit(net: Sandbox) -> None:
    me = net.client(deposit="1 RLC")
    app = deploy_app(net, me, picky)
    with person(net, me) as one:
        table = one.client.app.map(app, 3, category=0)
        assert "signs also: apporders of your own" in one.asked[0]
        assert texts(table) == ["0", "1", "2"]
        assert texts(one.client.app.map(app, ["x", "y"], category=0)) == ["0 x", "0 y"]
    assert stake(me) == RLC


def test_orders_that_are_gone_when_their_turn_comes_are_rows_that_say_so(
    net: Sandbox, seller: IExec, buyer: IExec
) -> None:
    app = deploy_app(net, seller, picky, price=5, volume=2)
    plan = buyer.app.map_plan(app, ["a", "b"], category=0)
    buyer.app.run(app, args="in between", category=0).wait()
    table = plan.execute().wait().table()
    assert sorted(table["status"]) == ["completed", "not started"]
    [row] = table[table["status"] == "not started"].to_dict("records")
    assert "cannot be matched" in row["error"] or "fully consumed" in row["error"]
    assert row["cost"] == 0
    assert pd.isna(row["taskid"])
    assert table["cost"].sum() == 5


@pytest.mark.parametrize("arrives", [True, False], ids=["mined later", "never seen"])
def test_a_transaction_whose_answer_is_lost_is_a_deal_when_it_is_on_the_chain_and_unknown_when_not(
    echo: str, buyer: IExec, monkeypatch: pytest.MonkeyPatch, arrives: bool
) -> None:
    match = OrderMatching.match_four

    def lost(self: Any, four: Four, cost: Cost, **options: Any) -> Matched:
        if "lost" not in four[3].params:
            return match(self, four, cost, **options)
        tx_hash = match(self, four, cost, **options).txHash if arrives else "0x" + "ab" * 32
        raise Web3ProviderSendError("not confirmed in time", tx_hash=tx_hash)

    monkeypatch.setattr(OrderMatching, "match_four", lost)
    table = buyer.app.map(echo, ["a", "lost", "c"], category=0)
    assert table["status"].tolist() == ["completed", "completed" if arrives else "unknown", "completed"]
    assert texts(table) == ["0 a", "0 lost" if arrives else None, "0 c"]
    assert table["cost"].isna().tolist() == [False, not arrives, False]
    assert stake(buyer) == 5 * RLC - (3 if arrives else 2) * RLC // 100


def test_a_pool_that_can_stake_for_two_tasks_at_once_computes_all_one_after_the_other(
    net: Sandbox, seller: IExec, buyer: IExec
) -> None:
    app = deploy_app(net, seller, picky, price=0)
    owner = net.client(deposit="6.3 RLC")
    pool = owner.workerpool.deploy(description="poor pool").address
    net._live.worker.add_pool(pool, owner.signer.unsafe_private_key())  # type: ignore[union-attr]
    publish(owner, "workerpool", workerpool=pool, workerpoolprice="1 RLC", category=0, volume=10, trust=1)
    publish(owner, "workerpool", workerpool=pool, workerpoolprice="1.1 RLC", category=0, volume=10, trust=1)
    listed = list(net.user.market.orders("workerpool", workerpool=pool, category=0))
    owner.account.withdraw("5.7 RLC")
    with person(net, buyer, confirm=False) as me:

        def late(request: httpx.Request, response: httpx.Response) -> httpx.Response:
            """The market takes them off its list a moment later."""
            if request.url.path != "/workerpoolorders":
                return response
            return httpx.Response(200, json={"ok": True, "count": 2, "orders": listed}, request=request)

        me.web.change = late
        table = me.client.app.map(app, ["a", "b", "c", "d"], workerpool=pool, category=0)
    assert table["cost"].tolist() == [RLC] * 4
    assert texts(table) == ["0 a", "0 b", "0 c", "0 d"]


# Datasets.


@pytest.fixture(scope="module")
def reader(net: Sandbox, seller: IExec) -> str:
    return deploy_app(net, seller, read_data, price="0.1 RLC", volume=1000)


def test_each_dataset_is_a_task_and_its_price_is_paid(net: Sandbox, seller: IExec, reader: str, buyer: IExec) -> None:
    data = [deploy_dataset(net, seller, f"data {n}".encode(), price=n + 1) for n in range(3)]
    table = buyer.app.map(reader, datasets=data, category=0)
    assert table["dataset"].tolist() == data
    assert texts(table) == ["0: data 0", "0: data 1", "0: data 2"]
    assert table["cost"].tolist() == [RLC // 10 + n + 1 for n in range(3)]


def test_datasets_with_bulk_orders_are_one_request_for_apps_that_read_bulks(
    net: Sandbox, seller: IExec, reader: str, buyer: IExec
) -> None:
    data = [
        deploy_dataset(net, seller, f"data {n}".encode(), price=0, volume=DATASET_INFINITE_VOLUME) for n in range(3)
    ]
    with person(net, buyer) as me:
        plan = me.client.app.map_plan(reader, datasets=data, datasets_per_task=2, category=0)
        assert (plan.tasks, plan.deals, plan.cost) == (2, 1, 2 * RLC // 10)
        assert not me.web.writes()
        table = plan.execute().wait().table()
        assert all(f"bulk: dataset {one}" in me.asked[0] for one in data)
        assert '"bulk_cid":' in me.asked[0]
        assert "uploaded already, where everybody may read them" in me.asked[0]
    assert table["dataset"].tolist() == [(data[0], data[1]), data[2]]
    assert texts(table) == ["2: data 0,data 1", "1: data 2"]


def test_without_a_bulk_order_for_each_dataset_there_is_a_deal_for_each(
    net: Sandbox, seller: IExec, reader: str, buyer: IExec
) -> None:
    data = [
        deploy_dataset(net, seller, b"bulk", price=0, volume=DATASET_INFINITE_VOLUME),
        deploy_dataset(net, seller, b"alone", price=1),
    ]
    plan = buyer.app.map_plan(reader, datasets=data, datasets_per_task=2, category=0)
    assert (plan.tasks, plan.deals, plan.bulk) == (2, 2, ())
    assert texts(plan.execute().wait().table()) == ["0: bulk", "0: alone"]


# Interrupted, and begun again.


def interrupt(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let Ctrl-C be pressed once, when the first deal is made."""
    wait = Dispatch.wait

    def pressed(self: Dispatch, version: int) -> int:
        while not self._unfinished:
            version = wait(self, version)
        monkeypatch.setattr(Dispatch, "wait", wait)
        raise KeyboardInterrupt

    monkeypatch.setattr(Dispatch, "wait", pressed)


def test_ctrl_c_stops_the_waiting_and_further_deals_and_the_rest_goes_on_later(
    echo: str, buyer: IExec, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt(monkeypatch)
    before = nonce(buyer)
    with pytest.raises(KeyboardInterrupt) as caught:
        buyer.app.map(echo, [str(n) for n in range(9)], category=0, max_workers=2)
    note = "".join(caught.value.__notes__)
    assert "iexec.app.last_map.wait()" in note
    assert "iexec.app.last_map.table()" in note
    running = buyer.app.last_map
    assert running is not None
    made = nonce(buyer) - before
    assert 1 <= made <= 2
    assert len(running.runs) == made
    assert "waiting" in set(running.table()["status"])
    assert running.runs[0].wait().dealid in set(running.table()["dealid"].dropna())
    table = running.wait().table()
    assert texts(table) == [f"0 {n}" for n in range(9)]
    assert nonce(buyer) == before + 9


def test_a_node_that_is_away_stops_the_waiting_and_nothing_is_lost(
    echo: str, buyer: IExec, monkeypatch: pytest.MonkeyPatch
) -> None:
    look, times = Dispatch._look, []

    def away(self: Dispatch) -> None:
        times.append(1)
        if len(times) == 2:
            raise Web3ProviderCallError("the node is away")
        look(self)

    monkeypatch.setattr(Dispatch, "_look", away)
    with pytest.raises(Web3ProviderCallError) as caught:
        buyer.app.map(echo, ["a", "b", "c"], category=0)
    assert "To go on: iexec.app.last_map.wait()" in "".join(caught.value.__notes__)
    assert buyer.app.last_map is not None
    assert texts(buyer.app.last_map.wait().table()) == ["0 a", "0 b", "0 c"]


def test_the_same_call_under_the_same_name_pays_nothing_and_asks_nothing(net: Sandbox, echo: str, buyer: IExec) -> None:
    given = pd.DataFrame({"n": [1, 2, 1]})
    with person(net, buyer) as me:
        first = me.client.app.map(echo, given, category=0, idempotency_key="again")
        paid, sent = stake(buyer), me.node.sent
        second = me.client.app.map(echo, given, category=0, idempotency_key="again")
        assert (stake(buyer), me.node.sent, len(me.asked)) == (paid, sent, 1)
        assert second.drop(columns="result").equals(first.drop(columns="result"))
        assert texts(second) == ["0 --n 1", "0 --n 2", "1 --n 1"]
        third = me.client.app.map(echo, pd.DataFrame({"n": [1, 2, 1, 7]}), category=0, idempotency_key="again")
        assert me.node.sent == sent + 1
        assert "3 tasks were paid before and are not paid again" in me.asked[1]
        assert third["dealid"].tolist()[:3] == first["dealid"].tolist()


@pytest.mark.parametrize("count", [3, 7], ids=["one deal", "several deals"])
def test_a_number_of_tasks_under_a_name_is_paid_once(stairs: str, buyer: IExec, count: int) -> None:
    key = f"index {count}"
    first = buyer.app.map(stairs, count, args="q", category=0, idempotency_key=key)
    paid = stake(buyer)
    second = buyer.app.map(stairs, count, args="q", category=0, idempotency_key=key)
    assert second["dealid"].tolist() == first["dealid"].tolist()
    assert stake(buyer) == paid == 5 * RLC - first["cost"].sum()
    with pytest.raises(ValidationError, match="was begun with another args"):
        buyer.app.map(stairs, count, args="p", category=0, idempotency_key=key)
    with pytest.raises(ValidationError, match="was begun with another volume"):
        buyer.app.map(stairs, count + 1, args="q", category=0, idempotency_key=key)
    with pytest.raises(ValidationError, match="was begun as one request for all tasks"):
        buyer.app.map(stairs, ["q"] * count, category=0, idempotency_key=key)
    assert stake(buyer) == paid


def test_deals_that_were_made_for_a_part_are_kept_when_the_rest_is_bought(
    stairs: str, buyer: IExec, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt(monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        buyer.app.map(stairs, 7, category=0, idempotency_key="part", max_workers=1)
    assert buyer.app.last_map is not None
    begun = [run.dealid for run in buyer.app.last_map.runs]
    assert len(begun) == 1
    table = buyer.app.map(stairs, 7, category=0, idempotency_key="part")
    assert table["dealid"].tolist()[:3] == begun * 3
    assert table["cost"].tolist() == [5, 5, 5, 7, 7, 9, 9]
    assert stake(buyer) == 5 * RLC - 47


@pytest.mark.parametrize("count", [3, ["q", "q", "q"]], ids=["index", "values"])
@pytest.mark.parametrize("moment", ["after it was decided", "after it was signed", "after it was sent"])
def test_a_kernel_that_dies_on_the_way_pays_once(
    net: Sandbox, echo: str, buyer: IExec, monkeypatch: pytest.MonkeyPatch, moment: str, count: Any
) -> None:
    holder: Any
    holder, name = {
        "after it was decided": (Journal, "begin"),
        "after it was signed": (Journal, "sent"),
        "after it was sent": (Transactions, "_broadcast"),
    }[moment]
    original = getattr(holder, name)

    def dies(self: Any, *args: Any) -> None:
        original(self, *args)
        raise MemoryError("the kernel was killed")

    key = f"{moment} {count}"
    with monkeypatch.context() as patch:
        patch.setattr(holder, name, dies)
        table = buyer.app.map(echo, count, category=0, idempotency_key=key)
        # What the node has taken is paid, and is never called anything else.
        sent = moment == "after it was sent"
        assert set(table["status"]) == {"completed" if sent else "not started"}
        assert sent or "MemoryError" in table["error"][0]
    with person(net, buyer, confirm=False) as kernel:
        table = kernel.client.app.map(echo, count, category=0, idempotency_key=key)
        assert table["status"].tolist() == ["completed"] * 3
        assert table["dealid"].nunique() == 1
    assert stake(buyer) == 5 * RLC - 3 * RLC // 100
    assert buyer.account.show().locked == 0


def test_other_values_under_a_name_are_refused_and_named(echo: str, buyer: IExec) -> None:
    buyer.app.map(echo, ["a", "b"], category=0, idempotency_key="mine")
    paid = stake(buyer)
    with pytest.raises(ValidationError, match="was begun with another args"):
        buyer.app.map(echo, ["a", "c"], category=0, idempotency_key="mine")
    with pytest.raises(ValidationError, match="was begun as a request for each task"):
        buyer.app.map(echo, 2, category=0, idempotency_key="mine")
    assert stake(buyer) == paid


def test_a_bulk_under_a_name_is_paid_once_whatever_is_sold_later(
    net: Sandbox, seller: IExec, reader: str, buyer: IExec
) -> None:
    data = [deploy_dataset(net, seller, b"x") for _ in range(2)]
    orders = [publish(seller, "dataset", dataset=one, volume=DATASET_INFINITE_VOLUME) for one in data]
    given: dict[str, Any] = {"datasets": data, "datasets_per_task": 2, "category": 0, "idempotency_key": "bulk"}
    first = buyer.app.map(reader, **given)
    paid = stake(buyer)
    for order in orders:
        seller.order.unpublish(dataset=order)
    second = buyer.app.map(reader, **given)
    assert second["dealid"].tolist() == first["dealid"].tolist()
    assert texts(second) == ["2: x,x"]
    assert stake(buyer) == paid


# What is shown meanwhile.


def test_progress_counts_to_the_end_and_its_view_sees_the_last_update(
    echo: str, buyer: IExec, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[MapUpdate] = []
    again: list[str] = []

    def shown(updates: Any, what: str) -> Any:
        again.append(what)
        for update in updates:
            seen.append(update)
            yield update

    monkeypatch.setattr(watch, "on_update", shown)
    buyer.app.map(echo, ["a", "bad", "c", "d"], category=0, max_workers=2)
    assert again == ["iexec.app.last_map.wait()"]
    assert all(one.tasksCount == 4 and one.runningTasksCount <= 2 for one in seen)
    done = [one.completedTasksCount + one.failedTasksCount for one in seen]
    assert done == sorted(done)
    last = seen[-1]
    assert (last.completedTasksCount, last.failedTasksCount, last.runningTasksCount) == (3, 1, 0)
    assert (last.done, last.failed, last.phase) == (True, True, "failed")
    assert last.message == "3 of 4 completed, 1 failed"
    assert [one.done for one in seen].count(True) == 1

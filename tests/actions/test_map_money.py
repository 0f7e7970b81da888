"""What a map pays: never above what was shown, whatever the market does, and nothing paid is called unpaid."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import httpx
import pytest
from stage import RLC, deploy_app, nonce, person, publish

from iexec_nb.actions.dispatch import Dispatch
from iexec_nb.actions.journal import Journal
from iexec_nb.actions.order_matching import Four, OrderMatching
from iexec_nb.actions.run import Run
from iexec_nb.client import IExec
from iexec_nb.errors import ValidationError
from iexec_nb.protocol import execution
from iexec_nb.protocol.matching import Cost
from iexec_nb.protocol.orders import NULL_DATASETORDER
from iexec_nb.protocol.receipts import Matched
from iexec_nb.protocol.types import NULL_ADDRESS
from iexec_nb.sandbox.network import Sandbox
from iexec_nb.services.transactions import Transactions

CENT = RLC // 100


@pytest.fixture
def seller(net: Sandbox) -> IExec:
    """Somebody new: the market lists fifty orders of one owner."""
    return net.client()


@pytest.fixture
def echo(net: Sandbox, seller: IExec) -> str:
    return deploy_app(net, seller, price=CENT, volume=1000)


def stake(client: IExec) -> int:
    return client.account.show().stake


@pytest.fixture
def steep(net: Sandbox, seller: IExec) -> str:
    """An app of which one task each costs 1 to 5 cents, and a thousand 30 cents."""
    app = deploy_app(net, seller, price=30 * CENT, volume=1000)
    for cents in range(1, 6):
        publish(seller, "app", app=app, appprice=cents * CENT, volume=1)
    return app


def test_a_dear_order_with_volume_to_spare_sells_no_more_than_was_planned_with_it(steep: str, buyer: IExec) -> None:
    plan = buyer.app.map_plan(steep, 7, category=0)
    assert plan.cost == 75 * CENT
    table = plan.execute().wait().table()
    assert table["status"].tolist() == ["completed"] * 7
    assert table["cost"].tolist() == [CENT, 2 * CENT, 3 * CENT, 4 * CENT, 5 * CENT, 30 * CENT, 30 * CENT]
    assert stake(buyer) == 5 * RLC - plan.cost


def test_nothing_above_what_was_approved_is_paid_when_cheap_orders_are_gone(
    net: Sandbox, steep: str, buyer: IExec
) -> None:
    plan = buyer.app.map_plan(steep, 7, category=0)
    other = net.client(deposit="1 RLC")
    other.app.map(steep, 5, category=0, skip_download=True)
    before = nonce(buyer)
    table = plan.execute().wait().table()
    assert set(table["status"]) == {"not started"}
    assert table["cost"].tolist() == [0] * 7
    assert plan.lots[-1].portions.found() == ([], 7)
    assert nonce(buyer) == before
    assert stake(buyer) == 5 * RLC


def test_what_is_left_after_others_were_faster_is_refused_where_it_would_cost_more(
    net: Sandbox, steep: str, buyer: IExec
) -> None:
    plan = buyer.app.map_plan(steep, 7, category=0)
    other = net.client(deposit="1 RLC")
    other.app.run(steep, category=0)
    running = plan.execute().wait()
    table = running.table()
    assert table["status"].tolist() == ["completed"] * 4 + ["not started"] * 3
    assert stake(buyer) == 5 * RLC - 14 * CENT
    assert any("more than was approved" in str(error) for _, error in running._errors)


@pytest.mark.parametrize("key", [None, "gone"])
@pytest.mark.parametrize("count", [2, ["a", "a"], ["a"]], ids=["index", "group", "one"])
def test_a_task_that_was_paid_before_the_node_fell_silent_is_unknown(
    net: Sandbox, echo: str, buyer: IExec, monkeypatch: pytest.MonkeyPatch, count: Any, key: str | None
) -> None:
    found = Transactions._found
    monkeypatch.setattr(Transactions, "_found", lambda self, tx_hash, within_s: found(self, tx_hash, 0))
    with person(net, buyer, confirm=False) as me:
        plan = me.client.app.map_plan(echo, count, category=0, idempotency_key=key)
        away = httpx.Response(502, text="bad gateway")
        me.node.before = lambda methods: away if me.node.sent and "eth_sendRawTransaction" not in methods else None
        me.node.after = lambda methods, response: away if me.node.sent else response
        table = plan.execute().wait().table()
        assert me.node.sent == 1
        assert set(table["status"]) == {"unknown"}
        assert table["cost"].isna().all()
        assert table["error"].str.contains("may have been sent").all()
    assert stake(buyer) == 5 * RLC - len(table) * CENT


def test_a_transaction_that_succeeded_is_paid_also_where_its_deal_cannot_be_read(
    net: Sandbox, echo: str, buyer: IExec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("iexec_nb.actions.run._LAG_PAUSES_S", ())
    with person(net, buyer, confirm=False) as me:

        def hidden(dealid: str) -> Any:
            raise ValidationError("the deal cannot be read")

        plan = me.client.app.map_plan(echo, ["a", "b"], category=0)
        monkeypatch.setattr(me.client.chain, "deal", hidden)
        table = plan.execute().wait().table()
    assert table["status"].tolist() == ["unknown"] * 2
    assert table["cost"].isna().all()


@pytest.mark.parametrize("key", [None, "front"])
@pytest.mark.parametrize("count", [["a"] * 4, 4], ids=["values", "index"])
def test_a_request_that_its_seller_fills_in_part_loses_no_task(
    net: Sandbox, echo: str, seller: IExec, buyer: IExec, monkeypatch: pytest.MonkeyPatch, key: str | None, count: Any
) -> None:
    small = seller.order.sign(seller.order.create("app", app=echo, appprice=CENT, volume=1))
    match = OrderMatching.match_four
    faster: list[Any] = []

    def late(self: Any, four: Four, cost: Cost, **options: Any) -> Matched:
        if not faster:
            faster.append(four[3])
            seller.order.match(apporder=small, workerpoolorder=four[2], requestorder=four[3])
        return match(self, four, cost, **options)

    monkeypatch.setattr(OrderMatching, "match_four", late)
    table = buyer.app.map(echo, count, category=0, idempotency_key=key)
    assert table["status"].tolist() == ["completed"] * 4
    assert table["dealid"].nunique() == 2
    assert table["idx"].tolist() == [0, 1, 2, 3]
    assert table["cost"].sum() == 4 * CENT
    assert stake(buyer) == 5 * RLC - 4 * CENT
    if key is not None:
        again = buyer.app.map(echo, count, category=0, idempotency_key=key)
        assert again["taskid"].tolist() == table["taskid"].tolist()
        assert stake(buyer) == 5 * RLC - 4 * CENT


def test_a_request_that_was_filled_in_part_when_the_kernel_died_goes_on_with_the_rest(
    echo: str, seller: IExec, buyer: IExec, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = seller.order.sign(seller.order.create("app", app=echo, appprice=CENT, volume=1))

    def dies(self: Any, four: Four, cost: Cost, **options: Any) -> Matched:
        seller.order.match(apporder=small, workerpoolorder=four[2], requestorder=four[3])
        raise MemoryError("the kernel was killed")

    with monkeypatch.context() as patch:
        patch.setattr(OrderMatching, "match_four", dies)
        table = buyer.app.map(echo, ["a", "a", "a"], category=0, idempotency_key="part")
    assert table["status"].tolist() == ["completed", "not started", "not started"]
    assert table["cost"].tolist() == [CENT, 0, 0]
    table = buyer.app.map(echo, ["a", "a", "a"], category=0, idempotency_key="part")
    assert table["status"].tolist() == ["completed"] * 3
    assert stake(buyer) == 5 * RLC - 3 * CENT


def test_a_request_that_several_pools_serve_names_none_and_its_question_says_so() -> None:
    with Sandbox(workerpools=0) as world:
        pools = [world.workerpool(name, price=price, volume=2, idle=True) for name, price in (("one", 1), ("two", 2))]
        me = world.client(deposit="1 RLC")
        app = deploy_app(world, world.client(), price=0, volume=1000)
        anybody = "or another one that takes it at this price"
        alone = me.app.map_plan(app, 2, category=0)
        assert alone.lots[0].plan is not None
        assert alone.lots[0].plan.requestorder.workerpool == pools[0]
        assert anybody not in str(alone)
        plan = me.app.map_plan(app, 4, category=0)
        assert {lot.plan.requestorder.workerpool for lot in plan.lots if lot.plan} == {NULL_ADDRESS}
        assert anybody in str(plan)
        made: list[Run] = []
        for lot in plan.lots:
            lot.buy(made.append)
        assert [(run.deal.workerpool.pointer, run.deal.botSize) for run in made] == [(pools[0], 2), (pools[1], 2)]


def test_a_journal_with_a_request_for_something_else_is_not_used(echo: str, buyer: IExec) -> None:
    lot = buyer.app.map_plan(echo, 2, args="a", category=0, idempotency_key="forged").lots[0]
    assert lot.plan is not None
    forged = replace(lot.plan.requestorder, params=lot.plan.requestorder.params.replace('"a"', '"evil"'))
    assert forged != lot.plan.requestorder
    assert lot.plan.apporder.is_signed
    four = (lot.plan.apporder, NULL_DATASETORDER, lot.plan.workerpoolorder, buyer.order._signed(forged))
    Journal(buyer, "forged", forged.requester).begin(lot.portions._terms, four)
    with pytest.raises(ValidationError, match="its request is for something else"):
        buyer.app.map(echo, 2, args="a", category=0, idempotency_key="forged")
    assert stake(buyer) == 5 * RLC


def test_a_deal_whose_tasks_cannot_be_listed_ends_no_thread_and_is_not_called_unpaid(
    echo: str, buyer: IExec, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = buyer.app.map_plan(echo, ["a", "b", "b"], category=0)
    monkeypatch.setattr(execution, "MAX_TASKIDS", 1)
    table = plan.execute().wait().table()
    assert table["status"].tolist() == ["completed", "unknown", "unknown"]
    assert "was paid, and its tasks cannot be followed" in table["error"][1]
    assert table["cost"].isna().tolist() == [False, True, True]


def test_an_error_of_this_machine_is_the_row_of_one_task(
    echo: str, buyer: IExec, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind = type(buyer.result)
    of_task = kind.of_task
    full: list[str] = []

    def no_room(self: Any, task: Any, deal: Any) -> Any:
        if not full:
            full.append(task.taskid)
        if task.taskid == full[0]:
            raise OSError(28, "No space left on device")
        return of_task(self, task, deal)

    monkeypatch.setattr(kind, "of_task", no_room)
    table = buyer.app.map(echo, ["a", "b"], category=0)
    assert table["status"].tolist() == ["completed"] * 2
    assert sorted(result is None for result in table["result"]) == [False, True]
    [error] = table["error"].dropna()
    assert "No space left on device" in error


def test_ctrl_c_says_how_many_deals_may_still_be_paid(echo: str, buyer: IExec, monkeypatch: pytest.MonkeyPatch) -> None:
    running = buyer.app.map_plan(echo, ["a", "b"], category=0).execute()

    def pressed(self: Dispatch, version: int) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(Dispatch, "resume", lambda self: None)
    monkeypatch.setattr(Dispatch, "wait", pressed)
    monkeypatch.setattr("iexec_nb.actions.map_run._SETTLE_S", 0.0)
    job = running._dispatch._waiting.popleft()
    running._dispatch._matching[job] = job.tasks
    with pytest.raises(KeyboardInterrupt) as caught:
        running.wait()
    assert "nothing more but 1 deal that may be on the way is paid" in "".join(caught.value.__notes__)
    running._dispatch._matching.clear()
    with pytest.raises(KeyboardInterrupt) as caught:
        running.wait()
    assert "nothing more is paid" in "".join(caught.value.__notes__)

"""Tasks that are never computed: their deadlines, the error, the claim, and the money back to the nRLC."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from stage import RLC, Four, NoSigner, deploy_app, nonce, person, publish, wallet

from iexec_nb.client import IExec
from iexec_nb.errors import (
    InsufficientFundsError,
    ObjectNotFoundError,
    TaskNotCompletedError,
    TaskTimeoutError,
    ValidationError,
    Web3ProviderCallError,
    Web3ProviderSendError,
)
from iexec_nb.protocol.execution import TaskStatus
from iexec_nb.sandbox.network import Sandbox
from iexec_nb.sandbox.treasury import new_key
from iexec_nb.services import abi


@pytest.fixture(scope="module")
def net() -> Iterator[Sandbox]:
    """A sandbox of its own: its clock runs ahead."""
    with Sandbox(workerpools=0) as running:
        yield running


def initialize(four: Four, dealid: str, idx: int) -> None:
    """Start a task as its scheduler would."""
    chain, owner = four.pool_owner.chain, four.pool_owner.signer
    assert owner is not None
    chain.send(owner, chain.hub_address, abi.INITIALIZE.encode(bytes.fromhex(dealid[2:]), idx))


def test_a_timed_out_run_tells_how_to_get_the_money_back_and_it_comes(net: Sandbox) -> None:
    seller, buyer = net.client(), net.client(deposit="5 RLC")
    pool = net.workerpool("asleep", price="0.3 RLC", category=0, idle=True)
    app = deploy_app(net, seller, price="0.2 RLC")
    run = buyer.app.run(app, workerpool=pool, category=0)
    assert (buyer.account.show().stake, buyer.account.show().locked) == (45 * RLC // 10, RLC // 2)
    with pytest.raises(ValidationError, match="before reaching the final time") as early:
        buyer.deal.claim(run.dealid)
    assert f"{run.deal.finalTime:%Y-%m-%d %H:%M:%S} UTC" in early.value.message
    assert early.value.context["now"]
    net.travel(run.deal.finalTime - net.now())
    with pytest.raises(TaskTimeoutError, match="1 of 1 tasks passed the deadline") as caught:
        run.wait()
    assert caught.value.hint == f"take the money back: iexec.deal.claim({run.dealid!r})"
    with pytest.raises(TaskTimeoutError):
        run.result()
    claimed = buyer.deal.claim(run.dealid)
    assert claimed.claimed == {0: run.taskids[0]}
    assert len(claimed.transactions) == 1
    assert claimed.transactions[0].txHash in repr(claimed)
    with pytest.raises(TaskTimeoutError, match="were claimed: the money is back") as over:
        run.wait()
    assert "claim(" not in str(over.value.hint)
    assert (buyer.account.show().stake, buyer.account.show().locked) == (5 * RLC, 0)
    with pytest.raises(ValidationError, match="Nothing to claim"):
        buyer.deal.claim(run.dealid)
    assert buyer.task.show(run.taskids[0]).status is TaskStatus.FAILED
    with pytest.raises(ValidationError, match="having status FAILED"):
        buyer.task.claim(run.taskids[0])
    with pytest.raises(TaskNotCompletedError):
        buyer.result.fetch(run.taskids[0])


def test_a_deal_is_not_claimed_a_second_before_its_time(net: Sandbox) -> None:
    f = Four(net)
    dealid = f.requester.order.match(**f.orders()).dealid
    deal = f.requester.deal.show(dealid)
    net.travel(seconds=int((deal.finalTime - net.now()).total_seconds()) - 20)
    with pytest.raises(ValidationError, match="Cannot claim a deal"):
        f.requester.deal.claim(dealid)
    net.travel(seconds=40)
    assert set(f.requester.deal.claim(dealid).claimed) == {0, 1}


@pytest.mark.parity("deal.claim", "deal claim")
def test_tasks_that_were_started_and_tasks_that_were_not_are_claimed_together(net: Sandbox) -> None:
    f = Four(net)
    before = f.requester.account.show()
    dealid = f.requester.order.match(**f.orders(request={"volume": 5})).dealid
    for idx in (1, 3):
        initialize(f, dealid, idx)
    net.travel(days=1)
    claimed = f.requester.deal.claim(dealid)
    deal = f.requester.deal.show(dealid)
    assert list(claimed.claimed.items()) == list(enumerate(deal.taskids))
    assert len(claimed.transactions) == 2
    assert f.requester.account.show() == before
    assert {task.status for task in f.requester.chain.deal_tasks(deal)} == {TaskStatus.FAILED}


def test_the_second_deal_of_a_request_is_claimed_with_its_own_indexes(net: Sandbox) -> None:
    """Its tasks do not begin at index 0; the JavaScript SDK sends wrong indexes here and its claim reverts."""
    f = Four(net)
    before = f.requester.account.show()
    orders = f.orders(request={"volume": 5}, workerpool={"volume": 2})
    first = f.requester.order.match(**orders)
    orders["workerpoolorder"] = f.orders(workerpool={"volume": 3})["workerpoolorder"]
    second = f.requester.order.match(**orders)
    deal = f.requester.deal.show(second.dealid)
    assert (deal.botFirst, deal.botSize) == (2, 3)
    initialize(f, second.dealid, 3)
    net.travel(days=1)
    claimed = f.requester.deal.claim(second.dealid)
    assert list(claimed.claimed) == [2, 3, 4]
    assert list(claimed.claimed.values()) == list(deal.taskids)
    after = f.requester.account.show()
    assert (before.stake - after.stake, after.locked - before.locked) == (2 * 17, 2 * 17)
    with pytest.raises(TaskTimeoutError, match="3 of 3"):
        f.requester.deal.attach(second.dealid).wait()
    f.requester.deal.claim(first.dealid)
    assert f.requester.account.show() == before


@pytest.mark.parity("task.claim", "task claim")
def test_a_single_task_is_claimed_after_its_deadline_only(net: Sandbox) -> None:
    f = Four(net)
    before = f.requester.account.show()
    dealid = f.requester.order.match(**f.orders(request={"volume": 2})).dealid
    initialize(f, dealid, 0)
    started, unseen = f.requester.deal.show(dealid).taskids
    with pytest.raises(ValidationError, match="before reaching the consensus deadline") as caught:
        f.requester.task.claim(started)
    assert caught.value.context["now"]
    net.travel(days=1)
    assert f.requester.task.claim(started).startswith("0x")
    assert f.requester.account.show().locked - before.locked == 17
    with pytest.raises(ObjectNotFoundError, match="No task found") as missing:
        f.requester.task.claim(unseen)
    assert "dealid" in str(missing.value.hint)
    with pytest.raises(LookupError, match="No task found"):
        f.requester.task.claim(started.replace(started[-4:], "0000"), dealid=dealid)
    f.requester.task.claim(unseen, dealid=dealid)
    assert f.requester.task.show(unseen).status is TaskStatus.FAILED
    with pytest.raises(ValidationError, match="Nothing to claim"):
        f.requester.deal.claim(dealid)
    assert f.requester.account.show() == before


def test_anybody_may_claim_and_the_money_goes_to_who_paid(net: Sandbox) -> None:
    f = Four(net)
    before = f.requester.account.show()
    dealid = f.requester.order.match(**f.orders()).dealid
    net.travel(days=1)
    stranger = net.client()
    with person(net, stranger) as me:
        me.client.deal.claim(dealid)
        assert wallet(f.requester) in me.asked[0]
        assert "0.000000034 RLC" in me.asked[0]
    assert f.requester.account.show() == before
    assert stranger.account.show().stake == 0


def test_a_claim_asks_and_a_no_or_no_ether_sends_nothing(net: Sandbox) -> None:
    f = Four(net)
    dealid = f.requester.order.match(**f.orders()).dealid
    net.travel(days=1)
    with person(net, f.requester) as me:
        me.answer = False
        with pytest.raises(Exception, match="aborted by user"):
            me.client.deal.claim(dealid)
        assert dealid in me.asked[0]
        assert str(net.chain_id) in me.asked[0]
        assert me.node.sent == 0
    poor = person(net, net.client(eth=0), signer=NoSigner(new_key()), confirm=False)
    with poor as one, pytest.raises(InsufficientFundsError, match="ether"):
        one.client.deal.claim(dealid)


def test_a_large_deal_is_claimed_in_parts_that_fit_into_a_block(net: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """The node estimates what each part needs: three of these claims fit into a million units, four do not."""
    f = Four(net)
    before = f.requester.account.show()
    dealid = f.requester.order.match(**f.orders(request={"volume": 5})).dealid
    net.travel(days=1)
    monkeypatch.setattr(f.requester.chain, "block_gas_limit", lambda: 1_000_000)
    with person(net, f.requester) as me:
        monkeypatch.setattr(me.client.chain, "block_gas_limit", lambda: 1_000_000)
        claimed = me.client.deal.claim(dealid)
        assert "in 2 transactions" in me.asked[0]
        assert "fee: at most" in me.asked[0]
        assert (len(me.asked), me.node.sent) == (1, 2)
    assert [one.type for one in claimed.transactions] == ["initializeAndClaimArray"] * 2
    used = [f.requester.chain.wait(one.txHash).gas_used for one in claimed.transactions]
    assert 1_000_000 > used[0] > used[1]
    assert f.requester.account.show() == before


def test_a_claim_that_somebody_else_was_faster_with_is_refused_before_anything_is_sent(
    net: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    f = Four(net)
    dealid = f.requester.order.match(**f.orders(request={"volume": 5})).dealid
    for idx in range(4):
        initialize(f, dealid, idx)
    net.travel(days=1)
    tasks = f.requester.chain.deal_tasks(f.requester.deal.show(dealid))
    f.requester.task.claim(tasks[2].taskid)
    with person(net, f.requester) as me:
        monkeypatch.setattr(me.client.chain, "deal_tasks", lambda deal: tasks)
        with pytest.raises(Web3ProviderCallError, match="so it was not sent") as caught:
            me.client.deal.claim(dealid)
        assert caught.value.context["task"] == tasks[2].taskid
        assert (me.asked, me.node.sent) == ([], 0)
    assert set(f.requester.deal.claim(dealid).claimed) == {0, 1, 3, 4}


def test_a_claim_that_fails_in_its_second_part_names_the_first(net: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    f = Four(net)
    dealid = f.requester.order.match(**f.orders(request={"volume": 5})).dealid
    initialize(f, dealid, 0)
    net.travel(days=1)
    with person(net, f.requester) as me:
        send = me.client.chain.send

        def once(*args: Any, **options: Any) -> Any:
            monkeypatch.setattr(me.client.chain, "send", refuse)
            return send(*args, **options)

        def refuse(*args: Any, **options: Any) -> Any:
            raise Web3ProviderSendError("the node refused the transaction")

        monkeypatch.setattr(me.client.chain, "send", once)
        with pytest.raises(Web3ProviderSendError, match="refused the transaction") as caught:
            me.client.deal.claim(dealid)
        assert me.client.chain.wait(str(caught.value.context["claimed before"])).status == 1
        assert "again" in str(caught.value.hint)
    assert set(f.requester.deal.claim(dealid).claimed) == {1, 2, 3, 4}


def test_a_mined_claim_without_its_event_is_an_error(net: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    f = Four(net)
    dealid = f.requester.order.match(**f.orders()).dealid
    initialize(f, dealid, 0)
    net.travel(days=1)
    with person(net, f.requester) as me:
        send = me.client.chain.send
        monkeypatch.setattr(me.client.chain, "send", lambda *args, **options: replace(send(*args, **options), logs=()))
        with pytest.raises(Web3ProviderSendError, match="TaskClaimed not confirmed") as caught:
            me.client.deal.claim(dealid)
        assert caught.value.tx_hash
        assert me.node.sent == 1


def test_a_travelled_sandbox_still_signs_publishes_and_matches(net: Sandbox) -> None:
    net.travel(days=400)
    pool = net.workerpool("awake", price=0, category=0)
    seller, buyer = net.client(), net.client(deposit="1 RLC")
    app = deploy_app(net, seller, price=1)
    publish(seller, "app", app=app, appprice=0)
    assert buyer.app.run(app, args="late", workerpool=pool, category=0).result()["out.txt"].text() == "late"


def test_updates_of_a_watch_go_from_matched_to_timeout(net: Sandbox) -> None:
    f = Four(net)
    dealid = f.requester.order.match(**f.orders()).dealid
    updates: Any = f.requester.deal.watch(dealid)
    first = next(updates)
    assert (first.phase, first.done, first.failed) == ("matched", False, False)
    initialize(f, dealid, 0)
    assert next(updates).phase == "initialized"
    net.travel(days=1)
    last = list(updates)[-1]
    assert (last.phase, last.done, last.failed) == ("timeout", True, True)
    assert nonce(f.requester) >= 1


def test_a_read_only_client_watches(net: Sandbox) -> None:
    f = Four(net)
    dealid = f.requester.order.match(**f.orders()).dealid
    with person(net, net.user, signer=None) as guest:
        assert guest.client.deal.show(dealid).requester == wallet(f.requester)
        assert isinstance(guest.client, IExec)
        assert next(iter(guest.client.deal.watch(dealid))).phase == "matched"

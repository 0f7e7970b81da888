"""A run that has a name is paid once, wherever its kernel dies and whatever happens before the cell is run again."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from stage import RLC, deploy_app, in_threads, person, publish, wallet

from iexec_nb.actions import journal, once
from iexec_nb.actions.plan import Plan
from iexec_nb.client import IExec
from iexec_nb.errors import (
    ConfigurationError,
    InsufficientFundsError,
    OrderConsumedError,
    ValidationError,
    Web3ProviderCallError,
    Web3ProviderSendError,
)
from iexec_nb.sandbox.network import Sandbox
from iexec_nb.sandbox.treasury import new_key
from iexec_nb.services import abi
from iexec_nb.services.wallet import PrivateKeySigner

PRICE = RLC // 10 + RLC // 100
KEY = "prices of May"

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="the kernels that die here are forks")


@pytest.fixture(scope="module")
def net() -> Iterator[Sandbox]:
    """A sandbox of its own: now and then its chain stops, or forgets what it was sent."""
    with Sandbox(workerpools=0) as running:
        yield running


@pytest.fixture(scope="module")
def seller(net: Sandbox) -> IExec:
    return net.client(deposit="10 RLC")


@pytest.fixture(scope="module")
def pool(net: Sandbox) -> str:
    """A workerpool that computes nothing, so that what is counted here is money only."""
    return net.workerpool("nobody computes", price="0.01 RLC", volume=1000, idle=True)


@pytest.fixture(scope="module")
def offer(net: Sandbox, seller: IExec) -> str:
    return deploy_app(net, seller, price="0.1 RLC", volume=1000)


def deals_of(client: IExec) -> list[str]:
    """Return the deals that a wallet pays for, as the chain's events name them."""
    events = client.chain.logs(abi.ORDERS_MATCHED, from_block=0)
    mine = [event["dealid"] for _, event in events if client.chain.deal(event["dealid"]).requester == wallet(client)]
    assert client.account.show().locked == sum(client.chain.deal(one).total_cost for one in mine)
    return mine


class Kernels:
    """Starts kernels of one wallet and one store, one after the other, each of which may be killed on the way."""

    def __init__(self, net: Sandbox, store: Path, app: str, pool: str) -> None:
        key = new_key()
        self.client = net.client(deposit="50 RLC", signer=PrivateKeySigner(key))
        self.store = store
        self.wish = {
            "options": net.serve().options(), "wallet": "0x" + key.reveal_bytes().hex(), "store": str(store),
            "app": app, "pool": pool, "args": "hello", "key": KEY,
        }  # fmt: skip
        script = Path(__file__).with_name("mortal.py")
        self.process = subprocess.Popen(
            [sys.executable, str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def run(self, **changes: Any) -> dict[str, Any]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps({**self.wish, **changes}) + "\n")
        self.process.stdin.flush()
        answer: dict[str, Any] = json.loads(self.process.stdout.readline())
        return answer

    def close(self) -> None:
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()
        self.process.wait()


@pytest.fixture
def kernels(net: Sandbox, offer: str, pool: str, tmp_path: Path) -> Iterator[Kernels]:
    started = Kernels(net, tmp_path / "store", offer, pool)
    yield started
    started.close()


# Kernels that are killed.


def test_a_kernel_that_is_killed_at_any_moment_and_started_again_pays_once(kernels: Kernels) -> None:
    moments = kernels.run(key="the first")["moments"]
    decided = moments.index("before fsync")
    sent = moments.index("before eth_sendRawTransaction")
    # Before the journal there is nothing to lose: a sample of these moments is enough. Each of the others is tried,
    # and their number is not the same each time: how often a receipt is asked for depends on the node.
    runs, number = [], 1
    while True:
        killed = kernels.run(key=f"run {number}", fatal=number)["killed"]
        again = kernels.run(key=f"run {number}")
        assert again.get("tasks") == 1, (number, again)
        runs.append(again["dealid"])
        if not killed:
            break
        number += 9 if number + 9 < decided else 1
    assert number > sent + 4
    assert len(set(runs)) == len(runs) > 20
    assert len(deals_of(kernels.client)) == len(runs) + 1
    assert kernels.client.account.show().stake == 50 * RLC - (len(runs) + 1) * PRICE


def test_a_kernel_that_is_killed_again_and_again_pays_once(kernels: Kernels) -> None:
    killed = 0
    # Each start comes one moment further than the one before, over whatever the others left behind.
    while (answer := kernels.run(fatal=20 + killed)).get("killed"):
        killed += 1
    assert killed > 10
    assert deals_of(kernels.client) == [answer["dealid"]]


@pytest.mark.parametrize("length", [0, 1, 40, 80])
def test_a_line_that_was_cut_off_is_none_and_the_next_is_whole(kernels: Kernels, length: int) -> None:
    assert kernels.run(half=length)["killed"]
    assert deals_of(kernels.client) == []
    first, second = kernels.run(), kernels.run()
    assert deals_of(kernels.client) == [first["dealid"]] == [second["dealid"]]
    [path] = kernels.store.glob("journal/*.jsonl")
    assert [set(json.loads(line)) for line in path.read_text().splitlines()][1:] == [{"tx", "nonce"}]


def test_a_run_is_found_again_with_its_transaction_and_nothing_is_signed(kernels: Kernels) -> None:
    first, again = kernels.run(), kernels.run()
    assert (again["dealid"], again["txHash"]) == (first["dealid"], first["txHash"])
    assert not [one for one in again["moments"] if "sendRaw" in one or "orders" in one or "fsync" in one]


def _at_once(kernels: Sequence[Kernels], key: str, index: int) -> dict[str, Any]:
    return kernels[index].run(key=key)


def test_two_kernels_at_once_pay_once(net: Sandbox, offer: str, pool: str, tmp_path: Path) -> None:
    one = Kernels(net, tmp_path / "store", offer, pool)
    two = Kernels(net, tmp_path / "store", offer, pool)
    try:
        two.wish["wallet"] = one.wish["wallet"]
        for number in range(4):
            answers = in_threads(2, partial(_at_once, (one, two), f"at once {number}"))
            assert answers[0]["dealid"] == answers[1]["dealid"], answers
        assert len(deals_of(one.client)) == 4
    finally:
        one.close()
        two.close()


# What may have happened in between.


@pytest.fixture
def buyer_store(net: Sandbox, tmp_path: Path) -> tuple[IExec, Path]:
    return net.client(deposit="5 RLC"), tmp_path / "store"


class Stopped(BaseException):
    """What ends a kernel in the tests that need no kernel of their own."""


def begin(me: Any, app: str, pool: str, **options: Any) -> Any:
    return me.client.app.run(app, **{"args": "x", "category": 0, "workerpool": pool, "idempotency_key": KEY, **options})


def stop_at(patch: pytest.MonkeyPatch, me: Any, moment: str) -> None:
    """End the program before the node hears of the transaction, or after."""

    def before(methods: list[str]) -> None:
        if "eth_sendRawTransaction" in methods and moment == "before":
            raise Stopped

    def after(methods: list[str], response: Any) -> Any:
        if "eth_sendRawTransaction" in methods and moment == "after":
            raise Stopped
        return response

    patch.setattr(me.node, "before", before)
    patch.setattr(me.node, "after", after)


def own_offer(net: Sandbox, seller: IExec, **order: Any) -> str:
    return deploy_app(net, seller, price="0.1 RLC", **{"volume": 1, **order})


def use_up(net: Sandbox, app: str, pool: str) -> None:
    """Let somebody else buy the only task that an app sells."""
    net.client(deposit="1 RLC").app.run(app, args="mine", category=0, workerpool=pool)


def test_orders_that_others_took_meanwhile_are_replaced_within_the_price_of_the_same_request(
    net: Sandbox, seller: IExec, pool: str, buyer_store: tuple[IExec, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    buyer, store = buyer_store
    app = own_offer(net, seller)
    with person(net, buyer, store=store) as me:
        with monkeypatch.context() as patch:
            stop_at(patch, me, "before")
            with pytest.raises(Stopped):
                begin(me, app, pool)
        use_up(net, app, pool)
        publish(seller, "app", app=app, appprice="0.09 RLC")
        run = begin(me, app, pool)
        assert run.price == RLC // 10
        assert "go on with a run that was begun" in me.asked[-1]
        assert "0.1 RLC in all" in me.asked[-1]
        assert begin(me, app, pool).dealid == run.dealid
        assert len(me.asked) == 2
        assert len(list(store.glob("journal/*.jsonl"))) == 1
    assert deals_of(buyer) == [run.dealid]


def test_a_request_that_is_worth_too_little_now_is_closed_before_another_is_signed(
    net: Sandbox, seller: IExec, pool: str, buyer_store: tuple[IExec, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    buyer, store = buyer_store
    app = own_offer(net, seller)
    with person(net, buyer, store=store) as me:
        with monkeypatch.context() as patch:
            stop_at(patch, me, "before")
            with pytest.raises(Stopped):
                begin(me, app, pool)
        use_up(net, app, pool)
        publish(seller, "app", app=app, appprice="0.2 RLC")
        sent = me.node.sent
        me.answer = False
        with pytest.raises(ConfigurationError, match="aborted"):
            begin(me, app, pool)
        assert me.node.sent == sent
        assert "cancel, for good, requestorder" in me.asked[-1]
        me.answer = True
        run = begin(me, app, pool)
        assert run.price == RLC // 5 + RLC // 100
        assert [one.split("\n")[0][:12] for one in me.asked[-2:]] == ["cancel, for ", "run app " + app[:4]]
        assert begin(me, app, pool).dealid == run.dealid
        assert me.node.sent == sent + 2
    old, new = sorted(store.glob("journal/*.jsonl"))
    before = json.loads(old.read_text().splitlines()[0])["orders"]["request"]
    assert before["salt"] != json.loads(new.read_text().splitlines()[0])["orders"]["request"]["salt"]
    assert deals_of(buyer) == [run.dealid]


def test_the_old_transaction_may_land_at_the_last_moment_and_is_the_run_then(
    net: Sandbox, seller: IExec, pool: str, buyer_store: tuple[IExec, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    buyer, store = buyer_store
    app = own_offer(net, seller, volume=2)
    with person(net, buyer, store=store, confirm=False) as me:
        with monkeypatch.context() as patch:
            stop_at(patch, me, "before")
            with pytest.raises(Stopped):
                begin(me, app, pool)
        late = [me.node.raw[-1]]

        def land(methods: list[str]) -> None:
            # After everything was looked at, and before the second transaction of the same request is heard.
            if "eth_sendRawTransaction" in methods and late:
                buyer.chain.rpc.call("eth_sendRawTransaction", late.pop())

        monkeypatch.setattr(me.node, "before", land)
        run = begin(me, app, pool)
        assert not late
        assert begin(me, app, pool).dealid == run.dealid
    assert deals_of(buyer) == [run.dealid]


def test_a_transaction_that_waits_is_waited_for_and_not_sent_again(
    net: Sandbox, seller: IExec, pool: str, buyer_store: tuple[IExec, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    buyer, store = buyer_store
    app = own_offer(net, seller)
    rpc = buyer.chain.rpc
    with person(net, buyer, store=store, confirm=False) as me:
        rpc.call("evm_setAutomine", False)
        try:
            with monkeypatch.context() as patch:
                stop_at(patch, me, "after")
                with pytest.raises(Stopped):
                    begin(me, app, pool)
            with monkeypatch.context() as patch:
                patch.setattr(me.client.chain._transactions, "_timeout_s", 0.05)
                with pytest.raises(Web3ProviderSendError, match="not confirmed within") as caught:
                    begin(me, app, pool)
            assert caught.value.tx_hash
            assert "never paid twice" in caught.value.__notes__[-1]
            thread = threading.Timer(0.1, lambda: rpc.call("anvil_mine", "0x1"))
            thread.start()
            run = begin(me, app, pool)
            thread.join()
        finally:
            rpc.call("evm_setAutomine", True)
        assert me.node.sent == 1
        assert run.txHash == caught.value.tx_hash
    assert deals_of(buyer) == [run.dealid]


def test_a_transaction_that_the_network_forgot_is_sent_again_for_the_same_request(
    net: Sandbox, seller: IExec, pool: str, buyer_store: tuple[IExec, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    buyer, store = buyer_store
    app = own_offer(net, seller)
    rpc = buyer.chain.rpc
    with person(net, buyer, store=store, confirm=False) as me:
        rpc.call("evm_setAutomine", False)
        try:
            with monkeypatch.context() as patch:
                stop_at(patch, me, "after")
                with pytest.raises(Stopped):
                    begin(me, app, pool)
            rpc.call("anvil_dropAllTransactions")
        finally:
            rpc.call("evm_setAutomine", True)
        run = begin(me, app, pool)
        assert me.node.sent == 2
    [path] = store.glob("journal/*.jsonl")
    assert len(path.read_text().splitlines()) == 3
    assert deals_of(buyer) == [run.dealid]


def test_a_stake_that_is_gone_is_said_and_the_run_goes_on_after_a_deposit(
    net: Sandbox, seller: IExec, pool: str, buyer_store: tuple[IExec, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    buyer, store = buyer_store
    app = own_offer(net, seller)
    with person(net, buyer, store=store, confirm=False) as me:
        with monkeypatch.context() as patch:
            stop_at(patch, me, "before")
            with pytest.raises(Stopped):
                begin(me, app, pool)
        buyer.account.withdraw("4.99 RLC")
        with pytest.raises(InsufficientFundsError, match="account"):
            begin(me, app, pool)
        net.fund(buyer, deposit="1 RLC")
        run = begin(me, app, pool)
    assert deals_of(buyer) == [run.dealid]


def test_a_node_that_fails_while_matching_leaves_a_run_that_goes_on(
    net: Sandbox, offer: str, pool: str, buyer_store: tuple[IExec, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    buyer, store = buyer_store
    with person(net, buyer, store=store, confirm=False) as me:
        with monkeypatch.context() as patch:
            patch.setattr(me.client.order, "_send_match", _fails)
            with pytest.raises(Web3ProviderCallError, match="gone") as caught:
                begin(me, offer, pool)
        assert KEY in caught.value.__notes__[-1]
        run = begin(me, offer, pool)
    assert deals_of(buyer) == [run.dealid]


def _fails(*_: object, **__: object) -> None:
    raise Web3ProviderCallError("the node is gone")


def test_a_node_that_has_not_got_the_latest_block_yet_is_asked_again(
    net: Sandbox, offer: str, pool: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(once, "_PAUSE_S", 0.0)
    with person(net, net.client(deposit="1 RLC"), store=tmp_path, confirm=False) as me:
        run = begin(me, offer, pool)
        numbers = iter([10**9, 10**9])
        number = me.client.chain.block_number
        monkeypatch.setattr(me.client.chain, "block_number", lambda: next(numbers, None) or number())
        assert begin(me, offer, pool).dealid == run.dealid
        monkeypatch.setattr(me.client.chain, "block_number", lambda: 10**9)
        with pytest.raises(Web3ProviderCallError) as caught:
            begin(me, offer, pool)
        assert "never paid twice" in caught.value.__notes__[-1]
        assert me.node.sent == 1


# The same name.


@pytest.mark.parametrize(
    ("change", "names"),
    [
        ({"args": "y"}, "args"),
        ({"category": 1}, "category"),
        ({"max_price": "1 RLC"}, "max_price"),
        ({"input_files": ["https://a.test/x"]}, "input_files"),
        ({"beneficiary": "0x" + "12" * 20, "args": "y"}, "args, beneficiary"),
    ],
    ids=["args", "category", "max_price", "input_files", "two"],
)
def test_the_same_name_for_something_else_is_refused_and_what_differs_is_named(
    net: Sandbox, offer: str, pool: str, tmp_path: Path, change: dict[str, Any], names: str
) -> None:
    buyer = net.client(deposit="5 RLC")
    with person(net, buyer, store=tmp_path, confirm=False) as me:
        run = begin(me, offer, pool)
        sent = me.node.sent
        with pytest.raises(ValidationError, match=f"begun with another {names}; nothing was sent") as caught:
            begin(me, offer, pool, **change)
        for value in caught.value.context.values():
            assert "then" in str(value)
            assert "now" in str(value)
        assert me.node.sent == sent
        assert begin(me, offer, pool).dealid == run.dealid
    assert deals_of(buyer) == [run.dealid]


def test_names_belong_to_a_wallet_and_params_are_compared_by_value(
    net: Sandbox, offer: str, pool: str, tmp_path: Path
) -> None:
    one, two = net.client(deposit="1 RLC"), net.client(deposit="1 RLC")
    with person(net, one, store=tmp_path, confirm=False) as me, person(net, two, store=tmp_path, confirm=False) as you:
        files = ["https://a.test/x"]
        params = {"iexec_args": "x", "iexec_input_files": files, "iexec_result_storage_provider": "ipfs"}
        mine = begin(me, offer, pool, args=None, params=dict(reversed(params.items())))
        assert begin(me, offer, pool, input_files=files).dealid == mine.dealid
        assert begin(you, offer, pool).dealid != mine.dealid


@pytest.mark.parametrize("key", ["", "  ", 5, b"x", "x" * 501, "\ud800", None], ids=range(7))
def test_a_name_that_is_none_is_refused_before_any_request(
    net: Sandbox, offer: str, pool: str, tmp_path: Path, key: Any
) -> None:
    with person(net, net.client(), store=tmp_path) as me:
        wishes = me.client.app._planner(offer)._wishes
        with pytest.raises(ValidationError, match="idempotency_key"):
            once.Once(me.client, wishes, key)
        assert not me.touched


def test_another_program_at_work_on_the_run_is_waited_for(net: Sandbox, offer: str, pool: str, tmp_path: Path) -> None:
    buyer = net.client(deposit="1 RLC")
    with person(net, buyer, store=tmp_path, confirm=False) as me:
        runs = in_threads(4, lambda index: begin(me, offer, pool))
        assert len({run.dealid for run in runs}) == 1
    assert len(deals_of(buyer)) == 1


def test_without_any_lock_the_first_to_write_the_journal_decides(
    net: Sandbox, offer: str, pool: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    buyer = net.client(deposit="1 RLC")
    monkeypatch.setattr(once, "run_lock", lambda *_: threading.Semaphore(9))
    with person(net, buyer, store=tmp_path, confirm=False) as me:
        runs = in_threads(4, lambda index: begin(me, offer, pool))
        assert len({getattr(run, "dealid", run) for run in runs}) == 1
    assert len(deals_of(buyer)) == 1


# Plans.


def test_a_plan_that_was_agreed_to_asks_no_more_and_one_that_became_dearer_does(
    net: Sandbox, seller: IExec, pool: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    buyer = net.client(deposit="5 RLC")
    app = deploy_app(net, seller, price="0.3 RLC", volume=5)
    with person(net, buyer, store=tmp_path) as me:
        plan = me.client.app.plan(app, args="x", category=0, workerpool=pool)
        with monkeypatch.context() as patch:
            stop_at(patch, me, "before")
            with pytest.raises(Stopped):
                plan.execute(approved=True, idempotency_key=KEY)
        publish(seller, "app", app=app, appprice="0.1 RLC")
        cheaper = me.client.app.plan(app, args="x", category=0, workerpool=pool)
        assert cheaper.cost.total < plan.cost.total
        assert me.asked == []
        me.answer = False
        with pytest.raises(ConfigurationError, match="aborted"):
            cheaper.execute(approved=True, idempotency_key=KEY)
        [question] = me.asked
        assert "0.31 RLC in all" in question
        run = plan.execute(approved=True, idempotency_key=KEY)
        assert me.asked == [question]
        assert cheaper.execute(approved=True, idempotency_key=KEY).dealid == run.dealid
    assert deals_of(buyer) == [run.dealid]


def test_a_digest_is_compared_like_an_argument(net: Sandbox, offer: str, pool: str, tmp_path: Path) -> None:
    with person(net, net.client(deposit="5 RLC"), store=tmp_path, confirm=False) as me:
        plan = me.client.app.plan(offer, args="x", category=0, workerpool=pool)
        run = plan.execute(idempotency_key=KEY, digest="row 1")
        assert plan.execute(idempotency_key=KEY, digest="row 1").dealid == run.dealid
        for other in ("row 2", None):
            with pytest.raises(ValidationError, match="another digest"):
                plan.execute(idempotency_key=KEY, digest=other)
        found = once.Once(me.client, plan.wishes, KEY, digest="row 1").found()
        assert found is not None
        assert found.dealid == run.dealid
        assert once.Once(me.client, plan.wishes, "another name").found() is None


def test_a_plan_for_many_tasks_is_one_deal_and_paid_once(net: Sandbox, offer: str, pool: str, tmp_path: Path) -> None:
    buyer = net.client(deposit="5 RLC")
    with person(net, buyer, store=tmp_path, confirm=False) as me:
        planner = me.client.app._planner(offer, args="x", category=0, workerpool=pool)
        plan: Plan = planner.plan(volume=7)
        assert plan.cost.total == 7 * PRICE
        assert "7 tasks" in str(plan)
        run = plan.execute(idempotency_key=KEY)
        assert len(run.taskids) == 7
        assert plan.execute(idempotency_key=KEY).dealid == run.dealid
        with pytest.raises(ValidationError, match="another volume"):
            planner.plan(volume=8).execute(idempotency_key=KEY)
    assert deals_of(buyer) == [run.dealid]


def test_orders_that_sell_fewer_tasks_than_the_plan_are_refused_and_nothing_is_sent(
    net: Sandbox, seller: IExec, pool: str, tmp_path: Path
) -> None:
    app = deploy_app(net, seller, price="0.1 RLC", volume=3)
    with person(net, net.client(deposit="5 RLC"), store=tmp_path, confirm=False) as me:
        planner = me.client.app._planner(app, args="x", category=0, workerpool=pool)
        chosen = planner.choose(3)
        plan = planner.plan(orders=chosen, volume=3)
        use_up(net, app, pool)
        for key in (None, KEY):
            with pytest.raises(OrderConsumedError, match="sell 2 of 3 tasks"):
                plan.execute(idempotency_key=key)
        assert me.node.sent == 0
        assert not list(tmp_path.glob("journal/*"))


def test_a_plan_with_other_params_keeps_its_orders_and_is_checked_again(
    net: Sandbox, offer: str, pool: str, tmp_path: Path
) -> None:
    with person(net, net.client(deposit="5 RLC"), store=tmp_path) as me:
        plan = me.client.app.plan(offer, args="x", category=0, workerpool=pool)
        me.web.requests.clear()
        me.node.methods.clear()
        other = plan.with_params({"iexec_args": "y", "iexec_input_files": ["https://a.test/x"]})
        assert (other.apporder, other.workerpoolorder, other.cost) == (plan.apporder, plan.workerpoolorder, plan.cost)
        assert json.loads(other.requestorder.params) == {
            "iexec_args": "y", "iexec_input_files": ["https://a.test/x"], "iexec_result_storage_provider": "ipfs",
        }  # fmt: skip
        assert plan.with_params("z 1").wishes.params["iexec_args"] == "z 1"
        assert not me.web.requests
        assert not me.node.methods
        with pytest.raises(ValidationError, match="result encryption key is not set"):
            plan.with_params({"iexec_result_encryption": True})
        for wrong in ({"alpha": 1}, {"iexec_arg": "x"}, 5, ["x"], {"iexec_secrets": {"0": "x"}}):
            with pytest.raises(ValidationError):
                plan.with_params(wrong)  # type: ignore[arg-type]


# Journals that are no journals.


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: "",
        lambda text: text[:40],
        lambda text: "\n" + text,
        lambda text: "not json\n",
        lambda text: "[" * 100_000 + "\n",
        lambda text: text + "garbage\n",
        lambda text: text + '{"paid": true}\n',
        lambda text: text + '{"tx": "0x12", "nonce": 1}\n',
        lambda text: text.replace('"version": 1', '"version": 2'),
        lambda text: text.replace(KEY, "another"),
        lambda text: text.replace('"volume": "1"', '"volume": "2"'),
        lambda text: text.replace('{\\"iexec', '{ \\"iexec'),
        lambda text: text.replace('"workerpoolprice"', '"price"'),
        lambda text: text.replace('"wallet": "0x', '"wallet": "0X'),
        lambda text: json.dumps([1]) + "\n",
        lambda text: "\ud800".encode("utf-8", "surrogatepass").decode("latin-1") + "\n",
    ],
    ids=range(16),
)
def test_a_damaged_or_foreign_journal_is_an_error_and_never_a_second_payment(
    net: Sandbox, offer: str, pool: str, tmp_path: Path, damage: Any
) -> None:
    buyer = net.client(deposit="5 RLC")
    with person(net, buyer, store=tmp_path, confirm=False) as me:
        run = begin(me, offer, pool)
        [path] = tmp_path.glob("journal/*.jsonl")
        text = path.read_text()
        assert damage(text) != text
        path.write_text(damage(text))
        sent = me.node.sent
        with pytest.raises(ValidationError, match="prices of May"):
            begin(me, offer, pool)
        assert me.node.sent == sent
        path.write_text(text)
        assert begin(me, offer, pool).dealid == run.dealid


def test_a_journal_that_is_no_file_or_too_long_is_an_error(
    net: Sandbox, offer: str, pool: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with person(net, net.client(deposit="5 RLC"), store=tmp_path, confirm=False) as me:
        begin(me, offer, pool)
        [path] = tmp_path.glob("journal/*.jsonl")
        with monkeypatch.context() as patch:
            patch.setattr(journal, "_MAX_BYTES", 100)
            with pytest.raises(ValidationError, match="longer than 100 bytes"):
                begin(me, offer, pool)
        path.rename(tmp_path / "elsewhere")
        for target in (tmp_path / "elsewhere", Path("nowhere")):
            path.symlink_to(target)
            with pytest.raises(ValidationError, match="not a file"):
                begin(me, offer, pool)
            path.unlink()
        path.mkdir()
        with pytest.raises(ValidationError, match="not a file"):
            begin(me, offer, pool)
        assert me.node.sent == 1


def test_a_journal_is_the_owner_s_alone_and_holds_no_key(net: Sandbox, offer: str, pool: str, tmp_path: Path) -> None:
    key = new_key()
    buyer = net.client(deposit="1 RLC", signer=PrivateKeySigner(key))
    with person(net, buyer, store=tmp_path, confirm=False) as me:
        begin(me, offer, pool)
    [path] = tmp_path.glob("journal/*")
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert key.reveal_bytes().hex() not in path.read_text().lower()


@pytest.mark.parametrize("where", ["begin", "sent"])
def test_a_journal_that_cannot_be_written_stops_the_run_before_it_is_sent(
    net: Sandbox, offer: str, pool: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    buyer = net.client(deposit="1 RLC")
    with person(net, buyer, store=tmp_path, confirm=False) as me:
        calls = []

        def full(handle: int) -> None:
            calls.append(handle)
            if where == "begin" or len(calls) > 2:
                raise OSError(28, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", full)
            with pytest.raises(ConfigurationError, match="cannot be written, so nothing was sent: No space left"):
                begin(me, offer, pool)
        assert me.node.sent == 0
        assert not [one for one in tmp_path.rglob("*") if one.name.startswith(".")]
        run = begin(me, offer, pool)
    assert deals_of(buyer) == [run.dealid]


def test_a_drive_without_hard_links_keeps_journals_too(
    net: Sandbox, offer: str, pool: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unsupported(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(os, "link", unsupported)
    with person(net, net.client(deposit="1 RLC"), store=tmp_path, confirm=False) as me:
        assert begin(me, offer, pool).dealid == begin(me, offer, pool).dealid
        path = tmp_path / "new"
        journal._create(path, b"one\n")
        with pytest.raises(FileExistsError):
            journal._create(path, b"two\n")
        assert path.read_bytes() == b"one\n"

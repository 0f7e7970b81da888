"""Running an app: the plan, the question, the handle, and what is refused before anything is signed."""

from __future__ import annotations

import asyncio
import json
import os
import re
import warnings
from typing import Any

import pytest
from stage import (
    NOBODY,
    RLC,
    NoSigner,
    deploy_app,
    deploy_dataset,
    in_threads,
    nonce,
    person,
    publish,
    wallet,
)

from iexec_nb.client import IExec
from iexec_nb.errors import (
    ConfigurationError,
    InsufficientFundsError,
    ObjectNotFoundError,
    OrderMismatchError,
    ResultNotFoundError,
    TaskFailedError,
    ValidationError,
)
from iexec_nb.sandbox.network import Sandbox
from iexec_nb.sandbox.treasury import new_key


@pytest.fixture(scope="module")
def dataset(net: Sandbox, seller: IExec) -> str:
    return deploy_dataset(net, seller, b"day,price\n1,2.5\n2,3.5\n", price="0.5 RLC")


def copy_dataset() -> None:
    out = os.environ["IEXEC_OUT"]
    source = os.path.join(os.environ["IEXEC_IN"], os.environ["IEXEC_DATASET_FILENAME"])
    with open(source) as file, open(os.path.join(out, "copy.csv"), "w") as target:
        target.write(file.read())
    with open(os.path.join(out, "computed.json"), "w") as file:
        json.dump({"deterministic-output-path": "/iexec_out/copy.csv"}, file)


# What works.


def test_a_run_computes_and_gives_its_files_back(net: Sandbox, app: str, buyer: IExec) -> None:
    run = buyer.app.run(app, args="a 'b c'", category=0)
    assert run.price == RLC // 10
    assert len(run.taskids) == 1
    result = run.result()
    assert result["out.txt"].text() == "a b c"
    assert result.text("out.txt") == result.text() == "a b c"
    assert (result.encrypted, result.verified) == (False, True)
    assert result.computed == {"deterministic-output-path": "/iexec_out/out.txt"}
    assert run.logs()[0]["stdout"] == "hello a b c\n"
    assert list(run.tasks()["statusName"]) == ["COMPLETED"]
    assert buyer.account.show().stake == 5 * RLC - RLC // 10
    assert buyer.account.show().locked == 0


def test_the_seller_is_paid_to_the_nrlc(net: Sandbox, buyer: IExec) -> None:
    seller = net.client()
    app = deploy_app(net, seller, price=123_456_789)
    buyer.app.run(app, category=0).wait()
    assert seller.account.show().stake == 123_456_789


def test_a_dataset_is_computed_on_and_the_result_encrypted_for_the_buyer(
    net: Sandbox, seller: IExec, dataset: str, buyer: IExec
) -> None:
    app = deploy_app(net, seller, copy_dataset, price=0)
    pair = buyer.result.generate_encryption_keypair()
    assert buyer.result.check_encryption_key() is False
    assert buyer.result.push_encryption_key().isPushed
    assert buyer.result.check_encryption_key() is True
    run = buyer.app.run(app, dataset=dataset, category=0, encrypt_result=True)
    result = run.result()
    assert result.encrypted
    assert result.verified
    assert result.table()["price"].tolist() == [2.5, 3.5]
    assert pair.private_key_file.stat().st_mode & 0o777 == 0o600


def test_orders_of_the_own_app_and_dataset_are_signed_on_the_way_for_nothing(net: Sandbox) -> None:
    me = net.client(deposit="1 RLC")
    app, dataset = deploy_app(net, me, copy_dataset), deploy_dataset(net, me)
    with person(net, me) as one:
        run = one.client.app.run(app, dataset=dataset, category=0)
        assert "signs also: apporder, datasetorder of your own" in one.asked[0]
        assert len(one.asked) == 1
        assert run.result().table().shape == (1, 2)
    assert me.account.show().stake == RLC
    assert len(me.orderbook.app(app)) == 0


def test_the_cheapest_fitting_orders_are_taken(net: Sandbox, seller: IExec, buyer: IExec) -> None:
    app = deploy_app(net, seller, price=50)
    publish(seller, "app", app=app, appprice=20, volume=3)
    publish(seller, "app", app=app, appprice=10, volume=3, requesterrestrict=NOBODY)
    publish(seller, "app", app=app, appprice=15, volume=3, workerpoolrestrict=NOBODY)
    assert buyer.app.plan(app, category=0).cost.app == 20
    publish(seller, "app", app=app, appprice=5, volume=3, requesterrestrict=wallet(buyer))
    assert buyer.app.plan(app, category=0).cost.app == 5


def test_an_order_that_is_consumed_on_the_chain_but_still_listed_is_passed_over(
    net: Sandbox, seller: IExec, buyer: IExec
) -> None:
    app = deploy_app(net, seller, price=50)
    publish(seller, "app", app=app, appprice=1, volume=1)
    stale = list(net.user.market.orders("app", app=app))
    buyer.app.run(app, category=0).wait()
    with person(net, buyer, confirm=False) as me:
        import httpx

        def answer(request: httpx.Request, response: httpx.Response) -> httpx.Response:
            if request.url.path == "/apporders":
                return httpx.Response(200, json={"ok": True, "count": 2, "orders": stale}, request=request)
            return response

        me.web.change = answer
        assert me.client.app.plan(app, category=0).cost.app == 50


def test_a_plan_signs_and_sends_nothing(net: Sandbox, app: str, buyer: IExec) -> None:
    with person(net, buyer, signer=NoSigner(new_key())) as me:
        net.fund(wallet(me.client), deposit="1 RLC")
        plan = me.client.app.plan(app, args="x", category=0)
        assert plan.cost.total == RLC // 10
        assert "0.1 RLC" in str(plan)
        assert not me.touched
        assert not me.asked


def test_a_run_is_attached_again_by_its_deal_id_alone(net: Sandbox, app: str, buyer: IExec) -> None:
    dealid = buyer.app.run(app, args="again", category=0).dealid
    with person(net, buyer) as other:
        run = other.client.deal.attach(dealid.upper().replace("0X", "0x"))
        assert run.wait().result()["out.txt"].text() == "again"
        assert [update.done for update in run.watch()][-1] is True
        task = other.client.task.show(run.taskids[0], watch=True)
        assert task.status.name == "COMPLETED"
        assert other.client.result.fetch(run.taskids[0])["out.txt"].text() == "again"
        assert not other.asked


def test_a_run_is_awaited(app: str, buyer: IExec) -> None:
    async def main() -> Any:
        return await buyer.app.run(app, category=0)

    assert asyncio.run(main()).tasks()["statusName"].tolist() == ["COMPLETED"]


def test_several_runs_at_once_from_one_wallet(app: str, buyer: IExec) -> None:
    runs = in_threads(4, lambda index: buyer.app.run(app, args=str(index), category=0).result()["out.txt"].text())
    assert runs == ["0", "1", "2", "3"]


def test_a_deal_of_several_tasks_is_waited_for_as_a_whole(net: Sandbox, seller: IExec, app: str, buyer: IExec) -> None:
    [pool] = net.workerpools[:1]
    book = net.user.orderbook.workerpool(pool, category=0)
    request = buyer.order.sign(
        buyer.order.create("request", app=app, appmaxprice="0.1 RLC", category=0, volume=3, params="x")
    )
    matched = buyer.order.match(
        apporder=net.user.orderbook.app(app).iexec.order(0), workerpoolorder=book.iexec.order(0), requestorder=request
    )
    run = buyer.deal.attach(matched.dealid)
    assert run.wait().tasks()["statusName"].tolist() == ["COMPLETED"] * 3
    assert run.result(2)["out.txt"].text() == "x"
    for index in (3, -1):
        with pytest.raises(ResultNotFoundError, match=f"no task {index}") as caught:
            run.result(index)
        assert "0 to 2" in str(caught.value.hint)
    with pytest.raises(ResultNotFoundError):
        run.logs(3)


# What is asked.


def test_a_run_asks_once_with_prices_parties_and_chain_and_a_no_sends_nothing(
    net: Sandbox, app: str, dataset: str, buyer: IExec
) -> None:
    with person(net, buyer) as me:
        me.answer = False
        before = nonce(buyer)
        with pytest.raises(ConfigurationError, match="aborted by user"):
            me.client.app.run(app, dataset=dataset, args="--secret-free", category=0)
        [text] = me.asked
        for words in ("0.6 RLC", "0.1 RLC", "0.5 RLC", app, dataset, wallet(buyer), "--secret-free", str(net.chain_id),
                      net.workerpools[0], "category 0"):  # fmt: skip
            assert words in text
        # The pool that is shown is the one that the request names: no other can take it on its way.
        assert f"workerpool: {net.workerpools[0]}\n" in text
        assert re.search(r"gas: about 0\.\d+ ether besides", text)
        assert me.client.app.plan(app, category=0).requestorder.workerpool == net.workerpools[0]
        assert not me.touched
        assert nonce(buyer) == before


def test_where_nobody_can_be_asked_nothing_is_signed(
    net: Sandbox, app: str, buyer: IExec, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_keyboard(prompt: str = "") -> str:
        raise EOFError

    monkeypatch.setattr("builtins.input", no_keyboard)
    with person(net, buyer) as me:
        me.client._confirm = None
        with pytest.raises(ConfigurationError, match="nobody to ask") as caught:
            me.client.app.run(app, category=0)
        assert "0.1 RLC" in str(caught.value)
        assert not me.touched


@pytest.mark.parametrize(("answer", "goes"), [("y", True), ("YES", True), ("", False), ("n", False), ("yy", False)])
def test_only_yes_is_yes(net: Sandbox, monkeypatch: pytest.MonkeyPatch, answer: str, goes: bool) -> None:
    monkeypatch.setattr("builtins.input", lambda prompt="": answer)
    with person(net, net.client(rlc="1 RLC")) as me:
        me.client._confirm = None
        if goes:
            me.client.account.deposit(1)
        else:
            with pytest.raises(ConfigurationError):
                me.client.account.deposit(1)
        assert me.node.sent == int(goes)


@pytest.mark.parametrize("verb", ["deposit", "withdraw", "deploy app", "deploy dataset", "deploy workerpool"])
def test_every_transaction_is_asked_for_and_a_no_sends_nothing(net: Sandbox, verb: str) -> None:
    calls: dict[str, Any] = {
        "deposit": lambda c: c.account.deposit("1.5 RLC"),
        "withdraw": lambda c: c.account.withdraw("1.5 RLC"),
        "deploy app": lambda c: c.app.deploy(name="an app", multiaddr="docker.io/never:1"),
        "deploy dataset": lambda c: c.dataset.deploy(name="data", multiaddr="/ipfs/never", checksum="0x" + "1" * 64),
        "deploy workerpool": lambda c: c.workerpool.deploy(description="never"),
    }
    with person(net, net.client(rlc="2 RLC", deposit="2 RLC")) as me:
        me.answer = False
        with pytest.raises(ConfigurationError, match="aborted"):
            calls[verb](me.client)
        assert not me.touched
        [text] = me.asked
        assert str(net.chain_id) in text
        assert wallet(me.client) in text
        assert "1.5 RLC" in text or "deploy the" in text


# What is refused before anything is signed.


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"category": "x"}, "x"),
        ({"category": -1}, "-1"),
        ({"category": 1.5}, "1.5"),
        ({"dataset": "0x12"}, "0x12"),
        ({"workerpool": "pool"}, "pool"),
        ({"tag": "tea"}, "tea"),
        ({"tag": "tee"}, "'tee' tag must be used with a tee framework"),
        ({"trust": "much"}, "much"),
        ({"trust": True}, "True"),
        ({"beneficiary": "me"}, "me"),
        ({"callback": "0x"}, "0x"),
        ({"max_price": 0.5}, "0.5"),
        ({"max_price": "1 rlc"}, "1 rlc"),
        ({"input_files": ["ftp://x"]}, "ftp://x"),
        ({"input_files": ["x"]}, "x"),
        ({"input_files": "https://a.test/x,ftp://y"}, "ftp://y"),
        ({"secrets": "api-key"}, "api-key"),
        ({"secrets": [5]}, "5"),
        ({"secrets": ["1"]}, "1"),
        ({"secrets": ["=x"]}, ""),
        ({"secrets": ["0=x"]}, "0"),
        ({"secrets": {"a": "x"}}, "a"),
        ({"storage_provider": "s3"}, "s3"),
        ({"params": "{not json"}, "{not json"),
        ({"params": "[1]"}, "[1]"),
        ({"params": 5}, "5"),
        ({"params": {"iexec_args": 5, "no_such": 1}}, ""),
        ({"args": 5}, ""),
        ({"encrypt_result": "maybe"}, "maybe"),
    ],
)
def test_a_wrong_argument_of_a_run_is_refused_before_any_request(
    net: Sandbox, app: str, buyer: IExec, wrong: dict[str, Any], words: str
) -> None:
    with person(net, buyer) as me:
        try:
            with pytest.raises(ValidationError) as caught:
                me.client.app.run(app, **wrong)
        except pytest.fail.Exception:
            if wrong in ({"params": {"iexec_args": 5, "no_such": 1}}, {"args": 5}):
                return  # cast as the SDK casts them: a number becomes its text
            raise
        assert words in str(caught.value)
        assert not me.node.methods
        assert not me.web.requests
        assert not me.asked


@pytest.mark.parametrize("field", ["app", "dataset", "workerpool"])
def test_what_is_not_deployed_is_named(net: Sandbox, app: str, buyer: IExec, field: str) -> None:
    with person(net, buyer) as me:
        arguments = {} if field == "app" else {field: NOBODY}
        with pytest.raises(ObjectNotFoundError, match=f"No {field} found for id {NOBODY}"):
            me.client.app.run(NOBODY if field == "app" else app, **arguments)
        assert not me.touched


def test_an_unknown_option_of_a_run_is_no_crash_deep_inside(buyer: IExec, app: str) -> None:
    with pytest.raises((TypeError, ValidationError), match="colour"):
        buyer.app.plan(app, colour="red")


def test_a_price_above_the_limit_is_refused_with_all_prices(net: Sandbox, app: str, dataset: str, buyer: IExec) -> None:
    with person(net, buyer) as me:
        with pytest.raises((ValidationError, OrderMismatchError)) as caught:
            me.client.app.run(app, dataset=dataset, category=0, max_price="0.55 RLC")
        for words in ("0.6 RLC", "0.55 RLC", "0.1 RLC", "0.5 RLC"):
            assert words in str(caught.value)
        assert not me.touched
        assert me.client.app.plan(app, dataset=dataset, category=0, max_price="0.6 RLC").cost.total == 600_000_000


def test_too_little_stake_for_a_run_is_said_with_amounts(net: Sandbox, app: str) -> None:
    with person(net, net.client(rlc="1 RLC", deposit="0.03 RLC"), signer=NoSigner(new_key())) as me:
        net.fund(wallet(me.client), deposit="0.03 RLC")
        with pytest.raises(InsufficientFundsError) as caught:
            me.client.app.run(app, category=0)
        assert caught.value.context["account stake"] == "0.03 RLC"
        assert caught.value.context["missing"] == "0.07 RLC"
        assert caught.value.hint == 'iexec.account.deposit("0.07 RLC")'
        assert not me.touched
        assert not me.asked


def test_no_ether_for_the_match_is_said_before_the_transaction(net: Sandbox, app: str) -> None:
    with person(net, net.client(deposit="1 RLC", eth=0)) as me:
        with pytest.raises(InsufficientFundsError, match="ether"):
            me.client.app.run(app, category=0)
        assert me.node.sent == 0
        assert me.client.account.show().locked == 0


def test_a_dataset_without_its_key_stops_the_run_and_can_be_skipped(net: Sandbox, seller: IExec, buyer: IExec) -> None:
    app = deploy_app(net, seller, copy_dataset, price=0)
    encrypted = seller.dataset.encrypt(b"x")
    place = seller.storage.add(encrypted)
    dataset = seller.dataset.deploy(name="no key", multiaddr=place, checksum=encrypted.checksum).address
    order = seller.order.sign(seller.order.create("dataset", dataset=dataset, volume=9), skip_preflight_check=True)
    seller.order.publish(order, skip_preflight_check=True)
    with person(net, buyer, confirm=False) as me:
        with pytest.raises(ValidationError, match="Dataset encryption key is not set for dataset") as caught:
            me.client.app.run(app, dataset=dataset, category=0)
        assert dataset in caught.value.message
        assert "skip_preflight_check" in str(caught.value.hint)
        assert not me.touched
        run = me.client.app.run(app, dataset=dataset, category=0, skip_preflight_check=True)
        with pytest.raises(TaskFailedError) as failed:
            run.wait()
        assert dataset in str(failed.value) or "key" in failed.value.stderr.lower()


def test_an_encrypted_result_without_a_key_stops_the_run(net: Sandbox, app: str, buyer: IExec) -> None:
    with person(net, buyer) as me:
        with pytest.raises(ValidationError, match="result encryption key is not set") as caught:
            me.client.app.run(app, category=0, encrypt_result=True)
        assert "generate_encryption_keypair" in str(caught.value.hint)
        assert not me.touched


def test_a_search_without_a_find_names_each_order_and_what_keeps_it_out(
    net: Sandbox, seller: IExec, buyer: IExec
) -> None:
    app = deploy_app(net, seller, price=10, requesterrestrict=NOBODY)
    publish(seller, "app", app=app, appprice=20, workerpoolrestrict=NOBODY)
    hashes = [row["orderHash"] for row in net.user.market.orders("app", app=app, requester="any", workerpool="any")]
    assert len(hashes) == 2
    with pytest.raises(OrderMismatchError, match="No order available for app") as caught:
        buyer.app.run(app, category=0, workerpool=net.workerpools[0])
    text = str(caught.value)
    for one in (*hashes, "0.00000001 RLC", "0.00000002 RLC", NOBODY, "requester", "workerpool"):
        assert one in text
    assert caught.value.hint


def test_a_search_in_an_empty_book_says_so(net: Sandbox, seller: IExec, buyer: IExec) -> None:
    app = deploy_app(net, seller)
    with pytest.raises(OrderMismatchError, match="no orders published") as caught:
        buyer.app.run(app, category=0)
    assert "order.create('app'" in str(caught.value.hint)


def test_no_pool_for_a_tag_trust_or_category_says_what_there_is(net: Sandbox, app: str, buyer: IExec) -> None:
    for wish, words in (({"trust": 99}, "trust"), ({"tag": "tee,tdx,gpu"}, "gpu"), ({"category": 4000}, "category")):
        with pytest.raises(OrderMismatchError, match="workerpoolorder") as caught:
            buyer.app.run(app, **wish)  # type: ignore[arg-type]
        assert words in str(caught.value)
        assert "RLC" in str(caught.value) or "no orders" in str(caught.value)


def test_an_app_with_a_measurement_of_a_retired_enclave_is_refused(net: Sandbox, buyer: IExec) -> None:
    app = buyer.app.deploy(name="old", multiaddr="docker.io/old:1", mrenclave='{"framework":"SCONE"}').address
    with pytest.raises(ValidationError, match="MREnclave"):
        buyer.app.run(app, category=0)


def test_the_chain_may_change_between_plan_and_execution_and_nothing_is_sent(
    net: Sandbox, seller: IExec, buyer: IExec
) -> None:
    app = deploy_app(net, seller, price=None)
    publish(seller, "app", app=app, appprice=1, volume=1)
    with person(net, buyer, confirm=False) as me:
        first, second = me.client.app.plan(app, category=0), me.client.app.plan(app, category=0)
        first.execute().wait()
        sent = me.node.sent
        with pytest.raises(OrderMismatchError, match="consumed"):
            second.execute()
        assert me.node.sent == sent
        poor = net.client(deposit=1)
    publish(seller, "app", app=app, appprice=1, volume=1)
    plan = poor.app.plan(app, category=0)
    poor.account.withdraw(1)
    with pytest.raises(InsufficientFundsError):
        plan.execute()


def test_nothing_warns_on_the_straight_way(app: str, buyer: IExec) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        buyer.app.run(app, category=0, watch=True).result()

"""A quote: the whole cost before anything is signed, for people with and without money, and without a wallet."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import httpx
import pytest
from stage import NOBODY, RLC, NoSigner, deploy_app, deploy_dataset, person, publish, state, wallet

from iexec_nb.client import IExec
from iexec_nb.commands import COMMANDS
from iexec_nb.errors import ObjectNotFoundError, OrderMismatchError, ValidationError
from iexec_nb.protocol.quotes import Gas, Quote
from iexec_nb.protocol.typed_data import order_hash
from iexec_nb.sandbox.network import Sandbox
from iexec_nb.sandbox.treasury import new_key
from iexec_nb.services.wallet import ReadOnlySigner

ETHER = 10**18


@pytest.fixture(scope="module")
def dataset(net: Sandbox, seller: IExec) -> str:
    return deploy_dataset(net, seller, price="0.5 RLC")


@pytest.fixture(scope="module")
def pool(net: Sandbox) -> str:
    return net.workerpool("a pool with a price", price="0.01 RLC", category=0)


def test_a_quote_says_the_whole_cost_and_nothing_is_signed_asked_or_written(
    net: Sandbox, app: str, dataset: str, pool: str
) -> None:
    buyer = net.client(rlc="3 RLC", deposit="5 RLC", signer=NoSigner(new_key()))
    before = state(net, buyer)
    with person(net, buyer) as me:
        quote = me.client.app.quote(app, dataset=dataset, workerpool=pool, category=0, args="x")
        assert not me.touched
        assert me.asked == []
    assert state(net, buyer) == before
    assert (quote.appprice, quote.datasetprice, quote.workerpoolprice) == (RLC // 10, RLC // 2, RLC // 100)
    assert quote.per_task == quote.total == 61 * RLC // 100
    assert (quote.stake, quote.stakeAfter, quote.missing) == (5 * RLC, 439 * RLC // 100, 0)
    assert (quote.nRLC, quote.wei, quote.allowance) == (3 * RLC, 10 * ETHER, 0)
    assert (quote.app, quote.dataset, quote.workerpool) == (app, dataset, pool)
    assert (quote.category, quote.trust, quote.volume, quote.requester) == (0, 0, 1, wallet(buyer))
    assert quote.works
    assert bool(quote)
    assert (quote.problems, quote.hint) == ((), None)


def test_the_orders_of_a_quote_are_those_of_the_plan_and_the_gas_is_that_of_the_match(
    net: Sandbox, app: str, dataset: str, buyer: IExec
) -> None:
    wishes: dict[str, Any] = {"dataset": dataset, "category": 0, "args": "x"}
    quote, plan = buyer.app.quote(app, **wishes), buyer.app.plan(app, **wishes)
    domain = buyer.chain.domain
    assert plan.datasetorder is not None
    assert quote.orders == {
        order.kind: order_hash(order, domain) for order in (plan.apporder, plan.datasetorder, plan.workerpoolorder)
    }
    cost = plan.execute().cost
    assert quote.gas.units is not None
    assert cost.gasUsed is not None
    # What others do meanwhile decides whether a word of storage is new, which costs 17,100 more.
    assert abs(quote.gas.units - cost.gasUsed) < 60_000
    assert quote.gas.fee == quote.gas.units * quote.gas.price
    assert "simulated" in quote.gas.note
    assert cost.total == quote.total


def test_own_resources_cost_nothing_and_have_no_order_yet(net: Sandbox, buyer: IExec) -> None:
    app = deploy_app(net, buyer)
    quote = buyer.app.quote(app, category=0)
    assert quote.orders["app"] is None
    assert quote.orders["workerpool"] is not None
    assert quote.appprice == 0
    assert quote.gas.units
    assert quote.works


@pytest.mark.parametrize(
    ("purse", "problems", "hints"),
    [
        (
            {"rlc": "1 RLC", "deposit": "0.03 RLC"},
            ["The account holds 0.03 RLC of the 0.1 RLC"],
            ['iexec.account.deposit("0.07 RLC")'],
        ),
        (
            {"rlc": "0.01 RLC"},
            ["The account holds 0 RLC of the 0.1 RLC", "The wallet holds 0.01 RLC of the 0.1 RLC"],
            ['iexec.account.deposit("0.1 RLC")', "send 0.09 RLC to the wallet"],
        ),
        ({"deposit": "1 RLC", "eth": 0}, ["The wallet holds 0 ether"], ["the chain's gas is paid in it"]),
    ],
    ids=["deposit", "wallet", "ether"],
)
def test_too_little_money_is_no_error_but_said_with_what_to_type(
    net: Sandbox, app: str, purse: dict[str, Any], problems: list[str], hints: list[str]
) -> None:
    quote = net.client(**purse).app.quote(app, category=0)
    assert not quote
    assert len(quote.problems) == len(problems)
    for words, found in zip(problems, quote.problems, strict=True):
        assert words in found
    for words, found in zip(hints, quote.hints, strict=True):
        assert words in found
    assert quote.hint == quote.hints[0]
    # It is simulated for somebody who can pay, so what it takes is known all the same.
    assert quote.gas.units is not None
    assert quote.gas.units > 300_000
    for words in (*quote.problems, *quote.hints, "0.1 RLC", "ether", f"{quote.gas.units} units"):
        assert words in repr(quote)
    if quote.missing:
        assert quote.stakeAfter is None
        assert "not enough" in repr(quote)


def test_what_would_fail_later_is_said_all_at_once(net: Sandbox, seller: IExec, app: str, buyer: IExec) -> None:
    encrypted = seller.dataset.encrypt(b"x")
    place = seller.storage.add(encrypted)
    bare = seller.dataset.deploy(name="no key here", multiaddr=place, checksum=encrypted.checksum).address
    order = seller.order.sign(seller.order.create("dataset", dataset=bare, volume=9), skip_preflight_check=True)
    seller.order.publish(order, skip_preflight_check=True)
    wishes: dict[str, Any] = {"dataset": bare, "category": 0, "encrypt_result": True, "secrets": {1: "missing"}}
    quote = buyer.app.quote(app, **wishes)
    for words in ("result encryption key is not set", 'secret "missing" is not set', f"not set for dataset {bare}"):
        assert any(words in problem for problem in quote.problems)
    assert all(quote.hints)
    assert buyer.app.quote(app, skip_preflight_check=True, **wishes).works


def test_somebody_without_a_wallet_is_told_the_price(net: Sandbox, app: str, dataset: str, buyer: IExec) -> None:
    with person(net, buyer, signer=None) as me:
        quote = me.client.app.quote(app, dataset=dataset, category=0, args="x", encrypt_result=True)
        assert not me.touched
    assert quote.total == 6 * RLC // 10
    assert (quote.requester, quote.stake, quote.stakeAfter, quote.missing, quote.wei, quote.nRLC) == (None,) * 6
    assert quote.gas.units is not None
    assert len(quote.problems) == 1
    assert "no wallet" in quote.problems[0]
    assert "IExec(signer=...)" in str(quote.hint)
    assert "no wallet" in repr(quote)


def test_an_address_without_a_key_is_quoted_as_its_owner_would_be(net: Sandbox, app: str, buyer: IExec) -> None:
    with person(net, buyer, signer=ReadOnlySigner(wallet(buyer))) as me:
        seen, own = me.client.app.quote(app, category=0), buyer.app.quote(app, category=0)
    # The gas depends on what others do at the same time.
    assert replace(seen, gas=own.gas) == own
    assert seen.works


def test_offers_for_others_are_not_quoted(net: Sandbox, seller: IExec, buyer: IExec) -> None:
    app = deploy_app(net, seller, price=10, requesterrestrict=wallet(buyer))
    assert buyer.app.quote(app, category=0).appprice == 10
    with person(net, buyer, signer=None) as me, pytest.raises(OrderMismatchError, match="No order available for app"):
        me.client.app.quote(app, category=0)


def test_what_cannot_be_priced_is_an_error(net: Sandbox, app: str, buyer: IExec) -> None:
    with pytest.raises(ObjectNotFoundError):
        buyer.app.quote(NOBODY)
    with pytest.raises(OrderMismatchError):
        buyer.app.quote(app, category=4000)
    with pytest.raises(OrderMismatchError, match="max_price"):
        buyer.app.quote(app, category=0, max_price="0.05 RLC")
    with pytest.raises(ValidationError, match=r"0\.5"):
        buyer.app.quote(app, max_price=0.5)  # type: ignore[arg-type]


def test_a_node_that_cannot_simulate_with_another_state_gives_a_quote_without_gas(
    net: Sandbox, app: str, buyer: IExec
) -> None:
    with person(net, buyer) as me:

        def refuse(methods: list[str], response: httpx.Response) -> httpx.Response:
            if "eth_estimateGas" not in methods:
                return response
            body = response.json()
            place = methods.index("eth_estimateGas")
            body[place] = {"jsonrpc": "2.0", "id": body[place]["id"], "error": {"code": -32602, "message": "too many"}}
            return httpx.Response(200, json=body)

        me.node.after = refuse
        quote = me.client.app.quote(app, category=0)
    assert (quote.gas.units, quote.gas.fee) == (None, None)
    assert quote.gas.price > 0
    assert "known when the request is signed" in quote.gas.note
    assert quote.gas.note in repr(quote)
    assert quote.works


def test_a_chosen_gas_price_is_that_of_the_quote(net: Sandbox, app: str, buyer: IExec) -> None:
    dear = buyer.with_options(gas_price="7 gwei")
    try:
        assert dear.app.quote(app, category=0).gas.price == 7 * 10**9
    finally:
        dear.close()


def test_the_words_of_a_line_make_the_same_quote(net: Sandbox, app: str, buyer: IExec) -> None:
    found = COMMANDS["app", "quote"]
    assert not found.spends
    run = COMMANDS["app", "run"]
    lacking = {"idempotency_key", "watch"}
    assert {p.name for p in run.parameters} - lacking == {p.name for p in found.parameters}
    assert found.raw is not None
    raw = found.raw(buyer.app.quote(app, category=0))
    assert (raw["total"], raw["works"], raw["missing"]) == (RLC // 10, True, 0)
    assert raw["gas"]["fee"] == raw["gas"]["units"] * raw["gas"]["price"]
    json.dumps(raw)


def test_a_quote_of_many_tasks_counts_all_of_them() -> None:
    quote = Quote(
        app=NOBODY, dataset=None, workerpool=NOBODY, category=1, trust=0, volume=3, appprice=RLC, datasetprice=0,
        workerpoolprice=1, orders={}, gas=Gas(units=None, price=1, note="why"), requester=NOBODY, stake=RLC, wei=0,
        nRLC=0,
    )  # fmt: skip
    assert (quote.per_task, quote.total, quote.missing, quote.stakeAfter) == (RLC + 1, 3 * RLC + 3, 2 * RLC + 3, None)
    for words in ("3 tasks", "a task", "3.000000003 RLC", "to deposit first: 2.000000003 RLC", "why"):
        assert words in repr(quote)


def test_the_cheapest_order_of_the_moment_is_quoted(net: Sandbox, seller: IExec, buyer: IExec) -> None:
    app = deploy_app(net, seller, price=20)
    assert buyer.app.quote(app, category=0).appprice == 20
    publish(seller, "app", app=app, appprice=5, volume=1)
    assert buyer.app.quote(app, category=0).appprice == 5

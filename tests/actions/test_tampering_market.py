"""A market that lies: what it changes is dropped with a warning that names it, and is never matched."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import httpx
import pytest
from stage import NOBODY, RLC, Four, Person, deploy_app, deploy_dataset, json_answer, person, publish, wallet

from iexec_nb.client import IExec
from iexec_nb.errors import (
    IExecError,
    InvalidSignatureError,
    MarketCallError,
    OrderMismatchError,
    ValidationError,
)
from iexec_nb.protocol.typed_data import order_hash
from iexec_nb.sandbox.network import Sandbox
from iexec_nb.services import abi

Lie = Callable[[dict[str, Any]], None]


@pytest.fixture(scope="module")
def seller(net: Sandbox) -> IExec:
    return net.client(deposit="10 RLC")


@pytest.fixture(scope="module")
def app(net: Sandbox, seller: IExec) -> str:
    return deploy_app(net, seller, price="0.5 RLC")


@pytest.fixture
def buyer(net: Sandbox) -> Iterator[Person]:
    with person(net, net.client(deposit="5 RLC"), confirm=False) as one:
        yield one


def lying(kind: str, lie: Lie) -> Callable[[httpx.Request, httpx.Response], httpx.Response]:
    """Return a change of answers that tells one lie about every order of a kind."""

    def change(request: httpx.Request, response: httpx.Response) -> httpx.Response:
        if request.url.path.startswith(f"/{kind}orders") and request.method == "GET":
            body = json.loads(response.content)
            for order in body.get("orders", [body]):
                lie(order)
            return json_answer(response, body)
        return response

    return change


def set_in(path: str, value: object) -> Lie:
    def lie(order: dict[str, Any]) -> None:
        *outer, last = path.split(".")
        for name in outer:
            order = order[name]
        order[last] = value

    return lie


def forged(order: dict[str, Any]) -> None:
    """Sign the changed order with a key of the market's own, and say so."""
    from iexec_nb.protocol.orders import AppOrder
    from iexec_nb.protocol.typed_data import address_of, sign_digest

    key = bytes(31) + b"\x09"
    changed = replace(AppOrder.from_json(order["order"]), appprice=1)
    digest = order_hash(changed, DOMAIN[0])
    order["order"] = {**changed.to_json(), "sign": sign_digest(bytes.fromhex(digest[2:]), key)}
    order["orderHash"] = digest
    order["signer"] = address_of(key)


DOMAIN: list[Any] = []

LIES: dict[str, Lie] = {
    "a lower price": set_in("order.appprice", "1"),
    "a higher price": set_in("order.appprice", str(3 * RLC)),
    "a larger volume": set_in("order.volume", "1000000"),
    "another app": set_in("order.app", NOBODY),
    "a restriction taken away": set_in("order.requesterrestrict", NOBODY),
    "another hash": set_in("orderHash", "0x" + "ab" * 32),
    "another salt": set_in("order.salt", "0x" + "cd" * 32),
    "no signature": set_in("order.sign", "0x"),
    "another signature": set_in("order.sign", "0x" + "11" * 65),
    "a short signature": set_in("order.sign", "0x1234"),
    "a key of its own": forged,
    "another chain": set_in("chainId", 1),
    "more remaining than volume": set_in("remaining", 101),
    "a price that is none": set_in("order.appprice", "cheap"),
    "a price below zero": set_in("order.appprice", "-5"),
    "a price as a fraction": set_in("order.appprice", 0.5),
    "a price above 256 bits": set_in("order.appprice", str(2**256)),
    "a price that is true": set_in("order.appprice", True),
    "no order at all": set_in("order", None),
    "an order that is text": set_in("order", "0x"),
    "a date that is none": set_in("publicationTimestamp", "soon"),
    "remaining that is none": set_in("remaining", "lots"),
    "a tag that is none": set_in("order.tag", "0x9"),
}


@pytest.mark.parametrize("name", LIES)
def test_a_tampered_order_is_dropped_from_the_book_with_a_warning_that_names_it(
    net: Sandbox, app: str, buyer: Person, name: str
) -> None:
    DOMAIN[:] = [net.user.chain.domain]
    buyer.web.change = lying("app", LIES[name])
    with pytest.warns(UserWarning, match="was dropped") as caught:
        book = buyer.client.orderbook.app(app)
    assert len(book) == 0
    [warning] = caught
    assert re.search(r"apporder (0x[0-9a-f]{64}|\S+).* was dropped: .+", str(warning.message))
    assert "\n" not in str(warning.message).partition("dropped")[0]


@pytest.mark.parametrize("name", LIES)
def test_a_tampered_order_is_never_matched(net: Sandbox, app: str, buyer: Person, name: str) -> None:
    DOMAIN[:] = [net.user.chain.domain]
    buyer.web.change = lying("app", LIES[name])
    before = buyer.client.account.show()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(OrderMismatchError, match="No order available for app"):
            buyer.client.app.run(app, category=0)
    assert buyer.node.sent == 0
    assert buyer.client.account.show() == before


@pytest.mark.parametrize("name", LIES)
def test_a_tampered_order_is_not_shown_by_its_hash(net: Sandbox, app: str, buyer: Person, name: str) -> None:
    DOMAIN[:] = [net.user.chain.domain]
    [hash_] = net.user.orderbook.app(app)["orderHash"]
    buyer.web.change = lying("app", LIES[name])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises((InvalidSignatureError, MarketCallError, ValidationError)) as caught:
            buyer.client.order.show("app", hash_)
    assert str(caught.value)


def test_the_honest_orders_beside_a_tampered_one_stay(net: Sandbox, seller: IExec, buyer: Person) -> None:
    app = deploy_app(net, seller, price="0.3 RLC")
    hashes = [publish(seller, "app", app=app, appprice=price) for price in (9, 8)]

    def lie(order: dict[str, Any]) -> None:
        if order["orderHash"] == hashes[1]:
            order["order"]["appprice"] = "1"

    buyer.web.change = lying("app", lie)
    with pytest.warns(UserWarning, match=hashes[1]):
        book = buyer.client.orderbook.app(app)
    assert set(book["appprice"]) == {9, 300_000_000}
    with pytest.warns(UserWarning, match=hashes[1]):
        plan = buyer.client.app.plan(app, category=0)
    assert plan.cost.app == 9


def test_an_order_for_something_else_than_was_asked_for_is_dropped(net: Sandbox, seller: IExec, app: str) -> None:
    other = deploy_app(net, seller, price=1)
    [genuine] = net.user.market.orders("app", app=other)

    def answer(request: httpx.Request, response: httpx.Response) -> httpx.Response:
        if request.url.path == "/apporders":
            return json_answer(response, {"ok": True, "count": 1, "orders": [genuine]})
        return response

    with person(net, net.client(deposit="5 RLC"), confirm=False) as me:
        me.web.change = answer
        with pytest.warns(UserWarning, match="not asked for"):
            assert len(me.client.orderbook.app(app)) == 0
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with pytest.raises(OrderMismatchError):
                me.client.app.run(app, category=0)
        assert me.node.sent == 0


def test_another_order_than_the_one_asked_for_by_hash_is_refused(net: Sandbox, seller: IExec, app: str) -> None:
    [row] = list(net.user.market.orders("app", app=app))

    def answer(request: httpx.Request, response: httpx.Response) -> httpx.Response:
        if request.url.path.startswith("/apporders/"):
            return httpx.Response(200, json={"ok": True, **row}, request=request)
        return response

    with person(net, net.user) as me:
        me.web.change = answer
        with pytest.raises(IExecError, match="another order"):
            me.client.order.show("app", "0x" + "77" * 32)


def test_a_workerpool_order_with_a_lower_price_does_not_get_matched(net: Sandbox, app: str) -> None:
    net.workerpool("greedy", price="1 RLC", category=0)

    def lie(order: dict[str, Any]) -> None:
        order["order"]["workerpoolprice"] = "0"
        order["order"]["category"] = "0"
        order["order"]["trust"] = "9"

    with person(net, net.client(deposit="5 RLC"), confirm=False) as me:
        me.web.change = lying("workerpool", lie)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with pytest.raises(OrderMismatchError, match="No workerpoolorder"):
                me.client.app.run(app, category=0)
        assert me.node.sent == 0


def test_a_tampered_request_order_is_dropped(net: Sandbox, seller: IExec, app: str) -> None:
    seller.order.publish(
        seller.order.sign(seller.order.create("request", app=app, appmaxprice="0.6 RLC", category=0, volume=2))
    )
    with person(net, net.user) as me:
        assert len(me.client.orderbook.requester(wallet(seller))) == 1
        me.web.change = lying("request", set_in("order.workerpoolmaxprice", str(9 * RLC)))
        with pytest.warns(UserWarning, match="requestorder 0x.* was dropped"):
            assert len(me.client.orderbook.requester(wallet(seller))) == 0


def test_a_hostile_name_in_a_warning_is_one_short_printable_line(net: Sandbox, app: str, buyer: Person) -> None:
    buyer.web.change = lying("app", set_in("orderHash", "\x1b[31m\n" + "A" * 5000))
    with pytest.warns(UserWarning, match="was dropped") as caught:
        buyer.client.orderbook.app(app)
    text = str(caught[0].message)
    assert "\x1b" not in text
    assert len(text) < 600


@pytest.mark.parametrize(
    "body",
    [
        b"", b"null", b"[]", b"{}", b'{"ok":true}', b'{"ok":true,"orders":{}}', b'{"ok":true,"orders":[null]}',
        b'{"ok":true,"orders":[5]}', b'{"ok":true,"orders":[{}]}', b"<html>", b'{"ok":true,"orders":' + b"[" * 9999,
        b'{"ok":true,"orders":[{"orderHash":{}}]}', b"\xff\xfe",
    ],
)  # fmt: skip
def test_an_answer_that_is_no_book_is_a_market_error(net: Sandbox, app: str, buyer: Person, body: bytes) -> None:
    buyer.web.change = lambda request, response: httpx.Response(
        200, content=body, headers={"content-type": "application/json"}, request=request
    )
    with pytest.raises(MarketCallError) as caught:
        buyer.client.orderbook.app(app)
    assert "market.sandbox.test" in str(caught.value)


def test_a_market_that_asks_for_another_signature_than_a_login_gets_none(net: Sandbox, seller: IExec, app: str) -> None:
    signed = seller.order.sign(seller.order.create("app", app=app))

    def challenge(request: httpx.Request, response: httpx.Response) -> httpx.Response:
        if "challenge" not in request.url.path:
            return response
        body = json.loads(response.content)
        body["data"]["message"]["challenge"] = "I give all my money to the market"
        return json_answer(response, body)

    with person(net, seller) as me:
        me.web.change = challenge
        with pytest.raises(MarketCallError, match="challenge"):
            me.client.order.publish(signed)
        assert me.web.to("market", "/apporders", "POST") == []


def test_a_presigned_order_is_in_the_book_and_is_matched(net: Sandbox) -> None:
    """The owner registers the order on the chain instead of signing it; its signature in the book is anything."""
    f = Four(net)
    unsigned = replace(f.apporder, volume=4).signed("0x" + "5a" * 32, "0x")
    order_type = "(address,uint256,uint256,bytes32,address,address,address,bytes32,bytes)"
    presign = abi.Function(f"manageAppOrder(({order_type},uint8,bytes))", "()")
    chain = f.seller.chain
    assert f.seller.signer is not None
    chain.send(f.seller.signer, chain.hub_address, presign.encode((unsigned.to_abi(), 0, b"")))
    hash_ = order_hash(unsigned, chain.domain)
    row = {
        "orderHash": hash_, "order": unsigned.to_json(), "chainId": net.chain_id, "remaining": 4, "status": "open",
        "publicationTimestamp": "2026-01-31T12:00:00.000Z", "signer": wallet(f.seller),
    }  # fmt: skip

    def answer(request: httpx.Request, response: httpx.Response) -> httpx.Response:
        if request.url.path == "/apporders":
            return json_answer(response, {"ok": True, "count": 1, "orders": [row]})
        return response

    with person(net, f.requester, confirm=False) as me:
        me.web.change = answer
        book = me.client.orderbook.app(f.app)
        assert list(book["orderHash"]) == [hash_]
        matched = me.client.order.match(**{**f.orders(), "apporder": unsigned})
        assert me.client.deal.show(matched.dealid).app.price == 3


def test_an_order_signed_by_a_contract_wallet_is_in_the_book(net: Sandbox) -> None:
    """An ERC-1271 wallet owns the app; the contract says that its signature is good, so we do too."""
    owner = net.client()
    contract = "0x" + "c0" * 20
    # Returns isValidSignature's magic value 0x1626ba7e for every question.
    code = "0x7f1626ba7e00000000000000000000000000000000000000000000000000000000" + "60005260206000f3"
    net.user.chain.rpc.call("anvil_setCode", contract, code)
    app = owner.app.deploy(name="of a contract", multiaddr="docker.io/c:1", owner=contract).address
    from iexec_nb.protocol.orders import AppOrder

    order = AppOrder(app=app, appprice=2).signed("0x" + "5b" * 32, "0x" + "77" * 65)
    row = {
        "orderHash": order_hash(order, net.user.chain.domain), "order": order.to_json(), "chainId": net.chain_id,
        "remaining": 1, "status": "open", "publicationTimestamp": "2026-01-31T12:00:00.000Z", "signer": contract,
    }  # fmt: skip

    def answer(request: httpx.Request, response: httpx.Response) -> httpx.Response:
        if request.url.path == "/apporders":
            return json_answer(response, {"ok": True, "count": 1, "orders": [row]})
        return response

    with person(net, net.user, confirm=False) as me:
        me.web.change = answer
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert list(me.client.orderbook.app(app)["appprice"]) == [2]
        row["order"] = {**order.to_json(), "appprice": "1"}
        with pytest.warns(UserWarning, match="was dropped"):
            assert len(me.client.orderbook.app(app)) == 0


def test_a_dataset_order_of_a_stranger_with_his_own_key_is_dropped(net: Sandbox, seller: IExec) -> None:
    """The signature is genuine and the hash too, but the signer owns nothing."""
    dataset = deploy_dataset(net, seller)
    thief = net.client()
    from iexec_nb.protocol.orders import DatasetOrder

    order = thief.order._signed(DatasetOrder(dataset=dataset, datasetprice=0))
    row = {
        "orderHash": order_hash(order, net.user.chain.domain), "order": order.to_json(), "chainId": net.chain_id,
        "remaining": 1, "status": "open", "publicationTimestamp": "2026-01-31T12:00:00.000Z", "signer": wallet(thief),
    }  # fmt: skip

    def answer(request: httpx.Request, response: httpx.Response) -> httpx.Response:
        if request.url.path == "/datasetorders":
            return json_answer(response, {"ok": True, "count": 1, "orders": [row]})
        return response

    with person(net, net.user, confirm=False) as me:
        me.web.change = answer
        with pytest.warns(UserWarning, match="dropped"):
            assert len(me.client.orderbook.dataset(dataset)) == 0

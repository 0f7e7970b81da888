"""Which orders of the market serve: the cheapest that has enough left, as the chain says and not as the market says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import httpx
import pytest
from stage import deploy_app, person, publish, wallet

from iexec_nb.actions.plan import Offers
from iexec_nb.actions.search import Wanted, cheapest, serving
from iexec_nb.actions.shelf import Shelf
from iexec_nb.client import IExec
from iexec_nb.errors import OrderMismatchError
from iexec_nb.protocol.orders import AppOrder, WorkerpoolOrder
from iexec_nb.sandbox.network import Sandbox


@pytest.fixture
def shop(net: Sandbox) -> str:
    """An app that is sold at 9 (10 tasks), 7 (2 tasks) and 5 (3 tasks)."""
    seller = net.client()
    app = deploy_app(net, seller, price=9, volume=10)
    publish(seller, "app", app=app, appprice=7, volume=2)
    publish(seller, "app", app=app, appprice=5, volume=3)
    return app


def wanted(client: IExec, app: str, **more: Any) -> Wanted:
    fields: dict[str, Any] = {"dataset": None, "workerpool": None, "tag": AppOrder(app=app).tag, **more}
    return Wanted(requester=wallet(client), app=app, **fields)


def found(client: IExec, app: str, **more: Any) -> list[tuple[int, int]]:
    filters = {"app": app, "requester": wallet(client)}
    return [
        (one.published.order.price, one.left) for one in serving(client, "app", wanted(client, app, **more), filters)
    ]


def test_orders_come_cheapest_first_with_what_is_left_of_them(net: Sandbox, shop: str, buyer: IExec) -> None:
    assert found(buyer, shop) == [(5, 3), (7, 2), (9, 10)]
    buyer.app.run(shop, category=0).wait()
    assert found(buyer, shop) == [(5, 2), (7, 2), (9, 10)]
    assert found(buyer, shop, max_price=7) == [(5, 2), (7, 2)]
    assert found(buyer, shop, tasks=3) == [(9, 10)]
    assert found(buyer, shop, tasks=11) == []


def test_where_none_sells_enough_each_says_how_many_it_has(shop: str, buyer: IExec) -> None:
    with pytest.raises(OrderMismatchError) as caught:
        cheapest(buyer, "app", wanted(buyer, shop, tasks=11), {"app": shop})
    messages = " ".join(reason.message for reason in caught.value.reasons)
    assert "10 tasks are left of it, 11 are wanted" in messages
    assert "volume" in (caught.value.hint or "")


def test_a_long_book_is_asked_about_in_few_requests(
    net: Sandbox, buyer: IExec, monkeypatch: pytest.MonkeyPatch
) -> None:
    seller = net.client()
    app = deploy_app(net, seller)
    for price in range(30):
        publish(seller, "app", app=app, appprice=price, volume=1)
    with person(net, buyer) as me:
        asked: list[int] = []
        original = me.client.chain.consumed

        def counted(hashes: Sequence[str]) -> dict[str, int]:
            asked.append(len(hashes))
            return original(hashes)

        monkeypatch.setattr(me.client.chain, "consumed", counted)
        book = serving(me.client, "app", wanted(me.client, app), {"app": app})
        assert next(book).published.order.price == 0
        assert asked == [1]
        assert [one.published.order.price for one in book] == list(range(1, 30))
        assert asked == [1, 4, 16, 9]
        assert len(me.web.to("market", "/apporders")) == 1


def test_what_the_owner_of_a_pool_can_stake_is_told_and_limits_a_deal(net: Sandbox, buyer: IExec) -> None:
    owner = net.client(deposit="3 RLC")
    pool = owner.workerpool.deploy(description="staking pool").address
    publish(owner, "workerpool", workerpool=pool, workerpoolprice="1 RLC", category=0, volume=10, trust=1)
    app = deploy_app(net, owner, price=0)
    filters: dict[str, Any] = {"workerpool": pool, "category": 0}
    listed = list(net.user.market.orders("workerpool", **filters))

    def late(request: httpx.Request, response: httpx.Response) -> httpx.Response:
        """The market takes an order off its list a moment after its owner's stake is too low."""
        if request.url.path != "/workerpoolorders":
            return response
        return httpx.Response(200, json={"ok": True, "count": 1, "orders": listed}, request=request)

    with person(net, buyer) as me:
        me.web.change = late

        def told(tasks: int) -> list[tuple[int, int]]:
            need = wanted(me.client, app, tasks=tasks, workerpool=pool, category=0)
            return [(one.left, one.at_once) for one in serving(me.client, "workerpool", need, filters)]

        assert told(1) == told(10) == [(10, 10)]
        owner.account.withdraw("2.2 RLC")
        assert told(1) == told(2) == [(10, 2)]
        assert told(3) == []
        with pytest.raises(OrderMismatchError) as caught:
            cheapest(me.client, "workerpool", wanted(me.client, app, tasks=3, workerpool=pool, category=0), filters)
        assert "covers 2 tasks and not 3" in caught.value.reasons[0].message
        owner.account.withdraw("0.6 RLC")
        with pytest.raises(OrderMismatchError) as caught:
            cheapest(me.client, "workerpool", wanted(me.client, app, workerpool=pool, category=0), filters)
        assert "stake does not cover the 0.3 RLC that a task needs" in caught.value.reasons[0].message


def test_a_shelf_counts_what_was_taken_and_goes_on_with_the_next_order(shop: str, buyer: IExec) -> None:
    shelf = Shelf(buyer)
    need, filters = wanted(buyer, shop), {"app": shop}
    prices = []
    for _ in range(6):
        published = shelf.find(buyer, "app", need, filters)
        assert isinstance(published.order, AppOrder)
        prices.append(published.order.appprice)
        shelf.take(Offers(published.order, None, WorkerpoolOrder(workerpool=shop, category=0)), 1)
    assert prices == [5, 5, 5, 7, 7, 9]
    with pytest.raises(OrderMismatchError, match="too few tasks left: 0 besides"):
        shelf.find(buyer, "app", wanted(buyer, shop, max_price=7), filters)
    with pytest.raises(OrderMismatchError, match="too few tasks left: 9 besides"):
        shelf.find(buyer, "app", wanted(buyer, shop, tasks=10), filters)


def test_a_shelf_reads_the_market_once(net: Sandbox, shop: str, buyer: IExec) -> None:
    with person(net, buyer) as me:
        shelf = Shelf(me.client)
        for _ in range(5):
            shelf.find(me.client, "app", wanted(me.client, shop), {"app": shop})
        assert len(me.web.to("market", "/apporders")) == 1
        shelf.forget()
        shelf.find(me.client, "app", wanted(me.client, shop), {"app": shop})
        assert len(me.web.to("market", "/apporders")) == 2

"""What one side does to an order, the other sees: cancelled, taken off the market, matched, estimated, bundled."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from people import Person, World
from sdk import SdkError

from iexec_nb.errors import MarketCallError, OrderConsumedError, OrderMismatchError
from iexec_nb.protocol.orders import (
    DATASET_INFINITE_VOLUME,
    ORDERS,
    AppOrder,
    DatasetOrder,
    Order,
    RequestOrder,
    WorkerpoolOrder,
)

KINDS = ("app", "dataset", "workerpool", "request")
NOBODY = "0x" + "12" * 20


class Market:
    """One person who owns an app, a dataset and a workerpool, has money, and sells to themselves."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.person: Person = world.person(deposit="20 RLC")
        python = self.person.python
        self.app = python.app.deploy(name="life", multiaddr="docker.io/life:1").address
        made = python.dataset.deploy(name="life", multiaddr="https://life.example/d", checksum="0x" + "22" * 32)
        self.dataset = made.address
        python.dataset.push_secret(self.dataset, key=_key())
        self.workerpool = python.workerpool.deploy(description="life").address
        params = json.dumps({"iexec_result_storage_provider": "ipfs"})
        self.templates: dict[str, Order] = {
            "app": AppOrder(app=self.app, appprice=3, volume=9),
            "dataset": DatasetOrder(dataset=self.dataset, datasetprice=4, volume=9),
            "workerpool": WorkerpoolOrder(workerpool=self.workerpool, workerpoolprice=5, volume=9, category=0),
            "request": RequestOrder(
                app=self.app, appmaxprice=3, dataset=self.dataset, datasetmaxprice=4, workerpoolmaxprice=5,
                requester=self.person.address, category=0, volume=2, params=params,
            ),
        }  # fmt: skip

    def ours(self, kind: str, **changes: Any) -> Order:
        """Return an order that Python signed."""
        return self.person.python.order.sign(replace(self.templates[kind], **changes))

    def theirs(self, kind: str, **changes: Any) -> dict[str, Any]:
        """Return an order that the SDK signed."""
        plain = replace(self.templates[kind], **changes).to_json()
        signed: dict[str, Any] = self.person.js("order", f"sign{kind.capitalize()}order", plain)
        return signed

    def four(self, **signed: Any) -> dict[str, Any]:
        """Return four signed orders by their names in a match; those that are not given are signed by Python."""
        return {f"{kind}order": signed.get(kind, self.ours(kind)) for kind in KINDS}


def _key() -> Any:
    from iexec_nb import Secret

    return Secret("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=")


@pytest.fixture(scope="module")
def market(world: World) -> Market:
    return Market(world)


def as_json(orders: dict[str, Any]) -> dict[str, Any]:
    return {name: one if isinstance(one, dict) else one.to_json() for name, one in orders.items()}


def as_text(orders: dict[str, Any]) -> dict[str, Any]:
    return {name: json.dumps(one) if isinstance(one, dict) else one for name, one in orders.items()}


@pytest.mark.parametrize("kind", KINDS)
def test_an_order_that_the_sdk_cancels_is_ended_for_python_too(market: Market, kind: str) -> None:
    order = market.ours(kind)
    market.person.js("order", f"cancel{kind.capitalize()}order", order.to_json())
    with pytest.raises(OrderConsumedError, match=f"{kind}order already canceled"):
        market.person.python.order.cancel(order)
    with pytest.raises(OrderConsumedError, match=f"{kind}order is fully consumed"):
        market.person.python.order.estimate(**market.four(**{kind: order}))


@pytest.mark.parametrize("kind", KINDS)
def test_an_order_that_python_cancels_is_ended_for_the_sdk_too(market: Market, kind: str) -> None:
    order = market.theirs(kind)
    done = market.person.python.order.cancel(json.dumps(order))
    assert done.orderHash == market.person.js("order", f"hash{kind.capitalize()}order", order)
    with pytest.raises(SdkError, match=f"{kind}order already canceled"):
        market.person.js("order", f"cancel{kind.capitalize()}order", order)
    with pytest.raises(SdkError, match=f"{kind}order is fully consumed"):
        market.person.js("order", "matchOrders", as_json(market.four(**{kind: order})))


@pytest.mark.parametrize("kind", ["app", "dataset", "workerpool"])
def test_each_side_takes_the_orders_of_the_other_off_the_market(market: Market, kind: str) -> None:
    python, js, name = market.person.python, market.person.js, kind.capitalize()
    hashes = [python.order.publish(market.ours(kind)) for _ in range(3)]
    assert js("order", f"unpublish{name}order", hashes[0]) == hashes[0]
    assert js("order", f"unpublishLast{name}order", market.templates[kind].resource) == hashes[2]
    assert js("order", f"unpublishAll{name}orders", market.templates[kind].resource) == [hashes[1]]
    hashes = [js("order", f"publish{name}order", market.theirs(kind)) for _ in range(3)]
    one: dict[str, Any] = {kind: hashes[0]}
    subject: dict[str, Any] = {kind: market.templates[kind].resource}
    assert python.order.unpublish(**one) == {f"{kind}order": hashes[0]}
    assert python.order.unpublish(**subject, last=True) == {f"{kind}order": hashes[2]}
    assert python.order.unpublish(**subject, all=True) == {f"{kind}order": (hashes[1],)}
    for gone in hashes:
        with pytest.raises(MarketCallError, match=f"{kind}order not found"):
            python.order.show(kind, gone)
        with pytest.raises(SdkError, match=f"{kind}order not found"):
            js("orderbook", f"fetch{name}order", gone)


def test_both_sides_show_an_order_and_its_deals_alike(market: Market) -> None:
    python, js = market.person.python, market.person.js
    orders = market.four()
    names = {kind: python.order.publish(orders[f"{kind}order"]) for kind in ("app", "dataset", "workerpool")}
    dealid = python.order.match(**orders).dealid
    for kind, name in names.items():
        shown: Any = python.order.show(kind, name, deals=True)
        theirs = js("orderbook", f"fetch{kind.capitalize()}order", name)
        assert shown.published.order == ORDERS[kind].from_json(theirs["order"])
        assert shown.published.remaining == theirs["remaining"] == 7
        deals = js("deal", f"fetchDealsBy{kind.capitalize()}order", name)
        assert shown.dealsCount == deals["count"] == 1
        assert [deal["dealid"] for deal in shown.lastDeals] == [dealid]
        assert list(shown.lastDeals) == deals["deals"]


def test_both_sides_estimate_the_same_volume_and_cost_and_match_each_others_orders(market: Market) -> None:
    python, js = market.person.python, market.person.js
    for signer in ("ours", "theirs"):
        orders = {f"{kind}order": getattr(market, signer)(kind) for kind in KINDS}
        cost = python.order.estimate(**as_text(orders))
        estimated = js("order", "estimateMatchOrders", as_json(orders))
        assert {"volume": str(cost.volume), "total": str(cost.total)} == estimated == {"volume": "2", "total": "24"}
    ours = {f"{kind}order": market.ours(kind) for kind in KINDS}
    deal = js("order", "matchOrders", as_json(ours))
    assert python.deal.show(deal["dealid"]).total_cost == 24
    theirs = {f"{kind}order": market.theirs(kind) for kind in KINDS}
    matched = python.order.match(**as_text(theirs))
    assert js("deal", "show", matched.dealid)["botSize"] == "2"


def test_every_reason_is_named_here_where_the_sdk_names_the_first_or_leaves_it_to_the_contract(market: Market) -> None:
    python, js = market.person.python, market.person.js
    several = market.four(app=market.ours("app", appprice=9), workerpool=market.ours("workerpool", category=1))
    with pytest.raises(SdkError, match="category mismatch") as first:
        js("order", "matchOrders", as_json(several))
    assert "appmaxprice" not in str(first.value)
    with pytest.raises(OrderMismatchError) as all_of_them:
        python.order.match(**several)
    assert {reason.code for reason in all_of_them.value.reasons} == {"0x00", "0x03"}
    restricted = market.four(app=market.ours("app", requesterrestrict=NOBODY))
    with pytest.raises(SdkError) as left_to_the_contract:
        js("order", "matchOrders", as_json(restricted))
    assert "restrict" not in str(left_to_the_contract.value)
    with pytest.raises(OrderMismatchError, match=f"restricted to requester {NOBODY}"):
        python.order.match(**restricted)


def test_an_order_that_python_presigned_is_matched_here_and_not_known_to_the_sdk(market: Market) -> None:
    done = market.person.python.order.presign(market.templates["app"])
    orders = market.four(app=done.order)
    assert market.person.js("order", "hashApporder", done.order.to_json()) == done.orderHash
    # Known of SDK 9.0.1: it asks verifySignature, which does not look at presignatures.
    with pytest.raises(SdkError):
        market.person.js("order", "matchOrders", as_json(orders))
    assert market.person.python.order.match(**orders).volume == 2


def test_both_sides_make_the_same_bulk_of_the_same_orders(market: Market) -> None:
    python, js = market.person.python, market.person.js
    orders = [market.ours("dataset", datasetprice=0, volume=DATASET_INFINITE_VOLUME) for _ in range(3)]
    bodies = [order.to_json() for order in orders]
    for most in (1, 2, 100):
        made = python.order.prepare_dataset_bulk(orders, max_dataset_per_task=most)
        theirs = js("order", "prepareDatasetBulk", bodies, {"maxDatasetPerTask": most})
        assert {"cid": made.cid, "volume": made.volume} == theirs
    request = js(
        "order", "createRequestorder",
        {"app": market.app, "category": 0, "volume": 1, "params": {"bulk_cid": made.cid}, "workerpoolmaxprice": 5,
         "appmaxprice": 3},
    )  # fmt: skip
    signed = python.order.sign(json.dumps({**request, "params": json.dumps(request["params"])}))
    four: dict[str, Any] = {**market.four(request=signed), "datasetorder": None}
    assert python.order.match(**four).volume == 1


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"datasetprice": 1, "volume": DATASET_INFINITE_VOLUME}, "is not valid for bulk datasetorder expected 0"),
        ({"datasetprice": 0, "volume": 5}, "is not valid for bulk datasetorder expected DATASET_INFINITE_VOLUME"),
    ],
)
def test_both_sides_refuse_an_order_that_is_not_for_bulks(market: Market, change: dict[str, Any], words: str) -> None:
    order = market.ours("dataset", **change)
    with pytest.raises(SdkError, match=words):
        market.person.js("order", "prepareDatasetBulk", [order.to_json()])
    with pytest.raises(ValueError, match=words):
        market.person.python.order.prepare_dataset_bulk([order])

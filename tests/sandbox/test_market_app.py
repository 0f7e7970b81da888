"""The sandbox's market on the real contracts: what it lists, refuses, forgets, and in which words."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from flask.testing import FlaskClient
from sandbox_stack import CHAIN_ID, RLC, Stack, Wallet, running_stack, wallet

from iexec_nb.protocol import typed_data
from iexec_nb.protocol.orders import AppOrder, DatasetOrder, Order, PublishedOrder, RequestOrder, WorkerpoolOrder
from iexec_nb.protocol.types import NULL_ADDRESS
from iexec_nb.sandbox.market import Market, market_app
from iexec_nb.sandbox.market_store import MarketStore
from iexec_nb.services import abi

SELLER, POOL_OWNER, BUYER, STRANGER = (wallet(name) for name in ("seller", "pool owner", "buyer", "stranger"))
TEE, GPU = f"0x{9:064x}", f"0x{256:064x}"
NO_TAG = f"0x{0:064x}"


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with running_stack() as running:
        running.fund(SELLER, POOL_OWNER, BUYER, STRANGER)
        yield running


class Shop:
    """A market, its client, and one app and pool to trade."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.market = Market(stack.chain, max_open_orders=5)
        self.client: FlaskClient = market_app(stack.chain, market=self.market).test_client()
        self.app = stack.app(SELLER)
        self.dataset = stack.dataset(SELLER)
        self.pool = stack.workerpool(POOL_OWNER)

    def get(self, path: str, **query: object) -> Any:
        answer = self.client.get(path, query_string={"chainId": CHAIN_ID, **query})
        return answer.json | {"status_code": answer.status_code}

    def login(self, signer: Wallet) -> dict[str, str]:
        data = self.get("/challenge", address=signer.address)["data"]
        domain = typed_data.Domain(chainId=CHAIN_ID, name="iExec Gateway", version="1")
        digest = typed_data.challenge_digest(data["message"]["challenge"], domain)
        sign = typed_data.sign_digest(digest, signer.key)
        return {"Authorization": f"0x{digest.hex()}_{sign}_{signer.address}"}

    def post(self, order: Order, signer: Wallet, body: Any = None) -> Any:
        return self.client.post(
            f"/{order.kind}orders?chainId={CHAIN_ID}",
            json={"order": order.to_json()} if body is None else body,
            headers=self.login(signer),
        )

    def publish(self, order: Any, signer: Wallet) -> Any:
        """Sign and publish an order; return it."""
        signed = self.stack.sign(order, signer)
        answer = self.post(signed, signer)
        assert answer.status_code == 200, answer.text
        assert answer.json["published"]["orderHash"] == self.stack.order_hash(signed)
        return signed

    def refusal(self, order: Order, signer: Wallet) -> str:
        answer = self.post(order, signer)
        assert answer.status_code == 403, answer.text
        return str(answer.json["error"])

    def unpublish(self, kind: str, signer: Wallet, **body: object) -> Any:
        return self.client.put(f"/{kind}orders?chainId={CHAIN_ID}", json=body, headers=self.login(signer))

    def status(self, order: Order) -> tuple[str, int]:
        found = self.get(f"/{order.kind}orders/{self.stack.order_hash(order)}")
        return found["status"], found["remaining"]

    def hashes(self, kind: str, **query: object) -> list[str]:
        found = self.get(f"/{kind}orders", **query)
        assert found["status_code"] == 200, found
        assert found["count"] == len(found["orders"])
        return [row["orderHash"] for row in found["orders"]]


@pytest.fixture
def shop(stack: Stack) -> Shop:
    return Shop(stack)


def test_a_published_order_is_listed_as_the_sdk_expects_it(shop: Shop) -> None:
    order = shop.publish(AppOrder(app=shop.app, appprice=5, volume=10), SELLER)
    (row,) = shop.get("/apporders", app=shop.app.lower())["orders"]
    assert row["order"]["appprice"] == 5
    assert row["order"]["volume"] == 10
    assert (row["remaining"], row["status"], row["chainId"], row["signer"]) == (10, "open", CHAIN_ID, SELLER.address)
    assert PublishedOrder.from_json("app", row).order == order
    single = shop.get(f"/apporders/{row['orderHash']}")
    assert {key: single[key] for key in row} == row


def test_all_four_kinds_are_published_and_read_back_with_the_same_hash(shop: Shop) -> None:
    shop.publish(AppOrder(app=shop.app), SELLER)
    shop.publish(DatasetOrder(dataset=shop.dataset, volume=2**53 - 1), SELLER)
    shop.publish(WorkerpoolOrder(workerpool=shop.pool, category=0), POOL_OWNER)
    request = RequestOrder(
        app=shop.app, dataset=shop.dataset, requester=BUYER.address, category=0, params={"iexec_args": 'é\u2028"x'}
    )  # type: ignore[arg-type]
    shop.publish(request, BUYER)
    for kind in ("app", "dataset", "workerpool", "request"):
        (row,) = shop.get(f"/{kind}orders", **({kind: "any"} if kind != "request" else {}))["orders"]
        assert shop.stack.order_hash(PublishedOrder.from_json(kind, row).order) == row["orderHash"]
    assert shop.get("/datasetorders", dataset="any")["orders"][0]["bulk"] is True
    metrics = shop.get("/metrics")
    assert [metrics[f"{kind}orders"] for kind in ("app", "dataset", "workerpool", "request")] == [1, 1, 1, 1]


def test_the_challenge_is_spent_by_one_success_and_kept_by_a_failure(shop: Shop) -> None:
    first, second = (shop.stack.sign(AppOrder(app=shop.app), SELLER) for _ in range(2))
    url, login = f"/apporders?chainId={CHAIN_ID}", shop.login(SELLER)
    assert shop.client.post(url, json={"order": first.to_json()}, headers=login).status_code == 200
    again = shop.client.post(url, json={"order": second.to_json()}, headers=login)
    assert (again.status_code, again.json) == (403, {"ok": False, "error": "invalid authorization"})
    text = shop.get("/challenge", address=SELLER.address)["data"]["message"]["challenge"]
    assert text.startswith("Sign this message to log into iExec Gateway: ")
    assert shop.get("/challenge", address=SELLER.address)["data"]["message"]["challenge"] == text


@pytest.mark.parametrize("spoil", [lambda h: h[:-1], lambda h: "", lambda h: h.replace(SELLER.address, BUYER.address)])
def test_a_spoiled_authorization_is_refused(shop: Shop, spoil: Any) -> None:
    order = shop.stack.sign(AppOrder(app=shop.app), SELLER)
    login = {"Authorization": spoil(shop.login(SELLER)["Authorization"])}
    answer = shop.client.post(f"/apporders?chainId={CHAIN_ID}", json={"order": order.to_json()}, headers=login)
    assert (answer.status_code, answer.json["error"]) == (403, "invalid authorization")


def test_publishing_is_refused_in_the_words_of_the_real_market(shop: Shop) -> None:
    stack = shop.stack
    order = shop.publish(AppOrder(app=shop.app), SELLER)
    assert shop.refusal(order, SELLER) == "order already published"
    nowhere = stack.sign(AppOrder(app="0x" + "12" * 20), SELLER)
    assert shop.refusal(nowhere, SELLER) == "Resource not deployed"
    own = stack.sign(AppOrder(app=shop.app), STRANGER)
    assert shop.refusal(own, STRANGER) == f"only order signer {SELLER.address} can publish an order"
    assert shop.refusal(own, SELLER) == "invalid sign"
    changed = replace(stack.sign(AppOrder(app=shop.app, appprice=5), SELLER), appprice=1)
    assert shop.refusal(changed, SELLER) == "invalid sign"
    for _ in range(4):
        shop.publish(AppOrder(app=shop.app), SELLER)
    full = stack.sign(AppOrder(app=shop.app), SELLER)
    limit = f"maximum of 5 published open apporder has been reached for wallet {SELLER.address}"
    assert shop.refusal(full, SELLER) == limit


def test_stakes_and_counterparts_are_checked_in_order(shop: Shop) -> None:
    stack = shop.stack
    poor = stack.sign(WorkerpoolOrder(workerpool=shop.pool, category=0, workerpoolprice=4000 * RLC), POOL_OWNER)
    assert shop.refusal(poor, POOL_OWNER) == ("workerpool owner's stake is too low to cover required workerpool lock")

    def ask(**fields: Any) -> str:
        request = RequestOrder(app=shop.app, requester=BUYER.address, category=0, **fields)
        return shop.refusal(stack.sign(request, BUYER), BUYER)

    assert ask(workerpoolmaxprice=2000 * RLC, volume=2) == (
        f"requester stake is too low to cover requestorder payment, minimum stake required is {4000 * RLC} nRLC"
    )
    shop.publish(AppOrder(app=shop.app, appprice=7, tag=NO_TAG, volume=3), SELLER)
    assert ask(tag=TEE) == f"No tee enabled apporder published for app {shop.app}"
    assert ask(tag=NO_TAG) == f"appmaxprice for app {shop.app} is too low, actual best price is 7 nRLC"
    assert ask(tag=NO_TAG, appmaxprice=7, dataset=shop.dataset) == (
        f"No datasetorder published for dataset {shop.dataset}"
    )
    shop.publish(DatasetOrder(dataset=shop.dataset, datasetprice=9), SELLER)
    assert ask(tag=NO_TAG, appmaxprice=7, dataset=shop.dataset) == (
        f"datasetmaxprice for dataset {shop.dataset} is too low, actual best price is 9 nRLC"
    )
    other = stack.app(SELLER)
    assert (
        shop.refusal(stack.sign(RequestOrder(app=other, requester=BUYER.address, category=0, tag=NO_TAG), BUYER), BUYER)
        == f"No apporder published for app {other}"
    )


def test_malformed_orders_are_answered_400_with_the_path_of_the_field(shop: Shop) -> None:
    order = shop.stack.sign(AppOrder(app=shop.app), SELLER)
    good = order.to_json()

    def error(**fields: Any) -> str:
        answer = shop.post(order, SELLER, {"order": {**good, **fields}})
        assert answer.status_code == 400
        return str(answer.json["error"])

    assert error(app="0x12") == "order.app is not a valid ethereum address"
    assert error(volume=0) == "order.volume must be greater than or equal to 1"
    assert error(appprice=str(2**53)) == "order.appprice must be less than or equal to 9007199254740991"
    assert error(appprice="1.5") == "order.appprice must be an integer"
    assert error(salt=None) == "order.salt is a required field"
    assert error(tag="0x1") == "order.tag must be a bytes32 hexstring"
    assert shop.post(order, SELLER, {}).json["error"] == "order.app is a required field"


def test_queries_are_validated_in_the_words_of_the_real_market(shop: Shop) -> None:
    def error(path: str, **query: object) -> str:
        answer = shop.client.get(path, query_string=query)
        assert answer.status_code == 400
        return str(answer.json["error"])

    chain = {"chainId": CHAIN_ID}
    assert error("/apporders") == "chainId is a required field"
    assert error("/apporders", chainId=5) == "chainId 5 is not supported"
    assert error("/apporders", **chain) == "app or appOwner is required"
    assert error("/datasetorders", **chain) == "dataset or datasetOwner is required"
    assert error("/apporders", **chain, appOwner="any") == "appOwner is not a valid ethereum address"
    assert error("/apporders", **chain, app="x") == 'app is neither "any" nor a valid ethereum address'
    assert error("/workerpoolorders", **chain, minTag="0x0") == "minTag must be a bytes32 hexstring"
    assert error("/workerpoolorders", **chain, pageSize=9) == "pageSize must be greater than or equal to 10"
    assert error("/workerpoolorders", **chain, pageSize=1001) == "pageSize must be less than or equal to 1000"
    assert error("/requestorders", **chain, isWorkerpoolStrict="perhaps").startswith("isWorkerpoolStrict must be a")
    assert '`NaN` (cast from the value `"ten"`)' in error("/workerpoolorders", **chain, category="ten")
    for name in ("apporder", "datasetorder", "workerpoolorder", "requestorder"):
        missing = shop.get(f"/{name}s/0x{'12' * 32}")
        assert (missing["status_code"], missing["error"]) == (404, f"{name} not found")
    assert shop.get(f"/deals/0x{'12' * 32}")["error"] == "deal not found"
    assert shop.get("/categories/77")["error"] == "category not found"


def test_books_are_sorted_by_price_then_age(shop: Shop) -> None:
    prices = [5, 3, 5, 1]
    orders = [shop.publish(AppOrder(app=shop.app, appprice=price), SELLER) for price in prices]
    shop.publish(AppOrder(app=shop.app, appprice=9), SELLER)
    expected = [shop.stack.order_hash(orders[i]) for i in (3, 1, 0, 2)]
    assert shop.hashes("app", app=shop.app)[:4] == expected
    requests = [
        shop.publish(
            RequestOrder(app=shop.app, appmaxprice=1, requester=BUYER.address, workerpoolmaxprice=price, category=0),
            BUYER,
        )
        for price in (1, 3, 2)
    ]
    assert shop.hashes("request") == [shop.stack.order_hash(requests[i]) for i in (1, 2, 0)]


def test_restrictions_hide_orders_unless_the_party_is_named(shop: Shop) -> None:
    free = shop.stack.order_hash(shop.publish(AppOrder(app=shop.app), SELLER))
    mine = shop.stack.order_hash(
        shop.publish(AppOrder(app=shop.app, appprice=1, requesterrestrict=BUYER.address), SELLER)
    )
    assert shop.hashes("app", app=shop.app) == [free]
    assert shop.hashes("app", app=shop.app, requester=BUYER.address) == [free, mine]
    assert shop.hashes("app", app=shop.app, requester=STRANGER.address) == [free]
    assert shop.hashes("app", app=shop.app, requester="any") == [free, mine]
    assert shop.hashes("app", app=shop.app, requester=BUYER.address, isRequesterStrict="true") == [mine]
    assert shop.hashes("app", appOwner=SELLER.address, requester="any") == [free, mine]
    assert shop.hashes("app", appOwner=STRANGER.address, requester="any") == []


def test_tags_trust_volume_and_category_filter_workerpool_orders(shop: Shop) -> None:
    def offer(**fields: Any) -> str:
        order = WorkerpoolOrder(workerpool=shop.pool, **fields)
        return shop.stack.order_hash(shop.publish(order, POOL_OWNER))

    plain = offer(category=0, tag=NO_TAG)
    tee = offer(category=0, tag=TEE, workerpoolprice=1, trust=5)
    both = offer(category=1, tag=f"0x{265:064x}", workerpoolprice=2, volume=7)
    assert shop.hashes("workerpool") == [plain, tee, both]
    assert shop.hashes("workerpool", minTag=TEE) == [tee, both]
    assert shop.hashes("workerpool", minTag=GPU) == [both]
    assert shop.hashes("workerpool", maxTag=TEE) == [plain, tee]
    assert shop.hashes("workerpool", minTag=TEE, maxTag=TEE) == [tee]
    assert shop.hashes("workerpool", category=1) == [both]
    assert shop.hashes("workerpool", minTrust=1) == [plain, tee, both]
    assert shop.hashes("workerpool", minTrust=2) == [tee]
    assert shop.hashes("workerpool", minVolume=2) == [both]
    assert shop.hashes("workerpool", workerpoolOwner=POOL_OWNER.address, workerpool=shop.pool) == [plain, tee, both]


def test_pages_follow_each_other_and_a_full_last_page_offers_one_more(stack: Stack) -> None:
    shop = Shop(stack)
    template = stack.sign(WorkerpoolOrder(workerpool=shop.pool, category=0), POOL_OWNER)
    _fill(shop.market.store, template, 40)
    first = shop.get("/workerpoolorders", pageIndex=0, pageSize=20)
    second = shop.get("/workerpoolorders", pageIndex=1, pageSize=20)
    assert (first["count"], first["nextPage"], second["nextPage"]) == (40, 20, 40)
    assert shop.get("/workerpoolorders", pageIndex=2, pageSize=20)["orders"] == []
    assert "nextPage" not in shop.get("/workerpoolorders", pageIndex=1, pageSize=30)
    prices = [row["order"]["workerpoolprice"] for row in first["orders"] + second["orders"]]
    assert prices == sorted(prices)
    assert shop.get("/workerpoolorders", page=35)["orders"] == second["orders"][15:]


def _fill(store: MarketStore, template: WorkerpoolOrder, count: int) -> None:
    for i in range(count):
        store.add(
            replace(template, workerpoolprice=i),
            orderHash=f"0x{i:064x}",
            signer=POOL_OWNER.address,
            remaining=1,
            chainId=CHAIN_ID,
            at="2026-01-01T00:00:00.000Z",
        )


def test_unpublish_by_hash_last_and_all(shop: Shop) -> None:
    orders = [shop.publish(AppOrder(app=shop.app, appprice=price), SELLER) for price in (1, 2, 3, 4)]
    names = [shop.stack.order_hash(order) for order in orders]
    wrong = shop.unpublish("app", STRANGER, orderHash=names[0])
    assert (wrong.status_code, wrong.json["error"]) == (
        403, f"only order signer {SELLER.address} can unpublish an order",
    )  # fmt: skip
    by_hash = shop.unpublish("app", SELLER, target="unpublish_orderHash", orderHash=names[0])
    assert by_hash.json == {"ok": True, "unpublished": [names[0]]}
    last = shop.unpublish("app", SELLER, target="unpublish_last", app=shop.app)
    assert last.json["unpublished"] == [names[3]]
    rest = shop.unpublish("app", SELLER, target="unpublish_all", app=shop.app)
    assert rest.json["unpublished"] == [names[2], names[1]]
    assert shop.unpublish("app", SELLER, target="unpublish_all", app=shop.app).json["error"] == (
        f"no open apporder published by signer {SELLER.address} for app {shop.app}"
    )
    assert shop.unpublish("app", SELLER, orderHash=names[0]).json["error"] == (
        f"apporder with orderHash {names[0]} is not published"
    )
    assert shop.unpublish("app", SELLER, target="unpublish_all").json["error"] == "app is a required field"
    assert shop.get(f"/apporders/{names[0]}")["status_code"] == 404


def test_a_match_on_the_chain_shows_in_the_next_answer(shop: Shop) -> None:
    app = shop.publish(AppOrder(app=shop.app, appprice=2, volume=5), SELLER)
    pool = shop.publish(WorkerpoolOrder(workerpool=shop.pool, category=1, workerpoolprice=10, volume=2), POOL_OWNER)
    request = shop.publish(
        RequestOrder(
            app=shop.app,
            appmaxprice=2,
            workerpoolmaxprice=10,
            requester=BUYER.address,
            category=1,
            volume=2,
            params='{"iexec_args":"x"}',
        ),
        BUYER,
    )
    dealid = shop.stack.match(app, pool, request)
    assert [shop.status(order) for order in (app, pool, request)] == [("open", 3), ("filled", 0), ("filled", 0)]
    assert shop.hashes("workerpool") == []
    (deal,) = shop.get("/deals", requester=BUYER.address, app=shop.app)["deals"]
    assert deal == {key: value for key, value in shop.get(f"/deals/{dealid}").items() if key in deal}
    assert deal["dealid"] == dealid
    assert deal["app"] == {"pointer": shop.app, "owner": SELLER.address, "price": 2}
    assert deal["dataset"] == {"pointer": NULL_ADDRESS, "owner": NULL_ADDRESS, "price": 0}
    assert (deal["volume"], deal["botFirst"], deal["botSize"], deal["trust"], deal["category"]) == (2, 0, 2, 1, 1)
    assert (deal["params"], deal["chainId"]) == ('{"iexec_args":"x"}', CHAIN_ID)
    assert deal["requestHash"] == shop.stack.order_hash(request)
    assert deal["blockTimestamp"].endswith(".000Z")
    assert shop.get("/deals", requestorderHash=deal["requestHash"])["count"] == 1
    assert shop.get("/deals", workerpoolOwner=STRANGER.address)["count"] == 0
    assert [deal["blockTimestamp"], 10, 2] in shop.get("/ohlc", category=1)["ohlc"]


def test_a_cancellation_on_the_chain_closes_the_order_and_what_depended_on_it(shop: Shop) -> None:
    app = shop.publish(AppOrder(app=shop.app), SELLER)
    request = shop.publish(RequestOrder(app=shop.app, requester=BUYER.address, category=0), BUYER)
    data = abi.MANAGE_APP_ORDER.encode((app.to_abi(), 1, b""))
    shop.stack.send(SELLER, shop.stack.chain.hub_address, data)
    assert shop.status(app) == ("canceled", 0)
    assert shop.status(request) == ("dead", 1)
    assert shop.refusal(app, SELLER) == "order already published"


def test_unpublishing_an_app_order_buries_requests_that_need_it(shop: Shop) -> None:
    cheap = shop.publish(AppOrder(app=shop.app), SELLER)
    shop.publish(AppOrder(app=shop.app, appprice=5), SELLER)
    low = shop.publish(RequestOrder(app=shop.app, requester=BUYER.address, category=0), BUYER)
    high = shop.publish(RequestOrder(app=shop.app, appmaxprice=5, requester=BUYER.address, category=0), BUYER)
    shop.unpublish("app", SELLER, orderHash=shop.stack.order_hash(cheap))
    assert (shop.status(low)[0], shop.status(high)[0]) == ("dead", "open")


def test_orders_die_when_the_stake_behind_them_goes(stack: Stack) -> None:
    shop, rich = Shop(stack), wallet(secrets.token_hex(8))
    stack.fund(rich, rlc=100 * RLC)
    pool = stack.workerpool(rich)
    offer = shop.publish(WorkerpoolOrder(workerpool=pool, category=0, workerpoolprice=100 * RLC), rich)
    free = shop.publish(WorkerpoolOrder(workerpool=pool, category=0), rich)
    shop.publish(AppOrder(app=shop.app), SELLER)
    request = shop.publish(
        RequestOrder(app=shop.app, requester=rich.address, category=0, workerpoolmaxprice=60 * RLC), rich
    )
    stack.send(rich, stack.chain.hub_address, abi.WITHDRAW.encode(60 * RLC))
    assert [shop.status(order)[0] for order in (offer, free, request)] == ["open", "open", "dead"]
    stack.send(rich, stack.chain.hub_address, abi.WITHDRAW.encode(20 * RLC))
    assert [shop.status(order)[0] for order in (offer, free, request)] == ["dead", "open", "dead"]
    stack.fund(rich, rlc=100 * RLC)
    assert shop.post(request, rich).status_code == 200
    assert shop.status(request) == ("open", 1)


def test_orders_of_a_former_owner_die_with_the_transfer(shop: Shop) -> None:
    order = shop.publish(AppOrder(app=shop.app), SELLER)
    data = abi.SAFE_TRANSFER_FROM.encode(SELLER.address, STRANGER.address, int(shop.app, 16))
    shop.stack.send(SELLER, shop.stack.chain.appregistry, data)
    assert shop.status(order)[0] == "dead"


def test_categories_are_those_of_the_hub(shop: Shop) -> None:
    listed = shop.get("/categories")
    assert [(row["catid"], row["name"], row["workClockTimeRef"]) for row in listed["categories"][:2]] == [
        (0, "XS", 300), (1, "S", 1200),
    ]  # fmt: skip
    assert shop.get("/categories", minWorkClockTimeRef=3600)["count"] == 3
    assert shop.get("/categories/0")["name"] == "XS"


def test_browsers_of_any_origin_may_publish(shop: Shop) -> None:
    answer = shop.client.options("/apporders", headers={"Access-Control-Request-Headers": "authorization"})
    assert (answer.status_code, answer.headers["Access-Control-Allow-Headers"]) == (204, "authorization")
    assert "PUT" in answer.headers["Access-Control-Allow-Methods"]


def test_an_order_of_a_contract_that_refuses_its_signature_is_an_internal_error(shop: Shop) -> None:
    order = replace(shop.stack.sign(AppOrder(app=shop.app), SELLER), sign="0x1234")
    answer = shop.post(order, SELLER)
    assert (answer.status_code, answer.json["error"]) == (500, "Internal error")


def test_texts_of_a_page_are_valid_json_whatever_the_params_hold(shop: Shop) -> None:
    shop.publish(AppOrder(app=shop.app), SELLER)
    params = json.dumps({"iexec_args": "'\"\\\u0000 % ? ); DROP TABLE orders; --"})
    request = shop.publish(RequestOrder(app=shop.app, requester=BUYER.address, category=0, params=params), BUYER)
    (row,) = shop.get("/requestorders", requester=BUYER.address)["orders"]
    assert row["order"]["params"] == params
    assert row["orderHash"] == shop.stack.order_hash(request)

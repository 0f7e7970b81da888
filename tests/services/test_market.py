"""The market API: the requests of the JavaScript SDK, paging that ends, and logins that sign nothing else."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from iexec_nb.errors import MarketCallError, ValidationError
from iexec_nb.protocol.orders import AppOrder, RequestOrder
from iexec_nb.protocol.typed_data import Domain
from iexec_nb.services.http import Http
from iexec_nb.services.market import Market
from iexec_nb.services.wallet import PrivateKeySigner

CHAIN = 421614
KEY = "0x" + "11" * 32
SIGNER = "0x19E7E376E7C213B7E7e7e46cc70A5dD086DAff2A"
APP = "0x" + "11" * 20
POOL = "0x" + "33" * 20
HASH = "0x" + "ab" * 32
TEXT = "Sign this message to log into iExec Gateway: 0123456789abcdef"
AUTHORIZATION = (
    "0x8306cf85b4ea863f0d4b5d1448916f1c6582ee5d181652bafc9caa5a236b49de_"
    "0xc8ebedc5a118f22f5675f01780f1473c5d61d4ae2eebe902271d8b0eb3838a7e"
    "7c471c59f75ebac1a1a5d20e6ee3ebce5de20269a64dd4f21e6d6518e6b3ab021b_"
    "0x19E7E376E7C213B7E7e7e46cc70A5dD086DAff2A"
)
CHALLENGE: dict[str, Any] = {
    "types": {
        "EIP712Domain": [
            {"name": "name", "type": "string"},
            {"name": "version", "type": "string"},
            {"name": "chainId", "type": "uint256"},
        ],
        "Challenge": [{"name": "challenge", "type": "string"}],
    },
    "domain": {"name": "iExec Gateway", "version": "1", "chainId": "421614"},
    "primaryType": "Challenge",
    "message": {"challenge": TEXT},
}
SIGNED = AppOrder(app=APP, appprice=1000, salt="0x" + "aa" * 32, sign="0x" + "01" * 65)


class Spy(PrivateKeySigner):
    """A wallet that remembers what it was asked to sign."""

    def __init__(self) -> None:
        super().__init__(KEY)
        self.signed: list[str] = []

    def sign_challenge(self, domain: Domain, challenge: str) -> str:
        self.signed.append(challenge)
        return super().sign_challenge(domain, challenge)


class Server:
    """Answers a path by what a function makes of the request; remembers the requests."""

    def __init__(self, **routes: Callable[[httpx.Request], object] | object) -> None:
        self.routes = {"challenge": {"ok": True, "data": CHALLENGE}, **routes}
        self.seen: list[str] = []
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        self.seen.append(f"{request.method} {request.url.raw_path.decode()}")
        answer = self.routes[request.url.path.split("/")[1]]
        body = answer(request) if callable(answer) else answer
        return body if isinstance(body, httpx.Response) else httpx.Response(200, json=body)

    @property
    def market(self) -> Market:
        http = Http(
            "https://api.market.example", service="Market API", error=MarketCallError,
            transport=httpx.MockTransport(self), sleep=lambda seconds: None,
        )  # fmt: skip
        return Market(http, CHAIN)


def entry(number: int) -> dict[str, Any]:
    return {"orderHash": f"0x{number:064x}", "order": {}, "chainId": CHAIN}


def book(size: int, *, key: str = "orders", name: str = "orderHash") -> Callable[[httpx.Request], object]:
    """A server that behaves: a next page is advertised if and only if the page is full."""

    def answer(request: httpx.Request) -> object:
        limit = int(request.url.params["pageSize"])
        skip = limit * int(request.url.params["pageIndex"])
        rows = [{**entry(n), name: f"0x{n:064x}"} for n in range(skip, min(skip + limit, size))]
        body: dict[str, Any] = {"ok": True, key: rows, "count": size}
        return {**body, "nextPage": skip + limit} if len(rows) == limit else body

    return answer


# --- the requests of the SDK ---


@pytest.mark.parametrize(
    ("kind", "filters", "url"),
    [
        (
            "app",
            {"app": APP, "dataset": "any", "isRequesterStrict": True, "maxTag": 9, "minTag": ["tee"], "minVolume": 1},
            f"/apporders?app={APP}&chainId=421614&dataset=any&isDatasetStrict=false&isRequesterStrict=true"
            f"&isWorkerpoolStrict=false&maxTag=0x{9:064x}&minTag=0x{1:064x}&minVolume=1&pageIndex=0&pageSize=50",
        ),
        (
            "dataset",
            {"dataset": APP, "bulkOnly": True},
            f"/datasetorders?bulkOnly=true&chainId=421614&dataset={APP}&isAppStrict=false&isRequesterStrict=false"
            "&isWorkerpoolStrict=false&pageIndex=0&pageSize=50",
        ),
        (
            "workerpool",
            {"category": 0, "minTrust": 0, "minVolume": 0, "workerpool": None},
            "/workerpoolorders?category=0&chainId=421614&isAppStrict=false&isDatasetStrict=false"
            "&isRequesterStrict=false&pageIndex=0&pageSize=50",
        ),
        (
            "request",
            {"category": 4, "maxTrust": 1, "requester": SIGNER.lower()},
            f"/requestorders?category=4&chainId=421614&isWorkerpoolStrict=false&maxTrust=1&pageIndex=0&pageSize=50"
            f"&requester={SIGNER}",
        ),
    ],
)
def test_order_book_requests_are_those_of_the_javascript_sdk(kind: str, filters: dict[str, Any], url: str) -> None:
    server = Server(**{f"{kind}orders": {"ok": True, "orders": [], "count": 0}})
    assert list(server.market.orders(kind, page_size=50, **filters)) == []
    assert server.seen == [f"GET {url}"]


def test_deals_are_asked_for_as_the_javascript_sdk_does() -> None:
    server = Server(deals=book(3, key="deals", name="dealid"))
    deals = list(server.market.deals(page_size=20, requester=SIGNER, app=APP, workerpool=POOL))
    assert [deal["dealid"] for deal in deals] == [f"0x{n:064x}" for n in range(3)]
    assert server.seen == [
        f"GET /deals?app={APP}&chainId=421614&pageIndex=0&pageSize=20&requester={SIGNER}&workerpool={POOL}"
    ]


def test_categories_version_and_metrics() -> None:
    categories = {"ok": True, "categories": [{"catid": 0, "workClockTimeRef": 300}], "count": 1}
    metrics = {"ok": True, "lastBlock": 12, "apporders": 1}
    server = Server(categories=categories, version={"ok": True, "version": "8.1.0"}, metrics=metrics)
    market = server.market
    assert list(market.categories(minWorkClockTimeRef=60)) == [{"catid": 0, "workClockTimeRef": 300}]
    assert market.version() == "8.1.0"
    assert market.metrics() == {"lastBlock": 12, "apporders": 1}
    assert server.seen == [
        "GET /categories?chainId=421614&minWorkClockTimeRef=60&pageIndex=0&pageSize=1000",
        "GET /version",
        "GET /metrics?chainId=421614",
    ]


def test_one_order_is_asked_for_by_its_hash() -> None:
    published = {"ok": True, **entry(7), "status": "open"}
    server = Server(requestorders=published)
    assert server.market.order("request", "0x" + "0" * 63 + "7") == {**entry(7), "status": "open"}
    assert server.seen == [f"GET /requestorders/0x{7:064x}?chainId=421614"]


def test_an_unknown_order_has_the_text_of_the_market_and_status_404() -> None:
    server = Server(apporders=httpx.Response(404, json={"ok": False, "error": "apporder not found"}))
    with pytest.raises(MarketCallError, match="API error: apporder not found") as caught:
        server.market.order("app", HASH)
    assert caught.value.status == 404


def test_another_order_than_the_one_asked_for_is_refused() -> None:
    with pytest.raises(MarketCallError, match="another order"):
        Server(apporders={"ok": True, **entry(8)}).market.order("app", HASH)


# --- arguments ---


@pytest.mark.parametrize(
    ("kind", "filters", "message"),
    [
        ("apps", {}, "apps is not a kind of order"),
        ("app", {}, "app or appOwner is required"),
        ("dataset", {"app": APP}, "dataset or datasetOwner is required"),
        ("app", {"appOwner": "any"}, "any is not a valid ethereum address"),
        ("app", {"app": "0x12"}, "0x12 is not a valid ethereum address"),
        ("workerpool", {"catgory": 0}, "catgory is not a filter here"),
        ("workerpool", {"category": 0.5}, "is not a valid uint256"),
        ("workerpool", {"isAppStrict": 1}, "1 is not a valid isAppStrict"),
        ("workerpool", {"minTag": "foo"}, "Unknown tag foo"),
        ("workerpool", {"page_size": 9}, "9 is not a valid page_size"),
        ("workerpool", {"page_size": 1001}, "1001 is not a valid page_size"),
    ],
)
def test_a_wrong_argument_is_refused_before_any_request(kind: str, filters: dict[str, Any], message: str) -> None:
    server = Server()
    with pytest.raises(ValidationError, match=message):
        server.market.orders(kind, **filters)
    assert server.seen == []


def test_a_misspelt_filter_is_told_the_right_name() -> None:
    with pytest.raises(ValidationError) as caught:
        Server().market.orders("workerpool", catgory=0)
    assert caught.value.hint == "did you mean category?"


# --- paging ---


@pytest.mark.parametrize(("size", "requests"), [(0, 1), (9, 1), (10, 2), (11, 2), (20, 3), (25, 3)])
def test_all_pages_are_read_also_when_the_last_one_is_full(size: int, requests: int) -> None:
    server = Server(workerpoolorders=book(size))
    assert [row["orderHash"] for row in server.market.orders("workerpool", page_size=10)] == [
        f"0x{n:064x}" for n in range(size)
    ]
    assert len(server.seen) == requests


def test_ten_thousand_orders_take_eleven_requests() -> None:
    server = Server(workerpoolorders=book(10_000))
    assert sum(len(page) for page in server.market.pages("workerpool")) == 10_000
    assert len(server.seen) == 11


def test_pages_are_asked_for_only_when_they_are_wanted() -> None:
    server = Server(workerpoolorders=book(100))
    orders = server.market.orders("workerpool", page_size=10)
    assert server.seen == []
    assert next(orders)["orderHash"] == f"0x{0:064x}"
    assert len(server.seen) == 1


def test_an_order_that_slips_to_the_next_page_is_given_once() -> None:
    pages = [[entry(n) for n in range(10)], [entry(n) for n in range(9, 15)]]

    def moving(request: httpx.Request) -> object:
        index = int(request.url.params["pageIndex"])
        return {"ok": True, "orders": pages[index], **({"nextPage": 10} if index == 0 else {})}

    rows = list(Server(workerpoolorders=moving).market.orders("workerpool", page_size=10))
    assert [row["orderHash"] for row in rows] == [f"0x{n:064x}" for n in range(15)]


def test_a_market_that_repeats_a_page_is_stopped() -> None:
    server = Server(workerpoolorders={"ok": True, "orders": [entry(n) for n in range(10)], "nextPage": 10})
    with pytest.raises(MarketCallError, match="repeats its orders"):
        list(server.market.orders("workerpool", page_size=10))
    assert len(server.seen) == 2


def test_a_market_whose_pages_never_end_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("iexec_nb.services.market.MAX_ROWS", 35)
    server = Server(workerpoolorders=book(10**9))
    with pytest.raises(MarketCallError, match="does not stop sending orders") as caught:
        list(server.market.orders("workerpool", page_size=10))
    assert (caught.value.context["rows"], len(server.seen)) == (40, 4)


@pytest.mark.parametrize(
    "body",
    [
        {"ok": False, "orders": []},
        {"orders": []},
        {"ok": True},
        {"ok": True, "orders": {"0": entry(0)}},
        {"ok": True, "orders": ["x"]},
        {"ok": True, "orders": [{"order": {}}]},
        {"ok": True, "orders": [{"orderHash": None}]},
    ],
)
def test_an_answer_that_is_no_order_book_is_an_error(body: object) -> None:
    with pytest.raises(MarketCallError, match="An error occurred while getting orderbook"):
        list(Server(workerpoolorders=body).market.orders("workerpool"))


def test_a_page_is_asked_again_after_a_failure_and_nothing_is_lost() -> None:
    healthy, calls = book(30), []

    def flaky(request: httpx.Request) -> object:
        calls.append(request)
        return httpx.Response(503) if len(calls) % 2 else healthy(request)

    assert len(list(Server(workerpoolorders=flaky).market.orders("workerpool", page_size=10))) == 30


# --- publishing ---


def published(request: httpx.Request) -> object:
    return {"ok": True, "published": {"orderHash": HASH}}


def test_publishing_is_challenge_then_post_as_captured_from_the_javascript_sdk() -> None:
    server = Server(apporders=published)
    assert server.market.publish(SIGNED, Spy()) == HASH
    assert server.seen == [f"GET /challenge?address={SIGNER}&chainId=421614", "POST /apporders?chainId=421614"]
    post = server.requests[1]
    assert post.headers["authorization"] == AUTHORIZATION
    assert post.headers["content-type"] == "application/json"
    assert post.content.decode() == (
        '{"order":{"app":"0x1111111111111111111111111111111111111111","appprice":"1000","volume":"1",'
        f'"tag":"0x{9:064x}","datasetrestrict":"0x{0:040x}","workerpoolrestrict":"0x{0:040x}",'
        f'"requesterrestrict":"0x{0:040x}","salt":"{SIGNED.salt}","sign":"{SIGNED.sign}"}}}}'
    )


def test_params_with_unicode_are_published_byte_for_byte() -> None:
    order = RequestOrder(
        app=APP, requester=SIGNER, category=0, params='{"iexec_args":"hé"}', salt=HASH, sign="0x" + "01" * 65
    )
    server = Server(requestorders=published)
    server.market.publish(order, Spy())
    assert json.loads(server.requests[1].content)["order"]["params"] == '{"iexec_args":"hé"}'
    assert "hé".encode() in server.requests[1].content


def test_each_publication_asks_for_its_own_challenge() -> None:
    server = Server(apporders=published)
    market = server.market
    market.publish(SIGNED, Spy())
    market.publish(SIGNED, Spy())
    assert [line.split("?")[0] for line in server.seen] == ["GET /challenge", "POST /apporders"] * 2


@pytest.mark.parametrize(
    "order", [AppOrder(app=APP), AppOrder(app=APP, volume=2**53, salt=HASH, sign="0x" + "01" * 65)]
)
def test_an_order_that_the_market_cannot_hold_is_refused_before_any_request(order: AppOrder) -> None:
    server = Server()
    with pytest.raises(ValidationError):
        server.market.publish(order, Spy())
    assert server.seen == []


def test_a_refusal_says_why_and_is_not_repeated() -> None:
    server = Server(apporders=httpx.Response(403, json={"ok": False, "error": "order already published"}))
    with pytest.raises(MarketCallError, match="API error: order already published") as caught:
        server.market.publish(SIGNED, Spy())
    assert (caught.value.status, len(server.seen)) == (403, 2)


@pytest.mark.parametrize("body", [{"ok": False}, {"ok": True}, {"ok": True, "published": {"orderHash": "0x12"}}])
def test_an_answer_without_the_hash_is_not_taken_for_success(body: object) -> None:
    with pytest.raises(MarketCallError, match="An error occurred while publishing order"):
        Server(apporders=body).market.publish(SIGNED, Spy())


def test_a_lost_answer_to_a_publication_is_not_sent_again() -> None:
    def lost(request: httpx.Request) -> object:
        raise httpx.ReadTimeout("")

    server = Server(apporders=lost)
    with pytest.raises(MarketCallError, match="look before you repeat it"):
        server.market.publish(SIGNED, Spy())
    assert len(server.seen) == 2


def test_a_challenge_is_asked_for_again_when_the_market_stumbles() -> None:
    answers = iter([httpx.Response(502), httpx.Response(200, json={"ok": True, "data": CHALLENGE})])
    server = Server(challenge=lambda request: next(answers), apporders=published)
    assert server.market.publish(SIGNED, Spy()) == HASH


def test_a_refusal_of_the_challenge_publishes_nothing() -> None:
    server = Server(challenge=httpx.Response(400, json={"error": "chainId 421614 is not supported"}))
    with pytest.raises(MarketCallError, match="chainId 421614 is not supported"):
        server.market.publish(SIGNED, Spy())
    assert [line.split("?")[0] for line in server.seen] == ["GET /challenge"]


# --- unpublishing ---


@pytest.mark.parametrize(
    ("kind", "target", "body"),
    [
        ("app", {"orderHash": HASH.upper().replace("X", "x")}, {"target": "unpublish_orderHash", "orderHash": HASH}),
        ("app", {"last": APP}, {"target": "unpublish_last", "app": APP}),
        ("workerpool", {"all": POOL}, {"target": "unpublish_all", "workerpool": POOL}),
        ("request", {"all": SIGNER}, {"target": "unpublish_all", "requester": SIGNER}),
    ],
)
def test_unpublishing_sends_the_bodies_of_the_javascript_sdk(kind: str, target: dict[str, str], body: object) -> None:
    server = Server(**{f"{kind}orders": {"ok": True, "unpublished": [HASH]}})
    assert server.market.unpublish(kind, Spy(), **target) == [HASH]
    assert server.seen[1] == f"PUT /{kind}orders?chainId=421614"
    assert server.requests[1].content == json.dumps(body, separators=(",", ":")).encode()
    assert server.requests[1].headers["authorization"] == AUTHORIZATION


@pytest.mark.parametrize("target", [{}, {"last": APP, "all": APP}, {"orderHash": HASH, "all": APP}])
def test_unpublishing_wants_exactly_one_target(target: dict[str, str]) -> None:
    server = Server()
    with pytest.raises(ValidationError, match="Missing parameter"):
        server.market.unpublish("app", Spy(), **target)
    assert server.seen == []


@pytest.mark.parametrize("body", [{"ok": False, "unpublished": [HASH]}, {"ok": True}, {"ok": True, "unpublished": [1]}])
def test_an_answer_that_does_not_list_hashes_is_an_error(body: object) -> None:
    with pytest.raises(MarketCallError, match="An error occurred while unpublishing order"):
        Server(apporders=body).market.unpublish("app", Spy(), all=APP)


# --- what a market may not have signed ---


def changed(path: str, value: object) -> dict[str, Any]:
    body = copy.deepcopy(CHALLENGE)
    *parents, last = path.split(".")
    node = body
    for name in parents:
        node = node[name]
    node[last] = value
    return body


@pytest.mark.parametrize(
    "challenge",
    [
        changed("domain.name", "iExecODB"),
        changed("domain.version", "5.0.0"),
        changed("domain.chainId", "1"),
        changed("domain.verifyingContract", APP),
        changed("domain", None),
        changed("primaryType", "AppOrder"),
        changed("message.volume", 1),
        changed("message", {"challenge": 1}),
        changed("message", []),
        changed("message.challenge", "I give my order to somebody else"),
        changed("message.challenge", TEXT + "\nand more"),
        changed("message.challenge", TEXT + "x" * 1000),
        changed("message.challenge", "Sign this message to log into iExec Gateway: "),
        changed("types.AppOrder", [{"name": "app", "type": "address"}]),
        changed("types.Challenge", [{"name": "challenge", "type": "bytes32"}]),
        changed("types.EIP712Domain", [{"name": "name", "type": "string"}]),
        changed("types", {}),
        changed("extra", 1),
        None,
        [],
        "Sign this",
        {},
    ],
)
def test_nothing_but_a_login_to_this_market_on_this_chain_is_signed(challenge: object) -> None:
    server, wallet = Server(challenge={"ok": True, "data": challenge}, apporders=published), Spy()
    with pytest.raises(MarketCallError, match="Failed to get authorization: Error: Unexpected challenge format"):
        server.market.publish(SIGNED, wallet)
    assert wallet.signed == []
    assert len(server.seen) == 1


@pytest.mark.parametrize(
    "answer",
    [
        {"ok": True, "data": changed("domain.chainId", CHAIN)},
        {"ok": True, "data": {**CHALLENGE, "types": {"Challenge": CHALLENGE["types"]["Challenge"]}}},
        {"ok": True, **CHALLENGE},
        CHALLENGE,
    ],
)
def test_the_forms_of_a_login_that_the_javascript_sdk_accepts_are_accepted(answer: object) -> None:
    server, wallet = Server(challenge=answer, apporders=published), Spy()
    server.market.publish(SIGNED, wallet)
    assert wallet.signed == [TEXT]
    assert server.requests[1].headers["authorization"] == AUTHORIZATION


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*CHALLENGE, "data"]), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(JSON)
def test_whatever_json_a_market_sends_as_challenge_is_a_market_error(answer: object) -> None:
    wallet = Spy()
    with pytest.raises(MarketCallError):
        Server(challenge=answer, apporders=published).market.publish(SIGNED, wallet)
    assert wallet.signed == []

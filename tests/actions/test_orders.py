"""Orders from a template to the market: defaults, rules, what is asked before a signature, what the market refuses."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from stage import NOBODY, RLC, Four, NoSigner, deploy_app, deploy_dataset, person, publish, wallet

from iexec_nb.client import IExec
from iexec_nb.errors import (
    ConfigurationError,
    InvalidSignatureError,
    MarketCallError,
    ObjectNotFoundError,
    ValidationError,
)
from iexec_nb.protocol import tags
from iexec_nb.protocol.orders import AppOrder, DatasetOrder, RequestOrder, WorkerpoolOrder
from iexec_nb.protocol.typed_data import order_hash, recover
from iexec_nb.protocol.types import NULL_ADDRESS
from iexec_nb.sandbox.network import Sandbox
from iexec_nb.sandbox.treasury import new_key


@pytest.fixture(scope="module")
def seller(net: Sandbox) -> IExec:
    return net.client(rlc="10 RLC", deposit="100 RLC")


@pytest.fixture(scope="module")
def app(net: Sandbox, seller: IExec) -> str:
    return deploy_app(net, seller)


@pytest.fixture(scope="module")
def dataset(net: Sandbox, seller: IExec) -> str:
    return deploy_dataset(net, seller)


@pytest.fixture(scope="module")
def pool(seller: IExec) -> str:
    return seller.workerpool.deploy(description="mine").address


@pytest.mark.parity(
    "order.createApporder", "order.createDatasetorder", "order.createWorkerpoolorder", "order.createRequestorder"
)
def test_templates_have_the_defaults_of_the_sdk(net: Sandbox) -> None:
    make = net.user.order.create
    assert make("app", app=NOBODY) == AppOrder(app=NOBODY, appprice=0, volume=1, tag=tags.TEE_TDX)
    assert make("dataset", dataset=NOBODY).tag == tags.TEE_TDX
    assert make("workerpool", workerpool=NOBODY, category="3") == WorkerpoolOrder(workerpool=NOBODY, category=3)
    request = make("request", app=NOBODY, category=0)
    assert isinstance(request, RequestOrder)
    assert (request.requester, request.beneficiary) == (wallet(net.user), wallet(net.user))
    assert json.loads(request.params) == {"iexec_result_storage_provider": "ipfs"}
    assert make("app", app=NOBODY, appprice="0.5 RLC").price == RLC // 2


@pytest.mark.parametrize(
    ("kind", "fields", "words"),
    [
        ("ap", {"app": NOBODY}, ("ap is not a kind", "did you mean 'app'?")),
        ("apporder", {"app": NOBODY}, ("apporder", "did you mean 'app'?")),
        ("pool", {}, ("pool", "use one of app, dataset, workerpool, request")),
        (None, {}, ("None",)),
        ("app", {}, ("app is a required field", "app=")),
        ("app", {"app": NOBODY, "app_price": 1}, ("app_price", "did you mean 'appprice'?")),
        ("app", {"app": NOBODY, "colour": 1}, ("colour", "the fields are")),
        ("app", {"app": "0x12"}, ("0x12", "ethereum address")),
        ("app", {"app": NOBODY, "appprice": 0.5}, ("0.5", '"0.5 RLC"')),
        ("app", {"app": NOBODY, "appprice": "-1"}, ("-1",)),
        ("app", {"app": NOBODY, "volume": "many"}, ("many", "volume")),
        ("app", {"app": NOBODY, "volume": 1.5}, ("1.5", "volume")),
        ("app", {"app": NOBODY, "tag": "tea"}, ("tea", "did you mean 'tee'?")),
        ("app", {"app": NOBODY, "tag": ["tee"]}, ("'tee' tag must be used with a tee framework",)),
        ("app", {"app": NOBODY, "tag": ["tdx"]}, ("'tdx' tag must be used with 'tee' tag",)),
        ("app", {"app": NOBODY, "tag": ["tee", "scone"]}, ("Unsupported legacy TEE framework tag",)),
        ("app", {"app": NOBODY, "requesterrestrict": "me"}, ("me", "requesterrestrict")),
        ("workerpool", {"workerpool": NOBODY}, ("category is a required field",)),
        ("workerpool", {"workerpool": NOBODY, "category": -1}, ("-1", "category")),
        ("request", {"category": 0}, ("app is a required field",)),
        ("request", {"app": NOBODY, "category": 0, "params": {"iexec_secrets": {"0": "x"}}}, ("iexec_secrets",)),
        ("request", {"app": NOBODY, "category": 0, "params": {"iexec_input_files": ["ftp://x"]}}, ("ftp://x",)),
        ("request", {"app": NOBODY, "category": 0, "params": {"iexec_result_storage_provider": "s3"}}, ("s3",)),
        ("request", {"app": NOBODY, "category": 0, "callback": "x"}, ("callback",)),
        ("request", {"app": NOBODY, "category": 0, "tag": 5.0}, ("5.0", "tag")),
        ("dataset", {"dataset": NOBODY, "datasetprice": "1 rlc"}, ("1 rlc", "case-sensitive")),
    ],
)
def test_a_wrong_field_is_named_with_its_rule_and_nothing_is_asked(
    net: Sandbox, kind: Any, fields: dict[str, Any], words: tuple[str, ...]
) -> None:
    with person(net, net.user) as me:
        with pytest.raises(ValidationError) as caught:
            me.client.order.create(kind, **fields)
        for word in words:
            assert word in str(caught.value)
        assert caught.value.hint or caught.value.context
        assert not me.node.methods
        assert not me.web.requests


@pytest.mark.parametrize("kind", ["app", "dataset", "workerpool", "request"])
def test_all_four_kinds_are_signed_published_shown_and_listed(
    net: Sandbox, seller: IExec, app: str, dataset: str, pool: str, kind: str
) -> None:
    fields: dict[str, Any] = {
        "app": {"app": app, "appprice": "0.1 RLC"},
        "dataset": {"dataset": dataset, "datasetprice": 7},
        "workerpool": {"workerpool": pool, "workerpoolprice": 8, "category": 1},
        "request": {"app": app, "category": 1, "appmaxprice": "0.2 RLC"},
    }[kind]
    order = seller.order.create(kind, volume=3, **fields)
    signed = seller.order.sign(order)
    assert signed.salt is not None
    assert signed.sign is not None
    digest = bytes.fromhex(order_hash(signed, net.user.chain.domain)[2:])
    assert recover(digest, signed.sign) == wallet(seller)
    hash_ = seller.order.publish(signed)
    assert hash_ == seller.order.hash(signed)
    shown = net.user.order.show(kind, hash_)
    assert shown.order == signed
    assert (shown.remaining, shown.signer, shown.status) == (3, wallet(seller), "open")
    book = {
        "app": lambda: net.user.orderbook.app(app),
        "dataset": lambda: net.user.orderbook.dataset(dataset),
        "workerpool": lambda: net.user.orderbook.workerpool(workerpool=pool),
        "request": lambda: net.user.orderbook.requester(wallet(seller)),
    }[kind]()
    assert hash_ in set(book["orderHash"])
    assert book.attrs["chain_id"] == net.chain_id


def test_signing_twice_gives_two_salts_and_replaces_the_old_one(seller: IExec, app: str) -> None:
    order = seller.order.create("app", app=app)
    one, two = seller.order.sign(order), seller.order.sign(order)
    assert one.salt != two.salt
    again = seller.order.sign(one)
    assert again.salt not in (one.salt, None)


def test_an_order_goes_through_json_and_back(net: Sandbox, seller: IExec, app: str) -> None:
    signed = seller.order.sign(seller.order.create("app", app=app, appprice=5))
    text = json.dumps(signed.to_json())
    assert seller.order.read(text) == signed
    assert seller.order.read({"order": signed.to_json()}) == signed
    assert seller.order.hash(text) == seller.order.hash(signed)


@pytest.mark.parametrize("value", ["", "{}", "[1]", "0x12", "null", 5, b"x", {"appprice": 1}, "{" * 5000, '{"a": NaN}'])
def test_what_is_no_order_is_not_signed(net: Sandbox, value: Any) -> None:
    with person(net, net.user) as me:
        for verb in (me.client.order.sign, me.client.order.publish, me.client.order.hash):
            with pytest.raises(ValidationError):
                verb(value)
        assert not me.touched
        assert not me.asked


def test_no_order_at_all_means_the_templates_of_the_folder_which_has_none(
    net: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with person(net, net.user) as me:
        with pytest.raises(ConfigurationError, match=r'Missing "iexec\.json" file'):
            me.client.order.sign(None)
        for verb in (me.client.order.publish, me.client.order.hash):
            with pytest.raises(ValidationError):
                verb(None)  # type: ignore[arg-type]
        assert not me.touched
        assert not me.asked
    assert not list(tmp_path.iterdir())


def test_only_the_owner_signs_an_offer_and_only_the_requester_a_request(net: Sandbox, app: str) -> None:
    key = new_key()
    with person(net, net.user, signer=NoSigner(key)) as me:
        with pytest.raises(ValidationError, match="must be the resource owner") as caught:
            me.client.order.sign(AppOrder(app=app))
        assert caught.value.context["wallet"] == wallet(me.client)
        with pytest.raises(ValidationError, match="must be the requester"):
            me.client.order.sign(RequestOrder(app=app, category=0, requester=wallet(net.user)))
        assert not me.asked


@pytest.mark.parametrize(
    "order", [AppOrder(app=NOBODY), DatasetOrder(dataset=NOBODY), WorkerpoolOrder(workerpool=NOBODY, category=0)]
)
def test_an_order_for_what_is_not_deployed_is_not_signed(net: Sandbox, order: Any) -> None:
    with person(net, net.user) as me:
        with pytest.raises(ObjectNotFoundError, match=f"No {order.kind} found for id {NOBODY}"):
            me.client.order.sign(order)
        assert not me.asked


def test_a_dataset_without_its_key_is_not_offered_unless_told_so(net: Sandbox, seller: IExec) -> None:
    dataset = deploy_dataset(net, seller, secret=False)
    order = seller.order.create("dataset", dataset=dataset)
    with person(net, seller) as me:
        with pytest.raises(ValidationError, match="Dataset encryption key is not set") as caught:
            me.client.order.sign(order)
        assert "push_secret" in str(caught.value.hint)
        assert not me.asked
        signed = me.client.order.sign(order, skip_preflight_check=True)
        with pytest.raises(ValidationError, match="Dataset encryption key is not set"):
            me.client.order.publish(signed)
        assert not me.touched
        seller.dataset.push_secret(dataset)
        me.client.order.publish(signed)


def test_a_request_that_would_fail_lists_everything_it_lacks(net: Sandbox, app: str) -> None:
    requester = net.client()
    order = requester.order.create(
        "request",
        app=app,
        category=0,
        params={"iexec_result_encryption": True, "iexec_secrets": {"1": "key", "2": "pw"}},
    )
    with person(net, requester) as me:
        with pytest.raises(ValidationError) as caught:
            me.client.order.sign(order)
        for words in ("result encryption key is not set", '"key"', '"pw"'):
            assert words in caught.value.message
        assert not me.asked


def test_the_question_before_a_signature_holds_price_address_restriction_and_chain(
    net: Sandbox, seller: IExec, app: str
) -> None:
    order = seller.order.create("app", app=app, appprice="1.25 RLC", volume=7, requesterrestrict=NOBODY)
    with person(net, seller) as me:
        me.answer = False
        with pytest.raises(ConfigurationError, match="aborted"):
            me.client.order.sign(order)
        [text] = me.asked
        for words in ("1.25 RLC", app, NOBODY, "7 tasks", "tee, tdx", str(net.chain_id)):
            assert words in text
        assert not me.touched


def test_the_question_about_a_request_holds_the_most_it_may_cost(
    net: Sandbox, app: str, dataset: str, pool: str
) -> None:
    requester = net.client(deposit="20 RLC")
    order = requester.order.create(
        "request", app=app, appmaxprice="1 RLC", dataset=dataset, datasetmaxprice="2 RLC", workerpool=pool,
        workerpoolmaxprice="3 RLC", volume=3, category=2, params="--fast", callback=NOBODY,
    )  # fmt: skip
    with person(net, requester) as me:
        me.answer = False
        with pytest.raises(ConfigurationError):
            me.client.order.sign(order)
        [text] = me.asked
        for words in ("18 RLC", "1 RLC", "2 RLC", "3 RLC", app, dataset, pool, NOBODY, "--fast", "category: 2"):
            assert words in text


def test_publishing_asks_before_the_market_gets_a_signature(net: Sandbox, seller: IExec, app: str) -> None:
    signed = seller.order.sign(seller.order.create("app", app=app))
    with person(net, seller) as me:
        hash_ = me.client.order.publish(signed)
        assert hash_ == me.client.order.hash(signed)
        assert len(me.web.to("market", "/apporders", "POST")) == 1


def test_the_same_order_is_not_published_twice(seller: IExec, app: str) -> None:
    signed = seller.order.sign(seller.order.create("app", app=app))
    seller.order.publish(signed)
    with pytest.raises(MarketCallError, match="order already published") as caught:
        seller.order.publish(signed)
    assert caught.value.status == 403


def test_an_order_of_somebody_else_is_refused_by_the_market(net: Sandbox, seller: IExec, app: str) -> None:
    signed = seller.order.sign(seller.order.create("app", app=app))
    with pytest.raises(MarketCallError, match="only order signer"):
        net.user.order.publish(signed)


def test_a_forged_signature_is_refused_by_the_market(net: Sandbox, seller: IExec, app: str) -> None:
    signed = seller.order.sign(seller.order.create("app", app=app))
    with pytest.raises(MarketCallError, match="invalid sign"):
        seller.order.publish(replace(signed, appprice=1))  # type: ignore[arg-type]


def test_an_unsigned_order_is_not_published_and_the_market_is_not_asked(net: Sandbox, seller: IExec, app: str) -> None:
    with person(net, seller) as me:
        with pytest.raises(ValidationError, match="not signed") as caught:
            me.client.order.publish(me.client.order.create("app", app=app))
        assert "order.sign" in str(caught.value.hint)
        assert not me.web.requests


def test_a_request_above_the_stake_is_refused_with_the_amount(net: Sandbox, app: str) -> None:
    poor = net.client(deposit=5)
    with pytest.raises(MarketCallError, match="minimum stake required is 6 nRLC"):
        publish(poor, "request", app=app, category=0, appmaxprice=6)


def test_an_unknown_order_hash_is_named(net: Sandbox) -> None:
    with pytest.raises(MarketCallError, match="apporder not found") as caught:
        net.user.order.show("app", "0x" + "0" * 64)
    assert caught.value.status == 404
    with pytest.raises(ValidationError, match="bytes32"):
        net.user.order.show("app", "0x12")
    with pytest.raises(ValidationError, match="kind of order"):
        net.user.order.show("apps", "0x" + "0" * 64)


def test_orders_are_matched_by_their_hashes(net: Sandbox) -> None:
    f = Four(net)
    hashes = {kind: f.signer_of(one.kind).order.publish(one) for kind, one in f.orders().items()}
    assert net.user.order.estimate(**hashes).total == 34
    matched = f.requester.order.match(**hashes)
    assert matched.volume == 2
    with pytest.raises(MarketCallError, match="apporder not found"):
        f.requester.order.match(**{**hashes, "apporder": "0x" + "0" * 64})


def test_the_hash_of_an_order_without_salt_is_refused(net: Sandbox, app: str) -> None:
    with pytest.raises(InvalidSignatureError):
        net.user.order.hash(AppOrder(app=app))


@pytest.mark.parametrize("verb", ["app", "dataset", "workerpool", "requester"])
@pytest.mark.parametrize(
    "wrong",
    [{"requester": "me"}, {"min_volume": -1}, {"min_volume": 1.5}, {"limit": "all"}, {"tag": "tea"}, {"limit": -1},
     {"tag": "tee", "max_tag": "tee"}, {"min_volume": True}],
)  # fmt: skip
def test_a_wrong_filter_is_refused_before_the_market_is_asked(net: Sandbox, verb: str, wrong: dict[str, Any]) -> None:
    if verb == "requester" and "requester" in wrong:
        wrong = {"beneficiary": "me"}
    first = [NOBODY] if verb in ("app", "dataset") else []
    with person(net, net.user) as me:
        with pytest.raises(ValidationError) as caught:
            getattr(me.client.orderbook, verb)(*first, **wrong)
        assert caught.value.hint
        assert not me.web.requests


@pytest.mark.parametrize("verb", ["app", "dataset"])
def test_a_book_of_apps_needs_an_app(net: Sandbox, verb: str) -> None:
    with person(net, net.user) as me:
        with pytest.raises(ValidationError, match="required") as caught:
            getattr(me.client.orderbook, verb)()
        assert caught.value.hint
        assert not me.web.requests


def test_an_empty_book_keeps_its_columns(net: Sandbox) -> None:
    full, empty = net.user.orderbook.workerpool(), net.user.orderbook.workerpool(workerpool=NOBODY)
    assert len(full) >= 5
    assert len(empty) == 0
    assert list(empty.columns) == list(full.columns)
    assert dict(empty.dtypes) == dict(full.dtypes)


def test_a_book_is_filtered_limited_and_sorted(net: Sandbox) -> None:
    net.workerpool("dear", price="2 RLC", category=4, volume=3)
    net.workerpool("cheap", price="1 RLC", category=4, volume=2)
    book = net.user.orderbook.workerpool(category=4)
    assert set(book["category"]) == {4}
    prices = book["workerpoolprice"].tolist()
    assert prices == sorted(prices)
    assert prices[-2:] == [RLC, 2 * RLC]
    assert len(net.user.orderbook.workerpool(category=4, limit=1)) == 1
    assert set(net.user.orderbook.workerpool(category=4, min_volume=3)["workerpoolprice"]) == {0, 2 * RLC}
    assert len(net.user.orderbook.workerpool(category=4, limit=0)) == 0
    assert len(net.user.orderbook.workerpool(category=4, limit=2**70)) == 3


def test_a_row_of_the_book_becomes_the_signed_order(net: Sandbox) -> None:
    book = net.user.orderbook.workerpool(category=0)
    order = book.iexec.order(0)
    assert order.is_signed
    assert net.user.order.hash(order) == book["orderHash"].iloc[0]


def test_the_null_address_is_no_resource(net: Sandbox) -> None:
    with person(net, net.user) as me:
        with pytest.raises((ValidationError, ObjectNotFoundError)):
            me.client.order.sign(AppOrder(app=NULL_ADDRESS))
        assert not me.asked

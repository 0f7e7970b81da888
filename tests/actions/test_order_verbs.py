"""Orders given as objects: presigned, cancelled, taken off the market, shown, filled, explained."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from stage import NOBODY, Four, NoSigner, deploy_app, json_answer, nonce, person, publish, wallet

from iexec_nb.client import IExec
from iexec_nb.commands import COMMANDS
from iexec_nb.errors import (
    ConfigurationError,
    InvalidSignatureError,
    MarketCallError,
    OrderConsumedError,
    OrderMismatchError,
    ValidationError,
)
from iexec_nb.protocol import tags
from iexec_nb.protocol.orders import AppOrder, DatasetOrder, RequestOrder, WorkerpoolOrder
from iexec_nb.protocol.receipts import ShownOrder
from iexec_nb.protocol.typed_data import MEMBERS, typed_data
from iexec_nb.protocol.types import NULL_ADDRESS
from iexec_nb.protocol.units import wei
from iexec_nb.sandbox.network import Sandbox
from iexec_nb.sandbox.treasury import new_key
from iexec_nb.services import abi
from iexec_nb.services.reads import Call

KINDS = ("app", "dataset", "workerpool", "request")
RAW = {verb: COMMANDS["order", verb].raw for verb in ("cancel", "presign", "publish", "unpublish", "show", "fill")}


@pytest.fixture(scope="module")
def four(net: Sandbox) -> Four:
    return Four(net)


def raw(verb: str, value: Any) -> dict[str, Any]:
    member = RAW[verb]
    assert member is not None
    body: dict[str, Any] = json.loads(json.dumps(member(value)))
    return body


def consumed(net: Sandbox, orderHash: str) -> int:
    return net.user.chain.consumed([orderHash])[orderHash]


# Cancel.


@pytest.mark.parity(
    "order.cancelApporder", "order.cancelDatasetorder", "order.cancelWorkerpoolorder", "order.cancelRequestorder"
)
@pytest.mark.parametrize("kind", KINDS)
def test_a_cancelled_order_is_consumed_on_the_chain_and_matches_no_more(net: Sandbox, kind: str) -> None:
    f = Four(net)
    orders = f.orders()
    order = orders[f"{kind}order"]
    owner = f.signer_of(kind)
    done = owner.order.cancel(order)
    assert (done.order, done.orderHash) == (order, owner.order.hash(order))
    assert consumed(net, done.orderHash) == order.volume
    assert raw("cancel", done) == {f"{kind}order": {"txHash": done.txHash}}
    with pytest.raises(OrderConsumedError, match=f"{kind}order is fully consumed"):
        f.requester.order.match(**orders)


def test_a_second_cancellation_is_refused_before_the_wallet_is_asked(net: Sandbox, four: Four) -> None:
    order = four.orders()["apporder"]
    four.seller.order.cancel(order)
    with person(net, four.seller) as me:
        with pytest.raises(OrderConsumedError, match="apporder already canceled"):
            me.client.order.cancel(order)
        assert not me.asked
        assert not me.touched


def test_only_the_owner_cancels_and_the_wallet_of_others_is_not_asked(net: Sandbox, four: Four) -> None:
    order = four.orders()["workerpoolorder"]
    with person(net, four.seller, signer=NoSigner(new_key())) as me:
        with pytest.raises(ValidationError, match="must be the resource owner") as caught:
            me.client.order.cancel(order)
        assert wallet(four.pool_owner) in str(caught.value.hint)
        assert not me.asked
        assert not me.touched


def test_a_refused_question_leaves_an_order_as_it_was(net: Sandbox, four: Four) -> None:
    order = four.orders()["apporder"]
    for verb in ("cancel", "presign", "publish"):
        with person(net, four.seller) as me:
            me.answer = False
            with pytest.raises(ConfigurationError, match="aborted by user"):
                getattr(me.client.order, verb)(order)
            [text] = me.asked
            assert verb in text
            assert four.app in text
            assert not me.touched
    assert consumed(net, four.seller.order.hash(order)) == 0


def test_a_template_has_nothing_to_cancel(four: Four) -> None:
    with pytest.raises(ValidationError, match="not signed"):
        four.seller.order.cancel(four.apporder)


# Presign.


@pytest.mark.parametrize("kind", KINDS)
def test_a_presigned_order_needs_no_signature_to_match(net: Sandbox, kind: str) -> None:
    f = Four(net)
    orders = f.orders()
    plain = {
        "app": f.apporder, "dataset": f.datasetorder, "workerpool": f.workerpoolorder, "request": f.requestorder,
    }[kind]  # fmt: skip
    owner = f.signer_of(kind)
    assert isinstance(plain, AppOrder | DatasetOrder | WorkerpoolOrder | RequestOrder)
    done = owner.order.presign(plain)
    assert done.order.sign == "0x"
    assert done.orderHash == owner.order.hash(done.order)
    hub = net.user.chain.hub_address
    (recorded,) = net.user.chain.read([Call(hub, abi.VIEW_PRESIGNED, [bytes.fromhex(done.orderHash[2:])])])
    assert recorded == wallet(owner)
    matched = f.requester.order.match(**{**orders, f"{kind}order": json.dumps(done.order.to_json())})
    assert matched.volume == 2


def test_a_presigned_order_keeps_its_salt_and_is_presigned_once(net: Sandbox, four: Four) -> None:
    signed = four.orders()["apporder"]
    done = four.seller.order.presign(signed)
    assert done.order == signed
    with person(net, four.seller) as me:
        with pytest.raises(ValidationError, match="apporder already presigned"):
            me.client.order.presign(signed)
        assert not me.asked
        assert not me.touched


def test_only_the_owner_presigns(net: Sandbox, four: Four) -> None:
    with pytest.raises(ValidationError, match="must be the resource owner"):
        four.pool_owner.order.presign(four.apporder)
    order = four.orders()["apporder"]
    four.seller.order.cancel(order)
    with pytest.raises(OrderConsumedError, match="already canceled"):
        four.seller.order.presign(order)


def test_an_order_that_nobody_presigned_is_no_signature(four: Four) -> None:
    orders = four.orders()
    orders["apporder"] = orders["apporder"].signed(orders["apporder"].salt, "0x")
    with pytest.raises(OrderMismatchError, match="apporder invalid sign") as caught:
        four.requester.order.match(**orders)
    assert wallet(four.seller) in caught.value.reasons[0].fix


def test_a_presigned_order_is_not_published_because_the_market_wants_a_signature(net: Sandbox, four: Four) -> None:
    done = four.seller.order.presign(four.apporder)
    with person(net, four.seller) as me:
        with pytest.raises(ValidationError, match="presigned") as caught:
            me.client.order.publish(done.order)
        assert "to_json" in str(caught.value.hint)
        assert not me.web.requests


# Unpublish.


@pytest.mark.parity(
    "order.unpublishApporder", "order.unpublishLastApporder", "order.unpublishAllApporders", "order unpublish"
)
def test_orders_leave_the_market_one_the_last_or_all(net: Sandbox, four: Four) -> None:
    seller = net.client()
    app = deploy_app(net, seller)
    one, two, three, four_ = (publish(seller, "app", app=app, appprice=price) for price in (1, 2, 3, 4))
    assert seller.order.unpublish(app=one) == {"apporder": one}
    with pytest.raises(MarketCallError, match="apporder not found"):
        net.user.order.show("app", one)
    last = seller.order.unpublish(app=app, last=True)
    assert last == {"apporder": four_}
    gone = seller.order.unpublish(app=app, all=True)
    assert set(gone["apporder"]) == {two, three}
    assert raw("unpublish", last) == {"apporder": {"orderHash": four_}}
    assert set(raw("unpublish", gone)["apporder"]["orderHash"]) == {two, three}
    with pytest.raises(MarketCallError, match="no open apporder published"):
        seller.order.unpublish(app=app, last=True)


@pytest.mark.parity(
    *(f"order.unpublish{kind}order" for kind in ("Dataset", "Workerpool", "Request")),
    *(f"order.unpublishLast{kind}order" for kind in ("Dataset", "Workerpool", "Request")),
    *(f"order.unpublishAll{kind}orders" for kind in ("Dataset", "Workerpool", "Request")),
)
@pytest.mark.parametrize("kind", ["dataset", "workerpool", "request"])
def test_every_kind_is_unpublished_by_object_last_and_all(net: Sandbox, kind: str) -> None:
    f = Four(net)
    orders = f.orders()
    for other in ("app", "dataset"):
        # The market lists a request only while somebody sells it the app and the dataset.
        f.seller.order.publish(orders[f"{other}order"])
    owner = f.signer_of(kind).order
    made = [f.sign(replace(orders[f"{kind}order"], volume=volume)) for volume in (1, 2, 3)]
    subject: Any = True if kind == "request" else made[0].resource
    hashes = [owner.publish(order) for order in made]
    assert owner.unpublish(made[0]) == hashes[0]
    assert owner.unpublish(**{kind: subject}, last=True) == {f"{kind}order": hashes[2]}
    rest = owner.unpublish(**{kind: subject}, all=True)[f"{kind}order"]
    assert hashes[1] in rest
    with pytest.raises(MarketCallError, match="no open"):
        owner.unpublish(**{kind: subject}, all=True)


def test_an_order_of_somebody_else_stays_on_the_market(net: Sandbox, four: Four) -> None:
    order = four.orders()["apporder"]
    name = four.seller.order.publish(order)
    with pytest.raises(MarketCallError, match="only order signer"):
        four.pool_owner.order.unpublish(app=name)
    assert net.user.order.show("app", name).orderHash == name


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, "No option specified, you should choose one (--app | --dataset | --workerpool | --request)"),
        ({"app": False}, "No option specified"),
        ({"app": "0x12"}, "Invalid apporder hash"),
        ({"app": NOBODY}, "Invalid apporder hash"),
        ({"app": "0x" + "1" * 64, "last": True}, "ethereum address"),
        ({"app": NOBODY, "last": True, "all": True}, "last and all"),
        ({"app": 5}, "5 is not a choice"),
        ({"app": b"x"}, "is not a choice"),
    ],
)
def test_what_names_no_order_is_refused_and_nothing_is_sent(net: Sandbox, given: dict[str, Any], words: str) -> None:
    with person(net, net.user) as me:
        with pytest.raises(ValidationError) as caught:
            me.client.order.unpublish(**given)
        assert words in str(caught.value)
        assert caught.value.hint
        assert not me.touched
        assert not me.asked


@pytest.mark.parametrize("verb", ["sign", "publish", "presign", "cancel", "unpublish", "explain"])
def test_an_order_and_a_choice_together_are_refused(four: Four, verb: str) -> None:
    with pytest.raises(ValidationError, match="app as well"):
        getattr(four.seller.order, verb)(four.orders()["apporder"], app=True)


# Show.


@pytest.mark.parity(
    "orderbook.fetchApporder", "orderbook.fetchDatasetorder", "orderbook.fetchWorkerpoolorder",
    "orderbook.fetchRequestorder", "deal.fetchDealsByApporder", "deal.fetchDealsByDatasetorder",
    "deal.fetchDealsByWorkerpoolorder", "deal.fetchDealsByRequestorder", "order show",
)  # fmt: skip
def test_orders_are_shown_by_kind_with_the_deals_that_they_made(net: Sandbox) -> None:
    f = Four(net)
    orders = f.orders()
    hashes = {name: f.signer_of(one.kind).order.publish(one) for name, one in orders.items()}
    before = net.user.order.show(app=hashes["apporder"], deals=True)["apporder"]
    assert (before.dealsCount, before.lastDeals) == (0, ())
    matched = f.requester.order.match(**orders)
    chosen: dict[str, Any] = {kind: hashes[f"{kind}order"] for kind in ("app", "dataset", "workerpool")}
    shown = net.user.order.show(**chosen, deals=True)
    assert list(shown) == ["apporder", "datasetorder", "workerpoolorder"]
    for name, one in shown.items():
        assert isinstance(one, ShownOrder)
        assert one.published.order == orders[name]
        assert one.published.remaining == orders[name].volume - 2
        assert one.dealsCount == 1
        assert one.lastDeals[0]["dealid"] == matched.dealid
    body = raw("show", shown)["apporder"]
    assert body["orderHash"] == hashes["apporder"]
    assert body["order"]["appprice"] == 3
    assert body["deals"]["count"] == 1
    assert body["publicationTimestamp"].endswith("Z")
    assert net.user.order.show("app", hashes["apporder"], deals=True).dealsCount == 1  # type: ignore[union-attr]


def test_the_json_of_a_shown_order_is_what_the_market_sent(net: Sandbox, four: Four) -> None:
    order = four.orders()["workerpoolorder"]
    name = four.pool_owner.order.publish(order)
    body = net.user.market.order("workerpool", name)
    assert raw("show", net.user.order.show(workerpool=name)) == {"workerpoolorder": body}


def test_several_orders_are_shown_and_what_fails_is_told_beside_them(net: Sandbox, four: Four) -> None:
    name = four.seller.order.publish(four.orders()["apporder"])
    unknown = "0x" + "0" * 64
    shown = net.user.order.show(app=name, workerpool=unknown)
    assert shown["apporder"].orderHash == name
    [line] = shown["fail"]
    assert line.startswith("workerpoolorder: ")
    assert "workerpoolorder not found" in line
    assert raw("show", shown)["fail"] == [line]
    with pytest.raises(ValidationError, match=r"Failed to show: apporder: .*; workerpoolorder: ") as caught:
        net.user.order.show(app=unknown, workerpool=unknown)
    assert caught.value.hint
    with pytest.raises(MarketCallError):
        net.user.order.show(app=unknown)


# Fill and match.


@pytest.mark.parity("order.matchOrders", "order fill")
def test_orders_are_filled_by_their_hashes(net: Sandbox) -> None:
    f = Four(net)
    hashes = {one.kind: f.signer_of(one.kind).order.publish(one) for one in f.orders().values()}
    matched = f.requester.order.fill(**hashes)
    assert (matched.volume, matched.total) == (2, 34)
    assert raw("fill", matched) == {"dealid": matched.dealid, "volume": "2", "txHash": matched.txHash}


def test_params_make_a_request_that_pays_what_the_orders_ask_and_is_shown_first(net: Sandbox) -> None:
    f = Four(net)
    orders = f.orders()
    given = {kind: orders[f"{kind}order"] for kind in ("app", "dataset", "workerpool")}
    with person(net, f.requester) as me:
        assert me.client.order.estimate(
            **{f"{kind}order": one for kind, one in given.items()}, params={"iexec_args": "a b"}
        ).total == 17  # fmt: skip
        matched = me.client.order.fill(**given, params='{"iexec_args":"a b"}')
        [text] = me.asked
        for words in ("a b", f.app, f.dataset, f.workerpool, "0.000000017 RLC", "1 task"):
            assert words in text
        assert me.node.sent == 1
    deal = f.requester.deal.show(matched.dealid)
    assert (deal.requester, deal.botSize, deal.total_cost) == (wallet(f.requester), 1, 17)
    assert json.loads(deal.params) == {"iexec_result_storage_provider": "ipfs", "iexec_args": "a b"}
    assert deal.tag == tags.TEE_TDX


def test_a_match_of_signed_orders_shows_who_pays_whom(net: Sandbox) -> None:
    f = Four(net)
    with person(net, f.requester) as me:
        me.client.order.match(**f.orders())
        [text] = me.asked
    for words in (wallet(f.requester), f.app, f.dataset, f.workerpool, "RLC", str(net.chain_id)):
        assert words in text


def test_what_a_transaction_for_orders_costs_at_most_is_shown_first(net: Sandbox) -> None:
    f = Four(net)
    orders = f.orders()
    request = orders["requestorder"]
    with person(net, f.requester) as me:
        verbs: list[Callable[[], Any]] = [
            lambda: me.client.order.match(**orders),
            lambda: me.client.order.presign(replace(request, salt=None, sign=None)),
            lambda: me.client.order.cancel(f.requester.order.sign(request)),
        ]
        for verb in verbs:
            before = me.client.wallet.show().wei
            verb()
            [most] = re.findall(r"fee: at most (\S+ ether)", me.asked[-1])
            assert 0 < before - me.client.wallet.show().wei <= wei(most)
        assert len(me.asked) == 3


def test_every_promise_of_a_workerpool_is_shown_before_it_is_signed(net: Sandbox, four: Four) -> None:
    order = replace(four.workerpoolorder, category=3, trust=7)
    assert "category: 3, trust 7" in net.user.order.explain(order).summary


def test_a_refused_fill_signs_nothing(net: Sandbox, four: Four) -> None:
    orders = four.orders()
    with person(net, four.requester, signer=_Silent(four.requester)) as me:
        me.answer = False
        with pytest.raises(ConfigurationError, match="aborted"):
            me.client.order.fill(app=orders["apporder"], workerpool=orders["workerpoolorder"], params="{}")
        assert not me.touched


class _Silent(NoSigner):
    """The wallet of somebody, without the key."""

    def __init__(self, client: IExec) -> None:
        self._address = wallet(client)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"app": "0x12"}, "Invalid apporder hash"),
        ({"app": "deployed"}, "Invalid apporder hash"),
        ({}, "Missing apporder"),
        ({"params": "{}"}, "Missing apporder"),
        ({"request": "0x" + "0" * 64, "params": "{}"}, "requestorder and params"),
    ],
)
def test_a_fill_without_an_order_names_it(net: Sandbox, given: dict[str, Any], words: str) -> None:
    with person(net, net.user) as me:
        with pytest.raises(ValidationError, match=words) as caught:
            me.client.order.fill(**given)
        assert caught.value.hint
        assert not me.touched


def test_every_reason_comes_with_its_fix(four: Four) -> None:
    orders = four.orders(
        app={"requesterrestrict": NOBODY, "appprice": 9},
        dataset={"apprestrict": NOBODY},
        workerpool={"datasetrestrict": NOBODY, "category": 1},
        request={"trust": 4},
    )
    before = nonce(four.requester)
    with pytest.raises(OrderMismatchError) as caught:
        four.requester.order.match(**orders)
    found = {reason.code: reason for reason in caught.value.reasons}
    assert set(found) == {"0x00", "0x02", "0x03", "0x15", "0x16", "0x1a"}
    assert '"0.000000009 RLC"' in found["0x03"].fix
    assert "trust 1" in found["0x02"].fix
    assert "category 1" in found["0x00"].fix
    for code in ("0x15", "0x16", "0x1a"):
        assert NOBODY in found[code].message
        assert NOBODY in found[code].fix
    for reason in found.values():
        assert f"fix: {reason.fix}" in str(caught.value)
    assert nonce(four.requester) == before


# Explain and hash.


def test_an_order_is_explained_in_words_beside_the_fields_that_are_signed(net: Sandbox, four: Four) -> None:
    order = replace(four.apporder, appprice=10**9 // 2, requesterrestrict=NOBODY)
    found = net.user.order.explain(order)
    assert found.orderHash is None
    assert [(name, kind) for name, kind, _, _ in found.rows] == [(m["name"], m["type"]) for m in MEMBERS["app"]]
    meanings = {name: meaning for name, _, _, meaning in found.rows}
    assert meanings["appprice"] == "0.5 RLC a task"
    assert meanings["requesterrestrict"].startswith("only this requester")
    assert meanings["datasetrestrict"] == "any dataset"
    assert meanings["tag"] == "tee, tdx"
    for words in ("0.5 RLC a task", f"only requester {NOBODY}", "5 tasks", "500000000", "uint256"):
        assert words in repr(found)


@pytest.mark.parity(
    "order.hashApporder", "order.hashDatasetorder", "order.hashWorkerpoolorder", "order.hashRequestorder"
)
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_explained_is_what_a_wallet_would_show(four: Four, kind: str) -> None:
    order = four.orders()[f"{kind}order"]
    found = four.seller.order.explain(json.dumps(order.to_json()))
    assert found.orderHash == four.seller.order.hash(order)
    assert found.typedData == typed_data(order, four.seller.chain.domain)
    message = found.typedData["message"]
    assert isinstance(message, dict)
    assert {name: value for name, _, value, _ in found.rows} == {name: str(value) for name, value in message.items()}
    assert all(meaning for _, _, _, meaning in found.rows)


def test_an_order_of_the_market_is_explained_by_its_hash(net: Sandbox, four: Four) -> None:
    order = four.orders()["workerpoolorder"]
    name = four.pool_owner.order.publish(order)
    assert net.user.order.explain(workerpool=name)["workerpoolorder"].orderHash == name


def test_a_request_for_anything_is_explained(net: Sandbox) -> None:
    order = RequestOrder(app=NOBODY, requester=NOBODY, category=0, params=json.dumps({"iexec_args": "x" * 2000}))
    meanings = {name: meaning for name, _, _, meaning in net.user.order.explain(order).rows}
    assert meanings["dataset"] == "no dataset"
    assert meanings["workerpool"] == "any workerpool"
    assert meanings["callback"] == "nobody is called back"


# Orders signed once, and a wallet that changes its mind.


def test_signing_and_publishing_together_asks_once(net: Sandbox, four: Four) -> None:
    with person(net, four.seller) as me:
        name = me.client.order.sign_and_publish(four.apporder)
        [text] = me.asked
        assert text.startswith("sign and publish apporder")
    assert net.user.order.show("app", name).order.resource == four.app


def test_a_signed_copy_has_every_field_and_checks_the_new_ones(four: Four) -> None:
    order = four.requestorder
    signed = order.signed("0x" + "AB" * 32, "0x" + "CD" * 65)
    assert replace(signed, salt=None, sign=None) == order
    assert (signed.salt, signed.sign) == ("0x" + "ab" * 32, "0x" + "cd" * 65)
    for wrong in (("0x12", "0x"), ("0x" + "1" * 64, "12")):
        with pytest.raises(ValidationError):
            order.signed(*wrong)


def test_the_hash_of_an_order_is_its_name_on_the_market(four: Four) -> None:
    order = four.orders()["apporder"]
    assert four.seller.order.publish(order) == four.seller.order.hash(order)
    assert COMMANDS["order", "hash"].raw(four.seller.order.hash(order)) == {  # type: ignore[misc]
        "orderHash": four.seller.order.hash(order)
    }
    with pytest.raises(InvalidSignatureError, match="no salt"):
        four.seller.order.hash(AppOrder(app=four.app))


# Order books.


@pytest.mark.parity("orderbook.fetchAppOrderbook", "orderbook app")
def test_a_strict_filter_leaves_the_unrestricted_orders_out(net: Sandbox) -> None:
    seller = net.client()
    app = deploy_app(net, seller)
    free = publish(seller, "app", app=app)
    mine = publish(seller, "app", app=app, requesterrestrict=NOBODY)
    book = net.user.orderbook
    assert set(book.app(app)["orderHash"]) == {free}
    assert set(book.app(app, requester=NOBODY)["orderHash"]) == {free, mine}
    assert set(book.app(app, requester=NOBODY, requester_strict=True)["orderHash"]) == {mine}
    assert set(book.app(app, requester_strict=True)["orderHash"]) == {free}
    member = COMMANDS["orderbook", "app"].raw
    assert member is not None
    body = member(book.app(app, requester=NOBODY, requester_strict=True))
    assert json.loads(json.dumps(body)) == {
        "count": 1,
        "appOrders": [
            {"orderHash": mine, "price": 0, "remaining": 1, "app": app, "tag": tags.TEE_TDX,
             "datasetrestrict": NULL_ADDRESS, "workerpoolrestrict": NULL_ADDRESS, "requesterrestrict": NOBODY}
        ],
    }  # fmt: skip


@pytest.mark.parity(
    "orderbook.fetchDatasetOrderbook", "orderbook dataset", "orderbook.fetchWorkerpoolOrderbook",
    "orderbook workerpool", "orderbook.fetchRequestOrderbook", "orderbook requester",
)  # fmt: skip
def test_every_book_takes_the_filters_of_the_cli(net: Sandbox) -> None:
    f = Four(net)
    orders = f.orders(
        dataset={"apprestrict": f.app}, workerpool={"apprestrict": f.app}, request={"workerpool": f.workerpool}
    )
    hashes = {name: f.signer_of(one.kind).order.publish(one) for name, one in orders.items()}
    book = net.user.orderbook
    data = book.dataset(f.dataset, app=f.app, app_strict=True, require_tag="tee", max_tag="tee,tdx", min_volume=6)
    assert set(data["orderHash"]) == {hashes["datasetorder"]}
    pools = book.workerpool(f.workerpool, app=f.app, app_strict=True, min_trust=1, category=0, tag="tee,tdx")
    assert set(pools["orderHash"]) == {hashes["workerpoolorder"]}
    requests = book.requester(wallet(f.requester), workerpool=f.workerpool, workerpool_strict=True, max_trust=1)
    assert set(requests["orderHash"]) == {hashes["requestorder"]}
    assert not len(book.requester(wallet(f.requester), workerpool_strict=True))
    assert not len(book.dataset(f.dataset, app=f.app, min_volume=7))
    assert not len(book.dataset(f.dataset))
    for kind, table in (("dataset", data), ("workerpool", pools), ("requester", requests)):
        member = COMMANDS["orderbook", kind].raw
        assert member is not None
        body = member(table)
        [row] = body["requestOrders" if kind == "requester" else f"{kind}Orders"]
        assert row["orderHash"] in hashes.values()
        json.dumps(body)


@pytest.mark.parametrize("flag", ["dataset_strict", "workerpool_strict", "requester_strict"])
def test_a_flag_of_a_book_is_true_or_false(net: Sandbox, flag: str) -> None:
    with person(net, net.user) as me:
        with pytest.raises(ValidationError, match="True or False"):
            me.client.orderbook.app(NOBODY, **{flag: "yes"})  # type: ignore[arg-type]
        assert not me.web.requests


def test_a_market_that_ignores_a_strict_filter_is_not_believed(net: Sandbox) -> None:
    seller = net.client()
    app = deploy_app(net, seller)
    publish(seller, "app", app=app)
    with person(net, net.user) as me:

        def loosened(request: Any) -> None:
            request.url = request.url.copy_set_param("isRequesterStrict", "false")

        me.web.before = loosened
        with pytest.warns(UserWarning, match="requesterrestrict"):
            assert not len(me.client.orderbook.app(app, requester=NOBODY, requester_strict=True))


@pytest.mark.parametrize("body", [{"ok": True}, {"ok": True, "count": "1", "deals": []}, {"ok": True, "count": 1}])
def test_deals_that_are_no_deals_are_an_error_of_the_market(net: Sandbox, four: Four, body: dict[str, Any]) -> None:
    name = four.seller.order.publish(four.orders()["apporder"])
    with person(net, net.user) as me:
        me.web.change = lambda request, response: (
            json_answer(response, body) if request.url.path == "/deals" else response
        )
        with pytest.raises(MarketCallError, match="An error occurred while getting deals"):
            me.client.order.show("app", name, deals=True)


def test_params_are_shown_whole_before_they_are_signed(net: Sandbox, buyer: IExec) -> None:
    args = "x" * 3000 + "the end"
    with person(net, buyer) as one:
        order = one.client.order.create("request", app="0x" + "12" * 20, category=0, params={"iexec_args": args})
        one.client.order.sign(order, skip_preflight_check=True)
        assert args in one.asked[-1]

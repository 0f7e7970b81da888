"""Each rule of ``matchOrders``: what the real contract answers, and that we say the same before anything is sent.

One deliberate fault at a time is put into four orders that match; the contract is asked by ``eth_call`` and our reasons
must hold its code. Nothing may be sent while we refuse.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from stage import NOBODY, Four, deploy_app, deploy_dataset, nonce, person, wallet

from iexec_nb.errors import (
    InsufficientFundsError,
    OrderConsumedError,
    OrderMismatchError,
    ValidationError,
    Web3ProviderCallError,
)
from iexec_nb.protocol import tags
from iexec_nb.protocol.orders import NULL_DATASETORDER
from iexec_nb.protocol.types import NULL_ADDRESS, NULL_BYTES32
from iexec_nb.sandbox.network import Sandbox
from iexec_nb.services import abi

GPU = tags.encode(["tee", "tdx", "gpu"])
Fault = Callable[[Four], dict[str, Any]]


@pytest.fixture(scope="module")
def four(net: Sandbox) -> Four:
    return Four(net)


def verdict(four: Four, orders: dict[str, Any]) -> str | None:
    """Return the contract's code for these orders, the text of another refusal, or None when it would match them."""
    dataset = orders["datasetorder"] or NULL_DATASETORDER
    ordered = (orders["apporder"], dataset, orders["workerpoolorder"], orders["requestorder"])
    data = abi.MATCH_ORDERS.encode(*(order.to_abi() for order in ordered))
    chain = four.net.user.chain
    try:
        chain.quote(wallet(four.requester), chain.hub_address, data)
    except Web3ProviderCallError as error:
        text = error.message
        return text.partition("iExecV5-matchOrders-")[2][:4] if "matchOrders-" in text else text
    return None


FAULTS: dict[str, Fault] = {
    "0x00": lambda f: f.orders(request={"category": 1}),
    "0x01": lambda f: f.orders(request={"category": 99}, workerpool={"category": 99}),
    "0x02": lambda f: f.orders(request={"trust": 2}),
    "0x03": lambda f: f.orders(app={"appprice": 4}),
    "0x04": lambda f: f.orders(dataset={"datasetprice": 5}),
    "0x05": lambda f: f.orders(workerpool={"workerpoolprice": 11}),
    "0x06": lambda f: f.orders(request={"tag": GPU}),
    "0x06 app": lambda f: f.orders(app={"tag": GPU}),
    "0x06 dataset": lambda f: f.orders(dataset={"tag": GPU}),
    "0x07": lambda f: f.orders(app={"tag": NULL_BYTES32}),
    "0x10": lambda f: f.orders(request={"app": deploy_app(f.net, f.seller)}),
    "0x11": lambda f: f.orders(request={"dataset": deploy_dataset(f.net, f.seller)}),
    "0x11 no dataset wanted": lambda f: f.orders(request={"dataset": NULL_ADDRESS}),
    "0x11 no dataset given": lambda f: {**f.orders(), "datasetorder": None},
    "0x12": lambda f: f.orders(request={"workerpool": NOBODY}),
    "0x13": lambda f: f.orders(app={"datasetrestrict": NOBODY}),
    "0x14": lambda f: f.orders(app={"workerpoolrestrict": NOBODY}),
    "0x15": lambda f: f.orders(app={"requesterrestrict": NOBODY}),
    "0x16": lambda f: f.orders(dataset={"apprestrict": NOBODY}),
    "0x17": lambda f: f.orders(dataset={"workerpoolrestrict": NOBODY}),
    "0x18": lambda f: f.orders(dataset={"requesterrestrict": NOBODY}),
    "0x19": lambda f: f.orders(workerpool={"apprestrict": NOBODY}),
    "0x1a": lambda f: f.orders(workerpool={"datasetrestrict": NOBODY}),
    "0x1b": lambda f: f.orders(workerpool={"requesterrestrict": NOBODY}),
    # A registry entry of the wrong kind answers owner() as an app does, so only the registry tells them apart.
    "0x20": lambda f: f.orders(app={"app": f.dataset}, request={"app": f.dataset}),
    "0x21": lambda f: {**f.orders(), "apporder": f.sign(f.apporder, by=f.pool_owner)},
    "0x30": lambda f: f.orders(dataset={"dataset": f.app}, request={"dataset": f.app}),
    "0x31": lambda f: {**f.orders(), "datasetorder": f.sign(f.datasetorder, by=f.pool_owner)},
    "0x40": lambda f: {
        **f.orders(),
        "workerpoolorder": f.sign(replace(f.workerpoolorder, workerpool=f.app), by=f.seller),
    },
    "0x41": lambda f: {**f.orders(), "workerpoolorder": f.sign(f.workerpoolorder, by=f.seller)},
    "0x50": lambda f: {**f.orders(), "requestorder": f.sign(f.requestorder, by=f.seller)},
    "0x60": lambda f: f.orders(request={"volume": 0}),
    "0x60 app": lambda f: f.orders(app={"volume": 0}),
    "0x60 dataset": lambda f: f.orders(dataset={"volume": 0}),
    "0x60 workerpool": lambda f: f.orders(workerpool={"volume": 0}),
}
OURS = {"0x60": "consumed"}


def test_the_orders_without_a_fault_match(four: Four) -> None:
    orders = four.orders()
    assert verdict(four, orders) is None
    cost = four.requester.order.estimate(**orders)
    assert (cost.volume, cost.per_task, cost.total) == (2, 17, 34)


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_refused_here_with_the_code_of_the_contract(four: Four, name: str) -> None:
    code = name.partition(" ")[0]
    orders = FAULTS[name](four)
    assert verdict(four, orders) == code
    before = nonce(four.requester)
    with pytest.raises(OrderMismatchError) as caught:
        four.requester.order.match(**orders, skip_preflight_check=True)
    codes = {reason.code for reason in caught.value.reasons}
    assert OURS.get(code, code) in codes
    assert nonce(four.requester) == before
    for reason in caught.value.reasons:
        assert reason.message in str(caught.value)
        assert f"fix: {reason.fix}\n" in str(caught.value)
        assert reason.fix
    with pytest.raises(OrderMismatchError) as estimated:
        four.requester.order.estimate(**orders)
    assert {reason.code for reason in estimated.value.reasons} == codes


@pytest.mark.parametrize("name", [name for name in FAULTS if name.startswith(("0x0", "0x1")) and " " not in name])
def test_a_single_fault_gives_no_reasons_that_are_not_there(four: Four, name: str) -> None:
    with pytest.raises(OrderMismatchError) as caught:
        four.requester.order.estimate(**FAULTS[name](four))
    extra = {"0x07": {"0x07"}}.get(name, {name})
    assert {reason.code for reason in caught.value.reasons} == extra


@pytest.mark.parametrize("code", ["0x00", "0x02", "0x03", "0x04", "0x05"])
def test_a_reason_holds_the_numbers_of_both_sides(four: Four, code: str) -> None:
    with pytest.raises(OrderMismatchError) as caught:
        four.requester.order.estimate(**FAULTS[code](four))
    [reason] = [one for one in caught.value.reasons if one.code == code]
    assert str(reason.expected) in reason.message
    assert str(reason.got) in reason.message
    assert reason.expected != reason.got


def test_every_fault_is_told_at_once(four: Four) -> None:
    orders = four.orders(
        app={"appprice": 9, "requesterrestrict": NOBODY}, workerpool={"workerpoolprice": 99}, request={"trust": 5}
    )
    with pytest.raises(OrderMismatchError) as caught:
        four.requester.order.estimate(**orders)
    assert {reason.code for reason in caught.value.reasons} == {"0x02", "0x03", "0x05", "0x15"}
    assert all(name in str(caught.value.hint) for name in ("appmaxprice", "requesterrestrict", "trust"))


def test_a_signature_of_another_chain_is_refused_as_the_contract_does(four: Four) -> None:
    domain = replace(four.net.user.chain.domain, chainId=1)
    signer = four.seller.signer
    assert signer is not None
    salted = four.apporder.signed("0x" + "ab" * 32, "0x")
    orders = {**four.orders(), "apporder": salted.signed("0x" + "ab" * 32, signer.sign_order(salted, domain))}
    assert verdict(four, orders) == "0x21"
    with pytest.raises(OrderMismatchError) as caught:
        four.requester.order.match(**orders)
    assert [reason.code for reason in caught.value.reasons] == ["0x21"]


@pytest.mark.parametrize("sign", ["0x", "0x" + "00" * 65, "0x" + "11" * 65, "0x" + "ff" * 64, "0x" + "ab" * 66])
def test_a_signature_that_is_none_is_a_reason_and_not_a_crash(four: Four, sign: str) -> None:
    orders = four.orders()
    orders["requestorder"] = replace(orders["requestorder"], sign=sign)
    assert verdict(four, orders) is not None
    with pytest.raises(OrderMismatchError) as caught:
        four.requester.order.match(**orders)
    assert "0x50" in {reason.code for reason in caught.value.reasons}


def test_a_consumed_order_is_called_consumed(net: Sandbox) -> None:
    f = Four(net)
    orders = f.orders()
    matched = f.requester.order.match(**orders)
    assert (matched.volume, matched.total) == (2, 34)
    assert verdict(f, orders) == "0x60"
    with pytest.raises(OrderConsumedError) as caught:
        f.requester.order.match(**orders)
    assert {reason.code for reason in caught.value.reasons} == {"consumed"}


def test_too_little_stake_is_said_with_amounts_before_anything_is_signed(net: Sandbox) -> None:
    f = Four(net, requester=net.client(deposit=30))
    orders = f.orders()
    assert "exceeds balance" in str(verdict(f, orders))
    with person(net, f.requester) as me:
        with pytest.raises(InsufficientFundsError) as caught:
            me.client.order.match(**orders)
        assert caught.value.context["account stake"] == "0.00000003 RLC"
        assert caught.value.context["missing"] == "0.000000004 RLC"
        assert caught.value.hint == 'iexec.account.deposit("0.000000004 RLC")'
        assert not me.touched
        assert not me.asked
    assert f.requester.order.estimate(**orders).total == 34


def test_a_pool_owner_without_stake_is_a_reason(net: Sandbox) -> None:
    f = Four(net)
    f.pool_owner.account.withdraw(f.pool_owner.account.show().stake - 5)
    orders = f.orders()
    assert "exceeds balance" in str(verdict(f, orders))
    with pytest.raises(OrderMismatchError) as caught:
        f.requester.order.match(**orders)
    assert [reason.code for reason in caught.value.reasons] == ["workerpool-stake"]


def test_a_requester_who_owns_the_pool_pays_and_stakes_from_one_account(net: Sandbox) -> None:
    f = Four(net)
    f.requester = f.pool_owner
    f.requestorder = replace(f.requestorder, requester=wallet(f.pool_owner))
    f.pool_owner.account.withdraw(f.pool_owner.account.show().stake - 39)
    orders = f.orders()
    assert "exceeds balance" in str(verdict(f, orders))
    with pytest.raises((InsufficientFundsError, OrderMismatchError)) as caught:
        f.requester.order.match(**orders)
    missing = getattr(caught.value, "context", {}).get("missing")
    assert missing == "0.000000001 RLC"


def test_the_deal_id_of_a_match_is_that_of_the_chain_and_the_money_is_locked(net: Sandbox) -> None:
    f = Four(net)
    before = f.requester.account.show()
    matched = f.requester.order.match(**f.orders())
    deal = f.requester.deal.show(matched.dealid)
    assert (deal.botFirst, deal.botSize, deal.total_cost) == (0, 2, 34)
    assert deal.dataset.pointer == f.dataset
    after = f.requester.account.show()
    assert (before.stake - after.stake, after.locked - before.locked) == (34, 34)


@pytest.mark.parametrize("kind", ["app", "dataset", "workerpool", "request"])
def test_an_order_of_another_kind_in_a_place_is_named(four: Four, kind: str) -> None:
    orders = four.orders()
    other = "workerpool" if kind == "app" else "app"
    orders[f"{kind}order"] = orders[f"{other}order"]
    with pytest.raises(ValidationError, match=f"a {other}order was given as {kind}order"):
        four.requester.order.match(**orders)


def test_an_unsigned_order_is_not_matched(four: Four) -> None:
    orders = {**four.orders(), "apporder": four.apporder}
    with pytest.raises(ValidationError, match="the apporder is not signed") as caught:
        four.requester.order.match(**orders)
    assert caught.value.hint


def test_a_match_asks_once_and_names_price_volume_and_chain(net: Sandbox) -> None:
    f = Four(net)
    orders = f.orders()
    with person(net, f.requester) as me:
        me.answer = False
        with pytest.raises(Exception, match="aborted by user"):
            me.client.order.match(**orders)
        assert not me.touched
        assert len(me.asked) == 1
        for words in ("2 tasks", "0.000000034 RLC", str(net.chain_id)):
            assert words in me.asked[0]
        me.answer = True
        me.client.order.match(**orders)
        assert me.node.sent == 1
        assert len(me.asked) == 2


def test_a_group_contract_that_says_yes_to_everyone_is_accepted_as_the_contract_accepts_it(net: Sandbox) -> None:
    f = Four(net)
    group = "0x" + "9a" * 20
    # PUSH1 1 PUSH1 0 MSTORE PUSH1 32 PUSH1 0 RETURN: true for every question.
    net.user.chain.rpc.call("anvil_setCode", group, "0x600160005260206000f3")
    orders = f.orders(app={"requesterrestrict": group}, request={"workerpool": group})
    assert verdict(f, orders) is None
    assert f.requester.order.estimate(**orders).total == 34


def test_a_price_that_no_account_can_hold_is_no_crash(net: Sandbox) -> None:
    f = Four(net)
    big = 2**256 - 1
    orders = f.orders(app={"appprice": big}, request={"appmaxprice": big})
    assert verdict(f, orders) is not None
    with pytest.raises((InsufficientFundsError, OrderMismatchError)) as caught:
        f.requester.order.match(**orders)
    assert "RLC" in str(caught.value)

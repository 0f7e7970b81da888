"""Accounts in the hub: what moves in and out is confirmed by the hub, and who else may take some is shown and exact."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import httpx
import pytest
from stage import NOBODY, RLC, NoSigner, Person, json_answer, person, wallet

from iexec_nb.client import IExec
from iexec_nb.commands import COMMANDS, parse
from iexec_nb.errors import (
    ConfigurationError,
    InsufficientFundsError,
    ValidationError,
    Web3ProviderCallError,
    Web3ProviderSendError,
)
from iexec_nb.protocol.receipts import Allowance
from iexec_nb.protocol.types import NULL_ADDRESS
from iexec_nb.sandbox.network import Sandbox
from iexec_nb.sandbox.treasury import new_key
from iexec_nb.services import abi


def raw(noun_and_verb: str, value: object) -> Mapping[str, Any]:
    noun, verb = noun_and_verb.split()
    make = COMMANDS[noun, verb].raw
    assert make is not None
    return make(value)


def line(client: IExec, text: str) -> Any:
    return parse(shlex.split(text)).on(client)


@pytest.fixture
def spender(net: Sandbox) -> IExec:
    return net.client()


@pytest.mark.parity("account.checkBalance", "account show")
def test_an_account_is_shown_as_the_cli_does(net: Sandbox) -> None:
    me = net.client(deposit="1.5 RLC")
    assert raw("account show", me.account.show()) == {"balance": {"stake": "1500000000", "locked": "0"}}


@pytest.mark.parity("account.deposit", "account.withdraw", "account deposit", "account withdraw")
def test_a_deposit_and_a_withdrawal_show_amount_and_fee_and_move_to_the_nrlc(net: Sandbox) -> None:
    with person(net, net.client(rlc="3 RLC")) as one:
        me, hub = wallet(one.client), one.client.chain.hub_address
        assert line(one.client, "account deposit 1.5 RLC").amount == 15 * 10**8
        assert line(one.client, "account deposit 7").amount == 7
        assert line(one.client, "account withdraw 1 RLC").amount == RLC
        assert one.client.account.show().stake == 500_000_007
        assert one.client.wallet.show().nRLC == 3 * RLC - 500_000_007
        assert one.asked[0].startswith(f"deposit 1.5 RLC from wallet {me} into the hub {hub}\n  fee: at most 0.0")
        assert one.asked[2].startswith(f"withdraw 1 RLC from the hub into wallet {me}\n  fee: at most 0.0")
        assert one.node.sent == 3


@pytest.mark.parametrize(("verb", "what"), [("deposit", "Deposit"), ("withdraw", "Withdraw")])
def test_what_the_hub_does_not_say_is_not_confirmed_and_keeps_its_hash(net: Sandbox, verb: str, what: str) -> None:
    with person(net, net.client(rlc="2 RLC", deposit="2 RLC")) as one:
        _without_logs(one)
        with pytest.raises(Web3ProviderSendError, match=f"{what} not confirmed") as caught:
            getattr(one.client.account, verb)("1 RLC")
        assert caught.value.tx_hash is not None
        assert one.node.sent == 1


def _without_logs(one: Person) -> None:
    """Let the node say that transactions were mined and that nothing happened."""

    def after(methods: list[str], response: httpx.Response) -> httpx.Response:
        if "eth_getTransactionReceipt" not in methods:
            return response
        body = response.json()
        for item in body if isinstance(body, list) else [body]:
            if isinstance(item.get("result"), dict) and "logs" in item["result"]:
                item["result"]["logs"] = []
        return json_answer(response, body)

    one.node.after = after


@pytest.mark.parity("account.approve", "account.checkAllowance", "account approve", "account allowance")
def test_an_allowance_is_exact_replaces_the_one_before_and_can_be_used(net: Sandbox, spender: IExec) -> None:
    with person(net, net.client(deposit="3 RLC")) as one:
        owner, taker = wallet(one.client), wallet(spender)
        assert one.client.account.allowance(taker) == Allowance(owner=owner, spender=taker, amount=0)
        allowed = one.client.account.approve("1.5 RLC", taker.lower())
        assert (allowed.owner, allowed.spender, allowed.amount) == (owner, taker, 15 * 10**8)
        assert raw("account approve", allowed) == {"txHash": allowed.txHash}
        assert line(one.client, f"account approve 2 {taker} RLC").amount == 2 * RLC
        assert line(one.client, f"account approve 500 {taker}").amount == 500
        assert spender.account.allowance(taker, user=owner.lower()).amount == 500
        assert one.asked[0].startswith(
            f"let {taker} take up to 1.5 RLC out of the account of {owner} (now: 0 RLC)\n  fee: at most 0.0"
        )
        assert "take up to 2 RLC" in one.asked[1]
        assert "(now: 1.5 RLC)" in one.asked[1]
        # What was allowed is what the hub gives, and not one nRLC more.
        take = abi.Function("transferFrom(address,address,uint256)", "bool")
        chain, signer = spender.chain, spender.require_signer()
        with pytest.raises(Web3ProviderCallError):
            chain.send(signer, chain.hub_address, take.encode(owner, taker, 501))
        chain.send(signer, chain.hub_address, take.encode(owner, taker, 500))
        assert spender.account.show().stake == 500
        assert one.client.account.allowance(taker).amount == 0


@pytest.mark.parity("account.revokeApproval", "account revoke")
def test_a_revoked_allowance_is_nothing(net: Sandbox, spender: IExec) -> None:
    with person(net, net.client(deposit="3 RLC")) as one:
        taker = wallet(spender)
        one.client.account.approve("1 RLC", taker)
        revoked = one.client.account.revoke(taker)
        assert raw("account revoke", revoked) == {"txHash": revoked.txHash}
        assert (revoked.amount, one.client.account.allowance(taker).amount) == (0, 0)
        assert (
            f"let {taker} take nothing out of the account of {wallet(one.client)} any more (now: 1 RLC)" in one.asked[1]
        )
        assert one.client.account.approve(0, taker).amount == 0


@pytest.mark.parametrize(
    ("amount", "digits"), [(0, "00"), (1, "01"), (500, "01f4"), (4096, "1000"), (2**256 - 1, "f" * 64)]
)
def test_the_cli_s_json_of_an_allowance_is_hexadecimal(amount: int, digits: str) -> None:
    value = raw("account allowance", Allowance(owner=NOBODY, spender=NOBODY, amount=amount))
    assert json.loads(json.dumps(value)) == {"amount": digits}


def test_more_than_the_account_holds_may_be_allowed(net: Sandbox, spender: IExec) -> None:
    me = net.client()
    me.account.approve(2**256 - 1, wallet(spender))
    assert me.account.allowance(wallet(spender)).amount == 2**256 - 1


@pytest.mark.parametrize("taker", ["0x12", 5, None, "", NULL_ADDRESS, "0x7Bd4783FDCAD405A28052a0d1f11236A741da593"])
def test_a_taker_that_may_be_mistyped_is_refused_before_any_request(net: Sandbox, taker: Any) -> None:
    with person(net) as one:
        wishes: list[Callable[[], Any]] = [
            lambda: one.client.account.approve(5, taker),
            lambda: one.client.account.revoke(taker),
        ]
        for wish in wishes:
            with pytest.raises(ValidationError) as caught:
                wish()
            assert caught.value.hint
        assert not one.node.methods
        assert not one.asked


@pytest.mark.parametrize("amount", [0.5, -1, True, None, "", "1 ether", 2**256, b"1", "0.1"])
def test_a_wrong_amount_is_allowed_to_nobody(net: Sandbox, amount: Any) -> None:
    with person(net) as one:
        with pytest.raises(ValidationError) as caught:
            one.client.account.approve(amount, NOBODY)
        assert caught.value.hint
        assert not one.node.methods


def test_nothing_is_allowed_after_a_no_without_ether_or_without_a_wallet(net: Sandbox) -> None:
    with person(net) as one:
        one.answer = False
        for wish in (lambda: one.client.account.approve(5, NOBODY), lambda: one.client.account.revoke(NOBODY)):
            with pytest.raises(ConfigurationError, match="aborted by user"):
                wish()
        assert not one.touched
    with person(net, net.client(), signer=NoSigner(new_key())) as poor:
        with pytest.raises(InsufficientFundsError):
            poor.client.account.approve(5, NOBODY)
        assert not poor.asked
    with person(net, net.user, signer=None) as guest:
        for reading in (
            lambda: guest.client.account.allowance(NOBODY),
            lambda: guest.client.account.approve(5, NOBODY),
        ):
            with pytest.raises(ConfigurationError, match="not a signer"):
                reading()
        assert guest.client.account.allowance(NOBODY, user=NOBODY).amount == 0


def test_an_approval_that_the_hub_does_not_say_is_not_confirmed(net: Sandbox) -> None:
    with person(net) as one:
        _without_logs(one)
        with pytest.raises(Web3ProviderSendError, match="Approve not confirmed") as caught:
            one.client.account.approve(5, NOBODY)
        assert caught.value.tx_hash is not None


def test_where_rlc_is_the_coin_of_the_chain_a_deposit_is_priced_with_its_coins(
    net: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hub here takes no coins: the simulation says so, and nothing is asked or sent."""
    with person(net, net.client(eth="3 ether")) as one:
        chain = one.client.chain
        monkeypatch.setitem(vars(chain), "hub", replace(chain.hub, token=NULL_ADDRESS))
        with pytest.raises(Web3ProviderCallError, match="would refuse"):
            one.client.account.deposit("1 RLC")
        assert not one.asked
        assert not one.touched

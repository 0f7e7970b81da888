"""Money outside and inside the hub: what is shown, what moves, and what is refused before anything is signed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from stage import NOBODY, RLC, NoSigner, in_threads, nonce, person, state, wallet

from iexec_nb.errors import ConfigurationError, InsufficientFundsError, ValidationError
from iexec_nb.protocol.types import NULL_ADDRESS, NULL_BYTES32
from iexec_nb.sandbox.network import Sandbox
from iexec_nb.sandbox.treasury import new_key
from iexec_nb.services import abi
from iexec_nb.services.receipts import Log, Receipt
from iexec_nb.services.transactions import Quote


def test_wallet_show_tells_ether_and_rlc_of_the_own_wallet_and_of_others(net: Sandbox) -> None:
    me = net.client(rlc="3 RLC", eth="2 ether")
    assert (me.wallet.show().wei, me.wallet.show().nRLC) == (2 * 10**18, 3 * RLC)
    other = net.user.wallet.show(wallet(me).lower())
    assert other == me.wallet.show()
    assert repr(other) == f"Balances({wallet(me)}, 2 ether, 3 RLC)"


def test_deposit_and_withdraw_move_to_the_nrlc(net: Sandbox) -> None:
    me = net.client(rlc="3 RLC")
    moved = me.account.deposit("1.000000001 RLC")
    assert moved.amount == 1_000_000_001
    assert me.account.show().stake == 1_000_000_001
    assert me.wallet.show().nRLC == 1_999_999_999
    assert me.account.withdraw("0.5", "RLC").amount == RLC // 2
    assert (me.account.show().stake, me.account.show().locked) == (500_000_001, 0)
    assert me.account.withdraw(1).amount == 1
    assert me.account.withdraw("7").amount == 7
    assert me.wallet.show().nRLC == 3 * RLC - 499_999_993


def test_where_rlc_is_the_coin_of_the_chain_a_deposit_carries_it_as_coins(
    net: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No such chain runs here: what would be sent is looked at, and goes to the hub and not to a token."""
    me = net.client(eth="3 ether")
    chain = me.chain
    monkeypatch.setitem(vars(chain), "hub", replace(chain.hub, token=NULL_ADDRESS))
    sent: list[tuple[Any, ...]] = []

    def send(signer: Any, to: str, data: bytes, *, value: int = 0, max_fee: int = 0) -> Receipt:
        sent.append((to, data, value))
        tx_hash, topics = "0x" + "1" * 64, (abi.TRANSFER.topic, NULL_BYTES32, "0x" + wallet(me)[2:].lower().zfill(64))
        minted = Log(
            address=to, topics=topics, data=(value // 10**9).to_bytes(32), block_number=1, tx_hash=tx_hash, index=0
        )
        return Receipt(tx_hash=tx_hash, block_number=1, status=1, logs=(minted,), gas_used=1)

    monkeypatch.setattr(chain, "send", send)
    monkeypatch.setattr(
        chain, "quote", lambda *_, value: Quote(gas=1, fees={"gasPrice": 1}, value=value, max_cost=value)
    )
    assert me.wallet.show().nRLC == 3 * RLC
    assert me.account.deposit("1.5 RLC").amount == 1_500_000_000
    assert sent == [(chain.hub_address, abi.DEPOSIT_NATIVE.encode(), 15 * 10**17)]
    with pytest.raises(InsufficientFundsError):
        me.account.deposit("3.1 RLC")


@pytest.mark.parametrize("verb", ["deposit", "withdraw"])
@pytest.mark.parametrize(
    "amount",
    [(0.5,), (1.0,), (-1,), (True,), ("-1",), ("1 rlc",), ("1e3 RLC",), ("0.1",), ("0.0000000001 RLC",), (None,),
     ("1 ether",), ("",), (" ",), ("١ RLC",), (2**256,), ("1", "EUR"), (0,), ("0 RLC",), ([1, "nRLC", 2],), (b"1",),
     ("1_000",), (float("nan"),)],
)  # fmt: skip
def test_a_wrong_amount_is_refused_before_any_request(net: Sandbox, verb: str, amount: tuple[Any, ...]) -> None:
    with person(net) as me:
        with pytest.raises(ValidationError) as caught:
            getattr(me.client.account, verb)(*amount)
        assert caught.value.hint
        assert not me.node.methods
        assert not me.web.requests
        assert not me.asked


def test_a_float_is_answered_with_the_two_right_spellings(net: Sandbox) -> None:
    with pytest.raises(ValidationError) as caught:
        net.user.account.deposit(0.5)  # type: ignore[arg-type]
    assert "0.5" in caught.value.message
    assert '"0.5 RLC"' in str(caught.value.hint)
    assert "int" in str(caught.value.hint)


@pytest.mark.parametrize("address", ["0x12", "nobody.eth", "", 5, b"x", "0x" + "g" * 40, NOBODY + "0"])
@pytest.mark.parametrize("noun", ["wallet", "account"])
def test_a_malformed_address_is_named_and_nothing_is_asked(net: Sandbox, noun: str, address: Any) -> None:
    with person(net) as me:
        with pytest.raises(ValidationError, match="not a valid ethereum address") as caught:
            getattr(me.client, noun).show(address)
        assert caught.value.hint
        assert not me.node.methods


def test_more_than_the_wallet_holds_is_refused_with_amounts_and_unsigned(net: Sandbox) -> None:
    holder = net.client(rlc="1 RLC")
    with person(net, holder, signer=NoSigner(new_key())) as me:
        net.fund(wallet(me.client), rlc="1 RLC", eth="1 ether")
        before = state(net, me.client)
        with pytest.raises(InsufficientFundsError) as caught:
            me.client.account.deposit("2.5 RLC")
        assert caught.value.message == "Deposit amount exceed wallet balance"
        assert caught.value.context == {
            "wanted": "2.5 RLC", "wallet": "1 RLC", "missing": "1.5 RLC", "address": wallet(me.client),
        }  # fmt: skip
        assert state(net, me.client) == before
        assert not me.asked


def test_more_than_the_stake_is_not_withdrawn_and_locked_rlc_does_not_count(net: Sandbox) -> None:
    me = net.client(deposit="1 RLC")
    with pytest.raises(InsufficientFundsError) as caught:
        me.account.withdraw("1.5 RLC")
    assert caught.value.context["account stake"] == "1 RLC"
    assert caught.value.context["missing"] == "0.5 RLC"
    assert nonce(me) == 0


@pytest.mark.parametrize("wei", [0, 1, 10**12])
def test_no_ether_for_the_fee_is_said_with_the_amounts_before_signing(net: Sandbox, wei: int) -> None:
    key = new_key()
    with person(net, net.client(), signer=NoSigner(key)) as me:
        net.fund(wallet(me.client), rlc="2 RLC", deposit="2 RLC", eth=wei)
        for verb in (me.client.account.deposit, me.client.account.withdraw):
            with pytest.raises(InsufficientFundsError) as caught:
                verb("1 RLC")
            assert "ether" in str(caught.value)
            assert wallet(me.client) in str(caught.value)
        assert me.node.sent == 0


def test_a_read_only_client_reads_and_says_what_it_cannot_do(net: Sandbox) -> None:
    with person(net, net.user, signer=None) as guest:
        assert guest.client.wallet.show(wallet(net.user)).nRLC > 0
        assert guest.client.account.show(wallet(net.user)).stake > 0
        assert "read-only" in repr(guest.client)
        calls: list[Any] = [
            lambda c: c.account.deposit("1 RLC"),
            lambda c: c.account.withdraw("1 RLC"),
            lambda c: c.wallet.show(),
            lambda c: c.account.show(),
            lambda c: c.app.deploy(name="a", multiaddr="docker.io/a:1"),
            lambda c: c.app.run(NOBODY),
            lambda c: c.dataset.push_secret(NOBODY),
            lambda c: c.result.push_encryption_key(),
            lambda c: c.result.generate_encryption_keypair(),
            lambda c: c.task.claim("0x" + "1" * 64),
            lambda c: c.deal.claim("0x" + "1" * 64),
            lambda c: c.workerpool.deploy(description="x"),
        ]
        for call in calls:
            with pytest.raises(ConfigurationError, match="not a signer") as caught:
                call(guest.client)
            assert "signer=" in str(caught.value.hint)
            assert caught.value.context["needed to"]
        assert not guest.touched


def test_eight_threads_deposit_at_once_with_one_wallet(net: Sandbox) -> None:
    with person(net, net.client(rlc="8 RLC")) as me:
        first = nonce(me.client)
        results = in_threads(8, lambda index: me.client.account.deposit(RLC - index))
        assert [r for r in results if isinstance(r, Exception)] == []
        assert len({r.txHash for r in results}) == 8
        assert me.client.account.show().stake == sum(RLC - index for index in range(8))
        assert me.node.sent == 8
        assert len(set(me.node.raw)) == 8
        assert nonce(me.client) == first + 8


def test_two_clients_of_one_wallet_do_not_take_the_same_nonce(net: Sandbox) -> None:
    owner = net.client(rlc="6 RLC")
    with person(net, owner) as one, person(net, owner) as two:
        results = in_threads(6, lambda index: (one, two)[index % 2].client.account.deposit("1 RLC"))
        assert [r for r in results if isinstance(r, Exception)] == []
        assert owner.account.show().stake == 6 * RLC
        assert one.node.sent + two.node.sent == 6


def test_threads_that_want_more_than_there_is_fail_typed_and_move_no_more_than_that(net: Sandbox) -> None:
    me = net.client(rlc="2 RLC")
    results = in_threads(4, lambda index: me.account.deposit("1 RLC"))
    failed = [r for r in results if isinstance(r, Exception)]
    assert len(failed) == 2
    for one in failed:
        assert isinstance(one, InsufficientFundsError) or type(one).__name__.startswith("Web3Provider")
    assert me.account.show().stake == 2 * RLC
    assert me.wallet.show().nRLC == 0

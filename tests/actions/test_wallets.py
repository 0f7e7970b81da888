"""Wallets: files that are made, found, opened and forgotten, and money that is sent once, as shown, or not at all."""

from __future__ import annotations

import getpass
import json
import shlex
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from stage import NOBODY, RLC, NoSigner, Person, in_threads, nonce, person, wallet

from iexec_nb import tables
from iexec_nb.actions import wallet_files
from iexec_nb.client import IExec
from iexec_nb.commands import COMMANDS, parse
from iexec_nb.errors import (
    ConfigurationError,
    DecryptionError,
    InsufficientFundsError,
    ValidationError,
    Web3ProviderSendError,
    Web3ProviderSignMessageError,
)
from iexec_nb.protocol.receipts import Swept
from iexec_nb.protocol.typed_data import address_of
from iexec_nb.protocol.types import NULL_ADDRESS, Secret
from iexec_nb.sandbox.network import Sandbox
from iexec_nb.sandbox.treasury import new_key
from iexec_nb.services import keystore
from iexec_nb.services.wallet import KeystoreSigner, PrivateKeySigner, ReadOnlySigner, Signer

KEY = "07" * 32
ADDRESS = address_of(bytes.fromhex(KEY))
PASSWORD = Secret("correct horse")
GWEI = 10**9


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No wallet or password of the person who runs the tests; nobody at the keyboard; keys that cost little."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("IEXEC_NB_PASSWORD", raising=False)
    monkeypatch.setitem(sys.modules, "keyring", None)
    monkeypatch.setattr(getpass, "getpass", _nobody)
    monkeypatch.setattr(keystore, "SCRYPT", {"n": 2, "r": 8, "p": 1})
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")


def _nobody(prompt: str = "") -> str:
    raise EOFError


def _typing(monkeypatch: pytest.MonkeyPatch, *answers: str) -> list[str]:
    left, prompts = list(answers), []

    def typed(prompt: str = "") -> str:
        prompts.append(prompt)
        return left.pop(0)

    monkeypatch.setattr(getpass, "getpass", typed)
    return prompts


@pytest.fixture
def me(tmp_path: Path) -> IExec:
    """A client without a network: files are all that it touches."""
    return IExec("arbitrum-sepolia-testnet", keystoredir=str(tmp_path / "keys"), confirm=False)


def raw(noun_and_verb: str, value: object) -> Mapping[str, Any]:
    noun, verb = noun_and_verb.split()
    make = COMMANDS[noun, verb].raw
    assert make is not None
    return make(value)


def line(client: IExec, text: str) -> Any:
    return parse(shlex.split(text)).on(client)


def fresh() -> str:
    return address_of(new_key())


# Files.


@pytest.mark.parity("wallet create")
def test_a_wallet_is_made_found_opened_and_signs(me: IExec) -> None:
    made = me.wallet.create(password=PASSWORD)
    assert me.signer is None
    assert repr(made) == f"WalletFile({made.address}, {made.path.name!r})"
    assert raw("wallet create", made) == {
        "wallet": json.loads(made.path.read_text()), "fileName": str(made.path), "address": made.address,
    }  # fmt: skip
    opened = me.wallet.unlock(password=PASSWORD)
    assert opened == made
    assert isinstance(me.signer, Signer)
    assert me.signer.address == made.address
    assert len(me.signer.sign_message(b"x")) == 132


@pytest.mark.parity("wallet import")
@pytest.mark.parametrize("spelling", [KEY, f"0x{KEY}", KEY.upper()])
def test_a_key_is_imported_in_every_spelling(me: IExec, spelling: str) -> None:
    made = me.wallet.import_(Secret(spelling), password=PASSWORD)
    assert made.address == ADDRESS
    signer = KeystoreSigner(made.path, PASSWORD)
    assert signer.sign_message(b"x") == PrivateKeySigner(KEY).sign_message(b"x")


def test_a_key_that_is_not_given_is_asked_for_and_not_shown(me: IExec, monkeypatch: pytest.MonkeyPatch) -> None:
    prompts = _typing(monkeypatch, KEY, "pw", "pw")
    assert me.wallet.import_().address == ADDRESS
    assert len(prompts) == 3


@pytest.mark.parametrize("given", [KEY, "nonsense", 5, b"x"])
def test_a_key_in_the_open_is_refused_and_not_repeated(me: IExec, given: Any) -> None:
    with pytest.raises(ValidationError, match="not a Secret") as caught:
        me.wallet.import_(given, password=PASSWORD)
    assert KEY not in str(caught.value)


def test_what_is_no_key_is_refused_and_nothing_is_written(me: IExec, tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="not a private key") as caught:
        me.wallet.import_(Secret(KEY + "00"), password=PASSWORD)
    assert KEY not in str(caught.value)
    assert not (tmp_path / "keys").exists()


def test_a_password_is_asked_for_twice_and_must_be_the_same(
    me: IExec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _typing(monkeypatch, "one", "two")
    with pytest.raises(ValidationError, match="Password mismatch"):
        me.wallet.create()
    _typing(monkeypatch, "", "")
    with pytest.raises(ValidationError, match="Missing wallet password"):
        me.wallet.create()
    assert not (tmp_path / "keys").exists()
    _typing(monkeypatch, "one", "one")
    KeystoreSigner(me.wallet.create().path, Secret("one")).unlock()


def test_a_password_may_be_in_the_environment_and_never_in_the_open(me: IExec, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigurationError, match="nobody to ask"):
        me.wallet.create()
    monkeypatch.setenv("IEXEC_NB_PASSWORD", "from outside")
    KeystoreSigner(me.wallet.create().path, Secret("from outside")).unlock()
    for verb in (me.wallet.create, me.wallet.unlock):
        with pytest.raises(ValidationError, match="not a Secret") as caught:
            verb(password="hunter2")  # type: ignore[arg-type]
        assert "hunter2" not in str(caught.value)


def test_an_unencrypted_wallet_lies_in_the_working_folder_and_its_key_is_not_returned(me: IExec) -> None:
    made = me.wallet.create(unencrypted=True)
    body = json.loads(Path("wallet.json").read_text())
    assert list(body) == ["privateKey", "publicKey", "address"]
    assert (made.fileName, made.address) == ("wallet.json", body["address"])
    assert body["privateKey"] not in repr(made) + json.dumps(raw("wallet create", made))
    assert raw("wallet create", made)["wallet"] == {"publicKey": body["publicKey"], "address": body["address"]}
    me.wallet.unlock()
    assert me.signer is not None
    assert me.signer.address == made.address


def test_a_password_makes_an_encrypted_file_even_where_an_unencrypted_one_was_asked_for(me: IExec) -> None:
    assert me.wallet.create(unencrypted=True, password=PASSWORD).path.name.startswith("UTC--")
    assert not Path("wallet.json").exists()


def test_an_open_wallet_is_replaced_only_by_yes_or_force(tmp_path: Path) -> None:
    asked: list[str] = []

    def answer(text: str) -> bool:
        asked.append(text)
        return len(asked) > 1

    me = IExec("arbitrum-sepolia-testnet", confirm=answer)
    first = me.wallet.create(unencrypted=True)
    with pytest.raises(ConfigurationError, match="aborted by user"):
        me.wallet.create(unencrypted=True)
    assert f"replace wallet.json, which holds the key of {first.address}" in asked[0]
    assert json.loads(first.path.read_text())["address"] == first.address
    second = me.wallet.import_(Secret(KEY), unencrypted=True)
    assert (second.address, len(asked)) == (ADDRESS, 2)
    me.wallet.create(unencrypted=True, force=True)
    assert len(asked) == 2


def test_a_wallet_of_the_working_folder_is_no_play_money(me: IExec, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that asks nobody, such as the sandbox's, asks before a real key is lost."""
    first = me.wallet.create(unencrypted=True)
    monkeypatch.setattr("builtins.input", lambda text: "n")
    with pytest.raises(ConfigurationError, match="aborted"):
        me.wallet.create(unencrypted=True)
    assert json.loads(first.path.read_text())["address"] == first.address
    with me.without_asking():
        assert me.wallet.create(unencrypted=True).address != first.address


def test_a_wallet_that_appears_in_the_meantime_is_not_replaced(me: IExec, monkeypatch: pytest.MonkeyPatch) -> None:
    made = wallet_files.create_wallet_file

    def late(key: Secret, folder: Path, **options: Any) -> Path:
        Path("wallet.json").write_text("another program's")
        return made(key, folder, **options)

    monkeypatch.setattr(wallet_files, "create_wallet_file", late)
    with pytest.raises(ConfigurationError, match="is there already"):
        me.wallet.create(unencrypted=True)
    assert Path("wallet.json").read_text() == "another program's"


def test_a_password_that_is_no_text_is_refused_and_not_repeated(me: IExec) -> None:
    with pytest.raises(ValidationError, match="not text in UTF-8") as caught:
        me.wallet.create(password=Secret("hunter2\udcff"))
    assert caught.value.__context__ is None
    assert me.wallet.list().empty


def test_wallets_are_listed_with_the_first_choice_on_top(me: IExec) -> None:
    empty = me.wallet.list()
    assert len(empty) == 0
    assert {name: str(dtype).removesuffix("[python]") for name, dtype in empty.dtypes.items()} == tables.WALLETS.dtypes
    made = [me.wallet.create(password=PASSWORD) for _ in range(2)]
    me.wallet.create(unencrypted=True)
    table = me.wallet.list()
    assert table["kind"].tolist() == ["unencrypted", "keystore", "keystore"]
    assert set(table["address"][1:]) == {one.address for one in made}
    assert table["date"].isna().tolist() == [True, False, False]
    listed = raw("wallet list", table)
    assert listed["count"] == "3"
    assert listed["wallets"][1]["file"] == table["file"][1]
    json.dumps(listed, default=str)


def test_a_wrong_password_leaves_the_client_with_the_wallet_that_it_had(me: IExec) -> None:
    one, two = (me.wallet.create(password=PASSWORD) for _ in range(2))
    me.wallet.unlock(one.address.lower(), password=PASSWORD)
    with pytest.raises(DecryptionError):
        me.wallet.unlock(two.address, password=Secret("wrong"))
    assert me.signer is not None
    assert me.signer.address == one.address
    me.wallet.unlock(wallet_file=two.path.name, password=PASSWORD)
    assert me.signer.address == two.address


def test_a_locked_client_reads_only_until_it_is_unlocked(me: IExec) -> None:
    made = me.wallet.create(password=PASSWORD)
    me.wallet.unlock(password=PASSWORD)
    assert me.wallet.lock() == made.address
    assert "read-only" in repr(me)
    with pytest.raises(ConfigurationError, match="not a signer"):
        me.wallet.lock()
    me.wallet.unlock(password=PASSWORD)
    assert me.require_signer().address == made.address


def test_where_there_is_no_wallet_the_way_to_one_is_named(tmp_path: Path) -> None:
    for options in ({}, {"keystoredir": "local"}, {"wallet_address": ADDRESS}, {"wallet_file": "none"}):
        with pytest.raises(ConfigurationError) as caught:
            IExec("arbitrum-sepolia-testnet").wallet.unlock(**options)  # type: ignore[arg-type]
        assert caught.value.hint


@pytest.mark.parametrize("verb", ["create", "import", "list", "unlock"])
@pytest.mark.parametrize("given", [5, "", b"x", "a\0b"])
def test_a_folder_that_is_none_is_named(me: IExec, verb: str, given: Any) -> None:
    options = {} if verb == "list" else {"password": PASSWORD}
    arguments = [Secret(KEY)] if verb == "import" else []
    with pytest.raises(ValidationError, match="not a valid keystoredir"):
        getattr(me.wallet, verb.replace("import", "import_"))(*arguments, keystoredir=given, **options)


# What a wallet holds, and its keys.


@pytest.mark.parity("wallet.checkBalances", "wallet.getAddress", "wallet show")
def test_the_own_wallet_is_shown_with_its_address_and_another_one_without(net: Sandbox) -> None:
    owner = net.client(rlc="3 RLC", eth="2 ether")
    shown = owner.wallet.show()
    balance = {"ether": "2.0", "RLC": "3.0", "nRLC": str(3 * RLC), "wei": str(2 * 10**18)}
    assert raw("wallet show", shown) == {"balance": balance, "wallet": {"address": wallet(owner)}}
    other = net.user.wallet.show(wallet(owner))
    assert raw("wallet show", other) == {"balance": balance}
    assert shown == other


def test_a_private_key_is_shown_when_it_is_asked_for_and_only_then(net: Sandbox) -> None:
    owner = net.client(signer=PrivateKeySigner(KEY))
    shown = owner.wallet.show(show_private_key=True)
    assert shown.wallet is not None
    assert KEY not in repr(shown) + str(shown) + repr(shown.wallet) + repr(owner.wallet.show().wallet)
    assert shown.wallet.privateKey == Secret(f"0x{KEY}")
    keys = raw("wallet show", shown)["wallet"]
    assert list(keys) == ["privateKey", "publicKey", "address"]
    assert json.loads(json.dumps(keys))["privateKey"] == f"0x{KEY}"
    assert keys["publicKey"].startswith("0x04")
    with pytest.raises(ValidationError, match="own wallet"):
        owner.wallet.show(wallet(owner), show_private_key=True)


def test_a_wallet_that_keeps_its_key_to_itself_says_so(net: Sandbox) -> None:
    class Browser:
        address = ADDRESS
        sign_order = sign_challenge = sign_message = sign_transaction = None

    client = net.client()
    client.signer = Browser()  # type: ignore[assignment]
    with pytest.raises(ConfigurationError, match="keeps its private key to itself"):
        client.wallet.show(show_private_key=True)
    assert client.wallet.show().address == ADDRESS


# Sending.


@pytest.mark.parity("wallet.sendETH", "wallet send-ether")
def test_ether_arrives_to_the_wei_and_the_fee_is_below_what_was_shown(net: Sandbox) -> None:
    to = fresh()
    with person(net, net.client(eth="2 ether")) as one:
        sent = one.client.wallet.send_ether("0.7", "ether", to=to.lower())
        me = wallet(one.client)
        assert (sent.amount, sent.currency, sent.sender, sent.to) == (7 * 10**17, "ether", me, to)
        assert raw("wallet send-ether", sent) == {
            "amount": str(7 * 10**17),
            "from": me,
            "to": to,
            "txHash": sent.txHash,
        }
        assert net.user.wallet.show(to).wei == 7 * 10**17
        fee = 13 * 10**17 - one.client.wallet.show().wei
        assert 0 < fee <= _shown_fee(one.asked[0])
        assert one.asked[0].startswith(f"send 0.7 ether from wallet {me} to {to}\n  fee: at most ")
        assert one.node.sent == 1
        assert repr(sent) == f"Sent(0.7 ether to {to}, txHash={sent.txHash})"


@pytest.mark.parity("wallet.sendRLC", "wallet send-RLC")
def test_rlc_arrives_to_the_nrlc(net: Sandbox) -> None:
    to = fresh()
    with person(net, net.client(rlc="2 RLC")) as one:
        sent = one.client.wallet.send_RLC("1.000000001 RLC", to=to)
        assert (sent.amount, sent.currency) == (1_000_000_001, "RLC")
        assert one.asked[0].startswith(
            f"send 1.000000001 RLC from wallet {wallet(one.client)} to {to}\n  fee: at most "
        )
        assert one.client.wallet.show().nRLC == 999_999_999
        assert (net.user.wallet.show(to).nRLC, net.user.wallet.show(to).wei) == (1_000_000_001, 0)
        assert one.node.sent == 1


@pytest.mark.parity("wallet sendRLC", "wallet sendETH")
def test_a_bare_number_means_what_the_cli_means_by_it(net: Sandbox) -> None:
    me, to = net.client(rlc="10 RLC", eth="10 ether"), fresh()
    assert line(me, f"wallet send-ether 0.5 --to {to}").amount == 5 * 10**17
    assert line(me, f"wallet sendETH 2 gwei --to {to}").amount == 2 * GWEI
    assert line(me, f"wallet send-RLC 1.5 --to {to}").amount == 15 * 10**8
    assert line(me, f"wallet send-RLC 3 nRLC --to {to}").amount == 3
    assert line(me, f"wallet sendRLC 5 --to {to}").amount == 5
    assert line(me, f"wallet sendRLC 1 RLC --to {to}").amount == RLC
    # In Python a bare number is the smallest unit, as everywhere.
    assert me.wallet.send_ether(6, to=to).amount == 6
    assert me.wallet.send_RLC("7", to=to).amount == 7
    assert net.user.wallet.show(to).nRLC == 25 * 10**8 + 3 + 5 + 7
    assert net.user.wallet.show(to).wei == 5 * 10**17 + 2 * GWEI + 6


@pytest.mark.parametrize("verb", ["send_ether", "send_RLC", "sendRLC"])
@pytest.mark.parametrize(
    "amount",
    [(0.5,), (-1,), (True,), ("-1",), ("1e3",), ("0.1",), (None,), ("",), ("1 USD",), (2**256,), (0,), ("0",), (b"1",),
     (float("nan"),), ("1", "rlc"), ("1", "ETHER"), ("0.0000000000000000001", "ether"), ("0.0000000001", "RLC")],
)  # fmt: skip
def test_a_wrong_amount_is_refused_before_any_request(net: Sandbox, verb: str, amount: tuple[Any, ...]) -> None:
    with person(net) as one:
        with pytest.raises(ValidationError) as caught:
            getattr(one.client.wallet, verb)(*amount, to=NOBODY)
        assert caught.value.hint
        assert not one.node.methods
        assert not one.asked


@pytest.mark.parametrize(
    ("to", "words"),
    [
        ("0x12", "not a valid ethereum address"), ("nobody.eth", "not a valid ethereum address"), (5, "not a valid"),
        (None, "not a valid"), (NULL_ADDRESS, "zero address"),
        ("0x7Bd4783FDCAD405A28052a0d1f11236A741da593", "checksum is wrong"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("verb", ["send_ether", "send_RLC", "sweep"])
def test_a_receiver_that_may_be_mistyped_is_refused_before_any_request(
    net: Sandbox, verb: str, to: Any, words: str
) -> None:
    with person(net) as one:
        arguments = () if verb == "sweep" else ("5",)
        with pytest.raises(ValidationError, match=words) as caught:
            getattr(one.client.wallet, verb)(*arguments, to=to)
        assert caught.value.hint
        assert not one.node.methods


def test_a_contract_of_iexec_gets_no_money_that_nobody_gets_out_again(net: Sandbox) -> None:
    with person(net) as one:
        chain = one.client.chain
        for contract in (chain.hub_address, chain.token, chain.registry("app")):
            for pay in (one.client.wallet.send_RLC, one.client.wallet.send_ether):
                with pytest.raises(ValidationError, match="is lost"):
                    pay(5, to=contract)
        assert not one.touched


def test_more_than_there_is_is_refused_with_the_amounts_and_unsigned(net: Sandbox) -> None:
    holder = net.client(rlc="1 RLC", eth="1 ether")
    with person(net, holder, signer=NoSigner(new_key())) as one:
        net.fund(wallet(one.client), rlc="1 RLC", eth="1 ether")
        with pytest.raises(InsufficientFundsError) as caught:
            one.client.wallet.send_RLC("2.5 RLC", to=NOBODY)
        assert caught.value.message == "Amount to send exceed wallet balance"
        assert caught.value.context == {
            "wanted": "2.5 RLC", "wallet": "1 RLC", "missing": "1.5 RLC", "address": wallet(one.client),
        }  # fmt: skip
        with pytest.raises(InsufficientFundsError, match="Amount to send exceed wallet balance"):
            one.client.wallet.send_ether("1.1 ether", to=NOBODY)
        # All of it, and nothing for the fee.
        with pytest.raises(InsufficientFundsError, match="needs up to"):
            one.client.wallet.send_ether("1 ether", to=NOBODY)
        assert not one.asked


def test_a_no_sends_nothing(net: Sandbox) -> None:
    with person(net) as one:
        one.answer = False
        wishes: list[Callable[[], Any]] = [
            lambda: one.client.wallet.send_ether(5, to=NOBODY),
            lambda: one.client.wallet.send_RLC(5, to=NOBODY),
            lambda: one.client.wallet.sweep(to=NOBODY),
        ]
        for wish in wishes:
            with pytest.raises(ConfigurationError, match="aborted by user"):
                wish()
        assert len(one.asked) == 3
        assert not one.touched


@pytest.mark.parametrize("verb", ["send_ether", "send_RLC", "deposit", "withdraw", "approve"])
def test_who_pays_is_who_was_shown_even_when_the_wallet_changes_meanwhile(net: Sandbox, verb: str) -> None:
    payer, other = (net.client(rlc="5 RLC", deposit="5 RLC") for _ in range(2))
    with person(net, payer) as one:

        def swap(text: str) -> bool:
            one.client.signer = other.signer
            return True

        one.client._confirm = swap
        noun: Any = one.client.wallet if verb.startswith("send") else one.client.account
        before = nonce(other), nonce(payer)
        if verb == "approve":
            noun.approve(5, NOBODY)
        else:
            getattr(noun, verb)(5, **({"to": NOBODY} if noun is one.client.wallet else {}))
        assert (nonce(other), nonce(payer)) == (before[0], before[1] + 1)


def test_a_read_only_client_sends_nothing(net: Sandbox) -> None:
    with person(net, net.user, signer=None) as guest:
        for wish in (guest.client.wallet.send_ether, guest.client.wallet.send_RLC):
            with pytest.raises(ConfigurationError, match="not a signer"):
                wish(5, to=NOBODY)
        with pytest.raises(ConfigurationError, match="not a signer"):
            guest.client.wallet.sweep(to=NOBODY)


# Sweeping.


@pytest.mark.parity("wallet.sweep", "wallet sweep")
def test_a_sweep_leaves_nothing_and_everything_but_the_fees_arrives(net: Sandbox) -> None:
    to = fresh()
    with person(net, net.client(rlc="2.5 RLC", eth="1 ether")) as one:
        swept = one.client.wallet.sweep(to=to)
        me, left, got = wallet(one.client), one.client.wallet.show(), net.user.wallet.show(to)
        assert (left.wei, left.nRLC) == (0, 0)
        assert (got.nRLC, got.wei) == (swept.nRLC, swept.wei) == (25 * 10**8, got.wei)
        assert 0 < 10**18 - got.wei <= _shown_fee(one.asked[0])
        assert got.wei >= _amount(one.asked[0], "at least ")
        assert swept.errors == ()
        assert raw("wallet sweep", swept) == {
            "from": me, "to": to, "sendNativeTxHash": swept.sendNativeTxHash,
            "sendERC20TxHash": swept.sendERC20TxHash, "errors": None,
        }  # fmt: skip
        for words in (f"everything that wallet {me} holds to {to}", "RLC: 2.5 RLC, which is all", "all of the 1 ether"):
            assert words in one.asked[0]
        assert (one.node.sent, len(one.asked)) == (2, 1)


@pytest.mark.parametrize("rlc", [0, "1 RLC"])
def test_a_sweep_of_little_ether_leaves_nothing_either(net: Sandbox, rlc: object) -> None:
    me, to = net.client(rlc=rlc, eth="0.0008 ether"), fresh()
    swept = me.wallet.sweep(to=to)
    assert (me.wallet.show().wei, swept.errors) == (0, ())
    assert net.user.wallet.show(to).wei == swept.wei > 0


def test_ether_that_does_not_pay_for_itself_stays_and_the_record_says_so(net: Sandbox) -> None:
    me, to = net.client(rlc="1 RLC"), fresh()
    with person(net, me) as one:
        # What a transfer of the token may cost at most, and a little.
        _set_ether(net, wallet(me), _token_fee(me, to) + 10**12)
        swept = one.client.wallet.sweep(to=to)
        assert swept.errors == ("Failed to transfer native token: Tx fees are greater than wallet balance",)
        assert (swept.nRLC, swept.wei, swept.sendNativeTxHash) == (RLC, 0, None)
        assert "none of the" in one.asked[0]
        assert "NOT DONE: Failed to transfer native token" in repr(swept)
        assert raw("wallet sweep", swept)["errors"] == list(swept.errors)
        assert net.user.wallet.show(to).nRLC == RLC
        assert one.node.sent == 1


def test_an_empty_wallet_and_one_that_cannot_pay_are_not_swept(net: Sandbox) -> None:
    for funds in (
        {"rlc": 0, "eth": 0},
        {"rlc": 0, "eth": 10**12},
        {"rlc": "1 RLC", "eth": 0},
        {"rlc": "1 RLC", "eth": 5},
    ):
        me = net.client(**funds)  # type: ignore[arg-type]
        with person(net, me, signer=NoSigner(new_key())) as one:
            net.fund(wallet(one.client), **funds)
            with pytest.raises(InsufficientFundsError):
                one.client.wallet.sweep(to=NOBODY)
            assert not one.asked


def test_a_wallet_is_swept_neither_into_a_contract_nor_into_itself(net: Sandbox, app: str) -> None:
    with person(net) as one:
        with pytest.raises(ValidationError, match="Cannot sweep to a contract"):
            one.client.wallet.sweep(to=app)
        with pytest.raises(ValidationError, match="is lost"):
            one.client.wallet.sweep(to=one.client.chain.token)
        with pytest.raises(ValidationError, match="not swept into itself"):
            one.client.wallet.sweep(to=wallet(one.client))
        assert not one.touched
        assert not one.asked


def _breaking(one: Person, which: int, *, heard: bool) -> None:
    """Break the connection at a sent transaction, counted from 1, after or before the node has heard it."""
    count = 0

    def before(methods: list[str]) -> httpx.Response | None:
        nonlocal count
        count += methods.count("eth_sendRawTransaction")
        if "eth_sendRawTransaction" in methods and count == which and not heard:
            raise httpx.ReadTimeout("the connection broke")
        return None

    def after(methods: list[str], response: httpx.Response) -> httpx.Response:
        if "eth_sendRawTransaction" in methods and count == which and heard:
            raise httpx.ReadTimeout("the answer was lost")
        return response

    one.node.before, one.node.after = before, after
    one.client.chain._transactions._lookup_s = 0.2


def test_ether_that_fails_after_the_rlc_went_is_told_with_both_facts(net: Sandbox) -> None:
    to = fresh()
    with person(net, net.client(rlc="2 RLC", eth="1 ether")) as one:
        _breaking(one, 2, heard=False)
        swept = one.client.wallet.sweep(to=to)
        assert (swept.nRLC, swept.wei, swept.sendNativeTxHash) == (2 * RLC, 0, None)
        assert swept.sendERC20TxHash is not None
        assert len(swept.errors) == 1
        assert swept.errors[0].startswith("Failed to transfer native token: the transaction may have been sent, or not")
        # A person can look up what may have been sent.
        assert "(transaction 0x" in swept.errors[0]
        assert one.node.sent == 2
        assert net.user.wallet.show(to).nRLC == 2 * RLC


@pytest.mark.parametrize("heard", [True, False])
def test_rlc_of_unknown_fate_stops_the_sweep_and_is_never_sent_twice(net: Sandbox, heard: bool) -> None:
    to = fresh()
    with person(net, net.client(rlc="2 RLC", eth="1 ether")) as one:
        _breaking(one, 1, heard=heard)
        if heard:
            # The transaction is found by its hash, so it counts.
            assert one.client.wallet.sweep(to=to).errors == ()
            assert one.node.sent == 2
        else:
            with pytest.raises(Web3ProviderSendError, match="Failed to sweep ERC20, sweep aborted") as caught:
                one.client.wallet.sweep(to=to)
            assert caught.value.tx_hash is not None
            assert one.node.sent == 1
            assert one.client.wallet.show().nRLC == 2 * RLC


def test_a_ctrl_c_during_the_ether_names_what_was_done(net: Sandbox) -> None:
    with person(net, net.client(rlc="2 RLC", eth="1 ether")) as one:
        count = 0

        def before(methods: list[str]) -> None:
            nonlocal count
            count += methods.count("eth_sendRawTransaction")
            if count == 2:
                raise KeyboardInterrupt

        one.node.before = before
        with pytest.raises(KeyboardInterrupt) as caught:
            one.client.wallet.sweep(to=fresh())
        notes = "\n".join(caught.value.__notes__)
        assert "may be on its way" in notes
        assert "the RLC was sent in transaction 0x" in notes


def test_fees_that_rise_while_the_person_thinks_are_paid_up_to_what_was_shown_and_no_further(net: Sandbox) -> None:
    to = fresh()
    for rise, done in ((13, True), (100, False)):
        client = net.client(rlc="1 RLC", eth="1 ether")
        base = _next_base_fee(net, 20 * GWEI)
        asked: list[str] = []

        def think(text: str, asked: list[str] = asked, price: int = base * rise // 10) -> bool:
            asked.append(text)
            _next_base_fee(net, price)
            return True

        with person(net, client, confirm=think) as one:
            before = one.client.wallet.show().wei
            if done:
                assert one.client.wallet.send_RLC("1 RLC", to=to).amount == RLC
            else:
                with pytest.raises(
                    Web3ProviderSendError, match=r"have risen above the .* ether that was shown"
                ) as caught:
                    one.client.wallet.send_RLC("1 RLC", to=to)
                assert caught.value.tx_hash is None
                assert one.node.sent == 0
            assert before - one.client.wallet.show().wei <= _shown_fee(asked[0])
    _next_base_fee(net, GWEI)


def test_a_sweep_whose_fees_rise_sends_no_ether_beyond_what_was_shown(net: Sandbox) -> None:
    client, asked = net.client(eth="1 ether"), list[str]()
    base = _next_base_fee(net, 20 * GWEI)

    def think(text: str) -> bool:
        asked.append(text)
        _next_base_fee(net, base * 10)
        return True

    with person(net, client, confirm=think) as one:
        with pytest.raises(Web3ProviderSendError, match="have risen above"):
            one.client.wallet.sweep(to=fresh())
        assert one.node.sent == 0
        assert one.client.wallet.show().wei == 10**18
    _next_base_fee(net, GWEI)


def test_money_that_comes_in_while_the_person_thinks_is_not_swept(net: Sandbox) -> None:
    client, to = net.client(rlc="1 RLC", eth="1 ether"), fresh()

    def think(text: str) -> bool:
        net.fund(wallet(client), rlc="5 RLC", eth="3 ether")
        return True

    with person(net, client, confirm=think) as one:
        swept = one.client.wallet.sweep(to=to)
        assert (swept.nRLC, swept.errors) == (RLC, ())
        assert swept.wei < 10**18
        left = one.client.wallet.show()
        assert left.nRLC == 5 * RLC
        # The RLC's own sending was paid from what came in, because 1 ether in all was agreed to.
        assert 3 * 10**18 > left.wei > 3 * 10**18 - 10**15


# Where RLC is the chain's own coin.


@pytest.fixture
def coined(net: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Iterator[Person]:
    """A person on a chain that says that it has no token, so that its coin is RLC; nothing else differs."""
    with person(net, net.client(rlc="9 RLC", eth="3 ether")) as one:
        chain = one.client.chain
        monkeypatch.setitem(vars(chain), "hub", replace(chain.hub, token=NULL_ADDRESS))
        yield one


def test_a_chain_whose_coin_is_rlc_sends_coins(net: Sandbox, coined: Person) -> None:
    to = fresh()
    sent = coined.client.wallet.send_RLC("1.5 RLC", to=to)
    assert (sent.amount, sent.currency) == (15 * 10**8, "RLC")
    assert net.user.wallet.show(to).wei == 15 * 10**17
    with pytest.raises(InsufficientFundsError, match="Amount to send exceed wallet balance"):
        coined.client.wallet.send_RLC("2 RLC", to=to)
    with pytest.raises(ConfigurationError, match="disabled on sidechain, use sendRLC"):
        coined.client.wallet.send_ether("1 ether", to=to)


def test_a_chain_whose_coin_is_rlc_is_swept_in_one_transaction(net: Sandbox, coined: Person) -> None:
    to = fresh()
    swept = coined.client.wallet.sweep(to=to)
    assert (swept.sendERC20TxHash, swept.errors) == (None, ())
    assert swept.nRLC == swept.wei // GWEI
    assert net.user.wallet.show(to).wei == swept.wei
    assert coined.client.wallet.show().wei == 0
    assert coined.node.sent == 1
    assert "all of the 3 RLC" in coined.asked[0]


# How transactions are sent.


def _transaction(net: Sandbox, tx_hash: str) -> dict[str, Any]:
    found: dict[str, Any] = net.user.chain.rpc.call("eth_getTransactionByHash", tx_hash)
    return found


def _with(net: Sandbox, client: IExec, **options: Any) -> IExec:
    return IExec(
        net.chain_id, signer=client.signer, rpc=client.network.rpc, hub_address=client.hub_address, confirm=False,
        **options,
    )  # fmt: skip


def test_a_gas_price_is_what_every_transaction_pays(net: Sandbox) -> None:
    me, to = _with(net, net.client(rlc="1 RLC"), gas_price="7 gwei"), fresh()
    try:
        sent = me.wallet.send_RLC(5, to=to)
        transaction = _transaction(net, sent.txHash)
        assert (transaction["type"], int(transaction["gasPrice"], 16)) == ("0x0", 7 * GWEI)
        swept = me.wallet.sweep(to=to)
        assert swept.sendNativeTxHash is not None
        assert int(_transaction(net, swept.sendNativeTxHash)["gasPrice"], 16) == 7 * GWEI
        assert me.wallet.show().wei == 0
    finally:
        me.close()


def test_a_gas_price_below_the_chain_s_is_refused_before_the_question(net: Sandbox) -> None:
    holder = net.client(rlc="1 RLC", eth="1 ether")
    for price in (0, 1):
        me = _with(net, holder, gas_price=price)
        try:
            for wish in (lambda me=me: me.wallet.send_ether(1, to=NOBODY), lambda me=me: me.wallet.sweep(to=NOBODY)):
                with pytest.raises(ConfigurationError, match=f"a gas price of {price} wei is below"):
                    wish()
        finally:
            me.close()
    assert nonce(holder) == 0


def test_confirmations_are_really_waited_for(net: Sandbox) -> None:
    me, to = _with(net, net.client(), confirms=4), fresh()
    done = threading.Event()

    def mine() -> None:
        while not done.wait(0.05):
            net.mine()

    miner = threading.Thread(target=mine)
    miner.start()
    try:
        sent = me.wallet.send_ether(5, to=to)
        block = int(net.user.chain.rpc.call("eth_getTransactionReceipt", sent.txHash)["blockNumber"], 16)
        assert net.user.chain.block_number() >= block + 3
    finally:
        done.set()
        miner.join()
        me.close()


def test_threads_send_with_one_wallet_and_never_with_one_nonce(net: Sandbox) -> None:
    owner, to = net.client(rlc="9 RLC"), fresh()
    with person(net, owner) as one, person(net, owner) as two:
        results = in_threads(8, lambda index: (one, two)[index % 2].client.wallet.send_RLC(index + 1, to=to))
        assert [r for r in results if isinstance(r, Exception)] == []
        assert net.user.wallet.show(to).nRLC == 36
        numbers = [int(_transaction(net, r.txHash)["nonce"], 16) for r in results]
        assert sorted(numbers) == list(range(8))


SENDER = """
import sys
from iexec_nb import IExec, Secret
chain, rpc, hub, to = sys.argv[1:5]
client = IExec(int(chain), signer=Secret(sys.stdin.readline().strip()), rpc=rpc, hub_address=hub, confirm=False)
client.chain.hub
print("ready", flush=True)
sys.stdin.readline()
for _ in range(6):
    print(client.wallet.send_ether(1, to=to).txHash, flush=True)
"""


def test_programs_send_with_one_wallet_and_never_with_one_nonce(net: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(Path.cwd()))
    key, to = "0x" + new_key().reveal_bytes().hex(), fresh()
    me = net.client(signer=PrivateKeySigner(key))
    arguments = [str(net.chain_id), str(me.network.rpc), str(me.hub_address), to]
    programs = [
        subprocess.Popen(
            [sys.executable, "-c", SENDER, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(3)
    ]
    for one in programs:
        assert one.stdin is not None
        assert one.stdout is not None
        one.stdin.write(f"{key}\n")
        one.stdin.flush()
        assert one.stdout.readline() == "ready\n"
    for one in programs:
        assert one.stdin is not None
        one.stdin.write("\n")
        one.stdin.flush()
    hashes = [tx_hash for one in programs for tx_hash in one.communicate(timeout=60)[0].split()]
    assert len(set(hashes)) == 18
    assert sorted(int(_transaction(net, one)["nonce"], 16) for one in hashes) == list(range(18))
    assert net.user.wallet.show(to).wei == 18


def _shown_fee(text: str) -> int:
    return _amount(text, "at most ")


def _amount(text: str, before: str) -> int:
    from iexec_nb.protocol.units import wei

    number, _, rest = text.partition(before)[2].partition(" ")
    return wei((number, rest.split()[0]))


def _next_base_fee(net: Sandbox, price: int) -> int:
    net.user.chain.rpc.call("anvil_setNextBlockBaseFeePerGas", hex(price))
    net.mine()
    return price


def _set_ether(net: Sandbox, account: str, amount: int) -> None:
    net.user.chain.rpc.call("anvil_setBalance", account, hex(amount))


def _token_fee(client: IExec, to: str) -> int:
    from iexec_nb.services import abi

    chain = client.chain
    return chain.quote(wallet(client), chain.token, abi.TOKEN_TRANSFER.encode(to, RLC)).max_fee


def test_a_record_of_a_sweep_reads_as_a_sentence() -> None:
    swept = Swept(sender=NOBODY, to=ADDRESS, nRLC=RLC, wei=5 * 10**17)
    assert repr(swept) == f"Swept(1 RLC and 0.5 ether to {ADDRESS})"


def test_an_address_without_a_key_is_looked_at_and_refused_before_anything_is_asked(net: Sandbox, buyer: IExec) -> None:
    who = buyer.require_signer().address
    with person(net, buyer, signer=ReadOnlySigner(who)) as watcher:
        client = watcher.client
        assert client.account.show() == buyer.account.show()
        assert client.wallet.show().address == who
        assert client.app.count() == 0
        for spend in (
            lambda: client.account.deposit("1 RLC"),
            lambda: client.wallet.send_ether(1, to="0x" + "12" * 20),
            lambda: client.requester.push_secret("name", secret_value=Secret("x")),
            lambda: client.order.sign(client.order.create("request", app="0x" + "12" * 20, category=0)),
        ):
            with pytest.raises(Web3ProviderSignMessageError, match="can be looked at and cannot"):
                spend()
        assert watcher.asked == []
        assert not watcher.touched

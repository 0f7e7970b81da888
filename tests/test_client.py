"""The client: what it is made of, what it refuses, and that making one costs nothing."""

from __future__ import annotations

import json
import os
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from iexec_nb import client as clients
from iexec_nb.client import IExec, active, set_active
from iexec_nb.errors import ConfigurationError, IExecError, MarketCallError, ValidationError
from iexec_nb.protocol.networks import NETWORKS, Network, network
from iexec_nb.protocol.types import Secret
from iexec_nb.sandbox.network import Sandbox
from iexec_nb.services.wallet import PrivateKeySigner

KEY = "0x" + "11" * 32
ADDRESS = "0x" + "12" * 20


@pytest.fixture(autouse=True)
def nobody_active() -> Iterator[None]:
    before = set_active(None)
    yield
    set_active(before)


@pytest.mark.parametrize("one", NETWORKS, ids=lambda one: one.name)
def test_a_client_of_every_known_chain_is_made_offline(one: Network) -> None:
    for chain in (one, one.name, one.chain_id, str(one.chain_id)):
        client = IExec(chain)
        assert client.network.chain_id == one.chain_id
        assert "read-only" in repr(client)


def test_the_default_chain_is_the_test_network_and_the_environment_names_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert IExec().network.name == "arbitrum-sepolia-testnet"
    assert not IExec().is_mainnet
    monkeypatch.setenv("IEXEC_NB_CHAIN", "arbitrum-mainnet")
    assert IExec().network.chain_id == 42161
    assert IExec().is_mainnet
    assert IExec("arbitrum-sepolia-testnet").network.name == "arbitrum-sepolia-testnet"
    monkeypatch.setenv("IEXEC_NB_CHAIN", "arbitum-mainnet")
    with pytest.raises(IExecError, match="arbitum-mainnet") as caught:
        IExec()
    assert "arbitrum-mainnet" in str(caught.value)


@pytest.mark.parametrize(
    ("chain", "said"),
    [("arbitrum-mainet", "arbitrum-mainnet"), ("nowhere", "nowhere"), (99999, "99999"), (-1, "-1"), (1.5, "1.5"),
     (True, "True"), ("", ""), ([1], "[1]")],
)  # fmt: skip
def test_an_unknown_chain_is_named_with_what_to_type(chain: Any, said: str) -> None:
    with pytest.raises(IExecError) as caught:
        IExec(chain)
    assert said in str(caught.value)
    assert caught.value.hint


@pytest.mark.parametrize(
    "options",
    [
        {"confirms": 0}, {"confirms": -1}, {"confirms": 1.0}, {"confirms": "2"}, {"confirms": True},
        {"hub_address": "0x12"}, {"hub_address": 5}, {"rpc": 5}, {"rpc": object}, {"timeout_s": 0},
        {"timeout_s": -1}, {"timeout_s": "10"}, {"timeout_s": True}, {"signer": KEY}, {"signer": 5},
        {"signer": Secret("x")}, {"confirm": "yes"}, {"confirm": 1},
    ],
    ids=str,
)  # fmt: skip
def test_a_wrong_option_is_a_typed_error_when_the_client_is_made(options: dict[str, Any]) -> None:
    with pytest.raises(IExecError) as caught:
        IExec("arbitrum-mainnet", **options)
    assert caught.value.hint
    assert "1111" not in str(caught.value)


@pytest.mark.parametrize("name", ["rpc", "market", "sms", "ipfs_gateway", "ipfs_node", "compass"])
@pytest.mark.parametrize("url", ["ftp://x", "localhost:80", "x", "http://", "https://[::1"])
def test_an_address_of_a_service_that_is_none_is_said_before_a_request(name: str, url: str) -> None:
    client = IExec("arbitrum-mainnet", **{name: url})  # type: ignore[arg-type]
    client.__dict__["chain"] = "not asked for"
    opened = {
        "rpc": lambda: type(client).chain.func(client),
        "market": lambda: client._http("market", "Market API", MarketCallError),
        "sms": lambda: client.sms,
        "ipfs_gateway": lambda: client.ipfs,
        "ipfs_node": lambda: client.ipfs,
        "compass": lambda: client._http("compass", "Compass API", MarketCallError),
    }
    with pytest.raises(ConfigurationError) as caught:
        opened[name]()
    assert caught.value.hint


def test_another_chain_needs_its_addresses_and_then_works() -> None:
    with pytest.raises(IExecError):
        IExec(5555)
    with pytest.raises(IExecError):
        IExec(5555, rpc="http://127.0.0.1:1")
    client = IExec(5555, rpc="http://127.0.0.1:1", hub_address=ADDRESS)
    assert client.network.chain_id == 5555
    assert client.hub_address == ADDRESS
    for part in ("sms", "ipfs"):
        with pytest.raises(
            ConfigurationError, match="option not set and no default value for your chain 5555"
        ) as caught:
            getattr(client, part)
        assert "IExec(5555" in str(caught.value.hint)


def test_a_retired_chain_says_what_it_lacks_when_that_is_needed() -> None:
    retired = [one for one in NETWORKS if not one.live]
    assert retired
    for one in retired:
        client = IExec(one)
        assert client.require_tdx is False
        if one.sms is None:
            with pytest.raises(ConfigurationError, match="sms option not set"):
                _ = client.sms


def test_a_private_key_may_be_given_as_a_secret_and_shows_nowhere() -> None:
    client = IExec("arbitrum-mainnet", signer=Secret(KEY))
    assert isinstance(client.signer, PrivateKeySigner)
    assert client.signer.address == PrivateKeySigner(KEY).address
    assert "1111" not in repr(client) + repr(vars(client))
    assert client.signer.address in repr(client)


def test_a_web3_object_gives_its_address() -> None:
    from web3 import HTTPProvider, Web3

    client = IExec("arbitrum-mainnet", rpc=Web3(HTTPProvider("http://127.0.0.1:8545/key")))
    assert client._url("rpc") == "http://127.0.0.1:8545/key"
    assert client.web3.provider.endpoint_uri == "http://127.0.0.1:8545/key"
    assert IExec("arbitrum-mainnet", rpc=HTTPProvider("http://127.0.0.1:1"))._url("rpc") == "http://127.0.0.1:1"
    with pytest.raises(ConfigurationError, match="Unsupported provider"):
        IExec("arbitrum-mainnet", rpc=Web3())  # type: ignore[no-untyped-call]


def test_the_active_client_is_the_last_activated_and_else_the_default() -> None:
    assert active().network.name == "arbitrum-sepolia-testnet"
    assert active() is active()
    one = IExec("arbitrum-mainnet").activate()
    assert active() is one
    assert set_active(None) is one
    assert clients._active is None


def test_a_client_without_a_wallet_says_what_it_was_needed_for() -> None:
    with pytest.raises(ConfigurationError, match="not a signer") as caught:
        IExec().require_signer("pay the bill")
    assert caught.value.context == {"needed to": "pay the bill"}


def test_confirmation_is_asked_of_whom_was_given() -> None:
    asked: list[str] = []

    def yes(text: str) -> bool:
        asked.append(text)
        return True

    IExec("arbitrum-mainnet", confirm=yes).approve("spend")
    assert asked == ["spend\n  chain: arbitrum-mainnet (42161)"]
    IExec("arbitrum-mainnet", confirm=False).approve("spend")
    with pytest.raises(ConfigurationError, match="aborted by user"):
        IExec("arbitrum-mainnet", confirm=lambda text: False).approve("spend")


def test_without_asking_holds_for_one_command_also_after_an_error() -> None:
    client = IExec("arbitrum-mainnet", confirm=lambda text: False)

    def broken() -> None:
        with client.without_asking():
            client.approve("spend")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        broken()
    with pytest.raises(ConfigurationError):
        client.approve("spend")


def test_questions_of_several_threads_are_asked_one_after_the_other() -> None:
    open_questions: list[str] = []
    most: list[int] = []
    second = threading.Event()

    def confirm(text: str) -> bool:
        open_questions.append(text)
        # The other thread has time to ask, too, while this question is open.
        second.wait(0.2)
        most.append(len(open_questions))
        open_questions.remove(text)
        return True

    def ask(text: str) -> None:
        client.approve(text)
        second.set()

    client = IExec("arbitrum-mainnet", confirm=confirm)
    threads = [threading.Thread(target=ask, args=(f"spend {number}",)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert most == [1, 1]


def test_a_yes_on_one_line_is_no_yes_for_another_thread() -> None:
    client = IExec("arbitrum-mainnet", confirm=lambda text: False)
    inside, go_on, both = threading.Event(), threading.Event(), threading.Barrier(2)

    def answered() -> None:
        with client.without_asking():
            both.wait(10)
            client.approve("spend")
            inside.set()
            go_on.wait(10)

    threads = [threading.Thread(target=answered) for _ in range(2)]
    for thread in threads:
        thread.start()
    assert inside.wait(10)
    with pytest.raises(ConfigurationError, match="aborted"):
        client.approve("spend")
    go_on.set()
    for thread in threads:
        thread.join(10)
    # Whichever of the two was over first, nothing is left of their answers.
    with pytest.raises(ConfigurationError, match="aborted"):
        client.approve("spend")


def test_another_chain_asks_although_the_first_asked_nobody() -> None:
    with Sandbox() as net:
        real = net.user.with_options(chain="arbitrum-mainnet")
        assert net.user.with_options(confirms="2").approve("spend") is None
        # Keys of what is encrypted for a real chain do not end with the sandbox.
        assert real.store.folder == IExec().store.folder
    asked: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("builtins.input", lambda text: asked.append(text) or "n")
        with pytest.raises(ConfigurationError, match="aborted"):
            real.approve("spend")
        with real.without_asking():
            real.approve("spend")
    assert asked == ["spend\n  chain: arbitrum-mainnet (42161)\nGo on? [y/N] "]
    choose = IExec("bellecour", confirm=lambda text: text.startswith("yes"))
    choose.with_options(chain="arbitrum-mainnet").approve("yes, spend")


def test_a_client_that_asks_nobody_about_money_asks_about_files() -> None:
    client = IExec("arbitrum-mainnet", confirm=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("builtins.input", lambda text: "")
        with pytest.raises(ConfigurationError, match="aborted"):
            client.approve("replace wallet.json", replaces=True)
    with client.without_asking():
        client.approve("replace wallet.json", replaces=True)


def test_a_name_in_a_question_moves_no_cursor_and_makes_no_line() -> None:
    asked: list[str] = []
    evil = Network(chain_id=5, name="safe\x1b[2J\n  amount: 0 \u202e", rpc="http://a.test", hub_address=ADDRESS)
    client = IExec(evil, confirm=lambda text: asked.append(text) is None)
    client.approve("pay\x1b[1A\x9b1A\n  fee: 1")
    first, second, third = asked[0].split("\n")
    assert (second, third[:14]) == ("  fee: 1", "  chain: safe\ufffd")
    assert all(line.isprintable() for line in (first, second, third))
    assert repr(client).isprintable()


def test_a_framework_on_the_line_is_the_one_whose_service_gets_the_secrets(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    sms = {"scone": "http://scone.test", "gramine": "http://gramine.test"}
    entry = {"id": "134", "host": "http://node.test", "sms": sms}
    Path("chain.json").write_text(json.dumps({"default": "bellecour", "chains": {"bellecour": entry}}))
    client = IExec()
    assert client.url("sms") == "http://scone.test"
    assert client.with_options(tee_framework="gramine").url("sms") == "http://gramine.test"
    assert IExec("arbitrum-mainnet").with_options(tee_framework="gramine").network.name == "arbitrum-mainnet"


def test_the_store_makes_private_folders_and_files_and_leaves_nothing_else(tmp_path: Path) -> None:
    client = IExec("arbitrum-mainnet", store=tmp_path / "deep" / "store")
    before = os.umask(0)
    try:
        path = client.store.keep_dataset_key("0x" + "ab" * 32, Secret("key"))
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(client.store.folder.stat().st_mode) == 0o700
    assert client.store.dataset_key("0x" + "ab" * 32) == Secret("key")
    assert client.store.dataset_key("0x" + "00" * 32) is None
    assert client.store.write(path, b"other").read_bytes() == b"other"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [one.name for one in path.parent.iterdir()] == [path.name]
    path.parent.chmod(0o755)
    client.store.subfolder("datasets")
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_the_store_of_a_user_lies_where_the_system_keeps_such_things(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    folder = IExec().store.folder
    assert folder.is_relative_to(tmp_path)
    assert not folder.exists()


def test_a_client_keeps_the_addresses_of_its_network_unless_others_are_given() -> None:
    known = network("arbitrum-mainnet")
    client = IExec(known, market="https://market.test")
    assert client._url("market") == "https://market.test"
    assert client._url("sms") == known.sms
    assert client.hub_address == known.hub_address


def test_a_noun_tells_its_verbs() -> None:
    assert "deposit" in repr(IExec().account)
    assert "_chain" not in repr(IExec().app)


@pytest.mark.parametrize("value", [0.5, "0.5", -1, True, None])
def test_an_amount_is_refused_by_a_client_of_a_real_chain_without_any_connection(value: Any) -> None:
    """The outside network is blocked in these tests: a request would be another error."""
    client = IExec("arbitrum-mainnet", signer=Secret(KEY))
    for verb in (client.account.deposit, client.account.withdraw):
        with pytest.raises(ValidationError):
            verb(value)


def test_an_account_of_eth_account_is_a_signer() -> None:
    from eth_account import Account

    account = Account.from_key("0x" + "11" * 32)
    client = IExec("arbitrum-mainnet", signer=account)
    assert client.signer is not None
    assert client.signer.address == account.address
    assert "11111111" not in repr(vars(client))

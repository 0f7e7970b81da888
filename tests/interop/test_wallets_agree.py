"""Wallets made on one side open on the other, and the same wish moves the same money and prints the same JSON."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from people import Person, World
from sdk import SdkError, cli_command, node

from iexec_nb import cli
from iexec_nb.protocol.typed_data import address_of
from iexec_nb.protocol.types import Secret
from iexec_nb.sandbox.treasury import new_key
from iexec_nb.services import keystore
from iexec_nb.services.keystore import create_keystore, decrypt_key
from iexec_nb.services.wallet import KeystoreSigner, WalletFileSigner, find_wallet

KEY = "0x" + "07" * 32
ADDRESS = address_of(bytes.fromhex(KEY[2:]))
PASSWORDS = (
    "simple",
    "p\u00e4ssw\u00f6rd \u65e5\u672c \U0001f511",
    "\ufb01ne cafe\u0301",
    "  spaces  ",
    "\u212b\u1e9b\u0323",
)
ETHERS = """
import { readFileSync } from 'node:fs';
import { Wallet } from 'ethers';
const jobs = JSON.parse(readFileSync(0, 'utf8'));
const done = jobs.map(({ content, key, password }) =>
  content ? Wallet.fromEncryptedJsonSync(content, password).privateKey : new Wallet(key).encryptSync(password),
);
process.stdout.write(JSON.stringify(done));
"""


@pytest.fixture
def home(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home and a working folder of nobody, with a chain.json for the sandbox."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("IEXEC_NB_PASSWORD", raising=False)
    monkeypatch.setitem(sys.modules, "keyring", None)
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    world.endpoints.write(folder)
    return tmp_path


@pytest.fixture
def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keystore, "SCRYPT", {"n": 1024, "r": 8, "p": 1})


def ethers(world: World, *jobs: Mapping[str, Any]) -> list[str]:
    command = [node(), "--input-type=module", "-e", ETHERS]
    done = subprocess.run(
        command, cwd=world.sdk.folder, input=json.dumps(jobs), capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    answers: list[str] = json.loads(done.stdout)
    return answers


def theirs(world: World, *words: str, fails: bool = False) -> Any:
    """Return the JSON of the official CLI 9.0.1 in the working folder."""
    command = cli_command(world.sdk.folder, *words, "--raw")
    done = subprocess.run(command, env=dict(os.environ), capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode == 1) == fails, done.stdout + done.stderr
    return json.loads(done.stderr if fails else done.stdout)


def ours(capsys: pytest.CaptureFixture[str], *words: str, fails: bool = False) -> Any:
    """Return the JSON of our shell command in the working folder."""
    with pytest.MonkeyPatch.context() as patch:
        # The program ends after its command and leaves its connections to the system; the tests go on.
        made, client_of = [], cli._client
        patch.setattr(cli, "_client", lambda options: made.append(client_of(options)) or made[-1])
        code = cli.main([*words, "--raw"])
        for client in made:
            client.close()
    said = capsys.readouterr()
    assert code == (1 if fails else 0), said.out + said.err
    return json.loads(said.err.splitlines()[-1] if fails else said.out)


def fresh() -> str:
    return address_of(new_key())


# Files.


@pytest.mark.parametrize("password", PASSWORDS)
def test_ethers_opens_what_is_written_here_and_the_other_way_round(
    world: World, tmp_path: Path, cheap: None, password: str
) -> None:
    path = create_keystore(Secret(bytes.fromhex(KEY[2:])), Secret(password), tmp_path)
    key, content = ethers(
        world, {"content": path.read_text(), "password": password}, {"key": KEY, "password": password}
    )
    assert key == KEY
    assert decrypt_key(json.loads(content), password).hex() == KEY[2:]


def test_a_keystore_made_here_differs_from_the_cli_s_in_nothing_but_its_randomness(world: World, home: Path) -> None:
    made = theirs(world, "wallet", "import", KEY, "--password", "pw", "--keystoredir", str(home / "theirs"))
    (path,) = (home / "theirs").iterdir()
    ours_path = create_keystore(Secret(bytes.fromhex(KEY[2:])), Secret("pw"), home / "ours")
    one, two = path.read_text(), ours_path.read_text()
    shape = "".join("h" if c in "0123456789abcdef" else c for c in one)
    assert shape == "".join("h" if c in "0123456789abcdef" else c for c in two)
    assert len(path.name) == len(ours_path.name)
    assert path.name.partition("Z--")[2] == ours_path.name.partition("Z--")[2] == ADDRESS[2:]
    assert made["wallet"] == json.loads(one)


@pytest.mark.parity("wallet create", "wallet show")
def test_the_cli_uses_a_wallet_that_is_made_here(world: World, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = ours(capsys, "wallet", "create", "--password", "correct horse")
    assert Path(made["fileName"]).parent == home / ".ethereum" / "keystore"
    assert made["wallet"] == json.loads(Path(made["fileName"]).read_text())
    shown = theirs(world, "wallet", "show")
    assert shown["wallet"] == {"address": made["address"]}
    opened = theirs(world, "wallet", "show", "--show-private-key", "--password", "correct horse")
    assert address_of(bytes.fromhex(opened["wallet"]["privateKey"][2:])) == made["address"]
    assert ours(capsys, "wallet", "show", "--show-private-key", "--password", "correct horse") == opened
    wrong = theirs(world, "wallet", "show", "--show-private-key", "--password", "wrong", fails=True)
    assert wrong["error"]["message"] == "incorrect password"


def test_a_wallet_that_the_cli_made_is_used_here(world: World, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = theirs(world, "wallet", "create", "--password", "correct horse")
    found = find_wallet(password=Secret("correct horse"))
    assert isinstance(found, KeystoreSigner)
    assert (found.address, str(found.path)) == (made["address"], made["fileName"])
    found.unlock()
    assert ours(capsys, "wallet", "show") == theirs(world, "wallet", "show")


@pytest.mark.parity("wallet import")
def test_an_open_wallet_is_the_same_file_on_both_sides(
    world: World, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = theirs(world, "wallet", "import", KEY, "--unencrypted", "--force")
    first = Path("wallet.json").read_text()
    assert WalletFileSigner("wallet.json").address == ADDRESS
    Path("wallet.json").unlink()
    here = ours(capsys, "wallet", "import", KEY, "--unencrypted")
    assert Path("wallet.json").read_text() == first
    # On purpose: the key is shown when it is asked for and not when it is written.
    assert said["wallet"].pop("privateKey") == KEY
    assert here == said
    assert theirs(world, "wallet", "show")["wallet"] == {"address": ADDRESS}


def test_both_sides_choose_the_same_file(world: World, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = home / ".ethereum" / "keystore"
    addresses = [create_keystore(new_key(), Secret("pw"), folder).name.partition("Z--")[2] for _ in range(3)]
    lines = [[], ["--wallet-address", f"0x{addresses[0]}"], ["--wallet-address", addresses[1].lower()],
             ["--wallet-file", next(folder.glob(f"*{addresses[1]}")).name]]  # fmt: skip
    chosen = [ours(capsys, "wallet", "show", *words)["wallet"]["address"] for words in lines]
    assert chosen == [theirs(world, "wallet", "show", *words)["wallet"]["address"] for words in lines]
    assert chosen == [f"0x{addresses[i]}" for i in (2, 0, 1, 1)]
    for words in (["--wallet-address", ADDRESS], ["--wallet-address", ADDRESS, "--keystoredir", "/none"]):
        # Their `wallet show` hides the reason; another command that needs the wallet does not.
        there = theirs(world, "wallet", "sweep", "--to", ADDRESS, "--force", *words, fails=True)
        here = ours(capsys, "wallet", "sweep", "--to", ADDRESS, "--force", *words, fails=True)
        assert here["error"]["message"] == there["error"]["message"]


# Money.


@pytest.fixture
def pair(world: World) -> tuple[Person, Person]:
    funds = {"rlc": "5 RLC", "deposit": "3 RLC", "eth": "1 ether"}
    return world.person(**funds), world.person(**funds)


def held(world: World, address: str) -> tuple[int, int]:
    shown = world.net.user.wallet.show(address)
    return shown.wei, shown.nRLC


@pytest.mark.parity("wallet.sendETH", "wallet.sendRLC")
@pytest.mark.parametrize("amount", ["1", "123456789", "0.5 RLC", "1 nRLC"])
def test_rlc_sent_by_either_side_is_the_same(world: World, pair: tuple[Person, Person], amount: str) -> None:
    python, js = pair
    here, there = fresh(), fresh()
    python.python.wallet.send_RLC(amount, to=here)
    js.js("wallet", "sendRLC", amount, there)
    assert held(world, here) == held(world, there)
    assert held(world, python.address)[1] == held(world, js.address)[1]


@pytest.mark.parametrize("amount", ["1", "123456789", "0.5 ether", "7 gwei"])
def test_ether_sent_by_either_side_is_the_same(world: World, pair: tuple[Person, Person], amount: str) -> None:
    python, js = pair
    here, there = fresh(), fresh()
    python.python.wallet.send_ether(amount, to=here)
    js.js("wallet", "sendETH", amount, there)
    assert held(world, here) == held(world, there)


def test_what_is_too_much_is_too_much_for_both_with_the_same_words(pair: tuple[Person, Person]) -> None:
    python, js = pair
    for method, verb, amount in (("sendRLC", "send_RLC", "6 RLC"), ("sendETH", "send_ether", "2 ether")):
        with pytest.raises(SdkError) as there:
            js.js("wallet", method, amount, ADDRESS)
        with pytest.raises(ValueError) as here:
            getattr(python.python.wallet, verb)(amount, to=ADDRESS)
        assert str(there.value) == f"Error: {here.value.message}"  # type: ignore[attr-defined]


@pytest.mark.parity("wallet.sweep")
def test_a_sweep_by_either_side_empties_the_wallet_and_ours_costs_no_more(
    world: World, pair: tuple[Person, Person]
) -> None:
    python, js = pair
    here, there = fresh(), fresh()
    swept = js.js("wallet", "sweep", there)
    assert set(swept) == {"sendERC20TxHash", "sendNativeTxHash"}
    rpc = world.net.user.chain.rpc
    tip = int(rpc.call("eth_maxPriorityFeePerGas"), 16)
    ether = python.python.wallet.sweep(to=here).sendNativeTxHash
    receipt = rpc.call("eth_getTransactionReceipt", ether)
    before = rpc.call("eth_getBlockByNumber", hex(int(receipt["blockNumber"], 16) - 1), False)
    # What the SDK pays by its own rule, whole: twice the base fee and the tip.
    assert int(receipt["effectiveGasPrice"], 16) <= 2 * int(before["baseFeePerGas"], 16) + tip
    assert int(receipt["gasUsed"], 16) == 21_000
    assert held(world, js.address)[1] == held(world, python.address)[1] == 0
    assert held(world, python.address)[0] == 0 <= held(world, js.address)[0]
    assert held(world, here)[1] == held(world, there)[1] == 5 * 10**9


def test_neither_side_sweeps_into_a_contract(world: World, pair: tuple[Person, Person]) -> None:
    python, js = pair
    contract = world.net.workerpool("no purse")
    with pytest.raises(SdkError, match="Cannot sweep to a contract"):
        js.js("wallet", "sweep", contract)
    with pytest.raises(ValueError, match="Cannot sweep to a contract"):
        python.python.wallet.sweep(to=contract)


@pytest.mark.parity("account.deposit", "account.withdraw")
def test_deposits_and_withdrawals_of_either_side_are_the_same(pair: tuple[Person, Person]) -> None:
    python, js = pair
    for verb, amount in (("deposit", "1.5 RLC"), ("deposit", "7"), ("withdraw", "2 RLC"), ("withdraw", "1")):
        moved = getattr(python.python.account, verb)(amount)
        assert js.js("account", verb, amount)["amount"] == str(moved.amount)
    here, there = python.python.account.show(), js.python.account.show()
    assert (here.stake, here.locked) == (there.stake, there.locked)
    assert python.python.wallet.show().nRLC == js.python.wallet.show().nRLC
    for verb in ("deposit", "withdraw"):
        for amount in ("0", "9999 RLC"):
            with pytest.raises(SdkError) as theirs_said:
                js.js("account", verb, amount)
            with pytest.raises(ValueError) as ours_said:
                getattr(python.python.account, verb)(amount)
            assert str(theirs_said.value).partition(": ")[2] == ours_said.value.message  # type: ignore[attr-defined]


@pytest.mark.parity("account.approve", "account.checkAllowance", "account.revokeApproval")
def test_an_allowance_of_either_side_is_read_and_taken_back_by_the_other(pair: tuple[Person, Person]) -> None:
    owner, taker = pair
    owner.python.account.approve("1.5 RLC", taker.address)
    assert owner.js("account", "checkAllowance", owner.address, taker.address) == "1500000000"
    owner.js("account", "approve", "7 nRLC", taker.address)
    assert owner.python.account.allowance(taker.address).amount == 7
    owner.python.account.revoke(taker.address)
    assert owner.js("account", "checkAllowance", owner.address, taker.address) == "0"
    owner.python.account.approve(9, taker.address)
    owner.js("account", "revokeApproval", taker.address)
    assert owner.python.account.allowance(taker.address).amount == 0


@pytest.mark.parity(
    "wallet send-ether", "wallet send-RLC", "wallet sweep", "account deposit", "account withdraw", "account show",
    "account approve", "account allowance", "account revoke",
)  # fmt: skip
def test_the_same_line_prints_the_same_json(
    world: World, home: Path, pair: tuple[Person, Person], capsys: pytest.CaptureFixture[str]
) -> None:
    here, there = pair
    to = fresh()
    for side in pair:
        create_keystore(Secret(side.key), Secret("pw"), home / ".ethereum" / "keystore")
    lines = [
        "account show", "account deposit 1 RLC", "account withdraw 5", "wallet send-ether 0.25 --force --to TO",
        "wallet send-ether 3 gwei --force --to TO", "wallet send-RLC 0.5 --force --to TO",
        "wallet send-RLC 5 nRLC --force --to TO", "account approve 500 TO", "account allowance TO",
        "account approve 1 TO RLC", "account allowance TO", "account revoke TO", "account allowance TO", "account show",
    ]  # fmt: skip
    for text in lines:
        words = text.replace("TO", to).split()
        # Only ours asks before a deposit; to theirs --force is unknown there.
        yes = ["--yes"]
        one = ours(capsys, *words, *yes, "--wallet-address", here.address, "--password", "pw")
        two = theirs(world, *words, "--wallet-address", there.address, "--password", "pw")
        assert _unhashed(one, here.address) == _unhashed(two, there.address), text
    words = ["wallet", "sweep", "--to", to, "--force", "--password", "pw", "--wallet-address"]
    one, two = ours(capsys, *words, here.address), theirs(world, *words, there.address)
    assert one.keys() == {"ok", "from", "to", "sendERC20TxHash", "sendNativeTxHash"}
    # Their program remembers the nonce for a moment, which a chain that mines at once outruns: then it has errors.
    assert two.keys() - {"errors", "sendNativeTxHash"} == one.keys() - {"sendNativeTxHash"}
    assert (one["from"], one["to"]) == (here.address, two["to"]) == (here.address, to)


def _unhashed(body: dict[str, Any], who: str) -> dict[str, Any]:
    names = ("txHash", "sendNativeTxHash", "sendERC20TxHash")
    for name in names:
        assert name not in body or len(body[name]) == 66
    return {name: "hash" if name in names else "me" if value == who else value for name, value in body.items()}

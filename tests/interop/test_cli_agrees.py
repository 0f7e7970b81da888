"""The same line typed for both programs in the same state: exit code, stream and JSON are the same, or listed."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from people import World
from sdk import cli_command

from iexec_nb import IExec, PrivateKeySigner
from iexec_nb.protocol import templates
from iexec_nb.protocol.types import Secret
from iexec_nb.services.keystore import create_wallet_file, new_private_key
from iexec_nb.services.project import Project

ROOT = Path(__file__).resolve().parents[2]
SOMEBODY = "0x7bd4783FDCAD405A28052a0d1f11236A741da593"
NOBODY = "0x" + "00" * 20
HASH = "0x" + "12" * 32
TIMEOUT_S = 120.0
AT_ONCE = 3


@dataclass(frozen=True)
class Said:
    """What a program said: exit code, and its last line of JSON with the stream that it came on."""

    code: int
    stream: str
    body: dict[str, Any]

    @property
    def message(self) -> str:
        text: str = self.body["error"]["message"]
        return text


@dataclass(frozen=True)
class Room:
    """A folder with a project and a wallet that is not encrypted, in which a program runs."""

    folder: Path
    program: Callable[..., list[str]]
    client: IExec

    @property
    def me(self) -> str:
        return self.client.require_signer().address

    def __call__(self, *words: str) -> Said:
        return said(self.program, self.folder, words)


def said(program: Callable[..., list[str]], folder: Path, words: Sequence[str]) -> Said:
    home = {name: str(folder) for name in ("HOME", "USERPROFILE", "XDG_DATA_HOME", "XDG_RUNTIME_DIR")}
    done = subprocess.run(
        program(*words, "--raw"),
        cwd=folder,
        env={**os.environ, **home, "PYTHONPATH": str(ROOT), "NODE_NO_WARNINGS": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=TIMEOUT_S,
        check=False,
    )
    text = done.stdout or done.stderr
    # Words that it cannot read are told in plain text by the official CLI, and its help follows.
    usage = re.match(r"\s*error: (.*)", text)
    body = {"error": {"name": "usage", "message": usage[1]}} if usage else json.loads(text.strip().splitlines()[-1])
    return Said(done.returncode, "out" if done.stdout else "err", body)


def official(world: World) -> Callable[..., list[str]]:
    return partial(cli_command, world.sdk.folder)


def our_command(*words: str) -> list[str]:
    return [sys.executable, "-m", "iexec_nb", *words]


def project(world: World, folder: Path, program: Callable[..., list[str]]) -> Room:
    """Make a folder with a project and a wallet that has money; both programs get the same templates."""
    world.endpoints.write(folder)
    key = new_private_key()
    create_wallet_file(key, folder)
    client = world.net.client(signer=PrivateKeySigner(key), rlc="5 RLC", deposit="2 RLC")
    me = client.require_signer().address
    files = Project(folder)
    files.write("iexec.json", templates.main(9))
    files.set_resource("app", {**templates.app(me, 9), "name": f"app of {me}"})
    files.set_resource("workerpool", {**templates.workerpool(me), "description": f"pool of {me}"})
    return Room(folder, program, client)


# The same folder for both: what is read is the same to the letter.

READS = (
    "info",
    "wallet show",
    f"account allowance {SOMEBODY}",
    "app show",
    "app check-secret",
    "category show 0",
    "order show --app --workerpool --deals",
    f"orderbook app {{app}} --requester {SOMEBODY} --min-volume 2",
    "orderbook workerpool --category 3 --require-tag tee",
    "requester check-secret a-name",
    "storage check dropbox",
)
REFUSED = (
    "wallet show 0x12",
    "wallet show --chain nope",
    "wallet show --wallet-file nope --show-private-key",
    "account deposit 9999 RLC",
    "wallet sweep",
    f"app transfer {SOMEBODY} --to {SOMEBODY} --force",
    "dataset deploy",
    "dataset encrypt",
    "storage check",
    "storage init ipfs --token t",
    "orderbook workerpool --category x",
    f"deal show {HASH}",
    "account deposit",
    "info --colour",
)
OWN_WORDS = {
    "wallet show --wallet-file nope --show-private-key": "there is no keystore file",
}
"""Lines that both refuse, and what it is called here."""


@pytest.fixture(scope="module")
def room(world: World, tmp_path_factory: pytest.TempPathFactory) -> Room:
    """A folder whose project is deployed, signed, published and sold once."""
    made = project(world, tmp_path_factory.mktemp("both"), ())
    client, chain_id = made.client, world.net.chain_id
    files = Project(made.folder)
    app = client.app.deploy(**{name: files.resource("app")[name] for name in ("name", "multiaddr", "checksum")})
    pool = client.workerpool.deploy(description=files.resource("workerpool")["description"])
    signed = {
        "app": client.order.sign(client.order.create("app", app=app.address, volume=10), skip_preflight_check=True),
        "workerpool": client.order.sign(
            client.order.create("workerpool", workerpool=pool.address, workerpoolprice=3, volume=5, category=0)
        ),
    }
    for kind, order in signed.items():
        client.order.publish(order, skip_preflight_check=True)
        files.set_deployed(kind, chain_id, {"app": app, "workerpool": pool}[kind].address)
    client.app.publish(app.address, price="0.1 RLC", requesterrestrict=SOMEBODY, skip_preflight_check=True)
    files.save_signed(chain_id, {kind: order.to_json() for kind, order in signed.items()})
    client.account.approve(500, SOMEBODY)
    request = client.order.create("request", app=app.address, workerpool=pool.address, workerpoolmaxprice=3, category=0)
    client.order.match(
        apporder=signed["app"], workerpoolorder=signed["workerpool"],
        requestorder=client.order.sign(request, skip_preflight_check=True), skip_preflight_check=True,
    )  # fmt: skip
    return made


@pytest.fixture(scope="module")
def answers(world: World, room: Room) -> dict[str, tuple[Said, Said]]:
    """What both programs say to each line; several run at once, because node takes a second to start."""
    app = Project(room.folder).require_deployed("app", world.net.chain_id)
    lines = (*READS, *REFUSED)
    typed = [line.format(app=app).split() for line in lines]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        theirs = pool.map(lambda words: said(official(world), room.folder, words), typed)
        ours = pool.map(lambda words: said(our_command, room.folder, words), typed)
        return dict(zip(lines, zip(theirs, ours, strict=True), strict=True))


@pytest.mark.parametrize("line", READS)
def test_what_is_read_is_the_same(answers: dict[str, tuple[Said, Said]], line: str) -> None:
    there, here = answers[line]
    for one in (there.body, here.body):
        one.pop("pocoVersion", None)  # its own difference, below
    assert here == there
    assert (here.code, here.stream, here.body["ok"]) == (0, "out", True)


@pytest.mark.parametrize("line", REFUSED)
def test_what_is_refused_is_refused_in_the_same_words(answers: dict[str, tuple[Said, Said]], line: str) -> None:
    there, here = answers[line]
    assert (here.code, here.stream) == (there.code, there.stream) == (1, "err")
    if there.body["error"]["name"] != "usage":
        assert here.body["command"] == there.body["command"]
    if line in OWN_WORDS:
        assert here.message.startswith(OWN_WORDS[line])
    else:
        assert here.message == there.message


def test_errors_are_named_and_words_that_cannot_be_read_are_json_too(answers: dict[str, tuple[Said, Said]]) -> None:
    there, here = answers["dataset deploy"]
    assert (there.body["error"]["name"], here.body["error"]["name"]) == ("Error", "ConfigurationError")
    there, here = answers["info --colour"]
    assert there.body["error"]["name"] == "usage"
    assert here.body == {
        "ok": False,
        "command": "iexec info",
        "error": {"name": "ValidationError", "message": "unknown option '--colour'"},
    }


def test_where_every_order_fails_the_json_is_a_list_of_failures(world: World, room: Room) -> None:
    words = ("order", "show", "--app", HASH, "--dataset", HASH)
    there, here = said(official(world), room.folder, words), said(our_command, room.folder, words)
    assert here.body == there.body
    assert len(here.body["fail"]) == 2
    assert (here.stream, there.stream) == ("err", "err")
    assert (here.code, there.code) == (1, 0)  # its own difference: what failed is a failure here


# A folder for each: the same lines one after the other leave the same state. Few of them send something, because node
# looks every four seconds only whether it is mined.

LIFE = (
    f"wallet send-RLC 0.5 --to {SOMEBODY} --force",
    "app deploy",
    "app publish --price 1 RLC --volume 5 --force",
    "app unpublish --all --force",
    "order init --app",
    "order sign --app",
    "order publish --app --force",
    "requester push-secret a-name --secret-value a-value",
    "storage init dropbox --token a-token",
)
ASKED_HERE_ONLY = ("deploy", "sign", "push-secret", "init")


@pytest.fixture
def pair(world: World, tmp_path: Path) -> tuple[Room, Room]:
    rooms = []
    for name, program in {"theirs": official(world), "ours": our_command}.items():
        (tmp_path / name).mkdir()
        rooms.append(project(world, tmp_path / name, program))
    return rooms[0], rooms[1]


def neutral(room: Room, value: Any) -> Any:
    """Return JSON without what differs between two wallets: addresses that they own, hashes and signatures."""
    if isinstance(value, dict):
        return {name: neutral(room, one) for name, one in value.items()}
    if isinstance(value, list):
        return [neutral(room, one) for one in value]
    if not isinstance(value, str):
        return value
    text = re.sub(r"0x[0-9a-fA-F]{64,130}", lambda found: f"<{len(found[0])}>", value.replace(room.me, "<me>"))
    deployed = room.folder / "deployed.json"
    if deployed.exists():
        for where in (address for kind in json.loads(deployed.read_text()).values() for address in kind.values()):
            text = text.replace(where, "<deployed>")
    return text


def test_a_life_of_lines_leaves_the_same_state(pair: tuple[Room, Room]) -> None:
    theirs, ours = pair
    with ThreadPoolExecutor(2) as pool:
        for line in LIFE:
            words = line.split()
            there = pool.submit(theirs, *words)
            here = pool.submit(ours, *words, *(["--yes"] if words[1] in ASKED_HERE_ONLY else []))
            (code, stream, said_there), (code_here, stream_here, said_here) = (
                (one.code, one.stream, neutral(room, one.body))
                for room, one in ((theirs, there.result()), (ours, here.result()))
            )
            assert (code_here, stream_here, said_here) == (code, stream, said_there), line
            assert (code, stream) == (0, "out"), (line, said_there)
    held = [(one.client.account.show(one.me).stake, one.client.wallet.show(one.me).nRLC) for one in pair]
    assert held[0] == held[1]
    names = [sorted(path.name for path in room.folder.iterdir() if path.suffix == ".json") for room in pair]
    assert names[0] == names[1]


# What differs on purpose; docs/differences.md names these tests.


def test_what_is_sent_is_asked_for(pair: tuple[Room, Room]) -> None:
    theirs, ours = pair
    sent = theirs("account", "withdraw", "1")
    refused = ours("account", "withdraw", "1")
    said_here = "this needs a yes, and there is nobody to ask"
    assert (refused.code, refused.stream, refused.message) == (1, "err", said_here)
    assert ours.client.account.show(ours.me).stake == theirs.client.account.show(theirs.me).stake + 1
    answered = ours("account", "withdraw", "1", "--yes")
    assert (answered.code, neutral(ours, answered.body)) == (sent.code, neutral(theirs, sent.body)) == (0, {
        "ok": True, "amount": "1", "txHash": "<66>",
    })  # fmt: skip


def test_nothing_of_a_project_is_replaced_unasked(pair: tuple[Room, Room]) -> None:
    for room, replaces in zip(pair, (True, False), strict=True):
        wallet = (room.folder / "wallet.json").read_bytes()
        # Node's random wallet in the place of one that has money: nobody was asked.
        assert room("init", "--unencrypted").code == (0 if replaces else 1)
        assert ((room.folder / "wallet.json").read_bytes() != wallet) is replaces
    (pair[1].folder / "wallet.json").unlink()
    assert pair[1]("init", "--unencrypted", "--force").code == 0


def test_sending_nothing_or_to_nobody_is_refused(pair: tuple[Room, Room]) -> None:
    nothing = ("wallet", "send-RLC", "0", "--to", SOMEBODY, "--force")
    nobody = ("wallet", "send-RLC", "1", "--to", NOBODY, "--force")
    theirs, ours = pair
    with ThreadPoolExecutor(2) as pool:
        # Two wallets, so that neither takes the other's nonce.
        sent = [pool.submit(theirs, *nothing), pool.submit(said, theirs.program, ours.folder, nobody)]
        assert [one.result().code for one in sent] == [0, 0]
    assert ours(*nothing).message == "Amount to send must be greater than 0"
    assert ours(*nobody).message == "to is the zero address: nobody has its key"


def test_an_app_runs_without_a_word_about_tags(pair: tuple[Room, Room]) -> None:
    theirs, ours = pair
    seller = theirs.client
    app = seller.app.deploy(name=f"sold by {seller}", multiaddr="docker.io/sold:1").address
    seller.app.publish(app, skip_preflight_check=True)
    words = ("app", "run", app, "--category", "0", "--skip-preflight-check", "--force")
    buyers = [Room(ours.folder, program, ours.client) for program in (theirs.program, ours.program)]
    there, here = (buyer(*words) for buyer in buyers)
    assert there.message == f"No order available for app {app}"
    assert [sorted(deal) for deal in here.body["deals"]] == [["dealid", "txHash", "volume"]]


def test_the_version_of_the_protocol_is_that_of_the_hub(answers: dict[str, tuple[Said, Said]], room: Room) -> None:
    assert room.client.hub.info().pocoVersion == room.client.chain.domain.version.partition(".")[0]


def test_a_chain_is_found_by_its_id_and_without_a_file(
    world: World, pair: tuple[Room, Room], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs, ours = pair
    by_id = ("category", "count", "--chain", str(world.net.chain_id))
    assert theirs(*by_id).message == f'Missing "{world.net.chain_id}" chain in "chain.json"'
    assert ours(*by_id).code == 0
    (theirs.folder / "chain.json").unlink()
    assert theirs("category", "count").message == 'Missing "chain.json" file, did you forget to run "iexec init"?'
    monkeypatch.chdir(tmp_path)
    assert IExec("arbitrum-mainnet").network.chain_id == 42161


def test_where_there_is_no_wallet_nobody_is_asked_about(world: World, tmp_path: Path) -> None:
    world.endpoints.write(tmp_path)
    words = ("requester", "check-secret", "a-name")
    assert said(official(world), tmp_path, words).body == {"ok": True, "isSet": False, "name": "a-name"}
    assert said(our_command, tmp_path, words).message.startswith("The current provider is not a signer")


def test_an_option_with_a_secret_is_not_repeated(room: Room) -> None:
    for line in ("init --password hunter2 --unknown", "init --pasword=hunter2", "wallet import --pasword=hunter2"):
        answer = said(our_command, room.folder, line.split())
        assert answer.code == 1
        assert "hunter2" not in json.dumps(answer.body)


def test_lines_of_tutorials_are_read_as_they_are() -> None:
    from iexec_nb.commands import parse

    for line in (
        f"wallet sendETH 1 --to {SOMEBODY}",
        f"wallet sendRLC 1000000000 --to {SOMEBODY}",
        f"app run {SOMEBODY} --args x --tag tee,tdx --watch --skip-request-check",
        "app init --tee --tee-framework scone",
        "order sign --app --skip-request-check",
        "result push-secret",
        "result generate-keys",
        "orderbook workerpool --category 3 --require-tag tee",
        "account deposit 1 RLC --gas-price 10 gwei --confirms 2",
        f"app run --secret 1=login 2=password -- {SOMEBODY}",
    ):
        assert parse(line.split()).command.noun == line.split()[0]
    assert parse(["wallet", "sendETH", "1", "--to", SOMEBODY]).args == ("1 ether",)
    assert parse(["wallet", "import", "0x12", "--password", "x"], private=True).options.password in (None, Secret("x"))

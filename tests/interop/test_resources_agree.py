"""Resources, secrets and tokens: what one side predicts, deploys, hands on, pushes or prints is the other's as well."""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from people import Person, World
from sdk import SdkError, cli_command

from iexec_nb import cli
from iexec_nb.errors import IExecError
from iexec_nb.protocol.types import Secret

KINDS = ("app", "dataset", "workerpool")
CHECKSUM = "0x" + "5a" * 32
NAMES = ("plain", "  spaces  ", "Ünïcode 日本 🚀", 'quo"te\\ \n\t\u0000', "x" * 300)
PLACES = (
    "docker.io/me/app:1.0.0",
    "https://data.test/x?y=ü",
    "/ipfs/QmW2WQi7j6c7UgJTarActp7tDNikE4B2qXtFCfLPdsgaTQ",
    "/p2p/QmW2WQi7j6c7UgJTarActp7tDNikE4B2qXtFCfLPdsgaTQ",
    "/ip4/127.0.0.1/tcp/80",
    "/not/a/multiaddr",
)
MRENCLAVES = ("", "text", '{"framework":"SCONE"}', b"\x00\xff\x80")


@pytest.fixture(scope="module")
def me(world: World) -> Person:
    return world.person(deposit="1 RLC")


def bodies(kind: str) -> list[dict[str, Any]]:
    """What is deployed: every name and every place once, and every measurement."""
    if kind == "workerpool":
        return [{"description": name} for name in NAMES]
    own = {"type": "DOCKER"} if kind == "app" else {}
    made = [{"name": name, **own, "multiaddr": PLACES[0], "checksum": CHECKSUM} for name in NAMES]
    made += [{"name": "place", **own, "multiaddr": place, "checksum": "0x" + "5A" * 32} for place in PLACES]
    if kind == "app":
        made += [{**made[0], "mrenclave": one} for one in MRENCLAVES]
    return made


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_entry_gets_the_same_address(me: Person, kind: str) -> None:
    given = bodies(kind)
    for body in given:
        body["owner"] = me.address.lower()
    theirs = me.js.map(kind, f"predict{kind.capitalize()}Address", [[body] for body in given])
    assert [getattr(me.python, kind).predict_address(**body) for body in given] == theirs
    assert len(set(theirs)) >= len(given) - 2


@pytest.mark.parametrize(
    "change",
    [
        {"name": ""}, {"name": None}, {"type": "VM"}, {"checksum": "0x12"}, {"checksum": None}, {"owner": "me"},
        {"multiaddr": None}, {"mrenclave": {"framework": "x"}},
    ],
    ids=str,
)  # fmt: skip
def test_an_entry_that_one_side_refuses_is_refused_by_the_other(
    me: Person, change: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    body = {"owner": me.address, **bodies("app")[0], **change}
    with pytest.raises(SdkError):
        me.js("app", "predictAppAddress", {name: value for name, value in body.items() if value is not None})
    (tmp_path / "iexec.json").write_text(json.dumps({"app": body}))
    with pytest.raises(IExecError):
        me.python.app.predict_address()


@pytest.mark.parametrize("kind", KINDS)
def test_what_one_side_deploys_is_the_others_too_and_changes_hands_there(world: World, me: Person, kind: str) -> None:
    other = world.person()
    name = f"{kind} {time.time_ns()}"
    body = bodies(kind)[0] | ({"description": name} if kind == "workerpool" else {"name": name})
    made = me.js(kind, f"deploy{kind.capitalize()}", {"owner": me.address, **body})
    ours = getattr(me.python, kind)
    assert ours.check_deployed(made["address"])
    with pytest.raises(IExecError, match=f"{kind.capitalize()} already deployed at address {made['address']}"):
        ours.deploy(**body)
    with pytest.raises(SdkError, match=f"Only {kind} owner can transfer {kind} ownership"):
        other.js(kind, f"transfer{kind.capitalize()}", made["address"], me.address)
    with pytest.raises(IExecError, match=f"Only {kind} owner can transfer {kind} ownership"):
        getattr(other.python, kind).transfer(made["address"], to=me.address)
    given = ours.transfer(made["address"], to=other.address)
    back = other.js(kind, f"transfer{kind.capitalize()}", made["address"], me.address)
    assert (given.address, given.to) == (back["address"], other.address)
    assert back["to"] == me.address
    assert ours.show(made["address"]).owner == me.address
    counted = me.js(kind, f"countUser{kind.capitalize()}s", me.address)
    assert counted == str(ours.count())
    last = me.js(kind, f"showUser{kind.capitalize()}", ours.count() - 1, me.address)
    assert last["objAddress"] == ours.show(ours.count() - 1).address


def test_a_secret_of_either_side_is_set_for_both_and_replaced_by_neither(world: World, me: Person) -> None:
    apps = [me.python.app.deploy(name=f"s {time.time_ns()}", multiaddr="x").address for _ in range(2)]
    assert me.python.app.push_secret(apps[0], secret_value=Secret("ours é"))
    assert me.js("app", "pushAppSecret", apps[1], "theirs") is True
    for app in apps:
        assert me.js("app", "checkAppSecretExists", app) is True
        assert me.python.app.check_secret(app) is True
        again = f"Secret already exists for {app} and can't be updated"
        with pytest.raises(IExecError, match=again):
            me.python.app.push_secret(app, secret_value=Secret("x"))
        with pytest.raises(SdkError, match=again):
            me.js("app", "pushAppSecret", app, "x")
    assert world.net._parts is not None
    stored = [world.net._parts.vault.get("app", app, "1") for app in apps]
    assert stored == [Secret("ours é"), Secret("theirs")]


def test_a_stranger_is_refused_by_both_sides_in_the_same_words(world: World, me: Person) -> None:
    app = me.python.app.deploy(name=f"stranger {time.time_ns()}", multiaddr="x").address
    other = world.person()
    words = f"Wallet {other.address} is not allowed to set secret for {app}"
    with pytest.raises(SdkError, match=words):
        other.js("app", "pushAppSecret", app, "x")
    with pytest.raises(IExecError, match=words):
        other.python.app.push_secret(app, secret_value=Secret("x"))


def test_requester_secrets_and_tokens_are_the_same_on_both_sides(world: World) -> None:
    one = world.person()
    assert one.python.requester.push_secret("ours-1", secret_value=Secret("a")).isPushed
    assert one.js("secrets", "pushRequesterSecret", "theirs_2", "b") == {"isPushed": True}
    for name in ("ours-1", "theirs_2", "neither"):
        theirs = one.js("secrets", "checkRequesterSecretExists", one.address, name)
        assert theirs is one.python.requester.check_secret(name).isSet
    words = f'Secret "theirs_2" already exists for {one.address}'
    with pytest.raises(IExecError, match=words):
        one.python.requester.push_secret("theirs_2", secret_value=Secret("x"))
    assert one.python.storage.init("dropbox", token=Secret("t")).isUpdated is False
    assert one.js("storage", "checkStorageTokenExists", one.address, "dropbox") is True
    pushed = one.js("storage", "pushStorageToken", "u", "dropbox", {"forceUpdate": True})
    assert pushed == {"isPushed": True, "isUpdated": True}
    for provider in ("ipfs", "nowhere"):
        with pytest.raises(SdkError) as theirs:
            one.js("storage", "checkStorageTokenExists", one.address, provider)
        with pytest.raises(IExecError) as ours:
            one.python.storage.check(provider)
        assert ours.value.message in str(theirs.value)


# The same line in both shells.


@pytest.fixture
def folder(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with a chain.json for the sandbox, and a home of nobody."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("IEXEC_NB_CHAIN", raising=False)
    made = tmp_path / "project"
    made.mkdir()
    monkeypatch.chdir(made)
    world.endpoints.write(made)
    return made


def open_wallet(folder: Path, who: Person) -> None:
    wallet = {"privateKey": "0x" + who.key.hex(), "publicKey": "0x04", "address": who.address}
    (folder / "wallet.json").write_text(json.dumps(wallet))


def theirs(world: World, *words: str) -> Any:
    """Return the JSON of the official CLI 9.0.1 in the working folder."""
    command = cli_command(world.sdk.folder, *words, "--raw")
    done = subprocess.run(command, env=dict(os.environ), capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


def ours(capsys: pytest.CaptureFixture[str], *words: str) -> Any:
    """Return the JSON of our shell command in the working folder."""
    capsys.readouterr()
    made: list[Any] = []
    client_of = cli._client

    def kept(options: Any) -> Any:
        made.append(client_of(options))
        return made[-1]

    with pytest.MonkeyPatch.context() as patch:
        # The program ends after its command and leaves its connections to the system; the tests go on.
        patch.setattr(cli, "_client", kept)
        code = cli.main([*words, "--raw"])
    for client in made:
        client.close()
    printed = capsys.readouterr()
    assert code == 0, printed.err
    return json.loads(printed.out)


def test_the_same_question_prints_the_same_json(
    world: World, folder: Path, me: Person, capsys: pytest.CaptureFixture[str]
) -> None:
    open_wallet(folder, me)
    app = me.python.app.deploy(name=f"raw {time.time_ns()}", multiaddr="docker.io/a/b:1").address
    dataset = me.python.dataset.deploy(name=f"raw {time.time_ns()}", multiaddr=PLACES[2], checksum=CHECKSUM).address
    pool = world.net.workerpools[0]
    here = str(world.net.chain_id)
    (folder / "deployed.json").write_text(json.dumps({"app": {here: app}, "dataset": {here: dataset}}))
    me.python.requester.push_secret("raw-1", secret_value=Secret("x"))
    for line in (
        "app show", "app count", "app check-secret", f"dataset show {dataset}", "dataset check-secret",
        f"workerpool show {pool}", f"workerpool count --user {me.address}", "category show 2", "category count",
        "requester check-secret raw-1", f"requester check-secret raw-2 {me.address}", "storage check dropbox",
    ):  # fmt: skip
        words = line.split()
        assert ours(capsys, *words) == theirs(world, *words), line


@pytest.mark.parametrize("kind", KINDS)
def test_a_project_is_deployed_published_and_unpublished_by_either_shell(
    world: World, folder: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    who = world.person(deposit="10 RLC")
    open_wallet(folder, who)
    extra = [] if kind == "workerpool" else ["--skip-preflight-check"]
    terms = ["publish", "--force", "--volume", "7", "--tag", "tee,tdx", "--requester-restrict", who.address, *extra]
    shells = {"ours": lambda *words: ours(capsys, *words), "theirs": lambda *words: theirs(world, *words)}
    listed = []
    for first, second in (("ours", "theirs"), ("theirs", "ours")):
        body = bodies(kind)[0] | ({"description": first} if kind == "workerpool" else {"name": first})
        (folder / "iexec.json").write_text(json.dumps({kind: {"owner": who.address, **body}}))
        made = shells[first](kind, "deploy", *(["--yes"] if first == "ours" else []))
        kept = json.loads((folder / "deployed.json").read_text())
        assert made.keys() == {"ok", "address", "txHash"}
        assert kept[kind][str(world.net.chain_id)] == made["address"]
        assert shells[second](kind, "show")["address"] == made["address"]
        hashes = [shells[side](kind, *terms, "--price", "1", "RLC")["orderHash"] for side in (first, second)]
        orders = [who.python.order.show(kind, name).order.to_json() for name in hashes]
        assert _terms(orders[0]) == _terms(orders[1])
        listed.append(_terms(orders[0]))
        assert shells[first](kind, "unpublish", "--force") == {"ok": True, "unpublished": hashes[1]}
        assert shells[second](kind, "unpublish", "--all", "--force") == {"ok": True, "unpublished": [hashes[0]]}
    assert listed[0] | {kind: ""} == listed[1] | {kind: ""}


def _terms(order: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in order.items() if name not in ("salt", "sign")}


def test_the_shells_push_secrets_that_the_other_finds(
    world: World, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    who = world.person()
    open_wallet(folder, who)
    apps = [who.python.app.deploy(name=f"shell {time.time_ns()}", multiaddr="x").address for _ in range(2)]
    assert ours(capsys, "app", "push-secret", apps[0], "--secret-value", "a") == {"ok": True}
    assert theirs(world, "app", "push-secret", apps[1], "--secret-value", "b") == {"ok": True}
    words = ("requester", "push-secret", "name-1", "--secret-value", "c")
    assert ours(capsys, *words) == {"ok": True, "isPushed": True, "name": "name-1"}
    words = ("storage", "init", "dropbox", "--token", "d")
    assert theirs(world, *words) == ours(capsys, *words, "--force-update") | {"isUpdated": False}
    for app in apps:
        assert who.python.app.check_secret(app)
        assert theirs(world, "app", "check-secret", app) == {"ok": True, "isSecretSet": True}

"""One folder, two programs: the official CLI works in a folder that was made here, and the other way round."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cli import Cli, CliError
from people import World
from PIL import Image

from iexec_nb import IExec
from iexec_nb.cli import main as shell
from iexec_nb.errors import ValidationError
from iexec_nb.protocol import encryption, templates
from iexec_nb.protocol.types import Secret
from iexec_nb.services.project import Project
from iexec_nb.services.wallet import find_wallet

PASSWORD = "correct horse"
FILES = ("iexec.json", "chain.json")
INITS = ("app", "dataset", "workerpool", "category", "order")


@dataclass(frozen=True)
class Room:
    """A folder with a wallet that has money, in which both programs run."""

    folder: Path
    js: Cli
    python: IExec

    @property
    def me(self) -> str:
        return self.python.require_signer().address

    def read(self, name: str = "iexec.json") -> Any:
        return json.loads((self.folder / name).read_bytes())


@contextmanager
def room_in(world: World, folder: Path) -> Iterator[Room]:
    """Point a project in the working folder at the sandbox, and give its wallet money."""
    world.endpoints.write(folder, overwrite=True)
    signer = find_wallet(keystoredir="local", password=Secret(PASSWORD), folder=folder)
    assert signer is not None
    world.net.fund(signer.address, rlc="5 RLC", deposit="5 RLC", eth="1 ether")
    python = IExec(signer=signer, confirm=False, store=folder / "store")
    assert python.network.chain_id == world.net.chain_id
    yield Room(folder, Cli(folder), python)
    python.close()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def ours(world: World, folder: Path) -> Iterator[Room]:
    """A folder that was made here; its wallet is not encrypted, because opening one takes the CLI ten seconds."""
    IExec("arbitrum-mainnet", confirm=False).project.init(unencrypted=True)
    with room_in(world, folder) as room:
        for noun in INITS:
            getattr(room.python, noun).init()
        yield room


@pytest.fixture(scope="session")
def made_there(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that the CLI made, with a wallet and all templates."""
    folder = tmp_path_factory.mktemp("made-there")
    cli = Cli(folder)
    cli("init", "--unencrypted", "--force")
    for noun in INITS:
        cli(noun, "init")
    return folder


@pytest.fixture
def theirs(world: World, folder: Path, made_there: Path) -> Iterator[Room]:
    """A copy of a folder that the CLI made."""
    shutil.copytree(made_there, folder, dirs_exist_ok=True)
    with room_in(world, folder) as room:
        yield room


def folder_name(room: Room) -> str:
    """A name that no other test gives to what it deploys."""
    return f"deployed from {room.folder.name}"


def test_an_encrypted_wallet_of_either_init_signs_in_the_other(world: World, folder: Path) -> None:
    made = IExec("arbitrum-mainnet").project.init(password=Secret(PASSWORD), keystoredir="local")
    options = ("--keystoredir", "local", "--password", PASSWORD)
    with room_in(world, folder) as room:
        assert room.js("wallet", "show", *options)["wallet"]["address"] == made.walletAddress == room.me
        assert room.js("account", "withdraw", "1", *options)["amount"] == "1"
    (folder / str(made.walletFile)).unlink()
    theirs = Cli(folder)("init", "--force", *options)
    with room_in(world, folder) as room:
        assert room.me == theirs["walletAddress"]
        assert room.python.account.withdraw(1).amount == 1


def test_init_of_both_programs_writes_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for version, sdk in (("", "9"), ("v7", "7")):
        js, python = tmp_path / f"js{sdk}", tmp_path / f"python{sdk}"
        js.mkdir()
        python.mkdir()
        cli = Cli(js, version)
        cli("init", "--skip-wallet", "--force")
        monkeypatch.chdir(python)
        client = IExec("arbitrum-mainnet")
        client.project.init(skip_wallet=True, sdk=sdk)
        for name in FILES:
            assert (js / name).read_bytes() == (python / name).read_bytes()
        for noun in ("app", "dataset", "workerpool", "category"):
            cli(noun, "init")
        client.app.init(sdk=sdk)
        client.dataset.init(sdk=sdk)
        client.workerpool.init()
        client.category.init()
        cli("order", "init")
        client.order.init(sdk=sdk)
        assert (js / "iexec.json").read_bytes() == (python / "iexec.json").read_bytes()
        if sdk == "7":
            cli("app", "init", "--tee")
            client.app.init(sdk=sdk, tee=True, force=True)
            assert (js / "iexec.json").read_bytes() == (python / "iexec.json").read_bytes()


def test_the_official_cli_works_in_a_folder_that_was_made_here(ours: Room) -> None:
    js, python, me = ours.js, ours.python, ours.me
    assert js("wallet", "show")["wallet"]["address"] == me
    assert js("account", "show")["balance"]["stake"] == str(5 * 10**9)
    python.files.set_resource("app", {**ours.read()["app"], "name": f"made here {me}"})
    deployed = js("app", "deploy")
    assert ours.read("deployed.json") == {"app": {str(python.network.chain_id): deployed["address"]}}
    assert js("app", "show")["app"]["appName"] == f"made here {me}"
    assert python.app.show().address == deployed["address"]
    js("order", "init", "--app")
    assert ours.read()["order"]["apporder"] == python.order.init(app=True)["apporder"]
    signed = js("order", "sign", "--app", "--skip-preflight-check")["apporder"]
    assert python.files.signed_order("app", python.network.chain_id) == signed
    published = js("order", "publish", "--app", "--force", "--skip-preflight-check")["apporder"]["orderHash"]
    assert python.order.show(app=True)["apporder"].orderHash == published
    assert js("order", "show", "--app")["apporder"]["orderHash"] == published
    assert list(python.orderbook.app(deployed["address"])["orderHash"]) == [published]
    # What one program put up for sale, the other takes back.
    dear = js("app", "publish", "--price", "1", "RLC", "--force")["orderHash"]
    assert python.app.unpublish() == dear
    cheap = python.app.publish(price="0.5 RLC", skip_preflight_check=True)
    assert js("app", "unpublish", "--force")["unpublished"] == cheap


def test_a_folder_that_the_official_cli_made_works_here(theirs: Room) -> None:
    js, python = theirs.js, theirs.python
    assert python.wallet.show().address == theirs.me == js("wallet", "show")["wallet"]["address"]
    for kind in ("app", "dataset", "workerpool"):
        body = {**theirs.read()[kind], "description" if kind == "workerpool" else "name": folder_name(theirs)}
        python.files.set_resource(kind, body)
        deployed = getattr(python, kind).deploy()
        assert js(kind, "show")["address"] == deployed.address
    before = theirs.read()["order"]
    orders = python.order.init(force=True)
    assert list(before) == list(orders)
    assert orders["workerpoolorder"] == js("order", "init", "--workerpool")["workerpoolorder"]
    body = {**orders["requestorder"], "app": orders["apporder"]["app"], "dataset": orders["datasetorder"]["dataset"]}
    python.files.set_order("request", body)
    signed = python.order.sign(skip_preflight_check=True)
    assert list(signed) == ["apporder", "datasetorder", "workerpoolorder", "requestorder"]
    # What was signed here is filled there, and the deal is the same for both.
    filled = js("order", "fill", "--skip-preflight-check", "--force")
    assert python.deal.show(filled["dealid"]).app.pointer == orders["apporder"]["app"]
    assert filled["volume"] == "1"


def test_what_was_signed_there_is_filled_here(theirs: Room) -> None:
    js, python = theirs.js, theirs.python
    for kind in ("app", "workerpool"):
        body = {**theirs.read()[kind], "description" if kind == "workerpool" else "name": folder_name(theirs)}
        python.files.set_resource(kind, body)
        js(kind, "deploy")
    js("order", "init", "--app", "--workerpool", "--request")
    python.files.set_order("request", {**theirs.read()["order"]["requestorder"], "app": python.app.show().address})
    for kind in ("app", "workerpool", "request"):
        answer = js("order", "sign", f"--{kind}", "--skip-preflight-check")
        assert "fail" not in answer, answer
    filled = python.order.fill(skip_preflight_check=True)
    assert js("deal", "show", filled.dealid)["deal"]["app"]["pointer"] == python.app.show().address


def test_datasets_are_encrypted_by_either_program_for_the_other(ours: Room) -> None:
    js, python = ours.js, ours.python
    originals, keys = ours.folder / "datasets" / "original", ours.folder / ".secrets" / "datasets"
    python.dataset.init(encrypted=True)
    (originals / "mine.csv").write_bytes(b"a,b\n1,2\n")
    made = js("dataset", "encrypt", "--force")["encryptedFiles"]
    assert [Path(one["original"]).name for one in made] == ["mine.csv"]
    opened = ours.folder / "opened"
    key = Secret((keys / "mine.csv.key").read_text())
    encryption.decrypt_file(
        Path(made[0]["encrypted"]), opened, encryption.dataset_key(key), checksum=made[0]["checksum"]
    )
    assert opened.read_bytes() == b"a,b\n1,2\n"
    again = python.dataset.encrypt(force=True)
    assert [str(one.encrypted) for one in again.encryptedFiles] == [one["encrypted"] for one in made]
    body = {**ours.read()["dataset"], "name": f"mine {ours.me}", "checksum": again.encryptedFiles[0].checksum}
    python.files.set_resource("dataset", body)
    deployed = js("dataset", "deploy")
    # The key that was written here is pushed from there.
    js("dataset", "push-secret")
    assert python.dataset.check_secret(deployed["address"])
    assert python.dataset.show().datasetChecksum == again.encryptedFiles[0].checksum


def test_folders_for_datasets_of_the_cli_are_used_here(theirs: Room) -> None:
    theirs.js("dataset", "init", "--encrypted")
    (theirs.folder / "datasets" / "original" / "x.bin").write_bytes(os.urandom(100))
    made = theirs.python.dataset.encrypt()
    assert sorted(os.listdir(theirs.folder / ".secrets" / "datasets")) == ["dataset.key", "x.bin.key"]
    assert made.encryptedFiles[0].encrypted.stat().st_size == 16 + 112


def test_files_of_both_programs_keep_their_bytes_through_the_other(theirs: Room) -> None:
    project, chain_id = theirs.python.files, theirs.python.network.chain_id
    project.update("iexec.json", lambda content: content.update({"x-mine": {"1": 1e21, "é": [1.5, None, "\u2028"]}}))
    project.update("iexec.json", lambda content: content.update({"app": {**content["app"], "name": "ü"}}))
    before = (theirs.folder / "iexec.json").read_bytes()
    theirs.js("workerpool", "init")
    assert (theirs.folder / "iexec.json").read_bytes() == before
    for other in (chain_id + 1, 1):
        project.set_deployed("app", other, theirs.me)
    project.set_resource("workerpool", {**project.resource("workerpool"), "description": folder_name(theirs)})
    theirs.js("workerpool", "deploy")
    there = (theirs.folder / "deployed.json").read_bytes()
    project.set_deployed("workerpool", chain_id, theirs.read("deployed.json")["workerpool"][str(chain_id)])
    assert (theirs.folder / "deployed.json").read_bytes() == there
    theirs.js("order", "init", "--workerpool")
    theirs.js("order", "sign", "--workerpool")
    there = (theirs.folder / "orders.json").read_bytes()
    signed = project.signed_order("workerpool", chain_id)
    assert signed is not None
    project.save_signed(chain_id, {"workerpool": signed})
    assert (theirs.folder / "orders.json").read_bytes() == there


@pytest.mark.parametrize(
    "text",
    [
        '{"default": "a", "chains": {"a": {"hubb": "x"}}}',
        '{"default": "a", "chains": {"a": {"id": 5, "host": "http://127.0.0.1:1"}}}',
        '{"default": "b", "chains": {"a": {"id": "5", "host": "http://127.0.0.1:1"}}}',
        '{"chains": {"a": {}}}',
        '{"default": "a"}',
        '{"default": "a", "chains": {"a": {"id": "5"}}}',
        '{"default": "a", "chains": {"a": {"id": "5", "host": "http://127.0.0.1:1", "sms": "ftp://a"}}}',
        '{"default": "a", "chains": {',
        "",
    ],
)
def test_a_chain_file_that_one_program_refuses_the_other_refuses_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "chain.json").write_text(text)
    with pytest.raises(ValueError) as here:
        Project().network()
    with pytest.raises(CliError) as there:
        Cli(tmp_path)("info")
    assert (tmp_path / "chain.json").read_text() == text
    message = str(there.value).partition(": ")[2]
    # The words are the CLI's wherever it has any of its own.
    if message.startswith("Missing"):
        assert getattr(here.value, "message", "") == message


@pytest.mark.parametrize("kind", ["app", "dataset", "workerpool"])
def test_a_project_is_validated_like_version_7_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.chdir(tmp_path)
    cli, client = Cli(tmp_path, "v7"), IExec("arbitrum-mainnet")
    main, owner = templates.main(7), "0x7bd4783FDCAD405A28052a0d1f11236A741da593"
    parts: dict[str, dict[str, Any]] = {
        "app": {**main, "app": templates.app(owner, 7), "buyConf": templates.buy_conf(7)},
        "dataset": {**main, "dataset": templates.dataset(owner), "dapps": templates.dapps(7)},
        "workerpool": {**{name: main[name] for name in ("description", "social", "logo")},
                       "workerpool": templates.workerpool(owner)},
    }  # fmt: skip
    project = Project()
    project.write("iexec.json", parts[kind])
    project.set_deployed(kind, 134, owner)
    Image.new("RGB", (180, 180)).save(tmp_path / "logo.png")
    assert cli("registry", "validate", kind)["validated"] == ["iexec.json", "logo.png", "deployed.json"]
    assert client.registry.validate(kind).validated == ("iexec.json", "logo.png", "deployed.json")
    project.write("iexec.json", {**parts[kind], "description": "short"})
    Image.new("RGB", (180, 90)).save(tmp_path / "logo.png")
    (tmp_path / "deployed.json").write_text("{}")
    there = cli("registry", "validate", kind)["fail"]
    here = client.registry.validate(kind).fail
    assert [one.partition(" (line")[0] for one in here] == there


def test_the_shell_command_prints_the_json_of_the_cli(theirs: Room, capsys: pytest.CaptureFixture[str]) -> None:
    def ours(*words: str) -> Any:
        capsys.readouterr()
        assert shell([*words, "--raw"]) == 0
        return json.loads(capsys.readouterr().out)

    there = theirs.read()
    for noun in ("app", "dataset", "workerpool", "category"):
        assert ours(noun, "init") == {"ok": True, noun: there[noun]}
    assert ours("order", "init", "--request") == theirs.js("order", "init", "--request")
    made = ours("init", "--skip-wallet", "--force")
    assert made == {"ok": True, "configFile": "iexec.json", "chainConfigFile": "chain.json"}


def test_a_broken_file_is_left_as_it_is_by_both(ours: Room) -> None:
    text = '{\n  "app": {"name": "half'
    (ours.folder / "iexec.json").write_text(text)
    with pytest.raises(CliError, match=r"iexec.json"):
        ours.js("app", "init")
    with pytest.raises(ValidationError, match=r"iexec.json is not valid JSON") as caught:
        ours.python.app.init()
    assert caught.value.context == {"file": "iexec.json", "line": 2, "key": "app.name"}
    assert (ours.folder / "iexec.json").read_text() == text

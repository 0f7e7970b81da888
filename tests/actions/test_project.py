"""Projects: init, show, templates, folders of datasets, and the whole way from a template to a published order."""

from __future__ import annotations

import json
import os
import shutil
import stat
import time
from pathlib import Path
from typing import Any

import pytest
from stage import person

from iexec_nb.client import IExec
from iexec_nb.errors import ConfigurationError, ValidationError
from iexec_nb.protocol import encryption
from iexec_nb.protocol.types import NULL_ADDRESS, Secret
from iexec_nb.sandbox.network import Sandbox
from iexec_nb.services.wallet import PrivateKeySigner

PROJECTS = Path(__file__).resolve().parent.parent / "projects"
KEY = "0x" + "5a" * 32
PASSWORD = Secret("correct horse")


class Asked:
    """A client that reaches nothing, and the questions that it asked."""

    def __init__(self, store: Path, answer: bool = True, signer: bool = True) -> None:
        self.questions: list[str] = []
        self.answer = answer
        self.client = IExec(
            "arbitrum-mainnet",
            signer=PrivateKeySigner(KEY) if signer else None,
            confirm=self._ask,
            store=store,
            keystoredir="local",
        )

    def _ask(self, text: str) -> bool:
        self.questions.append(text.partition("\n")[0])
        return self.answer


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")
    return tmp_path / "project"


@pytest.fixture
def asked(tmp_path: Path, folder: Path) -> Asked:
    return Asked(tmp_path / "store")


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def read(folder: Path, name: str = "iexec.json") -> Any:
    return json.loads((folder / name).read_bytes())


@pytest.mark.parity("init")
def test_init_makes_two_files_and_a_wallet_and_nothing_else(asked: Asked, folder: Path) -> None:
    made = asked.client.project.init(password=PASSWORD)
    assert (made.configFile, made.chainConfigFile) == ("iexec.json", "chain.json")
    assert made.walletAddress is not None
    assert read(folder)["logo"] == "logo.png"
    assert read(folder, "chain.json")["default"] == "arbitrum-sepolia-testnet"
    wallets = [name for name in os.listdir(folder) if name.startswith("UTC--")]
    assert len(wallets) == 1
    assert wallets[0].endswith(made.walletAddress[2:])
    assert len(os.listdir(folder)) == 3
    assert asked.questions == []
    assert "correct horse" not in repr(made)


@pytest.mark.parity("init")
def test_init_without_a_wallet_asks_for_no_password(asked: Asked, folder: Path) -> None:
    made = asked.client.project.init(skip_wallet=True)
    assert (made.walletAddress, made.walletFile) == (None, None)
    assert sorted(files(folder)) == ["chain.json", "iexec.json"]


def test_init_of_an_older_version_is_a_folder_of_that_version(asked: Asked, folder: Path) -> None:
    asked.client.project.init(skip_wallet=True, sdk="7.2.5")
    assert read(folder, "chain.json")["default"] == "viviani"
    asked.client.app.init(tee=True, sdk="7")
    asked.client.dataset.init(sdk="7")
    asked.client.workerpool.init()
    asked.client.category.init()
    asked.client.order.init(sdk="7")
    expected = json.loads((PROJECTS / "7.2.5" / "iexec.json").read_bytes())
    assert list(read(folder)) == list(expected)
    assert read(folder)["app"] == {**expected["app"], "owner": asked.client.require_signer().address}
    assert read(folder)["dapps"] == expected["dapps"]


def test_a_file_that_is_there_is_replaced_only_when_the_answer_is_yes(
    tmp_path: Path, asked: Asked, folder: Path
) -> None:
    (folder / "iexec.json").write_text('{"mine": 1}')
    asked.answer = False
    made = asked.client.project.init(skip_wallet=True)
    assert asked.questions == ["replace iexec.json"]
    assert (made.configFile, made.chainConfigFile) == (None, "chain.json")
    assert read(folder) == {"mine": 1}
    asked.answer = True
    assert asked.client.project.init(skip_wallet=True).configFile == "iexec.json"
    assert "mine" not in read(folder)
    assert asked.questions[1:] == ["replace iexec.json", "replace chain.json"]
    (folder / "iexec.json").write_text('{"mine": 1}')
    asked.client.project.init(skip_wallet=True, force=True)
    assert "mine" not in read(folder)
    assert len(asked.questions) == 3


def test_where_nobody_can_be_asked_nothing_is_written(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nobody(*_: Any) -> str:
        raise EOFError

    monkeypatch.setattr("builtins.input", nobody)
    monkeypatch.setattr("getpass.getpass", nobody)
    monkeypatch.delenv("IEXEC_NB_PASSWORD", raising=False)
    client = IExec("arbitrum-mainnet", store=tmp_path / "store", keystoredir="local")
    with pytest.raises(ConfigurationError):
        client.project.init()
    assert files(folder) == {}
    (folder / "iexec.json").write_text('{"mine": 1}')
    with pytest.raises(ConfigurationError, match="nobody to ask"):
        client.project.init(skip_wallet=True)
    assert files(folder) == {"iexec.json": b'{"mine": 1}'}


def test_a_link_out_of_the_folder_is_shown_before_what_it_leads_to_is_replaced(
    asked: Asked, folder: Path, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "keystore"
    elsewhere.write_text('{"address": "precious"}')
    (folder / "iexec.json").symlink_to(elsewhere)
    asked.answer = False
    assert asked.client.project.init(skip_wallet=True).configFile is None
    assert asked.questions == [f"replace iexec.json, which is a link to {elsewhere}"]
    assert elsewhere.read_text() == '{"address": "precious"}'


@pytest.mark.parametrize("name", ["iexec.json", "chain.json"])
def test_init_never_replaces_a_broken_file(asked: Asked, folder: Path, name: str) -> None:
    (folder / name).write_text('{"app": {"name": "my')
    with pytest.raises(ValidationError, match=f"{name} is not valid JSON"):
        asked.client.project.init(password=PASSWORD, force=True)
    assert files(folder) == {name: b'{"app": {"name": "my'}


@pytest.mark.parity("app init", "dataset init", "workerpool init", "category init", "order init")
def test_templates_are_written_for_the_owner_of_the_wallet(asked: Asked, folder: Path) -> None:
    client, me = asked.client, asked.client.require_signer().address
    client.project.init(skip_wallet=True)
    assert client.app.init() == read(folder)["app"]
    assert client.dataset.init() == read(folder)["dataset"]
    assert client.workerpool.init() == read(folder)["workerpool"]
    assert client.category.init() == read(folder)["category"]
    orders = client.order.init()
    assert orders == read(folder)["order"]
    assert {read(folder)[kind]["owner"] for kind in ("app", "dataset", "workerpool")} == {me}
    assert (orders["requestorder"]["requester"], orders["requestorder"]["beneficiary"]) == (me, me)
    assert list(orders) == ["apporder", "datasetorder", "workerpoolorder", "requestorder"]
    assert read(folder)["buyConf"] == {}
    assert list(read(folder))[-5:] == ["app", "dataset", "workerpool", "category", "order"]
    assert asked.questions == []


def test_without_a_wallet_the_owner_is_nobody(tmp_path: Path, folder: Path) -> None:
    client = Asked(tmp_path / "store", signer=False).client
    client.project.init(skip_wallet=True)
    assert client.app.init()["owner"] == NULL_ADDRESS
    assert client.order.init(request=True)["requestorder"]["requester"] == NULL_ADDRESS


def test_an_entry_that_was_edited_is_not_replaced_without_asking(asked: Asked, folder: Path) -> None:
    client = asked.client
    client.project.init(skip_wallet=True)
    client.app.init()
    client.app.init()
    client.order.init(app=True)
    client.order.init(app=True)
    assert asked.questions == []
    content = read(folder)
    content["app"]["name"] = "mine"
    content["order"]["apporder"]["appprice"] = "5"
    (folder / "iexec.json").write_text(json.dumps(content))
    before = files(folder)
    asked.answer = False
    for init in (client.app.init, client.order.init):
        with pytest.raises(ConfigurationError, match="aborted"):
            init()
    assert asked.questions == ["replace app in iexec.json", "replace apporder in iexec.json"]
    assert files(folder) == before
    client.app.init(force=True)
    client.order.init(force=True)
    assert read(folder)["app"]["name"] == "hello-world"
    assert read(folder)["order"]["apporder"]["appprice"] == "0"


@pytest.mark.parametrize(
    ("given", "name", "maker"),
    [
        ({}, "hello-world", None),
        ({"tee": True}, "hello-world-scone", "framework"),
        ({"tee_framework": "GRAMINE"}, "hello-world-gramine", "framework"),
        ({"tee_framework": "tdx"}, "hello-world", None),
        ({"tee": True, "sdk": "6"}, "tee-python-hello-world", "provider"),
    ],
)
def test_an_app_for_an_older_enclave_has_the_template_of_its_time(
    asked: Asked, given: dict[str, Any], name: str, maker: str | None
) -> None:
    asked.client.project.init(skip_wallet=True)
    body = asked.client.app.init(**given)
    assert body["name"] == name
    assert ("mrenclave" in body) == (maker is not None)
    assert maker is None or maker in body["mrenclave"]


def test_the_enclave_is_the_one_that_the_chain_file_names(asked: Asked, folder: Path) -> None:
    asked.client.project.init(skip_wallet=True)
    chains = {"default": "bellecour", "chains": {"bellecour": {"defaultTeeFramework": "gramine"}}}
    (folder / "chain.json").write_text(json.dumps(chains))
    assert asked.client.app.init(tee=True)["name"] == "hello-world-gramine"


@pytest.mark.parametrize("given", [{"sdk": "5"}, {"tee_framework": "sgx"}, {"sdk": "6", "tee_framework": "gramine"}])
def test_templates_that_never_were_are_refused(asked: Asked, folder: Path, given: dict[str, Any]) -> None:
    asked.client.project.init(skip_wallet=True)
    before = files(folder)
    with pytest.raises(ValidationError):
        asked.client.app.init(**given)
    assert files(folder) == before


@pytest.mark.parametrize("noun", ["app", "dataset", "workerpool", "category", "order"])
def test_without_a_project_no_template_is_written(asked: Asked, folder: Path, noun: str) -> None:
    with pytest.raises(ConfigurationError, match='did you forget to run "iexec init"') as caught:
        getattr(asked.client, noun).init()
    assert "init" in str(caught.value.hint)
    assert files(folder) == {}


@pytest.mark.parametrize(
    ("noun", "text"),
    [
        ("app", '{"app": []}'),
        ("app", '{"app": null}'),
        ("app", '{"buyConf": 5}'),
        ("app", '{"a": tru'),
        ("dataset", '{"dataset": ""}'),
        ("category", '{"category": 1'),
        ("order", '{"order": 5}'),
        ("order", '{"order": {"requestorder": []}}'),
    ],
)
def test_a_template_stays_out_of_a_broken_file(asked: Asked, folder: Path, noun: str, text: str) -> None:
    (folder / "iexec.json").write_text(text)
    with pytest.raises(ValidationError) as caught:
        getattr(asked.client, noun).init(force=True)
    assert caught.value.context["line"] == 1
    assert files(folder) == {"iexec.json": text.encode()}


def test_orders_name_what_was_deployed_on_the_chain(asked: Asked, folder: Path) -> None:
    client, where = asked.client, asked.client.require_signer().address
    client.project.init(skip_wallet=True)
    client.files.set_deployed("dataset", 42161, where)
    client.files.set_deployed("app", 134, where)
    orders = client.order.init(app=True, dataset=True)
    assert orders["datasetorder"]["dataset"] == where
    assert orders["apporder"]["app"] == NULL_ADDRESS
    assert list(orders) == ["apporder", "datasetorder"]


@pytest.mark.parity("dataset init")
def test_folders_for_encryption_are_made_when_asked_for(asked: Asked, folder: Path) -> None:
    asked.client.project.init(skip_wallet=True)
    asked.client.dataset.init()
    assert not (folder / "datasets").exists()
    asked.client.dataset.init(encrypted=True)
    for name in (".secrets/datasets", "datasets/original", "datasets/encrypted"):
        assert (folder / name).is_dir()
    assert stat.S_IMODE((folder / ".secrets" / "datasets").stat().st_mode) == 0o700
    asked.client.dataset.init(tee=True, dataset_keystoredir="k", original_dataset_dir="o/o", encrypted_dataset_dir="e")
    assert all((folder / name).is_dir() for name in ("k", "o/o", "e"))
    with pytest.raises(ValidationError, match="not a valid original_dataset_dir"):
        asked.client.dataset.init(encrypted=True, original_dataset_dir="\0")


@pytest.fixture
def datasets(asked: Asked, folder: Path) -> Path:
    asked.client.project.init(skip_wallet=True)
    asked.client.dataset.init(encrypted=True)
    (folder / "datasets" / "original" / "a.csv").write_bytes(b"a,b\n1,2\n")
    (folder / "datasets" / "original" / "b.bin").write_bytes(os.urandom(1000))
    (folder / "datasets" / "original" / "folder").mkdir()
    return folder


@pytest.mark.parity("dataset encrypt")
def test_every_file_is_encrypted_with_a_key_of_its_own(asked: Asked, datasets: Path) -> None:
    made = asked.client.dataset.encrypt()
    assert [one.original.name for one in made.encryptedFiles] == ["a.csv", "b.bin"]
    assert made.skipped == ("folder",)
    keys = datasets / ".secrets" / "datasets"
    assert sorted(os.listdir(keys)) == ["a.csv.key", "b.bin.key", "dataset.key"]
    assert (keys / "dataset.key").read_bytes() == (keys / "b.bin.key").read_bytes()
    assert (keys / "a.csv.key").read_bytes() != (keys / "b.bin.key").read_bytes()
    for one in made.encryptedFiles:
        assert stat.S_IMODE(one.key.stat().st_mode) == 0o600
        key = Secret(one.key.read_text())
        assert len(key.reveal()) == 44
        out = datasets / "opened"
        encryption.decrypt_file(one.encrypted, out, encryption.dataset_key(key), checksum=one.checksum)
        assert out.read_bytes() == one.original.read_bytes()
        assert asked.client.store.dataset_key(one.checksum) == key
        assert key.reveal() not in repr(made)
    assert asked.questions == []


def test_keys_and_files_that_are_there_are_asked_about_once_before_anything_is_touched(
    asked: Asked, datasets: Path
) -> None:
    first = asked.client.dataset.encrypt()
    before = files(datasets)
    asked.answer = False
    with pytest.raises(ConfigurationError, match="aborted"):
        asked.client.dataset.encrypt()
    assert files(datasets) == before
    assert len(asked.questions) == 1
    for name in ("a.csv.key", "a.csv.enc", "b.bin.key", "b.bin.enc", "dataset.key"):
        assert name in asked.questions[0]
    asked.client.dataset.encrypt(force=True)
    assert len(asked.questions) == 1
    assert files(datasets)[".secrets/datasets/a.csv.key"] != before[".secrets/datasets/a.csv.key"]
    # What was sold with the first key can still be opened.
    old = asked.client.store.dataset_key(first.encryptedFiles[0].checksum)
    assert old is not None
    assert old.reveal_bytes() == before[".secrets/datasets/a.csv.key"]


def test_the_key_of_a_file_that_the_cli_encrypted_is_kept_when_it_is_replaced(
    tmp_path: Path, asked: Asked, datasets: Path
) -> None:
    first = asked.client.dataset.encrypt().encryptedFiles[0]
    old = first.key.read_bytes()
    shutil.rmtree(tmp_path / "store")
    asked.client.dataset.encrypt(force=True)
    kept = asked.client.store.dataset_key(first.checksum)
    assert kept is not None
    assert kept.reveal_bytes() == old


def test_links_are_not_followed_out_of_the_folder(tmp_path: Path, asked: Asked, datasets: Path) -> None:
    (tmp_path / "private").write_text("private")
    (datasets / "datasets" / "original" / "link").symlink_to(tmp_path / "private")
    assert "link" in asked.client.dataset.encrypt().skipped


def test_missing_folders_and_an_empty_one_are_said_as_the_cli_says_it(asked: Asked, folder: Path) -> None:
    asked.client.project.init(skip_wallet=True)
    missing = 'Folders for dataset encryption are missing, did you forget to run "iexec dataset init --encrypted"'
    with pytest.raises(ConfigurationError, match=missing):
        asked.client.dataset.encrypt()
    asked.client.dataset.init(encrypted=True)
    with pytest.raises(ValidationError, match="is empty, nothing to encrypt"):
        asked.client.dataset.encrypt()


def test_the_key_of_one_file_is_not_taken_for_that_of_the_last(asked: Asked, datasets: Path) -> None:
    (datasets / "datasets" / "original" / "dataset").write_text("x")
    with pytest.raises(ValidationError, match='a file called "dataset"'):
        asked.client.dataset.encrypt()
    assert files(datasets / ".secrets") == {}


def test_show_says_what_is_in_the_folder(asked: Asked, datasets: Path) -> None:
    client, where = asked.client, asked.client.require_signer().address
    client.app.init()
    client.order.init(app=True)
    client.files.set_deployed("app", 42161, where)
    client.files.save_signed(42161, {"app": {"app": where}})
    client.dataset.encrypt()
    shown = client.project.show()
    assert shown.folder == datasets
    assert shown.files == ("iexec.json", "chain.json", "deployed.json", "orders.json")
    assert shown.default == "arbitrum-sepolia-testnet"
    assert shown.chains == ("arbitrum-mainnet", "arbitrum-sepolia-testnet")
    assert list(shown.resources) == ["app", "dataset"]
    assert shown.orders == ("apporder",)
    assert shown.deployed == {"app": {"42161": where}}
    assert shown.signed == {"42161": ("apporder",)}
    assert shown.toEncrypt == ("a.csv", "b.bin")
    assert shown.encrypted == ("a.csv.enc", "b.bin.enc")
    assert shown.problems == ()


@pytest.mark.parametrize("version", ["6.0.1", "7.2.5", "8.24.0"])
def test_folders_of_older_versions_are_shown_without_a_problem(asked: Asked, folder: Path, version: str) -> None:
    shutil.copytree(PROJECTS / version, folder, dirs_exist_ok=True)
    shown = asked.client.project.show()
    assert shown.problems == ()
    assert list(shown.resources) == ["app", "dataset", "workerpool", "category"]
    assert len(shown.orders) == 4
    assert list(shown.signed) == ["134"]


def test_an_empty_folder_has_nothing_and_stays_empty(asked: Asked, folder: Path) -> None:
    shown = asked.client.project.show()
    assert (shown.files, shown.chains, shown.problems) == ((), (), ())
    assert os.listdir(folder) == []


def test_broken_files_are_listed_each_with_its_place(asked: Asked, folder: Path) -> None:
    (folder / "iexec.json").write_text('{\n"app": [],\n"dataset": {}}')
    (folder / "chain.json").write_text('{\n"chains": {\n"a": {"hubb": 1}}}')
    (folder / "deployed.json").write_text('{"app": ')
    (folder / "orders.json").write_text('{"134": {\n"apporder": 1}}')
    shown = asked.client.project.show()
    assert len(shown.problems) == 4
    for problem, place in zip(
        shown.problems,
        ("line 2, key app", "line 3, key chains.a.hubb", "line 1, key app", "line 2, key 134.apporder"),
        strict=True,
    ):
        assert place in problem
    assert list(shown.resources) == ["dataset"]
    assert "4 BROKEN" in repr(shown)


def test_a_client_in_a_project_is_on_the_chain_that_its_file_means(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IEXEC_NB_CHAIN", "arbitrum-mainnet")
    assert IExec().network.name == "arbitrum-mainnet"
    shutil.copy(PROJECTS / "8.24.0" / "chain.json", folder)
    assert IExec().network.name == "bellecour"
    assert IExec("dev").network.chain_id == 65535
    assert IExec("dev", tee_framework="scone").network.sms == "http://localhost:13300"
    assert IExec("dev", sms="http://other.test").url("sms") == "http://other.test"
    (folder / "chain.json").write_text('{"chains": {"dev": {"hubb": 1}}}')
    with pytest.raises(ValidationError, match='Unknown key "hubb"'):
        IExec("dev")


def test_a_secret_for_a_service_that_a_file_chose_is_asked_about(folder: Path) -> None:
    asked: list[str] = []

    def no(text: str) -> bool:
        asked.append(text)
        return False

    signer = PrivateKeySigner(KEY)
    chains = {"dev": {"id": "42161", "sms": "https://sms.evil.test"}, "same": {"id": "42161"}}
    (folder / "chain.json").write_text(json.dumps({"default": "dev", "chains": chains}))
    client = IExec(signer=signer, confirm=no)
    with pytest.raises(ConfigurationError, match="aborted"):
        client.requester.push_secret("name", secret_value=Secret("hidden"))
    [question] = asked
    assert "give the secret 'name' to the secret service at https://sms.evil.test" in question
    assert "from chain.json" in question
    assert "hidden" not in question
    client.trusts_project = True
    client.approve_secret("it")
    IExec("same", signer=signer, confirm=no).approve_secret("it")
    IExec("arbitrum-sepolia-testnet", signer=signer, confirm=no).approve_secret("it")
    assert len(asked) == 1


def test_from_a_template_to_a_signed_order(net: Sandbox, seller: IExec, folder: Path) -> None:
    with person(net, seller) as one:
        client = one.client
        with pytest.raises(ConfigurationError, match=r'Missing "iexec.json" file'):
            client.app.deploy()
        assert files(folder) == {}
        client.project.init(skip_wallet=True)
        body = {**client.app.init(), "name": f"my app {time.time_ns()}"}
        client.files.set_resource("app", body)
        deployed = client.app.deploy()
        assert client.files.require_deployed("app", net.chain_id) == deployed.address
        assert client.app.show().appName == body["name"]
        orders = client.order.init(app=True)
        assert orders["apporder"]["app"] == deployed.address
        signed = client.order.sign(app=True, skip_preflight_check=True)
        kept = client.files.signed_order("app", net.chain_id)
        assert kept is not None
        assert kept["sign"] == signed["apporder"].sign
        assert one.asked[0].startswith("deploy the app")


def test_a_deployment_is_not_paid_for_where_it_could_not_be_noted(net: Sandbox, seller: IExec, folder: Path) -> None:
    with person(net, seller) as one:
        one.client.project.init(skip_wallet=True)
        one.client.files.set_resource("app", {**one.client.app.init(), "name": f"my app {time.time_ns()}"})
        (folder / "deployed.json").write_text('{"app": {')
        with pytest.raises(ValidationError, match=r"deployed.json is not valid JSON"):
            one.client.app.deploy()
        assert not one.touched
        assert one.asked == []
        assert (folder / "deployed.json").read_text() == '{"app": {'


@pytest.mark.parametrize(
    ("kind", "field", "value"),
    [
        ("app", "owner", "0x12"),
        ("app", "checksum", "0x12"),
        ("app", "name", 5),
        ("app", "type", "VM"),
        ("dataset", "multiaddr", ""),
        ("workerpool", "description", None),
    ],
)
def test_a_mistake_in_a_template_is_said_with_its_line_and_nothing_is_sent(
    net: Sandbox, seller: IExec, folder: Path, kind: str, field: str, value: Any
) -> None:
    with person(net, seller) as one:
        one.client.project.init(skip_wallet=True)
        body = getattr(one.client, kind).init()
        one.client.files.set_resource(kind, {**body, field: value})
        with pytest.raises(ValidationError) as caught:
            getattr(one.client, kind).deploy()
        context = caught.value.context
        assert (context["file"], context["key"]) == ("iexec.json", f"{kind}.{field}")
        assert f'"{field}"' in (folder / "iexec.json").read_text().split("\n")[int(str(context["line"])) - 1]
        assert not one.touched
        assert one.asked == []

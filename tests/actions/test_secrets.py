"""Secrets of apps and datasets: pushed once by their owner, read by enclaves only, found where they were made."""

from __future__ import annotations

import base64
import getpass
import json
import os
import stat
from pathlib import Path
from typing import Any

import httpx
import pytest
from stage import NOBODY, deploy_app, deploy_dataset, person, wallet

from iexec_nb.client import IExec
from iexec_nb.commands import COMMANDS, parse
from iexec_nb.errors import (
    ConfigurationError,
    ObjectNotFoundError,
    SecretExistsError,
    SmsCallError,
    ValidationError,
)
from iexec_nb.protocol.encryption import checksum, dataset_key, decrypt_bytes
from iexec_nb.protocol.types import Secret
from iexec_nb.sandbox.network import Sandbox

VALUE = "canary-secret-5f3a"
TOO_LONG = "é" * 2049


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Somebody at the keyboard, who types the value; the prompts that were shown."""
    prompts: list[str] = []

    def ask(prompt: str = "") -> str:
        prompts.append(prompt)
        return VALUE

    monkeypatch.setattr(getpass, "getpass", ask)
    return prompts


def read_secrets() -> None:
    """An app that writes what its enclave gives it; here nobody minds."""
    import json
    import os
    from pathlib import Path

    names = ("IEXEC_APP_DEVELOPER_SECRET", "IEXEC_REQUESTER_SECRET_1", "IEXEC_REQUESTER_SECRET_7")
    out = Path(os.environ["IEXEC_OUT"])
    (out / "seen.json").write_text(json.dumps({name: os.environ.get(name) for name in names}))
    (out / "computed.json").write_text(json.dumps({"deterministic-output-path": "/iexec_out/seen.json"}))


def raw(noun: str, verb: str, value: Any) -> Any:
    made = COMMANDS[noun, verb].raw
    assert made is not None
    return made(value)


# The app developer's secret.


@pytest.mark.parity("app.pushAppSecret", "app push-secret", "app.checkAppSecretExists", "app check-secret")
def test_an_app_gets_its_secret_once_and_for_good(net: Sandbox, seller: IExec) -> None:
    app = deploy_app(net, seller)
    with person(net, seller) as me:
        assert me.client.app.check_secret(app) is False
        assert me.client.app.push_secret(app.lower(), secret_value=Secret(VALUE)) is True
        assert [one[0] for one in me.web.to("sms", f"/apps/{app}/secrets")] == ["HEAD", "POST"]
        assert me.client.app.check_secret(app) is True
    with pytest.raises(SecretExistsError, match=f"Secret already exists for {app} and can't be updated") as caught:
        seller.app.push_secret(app, secret_value=Secret(VALUE + "2"))
    assert VALUE not in str(caught.value)
    assert raw("app", "push-secret", True) == {}
    assert raw("app", "check-secret", True) == {"isSecretSet": True}


@pytest.mark.parity("secrets.pushRequesterSecret")
def test_a_run_reads_the_developers_secret_and_those_of_its_requester(
    net: Sandbox, seller: IExec, buyer: IExec
) -> None:
    app = deploy_app(net, seller, read_secrets, price=0)
    seller.app.push_secret(app, secret_value=Secret("the developer's"))
    buyer.requester.push_secret("api-key", secret_value=Secret("the requester's"))
    seen = buyer.app.run(app, secrets={1: "api-key"}).result().json()
    assert seen == {
        "IEXEC_APP_DEVELOPER_SECRET": "the developer's",
        "IEXEC_REQUESTER_SECRET_1": "the requester's",
        "IEXEC_REQUESTER_SECRET_7": None,
    }


def test_a_run_with_a_secret_that_is_not_there_is_refused_before_it_is_paid(
    net: Sandbox, buyer: IExec, app: str
) -> None:
    with person(net, buyer) as me:
        with pytest.raises(ValidationError, match='Requester secret "missing" is not set') as caught:
            me.client.app.run(app, secrets={1: "missing"})
        assert "requester.push_secret('missing')" in str(caught.value.hint)
        assert not me.asked
        assert not me.touched


@pytest.mark.parametrize("noun", ["app", "dataset"])
def test_only_the_owner_sets_a_secret(net: Sandbox, seller: IExec, noun: str) -> None:
    where = deploy_app(net, seller) if noun == "app" else deploy_dataset(net, seller, secret=False)
    key = Secret(base64.b64encode(bytes(range(32))).decode())
    given: dict[str, Any] = {"secret_value": Secret(VALUE)} if noun == "app" else {"key": key}
    stranger = net.client()
    refusal = f"Wallet {wallet(stranger)} is not allowed to set secret for {where}"
    with pytest.raises(SmsCallError, match=refusal) as caught:
        getattr(stranger, noun).push_secret(where, **given)
    assert caught.value.status == 401
    assert getattr(seller, noun).check_secret(where) is False


@pytest.mark.parametrize("wrong", [VALUE, b"x", 5, Secret(""), Secret(TOO_LONG), Secret(b"\xff"), Secret("\ud800")])
def test_a_value_that_is_no_secret_is_refused_and_not_repeated(net: Sandbox, seller: IExec, wrong: Any) -> None:
    app = deploy_app(net, seller)
    with person(net, seller) as me:
        for push in (
            lambda: me.client.app.push_secret(app, secret_value=wrong),
            lambda: me.client.requester.push_secret("some-name", secret_value=wrong),
        ):
            with pytest.raises(ValidationError) as caught:
                push()
            assert VALUE not in str(caught.value)
            assert TOO_LONG[:20] not in str(caught.value)
            assert caught.value.hint
        assert not me.web.writes()


def test_the_longest_value_is_taken_and_one_byte_more_is_not(net: Sandbox, seller: IExec) -> None:
    app = deploy_app(net, seller)
    with pytest.raises(ValidationError, match="should not exceed 4 Kb"):
        seller.app.push_secret(app, secret_value=Secret("x" * 4097))
    assert seller.app.push_secret(app, secret_value=Secret("é" * 2048)) is True


def test_a_secret_that_is_not_given_is_asked_for(net: Sandbox, seller: IExec, typed: list[str]) -> None:
    app = deploy_app(net, seller)
    assert parse(["app", "push-secret", app]).on(seller) is True
    assert parse(["requester", "push-secret", "typed-one"]).on(seller).isPushed
    assert typed == ["Paste your secret: ", "Paste your secret: "]


def test_where_nobody_can_type_a_secret_has_to_be_given(
    net: Sandbox, seller: IExec, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nobody(prompt: str = "") -> str:
        raise EOFError

    monkeypatch.setattr(getpass, "getpass", nobody)
    app = deploy_app(net, seller)
    with pytest.raises(ConfigurationError) as caught:
        seller.app.push_secret(app)
    assert "secret_value=Secret(...)" in str(caught.value.hint)


def test_a_service_that_does_not_answer_says_nothing_about_a_secret(net: Sandbox, seller: IExec) -> None:
    app = deploy_app(net, seller)
    with person(net, seller) as me:
        me.web.before = lambda request: httpx.Response(500)
        with pytest.raises(SmsCallError):
            me.client.app.check_secret(app)
        with pytest.raises(SmsCallError) as caught:
            me.client.app.push_secret(app, secret_value=Secret(VALUE))
        assert VALUE not in str(caught.value)
    assert seller.app.check_secret(app) is False


# The key of a dataset.


@pytest.mark.parity("dataset.generateEncryptionKey")
@pytest.mark.parity("dataset.encrypt")
def test_a_generated_key_opens_what_it_encrypted_and_does_not_show_itself(seller: IExec, tmp_path: Path) -> None:
    key = seller.dataset.generate_encryption_key()
    assert len(base64.b64decode(key.reveal())) == 32
    assert key != seller.dataset.generate_encryption_key()
    assert str(key) == repr(key) == "****"
    made = seller.dataset.encrypt(b"hello", key=key, target=tmp_path / "x.enc")
    assert made.key == key
    assert decrypt_bytes(made.path.read_bytes(), dataset_key(key)) == b"hello"


@pytest.mark.parity("dataset.computeEncryptedFileChecksum")
def test_the_checksum_of_a_file_and_of_its_bytes_is_what_encrypt_says(seller: IExec, tmp_path: Path) -> None:
    made = seller.dataset.encrypt(os.urandom(100_000), target=tmp_path / "x.enc")
    compute = seller.dataset.compute_encrypted_file_checksum
    assert compute(made.path) == compute(str(made.path)) == compute(made.path.read_bytes()) == made.checksum
    assert compute(b"") == "0xe3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    for wrong in ("no-such-file", "", ".", 5, None, ["x"]):
        with pytest.raises(ValidationError):
            compute(wrong)


def test_encrypting_one_file_and_a_folder_are_not_mixed(seller: IExec, folder: Path) -> None:
    (folder / "a").write_bytes(b"x")
    for wrong in ({"target": "x.enc"}, {"key": seller.dataset.generate_encryption_key()}):
        with pytest.raises(ValidationError, match="one file"):
            seller.dataset.encrypt(**wrong)
    with pytest.raises(ValidationError, match="files of a project"):
        seller.dataset.encrypt("a", original_dataset_dir="x")  # type: ignore[call-overload]
    for odd in (5, "", "a\x00b", "~nobody_here/x"):
        with pytest.raises(ValidationError):
            seller.dataset.encrypt("a", target=odd)  # type: ignore[call-overload]
    assert [path.name for path in folder.iterdir()] == ["a"]


@pytest.mark.parity("dataset.pushDatasetSecret", "dataset.checkDatasetSecretExists")
@pytest.mark.parity("dataset encrypt", "dataset push-secret", "dataset check-secret")
def test_a_folder_of_datasets_is_encrypted_and_each_gets_its_own_key(
    net: Sandbox, seller: IExec, folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    (folder / "iexec.json").write_text("{}")
    parse(["dataset", "init", "--encrypted"]).on(seller)
    for name in ("a.csv", "b.csv"):
        (folder / "datasets" / "original" / name).write_text(f"rows of {name}")
    made = parse(["dataset", "encrypt"]).on(seller)
    checksums = {one.original.name: one.checksum for one in made.encryptedFiles}
    shown = raw("dataset", "encrypt", made)
    assert [file["checksum"] for file in shown["encryptedFiles"]] == list(checksums.values())
    keys = folder / ".secrets" / "datasets"
    assert (keys / "dataset.key").read_text() == (keys / "b.csv.key").read_text() != (keys / "a.csv.key").read_text()
    # The first file is sold: the key that was written last is not its.
    where = seller.dataset.deploy(name="a", multiaddr="/ipfs/a", checksum=checksums["a.csv"]).address
    elsewhere = tmp_path_factory.mktemp("another store")
    with person(net, seller, store=elsewhere) as me:
        assert parse(["dataset", "push-secret", where]).on(me.client) is True
        assert not me.asked
    assert vault(net, where) == (keys / "a.csv.key").read_text()
    assert parse(["dataset", "check-secret", where]).on(seller) is True


def vault(net: Sandbox, where: str) -> str:
    """The value that the sandbox's service keeps for a dataset."""
    assert net._parts is not None
    found = net._parts.vault.get("web3", where)
    assert found is not None
    return found.reveal()


def cli_folder(folder: Path, content: bytes, **keys: str) -> str:
    """A folder as the official CLI leaves it, with one encrypted file; return its checksum."""
    for name in (".secrets/datasets", "datasets/original", "datasets/encrypted"):
        (folder / name).mkdir(parents=True)
    (folder / "datasets" / "encrypted" / "a.csv.enc").write_bytes(content)
    for name, key in keys.items():
        (folder / ".secrets" / "datasets" / f"{name.replace('_', '.')}.key").write_text(key)
    return checksum(content)


def a_key(number: int) -> str:
    return base64.b64encode(bytes([number]) * 32).decode()


def test_a_key_of_which_nobody_knows_whose_it_is_is_asked_about(
    net: Sandbox, seller: IExec, folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    cli_folder(folder, os.urandom(32), a_csv=a_key(1), dataset=a_key(1))
    other = checksum(os.urandom(32))
    where = seller.dataset.deploy(name="other", multiaddr="/ipfs/o", checksum=other).address
    with person(net, seller, store=tmp_path_factory.mktemp("store")) as me:
        me.answer = False
        with pytest.raises(ConfigurationError, match="aborted"):
            me.client.dataset.push_secret(where)
        assert other in me.asked[0]
        assert not me.web.writes()
        me.answer = True
        assert me.client.dataset.push_secret(where) is True
    assert vault(net, where) == a_key(1)


def test_the_key_of_a_file_called_dataset_is_not_taken_for_that_of_the_last_file(
    net: Sandbox, seller: IExec, folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    content = os.urandom(32)
    cli_folder(folder, b"another", a_csv=a_key(2), dataset=a_key(2))
    (folder / "datasets" / "encrypted" / "dataset.enc").write_bytes(content)
    where = seller.dataset.deploy(name="dataset", multiaddr="/ipfs/d", checksum=checksum(content)).address
    with person(net, seller, store=tmp_path_factory.mktemp("store")) as me:
        me.answer = False
        with pytest.raises(ConfigurationError, match="aborted"):
            me.client.dataset.push_secret(where)
        assert not me.web.writes()


def test_a_key_is_read_from_a_file(net: Sandbox, seller: IExec, folder: Path) -> None:
    (folder / "my.key").write_text(f"\n {a_key(3)} \n")
    where = deploy_dataset(net, seller, secret=False)
    for wrong, error in (("no.key", ConfigurationError), (5, ValidationError), ("", ValidationError)):
        with pytest.raises(error):
            seller.dataset.push_secret(where, secret_path=wrong)  # type: ignore[arg-type]
    (folder / "bad.key").write_text("not a key at all")
    with pytest.raises(ValidationError) as caught:
        seller.dataset.push_secret(where, secret_path="bad.key")
    assert "not a key at all" not in str(caught.value)
    with pytest.raises(ValidationError, match="key and secret_path"):
        seller.dataset.push_secret(where, key=Secret(a_key(3)), secret_path="my.key")
    assert parse(["dataset", "push-secret", where, "--secret-path", "my.key"]).on(seller) is True
    assert vault(net, where) == a_key(3)


def test_a_secret_is_pushed_for_what_deployed_json_names(net: Sandbox, seller: IExec, folder: Path) -> None:
    app, dataset = deploy_app(net, seller), deploy_dataset(net, seller, secret=False)
    here = str(net.chain_id)
    (folder / "deployed.json").write_text(json.dumps({"app": {here: app}, "dataset": {here: dataset}}))
    assert seller.app.push_secret(secret_value=Secret("x"))
    assert seller.dataset.push_secret()
    assert parse(["app", "check-secret"]).on(seller) is True
    assert parse(["dataset", "check-secret"]).on(seller) is True
    assert seller.app.check_secret(app)
    assert seller.dataset.check_secret(dataset)


def test_keys_stay_in_files_of_their_owner_only(seller: IExec, folder: Path) -> None:
    (folder / "iexec.json").write_text("{}")
    seller.dataset.init(encrypted=True)
    (folder / "datasets" / "original" / "a.csv").write_text("x")
    seller.dataset.encrypt()
    keys = folder / ".secrets" / "datasets"
    assert stat.S_IMODE(keys.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in keys.iterdir()} == {0o600}


def test_a_key_for_an_app_is_not_looked_for(net: Sandbox, seller: IExec) -> None:
    app = deploy_app(net, seller)
    with pytest.raises(ObjectNotFoundError, match="No dataset found"):
        seller.dataset.push_secret(app)
    with person(net, seller) as me:
        for wrong in ("0x12", "", 5, "vitalik.eth"):
            for check in (me.client.app.check_secret, me.client.dataset.check_secret, me.client.app.push_secret):
                with pytest.raises(ValidationError):
                    check(wrong)  # type: ignore[arg-type]
        assert me.web.requests == []
    assert net.user.app.check_secret(NOBODY) is False


def test_preflight_names_everything_that_a_request_lacks_at_once(net: Sandbox, seller: IExec, buyer: IExec) -> None:
    app = deploy_app(net, seller, price=0)
    dataset = deploy_dataset(net, seller, secret=False)
    publish_bare(seller, dataset)
    with pytest.raises(ValidationError) as caught:
        buyer.app.request_execution(
            app, dataset=dataset, encrypt_result=True, storage_provider="dropbox", secrets={1: "one", 2: "two"}
        )
    for lack in ("result encryption key", "storage token", "Dataset encryption key", '"one"', '"two"'):
        assert lack in caught.value.message


def publish_bare(owner: IExec, dataset: str) -> None:
    order = owner.order.create("dataset", dataset=dataset, datasetprice=0)
    owner.order.publish(owner.order.sign(order, skip_preflight_check=True), skip_preflight_check=True)

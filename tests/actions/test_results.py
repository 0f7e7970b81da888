"""Results from the gateway and from the disk: every form that workers publish, and the files that verbs write."""

from __future__ import annotations

import io
import os
import stat
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from stage import NOBODY, Person, deploy_app, person, wallet

from iexec_nb.client import IExec
from iexec_nb.commands import COMMANDS
from iexec_nb.errors import (
    ConfigurationError,
    DecryptionError,
    IExecError,
    ObjectNotFoundError,
    ResultNotFoundError,
    SecretExistsError,
    TaskNotCompletedError,
    UnsafeArchiveError,
    ValidationError,
)
from iexec_nb.protocol.execution import TaskStatus
from iexec_nb.protocol.result_encryption import encrypt_result, generate_result_keypair
from iexec_nb.protocol.results import ResultDescriptor
from iexec_nb.protocol.types import Secret, keccak
from iexec_nb.sandbox.network import Sandbox
from iexec_nb.services.project import Project

COMPUTED = b'{"deterministic-output-path": "/iexec_out/out.txt"}'


@pytest.fixture(scope="module")
def done(net: Sandbox) -> tuple[IExec, Any]:
    buyer = net.client(deposit="1 RLC")
    return buyer, buyer.app.run(deploy_app(net, net.client(), price=0), args="x", category=0).wait()


@pytest.fixture(scope="module")
def sealed(net: Sandbox, app: str) -> tuple[IExec, Any]:
    buyer = net.client(deposit="5 RLC")
    buyer.result.generate_encryption_keypair()
    buyer.result.push_encryption_key()
    return buyer, buyer.app.run(app, args="mine", category=0, encrypt_result=True).wait()


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder of our own that is no project."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def project(here: Path) -> Path:
    Project(here).write("iexec.json", {"description": "a project"})
    return here


def zipped(*entries: tuple[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries:
            archive.writestr(name, content)
    return packed.getvalue()


def raw(verb: str, value: Any) -> Any:
    make = COMMANDS["result", verb].raw
    assert make is not None
    return make(value)


def result_of(run: tuple[IExec, Any], content: bytes, **options: Any) -> Any:
    client, handle = run
    task = client.task.show(handle.taskids[0])
    task = replace(task, results=ResultDescriptor("ipfs", client.storage.add(content)))
    return client.result.of_task(task, handle.deal, **options)


# --- what workers publish --------------------------------------------------------------------------------------------


def test_what_the_workers_agreed_on_is_verified_and_says_so(done: tuple[IExec, Any]) -> None:
    buyer, run = done
    result = buyer.result.fetch(run.taskids[0])
    assert result.verified is True
    assert "out.txt: the digest that the workers agreed on" in result.verification
    assert "verified" in repr(result)
    assert result.main.text() == result.text() == "x"
    assert result["out.txt"] == b"x"
    assert result.path is None


def test_a_single_file_is_a_result(done: tuple[IExec, Any]) -> None:
    table = result_of(done, b"a,b\n1,2\n3,4\n")
    assert list(table) == ["result.csv"]
    assert table.table()["b"].tolist() == [2, 4]
    assert table.verified is None
    assert result_of(done, b"x").verified is True


def test_nothing_is_an_empty_result(done: tuple[IExec, Any]) -> None:
    for nothing in (b"", zipped()):
        assert list(result_of(done, nothing)) == []


def test_a_folder_on_ipfs_is_a_result(net: Sandbox, done: tuple[IExec, Any], here: Path) -> None:
    buyer, run = done
    add = buyer.ipfs.add
    inner = net._live.blocks.add_folder({"deep.txt": add(b"deep")})
    cid = net._live.blocks.add_folder({"out.txt": add(b"x"), "computed.json": add(COMPUTED), "sub": inner})
    task = replace(buyer.task.show(run.taskids[0]), results=ResultDescriptor("ipfs", f"/ipfs/{cid}"))
    result = buyer.result.of_task(task, run.deal)
    assert sorted(result) == ["computed.json", "out.txt", "sub/deep.txt"]
    assert result.verified is True
    assert result["sub/deep.txt"].text() == "deep"


def test_the_archive_of_an_early_worker_opens(done: tuple[IExec, Any]) -> None:
    early = zipped(("stdout.txt", b"hello"), ("iexec_out/computed.json", COMPUTED), ("iexec_out/out.txt", b"x"))
    result = result_of(done, early)
    assert result["out.txt"].text() == "x"
    assert result.verified is True


@pytest.mark.parametrize("computed", [b"{}", b"no json", b'{"deterministic-output-path": "/iexec_out/gone"}'])
def test_where_nothing_says_what_counts_nothing_is_claimed(done: tuple[IExec, Any], computed: bytes) -> None:
    result = result_of(done, zipped(("out.txt", b"x"), ("computed.json", computed)))
    assert result.verified is None
    assert result.verification.startswith("not compared")


def call_back() -> None:
    """An app whose data goes to a contract."""
    import json
    import os

    with open(os.path.join(os.environ["IEXEC_OUT"], "computed.json"), "w") as file:
        json.dump({"callback-data": "0x" + "ab" * 40}, file)


def test_the_data_of_a_callback_is_a_result(net: Sandbox) -> None:
    buyer = net.client(deposit="1 RLC")
    app = deploy_app(net, net.client(), call_back, price=0)
    run = buyer.app.run(app, category=0, callback=NOBODY)
    run.wait()
    result = run.result()
    assert result.callback == b"\xab" * 40
    assert len(result) == 0
    assert result.verified is True
    assert "callback: 40 bytes" in repr(result)
    assert result.task.resultDigest == "0x" + keccak(result.callback).hex()
    task = replace(result.task, resultsCallback=b"other")
    with pytest.warns(UserWarning, match="not what the workers agreed on"):
        assert buyer.result.of_task(task, run.deal).verified is False


# --- the guide's errors ----------------------------------------------------------------------------------------------


def test_a_task_that_is_not_completed_says_what_to_wait_for(done: tuple[IExec, Any]) -> None:
    buyer, run = done
    task = buyer.task.show(run.taskids[0])
    for status, words in ((TaskStatus.ACTIVE, "watch=True"), (TaskStatus.FAILED, "iexec.task.debug")):
        with pytest.raises(TaskNotCompletedError, match="Task is not completed") as caught:
            buyer.result.of_task(replace(task, status=status), run.deal)
        assert words in str(caught.value.hint)
        assert caught.value.context["status"] == status.name


def test_a_wrong_id_is_told_from_a_task_that_was_not_started(net: Sandbox, app: str) -> None:
    buyer = net.client(deposit="1 RLC")
    with pytest.raises(ObjectNotFoundError, match="No task found") as caught:
        buyer.result.fetch("0x" + "12" * 32)
    assert "check the task's id" in str(caught.value.hint)
    with pytest.raises(ValidationError, match="not a bytes32"):
        buyer.result.download("0x12")
    with pytest.raises(ObjectNotFoundError, match="No deal found"):
        buyer.result.download("0x" + "12" * 32, dealid="0x" + "34" * 32)


def test_what_lies_elsewhere_is_named_and_can_be_opened_from_the_disk(done: tuple[IExec, Any], here: Path) -> None:
    buyer, run = done
    task = buyer.task.show(run.taskids[0])
    with pytest.raises(ResultNotFoundError, match="stored on dropbox") as caught:
        buyer.result.of_task(replace(task, results=ResultDescriptor("dropbox", f"/results/{task.taskid}")), run.deal)
    assert f"/results/{task.taskid}.zip" in str(caught.value.context["location"])
    assert "iexec.result.open(path" in str(caught.value.hint)
    place = here / "from-dropbox.zip"
    place.write_bytes(zipped(("out.txt", b"x"), ("computed.json", COMPUTED)))
    assert buyer.result.open(place).verified is None
    assert buyer.result.open(place, taskid=task.taskid).verified is True
    place.write_bytes(zipped(("out.txt", b"lie"), ("computed.json", COMPUTED)))
    with pytest.warns(UserWarning, match="not what the workers agreed on"):
        assert buyer.result.open(place, taskid=task.taskid).verified is False
    for storage, words in (("none", "No result uploaded"), ("ipfs", "Missing location key")):
        with pytest.raises(ResultNotFoundError, match=words):
            buyer.result.of_task(replace(task, results=ResultDescriptor(storage, None)), run.deal)


# --- files -----------------------------------------------------------------------------------------------------------


@pytest.mark.parity("task.fetchResults")
def test_a_result_is_downloaded_under_the_name_that_the_cli_gives_it(done: tuple[IExec, Any], here: Path) -> None:
    buyer, run = done
    taskid = run.taskids[0]
    content = buyer.ipfs.get(buyer.task.show(taskid).results.location, max_bytes=10**6)
    for target, name in ((None, f"{taskid}.zip"), ("mine", "mine.zip"), ("a.zip", "a.zip"), (".zip", ".zip.zip")):
        path = buyer.result.download(taskid, target)
        assert path == here / name
        assert path.read_bytes() == content
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert raw("download", path) == {"resultPath": str(here / name)}
    assert sorted(os.listdir(here)) == sorted([f"{taskid}.zip", "mine.zip", "a.zip", ".zip.zip"])


def test_a_file_that_is_there_is_replaced_only_when_asked(net: Sandbox, done: tuple[IExec, Any], here: Path) -> None:
    buyer, run = done
    (here / "mine.zip").write_bytes(b"keep me")
    with person(net, buyer) as me:
        me.answer = False
        with pytest.raises(ConfigurationError, match="aborted"):
            me.client.result.download(run.taskids[0], "mine")
        assert (here / "mine.zip").read_bytes() == b"keep me"
        assert me.web.to("ipfs") == []
        assert "replace the file mine.zip" in me.asked[0]
        me.answer = True
        assert me.client.result.download(run.taskids[0], "mine").read_bytes().startswith(b"PK")
    (here / "folder.zip").mkdir()
    (here / "link.zip").symlink_to("/etc/hostname")
    for wrong in ("folder", "link", "no/such/folder", "", 5, "a\0b"):
        with pytest.raises(ValidationError):
            buyer.result.download(run.taskids[0], wrong)


def test_an_encrypted_result_is_downloaded_as_it_is_or_decrypted(sealed: tuple[IExec, Any], here: Path) -> None:
    buyer, run = sealed
    taskid = run.taskids[0]
    closed = buyer.result.download(taskid, "closed")
    opened = buyer.result.download(taskid, "opened", decrypt=True)
    assert zipfile.ZipFile(opened).read("out.txt") == b"mine"
    assert stat.S_IMODE(opened.stat().st_mode) == 0o600
    assert sorted(buyer.result.open(closed)) == sorted(buyer.result.open(opened)) == ["computed.json", "out.txt"]
    assert buyer.result.open(closed, taskid=taskid).verified is True
    assert buyer.result.fetch(taskid).encrypted


def test_a_plain_result_is_not_decrypted_and_nothing_is_written(
    done: tuple[IExec, Any], sealed: tuple[IExec, Any], here: Path
) -> None:
    buyer, run = done
    key = sealed[0].store.result_key_file(wallet(sealed[0]))
    with pytest.raises(DecryptionError, match=r"Missing aes-key\.rsa file"):
        buyer.result.download(run.taskids[0], decrypt=True, beneficiary_key_file=key)
    with pytest.raises(DecryptionError, match="whose private key is not here"):
        buyer.result.download(run.taskids[0], decrypt=True)
    assert os.listdir(here) == []


def test_a_folder_on_ipfs_is_downloaded_as_a_folder(net: Sandbox, done: tuple[IExec, Any], here: Path) -> None:
    buyer, run = done
    cid = net._live.blocks.add_folder({"out.txt": buyer.ipfs.add(b"x")})
    with person(net, buyer) as me, pytest.MonkeyPatch.context() as patch:
        task = replace(buyer.task.show(run.taskids[0]), results=ResultDescriptor("ipfs", f"/ipfs/{cid}"))
        patch.setattr(me.client.chain, "task", lambda taskid, dealid=None: task)
        path = me.client.result.download(task.taskid, "folder")
        assert path == here / "folder"
        assert (path / "out.txt").read_bytes() == b"x"
        with pytest.raises(DecryptionError, match="folder, which is not encrypted"):
            me.client.result.download(task.taskid, "other", decrypt=True, beneficiary_key_file=_key_file(here))


def _key_file(folder: Path) -> Path:
    path = folder / "key.pem"
    path.write_bytes(generate_result_keypair(2048).private_pem.reveal_bytes())
    return path


@pytest.mark.parametrize("limits", [{"max_bytes": 10}, {"max_files": 1}, {"max_bytes": "10"}])
def test_a_limit_is_kept_and_said(done: tuple[IExec, Any], limits: dict[str, Any]) -> None:
    buyer, run = done
    with pytest.raises(IExecError):
        buyer.result.fetch(run.taskids[0], **limits)
    for wrong in (0, -1, "x", 1.5, True):
        with pytest.raises(ValidationError):
            buyer.result.fetch(run.taskids[0], **dict.fromkeys(limits, wrong))


# --- decrypt, as the CLI ---------------------------------------------------------------------------------------------


@pytest.fixture
def me(net: Sandbox, tmp_path: Path) -> Iterator[Person]:
    with person(net, net.client(), store=tmp_path / "store") as one:
        yield one


def encrypted_for(me: Person, content: bytes | None = None) -> bytes:
    pair = me.client.result.generate_encryption_keypair()
    return encrypt_result(content or zipped(("out.txt", b"mine")), pair.public_key, os.urandom(32), os.urandom(16))


@pytest.mark.parity("result decrypt", "utils.decryptResult")
def test_in_a_project_a_result_is_decrypted_from_file_to_file(me: Person, project: Path) -> None:
    (project / "encryptedResults.zip").write_bytes(encrypted_for(me))
    result = me.client.result.decrypt()
    assert result["out.txt"].text() == "mine"
    assert result.path == project / "results.zip"
    assert raw("decrypt", result) == {"resultsPath": str(project / "results.zip")}
    assert zipfile.ZipFile(project / "results.zip").read("out.txt") == b"mine"
    assert stat.S_IMODE((project / "results.zip").stat().st_mode) == 0o600
    assert "written to results.zip" in repr(result)
    me.answer = False
    with pytest.raises(ConfigurationError, match="aborted"):
        me.client.result.decrypt()
    assert "replace the file results.zip" in me.asked[-1]
    # Another path, the same place.
    me.answer = True
    (project / "other.zip").write_bytes((project / "encryptedResults.zip").read_bytes())
    assert me.client.result.decrypt("other.zip").path == project / "results.zip"


def test_outside_a_project_nothing_is_written_unless_it_is_said_where(me: Person, here: Path) -> None:
    (here / "e.zip").write_bytes(encrypted_for(me))
    result = me.client.result.decrypt("e.zip")
    assert result["out.txt"].text() == "mine"
    assert result.path is None
    assert raw("decrypt", result) == {
        "taskid": None, "encrypted": True, "verified": None, "callback": None,
        "verification": "not compared with the chain: the task is not known",
        "files": [{"name": "out.txt", "size": 4, "kind": "text"}],
    }  # fmt: skip
    assert os.listdir(here) == ["e.zip"]
    assert me.client.result.decrypt("e.zip", target="plain.zip").path == here / "plain.zip"
    with pytest.raises(ValidationError, match=r"encryptedResults\.zip.* is not a file"):
        me.client.result.decrypt()


def test_what_is_encrypted_twice_is_said_to_be_and_opens_in_two_steps(me: Person, here: Path) -> None:
    first = encrypted_for(me)
    pair = generate_result_keypair(2048)
    (here / "e.zip").write_bytes(encrypt_result(first, pair.public_pem, os.urandom(32), os.urandom(16)))
    with pytest.raises(DecryptionError, match="a second time") as caught:
        me.client.result.decrypt("e.zip", key=pair.private_pem)
    assert "target=" in str(caught.value.hint)
    inner = me.client.result.decrypt("e.zip", key=pair.private_pem, target="inner.zip").path
    assert inner is not None
    assert me.client.result.decrypt(inner)["out.txt"].text() == "mine"


def test_a_damaged_payload_is_not_written(me: Person, project: Path) -> None:
    """The JavaScript SDK writes what comes out of a payload that was changed; here it is an error, and no file."""
    plain = zipped(("out.txt", os.urandom(5000)))
    pair = me.client.result.generate_encryption_keypair()
    good = encrypt_result(plain, pair.public_key, os.urandom(32), os.urandom(16))
    with zipfile.ZipFile(io.BytesIO(good)) as archive:
        key, payload = archive.read("aes-key.rsa"), bytearray(archive.read("iexec_out.zip.aes"))
    payload[2000] ^= 1
    (project / "encryptedResults.zip").write_bytes(zipped(("aes-key.rsa", key), ("iexec_out.zip.aes", bytes(payload))))
    with pytest.raises(DecryptionError, match="Failed to decrypt results with decrypted results key"):
        me.client.result.decrypt()
    assert not (project / "results.zip").exists()
    # In the notebook the archive opens, and the file that is damaged is not read.
    result = me.client.result.open(project / "encryptedResults.zip")
    with pytest.raises(UnsafeArchiveError, match=r"damaged|checksum|too early"):
        _ = result["out.txt"].bytes


def test_a_harmful_archive_is_written_as_it_is_and_not_opened(me: Person, project: Path) -> None:
    (project / "encryptedResults.zip").write_bytes(encrypted_for(me, zipped(("../evil.txt", b"x"))))
    with pytest.raises(UnsafeArchiveError, match="leaves its folder") as caught:
        me.client.result.decrypt()
    assert caught.value.context["written"] == "results.zip"
    assert sorted(os.listdir(project)) == [".secrets", "encryptedResults.zip", "iexec.json", "results.zip"]


def test_a_key_is_found_by_name_by_path_and_in_a_folder(me: Person, project: Path, tmp_path: Path) -> None:
    (project / "e.zip").write_bytes(encrypted_for(me))
    name = f"{wallet(me.client)}_key"
    keys = tmp_path / "keys"
    (project / ".secrets" / "beneficiary").rename(keys)
    for path in (tmp_path / "store").rglob("*_key*"):
        path.unlink()

    def opened(**options: Any) -> str:
        return str(me.client.result.open("e.zip", **options)["out.txt"].text())

    assert opened(beneficiary_keystoredir=keys) == "mine"
    assert opened(beneficiary_keystoredir=keys, beneficiary_key_file=name) == "mine"
    assert opened(beneficiary_key_file=keys / name) == "mine"
    assert opened(key=Secret((keys / name).read_text())) == "mine"
    with pytest.raises(DecryptionError, match="whose private key is not here"):
        opened()
    with pytest.raises(ValidationError, match="Beneficiary secrets folder is missing"):
        opened(beneficiary_keystoredir=tmp_path / "none")
    for missing in ({"beneficiary_key_file": "none"}, {"beneficiary_keystoredir": tmp_path}):
        with pytest.raises(ValidationError, match="Failed to load beneficiary encryption key"):
            opened(**missing)
    with pytest.raises(ValidationError, match="not a Secret"):
        opened(key="-----BEGIN PRIVATE KEY-----")


# --- keys, as the CLI ------------------------------------------------------------------------------------------------


@pytest.mark.parity("result generate-encryption-keypair")
def test_in_a_project_the_keys_are_where_the_cli_has_them(me: Person, project: Path, tmp_path: Path) -> None:
    pair = me.client.result.generate_encryption_keypair()
    folder, name = project / ".secrets" / "beneficiary", f"{wallet(me.client)}_key"
    assert raw("generate-encryption-keypair", pair) == {
        "secretPath": str(folder), "privateKeyFile": name, "publicKeyFile": f"{name}.pub",
    }  # fmt: skip
    assert stat.S_IMODE(folder.stat().st_mode) == stat.S_IMODE(folder.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / name).stat().st_mode) == 0o600
    assert me.client.store.result_key(wallet(me.client)) == Secret((folder / name).read_bytes())
    with pytest.raises(SecretExistsError):
        me.client.result.generate_encryption_keypair()
    again = me.client.result.generate_encryption_keypair(force=True)
    assert again.public_key != pair.public_key
    # The store's opens older results, so it stays; both are tried.
    kept = me.client.store.result_key(wallet(me.client))
    assert kept is not None
    assert kept != Secret((folder / name).read_bytes())
    for one in (pair, again):
        (project / "e.zip").write_bytes(
            encrypt_result(zipped(("a", b"1")), one.public_key, os.urandom(32), os.urandom(16))
        )
        assert me.client.result.open("e.zip")["a"] == b"1"


def test_the_projects_public_key_is_pushed_and_a_strangers_is_asked_about(me: Person, project: Path) -> None:
    pair = me.client.result.generate_encryption_keypair()
    assert me.client.result.push_encryption_key().isPushed
    assert me.asked == []
    stranger = generate_result_keypair(2048)
    pair.public_key_file.write_text(stranger.public_pem)
    me.answer = False
    with pytest.raises(ConfigurationError, match="aborted"):
        me.client.result.push_encryption_key(force_update=True)
    assert "whoever has its private key can read them" in me.asked[-1]
    me.client.trusts_project = True
    assert me.client.result.push_encryption_key(force_update=True).isUpdated


def test_keys_go_into_another_folder_where_that_is_said(me: Person, here: Path) -> None:
    pair = me.client.result.generate_encryption_keypair(beneficiary_keystoredir="keys")
    assert pair.private_key_file.parent == here / "keys"
    assert stat.S_IMODE((here / "keys").stat().st_mode) == 0o700
    assert "PRIVATE" not in repr(pair)

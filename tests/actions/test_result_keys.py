"""Results and the keys that open them: whose key is needed, what does not fit, and ids that lead nowhere."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from stage import (
    person,
    wallet,
)

from iexec_nb.client import IExec
from iexec_nb.commands import COMMANDS
from iexec_nb.errors import (
    DecryptionError,
    ObjectNotFoundError,
    ResultNotFoundError,
    SecretExistsError,
    ValidationError,
)
from iexec_nb.protocol import result_encryption
from iexec_nb.protocol.types import Secret
from iexec_nb.sandbox.network import Sandbox


@pytest.fixture(scope="module")
def encrypted_run(net: Sandbox, app: str) -> tuple[IExec, Any]:
    buyer = net.client(deposit="5 RLC")
    buyer.result.generate_encryption_keypair()
    buyer.result.push_encryption_key()
    return buyer, buyer.app.run(app, args="mine", category=0, encrypt_result=True).wait()


def test_without_the_key_it_is_said_whose_key_is_needed(
    net: Sandbox, encrypted_run: tuple[IExec, Any], tmp_path: Path
) -> None:
    buyer, run = encrypted_run
    with person(net, net.user, store=tmp_path) as other:
        with pytest.raises(DecryptionError) as caught:
            other.client.result.fetch(run.taskids[0])
        assert wallet(buyer) in str(caught.value)
        assert caught.value.hint
        key = buyer.store.result_key(wallet(buyer))
        assert other.client.result.fetch(run.taskids[0], key=key)["out.txt"].text() == "mine"


def test_a_wrong_key_is_told_and_whose_it_would_have_to_be(
    net: Sandbox, encrypted_run: tuple[IExec, Any], tmp_path: Path
) -> None:
    buyer, run = encrypted_run
    from iexec_nb.protocol.result_encryption import generate_result_keypair

    other = generate_result_keypair(bits=2048).private_pem
    for key in (other, Secret("not a key"), Secret(b"\x00\xff"), Secret("")):
        with pytest.raises(DecryptionError if key is other else (DecryptionError, ValidationError)) as caught:
            buyer.result.fetch(run.taskids[0], key=key)
        assert wallet(buyer) in str(caught.value)


def test_a_result_on_disk_is_decrypted_and_damage_is_told(
    net: Sandbox, encrypted_run: tuple[IExec, Any], tmp_path: Path
) -> None:
    buyer, run = encrypted_run
    task = buyer.task.show(run.taskids[0])
    content = buyer.ipfs.get(task.results.location, max_bytes=10**7)
    path = tmp_path / "result.zip"
    path.write_bytes(content)
    assert buyer.result.decrypt(path)["out.txt"].text() == "mine"
    key_file = buyer.store.result_key_file(wallet(buyer))
    assert net.user.result.decrypt(path, beneficiary_key_file=key_file)["out.txt"].text() == "mine"
    with pytest.raises(DecryptionError, match=wallet(net.user)):
        net.user.result.decrypt(path)
    with pytest.raises(DecryptionError, match=wallet(buyer)):
        net.user.result.decrypt(path, beneficiary=wallet(buyer))
    for wrong in (content[:-200], content[:100], b"", b"PK", os.urandom(500)):
        path.write_bytes(wrong)
        with pytest.raises((DecryptionError, ValidationError)):
            buyer.result.decrypt(path)
    with pytest.raises(ValidationError, match="not a file"):
        buyer.result.decrypt(tmp_path / "no.zip")
    for wrong_file in (tmp_path / "no key", tmp_path):
        path.write_bytes(content)
        with pytest.raises((ValidationError, DecryptionError)):
            buyer.result.decrypt(path, beneficiary_key_file=wrong_file)


def test_a_second_key_pair_does_not_replace_the_first_unasked(encrypted_run: tuple[IExec, Any]) -> None:
    buyer, _ = encrypted_run
    before = buyer.store.result_key(wallet(buyer))
    with pytest.raises(SecretExistsError, match="key pair") as caught:
        buyer.result.generate_encryption_keypair()
    assert "force=True" in str(caught.value.hint)
    assert buyer.store.result_key(wallet(buyer)) == before
    with pytest.raises(SecretExistsError):
        buyer.result.push_encryption_key()
    assert buyer.result.push_encryption_key(force_update=True).isUpdated


@pytest.mark.parametrize("pem", ["", "no pem", "-----BEGIN PUBLIC KEY-----\nxx\n-----END PUBLIC KEY-----", 5])
def test_a_public_key_that_is_none_is_not_pushed(net: Sandbox, pem: Any) -> None:
    with person(net, net.client()) as me:
        with pytest.raises(ValidationError):
            me.client.result.push_encryption_key(pem)
        assert not me.web.requests


@pytest.mark.parity(
    "result.pushResultEncryptionKey", "result.checkResultEncryptionKeyExists",
    "result push-encryption-key", "result check-encryption-key",
)  # fmt: skip
def test_the_public_key_in_a_file_is_pushed_and_known(net: Sandbox, tmp_path: Path) -> None:
    me = net.client()
    path = tmp_path / "key.pub"
    path.write_text(result_encryption.generate_result_keypair().public_pem, encoding="ascii")

    def raw(verb: str, value: Any) -> Any:
        make = COMMANDS["result", verb].raw
        assert make is not None
        return make(value)

    assert raw("check-encryption-key", me.result.check_encryption_key()) == {"isEncryptionKeySet": False}
    pushed = me.result.push_encryption_key(secret_path=path)
    assert raw("push-encryption-key", pushed) == {"isPushed": True, "isUpdated": False}
    assert raw("check-encryption-key", net.client().result.check_encryption_key(wallet(me))) == {
        "isEncryptionKeySet": True
    }
    assert not me.result.check_encryption_key(wallet(net.client()))


def test_a_file_that_is_no_public_key_is_not_pushed(net: Sandbox, tmp_path: Path) -> None:
    private, long = tmp_path / "key", tmp_path / "long"
    private.write_bytes(result_encryption.generate_result_keypair().private_pem.reveal_bytes())
    long.write_bytes(b"x" * 100_000)
    with person(net, net.client()) as me:
        for given in ({"secret_path": private}, {"secret_path": long}, {"secret_path": tmp_path / "none"}):
            with pytest.raises(ValidationError):
                me.client.result.push_encryption_key(**given)
        with pytest.raises(ValidationError, match="not both"):
            me.client.result.push_encryption_key("pem", secret_path=private)
        assert not me.web.requests


def test_no_key_pair_made_here_is_said(net: Sandbox) -> None:
    with pytest.raises(ValidationError, match="no key pair was made here") as caught:
        net.client().result.push_encryption_key()
    assert "generate_encryption_keypair" in str(caught.value.hint)


@pytest.mark.parametrize("verb", ["deal.show", "deal.claim", "deal.attach", "task.show", "task.claim", "result.fetch"])
@pytest.mark.parametrize("id_", ["0x12", "", 5, None, b"\x01", "0x" + "g" * 64])
def test_a_malformed_id_is_refused_before_any_request(net: Sandbox, verb: str, id_: Any) -> None:
    noun, _, name = verb.partition(".")
    with person(net, net.user) as me:
        with pytest.raises(ValidationError, match="bytes32"):
            getattr(getattr(me.client, noun), name)(id_)
        assert not me.node.methods


@pytest.mark.parametrize("verb", ["deal.show", "deal.claim", "deal.attach", "task.show", "task.claim", "result.fetch"])
def test_an_unknown_id_is_not_found(net: Sandbox, verb: str) -> None:
    noun, _, name = verb.partition(".")
    with person(net, net.user) as me:
        with pytest.raises(ObjectNotFoundError, match=f"No {'deal' if noun == 'deal' else 'task'} found"):
            getattr(getattr(me.client, noun), name)("0x" + "7" * 64)
        assert not me.touched


def test_a_result_has_no_other_files_than_it_has(encrypted_run: tuple[IExec, Any], tmp_path: Path) -> None:
    _, run = encrypted_run
    result = run.result()
    with pytest.raises(ResultNotFoundError, match=r"out\.tx") as caught:
        result["out.tx"]
    assert "out.txt" in str(caught.value.hint)
    with pytest.raises(ResultNotFoundError, match="0 candidates for a table"):
        result.table()
    with pytest.raises(ValidationError):
        result["out.txt"].json()
    with pytest.raises(ValidationError):
        result["out.txt"].image()
    with pytest.raises(ValidationError):
        result["out.txt"].table()
    saved = result.save(tmp_path / "results")
    assert sorted(path.name for path in saved) == ["computed.json", "out.txt"]


def test_a_beneficiary_other_than_the_payer_gets_the_key_asked(net: Sandbox, app: str, buyer: IExec) -> None:
    friend = net.client()
    with pytest.raises(ValidationError, match="Beneficiary"):
        buyer.app.run(app, category=0, encrypt_result=True, beneficiary=wallet(friend))
    friend.result.generate_encryption_keypair()
    friend.result.push_encryption_key()
    run = buyer.app.run(app, args="gift", category=0, encrypt_result=True, beneficiary=wallet(friend)).wait()
    assert friend.deal.attach(run.dealid).result()["out.txt"].text() == "gift"
    with pytest.raises(DecryptionError, match=wallet(friend)):
        run.result()

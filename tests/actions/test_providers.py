"""What a provider does: encrypt, upload, deploy, hand over a key, and look at what is there."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from stage import NOBODY, deploy_dataset, nonce, person, wallet

from iexec_nb.client import IExec
from iexec_nb.errors import ObjectNotFoundError, SecretExistsError, ValidationError
from iexec_nb.protocol.encryption import dataset_key, decrypt_file
from iexec_nb.protocol.types import NULL_ADDRESS, Secret
from iexec_nb.sandbox.network import Sandbox

CHECKSUM = "0x" + "12" * 32


@pytest.fixture(scope="module")
def seller(net: Sandbox) -> IExec:
    return net.client()


def test_a_table_a_file_and_bytes_are_encrypted_and_open_with_their_key(seller: IExec, tmp_path: Path) -> None:
    table = pd.DataFrame({"a": [1, 2], "b": ["x", "ü"]})
    source = tmp_path / "prices.csv"
    source.write_bytes(b"hello")
    as_csv = "a,b\n1,x\n2,ü\n".encode()
    for given, plain in ((table, as_csv), (b"\x00\x01", b"\x00\x01"), (source, b"hello"), (b"", b"")):
        encrypted = seller.dataset.encrypt(given, target=tmp_path / f"{len(plain)}.enc")
        opened = tmp_path / "opened"
        decrypt_file(encrypted.path, opened, dataset_key(encrypted.key))
        assert opened.read_bytes() == plain
        assert encrypted.size == encrypted.path.stat().st_size
        assert seller.store.dataset_key(encrypted.checksum) == encrypted.key
    assert seller.dataset.encrypt(str(source)).path == tmp_path / "prices.csv.enc"


def test_encrypting_twice_gives_other_bytes_and_an_old_file_is_not_lost(seller: IExec, tmp_path: Path) -> None:
    source = tmp_path / "a.bin"
    source.write_bytes(b"x")
    first = seller.dataset.encrypt(source)
    with pytest.raises(ValidationError, match="is there already") as caught:
        seller.dataset.encrypt(source)
    assert "force=True" in str(caught.value.hint)
    second = seller.dataset.encrypt(source, force=True)
    assert first.checksum != second.checksum
    assert seller.store.dataset_key(first.checksum) == first.key != second.key


@pytest.mark.parametrize("source", ["/no/such/file", "", ".", 5, ["a"], {"a": 1}, 1.5, "~nobody_here/x", "a\x00b"])
def test_what_cannot_be_encrypted_is_named(net: Sandbox, source: Any) -> None:
    with person(net, net.user) as me:
        with pytest.raises(ValidationError) as caught:
            me.client.dataset.encrypt(source)
        assert caught.value.hint
        assert not me.node.methods


@pytest.mark.parametrize("key", ["plain text key", b"x" * 32, Secret("short"), Secret("a" * 44), Secret(b"\xff"), 5])
def test_a_dataset_key_that_is_none_is_refused_and_not_repeated(net: Sandbox, key: Any, tmp_path: Path) -> None:
    target = tmp_path / "out.enc"
    with pytest.raises(ValidationError) as caught:
        net.user.dataset.encrypt(b"x", target=target, key=key)
    assert "plain text key" not in str(caught.value)
    assert "xxxx" not in str(caught.value)
    assert not target.exists()


def test_a_target_in_a_folder_that_does_not_exist_is_a_typed_error(seller: IExec, tmp_path: Path) -> None:
    with pytest.raises(ValidationError) as caught:
        seller.dataset.encrypt(b"x", target=tmp_path / "no" / "such" / "x.enc")
    assert "no" in str(caught.value)


def test_everything_that_can_be_deployed_is_shown_by_address_and_by_number(net: Sandbox) -> None:
    me = net.client()
    app = me.app.deploy(name="Ünïcode ☃", multiaddr="docker.io/a/b:1", checksum=CHECKSUM, mrenclave="")
    me.dataset.deploy(name=" ", multiaddr="https://example.test/x", checksum=CHECKSUM)
    pool = me.workerpool.deploy(description="mine", owner=NOBODY)
    shown = me.app.show(app.address.lower())
    assert (shown.appName, shown.appMultiaddr, shown.appChecksum) == ("Ünïcode ☃", "docker.io/a/b:1", CHECKSUM)
    assert me.app.show(0) == shown == net.user.app.show("0", user=wallet(me))
    assert me.dataset.show(0).datasetMultiaddr == "https://example.test/x"
    assert net.user.workerpool.show(pool.address).owner == NOBODY
    with pytest.raises(ObjectNotFoundError, match="index 1"):
        me.app.show(1)


@pytest.mark.parametrize("noun", ["app", "dataset", "workerpool"])
@pytest.mark.parametrize("wrong", ["x", "", -1, 1.5, True, "0x12", b"1"])
def test_a_malformed_address_or_number_is_refused_before_any_request(net: Sandbox, noun: str, wrong: Any) -> None:
    with person(net, net.user) as me:
        with pytest.raises(ValidationError) as caught:
            getattr(me.client, noun).show(wrong)
        assert caught.value.hint
        assert not me.node.methods


@pytest.mark.parametrize("noun", ["app", "dataset", "workerpool"])
def test_what_is_not_deployed_is_not_found(net: Sandbox, noun: str) -> None:
    others = {"app": "dataset", "dataset": "app", "workerpool": "app"}
    for where in (NOBODY, NULL_ADDRESS, net.user.chain.hub_address, net.user.chain.registry(others[noun])):
        with pytest.raises(ObjectNotFoundError, match=f"No {noun} found for id {where} on chain {net.chain_id}"):
            getattr(net.user, noun).show(where)


@pytest.mark.parametrize(
    ("verb", "arguments"),
    [
        ("app", {"name": "a", "multiaddr": "x", "type": "docker"}),
        ("app", {"name": "a", "multiaddr": "x", "checksum": "0x12"}),
        ("app", {"name": "a", "multiaddr": "x", "owner": "me"}),
        ("app", {"name": 5, "multiaddr": "x"}),
        ("app", {"name": "a", "multiaddr": 5}),
        ("app", {"name": "a", "multiaddr": ""}),
        ("app", {"name": "a", "multiaddr": "x", "mrenclave": 5}),
        ("app", {"name": "\ud800", "multiaddr": "x"}),
        ("app", {"name": None, "multiaddr": "x"}),
        ("dataset", {"name": "a", "multiaddr": "x", "checksum": "12"}),
        ("dataset", {"name": "a", "multiaddr": None, "checksum": CHECKSUM}),
        ("dataset", {"name": b"a", "multiaddr": "x", "checksum": CHECKSUM}),
        ("dataset", {"name": "a", "multiaddr": "/ipfs/Qm", "checksum": None}),
        ("app", {"name": "", "multiaddr": "x"}),
        ("app", {"name": "a"}),
        ("app", {"owner": NOBODY}),
        ("app", {"name": "a", "multiaddr": "x", "owner": NULL_ADDRESS}),
        ("app", {"name": "a", "multiaddr": "x", "mrenclave": {"framework": "SGX"}}),
        ("dataset", {"name": "a", "multiaddr": "x"}),
        ("workerpool", {"description": ""}),
        ("workerpool", {"description": "a", "owner": "0x"}),
    ],
)
def test_a_wrong_argument_of_a_deployment_is_refused_before_any_request(
    net: Sandbox, verb: str, arguments: dict[str, Any]
) -> None:
    with person(net, net.user) as me:
        before = nonce(me.client)
        me.node.methods.clear()
        with pytest.raises(ValidationError) as caught:
            getattr(me.client, verb).deploy(**arguments)
        assert caught.value.hint
        assert not me.asked
        assert not me.node.methods
        assert nonce(me.client) == before


def test_what_is_deployed_already_is_said_before_anything_is_signed(net: Sandbox) -> None:
    me = net.client()
    app = me.app.deploy(name="once", multiaddr="docker.io/once:1")
    pool = me.workerpool.deploy(description="once")
    with person(net, me) as one:
        with pytest.raises(ValidationError, match=f"App already deployed at address {app.address}") as caught:
            one.client.app.deploy(name="once", multiaddr="docker.io/once:1")
        assert app.address in str(caught.value.hint)
        with pytest.raises(ValidationError, match=f"Workerpool already deployed at address {pool.address}"):
            one.client.workerpool.deploy(description="once")
        assert not one.asked
        assert one.node.sent == 0


def test_a_key_is_handed_over_once(net: Sandbox, seller: IExec) -> None:
    dataset = deploy_dataset(net, seller, secret=False)
    assert seller.dataset.check_secret(dataset) is False
    assert seller.dataset.push_secret(dataset) is True
    assert seller.dataset.check_secret(dataset.lower()) is True
    with person(net, seller) as me:
        with pytest.raises(SecretExistsError) as caught:
            me.client.dataset.push_secret(dataset)
        assert dataset in str(caught.value)
        assert len(me.web.writes()) <= 1


def test_a_key_is_given_by_hand_where_it_was_made_elsewhere(net: Sandbox, seller: IExec, tmp_path: Path) -> None:
    encrypted = seller.dataset.encrypt(os.urandom(20))
    dataset = seller.dataset.deploy(name="d", multiaddr="/ipfs/x", checksum=encrypted.checksum).address
    with person(net, seller, store=tmp_path) as me:
        with pytest.raises(ValidationError, match="no key is known here") as caught:
            me.client.dataset.push_secret(dataset)
        assert encrypted.checksum in str(caught.value)
        for wrong in ("text", Secret("short"), b"x"):
            with pytest.raises(ValidationError):
                me.client.dataset.push_secret(dataset, key=wrong)  # type: ignore[arg-type]
        assert me.web.requests == []
        assert me.client.dataset.push_secret(dataset, key=encrypted) is True


def test_somebody_else_does_not_hand_over_a_key(net: Sandbox, seller: IExec) -> None:
    dataset = deploy_dataset(net, seller, secret=False)
    key = net.user.dataset.encrypt(b"x").key
    with pytest.raises(Exception, match=r"(?i)owner|authoriz|forbidden|not allowed") as caught:
        net.user.dataset.push_secret(dataset, key=key)
    assert type(caught.value).__name__ in ("SmsCallError", "ValidationError")
    assert seller.dataset.check_secret(dataset) is False


def test_a_key_for_what_is_not_deployed_goes_nowhere(net: Sandbox) -> None:
    with person(net, net.user) as me:
        with pytest.raises(ObjectNotFoundError):
            me.client.dataset.push_secret(NOBODY)
        with pytest.raises(ValidationError):
            me.client.dataset.push_secret("0x12")
        with pytest.raises(ValidationError):
            me.client.dataset.check_secret("0x12")
        assert me.web.requests == []


def test_categories_are_counted_shown_and_missing_ones_named(net: Sandbox) -> None:
    count = net.user.category.count()
    assert count == 5
    assert net.user.category.show("0").workClockTimeRef == 300
    assert [net.user.category.show(index).catid for index in range(count)] == list(range(count))
    with pytest.raises(ObjectNotFoundError, match=f"No category found for id {count}"):
        net.user.category.show(count)
    with person(net, net.user) as me:
        for wrong in (-1, "x", 1.0, None, True, 2**256):
            with pytest.raises(ValidationError):
                me.client.category.show(wrong)  # type: ignore[arg-type]
        assert not me.node.methods


def test_storage_gives_back_what_was_put_in(net: Sandbox, tmp_path: Path) -> None:
    content = os.urandom(600_000)
    path = tmp_path / "f"
    path.write_bytes(content)
    place = net.user.storage.add(path)
    assert place == net.user.storage.add(content)
    assert place.startswith("/ipfs/Qm")
    assert net.user.ipfs.get(place, max_bytes=10**6) == content

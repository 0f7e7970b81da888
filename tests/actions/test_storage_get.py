"""``storage get``: a file or a folder from IPFS into the working folder, and nothing overwritten unasked."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from stage import person

from iexec_nb.client import IExec
from iexec_nb.commands import parse
from iexec_nb.errors import ConfigurationError, IpfsGatewayCallError, ValidationError
from iexec_nb.sandbox.network import Sandbox

DATA = os.urandom(700_000)


@pytest.fixture
def me(net: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> IExec:
    monkeypatch.chdir(tmp_path)
    return net.user


def test_what_was_added_comes_back_under_its_cid(me: IExec, tmp_path: Path) -> None:
    place = me.storage.add(DATA)
    got = me.storage.get(place)
    assert got == Path(place.removeprefix("/ipfs/"))
    assert got.read_bytes() == DATA
    assert os.listdir(tmp_path) == [got.name]


def test_the_words_of_a_line_do_the_same(me: IExec, tmp_path: Path) -> None:
    place = me.storage.add(DATA)
    for at, words in enumerate(
        ["storage get {} a", "storage download {} a --force", "storage get {} b --max-bytes 700000"]
    ):
        got = parse(words.format(place).split()).on(me)
        assert got.read_bytes() == DATA, at
    with pytest.raises(IpfsGatewayCallError, match="larger than 699999"):
        parse(f"storage get {place} c --max-bytes 699999".split()).on(me)
    assert sorted(os.listdir(tmp_path)) == ["a", "b"]


def test_a_file_that_is_there_is_replaced_only_when_it_is_said(me: IExec, tmp_path: Path) -> None:
    place = me.storage.add(DATA)
    Path("mine").write_bytes(b"mine")
    with pytest.raises(ValidationError, match="mine exists") as caught:
        me.storage.get(place, "mine")
    assert "force" in str(caught.value.hint)
    assert Path("mine").read_bytes() == b"mine"
    assert me.storage.get(place, "mine", force=True).read_bytes() == DATA
    Path("folder").mkdir()
    Path("folder/other").touch()
    assert me.storage.get(place, "folder") == Path("folder") / place.removeprefix("/ipfs/")


def test_a_folder_and_what_is_in_it_come_from_the_sandbox(net: Sandbox, me: IExec) -> None:
    assert net._parts is not None
    blocks = net._parts.blocks
    cid = blocks.add_folder({"out.csv": blocks.add(DATA), "sub": blocks.add_folder({"a.txt": blocks.add(b"a")})})
    got = me.storage.get(cid)
    assert sorted(path.relative_to(got).as_posix() for path in got.rglob("*")) == ["out.csv", "sub", "sub/a.txt"]
    assert me.storage.get(f"/ipfs/{cid}/sub/a.txt") == Path("a.txt")
    assert me.storage.get(f"/ipfs/{cid}/sub/a.txt", "b.txt").read_bytes() == b"a"
    with pytest.raises(ValidationError, match=r"there is no c\.txt"):
        me.storage.get(f"/ipfs/{cid}/c.txt")


@pytest.mark.parametrize("location", ["", "/etc/passwd", "/ipfs/../x", "https://a.example/x", None, 5, "\x1b[31m"])
def test_what_is_no_place_is_refused_without_a_request(net: Sandbox, me: IExec, location: Any) -> None:
    with person(net, me) as one:
        with pytest.raises(ValidationError) as caught:
            one.client.storage.get(location)
        assert caught.value.hint
        assert "\x1b" not in str(caught.value)
        assert one.web.requests == []


@pytest.mark.parametrize("path", [5, b"x", "no/folder/x", "a\0b", "~nobody-of-this-name/x"])
def test_a_path_that_is_none_is_refused_without_a_request(net: Sandbox, me: IExec, path: Any) -> None:
    with person(net, me) as one:
        with pytest.raises(ValidationError) as caught:
            one.client.storage.get("bafkqaaa", path)
        assert caught.value.hint
        assert one.web.requests == []


def test_a_name_that_is_no_name_of_a_file_needs_a_path(me: IExec) -> None:
    with pytest.raises(ValidationError, match="device") as caught:
        me.storage.get("bafkqaaa/NUL")
    assert "path" in str(caught.value.hint)


def test_several_gateways_are_asked_in_order(net: Sandbox, me: IExec) -> None:
    place = me.storage.add(DATA)
    with person(net, me) as one:
        client = IExec(
            net.chain_id, rpc=me.network.rpc, hub_address=me.hub_address, transport=one.web, confirm=False,
            ipfs_gateway=["http://other.sandbox.test", "http://ipfs.sandbox.test"],
        )  # fmt: skip
        assert client.ipfs.get(place, max_bytes=10**6) == DATA
        assert {host for _, host, _ in one.web.requests} == {"other", "ipfs"}
        assert client.url("ipfs_gateway") == "http://other.sandbox.test"
        assert [http.origin for http in client.with_options(gas_price=1).ipfs.gateways] == [
            "http://other.sandbox.test", "http://ipfs.sandbox.test",
        ]  # fmt: skip


@pytest.mark.parametrize("given", [[], [""], [1], 5, {"http://a"}, b"http://a", ["http://a", None]])
def test_gateways_are_one_address_or_several(given: Any) -> None:
    with pytest.raises(ConfigurationError, match="invalid ipfs_gateway") as caught:
        IExec("arbitrum-mainnet", ipfs_gateway=given)
    assert caught.value.hint

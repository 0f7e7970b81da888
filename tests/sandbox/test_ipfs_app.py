"""The sandbox's IPFS: real CIDs, what a gateway and an upload node answer."""

from __future__ import annotations

import json
from collections.abc import Iterator
from io import BytesIO

import pytest
from flask.testing import FlaskClient

from iexec_nb.protocol.cid import content_cid
from iexec_nb.sandbox.ipfs import BlockStore, ipfs_app

HELLO = "QmWfVY9y3xjsixTgbd9AorQxH7VtMpzfx2HaWtsoUYecaX"


@pytest.fixture
def store() -> Iterator[BlockStore]:
    blocks = BlockStore()
    yield blocks
    blocks.close()


@pytest.fixture
def client(store: BlockStore) -> FlaskClient:
    return ipfs_app(store).test_client()


def test_a_file_gets_the_cid_that_a_real_node_gives(store: BlockStore) -> None:
    assert store.add(b"hello\n") == "QmZULkCELmmk5XNfCgTnCyFgAVxBRBXyDHGGMVoLFLiXEN"
    assert store.add(b"hello") == HELLO
    assert store.get(HELLO) == b"hello"


def test_a_file_of_many_chunks_is_kept_whole(store: BlockStore) -> None:
    data = bytes(range(256)) * 4096 * 3
    cid = store.add(BytesIO(data))
    assert cid == content_cid(data)
    assert store.get(cid) == data


def test_upload_then_gateway_gives_the_same_bytes(client: FlaskClient) -> None:
    answer = client.post(
        "/api/v0/add?stream-channels=true&progress=false",
        data={"file": (BytesIO(b"hello"), "x.bin", "application/octet-stream")},
    )
    line = json.loads(answer.text)
    assert (answer.status_code, line["Hash"], line["Name"], line["Size"]) == (200, HELLO, "x.bin", "5")
    with client.get(f"/ipfs/{HELLO}") as got:
        assert (got.status_code, got.data) == (200, b"hello")
        assert got.headers["X-Ipfs-Roots"] == HELLO


def test_head_tells_whether_a_file_is_there_without_sending_it(client: FlaskClient, store: BlockStore) -> None:
    cid = store.add(b"abc")
    with client.head(f"/ipfs/{cid}") as there:
        assert (there.status_code, there.data, there.content_length) == (200, b"", 3)
    assert client.head("/ipfs/QmNothingHere").status_code == 404


def test_several_files_in_one_upload_give_one_line_each(client: FlaskClient) -> None:
    answer = client.post("/api/v0/add", data={"file": [(BytesIO(b"a"), "a"), (BytesIO(b"b"), "b")]})
    assert [json.loads(line)["Name"] for line in answer.text.splitlines()] == ["a", "b"]


def test_cid_version_1_gives_raw_leaves(client: FlaskClient) -> None:
    answer = client.post("/api/v0/add?cid-version=1", data={"file": (BytesIO(b"hello"), "x")})
    assert json.loads(answer.text)["Hash"] == content_cid(b"hello", 1)


def test_upload_without_a_file_or_with_an_unknown_option_is_refused(client: FlaskClient) -> None:
    assert client.post("/api/v0/add").status_code == 400
    answer = client.post("/api/v0/add?wrap-with-directory=true", data={"file": (BytesIO(b"a"), "a")})
    assert (answer.status_code, "wrap-with-directory" in answer.json["Message"]) == (500, True)


def test_every_origin_may_call_and_preflight_is_answered(client: FlaskClient) -> None:
    answer = client.options("/api/v0/add", headers={"Access-Control-Request-Headers": "x-a"})
    assert answer.status_code == 204
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert answer.headers["Access-Control-Allow-Headers"] == "x-a"
    assert client.get("/ipfs/none").headers["Access-Control-Allow-Origin"] == "*"


def test_close_removes_the_files_and_may_be_called_again() -> None:
    blocks = BlockStore()
    path = blocks.path(blocks.add(b"x"))
    assert path is not None
    assert path.exists()
    blocks.close()
    blocks.close()
    assert not path.parent.exists()
    assert blocks.get(HELLO) is None

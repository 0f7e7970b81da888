"""The sandbox's IPFS: real CIDs, what a gateway and an upload node answer."""

from __future__ import annotations

import json
from collections.abc import Iterator
from io import BytesIO

import pytest
from flask.testing import FlaskClient

from iexec_nb.errors import ValidationError
from iexec_nb.protocol.car import CarReader, car_header, car_section
from iexec_nb.protocol.cid import Cid
from iexec_nb.protocol.file_layout import Layout, content_cid
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


# --- blocks and CARs --------------------------------------------------------------------------------------------------

CAR, RAW = "application/vnd.ipld.car", "application/vnd.ipld.raw"
DATA = bytes(range(256)) * 40


@pytest.fixture
def folder(store: BlockStore) -> str:
    file = store.add(DATA, layout=Layout(1, True, 1000, 4))
    return store.add_folder({"a": file, "b": file, "below": store.add_folder({"c": store.add(b"hello"), "d e?": file})})


def blocks(body: bytes) -> list[Cid]:
    reader = CarReader()
    found = list(reader.feed(body))
    reader.end()
    assert all(cid.names(block) for cid, block in found)
    return [cid for cid, _ in found]


def test_every_block_of_a_file_is_served_and_is_what_its_cid_names(client: FlaskClient, store: BlockStore) -> None:
    for layout in (Layout(0, False, 1000, 4), Layout(1, True, 1000, 4)):
        cids = [cid for cid, _ in store.walk(Cid.parse(store.add(DATA, layout=layout)))]
        assert len(set(cids)) > 10
        for cid in cids:
            with client.get(f"/ipfs/{cid}?format=raw") as got:
                assert (got.status_code, got.content_type) == (200, RAW)
                assert cid.names(got.data)
                assert got.headers["Content-Disposition"] == f'attachment; filename="{cid}.bin"'
                assert got.headers["X-Content-Type-Options"] == "nosniff"
                assert got.headers["Etag"] == f'"{cid}.raw"'
            with client.get(f"/ipfs/{cid}", headers={"Accept": RAW}) as same:
                assert same.data == got.data


def test_a_part_of_a_block_and_of_a_file_is_served(client: FlaskClient, store: BlockStore) -> None:
    cid = store.add(DATA)
    for path in (f"/ipfs/{cid}", f"/ipfs/{store.put(DATA)}?format=raw"):
        with client.get(path, headers={"Range": "bytes=10000-"}) as got:
            assert (got.status_code, got.data) == (206, DATA[10000:])
            assert got.headers["Content-Range"] == f"bytes 10000-{len(DATA) - 1}/{len(DATA)}"
        with client.get(path, headers={"Range": f"bytes={len(DATA)}-"}) as behind:
            assert behind.status_code == 416


def test_a_car_has_the_blocks_in_the_order_in_which_they_are_read(
    client: FlaskClient, store: BlockStore, folder: str
) -> None:
    walked = [cid for cid, _ in store.walk(Cid.parse(folder))]
    with client.get(f"/ipfs/{folder}?format=car&car-dups=y") as whole:
        assert whole.content_type == f"{CAR}; version=1; order=dfs; dups=y"
        assert blocks(whole.data) == walked
    with client.get(f"/ipfs/{folder}", headers={"Accept": f"{CAR}; version=1; order=dfs; dups=y"}) as asked:
        assert asked.data == whole.data
    with client.get(f"/ipfs/{folder}?format=car") as once:
        assert once.content_type == f"{CAR}; version=1; order=dfs; dups=n"
        assert blocks(once.data) == list(dict.fromkeys(walked))
        assert len(blocks(once.data)) < len(walked)


def test_a_car_may_be_of_less_than_everything(client: FlaskClient, store: BlockStore, folder: str) -> None:
    for scope, cid, count in [("block", folder, 1), ("entity", folder, 1), ("entity", f"{folder}/a", 15)]:
        with client.get(f"/ipfs/{cid}?format=car&dag-scope={scope}&car-dups=y") as got:
            assert len(blocks(got.data)) == count
    for query in ("dag-scope=some", "car-version=2"):
        assert client.get(f"/ipfs/{folder}?format=car&{query}").status_code == 400
    assert client.get(f"/ipfs/{folder}?format=tar").status_code == 400


def test_a_car_ends_where_a_block_is_missing(client: FlaskClient, store: BlockStore) -> None:
    root = store.add(DATA, layout=Layout(1, True, 1000, 20))
    other = BlockStore()
    pairs = list(store.walk(Cid.parse(root)))
    other.import_car(BytesIO(car_header([]) + b"".join(car_section(*pair) for pair in pairs[:4])))
    with ipfs_app(other).test_client().get(f"/ipfs/{root}?format=car&car-dups=y") as got:
        assert blocks(got.data) == [cid for cid, _ in pairs[:4]]
    assert other.get(root) is None
    other.close()


def test_content_inside_the_cid_is_served_and_is_in_no_car(client: FlaskClient) -> None:
    with client.get("/ipfs/bafkqaaa?format=raw") as got:
        assert (got.status_code, got.data) == (200, b"")
    with client.get("/ipfs/bafkqaaa?format=car") as got:
        assert blocks(got.data) == []


def test_a_path_leads_through_folders(client: FlaskClient, folder: str) -> None:
    with client.get(f"/ipfs/{folder}/below/c") as got:
        assert (got.data, got.headers["X-Ipfs-Roots"]) == (b"hello", HELLO)
    with client.get(f"/ipfs/{folder}/below/d%20e%3F") as got:
        assert got.data == DATA
    for path in ("nothing", "below/nothing", "a/b", "../x"):
        assert client.get(f"/ipfs/{folder}/{path}").status_code == 404


def test_a_folder_is_a_page_whose_names_are_text(client: FlaskClient, store: BlockStore) -> None:
    cid = store.add_folder({"<script>": store.add(b"x"), 'a"b': store.add(b"y")})
    with client.get(f"/ipfs/{cid}") as got:
        assert got.content_type.startswith("text/html")
        assert "&lt;script&gt;" in got.text
        assert "<script>" not in got.text
        assert 'href="a%22b"' in got.text


def test_blocks_from_elsewhere_make_up_their_file(store: BlockStore) -> None:
    other = BlockStore()
    root = other.add(DATA, layout=Layout(1, False, 777, 3))
    pairs = list(other.walk(Cid.parse(root)))
    other.close()
    assert store.import_car(BytesIO(car_header([]) + b"".join(car_section(*pair) for pair in pairs))) == len(pairs)
    assert store.get(root) == DATA
    assert store.path(root) == store.path(root)


def test_a_car_with_a_wrong_block_is_not_taken(store: BlockStore) -> None:
    with pytest.raises(ValidationError, match="is not what"):
        store.import_car(BytesIO(car_header([]) + car_section(Cid.of(b"a"), b"b")))
    assert store.block(Cid.of(b"a")) is None


def test_a_file_has_the_same_bytes_under_both_versions_of_its_cid(client: FlaskClient, store: BlockStore) -> None:
    cid = Cid.parse(store.add(DATA))
    with client.get(f"/ipfs/{Cid(1, cid.codec, cid.digest)}") as got:
        assert got.data == DATA

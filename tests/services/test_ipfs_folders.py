"""Folders, paths through them, and content that was made to do harm; every block of it has the right hash."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from gateways import MIB, V0, V1, Gateway, Web, content, listing

from iexec_nb.errors import IpfsGatewayCallError, UnsafeArchiveError, ValidationError
from iexec_nb.protocol import unixfs
from iexec_nb.protocol.car import CAR_TYPE, car_header, car_section
from iexec_nb.protocol.cid import DAG_PB, RAW, Cid, varint
from iexec_nb.protocol.file_layout import Layout
from iexec_nb.sandbox.blocks import BlockStore
from iexec_nb.services import ipfs_source

FILES = {"a.txt": b"a" * 1000, "b.csv": content(700_000, 2), "empty": b"", "same": b"a" * 1000, "é 日.txt": b"x"}


@pytest.fixture
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BlockStore]:
    blocks = BlockStore(str(tmp_path_factory.mktemp("blocks")))
    yield blocks
    blocks.close()


def put(store: BlockStore, layout: Layout = V1) -> str:
    """Return the CID of a folder with FILES, and with them once more in the folder sub."""
    files = {name: store.add(data, layout=layout) for name, data in FILES.items()}
    return store.add_folder({**files, "sub": store.add_folder({**files, "none": store.add_folder({})})})


EXPECTED = {**FILES, "sub": None, **{f"sub/{name}": data for name, data in FILES.items()}, "sub/none": None}


def download(web: Web, cid: str, target: Path, max_bytes: int = 10**8, **options: Any) -> Path:
    return web.ipfs().download(cid, target, max_bytes=max_bytes, **options)


@pytest.mark.parametrize("layout", [V0, V1, Layout(1, True, 1000, 3)], ids=str)
@pytest.mark.parametrize("knows", ["car", "raw"])
def test_a_folder_comes_with_all_that_is_in_it(store: BlockStore, tmp_path: Path, layout: Layout, knows: str) -> None:
    gateway = Gateway(store, knows, otherwise=400)
    got = download(Web(gateway), put(store, layout), tmp_path / "out")
    assert listing(got) == EXPECTED
    assert {path.stat().st_mode & 0o777 for path in got.rglob("*") if path.is_file()} == {0o600}
    assert {path.stat().st_mode & 0o777 for path in [got, got / "sub"]} == {0o700}
    assert os.listdir(tmp_path) == ["out"]
    assert gateway.count("car") == 1


def test_a_folder_of_a_gateway_that_serves_files_only_cannot_be_checked(store: BlockStore, tmp_path: Path) -> None:
    with pytest.raises(IpfsGatewayCallError, match="sent other bytes"):
        download(Web(Gateway(store, "plain")), put(store), tmp_path / "out")
    with pytest.raises(IpfsGatewayCallError, match="does not serve blocks"):
        download(Web(Gateway(store, "plain")), put(store) + "/a.txt", tmp_path / "out")
    assert os.listdir(tmp_path) == []


def test_a_folder_is_no_file(store: BlockStore) -> None:
    with pytest.raises(ValidationError, match="is a folder, not a file") as caught:
        Web(Gateway(store)).ipfs().get(put(store), max_bytes=10**6)
    assert "download" in str(caught.value.hint)


def test_a_path_leads_to_what_is_inside(store: BlockStore, tmp_path: Path) -> None:
    cid = put(store)
    ipfs = Web(Gateway(store)).ipfs()
    assert ipfs.get(f"/ipfs/{cid}/sub/b.csv", max_bytes=10**6) == FILES["b.csv"]
    assert ipfs.get(f"ipfs://{cid}/é 日.txt", max_bytes=10**6) == b"x"
    assert ipfs.check(f"{cid}/sub/b.csv")
    assert not ipfs.check(f"{cid}/sub/c.csv")
    assert listing(download(Web(Gateway(store)), f"{cid}/sub", tmp_path / "sub")) == {**FILES, "none": None}


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("c.txt", "there is no c.txt in"),
        ("a.txt/b", "is a file"),
        ("sub/none/x", "there is no x in"),
        ("A.txt", "no A.txt"),
    ],
)
def test_a_path_that_leads_nowhere_is_said_with_what_there_is(
    store: BlockStore, tmp_path: Path, path: str, message: str
) -> None:
    with pytest.raises(ValidationError, match=message) as caught:
        download(Web(Gateway(store)), f"{put(store)}/{path}", tmp_path / "out")
    if path == "c.txt":
        assert "a.txt, b.csv" in str(caught.value)
    assert os.listdir(tmp_path) == []


def test_a_folder_goes_on_where_it_was_interrupted(store: BlockStore, tmp_path: Path) -> None:
    cid = put(store)
    broken = Gateway(store)
    broken.cuts = [500_000, *[0] * 60]
    with pytest.raises(IpfsGatewayCallError) as caught:
        download(Web(broken), cid, tmp_path / "out")
    (part,) = tmp_path.iterdir()
    assert part.name in str(caught.value)
    (part / "a.txt").write_bytes(b"changed")
    gateway = Gateway(store)
    assert listing(download(Web(gateway), cid, tmp_path / "out")) == EXPECTED
    assert os.listdir(tmp_path) == ["out"]
    assert 0 < gateway.sent < 1_300_000


def test_the_next_gateway_goes_on_with_a_folder(store: BlockStore, tmp_path: Path) -> None:
    broken, good = Gateway(store), Gateway(store, "raw", otherwise=400)
    broken.cuts = [500_000]
    assert listing(download(Web(broken, good), put(store), tmp_path / "out")) == EXPECTED
    assert broken.count("car") == 1


def test_an_empty_folder_may_be_there_already_and_a_full_one_not(store: BlockStore, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert listing(download(Web(Gateway(store)), put(store), tmp_path / "empty")) == EXPECTED
    with pytest.raises(ValidationError, match="with something in it"):
        download(Web(Gateway(store)), put(store), tmp_path / "empty")


def test_a_file_in_place_of_the_folder_is_left_alone(store: BlockStore, tmp_path: Path) -> None:
    (tmp_path / "out").write_bytes(b"mine")
    with pytest.raises(ValidationError):
        download(Web(Gateway(store)), put(store), tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == b"mine"


@pytest.mark.parametrize("kind", ["link", "file"])
def test_what_stands_where_the_part_of_a_folder_would_be_is_not_written(
    store: BlockStore, tmp_path: Path, kind: str
) -> None:
    cid, other = put(store), tmp_path / "other"
    other.mkdir()
    place = tmp_path / f"out.{cid[-12:]}.part"
    if kind == "link":
        place.symlink_to(other)
    else:
        place.write_bytes(b"mine")
    assert listing(download(Web(Gateway(store)), cid, tmp_path / "out")) == EXPECTED
    assert os.listdir(other) == []
    assert kind == "link" or place.read_bytes() == b"mine"


@pytest.mark.parametrize("kind", ["a folder", "a file", "the same file"])
def test_a_link_in_a_part_that_was_left_leads_nothing_elsewhere(store: BlockStore, tmp_path: Path, kind: str) -> None:
    cid = store.add_folder({"keys": store.add_folder({"own": store.add(content(70_000))})})
    other = tmp_path / "other"
    other.mkdir()
    (other / "own").write_bytes(b"mine")
    part = tmp_path / f"out.{cid[-12:]}.part"
    if kind == "a folder":
        part.mkdir()
        (part / "keys").symlink_to(other)
    else:
        (part / "keys").mkdir(parents=True)
        link = (part / "keys" / "own").symlink_to if kind == "a file" else (part / "keys" / "own").hardlink_to
        link(other / "own")
    got = download(Web(Gateway(store)), cid, tmp_path / "out")
    assert listing(got) == {"keys": None, "keys/own": content(70_000)}
    assert listing(other) == {"own": b"mine"}
    assert sorted(os.listdir(tmp_path)) == ["other", "out"]


def test_a_page_in_place_of_the_folder_leaves_nothing_behind(store: BlockStore, tmp_path: Path) -> None:
    good = Gateway(store)
    assert listing(download(Web(Gateway(store, "plain"), good), put(store), tmp_path / "out")) == EXPECTED
    assert os.listdir(tmp_path) == ["out"]


def test_what_was_put_among_the_files_meanwhile_is_not_part_of_the_folder(store: BlockStore, tmp_path: Path) -> None:
    cid, broken = put(store), Gateway(store)
    broken.cuts = [500_000, *[0] * 60]
    with pytest.raises(IpfsGatewayCallError):
        download(Web(broken), cid, tmp_path / "out")
    (part,) = tmp_path.iterdir()
    (part / "more").mkdir()
    (part / "more" / "evil").write_bytes(b"x")
    (part / "link").symlink_to(tmp_path)
    assert listing(download(Web(Gateway(store)), cid, tmp_path / "out")) == EXPECTED
    assert os.listdir(tmp_path) == ["out"]


def test_parts_of_two_places_in_one_folder_do_not_meet(store: BlockStore, tmp_path: Path) -> None:
    cid = store.add_folder({name: store.add(content(MIB, at)) for at, name in enumerate("ab")})
    for name in "ab":
        broken = Gateway(store)
        broken.cuts = [None, 900_000, *[0] * 60]
        with pytest.raises(IpfsGatewayCallError):
            download(Web(broken), f"{cid}/{name}", tmp_path / "out")
    assert len(os.listdir(tmp_path)) == 2
    for at, name in enumerate("ab"):
        got = download(Web(Gateway(store)), f"{cid}/{name}", tmp_path / "out")
        assert got.read_bytes() == content(MIB, at)
    assert os.listdir(tmp_path) == ["out"]


# --- harm -------------------------------------------------------------------------------------------------------------


def folder(store: BlockStore, *links: tuple[str | bytes, Cid], kind: bytes = b"\x08\x01") -> str:
    """Return the CID of a folder whose names are whatever is given."""
    block = b""
    for name, cid in links:
        raw = name if isinstance(name, bytes) else name.encode()
        link = b"\x0a" + varint(len(bytes(cid))) + bytes(cid) + b"\x12" + varint(len(raw)) + raw + b"\x18\x00"
        block += b"\x12" + varint(len(link)) + link
    return str(store.put(block + b"\x0a" + varint(len(kind)) + kind, DAG_PB))


NAMES = {
    "up": "../evil", "dots": "..", "dot": ".", "nothing": "", "a slash": "a/b", "absolute": "/tmp/evil",
    "drive": "C:\\evil", "backslash": "..\\evil", "zero": "a\0b", "newline": "a\nb", "escape": "\x1b[31mred",
    "device": "CON", "device file": "aux.txt", "spaces": "   ", "up with a space": ".. ", "too long": "n" * 300,
}  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_a_name_that_is_no_plain_name_condemns_the_folder(store: BlockStore, tmp_path: Path, name: str) -> None:
    leaf = store.put(b"evil")
    deep = folder(store, ("good", leaf), ("deep", Cid.parse(folder(store, (NAMES[name], leaf)))))
    for cid in (folder(store, ("good", leaf), (NAMES[name], leaf)), deep):
        with pytest.raises(UnsafeArchiveError) as caught:
            download(Web(Gateway(store)), cid, tmp_path / "out")
        assert caught.value.hint
        assert "\x1b" not in str(caught.value)
        assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("names", [("a", "a"), ("a", "A"), ("é", "e\u0301"), ("a", "a."), ("ß", "ss")], ids=repr)
def test_two_names_that_are_one_file_on_some_system_condemn_the_folder(
    store: BlockStore, tmp_path: Path, names: tuple[str, str]
) -> None:
    links = [(name, store.put(name.encode())) for name in names]
    with pytest.raises(UnsafeArchiveError, match="the same name"):
        download(Web(Gateway(store)), folder(store, *links), tmp_path / "out")
    assert os.listdir(tmp_path) == []


def test_a_name_that_is_no_text_is_a_typed_error(store: BlockStore, tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="can be read"):
        download(Web(Gateway(store)), folder(store, (b"\xff\xfe", store.put(b"x"))), tmp_path / "out")


def test_a_link_out_of_the_folder_is_refused(store: BlockStore, tmp_path: Path) -> None:
    link = store.put(b"\x0a\x0f\x08\x04\x12\x0b/etc/passwd", DAG_PB)
    for cid in (folder(store, ("passwd", link)), str(link)):
        with pytest.raises(UnsafeArchiveError, match="symlink"):
            download(Web(Gateway(store)), cid, tmp_path / "out")
        assert os.listdir(tmp_path) == []


def test_more_files_than_allowed_are_refused_before_the_rest_is_fetched(store: BlockStore, tmp_path: Path) -> None:
    leaf = store.put(b"x")
    cid = folder(store, *[(f"n{at}", leaf) for at in range(50)])
    with pytest.raises(UnsafeArchiveError, match="more than 49 files") as caught:
        download(Web(Gateway(store)), cid, tmp_path / "out", max_files=49)
    assert "max_files" in str(caught.value.hint)
    assert os.listdir(tmp_path) == []
    assert len(listing(download(Web(Gateway(store)), cid, tmp_path / "out", max_files=50))) == 50


def test_files_that_are_together_larger_than_allowed_are_refused(store: BlockStore, tmp_path: Path) -> None:
    links = [(f"n{at}", Cid.parse(store.add(content(100_000, at)))) for at in range(5)]
    with pytest.raises(IpfsGatewayCallError, match="larger than 400000 bytes"):
        download(Web(Gateway(store)), folder(store, *links), tmp_path / "out", max_bytes=400_000)
    assert len(listing(download(Web(Gateway(store)), folder(store, *links), tmp_path / "all", max_bytes=500_000))) == 5


def test_a_folder_within_a_folder_that_would_be_a_million_is_refused(store: BlockStore, tmp_path: Path) -> None:
    cid = store.put(b"x")
    for _ in range(12):
        cid = Cid.parse(folder(store, *[(f"n{at}", cid) for at in range(10)]))
    gateway = Gateway(store)
    with pytest.raises(UnsafeArchiveError, match="more than 1000 files"):
        download(Web(gateway), str(cid), tmp_path / "out", max_files=1000)
    assert os.listdir(tmp_path) == []
    assert gateway.sent < MIB


def test_a_folder_that_is_too_deep_is_refused(store: BlockStore, tmp_path: Path) -> None:
    cid = store.put(b"x")
    for _ in range(200):
        cid = Cid.parse(folder(store, ("d", cid)))
    with pytest.raises(UnsafeArchiveError, match="more than 64 folders"):
        download(Web(Gateway(store)), str(cid), tmp_path / "out")
    assert os.listdir(tmp_path) == []


SHARD = b"\x08\x05\x28\x22\x30\x80\x02"


def test_a_large_folder_that_never_ends_is_refused(store: BlockStore, tmp_path: Path) -> None:
    cid = Cid.parse(folder(store, ("00x", store.put(b"x")), kind=SHARD))
    for _ in range(200):
        cid = Cid.parse(folder(store, ("00", cid), kind=SHARD))
    with pytest.raises(ValidationError, match="too many levels"):
        download(Web(Gateway(store)), str(cid), tmp_path / "out")
    wide = Cid.parse(folder(store, kind=SHARD))
    for _ in range(20):
        wide = Cid.parse(folder(store, *[(f"{at:02X}", wide) for at in range(256)], kind=SHARD))
    with pytest.raises(UnsafeArchiveError, match="more than 10000 files"):
        download(Web(Gateway(store)), str(wide), tmp_path / "out")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("kind", [b"\x08\x03", b"\x08\x02"], ids=["metadata", "a file"])
def test_a_part_of_a_large_folder_that_is_none_is_refused(store: BlockStore, tmp_path: Path, kind: bytes) -> None:
    part = Cid.parse(folder(store, kind=kind))
    with pytest.raises(ValidationError, match="no part of a large folder"):
        download(Web(Gateway(store)), folder(store, ("00", part), kind=SHARD), tmp_path / "out")


def petabytes(store: BlockStore) -> str:
    cid, size = store.put(b"x" * 1000), 1000
    for _ in range(5):
        part = bytes(cid)
        link = b"\x0a" + varint(len(part)) + part
        links = (b"\x12" + varint(len(link)) + link) * 1000
        size *= 1000
        message = b"\x08\x02\x18" + varint(size) + (b"\x20" + varint(size // 1000)) * 1000
        cid = store.put(links + b"\x0a" + varint(len(message)) + message, DAG_PB)
    return str(cid)


def liar(store: BlockStore) -> str:
    part = bytes(store.put(b"x" * 100_000))
    link = b"\x0a" + varint(len(part)) + part
    message = b"\x08\x02\x18\x0a\x20\x0a"
    return str(store.put(b"\x12" + varint(len(link)) + link + b"\x0a" + varint(len(message)) + message, DAG_PB))


BOMBS: dict[str, tuple[Callable[[BlockStore], str], type[Exception]]] = {
    "petabytes in a few kilobytes": (petabytes, IpfsGatewayCallError),
    "more than it declares": (liar, ValidationError),
    "no UnixFS": (lambda store: str(store.put(b"\x0a\x00", DAG_PB)), ValidationError),
    "no dag-pb": (lambda store: str(store.put(b"\xff\xff\xff", DAG_PB)), ValidationError),
    "another codec": (lambda store: str(store.put(b"\xa0", 0x71)), ValidationError),
    "another codec inside": (lambda store: folder(store, ("x", store.put(b"\xa0", 0x71))), ValidationError),
}


@pytest.mark.parametrize("name", BOMBS)
def test_content_that_is_a_trap_is_a_typed_error_after_little(store: BlockStore, tmp_path: Path, name: str) -> None:
    make, error = BOMBS[name]
    cid = make(store)
    for ask in (
        lambda web: download(web, cid, tmp_path / "out"),
        lambda web: download(web, folder(store, ("inside", Cid.parse(cid))), tmp_path / "out"),
    ):
        first, second = Gateway(store), Gateway(store)
        with pytest.raises(error):
            ask(Web(first, second))
        # The content is to blame, so that no other gateway is asked.
        assert second.asked == []
        assert first.sent < MIB
        assert os.listdir(tmp_path) == []


def one_byte(filler: bytes) -> bytes:
    """Return a block that takes long to read for one byte of a file."""
    message = b"\x08\x02\x12\x01x" + filler
    return b"\x0a" + varint(len(message)) + message


def file_of(store: BlockStore, part: Cid, times: int) -> str:
    """Return the CID of a file that is the same byte many times, from blocks that are fetched once."""
    link = b"\x0a" + varint(len(bytes(part))) + bytes(part)
    message = b"\x08\x02\x18" + varint(times) + b"\x20\x01" * times
    block = (b"\x12" + varint(len(link)) + link) * times + b"\x0a" + varint(len(message)) + message
    return str(store.put(block, DAG_PB))


def no_bytes(store: BlockStore, times: int) -> Cid:
    """Return a block with one byte and many links to nothing."""
    link = b"\x0a\x24" + bytes(store.put(b""))
    return store.put((b"\x12" + varint(len(link)) + link) * times + one_byte(b"\x20\x00" * times), DAG_PB)


def slow_part(store: BlockStore) -> Cid:
    return store.put(one_byte(b"\x18\x01" * 10_000), DAG_PB)


def slow_shard(store: BlockStore) -> Cid:
    return Cid.parse(folder(store, kind=SHARD + b"\x30\x80\x02" * 10_000))


SLOW: dict[str, Callable[[BlockStore], str]] = {
    "a file": lambda store: file_of(store, slow_part(store), 15),
    "a file of links": lambda store: file_of(store, no_bytes(store, 400), 15),
    "a folder": lambda store: folder(store, *[(f"n{at}", slow_part(store)) for at in range(15)]),
    "a large folder": lambda store: folder(store, *[(f"{at:02X}", slow_shard(store)) for at in range(15)], kind=SHARD),
}


@pytest.mark.parametrize("name", SLOW)
def test_a_few_blocks_that_are_slow_to_read_are_not_read_again_and_again(
    store: BlockStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(unixfs, "_FREE_BLOCKS", 500)
    cid = SLOW[name](store)
    gateway = Gateway(store, "raw", otherwise=400)
    with pytest.raises(UnsafeArchiveError, match="too many blocks"):
        download(Web(gateway), cid, tmp_path / "out", max_bytes=4096, max_files=20)
    assert len(gateway.asked) < 5
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("again", ["what nobody asked for", "the root"])
def test_a_car_without_an_end_is_given_up_and_the_next_gateway_asked(
    store: BlockStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, again: str
) -> None:
    monkeypatch.setattr(ipfs_source, "_FREE_BYTES", MIB)
    cid = Cid.parse(store.add(content(MIB), layout=V1))
    block = store.block(cid) or b""
    sections = {
        "what nobody asked for": car_section(Cid.of(b"j" * 1000), b"j" * 1000),
        "the root": car_section(cid, block),
    }
    sent = 0

    class Endless(httpx.SyncByteStream):
        def __iter__(self) -> Iterator[bytes]:
            nonlocal sent
            yield car_header([cid]) + car_section(cid, block)
            for _ in range(100_000):
                sent += len(sections[again])
                yield sections[again]

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.params.get("format") == "car":
            return httpx.Response(200, headers={"content-type": CAR_TYPE}, stream=Endless())
        return httpx.Response(404)

    liar, honest = Gateway(store), Gateway(store)
    liar.instead = answer
    got = download(Web(liar, honest), str(cid), tmp_path / "out", max_bytes=MIB)
    assert got.read_bytes() == content(MIB)
    assert sent < 10 * MIB


def test_a_block_that_no_node_would_send_is_refused(store: BlockStore, tmp_path: Path) -> None:
    huge = str(store.put(content(5 * MIB), DAG_PB))
    with pytest.raises(IpfsGatewayCallError):
        download(Web(Gateway(store)), huge, tmp_path / "out")
    inside = folder(store, ("huge", store.put(content(5 * MIB), RAW)))
    with pytest.raises(IpfsGatewayCallError, match="larger than"):
        download(Web(Gateway(store)), inside, tmp_path / "out")
    assert os.listdir(tmp_path) == []

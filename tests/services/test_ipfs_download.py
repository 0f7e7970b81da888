"""Downloads: every layout in every format, several gateways, and going on where something broke."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from gateways import KINDS, MIB, V0, V1, Gateway, Web, as_car, car, content, flipped, once_each, unordered, with_junk

from iexec_nb.errors import IpfsGatewayCallError, ValidationError
from iexec_nb.protocol.cid import Cid
from iexec_nb.protocol.file_layout import Layout
from iexec_nb.sandbox.blocks import BlockStore
from iexec_nb.sandbox.ipfs import ipfs_app
from iexec_nb.sandbox.mount import Server
from iexec_nb.services import ipfs_parts

DATA = content(3 * MIB + 5)


@pytest.fixture
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BlockStore]:
    blocks = BlockStore(str(tmp_path_factory.mktemp("blocks")))
    yield blocks
    blocks.close()


def fetch(web: Web, cid: str, target: Path, **options: Any) -> bytes:
    return web.ipfs().download(cid, target, max_bytes=10**8, **options).read_bytes()


# --- layouts and formats ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", [V0, V1, Layout(1, True, MIB, 1024), Layout(0, False, MIB)], ids=str)
@pytest.mark.parametrize("size", [0, 1, 262_144, 262_145, len(DATA)])
@pytest.mark.parametrize("knows", KINDS)
def test_a_file_is_had_from_a_gateway_that_knows_one_format(
    store: BlockStore, tmp_path: Path, layout: Layout, size: int, knows: str
) -> None:
    cid = store.add(DATA[:size], layout=layout)
    # Every gateway with formats knows blocks: a file that is one raw block is asked for as that.
    also = ("raw",) if knows == "car" and cid.startswith("bafk") else ()
    gateway = Gateway(store, knows, *also, otherwise=None if knows == "plain" else 406)
    assert fetch(Web(gateway), cid, tmp_path / "out") == DATA[:size]
    assert Web(gateway).ipfs().get(cid, max_bytes=len(DATA)) == DATA[:size]
    assert os.listdir(tmp_path) == ["out"]


@pytest.mark.parametrize("layout", [Layout(1, True, 1000, 3), Layout(0, False, 7777, 9)], ids=str)
@pytest.mark.parametrize("knows", ["car", "raw"])
def test_a_layout_that_nobody_uses_is_had_in_blocks(
    store: BlockStore, tmp_path: Path, layout: Layout, knows: str
) -> None:
    cid = store.add(DATA[:300_000], layout=layout)
    assert fetch(Web(Gateway(store, knows, otherwise=400)), cid, tmp_path / "out") == DATA[:300_000]


def test_a_layout_that_nobody_uses_is_refused_where_a_gateway_serves_files_only(
    store: BlockStore, tmp_path: Path
) -> None:
    cid = store.add(DATA[:9000], layout=Layout(1, True, 1000, 3))
    with pytest.raises(IpfsGatewayCallError, match="sent other bytes") as caught:
        fetch(Web(Gateway(store, "plain")), cid, tmp_path / "out")
    assert "format=raw" in str(caught.value.hint)


def test_a_car_is_one_request_and_blocks_are_one_each(store: BlockStore, tmp_path: Path) -> None:
    cid = store.add(DATA, layout=V1)
    whole, single = Gateway(store), Gateway(store, "raw", otherwise=400)
    fetch(Web(whole), cid, tmp_path / "a")
    fetch(Web(single), cid, tmp_path / "b")
    assert whole.asked == [("car", cid)]
    assert (single.count("car"), single.count("raw"), single.count("plain")) == (1, 14, 0)


def test_a_gateway_that_knows_no_formats_is_asked_once(store: BlockStore, tmp_path: Path) -> None:
    gateway = Gateway(store, "plain")
    fetch(Web(gateway), store.add(DATA), tmp_path / "out")
    assert gateway.count("car") == len(gateway.asked) == 1


def test_a_file_that_is_one_raw_block_of_any_size_is_checked_as_it_streams(store: BlockStore, tmp_path: Path) -> None:
    cid = str(store.put(DATA))
    for gateway in (Gateway(store), Gateway(store, "raw", otherwise=400), Gateway(store, "plain", otherwise=400)):
        gateway.cuts = [None]
        assert fetch(Web(gateway), cid, tmp_path / "out") == DATA


def test_content_inside_the_cid_needs_no_gateway(store: BlockStore, tmp_path: Path) -> None:
    gateway = Gateway(store)
    assert Web(gateway).ipfs().get(str(Cid(1, 0x55, b"few bytes", 0)), max_bytes=100) == b"few bytes"
    assert fetch(Web(gateway), "bafkqaaa", tmp_path / "out") == b""
    assert gateway.asked == []


@pytest.mark.parametrize("order", [once_each, unordered, with_junk, lambda pairs: pairs[:5]], ids=[
    "repetitions left out", "in another order", "with other blocks", "the first few"])  # fmt: skip
def test_a_car_of_any_order_is_used_as_far_as_it_goes(
    store: BlockStore, tmp_path: Path, order: Callable[..., Any]
) -> None:
    data = content(MIB) + bytes(MIB) + content(MIB)
    cid = store.add(data, layout=Layout(1, True, 100_000, 5))
    body, gateway = car(store, cid, order), Gateway(store)

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.params.get("format") == "car":
            return as_car(body)(request)
        block = store.block(Cid.parse(request.url.path.removeprefix("/ipfs/")))
        return httpx.Response(200, content=block, headers={"content-type": "application/vnd.ipld.raw"})

    gateway.instead = answer
    assert fetch(Web(gateway), cid, tmp_path / "out") == data
    assert gateway.count("raw") < len(list(store.walk(Cid.parse(cid))))


@pytest.mark.parametrize("size", [1, 70, 1000])
def test_a_car_that_is_cut_cleanly_or_is_none_is_gone_on_with_by_blocks(
    store: BlockStore, tmp_path: Path, size: int
) -> None:
    cid = store.add(DATA, layout=V1)
    for body in (car(store, cid, list)[:size], b"\x0a\xa1gversion\x02" + bytes(100)):
        gateway = Gateway(store)
        gateway.change = lambda kind, sent, body=body: body if kind == "car" else sent  # type: ignore[misc]
        assert fetch(Web(gateway), cid, tmp_path / "out") == DATA


def test_memory_does_not_grow_with_the_file(store: BlockStore, tmp_path: Path) -> None:
    cid = store.add(content(48 * MIB), layout=V1)
    for knows in KINDS:
        gateway = Gateway(store, knows, otherwise=None if knows == "plain" else 400)
        tracemalloc.start()
        try:
            Web(gateway).ipfs().download(cid, tmp_path / "out", max_bytes=10**9)
            assert tracemalloc.get_traced_memory()[1] < 24 * MIB
        finally:
            tracemalloc.stop()


def test_progress_goes_up_to_the_size_of_the_file(store: BlockStore, tmp_path: Path) -> None:
    for knows in KINDS:
        seen: list[tuple[int, int | None]] = []
        gateway = Gateway(store, knows, otherwise=None if knows == "plain" else 400)
        fetch(Web(gateway), store.add(DATA), tmp_path / "out", on_progress=lambda *one: seen.append(one))  # noqa: B023
        assert [done for done, _ in seen] == sorted(done for done, _ in seen)
        assert seen[-1] == (len(DATA), len(DATA))
        assert len(seen) > 10


# --- several gateways -------------------------------------------------------------------------------------------------


def raises(error: Exception) -> Callable[[httpx.Request], httpx.Response]:
    def answer(request: httpx.Request) -> httpx.Response:
        raise error

    return answer


def lying(kind: str) -> Callable[[Gateway], None]:
    def make(gateway: Gateway) -> None:
        gateway.knows, gateway.otherwise = (kind,), 400 if kind != "plain" else None
        gateway.change = lambda _, body: flipped(body)

    return make


def answering(status: int) -> Callable[[Gateway], None]:
    return lambda gateway: setattr(gateway, "instead", lambda request: httpx.Response(status))


BAD: dict[str, Callable[[Gateway], None]] = {
    "is dead": lambda gateway: setattr(gateway, "instead", raises(httpx.ConnectError("refused"))),
    "does not answer": lambda gateway: setattr(gateway, "instead", raises(httpx.ReadTimeout("late"))),
    "has it not": answering(404),
    "has it no more": answering(410),
    "forbids it": answering(403),
    "is busy": answering(429),
    "is broken": answering(500),
    "sends elsewhere": lambda gateway: setattr(
        gateway, "instead", lambda request: httpx.Response(302, headers={"location": "http://a.example/other"})
    ),
    "lies in a CAR": lying("car"),
    "lies in a block": lying("raw"),
    "lies in a file": lying("plain"),
    "cuts off at once": lambda gateway: setattr(gateway, "cuts", [0] * 50),
    "cuts off in a CAR": lambda gateway: setattr(gateway, "cuts", [700_000, *[0] * 50]),
    "sends a page": lambda gateway: setattr(
        gateway, "instead", lambda request: httpx.Response(200, html="<h1>log in</h1>")
    ),
    "sends nothing": lambda gateway: setattr(gateway, "instead", lambda request: httpx.Response(200)),
}


@pytest.mark.parametrize("layout", [V0, V1], ids=str)
@pytest.mark.parametrize("name", BAD)
def test_a_gateway_that_fails_is_followed_by_the_next_one(
    store: BlockStore, tmp_path: Path, name: str, layout: Layout
) -> None:
    bad, good = Gateway(store), Gateway(store)
    BAD[name](bad)
    cid = store.add(DATA, layout=layout)
    assert fetch(Web(bad, good), cid, tmp_path / "out") == DATA
    assert bad.asked
    assert good.asked
    assert os.listdir(tmp_path) == ["out"]
    assert Web(bad, good).ipfs().get(cid, max_bytes=10**8) == DATA


@pytest.mark.parametrize("name", BAD)
def test_a_gateway_that_fails_alone_is_an_error_that_names_it(store: BlockStore, tmp_path: Path, name: str) -> None:
    bad = Gateway(store)
    BAD[name](bad)
    with pytest.raises(IpfsGatewayCallError, match=r"a\.example"):
        fetch(Web(bad), store.add(DATA), tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert len(bad.asked) < 40


def test_the_first_gateway_that_serves_it_is_the_last_that_is_asked(store: BlockStore, tmp_path: Path) -> None:
    good, other = Gateway(store), Gateway(store)
    fetch(Web(good, other), store.add(DATA), tmp_path / "out")
    assert other.asked == []


def test_when_none_has_it_all_are_named_with_what_they_did(store: BlockStore, tmp_path: Path) -> None:
    gateways = [Gateway(store) for _ in range(3)]
    for gateway, name in zip(gateways, ["is dead", "has it not", "lies in a file"], strict=True):
        BAD[name](gateway)
    with pytest.raises(IpfsGatewayCallError, match="none of 3 gateways sent Qm") as caught:
        fetch(Web(*gateways), store.add(DATA), tmp_path / "out")
    context = caught.value.context
    assert "network error" in str(context["https://a.example"])
    assert "404 Not Found" in str(context["https://b.example"])
    assert "other bytes" in str(context["https://c.example"])
    assert caught.value.status == 404
    assert os.listdir(tmp_path) == []


def test_the_next_gateway_goes_on_where_the_one_before_broke_off(store: BlockStore, tmp_path: Path) -> None:
    cid = store.add(DATA, layout=V1)
    broken, good = Gateway(store), Gateway(store, "raw", otherwise=400)
    broken.cuts = [2 * MIB]
    assert fetch(Web(broken, good), cid, tmp_path / "out") == DATA
    # Of 13 leaves 7 had arrived; the root is asked for again.
    assert good.count("raw") == 1 + 6
    assert good.sent < len(DATA) - 2 * MIB + MIB // 2


def test_a_gateway_that_breaks_off_again_and_again_is_gone_on_with_as_long_as_it_brings_more(
    store: BlockStore, tmp_path: Path
) -> None:
    data = content(20 * MIB)
    cid = store.add(data, layout=Layout(1, True, 262_144, 20))
    gateway = Gateway(store)
    gateway.cuts = [3 * MIB + 77] * 40
    web = Web(gateway)
    assert fetch(web, cid, tmp_path / "out") == data
    assert gateway.sent < 1.5 * len(data)
    assert web.pauses


def test_a_liar_is_not_asked_again_and_its_bytes_are_not_kept(store: BlockStore, tmp_path: Path) -> None:
    cid = store.add(DATA, layout=V1)
    liar, lame = Gateway(store), Gateway(store)
    liar.change = lambda kind, body: flipped(body)
    lame.cuts = [MIB] * 50
    assert fetch(Web(liar, lame), cid, tmp_path / "out") == DATA
    assert len(liar.asked) == 1


def test_a_plain_gateway_may_follow_one_with_blocks_and_the_other_way_round(store: BlockStore, tmp_path: Path) -> None:
    for layout in (V0, V1):
        cid = store.add(DATA, layout=layout)
        for first, second in [("car", "plain"), ("plain", "car"), ("raw", "plain"), ("plain", "raw")]:
            one = Gateway(store, first, otherwise=None if first == "plain" else 400)
            one.cuts = [*([None] * 4 if first == "raw" else []), 1_000_000, *[0] * 30]
            other = Gateway(store, second, otherwise=None if second == "plain" else 400)
            assert fetch(Web(one, other), cid, tmp_path / f"{layout.version}{first}{second}") == DATA


def test_bytes_of_a_plain_gateway_that_lies_are_replaced_and_not_mixed_in(store: BlockStore, tmp_path: Path) -> None:
    cid = store.add(DATA)
    liar, good = Gateway(store, "plain"), Gateway(store, "car", otherwise=400)
    liar.change = lambda kind, body: flipped(body)
    liar.cuts = [2 * MIB]
    assert fetch(Web(liar, good), cid, tmp_path / "out") == DATA


def test_whether_something_is_there_is_asked_of_one_gateway_after_the_other(store: BlockStore) -> None:
    cid = store.add(b"x")
    absent, dead, good = Gateway(BlockStore()), Gateway(store), Gateway(store)
    BAD["is dead"](dead)
    assert Web(absent, dead, good).ipfs().check(cid) is True
    assert Web(absent, absent).ipfs().check(cid) is False
    with pytest.raises(IpfsGatewayCallError, match=r"b\.example"):
        Web(absent, dead).ipfs().check(cid)


# --- going on after an interruption -----------------------------------------------------------------------------------


def parts(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.suffix == ".part"]


def interrupted(store: BlockStore, target: Path, cid: str, *, knows: tuple[str, ...] = (), at: int = 2 * MIB) -> Path:
    """Return the part that is left by a download from a gateway that broke off and stayed away."""
    gateway = Gateway(store, *knows, otherwise=400 if "plain" not in knows and knows else None)
    gateway.cuts = [at, *[0] * 60]
    with pytest.raises(IpfsGatewayCallError) as caught:
        fetch(Web(gateway), cid, target)
    left = parts(target.parent)
    assert len(left) == 1
    if "plain" not in knows:
        assert left[0].name in str(caught.value)
        assert f"of {len(DATA)} bytes, all checked" in str(caught.value)
        assert "goes on from there" in str(caught.value.hint)
    return left[0]


@pytest.mark.parametrize("layout", [V0, V1, Layout(1, False)], ids=str)
def test_the_same_call_goes_on_from_what_was_left(store: BlockStore, tmp_path: Path, layout: Layout) -> None:
    cid = store.add(DATA, layout=layout)
    part = interrupted(store, tmp_path / "out", cid)
    assert part.stat().st_mode & 0o777 == 0o600
    assert not (tmp_path / "out").exists()
    gateway = Gateway(store)
    assert fetch(Web(gateway), cid, tmp_path / "out") == DATA
    assert gateway.sent < 1.5 * MIB
    assert os.listdir(tmp_path) == ["out"]


def test_what_was_left_and_changed_meanwhile_is_found_out(store: BlockStore, tmp_path: Path) -> None:
    cid = store.add(DATA, layout=V1)
    part = interrupted(store, tmp_path / "out", cid)
    with part.open("r+b") as file:
        file.seek(600_000)
        file.write(b"changed")
    gateway = Gateway(store)
    assert fetch(Web(gateway), cid, tmp_path / "out") == DATA
    # The changed block, the rest, and the root.
    assert gateway.count("raw") == 1 + 1 + 6


@pytest.mark.parametrize("left", [b"", b"other", bytes(2 * MIB), bytes(9 * MIB)], ids=len)
def test_a_part_that_has_nothing_to_do_with_it_does_no_harm(store: BlockStore, tmp_path: Path, left: bytes) -> None:
    for layout, knows in [(V1, "raw"), (V0, "raw"), (V0, "plain")]:
        cid = store.add(DATA, layout=layout)
        part = interrupted(store, tmp_path / "out", cid)
        part.write_bytes(left)
        gateway = Gateway(store, knows, otherwise=None if knows == "plain" else 501)
        assert fetch(Web(gateway), cid, tmp_path / "out") == DATA
        assert os.listdir(tmp_path) == ["out"]
        (tmp_path / "out").unlink()


def test_a_gateway_of_whole_files_is_asked_for_the_rest(store: BlockStore, tmp_path: Path) -> None:
    for cid in (store.add(DATA), str(store.put(DATA))):
        part = interrupted(store, tmp_path / "out", cid, knows=("plain",))
        assert part.stat().st_size == 2 * MIB
        gateway = Gateway(store, "plain")
        assert fetch(Web(gateway), cid, tmp_path / "out") == DATA
        assert gateway.sent < 2 * MIB + (MIB if cid.startswith("Qm") else 0)


def test_a_gateway_that_cannot_begin_in_the_middle_begins_at_the_start(store: BlockStore, tmp_path: Path) -> None:
    cid = store.add(DATA)
    interrupted(store, tmp_path / "out", cid)
    gateway = Gateway(store)
    gateway.instead = lambda request: httpx.Response(200, content=DATA)
    assert fetch(Web(gateway), cid, tmp_path / "out") == DATA


def test_a_complete_part_is_only_checked(store: BlockStore, tmp_path: Path) -> None:
    cid = str(store.put(DATA))
    interrupted(store, tmp_path / "out", cid, knows=("plain",)).write_bytes(DATA)
    gateway = Gateway(store)
    assert fetch(Web(gateway), cid, tmp_path / "out") == DATA
    assert gateway.asked == []


def test_little_is_not_kept_and_what_an_earlier_download_left_is_not_removed(store: BlockStore, tmp_path: Path) -> None:
    cid = store.add(DATA, layout=V1)
    dead, short = Gateway(store), Gateway(store)
    BAD["is dead"](dead)
    short.cuts = [50_000, *[0] * 40]
    with pytest.raises(IpfsGatewayCallError):
        fetch(Web(short), cid, tmp_path / "out")
    assert os.listdir(tmp_path) == []
    part = interrupted(store, tmp_path / "out", cid)
    with pytest.raises(IpfsGatewayCallError):
        fetch(Web(dead), cid, tmp_path / "out")
    assert part.stat().st_size >= 7 * 262_144


def test_ctrl_c_keeps_what_has_arrived(store: BlockStore, tmp_path: Path) -> None:
    cid = store.add(DATA, layout=V1)

    def press(done: int, total: int | None) -> None:
        if done > MIB:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch(Web(Gateway(store)), cid, tmp_path / "out", on_progress=press)
    gateway = Gateway(store)
    assert fetch(Web(gateway), cid, tmp_path / "out") == DATA
    assert gateway.sent < len(DATA) - MIB + 1000


KILLED = """
import sys
from pathlib import Path
from iexec_nb.errors import IpfsGatewayCallError
from iexec_nb.services.http import Http
from iexec_nb.services.ipfs import Ipfs
def told(done, total):
    if done > 2_000_000:
        print(done, flush=True)
        sys.stdin.read()
http = Http(sys.argv[1], service="IPFS gateway", error=IpfsGatewayCallError)
Ipfs(http).download(sys.argv[2], Path(sys.argv[3]), max_bytes=10**8, on_progress=told)
"""


def test_a_download_whose_program_was_killed_goes_on(store: BlockStore, tmp_path: Path) -> None:
    cid = store.add(DATA, layout=V1)
    server = Server(ipfs_app(store), host="127.0.0.1", port=0)
    try:
        process = subprocess.Popen(
            [sys.executable, "-c", KILLED, server.url, cid, str(tmp_path / "out")],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        with process:
            assert process.stdout is not None
            assert process.stdout.readline()
            process.send_signal(signal.SIGKILL)
    finally:
        server.stop()
    (part,) = parts(tmp_path)
    assert 1_500_000 < part.stat().st_size < len(DATA)
    gateway = Gateway(store)
    assert fetch(Web(gateway), cid, tmp_path / "out") == DATA
    assert gateway.sent < len(DATA) - 1_500_000
    assert os.listdir(tmp_path) == ["out"]


def test_two_downloads_of_the_same_to_the_same_place_are_both_right(store: BlockStore, tmp_path: Path) -> None:
    cid = store.add(DATA, layout=V1)
    inside, results = threading.Barrier(2, timeout=30), []

    def told(met: list[bool]) -> Callable[[int, int | None], None]:
        def tell(done: int, total: int | None) -> None:
            if not met:
                met.append(True)
                inside.wait()

        return tell

    def run() -> None:
        results.append(fetch(Web(Gateway(store)), cid, tmp_path / "out", on_progress=told([])))

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [DATA, DATA]
    assert os.listdir(tmp_path) == ["out"]


# --- the place --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["link", "hard link", "folder"])
def test_what_stands_where_the_part_would_be_is_not_written(store: BlockStore, tmp_path: Path, kind: str) -> None:
    cid = store.add(DATA, layout=V1)
    other = tmp_path / "other"
    place = interrupted(store, tmp_path / "out", cid)
    place.unlink()
    other.write_bytes(b"mine")
    if kind == "link":
        place.symlink_to(other)
    elif kind == "hard link":
        place.hardlink_to(other)
    else:
        place.mkdir()
    assert fetch(Web(Gateway(store)), cid, tmp_path / "out") == DATA
    assert other.read_bytes() == b"mine"


def test_a_full_disk_is_a_typed_error_and_keeps_what_has_arrived(
    store: BlockStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cid = store.add(DATA, layout=V1)
    write = ipfs_parts.Part.write

    def full(self: ipfs_parts.Part, offset: int, data: bytes) -> None:
        if offset > MIB:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(self, offset, data)

    monkeypatch.setattr(ipfs_parts.Part, "write", full)
    with pytest.raises(ValidationError, match="No space left") as caught:
        fetch(Web(Gateway(store)), cid, tmp_path / "out")
    assert "goes on" in str(caught.value.hint)
    monkeypatch.undo()
    gateway = Gateway(store)
    assert fetch(Web(gateway), cid, tmp_path / "out") == DATA
    assert gateway.sent < len(DATA) - MIB + 1000


@pytest.mark.parametrize("target", ["no/folder/file", "taken", "file/below", "..", "", "a\0b", 5, None, b"x"])
def test_a_place_that_cannot_be_written_is_refused_before_any_request(
    store: BlockStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "mine").touch()
    (tmp_path / "file").touch()
    gateway = Gateway(store)
    with pytest.raises(ValidationError) as caught:
        Web(gateway).ipfs().download(store.add(b"x"), target, max_bytes=9)
    assert caught.value.hint
    assert gateway.asked == []


def test_a_folder_that_must_not_be_written_is_a_typed_error(store: BlockStore, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(ValidationError, match="is a folder, and this is a file"):
        fetch(Web(Gateway(store)), store.add(DATA), tmp_path / "folder")
    assert listdirs(tmp_path) == ["folder"]


def listdirs(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def test_names_as_long_as_a_name_can_be_are_fine(store: BlockStore, tmp_path: Path) -> None:
    for name in ("n" * 255, "日" * 85):
        assert fetch(Web(Gateway(store)), store.add(DATA), tmp_path / name) == DATA


@pytest.mark.parametrize("limit", [-1, 1.5, "100", None, True])
def test_a_limit_is_a_whole_number(store: BlockStore, tmp_path: Path, limit: Any) -> None:
    gateway = Gateway(store)
    ipfs, cid = Web(gateway).ipfs(), store.add(b"x")
    for call in (
        lambda: ipfs.get(cid, max_bytes=limit),
        lambda: ipfs.download(cid, tmp_path / "out", max_bytes=limit),
        lambda: ipfs.download(cid, tmp_path / "out", max_bytes=1, max_files=limit),
    ):
        with pytest.raises(ValidationError, match="is not a valid max_"):
            call()
    assert gateway.asked == []
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("knows", KINDS)
def test_a_file_may_be_as_large_as_allowed_and_no_larger(store: BlockStore, tmp_path: Path, knows: str) -> None:
    gateway = Gateway(store, knows, otherwise=None if knows == "plain" else 400)
    cid = store.add(DATA, layout=V0)
    ipfs = Web(gateway).ipfs()
    assert ipfs.download(cid, tmp_path / "out", max_bytes=len(DATA)).stat().st_size == len(DATA)
    gateway.sent = 0
    with pytest.raises(IpfsGatewayCallError, match=f"larger than {len(DATA) - 1} bytes"):
        ipfs.download(cid, tmp_path / "more", max_bytes=len(DATA) - 1)
    assert gateway.sent < (len(DATA) + MIB if knows == "plain" else MIB)

"""IPFS against the packages of its authors: what they make is read here, and what is served here is read by them."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import pytest
from sdk import HERE, installed, node

from iexec_nb.errors import IpfsGatewayCallError
from iexec_nb.protocol.cid import Cid
from iexec_nb.protocol.file_layout import Layout
from iexec_nb.sandbox.blocks import BlockStore
from iexec_nb.sandbox.ipfs import ipfs_app
from iexec_nb.sandbox.mount import Server
from iexec_nb.services.http import Http
from iexec_nb.services.ipfs import Ipfs

pytestmark = pytest.mark.interop

NAMES = (
    "inside the CID", "an empty folder inside the CID", "sha2-512", "folder of other hashes",
    "version 0 named as version 1", "version 0", "version 1, as helia adds", "version 1, nodes as leaves",
    "leaves of the kind raw", "one raw block", "one node", "one leaf under a root", "empty, version 0",
    "empty, version 1", "many levels", "flat", "trickle", "trickle as kubo", "cut where the content says",
    "one block again and again", "data before links", "mode and time", "folder", "folder, version 0",
    "an empty folder", "large folder", "large folder, data before links", "large folder of 16 places",
    "large folder in a large folder",
)  # fmt: skip
# Cut as a program does by itself, so that the bytes alone can be checked.
KNOWN = {
    "inside the CID", "sha2-512", "version 0 named as version 1", "version 0", "version 1, as helia adds",
    "version 1, nodes as leaves", "one raw block", "one node", "empty, version 0", "empty, version 1",
}  # fmt: skip


def run(*words: str) -> str:
    folder = installed(HERE / "ipfs")
    # A module is resolved from where it lies, so the script lies beside the packages.
    shutil.copy(HERE / "ipfs" / "unixfs.mjs", folder)
    done = subprocess.run(
        [node(), "unixfs.mjs", *words], cwd=folder, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@cache
def made(folder: Path) -> dict[str, dict[str, Any]]:
    run("make", str(folder))
    return {case["name"]: case for case in json.loads((folder / "manifest.json").read_text())}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("made")


@pytest.fixture
def store() -> Iterator[BlockStore]:
    blocks = BlockStore()
    yield blocks
    blocks.close()


class Only(httpx.WSGITransport):
    """A gateway that knows some formats and refuses the others, or serves files only."""

    def __init__(self, store: BlockStore, *knows: str) -> None:
        super().__init__(app=ipfs_app(store))
        self.knows = knows

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        kind = request.url.params.get("format", "plain")
        if kind in self.knows:
            return super().handle_request(request)
        if self.knows != ("plain",):
            return httpx.Response(400)
        return super().handle_request(httpx.Request("GET", request.url.copy_with(query=None)))

    def ipfs(self) -> Ipfs:
        return Ipfs(Http("https://gateway.example", service="IPFS gateway", error=IpfsGatewayCallError, transport=self))


def listing(path: Path) -> Any:
    if path.is_file():
        return sha256(path.read_bytes())
    found = {one.relative_to(path).as_posix() + "/" * one.is_dir(): one for one in path.rglob("*")}
    return {name: None if one.is_dir() else sha256(one.read_bytes()) for name, one in found.items()}


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_the_cases_are_those_of_the_script(folder: Path) -> None:
    assert tuple(made(folder)) == NAMES


@pytest.mark.parametrize("knows", [("car", "raw"), ("raw",)], ids=["car", "raw"])
@pytest.mark.parametrize("name", NAMES)
def test_what_the_packages_make_is_read_in_blocks(
    folder: Path, store: BlockStore, tmp_path: Path, name: str, knows: tuple[str, ...]
) -> None:
    case = made(folder)[name]
    with (folder / case["car"]).open("rb") as car:
        store.import_car(car)
    got = Only(store, *knows).ipfs().download(case["root"], tmp_path / "out", max_bytes=10**8)
    assert listing(got) == (case["file"] or case["folder"])


@pytest.mark.parametrize("name", sorted(KNOWN))
def test_what_programs_cut_by_themselves_is_checked_without_blocks(
    folder: Path, store: BlockStore, tmp_path: Path, name: str
) -> None:
    case = made(folder)[name]
    with (folder / case["car"]).open("rb") as car:
        store.import_car(car)
    got = Only(store, "plain").ipfs().download(case["root"], tmp_path / "out", max_bytes=10**8)
    assert listing(got) == case["file"]


# The first ones share a store.
@pytest.mark.parametrize("name", NAMES[5:])
def test_a_car_of_the_packages_has_every_block_in_any_order(folder: Path, store: BlockStore, name: str) -> None:
    case = made(folder)[name]
    with (folder / case["car"]).open("rb") as car:
        count = store.import_car(car)
    walked = {bytes(cid)[-36:] for cid, _ in store.walk(Cid.parse(case["root"])) if cid.inline is None}
    assert len(walked) == count


@pytest.mark.parametrize("kind", ["raw", "car"])
def test_what_the_sandbox_serves_is_read_by_the_packages(store: BlockStore, kind: str) -> None:
    data = bytes(range(251)) * 200
    layouts = [Layout(0, False), Layout(1, True), Layout(1, True, 1000, 3), Layout(1, False, 5000, 4)]
    files = {f"{at}.bin": store.add(data, layout=layout) for at, layout in enumerate(layouts)}
    empty = store.add_folder({})
    root = store.add_folder({**files, "déjà vu": store.add_folder({"0.bin": files["0.bin"], "none": empty})})
    names = {name: sha256(data) for name in files}
    expected = {**names, "déjà vu/": None, "déjà vu/0.bin": sha256(data), "déjà vu/none/": None}
    server = Server(ipfs_app(store), host="127.0.0.1", port=0)
    try:
        assert json.loads(run("read", server.url, root, kind)) == expected
        for cid in files.values():
            assert json.loads(run("read", server.url, cid, kind)) == sha256(data)
    finally:
        server.stop()


def test_an_empty_folder_is_the_one_that_everybody_knows(store: BlockStore) -> None:
    assert store.add_folder({}) == "bafybeiczsscdsbs7ffqz55asqdf3smv6klcw3gofszvwlyarci47bgf354"

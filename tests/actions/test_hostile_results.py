"""Results by strangers: other bytes than the CID names, and archives that would harm; nothing is written then."""

from __future__ import annotations

import io
import os
import stat
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from stage import deploy_app, person, wallet

from iexec_nb.client import IExec
from iexec_nb.errors import IExecError, IpfsGatewayCallError, ResultNotFoundError, UnsafeArchiveError
from iexec_nb.protocol.result_encryption import encrypt_result, generate_result_keypair
from iexec_nb.protocol.results import ResultDescriptor
from iexec_nb.sandbox.network import Sandbox

KEYS = generate_result_keypair(bits=2048)


@pytest.fixture(scope="module")
def done(net: Sandbox) -> tuple[IExec, Any]:
    buyer = net.client(deposit="1 RLC")
    return buyer, buyer.app.run(deploy_app(net, net.client(), price=0), args="x", category=0).wait()


@pytest.fixture
def empty_tmp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A temporary folder of our own, to see that nothing stays in it."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield folder
    assert list(folder.rglob("*")) == []


def zipped(*entries: tuple[str | zipfile.ZipInfo, bytes]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries:
            archive.writestr(name, content)
    return packed.getvalue()


def link(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.create_system = 3
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return info


def twice() -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("a.txt", b"1")
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("a.txt", b"2")
    return packed.getvalue()


HOSTILE: dict[str, Callable[[], bytes]] = {
    "a way out": lambda: zipped(("ok.txt", b"x"), ("../evil.txt", b"x")),
    "a way out further in": lambda: zipped(("a/../../evil.txt", b"x")),
    "an absolute path": lambda: zipped(("/tmp/evil.txt", b"x")),
    "a drive letter": lambda: zipped(("C:/evil.txt", b"x")),
    "a backslash": lambda: zipped(("..\\evil.txt", b"x")),
    "a link": lambda: zipped((link("passwd"), b"/etc/passwd")),
    "a link as a folder": lambda: zipped((link("d"), b"/tmp"), ("d/evil.txt", b"x")),
    "one name twice": twice,
    "a bomb": lambda: zipped(("zeros", bytes(60_000_000))),
    "a file that is a folder too": lambda: zipped(("a", b"x"), ("a/b", b"x")),
    "a device": lambda: zipped(("ok.txt", b"x"), ("nul", b"x")),
    "half a zip": lambda: zipped(("a", os.urandom(999)))[:-40],
}


def at(client: IExec, task: Any, content: bytes) -> Any:
    return replace(task, results=ResultDescriptor("ipfs", client.storage.add(content)))


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_archive_is_refused_and_nothing_is_written(
    done: tuple[IExec, Any], empty_tmp: Path, name: str
) -> None:
    buyer, run = done
    task = buyer.task.show(run.taskids[0])
    with pytest.raises(IExecError) as caught:
        buyer.result.of_task(at(buyer, task, HOSTILE[name]()), run.deal)
    assert isinstance(caught.value, UnsafeArchiveError | ValueError)
    assert not Path("/tmp/evil.txt").exists()


NO_ZIPS: dict[str, Callable[[], bytes]] = {"no zip": lambda: os.urandom(300), "nothing": lambda: b""}


@pytest.mark.parametrize("name", [*HOSTILE, *NO_ZIPS])
def test_a_hostile_archive_inside_a_good_encryption_is_refused_too(
    done: tuple[IExec, Any], empty_tmp: Path, name: str
) -> None:
    buyer, run = done
    task = buyer.task.show(run.taskids[0])
    sealed = encrypt_result({**HOSTILE, **NO_ZIPS}[name](), KEYS.public_pem, bytes(32), bytes(16))
    with pytest.raises(IExecError):
        buyer.result.of_task(at(buyer, task, sealed), run.deal, key=KEYS.private_pem)


def test_other_files_than_the_workers_agreed_on_are_marked_and_warned_of(done: tuple[IExec, Any]) -> None:
    buyer, run = done
    task = buyer.task.show(run.taskids[0])
    files = zipped(("out.txt", b"not x"), ("computed.json", b'{"deterministic-output-path": "/iexec_out/out.txt"}'))
    with pytest.warns(UserWarning, match="not what the workers agreed on"):
        result = buyer.result.of_task(at(buyer, task, files), run.deal)
    assert result.verified is False
    assert "NOT what the workers agreed on" in repr(result)


BODIES: dict[str, Callable[[bytes], httpx.Response]] = {
    "other bytes": lambda good: httpx.Response(200, content=zipped(("out.txt", b"lie"))),
    "one bit more": lambda good: httpx.Response(200, content=good + b"\x00"),
    "one byte less": lambda good: httpx.Response(200, content=good[:-1]),
    "one byte changed": lambda good: httpx.Response(200, content=bytes([good[0] ^ 1]) + good[1:]),
    "nothing": lambda good: httpx.Response(200, content=b""),
    "a web page": lambda good: httpx.Response(200, html="<h1>please log in</h1>"),
    "forbidden": lambda good: httpx.Response(403, content=good),
    "another place": lambda good: httpx.Response(302, headers={"location": "http://ipfs.sandbox.test/ipfs/evil"}),
    "a partial answer": lambda good: httpx.Response(206, content=good),
}


@pytest.mark.parametrize("name", BODIES)
def test_a_gateway_that_sends_anything_else_is_refused_and_nothing_is_kept(
    net: Sandbox, done: tuple[IExec, Any], empty_tmp: Path, name: str
) -> None:
    buyer, run = done
    with person(net, buyer) as me:

        def change(request: httpx.Request, response: httpx.Response) -> httpx.Response:
            if not request.url.path.startswith("/ipfs/"):
                return response
            lie = BODIES[name](response.content)
            return httpx.Response(lie.status_code, headers=lie.headers, content=lie.content, request=request)

        me.web.change = change
        with pytest.raises(IpfsGatewayCallError) as caught:
            me.client.result.fetch(run.taskids[0])
        assert "ipfs.sandbox.test" in str(caught.value)


@pytest.mark.parametrize("code", [404, 410])
def test_a_result_that_no_gateway_has_is_not_found_yet(
    net: Sandbox, done: tuple[IExec, Any], empty_tmp: Path, code: int
) -> None:
    buyer, run = done
    with person(net, buyer) as me:
        me.web.change = lambda request, response: (
            httpx.Response(code, request=request) if request.url.path.startswith("/ipfs/") else response
        )
        with pytest.raises(ResultNotFoundError, match="not at /ipfs/") as caught:
            me.client.result.fetch(run.taskids[0])
        assert "not be uploaded yet" in str(caught.value.hint)


def test_a_big_file_in_several_blocks_is_checked_as_well(net: Sandbox) -> None:
    content = os.urandom(700_000)
    place = net.user.storage.add(content)
    assert net.user.ipfs.get(place, max_bytes=10**6) == content
    with person(net, net.user) as me:
        me.web.change = lambda request, response: httpx.Response(
            200, content=content[:300_000] + b"!" + content[300_001:], request=request
        )
        with pytest.raises(IpfsGatewayCallError, match="other bytes"):
            me.client.ipfs.get(place, max_bytes=10**6)
        with pytest.raises(IpfsGatewayCallError):
            net.user.ipfs.get(place, max_bytes=1000)


def test_a_node_that_reports_another_cid_is_refused(net: Sandbox, tmp_path: Path) -> None:
    with person(net, net.user) as me:

        def change(request: httpx.Request, response: httpx.Response) -> httpx.Response:
            if request.url.path.endswith("/add"):
                body = b'{"Name":"file","Hash":"QmW2WQi7j6c7UgJTarActp7tDNikE4B2qXtFCfLPdsgaTQ","Size":"9"}'
                return httpx.Response(200, content=body, request=request)
            return response

        me.web.change = change
        with pytest.raises(IpfsGatewayCallError, match="not the CID of the bytes sent"):
            me.client.storage.add(b"mine")


@pytest.mark.parametrize("source", ["/no/such/file", "", ".", 5, None, 1.5, ["a"]])
def test_what_is_no_file_is_not_uploaded(net: Sandbox, source: Any) -> None:
    with person(net, net.user) as me:
        from iexec_nb.errors import ValidationError

        with pytest.raises(ValidationError) as caught:
            me.client.storage.add(source)
        assert caught.value.hint
        assert not me.web.requests


@pytest.mark.parametrize("storage", ["none", "dropbox", "ethereum", "\x1b[31mevil"])
def test_a_result_that_lies_elsewhere_is_not_downloaded(done: tuple[IExec, Any], storage: str) -> None:
    buyer, run = done
    task = replace(buyer.task.show(run.taskids[0]), results=ResultDescriptor(storage, "/results/x"))
    with pytest.raises(ResultNotFoundError) as caught:
        buyer.result.of_task(task, run.deal)
    assert "\x1b" not in str(caught.value)


@pytest.mark.parametrize("location", ["", "/etc/passwd", "http://evil.test/x", "/ipfs/", "/ipfs/../../x", "/ipfs/Qm/x"])
def test_a_location_that_is_no_cid_is_refused_without_a_request(
    net: Sandbox, done: tuple[IExec, Any], location: str
) -> None:
    buyer, run = done
    task = replace(buyer.task.show(run.taskids[0]), results=ResultDescriptor("ipfs", location))
    with person(net, buyer) as me:
        with pytest.raises(IExecError):
            me.client.result.of_task(task, run.deal)
        assert me.web.to("ipfs") == []


def test_a_result_saved_over_a_folder_of_links_stays_inside(done: tuple[IExec, Any], tmp_path: Path) -> None:
    _, run = done
    outside, inside = tmp_path / "outside", tmp_path / "inside"
    outside.write_text("keep me")
    inside.mkdir()
    (inside / "out.txt").symlink_to(outside)
    with pytest.raises(IExecError):
        run.result().save(inside)
    assert outside.read_text() == "keep me"
    assert wallet(done[0])

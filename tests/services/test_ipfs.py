"""IPFS: the upload of the JavaScript SDK, and downloads of which nothing remains unless every byte is right."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from iexec_nb.errors import ConfigurationError, IpfsGatewayCallError, ValidationError
from iexec_nb.protocol.file_layout import content_cid
from iexec_nb.services.http import Http
from iexec_nb.services.ipfs import Ipfs

HELLO = b"hello world\n"
HELLO_CID = "QmT78zSuBmuS4z925WZfrqQ1qHaJ56DQaTfyMUF7F8ff5o"  # what `ipfs add` prints for HELLO
BIG = bytes(range(256)) * 3000  # three blocks
OTHER = "QmW2WQi7j6c7UgJTarActp7tDNikE4B2qXtFCfLPdsgaTQ"

Answer = httpx.Response | Exception | Callable[[httpx.Request], httpx.Response]


class Server:
    """A gateway that holds files by CID and a node that adds to it; both remember what they were asked."""

    def __init__(self, *files: bytes, answer: Answer | None = None) -> None:
        self.files = {content_cid(data, version): data for data in files for version in (0, 1)}
        self.answer = answer
        self.reported: object = None
        self.seen: list[str] = []
        self.uploads: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.seen.append(f"{request.method} {request.url.host}{request.url.raw_path.decode()}")
        if request.url.host == "upload.example":
            return self._add(request)
        if isinstance(self.answer, Exception):
            raise self.answer
        if self.answer is not None:
            return self.answer(request) if callable(self.answer) else self.answer
        data = self.files.get(request.url.path.removeprefix("/ipfs/"))
        return httpx.Response(404) if data is None else httpx.Response(200, content=data)

    def _add(self, request: httpx.Request) -> httpx.Response:
        request.read()
        self.uploads.append(request)
        if isinstance(self.reported, httpx.Response):
            return self.reported
        body = re.split(rb"\r\n\r\n|\r\n--", request.content, maxsplit=2)[1]
        cid = self.reported or content_cid(body)
        self.files.setdefault(str(cid), body)
        lines = f'{{"Name":"file","Bytes":5}}\n{{"Name":"file","Hash":"{cid}","Size":"20"}}\n'
        return httpx.Response(200, content=lines.encode(), headers={"content-type": "application/json"})

    def ipfs(self, *, upload: str | None = "https://upload.example") -> Ipfs:
        def http(base: str) -> Http:
            return Http(
                base, service="IPFS gateway", error=IpfsGatewayCallError,
                transport=httpx.MockTransport(self), sleep=lambda seconds: None,
            )  # fmt: skip

        return Ipfs(http("https://gateway.example"), http(upload) if upload else None)


# --- upload ---


def test_an_upload_is_the_request_of_the_javascript_sdk_then_a_look_at_the_gateway() -> None:
    server = Server()
    assert server.ipfs().add(HELLO) == HELLO_CID
    assert server.seen == [
        "POST upload.example/api/v0/add?stream-channels=true&progress=false",
        f"HEAD gateway.example/ipfs/{HELLO_CID}",
    ]
    request = server.uploads[0]
    boundary = re.fullmatch(r"multipart/form-data; boundary=(\S+)", request.headers["content-type"])
    assert boundary is not None
    assert request.content == (
        b"--%(b)s\r\n"
        b'Content-Disposition: form-data; name="file"; filename="file"\r\n'
        b"Content-Type: application/octet-stream\r\n\r\n" + HELLO + b"\r\n--%(b)s--\r\n"
    ) % {b"b": boundary[1].encode()}


def test_a_file_is_sent_from_disk_without_telling_its_name(tmp_path: Path) -> None:
    path = tmp_path / "private-name.bin"
    path.write_bytes(BIG)
    server = Server()
    assert server.ipfs().add(path) == content_cid(BIG)
    assert BIG in server.uploads[0].content
    assert b"private-name" not in server.uploads[0].content
    assert int(server.uploads[0].headers["content-length"]) == len(server.uploads[0].content)


def test_a_name_is_sent_when_it_is_given() -> None:
    server = Server()
    server.ipfs().add(HELLO, name="hello.txt")
    assert b'filename="hello.txt"' in server.uploads[0].content


def test_a_node_whose_address_has_a_path_is_used_at_that_path() -> None:
    server = Server()
    server.ipfs(upload="https://upload.example/kubo/api/v0/").add(HELLO)
    assert server.seen[0] == "POST upload.example/kubo/api/v0/add?stream-channels=true&progress=false"


def test_a_node_that_makes_version_1_cids_is_believed_when_they_are_right() -> None:
    server = Server()
    server.reported = content_cid(BIG, 1)
    assert server.ipfs().add(BIG) == content_cid(BIG, 1)


@pytest.mark.parametrize("reported", [OTHER, "not-a-cid", content_cid(b"other", 1)])
def test_a_cid_that_is_not_that_of_the_bytes_is_refused(reported: str) -> None:
    server = Server()
    server.reported = reported
    with pytest.raises(IpfsGatewayCallError, match="not the CID of the bytes sent"):
        server.ipfs().add(HELLO)
    assert not [line for line in server.seen if line.startswith("HEAD")]


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(200, text=""),
        httpx.Response(200, text="[]"),
        httpx.Response(200, text='{"Hash": 1}'),
        httpx.Response(200, text="{" * 5),
    ],
)
def test_an_answer_without_cid_is_an_error(answer: httpx.Response) -> None:
    server = Server()
    server.reported = answer
    with pytest.raises(IpfsGatewayCallError, match="did not report a CID"):
        server.ipfs().add(HELLO)


@pytest.mark.parametrize("status", [400, 403, 413, 500])
def test_a_refused_upload_is_an_error_and_is_not_repeated(status: int) -> None:
    server = Server()
    server.reported = httpx.Response(status)
    with pytest.raises(IpfsGatewayCallError) as caught:
        server.ipfs().add(HELLO)
    assert (caught.value.status, len(server.uploads)) == (status, 1)


@pytest.mark.parametrize("answer", [httpx.Response(404), httpx.Response(504), httpx.ConnectError("refused")])
def test_an_upload_that_the_gateway_does_not_serve_is_an_error_that_names_the_cid(answer: Answer) -> None:
    with pytest.raises(IpfsGatewayCallError) as caught:
        Server(answer=answer).ipfs().add(HELLO)
    assert caught.value.context["uploaded"] == HELLO_CID
    assert "on the node" in (caught.value.hint or "")


def test_without_a_node_nothing_is_uploaded() -> None:
    server = Server()
    with pytest.raises(ConfigurationError, match="no IPFS node"):
        server.ipfs(upload=None).add(HELLO)
    assert server.seen == []


@pytest.mark.parametrize("data", ["text", None, Path("/nonexistent/file")])
def test_what_is_neither_bytes_nor_a_file_is_refused_before_any_request(data: object, tmp_path: Path) -> None:
    server = Server()
    for value in (data, tmp_path):
        with pytest.raises(ValidationError, match="is not a file"):
            server.ipfs().add(value)  # type: ignore[arg-type]
    assert server.seen == []


# --- download ---


@pytest.mark.parametrize("data", [b"", HELLO, BIG])
@pytest.mark.parametrize("version", [0, 1])
@pytest.mark.parametrize("form", ["{}", "/ipfs/{}", "/p2p/{}"])
def test_a_file_comes_back_in_memory_and_on_disk(data: bytes, version: int, form: str, tmp_path: Path) -> None:
    location = form.format(content_cid(data, version))
    ipfs = Server(data).ipfs()
    assert ipfs.get(location, max_bytes=2**20) == data
    assert ipfs.download(location, tmp_path / "out", max_bytes=2**20).read_bytes() == data
    assert os.listdir(tmp_path) == ["out"]
    assert (tmp_path / "out").stat().st_mode & 0o777 == 0o600


def test_the_location_of_a_result_is_asked_for_at_the_gateway() -> None:
    server = Server(HELLO)
    server.ipfs().get(f"/ipfs/{HELLO_CID}", max_bytes=100)
    assert server.seen == [
        f"GET gateway.example/ipfs/{HELLO_CID}?car-dups=y&car-order=dfs&car-version=1&dag-scope=all&format=car"
    ]


def breaking(request: httpx.Request) -> httpx.Response:
    def body() -> Iterator[bytes]:
        yield HELLO[:5]
        raise httpx.ReadError("reset")

    return httpx.Response(200, content=body())


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (httpx.Response(200, content=b"hello World\n"), "sent other bytes than Qm.* names"),
        (httpx.Response(200, content=HELLO + b"\0"), "sent other bytes than Qm.* names"),
        (httpx.Response(200, content=HELLO[:-1]), "sent other bytes than Qm.* names"),
        (httpx.Response(200, content=b""), "sent other bytes than Qm.* names"),
        (lambda request: httpx.Response(200, content=iter([b"x" * 60, b"x" * 60])), "larger than 100 bytes"),
        (httpx.Response(200, content=b"x" * 101), "larger than 100 bytes"),
        (httpx.Response(404), "API error: 404 Not Found"),
        (httpx.Response(206, content=HELLO), "API error: 206 Partial Content"),
        (httpx.Response(504), "encountered an internal error"),
        (httpx.ConnectError("refused"), "failed with a network error"),
        (breaking, "broke after 5 bytes"),
    ],
)
def test_a_download_that_fails_leaves_nothing_and_keeps_what_was_there(
    answer: Answer, message: str, tmp_path: Path
) -> None:
    old = tmp_path / "old"
    old.write_bytes(b"before")
    ipfs = Server(answer=answer).ipfs()
    for target in (tmp_path / "new", old):
        with pytest.raises(IpfsGatewayCallError, match=message):
            ipfs.download(HELLO_CID, target, max_bytes=100)
    with pytest.raises(IpfsGatewayCallError, match=message):
        ipfs.get(HELLO_CID, max_bytes=100)
    assert os.listdir(tmp_path) == ["old"]
    assert old.read_bytes() == b"before"


def test_an_interrupted_download_leaves_nothing(tmp_path: Path) -> None:
    def interrupted(request: httpx.Request) -> httpx.Response:
        def body() -> Iterator[bytes]:
            yield HELLO[:5]
            raise KeyboardInterrupt

        return httpx.Response(200, content=body())

    with pytest.raises(KeyboardInterrupt):
        Server(answer=interrupted).ipfs().download(HELLO_CID, tmp_path / "new", max_bytes=100)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    "location",
    [
        "",
        "/ipfs/",
        "/ipfs/../admin",
        f"/ipfs/{HELLO_CID}/../file",
        f"/ipfs/{HELLO_CID}?x",
        "https://host/x",
        "Qm" + "0" * 44,
    ],
)
def test_a_location_that_cannot_be_checked_is_refused_before_any_request(location: str, tmp_path: Path) -> None:
    server = Server(HELLO)
    for call in (
        lambda: server.ipfs().get(location, max_bytes=100),
        lambda: server.ipfs().download(location, tmp_path / "new", max_bytes=100),
        lambda: server.ipfs().check(location),
    ):
        with pytest.raises(ValidationError):
            call()
    assert server.seen == []
    assert os.listdir(tmp_path) == []


def test_a_folder_that_does_not_exist_is_refused_before_any_request(tmp_path: Path) -> None:
    server = Server(HELLO)
    with pytest.raises(ValidationError, match="does not exist"):
        server.ipfs().download(HELLO_CID, tmp_path / "no" / "file", max_bytes=100)
    assert server.seen == []


# --- check ---


def test_a_file_is_there_or_not() -> None:
    server = Server(HELLO)
    assert server.ipfs().check(f"/ipfs/{HELLO_CID}") is True
    assert server.ipfs().check(OTHER) is False
    assert server.seen == [f"HEAD gateway.example/ipfs/{HELLO_CID}", f"HEAD gateway.example/ipfs/{OTHER}"]


@pytest.mark.parametrize("answer", [httpx.Response(403), httpx.Response(503), httpx.ReadTimeout("")])
def test_a_gateway_that_does_not_know_is_an_error(answer: Answer) -> None:
    with pytest.raises(IpfsGatewayCallError):
        Server(answer=answer).ipfs().check(HELLO_CID)

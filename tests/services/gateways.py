"""Gateways for the tests of downloads: honest ones that know this or that, and all the others."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx

from iexec_nb.errors import IpfsGatewayCallError
from iexec_nb.protocol.car import car_header, car_section
from iexec_nb.protocol.cid import RAW, Cid
from iexec_nb.protocol.file_layout import Layout
from iexec_nb.sandbox.blocks import BlockStore
from iexec_nb.sandbox.ipfs import ipfs_app
from iexec_nb.services.http import Http
from iexec_nb.services.ipfs import Ipfs

MIB = 2**20
V0, V1 = Layout(0, raw_leaves=False), Layout(1, raw_leaves=True)
KINDS = ("car", "raw", "plain")


def content(size: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(size)


class Gateway:
    """A gateway whose every answer can be changed.

    knows: which formats; what it does not know it answers as `otherwise`, or with the file.
    cuts: after how many bytes each of the next answers breaks; None for a whole one.
    """

    def __init__(self, store: BlockStore, *knows: str, otherwise: int | None = None) -> None:
        self._app = httpx.WSGITransport(app=ipfs_app(store))
        self._store = store
        self.knows = knows or KINDS
        self.otherwise = otherwise
        self.cuts: list[int | None] = []
        self.change: Callable[[str, bytes], bytes] | None = None
        self.instead: Callable[[httpx.Request], httpx.Response] | None = None
        self.asked: list[tuple[str, str]] = []
        self.sent = 0

    def __call__(self, request: httpx.Request) -> httpx.Response:
        kind = request.url.params.get("format", "plain")
        self.asked.append((kind, request.url.path.removeprefix("/ipfs/")))
        if self.instead is not None:
            return self.instead(request)
        if kind not in self.knows:
            if self.otherwise is not None:
                return httpx.Response(self.otherwise)
            part = {name: value for name, value in request.headers.items() if name == "range"}
            request = httpx.Request(request.method, request.url.copy_with(query=None), headers=part)
            kind = "plain"
        response = self._app.handle_request(request)
        body: Iterator[bytes] = iter(response.stream)  # type: ignore[arg-type]
        if self.change is not None:
            body = iter([self.change(kind, b"".join(body))])
        cut = self.cuts.pop(0) if self.cuts else None
        headers = [(name, value) for name, value in response.headers.items() if name != "content-length"]
        return httpx.Response(response.status_code, headers=headers, stream=_Cut(self, response, body, cut))

    def count(self, kind: str) -> int:
        return sum(asked == kind for asked, _ in self.asked)


class _Cut(httpx.SyncByteStream):
    """A body that breaks off, counts itself, and closes the answer that it stands for."""

    def __init__(self, gateway: Gateway, response: httpx.Response, body: Iterator[bytes], cut: int | None) -> None:
        self._gateway, self._response, self._body, self._cut = gateway, response, body, cut

    def __iter__(self) -> Iterator[bytes]:
        sent = 0
        for chunk in self._body:
            piece = chunk if self._cut is None else chunk[: self._cut - sent]
            sent += len(piece)
            self._gateway.sent += len(piece)
            yield piece
            if self._cut is not None and sent >= self._cut:
                raise httpx.ReadError("reset")

    def close(self) -> None:
        self._response.close()


class Web(httpx.BaseTransport):
    """Gateways by their hosts a.example, b.example, ..."""

    def __init__(self, *gateways: Gateway) -> None:
        self.gateways = dict(zip("abcdefgh", gateways, strict=False))
        self.pauses: list[float] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        response = self.gateways[request.url.host[0]](request)
        response.request = request
        return response

    def ipfs(self) -> Ipfs:
        return Ipfs(
            [
                Http(
                    f"https://{name}.example", service="IPFS gateway", error=IpfsGatewayCallError, transport=self,
                    sleep=self.pauses.append,
                )
                for name in self.gateways
            ]
        )  # fmt: skip


def car(store: BlockStore, cid: str, order: Callable[[list[tuple[Cid, bytes]]], list[tuple[Cid, bytes]]]) -> bytes:
    """Return a CAR whose blocks are put in another order, left out, or more."""
    root = Cid.parse(cid)
    blocks = order(list(store.walk(root)))
    return car_header([root]) + b"".join(car_section(*pair) for pair in blocks)


def as_car(body: bytes) -> Callable[[httpx.Request], httpx.Response]:
    """Return what answers a request for a CAR with this one; everything else is not there."""

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.params.get("format") != "car":
            return httpx.Response(404)
        return httpx.Response(200, content=body, headers={"content-type": "application/vnd.ipld.car; version=1"})

    return answer


def flipped(body: bytes) -> bytes:
    """Return bytes of which one in the middle is another."""
    at = len(body) // 2
    return body[:at] + bytes([body[at] ^ 1]) + body[at + 1 :] if body else b"x"


def listing(folder: Path) -> dict[str, bytes | None]:
    """Return what is in a folder: bytes of files, None for folders."""
    return {
        path.relative_to(folder).as_posix(): None if path.is_dir() else path.read_bytes() for path in folder.rglob("*")
    }


def unordered(pairs: list[tuple[Cid, bytes]]) -> list[tuple[Cid, bytes]]:
    return sorted(pairs, key=lambda pair: pair[0].digest)


def once_each(pairs: list[tuple[Cid, bytes]]) -> list[tuple[Cid, bytes]]:
    return list(dict(pairs).items())


def with_junk(pairs: list[tuple[Cid, bytes]]) -> list[tuple[Cid, bytes]]:
    junk = [(Cid.of(data, RAW), data) for data in (content(200_000, seed) for seed in range(50, 60))]
    return [*junk[:5], pairs[0], *junk[5:], *pairs[1:]]

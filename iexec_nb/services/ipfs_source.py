"""Blocks from one gateway, by whatever the gateway knows: a CAR for many, ``?format=raw`` for one.

A CAR is one request for a whole graph, so it is asked for first and wherever much is missing. Blocks that are not where
they are expected in it, because it leaves repetitions out or is in another order, are fetched one by one, a few at a
time. A gateway that knows neither format answers with the file itself, which is used as it comes.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from iexec_nb.errors import IpfsGatewayCallError, ValidationError
from iexec_nb.protocol.car import CAR_TYPE, CarReader
from iexec_nb.protocol.cid import RAW, Cid
from iexec_nb.protocol.unixfs import MAX_BLOCK_BYTES
from iexec_nb.services.http import Http, status_text
from iexec_nb.services.http_stream import Stream

RAW_TYPE = "application/vnd.ipld.raw"
AT_ONCE = 6
"""Blocks that are fetched at the same time where they come one by one."""

_CAR = {"format": "car", "dag-scope": "all", "car-version": "1", "car-order": "dfs", "car-dups": "y"}
_CACHE_BYTES = 8 * 2**20
_AHEAD_BYTES = 4 * 2**20
_FREE_BYTES = 64 * 2**20
_MOST_MISSES = 256
_FINAL = (404, 410, 429)
"""Not there, not there any more, and too many requests: to ask for another format would not help."""
_NO_LIMIT = 2**62

_Key = tuple[int, bytes]


class GatewayError(Exception):
    """A gateway failed; the download may go on with another one.

    Parameters
    ----------
    error
        What a person is told.
    lied
        Whether it sent something else than was asked for, or more: then it is not asked again.
    """

    def __init__(self, error: IpfsGatewayCallError, *, lied: bool = False) -> None:
        super().__init__(error.message)
        self.error = error
        self.lied = lied


class Gateway:
    """A gateway, and what is known about it during one download.

    Parameters
    ----------
    http
        The gateway.
    """

    def __init__(self, http: Http) -> None:
        self.http = http
        self.knows_car = True
        self.error: IpfsGatewayCallError | None = None
        self.lied = False

    def failure(
        self, message: str, status: int | None = None, *, lied: bool = False, hint: str | None = None
    ) -> GatewayError:
        """Return that the gateway failed."""
        try:
            self.http.fail(message, status, hint=hint)
        except IpfsGatewayCallError as error:
            return GatewayError(error, lied=lied)

    def refusal(self, status: int) -> GatewayError:
        """Return that the gateway answered with a status that brings nothing."""
        text = f"Failed to download from {self.http.origin}: API error: {status_text(status)}"
        return self.failure(text, status)

    def lie(self, cid: Cid) -> GatewayError:
        """Return that the gateway sent something else than was asked for."""
        return self.failure(
            f"{self.http.origin} sent other bytes than {cid} names; nothing of it was kept",
            lied=True,
            hint="try another gateway; content that was added with unusual settings can only be checked where the "
            "gateway serves blocks (?format=raw)",
        )

    def excess(self, max_bytes: int) -> GatewayError:
        """Return that the gateway sends more than what is taken, which it would do again."""
        text = f"{self.http.service} error: The answer of {self.http.origin} is larger than {max_bytes} bytes"
        return self.failure(text, lied=True, hint="if that is what you want, raise max_bytes")

    def open(self, cid: Cid, kind: str = "", *, start: int = 0) -> Stream:
        """Return the answer to a request for a CID: as a CAR, as a raw block, or as the gateway serves it."""
        headers = {"car": {"accept": f"{CAR_TYPE}; version=1; order=dfs; dups=y"}, "raw": {"accept": RAW_TYPE}}
        params = _CAR if kind == "car" else {"format": "raw"} if kind == "raw" else None
        wanted = dict(headers.get(kind, {}))
        if start:
            wanted["range"] = f"bytes={start}-"
        try:
            return self.http.open(f"/ipfs/{cid}", params, headers=wanted)
        except IpfsGatewayCallError as error:
            raise GatewayError(error) from error.__cause__

    def chunks(self, stream: Stream, max_bytes: int = _NO_LIMIT) -> Iterator[bytes]:
        """Yield the bytes of an answer as they come."""
        try:
            yield from stream.chunks(max_bytes)
        except IpfsGatewayCallError as error:
            raise GatewayError(error) from error.__cause__

    def block(self, cid: Cid) -> bytes | None:
        """Return the block that a CID names, or None where the gateway sends something that is not a block."""
        with self.open(cid, "raw") as stream:
            if stream.status != 200:
                raise self.refusal(stream.status)
            is_raw = stream.content_type == RAW_TYPE
            # Of raw bytes the block is the file, so that both answers are the same.
            if not is_raw and cid.codec != RAW:
                return None
            block = b"".join(self.chunks(stream, MAX_BLOCK_BYTES))
        if cid.names(block):
            return block
        if is_raw:
            raise self.lie(cid)
        return None


class Source:
    """The blocks of one content from one gateway, each checked against its CID; has to be closed.

    Parameters
    ----------
    gateway
        Where they come from.
    max_bytes
        What the content may hold; a CAR that is more than twice that has no end.
    """

    def __init__(self, gateway: Gateway, max_bytes: int) -> None:
        self.gateway = gateway
        self._most_bytes = 2 * max_bytes + _FREE_BYTES
        self._stream: Stream | None = None
        self._blocks: Iterator[tuple[Cid, bytes]] = iter(())
        # Blocks of the CAR that came before they were wanted, and blocks that may be wanted again.
        self._ahead: dict[_Key, bytes] = {}
        self._ahead_bytes = 0
        self._again_bytes = 0
        self._seen: OrderedDict[_Key, bytes] = OrderedDict()
        self._seen_bytes = 0
        self._misses = 0
        self._pool: ThreadPoolExecutor | None = None
        self._coming: dict[_Key, Future[bytes | None]] = {}

    def close(self) -> None:
        """End what is under way."""
        self._end_car()
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)

    def begin(self, cid: Cid, *, bulk: bool) -> Stream | None:
        """Find out how the gateway serves a root; return None where it serves blocks, else its answer with the file.

        Parameters
        ----------
        cid
            The root.
        bulk
            Whether all of it is needed.
        """
        if bulk and (stream := self._open_car(cid)) is not None:
            return stream
        if self._stream is not None:
            return None
        block = None
        try:
            block = self.gateway.block(cid)
        except GatewayError as failure:
            # What it refuses as a block it may serve as a file.
            if not _is_refusal(failure.error.status):
                raise
        if block is None:
            return self.whole(cid)
        self._remember(_key(cid), block)
        return None

    def whole(self, cid: Cid, *, start: int = 0) -> Stream:
        """Return the answer with the file itself, from a byte of it on where the gateway can."""
        status = 0
        # A block of raw bytes is the file; gateways that serve nothing but blocks want to be asked for one.
        for kind in ("raw", "") if cid.codec == RAW else ("",):
            for first in sorted({start, 0}, reverse=True):
                stream = self.gateway.open(cid, kind, start=first)
                if stream.status == 200 or (first and stream.status == 206 and stream.first == first):
                    return stream
                stream.close()
                status = stream.status
                if not _is_refusal(status):
                    raise self.gateway.refusal(status)
        raise self.gateway.refusal(status)

    def get(self, cid: Cid, *, bulk: bool = False, upcoming: Sequence[Cid] = ()) -> bytes:
        """Return a block.

        Parameters
        ----------
        cid
            Its name.
        bulk
            Whether much below it is needed as well.
        upcoming
            What is wanted next.

        Raises
        ------
        GatewayError
            When the gateway does not send it.
        """
        if cid.inline is not None:
            return cid.inline
        key = _key(cid)
        if key in self._seen:
            self._seen.move_to_end(key)
            return self._seen[key]
        if bulk and self._stream is None and self.gateway.knows_car and (stream := self._open_car(cid)) is not None:
            stream.close()
        block = self._from_car(key)
        if block is None:
            block = self._one(cid, upcoming if self._stream is None else ())
        self._remember(key, block)
        return block

    def _remember(self, key: _Key, block: bytes) -> None:
        self._seen[key] = block
        self._seen_bytes += _weight(block)
        while self._seen_bytes > _CACHE_BYTES and len(self._seen) > 1:
            self._seen_bytes -= _weight(self._seen.popitem(last=False)[1])

    # --- a CAR ---

    def _open_car(self, cid: Cid) -> Stream | None:
        """Ask for a CAR; return the answer where it is something else, though the gateway took the request."""
        try:
            stream = self.gateway.open(cid, "car")
        except GatewayError as failure:
            if not _is_refusal(failure.error.status):
                raise
            self.gateway.knows_car = False
            return None
        if stream.status == 200 and stream.content_type == CAR_TYPE:
            self._stream, self._blocks = stream, self._sections(stream)
            return None
        self.gateway.knows_car = False
        if stream.status == 200:
            return stream
        stream.close()
        if not _is_refusal(stream.status):
            raise self.gateway.refusal(stream.status)
        return None

    def _sections(self, stream: Stream) -> Iterator[tuple[Cid, bytes]]:
        reader = CarReader()
        for chunk in self.gateway.chunks(stream):
            if stream.received > self._most_bytes:
                raise self.gateway.excess(self._most_bytes)
            yield from reader.feed(chunk)
        reader.end()

    def _from_car(self, key: _Key) -> bytes | None:
        """Return a block from the CAR, which is read on as far as need be; None where it is not near."""
        if (block := self._ahead.pop(key, None)) is not None:
            self._ahead_bytes -= _weight(block)
            return block
        while self._stream is not None and self._ahead_bytes + self._again_bytes < _AHEAD_BYTES:
            try:
                found = next(self._blocks, None)
            except ValidationError:
                self.gateway.knows_car = False
                found = None
            if found is None:
                self._end_car()
                return None
            cid, block = found
            if not cid.names(block):
                raise self.gateway.lie(cid)
            if _key(cid) == key:
                self._misses = 0
                return block
            if _key(cid) not in self._ahead:
                self._ahead[_key(cid)] = block
                self._ahead_bytes += _weight(block)
            elif _key(cid) not in self._seen:
                # What nobody wants, sent again and again, is a CAR that leads nowhere.
                self._again_bytes += _weight(block)
        self._misses += 1
        if self._stream is not None and self._misses > _MOST_MISSES:
            self.gateway.knows_car = False
            self._end_car()
            self._ahead.clear()
            self._ahead_bytes = self._again_bytes = 0
        return None

    def _end_car(self) -> None:
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    # --- one by one ---

    def _one(self, cid: Cid, upcoming: Sequence[Cid]) -> bytes:
        key = _key(cid)
        if upcoming or key in self._coming:
            self._ask_for((cid, *upcoming))
            block = self._coming.pop(key).result()
        else:
            block = self.gateway.block(cid)
        if block is None:
            raise self.gateway.failure(
                f"{self.gateway.http.origin} does not serve blocks of IPFS, which are needed to check it"
            )
        return block

    def _ask_for(self, cids: Sequence[Cid]) -> None:
        self._pool = self._pool or ThreadPoolExecutor(AT_ONCE, thread_name_prefix="iexec-ipfs")
        wanted = {_key(cid): cid for cid in cids[:AT_ONCE] if cid.inline is None}
        for key in self._coming.keys() - wanted.keys():
            self._coming.pop(key).cancel()
        for key, cid in wanted.items():
            if key not in self._coming and key not in self._seen and key not in self._ahead:
                self._coming[key] = self._pool.submit(self.gateway.block, cid)


def _is_refusal(status: int | None) -> bool:
    """Tell whether a status may be about the format that was asked for and not about the content."""
    return status is not None and (400 <= status < 500 or status == 501) and status not in _FINAL


def _key(cid: Cid) -> _Key:
    return cid.hash_code, cid.digest


def _weight(block: bytes) -> int:
    """Return the memory that a block takes: of small ones the most is not their content."""
    return len(block) + 300

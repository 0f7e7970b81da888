"""An answer that is read as it comes: with a limit, and given up when it stalls or drips.

A server that sends a byte now and then keeps every timeout between bytes from running out. So time spent waiting is
counted against what came in it, and a server slower than a modem of the nineties is a server that has stopped.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from types import TracebackType
from typing import TYPE_CHECKING, NoReturn, Self

import httpx

if TYPE_CHECKING:
    from iexec_nb.services.http import Http

MIN_BYTES_PER_S = 1024


class Stream:
    """One open answer; a context manager that closes it.

    Parameters
    ----------
    http
        The service that answers; its error is what is raised.
    response
        The answer, whose headers are there.

    Attributes
    ----------
    status
        HTTP status, below 500.
    received
        Bytes read so far.
    """

    def __init__(self, http: Http, response: httpx.Response) -> None:
        self._http = http
        self._response = response
        self.status = response.status_code
        self.headers: Mapping[str, str] = response.headers
        self.received = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """End the answer, whether it was read or not; a second call does nothing."""
        self._response.close()

    @property
    def content_type(self) -> str:
        """Type of the content in lower case, without parameters."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    @property
    def length(self) -> int | None:
        """Bytes that the server announces, if it does."""
        text = self.headers.get("content-length", "")
        return int(text) if text.isdecimal() and len(text) < 19 else None

    @property
    def first(self) -> int:
        """Where in the whole content the answer begins: not 0 for the answer to a request for a part."""
        match = re.match(r"bytes (\d{1,18})-", self.headers.get("content-range", ""))
        return int(match[1]) if match and self.status == HTTPStatus.PARTIAL_CONTENT else 0

    def chunks(self, max_bytes: int) -> Iterator[bytes]:
        """Yield the bytes as they come.

        Parameters
        ----------
        max_bytes
            More is refused, by the announced length where there is one.

        Raises
        ------
        ApiCallError
            Of the service's class: the connection broke, the server stalls, or it sends too much.
        """
        if (self.length or 0) > max_bytes:
            self._http.too_large(max_bytes, self.status)
        pieces = self._response.iter_bytes()
        waited_s, came = 0.0, 0
        while True:
            began = self._http.clock()
            try:
                piece = next(pieces, None)
            except (httpx.HTTPError, httpx.StreamError) as error:
                self._broken(error)
            if piece is None:
                return
            waited_s += self._http.clock() - began
            came += len(piece)
            self.received += len(piece)
            if self.received > max_bytes:
                self._http.too_large(max_bytes, self.status)
            yield piece
            if waited_s > self._http.timeout_s:
                if came < MIN_BYTES_PER_S * waited_s:
                    text = f"{self._http.origin} sent {came} bytes in {waited_s:.0f} s, which is as good as nothing"
                    self._http.fail(f"{self._http.service} error: {text}", self.status)
                waited_s, came = 0.0, 0

    def _broken(self, error: Exception) -> NoReturn:
        late = isinstance(error, httpx.TimeoutException)
        reason = f"no more bytes within {self._http.timeout_s:g} s" if late else type(error).__name__
        text = f"{self._http.service} error: Connection to {self._http.origin} broke after {self.received} bytes"
        self._http.fail(text, self.status, cause=error, reason=reason)

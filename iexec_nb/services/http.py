"""The one way out over HTTP, so that its rules are kept by every service.

A read ends within its timeout, retries included, and nothing but a read is repeated. An answer has a size limit.
Redirects are followed for reads without credentials, and never from https to http. Certificates are checked. What a
server says is cleaned before it is shown, and no message or log line holds more of an address than scheme and host,
because paths and queries carry keys.
"""

from __future__ import annotations

import itertools
import json as _json
import logging
import random
import re
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextvars import ContextVar
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, BinaryIO, NoReturn, TypeVar
from urllib.parse import quote
from urllib.request import getproxies

import httpx

from iexec_nb.errors import ApiCallError, ConfigurationError
from iexec_nb.protocol import foreign
from iexec_nb.protocol.typed_data import Domain, challenge_digest, challenge_typed_data
from iexec_nb.protocol.types import Secret, shown
from iexec_nb.services.http_stream import Stream
from iexec_nb.services.lazy import lazy

if TYPE_CHECKING:
    from iexec_nb.services.wallet import Signer

T = TypeVar("T")
_Value = str | int | bool | None
Params = Mapping[str, _Value] | Sequence[tuple[str, _Value]]

MAX_BYTES = 64 * 2**20
"""The most that an answer may hold when it is read into memory."""
_MAX_REDIRECTS = 5
_READS = frozenset({"GET", "HEAD"})
_READING = "iexec_nb.is_read"
_JSON = {"accept": "application/json"}
_OURS: ContextVar[bool] = ContextVar("iexec_nb_request", default=False)


def origin(url: str | httpx.URL) -> str:
    """Return scheme, host and port of an address: the part of it that may be shown."""
    try:
        parsed = httpx.URL(url)
        host = parsed.host
    except (httpx.InvalidURL, TypeError, UnicodeError):
        return "(not an address)"
    if not host:
        return "(no host)"
    host = f"[{host}]" if ":" in host else host
    port = "" if parsed.port is None else f":{parsed.port}"
    return f"{parsed.scheme}://{host}{port}"


def backoff(attempt: int) -> float:
    """Return how many seconds to wait before repeating a read for the time `attempt` (0, 1, ...), with jitter."""
    return min(0.2 * 2.0**attempt, 5.0) * random.uniform(0.5, 1.0)  # noqa: S311 (spreads load; no secret)


class _HostOnly(logging.Filter):
    """Cuts httpx's log lines about our own requests: node URLs carry access keys, and the phrase is the server's."""

    def filter(self, record: logging.LogRecord) -> bool:
        if _OURS.get() and isinstance(record.args, tuple):
            cut = [origin(arg) if isinstance(arg, httpx.URL) else arg for arg in record.args]
            record.args = (*cut[:4], *("" for _ in cut[4:]))
        return True


_HOST_ONLY = _HostOnly()


class _Request(httpx.Request):
    """A request whose repr, which tracebacks with local variables show, is cut like everything else."""

    def __repr__(self) -> str:
        return f"<Request({self.method!r}, {origin(self.url)!r})>"


class _Client(httpx.Client):
    def build_request(self, *args: Any, **options: Any) -> httpx.Request:
        request = super().build_request(*args, **options)
        request.__class__ = _Request
        return request

    def send(self, request: httpx.Request, **options: Any) -> httpx.Response:
        token = _OURS.set(True)
        try:
            return super().send(request, **options)
        finally:
            _OURS.reset(token)


def new_client(
    base_url: str = "", *, transport: httpx.BaseTransport | None = None, timeout_s: float = 10.0
) -> httpx.Client:
    """Return an httpx client with this package's rules: checked certificates, no redirects, addresses cut in logs.

    Parameters
    ----------
    base_url
        An http or https address whose path is kept (relative paths are appended to it), or nothing.
    transport
        What carries the requests instead of the network.
    timeout_s
        Seconds for each of connecting, sending and waiting for bytes.

    Raises
    ------
    ConfigurationError
        When `base_url` is not an http or https address.
    """
    url = _checked(base_url) if base_url else httpx.URL("")
    # addFilter ignores a filter that is already there.
    logging.getLogger("httpx").addFilter(_HOST_ONLY)
    mounts: dict[str, httpx.BaseTransport | None] = {}
    if transport is None and getproxies():
        # A proxy of the environment cannot reach this machine's own loopback, where the sandbox is.
        direct = httpx.HTTPTransport()
        mounts = {f"all://{host}": direct for host in ("localhost", "127.0.0.1", "[::1]")}
    return _Client(
        base_url=url.copy_with(username=None, password=None),
        auth=httpx.BasicAuth(url.username, url.password) if url.userinfo else None,
        transport=transport,
        mounts=mounts,
        timeout=httpx.Timeout(timeout_s),
        follow_redirects=False,
        headers={"user-agent": "iexec-nb", "accept-encoding": "gzip, deflate"},
    )


def _checked(base_url: str) -> httpx.URL:
    try:
        url = httpx.URL(base_url)
        has_host = bool(url.host)
    except (httpx.InvalidURL, TypeError, UnicodeError):
        # UnicodeError: a name of which no server can be asked where it is.
        url, has_host = httpx.URL(""), False
    if url.scheme not in ("http", "https") or not has_host:
        raise ConfigurationError(f"{origin(url)} is not an http or https address", hint="give it as https://host")
    return url


def status_text(status: int) -> str:
    """Return a status with its standard phrase, such as ``404 Not Found``; the server's own phrase is not shown."""
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)


def _text(value: str | int | bool) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _compact(value: object) -> bytes:
    return _json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


class Http:
    """A service behind one address.

    Parameters
    ----------
    base_url
        An http or https address. As in the JavaScript SDK, the path of a call replaces its path.
    service
        What error messages call it, such as ``Market API``.
    error
        The class that its failures raise.
    transport
        What carries the requests instead of the network.
    timeout_s
        Seconds until a call gives up: for a read everything included, for other calls each of connecting, sending and
        answering.
    retries
        How often a read is repeated after a network failure or a server error. Nothing else is ever repeated.
    sleep, clock
        Replace waiting and time in tests.

    Raises
    ------
    ConfigurationError
        When `base_url` is not an http or https address.
    """

    def __init__(
        self,
        base_url: str,
        *,
        service: str,
        error: type[ApiCallError] = ApiCallError,
        transport: httpx.BaseTransport | None = None,
        timeout_s: float = 10.0,
        retries: int = 2,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._base = _checked(base_url)
        self.origin = origin(self._base)
        self.base_path = self._base.path
        self.service = service
        self.error = error
        self.timeout_s = timeout_s
        self.retries = retries
        self._transport = transport
        self._sleep = sleep
        self.clock = clock

    def __repr__(self) -> str:
        return f"Http({self.service!r}, {self.origin!r})"

    @lazy
    def _client(self) -> httpx.Client:
        # Reading the certificates takes 20 ms or more: only who talks pays for it.
        return new_client(str(self._base), transport=self._transport, timeout_s=self.timeout_s)

    def close(self) -> None:
        """Close the connections; the next call opens new ones."""
        if client := self.__dict__.pop("_client", None):
            client.close()

    def get_json(self, path: str, params: Params | None = None, *, auth: httpx.Auth | None = None) -> dict[str, Any]:
        """Return the JSON object at `path`.

        Raises
        ------
        ApiCallError
            Of this service's class: network failure, server error, refusal, or no JSON object.
        """
        return self.json(self.request("GET", path, params=params, headers=_JSON, auth=auth))

    def ask_json(self, path: str, question: object) -> dict[str, Any]:
        """Send a question as JSON and return the JSON object that is answered; repeated as every read (GraphQL).

        Raises
        ------
        ApiCallError
            As :meth:`get_json`.
        """
        return self.json(self.request("POST", path, json=question, headers=_JSON, is_read=True))

    def send_json(
        self, method: str, path: str, body: object, params: Params | None = None, *, auth: httpx.Auth | None = None
    ) -> dict[str, Any]:
        """Send `body` as compact JSON and return the JSON object that is answered; never repeated.

        Raises
        ------
        ApiCallError
            As :meth:`get_json`.
        """
        return self.json(self.request(method, path, params=params, json=body, headers=_JSON, auth=auth))

    def json(self, response: httpx.Response) -> dict[str, Any]:
        """Return the JSON object of a response, or raise what it says went wrong."""
        status = response.status_code
        if "application/json" not in response.headers.get("content-type", ""):
            self.fail("The http response is not of JSON type", status)
        try:
            body = foreign.loads(response.content)
        except (ValueError, RecursionError) as error:
            if response.is_success:
                self.fail("The http response is not valid JSON", status, cause=error)
            body = None
        if not response.is_success:
            text = body.get("error") if isinstance(body, dict) else None
            self.fail(f"API error: {shown(text, 300) if text else status_text(status)}", status, wait=response)
        if not isinstance(body, dict):
            self.fail("The http response is not a JSON object", status)
        return body

    def request(
        self,
        method: str,
        path: str,
        *,
        params: Params | None = None,
        json: object = None,
        content: bytes | Secret | None = None,
        files: Mapping[str, tuple[str, bytes | BinaryIO, str]] | None = None,
        headers: Mapping[str, str | Secret] | None = None,
        auth: httpx.Auth | None = None,
        timeout_s: float | None = None,
        is_read: bool = False,
    ) -> httpx.Response:
        """Return the whole answer, of any status below 500.

        Parameters
        ----------
        method, path
            ``GET`` and ``HEAD`` are reads; `path` is plain text, not yet percent-encoded.
        params
            The query, a mapping in alphabetical order, pairs in theirs; ``True`` as ``true``, without what is ``None``.
        json, content, files
            At most one: an object for JSON, raw bytes, multipart fields. A ``Secret``, here or in `headers`, is
            revealed on its way out and in no frame of a traceback.
        auth
            Adds credentials; with it a read is neither repeated nor redirected.
        timeout_s
            Seconds, instead of this service's.
        is_read
            Whether a POST changes nothing, so that it may be repeated.

        Raises
        ------
        ApiCallError
            Of this service's class: network failure (``.status`` is None), status 500 and above, redirect not followed,
            or more than 64 MiB.
        """

        def build(remaining_s: float) -> httpx.Request:
            plain = {} if json is None else {"content-type": "application/json"}
            for name, value in (headers or {}).items():
                plain[name] = value.reveal() if isinstance(value, Secret) else value
            data = content.reveal_bytes() if isinstance(content, Secret) else content
            return self._client.build_request(
                method,
                self._url(path, params),
                content=data if json is None else _compact(json),
                files=files,
                headers=plain,
                timeout=httpx.Timeout(remaining_s),
                extensions={_READING: is_read or method in _READS},
            )

        def consume(response: httpx.Response, deadline: float) -> httpx.Response:
            body = bytearray()
            for chunk in self._chunks(response, MAX_BYTES):
                body += chunk
                if self.clock() > deadline:
                    raise httpx.ReadTimeout("the answer takes too long")
            kept = [
                (k, v) for k, v in response.headers.multi_items() if k not in ("content-encoding", "content-length")
            ]
            return httpx.Response(response.status_code, headers=kept, content=bytes(body), request=response.request)

        return self._call("GET" if is_read else method, build, consume, auth, timeout_s or self.timeout_s)

    def open(self, path: str, params: Params | None = None, *, headers: Mapping[str, str] | None = None) -> Stream:
        """Ask for what is at `path` and return the answer while it comes; ``timeout_s`` then counts between bytes.

        Parameters
        ----------
        path
            Plain text, not yet percent-encoded.
        params
            As for :meth:`request`.
        headers
            Sent as well.

        Raises
        ------
        ApiCallError
            Of this service's class: network failure, status 500 and above, redirect not followed.
        """

        def build(remaining_s: float) -> httpx.Request:
            plain = {"accept-encoding": "identity", **(headers or {})}
            return self._client.build_request(
                "GET",
                self._url(path, params),
                headers=plain,
                timeout=httpx.Timeout(self.timeout_s, connect=remaining_s),
            )

        return self._call("GET", build, lambda response, deadline: Stream(self, response), None, self.timeout_s)

    def pause(self, attempt: int) -> None:
        """Wait as long as before repeating a read for the time `attempt` (0, 1, ...)."""
        self._sleep(backoff(attempt))

    def fail(
        self,
        message: str,
        status: int | None = None,
        *,
        cause: BaseException | None = None,
        wait: httpx.Response | None = None,
        hint: str | None = None,
        **facts: object,
    ) -> NoReturn:
        """Raise this service's error with the facts that may be shown."""
        context: dict[str, object] = {"service": self.service, "server": self.origin}
        if status is not None:
            context["status"] = status_text(status)
        after = wait.headers.get("retry-after", "") if wait is not None else ""
        if after.isdecimal() and len(after) < 8:
            hint = hint or f"the server asks to wait {after} s"
        raise self.error(message, status=status, context={**context, **facts}, hint=hint) from cause

    def _url(self, path: str, params: Params | None) -> httpx.URL:
        pairs = sorted(params.items()) if isinstance(params, Mapping) else params or ()
        query = "&".join(
            f"{quote(key, safe='')}={quote(_text(value), safe='')}" for key, value in pairs if value is not None
        )
        raw = quote(path, safe="/~") + ("?" + query if query else "")
        return self._base.copy_with(username=None, password=None, raw_path=raw.encode("ascii"), fragment=None)

    def _call(
        self,
        method: str,
        build: Callable[[float], httpx.Request],
        consume: Callable[[httpx.Response, float], T],
        auth: httpx.Auth | None,
        timeout_s: float,
    ) -> T:
        read = method in _READS and auth is None
        deadline = self.clock() + timeout_s
        attempt = 0
        while True:
            try:
                if not read:
                    return self._once(build(timeout_s), consume, auth, timeout_s, None)
                remaining_s = max(deadline - self.clock(), 0.001)
                return self._once(build(remaining_s), consume, None, timeout_s, deadline)
            except ApiCallError as error:
                pause_s = backoff(attempt)
                transient = error.status is None or error.status >= 500
                if not read or not transient or attempt >= self.retries or self.clock() + pause_s >= deadline:
                    raise
            self._sleep(pause_s)
            attempt += 1

    def _once(
        self,
        request: httpx.Request,
        consume: Callable[[httpx.Response, float], T],
        auth: httpx.Auth | None,
        timeout_s: float,
        deadline: float | None,
    ) -> T:
        try:
            response = self._send(request, auth, follow=deadline is not None)
            answer: object = None
            try:
                if (status := response.status_code) >= 500:
                    self.fail(f"{self.service} error: Server at {self.origin} encountered an internal error", status)
                # Signing and uploading take what they take: for them the answer's time starts when it starts to come.
                answer = consume(response, self.clock() + timeout_s if deadline is None else deadline)
                return answer
            finally:
                if not isinstance(answer, Stream):
                    response.close()
        except httpx.TimeoutException as error:
            self._lost(request, f"no answer within {timeout_s:g} s", error)
        except httpx.NetworkError as error:
            self._lost(request, shown(str(error), 120) or type(error).__name__, error)
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, UnicodeError) as error:
            self._lost(request, type(error).__name__, error)

    def _lost(self, request: httpx.Request, reason: str, error: Exception) -> NoReturn:
        text = f"{self.service} error: Connection to {self.origin} failed with a network error"
        is_read = request.extensions.get(_READING, request.method in _READS)
        hint = None if is_read else "it may have arrived nevertheless: look before you repeat it"
        self.fail(text, cause=error, hint=hint, reason=reason)

    def _send(self, request: httpx.Request, auth: httpx.Auth | None, *, follow: bool) -> httpx.Response:
        if "authorization" in request.headers:
            follow = False
            # An Auth that does nothing, lest the user:password@ of an address replaces the header.
            auth = auth or httpx.Auth()
        for hop in itertools.count():
            response = self._client.send(
                request, stream=True, auth=auth or httpx.USE_CLIENT_DEFAULT, follow_redirects=False
            )
            following = response.next_request
            if following is None:
                break
            response.close()
            downgrade = request.url.scheme == "https" and following.url.scheme != "https"
            if not follow or downgrade or hop == _MAX_REDIRECTS:
                self.fail(
                    f"{self.service} error: Server at {self.origin} redirects elsewhere, which is not followed",
                    response.status_code,
                    hint="give the address that it redirects to, if you trust it",
                    target=origin(following.url),
                )
            request = following
        return response

    def _chunks(self, response: httpx.Response, max_bytes: int) -> Generator[bytes, None, None]:
        announced = response.headers.get("content-length", "")
        is_body = response.request.method != "HEAD"
        size = 0
        if is_body and announced.isdecimal() and (len(announced) > 18 or int(announced) > max_bytes):
            self.too_large(max_bytes, response.status_code)
        for chunk in response.iter_bytes() if is_body else ():
            size += len(chunk)
            if size > max_bytes:
                self.too_large(max_bytes, response.status_code)
            yield chunk

    def too_large(self, max_bytes: int, status: int) -> NoReturn:
        """Raise the error of an answer that is larger than what is taken."""
        self.fail(f"{self.service} error: The answer of {self.origin} is larger than {max_bytes} bytes", status)


class ChallengeAuth(httpx.Auth):
    """Logs in to a service by signing its challenge (header ``authorization: <hash>_<signature>_<address>``).

    The service's typed data must be, field by field, the one that a login has. What is signed is then made here, from
    the text alone, so that a service cannot obtain a signature on anything else.

    Parameters
    ----------
    http
        The service.
    path
        Where it hands out challenges.
    domain
        The EIP-712 domain of its challenges.
    signer
        Who logs in.
    text
        What the whole text of a challenge must look like.
    """

    def __init__(self, http: Http, path: str, domain: Domain, signer: Signer, text: re.Pattern[str]) -> None:
        self._http = http
        self._path = path
        self._domain = domain
        self._signer = signer
        self._pattern = text

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Ask for a challenge, sign it, and send the request with it."""
        query: Params = {"chainId": self._domain.chainId, "address": self._signer.address}
        body = self._http.get_json(self._path, query)
        challenge = self._checked(body.get("data", body))
        signature = self._signer.sign_challenge(self._domain, challenge)
        digest = challenge_digest(challenge, self._domain).hex()
        request.headers["authorization"] = f"0x{digest}_{signature}_{self._signer.address}"
        yield request

    def _checked(self, given: object) -> str:
        """Return the text of a challenge whose typed data is what a login has, and nothing beside it."""
        body = given if isinstance(given, dict) else {}
        message, domain, types = (_mapping(body, key) for key in ("message", "domain", "types"))
        text = message.get("challenge")
        expected = challenge_typed_data(text if isinstance(text, str) else "", self._domain)
        faults = [key for key in ("primaryType", "message") if body.get(key) != expected[key]]
        if {key: str(value) for key, value in domain.items()} != expected["domain"]:
            faults.append("domain")
        if {"EIP712Domain": expected["types"]["EIP712Domain"], **types} != expected["types"]:
            faults.append("types")
        faults += sorted(shown(key, 20) for key in body.keys() - expected.keys() - {"ok"})
        if not isinstance(text, str) or not self._pattern.fullmatch(text):
            faults.append("challenge")
        if faults:
            self._http.fail(
                "Failed to get authorization: Error: Unexpected challenge format",
                fields=", ".join(faults),
                hint="the service asks to sign something that is not a login; nothing was signed",
            )
        return str(text)


def _mapping(body: dict[str, Any], key: str) -> dict[str, Any]:
    value = body.get(key)
    return value if isinstance(value, dict) else {}

"""JSON-RPC to an Ethereum node, with many reads in one HTTP request.

A page of a notebook asks a node dozens of questions at once, and a node far away answers one request about as fast as
fifty questions in it; so everything above sends batches. Reads are retried within their time limit, transactions never.
A node is a stranger: its answers may be late, out of order, incomplete, malformed or huge, and each of these is a typed
error that names its host only, because the rest of an RPC URL is often an API key.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

import httpx

from iexec_nb.errors import ConfigurationError, Web3ProviderCallError
from iexec_nb.protocol.foreign import loads
from iexec_nb.protocol.types import Secret, shown
from iexec_nb.services.answers import MAX_BATCH, RpcFailure
from iexec_nb.services.http import backoff, new_client, origin
from iexec_nb.services.lazy import lazy

Request = tuple[str, Sequence[Any]]

MAX_ANSWER_BYTES = 64 << 20

_REVERT_DATA = re.compile(r"(?:^|\s)0x((?:[0-9a-fA-F]{2})*)$")
_TRANSIENT_STATUS = frozenset({429, 500, 502, 503, 504})


class Rpc:
    """A connection to a node.

    Parameters
    ----------
    url
        Its ``http`` or ``https`` URL; what stands after the host is kept out of every message.
    transport
        An httpx transport to use instead of the network.
    timeout_s
        Seconds that one HTTP request may take, its retries included.
    retries
        How often a read is tried again.

    Raises
    ------
    ConfigurationError
        When the URL is not one.
    """

    def __init__(
        self,
        url: str,
        *,
        transport: httpx.BaseTransport | None = None,
        timeout_s: float = 10.0,
        retries: int = 2,
    ) -> None:
        self.host = origin(url)
        if not self.host.startswith(("http://", "https://")):
            raise ConfigurationError("the RPC URL is not an http or https URL", hint="give it as https://host/path")
        self._url = Secret(url)
        self.timeout_s = timeout_s
        self._retries = retries
        self._batch_limit = MAX_BATCH
        self._transport = transport

    @lazy
    def _client(self) -> httpx.Client:
        # Reading the certificates takes 20 ms: only who talks pays for it.
        return new_client(self.host, transport=self._transport, timeout_s=self.timeout_s)

    def call(self, method: str, *params: Any) -> Any:
        """Return the result of one request; a read is retried.

        Raises
        ------
        Web3ProviderCallError
            When the node refuses or does not answer.
        """
        return self.batch([(method, params)])[0]

    def batch(self, requests: Sequence[Request]) -> list[Any]:
        """Return the results of several requests, in their order, from one HTTP request.

        Raises
        ------
        Web3ProviderCallError
            When the node refuses one of them or does not answer.
        """
        results = self.outcomes(requests)
        for result in results:
            if isinstance(result, RpcFailure):
                raise result.error(self.host)
        return results

    def outcomes(self, requests: Sequence[Request]) -> list[Any]:
        """Return the results of several requests, with an `RpcFailure` in the place of each that was refused.

        Reads are retried and split where a node takes only small batches; anything else goes out once, as it is.

        Raises
        ------
        Web3ProviderCallError
            When the node does not answer at all.
        """
        if not all(map(_is_read, requests)):
            return self._once(requests)
        results: list[Any] = [None] * len(requests)
        waiting = list(range(len(requests)))
        for attempt in range(self._retries + 1):
            if attempt:
                time.sleep(backoff(attempt - 1))
            answers = self._in_chunks([requests[i] for i in waiting])
            for i, answer in zip(waiting, answers, strict=True):
                results[i] = answer
            waiting = [i for i in waiting if isinstance(results[i], RpcFailure) and results[i].transient]
            if not waiting:
                break
        return results

    def send_raw(self, raw: bytes) -> Any:
        """Hand a signed transaction to the node, once; return its answer or an `RpcFailure`.

        Raises
        ------
        Web3ProviderCallError
            When the node did not answer: the transaction may have been sent or not.
        """
        return self._once([("eth_sendRawTransaction", ["0x" + raw.hex()])])[0]

    def close(self) -> None:
        """Close the connections."""
        if client := self.__dict__.pop("_client", None):
            client.close()

    def __repr__(self) -> str:
        return f"Rpc({self.host})"

    def _once(self, requests: Sequence[Request]) -> list[Any]:
        try:
            return _answers(requests, _parse(self._post(_body(requests), time.monotonic() + self.timeout_s), self.host))
        except _Unanswered as lost:
            raise lost.error from lost.__cause__

    def _in_chunks(self, requests: Sequence[Request]) -> list[Any]:
        answers: list[Any] = []
        while len(answers) < len(requests):
            chunk = requests[len(answers) : len(answers) + self._batch_limit]
            reply = self._read(_body(chunk))
            if _too_many(reply, len(chunk)):
                # Public nodes cap the size of a batch and do not say where; the half is remembered for the next one.
                self._batch_limit = max(1, len(chunk) // 2)
                continue
            answers += _answers(chunk, reply)
        return answers

    def _read(self, body: bytes) -> Any:
        deadline = time.monotonic() + self.timeout_s
        attempt = 0
        while True:
            try:
                return _parse(self._post(body, deadline), self.host)
            except _Unanswered as lost:
                pause_s = backoff(attempt)
                if not lost.again or attempt >= self._retries or time.monotonic() + pause_s >= deadline:
                    raise lost.error from lost.__cause__
            time.sleep(pause_s)
            attempt += 1

    def _post(self, body: bytes, deadline: float) -> bytes:
        left = max(deadline - time.monotonic(), 0.001)
        answer = bytearray()
        try:
            with self._client.stream(
                "POST", self._url.reveal(), content=body, headers={"content-type": "application/json"}, timeout=left
            ) as response:
                for chunk in response.iter_bytes():
                    answer += chunk
                    if len(answer) > MAX_ANSWER_BYTES:
                        raise _Unanswered(
                            f"the node at {self.host} sends more than {MAX_ANSWER_BYTES} bytes", again=False
                        )
                    if time.monotonic() > deadline:
                        raise httpx.ReadTimeout("the answer takes too long")
        except httpx.TimeoutException as error:
            raise _Unanswered(
                f"the node at {self.host} did not answer within {self.timeout_s:g} s",
                hint="try again, give a longer timeout, or another RPC URL",
            ) from error
        except (httpx.HTTPError, httpx.StreamError, httpx.InvalidURL, UnicodeError) as error:
            raise _Unanswered(
                f"the node at {self.host} cannot be reached: {shown(str(error) or type(error).__name__, 120)}",
                hint="check the RPC URL and the network",
            ) from error
        _check_status(response.status_code, bytes(answer), self.host)
        return bytes(answer)


class _Unanswered(Exception):
    """No answer that can be read: what to raise, and whether a read may be repeated first."""

    def __init__(self, message: str, *, again: bool = True, hint: str | None = None) -> None:
        super().__init__(message)
        self.again = again
        self.error = Web3ProviderCallError(message, hint=hint)


def _is_read(request: Request) -> bool:
    method = request[0]
    return method.startswith(("eth_", "net_", "web3_")) and not method.startswith(("eth_send", "eth_sign"))


def _body(requests: Sequence[Request]) -> bytes:
    calls = [
        {"jsonrpc": "2.0", "id": number, "method": method, "params": list(params)}
        for number, (method, params) in enumerate(requests, 1)
    ]
    # Some nodes do not know batches: a single request is sent as one.
    return json.dumps(calls[0] if len(calls) == 1 else calls, separators=(",", ":")).encode()


def _check_status(status: int, answer: bytes, host: str) -> None:
    # Nodes send JSON-RPC errors under several statuses; only those without one are failures of the connection.
    if status == HTTPStatus.OK or (status not in _TRANSIENT_STATUS and answer.lstrip()[:1] in (b"{", b"[")):
        return
    refused = status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)
    raise _Unanswered(
        f"the node at {host} answered with HTTP status {status}",
        again=status in _TRANSIENT_STATUS,
        hint="check the access key in the RPC URL" if refused else None,
    )


def _parse(answer: bytes, host: str) -> Any:
    try:
        reply = loads(answer)
    except ValueError as error:
        raise _Unanswered(
            f"the node at {host} did not answer with JSON: is this the URL of an RPC?", again=False
        ) from error
    if not isinstance(reply, dict | list):
        raise _Unanswered(f"the node at {host} did not answer with JSON-RPC: {shown(reply, 60)}", again=False)
    return reply


def _too_many(reply: Any, sent: int) -> bool:
    if isinstance(reply, list):
        reply = reply[0] if len(reply) == 1 else None
    return sent > 1 and isinstance(reply, dict) and "error" in reply


def _answers(requests: Sequence[Request], reply: Any) -> list[Any]:
    by_id: dict[str, dict[str, Any]] = {}
    for item in reply if isinstance(reply, list) else [reply]:
        if isinstance(item, dict):
            by_id.setdefault(str(item.get("id")), item)
    if len(requests) == 1 and isinstance(reply, dict) and "error" in reply:
        # A request that a node could not even parse is answered with id null.
        by_id.setdefault("1", reply)
    return [_answer(method, by_id.get(str(number))) for number, (method, _) in enumerate(requests, 1)]


def _answer(method: str, item: dict[str, Any] | None) -> Any:
    if item is None:
        return RpcFailure(method, 0, "the node left this request without an answer")
    error = item.get("error")
    if error is not None:
        return _failure(method, error)
    if "result" not in item:
        return RpcFailure(method, 0, "the node's answer has neither a result nor an error")
    return item["result"]


def _failure(method: str, error: object) -> RpcFailure:
    if not isinstance(error, dict):
        return RpcFailure(method, 0, shown(error, 300))
    code = error.get("code")
    return RpcFailure(
        method,
        code if type(code) is int and abs(code) < 2**31 else 0,
        shown(error.get("message") or "no reason given", 300),
        _revert_data(error.get("data")),
    )


def _revert_data(data: object, depth: int = 0) -> bytes:
    # geth: "0x..."; OpenEthereum: "Reverted 0x..."; hardhat and ganache: objects that hold it.
    if isinstance(data, str) and len(data) < 20_000 and (match := _REVERT_DATA.search(data)):
        return bytes.fromhex(match[1])
    if isinstance(data, dict) and depth < 3:
        found = (_revert_data(data.get(key), depth + 1) for key in ("data", "result", "return"))
        return next((raw for raw in found if raw), b"")
    return b""

"""What the sandbox's small web services have in common.

Browsers, the official JavaScript SDK and our own client are all pointed at these services, so each of them answers
cross-origin requests, speaks compact JSON, and learns who is calling from a challenge that the caller signs.
"""

from __future__ import annotations

import json
import re
import secrets
import string
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from flask import Flask, Response, request

from iexec_nb.errors import InvalidSignatureError, ValidationError
from iexec_nb.protocol.typed_data import Domain, challenge_digest, challenge_typed_data, recover
from iexec_nb.protocol.types import Address, address

_CORS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Methods": "GET, HEAD, POST, PUT, DELETE, OPTIONS",
    "Access-Control-Expose-Headers": "*",
    "Access-Control-Max-Age": "86400",
}
_AUTHORIZATION = re.compile(r"(0x[0-9a-fA-F]{64})_(0x[0-9a-fA-F]{128,130})_(0x[0-9a-fA-F]{40})")


def new_app(name: str) -> Flask:
    """Return a Flask app without static files that answers every origin, preflight requests included.

    Parameters
    ----------
    name
        What Flask calls the app in its own messages.
    """
    app = Flask(f"{__name__}.{name}", static_folder=None)
    app.before_request(_preflight)
    app.after_request(_cross_origin)
    return app


def json_response(body: Mapping[str, object] | str, status: int = 200) -> Response:
    """Return compact JSON; text is taken as JSON that is written already."""
    text = body if isinstance(body, str) else dumps(body)
    return Response(text, status=status, mimetype="application/json")


def dumps(value: object) -> str:
    """Return compact JSON text; non-ASCII characters stay as they are."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def address_or_none(value: object) -> Address | None:
    """Return `value` as EIP-55 text, or None where it is no address."""
    try:
        return address(value)
    except ValidationError:
        return None


def random_text(length: int = 32) -> str:
    """Return `length` random letters and digits."""
    return "".join(secrets.choice(string.ascii_letters + string.digits) for _ in range(length))


@dataclass(slots=True)
class _Issued:
    text: str
    digest: bytes
    expires: float


class Challenges:
    """The challenges that a service hands out, and the check of the authorization that comes back.

    Parameters
    ----------
    domain
        The EIP-712 domain of the service.
    text
        Makes a fresh challenge text.
    lifetime_s
        Seconds that a challenge stays valid; the same one is handed out again meanwhile.
    single_use
        Whether a challenge is spent by its first successful use.
    clock
        Seconds that never go back.
    """

    def __init__(
        self,
        domain: Domain,
        text: Callable[[], str],
        *,
        lifetime_s: float,
        single_use: bool,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._domain = domain
        self._text = text
        self._lifetime_s = lifetime_s
        self._single_use = single_use
        self._clock = clock
        self._lock = threading.Lock()
        self._issued: dict[Address, _Issued] = {}

    def issue(self, owner: Address) -> dict[str, Any]:
        """Return the typed data that `owner` has to sign (the shape of ``eth_signTypedData_v4``)."""
        with self._lock:
            issued = self._issued.get(owner)
            if issued is None or issued.expires <= self._clock():
                text = self._text()
                issued = _Issued(text, challenge_digest(text, self._domain), self._clock() + self._lifetime_s)
                self._issued[owner] = issued
            return challenge_typed_data(issued.text, self._domain)

    def signer(self, authorization: str) -> Address:
        """Return who signed an ``<hash>_<signature>_<address>`` header.

        Raises
        ------
        InvalidSignatureError
            When it is malformed, the challenge unknown or expired, or the signer somebody else.
        """
        match = _AUTHORIZATION.fullmatch(authorization)
        if match is None:
            raise InvalidSignatureError("the authorization header is missing or malformed")
        digest, owner = bytes.fromhex(match[1][2:]), address(match[3])
        with self._lock:
            issued = self._issued.get(owner)
            if issued is None or issued.expires <= self._clock() or issued.digest != digest:
                raise InvalidSignatureError("the challenge is unknown or expired")
            if recover(digest, match[2]) != owner:
                raise InvalidSignatureError("the challenge was signed by another address")
            if self._single_use:
                del self._issued[owner]
        return owner


def _preflight() -> Response | None:
    return Response(status=204) if request.method == "OPTIONS" else None


def _cross_origin(response: Response) -> Response:
    response.headers.update(_CORS)
    response.headers["Access-Control-Allow-Headers"] = request.headers.get("Access-Control-Request-Headers", "*")
    return response

"""The sandbox's secret management service: who may set a secret, and what it answers when one is there already.

It is faithful to ``iexec-sms`` 9.3 in endpoints, challenges and status codes, because pushing a dataset key to the
wrong owner or over an existing one is refused by that service and has to be refused here. Values are held in memory
as `Secret` and are given to the worker only.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from flask import Flask, Response, request

from iexec_nb.errors import IExecError
from iexec_nb.protocol.secrets import (
    APP_SECRET_KEY,
    MAX_SECRET_BYTES,
    app_challenge,
    requester_challenge,
    web2_challenge,
    web3_challenge,
)
from iexec_nb.protocol.typed_data import personal_digest, recover
from iexec_nb.protocol.types import Address, Secret
from iexec_nb.sandbox.web import address_or_none, json_response, new_app

if TYPE_CHECKING:
    from iexec_nb.services.chain import Chain

_KEY = re.compile(r"[0-9A-Za-z_-]{1,64}")
_BAD_KEY = "Secret key should contain at most 64 characters from [0-9A-Za-z-_]"
_TOO_LARGE = "Secret size should not exceed 4 Kb"


class Vault:
    """Secrets by kind, owner and name; kinds are ``web3``, ``web2``, ``app`` and ``requester``."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._secrets: dict[tuple[str, Address, str], Secret] = {}

    def __repr__(self) -> str:
        return f"Vault({len(self._secrets)} secrets)"

    def has(self, kind: str, owner: Address, name: str = "") -> bool:
        """Tell whether the secret is set."""
        return self.get(kind, owner, name) is not None

    def get(self, kind: str, owner: Address, name: str = "") -> Secret | None:
        """Return a secret, or None; for the worker, never for a web answer."""
        with self._lock:
            return self._secrets.get((kind, owner, name))

    def add(self, kind: str, owner: Address, value: Secret, name: str = "") -> bool:
        """Set a secret that is not set; return False, with nothing changed, where it is."""
        with self._lock:
            return self._secrets.setdefault((kind, owner, name), value) is value

    def replace(self, kind: str, owner: Address, value: Secret, name: str = "") -> bool:
        """Change a secret that is set; return False where it is not."""
        with self._lock:
            if (kind, owner, name) not in self._secrets:
                return False
            self._secrets[kind, owner, name] = value
            return True


def sms_app(chain: Chain, vault: Vault | None = None) -> Flask:
    """Return the service as a WSGI app.

    Parameters
    ----------
    chain
        Tells who owns a dataset or an app.
    vault
        Where the secrets are kept; a fresh one unless given.
    """
    store = Vault() if vault is None else vault
    app = new_app("sms")
    app.config["MAX_CONTENT_LENGTH"] = 1 << 20

    @app.route("/secrets/web3", methods=["HEAD"])
    def has_web3() -> Response:
        owner = address_or_none(request.args.get("secretAddress"))
        return Response(status=204 if owner and store.has("web3", owner) else 404)

    @app.post("/secrets/web3")
    def add_web3() -> Response:
        target = address_or_none(request.args.get("secretAddress"))
        if target is None:
            return Response(status=400)
        value = _body()
        if refusal := _size_refusal(value):
            return Response(status=refusal)
        if not _signed_by(_owner(chain, target), lambda: web3_challenge(target, value)):
            return Response(status=401)
        return Response(status=204 if store.add("web3", target, Secret(value)) else 409)

    @app.route("/secrets/web2", methods=["HEAD"])
    def has_web2() -> Response:
        owner = address_or_none(request.args.get("ownerAddress"))
        name = request.args.get("secretName", "")
        return Response(status=204 if owner and store.has("web2", owner, name) else 404)

    @app.route("/secrets/web2", methods=["POST", "PUT"])
    def set_web2() -> Response:
        owner = address_or_none(request.args.get("ownerAddress"))
        name = request.args.get("secretName")
        if owner is None or name is None:
            return Response(status=400)
        value = _body()
        if refusal := _size_refusal(value):
            return Response(status=refusal)
        if not _signed_by(owner, lambda: web2_challenge(owner, name, value)):
            return Response(status=401)
        if request.method == "PUT":
            return Response(status=204 if store.replace("web2", owner, Secret(value), name) else 404)
        return Response(status=204 if store.add("web2", owner, Secret(value), name) else 409)

    @app.route("/apps/<target>/secrets", methods=["HEAD"])
    def has_app(target: str) -> Response:
        owner = address_or_none(target)
        return _found(owner is not None and store.has("app", owner, APP_SECRET_KEY))

    @app.post("/apps/<target>/secrets")
    def add_app(target: str) -> Response:
        resource, value = address_or_none(target), _body()
        if refusal := _size_refusal(value):
            return _error(refusal, _TOO_LARGE)
        owner = None if resource is None else _owner(chain, resource)
        if resource is None or not _signed_by(owner, lambda: app_challenge(resource, value)):
            return _error(401, "Invalid authorization")
        if not store.add("app", resource, Secret(value), APP_SECRET_KEY):
            return _error(409, "Secret already exists")
        return Response(status=204)

    @app.route("/requesters/<target>/secrets/<key>", methods=["HEAD"])
    def has_requester(target: str, key: str) -> Response:
        if not _KEY.fullmatch(key):
            return _error(400, _BAD_KEY)
        owner = address_or_none(target)
        return _found(owner is not None and store.has("requester", owner, key))

    @app.post("/requesters/<target>/secrets/<key>")
    def add_requester(target: str, key: str) -> Response:
        owner, value = address_or_none(target), _body()
        if not _KEY.fullmatch(key):
            return _error(400, _BAD_KEY)
        if _size_refusal(value):
            return _error(400, _TOO_LARGE)
        if owner is None or not _signed_by(owner, lambda: requester_challenge(owner, key, value)):
            return _error(401, "Invalid authorization")
        if not store.add("requester", owner, Secret(value), key):
            return _error(409, "Secret already exists")
        return Response(status=204)

    return app


def _body() -> str:
    return request.get_data(cache=False).decode("utf-8", "replace")


def _size_refusal(value: str) -> int | None:
    """Return the status for a value that is empty or too large; such a value has no challenge to check."""
    if not value:
        return 400
    return 413 if len(value.encode()) > MAX_SECRET_BYTES else None


def _owner(chain: Chain, resource: Address) -> Address | None:
    try:
        return chain.owners([resource]).get(resource)
    except IExecError:
        return None  # not a contract with an owner: nobody may set a secret for it


def _signed_by(expected: Address | None, challenge: Callable[[], bytes]) -> bool:
    """Tell whether the Authorization header is the `expected` address's signature of the challenge's 32 bytes."""
    try:
        return expected is not None and recover(personal_digest(challenge()), _authorization()) == expected
    except IExecError:
        return False


def _authorization() -> str:
    return request.headers.get("Authorization", "")


def _found(present: bool) -> Response:
    return Response(status=204) if present else _error(404, "Secret not found")


def _error(status: int, message: str) -> Response:
    return json_response({"data": None, "error": [message]}, status)

"""Two ways to reach the sandbox's services: by host name inside the process, and by loopback ports.

Inside the process a request goes straight into the app, without a port, a thread or a copy. On ports the same apps are
reached by anything else on this machine: the official JavaScript SDK, a browser, another kernel.
"""

from __future__ import annotations

import contextlib
import ipaddress
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import httpx
from werkzeug.serving import WSGIRequestHandler, make_server

from iexec_nb.errors import SandboxError, ValidationError
from iexec_nb.protocol.types import shown
from iexec_nb.sandbox.forks import forget_in_children
from iexec_nb.sandbox.node import usable_port

if TYPE_CHECKING:
    from flask import Flask

DOMAIN = "sandbox.test"
"""The services' names end with it; ``.test`` is reserved (RFC 2606) and belongs to nobody on the internet."""


class HostTransport(httpx.BaseTransport):
    """An httpx transport that answers for the sandbox's hosts and sends everything else to the network.

    Parameters
    ----------
    apps
        The WSGI app of each service; its host is ``NAME.sandbox.test``.
    """

    def __init__(self, apps: Mapping[str, Flask]) -> None:
        self._apps = {f"{name}.{DOMAIN}": httpx.WSGITransport(app=app) for name, app in apps.items()}
        self._network: httpx.HTTPTransport | None = None
        self._lock = threading.Lock()

    @property
    def running(self) -> bool:
        """Whether the services are there."""
        return bool(self._apps)

    @staticmethod
    def url(name: str) -> str:
        """Return the address of a service."""
        return f"http://{name}.{DOMAIN}"

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Answer a request."""
        host = request.url.host
        if app := self._apps.get(host):
            return app.handle_request(request)
        if host.endswith(f".{DOMAIN}"):
            raise httpx.ConnectError(f"{host} is not running: the sandbox is stopped", request=request)
        return self._outside().handle_request(request)

    def close(self) -> None:
        """Do nothing: many clients share the transport, and the first one that closes must not end it for all."""

    def shut_down(self) -> None:
        """Take the services off and close the connections to the network."""
        self._apps.clear()
        with self._lock:
            if self._network:
                self._network.close()

    def _outside(self) -> httpx.HTTPTransport:
        with self._lock:
            self._network = self._network or httpx.HTTPTransport()
            return self._network


class Server:
    """A WSGI app on a loopback port, in threads of its own.

    Parameters
    ----------
    app
        What answers.
    host
        A loopback address: the sandbox runs whatever it is asked to, so other machines are kept out.
    port
        Its port, or 0 for a free one.

    Raises
    ------
    SandboxError
        When the port is taken.
    """

    def __init__(self, app: Flask, *, host: str, port: int) -> None:
        try:
            self._server = make_server(host, usable_port(port, host), app, threaded=True, request_handler=_Silent)
        # werkzeug ends the program where a port is taken, which only a race with another process can bring about here.
        except (OSError, SystemExit) as error:
            raise SandboxError(
                f"port {port} cannot be used", hint="choose another port, or 0 for a free one"
            ) from error
        self.port: int = self._server.port
        name = f"[{host}]" if ":" in host else host
        self.url = f"http://{name}:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()
        forget_in_children(self)

    def stop(self) -> None:
        """Stop answering and free the port; a second call does nothing."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def forget(self) -> None:
        """Close a forked child's copy of the socket, which would keep the port taken."""
        with contextlib.suppress(OSError):
            self._server.socket.close()


class _Silent(WSGIRequestHandler):
    """Answers without a line in the notebook for every request."""

    # Connections are kept open, as every real service does.
    protocol_version = "HTTP/1.1"

    def log(self, type: str, message: str, *args: Any) -> None:
        """Drop the line."""


def loopback(host: str) -> str:
    """Return `host` as a loopback address.

    Raises
    ------
    ValidationError
        When other machines could reach it.
    """
    text = "127.0.0.1" if host == "localhost" else host
    with contextlib.suppress(ValueError):
        if ipaddress.ip_address(text).is_loopback:
            return text
    raise ValidationError(
        f"{shown(host)} is not a loopback address",
        context={"why": "whoever reaches the sandbox can run programs on this machine"},
        hint='serve(host="127.0.0.1"); from elsewhere use an SSH tunnel',
    )

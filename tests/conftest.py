"""What holds for every test: no network but loopback, no windows, nothing of the person's settings."""

from __future__ import annotations

import ipaddress
import os
import signal
import socket
import tempfile
import threading
from typing import Any

import pytest

os.environ["MPLBACKEND"] = "agg"
os.environ.pop("IEXEC_NB_CHAIN", None)
os.environ.pop("IEXEC_NB_PASSWORD", None)
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN and threading.current_thread() is threading.main_thread():
    # A shell that starts the tests in its background lets them, and the programs they start, ignore Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)


class OutsideNetworkError(RuntimeError):
    """A test reached for the network. Not an OSError: code under test may not take it for a service that is down."""


def is_loopback(host: object) -> bool:
    """Whether this host is the machine itself; a host of None means any of its own addresses."""
    if host is None:
        return True
    name = host.decode() if isinstance(host, bytes) else str(host)
    if name in ("", "localhost"):
        return True
    try:
        return ipaddress.ip_address(name.partition("%")[0]).is_loopback
    except ValueError:
        return False


def refuse(host: object) -> None:
    if not is_loopback(host):
        raise OutsideNetworkError(f"a test reached for {host!r}; only loopback is allowed")


def block_outside_network(patch: pytest.MonkeyPatch) -> None:
    """Let sockets connect and send to loopback and to local files only, and names resolve for those only."""

    def guarded(original: Any) -> Any:
        def method(self: socket.socket, *args: Any) -> Any:
            # connect(address), connect_ex(address), sendto(data, [flags,] address)
            target = args[-1]
            if self.family != getattr(socket, "AF_UNIX", None) and isinstance(target, tuple):
                refuse(target[0])
            return original(self, *args)

        return method

    def getaddrinfo(host: object, *args: Any, **kwargs: Any) -> Any:
        refuse(host)
        return resolve(host, *args, **kwargs)

    resolve: Any = socket.getaddrinfo
    for name in ("connect", "connect_ex", "sendto"):
        patch.setattr(socket.socket, name, guarded(getattr(socket.socket, name)))
    patch.setattr(socket, "getaddrinfo", getaddrinfo)


_guard = pytest.MonkeyPatch()
_data = tempfile.TemporaryDirectory(prefix="iexec-nb-tests-")
os.environ["XDG_DATA_HOME"] = _data.name


def pytest_configure() -> None:
    # From before collection: a module that reaches out when it is imported is caught as well.
    block_outside_network(_guard)


def pytest_unconfigure() -> None:
    _guard.undo()
    _data.cleanup()

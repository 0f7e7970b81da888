"""The guard in conftest.py does what the other tests rely on."""

from __future__ import annotations

import socket
import urllib.request

import httpx
import pytest

# Of the block that RFC 5737 keeps for documentation: nobody answers there.
OUTSIDE = "192.0.2.1"


def test_connecting_outside_is_refused_before_anything_is_sent() -> None:
    with socket.socket() as tcp, pytest.raises(RuntimeError, match=r"192\.0\.2\.1"):
        tcp.connect((OUTSIDE, 80))
    with socket.socket() as tcp, pytest.raises(RuntimeError, match="only loopback"):
        tcp.connect_ex((OUTSIDE, 80))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp, pytest.raises(RuntimeError, match="only loopback"):
        udp.sendto(b"", (OUTSIDE, 53))


@pytest.mark.parametrize("host", ["example.org", b"example.org", OUTSIDE, "2001:db8::1"])
def test_names_outside_are_not_resolved(host: str | bytes) -> None:
    with pytest.raises(RuntimeError, match="only loopback"):
        socket.getaddrinfo(host, 443)


def test_http_libraries_do_not_get_past_the_guard() -> None:
    with pytest.raises(RuntimeError, match="only loopback"):
        httpx.get(f"http://{OUTSIDE}/")
    with pytest.raises(RuntimeError, match="only loopback"):
        urllib.request.urlopen("http://example.org/")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_loopback_works(host: str) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection((host, server.getsockname()[1])) as client,
    ):
        client.sendall(b"hello")
        peer, _ = server.accept()
        with peer:
            assert peer.recv(5) == b"hello"

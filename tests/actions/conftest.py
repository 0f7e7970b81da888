"""One sandbox for all tests of the verbs; tests that travel in time start their own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from stage import deploy_app

from iexec_nb.client import IExec
from iexec_nb.protocol import result_encryption
from iexec_nb.protocol.result_encryption import KeyPair
from iexec_nb.sandbox.network import Sandbox


@pytest.fixture(scope="session")
def net() -> Iterator[Sandbox]:
    with Sandbox() as running:
        yield running


@pytest.fixture(scope="session")
def seller(net: Sandbox) -> IExec:
    return net.client(deposit="10 RLC")


@pytest.fixture(scope="session")
def app(net: Sandbox, seller: IExec) -> str:
    """An app that writes its arguments into out.txt, for 0.1 RLC."""
    return deploy_app(net, seller, price="0.1 RLC")


@pytest.fixture
def buyer(net: Sandbox) -> IExec:
    return net.client(deposit="5 RLC")


@pytest.fixture(scope="session", autouse=True)
def short_keys() -> Iterator[None]:
    """Make RSA keys of 2048 bits instead of 4096, which take a second each; the tests of the rules make long ones."""
    make = result_encryption.generate_result_keypair

    def short(bits: int = 2048) -> KeyPair:
        return make(bits)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(result_encryption, "generate_result_keypair", short)
        yield

"""The node process and the served sandbox that all interop tests share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from people import World
from sdk import HERE, Sdk, installed

from iexec_nb import Sandbox
from iexec_nb.sandbox.packages import cache_dir


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.parent == Path(__file__).parent:
            item.add_marker(pytest.mark.interop)


@pytest.fixture(scope="session", autouse=True)
def compiled_once() -> Iterator[None]:
    """Let node keep what it compiles: the CLI is a new process for every command."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NODE_COMPILE_CACHE", str(cache_dir() / "node"))
        installed()
        installed(HERE / "v7")
        yield


@pytest.fixture(scope="session")
def sdk() -> Iterator[Sdk]:
    served = Sdk(installed())
    yield served
    served.stop()


@pytest.fixture(scope="session")
def world(sdk: Sdk) -> Iterator[World]:
    with Sandbox() as net:
        yield World(net, net.serve(), sdk)

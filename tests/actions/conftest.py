"""One sandbox for all tests of the verbs; tests that travel in time start their own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from iexec_nb.sandbox.network import Sandbox


@pytest.fixture(scope="session")
def net() -> Iterator[Sandbox]:
    with Sandbox() as running:
        yield running

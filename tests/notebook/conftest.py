"""Kernels of these tests are the interpreter that runs them, with empty Jupyter and IPython folders."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from run_demo import own_jupyter


@pytest.fixture(scope="session", autouse=True)
def jupyter() -> Iterator[None]:
    before = dict(os.environ)
    with own_jupyter():
        yield
    os.environ.clear()
    os.environ.update(before)

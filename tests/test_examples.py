"""The examples in docstrings run as they stand: with a sandbox active, as the reader of a help page would try them."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
from collections.abc import Iterator
from typing import Any

import pytest

import iexec_nb
from iexec_nb.client import set_active
from iexec_nb.sandbox.network import Sandbox

FLAGS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS


def modules() -> list[str]:
    names = [found.name for found in pkgutil.walk_packages(iexec_nb.__path__, "iexec_nb.")]
    # Programs that run in processes of their own do something when they are imported.
    return ["iexec_nb", *(name for name in names if not name.endswith(("__main__", ".child", ".watchdog")))]


def examples() -> list[doctest.DocTest]:
    finder = doctest.DocTestFinder(exclude_empty=True)
    found = [test for name in modules() for test in finder.find(importlib.import_module(name), name) if test.examples]
    return sorted({test.name: test for test in found}.values(), key=lambda test: test.name)


@pytest.fixture(scope="module")
def world() -> Iterator[dict[str, Any]]:
    """What an example may use: the public names, a sandbox, and clients with money."""
    with Sandbox() as net:
        names = {name: getattr(iexec_nb, name) for name in iexec_nb.__all__}
        yield {**names, "net": net, "iexec": net.user, "client": net.user}


def test_there_are_examples() -> None:
    assert len(examples()) >= 5


@pytest.mark.parametrize("test", examples(), ids=lambda test: test.name)
def test_an_example_gives_what_it_says(test: doctest.DocTest, world: dict[str, Any]) -> None:
    own = {name: value for name, value in world.items() if name not in test.globs}
    test.globs.update(own)
    before = set_active(world["iexec"])
    said: list[str] = []
    try:
        result = doctest.DocTestRunner(optionflags=FLAGS).run(test, out=said.append, clear_globs=False)
    finally:
        set_active(before)
    assert result.attempted == len(test.examples)
    assert result.failed == 0, "".join(said)

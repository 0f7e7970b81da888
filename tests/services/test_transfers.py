"""How far a download is: nothing when it is quick, one line in a terminal, what a notebook wants in a notebook."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from gateways import MIB, Gateway, Web, content

from iexec_nb.sandbox.blocks import BlockStore
from iexec_nb.services import transfers
from iexec_nb.services.transfers import Bar, on_terminal


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_nothing_is_shown_of_a_download_that_is_over_within_two_seconds(clock: Clock) -> None:
    seen: list[str] = []
    with Bar("Download of x", lambda bar: seen.append(bar.text), clock=clock) as bar:
        for done in range(10):
            bar(done, 10)
            clock.now += 0.19
    assert seen == []


def test_then_it_is_shown_now_and_again_and_at_the_end(clock: Clock) -> None:
    seen: list[str] = []
    with Bar("Download of x", lambda bar: seen.append(bar.text), clock=clock) as bar:
        for at in range(40):
            clock.now += 0.125
            bar(at * MIB, 64 * MIB)
    assert seen[0] == "▶ Download of x ████░░░░░░░░░░░░░░░░ 23 % 15.0 MiB of 64.0 MiB, 7.5 MiB/s"
    assert len(seen) == 14
    assert seen[-1].startswith("✔ Download of x")


def test_a_total_that_is_not_known_is_not_guessed(clock: Clock) -> None:
    bar = Bar("x", print, clock=clock)
    clock.now += 2
    bar.done = 500
    assert (bar.share, bar.text) == (None, "▶ x 500 bytes, 250 bytes/s")
    bar.done, bar.total = 10, 5
    assert bar.share == 1.0


def test_a_download_that_failed_says_so(clock: Clock) -> None:
    seen: list[str] = []

    def fails() -> None:
        with Bar("x", lambda bar: seen.append(bar.text), clock=clock) as bar:
            clock.now += 3
            bar(1, 2)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fails()
    assert seen[-1].startswith("✖ x")


def test_a_title_from_a_stranger_moves_no_cursor(clock: Clock) -> None:
    assert "\x1b" not in Bar("\x1b[2J", print, clock=clock).text


@pytest.mark.parametrize("terminal", [True, False])
def test_a_terminal_gets_one_line_that_is_written_over(
    terminal: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    with on_terminal("Download of x") as bar:
        bar._next = 0
        bar(1, 2)
        bar(2, 2)
    out, err = capsys.readouterr()
    assert out == ""
    assert (err.count("\r"), err.count("\n")) == ((2, 1) if terminal else (0, 0))


def test_a_download_tells_who_is_registered_and_not_who_watches_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, titles, told, own = BlockStore(), [], [], []

    def shows(title: str) -> Any:
        titles.append(title)
        return nullcontext(lambda *progress: told.append(progress))

    monkeypatch.setattr(transfers, "on_download", shows)
    cid = store.add(content(MIB))
    ipfs = Web(Gateway(store)).ipfs()
    ipfs.download(cid, tmp_path / "a.bin", max_bytes=10**7)
    assert titles == ["Download of a.bin"]
    assert told[-1] == (MIB, MIB)
    ipfs.download(cid, tmp_path / "b.bin", max_bytes=10**7, on_progress=lambda *progress: own.append(progress))
    assert (len(titles), own[-1]) == (1, (MIB, MIB))
    store.close()

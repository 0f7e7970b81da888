"""How far a download is, for whoever waits for it.

Nothing is shown of a download that takes less than two seconds. After that a terminal gets one line that is written
over; a notebook registers something of its own in place of it. What is shown says when a total is not known instead of
guessing one.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from shutil import get_terminal_size
from types import TracebackType
from typing import Self

from iexec_nb.protocol.types import shown

Progress = Callable[[int, int | None], object]
"""Takes the bytes that have arrived, and how many there are in all where that is known."""

DELAY_S = 2.0

on_download: Callable[[str], AbstractContextManager[Progress]] | None = None
"""What shows people how far a download is: takes its title. Set by the shell and by the notebook extension."""

_EVERY_S = 0.25
_CELLS = 20
_UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB")


class Bar:
    """The state of one download, told by calling it; a context manager whose end is the last that is shown.

    Parameters
    ----------
    title
        What is downloaded.
    show
        Takes the bar each time that it changed, once the delay has passed.
    delay_s
        Seconds before anything is shown.
    clock
        Seconds that only go forward.
    """

    def __init__(
        self,
        title: str,
        show: Callable[[Bar], None],
        *,
        delay_s: float = DELAY_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.title = shown(title)
        self.done = 0
        self.total: int | None = None
        self.over = False
        self.failed = False
        self._show = show
        self._clock = clock
        self._began = clock()
        self._next = self._began + delay_s
        self._is_shown = False

    def __enter__(self) -> Self:
        return self

    def __call__(self, done: int, total: int | None) -> None:
        """Take in how many bytes have arrived, and show it when it is time."""
        self.done, self.total = done, total
        now = self._clock()
        if now >= self._next:
            self._next = now + _EVERY_S
            self._is_shown = True
            self._show(self)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.over, self.failed = True, kind is not None
        if self._is_shown:
            self._show(self)

    @property
    def share(self) -> float | None:
        """How much of it has arrived, from 0 to 1, where that is known."""
        return min(self.done / self.total, 1.0) if self.total else None

    @property
    def text(self) -> str:
        """The state in one line."""
        sign = "✖" if self.failed else "✔" if self.over else "▶"
        share = self.share
        bar = "" if share is None else f" {'█' * int(share * _CELLS):░<{_CELLS}} {int(share * 100)} %"
        whole = "" if self.total is None else f" of {_bytes(self.total)}"
        spent_s = max(self._clock() - self._began, 0.001)
        return f"{sign} {self.title}{bar} {_bytes(self.done)}{whole}, {_bytes(int(self.done / spent_s))}/s"


def on_terminal(title: str) -> Bar:
    """Return a bar that is one line of standard error; nothing where that is no terminal."""
    return Bar(title, _write_line)


def _write_line(bar: Bar) -> None:
    if not sys.stderr.isatty():
        return
    width = get_terminal_size().columns - 1
    end = "\n" if bar.over else ""
    print(f"\r{bar.text[:width]:<{width}}{end}", end="", file=sys.stderr, flush=True)


def _bytes(count: int) -> str:
    value, unit = float(count), 0
    while value >= 1024 and unit < len(_UNITS) - 1:
        value, unit = value / 1024, unit + 1
    return f"{value:.0f} {_UNITS[unit]}" if unit == 0 or value >= 100 else f"{value:.1f} {_UNITS[unit]}"

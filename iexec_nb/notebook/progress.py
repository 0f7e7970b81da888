"""The live view of a deal or a task: one output that says where things stand, and stays as the record of it.

Nothing is shown for a run that is over within two seconds. After that a notebook gets one output, found again by its
display id; without a notebook each new phase is a line on standard error, where it is in nobody's way. The updates come
from a generator that waits for the chain, so the clock in the output is kept going by a thread. Stopping the cell stops
the waiting and not the paid task, and the output says so.
"""

from __future__ import annotations

import contextvars
import sys
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from html import escape
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar
from uuid import uuid4

from iexec_nb.notebook.display import clean, moment

DELAY_S = 2.0
_TICK_S = 1.0
_EXPECTED = ("matched", "initialized", "running", "completed")
_BAD = "var(--jp-error-color1,#b3261e)"
_BOX = "border-left:4px solid {colour};padding:2px 0 2px 10px;margin:4px 0;color:inherit;overflow-wrap:anywhere"
_GOOD = "var(--jp-success-color1,#2e7d32)"
_BAR = (
    "display:flex;max-width:40em;height:0.6em;margin:4px 0;border:1px solid var(--jp-border-color1,"
    "rgba(128,128,128,0.6));border-radius:3px;overflow:hidden"
)
_ENOUGH = 3
"""Tasks that have to be over before anything is said about the others."""
_CALM = "var(--jp-border-color1,rgba(128,128,128,0.6))"

Show = Callable[[dict[str, str], bool, bool], None]
"""Takes a MIME bundle, whether one was shown before, and whether more than the clock differs from it."""


class Update(Protocol):
    """What a watched run tells each time something changed."""

    @property
    def phase(self) -> str:
        """``matched``, ``initialized``, ``running``, ``revealing``, ``completed``, ``failed`` or ``timeout``."""

    @property
    def message(self) -> str:
        """One line for people."""

    @property
    def done(self) -> bool:
        """Whether this is the last update."""

    @property
    def failed(self) -> bool:
        """Whether it ended badly."""


U = TypeVar("U", bound=Update)


@dataclass(frozen=True, slots=True)
class _Counts:
    """How many tasks there are, are completed, failed, and are on their way."""

    total: int
    completed: int
    failed: int
    running: int

    @property
    def over(self) -> int:
        return self.completed + self.failed

    @property
    def waiting(self) -> int:
        return max(self.total - self.over - self.running, 0)

    @classmethod
    def of(cls, update: Update | None) -> _Counts | None:
        """Return the counts of an update about several tasks, or None."""
        total = getattr(update, "tasksCount", 0)
        if total < 2:
            return None
        completed, failed = (getattr(update, f"{name}TasksCount") for name in ("completed", "failed"))
        return cls(total, completed, failed, getattr(update, "runningTasksCount", total - completed - failed))


def follow(
    updates: Iterable[U],
    *,
    title: str = "Run",
    reattach: str = "",
    delay_s: float = DELAY_S,
    clock: Callable[[], float] = time.monotonic,
) -> U | None:
    """Draw updates as they come until there are no more, and return the last one.

    Parameters
    ----------
    updates
        Such as ``run.watch()``. Its errors, and Ctrl-C, come through unchanged.
    title
        What is watched.
    reattach
        What to type to watch again, shown after Ctrl-C.
    delay_s
        How many seconds pass before anything is shown.
    clock
        Seconds that only go forward.

    Returns
    -------
    Update or None
        The last update; None when there was none.
    """
    last = None
    with Panel(title, reattach, delay_s=delay_s, clock=clock) as panel:
        for last in updates:
            panel.add(last)
    return last


class Panel:
    """The state of one live view, and what draws it; a context manager whose end leaves a static output.

    Parameters
    ----------
    title, reattach, delay_s, clock
        As for `follow`.
    show
        Where the view goes. The default finds out where it runs: a notebook's output, or lines on standard error.
    """

    def __init__(
        self, title: str, reattach: str, *, delay_s: float, clock: Callable[[], float], show: Show | None = None
    ) -> None:
        self._title = title
        self._reattach = reattach
        self._delay_s = delay_s
        self._clock = clock
        self._show = show or (_notebook_output() if in_notebook() else _print_line)
        self._began = clock()
        self._phases: dict[str, float] = {}
        self._over_before: int | None = None
        self._last: Update | None = None
        self._error = ""
        self._interrupted = False
        self._shown: str | None = None
        self._ended: float | None = None
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        # With the cell's context, because the kernel finds there which cell an output belongs to.
        run = contextvars.copy_context().run
        self._thread = threading.Thread(target=run, args=(self._keep_drawing,), name="iexec-progress", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._over.set()
        with self._lock:
            self._ended = self._clock()
            over = self._last is not None and self._last.done
            # Stopped by Ctrl-C, by who reads the updates (their generator is closed), or at a limit of waiting.
            left = kind is None or issubclass(kind, KeyboardInterrupt | GeneratorExit)
            self._interrupted = left and not over and (kind is not None or self._last is not None)
            self._error = kind.__name__ if kind is not None and not left else ""
            # A run that was over at once leaves nothing, unless Ctrl-C was pressed: then it goes on unseen.
            if self._shown is not None or (kind is not None and self._interrupted):
                self._draw()
        if self._thread is not None:
            self._thread.join()

    def add(self, update: Update) -> None:
        """Take in an update and draw it, once the delay has passed."""
        with self._lock:
            self._last = update
            counts = _Counts.of(update)
            if counts is not None and self._over_before is None:
                self._over_before = counts.over
            self._phases.setdefault(update.phase, self._clock() - self._began)
            self._draw_when_due()

    def text(self) -> str:
        """Return the state in one line."""
        return f"{clean(self._title)}: {self._state()} ({', '.join(self._facts())}) {self._note()}".rstrip()

    def html(self) -> str:
        """Return the state as HTML: the phases with a sign and a word each, elapsed time, deadline, message."""
        colour = _BAD if self._error or (self._last is not None and self._last.failed) else _CALM
        live = ' role="status" aria-live="polite"' if self._ended is None else ""
        note = f"<div>{escape(self._note())}</div>" if self._note() else ""
        return (
            f'<div class="iexec-nb" style="{_BOX.format(colour=colour)}">'
            f"<div{live}><strong>{escape(clean(self._title))}</strong>: {escape(self._state())}</div>"
            f"{self._bar() or f'<div>{escape(self._timeline())}</div>'}{note}"
            f"<div>{' · '.join(self._facts())}</div></div>"
        )

    def _keep_drawing(self) -> None:
        wait_s = self._delay_s
        while not self._over.wait(wait_s):
            with self._lock:
                if self._ended is None:
                    self._draw_when_due()
            wait_s = _TICK_S

    def _draw_when_due(self) -> None:
        if self._clock() - self._began >= self._delay_s:
            self._draw()

    def _draw(self) -> None:
        state = self._mark()
        self._show({"text/plain": self.text(), "text/html": self.html()}, self._shown is not None, state != self._shown)
        self._shown = state

    def _mark(self) -> str:
        """Return what is a change that is worth a line of text: of many tasks every tenth part, and each failure."""
        counts = _Counts.of(self._last)
        if counts is None or self._interrupted or self._error or (self._last is not None and self._last.done):
            return self._state() + self._note()
        return f"{counts.over * 10 // counts.total} {counts.failed} of {counts.total}"

    def _state(self) -> str:
        if self._interrupted:
            return "■ stopped watching"
        if self._error:
            return f"✖ {self._error}"
        if self._last is None:
            return "… waiting"
        sign = "✖" if self._last.failed else "✔" if self._last.done else "▶"
        return f"{sign} {clean(self._last.phase, 40)}" + (
            f", {clean(self._last.message)}" if self._last.message else ""
        )

    def _timeline(self) -> str:
        last, seen = self._last, list(self._phases)
        now = "" if last is None else "✖" if last.failed else "✔" if last.done else "▶"
        steps = [
            f"{now if last is not None and name == last.phase else '✔'} {clean(name, 40)} {_duration(at)}"
            for name, at in self._phases.items()
        ]
        if last is None or not last.done:
            reached = max((_EXPECTED.index(name) for name in seen if name in _EXPECTED), default=-1)
            steps += [f"○ {name}" for name in _EXPECTED[reached + 1 :]]
        return " → ".join(steps)

    def _bar(self) -> str:
        """Return the counts of many tasks as a bar with signs and words below it, or nothing for one task."""
        counts = _Counts.of(self._last)
        if counts is None:
            return ""
        parts = "".join(
            f'<div style="width:{100 * number / counts.total:.2f}%;background:{colour}"></div>'
            for number, colour in ((counts.completed, _GOOD), (counts.failed, _BAD), (counts.running, _CALM))
        )
        numbers = (
            ("✔", counts.completed, "completed"), ("✖", counts.failed, "failed"), ("▶", counts.running, "running"),
            ("○", counts.waiting, "waiting"),
        )  # fmt: skip
        words = " · ".join(f"{sign} {number} {word}" for sign, number, word in numbers if number)
        return (
            f'<div role="progressbar" aria-valuemin="0" aria-valuemax="{counts.total}" aria-valuenow="{counts.over}" '
            f'aria-label="tasks that are over" style="{_BAR}">{parts}</div><div>{words}</div>'
        )

    def _note(self) -> str:
        if not self._interrupted:
            return ""
        goes_on = "The paid task goes on." if _Counts.of(self._last) is None else "What was paid goes on."
        return goes_on + (f" To watch again: {clean(self._reattach)}" if self._reattach else "")

    def _facts(self) -> list[str]:
        end = self._clock() if self._ended is None else self._ended
        final = getattr(getattr(self._last, "deal", None), "finalTime", None)
        over = self._last is not None and self._last.done
        deadline = [f"deadline {moment(final)}"] if isinstance(final, datetime) and not over else []
        return [f"elapsed {_duration(end - self._began)}", *self._left(end - self._began), *deadline]

    def _left(self, elapsed_s: float) -> list[str]:
        """Return how long many tasks are going to take, by those that are over."""
        counts = _Counts.of(self._last)
        if counts is None or self._ended is not None:
            return []
        # What was over when the watching began says nothing about how fast tasks are.
        over = counts.over - (self._over_before or 0)
        if over < _ENOUGH or counts.over == counts.total:
            return []
        return [f"about {_duration(elapsed_s / over * (counts.total - counts.over))} left"]


def _duration(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"


def in_notebook() -> bool:
    """Tell whether this runs in a kernel, whose front-end can replace an output."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return getattr(shell, "kernel", None) is not None


def _print_line(bundle: dict[str, str], again: bool, changed: bool) -> None:
    if changed:
        print(bundle["text/plain"], file=sys.stderr, flush=True)


def _notebook_output() -> Show:
    from IPython.display import display

    draw: Any = display
    name = uuid4().hex
    return lambda bundle, again, changed: draw(bundle, raw=True, display_id=name, update=again)

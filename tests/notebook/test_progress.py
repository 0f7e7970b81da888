"""The live view of a run: quiet when short, one output when long, never in the way of Ctrl-C."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from iexec_nb.notebook.progress import Panel, follow, in_notebook

DEADLINE = datetime(2026, 11, 20, 8, 30, tzinfo=UTC)


@dataclass
class Step:
    phase: str
    message: str = ""
    done: bool = False
    failed: bool = False
    deal: Any = None


class Clock:
    """Seconds that go forward when told."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Screen:
    """Keeps what was shown, and wakes who waits for it."""

    def __init__(self) -> None:
        self.bundles: list[dict[str, str]] = []
        self.flags: list[tuple[bool, bool]] = []
        self.drawn = threading.Event()

    def __call__(self, bundle: dict[str, str], again: bool, changed: bool) -> None:
        self.bundles.append(bundle)
        self.flags.append((again, changed))
        self.drawn.set()


def panel(clock: Clock, screen: Screen, delay_s: float = 2.0, reattach: str = "") -> Panel:
    return Panel("Run", reattach, delay_s=delay_s, clock=clock, show=screen)


def watch_until(end: BaseException, view: Panel, step: Step | None = None) -> None:
    with view:
        view.add(step or Step("running"))
        raise end


def test_a_run_that_is_over_within_the_delay_shows_nothing() -> None:
    clock, screen = Clock(), Screen()
    with panel(clock, screen) as view:
        view.add(Step("matched"))
        clock.now += 1.9
        view.add(Step("completed", done=True))
    assert screen.bundles == []


def test_after_the_delay_one_output_is_updated_and_ends_static() -> None:
    clock, screen = Clock(), Screen()
    with panel(clock, screen) as view:
        view.add(Step("matched", deal=SimpleNamespace(finalTime=DEADLINE)))
        clock.now += 3
        view.add(Step("initialized", "0 of 1 completed", deal=SimpleNamespace(finalTime=DEADLINE)))
        clock.now += 62
        view.add(Step("completed", "1 of 1 completed", done=True))
    assert screen.flags == [(False, True), (True, True), (True, False)]
    first, last = screen.bundles[0], screen.bundles[-1]
    assert first["text/plain"] == (
        "Run: ▶ initialized, 0 of 1 completed (elapsed 3 s, deadline 2026-11-20 08:30:00 UTC)"
    )
    assert "✔ matched 0 s → ▶ initialized 3 s → ○ running → ○ completed" in first["text/html"]
    assert 'aria-live="polite"' in first["text/html"]
    assert last["text/plain"] == "Run: ✔ completed, 1 of 1 completed (elapsed 1 min 5 s)"
    assert "✔ matched 0 s → ✔ initialized 3 s → ✔ completed 1 min 5 s" in last["text/html"]
    assert "aria-live" not in last["text/html"]


@dataclass
class Count(Step):
    tasksCount: int = 200
    completedTasksCount: int = 0
    failedTasksCount: int = 0
    runningTasksCount: int = 0


def test_many_tasks_are_a_bar_with_counts_signs_and_words_and_the_time_that_is_left() -> None:
    clock, screen = Clock(), Screen()
    with panel(clock, screen) as view:
        clock.now += 3
        view.add(Count("running", "10 of 200 completed", completedTasksCount=10, runningTasksCount=50))
        clock.now += 57
        view.add(
            Count("running", "37 of 200 completed, 3 failed", completedTasksCount=37, failedTasksCount=3,
                  runningTasksCount=50)
        )  # fmt: skip
        clock.now += 300
        view.add(Count("failed", "197 of 200 completed, 3 failed", True, True, None, 200, 197, 3))
    first, middle, last = screen.bundles[0], screen.bundles[1], screen.bundles[-1]
    # Ten were over when it began, so that thirty took a minute, and 160 are left.
    assert middle["text/plain"] == (
        "Run: ▶ running, 37 of 200 completed, 3 failed (elapsed 1 min 0 s, about 5 min 20 s left)"
    )
    assert "left" not in first["text/plain"]
    assert 'role="progressbar" aria-valuemin="0" aria-valuemax="200" aria-valuenow="40"' in middle["text/html"]
    assert "✔ 37 completed · ✖ 3 failed · ▶ 50 running · ○ 110 waiting" in middle["text/html"]
    assert [f"width:{share}%" in middle["text/html"] for share in ("18.50", "1.50", "25.00")] == [True] * 3
    assert "○" not in last["text/html"]
    assert last["text/plain"] == "Run: ✖ failed, 197 of 200 completed, 3 failed (elapsed 6 min 0 s)"
    assert "→" not in middle["text/html"]


def test_in_a_terminal_many_tasks_are_a_line_for_each_tenth_and_each_failure() -> None:
    clock, screen = Clock(), Screen()
    with panel(clock, screen) as view:
        clock.now += 3
        for over in range(200):
            view.add(Count("running", str(over), completedTasksCount=over - over // 150, failedTasksCount=over // 150))
        view.add(Count("failed", "all", True, True, None, 200, 199, 1))
    lines = [bundle["text/plain"] for bundle, (_, changed) in zip(screen.bundles, screen.flags, strict=True) if changed]
    assert [line.split(", ")[1].partition(" ")[0] for line in lines] == [
        "0", "20", "40", "60", "80", "100", "120", "140", "150", "160", "180", "all",
    ]  # fmt: skip


def test_stopping_to_watch_many_tasks_says_what_goes_on() -> None:
    clock, screen = Clock(), Screen()
    view = panel(clock, screen, reattach="iexec.app.last_map.wait()")
    with pytest.raises(KeyboardInterrupt):
        watch_until(KeyboardInterrupt(), view, Count("running"))
    assert screen.bundles[-1]["text/plain"].endswith("What was paid goes on. To watch again: iexec.app.last_map.wait()")


def test_a_deal_of_one_task_has_no_bar() -> None:
    clock, screen = Clock(), Screen()
    with panel(clock, screen, delay_s=0) as view:
        view.add(Count("completed", done=True, tasksCount=1, completedTasksCount=1))
    assert "progressbar" not in screen.bundles[-1]["text/html"]


def test_a_failure_has_a_sign_a_word_and_the_reason() -> None:
    clock, screen = Clock(), Screen()
    with panel(clock, screen, delay_s=0) as view:
        view.add(Step("running"))
        view.add(Step("failed", "the app <b>crashed</b>\u202e", done=True, failed=True))
    html = screen.bundles[-1]["text/html"]
    assert "✖ failed, the app &lt;b&gt;crashed&lt;/b&gt;\\u202e" in html
    assert "--jp-error-color1" in html
    assert "✔ running 0 s → ✖ failed 0 s" in html


def test_the_clock_goes_on_while_the_updates_wait() -> None:
    clock, screen = Clock(), Screen()
    clock.now += 60
    with panel(clock, screen, delay_s=0.01):
        clock.now += 5
        assert screen.drawn.wait(30)
    assert "Run: … waiting (elapsed 5 s)" in screen.bundles[0]["text/plain"]


def test_ctrl_c_comes_through_and_says_how_to_watch_again() -> None:
    clock, screen = Clock(), Screen()
    with pytest.raises(KeyboardInterrupt):
        watch_until(KeyboardInterrupt(), panel(clock, screen, reattach="iexec.deal.attach('0x1')"))
    assert screen.bundles[-1]["text/plain"] == (
        "Run: ■ stopped watching (elapsed 0 s) The paid task goes on. To watch again: iexec.deal.attach('0x1')"
    )
    assert "aria-live" not in screen.bundles[-1]["text/html"]


def test_updates_that_end_before_the_run_does_say_how_to_watch_again() -> None:
    clock, screen = Clock(), Screen()
    with panel(clock, screen, delay_s=0, reattach="iexec.deal.attach('0x1')") as view:
        view.add(Step("running"))
    assert screen.bundles[-1]["text/plain"].startswith("Run: ■ stopped watching (elapsed 0 s) The paid task goes on.")


def test_who_stops_reading_the_updates_stopped_watching_and_nothing_failed() -> None:
    clock, screen = Clock(), Screen()

    def drawn(*steps: Step) -> Iterator[Step]:
        with panel(clock, screen, delay_s=0) as view:
            for step in steps:
                view.add(step)
                yield step

    for step in (updates := drawn(Step("completed", done=True), Step("never"))):
        assert step.done
        break
    updates.close()  # type: ignore[attr-defined]
    assert screen.bundles[-1]["text/plain"] == "Run: ✔ completed (elapsed 0 s)"
    next(updates := drawn(Step("running"), Step("never")))
    updates.close()  # type: ignore[attr-defined]
    assert "■ stopped watching" in screen.bundles[-1]["text/plain"]
    assert "GeneratorExit" not in screen.bundles[-1]["text/html"]


def test_an_error_comes_through_and_only_its_kind_is_shown() -> None:
    clock, screen = Clock(), Screen()
    with pytest.raises(ConnectionError):
        watch_until(ConnectionError("secret://host"), panel(clock, screen, delay_s=0))
    assert "✖ ConnectionError" in screen.bundles[-1]["text/html"]
    assert "secret" not in screen.bundles[-1]["text/html"]


def test_no_thread_is_left_behind() -> None:
    with pytest.raises(ValueError, match="boom"):
        watch_until(ValueError("boom"), panel(Clock(), Screen()))
    assert not [thread for thread in threading.enumerate() if thread.name == "iexec-progress"]


def test_follow_takes_every_update_and_returns_the_last(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()

    def updates() -> Iterator[Step]:
        clock.now += 10
        for phase in ("matched", "running", "running", "completed"):
            yield Step(phase, done=phase == "completed")
            clock.now += 7

    last = follow(updates(), title="Task", delay_s=5, clock=clock)
    assert last is not None
    assert last.done
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "Task: ▶ matched (elapsed 10 s)", "Task: ▶ running (elapsed 17 s)", "Task: ✔ completed (elapsed 31 s)",
    ]  # fmt: skip


def test_follow_of_nothing_returns_none(capsys: pytest.CaptureFixture[str]) -> None:
    nothing: list[Step] = []
    assert follow(nothing) is None
    assert capsys.readouterr().err == ""


def test_a_test_run_is_no_notebook() -> None:
    assert not in_notebook()


CELL = """
from types import SimpleNamespace as Step
import threading
from iexec_nb.notebook import progress

def updates():
    yield Step(phase="matched", message="0 of 1", done=False, failed=False)
    threading.Event().wait(0.2)
    yield Step(phase="completed", message="1 of 1", done=True, failed=False)

last = progress.follow(updates(), delay_s=0)
print(progress.in_notebook(), last.phase)
"""


def test_a_kernel_gets_one_output_that_holds_the_last_state() -> None:
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(CELL)])
    NotebookClient(notebook, timeout=60, kernel_name="python3").execute()
    outputs = notebook.cells[0].outputs
    assert [output.output_type for output in outputs] == ["display_data", "stream"]
    assert outputs[0].data["text/plain"].startswith("Run: ✔ completed, 1 of 1 (elapsed ")
    assert "✔ matched" in outputs[0].data["text/html"]
    assert outputs[1].text == "True completed\n"

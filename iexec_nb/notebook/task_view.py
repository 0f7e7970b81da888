"""How a task looks in a cell when somebody asks why: the chain's view, the scheduler's, and what the app printed.

What an app printed was written by strangers: its last lines are shown, escaped, without a character that moves a cursor
or turns the direction of writing.
"""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import Any

from iexec_nb.notebook.display import Row, View, clean, html, moment, plain, record_view

_LINES, _LINE_CHARACTERS = 30, 200
_STEPS = 30
_PRE = "margin:4px 0;white-space:pre-wrap;overflow-wrap:anywhere;color:inherit;background:transparent"
_NAME = "font-weight:bold;color:inherit"


def logs_html(logs: Any) -> str:
    """Return what the app printed on every worker, as HTML: the last lines of each stream."""
    parts = [
        f'<div style="{_NAME}">{escape(title)}</div><pre style="{_PRE}"><bdi>{escape(chr(10).join(lines))}</bdi></pre>'
        for title, lines in _streams(logs)
    ]
    return "".join(parts) or "<div>nothing was printed</div>"


def logs_text(logs: Any) -> str:
    """Return what the app printed on every worker, as text; the twin of `logs_html`."""
    parts = ["\n".join([f"{title}:", *(f"  {line}" for line in lines)]) for title, lines in _streams(logs)]
    return "\n".join(parts) or "nothing was printed"


def debug_html(debug: Any) -> str:
    """Return all that there is to know about a task, as HTML."""
    logs = "" if debug.appLogs is None else logs_html(debug.appLogs)
    return "".join(html(view) for view in _views(debug)) + logs


def debug_text(debug: Any) -> str:
    """Return all that there is to know about a task, as text; the twin of `debug_html`."""
    logs = [] if debug.appLogs is None else [logs_text(debug.appLogs)]
    return "\n".join([*map(plain, _views(debug)), *logs])


def offchain_view(info: Any) -> View:
    """Return the view of what a scheduler says: the steps of the task, and of each worker's part."""
    rows = [Row("scheduler says", info.task.status or "nothing")]
    rows += [_step("task", change) for change in info.task.statusHistory[-_STEPS:]]
    for one in info.replicates:
        code = "" if one.exitCode is None else f", exit code {one.exitCode}"
        rows.append(Row(f"worker {one.worker}", f"{one.status}{code}"))
        rows += [_step("worker", change) for change in one.statusHistory[-_STEPS:]]
    return View("What the workerpool claims", tuple(rows))


def _views(debug: Any) -> Iterator[View]:
    yield record_view(debug.onchainData, "Task")
    if debug.offchainData is not None:
        yield offchain_view(debug.offchainData)
    if debug.warnings:
        yield View("Not known", tuple(Row("✖", text) for text in debug.warnings))


def _step(what: str, change: Any) -> Row:
    when = moment(change.date) if change.date is not None else "at some time"
    return Row(f"{what}, {when}", f"{change.status}{f': {change.cause}' if change.cause else ''}")


def _streams(logs: Any) -> Iterator[tuple[str, list[str]]]:
    for one in logs:
        for name in ("stdout", "stderr"):
            lines = getattr(one, name).rstrip().splitlines()
            if lines:
                left = f", the last {_LINES} of {len(lines):,} lines" if len(lines) > _LINES else ""
                shown = [clean(line.expandtabs(4), _LINE_CHARACTERS) for line in lines[-_LINES:]]
                yield f"{clean(one.worker)} {name}{left}", shown

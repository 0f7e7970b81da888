"""The live view of a download in a notebook: one output with a bar, which stays as the record of it."""

from __future__ import annotations

from html import escape
from typing import Any
from uuid import uuid4

from iexec_nb.notebook.progress import in_notebook
from iexec_nb.services.transfers import Bar, on_terminal


def drawn(title: str) -> Bar:
    """Return what shows a download: an output of the cell in a notebook, a line in a terminal."""
    if not in_notebook():
        return on_terminal(title)
    name, seen = uuid4().hex, False

    def show(bar: Bar) -> None:
        nonlocal seen
        from IPython.display import display

        draw: Any = display
        draw({"text/plain": bar.text, "text/html": html(bar)}, raw=True, display_id=name, update=seen)
        seen = True

    return Bar(title, show)


def html(bar: Bar) -> str:
    """Return the state as HTML: a bar that tells screen readers its value, and the line below it."""
    value = "" if bar.share is None else f' value="{bar.share:.4f}"'
    label = escape(bar.title, quote=True)
    return (
        '<div class="iexec-nb" style="color:inherit">'
        f'<progress max="1"{value} aria-label="{label}" style="width:20em"></progress>'
        f"<div>{escape(bar.text)}</div></div>"
    )

"""The view of a download in a notebook: a bar with a plain twin, and an extension that registers it."""

from __future__ import annotations

import re
from typing import Any

import IPython.display
import pytest

from iexec_nb.notebook import transfer
from iexec_nb.services.transfers import Bar


def test_the_bar_tells_its_value_and_its_title_to_everybody() -> None:
    bar = Bar('Download of <b>"x"', print)
    bar.done, bar.total = 1, 4
    html = transfer.html(bar)
    assert re.search(r'<progress max="1" value="0.2500" aria-label="Download of &lt;b&gt;&quot;x&quot;"', html)
    assert "<b>" not in html
    bar.total = None
    assert "value=" not in transfer.html(bar)


def test_a_notebook_has_one_output_that_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[tuple[dict[str, str], dict[str, Any]]] = []
    monkeypatch.setattr(transfer, "in_notebook", lambda: True)
    monkeypatch.setattr(IPython.display, "display", lambda bundle, **options: shown.append((bundle, options)))
    with transfer.drawn("Download of x") as bar:
        bar._next = 0
        bar(1, 2)
        bar(2, 2)
    assert [options["update"] for _, options in shown] == [False, True]
    assert len({options["display_id"] for _, options in shown}) == 1
    assert shown[-1][0]["text/plain"].startswith("✔ Download of x")


def test_outside_of_a_notebook_it_is_the_line_of_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with transfer.drawn("Download of x") as bar:
        bar._next = 0
        bar(1, 2)
    assert capsys.readouterr() == ("", "")

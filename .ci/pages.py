"""The pages of docs/ that are made by a program: written, or seen to be current."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def write_or_check(name: str, text: str, problems: Iterable[str] = ()) -> int:
    """Write a page of docs/, or with --check say what is wrong with it, and return the exit code.

    Parameters
    ----------
    name, text
        The page and what it should hold.
    problems
        What else is wrong, looked at with --check only.
    """
    path = ROOT / "docs" / name
    if "--check" not in sys.argv[1:]:
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return 0
    found = list(problems)
    if not path.is_file() or path.read_text("utf-8") != text:
        found.append(f"docs/{name} is not current: make docs")
    for problem in found:
        print(problem, file=sys.stderr)
    return 1 if found else 0

"""Runs one pickled callable as an app; a script of its own that imports the standard library only.

It stands apart from the package so that starting it costs a bare interpreter and nothing else.
"""

from __future__ import annotations

import inspect
import json
import pickle
import sys
from pathlib import Path


def main(arguments: list[str]) -> None:
    """Call the function in the file named first with the other arguments."""
    payload, *words = arguments
    head, _, pickled = Path(payload).read_bytes().partition(b"\n")
    sys.path[:] = json.loads(head)
    sys.argv = ["app", *words]
    function = pickle.loads(pickled)  # noqa: S301 - written by the sandbox a moment ago, for this process
    if any(parameter.kind <= parameter.POSITIONAL_OR_KEYWORD for parameter in _parameters(function)):
        function(words)
    else:
        function()


def _parameters(function: object) -> list[inspect.Parameter]:
    try:
        return list(inspect.signature(function).parameters.values())  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return []


if __name__ == "__main__":
    main(sys.argv[1:])

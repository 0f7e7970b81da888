"""The official CLI as a Python object: one process for each command, in a folder."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from sdk import HERE, cli_command, installed

COMMAND_S = 120.0


class CliError(Exception):
    """What the CLI said went wrong, by its class and message."""


class Cli:
    """``cli("app", "show")`` is ``iexec app show --raw`` in the folder.

    Parameters
    ----------
    folder
        Where it runs; no other folder of the user is touched.
    version
        ``v7`` for 7.2.5, else 9.0.1.
    """

    def __init__(self, folder: Path, version: str = "") -> None:
        self._installed = installed(HERE / version)
        self.folder = folder

    def __call__(self, *words: str) -> dict[str, Any]:
        done = subprocess.run(
            cli_command(self._installed, *words, "--raw"),
            cwd=self.folder,
            env={**os.environ, "HOME": str(self.folder), "NODE_NO_WARNINGS": "1"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=COMMAND_S,
            check=False,
        )
        lines = (done.stdout or done.stderr).strip().splitlines()
        assert lines, f"{words}: no answer (exit code {done.returncode})"
        try:
            answer: dict[str, Any] = json.loads(lines[-1])
        except ValueError:
            raise CliError(f"{done.stdout}{done.stderr}") from None
        if "error" in answer:
            raise CliError(f"{answer['error']['name']}: {answer['error']['message']}")
        return answer

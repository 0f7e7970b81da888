"""The shell's front door: ``iexec-nb NOUN VERB ...`` and ``python -m iexec_nb``; parse, call, print."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import Any

from iexec_nb import __version__
from iexec_nb.errors import IExecError


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return the exit code: 0, or 1 on any error."""
    flags, words = _flags().parse_known_args(sys.argv[1:] if argv is None else list(argv))
    try:
        if words[:1] == ["sandbox"]:
            return _sandbox()
        return _command(flags, words)
    except IExecError as error:
        body = {"ok": False, "error": {"name": type(error).__name__, "message": error.message}}
        print(json.dumps(body) if flags.raw else f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt as stop:
        # What was paid for goes on; the notes say how to come back to it.
        print(*getattr(stop, "__notes__", ()), sep="\n", file=sys.stderr)
        return 1


def _flags() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="iexec-nb", add_help=False, allow_abbrev=False)
    parser.add_argument("--chain")
    parser.add_argument("--raw", action="store_true")
    parser.add_argument("--help", "-h", action="store_true")
    parser.add_argument("--version", "-V", action="version", version=__version__)
    return parser


def _command(flags: argparse.Namespace, words: Sequence[str]) -> int:
    from iexec_nb import commands
    from iexec_nb.client import IExec

    if flags.help or not words:
        print(commands.help_text(words, "iexec-nb"), end="")
        if not words:
            print("\niexec-nb sandbox starts a complete local iExec and prints where it is.")
        return 0
    words, answered = commands.without_answer(words)
    call = commands.parse(words, program="iexec-nb")
    value = call.on(IExec(flags.chain, confirm=False if answered else None))
    print(json.dumps({"ok": True, **_members(call, value)}) if flags.raw else _text(value))
    return 0


def _sandbox() -> int:
    import signal
    import threading

    from iexec_nb.sandbox.network import Sandbox

    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    with Sandbox() as net:
        endpoints = net.serve()
        print(json.dumps(endpoints.chain_json(), indent=2), flush=True)
        print("A local iExec runs at these addresses; Ctrl-C stops it.", file=sys.stderr, flush=True)
        stop.wait()
    return 0


def _members(call: Any, value: object) -> dict[str, Any]:
    plain = _plain(value)
    return plain if isinstance(plain, dict) else {call.command.verb.replace("-", "_"): plain}


def _plain(value: object) -> Any:
    if hasattr(value, "to_json") and not hasattr(value, "columns"):
        return value.to_json()
    if hasattr(value, "columns"):
        return {"count": len(value), "orders": json.loads(value.to_json(orient="records", date_format="iso"))}  # type: ignore[arg-type, attr-defined]
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, datetime):
        return value.isoformat()
    # Numbers are text in the CLI's JSON, because JavaScript rounds above 2**53; a path or a secret is its text.
    return (
        value
        if isinstance(value, str | bool) or value is None
        else value.name
        if isinstance(value, Path)
        else str(value)
    )


def _text(value: object) -> str:
    return value.to_string() if hasattr(value, "to_string") else str(value)


if __name__ == "__main__":
    sys.exit(main())

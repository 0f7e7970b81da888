"""The shell's front door: ``iexec-nb NOUN VERB ...`` and ``python -m iexec_nb``; parse, call, print.

Words, messages for programs (``--raw``) and exit codes are those of the official CLI, so that a script or a habit
carries over.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import fields, is_dataclass
from datetime import datetime
from enum import Enum
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Any

from iexec_nb import __version__
from iexec_nb.commands.table import JsonNumber, find
from iexec_nb.errors import ConfigurationError, IExecError
from iexec_nb.protocol.types import shown

if TYPE_CHECKING:
    from iexec_nb.client import IExec
    from iexec_nb.commands import Call, Options

PROGRAM = "iexec-nb"
_COLUMNS = 10
"""A table of more columns has no room in a terminal: it is shown row by row, as the official CLI does."""
_UNSAFE = "--{} on a command line can be read by other users of this machine; without it you are asked"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return the exit code: 0, or 1 on any error."""
    words = sys.argv[1:] if argv is None else list(argv)
    if words[:1] in (["--version"], ["-V"]):
        print(__version__)
        return 0
    if words[:1] == ["sandbox"]:
        return _sandbox(words[1:])
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            # A terminal that lacks a letter of somebody's name is no reason to lose the hash of a transaction.
            stream.reconfigure(errors="backslashreplace")
    import iexec_nb.client  # noqa: F401
    from iexec_nb import commands
    from iexec_nb.services import transfers

    transfers.on_download = transfers.on_terminal
    regular, options = commands.split(words)
    try:
        if options.help or not regular:
            return _help(regular)
        return _command(words, options)
    except IExecError as error:
        if options.raw and error.fail:
            print(_json({"ok": False, "fail": list(error.fail)}), file=sys.stderr)
        elif options.raw:
            name = " ".join(["iexec", *_name(regular)])
            said = {"name": type(error).__name__, "message": _message(error)}
            if tx_hash := getattr(error, "tx_hash", None):
                # It may be mined all the same, and a program has to find it before it tries again.
                said["txHash"] = tx_hash
            if "deployed" in error.context:
                said["address"] = str(error.context["deployed"])
            body = {"ok": False, "command": name, **_present(error.done), "error": said}
            print(_json(body), file=sys.stderr)
        else:
            lines = [f"{type(error).__name__}: {error}", *getattr(error, "__notes__", ())]
            print(_safe("\n".join(lines)).replace("%iexec ", f"{PROGRAM} "), file=sys.stderr)
        return 1
    except KeyboardInterrupt as stop:
        # What was paid for goes on; the notes say how to come back to it.
        print(_safe("\n".join(getattr(stop, "__notes__", ()))), file=sys.stderr)
        return 1


def _help(words: Sequence[str]) -> int:
    from iexec_nb.commands import help_text

    print(help_text(words, PROGRAM), end="")
    if not words:
        print(
            "\niexec-nb sandbox starts a complete local iExec and prints its chain.json; --fund ADDRESS fills a wallet."
        )
    return 0


def _command(words: Sequence[str], options: Options) -> int:
    from iexec_nb import commands

    call = commands.parse(words, program=PROGRAM, private=True)
    if not options.quiet and not options.raw:
        _warn(call)
    client = _client(call)
    try:
        # "nobody is asked" is not yet a yes to replacing a file; the word on the line is.
        with client.without_asking() if call.options.answered else nullcontext(), _following(call.options):
            value = call.on(client)
    finally:
        client.close()
    members = _members(call, value)
    failed = "fail" in members
    # What failed in part is said where errors are said, as in the official CLI; unlike there, it is also a failure.
    stream = sys.stderr if failed else sys.stdout
    if options.raw:
        print(_json({"ok": not failed, **members}), file=stream)
    else:
        print(_safe(_text(call, value, members)), file=stream)
    return 1 if failed else 0


def _client(call: Call) -> IExec:
    """Return the client of one command: chain and wallet are found as the official CLI finds them."""
    from iexec_nb import client
    from iexec_nb.protocol.networks import DEFAULT, network
    from iexec_nb.protocol.types import uint256
    from iexec_nb.services.wallet import find_wallet

    options, session = call.options, call.options.session
    confirms = session.get("confirms")
    keys = {name: session.get(name) for name in ("wallet_file", "wallet_address", "keystoredir", "password")}
    try:
        signer = find_wallet(**keys)
    except IExecError as error:
        if any(value is not None for value in keys.values()):
            raise
        # Nobody asked for this wallet, and most commands need none; one that does will say so.
        signer = None
        if not options.quiet and not options.raw:
            print(_safe(f"Warning: no wallet was loaded: {error.message}"), file=sys.stderr)
    given: dict[str, Any] = {name: session.get(name) for name in ("keystoredir", "gas_price", "tee_framework")}
    given |= {"signer": signer, "confirm": False if options.answered else _asked}
    given["confirms"] = 1 if confirms is None else uint256(confirms, "confirms")
    try:
        made = client.IExec(session.get("chain"), **given)
    except IExecError:
        if not call.command.local or "chain" in session:
            raise
        # It needs no chain, and may be what mends the file.
        made = client.IExec(network(DEFAULT), **given)
    made.trusts_project = True
    return made


@contextmanager
def _following(options: Options) -> Iterator[None]:
    """Let somebody who waits for a deal see what is known of it; a program that reads JSON waits in silence."""
    from iexec_nb.actions import watch

    before = watch.on_update
    watch.on_update = before if options.raw or options.quiet else _told
    try:
        yield
    finally:
        watch.on_update = before


def _told(updates: Iterator[Any], _: str) -> Iterator[Any]:
    dealid = ""
    for update in updates:
        if update.deal.dealid != dealid:
            dealid = update.deal.dealid
            print(f"Deal {dealid}", *(f"  task {one.taskid}" for one in update.tasks), sep="\n", file=sys.stderr)
        print(_safe(f"{update.phase}: {update.message}"), file=sys.stderr, flush=True)
        yield update


def _asked(text: str) -> bool:
    """Ask where errors are said, because what a command says is somebody's input."""
    print(f"{text}\nGo on? [y/N] ", end="", file=sys.stderr, flush=True)
    answer = sys.stdin.readline() if sys.stdin else ""
    if not answer:
        # The error, which may be JSON, has a line of its own.
        print(file=sys.stderr)
        raise ConfigurationError(
            "this needs a yes, and there is nobody to ask",
            context={"what": text},
            hint="answer on the line with --yes or --force",
        )
    return answer.strip().lower() in ("y", "yes")


def _message(error: IExecError) -> str:
    """Return what is wrong; where orders do not match, the reasons themselves, as the official CLI has the first."""
    reasons = getattr(error, "reasons", ())
    return "; ".join(str(getattr(reason, "message", reason)) for reason in reasons) or error.message


def _name(words: Sequence[str]) -> list[str]:
    """Return the words of a line that name its command; an option behind them may hold a secret."""
    found, count = find(words)
    return list(words[:count]) if found else [word for word in words[:2] if not word.startswith("-")]


def _warn(call: Call) -> None:
    from iexec_nb.protocol.types import Secret

    by_place = zip((parameter.name for parameter in call.command.parameters), call.args, strict=False)
    given = {**call.options.session, **dict(by_place), **call.kwargs}
    for name in sorted(name for name, value in given.items() if isinstance(value, Secret)):
        print(f"Warning: {_UNSAFE.format(name.replace('_', '-'))}", file=sys.stderr)


def _sandbox(words: Sequence[str]) -> int:
    """Run a local iExec until it is stopped; ``--fund ADDRESS`` gives a wallet ether and RLC on it."""
    import argparse
    import signal
    import threading

    from iexec_nb.sandbox.network import Sandbox

    parser = argparse.ArgumentParser(prog=f"{PROGRAM} sandbox", description=_sandbox.__doc__)
    parser.add_argument(
        "--fund", metavar="ADDRESS", action="append", default=[], help="a wallet that gets 10 ether and 100 RLC"
    )
    try:
        funded = parser.parse_args(words).fund
    except SystemExit as left:
        # argparse ends with 2, and every command here with 0 or 1.
        return 1 if left.code else 0
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    try:
        with Sandbox() as net:
            for wallet in funded:
                net.fund(wallet, rlc="100 RLC", eth="10 ether")
            print(json.dumps(net.serve().chain_json(), indent=2), flush=True)
            print("A local iExec runs at these addresses; Ctrl-C stops it.", file=sys.stderr, flush=True)
            stop.wait()
    except IExecError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 1
    return 0


def _members(call: Call, value: object) -> dict[str, Any]:
    if call.command.raw is not None:
        return _present(call.command.raw(value))
    plain = _plain(value)
    return plain if isinstance(plain, dict) else {call.command.verb.replace("-", "_"): plain}


def _present(members: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _plain(one) for name, one in members.items() if one is not None}


def _plain(value: object) -> Any:
    if hasattr(value, "to_json") and not hasattr(value, "columns"):
        return value.to_json()
    if hasattr(value, "columns"):
        return {"count": len(value), "orders": json.loads(value.to_json(orient="records", date_format="iso"))}  # type: ignore[arg-type, attr-defined]
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value) if field.repr}
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, Enum):
        return value.name
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, bytes):
        return f"0x{value.hex()}"
    if isinstance(value, str | bool | JsonNumber) or value is None:
        return value
    # Other numbers are text in the CLI's JSON, because JavaScript rounds above 2**53; a secret is its stars.
    return value.name if isinstance(value, Path) else str(value)


def _text(call: Call, value: object, members: Mapping[str, Any]) -> str:
    """Return what people read: a table as a table, a record member by member, anything else as it shows itself."""
    if hasattr(value, "to_string") and hasattr(value, "columns") and len(value.columns) <= _COLUMNS:
        return str(value.to_string())
    coin = "ether" if call.command.unit == "ether" else "RLC"
    if is_dataclass(value):
        # The JSON of the official CLI is for programs: people get what the record says of itself.
        return "\n".join(_lines(_plain(value), "", coin))
    if isinstance(value, Mapping) or hasattr(value, "to_string"):
        return "\n".join(_lines(members, "", coin))
    if isinstance(value, tuple | list):
        return "\n".join(map(str, value))
    return str(value)


def _lines(members: Mapping[str, Any], indent: str, coin: str) -> list[str]:
    lines = []
    for name, value in members.items():
        # A line break in a stranger's text does not make it another member.
        name = shown(name)
        if isinstance(value, Mapping) and value:
            lines += [f"{indent}{name}:", *_lines(value, indent + "  ", coin)]
        elif isinstance(value, list) and value and all(isinstance(one, Mapping) for one in value):
            lines.append(f"{indent}{name}:")
            for one in value:
                first, *rest = _lines(one, indent + "    ", coin) or ["{}"]
                lines += [f"{indent}  - {first.lstrip()}", *rest]
        elif isinstance(value, list) and value:
            lines += [f"{indent}{name}:", *(f"{indent}  - {_one_member(one)}" for one in value)]
        else:
            lines.append(f"{indent}{name}: {_readable(name, value, coin)}".rstrip())
    return lines


def _readable(name: str, value: Any, coin: str) -> str:
    """Return a member as people read it: money with its unit, a tag with its names."""
    is_money = name in ("stake", "locked", "amount", "total", "wei", "nRLC") or name.endswith("price")
    if is_money and str(value).isdecimal():
        from iexec_nb.protocol.units import format_ether, format_rlc

        is_ether = name == "wei" or (coin == "ether" and name == "amount")
        return f"{value} {'wei' if is_ether else 'nRLC'} ({(format_ether if is_ether else format_rlc)(int(value))})"
    if name == "tag" and isinstance(value, str):
        from iexec_nb.protocol import tags

        return f"{value} ({', '.join(tags.describe(value)) or 'none'})"
    return "" if value is None or value == [] else _one_member(value)


def _one_member(value: object) -> str:
    return str(value).replace("\n", "\n  | ")


def _safe(text: str) -> str:
    """Return lines that a terminal only shows: what else it would obey (strangers write names) becomes a sign."""
    return "\n".join(shown(line, len(line)) for line in text.expandtabs().split("\n"))


def _json(body: Mapping[str, Any]) -> str:
    text = json.dumps(body, ensure_ascii=False)
    return text if text.isprintable() else "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in text)


if __name__ == "__main__":
    sys.exit(main())

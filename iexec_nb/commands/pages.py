"""Pages of help, made from the declarations of the verbs by cyclopts, with an example that works on each."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from io import StringIO
from textwrap import wrap

from iexec_nb.commands.line import new_application, split, text_signature, unknown
from iexec_nb.commands.table import NOUNS, Command, find, lines_of

GENERAL = (
    ("--chain NAME", "the chain: a name of chain.json or of iExec's, or an id"),
    ("--wallet-address, --wallet-file, --keystoredir", "which keystore file signs"),
    ("--password", "of the keystore file (in a shell only, and other users may see it there)"),
    ("--gas-price AMOUNT [UNIT]", "a fixed price of gas, in wei without a unit"),
    ("--confirms N", "blocks to wait for after a transaction"),
    ("--tee-framework NAME", "which secret service, where a chain has several"),
    ("--yes, --force", "answer the question of a command that spends"),
    ("--raw", "in a shell: the JSON of the official CLI"),
    ("--quiet", "in a shell: no warnings"),
    ("--help", "this page, or that of a noun or a verb"),
)
"""The options of every command."""


def help_text(words: Sequence[str], program: str = "%iexec", width: int = 100) -> str:
    """Return the help page of a command, of a noun, or of everything when `words` is empty.

    Raises
    ------
    ValidationError
        When `words` begins with no known noun or verb.
    """
    known = [word for word in split(words)[0] if not word.startswith("-")]
    known[:1] = [word.replace("_", "-") for word in known[:1]]
    found, _ = find(known)
    if known and found is None and (known[0] not in NOUNS or len(known) > 1):
        raise unknown(known, program)
    if found is not None:
        page, examples = _verb(found, program, width), [found]
    elif known:
        page, examples = _noun(known[0], program, width), lines_of(known[0])
    else:
        page, examples = _everything(program, width), _first()
    lines = "\n".join(f"  {program} {one.example}" for one in examples)
    return f"{page}\n\nExamples\n{lines}\n"


def _verb(found: Command, program: str, width: int) -> str:
    from rich.console import Console

    page = StringIO()
    # Not for Jupyter: in a kernel it would display each paragraph by itself instead of writing the page.
    console = Console(file=page, width=width, no_color=True, force_terminal=False, force_jupyter=False, highlight=False)
    app, group = new_application(program), new_application(found.noun)
    usage = f"Usage: {program} {found.line} {_arguments(found)}".rstrip() + "\n"
    group.command(text_signature(found.function), name=[found.verb], alias=found.aliases, usage=usage)
    app.command(group)
    app.help_print([found.noun, found.verb], console=console)
    return page.getvalue().rstrip()


def _arguments(found: Command) -> str:
    kinds = inspect.Parameter
    shown = []
    for parameter in found.parameters:
        if parameter.kind in (kinds.POSITIONAL_ONLY, kinds.POSITIONAL_OR_KEYWORD):
            name = parameter.name.upper()
            shown.append(name if parameter.default is kinds.empty else f"[{name}]")
        elif "[OPTIONS]" not in shown:
            shown.append("[OPTIONS]")
    return " ".join(shown)


# The other pages are lists of two columns, and come at once: a library would need longer to load than people wait.


def _noun(name: str, program: str, width: int) -> str:
    rows = [(", ".join([one.verb, *one.aliases]), one.summary) for one in lines_of(name)]
    return f"Usage: {program} {name} VERB ...\n\n{NOUNS[name]}\n\nVerbs\n{_columns(rows, width)}"


def _everything(program: str, width: int) -> str:
    short = [(one.verb, one.summary) for one in lines_of("") if one.shortcut]
    return (
        f"Usage: {program} NOUN VERB ...\n\niExec in a notebook.\n\nNouns\n{_columns(sorted(NOUNS.items()), width)}"
        f"\n\nWithout a noun\n{_columns(short, width)}\n\nOptions of every command\n{_columns(GENERAL, width)}"
    )


def _columns(rows: Sequence[tuple[str, str]], width: int) -> str:
    left = max((len(name) for name, _ in rows), default=0)
    left = left if left < width // 2 else width // 3
    lines = []
    for name, text in rows:
        first, *more = wrap(text, max(width - left - 4, 20)) or [""]
        if len(name) > left:
            lines.append(f"  {name}")
            name = ""
        lines += [f"  {name:<{left}}  {first}".rstrip(), *(f"  {'':<{left}}  {line}" for line in more)]
    return "\n".join(lines)


def _first() -> list[Command]:
    """Return commands that most people begin with."""
    wanted = [("wallet", "show"), ("orderbook", "workerpool"), ("app", "run"), ("order", "sign")]
    return [one for key in wanted if (one := find(key)[0]) is not None]

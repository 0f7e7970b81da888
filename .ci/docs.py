"""Write the generated pages of docs/, or with --check say which of them are not current."""

from __future__ import annotations

import sys

from pages import write_or_check

import iexec_nb.client  # noqa: F401
from iexec_nb.commands import COMMANDS, NOUNS, Command, help_text
from iexec_nb.commands.pages import GENERAL

WIDTH = 100

HEAD = """# Commands

Every command is a line after `%iexec` in a notebook, `iexec-nb` in a shell, and a method in Python:
`%iexec app show 0x...`, `iexec-nb app show 0x...` and `iexec.app.show("0x...")` are the same.
In a notebook a command returns an object. In a shell it prints for people, or with `--raw` the JSON of the official
CLI; the exit code is 0, or 1 on any error.

This page is made from the declarations of the verbs by `make docs`.
"""


def commands_page() -> str:
    """Return the reference of all commands."""
    parts = [
        HEAD,
        "## Options of every command\n\n" + "\n".join(f"* `{name}`: {text}" for name, text in GENERAL) + "\n",
    ]
    for noun, summary in sorted(NOUNS.items()):
        parts.append(f"## {noun}\n\n{summary}\n")
        parts += [_command(one) for one in COMMANDS.values() if one.noun == noun]
    return "\n".join(parts)


def _command(one: Command) -> str:
    page = help_text([one.noun, one.verb], width=WIDTH).rstrip()
    facts = []
    if one.shortcut:
        facts.append(f"Also `%iexec {one.verb}`.")
    if one.spends:
        facts.append("Asks before it signs or sends; `--yes` answers.")
    if one.js:
        facts.append("In the JavaScript SDK: " + ", ".join(f"`{name}`" for name in one.js) + ".")
    said = f"\n\n{' '.join(facts)}" if facts else ""
    return f"### {one.noun} {one.verb}\n\n```text\n{page}\n```{said}\n"


if __name__ == "__main__":
    sys.exit(write_or_check("commands.md", commands_page()))

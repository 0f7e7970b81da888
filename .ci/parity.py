"""Write docs/parity.md: every method and command of the official SDK, and what stands for it here.

A row is *done* when a verb's declaration names it (or, where there is no command, `parity.toml` names the Python
object) and a test is marked with it; *later* and *never* stand in `parity.toml` with the subject or the reason. With
``--check`` it says what is missing or stale instead, one line each.
"""

from __future__ import annotations

import ast
import json
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cached_property
from inspect import signature
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import iexec_nb.client  # noqa: F401
from iexec_nb.commands import COMMANDS

ROOT = Path(__file__).resolve().parent.parent
HEAD = """# Parity with the official SDK

Every method of the JavaScript SDK's library and every command of its CLI, versions 5 to 9, and what stands for it:
*done* names the verb here (or the Python object) and the test that proves it against the sandbox, *later* the subject
that it belongs to, *never* the reason. What is done differently on purpose is told in [differences.md](differences.md).

This page is made from the declarations of the verbs, the marks on the tests and `.ci/parity.toml` by `make docs`.
"""


@dataclass(frozen=True)
class Parity:
    """The rows, and everything that says something about them.

    Parameters
    ----------
    rows
        What tests/parity/rows.json holds.
    reasons
        What .ci/parity.toml holds.
    declared
        Name of a row -> the verbs or Python names that stand for it.
    verbs
        Name of a command -> the line that its words call here.
    proofs
        Name of a row -> the tests that are marked with it.
    """

    rows: Mapping[str, Any]
    reasons: Mapping[str, Mapping[str, str]]
    declared: Mapping[str, list[str]]
    verbs: Mapping[str, str] = field(default_factory=dict)
    proofs: Mapping[str, list[str]] = field(default_factory=dict)

    @cached_property
    def names(self) -> dict[str, str]:
        """Every row's name and the versions that have it."""
        return {row["name"]: row["in"] for row in (*self.rows["methods"], *self.rows["commands"])}

    def state(self, name: str) -> tuple[str, str]:
        """Return ``done``, ``later``, ``never`` or ``missing`` with what stands for it or why not."""
        if name in self.declared:
            return "done", ", ".join(f"`{one}`" for one in self.declared[name])
        for kind in ("later", "never"):
            for pattern, why in self.reasons[kind].items():
                if fnmatchcase(name, pattern):
                    return kind, why
        # A command that is the subject of later work may have a first form already.
        verb = self.verbs.get(name)
        return ("done", f"`{verb}`") if verb else ("missing", "")

    def problems(self) -> Iterator[str]:
        """Yield what is missing and what is stale."""
        for name in self.names:
            state, _ = self.state(name)
            if state == "missing":
                yield f"{name}: no verb declares it and .ci/parity.toml does not say why"
            elif state == "done" and name not in self.proofs:
                yield f"{name}: no test is marked with it (@pytest.mark.parity)"
            elif state != "done" and name in self.proofs:
                yield f"{name}: a test is marked with it, but it is {state}: {', '.join(self.proofs[name])}"
        for name in self.declared:
            if name not in self.names:
                yield f"{name}: the SDK has no such row, but {', '.join(self.declared[name])} declares it"
        for name in self.proofs:
            if name not in self.names:
                yield f"{name}: the SDK has no such row, but {', '.join(self.proofs[name])} is marked with it"
        yield from self._stale()

    def _stale(self) -> Iterator[str]:
        for kind in ("later", "never"):
            for pattern in self.reasons[kind]:
                matched = [name for name in self.names if fnmatchcase(name, pattern)]
                if not any(self.state(name)[0] == kind for name in matched):
                    yield f"{pattern}: stands under {kind} in .ci/parity.toml and means no row that is not done"
        known = {f"{row['name']} {option['name']}" for row in self.rows["commands"] for option in row["options"]}
        for name in self.reasons["options"]:
            if name not in known:
                yield f"{name}: stands under options in .ci/parity.toml and is no option of the SDK"

    def page(self) -> str:
        """Return docs/parity.md."""
        counts = Counter(self.state(name)[0] for name in self.names)
        counted = ", ".join(f"{counts[kind]} {kind}" for kind in ("done", "later", "never", "missing") if counts[kind])
        parts = [HEAD, f"{len(self.names)} rows: {counted}.\n"]
        parts += self._section("Methods", "method", [row["name"] for row in self.rows["methods"]], ".")
        parts += self._section("Commands", "command", [row["name"] for row in self.rows["commands"]], " ")
        return "\n".join([*parts, *self._options()])

    def _section(self, title: str, what: str, names: list[str], separator: str) -> Iterator[str]:
        yield f"## {title}\n"
        groups = dict.fromkeys(name.partition(separator)[0] if separator in name else "" for name in names)
        for group in groups:
            yield f"### {group or 'without a noun'}\n\n| {what} | SDK | here | proof |\n|---|---|---|---|"
            prefix = f"{group}{separator}" if group else ""
            for name in names:
                if (name.startswith(prefix) and separator in name) if group else separator not in name:
                    yield self._row(name)
            yield ""

    def _row(self, name: str) -> str:
        state, text = self.state(name)
        here = text if state == "done" else f"{state}: {text}" if text else state
        if state == "later" and name in self.verbs:
            here += f" (a first form is here: `{self.verbs[name]}`)"
        proofs = self.proofs.get(name, []) if state == "done" else []
        more = f" and {len(proofs) - 1} more" if len(proofs) > 1 else ""
        return f"| `{name}` | {self.names[name]} | {here} | {f'`{proofs[0]}`{more}' if proofs else ''} |"

    def _options(self) -> Iterator[str]:
        yield "## Options\n"
        yield "The options of the commands that are done are accepted, all but these:\n"
        yield "| option | why |\n|---|---|"
        for name, why in self.reasons["options"].items():
            yield f"| `{name}` | {why} |"
        yield ""


def gathered() -> Parity:
    """Return the rows with what the declarations, the tests and parity.toml say about them."""
    rows = json.loads((ROOT / "tests" / "parity" / "rows.json").read_text("utf-8"))
    reasons = tomllib.loads((ROOT / ".ci" / "parity.toml").read_text("utf-8"))
    verbs = {row["name"]: line for row in rows["commands"] if (line := verb_of(row["name"]))}
    return Parity(rows, reasons, declared(reasons["python"]), verbs, proofs(ROOT / "tests"))


def declared(python: Mapping[str, str]) -> dict[str, list[str]]:
    """Return what stands for each method: the verbs that declare it, and Python names where there is no command."""
    found: dict[str, list[str]] = {}
    for one in COMMANDS.values():
        for name in one.js:
            found.setdefault(name, []).append(one.line)
    for name, path in python.items():
        check_name(path)
        found.setdefault(name, []).append(path)
    return found


def verb_of(name: str) -> str | None:
    """Return the line that calls the verb of one of the CLI's commands, or nothing where there is none."""
    noun, _, verb = name.rpartition(" ")
    for one in COMMANDS.values():
        if (one.noun == noun and verb in (one.verb, *one.aliases)) or (not noun and one.shortcut and one.verb == verb):
            return one.line
    return None


def check_name(path: str) -> None:
    """Import what a path such as ``iexec_nb.IExec(sms=)`` names; raise when there is no such thing."""
    dotted, _, keyword = path.rstrip(")=").partition("(")
    value = resolve_name(dotted)
    if keyword and keyword not in signature(value).parameters:
        raise AttributeError(f"{dotted} has no argument {keyword}")


def proofs(folder: Path) -> dict[str, list[str]]:
    """Return the tests that are marked with each row's name, as ``file::test``."""
    found: dict[str, list[str]] = {}
    for path in sorted(folder.rglob("test_*.py")):
        tree = ast.parse(path.read_text("utf-8"))
        constants = _constants(tree)
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
                for name in _marks(node.decorator_list, constants):
                    found.setdefault(name, []).append(f"{path.relative_to(folder.parent).as_posix()}::{node.name}")
    return found


def _constants(tree: ast.Module) -> dict[str, Any]:
    """Return the module's names for literals, which a mark may be made of."""
    found: dict[str, Any] = {}
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            with suppress(ValueError):
                found[node.targets[0].id] = ast.literal_eval(node.value)
    return found


def _marks(decorators: list[ast.expr], constants: Mapping[str, Any]) -> Iterator[str]:
    for one in decorators:
        if isinstance(one, ast.Call) and ast.unparse(one.func) == "pytest.mark.parity":
            names = ast.Expression(ast.Tuple(elts=one.args, ctx=ast.Load()))
            yield from eval(compile(ast.fix_missing_locations(names), "<marks>", "eval"), dict(constants))


if __name__ == "__main__":
    from pages import write_or_check

    parity = gathered()
    sys.exit(write_or_check("parity.md", parity.page(), parity.problems()))

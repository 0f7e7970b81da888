"""Parity with the official SDK, row by row: nothing is missing, nothing is stale, and every option is accepted."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

from iexec_nb.commands import parse
from iexec_nb.errors import ValidationError

ROOT = Path(__file__).resolve().parent.parent
ROWS: dict[str, Any] = json.loads((ROOT / "tests" / "parity" / "rows.json").read_text("utf-8"))
ADDRESS = "0x" + "12" * 20
VALUES = {"<amount>": "1", "[unit]": "nRLC", "<amount unit...>": "1 nRLC", "<secretMapping...>": "1=a 2=b"}


def loaded() -> Any:
    """Return the script that makes docs/parity.md, as a module."""
    spec = importlib.util.spec_from_file_location("parity", ROOT / ".ci" / "parity.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # A dataclass looks its module up by name.
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(__import__("sys").modules, "parity", module)
        spec.loader.exec_module(module)
    return module


PARITY = loaded()
GATHERED = PARITY.gathered()
DONE = [row for row in ROWS["commands"] if GATHERED.state(row["name"])[0] == "done"]


def test_every_row_is_done_and_proven_or_later_or_never() -> None:
    assert list(GATHERED.problems()) == []


def test_the_page_is_current() -> None:
    assert (ROOT / "docs" / "parity.md").read_text("utf-8") == GATHERED.page(), "make docs"


def test_every_proof_is_a_test_that_exists() -> None:
    for name, proofs in GATHERED.proofs.items():
        for proof in proofs:
            path, _, test = proof.partition("::")
            assert f"def {test}(" in (ROOT / path).read_text("utf-8"), name


def test_no_row_stands_twice() -> None:
    names = [row["name"] for row in (*ROWS["methods"], *ROWS["commands"])]
    assert sorted(set(names)) == sorted(names)
    assert len(names) > 280


def example(**said: Any) -> Any:
    """Return a small table: a method and a command that are done and proven."""
    rows = {
        "methods": [{"name": "app.deployApp", "in": "5–9"}],
        "commands": [{"name": "app deploy", "in": "5–9", "options": [{"name": "--x", "value": "", "in": ""}]}],
    }
    reasons = {"later": {}, "never": {}, "options": {}, **said.get("reasons", {})}
    declared = said.get("declared", {"app.deployApp": ["app deploy"]})
    verbs = said.get("verbs", {"app deploy": "app deploy"})
    proofs = said.get("proofs", {"app.deployApp": ["t::a"], "app deploy": ["t::b", "t::c"]})
    return PARITY.Parity(rows, reasons, declared, verbs, proofs)


def test_a_table_that_is_complete_has_no_problems() -> None:
    assert list(example().problems()) == []
    assert "| `app deploy` | 5–9 | `app deploy` | `t::b` and 1 more |" in example().page()
    assert "2 rows: 2 done." in example().page()


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        ({"declared": {}, "proofs": {"app deploy": ["t"]}}, "app.deployApp: no verb declares it"),
        ({"verbs": {}, "proofs": {"app.deployApp": ["t"]}}, "app deploy: no verb declares it"),
        ({"proofs": {"app deploy": ["t::b"]}}, "app.deployApp: no test is marked with it"),
        ({"declared": {"app.deployApp": ["x"], "app.deploy": ["y"]}}, "app.deploy: the SDK has no such row"),
        ({"proofs": {"app.deployApp": ["t"], "app deploy": ["t"], "app.x": ["t"]}}, "app.x: the SDK has no such row"),
        ({"reasons": {"later": {"app.*": "soon"}}}, r"app\.\*: stands under later"),
        ({"reasons": {"never": {"nothing": "no"}}}, "nothing: stands under never"),
        ({"reasons": {"options": {"app deploy --y": "no"}}}, "app deploy --y: stands under options"),
        (
            {"declared": {}, "reasons": {"later": {"app.*": "soon"}}},
            "app.deployApp: a test is marked with it, but it is later",
        ),
    ],
)  # fmt: skip
def test_what_is_missing_or_stale_is_said(said: dict[str, Any], problem: str) -> None:
    found = list(example(**said).problems())
    assert len(found) == 1
    with pytest.raises(AssertionError, match=problem):
        raise AssertionError(found[0])


def test_marks_are_read_from_the_tests(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(
        'import pytest\nKINDS = ("App", "Dataset")\n\n'
        '@pytest.mark.parity("app deploy", *(f"order.sign{kind}order" for kind in KINDS))\n'
        "def test_a() -> None: ...\n\n"
        '@pytest.mark.parity("app deploy")\ndef test_b() -> None: ...\n'
    )
    here = f"{tmp_path.name}/test_it.py::"
    assert PARITY.proofs(tmp_path) == {
        "app deploy": [f"{here}test_a", f"{here}test_b"],
        "order.signApporder": [f"{here}test_a"],
        "order.signDatasetorder": [f"{here}test_a"],
    }


def words(value: str) -> list[str]:
    """Return what a person would write for an argument or an option's value, as the usage line names it."""
    return VALUES.get(value, ADDRESS).split()


def lines(row: dict[str, Any]) -> list[list[str]]:
    """Return the lines that a command must take: its arguments, then each option, with and without optional words."""
    start = [*row["name"].split()]
    needed = [word for value in row["arguments"] if value.startswith("<") for word in words(value)]
    every = [word for value in row["arguments"] for word in words(value)]
    if any(option["name"] == "--to" for option in row["options"]):
        start += ["--to", ADDRESS]  # the CLI lists it as an option and stops without it
    refused = GATHERED.reasons["options"]
    found = [[*start, *needed], [*start, *every]]
    groups = [
        {"name": usage.split()[0], "value": usage.split(" (")[0].partition(" ")[2]}
        for name in row["groups"]
        for usage in ROWS["groups"][name]
    ]
    for option in [*row["options"], *groups]:
        if f"{row['name']} {option['name']}" in refused or option["name"] == "--to":
            continue
        value = words(option["value"]) if option["value"] else []
        found.append([*start, *needed, option["name"], *value])
        if option["value"].startswith("["):
            found.append([*start, *needed, option["name"]])
    return found


@pytest.mark.parametrize("row", DONE, ids=lambda row: row["name"])
def test_every_argument_and_option_of_the_cli_is_accepted(row: dict[str, Any]) -> None:
    refused = []
    for line in lines(row):
        try:
            assert parse(line, private=True).command.line == PARITY.verb_of(row["name"])
        except ValidationError as error:
            refused.append(f"{' '.join(line)}: {error.message}")
    assert refused == []


@pytest.mark.parametrize("row", [row for row in DONE if row["aliases"]], ids=lambda row: row["name"])
def test_the_other_words_for_a_command_are_known(row: dict[str, Any]) -> None:
    noun, _, _ = row["name"].rpartition(" ")
    for alias in row["aliases"]:
        assert PARITY.verb_of(f"{noun} {alias}") == PARITY.verb_of(row["name"])


@pytest.mark.parametrize("name", sorted(GATHERED.reasons["options"]))
def test_an_option_that_is_said_to_be_refused_is(name: str) -> None:
    command, _, option = name.rpartition(" ")
    row = next(row for row in DONE if row["name"] == command)
    value = next(one["value"] for one in row["options"] if one["name"] == option)
    with pytest.raises(ValidationError):
        parse([*command.split(), option, *(words(value) if value else [])])

"""Values on a command line: each stays one word, for a shell and for the real worker, whatever it holds."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iexec_nb.errors import ValidationError
from iexec_nb.protocol.arguments import filled, quoted, text, words

TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=20)


def as_the_worker(line: str) -> list[str]:
    """Split as ``CommandLineUtils.translateCommandline`` of the real worker does: quotes, and no backslash."""
    state, current, found = "", "", []
    for token in re.findall(r"[\"' ]|[^\"' ]+", line):
        if state:
            state, current = ("", current) if token == state else (state, current + token)
        elif token in "\"'":
            state = token
        elif token != " ":
            current += token
        elif current:
            found.append(current)
            current = ""
    assert not state
    return [*found, current] if current else found


@given(TEXTS)
def test_a_value_is_one_word_wherever_it_stands_in_a_template(value: str) -> None:
    line = filled("--x {v} '{v}' \"{v}\" --y={v} --z 'a {v} b'", {"v": value})
    expected = ["--x", value, value, value, f"--y={value}", "--z", f"a {value} b"]
    assert shlex.split(line) == expected
    assert as_the_worker(line) == expected


@given(st.dictionaries(st.from_regex("[a-z][a-z_]{0,8}", fullmatch=True), TEXTS, max_size=4))
def test_values_become_options_in_their_order(values: dict[str, str]) -> None:
    line = words(values)
    expected = [word for name, value in values.items() for word in (f"--{name}", value)]
    assert shlex.split(line) == expected
    assert as_the_worker(line) == expected


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ({}, ""),
        ({"a": 1, "b": 0.1, "c": 1e-7, "d": True}, "--a 1 --b 0.1 --c 1e-07 --d True"),
        ({"a": None, "b": float("nan"), "c": ""}, "--c ''"),
        ({"a": [1, "x y"], "b": {"k": None}}, """--a '[1,"x y"]' --b '{"k":null}'"""),
        ({"two words": 1}, "'--two words' 1"),
    ],
)
def test_what_each_kind_of_value_becomes(values: Mapping[str, Any], line: str) -> None:
    assert words(values) == line


@pytest.mark.parametrize(
    ("template", "line"),
    [
        ("--a {a}", "--a 1"),
        ("--a {a:03d} {b:.2f}", "--a 001 0.12"),
        ("{} {} {0}", "first 'the second' first"),
        ("{a:{w}}", "'    1'"),
        ("{c!r}", "''\"'\"'x'\"'\"''"),
        ("{{{a}}}", "{1}"),
        ("", ""),
        ("{e}", "''"),
    ],
)
def test_a_template_is_that_of_format(template: str, line: str) -> None:
    values = {"a": 1, "b": 0.125, "c": "x", "w": 5, "e": ""}
    assert filled(template, values, ("first", "the second")) == line


@pytest.mark.parametrize(
    ("template", "said", "hint"),
    [
        ("{alpah}", "there is no {alpah}", "did you mean {alpha}?"),
        ("{5}", "there is no {5}", "the names are alpha, none"),
        ("{alpha", "expected '}'", "give args as text"),
        ("{none}", "{none} has no value", "dropna"),
        ("{alpha:z}", "does not fit {alpha:z}", "give args as text"),
        ("{alpha.x}", "there is no {alpha.x}", "did you mean {alpha}?"),
        ("{alpha[0]}", "there is no {alpha[0]}", "did you mean {alpha}?"),
        ("{alpha!x}", "does not fit", "give args as text"),
        ("{alpha:{beta}}", "does not fit", "give args as text"),
    ],
)
def test_a_template_that_cannot_be_filled_says_why(template: str, said: str, hint: str) -> None:
    with pytest.raises(ValidationError) as caught:
        filled(template, {"alpha": 1, "none": None})
    assert said in caught.value.message
    assert hint in (caught.value.hint or "")


def test_one_value_alone() -> None:
    assert (quoted("a b"), quoted(None), quoted(3), text(float("nan")), text(0)) == ("'a b'", "", "3", None, "0")

"""JSON text as JavaScript writes it, and the place of a key in text that people edited."""

from __future__ import annotations

import json
import tracemalloc
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iexec_nb.errors import ValidationError
from iexec_nb.protocol import json_text
from iexec_nb.protocol.json_text import dotted, keys_at, line_of, not_a_number, stringify

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)

# Made by JSON.stringify(value, null, 2) of node 22.
AS_JAVASCRIPT = [
    ({}, "{}"),
    ([], "[]"),
    ({"a": [], "b": {}}, '{\n  "a": [],\n  "b": {}\n}'),
    ({"a": [1, {"b": None}]}, '{\n  "a": [\n    1,\n    {\n      "b": null\n    }\n  ]\n}'),
    ([True, False], "[\n  true,\n  false\n]"),
    (1.0, "1"),
    (-0.0, "0"),
    (0.1, "0.1"),
    (1e-6, "0.000001"),
    (1e-7, "1e-7"),
    (1.5e-9, "1.5e-9"),
    (123456789012345680000.0, "123456789012345680000"),
    (1e21, "1e+21"),
    (1.5e300, "1.5e+300"),
    (float("inf"), "null"),
    ('"\\/\b\f\n\r\t\x00\x1f\x7f', '"\\"\\\\/\\b\\f\\n\\r\\t\\u0000\\u001f\x7f"'),
    ("é☃😀\u2028", '"é☃😀\u2028"'),
    ("\ud83d", '"\\ud83d"'),
]


@pytest.mark.parametrize(("value", "text"), AS_JAVASCRIPT)
def test_text_is_that_of_javascript(value: Any, text: str) -> None:
    assert stringify(value) == text


def test_whole_numbers_keep_every_digit() -> None:
    assert stringify(json.loads("123456789012345678901234567890")) == "123456789012345678901234567890"


def _with_floats(value: Any) -> Any:
    """JavaScript writes 1e20 without a point: it is a whole number then."""
    if isinstance(value, dict):
        return {key: _with_floats(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_with_floats(one) for one in value]
    large = isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**1000
    return float(value) if large else value


@settings(deadline=None, derandomize=True, database=None)
@given(VALUES)
def test_what_is_written_reads_as_what_it_was(value: Any) -> None:
    text = stringify(value)
    assert _with_floats(json.loads(text)) == _with_floats(value)
    assert stringify(json.loads(text)) == text
    text.encode()


@pytest.mark.parametrize("value", [object(), b"bytes", {1: 2}, {"a": {1, 2}}, 1j])
def test_what_json_does_not_know_is_refused(value: Any) -> None:
    with pytest.raises(ValidationError):
        stringify(value)


TEXT = """{
  "app": {
    "name": "a \\" [ { } : , b",
    "tags": [
      "x",
      { "deep": 1 }
    ]
  },
  "a.b": 3,
  "app2": [[], [1,
    2]]
}"""


@pytest.mark.parametrize(
    ("keys", "line"),
    [
        ((), 1),
        (("app",), 2),
        (("app", "name"), 3),
        (("app", "tags"), 4),
        (("app", "tags", 0), 5),
        (("app", "tags", 1), 6),
        (("app", "tags", 1, "deep"), 6),
        (("a.b",), 9),
        (("app2", 0), 10),
        (("app2", 1, 1), 11),
        (("app", "missing"), 2),
        (("nothing", "there"), 1),
        (("app", "tags", 7, "x"), 4),
    ],
)
def test_a_key_has_a_line_or_the_line_of_what_it_is_missing_in(keys: tuple[str | int, ...], line: int) -> None:
    assert line_of(TEXT, keys) == line


def test_of_a_key_that_is_there_twice_the_last_counts() -> None:
    assert line_of('{\n"a": 1,\n"a": 2\n}', ("a",)) == 3


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        ("", ""),
        ('{"a": {"b": [1, ', "a.b[1]"),
        ('{"a": {"b": ', "a.b"),
        ('{"a": {"b": tru', "a.b"),
        ('{"x": 1, "a": [{"c": "t', "a[0].c"),
        ('{"a": 1 "b": 2}', "a"),
        ('{"a": 1, "b" 2}', "b"),
        ('{"a": [1, 2], "b": ]}', "b"),
        ("]]]}}}", ""),
    ],
)
def test_where_a_parser_stops_is_under_the_keys_before_it(text: str, keys: str) -> None:
    with pytest.raises(json.JSONDecodeError) as caught:
        json.loads(text)
    assert dotted(keys_at(text, caught.value.pos)) == keys


@settings(deadline=None, derandomize=True, database=None)
@given(VALUES, st.integers(0, 200))
def test_no_text_however_broken_stops_the_scanner(value: Any, cut: int) -> None:
    text = stringify(value)[:cut]
    assert isinstance(keys_at(text, cut), tuple)
    assert line_of(text, ("a", 0)) >= 1


SMALL = st.text(max_size=5)


@settings(deadline=None, derandomize=True, database=None, max_examples=50)
@given(st.dictionaries(SMALL, st.dictionaries(SMALL, st.lists(st.integers(), max_size=3), max_size=3), max_size=3))
def test_every_key_of_written_text_is_found_on_its_own_line(value: dict[str, dict[str, list[int]]]) -> None:
    text = stringify(value)
    lines = text.split("\n")
    for outer, inner in value.items():
        assert lines[line_of(text, (outer,)) - 1].strip().startswith(stringify(outer))
        for key, numbers in inner.items():
            assert lines[line_of(text, (outer, key)) - 1].strip().startswith(stringify(key))
            for index, number in enumerate(numbers):
                assert lines[line_of(text, (outer, key, index)) - 1].strip().rstrip(",") == str(number)


def test_numbers_that_json_does_not_know_are_found_outside_of_text() -> None:
    assert not_a_number('{"a": "NaN"}') is None
    assert not_a_number('{"a": "NaN", "b": -Infinity}') == 18
    assert not_a_number('{"a": NaN}') == 6


def test_text_that_does_not_end_is_one_piece_and_is_looked_at_once() -> None:
    assert len(json_text._TOKEN.findall('"' + '\\"' * 1000)) == 1
    assert len(json_text._TOKEN.findall('"' + "x" * 1000 + "\\")) == 1
    assert keys_at('{"NaN": 1, "b": "' + '\\"' * 200_000, 16) == ("b",)
    assert not_a_number('{"NaN": 1, "b": "' + '\\"' * 200_000) is None


def test_to_find_one_line_takes_no_memory_for_all_the_others() -> None:
    text = '{"chains": {"x": [' + "0," * 100_000 + '0]},\n"last": 1}'
    tracemalloc.start()
    try:
        assert line_of(text, ("last",)) == 2
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 1_000_000

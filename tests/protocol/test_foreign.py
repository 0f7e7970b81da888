from __future__ import annotations

import json
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iexec_nb.protocol.foreign import MAX_DEPTH, loads

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(), inner, max_size=5),
    max_leaves=200,
)


@given(VALUES)
def test_ordinary_json_is_read_as_the_standard_library_reads_it(value: object) -> None:
    text = json.dumps(value)
    assert loads(text) == loads(text.encode()) == value


@given(VALUES)
def test_brackets_inside_strings_do_not_count(value: object) -> None:
    text = json.dumps(["[" * 500 + '"]\\{' * 50, value])
    assert loads(text) == json.loads(text)


@pytest.mark.parametrize(
    "text",
    [
        "[" * 65 + "]" * 65,
        "[" * 100_000,
        '{"a":' * 100_000,
        '["]]]]",' * 100_000,
        '["\\"]",' * 100_000,
        "[" * 100_000 + "!" + "]" * 100_000,
    ],
)
def test_deep_json_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="deeper"):
        loads(text)


def test_the_deepest_allowed_json_is_read() -> None:
    assert loads("[" * MAX_DEPTH + "]" * MAX_DEPTH) is not None


@pytest.mark.parametrize("text", ["", "[", "]" * 100, "[" * 30 + "}" * 70, b"\xff", "{1:2}"])
def test_broken_json_is_a_value_error(text: str | bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        loads(text)


def test_deep_json_does_not_end_a_process_whose_recursion_limit_was_raised() -> None:
    code = "import sys; sys.setrecursionlimit(100_000)\nfrom iexec_nb.protocol.foreign import loads\n"
    code += "try:\n    loads(b'[' * 1_000_000)\nexcept ValueError:\n    print('refused')"
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert finished.stdout == "refused\n"

"""Names from strangers: what is a plain file below a folder on every system, and which two names are one file."""

from __future__ import annotations

import pytest

from iexec_nb.protocol.file_names import problem_of_name, same_name_key


@pytest.mark.parametrize(
    "name", ["a", "a.txt", "a/b/c.csv", "deep/", "日本.txt", "a b", "..a", "a..", "con-x", "auxiliary.txt", ".hidden"]
)
def test_plain_names_are_fine(name: str) -> None:
    assert problem_of_name(name) is None


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "a/../b", "../x", "/etc/passwd", "a//b", "C:x", "c:/x", "a\\b", "a\0b", "a\nb", "\x7f", " ", "a/. ",
     "\x9b31m", "NUL", "con", "aux.txt", "COM1.log", "x/LPT9", "nul .txt", "a" * 256, "é" * 128, "a/" * 65 + "b",
     "a/" * 600],
)  # fmt: skip
def test_names_that_are_something_else_somewhere_are_refused(name: str) -> None:
    assert problem_of_name(name)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [("a", "A", True), ("é", "e\u0301", True), ("a.", "a", True), ("a ", "a", True), ("ß", "SS", True),
     ("a/b.", "A/B", True), ("a", "b", False), ("a.b", "ab", False)],
)  # fmt: skip
def test_two_names_of_one_file_are_known(one: str, other: str, same: bool) -> None:
    assert (same_name_key(one) == same_name_key(other)) is same

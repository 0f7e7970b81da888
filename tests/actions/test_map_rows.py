"""What people give as the tasks of a map, and the params and columns that it becomes."""

from __future__ import annotations

import itertools
from collections import namedtuple
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from stage import NOBODY

from iexec_nb.actions.map_rows import MAX_TASKS, Args, Rows, changes, read_rows
from iexec_nb.errors import ValidationError
from iexec_nb.protocol.types import NULL_ADDRESS

OTHER = "0x" + "34" * 20
Pair = namedtuple("Pair", "alpha name")


def rows(params: Any, args: Args = None, datasets: Any = None, dataset: str = NULL_ADDRESS) -> Rows:
    return read_rows(params, args=args, datasets=datasets, dataset=dataset, taken=("status", "cost"))


def lines(params: Any, args: Args = None, **more: Any) -> list[Any]:
    return [task.params.get("iexec_args") for task in rows(params, args, **more).tasks]


@pytest.mark.parametrize("count", [3, "3", np.int64(3)], ids=["int", "word", "numpy"])
def test_a_number_is_tasks_that_differ_by_their_index(count: Any) -> None:
    read = rows(count, dataset=NOBODY)
    assert read.indexed
    assert read.table is None
    assert [(dict(task.params), task.dataset) for task in read.tasks] == [({}, NOBODY)] * 3


@pytest.mark.parametrize(
    ("params", "args", "expected"),
    [
        (["a b", "--x 1"], None, ["a b", "--x 1"]),
        (["a b"], "--name {}", ["--name 'a b'"]),
        ([1, 2.5, np.float64(0.1)], None, ["1", "2.5", "0.1"]),
        (range(2), "--seed {}", ["--seed 0", "--seed 1"]),
        ((x for x in "ab"), None, ["a", "b"]),
        ([(1, "x y"), (2, "z")], None, ["1 'x y'", "2 z"]),
        ([(1, "x y")], "--a {} --b {}", ["--a 1 --b 'x y'"]),
        ([Pair(1, "x y")], None, ["--alpha 1 --name 'x y'"]),
        ([{"a": 1}, {"a": 2}], None, ["--a 1", "--a 2"]),
        ([{"a": 1}], "-a {a}", ["-a 1"]),
        ([3, 4], lambda value: f"v{value}", ["v3", "v4"]),
        (np.array([1, 2]), None, ["1", "2"]),
    ],
    ids=["texts", "text-template", "numbers", "range", "generator", "tuples", "tuple-template", "named", "mappings",
         "mapping-template", "function", "array"],
)  # fmt: skip
def test_a_list_is_a_task_for_each_of_its_items(params: Any, args: Args, expected: list[str]) -> None:
    assert lines(params, args) == expected


def test_a_table_is_a_task_for_each_row_and_keeps_its_integers_and_columns() -> None:
    table = pd.DataFrame({"n": [1, 2], "rate": [0.5, np.nan], "name": ["x y", "z"]}, index=["p", "q"])
    read = rows(table)
    assert [task.params["iexec_args"] for task in read.tasks] == ["--n 1 --rate 0.5 --name 'x y'", "--n 2 --name z"]
    assert read.table is not None
    pd.testing.assert_frame_equal(read.table, table)
    assert lines(table, "--n {n:03d}") == ["--n 001", "--n 002"]
    assert lines(table, lambda row: f"{row['n']}{row['name'][0]}") == ["1x", "2z"]


def test_a_missing_value_in_a_template_is_no_task() -> None:
    with pytest.raises(ValidationError, match="rate"):
        lines(pd.DataFrame({"rate": [0.5, None]}), "--rate {rate}")


@pytest.mark.parametrize("missing", [None, np.nan, pd.NA, pd.NaT], ids=["None", "NaN", "NA", "NaT"])
def test_missing_values_of_every_kind_are_left_out(missing: Any) -> None:
    assert lines(pd.DataFrame({"a": pd.Series([1, missing], dtype=object)})) == ["--a 1", None]


def test_columns_named_as_params_are_params() -> None:
    table = pd.DataFrame({"n": [1], "iexec_input_files": [["https://example.com/a"]], "iexec_args": ["own"]})
    (task,) = rows(table).tasks
    assert task.params == {"iexec_input_files": ["https://example.com/a"], "iexec_args": "own"}
    assert changes({"iexec_args": "own", "n": 1}, "-n {n}") == {"iexec_args": "-n 1"}


def test_a_series_keeps_its_name() -> None:
    read = rows(pd.Series([1, 2], name="alpha", index=[7, 8]), "--alpha {}")
    assert read.table is not None
    assert list(read.table.columns) == ["alpha"]
    assert list(read.table.index) == [7, 8]
    assert [task.params["iexec_args"] for task in read.tasks] == ["--alpha 1", "--alpha 2"]


def test_datasets_alone_are_a_task_each() -> None:
    read = rows(None, datasets=[NOBODY.lower(), OTHER])
    assert [task.dataset for task in read.tasks] == [NOBODY, OTHER]
    assert read.table is not None
    assert read.table["dataset"].tolist() == [NOBODY, OTHER]
    assert not read.indexed


@pytest.mark.parametrize("name", ["where", ["where"]], ids=["name", "option"])
def test_datasets_can_be_a_column_which_is_no_argument_then(name: Any) -> None:
    table = pd.DataFrame({"n": [1, 2], "where": [NOBODY, OTHER]})
    read = rows(table, datasets=name)
    assert [task.dataset for task in read.tasks] == [NOBODY, OTHER]
    assert [task.params["iexec_args"] for task in read.tasks] == ["--n 1", "--n 2"]


def test_datasets_beside_params_become_a_column() -> None:
    read = rows(["a", "b"], datasets=pd.Series([NOBODY, OTHER]))
    assert read.table is not None
    assert list(read.table.columns) == ["args", "dataset"]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: rows(0), "a map of 0 tasks"),
        (lambda: rows(MAX_TASKS + 1), "a map of more than 10000 tasks"),
        (lambda: rows("99999999999999999999"), "is not a valid params"),
        (lambda: rows(-1), "a map of 0 tasks"),
        (lambda: rows([]), "a map of 0 tasks"),
        (lambda: rows(pd.DataFrame({"a": []})), "a map of 0 tasks"),
        (lambda: rows(itertools.count()), "a map of more than 10000 tasks"),
        (lambda: rows("hello"), "is not a valid params"),
        (lambda: rows(True), "is not a valid params"),
        (lambda: rows(1.5), "is not a valid params"),
        (lambda: rows(b"ab"), "is not a valid params"),
        (lambda: rows({"a": 1}), "is not a valid params"),
        (lambda: rows(None), "params is missing"),
        (lambda: rows([{"a": 1}, "b"]), "some params are mappings and some are not"),
        (lambda: rows([1], lambda value: value), "args gave 1 for 1"),
        (lambda: rows(3, lambda value: "x"), "take no function as args"),
        (lambda: rows(3, datasets=[NOBODY]), "take no datasets"),
        (lambda: rows(["a"], datasets=[NOBODY, OTHER]), "there are 1 params and 2 datasets"),
        (lambda: rows(["a"], datasets="where"), "'where' is not a column of the params"),
        (lambda: rows(["a"], datasets=["0x12"]), "0x12"),
        (lambda: rows(["a"], datasets=5), "is not a list of datasets"),
        (lambda: rows(None, datasets=[]), "a map of 0 tasks"),
        (lambda: rows(["a"], datasets=[NOBODY], dataset=OTHER), "dataset and datasets were given"),
        (lambda: rows(pd.DataFrame({"status": [1]})), "has a column 'status' of its own"),
        (lambda: rows(pd.DataFrame([[1, 2]], columns=["a", "a"])), "two columns of one name"),
        (lambda: rows(pd.DataFrame({"dataset": [1]}), datasets=[NOBODY]), "a column 'dataset' besides datasets"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused_with_a_hint(make: Callable[[], Rows], words: str) -> None:
    with pytest.raises(ValidationError) as caught:
        make()
    assert words in caught.value.message
    assert caught.value.hint

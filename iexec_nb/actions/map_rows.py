"""What each task of a map is given: from rows, texts, numbers or datasets to params of a request.

People have parameters as a DataFrame, a list or a number of repetitions. Here they become params, and keep their
names and values for the table of results.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from numbers import Integral
from typing import TYPE_CHECKING, Any

from iexec_nb.errors import ValidationError
from iexec_nb.protocol import arguments
from iexec_nb.protocol.types import NULL_ADDRESS, Address, address, shown

if TYPE_CHECKING:
    import pandas as pd

Args = str | Callable[[Any], Any] | None
"""How params become ``iexec_args``: a template, a function of a row, or nothing: ``--name value`` for each."""

MAX_TASKS = 10_000
_OWN = ("iexec_", "bulk_cid")
_EXAMPLE = 'app.map(app, df, args="--alpha {alpha}"), app.map(app, ["a", "b"]), app.map(app, 200)'


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """What one task is given: the params in which it differs, and its dataset (the null address for none)."""

    params: Mapping[str, Any] = field(default_factory=dict)
    dataset: Address = NULL_ADDRESS


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """The tasks of a map.

    Attributes
    ----------
    tasks
        What each of them is given.
    table
        The columns by which people know them; None where they differ by their index alone.
    """

    tasks: tuple[Given, ...]
    table: pd.DataFrame | None

    @property
    def indexed(self) -> bool:
        """Whether the tasks differ by their index alone, so that one request has to hold them all."""
        return self.table is None

    @classmethod
    def of_slices(cls, slices: Sequence[tuple[Address, ...]]) -> Rows:
        """Return tasks each of which processes several datasets, as a bulk has them."""
        import pandas as pd

        shown_as = [one[0] if len(one) == 1 else one for one in slices]
        return cls(tasks=(Given(),) * len(slices), table=pd.DataFrame({"dataset": pd.Series(shown_as, dtype=object)}))


def is_alike(params: object) -> bool:
    """Tell whether tasks have no values that could go into their arguments: a number of them, or datasets alone."""
    return params is None or isinstance(params, str | Integral)


def read_rows(params: object, *, args: Args, datasets: object, dataset: Address, taken: Iterable[str]) -> Rows:
    """Return the tasks that somebody means.

    Parameters
    ----------
    params
        A number of tasks, a DataFrame, a Series, an iterable of texts, values or mappings, or None where only the
        datasets differ.
    args
        How they become arguments; where there are no values to put in, the arguments of all.
    datasets
        The dataset of each task: addresses, or the name of the column that has them.
    dataset
        The dataset of all tasks, or the null address.
    taken
        Names of columns that the table of results has itself.

    Raises
    ------
    ValidationError
        When something does not fit together, or there are no tasks, or more than 10,000.
    """
    if dataset != NULL_ADDRESS and datasets is not None:
        raise ValidationError("dataset and datasets were given", hint="dataset is for all tasks, datasets for each")
    count = _count(params)
    if count is not None:
        if datasets is not None or callable(args):
            what = "datasets" if datasets is not None else "function as args"
            raise ValidationError(
                f"{count} tasks that differ by their index take no {what}",
                hint=f"give the tasks one by one: range({count})",
            )
        return Rows(tasks=(Given(dataset=dataset),) * count, table=None)
    if params is None:
        return _of_datasets(_datasets(datasets, None), args)
    return _of_params(params, args, datasets, dataset, frozenset(taken))


def _of_datasets(where: list[Address], args: Args) -> Rows:
    import pandas as pd

    if not where or callable(args):
        raise ValidationError("params is missing", hint=f"say what the tasks differ in: {_EXAMPLE}")
    return Rows(tasks=tuple(Given(dataset=one) for one in where), table=pd.DataFrame({"dataset": where}))


def _of_params(params: object, args: Args, datasets: object, dataset: Address, taken: frozenset[str]) -> Rows:
    table, rows = _table(params, args)
    _check_size(len(rows))
    if isinstance(datasets, list | tuple) and len(datasets) == 1 and isinstance(datasets[0], str):
        # The name of a column on a line (--datasets data) arrives as the one value of an option that may repeat.
        datasets = datasets[0] if datasets[0] in table.columns else datasets
    where = _datasets(datasets, table) or [dataset] * len(rows)
    if len(where) != len(rows):
        raise ValidationError(
            f"there are {len(rows)} params and {len(where)} datasets", hint="give one dataset for each of the params"
        )
    if datasets is not None and not isinstance(datasets, str):
        if "dataset" in table.columns:
            raise ValidationError(
                "there is a column 'dataset' besides datasets", hint="datasets='dataset' takes those of the column"
            )
        table = table.assign(dataset=where)
    if clash := [shown(name) for name in table.columns if name in taken]:
        raise ValidationError(
            f"the table of results has a column {clash[0]!r} of its own",
            hint=f'df.rename(columns={{"{clash[0]}": "my_{clash[0]}"}})',
        )
    left_out = {datasets} if isinstance(datasets, str) else set()
    made = (changes(row, args, left_out=left_out) for row in rows)
    return Rows(tasks=tuple(Given(params=one, dataset=at) for one, at in zip(made, where, strict=True)), table=table)


def changes(row: object, args: Args = None, *, left_out: Iterable[str] = ()) -> dict[str, Any]:
    """Return the params that one row means.

    Parameters
    ----------
    row
        A text, which is the arguments; a value; or a mapping. Names of params in it (``iexec_input_files``...) are
        params, all others are values for the arguments.
    args
        How values become arguments.
    left_out
        Names in a mapping that are no values for the arguments.

    Raises
    ------
    ValidationError
        When a template cannot be filled, or a function gives neither text nor params.
    """
    if callable(args):
        return _of_function(args(row), row)
    if not isinstance(row, Mapping):
        places = row if isinstance(row, tuple | list) else (row,)
        if isinstance(args, str):
            return {"iexec_args": arguments.filled(args, {}, places)}
        if isinstance(row, str):
            return {"iexec_args": row}
        if isinstance(row, tuple | list):
            return {"iexec_args": " ".join(arguments.quoted(one) for one in row)}
        return {"iexec_args": arguments.quoted(row)}
    own = {name: value for name, value in row.items() if isinstance(name, str) and name.startswith(_OWN)}
    given = {name: value for name, value in own.items() if arguments.text(value) is not None}
    skipped = {*own, *left_out}
    values = {str(name): value for name, value in row.items() if name not in skipped}
    if isinstance(args, str):
        return {**given, "iexec_args": arguments.filled(args, values)}
    line = "" if "iexec_args" in given else arguments.words(values)
    return {**given, "iexec_args": line} if line else given


def _of_function(made: object, row: object) -> dict[str, Any]:
    if isinstance(made, str):
        return {"iexec_args": made}
    if isinstance(made, Mapping):
        return dict(made)
    raise ValidationError(
        f"args gave {shown(made)} for {shown(row)}", hint='let it return text, or params such as {"iexec_args": "x"}'
    )


def _count(params: object) -> int | None:
    """Return the number of tasks that a number means, also as a word of a command line; None for all else."""
    if isinstance(params, str):
        if not (params.isascii() and params.isdigit() and len(params) <= len(str(MAX_TASKS))):
            hint = f"give a number of tasks, a list or a table: {_EXAMPLE}"
            raise ValidationError(f"{shown(params)!r} is not a valid params", hint=hint)
        params = int(params)
    if isinstance(params, bool) or not isinstance(params, Integral):
        return None
    count = int(params)
    _check_size(count)
    return count


def _check_size(count: int) -> None:
    if not 1 <= count <= MAX_TASKS:
        many = str(max(count, 0)) if count <= MAX_TASKS else f"more than {MAX_TASKS}"
        raise ValidationError(f"a map of {many} tasks", hint=f"give 1 to {MAX_TASKS} tasks")


def _table(params: object, args: Args) -> tuple[pd.DataFrame, list[Any]]:
    """Return params as the columns that people know them by, and as rows with missing values as None."""
    import pandas as pd

    if isinstance(params, pd.Series):
        name = "value" if params.name is None else params.name
        return params.to_frame(name), _present(params.tolist())
    if isinstance(params, pd.DataFrame):
        if not params.columns.is_unique:
            raise ValidationError("the table has two columns of one name", hint="df.loc[:, ~df.columns.duplicated()]")
        names = [str(name) for name in params.columns]
        columns = [_present(params[name].tolist()) for name in params.columns]
        # By columns, because a row of a DataFrame turns its integers into floats.
        return params.copy(), [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]
    if isinstance(params, Mapping | bytes) or not isinstance(params, Iterable):
        raise ValidationError(
            f"{shown(params)} is not a valid params", hint=f"give a number of tasks, a list or a table: {_EXAMPLE}"
        )
    rows = [_plain(one) for one in islice(params, MAX_TASKS + 1)]
    _check_size(len(rows))
    if all(isinstance(row, Mapping) for row in rows):
        return pd.DataFrame(rows), rows
    if any(isinstance(row, Mapping) for row in rows):
        raise ValidationError("some params are mappings and some are not", hint=f"give all alike: {_EXAMPLE}")
    if all(isinstance(row, tuple | list) and len(row) == len(rows[0]) for row in rows):
        return pd.DataFrame([list(row) for row in rows]), rows
    texts = all(isinstance(row, str) for row in rows) and args is None
    return pd.DataFrame({"args" if texts else "value": pd.Series(rows)}), rows


def _plain(row: Any) -> Any:
    """Return a row of a list: a named tuple by its names, all else as it is."""
    return row._asdict() if isinstance(row, tuple) and hasattr(row, "_asdict") else row


def _present(values: list[Any]) -> list[Any]:
    """Return values with each missing one as None, whatever pandas has for it."""
    import pandas as pd

    return [None if pd.api.types.is_scalar(value) and pd.isna(value) else value for value in values]


def _datasets(datasets: object, table: pd.DataFrame | None) -> list[Address]:
    """Return the dataset of each task; nothing where none are given."""
    if datasets is None:
        return []
    if isinstance(datasets, str):
        if table is None or datasets not in table.columns:
            raise ValidationError(
                f"{shown(datasets)!r} is not a column of the params",
                hint="give datasets as a list of addresses, or as the name of the column that has them",
            )
        datasets = table[datasets].tolist()
    elif isinstance(datasets, list | tuple) and len(datasets) == 1 and not isinstance(datasets[0], str):
        # A variable on a line (--datasets $addresses) arrives as the one value of an option that may repeat.
        [datasets] = datasets
    if isinstance(datasets, Mapping | bytes) or not isinstance(datasets, Iterable):
        raise ValidationError(f"{shown(datasets)} is not a list of datasets", hint="give datasets as addresses")
    found = [address(one, "dataset") for one in islice(datasets, MAX_TASKS + 1)]
    _check_size(len(found))
    return found

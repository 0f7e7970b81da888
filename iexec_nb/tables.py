"""Records become DataFrames here, and rows become orders again.

Market data is money, and pandas guesses: beside a missing value it turns ``2**63 - 1`` into a float that differs. So
every table has a written schema, each column is built in its own dtype, an empty result keeps the dtypes, and a
number that 64 bits cannot hold reads ``<NA>`` with a warning instead of a wrong value. Tables are plain DataFrames;
what iExec adds to one is the accessor ``df.iexec``, registered when this module is imported.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from operator import attrgetter, index
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from iexec_nb.errors import InvalidSignatureError, ValidationError
from iexec_nb.protocol.orders import ORDERS, Order
from iexec_nb.protocol.typed_data import Domain, order_hash

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INT = "Int64"
TEXT = "string"
TIME = "datetime64[us, UTC]"
ANY = "object"
BOOL = "bool"
_BIGGEST = 2**63 - 1
_NAMED_ROWS = 5


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its name, pandas dtype, unit and meaning, and the attribute of the record that it shows.

    Parameters
    ----------
    name
        The column's name, which is the field's name in the contracts and the market.
    dtype
        ``Int64``, ``string``, ``datetime64[us, UTC]``, ``bool`` or ``object``.
    unit
        What a number counts: ``nRLC``, ``tasks``, ``s``; empty for text.
    doc
        What the column means.
    path
        The dotted attribute of the record; the name where it is empty.
    """

    name: str
    dtype: str
    unit: str
    doc: str
    path: str = ""


@dataclass(frozen=True, slots=True)
class Schema:
    """The columns of one kind of table, in order.

    Parameters
    ----------
    name
        The name of the constant.
    columns
        The columns from left to right.
    marks
        The columns by which ``df.iexec`` knows a table of this kind; the first names a row.
    kind
        ``app``, ``dataset``, ``workerpool`` or ``request`` where rows are orders, else empty.
    """

    name: str
    columns: tuple[Column, ...]
    marks: tuple[str, ...]
    kind: str = ""

    @property
    def dtypes(self) -> dict[str, str]:
        """The dtype of each column by its name."""
        return {column.name: column.dtype for column in self.columns}

    def describe(self) -> pd.DataFrame:
        """Return the schema as a table: the columns `dtype`, `unit` and `doc`, a row for each column."""
        rows = {column.name: (column.dtype, column.unit, column.doc) for column in self.columns}
        return pd.DataFrame.from_dict(rows, orient="index", columns=["dtype", "unit", "doc"])

    def __repr__(self) -> str:
        return f"Schema({self.name}: {', '.join(column.name for column in self.columns)})"


_FIELDS: dict[str, tuple[str, str, str]] = {
    "app": (TEXT, "", "address of the app"),
    "dataset": (TEXT, "", "address of the dataset; the zero address for none"),
    "workerpool": (TEXT, "", "address of the workerpool; in a request the zero address for any"),
    "requester": (TEXT, "", "address that pays"),
    "appprice": (INT, "nRLC", "price of the app for one task"),
    "datasetprice": (INT, "nRLC", "price of the dataset for one task"),
    "workerpoolprice": (INT, "nRLC", "price of the computation of one task"),
    "appmaxprice": (INT, "nRLC", "most that the requester pays for the app, a task"),
    "datasetmaxprice": (INT, "nRLC", "most that the requester pays for the dataset, a task"),
    "workerpoolmaxprice": (INT, "nRLC", "most that the requester pays for the computation, a task"),
    "volume": (INT, "tasks", "tasks in the order when it was signed"),
    "tag": (TEXT, "", "256 bits of required or offered hardware"),
    "category": (INT, "", "size of the computation"),
    "trust": (INT, "", "confidence level by replication"),
    "apprestrict": (TEXT, "", "only this app; the zero address for any"),
    "datasetrestrict": (TEXT, "", "only this dataset; the zero address for any"),
    "workerpoolrestrict": (TEXT, "", "only this workerpool; the zero address for any"),
    "requesterrestrict": (TEXT, "", "only this requester; the zero address for any"),
    "beneficiary": (TEXT, "", "address that may decrypt the result"),
    "callback": (TEXT, "", "contract that receives the result; the zero address for none"),
    "params": (TEXT, "", "JSON text of arguments, input files and result options"),
}


def _orders_schema(kind: str) -> Schema:
    cls = ORDERS[kind]
    return Schema(
        f"{kind.upper()}_ORDERS",
        (
            Column("orderHash", TEXT, "", "EIP-712 hash, the name of the order"),
            *(Column(name, *_FIELDS[name], f"order.{name}") for name in cls.FIELDS),
            Column("remaining", INT, "tasks", "tasks that can still be bought"),
            Column("status", TEXT, "", "open, filled, canceled or dead"),
            Column("publicationTimestamp", TIME, "", "when the market took the order"),
            Column("signer", TEXT, "", "address that signed the order"),
            Column("salt", TEXT, "", "32 bytes that make the order unique", "order.salt"),
            Column("sign", TEXT, "", "65 bytes of signature", "order.sign"),
        ),
        ("orderHash", cls.PRICE),
        kind,
    )


def _resource(name: str) -> tuple[Column, Column, Column]:
    return (
        Column(name, *_FIELDS[name], f"{name}.pointer"),
        Column(f"{name}Owner", TEXT, "", f"who owned the {name} and is paid", f"{name}.owner"),
        Column(f"{name}Price", INT, "nRLC", f"price of the {name} for one task", f"{name}.price"),
    )


APP_ORDERS = _orders_schema("app")
DATASET_ORDERS = _orders_schema("dataset")
WORKERPOOL_ORDERS = _orders_schema("workerpool")
REQUEST_ORDERS = _orders_schema("request")
DEALS = Schema(
    "DEALS",
    (
        Column("dealid", TEXT, "", "name of the deal"),
        *_resource("app"),
        *_resource("dataset"),
        *_resource("workerpool"),
        *(Column(name, *_FIELDS[name]) for name in ("trust", "category", "tag", "requester", "beneficiary")),
        *(Column(name, *_FIELDS[name]) for name in ("callback", "params")),
        Column("startTime", TIME, "", "when the orders were matched"),
        Column("finalTime", TIME, "", "when unfinished tasks can be claimed back"),
        Column("botFirst", INT, "", "index of the first task in the request"),
        Column("botSize", INT, "tasks", "tasks in the deal"),
        Column("workerStake", INT, "nRLC", "what a worker stakes for one contribution"),
        Column("schedulerRewardRatio", INT, "%", "part of the workerpool price that the scheduler keeps"),
        Column("sponsor", TEXT, "", "address that locked the price"),
    ),
    ("dealid", "botSize"),
)
TASKS = Schema(
    "TASKS",
    (
        Column("taskid", TEXT, "", "name of the task"),
        Column("dealid", TEXT, "", "deal of the task"),
        Column("idx", INT, "", "index of the task in the request"),
        Column("status", INT, "", "0 unset, 1 active, 2 revealing, 3 completed, 4 failed"),
        Column("statusName", TEXT, "", "the status in a word, as the chain has it", "status.name"),
        Column("timeref", INT, "s", "work clock of the category"),
        Column("contributionDeadline", TIME, "", "last moment of a contribution"),
        Column("revealDeadline", TIME, "", "last moment of a reveal"),
        Column("finalDeadline", TIME, "", "from here on an unfinished task can be claimed back"),
        Column("consensusValue", TEXT, "", "hash of the result that won"),
        Column("revealCounter", INT, "", "contributions revealed"),
        Column("winnerCounter", INT, "", "contributions that won"),
        Column("contributors", ANY, "", "tuple of the addresses of the workers"),
        Column("resultDigest", TEXT, "", "digest of the result"),
        Column("storage", TEXT, "", "where the result is: ipfs, dropbox, ethereum or none", "results.storage"),
        Column("location", TEXT, "", "path of the result in the storage", "results.location"),
        Column("resultsTimestamp", TIME, "", "when the result was finalized"),
        Column("resultsCallback", ANY, "", "bytes for the callback contract"),
    ),
    ("taskid", "idx"),
)
CATEGORIES = Schema(
    "CATEGORIES",
    (
        Column("catid", INT, "", "number of the category"),
        Column("name", TEXT, "", "name"),
        Column("description", TEXT, "", "description"),
        Column("workClockTimeRef", INT, "s", "work clock: a task has ten of it until its final deadline"),
    ),
    ("catid", "workClockTimeRef"),
)
ACCOUNTS = Schema(
    "ACCOUNTS",
    (
        Column("address", TEXT, "", "holder"),
        Column("stake", INT, "nRLC", "free amount inside the hub"),
        Column("locked", INT, "nRLC", "amount bound by deals"),
    ),
    ("address", "stake", "locked"),
)
WALLETS = Schema(
    "WALLETS",
    (
        Column("address", TEXT, "", "address of the wallet"),
        Column("file", TEXT, "", "name of the file"),
        Column("date", TIME, "", "when the file was made, as its name says"),
        Column("kind", TEXT, "", "keystore (encrypted) or unencrypted"),
    ),
    ("address", "file"),
)
PROTECTED_DATA = Schema(
    "PROTECTED_DATA",
    (
        Column("address", TEXT, "", "address of the protected data, which is a dataset"),
        Column("name", TEXT, "", "its name"),
        Column("owner", TEXT, "", "who decides about it"),
        Column("schema", ANY, "", "dict of the types of its values, nested as they are"),
        Column("creationTimestamp", TIME, "", "when it was made"),
        Column("multiaddr", TEXT, "", "where the encrypted zip lies"),
    ),
    ("address", "schema", "creationTimestamp"),
)
BULK_TASKS = Schema(
    "BULK_TASKS",
    (
        Column("bulkIndex", INT, "", "index of the task in the bulk request"),
        Column("taskid", TEXT, "", "name of the task"),
        Column("dealid", TEXT, "", "deal of the task"),
        Column("status", TEXT, "", "UNSET, ACTIVE, REVEALING, COMPLETED, FAILED or TIMEOUT"),
        Column("success", ANY, "", "True, False, or None while it is not over"),
        Column("protectedData", ANY, "", "tuple of the addresses that it processes, or None where nobody knows yet"),
        Column("result", ANY, "", "its result, or None"),
        Column("error", TEXT, "", "what went wrong"),
    ),
    ("taskid", "bulkIndex"),
)
TIMELINE = Schema(
    "TIMELINE",
    (
        Column("time", TIME, "", "when it happened: the time of the block, or the scheduler's"),
        Column("event", TEXT, "", "name of the contract's event, or the scheduler's word"),
        Column("idx", INT, "", "index of the task in the request; <NA> where it is about the deal"),
        Column("taskid", TEXT, "", "name of the task"),
        Column("who", TEXT, "", "address whose act it is, where that is said"),
        Column("source", TEXT, "", "chain, or scheduler for what is claimed only"),
        Column("txHash", TEXT, "", "transaction, on the chain"),
        Column("detail", TEXT, "", "place of the result, cause of a failure"),
    ),
    ("event", "source"),
)
RUNS = Schema(
    "RUNS",
    (
        Column("idx", INT, "", "index of the task in its request; <NA> where it was not started"),
        Column("taskid", TEXT, "", "name of the task"),
        Column("dealid", TEXT, "", "deal of the task"),
        Column(
            "status", TEXT, "",
            "completed, failed, timeout; matched, initialized, running, revealing; waiting, not started or unknown",
        ),
        Column("seconds", INT, "s", "from the match to the result on the chain"),
        Column("cost", INT, "nRLC", "price of the task; 0 once it was claimed back, and where it was not started"),
        Column("error", TEXT, "", "what went wrong"),
        Column("result", ANY, "", "its files (Result), or None"),
    ),
    ("taskid", "cost", "result"),
)  # fmt: skip
FILES = Schema(
    "FILES",
    (
        Column("name", TEXT, "", "name of the file in the result, with / between folders"),
        Column("size", INT, "bytes", "its size, unpacked"),
        Column("kind", TEXT, "", "what it is by its content: csv, parquet, png, text, binary ..."),
        Column("main", BOOL, "", "whether computed.json names it as the output"),
    ),
    ("name", "size", "kind", "main"),
)
SCHEMAS = (
    APP_ORDERS, DATASET_ORDERS, WORKERPOOL_ORDERS, REQUEST_ORDERS, DEALS, RUNS, TIMELINE, TASKS, CATEGORIES, ACCOUNTS,
    WALLETS, PROTECTED_DATA, BULK_TASKS, FILES,
)  # fmt: skip
ORDER_TABLES = {schema.kind: schema for schema in SCHEMAS if schema.kind}


def frame(schema: Schema, records: Iterable[Any], *, attrs: Mapping[str, object] | None = None) -> pd.DataFrame:
    """Return records as a DataFrame with the columns and dtypes of `schema`, also when there are none.

    Parameters
    ----------
    schema
        A constant of this module.
    records
        `PublishedOrder`, `Deal`, `Task`, `Category` or `Account` objects, as the schema wants them.
    attrs
        Where the data is from: ``chain``, ``chain_id``, ``hub_address``, ``source``, ``block``, ``fetched_at``. Kept in
        ``df.attrs`` in a form that JSON takes (a time becomes ISO 8601 text).

    Returns
    -------
    pandas.DataFrame
        One row for each record. Amounts are nullable ``Int64`` in nRLC.

    Warns
    -----
    UserWarning
        Once, naming the rows, when a number does not fit 64 bits: it reads ``<NA>``.
    """
    rows = list(records)
    misfits: dict[int, list[str]] = {}
    data: dict[str, Any] = {}
    for column in schema.columns:
        values = list(map(attrgetter(column.path or column.name), rows))
        data[column.name] = _BUILDERS[column.dtype](values)
        if column.dtype == INT and data[column.name].isna().any():
            for row, value in enumerate(values):
                if value is not None and value > _BIGGEST:
                    misfits.setdefault(row, []).append(column.name)
    table = pd.DataFrame(data, columns=list(schema.dtypes))
    table.attrs = {key: _plain(value) for key, value in (attrs or {}).items()}
    if misfits:
        _warn_misfits(schema, table, misfits)
    return table


def _integers(values: Sequence[int | None]) -> pd.api.extensions.ExtensionArray:
    # Mask and values are given apart, because pandas would take the way over float64 for a list with None in it.
    fits = np.fromiter((value is not None and value <= _BIGGEST for value in values), np.bool_, len(values))
    numbers = (index(value) if fit and value is not None else 0 for value, fit in zip(values, fits, strict=True))
    return pd.arrays.IntegerArray(np.fromiter(numbers, np.int64, len(values)), ~fits)


def _texts(values: Sequence[str | None]) -> pd.api.extensions.ExtensionArray:
    # Python storage, whether or not pyarrow is installed: Arrow refuses lone surrogates, which JSON can carry.
    return pd.array(values, dtype=pd.StringDtype("python"))


def _times(values: Sequence[datetime | None]) -> pd.DatetimeIndex:
    # Microseconds, because nanoseconds end in the year 2262 and a contract may hold any deadline.
    naive = [None if value is None else value.astimezone(UTC).replace(tzinfo=None) for value in values]
    return pd.DatetimeIndex(np.array(naive, dtype="datetime64[us]")).tz_localize("UTC")


def _objects(values: Sequence[object]) -> np.ndarray[Any, Any]:
    # Filled in one by one, because numpy would unpack tuples of equal length into a second dimension.
    array = np.empty(len(values), dtype=object)
    for row, value in enumerate(values):
        array[row] = value
    return array


def _truths(values: Sequence[bool]) -> np.ndarray[Any, Any]:
    return np.array(values, dtype=np.bool_)


_BUILDERS: dict[str, Callable[[Any], Any]] = {
    INT: _integers, TEXT: _texts, TIME: _times, ANY: _objects, BOOL: _truths,
}  # fmt: skip


def _plain(value: object) -> object:
    return value.astimezone(UTC).isoformat() if isinstance(value, datetime) else value


def _warn_misfits(schema: Schema, table: pd.DataFrame, misfits: Mapping[int, Sequence[str]]) -> None:
    names = table[schema.marks[0]]
    listed = [f"row {row} ({names.iloc[row]}): {', '.join(lost)}" for row, lost in misfits.items()]
    more = f" and {len(listed) - _NAMED_ROWS} more rows" if len(listed) > _NAMED_ROWS else ""
    warnings.warn(
        f"{schema.name}: numbers that do not fit 64 bits read <NA> in {'; '.join(listed[:_NAMED_ROWS])}{more}",
        UserWarning,
        stacklevel=3,
    )


@pd.api.extensions.register_dataframe_accessor("iexec")
class IExecAccessor:
    """What iExec adds to its tables, as ``df.iexec``: rows as orders, the schema, plots.

    Raises
    ------
    AttributeError
        On a DataFrame that is no table of this package.
    """

    def __init__(self, table: pd.DataFrame) -> None:
        found = next((schema for schema in SCHEMAS if set(schema.marks) <= set(table.columns)), None)
        if found is None:
            known = "; ".join(f"{', '.join(schema.marks)} ({schema.name})" for schema in SCHEMAS)
            raise AttributeError(f"df.iexec needs a table of iexec_nb, with the columns of one of: {known}")
        self._table = table
        self._schema = found

    @property
    def schema(self) -> Schema:
        """The schema of the table; ``df.iexec.schema.describe()`` shows it as a table."""
        return self._schema

    def order(self, position: int) -> Order:
        """Return the signed order in a row, after its fields were hashed again and gave the row's `orderHash`.

        Parameters
        ----------
        position
            Counted from 0 in the order of the rows as they stand, not a label of the index; -1 is the last.

        Raises
        ------
        IndexError
            When there is no such row.
        ValidationError
            When the table holds no orders, or lost columns, `attrs` or a number that does not fit 64 bits.
        InvalidSignatureError
            When the row was changed, so that it is no longer what was signed.
        """
        size = len(self._table)
        place = index(position)
        if not -size <= place < size:
            raise IndexError(f"no row {place}: the table has {size} rows")
        place %= size
        return self._build(self._table.iloc[place : place + 1], place)[0]

    def orders(self) -> list[Order]:
        """Return the signed orders of all rows, each checked as `order` does.

        Raises
        ------
        ValidationError
            As `order`, for the first row that fails.
        InvalidSignatureError
            As `order`, for the first row that fails.
        """
        return self._build(self._table, 0)

    def plot_depth(self, **options: Any) -> Axes:
        """Draw the depth of the order book: tasks against the price in RLC; options as `iexec_nb.plots.depth`."""
        from iexec_nb import plots

        return plots.depth(self._table, **options)

    def plot_prices(self, **options: Any) -> Axes:
        """Draw the prices of each seller in RLC a task; options as `iexec_nb.plots.prices`."""
        from iexec_nb import plots

        return plots.prices(self._table, **options)

    def _build(self, rows: pd.DataFrame, first: int) -> list[Order]:
        cls, domain = self._order_class(), self._domain()
        names = ("orderHash", *cls.FIELDS, "salt", "sign")
        if lost := [name for name in names if name not in rows.columns]:
            raise ValidationError(
                f"the table has lost the columns {', '.join(lost)}",
                hint="take the order from the table as it came, or keep every column of df.iexec.schema",
            )
        records = zip(*(rows[name].tolist() for name in names), strict=True)
        return [_order(cls, domain, first + row, names, values) for row, values in enumerate(records)]

    def _order_class(self) -> type[Any]:
        if not self._schema.kind:
            raise ValidationError(
                f"the rows of {self._schema.name} are no orders",
                hint="orders are in the tables of: %iexec orderbook app | dataset | workerpool | requester",
            )
        return ORDERS[self._schema.kind]

    def _domain(self) -> Domain:
        attrs = self._table.attrs
        lost = [name for name in ("chain_id", "hub_address") if attrs.get(name) is None]
        if lost:
            raise ValidationError(
                f"the table has lost its attrs {', '.join(lost)}, without which an order cannot be checked",
                hint="some pandas operations drop df.attrs: take the order from the table as it came, "
                "or copy them with new.attrs = old.attrs",
            )
        return Domain(chainId=attrs["chain_id"], verifyingContract=attrs["hub_address"])


def _order(cls: type[Any], domain: Domain, row: int, names: Sequence[str], values: Sequence[Any]) -> Order:
    fields = {name: value for name, value in zip(names, values, strict=True) if value is not pd.NA}
    name = fields.pop("orderHash", None)
    if lost := [field for field in names if field != "orderHash" and field not in fields]:
        raise ValidationError(
            f"row {row} cannot become an order: {', '.join(lost)} reads <NA>, so what was signed is not known",
            context={"orderHash": name},
            hint=f"fetch it by its hash: %iexec order show --{cls.KIND} {name}",
        )
    order: Order = cls(**fields)
    actual = order_hash(order, domain)
    if actual != name:
        raise InvalidSignatureError(
            f"row {row} is not the order that was signed: its fields, or the table's chain, were changed",
            context={"orderHash": name, "hash of its fields": actual},
            hint="work on a copy of the table to change values, and take orders from the table as it came",
        )
    return order

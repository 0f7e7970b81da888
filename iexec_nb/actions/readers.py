"""Tables, arrays and pictures out of bytes that a stranger wrote.

The libraries that read these formats were made for files that people trust: a few hundred bytes can declare billions of
rows, and a damaged file raises whatever a parser stumbled over. So what a file declares is measured before memory is
given to it, nothing is ever unpickled, and every failure is one error that says what the file is.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any

from iexec_nb.errors import IExecError, ValidationError
from iexec_nb.protocol.archive import open_archive
from iexec_nb.protocol.sniffing import HEAD_BYTES, Kind, separator_of
from iexec_nb.protocol.types import shown
from iexec_nb.protocol.zip_records import Source

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

MAX_TABLE_BYTES = 2_000_000_000
"""How large a table or an array may become in the memory, unless more are allowed."""

_EXTRA = "pip install 'iexec_nb[files]'"


@contextmanager
def reading(name: str, kind: Kind, wanted: str) -> Iterator[None]:
    """Turn whatever a parser raises into one error that says what the file is.

    Raises
    ------
    ValidationError
        For any failure that is not an error of this package already.
    """
    try:
        yield
    except IExecError as error:
        error.context = {"file": shown(name), "what it is": kind.what, **error.context}
        raise
    except ImportError as error:
        raise ValidationError(
            f"{shown(name)!r} is {kind.what}, which needs a package that is not installed",
            context={"missing": shown(error.name or error, 100)},
            hint=_EXTRA,
        ) from error
    except MemoryError as error:
        raise ValidationError(f"{shown(name)!r} does not fit into the memory") from error
    except Exception as error:
        # Parsers of foreign formats raise anything: KeyError, AttributeError, struct.error, their own classes.
        raise unreadable(name, kind, wanted, error) from error


def unreadable(name: str, kind: Kind, wanted: str, error: object = "") -> ValidationError:
    """Return the error for a file that is not what it was taken for."""
    context: dict[str, object] = {"what it is": kind.what}
    if reason := shown(error, 200):
        context["reason"] = reason
    return ValidationError(
        f"{shown(name)!r} cannot be read as {wanted}", context=context, hint="read it as .bytes, or .open() it"
    )


# --- tables ----------------------------------------------------------------------------------------------------------


def read_table(file: IO[bytes], kind: Kind, max_bytes: int | None, options: dict[str, Any]) -> pd.DataFrame:
    """Return a file as a DataFrame; the caller says `reading`.

    Parameters
    ----------
    file
        Opened at its start.
    kind
        What it is; decides the reader.
    max_bytes
        How large the table may become.
    options
        For the reader of pandas.
    """
    limit = max_bytes or MAX_TABLE_BYTES
    found: pd.DataFrame = _READERS[kind.name](file, kind, limit, dict(options))
    return found


def _read_separated(file: IO[bytes], kind: Kind, limit: int, options: dict[str, Any]) -> pd.DataFrame:
    import pandas as pd

    if not {"sep", "delimiter", "delim_whitespace"} & options.keys():
        options = {"sep": separator_of(file.read(HEAD_BYTES), kind), **options}
        file.seek(0)
    table: pd.DataFrame = pd.read_csv(file, **options)
    return table


def _read_json(file: IO[bytes], kind: Kind, limit: int, options: dict[str, Any]) -> pd.DataFrame:
    import pandas as pd

    found = pd.read_json(file, **{"lines": kind.name == "jsonl", **options})
    return found if isinstance(found, pd.DataFrame) else pd.DataFrame(found)


def _read_parquet(file: IO[bytes], kind: Kind, limit: int, options: dict[str, Any]) -> pd.DataFrame:
    import pyarrow.parquet as pq  # type: ignore[import-untyped]

    facts = pq.ParquetFile(file).metadata
    # A column of one value repeated a billion times is a few bytes here, and 8 GB in a table.
    _require(facts.num_rows * max(facts.num_columns, 1) * 8, limit, f"{facts.num_rows} rows of {facts.num_columns}")
    _require(sum(facts.row_group(at).total_byte_size for at in range(facts.num_row_groups)), limit, "its columns")
    file.seek(0)
    chosen = {name: options.pop(name) for name in ("columns", "filters") if name in options}
    table = pq.read_table(file, **chosen)
    _validate(table)
    frame: pd.DataFrame = table.to_pandas(**options)
    return frame


def _read_feather(file: IO[bytes], kind: Kind, limit: int, options: dict[str, Any]) -> pd.DataFrame:
    import pyarrow as pa

    with pa.ipc.open_file(file) as found:
        batches, total = [], 0
        for at in range(found.num_record_batches):
            batch = found.get_batch(at)
            _validate(batch)
            batches.append(batch)
            total += batch.nbytes
            _require(total, limit, "its columns")
        table = pa.Table.from_batches(batches, found.schema)
    frame: pd.DataFrame = table.select(options.pop("columns", table.column_names)).to_pandas(**options)
    return frame


def _validate(table: Any) -> None:
    # Arrow believes the offsets in a file until it is asked to look at them; a wrong one reads foreign memory and ends
    # the kernel, even when the only question is how large the table is.
    table.validate(full=True)


def _read_xlsx(file: IO[bytes], kind: Kind, limit: int, options: dict[str, Any]) -> pd.DataFrame:
    import pandas as pd

    # A workbook is a zip of texts, judged as one: openpyxl would unpack a bomb.
    open_archive(Source(file.read()), max_files=1000)
    file.seek(0)
    found = pd.read_excel(file, **{"engine": "openpyxl", **options})
    if isinstance(found, pd.DataFrame):
        return found
    raise ValidationError("several sheets were asked for", hint="give one: table(sheet_name='...')")


def _require(needed: int, limit: int, what: str) -> None:
    if needed > limit:
        raise ValidationError(
            f"the table is too large: {what} need about {needed} bytes",
            context={"limit": f"{limit} bytes"},
            hint=f"where you trust it: table(max_bytes={needed})",
        )


_READERS: dict[str, Callable[[IO[bytes], Kind, int, dict[str, Any]], pd.DataFrame]] = {
    "csv": _read_separated, "tsv": _read_separated, "json": _read_json, "jsonl": _read_json,
    "parquet": _read_parquet, "feather": _read_feather, "xlsx": _read_xlsx,
}  # fmt: skip


# --- arrays ----------------------------------------------------------------------------------------------------------


def read_array(content: bytes) -> np.ndarray[Any, Any]:
    """Return the array of an ``.npy`` file, which is never unpickled; the caller says `reading`.

    Raises
    ------
    ValidationError
        When it holds Python objects, or declares another size than it has.
    """
    import io

    import numpy as np

    file = io.BytesIO(content)
    version = np.lib.format.read_magic(file)
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    # Version 3 differs from 2 in the letters of column names only.
    shape, _, dtype = readers.get(version, np.lib.format.read_array_header_2_0)(file)
    if dtype.hasobject:
        raise ValidationError(
            "the array holds Python objects, which run code when they are read",
            hint="ask who wrote the app for numbers; where you trust the author: unsafe_unpickle",
        )
    count = 1
    for side in shape:
        count *= side
    if count * dtype.itemsize != len(content) - file.tell():
        raise ValidationError(
            f"the array declares {count * dtype.itemsize} bytes and has {len(content) - file.tell()}",
            context={"shape": shown(shape), "dtype": shown(dtype)},
        )
    file.seek(0)
    found: np.ndarray[Any, Any] = np.load(file, allow_pickle=False)
    return found


def read_arrays(content: bytes, max_bytes: int | None) -> dict[str, np.ndarray[Any, Any]]:
    """Return the arrays of an ``.npz`` file by name; the zip is judged as every other, and nothing is unpickled."""
    archive = open_archive(content, max_bytes=max_bytes)
    return {name.removesuffix(".npy"): read_array(archive.read(name)) for name in archive.names}


# --- pictures --------------------------------------------------------------------------------------------------------


def picture_size(head: bytes, kind: Kind) -> tuple[int, int] | None:
    """Return width and height of a picture in pixels as its head declares them, or None where it does not say."""
    if kind.name == "png" and len(head) >= 24:
        width, height = struct.unpack_from(">2L", head, 16)
        return width, height
    if kind.name == "gif" and len(head) >= 10:
        width, height = struct.unpack_from("<2H", head, 6)
        return width, height
    return _jpeg_size(head) if kind.name == "jpeg" else _webp_size(head) if kind.name == "webp" else None


def _jpeg_size(head: bytes) -> tuple[int, int] | None:
    at = 2
    while at + 9 <= len(head) and head[at] == 0xFF:
        mark, size = head[at + 1], int.from_bytes(head[at + 2 : at + 4], "big")
        # The frames, which hold the size; C4, C8 and CC among their numbers are tables.
        if 0xC0 <= mark <= 0xCF and mark not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack_from(">2H", head, at + 5)
            return width, height
        at += 2 + max(size, 2)
    return None


def _webp_size(head: bytes) -> tuple[int, int] | None:
    form = head[12:16]
    if form == b"VP8X" and len(head) >= 30:
        return 1 + int.from_bytes(head[24:27], "little"), 1 + int.from_bytes(head[27:30], "little")
    if form == b"VP8L" and len(head) >= 25:
        bits = int.from_bytes(head[21:25], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if form == b"VP8 " and len(head) >= 30:
        width, height = struct.unpack_from("<2H", head, 26)
        return width & 0x3FFF, height & 0x3FFF
    return None

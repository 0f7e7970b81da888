"""How a result looks in a cell: what was checked, the files, and a first look into some of them.

What is looked into was written by strangers: a preview is small, escaped, made of the head of a file, and left out
where anything is odd. What a large native library would have to read (Parquet, Feather, Excel) is read when somebody
asks for the table, and not because a cell shows a result. Pictures are embedded only where their pixels are few; no
HTML, no drawing with scripts, no link and no address of a result reaches the page.
"""

from __future__ import annotations

import io
from base64 import b64encode
from html import escape
from itertools import islice
from typing import Any

from iexec_nb.errors import IExecError
from iexec_nb.notebook.display import Row, View, clean, html, plain

_FILES = 50
_PREVIEWS = 4
_ROWS, _COLUMNS = 5, 8
_LINES, _LINE_CHARACTERS = 12, 160
_CELL_CHARACTERS = 60
_HEAD_BYTES = 64 << 10
_PICTURE_BYTES = 512 << 10
_PICTURE_PIXELS = 16_000_000
_HEADED = ("csv", "tsv", "jsonl")
"""Tables whose first rows are at their start."""

_BOX = "margin:8px 0;max-width:100%;overflow-x:auto"
_NAME = "font-weight:bold;color:inherit"
_PRE = "margin:4px 0;white-space:pre-wrap;overflow-wrap:anywhere;color:inherit;background:transparent"
_TABLE = "border-collapse:collapse;color:inherit;background:transparent"
_CELL = "border-bottom:1px solid rgba(128,128,128,0.4);padding:2px 10px 2px 4px;text-align:left;color:inherit"


def result_html(result: Any) -> str:
    """Return a result as HTML: its facts, its files, and previews of the main output and a few others."""
    previews = "".join(_preview(file) for file in _looked_into(result))
    return html(result_view(result)) + previews


def result_text(result: Any) -> str:
    """Return a result as lines of text, the twin of `result_html`: the head of its text files and tables."""
    parts = [plain(result_view(result))]
    for file in _looked_into(result):
        if lines := _lines_of(file):
            parts.append("\n".join([f"  {clean(file.name)}:", *(f"    {line}" for line in lines)]))
    return "\n".join(parts)


def result_view(result: Any) -> View:
    """Return the rows of a result: whether it was checked, where it is from, and its files with size and kind."""
    sign = {True: "✔", False: "✖", None: "–"}[result.verified]
    rows = [Row("digest", f"{sign} {result.verification}"), Row("encrypted", "yes" if result.encrypted else "no")]
    if result.task is not None:
        rows.append(Row("taskid", result.task.taskid))
    if result.callback:
        rows.append(Row("callback", f"{len(result.callback):,} bytes 0x{result.callback[:32].hex()}"))
    if result.path is not None:
        rows.append(Row("written to", result.path.name))
    rows += [Row(name, f"{result[name].size:,} bytes, {_what(result[name])}") for name in islice(result, _FILES)]
    if len(result) > _FILES:
        rows.append(Row("…", f"{len(result) - _FILES:,} more files"))
    return View(f"Result: {len(result):,} file{'' if len(result) == 1 else 's'}", tuple(rows))


def _what(file: Any) -> str:
    try:
        what: str = file.sniffed.what
    except (IExecError, OSError):
        return "damaged"
    return what


def _looked_into(result: Any) -> list[Any]:
    """Return the files to preview: the main output first, then the first others that can be shown."""
    names = list(islice(result, _FILES))
    try:
        main = result.main.name
    except (IExecError, OSError):
        main = ""
    names.sort(key=lambda name: name != main)
    shown = (result[name] for name in names if not name.endswith("computed.json"))
    return list(islice((file for file in shown if _what(file) != "damaged" and _has_preview(file)), _PREVIEWS))


def _has_preview(file: Any) -> bool:
    kind = file.sniffed
    if kind.is_picture:
        width, height = file.pixels or (0, 0)
        return bool(file.size <= _PICTURE_BYTES and 0 < width * height <= _PICTURE_PIXELS)
    return bool(kind.is_text or file.kind in _HEADED)


def _preview(file: Any) -> str:
    try:
        if file.sniffed.is_picture:
            inside = _picture(file)
        elif file.kind in _HEADED:
            inside = _table(file)
        else:
            inside = _text(file)
    except (IExecError, OSError):
        return ""
    return f'<div style="{_BOX}"><div style="{_NAME}"><bdi>{escape(clean(file.name))}</bdi></div>{inside}</div>'


def _picture(file: Any) -> str:
    data = b64encode(file.bytes).decode()
    name = escape(clean(file.name))
    return f'<img alt="{name}" style="max-width:100%;max-height:320px" src="data:image/{file.kind};base64,{data}">'


def _table(file: Any) -> str:
    columns, rows, total = _rows_of(file)
    head = "".join(f'<th scope="col" style="{_CELL}"><bdi>{escape(one)}</bdi></th>' for one in columns)
    body = "".join(
        "<tr>" + "".join(f'<td style="{_CELL}"><bdi>{escape(one)}</bdi></td>' for one in row) + "</tr>" for row in rows
    )
    return f'<table style="{_TABLE}"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{escape(total)}'


def _text(file: Any) -> str:
    return f'<pre style="{_PRE}"><bdi>{escape(chr(10).join(_head_lines(file)))}</bdi></pre>'


def _lines_of(file: Any) -> list[str]:
    """Return the preview of a file as lines of text; none for a picture, or where it cannot be read."""
    try:
        if file.sniffed.is_picture:
            return []
        if file.kind not in _HEADED:
            return _head_lines(file)
        columns, rows, total = _rows_of(file)
    except (IExecError, OSError):
        return []
    widths = [max(map(len, column)) for column in zip(columns, *rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in (columns, *rows)]
    return [line.rstrip() for line in lines] + ([total] if total else [])


def _head_lines(file: Any) -> list[str]:
    text = file.head(_HEAD_BYTES).decode("utf-8", "replace")
    lines = text.split("\n", _LINES)
    shown = [clean(line.rstrip("\r").expandtabs(4), _LINE_CHARACTERS) for line in lines[:_LINES]]
    return [*shown, "…"] if len(lines) > _LINES or file.size > _HEAD_BYTES else shown


def _rows_of(file: Any) -> tuple[list[str], list[list[str]], str]:
    """Return the names of a table's first columns, its first rows as text, and what is left out."""
    table = _head_of_table(file)
    total = f"{len(table.columns):,} columns" if len(table.columns) > _COLUMNS else ""
    cut = table.iloc[:_ROWS, :_COLUMNS]
    columns = [clean(str(name), _CELL_CHARACTERS) for name in cut.columns]
    rows = [[clean(str(cell), _CELL_CHARACTERS) for cell in row] for row in cut.itertuples(index=False, name=None)]
    return columns, rows, total


def _head_of_table(file: Any) -> Any:
    from iexec_nb.actions import readers

    head = file.head(_HEAD_BYTES)
    if file.size > len(head):
        # The last line is cut.
        head = head[: head.rfind(b"\n") + 1]
    with readers.reading(file.name, file.sniffed, "a table"):
        return readers.read_table(io.BytesIO(head), file.sniffed, None, {"nrows": _ROWS})

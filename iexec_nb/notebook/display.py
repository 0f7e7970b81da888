"""How records look in a cell.

The records know nothing of notebooks: HTML and its plain-text twin are registered from outside on IPython's formatters,
by the names of the classes, so that registering imports none of them. What they hold is written by strangers (names on
the chain, orders on the market), so every text is cut, its invisible and direction-changing characters are made
visible, and it is escaped. Nothing relies on colour, on scripts or on style sheets, which front-ends drop.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from datetime import UTC, datetime
from enum import Enum
from html import escape
from pathlib import PurePath
from pkgutil import resolve_name
from typing import Any
from unicodedata import category

from iexec_nb.protocol.tags import describe
from iexec_nb.protocol.types import NULL_ADDRESS, NULL_BYTES32, Secret
from iexec_nb.protocol.units import format_ether, format_rlc

TEXT_LIMIT = 200
_TITLE_LIMIT = 1000
_LIST_LIMIT = 3
_HEX = re.compile(r"0x[0-9a-fA-F]{24,}")
_AMOUNT = re.compile(r"\w*[pP]rice|stake|locked|workerStake|amount|total|total_cost|nRLC|cost")
_UNITS = {
    "volume": "tasks", "remaining": "tasks", "botSize": "tasks", "workClockTimeRef": "s", "timeref": "s",
    "schedulerRewardRatio": "%", "schedulerRewardRatioPolicy": "%", "workerStakeRatioPolicy": "%", "size": "bytes",
}  # fmt: skip
_NOBODY = {"dataset": "none", "callback": "none", "workerpool": "anyone"}
_SIGNS = {"COMPLETED": "✔", "FAILED": "✖", "ACTIVE": "▶", "REVEALING": "▶", "UNSET": "○"}

_LINE = "border-bottom:1px solid var(--jp-border-color2,rgba(128,128,128,0.4));padding:3px 18px 3px 6px;"
_TABLE_STYLE = "border-collapse:collapse;color:inherit;background:transparent;margin:4px 0"
_CAPTION_STYLE = "caption-side:top;text-align:left;font-weight:bold;color:inherit;padding:2px 0 4px 6px"
_HEAD_STYLE = _LINE + "text-align:left;vertical-align:top;font-weight:normal;color:inherit"
_CELL_STYLE = _LINE + "text-align:left;vertical-align:top;color:inherit;overflow-wrap:anywhere"


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a view: what it is called, its full text, and the short form for HTML where there is one."""

    label: str
    text: str
    short: str = ""


@dataclass(frozen=True, slots=True)
class View:
    """What is shown of an object: a caption and rows. `html` and `plain` draw it; the texts need not be clean."""

    caption: str
    rows: tuple[Row, ...]


def clean(text: str, limit: int = TEXT_LIMIT) -> str:
    """Return text that cannot break out of its line: cut, with control, invisible and bidi characters as ``\\u202e``.

    Parameters
    ----------
    text
        Anything that a stranger wrote.
    limit
        Characters that are kept; what was cut is counted at the end.
    """
    kept, marks = [], 0
    for char in text[:limit]:
        # Stacked accents are printable, but enough of them paint over the neighbouring lines.
        marks = marks + 1 if category(char) in ("Mn", "Me") else 0
        safe = char.isprintable() and marks <= 2
        kept.append(char if safe else char.encode("unicode_escape").decode())
    rest = f"… ({len(text):,} characters)" if len(text) > limit else ""
    return "".join(kept) + rest


def shorten(value: str) -> str:
    """Return an address or hash as ``0x1234…abcd``; other text as it is."""
    return f"{value[:6]}…{value[-4:]}" if _HEX.fullmatch(value) else value


def moment(value: datetime) -> str:
    """Return a time as ``2026-01-31 12:00:00 UTC``."""
    return f"{value.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def html(view: View) -> str:
    """Return a view as an HTML table with a caption and row headers; every text is cleaned and escaped."""
    rows = "".join(
        f'<tr><th scope="row" style="{_HEAD_STYLE}">{escape(clean(row.label))}</th>'
        f'<td style="{_CELL_STYLE}">{_html_value(row)}</td></tr>'
        for row in view.rows
    )
    caption = f'<caption style="{_CAPTION_STYLE}">{escape(clean(view.caption))}</caption>'
    return f'<table class="iexec-nb" style="{_TABLE_STYLE}">{caption}<tbody>{rows}</tbody></table>'


def plain(view: View) -> str:
    """Return a view as lines of text, values in full; the twin of `html`."""
    labels = [clean(row.label) for row in view.rows]
    width = min(max(map(len, labels), default=0), 40)
    lines = (f"  {label:<{width}}  {clean(row.text)}" for label, row in zip(labels, view.rows, strict=True))
    return "\n".join([clean(view.caption), *lines])


def record_view(record: Any, caption: str) -> View:
    """Return the view of a dataclass: a row for each field, with units, tags by name and times in UTC.

    Parameters
    ----------
    record
        An order, deal, task, resource or receipt.
    caption
        What it is.
    """
    return View(caption, tuple(_rows(record)))


def run_view(run: Any) -> View:
    """Return the view of the handle of a run: its deal and what it costs; the chain is not asked."""
    deal = run.deal
    names = ("dealid", "app", "dataset", "workerpool", "botSize", "total_cost", "finalTime")
    values = [getattr(deal, name) for name in names]
    rows = (_row(name, getattr(value, "pointer", value)) for name, value in zip(names, values, strict=True))
    return View("Run", tuple(rows))


def quote_view(quote: Any) -> View:
    """Return the view of what a run would cost: prices, gas, what is there to pay it with, and what is in the way."""
    prices = ("total", "appprice", "datasetprice", "workerpoolprice")
    rows = [_amount_row(name, getattr(quote, name)) for name in prices]
    rows += [_row(name, getattr(quote, name)) for name in ("volume", "category", "app", "dataset", "workerpool")]
    rows += [_row("gas", quote.gas.note)] if quote.gas.fee is None else [Row("gas", format_ether(quote.gas.fee))]
    money = ("stake", "stakeAfter", "missing", "allowance", "nRLC")
    if quote.requester is not None:
        rows.append(_row("requester", quote.requester))
        rows += [_amount_row(name, value) for name in money if (value := getattr(quote, name)) is not None]
        rows.append(_row("wei", quote.wei))
    rows += [Row("✖ not ready", problem) for problem in quote.problems] or [Row("ready", "✔ nothing stands against it")]
    rows += [Row("to type", hint) for hint in dict.fromkeys(quote.hints) if hint]
    return View("Quote", tuple(rows))


def cost_view(cost: Any) -> View:
    """Return the view of what a run cost: prices for a task, the whole, what came back, and the gas."""
    rows = [_amount_row(name, getattr(cost, name)) for name in ("app", "dataset", "workerpool")]
    rows += [_row("volume", cost.volume), _amount_row("total", cost.total)]
    rows += [_amount_row("refunded", cost.refunded)] if cost.refunded else []
    rows += [Row("gas", format_ether(cost.fee))] if cost.fee is not None else []
    return View("Cost of a run", tuple(rows))


def sent_view(sent: Any) -> View:
    """Return the view of money that was sent: RLC and ether have the same field, and the currency says which it is."""
    amount = _number_row("amount" if sent.currency == "RLC" else "wei", sent.amount)
    rows = (_row(name, getattr(sent, name)) for name in ("sender", "to", "txHash"))
    return View("Sent", (Row("amount", amount.text, amount.short), *rows))


def wallet_file_view(file: Any) -> View:
    """Return the view of a wallet's file: whose, and the name only, because its folder tells who works here."""
    return View("Wallet file", (_row("address", file.address), _row("file", file.path)))


def _html_value(row: Row) -> str:
    full, short = clean(row.text, _TITLE_LIMIT), clean(row.short or row.text)
    title = f' title="{escape(full)}"' if full != short else ""
    # bdi keeps a name in a right-to-left script from reordering what stands around it.
    return f"<bdi{title}>{escape(short)}</bdi>"


def _rows(record: Any) -> Iterator[Row]:
    for field in fields(record):
        value = getattr(record, field.name)
        if not field.repr and not isinstance(value, Secret):
            # What a record keeps out of its line, such as a wallet's keys, is asked for by name.
            continue
        if hasattr(value, "pointer"):
            yield from _resource_rows(field.name, value)
        elif is_dataclass(value):
            yield from _rows(value)
        else:
            yield _row(field.name, value)
    if hasattr(record, "total_cost"):
        yield _row("total_cost", record.total_cost)


def _resource_rows(name: str, resource: Any) -> Iterator[Row]:
    yield _row(name, resource.pointer)
    if resource.pointer != NULL_ADDRESS:
        yield _row(f"{name}Owner", resource.owner)
        yield _row(f"{name}Price", resource.price)


def _row(name: str, value: object) -> Row:
    if type(value) is int:
        return _number_row(name, value)
    if isinstance(value, Enum):
        return Row(name, f"{_SIGNS.get(value.name, '')} {value.name}".strip())
    if isinstance(value, str) and name == "tag":
        names = ", ".join(describe(value)) or "none"
        return Row(name, f"{names} ({value})", names)
    if isinstance(value, str):
        return _text_row(name, value)
    if isinstance(value, bytes):
        if not value:
            return Row(name, "none")
        text = "0x" + value[:TEXT_LIMIT].hex()
        return Row(name, f"{len(value):,} bytes {text}", f"{len(value):,} bytes {shorten(text)}")
    if isinstance(value, Mapping):
        return _list_row(name, [f"{key}: {item}" for key, item in value.items()])
    if isinstance(value, list | tuple):
        return _list_row(name, [str(item) for item in value])
    return Row(name, _plain_text(value))


def _list_row(name: str, items: list[str]) -> Row:
    more = f" and {len(items) - _LIST_LIMIT:,} more" if len(items) > _LIST_LIMIT else ""
    kept = items[:_LIST_LIMIT] or ["none"]
    return Row(name, ", ".join(kept) + more, ", ".join(map(shorten, kept)) + more)


def _number_row(name: str, value: int) -> Row:
    if _AMOUNT.fullmatch(name):
        return _amount_row(name, value)
    if name == "wei":
        text = format_ether(value)
        return Row(name, f"{text} ({value:,} wei)", text)
    unit = _UNITS.get(name, "")
    return Row(name, f"{value:,} {unit[:-1] if value == 1 and len(unit) > 1 else unit}" if unit else str(value))


def _amount_row(name: str, value: int) -> Row:
    text = format_rlc(value)
    return Row(name, f"{text} ({value:,} nRLC)", text)


def _text_row(name: str, value: str) -> Row:
    if value == NULL_ADDRESS:
        who = _NOBODY.get(name, "anyone" if name.endswith("restrict") else "")
        return Row(name, f"{who} ({value})", who) if who else Row(name, value, shorten(value))
    if not value:
        return Row(name, "none")
    if value == NULL_BYTES32:
        return Row(name, f"none ({value})", "none")
    return Row(name, value, shorten(value))


def _plain_text(value: object) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        return moment(value)
    if isinstance(value, PurePath):
        # The name only: the folder tells who works here to everybody who gets the notebook.
        return value.name
    return str(value)


_CAPTIONS = {
    "orders": {
        "AppOrder": "App order", "DatasetOrder": "Dataset order", "WorkerpoolOrder": "Workerpool order",
        "RequestOrder": "Request order", "PublishedOrder": "Published order",
    },
    "execution": {"Deal": "Deal", "Task": "Task"},
    "resources": {
        "App": "App", "Dataset": "Dataset", "Workerpool": "Workerpool", "Category": "Category", "Account": "Account",
    },
    "receipts": {
        "Balances": "Wallet", "Moved": "Transfer", "Deployed": "Deployed", "Matched": "Matched orders",
        "Claimed": "Claimed tasks", "Pushed": "Secret pushed", "EncryptedDataset": "Encrypted dataset",
        "EncryptionKeyPair": "Result encryption key pair", "NetworkInfo": "Chain", "Swept": "Swept wallet",
        "Allowance": "Allowance", "Transferred": "Transferred", "Cancelled": "Cancelled order",
        "Presigned": "Presigned order", "DatasetBulk": "Bulk of datasets", "CategoryCreated": "New category",
        "SecretStatus": "Secret", "ProjectMade": "New project", "ProjectShown": "Project",
    },
    "offchain": {"TaskDownload": "Downloaded result"},
    "protected_records": {
        "ProtectedData": "Protected data", "Protected": "Protected data", "GrantedAccess": "Granted access",
        "RevokedAccess": "Revoked access", "BulkRequest": "Bulk request", "TaskEnd": "End of a task",
    },
}  # fmt: skip


def register(ip: Any) -> None:
    """Register HTML and plain text for every record on an IPython shell; doing it twice changes nothing."""
    rich, text = _formatters(ip)
    for (module, name), view in _VIEWS.items():
        rich.for_type_by_name(module, name, _as_html(view))
        text.for_type_by_name(module, name, _as_text(_as_plain(view)))
    for (module, name), (html_of, text_of) in _PAGES.items():
        rich.for_type_by_name(module, name, _late(html_of))
        text.for_type_by_name(module, name, _as_text(_late(text_of)))


def unregister(ip: Any) -> None:
    """Take back what `register` did; harmless where nothing was registered."""
    for module, name in (*_VIEWS, *_PAGES):
        for formatter in _formatters(ip):
            formatter.pop(f"{module}.{name}", None)


def _formatters(ip: Any) -> tuple[Any, Any]:
    formatters = ip.display_formatter.formatters
    return formatters["text/html"], formatters["text/plain"]


def _as_html(view: Callable[[Any], View]) -> Callable[[Any], str]:
    return lambda record: html(view(record))


def _as_plain(view: Callable[[Any], View]) -> Callable[[Any], str]:
    return lambda record: plain(view(record))


def _as_text(told: Callable[[Any], str]) -> Callable[[Any, Any, bool], None]:
    def write(record: Any, printer: Any, cycle: bool) -> None:
        # Inside a list or dict one line is enough.
        printer.text(told(record) if len(printer.stack) == 1 else repr(record))

    return write


def _late(path: str) -> Callable[[Any], str]:
    """Return a function that is imported when something is shown, and not when the extension is loaded."""

    def shown(record: Any) -> str:
        text: str = resolve_name(f"iexec_nb.notebook.{path}")(record)
        return text

    return shown


def _captioned(caption: str) -> Callable[[Any], View]:
    return lambda record: record_view(record, caption)


_VIEWS: dict[tuple[str, str], Callable[[Any], View]] = {
    (f"iexec_nb.protocol.{module}", name): _captioned(caption)
    for module, names in _CAPTIONS.items()
    for name, caption in names.items()
} | {
    ("iexec_nb.actions.run", "Run"): run_view,
    ("iexec_nb.protocol.quotes", "Quote"): quote_view,
    ("iexec_nb.protocol.quotes", "RunCost"): cost_view,
    ("iexec_nb.protocol.receipts", "Sent"): sent_view,
    ("iexec_nb.protocol.receipts", "WalletFile"): wallet_file_view,
}
_PAGES = {
    ("iexec_nb.actions.outcome", "Result"): ("result_view:result_html", "result_view:result_text"),
    ("iexec_nb.protocol.offchain", "TaskLogs"): ("task_view:logs_html", "task_view:logs_text"),
    ("iexec_nb.protocol.offchain", "TaskDebug"): ("task_view:debug_html", "task_view:debug_text"),
}

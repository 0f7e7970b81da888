"""Order books as pictures.

A depth curve answers what an analyst asks of a book: how many tasks can I buy up to this price, and from whom.
Drawing is the only place where an amount becomes a float. Every line differs in colour and in dash, the colours are
those of Okabe and Ito (told apart with any colour vision), and one absurd price does not flatten the rest: the view
ends where the bulk of the book ends, and says what lies outside.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator, SymmetricalLogLocator

from iexec_nb.errors import ValidationError

Floats = npt.NDArray[np.float64]

_INK, _SOFT, _GRID = "#1b1b1f", "#5f6368", "#dadce0"
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_DASHES: tuple[Any, ...] = ("-", (0, (6, 2)), (0, (1, 1.2)), (0, (6, 2, 1, 2)), (0, (3, 1.5)), (0, (8, 2, 1, 2, 1, 2)))
_STEPS = (1, 2, 2.5, 5, 10)
_MOST_POINTS = 400
_SUMMARY = "iexec_nb summary"
_NULL = "0x" + "0" * 40


@dataclass(frozen=True, slots=True)
class _Book:
    """What the pictures need of an order table: who sells, the price column, and which end of it is the best."""

    title: str
    price: str
    seller: str
    bids: bool = False


_BOOKS = (
    _Book("Workerpool orders", "workerpoolprice", "workerpool"),
    _Book("Request orders", "workerpoolmaxprice", "requester", bids=True),
    _Book("App orders", "appprice", "app"),
    _Book("Dataset orders", "datasetprice", "dataset"),
)


def depth(table: pd.DataFrame, ax: Axes | None = None, *, by: str | None = None, lines: int = 6) -> Axes:
    """Draw how many tasks an order book offers up to each price (or asks for down to it), by seller and in total.

    Parameters
    ----------
    table
        An order table of `iexec_nb.tables`: its price, `remaining` and seller columns are used.
    ax
        Where to draw; a new figure if it is not given.
    by
        The column that tells sellers apart; the seller's address (the requester's, for request orders) if not given.
    lines
        How many sellers have a line of their own, those with the most tasks first; the total has one always.

    Returns
    -------
    matplotlib.axes.Axes
        x is the price of a task in RLC (nRLC for a book of tiny prices), y the cumulative number of tasks.

    Raises
    ------
    ValidationError
        When the table has no price or no `remaining`, or no column `by`.
    """
    book = _book(table, by)
    ax = _axes(ax)
    shared = bool(ax.lines)
    offers = _offers(table, book, by)
    _dress(ax, book.title + ": depth", _summary(table, offers, book, by), shared)
    verb = "wanted at this price or more" if book.bids else "on offer up to this price"
    ax.set_ylabel("tasks, cumulative" if shared else f"tasks {verb}")
    if offers.empty:
        return ax if shared else _nothing(ax)
    end, outside = _view(offers["price"])
    scale, unit = _unit(end, ax.get_xlabel() if shared else "")
    ax.set_xlabel(f"price of one task ({unit})" + outside)
    offers = offers.sort_values("price", ascending=not book.bids, kind="stable")
    span = 0.0 if book.bids else max(float(offers["price"].max()), end)
    ranked = offers.groupby("seller", observed=True)["tasks"].sum().sort_values(ascending=False, kind="stable")
    for place, seller in enumerate(ranked.index[: min(lines, len(_COLOURS))]):
        x, y = _steps(offers[offers["seller"] == seller], span)
        label = f"{_short(seller)}  {_tick(ranked[seller])}"
        style = {"color": _COLOURS[place], "linestyle": _DASHES[place]}
        ax.plot(x * scale, y, drawstyle="steps-post", linewidth=1.7, label=label, **style)
    x, y = _steps(offers, span)
    label = f"all {'wanted' if book.bids else 'on offer'}  {_tick(y[-1])}"
    dash = _DASHES[1] if book.bids else "-"
    ax.plot(x * scale, y, drawstyle="steps-post", color=_INK, linestyle=dash, linewidth=2.4, label=label, zorder=5)
    ax.fill_between(x * scale, y, step="post", color=_INK, alpha=0.05, linewidth=0)
    right = max(end * scale, ax.get_xlim()[1] if shared else 0)
    ax.set_xlim(-0.01 * right, right)
    _volumes(ax, offers)
    _legend(ax, "who" if shared else by or book.seller)
    return ax


def prices(table: pd.DataFrame, ax: Axes | None = None, *, by: str | None = None, lines: int = 12) -> Axes:
    """Draw the price of every order, one row of dots and a box (quartiles, median) for each seller.

    Parameters
    ----------
    table
        An order table of `iexec_nb.tables`: its price, `remaining` and seller columns are used.
    ax
        Where to draw; a new figure if it is not given.
    by
        The column that tells sellers apart, as for `depth`.
    lines
        How many sellers are drawn: those with the most orders, the best median price on top.

    Returns
    -------
    matplotlib.axes.Axes
        x is the price of a task in RLC (nRLC for a book of tiny prices), y the sellers.

    Raises
    ------
    ValidationError
        As `depth`.
    """
    book = _book(table, by)
    ax = _axes(ax)
    offers = _offers(table, book, by)
    _dress(ax, book.title + ": prices", _summary(table, offers, book, by), shared=False)
    if offers.empty:
        return _nothing(ax)
    groups = offers.groupby("seller", observed=True)["price"]
    kept = groups.size().sort_values(ascending=False, kind="stable").index[:lines]
    ranked = groups.median().loc[kept].sort_values(ascending=not book.bids, kind="stable").index
    end, outside = _view(offers.loc[offers["seller"].isin(ranked), "price"])
    scale, unit = _unit(end)
    ax.set_xlabel(f"price of one task ({unit})" + outside)
    values = [groups.get_group(seller).to_numpy() * scale for seller in ranked]
    for row, value in enumerate(values):
        _strip(ax, row, value, _COLOURS[row % len(_COLOURS)])
        _box(ax, row, value)
    labels = [f"{_short(seller)}  {len(value):,}" for seller, value in zip(ranked, values, strict=True)]
    ax.set_yticks(range(len(labels)), labels, family="monospace", fontsize=8.5)
    ax.set_ylim(max(len(values), 3) - 0.4, -0.6)
    ax.set_xlim(-0.01 * end * scale, end * scale)
    rest = offers["seller"].nunique() - len(values)
    ax.set_ylabel(f"{by or book.seller} and its orders" + (f" ({rest:,} more not drawn)" if rest else ""))
    ax.grid(axis="y", visible=False)
    return ax


def _book(table: pd.DataFrame, by: str | None) -> _Book:
    book = next((book for book in _BOOKS if book.price in table.columns), None)
    wanted = [name for name in ("remaining", by or (book and book.seller)) if name and name not in table.columns]
    if book is None or wanted:
        lacking = ", ".join(wanted) if book else " or ".join(book.price for book in _BOOKS)
        raise ValidationError(
            f"the table has no column {lacking}",
            hint="draw an order table, such as book = %iexec orderbook workerpool --category 0",
        )
    return book


def _offers(table: pd.DataFrame, book: _Book, by: str | None) -> pd.DataFrame:
    seller = table[by or book.seller]
    offers = pd.DataFrame(
        {
            "price": table[book.price].to_numpy(dtype=np.float64, na_value=np.nan) / 1e9,
            "tasks": table["remaining"].to_numpy(dtype=np.float64, na_value=np.nan),
            "seller": seller.astype(object).where(seller.notna(), "unknown"),
        }
    )
    return offers[offers["price"].notna() & (offers["tasks"] > 0)]


def _axes(ax: Axes | None) -> Axes:
    if ax is not None:
        return ax
    # pyplot, and no bare Figure, because the notebook's inline backend shows what pyplot has made.
    import matplotlib.pyplot as plt

    return plt.subplots(figsize=(9, 4.6), layout="constrained")[1]


def _dress(ax: Axes, title: str, summary: str, shared: bool) -> None:
    if shared:
        # A second book on the same axes: both summaries in one line would run into each other.
        title, summary = "Order books: depth", ""
        for text in [text for text in ax.texts if text.get_gid() == _SUMMARY]:
            text.remove()
    ax.set_title(f"{title}\n", loc="left", fontsize=13, fontweight="bold", color=_INK, pad=6)
    ax.text(0, 1.025, summary, transform=ax.transAxes, fontsize=9, color=_SOFT, va="bottom", gid=_SUMMARY)
    ax.set_axisbelow(True)
    ax.grid(color=_GRID, linewidth=0.7)
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["left", "bottom"]].set_color(_SOFT)
    ax.tick_params(colors=_SOFT, labelsize=9, length=0)
    ax.xaxis.label.set_color(_INK)
    ax.yaxis.label.set_color(_INK)
    ax.xaxis.set_major_locator(MaxNLocator(nbins=7, steps=_STEPS))
    ax.xaxis.set_major_formatter(FuncFormatter(_tick))
    ax.yaxis.set_major_formatter(FuncFormatter(_tick))


def _tick(value: float, position: int | None = None) -> str:
    if abs(value) >= 1e9:
        digits, _, power = f"{value:.3g}".partition("e+")
        return f"{digits}e{int(power)}"
    return f"{value:,.0f}" if abs(value) >= 1000 or value == int(value) else f"{value:,.6g}"


def _summary(table: pd.DataFrame, offers: pd.DataFrame, book: _Book, by: str | None) -> str:
    parts = [_count(len(offers), "order"), _count(offers["seller"].nunique(), by or book.seller)]
    if "category" in table.columns and len(table):
        parts.append("category " + _some(sorted(map(str, table["category"].dropna().unique()))))
    if chain := table.attrs.get("chain"):
        parts.append(str(chain))
    undrawn = int(table[book.price].isna().sum())
    if undrawn:
        parts.append(f"{_count(undrawn, 'price')} too large to draw")
    return "  ·  ".join(parts)


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:4]) + (", …" if len(names) > 4 else "")


def _count(number: int, noun: str) -> str:
    plural = noun[:-1] + "ies" if noun.endswith("y") else noun + "s"
    return f"{number:,} {noun if number == 1 else plural}"


def _short(seller: object) -> str:
    text = str(seller)
    if text == _NULL:
        return "anyone"
    text = "".join(c if c.isprintable() and c != "$" else "?" for c in text[:60])
    return f"{text[:6]}…{text[-4:]}" if len(text) > 16 else text


def _nothing(ax: Axes) -> Axes:
    ax.text(0.5, 0.5, "no orders", transform=ax.transAxes, ha="center", va="center", fontsize=15, color=_SOFT)
    ax.set_xlabel("price of one task (RLC)")
    ax.set_xticks([])
    ax.set_yticks([])
    return ax


def _view(price: pd.Series[float]) -> tuple[float, str]:
    """Return the price in RLC where the view ends (above 0), and a note on the orders beyond it."""
    most = float(price.max())
    bulk = float(price.quantile(0.95)) * 1.5
    if len(price) < 10 or most <= 2 * bulk or bulk == 0:
        # Room on the right where all prices are the same, so that a step stands in the picture and not at its edge.
        return most * (1.05 if price.min() < most else 1.5) or 1.0, ""
    beyond = _count(int((price > bulk).sum()), "order")
    return bulk, f"\n{beyond} beyond the view, up to {_tick(most)} RLC"


def _unit(end: float, drawn: str = "") -> tuple[float, str]:
    """Return what a price in RLC is multiplied with, and the unit; `drawn` is the label that the axis has already."""
    small = "(nRLC)" in drawn if drawn else end < 1e-4
    return (1e9, "nRLC") if small else (1.0, "RLC")


def _steps(offers: pd.DataFrame, span: float) -> tuple[Floats, Floats]:
    """Return the corners of the cumulative volume: from nothing at the best price to everything at `span`."""
    x, y = offers["price"].to_numpy(), offers["tasks"].cumsum().to_numpy()
    return np.concatenate([x[:1], x, [span]]), np.concatenate([[0.0], y, y[-1:]])


def _volumes(ax: Axes, offers: pd.DataFrame) -> None:
    if offers["tasks"].max() > 1000 * offers["tasks"].median():
        # Orders of "infinite" volume (2**53 - 1) stand beside orders of ten tasks.
        ax.set_yscale("symlog", linthresh=10)
        ax.yaxis.set_major_locator(SymmetricalLogLocator(base=1000, linthresh=10))
        ax.yaxis.set_major_formatter(FuncFormatter(_tick))
    else:
        ax.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=6, steps=_STEPS))
    ax.set_ylim(bottom=0)


def _legend(ax: Axes, seller: str) -> None:
    # Beside the axes, because a curve may pass through any corner of them.
    ax.legend(
        title=f"{seller} and its tasks",
        loc="upper left",
        bbox_to_anchor=(1.01, 1.02),
        prop={"family": "monospace", "size": 8.5},
        title_fontsize=8.5,
        alignment="left",
        frameon=False,
        handlelength=3,
    )


def _strip(ax: Axes, row: int, value: Floats, colour: str) -> None:
    shown = value[:: max(1, -(-len(value) // _MOST_POINTS))]
    # The golden ratio spreads the dots evenly and the same way each time.
    spread = (np.arange(len(shown)) * 0.6180339887) % 1 * 0.44 - 0.22
    ax.scatter(shown, row + spread, s=16, color=colour, alpha=0.65, linewidths=0, zorder=3)


def _box(ax: Axes, row: int, value: Floats) -> None:
    low, middle, high = np.quantile(value, [0.25, 0.5, 0.75])
    ax.barh(row, high - low, left=low, height=0.62, facecolor="none", edgecolor=_SOFT, linewidth=1, zorder=2)
    ax.vlines(middle, row - 0.31, row + 0.31, color=_INK, linewidth=2.2, zorder=4)

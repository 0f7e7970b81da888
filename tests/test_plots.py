"""Order books as pictures: what is drawn is what the book holds, also for odd books."""

from __future__ import annotations

from collections.abc import Iterator

import matplotlib.pyplot as plt
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from iexec_nb import plots
from iexec_nb.errors import ValidationError

A, B, C = ("0x" + digit * 40 for digit in "abc")


@pytest.fixture(autouse=True)
def _close() -> Iterator[None]:
    yield
    plt.close("all")


def book(
    *orders: tuple[str, int | None, int], price: str = "workerpoolprice", seller: str = "workerpool"
) -> pd.DataFrame:
    sellers, prices, tasks = zip(*orders, strict=True) if orders else ((), (), ())
    return pd.DataFrame(
        {
            seller: pd.array(sellers, dtype="string"),
            price: pd.array(prices, dtype="Int64"),
            "remaining": pd.array(tasks, dtype="Int64"),
            "category": pd.array([0] * len(sellers), dtype="Int64"),
        }
    )


def curve(ax: Axes, start: str) -> list[tuple[float, float]]:
    line = next(line for line in ax.lines if str(line.get_label()).startswith(start))
    return [(float(x), float(y)) for x, y in zip(line.get_xdata(), line.get_ydata(), strict=True)]  # type: ignore[arg-type]


def words(ax: Axes) -> str:
    labels = [text.get_text() for text in (*ax.texts, ax.xaxis.label, ax.yaxis.label, *ax.get_yticklabels())]
    legend = ax.get_legend()
    return "\n".join(labels + ([text.get_text() for text in legend.get_texts()] if legend else []))


def test_asks_add_up_from_the_cheapest_price() -> None:
    ax = plots.depth(book((A, 2 * 10**9, 5), (B, 10**9, 3), (A, 4 * 10**9, 1)))
    corners = curve(ax, "all on offer")
    assert corners[:4] == [(1, 0), (1, 3), (2, 8), (4, 9)]
    assert corners[-1][1] == 9
    assert curve(ax, "0xaaaa…aaaa")[:3] == [(2, 0), (2, 5), (4, 6)]
    assert all(line.get_drawstyle() == "steps-post" for line in ax.lines)


def test_bids_add_up_from_the_best_price_down_to_zero() -> None:
    bids = book((A, 2 * 10**9, 5), (B, 3 * 10**9, 3), price="workerpoolmaxprice", seller="requester")
    ax = plots.depth(bids)
    assert curve(ax, "all wanted") == [(3, 0), (3, 3), (2, 8), (0, 8)]
    assert "requester" in words(ax)


def test_axes_say_their_units_and_the_summary_what_was_drawn() -> None:
    table = book((A, 10**9, 1), (B, 10**9, 2))
    table.attrs["chain"] = "sandbox"
    ax = plots.depth(table)
    assert ax.get_xlabel() == "price of one task (RLC)"
    assert ax.get_ylabel() == "tasks on offer up to this price"
    assert "2 orders  ·  2 workerpools  ·  category 0  ·  sandbox" in words(ax)


def test_no_two_lines_share_colour_or_dash() -> None:
    ax = plots.depth(book(*((f"0x{digit * 40}", 10**9 * (n + 1), 1) for n, digit in enumerate("123456"))))
    assert len({str(line.get_color()) for line in ax.lines}) == 7
    dashes = {str(line._dash_pattern) for line in ax.lines[:-1]}  # type: ignore[attr-defined]
    assert len(dashes) == 6


def test_addresses_are_short_in_the_legend_and_zero_means_anyone() -> None:
    labels = words(plots.depth(book((A, 1, 1), ("0x" + "0" * 40, 1, 1))))
    assert "0xaaaa…aaaa" in labels
    assert "anyone" in labels
    assert A not in labels


def test_only_the_largest_sellers_get_a_line() -> None:
    table = book((A, 10**9, 1), (B, 10**9, 5), (C, 10**9, 3))
    assert [line.get_label() for line in plots.depth(table, lines=1).lines] == ["0xbbbb…bbbb  5", "all on offer  9"]
    assert len(plots.depth(table, lines=0).lines) == 1


@pytest.mark.parametrize("draw", [plots.depth, plots.prices])
def test_an_empty_book_says_so(draw: object) -> None:
    ax = draw(book())  # type: ignore[operator]
    assert "no orders" in words(ax)


@pytest.mark.parametrize("draw", [plots.depth, plots.prices])
@pytest.mark.parametrize(
    "table",
    [
        book((A, 5 * 10**8, 3)),
        book((A, 0, 1), (B, 0, 1)),
        book((A, 2**63 - 1, 2**53 - 1), (B, 1, 1)),
        book(*((f"0x{n % 300:040x}", n * 10**5, n % 50) for n in range(10_000))),
    ],
    ids=["one order", "free", "huge", "10,000 orders"],
)
def test_odd_books_are_drawn_without_a_warning(draw: object, table: pd.DataFrame) -> None:
    ax = draw(table)  # type: ignore[operator]
    ax.figure.canvas.draw()
    left, right = ax.get_xlim()
    assert left < 0 < right


def test_one_absurd_price_leaves_the_view_and_is_counted() -> None:
    table = book(*((A, 10**8 + n, 1) for n in range(40)), (B, 2**63 - 1, 1))
    ax = plots.depth(table)
    assert ax.get_xlim()[1] < 1
    assert "1 order beyond the view, up to 9.22e9 RLC" in ax.get_xlabel()


def test_prices_that_read_na_and_filled_orders_are_not_drawn_but_told() -> None:
    ax = plots.depth(book((A, None, 1), (A, 10**9, 2), (A, 10**9, 0)))
    assert curve(ax, "all on offer")[-1][1] == 2
    assert "1 order  ·" in words(ax)
    assert "1 price too large to draw" in words(ax)


def test_tiny_prices_are_drawn_in_nrlc() -> None:
    ax = plots.depth(book((A, 3, 1), (A, 7, 1)))
    assert ax.get_xlabel() == "price of one task (nRLC)"
    assert [round(x) for x, _ in curve(ax, "all on offer")[:3]] == [3, 3, 7]


def test_infinite_volume_beside_small_ones_gets_a_logarithmic_axis() -> None:
    assert plots.depth(book((A, 1, 5), (B, 2, 3), (C, 3, 2**53 - 1))).get_yscale() == "symlog"
    assert plots.depth(book((A, 1, 5), (B, 2, 3))).get_yscale() == "linear"


def test_both_sides_of_a_market_fit_on_one_axes() -> None:
    ax = plots.depth(book((A, 10**9, 1)), lines=0)
    bids = book((B, 9 * 10**8, 2), price="workerpoolmaxprice", seller="requester")
    assert plots.depth(bids, ax, lines=0) is ax
    assert [line.get_label() for line in ax.lines] == ["all on offer  1", "all wanted  2"]
    assert ax.get_xlim()[1] >= 1.5
    assert "1 order" not in words(ax)


def test_a_given_axes_is_used_and_pyplot_left_alone() -> None:
    ax = Figure().add_subplot()
    assert plots.depth(book((A, 1, 1)), ax) is ax
    assert plots.prices(book((A, 1, 1)), Figure().add_subplot()).get_title(loc="left")
    assert plt.get_fignums() == []


def test_prices_put_the_cheapest_median_on_top() -> None:
    ax = plots.prices(book((A, 3 * 10**9, 1), (A, 10**9, 1), (B, 10**9, 1), (C, 9 * 10**9, 1)))
    assert [label.get_text() for label in ax.get_yticklabels()] == [
        "0xbbbb…bbbb  1",
        "0xaaaa…aaaa  2",
        "0xcccc…cccc  1",
    ]
    assert ax.yaxis_inverted()


def test_sellers_that_are_not_drawn_are_counted() -> None:
    assert "(2 more not drawn)" in plots.prices(book((A, 1, 1), (B, 1, 1), (C, 1, 1)), lines=1).get_ylabel()


def test_by_takes_any_column() -> None:
    ax = plots.depth(book((A, 1, 1), (B, 1, 2)), by="category")
    assert [line.get_label() for line in ax.lines] == ["0  3", "all on offer  3"]


def test_a_hostile_name_is_neither_mathtext_nor_a_second_line() -> None:
    ax = plots.depth(book(("$\\frac{", 1, 1), ("a\nb\u202ec", 1, 1)))
    ax.figure.canvas.draw()
    assert "?\\frac{  1" in words(ax)
    assert "a?b?c  1" in words(ax)


@pytest.mark.parametrize(
    ("table", "by", "lacking"),
    [(pd.DataFrame({"a": [1]}), None, "workerpoolprice"), (book((A, 1, 1)), "owner", "owner")],
)
def test_a_table_that_cannot_be_drawn_says_what_it_lacks(table: pd.DataFrame, by: str | None, lacking: str) -> None:
    with pytest.raises(ValidationError, match=f"the table has no column .*{lacking}"):
        plots.depth(table, by=by)

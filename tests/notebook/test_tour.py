"""The tour, executed as `make demo` does it."""

from __future__ import annotations

import re
from decimal import Decimal

import nbformat
import pytest
from run_demo import NOTEBOOK, chapters, execute, summary


@pytest.fixture(scope="module")
def stored() -> nbformat.NotebookNode:
    return nbformat.read(NOTEBOOK, as_version=4)


@pytest.fixture(scope="module")
def tour(stored: nbformat.NotebookNode) -> nbformat.NotebookNode:
    notebook = nbformat.reads(nbformat.writes(stored), as_version=4)
    error = execute(notebook)
    assert error is None, error
    return notebook


def outputs(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]


def test_it_has_four_chapters_with_prose_before_each_step(stored: nbformat.NotebookNode):
    headings = [c.source.splitlines()[0] for c in stored.cells if c.source.startswith("## ")]
    assert [heading[3:5] for heading in headings] == ["1.", "2.", "3.", "4."]
    prose = sum(len(cell.source) for cell in stored.cells if cell.cell_type == "markdown")
    assert prose > 2500


def test_it_is_stored_without_outputs_and_names_no_machine(stored: nbformat.NotebookNode):
    cells = [cell for cell in stored.cells if cell.cell_type == "code"]
    assert [cell for cell in cells if cell.outputs or cell.execution_count is not None] == []
    assert set(stored.metadata) == {"kernelspec", "language_info"}
    nbformat.validate(stored)


def test_no_cell_writes_to_standard_error(tour: nbformat.NotebookNode):
    assert [output.text for output in outputs(tour) if output.get("name") == "stderr"] == []


def test_the_analyst_sees_a_book_of_several_pools(tour: nbformat.NotebookNode):
    printed = "".join(output.get("text", "") for output in outputs(tour))
    found = re.search(r"(\d+) open orders from (\d+) pools", printed)
    assert found is not None
    assert int(found[1]) >= 200
    assert int(found[2]) > 1


def test_the_depth_is_drawn_and_the_result_has_a_picture(tour: nbformat.NotebookNode):
    pictures = [output for output in outputs(tour) if "image/png" in output.get("data", {})]
    assert len(pictures) == 2


def test_the_result_is_a_table(tour: nbformat.NotebookNode):
    [cell] = [cell for cell in tour.cells if cell.source == 'result["profile.csv"].table().head()']
    assert cell.outputs[0].data["text/html"].count("<tr") == 6
    assert re.search(r"hour\s+mean\s+std", cell.outputs[0].data["text/plain"])


def test_the_money_comes_back_to_the_nrlc(tour: nbformat.NotebookNode):
    printed = "".join(output.get("text", "") for output in outputs(tour))
    before, paid, after = re.findall(r"stake=([\d.]+) RLC, locked=([\d.]+) RLC", printed)
    assert before == after
    assert (before[1], paid[1]) == ("0", "0.5")
    assert Decimal(before[0]) - Decimal(paid[0]) == Decimal("0.5")


def test_the_result_was_encrypted_and_is_what_the_workers_agreed_on(tour: nbformat.NotebookNode):
    texts = "\n".join(output.get("data", {}).get("text/plain", "") for output in outputs(tour))
    assert re.search(r"encrypted\s+yes", texts)
    assert "the digest that the workers agreed on" in texts


def test_it_tells_what_happened(tour: nbformat.NotebookNode):
    told = summary(tour.cells)
    assert told["task status"] == "COMPLETED"
    assert {"profile.csv", "profile.png"} <= set(told["result files"])
    assert told["price paid"].endswith(" RLC")
    assert told["claimed back"] == "0.5 RLC"
    assert len(chapters(tour.cells)) == 5


def test_a_failed_search_names_orders_and_reasons(tour: nbformat.NotebookNode):
    printed = "".join(output.get("text", "") for output in outputs(tour))
    assert "workerpoolmaxprice too low (expected" in printed
    assert "kept out by category" in printed

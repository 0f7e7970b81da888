"""The README's cells run as they stand, and print what it says they print."""

import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
HEX = re.compile(r"0x[0-9a-fA-F]{40,64}")


def _blocks() -> list[tuple[str, str]]:
    tour = README.partition("## Five cells")[2].partition("\n## On a real network")[0]
    return re.findall(r"```python\n(.*?)```(?:\n```\n(.*?)```)?", tour, re.DOTALL)


def _printed(cell: nbformat.NotebookNode) -> str:
    texts = [output.get("text") or output.get("data", {}).get("text/plain", "") for output in cell.outputs]
    return "".join(texts)


@pytest.fixture(scope="module")
def executed() -> list[nbformat.NotebookNode]:
    cells = [nbformat.v4.new_code_cell(code) for code, _ in _blocks()]
    cells.append(nbformat.v4.new_code_cell("net.stop()"))
    metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    notebook = nbformat.v4.new_notebook(cells=cells, metadata=metadata)
    NotebookClient(notebook, kernel_name="python3", timeout=120).execute()
    return notebook.cells


def test_the_readme_has_five_cells_and_one_for_many_runs_with_output():
    blocks = _blocks()
    assert len(blocks) == 6
    assert all(output for _, output in blocks)


@pytest.mark.parametrize("position", range(6))
def test_each_cell_prints_what_the_readme_says(executed: list[nbformat.NotebookNode], position: int):
    said = _blocks()[position][1]
    assert HEX.sub("0x…", _printed(executed[position])).split() == HEX.sub("0x…", said).split()

"""A kernel to which tests give cells one by one, and what they read from its outputs."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import nbformat
import pytest
from jupyter_client.blocking.client import BlockingKernelClient
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

METADATA = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}


class Kernel:
    """A kernel of this interpreter.

    Parameters
    ----------
    history
        The file of its history; nbclient keeps none unless it is named.
    options
        For the process of the kernel, such as `stderr`.
    """

    def __init__(self, *, history: str = ":memory:", **options: Any) -> None:
        self.notebook = nbformat.v4.new_notebook(metadata=METADATA)
        self.client = NotebookClient(self.notebook, kernel_name="python3", timeout=120, ipython_hist_file=history)
        self._options = options

    def __enter__(self) -> Kernel:
        self._context = self.client.setup_kernel(**self._options)
        self._context.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._context.__exit__(*error)

    def run(self, source: str) -> list[nbformat.NotebookNode]:
        """Run a cell and return its outputs; an error of the cell is raised."""
        cell = nbformat.v4.new_code_cell(source)
        self.notebook.cells.append(cell)
        self.client.execute_cell(cell, len(self.notebook.cells) - 1)
        outputs: list[nbformat.NotebookNode] = cell.outputs
        return outputs

    def fail(self, source: str) -> str:
        """Run a cell that must fail and return what the reader sees."""
        with pytest.raises(CellExecutionError):
            self.run(source)
        error = next(output for output in self.notebook.cells[-1].outputs if output.output_type == "error")
        return re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(error.traceback))

    def displayed(self) -> list[nbformat.NotebookNode]:
        """Return what the last cell displayed besides its value and what it printed."""
        return [output for output in self.notebook.cells[-1].outputs if output.output_type == "display_data"]

    def answer(self, source: str, answer: str) -> tuple[str, str, list[str]]:
        """Run a cell as a front-end does that can be asked.

        Returns
        -------
        tuple
            How it ended (``ok`` or ``error``), the error's text, and the questions.
        """
        front = BlockingKernelClient()
        front.load_connection_info(self.client.km.get_connection_info())
        front.start_channels()
        questions: list[str] = []

        def asked(message: dict[str, Any]) -> None:
            questions.append(message["content"]["prompt"])
            front.input(answer)

        try:
            front.wait_for_ready(timeout=60)
            reply = front.execute_interactive(
                source, allow_stdin=True, stdin_hook=asked, output_hook=lambda message: None, timeout=60
            )
        finally:
            front.stop_channels()
        content = reply["content"]
        return content["status"], content.get("evalue", ""), questions


def shown(outputs: Iterable[nbformat.NotebookNode]) -> str:
    """Return the text of outputs, as a terminal would show them."""
    return "".join(output.get("text") or output.get("data", {}).get("text/plain", "") for output in outputs)

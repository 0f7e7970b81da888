"""Runs the tour in a fresh kernel and tells what happened; this is `make demo`.

The kernel is the interpreter that runs this script: a kernel called python3 in the user's own Jupyter folders, an
IPython profile or a startup file there play no part. The executed notebook and its HTML are written even when a cell
fails, so that one can look at what went wrong. The closing table is read from the notebook itself: the output of its
last cell with the type `SUMMARY`, a JSON object of label to value, plus the seconds that each chapter took.
"""

from __future__ import annotations

import json
import os
import re
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbconvert import HTMLExporter

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOK = ROOT / "notebooks" / "00_tour.ipynb"
BUILD = ROOT / "build"
SUMMARY = "application/vnd.iexec-nb.summary+json"
CELL_TIMEOUT_S = 300

Cell = dict[str, Any]


@contextmanager
def own_jupyter() -> Iterator[None]:
    """Point Jupyter and IPython at empty folders where python3 is this interpreter."""
    with tempfile.TemporaryDirectory(prefix="iexec-nb-demo-") as folder:
        kernel = Path(folder, "data", "kernels", "python3")
        kernel.mkdir(parents=True)
        # ipykernel 7 warns about loopback TCP, which is how every notebook server talks to its kernels.
        quiet = "--IPKernelApp.log_level=ERROR"
        command = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}", quiet]
        spec = {"argv": command, "display_name": "Python 3", "language": "python"}
        (kernel / "kernel.json").write_text(json.dumps(spec), encoding="utf-8")
        os.environ.pop("JUPYTER_PATH", None)
        # Pictures are drawn into the notebook, whatever backend the shell asks for.
        os.environ.pop("MPLBACKEND", None)
        os.environ["JUPYTER_PREFER_ENV_PATH"] = "0"
        for name in ("JUPYTER_DATA_DIR", "JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR"):
            path = Path(folder, "data" if name == "JUPYTER_DATA_DIR" else name.lower())
            path.mkdir(mode=0o700, exist_ok=True)
            os.environ[name] = str(path)
        yield


def execute(notebook: nbformat.NotebookNode) -> Exception | None:
    """Run all cells in place; return what stopped them, if anything did."""
    client = NotebookClient(
        notebook,
        timeout=CELL_TIMEOUT_S,
        kernel_name="python3",
        resources={"metadata": {"path": str(NOTEBOOK.parent)}},
        record_timing=True,
    )
    try:
        client.execute()
    except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
        return error
    return None


def seconds(cell: Cell) -> float:
    """How long a cell ran, from the times at which the kernel became busy and idle again."""
    times = cell.get("metadata", {}).get("execution", {})
    try:
        begin, end = (datetime.fromisoformat(times[f"iopub.status.{state}"]) for state in ("busy", "idle"))
    except KeyError:
        return 0.0
    return (end - begin).total_seconds()


def chapters(cells: list[Cell]) -> dict[str, float]:
    """Seconds for each second-level heading of the notebook; what stands before the first is the start."""
    spent: dict[str, float] = {}
    title = "start"
    for cell in cells:
        if cell["cell_type"] == "markdown":
            headings = [line[3:].strip() for line in cell["source"].splitlines() if line.startswith("## ")]
            title = headings[-1] if headings else title
        elif cell["cell_type"] == "code":
            spent[title] = spent.get(title, 0.0) + seconds(cell)
    return {name: value for name, value in spent.items() if value > 0}


def summary(cells: list[Cell]) -> dict[str, Any]:
    """What the notebook says about itself, or nothing when it stopped before."""
    for cell in reversed(cells):
        for output in cell.get("outputs", []):
            found = output.get("data", {}).get(SUMMARY)
            if isinstance(found, dict):
                return found
    return {}


def text(value: Any) -> str:
    return ", ".join(map(text, value)) if isinstance(value, list) else str(value)


def table(rows: list[tuple[str, str]]) -> str:
    """Two aligned columns with a line above and below."""
    width = max(len(name) for name, _ in rows)
    lines = [f"  {name.ljust(width)}  {value}" for name, value in rows]
    rule = "-" * min(100, max(map(len, lines)))
    return "\n".join((rule, *lines, rule))


def main() -> int:
    """Execute, write, report; 0 when every cell ran and the notebook told what happened."""
    print(f"Running {NOTEBOOK.relative_to(ROOT)} against the sandbox ...", flush=True)
    started = time.perf_counter()
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    with own_jupyter():
        error = execute(notebook)
        BUILD.mkdir(exist_ok=True)
        executed = BUILD / NOTEBOOK.name
        nbformat.write(notebook, executed)
        page, _ = HTMLExporter().from_notebook_node(notebook)
        executed.with_suffix(".html").write_text(page, encoding="utf-8")
    told = summary(notebook.cells)
    rows = [(name, text(value)) for name, value in told.items()]
    rows += [(f"seconds: {name}", f"{spent:.2f}") for name, spent in chapters(notebook.cells).items()]
    rows += [("seconds: all", f"{time.perf_counter() - started:.2f}")]
    rows += [("notebook", f"build/{executed.name}"), ("page", f"build/{executed.stem}.html")]
    print(table(rows))
    if error is not None:
        message = str(error) if sys.stderr.isatty() else re.sub(r"\x1b\[[0-9;]*m", "", str(error))
        print(f"\nThe tour failed.\n{message}", file=sys.stderr)
        return 1
    if not told:
        print(f"\nThe tour ran, but its last cell displayed nothing of type {SUMMARY}.", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

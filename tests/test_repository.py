"""Tests that keep the repository honest: what is written down in one place equals what stands in another."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import iexec_nb
from iexec_nb import errors

ROOT = Path(__file__).resolve().parent.parent
SOURCES = sorted((ROOT / "iexec_nb").rglob("*.py"))
# What tools make is not the repository's.
MADE = {".git", ".venv", "build", "dist", "node_modules", "__pycache__", ".mypy_cache", ".ruff_cache", ".hypothesis"}

REPORT = """
import json, sys
import iexec_nb
loaded = sorted({name.partition(".")[0] for name in sys.modules})
from types import ModuleType
def own(value):
    return not isinstance(value, ModuleType) and getattr(value, "__module__", "iexec_nb").startswith("iexec_nb")
before = {name for name, value in vars(iexec_nb).items() if own(value) and name != "own"}
missing = [name for name in iexec_nb.__all__ if not hasattr(iexec_nb, name)]
print(json.dumps({
    "loaded": loaded,
    "all": list(iexec_nb.__all__),
    "missing": missing,
    "listed": [name for name in dir(iexec_nb) if name in iexec_nb.__all__],
    "public": sorted(name for name in before if not name.startswith("_")),
}))
"""


@pytest.fixture(scope="module")
def package() -> dict[str, list[str]]:
    """What a fresh interpreter sees after ``import iexec_nb``."""
    finished = subprocess.run(
        [sys.executable, "-I", "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{REPORT}"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    found: dict[str, list[str]] = json.loads(finished.stdout)
    return found


def repository_files() -> list[Path]:
    found = []
    for folder, folders, names in os.walk(ROOT):
        folders[:] = [name for name in folders if name not in MADE and not name.endswith("_cache")]
        found += [Path(folder, name) for name in names]
    return found


def test_import_loads_nothing_heavy(package: dict[str, list[str]]) -> None:
    heavy = {
        "pandas",
        "numpy",
        "matplotlib",
        "web3",
        "eth_account",
        "httpx",
        "IPython",
        "ipywidgets",
        "flask",
        "cyclopts",
    }
    assert heavy.isdisjoint(package["loaded"])


def test_every_exported_name_exists_and_is_listed_by_dir(package: dict[str, list[str]]) -> None:
    assert package["missing"] == []
    assert package["listed"] == sorted(package["all"])


def test_nothing_is_public_that_is_not_exported(package: dict[str, list[str]]) -> None:
    assert set(package["public"]) - {"TYPE_CHECKING"} <= set(package["all"])


def test_every_export_is_named_once(package: dict[str, list[str]]) -> None:
    assert len(package["all"]) == len(set(package["all"]))


def drawn_tree(text: str) -> dict[str, tuple[str, ...]]:
    """Class -> bases, as drawn with box characters: the class above in the tree first, then what stands in brackets."""
    tree: dict[str, tuple[str, ...]] = {}
    stack: list[str] = []
    for line in text.splitlines():
        found = re.match(r"    ((?:[│ ]   )*)(?:[├└]── )?(\w+)(?: \((\w+)\))?", line)
        if not found or not found[2].endswith("Error"):
            continue
        depth = len(found[1]) // 4 + ("─" in line)
        del stack[depth:]
        tree[found[2]] = tuple(name for name in (*stack[-1:], found[3]) if name)
        stack.append(found[2])
    return tree


def test_the_error_tree_is_drawn_as_it_is() -> None:
    classes = {
        name: tuple(base.__name__ for base in value.__bases__)
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, errors.IExecError)
    }
    assert drawn_tree(errors.__doc__ or "") == classes
    assert set(classes) <= set(errors.__all__)


def test_no_module_grows_over_600_lines() -> None:
    lengths = {
        path.relative_to(ROOT).as_posix(): len(path.read_text(encoding="utf-8").splitlines()) for path in SOURCES
    }
    assert {name: length for name, length in lengths.items() if length > 600} == {}


def test_every_module_says_why_it_exists() -> None:
    silent = [
        path.relative_to(ROOT).as_posix() for path in SOURCES if not re.match(r'\s*r?"""\S', path.read_text("utf-8"))
    ]
    assert silent == []


def test_constraints_hold_names_versions_and_hashes_only() -> None:
    entry = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*==[^\s;]+( ; [^\\]+)? \\")
    digest = re.compile(r"    --hash=sha256:[0-9a-f]{64}( \\)?")
    lines = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    other = [line for line in lines if not (line.startswith("#") or entry.fullmatch(line) or digest.fullmatch(line))]
    assert other == []
    assert sum(bool(entry.fullmatch(line)) for line in lines) > 100


def test_every_dependency_is_constrained() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    declared = [
        *project["dependencies"],
        *(line for extra in project["optional-dependencies"].values() for line in extra),
    ]
    names = {re.split(r"[\[<>=!~ ;]", line, maxsplit=1)[0].lower() for line in declared} - {"iexec-nb"}
    constrained = set(re.findall(r"^([^\s#=]+)==", (ROOT / "constraints.txt").read_text("utf-8"), re.MULTILINE))
    assert names - constrained == set()


def test_lock_files_name_no_addresses() -> None:
    locks = [path for path in repository_files() if path.name in ("package-lock.json", "npm-shrinkwrap.json", ".npmrc")]
    addressed = [
        path.relative_to(ROOT).as_posix()
        for path in locks
        if re.search(r'"resolved"|https?://', path.read_text("utf-8"))
    ]
    assert addressed == []


def test_the_top_level_holds_the_layout_and_nothing_else() -> None:
    layout = {
        "pyproject.toml", "constraints.txt", "README.md", "CONTRIBUTING.md", "CHANGELOG.md", "LICENSE", "Makefile",
        ".ci", ".gitignore", ".gitattributes", "iexec_nb", "notebooks", "tests", "binder", "docs", "benchmarks",
    }  # fmt: skip
    found = {path.relative_to(ROOT).parts[0] for path in repository_files()}
    assert found - layout == set()


@pytest.mark.parametrize("document", ["README.md", "CONTRIBUTING.md"])
def test_the_make_commands_of_a_document_exist(document: str) -> None:
    targets = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    named = set(re.findall(r"(?:^|`)make ([a-z][a-z-]*)", (ROOT / document).read_text("utf-8"), re.MULTILINE))
    assert named - targets == set()
    assert {"demo", "test"} <= named


def test_the_version_is_said_once() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert iexec_nb.__version__ == project["version"]
    assert f"## [{project['version']}]" in (ROOT / "CHANGELOG.md").read_text("utf-8")


def test_notebooks_are_stored_without_outputs() -> None:
    kept = []
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        for number, cell in enumerate(json.loads(path.read_text("utf-8"))["cells"]):
            if cell.get("outputs") or cell.get("execution_count"):
                kept.append(f"{path.name} cell {number}")
    assert kept == []

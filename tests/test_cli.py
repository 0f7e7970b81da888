"""The shell's front door: exit codes, what is printed where, JSON for programs, and a sandbox that leaves nothing."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

import iexec_nb
from iexec_nb import cli
from iexec_nb.client import IExec
from iexec_nb.commands import COMMANDS
from iexec_nb.errors import ConfigurationError, OrderMismatchError, ValidationError, Web3ProviderSendError
from iexec_nb.sandbox.network import Sandbox

ROOT = Path(__file__).resolve().parent.parent
ADDRESS = "0x" + "12" * 20
linux = pytest.mark.skipif(sys.platform != "linux", reason="signals and /proc")


@pytest.fixture(scope="module")
def net() -> Iterator[Sandbox]:
    with Sandbox() as running:
        yield running


@pytest.fixture
def shell(net: Sandbox, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Run a command line in this process against the sandbox; return exit code, output and errors."""
    made: list[dict[str, Any]] = []

    def client(chain: Any = None, **options: Any) -> IExec:
        made.append({"chain": chain, **options})
        return net.user

    monkeypatch.setattr(iexec_nb.client, "IExec", client)

    def run(*words: str) -> tuple[int, str, str]:
        code = cli.main(words)
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    run.made = made  # type: ignore[attr-defined]
    return run


def wallet(client: IExec) -> str:
    assert client.signer is not None
    return client.signer.address


def test_a_command_prints_its_value_and_ends_with_0(shell: Any, net: Sandbox) -> None:
    code, out, err = shell("category", "count")
    assert (code, out.strip(), err) == (0, "5", "")
    code, out, _ = shell("wallet", "show")
    assert code == 0
    assert wallet(net.user) in out


def test_people_read_amounts_with_units_and_tags_with_names(shell: Any) -> None:
    _, out, _ = shell("account", "show")
    assert re.search(r"stake: (\d+) nRLC \([0-9.]+ RLC\)", out)
    _, out, _ = shell("order", "create", "app", "--app", ADDRESS, "--appprice", "0.5", "RLC")
    assert "appprice: 500000000 nRLC (0.5 RLC)" in out
    assert "09 (tee, tdx)" in out


def test_people_read_a_book_order_by_order(shell: Any) -> None:
    _, out, _ = shell("orderbook", "workerpool", "--category", "0")
    assert "price: 0 nRLC (0 RLC)" in out
    assert "remaining: " in out
    assert max(map(len, out.splitlines())) < 120
    _, out, _ = shell("category", "list")
    assert len(out.splitlines()) == 6


def test_the_command_of_an_error_is_its_name_without_what_was_typed_behind_it(shell: Any) -> None:
    for words, name in (
        (["init", "--pasword=hunter2"], "iexec init"),
        (["info", "--colour"], "iexec info"),
        (["wallet", "show", "0x12"], "iexec wallet show"),
        (["walet", "--password=hunter2"], "iexec walet"),
    ):
        _, _, err = shell("--raw", *words)
        assert json.loads(err)["command"] == name
        assert "hunter2" not in err


def test_programs_are_told_why_orders_do_not_match(shell: Any, net: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    def fill(*_args: object, **_options: object) -> None:
        raise OrderMismatchError("the orders cannot be matched: 2 reasons", reasons=("too dear", "too late"))

    monkeypatch.setattr(net.user.order, "fill", fill)
    _, _, err = shell("--raw", "order", "fill", "--yes")
    assert json.loads(err)["error"] == {"name": "OrderMismatchError", "message": "too dear; too late"}


def test_a_question_is_asked_where_errors_are_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for typed, answer in (("y\n", True), ("yes\n", True), ("n\n", False), ("\n", False)):
        monkeypatch.setattr(sys, "stdin", StringIO(typed))
        assert cli._asked("pay 1 RLC") is answer
        printed = capsys.readouterr()
        assert (printed.out, printed.err) == ("", "pay 1 RLC\nGo on? [y/N] ")
    monkeypatch.setattr(sys, "stdin", StringIO())
    with pytest.raises(ConfigurationError, match="nobody to ask"):
        cli._asked("pay 1 RLC")
    assert capsys.readouterr().err.endswith("\n")


def test_raw_is_one_json_object_with_numbers_as_text(shell: Any, net: Sandbox) -> None:
    code, out, _ = shell("wallet", "show", "--raw")
    body = json.loads(out)
    assert code == 0
    assert body["ok"] is True
    assert body["balance"]["nRLC"] == str(net.user.wallet.show().nRLC)
    assert body["wallet"]["address"] == wallet(net.user)
    _, out, _ = shell("--raw", "category", "count")
    assert json.loads(out) == {"ok": True, "count": "5"}
    _, out, _ = shell("--raw", "orderbook", "workerpool", "--category", "0")
    book = json.loads(out)
    assert book["count"] == len(book["workerpoolOrders"]) == 1
    assert book["workerpoolOrders"][0]["orderHash"].startswith("0x")


def test_what_is_written_as_json_is_json_for_every_kind_of_value(shell: Any, net: Sandbox, tmp_path: Path) -> None:
    source = tmp_path / "a.csv"
    source.write_text("a\n1\n")
    _, out, _ = shell("--raw", "dataset", "encrypt", str(source))
    encrypted = json.loads(out)["encryptedFiles"][0]
    assert encrypted["checksum"].startswith("0x")
    assert encrypted["encrypted"].endswith("a.csv.enc")
    assert "key" not in encrypted
    _, out, _ = shell("--raw", "order", "create", "app", "--app", ADDRESS, "--appprice", "1 RLC")
    order = json.loads(out)["apporder"]
    assert (order["app"], order["appprice"]) == (ADDRESS, "1000000000")
    _, out, _ = shell("--raw", "workerpool", "show", net.workerpools[0])
    assert json.loads(out)["workerpool"]["owner"].startswith("0x")
    _, out, _ = shell("--raw", "account", "deposit", "1", "RLC", "--yes")
    assert json.loads(out)["amount"] == "1000000000"


def test_a_run_on_the_command_line_is_watched_to_its_end(shell: Any, net: Sandbox) -> None:
    def app() -> None:
        import json
        import os

        with open(os.path.join(os.environ["IEXEC_OUT"], "computed.json"), "w") as file:
            json.dump({"deterministic-output-path": "/iexec_out/computed.json"}, file)

    net.image("docker.io/cli/app:1", app)
    where = net.user.app.deploy(name="cli", multiaddr="docker.io/cli/app:1").address
    code, out, err = shell("--raw", "app", "run", where, "--category", "0", "--watch", "--yes")
    assert code == 0, err
    body = json.loads(out)
    assert body["ok"] is True
    assert "0x" in json.dumps(body)


@pytest.mark.parametrize(
    ("words", "name", "said"),
    [
        (["walet", "show"], "ValidationError", "did you mean 'wallet'?"),
        (["wallet", "shw"], "ValidationError", "did you mean 'show'?"),
        (["wallet"], "ValidationError", "not complete"),
        (["wallet", "show", "0x12"], "ValidationError", "0x12 is not a valid ethereum address"),
        (["app", "show", ADDRESS], "ObjectNotFoundError", f"No app found for id {ADDRESS}"),
        (["account", "deposit", "0.5"], "ValidationError", "0.5"),
        (["account", "deposit", "9999", "RLC", "--yes"], "InsufficientFundsError", "exceed wallet balance"),
        (["wallet", "show", "--colour"], "ValidationError", "--colour"),
        (["order", "sign", "$x"], "ValidationError", "x"),
    ],
)
def test_an_error_goes_to_the_error_stream_with_code_1(shell: Any, words: list[str], name: str, said: str) -> None:
    code, out, err = shell(*words)
    assert code == 1
    assert out == ""
    assert err.startswith(f"{name}: ")
    assert said in err
    assert "Traceback" not in err
    assert "%iexec" not in err
    code, out, err = shell("--raw", *words)
    body = json.loads(out or err)
    assert code == 1
    assert body["ok"] is False
    assert body["error"]["name"] == name


def test_help_and_version_end_with_0(shell: Any) -> None:
    for words in ([], ["--help"], ["-h"], ["app", "--help"], ["app", "run", "--help"], ["--help", "app"]):
        code, out, err = shell(*words)
        assert (code, err) == (0, "")
        assert "iexec-nb" in out
        assert "%iexec" not in out
    assert "iexec-nb sandbox" in shell("--help")[1]
    assert "--encrypt-result" in shell("app", "run", "--help")[1]
    for word in ("--version", "-V"):
        assert shell(word) == (0, f"{iexec_nb.__version__}\n", "")


def test_yes_answers_and_without_it_the_default_asks(shell: Any) -> None:
    shell("account", "deposit", "1", "--yes")
    shell("account", "deposit", "1", "--force")
    shell("account", "deposit", "1")
    assert [one["confirm"] for one in shell.made] == [False, False, cli._asked]
    shell("--chain", "arbitrum-mainnet", "category", "count")
    assert shell.made[-1]["chain"] == "arbitrum-mainnet"


def test_a_broken_chain_json_stops_what_needs_a_chain_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "chain.json").write_text('{\n  "default": "dev",\n  "chains": {"dev": {"id": 5}}\n}')
    before = (tmp_path / "chain.json").read_text()
    assert cli.main(["wallet", "show"]) == 1
    said = capsys.readouterr().err
    assert "chain.json" in said
    assert "line: 3" in said
    assert "chains.dev.id" in said
    assert cli.main(["wallet", "list", "--keystoredir", "local"]) == 0
    assert cli.main(["project", "show"]) in (0, 1)
    assert "Traceback" not in capsys.readouterr().err
    assert (tmp_path / "chain.json").read_text() == before


def test_a_wallet_that_cannot_be_loaded_stops_only_what_was_asked_of_it(
    shell: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "wallet.json").write_text("{")
    code, out, err = shell("category", "count")
    assert (code, out) == (0, "5\n")
    assert "no wallet was loaded" in err
    assert shell("category", "count", "--quiet")[2] == ""
    assert shell("category", "count", "--wallet-address", ADDRESS)[0] == 1


def test_a_partial_failure_is_said_on_the_error_stream_and_is_a_failure(
    shell: Any, net: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = net.user.order.create("app", app=ADDRESS)
    monkeypatch.setattr(
        type(net.user.order), "sign", lambda self, **kinds: {"apporder": order, "fail": ["datasetorder: no"]}
    )
    code, out, err = shell("--raw", "order", "sign", "--app", "--dataset")
    assert (code, out) == (1, "")
    body = json.loads(err)
    assert body["ok"] is False
    assert body["fail"] == ["datasetorder: no"]
    assert body["apporder"]["app"] == ADDRESS


def test_an_argument_of_an_app_that_looks_like_an_option_of_ours_stays_its_own(
    shell: Any, net: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, Any] = {}

    def run(self: Any, app: str, /, **options: Any) -> str:
        seen.update(options)
        raise ValidationError("enough")

    monkeypatch.setattr(type(net.user.app), "run", run)
    for args in ("--raw", "--chain x", "-h", "--yes"):
        assert shell("app", "run", ADDRESS, f"--args={args}")[0] == 1
        assert seen["args"] == args


def test_ctrl_c_ends_with_1_and_says_what_its_notes_say(
    shell: Any, net: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(self: Any) -> None:
        error = KeyboardInterrupt()
        error.add_note("The waiting stopped, the paid task goes on.")
        raise error

    monkeypatch.setattr(type(net.user.category), "count", stopped)
    code, out, err = shell("category", "count")
    assert (code, out) == (1, "")
    assert "the paid task goes on" in err


def test_what_strangers_write_is_shown_and_not_obeyed_by_the_terminal(shell: Any, net: Sandbox) -> None:
    evil = "pool\x1b[2J\x1b]0;title\x07\nowner: 0xdead \u202e \x9b31m"
    pool = net.user.workerpool.deploy(description=evil).address
    _, out, _ = shell("workerpool", "show", pool)
    assert all(line.isprintable() for line in out.splitlines())
    assert [line for line in out.splitlines() if line.startswith("owner:")] == [f"owner: {wallet(net.user)}"]
    _, out, _ = shell("--raw", "workerpool", "show", pool)
    assert out.rstrip("\n").isprintable()
    assert json.loads(out)["workerpool"]["workerpoolDescription"] == evil


def test_errors_and_notes_move_no_cursor_either(shell: Any, monkeypatch: pytest.MonkeyPatch, net: Sandbox) -> None:
    def refuse(self: Any) -> int:
        raise ValidationError("no\x1b[2J", hint="\x9b31m")

    def stop(self: Any) -> int:
        interrupt = KeyboardInterrupt()
        interrupt.add_note("look\x1b[2J")
        raise interrupt

    for broken in (refuse, stop):
        monkeypatch.setattr(type(net.user.category), "count", broken)
        for words in (("category", "count"), ("--raw", "category", "count")):
            _, _, err = shell(*words)
            assert err
            assert all(line.isprintable() for line in err.splitlines())


def test_a_list_of_anything_is_printed(shell: Any, monkeypatch: pytest.MonkeyPatch, net: Sandbox) -> None:
    monkeypatch.setattr(
        type(net.user.project), "show", lambda self: {"deals": [{}, {"a\nb": "c\nd"}], "names": ["x\ny"]}
    )
    monkeypatch.setitem(COMMANDS, ("project", "show"), replace(COMMANDS["project", "show"], raw=None))
    code, out, _ = shell("project", "show")
    assert code == 0
    assert out.splitlines() == ["deals:", "  - {}", "  - a\ufffdb: c", "  | d", "names:", "  - x", "  | y"]


def test_a_transaction_of_unknown_fate_is_named_to_programs_too(
    shell: Any, monkeypatch: pytest.MonkeyPatch, net: Sandbox
) -> None:
    def lost(self: Any, amount: Any, unit: Any = None) -> Any:
        raise Web3ProviderSendError("it may have been sent, or not", tx_hash="0x" + "ab" * 32)

    monkeypatch.setattr(type(net.user.account), "deposit", lost)
    code, _, err = shell("--raw", "account", "deposit", "1", "--yes")
    assert (code, json.loads(err)["error"]["txHash"]) == (1, "0x" + "ab" * 32)


def test_a_key_on_a_line_is_warned_of_wherever_it_stands(shell: Any, tmp_path: Path) -> None:
    given = (f"--keystoredir={tmp_path}", "--unencrypted=false")
    _, _, err = shell("wallet", "import", "no key", *given)
    assert "--private-key on a command line can be read by other users" in err
    assert "no key" not in err


def test_a_yes_on_the_line_answers_for_files_and_nothing_else_does(
    shell: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("builtins.input", lambda text: "n")
    shell("init", "--skip-wallet")
    Path("iexec.json").write_text('{"mine": 1}')
    shell("init", "--skip-wallet")
    assert Path("iexec.json").read_text() == '{"mine": 1}'
    assert shell("init", "--skip-wallet", "--yes")[0] == 0
    assert "mine" not in Path("iexec.json").read_text()


def test_wrong_words_for_the_sandbox_end_with_1(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["sandbox", "--fundd", ADDRESS]) == 1
    assert "--fundd" in capsys.readouterr().err
    assert cli.main(["sandbox", "--help"]) == 0
    assert "--fund ADDRESS" in capsys.readouterr().out


def test_the_module_is_the_same_program() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "iexec_nb", "wallet", "shw"], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1
    assert done.stdout == ""
    assert "did you mean 'show'?" in done.stderr


def children(pid: int) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        try:
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
        except (OSError, ValueError, IndexError):
            continue
        if parent == pid:
            found += [int(entry.name), *children(int(entry.name))]
    return found


def alive(pid: int) -> bool:
    try:
        return (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@linux
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_the_sandbox_of_the_shell_tells_where_it_is_and_ends_without_a_trace(
    how: signal.Signals, tmp_path: Path
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "iexec_nb", "sandbox"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    try:
        assert process.stdout is not None
        assert process.stderr is not None
        text = ""
        while not text.endswith("\n}\n"):
            line = process.stdout.readline()
            assert line, "it ended before it told where it is"
            text += line
        told = json.loads(text)
        chain = told["chains"][told["default"]]
        assert "Ctrl-C stops it" in process.stderr.readline()
        guest = IExec(int(chain["id"]), rpc=chain["host"], hub_address=chain["hub"], market=chain["iexecGateway"])
        assert guest.category.count() == 5
        assert len(guest.orderbook.workerpool()) == 5
        guest.close()
        started = children(process.pid)
        assert started
        process.send_signal(how)
        assert process.wait(30) in (0, 1)
        deadline = time.monotonic() + 20
        while any(map(alive, started)) and time.monotonic() < deadline:
            time.sleep(0.02)
        assert not any(map(alive, started))
        for url in (chain["host"], chain["iexecGateway"], chain["sms"]):
            with pytest.raises(OSError):
                socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), timeout=1)
        assert list(tmp_path.iterdir()) == []
        assert "Traceback" not in process.stderr.read()
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        process.stderr.close()

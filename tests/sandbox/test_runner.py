"""Running one app: what it is given, what becomes of what it prints, and that it always ends."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from iexec_nb.errors import ValidationError
from iexec_nb.protocol.types import Secret
from iexec_nb.sandbox.runner import MAX_OUTPUT_BYTES, Images, Job, Runner
from iexec_nb.sandbox.session import Params

IMAGE = "docker.io/test/app:1"
posix = pytest.mark.skipif(os.name != "posix", reason="signals of processes")


def job(folder: Path, arguments: str = "", timeout_s: float = 30, **environment: str) -> Job:
    made = Job(folder, environment, arguments, timeout_s)
    made.inputs.mkdir()
    made.outputs.mkdir()
    return made


def runner(run: Any) -> Runner:
    images = Images()
    images.set(IMAGE, run)
    return Runner(images)


def test_a_callable_runs_in_a_process_of_its_own(tmp_path: Path) -> None:
    parent = os.getpid()

    def app(arguments: list[str]) -> None:
        import os

        print(arguments, os.getpid() == parent)

    outcome = runner(app).run(IMAGE, job(tmp_path, "one 'two three'"))
    assert (outcome.exit_code, outcome.stdout, outcome.stderr) == (0, "['one', 'two three'] False\n", "")


def test_a_callable_that_raises_or_exits_reports_it(tmp_path: Path) -> None:
    def broken() -> None:
        raise KeyError("lost")

    def leaves() -> None:
        raise SystemExit(7)

    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    outcome = runner(broken).run(IMAGE, job(tmp_path / "a"))
    assert (outcome.exit_code, outcome.ok, "KeyError: 'lost'" in outcome.stderr) == (1, False, True)
    assert runner(leaves).run(IMAGE, job(tmp_path / "b")).exit_code == 7


def test_a_command_gets_its_words_and_arguments_without_a_shell(tmp_path: Path) -> None:
    code = "import sys; print(sys.argv[1:])"
    outcome = runner([sys.executable, "-c", code, "first"]).run(IMAGE, job(tmp_path, "a 'b c' $(id) ; x"))
    assert outcome.stdout == "['first', 'a', 'b c', '$(id)', ';', 'x']\n"


def test_the_environment_of_the_notebook_stays_outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_PRIVATE_KEY", "0xsecret")
    monkeypatch.setenv("PYTHONPATH", "/nowhere")
    code = "import os, json; print(json.dumps(dict(os.environ)))"
    outcome = runner([sys.executable, "-c", code]).run(IMAGE, job(tmp_path, IEXEC_TASK_ID="0x1"))
    seen = json.loads(outcome.stdout)
    assert seen["IEXEC_TASK_ID"] == "0x1"
    assert seen["HOME"].startswith(str(tmp_path))
    assert not {"MY_PRIVATE_KEY", "PYTHONPATH"} & set(seen)


@posix
def test_an_app_that_takes_too_long_is_ended_with_its_children(tmp_path: Path) -> None:
    code = (
        "import subprocess, sys, time; p = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']);"
        "print(p.pid, flush=True); time.sleep(60)"
    )
    outcome = runner([sys.executable, "-c", code]).run(IMAGE, job(tmp_path, timeout_s=1.5))
    assert (outcome.timed_out, outcome.exit_code) == (True, None)
    assert "the time limit" in outcome.stderr
    assert _gone(int(outcome.stdout))


@posix
def test_stop_ends_a_running_app_and_starts_none_after(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    runs = runner([sys.executable, "-c", "import os,time; print(os.getpid(), flush=True); time.sleep(60)"])
    threading.Timer(1.0, runs.stop).start()
    outcome = runs.run(IMAGE, job(tmp_path / "a"))
    assert outcome.stopped
    assert _gone(int(outcome.stdout))
    assert runs.run(IMAGE, job(tmp_path / "b")).stopped


def _gone(pid: int) -> bool:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
            if b") Z " in Path(f"/proc/{pid}/stat").read_bytes():
                return True
        except OSError:
            return True
        time.sleep(0.02)
    return False


@posix
def test_an_app_does_not_outlive_a_notebook_that_is_killed(tmp_path: Path) -> None:
    script = """
import sys
from pathlib import Path
from iexec_nb.sandbox.runner import Images, Job, Runner
images = Images()
code = "import os,sys,time; open(sys.argv[1],'w').write(str(os.getpid())); time.sleep(60)"
images.set("a", [sys.executable, "-c", code])
folder = Path(sys.argv[1])
(folder / "iexec_out").mkdir()
Runner(images).run("a", Job(folder, {}, str(folder / "pid"), 60))
"""
    root = Path(__file__).resolve().parents[2]
    kernel = subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], cwd=root)
    pid = tmp_path / "pid"
    _until(lambda: pid.exists() and pid.read_text().isdigit())
    kernel.kill()
    kernel.wait()
    assert _gone(int(pid.read_text()))


def test_an_argument_that_no_program_can_take_is_a_failed_start(tmp_path: Path) -> None:
    outcome = runner([sys.executable, "-c", "print(1)"]).run(IMAGE, job(tmp_path, "a\0b"))
    assert (outcome.exit_code, outcome.started, "NUL" in outcome.stderr) == (None, False, True)


def test_only_the_end_of_a_long_output_is_kept(tmp_path: Path) -> None:
    code = f"print('x' * {3 * MAX_OUTPUT_BYTES} + 'END')"
    outcome = runner([sys.executable, "-c", code]).run(IMAGE, job(tmp_path))
    assert outcome.stdout.startswith("[sandbox] only the last")
    assert outcome.stdout.endswith("END\n")
    assert len(outcome.stdout) < MAX_OUTPUT_BYTES + 100


def test_a_missing_program_and_an_unknown_image_say_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    missing = runner(["no-such-program-here"]).run(IMAGE, job(tmp_path / "a"))
    assert (missing.exit_code, "no such program: no-such-program-here" in missing.stderr) == (127, True)
    monkeypatch.setenv("PATH", str(tmp_path))
    unknown = Runner(Images()).run(IMAGE, job(tmp_path / "b"))
    assert (unknown.exit_code, unknown.started) == (None, False)
    assert "net.image(multiaddr, run=" in unknown.stderr


@posix
def test_a_container_gets_its_folders_and_no_secret_on_its_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = tmp_path / "bin" / "docker"
    engine.parent.mkdir()
    engine.write_text('#!/bin/sh\n[ "$1" = info ] || { echo "$@"; echo "$IEXEC_APP_DEVELOPER_SECRET" >&2; }\n')
    engine.chmod(0o755)
    monkeypatch.setenv("PATH", f"{engine.parent}:{os.environ['PATH']}")
    (tmp_path / "t").mkdir()
    work = job(tmp_path / "t", "a b", IEXEC_APP_DEVELOPER_SECRET="hush")
    outcome = Runner(Images()).run(IMAGE, work)
    words = outcome.stdout.split()
    assert words[0:2] == ["run", "--rm"]
    assert words[-3:] == [IMAGE, "a", "b"]
    assert f"{work.inputs}:/iexec_in" in words
    assert "IEXEC_OUT=/iexec_out" in words
    assert "hush" not in outcome.stdout
    assert outcome.stderr == "hush\n"


@pytest.mark.parametrize("run", ["python app.py", [], [1, 2], 5])
def test_what_cannot_be_run_is_refused(run: Any) -> None:
    with pytest.raises(ValidationError, match="cannot be run"):
        Images().set(IMAGE, run)


def test_what_cannot_be_shipped_is_refused_before_it_runs(tmp_path: Path) -> None:
    key = Secret("key of the notebook")
    with pytest.raises(ValidationError, match="cannot be sent to a process of its own") as caught:
        runner(lambda: print(key)).run(IMAGE, job(tmp_path))
    assert "key of the notebook" not in str(caught.value)
    with pytest.raises(ValidationError, match="cannot be split"):
        Job(tmp_path, {}, "'open", 1).words()


@pytest.mark.parametrize(
    ("text", "args", "files"),
    [
        ("plain words", "plain words", ()),
        ('{"iexec_args":"a b","iexec_input_files":["http://x/y"]}', "a b", ("http://x/y",)),
        ('{"iexec_args":5,"iexec_input_files":"http://x","iexec_secrets":[]}', "", ()),
        ("[1]", "[1]", ()),
    ],
)
def test_params_are_read_leniently_as_a_worker_does(text: str, args: str, files: tuple[str, ...]) -> None:
    params = Params.parse(text)
    assert (params.args, params.input_files, dict(params.secrets)) == (args, files, {})


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)

"""The lock of a wallet: one sender at a time, among threads and among programs, and never for ever."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from iexec_nb.errors import ConfigurationError, Web3ProviderSendError
from iexec_nb.services import locks
from iexec_nb.services.locks import SendLock, run_lock, send_lock

ADDRESS = "0x000a9c787a972F70F0903890E266F41c795C4DcA"
OTHER = "0x19E7E376E7C213B7E7e7e46cc70A5dD086DAff2A"
HOLDER = """
import sys
from iexec_nb.services.locks import send_lock
with send_lock(int(sys.argv[1]), sys.argv[2]):
    print("held", flush=True)
    sys.stdin.readline()
print("freed", flush=True)
sys.stdin.readline()
"""


@pytest.fixture(autouse=True)
def _own_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lock file of the test's own; its handle may stay open, as that of a program does."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.setattr(locks, "_file", None)
    monkeypatch.setattr(locks, "_locks", {})
    monkeypatch.setattr(locks, "_runs", {})


@contextmanager
def another_program(chain_id: int = 9, account: str = ADDRESS) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", HOLDER, str(chain_id), account]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


def test_a_wallet_has_one_lock_per_chain_whatever_the_spelling_and_the_thread() -> None:
    found: list[SendLock] = []
    threads = [threading.Thread(target=lambda: found.append(send_lock(9, ADDRESS.lower()))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(lock is send_lock(9, ADDRESS) for lock in found)
    assert send_lock(10, ADDRESS) is not send_lock(9, ADDRESS)


def test_only_one_thread_is_inside() -> None:
    inside, most = 0, 0

    def work() -> None:
        nonlocal inside, most
        for _ in range(50):
            with send_lock(9, ADDRESS):
                inside += 1
                most = max(most, inside)
                inside -= 1

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (most, inside) == (1, 0)


def test_another_program_is_waited_for_and_its_end_frees_the_wallet() -> None:
    with another_program() as process:
        lock = send_lock(9, ADDRESS)
        entered = threading.Event()

        def enter() -> None:
            with lock:
                entered.set()

        thread = threading.Thread(target=enter)
        thread.start()
        assert not entered.wait(0.2)
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
        assert entered.wait(20)
        thread.join()


def test_a_program_that_is_killed_frees_the_wallet() -> None:
    with another_program() as process:
        process.kill()
        process.wait()
        with send_lock(9, ADDRESS):
            pass


def test_wallets_and_chains_do_not_wait_for_one_another() -> None:
    with another_program(), send_lock(10, ADDRESS), send_lock(9, OTHER):
        pass


def test_a_program_that_does_not_finish_is_an_error_after_which_threads_go_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(locks, "WAIT_S", 0.1)
    with another_program():
        for _ in range(2):
            with (
                pytest.raises(Web3ProviderSendError, match="another program is sending") as caught,
                send_lock(9, ADDRESS),
            ):
                raise AssertionError
            assert caught.value.tx_hash is None
            assert ADDRESS in str(caught.value)


def test_a_failure_inside_frees_the_wallet() -> None:
    lock = send_lock(9, ADDRESS)
    with pytest.raises(KeyError), lock:
        raise KeyError
    with lock:
        pass


def test_a_home_that_cannot_be_written_still_keeps_threads_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "file"))
    lock = send_lock(9, ADDRESS)
    with lock:
        assert not lock._threads.acquire(blocking=False)
    with lock:
        pass


@pytest.mark.skipif(sys.platform == "win32", reason="files are locked through fcntl")
def test_a_drive_that_knows_no_locks_still_keeps_threads_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    import fcntl

    def unsupported(*_: object) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr(fcntl, "lockf", unsupported)
    lock = send_lock(9, ADDRESS)
    with lock:
        assert not lock._threads.acquire(blocking=False)


def test_the_lock_file_stays_empty_and_is_the_owner_s(tmp_path: Path) -> None:
    with send_lock(9, ADDRESS), send_lock(10, OTHER):
        pass
    (file,) = tmp_path.rglob("*.lock")
    assert file.stat().st_size == 0
    assert sys.platform == "win32" or file.stat().st_mode & 0o777 == 0o600


RUN_HOLDER = HOLDER.replace("import send_lock", "import run_lock").replace(
    "send_lock(int(sys.argv[1]), sys.argv[2])", "run_lock(int(sys.argv[1]), sys.argv[2], 'a run')"
)


def test_a_run_has_one_lock_and_its_wallet_can_send_meanwhile() -> None:
    assert run_lock(9, ADDRESS, "a run") is run_lock(9, ADDRESS.lower(), "a run")
    others = [run_lock(10, ADDRESS, "a run"), run_lock(9, OTHER, "a run"), run_lock(9, ADDRESS, "another")]
    with run_lock(9, ADDRESS, "a run"), send_lock(9, ADDRESS):
        for other in others:
            with other:
                pass


def test_a_run_that_another_program_is_at_work_on_is_an_error_that_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "WAIT_S", 0.1)
    command = [sys.executable, "-c", RUN_HOLDER, "9", ADDRESS]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        with (
            pytest.raises(ConfigurationError, match="at work on the run 'a run'") as caught,
            run_lock(9, ADDRESS, "a run"),
        ):
            raise AssertionError
        assert "never paid twice" in str(caught.value.hint)
        process.kill()
        process.wait()
    with run_lock(9, ADDRESS, "a run"):
        pass

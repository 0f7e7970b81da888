"""The local EVM node as a child process that cannot outlive its parent.

A notebook's kernel is interrupted, restarted and killed all the time. Whatever happens to it, no anvil may stay
behind and no port may stay taken; and an interrupt that is meant for a cell must not reach the node.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import IO

from iexec_nb.errors import SandboxError
from iexec_nb.protocol.types import shown
from iexec_nb.sandbox.forks import forget_in_children

HOST = "127.0.0.1"
START_TIMEOUT_S = 20.0
STOP_TIMEOUT_S = 5.0


class Node:
    """A running anvil on a loopback port.

    Parameters
    ----------
    program
        The anvil executable.
    chain_id
        The chain id that it announces.
    port
        Its port, or 0 for a free one.
    scratch
        A folder that is removed when the node ends, also where the kernel was killed and cannot do it.

    Raises
    ------
    SandboxError
        When the port is taken or anvil does not start.
    """

    def __init__(self, program: Path, *, chain_id: int, port: int = 0, scratch: str | None = None) -> None:
        self.port = usable_port(port)
        self.url = f"http://{HOST}:{self.port}"
        self._owner_pid = os.getpid()
        self._lock = threading.Lock()
        self._log: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - it lives as long as the node
        options = ["--host", HOST, "--port", str(self.port), "--chain-id", str(chain_id), "--accounts", "1", "--silent"]
        swept = [f"--scratch={scratch}"] if scratch else []
        self._process = _spawn([*swept, str(program), *options], self._log)
        forget_in_children(self)
        try:
            self._wait_until_listening()
        except BaseException:
            self.stop()
            raise

    @property
    def pid(self) -> int:
        """The process id of the watchdog that anvil runs under."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the node is alive."""
        return self._owner_pid == os.getpid() and self._process.poll() is None

    def stop(self) -> None:
        """End the node and free its port; a second call, or one in a forked child, does nothing."""
        with self._lock:
            self.forget()
            if self._owner_pid != os.getpid():
                return
            try:
                self._process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                _kill_group(self._process)
            self._log.close()

    def forget(self) -> None:
        """Close the writing end of the pipe; when the last copy is closed, the watchdog ends the node."""
        if self._process.stdin:
            with contextlib.suppress(OSError):
                self._process.stdin.close()

    def _wait_until_listening(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise SandboxError(
                    f"the local chain ended at its start with code {self._process.returncode}",
                    context={"anvil says": self._said()},
                    hint="start the sandbox again; with port=0 it takes a free port",
                )
            with contextlib.suppress(OSError), socket.create_connection((HOST, self.port), timeout=1):
                return
            time.sleep(0.002)
        raise SandboxError(f"the local chain did not answer on port {self.port} within {START_TIMEOUT_S:.0f} s")

    def _said(self) -> str:
        self._log.seek(0)
        return shown(self._log.read(2000).decode(errors="replace").strip(), 400) or "nothing"


def usable_port(port: int, host: str = HOST) -> int:
    """Return `port` when a server may listen on it, or a free one for 0.

    Raises
    ------
    SandboxError
        When the port is taken or no port number.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        if os.name == "posix":
            # A port whose last connections linger is free; on Windows the option means something else.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except (OSError, OverflowError, TypeError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise SandboxError(
                f"port {port} cannot be used: {reason}", hint="choose another port, or 0 for a free one"
            ) from error
        free: int = probe.getsockname()[1]
        return free


def _spawn(command: list[str], log: IO[bytes]) -> subprocess.Popen[bytes]:
    watchdog = str(Path(__file__).with_name("watchdog.py"))
    try:
        return subprocess.Popen(
            [sys.executable, "-I", "-S", watchdog, *command],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            # Its own process group: Ctrl-C in a terminal is sent to the whole group of the foreground.
            start_new_session=os.name == "posix",
            creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
        )
    except OSError as error:
        raise SandboxError("the local chain cannot be started", context={"reason": error}) from error


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    if sys.platform == "win32":
        process.kill()
    else:
        import signal

        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    process.wait()

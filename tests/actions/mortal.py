"""A program that begins runs and is killed on the way: the kernels of the tests of `idempotency_key`.

It reads one wish a line and forks a child for each, which costs a hundredth of a new interpreter. The child has its
own client, connections and journal, runs the app, and is killed with SIGKILL at the moment that the wish names: before
or after its n-th request, write to the disk, or new name of a file. What it did is told in one line.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import httpx

from iexec_nb.actions import journal
from iexec_nb.client import IExec
from iexec_nb.protocol.types import Secret
from iexec_nb.services import abi_codec
from iexec_nb.services.wallet import PrivateKeySigner

for name in ("chain", "http", "ipfs", "market", "sms"):
    # Before the first fork, so that no child has to.
    import_module(f"iexec_nb.services.{name}")


class Moments:
    """Counts the moments at which a program can be killed, and dies at the one that was chosen."""

    def __init__(self, fatal: int, names: list[str]) -> None:
        self.fatal = fatal
        self.names = names

    def reach(self, name: str) -> None:
        self.names.append(name)
        if len(self.names) == self.fatal:
            os.kill(os.getpid(), signal.SIGKILL)

    def around(self, holder: Any, name: str, say: Callable[..., str] | None = None) -> None:
        original = getattr(holder, name)

        def guarded(*args: Any, **kwargs: Any) -> Any:
            what = say(*args) if say is not None else name
            self.reach(f"before {what}")
            result = original(*args, **kwargs)
            self.reach(f"after {what}")
            return result

        setattr(holder, name, guarded)


def what_is_asked(transport: Any, request: httpx.Request) -> str:
    try:
        body = json.loads(request.read())
    except ValueError:
        return f"{request.method} {request.url.path}"
    calls = body if isinstance(body, list) else [body]
    return "+".join(sorted({str(call.get("method")) for call in calls}))


def begin(wish: dict[str, Any]) -> dict[str, Any]:
    moments = Moments(wish.get("fatal", 0), [])
    client = IExec(
        **wish["options"], signer=PrivateKeySigner(Secret(wish["wallet"])), store=Path(wish["store"]), confirm=False
    )
    moments.around(httpx.HTTPTransport, "handle_request", what_is_asked)
    moments.around(os, "fsync")
    moments.around(journal, "_name_as")
    if "half" in wish:
        half_a_line(Path(wish["store"]), wish["half"])
    run = client.app.run(
        wish["app"], args=wish["args"], workerpool=wish["pool"], category=0, idempotency_key=wish["key"]
    )
    return {"dealid": run.dealid, "txHash": run.txHash, "tasks": len(run.taskids), "moments": moments.names}


def half_a_line(store: Path, length: int) -> None:
    """Write but the first bytes of the next transaction's line into the journal, and die."""
    write = journal._line

    def cut(record: Any) -> bytes:
        line = write(record)
        if "tx" in record:
            path = max(store.glob("journal/*.jsonl"), key=lambda one: one.stat().st_mtime_ns)
            with path.open("ab") as file:
                file.write(line[:length])
            os.kill(os.getpid(), signal.SIGKILL)
        return line

    journal._line = cut


def child(wish: dict[str, Any], answer: int) -> None:
    try:
        told = begin(wish)
    except BaseException as error:
        told = {"error": type(error).__name__, "message": str(error)}
    os.write(answer, json.dumps(told).encode())


def serve() -> None:
    abi_codec.CODEC  # noqa: B018
    for line in sys.stdin:
        receive, answer = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(receive)
            try:
                child(json.loads(line), answer)
            finally:
                os._exit(0)
        os.close(answer)
        with os.fdopen(receive, "rb") as pipe:
            told = pipe.read()
        _, status = os.waitpid(pid, 0)
        killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        print(json.dumps({"killed": killed, **(json.loads(told) if told else {})}), flush=True)


if __name__ == "__main__":
    serve()

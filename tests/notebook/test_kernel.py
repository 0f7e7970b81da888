"""What only a real kernel shows: awaiting, progress, interrupts, questions, and a kernel that dies."""

from __future__ import annotations

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from iexec_nb import IExec, PrivateKeySigner, Sandbox, Secret

KEY = "7a" * 31 + "5c"
DATASET_KEY = "bWFnaWMgY2FuYXJ5IG9mIHRoaXJ0eS10d28gYnl0ZXM="
PREPARE = """
%load_ext iexec_nb
from iexec_nb import Sandbox

net = Sandbox().start()


def quick():
    import json, os

    out = os.environ["IEXEC_OUT"]
    open(out + "/a.txt", "w").write("done")
    json.dump({"deterministic-output-path": "/iexec_out/a.txt"}, open(out + "/computed.json", "w"))


me = net.client(deposit="1 RLC").activate()
net.image("docker.io/test/quick:1", quick)
app = me.app.deploy(name="quick", multiaddr="docker.io/test/quick:1").address
"""


class Kernel:
    """A kernel to which cells are given one by one."""

    def __init__(self) -> None:
        metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
        self.notebook = nbformat.v4.new_notebook(metadata=metadata)
        self.client = NotebookClient(self.notebook, kernel_name="python3", timeout=120)

    def __enter__(self) -> Kernel:
        self._context = self.client.setup_kernel()
        self._context.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._context.__exit__(*error)

    def run(self, source: str) -> list[nbformat.NotebookNode]:
        """Run a cell and return its outputs; an error of the cell is raised."""
        cell = nbformat.v4.new_code_cell(source)
        self.notebook.cells.append(cell)
        self.client.execute_cell(cell, len(self.notebook.cells) - 1)
        outputs: list[nbformat.NotebookNode] = cell.outputs
        return outputs

    def fail(self, source: str) -> str:
        """Run a cell that must fail and return what the reader sees."""
        with pytest.raises(CellExecutionError):
            self.run(source)
        error = next(output for output in self.notebook.cells[-1].outputs if output.output_type == "error")
        return re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(error.traceback))


def shown(outputs: list[nbformat.NotebookNode]) -> str:
    return "".join(output.get("text") or output.get("data", {}).get("text/plain", "") for output in outputs)


@pytest.fixture(scope="module")
def kernel() -> Iterator[Kernel]:
    with Kernel() as made:
        made.run(PREPARE)
        yield made
        made.run("net.stop()")


def test_a_run_is_awaited_in_a_cell(kernel: Kernel):
    kernel.run("run = %iexec app run $app --category 0")
    outputs = kernel.run("finished = await run\nprint(finished is run, run.tasks().statusName[0])")
    assert shown(outputs) == "True COMPLETED\n"


def test_the_loop_goes_on_while_a_run_is_awaited(kernel: Kernel):
    outputs = kernel.run("""
import asyncio
ticks = []
async def tick():
    while True:
        ticks.append(1)
        await asyncio.sleep(0.005)
ticking = asyncio.ensure_future(tick())
run = %iexec app run $app --category 0
await run
ticking.cancel()
print(len(ticks) > 3)
""")
    assert shown(outputs) == "True\n"


def test_a_result_opens_in_the_notebook(kernel: Kernel):
    outputs = kernel.run("result = run.result()\nresult")
    assert "a.txt" in outputs[0].data["text/html"]
    assert shown(kernel.run("print(result.text('a.txt'), result.verified)")) == "done True\n"


def test_an_error_is_a_few_lines_and_no_frames(kernel: Kernel):
    text = kernel.fail("me.account.deposit('1000 RLC')")
    assert "InsufficientFundsError: Deposit amount exceed wallet balance" in text
    assert "missing: 1000 RLC" in text
    assert "Cell In" not in text


def test_a_long_wait_has_one_output_and_an_interrupt_says_how_to_wait_again(kernel: Kernel):
    kernel.run("lazy = net.workerpool('lazy', price=0, idle=True)\nrun = %iexec app run $app --workerpool $lazy")
    kernel.run("import threading, os, signal\nthreading.Timer(4, lambda: os.kill(os.getpid(), signal.SIGINT)).start()")
    text = kernel.fail("run.wait()")
    assert "KeyboardInterrupt" in text
    assert "The waiting stopped, the paid task goes on" in text
    again = re.search(r"iexec\.deal\.attach\('(0x[0-9a-f]{64})'\)", text)
    assert again is not None
    cell = kernel.notebook.cells[-1]
    displays = [output for output in cell.outputs if output.output_type == "display_data"]
    assert len(displays) == 1
    assert "stopped watching" in displays[0].data["text/plain"]
    assert shown(kernel.run(f"print(me.deal.attach('{again[1]}').tasks().statusName[0])")) == "UNSET\n"


def test_a_kernel_that_cannot_be_asked_refuses_to_sign(kernel: Kernel):
    text = kernel.fail("me._confirm = None\nme.account.withdraw(1)")
    kernel.run("me._confirm = False")
    assert "there is nobody to ask" in text
    assert "confirm=False" in text


def test_another_kernel_attaches_to_a_run_by_its_deal_id():
    with Sandbox() as net, Kernel() as other:
        buyer = net.client(deposit="1 RLC")
        net.image("docker.io/test/true:1", ["python3", "-c", _WRITES])
        app = buyer.app.deploy(name="t", multiaddr="docker.io/test/true:1").address
        run = buyer.app.run(app)
        options = net.serve().options()
        outputs = other.run(f"""
from iexec_nb import IExec
run = IExec(**{options!r}).deal.attach({run.dealid!r})
print(run.wait().result().text("a.txt"))
""")
        assert shown(outputs) == "hello\n"


_WRITES = (
    "import os,json;o=os.environ['IEXEC_OUT'];open(o+'/a.txt','w').write('hello');"
    "json.dump({'deterministic-output-path':'/iexec_out/a.txt'},open(o+'/computed.json','w'))"
)

_DIES = """
import os
from iexec_nb import Sandbox
net = Sandbox().start()
me = net.client(deposit="1 RLC")
net.image("docker.io/test/sleep:1", ["sleep", "600"])
run = me.app.run(me.app.deploy(name="s", multiaddr="docker.io/test/sleep:1").address)
for update in run.watch():
    if update.phase == "running":
        break
print(os.getpid(), net._parts.node.url, flush=True)
import time
time.sleep(600)
"""


def _gone(check: Callable[[], bool]) -> bool:
    # Bounded, not timed: it ends as soon as it is true.
    for _ in range(400):
        if check():
            return True
        time.sleep(0.025)
    return False


def _children(pid: int) -> list[int]:
    found = subprocess.run(["ps", "-eo", "pid=,ppid="], capture_output=True, text=True, check=True).stdout.split()
    pairs = list(zip(map(int, found[::2]), map(int, found[1::2]), strict=True))
    tree = [pid]
    for parent in tree:
        tree += [child for child, above in pairs if above == parent]
    return tree[1:]


@pytest.mark.skipif(sys.platform == "win32", reason="process trees are read with ps")
def test_a_killed_kernel_leaves_no_process_behind():
    with subprocess.Popen([sys.executable, "-c", _DIES], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        pid = int(process.stdout.readline().split()[0])
        children = _children(pid)
        assert len(children) >= 2  # the chain, and the app that sleeps
        os.kill(pid, signal.SIGKILL)
    assert _gone(lambda: not any(Path(f"/proc/{child}").exists() for child in children))


def test_keys_appear_nowhere_but_in_files_of_mode_600(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CANARY", KEY)
    monkeypatch.setenv("CANARY_DATASET", DATASET_KEY)
    monkeypatch.setenv("STORE", str(tmp_path / "store"))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    with Kernel() as kernel:
        kernel.run("""
%load_ext iexec_nb
%xmode Verbose
import os
import logging
from pathlib import Path
logging.basicConfig(level=logging.DEBUG)
from iexec_nb import IExec, PrivateKeySigner, Sandbox, Secret
from iexec_nb.actions.store import Store
net = Sandbox().start()
me = net.client(rlc="5 RLC", signer=PrivateKeySigner(Secret(os.environ["CANARY"])))
me.store = Store(Path(os.environ["STORE"]))
""")
        kernel.run("encrypted = me.dataset.encrypt(b'x' * 100, key=Secret(os.environ['CANARY_DATASET']))\nencrypted")
        kernel.run("""
d = me.dataset.deploy(name="d", multiaddr=me.storage.add(encrypted), checksum=encrypted.checksum).address
me.dataset.push_secret(d)
me, me.signer, encrypted.key, vars(encrypted) if hasattr(encrypted, "__dict__") else encrypted
""")
        kernel.fail("me.dataset.push_secret(d)")
        kernel.fail("me.account.deposit('100 RLC')")
        kernel.fail("me.account.deposit(1.5)")
        kernel.fail("PrivateKeySigner(Secret(os.environ['CANARY'] + 'ff'))")
        kernel.fail("me.signer.sign_transaction({'chainId': 1})")
        kernel.fail("me.dataset.encrypt(b'x', key=Secret(os.environ['CANARY_DATASET'] + 'AAAA'))")
        kernel.run("keys = me.result.generate_encryption_keypair()\nme.result.push_encryption_key()\nkeys")
        private = Path(kernel.run("print(keys.private_key_file)")[0].text.strip()).read_text()
        kernel.run("net.stop()")
    pem_body = private.splitlines()[5]
    canaries = [KEY, DATASET_KEY, pem_body]
    saved = json.dumps(kernel.notebook)
    assert not [canary for canary in canaries if canary in saved]
    assert not _in_history(tmp_path / "ipython", canaries)
    holders = [path for path in tmp_path.rglob("*") if path.is_file() and _holds(path, canaries)]
    assert {path.parent.name for path in holders} == {"datasets", "beneficiary"}
    assert {oct(path.stat().st_mode & 0o777) for path in holders} == {"0o600"}


def _holds(path: Path, canaries: list[str]) -> bool:
    content = path.read_bytes()
    return any(canary.encode() in content for canary in canaries)


def _in_history(folder: Path, canaries: list[str]) -> list[Any]:
    found = []
    for path in folder.rglob("history.sqlite"):
        with sqlite3.connect(path) as history:
            for table in ("history", "output_history"):
                rows = history.execute(f"select * from {table}").fetchall()
                found += [row for row in rows if any(canary in str(row) for canary in canaries)]
        history.close()
    return found


def test_the_canaries_of_this_file_are_keys():
    assert PrivateKeySigner(Secret(KEY)).address.startswith("0x")
    assert IExec("arbitrum-mainnet", signer=Secret(KEY)).signer is not None

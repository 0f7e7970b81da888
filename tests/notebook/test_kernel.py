"""What only a real kernel shows: awaiting, progress, interrupts, questions, and a kernel that dies."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from kernels import Kernel, shown

from iexec_nb import Sandbox

HOSTILE = "<img src=x onerror=alert(1)>\u202etxt"
PREPARE = """
%load_ext iexec_nb
from iexec_nb import Sandbox

net = Sandbox().start()


def quick(words):
    import json, os, time

    time.sleep(float(words[0]) if words else 0)
    out = os.environ["IEXEC_OUT"]
    open(out + "/a.txt", "w").write("done")
    json.dump({"deterministic-output-path": "/iexec_out/a.txt"}, open(out + "/computed.json", "w"))


def broken():
    import time

    print("reading")
    time.sleep(0.3)
    raise RuntimeError("the <b>sensor</b> is on fire")


me = net.client(rlc="1 RLC", deposit="1 RLC").activate()
for run in (quick, broken):
    net.image(f"docker.io/test/{run.__name__}:1", run)
app = me.app.deploy(name="quick", multiaddr="docker.io/test/quick:1").address
bad = me.app.deploy(name="broken", multiaddr="docker.io/test/broken:1").address
lazy = net.workerpool("lazy", price=0, idle=True)

# A run shows its progress after 2 s; the tests do not wait for so long.
from iexec_nb.notebook import progress
progress.DELAY_S = 0.05
"""
INTERRUPT = """
import os, signal, threading
threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
"""


@pytest.fixture(scope="module")
def kernel() -> Iterator[Kernel]:
    with Kernel() as made:
        made.run(PREPARE)
        yield made
        made.run("net.stop()")


def test_a_run_is_awaited_in_a_cell(kernel: Kernel):
    kernel.run("run = %iexec app run $app --category 0")
    outputs = kernel.run("finished = await run\nprint(finished is run, run.tasks().statusName[0])")
    assert shown(outputs[-1:]) == "True COMPLETED\n"


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
    assert shown(outputs[-1:]) == "True\n"


def test_a_result_opens_in_the_notebook(kernel: Kernel):
    outputs = kernel.run("result = run.result()\nresult")
    assert "a.txt" in outputs[0].data["text/html"]
    assert shown(kernel.run("print(result.text('a.txt'), result.verified)")) == "done True\n"


def test_an_error_is_a_few_lines_and_no_frames(kernel: Kernel):
    text = kernel.fail("me.account.deposit('1000 RLC')")
    assert "InsufficientFundsError: Deposit amount exceed wallet balance" in text
    assert "missing: 999 RLC" in text
    assert "Cell In" not in text


def test_a_run_has_one_output_that_ends_static(kernel: Kernel):
    kernel.run("run = %iexec app run $app --category 0 --args=0.3")
    kernel.run("run.wait()")
    [panel] = kernel.displayed()
    assert panel.data["text/plain"].startswith("Run: ✔ completed, 1 of 1 completed (elapsed ")
    assert "○" not in panel.data["text/html"]
    assert "aria-live" not in panel.data["text/html"]
    assert kernel.notebook.metadata.get("widgets") is None
    kernel.run("_ = await run")
    assert len(kernel.displayed()) <= 1


def test_a_failed_run_says_so_in_its_output_and_with_the_last_words_of_the_app(kernel: Kernel):
    text = kernel.fail("%iexec app run $bad --watch")
    [panel] = kernel.displayed()
    assert panel.data["text/plain"].startswith("Run: ✖ failed, 0 of 1 completed (elapsed ")
    assert "TaskFailedError: the app failed: RuntimeError: the <b>sensor</b> is on fire" in text
    assert "reading" in text
    assert "Cell In" not in text


def test_waiting_with_a_limit_ends_and_leaves_how_to_go_on(kernel: Kernel):
    kernel.run("run = %iexec app run $app --workerpool $lazy")
    text = kernel.fail("run.wait(timeout_s=0.3)")
    [panel] = kernel.displayed()
    assert "■ stopped watching" in panel.data["text/plain"]
    assert "iexec.deal.attach('0x" in panel.data["text/plain"]
    assert "TaskTimeoutError: not finished after 0.3 s; the task goes on" in text


@pytest.mark.parametrize("wait", ["run.wait()", "await run", "_ = %iexec app run $app --workerpool $lazy --watch"])
def test_an_interrupt_ends_the_waiting_and_says_how_to_wait_again(kernel: Kernel, wait: str):
    kernel.run("run = %iexec app run $app --workerpool $lazy")
    text = kernel.fail(INTERRUPT + wait)
    assert "KeyboardInterrupt" in text or "CancelledError" in text
    assert "The waiting stopped, the paid task goes on" in text
    again = re.search(r"iexec\.deal\.attach\('(0x[0-9a-f]{64})'\)", text)
    assert again is not None
    [panel] = kernel.displayed()
    assert "■ stopped watching" in panel.data["text/plain"]
    assert again[0] in panel.data["text/plain"]
    assert shown(kernel.run(f"print(me.deal.attach('{again[1]}').tasks().statusName[0])")) == "UNSET\n"


def test_a_kernel_that_cannot_be_asked_refuses_to_sign(kernel: Kernel):
    text = kernel.fail("me._confirm = None\nme.account.withdraw(1)")
    kernel.run("me._confirm = False")
    assert "there is nobody to ask" in text
    assert "confirm=False" in text


@pytest.mark.parametrize(("answer", "status"), [("y", "ok"), ("n", "error"), ("", "error")])
def test_a_front_end_that_can_be_asked_is_asked_before_anything_is_signed(kernel: Kernel, answer: str, status: str):
    count = "print(me.chain.block_number())"
    kernel.run("me._confirm = None")
    before = int(shown(kernel.run(count)))
    ended, error, questions = kernel.answer("me.account.deposit(1)", answer)
    spent = int(shown(kernel.run(count))) - before
    kernel.run("me._confirm = False")
    [question] = questions
    assert "deposit 0.000000001 RLC" in question
    assert "chain: sandbox (134134)" in question
    assert ended == status
    assert spent == (status == "ok")
    assert ("aborted" in error) == (status == "error")


def test_a_function_that_answers_is_shown_the_same_text(kernel: Kernel):
    kernel.run("asked = []\nme._confirm = lambda text: asked.append(text) or False")
    text = kernel.fail("%iexec account deposit 1")
    outputs = kernel.run("me._confirm = False\nprint(asked)")
    assert "Operation aborted by user" in text
    assert "deposit 0.000000001 RLC" in shown(outputs)


def test_names_from_the_chain_are_escaped_in_the_notebook(kernel: Kernel):
    outputs = kernel.run(f"me.app.show(me.app.deploy(name={HOSTILE!r}, multiaddr='docker.io/x/y:1').address)")
    [output] = outputs
    assert "&lt;img src=x onerror=alert(1)&gt;\\u202etxt" in output.data["text/html"]
    assert "<img" not in output.data["text/html"]
    assert HOSTILE not in output.data["text/plain"]


def test_a_help_page_is_one_piece_of_text(kernel: Kernel):
    for line in ("", "app --help", "app run --help"):
        [page] = kernel.run(f"%iexec {line}")
        assert page.output_type == "stream"
        assert "\x1b" not in page.text
        assert max(map(len, page.text.partition("\nExamples\n")[0].splitlines())) <= 100


def test_a_plot_is_one_picture(kernel: Kernel):
    outputs = kernel.run("book = %iexec orderbook workerpool\nbook[book.category == 0].iexec.plot_depth();")
    [picture] = outputs
    assert picture.output_type == "display_data"
    assert "image/png" in picture.data
    outputs = kernel.run("book.iexec.plot_prices()")
    assert [set(output.data) & {"image/png"} for output in outputs] == [set(), {"image/png"}]


def test_a_table_knows_where_it_is_from(kernel: Kernel):
    [output] = kernel.run("print(sorted(book.attrs), book.attrs['chain'], book[book.trust >= 0].attrs == book.attrs)")
    assert {"'block'", "'chain_id'", "'fetched_at'", "'hub_address'", "'source'"} <= set(
        re.findall(r"'\w+'", output.text)
    )
    assert output.text.endswith(" sandbox True\n")


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
print(os.getpid(), net._parts.node.port, net._parts.folder, flush=True)
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
def test_a_killed_kernel_leaves_no_process_and_no_file_behind():
    with subprocess.Popen([sys.executable, "-c", _DIES], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        pid, port, folder = process.stdout.readline().split()
        pid = int(pid)
        children = _children(pid)
        assert len(children) >= 2  # the chain, and the app that sleeps
        assert list(Path(folder).glob("iexec_nb-task-*"))
        os.kill(pid, signal.SIGKILL)
    assert _gone(lambda: not any(Path(f"/proc/{child}").exists() for child in children))
    assert _gone(lambda: not Path(folder).exists())
    assert not _listens(int(port))


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=5):
        return True
    return False

"""How long a run takes beyond its computing: waiting, many at once, and a large file from a gateway."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import threading
import time
from datetime import datetime
from pathlib import Path
from typing import Any

PARAMETERS = 200
TASKS = 1000
GIB = 2**30
MIB = 2**20

Numbers = dict[str, float]


def square(arguments: list[str]) -> None:
    """The app of the benchmarks: a table of one row."""
    out = Path(os.environ["IEXEC_OUT"])
    (out / "square.csv").write_text(f"n,square\n{arguments[-1]},{int(arguments[-1]) ** 2}\n")
    (out / "computed.json").write_text(json.dumps({"deterministic-output-path": str(out / "square.csv")}))


def _app(net: Any, volume: int) -> str:
    from iexec_nb.protocol.orders import AppOrder

    seller = net.client()
    multiaddr = "registry.example/square:1.0"
    net.image(multiaddr, square)
    app: str = seller.app.deploy(name="square", multiaddr=multiaddr).address
    seller.order.publish(seller.order.sign(AppOrder(app=app, appprice=1, volume=volume)))
    return app


def map_parameters() -> Numbers:
    from iexec_nb.sandbox.network import Sandbox

    with Sandbox(workerpools=0) as net:
        net.workerpool(price="0.01 RLC", volume=2 * PARAMETERS)
        app = _app(net, 2 * PARAMETERS)
        buyer = net.client(deposit="100 RLC")
        buyer.app.map(app, ["0"], args=None, category=0)
        begin = time.perf_counter()
        table = buyer.app.map(app, list(range(PARAMETERS)), category=0)
        spent = time.perf_counter() - begin
        squares = [result.table("square.csv")["square"][0] for result in table["result"]]
        lost = sum(n * n != int(found) for n, found in enumerate(squares))
        most = _side_by_side(buyer, table)
    return {"seconds": spent, "lost": lost + PARAMETERS - len(table), "at once": most}


def _side_by_side(client: Any, table: Any) -> int:
    """Return how many tasks were computed at the same moment, by what the scheduler says of each."""
    changes: list[tuple[datetime, int]] = []
    for taskid in table["taskid"]:
        history = client.task.offchain_info(taskid).task.statusHistory
        begun = next(one.date for one in history if one.status == "RUNNING")
        changes += [(begun, 1), (history[-1].date, -1)]
    now = most = 0
    for _, change in sorted(changes):
        now += change
        most = max(most, now)
    return most


def result_in_hand() -> Numbers:
    from iexec_nb.sandbox.network import Sandbox

    found = []
    with Sandbox(workerpools=0) as net:
        net.workerpool(price=0, volume=50)
        app = _app(net, 50)
        buyer = net.client(deposit="1 RLC")
        for n in range(6):
            run = buyer.app.run(app, args=str(n), category=0)
            run.result()
            had = datetime.now().astimezone()
            history = buyer.task.offchain_info(run.taskids[0]).task.statusHistory
            found.append((had - history[-1].date).total_seconds())
    return {"seconds": sorted(found[1:])[len(found[1:]) // 2]}


def watch_tasks() -> Numbers:
    import httpx

    from iexec_nb.actions.plan import Planner
    from iexec_nb.actions.poll import Poll
    from iexec_nb.actions.wishes import Wishes
    from iexec_nb.sandbox.network import Sandbox

    asked, me = [0], threading.get_ident()

    class Counting(httpx.BaseTransport):
        """Counts what the watching client asks of the services, and nobody else's requests."""

        def __init__(self, inner: httpx.BaseTransport) -> None:
            self.inner = inner

        def handle_request(self, request: httpx.Request) -> httpx.Response:
            asked[0] += 1
            return self.inner.handle_request(request)

    with Sandbox(workerpools=0) as net:
        net.workerpool(price=0, volume=TASKS, idle=True)
        app = _app(net, TASKS)
        buyer = net.client(deposit="1 RLC")
        buyer.transport = Counting(buyer.transport)
        wishes = Wishes.read(app, buyer.require_signer().address, category=0)
        run = Planner(buyer, wishes).plan(volume=TASKS).execute()
        rpc: Any = buyer.chain.rpc
        post = rpc._post

        def counted(*args: Any) -> Any:
            # The sandbox's own parts share the connection, from threads of their own.
            asked[0] += threading.get_ident() == me
            return post(*args)

        rpc._post = counted
        poll = Poll(buyer)
        poll.add(run.deal)
        ticks, requests = [], []
        for _ in range(11):
            asked[0] = 0
            begin = time.perf_counter()
            poll.tick()
            ticks.append(time.perf_counter() - begin)
            requests.append(asked[0])
    return {"requests": max(requests), "milliseconds": 1000 * sorted(ticks[1:])[5]}


def download() -> Numbers:
    from iexec_nb.sandbox.network import Sandbox

    with Sandbox() as net, tempfile.TemporaryDirectory(prefix="bench-") as folder:
        source, target = Path(folder, "source"), Path(folder, "target")
        with source.open("wb") as file:
            for _ in range(GIB // MIB):
                file.write(os.urandom(MIB))
        cid = net.user.ipfs.add(source)
        endpoints = net.serve()
        # The gateway is of this process, so the memory of a reader is measured in a process of its own.
        numbers = _in_process(DOWNLOAD, endpoints.ipfs_gateway, cid, str(target))
        same = _digest(source) == _digest(target)
    assert same
    return numbers


DOWNLOAD = """
import json, sys, time
from pathlib import Path
from iexec_nb.errors import IpfsGatewayCallError
from iexec_nb.services.http import Http
from iexec_nb.services.ipfs import Ipfs

def memory():
    return int(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1]) / 1024

gateway, cid, target = sys.argv[1:]
ipfs = Ipfs(Http(gateway, service="IPFS gateway", error=IpfsGatewayCallError))
before, begin = memory(), time.perf_counter()
ipfs.download(cid, Path(target), max_bytes=2**31)
print(json.dumps({"seconds": time.perf_counter() - begin, "extra": memory() - before, "whole": memory()}))
"""


def _in_process(script: str, *words: str) -> Numbers:
    import subprocess
    import sys

    said = subprocess.run([sys.executable, "-c", script, *words], capture_output=True, text=True, check=True).stdout
    numbers: Numbers = json.loads(said.splitlines()[-1])
    return numbers


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

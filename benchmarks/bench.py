"""Measures the bars of the project; this is `make bench`.

Each measurement runs in an interpreter of its own, so that none warms another's modules or shares its memory, and the
table shows the median of several. Nothing here is a test: a slow machine fails no build. The table goes to stdout and
to build/bench.md.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import results
import runs

ROOT = Path(__file__).resolve().parent.parent
TABLE = ROOT / "build" / "bench.md"
PACKAGES = ("pandas", "numpy", "cryptography", "coincurve", "eth-abi", "httpx", "web3")
HEAVY = {"pandas", "numpy", "matplotlib", "web3", "eth_account", "httpx", "IPython"}
ORDERS = 10_000
ORDERS_FOR_EACH_POOL = 50
READS = 5
PROBE_TIMEOUT_S = 900
GIB = 2**30
MIB = 2**20

Numbers = dict[str, float]


# In a bare interpreter: this script has imported much of the standard library already.
IMPORT = """
import sys, time
begin = time.perf_counter()
import iexec_nb
spent = time.perf_counter() - begin
print(1000 * spent, *{name.partition(".")[0] for name in sys.modules})
"""


def import_package() -> Numbers:
    command = [sys.executable, "-I", "-c", IMPORT]
    spent, *modules = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    return {"milliseconds": float(spent), "heavy": len(HEAVY.intersection(modules))}


def sandbox_start() -> Numbers:
    begin = time.perf_counter()
    from iexec_nb.sandbox.network import Sandbox

    imported = time.perf_counter()
    with Sandbox():
        started = time.perf_counter()
    stopped = time.perf_counter()
    return {"import": imported - begin, "start": started - imported, "stop": stopped - started}


def draw_and_tell(arguments: list[str]) -> None:
    """The app of the benchmark: one table, from its argument."""
    out = Path(os.environ["IEXEC_OUT"])
    (out / "squares.csv").write_text("n,square\n" + "".join(f"{n},{n * n}\n" for n in range(int(arguments[0]))))
    (out / "computed.json").write_text(json.dumps({"deterministic-output-path": str(out / "squares.csv")}))


def app_run() -> Numbers:
    from iexec_nb.protocol.orders import AppOrder
    from iexec_nb.sandbox.network import Sandbox

    with Sandbox() as net:
        seller, buyer = net.client(), net.client(deposit="10 RLC")
        multiaddr = "registry.example/bench:1.0"
        net.image(multiaddr, draw_and_tell)
        app = seller.app.deploy(name="bench", multiaddr=multiaddr).address
        seller.order.publish(seller.order.sign(AppOrder(app=app, appprice=1, volume=10)))
        buyer.result.generate_encryption_keypair()
        buyer.result.push_encryption_key()
        begin = time.perf_counter()
        result = buyer.app.run(app, args="1000", category=0, encrypt_result=True).result()
        rows = len(result["squares.csv"].table())
        spent = time.perf_counter() - begin
    assert rows == 1000
    return {"seconds": spent}


def read_orders() -> Numbers:
    from iexec_nb.sandbox.network import Sandbox

    spent = []
    with Sandbox() as net:
        # The market lists few orders of one owner, so this deploys many pools: by far the longest part.
        net.populate(orders=ORDERS, pools=ORDERS // ORDERS_FOR_EACH_POOL)
        for _ in range(READS):
            reader = net.client()  # a new one each time: nothing is remembered
            reader.orderbook.workerpool(limit=1)  # opens the connections and imports pandas
            begin = time.perf_counter()
            book = reader.orderbook.workerpool()
            spent.append(time.perf_counter() - begin)
            assert len(book) >= ORDERS
            assert book["orderHash"].is_unique
    return {"seconds": statistics.median(spent), "orders": len(book)}


def sign_orders() -> Numbers:
    from dataclasses import replace

    from iexec_nb.protocol.orders import WorkerpoolOrder
    from iexec_nb.protocol.typed_data import Domain, verify_order
    from iexec_nb.services.wallet import PrivateKeySigner

    signer = PrivateKeySigner(os.urandom(32))
    domain = Domain(chainId=421614, verifyingContract="0x" + "b2" * 20)
    first = WorkerpoolOrder(workerpool="0x" + "12" * 20, category=0)
    orders = [replace(first, workerpoolprice=price) for price in range(ORDERS)]
    begin = time.perf_counter()
    signed = []
    for order in orders:
        salted = order.signed("0x" + os.urandom(32).hex(), "0x")
        assert salted.salt is not None
        signed.append(salted.signed(salted.salt, signer.sign_order(salted, domain)))
    middle = time.perf_counter()
    hashes = {verify_order(order, domain, signer.address) for order in signed}
    spent = time.perf_counter() - middle
    assert len(hashes) == ORDERS
    return {"sign": middle - begin, "verify": spent}


HELP = """
import time
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output
shell = InteractiveShell.instance()
shell.run_line_magic("load_ext", "iexec_nb")
spent = []
for _ in range(2):
    with capture_output() as shown:
        begin = time.perf_counter()
        shell.run_line_magic("iexec", "--help")
        spent.append(1000 * (time.perf_counter() - begin))
    assert "orderbook" in shown.stdout
print(*spent)
"""


def show_help() -> Numbers:
    command = [sys.executable, "-c", HELP]
    first, again = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[-2:]
    return {"first": float(first), "again": float(again)}


def encrypt_dataset() -> Numbers:
    from iexec_nb.protocol import encryption

    key, iv = bytes(range(32)), bytes(16)
    with tempfile.TemporaryDirectory(prefix="bench-", dir=TABLE.parent) as folder:
        source, target = Path(folder, "plain"), Path(folder, "encrypted")
        with source.open("wb") as file:
            for _ in range(GIB // MIB):
                file.write(os.urandom(4096) * (MIB // 4096))
        encryption.encrypt_bytes(b"x" * MIB, key, iv)  # loads OpenSSL before the baseline is taken
        os.sync()  # what was written above is not written during the measurement
        before = peak_memory(reset=True)
        begin = time.perf_counter()
        encrypted = encryption.encrypt_file(source, target, key, iv)
        spent = time.perf_counter() - begin
        extra = peak_memory() - before
    assert encrypted.size > GIB
    return {"seconds": spent, "extra": extra / MIB, "rate": GIB / spent / 1e6}


def peak_memory(*, reset: bool = False) -> int:
    """Largest resident size of this process in bytes; with `reset` counted from now on, where the system can."""
    status = Path("/proc/self/status")
    if status.exists():
        if reset:
            Path("/proc/self/clear_refs").write_text("5")
        found = re.search(r"VmHWM:\s+(\d+) kB", status.read_text())
        if found:
            return int(found[1]) * 1024
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def make_test() -> Numbers:
    begin = time.perf_counter()
    finished = subprocess.run(["make", "test"], cwd=ROOT, capture_output=True, text=True, check=False)
    spent = time.perf_counter() - begin
    assert finished.returncode == 0, finished.stdout[-2000:]
    return {"seconds": spent}


@dataclass(frozen=True)
class Bar:
    """One line of the table: a number out of a probe, and what it should be."""

    title: str
    value: str
    unit: str
    limit: float | None


@dataclass(frozen=True)
class Probe:
    """What runs in a process of its own, how often, and the lines that come of it."""

    run: Callable[[], Numbers]
    repeats: int
    bars: tuple[Bar, ...]


PROBES = {
    "import": Probe(
        import_package,
        7,
        (Bar("import iexec_nb", "milliseconds", "ms", 100), Bar("heavy modules that it loads", "heavy", "", 0)),
    ),
    "sandbox": Probe(
        sandbox_start,
        5,
        (
            Bar("sandbox, packages cached: start", "start", "s", 2),
            Bar("sandbox: importing its modules", "import", "s", None),
            Bar("sandbox: stop", "stop", "s", None),
        ),
    ),
    "run": Probe(app_run, 5, (Bar("app.run to the decrypted result", "seconds", "s", 3),)),
    "sign": Probe(
        sign_orders,
        5,
        (
            Bar("signing 10,000 orders on one core, salts included", "sign", "s", 1),
            Bar("verifying 10,000 orders on one core", "verify", "s", 1.2),
        ),
    ),
    "help": Probe(
        show_help,
        7,
        (
            Bar("%iexec --help, the first time in a shell", "first", "ms", 100),
            Bar("%iexec --help, again", "again", "ms", 100),
        ),
    ),
    "encrypt": Probe(
        encrypt_dataset,
        3,
        (
            Bar("1 GiB dataset, disk to disk, with checksum: extra memory", "extra", "MiB", 100),
            Bar("1 GiB dataset, disk to disk, with checksum: time", "seconds", "s", None),
        ),
    ),
    "orders": Probe(
        read_orders, 1, (Bar("10,000 orders, verified, into the DataFrame (median of 5)", "seconds", "s", 3),)
    ),
    "decrypt": Probe(
        results.decrypt_result,
        3,
        (
            Bar("16 MB result: decrypted and checked", "here", "ms", 13.5),
            Bar("16 MB result: the same with the first check of the key", "first", "ms", None),
            Bar("16 MB result: AES, CRC, RSA and one copy by themselves", "limit", "ms", None),
            Bar("16 MB result: npm iexec 9.0.1", "sdk", "ms", None),
        ),
    ),
    "watch": Probe(
        runs.watch_tasks,
        3,
        (
            Bar("watching 1,000 tasks: requests a tick, at most", "requests", "", 2),
            Bar("watching 1,000 tasks: a tick", "milliseconds", "ms", None),
        ),
    ),
    "hand": Probe(
        runs.result_in_hand, 3, (Bar("result in hand after the scheduler says COMPLETED", "seconds", "s", 0.3),)
    ),
    "map": Probe(
        runs.map_parameters,
        1,
        (
            Bar("app.map over 200 parameters, results included", "seconds", "s", 60),
            Bar("app.map over 200 parameters: lost", "lost", "", 0),
            Bar("app.map over 200 parameters: computed at the same moment", "at once", "", None),
        ),
    ),
    "download": Probe(
        runs.download,
        3,
        (
            Bar("1 GiB from a gateway, every block verified: extra memory", "extra", "MiB", 100),
            Bar("1 GiB from a gateway, every block verified: time", "seconds", "s", None),
        ),
    ),
    "test": Probe(make_test, 1, (Bar("make test", "seconds", "s", 300),)),
}


def measure(name: str, repeats: int) -> list[Numbers]:
    found = []
    for _ in range(repeats):
        command = [sys.executable, __file__, "--probe", name]
        try:
            finished = subprocess.run(
                command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=PROBE_TIMEOUT_S
            )
        except subprocess.TimeoutExpired as error:
            raise RuntimeError(f"no end after {PROBE_TIMEOUT_S} s") from error
        if finished.returncode:
            raise RuntimeError(finished.stderr.strip().splitlines()[-1] if finished.stderr.strip() else "no message")
        found.append(json.loads(finished.stdout.splitlines()[-1]))
    return found


def lines(probe: Probe, found: list[Numbers]) -> list[str]:
    rows = []
    for bar in probe.bars:
        values = [numbers[bar.value] for numbers in found]
        middle = statistics.median(values)
        limit = "" if bar.limit is None else f"{bar.limit:g} {bar.unit}".rstrip()
        verdict = "" if bar.limit is None else "yes" if middle <= bar.limit else "**no**"
        spread = f"{min(values):.3g} to {max(values):.3g}" if len(values) > 1 else ""
        rows.append(f"| {bar.title} | {middle:.3g} {bar.unit} | {limit} | {verdict} | {spread} | {len(values)} |")
    return rows


def header() -> list[str]:
    machine = f"{platform.system()} {platform.machine()}, {os.cpu_count()} processors"
    packages = ", ".join(f"{name} {version(name)}" for name in ("iexec-nb", *PACKAGES))
    return [
        f"Python {platform.python_version()} on {machine}; {packages}",
        "",
        "| what | median | at most | within | smallest to largest | runs |",
        "|---|---|---|---|---|---|",
    ]


def main(arguments: Any = None) -> int:
    """Measure what is named (default: everything) and write the table; 1 when something could not be measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help=f"what to measure: {', '.join(PROBES)}; default: everything")
    parser.add_argument("--probe", choices=list(PROBES), help=argparse.SUPPRESS)
    parser.add_argument("--repeats", type=int, help="how often, instead of the default of each")
    options = parser.parse_args(arguments)
    if unknown := set(options.names) - PROBES.keys():
        parser.error(f"nothing to measure is called {', '.join(sorted(unknown))}")
    if options.probe:
        print(json.dumps(PROBES[options.probe].run()))
        return 0
    failed = 0
    TABLE.parent.mkdir(exist_ok=True)
    table = header()
    print("\n".join(table), flush=True)
    for name in options.names or PROBES:
        probe = PROBES[name]
        try:
            rows = lines(probe, measure(name, options.repeats or probe.repeats))
        except RuntimeError as error:
            failed = 1
            rows = [f"| {bar.title} | not measured: {error} | | | | |" for bar in probe.bars[:1]]
        print("\n".join(rows), flush=True)
        table += rows
    TABLE.write_text("\n".join(table) + "\n", encoding="utf-8")
    return failed


if __name__ == "__main__":
    raise SystemExit(main())

"""What the official SDK is known to do wrong is shown on it, beside what we do; docs/differences.md names the tests."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from people import World
from sdk import cli_command

from iexec_nb import PrivateKeySigner
from iexec_nb.commands import parse
from iexec_nb.errors import ConfigurationError, OrderMismatchError, ValidationError
from iexec_nb.protocol.types import Secret
from iexec_nb.services.keystore import create_keystore

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = ROOT / "docs" / "differences.md"
KEY = bytes.fromhex("7a" * 32)
SOMEBODY = "0x" + "5b" * 20


@pytest.fixture
def folder(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that belongs to a project, and the home of somebody with one wallet."""
    world.endpoints.write(tmp_path)
    create_keystore(Secret(KEY), Secret("pw"), tmp_path / "keys")
    for name in ("HOME", "USERPROFILE", "XDG_DATA_HOME", "XDG_RUNTIME_DIR"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def theirs(world: World, *words: str) -> tuple[int, Any]:
    """Return the exit code and the JSON of the official CLI 9.0.1 in the working folder."""
    return said(*cli_command(world.sdk.folder, *words))


def ours(*words: str) -> tuple[int, Any]:
    """Return the exit code and the JSON of our shell command in the working folder."""
    return said(sys.executable, "-m", "iexec_nb", *words)


def said(*command: str) -> tuple[int, Any]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([*command, "--raw"], env=environment, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, json.loads((done.stdout or done.stderr).splitlines()[-1])


def source(world: World, name: str) -> str:
    """Return a file of the official CLI, as one line."""
    path = world.sdk.folder / "node_modules" / "iexec" / "dist" / "esm" / "cli" / "cmd" / name
    return " ".join(path.read_text("utf-8").split())


def test_every_difference_in_behaviour_names_a_test_that_exists() -> None:
    _, _, behaviour = DOCUMENT.read_text("utf-8").partition("\n## Behaviour\n")
    rows = [line for line in behaviour.splitlines() if line.startswith("|")][2:]
    proofs = [re.fullmatch(r"\|.*\| `([\w/]+\.py)::(\w+)` \|", row) for row in rows]
    assert len(rows) >= 10
    assert [row for row, proof in zip(rows, proofs, strict=True) if proof is None] == []
    for proof in filter(None, proofs):
        tree = ast.parse((ROOT / proof[1]).read_text("utf-8"))
        assert proof[2] in {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


@pytest.mark.parity("option.confirms")
def test_the_cli_does_not_wait_for_the_confirmations_that_it_is_told(world: World, folder: Path) -> None:
    world.net.client(signer=PrivateKeySigner(KEY))  # puts ether into the wallet
    chain = world.net.user.chain
    wallet = ["--keystoredir", str(folder / "keys"), "--password", "pw"]
    before = chain.block_number()
    # The sandbox mines a block for a transaction and no block without one: five confirmations never come.
    words = ["wallet", "send-ether", "1", "wei", "--to", SOMEBODY, "--force", "--confirms", "5", *wallet]
    assert theirs(world, *words)[0] == 0
    assert chain.block_number() == before + 1

    answers: list[tuple[int, Any]] = []
    ended = threading.Event()

    def send() -> None:
        answers.append(ours(*words))
        ended.set()

    sender = threading.Thread(target=send)
    sender.start()
    while chain.block_number() == before + 1 and not ended.wait(0.05):
        pass
    assert chain.block_number() == before + 2
    assert not ended.wait(1)  # it is sent and mined, and the command goes on waiting
    world.net.mine(4)
    sender.join(30)
    assert [code for code, _ in answers] == [0]


class Market(BaseHTTPRequestHandler):
    """A market without orders that remembers what it was asked."""

    asked: list[dict[str, list[str]]]

    def do_GET(self) -> None:
        self.asked.append(parse_qs(urlsplit(self.path).query))
        body = b'{"ok":true,"count":0,"orders":[]}'
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@pytest.fixture
def market(folder: Path) -> Iterator[list[dict[str, list[str]]]]:
    """The questions that come to the market of the folder's chain.json."""
    asked: list[dict[str, list[str]]] = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Listening", (Market,), {"asked": asked}))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    content = json.loads((folder / "chain.json").read_text("utf-8"))
    content["chains"]["sandbox"]["iexecGateway"] = f"http://127.0.0.1:{server.server_port}"
    (folder / "chain.json").write_text(json.dumps(content), encoding="utf-8")
    yield asked
    server.shutdown()
    thread.join(10)
    server.server_close()


def test_the_cli_ignores_its_strict_options(world: World, market: list[dict[str, list[str]]]) -> None:
    words = ["orderbook", "workerpool", SOMEBODY, "--app", SOMEBODY, "--app-strict", "--requester-strict"]
    assert theirs(world, *words)[0] == 0
    (question,) = market
    assert (question["isAppStrict"], question["isRequesterStrict"]) == (["false"], ["false"])
    market.clear()
    assert ours(*words)[0] == 0
    (question,) = market
    assert (question["isAppStrict"], question["isRequesterStrict"]) == (["true"], ["true"])


def test_the_cli_accepts_a_workerpool_order_of_which_nothing_remains(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A market lists one only while it has not seen the last deal; what the program does then stands in its text.
    assert "if (workerpoolVolume.gte(new BN(0)))" in source(world, "iexec-app.js")
    buyer = world.net.client()
    app = buyer.app.deploy(name="consumed", multiaddr="docker.io/consumed:1").address
    pool = world.net.workerpool("consumed", price=0, volume=1, idle=True)
    book = list(buyer.market.pages("workerpool", workerpool=pool))
    assert buyer.app.run(app, workerpool=pool, category=0).taskids
    monkeypatch.setattr(buyer.market, "pages", lambda *args, **filters: iter(book))
    monkeypatch.setattr(buyer.market, "orders", lambda *args, **filters: iter(book[0]))
    with pytest.raises(OrderMismatchError, match="workerpoolorder is fully consumed"):
        buyer.app.run(app, workerpool=pool, category=0)


def test_the_cli_calls_an_amount_in_rlc_nrlc(world: World) -> None:
    assert "Do you want to spend ${formatRLC(totalCost)} nRLC" in source(world, "iexec-app.js")
    asked: list[str] = []
    buyer = world.net.client(deposit="1 RLC")
    app = buyer.app.deploy(name="unit", multiaddr="docker.io/unit:1").address

    def refuse(text: str) -> bool:
        asked.append(text)
        return False

    buyer._confirm = refuse
    pool = world.net.workerpool("unit", price="0.25 RLC")
    with pytest.raises(ConfigurationError, match="Operation aborted by user"):
        buyer.app.run(app, workerpool=pool, category=0)
    assert "0.25 RLC" in asked[0]
    assert "nRLC" not in asked[0]


def test_a_partial_failure_is_a_failure_here(world: World, folder: Path) -> None:
    seller = world.net.client()
    app = seller.app.deploy(name="partial", multiaddr="docker.io/partial:1").address
    published = seller.order.publish(seller.order.sign(seller.order.create("app", app=app)))
    words = ["order", "show", "--app", published, "--dataset", "0x" + "12" * 32]
    answers = {}
    for name, (code, answer) in {"theirs": theirs(world, *words), "ours": ours(*words)}.items():
        assert answer["apporder"]["orderHash"] == published
        assert ["datasetorder" in failure for failure in answer["fail"]] == [True]
        answers[name] = code
    assert answers == {"theirs": 0, "ours": 1}


def test_a_password_is_refused_on_a_line_that_is_kept() -> None:
    line = ["wallet", "show", "--show-private-key", "--password", "correct horse"]
    with pytest.raises(ValidationError, match="password is refused on this line") as caught:
        parse(line)
    assert "correct horse" not in str(caught.value)
    assert parse(line, private=True).options.password == Secret("correct horse")

"""Canaries: keys that must appear in no output, traceback, log, file name, or file that others may read."""

from __future__ import annotations

import base64
import contextlib
import io
import logging
import os
import pickle
import stat
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from IPython.core.ultratb import VerboseTB
from stage import NOBODY, Person, deploy_app, person, wallet

import iexec_nb
from iexec_nb.client import IExec
from iexec_nb.errors import IExecError
from iexec_nb.protocol.types import Secret
from iexec_nb.sandbox.network import Sandbox
from iexec_nb.services.wallet import KeystoreSigner, PrivateKeySigner

PACKAGE = str(Path(iexec_nb.__file__).parent)
WALLET_KEY = bytes(range(7, 39))
DATASET_KEY = base64.b64encode(bytes(range(100, 132))).decode()
PASSWORD = "canary-password-f00d"


def forms(raw: bytes) -> set[str]:
    """Return the spellings in which bytes could leak, in pieces long enough to matter."""
    text = {
        raw.hex(),
        raw.hex().upper(),
        base64.b64encode(raw).decode(),
        repr(raw)[2:-1],
        str(int.from_bytes(raw, "big")),
    }
    return {one[4:44] for one in text}


@pytest.fixture(scope="module")
def canaries() -> set[str]:
    return forms(WALLET_KEY) | forms(base64.b64decode(DATASET_KEY)) | {DATASET_KEY[:30], PASSWORD}


@pytest.fixture
def me(net: Sandbox, tmp_path: Path) -> Iterator[Person]:
    owner = net.client(rlc="5 RLC", deposit="5 RLC", signer=PrivateKeySigner(Secret(WALLET_KEY)))
    with person(net, owner, confirm=False, store=tmp_path / "store") as one:
        yield one


def private_pem(me: Person) -> str:
    key = me.client.store.result_key(wallet(me.client))
    return "" if key is None else key.reveal().splitlines()[20]


def rendered(error: BaseException) -> str:
    """Return an exception in every form in which a notebook or a program may show it, from our first frame on."""
    # What a caller wrote down in the open stands in the caller's own frames.
    frame = error.__traceback__
    while frame is not None and not frame.tb_frame.f_code.co_filename.startswith(PACKAGE):
        frame = frame.tb_next
    error = error.with_traceback(frame)
    parts = [str(error), repr(error), *traceback.format_exception(error)]
    parts.append("".join(traceback.TracebackException.from_exception(error, capture_locals=True).format()))
    verbose = VerboseTB(theme_name="nocolor", include_vars=True)
    parts.append(verbose.text(type(error), error, error.__traceback__))
    if isinstance(error, IExecError):
        parts += error._render_traceback_()
        parts.append(repr(error.context))
    return "\n".join(map(str, parts))


def journey(me: Person, net: Sandbox) -> list[Any]:
    """Do everything that touches a key and return every object that came of it."""
    client = me.client
    encrypted = client.dataset.encrypt(b"a,b\n1,2\n", key=Secret(DATASET_KEY))
    place = client.storage.add(encrypted)
    dataset = client.dataset.deploy(name=f"canary {os.urandom(4).hex()}", multiaddr=place, checksum=encrypted.checksum)
    pushed = client.dataset.push_secret(dataset.address)
    pair = client.result.generate_encryption_keypair(force=True)
    key = client.result.push_encryption_key(force_update=True)
    app = deploy_app(net, client)
    run = client.app.run(app, args="x", dataset=dataset.address, category=0, encrypt_result=True)
    result = run.result()
    made = [encrypted, place, dataset, pushed, pair, key, run, run.deal, result, client, client.signer, client.store]
    made += [client.sms, client.market, client.chain, client.ipfs, run.tasks(), run.logs(), client.account.show()]
    return made


def test_nothing_that_a_journey_gives_shows_a_key(
    net: Sandbox, me: Person, canaries: set[str], caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    made = journey(me, net)
    out = capfd.readouterr()
    seen = "\n".join(repr(one) + str(one) + f"{one}" for one in made)
    seen += out.out + out.err + caplog.text + "\n".join(repr(record.__dict__) for record in caplog.records)
    for canary in canaries | {private_pem(me)}:
        assert canary not in seen


def test_no_file_of_the_store_is_open_to_others_or_named_after_a_key(
    net: Sandbox, me: Person, canaries: set[str]
) -> None:
    before = os.umask(0)
    try:
        journey(me, net)
    finally:
        os.umask(before)
    folder = me.client.store.folder
    files = list(folder.rglob("*"))
    assert len([path for path in files if path.is_file()]) >= 3
    for path in files:
        mode = stat.S_IMODE(path.stat().st_mode)
        assert mode == (0o700 if path.is_dir() else 0o600), f"{path.name}: {mode:o}"
        assert not any(canary in path.name for canary in canaries)


def test_no_request_carries_a_key_but_the_one_that_hands_it_over(net: Sandbox, me: Person, canaries: set[str]) -> None:
    bodies: list[tuple[str, str, str]] = []

    def look(request: httpx.Request) -> None:
        text = request.read().decode("latin-1") + str(request.url) + str(request.headers)
        bodies.append((request.method, request.url.path, text))

    me.web.before = look
    journey(me, net)
    with_key = [(method, path) for method, path, text in bodies if any(c in text for c in canaries)]
    assert with_key == [("POST", "/secrets/web3")]
    assert not any(private_pem(me) in text for _, _, text in bodies)


FAILURES: dict[str, Callable[[Person, Path], Any]] = {
    "market refuses": lambda me, _: me.client.order.show("app", "0x" + "1" * 64),
    "sms breaks": lambda me, _: me.client.sms.push_web3(NOBODY, Secret(DATASET_KEY), me.client.require_signer()),
    "sms web2 breaks": lambda me, _: me.client.sms.push_web2(
        "x", Secret(DATASET_KEY), me.client.require_signer(), force_update=False
    ),
    "a dataset key as text": lambda me, _: me.client.dataset.encrypt(b"x", key=DATASET_KEY[:-4]),  # type: ignore[arg-type]
    "a dataset key that is too short": lambda me, _: me.client.dataset.encrypt(b"x", key=Secret(DATASET_KEY[:-4])),
    "a dataset key in bytes": lambda me, _: me.client.dataset.encrypt(
        b"x", key=Secret(b"\xff" + base64.b64decode(DATASET_KEY))
    ),
    "a target that cannot be written": lambda me, path: me.client.dataset.encrypt(
        b"x", key=Secret(DATASET_KEY), target=path / "no" / "x"
    ),
    "a deposit that is too much": lambda me, _: me.client.account.deposit("500 RLC"),
    "a transaction that is lost": lambda me, _: me.client.account.deposit(1),
    "an order that is signed for another": lambda me, _: me.client.order.sign(
        me.client.order.create("request", app=NOBODY, requester=NOBODY, category=0)
    ),
    "a private key that is too long": lambda me, _: PrivateKeySigner(WALLET_KEY.hex() + "00"),
    "a private key that is too short": lambda me, _: PrivateKeySigner(Secret(WALLET_KEY[:-1])),
    "a private key in a wrong place": lambda me, _: IExec(signer=Secret(WALLET_KEY.hex() + "zz")),
    "a result key that does not fit": lambda me, path: me.client.result.decrypt(
        _file(path / "r.zip", b"PK"), beneficiary_key_file=_file(path / "key", DATASET_KEY.encode())
    ),
    "a login that fails": lambda me, _: me.client.order.publish(
        me.client.order._signed(me.client.order.create("app", app=NOBODY)), skip_preflight_check=True
    ),
}


IN_THE_OPEN = ("a dataset key as text", "a private key that is too long")
"""Where the key is a plain argument of the call: our frames have it as theirs; the message does not repeat it."""


def _file(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("name", FAILURES)
def test_no_failure_shows_a_key_in_any_form_of_traceback(
    me: Person, tmp_path: Path, canaries: set[str], name: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    me.web.before = lambda request: httpx.Response(500, content=request.read()) if request.method == "POST" else None

    def swallow(methods: list[str]) -> httpx.Response | None:
        if "eth_sendRawTransaction" in methods:
            return httpx.Response(200, json={"jsonrpc": "2.0", "id": 1, "error": {"code": 1, "message": "underpriced"}})
        return None

    me.node.before = swallow
    with pytest.raises(IExecError) as caught:
        FAILURES[name](me, tmp_path)
    text = rendered(caught.value) + caplog.text
    if name in IN_THE_OPEN:
        text = str(caught.value)
    for canary in canaries:
        assert canary not in text


def test_secrets_are_not_pickled(me: Person) -> None:
    with pytest.raises(TypeError):
        pickle.dumps(Secret(DATASET_KEY))
    with pytest.raises(TypeError):
        pickle.dumps(me.client.signer)


def test_a_keystore_password_shows_nowhere(tmp_path: Path, canaries: set[str], net: Sandbox) -> None:
    import json

    from eth_account import Account

    path = tmp_path / "UTC--2026--x"
    path.write_text(json.dumps(Account.encrypt(WALLET_KEY, PASSWORD, kdf="pbkdf2", iterations=10)))
    signer = KeystoreSigner(path, Secret(PASSWORD))
    client = net.client(signer=signer)
    shown = repr(signer) + repr(client) + repr(vars(signer))
    signer.unlock()
    shown += repr({name: value for name, value in vars(signer).items() if name != "_content"})
    with pytest.raises(IExecError) as caught:
        KeystoreSigner(path, Secret("wrong" + PASSWORD)).unlock()
    shown += rendered(caught.value)
    with pytest.raises(IExecError) as caught:
        KeystoreSigner(path, lambda: "wrong" + PASSWORD).unlock()
    shown += rendered(caught.value)
    for canary in canaries:
        assert canary not in shown


def test_a_confirmation_text_shows_no_key(net: Sandbox, canaries: set[str], tmp_path: Path) -> None:
    owner = net.client(rlc="5 RLC", deposit="5 RLC", signer=PrivateKeySigner(Secret(WALLET_KEY)))
    with person(net, owner, store=tmp_path) as me:
        output = io.StringIO()
        with contextlib.redirect_stdout(output):
            journey(me, net)
        assert len(me.asked) >= 2
        assert output.getvalue() == ""
        for canary in canaries:
            assert canary not in "\n".join(me.asked)


def test_the_environment_of_an_app_holds_nothing_of_ours(
    net: Sandbox, me: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CANARY_OF_THE_NOTEBOOK", "do not tell")

    def tell() -> None:
        import json
        import os

        with open(os.path.join(os.environ["IEXEC_OUT"], "env.txt"), "w") as file:
            file.write(json.dumps(dict(os.environ)))
        with open(os.path.join(os.environ["IEXEC_OUT"], "computed.json"), "w") as file:
            json.dump({"deterministic-output-path": "/iexec_out/env.txt"}, file)

    app = deploy_app(net, me.client, tell)
    text = me.client.app.run(app, category=0).result()["env.txt"].text()
    assert "do not tell" not in text
    assert "IEXEC_TASK_ID" in text
    assert sys.modules["iexec_nb"]

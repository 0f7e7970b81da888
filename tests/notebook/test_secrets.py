"""The whole tour, and cells that fail, with keys that the test knows: they appear nowhere but in files of mode 600."""

from __future__ import annotations

import base64
import json
import os
import sqlite3
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import canaries
import nbformat
import pytest
from eth_account import Account
from kernels import Kernel
from run_demo import NOTEBOOK

from iexec_nb.protocol.encryption import encrypt_bytes
from iexec_nb.protocol.result_encryption import generate_result_keypair
from iexec_nb.services.wallet import PrivateKeySigner

WALLETS = 60
STARTUP = """
import sys
sys.path.insert(0, {folder!r})
import canaries
canaries.install()
del canaries, sys
"""
PREPARE = """
%xmode Verbose
import os
from pathlib import Path
from unittest.mock import patch
patched = patch.object
from iexec_nb import KeystoreSigner, PrivateKeySigner, Secret
from iexec_nb.protocol import encryption
from iexec_nb.services import wallet
keys = Path(os.environ["CANARY_KEYS"])
def boom(*args, **kwargs): raise RuntimeError("a defect deep inside")
def stop(*args, **kwargs): raise KeyboardInterrupt
""".strip()
FAILURES = {
    "a key that is there already": "provider.dataset.push_secret(dataset, key=encrypted)",
    "a wrong key of a result": "researcher.result.fetch(run.taskids[0], key=Secret((keys / 'other').read_text()))",
    "a dataset key that is none": "provider.dataset.encrypt(b'x', key=Secret((keys / 'private').read_text()))",
    "a private key that is none": "PrivateKeySigner(Secret((keys / 'other').read_text()))",
    "a wrong password": "KeystoreSigner(keys / 'keystore', Secret((keys / 'password').read_text() + 'x')).unlock()",
    "a defect while an order is signed": "with patched(wallet, 'sign_digest', boom): provider.order.sign(offer)",
    "a defect while ether is sent": "with patched(wallet, 'sign_transaction', boom): researcher.account.withdraw(1)",
    "a defect while a table is encrypted": "with patched(encryption, 'Cipher', boom): provider.dataset.encrypt(usage)",
    "an interrupt while a file is encrypted": "with patched(os, 'replace', stop): provider.dataset.encrypt(b'y')",
    "an interrupt while a keystore is opened": (
        "from iexec_nb.services import keystore as library\nwith patched(library, 'keccak', stop):\n"
        "    KeystoreSigner(keys / 'keystore', Secret((keys / 'password').read_text())).unlock()"
    ),
    "a push that nobody answers": (
        "provider._urls['sms'] = 'http://127.0.0.1:9'\nprovider.__dict__.pop('sms')\n"
        "provider.dataset.push_secret(dataset, key=encrypted.key)"
    ),
}
SHOWN = "provider, provider.signer, vars(provider.signer), encrypted, encrypted.key, net, provider.store, researcher"


@dataclass(frozen=True)
class Toured:
    """The notebook of the tour, what the failures showed, and the folder with everything that was written."""

    notebook: nbformat.NotebookNode
    failures: dict[str, str]
    folder: Path
    canaries: dict[str, set[str]]

    def found(self, text: str) -> set[str]:
        """Return the names of the keys that a text holds."""
        return {name for name, spellings in self.canaries.items() if any(one in text for one in spellings)}


def _write_keys(folder: Path) -> dict[str, set[str]]:
    folder.mkdir(mode=0o700)
    pair, other = generate_result_keypair(2048), generate_result_keypair(2048)
    keystore = Account.encrypt(canaries.key(-2), canaries.PASSWORD, kdf="pbkdf2", iterations=10)
    texts = {
        "private": pair.private_pem.reveal(), "public": pair.public_pem, "other": other.private_pem.reveal(),
        "password": canaries.PASSWORD, "keystore": json.dumps(keystore),
    }  # fmt: skip
    for name, text in texts.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o600)
    known = {f"wallet {number}": canaries.forms(canaries.key(number)) for number in range(WALLETS)}
    return known | {
        "dataset": canaries.forms(canaries.key(-1)),
        "keystore": canaries.forms(canaries.key(-2)),
        "password": {canaries.PASSWORD, base64.b64encode(canaries.PASSWORD.encode()).decode()},
        "result": set(texts["private"].splitlines()[1:-2]),
        "other": set(texts["other"].splitlines()[1:-2]),
    }


@pytest.fixture(scope="module")
def toured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Toured]:
    folder = tmp_path_factory.mktemp("toured")
    keys = tmp_path_factory.mktemp("keys") / "keys"
    known = _write_keys(keys)
    startup = folder / "ipython" / "profile_default" / "startup"
    startup.mkdir(parents=True)
    (startup / "00.py").write_text(STARTUP.format(folder=str(Path(__file__).parent)))
    (folder / "tmp").mkdir()
    environment = {
        "CANARY_KEYS": str(keys), "CANARY_LOG": str(folder / "log"), "IPYTHONDIR": str(folder / "ipython"),
        "TMPDIR": str(folder / "tmp"), "XDG_DATA_HOME": str(folder / "data"),
    }  # fmt: skip
    *cells, last = [cell.source for cell in nbformat.read(NOTEBOOK, as_version=4).cells if cell.cell_type == "code"]
    with pytest.MonkeyPatch.context() as patch, (folder / "stderr").open("wb") as stderr:
        for name, value in environment.items():
            patch.setenv(name, value)
        with Kernel(history=str(folder / "history.sqlite"), stderr=stderr, stdout=stderr) as kernel:
            for cell in (*cells, PREPARE, SHOWN):
                kernel.run(cell)
            failures = {name: kernel.fail(cell) for name, cell in FAILURES.items()}
            # The sandbox takes its folders with it, so they are looked at while it runs.
            yield Toured(kernel.notebook, failures, folder, known)
            kernel.run(last)


def test_the_kernel_used_the_keys_that_are_looked_for(toured: Toured) -> None:
    addresses = {PrivateKeySigner(canaries.key(number)).address for number in range(WALLETS)}
    shown = json.dumps(toured.notebook)
    assert len([one for one in addresses if one in shown or one.lower() in shown]) >= 3
    stores = toured.folder.glob("tmp/iexec_nb-sandbox-*/stores/*")
    assert {path.name for path in stores if any(path.rglob("*_key"))} <= addresses


def test_no_key_is_in_the_saved_notebook(toured: Toured) -> None:
    assert toured.found(json.dumps(toured.notebook)) == set()
    assert "widgets" not in toured.notebook.metadata


@pytest.mark.parametrize("name", FAILURES)
def test_no_failure_shows_a_key(toured: Toured, name: str) -> None:
    shown = toured.failures[name]
    assert toured.found(shown) == set()
    typed = not ("a defect" in name or "an interrupt" in name)
    assert ("Traceback" in shown) is not typed
    assert ("a defect deep inside" in shown) is ("a defect" in name)


def test_no_key_is_in_the_history(toured: Toured) -> None:
    lines = []
    with sqlite3.connect(toured.folder / "history.sqlite") as history:
        for table in ("history", "output_history"):
            lines += [str(row) for row in history.execute(f"select * from {table}")]
    history.close()
    assert any("load_ext iexec_nb" in line for line in lines)
    assert toured.found("\n".join(lines)) == set()


def test_no_key_is_logged_or_written_to_the_streams_of_the_kernel(toured: Toured) -> None:
    log = (toured.folder / "log").read_text()
    assert "HTTP Request: POST http://sms.sandbox.test" in log
    assert toured.found(log + (toured.folder / "stderr").read_text()) == set()


def test_keys_lie_in_files_of_mode_600_in_the_stores_and_nowhere_else(toured: Toured) -> None:
    holders: dict[str, set[str]] = {}
    for path in _files(toured.folder):
        content = path.read_bytes()
        if names := toured.found(content.decode("latin-1")) | _raw(toured, content):
            holders.setdefault(path.parent.name, set()).update(names)
            assert "stores" in path.parts
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
            assert {stat.S_IMODE(one.stat().st_mode) for one in (path.parent, path.parent.parent)} == {0o700}
        assert toured.found(path.name) == set()
    assert holders == {"datasets": {"dataset"}, "beneficiary": {"result"}}


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink() and os.access(path, os.R_OK)]


def _raw(toured: Toured, content: bytes) -> set[str]:
    numbers = {f"wallet {number}": number for number in range(WALLETS)} | {"dataset": -1, "keystore": -2}
    return {name for name, number in numbers.items() if canaries.key(number) in content}


def test_the_search_finds_a_key_that_is_there(toured: Toured) -> None:
    raw = canaries.key(-1)
    assert toured.found(f"key={raw!r}") == {"dataset"}
    assert toured.found(f"x {base64.b64encode(canaries.key(3)).decode()} y") == {"wallet 3"}
    assert _raw(toured, encrypt_bytes(raw, raw, bytes(16))) == set()
    assert _raw(toured, b"." + raw) == {"dataset"}

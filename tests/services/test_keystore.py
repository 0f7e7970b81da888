"""Wallet files: as the CLI and geth write them, whole or not at all, never over another, found in the CLI's order."""

from __future__ import annotations

import getpass
import json
import os
import sys
import traceback
import types
import warnings
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from eth_account import Account

from iexec_nb.errors import ConfigurationError, DecryptionError, ValidationError
from iexec_nb.protocol.typed_data import address_of
from iexec_nb.protocol.types import Secret
from iexec_nb.services import keystore
from iexec_nb.services.keystore import (
    create_keystore,
    create_wallet_file,
    decrypt_key,
    encrypt_key,
    keystore_dir,
    new_private_key,
    read_wallet_file,
    wallet_entries,
)
from iexec_nb.services.wallet import KeystoreSigner, WalletFileSigner, ask_secret, find_wallet

KEY = "650fbe1e220c2e019202bceec7e0005c66c737111e42a33b700dad4579c0d2fc"
ADDRESS = "0x000a9c787a972F70F0903890E266F41c795C4DcA"
OTHER_KEY = "07" * 32
OTHER = address_of(bytes.fromhex(OTHER_KEY))
PASSWORD = "correct horse"
WHEN = datetime(2026, 1, 31, 10, 5, 7, 42_999, tzinfo=UTC)

# The two vectors of the definition of Web3 secret storage: both hold the same key under the same password.
VECTOR_KEY = "7a28b5ba57c53603b0b07b56bba752f7784bf506fa95edc395f5cf6c7514fe9d"
VECTORS: dict[str, dict[str, Any]] = {
    "pbkdf2": {
        "cipher": "aes-128-ctr",
        "cipherparams": {"iv": "6087dab2f9fdbbfaddc31a909735c1e6"},
        "ciphertext": "5318b4d5bcd28de64ee5559e671353e16f075ecae9f99c7a79a38af5f869aa46",
        "kdf": "pbkdf2",
        "kdfparams": {
            "c": 262144, "dklen": 32, "prf": "hmac-sha256",
            "salt": "ae3cd4e7013836a3df6bd7241b12db061dbe2c6785853cce422d148a624ce0bd",
        },
        "mac": "517ead924a9d0dc3124507e3393d175ce3ff7c1e96529c6c555ce9e51205e9b2",
    },
    "scrypt": {
        "cipher": "aes-128-ctr",
        "cipherparams": {"iv": "83dbcc02d8ccb40e466191a123791e0e"},
        "ciphertext": "d172bf743a674da9cdad04534d56926ef8358534d458fffccd4e6ad2fbde479c",
        "kdf": "scrypt",
        "kdfparams": {
            "dklen": 32, "n": 262144, "r": 1, "p": 8,
            "salt": "ab0c7876052600dd703518d6fc3fe8984592145b591fc8fb5c6d43190334ba19",
        },
        "mac": "2103ac29920d71da29f15d75b4a16dbe95cfd7ff8faea1056c33131d846e3097",
    },
}  # fmt: skip


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No wallet, password or keyring of the person who runs the tests; nobody at the keyboard."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "home"))
    monkeypatch.delenv("IEXEC_NB_PASSWORD", raising=False)
    monkeypatch.setitem(sys.modules, "keyring", None)
    monkeypatch.setattr(getpass, "getpass", _nobody)
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")


@pytest.fixture
def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keystore, "SCRYPT", {"n": 2, "r": 8, "p": 1})


def _nobody(prompt: str = "") -> str:
    raise EOFError


def _saved(folder: Path, key: str = KEY, day: int = 1) -> Path:
    when = datetime(2026, 1, day, tzinfo=UTC)
    return create_keystore(Secret(bytes.fromhex(key)), Secret(PASSWORD), folder, when=when)


def _told(error: BaseException) -> str:
    """What a traceback with local variables shows, of the package's frames: these tests have the key in the open."""
    shown: traceback.TracebackException | None = traceback.TracebackException.from_exception(error, capture_locals=True)
    told = ""
    while shown is not None:
        frames = [frame for frame in shown.stack if frame.filename != __file__]
        assert frames or told
        told += "".join([*traceback.StackSummary.from_list(frames).format(), *shown.format_exception_only()])
        told += "".join(repr(frame.locals) for frame in frames)
        shown = shown.__cause__ or shown.__context__
    return told


def test_a_keystore_file_is_the_one_that_the_cli_writes(tmp_path: Path) -> None:
    path = create_keystore(Secret(bytes.fromhex(KEY)), Secret(PASSWORD), tmp_path / "new" / "keystore", when=WHEN)
    assert path.name == f"UTC--2026-01-31T10-05-07.042000000Z--{ADDRESS[2:]}"
    text = path.read_text()
    body = json.loads(text)
    assert text == json.dumps(body, indent=2)
    assert list(body) == ["address", "id", "version", "Crypto"]
    assert (body["address"], body["version"], body["id"][14]) == (ADDRESS[2:].lower(), 3, "4")
    crypto = body["Crypto"]
    assert list(crypto) == ["cipher", "cipherparams", "ciphertext", "kdf", "kdfparams", "mac"]
    salt = crypto["kdfparams"].pop("salt")
    assert crypto["kdfparams"] == {"n": 131072, "dklen": 32, "p": 1, "r": 8}
    assert (crypto["cipher"], crypto["kdf"], len(salt)) == ("aes-128-ctr", "scrypt", 64)
    crypto["kdfparams"]["salt"] = salt
    assert bytes(Account.decrypt(body, PASSWORD)).hex() == KEY


@pytest.mark.skipif(os.name == "nt", reason="modes are those of POSIX")
def test_only_the_owner_can_read_a_wallet_file(tmp_path: Path, cheap: None) -> None:
    path = _saved(tmp_path / "keystore")
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    plain = create_wallet_file(Secret(bytes.fromhex(KEY)), tmp_path)
    assert plain.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("kdf", VECTORS)
def test_the_vectors_of_the_definition_open(kdf: str) -> None:
    assert decrypt_key({"crypto": VECTORS[kdf]}, "testpassword").hex() == VECTOR_KEY
    assert decrypt_key({"crypto": VECTORS[kdf]}, "testpasswore") == b""


@pytest.mark.parametrize("kdf", ["scrypt", "pbkdf2"])
@pytest.mark.parametrize("password", ["x", "p\u00e4ss \u65e5\u672c", "\ufb01"])
def test_what_eth_account_writes_opens(kdf: str, password: str) -> None:
    content = Account.encrypt(bytes.fromhex(KEY), password, kdf=kdf, iterations=2)
    assert decrypt_key(content, password).hex() == KEY


def test_a_password_is_normalised_as_ethers_does_it(cheap: None) -> None:
    # The ligature, and an accent as a character of its own: one keyboard writes this, another that.
    assert decrypt_key(encrypt_key(bytes.fromhex(KEY), "\ufb01ne cafe\u0301"), "fine caf\u00e9").hex() == KEY
    assert decrypt_key(encrypt_key(bytes.fromhex(KEY), "fine caf\u00e9"), "\ufb01ne cafe\u0301").hex() == KEY


def test_two_files_of_one_key_have_nothing_in_common(cheap: None) -> None:
    one, two = (encrypt_key(bytes.fromhex(KEY), PASSWORD) for _ in range(2))
    assert one["id"] != two["id"]
    assert one["Crypto"]["cipherparams"] != two["Crypto"]["cipherparams"]
    assert one["Crypto"]["kdfparams"]["salt"] != two["Crypto"]["kdfparams"]["salt"]
    assert new_private_key() != new_private_key()


@pytest.mark.parametrize(
    "change",
    [
        {"kdfparams": {"dklen": 32, "n": 2**40, "r": 8, "p": 1, "salt": "00"}},
        {"kdfparams": {"dklen": 32, "n": 2, "r": 2**40, "p": 1, "salt": "00"}},
        {"kdfparams": {"dklen": 32, "n": 2, "r": 8, "p": 10**9, "salt": "00"}},
        {"kdfparams": {"dklen": 32, "n": 2**20, "r": 8, "p": 64, "salt": "00"}},
        {"kdfparams": {"dklen": 32, "n": 3, "r": 8, "p": 1, "salt": "00"}},
        {"kdfparams": {"dklen": 32, "n": -2, "r": 8, "p": 1, "salt": "00"}},
        {"kdfparams": {"dklen": 32, "n": "2", "r": 8, "p": 1, "salt": "00"}},
        {"kdfparams": {"dklen": 10**12, "n": 2, "r": 8, "p": 1, "salt": "00"}},
        {"kdfparams": {"dklen": 32, "n": 2, "r": 8, "p": 1, "salt": "zz"}},
        {"kdf": "pbkdf2", "kdfparams": {"dklen": 32, "c": 10**12, "prf": "hmac-sha256", "salt": "00"}},
        {"kdf": "pbkdf2", "kdfparams": {"dklen": 32, "c": 1, "prf": "md5", "salt": "00"}},
        {"kdf": "none"},
        {"cipher": "aes-128-cbc"},
        {"cipherparams": {"iv": "00"}},
        {"ciphertext": 5},
        {"mac": None},
    ],
)
def test_a_hostile_keystore_is_an_error_and_takes_neither_memory_nor_time(
    change: dict[str, Any], tmp_path: Path, cheap: None
) -> None:
    path = _saved(tmp_path)
    body = json.loads(path.read_text())
    body["Crypto"] |= change
    path.write_text(json.dumps(body))
    with pytest.raises(DecryptionError) as caught:
        KeystoreSigner(path, Secret(PASSWORD)).unlock()
    assert PASSWORD not in _told(caught.value)


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="a device without end")
def test_a_wallet_is_not_read_from_what_does_not_end() -> None:
    for opened in (KeystoreSigner, WalletFileSigner):
        with pytest.raises(ValidationError, match="too large"):
            opened("/dev/zero")


def test_the_name_of_a_file_in_a_prompt_moves_no_cursor(
    tmp_path: Path, cheap: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = _saved(tmp_path)
    evil = path.rename(path.with_name("UTC--\x1b[2J--" + path.name.rpartition("--")[2]))
    prompts: list[str] = []
    monkeypatch.setattr("getpass.getpass", lambda prompt: prompts.append(prompt) or PASSWORD)
    monkeypatch.delenv("IEXEC_NB_PASSWORD", raising=False)
    monkeypatch.setitem(sys.modules, "keyring", None)
    KeystoreSigner(evil).unlock()
    assert all(line.isprintable() for line in prompts[0].split("\n"))


def test_a_file_that_is_there_is_never_replaced(tmp_path: Path, cheap: None) -> None:
    path = _saved(tmp_path)
    before = path.read_bytes()
    with pytest.raises(ConfigurationError, match="is there already") as caught:
        _saved(tmp_path)
    assert path.read_bytes() == before
    assert list(tmp_path.glob("*--*")) == [path]
    assert KEY not in _told(caught.value)


def test_a_write_that_fails_leaves_nothing_behind(tmp_path: Path, cheap: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    for write in (
        lambda: _saved(tmp_path / "k"),
        lambda: create_wallet_file(Secret(bytes.fromhex(KEY)), tmp_path / "k"),
    ):
        with pytest.raises(ConfigurationError, match="cannot be written: No space left") as caught:
            write()
        assert KEY not in _told(caught.value)
    assert list((tmp_path / "k").iterdir()) == []


def test_where_files_cannot_be_linked_one_is_written_all_the_same_and_none_replaced(
    tmp_path: Path, cheap: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unsupported(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(os, "link", unsupported)
    path = _saved(tmp_path)
    before = path.read_bytes()
    assert json.loads(before)["address"] == ADDRESS[2:].lower()
    with pytest.raises(ConfigurationError, match="is there already"):
        _saved(tmp_path)
    assert path.read_bytes() == before


def test_an_open_wallet_file_is_the_one_that_the_cli_writes(tmp_path: Path) -> None:
    path = create_wallet_file(Secret(bytes.fromhex(KEY)), tmp_path)
    body = json.loads(path.read_text())
    assert path.read_text() == json.dumps(body, indent=2)
    assert list(body) == ["privateKey", "publicKey", "address"]
    assert (body["privateKey"], body["address"]) == (f"0x{KEY}", ADDRESS)
    assert body["publicKey"] == "0x04" + Account.from_key(KEY)._key_obj.public_key.to_hex()[2:]
    assert read_wallet_file(path) == (ADDRESS, Secret(bytes.fromhex(KEY)))
    assert WalletFileSigner(path).address == ADDRESS


def test_an_open_wallet_file_is_replaced_only_when_that_is_asked_for(tmp_path: Path) -> None:
    path = create_wallet_file(Secret(bytes.fromhex(KEY)), tmp_path)
    with pytest.raises(ConfigurationError, match="is there already"):
        create_wallet_file(Secret(bytes.fromhex(OTHER_KEY)), tmp_path)
    assert read_wallet_file(path)[0] == ADDRESS
    create_wallet_file(Secret(bytes.fromhex(OTHER_KEY)), tmp_path, replace=True)
    assert read_wallet_file(path)[0] == OTHER


@pytest.mark.parametrize(
    "content",
    [
        "", "[]", "{}", "null", '{"privateKey": 5}', '{"privateKey": "0x12"}', '{"privateKey": "' + "00" * 32 + '"}',
        f'{{"privateKey": "{KEY}"', f'{{"privateKey": "{KEY}", "address": "{OTHER}"}}',
        f'{{"privateKey": "{KEY}", "address": 5}}', f'{{"privateKey": "{KEY}zz"}}',
    ],
)  # fmt: skip
def test_a_broken_wallet_file_is_named_and_its_key_is_not_repeated(content: str, tmp_path: Path) -> None:
    path = tmp_path / "wallet.json"
    path.write_text(content)
    with pytest.raises(ValidationError, match=r"wallet\.json") as caught:
        WalletFileSigner(path)
    assert KEY not in _told(caught.value)


def test_an_open_key_where_a_keystore_is_meant_is_not_shown(tmp_path: Path) -> None:
    path = tmp_path / "UTC--x--y"
    path.write_text(f'{{"privateKey": "{KEY}"}}')
    with pytest.raises(ValidationError, match="not a keystore file") as caught:
        KeystoreSigner(path)
    assert KEY not in _told(caught.value)


def test_the_keystore_folder_is_global_local_or_a_path(tmp_path: Path) -> None:
    assert keystore_dir() == keystore_dir("global") == Path.home() / ".ethereum" / "keystore" or sys.platform != "linux"
    assert keystore_dir("local") == Path.cwd()
    assert keystore_dir("keys") == Path.cwd() / "keys"
    assert keystore_dir("local", tmp_path) == tmp_path
    assert keystore_dir(tmp_path / "k") == tmp_path / "k"
    assert keystore_dir("~/keys") == Path.home() / "keys"
    for wrong in (5, "", "a\0b", b"x", "~nobody-of-this-name/x"):
        with pytest.raises(ValidationError, match="not a valid keystoredir"):
            keystore_dir(wrong)  # type: ignore[arg-type]


def test_no_wallet_anywhere_is_none_unless_one_was_asked_for(tmp_path: Path) -> None:
    assert find_wallet() is None
    assert find_wallet(keystoredir="global") is None
    with pytest.raises(ConfigurationError, match="Missing option --wallet-address"):
        find_wallet(keystoredir=str(tmp_path))
    with pytest.raises(ConfigurationError, match="Missing keystore directory"):
        find_wallet(wallet_address=ADDRESS)
    with pytest.raises(ConfigurationError, match="there is no keystore file"):
        find_wallet(wallet_file="UTC--none")
    with pytest.raises(ConfigurationError, match="there is no wallet file"):
        find_wallet(wallet_file="wallet.json")


def test_a_wallet_is_found_in_the_order_of_the_cli(tmp_path: Path, cheap: None) -> None:
    folder = tmp_path / "keys"
    old, new = _saved(folder, day=1), _saved(folder, OTHER_KEY, day=2)
    older = _saved(folder, OTHER_KEY, day=1)
    _saved(keystore_dir(), day=9)
    assert find_wallet(keystoredir=folder).path == new  # type: ignore[union-attr]
    plain = create_wallet_file(Secret(bytes.fromhex(KEY)), Path.cwd())
    assert find_wallet(keystoredir=folder).path == plain  # type: ignore[union-attr]
    for spelling in (ADDRESS, ADDRESS.lower(), ADDRESS[2:].upper()):
        assert find_wallet(keystoredir=folder, wallet_address=spelling).path == old  # type: ignore[union-attr]
    assert find_wallet(keystoredir=folder, wallet_address=OTHER).path == new  # type: ignore[union-attr]
    by_name = find_wallet(keystoredir=folder, wallet_file=older.name, wallet_address=ADDRESS)
    assert by_name is not None
    assert (by_name.path, by_name.address) == (older, OTHER)
    assert find_wallet(wallet_file=str(older)).path == older  # type: ignore[union-attr]
    with pytest.raises(ConfigurationError, match="No wallet file matching address 0x1212"):
        find_wallet(keystoredir=folder, wallet_address="0x" + "12" * 20)
    with pytest.raises(ValidationError, match="not a valid ethereum address"):
        find_wallet(keystoredir=folder, wallet_address="nonsense")


def test_the_address_of_a_found_wallet_needs_no_password_and_a_broken_file_is_named(
    tmp_path: Path, cheap: None
) -> None:
    path = _saved(tmp_path)
    assert find_wallet(keystoredir=tmp_path).address == ADDRESS  # type: ignore[union-attr]
    path.write_text(path.read_text()[:50])
    with pytest.raises(ValidationError, match=path.name[:20]):
        find_wallet(keystoredir=tmp_path)


def test_a_file_that_a_crash_left_behind_is_not_taken_for_a_wallet(tmp_path: Path, cheap: None) -> None:
    path = _saved(tmp_path)
    (tmp_path / ".wallet-leftover").write_text("{}")
    (tmp_path / "UTC--9999-notes").write_text("{}")
    assert find_wallet(keystoredir=tmp_path).path == path  # type: ignore[union-attr]


def test_the_wallets_of_a_folder_are_listed_first_what_would_be_taken(tmp_path: Path, cheap: None) -> None:
    folder = tmp_path / "keys"
    assert wallet_entries(folder) == ()
    _saved(folder, day=3), _saved(folder, OTHER_KEY, day=7)
    (folder / "UTC--someday--nothing").write_text("")
    (folder / f"UTC--someday--{OTHER[2:].lower()}").write_text("")
    create_wallet_file(Secret(bytes.fromhex(KEY)), Path.cwd())
    entries = wallet_entries(folder)
    assert [(one.address, one.kind, one.date and one.date.day) for one in entries] == [
        (ADDRESS, "unencrypted", None), (OTHER, "keystore", None), (OTHER, "keystore", 7), (ADDRESS, "keystore", 3),
    ]  # fmt: skip
    assert entries[2].date == datetime(2026, 1, 7, tzinfo=UTC)
    found = find_wallet(keystoredir=folder)
    assert found is not None
    assert found.path == entries[0].path


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    prompts: list[str] = []

    def typed(prompt: str = "") -> str:
        prompts.append(prompt)
        return PASSWORD

    monkeypatch.setattr(getpass, "getpass", typed)
    return prompts


def _keyring(monkeypatch: pytest.MonkeyPatch, get: Callable[[str, str], str | None]) -> None:
    module = types.ModuleType("keyring")
    module.get_password = get  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "keyring", module)


def test_a_password_comes_from_the_caller_the_environment_the_keyring_or_the_keyboard(
    tmp_path: Path, cheap: None, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = _saved(tmp_path)
    looked: list[tuple[str, str]] = []

    def get(service: str, user: str) -> str | None:
        looked.append((service, user))
        return PASSWORD if len(looked) == 1 else None

    _keyring(monkeypatch, get)
    find_wallet(keystoredir=tmp_path, password=Secret(PASSWORD)).unlock()  # type: ignore[union-attr]
    monkeypatch.setenv("IEXEC_NB_PASSWORD", PASSWORD)
    KeystoreSigner(path).unlock()
    assert (looked, asked) == ([], [])
    monkeypatch.setenv("IEXEC_NB_PASSWORD", "")
    KeystoreSigner(path).unlock()
    assert (looked, asked) == ([("iexec_nb", ADDRESS)], [])
    KeystoreSigner(path).unlock()
    assert asked == [f"Using wallet {path.name}\nPlease enter your password to unlock your wallet: "]


def test_a_keyring_that_fails_is_as_good_as_none(
    tmp_path: Path, cheap: None, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def locked(service: str, user: str) -> str:
        raise RuntimeError("the keyring is locked")

    _keyring(monkeypatch, locked)
    KeystoreSigner(_saved(tmp_path)).unlock()
    assert len(asked) == 1


def test_a_wrong_password_says_where_it_came_from_and_not_what_it_is(
    tmp_path: Path, cheap: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = _saved(tmp_path)
    monkeypatch.setenv("IEXEC_NB_PASSWORD", "battery staple")
    with pytest.raises(DecryptionError, match="does not open") as caught:
        KeystoreSigner(path).unlock()
    assert caught.value.context["password from"] == "the environment's IEXEC_NB_PASSWORD"
    assert "battery staple" not in _told(caught.value)


def test_where_nobody_can_be_asked_the_way_out_is_named(tmp_path: Path, cheap: None) -> None:
    with pytest.raises(ConfigurationError, match="nobody to ask") as caught:
        KeystoreSigner(_saved(tmp_path)).unlock()
    assert "IEXEC_NB_PASSWORD" in str(caught.value.hint)


def test_what_would_be_seen_while_it_is_typed_is_not_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def seen(prompt: str = "") -> str:
        warnings.warn("Can not control echo on the terminal.", getpass.GetPassWarning, stacklevel=2)
        return PASSWORD

    monkeypatch.setattr(getpass, "getpass", seen)
    with pytest.raises(ConfigurationError, match="nobody to ask"):
        ask_secret("Password: ")


def test_what_was_typed_is_a_secret(asked: list[str]) -> None:
    typed = ask_secret("Paste your secret: ")
    assert (typed, repr(typed), asked) == (Secret(PASSWORD), "****", ["Paste your secret: "])

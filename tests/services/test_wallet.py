from __future__ import annotations

import json
import pickle
import sys
import traceback
from pathlib import Path

import pytest
from eth_account import Account
from eth_account.messages import encode_defunct, encode_typed_data
from hypothesis import given, settings
from hypothesis import strategies as st

from iexec_nb.errors import ConfigurationError, DecryptionError, ValidationError, Web3ProviderSignMessageError
from iexec_nb.protocol.orders import AppOrder, RequestOrder
from iexec_nb.protocol.typed_data import Domain, challenge_typed_data, typed_data
from iexec_nb.protocol.types import Secret
from iexec_nb.services.keystore import find_keystore, keystore_dir
from iexec_nb.services.wallet import KeystoreSigner, PrivateKeySigner, Signer

KEY = "0x650fbe1e220c2e019202bceec7e0005c66c737111e42a33b700dad4579c0d2fc"
ADDRESS = "0x000a9c787a972F70F0903890E266F41c795C4DcA"
PASSWORD = "whatever"
DOMAIN = Domain(chainId=133, verifyingContract="0x3eca1B216A7DF1C7689aEb259fFB83ADFB894E7f")


@pytest.fixture(scope="module")
def keystore(tmp_path_factory: pytest.TempPathFactory) -> Path:
    content = Account.encrypt(bytes.fromhex(KEY[2:]), PASSWORD, iterations=2)
    # The iExec CLI writes the member with a capital letter.
    content["Crypto"] = content.pop("crypto")
    path = tmp_path_factory.mktemp("keystore") / f"UTC--2026-01-31T10-00-00.000000000Z--{ADDRESS[2:]}"
    path.write_text(json.dumps(content))
    return path


@pytest.mark.parametrize("key", [KEY, KEY[2:], KEY.upper().replace("0X", "0x"), bytes.fromhex(KEY[2:]), Secret(KEY)])
def test_a_private_key_is_taken_in_every_spelling(key: Secret | str | bytes) -> None:
    assert PrivateKeySigner(key).address == ADDRESS


@pytest.mark.parametrize(
    "key", ["", "0x12", "z" * 64, b"\1" * 31, "0x" + "00" * 32, "0x" + "ff" * 32, Secret("x" * 32), 5, None]
)
def test_what_is_not_a_private_key_is_refused_without_being_repeated(key: str) -> None:
    with pytest.raises(ValidationError) as caught:
        PrivateKeySigner(key)
    if isinstance(key, str) and key:
        assert key not in str(caught.value)


def test_a_signer_shows_its_address_and_never_its_key() -> None:
    signer = PrivateKeySigner(KEY)
    assert repr(signer) == f"PrivateKeySigner({ADDRESS})"
    assert KEY[2:] not in repr(vars(signer)) + str(vars(signer))
    with pytest.raises(TypeError):
        pickle.dumps(signer)


def test_both_signers_are_signers(keystore: Path) -> None:
    assert isinstance(PrivateKeySigner(KEY), Signer)
    assert isinstance(KeystoreSigner(keystore, PASSWORD), Signer)


@pytest.mark.parametrize(
    "order",
    [
        AppOrder(app="0x" + "11" * 20, salt="0x" + "aa" * 32),
        RequestOrder(
            app="0x" + "11" * 20, requester=ADDRESS, category=0, params='{"a":"h\u00e9"}', salt="0x" + "aa" * 32
        ),
    ],
)
def test_an_order_is_signed_as_any_wallet_signs_typed_data(order: AppOrder | RequestOrder) -> None:
    message = encode_typed_data(full_message=typed_data(order, DOMAIN))
    expected = Account.sign_message(message, KEY).signature.to_0x_hex()
    assert PrivateKeySigner(KEY).sign_order(order, DOMAIN) == expected


def test_a_challenge_is_signed_as_any_wallet_signs_typed_data() -> None:
    message = encode_typed_data(full_message=challenge_typed_data("login", DOMAIN))
    expected = Account.sign_message(message, KEY).signature.to_0x_hex()
    assert PrivateKeySigner(KEY).sign_challenge(DOMAIN, "login") == expected


@pytest.mark.parametrize("data", [b"", b"hello", bytes(32), "h\u00e9".encode() * 99])
def test_a_message_is_signed_as_personal_sign_does(data: bytes) -> None:
    expected = Account.sign_message(encode_defunct(data), KEY).signature.to_0x_hex()
    assert PrivateKeySigner(KEY).sign_message(data) == expected


@pytest.mark.parametrize("fees", [{"gasPrice": 7}, {"maxFeePerGas": 7, "maxPriorityFeePerGas": 1}])
def test_a_transaction_is_signed_by_its_sender(fees: dict[str, int]) -> None:
    body = {"chainId": 1, "nonce": 0, "to": ADDRESS, "value": 0, "gas": 21000, "data": b"\1"}
    raw = PrivateKeySigner(KEY).sign_transaction({**body, **fees})
    assert Account.recover_transaction(raw) == ADDRESS


@settings(max_examples=150, deadline=None)
@given(
    nonce=st.integers(0, 2**64 - 2),
    value=st.integers(0, 2**256 - 1),
    gas=st.integers(21000, 2**64),
    price=st.integers(0, 2**128),
    tip=st.integers(0, 2**64) | st.none(),
    data=st.binary(max_size=300),
    chain_id=st.integers(1, 2**40),
)
def test_a_raw_transaction_equals_the_one_of_eth_account(
    nonce: int, value: int, gas: int, price: int, tip: int | None, data: bytes, chain_id: int
) -> None:
    fees = {"gasPrice": price} if tip is None else {"maxFeePerGas": price, "maxPriorityFeePerGas": tip}
    body = {"chainId": chain_id, "nonce": nonce, "to": ADDRESS, "value": value, "gas": gas, "data": data, **fees}
    assert PrivateKeySigner(KEY).sign_transaction(body) == bytes(Account.sign_transaction(body, KEY).raw_transaction)


def test_a_malformed_transaction_is_not_signed() -> None:
    with pytest.raises(Web3ProviderSignMessageError, match="cannot be signed") as caught:
        PrivateKeySigner(KEY).sign_transaction({"chainId": 1})
    assert KEY[2:] not in str(caught.value)


def test_a_keystore_is_opened_at_the_first_signature_and_once(keystore: Path) -> None:
    asked = []

    def ask() -> str:
        asked.append(1)
        return PASSWORD

    signer = KeystoreSigner(keystore, ask)
    assert signer.address == ADDRESS
    assert asked == []
    assert signer.sign_message(b"x") == PrivateKeySigner(KEY).sign_message(b"x")
    signer.sign_message(b"y")
    assert asked == [1]


def test_a_wrong_password_is_an_error_that_does_not_repeat_it(keystore: Path) -> None:
    signer = KeystoreSigner(keystore, Secret("correct horse"))
    with pytest.raises(DecryptionError, match="does not open") as caught:
        signer.unlock()
    assert "correct horse" not in "".join(traceback.format_exception(caught.value)) + repr(signer) + repr(vars(signer))


def test_a_keystore_whose_key_is_of_another_address_is_refused(keystore: Path, tmp_path: Path) -> None:
    content = json.loads(keystore.read_text()) | {"address": "11" * 20}
    path = tmp_path / "other.json"
    path.write_text(json.dumps(content))
    with pytest.raises(DecryptionError, match="another address"):
        KeystoreSigner(path, PASSWORD).unlock()


@pytest.mark.parametrize("text", ["", "[]", "null", "{}", '{"version":3}', '{"version":1,"crypto":{}}', "[" * 99999])
def test_a_file_that_is_not_a_keystore_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "wallet.json"
    path.write_text(text)
    with pytest.raises(ValidationError, match=r"wallet\.json is not a keystore"):
        KeystoreSigner(path, PASSWORD)


def test_a_damaged_keystore_is_an_error_at_its_opening(tmp_path: Path) -> None:
    path = tmp_path / "wallet.json"
    path.write_text(json.dumps({"version": 3, "address": ADDRESS, "crypto": {"cipher": 5}}))
    with pytest.raises(DecryptionError):
        KeystoreSigner(path, PASSWORD).unlock()


def test_a_missing_keystore_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="there is no keystore file"):
        KeystoreSigner(tmp_path / "none", PASSWORD)


def test_the_newest_keystore_of_an_address_is_found_whatever_its_case(tmp_path: Path) -> None:
    other = "11" * 20
    for name in (
        f"UTC--2025-01-01T00-00-00.000Z--{ADDRESS[2:]}",
        f"UTC--2026-01-01T00-00-00.000Z--{ADDRESS[2:].lower()}",
        f"UTC--2027-01-01T00-00-00.000Z--{other}",
        "notes.txt",
    ):
        (tmp_path / name).write_text("{}")
    assert find_keystore(ADDRESS.lower()[2:], tmp_path).name.startswith("UTC--2026")
    assert find_keystore(None, tmp_path).name.startswith("UTC--2027")
    with pytest.raises(ConfigurationError, match="No wallet file matching address"):
        find_keystore("0x" + "22" * 20, tmp_path)
    with pytest.raises(ConfigurationError, match="Missing keystore directory"):
        find_keystore(None, tmp_path / "none")


@pytest.mark.parametrize(
    ("system", "tail"),
    [
        ("linux", (".ethereum", "keystore")),
        ("darwin", ("Library", "Ethereum", "keystore")),
        ("win32", ("AppData", "Roaming", "Ethereum", "keystore")),
    ],
)
def test_the_keystore_folder_is_the_one_of_the_iexec_cli(
    system: str, tail: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", system)
    assert keystore_dir() == Path.home().joinpath(*tail)

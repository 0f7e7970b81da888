"""Parsing of addresses, hashes and numbers, and the silence of secrets."""

from __future__ import annotations

import copy
import pickle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iexec_nb.errors import ValidationError
from iexec_nb.protocol import types

RLC = "0x607F4C5BB672230e8672085532f7e901544a7375"


@pytest.mark.parametrize("value", [RLC, RLC.lower(), "0X" + RLC[2:], RLC[2:], RLC[2:].upper(), bytes.fromhex(RLC[2:])])
def test_an_address_comes_in_any_case_with_or_without_0x(value: object) -> None:
    assert types.address(value) == RLC


@pytest.mark.parametrize(
    "value", ["", "0x", RLC[:-1], RLC + "0", " " + RLC, RLC + "\n", "0x" + "g" * 40, b"\0" * 19, 0, None, ["x"]]
)
def test_what_is_no_address_is_refused(value: object) -> None:
    with pytest.raises(ValidationError, match="is not a valid ethereum address") as caught:
        types.address(value, "owner")
    assert caught.value.context["argument"] == "owner"


def test_an_ens_name_is_refused_with_what_to_give_instead() -> None:
    with pytest.raises(ValidationError, match="is not a valid ethereum address") as caught:
        types.address("pool.iexec.eth")
    assert "ENS" in (caught.value.hint or "")


@settings(max_examples=50, derandomize=True, deadline=None)
@given(st.binary(min_size=20, max_size=20))
def test_checksum_text_is_stable_and_agrees_with_eth_utils(raw: bytes) -> None:
    from eth_utils.address import to_checksum_address

    text = types.to_checksum(raw)
    assert text == to_checksum_address(raw) == types.address(text) == types.address(text.lower())
    assert types.address_from_uint(int.from_bytes(raw, "big")) == text


def test_a_token_id_that_is_no_address_is_refused() -> None:
    for number in (-1, 2**160):
        with pytest.raises(ValidationError, match="token id"):
            types.address_from_uint(number)


def test_a_hash_is_lower_case_text_of_66_characters() -> None:
    assert types.bytes32("0x" + "AB" * 32) == "0x" + "ab" * 32 == types.bytes32(b"\xab" * 32)
    for bad in ("ab" * 32, "0x" + "ab" * 31, "0x" + "ab" * 33, "0x" + "zz" * 32, b"\0" * 31, 5, None):
        with pytest.raises(ValidationError, match="is not a bytes32 hexstring"):
            types.bytes32(bad)


def test_whole_numbers_come_as_int_or_digits() -> None:
    assert types.uint256(48) == 48
    assert types.uint256("9007199254740992") == 9007199254740992
    assert types.uint256("00009007199254740991") == 9007199254740991
    assert types.uint256(2**256 - 1) == 2**256 - 1 == types.uint256(str(2**256 - 1))


@pytest.mark.parametrize(
    "value",
    ["0x01", -1, "-1", "0xfg", "", " 1", "1 ", "1.0", "1e3", "1_000", "１", 1.0, True, None, 2**256, "9" * 5000],
)
def test_what_is_no_whole_number_is_refused(value: object) -> None:
    with pytest.raises(ValidationError, match="is not a valid uint256"):
        types.uint256(value)


def test_hex_text_becomes_bytes() -> None:
    assert types.hexbytes("0x") == b"" == types.hexbytes(b"")
    assert types.hexbytes("0xAbcd") == b"\xab\xcd" == types.hexbytes(bytearray(b"\xab\xcd"))
    for bad in ("abcd", "0xabc", "0xgg", 1, None):
        with pytest.raises(ValidationError, match="is not a hexstring"):
            types.hexbytes(bad)


def test_a_message_shows_no_control_characters_and_has_an_end() -> None:
    assert (
        types.shown("a\nb\x1b[31m\ud800")
        == "a\N{REPLACEMENT CHARACTER}b\N{REPLACEMENT CHARACTER}[31m\N{REPLACEMENT CHARACTER}"
    )
    assert types.shown("x" * 1000) == "x" * 80 + "… (1000 characters)"
    assert types.shown(None) == "None"


def test_keccak_is_the_ethereum_variant() -> None:
    assert types.keccak(b"").hex() == "c5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470"


def test_a_secret_shows_itself_nowhere() -> None:
    secret = types.Secret("correct horse")
    shown = [repr(secret), str(secret), f"{secret}", f"{secret!r:>20}", f"{[secret]}", str({"key": secret})]
    assert all("horse" not in text and "****" in text for text in shown)
    assert (secret.reveal(), secret.reveal_bytes()) == ("correct horse", b"correct horse")
    assert types.Secret(b"\x01").reveal_bytes() == b"\x01"
    assert secret == types.Secret("correct horse")
    assert secret != "correct horse"
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(secret)
    with pytest.raises(TypeError, match="not pickled"):
        copy.copy(secret)
    with pytest.raises(ValidationError) as caught:
        types.Secret(12345)  # type: ignore[arg-type]
    assert "12345" not in str(caught.value)


def test_a_prefix_in_capitals_and_leading_zeros_do_not_count() -> None:
    assert types.bytes32("0X" + "AB" * 32) == "0x" + "ab" * 32
    assert types.uint256("0" * 5000 + "7") == 7
    assert types.uint256("000") == 0

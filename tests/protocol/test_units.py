"""Amounts of RLC and ether: exact, with units, and never a float."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iexec_nb.errors import ValidationError
from iexec_nb.protocol import units

amounts = st.integers(min_value=0, max_value=2**256 - 1)


@pytest.mark.parametrize(
    ("given_", "nrlc"),
    [
        (48, 48),
        ("48", 48),
        ("00009007199254740991", 9007199254740991),
        ("0048 RLC", 48000000000),
        ("00.48 RLC", 480000000),
        ([48, "RLC"], 48000000000),
        (("48", "nRLC"), 48),
        ("0 nRLC", 0),
        ("0.000000001 RLC", 1),
        (".5 RLC", 500000000),
        ("0.5000000000000 RLC", 500000000),
    ],
)
def test_nrlc_amounts_are_the_sdks(given_: object, nrlc: int) -> None:
    assert units.nrlc(given_) == nrlc


@pytest.mark.parametrize(
    "value",
    ["48 rlc", "0.48", "0x01", -1, ["1", "RLC", "RLC"], "4.2 nRLC", "4.2 foo", "0.0000000001 RLC", "1,5 RLC", "1e3",
     True, None, "", " ", "RLC", "1  RLC", "1 RLC x", "-1 RLC", "１ RLC", 2**256, f"{2**256} RLC", "9" * 5000],
)  # fmt: skip
def test_what_is_no_amount_is_refused_before_it_costs_money(value: object) -> None:
    with pytest.raises(ValidationError, match="is not a valid amount"):
        units.nrlc(value)


def test_the_message_prints_an_array_as_the_sdk_does() -> None:
    with pytest.raises(ValidationError) as caught:
        units.nrlc(["1", "RLC", "RLC"])
    assert caught.value.message == "1 RLC RLC is not a valid amount"


@pytest.mark.parametrize("value", [0.48, 1.0, 1e-7, Decimal("0.1"), float("nan"), float("inf")])
def test_a_float_is_refused_with_the_right_spellings(value: object) -> None:
    with pytest.raises(ValidationError, match="is not a valid amount") as caught:
        units.nrlc(value, "appprice")
    assert "RLC" in (caught.value.hint or "")
    assert "appprice" in (caught.value.hint or "")


def test_the_hint_for_a_float_can_be_typed() -> None:
    with pytest.raises(ValidationError) as caught:
        units.nrlc(1e-7)
    assert '"0.0000001 RLC"' in (caught.value.hint or "")
    assert units.nrlc("0.0000001 RLC") == 100


@pytest.mark.parametrize(
    ("unit", "places"),
    [("kwei", 3), ("mwei", 6), ("gwei", 9), ("szabo", 12), ("finney", 15), ("ether", 18), ("eth", 18), ("wei", 0)],
)
def test_wei_amounts_are_the_sdks(unit: str, places: int) -> None:
    assert units.wei(f"0048 {unit}") == 48 * 10**places
    assert units.wei((48, unit)) == 48 * 10**places


def test_parsing_with_a_default_unit_is_the_sdks() -> None:
    assert units.parse_eth("4.2") == units.parse_eth("4.2 ether") == 4200000000000000000
    assert units.parse_eth(42) == 42000000000000000000
    assert units.parse_eth("4.2 gwei") == units.parse_eth("4.2", "gwei") == 4200000000
    assert units.parse_rlc("4.2") == units.parse_rlc("4.2 RLC") == 4200000000
    assert units.parse_rlc(42) == 42000000000
    assert units.parse_rlc("42 nRLC") == units.parse_rlc("42", "nRLC") == 42
    for bad in ("4.2 nRLC", "4.2 foo"):
        with pytest.raises(ValidationError):
            units.parse_rlc(bad)
    for bad in ("4.2 wei", "4.2 foo"):
        with pytest.raises(ValidationError):
            units.parse_eth(bad)
    with pytest.raises(ValidationError, match="is not a valid amount"):
        units.parse_rlc("1", "rlc")


def test_a_wrong_case_of_a_unit_is_named() -> None:
    with pytest.raises(ValidationError) as caught:
        units.nrlc("48 rlc")
    assert caught.value.hint == "give amount as an amount in RLC (units are case-sensitive)"


def test_formatting_prints_the_unit_and_every_digit() -> None:
    assert units.format_rlc(42) == "0.000000042 RLC"
    assert units.format_rlc(4200000000) == "4.2 RLC"
    assert units.format_rlc(4200000000000000000) == "4200000000 RLC"
    assert units.format_rlc(0) == "0 RLC"
    assert units.format_rlc(-500000000) == "-0.5 RLC"
    assert units.format_ether(4200000000000000000) == "4.2 ether"
    assert units.format_ether(42) == "0.000000000000000042 ether"


@settings(max_examples=100, derandomize=True, deadline=None)
@given(amounts)
def test_what_is_formatted_reads_back_to_the_same_amount(amount: int) -> None:
    assert units.nrlc(units.format_rlc(amount)) == amount
    assert units.wei(units.format_ether(amount)) == amount
    assert units.nrlc(str(amount)) == amount == units.wei(f"{amount} wei")


@pytest.mark.parametrize(
    "value", [(20,), [20, ""], ("20", None), (20, "nRLC"), "0" * 5000 + "20", "0" * 200 + "20 nRLC"]
)
def test_a_unit_may_be_missing_and_leading_zeros_do_not_count(value: object) -> None:
    assert units.nrlc(value) == 20


@pytest.mark.parametrize("value", [0.5, None, "1.5", "0x10", "+1", "1\n", "", [], True])
def test_what_is_no_whole_number_is_not_formatted(value: object) -> None:
    with pytest.raises(ValidationError, match="is not a number of nRLC"):
        units.format_rlc(value)  # type: ignore[arg-type]


def test_numbers_of_a_dataframe_and_digits_are_formatted() -> None:
    numbers = pytest.importorskip("numpy")
    assert units.format_rlc(numbers.int64(1_500_000_000)) == "1.5 RLC"
    assert units.format_rlc("1500000000") == "1.5 RLC"
    assert units.format_ether("-15") == "-0.000000000000000015 ether"


@pytest.mark.parametrize("value", [(0.5, "RLC"), [0.5, "RLC"], (1.0,), (float("nan"), "nRLC"), (Decimal("0.5"), "RLC")])
def test_a_float_in_a_pair_is_refused_like_any_other(value: object) -> None:
    with pytest.raises(ValidationError) as caught:
        units.nrlc(value)
    assert "fractions without a unit are refused" in str(caught.value)

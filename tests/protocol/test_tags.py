"""Tags: the vectors of the SDK's unit tests and the rules about combinations."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iexec_nb.errors import ValidationError
from iexec_nb.protocol import tags

numbers = st.integers(min_value=0, max_value=2**256 - 1)
TDX_ONLY = "'tee' tag must be used with a tee framework ('tdx')"


def low(digits: str) -> str:
    return "0x" + digits.rjust(64, "0")


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["tee"], "0001"),
        (["scone"], "0002"),
        (["gramine"], "0004"),
        (["tdx"], "0008"),
        (["gpu"], "0100"),
        (["gpu", "tee"], "0101"),
        (["gpu", "tee", "gpu", "tee"], "0101"),
        ([""], "0000"),
        ([], "0000"),
    ],
)
def test_names_encode_as_in_the_sdk(names: list[str], expected: str) -> None:
    assert tags.encode(names) == low(expected)


def test_an_unknown_name_is_refused_with_a_suggestion() -> None:
    with pytest.raises(ValidationError, match=r"Unknown tag foo"):
        tags.encode(["tee", "foo"])
    with pytest.raises(ValidationError, match=r"tdxx") as caught:
        tags.encode(["tdxx"])
    assert caught.value.hint == "did you mean 'tdx'?"


def test_tags_decode_lowest_bit_first() -> None:
    assert tags.decode(low("0003")) == ("tee", "scone")
    assert tags.decode(low("0009")) == ("tee", "tdx")
    assert tags.decode(low("0")) == ()
    with pytest.raises(ValidationError, match="Unknown bit 4 in tag"):
        tags.decode(low("0010"))
    assert tags.describe(low("0111")) == ("tee", "bit 4", "gpu")


def test_tags_add_up_bit_by_bit() -> None:
    assert tags.union(low("0100"), low("0001"), low("0001")) == low("0101")
    assert tags.union(low("0101"), low("0001"), low("0002")) == low("0103")
    assert tags.union() == low("0")
    with pytest.raises(ValidationError, match="bytes32"):
        tags.union("0x" + "z" * 64)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("gpu,tee,tdx", "0109"),
        (["tee", "tdx", "gpu"], "0109"),
        (("tee", "tdx"), "0009"),
        ("", "0000"),
        ("gpu", "0100"),
        (None, "0000"),
        (9, "0009"),
        ("0X" + "0" * 61 + "10A", "010a"),
        ("0x1" + "0" * 63, "1" + "0" * 63),
    ],
)
def test_a_tag_comes_in_every_form_of_the_sdk(value: object, expected: str) -> None:
    assert tags.tag(value) == low(expected)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (["tee", "foo"], "tee,foo is not a valid tag. Unknown tag foo"),
        ("tee, tdx", "tee, tdx is not a valid tag. Unknown tag  tdx"),
        (True, "True is not a valid tag. Invalid tag"),
        (-1, "-1 is not a valid tag. Invalid tag"),
        (1.5, "1.5 is not a valid tag. Invalid tag"),
        ([3], "3 is not a valid tag. Unknown tag 3"),
    ],
)
def test_what_is_no_tag_is_refused_with_the_value_as_given(value: object, message: str) -> None:
    with pytest.raises(ValidationError) as caught:
        tags.tag(value)  # type: ignore[arg-type]
    assert caught.value.message == message


@pytest.mark.parametrize("value", ["0x", "0x" + "0" * 63, "0x" + "g" * 64])
def test_a_tag_of_the_wrong_length_is_refused(value: str) -> None:
    with pytest.raises(ValidationError, match="bytes32 hexstring"):
        tags.tag(value)


@pytest.mark.parametrize(
    ("names", "agnostic", "legacy", "messages"),
    [
        ("tee", False, False, [TDX_ONLY]),
        ("tee", True, False, []),
        ("tdx", False, False, ["'tdx' tag must be used with 'tee' tag"]),
        ("tdx", True, True, ["'tdx' tag must be used with 'tee' tag"]),
        ("tee,tdx", False, False, []),
        ("gpu", False, False, []),
        ("", False, False, []),
        ("tee,scone,tdx", False, False, ["Unsupported legacy TEE framework tag ('scone')"]),
        ("tee,scone", True, False, ["Unsupported legacy TEE framework tag ('scone')"]),
        ("scone,gramine", False, False, ["Unsupported legacy TEE framework tag ('gramine', 'scone')"]),
        ("tee,scone", True, True, []),
        ("tee,scone", False, True, [TDX_ONLY]),
        ("tee,scone,tdx", True, True, []),
        ("scone", True, True, []),
    ],
)
def test_combinations_are_judged_as_sdk_9_does(names: str, agnostic: bool, legacy: bool, messages: list[str]) -> None:
    assert tags.check(tags.tag(names), agnostic=agnostic, legacy=legacy) == messages


def test_unknown_bits_are_allowed_in_a_combination() -> None:
    assert tags.check("0x1" + "0" * 63, agnostic=False) == []


def test_missing_bits_are_named_or_numbered() -> None:
    assert tags.missing(low("0119"), low("0008")) == ("tee", "4", "gpu")
    assert tags.missing(low("0009"), low("0109")) == ()


def test_the_default_tag_is_that_of_sdk_9() -> None:
    assert low("0009") == tags.TEE_TDX
    assert tags.has(tags.TEE_TDX, "tdx")
    assert not tags.has(tags.TEE_TDX, "gpu")


@settings(max_examples=60, derandomize=True, deadline=None)
@given(st.sets(st.sampled_from(sorted(tags.BITS))))
def test_names_come_back_from_a_tag(names: set[str]) -> None:
    assert set(tags.decode(tags.encode(names))) == names
    assert tags.tag(",".join(names)) == tags.tag(names) == tags.encode(names)


@settings(max_examples=60, derandomize=True, deadline=None)
@given(numbers, numbers)
def test_a_union_offers_all_of_its_parts(a: int, b: int) -> None:
    one, other = tags.tag(a), tags.tag(b)
    both = tags.union(one, other)
    assert int(both, 16) == a | b
    assert tags.missing(one, both) == () == tags.missing(other, both)
    assert int(tags.without_frameworks(one), 16) == a & ~0b1110
    assert len(tags.describe(one)) == a.bit_count()


@pytest.mark.parametrize("names", [[["tee"]], [None], [{"a": 1}], ["tee", 3]])
def test_a_name_that_is_no_text_is_refused(names: list[object]) -> None:
    with pytest.raises(ValidationError, match=r"is not a valid tag\. Unknown tag"):
        tags.tag(names)  # type: ignore[arg-type]

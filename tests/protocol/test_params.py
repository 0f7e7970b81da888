"""Request params: what SDK 9.0.1 and JSON.stringify make of the same values."""

from __future__ import annotations

import json
import math
import sys
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iexec_nb.errors import ValidationError
from iexec_nb.protocol.params import check_params, create_params, dumps, loads, parse

CID0 = "QmW2WQi7j6c7UgJTarActp7tDNikE4B2qXtFCfLPdsgaTQ"
CID1 = "bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy"
IPFS = {"iexec_result_storage_provider": "ipfs"}


def created(value: Any, *, tee: bool = True, callback: bool = False) -> str:
    return dumps(create_params(value, tee=tee, callback=callback))


@pytest.mark.parametrize(
    ("value", "tee", "callback", "text"),
    [
        ({}, False, False, '{"iexec_result_storage_provider":"ipfs"}'),
        ({}, False, True, "{}"),
        (None, True, False, '{"iexec_result_storage_provider":"ipfs"}'),
        ({"iexec_args": "test"}, False, False, '{"iexec_result_storage_provider":"ipfs","iexec_args":"test"}'),
        (
            {"iexec_result_encryption": "true"},
            False,
            False,
            '{"iexec_result_storage_provider":"ipfs","iexec_result_encryption":true}',
        ),
        ({"foo": True, "iexec_developer_logger": True}, False, False, '{"iexec_result_storage_provider":"ipfs"}'),
        (
            {"iexec_secrets": {1: "foo"}},
            True,
            False,
            '{"iexec_secrets":{"1":"foo"},"iexec_result_storage_provider":"ipfs"}',
        ),
    ],
)
def test_the_sdks_own_vectors(value: Any, tee: bool, callback: bool, text: str) -> None:
    assert created(value, tee=tee, callback=callback) == text


def test_the_order_of_keys_is_kept_when_nothing_had_to_be_changed() -> None:
    assert created({"iexec_args": "x", **IPFS}) == '{"iexec_args":"x","iexec_result_storage_provider":"ipfs"}'
    assert created({**IPFS, "iexec_secrets": {2: "b", 1: "a"}}) == (
        '{"iexec_result_storage_provider":"ipfs","iexec_secrets":{"1":"a","2":"b"}}'
    )


def test_one_change_puts_all_keys_into_the_sdks_order() -> None:
    value = {
        "iexec_args": 42,
        "iexec_input_files": ["https://a.b"],
        "bulk_cid": CID0,
        "iexec_result_encryption": True,
        **IPFS,
        "iexec_secrets": {"1": "s"},
    }
    assert list(create_params(value, tee=True, callback=False)) == [
        "iexec_secrets",
        "iexec_result_storage_provider",
        "iexec_result_encryption",
        "bulk_cid",
        "iexec_input_files",
        "iexec_args",
    ]


@pytest.mark.parametrize(
    ("text", "args"),
    [
        ("", ""),
        ("--flag {", "--flag {"),
        ("NaN", "NaN"),
        ('{"a":Infinity}', '{"a":Infinity}'),
        ('{"iexec_args":1.0}', "1"),
        ('{"iexec_args":1e21}', "1e+21"),
        ('{"iexec_args":true}', "true"),
        ('{"iexec_args":"a","iexec_args":"b"}', "b"),
    ],
)
def test_text_is_json_or_else_the_arguments(text: str, args: str) -> None:
    assert create_params(text, tee=False, callback=False)["iexec_args"] == args


@pytest.mark.parametrize(
    ("given_", "cast"), [("a,https://b", None), ("https://a,https://b", ["https://a", "https://b"])]
)
def test_input_files_come_comma_separated_too(given_: str, cast: list[str] | None) -> None:
    if cast is None:
        with pytest.raises(ValidationError, match=r'iexec_input_files\[0\] "a" is not a valid URL'):
            created({"iexec_input_files": given_})
    else:
        assert create_params({"iexec_input_files": given_}, tee=True, callback=False)["iexec_input_files"] == cast


def test_python_forms_of_json_values_are_taken() -> None:
    value = MappingProxyType({"iexec_input_files": ("https://a",), "iexec_secrets": MappingProxyType({1: "x"}), **IPFS})
    assert created(value) == (
        '{"iexec_input_files":["https://a"],"iexec_secrets":{"1":"x"},"iexec_result_storage_provider":"ipfs"}'
    )
    assert check_params(value, tee=True, callback=False)["iexec_input_files"] == ["https://a"]


@pytest.mark.parametrize(
    ("value", "tee", "message"),
    [
        (
            {"iexec_result_storage_provider": "dropbox"},
            False,
            'iexec_result_storage_provider "dropbox" is not supported for non TEE tasks use supported storage provider '
            "ipfs",
        ),
        (
            {"iexec_result_storage_provider": "foo"},
            True,
            'iexec_result_storage_provider "foo" is not a valid storage provider, use one of the supported providers '
            "(dropbox, ipfs)",
        ),
        ({"iexec_secrets": {"1": "a"}}, False, "iexec_secrets is not supported for non TEE tasks"),
        ({"iexec_secrets": {"0": "a"}}, True, "iexec_secrets mapping keys must be strictly positive integers"),
        ({"iexec_secrets": {"": "a"}}, True, "iexec_secrets mapping keys must be strictly positive integers"),
        ({"iexec_secrets": {"1": 2}}, True, "iexec_secrets mapping names must be strings"),
        ({"iexec_secrets": {"1": ""}}, True, "iexec_secrets mapping names must be strings"),
        ({"iexec_secrets": None}, True, "iexec_secrets cannot be null"),
        ({"iexec_secrets": ["a"]}, True, 'iexec_secrets must be a `object` type, but the final value was: `["a"]`.'),
        (
            {"iexec_input_files": ["https://a", "ftp://b"]},
            True,
            'iexec_input_files[1] "ftp://b" is not a valid URL',
        ),
        ({"iexec_input_files": ["HTTPS://a"]}, True, 'iexec_input_files[0] "HTTPS://a" is not a valid URL'),
        ({"iexec_input_files": [None]}, True, 'iexec_input_files[0] "null" is not a valid URL'),
        ({"iexec_input_files": 42}, True, "iexec_input_files must be a `array` type, but the final value was: `42`."),
        (
            {"iexec_result_encryption": "foo"},
            True,
            'iexec_result_encryption must be a `boolean` type, but the final value was: `"foo"`.',
        ),
        ({"iexec_result_encryption": None}, True, "iexec_result_encryption cannot be null"),
        ({"iexec_args": ["x"]}, True, 'iexec_args must be a `string` type, but the final value was: `["x"]`.'),
        ({"iexec_args": None}, True, "iexec_args cannot be null"),
        ({"bulk_cid": "foo"}, True, "foo is not a valid CID"),
        ({"bulk_cid": CID0[:-1]}, True, f"{CID0[:-1]} is not a valid CID"),
        ({"bulk_cid": None}, True, "null is not a valid CID"),
        ({"iexec_result_storage_provider": None}, True, "iexec_result_storage_provider is a required field"),
        ("42", True, "this must be a `object` type, but the final value was: `42`."),
        ('"x"', True, 'this must be a `object` type, but the final value was: `"x"`.'),
        ("null", True, "this cannot be null"),
        ([1], True, "this must be a `object` type, but the final value was: `[1]`."),
    ],
)
def test_what_does_not_fit_is_refused_in_the_sdks_words(value: Any, tee: bool, message: str) -> None:
    with pytest.raises(ValidationError) as caught:
        create_params(value, tee=tee, callback=False)
    assert caught.value.message == message
    assert caught.value.hint


def test_cids_of_both_versions_are_accepted() -> None:
    for cid in (CID0, CID1):
        assert create_params({"bulk_cid": cid}, tee=True, callback=False)["bulk_cid"] == cid


def test_with_a_callback_any_storage_goes() -> None:
    value = {"iexec_result_storage_provider": "elsewhere"}
    assert create_params(value, tee=False, callback=True) == value
    assert check_params({}, tee=False, callback=True) == {}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({**IPFS, "foo": 1, "iexec_arg": 2}, 'Unknown key "foo, iexec_arg" in params'),
        ({}, "iexec_result_storage_provider is a required field"),
        ({**IPFS, "iexec_args": 42}, "iexec_args must be a `string` type, but the final value was: `42`."),
        (
            {**IPFS, "iexec_result_encryption": "true"},
            'iexec_result_encryption must be a `boolean` type, but the final value was: `"true"`.',
        ),
        (
            {**IPFS, "iexec_input_files": "https://a"},
            'iexec_input_files must be a `array` type, but the final value was: `"https://a"`.',
        ),
    ],
)
def test_the_strict_check_converts_nothing(value: Any, message: str) -> None:
    for given_ in (value, dumps(value)):
        with pytest.raises(ValidationError) as caught:
            check_params(given_, tee=True, callback=False)
        assert caught.value.message == message


def test_a_misspelled_key_is_answered_with_the_nearest() -> None:
    with pytest.raises(ValidationError) as caught:
        check_params({**IPFS, "iexec_arg": "x"}, tee=True, callback=False)
    assert caught.value.hint == "did you mean iexec_args?"


def test_what_was_created_passes_the_strict_check_unchanged() -> None:
    made = create_params({"iexec_args": 1, "iexec_result_encryption": "false"}, tee=True, callback=False)
    assert check_params(dumps(made), tee=True, callback=False) == made


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1.0, "1"),
        (-0.0, "0"),
        (1e20, "100000000000000000000"),
        (1e21, "1e+21"),
        (1.5e300, "1.5e+300"),
        (1e-6, "0.000001"),
        (1e-7, "1e-7"),
        (-3.25e-10, "-3.25e-10"),
        (5e-324, "5e-324"),
        (0.1 + 0.2, "0.30000000000000004"),
        (123456789.125, "123456789.125"),
        (12345678901234567890, "12345678901234567890"),
        (True, "true"),
        (None, "null"),
        ("h\u00e9\u2028\x7f/", '"h\u00e9\u2028\x7f/"'),
        ('"\\\b\f\n\r\t\x01', '"\\"\\\\\\b\\f\\n\\r\\t\\u0001"'),
        ("\ud800x", '"\\ud800x"'),
        ("\ud83d\ude00", '"\U0001f600"'),
        ("\ude00\ud83d", '"\\ude00\\ud83d"'),
        ([1, "a", []], '[1,"a",[]]'),
        ({"b": 1, "10": 2, "9": 3, 0: 4, "01": 5}, '{"0":4,"9":3,"10":2,"b":1,"01":5}'),
        ({"4294967295": 1, "4294967294": 2, "-1": 3}, '{"4294967294":2,"4294967295":1,"-1":3}'),
        ({}, "{}"),
    ],
)
def test_dumps_writes_what_json_stringify_writes(value: Any, text: str) -> None:
    assert dumps(value) == text


def _nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    "value", [math.nan, math.inf, -math.inf, b"x", {1, 2}, object(), {None: 1}, {True: 1}, {1.5: 1}, _nested(100000)]
)
def test_what_json_cannot_hold_is_refused(value: Any) -> None:
    with pytest.raises(ValidationError):
        dumps({"iexec_args": value})


jsons = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=150, derandomize=True, deadline=None)
@given(jsons)
def test_what_is_written_reads_back_to_the_same_value(value: Any) -> None:
    text = dumps(value)
    # JavaScript has no whole numbers of its own: above 2**53 the digits after the shortest ones are zeros.
    assert json.loads(text, parse_int=float) == value
    assert dumps(parse(text)) == text
    text.encode()


@settings(max_examples=100, derandomize=True, deadline=None)
@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_is_written_with_all_the_digits_it_needs(value: float) -> None:
    assert float(dumps(value)) == value


def test_deep_nesting_is_refused_even_where_the_recursion_limit_was_raised() -> None:
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(10**6)
    try:
        for text in ("[" * 10**6, '{"a":' * 10**6, '["]",' * 10**5, "[" * 101 + "]" * 101):
            with pytest.raises(ValidationError):
                parse(text)
        with pytest.raises(ValidationError, match="nested more than 100 deep"):
            dumps(_nested(10**5))
    finally:
        sys.setrecursionlimit(limit)


def test_many_brackets_side_by_side_or_inside_text_are_not_deep() -> None:
    wide = [[], {}] * 200 + ["[" * 500, '"[{' * 100]
    assert parse(dumps(wide)) == wide
    assert parse(dumps(_nested(99))) == _nested(99)


def test_loads_returns_an_object_or_refuses() -> None:
    assert loads('{"iexec_args":"x"}') == {"iexec_args": "x"}
    for bad in ("", "{", "[" * 100000, '{"a":NaN}', "[1]", "null"):
        with pytest.raises(ValidationError):
            loads(bad)


def test_json_with_half_a_character_is_still_json_and_is_escaped_when_it_is_written() -> None:
    built = create_params('{"iexec_args":"\ud800"}', tee=True, callback=True)
    assert built == {"iexec_args": "\ud800"}
    assert dumps(built) == '{"iexec_args":"\\ud800"}'
    with pytest.raises(ValidationError, match="must be a json"):
        parse('{"iexec_args":"\ud800"}')


def test_finished_params_are_not_nothing() -> None:
    with pytest.raises(ValidationError, match="this cannot be null"):
        check_params(None, tee=True, callback=True)  # type: ignore[arg-type]
    assert create_params(None, tee=True, callback=True) == {}

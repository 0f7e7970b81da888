"""The four kinds of orders: defaults, JSON, the contracts' structs, and hostile input."""

from __future__ import annotations

import json
from dataclasses import FrozenInstanceError, fields
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iexec_nb.errors import ValidationError
from iexec_nb.protocol.orders import (
    NULL_DATASETORDER,
    ORDERS,
    AppOrder,
    DatasetOrder,
    Order,
    PublishedOrder,
    RequestOrder,
    WorkerpoolOrder,
)
from iexec_nb.protocol.tags import TEE_TDX
from iexec_nb.protocol.typed_data import Domain, order_hash
from iexec_nb.protocol.types import NULL_ADDRESS, NULL_BYTES32, to_checksum

ONE, TWO, SIX = "0x" + "1" * 40, "0x" + "2" * 40, "0x607F4C5BB672230e8672085532f7e901544a7375"

addresses = st.binary(min_size=20, max_size=20).map(to_checksum)
numbers = st.integers(min_value=0, max_value=2**256 - 1)
words = st.binary(min_size=32, max_size=32).map(lambda raw: "0x" + raw.hex())
signs = st.binary(min_size=65, max_size=65).map(lambda raw: "0x" + raw.hex())
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
params = st.dictionaries(texts, texts | st.booleans() | st.integers() | st.none(), max_size=4)
NUMBERS = {"volume", "category", "trust"}


def _value(name: str) -> st.SearchStrategy[Any]:
    if name in NUMBERS or name.endswith("price"):
        return numbers
    return {"tag": words, "salt": words, "sign": signs, "params": params}.get(name, addresses)


def orders(kind: str) -> st.SearchStrategy[Order]:
    cls = ORDERS[kind]
    return st.builds(cls, **{field.name: _value(field.name) for field in fields(cls)})


any_order = st.one_of([orders(kind) for kind in ORDERS])


@settings(max_examples=60, derandomize=True, deadline=None)
@given(any_order)
def test_an_order_comes_back_from_its_json(order: Order) -> None:
    body = json.loads(json.dumps(order.to_json()))
    assert type(order).from_json(body) == order
    assert all(isinstance(value, str) for value in body.values())
    assert list(body) == [*order.FIELDS, "salt", "sign"]


@settings(max_examples=40, derandomize=True, deadline=None)
@given(any_order)
def test_the_contract_takes_the_struct(order: Order) -> None:
    from eth_abi.abi import decode, encode

    kinds = {"tag": "bytes32", "salt": "bytes32", "sign": "bytes", "params": "string"}
    names = [*order.FIELDS, "salt", "sign"]
    number = lambda name: name in NUMBERS or name.endswith("price")  # noqa: E731
    struct = "(" + ",".join(kinds.get(name, "uint256" if number(name) else "address") for name in names) + ")"
    (decoded,) = decode([struct], encode([struct], [order.to_abi()]))
    for name, value in zip(names, decoded, strict=True):
        given_ = getattr(order, name)
        assert value == (bytes.fromhex(given_[2:]) if name in ("tag", "salt", "sign") else _lower(name, given_))


def _lower(name: str, value: Any) -> Any:
    return value if name == "params" or not isinstance(value, str) else value.lower()


@settings(max_examples=30, derandomize=True, deadline=None)
@given(any_order)
def test_reading_an_order_again_does_not_change_its_hash(order: Order) -> None:
    domain = Domain(chainId=421614, verifyingContract=ONE)
    assert order_hash(type(order).from_json(order.to_json()), domain) == order_hash(order, domain)


def test_defaults_are_those_of_sdk_9() -> None:
    app = AppOrder(app=SIX.lower())
    assert (app.app, app.appprice, app.volume, app.tag) == (SIX, 0, 1, TEE_TDX)
    assert {app.datasetrestrict, app.workerpoolrestrict, app.requesterrestrict} == {NULL_ADDRESS}
    request = RequestOrder(app=ONE, requester=SIX.lower(), category=0)
    assert (request.beneficiary, request.dataset, request.workerpool) == (SIX, NULL_ADDRESS, NULL_ADDRESS)
    assert (request.callback, request.trust, request.params, request.tag) == (NULL_ADDRESS, 0, "{}", TEE_TDX)
    assert DatasetOrder(dataset=ONE).datasetprice == 0
    assert WorkerpoolOrder(workerpool=ONE, category="3").category == 3  # type: ignore[arg-type]


def test_amounts_and_tags_are_taken_in_every_form() -> None:
    order = AppOrder(app=ONE, appprice="0.5 RLC", tag=["tee", "tdx", "gpu"], volume="010")  # type: ignore[arg-type]
    assert (order.appprice, order.tag[-4:], order.volume) == (500000000, "0109", 10)


def test_the_null_datasetorder_is_the_sdks() -> None:
    assert NULL_DATASETORDER.to_json() == {
        "dataset": NULL_ADDRESS,
        "datasetprice": "0",
        "volume": "0",
        "tag": NULL_BYTES32,
        "apprestrict": NULL_ADDRESS,
        "workerpoolrestrict": NULL_ADDRESS,
        "requesterrestrict": NULL_ADDRESS,
        "salt": NULL_BYTES32,
        "sign": "0x",
    }
    assert NULL_DATASETORDER.to_abi()[-1] == b""


def test_params_are_kept_byte_for_byte_as_text_and_written_as_javascript_does_from_a_mapping() -> None:
    text = ' {"iexec_args" : "h\\u00e9" }'
    assert RequestOrder(app=ONE, requester=ONE, category=0, params=text).params == text
    made = RequestOrder(app=ONE, requester=ONE, category=0, params={"a": "hé", "b": [1.0, True]})  # type: ignore[arg-type]
    assert made.params == '{"a":"hé","b":[1,true]}'


@pytest.mark.parametrize("text", ["", "{", "NaN", "{'a':1}", '{"iexec_args":"\ud800"}', "[" * 100000])
def test_params_that_are_no_json_are_refused(text: str) -> None:
    with pytest.raises(ValidationError, match="is not a valid params, must be a json"):
        RequestOrder(app=ONE, requester=ONE, category=0, params=text)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("app", "0x12", "0x12 is not a valid ethereum address"),
        ("appprice", 0.5, "0.5 is not a valid amount"),
        ("appprice", -1, "-1 is not a valid amount"),
        ("volume", "0x01", "0x01 is not a valid uint256"),
        ("volume", 2**256, "is not a valid uint256"),
        ("volume", True, "True is not a valid uint256"),
        ("tag", "foo", "foo is not a valid tag. Unknown tag foo"),
        ("salt", "0x00", "0x00 is not a bytes32 hexstring"),
        ("sign", "0xabc", "0xabc is not a valid signature"),
        ("sign", "0x" + "00" * 5000, "is not a valid signature"),
        ("datasetrestrict", None, "None is not a valid ethereum address"),
    ],
)
def test_a_wrong_field_is_named_with_its_value(field: str, value: object, message: str) -> None:
    with pytest.raises(ValidationError) as caught:
        AppOrder(**{"app": ONE, field: value})  # type: ignore[arg-type]
    assert message in caught.value.message


def test_a_missing_field_is_named_as_the_sdk_does() -> None:
    body = AppOrder(app=ONE, salt=NULL_BYTES32, sign="0x").to_json()
    del body["appprice"]
    with pytest.raises(ValidationError, match="appprice is a required field"):
        AppOrder.from_json(body)
    with pytest.raises(ValidationError, match="apporder is not an object"):
        AppOrder.from_json([body])


def test_json_numbers_and_unknown_keys_are_accepted() -> None:
    body: dict[str, Any] = {**WorkerpoolOrder(workerpool=ONE, category=1).to_json(), "volume": 7, "extra": {}}
    assert WorkerpoolOrder.from_json(body).volume == 7


def test_an_order_cannot_be_changed_after_it_was_checked() -> None:
    order = AppOrder(app=ONE)
    with pytest.raises(FrozenInstanceError):
        order.appprice = -1  # type: ignore[misc]


def test_an_unsigned_order_is_no_struct_and_says_so() -> None:
    order = AppOrder(app=ONE)
    assert not order.is_signed
    assert "not signed" in repr(order)
    with pytest.raises(ValidationError, match="the apporder is not signed"):
        order.to_abi()
    assert order.signed(NULL_BYTES32, "0x").is_signed


def test_kind_resource_and_price_are_uniform() -> None:
    request = RequestOrder(app=ONE, requester=TWO, category=0, workerpoolmaxprice=5)
    assert (request.kind, request.resource, request.price) == ("request", TWO, 5)
    pool = WorkerpoolOrder(workerpool=ONE, category=0, workerpoolprice=7)
    assert (pool.kind, pool.resource, pool.price) == ("workerpool", ONE, 7)
    assert "0.000000007 RLC" in repr(pool)


def published(**changes: object) -> dict[str, object]:
    order = AppOrder(app=ONE, salt=NULL_BYTES32, sign="0x" + "00" * 65)
    return {
        "orderHash": "0x" + "AB" * 32,
        "order": order.to_json(),
        "chainId": 421614,
        "remaining": 3,
        "status": "open",
        "publicationTimestamp": "2026-01-31T12:00:00.000Z",
        "signer": SIX.lower(),
        **changes,
    }


def test_a_published_order_is_typed() -> None:
    record = PublishedOrder.from_json("app", published())
    assert record.orderHash == "0x" + "ab" * 32
    assert (record.chainId, record.remaining, record.status, record.signer) == (421614, 3, "open", SIX)
    assert record.publicationTimestamp == datetime(2026, 1, 31, 12, tzinfo=UTC)
    assert isinstance(record.order, AppOrder)


@pytest.mark.parametrize(
    "changes",
    [
        {"orderHash": "0x12"},
        {"remaining": -1},
        {"remaining": 1.5},
        {"signer": None},
        {"order": "<script>"},
        {"order": {"app": ONE}},
        {"publicationTimestamp": "yesterday"},
        {"publicationTimestamp": "2026-01-31T12:00:00"},
        {"publicationTimestamp": "0001-01-01T00:00:00+23:00"},
        {"publicationTimestamp": 5},
    ],
)
def test_a_malformed_published_order_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        PublishedOrder.from_json("app", published(**changes))
    with pytest.raises(ValidationError, match="not an object"):
        PublishedOrder.from_json("app", None)

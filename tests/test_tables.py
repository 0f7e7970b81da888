"""Records to DataFrames and back: exact numbers, kept dtypes, rows that become the signed order again."""

from __future__ import annotations

import json
import warnings
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iexec_nb import tables
from iexec_nb.errors import InvalidSignatureError, ValidationError
from iexec_nb.protocol.execution import Deal, DealResource, Task, TaskStatus
from iexec_nb.protocol.orders import AppOrder, DatasetOrder, Order, PublishedOrder, RequestOrder, WorkerpoolOrder
from iexec_nb.protocol.resources import Account, Category
from iexec_nb.protocol.results import ResultDescriptor
from iexec_nb.protocol.typed_data import Domain, address_of, order_digest, order_hash, sign_digest, verify_order
from iexec_nb.protocol.types import NULL_ADDRESS, NULL_BYTES32, address

KEY = bytes([7]) * 32
SIGNER = address_of(KEY)
DOMAIN = Domain(chainId=134134, verifyingContract="0x" + "3e" * 20)
ATTRS = {"chain": "sandbox", "chain_id": 134134, "hub_address": DOMAIN.verifyingContract, "source": "market"}
POOL, APP, DATA = (address("0x" + digit * 40) for digit in "123")
PUBLISHED = datetime(2026, 11, 20, 8, 30, 0, 123000, tzinfo=UTC)


def published(order: Order, salt: int = 1, **changes: Any) -> PublishedOrder:
    salted = replace(order, salt=f"0x{salt:064x}")
    signed = salted.signed(salted.salt or "", sign_digest(order_digest(salted, DOMAIN), KEY))
    fields: dict[str, Any] = {
        "orderHash": order_hash(signed, DOMAIN), "order": signed, "chainId": 134134, "remaining": signed.volume,
        "status": "open", "publicationTimestamp": PUBLISHED, "signer": SIGNER,
    }  # fmt: skip
    return PublishedOrder(**fields | changes)


ORDERS: dict[str, Order] = {
    "app": AppOrder(app=APP, appprice=3, volume=2**53 - 1),
    "dataset": DatasetOrder(dataset=DATA, datasetprice=5 * 10**8, apprestrict=APP),
    "workerpool": WorkerpoolOrder(workerpool=POOL, workerpoolprice=2**63 - 1, category=0, trust=1),
    "request": RequestOrder(
        app=APP, requester=SIGNER, category=4, params='{"iexec_args": "é \\"quoted\\" \U0001f9ee"}'
    ),
}
POOL_ORDER = WorkerpoolOrder(workerpool=POOL, workerpoolprice=5, category=0)


def book(*prices: int) -> pd.DataFrame:
    orders = [published(replace(POOL_ORDER, workerpoolprice=price), salt) for salt, price in enumerate(prices)]
    return tables.frame(tables.WORKERPOOL_ORDERS, orders, attrs=ATTRS)


@pytest.mark.parametrize("schema", tables.SCHEMAS, ids=lambda schema: schema.name)
def test_an_empty_result_keeps_columns_and_dtypes(schema: tables.Schema) -> None:
    empty = tables.frame(schema, [])
    assert len(empty) == 0
    assert {name: str(dtype).removesuffix("[python]") for name, dtype in empty.dtypes.items()} == schema.dtypes


@pytest.mark.parametrize("schema", tables.SCHEMAS, ids=lambda schema: schema.name)
def test_every_column_of_a_schema_says_what_it_means(schema: tables.Schema) -> None:
    described = schema.describe()
    assert list(described.index) == [column.name for column in schema.columns]
    assert all(described["doc"].str.len() > 3)
    assert set(schema.marks) <= set(schema.dtypes)


@pytest.mark.parametrize("kind", ORDERS)
def test_a_row_becomes_the_signed_order_again(kind: str) -> None:
    record = published(ORDERS[kind])
    table = tables.frame(tables.ORDER_TABLES[kind], [record], attrs=ATTRS)
    order = table.iexec.order(0)
    assert order == record.order
    assert verify_order(order, DOMAIN, SIGNER, record.orderHash) == record.orderHash
    assert type(table) is pd.DataFrame


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 2**63 - 1), min_size=1, max_size=4), st.text(max_size=30))
def test_numbers_up_to_63_bits_and_any_text_come_back_exactly(prices: list[int], text: str) -> None:
    params = json.dumps({"iexec_args": text})
    records = [
        published(
            RequestOrder(app=APP, requester=SIGNER, category=0, volume=price, workerpoolmaxprice=price, params=params)
        )
        for price in prices
    ]
    table = tables.frame(tables.REQUEST_ORDERS, records, attrs=ATTRS)
    assert table["workerpoolmaxprice"].tolist() == prices
    assert table.iexec.orders() == [record.order for record in records]


def test_a_number_over_63_bits_reads_na_with_one_warning_that_names_its_rows() -> None:
    records = [
        published(replace(POOL_ORDER, workerpoolprice=2**63 - 1), 1),
        published(replace(POOL_ORDER, workerpoolprice=2**63, volume=2**256 - 1), 2),
        published(POOL_ORDER, 3),
    ]
    with pytest.warns(UserWarning, match="do not fit 64 bits") as caught:
        table = tables.frame(tables.WORKERPOOL_ORDERS, records, attrs=ATTRS)
    assert len(caught) == 1
    message = str(caught[0].message)
    assert f"row 1 ({records[1].orderHash}): workerpoolprice, volume, remaining" in message
    assert "row 0" not in message
    assert table["workerpoolprice"].tolist() == [2**63 - 1, pd.NA, 5]
    assert table.iexec.order(0) == records[0].order


def test_a_row_that_lost_a_number_cannot_become_an_order() -> None:
    record = published(replace(POOL_ORDER, workerpoolprice=2**64))
    with warnings.catch_warnings(action="ignore"):
        table = tables.frame(tables.WORKERPOOL_ORDERS, [record], attrs=ATTRS)
    with pytest.raises(ValidationError, match="row 0 cannot become an order: workerpoolprice") as caught:
        table.iexec.order(0)
    assert caught.value.hint == f"fetch it by its hash: %iexec order show --workerpool {record.orderHash}"


def test_the_warning_names_a_few_rows_and_counts_the_rest() -> None:
    records = [published(replace(POOL_ORDER, workerpoolprice=2**200), salt) for salt in range(9)]
    with pytest.warns(UserWarning, match="and 4 more rows") as caught:
        tables.frame(tables.WORKERPOOL_ORDERS, records)
    assert "row 5" not in str(caught[0].message)


def test_positions_count_the_rows_as_they_stand() -> None:
    table = book(10, 30, 20)
    by_price = table.sort_values("workerpoolprice")
    assert [order.workerpoolprice for order in by_price.iexec.orders()] == [10, 20, 30]
    assert by_price.iexec.order(1).workerpoolprice == 20
    assert by_price.iexec.order(-1).workerpoolprice == 30
    assert table[table["workerpoolprice"] > 15].iexec.order(0).workerpoolprice == 30


@pytest.mark.parametrize("position", [2, -3])
def test_a_position_outside_the_table_says_its_size(position: int) -> None:
    with pytest.raises(IndexError, match=f"no row {position}: the table has 2 rows"):
        book(1, 2).iexec.order(position)


def test_a_position_is_no_label() -> None:
    with pytest.raises(TypeError):
        book(1).iexec.order("0")


@pytest.mark.parametrize(("column", "value"), [("workerpoolprice", 1), ("trust", 9), ("salt", "0x" + "9" * 64)])
def test_a_changed_row_is_not_handed_out_as_a_signed_order(column: str, value: Any) -> None:
    table = book(5)
    table[column] = pd.Series([value], dtype=table[column].dtype)
    with pytest.raises(InvalidSignatureError, match="row 0 is not the order that was signed") as caught:
        table.iexec.order(0)
    assert caught.value.context["orderHash"] == table["orderHash"].iloc[0]


def test_a_price_that_became_a_float_is_refused() -> None:
    table = book(5)
    table["workerpoolprice"] = table["workerpoolprice"] / 1e9
    with pytest.raises(ValidationError):
        table.iexec.order(0)


def test_an_order_of_another_chain_is_refused() -> None:
    table = book(5)
    table.attrs["chain_id"] = 421614
    with pytest.raises(InvalidSignatureError):
        table.iexec.order(0)


def test_an_unsigned_row_is_refused() -> None:
    table = book(5)
    table["sign"] = pd.array([pd.NA], dtype="string")
    with pytest.raises(ValidationError, match="sign reads <NA>"):
        table.iexec.order(0)


def test_lost_attrs_and_lost_columns_are_named() -> None:
    table = book(5)
    with pytest.raises(ValidationError, match="lost the columns salt, sign"):
        table.drop(columns=["salt", "sign"]).iexec.order(0)
    table.attrs = {}
    with pytest.raises(ValidationError, match="lost its attrs chain_id, hub_address"):
        table.iexec.order(0)


def test_the_accessor_names_the_columns_that_a_foreign_table_lacks() -> None:
    with pytest.raises(AttributeError, match=r"orderHash, workerpoolprice \(WORKERPOOL_ORDERS\)"):
        _ = pd.DataFrame({"a": [1]}).iexec
    assert not hasattr(pd.DataFrame(), "iexec")


def test_a_table_without_orders_says_so() -> None:
    categories = tables.frame(tables.CATEGORIES, [Category(catid=0, name="XS", description="{}", workClockTimeRef=300)])
    assert categories.iexec.schema is tables.CATEGORIES
    with pytest.raises(ValidationError, match="rows of CATEGORIES are no orders"):
        categories.iexec.order(0)


def test_attrs_are_copied_and_fit_json() -> None:
    attrs: dict[str, object] = {
        **ATTRS,
        "block": 7,
        "fetched_at": datetime(2026, 1, 1, tzinfo=timezone(timedelta(hours=1))),
    }
    table = tables.frame(tables.WORKERPOOL_ORDERS, [published(POOL_ORDER)], attrs=attrs)
    assert json.loads(json.dumps(table.attrs))["fetched_at"] == "2025-12-31T23:00:00+00:00"
    table.attrs["block"] = 8
    assert attrs["block"] == 7


def test_times_are_aware_utc_with_microseconds_whatever_zone_they_came_in() -> None:
    local = PUBLISHED.astimezone(timezone(timedelta(hours=-5)))
    table = tables.frame(tables.WORKERPOOL_ORDERS, [published(POOL_ORDER, publicationTimestamp=local)])
    assert table["publicationTimestamp"].iloc[0] == pd.Timestamp(PUBLISHED)
    assert str(table["publicationTimestamp"].dtype) == "datetime64[us, UTC]"


def test_text_that_arrow_cannot_hold_stays_as_it_is() -> None:
    table = tables.frame(tables.CATEGORIES, [Category(catid=0, name="\ud800", description="", workClockTimeRef=1)])
    assert table["name"].iloc[0] == "\ud800"


def test_deals_are_flat_with_the_prices_and_owners_of_the_three_resources() -> None:
    table = tables.frame(tables.DEALS, [deal()])
    row = table.iloc[0]
    assert (row["app"], row["appOwner"], row["appPrice"]) == (APP, SIGNER, 1)
    assert (row["workerpool"], row["workerpoolPrice"], row["botSize"]) == (POOL, 2**62, 3)
    # The end of time, which the year 2262 of nanoseconds could not hold.
    assert row["finalTime"].year == 9999
    assert table.iexec.schema is tables.DEALS


def test_tasks_show_status_names_and_missing_times() -> None:
    table = tables.frame(tables.TASKS, [task(), task(status=TaskStatus.COMPLETED, revealDeadline=PUBLISHED)])
    assert table["statusName"].tolist() == ["ACTIVE", "COMPLETED"]
    assert table["status"].tolist() == [1, 3]
    assert table["revealDeadline"].isna().tolist() == [True, False]
    assert table["contributors"].iloc[0] == (POOL, APP)
    assert table["location"].iloc[0] is pd.NA


def test_accounts_hold_exact_amounts() -> None:
    table = tables.frame(tables.ACCOUNTS, [Account(address=SIGNER, stake=2**63 - 1, locked=0)])
    assert table["stake"].iloc[0] == 2**63 - 1


def test_the_accessor_draws_the_book() -> None:
    table = book(10, 30)
    assert "depth" in table.iexec.plot_depth().get_title(loc="left")
    assert "prices" in table.iexec.plot_prices(lines=1).get_title(loc="left")


def deal() -> Deal:
    nobody = DealResource(pointer=NULL_ADDRESS, owner=NULL_ADDRESS, price=0)
    return Deal(
        dealid="0x" + "d" * 64, app=DealResource(pointer=APP, owner=SIGNER, price=1), dataset=nobody,
        workerpool=DealResource(pointer=POOL, owner=SIGNER, price=2**62), trust=1, category=0, tag=NULL_BYTES32,
        requester=SIGNER, beneficiary=SIGNER, callback=NULL_ADDRESS, params="{}", startTime=PUBLISHED, botFirst=0,
        botSize=3, workerStake=0, schedulerRewardRatio=1, sponsor=SIGNER, finalTime=datetime.max.replace(tzinfo=UTC),
    )  # fmt: skip


def task(**changes: Any) -> Task:
    fields: dict[str, Any] = {
        "taskid": "0x" + "a" * 64, "dealid": "0x" + "d" * 64, "idx": 0, "status": TaskStatus.ACTIVE, "timeref": 300,
        "contributionDeadline": PUBLISHED, "revealDeadline": None, "finalDeadline": PUBLISHED,
        "consensusValue": NULL_BYTES32, "revealCounter": 0, "winnerCounter": 0, "contributors": (POOL, APP),
        "resultDigest": NULL_BYTES32, "results": ResultDescriptor("none"), "resultsTimestamp": None,
        "resultsCallback": b"",
    }  # fmt: skip
    return Task(**fields | changes)

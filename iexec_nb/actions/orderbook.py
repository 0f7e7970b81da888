"""The noun ``orderbook``: what the market offers, as DataFrames."""

from __future__ import annotations

import itertools
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from iexec_nb.actions.base import Noun, Tags
from iexec_nb.actions.book import verified
from iexec_nb.commands import JsonNumber, command, noun
from iexec_nb.errors import ValidationError
from iexec_nb.protocol import tags
from iexec_nb.protocol.orders import ORDERS
from iexec_nb.protocol.types import address, uint256

if TYPE_CHECKING:
    import pandas as pd

Tag = Tags | None


@noun("orderbook")
class OrderbookActions(Noun):
    """Orderbooks: the open orders of the market, verified, as DataFrames."""

    @command(
        "orderbook app 0x0123456789012345678901234567890123456789",
        js=("orderbook.fetchAppOrderbook",),
        raw=lambda book: _raw(book, "app"),
    )
    def app(
        self,
        app: str | None = None,
        *,
        app_owner: str | None = None,
        dataset: str | None = None,
        workerpool: str | None = None,
        requester: str | None = None,
        tag: Tag = None,
        require_tag: Tag = None,
        max_tag: Tag = None,
        min_volume: int | str | None = None,
        dataset_strict: bool = False,
        workerpool_strict: bool = False,
        requester_strict: bool = False,
        limit: int | str | None = None,
    ) -> pd.DataFrame:
        """Return the open orders for an app as a DataFrame, cheapest first; prices in nRLC.

        Parameters
        ----------
        app
            The app's address, or ``any``.
        app_owner
            Orders for all apps of this owner instead.
        dataset, workerpool, requester
            Also orders that are restricted to this address, or ``any``; default: unrestricted orders only.
        tag
            The tag that orders must have; short for `require_tag` and `max_tag` together.
        require_tag, max_tag
            Bits that must, and bits that may be set; names such as ``tee,tdx``.
        min_volume
            Smallest remaining volume, in tasks.
        dataset_strict, workerpool_strict, requester_strict
            Only orders that are restricted to just that address, without the unrestricted ones.
        limit
            At most so many orders; default: the whole book.

        Returns
        -------
        pandas.DataFrame
            Schema `tables.APP_ORDERS`, one row an order.

        Raises
        ------
        ValidationError
            When neither `app` nor `app_owner` is given, or a filter is malformed.
        MarketCallError
            When the market does not answer.

        Source
        ------
        Endpoint ``GET /apporders`` of the market API.
        """
        if app is None and app_owner is None:
            raise ValidationError("app or appOwner is required", hint="give an address, 'any', or app_owner=...")
        filters: dict[str, Any] = {
            "app": _one(app, "app"), "appOwner": _owner(app_owner, "app_owner"), "dataset": _one(dataset, "dataset"),
            "workerpool": _one(workerpool, "workerpool"), "requester": _one(requester, "requester"),
        }  # fmt: skip
        filters |= {
            "isDatasetStrict": dataset_strict,
            "isWorkerpoolStrict": workerpool_strict,
            "isRequesterStrict": requester_strict,
        }
        return self._book("app", filters | _tags(tag, require_tag, max_tag) | _volume(min_volume), limit)

    @command(
        "orderbook dataset 0x0123456789012345678901234567890123456789",
        js=("orderbook.fetchDatasetOrderbook",),
        raw=lambda book: _raw(book, "dataset"),
    )
    def dataset(
        self,
        dataset: str | None = None,
        *,
        dataset_owner: str | None = None,
        app: str | None = None,
        workerpool: str | None = None,
        requester: str | None = None,
        tag: Tag = None,
        require_tag: Tag = None,
        max_tag: Tag = None,
        min_volume: int | str | None = None,
        app_strict: bool = False,
        workerpool_strict: bool = False,
        requester_strict: bool = False,
        bulk_only: bool = False,
        limit: int | str | None = None,
    ) -> pd.DataFrame:
        """Return the open orders for a dataset as a DataFrame, cheapest first; prices in nRLC.

        Parameters
        ----------
        dataset
            The dataset's address, or ``any``.
        dataset_owner
            Orders for all datasets of this owner instead.
        app, workerpool, requester
            Also orders that are restricted to this address, or ``any``; default: unrestricted orders only.
        tag
            The tag that orders must have; short for `require_tag` and `max_tag` together.
        require_tag, max_tag
            Bits that must, and bits that may be set; names such as ``tee,tdx``.
        min_volume
            Smallest remaining volume, in tasks.
        app_strict, workerpool_strict, requester_strict
            Only orders that are restricted to just that address, without the unrestricted ones.
        bulk_only
            Only orders that can be part of a bulk: free, and without limit of volume.
        limit
            At most so many orders; default: the whole book.

        Returns
        -------
        pandas.DataFrame
            Schema `tables.DATASET_ORDERS`, one row an order.

        Raises
        ------
        ValidationError
            When neither `dataset` nor `dataset_owner` is given, or a filter is malformed.
        MarketCallError
            When the market does not answer.

        Source
        ------
        Endpoint ``GET /datasetorders`` of the market API.
        """
        if dataset is None and dataset_owner is None:
            raise ValidationError(
                "dataset or datasetOwner is required", hint="give an address, 'any', or dataset_owner=..."
            )
        filters: dict[str, Any] = {
            "dataset": _one(dataset, "dataset"), "datasetOwner": _owner(dataset_owner, "dataset_owner"),
            "app": _one(app, "app"), "workerpool": _one(workerpool, "workerpool"),
            "requester": _one(requester, "requester"),
        }  # fmt: skip
        filters |= {
            "isAppStrict": app_strict,
            "isWorkerpoolStrict": workerpool_strict,
            "isRequesterStrict": requester_strict,
            "bulkOnly": bulk_only,
        }
        return self._book("dataset", filters | _tags(tag, require_tag, max_tag) | _volume(min_volume), limit)

    @command(
        "orderbook workerpool --category 0",
        js=("orderbook.fetchWorkerpoolOrderbook",),
        raw=lambda book: _raw(book, "workerpool"),
    )
    def workerpool(
        self,
        workerpool: str | None = None,
        *,
        category: int | str | None = None,
        workerpool_owner: str | None = None,
        app: str | None = None,
        dataset: str | None = None,
        requester: str | None = None,
        tag: Tag = None,
        require_tag: Tag = None,
        max_tag: Tag = None,
        min_trust: int | str | None = None,
        min_volume: int | str | None = None,
        app_strict: bool = False,
        dataset_strict: bool = False,
        requester_strict: bool = False,
        limit: int | str | None = None,
    ) -> pd.DataFrame:
        """Return the open workerpool orders as a DataFrame, cheapest first; prices in nRLC a task.

        Parameters
        ----------
        workerpool
            Only this pool.
        category
            Only tasks of this size.
        workerpool_owner
            Only pools of this owner.
        app, dataset, requester
            Also orders that are restricted to this address, or ``any``; default: unrestricted orders only.
        tag
            The tag that orders must have; short for `require_tag` and `max_tag` together.
        require_tag, max_tag
            Bits that must, and bits that may be set; names such as ``tee,tdx``.
        min_trust
            Smallest trust.
        min_volume
            Smallest remaining volume, in tasks.
        app_strict, dataset_strict, requester_strict
            Only orders that are restricted to just that address, without the unrestricted ones.
        limit
            At most so many orders; default: the whole book.

        Returns
        -------
        pandas.DataFrame
            Schema `tables.WORKERPOOL_ORDERS`, one row an order.

        Raises
        ------
        ValidationError
            When a filter is malformed.
        MarketCallError
            When the market does not answer.

        Source
        ------
        Endpoint ``GET /workerpoolorders`` of the market API.
        """
        filters: dict[str, Any] = {
            "workerpool": _one(workerpool, "workerpool"), "category": _number(category, "category"),
            "workerpoolOwner": _owner(workerpool_owner, "workerpool_owner"), "app": _one(app, "app"),
            "dataset": _one(dataset, "dataset"), "requester": _one(requester, "requester"),
            "minTrust": _number(min_trust, "min_trust"),
        }  # fmt: skip
        filters |= {
            "isAppStrict": app_strict,
            "isDatasetStrict": dataset_strict,
            "isRequesterStrict": requester_strict,
        }
        return self._book("workerpool", filters | _tags(tag, require_tag, max_tag) | _volume(min_volume), limit)

    @command(
        "orderbook requester --category 0",
        js=("orderbook.fetchRequestOrderbook",),
        raw=lambda book: _raw(book, "request"),
    )
    def requester(
        self,
        requester: str | None = None,
        *,
        category: int | str | None = None,
        app: str | None = None,
        dataset: str | None = None,
        beneficiary: str | None = None,
        workerpool: str | None = None,
        tag: Tag = None,
        require_tag: Tag = None,
        max_tag: Tag = None,
        max_trust: int | str | None = None,
        min_volume: int | str | None = None,
        workerpool_strict: bool = False,
        limit: int | str | None = None,
    ) -> pd.DataFrame:
        """Return the open request orders as a DataFrame, best payer first; prices in nRLC a task.

        Parameters
        ----------
        requester
            Only requests of this address.
        category
            Only tasks of this size.
        app, dataset, beneficiary
            Only requests for this app or dataset, or whose result is for this beneficiary.
        workerpool
            Also requests that are restricted to this pool, or ``any``; default: unrestricted requests only.
        tag
            The tag that orders must have; short for `require_tag` and `max_tag` together.
        require_tag, max_tag
            Bits that must, and bits that may be set; names such as ``tee,tdx``.
        max_trust
            Largest trust.
        min_volume
            Smallest remaining volume, in tasks.
        workerpool_strict
            Only orders that are restricted to just that address, without the unrestricted ones.
        limit
            At most so many orders; default: the whole book.

        Returns
        -------
        pandas.DataFrame
            Schema `tables.REQUEST_ORDERS`, one row an order.

        Raises
        ------
        ValidationError
            When a filter is malformed.
        MarketCallError
            When the market does not answer.

        Source
        ------
        Endpoint ``GET /requestorders`` of the market API.
        """
        filters: dict[str, Any] = {
            "requester": _one(requester, "requester"), "category": _number(category, "category"),
            "app": _one(app, "app"), "dataset": _one(dataset, "dataset"),
            "beneficiary": _one(beneficiary, "beneficiary"), "workerpool": _one(workerpool, "workerpool"),
            "maxTrust": _number(max_trust, "max_trust"),
        }  # fmt: skip
        filters |= {"isWorkerpoolStrict": workerpool_strict}
        return self._book("request", filters | _tags(tag, require_tag, max_tag) | _volume(min_volume), limit)

    def _book(self, kind: str, filters: dict[str, Any], limit: int | str | None) -> pd.DataFrame:
        from iexec_nb import tables

        most = _number(limit, "limit")
        rows = self._client.market.orders(kind, **filters)
        raw = itertools.islice(rows, None if most is None else min(most, sys.maxsize))
        wanted = {name: filters.get(name) for name in _MUST_EQUAL[kind] if filters.get(name) != "any"}
        wanted |= _strictly(kind, filters)
        orders = verified(self._chain, kind, raw, **wanted)
        attrs = {
            "chain": self._client.network.name, "chain_id": self._chain.chain_id,
            "hub_address": self._chain.hub_address, "block": self._chain.block_number(),
            "source": f"market {kind}orders", "fetched_at": datetime.now(UTC).isoformat(timespec="seconds"),
        }  # fmt: skip
        return tables.frame(tables.ORDER_TABLES[kind], orders, attrs=attrs)


_MUST_EQUAL = {
    "app": ("app",),
    "dataset": ("dataset",),
    "workerpool": ("workerpool", "category"),
    "request": ("requester", "category", "app", "dataset", "beneficiary"),
}


def _strictly(kind: str, filters: dict[str, Any]) -> dict[str, Any]:
    """Return the values that fields must have because of filters that leave nothing open."""
    wanted: dict[str, Any] = {"datasetprice": 0} if filters.get("bulkOnly") else {}
    for party in ("app", "dataset", "workerpool", "requester"):
        value = filters.get(party)
        if filters.get(f"is{party.capitalize()}Strict") and value not in (None, "any"):
            # A request says which workerpool it wants in the field itself.
            wanted[party if kind == "request" else f"{party}restrict"] = value
    return wanted


def _one(value: str | None, name: str) -> str | None:
    return value if value in (None, "any") else address(value, name)


def _owner(value: str | None, name: str) -> str | None:
    return None if value is None else address(value, name)


def _number(value: int | str | None, name: str) -> int | None:
    return None if value is None else uint256(value, name)


def _volume(value: int | str | None) -> dict[str, int | None]:
    return {"minVolume": _number(value, "min_volume")}


def _tags(tag: Tag, require_tag: Tag, max_tag: Tag) -> dict[str, str | None]:
    if tag is not None and (require_tag is not None or max_tag is not None):
        raise ValidationError("tag is short for require_tag and max_tag together", hint="give tag, or the other two")
    least, most = (tag, tag) if tag is not None else (require_tag, max_tag)
    return {
        "minTag": None if least is None else tags.tag(least, "require_tag"),
        "maxTag": None if most is None else tags.tag(most, "max_tag"),
    }


_RAW = {
    "app": ("orderHash", "price", "remaining", "app", "tag", "datasetrestrict", "workerpoolrestrict",
            "requesterrestrict"),
    "dataset": ("orderHash", "price", "remaining", "dataset", "tag", "apprestrict", "workerpoolrestrict",
                "requesterrestrict"),
    "workerpool": ("orderHash", "price", "remaining", "category", "tag", "trust", "workerpool", "apprestrict",
                   "datasetrestrict", "requesterrestrict"),
    "request": ("orderHash", "app", "dataset", "workerpool", "requester", "beneficiary", "category", "tag", "trust",
                "price", "remaining"),
}  # fmt: skip


def _raw(book: pd.DataFrame, kind: str) -> dict[str, Any]:
    """Return the rows of a book as the CLI's ``--raw`` has them: numbers as the market sends them."""
    table = book.rename(columns={ORDERS[kind].PRICE: "price"})[list(_RAW[kind])]
    rows = zip(*([_json_number(cell) for cell in table[name].tolist()] for name in _RAW[kind]), strict=True)
    return {"count": JsonNumber(len(book)), f"{kind}Orders": [dict(zip(_RAW[kind], row, strict=True)) for row in rows]}


def _json_number(cell: Any) -> Any:
    return JsonNumber(cell) if type(cell) is int else cell

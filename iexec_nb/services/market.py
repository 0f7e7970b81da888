"""The market API, where signed orders are listed: the four order books, deals, categories, publishing and unpublishing.

A market is a stranger. It gives raw records, which ``protocol.orders`` checks by hash and signature. Its paging is
followed as long as it makes progress, and what it asks to sign is a login or is refused. Query strings are those of the
JavaScript SDK 9.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from iexec_nb.errors import ValidationError
from iexec_nb.protocol.orders import ORDERS, Order
from iexec_nb.protocol.tags import tag
from iexec_nb.protocol.typed_data import Domain
from iexec_nb.protocol.types import Address, Bytes32, address, bytes32, shown, uint256
from iexec_nb.services.http import ChallengeAuth, Http

if TYPE_CHECKING:
    from iexec_nb.services.wallet import Signer

MIN_PAGE_SIZE = 10
MAX_PAGE_SIZE = 1000
MAX_ROWS = 1_000_000
"""Where following a market's pages ends; no order book of iExec comes near it."""
_MAX_PAGES = 10_000
_MAX_JSON_INT = 2**53 - 1
_CHALLENGE = re.compile(r"Sign this message to log into iExec Gateway: [!-~]{1,256}")

_STRICT = {
    "app": ("isDatasetStrict", "isWorkerpoolStrict", "isRequesterStrict"),
    "dataset": ("isAppStrict", "isWorkerpoolStrict", "isRequesterStrict", "bulkOnly"),
    "workerpool": ("isAppStrict", "isDatasetStrict", "isRequesterStrict"),
    "request": ("isWorkerpoolStrict",),
}
_RESOURCES = ("app", "dataset", "workerpool", "requester")
_COMMON = (*_RESOURCES, "minTag", "maxTag", "minVolume")
ORDER_FILTERS = {
    "app": (*_COMMON, "appOwner", *_STRICT["app"]),
    "dataset": (*_COMMON, "datasetOwner", *_STRICT["dataset"]),
    "workerpool": (*_COMMON, "workerpoolOwner", "category", "minTrust", *_STRICT["workerpool"]),
    "request": (*_COMMON, "beneficiary", "category", "maxTrust", *_STRICT["request"]),
}
"""What each order book can be filtered by."""
DEAL_FILTERS = (
    *_RESOURCES, "beneficiary", "category", "appOwner", "datasetOwner", "workerpoolOwner",
    "apporderHash", "datasetorderHash", "workerpoolorderHash", "requestorderHash",
)  # fmt: skip
"""What deals can be filtered by."""
_FLAGS = frozenset(name for names in _STRICT.values() for name in names)
_NUMBERS = frozenset({"category", "minTrust", "maxTrust", "minVolume", "minWorkClockTimeRef", "maxWorkClockTimeRef"})
_TAGS = frozenset({"minTag", "maxTag"})


class Market:
    """A market API on one chain.

    Parameters
    ----------
    http
        The service, with :class:`~iexec_nb.errors.MarketCallError` as its error.
    chain_id
        The chain whose orders are meant.
    """

    def __init__(self, http: Http, chain_id: int) -> None:
        self.http = http
        self.chain_id = chain_id
        self.domain = Domain(name="iExec Gateway", version="1", chainId=chain_id)

    def pages(self, kind: str, *, page_size: int = MAX_PAGE_SIZE, **filters: Any) -> Iterator[list[dict[str, Any]]]:
        """Yield an order book page by page: published orders as the market sends them, each ``orderHash`` once.

        Orders stand in the market's order: cheapest first, for request orders best paid first.

        Parameters
        ----------
        kind
            ``app``, ``dataset``, ``workerpool`` or ``request``.
        page_size
            Orders in one request, 10 to 1000.
        filters
            See `ORDER_FILTERS`; addresses of restrictions also as ``"any"``, tags also as names, None for no filter.

        Raises
        ------
        ValidationError
            Unknown kind or filter, malformed value, or neither ``app`` nor ``appOwner`` (``dataset`` likewise) given.
        MarketCallError
            The market failed, or its pages do not end.

        Notes
        -----
        Endpoints ``GET /{kind}orders``.
        """
        path = _path(kind)
        query: dict[str, Any] = dict.fromkeys(_STRICT[kind], False)
        query.update(_query(filters, ORDER_FILTERS[kind]))
        if kind in ("app", "dataset") and not query.keys() & {kind, f"{kind}Owner"}:
            raise ValidationError(
                f"{kind} or {kind}Owner is required", hint=f'give {kind}="0x...", or {kind}="any" for every {kind}'
            )
        return self._pages(path, "orders", "orderHash", query, page_size)

    def orders(self, kind: str, *, page_size: int = MAX_PAGE_SIZE, **filters: Any) -> Iterator[dict[str, Any]]:
        """Yield the published orders of an order book one by one; see :meth:`pages`."""
        pages = self.pages(kind, page_size=page_size, **filters)
        return (order for page in pages for order in page)

    def order(self, kind: str, orderHash: Bytes32) -> dict[str, Any]:
        """Return one published order, open or not (``GET /{kind}orders/{orderHash}``).

        Raises
        ------
        MarketCallError
            ``.status`` is 404 where the market has no such order.
        """
        wanted = bytes32(orderHash, "orderHash")
        body = self.http.get_json(f"{_path(kind)}/{wanted}", {"chainId": self.chain_id})
        if body.get("orderHash") != wanted:
            self.http.fail(
                "The market answered with another order", asked=wanted, answered=shown(body.get("orderHash"))
            )
        return {key: value for key, value in body.items() if key != "ok"}

    def publish(self, order: Order, signer: Signer) -> Bytes32:
        """Publish a signed order and return the hash under which the market lists it (``POST /{kind}orders``).

        Raises
        ------
        ValidationError
            The order is not signed, or holds a number that the market cannot.
        MarketCallError
            The market refused; its reason is in the message.
        """
        if not order.is_signed:
            raise ValidationError(f"the {order.kind}order is not signed", hint="sign it first: order.sign(...)")
        for name in order.FIELDS:
            value = getattr(order, name)
            if isinstance(value, int) and value > _MAX_JSON_INT:
                raise ValidationError(
                    f"{name} must be less than or equal to {_MAX_JSON_INT} to be published", context={"given": value}
                )
        body = self._write("POST", order.kind, {"order": order.to_json()}, signer)
        published = body.get("published")
        listed = published.get("orderHash") if isinstance(published, dict) else None
        return self._hash(listed if body.get("ok") else None, "An error occurred while publishing order")

    def unpublish(
        self,
        kind: str,
        signer: Signer,
        *,
        orderHash: Bytes32 | None = None,
        last: Address | None = None,
        all: Address | None = None,
    ) -> list[Bytes32]:
        """Take own orders off the market and return their hashes (``PUT /{kind}orders``); the chain knows them still.

        Parameters
        ----------
        kind
            ``app``, ``dataset``, ``workerpool`` or ``request``.
        signer
            Who published them.
        orderHash, last, all
            Exactly one: the order, or the resource (for request orders the requester) whose last or all orders.

        Raises
        ------
        ValidationError
            None or several of the three are given.
        MarketCallError
            The market refused; its reason is in the message.
        """
        _path(kind)
        given = [name for name, value in (("orderHash", orderHash), ("last", last), ("all", all)) if value is not None]
        if len(given) != 1:
            raise ValidationError("Missing parameter", hint="give exactly one of orderHash=, last= and all=")
        body: dict[str, str] = {"target": f"unpublish_{given[0]}"}
        if orderHash is not None:
            body["orderHash"] = bytes32(orderHash, "orderHash")
        else:
            field = ORDERS[kind].RESOURCE
            body[field] = address(last if all is None else all, field)
        answer = self._write("PUT", kind, body, signer)
        hashes = answer.get("unpublished") if answer.get("ok") else None
        if not isinstance(hashes, list):
            hashes = [None]
        return [self._hash(value, "An error occurred while unpublishing order") for value in hashes]

    def deals(self, *, page_size: int = MAX_PAGE_SIZE, **filters: Any) -> Iterator[dict[str, Any]]:
        """Yield deals as the market sends them, newest first (``GET /deals``); filters are `DEAL_FILTERS`.

        Raises
        ------
        ValidationError
            Unknown filter or malformed value.
        MarketCallError
            The market failed, or its pages do not end.
        """
        pages = self._pages("/deals", "deals", "dealid", _query(filters, DEAL_FILTERS), page_size)
        return (deal for page in pages for deal in page)

    def last_deals(self, **filters: Any) -> tuple[int, list[dict[str, Any]]]:
        """Return how many deals there are and the 20 newest, as the market sends them (``GET /deals``).

        Raises
        ------
        ValidationError
            Unknown filter or malformed value.
        MarketCallError
            The market failed.
        """
        query = {**_query(filters, DEAL_FILTERS), "chainId": self.chain_id, "pageIndex": 0, "pageSize": 20}
        body = self.http.get_json("/deals", query)
        count, deals = body.get("count"), body.get("deals")
        if not body.get("ok") or type(count) is not int or not isinstance(deals, list):
            self.http.fail("An error occurred while getting deals")
        return count, [deal for deal in deals if isinstance(deal, dict)]

    def categories(self, *, page_size: int = MAX_PAGE_SIZE, **filters: Any) -> Iterator[dict[str, Any]]:
        """Yield categories as the market sends them (``GET /categories``); times are in seconds.

        Filters are ``minWorkClockTimeRef`` and ``maxWorkClockTimeRef``.
        """
        query = _query(filters, ("minWorkClockTimeRef", "maxWorkClockTimeRef"))
        pages = self._pages("/categories", "categories", "catid", query, page_size)
        return (category for page in pages for category in page)

    def version(self) -> str:
        """Return the version of the market's software (``GET /version``)."""
        return shown(self.http.get_json("/version").get("version"))

    def metrics(self) -> dict[str, Any]:
        """Return counts of open orders and the last block that the market has seen (``GET /metrics``)."""
        body = self.http.get_json("/metrics", {"chainId": self.chain_id})
        return {key: value for key, value in body.items() if key != "ok"}

    def _write(self, method: str, kind: str, body: dict[str, Any], signer: Signer) -> dict[str, Any]:
        auth = ChallengeAuth(self.http, "/challenge", self.domain, signer, _CHALLENGE)
        return self.http.send_json(method, _path(kind), body, {"chainId": self.chain_id}, auth=auth)

    def _hash(self, value: object, failure: str) -> Bytes32:
        try:
            return bytes32(value, "orderHash")
        except ValidationError as error:
            self.http.fail(failure, cause=error)

    def _pages(
        self, path: str, key: str, name: str, query: dict[str, Any], page_size: int
    ) -> Iterator[list[dict[str, Any]]]:
        size = uint256(page_size, "page_size")
        if not MIN_PAGE_SIZE <= size <= MAX_PAGE_SIZE:
            raise ValidationError(
                f"{size} is not a valid page_size", hint=f"give page_size as {MIN_PAGE_SIZE} to {MAX_PAGE_SIZE}"
            )
        return self._follow(path, key, name, {**query, "chainId": self.chain_id, "pageSize": size})

    def _follow(self, path: str, key: str, name: str, query: dict[str, Any]) -> Iterator[list[dict[str, Any]]]:
        seen: set[str] = set()
        for index in range(_MAX_PAGES):
            body = self.http.get_json(path, {**query, "pageIndex": index})
            rows = body.get(key)
            if not body.get("ok") or not isinstance(rows, list) or not all(_has(row, name) for row in rows):
                self.http.fail(f"An error occurred while getting {'orderbook' if key == 'orders' else key}", page=index)
            # The book moves while it is read: a row that slipped to the next page is not a second row.
            fresh = []
            for row in rows:
                if (mark := str(row[name])) not in seen:
                    seen.add(mark)
                    fresh.append(row)
            if fresh:
                yield fresh
            if not body.get("nextPage") or not rows:
                return
            if not fresh:
                self.http.fail(f"The market repeats its {key} instead of going on", page=index, rows=len(seen))
            if len(seen) >= MAX_ROWS:
                break
        self.http.fail(f"The market does not stop sending {key}", rows=len(seen), hint="filter for fewer of them")


def _has(row: object, name: str) -> bool:
    return isinstance(row, dict) and isinstance(row.get(name), str | int)


def _path(kind: str) -> str:
    if kind not in ORDERS:
        raise ValidationError(f"{shown(kind)} is not a kind of order", hint=f"give one of {', '.join(ORDERS)}")
    return f"/{kind}orders"


def _query(filters: dict[str, Any], known: tuple[str, ...]) -> dict[str, Any]:
    query = {}
    for name, value in filters.items():
        if name not in known:
            close = get_close_matches(name, known, 1)
            hint = f"did you mean {close[0]}?" if close else f"filters: {', '.join(sorted(known))}"
            raise ValidationError(f"{shown(name)} is not a filter here", hint=hint)
        if value is not None:
            query[name] = _parsed(value, name, "Owner" not in name)
    # As in the SDK: a lower bound of 0 is no bound, and the market would refuse a volume of 0.
    return {name: value for name, value in query.items() if value != 0 or name not in ("minVolume", "minTrust")}


def _parsed(value: object, name: str, any_allowed: bool) -> str | int | bool:
    if name in _FLAGS:
        if isinstance(value, bool):
            return value
        raise ValidationError(f"{shown(value)} is not a valid {name}", hint=f"give {name} as True or False")
    if name in _NUMBERS:
        return uint256(value, name)
    if name in _TAGS:
        return tag(value, name)  # type: ignore[arg-type]
    if name.endswith("Hash"):
        return bytes32(value, name)
    return "any" if value == "any" and any_allowed else address(value, name)

"""The sandbox's market API: the order books, the deals and the login that publishing needs, over HTTP.

Routes, checks, messages, sorting and paging are those of ``iexec-market-api`` 7 (reference: market_api.md), so that
the official SDK and our own client cannot tell the difference. Its rate limit is left out: it spares localhost.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException

from iexec_nb.errors import IExecError, InvalidSignatureError, ValidationError
from iexec_nb.protocol.orders import ORDERS, Order
from iexec_nb.protocol.typed_data import Domain
from iexec_nb.protocol.types import Address, shown
from iexec_nb.sandbox.market_query import Reader, book_conditions, check_chain, read_order
from iexec_nb.sandbox.market_rules import BusinessError, accept, unpublish
from iexec_nb.sandbox.market_store import MarketStore, Page
from iexec_nb.sandbox.market_watcher import Watcher
from iexec_nb.sandbox.web import Challenges, dumps, json_response, new_app, random_text

if TYPE_CHECKING:
    from iexec_nb.services.chain import Chain

API_VERSION = "7.1.2"
CHALLENGE_TEXT = "Sign this message to log into iExec Gateway: "
CHALLENGE_LIFETIME_S = 300.0

_DEAL_ADDRESSES = (
    "requester", "beneficiary", "app", "dataset", "workerpool", "appOwner", "datasetOwner", "workerpoolOwner",
)  # fmt: skip
_DEAL_HASHES = ("apporderHash", "datasetorderHash", "workerpoolorderHash", "requestorderHash")
_TARGETS = ("unpublish_orderHash", "unpublish_last", "unpublish_all")


class Market:
    """A market for one chain: what is listed, who is logged in, and how far the chain was followed.

    Parameters
    ----------
    chain
        The chain whose orders are traded.
    max_open_orders
        How many open orders of one kind a wallet may have.
    """

    def __init__(self, chain: Chain, *, max_open_orders: int = 50) -> None:
        self.chain = chain
        self.store = MarketStore()
        self.watcher = Watcher(chain, self.store)
        self.challenges = Challenges(
            Domain(chainId=chain.chain_id, name="iExec Gateway", version="1"),
            lambda: CHALLENGE_TEXT + random_text(),
            lifetime_s=CHALLENGE_LIFETIME_S,
            single_use=True,
        )
        self._max_open_orders = max_open_orders
        self._lock = threading.Lock()
        self._published_at = datetime.fromtimestamp(0, UTC)

    def publish(self, order: Order, caller: Address) -> str:
        """List a signed order after all checks and return its JSON text.

        Parameters
        ----------
        order
            The signed order.
        caller
            Who is logged in.

        Raises
        ------
        BusinessError
            When the market refuses it.
        """
        with self._lock:
            checked = accept(order, caller, self.chain, self.store, max_open_orders=self._max_open_orders)
            self.store.add(
                order,
                orderHash=checked.orderHash,
                signer=checked.signer,
                remaining=checked.remaining,
                chainId=self.chain.chain_id,
                at=self._now(),
            )
        return self.store.order_text(order.kind, checked.orderHash) or "{}"

    def unpublish(self, kind: str, caller: Address, target: str, subject: str) -> list[str]:
        """Remove open orders of `caller` and return their hashes (see `market_rules.unpublish`)."""
        with self._lock:
            return [row.orderHash for row in unpublish(self.store, kind, caller, target, subject)]

    def _now(self) -> str:
        # "The last published order" has to be well defined, also for two orders within one millisecond.
        now = datetime.now(UTC)
        now = now.replace(microsecond=now.microsecond // 1000 * 1000)
        self._published_at = max(now, self._published_at + timedelta(milliseconds=1))
        return self._published_at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def market_app(chain: Chain, *, max_open_orders: int = 50, market: Market | None = None) -> Flask:
    """Return the market API as a WSGI app.

    Parameters
    ----------
    chain
        The chain whose orders are traded.
    max_open_orders
        How many open orders of one kind a wallet may have (the real market: 50).
    market
        The market behind the app, where the caller wants to hold it; a fresh one unless given.
    """
    held = Market(chain, max_open_orders=max_open_orders) if market is None else market
    app = new_app("market")
    app.config["MAX_CONTENT_LENGTH"] = 1 << 20
    app.register_error_handler(Exception, _answer_error)
    app.before_request(held.watcher.sync)
    _add_general_routes(app, held)
    _add_deal_routes(app, held)
    for kind in ORDERS:
        _add_order_routes(app, held, kind)
    return app


def _add_general_routes(app: Flask, market: Market) -> None:
    @app.get("/version")
    def version() -> Response:
        return json_response({"ok": True, "version": API_VERSION})

    @app.get("/metrics")
    def metrics() -> Response:
        _query(market)
        counts = {f"{kind}orders": market.store.count(kind) for kind in ORDERS}
        block = market.watcher.last_block
        return json_response({"ok": True, "lastBlock": block, "checkpointBlock": block, **counts})

    @app.get("/challenge")
    def challenge() -> Response:
        reader = _query(market)
        reader.required("address")
        return json_response({"ok": True, "data": market.challenges.issue(reader.address("address") or "")})

    @app.get("/categories")
    def categories() -> Response:
        reader = _query(market)
        shortest, longest = reader.integer("minWorkClockTimeRef"), reader.integer("maxWorkClockTimeRef")
        skip, limit = reader.paging()
        return _listing("categories", market.store.categories(shortest, longest, skip=skip, limit=limit))

    @app.get("/categories/<catid>")
    def category(catid: str) -> Response:
        _query(market)
        number = Reader({"catid": catid}).integer("catid")
        return _object(market.store.category(number or 0), "category")


def _add_deal_routes(app: Flask, market: Market) -> None:
    @app.get("/deals")
    def deals() -> Response:
        reader = _query(market)
        filters: dict[str, object] = {name: reader.address(name) for name in _DEAL_ADDRESSES}
        filters |= {name: reader.bytes32(name) for name in _DEAL_HASHES}
        filters["category"] = reader.integer("category")
        skip, limit = reader.paging()
        used = {name: value for name, value in filters.items() if value is not None}
        return _listing("deals", market.store.deals(used, skip=skip, limit=limit))

    @app.get("/deals/<dealid>")
    def deal(dealid: str) -> Response:
        _query(market)
        return _object(market.store.deal(Reader({"dealid": dealid}).bytes32("dealid") or ""), "deal")

    @app.get("/ohlc")
    def ohlc() -> Response:
        reader = _query(market)
        reader.required("category")
        prices = market.store.prices(reader.integer("category") or 0)
        return json_response({"ok": True, "ohlc": [list(row) for row in prices]})


def _add_order_routes(app: Flask, market: Market, kind: str) -> None:
    name, path = f"{kind}order", f"/{kind}orders"

    def listing() -> Response:
        reader = _query(market)
        conditions = book_conditions(kind, reader, market.store)
        skip, limit = reader.paging()
        return _listing("orders", market.store.page(kind, conditions, skip=skip, limit=limit))

    def single(order_hash: str) -> Response:
        _query(market)
        found = Reader({"orderHash": order_hash}).bytes32("orderHash") or ""
        return _object(market.store.order_text(kind, found), name)

    def publish() -> Response:
        _query(market)
        caller = _caller(market)
        published = market.publish(read_order(kind, _json_body()), caller)
        return json_response(f'{{"ok":true,"published":{published}}}')

    def remove() -> Response:
        _query(market)
        caller = _caller(market)
        target, subject = _unpublish_target(kind, Reader(_json_body()))
        return json_response({"ok": True, "unpublished": market.unpublish(kind, caller, target, subject)})

    app.add_url_rule(path, f"list_{kind}", listing, methods=["GET"])
    app.add_url_rule(path, f"publish_{kind}", publish, methods=["POST"])
    app.add_url_rule(path, f"unpublish_{kind}", remove, methods=["PUT"])
    app.add_url_rule(f"{path}/<order_hash>", f"show_{kind}", single, methods=["GET"])


def _unpublish_target(kind: str, reader: Reader) -> tuple[str, str]:
    target = reader.values.get("target", _TARGETS[0])
    if target not in _TARGETS:
        raise ValidationError(f"target must be one of the following values: {', '.join(_TARGETS)}")
    if target == _TARGETS[0]:
        reader.required("orderHash")
        return _TARGETS[0], reader.bytes32("orderHash") or ""
    field = ORDERS[kind].RESOURCE
    reader.required(field)
    return str(target), reader.address(field) or ""


def _query(market: Market) -> Reader:
    reader = Reader(request.args.to_dict())
    check_chain(reader, market.chain.chain_id)
    return reader


def _caller(market: Market) -> Address:
    return market.challenges.signer(request.headers.get("Authorization", ""))


def _json_body() -> Mapping[str, object]:
    body = request.get_json(force=True, silent=True)
    return body if isinstance(body, dict) else {}


def _listing(name: str, page: Page) -> Response:
    following = "" if page.next is None else f',"nextPage":{page.next}'
    return json_response(f'{{"ok":true,"{name}":[{",".join(page.texts)}],"count":{page.count}{following}}}')


def _object(text: str | None, name: str) -> Response:
    if text is None:
        return json_response({"ok": False, "error": f"{name} not found"}, 404)
    return json_response('{"ok":true,' + text[1:])


def _answer_error(error: Exception) -> Response:
    """Map an error to the status and the sentence of the real market."""
    if isinstance(error, HTTPException):
        return Response(error.name, error.code or 500, mimetype="text/plain")
    if isinstance(error, InvalidSignatureError):
        return json_response({"ok": False, "error": "invalid authorization"}, 403)
    if isinstance(error, BusinessError):
        return json_response({"ok": False, "error": str(error)}, 403)
    if isinstance(error, ValidationError):
        return json_response({"ok": False, "error": error.message}, 400)
    reason = shown(error.message if isinstance(error, IExecError) else type(error).__name__, 200)
    # The real market keeps the reason to itself; here it helps whoever debugs a sandbox.
    return json_response(dumps({"ok": False, "error": "Internal error", "reason": reason}), 500)

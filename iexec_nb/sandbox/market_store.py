"""What the sandbox's market remembers: published orders, deals and categories, in an SQLite database in memory.

An order book of ten thousand orders has to be listed as fast as the real market lists it, so each order is kept as
the JSON text in which it is answered; a filter is one indexed query, and a page is made by joining texts.
"""

from __future__ import annotations

import sqlite3
import threading
import weakref
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from iexec_nb.protocol.orders import DATASET_INFINITE_VOLUME, ORDERS, Order, RequestOrder
from iexec_nb.protocol.types import NULL_ADDRESS, Address, Bytes32
from iexec_nb.sandbox.web import dumps

_RESOURCES = ("app", "dataset", "workerpool", "requester")
_NUMBERS = {
    "appprice", "datasetprice", "workerpoolprice", "appmaxprice", "datasetmaxprice", "workerpoolmaxprice",
    "volume", "category", "trust",
}  # fmt: skip
_SCHEMA = """
CREATE TABLE orders (
  kind TEXT, orderHash TEXT, status TEXT, remaining INTEGER, volume INTEGER, sortprice INTEGER, price INTEGER,
  app TEXT, dataset TEXT, workerpool TEXT, requester TEXT, beneficiary TEXT,
  appmaxprice INTEGER, datasetmaxprice INTEGER, category INTEGER, trust INTEGER, tag TEXT,
  publicationTimestamp TEXT, signer TEXT, head TEXT, tail TEXT
);
CREATE UNIQUE INDEX by_hash ON orders (kind, orderHash);
-- Holds every column that a listing filters by, so that a row which is not shown is not read.
CREATE INDEX by_price ON orders (
  kind, status, sortprice, publicationTimestamp, orderHash, app, dataset, workerpool, requester, beneficiary,
  category, trust, tag, remaining, volume, price, signer
);
CREATE INDEX by_signer ON orders (kind, status, signer);
CREATE TABLE deals (
  dealid TEXT PRIMARY KEY, blockNumber INTEGER, blockTimestamp TEXT, volume INTEGER, price INTEGER, category INTEGER,
  requester TEXT, beneficiary TEXT, app TEXT, dataset TEXT, workerpool TEXT, appOwner TEXT, datasetOwner TEXT,
  workerpoolOwner TEXT, apporderHash TEXT, datasetorderHash TEXT, workerpoolorderHash TEXT, requestorderHash TEXT,
  body TEXT
) WITHOUT ROWID;
CREATE INDEX deals_by_block ON deals (blockNumber DESC, dealid);
CREATE TABLE categories (catid INTEGER PRIMARY KEY, workClockTimeRef INTEGER, body TEXT);
"""


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a listing: JSON texts, how many records match in all, and where the next page starts."""

    texts: tuple[str, ...]
    count: int
    next: int | None


@dataclass(frozen=True, slots=True)
class Listed:
    """What the market's own rules need to know about a published order; prices in nRLC."""

    kind: str
    orderHash: Bytes32
    status: str
    remaining: int
    volume: int
    price: int
    app: Address
    dataset: Address
    workerpool: Address
    requester: Address
    appmaxprice: int
    datasetmaxprice: int
    tag: Bytes32
    signer: Address


_LISTED = ", ".join(Listed.__slots__)


class MarketStore:
    """Thread-safe tables of orders, deals and categories.

    Every method is one transaction under one lock: the services of a sandbox are called from several threads, and an
    SQLite connection in memory is one object.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        # Requests come from several threads; the lock above is what serialises them.
        self._db = sqlite3.connect(":memory:", check_same_thread=False)
        weakref.finalize(self, self._db.close)
        self._db.executescript(_SCHEMA)

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Hold the store for several calls that belong together."""
        with self._lock:
            yield

    # orders

    def add(self, order: Order, *, orderHash: Bytes32, signer: Address, remaining: int, chainId: int, at: str) -> None:
        """List an order as open; one that died is listed again with its first publication time.

        Parameters
        ----------
        order
            A signed order.
        orderHash
            Its EIP-712 hash.
        signer
            Who may unpublish it.
        remaining
            Volume (tasks) that is not consumed on the chain.
        chainId
            The chain of the market.
        at
            Publication time, ISO 8601 with milliseconds and Z.
        """
        head, tail = _texts(order, orderHash, chainId, signer, at)
        row = {name: getattr(order, name, None) for name in ("category", "trust", "beneficiary")} | _subjects(order)
        row |= {
            "kind": order.kind, "orderHash": orderHash, "status": "open", "remaining": remaining,
            "volume": order.volume,
            "price": order.price, "sortprice": -order.price if order.kind == "request" else order.price,
            "appmaxprice": getattr(order, "appmaxprice", 0), "datasetmaxprice": getattr(order, "datasetmaxprice", 0),
            "tag": order.tag, "publicationTimestamp": at, "signer": signer, "head": head, "tail": tail,
        }  # fmt: skip
        names = ", ".join(row)
        marks = ", ".join(f":{name}" for name in row)
        with self._lock, self._db:
            self._db.execute(
                f"INSERT INTO orders ({names}) VALUES ({marks}) "  # noqa: S608 - names are the fixed columns above
                "ON CONFLICT (kind, orderHash) DO UPDATE SET status = 'open', remaining = excluded.remaining",
                row,
            )

    def order_text(self, kind: str, orderHash: Bytes32) -> str | None:
        """Return the JSON text of one published order of any status, or None."""
        with self._lock:
            row = self._db.execute(
                f"SELECT {_TEXT} FROM orders WHERE kind = ? AND orderHash = ?",  # noqa: S608 - fixed columns
                (kind, orderHash),
            ).fetchone()
        return None if row is None else str(row[0])

    def find(self, kind: str, orderHash: Bytes32) -> Listed | None:
        """Return what is known of one published order of any status, or None."""
        rows = self.listed("kind = ? AND orderHash = ?", kind, orderHash)
        return rows[0] if rows else None

    def listed(self, where: str, *values: object) -> list[Listed]:
        """Return orders by a condition over the columns, cheapest and oldest first."""
        with self._lock:
            rows = self._db.execute(
                f"SELECT {_LISTED} FROM orders WHERE {where} "  # noqa: S608 - conditions come from this package only
                "ORDER BY sortprice, publicationTimestamp, orderHash",
                values,
            ).fetchall()
        return [Listed(*row) for row in rows]

    def newest(self, kind: str, signer: Address, resource: Address) -> list[Listed]:
        """Return the open orders of `signer` for one resource, newest first."""
        field = ORDERS[kind].RESOURCE
        rows = self.listed(f"kind = ? AND status = 'open' AND signer = ? AND {field} = ?", kind, signer, resource)
        times = self._times(kind, [row.orderHash for row in rows])
        return sorted(rows, key=lambda row: times[row.orderHash], reverse=True)

    def count(self, kind: str, signer: Address | None = None) -> int:
        """Return how many orders of a kind are open, of everybody or of one signer."""
        extra, values = ("", (kind,)) if signer is None else (" AND signer = ?", (kind, signer))
        with self._lock:
            query = f"SELECT count(*) FROM orders WHERE kind = ? AND status = 'open'{extra}"  # noqa: S608 - fixed text
            return int(self._db.execute(query, values).fetchone()[0])

    def update(self, kind: str, orderHash: Bytes32, *, status: str | None = None, remaining: int | None = None) -> None:
        """Change the status or the remaining volume of one order; unknown orders are ignored."""
        with self._lock, self._db:
            self._db.execute(
                "UPDATE orders SET status = coalesce(?, status), remaining = coalesce(?, remaining) "
                "WHERE kind = ? AND orderHash = ?",
                (status, remaining, kind, orderHash),
            )

    def remove(self, kind: str, hashes: Iterable[Bytes32]) -> None:
        """Forget orders: an unpublished order leaves no trace."""
        with self._lock, self._db:
            self._db.executemany(
                "DELETE FROM orders WHERE kind = ? AND orderHash = ?", [(kind, orderHash) for orderHash in hashes]
            )

    def page(self, kind: str, conditions: Sequence[tuple[str, object]], *, skip: int, limit: int) -> Page:
        """Return open orders that meet all conditions, in the order in which the market lists them.

        Parameters
        ----------
        kind
            ``app``, ``dataset``, ``workerpool`` or ``request``.
        conditions
            SQL conditions over the columns, each with the value of its one ``?``.
        skip, limit
            Records left out at the start, and at most returned.
        """
        where = " AND ".join(["kind = ?", "status = 'open'", *(text for text, _ in conditions)])
        values = [kind, *(value for _, value in conditions)]
        order = "sortprice, publicationTimestamp, orderHash"
        return self._page("orders", _TEXT, where, values, order, skip, limit)

    def tags(self, kind: str, minimum: int, maximum: int | None) -> list[Bytes32]:
        """Return the tags of open orders that have every bit of `minimum` and none outside `maximum`."""
        with self._lock:
            rows = self._db.execute("SELECT DISTINCT tag FROM orders WHERE kind = ? AND status = 'open'", (kind,))
            tags = [row[0] for row in rows]
        return [
            tag
            for tag in tags
            if int(tag, 16) & minimum == minimum and (maximum is None or not int(tag, 16) & ~maximum)
        ]

    def _times(self, kind: str, hashes: Sequence[Bytes32]) -> dict[Bytes32, str]:
        with self._lock:
            rows = self._db.execute(
                "SELECT orderHash, publicationTimestamp FROM orders "
                "WHERE kind = ? AND orderHash IN (SELECT value FROM json_each(?))",
                (kind, dumps(list(hashes))),
            )
            return dict(rows.fetchall())

    # deals and categories

    def add_deal(self, columns: Mapping[str, object]) -> None:
        """Keep a deal; one that is known is left as it is."""
        names = ", ".join(columns)
        marks = ", ".join(f":{name}" for name in columns)
        with self._lock, self._db:
            query = f"INSERT OR IGNORE INTO deals ({names}) VALUES ({marks})"  # noqa: S608 - columns of the watcher
            self._db.execute(query, dict(columns))

    def deal(self, dealid: Bytes32) -> str | None:
        """Return the JSON text of one deal, or None."""
        with self._lock:
            row = self._db.execute("SELECT body FROM deals WHERE dealid = ?", (dealid,)).fetchone()
        return None if row is None else str(row[0])

    def deals(self, filters: Mapping[str, object], *, skip: int, limit: int) -> Page:
        """Return deals, newest block first, whose columns equal the filters."""
        where = " AND ".join([f"{name} = ?" for name in filters] or ["1"])
        return self._page("deals", "body", where, list(filters.values()), "blockNumber DESC, dealid", skip, limit)

    def prices(self, category: int, limit: int = 100) -> list[tuple[str, int, int]]:
        """Return time, workerpool price (nRLC) and volume of the newest deals of a category."""
        with self._lock:
            return self._db.execute(
                "SELECT blockTimestamp, price, volume FROM deals WHERE category = ? "
                "ORDER BY blockNumber DESC, price, dealid LIMIT ?",
                (category, limit),
            ).fetchall()

    def add_category(self, catid: int, workClockTimeRef: int, body: str) -> None:
        """Keep a category; one that is known is left as it is."""
        with self._lock, self._db:
            self._db.execute("INSERT OR IGNORE INTO categories VALUES (?, ?, ?)", (catid, workClockTimeRef, body))

    def category(self, catid: int) -> str | None:
        """Return the JSON text of one category, or None."""
        with self._lock:
            row = self._db.execute("SELECT body FROM categories WHERE catid = ?", (catid,)).fetchone()
        return None if row is None else str(row[0])

    def categories(self, minimum: int | None, maximum: int | None, *, skip: int, limit: int) -> Page:
        """Return categories by their time reference (seconds), shortest first."""
        bounds = [("workClockTimeRef >= ?", minimum), ("workClockTimeRef <= ?", maximum)]
        used = [(text, value) for text, value in bounds if value is not None]
        where = " AND ".join([text for text, _ in used] or ["1"])
        values: list[object] = [value for _, value in used]
        return self._page("categories", "body", where, values, "workClockTimeRef, catid", skip, limit)

    def _page(
        self, table: str, column: str, where: str, values: Sequence[object], order: str, skip: int, limit: int
    ) -> Page:
        with self._lock:
            total = self._db.execute(f"SELECT count(*) FROM {table} WHERE {where}", values)  # noqa: S608 - see page
            count = int(total.fetchone()[0])
            query = f"SELECT {column} FROM {table} WHERE {where} ORDER BY {order} LIMIT ? OFFSET ?"  # noqa: S608
            texts = tuple(row[0] for row in self._db.execute(query, (*values, limit, skip)))
        # The real market offers a next page whenever this one is full, also after the last record.
        return Page(texts, count, skip + limit if len(texts) == limit else None)


_TEXT = 'head || remaining || \',"status":"\' || status || tail'


def _texts(order: Order, orderHash: Bytes32, chainId: int, signer: Address, at: str) -> tuple[str, str]:
    """Return the two constant parts of an order's JSON; remaining volume and status go between them."""
    fields: dict[str, object] = {
        name: int(value) if name in _NUMBERS else value for name, value in order.to_json().items()
    }
    head = {"orderHash": orderHash, "order": fields, "chainId": chainId}
    tail: dict[str, object] = {"publicationTimestamp": at, "signer": signer}
    if order.kind == "dataset":
        tail["bulk"] = order.volume >= DATASET_INFINITE_VOLUME - 1 and order.price == 0
    return dumps(head)[:-1] + ',"remaining":', '",' + dumps(tail)[1:]


def _subjects(order: Order) -> dict[str, Address]:
    """Return the four addresses that filters look at: what the order is about, else what it is restricted to."""
    if isinstance(order, RequestOrder):
        return {name: getattr(order, name) for name in _RESOURCES}
    return {
        name: order.resource if name == order.RESOURCE else getattr(order, f"{name}restrict", NULL_ADDRESS)
        for name in _RESOURCES
    }

"""Reading what a caller of the sandbox's market sent, with the messages of the real one.

The real server checks with the JavaScript library yup, and its messages reach users through the SDK; so the same
mistakes get the same sentences here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from iexec_nb.errors import ValidationError
from iexec_nb.protocol.orders import ORDERS, Order
from iexec_nb.protocol.types import NULL_ADDRESS, Address, Bytes32, shown
from iexec_nb.sandbox.market_store import MarketStore
from iexec_nb.sandbox.web import address_or_none, dumps

ANY = "any"
MAX_SAFE_INTEGER = 2**53 - 1
DEFAULT_PAGE_SIZE, MIN_PAGE_SIZE, MAX_PAGE_SIZE = 20, 10, 1000

_BYTES32 = re.compile(r"0x[0-9a-f]{64}")
_SIGN = re.compile(r"0x(?:[0-9a-f]{2})*")
_INTEGER = re.compile(r"[+-]?[0-9]{1,40}")
_DECIMAL = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_BYTES32_FIELDS = {"tag", "salt"}
_TEXT_FIELDS = {"params"}
_INTEGER_FIELDS = {
    "appprice", "datasetprice", "workerpoolprice", "appmaxprice", "datasetmaxprice", "workerpoolmaxprice",
    "volume", "category", "trust",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Reader:
    """Values by name, read with their rule; the first that breaks one raises.

    Parameters
    ----------
    values
        The query string, or the JSON body.
    prefix
        Put before names in messages, such as ``order.``.
    """

    values: Mapping[str, object]
    prefix: str = ""

    def required(self, name: str, message: str | None = None) -> object:
        """Return a value that must be there."""
        value = self.values.get(name)
        if value is None or value == "":
            raise ValidationError(message or f"{self.prefix}{name} is a required field")
        return value

    def address(self, name: str) -> Address | None:
        """Return an address, or None where it is missing."""
        value = self.values.get(name)
        if value is None:
            return None
        found = address_or_none(value)
        if found is None:
            raise ValidationError(f"{self.prefix}{name} is not a valid ethereum address")
        return found

    def address_or_any(self, name: str) -> str | None:
        """Return an address, the word ``any``, or None where it is missing."""
        if self.values.get(name) == ANY:
            return ANY
        try:
            return self.address(name)
        except ValidationError:
            raise ValidationError(f'{self.prefix}{name} is neither "any" nor a valid ethereum address') from None

    def bytes32(self, name: str) -> Bytes32 | None:
        """Return a hash or a tag in lower case, or None where it is missing."""
        value = self.values.get(name)
        if value is None:
            return None
        text = value.lower() if isinstance(value, str) else ""
        if not _BYTES32.fullmatch(text):
            raise ValidationError(f"{self.prefix}{name} must be a bytes32 hexstring")
        return text

    def integer(self, name: str, minimum: int = 0, maximum: int = MAX_SAFE_INTEGER) -> int | None:
        """Return a whole number within bounds, or None where it is missing."""
        value = self.values.get(name)
        if value is None:
            return None
        path = f"{self.prefix}{name}"
        text = "" if isinstance(value, bool) else str(value).strip()
        if not _DECIMAL.fullmatch(text):
            given = dumps(value) if isinstance(value, str) else shown(value)
            raise ValidationError(
                f"{path} must be a `number` type, but the final value was: `NaN` (cast from the value `{given}`)."
            )
        if not _INTEGER.fullmatch(text):
            raise ValidationError(f"{path} must be an integer")
        number = int(text)
        if number < minimum:
            raise ValidationError(f"{path} must be greater than or equal to {minimum}")
        if number > maximum:
            raise ValidationError(f"{path} must be less than or equal to {maximum}")
        return number

    def boolean(self, name: str) -> bool:
        """Return a flag; false where it is missing."""
        value = self.values.get(name)
        if value is None or isinstance(value, bool):
            return bool(value)
        if isinstance(value, str) and value.lower() in ("true", "1"):
            return True
        if isinstance(value, str) and value.lower() in ("false", "0"):
            return False
        raise ValidationError(
            f"{self.prefix}{name} must be a `boolean` type, but the final value was: `{dumps(value)}`."
        )

    def paging(self) -> tuple[int, int]:
        """Return how many records to leave out and how many to give, from pageIndex and pageSize or the old page."""
        page = self.integer("page")
        index = self.integer("pageIndex")
        size = self.integer("pageSize", MIN_PAGE_SIZE, MAX_PAGE_SIZE)
        if index is None and size is None:
            return page or 0, DEFAULT_PAGE_SIZE
        limit = size or DEFAULT_PAGE_SIZE
        return limit * (index or 0), limit


def check_chain(reader: Reader, chain_id: int) -> None:
    """Refuse a request that is for no chain, or for another one than the market's."""
    value = reader.required("chainId")
    if str(value) != str(chain_id):
        raise ValidationError(f"chainId {shown(value)} is not supported")


def read_order(kind: str, body: object) -> Order:
    """Return the signed order of a publish request.

    Raises
    ------
    ValidationError
        In the words of the real market, for a field that is missing or malformed.
    """
    fields = body.get("order") if isinstance(body, Mapping) else None
    reader = Reader(fields if isinstance(fields, Mapping) else {}, "order.")
    values: dict[str, object] = {}
    for name in (*ORDERS[kind].FIELDS, "salt", "sign"):
        reader.required(name)
        values[name] = _field(reader, name)
    return ORDERS[kind].from_json(values)


def _field(reader: Reader, name: str) -> object:
    if name in _INTEGER_FIELDS:
        return reader.integer(name, minimum=1 if name == "volume" else 0)
    if name in _BYTES32_FIELDS:
        return reader.bytes32(name)
    if name in _TEXT_FIELDS:
        return str(reader.values[name])
    if name == "sign":
        text = str(reader.values[name]).lower()
        if not _SIGN.fullmatch(text):
            raise ValidationError("order.sign must be a valid signature")
        return text
    return reader.address(name)


@dataclass(frozen=True, slots=True)
class Book:
    """What one order book can be asked for.

    Parameters
    ----------
    subjects
        Filters on what the order is about (address or ``any``).
    restrictions
        Filters on whom it accepts; where absent, only orders that accept everybody are listed.
    owner
        Filter on the signer.
    """

    subjects: tuple[str, ...]
    restrictions: tuple[str, ...]
    owner: str | None = None


BOOKS: Mapping[str, Book] = {
    "app": Book(("app",), ("dataset", "workerpool", "requester"), "appOwner"),
    "dataset": Book(("dataset",), ("app", "workerpool", "requester"), "datasetOwner"),
    "workerpool": Book(("workerpool",), ("app", "dataset", "requester"), "workerpoolOwner"),
    "request": Book(("app", "dataset", "requester", "beneficiary"), ("workerpool",)),
}


def book_conditions(kind: str, reader: Reader, store: MarketStore) -> list[tuple[str, object]]:
    """Return the SQL conditions of an order book request (``GET /{kind}orders``).

    Raises
    ------
    ValidationError
        In the words of the real market.
    """
    book = BOOKS[kind]
    subjects = {name: reader.address_or_any(name) for name in book.subjects}
    owner = reader.address(book.owner) if book.owner else None
    if kind in ("app", "dataset") and not owner:
        reader.required(kind, f"{kind} or {kind}Owner is required")
    conditions: list[tuple[str, object]] = [
        (f"{name} = ?", value) for name, value in subjects.items() if value not in (None, ANY)
    ]
    if owner:
        conditions.append(("signer = ?", owner))
    for name in book.restrictions:
        conditions += _restriction(name, reader.address_or_any(name), reader.boolean(f"is{name.capitalize()}Strict"))
    return conditions + _numbers(kind, reader) + _tags(kind, reader, store)


def _restriction(name: str, value: str | None, strict: bool) -> list[tuple[str, object]]:
    if value == ANY:
        return []
    if value is None or (strict and value == NULL_ADDRESS):
        return [(f"{name} = ?", NULL_ADDRESS)]
    if strict:
        return [(f"{name} = ?", value)]
    return [(f"{name} IN ('{NULL_ADDRESS}', ?)", value)]


def _numbers(kind: str, reader: Reader) -> list[tuple[str, object]]:
    conditions: list[tuple[str, object]] = []
    volume = reader.integer("minVolume", 1)
    if volume is not None:
        conditions.append(("remaining >= ?", volume))
    if kind == "dataset" and reader.boolean("bulkOnly"):
        conditions += [("volume >= ?", MAX_SAFE_INTEGER - 1), ("price = ?", 0)]
    if kind not in ("workerpool", "request"):
        return conditions
    category = reader.integer("category")
    if category is not None:
        conditions.append(("category = ?", category))
    trust = reader.integer("minTrust" if kind == "workerpool" else "maxTrust")
    if kind == "request" and trust is not None:
        conditions.append(("trust <= ?", trust))
    # Trust 0 and 1 mean the same to the contracts, so a minimum of 1 filters nothing.
    if kind == "workerpool" and trust is not None and trust > 1:
        conditions.append(("trust >= ?", trust))
    return conditions


def _tags(kind: str, reader: Reader, store: MarketStore) -> list[tuple[str, object]]:
    minimum, maximum = reader.bytes32("minTag"), reader.bytes32("maxTag")
    if minimum is None and maximum is None:
        return []
    allowed: Sequence[Bytes32] = store.tags(
        kind, int(minimum or "0x0", 16), None if maximum is None else int(maximum, 16)
    )
    return [("tag IN (SELECT value FROM json_each(?))", dumps(list(allowed)))]

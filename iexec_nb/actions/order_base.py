"""What the verbs of orders have in common: reading an order in any form, choosing kinds, checks before a wallet.

A verb takes an order object, or the words of the official CLI (``--app``, ``--dataset``...), which mean the templates
of ``iexec.json``, the signed orders of ``orders.json``, or orders of the market by their hash. Several are done in one
go; what fails is collected beside what succeeds, as the CLI does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from typing import Any, TypeVar

from iexec_nb.actions import bulk, preflight
from iexec_nb.actions.base import Noun
from iexec_nb.actions.book import fetch_order
from iexec_nb.errors import IExecError, MarketCallError, ValidationError
from iexec_nb.protocol import foreign, tags
from iexec_nb.protocol.orders import (
    ORDERS,
    AppOrder,
    DatasetOrder,
    Order,
    PublishedOrder,
    RequestOrder,
    WorkerpoolOrder,
)
from iexec_nb.protocol.types import Address, Bytes32, bytes32, shown

Given = Order | PublishedOrder | str
Choice = bool | str
T = TypeVar("T")
OrderT = TypeVar("OrderT", AppOrder, DatasetOrder, WorkerpoolOrder, RequestOrder, Order)

FAIL = "fail"
"""Where the result of several orders holds what failed; the CLI's ``--raw`` has the same name."""
MISSING = 'Missing signed {name} for chain {chain} in "orders.json"'
_SELECTORS = "--app | --dataset | --workerpool | --request"


class Orders(Noun):
    """Base of the verbs of orders."""

    def read(self, value: Any) -> Order:
        """Return the order in an order object, a published order or JSON text.

        Raises
        ------
        ValidationError
            When it is none.
        """
        if isinstance(value, PublishedOrder):
            return value.order
        if isinstance(value, AppOrder | DatasetOrder | WorkerpoolOrder | RequestOrder):
            return value
        body = _json(value) if isinstance(value, str) else value
        if isinstance(body, Mapping):
            inner = body.get("order", body)
            # A request names an app and a requester too, so the price is what tells the kinds apart.
            kind = next((k for k, cls in ORDERS.items() if isinstance(inner, Mapping) and cls.PRICE in inner), None)
            if kind is not None:
                return ORDERS[kind].from_json(inner)
        raise ValidationError(
            f"{shown(value)} is not an order", hint="give an order object, its JSON text, or $name in a magic"
        )

    def _listed(self, kind: str, orderHash: Bytes32) -> PublishedOrder:
        """Return an order of the market, its hash and signature checked."""
        try:
            published = fetch_order(self._chain, kind, self._client.market.order(kind, orderHash))
        except MarketCallError as error:
            if error.status == 404:
                # The market's own words ("apporder not found") stay the message, because programs look for them.
                error.hint = f"{kind}order {orderHash} is not published on iexec marketplace"
            raise
        if published.orderHash != orderHash:
            raise ValidationError("the market sent another order than was asked for", context={"asked": orderHash})
        return published

    def _by_hash(self, kind: str, orderHash: str) -> Order:
        return self._listed(kind, bytes32_of(kind, orderHash)).order

    def _saved(self, kind: str) -> Order | None:
        """Return the signed order of ``orders.json`` for this chain, or None."""
        files, chain = self._client.files, self._chain.chain_id
        body = files.signed_order(kind, chain)
        if body is None:
            return None
        with files.naming("orders.json", str(chain), f"{kind}order"):
            return ORDERS[kind].from_json(body)

    def _picked(self, kind: str, choice: Choice, missing: str = MISSING) -> Order:
        """Return the order that a word chooses: that of ``orders.json``, or that of the market with this hash.

        Raises
        ------
        ValidationError, MarketCallError
            When there is none; `missing` is what the CLI says then.
        """
        if isinstance(choice, str):
            return self._by_hash(kind, choice)
        if (order := self._saved(kind)) is not None:
            return order
        raise ValidationError(
            missing.format(name=f"{kind}order", chain=self._chain.chain_id), hint=f"%iexec order sign --{kind}"
        )

    def _ready(self, order: Order, *, skip_preflight_check: bool) -> Order:
        """Return an order that this wallet may sign, after every check that comes before that."""
        self._check_tag(order)
        self._check_owner(order, "sign the order")
        if not skip_preflight_check:
            self._preflight(order)
        return order

    def _check_owner(self, order: Order, purpose: str) -> None:
        signer = self._signer(purpose)
        owner = self._owner_of(order)
        if owner != signer.address:
            who = "requester" if order.kind == "request" else "resource owner"
            raise ValidationError(
                f"Invalid order signer, must be the {who}",
                context={"wallet": signer.address, who: owner},
                hint=f"make the client with the wallet of {owner}",
            )

    def _owner_of(self, order: Order) -> Address:
        if isinstance(order, RequestOrder):
            return order.requester
        self._chain.require_registered(order.kind, order.resource)
        return self._chain.owners([order.resource])[order.resource]

    def _preflight(self, order: Order) -> None:
        preflight.check_order(self._client, order)
        if isinstance(order, RequestOrder):
            preflight.refuse("Request", bulk.problems(self._client, order))

    def _check_tag(self, order: Order) -> None:
        # The hubs of older SDKs knew tee alone, and tee with the frameworks that are retired now.
        older = not self._client.require_tdx
        agnostic = older or order.kind in ("dataset", "request")
        legacy = older or order.kind == "dataset"
        if wrong := tags.check(order.tag, agnostic=agnostic, legacy=legacy):
            names = ", ".join(tags.describe(order.tag))
            raise ValidationError(wrong[0], context={"tag": names}, hint='the live tag is "tee,tdx"')

    def _signed(self, order: OrderT) -> OrderT:
        signer = self._signer("sign the order")
        salted = self._salted(order)
        sign = signer.sign_order(salted, self._chain.domain)
        assert salted.salt is not None
        return salted.signed(salted.salt, sign)

    def _salted(self, order: OrderT) -> OrderT:
        return order.signed("0x" + self._client.random_bytes(32).hex(), "0x")


def class_of(kind: object) -> Any:
    """Return the class of a kind of order.

    Raises
    ------
    ValidationError
        When there is no such kind.
    """
    if isinstance(kind, str) and kind in ORDERS:
        return ORDERS[kind]
    close = get_close_matches(str(kind).removesuffix("order"), ORDERS, 1)
    hint = f"did you mean {close[0]!r}?" if close else f"use one of {', '.join(ORDERS)}"
    raise ValidationError(f"{shown(kind)} is not a kind of order", hint=hint)


def bytes32_of(kind: str, orderHash: object) -> Bytes32:
    """Return an order's hash.

    Raises
    ------
    ValidationError
        In the CLI's words, when it is none.
    """
    try:
        return bytes32(orderHash, f"{kind}order hash")
    except ValidationError as error:
        raise ValidationError(
            f"Invalid {kind}order hash: {error.message}", hint="give 0x and 64 hex digits", context=error.context
        ) from error


def chosen(choices: Mapping[str, object], *, words: bool = True) -> dict[str, Choice]:
    """Return the kinds of order that a line chooses, with the hash or address that stands behind the word, or True.

    Parameters
    ----------
    choices
        What was given for each kind.
    words
        Whether a text may be given.

    Raises
    ------
    ValidationError
        When none is chosen, or what was given is neither True nor text.
    """
    found: dict[str, Choice] = {}
    for kind, value in choices.items():
        if value is False or value is None:
            continue
        if value is not True and not (words and isinstance(value, str)):
            what = "True, or a hash as text" if words else "True"
            raise ValidationError(f"{shown(value)} is not a choice of the {kind}order", hint=f"give {kind}={what}")
        found[kind] = value
    if not found:
        raise ValidationError(
            f"No option specified, you should choose one ({_SELECTORS})",
            hint="or give an order object: $name in a magic",
        )
    return found


def only_one_form(order: object, choices: Mapping[str, object]) -> None:
    """Refuse an order object together with options that choose other orders.

    Raises
    ------
    ValidationError
        When both are given.
    """
    if order is not None and (kinds := [kind for kind, value in choices.items() if value not in (False, None)]):
        raise ValidationError(
            f"an order was given and {', '.join(kinds)} as well", hint="give an order object, or choose kinds, not both"
        )


def gather(kinds: Iterable[str], work: Callable[[str], T]) -> tuple[dict[str, T], dict[str, IExecError]]:
    """Do something for each kind of order and return what came of it, and the errors, both by kind."""
    done: dict[str, T] = {}
    failed: dict[str, IExecError] = {}
    for kind in kinds:
        try:
            done[kind] = work(kind)
        except IExecError as error:
            failed[kind] = error
    return done, failed


def outcome(verb: str, done: Mapping[str, Any], failed: Mapping[str, IExecError]) -> dict[str, Any]:
    """Return what came of several orders: ``apporder`` and so on, and ``fail`` with a line for each that failed.

    Raises
    ------
    IExecError
        When nothing succeeded: the error itself where it is the only one.
    """
    if failed and not done:
        first, *others = failed.values()
        lines = tuple(_lines(failed))
        error = ValidationError(f"Failed to {verb}: {'; '.join(lines)}", hint=first.hint) if others else first
        error.fail = lines
        raise error
    result: dict[str, Any] = {f"{kind}order": value for kind, value in done.items()}
    return {**result, FAIL: tuple(_lines(failed))} if failed else result


def not_done(failed: Mapping[str, IExecError]) -> str:
    """Return lines for a question: what is left out of it, and why."""
    return "".join(f"\nnot {line}" for line in _lines(failed))


def _lines(failed: Mapping[str, IExecError]) -> list[str]:
    return [f"{kind}order: {error.message}{_sent(error)}" for kind, error in failed.items()]


def _sent(error: IExecError) -> str:
    # A transaction whose end is not known must be found again, so its hash goes where the message goes.
    tx_hash = getattr(error, "tx_hash", None)
    return f" (transaction {tx_hash})" if tx_hash else ""


def _json(text: str) -> object:
    try:
        return foreign.loads(text)
    except (ValueError, RecursionError):
        return None

"""From what a market sends to orders that can be trusted.

A market is not believed: each order must hash to its name and be signed by the owner of what it sells (read on the
chain, in one batch for a whole book), and must be what was asked for. What fails is dropped with a warning that names
it.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from iexec_nb.errors import InvalidSignatureError, ValidationError
from iexec_nb.protocol.orders import PublishedOrder
from iexec_nb.protocol.typed_data import order_hash, verify_order
from iexec_nb.protocol.types import Address, shown

if TYPE_CHECKING:
    from iexec_nb.services.chain import Chain


def verified(chain: Chain, kind: str, raw_orders: Iterable[Any], **wanted: object) -> list[PublishedOrder]:
    """Return the orders of a market answer that are genuine and fit the question.

    Parameters
    ----------
    chain
        Where owners are read.
    kind
        ``app``, ``dataset``, ``workerpool`` or ``request``.
    raw_orders
        The market's JSON objects.
    wanted
        Values that fields of the order must have (None: any), such as ``category=3``.

    Returns
    -------
    list of PublishedOrder
        In the market's order. Each dropped order gives one warning with its hash and the reason.
    """
    parsed: list[PublishedOrder] = []
    dropped: dict[str, str] = {}
    for raw in raw_orders:
        try:
            order = PublishedOrder.from_json(kind, raw)
            _check_question(chain.chain_id, order, wanted)
            parsed.append(order)
        except ValidationError as error:
            name = raw.get("orderHash") if isinstance(raw, Mapping) else raw
            dropped[shown(name)] = error.message
    owners = _owners(chain, kind, parsed)
    doubtful = {}
    for order in parsed:
        try:
            verify_order(order.order, chain.domain, owners.get(order.order.resource, order.signer), order.orderHash)
        except InvalidSignatureError as error:
            doubtful[order.orderHash] = (order, error)
    for orderHash in _signed_by_contracts(chain, [order for order, _ in doubtful.values()], owners):
        del doubtful[orderHash]
    dropped |= {name: str(error) for name, (_, error) in doubtful.items()}
    for name, reason in dropped.items():
        warnings.warn(f"{kind}order {name} was dropped: {reason}", stacklevel=3)
    return [order for order in parsed if order.orderHash not in doubtful]


def fetch_order(chain: Chain, kind: str, raw: Any) -> PublishedOrder:
    """Return one order of the market, checked.

    Raises
    ------
    InvalidSignatureError
        When it is not what its hash or signature says.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        orders = verified(chain, kind, [raw])
    if orders:
        return orders[0]
    raise InvalidSignatureError(
        "the market sent an order that is not genuine", context={"reason": str(caught[-1].message)}
    )


def _check_question(chain_id: int, order: PublishedOrder, wanted: Mapping[str, object]) -> None:
    if order.chainId != chain_id:
        raise ValidationError(f"it is for chain {order.chainId}, not {chain_id}")
    for name, value in wanted.items():
        if value is not None and getattr(order.order, name) != value:
            raise ValidationError(f"its {name} is {getattr(order.order, name)}, which was not asked for")
    if order.remaining > order.order.volume:
        raise ValidationError(f"its remaining volume {order.remaining} is above its volume {order.order.volume}")


def _owners(chain: Chain, kind: str, orders: Sequence[PublishedOrder]) -> dict[Address, Address]:
    if kind == "request":
        return {order.order.resource: order.order.resource for order in orders}
    resources = sorted({order.order.resource for order in orders})
    if not resources:
        return {}
    registered = chain.registered(kind, resources)
    owners = chain.owners([one for one in resources if registered[one]])
    # An entry that no registry knows has no owner: nobody's signature fits it.
    return {one: owners.get(one, "") for one in resources}


def _signed_by_contracts(chain: Chain, orders: Sequence[PublishedOrder], owners: Mapping[Address, Address]) -> set[str]:
    """Return the hashes that a contract wallet signed (ERC-1271) or that were presigned on the chain."""
    # The hash is compared before the chain is asked: the chain would only judge the hash that it is given.
    genuine = [o for o in orders if order_hash(o.order, chain.domain) == o.orderHash]
    known = [(owners[o.order.resource], o) for o in genuine if owners.get(o.order.resource)]
    if not known:
        return set()
    answers = chain.verify_signatures([(owner, one.order) for owner, one in known])
    return {order.orderHash for (_, order), accepted in zip(known, answers, strict=True) if accepted}

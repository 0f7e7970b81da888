"""The rules by which the sandbox's market lists an order, and by which it lets one die.

They are those of ``iexec-market-api`` 7, in the same order and with the same messages: a client that publishes here
without an error can publish there. Whether a signature, an owner or a stake is right is asked of the real contracts.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from iexec_nb.errors import InvalidSignatureError
from iexec_nb.protocol import tags
from iexec_nb.protocol.orders import ORDERS, Order, RequestOrder, WorkerpoolOrder
from iexec_nb.protocol.typed_data import order_digest, recover
from iexec_nb.protocol.types import NULL_ADDRESS, Address, Bytes32
from iexec_nb.sandbox.market_store import Listed, MarketStore
from iexec_nb.services import abi
from iexec_nb.services.reads import Call

if TYPE_CHECKING:
    from iexec_nb.services.chain import Chain

WORKERPOOL_STAKE_PERCENT = 30


class BusinessError(Exception):
    """The market refuses for a reason of its own (HTTP 403); inside this service only, a client gets its message."""


@dataclass(frozen=True, slots=True)
class Acceptance:
    """What the market learned about an order that it lists."""

    orderHash: Bytes32
    signer: Address
    remaining: int


def required_stake(workerpoolprice: int, volume: int) -> int:
    """Return the nRLC that a workerpool's owner must hold for `volume` tasks at this price (nRLC a task)."""
    return workerpoolprice * WORKERPOOL_STAKE_PERCENT // 100 * volume


def accept(order: Order, caller: Address, chain: Chain, store: MarketStore, *, max_open_orders: int) -> Acceptance:
    """Check everything that the market checks before it lists an order.

    Parameters
    ----------
    order
        The signed order.
    caller
        Who signed the challenge of the request.
    chain
        The hub that the order is for.
    store
        What is listed already.
    max_open_orders
        How many open orders of one kind a wallet may have.

    Raises
    ------
    BusinessError
        With the message of the real market for the first rule that is broken.
    """
    name = f"{order.kind}order"
    digest = order_digest(order, chain.domain)
    orderHash = "0x" + digest.hex()
    known = store.find(order.kind, orderHash)
    if known is not None and known.status != "dead":
        raise BusinessError("order already published")
    signer = _signer(order, chain)
    if signer != caller:
        raise BusinessError(f"only order signer {signer} can publish an order")
    if not _signed(chain, signer, digest, order.sign or "0x"):
        raise BusinessError("invalid sign")
    if store.count(order.kind, signer) >= max_open_orders:
        raise BusinessError(f"maximum of {max_open_orders} published open {name} has been reached for wallet {signer}")
    consumed, (stake, _) = chain.read(
        [
            Call(chain.hub_address, abi.VIEW_CONSUMED, (digest,)),
            Call(chain.hub_address, abi.VIEW_ACCOUNT, (signer,)),
        ]
    )
    remaining = order.volume - consumed
    if remaining == 0:
        raise BusinessError("order already consumed")
    _check_funds(order, stake, remaining, store)
    return Acceptance(orderHash, signer, remaining)


def _signer(order: Order, chain: Chain) -> Address:
    if isinstance(order, RequestOrder):
        return order.requester
    if not chain.registered(order.kind, [order.resource])[order.resource]:
        raise BusinessError("Resource not deployed")
    return chain.owners([order.resource])[order.resource]


def _signed(chain: Chain, signer: Address, digest: bytes, sign: str) -> bool:
    try:
        if recover(digest, sign) == signer:
            return True
    except InvalidSignatureError:
        pass  # not the signature of a key; a contract wallet may still accept it
    (valid,) = chain.read([Call(chain.hub_address, abi.VERIFY_SIGNATURE, (signer, digest, bytes.fromhex(sign[2:])))])
    return bool(valid)


def _check_funds(order: Order, stake: int, remaining: int, store: MarketStore) -> None:
    if isinstance(order, WorkerpoolOrder) and stake < required_stake(order.workerpoolprice, remaining):
        raise BusinessError("workerpool owner's stake is too low to cover required workerpool lock")
    if not isinstance(order, RequestOrder):
        return
    total = (order.appmaxprice + order.datasetmaxprice + order.workerpoolmaxprice) * remaining
    if stake < total:
        raise BusinessError(
            f"requester stake is too low to cover requestorder payment, minimum stake required is {total} nRLC"
        )
    problem = counterpart_problem(
        store,
        app=order.app,
        dataset=order.dataset,
        workerpool=order.workerpool,
        requester=order.requester,
        tag=order.tag,
        appmaxprice=order.appmaxprice,
        datasetmaxprice=order.datasetmaxprice,
    )
    if problem:
        raise BusinessError(problem)


def counterpart_problem(
    store: MarketStore,
    *,
    app: Address,
    dataset: Address,
    workerpool: Address,
    requester: Address,
    tag: Bytes32,
    appmaxprice: int,
    datasetmaxprice: int,
) -> str | None:
    """Return why no listed app or dataset order can serve a request, or None; prices in nRLC.

    Parameters
    ----------
    store
        What is listed.
    app, dataset, workerpool, requester, tag, appmaxprice, datasetmaxprice
        Fields of the request order.
    """
    tee = tags.has(tag, "tee")
    offers = _offers(store, "app", app, {"workerpool": workerpool, "dataset": dataset, "requester": requester})
    offers = [offer for offer in offers if not tee or tags.has(offer.tag, "tee")]
    if not offers:
        return f"No {'tee enabled ' if tee else ''}apporder published for app {app}"
    if appmaxprice < offers[0].price:
        return f"appmaxprice for app {app} is too low, actual best price is {offers[0].price} nRLC"
    if dataset == NULL_ADDRESS:
        return None
    offers = _offers(store, "dataset", dataset, {"workerpool": workerpool, "app": app, "requester": requester})
    if not offers:
        return f"No datasetorder published for dataset {dataset}"
    if datasetmaxprice < offers[0].price:
        return f"datasetmaxprice for dataset {dataset} is too low, actual best price is {offers[0].price} nRLC"
    return None


def _offers(store: MarketStore, kind: str, resource: Address, parties: dict[str, Address]) -> list[Listed]:
    """Return the open orders of a resource that accept the parties, cheapest first."""
    conditions = [f"{name} IN ('{NULL_ADDRESS}', ?)" for name in parties]
    where = " AND ".join(["kind = ?", "status = 'open'", f"{kind} = ?", *conditions])
    return store.listed(where, kind, resource, *parties.values())


def unpublish(store: MarketStore, kind: str, caller: Address, target: str, subject: str) -> list[Listed]:
    """Remove open orders of `caller` and return them.

    Parameters
    ----------
    store
        What is listed.
    kind
        ``app``, ``dataset``, ``workerpool`` or ``request``.
    caller
        Who signed the challenge of the request.
    target
        ``unpublish_orderHash``, ``unpublish_last`` or ``unpublish_all``.
    subject
        An order hash, or the address that the orders are about.

    Raises
    ------
    BusinessError
        When there is no such order, or it is somebody else's.
    """
    name = f"{kind}order"
    if target == "unpublish_orderHash":
        found = store.find(kind, subject)
        if found is None or found.status != "open":
            raise BusinessError(f"{name} with orderHash {subject} is not published")
        if found.signer != caller:
            raise BusinessError(f"only order signer {found.signer} can unpublish an order")
        gone = [found]
    else:
        gone = store.newest(kind, caller, subject)
        if not gone:
            field = ORDERS[kind].RESOURCE
            raise BusinessError(f"no open {name} published by signer {caller} for {field} {subject}")
        gone = gone[:1] if target == "unpublish_last" else gone
    store.remove(kind, [row.orderHash for row in gone])
    bury_requests(store, {row.app for row in gone if kind == "app"}, {row.dataset for row in gone if kind == "dataset"})
    return gone


def bury_requests(store: MarketStore, apps: Iterable[Address], datasets: Iterable[Address]) -> None:
    """Mark open request orders dead that no listed app or dataset order can serve any more.

    Parameters
    ----------
    store
        What is listed.
    apps, datasets
        Resources of which an order left the book.
    """
    requests = [row for app in apps for row in store.listed(_OPEN_REQUESTS.format("app"), app)]
    requests += [row for dataset in datasets for row in store.listed(_OPEN_REQUESTS.format("dataset"), dataset)]
    for row in requests:
        problem = counterpart_problem(
            store,
            app=row.app,
            dataset=row.dataset,
            workerpool=row.workerpool,
            requester=row.requester,
            tag=row.tag,
            appmaxprice=row.appmaxprice,
            datasetmaxprice=row.datasetmaxprice,
        )
        if problem:
            store.update("request", row.orderHash, status="dead")


_OPEN_REQUESTS = "kind = 'request' AND status = 'open' AND {} = ?"

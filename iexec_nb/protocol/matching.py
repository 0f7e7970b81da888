"""Why orders do not match, how many tasks they would give and what those cost.

The contracts stop at the first rule that fails and name it by a code; here every rule is tried and every failure kept
with its numbers, so that an order can be mended in one go. The rules themselves are in `protocol.match_rules`.
"""

from __future__ import annotations

from iexec_nb.errors import OrderConsumedError, OrderMismatchError
from iexec_nb.protocol import match_rules as rules
from iexec_nb.protocol.match_facts import (
    CONSUMED,
    REQUESTER_STAKE,
    WORKERPOOL_STAKE,
    WORKERPOOL_STAKE_PERCENT,
    ChainFacts,
    Cost,
    Groups,
    Offer,
    Reason,
    no_groups,
    restriction,
    workerpool_stake,
)
from iexec_nb.protocol.orders import NULL_DATASETORDER, AppOrder, DatasetOrder, Order, RequestOrder, WorkerpoolOrder
from iexec_nb.protocol.typed_data import order_hash
from iexec_nb.protocol.types import NULL_ADDRESS, NULL_BYTES32, Address, Bytes32
from iexec_nb.protocol.units import format_rlc

__all__ = [
    "CONSUMED",
    "REQUESTER_STAKE",
    "WORKERPOOL_STAKE",
    "WORKERPOOL_STAKE_PERCENT",
    "ChainFacts",
    "Cost",
    "Reason",
    "candidate_reasons",
    "check",
    "cost",
    "reasons",
    "restriction",
    "volume",
    "workerpool_stake",
]


def volume(
    apporder: AppOrder,
    workerpoolorder: WorkerpoolOrder,
    requestorder: RequestOrder,
    datasetorder: DatasetOrder | None = None,
    facts: ChainFacts | None = None,
) -> int:
    """Return how many tasks the orders would give: the least that any of them has left.

    The dataset's order counts only where the request has a dataset. Without facts nothing is taken as consumed. The
    contract does not lower the volume to what the workerpool's owner can stake, as ``getMatchableVolume`` of the
    JavaScript SDK does: it reverts, and `reasons` says so.
    """
    orders = _with_volume(apporder, workerpoolorder, requestorder, datasetorder)
    return min(_remaining(order, facts) for order in orders)


def cost(
    apporder: AppOrder, workerpoolorder: WorkerpoolOrder, datasetorder: DatasetOrder | None = None, *, volume: int
) -> Cost:
    """Return what `volume` tasks cost at the prices of these orders, in nRLC."""
    return Cost(
        volume=volume,
        app=apporder.appprice,
        dataset=datasetorder.datasetprice if datasetorder else 0,
        workerpool=workerpoolorder.workerpoolprice,
    )


def reasons(
    apporder: AppOrder,
    workerpoolorder: WorkerpoolOrder,
    requestorder: RequestOrder,
    datasetorder: DatasetOrder | None = None,
    *,
    facts: ChainFacts | None = None,
    require_tdx: bool = True,
    solvable: bool = True,
) -> tuple[Reason, ...]:
    """Return every reason why orders do not match; an empty tuple when they do.

    Parameters
    ----------
    apporder, workerpoolorder, requestorder
        The orders.
    datasetorder
        Leave out where the request has no dataset.
    facts
        What the chain says; without it only what stands in the orders is judged, and a restriction that could be a
        group of accounts counts as the address it is.
    require_tdx
        Whether the deal needs the tags tee and tdx, as SDK 9.0.1 demands.
    solvable
        Whether the requester must be able to pay (not asked of an estimate).
    """
    dataset = datasetorder or NULL_DATASETORDER
    groups = facts.groups if facts else no_groups
    found = [
        *rules.tag_reasons(apporder, dataset, workerpoolorder, requestorder, require_tdx),
        *rules.address_reasons(apporder, dataset, workerpoolorder, requestorder, groups),
        *rules.level_reasons(workerpoolorder, requestorder, facts),
        *rules.price_reasons(apporder, dataset, workerpoolorder, requestorder),
        *rules.restriction_reasons(apporder, dataset, workerpoolorder, requestorder, groups),
    ]
    orders = _with_volume(apporder, workerpoolorder, requestorder, datasetorder)
    if facts:
        found += [reason for order in orders for reason in rules.authenticity_reasons(order, facts)]
    found += [reason for order in orders for reason in rules.consumption_reasons(order, _remaining(order, facts))]
    if facts:
        tasks = max(volume(apporder, workerpoolorder, requestorder, datasetorder, facts), 0)
        price = cost(apporder, workerpoolorder, datasetorder, volume=tasks)
        owner = facts.owners.get(workerpoolorder.workerpool)
        found += rules.owner_reasons(price, owner, facts)
        if solvable:
            found += rules.requester_reasons(price, requestorder.requester, owner, facts)
    return tuple(found)


def check(
    apporder: AppOrder,
    workerpoolorder: WorkerpoolOrder,
    requestorder: RequestOrder,
    datasetorder: DatasetOrder | None = None,
    *,
    facts: ChainFacts | None = None,
    require_tdx: bool = True,
    solvable: bool = True,
) -> Cost:
    """Refuse orders that do not match, and return the cost of those that do; the parameters are those of `reasons`.

    Raises
    ------
    OrderConsumedError
        When nothing is wrong but that an order has no tasks left.
    OrderMismatchError
        For any other reason; ``.reasons`` holds all of them.
    """
    four = apporder, workerpoolorder, requestorder, datasetorder
    found = reasons(*four, facts=facts, require_tdx=require_tdx, solvable=solvable)
    if not found:
        return cost(apporder, workerpoolorder, datasetorder, volume=volume(*four, facts))
    number = "1 reason" if len(found) == 1 else f"{len(found)} reasons"
    if all(reason.code == CONSUMED for reason in found):
        raise OrderConsumedError(
            f"the orders cannot be matched: {number}", reasons=found, hint="take or sign a fresh order"
        )
    raise OrderMismatchError(f"the orders do not match: {number}", reasons=found, hint=_advice(found))


def candidate_reasons(
    order: Offer,
    *,
    requester: Address,
    app: Address | None = None,
    dataset: Address | None = None,
    workerpool: Address | None = None,
    tag: Bytes32 = NULL_BYTES32,
    category: int | None = None,
    trust: int = 0,
    max_price: int | None = None,
    tasks: int = 1,
    remaining: int | None = None,
    groups: Groups = no_groups,
) -> tuple[Reason, ...]:
    """Return every reason why an order of the market does not serve a request that is still being put together.

    Parameters
    ----------
    order
        What the market offers.
    requester, app, dataset, workerpool
        The parties; ``None`` for an app or workerpool that is not chosen yet, and where no dataset is wanted.
    tag
        What the request asks for. A workerpool must offer all of it (give the union with the tags of the app's and
        the dataset's order); an app or dataset must not ask for more, and the app must be able to run in a TEE where
        it names one.
    category, trust
        What the workerpool must offer; ``None`` for any category.
    max_price
        The most that is paid for a task, nRLC; ``None`` for any price.
    tasks
        How many tasks are wanted.
    remaining
        Tasks left, as the market or the chain says; the order's volume where it is left out.
    groups
        As in `ChainFacts`.
    """
    parties = {"app": app, "dataset": dataset or NULL_ADDRESS, "workerpool": workerpool, "requester": requester}
    left = order.volume if remaining is None else remaining
    found = [
        *rules.candidate_identity(order, parties[order.kind], groups),
        *rules.candidate_tags(order, tag),
        *rules.restriction_rules(order, parties, groups),
    ]
    if isinstance(order, WorkerpoolOrder):
        found += rules.level_rules(order, category, trust)
    if max_price is not None and order.price > max_price:
        found.append(rules.too_expensive(order, max_price))
    if left < tasks:
        found += rules.consumption_reasons(order, left) or [rules.too_few(order, left, tasks)]
    return tuple(found)


def _with_volume(
    apporder: AppOrder, workerpoolorder: WorkerpoolOrder, requestorder: RequestOrder, datasetorder: DatasetOrder | None
) -> tuple[Order, ...]:
    if datasetorder is None or NULL_ADDRESS in (datasetorder.dataset, requestorder.dataset):
        return (apporder, workerpoolorder, requestorder)
    return (apporder, datasetorder, workerpoolorder, requestorder)


def _remaining(order: Order, facts: ChainFacts | None) -> int:
    if facts is None or order.salt is None or order.volume == 0:
        return order.volume
    return facts.remaining.get(order_hash(order, facts.domain), order.volume)


def _advice(found: tuple[Reason, ...]) -> str:
    for reason in found:
        if reason.code == REQUESTER_STAKE and isinstance(reason.expected, int) and isinstance(reason.got, int):
            return f"deposit at least {format_rlc(reason.expected - reason.got)}: account.deposit(...)"
    fields = dict.fromkeys(reason.field for reason in found if reason.field)
    return f"change {', '.join(fields)} and sign that order again, or take other orders"

"""The rules of ``matchOrders``, one by one: each gives the reasons that it finds, with the numbers and what to do.

The rules are those of ``IexecPoco1Facet`` of PoCo 6.2 (revert strings ``iExecV5-matchOrders-0x..``) and the further
ones of SDK 9.0.1; the texts follow the SDK. Which of them are asked, and about which orders, is `protocol.matching`'s.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from iexec_nb.protocol import tags
from iexec_nb.protocol.match_facts import (
    CONSUMED,
    REQUESTER_STAKE,
    WORKERPOOL_STAKE,
    ChainFacts,
    Cost,
    Groups,
    Offer,
    Reason,
    no_groups,
    restriction,
    workerpool_stake,
)
from iexec_nb.protocol.orders import AppOrder, DatasetOrder, Order, RequestOrder, WorkerpoolOrder
from iexec_nb.protocol.typed_data import order_hash
from iexec_nb.protocol.types import NULL_ADDRESS, Address, Bytes32
from iexec_nb.protocol.units import format_rlc

# The order of a restriction's rules is that of their codes in the contract.
_RESTRICTIONS: tuple[tuple[str, str, str], ...] = (
    ("0x13", "app", "dataset"),
    ("0x14", "app", "workerpool"),
    ("0x15", "app", "requester"),
    ("0x16", "dataset", "app"),
    ("0x17", "dataset", "workerpool"),
    ("0x18", "dataset", "requester"),
    ("0x19", "workerpool", "app"),
    ("0x1a", "workerpool", "dataset"),
    ("0x1b", "workerpool", "requester"),
)
_IDENTITY = {"app": "0x10", "dataset": "0x11", "workerpool": "0x12"}
_PRICES = {"app": "0x03", "dataset": "0x04", "workerpool": "0x05"}
_REGISTERED = {"app": "0x20", "dataset": "0x30", "workerpool": "0x40"}
_SIGNED = {"app": "0x21", "dataset": "0x31", "workerpool": "0x41", "request": "0x50"}
_DEPOSIT = "you should deposit to top up your account"


def tag_reasons(
    app: AppOrder, dataset: DatasetOrder, workerpool: WorkerpoolOrder, request: RequestOrder, require_tdx: bool
) -> Iterator[Reason]:
    """Yield what is wrong with the tags: of the deal that would come of it, and of who has to offer them."""
    # Hubs since PoCo 6.2 ignore the dataset's frameworks; 6.1 does not, and reverts a retired one with 0x06.
    of_dataset = tags.without_frameworks(dataset.tag)
    deal = tags.union(app.tag, of_dataset, request.tag)
    # Hubs before SDK 9 knew the frameworks that it refuses.
    wrong = tags.check(deal, agnostic=not require_tdx, legacy=not require_tdx)
    for message in wrong:
        yield Reason(
            code="tag",
            message=f"Matching order would produce an invalid deal tag. {message}",
            field="tag",
            got=tags.describe(deal),
            fix='sign the apporder and the requestorder with tag="tee,tdx"',
        )
    if require_tdx and not wrong and not (tags.has(deal, "tee") and tags.has(deal, "tdx")):
        yield Reason(
            code="tdx",
            message="Resulting deal tag must have both [tee] and [tdx] tags active. "
            "Matching orders have incompatible tags.",
            field="tag",
            expected=("tee", "tdx"),
            got=tags.describe(deal),
            fix='sign the requestorder with tag="tee,tdx"',
        )
    yield from missing_in_workerpool(workerpool, deal)
    if tags.has(tags.union(of_dataset, request.tag), "tee"):
        yield from missing_tee(app)


def missing_in_workerpool(order: WorkerpoolOrder, required: Bytes32) -> Iterator[Reason]:
    """Yield the tags that a workerpool's order does not offer."""
    if lacking := tags.missing(required, order.tag):
        yield Reason(
            code="0x06",
            message=f"Missing tags [{','.join(lacking)}] in workerpoolorder",
            field="tag",
            expected=tags.describe(required),
            got=tags.describe(order.tag),
            fix=f"take a workerpoolorder that offers them: orderbook.workerpool(require_tag={','.join(lacking)!r})",
        )


def missing_tee(order: AppOrder) -> Iterator[Reason]:
    """Yield that an app's order is not for a TEE."""
    if not tags.has(order.tag, "tee"):
        yield Reason(
            code="0x07",
            message="Missing tag [tee] in apporder",
            field="tag",
            expected=("tee",),
            got=tags.describe(order.tag),
            fix='take or sign an apporder with tag="tee,tdx"',
        )


def address_reasons(
    app: AppOrder, dataset: DatasetOrder, workerpool: WorkerpoolOrder, request: RequestOrder, groups: Groups
) -> Iterator[Reason]:
    """Yield where the request names another app, dataset or workerpool than the orders are of."""
    if request.app != app.app:
        yield mismatch("app", request.app, app.app)
    if request.dataset != dataset.dataset:
        yield mismatch("dataset", request.dataset, dataset.dataset)
    if not restriction(request.workerpool, workerpool.workerpool, groups):
        yield mismatch("workerpool", request.workerpool, workerpool.workerpool)


def mismatch(kind: str, expected: Address, got: Address) -> Reason:
    """Return the reason for an order of another app, dataset or workerpool than is asked for."""
    fix = f"take a {kind}order of {expected}, or request {got}"
    if expected == NULL_ADDRESS:
        fix = f"leave the {kind}order out, or request {got}"
    elif got == NULL_ADDRESS:
        fix = f"give a {kind}order of {expected}, or request none"
    return Reason(
        code=_IDENTITY[kind],
        message=f"{kind} address mismatch between requestorder ({expected}) and {kind}order ({got})",
        field=kind,
        expected=expected,
        got=got,
        fix=fix,
    )


def level_reasons(workerpool: WorkerpoolOrder, request: RequestOrder, facts: ChainFacts | None) -> Iterator[Reason]:
    """Yield what is wrong with category and trust of a request."""
    yield from level_rules(workerpool, request.category, request.trust)
    count = facts.category_count if facts else None
    if count is not None and request.category >= count:
        yield Reason(
            code="0x01",
            message=f"category {request.category} does not exist (there are {count}, counted from 0)",
            field="category",
            expected=count,
            got=request.category,
            fix=f"sign the requestorder with a category from 0 to {count - 1}",
        )


def level_rules(workerpool: WorkerpoolOrder, category: int | None, trust: int) -> Iterator[Reason]:
    """Yield where a workerpool's order offers another category, or less trust, than is asked for."""
    if category is not None and category != workerpool.category:
        yield Reason(
            code="0x00",
            message=f"category mismatch between requestorder ({category}) and workerpoolorder ({workerpool.category})",
            field="category",
            expected=category,
            got=workerpool.category,
            fix=f"take a workerpoolorder of category {category}, or request category {workerpool.category}",
        )
    if trust > workerpool.trust:
        yield Reason(
            code="0x02",
            message=f"workerpoolorder trust is too low (expected {trust}, got {workerpool.trust})",
            field="trust",
            expected=trust,
            got=workerpool.trust,
            fix=f"take a workerpoolorder with trust {trust} or more, or request trust {workerpool.trust}",
        )


def price_reasons(
    app: AppOrder, dataset: DatasetOrder, workerpool: WorkerpoolOrder, request: RequestOrder
) -> Iterator[Reason]:
    """Yield the prices that are above what the request pays at most."""
    limits = (app, request.appmaxprice), (dataset, request.datasetmaxprice), (workerpool, request.workerpoolmaxprice)
    for order, limit in limits:
        if order.price > limit:
            yield too_expensive(order, limit)


def too_expensive(order: Offer, limit: int) -> Reason:
    """Return the reason for a price above the most that is paid, both in nRLC."""
    price = format_rlc(order.price)
    return Reason(
        code=_PRICES[order.kind],
        message=f"{order.kind}maxprice too low (expected {order.price} nRLC, got {limit} nRLC)",
        field=f"{order.kind}maxprice",
        expected=order.price,
        got=limit,
        fix=f'sign the requestorder with {order.kind}maxprice="{price}", or take a cheaper {order.kind}order',
    )


def restriction_reasons(
    app: AppOrder, dataset: DatasetOrder, workerpool: WorkerpoolOrder, request: RequestOrder, groups: Groups
) -> Iterator[Reason]:
    """Yield the restrictions that keep one of the parties out."""
    parties: dict[str, Address | None] = {
        "app": app.app,
        "dataset": dataset.dataset,
        "workerpool": workerpool.workerpool,
        "requester": request.requester,
    }
    for order in (app, dataset, workerpool):
        yield from restriction_rules(order, parties, groups)


def restriction_rules(order: Offer, parties: Mapping[str, Address | None], groups: Groups) -> Iterator[Reason]:
    """Yield the restrictions of one order that keep one of these parties out; None for a party that is open yet."""
    for code, kind, party in _RESTRICTIONS:
        account = parties[party]
        if kind != order.kind or account is None:
            continue
        restrict: Address = getattr(order, f"{party}restrict")
        if not restriction(restrict, account, groups):
            other = "no dataset" if account == NULL_ADDRESS else f"{party} {account}"
            yield Reason(
                code=code,
                message=f"{kind}order is restricted to {party} {restrict} and does not allow {other}",
                field=f"{party}restrict",
                expected=restrict,
                got=account,
                fix=f"use {party} {restrict}, or a {kind}order that its owner signs with another {party}restrict",
            )


def authenticity_reasons(order: Order, facts: ChainFacts) -> Iterator[Reason]:
    """Yield that what an order sells is not registered, or that its owner did not sign it."""
    if order.kind in _REGISTERED and facts.deployed.get((order.kind, order.resource)) is False:
        yield Reason(
            code=_REGISTERED[order.kind],
            message=f"No {order.kind} deployed at address {order.resource}",
            field=order.kind,
            got=order.resource,
            fix=f"take a {order.kind}order of an address that is registered on chain {facts.domain.chainId}",
        )
    # An order that is still to be signed is not judged: costs and reasons are shown before the wallet is asked.
    if order.salt is not None and facts.valid_signatures.get(order_hash(order, facts.domain)) is False:
        who = order.resource if isinstance(order, RequestOrder) else facts.owners.get(order.resource)
        yield Reason(
            code=_SIGNED[order.kind],
            message=f"{order.kind}order invalid sign",
            field="sign",
            expected=who,
            fix=f"{who or 'its owner'} has to sign it as it stands, for chain {facts.domain.chainId}: order.sign(...)",
        )


def consumption_reasons(order: Order, left: int) -> list[Reason]:
    """Return that an order has no tasks left, where it has none."""
    if left > 0:
        return []
    name = f"{order.kind}order"
    return [
        Reason(
            code=CONSUMED,
            message=f"{name} is fully consumed (0 of {order.volume} tasks left)",
            field=name,
            expected=1,
            got=max(left, 0),
            fix=f"take another {name}, or sign it again for a new salt",
        )
    ]


def too_few(order: Order, left: int, tasks: int) -> Reason:
    """Return the reason for an order with fewer tasks left than are wanted."""
    return Reason(
        code="volume",
        message=f"{order.kind}order has too few tasks left (expected {tasks}, got {left})",
        field="volume",
        expected=tasks,
        got=left,
        fix=f"ask for {left} tasks, or take another {order.kind}order",
    )


def owner_reasons(price: Cost, owner: Address | None, facts: ChainFacts) -> Iterator[Reason]:
    """Yield that the workerpool's owner cannot stake for the tasks, in nRLC."""
    stake = None if owner is None else facts.stakes.get(owner)
    per_task = workerpool_stake(price.workerpool)
    if stake is None:
        return
    if per_task > stake:
        needed, what = per_task, "workerpool required stake"
    elif price.workerpool_stake > stake:
        needed, what = price.workerpool_stake, f"workerpool required stake for {price.volume} tasks"
    else:
        return
    fewer = f", or request at most {stake // per_task} tasks" if stake >= per_task else ""
    yield Reason(
        code=WORKERPOOL_STAKE,
        message=f"{what} ({needed} nRLC) is greater than workerpool owner's account stake ({stake} nRLC). "
        f"Orders can't be matched. If you are the workerpool owner, {_DEPOSIT}",
        field="workerpoolorder",
        expected=needed,
        got=stake,
        fix=f"its owner {owner} has to deposit {format_rlc(needed - stake)}{fewer}, or take another workerpoolorder",
    )


def requester_reasons(price: Cost, requester: Address, owner: Address | None, facts: ChainFacts) -> Iterator[Reason]:
    """Yield that the requester cannot pay for the tasks, in nRLC."""
    stake = facts.stakes.get(requester)
    if stake is None:
        return
    # A requester who owns the workerpool pays and stakes from one account.
    needed = price.total + (price.workerpool_stake if owner == requester else 0)
    advice = " or reduce your requestorder volume"
    if price.per_task > stake:
        needed, advice, what = price.per_task, "", "Cost per task"
    elif price.total > stake:
        needed, what = price.total, f"Total cost for {price.volume} tasks"
    elif needed > stake:
        what = f"Total cost for {price.volume} tasks with the stake of your own workerpool"
    else:
        return
    yield Reason(
        code=REQUESTER_STAKE,
        message=f"{what} ({needed} nRLC) is greater than requester account stake ({stake} nRLC). "
        f"Orders can't be matched. If you are the requester, {_DEPOSIT}{advice}",
        field="requestorder",
        expected=needed,
        got=stake,
        fix=f'account.deposit("{format_rlc(needed - stake)}")',
    )


def candidate_identity(order: Offer, wanted: Address | None, groups: Groups) -> Iterator[Reason]:
    """Yield that an order of the market is of something else than is wanted."""
    # A workerpool that a request names is a restriction: it may be a group of workerpools.
    choice = groups if isinstance(order, WorkerpoolOrder) else no_groups
    if wanted is not None and not restriction(wanted, order.resource, choice):
        yield mismatch(order.kind, wanted, order.resource)


def candidate_tags(order: Offer, tag: Bytes32) -> Iterator[Reason]:
    """Yield where the tags of an order of the market do not fit those that are wanted."""
    if isinstance(order, WorkerpoolOrder):
        yield from missing_in_workerpool(order, tag)
        return
    if isinstance(order, AppOrder) and tags.has(tag, "tee"):
        yield from missing_tee(order)
    needs = tags.without_frameworks(order.tag) if isinstance(order, DatasetOrder) else order.tag
    if extra := tags.missing(needs, tag):
        yield Reason(
            code="tag",
            message=f"{order.kind}order needs tags [{','.join(extra)}] that the request does not have",
            field="tag",
            expected=tags.describe(needs),
            got=tags.describe(tag),
            fix=f"request with the tags {','.join(tags.describe(tags.union(needs, tag)))}",
        )

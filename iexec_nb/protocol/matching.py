"""Why orders do not match, how many tasks they would give and what those cost.

The contracts stop at the first rule that fails and name it by a code; here every rule is tried and every failure kept
with its numbers, so that an order can be mended in one go. The rules are those of ``matchOrders`` (``IexecPoco1Facet``
of PoCo 6.2, revert strings ``iExecV5-matchOrders-0x..``) and the further ones of SDK 9.0.1; the texts follow the SDK.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from iexec_nb.errors import OrderConsumedError, OrderMismatchError
from iexec_nb.protocol import tags
from iexec_nb.protocol.orders import NULL_DATASETORDER, AppOrder, DatasetOrder, Order, RequestOrder, WorkerpoolOrder
from iexec_nb.protocol.typed_data import Domain, order_hash
from iexec_nb.protocol.types import NULL_ADDRESS, NULL_BYTES32, Address, Bytes32
from iexec_nb.protocol.units import format_rlc

WORKERPOOL_STAKE_PERCENT = 30
"""Share of a task's workerpool price that the workerpool's owner stakes (``workerpool_stake_ratio()``), percent."""

CONSUMED = "consumed"
REQUESTER_STAKE = "requester-stake"
WORKERPOOL_STAKE = "workerpool-stake"

Groups = Callable[[Address, Address], bool]
Offer = AppOrder | DatasetOrder | WorkerpoolOrder


def no_groups(restrict: Address, account: Address) -> bool:
    """Say that no restriction is a group of accounts (when the chain was not asked)."""
    return False


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """One rule that orders break.

    Parameters
    ----------
    code
        ``0x..`` as in the contract's revert string, or a word where no such code exists: ``tag``, ``tdx``,
        ``volume``, ``consumed``, ``workerpool-stake``, ``requester-stake``.
    message
        One sentence with the numbers; prices in nRLC.
    field
        The field or order to change.
    expected, got
        What the rule asks for and what was found; amounts in nRLC.
    """

    code: str
    message: str
    field: str | None = None
    expected: object = None
    got: object = None

    def __str__(self) -> str:
        return self.message


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainFacts:
    """What the chain says about some orders; a fact that is missing is not judged.

    Parameters
    ----------
    domain
        The hub's EIP-712 domain, which order hashes need.
    remaining
        Tasks left by order hash: the order's volume minus ``viewConsumed``.
    deployed
        Whether an address is registered, by kind (``app``, ``dataset``, ``workerpool``) and address.
    owners
        Owner by address of the resource.
    stakes
        Free RLC in the hub by account, nRLC.
    valid_signatures
        By order hash, ``verifySignature`` or a presignature.
    groups
        Tells whether a restriction is a group (ERC-734) that an account is a member of.
    category_count
        ``countCategory()``.
    """

    domain: Domain
    remaining: Mapping[Bytes32, int] = field(default_factory=dict)
    deployed: Mapping[tuple[str, Address], bool] = field(default_factory=dict)
    owners: Mapping[Address, Address] = field(default_factory=dict)
    stakes: Mapping[Address, int] = field(default_factory=dict)
    valid_signatures: Mapping[Bytes32, bool] = field(default_factory=dict)
    groups: Groups = no_groups
    category_count: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What a match costs, all amounts in nRLC.

    Parameters
    ----------
    volume
        Number of tasks.
    app, dataset, workerpool
        Price of one task.
    """

    volume: int
    app: int
    dataset: int
    workerpool: int

    @property
    def per_task(self) -> int:
        """What the requester pays for one task."""
        return self.app + self.dataset + self.workerpool

    @property
    def total(self) -> int:
        """What the requester pays for all tasks; the hub locks it when the orders match."""
        return self.per_task * self.volume

    @property
    def workerpool_stake(self) -> int:
        """What the hub locks of the workerpool owner's RLC; each task's share is rounded down first."""
        return workerpool_stake(self.workerpool) * self.volume


def workerpool_stake(price: int) -> int:
    """Return what a workerpool's owner stakes for one task at `price`, both in nRLC."""
    return price * WORKERPOOL_STAKE_PERCENT // 100


def restriction(restrict: Address, account: Address, groups: Groups = no_groups) -> bool:
    """Tell whether an order's restriction lets an account in.

    It does when it is empty, names the account, or is a group that the account is a member of
    (``SignatureVerifier._isAccountAuthorizedByRestriction``).
    """
    return restrict in (NULL_ADDRESS, account) or groups(restrict, account)


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
        *_tag_reasons(apporder, dataset, workerpoolorder, requestorder, require_tdx),
        *_address_reasons(apporder, dataset, workerpoolorder, requestorder, groups),
        *_level_reasons(workerpoolorder, requestorder, facts),
        *_price_reasons(apporder, dataset, workerpoolorder, requestorder),
        *_restriction_reasons(apporder, dataset, workerpoolorder, requestorder, groups),
    ]
    orders = _with_volume(apporder, workerpoolorder, requestorder, datasetorder)
    if facts:
        found += [reason for order in orders for reason in _authenticity_reasons(order, facts)]
    found += [reason for order in orders for reason in _consumption_reasons(order, _remaining(order, facts))]
    if facts:
        tasks = max(volume(apporder, workerpoolorder, requestorder, datasetorder, facts), 0)
        price = cost(apporder, workerpoolorder, datasetorder, volume=tasks)
        owner = facts.owners.get(workerpoolorder.workerpool)
        found += _owner_reasons(price, owner, facts)
        if solvable:
            found += _requester_reasons(price, requestorder.requester, owner, facts)
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
        *_candidate_identity(order, parties[order.kind], groups),
        *_candidate_tags(order, tag),
        *_restriction_rules(order, parties, groups),
    ]
    if isinstance(order, WorkerpoolOrder):
        found += _level_rules(order, category, trust)
    if max_price is not None and order.price > max_price:
        found.append(_too_expensive(order, max_price))
    if left < tasks:
        found += _consumption_reasons(order, left) or [_too_few(order, left, tasks)]
    return tuple(found)


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


def _reason(code: str, message: str, field: str, expected: object = None, got: object = None) -> Reason:
    return Reason(code=code, message=message, field=field, expected=expected, got=got)


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


def _tag_reasons(
    app: AppOrder, dataset: DatasetOrder, workerpool: WorkerpoolOrder, request: RequestOrder, require_tdx: bool
) -> Iterator[Reason]:
    # Hubs since PoCo 6.2 ignore the dataset's frameworks; 6.1 does not, and reverts a retired one with 0x06.
    of_dataset = tags.without_frameworks(dataset.tag)
    deal = tags.union(app.tag, of_dataset, request.tag)
    # Hubs before SDK 9 knew the frameworks that it refuses.
    wrong = tags.check(deal, agnostic=not require_tdx, legacy=not require_tdx)
    for message in wrong:
        yield _reason(
            "tag", f"Matching order would produce an invalid deal tag. {message}", "tag", got=tags.describe(deal)
        )
    if require_tdx and not wrong and not (tags.has(deal, "tee") and tags.has(deal, "tdx")):
        yield _reason(
            "tdx",
            "Resulting deal tag must have both [tee] and [tdx] tags active. Matching orders have incompatible tags.",
            "tag",
            ("tee", "tdx"),
            tags.describe(deal),
        )
    yield from _missing_in_workerpool(workerpool, deal)
    if tags.has(tags.union(of_dataset, request.tag), "tee"):
        yield from _missing_tee(app)


def _missing_in_workerpool(order: WorkerpoolOrder, required: Bytes32) -> Iterator[Reason]:
    if lacking := tags.missing(required, order.tag):
        yield _reason(
            "0x06",
            f"Missing tags [{','.join(lacking)}] in workerpoolorder",
            "tag",
            tags.describe(required),
            tags.describe(order.tag),
        )


def _missing_tee(order: AppOrder) -> Iterator[Reason]:
    if not tags.has(order.tag, "tee"):
        yield _reason("0x07", "Missing tag [tee] in apporder", "tag", ("tee",), tags.describe(order.tag))


def _address_reasons(
    app: AppOrder, dataset: DatasetOrder, workerpool: WorkerpoolOrder, request: RequestOrder, groups: Groups
) -> Iterator[Reason]:
    if request.app != app.app:
        yield _mismatch(_IDENTITY["app"], "app", request.app, app.app)
    if request.dataset != dataset.dataset:
        yield _mismatch(_IDENTITY["dataset"], "dataset", request.dataset, dataset.dataset)
    if not restriction(request.workerpool, workerpool.workerpool, groups):
        yield _mismatch(_IDENTITY["workerpool"], "workerpool", request.workerpool, workerpool.workerpool)


def _mismatch(code: str, name: str, expected: Address, got: Address) -> Reason:
    return _reason(
        code, f"{name} address mismatch between requestorder ({expected}) and {name}order ({got})", name, expected, got
    )


def _level_reasons(workerpool: WorkerpoolOrder, request: RequestOrder, facts: ChainFacts | None) -> Iterator[Reason]:
    yield from _level_rules(workerpool, request.category, request.trust)
    count = facts.category_count if facts else None
    if count is not None and request.category >= count:
        yield _reason(
            "0x01",
            f"category {request.category} does not exist (there are {count}, counted from 0)",
            "category",
            count,
            request.category,
        )


def _level_rules(workerpool: WorkerpoolOrder, category: int | None, trust: int) -> Iterator[Reason]:
    if category is not None and category != workerpool.category:
        yield _reason(
            "0x00",
            f"category mismatch between requestorder ({category}) and workerpoolorder ({workerpool.category})",
            "category",
            category,
            workerpool.category,
        )
    if trust > workerpool.trust:
        yield _reason(
            "0x02",
            f"workerpoolorder trust is too low (expected {trust}, got {workerpool.trust})",
            "trust",
            trust,
            workerpool.trust,
        )


def _price_reasons(
    app: AppOrder, dataset: DatasetOrder, workerpool: WorkerpoolOrder, request: RequestOrder
) -> Iterator[Reason]:
    limits = (app, request.appmaxprice), (dataset, request.datasetmaxprice), (workerpool, request.workerpoolmaxprice)
    for order, limit in limits:
        if order.price > limit:
            yield _too_expensive(order, limit)


def _too_expensive(order: Offer, limit: int) -> Reason:
    return _reason(
        _PRICES[order.kind],
        f"{order.kind}maxprice too low (expected {order.price} nRLC, got {limit} nRLC)",
        f"{order.kind}maxprice",
        order.price,
        limit,
    )


def _restriction_reasons(
    app: AppOrder, dataset: DatasetOrder, workerpool: WorkerpoolOrder, request: RequestOrder, groups: Groups
) -> Iterator[Reason]:
    parties: dict[str, Address | None] = {
        "app": app.app,
        "dataset": dataset.dataset,
        "workerpool": workerpool.workerpool,
        "requester": request.requester,
    }
    for order in (app, dataset, workerpool):
        yield from _restriction_rules(order, parties, groups)


def _restriction_rules(order: Offer, parties: Mapping[str, Address | None], groups: Groups) -> Iterator[Reason]:
    for code, kind, party in _RESTRICTIONS:
        account = parties[party]
        if kind != order.kind or account is None:
            continue
        restrict: Address = getattr(order, f"{party}restrict")
        if not restriction(restrict, account, groups):
            other = "no dataset" if account == NULL_ADDRESS else f"{party} {account}"
            yield _reason(
                code,
                f"{kind}order is restricted to {party} {restrict} and does not allow {other}",
                f"{party}restrict",
                restrict,
                account,
            )


def _authenticity_reasons(order: Order, facts: ChainFacts) -> Iterator[Reason]:
    if order.kind in _REGISTERED and facts.deployed.get((order.kind, order.resource)) is False:
        yield _reason(
            _REGISTERED[order.kind],
            f"No {order.kind} deployed at address {order.resource}",
            order.kind,
            got=order.resource,
        )
    # An order that is still to be signed is not judged: costs and reasons are shown before the wallet is asked.
    if order.salt is not None and facts.valid_signatures.get(order_hash(order, facts.domain)) is False:
        who = order.resource if isinstance(order, RequestOrder) else facts.owners.get(order.resource)
        yield _reason(_SIGNED[order.kind], f"{order.kind}order invalid sign", "sign", expected=who)


def _consumption_reasons(order: Order, left: int) -> list[Reason]:
    if left > 0:
        return []
    return [
        _reason(
            CONSUMED,
            f"{order.kind}order is fully consumed (0 of {order.volume} tasks left)",
            f"{order.kind}order",
            1,
            max(left, 0),
        )
    ]


def _too_few(order: Order, left: int, tasks: int) -> Reason:
    return _reason(
        "volume", f"{order.kind}order has too few tasks left (expected {tasks}, got {left})", "volume", tasks, left
    )


def _advice(found: tuple[Reason, ...]) -> str:
    for reason in found:
        if reason.code == REQUESTER_STAKE and isinstance(reason.expected, int) and isinstance(reason.got, int):
            return f"deposit at least {format_rlc(reason.expected - reason.got)}: account.deposit(...)"
    fields = dict.fromkeys(reason.field for reason in found if reason.field)
    return f"change {', '.join(fields)} and sign that order again, or take other orders"


def _owner_reasons(price: Cost, owner: Address | None, facts: ChainFacts) -> Iterator[Reason]:
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
    yield _reason(
        WORKERPOOL_STAKE,
        f"{what} ({needed} nRLC) is greater than workerpool owner's account stake ({stake} nRLC). "
        f"Orders can't be matched. If you are the workerpool owner, {_DEPOSIT}",
        "workerpoolorder",
        needed,
        stake,
    )


def _requester_reasons(price: Cost, requester: Address, owner: Address | None, facts: ChainFacts) -> Iterator[Reason]:
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
    yield _reason(
        REQUESTER_STAKE,
        f"{what} ({needed} nRLC) is greater than requester account stake ({stake} nRLC). "
        f"Orders can't be matched. If you are the requester, {_DEPOSIT}{advice}",
        "requestorder",
        needed,
        stake,
    )


def _candidate_identity(order: Offer, wanted: Address | None, groups: Groups) -> Iterator[Reason]:
    # A workerpool that a request names is a restriction: it may be a group of workerpools.
    choice = groups if isinstance(order, WorkerpoolOrder) else no_groups
    if wanted is not None and not restriction(wanted, order.resource, choice):
        yield _mismatch(_IDENTITY[order.kind], order.kind, wanted, order.resource)


def _candidate_tags(order: Offer, tag: Bytes32) -> Iterator[Reason]:
    if isinstance(order, WorkerpoolOrder):
        yield from _missing_in_workerpool(order, tag)
        return
    if isinstance(order, AppOrder) and tags.has(tag, "tee"):
        yield from _missing_tee(order)
    needs = tags.without_frameworks(order.tag) if isinstance(order, DatasetOrder) else order.tag
    if extra := tags.missing(needs, tag):
        yield _reason(
            "tag",
            f"{order.kind}order needs tags [{','.join(extra)}] that the request does not have",
            "tag",
            tags.describe(needs),
            tags.describe(tag),
        )

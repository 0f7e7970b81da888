"""What a match is judged by and what is said of it: facts of the chain, the cost, and the reasons against it.

Apart from the rules themselves, because the services that read the facts need none of the rules.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from iexec_nb.protocol.orders import AppOrder, DatasetOrder, WorkerpoolOrder
from iexec_nb.protocol.typed_data import Domain
from iexec_nb.protocol.types import NULL_ADDRESS, Address, Bytes32

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
    fix
        What to do about it.
    """

    code: str
    message: str
    field: str | None = None
    expected: object = None
    got: object = None
    fix: str = ""

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

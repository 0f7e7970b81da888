"""Saying before anything is signed that the money does not reach, and by how much."""

from __future__ import annotations

from iexec_nb.errors import InsufficientFundsError
from iexec_nb.protocol.matching import Cost
from iexec_nb.protocol.types import Address
from iexec_nb.protocol.units import format_rlc


def too_poor(cost: Cost, stake: int, requester: Address) -> InsufficientFundsError:
    """Return the error for a requester whose stake does not pay for a match, with the amounts."""
    lacking = format_rlc(max(cost.total - stake, 1))
    facts = {
        "cost": f"{format_rlc(cost.total)} for {cost.volume} tasks", "account stake": format_rlc(stake),
        "missing": lacking, "requester": requester,
    }  # fmt: skip
    return InsufficientFundsError(
        "the requester's account does not hold enough RLC for this match", context=facts,
        hint=f'iexec.account.deposit("{lacking}")',
    )  # fmt: skip

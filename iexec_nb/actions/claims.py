"""Taking money back for tasks that were never computed, in as few transactions as gas allows.

A claim costs a few ten thousand units of gas, and how many depends on the task (one that was never initialized is
initialized first, one with contributions pays its workers back). So nothing is guessed: the node estimates each
transaction before the question, and one that is too large is cut.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from iexec_nb.actions.transfers import fee_line
from iexec_nb.errors import IExecError, Web3ProviderCallError, Web3ProviderSendError
from iexec_nb.protocol.execution import Deal, Task, TaskStatus
from iexec_nb.protocol.receipts import ClaimTransaction
from iexec_nb.protocol.types import hexbytes
from iexec_nb.services import abi

if TYPE_CHECKING:
    from iexec_nb.client import IExec
    from iexec_nb.services.abi import Function
    from iexec_nb.services.receipts import Receipt
    from iexec_nb.services.wallet import Signer

MAX_GAS = 2**24
"""What one transaction may use at most (EIP-7825), however large a block is said to be."""
LEAST_GAS = {"claimArray": 30_000, "initializeAndClaimArray": 100_000}
"""Less than a claim of each kind costs: with more in one transaction the estimate is not worth asking for."""


@dataclass(frozen=True, slots=True)
class Part:
    """One transaction of a claim, priced and not sent yet."""

    function: Function
    tasks: tuple[Task, ...]
    data: bytes
    gas: int
    max_fee: int


def parts_of(client: IExec, signer: Signer, deal: Deal, tasks: Sequence[Task]) -> list[Part]:
    """Return the transactions that claim these tasks, each simulated, estimated and priced; nothing is signed.

    Parameters
    ----------
    client, signer
        Who claims.
    deal
        The deal of the tasks.
    tasks
        Tasks past their final deadline that are neither completed nor claimed.

    Raises
    ------
    Web3ProviderCallError, InsufficientFundsError
        When a task cannot be claimed, or the fees cannot be paid.
    """
    limit = min(client.chain.block_gas_limit(), MAX_GAS)
    started = [task for task in tasks if task.status is not TaskStatus.UNSET]
    unseen = [task for task in tasks if task.status is TaskStatus.UNSET]
    return [
        *_cut(client, signer, deal, started, abi.CLAIM_ARRAY, limit),
        *_cut(client, signer, deal, unseen, abi.INITIALIZE_AND_CLAIM_ARRAY, limit),
    ]


def claim_parts(client: IExec, signer: Signer, parts: Sequence[Part], text: str) -> tuple[ClaimTransaction, ...]:
    """Ask once, then send the transactions one after the other; each is seen to have claimed all of its tasks.

    Parameters
    ----------
    client, signer
        Who claims.
    parts
        What `parts_of` returned.
    text
        What the person is asked; the number of transactions and the fees are added.

    Raises
    ------
    ConfigurationError
        When the answer is no.
    Web3ProviderCallError, Web3ProviderSendError
        When one was refused, reverted or lost; ``.context`` says which were mined before it.
    """
    count = "" if len(parts) == 1 else f"\n  in {len(parts)} transactions"
    client.approve(f"{text}{count}{fee_line(sum(part.max_fee for part in parts))}")
    done: list[ClaimTransaction] = []
    for part in parts:
        try:
            receipt = client.chain.send(signer, client.chain.hub_address, part.data, max_fee=part.max_fee)
            done.append(ClaimTransaction(txHash=receipt.tx_hash, type=part.function.name))
            _check_claimed(client, receipt, part)
        except IExecError as error:
            if done:
                error.context["claimed before"] = ", ".join(one.txHash for one in done)
                error.hint = error.hint or "what is left is claimed by the same command again"
            raise
    return tuple(done)


def _cut(
    client: IExec, signer: Signer, deal: Deal, tasks: Sequence[Task], function: Function, limit: int
) -> list[Part]:
    parts: list[Part] = []
    size = max(1, limit // LEAST_GAS[function.name])
    rest = list(tasks)
    while rest:
        part = _priced(client, signer, deal, rest[:size], function)
        if part is None:
            # More than the node simulates in one go, or one of them cannot be claimed: alone, each says which it is.
            size = max(1, min(size, len(rest)) // 2)
        elif part.gas > limit and len(part.tasks) > 1:
            size = max(1, min(len(part.tasks) - 1, len(part.tasks) * limit // part.gas))
        else:
            parts.append(part)
            rest = rest[len(part.tasks) :]
    return parts


def _priced(client: IExec, signer: Signer, deal: Deal, tasks: Sequence[Task], function: Function) -> Part | None:
    if function is abi.CLAIM_ARRAY:
        data = function.encode([hexbytes(task.taskid) for task in tasks])
    else:
        data = function.encode([hexbytes(deal.dealid)] * len(tasks), [task.idx for task in tasks])
    try:
        quote = client.chain.quote(signer.address, client.chain.hub_address, data)
    except Web3ProviderCallError as error:
        if len(tasks) > 1:
            return None
        error.context.setdefault("task", tasks[0].taskid)
        raise
    return Part(function, tuple(tasks), data, quote.gas, quote.max_fee)


def _check_claimed(client: IExec, receipt: Receipt, part: Part) -> None:
    hub, event = client.chain.hub_address, abi.TASK_CLAIMED
    claimed = {event.decode(log)["taskid"] for log in receipt.logs if log.address == hub and event.matches(log)}
    if not claimed.issuperset(task.taskid for task in part.tasks):
        raise Web3ProviderSendError(
            "TaskClaimed not confirmed",
            tx_hash=receipt.tx_hash,
            context={"transaction": receipt.tx_hash, "block": receipt.block_number},
            hint="the transaction was mined: look at the tasks before you claim again",
        )

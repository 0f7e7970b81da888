"""The noun ``deal``: what was bought, how far it is, and the money back when it was not delivered."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from iexec_nb.actions.base import Noun
from iexec_nb.actions.updates import Update
from iexec_nb.actions.watch import watch
from iexec_nb.commands import command, noun
from iexec_nb.errors import ValidationError
from iexec_nb.protocol.execution import Deal, Task, TaskStatus
from iexec_nb.protocol.receipts import Claimed
from iexec_nb.protocol.types import bytes32
from iexec_nb.protocol.units import format_rlc
from iexec_nb.services import abi

if TYPE_CHECKING:
    from iexec_nb.actions.run import Run

_CLAIM_GAS, _INITIALIZE_AND_CLAIM_GAS = 55_000, 250_000


@noun("deal")
class DealActions(Noun):
    """Deals: matched orders, their tasks, and claims."""

    @command("deal show 0x0123456789012345678901234567890123456789012345678901234567890123")
    def show(self, dealid: str, /) -> Deal:
        """Return a deal: who sold what to whom, at which price in nRLC, until when.

        Parameters
        ----------
        dealid
            The deal's id, 32 bytes as ``0x`` text.

        Returns
        -------
        Deal
            The contract's struct, with ``taskids``, ``finalTime`` (UTC) and ``total_cost`` (nRLC).

        Raises
        ------
        ObjectNotFoundError
            When there is no such deal.

        Source
        ------
        Contract function ``viewDeal``.
        """
        return self._chain.deal(bytes32(dealid, "dealid"))

    def attach(self, dealid: str, /) -> Run:
        """Return the handle of a run that was started before, in this kernel or another.

        Parameters
        ----------
        dealid
            The deal's id.

        Raises
        ------
        ObjectNotFoundError
            When there is no such deal.
        """
        from iexec_nb.actions.run import Run

        return Run(self._client, self.show(dealid))

    def watch(self, dealid: str, /) -> Iterator[Update]:
        """Yield an update at once and after each change, until all tasks of a deal are over.

        Parameters
        ----------
        dealid
            The deal's id.

        Yields
        ------
        Update
            ``phase``, ``message``, ``tasks``, ``done`` and ``failed``.
        """
        return watch(self._client, self.show(dealid))

    @command("deal claim 0x0123456789012345678901234567890123456789012345678901234567890123", spends=True)
    def claim(self, dealid: str, /) -> Claimed:
        """Take back the money for all tasks of a deal that passed their final deadline without a result.

        Parameters
        ----------
        dealid
            The deal's id.

        Returns
        -------
        Claimed
            Task ids by index, and the hashes of the transactions.

        Raises
        ------
        ValidationError
            Before the deadline, or when there is nothing to claim.

        Source
        ------
        Contract functions ``claimArray`` and ``initializeAndClaimArray``.
        """
        signer = self._signer("claim")
        deal = self.show(dealid)
        now = self._chain.now()
        if not deal.deadline_reached(now):
            raise ValidationError(
                f"Cannot claim a deal before reaching the final time: {deal.finalTime:%Y-%m-%d %H:%M:%S} UTC",
                context={"now": f"{now:%Y-%m-%d %H:%M:%S} UTC"},
            )
        tasks = self._chain.deal_tasks(deal)
        started = [t for t in tasks if t.status in (TaskStatus.ACTIVE, TaskStatus.REVEALING)]
        unseen = [t for t in tasks if t.status == TaskStatus.UNSET]
        if not started and not unseen:
            raise ValidationError("Nothing to claim", context={"deal": deal.dealid})
        price = deal.total_cost // deal.botSize
        back = format_rlc(price * (len(started) + len(unseen)))
        self._client.approve(
            f"claim {len(started) + len(unseen)} tasks of deal {deal.dealid}: {back} back to {deal.sponsor}"
        )
        limit = self._chain.block_gas_limit()
        sent = []
        for part in _chunks(started, limit // _CLAIM_GAS):
            data = abi.CLAIM_ARRAY.encode([bytes.fromhex(t.taskid[2:]) for t in part])
            sent.append(self._chain.send(signer, self._chain.hub_address, data).tx_hash)
        for part in _chunks(unseen, limit // _INITIALIZE_AND_CLAIM_GAS):
            ids = [bytes.fromhex(deal.dealid[2:])] * len(part)
            data = abi.INITIALIZE_AND_CLAIM_ARRAY.encode(ids, [t.idx for t in part])
            sent.append(self._chain.send(signer, self._chain.hub_address, data).tx_hash)
        claimed = {task.idx: task.taskid for task in sorted(started + unseen, key=lambda t: t.idx)}
        return Claimed(claimed=claimed, transactions=tuple(sent))


def _chunks(items: list[Task], size: int) -> Iterator[list[Task]]:
    for start in range(0, len(items), max(size, 1)):
        yield items[start : start + max(size, 1)]

"""One request whose tasks are bought in one deal or several; tasks that differ by their index are of one request.

Orders on the market may sell fewer tasks than a request asks for. The chain then makes a deal of what they sell, and
goes on with the next index in the next match. It never gives more tasks than the request has, so the request is also
what keeps a map from being paid twice: it is in the journal before its first match.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import TYPE_CHECKING

from iexec_nb.actions.journal import Entry, Four, Journal
from iexec_nb.actions.once import _read_at_one_block
from iexec_nb.actions.plan import Plan
from iexec_nb.actions.run import Run, run_of
from iexec_nb.errors import IExecError, OrderConsumedError, ValidationError
from iexec_nb.protocol import params as request_params
from iexec_nb.protocol.execution import deal_id
from iexec_nb.protocol.orders import RequestOrder
from iexec_nb.protocol.typed_data import order_hash
from iexec_nb.protocol.types import NULL_ADDRESS, Bytes32, hexbytes, shown
from iexec_nb.protocol.units import format_rlc
from iexec_nb.services import abi
from iexec_nb.services.locks import run_lock
from iexec_nb.services.reads import Call

if TYPE_CHECKING:
    from iexec_nb.actions.wishes import Wishes
    from iexec_nb.client import IExec


class Portions:
    """The deals of one request of a wallet.

    Parameters
    ----------
    client
        Who pays.
    wishes
        What is wanted.
    volume
        How many tasks.
    key
        The name under which the request is kept, or None.
    terms
        What is wanted besides the wishes, as texts by name: equal texts are the same wish.

    Attributes
    ----------
    volume
        How many tasks.
    request
        The signed request; None before its first match.
    approved
        What may be paid for all of its deals together, in nRLC.

    Raises
    ------
    ValidationError
        When the name was used for something else, or its journal is damaged.
    """

    def __init__(
        self, client: IExec, wishes: Wishes, volume: int, key: str | None, terms: Mapping[str, str] | None = None
    ) -> None:
        self._client = client
        self._wishes = wishes
        self.volume = volume
        self._lock = threading.Lock()
        self._terms = {**wishes.terms, "volume": str(volume), **(terms or {})}
        self._journal = None if key is None else Journal(client, key, wishes.requester)
        self._sent: dict[Bytes32, int] = {}
        self._runs: dict[Bytes32, Run] = {}
        self.approved = 0
        self.request: RequestOrder | None = None
        self._recall()

    def found(self) -> tuple[list[Run], int]:
        """Return the deals that were made already, by index, and how many tasks can still be bought.

        Deals that others made of the request are among them: they are paid like all others.
        """
        self._recall()
        if self.request is None:
            return [], self.volume
        chain = self._client.chain
        for tx_hash in self._sent:
            if chain.pending(tx_hash):
                chain.wait(tx_hash)
        digest = order_hash(self.request, chain.domain)
        runs: list[Run] = []
        while True:
            dealid = deal_id(digest, sum(run.deal.botSize for run in runs))
            if dealid not in self._runs:
                consumed, deal = _read_at_one_block(chain, [
                    Call(chain.hub_address, abi.VIEW_CONSUMED, [hexbytes(digest)]),
                    Call(chain.hub_address, abi.VIEW_DEAL, [hexbytes(dealid)]),
                ])  # fmt: skip
                if deal[0][0] == NULL_ADDRESS:
                    # What is counted as consumed besides made no deal: it was canceled.
                    return runs, max(self.volume - consumed, 0)
                self._runs[dealid] = Run(self._client, chain.deal(dealid))
            runs.append(self._runs[dealid])
            if sum(run.deal.botSize for run in runs) >= self.volume:
                return runs, 0

    def match(self, plan: Plan, made: Callable[[Run], None]) -> None:
        """Buy what the orders of a plan sell; the plan was shown and approved before.

        Parameters
        ----------
        plan
            The orders.
        made
            Told of the deal, and of those that others made of the request meanwhile.

        Raises
        ------
        OrderMismatchError, OrderConsumedError, InsufficientFundsError
            When the orders do not serve any more, or would come to more than was approved; nothing was sent then.
        Web3ProviderSendError
            When the transaction was refused, reverted or lost.
        """

        with self._lock, self._named():
            self.with_others(plan.cost.volume, lambda: self._match(plan), made)

    def with_others(self, tasks: int, buy: Callable[[], Run], made: Callable[[Run], None]) -> None:
        """Buy tasks, and tell of each deal that was made of the request meanwhile, whether that went well or not."""
        before, complete = set(self._runs), False
        try:
            run = buy()
            others = sum(one.deal.botSize for one in self._runs.values() if one.dealid != run.dealid)
            self._runs[run.dealid] = run
            complete = run.deal.botFirst == others and run.deal.botSize >= tasks
        finally:
            if not complete:
                # Where the chain cannot be asked now, what the buying said is all that is known.
                with suppress(IExecError):
                    self.found()
            for dealid, run in self._runs.items():
                if dealid not in before:
                    made(run)

    def _named(self) -> AbstractContextManager[object]:
        if self._journal is None:
            return nullcontext()
        return run_lock(self._client.chain.chain_id, self._wishes.requester, self._journal.key)

    def _match(self, plan: Plan) -> Run:
        orders, client = self._client.order, self._client
        asked = plan.requestorder if self.request is None else self.request
        four = orders.sign_four(plan.apporder, plan.datasetorder, plan.workerpoolorder, asked)
        paid = sum(run.price for run in self.found()[0])
        # The chain sells all that the orders have left, and not what was planned with them.
        cost = orders.check_four(four)
        if paid + cost.total > self.approved:
            raise OrderConsumedError(
                f"{cost.volume} tasks for {format_rlc(cost.total)} are more than was approved, because cheaper orders "
                "are gone; nothing was sent",
                context={"approved": format_rlc(self.approved), "paid": format_rlc(paid)},
                hint="run it again to see today's price",
            )
        return run_of(client, orders.match_four(self._kept(four), cost, on_signed=self._note))

    def _note(self, tx_hash: Bytes32, nonce: int) -> None:
        if self._journal is not None:
            self._journal.sent(tx_hash, nonce)
        self._sent[tx_hash] = nonce

    def _recall(self) -> None:
        """Read what is written down of the request; another one may have taken its place."""
        entry = None if self._journal is None else self._journal.read()
        if entry is not None:
            self.request = self._same(entry)
            self._sent.update(entry.sent)

    def _kept(self, four: Four) -> Four:
        """Write the request down before it is sent, and return the orders with the one that is written there."""
        if self.request is None:
            entry = None if self._journal is None else self._journal.begin(self._terms, four)
            self.request = four[3] if entry is None else self._same(entry)
        return (*four[:3], self.request)

    def _same(self, entry: Entry) -> RequestOrder:
        assert self._journal is not None
        other = [
            name for name in sorted({*entry.terms, *self._terms}) if entry.terms.get(name) != self._terms.get(name)
        ]
        if other or entry.request.volume != self.volume:
            raise ValidationError(
                f"the run {shown(self._journal.key)!r} was begun with another {', '.join(other) or 'volume'}; "
                "nothing was sent",
                context={
                    name: f"{shown(entry.terms.get(name, 'none'))} then, {shown(self._terms.get(name, 'none'))} now"
                    for name in other
                },
                hint="give another idempotency_key, or the arguments of then",
            )
        if not self._serves(entry.request):
            raise ValidationError(
                f"the journal of the run {shown(self._journal.key)!r} is damaged: its request is for something else",
                hint="give another idempotency_key, after a look at iexec.deal.list()",
            )
        return entry.request

    def _serves(self, request: RequestOrder) -> bool:
        wishes = self._wishes
        names = ("app", "dataset", "requester", "tag", "trust", "beneficiary", "callback")
        params = request_params.loads(request.params)
        if "bulk_cid" not in wishes.params:
            # The datasets are among the terms; where their bulk is, is known when it is uploaded.
            params.pop("bulk_cid", None)
        return (
            all(getattr(request, name) == getattr(wishes, name) for name in names)
            and wishes.workerpool in (NULL_ADDRESS, request.workerpool)
            and wishes.category in (None, request.category)
            and params == dict(wishes.params)
        )

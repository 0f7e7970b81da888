"""One request whose tasks are bought in one deal or several; tasks that differ by their index are of one request.

Orders on the market may sell fewer tasks than a request asks for. The chain then makes a deal of what they sell, and
goes on with the next index in the next match. It never gives more tasks than the request has, so the request is also
what keeps a map from being paid twice: it is in the journal before its first match.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING

from iexec_nb.actions.journal import Entry, Four, Journal
from iexec_nb.actions.plan import Plan
from iexec_nb.actions.run import Run
from iexec_nb.errors import ObjectNotFoundError, ValidationError
from iexec_nb.protocol.execution import deal_id
from iexec_nb.protocol.orders import RequestOrder
from iexec_nb.protocol.typed_data import order_hash
from iexec_nb.protocol.types import shown
from iexec_nb.services.locks import run_lock

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

    Raises
    ------
    ValidationError
        When the name was used for something else, or its journal is damaged.
    """

    def __init__(
        self, client: IExec, wishes: Wishes, volume: int, key: str | None, terms: Mapping[str, str] | None = None
    ) -> None:
        self._client = client
        self._volume = volume
        self._lock = threading.Lock()
        self._terms = {**wishes.terms, "volume": str(volume), **(terms or {})}
        self._requester = wishes.requester
        self._journal = None if key is None else Journal(client, key, wishes.requester)
        entry = None if self._journal is None else self._journal.read()
        self.request: RequestOrder | None = None if entry is None else self._same(entry)

    def found(self) -> tuple[list[Run], int]:
        """Return the deals that were made already, by index, and how many tasks can still be bought."""
        if self.request is None:
            return [], self._volume
        chain = self._client.chain
        for tx_hash, _ in () if self._journal is None else self._sent():
            if chain.pending(tx_hash):
                chain.wait(tx_hash)
        digest = order_hash(self.request, chain.domain)
        consumed, seen = chain.consumed([digest])[digest], 0
        runs: list[Run] = []
        while seen < consumed:
            try:
                deal = chain.deal(deal_id(digest, seen))
            except ObjectNotFoundError:
                # It was canceled: what is counted as consumed made no deal.
                break
            runs.append(Run(self._client, deal))
            seen += deal.botSize
        return runs, max(self._volume - consumed, 0)

    def match(self, plan: Plan) -> Run:
        """Buy what the orders of a plan sell; the plan was shown and approved before.

        Raises
        ------
        OrderMismatchError, OrderConsumedError, InsufficientFundsError
            When the orders do not serve any more; nothing was sent then.
        Web3ProviderSendError
            When the transaction was refused, reverted or lost.
        """
        with self._lock:
            if self._journal is None:
                return self._match(plan)
            with run_lock(self._client.chain.chain_id, self._requester, self._journal.key):
                return self._match(plan)

    def _match(self, plan: Plan) -> Run:
        orders, client = self._client.order, self._client
        asked = plan.requestorder if self.request is None else self.request
        four = orders.sign_four(plan.apporder, plan.datasetorder, plan.workerpoolorder, asked)
        cost = orders.check_four(four)
        four = self._kept(four)
        matched = orders.match_four(four, cost, on_signed=None if self._journal is None else self._journal.sent)
        return Run(client, client.chain.deal(matched.dealid), matched.txHash)

    def _kept(self, four: Four) -> Four:
        """Write the request down before it is sent, and return the orders with the one that is written there."""
        if self.request is None:
            entry = None if self._journal is None else self._journal.begin(self._terms, four)
            self.request = four[3] if entry is None else self._same(entry)
        return (*four[:3], self.request)

    def _sent(self) -> tuple[tuple[str, int], ...]:
        entry = self._journal.read() if self._journal is not None else None
        return () if entry is None else entry.sent

    def _same(self, entry: Entry) -> RequestOrder:
        assert self._journal is not None
        other = [
            name for name in sorted({*entry.terms, *self._terms}) if entry.terms.get(name) != self._terms.get(name)
        ]
        if other or entry.request.volume != self._volume:
            raise ValidationError(
                f"the run {shown(self._journal.key)!r} was begun with another {', '.join(other) or 'volume'}; "
                "nothing was sent",
                context={
                    name: f"{shown(entry.terms.get(name, 'none'))} then, {shown(self._terms.get(name, 'none'))} now"
                    for name in other
                },
                hint="give another idempotency_key, or the arguments of then",
            )
        return entry.request

"""Runs that are paid once, however often their cell is run and whenever its kernel dies.

The chain decides: a request order can be matched for each of its tasks once, so as long as the same signed request is
sent again, nothing is paid a second time. The journal says which request that was. Another one is signed only after
the chain said that this one is closed and made no deal: that a transaction failed is not enough, because whoever saw
it could send the request once more. What the chain says is read at one block, so that two nodes behind one address
cannot contradict each other. Locks spare people a second question; the rule holds without them.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from iexec_nb.actions.journal import Entry, Four, Journal
from iexec_nb.actions.plan import Offers, Plan, Planner
from iexec_nb.actions.run import Run, run_of
from iexec_nb.errors import (
    IExecError,
    OrderMismatchError,
    ValidationError,
    Web3ProviderCallError,
    Web3ProviderError,
)
from iexec_nb.protocol import matching
from iexec_nb.protocol import params as request_params
from iexec_nb.protocol.execution import Deal, deal_id
from iexec_nb.protocol.orders import NULL_DATASETORDER, RequestOrder
from iexec_nb.protocol.typed_data import order_hash
from iexec_nb.protocol.types import NULL_ADDRESS, hexbytes, shown
from iexec_nb.services import abi
from iexec_nb.services.locks import run_lock
from iexec_nb.services.reads import Call, Read

if TYPE_CHECKING:
    from iexec_nb.actions.wishes import Wishes
    from iexec_nb.client import IExec
    from iexec_nb.services.chain import Chain

_TRIES = 4
_PAUSE_S = 0.2
_BEGUN = "go on with a run that was begun and is not paid yet:\n  "


class Once:
    """One run of one wallet under one name.

    Parameters
    ----------
    client
        Who pays.
    wishes
        What is wanted.
    key
        The name of the run (``idempotency_key``).
    volume
        How many tasks.
    digest
        What else has to be the same when the name is used again.

    Raises
    ------
    ValidationError
        When the name is malformed.
    """

    def __init__(
        self, client: IExec, wishes: Wishes, key: object, *, volume: int = 1, digest: str | None = None
    ) -> None:
        self._client = client
        self._wishes = wishes
        self._volume = volume
        self._journal = Journal(client, key, wishes.requester)
        self._terms = {**wishes.terms, "volume": str(volume)} | ({} if digest is None else {"digest": digest})

    def found(self) -> Run | None:
        """Return the run that was paid under this name, or None; nothing is waited for, asked or sent.

        Raises
        ------
        ValidationError
            When the name was used for a run with other arguments, or its journal is damaged.
        """
        entry = self._entry()
        deal = None if entry is None else self._standing(entry)[1]
        return None if entry is None or deal is None else self._handle(entry, deal)

    def execute(self, plan: Plan | None = None, *, approved: bool = False) -> Run:
        """Return the run that was paid under this name; where none was, ask, sign, match, and return that.

        Parameters
        ----------
        plan
            What is done where nothing was begun before; default: the cheapest orders of that moment.
        approved
            Whether the person has said yes to `plan` and its price already.

        Raises
        ------
        ValidationError
            When the name was used for a run with other arguments, or its journal is damaged.
        ConfigurationError
            When the person says no, another program is at work on this run, or the journal cannot be written.
        OrderMismatchError, OrderConsumedError, InsufficientFundsError
            When no orders fit, or the stake is too low; nothing was sent then.
        Web3ProviderSendError
            When a transaction was refused, reverted or lost: run it again, it is never paid twice.
        """
        self._client.require_signer("run an app")
        limit = plan.cost.total if approved and plan is not None else None
        with run_lock(self._client.chain.chain_id, self._wishes.requester, self._journal.key):
            try:
                run = None
                while run is None:
                    run = self._attempt(plan, limit)
                return run
            except (KeyboardInterrupt, Web3ProviderError) as stop:
                stop.add_note(f"Run it again with idempotency_key={self._journal.key!r}: it is never paid twice.")
                raise

    def _attempt(self, plan: Plan | None, limit: int | None) -> Run | None:
        """Return the run; None where the chain has to be asked again."""
        entry = self._entry()
        try:
            return self._begin(plan, limit) if entry is None else self._resume(entry, plan, limit)
        except IExecError:
            found = None
            # Another transaction of the same request may have been faster: that is the run, and it is paid.
            with suppress(IExecError):
                found = self.found()
            if found is None:
                raise
            return found

    def _entry(self) -> Entry | None:
        entry = self._journal.read()
        if entry is not None:
            self._check_same(entry)
        return entry

    def _check_same(self, entry: Entry) -> None:
        names = sorted({*entry.terms, *self._terms})
        other = [name for name in names if entry.terms.get(name) != self._terms.get(name)]
        if other:
            raise ValidationError(
                f"the run {shown(self._journal.key)!r} was begun with another {', '.join(other)}; nothing was sent",
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

    def _serves(self, request: RequestOrder) -> bool:
        wishes = self._wishes
        names = ("app", "dataset", "requester", "tag", "trust", "beneficiary", "callback")
        return (
            all(getattr(request, name) == getattr(wishes, name) for name in names)
            and wishes.workerpool in (NULL_ADDRESS, request.workerpool)
            and wishes.category in (None, request.category)
            and request.volume == self._volume
            and request_params.loads(request.params) == dict(wishes.params)
        )

    def _standing(self, entry: Entry) -> tuple[int, Deal | None]:
        """Return how many tasks of the request are consumed, and the deal that it made."""
        chain = self._client.chain
        digest = order_hash(entry.request, chain.domain)
        dealid = deal_id(digest, 0)
        reads = [Call(chain.hub_address, fn, [hexbytes(of)]) for fn, of in
                 ((abi.VIEW_CONSUMED, digest), (abi.VIEW_DEAL, dealid))]  # fmt: skip
        consumed, deal = _read_at_one_block(chain, reads)
        return consumed, None if deal[0][0] == NULL_ADDRESS else chain.deal(dealid)

    def _begin(self, plan: Plan | None, limit: int | None) -> Run | None:
        """Plan, ask, sign, write down, match; None where another program began it meanwhile."""
        if plan is None:
            plan = Planner(self._client, self._wishes).plan(volume=self._volume)
        self._ask(plan, limit, "")
        orders = self._client.order
        four = orders.sign_four(plan.apporder, plan.datasetorder, plan.workerpoolorder, plan.requestorder)
        cost = orders.check_four(four, whole=True)
        entry = self._journal.begin(self._terms, four)
        return self._match(four, cost) if entry.request == four[3] else None

    def _resume(self, entry: Entry, plan: Plan | None, limit: int | None) -> Run | None:
        """Return the run of a request that was signed before; None where the chain has to be asked again."""
        consumed, deal = self._standing(entry)
        if deal is not None:
            return self._handle(entry, deal)
        if consumed:
            # Closed: the chain takes it no more, and it made no deal.
            return self._begin(plan, limit)
        if self._waited(entry):
            return None
        try:
            cost = self._client.order.check_four(entry.orders, whole=True)
        except OrderMismatchError:
            return self._without_its_orders(entry, limit)
        self._ask(self._plan(entry.orders, cost), limit, _BEGUN)
        return self._match(entry.orders, cost)

    def _without_its_orders(self, entry: Entry, limit: int | None) -> Run | None:
        """Go on where the counter orders of a request are gone: with others that it allows, else close the request."""
        orders = self._client.order
        if (others := self._others(entry.request)) is not None:
            app, dataset, workerpool = others
            four = (app, dataset or NULL_DATASETORDER, workerpool, entry.request)
            self._ask(self._plan(four, matching.cost(app, workerpool, dataset, volume=self._volume)), limit, _BEGUN)
            four = orders.sign_four(*others, entry.request)
            return self._match(four, orders.check_four(four, whole=True))
        # It could be matched as long as it is open. The question is the verb's own.
        orders.cancel(entry.request)
        return None

    def _others(self, request: RequestOrder) -> Offers | None:
        """Return other counter orders that a signed request allows, or None."""
        wishes = replace(self._wishes, category=request.category, workerpool=request.workerpool, max_price=None)
        try:
            found = Planner(self._client, wishes).choose(self._volume)
        except OrderMismatchError:
            return None
        app, dataset, workerpool = found
        dear = (
            app.appprice > request.appmaxprice
            or (dataset is not None and dataset.datasetprice > request.datasetmaxprice)
            or workerpool.workerpoolprice > request.workerpoolmaxprice
        )
        return None if dear else found

    def _match(self, four: Four, cost: matching.Cost) -> Run:
        client = self._client
        return run_of(client, client.order.match_four(four, cost, on_signed=self._journal.sent))

    def _waited(self, entry: Entry) -> bool:
        """Wait until a transaction that is on its way is mined; return whether there was one."""
        chain = self._client.chain
        for tx_hash, _ in reversed(entry.sent):
            if chain.pending(tx_hash):
                chain.wait(tx_hash)
                return True
        return False

    def _handle(self, entry: Entry, deal: Deal) -> Run:
        chain = self._client.chain
        for tx_hash, _ in reversed(entry.sent):
            receipt = chain.receipt(tx_hash)
            event = chain.find_event(receipt, abi.ORDERS_MATCHED) if receipt is not None else None
            if event is not None and event["dealid"] == deal.dealid:
                return Run(self._client, deal, tx_hash)
        return Run(self._client, deal)

    def _plan(self, four: Four, cost: matching.Cost) -> Plan:
        app, dataset, workerpool, request = four
        return Plan(
            client=self._client, wishes=self._wishes, apporder=app, workerpoolorder=workerpool, requestorder=request,
            datasetorder=None if dataset == NULL_DATASETORDER else dataset, cost=cost,
        )  # fmt: skip

    def _ask(self, plan: Plan, limit: int | None, before: str) -> None:
        if limit is None or plan.cost.total > limit:
            self._client.approve(lambda: f"{before}{plan.question()}")


def _read_at_one_block(chain: Chain, reads: Sequence[Read]) -> list[Any]:
    """Return what contracts say at one block, instead of the latest, which may be another one for each read."""

    def read() -> list[Any]:
        block = hex(chain.block_number())
        return chain.read([Read(read.method, (read.params[0], block), read.decode) for read in reads])

    for _ in range(_TRIES - 1):
        # Behind one address one node may know a block that another has not got yet.
        with suppress(Web3ProviderCallError):
            return read()
        time.sleep(_PAUSE_S)
    return read()

"""The noun ``deal``: what was bought, how far it is, and the money back when it was not delivered."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal, overload

from iexec_nb.actions import deal_raw as raw
from iexec_nb.actions.base import Noun
from iexec_nb.actions.claims import claim_parts, parts_of
from iexec_nb.actions.updates import Update
from iexec_nb.actions.watch import last_of, watch
from iexec_nb.commands import command, noun
from iexec_nb.errors import MarketCallError, ValidationError
from iexec_nb.protocol.execution import Deal, TaskStatus, task_id
from iexec_nb.protocol.receipts import Claimed
from iexec_nb.protocol.types import Bytes32, address, bytes32, shown, uint256
from iexec_nb.protocol.units import format_rlc
from iexec_nb.services.deal_reads import read_deals

if TYPE_CHECKING:
    import pandas as pd

    from iexec_nb.actions.run import Run

_ORDERS = ("apporder", "datasetorder", "workerpoolorder", "requestorder")


@noun("deal")
class DealActions(Noun):
    """Deals: matched orders, their tasks, and claims."""

    @overload
    def show(self, dealid: str, /, *, watch: Literal[False] = ...) -> Deal: ...
    @overload
    def show(self, dealid: str, /, *, watch: bool) -> Deal | Update: ...
    @command(
        "deal show 0x0123456789012345678901234567890123456789012345678901234567890123 --watch",
        js=("deal.show",),
        raw=raw.shown_deal,
    )
    def show(self, dealid: str, /, *, watch: bool = False) -> Deal | Update:
        """Return a deal: who sold what to whom, at which price in nRLC, until when.

        Parameters
        ----------
        dealid
            The deal's id, 32 bytes as ``0x`` text.
        watch
            Wait until every task is completed, failed or timed out, and return the last `Update`.

        Returns
        -------
        Deal
            The contract's struct, with ``taskids``, ``finalTime`` (UTC) and ``total_cost`` (nRLC). With `watch` an
            `Update`: ``deal``, ``tasks``, ``failedTasks`` and the counts.

        Raises
        ------
        ObjectNotFoundError
            When there is no such deal.

        Source
        ------
        Contract functions ``viewDeal`` and ``viewTask``.
        """
        deal = self._chain.deal(bytes32(dealid, "dealid"))
        if watch:
            return last_of(self._watch(deal), f"iexec.deal.show({deal.dealid!r}, watch=True)")
        return deal

    @command(
        "deal list --app 0x0123456789012345678901234567890123456789",
        js=(
            "deal.fetchRequesterDeals", "deal.fetchDealsByApporder", "deal.fetchDealsByDatasetorder",
            "deal.fetchDealsByWorkerpoolorder", "deal.fetchDealsByRequestorder",
        ),
        raw=raw.listed,
    )  # fmt: skip
    def list(
        self,
        requester: str | None = None,
        *,
        app: str | None = None,
        dataset: str | None = None,
        workerpool: str | None = None,
        beneficiary: str | None = None,
        category: int | str | None = None,
        app_owner: str | None = None,
        dataset_owner: str | None = None,
        workerpool_owner: str | None = None,
        apporder: str | None = None,
        datasetorder: str | None = None,
        workerpoolorder: str | None = None,
        requestorder: str | None = None,
        limit: int | str | None = None,
    ) -> pd.DataFrame:
        """Return deals as a DataFrame, newest first; prices in nRLC.

        The market names the deals; what they are is read from the chain.

        Parameters
        ----------
        requester
            Who bought, or ``any``. Default: the client's wallet; anybody where an owner or an order is named.
        app, dataset, workerpool, beneficiary, category
            Only deals of this one.
        app_owner, dataset_owner, workerpool_owner
            Only deals in which something of this owner was sold.
        apporder, datasetorder, workerpoolorder, requestorder
            Only deals that were made from the order with this hash.
        limit
            At most so many deals; default: all.

        Returns
        -------
        pandas.DataFrame
            Schema `tables.DEALS`, one row a deal.

        Raises
        ------
        ValidationError
            When a filter is malformed.
        ConfigurationError
            When no requester is given and there is no wallet.
        MarketCallError
            When the market does not answer, or its pages do not end.

        Source
        ------
        Endpoint ``GET /deals`` of the market API; contract function ``viewDeal``.
        """
        from iexec_nb import tables

        owners = {"appOwner": app_owner, "datasetOwner": dataset_owner, "workerpoolOwner": workerpool_owner}
        orders = dict(zip(_ORDERS, (apporder, datasetorder, workerpoolorder, requestorder), strict=True))
        filters: dict[str, Any] = {
            "app": app, "dataset": dataset, "workerpool": workerpool, "beneficiary": beneficiary, **owners
        }  # fmt: skip
        filters = {name: None if one is None else address(one, name) for name, one in filters.items()}
        filters["category"] = None if category is None else uint256(category, "category")
        filters |= {f"{name}Hash": None if one is None else bytes32(one, name) for name, one in orders.items()}
        most = None if limit is None else min(uint256(limit, "limit"), sys.maxsize)
        if requester is None and any(one is not None for one in (*owners.values(), *orders.values())):
            requester = "any"
        filters["requester"] = None if requester == "any" else self._who(requester)
        rows = itertools.islice(self._client.market.deals(**filters), most)
        dealids = [_dealid(row) for row in rows]
        deals = [deal for deal in read_deals(self._chain, dealids) if deal is not None and _is_meant(deal, filters)]
        attrs = {
            "chain": self._client.network.name, "chain_id": self._chain.chain_id,
            "hub_address": self._chain.hub_address, "block": self._chain.block_number(),
            "source": "market deals, viewDeal", "fetched_at": datetime.now(UTC).isoformat(timespec="seconds"),
        }  # fmt: skip
        return tables.frame(tables.DEALS, deals, attrs=attrs)

    @command(
        "deal attach 0x0123456789012345678901234567890123456789012345678901234567890123",
        raw=lambda run: {"dealid": run.dealid, "tasks": run.taskids},
    )
    def attach(self, dealid: str, /) -> Run:
        """Return the handle of a run that was started before, in this kernel, another, or on another machine.

        Parameters
        ----------
        dealid
            The deal's id.

        Returns
        -------
        Run
            As `app.run` returns it: ``wait()``, ``result()``, ``logs()``, ``claim()``.

        Raises
        ------
        ObjectNotFoundError
            When there is no such deal.

        Source
        ------
        Contract function ``viewDeal``.
        """
        from iexec_nb.actions.run import Run

        return Run(self._client, self._chain.deal(bytes32(dealid, "dealid")))

    @command(
        "deal compute-task-id 0x0123456789012345678901234567890123456789012345678901234567890123 0",
        js=("deal.computeTaskId",),
        raw=lambda taskid: {"taskid": taskid},
        local=True,
    )
    def compute_task_id(self, dealid: str, idx: int | str, /) -> Bytes32:
        """Return the id of one task of a deal; the chain is not asked.

        Parameters
        ----------
        dealid
            The deal's id.
        idx
            Index of the task in its request order: from ``botFirst`` of the deal on.

        Raises
        ------
        ValidationError
            When `dealid` is no id, or `idx` no number from 0.

        Source
        ------
        Keccak-256 of both, as ``initialize`` of the hub computes it.
        """
        return task_id(bytes32(dealid, "dealid"), uint256(idx, "idx"))

    def watch(self, dealid: str, /) -> Iterator[Update]:
        """Yield an update at once and after each change, until all tasks of a deal are over.

        Parameters
        ----------
        dealid
            The deal's id.

        Yields
        ------
        Update
            ``event`` (``DEAL_UPDATED``, ``DEAL_COMPLETED``, ``DEAL_TIMEDOUT``), ``phase``, ``message``, ``tasks``,
            ``done`` and ``failed``.

        Raises
        ------
        ObjectNotFoundError
            When there is no such deal.
        """
        return self._watch(self._chain.deal(bytes32(dealid, "dealid")))

    @command(
        "deal claim 0x0123456789012345678901234567890123456789012345678901234567890123",
        js=("deal.claim",),
        raw=raw.claimed,
        spends=True,
    )
    def claim(self, dealid: str, /) -> Claimed:
        """Take back the money for all tasks of a deal that passed their final deadline without a result.

        As few transactions are sent as gas allows. Anybody may claim; the money goes to who paid.

        Parameters
        ----------
        dealid
            The deal's id.

        Returns
        -------
        Claimed
            Task ids by index, and the transactions.

        Raises
        ------
        ValidationError
            Before the deadline, or when there is nothing to claim.
        InsufficientFundsError
            When the wallet cannot pay the fees.
        Web3ProviderSendError
            When a transaction failed; ``.context`` names those that were mined before.

        Source
        ------
        Contract functions ``claimArray`` and ``initializeAndClaimArray``.
        """
        signer = self._signer("claim")
        deal = self._chain.deal(bytes32(dealid, "dealid"))
        now = self._chain.now()
        if not deal.deadline_reached(now):
            raise ValidationError(
                f"Cannot claim a deal before reaching the final time: {deal.finalTime:%Y-%m-%d %H:%M:%S} UTC",
                context={"now": f"{now:%Y-%m-%d %H:%M:%S} UTC"},
            )
        lost = [task for task in self._chain.deal_tasks(deal) if task.status < TaskStatus.COMPLETED]
        if not lost:
            raise ValidationError("Nothing to claim", context={"deal": deal.dealid})
        parts = parts_of(self._client, signer, deal, lost)
        back = format_rlc(deal.price_per_task * len(lost))
        text = f"claim {len(lost)} tasks of deal {deal.dealid}: {back} back to {deal.sponsor}"
        sent = claim_parts(self._client, signer, parts, text)
        return Claimed(claimed={task.idx: task.taskid for task in lost}, transactions=sent)

    def _watch(self, deal: Deal) -> Iterator[Update]:
        return watch(self._client, deal)


def _dealid(row: dict[str, Any]) -> Bytes32:
    try:
        return bytes32(row["dealid"], "dealid")
    except ValidationError as error:
        raise MarketCallError(f"the market names a deal {shown(row['dealid'], 80)}, which is no id") from error


def _is_meant(deal: Deal, filters: dict[str, Any]) -> bool:
    """Tell whether a deal is one of those that were asked for, which the market may have got wrong."""
    held = {
        "requester": deal.requester, "beneficiary": deal.beneficiary, "category": deal.category,
        **{kind: getattr(deal, kind).pointer for kind in ("app", "dataset", "workerpool")},
        **{f"{kind}Owner": getattr(deal, kind).owner for kind in ("app", "dataset", "workerpool")},
    }  # fmt: skip
    return all(filters.get(name) in (None, value) for name, value in held.items())

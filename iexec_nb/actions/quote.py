"""What a run would cost, before anything is signed: the price, the stake, the gas, and all that stands in the way.

People want to see what an answer costs before they own a wallet, and to learn of a missing deposit, key or secret in
one go instead of one error after the other. So this plans as a run does, and where a run stops it writes down why.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from iexec_nb.actions import preflight
from iexec_nb.actions.base import Amount, Tags
from iexec_nb.actions.entries import DEPLOYED, Registered
from iexec_nb.actions.plan import Plan, Planner
from iexec_nb.actions.wishes import Wishes
from iexec_nb.commands import command
from iexec_nb.errors import ConfigurationError
from iexec_nb.protocol import matching, tags
from iexec_nb.protocol.quotes import Gas, Quote
from iexec_nb.protocol.typed_data import order_hash
from iexec_nb.protocol.types import Address, keccak, to_checksum
from iexec_nb.protocol.units import format_ether, format_rlc
from iexec_nb.services import abi
from iexec_nb.services.reads import Call

if TYPE_CHECKING:
    from iexec_nb.client import IExec

Problem = tuple[str, str]

ANYBODY = to_checksum(keccak(b"iexec_nb: somebody without a wallet")[-20:])
"""Who asks where there is no wallet: an address that nobody has, so that it is offered what is offered to everybody."""
_SIMULATED = "simulated, before anything is signed"
_NOT_SIMULATED = "how many it takes is known when the request is signed: this node cannot simulate that before"


def quote(client: IExec, plan: Plan, who: Address | None) -> Quote:
    """Return what a plan costs and what stands against it.

    Parameters
    ----------
    client
        Who asks.
    plan
        What would be done; nobody looked yet whether it can be paid.
    who
        The requester; None where there is none, and `plan` is for `ANYBODY`.
    """
    chain, cost, request = client.chain, plan.cost, plan.requestorder
    needed = plan.rehearsed()
    gas = Gas(units=needed.units, price=needed.price, note=_NOT_SIMULATED if needed.units is None else _SIMULATED)
    found = list(_mismatches(client, plan))
    funds: dict[str, int | None] = {}
    if who is None:
        found.append(("The client has no wallet to pay from.", "iexec.wallet.create(), or IExec(signer=...)"))
    else:
        funds = _funds(client, who)
        most = None if needed.units is None else (needed.units + needed.units // 4) * needed.max_price
        found += _lacking(cost, funds, most)
    if not plan.wishes.skip_preflight_check:
        found += plan.problems() if who is not None else _of_anybody(client, plan)
    return Quote(
        app=request.app,
        dataset=None if plan.datasetorder is None else plan.datasetorder.dataset,
        workerpool=plan.workerpoolorder.workerpool,
        category=request.category,
        trust=request.trust,
        volume=request.volume,
        appprice=cost.app,
        datasetprice=cost.dataset,
        workerpoolprice=cost.workerpool,
        orders={
            order.kind: order_hash(order, chain.domain) if order.is_signed else None
            for order in (plan.apporder, plan.datasetorder, plan.workerpoolorder)
            if order is not None
        },
        gas=gas,
        requester=who,
        problems=tuple(message for message, _ in found),
        hints=tuple(hint for _, hint in found),
        **funds,
    )


def _mismatches(client: IExec, plan: Plan) -> Iterator[Problem]:
    facts = client.chain.facts(plan.apporder, plan.datasetorder, plan.workerpoolorder, plan.requestorder)
    reasons = matching.reasons(
        plan.apporder, plan.workerpoolorder, plan.requestorder, plan.datasetorder, facts=facts,
        require_tdx=client.require_tdx, solvable=False,
    )  # fmt: skip
    for reason in reasons:
        yield reason.message, reason.fix


def _funds(client: IExec, who: Address) -> dict[str, int | None]:
    chain = client.chain
    wei, nrlc = chain.balances(who)
    allowance = None
    if not chain.native:
        (allowance,) = chain.read([Call(chain.token, abi.ALLOWANCE, [who, chain.hub_address])])
    return {"stake": chain.account(who).stake, "allowance": allowance, "wei": wei, "nRLC": nrlc}


def _lacking(cost: matching.Cost, funds: Mapping[str, int | None], most: int | None) -> Iterator[Problem]:
    """Yield what the wallet lacks: RLC on the account, RLC to put there, ether for `most` wei of gas."""
    stake, held, wei = funds["stake"] or 0, funds["nRLC"] or 0, funds["wei"] or 0
    missing = cost.total - stake
    if missing > 0:
        text = f"The account holds {format_rlc(stake)} of the {format_rlc(cost.total)} that the run costs."
        yield text, f'iexec.account.deposit("{format_rlc(missing)}")'
    if missing > held:
        text = f"The wallet holds {format_rlc(held)} of the {format_rlc(missing)} that have to be deposited."
        yield text, f"send {format_rlc(missing - held)} to the wallet"
    if most is not None and most > wei:
        text = f"The wallet holds {format_ether(wei)}, the transaction needs up to {format_ether(most)}."
        yield text, f"send {format_ether(most - wei)} to the wallet: the chain's gas is paid in it"


def _of_anybody(client: IExec, plan: Plan) -> list[Problem]:
    """Return what would make a run fail whoever asks for it."""
    request = plan.requestorder
    found = preflight.app_problems(client, request.app, tags.union(plan.apporder.tag, request.tag))
    return found + (preflight.dataset_problems(client, request.dataset) if tags.has(request.tag, "tee") else [])


def _raw(found: Quote) -> dict[str, Any]:
    names = ("app", "dataset", "workerpool", "category", "trust", "volume", "appprice", "datasetprice",
             "workerpoolprice", "total", "requester", "stake", "stakeAfter", "missing", "allowance", "wei", "nRLC",
             "orders", "works", "problems", "hints")  # fmt: skip
    gas = {"units": found.gas.units, "price": found.gas.price, "fee": found.gas.fee, "note": found.gas.note}
    return {**{name: getattr(found, name) for name in names}, "gas": gas}


class AppQuotes(Registered):
    """The verb that tells what a run would cost, and how the arguments of runs are read."""

    kind = "app"

    @command(
        'app quote 0x0123456789012345678901234567890123456789 --args "hello" --category 0',
        options={"skip-request-check": "skip_preflight_check", "secret": "secrets"},
        raw=_raw,
    )
    def quote(
        self,
        app: str | None = None,
        /,
        *,
        args: str | None = None,
        dataset: str | None = None,
        workerpool: str | None = None,
        category: int | str | None = None,
        tag: Tags = ("tee", "tdx"),
        trust: int | str = 0,
        input_files: Sequence[str] | None = None,
        secrets: Sequence[str] | Mapping[int, str] | None = None,
        encrypt_result: bool = False,
        storage_provider: str | None = None,
        beneficiary: str | None = None,
        callback: str | None = None,
        params: str | Mapping[str, Any] | None = None,
        max_price: Amount | None = None,
        skip_preflight_check: bool = False,
    ) -> Quote:
        """Tell what a run would cost in nRLC and gas and whether it would work; nothing is signed, asked or sent.

        Takes the arguments of ``app run``, and needs no wallet. Too little money is no error here: the quote says what
        is missing and what to type.

        Parameters
        ----------
        app
            The app's address; default: the one in ``deployed.json``.
        args
            Arguments of the app, as on a command line.
        dataset
            Address of a dataset that the app computes on, or ``deployed`` for the one in ``deployed.json``.
        workerpool
            Only this pool, or ``deployed`` for the one in ``deployed.json``; default: the cheapest that fits.
        category
            Size of the computation; default: the smallest for which a pool sells.
        tag
            The hardware that is needed: ``tee,tdx`` is what today's pools offer.
        trust
            How sure replicated results must be, on pools without enclaves.
        input_files
            URLs of public files that the app reads.
        secrets
            Names of requester secrets by number, as a mapping or as ``1=name``.
        encrypt_result
            Encrypt the result for the beneficiary.
        storage_provider
            ``ipfs`` (default) or ``dropbox``.
        beneficiary
            Who may decrypt the result; default: the client's wallet.
        callback
            Contract that receives the result.
        params
            Further params of the request, or all of them as JSON.
        max_price
            The most that one task may cost in all, in nRLC or with a unit.
        skip_preflight_check
            Do not ask the secret service whether the run could work.

        Returns
        -------
        Quote
            ``total`` (nRLC), ``stake``, ``stakeAfter`` and ``missing`` (nRLC), ``allowance`` (nRLC), ``gas`` (units,
            wei), ``wei`` and ``nRLC`` of the wallet, ``orders``, ``problems`` and ``hints``; true when it would work.

        Raises
        ------
        ValidationError
            When an argument is malformed.
        ObjectNotFoundError
            When the app, dataset or workerpool is not deployed.
        OrderMismatchError
            When no order fits; for each that exists, what keeps it out.

        Source
        ------
        Contract functions ``viewAccount`` and ``matchOrders``, which is simulated.
        """
        who = None if self._client.signer is None else self._client.signer.address
        wishes = self._wishes(
            app, who or ANYBODY, args=args, dataset=dataset, workerpool=workerpool, category=category, tag=tag,
            trust=trust, input_files=input_files, secrets=secrets, encrypt_result=encrypt_result,
            storage_provider=storage_provider, beneficiary=beneficiary, callback=callback, params=params,
            max_price=max_price, skip_preflight_check=skip_preflight_check,
        )  # fmt: skip
        return quote(self._client, Planner(self._client, wishes).draft(), who)

    def _wishes(self, app: str | None, requester: Address, **given: Any) -> Wishes:
        """Return the checked arguments of a run, with what ``deployed`` stands for."""
        for kind in ("dataset", "workerpool"):
            if isinstance(given.get(kind), str) and given[kind] == DEPLOYED:
                given[kind] = self._last_deployed(kind)
        return Wishes.read(self._at(app), requester, **given)

    def _last_deployed(self, kind: str) -> Address:
        chain_id = self._client.network.chain_id
        found = self._client.files.deployed(kind, chain_id)
        if found is None:
            raise ConfigurationError(
                f'No {kind} found in "deployed.json" for chain {chain_id}',
                hint=f"give the address of the {kind}, or deploy one: %iexec {kind} deploy",
            )
        return found

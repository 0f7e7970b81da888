"""The iExec contracts of one chain: what is deployed, owed, agreed and done, and the one way to change it.

Reads come back as the records of `protocol`. Whatever can be asked together is asked together: a match of four orders
needs two requests for every fact that decides it. Verbs such as deposit or match stay in `actions`; this only sends.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from iexec_nb.errors import ObjectNotFoundError, ValidationError, Web3ProviderCallError
from iexec_nb.protocol.cid import multiaddr_decode
from iexec_nb.protocol.execution import Deal, Task
from iexec_nb.protocol.matching import ChainFacts
from iexec_nb.protocol.orders import AppOrder, DatasetOrder, Order, RequestOrder, WorkerpoolOrder
from iexec_nb.protocol.resources import Account, App, Category, Dataset, Workerpool
from iexec_nb.protocol.typed_data import order_digest
from iexec_nb.protocol.types import (
    NULL_ADDRESS,
    NULL_BYTES32,
    Address,
    Bytes32,
    address,
    address_from_uint,
    bytes32,
    hexbytes,
    uint256,
)
from iexec_nb.protocol.units import WEI_PER_NRLC
from iexec_nb.services import abi
from iexec_nb.services.abi import Event
from iexec_nb.services.facts import group_call, read_facts
from iexec_nb.services.lazy import lazy
from iexec_nb.services.reads import KINDS, Call, Read, Reader, balance_of
from iexec_nb.services.receipts import Receipt
from iexec_nb.services.rpc import Rpc
from iexec_nb.services.transactions import MAX_COST_WEI, OnSigned, Quote, Transactions
from iexec_nb.services.wallet import Signer

MAX_CATEGORIES = 10_000

_APP = (abi.APP_NAME, abi.APP_TYPE, abi.APP_MULTIADDR, abi.APP_CHECKSUM, abi.APP_MRENCLAVE)
_DATASET = (abi.DATASET_NAME, abi.DATASET_MULTIADDR, abi.DATASET_CHECKSUM)
_WORKERPOOL = (abi.WORKERPOOL_DESCRIPTION, abi.WORKER_STAKE_RATIO_POLICY, abi.SCHEDULER_REWARD_RATIO_POLICY)
_GETTERS = {
    kind: (abi.OWNER, abi.REGISTRY, *own) for kind, own in zip(KINDS, (_APP, _DATASET, _WORKERPOOL), strict=True)
}


class Chain(Reader):
    """The hub, its registries and the RLC token of one chain.

    Parameters
    ----------
    rpc
        The node.
    hub_address
        The PoCo contract.
    confirms
        Blocks that a transaction waits for, at least 1.
    chain_id
        The chain that is meant; a node of another chain is refused. None takes the node's word for it.
    timeout_s
        Seconds that a sent transaction is waited for.
    max_cost
        The most that the fees of one transaction may come to, in wei.
    gas_price
        Wei for a unit of gas, instead of what the node proposes.

    Raises
    ------
    ValidationError
        When `hub_address` is no address, or `confirms` no positive number.
    """

    def __init__(
        self,
        rpc: Rpc,
        hub_address: Address,
        *,
        confirms: int = 1,
        chain_id: int | None = None,
        timeout_s: float = 180.0,
        max_cost: int = MAX_COST_WEI,
        gas_price: int | None = None,
    ) -> None:
        super().__init__(rpc, hub_address, chain_id=chain_id)
        if uint256(confirms, "confirms") < 1:
            raise ValidationError(
                f"{confirms} is not a valid number of confirmations", hint="give confirms as 1 or more"
            )
        self.confirms = confirms
        self._timeout_s = timeout_s
        self._max_cost = max_cost
        self._gas_price = gas_price
        self._categories: dict[int, Category] = {}

    def __repr__(self) -> str:
        return f"Chain(hub={self.hub_address}, node={self.rpc.host})"

    # Money.

    def balances(self, account: Address) -> tuple[int, int]:
        """Return what an address holds outside the hub: (wei, nRLC)."""
        account = address(account)
        if self.native:
            (wei,) = self.read([balance_of(account)])
            return wei, wei // WEI_PER_NRLC
        wei, nrlc = self.read([balance_of(account), Call(self.token, abi.BALANCE_OF, [account])])
        return wei, nrlc

    def account(self, account: Address) -> Account:
        """Return an address's RLC inside the hub, free and locked, in nRLC (``viewAccount``)."""
        return self.accounts([account])[address(account)]

    def accounts(self, accounts: Iterable[Address]) -> dict[Address, Account]:
        """Return the RLC inside the hub of several addresses, in nRLC, from one request."""
        wanted = _unique(accounts)
        found = self.read([Call(self.hub_address, abi.VIEW_ACCOUNT, [one]) for one in wanted])
        return {
            one: Account(address=one, stake=stake, locked=locked)
            for one, (stake, locked) in zip(wanted, found, strict=True)
        }

    def allowance(self, owner: Address, spender: Address) -> int:
        """Return the nRLC that `spender` may take from the owner's account in the hub (``allowance``)."""
        (amount,) = self.read([Call(self.hub_address, abi.ALLOWANCE, [address(owner), address(spender)])])
        return int(amount)

    # Categories.

    def category_count(self) -> int:
        """Return how many categories exist (``countCategory``)."""
        count: int = self.read([Call(self.hub_address, abi.COUNT_CATEGORY)])[0]
        if count > MAX_CATEGORIES:
            raise Web3ProviderCallError(f"the hub claims to have {count} categories", context={"node": self.rpc.host})
        return count

    def category(self, index: int) -> Category:
        """Return one category (``viewCategory``); kept, because categories never change.

        Raises
        ------
        ObjectNotFoundError
            When there is none of this index.
        """
        index = uint256(index, "category")
        if index not in self._categories:
            (found,) = self.attempt([Call(self.hub_address, abi.VIEW_CATEGORY, [index])])
            if found is None:
                raise ObjectNotFoundError("category", index, self.chain_id, hint="%iexec category count")
            self._categories[index] = _category(index, found)
        return self._categories[index]

    def categories(self) -> list[Category]:
        """Return every category, from two requests at most."""
        indexes = range(self.category_count())
        lacking = [index for index in indexes if index not in self._categories]
        found = self.read([Call(self.hub_address, abi.VIEW_CATEGORY, [index]) for index in lacking])
        self._categories.update({i: _category(i, one) for i, one in zip(lacking, found, strict=True)})
        return [self._categories[index] for index in indexes]

    # Apps, datasets, workerpools.

    def registry(self, kind: str) -> Address:
        """Return the registry of ``app``, ``dataset`` or ``workerpool``."""
        return self.hub.registries[kind]

    def app(self, app: Address) -> App:
        """Return an app (its getters).

        Raises
        ------
        ObjectNotFoundError
            When no app is registered at the address.
        """
        at, (owner, registry, name, kind, multiaddr, checksum, enclave) = self._resource("app", app)
        return App(
            address=at,
            owner=owner,
            registry=registry,
            appName=name,
            appType=kind,
            appMultiaddr=multiaddr_decode(multiaddr),
            appChecksum=bytes32(checksum),
            appMREnclave=enclave.decode("utf-8", "replace"),
        )

    def dataset(self, dataset: Address) -> Dataset:
        """Return a dataset (its getters).

        Raises
        ------
        ObjectNotFoundError
            When no dataset is registered at the address.
        """
        at, (owner, registry, name, multiaddr, checksum) = self._resource("dataset", dataset)
        return Dataset(
            address=at,
            owner=owner,
            registry=registry,
            datasetName=name,
            datasetMultiaddr=multiaddr_decode(multiaddr),
            datasetChecksum=bytes32(checksum),
        )

    def workerpool(self, workerpool: Address) -> Workerpool:
        """Return a workerpool (its getters).

        Raises
        ------
        ObjectNotFoundError
            When no workerpool is registered at the address.
        """
        at, (owner, registry, description, stake, reward) = self._resource("workerpool", workerpool)
        return Workerpool(
            address=at,
            owner=owner,
            registry=registry,
            workerpoolDescription=description,
            workerStakeRatioPolicy=stake,
            schedulerRewardRatioPolicy=reward,
        )

    def registered(self, kind: str, addresses: Iterable[Address]) -> dict[Address, bool]:
        """Return which addresses are registered apps, datasets or workerpools (``isRegistered``)."""
        wanted = _unique(addresses)
        registry = self.registry(kind)
        return dict(zip(wanted, self.read([Call(registry, abi.IS_REGISTERED, [one]) for one in wanted]), strict=True))

    def require_registered(self, kind: str, where: Address) -> None:
        """See that an app, dataset or workerpool is deployed (``isRegistered``).

        Raises
        ------
        ObjectNotFoundError
            When it is not.
        """
        if not self.registered(kind, [where])[where]:
            raise ObjectNotFoundError(kind, where, self.chain_id, hint="check the address and the chain")

    def owners(self, addresses: Iterable[Address]) -> dict[Address, Address]:
        """Return the owner of each contract (``owner()``); an address without one is left out."""
        wanted = _unique(addresses)
        found = self.attempt([Call(one, abi.OWNER) for one in wanted])
        return {one: owner for one, owner in zip(wanted, found, strict=True) if owner is not None}

    def count(self, kind: str, owner: Address) -> int:
        """Return how many apps, datasets or workerpools an address owns (``balanceOf``)."""
        number: int = self.read([Call(self.registry(kind), abi.BALANCE_OF, [address(owner)])])[0]
        return number

    def by_index(self, kind: str, owner: Address, index: int) -> Address:
        """Return the address of what an owner has at `index`, counted from 0 (``tokenOfOwnerByIndex``).

        Raises
        ------
        ObjectNotFoundError
            When the owner has not so many.
        """
        owner, index = address(owner), uint256(index, "index")
        registry = self.registry(kind)
        count, token = self.attempt(
            [
                Call(registry, abi.BALANCE_OF, [owner]),
                Call(registry, abi.TOKEN_OF_OWNER_BY_INDEX, [owner, index]),
            ]
        )
        if count is None or index >= count or token is None:
            hint = f"{owner} owns {count or 0} of them, counted from 0"
            raise ObjectNotFoundError(kind, f"index {index}", self.chain_id, hint=hint)
        return _entry(token)

    def predict(self, kind: str, args: Sequence[object]) -> Address:
        """Return the address that deploying with these arguments gives (``predictApp`` and its kin)."""
        found: Address = self.read([Call(self.registry(kind), abi.PREDICT[kind], args)])[0]
        return found

    # Orders.

    def consumed(self, hashes: Iterable[Bytes32]) -> dict[Bytes32, int]:
        """Return the consumed volume of each order hash, in tasks (``viewConsumed``)."""
        wanted = list(dict.fromkeys(bytes32(one, "orderHash") for one in hashes))
        reads = [Call(self.hub_address, abi.VIEW_CONSUMED, [hexbytes(one)]) for one in wanted]
        return dict(zip(wanted, self.read(reads), strict=True))

    def standing(self, orderHash: Bytes32) -> tuple[int, Address]:
        """Return the consumed volume of an order, in tasks, and who presigned it (the null address for nobody)."""
        digest = hexbytes(bytes32(orderHash, "orderHash"))
        hub = self.hub_address
        used, presigner = self.read([Call(hub, abi.VIEW_CONSUMED, [digest]), Call(hub, abi.VIEW_PRESIGNED, [digest])])
        return used, presigner

    def verify_signatures(self, signed: Sequence[tuple[Address, Order]]) -> list[bool]:
        """Return for each (signer, signed order) whether the hub takes the signature, from one request.

        It knows wallets, contracts (ERC-1271, by ``verifySignature``) and presigned hashes (``viewPresigned``).
        """
        hub = self.hub_address
        checks = [(address(who), order_digest(order, self.domain), order.sign or "0x") for who, order in signed]
        by_sign = [Call(hub, abi.VERIFY_SIGNATURE, [who, digest, hexbytes(sign)]) for who, digest, sign in checks]
        by_record = [Call(hub, abi.VIEW_PRESIGNED, [digest]) for _, digest, _ in checks]
        found = self.attempt([*by_sign, *by_record])
        answers = zip(checks, found[: len(checks)], found[len(checks) :], strict=True)
        return [valid is True or recorded == who for (who, _, _), valid, recorded in answers]

    def group_member(self, restrict: Address, account: Address) -> bool:
        """Return whether a restriction is a group contract (ERC-734) that holds the account."""
        return self.attempt([group_call(address(restrict), address(account))])[0] is True

    def facts(
        self,
        apporder: AppOrder,
        datasetorder: DatasetOrder | None,
        workerpoolorder: WorkerpoolOrder,
        requestorder: RequestOrder,
    ) -> ChainFacts:
        """Return everything on the chain that decides whether four orders match, from two requests."""
        return read_facts(self, apporder, datasetorder, workerpoolorder, requestorder)

    # Deals and tasks.

    def deal(self, dealid: Bytes32) -> Deal:
        """Return a deal (``viewDeal``).

        Raises
        ------
        ObjectNotFoundError
            When there is no such deal.
        """
        dealid = bytes32(dealid, "dealid")
        (raw,) = self.read([Call(self.hub_address, abi.VIEW_DEAL, [hexbytes(dealid)])])
        if raw[0][0] == NULL_ADDRESS:
            raise ObjectNotFoundError("deal", dealid, self.chain_id)
        seconds = self.category(raw[4]).workClockTimeRef
        with _believed(f"deal {dealid}"):
            return Deal.from_chain(
                dealid,
                raw,
                final_deadline_ratio=self.timeout_ratio,
                category_seconds=seconds,
                chain_id=self.chain_id,
            )

    def task(self, taskid: Bytes32, dealid: Bytes32 | None = None) -> Task:
        """Return a task (``viewTask``).

        Parameters
        ----------
        taskid
            Id of the task.
        dealid
            Its deal, if it is known: then a task that its scheduler has not initialized yet is found too.

        Raises
        ------
        ObjectNotFoundError
            When there is no such task.
        """
        taskid = bytes32(taskid, "taskid")
        (task,) = self.tasks([taskid])
        if task is not None:
            return task
        deal = None if dealid is None else self.deal(dealid)
        if deal is None or taskid not in deal.taskids:
            raise ObjectNotFoundError(
                "task",
                taskid,
                self.chain_id,
                hint="one that is not initialized yet is found with dealid=...",
            )
        return Task.unset(deal, deal.botFirst + deal.taskids.index(taskid))

    def tasks(self, taskids: Iterable[Bytes32]) -> list[Task | None]:
        """Return several tasks from one request, in their order; None for one that is not initialized."""
        wanted = [bytes32(one, "taskid") for one in taskids]
        found = self.read([Call(self.hub_address, abi.VIEW_TASK, [hexbytes(one)]) for one in wanted])
        with _believed("task"):
            return [
                None if bytes32(raw[1]) == NULL_BYTES32 else Task.from_chain(one, raw, chain_id=self.chain_id)
                for one, raw in zip(wanted, found, strict=True)
            ]

    def deal_tasks(self, deal: Deal, taskids: Sequence[Bytes32] | None = None) -> list[Task]:
        """Return tasks of a deal from one request, those not initialized yet included.

        Parameters
        ----------
        deal
            The deal.
        taskids
            Which of its tasks, in which order, each once; all of them by index when None.

        Raises
        ------
        ObjectNotFoundError
            When a task is not of this deal.
        """
        indexes = deal.indexes(taskids, self.chain_id)
        found = zip(indexes.values(), self.tasks(indexes), strict=True)
        return [Task.unset(deal, idx) if task is None else task for idx, task in found]

    # Changing the chain.

    def quote(self, account: Address, to: Address, data: bytes, *, value: int = 0, gas: int | None = None) -> Quote:
        """Simulate a transaction and return the gas it needs and the most it costs, in wei; nothing is sent.

        Raises
        ------
        Web3ProviderCallError, InsufficientFundsError
            When it would be refused, or cannot be paid.
        """
        return self._transactions.quote(address(account), address(to, "to"), data, value=value, gas=gas)

    def send(
        self,
        signer: Signer,
        to: Address,
        data: bytes,
        *,
        value: int = 0,
        gas: int | None = None,
        max_fee: int | None = None,
        on_signed: OnSigned | None = None,
    ) -> Receipt:
        """Simulate, price, sign and send a transaction, once, and return its receipt when it is confirmed.

        Parameters
        ----------
        signer
            The wallet that pays.
        to, data
            The contract and the call, as ``abi.MATCH_ORDERS.encode(...)`` gives it; no data sends ether.
        value
            Wei to send along.
        gas
            Gas limit; estimated with a quarter on top when None.
        max_fee
            The most that the fees may come to, in wei: what was shown to the person who agreed.
        on_signed
            Called with the hash and the nonce before the node sees the transaction; when it raises, nothing is sent.

        Raises
        ------
        Web3ProviderCallError, InsufficientFundsError, ConfigurationError
            When it would be refused, cannot be paid, or the node is of another chain; nothing was sent.
        Web3ProviderSendError
            When it was refused, reverted or lost; `.tx_hash` is set where it may be on the chain.
        """
        return self._transactions.send(signer, to, data, value=value, gas=gas, max_fee=max_fee, on_signed=on_signed)

    def quote_all(self, account: Address, to: Address, *, at_most: int) -> Quote:
        """Return what it takes to send all ether of a wallet, `at_most` wei, to an address without code.

        Raises
        ------
        InsufficientFundsError
            When the fees are all that there is, or more.
        """
        return self._transactions.quote_all(address(account), address(to, "to"), at_most=at_most)

    def send_all(self, signer: Signer, to: Address, *, at_most: int, max_fee: int) -> tuple[int, Receipt]:
        """Send all ether of a wallet but the fees; return the wei that arrived and the receipt.

        Parameters
        ----------
        signer, to
            From whom to whom; `to` has no code.
        at_most
            Wei that may leave the wallet, fees included.
        max_fee
            The most that the fees may come to, in wei.

        Raises
        ------
        InsufficientFundsError, Web3ProviderCallError, Web3ProviderSendError, ConfigurationError
            As `send`.
        """
        return self._transactions.send_all(signer, to, at_most=at_most, max_fee=max_fee)

    def wait(self, tx_hash: Bytes32, *, timeout_s: float | None = None) -> Receipt:
        """Wait until a transaction that was sent is confirmed and return its receipt.

        Raises
        ------
        Web3ProviderSendError
            When that does not happen in time.
        """
        return self._transactions.wait(bytes32(tx_hash, "tx_hash"), timeout_s=timeout_s)

    def receipt(self, tx_hash: Bytes32) -> Receipt | None:
        """Return the receipt of a transaction that was mined, of whatever status, or None."""
        return self._transactions.receipt(bytes32(tx_hash, "tx_hash"))

    def pending(self, tx_hash: Bytes32) -> bool:
        """Return whether the node knows a transaction that is not mined yet."""
        return self._transactions.pending(bytes32(tx_hash, "tx_hash"))

    def find_event(self, receipt: Receipt, event: Event, emitter: Address | None = None) -> dict[str, Any] | None:
        """Return the first `event` of a receipt that an iExec contract (or `emitter`) wrote, by names, or None."""
        ours = {self.hub_address, self.token, *self.hub.registries.values()} if emitter is None else {address(emitter)}
        return next((event.decode(log) for log in receipt.logs if log.address in ours and event.matches(log)), None)

    @lazy
    def _transactions(self) -> Transactions:
        # The hub is read first, so that nothing is ever sent to a chain whose hub was not checked.
        return Transactions(
            self.rpc, self.chain_id, confirms=self.confirms, timeout_s=self._timeout_s, max_cost=self._max_cost,
            gas_price=self._gas_price,
        )  # fmt: skip

    def _resource(self, kind: str, at: Address) -> tuple[Address, list[Any]]:
        at = address(at, kind)
        getters: list[Read] = [Call(at, fn) for fn in _GETTERS[kind]]
        known, *values = self.attempt([Call(self.registry(kind), abi.IS_REGISTERED, [at]), *getters])
        if known is not True:
            raise ObjectNotFoundError(kind, at, self.chain_id)
        if None in values:
            raise Web3ProviderCallError(f"the {kind} {at} cannot be read", context={"node": self.rpc.host})
        return at, values


def _unique(addresses: Iterable[Address]) -> list[Address]:
    return list(dict.fromkeys(address(one) for one in addresses))


def _category(index: int, raw: tuple[str, str, int]) -> Category:
    return Category(catid=index, name=raw[0], description=raw[1], workClockTimeRef=raw[2])


def _entry(token: int) -> Address:
    with _believed("id of a registry entry"):
        return address_from_uint(token)


@contextmanager
def _believed(what: str) -> Iterator[None]:
    try:
        yield
    except ValidationError as error:
        # What breaks a rule here is the node's answer and not the user's argument.
        raise Web3ProviderCallError(f"the node sent a malformed {what}: {error.message}") from error

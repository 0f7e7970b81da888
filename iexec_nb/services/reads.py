"""Reading a chain in batches: a read is a request with the function that checks its answer.

Everything above collects what it wants to know into one list and gets the values back in the same order, so that the
number of round trips is visible where it is decided. All calls are made at the latest block.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from iexec_nb.errors import ConfigurationError, Web3ProviderCallError
from iexec_nb.protocol.typed_data import Domain
from iexec_nb.protocol.types import NULL_ADDRESS, Address, address, shown
from iexec_nb.services import abi
from iexec_nb.services.abi import Event, Function
from iexec_nb.services.answers import RpcFailure, hexdata, quantity
from iexec_nb.services.lazy import lazy
from iexec_nb.services.receipts import Log

if TYPE_CHECKING:
    from iexec_nb.services.rpc import Rpc

KINDS = ("app", "dataset", "workerpool")
DOMAIN_NAME, DOMAIN_VERSION = "iExecODB", "5.0.0"


@dataclass(frozen=True)
class Read:
    """One JSON-RPC request and the function that turns its answer into a value."""

    method: str
    params: tuple[Any, ...]
    decode: Callable[[Any], Any]


def Call(to: Address, fn: Function, args: Sequence[object] = ()) -> Read:
    """Return the read of a contract function at the latest block."""
    call = {"to": to, "data": "0x" + fn.encode(*args).hex()}
    return Read("eth_call", (call, "latest"), lambda answer: fn.decode(hexdata(answer)))


def balance_of(account: Address) -> Read:
    """Return the read of an account's balance in wei."""
    return Read("eth_getBalance", (account, "latest"), quantity)


def code_at(account: Address) -> Read:
    """Return the read of the code at an address; empty where there is no contract."""
    return Read("eth_getCode", (account, "latest"), hexdata)


@dataclass(frozen=True)
class Block:
    """The head of a block."""

    number: int
    time: datetime
    gas_limit: int


LATEST_BLOCK = Read("eth_getBlockByNumber", ("latest", False), lambda answer: _block(answer))
CHAIN_ID = Read("eth_chainId", (), quantity)
BLOCK_NUMBER = Read("eth_blockNumber", (), quantity)


@dataclass(frozen=True, kw_only=True)
class Hub:
    """What never changes about a hub: its EIP-712 domain, its token and registries, its final deadline ratio."""

    address: Address
    domain: Domain
    token: Address
    registries: Mapping[str, Address]
    timeout_ratio: int


class Reader:
    """Reads one chain through one hub.

    Parameters
    ----------
    rpc
        The node.
    hub_address
        The PoCo contract.
    chain_id
        The chain that is meant; None takes the node's word for it.
    """

    def __init__(self, rpc: Rpc, hub_address: Address, *, chain_id: int | None = None) -> None:
        self.rpc = rpc
        self.hub_address = address(hub_address, "hub_address")
        self._wanted_chain_id = chain_id

    def read(self, reads: Sequence[Read]) -> list[Any]:
        """Return the values of several reads from one request, in their order.

        Raises
        ------
        Web3ProviderCallError
            When one of them is refused, or its answer malformed.
        """
        if not reads:
            return []
        answers = self.rpc.batch([(read.method, read.params) for read in reads])
        return [read.decode(answer) for read, answer in zip(reads, answers, strict=True)]

    def attempt(self, reads: Sequence[Read]) -> list[Any]:
        """Return as `read`, with None where a contract refuses, is not there, or answers something else.

        Raises
        ------
        Web3ProviderCallError
            When the node refuses or does not answer.
        """
        if not reads:
            return []
        values: list[Any] = []
        answers = self.rpc.outcomes([(read.method, read.params) for read in reads])
        for read, answer in zip(reads, answers, strict=True):
            if isinstance(answer, RpcFailure):
                if not answer.reverted:
                    raise answer.error(self.rpc.host)
                values.append(None)
                continue
            try:
                values.append(read.decode(answer))
            except Web3ProviderCallError:
                values.append(None)
        return values

    @lazy
    def hub(self) -> Hub:
        """The hub's constants, read in one request and checked once.

        Raises
        ------
        ConfigurationError
            When the node is of another chain, or there is no iExec hub at the address.
        """
        hub = self.hub_address
        registries = (abi.APP_REGISTRY, abi.DATASET_REGISTRY, abi.WORKERPOOL_REGISTRY)
        constants = (abi.DOMAIN, abi.TOKEN, abi.FINAL_DEADLINE_RATIO, *registries)
        chain_id, domain, token, ratio, *found = self.attempt([CHAIN_ID, *(Call(hub, fn) for fn in constants)])
        if chain_id is None:
            raise Web3ProviderCallError("the node did not say which chain it is of", context={"node": self.rpc.host})
        self._check_chain_id(chain_id)
        if domain is None or token is None or ratio is None or None in found:
            raise ConfigurationError(
                f"there is no iExec hub at {hub} on chain {chain_id}",
                context={"node": self.rpc.host},
                hint="check hub_address, and that the RPC URL is of the chain you mean",
            )
        return Hub(
            address=hub,
            domain=_checked_domain(domain, chain_id, hub),
            token=token,
            registries=dict(zip(KINDS, found, strict=True)),
            timeout_ratio=ratio,
        )

    @property
    def chain_id(self) -> int:
        """The chain's id, as the node and the hub say and the configuration wants."""
        return self.hub.domain.chainId

    @property
    def domain(self) -> Domain:
        """The EIP-712 domain of orders, checked against chain id and hub address."""
        return self.hub.domain

    @property
    def token(self) -> Address:
        """The RLC token; the zero address on a chain whose own coin is RLC."""
        return self.hub.token

    @property
    def native(self) -> bool:
        """Whether the chain's own coin is RLC."""
        return self.hub.token == NULL_ADDRESS

    @property
    def appregistry(self) -> Address:
        """The registry of apps."""
        return self.hub.registries["app"]

    @property
    def datasetregistry(self) -> Address:
        """The registry of datasets."""
        return self.hub.registries["dataset"]

    @property
    def workerpoolregistry(self) -> Address:
        """The registry of workerpools."""
        return self.hub.registries["workerpool"]

    @property
    def timeout_ratio(self) -> int:
        """How many times a category's workClockTimeRef fits into the time from match to final deadline."""
        return self.hub.timeout_ratio

    def block(self) -> Block:
        """Return the head of the latest block."""
        block: Block = self.read([LATEST_BLOCK])[0]
        return block

    def now(self) -> datetime:
        """Return the time of the latest block (UTC), which is the clock that deadlines are held against."""
        return self.block().time

    def block_number(self) -> int:
        """Return the number of the latest block."""
        number: int = self.read([BLOCK_NUMBER])[0]
        return number

    def block_gas_limit(self) -> int:
        """Return the gas limit of the latest block, which bounds one transaction."""
        return self.block().gas_limit

    def code(self, addresses: Iterable[Address]) -> dict[Address, bytes]:
        """Return the code at each address; empty where there is no contract."""
        wanted = list(dict.fromkeys(addresses))
        return dict(zip(wanted, self.read([code_at(one) for one in wanted]), strict=True))

    def logs(
        self,
        event: Event,
        *,
        from_block: int,
        to_block: int | None = None,
        emitter: Address | None = None,
        **indexed: object,
    ) -> list[tuple[Log, dict[str, Any]]]:
        """Return the logs of an event with their decoded members, oldest first.

        Parameters
        ----------
        event
            Which event.
        from_block, to_block
            Inclusive range of block numbers; to the latest when `to_block` is None. Public nodes limit its length.
        emitter
            The contract; the hub when None.
        indexed
            Values of indexed members that the logs must have.
        """
        where = {
            "address": emitter or self.hub_address,
            "fromBlock": hex(from_block),
            "toBlock": "latest" if to_block is None else hex(to_block),
            "topics": event.filter_topics(**indexed),
        }
        answer = self.rpc.call("eth_getLogs", where)
        if not isinstance(answer, list):
            raise Web3ProviderCallError(f"the node answered {shown(answer, 60)} where logs were expected")
        logs = [Log.from_rpc(item) for item in answer]
        return [(log, event.decode(log)) for log in logs if event.matches(log) and log.address == where["address"]]

    def _check_chain_id(self, answered: int) -> None:
        wanted = self._wanted_chain_id
        if wanted is not None and answered != wanted:
            raise ConfigurationError(
                f"the node is of chain {answered}, not of chain {wanted}",
                context={"node": self.rpc.host},
                hint=f"give an RPC URL of chain {wanted}, or name the chain that you mean",
            )


def _checked_domain(answer: tuple[Any, ...], chain_id: int, hub: Address) -> Domain:
    expected = (DOMAIN_NAME, DOMAIN_VERSION, chain_id, hub)
    if tuple(answer) != expected:
        names = ("name", "version", "chainId", "verifyingContract")
        different = {
            f"{name} (expected {want})": shown(got)
            for name, want, got in zip(names, expected, answer, strict=True)
            if got != want
        }
        raise ConfigurationError(f"the contract at {hub} is not an iExec hub of chain {chain_id}", context=different)
    return Domain(chainId=chain_id, verifyingContract=hub, name=DOMAIN_NAME, version=DOMAIN_VERSION)


def _block(answer: object) -> Block:
    if not isinstance(answer, dict):
        raise Web3ProviderCallError(f"the node answered {shown(answer, 60)} where a block was expected")
    try:
        moment = datetime.fromtimestamp(quantity(answer.get("timestamp")), UTC)
    except (OverflowError, ValueError, OSError) as error:
        raise Web3ProviderCallError(
            f"the node's block has no valid time: {shown(answer.get('timestamp'), 60)}"
        ) from error
    return Block(quantity(answer.get("number")), moment, quantity(answer.get("gasLimit")))

"""The contract interface that iexec_nb speaks: every function and event of PoCo, the registries and RLC that it uses.

Written out as signatures instead of carried as JSON ABI files: a signature is all that the chain needs (its hash is the
selector), it can be read, and no contract code has to be shipped. What a node sends is foreign data: it is decoded
strictly and anything malformed is a typed error.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn, Protocol

from iexec_nb.errors import ValidationError, Web3ProviderCallError
from iexec_nb.protocol.types import bytes32, hexbytes, keccak, shown


def encode_values(types: Sequence[str], values: Sequence[object], what: str) -> bytes:
    """Return values ABI-encoded, addresses as text in any case.

    Raises
    ------
    ValidationError
        When the values do not fit the types of `what`.
    """
    from iexec_nb.services.abi_codec import CODEC, EncodingError

    try:
        return bytes(CODEC.encode(types, values))
    except (EncodingError, TypeError, ValueError, OverflowError) as error:
        raise ValidationError(f"the arguments do not fit {what}", context={"reason": shown(str(error), 200)}) from error


def decode_values(types: Sequence[str], data: bytes, what: str) -> tuple[Any, ...]:
    """Return the values of ABI-encoded bytes; addresses as EIP-55 text, bytes32 and bytes as ``bytes``.

    Raises
    ------
    Web3ProviderCallError
        When the bytes are not what `types` say.
    """
    from iexec_nb.services.abi_codec import CODEC

    try:
        return tuple(CODEC.decode(types, data))
    # A hostile length or offset surfaces as one of many builtin errors inside the decoder.
    except Exception as error:
        raise Web3ProviderCallError(
            f"the node's answer to {what} cannot be decoded",
            context={"answer": shown("0x" + data.hex(), 40), "expected": ",".join(types)},
            hint="check that the address is a contract of this kind, and that the RPC URL belongs to this chain",
        ) from error


def split_types(text: str) -> tuple[str, ...]:
    """Return the comma separated parts at the top level: ``"a,(b,c)"`` gives ``("a", "(b,c)")``."""
    parts, depth, start = [], 0, 0
    for position, char in enumerate(text):
        depth += (char == "(") - (char == ")")
        if char == "," and not depth:
            parts.append(text[start:position])
            start = position + 1
    return (*parts, text[start:]) if text else ()


@dataclass(frozen=True, eq=False)
class Function:
    """A contract function: ``Function("viewAccount(address)", "(uint256,uint256)")``.

    Parameters
    ----------
    signature
        Name and argument types, canonical (no spaces, no names).
    returns
        Comma separated types of what it returns.
    """

    signature: str
    returns: str = ""
    name: str = field(init=False)
    inputs: tuple[str, ...] = field(init=False)
    outputs: tuple[str, ...] = field(init=False)
    selector: bytes = field(init=False)

    def __post_init__(self) -> None:
        name, _, arguments = self.signature.partition("(")
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "inputs", split_types(arguments[:-1]))
        object.__setattr__(self, "outputs", split_types(self.returns))
        object.__setattr__(self, "selector", keccak(self.signature.encode())[:4])

    def encode(self, *args: object) -> bytes:
        """Return the calldata: selector and encoded arguments.

        Raises
        ------
        ValidationError
            When the arguments do not fit the signature.
        """
        return self.selector + encode_values(self.inputs, args, self.signature)

    def decode(self, data: bytes) -> Any:
        """Return what the function returned: a value, a tuple (a struct, or several values), or None.

        Raises
        ------
        Web3ProviderCallError
            When the bytes are not what the function returns.
        """
        values = decode_values(self.outputs, data, self.signature)
        return values[0] if len(values) == 1 else values or None


class LogLike(Protocol):
    """What `Event.decode` needs of a log."""

    @property
    def topics(self) -> tuple[str, ...]:
        """The topics as ``0x`` text."""
        ...

    @property
    def data(self) -> bytes:
        """The part that is not indexed."""
        ...


@dataclass(frozen=True, eq=False)
class Event:
    """A contract event: ``Event("TaskClaimed(bytes32 indexed taskid)")``, with the names that `decode` gives."""

    declaration: str
    name: str = field(init=False)
    members: tuple[tuple[str, str, bool], ...] = field(init=False)
    topic: str = field(init=False)

    def __post_init__(self) -> None:
        name, _, rest = self.declaration.partition("(")
        members = [part.split() for part in split_types(rest[:-1])]
        signature = f"{name}({','.join(member[0] for member in members)})"
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "members", tuple((m[-1], m[0], m[1] == "indexed") for m in members))
        object.__setattr__(self, "topic", "0x" + keccak(signature.encode()).hex())

    def matches(self, log: LogLike) -> bool:
        """Whether a log is of this event: same topic, same number of indexed members."""
        return bool(log.topics) and log.topics[0] == self.topic and len(log.topics) == 1 + len(self._of(indexed=True))

    def decode(self, log: LogLike) -> dict[str, Any]:
        """Return the members by name; bytes32 (they are ids and hashes here) as ``0x`` text.

        Raises
        ------
        Web3ProviderCallError
            When the log is of another event or malformed.
        """
        if not self.matches(log):
            _refuse_log(self.name, "another event")
        plain, indexed = self._of(indexed=False), self._of(indexed=True)
        values = dict(
            zip([m[0] for m in plain], decode_values([m[1] for m in plain], log.data, self.name), strict=True)
        )
        for (name, kind, _), topic in zip(indexed, log.topics[1:], strict=True):
            values[name] = decode_values([kind], hexbytes(topic, "topic"), self.name)[0]
        return {name: bytes32(values[name]) if kind == "bytes32" else values[name] for name, kind, _ in self.members}

    def filter_topics(self, **indexed: object) -> list[str | None]:
        """Return the ``topics`` of ``eth_getLogs`` for the given values of indexed members; the others are any."""
        topics: list[str | None] = [self.topic]
        for name, kind, _ in self._of(indexed=True):
            value = indexed.pop(name, None)
            if isinstance(value, str) and kind == "bytes32":
                value = hexbytes(value, name)
            topics.append(None if value is None else "0x" + encode_values([kind], [value], self.name).hex())
        if indexed:
            raise ValidationError(f"{self.name} has no indexed member {', '.join(indexed)}")
        return topics

    def _of(self, *, indexed: bool) -> list[tuple[str, str, bool]]:
        return [member for member in self.members if member[2] is indexed]


def _refuse_log(name: str, reason: str) -> NoReturn:
    raise Web3ProviderCallError(f"the log is not a {name}", context={"reason": reason})


# Order structs in the order of their members (IexecLibOrders_v5), `sign` last.
APP_ORDER = "(address,uint256,uint256,bytes32,address,address,address,bytes32,bytes)"
DATASET_ORDER = APP_ORDER
WORKERPOOL_ORDER = "(address,uint256,uint256,bytes32,uint256,uint256,address,address,address,bytes32,bytes)"
REQUEST_ORDER = (
    "(address,uint256,address,uint256,address,uint256,address,uint256,bytes32,uint256,uint256,"
    "address,address,string,bytes32,bytes)"
)
_RESOURCE = "(address,address,uint256)"
_DEAL = (
    f"({_RESOURCE},{_RESOURCE},{_RESOURCE},uint256,uint256,bytes32,address,address,address,string,"
    "uint256,uint256,uint256,uint256,uint256,address)"
)
_TASK = (
    "(uint8,bytes32,uint256,uint256,uint256,uint256,uint256,bytes32,uint256,uint256,address[],"
    "bytes32,bytes,uint256,bytes)"
)
_FOUR_ORDERS = f"{APP_ORDER},{DATASET_ORDER},{WORKERPOOL_ORDER},{REQUEST_ORDER}"

# Hub: configuration.
DOMAIN = Function("domain()", "(string,string,uint256,address)")
DOMAIN_SEPARATOR = Function("eip712domain_separator()", "bytes32")
TOKEN = Function("token()", "address")
APP_REGISTRY = Function("appregistry()", "address")
DATASET_REGISTRY = Function("datasetregistry()", "address")
WORKERPOOL_REGISTRY = Function("workerpoolregistry()", "address")
OWNER = Function("owner()", "address")
CONTRIBUTION_DEADLINE_RATIO = Function("contribution_deadline_ratio()", "uint256")
REVEAL_DEADLINE_RATIO = Function("reveal_deadline_ratio()", "uint256")
FINAL_DEADLINE_RATIO = Function("final_deadline_ratio()", "uint256")
WORKERPOOL_STAKE_RATIO = Function("workerpool_stake_ratio()", "uint256")
CREATE_CATEGORY = Function("createCategory(string,string,uint256)", "uint256")
VIEW_CATEGORY = Function("viewCategory(uint256)", "(string,string,uint256)")
COUNT_CATEGORY = Function("countCategory()", "uint256")

# Hub: escrow, which is an ERC-20 of staked RLC.
VIEW_ACCOUNT = Function("viewAccount(address)", "(uint256,uint256)")
DEPOSIT = Function("deposit(uint256)", "bool")
DEPOSIT_FOR = Function("depositFor(uint256,address)", "bool")
DEPOSIT_NATIVE = Function("deposit()", "bool")
WITHDRAW = Function("withdraw(uint256)", "bool")
WITHDRAW_TO = Function("withdrawTo(uint256,address)", "bool")

# ERC-20: the RLC token, and the hub for staked RLC.
APPROVE = Function("approve(address,uint256)", "bool")
ALLOWANCE = Function("allowance(address,address)", "uint256")
APPROVE_AND_CALL = Function("approveAndCall(address,uint256,bytes)", "bool")
BALANCE_OF = Function("balanceOf(address)", "uint256")
TOKEN_TRANSFER = Function("transfer(address,uint256)", "bool")

# Hub: orders and deals.
VIEW_CONSUMED = Function("viewConsumed(bytes32)", "uint256")
VIEW_PRESIGNED = Function("viewPresigned(bytes32)", "address")
VERIFY_SIGNATURE = Function("verifySignature(address,bytes32,bytes)", "bool")
VERIFY_PRESIGNATURE = Function("verifyPresignature(address,bytes32)", "bool")
MANAGE_APP_ORDER = Function(f"manageAppOrder(({APP_ORDER},uint8,bytes))")
MANAGE_DATASET_ORDER = Function(f"manageDatasetOrder(({DATASET_ORDER},uint8,bytes))")
MANAGE_WORKERPOOL_ORDER = Function(f"manageWorkerpoolOrder(({WORKERPOOL_ORDER},uint8,bytes))")
MANAGE_REQUEST_ORDER = Function(f"manageRequestOrder(({REQUEST_ORDER},uint8,bytes))")
MATCH_ORDERS = Function(f"matchOrders({_FOUR_ORDERS})", "bytes32")
SPONSOR_MATCH_ORDERS = Function(f"sponsorMatchOrders({_FOUR_ORDERS})", "bytes32")
COMPUTE_DEAL_VOLUME = Function(f"computeDealVolume({_FOUR_ORDERS})", "uint256")
ASSERT_DATASET_DEAL_COMPATIBILITY = Function(f"assertDatasetDealCompatibility({DATASET_ORDER},bytes32)")
VIEW_DEAL = Function("viewDeal(bytes32)", _DEAL)

# Hub: tasks.
VIEW_TASK = Function("viewTask(bytes32)", _TASK)
VIEW_CONTRIBUTION = Function("viewContribution(bytes32,address)", "(uint8,bytes32,bytes32,address,uint256)")
RESULT_FOR = Function("resultFor(bytes32)", "bytes")
INITIALIZE = Function("initialize(bytes32,uint256)", "bytes32")
INITIALIZE_ARRAY = Function("initializeArray(bytes32[],uint256[])", "bool")
CONTRIBUTE = Function("contribute(bytes32,bytes32,bytes32,address,bytes,bytes)")
REVEAL = Function("reveal(bytes32,bytes32)")
REOPEN = Function("reopen(bytes32)")
FINALIZE = Function("finalize(bytes32,bytes,bytes)")
CONTRIBUTE_AND_FINALIZE = Function("contributeAndFinalize(bytes32,bytes32,bytes,bytes,address,bytes,bytes)")
CLAIM = Function("claim(bytes32)")
CLAIM_ARRAY = Function("claimArray(bytes32[])", "bool")
INITIALIZE_AND_CLAIM_ARRAY = Function("initializeAndClaimArray(bytes32[],uint256[])", "bool")

# Registries (ERC-721: the token id is the address of the entry) and their entries.
CREATE_APP = Function("createApp(address,string,string,bytes,bytes32,bytes)", "address")
CREATE_DATASET = Function("createDataset(address,string,bytes,bytes32)", "address")
CREATE_WORKERPOOL = Function("createWorkerpool(address,string)", "address")
PREDICT_APP = Function("predictApp(address,string,string,bytes,bytes32,bytes)", "address")
PREDICT_DATASET = Function("predictDataset(address,string,bytes,bytes32)", "address")
PREDICT_WORKERPOOL = Function("predictWorkerpool(address,string)", "address")
IS_REGISTERED = Function("isRegistered(address)", "bool")
TOKEN_OF_OWNER_BY_INDEX = Function("tokenOfOwnerByIndex(address,uint256)", "uint256")
SAFE_TRANSFER_FROM = Function("safeTransferFrom(address,address,uint256)")
REGISTRY = Function("registry()", "address")
APP_NAME = Function("m_appName()", "string")
APP_TYPE = Function("m_appType()", "string")
APP_MULTIADDR = Function("m_appMultiaddr()", "bytes")
APP_CHECKSUM = Function("m_appChecksum()", "bytes32")
APP_MRENCLAVE = Function("m_appMREnclave()", "bytes")
DATASET_NAME = Function("m_datasetName()", "string")
DATASET_MULTIADDR = Function("m_datasetMultiaddr()", "bytes")
DATASET_CHECKSUM = Function("m_datasetChecksum()", "bytes32")
WORKERPOOL_DESCRIPTION = Function("m_workerpoolDescription()", "string")
WORKER_STAKE_RATIO_POLICY = Function("m_workerStakeRatioPolicy()", "uint256")
SCHEDULER_REWARD_RATIO_POLICY = Function("m_schedulerRewardRatioPolicy()", "uint256")
CHANGE_POLICY = Function("changePolicy(uint256,uint256)")

# DataProtector: a dataset and the schema of what is in it, in one transaction.
CREATE_DATASET_WITH_SCHEMA = Function("createDatasetWithSchema(address,string,string,bytes,bytes32)", "address")
DATASET_SCHEMA = Event("DatasetSchema(address indexed dataset,string schema)")

# Groups that a restriction can name.
KEY_HAS_PURPOSE = Function("keyHasPurpose(bytes32,uint256)", "bool")

CREATE = {"app": CREATE_APP, "dataset": CREATE_DATASET, "workerpool": CREATE_WORKERPOOL}
PREDICT = {"app": PREDICT_APP, "dataset": PREDICT_DATASET, "workerpool": PREDICT_WORKERPOOL}
MANAGE_ORDER = {
    "app": MANAGE_APP_ORDER,
    "dataset": MANAGE_DATASET_ORDER,
    "workerpool": MANAGE_WORKERPOOL_ORDER,
    "request": MANAGE_REQUEST_ORDER,
}

ORDERS_MATCHED = Event(
    "OrdersMatched(bytes32 dealid,bytes32 appHash,bytes32 datasetHash,"
    "bytes32 workerpoolHash,bytes32 requestHash,uint256 volume)"
)
SCHEDULER_NOTICE = Event("SchedulerNotice(address indexed workerpool,bytes32 dealid)")
CATEGORY_CREATED = Event("CreateCategory(uint256 catid,string name,string description,uint256 workClockTimeRef)")
TASK_INITIALIZE = Event("TaskInitialize(bytes32 indexed taskid,address indexed workerpool)")
TASK_CONTRIBUTE = Event("TaskContribute(bytes32 indexed taskid,address indexed worker,bytes32 hash)")
TASK_CONSENSUS = Event("TaskConsensus(bytes32 indexed taskid,bytes32 consensus)")
TASK_REVEAL = Event("TaskReveal(bytes32 indexed taskid,address indexed worker,bytes32 digest)")
TASK_REOPEN = Event("TaskReopen(bytes32 indexed taskid)")
TASK_FINALIZE = Event("TaskFinalize(bytes32 indexed taskid,bytes results)")
TASK_CLAIMED = Event("TaskClaimed(bytes32 indexed taskid)")
TRANSFER = Event("Transfer(address indexed from,address indexed to,uint256 value)")
APPROVAL = Event("Approval(address indexed owner,address indexed spender,uint256 value)")
REGISTRY_TRANSFER = Event("Transfer(address indexed from,address indexed to,uint256 indexed tokenId)")
LOCK = Event("Lock(address owner,uint256 amount)")
UNLOCK = Event("Unlock(address owner,uint256 amount)")
REWARD = Event("Reward(address owner,uint256 amount,bytes32 ref)")
SEIZE = Event("Seize(address owner,uint256 amount,bytes32 ref)")

CLOSED_ORDER = {
    "app": Event("ClosedAppOrder(bytes32 appHash)"),
    "dataset": Event("ClosedDatasetOrder(bytes32 datasetHash)"),
    "workerpool": Event("ClosedWorkerpoolOrder(bytes32 workerpoolHash)"),
    "request": Event("ClosedRequestOrder(bytes32 requestHash)"),
}
SIGNED_ORDER = {
    "app": Event("SignedAppOrder(bytes32 appHash)"),
    "dataset": Event("SignedDatasetOrder(bytes32 datasetHash)"),
    "workerpool": Event("SignedWorkerpoolOrder(bytes32 workerpoolHash)"),
    "request": Event("SignedRequestOrder(bytes32 requestHash)"),
}

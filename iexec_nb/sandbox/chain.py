"""The real PoCo contracts and our DataProtector on the local node, and the account that deployed them.

The recipe is the one of the production deployment scripts, with our own addresses: the same bytecode, the same facets
in the same order, the same five categories. Every contract address follows from the deployer's nonce, so that the
whole deployment is written down before the first transaction and sent as one batch.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from eth_abi.abi import encode

from iexec_nb.errors import SandboxError
from iexec_nb.protocol.typed_data import Domain
from iexec_nb.protocol.types import NULL_ADDRESS, Address, hexbytes, keccak, to_checksum
from iexec_nb.sandbox.contracts import BOOTSTRAP, FACETS, LIBRARY, REGISTRIES, Contract
from iexec_nb.services import abi
from iexec_nb.services.rpc import Rpc

CATEGORIES = (("XS", 300), ("S", 1200), ("M", 3600), ("L", 10800), ("XL", 36000))
"""Name and ``workClockTimeRef`` in seconds of the categories of the production hubs; the catid is the position."""

_GAS = "0xe4e1c0"
_RECEIPT_TIMEOUT_S = 20.0
_DIAMOND = ("(address,uint8,bytes4[])[]", "(address,address,bytes)")
_DIAMOND_CUT = abi.Function("diamondCut((address,uint8,bytes4[])[],address,bytes)")
_CONFIGURE = abi.Function("configure(address,string,string,uint8,address,address,address,address)")
_SET_CALLBACK_GAS = abi.Function("setCallbackGas(uint256)")
_INITIALIZE = abi.Function("initialize(address)")
_SET_BASE_URI = abi.Function("setBaseURI(string)")
_DIAMOND_INIT = abi.Function("init()")
_REFILL = abi.Function("refill(address,uint256)")
_DEPOSIT_FOR_ARRAY = abi.Function("depositForArray(uint256[],address[])")

Receipt = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Transaction:
    """What the operator sends: `data` to a contract, or creation bytecode where `to` is None."""

    to: Address | None
    data: bytes
    what: str

    def to_json(self, sender: Address, nonce: int) -> dict[str, str]:
        """Return the argument of ``eth_sendTransaction``."""
        body = {"from": sender, "nonce": hex(nonce), "gas": _GAS, "data": "0x" + self.data.hex()}
        return body if self.to is None else {**body, "to": self.to}


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """Where the contracts are."""

    hub: Address
    token: Address
    registries: Mapping[str, Address]
    dataprotector: Address


class Operator:
    """The account that owns the hub and the token: it pays for everything that the sandbox gives away.

    The node signs for it, so no key of it exists on our side.

    Parameters
    ----------
    rpc
        The local node.
    """

    def __init__(self, rpc: Rpc) -> None:
        self._rpc = rpc
        self._lock = threading.Lock()
        self.address = to_checksum(hexbytes(rpc.call("eth_accounts")[0]))

    def nonce(self) -> int:
        """Return the number of its transactions so far."""
        return int(self._rpc.call("eth_getTransactionCount", self.address, "pending"), 16)

    def send(self, transactions: Sequence[Transaction]) -> list[Receipt]:
        """Send transactions in one batch and return their receipts, in their order.

        Raises
        ------
        SandboxError
            When one of them fails; it is named.
        """
        with self._lock:
            first = self.nonce()
            # With the nonces given, the order of mining does not depend on the order in which the batch is handled.
            calls = [
                ("eth_sendTransaction", [transaction.to_json(self.address, first + i)])
                for i, transaction in enumerate(transactions)
            ]
            with self._mining_paused():
                hashes = self._rpc.batch(calls)
                receipts = self._mine(hashes)
        for transaction, receipt in zip(transactions, receipts, strict=True):
            if receipt["status"] != "0x1":
                raise SandboxError(f"the local chain refused: {transaction.what}")
        return receipts

    @contextmanager
    def _mining_paused(self) -> Iterator[None]:
        """Keep the node from mining by itself.

        anvil loses sight of a transaction whose predecessor is mined in the moment in which it comes in: it would stay
        queued for ever, and with it all that follow.
        """
        self._rpc.call("evm_setAutomine", False)
        try:
            yield
        finally:
            self._rpc.call("evm_setAutomine", True)
            # What others sent meanwhile would wait for the next transaction.
            if int(self._rpc.call("txpool_status")["pending"], 16):
                self._rpc.call("evm_mine")

    def _mine(self, hashes: Sequence[str]) -> list[Receipt]:
        """Mine until every transaction is in a block; one block may be too small for all."""
        deadline = time.monotonic() + _RECEIPT_TIMEOUT_S
        while True:
            self._rpc.call("evm_mine")
            receipts = self._rpc.batch([("eth_getTransactionReceipt", [tx_hash]) for tx_hash in hashes])
            if None not in receipts:
                return receipts
            if time.monotonic() > deadline:
                raise SandboxError("the local chain stopped mining", hint="stop the sandbox and start it again")


def deploy(rpc: Rpc, operator: Operator, contracts: Mapping[str, Contract], chain_id: int) -> Deployment:
    """Deploy PoCo 6.1.0, RLC and the DataProtector of the sandbox on an empty chain and return where they are.

    Raises
    ------
    SandboxError
        When a transaction fails, or the hub does not sign for the domain that it should.
    """
    plan = _Plan(operator.address, operator.nonce(), contracts)
    token = plan.create("RLC")
    hub = _plan_hub(plan)
    registries = {name: plan.create(name) for name in REGISTRIES}
    for name, registry in registries.items():
        plan.call(registry, _INITIALIZE.encode(NULL_ADDRESS), f"initialize {name}")
        plan.call(registry, _SET_BASE_URI.encode(f"https://nfts.example/{name}/"), f"setBaseURI of {name}")
    settings = (token, "Staked RLC", "SRLC", 9, *registries.values(), NULL_ADDRESS)
    plan.call(hub, _CONFIGURE.encode(*settings), "configure the hub")
    for name, seconds in CATEGORIES:
        plan.call(hub, abi.CREATE_CATEGORY.encode(name, "{}", seconds), f"create category {name}")
    plan.call(hub, _SET_CALLBACK_GAS.encode(200_000), "setCallbackGas")
    plan.call(token, abi.APPROVE.encode(hub, 2**256 - 1), "let the hub take deposits of the operator")
    dataprotector = plan.create("DataProtector", encode(("address",), (registries["DatasetRegistry"],)))
    operator.send(plan.transactions)
    _check_domain(rpc, hub, chain_id)
    kinds = {name.removesuffix("Registry").lower(): registry for name, registry in registries.items()}
    return Deployment(hub=hub, token=token, registries=kinds, dataprotector=dataprotector)


class _Plan:
    """Transactions to come, and the addresses that their contracts will have."""

    def __init__(self, owner: Address, nonce: int, contracts: Mapping[str, Contract]) -> None:
        self.owner = owner
        self.contracts = contracts
        self.library = NULL_ADDRESS
        self.transactions: list[Transaction] = []
        self._nonce = nonce

    def create(self, name: str, arguments: bytes = b"") -> Address:
        """Add a contract and return its address."""
        code = bytes.fromhex(self.contracts[name].linked(self.library)) + arguments
        address = create_address(self.owner, self._nonce + len(self.transactions))
        self.transactions.append(Transaction(None, code, f"deploy {name}"))
        return address

    def call(self, to: Address, data: bytes, what: str) -> None:
        """Add a call."""
        self.transactions.append(Transaction(to, data, what))


def _plan_hub(plan: _Plan) -> Address:
    """Add the Diamond with all its facets; the first facet that has a selector keeps it."""
    taken: set[str] = set()

    def cut(name: str) -> tuple[Address, int, list[bytes]]:
        new = [selector for selector in plan.contracts[name].selectors if selector not in taken]
        taken.update(new)
        return plan.create(name), 0, [bytes.fromhex(selector[2:]) for selector in new]

    initializer = plan.create("DiamondInit")
    born_with = [cut(name) for name in BOOTSTRAP]
    arguments = encode(_DIAMOND, [born_with, (plan.owner, initializer, _DIAMOND_INIT.encode())])
    hub = plan.create("Diamond", arguments)
    plan.library = plan.create(LIBRARY)
    facets = [cut(name) for name in FACETS]
    plan.call(hub, _DIAMOND_CUT.encode([f for f in facets if f[2]], NULL_ADDRESS, b""), "add the facets to the hub")
    return hub


def create_address(sender: Address, nonce: int) -> Address:
    """Return the address of the contract that `sender` creates with its transaction number `nonce`.

    It is the end of ``keccak256(rlp([sender, nonce]))``.
    """
    number = nonce.to_bytes((nonce.bit_length() + 7) // 8, "big")
    item = number if len(number) == 1 and nonce < 0x80 else bytes([0x80 + len(number)]) + number
    body = b"\x94" + bytes.fromhex(sender[2:]) + item
    return to_checksum(keccak(bytes([0xC0 + len(body)]) + body)[12:])


def _check_domain(rpc: Rpc, hub: Address, chain_id: int) -> None:
    call = {"to": hub, "data": "0x" + abi.DOMAIN_SEPARATOR.encode().hex()}
    separator = hexbytes(rpc.call("eth_call", call, "latest"))
    if separator != Domain(chainId=chain_id, verifyingContract=hub).separator:
        raise SandboxError(
            "the local hub does not sign for the domain iExecODB 5.0.0 of its chain",
            context={"hub": hub, "chain id": chain_id},
        )


def give(deployment: Deployment, receiver: Address, amount: int) -> Transaction:
    """Return the transaction that puts `amount` nRLC into a wallet (RLC function ``refill``)."""
    return Transaction(deployment.token, _REFILL.encode(receiver, amount), f"give {amount} nRLC to {receiver}")


def stake(deployment: Deployment, operator: Address, deposits: Mapping[Address, int]) -> list[Transaction]:
    """Return the transactions that put nRLC onto iExec accounts (hub function ``depositForArray``)."""
    amounts, owners = list(deposits.values()), list(deposits)
    return [
        give(deployment, operator, sum(amounts)),
        Transaction(deployment.hub, _DEPOSIT_FOR_ARRAY.encode(amounts, owners), "deposit on iExec accounts"),
    ]

"""A local chain with the real contracts, and wallets on it, for the tests of the sandbox's services."""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from iexec_nb.protocol import typed_data
from iexec_nb.protocol.orders import NULL_DATASETORDER, AppOrder, DatasetOrder, Order, RequestOrder, WorkerpoolOrder
from iexec_nb.protocol.types import Address, Secret, keccak
from iexec_nb.sandbox import contracts, packages
from iexec_nb.sandbox.chain import Operator, Transaction, deploy, stake
from iexec_nb.sandbox.node import Node
from iexec_nb.services import abi
from iexec_nb.services.chain import Chain
from iexec_nb.services.rpc import Rpc

CHAIN_ID = 134135
RLC = 10**9
Kind = TypeVar("Kind", AppOrder, DatasetOrder, WorkerpoolOrder, RequestOrder)


@dataclass(frozen=True)
class Wallet:
    """A private key of a test."""

    key: bytes

    @property
    def address(self) -> Address:
        return typed_data.address_of(self.key)

    @property
    def secret(self) -> Secret:
        return Secret(self.key)

    def personal(self, data: bytes) -> str:
        return typed_data.sign_digest(typed_data.personal_digest(data), self.key)


def wallet(name: str) -> Wallet:
    return Wallet(hashlib.sha256(name.encode()).digest())


class Stack:
    """Chain, contracts and shortcuts to act on them."""

    def __init__(self, node: Node) -> None:
        self.rpc = Rpc(node.url)
        self.operator = Operator(self.rpc)
        self.deployment = deploy(self.rpc, self.operator, contracts.load(), CHAIN_ID)
        self.chain = Chain(self.rpc, self.deployment.hub)

    def fund(self, *wallets: Wallet, rlc: int = 1000 * RLC) -> None:
        """Give ether, and RLC on the iExec account."""
        for one in wallets:
            self.rpc.call("anvil_setBalance", one.address, hex(10**20))
            self.rpc.call("anvil_impersonateAccount", one.address)
        if rlc:
            self.operator.send(stake(self.deployment, self.operator.address, {one.address: rlc for one in wallets}))

    def send(self, sender: Wallet, to: Address, data: bytes) -> dict[str, Any]:
        call = {"from": sender.address, "to": to, "data": "0x" + data.hex(), "gas": hex(10_000_000)}
        tx_hash = self.rpc.call("eth_sendTransaction", call)
        deadline = time.monotonic() + 20
        while (receipt := self.rpc.call("eth_getTransactionReceipt", tx_hash)) is None:
            assert time.monotonic() < deadline, "the transaction was not mined"
        assert receipt["status"] == "0x1", receipt
        return dict(receipt)

    def create(self, kind: str, *args: object) -> Address:
        """Register an app, dataset or workerpool and return its address."""
        at = self.chain.predict(kind, args)
        data = abi.CREATE[kind].encode(*args)
        self.operator.send([Transaction(self.chain.registry(kind), data, f"create {kind}")])
        return at

    def app(self, owner: Wallet, multiaddr: str = "docker.io/test/app:1") -> Address:
        name = secrets.token_hex(8)
        return self.create("app", owner.address, name, "DOCKER", multiaddr.encode(), bytes(32), b"")

    def dataset(
        self, owner: Wallet, multiaddr: bytes = b"https://example.test/x", checksum: bytes = bytes(32)
    ) -> Address:
        return self.create("dataset", owner.address, secrets.token_hex(8), multiaddr, checksum)

    def workerpool(self, owner: Wallet) -> Address:
        return self.create("workerpool", owner.address, secrets.token_hex(8))

    def sign(self, order: Kind, signer: Wallet) -> Kind:
        salted = replace(order, salt="0x" + secrets.token_hex(32), sign=None)
        digest = typed_data.order_digest(salted, self.chain.domain)
        return replace(salted, sign=typed_data.sign_digest(digest, signer.key))

    def order_hash(self, order: Order) -> str:
        return typed_data.order_hash(order, self.chain.domain)

    def match(
        self,
        app: AppOrder,
        pool: WorkerpoolOrder,
        request: RequestOrder,
        dataset: DatasetOrder = NULL_DATASETORDER,
    ) -> str:
        """Match signed orders and return the deal id."""
        data = abi.MATCH_ORDERS.encode(app.to_abi(), dataset.to_abi(), pool.to_abi(), request.to_abi())
        self.operator.send([Transaction(self.chain.hub_address, data, "match orders")])
        consumed = self.chain.consumed([self.order_hash(request)])[self.order_hash(request)]
        size = min(request.volume, consumed)
        head = bytes.fromhex(self.order_hash(request)[2:])
        return "0x" + keccak(head + (consumed - size).to_bytes(32, "big")).hex()

    def travel(self, seconds: int) -> None:
        self.rpc.call("evm_increaseTime", seconds)
        self.rpc.call("evm_mine")


@contextmanager
def running_stack() -> Iterator[Stack]:
    node = Node(packages.anvil(), chain_id=CHAIN_ID)
    try:
        stack = Stack(node)
        yield stack
        stack.rpc.close()
    finally:
        node.stop()

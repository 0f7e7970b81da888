"""Who gives: RLC, stake, ether and what must be deployed for the sandbox's people and roles, in few requests."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from eth_abi.abi import encode

from iexec_nb.protocol.typed_data import address_of
from iexec_nb.protocol.types import Address, Secret, address_from_uint, hexbytes, to_checksum
from iexec_nb.sandbox import contracts
from iexec_nb.sandbox.chain import Deployment, Operator, Receipt, Transaction, give, stake
from iexec_nb.services import abi
from iexec_nb.services.answers import quantity
from iexec_nb.services.receipts import Log
from iexec_nb.services.rpc import Rpc
from iexec_nb.services.wallet import PrivateKeySigner

ROLE_WEI = 100 * 10**18
"""What a scheduler or worker gets for its fees."""
ROLE_STAKE = 1000 * 10**9
"""What a scheduler or worker gets on its iExec account besides what its orders need: 1000 RLC."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """What one address gets: `wallet` and `account` in nRLC (outside and inside the hub), `wei` for fees."""

    wallet: int = 0
    account: int = 0
    wei: int = 0


@dataclass(frozen=True, slots=True)
class Pool:
    """A workerpool of the sandbox, and the key that owns it; nobody computes for an idle one."""

    address: Address
    owner: PrivateKeySigner
    key: Secret
    description: str
    idle: bool


def new_key() -> Secret:
    """Return a private key that nobody has: those of the node's own accounts are known to the whole world."""
    return Secret(secrets.token_bytes(32))


class Treasury:
    """Gives away what the operator can make.

    Parameters
    ----------
    rpc
        The local node.
    operator
        The owner of hub and token.
    deployment
        Where the contracts are.
    """

    def __init__(self, rpc: Rpc, operator: Operator, deployment: Deployment) -> None:
        self._rpc = rpc
        self._operator = operator
        self._deployment = deployment

    def grant(self, grants: Mapping[Address, Grant]) -> None:
        """Add to what addresses have.

        Raises
        ------
        SandboxError
            When the chain refuses.
        """
        self._ether({address: one.wei for address, one in grants.items() if one.wei})
        transactions = [give(self._deployment, to, one.wallet) for to, one in grants.items() if one.wallet]
        deposits = {address: one.account for address, one in grants.items() if one.account}
        if deposits:
            transactions += stake(self._deployment, self._operator.address, deposits)
        if transactions:
            self._operator.send(transactions)

    def workers(self, count: int) -> list[Address]:
        """Return accounts for workers, with stake and ether, for which the worker lets the node sign."""
        accounts = [address_of(new_key()) for _ in range(count)]
        self.grant({account: Grant(account=ROLE_STAKE, wei=ROLE_WEI) for account in accounts})
        return accounts

    def workerpools(self, descriptions: Sequence[str], *, idle: bool = False) -> list[Pool]:
        """Deploy workerpools with an owner each.

        Parameters
        ----------
        descriptions
            One for each pool.
        idle
            Whether nobody computes for them.
        """
        keys = [new_key() for _ in descriptions]
        owners = [PrivateKeySigner(key) for key in keys]
        registry = self._deployment.registries["workerpool"]
        receipts = self._operator.send(
            [
                Transaction(registry, abi.CREATE_WORKERPOOL.encode(owner.address, text), "deploy a workerpool")
                for owner, text in zip(owners, descriptions, strict=True)
            ]
        )
        self.grant({owner.address: Grant(account=ROLE_STAKE, wei=ROLE_WEI) for owner in owners})
        return [
            Pool(_deployed(receipt), owner, key, text, idle)
            for receipt, owner, key, text in zip(receipts, owners, keys, descriptions, strict=True)
        ]

    def whitelist(self, members: Sequence[Address]) -> Address:
        """Deploy a group of addresses that orders can be restricted to, and return where it is."""
        arguments = encode(("address[]",), (list(members),))
        code = bytes.fromhex(contracts.load()["Whitelist"].code)
        [receipt] = self._operator.send([Transaction(None, code + arguments, "deploy a whitelist")])
        return to_checksum(hexbytes(receipt["contractAddress"]))

    def _ether(self, amounts: Mapping[Address, int]) -> None:
        held = self._rpc.batch([("eth_getBalance", [address, "latest"]) for address in amounts])
        sums = zip(amounts, amounts.values(), held, strict=True)
        self._rpc.batch([("anvil_setBalance", [address, hex(wei + quantity(has))]) for address, wei, has in sums])


def _deployed(receipt: Receipt) -> Address:
    logs = [Log.from_rpc(log) for log in receipt["logs"]]
    [minted] = [abi.REGISTRY_TRANSFER.decode(log) for log in logs if abi.REGISTRY_TRANSFER.matches(log)]
    return address_from_uint(minted["tokenId"])

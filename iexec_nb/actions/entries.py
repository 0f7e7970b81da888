"""What apps, datasets and workerpools have in common: each is an entry of a registry that is deployed, owned and sold.

An entry's address follows from its arguments (CREATE2), so it is predicted first and an entry that exists already is
said so before anything is signed, instead of a reverted transaction after. Where a verb is given nothing, the project
files of the working folder say what is meant, as with the official CLI.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from iexec_nb.actions.base import Amount, Noun
from iexec_nb.actions.transfers import pay
from iexec_nb.errors import IExecError, ValidationError, Web3ProviderSendError
from iexec_nb.protocol.receipts import Deployed, Transferred
from iexec_nb.protocol.types import NULL_ADDRESS, Address, Bytes32, address, address_from_uint, shown, uint256
from iexec_nb.services import abi

if TYPE_CHECKING:
    from iexec_nb.services.receipts import Receipt

DEPLOYED = "deployed"
"""What stands for the address in ``deployed.json``, in place of an address."""
_FACTS = ("owner", "type", "multiaddr", "checksum", "mrenclave")


class Registered(Noun, ABC):
    """Base of the nouns whose objects are entries of a registry."""

    kind: str

    @abstractmethod
    def _arguments(self, body: Mapping[str, Any]) -> tuple[Any, ...]:
        """Return the arguments of the registry's function for this kind, checked, the owner first."""

    def _deploy(self, given: Mapping[str, Any], **defaults: Any) -> Deployed:
        """Deploy what is given, else the entry of ``iexec.json``; that one's address is kept in ``deployed.json``."""
        signer = self._signer(f"deploy the {self.kind}")
        in_project = _is_empty(given)
        body, args = self._entry(given, defaults)
        predicted = self._chain.predict(self.kind, args)
        if self._chain.registered(self.kind, [predicted])[predicted]:
            raise ValidationError(
                f"{self.kind.capitalize()} already deployed at address {predicted}",
                hint=f"use it as it is: {self.kind}.show({predicted!r}), or deploy another name or content",
            )
        if in_project:
            # A broken file is found before the deployment is paid for, and not after.
            self._client.files.deployed(self.kind, self._chain.chain_id)
        text = f"deploy the {self.kind} {_described(body)}"
        receipt = pay(self._client, signer, self._registry, abi.CREATE[self.kind].encode(*args), text)
        event = self._confirmed(receipt, f"the new {self.kind} was not confirmed")
        made = Deployed(kind=self.kind, address=address_from_uint(event["tokenId"]), txHash=receipt.tx_hash)
        if in_project:
            self._keep(made)
        return made

    def _predict(self, given: Mapping[str, Any], **defaults: Any) -> Address:
        return self._chain.predict(self.kind, self._entry(given, defaults)[1])

    def _entry(
        self, given: Mapping[str, Any], defaults: Mapping[str, Any]
    ) -> tuple[Mapping[str, Any], tuple[Any, ...]]:
        """Return what is described, and the arguments of the contract for it."""
        if not _is_empty(given):
            body = {**defaults, **{name: value for name, value in given.items() if value is not None}}
            if "owner" not in body:
                # Last, so that a wrong argument is said first where there is no wallet either.
                self._arguments({"owner": NULL_ADDRESS, **body})
                body = {"owner": self._who(None), **body}
            return body, self._owned(self._arguments(body))
        body = self._client.files.resource(self.kind)
        with self._client.files.naming("iexec.json", self.kind):
            return body, self._owned(self._arguments(body))

    def _owned(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        if args[0] == NULL_ADDRESS:
            raise ValidationError(
                f"{NULL_ADDRESS} cannot own the {self.kind}", context={"argument": "owner"}, hint="give owner=0x..."
            )
        return args

    def _keep(self, made: Deployed) -> None:
        try:
            self._client.files.set_deployed(self.kind, self._chain.chain_id, made.address)
        except IExecError as error:
            # It is deployed and paid for, whatever happened to the file.
            error.context.update({"deployed": made.address, "transaction": made.txHash})
            raise

    def _show_at(self, given: object, user: str | None) -> Address:
        """Return an address, or that of a user's entry by its number, or that of ``deployed.json``."""
        if isinstance(given, int) or (isinstance(given, str) and given.isdigit()):
            index = uint256(given, "index")
            if index < 2**64:
                return self._chain.by_index(self.kind, self._user(user), index)
        return self._at(given)

    def _at(self, given: object) -> Address:
        """Return the given address, else the one in ``deployed.json``."""
        if given is None:
            return self._client.files.require_deployed(self.kind, self._client.network.chain_id)
        return address(given, self.kind)

    def _transfer(self, given: object, to: object) -> Transferred:
        where, goal = address(given, self.kind), address(to, "to")
        if goal == NULL_ADDRESS:
            raise ValidationError(f"{goal} cannot own the {self.kind}", hint="give to= as the new owner's address")
        signer = self._signer(f"transfer the {self.kind}")
        self._require_owner(where, signer.address)
        data = abi.SAFE_TRANSFER_FROM.encode(signer.address, goal, int(where, 16))
        text = f"transfer the {self.kind} {where} to {goal}, for good; orders for it that you signed are valid no more"
        receipt = pay(self._client, signer, self._registry, data, text)
        self._confirmed(receipt, f"the transfer of the {self.kind} was not confirmed")
        return Transferred(address=where, to=goal, txHash=receipt.tx_hash)

    def _require_owner(self, where: Address, who: Address) -> None:
        if not self._chain.registered(self.kind, [where])[where]:
            raise ValidationError(
                f"Invalid {self.kind} address",
                context={self.kind: where, "chain": self._chain.chain_id},
                hint=f"there is no such {self.kind}: check the address and the chain",
            )
        owner = self._chain.owners([where]).get(where)
        if owner != who:
            raise ValidationError(
                f"Only {self.kind} owner can transfer {self.kind} ownership",
                context={self.kind: where, "owner": owner, "wallet": who},
                hint="use the owner's wallet",
            )

    def _publish(self, given: object, price: Amount, *, skip_preflight_check: bool = False, **terms: Any) -> Bytes32:
        """Sign and publish an order that sells an entry; return the order's hash."""
        fields = {self.kind: self._at(given), f"{self.kind}price": price}
        fields |= {name: value for name, value in terms.items() if value is not None}
        orders = self._client.order
        return orders.sign_and_publish(orders.create(self.kind, **fields), skip_preflight_check=skip_preflight_check)

    def _unpublish(self, given: object, *, all: bool) -> Bytes32 | tuple[Bytes32, ...]:
        """Take the wallet's last order for an entry off the market, or all of them; return the hash, or hashes."""
        chosen: dict[str, Any] = {self.kind: self._at(given), "all" if all is True else "last": True}
        gone: Bytes32 | tuple[Bytes32, ...] = self._client.order.unpublish(**chosen)[f"{self.kind}order"]
        return gone

    def _confirmed(self, receipt: Receipt, otherwise: str) -> dict[str, Any]:
        event = self._chain.find_event(receipt, abi.REGISTRY_TRANSFER, self._registry)
        if event is None:
            raise Web3ProviderSendError(otherwise, tx_hash=receipt.tx_hash)
        return event

    @property
    def _registry(self) -> Address:
        return self._chain.registry(self.kind)


def required(body: Mapping[str, Any], name: str) -> Any:
    """Return what a description holds under this name.

    Raises
    ------
    ValidationError
        When it is not there, or empty.
    """
    value = body.get(name)
    if value is None or value == "":
        raise ValidationError(f"{name} is a required field", context={"argument": name}, hint=f"give {name}=...")
    return value


def deployed_raw(made: Deployed) -> dict[str, Any]:
    """Return the members of the CLI's JSON for ``deploy``."""
    return {"address": made.address, "txHash": made.txHash}


def published_raw(orderHash: Bytes32) -> dict[str, Any]:
    """Return the members of the CLI's JSON for ``publish``."""
    return {"orderHash": orderHash}


def unpublished_raw(gone: Bytes32 | tuple[Bytes32, ...]) -> dict[str, Any]:
    """Return the members of the CLI's JSON for ``unpublish``."""
    return {"unpublished": gone}


def _is_empty(given: Mapping[str, Any]) -> bool:
    return all(value is None for value in given.values())


def _described(body: Mapping[str, Any]) -> str:
    title = shown(body.get("name", body.get("description", "")))
    facts = [f"{name}: {shown(body[name])}" for name in _FACTS if body.get(name) not in (None, "")]
    return "\n  ".join([repr(title), *facts])

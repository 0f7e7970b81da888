"""Deploying into the registries, the same way for apps, datasets and workerpools.

An entry's address follows from its arguments (CREATE2), so it is predicted first and an entry that exists already is
said so before anything is signed, instead of a reverted transaction after.
"""

from __future__ import annotations

from iexec_nb.actions.base import Noun
from iexec_nb.errors import ValidationError, Web3ProviderSendError
from iexec_nb.protocol.receipts import Deployed
from iexec_nb.protocol.types import Address, address, address_from_uint, shown, uint256
from iexec_nb.services import abi


class Registered(Noun):
    """Base of the nouns whose objects are entries of a registry."""

    kind: str

    def _deploy(self, name: str, owner: str | None, *args: object) -> Deployed:
        signer = self._signer(f"deploy the {self.kind}")
        owned_by = address(owner, "owner") if owner is not None else signer.address
        predicted = self._chain.predict(self.kind, (owned_by, *args))
        if self._chain.registered(self.kind, [predicted])[predicted]:
            raise ValidationError(
                f"{self.kind.capitalize()} already deployed at address {predicted}",
                hint=f"use it as it is: {self.kind}.show({predicted!r}), or deploy another name or content",
            )
        self._client.approve(f"deploy the {self.kind} {shown(name)!r} for owner {owned_by}")
        receipt = self._chain.send(signer, self._registry, abi.CREATE[self.kind].encode(owned_by, *args))
        event = self._chain.find_event(receipt, abi.REGISTRY_TRANSFER, self._registry)
        if event is None:
            raise Web3ProviderSendError(f"the new {self.kind} was not confirmed", tx_hash=receipt.tx_hash)
        return Deployed(kind=self.kind, address=address_from_uint(event["tokenId"]), txHash=receipt.tx_hash)

    @property
    def _registry(self) -> Address:
        return self._chain.registry(self.kind)

    def _address(self, address_or_index: object, user: str | None) -> Address:
        """Return an address, or the address of a user's entry by its number, as the CLI's ``show`` has it."""
        if isinstance(address_or_index, int) or (isinstance(address_or_index, str) and address_or_index.isdigit()):
            index = uint256(address_or_index, "index")
            if index < 2**64:
                return self._chain.by_index(self.kind, self._who(user), index)
        return address(address_or_index, self.kind)

"""What every noun has in common: the client, and the shortest way to its parts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from iexec_nb.protocol.types import Address, address

if TYPE_CHECKING:
    from iexec_nb.client import IExec
    from iexec_nb.services.chain import Chain
    from iexec_nb.services.wallet import Signer

Amount = int | str
Tags = str | Sequence[str]


class Noun:
    """Base of the nouns: verbs are methods, the client knows the network and the wallet."""

    def __init__(self, client: IExec) -> None:
        self._client = client

    @property
    def _chain(self) -> Chain:
        return self._client.chain

    def _signer(self, purpose: str) -> Signer:
        return self._client.require_signer(purpose)

    def _who(self, given: object) -> Address:
        """Return the given address, else the wallet's own."""
        return address(given) if given is not None else self._signer("know whose address is meant").address

    def __repr__(self) -> str:
        verbs = [name for name in vars(type(self)) if not name.startswith("_")]
        return f"<{type(self).__name__}: {', '.join(verbs)}>"


def amount_of(amount: Any, unit: str | None) -> object:
    """Return an amount and the unit that may stand behind it as a separate word, as the CLI has it."""
    return amount if unit is None else (amount, unit)

"""The noun ``wallet``: what an address holds outside the hub."""

from __future__ import annotations

from iexec_nb.actions.base import Noun
from iexec_nb.commands import command, noun
from iexec_nb.protocol.receipts import Balances


@noun("wallet")
class WalletActions(Noun):
    """Wallets: ether for fees and RLC outside the hub."""

    @command("wallet show")
    def show(self, address: str | None = None) -> Balances:
        """Return what a wallet holds: ether in wei, RLC in nRLC.

        Parameters
        ----------
        address
            Whose; default: the client's own wallet.

        Returns
        -------
        Balances
            ``address``, ``wei`` and ``nRLC`` (``int``).

        Raises
        ------
        ValidationError
            When the address is malformed.
        ConfigurationError
            When no address is given and the client has no wallet.

        Source
        ------
        ``eth_getBalance``; ``balanceOf`` of the RLC token.
        """
        who = self._who(address)
        wei, nrlc = self._chain.balances(who)
        return Balances(address=who, wei=wei, nRLC=nrlc)

"""The noun ``account``: RLC inside the hub, which pays for deals."""

from __future__ import annotations

from iexec_nb.actions.base import Amount, Noun, amount_of
from iexec_nb.commands import command, noun
from iexec_nb.errors import InsufficientFundsError, ValidationError
from iexec_nb.protocol.receipts import Moved
from iexec_nb.protocol.resources import Account
from iexec_nb.protocol.types import Address
from iexec_nb.protocol.units import WEI_PER_NRLC, format_rlc, nrlc
from iexec_nb.services import abi


@noun("account")
class AccountActions(Noun):
    """Accounts: RLC inside the hub, free or locked by deals."""

    @command("account show")
    def show(self, address: str | None = None) -> Account:
        """Return an address's RLC inside the hub: ``stake`` (free) and ``locked``, in nRLC.

        Parameters
        ----------
        address
            Whose; default: the client's own wallet.

        Returns
        -------
        Account
            ``address``, ``stake`` and ``locked`` (``int``, nRLC).

        Raises
        ------
        ValidationError
            When the address is malformed.

        Source
        ------
        Contract function ``viewAccount``.
        """
        return self._chain.account(self._who(address))

    @command('account deposit "1 RLC"', spends=True)
    def deposit(self, amount: Amount, unit: str | None = None) -> Moved:
        """Move RLC (nRLC without a unit) from the wallet into the hub, where it can pay for deals.

        Parameters
        ----------
        amount
            How much: an ``int`` in nRLC, or text with a unit such as ``"0.5 RLC"``.
        unit
            ``RLC`` or ``nRLC``, where the unit is a word of its own.

        Returns
        -------
        Moved
            ``amount`` (nRLC) and ``txHash``.

        Raises
        ------
        ValidationError
            When the amount is malformed or zero.
        InsufficientFundsError
            When the wallet holds less RLC, or less ether than the fee; nothing is signed then.

        Source
        ------
        Token function ``approveAndCall``, which the hub answers with ``receiveApproval``; where RLC is the chain's own
        coin, contract function ``deposit``.
        """
        value = _positive(amount_of(amount, unit), "Deposit")
        signer = self._signer("deposit")
        _, held = self._chain.balances(signer.address)
        if value > held:
            raise _too_much("Deposit amount exceed wallet balance", value, "wallet", held, signer.address)
        self._client.approve(
            f"deposit {format_rlc(value)} from wallet {signer.address} into the hub {self._chain.hub_address}"
        )
        chain, hub = self._chain, self._chain.hub_address
        if chain.native:
            receipt = chain.send(signer, hub, abi.DEPOSIT_NATIVE.encode(), value=value * WEI_PER_NRLC)
        else:
            receipt = chain.send(signer, chain.token, abi.APPROVE_AND_CALL.encode(hub, value, b""))
        return Moved(amount=value, txHash=receipt.tx_hash)

    @command('account withdraw "1 RLC"', spends=True)
    def withdraw(self, amount: Amount, unit: str | None = None) -> Moved:
        """Move RLC (nRLC without a unit) from the hub back into the wallet.

        Parameters
        ----------
        amount
            How much: an ``int`` in nRLC, or text with a unit such as ``"0.5 RLC"``. Locked RLC cannot be withdrawn.
        unit
            ``RLC`` or ``nRLC``, where the unit is a word of its own.

        Returns
        -------
        Moved
            ``amount`` (nRLC) and ``txHash``.

        Raises
        ------
        ValidationError
            When the amount is malformed or zero.
        InsufficientFundsError
            When the account's free stake is less; nothing is signed then.

        Source
        ------
        Contract function ``withdraw``.
        """
        value = _positive(amount_of(amount, unit), "Withdraw")
        signer = self._signer("withdraw")
        account = self._chain.account(signer.address)
        if value > account.stake:
            raise _too_much(
                "Withdraw amount exceed account balance", value, "account stake", account.stake, signer.address
            )
        self._client.approve(f"withdraw {format_rlc(value)} from the hub into wallet {signer.address}")
        receipt = self._chain.send(signer, self._chain.hub_address, abi.WITHDRAW.encode(value))
        return Moved(amount=value, txHash=receipt.tx_hash)


def _positive(amount: object, what: str) -> int:
    value = nrlc(amount)
    if value == 0:
        raise ValidationError(f"{what} amount must be greater than 0", hint='give an amount such as "0.5 RLC"')
    return value


def _too_much(message: str, wanted: int, where: str, held: int, who: Address) -> InsufficientFundsError:
    facts = {
        "wanted": format_rlc(wanted),
        where: format_rlc(held),
        "missing": format_rlc(wanted - held),
        "address": who,
    }
    return InsufficientFundsError(message, context=facts, hint=f"at most {format_rlc(held)} is there")

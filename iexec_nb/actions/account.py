"""The noun ``account``: RLC inside the hub, which pays for deals."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from iexec_nb.actions.base import Amount, Noun, amount_of
from iexec_nb.actions.transfers import check_event, check_holds, pay, receiver
from iexec_nb.commands import command, noun
from iexec_nb.errors import ValidationError
from iexec_nb.protocol.receipts import Allowance, Moved
from iexec_nb.protocol.resources import Account
from iexec_nb.protocol.types import NULL_ADDRESS, Address, address
from iexec_nb.protocol.units import WEI_PER_NRLC, format_rlc, nrlc
from iexec_nb.services import abi


def _show_raw(account: Account) -> Mapping[str, Any]:
    return {"balance": {"stake": str(account.stake), "locked": str(account.locked)}}


def _allowance_raw(allowance: Allowance) -> Mapping[str, Any]:
    # The official CLI writes this number, and no other, in hexadecimal digits, two for each byte.
    digits = f"{allowance.amount:x}"
    return {"amount": digits.zfill(len(digits) + len(digits) % 2)}


def _changed_raw(allowance: Allowance) -> Mapping[str, Any]:
    return {"txHash": allowance.txHash}


@noun("account")
class AccountActions(Noun):
    """Accounts: RLC inside the hub, free or locked by deals, and who else may take some."""

    @command("account show", js=("account.checkBalance",), raw=_show_raw)
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

    @command('account deposit "1 RLC"', spends=True, js=("account.deposit",))
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
        check_holds("Deposit amount exceed wallet balance", value, "wallet", held, signer.address)
        chain, hub, me = self._chain, self._chain.hub_address, signer.address
        text = f"deposit {format_rlc(value)} from wallet {me} into the hub {hub}"
        if chain.native:
            receipt = pay(self._client, signer, hub, abi.DEPOSIT_NATIVE.encode(), text, value=value * WEI_PER_NRLC)
        else:
            receipt = pay(self._client, signer, chain.token, abi.APPROVE_AND_CALL.encode(hub, value, b""), text)
        check_event(receipt, hub, abi.TRANSFER, "Deposit", sender=NULL_ADDRESS, to=me, value=value)
        return Moved(amount=value, txHash=receipt.tx_hash)

    @command('account withdraw "1 RLC"', spends=True, js=("account.withdraw",))
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
        hub, me = self._chain.hub_address, signer.address
        check_holds("Withdraw amount exceed account balance", value, "account stake", account.stake, me)
        text = f"withdraw {format_rlc(value)} from the hub into wallet {me}"
        receipt = pay(self._client, signer, hub, abi.WITHDRAW.encode(value), text)
        check_event(receipt, hub, abi.TRANSFER, "Withdraw", sender=me, to=NULL_ADDRESS, value=value)
        return Moved(amount=value, txHash=receipt.tx_hash)

    @command(
        "account approve 500 0x7bd4783fdcad405a28052a0d1f11236a741da593 RLC",
        spends=True, js=("account.approve",), raw=_changed_raw,
    )  # fmt: skip
    def approve(self, amount: Amount, spender: str, unit: str | None = None) -> Allowance:
        """Let somebody take RLC (nRLC without a unit) out of the account, in place of what they may take now.

        Parameters
        ----------
        amount
            How much at most: an ``int`` in nRLC, or text with a unit such as ``"0.5 RLC"``. It may be more than the
            account holds; 0 takes the right back.
        spender
            Who may take it: an address or a contract.
        unit
            ``RLC`` or ``nRLC``, where the unit is a word of its own; it stands behind the spender.

        Returns
        -------
        Allowance
            ``owner``, ``spender``, ``amount`` (nRLC) and ``txHash``.

        Raises
        ------
        ValidationError
            When the amount or the address is malformed.
        InsufficientFundsError
            When the wallet holds less ether than the fee; nothing is signed then.

        Source
        ------
        Contract function ``approve`` of the hub.
        """
        return self._allow(nrlc(amount_of(amount, unit)), receiver(spender, "spender"))

    @command(
        "account allowance 0x7bd4783fdcad405a28052a0d1f11236a741da593",
        js=("account.checkAllowance",), raw=_allowance_raw,
    )  # fmt: skip
    def allowance(self, spender: str, *, user: str | None = None) -> Allowance:
        """Return how much RLC somebody may take out of an account, in nRLC.

        Parameters
        ----------
        spender
            Who may take it.
        user
            Whose account; default: that of the client's own wallet.

        Returns
        -------
        Allowance
            ``owner``, ``spender`` and ``amount`` (``int``, nRLC).

        Raises
        ------
        ValidationError
            When an address is malformed.
        ConfigurationError
            When no user is given and the client has no wallet.

        Source
        ------
        Contract function ``allowance`` of the hub.
        """
        taker, owner = address(spender, "spender"), self._who(user)
        return Allowance(owner=owner, spender=taker, amount=self._chain.allowance(owner, taker))

    @command(
        "account revoke 0x7bd4783fdcad405a28052a0d1f11236a741da593",
        spends=True, js=("account.revokeApproval",), raw=_changed_raw,
    )  # fmt: skip
    def revoke(self, spender: str) -> Allowance:
        """Take back somebody's right to take RLC out of the account.

        Parameters
        ----------
        spender
            Who may take nothing any more.

        Returns
        -------
        Allowance
            ``owner``, ``spender``, ``amount`` (0) and ``txHash``.

        Raises
        ------
        ValidationError
            When the address is malformed.
        InsufficientFundsError
            When the wallet holds less ether than the fee; nothing is signed then.

        Source
        ------
        Contract function ``approve`` of the hub, with 0.
        """
        return self._allow(0, receiver(spender, "spender"))

    def _allow(self, amount: int, spender: Address) -> Allowance:
        signer = self._signer("change who may take RLC")
        owner = signer.address
        chain = self._chain
        now = format_rlc(chain.allowance(owner, spender))
        if amount:
            text = f"let {spender} take up to {format_rlc(amount)} out of the account of {owner} (now: {now})"
        else:
            text = f"let {spender} take nothing out of the account of {owner} any more (now: {now})"
        receipt = pay(self._client, signer, chain.hub_address, abi.APPROVE.encode(spender, amount), text)
        check_event(receipt, chain.hub_address, abi.APPROVAL, "Approve", owner=owner, spender=spender, value=amount)
        return Allowance(owner=owner, spender=spender, amount=amount, txHash=receipt.tx_hash)


def _positive(amount: object, what: str) -> int:
    value = nrlc(amount)
    if value == 0:
        raise ValidationError(f"{what} amount must be greater than 0", hint='give an amount such as "0.5 RLC"')
    return value

"""The noun ``wallet``: what an address holds outside the hub, and sending it elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from iexec_nb.actions.base import Amount, amount_of
from iexec_nb.actions.sweep import sweep
from iexec_nb.actions.transfers import check_event, check_holds, check_keeps, pay, receiver
from iexec_nb.actions.wallet_files import WalletFiles
from iexec_nb.commands import command, noun
from iexec_nb.errors import ConfigurationError, ValidationError
from iexec_nb.protocol.receipts import Balances, Sent, Swept, WalletKeys
from iexec_nb.protocol.types import Secret
from iexec_nb.protocol.units import WEI_PER_NRLC, format_ether, format_rlc, nrlc, wei
from iexec_nb.services import abi
from iexec_nb.services.keystore import public_key
from iexec_nb.services.wallet import KeystoreSigner, PrivateKeySigner

_TOO_MUCH = "Amount to send exceed wallet balance"


def _show_raw(shown: Balances) -> Mapping[str, Any]:
    balance = {
        "ether": _with_point(format_ether(shown.wei)), "RLC": _with_point(format_rlc(shown.nRLC)),
        "nRLC": str(shown.nRLC), "wei": str(shown.wei),
    }  # fmt: skip
    keys = shown.wallet
    if keys is None:
        return {"balance": balance}
    # Here, and only here, a private key is shown: the person asked for it by an option of that name.
    asked = {} if keys.privateKey is None else {"privateKey": keys.privateKey.reveal(), "publicKey": keys.publicKey}
    return {"balance": balance, "wallet": {**asked, "address": keys.address}}


def _with_point(amount: str) -> str:
    """Return the number of an amount as the official CLI writes it: ``1.0`` and not ``1``."""
    number = amount.partition(" ")[0]
    return number if "." in number else f"{number}.0"


def _sent_raw(sent: Sent) -> Mapping[str, Any]:
    return {"amount": str(sent.amount), "from": sent.sender, "to": sent.to, "txHash": sent.txHash}


def _swept_raw(swept: Swept) -> Mapping[str, Any]:
    return {
        "from": swept.sender, "to": swept.to, "sendNativeTxHash": swept.sendNativeTxHash,
        "sendERC20TxHash": swept.sendERC20TxHash, "errors": list(swept.errors) or None,
    }  # fmt: skip


@noun("wallet")
class WalletActions(WalletFiles):
    """Wallets: the files that hold keys, ether for fees and RLC outside the hub."""

    @command("wallet show", js=("wallet.checkBalances", "wallet.getAddress"), raw=_show_raw)
    def show(self, address: str | None = None, *, show_private_key: bool = False) -> Balances:
        """Return what a wallet holds: ether in wei, RLC in nRLC.

        Parameters
        ----------
        address
            Whose; default: the client's own wallet.
        show_private_key
            Also return the keys of the client's own wallet. In Python they are in ``.wallet``, the private one as a
            `Secret` that ``.reveal()`` opens; in the shell they are printed.

        Returns
        -------
        Balances
            ``address``, ``wei``, ``nRLC`` (``int``) and, for the own wallet, ``wallet`` with ``address publicKey
            privateKey``, which are None where they were not asked for.

        Raises
        ------
        ValidationError
            When the address is malformed, or the private key of another address is asked for.
        ConfigurationError
            When no address is given and the client has no wallet, or one that keeps its key to itself.

        Source
        ------
        ``eth_getBalance``; ``balanceOf`` of the RLC token.
        """
        if show_private_key and address is not None:
            raise ValidationError(
                "show_private_key shows the keys of the client's own wallet, not those of an address",
                hint="%iexec wallet show --show-private-key",
            )
        who = self._who(address)
        keys = self._keys(show_private_key) if address is None else None
        held, tokens = self._chain.balances(who)
        return Balances(address=who, wei=held, nRLC=tokens, wallet=keys)

    @command(
        "wallet send-ether 0.1 --to 0x7bd4783fdcad405a28052a0d1f11236a741da593",
        spends=True, aliases=("sendETH",), js=("wallet.sendETH",), unit="ether", raw=_sent_raw,
    )  # fmt: skip
    def send_ether(self, amount: Amount, unit: str | None = None, *, to: str) -> Sent:
        """Send ether (wei without a unit in Python, ether on a command line) to an address.

        Parameters
        ----------
        amount
            How much: an ``int`` in wei, or text with a unit such as ``"0.1 ether"``.
        unit
            ``wei``, ``gwei``, ``ether`` ..., where the unit is a word of its own.
        to
            Who gets it.

        Returns
        -------
        Sent
            ``amount`` (wei), ``currency``, ``sender``, ``to`` and ``txHash``.

        Raises
        ------
        ValidationError
            When the amount is malformed or zero, or the address malformed or one that loses money.
        InsufficientFundsError
            When the wallet holds less, or too little for the fee on top; nothing is signed then.
        ConfigurationError
            Where RLC is the chain's own coin: there is no ether.

        Source
        ------
        A transaction without data (``eth_sendRawTransaction``).
        """
        value, receives = wei(amount_of(amount, unit)), receiver(to)
        _check_positive(value, "0.1 ether")
        signer, chain = self._signer("send"), self._chain
        if chain.native:
            raise ConfigurationError(
                "sendETH() is disabled on sidechain, use sendRLC()",
                hint=f'iexec.wallet.send_RLC("1 RLC", to="{receives}")',
            )
        check_keeps(chain, receives)
        held, _ = chain.balances(signer.address)
        check_holds(_TOO_MUCH, value, "wallet", held, signer.address, format_ether)
        text = f"send {format_ether(value)} from wallet {signer.address} to {receives}"
        receipt = pay(self._client, signer, receives, b"", text, value=value)
        return Sent(amount=value, currency="ether", sender=signer.address, to=receives, txHash=receipt.tx_hash)

    @command(
        "wallet send-RLC 1.5 --to 0x7bd4783fdcad405a28052a0d1f11236a741da593",
        spends=True, js=("wallet.sendRLC",), unit="RLC", raw=_sent_raw,
    )  # fmt: skip
    def send_RLC(self, amount: Amount, unit: str | None = None, *, to: str) -> Sent:
        """Send RLC (nRLC without a unit in Python, RLC on a command line) to an address.

        Parameters
        ----------
        amount
            How much: an ``int`` in nRLC, or text with a unit such as ``"0.5 RLC"``.
        unit
            ``RLC`` or ``nRLC``, where the unit is a word of its own.
        to
            Who gets it.

        Returns
        -------
        Sent
            ``amount`` (nRLC), ``currency``, ``sender``, ``to`` and ``txHash``.

        Raises
        ------
        ValidationError
            When the amount is malformed or zero, or the address malformed or one that loses money.
        InsufficientFundsError
            When the wallet holds less RLC, or less ether than the fee; nothing is signed then.

        Source
        ------
        Token function ``transfer``; where RLC is the chain's own coin, a transaction without data.
        """
        value, receives = nrlc(amount_of(amount, unit)), receiver(to)
        _check_positive(value, "0.5 RLC")
        signer, chain = self._signer("send"), self._chain
        check_keeps(chain, receives)
        me = signer.address
        _, held = chain.balances(me)
        check_holds(_TOO_MUCH, value, "wallet", held, me)
        text = f"send {format_rlc(value)} from wallet {me} to {receives}"
        if chain.native:
            receipt = pay(self._client, signer, receives, b"", text, value=value * WEI_PER_NRLC)
        else:
            receipt = pay(self._client, signer, chain.token, abi.TOKEN_TRANSFER.encode(receives, value), text)
            check_event(receipt, chain.token, abi.TRANSFER, "Transfer", sender=me, to=receives, value=value)
        return Sent(amount=value, currency="RLC", sender=me, to=receives, txHash=receipt.tx_hash)

    @command('wallet sendRLC "1.5 RLC" --to 0x7bd4783fdcad405a28052a0d1f11236a741da593', spends=True, raw=_sent_raw)
    def sendRLC(self, amount: Amount, unit: str | None = None, *, to: str) -> Sent:
        """Send RLC (nRLC without a unit, on a command line too) to an address; the older name of ``send-RLC``.

        Parameters
        ----------
        amount
            How much: an ``int`` in nRLC, or text with a unit such as ``"0.5 RLC"``.
        unit
            ``RLC`` or ``nRLC``, where the unit is a word of its own.
        to
            Who gets it.

        Returns
        -------
        Sent
            As of ``wallet send-RLC``.

        Raises
        ------
        ValidationError, InsufficientFundsError
            As ``wallet send-RLC``.

        Source
        ------
        ``iexec wallet sendRLC`` of the official CLI until version 8.
        """
        return self.send_RLC(amount, unit, to=to)

    @command(
        "wallet sweep --to 0x7bd4783fdcad405a28052a0d1f11236a741da593",
        spends=True, js=("wallet.sweep",), raw=_swept_raw,
    )  # fmt: skip
    def sweep(self, *, to: str) -> Swept:
        """Send all RLC and then all ether of the wallet to an address, less the fees; return what left (nRLC, wei).

        What lies in the hub stays there: ``account withdraw`` takes it out first.

        Parameters
        ----------
        to
            Who gets it: another wallet, not a contract.

        Returns
        -------
        Swept
            ``nRLC`` and ``wei`` that arrived, ``sendERC20TxHash`` and ``sendNativeTxHash``, and ``errors``: why the
            ether stayed, where the RLC was sent and the ether could not be.

        Raises
        ------
        ValidationError
            When the address is malformed, the wallet's own, or a contract's.
        InsufficientFundsError
            When the wallet is empty or cannot pay the fees; nothing is signed then.
        Web3ProviderSendError
            When the RLC was not sent, or may have been; then the ether stays.

        Source
        ------
        Token function ``transfer``; a transaction without data of balance minus gas times price.
        """
        return sweep(self._client, receiver(to))

    def _keys(self, with_private: bool) -> WalletKeys:
        signer = self._signer("know its keys")
        if not with_private:
            return WalletKeys(address=signer.address)
        if not isinstance(signer, PrivateKeySigner | KeystoreSigner):
            raise ConfigurationError(f"the wallet {signer.address} keeps its private key to itself")
        key = signer.unsafe_private_key()
        private = Secret("0x" + key.reveal_bytes().hex())
        return WalletKeys(address=signer.address, publicKey=public_key(key.reveal_bytes()), privateKey=private)


def _check_positive(amount: int, example: str) -> None:
    if amount == 0:
        raise ValidationError("Amount to send must be greater than 0", hint=f'give an amount such as "{example}"')

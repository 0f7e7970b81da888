"""Emptying a wallet: RLC first, then the ether that paid for moving it.

Two transactions cannot be one, so the first may be done and the second fail. Both are checked and priced before the
question; the ether goes last, because without it the RLC could not leave; and what happened to each is told.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from iexec_nb.actions.transfers import check_event, check_keeps
from iexec_nb.errors import IExecError, InsufficientFundsError, ValidationError, Web3ProviderSendError
from iexec_nb.protocol.receipts import Swept
from iexec_nb.protocol.types import Address, Bytes32
from iexec_nb.protocol.units import WEI_PER_NRLC, format_ether, format_rlc
from iexec_nb.services import abi

if TYPE_CHECKING:
    from iexec_nb.client import IExec
    from iexec_nb.services.chain import Chain
    from iexec_nb.services.wallet import Signer


def sweep(client: IExec, to: Address) -> Swept:
    """Send all RLC and then all ether of the client's wallet; see ``wallet sweep``."""
    signer, chain = client.require_signer("sweep"), client.chain
    me = signer.address
    _check_receiver(chain, me, to)
    wei, nrlc = chain.balances(me)
    nrlc = 0 if chain.native else nrlc
    token_fee = chain.quote(me, chain.token, _transfer(to, nrlc)).max_fee if nrlc else 0
    ether_fee = _ether_fee(chain, me, to, wei, token_fee, has_rlc=nrlc > 0)
    client.approve(_question(chain, me, to, wei, nrlc, token_fee, ether_fee))
    token_hash = _send_rlc(chain, signer, to, nrlc, token_fee) if nrlc else None
    try:
        sent, native_hash = _send_ether(chain, signer, to, wei, ether_fee)
        errors: tuple[str, ...] = ()
    except KeyboardInterrupt as stop:
        stop.add_note(f"the RLC was sent in transaction {token_hash}" if token_hash else "no RLC was sent")
        raise
    except IExecError as error:
        if token_hash is None:
            raise
        sent, native_hash, errors = 0, None, (f"Failed to transfer native token: {_reason(error)}",)
    return Swept(
        sender=me, to=to, nRLC=sent // WEI_PER_NRLC if chain.native else nrlc, wei=sent,
        sendERC20TxHash=token_hash, sendNativeTxHash=native_hash, errors=errors,
    )  # fmt: skip


def _check_receiver(chain: Chain, me: Address, to: Address) -> None:
    if to == me:
        raise ValidationError("a wallet is not swept into itself", context={"address": me}, hint="give another address")
    check_keeps(chain, to)
    if chain.code([to])[to]:
        raise ValidationError("Cannot sweep to a contract", context={"to": to}, hint="give the address of a wallet")


def _ether_fee(chain: Chain, me: Address, to: Address, wei: int, token_fee: int, *, has_rlc: bool) -> int:
    """Return the most that sending the ether may cost, in wei; 0 where what the RLC leaves will not pay for it."""
    try:
        return chain.quote_all(me, to, at_most=wei - token_fee).max_fee
    except InsufficientFundsError:
        if not has_rlc:
            # Nothing could be sent at all.
            raise
        return 0


def _question(chain: Chain, me: Address, to: Address, wei: int, nrlc: int, token_fee: int, ether_fee: int) -> str:
    coin = "RLC (the chain's coin)" if chain.native else "ether"
    left = wei - token_fee - ether_fee
    lines = [f"send everything that wallet {me} holds to {to}"]
    if nrlc:
        lines.append(f"  RLC: {format_rlc(nrlc)}, which is all")
    if ether_fee:
        lines.append(f"  {coin}: all of the {_coin(chain, wei)} that the fees leave, at least {_coin(chain, left)}")
    else:
        lines.append(f"  {coin}: none of the {_coin(chain, wei)}, which does not pay for its own sending")
    return "\n".join([*lines, f"  fees: at most {_coin(chain, token_fee + ether_fee)}"])


def _coin(chain: Chain, wei: int) -> str:
    return format_ether(wei).replace(" ether", " RLC") if chain.native else format_ether(wei)


def _send_rlc(chain: Chain, signer: Signer, to: Address, nrlc: int, max_fee: int) -> Bytes32:
    try:
        receipt = chain.send(signer, chain.token, _transfer(to, nrlc), max_fee=max_fee)
        check_event(receipt, chain.token, abi.TRANSFER, "Transfer", sender=signer.address, to=to, value=nrlc)
    except IExecError as error:
        raise Web3ProviderSendError(
            f"Failed to sweep ERC20, sweep aborted. errors: Failed to transfer ERC20: {error.message}",
            tx_hash=getattr(error, "tx_hash", None),
            context=error.context,
            hint=error.hint,
        ) from error
    return receipt.tx_hash


def _send_ether(chain: Chain, signer: Signer, to: Address, wei: int, max_fee: int) -> tuple[int, Bytes32]:
    if not max_fee:
        raise InsufficientFundsError("Tx fees are greater than wallet balance")
    # What came in since the question was not agreed to.
    sent, receipt = chain.send_all(signer, to, at_most=wei, max_fee=max_fee)
    return sent, receipt.tx_hash


def _reason(error: IExecError) -> str:
    tx_hash = getattr(error, "tx_hash", None)
    return f"{error.message} (transaction {tx_hash})" if tx_hash else error.message


def _transfer(to: Address, nrlc: int) -> bytes:
    return abi.TOKEN_TRANSFER.encode(to, nrlc)

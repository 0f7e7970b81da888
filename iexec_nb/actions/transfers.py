"""Moving money: who may receive it, what it costs, and whether it arrived.

Whatever moves RLC or ether goes through `pay`: the transaction is simulated and priced before the question, the
question names amount, receiver and fee, and what is sent afterwards costs no more than that.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from iexec_nb.errors import InsufficientFundsError, ValidationError, Web3ProviderSendError
from iexec_nb.protocol.types import NULL_ADDRESS, Address, address
from iexec_nb.protocol.units import format_ether, format_rlc

if TYPE_CHECKING:
    from iexec_nb.client import IExec
    from iexec_nb.services.abi import Event
    from iexec_nb.services.chain import Chain
    from iexec_nb.services.receipts import Receipt
    from iexec_nb.services.wallet import Signer


def receiver(given: object, name: str = "to") -> Address:
    """Return the address that gets money, or the right to take some.

    Raises
    ------
    ValidationError
        When it is malformed, nobody's, or has capitals that are not those of its EIP-55 checksum: then a digit is
        wrong, and what is sent there is gone.
    """
    who = address(given, name)
    if who == NULL_ADDRESS:
        raise ValidationError(f"{name} is the zero address: nobody has its key", hint=f"give {name} as an address")
    text = given.removeprefix("0x").removeprefix("0X") if isinstance(given, str) else who[2:]
    if text not in (text.lower(), text.upper(), who[2:]):
        raise ValidationError(
            f"{given} is not a valid ethereum address: its checksum is wrong, so a digit may be mistyped",
            context={"argument": name, "with these digits": who},
            hint="copy the address again; without a checksum it is written in lower case",
        )
    return who


def check_keeps(chain: Chain, to: Address) -> None:
    """Check that money can be taken out again where it is sent.

    Raises
    ------
    ValidationError
        When it is a contract of iExec, which gives nothing back that was sent to it this way.
    """
    if to in (chain.hub_address, chain.token, *chain.hub.registries.values()):
        raise ValidationError(
            f"{to} is a contract of iExec, and what is sent to it this way is lost",
            hint='RLC goes into the hub with: %iexec account deposit "1 RLC"',
        )


def pay(client: IExec, signer: Signer, to: Address, data: bytes, text: str, *, value: int = 0) -> Receipt:
    """Price a transaction, ask, send it once, and return its receipt.

    Parameters
    ----------
    client
        Who asks and sends.
    signer
        The wallet that pays: the one that the text names, whichever the client has after the question.
    to, data, value
        The contract, the call, and wei to send along.
    text
        What the person is asked, with amounts and receiver; the fee is added.

    Raises
    ------
    Web3ProviderCallError, InsufficientFundsError, ConfigurationError
        When it would be refused, cannot be paid, or the answer is no; nothing was signed.
    Web3ProviderSendError
        As `Chain.send`.
    """
    chain = client.chain
    quote = chain.quote(signer.address, to, data, value=value)
    client.approve(f"{text}{fee_line(quote.max_fee)}")
    return chain.send(signer, to, data, value=value, max_fee=quote.max_fee)


def fee_line(max_fee: int) -> str:
    """Return the line of a question that tells the most that the fees come to, given in wei."""
    return f"\n  fee: at most {format_ether(max_fee)}"


def check_event(receipt: Receipt, emitter: Address, event: Event, what: str, **values: object) -> None:
    """Check that a contract says what was meant to happen.

    Parameters
    ----------
    receipt, emitter, event
        Where it says so.
    what
        What was meant to happen, for the message.
    values
        Arguments of the event; ``sender`` for ``from``, which is a word of Python's.

    Raises
    ------
    Web3ProviderSendError
        When it does not.
    """
    wanted = {"from" if name == "sender" else name: value for name, value in values.items()}
    for log in receipt.logs:
        if log.address == emitter and event.matches(log) and _holds(event.decode(log), wanted):
            return
    raise Web3ProviderSendError(
        f"{what} not confirmed",
        tx_hash=receipt.tx_hash,
        context={"transaction": receipt.tx_hash, "block": receipt.block_number},
        hint="the transaction was mined: look it up before you send another",
    )


def check_holds(
    message: str, wanted: int, where: str, held: int, who: Address, show: Callable[[int], str] = format_rlc
) -> None:
    """Check that an amount is there.

    Parameters
    ----------
    message
        What is said where it is not.
    wanted, held
        The amounts in the smallest unit.
    where
        What holds it, for the message.
    who
        Whose it is.
    show
        Writes an amount with its unit; of RLC unless given.

    Raises
    ------
    InsufficientFundsError
        When more is wanted than is held.
    """
    if wanted > held:
        raise InsufficientFundsError(
            message,
            context={"wanted": show(wanted), where: show(held), "missing": show(wanted - held), "address": who},
            hint=f"at most {show(held)} is there",
        )


def _holds(found: Mapping[str, object], wanted: Mapping[str, object]) -> bool:
    return all(found[name] == value for name, value in wanted.items())

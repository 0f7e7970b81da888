"""What a match would need, asked of the node before anything is signed.

A node can only simulate what is valid, and without signatures a match is not. But the hub also takes orders that their
owners have presigned, which is a word in its storage, and nodes simulate with other words in it if they are told so
(state overrides). So the orders that are not signed yet are taken as presigned, and a requester that is too poor as
rich enough: the real contract then says how much gas the match takes. Nothing of that leaves the node.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from iexec_nb.protocol.orders import Order
from iexec_nb.protocol.typed_data import order_hash
from iexec_nb.protocol.types import NULL_ADDRESS, Address, Bytes32, hexbytes, keccak
from iexec_nb.services import abi
from iexec_nb.services.answers import RpcFailure, quantity
from iexec_nb.services.fees import Market
from iexec_nb.services.reads import Reader

STORAGE = 0x5862653C6982C162832160CF30593645E8487B257E44D77CDD6B51EEE2651B00
"""Where the hub keeps its state: ERC-7201 ``iexec.poco.storage.PocoStorage``."""
_BALANCES, _PRESIGNED = STORAGE + 8, STORAGE + 12
_PLENTY = 2**100


@dataclass(frozen=True, slots=True, kw_only=True)
class Rehearsal:
    """What a match needs: units of gas (None where the node cannot say it), and wei for each, now and at most."""

    units: int | None
    price: int
    max_price: int


def rehearse_match(
    reader: Reader, orders: Sequence[Order], payer: Address, total: int, gas_price: int | None = None
) -> Rehearsal:
    """Return what the transaction of a match would need, for a payer who can pay.

    Parameters
    ----------
    reader
        The chain.
    orders
        The orders of app, dataset (the null order for none), workerpool and request, each with a salt; those with an
        empty signature are taken as presigned by the payer.
    payer
        The requester, who sends the transaction.
    total
        What the match costs, in nRLC.
    gas_price
        Wei for a unit of gas, instead of what the node proposes.

    Raises
    ------
    Web3ProviderCallError
        When the node does not answer.

    Source
    ------
    Contract function ``matchOrders``; state overrides of ``eth_estimateGas``.
    """
    call = {
        "from": payer,
        "to": reader.hub_address,
        "data": "0x" + abi.MATCH_ORDERS.encode(*(order.to_abi() for order in orders)).hex(),
    }
    unsigned = [order_hash(one, reader.domain) for one in orders if one.sign == "0x" and one.resource != NULL_ADDRESS]
    words = {_slot(one, _PRESIGNED): _word(int(payer, 16)) for one in unsigned}
    # More than it has is no harm, and what it has need not be known here.
    words[_slot("0x" + payer[2:].rjust(64, "0"), _BALANCES)] = _word(total)
    overrides = {reader.hub_address: {"stateDiff": words}, payer: {"balance": hex(_PLENTY)}}
    block, price, tip, units = reader.rpc.outcomes(
        [
            ("eth_getBlockByNumber", ["latest", False]),
            ("eth_gasPrice", []),
            ("eth_maxPriorityFeePerGas", []),
            ("eth_estimateGas", [call, "latest", overrides]),
        ]
    )
    market = Market.from_rpc(block, price, tip, reader.rpc.host)
    # On a chain without gas costs a wallet without coins sends without the tip that the node proposes.
    free = market.base == 0 and gas_price is None
    return Rehearsal(
        units=None if isinstance(units, RpcFailure) else quantity(units),
        price=market.price if gas_price is None else gas_price,
        max_price=0 if free else max(market.fees(gas_price).values()),
    )


def _slot(key: Bytes32, mapping: int) -> str:
    """Return where a mapping keeps the value of a key."""
    return "0x" + keccak(hexbytes(key) + mapping.to_bytes(32, "big")).hex()


def _word(value: int) -> str:
    return "0x" + value.to_bytes(32, "big").hex()

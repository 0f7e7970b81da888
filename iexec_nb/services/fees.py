"""What a unit of gas costs: what the node says, what the person chose, and what was shown before it was agreed to.

Prices are in wei. A block's base fee may rise by an eighth from one block to the next, so that a price which is agreed
to now may not do in a minute; and a price that has risen above what was shown was not agreed to.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from iexec_nb.errors import ConfigurationError, Web3ProviderCallError, Web3ProviderSendError
from iexec_nb.protocol.types import shown
from iexec_nb.protocol.units import format_ether
from iexec_nb.services.answers import RpcFailure, quantity

Fees = Mapping[str, int]
"""Either ``gasPrice``, or ``maxFeePerGas`` and ``maxPriorityFeePerGas`` (EIP-1559), in wei."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Market:
    """What the node says: the block's base fee (None before EIP-1559) and gas limit, its gas price and its tip."""

    base: int | None
    gas_limit: int
    price: int
    tip: int

    @classmethod
    def from_rpc(cls, block: object, price: object, tip: object, host: str) -> Market:
        """Return the market in a node's answers; a node that knows no tip gets one from its gas price.

        Raises
        ------
        Web3ProviderCallError
            When they are no block and no price.
        """
        for answer in (block, price):
            if isinstance(answer, RpcFailure):
                raise answer.error(host)
        if not isinstance(block, dict):
            raise Web3ProviderCallError(f"the node answered {shown(block, 60)} where a block was expected")
        base = None if block.get("baseFeePerGas") is None else quantity(block["baseFeePerGas"])
        usual = quantity(price)
        known = quantity(tip) if isinstance(tip, str) else max(usual - (base or 0), 0)
        return cls(base=base, gas_limit=quantity(block.get("gasLimit")), price=usual, tip=known)

    def fees(self, gas_price: int | None = None) -> Fees:
        """Return the fees of a transaction: the fixed `gas_price`, else what gets it into one of the next blocks.

        Raises
        ------
        ConfigurationError
            When `gas_price` is below the base fee.
        """
        if gas_price is not None or self.base is None:
            return {"gasPrice": self._fixed(gas_price)}
        # Twice the base fee outlives six full blocks, and what is not needed is not charged.
        return {"maxFeePerGas": 2 * self.base + self.tip, "maxPriorityFeePerGas": self.tip}

    def fees_paid_whole(self, gas_price: int | None = None) -> Fees:
        """Return fees of which nothing comes back, for a transaction that empties a wallet.

        Raises
        ------
        ConfigurationError
            When `gas_price` is below the base fee.
        """
        if gas_price is not None or not self.base:
            return {"gasPrice": self._fixed(gas_price)}
        # What is agreed to and not charged stays behind, so the tip takes it; half as much again outlives three blocks.
        price = self.base + self.base // 2 + self.tip
        return {"maxFeePerGas": price, "maxPriorityFeePerGas": price}

    def within(self, fees: Fees, gas: int, max_fee: int | None) -> Fees:
        """Return fees that come to `max_fee` at most: these, or lower ones that the next block still takes.

        Raises
        ------
        Web3ProviderSendError
            When the base fee has risen above that.
        """
        if max_fee is None or gas * max(fees.values()) <= max_fee:
            return fees
        price = max_fee // gas
        if "gasPrice" in fees or price < (self.base or 0):
            raise Web3ProviderSendError(
                f"the fees have risen above the {format_ether(max_fee)} that was shown; nothing was sent",
                context={"fees now": format_ether(gas * max(fees.values()))},
                hint="run it again to see the new fees",
            )
        return {"maxFeePerGas": price, "maxPriorityFeePerGas": min(fees["maxPriorityFeePerGas"], price)}

    def _fixed(self, gas_price: int | None) -> int:
        if gas_price is None:
            return self.price
        if self.base is not None and gas_price < self.base:
            raise ConfigurationError(
                f"a gas price of {gas_price} wei is below the chain's {self.base} wei; nothing was sent",
                hint=f'gas_price="{self.base * 5 // 4} wei" (--gas-price), or leave it out',
            )
        return gas_price

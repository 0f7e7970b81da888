"""What a node answers, without what talks to it: numbers, bytes and refusals, each checked before it is used."""

from __future__ import annotations

import re
from dataclasses import dataclass

from iexec_nb.errors import Web3ProviderCallError
from iexec_nb.protocol.types import shown
from iexec_nb.services.reverts import revert_reason

MAX_BATCH = 1_000
"""Requests in one batch: what geth takes unless its owner says otherwise."""

_QUANTITY = re.compile(r"0x[0-9a-fA-F]{1,64}")
_DATA = re.compile(r"0x(?:[0-9a-fA-F]{2})*")
_TRANSIENT_CODES = frozenset({-32005, -32016, -32097, 429})
_TRANSIENT_WORDS = ("rate limit", "too many requests", "capacity exceeded")
_CONTRACT_WORDS = ("revert", "invalid opcode", "out of gas", "vm execution error", "vm exception", "always failing")


@dataclass(frozen=True)
class RpcFailure:
    """A node's refusal of one request: what it said, and the bytes of the revert where a contract refused."""

    method: str
    code: int
    message: str
    data: bytes = b""

    @property
    def reverted(self) -> bool:
        """Whether a contract refused, as opposed to the node."""
        return self.code == 3 or bool(self.data) or any(words in self.message.lower() for words in _CONTRACT_WORDS)

    @property
    def transient(self) -> bool:
        """Whether the same request may succeed a moment later."""
        return self.code in _TRANSIENT_CODES or any(word in self.message.lower() for word in _TRANSIENT_WORDS)

    @property
    def reason(self) -> str:
        """One sentence: why the contract refused, or what the node said."""
        return revert_reason(self.data, self.message) if self.reverted else self.message

    def error(self, host: str) -> Web3ProviderCallError:
        """Return the exception that says this."""
        context = {"method": self.method, "node": host, "code": self.code}
        if self.reverted:
            return Web3ProviderCallError(f"the contract refused: {self.reason}", context=context)
        return Web3ProviderCallError(f"the node refused {self.method}: {self.message}", context=context)


def quantity(value: object) -> int:
    """Return a JSON-RPC quantity (``0x`` text) as a number.

    Raises
    ------
    Web3ProviderCallError
        When it is not one.
    """
    if isinstance(value, str) and _QUANTITY.fullmatch(value):
        return int(value, 16)
    raise Web3ProviderCallError(f"the node answered {shown(value, 60)} where a number was expected")


def hexdata(value: object) -> bytes:
    """Return JSON-RPC data (``0x`` text) as bytes.

    Raises
    ------
    Web3ProviderCallError
        When it is not data.
    """
    if isinstance(value, str) and _DATA.fullmatch(value):
        return bytes.fromhex(value[2:])
    raise Web3ProviderCallError(f"the node answered {shown(value, 60)} where data was expected")

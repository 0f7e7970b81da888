"""Many deals from one request: a market names deals, and what they hold is read from the chain."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from iexec_nb.errors import ValidationError, Web3ProviderCallError
from iexec_nb.protocol.execution import Deal
from iexec_nb.protocol.types import NULL_ADDRESS, Bytes32, bytes32, hexbytes
from iexec_nb.services import abi
from iexec_nb.services.reads import Call

if TYPE_CHECKING:
    from iexec_nb.services.chain import Chain


def read_deals(chain: Chain, dealids: Sequence[Bytes32]) -> list[Deal | None]:
    """Return deals in the order of their ids, a thousand from each request; None for one that does not exist.

    Raises
    ------
    Web3ProviderCallError
        When the node does not answer, or with something else.

    Source
    ------
    Contract function ``viewDeal``.
    """
    wanted = [bytes32(one, "dealid") for one in dealids]
    found = chain.read([Call(chain.hub_address, abi.VIEW_DEAL, [hexbytes(one)]) for one in wanted])
    deals: list[Deal | None] = []
    for dealid, raw in zip(wanted, found, strict=True):
        if raw[0][0] == NULL_ADDRESS:
            deals.append(None)
            continue
        seconds = chain.category(raw[4]).workClockTimeRef
        try:
            deal = Deal.from_chain(
                dealid,
                raw,
                final_deadline_ratio=chain.timeout_ratio,
                category_seconds=seconds,
                chain_id=chain.chain_id,
            )
        except ValidationError as error:
            # What breaks a rule here is the node's answer and not the user's argument.
            raise Web3ProviderCallError(f"the node sent a malformed deal {dealid}: {error.message}") from error
        deals.append(deal)
    return deals

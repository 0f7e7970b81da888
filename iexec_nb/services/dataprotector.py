"""What DataProtector keeps outside of the hub: the contract that makes protected data, and the indexes that list it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from iexec_nb.errors import ValidationError
from iexec_nb.protocol.protected_records import ProtectedData
from iexec_nb.protocol.types import Address
from iexec_nb.services.subgraph import MAX_PAGE, Subgraph

if TYPE_CHECKING:
    from iexec_nb.services.chain import Chain

_LISTED = """
query ($where: ProtectedData_filter, $first: Int!, $skip: Int!) {
  protectedDatas(where: $where, skip: $skip, first: $first, orderBy: creationTimestamp, orderDirection: desc) {
    id
    name
    owner { id }
    schema { id }
    creationTimestamp
    multiaddr
  }
}
"""


def protected_data(
    subgraph: Subgraph, filters: Sequence[Mapping[str, Any]], *, page_size: int = MAX_PAGE
) -> Iterator[ProtectedData]:
    """Yield what fulfils all filters, from the newest to the oldest, each once.

    Parameters
    ----------
    subgraph
        DataProtector's.
    filters
        Parts of ``where: {and: [...]}``.
    page_size
        Rows of one question.

    Raises
    ------
    SubgraphCallError
        When the subgraph does not answer, or with rows that are none of protected data.
    """
    rows = subgraph.newest(_LISTED, "protectedDatas", time="creationTimestamp", filters=filters, page_size=page_size)
    for row in rows:
        try:
            yield ProtectedData.from_subgraph(row)
        except ValidationError as error:
            subgraph.http.fail("The subgraph's answer is not of protected data", cause=error, reason=error.message)


def is_whitelist(chain: Chain, where: Address) -> bool:
    """Return whether there is a contract with ``keyHasPurpose`` (ERC-734), as the SDK looks for it: in its code."""
    from iexec_nb.services import abi

    return abi.KEY_HAS_PURPOSE.selector in chain.code([where])[where]

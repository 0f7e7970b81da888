"""Everything on the chain that decides whether four orders match, read in two requests.

The first asks what can be asked at once: registrations, owners, consumed volumes, presignatures, group memberships, the
requester's stake. The second needs the owners: whether they signed, and the stake of the workerpool's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from iexec_nb.protocol.matching import ChainFacts
from iexec_nb.protocol.orders import AppOrder, DatasetOrder, Order, RequestOrder, WorkerpoolOrder
from iexec_nb.protocol.typed_data import order_hash
from iexec_nb.protocol.types import NULL_ADDRESS, Address, hexbytes
from iexec_nb.services import abi
from iexec_nb.services.reads import Call, Read, Reader

GROUP_MEMBER_PURPOSE = 4


def group_call(restrict: Address, account: Address) -> Read:
    """Return the read that asks a group contract (ERC-734) whether an account is a member."""
    return Call(restrict, abi.KEY_HAS_PURPOSE, [bytes(12) + hexbytes(account), GROUP_MEMBER_PURPOSE])


def read_facts(
    chain: Reader,
    apporder: AppOrder,
    datasetorder: DatasetOrder | None,
    workerpoolorder: WorkerpoolOrder,
    requestorder: RequestOrder,
) -> ChainFacts:
    """Return the facts for `protocol.matching`.

    Parameters
    ----------
    chain
        What reads.
    apporder, datasetorder, workerpoolorder, requestorder
        The orders; without a dataset, None or the null order. Of an order that is not signed, neither the
        remaining volume nor the signature is a fact.

    Raises
    ------
    Web3ProviderCallError
        When the node does not answer.
    """
    dataset = datasetorder if datasetorder is not None and datasetorder.dataset != NULL_ADDRESS else None
    sold: list[Order] = [order for order in (apporder, dataset, workerpoolorder) if order is not None]
    signed = [(order, order_hash(order, chain.domain)) for order in (*sold, requestorder) if order.is_signed]
    groups = sorted(_restrictions(apporder, dataset, workerpoolorder, requestorder))
    requester = requestorder.requester
    hub = chain.hub_address

    first = _Answers(
        chain,
        {
            "categories": Call(hub, abi.COUNT_CATEGORY),
            **{
                ("registered", o.kind): Call(chain.hub.registries[o.kind], abi.IS_REGISTERED, [o.resource])
                for o in sold
            },
            **{("owner", o.kind): Call(o.resource, abi.OWNER) for o in sold},
            **{("consumed", digest): Call(hub, abi.VIEW_CONSUMED, [hexbytes(digest)]) for _, digest in signed},
            **{("presigned", digest): Call(hub, abi.VIEW_PRESIGNED, [hexbytes(digest)]) for _, digest in signed},
            ("stake", requester): Call(hub, abi.VIEW_ACCOUNT, [requester]),
            **{("group", *pair): group_call(*pair) for pair in groups},
        },
    )
    owners = {o.resource: owner for o in sold if (owner := first["owner", o.kind]) is not None}
    signers = {digest: owners.get(o.resource) if o in sold else requester for o, digest in signed}
    payer = owners.get(workerpoolorder.workerpool)
    second = _Answers(
        chain,
        {
            **{
                ("signed", digest): Call(
                    hub, abi.VERIFY_SIGNATURE, [who, hexbytes(digest), hexbytes(order.sign or "0x")]
                )
                for order, digest in signed
                if (who := signers[digest]) is not None
            },
            **({("stake", payer): Call(hub, abi.VIEW_ACCOUNT, [payer])} if payer is not None else {}),
        },
    )
    members = {pair for pair in groups if first["group", *pair] is True}
    return ChainFacts(
        domain=chain.domain,
        remaining={
            digest: max(order.volume - used, 0)
            for order, digest in signed
            if (used := first["consumed", digest]) is not None
        },
        deployed={(o.kind, o.resource): first["registered", o.kind] is True for o in sold},
        owners=owners,
        stakes={
            **_stake(requester, first["stake", requester]),
            **(_stake(payer, second["stake", payer]) if payer is not None else {}),
        },
        valid_signatures={
            digest: who is not None and (second["signed", digest] is True or first["presigned", digest] == who)
            for digest, who in signers.items()
        },
        groups=lambda restrict, account: (restrict, account) in members,
        category_count=first["categories"],
    )


class _Answers:
    """The values of one request, by name; None for what a contract refused."""

    def __init__(self, chain: Reader, reads: dict[Any, Read]) -> None:
        self._values = dict(zip(reads, chain.attempt(list(reads.values())), strict=True))

    def __getitem__(self, name: Any) -> Any:
        return self._values.get(name)


def _stake(account: Address, answer: Sequence[int] | None) -> dict[Address, int]:
    return {} if answer is None else {account: answer[0]}


def _restrictions(
    apporder: AppOrder, dataset: DatasetOrder | None, workerpoolorder: WorkerpoolOrder, requestorder: RequestOrder
) -> set[tuple[Address, Address]]:
    return {
        pair
        for pair in _pairs(apporder, dataset, workerpoolorder, requestorder)
        if pair[0] not in (NULL_ADDRESS, pair[1])
    }


def _pairs(
    apporder: AppOrder, dataset: DatasetOrder | None, workerpoolorder: WorkerpoolOrder, requestorder: RequestOrder
) -> Iterator[tuple[Address, Address]]:
    app, workerpool, requester = apporder.app, workerpoolorder.workerpool, requestorder.requester
    data = NULL_ADDRESS if dataset is None else dataset.dataset
    yield requestorder.workerpool, workerpool
    yield from ((apporder.datasetrestrict, data), (workerpoolorder.datasetrestrict, data))
    yield from ((apporder.workerpoolrestrict, workerpool), (workerpoolorder.apprestrict, app))
    yield from ((apporder.requesterrestrict, requester), (workerpoolorder.requesterrestrict, requester))
    if dataset is not None:
        yield from ((dataset.apprestrict, app), (dataset.workerpoolrestrict, workerpool))
        yield dataset.requesterrestrict, requester

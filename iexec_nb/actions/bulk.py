"""Bulks: many datasets for one request, as orders on IPFS that its ``bulk_cid`` names.

Task i of the request reads slice i of the bulk. The hub does not see a bulk when it matches; the worker asks it about
each order (``assertDatasetDealCompatibility``), when the task is paid for already. So every rule of that contract
function is asked here before, when a bulk is made and when a request that names one is signed.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Any

from iexec_nb.errors import ConfigurationError, IExecError, IpfsGatewayCallError, ValidationError
from iexec_nb.protocol import foreign, tags
from iexec_nb.protocol import params as request_params
from iexec_nb.protocol.match_rules import restriction_rules
from iexec_nb.protocol.orders import DATASET_INFINITE_VOLUME, DatasetOrder, RequestOrder
from iexec_nb.protocol.receipts import DatasetBulk
from iexec_nb.protocol.typed_data import order_hash
from iexec_nb.protocol.types import NULL_ADDRESS, Address, Bytes32, shown, uint256

if TYPE_CHECKING:
    from iexec_nb.client import IExec

MAX_DATASETS_PER_TASK = 100
THEGRAPH_IPFS = "https://ipfs.thegraph.com"
THEGRAPH_CHAINS = frozenset({421614, 42161})
"""Chains whose subgraph lists the datasets of bulks; it reads them from an IPFS node of its own."""

MAX_DATASETS = 100_000
"""The most datasets that are read of one bulk: each is asked about on the chain, and kept in memory."""

_MAX_BYTES = 1 << 20
_MOST_SHOWN = 10
_THREADS = 8
Problem = tuple[str, str]


def prepare(client: IExec, orders: Sequence[DatasetOrder], most: object) -> DatasetBulk:
    """Check dataset orders, upload them in slices of at most `most`, and return the bulk.

    Raises
    ------
    ValidationError
        With everything that is wrong with any of the orders.
    ConfigurationError
        When the chain's workers know no bulks.
    IpfsGatewayCallError
        When an upload fails.
    """
    size = _size(most)
    if not orders:
        raise ValidationError(
            "datasetorders field must have at least 1 items", hint="give signed dataset orders that allow a bulk"
        )
    if not client.require_tdx:
        raise ConfigurationError(
            f"Bulk processing is not available on network {client.network.name}", hint="use a live network"
        )
    found = [problem for i, order in enumerate(orders) for problem in _unfit(order, f"datasetorders[{i}]")]
    refuse(found or _not_genuine(client, orders, [f"datasetorders[{i}]" for i in range(len(orders))]))
    slices = [[one.to_json() for one in orders[at : at + size]] for at in range(0, len(orders), size)]
    contents = [_text(one) for one in slices]
    cids = [client.ipfs.add(content) for content in contents]
    root = _text(cids)
    cid = client.ipfs.add(root)
    if client.network.chain_id in THEGRAPH_CHAINS:
        _copy(client, [*contents, root])
    return DatasetBulk(cid=cid, volume=len(slices), datasets=len(orders))


def datasets(client: IExec, cid: str, tasks: int) -> list[tuple[Address, ...]]:
    """Return which datasets each task of a bulk reads: those of slice i for task i.

    Parameters
    ----------
    client
        Who reads the bulk.
    cid
        The ``bulk_cid`` of the request.
    tasks
        How many slices are read.

    Raises
    ------
    ValidationError
        When it is no bulk.
    IpfsGatewayCallError
        When the gateway does not serve it.
    """
    found = _slices(client, cid, tasks)
    return [tuple(one.dataset for one in found.orders[start:end]) for start, end in itertools.pairwise(found.starts)]


def problems(
    client: IExec,
    request: RequestOrder,
    *,
    app: Address | None = None,
    workerpool: Address | None = None,
    tag: Bytes32 | None = None,
) -> list[Problem]:
    """Return what would make the tasks of a request with a bulk fail, as pairs of message and hint.

    Parameters
    ----------
    client
        Who reads the bulk, the chain and the secret service.
    request
        A request order; without ``bulk_cid`` in its params there is nothing to find.
    app, workerpool, tag
        The parties and the tag of the deal where they are known already; else those of the request.
    """
    cid = request_params.loads(request.params).get("bulk_cid")
    if cid is None:
        return []
    deal_tag = tag if tag is not None else request.tag
    found = list(_request_rules(request, deal_tag))
    try:
        slices = _slices(client, cid, request.volume)
    except IExecError as error:
        hint = "make it again: order.prepare_dataset_bulk(...)"
        return [*found, (f"The bulk {cid} cannot be used: {error.message}", hint)]
    if request.volume > len(slices.cids):
        message = f"The bulk {cid} has {len(slices.cids)} slices, so that tasks from the {len(slices.cids) + 1}th fail"
        found.append((message, f"sign the requestorder with volume={len(slices.cids)}"))
    pool = workerpool or (request.workerpool if request.workerpool != NULL_ADDRESS else None)
    parties = {"app": app or request.app, "workerpool": pool, "requester": request.requester}
    for name, order in zip(slices.names, slices.orders, strict=True):
        found += _unfit(order, name)
        found += _not_compatible(client, order, name, {**parties, "dataset": order.dataset}, deal_tag)
    found += _not_genuine(client, slices.orders, slices.names)
    if tags.has(deal_tag, "tee"):
        found += _without_keys(client, slices.orders)
    if len(found) > _MOST_SHOWN:
        found[_MOST_SHOWN:] = [(f"And {len(found) - _MOST_SHOWN} more of the same bulk.", "")]
    return found


def refuse(found: list[Problem]) -> None:
    """Raise when there are problems.

    Raises
    ------
    ValidationError
        With the first of them and the number of the others; the hint is the first one's.
    """
    if found:
        messages = [message for message, _ in found[:_MOST_SHOWN]]
        more = f"; and {len(found) - _MOST_SHOWN} more" if len(found) > _MOST_SHOWN else ""
        raise ValidationError("; ".join(messages) + more, hint=found[0][1])


class _Slices:
    """The orders of those slices of a bulk that a request uses, each with the name by which a message calls it."""

    def __init__(self, cids: list[str]) -> None:
        self.cids = cids
        self.orders: list[DatasetOrder] = []
        self.names: list[str] = []
        self.starts = [0]
        """Where each slice begins among the orders, and where the last one ends."""


def _slices(client: IExec, cid: str, tasks: int) -> _Slices:
    cids = _listed(client, cid, "it is not a list of the CIDs of slices")
    if not cids or not all(isinstance(one, str) for one in cids):
        raise ValidationError("it is not a list of the CIDs of slices")
    found = _Slices(cids)
    for index, one in enumerate(cids[:tasks]):
        content = _listed(client, one, f"slice {index} is not a list of dataset orders")
        for position, body in enumerate(content):
            found.orders.append(DatasetOrder.from_json(body))
            found.names.append(f"order {position} of slice {index}")
        if len(found.orders) > MAX_DATASETS or index >= MAX_DATASETS:
            raise ValidationError(f"it has more than {MAX_DATASETS} datasets")
        found.starts.append(len(found.orders))
    return found


def _listed(client: IExec, cid: str, otherwise: str) -> list[Any]:
    content = client.ipfs.get(cid, max_bytes=_MAX_BYTES)
    with suppress(ValueError):
        if isinstance(found := foreign.loads(content), list):
            return found
    raise ValidationError(otherwise)


def _request_rules(request: RequestOrder, tag: Bytes32) -> Iterator[Problem]:
    if request.dataset != NULL_ADDRESS:
        message = f"A request with a bulk takes no dataset of its own (dataset {request.dataset})."
        yield message, "sign the requestorder without dataset"
    if not tags.has(tag, "tee"):
        yield "bulk_cid is not supported for non TEE tasks.", 'sign the requestorder with tag="tee,tdx"'


def _unfit(order: DatasetOrder, name: str) -> Iterator[Problem]:
    """Yield what keeps an order out of any bulk, in the words of the SDK."""
    hint = "its owner signs one for bulks with datasetprice=0 and volume=9007199254740991"
    if order.datasetprice != 0:
        yield f"{name}.datasetprice ({order.datasetprice}) is not valid for bulk datasetorder expected 0", hint
    # One less is taken, too, because orders of older programs have it.
    if order.volume < DATASET_INFINITE_VOLUME - 1:
        message = f"{name}.volume ({order.volume}) is not valid for bulk datasetorder expected DATASET_INFINITE_VOLUME"
        yield f"{message} ({DATASET_INFINITE_VOLUME})", hint
    if not order.is_signed:
        yield f"{name}.sign is a required field", "sign it first: order.sign(...)"


def _not_genuine(client: IExec, orders: Sequence[DatasetOrder], names: Sequence[str]) -> list[Problem]:
    """Return which orders are of no dataset, revoked, or not signed by the owner."""
    chain = client.chain
    signed = [(order, name) for order, name in zip(orders, names, strict=True) if order.is_signed]
    datasets = sorted({order.dataset for order, _ in signed})
    registered = chain.registered("dataset", datasets)
    owners = chain.owners([one for one in datasets if registered[one]])
    consumed = chain.consumed([order_hash(order, chain.domain) for order, _ in signed])
    found: list[Problem] = []
    known = []
    for order, name in signed:
        if order.dataset not in owners:
            found.append((f"{name}: No dataset deployed at address {order.dataset}", "check the address and the chain"))
            continue
        known.append((owners[order.dataset], order, name))
        if consumed[order_hash(order, chain.domain)] >= order.volume:
            message = f"{name}: Dataset order is revoked or fully consumed (dataset {order.dataset})"
            found.append((message, "ask its owner for a new order"))
    valid = chain.verify_signatures([(owner, order) for owner, order, _ in known])
    for (owner, order, name), accepted in zip(known, valid, strict=True):
        if not accepted:
            message = f"{name}: Invalid dataset order signature (dataset {order.dataset})"
            found.append((message, f"{owner} has to sign it for chain {chain.chain_id}"))
    return found


def _not_compatible(
    client: IExec, order: DatasetOrder, name: str, parties: dict[str, Address | None], tag: Bytes32
) -> Iterator[Problem]:
    for reason in restriction_rules(order, parties, client.chain.group_member):
        yield f"{name}: {reason.message}", reason.fix
    if lacking := tags.missing(tags.without_frameworks(order.tag), tag):
        message = f"{name}: needs tags [{','.join(lacking)}] that the deal does not have"
        yield message, f"sign the requestorder with the tag {','.join(lacking)} as well"


def _without_keys(client: IExec, orders: Iterable[DatasetOrder]) -> list[Problem]:
    datasets = list(dict.fromkeys(order.dataset for order in orders))
    has_key = client.sms.has_web3
    # One question for each dataset: a thousand of them one after the other would take minutes.
    with ThreadPoolExecutor(_THREADS) as threads:
        known = list(threads.map(has_key, datasets))
    lacking = [dataset for dataset, has in zip(datasets, known, strict=True) if not has]
    return [
        (
            f"Dataset encryption key is not set for dataset {dataset} in the SMS. Dataset decryption will fail.",
            f"dataset.push_secret({dataset!r})",
        )
        for dataset in lacking
    ]


def _copy(client: IExec, contents: Sequence[bytes]) -> None:
    """Give the subgraph's IPFS node a copy; the bulk works without it, only its lists of datasets do not."""
    from iexec_nb.services.http import Http
    from iexec_nb.services.ipfs import Ipfs

    http = Http(
        THEGRAPH_IPFS,
        service="IPFS node of the subgraph",
        error=IpfsGatewayCallError,
        transport=client.transport,
        timeout_s=client.timeout_s,
    )
    with closing(http):
        copies = Ipfs(http, http)
        try:
            for content in contents:
                copies.add(content)
        except IpfsGatewayCallError as error:
            warnings.warn(f"the subgraph will not list the datasets of this bulk: {error.message}", stacklevel=5)


def _size(most: object) -> int:
    size = uint256(most, "maxDatasetPerTask")
    if size < 1:
        raise ValidationError("maxDatasetPerTask must be greater than 0", hint="give 1 to 100")
    if size > MAX_DATASETS_PER_TASK:
        raise ValidationError(
            f"maxDatasetPerTask must be less than or equal to {MAX_DATASETS_PER_TASK}",
            context={"given": shown(size)},
            hint="give 1 to 100",
        )
    return size


def _text(value: Any) -> bytes:
    return request_params.dumps(value).encode()

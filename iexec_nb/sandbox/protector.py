"""DataProtector's subgraph: what its contract announced, by owner, name and the schema of the content.

The handlers do what those of iExec's own subgraph do, with the same rules for what of a schema is indexed: paths of
plain names, and types that DataProtector knows.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from iexec_nb.protocol import foreign
from iexec_nb.protocol.protected_data import SEARCHABLE
from iexec_nb.protocol.types import Address, address_from_uint
from iexec_nb.sandbox.entities import Entities
from iexec_nb.sandbox.subgraph import Subgraph
from iexec_nb.services import abi
from iexec_nb.services.reads import Call
from iexec_nb.services.receipts import Log

if TYPE_CHECKING:
    from iexec_nb.services.chain import Chain

_NAME = re.compile(r"[0-9A-Za-z_-]+")
_CONTENT = (abi.DATASET_NAME, abi.DATASET_MULTIADDR, abi.DATASET_CHECKSUM)


def dataprotector_subgraph(chain: Chain, dataprotector: Address) -> Subgraph:
    """Return the subgraph of a DataProtector contract.

    Parameters
    ----------
    chain
        The local chain.
    dataprotector
        The contract.
    """
    schema = (files(__package__) / "schemas" / "dataprotector.graphql").read_text("utf-8")
    return Subgraph(chain, schema, ProtectedDataIndex(chain, dataprotector))


class ProtectedDataIndex:
    """Saves protected data when it is announced, and its owner when that changes.

    Parameters
    ----------
    chain
        The local chain.
    dataprotector
        The contract that announces.
    """

    def __init__(self, chain: Chain, dataprotector: Address) -> None:
        self._chain = chain
        self._dataprotector = dataprotector
        self._owners: dict[Address, Address] = {}

    @property
    def emitters(self) -> Sequence[Address]:
        """DataProtector, and the registry that knows the owner of each dataset."""
        return self._dataprotector, self._chain.datasetregistry

    def apply(self, entities: Entities, logs: Sequence[Log], times: Mapping[int, int]) -> None:
        """Save what events say."""
        announced = [log for log in logs if log.address == self._dataprotector and abi.DATASET_SCHEMA.matches(log)]
        content = self._content([_dataset(log) for log in announced])
        for log in logs:
            if log.address != self._dataprotector:
                self._owned(entities, log)
            elif abi.DATASET_SCHEMA.matches(log):
                self._protected(entities, log, times[log.block_number], content[_dataset(log)])

    def catch_up(self, entities: Entities, block: int) -> None:
        """Do nothing: all of it is on the chain."""

    def _content(self, datasets: Sequence[Address]) -> dict[Address, tuple[str, str, str]]:
        """Return name, multiaddr and checksum of datasets, from one request."""
        values = self._chain.read([Call(dataset, fn) for dataset in datasets for fn in _CONTENT])
        triples = zip(values[::3], values[1::3], values[2::3], strict=True)
        return {
            dataset: (name, f"0x{multiaddr.hex()}", f"0x{checksum.hex()}")
            for dataset, (name, multiaddr, checksum) in zip(datasets, triples, strict=True)
        }

    def _owned(self, entities: Entities, log: Log) -> None:
        if not abi.REGISTRY_TRANSFER.matches(log):
            return
        moved = abi.REGISTRY_TRANSFER.decode(log)
        dataset, owner = address_from_uint(moved["tokenId"]), moved["to"].lower()
        # A dataset is registered before DataProtector announces what is in it.
        self._owners[dataset] = owner
        if entities.get("ProtectedData", dataset.lower()) is not None:
            entities.save("Account", owner, log.block_number)
            entities.save("ProtectedData", dataset.lower(), log.block_number, owner=owner, **_NOT_SHARED)

    def _protected(self, entities: Entities, log: Log, timestamp: int, content: tuple[str, str, str]) -> None:
        dataset, block = _dataset(log), log.block_number
        text = abi.DATASET_SCHEMA.decode(log)["schema"]
        entries = list(dict.fromkeys(_entries(text)))
        for path, kind in entries:
            entities.save("SchemaEntry", f"{path}:{kind}", block, path=path, type=kind)
        owner = self._owners[dataset]
        entities.save("Account", owner, block)
        name, multiaddr, checksum = content
        entities.save(
            "ProtectedData",
            dataset.lower(),
            block,
            owner=owner,
            name=name,
            jsonSchema=text,
            schema=[f"{path}:{kind}" for path, kind in entries],
            multiaddr=multiaddr,
            checksum=checksum,
            creationTimestamp=timestamp,
            transactionHash=log.tx_hash,
            blockNumber=block,
            **_NOT_SHARED,
        )


_NOT_SHARED = {"isIncludedInSubscription": False, "isRentable": False, "isForSale": False}


def _dataset(log: Log) -> Address:
    return address_from_uint(int(log.topics[1], 16))


def _entries(text: str) -> Iterator[tuple[str, str]]:
    try:
        schema = foreign.loads(text)
    except ValueError:
        return
    if isinstance(schema, dict):
        yield from _walk(schema, "")


def _walk(schema: Mapping[str, Any], parent: str) -> Iterator[tuple[str, str]]:
    for key, value in schema.items():
        if not _NAME.fullmatch(key):
            continue
        path = f"{parent}.{key}" if parent else key
        if isinstance(value, dict):
            yield from _walk(value, path)
        elif isinstance(value, str) and value in SEARCHABLE:
            yield path, value

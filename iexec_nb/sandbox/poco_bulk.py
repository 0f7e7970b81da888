"""The bulks of the PoCo subgraph: which datasets each task of a deal was given, read from the files on IPFS.

A bulk is a file that lists slices, and a slice is a file that lists signed dataset orders; anybody may have written
them. What is not as it should be is left out, by the rules of iExec's own subgraph.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from iexec_nb.protocol import foreign
from iexec_nb.protocol.execution import task_id
from iexec_nb.sandbox.entities import Entities, to_rlc

MAX_FILE_BYTES = 25 * 2**20
"""What is larger is not read, as by a graph-node."""

_ADDRESS = re.compile(r"0[xX][0-9a-fA-F]{40}")
_BYTES32 = re.compile(r"0x[0-9a-f]{64}")
_INTEGER = re.compile(r"0|[1-9][0-9]{0,79}")
_HEX = re.compile(r"0x(?:[0-9a-f]{2})*")
_MEMBERS = {
    "dataset": _ADDRESS,
    "datasetprice": _INTEGER,
    "volume": _INTEGER,
    "tag": _BYTES32,
    "apprestrict": _ADDRESS,
    "workerpoolrestrict": _ADDRESS,
    "requesterrestrict": _ADDRESS,
    "salt": _BYTES32,
    "sign": _HEX,
}


@dataclass(frozen=True, slots=True)
class _Awaited:
    """A file that is to be indexed: the bulk of a deal, or the slice with an index of it."""

    dealid: str
    cid: str
    index: int | None = None


class Bulks:
    """Saves bulks as soon as their files are there.

    Parameters
    ----------
    find_file
        Returns the path of the file at a CID, or None where it is not on the sandbox's IPFS.
    """

    def __init__(self, find_file: Callable[[str], Path | None]) -> None:
        self._find_file = find_file
        self._awaited: list[_Awaited] = []

    def matched(self, entities: Entities, dealid: str, block: int) -> None:
        """Note the bulk that the params of a new deal name, if they name one."""
        deal = entities.get("Deal", dealid)
        assert deal is not None
        params = _json(deal.values["params"])
        cid = params.get("bulk_cid") if isinstance(params, dict) else None
        if isinstance(cid, str):
            # A bulk may be used by many deals, so each deal has its own, under its own id.
            entities.save("Deal", dealid, block, bulk=dealid)
            self._awaited.append(_Awaited(dealid, cid))

    def catch_up(self, entities: Entities, block: int) -> None:
        """Save what has come to IPFS since the last call."""
        waiting, self._awaited = self._awaited, []
        while waiting:
            awaited = waiting.pop(0)
            content = self._read(awaited.cid)
            if content is None:
                self._awaited.append(awaited)
            elif awaited.index is None:
                waiting += _save_bulk(entities, block, awaited, _json(content))
            else:
                _save_slice(entities, block, awaited, awaited.index, _json(content))

    def _read(self, cid: str) -> bytes | None:
        path = self._find_file(cid)
        if path is None or path.stat().st_size > MAX_FILE_BYTES:
            return None
        return path.read_bytes()


def _save_bulk(entities: Entities, block: int, bulk: _Awaited, content: Any) -> list[_Awaited]:
    """Save a bulk and return its slices that belong to tasks of the deal."""
    entities.save("Bulk", bulk.dealid, block, hash=bulk.cid)
    deal = entities.get("Deal", bulk.dealid)
    assert deal is not None  # it named the bulk
    first = deal.values["botFirst"]
    slices = content if isinstance(content, list) else []
    own = list(enumerate(slices))[first : first + deal.values["botSize"]]
    return [_Awaited(bulk.dealid, cid, index) for index, cid in own if isinstance(cid, str)]


def _save_slice(entities: Entities, block: int, awaited: _Awaited, index: int, content: Any) -> None:
    taskid = task_id(awaited.dealid, index)
    listed = content if isinstance(content, list) else []
    orders = {f"{taskid}-{i}": order for i, order in enumerate(listed) if _is_order(order)}
    for id, order in orders.items():
        entities.save(
            "DatasetOrder",
            id,
            block,
            **{name: order[name].lower() for name, form in _MEMBERS.items() if form is _ADDRESS},
            datasetprice=to_rlc(int(order["datasetprice"])),
            volume=int(order["volume"]),
            tag=order["tag"],
            salt=order["salt"],
            sign=order["sign"],
        )
    entities.save(
        "BulkSlice",
        f"{awaited.dealid}-{index}",
        block,
        bulk=awaited.dealid,
        hash=awaited.cid,
        task=taskid,
        index=index,
        datasets=[order["dataset"].lower() for order in orders.values()],
        datasetOrders=list(orders),
    )


def _is_order(order: Any) -> bool:
    if not isinstance(order, dict):
        return False
    return all(isinstance(value := order.get(name), str) and form.fullmatch(value) for name, form in _MEMBERS.items())


def _json(text: str | bytes) -> Any:
    try:
        return foreign.loads(text)
    except ValueError:
        return None

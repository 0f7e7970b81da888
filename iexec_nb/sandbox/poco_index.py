"""The PoCo subgraph: who owns what, what was matched, and how far each task is.

The handlers do what those of iExec's own subgraph do, its oddities included (the status ``FAILLED``, a dataset of zeros
where a deal has none). Its other entities are saved in the same way: a type in ``schemas/poco.graphql``, and a handler
here for the events that tell of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from iexec_nb.protocol.types import NULL_ADDRESS, Address, address_from_uint, hexbytes
from iexec_nb.sandbox.entities import Entities, to_rlc
from iexec_nb.sandbox.poco_bulk import Bulks
from iexec_nb.sandbox.subgraph import Subgraph
from iexec_nb.services import abi
from iexec_nb.services.abi import Event, Function
from iexec_nb.services.reads import Call, Read
from iexec_nb.services.receipts import Log

if TYPE_CHECKING:
    from iexec_nb.services.chain import Chain

_RESOURCES: Mapping[str, Mapping[str, Function]] = {
    "App": {
        "name": abi.APP_NAME,
        "type": abi.APP_TYPE,
        "multiaddr": abi.APP_MULTIADDR,
        "checksum": abi.APP_CHECKSUM,
        "mrenclave": abi.APP_MRENCLAVE,
    },
    "Dataset": {
        "name": abi.DATASET_NAME,
        "multiaddr": abi.DATASET_MULTIADDR,
        "checksum": abi.DATASET_CHECKSUM,
    },
    "Workerpool": {"description": abi.WORKERPOOL_DESCRIPTION},
}
_ORDERS = (("App", "app"), ("Dataset", "dataset"), ("Workerpool", "workerpool"))
_UNUSED = {"usageCount": 0, "lastUsageTimestamp": 0}


def poco_subgraph(chain: Chain, find_file: Callable[[str], Path | None]) -> Subgraph:
    """Return the PoCo subgraph of a chain.

    Parameters
    ----------
    chain
        The local chain.
    find_file
        Returns the path of the file at a CID, or None where it is not on the sandbox's IPFS.
    """
    schema = (files(__package__) / "schemas" / "poco.graphql").read_text("utf-8")
    return Subgraph(chain, schema, PocoIndex(chain, find_file))


@dataclass(frozen=True, slots=True)
class Step:
    """One event on its way into the index: where to save, when it was, and what the chain says about its subject."""

    entities: Entities
    log: Log
    time: int
    facts: Mapping[str, Any]

    def save(self, kind: str, id: str, **values: Any) -> None:
        """Set fields of an entity at the event's block."""
        self.entities.save(kind, id, self.log.block_number, **values)

    def add(self, kind: str, id: str, field: str, amount: int) -> None:
        """Raise a count of an entity that is there."""
        entity = self.entities.get(kind, id)
        assert entity is not None
        self.save(kind, id, **{field: entity.values[field] + amount})


class PocoIndex:
    """Saves resources, orders, deals and tasks.

    Parameters
    ----------
    chain
        The local chain.
    find_file
        Returns the path of the file at a CID, or None where it is not on the sandbox's IPFS.
    """

    def __init__(self, chain: Chain, find_file: Callable[[str], Path | None]) -> None:
        self._chain = chain
        self._bulks = Bulks(find_file)

    @property
    def emitters(self) -> Sequence[Address]:
        """The hub and the registries."""
        return self._chain.hub_address, *self._registries

    @property
    def _registries(self) -> dict[Address, str]:
        chain = self._chain
        return {chain.appregistry: "App", chain.datasetregistry: "Dataset", chain.workerpoolregistry: "Workerpool"}

    def apply(self, entities: Entities, logs: Sequence[Log], times: Mapping[int, int]) -> None:
        """Save what events say."""
        events = [found for log in logs if (found := self._event(log))]
        facts = self._facts(events)
        for log, kind, values in events:
            step = Step(entities, log, times[log.block_number], facts)
            if kind in _RESOURCES:
                _transferred(step, kind, values)
            elif kind == abi.ORDERS_MATCHED.name:
                self._matched(step, values)
            elif kind == abi.CATEGORY_CREATED.name:
                _category(step, values)
            else:
                _TASK_HANDLERS[kind](step, values)

    def catch_up(self, entities: Entities, block: int) -> None:
        """Save the bulks whose files have come to IPFS meanwhile."""
        self._bulks.catch_up(entities, block)

    def _event(self, log: Log) -> tuple[Log, str, dict[str, Any]] | None:
        """Return a log that matters, what it is, and its members."""
        registered = self._registries.get(log.address)
        known: Mapping[str, Event] = _HUB_EVENTS if registered is None else {registered: abi.REGISTRY_TRANSFER}
        return next(((log, kind, event.decode(log)) for kind, event in known.items() if event.matches(log)), None)

    def _facts(self, events: Sequence[tuple[Log, str, Mapping[str, Any]]]) -> dict[str, Any]:
        """Return what the chain says about the subjects of events, from one request."""
        hub = self._chain.hub_address
        wanted: dict[str, Read] = {}
        for _, kind, values in events:
            if kind in _RESOURCES:
                resource = address_from_uint(values["tokenId"])
                wanted |= {f"{resource}.{name}": Call(resource, fn) for name, fn in _RESOURCES[kind].items()}
            elif kind == abi.ORDERS_MATCHED.name:
                wanted[values["dealid"]] = Call(hub, abi.VIEW_DEAL, [hexbytes(values["dealid"])])
            elif "taskid" in values:
                wanted[values["taskid"]] = Call(hub, abi.VIEW_TASK, [hexbytes(values["taskid"])])
        return dict(zip(wanted, self._chain.read(list(wanted.values())), strict=True))

    def _matched(self, step: Step, event: Mapping[str, Any]) -> None:
        deal = _deal(step.facts[event["dealid"]])
        for account in ("requester", "beneficiary", "callback", "sponsor"):
            step.save("Account", deal[account])
        orders = {f"{name}order": event[f"{name}Hash"] for name in ("app", "dataset", "workerpool", "request")}
        counts = {"completedTasksCount": 0, "claimedTasksCount": 0}
        step.save("Deal", event["dealid"], **deal, **orders, **counts, timestamp=step.time)
        for kind, name in _ORDERS:
            if deal[name] != NULL_ADDRESS:
                price = {f"{name}price": deal[f"{name}Price"]}
                step.save(f"{kind}Order", event[f"{name}Hash"], **{name: deal[name]}, **price)
        step.save("RequestOrder", event["requestHash"], requester=deal["requester"])
        for kind, name in (("App", "app"), ("Workerpool", "workerpool")):
            step.add(kind, deal[name], "usageCount", deal["botSize"])
            step.save(kind, deal[name], lastUsageTimestamp=step.time)
        if deal["dataset"] == NULL_ADDRESS:
            self._bulks.matched(step.entities, event["dealid"], step.log.block_number)


def _deal(raw: tuple[Any, ...]) -> dict[str, Any]:
    """Return the fields of a deal that ``viewDeal`` tells."""
    trust, category, tag, requester, beneficiary, callback, params, start, first, size = raw[3:13]
    worker_stake, reward_ratio, sponsor = raw[13:16]
    fields: dict[str, Any] = {}
    for name, (pointer, owner, price) in zip(("app", "dataset", "workerpool"), raw[:3], strict=True):
        fields |= {name: pointer.lower(), f"{name}Owner": owner.lower(), f"{name}Price": to_rlc(price)}
    return fields | {
        "trust": trust,
        "category": str(category),
        "tag": f"0x{tag.hex()}",
        "requester": requester.lower(),
        "beneficiary": beneficiary.lower(),
        "callback": callback.lower(),
        "params": params,
        "startTime": start,
        "botFirst": first,
        "botSize": size,
        "workerStake": worker_stake,
        "schedulerRewardRatio": reward_ratio,
        "sponsor": sponsor.lower(),
    }


def _transferred(step: Step, kind: str, event: Mapping[str, Any]) -> None:
    """Save a resource that was registered, or that has a new owner; its use is counted anew for each owner."""
    resource = address_from_uint(event["tokenId"])
    for account in (event["from"], event["to"]):
        step.save("Account", account.lower())
    content = {name: _indexed(step.facts[f"{resource}.{name}"]) for name in _RESOURCES[kind]}
    use = {} if kind == "Dataset" else _UNUSED
    step.save(kind, resource.lower(), owner=event["to"].lower(), timestamp=step.time, **content, **use)


def _indexed(value: str | bytes) -> str:
    return value if isinstance(value, str) else f"0x{value.hex()}"


def _category(step: Step, event: Mapping[str, Any]) -> None:
    step.save(
        "Category",
        str(event["catid"]),
        name=event["name"],
        description=event["description"],
        workClockTimeRef=event["workClockTimeRef"],
        timestamp=step.time,
    )


# Tasks.


def _initialized(step: Step, event: Mapping[str, Any]) -> None:
    raw = step.facts[event["taskid"]]
    dealid = f"0x{raw[1].hex()}"
    deal = step.entities.get("Deal", dealid)
    assert deal is not None  # it was matched before
    step.save(
        "Task",
        event["taskid"],
        status="ACTIVE",
        deal=dealid,
        requester=deal.values["requester"],
        index=raw[2],
        contributionDeadline=raw[4],
        finalDeadline=raw[6],
        timestamp=step.time,
    )


def _update(step: Step, event: Mapping[str, Any], **values: Any) -> None:
    step.save("Task", event["taskid"], **values, timestamp=step.time)


def _consensus(step: Step, event: Mapping[str, Any]) -> None:
    deadline = step.facts[event["taskid"]][5]
    _update(step, event, status="REVEALING", consensus=event["consensus"], revealDeadline=deadline)


def _revealed(step: Step, event: Mapping[str, Any]) -> None:
    _update(step, event, status="REVEALING", resultDigest=event["digest"])


def _reopened(step: Step, event: Mapping[str, Any]) -> None:
    _update(step, event, status="ACTIVE", consensus=None, revealDeadline=None)


def _finalized(step: Step, event: Mapping[str, Any]) -> None:
    callback = step.facts[event["taskid"]][14]
    results = f"0x{event['results'].hex()}"
    _update(step, event, status="COMPLETED", results=results, resultsCallback=f"0x{callback.hex()}")
    _count(step, event, "completedTasksCount")


def _claimed(step: Step, event: Mapping[str, Any]) -> None:
    _update(step, event, status="FAILLED")
    _count(step, event, "claimedTasksCount")


def _count(step: Step, event: Mapping[str, Any], field: str) -> None:
    task = step.entities.get("Task", event["taskid"])
    assert task is not None  # it was updated
    step.add("Deal", task.values["deal"], field, 1)


_TASK_HANDLERS: Mapping[str, Callable[[Step, Mapping[str, Any]], None]] = {
    abi.TASK_INITIALIZE.name: _initialized,
    abi.TASK_CONTRIBUTE.name: _update,
    abi.TASK_CONSENSUS.name: _consensus,
    abi.TASK_REVEAL.name: _revealed,
    abi.TASK_REOPEN.name: _reopened,
    abi.TASK_FINALIZE.name: _finalized,
    abi.TASK_CLAIMED.name: _claimed,
}
_HUB_EVENTS = {
    event.name: event
    for event in (
        abi.CATEGORY_CREATED,
        abi.ORDERS_MATCHED,
        abi.TASK_INITIALIZE,
        abi.TASK_CONTRIBUTE,
        abi.TASK_CONSENSUS,
        abi.TASK_REVEAL,
        abi.TASK_REOPEN,
        abi.TASK_FINALIZE,
        abi.TASK_CLAIMED,
    )
}

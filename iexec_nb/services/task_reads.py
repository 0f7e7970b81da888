"""What became of many tasks, in one request: their state, the time of the chain, and which other tasks have changed.

Who waits for a thousand tasks asks again every two seconds. A view of each would be half a million calls in a quarter
of an hour, and public nodes count calls. The hub's events since the last time are one call, whatever the number of
tasks: they tell which views are worth repeating. Events can be missed (nodes behind one address are not in step), so
they add to the views and do not replace them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from iexec_nb.errors import ObjectNotFoundError, ValidationError, Web3ProviderCallError
from iexec_nb.protocol.execution import Task
from iexec_nb.protocol.types import Bytes32, bytes32, hexbytes
from iexec_nb.services import abi
from iexec_nb.services.answers import RpcFailure
from iexec_nb.services.reads import LATEST_BLOCK, Block, Call, Read, Reader
from iexec_nb.services.receipts import Log

TASK_EVENTS = (
    abi.TASK_INITIALIZE, abi.TASK_CONTRIBUTE, abi.TASK_CONSENSUS, abi.TASK_REVEAL, abi.TASK_REOPEN, abi.TASK_FINALIZE,
    abi.TASK_CLAIMED,
)  # fmt: skip
_TOPICS = {event.topic for event in TASK_EVENTS}

Happened = tuple[Bytes32, int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class TasksSeen:
    """What one request told.

    Attributes
    ----------
    block
        The head of the latest block.
    tasks
        Each task that was asked for by its id; None for one that is not initialized.
    events
        What happened to tasks of the hub since the block that was given: id, number of the block, index of the log.
        None where the node does not say.
    """

    block: Block
    tasks: dict[Bytes32, Task | None]
    events: frozenset[Happened] | None = None


def read_tasks(reader: Reader, taskids: Sequence[Bytes32], *, since: int | None = None) -> TasksSeen:
    """Return tasks as the chain has them now, from one request.

    Parameters
    ----------
    reader
        The chain.
    taskids
        Which tasks.
    since
        Number of a block: what happened to tasks from there on is asked too.

    Raises
    ------
    Web3ProviderCallError
        When the node does not answer, refuses to show a task, or sends something else.

    Source
    ------
    Contract function ``viewTask``; events ``TaskInitialize`` to ``TaskClaimed`` of the hub.
    """
    wanted = [bytes32(one, "taskid") for one in taskids]
    views = [Call(reader.hub_address, abi.VIEW_TASK, [hexbytes(one)]) for one in wanted]
    reads = [LATEST_BLOCK, *views, *([] if since is None else [_events(reader, since)])]
    answers = reader.rpc.outcomes([(read.method, read.params) for read in reads])
    values = []
    for read, answer in zip(reads[: len(views) + 1], answers, strict=False):
        if isinstance(answer, RpcFailure):
            raise answer.error(reader.rpc.host)
        values.append(read.decode(answer))
    tasks = {one: _task(one, raw, reader.chain_id) for one, raw in zip(wanted, values[1:], strict=True)}
    return TasksSeen(block=values[0], tasks=tasks, events=None if since is None else _happened(answers[-1], reader))


def _events(reader: Reader, since: int) -> Read:
    where = {
        "address": reader.hub_address,
        "fromBlock": hex(since),
        "toBlock": "latest",
        "topics": [[event.topic for event in TASK_EVENTS]],
    }
    return Read("eth_getLogs", (where,), lambda answer: answer)


def _happened(answer: object, reader: Reader) -> frozenset[Happened] | None:
    # Nodes limit the range of blocks, and some have no logs: without them the views alone tell, later.
    if not isinstance(answer, list):
        return None
    try:
        logs = [Log.from_rpc(one) for one in answer]
    except Web3ProviderCallError:
        return None
    hub = reader.hub_address
    return frozenset(
        (log.topics[1], log.block_number, log.index)
        for log in logs
        if log.address == hub and len(log.topics) > 1 and log.topics[0] in _TOPICS
    )


def _task(taskid: Bytes32, raw: Sequence[object], chain_id: int) -> Task | None:
    try:
        return Task.from_chain(taskid, raw, chain_id=chain_id)
    except ObjectNotFoundError:
        return None
    except ValidationError as error:
        # What breaks a rule here is the node's answer and not the user's argument.
        raise Web3ProviderCallError(f"the node sent a malformed task: {error.message}") from error

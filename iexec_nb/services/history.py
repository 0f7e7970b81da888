"""What happened on the chain and when: blocks by their time, and the events of tasks in ranges that a node allows.

A deal tells when it was made and not in which block, and a node shows events by blocks only. Public nodes limit how
many blocks one question may span, each in its own way and without saying how far, so that the span is found by trying.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime

from iexec_nb.errors import Web3ProviderCallError
from iexec_nb.protocol.types import Bytes32, shown
from iexec_nb.services.abi import Event
from iexec_nb.services.answers import RpcFailure
from iexec_nb.services.reads import LATEST_BLOCK, Block, Read, Reader
from iexec_nb.services.receipts import Log
from iexec_nb.services.task_reads import TASK_EVENTS

_WAYS = 16
_IDS_AT_ONCE = 500
_SPLIT = 8
_SMALLEST_SPAN = 100
MAX_QUESTIONS = 300
"""Questions after which the search for events ends: an hour of a fast chain is one for each 10,000 blocks."""


def block_at(reader: Reader, moment: datetime) -> int:
    """Return the number of the first block that is not earlier than `moment`; after the latest, the next number.

    Raises
    ------
    Web3ProviderCallError
        When the node does not answer, or does not show a block.
    """
    low, high = 0, reader.block_number() + 1
    # Sixteen blocks are one request: a chain of a billion blocks takes eight.
    while low < high:
        step = max((high - low) // _WAYS, 1)
        numbers = range(low, high, step)
        blocks = reader.read([_block(number) for number in numbers])
        later = next((number for number, one in zip(numbers, blocks, strict=True) if one.time >= moment), None)
        low, high = (numbers[-1] + 1, high) if later is None else (max(later - step + 1, low), later)
    return low


def block_times(reader: Reader, numbers: Iterable[int]) -> dict[int, datetime]:
    """Return the times (UTC) of blocks, from one request."""
    wanted = sorted(set(numbers))
    return dict(zip(wanted, (one.time for one in reader.read([_block(number) for number in wanted])), strict=True))


def task_events(
    reader: Reader, taskids: Sequence[Bytes32], first: int, last: int, done: Callable[[Sequence[Log]], bool]
) -> tuple[list[Log], bool]:
    """Return the hub's events about tasks from block `first` to `last`, oldest first, and whether these are all.

    Parameters
    ----------
    reader
        The chain.
    taskids
        Which tasks.
    first, last
        Numbers of blocks.
    done
        Whether the events that are known are enough.

    Raises
    ------
    Web3ProviderCallError
        When the node does not answer, or shows no events however few blocks are asked about.

    Source
    ------
    Events ``TaskInitialize`` to ``TaskClaimed`` of the hub, which index the task's id.
    """
    found: list[Log] = []
    span = max(last - first + 1, 1)
    parts = [taskids[at : at + _IDS_AT_ONCE] for at in range(0, len(taskids), _IDS_AT_ONCE)]
    for _ in range(MAX_QUESTIONS):
        if first > last or done(found):
            return found, True
        end = min(first + span - 1, last)
        where = [_question(reader, part, first, end) for part in parts]
        answers = reader.rpc.outcomes([("eth_getLogs", [one]) for one in where])
        if refusal := next((one for one in answers if isinstance(one, RpcFailure)), None):
            if span <= _SMALLEST_SPAN:
                raise refusal.error(reader.rpc.host)
            span = max(span // _SPLIT, _SMALLEST_SPAN)
            continue
        wanted = set(taskids)
        logs = [log for answer in answers for log in _logs(answer, reader)]
        found += sorted((log for log in logs if log.topics[1] in wanted), key=lambda log: (log.block_number, log.index))
        first = end + 1
    return found, False


def event_of(log: Log) -> Event | None:
    """Return which of the hub's events about tasks a log is."""
    return next((event for event in TASK_EVENTS if event.matches(log)), None)


def _question(reader: Reader, taskids: Sequence[Bytes32], first: int, last: int) -> dict[str, object]:
    topics = [[event.topic for event in TASK_EVENTS], list(taskids)]
    return {"address": reader.hub_address, "fromBlock": hex(first), "toBlock": hex(last), "topics": topics}


def _logs(answer: object, reader: Reader) -> list[Log]:
    if not isinstance(answer, list):
        raise Web3ProviderCallError(f"the node answered {shown(answer, 60)} where events were expected")
    logs = [Log.from_rpc(one) for one in answer]
    return [log for log in logs if log.address == reader.hub_address and event_of(log) is not None]


def _block(number: int) -> Read:
    def decode(answer: object) -> Block:
        block: Block = LATEST_BLOCK.decode(answer)
        if block.number != number:
            raise Web3ProviderCallError(f"the node sent block {block.number} where {number} was asked for")
        return block

    return Read("eth_getBlockByNumber", (hex(number), False), decode)

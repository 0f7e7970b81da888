"""What watching a deal tells: one record each time something changed."""

from __future__ import annotations

from dataclasses import dataclass

from iexec_nb.protocol.execution import Deal, Task


@dataclass(frozen=True, slots=True, kw_only=True)
class Update:
    """One change in the life of a deal.

    Attributes
    ----------
    phase
        ``matched``, ``initialized``, ``running``, ``revealing``, ``completed``, ``failed`` or ``timeout``.
    message
        One line for people.
    deal
        The deal.
    tasks
        Its tasks as the chain has them now, in the order of their index.
    offchain
        The scheduler's word for each task where it answers, by task id; it is a claim, not a fact of the chain.
    done, failed
        Whether watching is over, and whether a task failed or timed out.
    """

    phase: str
    message: str
    deal: Deal
    tasks: tuple[Task, ...]
    offchain: tuple[tuple[str, str], ...] = ()
    done: bool = False
    failed: bool = False

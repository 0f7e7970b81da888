"""What watching a deal tells: one record each time something changed."""

from __future__ import annotations

from dataclasses import dataclass

from iexec_nb.protocol.execution import Deal, Task, TaskStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class Update:
    """One change in the life of a deal, or of one task of it.

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
    event
        What the JavaScript SDK's observable says: ``DEAL_UPDATED``, ``DEAL_COMPLETED`` or ``DEAL_TIMEDOUT``; of one
        task ``TASK_UPDATED``, ``TASK_COMPLETED``, ``TASK_TIMEDOUT`` or ``TASK_FAILED``. It knows the chain only: a
        task whose app crashed stays updated there until its deadline.
    completedTasksCount, failedTasksCount
        How many are completed, and how many are over without a result.
    offchain
        The scheduler's word for each unfinished task where it answers, by task id; a claim, not a fact of the chain.
    done, failed
        Whether watching is over, and whether a task failed or timed out.
    """

    phase: str
    message: str
    deal: Deal
    tasks: tuple[Task, ...]
    event: str = ""
    completedTasksCount: int = 0
    failedTasksCount: int = 0
    offchain: tuple[tuple[str, str], ...] = ()
    done: bool = False
    failed: bool = False

    @property
    def tasksCount(self) -> int:
        """How many tasks are watched."""
        return len(self.tasks)

    @property
    def failedTasks(self) -> tuple[Task, ...]:
        """The tasks that are not completed and never will be, once watching is over."""
        return tuple(task for task in self.tasks if self.done and task.status is not TaskStatus.COMPLETED)

    def __repr__(self) -> str:
        state = " (failed)" if self.failed else " (done)" if self.done else ""
        return f"Update({self.event}, {self.phase}: {self.message}{state}, dealid={self.deal.dealid})"

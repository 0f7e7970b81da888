"""The noun ``category``: the sizes of computations that the hub knows."""

from __future__ import annotations

from iexec_nb.actions.base import Noun
from iexec_nb.commands import command, noun
from iexec_nb.protocol.resources import Category
from iexec_nb.protocol.types import uint256


@noun("category")
class CategoryActions(Noun):
    """Categories: how long a task may take."""

    @command("category show 0")
    def show(self, category: int | str, /) -> Category:
        """Return a category; ``workClockTimeRef`` is in seconds.

        Parameters
        ----------
        category
            Its number, from 0.

        Returns
        -------
        Category
            ``catid``, ``name``, ``description`` and ``workClockTimeRef`` (s): a task has 10 times that until its
            final deadline.

        Raises
        ------
        ObjectNotFoundError
            When the hub has no such category.

        Source
        ------
        Contract function ``viewCategory``.
        """
        return self._chain.category(uint256(category, "category"))

    @command("category count")
    def count(self) -> int:
        """Return how many categories the hub has.

        Source
        ------
        Contract function ``countCategory``.
        """
        return self._chain.category_count()

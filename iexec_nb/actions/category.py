"""The noun ``category``: the sizes of computations that the hub knows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from iexec_nb.actions.base import text_of
from iexec_nb.actions.entries import required
from iexec_nb.actions.inits import CategoryInit
from iexec_nb.actions.transfers import pay
from iexec_nb.commands import command, noun
from iexec_nb.errors import ValidationError, Web3ProviderSendError
from iexec_nb.protocol.receipts import CategoryCreated
from iexec_nb.protocol.resources import Category
from iexec_nb.protocol.types import shown, uint256
from iexec_nb.services import abi

if TYPE_CHECKING:
    import pandas as pd


def _raw(category: Category) -> dict[str, Any]:
    seconds = category.workClockTimeRef
    shown = {"name": category.name, "description": category.description, "workClockTimeRef": seconds}
    return {"index": category.catid, "category": shown}


def _list_raw(table: pd.DataFrame) -> dict[str, Any]:
    return {"count": len(table), "categories": table.to_dict("records")}


@noun("category")
class CategoryActions(CategoryInit):
    """Categories: how long a task may take."""

    @command("category show 0", js=("hub.showCategory",), raw=_raw)
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

    @command("category list", raw=_list_raw)
    def list(self) -> pd.DataFrame:
        """Return every category of the hub; times are in seconds.

        Returns
        -------
        DataFrame
            Schema `tables.CATEGORIES`: ``catid`` (Int64), ``name`` and ``description`` (string),
            ``workClockTimeRef`` (Int64, s); shape (categories, 4).

        Source
        ------
        Contract functions ``countCategory`` and ``viewCategory``.
        """
        from iexec_nb import tables

        attrs = {"chain": self._client.network.name, "chain_id": self._chain.chain_id, "source": "viewCategory"}
        return tables.frame(tables.CATEGORIES, self._chain.categories(), attrs=attrs)

    @command("category count", js=("hub.countCategory",))
    def count(self) -> int:
        """Return how many categories the hub has.

        Source
        ------
        Contract function ``countCategory``.
        """
        return self._chain.category_count()

    @command("category timeout-ratio", js=("hub.getTimeoutRatio",))
    def timeout_ratio(self) -> int:
        """Return how many times its category's ``workClockTimeRef`` a task has until its final deadline.

        Source
        ------
        Contract function ``final_deadline_ratio``.
        """
        return self._chain.timeout_ratio

    @command(
        'category create --name XXL --description "new hub category" --work-clock-time-ref 100',
        spends=True,
        js=("hub.createCategory",),
    )
    def create(
        self,
        *,
        name: str | None = None,
        description: str | None = None,
        workClockTimeRef: int | str | None = None,
    ) -> CategoryCreated:
        """Add a category to the hub and return its number; only the hub's owner can.

        Without any argument it is the category of ``iexec.json``.

        Parameters
        ----------
        name
            What people call it.
        description
            What people read about it.
        workClockTimeRef
            Seconds: a task has 10 times that until its final deadline.

        Returns
        -------
        CategoryCreated
            ``catid`` and ``txHash``.

        Raises
        ------
        ValidationError
            When an argument is malformed, or the wallet is not the hub's owner.
        ConfigurationError
            When nothing is given and there is no ``iexec.json`` with a category.

        Source
        ------
        Contract function ``createCategory``.
        """
        signer = self._signer("create a category")
        args = self._new(name, description, workClockTimeRef)
        hub = self._chain.hub_address
        owner = self._chain.owners([hub]).get(hub)
        if owner != signer.address:
            raise ValidationError(
                f"only category owner {owner} can create new categories",
                context={"wallet": signer.address},
                hint="use a category that exists: %iexec category list",
            )
        text = f"create the category {shown(args[0])!r} of {args[2]} s: {shown(args[1])}"
        receipt = pay(self._client, signer, hub, abi.CREATE_CATEGORY.encode(*args), text)
        event = self._chain.find_event(receipt, abi.CATEGORY_CREATED)
        if event is None:
            raise Web3ProviderSendError("CreateCategory not confirmed", tx_hash=receipt.tx_hash)
        return CategoryCreated(catid=event["catid"], txHash=receipt.tx_hash)

    def _new(self, name: object, description: object, workClockTimeRef: object) -> tuple[str, str, int]:
        body = {"name": name, "description": description, "workClockTimeRef": workClockTimeRef}
        if any(value is not None for value in body.values()):
            return _arguments(body)
        files = self._client.files
        with files.naming("iexec.json", "category"):
            return _arguments(files.resource("category"))


def _arguments(body: Mapping[str, Any]) -> tuple[str, str, int]:
    return (
        text_of(required(body, "name"), "name"),
        text_of(required(body, "description"), "description"),
        uint256(required(body, "workClockTimeRef"), "workClockTimeRef"),
    )

"""Indexes of the chain: GraphQL questions over HTTP, and lists of any length without lost rows.

A subgraph is quick to ask and proves nothing, so what it says is used to find things and never to decide about money.
Its lists are read from the newest to the oldest by the time of the last row seen: a page that is asked for by number
moves when something is created in between, and hosts refuse numbers above 5,000.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from iexec_nb.protocol.types import shown

if TYPE_CHECKING:
    from iexec_nb.services.http import Http

MAX_PAGE = 1000
"""The most rows that a subgraph gives for one question."""
MAX_ROWS = 1_000_000
"""The most rows that a list is believed to have."""


class Subgraph:
    """One subgraph.

    Parameters
    ----------
    http
        The service, with :class:`~iexec_nb.errors.SubgraphCallError` as its error; its path is the subgraph's.
    """

    def __init__(self, http: Http) -> None:
        self.http = http

    def query(self, text: str, variables: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Return the data that answers a GraphQL question.

        Parameters
        ----------
        text
            The question.
        variables
            Its variables; those that are None are left out.

        Raises
        ------
        SubgraphCallError
            When the subgraph does not answer, or answers with errors.

        Notes
        -----
        ``POST`` of ``{"query", "variables"}``; answered by ``{"data"}`` or ``{"errors"}``.
        """
        given = {name: value for name, value in (variables or {}).items() if value is not None}
        body = self.http.ask_json(self.http.base_path, {"query": text, "variables": given})
        if errors := body.get("errors"):
            self.http.fail(f"Subgraph error: {shown(_message(errors), 300)}")
        data = body.get("data")
        if not isinstance(data, dict):
            self.http.fail("The subgraph's answer has no data")
        return data

    def rows(self, text: str, name: str, variables: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
        """Return one list of a question's answer, each row an object.

        Parameters
        ----------
        text, variables
            As for `query`.
        name
            The member of the data that is the list.

        Raises
        ------
        SubgraphCallError
            As `query`, or when there is no such list.
        """
        rows = self.query(text, variables).get(name)
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            self.http.fail(f"The subgraph's answer has no list of {name}")
        return rows

    def newest(
        self,
        text: str,
        name: str,
        *,
        time: str,
        filters: Sequence[Mapping[str, Any]] = (),
        page_size: int = MAX_PAGE,
    ) -> Iterator[dict[str, Any]]:
        """Yield all rows of a list from the newest to the oldest, each once.

        Parameters
        ----------
        text
            A question with the variables ``$where``, ``$first`` and ``$skip`` that orders its list by `time`, newest
            first, and asks for ``id`` and `time` of each row.
        name
            The member of the data that is the list.
        time
            The member of a row that holds its time in seconds, as decimal digits.
        filters
            What every row must fulfil, as parts of ``where: {and: [...]}``.
        page_size
            Rows of one question, at most 1000.

        Raises
        ------
        SubgraphCallError
            As `rows`, or when the rows are not in this order, or do not end.
        """
        last: int | None = None
        seen: set[str] = set()
        count = 0
        while count < MAX_ROWS:
            parts = [*filters, *([] if last is None else [{f"{time}_lte": str(last)}])]
            where = {"and": parts} if parts else None
            # Rows of the same second as the last one come again at the head of the next page, and are skipped.
            page = self.rows(text, name, {"where": where, "first": page_size, "skip": len(seen)})
            is_new = False
            for row in page:
                moment = self._moment(row, time)
                if last is not None and moment > last:
                    self.http.fail(f"The subgraph's list of {name} is not in the order that was asked for")
                if moment != last:
                    last, seen = moment, set()
                if (mark := str(row.get("id"))) not in seen:
                    seen.add(mark)
                    is_new = True
                    yield row
            if len(page) < page_size:
                return
            if not is_new:
                self.http.fail(f"The subgraph repeats its list of {name} instead of going on")
            count += len(page)
        self.http.fail(f"The subgraph does not stop sending {name}", rows=count, hint="ask for fewer, with a limit")

    def _moment(self, row: Mapping[str, Any], time: str) -> int:
        value = row.get(time)
        if not isinstance(value, str) or not value.isascii() or not value.isdecimal() or len(value) >= 20:
            self.http.fail(f"The subgraph's answer has a row without {time}")
        return int(value)


def _message(errors: object) -> str:
    first = errors[0] if isinstance(errors, list) and errors else errors
    text = first.get("message") if isinstance(first, dict) else None
    return text if isinstance(text, str) else "it gives no reason"

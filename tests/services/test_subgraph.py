"""Subgraphs: questions and lists, and what a broken or hostile one is answered with."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from iexec_nb.errors import SubgraphCallError
from iexec_nb.services import dataprotector, subgraph
from iexec_nb.services.http import Http
from iexec_nb.services.subgraph import Subgraph

URL = "https://graph.example.com/api/subgraphs/id/Secret"
QUERY = "query ($where: X, $first: Int!, $skip: Int!) { rows { id time } }"
Answer = Callable[[dict[str, Any]], httpx.Response]


class Asked:
    """A subgraph that remembers its questions."""

    def __init__(self, answer: Answer) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.paths: list[str] = []
        self._answer = answer
        http = Http(
            URL, service="Subgraph", error=SubgraphCallError, transport=httpx.MockTransport(self._take),
            sleep=lambda s: None,
        )  # fmt: skip
        self.subgraph = Subgraph(http)

    def _take(self, request: httpx.Request) -> httpx.Response:
        assert request.method == "POST"
        self.paths.append(request.url.path)
        self.bodies.append(json.loads(request.content))
        return self._answer(self.bodies[-1])


def data(**members: Any) -> Answer:
    return lambda _: httpx.Response(200, json={"data": members})


def a_list(rows: list[dict[str, Any]]) -> Answer:
    """Answer as a subgraph does: newest first, filtered by time, a page of what is asked for."""

    def answer(body: dict[str, Any]) -> httpx.Response:
        given = body["variables"]
        parts = (given.get("where") or {}).get("and", [])
        before = [int(part["time_lte"]) for part in parts if "time_lte" in part]
        found = sorted(rows, key=lambda row: (-int(row["time"]), row["id"]))
        found = [row for row in found if all(int(row["time"]) <= most for most in before)]
        page = found[given["skip"] : given["skip"] + given["first"]]
        return httpx.Response(200, json={"data": {"rows": page}})

    return answer


def listed(asked: Asked, size: int = 3) -> list[str]:
    return [row["id"] for row in asked.subgraph.newest(QUERY, "rows", time="time", page_size=size)]


def test_a_question_goes_to_the_address_with_its_path_and_without_what_is_none() -> None:
    asked = Asked(data(x=1))
    assert asked.subgraph.query("{ x }", {"a": 1, "b": None}) == {"x": 1}
    assert asked.bodies == [{"query": "{ x }", "variables": {"a": 1}}]
    assert asked.paths == ["/api/subgraphs/id/Secret"]


def test_a_question_is_repeated_as_every_read() -> None:
    answers = iter([httpx.Response(503), httpx.Response(200, json={"data": {"x": 1}})])
    asked = Asked(lambda _: next(answers))
    assert asked.subgraph.query("{ x }") == {"x": 1}
    assert len(asked.bodies) == 2


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (httpx.Response(200, json={"errors": [{"message": "no such\nfield"}]}), "Subgraph error: no such\ufffdfield"),
        (httpx.Response(200, json={"data": {"x": 1}, "errors": [{"message": "half"}]}), "Subgraph error: half"),
        (httpx.Response(200, json={"errors": "x"}), "Subgraph error: it gives no reason"),
        (httpx.Response(200, json={"errors": [3]}), "Subgraph error: it gives no reason"),
        (httpx.Response(200, json={}), "The subgraph's answer has no data"),
        (httpx.Response(200, json={"data": []}), "The subgraph's answer has no data"),
        (httpx.Response(200, json=[]), "The http response is not a JSON object"),
        (httpx.Response(200, text="{}"), "The http response is not of JSON type"),
        (httpx.Response(200, content=b"[" * 10_000, headers={"content-type": "application/json"}), "not valid JSON"),
        (httpx.Response(404, json={"error": "unknown subgraph"}), "API error: unknown subgraph"),
        (httpx.Response(502), "encountered an internal error"),
    ],
    ids=["errors", "half", "text", "number", "nothing", "list", "array", "no json", "deep", "404", "502"],
)
def test_an_answer_that_is_none_is_an_error_without_the_path(answer: httpx.Response, message: str) -> None:
    with pytest.raises(SubgraphCallError) as caught:
        Asked(lambda _: answer).subgraph.query("{ x }")
    assert message in caught.value.message
    assert "Secret" not in str(caught.value)


def test_silence_does_not_say_that_something_may_have_arrived() -> None:
    def silent(_: dict[str, Any]) -> httpx.Response:
        raise httpx.ConnectError("refused")

    with pytest.raises(SubgraphCallError) as caught:
        Asked(silent).subgraph.query("{ x }")
    assert caught.value.hint is None


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
@pytest.mark.parametrize(
    "times", [[], [5], [9, 8, 7, 6, 5, 4, 3], [5, 5, 5, 5, 5], [9, 9, 5, 5, 5, 5, 1, 1], [3, 3, 3, 2]], ids=str
)
def test_a_list_is_read_to_its_end_without_lost_or_double_rows(times: list[int], size: int) -> None:
    rows = [{"id": f"{i:02}", "time": str(time)} for i, time in enumerate(times)]
    assert listed(Asked(a_list(rows)), size) == [row["id"] for row in rows]


def test_a_row_that_is_made_in_between_moves_no_other() -> None:
    rows = [{"id": f"{i:02}", "time": str(100 - i)} for i in range(7)]
    answer = a_list(rows)

    def growing(body: dict[str, Any]) -> httpx.Response:
        response = answer(body)
        rows.append({"id": f"new {len(rows)}", "time": "200"})
        return response

    assert listed(Asked(growing)) == [f"{i:02}" for i in range(7)]


def test_the_filters_are_asked_for_on_every_page() -> None:
    asked = Asked(a_list([{"id": str(i), "time": str(9 - i)} for i in range(4)]))
    assert len(list(asked.subgraph.newest(QUERY, "rows", time="time", filters=[{"owner": "0x1"}], page_size=3))) == 4
    wheres = [body["variables"]["where"] for body in asked.bodies]
    assert wheres == [{"and": [{"owner": "0x1"}]}, {"and": [{"owner": "0x1"}, {"time_lte": "7"}]}]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"id": "a", "time": "1"}] * 3, "repeats its list of rows"),
        ([{"id": "a", "time": "1"}, {"id": "b", "time": "2"}], "not in the order that was asked for"),
        ([{"id": "a"}], "a row without time"),
        ([{"id": "a", "time": 3}], "a row without time"),
        ([{"id": "a", "time": "-3"}], "a row without time"),
        ([{"id": "a", "time": "9" * 40}], "a row without time"),
        ([{"id": "a", "time": "\u0663"}], "a row without time"),
        (["a"], "no list of rows"),
        ({"id": "a"}, "no list of rows"),
        (None, "no list of rows"),
    ],
    ids=["again", "order", "no time", "number", "negative", "endless", "letters", "text", "object", "nothing"],
)
def test_a_list_that_is_none_ends_with_an_error(rows: Any, message: str) -> None:
    with pytest.raises(SubgraphCallError, match=message):
        listed(Asked(data(rows=rows)))


def test_a_list_without_end_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subgraph, "MAX_ROWS", 30)

    def endless(body: dict[str, Any]) -> httpx.Response:
        parts = (body["variables"].get("where") or {}).get("and", [])
        newest = min((int(part["time_lte"]) for part in parts), default=10**3) - 1
        page = [{"id": str(newest - i), "time": str(newest - i)} for i in range(3)]
        return httpx.Response(200, json={"data": {"rows": page}})

    asked = Asked(endless)
    with pytest.raises(SubgraphCallError, match="does not stop sending rows"):
        listed(asked)
    assert len(asked.bodies) == 10


def test_rows_that_are_not_of_protected_data_are_an_error() -> None:
    row = {"id": "0x" + "12" * 20, "name": "x", "owner": {"id": "nobody"}, "schema": [], "creationTimestamp": "1"}
    with pytest.raises(SubgraphCallError, match="not of protected data") as caught:
        list(dataprotector.protected_data(Asked(data(protectedDatas=[row])).subgraph, []))
    assert "nobody is not a valid ethereum address" in str(caught.value)

"""The sandbox's subgraphs: indexes of the chain that answer GraphQL queries as The Graph's nodes do.

A live subgraph lags behind the chain by seconds or minutes. Here each query first reads the events since the block that
was seen last, so that what was done is found, and tests never have to wait.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

from flask import Flask, Response, request
from graphql import DocumentNode, ExecutionResult, GraphQLError, GraphQLSchema, execute, parse, validate

from iexec_nb.errors import IExecError
from iexec_nb.protocol import foreign
from iexec_nb.protocol.types import Address, shown
from iexec_nb.sandbox.entities import Entities, Model
from iexec_nb.sandbox.graph_schema import Api, Head, Scope
from iexec_nb.sandbox.web import json_response, new_app
from iexec_nb.services.receipts import Log

if TYPE_CHECKING:
    from iexec_nb.services.chain import Chain

MAX_QUERY_BYTES = 1 << 20
MAX_DEPTH = 40
"""How deep brackets may be nested in a query."""


class Index(Protocol):
    """What makes a subgraph of a schema: whose events it reads, and what it saves when they come."""

    @property
    def emitters(self) -> Sequence[Address]:
        """The contracts whose events are read."""
        ...

    def apply(self, entities: Entities, logs: Sequence[Log], times: Mapping[int, int]) -> None:
        """Save what events say, given in the order of the chain, with the Unix time of each of their blocks."""
        ...

    def catch_up(self, entities: Entities, block: int) -> None:
        """Save what could not be known when its event came, such as a file that was not on IPFS yet."""
        ...


class Subgraph:
    """An index of the chain and the queries to it.

    Parameters
    ----------
    chain
        The local chain.
    schema
        The entities, as a subgraph's ``schema.graphql`` describes them.
    index
        Saves them.
    """

    def __init__(self, chain: Chain, schema: str, index: Index) -> None:
        self._chain = chain
        self._index = index
        self._model = Model.parse(schema)
        self._entities = Entities(self._model)
        self._lock = threading.Lock()
        self._head = Head(-1, "", "", 0)

    @cached_property
    def _schema(self) -> GraphQLSchema:
        return Api(self._model).build()

    def query(self, text: str, variables: Mapping[str, Any] | None = None, operation: str | None = None) -> Any:
        """Return the answer to a GraphQL query: an object with either ``data`` or ``errors``.

        Parameters
        ----------
        text
            The query.
        variables
            Its variables by name.
        operation
            Which one is meant where the text holds several operations.
        """
        document, errors = self._checked(text)
        if document is None:
            return _refusal(errors)
        try:
            # One query at a time, and none while events are applied: what it reads stands still.
            with self._lock:
                self._sync()
                scope = Scope(self._entities, self._head)
                result = execute(
                    self._schema,
                    document,
                    context_value=scope,
                    variable_values=dict(variables or {}),
                    operation_name=operation,
                )
        except IExecError as error:
            return {"errors": [{"message": f"Store error: {error.message}"}]}
        assert isinstance(result, ExecutionResult)  # no resolver is a coroutine
        return _refusal(result.errors) if result.errors else {"data": result.data}

    def _checked(self, text: str) -> tuple[DocumentNode | None, Sequence[GraphQLError]]:
        if _depth(text) > MAX_DEPTH:
            return None, [GraphQLError(f"query has a depth that exceeds the limit of {MAX_DEPTH}")]
        try:
            document = parse(text)
        except GraphQLError as error:
            return None, [error]
        errors = validate(self._schema, document)
        return (None, errors) if errors else (document, [])

    def _sync(self) -> None:
        newest = self._chain.block_number()
        if newest > self._head.number:
            rpc = self._chain.rpc
            first = self._head.number + 1
            where = {"address": list(self._index.emitters), "fromBlock": hex(first), "toBlock": hex(newest)}
            logs = [Log.from_rpc(entry) for entry in rpc.call("eth_getLogs", where)]
            numbers = sorted({newest, *(log.block_number for log in logs)})
            blocks = rpc.batch([("eth_getBlockByNumber", [hex(number), False]) for number in numbers])
            times = {number: int(block["timestamp"], 16) for number, block in zip(numbers, blocks, strict=True)}
            self._index.apply(self._entities, logs, times)
            self._head = Head(newest, blocks[-1]["hash"], blocks[-1]["parentHash"], times[newest])
        self._index.catch_up(self._entities, self._head.number)


def subgraph_app(name: str, subgraph: Subgraph) -> Flask:
    """Return a subgraph as a WSGI app: ``POST /`` with ``{"query", "variables", "operationName"}``.

    Parameters
    ----------
    name
        What Flask calls the app in its own messages.
    subgraph
        What answers.
    """
    app = new_app(name)
    app.config["MAX_CONTENT_LENGTH"] = MAX_QUERY_BYTES

    @app.post("/")
    def answer() -> Response:
        try:
            body = foreign.loads(request.get_data(cache=False))
        except ValueError:
            return json_response({"errors": [{"message": "GraphQL server error (client error): Invalid JSON"}]}, 400)
        if not isinstance(body, dict) or not isinstance(body.get("query"), str):
            problem = 'GraphQL server error (client error): The "query" field is missing in request data'
            return json_response({"errors": [{"message": problem}]}, 400)
        variables, operation = body.get("variables"), body.get("operationName")
        if not isinstance(variables, dict | None) or not isinstance(operation, str | None):
            problem = 'GraphQL server error (client error): "variables" or "operationName" is of a wrong type'
            return json_response({"errors": [{"message": problem}]}, 400)
        return json_response(subgraph.query(body["query"], variables, operation))

    return app


def _refusal(errors: Sequence[GraphQLError] | None) -> dict[str, Any]:
    return {"errors": [_error(error) for error in errors or ()]}


def _error(error: GraphQLError) -> dict[str, Any]:
    places = [{"line": place.line, "column": place.column} for place in error.locations or ()]
    # What a client sent may stand in it, at any length.
    body: dict[str, Any] = {"message": shown(error.message, 1000)}
    return body | {"locations": places} if places else body


def _depth(text: str) -> int:
    """Return how deep brackets are nested, those in strings included: the parser recurses once for each."""
    deepest = depth = 0
    for char in text:
        if char in "{[(":
            depth += 1
            deepest = max(deepest, depth)
        elif char in "}])":
            depth -= 1
    return deepest

"""The query language of a subgraph: made from its schema in the way in which The Graph makes it.

Each entity can be asked for by id and as a list with ``where``, ``orderBy``, ``first`` and ``skip``; so can the lists
inside of entities. Limits, defaults and refusals are those of a graph-node, because clients rely on them: a list
without ``first`` ends after 100, and an id in another case than the subgraph's is nobody.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any, cast

from graphql import (
    FloatValueNode,
    GraphQLArgument,
    GraphQLBoolean,
    GraphQLEnumType,
    GraphQLError,
    GraphQLField,
    GraphQLID,
    GraphQLInputField,
    GraphQLInputObjectType,
    GraphQLInputType,
    GraphQLInt,
    GraphQLInterfaceType,
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLResolveInfo,
    GraphQLScalarType,
    GraphQLSchema,
    GraphQLString,
    IntValueNode,
    StringValueNode,
    ValueNode,
)

from iexec_nb.protocol.types import shown
from iexec_nb.sandbox.entities import Entities, Entity, Kind, Member, Model, View
from iexec_nb.sandbox.graph_filters import CHANGED, Condition, Filters, related

MAX_FIRST = 1000
MAX_SKIP = 5000

_DEFAULT_FIRST = 100
_HEX = re.compile(r"(?:0x)?((?:[0-9a-fA-F]{2})*)")
_BIG_INT = re.compile(r"-?[0-9]{1,80}")
# The plural of a name as a graph-node writes it, where it is not the English one.
_PLURALS = {"BulkSlice": "bulkSliceice"}


@dataclass(frozen=True, slots=True)
class Head:
    """The newest block of a subgraph: number, hash and time."""

    number: int
    hash: str
    parent_hash: str
    timestamp: int


@dataclass(frozen=True, slots=True)
class Scope:
    """What a query is about: the entities, and the block up to which they are known."""

    entities: Entities
    head: Head


@dataclass(frozen=True, slots=True)
class Node:
    """An entity on its way through a query, with the state of the chain that it is seen at."""

    view: View
    entity: Entity


def plural(name: str) -> str:
    """Return the name of the list of a kind in queries, such as ``protectedDatas``."""
    if name in _PLURALS:
        return _PLURALS[name]
    singular = name[0].lower() + name[1:]
    if re.search("[^aeiou]y$", singular):
        return f"{singular[:-1]}ies"
    return f"{singular}es" if singular.endswith("s") else f"{singular}s"


# Scalars. ID, String, Int and Boolean are GraphQL's own.


def _scalar(
    name: str, parse: Callable[[Any], Any], serialize: Callable[[Any], Any], *literals: type[ValueNode]
) -> GraphQLScalarType:
    def literal(node: ValueNode, variables: dict[str, Any] | None = None) -> Any:
        if isinstance(node, StringValueNode | IntValueNode | FloatValueNode) and type(node) in literals:
            return parse(node.value)
        raise GraphQLError(f"Failed to decode `{name}` value")

    return GraphQLScalarType(name, serialize=serialize, parse_value=parse, parse_literal=literal)


def _big_int(value: Any) -> int:
    if isinstance(value, bool) or not _BIG_INT.fullmatch(str(value)):
        raise GraphQLError(f"Failed to decode `BigInt` value: `{shown(value)}`")
    return int(value)


def _big_decimal(value: Any) -> Decimal:
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        number = Decimal("NaN")
    if isinstance(value, bool) or not number.is_finite():
        raise GraphQLError(f"Failed to decode `BigDecimal` value: `{shown(value)}`")
    return number


def _bytes(value: Any) -> str:
    match = _HEX.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise GraphQLError(f"Failed to decode `Bytes` value: `{shown(value)}`")
    return f"0x{match[1].lower()}"


def _decimal_text(value: Decimal) -> str:
    text = format(value, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


_OWN_SCALARS = {
    "BigInt": _scalar("BigInt", _big_int, str, StringValueNode, IntValueNode),
    "BigDecimal": _scalar("BigDecimal", _big_decimal, _decimal_text, StringValueNode, IntValueNode, FloatValueNode),
    "Bytes": _scalar("Bytes", _bytes, str, StringValueNode),
}
_SCALARS = {
    "ID": GraphQLID,
    "String": GraphQLString,
    "Int": GraphQLInt,
    "Boolean": GraphQLBoolean,
    **_OWN_SCALARS,
}

_DIRECTION = GraphQLEnumType("OrderDirection", {"asc": "asc", "desc": "desc"})
_POLICY = GraphQLEnumType("_SubgraphErrorPolicy_", {"allow": "allow", "deny": "deny"})
_CHANGED_BLOCK = GraphQLInputObjectType(
    "BlockChangedFilter", {"number_gte": GraphQLInputField(GraphQLNonNull(GraphQLInt))}
)
_HEIGHT = GraphQLInputObjectType(
    "Block_height",
    {
        "hash": GraphQLInputField(_OWN_SCALARS["Bytes"]),
        "number": GraphQLInputField(GraphQLInt),
        "number_gte": GraphQLInputField(GraphQLInt),
    },
)
_BLOCK = GraphQLObjectType(
    "_Block_",
    {
        "hash": GraphQLField(_OWN_SCALARS["Bytes"]),
        "number": GraphQLField(GraphQLNonNull(GraphQLInt)),
        "timestamp": GraphQLField(GraphQLInt),
        "parentHash": GraphQLField(_OWN_SCALARS["Bytes"]),
    },
)
_META = GraphQLObjectType(
    "_Meta_",
    {
        "block": GraphQLField(GraphQLNonNull(_BLOCK)),
        "deployment": GraphQLField(GraphQLNonNull(GraphQLString)),
        "hasIndexingErrors": GraphQLField(GraphQLNonNull(GraphQLBoolean)),
    },
)


class Api:
    """Builds the schema that queries are checked against and answered by; see `build`.

    Parameters
    ----------
    model
        The entities.
    """

    def __init__(self, model: Model) -> None:
        self._model = model
        self._filters = Filters(model)
        self._enums = {
            name: GraphQLEnumType(name, {value: value for value in values}) for name, values in model.enums.items()
        }
        self._interfaces = {name: self._interface(kind) for name, kind in model.kinds.items() if kind.is_interface}
        self._types: dict[str, GraphQLObjectType | GraphQLInterfaceType] = {
            **self._interfaces,
            **{name: self._object(kind) for name, kind in model.kinds.items() if not kind.is_interface},
        }
        self._wheres = {name: self._where(kind) for name, kind in model.kinds.items()}
        self._orders = {name: self._order_enum(kind) for name, kind in model.kinds.items()}

    def build(self) -> GraphQLSchema:
        """Return the schema; it is executed with a `Scope` as its context."""
        fields: dict[str, GraphQLField] = {}
        for name, kind in self._model.kinds.items():
            fields[name[0].lower() + name[1:]] = self._one(kind)
            fields[plural(name)] = self._many(kind)
        height = {"block": GraphQLArgument(_HEIGHT)}
        fields["_meta"] = GraphQLField(_META, height, resolve=lambda _, info, **given: _meta(info.context, given))
        return GraphQLSchema(GraphQLObjectType("Query", fields), types=list(self._types.values()))

    # What comes out.

    def _object(self, kind: Kind) -> GraphQLObjectType:
        return GraphQLObjectType(
            kind.name,
            lambda: self._members(kind),
            interfaces=[self._interfaces[name] for name in kind.interfaces],
        )

    def _interface(self, kind: Kind) -> GraphQLInterfaceType:
        return GraphQLInterfaceType(
            kind.name, lambda: self._members(kind), resolve_type=lambda node, *_: node.entity.kind
        )

    def _members(self, kind: Kind) -> dict[str, GraphQLField]:
        return {member.name: self._member(member) for member in kind.members.values()}

    def _member(self, member: Member) -> GraphQLField:
        if member.kind not in self._model.kinds:
            leaf = self._enums.get(member.kind) or _SCALARS[member.kind]
            resolve = _value(member.name)
            if member.many:
                return GraphQLField(GraphQLNonNull(GraphQLList(GraphQLNonNull(leaf))), resolve=resolve)
            return GraphQLField(GraphQLNonNull(leaf) if member.required else leaf, resolve=resolve)
        kind, composite = self._model.kinds[member.kind], self._types[member.kind]
        if member.many:
            items = GraphQLNonNull(GraphQLList(GraphQLNonNull(composite)))
            return GraphQLField(items, self._list_arguments(kind), resolve=self._related_page(kind, member))
        of = GraphQLNonNull(composite) if member.required else composite
        return GraphQLField(of, resolve=_related_one(kind, member))

    def _related_page(self, kind: Kind, member: Member) -> Callable[..., list[Node]]:
        def resolve(node: Node, _: Any, **given: Any) -> list[Node]:
            return self._page(node.view, kind, related(node.view, kind, node.entity, member), given)

        return resolve

    # What goes in.

    def _list_arguments(self, kind: Kind) -> dict[str, GraphQLArgument]:
        return {
            "skip": GraphQLArgument(GraphQLInt, default_value=0),
            "first": GraphQLArgument(GraphQLInt, default_value=_DEFAULT_FIRST),
            "orderBy": GraphQLArgument(self._orders[kind.name]),
            "orderDirection": GraphQLArgument(_DIRECTION),
            "where": GraphQLArgument(self._wheres[kind.name]),
        }

    def _where(self, kind: Kind) -> GraphQLInputObjectType:
        def fields() -> dict[str, GraphQLInputField]:
            named = self._filters.conditions[kind.name]
            made = {name: GraphQLInputField(self._input(condition)) for name, condition in named.items()}
            made[CHANGED] = GraphQLInputField(_CHANGED_BLOCK)
            itself = GraphQLInputField(GraphQLList(self._wheres[kind.name]))
            return made | {"and": itself, "or": itself}

        return GraphQLInputObjectType(f"{kind.name}_filter", fields)

    def _input(self, condition: Condition) -> GraphQLInputType:
        member = condition.member
        if condition.comparison is None:
            return self._wheres[member.kind]
        refers = member.kind in self._model.kinds
        single = GraphQLString if refers else self._enums.get(member.kind) or _SCALARS[member.kind]
        return GraphQLList(GraphQLNonNull(single)) if condition.takes_list else single

    def _order_enum(self, kind: Kind) -> GraphQLEnumType:
        names = [member.name for member in kind.members.values()]
        for member in kind.members.values():
            if member.kind in self._model.kinds and not member.many:
                below = self._model.kinds[member.kind].members.values()
                names += [f"{member.name}__{one.name}" for one in below if one.kind not in self._model.kinds]
        return GraphQLEnumType(f"{kind.name}_orderBy", {name: name for name in names})

    # Answers.

    def _one(self, kind: Kind) -> GraphQLField:
        def resolve(_: Any, info: GraphQLResolveInfo[Scope], id: str, **given: Any) -> Node | None:
            view = _view(info.context, given)
            bytes_id = kind.members["id"].kind == "Bytes"
            return _first(view, filter(None, [view.get(kind, _bytes(id) if bytes_id else id)]))

        arguments = {"id": GraphQLArgument(GraphQLNonNull(GraphQLID)), **_root_arguments()}
        return GraphQLField(self._types[kind.name], arguments, resolve=resolve)

    def _many(self, kind: Kind) -> GraphQLField:
        def resolve(_: Any, info: GraphQLResolveInfo[Scope], **given: Any) -> list[Node]:
            view = _view(info.context, given)
            return self._page(view, kind, view.all(kind), given)

        item = GraphQLNonNull(self._types[kind.name])
        arguments = {**self._list_arguments(kind), **_root_arguments()}
        return GraphQLField(GraphQLNonNull(GraphQLList(item)), arguments, resolve=resolve)

    def _page(self, view: View, kind: Kind, found: Iterable[Entity], given: Mapping[str, Any]) -> list[Node]:
        first = _within(given, "first", _DEFAULT_FIRST, 1, MAX_FIRST)
        skip = _within(given, "skip", 0, 0, MAX_SKIP)
        fitting = [entity for entity in found if self._filters.fits(view, kind, entity, given.get("where"))]
        down = given.get("orderDirection") == "desc"
        by = given.get("orderBy") or "id"
        # As in PostgreSQL: what is null comes last, or first where the order is turned around; ties go by id.
        keys = {id(entity): self._sort_value(view, kind, entity, by) for entity in fitting}
        fitting.sort(key=lambda entity: (keys[id(entity)] is None, keys[id(entity)], entity.id), reverse=down)
        return [Node(view, entity) for entity in fitting[skip : skip + first]]

    def _sort_value(self, view: View, kind: Kind, entity: Entity, by: str) -> Any:
        name, _, below = by.partition("__")
        member = kind.members[name]
        if not below:
            return None if member.many else entity.values.get(name)
        other = self._model.kinds[member.kind]
        found = next(related(view, other, entity, member), None)
        return None if found is None else found.values.get(below)


def _root_arguments() -> dict[str, GraphQLArgument]:
    return {
        "block": GraphQLArgument(_HEIGHT),
        "subgraphError": GraphQLArgument(GraphQLNonNull(_POLICY), default_value="deny"),
    }


def _value(name: str) -> Callable[[Node, Any], Any]:
    return lambda node, _: node.entity.values.get(name)


def _related_one(kind: Kind, member: Member) -> Callable[[Node, Any], Node | None]:
    return lambda node, _: _first(node.view, related(node.view, kind, node.entity, member))


def _first(view: View, found: Iterable[Entity]) -> Node | None:
    return next((Node(view, entity) for entity in found), None)


def _within(given: Mapping[str, Any], name: str, default: int, least: int, most: int) -> int:
    value = given.get(name)
    number = default if value is None else cast("int", value)
    if not least <= number <= most:
        raise GraphQLError(f"The `{name}` argument must be between 0 and {most}, but is {number}")
    return number


def _view(scope: Scope, given: Mapping[str, Any]) -> View:
    height = {name: value for name, value in (given.get("block") or {}).items() if value is not None}
    if not height:
        return View(scope.entities)
    if len(height) > 1:
        raise GraphQLError("only one of `hash`, `number` and `number_gte` can be given in a `block` argument")
    if "hash" in height:
        if height["hash"] != scope.head.hash:
            raise GraphQLError("the sandbox's subgraph finds only its newest block by hash; give `number`")
        return View(scope.entities)
    ((name, wanted),) = height.items()
    if wanted > scope.head.number:
        raise GraphQLError(
            f"Failed to decode `block.number` value: `subgraph has only indexed up to block number {scope.head.number} "
            f"and data for block number {wanted} is therefore not yet available`"
        )
    return View(scope.entities, wanted if name == "number" else None)


def _meta(scope: Scope, given: Mapping[str, Any]) -> dict[str, Any]:
    view = _view(scope, given)
    head = scope.head
    newest = {"hash": head.hash, "number": head.number, "timestamp": head.timestamp, "parentHash": head.parent_hash}
    block = newest if view.block in (None, head.number) else {"number": view.block}
    return {"block": block, "deployment": "sandbox", "hasIndexingErrors": False}

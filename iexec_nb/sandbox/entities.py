"""What a subgraph of the sandbox remembers: entities with their history, described by a schema as subgraphs write it.

A subgraph is a schema (GraphQL types with ``@entity``, where ``@derivedFrom`` names the other side of a reference) and
handlers that save entities block by block. Everything that can be asked about them follows from the schema, so that
another index needs a schema and its handlers and nothing more.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Context, Decimal
from typing import Any

from graphql import (
    EnumTypeDefinitionNode,
    FieldDefinitionNode,
    InterfaceTypeDefinitionNode,
    ListTypeNode,
    NamedTypeNode,
    NonNullTypeNode,
    ObjectTypeDefinitionNode,
    StringValueNode,
    TypeNode,
    parse,
)

# As precise as The Graph's own decimals.
_DECIMALS = Context(prec=34)
_NRLC_IN_RLC = Decimal(10**9)


@dataclass(frozen=True, slots=True)
class Member:
    """A field of an entity as its schema declares it.

    Parameters
    ----------
    name
        The field's name.
    kind
        The scalar, enum or entity that it holds.
    many, required
        Whether it is a list; whether it is never null.
    derived_from
        The field of `kind` that refers here, where this one is the other side of a reference.
    """

    name: str
    kind: str
    many: bool
    required: bool
    derived_from: str | None


@dataclass(frozen=True, slots=True)
class Kind:
    """A type of entities, or an interface: its members by name, and the types that are of it (itself, or several)."""

    name: str
    members: Mapping[str, Member]
    interfaces: tuple[str, ...]
    concrete: tuple[str, ...]

    @property
    def is_interface(self) -> bool:
        """Whether entities are of other types that implement this one."""
        return self.concrete != (self.name,)


@dataclass(frozen=True, slots=True)
class Model:
    """A subgraph's schema: its kinds of entities by name, and the values of its enums by name."""

    kinds: Mapping[str, Kind]
    enums: Mapping[str, tuple[str, ...]]

    @classmethod
    def parse(cls, text: str) -> Model:
        """Return the model in a schema text, which is ours and therefore trusted."""
        definitions = parse(text).definitions
        objects = [node for node in definitions if isinstance(node, ObjectTypeDefinitionNode)]
        interfaces = [node for node in definitions if isinstance(node, InterfaceTypeDefinitionNode)]
        enums = {
            node.name.value: tuple(value.name.value for value in node.values or ())
            for node in definitions
            if isinstance(node, EnumTypeDefinitionNode)
        }
        above = {node.name.value: tuple(one.name.value for one in node.interfaces or ()) for node in objects}
        concrete = {name: (name,) for name in above} | {
            node.name.value: tuple(name for name, found in above.items() if node.name.value in found)
            for node in interfaces
        }
        composite: list[ObjectTypeDefinitionNode | InterfaceTypeDefinitionNode] = [*objects, *interfaces]
        kinds = {
            node.name.value: Kind(
                node.name.value,
                {field.name.value: _member(field) for field in node.fields or ()},
                above.get(node.name.value, ()),
                concrete[node.name.value],
            )
            for node in composite
        }
        return cls(kinds, enums)


def _member(field: FieldDefinitionNode) -> Member:
    node: TypeNode = field.type
    required = isinstance(node, NonNullTypeNode)
    many = False
    while not isinstance(node, NamedTypeNode):
        many = many or isinstance(node, ListTypeNode)
        assert isinstance(node, ListTypeNode | NonNullTypeNode)
        node = node.type
    derived = None
    for directive in field.directives or ():
        if directive.name.value == "derivedFrom":
            (argument,) = directive.arguments or ()
            assert isinstance(argument.value, StringValueNode)
            derived = argument.value.value
    return Member(field.name.value, node.name.value, many, required, derived)


@dataclass(frozen=True, slots=True)
class Entity:
    """An entity as it was after the block of its last change."""

    kind: str
    id: str
    block: int
    values: Mapping[str, Any]


class Entities:
    """The entities of a subgraph by kind and id, with every earlier state of them.

    Parameters
    ----------
    model
        The schema.
    """

    def __init__(self, model: Model) -> None:
        self.model = model
        self._states: dict[str, dict[str, list[Entity]]] = {
            name: {} for name, kind in model.kinds.items() if not kind.is_interface
        }
        sides = {
            (concrete, member.derived_from)
            for kind in model.kinds.values()
            for member in kind.members.values()
            if member.derived_from
            for concrete in model.kinds[member.kind].concrete
        }
        # Who refers where: kind and field, then the id referred to, then the ids of those that refer.
        self._referring: dict[tuple[str, str], dict[str, dict[str, None]]] = {side: {} for side in sides}

    def get(self, kind: str, id: str) -> Entity | None:
        """Return an entity as it is now, or None."""
        states = self._states[kind].get(id)
        return states[-1] if states else None

    def save(self, kind: str, id: str, block: int, /, **values: Any) -> None:
        """Set fields of an entity at a block; the others keep their values, and are null in a new one.

        Parameters
        ----------
        kind, id
            Which one.
        block
            The number of the block, never lower than in the call before.
        values
            Fields by name: references as ids, ``Bytes`` as lower-case ``0x`` text, ``BigInt`` as `int`,
            ``BigDecimal`` as `Decimal`.
        """
        states = self._states[kind].setdefault(id, [])
        before = states[-1].values if states else {}
        after = Entity(kind, id, block, {**before, **values, "id": id})
        if after.values == before:
            return
        self._refer(kind, id, before, after.values)
        if states and states[-1].block == block:
            states[-1] = after
        else:
            states.append(after)

    def _refer(self, kind: str, id: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
        for (owner, field), index in self._referring.items():
            if owner != kind or before.get(field) == after.get(field):
                continue
            for target in targets(before.get(field)):
                index[target].pop(id, None)
            for target in targets(after.get(field)):
                index.setdefault(target, {})[id] = None

    def states(self, kind: str) -> Iterable[list[Entity]]:
        """Return the history of every entity of a kind, oldest state first."""
        return self._states[kind].values()

    def history(self, kind: str, id: str) -> list[Entity]:
        """Return the states of one entity, oldest first; none where there is no such entity."""
        return self._states[kind].get(id, [])

    def referring(self, kind: str, field: str, id: str) -> Iterable[str]:
        """Return the ids of entities of a kind whose field refers to `id` now."""
        return self._referring[kind, field].get(id, ())


def to_rlc(nrlc: int) -> Decimal:
    """Return an amount of nRLC in RLC, which is what the prices of iExec's subgraph are in."""
    return _DECIMALS.divide(Decimal(nrlc), _NRLC_IN_RLC)


def targets(value: Any) -> Iterable[str]:
    """Return the ids in the value of a field that refers to one entity, to several, or to none."""
    return value if isinstance(value, list) else () if value is None else (value,)


@dataclass(frozen=True, slots=True)
class View:
    """The entities as they were after a block; as they are now where none is named."""

    entities: Entities
    block: int | None = None

    def get(self, kind: Kind, id: str) -> Entity | None:
        """Return an entity of a kind, or None."""
        for name in kind.concrete:
            found = self._state(self.entities.history(name, id))
            if found is not None:
                return found
        return None

    def all(self, kind: Kind) -> Iterator[Entity]:
        """Yield every entity of a kind."""
        for name in kind.concrete:
            for states in self.entities.states(name):
                found = self._state(states)
                if found is not None:
                    yield found

    def referring(self, kind: Kind, field: str, id: str) -> Iterator[Entity]:
        """Yield the entities of a kind whose field refers to `id`."""
        if self.block is not None:
            yield from (entity for entity in self.all(kind) if id in targets(entity.values.get(field)))
            return
        for name in kind.concrete:
            for other in self.entities.referring(name, field, id):
                found = self.entities.get(name, other)
                assert found is not None
                yield found

    def _state(self, states: list[Entity]) -> Entity | None:
        if self.block is None:
            return states[-1] if states else None
        return next((state for state in reversed(states) if state.block <= self.block), None)

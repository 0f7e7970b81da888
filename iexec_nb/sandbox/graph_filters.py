"""What ``where`` means in a query to a subgraph: the conditions of each type of field, as The Graph defines them.

A name in ``where`` is a field and a comparison written together (``creationTimestamp_gte``); which comparisons there
are follows from the field's type. A comparison with a null is never true, except where null itself is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from graphql import GraphQLError

from iexec_nb.sandbox.entities import Entity, Kind, Member, Model, View, targets

CHANGED = "_change_block"

_EQUALITY = ("", "not", "in", "not_in")
_ORDER = ("", "not", "gt", "lt", "gte", "lte", "in", "not_in")
_BYTES = (*_ORDER, "contains", "not_contains")
_LIST = ("", "not", "contains", "contains_nocase", "not_contains", "not_contains_nocase")
_TEXT = (
    *_ORDER, "contains", "contains_nocase", "not_contains", "not_contains_nocase", "starts_with", "starts_with_nocase",
    "not_starts_with", "not_starts_with_nocase", "ends_with", "ends_with_nocase", "not_ends_with",
    "not_ends_with_nocase",
)  # fmt: skip
_SCALARS = {
    "ID": _ORDER, "Int": _ORDER, "BigInt": _ORDER, "BigDecimal": _ORDER, "Boolean": _EQUALITY, "String": _TEXT,
    "Bytes": _BYTES,
}  # fmt: skip
_TESTS: Mapping[str, Callable[[Any, Any], bool]] = {
    "gt": lambda value, wanted: bool(value > wanted),
    "lt": lambda value, wanted: bool(value < wanted),
    "gte": lambda value, wanted: bool(value >= wanted),
    "lte": lambda value, wanted: bool(value <= wanted),
    "in": lambda value, wanted: value in wanted,
    "contains": lambda value, wanted: _contains(value, wanted),
    "starts_with": lambda value, wanted: bool(value.startswith(wanted)),
    "ends_with": lambda value, wanted: bool(value.endswith(wanted)),
}


@dataclass(frozen=True, slots=True)
class Condition:
    """A name in ``where``: the field, the comparison, and whether the value is a list of what the field holds.

    With the comparison ``None`` the value is a ``where`` for the entities that the field refers to.
    """

    member: Member
    comparison: str | None
    takes_list: bool


def conditions(model: Model, kind: Kind) -> dict[str, Condition]:
    """Return what can stand in the ``where`` of a kind, by name."""
    found: dict[str, Condition] = {}
    for member in kind.members.values():
        for comparison in _comparisons(model, member):
            name = f"{member.name}_{comparison}" if comparison else member.name
            found[name] = Condition(member, comparison, member.many or comparison in ("in", "not_in"))
        if member.kind in model.kinds:
            found[f"{member.name}_"] = Condition(member, None, False)
    return found


def _comparisons(model: Model, member: Member) -> Sequence[str]:
    if member.derived_from:
        return ()
    if member.many:
        return _LIST
    if member.kind in model.enums:
        return _EQUALITY
    # A reference is compared as the text of an id.
    return _TEXT if member.kind in model.kinds else _SCALARS[member.kind]


class Filters:
    """Decides whether an entity fits a ``where``.

    Parameters
    ----------
    model
        The schema.
    """

    def __init__(self, model: Model) -> None:
        self._model = model
        self.conditions = {name: conditions(model, kind) for name, kind in model.kinds.items()}

    def fits(self, view: View, kind: Kind, entity: Entity, where: Mapping[str, Any] | None) -> bool:
        """Return whether all of `where` holds for an entity.

        Raises
        ------
        GraphQLError
            When ``or`` stands beside conditions on fields, which The Graph refuses.
        """
        if not where:
            return True
        if "or" in where and len(where) > 1:
            columns = ", ".join(f"'{name}'" for name in where if name != "or")
            raise GraphQLError(
                "Cannot mix column filters with 'or' operator at the same level. "
                f"Found column filter(s) {columns} alongside 'or' operator."
            )
        return all(self._holds(view, kind, entity, name, value) for name, value in where.items())

    def _holds(self, view: View, kind: Kind, entity: Entity, name: str, wanted: Any) -> bool:
        if name == "and":
            return all(self.fits(view, kind, entity, part) for part in wanted or ())
        if name == "or":
            return any(self.fits(view, kind, entity, part) for part in wanted or ())
        if name == CHANGED:
            return wanted is None or entity.block >= wanted["number_gte"]
        condition = self.conditions[kind.name][name]
        if condition.comparison is not None:
            return compare(entity.values.get(condition.member.name), condition.comparison, wanted)
        other = self._model.kinds[condition.member.kind]
        return any(self.fits(view, other, found, wanted) for found in related(view, other, entity, condition.member))


def related(view: View, kind: Kind, entity: Entity, member: Member) -> Iterator[Entity]:
    """Yield the entities of `kind` that a field of an entity refers to, or that refer to it."""
    if member.derived_from:
        yield from view.referring(kind, member.derived_from, entity.id)
        return
    for id in targets(entity.values.get(member.name)):
        found = view.get(kind, id)
        if found is not None:
            yield found


def compare(value: Any, comparison: str, wanted: Any) -> bool:
    """Return whether a field's value fits, for a comparison such as ``gte`` or ``not_contains_nocase``."""
    if comparison in ("", "not"):
        if wanted is None:
            return (value is None) == (comparison == "")
        return value is not None and (_order_free(value) == _order_free(wanted)) == (comparison == "")
    if value is None or wanted is None:
        return False
    positive = comparison.removeprefix("not_")
    plain = positive.removesuffix("_nocase")
    if plain != positive:
        value, wanted = _folded(value), _folded(wanted)
    return _TESTS[plain](value, wanted) == (positive == comparison)


def _order_free(value: Any) -> Any:
    return sorted(value) if isinstance(value, list) else value


def _contains(value: Any, wanted: Any) -> bool:
    if isinstance(value, list):
        return set(wanted) <= set(value)
    return str(wanted).removeprefix("0x") in value


def _folded(value: Any) -> Any:
    return [item.casefold() for item in value] if isinstance(value, list) else value.casefold()

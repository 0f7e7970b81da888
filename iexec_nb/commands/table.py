"""The table of commands: which methods are verbs, and what is declared about each.

Declaring is cheap and happens while the nouns are imported; nothing here parses or prints.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

C = TypeVar("C", bound=type)
F = TypeVar("F", bound=Callable[..., Any])


class JsonNumber(int):
    """A number that is a number in the official CLI's JSON, too, where others are text."""


@dataclass(frozen=True, kw_only=True)
class Command:
    """One verb of one noun.

    Attributes
    ----------
    noun, verb
        The two words that call it; the verb is the method's name with hyphens.
    function
        The method, not bound.
    example
        One line that works, without the leading ``%iexec``.
    spends
        Whether it signs an order or sends a transaction, so that it asks first.
    aliases
        Other words for the verb, which the official CLI knows.
    js
        The methods of the official SDK's library that it stands for, such as ``app.deployApp``.
    unit
        The unit of an amount that stands on the line without one, where it is not the smallest.
    options
        Other words for options, which the official CLI knows, and the parameters that they mean.
    raw
        Makes the members of the official CLI's JSON (``--raw``) from what the verb returns.
    shortcut
        Whether the verb can be called without its noun (``%iexec info``).
    local
        Whether it works without any chain, so that a broken ``chain.json`` does not keep it from working.
    """

    noun: str
    verb: str
    function: Callable[..., Any]
    example: str
    spends: bool = False
    aliases: tuple[str, ...] = ()
    js: tuple[str, ...] = ()
    unit: str | None = None
    options: Mapping[str, str] = field(default_factory=dict)
    raw: Callable[[Any], Mapping[str, Any]] | None = None
    shortcut: bool = False
    local: bool = False

    @property
    def summary(self) -> str:
        """The first line of the docstring."""
        return (inspect.getdoc(self.function) or "").partition("\n")[0]

    @property
    def attribute(self) -> str:
        """The name by which a client has the noun."""
        return self.noun.replace("-", "_")

    @property
    def line(self) -> str:
        """The words that call it: ``app deploy``, or ``info`` where the noun is not needed."""
        return self.verb if self.shortcut else f"{self.noun} {self.verb}"

    @property
    def parameters(self) -> list[inspect.Parameter]:
        """The parameters of the method, ``self`` excepted."""
        return list(inspect.signature(self.function).parameters.values())[1:]

    def parameter(self, option: str) -> inspect.Parameter | None:
        """Return the parameter that an option's name means; hyphens, underscores and case do not count."""
        wanted = squash(option)
        means = {squash(other): squash(name) for other, name in self.options.items()}
        wanted = means.get(wanted, wanted)
        named = (p for p in self.parameters if p.kind is not inspect.Parameter.VAR_KEYWORD)
        return next((parameter for parameter in named if squash(parameter.name) == wanted), None)


COMMANDS: dict[tuple[str, str], Command] = {}
NOUNS: dict[str, str] = {}


def command(
    example: str,
    *,
    spends: bool = False,
    aliases: tuple[str, ...] = (),
    js: tuple[str, ...] = (),
    unit: str | None = None,
    options: Mapping[str, str] | None = None,
    raw: Callable[[Any], Mapping[str, Any]] | None = None,
    shortcut: bool = False,
    local: bool = False,
) -> Callable[[F], F]:
    """Declare a method of a noun as a command; see `Command` for the arguments."""
    declared = {
        "example": example, "spends": spends, "aliases": aliases, "js": js, "unit": unit,
        "options": dict(options or {}), "raw": raw, "shortcut": shortcut, "local": local,
    }  # fmt: skip

    def mark(function: F) -> F:
        function.__command__ = declared  # type: ignore[attr-defined]
        return function

    return mark


def noun(name: str) -> Callable[[C], C]:
    """Enter the marked methods of a class, and of the classes that it is built on, into the table under this noun."""

    def enter(cls: C) -> C:
        NOUNS[name] = (inspect.getdoc(cls) or "").partition("\n")[0]
        attributes = {attribute for base in cls.__mro__ for attribute in vars(base)}
        for attribute in sorted(attributes, key=lambda one: _line_of(getattr(cls, one, None))):
            function: Any = getattr(cls, attribute, None)
            if marked := getattr(function, "__command__", None):
                # A verb that is a word of Python's has an underscore behind its name: import_.
                verb = attribute.rstrip("_").replace("_", "-")
                COMMANDS[name, verb] = Command(noun=name, verb=verb, function=function, **marked)
        return cls

    return enter


def find(words: Sequence[str]) -> tuple[Command | None, int]:
    """Return the command that words without options begin with, and how many of them are its name."""
    if words and (short := _shortcut(words[0])):
        return short, 1
    if len(words) < 2:
        return None, 0
    name, verb = (word.replace("_", "-") for word in words[:2])
    if exact := COMMANDS.get((name, verb)):
        return exact, 2
    same = (one for one in COMMANDS.values() if one.noun == name and words[1] in one.aliases)
    return next(same, None), 2


def verbs(name: str) -> list[str]:
    """Return the verbs of a noun, sorted."""
    return sorted(verb for one, verb in COMMANDS if one == name)


def shortcuts() -> list[str]:
    """Return the verbs that need no noun, sorted."""
    return sorted(one.verb for one in COMMANDS.values() if one.shortcut)


def squash(name: str) -> str:
    """Return an option's name without hyphens, underscores and case: ``--minVolume`` and ``--min-volume`` are one."""
    return name.replace("-", "").replace("_", "").lower()


def _shortcut(word: str) -> Command | None:
    return next((one for one in COMMANDS.values() if one.shortcut and one.verb == word), None)


def _line_of(function: Any) -> tuple[str, int]:
    code = getattr(function, "__code__", None)
    return ("", 0) if code is None else (code.co_filename, code.co_firstlineno)


def lines_of(name: str) -> list[Command]:
    """Return the commands of a noun in the order of their declaration; of everything when `name` is empty."""
    return [one for one in COMMANDS.values() if not name or one.noun == name]

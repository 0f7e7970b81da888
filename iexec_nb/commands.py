"""The one description of every command.

A verb is a method of a class in `actions`; its decorator, signature and docstring are all that says what the command
is. The magic ``%iexec``, the shell command ``iexec-nb`` and the forms are read from the table in this module. A line
of words becomes a call here: values stay text, because every verb checks its own arguments and takes text for all of
them.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from io import StringIO
from typing import TYPE_CHECKING, Any, TypeVar

from iexec_nb.errors import ValidationError

if TYPE_CHECKING:
    import cyclopts

C = TypeVar("C", bound=type)
F = TypeVar("F", bound=Callable[..., Any])

_OBJECT = "\x00"


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

    @property
    def summary(self) -> str:
        """The first line of the docstring."""
        return (inspect.getdoc(self.function) or "").partition("\n")[0]


@dataclass(frozen=True, kw_only=True)
class Call:
    """A line that has been understood: the command and its arguments."""

    command: Command
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any] = field(default_factory=dict)

    def on(self, client: Any) -> Any:
        """Return what the verb returns on this client (an `IExec`)."""
        noun = getattr(client, self.command.noun)
        return getattr(noun, self.command.function.__name__)(*self.args, **self.kwargs)


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
) -> Callable[[F], F]:
    """Declare a method of a noun as a command; see `Command` for the arguments."""
    declared = {
        "example": example, "spends": spends, "aliases": aliases, "js": js, "unit": unit,
        "options": dict(options or {}), "raw": raw, "shortcut": shortcut,
    }  # fmt: skip

    def mark(function: F) -> F:
        function.__command__ = declared  # type: ignore[attr-defined]
        return function

    return mark


def noun(name: str) -> Callable[[C], C]:
    """Enter the marked methods of a class into the table under this noun."""

    def enter(cls: C) -> C:
        NOUNS[name] = (inspect.getdoc(cls) or "").partition("\n")[0]
        for attribute, function in vars(cls).items():
            if marked := getattr(function, "__command__", None):
                # A verb that is a word of Python's has an underscore behind its name: import_.
                verb = attribute.rstrip("_").replace("_", "-")
                COMMANDS[name, verb] = Command(noun=name, verb=verb, function=function, **marked)
        return cls

    return enter


def parse(words: Sequence[str], objects: Mapping[str, object] | None = None, program: str = "%iexec") -> Call:
    """Return the call that a line of words stands for.

    Parameters
    ----------
    words
        Noun, verb and arguments, split as a shell does. A word ``$name`` stands for the object of that name.
    objects
        The objects that ``$name`` may mean, such as a notebook's variables.
    program
        What the hints of errors begin with.

    Raises
    ------
    ValidationError
        For an unknown noun, verb or option, a missing argument or an unknown name.
    """
    app = _application(program)
    tokens = [_OBJECT + word[1:] if _is_name(word) else word for word in words]
    found = _find(words)
    if found is not None:
        tokens[1] = found.verb
    try:
        _, bound, _ = app.parse_args(tokens, exit_on_error=False, print_error=False)[:3]
    except Exception as error:
        raise _unparsed(error, words, found, program) from error
    if found is None:
        raise _unparsed(None, words, None, program)
    arguments = [_resolve(value, objects or {}) for value in bound.args]
    options = {name: _resolve(value, objects or {}) for name, value in bound.kwargs.items()}
    return Call(command=found, args=tuple(arguments), kwargs=options)


def without_answer(words: Sequence[str]) -> tuple[list[str], bool]:
    """Return a line without the word that answers its question, and whether it was there: ``--yes`` or ``--force``.

    ``--force`` stays where the verb has an option of that name, which replaces something that is there.
    """
    found = _find([word for word in words if not word.startswith("-")])
    own = {parameter.name for parameter in _parameters(found.function)} if found else set()
    answers = ("--yes",) if "force" in own else ("--yes", "--force")
    return [word for word in words if word not in answers], bool({"--yes", "--force"} & set(words))


def help_text(words: Sequence[str], program: str = "%iexec", width: int = 100) -> str:
    """Return the help page of a command, of a noun, or of everything when `words` is empty.

    Raises
    ------
    ValidationError
        When `words` begins with no known noun or verb.
    """
    from rich.console import Console

    page = StringIO()
    known = [word for word in words if not word.startswith("-")]
    if known and known[0] not in NOUNS:
        raise _unparsed(None, known, None, program)
    if len(known) > 1 and _find(known) is None:
        raise _unparsed(None, known, None, program)
    # Not for Jupyter: in a kernel it would display each paragraph by itself instead of writing the page.
    console = Console(file=page, width=width, no_color=True, force_terminal=False, force_jupyter=False, highlight=False)
    _application(program).help_print(known[:2], console=console)
    found = _find(known)
    examples = [found] if found else [c for c in COMMANDS.values() if not known or c.noun == known[0]]
    lines = "\n".join(f"  {program} {one.example}" for one in (examples if known else examples[:4]))
    return f"{page.getvalue().rstrip()}\n\nExamples\n{lines}\n"


def words_after(words: Sequence[str]) -> Iterator[str]:
    """Yield what can follow some words of a line: nouns, verbs or options; no network is touched."""
    if not words:
        yield from sorted(NOUNS)
    elif len(words) == 1:
        yield from sorted(verb for one, verb in COMMANDS if one == words[0])
    elif found := _find(words):
        for parameter in _parameters(found.function):
            if parameter.kind is not inspect.Parameter.VAR_KEYWORD:
                yield f"--{parameter.name.replace('_', '-')}"


def _find(words: Sequence[str]) -> Command | None:
    if len(words) < 2:
        return None
    if exact := COMMANDS.get((words[0], words[1].replace("_", "-"))):
        return exact
    return next((c for c in COMMANDS.values() if c.noun == words[0] and words[1] in c.aliases), None)


def _unparsed(error: Exception | None, words: Sequence[str], found: Command | None, program: str) -> ValidationError:
    from difflib import get_close_matches

    if found is not None:
        text = " ".join(str(error).replace(_OBJECT, "$").split())
        return ValidationError(text, hint=f"{program} {found.noun} {found.verb} --help, or: {program} {found.example}")
    known = sorted(NOUNS) if not words or words[0] not in NOUNS else list(words_after(words[:1]))
    wrong = "" if not words else words[0] if words[0] not in NOUNS else words[1] if len(words) > 1 else ""
    close = get_close_matches(wrong, known, 1)
    message = f"{wrong!r} is not a command" if wrong else "the command is not complete"
    return ValidationError(message, hint=f"did you mean {close[0]!r}?" if close else f"use one of {', '.join(known)}")


def _is_name(word: str) -> bool:
    return word.startswith("$") and word[1:].isidentifier()


def _resolve(value: Any, objects: Mapping[str, object]) -> Any:
    if isinstance(value, list):
        return [_resolve(one, objects) for one in value]
    if not (isinstance(value, str) and value.startswith(_OBJECT)):
        return value
    if value[1:] not in objects:
        raise ValidationError(
            f"there is no variable {value[1:]!r}", hint="$name takes the value of a variable of that name"
        )
    return objects[value[1:]]


def _parameters(function: Callable[..., Any]) -> list[inspect.Parameter]:
    return list(inspect.signature(function).parameters.values())[1:]


def _text_signature(function: Callable[..., Any]) -> Callable[..., None]:
    """Return a stand-in whose parameters take words: flags stay flags, lists repeat, all else is text for the verb."""

    def stand_in(*args: Any, **kwargs: Any) -> None: ...

    parameters = []
    for parameter in _parameters(function):
        annotation = str(parameter.annotation)
        optional = parameter.default is not inspect.Parameter.empty
        kind: Any = bool if annotation == "bool" else list[str] if "Sequence" in annotation else str
        kind = kind | None if optional and kind is not bool else kind
        is_positional = parameter.kind is inspect.Parameter.POSITIONAL_ONLY
        parameters.append(
            parameter.replace(
                annotation=kind,
                kind=inspect.Parameter.POSITIONAL_OR_KEYWORD if is_positional else parameter.kind,
                default=parameter.default if not optional or isinstance(parameter.default, bool) else None,
            )
        )
    stand_in.__doc__ = _before_examples(inspect.getdoc(function) or "")
    stand_in.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    stand_in.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return stand_in


def _before_examples(doc: str) -> str:
    for section in ("Returns", "Yields", "Raises", "Notes", "Examples", "Source"):
        doc = doc.partition(f"\n{section}\n---")[0]
    return doc


def _application(program: str) -> cyclopts.App:
    import cyclopts

    # Options have the names of the arguments, also where those are iExec's own (orderHash).
    defaults = cyclopts.Parameter(negative=(), show_default=False, name_transform=lambda name: name.replace("_", "-"))
    app = cyclopts.App(name=program, help="iExec in a notebook.", version_flags=[], default_parameter=defaults)
    for name, summary in NOUNS.items():
        group = cyclopts.App(name=name, help=summary)
        for one in COMMANDS.values():
            if one.noun == name:
                group.command(_text_signature(one.function), name=[one.verb], alias=one.aliases)
        app.command(group)
    return app

"""From a line of words to a call: the grammar of the official CLI, read from the signatures of the verbs.

The spelling of a line is made regular here (``--price 1 RLC``, ``--app`` with or without a hash, ``--dataset-restrict``
for ``datasetrestrict``, options for every command among those of one), then cyclopts binds it to the signature. Values
stay text, because every verb checks its own arguments and takes text for all of them.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from iexec_nb.commands.table import NOUNS, Command, find, shortcuts, squash, verbs
from iexec_nb.errors import ValidationError
from iexec_nb.protocol.types import Secret
from iexec_nb.protocol.units import ETHER_UNITS, RLC_UNITS

if TYPE_CHECKING:
    import cyclopts

_OBJECT = "\x00"
_ALONE = "\x01"
_TOGETHER = re.compile(r"^(\w+(?:, \w+)+)\n((?:    .*(?:\n|$)|\n(?=    ))+)", re.MULTILINE)
_GONE = {
    ("getether", "geteth", "getrlc"): "the faucets of former test networks are gone; a sandbox gives ether and RLC",
    ("bridgetosidechain", "bridgetomainchain"): "the bridge to the former sidechain is not here",
    ("swaprlcforerlc", "swaperlcforrlc"): "the swap of RLC and eRLC is not here",
}
"""Commands of former versions that nothing stands for."""
_UNITS = frozenset({*RLC_UNITS, *ETHER_UNITS})


@dataclass(frozen=True, kw_only=True)
class Options:
    """What a line says about the session instead of the verb: the options that every command takes.

    Attributes
    ----------
    chain, keystoredir, wallet_file, wallet_address, password, gas_price, confirms, tee_framework
        As the official CLI's options of these names; text, or the object of ``$name``.
    raw, quiet, help, traceback
        How to show what happens.
    answered
        Whether the question of a command that spends is answered with yes (``--yes``, ``--force``).
    """

    chain: Any = None
    keystoredir: Any = None
    wallet_file: Any = None
    wallet_address: Any = None
    password: Any = None
    gas_price: Any = None
    confirms: Any = None
    tee_framework: Any = None
    raw: bool = False
    quiet: bool = False
    help: bool = False
    traceback: bool = False
    answered: bool = False

    @property
    def session(self) -> dict[str, Any]:
        """The options that need another client than the one at hand."""
        names = ("chain", "keystoredir", "wallet_file", "wallet_address", "password", "gas_price", "confirms",
                 "tee_framework")  # fmt: skip
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}


VALUES = ("chain", "keystoredir", "wallet_file", "wallet_address", "password", "gas_price", "confirms", "tee_framework")
"""Options of every command that take a value."""
FLAGS = {"raw": "raw", "quiet": "quiet", "help": "help", "traceback": "traceback", "yes": "answered",
         "force": "answered"}  # fmt: skip
"""Options of every command that stand alone, and what they set."""
_VALUES = {squash(name): name for name in VALUES}


@dataclass(frozen=True, kw_only=True)
class Call:
    """A line that has been understood: the command, its arguments, and what it says about the session."""

    command: Command
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    options: Options = field(default_factory=Options)

    def on(self, client: Any) -> Any:
        """Return what the verb returns on this client (an `IExec`)."""
        noun = getattr(client, self.command.attribute)
        return getattr(noun, self.command.function.__name__)(*self.args, **self.kwargs)


def split(words: Sequence[str]) -> tuple[list[str], Options]:
    """Return a line in regular spelling, and the options in it that are not the verb's own.

    A word ``$name`` is marked, so that `parse` puts an object in its place. No word that is the value of an option is
    taken for an option, whatever it looks like.
    """
    found, _ = find(_leading(words))
    walk = _Walk(found)
    walk.over(list(words))
    return walk.words, walk.options


def parse(
    words: Sequence[str],
    objects: Mapping[str, object] | None = None,
    program: str = "%iexec",
    *,
    private: bool = False,
) -> Call:
    """Return the call that a line of words stands for.

    Parameters
    ----------
    words
        Noun, verb and arguments, split as a shell does. A word ``$name`` stands for the object of that name.
    objects
        The objects that ``$name`` may mean, such as a notebook's variables.
    program
        What the hints of errors begin with.
    private
        Whether a secret may stand on the line: a shell's is the user's own, a notebook's is kept.

    Raises
    ------
    ValidationError
        For an unknown noun, verb or option, a missing argument, an unknown name, or a secret where none may stand.
    """
    regular, options = split(words)
    found, count = find(regular)
    if found is None:
        raise unknown(words, program)
    try:
        _, bound, _ = _application(found, program).parse_args(
            [found.verb, *regular[count:]], exit_on_error=False, print_error=False
        )[:3]
    except Exception as error:
        raise _unparsed(error, found, program) from None
    named = objects or {}
    values = _Values(found, named, private)
    arguments = dict(zip([p.name for p in found.parameters], bound.args, strict=False))
    given = {name: values.of(name, value) for name, value in {**arguments, **bound.kwargs}.items()}
    _add_unit(found, given)
    args = tuple(given.pop(name) for name in arguments)
    session = {name: values.session(name, value) for name, value in options.session.items()}
    return Call(command=found, args=args, kwargs=given, options=replace(options, **session))


def unknown(words: Sequence[str], program: str) -> ValidationError:
    """Return the error for a line that begins with no command, with what may have been meant."""
    from difflib import get_close_matches

    leading = _leading(words)
    has_noun = bool(leading) and leading[0] in NOUNS
    known = verbs(leading[0]) if has_noun else sorted({*NOUNS, *shortcuts()})
    wrong = (leading[1] if len(leading) > 1 else "") if has_noun else leading[0] if leading else ""
    close = get_close_matches(wrong, known, 1)
    message = f"{wrong!r} is not a command" if wrong else "the command is not complete"
    hint = f"did you mean {close[0]!r}?" if close else f"use one of {', '.join(known)}"
    # Somebody who asks for money is not to be led to a command that gives it away.
    hint = next((gone for words, gone in _GONE.items() if has_noun and squash(wrong) in words), hint)
    if not wrong and has_noun:
        hint = f"{program} {leading[0]} takes one of {', '.join(known)}"
    return ValidationError(message, hint=hint)


class _Walk:
    """Goes over the words of a line once, with the declaration of its command at hand."""

    def __init__(self, found: Command | None) -> None:
        self._found = found
        self.words: list[str] = []
        self.options = Options()

    def over(self, rest: list[str]) -> None:
        while rest:
            word = rest.pop(0)
            if word == "--":
                # cyclopts would take the mark itself for the end of options, too: all that follows is arguments.
                self.words += ["--", *map(_marked, rest)]
                return
            if word == "-h":
                word = "--help"
            if word.startswith("--"):
                self._option(word, rest)
            else:
                self.words.append(_marked(word))

    def _option(self, word: str, rest: list[str]) -> None:
        name, equals, value = word[2:].partition("=")
        parameter = self._found.parameter(name) if self._found else None
        own = None if parameter is None else parameter.name
        if squash(name) in FLAGS and not equals:
            self.options = replace(self.options, **{FLAGS[squash(name)]: True})
        if parameter is not None:
            self._own(parameter, [value] if equals else None, rest)
        elif squash(name) in _VALUES:
            values = [value] if equals else _taken(rest, "Amount" if squash(name) == "gasprice" else "")
            if values:
                given: dict[str, Any] = {_VALUES[squash(name)]: _marked(" ".join(values))}
                self.options = replace(self.options, **given)
            else:
                self.words.append(word)
        elif own is None and (squash(name) not in FLAGS or equals):
            self._foreign(word, equals, rest)

    def _own(self, parameter: inspect.Parameter, given: list[str] | None, rest: list[str]) -> None:
        annotation, option = str(parameter.annotation), f"--{_shown(parameter)}"
        if annotation == "bool":
            self.words.append(option if given is None else f"{option}={given[0]}")
            return
        optional = _is_optional(annotation)
        if given is None and "Sequence" in annotation:
            given = []
            while rest and not rest[0].startswith("--"):
                given.append(rest.pop(0))
        elif given is None:
            # A word after an option with an optional value is its value, unless it is an option; after one that needs
            # a value it is its value whatever it looks like.
            given = [] if optional and (not rest or rest[0].startswith("--")) else _taken(rest, annotation)
        if not given:
            self.words.append(f"{option}={_ALONE}" if optional else option)
        elif "Sequence" in annotation:
            self.words += [f"{option}={_marked(one)}" for one in given]
        else:
            self.words.append(f"{option}={_marked(' '.join(given))}")

    def _foreign(self, word: str, equals: str, rest: list[str]) -> None:
        """Keep an option that the signature does not name; fields of an order (``**fields``) take a value each."""
        takes_any = self._found is not None and any(
            p.kind is inspect.Parameter.VAR_KEYWORD for p in self._found.parameters
        )
        if takes_any and not equals and rest and not rest[0].startswith("--"):
            word = f"{word}={_marked(' '.join(_taken(rest, 'Amount')))}"
        elif equals:
            name, _, value = word.partition("=")
            word = f"{name}={_marked(value)}"
        self.words.append(word)


class _Values:
    """Turns bound text into what the verb is given: objects for their names, secrets, and True for an option alone."""

    def __init__(self, found: Command, objects: Mapping[str, object], private: bool) -> None:
        self._objects = objects
        self._private = private
        self._secret = {p.name for p in found.parameters if "Secret" in str(p.annotation)}
        self._optional = {p.name for p in found.parameters if _is_optional(str(p.annotation))}

    def of(self, name: str, value: Any) -> Any:
        if isinstance(value, list):
            return [self.of(name, one) for one in value]
        if value == _ALONE and name in self._optional:
            return True
        resolved = self._object(value)
        return self._guarded(name, resolved) if name in self._secret else resolved

    def session(self, name: str, value: Any) -> Any:
        resolved = self._object(value)
        return self._guarded(name, resolved) if name == "password" else resolved

    def _object(self, value: Any) -> Any:
        if not (isinstance(value, str) and value.startswith(_OBJECT)):
            return value
        if value[1:] not in self._objects:
            raise ValidationError(
                f"there is no variable {value[1:]!r}", hint="$name takes the value of a variable of that name"
            )
        return self._objects[value[1:]]

    def _guarded(self, name: str, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        if self._private:
            return Secret(value)
        option = name.rstrip("_").replace("_", "-")
        raise ValidationError(
            f"{option} is refused on this line, because the line is kept in the history",
            context={"what was typed": "is in the history now, and in the notebook: if it was real, use another"},
            hint=f"leave it out to be asked for it, or name a variable that holds a Secret: ${name.rstrip('_')}",
        )


def _is_optional(annotation: str) -> bool:
    return "bool" in annotation and "str" in annotation


def _taken(rest: list[str], annotation: str) -> list[str]:
    """Take the value of an option off the line: one word, and for an amount the unit that may follow it."""
    if not rest:
        return []
    values = [rest.pop(0)]
    if "Amount" in annotation and rest and rest[0] in _UNITS:
        values.append(rest.pop(0))
    return values


def _leading(words: Sequence[str]) -> list[str]:
    """Return the words that stand before the first option of a command, those for every command left out."""
    leading: list[str] = []
    rest = list(words)
    while rest:
        word = rest.pop(0)
        name = squash(word[2:].partition("=")[0]) if word.startswith("--") else None
        if name in _VALUES and "=" not in word:
            _taken(rest, "Amount" if name == "gasprice" else "")
        elif name is None and word != "-h":
            leading.append(word if leading else word.replace("_", "-"))
        elif name is not None and name not in FLAGS and name not in _VALUES and len(leading) > 1:
            break
    return leading


def _marked(word: str) -> str:
    return _OBJECT + word[1:] if word.startswith("$") and word[1:].isidentifier() else word


def _add_unit(found: Command, given: dict[str, Any]) -> None:
    """Put the command's unit behind a bare number: the CLI counts ether where the library counts wei."""
    if found.unit is None or given.get("unit") is not None:
        return
    for parameter in found.parameters:
        value = given.get(parameter.name)
        if "Amount" in str(parameter.annotation) and isinstance(value, str) and " " not in value.strip():
            given[parameter.name] = f"{value} {found.unit}"


def _unparsed(error: Exception, found: Command, program: str) -> ValidationError:
    said, meant = _said(error, found)
    text = " ".join(said.replace(_OBJECT, "$").replace(_ALONE, "").split())
    hint = f"{program} {found.line} --help, or: {program} {found.example}"
    return ValidationError(text, hint=f"did you mean {meant}? {hint}" if meant else hint)


def _said(error: Exception, found: Command) -> tuple[str, str]:
    """Return what is wrong in the official CLI's words where it has any, and the option that may have been meant."""
    from difflib import get_close_matches

    from cyclopts.exceptions import MissingArgumentError, UnknownOptionError, UnusedCliTokensError

    if isinstance(error, MissingArgumentError) and error.argument and (one := found.parameter(error.argument.name[2:])):
        option = _shown(one)
        if error.keyword or error.argument.tokens:
            return f"option '--{option}' argument missing", ""
        is_option = one.kind is inspect.Parameter.KEYWORD_ONLY
        return f"Missing --{option} option" if is_option else f"missing required argument '{option}'", ""
    if isinstance(error, UnknownOptionError):
        # What stands behind the sign may be a secret whose option is mistyped.
        wrong = (error.token.keyword or error.token.value).partition("=")[0]
        known = [f"--{_shown(parameter)}" for parameter in found.parameters]
        return f"unknown option '{wrong}'", next(iter(get_close_matches(wrong, known, 1)), "")
    if isinstance(error, UnusedCliTokensError):
        private = any("Secret" in str(parameter.annotation) for parameter in found.parameters)
        extra = "" if private else f": {', '.join(map(repr, error.unused_tokens or ()))}"
        return f"too many arguments for '{found.verb}'{extra}", ""
    return str(error), ""


def _shown(parameter: inspect.Parameter) -> str:
    return parameter.name.rstrip("_").replace("_", "-")


def text_signature(function: Callable[..., Any]) -> Callable[..., None]:
    """Return a stand-in whose parameters take words: flags stay flags, lists repeat, all else is text for the verb."""

    def stand_in(*args: Any, **kwargs: Any) -> None: ...

    parameters = []
    for parameter in list(inspect.signature(function).parameters.values())[1:]:
        annotation = str(parameter.annotation)
        optional = parameter.default is not inspect.Parameter.empty
        kind: Any = bool if annotation == "bool" else list[str] if "Sequence" in annotation else str
        kind = kind | None if optional and kind is not bool else kind
        is_positional = parameter.kind is inspect.Parameter.POSITIONAL_ONLY
        parameters.append(
            parameter.replace(
                annotation=kind,
                kind=inspect.Parameter.POSITIONAL_OR_KEYWORD if is_positional else parameter.kind,
                default=parameter.default if not optional or (kind is bool) else None,
            )
        )
    stand_in.__doc__ = _before_examples(inspect.getdoc(function) or "")
    stand_in.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    stand_in.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return stand_in


def _before_examples(doc: str) -> str:
    for section in ("Returns", "Yields", "Raises", "Notes", "Examples", "Source"):
        doc = doc.partition(f"\n{section}\n---")[0]
    # What is said of several parameters at once is said of each: cyclopts looks them up by name.
    return _TOGETHER.sub(lambda found: "".join(f"{name}\n{found[2]}" for name in found[1].split(", ")), doc)


def _application(found: Command, program: str) -> cyclopts.App:
    app = new_application(program)
    app.command(text_signature(found.function), name=[found.verb])
    return app


def new_application(name: str, summary: str = "") -> cyclopts.App:
    """Return an empty application of cyclopts whose options have the names of the arguments (orderHash, too)."""
    import cyclopts

    defaults = cyclopts.Parameter(
        negative=(), show_default=False, name_transform=lambda word: word.rstrip("_").replace("_", "-")
    )
    return cyclopts.App(name=name, help=summary, version_flags=[], default_parameter=defaults)

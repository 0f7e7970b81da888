"""From values to the text of a command line, for tasks that differ by their parameters.

A worker splits ``iexec_args`` into words at spaces, and takes what stands in single or double quotes as one word. The
real one knows no backslash (``CommandLineUtils.translateCommandline``), a shell does; single quotes mean the same to
both, so that is how a value is written that is more than one plain word.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from string import Formatter

from iexec_nb.errors import ValidationError
from iexec_nb.protocol.params import dumps
from iexec_nb.protocol.types import shown

_FORMATTER = Formatter()
_CONVERSIONS: dict[str | None, Callable[[object], object]] = {
    None: lambda value: value,
    "s": str,
    "r": repr,
    "a": ascii,
}


def words(values: Mapping[str, object]) -> str:
    """Return values as words of a command line: ``--name value`` for each, in their order.

    What is missing (None, NaN) is left out; a list or a mapping becomes its JSON text.

    Examples
    --------
    >>> words({"alpha": 0.5, "name": "John Smith", "seed": None})
    "--alpha 0.5 --name 'John Smith'"
    """
    given = [(name, text(value)) for name, value in values.items()]
    return " ".join(f"{shlex.quote(f'--{name}')} {shlex.quote(one)}" for name, one in given if one is not None)


def filled(template: str, values: Mapping[str, object], places: Sequence[object] = ()) -> str:
    """Return a command line made of a template, in which each value stays one word whatever it holds.

    Parameters
    ----------
    template
        As for ``str.format``: ``--alpha {alpha:.3f}``; ``{}`` takes the values of `places`.
    values
        Values by name.
    places
        Values by position.

    Raises
    ------
    ValidationError
        When a value is missing or unknown, or does not fit its format.

    Examples
    --------
    >>> filled("--name {name} --rate={rate:.2f}", {"name": "it's me", "rate": 0.125})
    '--name \\'it\\'"\\'"\\'s me\\' --rate=0.12'
    """
    made: list[str] = []
    quote = ""
    try:
        fields = list(_FORMATTER.parse(template))
    except ValueError as error:
        raise _unusable(template, str(error)) from None
    count = 0
    for literal, name, spec, conversion in fields:
        made.append(literal)
        quote = _open_quote(quote, literal)
        if name is None:
            continue
        if not name:
            name, count = str(count), count + 1
        made.append(_word(_value(template, name, spec or "", conversion, values, places), quote))
    return "".join(made)


def text(value: object) -> str | None:
    """Return a value as text, or None for one that is missing."""
    # NaN is the one value that is not itself.
    if value is None or (isinstance(value, float) and value != value):
        return None
    return dumps(value) if isinstance(value, Mapping | list | tuple) else str(value)


def quoted(value: object) -> str:
    """Return a value as one word of a command line; nothing for one that is missing."""
    one = text(value)
    return "" if one is None else shlex.quote(one)


def _value(
    template: str,
    name: str,
    spec: str,
    conversion: str | None,
    values: Mapping[str, object],
    places: Sequence[object],
) -> str:
    try:
        found, _ = _FORMATTER.get_field(name, tuple(places), values)
    except (KeyError, IndexError, AttributeError, TypeError, ValueError):
        known = [str(one) for one in values] or [str(place) for place in range(len(places))]
        close = get_close_matches(name, known, 1)
        hint = f"did you mean {{{close[0]}}}?" if close else f"the names are {shown(', '.join(known), 200) or 'none'}"
        raise _unusable(template, f"there is no {{{shown(name)}}}", hint) from None
    if text(found) is None:
        raise _unusable(template, f"{{{shown(name)}}} has no value", "leave out the rows where it is missing: dropna()")
    try:
        wanted = _FORMATTER.vformat(spec, tuple(places), values)
        if not wanted and conversion is None:
            return text(found) or ""
        return format(_CONVERSIONS[conversion](found), wanted)
    except (KeyError, IndexError, AttributeError, TypeError, ValueError) as error:
        raise _unusable(template, f"{shown(found)} does not fit {{{shown(name)}:{shown(spec)}}}: {error}") from None


def _word(value: str, quote: str) -> str:
    """Return a value as a part of a word; inside quotes of the template those are closed and opened again."""
    quoted = shlex.quote(value)
    return value if quoted == value and value else f"{quote}{quoted}{quote}"


def _open_quote(quote: str, literal: str) -> str:
    """Return the quote that is open behind a piece of the template, or nothing."""
    for character in literal:
        if quote:
            quote = "" if character == quote else quote
        elif character in "\"'":
            quote = character
    return quote


def _unusable(template: str, reason: str, hint: str = "") -> ValidationError:
    return ValidationError(
        f"{shown(template)!r} cannot be filled: {reason}",
        context={"argument": "args"},
        hint=hint or 'give args as text with names in braces, such as "--alpha {alpha}"',
    )

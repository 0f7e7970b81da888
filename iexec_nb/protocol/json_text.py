"""JSON text as the files of a project hold it: written as JavaScript writes it, and read so that a place can be named.

People edit these files by hand. A message about one of them therefore says the line and the key, which a parser
forgets, and a file that goes through here and through the official CLI has the same bytes.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

from iexec_nb.errors import ValidationError

Keys = tuple[str | int, ...]

# Text that does not end goes to the end: to look for its end again after each of its quotes would take for ever.
_TOKEN = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)|[{}\[\],:]|[^\s{}\[\],:"]++', re.DOTALL)
_SURROGATE = re.compile("[\ud800-\udfff]")
_LITERALS = ("NaN", "Infinity", "-Infinity")


def stringify(value: Any, indent: str = "") -> str:
    """Return a value as ``JSON.stringify(value, null, 2)`` writes it: two spaces, no line break at the end.

    Whole numbers are exact at any size. The order of members is kept.

    Raises
    ------
    ValidationError
        When JSON has no such value.
    """
    inner = indent + "  "
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        members = [f"{inner}{_text(key)}: {stringify(one, inner)}" for key, one in value.items()]
        return "{\n" + ",\n".join(members) + f"\n{indent}}}" if members else "{}"
    if isinstance(value, Sequence) and not isinstance(value, str | bytes | bytearray):
        elements = [inner + stringify(one, inner) for one in value]
        return "[\n" + ",\n".join(elements) + f"\n{indent}]" if elements else "[]"
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return _number(value)
    raise ValidationError(f"a {type(value).__name__} has no place in a JSON file", hint="give text, a number or a list")


def keys_at(text: str, position: int) -> Keys:
    """Return the keys that lead to a place in JSON text, which may be broken from there on."""
    keys: Keys = ()
    for offset, path, _ in _walk(text):
        # A bracket that closes too early is wrong under the keys before it.
        if offset > position or (offset == position and text[offset] in "]}"):
            break
        keys = path
    return keys


def line_of(text: str, keys: Keys) -> int:
    """Return the line, from 1, of the member that keys lead to; where it is missing, of what it is missing in."""
    # Only what leads there is kept: a file may hold millions of others.
    found = {path: offset for offset, path, begins in _walk(text) if begins and keys[: len(path)] == path}
    while keys and keys not in found:
        keys = keys[:-1]
    return text.count("\n", 0, found.get(keys, 0)) + 1


def not_a_number(text: str) -> int | None:
    """Return where ``NaN`` or ``Infinity`` stands, which Python's parser takes and JSON does not know."""
    if not any(word in text for word in _LITERALS[:2]):
        return None
    return next((match.start() for match in _TOKEN.finditer(text) if match[0] in _LITERALS), None)


def dotted(keys: Keys) -> str:
    """Return keys as people write them: ``chains.dev.id``, ``dapps[0].name``."""
    return "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in keys).removeprefix(".")


def _walk(text: str) -> Iterator[tuple[int, Keys, bool]]:
    """Yield for each token where it stands, the keys that lead there, and whether a member or an element begins."""
    # A frame is an object's key, or a list's index; None before the first key.
    frames: list[str | int | None] = []
    expects = False
    for match in _TOKEN.finditer(text):
        piece, begins = match[0], False
        if piece in "{[":
            begins = _element_begins(frames, expects)
            yield match.start(), _keys(frames), begins
            frames.append(None if piece == "{" else 0)
            expects = True
            continue
        if piece in "}]":
            if frames:
                frames.pop()
            expects = False
        elif piece == ",":
            if frames and isinstance(frames[-1], int):
                frames[-1] += 1
            expects = True
        elif piece != ":" and expects and frames:
            if not isinstance(frames[-1], int):
                frames[-1] = _name(piece)
            begins, expects = True, False
        yield match.start(), _keys(frames), begins


def _element_begins(frames: list[str | int | None], expects: bool) -> bool:
    return bool(frames) and expects and isinstance(frames[-1], int)


def _keys(frames: list[str | int | None]) -> Keys:
    return tuple(frame for frame in frames if frame is not None)


def _name(token: str) -> str:
    try:
        return str(json.loads(token))
    except ValueError:
        return token


def _text(value: str) -> str:
    return _SURROGATE.sub(lambda match: f"\\u{ord(match[0]):04x}", json.dumps(value, ensure_ascii=False))


def _number(value: float) -> str:
    if not math.isfinite(value):
        return "null"
    if value == 0:
        return "0"
    if 1e-6 <= abs(value) < 1e21:
        plain = format(Decimal(repr(value)), "f")
        return plain.rstrip("0").rstrip(".") if "." in plain else plain
    mantissa, _, exponent = repr(value).partition("e")
    return f"{mantissa}e{int(exponent):+d}"

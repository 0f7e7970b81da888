"""What the public registries ask of the description in ``iexec.json``: every rule that one breaks, with its key.

The words are those of the official CLI (up to 8.9), which stops at the first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import Any

from iexec_nb.errors import ValidationError
from iexec_nb.protocol.json_text import Keys, dotted
from iexec_nb.protocol.resources import mrenclave_bytes
from iexec_nb.protocol.types import address, bytes32, shown, uint256

Problem = tuple[Keys, str]
Rule = Callable[[Keys, Any], Iterator[Problem]]

DESCRIPTION_LENGTH = (150, 2000)
MOST_PROBLEMS = 20
"""Nobody mends more at a time, and a hostile file has millions."""


def problems_of(kind: str, content: Mapping[str, Any]) -> list[Problem]:
    """Return the keys and the texts of what keeps a description out of the registry: the first 20, or nothing.

    Parameters
    ----------
    kind
        ``app``, ``dataset`` or ``workerpool``.
    content
        The object in ``iexec.json``.
    """
    return list(islice(_RULES[kind]((), content), MOST_PROBLEMS))


def _fields(required: Mapping[str, Rule], optional: Mapping[str, Rule], *, strict: bool = False) -> Rule:
    """Return the rule of an object whose members have rules; `strict` allows no others."""
    rules = {**required, **optional}

    def check(keys: Keys, value: Any) -> Iterator[Problem]:
        if not isinstance(value, Mapping):
            yield keys, f"{dotted(keys)} must be a `object` type"
            return
        unknown = [key for key in value if key not in rules]
        if strict and unknown:
            where = dotted(keys) or "this"
            yield (*keys, unknown[0]), f"{where} field has unspecified keys: {', '.join(map(shown, unknown))}"
        for key, rule in rules.items():
            if key not in value or value[key] == "":
                if key in required:
                    yield (*keys, key), f"{dotted((*keys, key))} is a required field"
            else:
                yield from rule((*keys, key), value[key])

    return check


def _text(keys: Keys, value: Any) -> Iterator[Problem]:
    if not isinstance(value, str):
        yield keys, f"{dotted(keys)} must be a `string` type"


def _description(keys: Keys, value: Any) -> Iterator[Problem]:
    low, high = DESCRIPTION_LENGTH
    if not isinstance(value, str):
        yield from _text(keys, value)
    elif len(value) < low:
        yield keys, f"{dotted(keys)} must be at least {low} characters"
    elif len(value) > high:
        yield keys, f"{dotted(keys)} must be at most {high} characters"


def _parsed(parse: Callable[[object], object]) -> Rule:
    def check(keys: Keys, value: Any) -> Iterator[Problem]:
        try:
            parse(value)
        except ValidationError as error:
            yield keys, error.message

    return check


def _docker(keys: Keys, value: Any) -> Iterator[Problem]:
    if value != "DOCKER":
        yield keys, f"{shown(value)} is not a valid type"


def _addresses(keys: Keys, value: Any) -> Iterator[Problem]:
    if not isinstance(value, Mapping):
        yield keys, f"{dotted(keys)} must be a `object` type"
        return
    for chain_id, where in value.items():
        if not (chain_id.isascii() and chain_id.isdigit()):
            yield (*keys, chain_id), f"{shown(chain_id)} is not a valid chainId"
        yield from _ADDRESS((*keys, chain_id), where)


def _dapps(keys: Keys, value: Any) -> Iterator[Problem]:
    if not isinstance(value, list):
        yield keys, f"{dotted(keys)} must be a `array` type"
        return
    for index, one in enumerate(value):
        yield from _DAPP((*keys, index), one)


_ADDRESS = _parsed(address)
_BUY_CONF = _fields(
    {"params": _fields({}, {"iexec_args": _text}, strict=True)},
    {"trust": _parsed(uint256), "tag": _parsed(bytes32), "callback": _ADDRESS},
)
_DAPP = _fields({"name": _text, "addresses": _addresses}, {"buyConf": _BUY_CONF})
_BASE: dict[str, Rule] = {
    "description": _description,
    "logo": _text,
    "social": _fields({}, {"website": _text, "github": _text}),
}
_EXTRA: dict[str, Rule] = {"type": _text, "repo": _text}
_SIGNED: dict[str, Rule] = {**_BASE, "license": _text, "author": _text}
_DATASET = {"owner": _ADDRESS, "name": _text, "multiaddr": _text, "checksum": _parsed(bytes32)}
_RULES = {
    "app": _fields(
        {**_SIGNED, "app": _fields({**_DATASET, "type": _docker}, {"mrenclave": _parsed(mrenclave_bytes)}),
         "buyConf": _BUY_CONF}, _EXTRA, strict=True,
    ),
    "dataset": _fields(
        {**_SIGNED, "dataset": _fields(_DATASET, {})}, {**_EXTRA, "categories": _text, "dapps": _dapps}, strict=True
    ),
    "workerpool": _fields(
        {**_BASE, "workerpool": _fields({"owner": _ADDRESS, "description": _text}, {})}, _EXTRA, strict=True
    ),
}  # fmt: skip

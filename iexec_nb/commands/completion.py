"""What may follow the words of a line that somebody is typing: nouns, verbs, options, chains, addresses, variables.

Only what is known already is offered; nothing here reads a file or asks a network.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from iexec_nb.commands.line import FLAGS, VALUES
from iexec_nb.commands.table import NOUNS, Command, find, shortcuts, squash, verbs

_KINDS = ("app", "dataset", "workerpool", "request")
_WHO = frozenset(
    {"address", "app", "dataset", "workerpool", "requester", "beneficiary", "callback", "to", "user", "owner",
     "spender", "wallet_address", "apprestrict", "datasetrestrict", "workerpoolrestrict", "requesterrestrict"}
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Known:
    """What a completion may offer besides the words of commands.

    Attributes
    ----------
    chains
        Names for ``--chain``.
    addresses
        Addresses that were seen, the nearest at hand first.
    names
        Variables that ``$name`` may mean.
    """

    chains: Sequence[str] = ()
    addresses: Sequence[str] = ()
    names: Sequence[str] = ()


def completions(words: Sequence[str], current: str, known: Known | None = None) -> list[str]:
    """Return what the word that is being typed can become, in the order in which to offer it.

    Parameters
    ----------
    words
        The complete words before it, without the program's name.
    current
        The beginning of the word; it may be empty.
    known
        Chains, addresses and variables to offer.
    """
    offered = _offered(list(words), current, known or Known())
    return [word for word in dict.fromkeys(offered) if word.startswith(current) and word != current]


def _offered(words: list[str], current: str, known: Known) -> Iterable[str]:
    if current.startswith("$"):
        return [f"${name}" for name in known.names]
    plain = _without_options(words)
    found, count = find(plain)
    if words and words[-1].startswith("--") and not current.startswith("--"):
        waiting = _waiting(words[-1], found)
        if waiting is not None:
            return _values(waiting, known)
    if current.startswith("-"):
        return _options(found, words)
    if found is not None:
        return _positional(found, len(plain) - count, known)
    if not plain:
        return sorted({*NOUNS, *shortcuts()})
    return verbs(plain[0]) if len(plain) == 1 else ()


def _without_options(words: Sequence[str]) -> list[str]:
    """Return noun, verb and arguments: options and the values of those that take one are left out."""
    plain: list[str] = []
    skip = False
    for word in words:
        if skip:
            skip = False
        elif word.startswith("-"):
            found, _ = find(plain)
            skip = "=" not in word and _waiting(word, found) is not None
        else:
            plain.append(word)
    return plain


def _waiting(option: str, found: Command | None) -> str | None:
    """Return the name of the value that an option waits for, or None for a flag."""
    name = squash(option.removeprefix("--"))
    parameter = found.parameter(name) if found else None
    if parameter is not None:
        return None if str(parameter.annotation) == "bool" else parameter.name
    return next((value for value in VALUES if squash(value) == name), None)


def _values(name: str, known: Known) -> Iterable[str]:
    if name == "chain":
        return known.chains
    if name in _WHO:
        return known.addresses
    if name == "keystoredir":
        return ("global", "local")
    return ("tee", "tee,tdx") if "tag" in name.lower() else ()


def _options(found: Command | None, words: Sequence[str]) -> Iterator[str]:
    used = {squash(word.partition("=")[0][2:]) for word in words if word.startswith("--")}
    for parameter in found.parameters if found else ():
        is_option = parameter.kind not in (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.POSITIONAL_ONLY)
        repeats = "Sequence" in str(parameter.annotation)
        if is_option and (repeats or squash(parameter.name) not in used):
            yield f"--{parameter.name.rstrip('_').replace('_', '-')}"
    for option in found.options if found else ():
        yield f"--{option}"
    for name in (*VALUES, *FLAGS):
        if squash(name) not in used:
            yield f"--{name.replace('_', '-')}"


def _positional(found: Command, index: int, known: Known) -> Iterable[str]:
    by_position = [
        parameter
        for parameter in found.parameters
        if parameter.kind in (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    ]
    if index >= len(by_position):
        return _options(found, ())
    name = by_position[index].name
    if name == "kind":
        return _KINDS
    return known.addresses if name in _WHO else _options(found, ()) if found.parameters else ()

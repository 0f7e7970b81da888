"""Tab after ``%iexec``, ``%%iexec`` and ``x = %iexec``: words of commands, chains, addresses that were seen, variables.

IPython asks a matcher that is registered here; it answers from memory and from the names of files in the folders of
the project and of the keystore, and never from a network.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from IPython.core.completer import CompletionContext, SimpleCompletion, SimpleMatcherResult, context_matcher

from iexec_nb.errors import IExecError
from iexec_nb.protocol import foreign
from iexec_nb.protocol.types import NULL_ADDRESS

_LINE = re.compile(r"^(?:\s*[\w.\[\]'\", ()]+=)?\s*%?%iexec[ \t]")
_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}")
_NAME = re.compile(r"[\w.:-]+")
_MOST_ADDRESSES = 50
_MOST_FILES = 500


def register(ip: Any) -> None:
    """Put the matcher in front of IPython's own."""
    unregister(ip)
    ip.Completer.custom_matchers.insert(0, _Matcher(ip).match)


def unregister(ip: Any) -> None:
    """Take the matcher away."""
    matchers = ip.Completer.custom_matchers
    matchers[:] = [one for one in matchers if not isinstance(getattr(one, "__self__", None), _Matcher)]


class _Matcher:
    def __init__(self, ip: Any) -> None:
        self._ip = ip

    @context_matcher()  # type: ignore[untyped-decorator]
    def match(self, context: CompletionContext) -> SimpleMatcherResult:
        """Return what may follow on a line of ``%iexec``; elsewhere nothing, and other matchers go on."""
        typed = context.full_text[: _offset(context)]
        line = typed.rpartition("\n")[2]
        # The command of a cell goes on over its lines.
        text = typed.replace("\n", " ") if typed.startswith("%%iexec") else line
        start = _LINE.match(text)
        if start is None:
            return {"completions": [], "suppress": False}
        words, current = _words(text[start.end() :])
        import iexec_nb.client  # noqa: F401
        from iexec_nb import commands

        found = commands.completions(words, current, self._known())
        # IPython replaces its own token, which ends where ours ends and may begin later, such as after a hyphen.
        cut = max(len(current) - len(context.token), 0)
        same = current[cut:] == context.token
        offered = [SimpleCompletion(text=one[cut:], type="iexec") for one in found] if same else []
        return {"completions": offered, "suppress": True, "matched_fragment": context.token, "ordered": True}

    def _known(self) -> Any:
        from iexec_nb.commands import Known

        names = [name for name in self._ip.user_ns if not name.startswith("_")]
        seen = dict.fromkeys(one for one in self._addresses() if one != NULL_ADDRESS)
        return Known(chains=list(dict.fromkeys(_chains())), addresses=list(seen)[:_MOST_ADDRESSES], names=names)

    def _addresses(self) -> Iterator[str]:
        """Yield addresses at hand: the wallet's, those of records in variables, of the project, of keystore files."""
        from iexec_nb import client

        if (now := client._active) is not None and now.signer is not None:
            yield now.signer.address
        for name, value in list(self._ip.user_ns.items()):
            where = value if isinstance(value, str) else getattr(value, "address", None)
            if not name.startswith("_") and isinstance(where, str) and _ADDRESS.fullmatch(where):
                yield where
        for entries in _json("deployed.json").values():
            if isinstance(entries, dict):
                yield from (one for one in entries.values() if isinstance(one, str) and _ADDRESS.fullmatch(one))
        yield from _keystore_addresses()


def _offset(context: CompletionContext) -> int:
    lines = context.full_text.split("\n")
    return sum(len(one) + 1 for one in lines[: context.cursor_line]) + context.cursor_position


def _words(text: str) -> tuple[list[str], str]:
    """Return the complete words and the one that is being typed."""
    head, current = (
        (text, "") if not text or text[-1].isspace() else (text[: _last_space(text)], text[_last_space(text) :])
    )
    try:
        return shlex.split(head), current
    except ValueError:
        return head.split(), current


def _last_space(text: str) -> int:
    return max(text.rfind(" "), text.rfind("\t")) + 1


def _chains() -> Iterator[str]:
    from iexec_nb.protocol.networks import NETWORKS

    chains = _json("chain.json").get("chains")
    # A name that is more than one word would be more than one on the line, or a line of its own.
    yield from (name for name in chains if _NAME.fullmatch(name)) if isinstance(chains, dict) else ()
    yield from (network.name for network in sorted(NETWORKS, key=lambda one: not one.live))


def _keystore_addresses() -> Iterator[str]:
    from iexec_nb.services.keystore import keystore_dir, wallet_entries

    with suppress(OSError, IExecError):
        yield from (entry.address for entry in wallet_entries(keystore_dir())[:_MOST_FILES])


def _json(name: str) -> Mapping[str, Any]:
    """Return a project file of the working folder, or nothing where it is not there or not right: nobody asked yet."""
    try:
        path = Path(name)
        content = foreign.loads(path.read_bytes()) if path.is_file() and path.stat().st_size < 1_000_000 else None
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}

"""What every noun has in common: the client, and the shortest way to its parts."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from iexec_nb.errors import ConfigurationError, ValidationError
from iexec_nb.protocol.types import Address, Secret, address, shown

if TYPE_CHECKING:
    from iexec_nb.client import IExec
    from iexec_nb.services.chain import Chain
    from iexec_nb.services.wallet import Signer

Amount = int | str
Tags = str | Sequence[str]


class Noun:
    """Base of the nouns: verbs are methods, the client knows the network and the wallet."""

    def __init__(self, client: IExec) -> None:
        self._client = client

    @property
    def _chain(self) -> Chain:
        return self._client.chain

    def _signer(self, purpose: str) -> Signer:
        return self._client.require_signer(purpose)

    def _who(self, given: object) -> Address:
        """Return the given address, else the wallet's own."""
        return address(given) if given is not None else self._signer("know whose address is meant").address

    def _user(self, given: object) -> Address:
        """Return the given address, else the wallet's own, for a verb that takes the option ``--user``."""
        if given is None and self._client.signer is None:
            raise ConfigurationError(
                "Missing option --user <address> or wallet",
                hint="--user 0x..., or make a wallet: %iexec wallet create; in Python IExec(signer=...)",
            )
        return self._who(given)

    def __repr__(self) -> str:
        verbs = [name for name in dir(type(self)) if not name.startswith("_")]
        return f"<{type(self).__name__}: {', '.join(verbs)}>"


def amount_of(amount: Any, unit: str | None) -> object:
    """Return an amount and the unit that may stand behind it as a separate word, as the CLI has it."""
    return amount if unit is None else (amount, unit)


def text_of(given: object, name: str, example: str | None = None) -> str:
    """Return text that UTF-8 can hold, which is what the contracts take; with an example it may not be empty.

    Raises
    ------
    ValidationError
        When it is not text.
    """
    with suppress(UnicodeEncodeError):
        if isinstance(given, str) and (given.encode() or example is None):
            return given
    rule = f'text, such as "{example}"' if example else "text"
    raise ValidationError(
        f"{shown(given)!r} is not a valid {name}", context={"argument": name}, hint=f"give {name} as {rule}"
    )


def file_at(given: object, hint: str) -> Path:
    """Return the path of a file that exists.

    Raises
    ------
    ValidationError
        When `given` is no path, or there is no such file.
    """
    try:
        path = Path(given).expanduser() if isinstance(given, str | os.PathLike) else None
    except RuntimeError:
        # "~somebody" of whom this machine knows no home
        path = None
    if path is None or not path.is_file():
        raise ValidationError(f"{shown(str(given))!r} is not a file", hint=hint)
    return path


def secret_of(given: object, name: str = "key") -> Secret:
    """Return a key that is a `Secret`; as plain text it would stand in the history and in tracebacks.

    Raises
    ------
    ValidationError
        When it is anything else; the message does not repeat it.
    """
    if isinstance(given, Secret):
        return given
    raise ValidationError(f"{name} is a {type(given).__name__}, not a Secret", hint=f"{name}=Secret(...)")

"""Where the value of a secret comes from, and what the CLI's JSON says of it: never the value."""

from __future__ import annotations

from typing import Any

from iexec_nb.actions.base import secret_of
from iexec_nb.protocol.types import Secret
from iexec_nb.services.wallet import ask_secret

PASTE = "Paste your secret: "


def secret_value_of(given: object, name: str = "secret_value", prompt: str = PASTE) -> Secret:
    """Return a secret that is given, else ask for it at the keyboard.

    Parameters
    ----------
    given
        A `Secret`, or None.
    name
        What the argument is called.
    prompt
        What the person reads.

    Raises
    ------
    ValidationError
        When it is anything else; the message does not repeat it.
    ConfigurationError
        When nobody can be asked.
    """
    if given is None:
        return ask_secret(prompt, hint=f"run it where somebody can type, or give {name}=Secret(...)")
    return secret_of(given, name)


def nothing_raw(pushed: object) -> dict[str, Any]:
    """Return the members of the CLI's JSON for a secret that was pushed: none."""
    return {}


def is_set_raw(found: bool) -> dict[str, Any]:
    """Return the members of the CLI's JSON for ``check-secret``."""
    return {"isSecretSet": found}

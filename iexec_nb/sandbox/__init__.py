"""The sandbox: a complete local iExec for notebooks, examples and tests.

It is a package of its own because it is the only part that runs things: a chain, services, other people's apps. What
the rest of the package needs of it is one class.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from iexec_nb.sandbox.endpoints import Endpoints
    from iexec_nb.sandbox.network import Sandbox

__all__ = ["Endpoints", "Sandbox"]


def __getattr__(name: str) -> Any:
    """Import on first use: the web framework and the client take longer than the rest of the package together."""
    if name == "Sandbox":
        from iexec_nb.sandbox.network import Sandbox

        return Sandbox
    if name == "Endpoints":
        from iexec_nb.sandbox.endpoints import Endpoints

        return Endpoints
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

"""iExec in a notebook: order books as DataFrames, runs and results as objects, and a complete local iExec inside.

Importing this package loads nothing heavy; each public name is imported when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from iexec_nb.client import IExec, active
    from iexec_nb.notebook.magics import load_ipython_extension, unload_ipython_extension
    from iexec_nb.protocol.networks import NETWORKS, Network, network
    from iexec_nb.protocol.orders import AppOrder, DatasetOrder, RequestOrder, WorkerpoolOrder
    from iexec_nb.protocol.protected_content import Deserializer
    from iexec_nb.protocol.types import NULL_ADDRESS, NULL_BYTES32, Secret
    from iexec_nb.protocol.units import format_ether, format_rlc, nrlc, wei
    from iexec_nb.sandbox.network import Sandbox
    from iexec_nb.services.wallet import KeystoreSigner, PrivateKeySigner, ReadOnlySigner

__version__ = "0.1.0"

__all__ = [
    "NETWORKS",
    "NULL_ADDRESS",
    "NULL_BYTES32",
    "AppOrder",
    "DatasetOrder",
    "Deserializer",
    "IExec",
    "KeystoreSigner",
    "Network",
    "PrivateKeySigner",
    "ReadOnlySigner",
    "RequestOrder",
    "Sandbox",
    "Secret",
    "WorkerpoolOrder",
    "__version__",
    "active",
    "format_ether",
    "format_rlc",
    "load_ipython_extension",
    "network",
    "nrlc",
    "unload_ipython_extension",
    "wei",
]

_HOMES = {
    "client": ("IExec", "active"),
    "notebook.magics": ("load_ipython_extension", "unload_ipython_extension"),
    "protocol.networks": ("NETWORKS", "Network", "network"),
    "protocol.orders": ("AppOrder", "DatasetOrder", "RequestOrder", "WorkerpoolOrder"),
    "protocol.protected_content": ("Deserializer",),
    "protocol.types": ("NULL_ADDRESS", "NULL_BYTES32", "Secret"),
    "protocol.units": ("format_ether", "format_rlc", "nrlc", "wei"),
    "sandbox.network": ("Sandbox",),
    "services.wallet": ("KeystoreSigner", "PrivateKeySigner", "ReadOnlySigner"),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)

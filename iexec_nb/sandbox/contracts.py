"""The bytecode of the real PoCo and RLC contracts and of our own, in the compact form that the deployment needs.

The npm packages hold some ten megabytes of artifacts of which a deployment reads a tenth, and our own contracts come
from a compiler that needs a second. What a deployment reads is written once beside the packages in the cache, so that a
later start parses one file.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from iexec_nb.errors import SandboxError
from iexec_nb.protocol.types import Address, keccak
from iexec_nb.sandbox import packages, solc

LIBRARY = "IexecLibOrders_v5"
BOOTSTRAP = ("DiamondCutFacet", "DiamondLoupeFacet", "OwnershipFacet")
"""The facets that the hub is born with."""
FACETS = (
    "IexecAccessorsABILegacyFacet",
    "IexecCategoryManagerFacet",
    "IexecConfigurationExtraFacet",
    "IexecConfigurationFacet",
    "IexecEscrowTokenFacet",
    "IexecOrderManagementFacet",
    "IexecPoco1Facet",
    "IexecPoco2Facet",
    "IexecPocoAccessorsFacet",
    "IexecRelayFacet",
    "IexecERC20Facet",
    "IexecPocoBoostFacet",
    "IexecPocoBoostAccessorsFacet",
)
"""The facets of PoCo 6.1.0 in the order in which they are added: the first one that has a selector keeps it."""
REGISTRIES = ("AppRegistry", "DatasetRegistry", "WorkerpoolRegistry")

_FORMAT = 2
_PLACEHOLDER = "__$" + keccak(f"contracts/libs/{LIBRARY}.sol:{LIBRARY}".encode()).hex()[:34] + "$__"
_FOLDERS = {"Diamond": "", LIBRARY: "libs/", **{name: f"registries/{name[:-8].lower()}s/" for name in REGISTRIES}}


@dataclass(frozen=True, slots=True)
class Contract:
    """Creation bytecode (hex, with the library's placeholder where it is linked) and what the contract answers to."""

    code: str
    selectors: tuple[str, ...]

    def linked(self, library: Address) -> str:
        """Return the creation bytecode as hex without ``0x``, calling `library`."""
        return self.code.replace(_PLACEHOLDER, library[2:].lower())


def load() -> Mapping[str, Contract]:
    """Return every contract of a deployment by name, from the cache where it was prepared before.

    Raises
    ------
    SandboxError
        When the packages cannot be fetched or do not hold what is expected, or the compiler does not run.
    """
    parts = (packages.POCO.folder, packages.RLC.version, solc.key(), str(_FORMAT))
    path = packages.cache_dir() / f"contracts-{'-'.join(parts)}.json"
    try:
        prepared = json.loads(path.read_text("ascii"))
        return {name: Contract(code, tuple(selectors)) for name, (code, selectors) in prepared.items()}
    except (OSError, ValueError, TypeError):
        # Absent, or cut off by a full disk: the packages are the truth.
        contracts = _read_packages()
        _write(path, json.dumps({name: (c.code, c.selectors) for name, c in contracts.items()}, separators=(",", ":")))
        return contracts


def _read_packages() -> dict[str, Contract]:
    poco, rlc = packages.fetch(packages.POCO), packages.fetch(packages.RLC)
    try:
        contracts = {"RLC": _contract(rlc / "build/contracts/RLC.json")}
        for name in ("DiamondInit", *BOOTSTRAP):
            contracts[name] = _contract(poco / f"deployments/arbitrum/{name}.json")
        for name in ("Diamond", LIBRARY, *FACETS, *REGISTRIES):
            folder = _FOLDERS.get(name, "facets/")
            contracts[name] = _contract(poco / f"artifacts/contracts/{folder}{name}.sol/{name}.json")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SandboxError(
            "the cached contracts cannot be read",
            context={"cache": packages.cache_dir(), "reason": error},
            hint="delete the cache folder and start the sandbox again",
        ) from error
    return contracts | {name: _compact(artifact) for name, artifact in solc.compiled().items()}


def _contract(path: Path) -> Contract:
    return _compact(json.loads(path.read_text("utf-8")))


def _compact(artifact: Mapping[str, Any]) -> Contract:
    code = artifact["bytecode"].removeprefix("0x")
    bytes.fromhex(code.replace(_PLACEHOLDER, "00" * 20))
    return Contract(code, tuple(_selectors(artifact["abi"])))


def _selectors(abi: list[dict[str, Any]]) -> list[str]:
    # The hub stores a facet's fallback and receive functions under these two selectors.
    special = {"fallback": "0xffffffff", "receive": "0x00000000"}
    named = ["0x" + keccak(_signature(entry).encode())[:4].hex() for entry in abi if entry["type"] == "function"]
    return named + [special[entry["type"]] for entry in abi if entry["type"] in special]


def _signature(entry: Mapping[str, Any]) -> str:
    return f"{entry['name']}({','.join(_type(i) for i in entry['inputs'])})"


def _type(argument: Mapping[str, Any]) -> str:
    kind: str = argument["type"]
    if not kind.startswith("tuple"):
        return kind
    return f"({','.join(_type(part) for part in argument['components'])}){kind[5:]}"


def _write(path: Path, text: str) -> None:
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".contracts-")
    try:
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.write(text)
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise

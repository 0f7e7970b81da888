"""Records of what is for sale on iExec: apps, datasets, workerpools, and the categories and accounts around them.

The field names are the contract getters' with the ``m_`` prefix taken off, as the JavaScript SDK shows them.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from iexec_nb.errors import ValidationError
from iexec_nb.protocol import foreign
from iexec_nb.protocol.params import dumps
from iexec_nb.protocol.tags import FRAMEWORKS
from iexec_nb.protocol.types import Address, Bytes32, shown, uint256
from iexec_nb.protocol.units import format_rlc

_SCONE_KEYS = ("entrypoint", "heapSize")


@dataclass(frozen=True, slots=True, kw_only=True)
class App:
    """An application: a container image and, for older enclaves, its measurement (contract ``App``)."""

    address: Address
    owner: Address
    registry: Address
    appName: str
    appType: str
    appMultiaddr: str
    appChecksum: Bytes32
    appMREnclave: str

    def __repr__(self) -> str:
        return f"App({self.appName!r}, address={self.address}, owner={self.owner})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """A dataset: where its encrypted bytes are, and the SHA-256 of them (contract ``Dataset``)."""

    address: Address
    owner: Address
    registry: Address
    datasetName: str
    datasetMultiaddr: str
    datasetChecksum: Bytes32

    def __repr__(self) -> str:
        return f"Dataset({self.datasetName!r}, address={self.address}, owner={self.owner})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Workerpool:
    """A workerpool: a scheduler and its workers; the ratios are percentages (contract ``Workerpool``).

    `apiUrl` is where its scheduler answers, as Compass has it, or None.
    """

    address: Address
    owner: Address
    registry: Address
    workerpoolDescription: str
    workerStakeRatioPolicy: int
    schedulerRewardRatioPolicy: int
    apiUrl: str | None = None

    def __repr__(self) -> str:
        return f"Workerpool({self.workerpoolDescription!r}, address={self.address}, owner={self.owner})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Category:
    """A size of computation; `workClockTimeRef` is in seconds, and a task has ten of it until its final deadline."""

    catid: int
    name: str
    description: str
    workClockTimeRef: int

    def __repr__(self) -> str:
        return f"Category({self.catid}, {self.name!r}, workClockTimeRef={self.workClockTimeRef} s)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """RLC that an address holds inside the hub: free (`stake`) and bound by deals (`locked`), both in nRLC."""

    address: Address
    stake: int
    locked: int

    def __repr__(self) -> str:
        return f"Account({self.address}, stake={format_rlc(self.stake)}, locked={format_rlc(self.locked)})"


def mrenclave_bytes(value: object) -> bytes:
    """Return an enclave's measurement as the bytes that the registry keeps.

    Parameters
    ----------
    value
        Text or bytes, kept as they are (SDK 9); or the object of older SDKs, which becomes compact JSON:
        ``provider version entrypoint heapSize fingerprint`` (SDK 5 to 7), or ``framework version fingerprint`` and
        with the framework scone ``entrypoint heapSize`` (SDK 8).

    Raises
    ------
    ValidationError
        When it is anything else, or a key of the object is missing, unknown or malformed.
    """
    if isinstance(value, bytes | bytearray):
        return bytes(value)
    with suppress(UnicodeEncodeError):
        if isinstance(value, str):
            return value.encode()
        if isinstance(value, Mapping):
            _check_mrenclave(value)
            return dumps(value).encode()
    raise ValidationError(
        "mrenclave is not a valid mrenclave",
        context={"given": shown(value)},
        hint="give mrenclave as text, as bytes, or as the object of SDK 5 to 8; leave it out for TDX",
    )


def mrenclave_framework(mrenclave: str) -> str | None:
    """Return which framework an app is made for, by its measurement: ``tdx`` where there is none, None if unclear.

    Source: ``resolveTeeFrameworkFromApp`` of SDK 8.
    """
    if not mrenclave:
        return "tdx"
    with suppress(ValueError, RecursionError):
        body = foreign.loads(mrenclave)
        if isinstance(body, Mapping) and "framework" in body:
            _check_mrenclave(body)
            return str(body["framework"]).lower()
    return None


def _check_mrenclave(body: Mapping[Any, Any]) -> None:
    maker = "framework" if "framework" in body or "provider" not in body else "provider"
    wanted = [maker, "version", "fingerprint"]
    if maker == "framework":
        framework = body.get("framework")
        if not isinstance(framework, str) or framework.lower() not in FRAMEWORKS:
            raise _bad_mrenclave("framework is not a valid TEE framework", f"one of {', '.join(FRAMEWORKS)}")
    if maker == "provider" or str(body["framework"]).lower() == "scone":
        wanted += _SCONE_KEYS
    for key in wanted:
        if body.get(key) in (None, ""):
            raise _bad_mrenclave(f"{key} is a required field", f"with {', '.join(wanted)}")
        if key != "heapSize" and not isinstance(body[key], str):
            raise _bad_mrenclave(f"{key} must be a `string` type", f"with {key} as text")
    if unknown := [key for key in body if key not in wanted]:
        raise _bad_mrenclave(f'Unknown key "{shown(unknown[0])}" in mrenclave', f"with {', '.join(wanted)}")
    if "heapSize" in wanted:
        uint256(body["heapSize"], "heapSize")


def _bad_mrenclave(message: str, rule: str) -> ValidationError:
    return ValidationError(message, context={"argument": "mrenclave"}, hint=f"give mrenclave {rule}")

"""Records of what is for sale on iExec: apps, datasets, workerpools, and the categories and accounts around them.

The field names are the contract getters' with the ``m_`` prefix taken off, as the JavaScript SDK shows them.
"""

from __future__ import annotations

from dataclasses import dataclass

from iexec_nb.protocol.types import Address, Bytes32
from iexec_nb.protocol.units import format_rlc


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
    """A workerpool: a scheduler and its workers; the ratios are percentages (contract ``Workerpool``)."""

    address: Address
    owner: Address
    registry: Address
    workerpoolDescription: str
    workerStakeRatioPolicy: int
    schedulerRewardRatioPolicy: int

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

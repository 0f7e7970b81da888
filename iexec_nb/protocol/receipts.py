"""Records of what a verb did: what moved, what was deployed, matched or stored, and in which transaction."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from iexec_nb.protocol.types import Address, Bytes32, Secret
from iexec_nb.protocol.units import format_ether, format_rlc


@dataclass(frozen=True, slots=True, kw_only=True)
class Balances:
    """What a wallet holds outside the hub: ether for fees in `wei`, and RLC in `nRLC`."""

    address: Address
    wei: int
    nRLC: int

    def __repr__(self) -> str:
        return f"Balances({self.address}, {format_ether(self.wei)}, {format_rlc(self.nRLC)})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """RLC that went into or out of the hub: `amount` in nRLC."""

    amount: int
    txHash: Bytes32

    def __repr__(self) -> str:
        return f"Moved({format_rlc(self.amount)}, txHash={self.txHash})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployed:
    """A new app, dataset or workerpool and the transaction that made it."""

    kind: str
    address: Address
    txHash: Bytes32

    def __repr__(self) -> str:
        return f"Deployed({self.kind} {self.address}, txHash={self.txHash})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Matched:
    """A deal that was made: how many tasks (`volume`) it holds and what it costs in nRLC."""

    dealid: Bytes32
    volume: int
    total: int
    txHash: Bytes32

    def __repr__(self) -> str:
        return f"Matched({self.volume} tasks for {format_rlc(self.total)}, dealid={self.dealid})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimed:
    """Timed-out tasks whose money came back, by index in the deal, and the transactions that did it."""

    claimed: Mapping[int, Bytes32]
    transactions: tuple[Bytes32, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pushed:
    """A secret that was handed to the secret management service."""

    name: str
    isPushed: bool
    isUpdated: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class EncryptedDataset:
    """An encrypted file, the SHA-256 of it (what the chain is told), and the key (what only the SMS is told)."""

    path: Path
    checksum: Bytes32
    size: int
    key: Secret = field(repr=False)

    def __repr__(self) -> str:
        return f"EncryptedDataset({self.path.name!r}, {self.size} bytes, checksum={self.checksum}, key=****)"


@dataclass(frozen=True, slots=True, kw_only=True)
class EncryptionKeyPair:
    """A beneficiary's RSA keys: results are encrypted for `public_key`; the private one is in a file of mode 600."""

    address: Address
    public_key: str
    private_key_file: Path
    public_key_file: Path

    def __repr__(self) -> str:
        return f"EncryptionKeyPair({self.address}, private_key_file={self.private_key_file.name!r})"

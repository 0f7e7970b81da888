"""Records of what a verb did: what moved, what was deployed, matched or stored, and in which transaction."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from iexec_nb.protocol.orders import Order, PublishedOrder
from iexec_nb.protocol.types import Address, Bytes32, Secret
from iexec_nb.protocol.units import format_ether, format_rlc


@dataclass(frozen=True, slots=True, kw_only=True)
class WalletKeys:
    """Whose wallet it is, and the keys where they were asked for; `privateKey` is a `Secret`."""

    address: Address
    publicKey: str | None = None
    privateKey: Secret | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Balances:
    """What a wallet holds outside the hub: ether for fees in `wei`, and RLC in `nRLC`.

    `wallet` is there where the client's own wallet was looked at.
    """

    address: Address
    wei: int
    nRLC: int
    wallet: WalletKeys | None = field(default=None, compare=False, repr=False)

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
class ClaimTransaction:
    """A transaction that claimed tasks; `type` is the contract function, such as ``claimArray``."""

    txHash: Bytes32
    type: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimed:
    """Timed-out tasks whose money came back, by index in the request order, and the transactions that did it."""

    claimed: Mapping[int, Bytes32]
    transactions: tuple[ClaimTransaction, ...]

    def __repr__(self) -> str:
        hashes = ", ".join(one.txHash for one in self.transactions)
        return f"Claimed({len(self.claimed)} tasks, transactions {hashes})"


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


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkInfo:
    """A chain, its contracts as the hub names them, and the services that a client uses on it."""

    chainId: int
    name: str
    pocoVersion: str
    host: str | None
    hubAddress: Address
    rlcAddress: Address | None
    appRegistryAddress: Address
    datasetRegistryAddress: Address
    workerpoolRegistryAddress: Address
    isNative: bool
    timeoutRatio: int
    services: Mapping[str, str | None]

    def __repr__(self) -> str:
        return f"NetworkInfo({self.name} ({self.chainId}), hub {self.hubAddress})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancelled:
    """An order that can never be matched again, and the transaction that closed it."""

    order: Order
    orderHash: Bytes32
    txHash: Bytes32

    def __repr__(self) -> str:
        return f"Cancelled({self.order.kind}order {self.orderHash}, txHash={self.txHash})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Presigned:
    """An order that is valid because the chain says so (its `sign` may be empty), and the transaction that did it."""

    order: Order
    orderHash: Bytes32
    txHash: Bytes32

    def __repr__(self) -> str:
        return f"Presigned({self.order.kind}order {self.orderHash}, txHash={self.txHash})"


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetBulk:
    """Dataset orders on IPFS that one request uses: its ``bulk_cid`` and the `volume` in tasks that they need."""

    cid: str
    volume: int
    datasets: int

    def __repr__(self) -> str:
        return f"DatasetBulk({self.datasets} datasets in {self.volume} tasks, cid={self.cid!r})"


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownOrder:
    """An order of the market with the deals that it made: how many, and the last of them as the market has them."""

    published: PublishedOrder
    dealsCount: int
    lastDeals: tuple[Mapping[str, object], ...]

    def __repr__(self) -> str:
        return f"ShownOrder({self.published!r}, {self.dealsCount} deals)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """What an order says: in plain words, and beside it each field that is signed (EIP-712) with its meaning.

    Parameters
    ----------
    order
        The order.
    orderHash
        Its hash; None for one without a salt.
    summary
        The plain words, in lines.
    rows
        Name, EIP-712 type, value and meaning of each field, in the order in which they are hashed.
    typedData
        What ``eth_signTypedData_v4`` takes.
    """

    order: Order
    orderHash: Bytes32 | None
    summary: str
    rows: tuple[tuple[str, str, str, str], ...]
    typedData: Mapping[str, object]

    def __repr__(self) -> str:
        wide = max(len(name) for name, _, _, _ in self.rows)
        table = [f"  {name:<{wide}}  {kind:<7}  {value}  ({meaning})" for name, kind, value, meaning in self.rows]
        title = f"{type(self.order).__name__} {self.orderHash or '(without a salt, so without a hash)'}"
        return "\n".join([self.summary, "", title, *table])


@dataclass(frozen=True, slots=True, kw_only=True)
class WalletFile:
    """A file that holds a wallet: `fileName` as it is found from the working folder, `content` without any open key."""

    address: Address
    fileName: str
    path: Path
    content: Mapping[str, object] = field(repr=False)

    def __repr__(self) -> str:
        return f"WalletFile({self.address}, {self.path.name!r})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """Money that went to another wallet: `amount` in nRLC where `currency` is RLC, in wei where it is ether."""

    amount: int
    currency: str
    sender: Address
    to: Address
    txHash: Bytes32

    def __repr__(self) -> str:
        amount = format_rlc(self.amount) if self.currency == "RLC" else format_ether(self.amount)
        return f"Sent({amount} to {self.to}, txHash={self.txHash})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Swept:
    """What left a wallet that was emptied, in `nRLC` and `wei`, and what could not leave it, in `errors`."""

    sender: Address
    to: Address
    nRLC: int = 0
    wei: int = 0
    sendERC20TxHash: Bytes32 | None = None
    sendNativeTxHash: Bytes32 | None = None
    errors: tuple[str, ...] = ()

    def __repr__(self) -> str:
        failed = f", NOT DONE: {'; '.join(self.errors)}" if self.errors else ""
        return f"Swept({format_rlc(self.nRLC)} and {format_ether(self.wei)} to {self.to}{failed})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowance:
    """How much of the owner's account in the hub the spender may take, in nRLC; `txHash` where that was changed."""

    owner: Address
    spender: Address
    amount: int
    txHash: Bytes32 | None = None

    def __repr__(self) -> str:
        changed = f", txHash={self.txHash}" if self.txHash else ""
        return f"Allowance({format_rlc(self.amount)} to {self.spender}{changed})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Transferred:
    """An app, dataset or workerpool (`address`) that belongs to somebody else now (`to`)."""

    address: Address
    to: Address
    txHash: Bytes32

    def __repr__(self) -> str:
        return f"Transferred({self.address} to {self.to}, txHash={self.txHash})"


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretStatus:
    """Whether a named secret is set; true exactly when it is, so that it can be asked as it stands."""

    name: str
    isSet: bool

    def __bool__(self) -> bool:
        return self.isSet


@dataclass(frozen=True, slots=True, kw_only=True)
class CategoryCreated:
    """A new category and the transaction that made it."""

    catid: int
    txHash: Bytes32

    def __repr__(self) -> str:
        return f"CategoryCreated({self.catid}, txHash={self.txHash})"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectMade:
    """What ``init`` wrote: the files (None for one that was there and stayed) and the new wallet, if one was made."""

    folder: Path
    configFile: str | None
    chainConfigFile: str | None
    walletAddress: Address | None = None
    walletFile: str | None = None

    def __repr__(self) -> str:
        files = (self.configFile, self.chainConfigFile, self.walletFile)
        written = [Path(name).name for name in files if name]
        return f"ProjectMade({self.folder.name!r}, wrote {', '.join(written) or 'nothing'})"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectShown:
    """What is in the folder of a project; `problems` are the files that are broken, each with line and key."""

    folder: Path
    files: tuple[str, ...]
    chains: tuple[str, ...]
    default: str | None
    resources: Mapping[str, Mapping[str, object]]
    orders: tuple[str, ...]
    deployed: Mapping[str, Mapping[str, Address]]
    signed: Mapping[str, tuple[str, ...]]
    toEncrypt: tuple[str, ...]
    encrypted: tuple[str, ...]
    problems: tuple[str, ...]

    def __repr__(self) -> str:
        broken = f", {len(self.problems)} BROKEN" if self.problems else ""
        return f"ProjectShown({self.folder.name!r}, {', '.join(self.files) or 'no files'}{broken})"


@dataclass(frozen=True, slots=True, kw_only=True)
class EncryptedFile:
    """One file of a dataset folder: the original, what became of it, where its key is, and the SHA-256 to deploy."""

    original: Path
    encrypted: Path
    key: Path
    checksum: Bytes32

    def __repr__(self) -> str:
        return f"EncryptedFile({self.encrypted.name!r}, checksum={self.checksum}, key={self.key.name!r})"


@dataclass(frozen=True, slots=True, kw_only=True)
class EncryptedFolder:
    """Files that were encrypted, and the folders of the encrypted files and of their keys; `skipped` were no files."""

    encryptedDatasetFolderPath: Path
    secretPath: Path
    encryptedFiles: tuple[EncryptedFile, ...]
    skipped: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"EncryptedFolder({[file.encrypted.name for file in self.encryptedFiles]})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Validated:
    """Which files of a project pass the checks of a registry, and all that is wrong with the others."""

    kind: str
    validated: tuple[str, ...]
    fail: tuple[str, ...]
    registry: str

    def __bool__(self) -> bool:
        return not self.fail

    def __repr__(self) -> str:
        failed = "".join(f"\n  - {one}" for one in self.fail)
        return f"Validated({self.kind}: {', '.join(self.validated) or 'nothing'}){failed}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedFile:
    """A file of a result: its name, its size in bytes, what it is by its content, whether it is the output."""

    name: str
    size: int
    kind: str
    main: bool

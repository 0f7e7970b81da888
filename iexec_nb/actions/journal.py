"""What was decided about a run, written down before the first byte of it leaves the machine.

A kernel can die between the yes of its person and the chain's answer. The next one must not pay again, so it has to
know what was signed: one small file for each name that a run was given (``idempotency_key``), with the four signed
orders, then the hash of each transaction before the node sees it. A request order of its own salt can be matched once
for each of its tasks, and never more often; the file makes sure that it is the same one.

The first line appears whole or not at all, and only one program can make it. Later lines are added; one that was cut
off by the end of its program is none, because what it announces happens after it is on the disk.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from iexec_nb.actions.base import text_of
from iexec_nb.errors import ConfigurationError, InvalidSignatureError, ValidationError
from iexec_nb.protocol import foreign
from iexec_nb.protocol.orders import NULL_DATASETORDER, AppOrder, DatasetOrder, RequestOrder, WorkerpoolOrder
from iexec_nb.protocol.typed_data import verify_order
from iexec_nb.protocol.types import Address, Bytes32, bytes32, keccak, shown, uint256

if TYPE_CHECKING:
    from iexec_nb.client import IExec

Four = tuple[AppOrder, DatasetOrder, WorkerpoolOrder, RequestOrder]

MAX_KEY = 500
_VERSION = 1
_MAX_BYTES = 16 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What a journal says of a run.

    Attributes
    ----------
    terms
        What was wanted, as texts by the names of the arguments.
    orders
        The signed orders of app, dataset (the null order for none), workerpool and request.
    sent
        The transactions that may have reached the chain: hash and nonce.
    """

    terms: Mapping[str, str]
    orders: Four
    sent: tuple[tuple[Bytes32, int], ...] = ()

    @property
    def request(self) -> RequestOrder:
        """The request order, which the chain matches for its tasks and then never again."""
        return self.orders[3]


class Journal:
    """The journal of one run.

    Parameters
    ----------
    client
        Whose store it is in, and of which chain the run is.
    key
        The name of the run.
    wallet
        Who pays.

    Raises
    ------
    ValidationError
        When the name is empty, too long or no text.
    """

    def __init__(self, client: IExec, key: object, wallet: Address) -> None:
        self.key = text_of(key, "idempotency_key", "prices of May")
        if len(self.key) > MAX_KEY or not self.key.strip():
            raise ValidationError(
                f"{shown(self.key)!r} is not a valid idempotency_key",
                context={"argument": "idempotency_key"},
                hint=f"give a name of at most {MAX_KEY} characters, such as 'prices of May'",
            )
        self._client = client
        self._owner = {"chainId": client.chain.chain_id, "hub": client.chain.hub_address, "wallet": wallet}
        name = keccak(json.dumps([*self._owner.values(), self.key]).encode()).hex()
        self._stem = name[:40]
        self._seen = 0

    def read(self) -> Entry | None:
        """Return what was written last under this name, or None where nothing was.

        Raises
        ------
        ValidationError
            When the file is damaged, or somebody else's.
        """
        self._seen = 0
        while os.path.lexists(self._path(self._seen)):
            self._seen += 1
        if not self._seen:
            return None
        path = self._path(self._seen - 1)
        with self._reading(path):
            header, *records = self._lines(path)
            return replace(self._header(header), sent=tuple(map(_sent, records)))

    def begin(self, terms: Mapping[str, str], orders: Four) -> Entry:
        """Write down a run before it is sent, after what was read last, and return what the journal says then.

        Where another program was faster since then, it is that program's run.

        Raises
        ------
        ConfigurationError
            When it cannot be written; then nothing may be sent.
        """
        app, dataset, workerpool, request = orders
        header = {
            "version": _VERSION, **self._owner, "key": self.key, "terms": dict(terms), "orders": {
                "app": app.to_json(),
                "dataset": None if dataset == NULL_DATASETORDER else dataset.to_json(),
                "workerpool": workerpool.to_json(),
                "request": request.to_json(),
            },
        }  # fmt: skip
        with self._writing(), suppress(FileExistsError):
            self._client.store.subfolder("journal")
            _create(self._path(self._seen), _line(header))
        entry = self.read()
        assert entry is not None
        return entry

    def sent(self, tx_hash: Bytes32, nonce: int) -> None:
        """Write down a transaction that the node is going to see.

        Raises
        ------
        ConfigurationError
            When it cannot be written; then nothing may be sent.
        """
        self._append({"tx": tx_hash, "nonce": nonce})

    def _append(self, record: Mapping[str, object]) -> None:
        with self._writing(), self._path(self._seen - 1).open("r+b") as file:
            content = file.read()
            # What was cut off is no line, and the next one must not become a part of it.
            file.truncate(content.rfind(b"\n") + 1)
            file.seek(0, os.SEEK_END)
            file.write(_line(record))
            file.flush()
            os.fsync(file.fileno())

    def _path(self, number: int) -> Path:
        return self._client.store.folder / "journal" / f"{self._stem}.{number}.jsonl"

    def _lines(self, path: Path) -> list[Any]:
        if path.is_symlink() or not path.is_file():
            raise ValidationError("it is not a file")
        with path.open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
        if len(content) > _MAX_BYTES:
            raise ValidationError(f"it is longer than {_MAX_BYTES} bytes")
        *lines, _ = content.split(b"\n")
        if not lines:
            raise ValidationError("its first line is not whole")
        return [foreign.loads(line) for line in lines]

    def _header(self, body: Any) -> Entry:
        if not isinstance(body, dict) or body.get("version") != _VERSION:
            raise ValidationError("it is of another version, or no journal")
        wrong = [name for name, value in {**self._owner, "key": self.key}.items() if body.get(name) != value]
        if wrong:
            raise ValidationError(f"it is of another {', '.join(wrong)}")
        terms, orders = body.get("terms"), body.get("orders")
        if not isinstance(terms, dict) or not all(isinstance(value, str) for value in terms.values()):
            raise ValidationError("its terms are no texts")
        if not isinstance(orders, dict):
            raise ValidationError("it has no orders")
        data = orders.get("dataset")
        four = (
            AppOrder.from_json(orders.get("app")),
            NULL_DATASETORDER if data is None else DatasetOrder.from_json(data),
            WorkerpoolOrder.from_json(orders.get("workerpool")),
            RequestOrder.from_json(orders.get("request")),
        )
        if not all(order.is_signed for order in four):
            raise ValidationError("an order in it is not signed")
        request, wallet = four[3], self._owner["wallet"]
        if request.requester != wallet:
            raise ValidationError(f"its request is {request.requester}'s")
        verify_order(request, self._client.chain.domain, request.requester)
        return Entry(terms=terms, orders=four)

    @contextmanager
    def _reading(self, path: Path) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError, InvalidSignatureError) as error:
            reason = error.message if isinstance(error, ValidationError | InvalidSignatureError) else str(error)
            raise ValidationError(
                f"the journal of the run {shown(self.key)!r} cannot be used, so nothing was sent: {shown(reason, 200)}",
                context={"file": path},
                hint="it says whether the run was paid: look for its deal with iexec.deal.list(), and attach it; "
                "where there is none take another idempotency_key",
            ) from error

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except FileExistsError:
            raise
        except OSError as error:
            raise ConfigurationError(
                f"the journal of the run {shown(self.key)!r} cannot be written, so nothing was sent: "
                f"{error.strerror or shown(str(error))}",
                context={"folder": self._client.store.folder},
                hint="free the disk, give IExec(store=...) another folder, or run it without idempotency_key",
            ) from error


def _sent(record: Any) -> tuple[Bytes32, int]:
    match record:
        case {"tx": tx_hash, "nonce": nonce}:
            return bytes32(tx_hash, "tx"), uint256(nonce, "nonce")
    raise ValidationError(f"it has a line that is not known: {shown(record)}")


def _line(record: Mapping[str, object]) -> bytes:
    return json.dumps(record).encode() + b"\n"


def _create(path: Path, content: bytes) -> None:
    """Write a new file of mode 600, whole or not at all.

    Raises
    ------
    FileExistsError
        When there is one.
    """
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        _name_as(Path(name), path)
    finally:
        Path(name).unlink(missing_ok=True)
    _settle(path.parent)


def _name_as(temporary: Path, path: Path) -> None:
    if os.name == "nt":
        # Renaming refuses there what is taken.
        temporary.rename(path)
        return
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise
    except OSError:
        # A drive without hard links: the lock of the run has to do.
        if path.exists():
            raise FileExistsError(str(path)) from None
        os.replace(temporary, path)


def _settle(folder: Path) -> None:
    """Have the folder itself written to the disk, where the system can do that."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

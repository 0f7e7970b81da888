"""The first stage of a run: what the app will find in ``IEXEC_IN``, and the variables that say so.

Datasets are fetched, held against the checksum of their owner's record and decrypted; input files are fetched. As in
the real stack one thing that cannot be had ends the run before the app starts.
"""

from __future__ import annotations

import hashlib
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from iexec_nb.errors import IExecError
from iexec_nb.protocol import foreign
from iexec_nb.protocol.encryption import checksum, dataset_key, decrypt_file
from iexec_nb.protocol.orders import DATASET_INFINITE_VOLUME, DatasetOrder
from iexec_nb.protocol.resources import Dataset
from iexec_nb.protocol.types import hexbytes, shown
from iexec_nb.sandbox.ipfs import BlockStore
from iexec_nb.sandbox.session import Assignment, Session, StageError
from iexec_nb.sandbox.sms import Vault
from iexec_nb.services import abi
from iexec_nb.services.http import new_client
from iexec_nb.services.reads import Call

if TYPE_CHECKING:
    import httpx

    from iexec_nb.services.chain import Chain

MAX_DOWNLOAD_BYTES = 2_000_000_000
DOWNLOAD_TIMEOUT_S = 30.0

_CID = re.compile(r"(?:/(?:ipfs|p2p)/)?(Qm[1-9A-HJ-NP-Za-km-z]{44}|b[a-z2-7]{20,})/?")


class Sources:
    """Fetches files from the sandbox's IPFS and from URLs.

    Parameters
    ----------
    store
        The sandbox's IPFS.
    transport
        What carries requests to URLs instead of the network.
    """

    def __init__(self, store: BlockStore, transport: httpx.BaseTransport | None = None) -> None:
        self.store = store
        self._transport = transport

    def fetch(self, location: str, target: Path) -> None:
        """Write the file at a multiaddr (``/ipfs/<cid>``, ``/p2p/<cid>``) or URL to `target`.

        Raises
        ------
        OSError
            When it cannot be had; the reason names no more of a URL than its host.
        """
        cid = _CID.fullmatch(location)
        if cid:
            path = self.store.path(cid[1])
            if path is None:
                raise OSError(f"{shown(location)} is not on the sandbox's IPFS")
            shutil.copyfile(path, target)
            return
        if not re.match(r"https?://", location):
            raise OSError(f"{shown(location)} is neither an IPFS path nor an http or https URL")
        try:
            with target.open("wb") as file:
                self._download(location, file)
        except Exception as error:  # the URL is a stranger's: whatever its server does is one failure
            raise OSError(f"download failed: {type(error).__name__}") from None

    def _download(self, url: str, file: BinaryIO) -> None:
        with (
            new_client(transport=self._transport, timeout_s=DOWNLOAD_TIMEOUT_S) as client,
            client.stream("GET", url, follow_redirects=True) as response,
        ):
            response.raise_for_status()
            left = MAX_DOWNLOAD_BYTES
            for chunk in response.iter_bytes():
                left -= len(chunk)
                if left < 0:
                    raise OSError("too large")
                file.write(chunk)


def prepare(
    task: Assignment, session: Session, inputs: Path, *, sources: Sources, vault: Vault, chain: Chain
) -> dict[str, str]:
    """Fill ``IEXEC_IN`` and return the variables of the app stage, the folders left out.

    Parameters
    ----------
    task
        What is to be run.
    session
        Its secrets.
    inputs
        The folder.
    sources
        Where files are fetched from.
    vault
        Keys of the datasets of a bulk.
    chain
        Records of the datasets of a bulk.

    Raises
    ------
    StageError
        When a dataset or an input file cannot be had, or is not what it should be.
    """
    variables = {**_description(task), **session.environment}
    if task.dataset is not None:
        target = inputs / variables["IEXEC_DATASET_FILENAME"]
        _place_dataset(task.dataset, session.dataset_key, target, sources)
    variables |= _place_input_files(task.params.input_files, inputs, sources)
    if task.params.bulk_cid and task.tee:
        variables |= _Bulk(task, inputs, sources, vault, chain).place()
    return variables


def _description(task: Assignment) -> dict[str, str]:
    deal = task.deal
    # The real worker writes addresses in lower case here.
    dataset = deal.dataset.pointer.lower()
    return {
        "IEXEC_DEAL_ID": deal.dealid,
        "IEXEC_TASK_ID": task.taskid,
        "IEXEC_TASK_INDEX": str(task.idx),
        "IEXEC_BOT_SIZE": str(deal.botSize),
        "IEXEC_BOT_FIRST_INDEX": str(deal.botFirst),
        "IEXEC_BOT_TASK_INDEX": str(task.idx),
        "IEXEC_DATASET_ADDRESS": dataset,
        "IEXEC_DATASET_FILENAME": dataset,
    }


def _place_dataset(dataset: Dataset, key: bytes | None, target: Path, sources: Sources) -> None:
    """Fetch, check and decrypt one dataset; without a key it is placed as it is."""
    raw = target.with_name(f"{target.name}.raw")
    try:
        sources.fetch(dataset.datasetMultiaddr, raw)
    except OSError as error:
        raise StageError("PRE_COMPUTE_DATASET_DOWNLOAD_FAILED", f"dataset {dataset.address}: {error}") from None
    found = checksum(raw)
    if found != dataset.datasetChecksum:
        raise StageError(
            "PRE_COMPUTE_INVALID_DATASET_CHECKSUM",
            f"dataset {dataset.address}: the file has checksum {found}, its record says {dataset.datasetChecksum}",
        )
    if key is None:
        raw.replace(target)
        return
    try:
        decrypt_file(raw, target, key)
    except IExecError:
        raise StageError(
            "PRE_COMPUTE_DATASET_DECRYPTION_FAILED",
            f"dataset {dataset.address} cannot be decrypted with the key in the SMS",
        ) from None
    raw.unlink()


def _place_input_files(urls: tuple[str, ...], inputs: Path, sources: Sources) -> dict[str, str]:
    variables = {"IEXEC_INPUT_FILES_NUMBER": str(len(urls))}
    if urls:
        variables["IEXEC_INPUT_FILES_FOLDER"] = str(inputs)
    for number, url in enumerate(urls, start=1):
        name = input_file_name(url)
        try:
            sources.fetch(url, inputs / name)
        except OSError as error:
            raise StageError("PRE_COMPUTE_INPUT_FILE_DOWNLOAD_FAILED", f"input file {number}: {error}") from None
        variables[f"IEXEC_INPUT_FILE_NAME_{number}"] = name
    return variables


def input_file_name(url: str) -> str:
    """Return the name that an input file has in ``IEXEC_IN``: the SHA-256 of its URL, as ``0x`` text."""
    return "0x" + hashlib.sha256(url.encode()).hexdigest()


class _Bulk:
    """The datasets of one slice of a bulk: the task with index i gets the slice with index i."""

    def __init__(self, task: Assignment, inputs: Path, sources: Sources, vault: Vault, chain: Chain) -> None:
        self._task, self._inputs, self._sources, self._vault, self._chain = task, inputs, sources, vault, chain

    def place(self) -> dict[str, str]:
        """Fetch, check and decrypt every dataset of the slice and return the variables that name them."""
        orders = self._orders()
        for name, order in orders:
            self._place(order, self._inputs / name)
        names = {f"IEXEC_DATASET_{i}_FILENAME": name for i, (name, _) in enumerate(orders, start=1)}
        return {"IEXEC_BULK_SLICE_SIZE": str(len(orders)), **names}

    def _orders(self) -> list[tuple[str, DatasetOrder]]:
        """Return the orders of the task's slice, each with the dataset as it is written there: that names its file.

        A slice that cannot be read has no orders, as for the real SMS: the app is told that there are none.
        """
        try:
            slices = foreign.loads(self._read(self._task.params.bulk_cid))
            listed = foreign.loads(self._read(slices[self._task.idx]))
            return [(order["dataset"], DatasetOrder.from_json(order)) for order in listed]
        except (OSError, ValueError, LookupError, TypeError, IExecError):
            return []

    def _read(self, cid: str) -> bytes:
        target = self._inputs.with_name("bulk.json")
        self._sources.fetch(cid, target)
        return target.read_bytes()

    def _place(self, order: DatasetOrder, target: Path) -> None:
        if order.volume < DATASET_INFINITE_VOLUME - 1:
            raise StageError(
                "PRE_COMPUTE_DATASET_URL_MISSING",
                f"dataset {order.dataset}: volume {order.volume} of its order is invalid for bulk processing",
            )
        try:
            call = Call(self._chain.hub_address, abi.ASSERT_DATASET_DEAL_COMPATIBILITY, self._arguments(order))
            self._chain.read([call])
            dataset = self._chain.dataset(order.dataset)
        except IExecError as error:
            raise StageError("PRE_COMPUTE_DATASET_URL_MISSING", f"dataset {order.dataset}: {error.message}") from None
        secret = self._vault.get("web3", order.dataset)
        if secret is None:
            raise StageError("PRE_COMPUTE_DATASET_KEY_MISSING", f"the key of dataset {order.dataset} is not in the SMS")
        try:
            key = dataset_key(secret)
        except IExecError:
            raise StageError(
                "PRE_COMPUTE_DATASET_DECRYPTION_FAILED", f"the secret of dataset {order.dataset} is not an AES-256 key"
            ) from None
        _place_dataset(dataset, key, target, self._sources)

    def _arguments(self, order: DatasetOrder) -> tuple[object, ...]:
        return order.to_abi(), hexbytes(self._task.deal.dealid)

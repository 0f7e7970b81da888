"""The last stage of a run: from what the app left in ``IEXEC_OUT`` to what goes onto the chain.

The folder becomes a zip, encrypted for the beneficiary where the requester asked for it, and is stored on IPFS; the
digest that workers agree on is that of the part which ``computed.json`` names. For a callback the app's bytes go to
the contract and nothing is stored.
"""

from __future__ import annotations

import io
import json
import secrets
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from iexec_nb.errors import IExecError
from iexec_nb.protocol.archive import Archive, open_archive
from iexec_nb.protocol.result_encryption import encrypt_result
from iexec_nb.protocol.results import ResultDescriptor, result_digest
from iexec_nb.protocol.types import Bytes32, hexbytes
from iexec_nb.sandbox.ipfs import BlockStore
from iexec_nb.sandbox.session import Assignment, Session, StageError

COMPUTED = "computed.json"
MAX_NAME_CHARACTERS = 31
MAX_ARCHIVE_BYTES = 1 << 30

_INSIDE = "/iexec_out"
_ZIP_DATE = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class Product:
    """What a run brings to the chain: the digest, the ``results`` bytes and the callback's bytes."""

    digest: Bytes32
    results: bytes
    callback: bytes = b""

    @property
    def link(self) -> str:
        """The results as text."""
        return self.results.decode()


def conclude(task: Assignment, session: Session, outputs: Path, store: BlockStore) -> Product:
    """Turn the files of an app into a result.

    Parameters
    ----------
    task
        What was run.
    session
        Holds the beneficiary's key where the result is to be encrypted.
    outputs
        ``IEXEC_OUT``.
    store
        Where the result is stored.

    Raises
    ------
    StageError
        When the app left no valid ``computed.json``, or the result cannot be packed, encrypted or stored.
    """
    computed = _computed(outputs)
    if task.has_callback:
        return _callback_product(task, computed)
    files = _files(outputs)
    if task.tee:
        _check_names(files)
    archive = _zip(files, computed)
    digest = _digest(archive)
    if task.params.storage != "ipfs":
        raise StageError("POST_COMPUTE_DROPBOX_UPLOAD_FAILED", "the sandbox has no Dropbox: use the storage ipfs")
    cid = store.add(_encrypted(archive, session.result_key))
    return Product(digest, ResultDescriptor("ipfs", f"/ipfs/{cid}").to_bytes())


def _computed(outputs: Path) -> dict[str, object]:
    """Return ``computed.json``, with paths as they are inside a container."""
    try:
        values = json.loads((outputs / COMPUTED).read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        values = None
    if not isinstance(values, dict):
        raise StageError(
            "POST_COMPUTE_COMPUTED_FILE_NOT_FOUND",
            'the app left no computed.json in IEXEC_OUT; it holds {"deterministic-output-path": "<IEXEC_OUT>/<file>"}',
        )
    path = values.get("deterministic-output-path")
    # The app saw a folder of this machine; the result has to name the same file for everybody.
    if isinstance(path, str) and Path(path).is_relative_to(outputs):
        values["deterministic-output-path"] = str(PurePosixPath(_INSIDE, *Path(path).relative_to(outputs).parts))
    return values


def _callback_product(task: Assignment, computed: dict[str, object]) -> Product:
    data = computed.get("callback-data")
    try:
        raw = hexbytes(data, "callback-data") if data else b""
    except IExecError:
        raw = b""
    if not raw:
        raise StageError(
            "POST_COMPUTE_RESULT_DIGEST_COMPUTATION_FAILED",
            "the deal has a callback, and computed.json has no callback-data (0x and hex digits)",
        )
    empty = open_archive(_zip([], computed))
    return Product(result_digest(empty, raw), ResultDescriptor("ethereum", task.deal.callback.lower()).to_bytes(), raw)


def _files(outputs: Path) -> list[tuple[str, Path]]:
    """Return the regular files under `outputs` with their names in the zip, sorted."""
    found = [(path.relative_to(outputs).as_posix(), path) for path in _walk(outputs)]
    return sorted((name, path) for name, path in found if name != COMPUTED)


def _walk(folder: Path) -> Iterator[Path]:
    for path in folder.iterdir():
        if path.is_symlink():
            # Followed, a link would carry any file of this machine out into the result.
            raise StageError("POST_COMPUTE_OUT_FOLDER_ZIP_FAILED", f"{path.name} in IEXEC_OUT is a link")
        if path.is_dir():
            yield from _walk(path)
        elif path.is_file():
            yield path


def _check_names(files: list[tuple[str, Path]]) -> None:
    for name, path in files:
        if len(path.name) > MAX_NAME_CHARACTERS:
            raise StageError(
                "POST_COMPUTE_TOO_LONG_RESULT_FILE_NAME",
                f"{name}: a file name in a result has at most {MAX_NAME_CHARACTERS} characters",
            )


def _zip(files: list[tuple[str, Path]], computed: dict[str, object]) -> bytes:
    if sum(path.stat().st_size for _, path in files) > MAX_ARCHIVE_BYTES:
        raise StageError("POST_COMPUTE_OUT_FOLDER_ZIP_FAILED", f"IEXEC_OUT holds more than {MAX_ARCHIVE_BYTES} bytes")
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, path in files:
            archive.writestr(_member(name), path.read_bytes())
        archive.writestr(_member(COMPUTED), json.dumps(computed))
    return packed.getvalue()


def _member(name: str) -> zipfile.ZipInfo:
    # A fixed date: the same files give the same zip, and with it the same CID.
    member = zipfile.ZipInfo(name, _ZIP_DATE)
    member.compress_type = zipfile.ZIP_DEFLATED
    member.external_attr = 0o100644 << 16
    return member


def _digest(archive: bytes) -> Bytes32:
    opened: Archive | None = None
    try:
        opened = open_archive(archive)
        return result_digest(opened, None)
    except IExecError as error:
        raise StageError("POST_COMPUTE_RESULT_DIGEST_COMPUTATION_FAILED", error.message) from None


def _encrypted(archive: bytes, public_pem: str | None) -> bytes:
    if public_pem is None:
        return archive
    try:
        return encrypt_result(archive, public_pem, secrets.token_bytes(32), secrets.token_bytes(16))
    except IExecError as error:
        raise StageError("POST_COMPUTE_MALFORMED_ENCRYPTION_PUBLIC_KEY", error.message) from None

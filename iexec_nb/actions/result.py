"""The noun ``result``: from the gateway, or from the disk, to objects in the notebook and files in a folder."""

from __future__ import annotations

import os
import shutil
import tempfile
import warnings
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any, TypedDict, TypeVar

from iexec_nb.actions.base import file_at, secret_of
from iexec_nb.actions.outcome import Result
from iexec_nb.actions.result_keys import ResultKeys
from iexec_nb.commands import command, noun
from iexec_nb.errors import (
    DecryptionError,
    IExecError,
    IpfsGatewayCallError,
    ObjectNotFoundError,
    ResultNotFoundError,
    TaskNotCompletedError,
    ValidationError,
)
from iexec_nb.protocol import result_encryption, results
from iexec_nb.protocol.archive import MAX_BYTES, check_limits
from iexec_nb.protocol.execution import Deal, Task, TaskStatus
from iexec_nb.protocol.extraction import path_of, write_whole
from iexec_nb.protocol.result_files import Files, FolderFiles, NoFiles, spooled
from iexec_nb.protocol.types import NULL_ADDRESS, Address, Secret, bytes32, shown, uint256
from iexec_nb.protocol.zip_records import IN_MEMORY_BYTES, MAX_FILES, Source

ENCRYPTED_NAME, DECRYPTED_NAME = "encryptedResults.zip", "results.zip"

Limit = int | str | None
T = TypeVar("T")


class Limits(TypedDict):
    """What a result may not be larger than; None is the default."""

    max_bytes: int | None
    max_files: int | None


def _raw(result: Result) -> dict[str, Any]:
    return {
        "taskid": result.task.taskid if result.task else None,
        "encrypted": result.encrypted,
        "verified": result.verified,
        "verification": result.verification,
        "callback": f"0x{result.callback.hex()}" if result.callback else None,
        "files": [{"name": file.name, "size": file.size, "kind": file.kind} for file in result.values()],
    }


@noun("result")
class ResultActions(ResultKeys):
    """Results: beneficiary keys, download, decryption."""

    @command("result fetch 0x0123456789012345678901234567890123456789012345678901234567890123", raw=_raw)
    def fetch(
        self,
        taskid: str,
        /,
        *,
        key: Secret | None = None,
        beneficiary_key_file: str | Path | None = None,
        beneficiary_keystoredir: str | Path | None = None,
        max_bytes: Limit = None,
        max_files: Limit = None,
    ) -> Result:
        """Download a task's result, check it, decrypt it if it is encrypted, and return its files.

        Parameters
        ----------
        taskid
            The task's id.
        key
            The beneficiary's private key (PEM); default: the one in the project or in the client's store.
        beneficiary_key_file
            The file of that key: its path, or its name in the folder of keys.
        beneficiary_keystoredir
            The folder of keys; default: ``.secrets/beneficiary`` of the project.
        max_bytes
            How large the result may be, packed and unpacked; default: 2 GB, and not more than 200 times the packed
            size.
        max_files
            How many files it may have; default: 10,000.

        Returns
        -------
        Result
            The files by name: ``result["out.csv"].table()``, ``result.image()``, ``result.save(folder)``. For a task
            with a callback the data that the contract got: ``result.callback``.

        Raises
        ------
        TaskNotCompletedError
            When the task is not completed.
        ResultNotFoundError
            When the task has no result that can be downloaded.
        IpfsGatewayCallError
            When no gateway answers with the bytes that the CID names.
        DecryptionError
            When the key does not fit.
        UnsafeArchiveError
            When the archive would harm the machine.

        Source
        ------
        Contract function ``viewTask`` (``results``, ``resultDigest``, ``resultsCallback``); the IPFS gateway.
        """
        private = secret_of(key) if key is not None else None
        task = self._task(taskid, None)
        if private is None and (beneficiary_key_file is not None or beneficiary_keystoredir is not None):
            deal = self._chain.deal(task.dealid)
            private = self._private_keys(deal.beneficiary, None, beneficiary_key_file, beneficiary_keystoredir)[0]
        return self.of_task(task, self._chain.deal(task.dealid), key=private, max_bytes=max_bytes, max_files=max_files)

    def of_task(
        self,
        task: Task,
        deal: Deal,
        *,
        key: Secret | None = None,
        max_bytes: Limit = None,
        max_files: Limit = None,
    ) -> Result:
        """Return the result of a task that was read before; see `fetch`."""
        limits = _limits(max_bytes, max_files)
        if deal.callback != NULL_ADDRESS and task.status is TaskStatus.COMPLETED and task.results.storage != "ipfs":
            return _of_callback(task)
        content = self._download(_location(task), limits)
        is_encrypted = isinstance(content, Source) and result_encryption.is_encrypted_result(content)
        if isinstance(content, Files):
            files = content
        elif is_encrypted:
            files = self._opened(content, self._private_keys(deal.beneficiary, key), deal.beneficiary, limits)
        else:
            files = results.open_files(content, **limits)
        return _told(_of(files, task, deal, is_encrypted))

    @command(
        "result download 0x0123456789012345678901234567890123456789012345678901234567890123 my-result --decrypt",
        js=("task.fetchResults",),
        raw=lambda path: {"resultPath": str(path)},
    )
    def download(
        self,
        taskid: str,
        target: str | Path | None = None,
        /,
        *,
        decrypt: bool = False,
        beneficiary_key_file: str | Path | None = None,
        beneficiary_keystoredir: str | Path | None = None,
        dealid: str | None = None,
        max_bytes: Limit = None,
        max_files: Limit = None,
    ) -> Path:
        """Write the result of a task into a zip file, checked against its CID, and return the path.

        A download that was interrupted goes on where it was when the same is typed again.

        Parameters
        ----------
        taskid
            The task's id.
        target
            Name of the file; ``.zip`` is added where it is missing. Default: the task's id, in the working folder.
        decrypt
            Decrypt an encrypted result.
        beneficiary_key_file
            The file of the private key: its path, or its name in the folder of keys.
        beneficiary_keystoredir
            The folder of keys; default: ``.secrets/beneficiary`` of the project, then the client's store.
        dealid
            The task's deal, so that a task which was not started yet is told from one that does not exist.
        max_bytes
            How large the file may be; default: 2 GB.
        max_files
            How many files may be in it; default: 10,000.

        Returns
        -------
        Path
            The file. A result that is a folder on IPFS becomes a folder of that name.

        Raises
        ------
        TaskNotCompletedError
            When the task is not completed.
        ResultNotFoundError
            When the task has no result that can be downloaded.
        ConfigurationError
            When there is a file of that name and it may not be replaced.
        DecryptionError
            With `decrypt`, when the key does not fit or the result is not encrypted.

        Source
        ------
        Contract function ``viewTask`` (``results``); the IPFS gateway; ``iexec task show --download`` of the CLI.
        """
        limits = _limits(max_bytes, max_files)
        task = self._task(taskid, dealid)
        location = _location(task)
        place = _zip_path(target if target is not None else task.taskid)
        keys = None
        if decrypt:
            who = self._chain.deal(task.dealid).beneficiary
            keys = self._private_keys(who, None, beneficiary_key_file, beneficiary_keystoredir)
        self._may_write(place)
        if keys is None:
            return _without_suffix(self._got(location, place, limits))
        content = self._download(location, limits)
        if isinstance(content, Files):
            raise DecryptionError("the result is a folder, which is not encrypted", hint="download it without decrypt")
        return _written(self._decrypted(content, keys, who, limits), place)

    @command("result open ./result.zip", raw=_raw, local=True)
    def open(
        self,
        path: str | Path,
        /,
        *,
        taskid: str | None = None,
        key: Secret | None = None,
        beneficiary_key_file: str | Path | None = None,
        beneficiary_keystoredir: str | Path | None = None,
        max_bytes: Limit = None,
        max_files: Limit = None,
    ) -> Result:
        """Open a result that lies on the disk, plain or encrypted, and return its files; nothing is written.

        Parameters
        ----------
        path
            A zip, encrypted or not, or a single file; for example what came from Dropbox.
        taskid
            The task whose result it is, so that it is compared with the digest on the chain.
        key
            The beneficiary's private key (PEM); default: the one in the project or in the client's store.
        beneficiary_key_file
            The file of that key: its path, or its name in the folder of keys.
        beneficiary_keystoredir
            The folder of keys; default: ``.secrets/beneficiary`` of the project.
        max_bytes
            How large the result may be, packed and unpacked; default: 2 GB, and not more than 200 times the packed
            size.
        max_files
            How many files it may have; default: 10,000.

        Returns
        -------
        Result
            The files by name.

        Raises
        ------
        ValidationError
            When there is no such file.
        DecryptionError
            When it is encrypted and the key does not fit.
        UnsafeArchiveError
            When the archive would harm the machine.

        Source
        ------
        With `taskid`: contract function ``viewTask`` (``resultDigest``).
        """
        limits = _limits(max_bytes, max_files)
        source = Source.of(file_at(path, "give the path of a result on the disk"))
        task = self._task(taskid, None) if taskid is not None else None
        deal = self._chain.deal(task.dealid) if task is not None else None
        is_encrypted = result_encryption.is_encrypted_result(source)
        if is_encrypted:
            who = deal.beneficiary if deal is not None else None
            keys = self._private_keys(who, key, beneficiary_key_file, beneficiary_keystoredir)
            files: Files = self._opened(source, keys, who, limits)
        else:
            files = results.open_files(source, **limits)
        if task is None or deal is None:
            return Result(files, encrypted=is_encrypted)
        return _told(_of(files, task, deal, is_encrypted))

    @command(
        "result decrypt ./encryptedResults.zip",
        js=("utils.decryptResult",),
        raw=lambda result: {"resultsPath": str(result.path)} if result.path else _raw(result),
        local=True,
    )
    def decrypt(
        self,
        path: str | Path | None = None,
        /,
        *,
        target: str | Path | None = None,
        key: Secret | None = None,
        beneficiary_key_file: str | Path | None = None,
        beneficiary_keystoredir: str | Path | None = None,
        beneficiary: str | None = None,
        max_bytes: Limit = None,
        max_files: Limit = None,
    ) -> Result:
        """Decrypt a result archive on the disk, in the current or the legacy format, and return its files.

        In the folder of a project the plain zip is written to ``results.zip`` as well, as the official CLI does;
        elsewhere only where `target` says.

        Parameters
        ----------
        path
            The encrypted zip; default: ``encryptedResults.zip`` in the working folder, whose plain zip is written.
        target
            Where the plain zip is written.
        key
            The beneficiary's private key (PEM); default: the one in the project or in the client's store.
        beneficiary_key_file
            The file of that key: its path, or its name in the folder of keys.
        beneficiary_keystoredir
            The folder of keys; default: ``.secrets/beneficiary`` of the project.
        beneficiary
            Whose key to take; default: that of the client's wallet.
        max_bytes
            How large the result may be, packed and unpacked; default: 2 GB, and not more than 200 times the packed
            size.
        max_files
            How many files it may have; default: 10,000.

        Returns
        -------
        Result
            The files by name; ``path`` is the plain zip where it was written.

        Raises
        ------
        ValidationError
            When there is no such file, or no private key where it was said to be.
        DecryptionError
            When the key does not fit, the file is not encrypted, or it is damaged.
        ConfigurationError
            When there is a file in the way and it may not be replaced.

        Source
        ------
        ``iexec result decrypt`` of the official CLI; ``utils.decryptResult`` of the SDK.
        """
        limits = _limits(max_bytes, max_files)
        who = self._who(beneficiary) if beneficiary is not None else None
        keys = self._private_keys(who, key, beneficiary_key_file, beneficiary_keystoredir)
        given = ENCRYPTED_NAME if path is None else path
        source = Source.of(file_at(given, "give the path of an encrypted result zip"))
        if target is None and (path is None or self._in_project):
            target = DECRYPTED_NAME
        if target is None:
            return Result(self._opened(source, keys, who, limits), encrypted=True)
        place = path_of(target).absolute()
        self._may_write(place)
        plain = self._decrypted(source, keys, who, limits)
        _written(plain, place)
        try:
            return Result(results.open_files(plain, **limits), encrypted=True, path=place)
        except IExecError as error:
            error.context["written"] = place.name
            raise

    def _task(self, taskid: str, dealid: str | None) -> Task:
        where = bytes32(taskid, "taskid")
        try:
            return self._chain.task(where, None if dealid is None else bytes32(dealid, "dealid"))
        except ObjectNotFoundError as error:
            if error.kind == "task":
                error.hint = (
                    "check the task's id and the chain; a task that its scheduler has not started yet is not there "
                    "either: try again in a minute"
                )
            raise

    def _download(self, location: str, limits: Limits) -> Source | Files:
        """Return what lies on IPFS, in the memory or in a file without a name; a folder lives as long as its files."""
        folder = tempfile.mkdtemp(prefix="iexec_nb_")
        try:
            path = self._got(location, Path(folder, "result"), limits)
            if path.is_dir():
                files = FolderFiles(path)
                weakref.finalize(files, shutil.rmtree, folder, ignore_errors=True)
                folder = ""
                return files
            if os.name == "nt" and path.stat().st_size > IN_MEMORY_BYTES:
                # A file that is open cannot be removed there: it moves to one that goes by itself.
                with path.open("rb") as file:
                    return Source(spooled(lambda goal: shutil.copyfileobj(file, goal)))
            return Source.of(path)
        finally:
            if folder:
                shutil.rmtree(folder, ignore_errors=True)

    def _got(self, location: str, place: Path, limits: Limits) -> Path:
        max_bytes, max_files = limits["max_bytes"] or MAX_BYTES, limits["max_files"] or MAX_FILES
        try:
            return self._client.ipfs.download(location, place, max_bytes=max_bytes, max_files=max_files)
        except IpfsGatewayCallError as error:
            if error.status not in (404, 410):
                raise
            raise ResultNotFoundError(
                f"the result is not at {shown(location)}",
                context={"gateway": error.message, **error.context},
                hint="it may not be uploaded yet: try again in a minute; if it stays away, ask the workerpool",
            ) from error

    def _opened(self, source: Source, keys: list[Secret], who: Address | None, limits: Limits) -> Files:
        return _first(keys, who, lambda key: result_encryption.open_encrypted(source, key, **limits))

    def _decrypted(self, source: Source, keys: list[Secret], who: Address | None, limits: Limits) -> Source:
        return _first(keys, who, lambda key: result_encryption.decrypted(source, key, **limits))

    def _may_write(self, place: Path) -> None:
        """See that a file can be written before anything is downloaded; one that is there is asked about."""
        if not place.parent.is_dir():
            raise ValidationError(f"the folder {place.parent} does not exist", hint="make it first")
        if place.is_dir() or place.is_symlink():
            raise ValidationError(f"{place} is in the way and is not a file", hint="give another name")
        if place.exists():
            self._client.approve(f"replace the file {place.name}", replaces=True)


def _limits(max_bytes: Limit, max_files: Limit) -> Limits:
    found: Limits = {
        "max_bytes": None if max_bytes is None else uint256(max_bytes, "max_bytes"),
        "max_files": None if max_files is None else uint256(max_files, "max_files"),
    }
    check_limits(**found)
    return found


def _location(task: Task) -> str:
    """Return where on IPFS a task's result lies; every other case is an error that says what to do."""
    context: dict[str, object] = {"task": task.taskid}
    if task.status is not TaskStatus.COMPLETED:
        context["status"] = task.status.name
        deal = f", dealid={task.dealid!r}" if task.status is TaskStatus.UNSET else ""
        wait = f"wait until it is: iexec.task.show({task.taskid!r}, watch=True{deal})"
        failed = f"it failed and has no result; why: iexec.task.debug({task.taskid!r})"
        hint = failed if task.status is TaskStatus.FAILED else wait
        raise TaskNotCompletedError("Task is not completed", context=context, hint=hint)
    storage, location = task.results.storage, task.results.location
    if storage == "none":
        hint = f"what the app did: iexec.task.debug({task.taskid!r})"
        raise ResultNotFoundError("No result uploaded for this task", context=context, hint=hint)
    if storage != "ipfs":
        if location:
            context["location"] = shown(f"{location}.zip in the Dropbox folder" if storage == "dropbox" else location)
        raise ResultNotFoundError(
            f"Task result stored on {shown(storage)}, download not supported",
            context=context,
            hint=f"get the file from there, then: iexec.result.open(path, taskid={task.taskid!r})",
        )
    if not location:
        raise ResultNotFoundError("Missing location key in task results, download not supported", context=context)
    return location


def _of_callback(task: Task) -> Result:
    """Return the result of a task whose data went to a contract."""
    if not task.resultsCallback:
        _location(task)
        raise ResultNotFoundError("the task has no callback data", context={"task": task.taskid})
    agreement = results.callback_agreement(task.resultsCallback, task.resultDigest)
    return _told(Result(NoFiles(), task=task, agreement=agreement, callback=task.resultsCallback))


def _of(files: Files, task: Task, deal: Deal, is_encrypted: bool) -> Result:
    """Return the result of a task with these files, compared with the chain."""
    if deal.callback != NULL_ADDRESS:
        agreement = results.callback_agreement(task.resultsCallback, task.resultDigest)
    else:
        agreement = results.agreement(files, task.resultDigest)
    return Result(files, task=task, encrypted=is_encrypted, agreement=agreement, callback=task.resultsCallback)


def _told(result: Result) -> Result:
    """Return a result, with a warning where it is another than the workers agreed on."""
    if result.verified is False and result.task is not None:
        warnings.warn(f"the result of task {result.task.taskid} is not what the workers agreed on", stacklevel=4)
    return result


def _first(keys: Sequence[Secret], who: Address | None, opened: Callable[[Secret], T]) -> T:
    """Return what the first key opens that fits; the error of the last says whose key it would have to be."""
    for at, key in enumerate(keys, 1):
        try:
            return opened(key)
        except (DecryptionError, ValidationError) as error:
            if at < len(keys):
                continue
            error.context.setdefault("needed", f"the private key of {who}, the beneficiary" if who else "another key")
            raise
    raise DecryptionError("no key was given")


def _zip_path(given: object) -> Path:
    """Return the path of a zip, named as the official CLI names it."""
    path = path_of(given)
    if not path.name:
        # "." would be named after the working folder, beside it.
        raise ValidationError(f"{shown(str(given))} is not the name of a file", hint="give a path with a name")
    place = path.absolute()
    if place.name.endswith(".zip") and len(place.name) > 4:
        return place
    return place.with_name(f"{place.name}.zip")


def _without_suffix(path: Path) -> Path:
    """Return a downloaded file as it is; a folder loses the ending that a zip would have."""
    goal = path.with_name(path.name.removesuffix(".zip"))
    if not path.is_dir() or goal == path or goal.exists():
        return path
    return path.rename(goal)


def _written(plain: Source, place: Path) -> Path:
    def write(file: IO[bytes]) -> None:
        for piece in plain.pieces(0, plain.size):
            file.write(piece)

    return write_whole(write, place, overwrite=True)

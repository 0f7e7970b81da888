"""Encrypting the files of a project: all that lies in ``datasets/original``, as ``iexec dataset encrypt`` does it.

A key that is lost is a dataset that nobody can use again. So every key is in its file before the encrypted file is
there, all questions are asked before the first file is touched, and the key of a file that is replaced is kept in the
client's store.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from iexec_nb.errors import ConfigurationError, IExecError, ValidationError
from iexec_nb.protocol import encryption
from iexec_nb.protocol.receipts import EncryptedFile, EncryptedFolder
from iexec_nb.protocol.types import shown

if TYPE_CHECKING:
    from iexec_nb.client import IExec
    from iexec_nb.services.project import Project

KEY_FILE = "dataset.key"


@dataclass(frozen=True, slots=True)
class Folders:
    """The three folders: of keys, of files to encrypt, of encrypted files."""

    keys: Path
    originals: Path
    encrypted: Path


def folders_of(
    project: Project,
    dataset_keystoredir: str | None = None,
    original_dataset_dir: str | None = None,
    encrypted_dataset_dir: str | None = None,
) -> Folders:
    """Return the folders of a project, those that are given in place of its own.

    Raises
    ------
    ValidationError
        When one that is given is no path.
    """
    given = {
        "dataset_keystoredir": (dataset_keystoredir, project.secrets_dir("datasets")),
        "original_dataset_dir": (original_dataset_dir, project.originals),
        "encrypted_dataset_dir": (encrypted_dataset_dir, project.encrypted),
    }
    return Folders(*(_folder(project, name, *paths) for name, paths in given.items()))


def make_folders(project: Project, folders: Folders) -> None:
    """Make the folders where they are missing, that of keys readable by its owner only.

    Raises
    ------
    ConfigurationError
        When one cannot be made.
    """
    project.make_secrets_dir(folders.keys)
    try:
        folders.originals.mkdir(parents=True, exist_ok=True)
        folders.encrypted.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(f"a folder cannot be made: {error.strerror}") from error


def encrypt_folder(
    client: IExec,
    *,
    dataset_keystoredir: str | None = None,
    original_dataset_dir: str | None = None,
    encrypted_dataset_dir: str | None = None,
    force: bool = False,
) -> EncryptedFolder:
    """Encrypt every file of a project's ``datasets/original`` with a key of its own.

    Parameters
    ----------
    client
        Who is asked before files are replaced, and whose store keeps the keys.
    dataset_keystoredir, original_dataset_dir, encrypted_dataset_dir
        Other folders than ``.secrets/datasets``, ``datasets/original`` and ``datasets/encrypted``.
    force
        Replace keys and encrypted files that are there without asking.

    Returns
    -------
    EncryptedFolder
        The files with their checksums.

    Raises
    ------
    ConfigurationError
        When the folders are missing, or the answer is no.
    ValidationError
        When there is nothing to encrypt.
    """
    project = client.files
    folders = folders_of(project, dataset_keystoredir, original_dataset_dir, encrypted_dataset_dir)
    names, skipped = _names(folders)
    there = [path.name for path in _outcomes(folders, names) if os.path.lexists(path)]
    if there and not force:
        listed = ", ".join(shown(name) for name in there)
        client.approve(f"replace {listed} ({folders.keys.name} and {folders.encrypted.name})", replaces=True)
    encrypted = tuple(_encrypt(client, project, folders, name) for name in names)
    return EncryptedFolder(
        encryptedDatasetFolderPath=folders.encrypted, secretPath=folders.keys, encryptedFiles=encrypted, skipped=skipped
    )


def encrypted_folder_raw(made: EncryptedFolder) -> dict[str, Any]:
    """Return the members of the CLI's JSON."""
    files = [
        {"original": str(one.original), "encrypted": str(one.encrypted), "key": str(one.key), "checksum": one.checksum}
        for one in made.encryptedFiles
    ]
    return {
        "encryptedDatasetFolderPath": str(made.encryptedDatasetFolderPath),
        "secretPath": str(made.secretPath),
        "encryptedFiles": files,
    }


def _folder(project: Project, name: str, given: str | None, own: Path) -> Path:
    if given is None:
        return own
    with suppress(RuntimeError):
        # RuntimeError: "~somebody" of whom this machine knows no home.
        if isinstance(given, str | os.PathLike) and str(given) and "\0" not in str(given):
            return project.folder / Path(given).expanduser()
    raise ValidationError(f"{shown(given)!r} is not a valid {name}", hint=f"give {name} as a path")


def _names(folders: Folders) -> tuple[Sequence[str], tuple[str, ...]]:
    """Return which files to encrypt, and what else lies beside them."""
    if not all(path.is_dir() for path in (folders.keys, folders.originals, folders.encrypted)):
        raise ConfigurationError(
            'Folders for dataset encryption are missing, did you forget to run "iexec dataset init --encrypted"?',
            hint="%iexec dataset init --encrypted, or name one file: %iexec dataset encrypt ./prices.csv",
        )
    try:
        entries = sorted(folders.originals.iterdir(), key=lambda path: path.name)
    except OSError as error:
        raise ConfigurationError(f'"{folders.originals.name}" cannot be read: {error.strerror}') from error
    # A link could lead out of the folder: like the CLI, this takes plain files only.
    names = [path.name for path in entries if path.is_file() and not path.is_symlink()]
    if not names:
        raise ValidationError(
            f'Input folder "{folders.originals}" is empty, nothing to encrypt', hint="copy the files to encrypt into it"
        )
    if "dataset" in names and len(names) > 1:
        raise ValidationError(
            f'the key of a file called "dataset" would be in {KEY_FILE}, which is that of the last file',
            hint='give the file "dataset" another name',
        )
    return names, tuple(path.name for path in entries if path.name not in names)


def _outcomes(folders: Folders, names: Sequence[str]) -> Iterator[Path]:
    for name in names:
        yield folders.keys / f"{name}.key"
        yield folders.encrypted / f"{name}.enc"
    if f"{names[-1]}.key" != KEY_FILE:
        yield folders.keys / KEY_FILE


def _encrypt(client: IExec, project: Project, folders: Folders, name: str) -> EncryptedFile:
    source, key, target = folders.originals / name, folders.keys / f"{name}.key", folders.encrypted / f"{name}.enc"
    _keep_old(client, project, key, target)
    secret = encryption.generate_dataset_key(client.random_bytes(32))
    project.write_secret(key, secret)
    project.write_secret(folders.keys / KEY_FILE, secret)
    made = encryption.encrypt_file(source, target, encryption.dataset_key(secret), client.random_bytes(16))
    client.store.keep_dataset_key(made.checksum, secret)
    return EncryptedFile(original=source, encrypted=target, key=key, checksum=made.checksum)


def _keep_old(client: IExec, project: Project, key: Path, target: Path) -> None:
    """Keep the key of an encrypted file that is about to be replaced: somebody may have bought it."""
    if not (key.is_file() and target.is_file()):
        return
    # What is no key there is worth nothing.
    with suppress(IExecError):
        old = project.read_secret(key)
        encryption.dataset_key(old)
        with target.open("rb") as file:
            checksum = "0x" + hashlib.file_digest(file, "sha256").hexdigest()
        client.store.keep_dataset_key(checksum, old)

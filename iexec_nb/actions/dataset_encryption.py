"""The verbs that keep a dataset secret: encrypt a file or a table, and hand the key to the secret service."""

from __future__ import annotations

import io
import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, overload

from iexec_nb.actions.base import file_at, secret_of
from iexec_nb.actions.dataset_folders import encrypt_folder, encrypted_folder_raw
from iexec_nb.actions.dataset_keys import key_of
from iexec_nb.actions.entries import Registered
from iexec_nb.actions.secret_values import is_set_raw, nothing_raw
from iexec_nb.commands import command
from iexec_nb.errors import ValidationError
from iexec_nb.protocol import encryption
from iexec_nb.protocol.receipts import EncryptedDataset, EncryptedFolder
from iexec_nb.protocol.types import Bytes32, Secret, shown

if TYPE_CHECKING:
    import pandas as pd

_ONE_FILE = "give the path of one file, bytes or a DataFrame"


def _raw(made: EncryptedDataset | EncryptedFolder) -> dict[str, Any]:
    if isinstance(made, EncryptedFolder):
        return encrypted_folder_raw(made)
    return {"encryptedFiles": [{"encrypted": str(made.path), "checksum": made.checksum}]}


class DatasetEncryption(Registered):
    """The verbs of keys."""

    kind = "dataset"

    @overload
    def encrypt(
        self,
        source: str | Path | bytes | pd.DataFrame,
        /,
        *,
        target: str | Path | None = ...,
        key: Secret | None = ...,
        force: bool = ...,
    ) -> EncryptedDataset: ...
    @overload
    def encrypt(
        self,
        source: None = ...,
        /,
        *,
        force: bool = ...,
        dataset_keystoredir: str | None = ...,
        original_dataset_dir: str | None = ...,
        encrypted_dataset_dir: str | None = ...,
    ) -> EncryptedFolder: ...
    @command("dataset encrypt ./prices.csv", js=("dataset.encrypt", "dataset.generateEncryptionKey"), raw=_raw)
    def encrypt(
        self,
        source: str | Path | bytes | pd.DataFrame | None = None,
        /,
        *,
        target: str | Path | None = None,
        key: Secret | None = None,
        force: bool = False,
        dataset_keystoredir: str | None = None,
        original_dataset_dir: str | None = None,
        encrypted_dataset_dir: str | None = None,
    ) -> EncryptedDataset | EncryptedFolder:
        """Encrypt a file or a table with AES-256-CBC and return where it lies, its checksum and its key.

        The key is kept in the client's store under the checksum, so that `push_secret` finds it. A DataFrame is
        encrypted as CSV without its index. Without a source every file in the project's ``datasets/original`` is
        encrypted, each with a key of its own in ``.secrets/datasets``.

        Parameters
        ----------
        source
            A path, bytes or a DataFrame; default: the files of the project.
        target
            The encrypted file; default: ``<source>.enc`` beside a file, else a file in the client's store.
        key
            A dataset key (base64 of 32 bytes); default: a new random one.
        force
            Replace an encrypted file that is there.
        dataset_keystoredir
            Another folder of the project's keys than ``.secrets/datasets``.
        original_dataset_dir
            Another folder of the project's files than ``datasets/original``.
        encrypted_dataset_dir
            Another folder of the project's encrypted files than ``datasets/encrypted``.

        Returns
        -------
        EncryptedDataset or EncryptedFolder
            ``path``, ``checksum`` (SHA-256 of the encrypted file, ``0x`` text), ``size`` (bytes) and ``key``; without
            a source ``encryptedFiles``, each with ``original encrypted key checksum``.

        Raises
        ------
        ValidationError
            When there is no such file, the encrypted one is there already, or the key is not base64 of 32 bytes.
        ConfigurationError
            When the folders of the project are missing.

        Source
        ------
        Format: 16 bytes IV, then AES-256-CBC with PKCS#7, as SDK 6 to 9.
        """
        folders = {
            "dataset_keystoredir": dataset_keystoredir, "original_dataset_dir": original_dataset_dir,
            "encrypted_dataset_dir": encrypted_dataset_dir,
        }  # fmt: skip
        if source is None:
            _refuse({"target": target, "key": key}, "one file", "name the file: encrypt(source, ...)")
            return encrypt_folder(self._client, force=force, **folders)
        _refuse(folders, "the files of a project", "leave the source out, or the folders")
        secret = secret_of(key) if key is not None else self.generate_encryption_key()
        raw = encryption.dataset_key(secret)
        iv = self._client.random_bytes(16)
        content, goal = self._source(source, f"{iv.hex()}.enc")
        goal = _path(target) if target is not None else goal
        if os.path.lexists(goal) and not force:
            raise ValidationError(
                f"{goal.name!r} is there already", hint="replace it with force=True (--force), or give target=..."
            )
        encrypted = encryption.encrypt_file(content, goal, raw, iv)
        self._client.store.keep_dataset_key(encrypted.checksum, secret)
        return EncryptedDataset(path=encrypted.path, checksum=encrypted.checksum, size=encrypted.size, key=secret)

    def generate_encryption_key(self) -> Secret:
        """Return a new random key for a dataset: base64 of 32 bytes, which shows itself as ``****``.

        Returns
        -------
        Secret
            For ``encrypt(source, key=...)`` and ``push_secret(dataset, key=...)``.
        """
        return encryption.generate_dataset_key(self._client.random_bytes(32))

    @command("dataset compute-encrypted-file-checksum ./prices.csv.enc", js=("dataset.computeEncryptedFileChecksum",))
    def compute_encrypted_file_checksum(self, source: str | Path | bytes, /) -> Bytes32:
        """Return the SHA-256 of an encrypted file, as a dataset's entry on the chain has it.

        Parameters
        ----------
        source
            A path, or bytes.

        Returns
        -------
        str
            ``0x`` and 64 hex digits.

        Raises
        ------
        ValidationError
            When there is no such file.

        Source
        ------
        FIPS 180-4.
        """
        if isinstance(source, bytes | bytearray):
            return encryption.checksum(bytes(source))
        return encryption.checksum(file_at(source, "give the path of one file, or bytes"))

    def _source(self, source: Any, name: str) -> tuple[Path | BinaryIO, Path]:
        """Return what to read, and where its encrypted form lies unless somewhere else is asked for."""
        if not isinstance(source, str | Path):
            return io.BytesIO(_content(source)), self._client.store.subfolder("encrypted") / name
        path = file_at(source, _ONE_FILE)
        return path, path.with_name(path.name + ".enc")

    @command(
        "dataset push-secret 0x0123456789012345678901234567890123456789",
        js=("dataset.pushDatasetSecret",),
        raw=nothing_raw,
    )
    def push_secret(
        self,
        dataset: str | None = None,
        /,
        *,
        key: Secret | EncryptedDataset | None = None,
        secret_path: str | Path | None = None,
    ) -> bool:
        """Hand a dataset's key to the secret service, which gives it to enclaves of matched deals only.

        It can be done once: the service refuses another key for the same dataset.

        Parameters
        ----------
        dataset
            Its address; default: the one in ``deployed.json``.
        key
            The key; default: the one that `encrypt` made for the checksum that the chain knows.
        secret_path
            A file that holds the key, instead.

        Returns
        -------
        bool
            True.

        Raises
        ------
        ValidationError
            When no key is known here for that dataset.
        SecretExistsError
            When a key was pushed before.
        SmsCallError
            When the dataset is not the wallet's.

        Source
        ------
        Endpoint ``POST /secrets/web3`` of the SMS.
        """
        where = self._at(dataset)
        if key is not None and secret_path is not None:
            raise ValidationError("key and secret_path were given", hint="give one of them")
        secret = self._given_key(key, secret_path)
        signer = self._signer("push the dataset's key")
        record = self._chain.dataset(where)
        if secret is None:
            secret = key_of(self._client, record)
        encryption.dataset_key(secret)
        self._client.approve_secret(f"the key of dataset {where}")
        self._client.sms.push_web3(where, secret, signer)
        return True

    def _given_key(self, key: Secret | EncryptedDataset | None, path: str | Path | None) -> Secret | None:
        if path is not None:
            return self._client.files.read_secret(_path(path))
        given = key.key if isinstance(key, EncryptedDataset) else key
        return secret_of(given) if given is not None else None

    @command(
        "dataset check-secret 0x0123456789012345678901234567890123456789",
        js=("dataset.checkDatasetSecretExists",),
        raw=is_set_raw,
    )
    def check_secret(self, dataset: str | None = None, /) -> bool:
        """Tell whether the secret service holds a key for a dataset.

        Parameters
        ----------
        dataset
            Its address; default: the one in ``deployed.json``.

        Source
        ------
        Endpoint ``HEAD /secrets/web3`` of the SMS.
        """
        return self._client.sms.has_web3(self._at(dataset))


def _refuse(given: dict[str, Any], what: str, hint: str) -> None:
    if named := [name for name, value in given.items() if value is not None]:
        raise ValidationError(f"{named[0]} is about {what}", hint=hint)


def _path(given: object) -> Path:
    # RuntimeError: "~somebody" of whom this machine knows no home.
    with suppress(RuntimeError):
        if isinstance(given, str | os.PathLike) and str(given) and "\0" not in str(given):
            return Path(given).expanduser()
    raise ValidationError(f"{shown(given)!r} is not a path", hint='give a path, such as "./prices.csv.enc"')


def _content(source: Any) -> bytes:
    if isinstance(source, bytes | bytearray):
        return bytes(source)
    if hasattr(source, "to_csv") and hasattr(source, "columns"):
        text: str = source.to_csv(index=False, lineterminator="\n")
        return text.encode()
    raise ValidationError(
        f"a {type(source).__name__} cannot be encrypted", hint="give a path, bytes, or a DataFrame (it becomes a CSV)"
    )

"""The noun ``dataset``: from a table or a file to something that can be sold without being seen."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from iexec_nb.actions.base import file_at, secret_of, text_of
from iexec_nb.actions.entries import Registered
from iexec_nb.commands import command, noun
from iexec_nb.errors import ValidationError
from iexec_nb.protocol import cid, encryption
from iexec_nb.protocol.receipts import Deployed, EncryptedDataset
from iexec_nb.protocol.resources import Dataset
from iexec_nb.protocol.types import Secret, address, bytes32

if TYPE_CHECKING:
    import pandas as pd


@noun("dataset")
class DatasetActions(Registered):
    """Datasets: encrypt, deploy, and hand the key to the secret service."""

    kind = "dataset"

    @command("dataset encrypt ./prices.csv")
    def encrypt(
        self,
        source: str | Path | bytes | pd.DataFrame,
        /,
        *,
        target: str | Path | None = None,
        key: Secret | None = None,
        force: bool = False,
    ) -> EncryptedDataset:
        """Encrypt a file or a table with AES-256-CBC and return where it lies, its checksum and its key.

        The key is kept in the client's store under the checksum, so that `push_secret` finds it. A DataFrame is
        encrypted as CSV without its index.

        Parameters
        ----------
        source
            A path, bytes or a DataFrame.
        target
            The encrypted file; default: ``<source>.enc`` beside a file, else a file in the client's store.
        key
            A dataset key (base64 of 32 bytes); default: a new random one.
        force
            Replace an encrypted file that is there.

        Returns
        -------
        EncryptedDataset
            ``path``, ``checksum`` (SHA-256 of the encrypted file, ``0x`` text), ``size`` (bytes) and ``key``.

        Raises
        ------
        ValidationError
            When there is no such file, the encrypted one is there already, or the key is not base64 of 32 bytes.

        Source
        ------
        Format: 16 bytes IV, then AES-256-CBC with PKCS#7, as SDK 6 to 9.
        """
        secret = secret_of(key) if key is not None else encryption.generate_dataset_key(self._client.random_bytes(32))
        raw = encryption.dataset_key(secret)
        iv = self._client.random_bytes(16)
        content, goal = self._source(source, f"{iv.hex()}.enc")
        goal = Path(target).expanduser() if target is not None else goal
        if goal.exists() and not force:
            raise ValidationError(
                f"{goal.name!r} is there already", hint="replace it with force=True (--force), or give target=..."
            )
        encrypted = encryption.encrypt_file(content, goal, raw, iv)
        self._client.store.keep_dataset_key(encrypted.checksum, secret)
        return EncryptedDataset(path=encrypted.path, checksum=encrypted.checksum, size=encrypted.size, key=secret)

    def _source(self, source: Any, name: str) -> tuple[Path | BinaryIO, Path]:
        """Return what to read, and where its encrypted form lies unless somewhere else is asked for."""
        if not isinstance(source, str | Path):
            return io.BytesIO(_content(source)), self._client.store.subfolder("encrypted") / name
        path = file_at(source, "give the path of one file, bytes or a DataFrame")
        return path, path.with_name(path.name + ".enc")

    @command(
        'dataset deploy --name "prices" --multiaddr /ipfs/QmW2WQi7j6c7UgJTarActp7tDNikE4B2qXtFCfLPdsgaTQ '
        "--checksum 0x0000000000000000000000000000000000000000000000000000000000000000",
        spends=True,
    )
    def deploy(self, *, name: str, multiaddr: str, checksum: str, owner: str | None = None) -> Deployed:
        """Deploy a dataset: tell the chain where its encrypted bytes are, and return its address.

        Parameters
        ----------
        name
            What people read about it.
        multiaddr
            Where the encrypted file is: ``/ipfs/<CID>`` or an https URL.
        checksum
            SHA-256 of the encrypted file, ``0x`` text (``EncryptedDataset.checksum``).
        owner
            Who owns it; default: the client's wallet.

        Returns
        -------
        Deployed
            ``address`` and ``txHash``.

        Raises
        ------
        ValidationError
            When an argument is malformed, or the same dataset is deployed already.

        Source
        ------
        Contract function ``createDataset`` of the DatasetRegistry.
        """
        digest = bytes.fromhex(bytes32(checksum, "checksum")[2:])
        place = cid.multiaddr_encode(text_of(multiaddr, "multiaddr", "/ipfs/Qm..."))
        return self._deploy(name, owner, text_of(name, "name"), place, digest)

    @command("dataset show 0x0123456789012345678901234567890123456789")
    def show(self, dataset: str | int, /, *, user: str | None = None) -> Dataset:
        """Return a dataset as the chain knows it.

        Parameters
        ----------
        dataset
            Its address, or its number among those of `user`.
        user
            Whose, with a number; default: the client's wallet.

        Returns
        -------
        Dataset
            ``address owner registry datasetName datasetMultiaddr datasetChecksum``.

        Raises
        ------
        ObjectNotFoundError
            When there is no such dataset.

        Source
        ------
        Contract ``Dataset``.
        """
        return self._chain.dataset(self._address(dataset, user))

    @command("dataset push-secret 0x0123456789012345678901234567890123456789")
    def push_secret(self, dataset: str, /, *, key: Secret | EncryptedDataset | None = None) -> bool:
        """Hand a dataset's key to the secret service, which gives it to enclaves of matched deals only.

        It can be done once: the service refuses another key for the same dataset.

        Parameters
        ----------
        dataset
            Its address.
        key
            The key; default: the one that `encrypt` made for the checksum that the chain knows.

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

        Source
        ------
        Endpoint ``POST /secrets/web3`` of the SMS.
        """
        signer = self._signer("push the dataset's key")
        where = address(dataset, "dataset")
        given = key.key if isinstance(key, EncryptedDataset) else key
        secret = secret_of(given) if given is not None else None
        record = self._chain.dataset(where)
        if secret is None:
            secret = self._client.store.dataset_key(record.datasetChecksum)
        if secret is None:
            raise ValidationError(
                f"no key is known here for dataset {where}",
                context={"checksum": record.datasetChecksum},
                hint="give what encrypt() returned: push_secret(dataset, key=encrypted)",
            )
        encryption.dataset_key(secret)
        self._client.sms.push_web3(where, secret, signer)
        return True

    @command("dataset check-secret 0x0123456789012345678901234567890123456789")
    def check_secret(self, dataset: str, /) -> bool:
        """Tell whether the secret service holds a key for a dataset.

        Parameters
        ----------
        dataset
            Its address.

        Source
        ------
        Endpoint ``HEAD /secrets/web3`` of the SMS.
        """
        return self._client.sms.has_web3(address(dataset, "dataset"))


def _content(source: Any) -> bytes:
    if isinstance(source, bytes | bytearray):
        return bytes(source)
    if hasattr(source, "to_csv") and hasattr(source, "columns"):
        text: str = source.to_csv(index=False, lineterminator="\n")
        return text.encode()
    raise ValidationError(
        f"a {type(source).__name__} cannot be encrypted", hint="give a path, bytes, or a DataFrame (it becomes a CSV)"
    )

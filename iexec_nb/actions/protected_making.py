"""The verbs that make protected data and open it again: from values in a cell to a dataset that nobody else reads."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from iexec_nb.actions.base import Noun, file_at, secret_of, text_of
from iexec_nb.actions.dataset_keys import key_of
from iexec_nb.actions.protected_uploads import IPFS, fetch, uploads_of
from iexec_nb.actions.transfers import fee_line
from iexec_nb.commands import command
from iexec_nb.errors import ConfigurationError, IExecError, ValidationError, Web3ProviderSendError
from iexec_nb.protocol import encryption, protected_data
from iexec_nb.protocol.cid import multiaddr_encode
from iexec_nb.protocol.protected_content import Deserializer
from iexec_nb.protocol.protected_records import Protected, ProtectedData
from iexec_nb.protocol.resources import Dataset
from iexec_nb.protocol.types import Address, Secret, address, shown
from iexec_nb.services import abi
from iexec_nb.services.reads import LATEST_BLOCK, Block, Read

if TYPE_CHECKING:
    from collections.abc import Iterator

    from iexec_nb.services.receipts import Receipt

_IN_MEMORY = 64 << 20
_MAX_DATA_BYTES = 4 << 30


class ProtectedMaking(Noun):
    """The verbs of making and opening."""

    @command(
        'protected-data protect ./contacts.csv --name "contacts"',
        spends=True,
        raw=Protected.to_json,
        js=("dataProtectorCore.protectData",),
    )
    def protect(self, data: Any, /, *, name: str = "", upload_mode: str = IPFS) -> Protected:
        """Encrypt values, put them on IPFS, register them on the chain and give their key to the secret service.

        Nobody reads them but apps in enclaves, for whom `grant` allows it. What becomes public: the name, the owner,
        and the schema, which is the name and the type of each value.

        Parameters
        ----------
        data
            Values by name: a dict, nested where that helps, of text (its type in the schema is ``string``), whole
            numbers (``i128``), floats (``f64``), bools, bytes, a ``Path`` (a file's bytes) or a DataFrame (its CSV
            without the index). Bytes get the MIME type that they show. Names are letters, digits, ``-`` and ``_``. A
            DataFrame alone becomes the value ``table``, the path of a file the value ``file``. Apps that were written
            for JavaScript's numbers want a float.
        name
            What people read about it.
        upload_mode
            ``ipfs``, or ``arweave``, which keeps up to 100 kB for good.

        Returns
        -------
        Protected
            ``address``, ``name``, ``owner``, ``schema``, ``creationTimestamp``, ``multiaddr``, ``transactionHash``,
            ``encryptionKey`` (a `Secret`, also kept in the client's store), ``path`` of the encrypted zip, and
            ``zipFile``.

        Raises
        ------
        ValidationError
            When a value cannot be protected; nothing was made then.
        ConfigurationError
            When the chain has no DataProtector or nowhere to upload to, or the answer is no.
        ApiCallError
            When the upload fails, or the secret service does not take the key; it says how to go on.

        Source
        ------
        Format and contract of ``@iexec/dataprotector`` 2: ``createDatasetWithSchema``.
        """
        values = contents(data)
        protected_data.check(values)
        title = text_of(name, "name")
        protector = self._protector()
        signer = self._signer("protect data")
        # What would fail after the payment is asked before: who takes the key, and who takes the file.
        self._client.sms.has_web3(signer.address)
        uploads = uploads_of(self._client, upload_mode)
        schema = protected_data.extract_schema(values)
        made, key = self._encrypted(values)
        expected_at = uploads.expected(made)
        call = [signer.address, title, protected_data.schema_text(schema)]
        digest = bytes.fromhex(made.checksum[2:])
        expected = abi.CREATE_DATASET_WITH_SCHEMA.encode(*call, multiaddr_encode(expected_at), digest)
        fee = self._chain.quote(signer.address, protector, expected).max_fee
        self._client.approve_secret("the key of the protected data")
        self._client.approve(_question(title, schema, made.size, uploads.place) + fee_line(fee))
        with step("Failed to upload encrypted data"):
            where = uploads.add(made.path)
        call_data = abi.CREATE_DATASET_WITH_SCHEMA.encode(*call, multiaddr_encode(where), digest)
        with step("Failed to create protected data into smart contract"):
            receipt = self._chain.send(signer, protector, call_data, max_fee=fee)
            record, moment = self._registered(receipt, protector, made.checksum, signer.address)
        with step("Failed to push protected data encryption key", f"dataset.push_secret({record.address!r})"):
            self._client.sms.push_web3(record.address, key, signer)
        public = ProtectedData(
            name=title, address=record.address, owner=record.owner, schema=schema, multiaddr=where,
            creationTimestamp=moment,
        )  # fmt: skip
        return Protected(data=public, transactionHash=receipt.tx_hash, path=made.path, encryptionKey=key)

    @command("protected-data open 0x0123456789012345678901234567890123456789")
    def open(self, protected_data: str | Protected, /, *, key: Secret | None = None) -> dict[str, Any]:
        """Download protected data of one's own, decrypt it, and return its values.

        Parameters
        ----------
        protected_data
            Its address.
        key
            Its key; default: the one that `protect` left in the client's store.

        Returns
        -------
        dict
            The values by name, nested as they were. What is no number, text or bool is bytes.

        Raises
        ------
        ObjectNotFoundError
            When there is no such dataset.
        ValidationError
            When no key is known here for it.
        DecryptionError
            When the key does not fit, or the file is not the one that the chain knows.
        IpfsGatewayCallError, SubgraphCallError
            When the file, or its schema, cannot be had.

        Source
        ------
        Format of ``@iexec/dataprotector-deserializer``; the DataProtector subgraph, for the schema.
        """
        where = address_of(protected_data)
        record = self._chain.dataset(where)
        raw_key = encryption.dataset_key(secret_of(key) if key is not None else key_of(self._client, record))
        found = self._schema_of(protected_data, where)
        with tempfile.TemporaryDirectory(prefix="iexec_nb_") as folder:
            encrypted, zipped = Path(folder, "encrypted"), Path(folder, "zip")
            fetch(self._client, record.datasetMultiaddr, encrypted, max_bytes=_MAX_DATA_BYTES)
            encryption.decrypt_file(encrypted, zipped, raw_key, checksum=record.datasetChecksum)
            reader = Deserializer(zipped)
            try:
                return reader.values(found)
            finally:
                reader.close()

    def _schema_of(self, given: str | Protected, where: Address) -> Mapping[str, Any]:
        if isinstance(given, Protected):
            return given.schema
        from iexec_nb.services import dataprotector

        subgraph = self._client.subgraph("dataprotector_subgraph")
        found = next(dataprotector.protected_data(subgraph, [{"id": where.lower()}]), None)
        if found is None:
            raise ValidationError(
                f"{where} is not known as protected data",
                hint="a dataset without a schema is opened with: storage get, and its key",
            )
        return found.schema

    def _protector(self) -> Address:
        """Return DataProtector's contract, seen to be there: a call to an address without code succeeds."""
        where = self._client.dataprotector_address
        if where is None:
            raise ConfigurationError(
                f"DataProtector is not available on chain {self._client.network.chain_id}",
                hint=f"IExec({self._client.network.chain_id}, dataprotector_address='0x...')",
            )
        if not self._chain.code([where])[where]:
            raise ConfigurationError(
                f"there is no contract at {where}, where DataProtector should be",
                hint="check dataprotector_address and the chain",
            )
        return where

    def _encrypted(self, values: Mapping[str, Any]) -> tuple[encryption.Encrypted, Secret]:
        """Write the zip and encrypt it into the client's store; what is not encrypted has no name on the disk."""
        key = encryption.generate_dataset_key(self._client.random_bytes(encryption.KEY_BYTES))
        iv = self._client.random_bytes(encryption.BLOCK_BYTES)
        goal = self._client.store.subfolder("encrypted") / f"{iv.hex()}.enc"
        with tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY) as spool:
            file = cast(BinaryIO, spool)
            protected_data.write_zip(values, file)
            file.seek(0)
            made = encryption.encrypt_file(file, goal, encryption.dataset_key(key), iv)
        self._client.store.keep_dataset_key(made.checksum, key)
        return made, key

    def _registered(
        self, receipt: Receipt, protector: Address, checksum: str, owner: Address
    ) -> tuple[Dataset, datetime]:
        """Return the dataset that a transaction made, which is what was asked for, and when it was made (UTC)."""
        event = self._chain.find_event(receipt, abi.DATASET_SCHEMA, protector)
        if event is None:
            raise Web3ProviderSendError("the contract announced no protected data", tx_hash=receipt.tx_hash)
        try:
            record, moment = self._chain.dataset(event["dataset"]), self._time_of(receipt)
        except IExecError as error:
            where = address(event["dataset"])
            raise Web3ProviderSendError(
                f"the protected data was registered, and the node does not show it: {error.message}",
                tx_hash=receipt.tx_hash,
                context={"dataset": where, "transaction": receipt.tx_hash},
                hint=f"what is missing is its key in the secret service: dataset.push_secret({where!r})",
            ) from error
        if (record.owner, record.datasetChecksum) != (owner, checksum):
            raise Web3ProviderSendError(
                "the contract made another dataset than was asked for",
                tx_hash=receipt.tx_hash,
                context={"dataset": record.address, "owner": record.owner},
                hint="do not use this DataProtector",
            )
        return record, moment

    def _time_of(self, receipt: Receipt) -> datetime:
        read = Read(LATEST_BLOCK.method, (hex(receipt.block_number), False), LATEST_BLOCK.decode)
        block: Block = self._chain.read([read])[0]
        return block.time


def contents(data: Any) -> Mapping[str, Any]:
    """Return data as values by name: a DataFrame as ``table``, the path of a file as ``file``, numbers as Python's.

    Raises
    ------
    ValidationError
        When a text is no path of a file.
    """
    if isinstance(data, str | Path):
        return {"file": file_at(data, "give the path of a file, or values by name: {'email': 'alice@example.com'}")}
    if _is_table(data):
        return {"table": _plain(data)}
    plain: Any = _plain(data)
    return cast("Mapping[str, Any]", plain)


def address_of(given: object) -> Address:
    """Return the address of protected data, given as that or as a record of it."""
    if isinstance(given, Protected | ProtectedData):
        return given.address
    return address(given, "protectedData")


def _plain(value: Any) -> Any:
    """Return a value without pandas and numpy, of which the rules know nothing."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if _is_table(value):
        text: str = value.to_csv(index=False, lineterminator="\n")
        return protected_data.Blob(text.encode(), protected_data.BINARY)
    if type(value).__module__.partition(".")[0] == "numpy":
        return value.item() if getattr(value, "ndim", 1) == 0 else list(value)
    return value


def _is_table(value: object) -> bool:
    return hasattr(value, "to_csv") and hasattr(value, "columns")


def _question(name: str, schema: Mapping[str, Any], size: int, place: str) -> str:
    # Whole, because nobody can take back what is public.
    listed = ", ".join(shown(one, len(one)) for one in protected_data.schema_entries(schema))
    return (
        f"protect data as {shown(name, len(name))!r}: encrypt it, put it on {place} and register it, for good\n"
        f"  becomes public: the name, the owner and the schema ({listed})\n"
        f"  {size} bytes, encrypted with a new key that the secret service is given"
    )


@contextmanager
def step(failed: str, then: str | None = None) -> Iterator[None]:
    """Say in an error which step of several failed, in the words of the SDK, and what goes on from there."""
    try:
        yield
    except IExecError as error:
        error.context["step"] = failed
        error.hint = then or error.hint
        raise

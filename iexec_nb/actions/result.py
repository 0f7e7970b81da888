"""The noun ``result``: beneficiary keys, and results from the gateway to objects in the notebook."""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path

from iexec_nb.actions.base import Noun, file_at, secret_of
from iexec_nb.actions.outcome import Result
from iexec_nb.commands import command, noun
from iexec_nb.errors import (
    DecryptionError,
    ResultNotFoundError,
    SecretExistsError,
    TaskNotCompletedError,
    ValidationError,
)
from iexec_nb.protocol import result_encryption, results, secrets
from iexec_nb.protocol.execution import Deal, Task, TaskStatus
from iexec_nb.protocol.receipts import EncryptionKeyPair, Pushed
from iexec_nb.protocol.types import Address, Secret, address, bytes32, shown

MAX_RESULT_BYTES = 1_000_000_000
_MAX_KEY_BYTES = 16_384


@noun("result")
class ResultActions(Noun):
    """Results: beneficiary keys, download, decryption."""

    @command("result generate-encryption-keypair", aliases=("generate-keys", "keypair"))
    def generate_encryption_keypair(self, *, force: bool = False) -> EncryptionKeyPair:
        """Make the RSA key pair (4096 bits) with which results are encrypted for the client's wallet.

        The private key goes into a file of mode 600 in the client's store and is shown nowhere.

        Parameters
        ----------
        force
            Replace a pair that exists; results encrypted for it can then no longer be read.

        Returns
        -------
        EncryptionKeyPair
            ``public_key`` (PEM), ``private_key_file`` and ``public_key_file``.

        Raises
        ------
        SecretExistsError
            When there is a pair already and `force` is not set.
        """
        who = self._signer("know whose results are meant").address
        path = self._client.store.result_key_file(who)
        if path.exists() and not force:
            raise SecretExistsError(
                f"there is a key pair for {who} already",
                context={"file": path.name},
                hint="use it: result.push_encryption_key(), or replace it: generate_encryption_keypair(force=True)",
            )
        pair = result_encryption.generate_result_keypair()
        public = path.with_name(path.name + ".pub")
        self._client.store.write(path, pair.private_pem.reveal_bytes())
        self._client.store.write(public, pair.public_pem.encode())
        return EncryptionKeyPair(
            address=who, public_key=pair.public_pem, private_key_file=path, public_key_file=public
        )  # fmt: skip

    @command(
        "result push-encryption-key",
        aliases=("push-secret", "push-key"),
        js=("result.pushResultEncryptionKey",),
        raw=lambda pushed: {"isPushed": pushed.isPushed, "isUpdated": pushed.isUpdated},
    )
    def push_encryption_key(
        self,
        public_key: str | None = None,
        *,
        secret_path: str | Path | None = None,
        force_update: bool = False,
    ) -> Pushed:
        """Give the secret service the public key for which workers encrypt results of the client's wallet.

        Parameters
        ----------
        public_key
            PEM text; default: the one that `generate_encryption_keypair` made.
        secret_path
            File of the public key, instead of its text.
        force_update
            Replace a key that is there.

        Returns
        -------
        Pushed
            ``isPushed`` and ``isUpdated``.

        Raises
        ------
        ValidationError
            When no key was made here and none is given, or the file holds none.
        SecretExistsError
            When a key is there and `force_update` is not set.

        Source
        ------
        Endpoints ``POST`` and ``PUT /secrets/web2`` of the SMS.
        """
        signer = self._signer("push the encryption key")
        if public_key is not None and secret_path is not None:
            raise ValidationError(
                "a key and a file of a key were given", hint="give public_key or secret_path, not both"
            )
        if secret_path is not None:
            public_key = _text_of(file_at(secret_path, "give the file of the beneficiary's public key (PEM)"))
        pem = public_key if public_key is not None else self._public_key(signer.address)
        value = Secret(secrets.result_public_key_value(pem))
        name = secrets.RESULT_KEY_NAME
        updated = self._client.sms.push_web2(name, value, signer, force_update=force_update)
        return Pushed(name=name, isPushed=True, isUpdated=updated)

    @command(
        "result check-encryption-key",
        aliases=("check-secret", "check-key"),
        js=("result.checkResultEncryptionKeyExists",),
        raw=lambda known: {"isEncryptionKeySet": known},
    )
    def check_encryption_key(self, beneficiary: str | None = None, /) -> bool:
        """Tell whether the secret service has a public key for results of an address.

        Parameters
        ----------
        beneficiary
            Whose; default: the client's wallet.

        Source
        ------
        Endpoint ``HEAD /secrets/web2`` of the SMS.
        """
        return self._client.sms.has_web2(self._who(beneficiary), secrets.RESULT_KEY_NAME)

    @command("result fetch 0x0123456789012345678901234567890123456789012345678901234567890123")
    def fetch(self, taskid: str, /, *, key: Secret | None = None) -> Result:
        """Download a task's result, check it, decrypt it if it is encrypted, and return its files.

        Parameters
        ----------
        taskid
            The task's id.
        key
            The beneficiary's private key (PEM); default: the one in the client's store.

        Returns
        -------
        Result
            The files by name: ``result["out.csv"].table()``, ``result.image()``, ``result.save(folder)``.

        Raises
        ------
        TaskNotCompletedError
            When the task is not completed.
        ResultNotFoundError
            When the task has no result that can be downloaded.
        IpfsGatewayCallError
            When the gateway does not answer, or sends other bytes than the CID names.
        DecryptionError
            When the key does not fit.
        UnsafeArchiveError
            When the archive would harm the machine.

        Source
        ------
        Contract function ``viewTask`` (``results``); the IPFS gateway.
        """
        private = secret_of(key) if key is not None else None
        task = self._chain.task(bytes32(taskid, "taskid"))
        return self.of_task(task, self._chain.deal(task.dealid), key=private)

    def of_task(self, task: Task, deal: Deal, *, key: Secret | None = None) -> Result:
        """Return the result of a task that was read before; see `fetch`."""
        location = _location(task)
        with tempfile.TemporaryDirectory(prefix="iexec_nb_") as folder:
            path = self._client.ipfs.download(location, Path(folder) / "result.zip", max_bytes=MAX_RESULT_BYTES)
            is_encrypted = result_encryption.is_encrypted_result(path)
            content = self._decrypted(path, deal.beneficiary, key) if is_encrypted else path.read_bytes()
        archive = results.open_archive(content)
        verified = _agreed(task, deal, archive)
        if verified is False:
            warnings.warn(f"the result of task {task.taskid} is not what the workers agreed on", stacklevel=2)
        return Result(archive, task=task, encrypted=is_encrypted, verified=verified)

    @command("result decrypt ./encryptedResults.zip")
    def decrypt(
        self, path: str | Path, /, *, key_file: str | Path | None = None, beneficiary: str | None = None
    ) -> Result:
        """Decrypt a result archive on disk, in the current or the legacy format, and return its files.

        Parameters
        ----------
        path
            The encrypted zip.
        key_file
            File of the beneficiary's private key (PEM); default: the one in the client's store.
        beneficiary
            Whose key to take from the store; default: the client's wallet.

        Returns
        -------
        Result
            The files by name.

        Raises
        ------
        ValidationError
            When there is no such file, or no private key in `key_file`.
        DecryptionError
            When the key does not fit, or the archive is damaged.
        """
        source = file_at(path, "give the path of an encrypted result zip")
        key = _key_in(key_file) if key_file is not None else None
        who = self._who(beneficiary) if key is None else ""
        archive = results.open_archive(self._decrypted(source, who, key))
        return Result(archive, task=None, encrypted=True, verified=None)

    def _decrypted(self, path: Path, beneficiary: Address, key: Secret | None) -> bytes:
        private = key if key is not None else self._client.store.result_key(beneficiary)
        if private is None:
            raise DecryptionError(
                f"the result is encrypted for {beneficiary}, whose private key is not here",
                context={"needed": f"the key file {beneficiary}_key"},
                hint="give it: key=Secret(open(file).read())",
            )
        try:
            return result_encryption.decrypt_result(path, private)
        except (DecryptionError, ValidationError) as error:
            error.context.setdefault("needed", f"the private key of {beneficiary}" if beneficiary else "another key")
            raise

    def _public_key(self, who: Address) -> str:
        private = self._client.store.result_key_file(address(who))
        public = private.with_name(private.name + ".pub")
        if not public.is_file():
            raise ValidationError(
                f"no key pair was made here for {who}", hint="result.generate_encryption_keypair() first"
            )
        return public.read_text("ascii")


def _text_of(path: Path) -> str:
    # A public key is short; what is longer is another file, and is not read.
    with path.open("rb") as file:
        content = file.read(_MAX_KEY_BYTES + 1)
    if len(content) > _MAX_KEY_BYTES:
        raise ValidationError(f"{path.name} is too long for a public key", hint="give the .pub file of the pair")
    return content.decode(errors="replace")


def _key_in(key_file: str | Path) -> Secret:
    return Secret(file_at(key_file, "give the file of the beneficiary's private key (PEM)").read_bytes())


def _location(task: Task) -> str:
    if task.status != TaskStatus.COMPLETED:
        raise TaskNotCompletedError(
            "Task is not completed", context={"task": task.taskid, "status": task.status.name}, hint="run.wait() first"
        )
    if task.results.storage == "none":
        raise ResultNotFoundError("No result uploaded for this task", context={"task": task.taskid})
    if task.results.storage != "ipfs":
        raise ResultNotFoundError(
            f"Task result stored on {shown(task.results.storage)}, download not supported",
            context={"task": task.taskid},
        )
    if not task.results.location:
        raise ResultNotFoundError(
            "Missing location key in task results, download not supported", context={"task": task.taskid}
        )
    return task.results.location


def _agreed(task: Task, deal: Deal, archive: results.Archive) -> bool | None:
    """Compare the content's digest with the one on the chain; None where the archive does not say what it covers."""
    if int(deal.callback, 16):
        return None
    try:
        return results.result_digest(archive, None) == task.resultDigest
    except (ValidationError, ResultNotFoundError):
        return None

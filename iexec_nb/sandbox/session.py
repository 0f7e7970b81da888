"""What one task is about, and the secrets that its run is given.

In the real stack the SMS builds a session before anything runs, and refuses to where a secret that the deal needs is
missing: a dataset without its key, a result to be encrypted for nobody. The names of the causes are those of
``iexec-common`` (``ReplicateStatusCause``), which clients show to users.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from iexec_nb.errors import ValidationError
from iexec_nb.protocol import foreign, tags
from iexec_nb.protocol.encryption import dataset_key
from iexec_nb.protocol.execution import Deal
from iexec_nb.protocol.resources import App, Category, Dataset
from iexec_nb.protocol.secrets import APP_SECRET_KEY, DROPBOX_TOKEN_NAME, RESULT_KEY_NAME
from iexec_nb.protocol.types import NULL_ADDRESS, Bytes32
from iexec_nb.sandbox.sms import Vault


class StageError(Exception):
    """A stage of a run failed: the cause as the real stack names it, and a sentence for the logs."""

    def __init__(self, cause: str, message: str) -> None:
        super().__init__(message)
        self.cause = cause
        self.message = message


@dataclass(frozen=True, slots=True)
class Params:
    """The params of a deal as a worker reads them: anything that does not fit is treated as absent."""

    args: str = ""
    input_files: tuple[str, ...] = ()
    secrets: Mapping[str, str] = field(default_factory=dict)
    encrypt_result: bool = False
    storage: str = "ipfs"
    bulk_cid: str = ""

    @classmethod
    def parse(cls, text: str) -> Params:
        """Read the params text of a deal; text that is no JSON object is the arguments, as in the real worker."""
        try:
            values = foreign.loads(text)
        except ValueError:
            values = None
        if not isinstance(values, dict):
            return cls(args=text)
        files = values.get("iexec_input_files")
        secrets = values.get("iexec_secrets")
        return cls(
            args=_text(values.get("iexec_args")),
            input_files=tuple(_text(url) for url in files) if isinstance(files, list) else (),
            secrets={key: _text(name) for key, name in secrets.items()} if isinstance(secrets, dict) else {},
            encrypt_result=values.get("iexec_result_encryption") is True,
            storage=_text(values.get("iexec_result_storage_provider")) or "ipfs",
            bulk_cid=_text(values.get("bulk_cid")),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """One task with everything that the chain says about it."""

    taskid: Bytes32
    idx: int
    deal: Deal
    app: App
    dataset: Dataset | None
    category: Category

    @property
    def params(self) -> Params:
        """What the requester asked for."""
        return Params.parse(self.deal.params)

    @property
    def tee(self) -> bool:
        """Whether the run is confidential: only then are secrets given to it."""
        return tags.has(self.deal.tag, "tee")

    @property
    def has_callback(self) -> bool:
        """Whether the result goes to a contract instead of a storage."""
        return self.deal.callback != NULL_ADDRESS


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """The secrets of one run; never shown."""

    dataset_key: bytes | None = field(default=None, repr=False)
    result_key: str | None = field(default=None, repr=False)
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)


def open_session(task: Assignment, vault: Vault) -> Session:
    """Collect the secrets of a run.

    Parameters
    ----------
    task
        What is to be run.
    vault
        The secrets of the SMS.

    Raises
    ------
    StageError
        When a secret that the deal needs is missing or unusable.
    """
    return Session(
        dataset_key=_dataset_key(task, vault) if task.tee and task.dataset else None,
        result_key=_result_key(task, vault),
        environment=_app_secrets(task, vault) if task.tee else {},
    )


def _dataset_key(task: Assignment, vault: Vault) -> bytes:
    secret = vault.get("web3", task.deal.dataset.pointer)
    if secret is None:
        raise StageError(
            "TEE_SESSION_GENERATION_PRE_COMPUTE_GET_DATASET_SECRET_FAILED",
            f"the encryption key of dataset {task.deal.dataset.pointer} is not set in the SMS",
        )
    try:
        return dataset_key(secret)
    except ValidationError:
        raise StageError(
            "PRE_COMPUTE_DATASET_DECRYPTION_FAILED",
            f"the secret of dataset {task.deal.dataset.pointer} in the SMS is not an AES-256 key in base64",
        ) from None


def _result_key(task: Assignment, vault: Vault) -> str | None:
    """Return the beneficiary's public key (PEM) where the result is to be encrypted."""
    params = task.params
    if (
        params.storage == "dropbox"
        and not task.has_callback
        and not vault.has("web2", task.deal.requester, DROPBOX_TOKEN_NAME)
    ):
        raise StageError(
            "TEE_SESSION_GENERATION_POST_COMPUTE_GET_STORAGE_TOKENS_FAILED",
            f"the Dropbox token of requester {task.deal.requester} is not set in the SMS",
        )
    if not params.encrypt_result or task.has_callback:
        return None
    secret = vault.get("web2", task.deal.beneficiary, RESULT_KEY_NAME)
    if secret is None:
        raise StageError(
            "TEE_SESSION_GENERATION_POST_COMPUTE_GET_ENCRYPTION_TOKENS_FAILED_EMPTY_BENEFICIARY_KEY",
            f"the result encryption key of beneficiary {task.deal.beneficiary} is not set in the SMS",
        )
    try:
        return base64.b64decode(secret.reveal(), validate=True).decode("ascii")
    except (binascii.Error, ValueError):
        raise StageError(
            "POST_COMPUTE_MALFORMED_ENCRYPTION_PUBLIC_KEY",
            f"the result encryption key of beneficiary {task.deal.beneficiary} is not PEM text in base64",
        ) from None


def _app_secrets(task: Assignment, vault: Vault) -> dict[str, str]:
    """Return the variables with the developer's and the requester's secrets; a missing one is left out."""
    variables: dict[str, str] = {}
    developer = vault.get("app", task.deal.app.pointer, APP_SECRET_KEY)
    if developer is not None:
        variables["IEXEC_APP_DEVELOPER_SECRET"] = variables["IEXEC_APP_DEVELOPER_SECRET_1"] = developer.reveal()
    for key, name in task.params.secrets.items():
        secret = vault.get("requester", task.deal.requester, name)
        if secret is not None and key.isdecimal() and int(key) > 0:
            variables[f"IEXEC_REQUESTER_SECRET_{int(key)}"] = secret.reveal()
    return variables


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""

"""Which key opens a dataset: found where it was made, so that nobody has to carry it by hand.

The secret service takes one key for a dataset, for good. The official CLI pushes the key of the file that was
encrypted last; here the file whose checksum the chain knows decides, and a key that cannot be told to be the right
one is asked about first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from iexec_nb.errors import IExecError, ValidationError
from iexec_nb.protocol import encryption
from iexec_nb.protocol.resources import Dataset
from iexec_nb.protocol.types import Secret

if TYPE_CHECKING:
    from iexec_nb.client import IExec
    from iexec_nb.services.project import Project

LAST_KEY = "dataset.key"
"""Where the official CLI keeps the key of the file that was encrypted last."""
_ENCRYPTED = ".enc"


def key_of(client: IExec, dataset: Dataset) -> Secret:
    """Return the key of a dataset: from the client's store, else from the project in the working folder.

    Raises
    ------
    ValidationError
        When no key is known here for it.
    ConfigurationError
        When the project has only a key of which nobody knows whether it is the right one, and the answer is no.
    """
    if kept := client.store.dataset_key(dataset.datasetChecksum):
        return kept
    project = client.files
    if found := _by_checksum(project, dataset.datasetChecksum):
        return found
    last = project.secrets_dir("datasets") / LAST_KEY
    if not last.is_file():
        raise ValidationError(
            f"no key is known here for dataset {dataset.address}",
            context={"checksum": dataset.datasetChecksum},
            hint="give what encrypt() returned: push_secret(dataset, key=encrypted), or --secret-path FILE",
        )
    client.approve(
        f"push the key in .secrets/datasets/dataset.key for dataset {dataset.address}, for good\n"
        f"no file in datasets/encrypted has the checksum of this dataset, {dataset.datasetChecksum}: the key may be "
        "another file's"
    )
    return project.read_secret(last)


def _by_checksum(project: Project, checksum: str) -> Secret | None:
    """Return the key of the encrypted file that has this checksum, where the project has both."""
    folder = project.secrets_dir("datasets")
    for path in sorted(project.encrypted.glob(f"*{_ENCRYPTED}")):
        key = folder / f"{path.name.removesuffix(_ENCRYPTED)}.key"
        # The key of a file called "dataset" has the name of that of the last file.
        if key.name == LAST_KEY and len(list(folder.glob("*.key"))) > 1:
            continue
        try:
            if key.is_file() and encryption.checksum(path) == checksum:
                return project.read_secret(key)
        except (OSError, IExecError):
            # A file that cannot be read is not the one that was deployed from here.
            continue
    return None

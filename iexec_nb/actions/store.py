"""Where keys stay: one folder a user, mode 700, files of mode 600, written whole or not at all.

Losing the key of a dataset that was sold, or of a result that was paid for, loses its content. Both are kept the
moment they are made, under the name by which the chain knows what they open.
"""

from __future__ import annotations

from pathlib import Path

from iexec_nb.protocol.types import Address, Bytes32, Secret


class Store:
    """Keys of datasets (by checksum) and of results (by beneficiary).

    Parameters
    ----------
    folder
        Where; default: the user's data folder of iexec_nb.
    """

    def __init__(self, folder: Path | str | None = None) -> None:
        self._given = Path(folder) if folder is not None else None

    @property
    def folder(self) -> Path:
        """The folder; it is made on first use."""
        if self._given is None:
            from platformdirs import user_data_path

            self._given = user_data_path("iexec_nb", appauthor=False)
        return self._given

    def subfolder(self, name: str) -> Path:
        """Return a folder of mode 700 in the store, made where it is missing."""
        path = self.folder / name
        # One after the other: the mode is not that of parents which are made on the way.
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.mkdir(exist_ok=True, mode=0o700)
        path.chmod(0o700)
        return path

    def write(self, path: Path, content: bytes) -> Path:
        """Write a file of mode 600, whole or not at all, in place of one that is there."""
        from iexec_nb.services.project_files import write_bytes

        return write_bytes(path, content, mode=0o600)

    def keep_dataset_key(self, checksum: Bytes32, key: Secret) -> Path:
        """Keep the key of the encrypted file with this checksum."""
        return self.write(self.subfolder("datasets") / f"{checksum}.key", key.reveal_bytes())

    def dataset_key(self, checksum: Bytes32) -> Secret | None:
        """Return the key of the encrypted file with this checksum, where it was made here."""
        return _read(self.folder / "datasets" / f"{checksum}.key")

    def result_key_file(self, beneficiary: Address) -> Path:
        """Return where a beneficiary's private key lies; the public one beside it ends in ``.pub``."""
        return self.subfolder("beneficiary") / f"{beneficiary}_key"

    def result_key(self, beneficiary: Address) -> Secret | None:
        """Return a beneficiary's private key (PEM), where it was made here."""
        return _read(self.folder / "beneficiary" / f"{beneficiary}_key")


def _read(path: Path) -> Secret | None:
    return Secret(path.read_bytes()) if path.is_file() else None

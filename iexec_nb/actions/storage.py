"""The noun ``storage``: files on IPFS, and the token of a storage that wants one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from iexec_nb.actions.base import Noun, file_at
from iexec_nb.actions.secret_values import secret_value_of
from iexec_nb.commands import command, noun
from iexec_nb.errors import SecretExistsError, ValidationError
from iexec_nb.protocol.cid import Location
from iexec_nb.protocol.file_names import problem_of_name
from iexec_nb.protocol.params import DROPBOX, IPFS, STORAGE_PROVIDERS
from iexec_nb.protocol.receipts import EncryptedDataset, Pushed
from iexec_nb.protocol.secrets import DROPBOX_TOKEN_NAME, IPFS_TOKEN_NAME
from iexec_nb.protocol.types import Secret, shown, uint256

MAX_BYTES = 16 * 2**30
MAX_FILES = 10_000
DEFAULT = "default"
"""What SDK 5 to 8 call the storage that was iExec's own."""


def _init_raw(pushed: Pushed) -> dict[str, Any]:
    return {"isInitialized": pushed.isPushed, "isUpdated": pushed.isUpdated}


@noun("storage")
class StorageActions(Noun):
    """Storage: put files on IPFS, and say where results go."""

    @command("storage add ./prices.csv.enc")
    def add(self, source: str | Path | bytes | EncryptedDataset, /) -> str:
        """Upload a file to IPFS and return its multiaddr, such as ``/ipfs/Qm...``.

        Parameters
        ----------
        source
            A path, bytes, or what ``dataset.encrypt`` returned. What is uploaded is public: encrypt it first.

        Returns
        -------
        str
            The multiaddr, for ``dataset.deploy``.

        Raises
        ------
        ValidationError
            When there is no such file.
        IpfsGatewayCallError
            When the node answers another CID than the content has, or the gateway does not serve it.

        Source
        ------
        Endpoint ``POST /api/v0/add`` of an IPFS node.
        """
        content = source.path if isinstance(source, EncryptedDataset) else source
        if isinstance(content, bytes):
            return f"/ipfs/{self._client.ipfs.add(content)}"
        path = file_at(content, "give the path of one file, or bytes")
        return f"/ipfs/{self._client.ipfs.add(path)}"

    @command(
        "storage get /ipfs/QmW2WQi7j6c7UgJTarActp7tDNikE4B2qXtFCfLPdsgaTQ",
        aliases=("download",),
        raw=lambda path: {"path": str(path)},
    )
    def get(
        self,
        location: str,
        path: str | Path | None = None,
        /,
        *,
        force: bool = False,
        max_bytes: int = MAX_BYTES,
        max_files: int = MAX_FILES,
    ) -> Path:
        """Download a file or a folder from IPFS, check every byte of it against its CID, and return its path.

        After an interruption the same call goes on from what has arrived.

        Parameters
        ----------
        location
            ``Qm...``, ``baf...``, ``/ipfs/<CID>`` or ``/ipfs/<CID>/folder/file``.
        path
            Where to; default: its name in the working folder. In a folder that exists it keeps its name.
        force
            Replace a file that is there.
        max_bytes
            More is refused; of a folder all its files count.
        max_files
            How many files and folders a folder may hold.

        Returns
        -------
        Path
            The file or the folder.

        Raises
        ------
        ValidationError
            When it is no place on IPFS, there is nothing that can be read, or there is a file at `path` already.
        IpfsGatewayCallError
            When no gateway sends the bytes that the CID names, or they are more than allowed.
        UnsafeArchiveError
            When the content would harm the machine.

        Source
        ------
        Endpoint ``GET /ipfs/<CID>`` of the gateways, as CAR or raw blocks (IPFS Trustless Gateway).
        """
        place = Location.parse(location)
        target = _target(path, (str(place.cid), *place.path)[-1])
        if target.exists() and not target.is_dir() and not force:
            raise ValidationError(f"{target} exists", hint="give another path, or force=True to replace it")
        most, files = uint256(max_bytes, "max_bytes"), uint256(max_files, "max_files")
        return self._client.ipfs.download(location, target, max_bytes=most, max_files=files)

    @command("storage init dropbox", js=("storage.pushStorageToken",), raw=_init_raw)
    def init(self, provider: str, /, *, token: Secret | None = None, force_update: bool = False) -> Pushed:
        """Hand the token of a storage to the secret service, so that results of one's runs can be put there.

        IPFS needs none: workers have their own.

        Parameters
        ----------
        provider
            ``dropbox``; on chains of SDK 5 to 8 ``default`` or ``ipfs`` as well.
        token
            The token; default: it is asked for.
        force_update
            Replace a token that was given before.

        Returns
        -------
        Pushed
            ``name`` of the secret, ``isPushed`` and ``isUpdated``.

        Raises
        ------
        ValidationError
            When the provider is unknown, or takes no token.
        SecretExistsError
            When there is a token already.

        Source
        ------
        Endpoints ``POST`` and ``PUT /secrets/web2`` of the SMS.
        """
        name = self._token_name(provider)
        signer = self._signer("push the token")
        # Asked before the person types a token in vain.
        if not force_update and self._client.sms.has_web2(signer.address, name):
            raise SecretExistsError(
                f"{provider} storage is already initialized, use --force-update option to update your storage token",
                hint=f"storage.init({provider!r}, force_update=True)",
            )
        value = secret_value_of(token, "token", f"Paste your {provider} token: ")
        self._client.approve_secret("the storage token")
        updated = self._client.sms.push_web2(name, value, signer, force_update=force_update)
        return Pushed(name=name, isPushed=True, isUpdated=updated)

    @command(
        "storage check dropbox",
        js=("storage.checkStorageTokenExists",),
        raw=lambda found: {"isInitialized": found},
    )
    def check(self, provider: str, /, *, user: str | None = None) -> bool:
        """Tell whether the secret service has somebody's token of a storage.

        Parameters
        ----------
        provider
            As for `init`.
        user
            Whose; default: the client's wallet.

        Raises
        ------
        ValidationError
            When the provider is unknown, or takes no token.

        Source
        ------
        Endpoint ``HEAD /secrets/web2`` of the SMS.
        """
        name = self._token_name(provider)
        return self._client.sms.has_web2(self._who(user), name)

    def _token_name(self, provider: object) -> str:
        """Return the name of the secret that holds a provider's token."""
        if isinstance(provider, str):
            if provider == DROPBOX:
                return DROPBOX_TOKEN_NAME
            if provider in (DEFAULT, IPFS) and not self._client.require_tdx:
                return IPFS_TOKEN_NAME
            if provider == IPFS:
                raise ValidationError(
                    f'Storage provider "{provider}" does not support authentication tokens',
                    hint="ipfs needs none: run the app with it as it is",
                )
        raise ValidationError(
            f'"{shown(provider)}" is not a valid storage provider, use one of the supported providers '
            f"({', '.join(STORAGE_PROVIDERS)})",
            hint=f"%iexec storage init {DROPBOX}",
        )


def _target(given: object, name: str) -> Path:
    """Return where something goes that has a name on IPFS, which somebody else chose and may be none for a file."""
    try:
        path = None if given is None else Path(given).expanduser()  # type: ignore[arg-type]
        if path is not None and not path.is_dir():
            return path
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValidationError(f"{shown(given)} is not a path", hint="give text or a pathlib.Path") from error
    if problem := problem_of_name(name):
        raise ValidationError(f"{problem}: {shown(name)}", hint="give the path of a file that does not exist")
    return (path or Path()) / name

"""The noun ``storage``: files on IPFS, and the token of a storage that wants one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from iexec_nb.actions.base import Noun, file_at
from iexec_nb.actions.secret_values import secret_value_of
from iexec_nb.commands import command, noun
from iexec_nb.errors import SecretExistsError, ValidationError
from iexec_nb.protocol.params import DROPBOX, IPFS, STORAGE_PROVIDERS
from iexec_nb.protocol.receipts import EncryptedDataset, Pushed
from iexec_nb.protocol.secrets import DROPBOX_TOKEN_NAME, IPFS_TOKEN_NAME
from iexec_nb.protocol.types import Secret, shown

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

"""The verbs of ``wallet`` that are about files: making, importing, listing, opening and forgetting wallets.

The files are those of the iExec CLI and geth, so that a wallet made here works there; see `services.keystore`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from iexec_nb.actions.base import Noun, secret_of
from iexec_nb.commands import JsonNumber, command
from iexec_nb.errors import ConfigurationError, ValidationError
from iexec_nb.protocol.receipts import WalletFile
from iexec_nb.protocol.types import Address, Secret
from iexec_nb.services.keystore import (
    WALLET_FILE,
    address_in,
    create_keystore,
    create_wallet_file,
    keystore_dir,
    new_private_key,
    public_key,
    read_keystore,
    read_wallet_file,
    wallet_entries,
)
from iexec_nb.services.wallet import (
    KeystoreSigner,
    PrivateKeySigner,
    ask_secret,
    find_wallet,
    password_of_environment,
)

if TYPE_CHECKING:
    import pandas as pd


def _file_raw(made: WalletFile) -> Mapping[str, Any]:
    return {"wallet": _with_numbers(made.content), "fileName": made.fileName, "address": made.address}


def _with_numbers(value: object) -> object:
    if isinstance(value, Mapping):
        return {name: _with_numbers(one) for name, one in value.items()}
    return JsonNumber(value) if type(value) is int else value


def _list_raw(table: pd.DataFrame) -> Mapping[str, Any]:
    rows = table.astype(object).where(table.notna(), None).to_dict("records")
    return {"count": str(len(table)), "wallets": rows}


class WalletFiles(Noun):
    """Wallets in files: encrypted keystores, and the open ``wallet.json`` of a working folder."""

    @command("wallet create", raw=_file_raw, local=True)
    def create(
        self,
        *,
        password: Secret | None = None,
        unencrypted: bool = False,
        keystoredir: str | None = None,
        force: bool = False,
    ) -> WalletFile:
        """Make a new wallet, write it into an encrypted file, and return where that is.

        The file is the only copy of the key: whoever loses it, or its password, loses what the wallet holds. The
        client goes on with the wallet that it has; ``wallet unlock`` takes the new one.

        Parameters
        ----------
        password
            A `Secret` that encrypts the file. Default: the environment's ``IEXEC_NB_PASSWORD``, else you are asked.
        unencrypted
            Write the key in the open into ``wallet.json`` of the working folder instead; not with a password.
        keystoredir
            Folder of the file: ``global`` (that of the operating system, shared with geth), ``local`` or a path.
            Default: the client's.
        force
            Replace a ``wallet.json`` that is there without asking; its key is lost.

        Returns
        -------
        WalletFile
            ``address``, ``fileName``, ``path`` and ``content``: the encrypted JSON, or nothing but the public key.

        Raises
        ------
        ConfigurationError
            When nobody can be asked for a password, or the file cannot be written.
        ValidationError
            When the password is no `Secret`, empty, or typed differently the second time.

        Source
        ------
        Web3 secret storage v3; ``src/cli/utils/keystore.js`` (file names).
        """
        return self._save(new_private_key(), password, unencrypted, keystoredir, force)

    @command("wallet import", raw=_file_raw, local=True)
    def import_(
        self,
        private_key: Secret | None = None,
        *,
        password: Secret | None = None,
        unencrypted: bool = False,
        keystoredir: str | None = None,
        force: bool = False,
    ) -> WalletFile:
        """Write a private key that you have into an encrypted wallet file, and return where that is.

        Parameters
        ----------
        private_key
            A `Secret` of 64 hex digits, with or without ``0x``. Default: you are asked for it.
        password
            A `Secret` that encrypts the file. Default: the environment's ``IEXEC_NB_PASSWORD``, else you are asked.
        unencrypted
            Write the key in the open into ``wallet.json`` of the working folder instead; not with a password.
        keystoredir
            Folder of the file: ``global`` (that of the operating system, shared with geth), ``local`` or a path.
            Default: the client's.
        force
            Replace a ``wallet.json`` that is there without asking; its key is lost.

        Returns
        -------
        WalletFile
            As of ``wallet create``.

        Raises
        ------
        ConfigurationError, ValidationError
            As ``wallet create``; also when it is no private key, which is not repeated.

        Source
        ------
        Web3 secret storage v3; ``src/cli/utils/keystore.js`` (file names).
        """
        given = ask_secret("Private key (it is not shown): ") if private_key is None else private_key
        key = PrivateKeySigner(secret_of(given, "private_key")).unsafe_private_key()
        return self._save(key, password, unencrypted, keystoredir, force)

    @command("wallet list", raw=_list_raw, local=True)
    def list(self, *, keystoredir: str | None = None) -> pd.DataFrame:
        """Return the wallet files, the one that would be used first on top.

        Parameters
        ----------
        keystoredir
            Folder of the keystore files: ``global``, ``local`` or a path. Default: the client's.

        Returns
        -------
        pandas.DataFrame
            Columns ``address``, ``file`` (its name), ``date`` (UTC, when it was made) and ``kind``: ``keystore``, or
            ``unencrypted`` for the ``wallet.json`` of the working folder. No password is needed.

        Raises
        ------
        ValidationError
            When the ``wallet.json`` of the working folder is broken.

        Source
        ------
        ``src/cli/utils/keystore.js`` (which file is taken).
        """
        from iexec_nb import tables

        return tables.frame(tables.WALLETS, wallet_entries(self._folder(keystoredir)))

    @command("wallet unlock", raw=_file_raw, local=True)
    def unlock(
        self,
        wallet_address: str | None = None,
        *,
        wallet_file: str | None = None,
        keystoredir: str | None = None,
        password: Secret | None = None,
    ) -> WalletFile:
        """Open a wallet file, make it the client's wallet, and return which it is.

        Parameters
        ----------
        wallet_address
            Whose newest file is meant. Default: ``wallet.json`` of the working folder, else the newest file of all.
        wallet_file
            The file's name in the keystore folder, or its path.
        keystoredir
            Folder of the keystore files: ``global``, ``local`` or a path. Default: the client's.
        password
            A `Secret` that opens the file. Default: the environment's ``IEXEC_NB_PASSWORD``, else the keyring's entry
            for service ``iexec_nb`` and the address (where the library ``keyring`` is installed), else you are asked.

        Returns
        -------
        WalletFile
            As of ``wallet create``.

        Raises
        ------
        ConfigurationError
            When there is no such wallet, or nobody can be asked for the password.
        DecryptionError
            When the password does not open it; the client keeps the wallet that it had.

        Source
        ------
        ``src/cli/utils/keystore.js`` (which file is taken).
        """
        signer = find_wallet(
            wallet_file=wallet_file,
            wallet_address=wallet_address,
            keystoredir=self._client.keystoredir if keystoredir is None else keystoredir,
            password=None if password is None else secret_of(password, "password"),
        )
        if signer is None:
            raise ConfigurationError(
                "Missing option --wallet-address <walletAddress> or --wallet-file <walletFileName> and no wallet.json "
                "found in working directory",
                context={"keystore folder": self._folder(keystoredir)},
                hint="make a wallet with: %iexec wallet create",
            )
        if isinstance(signer, KeystoreSigner):
            signer.unlock()
        self._client.signer = signer
        return _described(signer.path)

    @command("wallet lock")
    def lock(self) -> Address:
        """Forget the client's wallet, so that it signs nothing any more, and return the wallet's address.

        A wallet of a file comes back with ``wallet unlock``; a key that was given by hand has to be given again.

        Returns
        -------
        str
            The address.

        Raises
        ------
        ConfigurationError
            When the client has no wallet.

        Source
        ------
        None: the official CLI keeps no wallet open.
        """
        locked = self._signer("lock").address
        self._client.signer = None
        return locked

    def _save(
        self, key: Secret, password: Secret | None, unencrypted: bool, keystoredir: str | None, force: bool
    ) -> WalletFile:
        if unencrypted and password is None:
            path = Path.cwd() / WALLET_FILE
            there = os.path.lexists(path)
            if there and not force:
                self._client.approve(f"replace {path.name}{_whose(path)}", replaces=True)
            # A file that appeared in the meantime was not asked about, and its key would be lost.
            return _described(create_wallet_file(key, path.parent, replace=there or force))
        folder = self._folder(keystoredir)
        return _described(create_keystore(key, _new_password(password), folder))

    def _folder(self, keystoredir: str | None) -> Path:
        return keystore_dir(self._client.keystoredir if keystoredir is None else keystoredir)


def _described(path: Path) -> WalletFile:
    here = path.parent.resolve() == Path.cwd().resolve()
    name = path.name if here else str(path)
    if path.name != WALLET_FILE:
        content = read_keystore(path)
        return WalletFile(address=address_in(content, path), fileName=name, path=path, content=content)
    who, key = read_wallet_file(path)
    shown = {"publicKey": public_key(key.reveal_bytes()), "address": who}
    return WalletFile(address=who, fileName=name, path=path, content=shown)


def _whose(path: Path) -> str:
    try:
        return f", which holds the key of {read_wallet_file(path)[0]}: that key is lost then"
    except (ConfigurationError, ValidationError):
        return ", which is no wallet"


def _new_password(given: Secret | None) -> Secret:
    chosen = password_of_environment() if given is None else secret_of(given, "password")
    if chosen is None:
        chosen = ask_secret("Please choose a password for wallet encryption: ")
        if ask_secret("The same password again: ") != chosen:
            raise ValidationError("Password mismatch", hint="nothing was written; try again")
    if not chosen.reveal():
        raise ValidationError("Missing wallet password", hint="choose a password, or: --unencrypted")
    if not _is_text(chosen):
        raise ValidationError("the password is not text in UTF-8", hint="type another one; it is not repeated here")
    return chosen


def _is_text(password: Secret) -> bool:
    """Tell whether UTF-8 holds it; nothing is raised here, because the encoder's own error holds the password."""
    try:
        return bool(password.reveal().encode())
    except UnicodeEncodeError:
        return False

"""The keys of results: made, given to the secret service, and found again when a result is to be opened.

The private half of a pair is the only thing that opens what was paid for. It lies where the official CLI has it when
the working folder is a project, and in the client's store, so that it is found from other folders, too.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from iexec_nb.actions.base import Noun, file_at, secret_of
from iexec_nb.commands import command
from iexec_nb.errors import DecryptionError, SecretExistsError, ValidationError
from iexec_nb.protocol import result_encryption, secrets
from iexec_nb.protocol.receipts import EncryptionKeyPair, Pushed
from iexec_nb.protocol.types import Address, Secret, address, shown
from iexec_nb.services.keystore import path_of

_MAX_KEY_BYTES = 16_384
_MAKE_ONE = "make a pair first: result.generate_encryption_keypair()"


def _pair_raw(pair: EncryptionKeyPair) -> dict[str, Any]:
    return {
        "secretPath": str(pair.private_key_file.parent),
        "privateKeyFile": pair.private_key_file.name,
        "publicKeyFile": pair.public_key_file.name,
    }


class ResultKeys(Noun):
    """The verbs about the keys of results."""

    @command(
        "result generate-encryption-keypair",
        aliases=("generate-keys", "keypair"),
        raw=_pair_raw,
        local=True,
    )
    def generate_encryption_keypair(
        self, *, beneficiary_keystoredir: str | Path | None = None, force: bool = False
    ) -> EncryptionKeyPair:
        """Make the RSA key pair (4096 bits) with which results are encrypted for the client's wallet.

        The private key goes into a file of mode 600 and is shown nowhere. In the folder of a project the files are
        ``.secrets/beneficiary/<address>_key`` and ``_key.pub``, as the official CLI has them; elsewhere they are in the
        client's store. A pair made in a project is kept in the store as well where that has none for the wallet.

        Parameters
        ----------
        beneficiary_keystoredir
            Another folder for the files.
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
        ConfigurationError
            When the files cannot be written.

        Source
        ------
        ``iexec result generate-encryption-keypair`` of the official CLI.
        """
        who = self._signer("know whose results are meant").address
        store = self._client.store
        kept = store.result_key_file(who)
        folder = self._key_folder(beneficiary_keystoredir) or kept.parent
        path = folder / kept.name
        if path.exists() and not force:
            raise SecretExistsError(
                f"there is a key pair for {who} already",
                context={"file": path.name},
                hint="use it: result.push_encryption_key(), or replace it: generate_encryption_keypair(force=True)",
            )
        pair = result_encryption.generate_result_keypair()
        if folder != kept.parent:
            self._client.files.make_secrets_dir(folder)
        # One that the store has opens older results: it stays.
        for place in (path,) if kept.exists() else {path: None, kept: None}:
            store.write(place, pair.private_pem.reveal_bytes())
            store.write(place.with_name(f"{place.name}.pub"), pair.public_pem.encode())
        return EncryptionKeyPair(
            address=who,
            public_key=pair.public_pem,
            private_key_file=path,
            public_key_file=path.with_name(f"{path.name}.pub"),
        )

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
            PEM text; default: the one that `generate_encryption_keypair` made, in the project or in the store.
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

    def _private_keys(
        self,
        who: Address | None,
        key: Secret | None = None,
        key_file: str | Path | None = None,
        folder: str | Path | None = None,
    ) -> list[Secret]:
        """Return the private keys that may open a result: what is given, else those of the beneficiary kept here.

        Parameters
        ----------
        who
            The beneficiary; None where that is not known, which is the client's wallet then.
        key, key_file, folder
            What the caller gave: the key, its file (a path, or a name in the folder of keys), that folder.
        """
        if key is not None:
            return [secret_of(key)]
        if key_file is not None:
            return [self._key_in(self._key_path(key_file, folder))]
        who = who or self._signer("know whose results are meant").address
        place = self._key_folder(folder)
        if folder is not None and place is not None:
            if not place.is_dir():
                raise ValidationError(
                    "Beneficiary secrets folder is missing did you forget to run "
                    '"iexec result generate-encryption-keypair"?',
                    context={"folder": place},
                    hint=_MAKE_ONE,
                )
            return [self._key_in(place / f"{who}_key")]
        found = list(self._kept_keys(place, who))
        if found:
            return found
        raise DecryptionError(
            f"the result is encrypted for {who}, whose private key is not here",
            context={"needed": f"the key file {who}_key"},
            hint="use the beneficiary's wallet where its pair was made, or give the key: key=Secret(...), "
            "beneficiary_key_file=...",
        )

    def _kept_keys(self, project: Path | None, who: Address) -> Iterator[Secret]:
        if project is not None and (path := project / f"{who}_key").is_file():
            yield self._key_in(path)
        if kept := self._client.store.result_key(who):
            yield kept

    def _key_folder(self, given: str | Path | None) -> Path | None:
        """Return the folder of keys that is given, else that of the project; None where there is neither."""
        if given is not None:
            return path_of(given, "beneficiary_keystoredir").absolute()
        return self._client.files.secrets_dir("beneficiary") if self._in_project else None

    @property
    def _in_project(self) -> bool:
        """Whether the working folder is a project, or has the keys that the official CLI makes without one."""
        files = self._client.files
        return files.exists or files.secrets_dir("beneficiary").is_dir()

    def _key_path(self, key_file: str | Path, folder: str | Path | None) -> Path:
        # The CLI takes the name of a file in the folder of keys, Python code the path of a file.
        place = self._key_folder(folder)
        named = place / key_file if place is not None else None
        return named if named is not None and named.is_file() else Path(key_file).expanduser()

    def _key_in(self, path: Path) -> Secret:
        if not path.is_file():
            raise ValidationError(
                f'Failed to load beneficiary encryption key from "{shown(path.name)}"',
                context={"folder": path.absolute().parent},
                hint=f"give the file of the beneficiary's private key (PEM); {_MAKE_ONE}",
            )
        return self._client.files.read_secret(path.absolute())

    def _public_key(self, who: Address) -> str:
        """Return the public key that was made for a wallet: the project's, else the store's."""
        place, kept = self._key_folder(None), self._client.store.result_key_file(address(who))
        own = _text_of(kept.with_name(f"{kept.name}.pub")) if kept.with_name(f"{kept.name}.pub").is_file() else None
        path = place / f"{kept.name}.pub" if place is not None else None
        if path is not None and path.is_file():
            found = _text_of(path)
            if not self._client.trusts_project and found != own:
                # A folder that came with a notebook could bring its author's key: all results would be theirs.
                self._client.approve(
                    f"let workers encrypt the results of {who} with the public key in .secrets/beneficiary: whoever "
                    "has its private key can read them"
                )
            return found
        if own is None:
            raise ValidationError(f"no key pair was made here for {who}", hint=_MAKE_ONE)
        return own


def _text_of(path: Path) -> str:
    # A public key is short; what is longer is another file, and is not read.
    with path.open("rb") as file:
        content = file.read(_MAX_KEY_BYTES + 1)
    if len(content) > _MAX_KEY_BYTES:
        raise ValidationError(f"{path.name} is too long for a public key", hint="give the .pub file of the pair")
    return content.decode(errors="replace")

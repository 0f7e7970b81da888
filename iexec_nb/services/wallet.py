"""Who signs: a private key, or a keystore file as the iExec CLI and geth write it.

The rest of the package knows the `Signer` protocol only, so that a browser wallet can take the same place. A signer
signs four things and each has its own method, because a method that signs any 32 bytes would sign a theft as gladly
as an order.
"""

from __future__ import annotations

import getpass
import os
import re
import threading
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from iexec_nb.errors import (
    ConfigurationError,
    DecryptionError,
    ValidationError,
    Web3ProviderSignMessageError,
)
from iexec_nb.protocol.orders import Order
from iexec_nb.protocol.typed_data import (
    Domain,
    address_of,
    challenge_digest,
    order_digest,
    personal_digest,
    sign_digest,
)
from iexec_nb.protocol.types import Address, Secret, shown
from iexec_nb.protocol.types import address as checked_address
from iexec_nb.services.keystore import (
    WALLET_FILE,
    address_in,
    decrypt_key,
    find_keystore,
    keystore_dir,
    path_of,
    read_keystore,
    read_wallet_file,
)
from iexec_nb.services.raw_transactions import sign_transaction

ENVIRONMENT = "IEXEC_NB_PASSWORD"
KEYRING_SERVICE = "iexec_nb"

_KEY = re.compile(r"(?:0x)?([0-9a-fA-F]{64})")
_CURVE_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141


@runtime_checkable
class Signer(Protocol):
    """What the package asks of a wallet: its address, and four kinds of signatures."""

    @property
    def address(self) -> Address:
        """The address that the wallet signs for."""
        ...

    def sign_order(self, order: Order, domain: Domain) -> str:
        """Return the 65-byte signature of a salted order as ``0x`` text (EIP-712)."""
        ...

    def sign_challenge(self, domain: Domain, challenge: str) -> str:
        """Return the signature of a service's login challenge as ``0x`` text (EIP-712)."""
        ...

    def sign_message(self, data: bytes) -> str:
        """Return the signature of a message as ``0x`` text (EIP-191, ``personal_sign``)."""
        ...

    def sign_transaction(self, transaction: Mapping[str, Any]) -> bytes:
        """Return the raw signed transaction."""
        ...


class _KeySigner(ABC):
    """The four signatures, made with a key that a subclass provides."""

    @abstractmethod
    def _key(self) -> bytes: ...

    @property
    @abstractmethod
    def address(self) -> Address:
        """The address that the wallet signs for."""

    def sign_order(self, order: Order, domain: Domain) -> str:
        """Return the 65-byte signature of a salted order as ``0x`` text (EIP-712 under the hub's domain)."""
        return sign_digest(order_digest(order, domain), self._key())

    def sign_challenge(self, domain: Domain, challenge: str) -> str:
        """Return the signature of a service's login challenge as ``0x`` text (EIP-712)."""
        return sign_digest(challenge_digest(challenge, domain), self._key())

    def sign_message(self, data: bytes) -> str:
        """Return the signature of a message as ``0x`` text (EIP-191, ``personal_sign``)."""
        return sign_digest(personal_digest(data), self._key())

    def sign_transaction(self, transaction: Mapping[str, Any]) -> bytes:
        """Return the raw signed transaction.

        Parameters
        ----------
        transaction
            ``chainId nonce to value data gas`` and either ``maxFeePerGas maxPriorityFeePerGas`` (EIP-1559) or
            ``gasPrice``; numbers as ``int``, amounts in wei.

        Raises
        ------
        Web3ProviderSignMessageError
            When a field is missing or malformed.
        """
        try:
            return sign_transaction(transaction, self._key())
        except ValidationError as error:
            raise Web3ProviderSignMessageError(
                f"the transaction cannot be signed: {error.message}", context={"wallet": self.address}
            ) from error

    def unsafe_private_key(self) -> Secret:
        """Return the private key: whoever sees it can take everything that the wallet holds, for ever."""
        return Secret(self._key())

    def __repr__(self) -> str:
        # Tracebacks show objects whose making failed, too.
        return f"{type(self).__name__}({vars(self).get('_address', 'no key')})"


class ReadOnlySigner:
    """An address without a key: whoever asks for "mine" is answered, whoever asks for a signature is refused.

    Parameters
    ----------
    address
        Whose wallet is looked at.

    Raises
    ------
    ValidationError
        When it is no address.

    Examples
    --------
    >>> ReadOnlySigner("0x" + "12" * 20)
    ReadOnlySigner(0x1212121212121212121212121212121212121212)
    """

    def __init__(self, address: str) -> None:
        self._address = checked_address(address)

    @property
    def address(self) -> Address:
        """The address that is looked at."""
        return self._address

    def sign_order(self, order: Order, domain: Domain) -> str:
        """Refuse."""
        raise self.refusal(f"sign the {order.kind}order")

    def sign_challenge(self, domain: Domain, challenge: str) -> str:
        """Refuse."""
        raise self.refusal(f"log in to {domain.name}")

    def sign_message(self, data: bytes) -> str:
        """Refuse."""
        raise self.refusal("sign a message")

    def sign_transaction(self, transaction: Mapping[str, Any]) -> bytes:
        """Refuse."""
        raise self.refusal("send a transaction")

    def refusal(self, purpose: str) -> Web3ProviderSignMessageError:
        """Return the error for a wish that needs a key."""
        return Web3ProviderSignMessageError(
            f"this wallet can be looked at and cannot {purpose}",
            context={"wallet": self._address},
            hint="make the client with a KeystoreSigner or a PrivateKeySigner of this address",
        )

    def __repr__(self) -> str:
        return f"{type(self).__name__}({vars(self).get('_address', 'no address')})"


class PrivateKeySigner(_KeySigner):
    """A wallet whose private key is in memory.

    Parameters
    ----------
    key
        32 bytes, or 64 hex digits with or without ``0x``. It is kept in a `Secret` and never shown.

    Raises
    ------
    ValidationError
        When it is not a private key; the message does not repeat it.
    """

    def __init__(self, key: Secret | str | bytes) -> None:
        raw = _private_key(key)
        self._secret = Secret(raw)
        self._address = address_of(raw)

    @property
    def address(self) -> Address:
        """The address that the key signs for."""
        return self._address

    def _key(self) -> bytes:
        return self._secret.reveal_bytes()


class WalletFileSigner(PrivateKeySigner):
    """A wallet in an unencrypted ``wallet.json``, as ``iexec wallet create --unencrypted`` writes it.

    Parameters
    ----------
    path
        The file.

    Raises
    ------
    ConfigurationError
        When there is no such file.
    ValidationError
        When it holds no private key, or another address than the key's.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = path_of(path, "wallet file")
        super().__init__(read_wallet_file(self.path)[1])


class KeystoreSigner(_KeySigner):
    """A wallet in an encrypted keystore file (Web3 secret storage v3), opened at its first signature and once only.

    Parameters
    ----------
    path
        The keystore file; its address is read without the password.
    password
        The password, or a function that asks for it. Default: the environment's ``IEXEC_NB_PASSWORD``, else the
        keyring's entry of service ``iexec_nb`` and the address as user name (where the library ``keyring`` is
        installed), else ask at the keyboard, without showing what is typed.

    Raises
    ------
    ConfigurationError
        When there is no such file.
    ValidationError
        When the file is not a keystore.
    """

    def __init__(
        self, path: str | os.PathLike[str], password: Secret | str | Callable[[], Secret | str] | None = None
    ) -> None:
        self.path = path_of(path, "keystore file")
        self._content = read_keystore(self.path)
        self._address = address_in(self._content, self.path)
        if password is None:
            password = self._find_password
        self._password = password if callable(password) else _secret(password)
        self._source = "the caller"
        self._secret: Secret | None = None
        self._opening = threading.Lock()

    @property
    def address(self) -> Address:
        """The address that the file is for."""
        return self._address

    def unlock(self) -> None:
        """Open the file now, which takes about a second, instead of at the first signature.

        Raises
        ------
        DecryptionError
            When the password does not open it, or the key inside is of another address.
        """
        self._key()

    def _key(self) -> bytes:
        with self._opening:
            if self._secret is None:
                self._secret = Secret(self._decrypt())
            return self._secret.reveal_bytes()

    def _find_password(self) -> Secret:
        self._source = f"the environment's {ENVIRONMENT}"
        if (given := password_of_environment()) is not None:
            return given
        self._source = "the keyring"
        if (kept := _password_of_keyring(self._address)) is not None:
            return kept
        self._source = "the keyboard"
        return ask_secret(
            f"Using wallet {shown(self.path.name)}\nPlease enter your password to unlock your wallet: ",
            hint=f"set {ENVIRONMENT}, or: KeystoreSigner(path, password=Secret(...))",
        )

    def _decrypt(self) -> bytes:
        password = _secret(self._password() if callable(self._password) else self._password)
        raw, stopped = b"", False
        # Whatever the library says stays out of the traceback, Ctrl-C too: its frames hold the password.
        try:
            with suppress(Exception):
                raw = decrypt_key(self._content, password.reveal())
        except KeyboardInterrupt:
            stopped = True
        if stopped:
            raise KeyboardInterrupt
        if not raw:
            raise DecryptionError(
                "the password does not open the keystore file, or the file is damaged",
                context={"file": self.path.name, "wallet": self._address, "password from": self._source},
            )
        if len(raw) != 32 or address_of(raw) != self._address:
            raise DecryptionError(
                "the keystore file holds the key of another address than it says",
                context={"file": self.path.name, "says": self._address},
            )
        return raw


def find_wallet(
    *,
    wallet_file: str | os.PathLike[str] | None = None,
    wallet_address: str | None = None,
    keystoredir: str | os.PathLike[str] | None = None,
    password: Secret | None = None,
    folder: Path | None = None,
) -> KeystoreSigner | WalletFileSigner | None:
    """Return the wallet that the iExec CLI would load, still locked, or None where there is no wallet.

    The order is the CLI's: the file, else the newest file of the address, else ``wallet.json`` of the working folder,
    else the newest file of the keystore folder.

    Parameters
    ----------
    wallet_file
        Name of a file in the keystore folder, or a path.
    wallet_address
        Whose newest file is meant.
    keystoredir
        ``global``, ``local`` or a path; see `keystore_dir`.
    password
        What opens the file; by default it is looked for when it is needed, see `KeystoreSigner`.
    folder
        The working folder; where the process is by default.

    Raises
    ------
    ConfigurationError
        When what was asked for is not there.
    ValidationError
        When the file is no wallet.
    """
    directory = keystore_dir(keystoredir, folder)
    if wallet_file is not None:
        return open_wallet(directory / path_of(wallet_file, "wallet_file"), password)
    if wallet_address is not None:
        return KeystoreSigner(find_keystore(wallet_address, directory), password)
    plain = (folder if folder is not None else Path.cwd()) / WALLET_FILE
    if plain.is_file():
        return WalletFileSigner(plain)
    try:
        newest = find_keystore(None, directory)
    except ConfigurationError as error:
        if keystoredir is None or keystoredir == "global":
            return None
        raise ConfigurationError(
            "Missing option --wallet-address <walletAddress> or --wallet-file <walletFileName> and no wallet.json "
            "found in working directory",
            context={"keystore folder": directory},
            hint=error.hint,
        ) from error
    return KeystoreSigner(newest, password)


def open_wallet(path: Path, password: Secret | None = None) -> KeystoreSigner | WalletFileSigner:
    """Return the wallet in a file, encrypted or not.

    Raises
    ------
    ConfigurationError
        When there is no such file.
    ValidationError
        When it is no wallet.
    """
    return WalletFileSigner(path) if path.name == WALLET_FILE else KeystoreSigner(path, password)


def ask_secret(prompt: str, *, hint: str = "run it where somebody can type") -> Secret:
    """Ask at the keyboard for something that is not shown while it is typed.

    Parameters
    ----------
    prompt
        What the person reads.
    hint
        What to do where there is nobody.

    Raises
    ------
    ConfigurationError
        When nobody can be asked, or what is typed would be shown.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", getpass.GetPassWarning)
            # By the module's name: a kernel puts its own function there.
            return Secret(getpass.getpass(prompt))
    except (EOFError, OSError, NotImplementedError, RuntimeError, getpass.GetPassWarning) as error:
        raise ConfigurationError(
            "a password or secret is needed, and there is nobody to ask", context={"for": prompt.strip()}, hint=hint
        ) from error


def password_of_environment() -> Secret | None:
    """Return the password in the environment's ``IEXEC_NB_PASSWORD``, where there is one."""
    found = os.environ.get(ENVIRONMENT)
    return Secret(found) if found else None


def _password_of_keyring(wallet: Address) -> Secret | None:
    # The library is optional, and each desktop's keyring fails in its own way: then the person is asked.
    with suppress(Exception):
        found = import_module("keyring").get_password(KEYRING_SERVICE, wallet)
        return Secret(found) if found else None
    return None


def _secret(value: Secret | str) -> Secret:
    return value if isinstance(value, Secret) else Secret(value)


def _private_key(key: Secret | str | bytes) -> bytes:
    raw = _key_bytes(key)
    if not 0 < int.from_bytes(raw, "big") < _CURVE_ORDER:
        raise ValidationError(
            "this is not a private key", hint="give 64 hex digits after 0x; the value is not repeated here"
        )
    return raw


def _key_bytes(key: Secret | str | bytes) -> bytes:
    """Return 32 bytes, or none where it is something else; nothing is raised here, where the key is in the open."""
    given: object = key._value if isinstance(key, Secret) else key
    if isinstance(given, bytes) and len(given) == 32:
        return Secret(given).reveal_bytes()
    if isinstance(given, str) and (match := _KEY.fullmatch(given.strip())):
        return Secret(bytes.fromhex(match[1])).reveal_bytes()
    return b""

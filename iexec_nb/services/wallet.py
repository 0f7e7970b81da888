"""Who signs: a private key, or a keystore file as the iExec CLI and geth write it.

The rest of the package knows the `Signer` protocol only, so that a browser wallet can take the same place. A signer
signs four things and each has its own method, because a method that signs any 32 bytes would sign a theft as gladly
as an order. One lock per wallet keeps two threads of one process from using the same nonce.
"""

from __future__ import annotations

import os
import re
import sys
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import suppress
from getpass import getpass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from iexec_nb.errors import (
    ConfigurationError,
    DecryptionError,
    ValidationError,
    Web3ProviderSignMessageError,
)
from iexec_nb.protocol.foreign import loads, same_recursion_limit
from iexec_nb.protocol.orders import Order
from iexec_nb.protocol.typed_data import (
    Domain,
    address_of,
    challenge_digest,
    order_digest,
    personal_digest,
    sign_digest,
)
from iexec_nb.protocol.types import Address, Secret, address
from iexec_nb.services.raw_transactions import sign_transaction

KEYSTORE_MAX_BYTES = 1 << 20

_KEY = re.compile(r"(?:0x)?([0-9a-fA-F]{64})")
_CURVE_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141

_locks: dict[tuple[int, Address], threading.Lock] = {}
_locks_guard = threading.Lock()


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

    def __repr__(self) -> str:
        # Tracebacks show objects whose making failed, too.
        return f"{type(self).__name__}({vars(self).get('_address', 'no key')})"


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


class KeystoreSigner(_KeySigner):
    """A wallet in an encrypted keystore file (Web3 secret storage v3), opened at its first signature and once only.

    Parameters
    ----------
    path
        The keystore file; its address is read without the password.
    password
        The password, or a function that asks for it. Default: ask at the keyboard, without showing what is typed.

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
        self.path = Path(path).expanduser()
        self._content = read_keystore(self.path)
        self._address = _keystore_address(self._content, self.path)
        if password is None:
            password = self._ask
        self._password = password if callable(password) else _secret(password)
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

    def _ask(self) -> Secret:
        try:
            return Secret(getpass(f"Password of {self.path.name}: "))
        except (EOFError, OSError, NotImplementedError, RuntimeError) as error:
            raise ConfigurationError(
                "the keystore needs its password, and there is nobody to ask",
                hint="KeystoreSigner(path, password=Secret(...)), or a function that returns it",
            ) from error

    def _decrypt(self) -> bytes:
        password = _secret(self._password() if callable(self._password) else self._password)
        raw, stopped = b"", False
        # Whatever the library says stays out of the traceback, Ctrl-C too: its frames hold the password.
        try:
            with suppress(Exception):
                raw = _opened(self._content, password.reveal())
        except KeyboardInterrupt:
            stopped = True
        if stopped:
            raise KeyboardInterrupt
        if not raw:
            raise DecryptionError(
                "the password does not open the keystore file, or the file is damaged",
                context={"file": self.path.name, "wallet": self._address},
            )
        if len(raw) != 32 or address_of(raw) != self._address:
            raise DecryptionError(
                "the keystore file holds the key of another address than it says",
                context={"file": self.path.name, "says": self._address},
            )
        return raw


def send_lock(chain_id: int, account: Address) -> threading.Lock:
    """Return the lock that is held around nonce, signature and sending for one wallet on one chain."""
    with _locks_guard:
        return _locks.setdefault((chain_id, address(account)), threading.Lock())


def keystore_dir() -> Path:
    """Return the folder where the iExec CLI and geth keep keystore files on this operating system."""
    home = Path.home()
    if sys.platform == "darwin":
        return home / "Library" / "Ethereum" / "keystore"
    if sys.platform == "win32":
        return home / "AppData" / "Roaming" / "Ethereum" / "keystore"
    return home / ".ethereum" / "keystore"


def find_keystore(wallet: str | None = None, directory: str | os.PathLike[str] | None = None) -> Path:
    """Return the newest keystore file, of one address where it is given.

    Parameters
    ----------
    wallet
        An address in any case, with or without ``0x``; None for the newest file of any address.
    directory
        Where to look; `keystore_dir` by default. File names are ``UTC--<date>--<address>``.

    Raises
    ------
    ConfigurationError
        When the folder does not exist, or no file in it matches.
    """
    folder = Path(directory).expanduser() if directory is not None else keystore_dir()
    if not folder.is_dir():
        raise ConfigurationError(
            f"Missing keystore directory {folder}", hint="give the folder of your keystore files, or a private key"
        )
    wanted = address(wallet, "wallet") if wallet is not None else None
    newest = max((entry for path in folder.iterdir() if (entry := _named(path, wanted))), default=None)
    if newest is None:
        whose = f" matching address {wanted}" if wanted else ""
        raise ConfigurationError(
            f"No wallet file{whose} found in {folder}", hint="keystore files are named UTC--<date>--<address>"
        )
    return newest[1]


def keystore_address(path: str | os.PathLike[str]) -> Address:
    """Return the address of a keystore file, without its password.

    Raises
    ------
    ConfigurationError, ValidationError
        When the file is missing, or is not a keystore.
    """
    file = Path(path).expanduser()
    return _keystore_address(read_keystore(file), file)


def read_keystore(path: Path) -> dict[str, Any]:
    """Return the JSON object of a keystore file, still encrypted.

    Raises
    ------
    ConfigurationError
        When there is no such file.
    ValidationError
        When it is not a keystore of version 3.
    """
    try:
        if path.stat().st_size > KEYSTORE_MAX_BYTES:
            raise ValidationError(f"{path.name} is too large for a keystore file")
        content = loads(path.read_bytes())
    except FileNotFoundError as error:
        raise ConfigurationError(
            f"there is no keystore file {path}", hint="give the path of a keystore file"
        ) from error
    except OSError as error:
        raise ConfigurationError(f"{path.name} cannot be read: {error.strerror}") from error
    except ValidationError:
        raise
    except ValueError as error:
        raise ValidationError(f"{path.name} is not a keystore file: it is not JSON") from error
    members = {str(key).lower() for key in content} if isinstance(content, dict) else set()
    if not isinstance(content, dict) or "crypto" not in members or content.get("version") != 3:
        raise ValidationError(
            f"{path.name} is not a keystore file of version 3", hint="a keystore holds version, address and crypto"
        )
    return content


def _keystore_address(content: Mapping[str, Any], path: Path) -> Address:
    return address(content.get("address"), f"address in {path.name}")


def _named(path: Path, wanted: Address | None) -> tuple[str, Path] | None:
    parts = path.name.split("--")
    if len(parts) != 3 or not path.is_file():
        return None
    if wanted is not None and parts[2].lower().removeprefix("0x").removesuffix(".json") != wanted[2:].lower():
        return None
    return parts[1], path


def _opened(content: dict[str, Any], password: str) -> bytes:
    with same_recursion_limit():
        from eth_account import Account

    return Secret(bytes(Account.decrypt(content, password))).reveal_bytes()


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

"""The files that hold keys: Web3 secret storage v3 as the iExec CLI and geth write it, and the CLI's plain wallet.json.

Losing such a file is losing the money behind it, so a file appears whole or not at all, is readable by its owner only,
and takes no other file's place unless that was asked for. Encryption is written out here because it is short, because
the library that does it takes half a second to import, and because it normalises passwords differently than the CLI.
"""

from __future__ import annotations

import hmac
import json
import os
import re
import secrets
import sys
import tempfile
import unicodedata
import uuid
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from iexec_nb.errors import ConfigurationError, ValidationError
from iexec_nb.protocol.foreign import loads
from iexec_nb.protocol.typed_data import address_of
from iexec_nb.protocol.types import Address, Secret, address, keccak, shown

KEYSTORE_MAX_BYTES = 1 << 20
WALLET_FILE = "wallet.json"
SCRYPT = {"n": 131072, "r": 8, "p": 1}
"""What the CLI asks of whoever tries a password: 128 MB and a quarter of a second."""

_MAX_SCRYPT_BYTES = 1 << 30
_MAX_PARALLEL = 64
_MAX_ROUNDS = 10_000_000
_DATE = re.compile(r"(\d{4}-\d\d-\d\d)T(\d\d)-(\d\d)-(\d\d)\.(\d{1,9})Z?")


@dataclass(frozen=True, slots=True, kw_only=True)
class WalletEntry:
    """A wallet's file as its name tells it; `date` is when it was made, None where the name does not say."""

    address: Address
    file: str
    date: datetime | None
    path: Path
    kind: str


def keystore_dir(choice: str | os.PathLike[str] | None = None, folder: Path | None = None) -> Path:
    """Return the folder of keystore files.

    Parameters
    ----------
    choice
        ``global`` (the default: where the iExec CLI and geth keep them on this operating system), ``local`` (the
        working folder), or a path.
    folder
        What is taken for the working folder.

    Raises
    ------
    ValidationError
        When it is no path.
    """
    home = Path.home()
    if choice is None or choice == "global":
        if sys.platform == "darwin":
            return home / "Library" / "Ethereum" / "keystore"
        if sys.platform == "win32":
            return home / "AppData" / "Roaming" / "Ethereum" / "keystore"
        return home / ".ethereum" / "keystore"
    here = folder if folder is not None else Path.cwd()
    return here if choice == "local" else here / path_of(choice, "keystoredir")


def path_of(given: object, name: str) -> Path:
    """Return a path, with ``~`` for the home folder.

    Raises
    ------
    ValidationError
        When it is none.
    """
    with suppress(RuntimeError):
        # RuntimeError: "~somebody" of whom this machine knows no home.
        if isinstance(given, os.PathLike) or (isinstance(given, str) and given and "\0" not in given):
            return Path(given).expanduser()
    raise ValidationError(f"{shown(given)!r} is not a valid {name}", hint=f"give {name} as a path")


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
    wanted = address(wallet, "wallet_address") if wallet is not None else None
    folder = keystore_dir(directory)
    if not folder.is_dir():
        raise ConfigurationError(
            f'Missing keystore directory {folder}, did you forget to run "iexec wallet create" ?',
            hint="%iexec wallet create, or give the folder of your keystore files as keystoredir",
        )
    newest = max((entry for path in folder.iterdir() if (entry := _named(path, wanted))), default=None)
    if newest is None:
        raise ConfigurationError(
            f"No wallet file{f' matching address {wallet}' if wanted else ''} found in {folder}",
            hint="%iexec wallet list shows the wallets of a folder; keystore files are named UTC--<date>--<address>",
        )
    return newest[1]


def wallet_entries(directory: Path, folder: Path | None = None) -> tuple[WalletEntry, ...]:
    """Return the wallets that `find_wallet` would choose from, the one that it takes first on top.

    Parameters
    ----------
    directory
        The keystore folder; one that does not exist holds no wallet.
    folder
        The working folder, where a ``wallet.json`` goes before every keystore file.
    """
    found: list[tuple[str, WalletEntry]] = []
    for path in directory.iterdir() if directory.is_dir() else ():
        if named := _named(path, None):
            with suppress(ValidationError):
                # A name of three parts that ends in no address is somebody else's file.
                who = address(path.name.split("--")[2].removesuffix(".json"))
                entry = WalletEntry(address=who, file=path.name, date=_date(named[0]), path=path, kind="keystore")
                found.append((named[0], entry))
    entries = [entry for _, entry in sorted(found, key=lambda one: (one[0], one[1].file), reverse=True)]
    plain = (folder if folder is not None else Path.cwd()) / WALLET_FILE
    if plain.is_file():
        who, _ = read_wallet_file(plain)
        entries.insert(0, WalletEntry(address=who, file=plain.name, date=None, path=plain, kind="unencrypted"))
    return tuple(entries)


def address_in(content: Mapping[str, Any], path: Path) -> Address:
    """Return the address that a keystore's content names.

    Raises
    ------
    ValidationError
        When it names none.
    """
    return address(content.get("address"), f"address in {path.name}")


def read_keystore(path: Path) -> dict[str, Any]:
    """Return the JSON object of a keystore file, still encrypted.

    Raises
    ------
    ConfigurationError
        When there is no such file.
    ValidationError
        When it is not a keystore of version 3.
    """
    content: dict[str, Any] | None = _read_json(path, "a keystore file")
    if isinstance(content, dict) and content.get("version") == 3 and "crypto" in {str(key).lower() for key in content}:
        return content
    # It may be a file with a key in the open, which tracebacks with local variables would show.
    content = None
    raise ValidationError(
        f"{path.name} is not a keystore file of version 3", hint="a keystore holds version, address and crypto"
    )


def read_wallet_file(path: Path) -> tuple[Address, Secret]:
    """Return the address and the private key in an unencrypted ``wallet.json`` (``privateKey publicKey address``).

    Raises
    ------
    ConfigurationError
        When there is no such file.
    ValidationError
        When it holds no private key, or another address than the key's; the key is not repeated.
    """
    key, said = _wallet_key(_read_json(path, "a wallet file"))
    if key is None:
        raise ValidationError(f"{path.name} is not a wallet file", hint="a wallet file holds privateKey and address")
    who = address_of(key.reveal_bytes())
    if said is not None and address(said, f"address in {path.name}") != who:
        raise ValidationError(
            f"{path.name} holds the key of another address than it says",
            context={"says": shown(said), "address of the key": who},
        )
    return who, key


def create_keystore(key: Secret, password: Secret, directory: Path, *, when: datetime | None = None) -> Path:
    """Write a new encrypted keystore file (mode 600) and return its path.

    Parameters
    ----------
    key
        The private key, 32 bytes.
    password
        What opens it.
    directory
        Where; it is made (mode 700) where it is missing.
    when
        The time in the file's name; now by default.

    Raises
    ------
    ConfigurationError
        When the file is there already, or cannot be written.
    """
    who = address_of(key.reveal_bytes())
    time = (when or datetime.now(UTC)).astimezone(UTC)
    stamp = f"{time:%Y-%m-%dT%H-%M-%S}.{time.microsecond // 1000:03d}000000Z"
    path = directory / f"UTC--{stamp}--{who[2:]}"
    content = encrypt_key(key.reveal_bytes(), password.reveal())
    _write(path, Secret(json.dumps(content, indent=2)), replace=False)
    return path


def create_wallet_file(key: Secret, folder: Path, *, replace: bool = False) -> Path:
    """Write an unencrypted ``wallet.json`` (mode 600) into a folder and return its path.

    Raises
    ------
    ConfigurationError
        When the file is there already and is not to be replaced, or cannot be written.
    """
    path = folder / WALLET_FILE
    _write(path, _plain_wallet(key.reveal_bytes()), replace=replace)
    return path


def new_private_key() -> Secret:
    """Return a private key that nobody has."""
    while True:
        key = Secret(secrets.token_bytes(32))
        with suppress(ValueError):
            # ValueError: not below the order of the curve, once in 2**128 times.
            address_of(key)
            return key


def public_key(private_key: bytes) -> str:
    """Return the public key of a private one as ``0x04`` and 128 hex digits."""
    from coincurve import PublicKey

    return "0x" + PublicKey.from_secret(private_key).format(compressed=False).hex()


def encrypt_key(private_key: bytes, password: str) -> dict[str, Any]:
    """Return a private key as Web3 secret storage v3: scrypt with the CLI's cost, AES-128-CTR."""
    salt, iv = secrets.token_bytes(32), secrets.token_bytes(16)
    derived = _scrypt(_normal(password), salt, **SCRYPT)
    sealed = _aes_ctr(derived[:16], iv, private_key)
    return {
        "address": address_of(private_key)[2:].lower(),
        "id": str(uuid.uuid4()),
        "version": 3,
        "Crypto": {
            "cipher": "aes-128-ctr",
            "cipherparams": {"iv": iv.hex()},
            "ciphertext": sealed.hex(),
            "kdf": "scrypt",
            "kdfparams": {"salt": salt.hex(), "n": SCRYPT["n"], "dklen": 32, "p": SCRYPT["p"], "r": SCRYPT["r"]},
            "mac": keccak(derived[16:32] + sealed).hex(),
        },
    }


def decrypt_key(content: Mapping[str, Any], password: str) -> bytes:
    """Return the private key in a keystore, or no bytes where the password does not open it.

    Raises
    ------
    ValueError, LookupError, TypeError
        When the file is damaged, or asks for more memory or rounds than any wallet does.
    """
    box = next(value for name, value in content.items() if name.lower() == "crypto")
    if box["cipher"] != "aes-128-ctr":
        raise ValueError("unknown cipher")
    sealed, iv = bytes.fromhex(box["ciphertext"]), bytes.fromhex(box["cipherparams"]["iv"])
    # ethers, so the CLI, normalises passwords; geth and eth-account take them as they are.
    for secret in dict.fromkeys((_normal(password), _hidden(password.encode()))):
        derived = _derived(box["kdf"], box["kdfparams"], secret)
        if hmac.compare_digest(keccak(derived[16:32] + sealed).hex(), str(box["mac"]).lower().removeprefix("0x")):
            return _aes_ctr(derived[:16], iv, sealed)
    return b""


def _normal(password: str) -> bytes:
    return _hidden(unicodedata.normalize("NFKC", password).encode())


def _hidden(raw: bytes) -> bytes:
    """Return bytes that tracebacks with local variables do not show."""
    return Secret(raw).reveal_bytes()


def _derived(kdf: object, params: Mapping[str, Any], secret: bytes) -> bytes:
    salt = bytes.fromhex(params["salt"])
    if params["dklen"] != 32:
        raise ValueError("unknown length of the derived key")
    if kdf == "scrypt":
        return _scrypt(secret, salt, n=params["n"], r=params["r"], p=params["p"])
    if kdf == "pbkdf2" and params["prf"] == "hmac-sha256" and 0 < params["c"] <= _MAX_ROUNDS:
        import hashlib

        return _hidden(hashlib.pbkdf2_hmac("sha256", secret, salt, params["c"], 32))
    raise ValueError("unknown key derivation")


def _scrypt(secret: bytes, salt: bytes, *, n: int, r: int, p: int) -> bytes:
    from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

    # A file from elsewhere could ask for more memory than there is.
    if 128 * n * r > _MAX_SCRYPT_BYTES or p > _MAX_PARALLEL or 128 * n * r * p > 4 * _MAX_SCRYPT_BYTES:
        raise ValueError("the key derivation asks for too much memory")
    if n.bit_length() > 16 * r:
        # Some programs of old wrote files beyond what RFC 7914 allows and OpenSSL takes (n=262144, r=1).
        from Crypto.Protocol.KDF import scrypt

        return _hidden(bytes(scrypt(secret, salt, 32, n, r, p)))  # type: ignore[arg-type]
    return _hidden(Scrypt(salt=salt, length=32, n=n, r=r, p=p).derive(secret))


def _aes_ctr(key: bytes, iv: bytes, data: bytes) -> bytes:
    from cryptography.hazmat.primitives.ciphers import Cipher
    from cryptography.hazmat.primitives.ciphers.algorithms import AES
    from cryptography.hazmat.primitives.ciphers.modes import CTR

    cipher = Cipher(AES(key), CTR(iv)).encryptor()
    return _hidden(cipher.update(data) + cipher.finalize())


def _named(path: Path, wanted: Address | None) -> tuple[str, Path] | None:
    parts = path.name.split("--")
    if len(parts) != 3 or not path.is_file():
        return None
    if wanted is not None and parts[2].lower().removeprefix("0x").removesuffix(".json") != wanted[2:].lower():
        return None
    return parts[1], path


def _date(text: str) -> datetime | None:
    if not (match := _DATE.fullmatch(text)):
        return None
    day, hour, minute, second, fraction = match.groups()
    with suppress(ValueError):
        return datetime.fromisoformat(f"{day}T{hour}:{minute}:{second}.{fraction[:6].ljust(6, '0')}+00:00")
    return None


def _read_json(path: Path, what: str) -> Any:
    try:
        # A device says that it has no size, and does not end.
        with path.open("rb") as file:
            raw = Secret(file.read(KEYSTORE_MAX_BYTES + 1)).reveal_bytes()
        if len(raw) > KEYSTORE_MAX_BYTES:
            raise ValidationError(f"{path.name} is too large for {what}")
        return loads(raw)
    except FileNotFoundError as error:
        raise ConfigurationError(f"there is no {what[2:]} {path}", hint=f"give the path of {what}") from error
    except OSError as error:
        raise ConfigurationError(f"{path.name} cannot be read: {error.strerror}") from error
    except ValidationError:
        raise
    except ValueError:
        # The parser's own error holds the text of the file, which may be a key.
        pass
    raise ValidationError(f"{path.name} is not {what}: it is not JSON")


def _wallet_key(content: object) -> tuple[Secret | None, object]:
    """Return key and address of a wallet file; nothing is raised here, where the key is in the open."""
    if not isinstance(content, dict):
        return None, None
    with suppress(ValueError, TypeError, AttributeError, KeyError):
        key = Secret(bytes.fromhex(content["privateKey"].removeprefix("0x")))
        if len(key.reveal_bytes()) == 32:
            address_of(key)
            return key, content.get("address")
    return None, None


def _plain_wallet(raw: bytes) -> Secret:
    content = {"privateKey": "0x" + raw.hex(), "publicKey": public_key(raw), "address": address_of(raw)}
    return Secret(json.dumps(content, indent=2))


def _write(path: Path, content: Secret, *, replace: bool) -> None:
    """Write a file of mode 600, whole or not at all."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        # The name has no "--": a file that a crash left behind is not taken for a wallet.
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=".wallet-")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content.reveal_bytes())
                file.flush()
                os.fsync(file.fileno())
            if replace:
                os.replace(name, path)
            else:
                _take(name, path)
        finally:
            Path(name).unlink(missing_ok=True)
    except FileExistsError as error:
        raise ConfigurationError(
            f"{path.name} is there already; it was left as it is", hint="force=True (--force) replaces it"
        ) from error
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be written: {error.strerror}") from error


def _take(name: str, path: Path) -> None:
    """Give a finished file its name, unless another file has that."""
    try:
        os.link(name, path)
    except FileExistsError:
        raise
    except OSError:
        # A file system without hard links.
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        os.replace(name, path)

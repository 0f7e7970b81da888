"""A project: the folder with ``iexec.json chain.json deployed.json orders.json``, ``.secrets/`` and ``datasets/``.

The files are the official CLI's, byte for byte in both directions, so that a person may use either program in one
folder. Nothing is read or written until it is asked for.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from iexec_nb.errors import ConfigurationError, ValidationError
from iexec_nb.protocol.json_text import dotted
from iexec_nb.protocol.types import Address, Secret, address, shown
from iexec_nb.services import project_files
from iexec_nb.services.project_files import Document

if TYPE_CHECKING:
    from iexec_nb.protocol.networks import Network

IEXEC, CHAIN, DEPLOYED, ORDERS = "iexec.json", "chain.json", "deployed.json", "orders.json"
RESOURCES = ("app", "dataset", "workerpool")
ORDER_KINDS = (*RESOURCES, "request")
SECRET_KINDS = ("datasets", "beneficiary")
KEY_FILE = "dataset.key"
"""Where the key of the dataset that was encrypted last lies."""
MAX_SECRET_BYTES = 1 << 20


class Project:
    """The files of one project.

    Parameters
    ----------
    folder
        Where; default: the working folder.
    """

    def __init__(self, folder: str | os.PathLike[str] | None = None) -> None:
        self.folder = Path.cwd() if folder is None else Path(folder).absolute()

    @property
    def exists(self) -> bool:
        """Whether somebody made a project here: only then are files of it written by verbs that do something else."""
        return self.has(IEXEC) or self.has(CHAIN)

    def path(self, name: str) -> Path:
        """Return where a file of the project is, or would be."""
        return self.folder / name

    def has(self, name: str) -> bool:
        """Whether there is a file of that name."""
        return os.path.lexists(self.path(name))

    def read(self, name: str) -> dict[str, Any]:
        """Return the object in a file.

        Raises
        ------
        ConfigurationError
            When it is missing.
        ValidationError
            When it is broken: with file, line and key.
        """
        return self._document(name).content

    def write(self, name: str, content: Mapping[str, Any]) -> Path:
        """Write a file as the CLI does, whole or not at all, and return its path.

        Raises
        ------
        ValidationError
            When the file that is there is broken: it is left as it is.
        ConfigurationError
            When the folder cannot be written.
        """
        return project_files.write(self.path(name), content)

    def update(self, name: str, change: Callable[[dict[str, Any]], None], *, create: bool = False) -> dict[str, Any]:
        """Read a file, let a function change the object in it, write it, and return the object.

        Parameters
        ----------
        name
            The file.
        change
            What changes the object; what it does not know stays, and so does the order.
        create
            Whether a file that is missing begins as an empty one.

        Raises
        ------
        ConfigurationError, ValidationError
            As `read` and `write`.
        """
        with project_files.locked(self.folder):
            content = {} if create and not self.has(name) else self.read(name)
            change(content)
            self.write(name, content)
        return content

    def entry(self, key: str) -> dict[str, Any] | None:
        """Return an object of ``iexec.json``, or None where there is none under that key.

        Raises
        ------
        ConfigurationError
            When there is no such file.
        ValidationError
            When something else than an object stands there.
        """
        return self._document(IEXEC).object_at(key)

    def resource(self, kind: str) -> dict[str, Any]:
        """Return the entry of ``iexec.json`` for an app, dataset, workerpool or category.

        Raises
        ------
        ConfigurationError
            When it is missing.
        """
        found = self.entry(kind)
        if found is None:
            raise ConfigurationError(
                f'Missing {kind} in "iexec.json". Did you forget to run "iexec {kind} init"?',
                hint=f"%iexec {kind} init",
            )
        return found

    def set_resource(self, kind: str, body: Mapping[str, Any]) -> None:
        """Put an entry into ``iexec.json``, in place of one that is there."""
        self.entry(kind)
        self.update(IEXEC, lambda content: content.__setitem__(kind, dict(body)))

    def order(self, kind: str) -> dict[str, Any]:
        """Return the unsigned order of ``iexec.json`` (`kind`: app, dataset, workerpool or request).

        Raises
        ------
        ConfigurationError
            When it is missing.
        """
        found = self._document(IEXEC).object_at("order", f"{kind}order")
        if found is None:
            raise ConfigurationError(
                f'Missing {kind}order. You probably forgot to run "iexec order init --{kind}"',
                hint=f"%iexec order init --{kind}",
            )
        return found

    def orders(self) -> dict[str, Any]:
        """Return the unsigned orders of ``iexec.json`` by name: ``apporder datasetorder workerpoolorder requestorder``.

        Raises
        ------
        ConfigurationError, ValidationError
            When the file is missing or broken.
        """
        return self.entry("order") or {}

    def set_order(self, kind: str, body: Mapping[str, Any]) -> None:
        """Put an unsigned order into ``iexec.json``, in place of one that is there."""
        self.set_orders({kind: body})

    def set_orders(self, bodies: Mapping[str, Mapping[str, Any]]) -> None:
        """Put unsigned orders by kind into ``iexec.json``, all of them or none."""
        document = self._document(IEXEC)
        for kind in bodies:
            document.object_at("order", f"{kind}order")
        new = {f"{kind}order": dict(body) for kind, body in bodies.items()}
        self.update(IEXEC, lambda content: content.setdefault("order", {}).update(new))

    def deployed(self, kind: str, chain_id: int | str) -> Address | None:
        """Return what ``deployed.json`` has for a chain: the app, dataset or workerpool that was deployed last.

        Raises
        ------
        ValidationError
            When the file is broken, or names something else than an address.
        """
        return self.all_deployed().get(kind, {}).get(str(chain_id)) if self.has(DEPLOYED) else None

    def all_deployed(self) -> dict[str, dict[str, Address]]:
        """Return what ``deployed.json`` has: addresses by kind and chain id.

        Raises
        ------
        ConfigurationError
            When there is no such file.
        ValidationError
            When it names another kind, or something else than an address: with file, line and key.
        """
        document = self._document(DEPLOYED)
        found: dict[str, dict[str, Address]] = {}
        for kind in document.content:
            if kind not in RESOURCES:
                raise document.refusal(
                    (kind,), f'Unknown key "{shown(kind)}" in deployed.json', f"known are {', '.join(RESOURCES)}"
                )
            found[kind] = {}
            for chain_id, where in (document.object_at(kind) or {}).items():
                if not (chain_id.isascii() and chain_id.isdigit()):
                    raise document.refusal(
                        (kind, chain_id),
                        f"{shown(chain_id)} is not a valid chainId in deployed.json",
                        "give the id as digits",
                    )
                try:
                    found[kind][chain_id] = address(where)
                except ValidationError:
                    raise document.refusal(
                        (kind, chain_id),
                        f"{shown(where)} is not a valid address in deployed.json",
                        '"0x" and 40 hex digits',
                    ) from None
        return found

    def set_deployed(self, kind: str, chain_id: int, where: Address) -> None:
        """Note in ``deployed.json`` where an app, dataset or workerpool was deployed on a chain."""
        if self.has(DEPLOYED):
            self.all_deployed()

        def change(content: dict[str, Any]) -> None:
            content[kind] = _with(content.get(kind, {}), str(chain_id), address(where))

        self.update(DEPLOYED, change, create=True)

    def require_deployed(self, kind: str, chain_id: int) -> Address:
        """Return what was deployed last on a chain.

        Raises
        ------
        ConfigurationError
            When nothing was.
        """
        found = self.deployed(kind, chain_id)
        if found is None:
            raise ConfigurationError(
                f'Missing {kind}Address and no {kind} found in "deployed.json" for chain {chain_id}',
                hint=f"give the address of the {kind}, or deploy one: %iexec {kind} deploy",
            )
        return found

    def signed_order(self, kind: str, chain_id: int | str) -> dict[str, Any] | None:
        """Return the signed order of ``orders.json`` for a chain, where there is one.

        Raises
        ------
        ValidationError
            When the file is broken.
        """
        if not self.has(ORDERS):
            return None
        return self._document(ORDERS).object_at(str(chain_id), f"{kind}order")

    def save_signed(self, chain_id: int, orders: Mapping[str, Mapping[str, Any]]) -> None:
        """Put signed orders into ``orders.json``.

        Parameters
        ----------
        chain_id
            For which chain.
        orders
            Orders as JSON by kind: ``app``, ``dataset``, ``workerpool``, ``request``.
        """
        if self.has(ORDERS):
            document = self._document(ORDERS)
            for kind in orders:
                document.object_at(str(chain_id), f"{kind}order")

        def change(content: dict[str, Any]) -> None:
            there = content.get(str(chain_id), {})
            new = {f"{kind}order": dict(order) for kind, order in orders.items()}
            merged = _with(content, str(chain_id), {**there, **new})
            content.clear()
            content.update(merged)

        self.update(ORDERS, change, create=True)

    @property
    def default_chain(self) -> str | None:
        """The ``default`` of ``chain.json``, where there is one."""
        found: str | None = self._chains().content.get("default")
        return found

    @property
    def chains(self) -> tuple[str, ...]:
        """The names in ``chain.json``."""
        return tuple(self._chains().content["chains"])

    def has_chain(self, chain: str | int) -> bool:
        """Whether ``chain.json`` has a chain, by its key there, or by name or id."""
        from iexec_nb.services.project_chains import key_of

        return key_of(self._chains(), chain) is not None

    def network(
        self, chain: str | int | None = None, *, tee_framework: str | None = None, needs_host: bool = True
    ) -> Network:
        """Return a chain as ``chain.json`` has it; what the file does not say is the chain's default.

        Parameters
        ----------
        chain
            Its key in the file, or name or id of a known chain; default: the file's ``default``.
        tee_framework
            Which secret service is meant, where the file has one for each framework (SDK 8).
        needs_host
            Whether a chain without a node is an error; somebody may have the node from elsewhere, or need none.

        Raises
        ------
        ConfigurationError
            When the file is missing, has no such chain, or the chain has no node.
        ValidationError
            When the file breaks a rule: with file, line and key.
        """
        from iexec_nb.services.project_chains import framework_of, resolve

        return resolve(self._chains(), chain, framework_of(tee_framework), needs_host=needs_host)

    def tee_framework(self, chain: str | int | None = None) -> str | None:
        """Return the ``defaultTeeFramework`` of a chain in ``chain.json`` (SDK 8), where there is one.

        Parameters
        ----------
        chain
            As for `network`.

        Raises
        ------
        ConfigurationError, ValidationError
            As `network`.
        """
        from iexec_nb.services.project_chains import entry_of, framework_of

        return framework_of(entry_of(self._chains(), chain).get("defaultTeeFramework"))

    @contextmanager
    def naming(self, name: str, *keys: str | int) -> Iterator[None]:
        """Say of a rule that something in a file breaks where that stands: the error gets ``file line key``.

        Parameters
        ----------
        name
            The file.
        keys
            What leads to the object that is checked; the error's own ``argument`` is a member of it.
        """
        try:
            yield
        except ValidationError as error:
            document = self._document(name)
            member = str(error.context.pop("argument", ""))
            there = document.object_at(*map(str, keys)) or {}
            path = (*keys, member) if member in there else keys
            error.context = {"file": name, "line": document.line(path), "key": shown(dotted(path)), **error.context}
            raise

    def place(self, name: str, *keys: str | int) -> dict[str, object]:
        """Return where something stands in a file: ``file``, ``line`` and ``key``."""
        return {"file": name, "line": self._document(name).line(keys), "key": shown(dotted(keys))}

    def secrets_dir(self, kind: str) -> Path:
        """Return the folder of keys: ``.secrets/datasets`` or ``.secrets/beneficiary`` (see `make_secrets_dir`)."""
        if kind not in SECRET_KINDS:
            raise ValidationError(f"{shown(kind)!r} is no kind of keys", hint=f"give one of {', '.join(SECRET_KINDS)}")
        return self.folder / ".secrets" / kind

    @property
    def originals(self) -> Path:
        """The folder of files to encrypt."""
        return self.folder / "datasets" / "original"

    @property
    def encrypted(self) -> Path:
        """The folder of encrypted files."""
        return self.folder / "datasets" / "encrypted"

    def make_secrets_dir(self, path: Path) -> Path:
        """Make a folder of keys (mode 700, and ``.secrets`` around it too) where it is missing, and return it.

        Raises
        ------
        ConfigurationError
            When it cannot be made.
        """
        try:
            # One after the other: the mode is not that of parents which are made on the way.
            for folder in (*reversed(path.parents), path):
                if not folder.is_dir():
                    folder.mkdir(mode=0o700 if _is_of_secrets(folder, path) else 0o777, exist_ok=True)
        except OSError as error:
            raise ConfigurationError(f'"{path.name}" cannot be made: {error.strerror}') from error
        return path

    def write_secret(self, path: Path, secret: Secret) -> Path:
        """Write a key into a file of mode 600, whole or not at all, and return its path.

        Raises
        ------
        ConfigurationError
            When it cannot be written.
        """
        return project_files.write_bytes(path, secret.reveal_bytes(), mode=0o600)

    def read_secret(self, path: str | os.PathLike[str]) -> Secret:
        """Return the key in a file, without white space around it.

        Raises
        ------
        ConfigurationError
            When there is no such file.
        ValidationError
            When it is too large for a key.
        """
        where = self.folder / Path(path).expanduser()
        try:
            # A device says that it has no size, and does not end.
            with where.open("rb") as file:
                raw = Secret(file.read(MAX_SECRET_BYTES + 1)).reveal_bytes()
            if len(raw) > MAX_SECRET_BYTES:
                raise ValidationError(f"{shown(where.name)!r} is too large for a key")
            return Secret(raw.strip())
        except OSError as error:
            raise ConfigurationError(f"{shown(where.name)!r} cannot be read: {error.strerror}") from error

    def __repr__(self) -> str:
        return f"Project({str(self.folder)!r})"

    def _document(self, name: str) -> Document:
        return project_files.read(self.path(name))

    def _chains(self) -> Document:
        from iexec_nb.services.project_chains import check

        document = self._document(CHAIN)
        check(document)
        return document


def _with(content: Mapping[str, Any], number: str, value: Any) -> dict[str, Any]:
    """Return members with one more, or one replaced; a new number stands where JavaScript puts it: in order, first."""
    if number in content:
        return {key: value if key == number else one for key, one in content.items()}
    before = {key: one for key, one in content.items() if _is_index(key) and int(key) < int(number)}
    return {**before, number: value, **{key: one for key, one in content.items() if key not in before}}


def _is_index(key: str) -> bool:
    # The largest index of JavaScript's has ten digits; a longer one is text there, and may be too long for a number.
    return key.isascii() and key.isdigit() and len(key) <= 10 and str(int(key)) == key


def _is_of_secrets(folder: Path, path: Path) -> bool:
    return folder == path or folder.name == ".secrets"

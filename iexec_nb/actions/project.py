"""The noun ``project``: the folder with the files that the official CLI works with."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from iexec_nb.actions.base import Noun
from iexec_nb.commands import command, noun
from iexec_nb.errors import ConfigurationError, IExecError
from iexec_nb.protocol import templates
from iexec_nb.protocol.receipts import ProjectMade, ProjectShown
from iexec_nb.protocol.types import Secret, shown
from iexec_nb.services.project import CHAIN, DEPLOYED, IEXEC, ORDER_KINDS, ORDERS, RESOURCES, Project

_ABORTED = "Operation aborted by user."


def _raw_made(made: ProjectMade) -> dict[str, Any]:
    return {
        "walletAddress": made.walletAddress, "walletFile": made.walletFile, "configFile": made.configFile,
        "chainConfigFile": made.chainConfigFile,
    }  # fmt: skip


def _raw_shown(shown: ProjectShown) -> dict[str, Any]:
    members = {name: getattr(shown, name) for name in shown.__slots__}
    return {**members, "folder": str(shown.folder)}


@noun("project")
class ProjectActions(Noun):
    """Projects: make the files that the official CLI works with, and see what is in them."""

    @command("init --skip-wallet", raw=_raw_made, shortcut=True, local=True)
    def init(
        self,
        *,
        skip_wallet: bool = False,
        password: Secret | None = None,
        unencrypted: bool = False,
        keystoredir: str | None = None,
        sdk: str | None = None,
        force: bool = False,
    ) -> ProjectMade:
        """Make a project in the working folder: iexec.json, chain.json and a new wallet.

        Before a file that is there is replaced you are asked; with no as the answer it stays, and the rest is made.

        Parameters
        ----------
        skip_wallet
            Make no wallet.
        password
            A `Secret` that encrypts the wallet. Default: as ``wallet create``.
        unencrypted
            Write the wallet's key in the open into ``wallet.json`` of the folder.
        keystoredir
            Folder of the wallet's file: ``global``, ``local`` or a path. Default: the client's.
        sdk
            Whose templates: ``6``, ``7``, ``8`` or ``9``. Default: 9.
        force
            Replace files that are there without asking.

        Returns
        -------
        ProjectMade
            ``folder``, ``configFile`` and ``chainConfigFile`` (None for a file that stayed), ``walletAddress`` and
            ``walletFile``.

        Raises
        ------
        ConfigurationError
            When nobody can be asked, or the folder cannot be written.
        ValidationError
            When `sdk` is unknown, or a file that is there is broken: it is left as it is.

        Source
        ------
        The CLI's ``src/cli/cmd/iexec.js`` and ``src/cli/utils/templates.js``.
        """
        version = templates.version(sdk)
        project = self._client.files
        files = {IEXEC: templates.main(version), CHAIN: templates.chains(version)}
        wanted = [name for name in files if self._is_wanted(project, name, force)]
        # The wallet comes first: where nobody can type a password, nothing has been written.
        wallet = None
        if not skip_wallet:
            wallet = self._client.wallet.create(
                password=password, unencrypted=unencrypted, keystoredir=keystoredir, force=force
            )
        for name in wanted:
            project.write(name, files[name])
        return ProjectMade(
            folder=project.folder,
            configFile=IEXEC if IEXEC in wanted else None,
            chainConfigFile=CHAIN if CHAIN in wanted else None,
            walletAddress=wallet.address if wallet else None,
            walletFile=wallet.fileName if wallet else None,
        )

    @command("project show", raw=_raw_shown, local=True)
    def show(self) -> ProjectShown:
        """Return what is in the project of the working folder; files that are broken are named with line and key.

        Returns
        -------
        ProjectShown
            ``files`` (those that are there), ``chains`` and ``default`` of ``chain.json``, ``resources`` and ``orders``
            of ``iexec.json``, ``deployed`` addresses by kind and chain id, names of the ``signed`` orders by chain id,
            the names of the files ``toEncrypt`` and ``encrypted``, and ``problems``.

        Source
        ------
        The CLI's ``src/cli/utils/fs.js``.
        """
        project = self._client.files
        problems: list[str] = []
        looked = _Look(project, problems)
        return ProjectShown(
            folder=project.folder,
            files=tuple(name for name in (IEXEC, CHAIN, DEPLOYED, ORDERS, "wallet.json") if project.has(name)),
            chains=looked.chains,
            default=looked.default,
            resources=looked.resources,
            orders=looked.orders,
            deployed=looked.deployed,
            signed=looked.signed,
            toEncrypt=_files_in(project.originals),
            encrypted=_files_in(project.encrypted),
            problems=tuple(problems),
        )

    def _is_wanted(self, project: Project, name: str, force: bool) -> bool:
        if not project.has(name):
            return True
        # A file that is broken holds somebody's work: this raises, whatever the answer would be.
        project.read(name)
        path = project.path(name)
        if force:
            return True
        try:
            link = f", which is a link to {shown(os.path.realpath(path), 500)}" if path.is_symlink() else ""
            self._client.approve(f"replace {name}{link}", replaces=True)
        except ConfigurationError as error:
            if error.message == _ABORTED:
                return False
            raise
        return True


class _Look:
    """Goes through the files once, and notes what is wrong with one instead of stopping there."""

    def __init__(self, project: Project, problems: list[str]) -> None:
        self.chains: tuple[str, ...] = ()
        self.default: str | None = None
        self.resources: dict[str, dict[str, object]] = {}
        self.orders: tuple[str, ...] = ()
        self.deployed: dict[str, dict[str, str]] = {}
        self.signed: dict[str, tuple[str, ...]] = {}
        self._problems = problems
        if project.has(IEXEC):
            self._iexec(project)
        if project.has(CHAIN):
            with self._noting():
                self.chains, self.default = project.chains, project.default_chain
        if project.has(DEPLOYED):
            with self._noting():
                self.deployed = project.all_deployed()
        if project.has(ORDERS):
            self._signed(project)

    def _iexec(self, project: Project) -> None:
        with self._noting():
            content = project.read(IEXEC)
            for kind in (*RESOURCES, "category"):
                if kind in content:
                    with self._noting():
                        self.resources[kind] = project.resource(kind)
            self.orders = tuple(project.orders())

    def _signed(self, project: Project) -> None:
        with self._noting():
            for chain_id in project.read(ORDERS):
                found = [kind for kind in ORDER_KINDS if project.signed_order(kind, chain_id) is not None]
                self.signed[chain_id] = tuple(f"{kind}order" for kind in found)

    @contextmanager
    def _noting(self) -> Iterator[None]:
        try:
            yield
        except IExecError as error:
            place = ", ".join(f"{name} {error.context[name]}" for name in ("line", "key") if name in error.context)
            self._problems.append(f"{error.message} ({place})" if place else error.message)


def _files_in(folder: Path) -> tuple[str, ...]:
    return tuple(sorted(path.name for path in folder.iterdir() if path.is_file())) if folder.is_dir() else ()

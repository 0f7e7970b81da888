"""The verbs ``init`` of apps, datasets, workerpools, categories and orders: templates for ``iexec.json`` to edit.

Each noun is built on one of these classes. An entry that somebody edited is not replaced without asking, which the
official CLI does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from iexec_nb.actions.base import Noun
from iexec_nb.actions.dataset_folders import folders_of, make_folders
from iexec_nb.commands import command
from iexec_nb.protocol import templates
from iexec_nb.protocol.types import NULL_ADDRESS, Address

IEXEC = "iexec.json"


class ResourceInit(Noun):
    """What the ``init`` of every resource does."""

    def _owner(self) -> Address:
        # The CLI writes the zero address where there is no wallet; deploying says so.
        return self._client.signer.address if self._client.signer is not None else NULL_ADDRESS

    def _save_entries(self, entries: Mapping[str, Any], untouched: Mapping[str, Any], force: bool) -> None:
        """Put entries into ``iexec.json``; ask before one is replaced that is not `untouched` since it was written."""
        project = self._client.files
        there = project.read(IEXEC)
        for key, entry in entries.items():
            if isinstance(entry, dict):
                # What is no object there is a mistake of somebody, and stays.
                project.entry(key)
        edited = [key for key in entries if key in there and there[key] not in (entries[key], untouched.get(key))]
        if edited and not force:
            self._client.approve(f"replace {' and '.join(edited)} in {IEXEC}", replaces=True)
        project.update(IEXEC, lambda content: content.update(entries))


class AppInit(ResourceInit):
    """The verb ``app init``."""

    @command("app init", raw=lambda body: {"app": body})
    def init(
        self, *, tee: bool = False, tee_framework: str | None = None, sdk: str | None = None, force: bool = False
    ) -> dict[str, Any]:
        """Write the template of an app into iexec.json, to be edited and deployed.

        Parameters
        ----------
        tee
            An app for an enclave, as SDK 6 to 8 had them; SDK 9 runs every app in one.
        tee_framework
            Which enclave: ``scone``, ``gramine`` or ``tdx``; with `tee` alone ``scone``, or what ``chain.json`` says.
        sdk
            Whose template: ``6``, ``7``, ``8`` or ``9``. Default: 9, or 8 for an enclave.
        force
            Replace an entry that was edited without asking.

        Returns
        -------
        dict
            What was written: ``owner name type multiaddr checksum`` and, for an enclave, ``mrenclave``.

        Raises
        ------
        ConfigurationError
            When there is no project in the working folder, or the answer is no.
        ValidationError
            When `sdk` or `tee_framework` is unknown, or a file of the project is broken.

        Source
        ------
        The CLI's ``src/cli/utils/templates.js``.
        """
        framework = self._framework(tee, tee_framework)
        version = templates.version(8 if sdk is None and framework is not None else sdk)
        body = templates.app(self._owner(), version, framework)
        buy = {"buyConf": templates.buy_conf(version)}
        self._save_entries({**buy, "app": body}, {"buyConf": {}}, force)
        return body

    def _framework(self, tee: bool, given: str | None) -> str | None:
        from iexec_nb.services.project import CHAIN
        from iexec_nb.services.project_chains import framework_of

        if given is not None or not tee:
            return framework_of(given)
        project = self._client.files
        return (project.tee_framework() if project.has(CHAIN) else None) or "scone"


class DatasetInit(ResourceInit):
    """The verb ``dataset init``."""

    @command("dataset init --encrypted", raw=lambda body: {"dataset": body})
    def init(
        self,
        *,
        encrypted: bool = False,
        tee: bool = False,
        dataset_keystoredir: str | None = None,
        original_dataset_dir: str | None = None,
        encrypted_dataset_dir: str | None = None,
        sdk: str | None = None,
        force: bool = False,
    ) -> dict[str, Any]:
        """Write the template of a dataset into iexec.json, and make the folders for encryption if asked for.

        Parameters
        ----------
        encrypted
            Make ``datasets/original``, ``datasets/encrypted`` and ``.secrets/datasets`` too.
        tee
            The same.
        dataset_keystoredir, original_dataset_dir, encrypted_dataset_dir
            Other folders than these.
        sdk
            Whose template: ``6`` and ``7`` also write ``dapps``. Default: 9.
        force
            Replace an entry that was edited without asking.

        Returns
        -------
        dict
            What was written: ``owner name multiaddr checksum``.

        Raises
        ------
        ConfigurationError
            When there is no project in the working folder, or the answer is no.
        ValidationError
            When `sdk` is unknown, a folder is no path, or ``iexec.json`` is broken.

        Source
        ------
        The CLI's ``src/cli/utils/templates.js``.
        """
        version = templates.version(sdk)
        project = self._client.files
        folders = folders_of(project, dataset_keystoredir, original_dataset_dir, encrypted_dataset_dir)
        body = templates.dataset(self._owner())
        dapps = templates.dapps(version)
        self._save_entries({"dataset": body} if dapps is None else {"dapps": dapps, "dataset": body}, {}, force)
        if encrypted or tee:
            make_folders(project, folders)
        return body


class WorkerpoolInit(ResourceInit):
    """The verb ``workerpool init``."""

    @command("workerpool init", raw=lambda body: {"workerpool": body})
    def init(self, *, force: bool = False) -> dict[str, Any]:
        """Write the template of a workerpool into iexec.json, to be edited and deployed.

        Parameters
        ----------
        force
            Replace an entry that was edited without asking.

        Returns
        -------
        dict
            What was written: ``owner description``.

        Raises
        ------
        ConfigurationError
            When there is no project in the working folder, or the answer is no.
        ValidationError
            When ``iexec.json`` is broken.

        Source
        ------
        The CLI's ``src/cli/utils/templates.js``.
        """
        body = templates.workerpool(self._owner())
        self._save_entries({"workerpool": body}, {}, force)
        return body


class CategoryInit(ResourceInit):
    """The verb ``category init``."""

    @command("category init", raw=lambda body: {"category": body})
    def init(self, *, force: bool = False) -> dict[str, Any]:
        """Write the template of a category into iexec.json; only the owner of the hub can create one.

        Parameters
        ----------
        force
            Replace an entry that was edited without asking.

        Returns
        -------
        dict
            What was written: ``name description workClockTimeRef`` (s, as text).

        Raises
        ------
        ConfigurationError
            When there is no project in the working folder, or the answer is no.
        ValidationError
            When ``iexec.json`` is broken.

        Source
        ------
        The CLI's ``src/cli/utils/templates.js``.
        """
        body = templates.category()
        self._save_entries({"category": body}, {}, force)
        return body


class OrderInit(ResourceInit):
    """The verb ``order init``."""

    @command("order init --app --dataset", raw=lambda orders: orders)
    def init(
        self,
        *,
        app: bool = False,
        dataset: bool = False,
        workerpool: bool = False,
        request: bool = False,
        sdk: str | None = None,
        force: bool = False,
    ) -> dict[str, dict[str, Any]]:
        """Write templates of orders into iexec.json, to be edited and signed; all four unless some are named.

        The app, dataset and workerpool are those of ``deployed.json``, the requester is the client's wallet.

        Parameters
        ----------
        app, dataset, workerpool, request
            Which orders.
        sdk
            Whose template: from ``9`` on with the tags tee and tdx. Default: 9.
        force
            Replace an order that was edited without asking.

        Returns
        -------
        dict
            What was written, by name: ``apporder datasetorder workerpoolorder requestorder``.

        Raises
        ------
        ConfigurationError
            When there is no project in the working folder, or the answer is no.
        ValidationError
            When `sdk` is unknown, or a file of the project is broken.

        Source
        ------
        The CLI's ``src/cli/utils/templates.js``.
        """
        version = templates.version(sdk)
        named = {"app": app, "dataset": dataset, "workerpool": workerpool, "request": request}
        kinds = [kind for kind, wanted in named.items() if wanted] or list(named)
        orders = {kind: self._template(kind, version) for kind in kinds}
        self._save_orders(orders, force)
        return {f"{kind}order": order for kind, order in orders.items()}

    def _template(self, kind: str, version: int) -> dict[str, Any]:
        if kind == "request":
            return templates.order(kind, version, requester=self._owner(), beneficiary=self._owner())
        where = self._client.files.deployed(kind, self._client.network.chain_id)
        return templates.order(kind, version, **({kind: where} if where else {}))

    def _save_orders(self, orders: Mapping[str, dict[str, Any]], force: bool) -> None:
        project = self._client.files
        there = project.orders()
        edited = [f"{kind}order" for kind, order in orders.items() if there.get(f"{kind}order", order) != order]
        if edited and not force:
            self._client.approve(f"replace {' and '.join(edited)} in {IEXEC}", replaces=True)
        project.set_orders(orders)

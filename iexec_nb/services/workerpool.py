"""Where a workerpool's scheduler is, and what it knows about a task: state of the replicates, what the app printed.

Compass is a phone book that maps workerpool addresses to scheduler addresses. Logs are for the requester alone, who
logs in by signing a challenge.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from iexec_nb.errors import CompassCallError, WorkerpoolCallError
from iexec_nb.protocol.typed_data import Domain
from iexec_nb.protocol.types import Address, Bytes32, address, bytes32
from iexec_nb.services.http import ChallengeAuth, Http

if TYPE_CHECKING:
    from iexec_nb.services.wallet import Signer

# A scheduler's challenge is base64 of random bytes, without words around it.
_CHALLENGE = re.compile(r"[0-9A-Za-z+/=_-]{8,256}")
_URL = re.compile(r"https?://[^\s/?#@]+(?:/[!-~]*)?")


class Compass:
    """The registry of scheduler addresses of one chain.

    Parameters
    ----------
    http
        The service, with :class:`~iexec_nb.errors.CompassCallError` as its error.
    chain_id
        The chain whose workerpools are meant.
    """

    def __init__(self, http: Http, chain_id: int) -> None:
        self.http = http
        self.chain_id = chain_id

    def api_url(self, workerpool: Address) -> str | None:
        """Return the address of a workerpool's scheduler API, or None where Compass knows none.

        Raises
        ------
        CompassCallError
            Compass did not answer, or names something that is not an http or https address.

        Notes
        -----
        Endpoint ``GET /{chainId}/workerpools/{address}``.
        """
        path = f"/{self.chain_id}/workerpools/{address(workerpool, 'workerpool')}"
        try:
            url = self.http.get_json(path).get("apiUrl")
        except CompassCallError as error:
            # As in the JavaScript SDK: a refusal means "unknown", silence and server errors do not.
            if error.status is None or 300 <= error.status < 400 or error.status >= 500:
                raise
            return None
        if url is None:
            return None
        if not isinstance(url, str) or not _URL.fullmatch(url):
            self.http.fail("Compass names an address that is not http or https", workerpool=workerpool)
        return url


class WorkerpoolApi:
    """The scheduler API of one workerpool.

    Parameters
    ----------
    http
        The service, with :class:`~iexec_nb.errors.WorkerpoolCallError` as its error.
    """

    def __init__(self, http: Http) -> None:
        self.http = http

    def task(self, taskid: Bytes32) -> dict[str, Any] | None:
        """Return what the scheduler knows about a task, as it sends it, or None (``GET /tasks/{taskid}``)."""
        return self._known(f"/tasks/{bytes32(taskid, 'taskid')}")

    def logs(self, taskid: Bytes32, signer: Signer, chain_id: int) -> list[dict[str, Any]]:
        """Return what the app printed on each worker, as ``worker``, ``stdout`` and ``stderr``.

        Parameters
        ----------
        taskid
            The task.
        signer
            Its requester, who signs the scheduler's challenge.
        chain_id
            The chain that the challenge must name.

        Returns
        -------
        list
            Empty where the scheduler has no logs.

        Raises
        ------
        WorkerpoolCallError
            The scheduler failed, or refused: ``.status`` 401 for the login, 403 for somebody who is not the requester.

        Notes
        -----
        Endpoints ``GET /tasks/logs/challenge`` and ``GET /tasks/{taskid}/logs``.
        """
        path = f"/tasks/{bytes32(taskid, 'taskid')}/logs"
        domain = Domain(name="iExec Core", version="1", chainId=chain_id)
        auth = ChallengeAuth(self.http, "/tasks/logs/challenge", domain, signer, _CHALLENGE)
        body = self._known(path, auth) or {}
        rows = body.get("computeLogsList") or []
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            self.http.fail("The scheduler answered with something that is not a list of logs")
        return [
            {"worker": _text(row, "walletAddress"), "stdout": _text(row, "stdout"), "stderr": _text(row, "stderr")}
            for row in rows
        ]

    def _known(self, path: str, auth: ChallengeAuth | None = None) -> dict[str, Any] | None:
        try:
            return self.http.get_json(path, auth=auth)
        except WorkerpoolCallError as error:
            if error.status == 404:
                return None
            raise


def _text(row: dict[str, Any], key: str) -> str:
    value = row.get(key)
    return value if isinstance(value, str) else ""

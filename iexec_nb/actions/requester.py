"""The noun ``requester``: secrets that the apps of one's own runs can read."""

from __future__ import annotations

from typing import Any

from iexec_nb.actions.base import Noun
from iexec_nb.actions.secret_values import secret_value_of
from iexec_nb.commands import command, noun
from iexec_nb.protocol.receipts import Pushed, SecretStatus
from iexec_nb.protocol.secrets import check_secret_name
from iexec_nb.protocol.types import Secret


def _pushed_raw(pushed: Pushed) -> dict[str, Any]:
    return {"isPushed": pushed.isPushed, "name": pushed.name}


def _status_raw(status: SecretStatus) -> dict[str, Any]:
    return {"isSet": status.isSet, "name": status.name}


@noun("requester")
class RequesterActions(Noun):
    """Requesters: secrets for one's own runs."""

    @command("requester push-secret my-secret", js=("secrets.pushRequesterSecret",), raw=_pushed_raw)
    def push_secret(self, name: str, /, *, secret_value: Secret | None = None) -> Pushed:
        """Hand a secret to the secret service, under a name by which a run of yours can ask for it.

        It can be done once for each name. ``app.run(app, secrets={1: name})`` gives it to the app, which reads it in
        ``IEXEC_REQUESTER_SECRET_1``.

        Parameters
        ----------
        name
            1 to 64 letters, digits, hyphens and underscores.
        secret_value
            The secret, at most 4096 bytes; default: it is asked for.

        Returns
        -------
        Pushed
            ``name`` and ``isPushed``.

        Raises
        ------
        ValidationError
            When the name or the value is not acceptable.
        SecretExistsError
            When the wallet has a secret of that name.

        Source
        ------
        Endpoint ``POST /requesters/{address}/secrets/{name}`` of the SMS.
        """
        key = check_secret_name(name)
        signer = self._signer("push the secret")
        self._client.approve_secret(f"the secret {key!r}")
        self._client.sms.push_requester(key, secret_value_of(secret_value), signer)
        return Pushed(name=key, isPushed=True)

    @command(
        "requester check-secret my-secret 0x0123456789012345678901234567890123456789",
        js=("secrets.checkRequesterSecretExists",),
        raw=_status_raw,
    )
    def check_secret(self, name: str, requester: str | None = None, /) -> SecretStatus:
        """Tell whether a requester has a secret of a name.

        Parameters
        ----------
        name
            Its name.
        requester
            Whose; default: the client's wallet.

        Returns
        -------
        SecretStatus
            True where it is set; ``name`` and ``isSet``.

        Raises
        ------
        ValidationError
            When the name or the address is malformed.

        Source
        ------
        Endpoint ``HEAD /requesters/{address}/secrets/{name}`` of the SMS.
        """
        key = check_secret_name(name)
        return SecretStatus(name=key, isSet=self._client.sms.has_requester(self._who(requester), key))

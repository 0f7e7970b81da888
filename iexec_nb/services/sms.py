"""The secret management service (SMS), which gives secrets to apps inside enclaves and to nobody else.

It can be asked whether a secret exists and can be given one; it never gives one back. Most secrets can be set once and
for all, so a push is never repeated by itself: when the answer is lost, ask whether the secret exists.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from iexec_nb.errors import SecretExistsError
from iexec_nb.protocol.secrets import (
    app_challenge,
    check_secret_name,
    check_secret_value,
    requester_challenge,
    web2_challenge,
    web3_challenge,
)
from iexec_nb.protocol.types import Address, Secret, address
from iexec_nb.services.http import Http, Params, status_text

if TYPE_CHECKING:
    import httpx

    from iexec_nb.services.wallet import Signer


class Sms:
    """A secret management service.

    Parameters
    ----------
    http
        The service, with :class:`~iexec_nb.errors.SmsCallError` as its error.
    """

    def __init__(self, http: Http) -> None:
        self.http = http
        # A secret that exists exists for good; that one does not exist is asked every time.
        self._known: set[tuple[str, ...]] = set()

    def has_web3(self, resource: Address) -> bool:
        """Return whether a dataset has its encryption key (``HEAD /secrets/web3``).

        Raises
        ------
        SmsCallError
            The service does not say.
        """
        owner = address(resource, "resource")
        return self._has(("web3", owner), "/secrets/web3", {"secretAddress": owner})

    def push_web3(self, resource: Address, value: str | Secret, signer: Signer) -> None:
        """Set the encryption key of a dataset, for good (``POST /secrets/web3``).

        Parameters
        ----------
        resource
            The dataset.
        value
            At most 4096 bytes.
        signer
            Its owner.

        Raises
        ------
        SecretExistsError
            It is set already.
        SmsCallError
            `signer` is not the owner (``.status`` 401), or the service failed.
        """
        owner = address(resource, "resource")
        secret = _secret(value)
        answer = self._push(
            "POST",
            "/secrets/web3",
            {"secretAddress": owner},
            secret,
            web3_challenge(owner, secret),
            signer,
        )
        self._settled(answer, owner, signer)
        self._known.add(("web3", owner))

    def has_web2(self, owner: Address, name: str) -> bool:
        """Return whether a wallet has a named secret (``HEAD /secrets/web2``).

        Raises
        ------
        SmsCallError
            The service does not say.
        """
        who = address(owner, "owner")
        return self._has(("web2", who, name), "/secrets/web2", {"ownerAddress": who, "secretName": name})

    def push_web2(self, name: str, value: str | Secret, signer: Signer, *, force_update: bool = False) -> bool:
        """Set a named secret of the signer's wallet; return whether it replaced an older one.

        Parameters
        ----------
        name
            Such as ``iexec-result-encryption-public-key``.
        value
            At most 4096 bytes.
        signer
            The wallet that it belongs to.
        force_update
            Whether an older value may be replaced.

        Raises
        ------
        SecretExistsError
            It is set already and `force_update` is not given.
        SmsCallError
            The service failed or refused.

        Notes
        -----
        ``HEAD``, then ``POST`` or ``PUT /secrets/web2``.
        """
        owner = signer.address
        secret = _secret(value)
        update = self.has_web2(owner, name)
        if update and not force_update:
            _exists(name, owner, hint="give force_update=True to replace it")
        answer = self._push(
            "PUT" if update else "POST",
            "/secrets/web2",
            {"ownerAddress": owner, "secretName": name},
            secret,
            web2_challenge(owner, name, secret),
            signer,
        )
        if answer.status_code == 409:
            _exists(name, owner, hint="it was set a moment ago; give force_update=True to replace it")
        self._accepted(answer)
        self._known.add(("web2", owner, name))
        return update

    def has_requester(self, requester: Address, key: str) -> bool:
        """Return whether a requester has a secret (``HEAD /requesters/{address}/secrets/{key}``).

        Raises
        ------
        SmsCallError
            The service does not say.
        """
        who = address(requester, "requester")
        return self._has(("requester", who, key), f"/requesters/{who}/secrets/{check_secret_name(key)}")

    def push_requester(self, key: str, value: str | Secret, signer: Signer) -> None:
        """Set a secret that the signer's runs can read, for good (``POST /requesters/{address}/secrets/{key}``).

        Parameters
        ----------
        key
            1 to 64 characters from ``[0-9A-Za-z-_]``.
        value
            At most 4096 bytes.
        signer
            The requester.

        Raises
        ------
        SecretExistsError
            It is set already.
        SmsCallError
            The service failed or refused.
        """
        owner = signer.address
        secret = _secret(value)
        hint = "requester secrets cannot be replaced: use another name"
        if self.has_requester(owner, key):
            _exists(key, owner, hint=hint)
        answer = self._push(
            "POST",
            f"/requesters/{owner}/secrets/{key}",
            None,
            secret,
            requester_challenge(owner, key, secret),
            signer,
        )
        if answer.status_code == 409:
            _exists(key, owner, hint=hint)
        self._accepted(answer)
        self._known.add(("requester", owner, key))

    def has_app(self, app: Address) -> bool:
        """Return whether an app has its developer's secret (``HEAD /apps/{app}/secrets``).

        Raises
        ------
        SmsCallError
            The service does not say.
        """
        owner = address(app, "app")
        return self._has(("app", owner), f"/apps/{owner}/secrets")

    def push_app(self, app: Address, value: str | Secret, signer: Signer) -> None:
        """Set the developer's secret of an app, for good (``POST /apps/{app}/secrets``).

        Parameters
        ----------
        app
            The app.
        value
            At most 4096 bytes.
        signer
            Its owner.

        Raises
        ------
        SecretExistsError
            It is set already.
        SmsCallError
            `signer` is not the owner (``.status`` 401), or the service failed.
        """
        owner = address(app, "app")
        secret = _secret(value)
        answer = self._push("POST", f"/apps/{owner}/secrets", None, secret, app_challenge(owner, secret), signer)
        self._settled(answer, owner, signer)
        self._known.add(("app", owner))

    def _has(self, mark: tuple[str, ...], path: str, params: Params | None = None) -> bool:
        if mark in self._known:
            return True
        answer = self.http.request("HEAD", path, params=params)
        if answer.status_code == 404:
            return False
        self._accepted(answer)
        self._known.add(mark)
        return True

    def _push(
        self, method: str, path: str, params: Params | None, value: Secret, challenge: bytes, signer: Signer
    ) -> httpx.Response:
        headers: dict[str, str | Secret] = {
            "content-type": "text/plain",
            "authorization": Secret(signer.sign_message(challenge)),
        }
        return self.http.request(method, path, params=params, content=value, headers=headers)

    def _settled(self, answer: httpx.Response, target: Address, signer: Signer) -> None:
        if answer.status_code == 409:
            raise SecretExistsError(f"Secret already exists for {target} and can't be updated")
        if answer.status_code == 401:
            self.http.fail(
                f"Wallet {signer.address} is not allowed to set secret for {target}",
                401,
                hint="only the owner of the resource can: use the owner's wallet",
            )
        self._accepted(answer)

    def _accepted(self, answer: httpx.Response) -> None:
        status = answer.status_code
        if not answer.is_success:
            # What the service says besides the status is not shown: it could repeat the secret.
            self.http.fail(f"SMS answered with unexpected status: {status_text(status)}", status, wait=answer)


def _secret(value: str | Secret) -> Secret:
    return Secret(check_secret_value(value))


def _exists(name: str, owner: Address, *, hint: str) -> NoReturn:
    raise SecretExistsError(f'Secret "{name}" already exists for {owner}', hint=hint)

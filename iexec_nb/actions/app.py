"""The noun ``app``: deploy one, look at it, sell it, hand it on, give it a secret; `actions.app_run` runs one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from iexec_nb.actions.app_map import AppMap
from iexec_nb.actions.app_run import AppRuns
from iexec_nb.actions.base import Amount, Tags, text_of
from iexec_nb.actions.entries import deployed_raw, published_raw, required, unpublished_raw
from iexec_nb.actions.inits import AppInit
from iexec_nb.actions.secret_values import is_set_raw, nothing_raw, secret_value_of
from iexec_nb.commands import command, noun
from iexec_nb.errors import ValidationError
from iexec_nb.protocol import cid
from iexec_nb.protocol.receipts import Deployed, Transferred
from iexec_nb.protocol.resources import App, mrenclave_bytes
from iexec_nb.protocol.types import NULL_BYTES32, Address, Bytes32, Secret, address, bytes32, shown


def _raw(app: App) -> dict[str, Any]:
    shown_app = {
        "appChecksum": app.appChecksum, "appMREnclave": app.appMREnclave, "appMultiaddr": app.appMultiaddr,
        "appName": app.appName, "appType": app.appType, "owner": app.owner, "registry": app.registry,
    }  # fmt: skip
    return {"address": app.address, "app": shown_app}


@noun("app")
class AppActions(AppRuns, AppMap, AppInit):
    """Apps: deploy, show, publish, run, secrets."""

    @command(
        'app deploy --name "my app" --multiaddr docker.io/me/my-app:1.0.0',
        spends=True,
        js=("app.deployApp",),
        raw=deployed_raw,
    )
    def deploy(
        self,
        *,
        name: str | None = None,
        multiaddr: str | None = None,
        checksum: str | None = None,
        type: str | None = None,
        mrenclave: str | bytes | Mapping[str, Any] | None = None,
        owner: str | None = None,
    ) -> Deployed:
        """Deploy an app: tell the chain which container image it is, and return its address.

        Without any argument the app of ``iexec.json`` is deployed, and its address kept in ``deployed.json``.

        Parameters
        ----------
        name
            What people read about it.
        multiaddr
            The container image, such as ``docker.io/me/my-app:1.0.0``.
        checksum
            The image's SHA-256 digest, ``0x`` text; default: zeros.
        type
            ``DOCKER``, the only type there is.
        mrenclave
            Measurement of an enclave of a retired framework; empty for today's (TDX).
        owner
            Who owns it; default: the client's wallet.

        Returns
        -------
        Deployed
            ``address`` and ``txHash``.

        Raises
        ------
        ValidationError
            When an argument is malformed, or the same app is deployed already.
        ConfigurationError
            When nothing is given and there is no ``iexec.json`` with an app.

        Source
        ------
        Contract function ``createApp`` of the AppRegistry.
        """
        given = {
            "owner": owner, "name": name, "type": type, "multiaddr": multiaddr, "checksum": checksum,
            "mrenclave": mrenclave,
        }  # fmt: skip
        return self._deploy(given, type="DOCKER", checksum=NULL_BYTES32)

    @command('app predict-address --name "my app" --multiaddr docker.io/me/my-app:1.0.0', js=("app.predictAppAddress",))
    def predict_address(
        self,
        *,
        name: str | None = None,
        multiaddr: str | None = None,
        checksum: str | None = None,
        type: str | None = None,
        mrenclave: str | bytes | Mapping[str, Any] | None = None,
        owner: str | None = None,
    ) -> Address:
        """Return the address that `deploy` with the same arguments gives; nothing is sent.

        Parameters
        ----------
        name
            What people read about it.
        multiaddr
            The container image, such as ``docker.io/me/my-app:1.0.0``.
        checksum
            The image's SHA-256 digest, ``0x`` text; default: zeros.
        type
            ``DOCKER``, the only type there is.
        mrenclave
            Measurement of an enclave of a retired framework; empty for today's (TDX).
        owner
            Who owns it; default: the client's wallet.

        Raises
        ------
        ValidationError
            When an argument is malformed.

        Source
        ------
        Contract function ``predictApp`` of the AppRegistry.
        """
        given = {
            "owner": owner, "name": name, "type": type, "multiaddr": multiaddr, "checksum": checksum,
            "mrenclave": mrenclave,
        }  # fmt: skip
        return self._predict(given, type="DOCKER", checksum=NULL_BYTES32)

    def _arguments(self, body: Mapping[str, Any]) -> tuple[Any, ...]:
        kind = required(body, "type")
        if kind != "DOCKER":
            raise ValidationError(
                f"{shown(kind)} is not a valid type",
                context={"argument": "type"},
                hint='the type of an app is "DOCKER"',
            )
        return (
            address(required(body, "owner"), "owner"),
            text_of(required(body, "name"), "name"),
            kind,
            cid.multiaddr_encode(text_of(required(body, "multiaddr"), "multiaddr", "docker.io/me/my-app:1.0.0")),
            bytes.fromhex(bytes32(required(body, "checksum"), "checksum")[2:]),
            mrenclave_bytes(body.get("mrenclave", "")),
        )

    @command("app check-deployed 0x0123456789012345678901234567890123456789", js=("app.checkDeployedApp",))
    def check_deployed(self, app: str | None = None, /) -> bool:
        """Tell whether there is an app at an address.

        Parameters
        ----------
        app
            The address; default: the one in ``deployed.json``.

        Source
        ------
        Contract function ``isRegistered`` of the AppRegistry.
        """
        where = self._at(app)
        return self._chain.registered(self.kind, [where])[where]

    @command("app show 0x0123456789012345678901234567890123456789", js=("app.showApp", "app.showUserApp"), raw=_raw)
    def show(self, app: str | int | None = None, /, *, user: str | None = None) -> App:
        """Return an app as the chain knows it.

        Parameters
        ----------
        app
            Its address, or its number among those of `user`; default: the address in ``deployed.json``.
        user
            Whose, with a number; default: the client's wallet.

        Returns
        -------
        App
            ``address owner registry appName appType appMultiaddr appChecksum appMREnclave``.

        Raises
        ------
        ObjectNotFoundError
            When there is no such app.

        Source
        ------
        Contract ``App``.
        """
        return self._chain.app(self._show_at(app, user))

    @command(
        "app count --user 0x0123456789012345678901234567890123456789",
        js=("app.countUserApps",),
    )
    def count(self, *, user: str | None = None) -> int:
        """Return how many apps somebody owns.

        Parameters
        ----------
        user
            Whose; default: the client's wallet.

        Source
        ------
        Contract function ``balanceOf`` of the AppRegistry.
        """
        return self._chain.count(self.kind, self._user(user))

    @command(
        "app transfer 0x0123456789012345678901234567890123456789 --to 0x1234567890123456789012345678901234567890",
        spends=True,
        js=("app.transferApp",),
    )
    def transfer(self, app: str, /, *, to: str) -> Transferred:
        """Give an app to somebody else, for good.

        Parameters
        ----------
        app
            Its address.
        to
            Who owns it from then on.

        Returns
        -------
        Transferred
            ``address``, ``to`` and ``txHash``.

        Raises
        ------
        ValidationError
            When there is no such app, or it is not the wallet's.

        Source
        ------
        Contract function ``safeTransferFrom`` of the AppRegistry.
        """
        return self._transfer(app, to)

    @command(
        'app publish 0x0123456789012345678901234567890123456789 --price "0.1 RLC"',
        spends=True,
        raw=published_raw,
    )
    def publish(
        self,
        app: str | None = None,
        /,
        *,
        price: Amount = 0,
        volume: int | str = 1_000_000,
        tag: Tags | None = None,
        datasetrestrict: str | None = None,
        workerpoolrestrict: str | None = None,
        requesterrestrict: str | None = None,
        skip_preflight_check: bool = False,
    ) -> Bytes32:
        """Offer an app on the market: sign an order for it, publish it and return its hash.

        Parameters
        ----------
        app
            Its address; default: the one in ``deployed.json``.
        price
            Of one task, in nRLC or with a unit.
        volume
            How many tasks.
        tag
            The hardware that it needs; default: ``tee,tdx``, what today's pools offer.
        datasetrestrict
            Only with this dataset, or those of a group contract.
        workerpoolrestrict
            Only on this pool, or those of a group contract.
        requesterrestrict
            Only for this requester, or those of a group contract.
        skip_preflight_check
            Do not check whether a run of it could work.

        Returns
        -------
        str
            The order's hash.

        Raises
        ------
        ValidationError
            When an argument is malformed, the app is not the wallet's, or the preflight check fails.
        MarketCallError
            When the market refuses; its reason is in the message.

        Source
        ------
        EIP-712 under the hub's ``domain()``; endpoint ``POST /apporders`` of the market API.
        """
        return self._publish(
            app, price, volume=volume, tag=tag, datasetrestrict=datasetrestrict, workerpoolrestrict=workerpoolrestrict,
            requesterrestrict=requesterrestrict, skip_preflight_check=skip_preflight_check,
        )  # fmt: skip

    @command("app unpublish 0x0123456789012345678901234567890123456789", raw=unpublished_raw)
    def unpublish(self, app: str | None = None, /, *, all: bool = False) -> Bytes32 | tuple[Bytes32, ...]:
        """Take the order that the wallet published last for an app off the market; return its hash.

        Who has the order already can still match it until it is cancelled.

        Parameters
        ----------
        app
            Its address; default: the one in ``deployed.json``.
        all
            All open orders for it; their hashes are returned.

        Returns
        -------
        str or tuple of str

        Raises
        ------
        MarketCallError
            When the market lists none.

        Source
        ------
        Endpoint ``PUT /apporders`` of the market API.
        """
        return self._unpublish(app, all=all)

    @command(
        "app push-secret 0x0123456789012345678901234567890123456789",
        js=("app.pushAppSecret",),
        raw=nothing_raw,
    )
    def push_secret(self, app: str | None = None, /, *, secret_value: Secret | None = None) -> bool:
        """Give an app its developer's secret, which only its enclaves can read (``IEXEC_APP_DEVELOPER_SECRET``).

        It can be done once: the service refuses another secret for the same app.

        Parameters
        ----------
        app
            Its address; default: the one in ``deployed.json``.
        secret_value
            The secret, at most 4096 bytes; default: it is asked for.

        Returns
        -------
        bool
            True.

        Raises
        ------
        SecretExistsError
            When a secret was pushed before.
        SmsCallError
            When the app is not the wallet's.

        Source
        ------
        Endpoint ``POST /apps/{app}/secrets`` of the SMS.
        """
        where = self._at(app)
        signer = self._signer("push the app's secret")
        self._client.approve_secret(f"the secret of app {where}")
        self._client.sms.push_app(where, secret_value_of(secret_value), signer)
        return True

    @command(
        "app check-secret 0x0123456789012345678901234567890123456789",
        js=("app.checkAppSecretExists",),
        raw=is_set_raw,
    )
    def check_secret(self, app: str | None = None, /) -> bool:
        """Tell whether an app has its developer's secret.

        Parameters
        ----------
        app
            Its address; default: the one in ``deployed.json``.

        Source
        ------
        Endpoint ``HEAD /apps/{app}/secrets`` of the SMS.
        """
        return self._client.sms.has_app(self._at(app))

"""The noun ``app``: deploy one, look at one, run one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from iexec_nb.actions.base import Amount, Tags, text_of
from iexec_nb.actions.entries import Registered
from iexec_nb.actions.plan import Plan, Planner, Wishes
from iexec_nb.actions.run import Run
from iexec_nb.commands import command, noun
from iexec_nb.errors import ValidationError
from iexec_nb.protocol import cid
from iexec_nb.protocol.receipts import Deployed
from iexec_nb.protocol.resources import App
from iexec_nb.protocol.types import NULL_BYTES32, bytes32, shown


@noun("app")
class AppActions(Registered):
    """Apps: deploy, show, run."""

    kind = "app"

    @command('app deploy --name "my app" --multiaddr docker.io/me/my-app:1.0.0', spends=True)
    def deploy(
        self,
        *,
        name: str,
        multiaddr: str,
        checksum: str = NULL_BYTES32,
        type: str = "DOCKER",
        mrenclave: str = "",
        owner: str | None = None,
    ) -> Deployed:
        """Deploy an app: tell the chain which container image it is, and return its address.

        Parameters
        ----------
        name
            What people read about it.
        multiaddr
            The container image, such as ``docker.io/me/my-app:1.0.0``.
        checksum
            The image's SHA-256 digest, ``0x`` text.
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

        Source
        ------
        Contract function ``createApp`` of the AppRegistry.
        """
        if type != "DOCKER":
            raise ValidationError(f"{shown(type)} is not a valid type", hint='the type of an app is "DOCKER"')
        digest = bytes.fromhex(bytes32(checksum, "checksum")[2:])
        image = cid.multiaddr_encode(text_of(multiaddr, "multiaddr", "docker.io/me/my-app:1.0.0"))
        enclave = text_of(mrenclave, "mrenclave").encode()
        return self._deploy(name, owner, text_of(name, "name"), type, image, digest, enclave)

    @command("app show 0x0123456789012345678901234567890123456789")
    def show(self, app: str | int, /, *, user: str | None = None) -> App:
        """Return an app as the chain knows it.

        Parameters
        ----------
        app
            Its address, or its number among those of `user`.
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
        return self._chain.app(self._address(app, user))

    @command('app run 0x0123456789012345678901234567890123456789 --args "hello" --category 0', spends=True)
    def run(
        self,
        app: str,
        /,
        *,
        args: str | None = None,
        dataset: str | None = None,
        workerpool: str | None = None,
        category: int | str | None = None,
        tag: Tags = ("tee", "tdx"),
        trust: int | str = 0,
        input_files: Sequence[str] | None = None,
        secret: Sequence[str] | Mapping[int, str] | None = None,
        encrypt_result: bool = False,
        storage_provider: str | None = None,
        beneficiary: str | None = None,
        callback: str | None = None,
        params: str | Mapping[str, Any] | None = None,
        max_price: Amount | None = None,
        skip_preflight_check: bool = False,
        watch: bool = False,
    ) -> Run:
        """Run an app once: find the cheapest orders that fit, sign a request, match, and return a handle.

        The price is shown and asked for before anything is signed (in the sandbox nothing is asked). Orders of
        resources that the wallet owns are signed on the way, for nothing and for this requester only.

        Parameters
        ----------
        app
            The app's address.
        args
            Arguments of the app, as on a command line.
        dataset
            Address of a dataset that the app computes on.
        workerpool
            Only this pool; default: the cheapest that fits.
        category
            Size of the computation; default: the smallest for which a pool sells.
        tag
            The hardware that is needed: ``tee,tdx`` is what today's pools offer.
        trust
            How sure replicated results must be, on pools without enclaves.
        input_files
            URLs of public files that the app reads.
        secret
            Names of requester secrets by number, as a mapping or as ``1=name``.
        encrypt_result
            Encrypt the result for the beneficiary.
        storage_provider
            ``ipfs`` (default) or ``dropbox``.
        beneficiary
            Who may decrypt the result; default: the client's wallet.
        callback
            Contract that receives the result.
        params
            Further params of the request, or all of them as JSON.
        max_price
            The most that one task may cost in all, in nRLC or with a unit.
        skip_preflight_check
            Do not ask the secret service whether the run could work.
        watch
            Wait until the run is over before the handle is returned.

        Returns
        -------
        Run
            ``run.wait()`` or ``await run``; ``run.result()``; ``run.dealid``.

        Raises
        ------
        ValidationError
            When an argument is malformed, or the preflight check fails.
        OrderMismatchError
            When no order fits; for each that exists, what keeps it out.
        InsufficientFundsError
            When the account's stake does not cover the price.

        Source
        ------
        The CLI's ``iexec app run``; contract function ``matchOrders``.
        """
        plan = self.plan(
            app, args=args, dataset=dataset, workerpool=workerpool, category=category, tag=tag, trust=trust,
            input_files=input_files, secret=secret, encrypt_result=encrypt_result, storage_provider=storage_provider,
            beneficiary=beneficiary, callback=callback, params=params, max_price=max_price,
            skip_preflight_check=skip_preflight_check,
        )  # fmt: skip
        run = plan.execute()
        return run.wait() if watch else run

    def plan(self, app: str, /, **wishes: Any) -> Plan:
        """Return what `run` with the same arguments would do and cost, without signing or sending anything.

        Returns
        -------
        Plan
            ``cost`` (nRLC), the orders, and ``execute()``.

        Raises
        ------
        ValidationError, OrderMismatchError, InsufficientFundsError
            As `run`.
        """
        return Planner(self._client, Wishes.read(app, self._signer("run an app").address, **wishes)).plan()

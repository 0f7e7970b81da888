"""The noun ``workerpool``: who computes."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

from iexec_nb.actions.base import Amount, Tags, text_of
from iexec_nb.actions.entries import Registered, deployed_raw, published_raw, required, unpublished_raw
from iexec_nb.actions.inits import WorkerpoolInit
from iexec_nb.commands import command, noun
from iexec_nb.errors import ApiCallError
from iexec_nb.protocol.receipts import Deployed, Transferred
from iexec_nb.protocol.resources import Workerpool
from iexec_nb.protocol.types import Address, Bytes32, address


def _raw(pool: Workerpool) -> dict[str, Any]:
    shown = {
        "schedulerRewardRatioPolicy": pool.schedulerRewardRatioPolicy,
        "workerStakeRatioPolicy": pool.workerStakeRatioPolicy,
        "workerpoolDescription": pool.workerpoolDescription, "owner": pool.owner, "registry": pool.registry,
    }  # fmt: skip
    return {"address": pool.address, "workerpool": shown, "apiUrl": pool.apiUrl}


@noun("workerpool")
class WorkerpoolActions(Registered, WorkerpoolInit):
    """Workerpools: who computes, and under which policy."""

    kind = "workerpool"

    @command(
        'workerpool deploy --description "my pool"',
        spends=True,
        js=("workerpool.deployWorkerpool",),
        raw=deployed_raw,
    )
    def deploy(self, *, description: str | None = None, owner: str | None = None) -> Deployed:
        """Deploy a workerpool and return its address.

        Without any argument the workerpool of ``iexec.json`` is deployed, and its address kept in ``deployed.json``.

        Parameters
        ----------
        description
            What people read about it.
        owner
            Who owns it; default: the client's wallet.

        Returns
        -------
        Deployed
            ``address`` and ``txHash``.

        Raises
        ------
        ValidationError
            When an argument is malformed, or the same workerpool is deployed already.
        ConfigurationError
            When nothing is given and there is no ``iexec.json`` with a workerpool.

        Source
        ------
        Contract function ``createWorkerpool`` of the WorkerpoolRegistry.
        """
        return self._deploy({"owner": owner, "description": description})

    @command(
        'workerpool predict-address --description "my pool"',
        js=("workerpool.predictWorkerpoolAddress",),
    )
    def predict_address(self, *, description: str | None = None, owner: str | None = None) -> Address:
        """Return the address that `deploy` with the same arguments gives; nothing is sent.

        Parameters
        ----------
        description
            What people read about it.
        owner
            Who owns it; default: the client's wallet.

        Raises
        ------
        ValidationError
            When an argument is malformed.

        Source
        ------
        Contract function ``predictWorkerpool`` of the WorkerpoolRegistry.
        """
        return self._predict({"owner": owner, "description": description})

    def _arguments(self, body: Mapping[str, Any]) -> tuple[Any, ...]:
        return address(required(body, "owner"), "owner"), text_of(required(body, "description"), "description")

    @command(
        "workerpool check-deployed 0x0123456789012345678901234567890123456789",
        js=("workerpool.checkDeployedWorkerpool",),
    )
    def check_deployed(self, workerpool: str | None = None, /) -> bool:
        """Tell whether there is a workerpool at an address.

        Parameters
        ----------
        workerpool
            The address; default: the one in ``deployed.json``.

        Source
        ------
        Contract function ``isRegistered`` of the WorkerpoolRegistry.
        """
        where = self._at(workerpool)
        return self._chain.registered(self.kind, [where])[where]

    @command(
        "workerpool show 0x0123456789012345678901234567890123456789",
        js=("workerpool.showWorkerpool", "workerpool.showUserWorkerpool"),
        raw=_raw,
    )
    def show(self, workerpool: str | int | None = None, /, *, user: str | None = None) -> Workerpool:
        """Return a workerpool; its policies are percentages.

        Parameters
        ----------
        workerpool
            Its address, or its number among those of `user`; default: the address in ``deployed.json``.
        user
            Whose, with a number; default: the client's wallet.

        Returns
        -------
        Workerpool
            ``address owner registry workerpoolDescription workerStakeRatioPolicy schedulerRewardRatioPolicy`` and
            ``apiUrl``, where its scheduler answers; None where Compass does not say.

        Raises
        ------
        ObjectNotFoundError
            When there is no such workerpool.

        Source
        ------
        Contract ``Workerpool``; endpoint ``GET /{chainId}/workerpools/{address}`` of Compass.
        """
        found = self._chain.workerpool(self._show_at(workerpool, user))
        # As in the official CLI: the chain's answer is shown whether Compass answers or not.
        with suppress(ApiCallError):
            return replace(found, apiUrl=self._api_url(found.address))
        return found

    @command(
        "workerpool get-api-url 0x0123456789012345678901234567890123456789",
        js=("workerpool.getWorkerpoolApiUrl",),
        raw=lambda url: {"apiUrl": url},
    )
    def get_api_url(self, workerpool: str | None = None, /) -> str | None:
        """Return the address of a workerpool's scheduler API, or nothing where Compass knows none.

        Parameters
        ----------
        workerpool
            The pool's address; default: the one in ``deployed.json``.

        Raises
        ------
        CompassCallError
            When Compass does not answer.

        Source
        ------
        Endpoint ``GET /{chainId}/workerpools/{address}`` of Compass.
        """
        return self._api_url(self._at(workerpool))

    def _api_url(self, workerpool: Address) -> str | None:
        compass = self._client.compass
        return None if compass is None else compass.api_url(workerpool)

    @command(
        "workerpool count --user 0x0123456789012345678901234567890123456789",
        js=("workerpool.countUserWorkerpools",),
    )
    def count(self, *, user: str | None = None) -> int:
        """Return how many workerpools somebody owns.

        Parameters
        ----------
        user
            Whose; default: the client's wallet.

        Source
        ------
        Contract function ``balanceOf`` of the WorkerpoolRegistry.
        """
        return self._chain.count(self.kind, self._user(user))

    @command(
        "workerpool transfer 0x0123456789012345678901234567890123456789 "
        "--to 0x1234567890123456789012345678901234567890",
        spends=True,
        js=("workerpool.transferWorkerpool",),
    )
    def transfer(self, workerpool: str, /, *, to: str) -> Transferred:
        """Give a workerpool to somebody else, for good.

        Parameters
        ----------
        workerpool
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
            When there is no such workerpool, or it is not the wallet's.

        Source
        ------
        Contract function ``safeTransferFrom`` of the WorkerpoolRegistry.
        """
        return self._transfer(workerpool, to)

    @command(
        'workerpool publish 0x0123456789012345678901234567890123456789 --category 0 --price "0.1 RLC"',
        spends=True,
        raw=published_raw,
    )
    def publish(
        self,
        workerpool: str | None = None,
        /,
        *,
        category: int | str = 0,
        price: Amount = 0,
        volume: int | str = 1,
        tag: Tags | None = None,
        trust: int | str = 0,
        apprestrict: str | None = None,
        datasetrestrict: str | None = None,
        requesterrestrict: str | None = None,
    ) -> Bytes32:
        """Offer computations on the market: sign an order for them, publish it and return its hash.

        Parameters
        ----------
        workerpool
            Its address; default: the one in ``deployed.json``.
        category
            Size of the computations.
        price
            Of one task, in nRLC or with a unit; 30 % of it is locked from the pool's account for each task.
        volume
            How many tasks.
        tag
            The hardware that it has; default: ``tee,tdx``.
        trust
            How sure replicated results are.
        apprestrict
            Only for this app, or those of a group contract.
        datasetrestrict
            Only with this dataset, or those of a group contract.
        requesterrestrict
            Only for this requester, or those of a group contract.

        Returns
        -------
        str
            The order's hash.

        Raises
        ------
        ValidationError
            When an argument is malformed, or the workerpool is not the wallet's.
        MarketCallError
            When the market refuses; its reason is in the message.

        Source
        ------
        EIP-712 under the hub's ``domain()``; endpoint ``POST /workerpoolorders`` of the market API.
        """
        return self._publish(
            workerpool, price, category=category, volume=volume, tag=tag, trust=trust, apprestrict=apprestrict,
            datasetrestrict=datasetrestrict, requesterrestrict=requesterrestrict,
        )  # fmt: skip

    @command("workerpool unpublish 0x0123456789012345678901234567890123456789", raw=unpublished_raw)
    def unpublish(self, workerpool: str | None = None, /, *, all: bool = False) -> Bytes32 | tuple[Bytes32, ...]:
        """Take the order that the wallet published last for a workerpool off the market; return its hash.

        Who has the order already can still match it until it is cancelled.

        Parameters
        ----------
        workerpool
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
        Endpoint ``PUT /workerpoolorders`` of the market API.
        """
        return self._unpublish(workerpool, all=all)

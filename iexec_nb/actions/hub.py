"""The noun ``hub``: which chain this is, and where its contracts and services are."""

from __future__ import annotations

from typing import Any

from iexec_nb.actions.base import Noun
from iexec_nb.commands import command, noun
from iexec_nb.protocol.networks import NETWORKS, Network
from iexec_nb.protocol.receipts import NetworkInfo


def _raw(info: NetworkInfo) -> dict[str, Any]:
    return {
        "pocoVersion": info.pocoVersion,
        "host": info.host,
        "hubAddress": info.hubAddress,
        "rlcAddress": info.rlcAddress,
        "appRegistryAddress": info.appRegistryAddress,
        "datasetRegistryAddress": info.datasetRegistryAddress,
        "workerpoolRegistryAddress": info.workerpoolRegistryAddress,
    }


@noun("hub")
class HubActions(Noun):
    """The hub: the chain, its contracts and its services."""

    @command(
        "info",
        js=("network.getNetwork", "hub.getTimeoutRatio", "config.resolveChainId", "config.resolveContractsClient",
            "config.resolveSmsURL", "config.resolveIexecGatewayURL", "config.resolveIpfsGatewayURL",
            "config.resolveIpfsNodeURL", "config.resolveCompassURL", "config.resolvePocoSubgraphURL"),
        raw=_raw,
        shortcut=True,
    )  # fmt: skip
    def info(self) -> NetworkInfo:
        """Return which chain the client is on, its contracts as the hub names them, and the services it uses.

        Returns
        -------
        NetworkInfo
            ``chainId name pocoVersion host hubAddress rlcAddress appRegistryAddress datasetRegistryAddress
            workerpoolRegistryAddress isNative timeoutRatio`` and ``services``, addresses by name. A service that is
            not configured is None, and `rlcAddress` is where RLC is the chain's own coin. A task's final deadline is
            `timeoutRatio` times its category's ``workClockTimeRef`` after the deal.

        Raises
        ------
        ConfigurationError
            When the node is of another chain, or there is no iExec hub at the address.

        Source
        ------
        Contract functions ``domain token appregistry datasetregistry workerpoolregistry final_deadline_ratio``.
        """
        chain = self._chain
        return NetworkInfo(
            chainId=chain.chain_id,
            name=self._client.network.name,
            pocoVersion=chain.domain.version.partition(".")[0],
            host=self._client.url("rpc"),
            hubAddress=chain.hub_address,
            rlcAddress=None if chain.native else chain.token,
            appRegistryAddress=chain.registry("app"),
            datasetRegistryAddress=chain.registry("dataset"),
            workerpoolRegistryAddress=chain.registry("workerpool"),
            isNative=chain.native,
            timeoutRatio=chain.timeout_ratio,
            services={name: self._client.url(name) for name in ("sms", "market", "ipfs_gateway", "ipfs_node",
                                                                "compass", "poco_subgraph")},
        )  # fmt: skip

    @command("hub networks")
    def networks(self) -> tuple[Network, ...]:
        """Return every chain that an iExec SDK ever knew, the live ones first.

        Returns
        -------
        tuple of Network

        Source
        ------
        The defaults of the JavaScript SDK from version 3 to 9.
        """
        return tuple(sorted(NETWORKS, key=lambda one: not one.live))

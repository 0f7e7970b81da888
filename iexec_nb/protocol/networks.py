"""Every chain that an iExec SDK ever knew, so that a chain can be named instead of spelled out.

The live ones carry all their service addresses (the defaults of SDK 9.0.1). The retired ones are listed with the
addresses of their contracts and the last services that an SDK had for them, because deals and orders of those chains
are still found in papers and notebooks; their services may no longer answer.
"""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from typing import TypedDict

from iexec_nb.errors import ConfigurationError
from iexec_nb.protocol.types import Address, shown

DEFAULT = "arbitrum-sepolia-testnet"


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """A chain and the iExec services on it; what no SDK had a default for is ``None``.

    Parameters
    ----------
    chain_id
        The chain's id (EIP-155).
    name
        The name that the SDKs and ``chain.json`` use.
    rpc, sms, market, ipfs_gateway, ipfs_node, compass, poco_subgraph, explorer
        URLs of the JSON-RPC node, the secret management service, the market API, the IPFS gateway and upload node,
        the registry of workerpool APIs, the PoCo subgraph and the block explorer.
    hub_address
        The PoCo contract that matches orders and holds accounts.
    native
        Whether the escrow's currency is the chain's own coin (then 1 nRLC is 10**9 wei) instead of an ERC-20 token.
    live
        Whether SDK 9.0.1 still has defaults for it.
    token, appregistry, datasetregistry, workerpoolregistry
        Contracts around the hub, for information: the chain is asked for them.
    dataprotector_address, dataprotector_subgraph, dataprotector_workerpool
        DataProtector's contract, the URL of the subgraph that lists what it protects, and the workerpool that
        processes it unless another one is named.
    arweave_upload, arweave_gateway
        URLs of the API that takes small files for Arweave, and of a gateway that serves them.
    aliases
        Other names of the same chain.
    notes
        What to know before using it.
    chosen_by_file
        What the ``chain.json`` of a project changed of it: names as in that file; empty where there is none.
    """

    chain_id: int
    name: str
    rpc: str | None = None
    hub_address: Address | None = None
    sms: str | None = None
    market: str | None = None
    ipfs_gateway: str | None = None
    ipfs_node: str | None = None
    compass: str | None = None
    poco_subgraph: str | None = None
    explorer: str | None = None
    native: bool = False
    live: bool = False
    token: Address | None = None
    appregistry: Address | None = None
    datasetregistry: Address | None = None
    workerpoolregistry: Address | None = None
    dataprotector_address: Address | None = None
    dataprotector_subgraph: str | None = None
    dataprotector_workerpool: Address | None = None
    arweave_upload: str | None = None
    arweave_gateway: str | None = None
    aliases: tuple[str, ...] = ()
    notes: str | None = None
    chosen_by_file: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"Network({self.name!r}, chain_id={self.chain_id}, {'live' if self.live else 'retired'})"


class _Contracts(TypedDict):
    hub_address: Address
    token: Address | None
    appregistry: Address
    datasetregistry: Address
    workerpoolregistry: Address


def _arbitrum(hub: Address, token: Address) -> _Contracts:
    return {
        "hub_address": hub,
        "token": token,
        "appregistry": "0x9950D94fb074182ee93ff79A50Cd698C4983281F",
        "datasetregistry": "0x07Cc4E1EA30dD02796795876509A3BfC5053128D",
        "workerpoolregistry": "0xe3c13bb4A5068601c6A08041Cb50887B07B5F398",
    }


def _before_arbitrum(token: Address | None) -> _Contracts:
    """Contracts of PoCo 5 have the same addresses on every chain, the token excepted."""
    return {
        "hub_address": "0x3eca1B216A7DF1C7689aEb259fFB83ADFB894E7f",
        "token": token,
        "appregistry": "0xB1C52075b276f87b1834919167312221d50c9D16",
        "datasetregistry": "0x799DAa22654128d0C64d5b79eac9283008158730",
        "workerpoolregistry": "0xC76A18c78B7e530A165c5683CB1aB134E21938B4",
    }


_ENTERPRISE_HUB = "0x0bf375A6238359CE14987C2285B8B099eE8e8709"
_V7_MARKET = "https://v7.api.market.iex.ec"
_V7_ENTERPRISE_MARKET = "https://v7.api-enterprise.market.iex.ec"
_V7_GATEWAY = "https://v7.ipfs.iex.ec"

NETWORKS: tuple[Network, ...] = (
    Network(
        chain_id=421614,
        name="arbitrum-sepolia-testnet",
        rpc="https://sepolia-rollup.arbitrum.io/rpc",
        sms="https://sms.arbitrum-sepolia-testnet.iex.ec",
        market="https://api-market.arbitrum-sepolia-testnet.iex.ec",
        ipfs_gateway="https://ipfs-gateway.arbitrum-sepolia-testnet.iex.ec",
        ipfs_node="https://ipfs-upload.arbitrum-sepolia-testnet.iex.ec",
        compass="https://compass.arbitrum-sepolia-testnet.iex.ec",
        poco_subgraph="https://thegraph.arbitrum-sepolia-testnet.iex.ec/api/subgraphs/id/2GCj8gzLCihsiEDq8cYvC5nUgK6VfwZ6hm3Wj8A3kcxz",
        explorer="https://sepolia.arbiscan.io/",
        live=True,
        aliases=("arbitrum-sepolia",),
        notes="test network: its RLC has no value",
        dataprotector_address="0x168eAF6c33a77E3caD9db892452f51a5D91df621",
        dataprotector_subgraph="https://thegraph.arbitrum-sepolia-testnet.iex.ec/api/subgraphs/id/5YjRPLtjS6GH6bB4yY55Qg4HzwtRGQ8TaHtGf9UBWWd",
        dataprotector_workerpool="0xB967057a21dc6A66A29721d96b8Aa7454B7c383F",
        arweave_upload="https://arweave-api.iex.ec",
        arweave_gateway="https://arweave.net",
        **_arbitrum("0xB2157BF2fAb286b2A4170E3491Ac39770111Da3E", "0x9923eD3cbd90CD78b910c475f9A731A6e0b8C963"),
    ),
    Network(
        chain_id=42161,
        name="arbitrum-mainnet",
        rpc="https://arb1.arbitrum.io/rpc",
        sms="https://sms.arbitrum-mainnet.iex.ec",
        market="https://api.market.arbitrum-mainnet.iex.ec",
        ipfs_gateway="https://ipfs-gateway.arbitrum-mainnet.iex.ec",
        ipfs_node="https://ipfs-upload.arbitrum-mainnet.iex.ec",
        compass="https://compass.arbitrum-mainnet.iex.ec",
        poco_subgraph="https://thegraph.arbitrum.iex.ec/api/subgraphs/id/B1comLe9SANBLrjdnoNTJSubbeC7cY7EoNu6zD82HeKy",
        explorer="https://arbiscan.io/",
        live=True,
        aliases=("arbitrum",),
        dataprotector_address="0xF08f91F7646FDb95a4E24977b8Db91318252A667",
        dataprotector_subgraph="https://thegraph.arbitrum.iex.ec/api/subgraphs/id/Ep5zs5zVr4tDiVuQJepUu51e5eWYJpka624X4DMBxe3u",
        dataprotector_workerpool="0x2C06263943180Cc024dAFfeEe15612DB6e5fD248",
        arweave_upload="https://arweave-api.iex.ec",
        arweave_gateway="https://arweave.net",
        **_arbitrum("0x098bFCb1E50ebcA0BaA92C12eA0c3F045A1aD9f0", "0xe649e6a1F2afc63ca268C2363691ceCAF75CF47C"),
    ),
    Network(
        chain_id=134,
        name="bellecour",
        rpc="https://bellecour.iex.ec",
        sms="https://sms.iex.ec",
        market="https://api.market.v8-bellecour.iex.ec",
        ipfs_gateway="https://ipfs-gateway.v8-bellecour.iex.ec",
        ipfs_node="https://ipfs-upload.v8-bellecour.iex.ec",
        poco_subgraph="https://thegraph.iex.ec/subgraphs/name/bellecour/poco-v5",
        explorer="https://blockscout.bellecour.iex.ec",
        native=True,
        notes="iExec's sidechain until SDK 8.24; gas price 0; workerpool APIs are found through ENS, not compass",
        dataprotector_address="0x3a4Ab33F3D605e75b6D00A32A0Fa55C3628F6A59",
        dataprotector_subgraph="https://thegraph.iex.ec/subgraphs/name/bellecour/dataprotector-v2",
        **_before_arbitrum(None),
    ),
    Network(
        chain_id=1,
        name="mainnet",
        market=_V7_MARKET,
        ipfs_gateway=_V7_GATEWAY,
        sms="https://v7.sms.mainnet.iex.ec",
        notes="services until SDK 7; from 8 to 8.24 only the bridge to bellecour and ENS",
        **_before_arbitrum("0x607F4C5BB672230e8672085532f7e901544a7375"),
    ),
    Network(
        chain_id=1,
        name="enterprise",
        hub_address=_ENTERPRISE_HUB,
        market=_V7_ENTERPRISE_MARKET,
        ipfs_gateway=_V7_GATEWAY,
        sms="https://v7.sms-enterprise.mainnet.iex.ec",
        notes="the enterprise flavour (eRLC) of Ethereum mainnet, SDK 5 to 7",
    ),
    Network(
        chain_id=5,
        name="goerli",
        market=_V7_MARKET,
        ipfs_gateway=_V7_GATEWAY,
        sms="https://v7.sms.goerli.iex.ec",
        notes="SDK 4.0.1 to 7; the test network itself is shut down",
        **_before_arbitrum("0xe0d00540a3729B4fdB96f92534dA97DC7973Af8b"),
    ),
    Network(
        chain_id=5,
        name="enterprise-testnet",
        hub_address=_ENTERPRISE_HUB,
        market=_V7_ENTERPRISE_MARKET,
        ipfs_gateway=_V7_GATEWAY,
        sms="https://v7.sms-enterprise.goerli.iex.ec",
        notes="the enterprise flavour (eRLC) of goerli, SDK 5 to 7",
    ),
    Network(
        chain_id=133,
        name="viviani",
        rpc="https://viviani.iex.ec",
        market=_V7_MARKET,
        ipfs_gateway=_V7_GATEWAY,
        sms="https://v7.sms.viviani.iex.ec",
        native=True,
        notes="iExec's test sidechain, SDK 5 to 7; gas price 0",
        **_before_arbitrum(None),
    ),
    Network(
        chain_id=42,
        name="kovan",
        sms="https://kovan-sms.iex.ec",
        market="https://v4.gateway.iex.ec/",
        notes="SDK 3 and 4 (orders of the 3.0-alpha domain are not valid on PoCo 5); the test network is shut down",
        **_before_arbitrum("0xc57538846Ec405Ea25Deb00e0f9B29a432D53507"),
    ),
    Network(
        chain_id=4,
        name="rinkeby",
        notes="SDK 3; the test network itself is shut down",
        **_before_arbitrum("0xf1e6Ad3a7eF0c86c915F0feDF80eD851809bEA90"),
    ),
    Network(
        chain_id=3,
        name="ropsten",
        notes="SDK 3; the test network itself is shut down",
        **_before_arbitrum("0x7314Dc4d7794b5E7894212CA1556ae8e3De58621"),
    ),
    Network(
        chain_id=43113,
        name="fuji",
        notes="Avalanche's test network: known to the PoCo subgraph only, no SDK had defaults for it",
    ),
)


def network(name_or_id: str | int) -> Network:
    """Return the network with a name, an alias or a chain id.

    Parameters
    ----------
    name_or_id
        Such as ``"arbitrum-mainnet"``, ``42161`` or ``"42161"``. Two networks of one chain id differ by name; the id
        gives the standard flavour, as in the JavaScript SDK.

    Raises
    ------
    ConfigurationError
        When no SDK ever knew it.

    Examples
    --------
    >>> network(134)
    Network('bellecour', chain_id=134, retired)
    """
    wanted = str(name_or_id)
    for known in NETWORKS:
        if wanted in (known.name, str(known.chain_id), *known.aliases):
            return known
    names = [name for known in NETWORKS for name in (known.name, *known.aliases)]
    close = get_close_matches(wanted.lower(), names, 1)
    live = ", ".join(f"{known.name} ({known.chain_id})" for known in NETWORKS if known.live)
    raise ConfigurationError(
        f"{shown(wanted)} is not a network that iExec is known to run on",
        context={"live networks": live},
        hint=f"did you mean {close[0]!r}?"
        if close
        else "give one of them, or the chain's rpc, hub_address and services yourself",
    )

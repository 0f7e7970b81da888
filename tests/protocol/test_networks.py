"""The table of chains: complete where they live, marked where they do not."""

from __future__ import annotations

from dataclasses import fields

import pytest

from iexec_nb.errors import ConfigurationError
from iexec_nb.protocol.networks import DEFAULT, NETWORKS, network
from iexec_nb.protocol.types import address

SERVICES = ("rpc", "hub_address", "sms", "market", "ipfs_gateway", "ipfs_node", "compass", "poco_subgraph")


def test_the_live_networks_are_the_two_of_sdk_9_and_have_every_service() -> None:
    live = [known for known in NETWORKS if known.live]
    assert [(known.name, known.chain_id) for known in live] == [
        ("arbitrum-sepolia-testnet", 421614),
        ("arbitrum-mainnet", 42161),
    ]
    for known in live:
        assert all(getattr(known, service) for service in SERVICES)
        assert not known.native


def test_the_default_is_the_test_network() -> None:
    assert network(DEFAULT).chain_id == 421614


def test_the_market_hosts_differ_as_in_the_sdk() -> None:
    assert network(421614).market == "https://api-market.arbitrum-sepolia-testnet.iex.ec"
    assert network(42161).market == "https://api.market.arbitrum-mainnet.iex.ec"
    assert network(42161).hub_address == "0x098bFCb1E50ebcA0BaA92C12eA0c3F045A1aD9f0"
    assert network(421614).hub_address == "0xB2157BF2fAb286b2A4170E3491Ac39770111Da3E"


@pytest.mark.parametrize("wanted", [134, "134", "bellecour"])
def test_a_network_is_found_by_id_digits_or_name(wanted: str | int) -> None:
    found = network(wanted)
    assert (found.name, found.native, found.live) == ("bellecour", True, False)
    assert found.hub_address == "0x3eca1B216A7DF1C7689aEb259fFB83ADFB894E7f"


def test_every_chain_of_every_sdk_is_listed() -> None:
    assert {known.chain_id for known in NETWORKS} == {1, 3, 4, 5, 42, 133, 134, 421614, 42161, 43113}
    assert network(1).name == "mainnet"
    assert network("enterprise").hub_address == "0x0bf375A6238359CE14987C2285B8B099eE8e8709"


def test_names_and_aliases_are_unique_and_addresses_carry_their_checksum() -> None:
    names = [name for known in NETWORKS for name in (known.name, *known.aliases)]
    assert len(names) == len(set(names))
    for known in NETWORKS:
        for field in ("hub_address", "token", "appregistry", "datasetregistry", "workerpoolregistry"):
            value = getattr(known, field)
            assert value is None or address(value) == value
        for field in fields(known):
            value = getattr(known, field.name)
            assert not isinstance(value, str) or "://" not in value or value.startswith("https://")


def test_a_retired_network_says_that_it_is() -> None:
    assert repr(network("viviani")) == "Network('viviani', chain_id=133, retired)"
    assert network("goerli").notes


@pytest.mark.parametrize(
    ("wanted", "hint"),
    [
        ("arbitrum-sepolia-tesnet", "did you mean 'arbitrum-sepolia-testnet'?"),
        ("Bellecour", "did you mean 'bellecour'?"),
    ],
)
def test_an_unknown_name_is_answered_with_the_nearest(wanted: str, hint: str) -> None:
    with pytest.raises(ConfigurationError, match="is not a network") as caught:
        network(wanted)
    assert caught.value.hint == hint
    assert "arbitrum-mainnet (42161)" in str(caught.value)


def test_an_unknown_id_is_answered_with_what_to_give() -> None:
    with pytest.raises(ConfigurationError, match="999999") as caught:
        network(999999)
    assert "hub_address" in (caught.value.hint or "")

"""The rows of the parity table are all that the SDK has, as the programs themselves say, versions 9.0.1 and 7.2.5."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from answers import PROXY
from people import World
from sdk import HERE, Sdk, SdkClient, installed, node

import iexec_nb
from iexec_nb import IExec, PrivateKeySigner, errors
from iexec_nb.protocol.orders import DATASET_INFINITE_VOLUME

ROWS: dict[str, Any] = json.loads((HERE.parent / "parity" / "rows.json").read_text("utf-8"))
METHODS = {row["name"] for row in ROWS["methods"]}
COMMANDS = {row["name"]: row for row in ROWS["commands"]}
GROUPS = ("wallet", "account", "app", "dataset", "workerpool", "order", "orderbook", "requester", "deal", "task",
          "storage", "result", "category")  # fmt: skip
EVERYWHERE = {"--raw", "--quiet", "--help", "--version"}


@pytest.fixture(scope="module")
def versions(world: World) -> Iterator[dict[int, tuple[Sdk, SdkClient]]]:
    seven = Sdk(installed(HERE / "v7"))
    options = {**world.endpoints.js_options(), "resultProxyURL": PROXY}
    key = "0x" + "11" * 32
    yield {
        major: (one, one.client("surface", rpc=world.endpoints.rpc, key=key, options=options))
        for major, one in ((9, world.sdk), (7, seven))
    }
    seven.stop()


@pytest.mark.parametrize("major", [9, 7])
def test_every_method_of_the_library_is_a_row(versions: dict[int, tuple[Sdk, SdkClient]], major: int) -> None:
    one, client = versions[major]
    found = one.ask("methods", client=client.name)
    names = {f"{module}.{method}" for module, methods in found.items() for method in methods}
    assert len(names) > 90
    assert names - METHODS == set()


def manual(folder: Path, program: str) -> dict[str, Any]:
    """Return the commands and options that a program of the SDK says it has."""
    code = folder / "node_modules" / "iexec" / "dist"
    path = (code / "esm" if (code / "esm").is_dir() else code) / "cli" / "cmd" / f"{program}.js"
    done = subprocess.run(
        [node(), str(path)],
        env={**os.environ, "GENERATE_DOC": "1"}, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def aliases(name: str) -> set[str]:
    """Return a command's name and its other words, as the CLI writes them: ``get-ether|getETH``."""
    return set(name.split(" ")[0].split("|"))


@pytest.mark.parametrize("major", [9, 7])
def test_every_command_and_option_of_the_cli_is_a_row(versions: dict[int, tuple[Sdk, SdkClient]], major: int) -> None:
    folder = versions[major][0].folder
    groups = [*GROUPS, "ens", "registry"] if major == 7 else GROUPS
    lines = {("", command["name"]): command for command in manual(folder, "iexec")["subCommands"]}
    lines = {key: command for key, command in lines.items() if key[1] in ("init", "info")}
    for group in groups:
        for command in manual(folder, f"iexec-{group}")["subCommands"]:
            lines[group, command["name"]] = command
    unknown = []
    for (group, name), command in lines.items():
        row = next(
            (COMMANDS[f"{group} {one}".strip()] for one in aliases(name) if f"{group} {one}".strip() in COMMANDS), None
        )
        if row is None:
            unknown.append(f"{group} {name}")
            continue
        known = {option["name"] for option in row["options"]} | EVERYWHERE
        known |= {usage.split()[0] for letter in row["groups"] for usage in ROWS["groups"][letter]}
        for option in command["options"]:
            if flag := set(re.findall(r"--[a-z-]+", option["flags"].split(" <")[0])) - known:
                unknown.append(f"{group} {name} {' '.join(flag)}")
    assert len(lines) > 60
    assert unknown == []


@pytest.mark.parity(
    *(f"errors.Web3Provider{kind}" for kind in ("Error", "CallError", "SendError", "SignMessageError")),
    *(f"errors.{service}CallError" for service in ("Api", "Sms", "Market", "IpfsGateway", "Workerpool", "Compass")),
    *(f"errors.{kind}Error" for kind in ("Validation", "Configuration", "ObjectNotFound")),
)  # fmt: skip
def test_every_error_of_the_sdk_has_its_name_here(versions: dict[int, tuple[Sdk, SdkClient]]) -> None:
    one, client = versions[9]
    names = one.ask("methods", client=client.name)["errors"]
    assert len(names) == 13
    for name in names:
        assert issubclass(getattr(errors, name), errors.IExecError), name


@pytest.mark.parity("utils.NULL_ADDRESS", "utils.NULL_BYTES32", "utils.DATASET_INFINITE_VOLUME")
def test_the_constants_are_those_of_the_sdk(versions: dict[int, tuple[Sdk, SdkClient]]) -> None:
    names = ("NULL_ADDRESS", "NULL_BYTES32", "DATASET_INFINITE_VOLUME")
    found = versions[9][0].ask("constants", names=names)
    assert found["NULL_ADDRESS"] == iexec_nb.NULL_ADDRESS
    assert found["NULL_BYTES32"] == iexec_nb.NULL_BYTES32
    assert int(found["DATASET_INFINITE_VOLUME"]) == DATASET_INFINITE_VOLUME


@pytest.mark.parity("utils.getSignerFromPrivateKey", "wallet.getAddress")
def test_a_private_key_is_the_same_wallet_on_both_sides(versions: dict[int, tuple[Sdk, SdkClient]]) -> None:
    for _, client in versions.values():
        assert client("wallet", "getAddress") == PrivateKeySigner(bytes.fromhex("11" * 32)).address


@pytest.mark.parity(
    "option.hubAddress", "option.smsURL", "option.iexecGatewayURL", "option.ipfsGatewayURL", "option.ipfsNodeURL",
    "option.compassURL", "option.pocoSubgraphURL", "config.resolveChainId", "config.resolveContractsClient",
    "config.resolveSmsURL", "config.resolveIexecGatewayURL", "config.resolveIpfsGatewayURL",
    "config.resolveIpfsNodeURL", "config.resolveCompassURL", "config.resolvePocoSubgraphURL",
    "network.getNetwork", "info",
)  # fmt: skip
def test_addresses_that_are_given_are_those_that_are_used(world: World) -> None:
    subgraph = "http://127.0.0.1:1/subgraph"
    theirs = world.sdk.client(
        "addresses", rpc=world.endpoints.rpc, key="0x" + "11" * 32,
        options={**world.endpoints.js_options(), "pocoSubgraphURL": subgraph},
    )  # fmt: skip
    ours = IExec(**{**world.endpoints.options(), "poco_subgraph": subgraph})
    try:
        info = ours.hub.info()
    finally:
        ours.close()
    assert info.chainId == theirs("config", "resolveChainId")
    assert str(info.chainId) == theirs("network", "getNetwork")["chainId"]
    assert info.hubAddress == world.endpoints.hub_address
    names = {
        "sms": "SmsURL", "market": "IexecGatewayURL", "ipfs_gateway": "IpfsGatewayURL", "ipfs_node": "IpfsNodeURL",
        "compass": "CompassURL", "poco_subgraph": "PocoSubgraphURL",
    }  # fmt: skip
    assert {name: info.services[name] for name in names} == {
        name: theirs("config", f"resolve{method}") for name, method in names.items()
    }


@pytest.mark.parity("option.defaultTeeFramework")
def test_the_framework_says_which_of_several_secret_services_is_meant(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = world.endpoints.chain_json()
    nobody = "http://127.0.0.1:1"
    content["chains"]["sandbox"]["sms"] = {"scone": nobody, "gramine": world.endpoints.sms}
    (tmp_path / "chain.json").write_text(json.dumps(content), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    dataset = world.net.client().dataset.deploy(
        name="framework", multiaddr="https://framework.example/d", checksum="0x" + "11" * 32
    )
    for framework, known in (("gramine", False), ("scone", None)):
        client = IExec("sandbox", tee_framework=framework)
        try:
            if known is None:
                with pytest.raises(errors.SmsCallError):
                    client.dataset.check_secret(dataset.address)
            else:
                assert client.dataset.check_secret(dataset.address) is known
        finally:
            client.close()

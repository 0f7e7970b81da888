"""The templates of the ``init`` commands, against whole files that the official CLI of each version makes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from iexec_nb.errors import ValidationError
from iexec_nb.protocol import templates
from iexec_nb.protocol.json_text import stringify

PROJECTS = Path(__file__).resolve().parent.parent / "projects"
WALLET = "0x7bd4783FDCAD405A28052a0d1f11236A741da593"


def project(sdk: int) -> dict[str, Any]:
    """What ``init``, then ``init`` of each noun in the order of the CLI's help, put into iexec.json."""
    content = templates.main(sdk)
    content["buyConf"] = templates.buy_conf(sdk)
    content["app"] = templates.app(WALLET, sdk, "scone")
    if (dapps := templates.dapps(sdk)) is not None:
        content["dapps"] = dapps
    content["dataset"] = templates.dataset(WALLET)
    content["workerpool"] = templates.workerpool(WALLET)
    content["category"] = templates.category()
    orders = {f"{kind}order": templates.order(kind, sdk) for kind in ("app", "dataset", "workerpool")}
    orders["requestorder"] = templates.order("request", sdk, requester=WALLET, beneficiary=WALLET)
    return {**content, "order": orders}


@pytest.mark.parametrize(("sdk", "version"), [(6, "6.0.1"), (7, "7.2.5"), (8, "8.24.0")])
def test_a_whole_file_has_the_bytes_of_the_cli(sdk: int, version: str) -> None:
    assert stringify(project(sdk)) == (PROJECTS / version / "iexec.json").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("sdk", "default", "names"),
    [
        (6, "viviani", "goerli viviani mainnet bellecour enterprise enterprise-testnet"),
        (7, "viviani", "goerli viviani mainnet bellecour enterprise enterprise-testnet"),
        (8, "arbitrum-sepolia-testnet", "mainnet bellecour arbitrum-mainnet arbitrum-sepolia-testnet"),
        (9, "arbitrum-sepolia-testnet", "arbitrum-mainnet arbitrum-sepolia-testnet"),
    ],
)
def test_the_chains_are_those_of_the_version(sdk: int, default: str, names: str) -> None:
    assert templates.chains(sdk) == {"default": default, "chains": {name: {} for name in names.split()}}


def test_an_app_without_an_enclave_has_no_measurement() -> None:
    for sdk in templates.VERSIONS:
        assert list(templates.app(sdk=sdk)) == ["owner", "name", "type", "multiaddr", "checksum"]
    assert templates.app(sdk=8, framework="tdx") == templates.app(sdk=9)


def test_gramine_has_its_template_in_version_8_only() -> None:
    assert templates.app(sdk=8, framework="gramine")["mrenclave"]["framework"] == "GRAMINE"
    for sdk, framework in [(6, "gramine"), (7, "tdx"), (9, "scone")]:
        with pytest.raises(ValidationError, match=f"SDK {sdk}"):
            templates.app(sdk=sdk, framework=framework)


def test_orders_of_version_9_ask_for_the_enclaves_of_today() -> None:
    for kind in ("app", "dataset", "workerpool", "request"):
        assert templates.order(kind, 9)["tag"] == ["tee", "tdx"]
        assert templates.order(kind, 8)["tag"] == []


def test_templates_are_not_shared_between_projects() -> None:
    templates.order("request")["params"]["iexec_args"] = "mine"
    templates.main()["social"]["website"] = "mine"
    assert templates.order("request")["params"]["iexec_args"] == ""
    assert templates.main()["social"]["website"] == "?"


@pytest.mark.parametrize(("given", "sdk"), [(None, 9), ("6", 6), (7, 7), ("7.2.5", 7), ("8.24.0", 8), ("9.0.1", 9)])
def test_a_version_is_one_of_four_generations(given: Any, sdk: int) -> None:
    assert templates.version(given) == sdk


@pytest.mark.parametrize("given", ["5", "10", "", "nine", 9.0, True, [], "٩"])
def test_another_version_is_refused_with_what_there_is(given: Any) -> None:
    with pytest.raises(ValidationError) as caught:
        templates.version(given)
    assert "6, 7, 8 or 9" in str(caught.value)

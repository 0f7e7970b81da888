"""What the ``init`` commands of the official CLI put into a project, for each of its versions.

The texts are the CLI's own, so that a folder made here is one that it might have made: what an old tutorial tells to
edit is there to be edited. Versions 6, 7, 8 and 9 stand for their last releases (6.0.1, 7.2.5, 8.24.0, 9.0.1).
"""

from __future__ import annotations

from typing import Any

from iexec_nb.errors import ValidationError
from iexec_nb.protocol.types import NULL_ADDRESS, NULL_BYTES32, Address, shown

VERSIONS = (6, 7, 8, 9)
LATEST = 9

_TEXT = (
    "My iExec {} description, must be at least 150 chars long in order to pass the validation checks. Describe your "
    "application, dataset or workerpool to your users"
)
_CHAINS = {
    6: ("viviani", ("goerli", "viviani", "mainnet", "bellecour", "enterprise", "enterprise-testnet")),
    7: ("viviani", ("goerli", "viviani", "mainnet", "bellecour", "enterprise", "enterprise-testnet")),
    8: ("arbitrum-sepolia-testnet", ("mainnet", "bellecour", "arbitrum-mainnet", "arbitrum-sepolia-testnet")),
    9: ("arbitrum-sepolia-testnet", ("arbitrum-mainnet", "arbitrum-sepolia-testnet")),
}
_HELLO = (
    "hello-world", "iexechub/python-hello-world:8.0.4",
    "0xb0b664b7a6d249f81c067a9262b1763144eeb3ca63e553567f71673442ce9e84",
)  # fmt: skip
_APPS = {
    6: ("python-hello-world", "docker.io/iexechub/python-hello-world:1.0.0",
        "0xa28d8ae83ae586b4c8addd60413a8302798891411a8f87b5f0987050d0d73816"),
    7: ("python-hello-world", "iexechub/python-hello-world:7.0.5",
        "0xaea3f77f09567fa0da20b86d9b7dac3ef958b7d4751a37cfa7cd7851f57ac191"),
    8: _HELLO,
    9: _HELLO,
}  # fmt: skip
_SCONE = {
    6: ("tee-python-hello-world", "nexus.iex.ec/tee-python-hello-world:6.2.0",
        "0x15bed530c76f1f3b05b2db8d44c417128b8934899bc85804a655a01b441bfa78", "provider", "v5",
        "eca3ace86f1e8a5c47123c8fd271319e9eb25356803d36666dc620f30365c0c1"),
    7: ("tee-python-hello-world", "iexechub/python-hello-world:7.0.5-sconify-5.3.15-v8-production",
        "0x14013dea6c0c8e1bd95b549a5bdc97383f45beeecf874d9c61cd34f21159364e", "provider", "v5",
        "9be0cccb597e038e9445f4c418c8f8335257a94d7331ba01ee52c43285e38aeb"),
    8: ("hello-world-scone", "docker.io/iexechub/python-hello-world:8.0.0-sconify-5.9.1-v15-production",
        "0x15de77fd7ac448028884256b3ab376e7d4560e9ef6acf0594ea0b3c031d5d395", "framework", "v5.9",
        "2d4b9efd066d0bb058b8da79bf8551be7d244779bc41d03a12201a4004779609"),
}  # fmt: skip
_GRAMINE = (
    "hello-world-gramine", "iexechub/tee-python-hello-world:8.0.3-gramine",
    "0x8e13b1592bff2e1651225b1533282ed2e1939ce173c9f0c2c39ed02a4963401f",
)  # fmt: skip


def version(given: object) -> int:
    """Return which of the CLI's generations a version is of; None for the latest.

    Raises
    ------
    ValidationError
        When there is no such generation.
    """
    major = str(given).partition(".")[0] if isinstance(given, str | int) and not isinstance(given, bool) else ""
    if given is None:
        return LATEST
    if major in {str(one) for one in VERSIONS}:
        return int(major)
    raise ValidationError(f"{shown(given)!r} is not a version of the SDK", hint="give 6, 7, 8 or 9, or such as 7.2.5")


def main(sdk: int = LATEST) -> dict[str, Any]:
    """Return a new ``iexec.json``."""
    return {
        "description": _TEXT.format("resource" if sdk >= 8 else "ressource"),
        "license": "MIT",
        "author": "?",
        "social": {"website": "?", "github": "?"},
        "logo": "logo.png",
    }


def chains(sdk: int = LATEST) -> dict[str, Any]:
    """Return a new ``chain.json``."""
    default, names = _CHAINS[sdk]
    return {"default": default, "chains": {name: {} for name in names}}


def app(owner: Address = NULL_ADDRESS, sdk: int = LATEST, framework: str | None = None) -> dict[str, Any]:
    """Return the entry of an app; with a framework (``scone gramine tdx``) of one that runs in an enclave.

    Raises
    ------
    ValidationError
        When that version had no template for the framework.
    """
    if framework is not None and (sdk not in _SCONE or (sdk < 8 and framework != "scone")):
        raise ValidationError(
            f"SDK {sdk} has no template of an app for {shown(framework)}", hint="--sdk 8 has one for scone and gramine"
        )
    name, multiaddr, checksum = _APPS[sdk]
    enclave: dict[str, Any] = {}
    if framework == "scone":
        name, multiaddr, checksum, key, release, fingerprint = _SCONE[sdk]
        enclave = {key: "SCONE", "version": release, "entrypoint": "python /app/app.py", "heapSize": 1 << 30,
                   "fingerprint": fingerprint}  # fmt: skip
    if framework == "gramine":
        name, multiaddr, checksum = _GRAMINE
        fingerprint = "c879351b3640a21331c4d931d3e32bfbb8373b502966f9c639538666b2cf3641"
        enclave = {"framework": "GRAMINE", "version": "v0", "fingerprint": fingerprint}
    body = {"owner": owner, "name": name, "type": "DOCKER", "multiaddr": multiaddr, "checksum": checksum}
    return {**body, "mrenclave": enclave} if enclave else body


def buy_conf(sdk: int = LATEST) -> dict[str, Any]:
    """Return the ``buyConf`` that the registry asked for, as that version of the CLI writes it: empty from 8 on."""
    if sdk >= 8:
        return {}
    return {"params": {"iexec_args": ""}, "tag": NULL_BYTES32, "trust": "0", "callback": NULL_ADDRESS}


def dataset(owner: Address = NULL_ADDRESS) -> dict[str, Any]:
    """Return the entry of a dataset."""
    return {
        "owner": owner,
        "name": "my-dataset",
        "multiaddr": "/ipfs/QmW2WQi7j6c7UgJTarActp7tDNikE4B2qXtFCfLPdsgaTQ",
        "checksum": NULL_BYTES32,
    }


def dapps(sdk: int = LATEST) -> list[dict[str, Any]] | None:
    """Return the apps that fit a dataset, as the registry asked for them; None from version 8 on."""
    if sdk >= 8:
        return None
    return [
        {"name": "Recomanded-dapp-for-MyDataset", "addresses": {"5": NULL_ADDRESS}, "buyConf": buy_conf(sdk)},
    ]


def workerpool(owner: Address = NULL_ADDRESS) -> dict[str, Any]:
    """Return the entry of a workerpool."""
    return {"owner": owner, "description": "my-workerpool"}


def category() -> dict[str, Any]:
    """Return the entry of a category; ``workClockTimeRef`` is in seconds."""
    return {"name": "XXL", "description": "new hub category", "workClockTimeRef": "100"}


def order(kind: str, sdk: int = LATEST, **fields: Address) -> dict[str, Any]:
    """Return the unsigned order of a kind, with fields put in: ``app=...``, ``requester=...``."""
    return {**_order(kind, ["tee", "tdx"] if sdk >= 9 else []), **fields}


def _order(kind: str, tag: list[str]) -> dict[str, Any]:
    if kind == "request":
        return {
            "app": NULL_ADDRESS, "appmaxprice": "0", "dataset": NULL_ADDRESS, "datasetmaxprice": "0",
            "workerpool": NULL_ADDRESS, "workerpoolmaxprice": "0", "volume": "1", "category": "0", "trust": "0",
            "tag": tag, "beneficiary": NULL_ADDRESS, "callback": NULL_ADDRESS,
            "params": {"iexec_args": "", "iexec_input_files": [], "iexec_result_encryption": False},
        }  # fmt: skip
    restricts = [f"{other}restrict" for other in ("app", "dataset", "workerpool", "requester") if other != kind]
    head = {kind: NULL_ADDRESS, f"{kind}price": "0"}
    size = {"volume": "1", "category": "0", "trust": "0"} if kind == "workerpool" else {"volume": "1000000"}
    return {**head, **size, "tag": tag, **dict.fromkeys(restricts, NULL_ADDRESS)}

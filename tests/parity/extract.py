"""Write rows.json: every method and command that the official SDK has had, from two pages that list them by version.

    python tests/parity/extract.py js_api.md cli_files.md > tests/parity/rows.json

The pages are notes on the SDK's versions 5 to 9, kept outside the repository; rows.json holds the facts of them that
are needed here, so that the comparison runs without the pages. A row is a name and the versions that have it; a
command has its arguments and its options with their own versions as well.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

GROUPS = {
    "W": ("--password <password>", "--wallet-file <walletFileName>", "--wallet-address <walletAddress>",
    "--keystoredir <path>"),
    "K": ("--password <password>", "--unencrypted", "--keystoredir <path>"),
    "C": ("--chain <name>",),
    "T": ("--gas-price <amount unit...> (≤8.24)", "--confirms <blockCount> (≥6)"),
    "F": ("--tee-framework <name>",),
}  # fmt: skip
# What the page tells in sentences instead of table rows: one method a line, with its versions.
IN_SENTENCES = {
    "3.4": [
        *(f"dataset.{name} 5–9" for name in ("deployDataset", "showDataset", "showUserDataset", "countUserDatasets")),
        "dataset.predictDatasetAddress 7.2–9", "dataset.checkDeployedDataset 7.2–9", "dataset.transferDataset 8.3–9",
    ],
    "3.5": [
        *(f"workerpool.{name} 5–9" for name in ("deployWorkerpool", "showWorkerpool", "showUserWorkerpool",
        "countUserWorkerpools")),
        "workerpool.predictWorkerpoolAddress 7.2–9", "workerpool.checkDeployedWorkerpool 7.2–9",
        "workerpool.transferWorkerpool 8.3–9",
    ],
    "3.6": [f"hub.{name} 5–9" for name in ("createCategory", "showCategory", "countCategory", "getTimeoutRatio")],
    "3.10": [f"orderbook.fetch{name} 5–9" for name in ("Apporder", "Datasetorder", "Workerpoolorder",
    "Requestorder")],
    "3.11": ["secrets.checkRequesterSecretExists 7.2–9", "secrets.pushRequesterSecret 7.2–9"],
    "3.12": ["result.checkResultEncryptionKeyExists 5–9", "result.pushResultEncryptionKey 5–9"],
    "3.14": ["network.getNetwork 5–9"],
    "3.15": [
        *(f"ens.{name} 7.0–8.24" for name in ("getOwner", "resolveName", "lookupAddress", "getDefaultDomain",
        "claimName")),
        *(f"ens.{name} 7.0–8.24" for name in ("obsConfigureResolution", "configureResolution")),
        "ens.readTextRecord 7.2–8.24", "ens.setTextRecord 7.2–8.24",
    ],
    "3.16": [
        f"voucher.{name} 8.12–8.24"
        for name in ("getVoucherAddress", "authorizeRequester", "revokeRequesterAuthorization", "showUserVoucher")
    ],
    "2": [
        *(f"config.resolve{name} 7.1–9" for name in (
            "ChainId", "ContractsClient", "SmsURL", "IexecGatewayURL", "IpfsGatewayURL",
        )),
        "config.resolveIpfsNodeURL 8.22–9", "config.resolveCompassURL 8.17–9", "config.resolvePocoSubgraphURL 8.12–9",
        *(f"config.resolve{name} 7.1–8.24" for name in (
            "ResultProxyURL", "BridgeAddress", "BridgeBackAddress", "BridgedContractsClient",
            "EnsPublicResolverAddress",
        )),
        "config.resolveVoucherHubAddress 8.12–8.24", "config.resolveVoucherSubgraphURL 8.12–8.24",
        "config.resolveStandardContractsClient 7.1–8.12", "config.resolveEnterpriseContractsClient 7.1–8.12",
    ],
}  # fmt: skip


def main() -> None:
    """Read the two pages and print the rows as JSON."""
    api, cli = (Path(name).read_text("utf-8") for name in sys.argv[1:3])
    rows = {"methods": methods(api), "commands": commands(cli), "groups": GROUPS}
    print(json.dumps(rows, indent=1, ensure_ascii=False))


def methods(page: str) -> list[dict[str, str]]:
    """Return the rows of the library: methods of the modules, options, utils and errors."""
    found: dict[str, str] = {}
    for number, title, body in re.findall(r"^##+ ([0-9.]+?)\.? (.*)\n((?:(?!##).*\n?)*)", page, re.MULTILINE):
        module = re.match(r"[a-z]+", title)
        for line in IN_SENTENCES.get(number, []):
            name, _, versions = line.partition(" ")
            found[name] = versions
        for cells in _table(body):
            if number == "2":
                for name in re.split(r" [{(]", cells[0])[0].split(", "):
                    found[f"option.{name.strip()}"] = _option_versions(cells)
            elif number == "5":
                for name in re.findall(r"\b\w+\b(?=[ ,(]|$)", re.sub(r"\([^)]*\)|\*.*?\*", "", cells[0])):
                    found[f"utils.{name}"] = cells[1].split(" (")[0]
            elif number == "6":
                for name in _errors(cells[0]):
                    found[f"errors.{name}"] = cells[2]
            elif number == "3.9":
                found |= _of_orders(cells)
            elif number.startswith("3.") and module:
                for name in _names(cells[0]):
                    before = found.get(f"{module[0]}.{name}")
                    found[f"{module[0]}.{name}"] = f"{before}, {_versions(cells)}" if before else _versions(cells)
    return [{"name": name, "in": versions} for name, versions in found.items()]


def _table(body: str) -> list[list[str]]:
    """Return the rows of the tables of a section; where a table has no heading its first row counts as one of them."""
    rows = []
    for line in body.splitlines():
        if line.startswith("|") and not set(line) <= set("|- "):
            cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip("|"))]
            rows.append(cells)
    headings = {"method", "option", "util", "class", "operation", ""}
    return [cells for cells in rows if cells[0] not in headings]


def _names(cell: str) -> list[str]:
    """Return the names of the methods in a cell such as ``show(dealid)`` or ``predictAppAddress(app) / check(a)``."""
    if cell.startswith("fetchDealsBy"):
        return [f"fetchDealsBy{name}" for name in ("Apporder", "Datasetorder", "Workerpoolorder", "Requestorder")]
    if cell.startswith("obsBridge"):
        return ["obsBridgeToSidechain", "obsBridgeToMainchain"]
    bare = re.sub(r"\*.*?\*", "", re.sub(r"\((?:[^()]|\([^()]*\))*\)", "()", cell))
    return re.findall(r"[A-Za-z]+(?=\(\))", bare) or re.findall(r"^(fetch[A-Za-z]+)", bare)


def _versions(cells: list[str]) -> str:
    return cells[1].split(" (")[0] if re.match(r"[0-9.]+(–|$)", cells[1]) else "5–9"


def _of_orders(cells: list[str]) -> dict[str, str]:
    if "(" in cells[0]:
        return {f"order.{_names(cells[0])[0]}": cells[1]}
    names = [name for name in re.findall(r"\b[a-zA-Z]+orders?\b", cells[1]) if re.match(r"[a-z]+[A-Z]", name)]
    return {f"order.{name}": "5–9" for name in names}


def _option_versions(cells: list[str]) -> str:
    columns = ("5", "6", "7", "8.24", "9")
    told = [
        f"{column}" if cell == "x" else cell for column, cell in zip(columns, cells[1:6], strict=True) if cell != "–"
    ]
    return ", ".join(told)


def _errors(cell: str) -> list[str]:
    if " / " not in cell:
        return [cell]
    return ["Web3ProviderCallError", "Web3ProviderSendError", "Web3ProviderSignMessageError"]


def commands(page: str) -> list[dict[str, Any]]:
    """Return the rows of the CLI, in the order of its table."""
    section = page.partition("## 1. Commands and options")[2].partition("### 1.1")[0]
    rows = []
    for cells in _table(section):
        if not cells[0].startswith("`"):
            continue
        # Where versions differ, the arguments are those of the newest and the other words those of the oldest.
        usages = [_command(usage, cells) for usage in cells[0].split("<br>")]
        rows.append({**usages[-1], "aliases": usages[0]["aliases"]})
    return rows


def _command(usage: str, cells: list[str]) -> dict[str, Any]:
    words = re.match(r"`([^`]*)`", usage)
    assert words, usage
    line = words[1].replace("\\|", "|")
    arguments = re.findall(r"[<\[][^>\]]*[>\]]", line)
    name = line.split(" <")[0].split(" [")[0]
    noun, _, verb = name.rpartition(" ")
    first, *aliases = verb.split("|")
    groups = re.findall(r"\b[WKCTF]\b", cells[2])
    options = [_option(one.replace("\\|", "|")) for one in re.findall(r"`--[^`]*`(?: \([^)]*\))?", cells[3])]
    return {
        "name": f"{noun} {first}".strip(), "aliases": aliases, "arguments": arguments, "in": cells[1],
        "groups": groups, "options": options,
    }  # fmt: skip


def _option(text: str) -> dict[str, str]:
    usage, _, versions = text.partition("` (")
    name, _, value = usage.strip("`").partition(" ")
    return {"name": name, "value": value, "in": versions.rstrip(")")}


if __name__ == "__main__":
    main()

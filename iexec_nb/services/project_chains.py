"""What a ``chain.json`` says about a chain: the rules of the official CLI, versions 6 to 9, in one place.

The file names addresses that money is sent to, so it is checked as strictly as the CLI checks it: an unknown key is an
error, because a misspelled ``hub`` would otherwise mean another hub than the one that was written down. Which version
wrote a file is not in it; what any of them knows is accepted.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from difflib import get_close_matches
from typing import Any

from iexec_nb.errors import ConfigurationError, ValidationError
from iexec_nb.protocol.networks import NETWORKS, Network, network
from iexec_nb.protocol.tags import FRAMEWORKS
from iexec_nb.protocol.types import UINT256_MAX, address, shown
from iexec_nb.services.project_files import Document

_URL = re.compile(r"https?://[^/?#\s]+.*", re.IGNORECASE)
_SERVICES = {"host": "rpc", "hub": "hub_address", "sms": "sms", "iexecGateway": "market", "ipfsGateway": "ipfs_gateway",
             "compass": "compass", "pocoSubgraph": "poco_subgraph", "native": "native"}  # fmt: skip
_ROOT = {"default": "text", "chains": "object", "providers": "object", "allowExperimentalNetworks": "flag"}
_CHAIN = {
    "id": "id", "host": "host", "hub": "address", "sms": "sms", "ipfsGateway": "url", "iexecGateway": "url",
    "compass": "url", "pocoSubgraph": "url",
    # until 8.24
    "resultProxy": "text", "voucherSubgraph": "text", "voucherHub": "text", "ensRegistry": "text",
    "ensPublicResolver": "text", "native": "flag", "useGas": "flag", "defaultTeeFramework": "framework",
    "bridge": "object",
    # until 7
    "flavour": "flavour", "enterprise": "object",
}  # fmt: skip
_INSIDE = {"bridge": ("bridgedChainName", "contract"), "enterprise": ("enterpriseSwapChainName",),
           "sms": FRAMEWORKS, "providers": ("alchemy", "etherscan", "infura", "quorum")}  # fmt: skip
_SMS = {
    134: {"scone": "https://sms.iex.ec", "gramine": "https://sms.gramine.v8-bellecour.iex.ec"},
    421614: dict.fromkeys(("scone", "tdx"), "https://sms.arbitrum-sepolia-testnet.iex.ec"),
    42161: dict.fromkeys(("scone", "tdx"), "https://sms.arbitrum-mainnet.iex.ec"),
}
"""The secret services of SDK 8, which had one for each framework."""
_RULES = {
    "text": "text in quotes",
    "flag": "true or false",
    "object": "an object in braces: { ... }",
    "id": 'digits in quotes, such as "134"',
    "host": "a URL that begins with http, or the name of a known chain",
    "url": "a URL that begins with http:// or https://",
    "sms": "a URL, or an object with a URL for each of " + ", ".join(FRAMEWORKS),
    "address": '"0x" and 40 hex digits',
    "framework": f"one of {', '.join(FRAMEWORKS)}",
    "flavour": "one of standard, enterprise",
}


def check(document: Document) -> None:
    """Check the whole of a ``chain.json``.

    Raises
    ------
    ValidationError
        For the first thing in it that no version of the CLI takes: with file, line and key.
    """
    _check_object(document, (), document.content, _ROOT)
    if "chains" not in document.content:
        raise document.refusal((), "chains is a required field in chain.json", '"chains": { "<name>": { ... } }')
    if "providers" in document.content:
        _check_names(document, ("providers",), document.content["providers"], _INSIDE["providers"])
    for name in document.content["chains"]:
        entry = document.object_at("chains", name)
        _check_object(document, ("chains", name), entry or {}, _CHAIN)


def key_of(document: Document, chain: str | int) -> str | None:
    """Return under which key a chain stands in the file, given by that key, or by name or id of a known chain."""
    chains: dict[str, Any] = document.content["chains"]
    wanted = str(chain)
    if wanted in chains:
        return wanted
    known = _known(wanted)
    if known is not None and known.name in chains:
        return known.name
    same = [name for name, entry in chains.items() if entry.get("id") == wanted]
    return same[0] if len(same) == 1 else None


def resolve(document: Document, chain: str | int | None, framework: str | None, *, needs_host: bool = True) -> Network:
    """Return a chain of a checked file, with the known defaults for what the file does not say.

    Raises
    ------
    ConfigurationError
        When the chain is not in the file, or neither the file nor an SDK knows its id or its node.
    """
    name = _chosen(document, chain)
    entry = document.content["chains"][name]
    base = _base(document, name, entry)
    given: dict[str, Any] = {key: entry[key] for key in _SERVICES if key in entry}
    if "hub" in entry:
        given["hub"] = address(entry["hub"])
    if "host" in entry:
        given["host"] = _node(entry["host"])
    sms = _sms(document, name, entry, base.chain_id, framework)
    if sms is not None or "sms" in entry:
        given["sms"] = sms
    changed = {key: value for key, value in given.items() if value != getattr(base, _SERVICES[key])}
    if needs_host and not (changed.get("host") or base.rpc):
        raise ConfigurationError(
            f'Missing RPC host, no "host" key in "chain.json" and no default value for chain {base.chain_id}',
            context={"file": document.name, "line": document.line(("chains", name)), "key": f"chains.{shown(name)}"},
            hint=f'"{shown(name)}": {{ "host": "https://..." }}',
        )
    if not changed and name in (base.name, str(base.chain_id), *base.aliases):
        return base
    # Whoever is asked to sign is told that a file chose these addresses, and that a name is not the chain's own: the
    # name of a test network may stand over the id of a chain with real money.
    other_id = (
        [] if name in (base.name, str(base.chain_id), *base.aliases) or (changed and not _known(name)) else ["id"]
    )
    chosen = (*other_id, *changed)
    return replace(base, name=name, chosen_by_file=chosen, **{_SERVICES[key]: value for key, value in changed.items()})


def entry_of(document: Document, chain: str | int | None) -> dict[str, Any]:
    """Return what a checked file itself says about a chain.

    Raises
    ------
    ConfigurationError
        When the chain is not in the file.
    """
    entry: dict[str, Any] = document.content["chains"][_chosen(document, chain)]
    return entry


def framework_of(given: object) -> str | None:
    """Return the name of a TEE framework in lower case, or None for none.

    Raises
    ------
    ValidationError
        When it is no framework.
    """
    if given is None:
        return None
    if isinstance(given, str) and given.lower() in FRAMEWORKS:
        return given.lower()
    raise ValidationError(f"{shown(given)!r} is not a valid TEE framework", hint=f"give one of {', '.join(FRAMEWORKS)}")


def _chosen(document: Document, chain: str | int | None) -> str:
    wanted = document.content.get("default") if chain is None else chain
    if wanted is None or wanted == "":
        raise ConfigurationError(
            'Missing chain parameter. Check your "chain.json" file',
            context={"file": document.name, "key": "default"},
            hint='--chain <name>, or "default": "<name>" in chain.json',
        )
    if isinstance(wanted, bool) or not isinstance(wanted, str | int):
        raise ValidationError(f"{shown(wanted)} is not a chain", hint="give a chain as its name or id")
    if (name := key_of(document, wanted)) is not None:
        return name
    chains = list(document.content["chains"])
    close = [] if _known(str(wanted)) else get_close_matches(str(wanted), chains, 1)
    entry = "" if _known(str(wanted)) else ' "id": "...", "host": "https://...", "hub": "0x..." '
    context: dict[str, object] = {"chains there": shown(", ".join(chains), 200) or "none"}
    if chain is None:
        context = {"file": document.name, "line": document.line(("default",)), "key": "default", **context}
    raise ConfigurationError(
        f'Missing "{shown(wanted)}" chain in "chain.json"',
        context=context,
        hint=f"did you mean {close[0]!r}?"
        if close
        else f'add "{shown(wanted)}": {{{entry}}} to the chains of chain.json',
    )


def _base(document: Document, name: str, entry: Mapping[str, Any]) -> Network:
    """Return what is known about the chain of an entry without the entry."""
    named = _known(name)
    if "id" not in entry and named is None and not _fits("id", name):
        raise document.refusal(
            ("chains", name), f'Missing id of the chain "{shown(name)}" in chain.json', '"id": "<chain id>"'
        )
    chain_id = int(entry.get("id", name if named is None else named.chain_id))
    if named is not None and named.chain_id == chain_id and "flavour" not in entry:
        return named
    wants = entry.get("flavour") == "enterprise"
    same = (known for known in NETWORKS if known.chain_id == chain_id and known.name.startswith("enterprise") == wants)
    return next(same, None) or Network(chain_id=chain_id, name=name)


def _sms(document: Document, name: str, entry: Mapping[str, Any], chain_id: int, framework: str | None) -> str | None:
    """Return the secret service that an entry and a framework mean, or None for the network's own."""
    given = entry.get("sms", _SMS.get(chain_id) if framework is not None else None)
    if given is None or isinstance(given, str):
        return given
    chosen = framework or framework_of(entry.get("defaultTeeFramework")) or "scone"
    found: str | None = given.get(chosen)
    if found is None and framework is not None:
        raise ConfigurationError(
            f'Missing sms for tee framework {framework} in "chain.json" for chain {chain_id}',
            context={"file": document.name, "key": f"chains.{shown(name)}.sms"},
            hint=f"use one of {', '.join(given) or 'none'}",
        )
    # Where there is one only, that one is meant.
    return found if found is not None or len(given) != 1 else str(next(iter(given.values())))


def _node(host: str) -> str | None:
    if _URL.fullmatch(host):
        return host
    known = _known(host)
    return None if known is None else known.rpc


def _known(name: str) -> Network | None:
    try:
        return network(name)
    except ConfigurationError:
        return None


def _check_object(
    document: Document, keys: tuple[str, ...], given: Mapping[str, Any], known: Mapping[str, str]
) -> None:
    _check_names(document, keys, given, tuple(known))
    for key, value in given.items():
        if not _fits(known[key], value):
            # Addresses of nodes may hold a key of their own, so of a URL only scheme and host are shown.
            text = f" {shown(_public(value))!r}" if isinstance(value, str) else f" {shown(value)}"
            message = f"{text.strip()} is not a valid {key} in chain.json"
            if known[key] == "object":
                message = f"{key} in chain.json is not an object"
            raise document.refusal((*keys, key), message, f"give {key} as {_RULES[known[key]]}")
        if key in _INSIDE and keys and isinstance(value, dict):
            _check_inside(document, (*keys, key), value)


def _check_inside(document: Document, keys: tuple[str, ...], given: Mapping[str, Any]) -> None:
    names = _INSIDE[keys[-1]]
    _check_names(document, keys, given, names)
    for name in names:
        if name not in given and keys[-1] != "sms":
            raise document.refusal(keys, f"{keys[-1]}.{name} is a required field in chain.json", f'"{name}": "..."')
        rule = "url" if keys[-1] == "sms" else "address" if name == "contract" else "text"
        if name in given and not _fits(rule, given[name]):
            raise document.refusal(
                (*keys, name),
                f"the value of {keys[-1]}.{name} is not valid in chain.json",
                f"give it as {_RULES[rule]}",
            )


def _check_names(document: Document, keys: tuple[str, ...], given: Mapping[str, Any], names: tuple[str, ...]) -> None:
    for key in given:
        if key not in names:
            close = get_close_matches(key, names, 1, 0.5)
            raise document.refusal(
                (*keys, key),
                f'Unknown key "{shown(key)}" in chain.json',
                f"did you mean {close[0]!r}?" if close else f"known are {', '.join(names)}",
            )


def _fits(rule: str, value: Any) -> bool:
    if rule in ("flag", "object"):
        return isinstance(value, bool if rule == "flag" else dict)
    if rule == "sms" and isinstance(value, dict):
        return True
    if not isinstance(value, str):
        return False
    if rule in ("url", "sms"):
        return _URL.fullmatch(value) is not None
    if rule == "host":
        return _URL.fullmatch(value) is not None or _known(value) is not None
    if rule == "id":
        return re.fullmatch("[0-9]{1,78}", value) is not None and int(value) <= UINT256_MAX
    if rule == "address":
        return re.fullmatch("(0[xX])?[0-9a-fA-F]{40}", value) is not None
    choices = {"framework": FRAMEWORKS, "flavour": ("standard", "enterprise")}
    return rule == "text" or value.lower() in choices[rule]


def _public(url: str) -> str:
    scheme, mark, rest = url.rpartition("://")
    return scheme + mark + re.split("[/?#]", rest)[0].rpartition("@")[2]

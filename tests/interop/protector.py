"""The official DataProtector SDK as a Python object, and values in the forms in which they travel to it."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from people import Person
from sdk import HERE, Sdk, installed

FOLDER = HERE / "dataprotector"


def protector_sdk() -> Sdk:
    """Start the DataProtector SDK; the first time it is installed from the lock file."""
    return Sdk(installed(FOLDER))


def sent(value: Any) -> Any:
    """Return a value as the driver revives it: an int is a bigint there, a float a number, bytes a Uint8Array."""
    if isinstance(value, bool | str) or value is None:
        return value
    if isinstance(value, int):
        return {"$bigint": str(value)}
    if isinstance(value, float):
        return value if math.isfinite(value) else {"$number": {math.inf: "Infinity"}.get(abs(value), "NaN")}
    if isinstance(value, bytes | Path):
        raw = value if isinstance(value, bytes) else value.read_bytes()
        return {"$bytes": base64.b64encode(raw).decode()}
    if isinstance(value, Mapping):
        return {key: sent(item) for key, item in value.items()}
    return [sent(item) for item in value]


def received(value: Any) -> Any:
    """Return an answer of the driver with numbers as Python has them."""
    if isinstance(value, dict):
        if "$bigint" in value:
            return int(value["$bigint"])
        if "$number" in value:
            return float(value["$number"].replace("Infinity", "inf"))
        return {key: received(item) for key, item in value.items()}
    return [received(item) for item in value] if isinstance(value, list) else value


@dataclass(frozen=True)
class Protector:
    """One wallet's ``IExecDataProtectorCore``: ``js("grantAccess", protectedData=...)``."""

    sdk: Sdk
    name: str

    def __call__(self, method: str, /, **arguments: Any) -> Any:
        answer = self.sdk.ask("call", client=self.name, method=method, args=sent(arguments))
        return received(answer)


def protector(
    sdk: Sdk, person: Person, options: Mapping[str, str], settings: Mapping[str, str | None], rpc: str
) -> Protector:
    """Return the SDK for somebody's wallet."""
    sdk.ask(
        "client", name=person.address, rpc=rpc, key="0x" + person.key.hex(), options=dict(options),
        settings=dict(settings),
    )  # fmt: skip
    return Protector(sdk, person.address)

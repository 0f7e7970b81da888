"""Who takes part: people with a Python and a JavaScript client for the same wallet, in one served sandbox."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from typing import Any

from sdk import Sdk, SdkClient

from iexec_nb import IExec, PrivateKeySigner, Sandbox
from iexec_nb.sandbox import Endpoints


@dataclass(frozen=True)
class Person:
    """One wallet, seen from both sides."""

    key: bytes = field(repr=False)
    python: IExec
    js: SdkClient

    @property
    def address(self) -> str:
        return self.python.require_signer().address


@dataclass(frozen=True)
class World:
    """A sandbox on ports."""

    net: Sandbox
    endpoints: Endpoints
    sdk: Sdk

    def person(self, **funds: Any) -> Person:
        key = secrets.token_bytes(32)
        python = self.net.client(signer=PrivateKeySigner(key), **funds)
        name = python.require_signer().address
        js = self.sdk.client(name, rpc=self.endpoints.rpc, key="0x" + key.hex(), options=self.endpoints.js_options())
        return Person(key, python, js)

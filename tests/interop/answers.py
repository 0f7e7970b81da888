"""What each side makes of a generated input: a value in a form that can be compared, or a refusal."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from generated import Case
from sdk import Sdk, SdkClient

from iexec_nb import IExec
from iexec_nb.errors import IExecError, ValidationError
from iexec_nb.protocol import cid, orders, params, secrets, tags, types, units
from iexec_nb.protocol.typed_data import order_digest, personal_digest, sign_digest

PROXY = "https://proxy.example/"
TEE = f"0x{1:064x}"
CALLBACK = "0x" + "22" * 20


@dataclass(frozen=True)
class Answer:
    """A value, or the message of a refusal."""

    value: Any = None
    refusal: str | None = None

    def __repr__(self) -> str:
        text = f"refused: {self.refusal}" if self.refusal is not None else repr(self.value)
        return text if len(text) < 400 else text[:400] + "…"


@dataclass(frozen=True)
class Side:
    """A version of the SDK that runs, and its clients: one for the sandbox, one whose SMS only listens."""

    major: int
    sdk: Sdk
    client: SdkClient
    listening: SdkClient


@dataclass(frozen=True)
class Us:
    """Our client for the same wallet, the key of it, and what the wallet owns."""

    client: IExec
    key: bytes
    resources: Mapping[str, str]


# --- theirs ----------------------------------------------------------------------------------------------------------


def theirs(side: Side, us: Us, cases: Sequence[Case]) -> list[Answer]:
    """Return the SDK's answers, asked kind by kind; the cases stand together by kind."""
    answers = []
    for kind, group in groupby(cases, key=lambda case: case.kind):
        given = [case.given for case in group]
        answers += [
            Answer(refusal=str(one["error"])) if "error" in one else Answer(_comparable(one.get("value")))
            for one in _asked(side, us, kind, given)
        ]
    return answers


def _asked(side: Side, us: Us, kind: str, given: list[Any]) -> Any:
    ask: Callable[..., Any] = side.sdk.ask
    if kind in ("parseRLC", "parseEth", "formatRLC", "formatEth", "encodeTag", "decodeTag", "sumTags"):
        return ask("eachUtil", method=kind, argsList=[[_js(value)] for value in given])
    if kind in _SCHEMAS:
        schema, options = _SCHEMAS[kind]
        return ask("eachChecked", schema=schema, options=options, values=_js(given))
    if kind in ("params", "params checked"):
        path = "common/execution/order-helper" if side.major == 9 else "common/execution/request-helper"
        args = [[_params_options(*one, checked=kind != "params")] for one in given]
        return ask("eachInside", path=path, method="createObjParams", argsList=args)
    if kind in ("multiaddr", "multiaddr bytes"):
        text = kind == "multiaddr"
        args = [[one, {"strict": False}] if text else ["0x" + one.hex()] for one in given]
        method = "humanToMultiaddrBuffer" if text else "multiaddrHexToHuman"
        return ask("eachInside", path="common/utils/utils", method=method, argsList=args)
    if kind == "secret":
        modules = {"pushAppSecret": "app", "pushDatasetSecret": "dataset", "pushRequesterSecret": "secrets"}
        calls = [
            {"module": modules.get(method, "result"), "method": method, "args": [_js(one) for one in args]}
            for method, args in given
        ]
        return ask("sent", client=side.listening.name, calls=calls)
    return [_of_order(side, us, kind, order_kind, fields) for order_kind, fields in given]


_SCHEMAS: dict[str, tuple[str, dict[str, bool]]] = {
    "nRLC amount": ("nRlcAmountSchema", {}),
    "wei amount": ("weiAmountSchema", {}),
    "tag of an app": ("tagSchema", {}),
    "tag of a dataset": ("tagSchema", {"allowAgnosticTee": True, "ignoreLegacyTeeFramework": True}),
    "tag of a request": ("tagSchema", {"allowAgnosticTee": True}),
    "address": ("addressSchema", {}),
    "uint256": ("uint256Schema", {}),
    "bytes32": ("bytes32Schema", {}),
}


def _params_options(given: Any, tee: bool, callback: bool, *, checked: bool) -> dict[str, Any]:
    return {
        "params": _js(given),
        "tag": TEE if tee else types.NULL_BYTES32,
        "callback": CALLBACK if callback else types.NULL_ADDRESS,
        "noCast": checked,
        "resultProxyURL": PROXY,
    }


def _of_order(side: Side, us: Us, kind: str, order_kind: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    name = f"{order_kind.capitalize()}order"
    ask, client = side.sdk.ask, side.client.name

    def call(method: str, *args: Any) -> dict[str, Any]:
        (answer,) = ask("each", client=client, module="order", method=method, argsList=[list(args)])
        found: dict[str, Any] = answer
        return found

    if kind == "created order":
        return call(f"create{name}", _js(fields))
    if kind == "order hash":
        return call(f"hash{name}", _js(fields))
    body = _signable(us, order_kind, fields)
    skip = {"preflightCheck": False, "checkRequest": False}
    return call(f"sign{name}", _js(body), *([] if order_kind == "workerpool" else [skip]))


def _signable(us: Us, kind: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    return {**fields, orders.ORDERS[kind].RESOURCE: us.resources[kind]}


def _js(value: Any) -> Any:
    """Return a value as the driver wants it: what JSON has no number for goes as text."""
    if isinstance(value, float):
        return {"$number": str(value) if math.isfinite(value) else {"nan": "NaN", "inf": "Infinity"}[str(value)]}
    if type(value) is int and abs(value) > 2**53 - 1:
        return {"$big": str(value)}
    if isinstance(value, Mapping):
        return {key: _js(one) for key, one in value.items()}
    return [_js(one) for one in value] if isinstance(value, list | tuple) else value


# --- ours ------------------------------------------------------------------------------------------------------------


def ours(us: Us, case: Case) -> Answer:
    """Return our answer; anything that is raised and is not one of our errors goes through."""
    try:
        return Answer(_comparable(_OURS[case.kind](us, case.given)))
    except IExecError as error:
        return Answer(refusal=error.message)


def _tag(value: Any, *, agnostic: bool, legacy: bool) -> str:
    encoded = tags.tag(value)
    if wrong := tags.check(encoded, agnostic=agnostic, legacy=legacy):
        raise ValidationError(wrong[0])
    return encoded


def _created(us: Us, given: tuple[str, Mapping[str, Any]]) -> dict[str, Any]:
    kind, fields = given
    body: dict[str, Any] = us.client.order.create(kind, **fields).to_json()
    return {**body, "params": params.loads(body["params"])} if "params" in body else body


def _hashed(us: Us, given: tuple[str, Mapping[str, Any]]) -> str:
    kind, fields = given
    return us.client.order.hash(orders.ORDERS[kind].from_json(fields))


def _signed(us: Us, given: tuple[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return what is signed, without the random parts."""
    kind, fields = given
    return us.client.order.create(kind, **_signable(us, kind, fields)).to_json()


def agree(us: Us, case: Case, their: Answer, our: Answer) -> bool:
    """Tell whether both sides refuse, or give the same value down to the order of the keys of params."""
    if their.refusal is not None or our.refusal is not None:
        return their.refusal is not None and our.refusal is not None
    if case.kind == "signature":
        signed = orders.ORDERS[case.given[0]].from_json(their.value)
        same = sign_digest(order_digest(signed, us.client.chain.domain), us.key) == their.value["sign"]
        return bool(same and our.value == {key: their.value[key] for key in our.value})
    if case.kind == "created order" and our.value.keys() == their.value.keys():
        return all(repr(their.value[key]) == repr(our.value[key]) for key in our.value)
    return repr(their.value) == repr(our.value)


def _secret(us: Us, given: tuple[str, Sequence[Any]]) -> list[dict[str, Any]]:
    method, args = given
    me = us.resources["request"]
    if method == "pushAppSecret":
        value = args[1]
        where, challenge = f"/apps/{types.address(args[0])}/secrets", secrets.app_challenge(*args)
    elif method == "pushDatasetSecret":
        value = args[1]
        where = f"/secrets/web3?secretAddress={types.address(args[0])}"
        challenge = secrets.web3_challenge(*args)
    elif method == "pushRequesterSecret":
        value = args[1]
        where, challenge = f"/requesters/{me}/secrets/{args[0]}", secrets.requester_challenge(me, *args)
    else:
        value = secrets.result_public_key_value(args[0])
        where = f"/secrets/web2?ownerAddress={me}&secretName={secrets.RESULT_KEY_NAME}"
        challenge = secrets.web2_challenge(me, secrets.RESULT_KEY_NAME, value)
    auth = sign_digest(personal_digest(challenge), us.key)
    return [{"method": "POST", "url": where, "authorization": auth, "body": value.encode()}]


_OURS: dict[str, Callable[[Us, Any], Any]] = {
    "parseRLC": lambda us, given: str(units.parse_rlc(given)),
    "parseEth": lambda us, given: str(units.parse_eth(given)),
    "nRLC amount": lambda us, given: str(units.nrlc(given)),
    "wei amount": lambda us, given: str(units.wei(given)),
    "formatRLC": lambda us, given: units.format_rlc(given),
    "formatEth": lambda us, given: units.format_ether(given),
    "encodeTag": lambda us, given: tags.encode(given),
    "decodeTag": lambda us, given: list(tags.decode(given)),
    "sumTags": lambda us, given: tags.union(*given),
    "tag of an app": lambda us, given: _tag(given, agnostic=False, legacy=False),
    "tag of a dataset": lambda us, given: _tag(given, agnostic=True, legacy=True),
    "tag of a request": lambda us, given: _tag(given, agnostic=True, legacy=False),
    "address": lambda us, given: types.address(given),
    "uint256": lambda us, given: str(types.uint256(given)),
    "bytes32": lambda us, given: types.bytes32(given),
    "params": lambda us, given: params.create_params(given[0], tee=given[1], callback=given[2]),
    "params checked": lambda us, given: params.check_params(given[0], tee=given[1], callback=given[2]),
    "created order": _created,
    "order hash": _hashed,
    "signature": _signed,
    "secret": _secret,
    "multiaddr": lambda us, given: cid.multiaddr_encode(given),
    "multiaddr bytes": lambda us, given: cid.multiaddr_decode(given),
}


def _comparable(value: Any) -> Any:
    """Return a value in which the number 1.0 of one side and 1 of the other are the same, and key order counts."""
    if isinstance(value, Mapping):
        return {key: _comparable(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_comparable(one) for one in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value

"""The same order has the same hash and the same signature in Python and in the official SDK."""

from __future__ import annotations

import random
from typing import Any

import pytest
from people import Person, World

from iexec_nb.protocol import params
from iexec_nb.protocol.orders import ORDERS, Order
from iexec_nb.protocol.typed_data import order_digest, order_hash, sign_digest

KINDS = ("app", "dataset", "workerpool", "request")
METHODS = {kind: f"{kind.capitalize()}order" for kind in KINDS}
HUGE = (0, 1, 2**53 - 1, 2**53, 2**64 + 1, 10**30, 2**255, 2**256 - 1)
TEXTS = ("hello", "hé 日本語 🚀", 'quotes " and \\ back', "tab\tline\nfeed\u0000null", "\u2028\u2029 / </script>", "")


@pytest.fixture(scope="module")
def owner(world: World) -> Person:
    return world.person()


@pytest.fixture(scope="module")
def resources(owner: Person) -> dict[str, str]:
    python = owner.python
    return {
        "app": python.app.deploy(name="agree", multiaddr="docker.io/agree:1").address,
        "dataset": python.dataset.deploy(
            name="agree", multiaddr="https://agree.example/d", checksum="0x" + "11" * 32
        ).address,
        "workerpool": python.workerpool.deploy(description="agree").address,
        "request": owner.address,
    }


def drawn(kind: str, resource: str, draw: random.Random) -> dict[str, str]:
    """Return the fields of an order in the SDK's JSON form: huge numbers, any addresses, tags that 9.0.1 lets stand."""

    def address() -> str:
        return draw.choice(("0x" + "0" * 40, "0x" + draw.randbytes(20).hex()))

    fields: dict[str, Any] = {}
    for name in ORDERS[kind].FIELDS:
        if name == ORDERS[kind].RESOURCE:
            fields[name] = resource
        elif name == "tag":
            gpu = draw.choice((0, 1 << 8))
            fields[name] = f"0x{9 | gpu | draw.choice((0, 1 << 252)):064x}"
        elif name == "params":
            text = {"iexec_args": draw.choice(TEXTS), "iexec_result_encryption": draw.choice((True, False))}
            fields[name] = params.dumps({**text, "iexec_result_storage_provider": "ipfs"})
        elif name.endswith("price") or name in ("volume", "category", "trust"):
            fields[name] = str(draw.choice(HUGE))
        else:
            fields[name] = address()
    return fields


@pytest.mark.parametrize("kind", KINDS)
def test_orders_signed_by_the_sdk_have_the_same_hash_and_signature_in_python(
    owner: Person, resources: dict[str, str], kind: str
) -> None:
    draw = random.Random(f"js {kind}")
    orders = [drawn(kind, resources[kind], draw) for _ in range(25)]
    options = [] if kind == "workerpool" else [{"preflightCheck": False}]
    signed = owner.js.map("order", f"sign{METHODS[kind]}", [[order, *options] for order in orders])
    hashes = owner.js.map("order", f"hash{METHODS[kind]}", [[order] for order in signed])
    domain = owner.python.chain.domain
    for given, theirs, name in zip(orders, signed, hashes, strict=True):
        ours = ORDERS[kind].from_json(theirs)
        assert order_hash(ours, domain) == name
        assert sign_digest(order_digest(ours, domain), owner.key) == theirs["sign"]
        body = ours.to_json()
        # The SDK writes addresses in EIP-55 as well, so that the JSON of both sides is the same text.
        assert {key: theirs[key] for key in body} == body
        assert {key: int(given[key]) for key in given if given[key].isdigit()} == {
            key: getattr(ours, key) for key in given if given[key].isdigit()
        }


@pytest.mark.parametrize("kind", KINDS)
def test_orders_signed_by_python_have_the_same_hash_in_the_sdk(
    owner: Person, resources: dict[str, str], kind: str
) -> None:
    draw = random.Random(f"py {kind}")
    python = owner.python
    made = [python.order.create(kind, **drawn(kind, resources[kind], draw)) for _ in range(15)]
    signed: list[Order] = [python.order.sign(order, skip_preflight_check=True) for order in made]
    hashes = owner.js.map("order", f"hash{METHODS[kind]}", [[order.to_json()] for order in signed])
    assert hashes == [python.order.hash(order) for order in signed]


@pytest.mark.parametrize("kind", KINDS)
def test_the_tag_that_the_sdk_forces_is_the_default_of_python(
    owner: Person, resources: dict[str, str], kind: str
) -> None:
    fields = drawn(kind, resources[kind], random.Random(kind))
    del fields["tag"]
    ours = owner.python.order.create(kind, **fields)
    draft = owner.js("order", f"create{METHODS[kind]}", fields)
    options = [] if kind == "workerpool" else [{"preflightCheck": False}]
    theirs = owner.js("order", f"sign{METHODS[kind]}", draft, *options)
    assert int(theirs["tag"], 16) == 0b1001
    assert theirs["tag"] == ours.tag


def test_a_request_gets_the_same_params_from_both_sides(owner: Person, resources: dict[str, str]) -> None:
    cases: list[dict[str, Any]] = [
        {},
        {"iexec_args": "x"},
        {"iexec_args": "x", "iexec_result_storage_provider": "ipfs"},
        {"iexec_result_encryption": "true"},
        {"iexec_secrets": {"2": "b", "1": "a"}, "iexec_args": "hé 🚀"},
        {"iexec_input_files": ["https://a.example/1", "https://b.example/2"], "unknown": 1},
        {"iexec_args": 42},
        {"iexec_result_storage_provider": "dropbox", "iexec_args": '"'},
    ]
    overrides = [{"app": resources["app"], "category": 0, "params": case} for case in cases]
    theirs = owner.js.map("order", "createRequestorder", [[order] for order in overrides])
    signed = owner.js.map("order", "signRequestorder", [[order, {"preflightCheck": False}] for order in theirs])
    for case, order in zip(cases, signed, strict=True):
        ours = owner.python.order.create("request", app=resources["app"], category=0, params=case)
        # The text is what is signed: a difference of one space is another order.
        assert ours.to_json()["params"] == order["params"]

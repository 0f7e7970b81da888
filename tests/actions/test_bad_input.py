"""Every public verb with arguments that make no sense: a typed error that says what to do, and nothing is sent."""

from __future__ import annotations

import getpass
import inspect
import math
import warnings
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from stage import Person, person

from iexec_nb import Secret
from iexec_nb.client import IExec
from iexec_nb.commands import COMMANDS, Command
from iexec_nb.errors import IExecError
from iexec_nb.protocol.types import NULL_ADDRESS
from iexec_nb.sandbox.network import Sandbox

KEY = "0x" + "7e" * 32
ALL = sorted(COMMANDS)
WAITS = {("deal", "watch"), ("task", "watch")}
"""They are generators: nothing happens before the first update is asked for."""

NASTY: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 3, 2**53, 2**64, 2**256, -(2**255), 0.1, 1e300, math.nan, math.inf, Decimal("0.5"), 1j,
    "", " ", "0", "-1", "01", "1.5", "1e18", "0x", "0x0", "0x12", "NaN", "null", "{}", "[]", '{"a": 1', "é", "☃" * 40,
    "\ud800", "\x00", "a\nb", "\u0665", "1 RLC", "1 rlc", "1  RLC", "1 ether", "-1 RLC", "1e9 RLC", "0.0000000001 RLC",
    str(2**256), "9" * 5000, "tee", "tee,tdx", "tee,scone", "scone,gramine", "TEE", "any", "deployed", "vitalik.eth",
    NULL_ADDRESS, "0x" + "12" * 20, "0x" + "12" * 19, "0x" + "AB" * 20, "0X" + "ab" * 20, "ab" * 20, "0x" + "g1" * 20,
    "0x" + "34" * 32, "0x" + "F" * 64, "0x" + "00" * 32, "/", ".", "..", "../../etc/passwd", "~nobody/x",
    "no/such/file", "http://", "https://x.test/y", "ftp://x", "javascript:alert(1)", "%s{}{0}", "';--", b"",
    b"\x00" * 20, b"\xff" * 32,
    (), [], {}, set(), [None], ["1=a", "2=b"], ["=", "a=", "=b"], {"1": "a"}, {1: 2}, (1, "RLC"), ("1", "RLC", "x"),
    object(), int, range(3), lambda: None, Secret("hidden"), Secret(b""), Path("no-such-file"), ValueError("x"),
)  # fmt: skip


@pytest.fixture(scope="module")
def somebody(net: Sandbox, seller: IExec, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Person]:
    """A person who answers every question with no, in an empty folder with an empty home."""
    folder = tmp_path_factory.mktemp("somebody")

    def nobody(*args: Any, **kwargs: Any) -> str:
        raise EOFError

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("HOME", str(folder / "home"))
        patch.setattr(getpass, "getpass", nobody)
        patch.setattr("builtins.input", nobody)
        with person(net, store=folder / "store") as one:
            one.answer = False
            yield one


def values(parameter: inspect.Parameter, mine: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Return nasty values, and now and then one that is right but somebody else's."""
    right = [mine[parameter.name]] if parameter.name in mine else []
    return st.sampled_from([*NASTY, *right, *right, *right]) | st.text(max_size=40) | st.integers() | st.floats()


@pytest.mark.parametrize("key", [key for key in ALL if key not in WAITS], ids=" ".join)
def test_a_verb_answers_nonsense_with_a_typed_error_and_sends_nothing(
    key: tuple[str, str], somebody: Person, net: Sandbox, seller: IExec, app: str
) -> None:
    one = COMMANDS[key]
    seller_is = seller.require_signer().address
    mine = {
        "app": app, "to": seller_is, "user": seller_is, "address": app, "spender": seller_is, "requester": seller_is,
        "workerpool": net.workerpools[0], "amount": "1 RLC", "kind": "app", "price": "1 RLC", "password": Secret("p"),
        "name": "x", "multiaddr": "docker.io/x/y:1", "category": 0, "provider": "dropbox", "token": Secret("t"),
    }  # fmt: skip

    @settings(
        max_examples=40, deadline=None, derandomize=True, database=None,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(st.data())
    def check(data: st.DataObject) -> None:
        args, kwargs = drawn(data, one, mine)
        verb = getattr(getattr(somebody.client, one.attribute), one.function.__name__)
        before = somebody.node.sent
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                verb(*args, **kwargs)
            except IExecError as error:
                said = error
            else:
                said = None
        assert said is None or is_explained(said)
        assert somebody.node.sent == before

    check()


def is_explained(error: IExecError) -> bool:
    """Tell whether an error says something, in characters that can be shown, and keeps a secret."""
    text = str(error)
    return bool(error.message.strip()) and "hidden" not in text and all(c.isprintable() or c == "\n" for c in text)


def drawn(data: st.DataObject, one: Command, mine: dict[str, Any]) -> tuple[list[Any], dict[str, Any]]:
    """Return arguments for a verb: all that it needs, and some of those that it could do without."""
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    for parameter in one.parameters:
        if parameter.kind is inspect.Parameter.VAR_KEYWORD:
            continue
        if parameter.default is not inspect.Parameter.empty and data.draw(st.integers(0, 2)):
            if parameter.kind is not inspect.Parameter.KEYWORD_ONLY:
                break
            continue
        value = data.draw(values(parameter, mine))
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY:
            kwargs[parameter.name] = value
        else:
            args.append(value)
    # Where the walk stopped early, what must be named is still needed.
    for parameter in one.parameters:
        needed = parameter.kind is inspect.Parameter.KEYWORD_ONLY and parameter.default is inspect.Parameter.empty
        if needed and parameter.name not in kwargs:
            kwargs[parameter.name] = data.draw(values(parameter, mine))
    return args, kwargs


@pytest.mark.parametrize("kind", ["app", "dataset", "workerpool", "request"])
@settings(max_examples=150, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_fields_of_an_order_that_make_no_sense_are_refused(kind: str, somebody: Person, data: st.DataObject) -> None:
    fields = {
        "app": ("app", "appprice", "volume", "tag", "datasetrestrict"),
        "dataset": ("dataset", "datasetprice", "volume", "tag", "apprestrict"),
        "workerpool": ("workerpool", "workerpoolprice", "volume", "tag", "category", "trust"),
        "request": ("app", "appmaxprice", "category", "params", "tag", "beneficiary", "callback", "volume"),
    }[kind]
    chosen = {name: data.draw(st.sampled_from(NASTY)) for name in fields}
    try:
        order = somebody.client.order.create(kind, **chosen)
    except IExecError as error:
        said = error
    else:
        said = None
    if said is not None:
        assert is_explained(said)
        assert said.hint
        return
    assert all(type(getattr(order, name)) in (int, str) for name in fields)
    assert not somebody.touched

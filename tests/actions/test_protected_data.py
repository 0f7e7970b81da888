"""Protected data from a cell: made, listed, granted, revoked, and everything that keeps it from being made."""

from __future__ import annotations

import json
import stat
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pytest
from stage import NOBODY, Person, deploy_app, deploy_dataset, json_answer, person, wallet

from iexec_nb import tables
from iexec_nb.client import IExec
from iexec_nb.errors import (
    ApiCallError,
    ConfigurationError,
    DecryptionError,
    IExecError,
    IpfsGatewayCallError,
    MarketCallError,
    ObjectNotFoundError,
    OrderConsumedError,
    SmsCallError,
    SubgraphCallError,
    ValidationError,
    Web3ProviderCallError,
)
from iexec_nb.protocol.encryption import generate_dataset_key
from iexec_nb.protocol.protected_data import Blob
from iexec_nb.protocol.types import NULL_ADDRESS, Secret
from iexec_nb.sandbox.network import Sandbox

DATA: dict[str, Any] = {"email": "alice@example.com", "age": 36, "home": {"city": "Lyon"}}
SECRET_WORDS = ("alice@example.com", "Lyon")


@pytest.fixture(scope="module")
def owner(net: Sandbox) -> IExec:
    return net.client(rlc="1 RLC")


@pytest.fixture
def alice(net: Sandbox) -> Iterator[Person]:
    with person(net) as one:
        yield one


@pytest.fixture(scope="module")
def made(owner: IExec) -> Any:
    return owner.protected_data.protect(DATA, name="contact")


def registered(net: Sandbox, client: IExec) -> int:
    return client.dataset.count()


# --- protect ---------------------------------------------------------------------------------------------------------


def test_the_question_says_what_becomes_public_and_nothing_of_the_data(alice: Person) -> None:
    made = alice.client.protected_data.protect({**DATA, "x" * 100: 1}, name="contact\n\x1b[31m")
    (question,) = alice.asked
    assert "protect data as 'contact" in question
    assert "\x1b" not in question
    assert "becomes public: the name, the owner and the schema (email:string, age:i128, home.city:string, " in question
    assert "fee: at most" in question
    assert not any(word in question for word in SECRET_WORDS)
    assert alice.node.sent == 1
    assert made.owner == wallet(alice.client)
    assert made.zipFile.startswith(b"PK")


def test_the_question_shows_all_that_becomes_public(alice: Person) -> None:
    alice.answer = False
    names = {f"{'long' * 30}_{number}": number for number in range(40)}
    with pytest.raises(ConfigurationError, match="aborted"):
        alice.client.protected_data.protect(names, name="x" * 300)
    (question,) = alice.asked
    assert all(f"{name}:i128" in question for name in names)
    assert f"'{'x' * 300}'" in question


def test_a_no_leaves_nothing_anywhere_but_the_key_and_what_it_opens(alice: Person) -> None:
    alice.answer = False
    with pytest.raises(ConfigurationError, match="Operation aborted by user"):
        alice.client.protected_data.protect(DATA)
    assert not alice.touched


def test_what_is_kept_is_encrypted_and_for_the_user_alone(alice: Person) -> None:
    made = alice.client.protected_data.protect(DATA)
    for path in alice.client.store.folder.rglob("*"):
        if path.is_file():
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
            assert not any(word.encode() in path.read_bytes() for word in SECRET_WORDS)
    assert made.encryptionKey.reveal() not in f"{made!r} {made} {made.to_json()}"
    kept = alice.client.store.dataset_key(alice.client.dataset.show(made.address).datasetChecksum)
    assert kept == made.encryptionKey


def test_the_record_has_what_the_chain_and_the_subgraph_say(owner: IExec, made: Any) -> None:
    shown = owner.dataset.show(made.address)
    assert (shown.owner, shown.datasetName, shown.datasetMultiaddr) == (wallet(owner), "contact", made.multiaddr)
    listed = owner.protected_data.list(made.address)
    assert list(listed.columns) == list(tables.PROTECTED_DATA.dtypes)
    row = listed.iloc[0]
    assert (row["name"], row["schema"], row["creationTimestamp"]) == (made.name, made.schema, made.creationTimestamp)
    assert made.creationTimestamp.tzinfo is UTC
    assert owner.dataset.check_secret(made.address)


def test_tables_files_and_numbers_of_numpy_are_protected_and_open_again(owner: IExec, tmp_path: Path) -> None:
    file = tmp_path / "scan.pdf"
    file.write_bytes(b"%PDF-1.7 ...")
    frame = pd.DataFrame({"city": ["Lyon", "Lille"], "people": [522_000, 236_000]})
    one = owner.protected_data.protect(
        {
            "scan": file, "cities": frame, "count": np.int64(7), "ratio": np.float32(0.5), "flag": np.True_,
            "raw": memoryview(b"\0\1"), "blob": Blob(b"GIF89a", "image/gif"), "day": "2026-01-31",
        }
    )  # fmt: skip
    assert one.schema == {
        "scan": "application/pdf", "cities": "application/octet-stream", "count": "i128", "ratio": "f64",
        "flag": "bool", "raw": "application/octet-stream", "blob": "image/gif", "day": "string",
    }  # fmt: skip
    opened = owner.protected_data.open(one)
    assert opened["cities"] == b"city,people\nLyon,522000\nLille,236000\n"
    assert (opened["scan"], opened["count"], opened["ratio"], opened["flag"]) == (b"%PDF-1.7 ...", 7, 0.5, True)
    assert owner.protected_data.protect(frame).schema == {"table": "application/octet-stream"}
    assert owner.protected_data.protect(str(file)).schema == {"file": "application/pdf"}
    assert owner.protected_data.protect(file).schema == {"file": "application/pdf"}


@pytest.mark.parametrize(
    "data",
    [
        None, {}, [], 3, b"bytes", "/no/such/file", {"a": None}, {"a": [1]}, {"a": np.arange(3)}, {"a b": 1},
        {"a": pd.Series([1])}, {"a": pd.NaT}, {"a": object()}, {"a": 2**127}, {"a": float("nan")},
        {"a": datetime(2026, 1, 1, tzinfo=UTC)},
    ],
    ids=lambda data: str(type(data).__name__),
)  # fmt: skip
def test_what_cannot_be_protected_is_refused_before_anything_happens(net: Sandbox, data: Any) -> None:
    with person(net) as one:
        with pytest.raises(ValidationError):
            one.client.protected_data.protect(data)
        assert not one.touched
        assert not one.asked


@pytest.mark.parametrize("name", [None, 3, "\ud800"], ids=["none", "number", "surrogate"])
def test_a_name_that_is_none_is_refused(alice: Person, name: Any) -> None:
    with pytest.raises(ValidationError):
        alice.client.protected_data.protect(DATA, name=name)
    assert not alice.touched


def test_a_chain_without_dataprotector_says_so(net: Sandbox, alice: Person) -> None:
    alice.client.dataprotector_address = None
    with pytest.raises(ConfigurationError, match="DataProtector is not available"):
        alice.client.protected_data.protect(DATA)
    alice.client.dataprotector_address = NOBODY
    with pytest.raises(ConfigurationError, match="there is no contract at"):
        alice.client.protected_data.protect(DATA)
    alice.client.dataprotector_address = net.whitelist([])
    with pytest.raises(Web3ProviderCallError):
        alice.client.protected_data.protect(DATA)
    assert not alice.touched
    assert not alice.asked


def test_a_secret_service_that_is_down_is_known_before_anything_is_paid(alice: Person) -> None:
    alice.web.before = lambda request: httpx.Response(503) if request.url.host.startswith("sms") else None
    with pytest.raises(SmsCallError):
        alice.client.protected_data.protect(DATA)
    assert not alice.touched


def test_an_upload_that_fails_registers_nothing(net: Sandbox, alice: Person) -> None:
    before = registered(net, alice.client)
    alice.web.before = lambda request: httpx.Response(500) if request.url.path.endswith("/add") else None
    with pytest.raises(IpfsGatewayCallError) as caught:
        alice.client.protected_data.protect(DATA)
    assert caught.value.context["step"] == "Failed to upload encrypted data"
    assert alice.node.sent == 0
    assert registered(net, alice.client) == before


def test_a_key_that_could_not_be_pushed_is_pushed_later_as_the_hint_says(alice: Person) -> None:
    alice.web.before = lambda request: (
        httpx.Response(500) if request.method == "POST" and "web3" in str(request.url) else None
    )
    with pytest.raises(SmsCallError) as caught:
        alice.client.protected_data.protect(DATA)
    assert caught.value.context["step"] == "Failed to push protected data encryption key"
    alice.web.before = None
    assert caught.value.hint is not None
    assert eval(caught.value.hint, {"dataset": alice.client.dataset}) is True
    made = caught.value.hint.split("'")[1]
    assert alice.client.protected_data.open(made) == DATA


# --- arweave ---------------------------------------------------------------------------------------------------------


class Arweave:
    """Arweave's API and gateway, in front of a person's services."""

    def __init__(self, who: Person) -> None:
        self.kept: dict[str, bytes] = {}
        self.answer: httpx.Response | None = None
        who.client.network = replace(
            who.client.network, arweave_upload="https://arweave-api.test", arweave_gateway="https://arweave.test"
        )
        who.web.before = self._take

    def _take(self, request: httpx.Request) -> httpx.Response | None:
        if request.url.host == "arweave-api.test":
            assert (request.method, request.url.path) == ("POST", "/upload")
            body = request.read()
            head, _, rest = body.partition(b"\r\n\r\n")
            assert b'name="file"; filename="blob"' in head
            name = "aR" * 21 + "x"
            self.kept[f"/{name}"] = rest.rpartition(b"\r\n--")[0]
            return self.answer or httpx.Response(200, json={"arweaveId": name})
        if request.url.host == "arweave.test":
            content = self.kept.get(request.url.path)
            return httpx.Response(404) if content is None else httpx.Response(200, content=content)
        return None


def test_small_data_may_lie_on_arweave_and_opens_from_there(alice: Person) -> None:
    Arweave(alice)
    made = alice.client.protected_data.protect(DATA, upload_mode="arweave")
    assert made.multiaddr == f"https://arweave.test/{'aR' * 21}x"
    assert "put it on Arweave" in alice.asked[0]
    assert alice.client.dataset.show(made.address).datasetMultiaddr == made.multiaddr
    assert list(alice.client.protected_data.list(made.address)["multiaddr"]) == [made.multiaddr]
    assert alice.client.protected_data.open(made) == DATA
    assert not alice.web.to("ipfs")


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (httpx.Response(413), "Arweave upload API answered with status 413"),
        (httpx.Response(200, json={"arweaveId": "../x"}), "Arweave upload API answered with an invalid response"),
        (httpx.Response(200, json={}), "Arweave upload API answered with an invalid response"),
        (httpx.Response(200, json={"arweaveId": "elsewhere"}), "Failed to load uploaded file"),
    ],
    ids=["refused", "path", "nothing", "not served"],
)
def test_an_upload_to_arweave_that_fails_registers_nothing(alice: Person, answer: httpx.Response, message: str) -> None:
    Arweave(alice).answer = answer
    with pytest.raises(ApiCallError, match=message):
        alice.client.protected_data.protect(DATA, upload_mode="arweave")
    assert alice.node.sent == 0


def test_a_gateway_that_serves_other_bytes_is_not_believed(alice: Person) -> None:
    arweave = Arweave(alice)
    arweave.answer = httpx.Response(200, json={"arweaveId": "other"})
    arweave.kept["/other"] = b"something else"
    with pytest.raises(ApiCallError, match="serves other bytes than were uploaded"):
        alice.client.protected_data.protect(DATA, upload_mode="arweave")
    arweave.answer = None
    made = alice.client.protected_data.protect(DATA, upload_mode="arweave")
    arweave.kept.update(dict.fromkeys(arweave.kept, b"x" * 64))
    with pytest.raises(DecryptionError):
        alice.client.protected_data.open(made)


def test_what_arweave_does_not_take_is_refused_before_the_question(alice: Person) -> None:
    with pytest.raises(ConfigurationError, match="Arweave is not available"):
        alice.client.protected_data.protect(DATA, upload_mode="arweave")
    Arweave(alice)
    with pytest.raises(ValidationError, match="Arweave upload 100kb size limit reached"):
        alice.client.protected_data.protect({"a": bytes(102_400)}, upload_mode="arweave")
    with pytest.raises(ValidationError, match="uploadMode must be one of the following values: ipfs, arweave"):
        alice.client.protected_data.protect(DATA, upload_mode="swarm")
    assert not alice.asked
    assert not alice.touched


# --- open ------------------------------------------------------------------------------------------------------------


def test_only_the_key_opens_it(net: Sandbox, made: Any) -> None:
    stranger = net.client()
    with pytest.raises(ValidationError, match="no key is known here"):
        stranger.protected_data.open(made.address)
    with pytest.raises((DecryptionError, ValidationError)):
        stranger.protected_data.open(made.address, key=generate_dataset_key(b"x" * 32))
    assert stranger.protected_data.open(made.address, key=made.encryptionKey) == DATA
    with pytest.raises(ValidationError, match="not a Secret"):
        stranger.protected_data.open(made.address, key="text")  # type: ignore[arg-type]


def test_a_dataset_that_is_no_protected_data_is_not_opened_as_such(net: Sandbox, owner: IExec) -> None:
    plain = deploy_dataset(net, owner)
    with pytest.raises(ValidationError, match="is not known as protected data"):
        owner.protected_data.open(plain)
    with pytest.raises(ObjectNotFoundError):
        owner.protected_data.open(NOBODY)


# --- list ------------------------------------------------------------------------------------------------------------


def test_the_list_is_filtered_by_owner_schema_and_time(net: Sandbox) -> None:
    client = net.client()
    mine = [client.protected_data.protect({"n": i}, name=str(i)) for i in range(3)]
    other = client.protected_data.protect({"n": 1.5, "text": "x"})
    verb = client.protected_data.list
    assert set(verb(owner=wallet(client))["address"]) == {one.address for one in (*mine, other)}
    assert list(verb(owner=wallet(client), required_schema={"text": "string"})["address"]) == [other.address]
    assert len(verb(owner=wallet(client), required_schema='{"n": ["i128", "f64"]}')) == 4
    assert len(verb(owner=wallet(client), limit=2)) == 2
    assert len(verb(owner=wallet(client), limit=0)) == 0
    later = other.creationTimestamp + timedelta(seconds=1)
    assert len(verb(owner=wallet(client), created_after=later)) == 0
    assert other.address in set(verb(owner=wallet(client), created_after=other.creationTimestamp)["address"])
    assert len(verb(owner=wallet(client), created_after=int(later.timestamp()))) == 0
    assert len(verb(owner=wallet(client), created_after=later.isoformat())) == 0
    empty = verb(owner=NOBODY)
    assert {name: str(kind) for name, kind in empty.dtypes.items()} == tables.PROTECTED_DATA.dtypes


@pytest.mark.parametrize(
    "filters",
    [
        {"owner": "x"}, {"required_schema": {"a": "text"}}, {"required_schema": "{"}, {"required_schema": "[]"},
        {"created_after": "yesterday"}, {"created_after": datetime(2026, 1, 1)}, {"created_after": -1},
        {"created_after": 2**60}, {"created_after": True}, {"limit": -1}, {"limit": "x"},
    ],
    ids=lambda filters: "-".join(f"{name}-{value!r}"[:40] for name, value in filters.items()),
)  # fmt: skip
def test_a_wrong_filter_is_refused_before_anybody_is_asked(alice: Person, filters: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        alice.client.protected_data.list(**filters)
    assert not alice.web.requests


@pytest.mark.parametrize(
    "body",
    [{"errors": [{"message": "down"}]}, {"data": {"protectedDatas": [{"id": 3}]}}, {"data": {}}, [], {"data": None}],
    ids=["errors", "rows", "nothing", "list", "null"],
)
def test_a_subgraph_that_answers_nonsense_is_a_typed_error(alice: Person, body: Any) -> None:
    alice.web.change = lambda _, response: json_answer(response, body)
    with pytest.raises(SubgraphCallError):
        alice.client.protected_data.list()


def test_a_chain_without_a_subgraph_says_how_to_give_one(net: Sandbox) -> None:
    client = IExec("viviani")
    with pytest.raises(ConfigurationError, match="dataprotector_subgraph option not set") as caught:
        client.protected_data.list()
    assert caught.value.hint == "IExec(133, dataprotector_subgraph='...')"


# --- grants ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def reader(net: Sandbox, seller: IExec) -> str:
    return deploy_app(net, seller)


def test_a_grant_is_shown_signed_and_listed(alice: Person, reader: str) -> None:
    made = alice.client.protected_data.protect(DATA)
    alice.asked.clear()
    verb = alice.client.protected_data
    access = verb.grant(
        made, authorized_app=reader, authorized_user=NOBODY, price_per_access="0.5 RLC", number_of_access="3"
    )
    (question,) = alice.asked
    assert f"datasetorder of dataset {made.address}" in question
    assert f"only app {reader}; only requester {NOBODY}" in question
    assert "price: 0.5 RLC a task" in question
    listed = verb.granted_access(made)
    assert listed.iexec.order(0) == access.order
    assert (access.order.datasetprice, access.order.volume, access.remainingAccess) == (500_000_000, 3, 3)
    assert len(verb.granted_access(made, authorized_user=wallet(alice.client))) == 0
    assert len(verb.granted_access(made, authorized_app=NOBODY)) == 0
    assert len(verb.granted_access(made, bulk_only=True)) == 0


def test_a_grant_to_everybody_is_not_a_grant_to_somebody(owner: IExec, reader: str) -> None:
    made = owner.protected_data.protect(DATA)
    verb = owner.protected_data
    verb.grant(made, authorized_app=reader, authorized_user=NULL_ADDRESS)
    verb.grant(made, authorized_app=reader, authorized_user=NOBODY)
    assert len(verb.granted_access(made, authorized_user=NOBODY)) == 2
    assert len(verb.granted_access(made, authorized_user=NOBODY, is_user_strict=True)) == 1
    with pytest.raises(ValidationError, match="An access has been already granted to the user: 0x0000"):
        verb.grant(made, authorized_app=reader, authorized_user=NULL_ADDRESS)


@pytest.mark.parametrize(
    "changes",
    [
        {"authorized_app": "x"}, {"authorized_user": "x"}, {"authorized_user": None}, {"price_per_access": 0.5},
        {"price_per_access": -1}, {"number_of_access": 0}, {"number_of_access": 1.5}, {"authorized_app": NULL_ADDRESS},
        {"authorized_app": NOBODY}, {"allow_bulk": True, "price_per_access": 1}, {"allow_bulk": "yes"},
        {"allow_bulk": True, "number_of_access": 3},
    ],
    ids=lambda changes: "-".join(f"{name}-{value!r}"[:30] for name, value in changes.items()),
)  # fmt: skip
def test_a_wrong_grant_is_refused_before_it_is_signed(
    alice: Person, owner: IExec, made: Any, reader: str, changes: dict[str, Any]
) -> None:
    given = {"authorized_app": reader, "authorized_user": wallet(owner), **changes}
    with pytest.raises(IExecError):
        alice.client.protected_data.grant(made.address, **given)
    assert not alice.touched
    assert not alice.asked


def test_only_the_owner_grants_and_only_what_exists(alice: Person, made: Any, reader: str) -> None:
    verb = alice.client.protected_data
    with pytest.raises(ValidationError, match="must be the resource owner"):
        verb.grant(made, authorized_app=reader, authorized_user=NOBODY)
    with pytest.raises(ObjectNotFoundError):
        verb.grant(NOBODY, authorized_app=reader, authorized_user=NOBODY)
    assert not alice.asked


@pytest.mark.parametrize("form", ["record", "json", "body", "order", "hash", "row"])
@pytest.mark.parity("dataProtectorCore.revokeOneAccess")
def test_an_access_is_revoked_in_whatever_form_it_is_given(owner: IExec, made: Any, reader: str, form: str) -> None:
    verb = owner.protected_data
    access = verb.grant(made, authorized_app=reader, authorized_user=NOBODY)
    table = verb.granted_access(made, authorized_user=NOBODY)
    given: Any = {
        "record": access, "json": json.dumps(access.to_json()), "body": access.to_json(), "order": access.order,
        "hash": owner.order.hash(access.order), "row": table.iloc[[0]],
    }[form]  # fmt: skip
    if form == "row":
        given.attrs = table.attrs
    gone = verb.revoke_one(given)
    assert gone.access.order == access.order
    assert len(verb.granted_access(made, authorized_user=NOBODY)) == 0
    with pytest.raises(OrderConsumedError):
        verb.revoke_one(access)


@pytest.mark.parametrize(
    "given",
    [None, 3, "x", "0x" + "12" * 32, {}, {"datasetprice": 1}, pd.DataFrame({"a": [1, 2]})],
    ids=["none", "number", "text", "hash", "empty", "half", "table"],
)
def test_what_is_no_access_is_refused(alice: Person, given: Any) -> None:
    with pytest.raises((ValidationError, MarketCallError)):
        alice.client.protected_data.revoke_one(given)
    assert not alice.touched


def test_all_accesses_are_revoked_with_one_question_or_those_of_one_user(alice: Person, reader: str) -> None:
    verb, other = alice.client.protected_data, "0x" + "56" * 20
    made = verb.protect(DATA)
    for user in (NOBODY, other):
        verb.grant(made, authorized_app=reader, authorized_user=user)
    verb.grant(made, authorized_app=reader, authorized_user=wallet(alice.client), allow_bulk=True)
    alice.asked.clear()
    gone = verb.revoke_all(made, authorized_user=other)
    assert [one.access.order.requesterrestrict for one in gone] == [other]
    alice.asked.clear()
    assert len(verb.revoke_all(made)) == 2
    (question,) = alice.asked
    assert "cancel, for good, 2 orders:" in question
    assert verb.revoke_all(made) == ()


def test_revoking_stops_where_it_fails_and_says_what_is_done(alice: Person, reader: str) -> None:
    verb = alice.client.protected_data
    made = verb.protect(DATA)
    for user in (NOBODY, "0x" + "56" * 20):
        verb.grant(made, authorized_app=reader, authorized_user=user)
    sent = alice.node.sent

    def full(methods: list[str]) -> httpx.Response | None:
        # The second transaction is refused by the node.
        if "eth_sendRawTransaction" in methods and alice.node.sent == sent + 2:
            return httpx.Response(200, json={"jsonrpc": "2.0", "id": 1, "error": {"code": -32000, "message": "full"}})
        return None

    alice.node.before = full
    with pytest.raises(IExecError) as caught:
        verb.revoke_all(made)
    assert str(caught.value.context["cancelled before"]).startswith("0x")
    alice.node.before = None
    assert len(verb.revoke_all(made)) == 1


def test_what_is_given_away_is_the_others(net: Sandbox, owner: IExec, reader: str) -> None:
    made, other = owner.protected_data.protect(DATA), net.client()
    owner.protected_data.grant(made, authorized_app=reader, authorized_user=NOBODY)
    moved = owner.protected_data.transfer(made, new_owner=wallet(other))
    assert (moved.address, moved.to) == (made.address, wallet(other))
    assert list(other.protected_data.list(made.address)["owner"]) == [wallet(other)]
    assert len(other.protected_data.granted_access(made)) == 0
    with pytest.raises(ValidationError, match="Only dataset owner can transfer"):
        owner.protected_data.transfer(made, new_owner=NOBODY)


def test_a_secret_in_the_data_is_no_value(owner: IExec) -> None:
    with pytest.raises(ValidationError, match="Unsupported Secret data"):
        owner.protected_data.protect({"a": Secret("x")})

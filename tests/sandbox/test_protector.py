"""DataProtector in the sandbox: its contract, and the subgraph that lists what was protected."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from sandbox_stack import Stack, Wallet, running_stack, wallet

from iexec_nb.protocol.cid import multiaddr_encode
from iexec_nb.protocol.protected_data import extract_schema, schema_entries, schema_text, search_filters
from iexec_nb.protocol.types import Address, address_from_uint
from iexec_nb.sandbox.protector import dataprotector_subgraph
from iexec_nb.sandbox.subgraph import Subgraph
from iexec_nb.services import abi
from iexec_nb.services.receipts import Log

ALICE, BOB = wallet("alice"), wallet("bob")
CID = "QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWnPbdG"
MULTIADDR = multiaddr_encode(f"/p2p/{CID}")

# Word by word what @iexec/dataprotector 2 asks.
SDK_QUERY = """
      query ($start: Int!, $range: Int!, $where: ProtectedData_filter) {
        protectedDatas(
          where: $where
          skip: $start
          first: $range
          orderBy: creationTimestamp
          orderDirection: desc
        ) {
          id
          name
          owner {
            id
          }
          schema {
            id
          }
          creationTimestamp
          multiaddr
        }
      }
"""


class Desk:
    """A chain with DataProtector and its subgraph."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.contract = stack.deployment.dataprotector
        self.subgraph: Subgraph = dataprotector_subgraph(stack.chain, self.contract)
        self.checksum = bytes(32)

    def send(self, owner: Wallet, schema: str | bytes, name: str | bytes = "my data") -> dict[str, Any]:
        """Call the contract; text that is no Unicode is given as bytes."""
        fn = abi.CREATE_DATASET_WITH_SCHEMA
        texts = [text if isinstance(text, bytes) else text.encode() for text in (name, schema)]
        types = ("address", "bytes", "bytes", "bytes", "bytes32")
        # A dataset that is the same in all that its owner says about it is there already.
        self.checksum = (int.from_bytes(self.checksum) + 1).to_bytes(32)
        data = fn.selector + abi.encode_values(types, (owner.address, *texts, MULTIADDR, self.checksum), fn.name)
        return self.stack.send(owner, self.contract, data)

    def protect(self, owner: Wallet, schema: str | bytes, name: str | bytes = "my data") -> Address:
        return address_from_uint(int(self._announced(self.send(owner, schema, name)).topics[1], 16))

    def _announced(self, receipt: dict[str, Any]) -> Log:
        logs = [Log.from_rpc(log) for log in receipt["logs"]]
        [log] = [log for log in logs if log.address == self.contract]
        return log

    def ask(self, text: str, **variables: Any) -> Any:
        answer = self.subgraph.query(text, variables)
        assert list(answer) == ["data"], answer
        return answer["data"]

    def listed(self, *filters: dict[str, Any], start: int = 0, count: int = 1000) -> list[Any]:
        """Return the list that the SDK gets."""
        where = {"where": {"and": list(filters)}} if filters else {}
        rows: list[Any] = self.ask(SDK_QUERY, start=start, range=count, **where)["protectedDatas"]
        return rows

    def entries(self, dataset: Address) -> list[str]:
        [row] = self.listed({"id": dataset})
        return [entry["id"] for entry in row["schema"]]


@pytest.fixture(scope="module")
def desk() -> Iterator[Desk]:
    with running_stack() as running:
        running.fund(ALICE, BOB, rlc=0)
        yield Desk(running)


# The contract.


def test_the_contract_registers_a_dataset_for_its_owner_and_announces_the_schema(desk: Desk) -> None:
    receipt = desk.send(ALICE, '{"email":"string"}', "mails ✉")
    event = abi.DATASET_SCHEMA.decode(desk._announced(receipt))
    dataset = desk.stack.chain.dataset(event["dataset"])
    assert event["schema"] == '{"email":"string"}'
    assert (dataset.owner, dataset.datasetName) == (ALICE.address, "mails ✉")
    assert (dataset.datasetMultiaddr, dataset.datasetChecksum) == (f"/p2p/{CID}", f"0x{desk.checksum.hex()}")
    assert desk.stack.chain.registered("dataset", [dataset.address]) == {dataset.address: True}


def test_the_contract_names_the_registry_that_it_uses(desk: Desk) -> None:
    call = {"to": desk.contract, "data": f"0x{abi.REGISTRY.encode().hex()}"}
    answer = desk.stack.rpc.call("eth_call", call, "latest")
    assert abi.REGISTRY.decode(bytes.fromhex(answer[2:])) == desk.stack.chain.datasetregistry


def test_data_can_be_protected_for_somebody_else(desk: Desk) -> None:
    fn = abi.CREATE_DATASET_WITH_SCHEMA
    receipt = desk.stack.send(ALICE, desk.contract, fn.encode(BOB.address, "gift", "{}", MULTIADDR, bytes(32)))
    dataset = abi.DATASET_SCHEMA.decode(desk._announced(receipt))["dataset"]
    assert desk.stack.chain.owners([dataset]) == {dataset: BOB.address}
    [row] = desk.listed({"id": dataset})
    assert row["owner"]["id"] == BOB.address.lower()


# The subgraph.


def test_protected_data_is_listed_as_soon_as_it_is_on_the_chain(desk: Desk) -> None:
    schema = extract_schema({"email": "a@b.c", "address": {"zip": 75001, "geo": {"lat": 1.5}}, "photo": b"BM1234"})
    dataset = desk.protect(ALICE, schema_text(schema), "<b>Ünïcode</b>")
    [row] = desk.listed({"id": dataset})
    assert row == {
        "id": dataset.lower(),
        "name": "<b>Ünïcode</b>",
        "owner": {"id": ALICE.address.lower()},
        "schema": [{"id": entry} for entry in sorted(schema_entries(schema))],
        "creationTimestamp": str(int(desk.stack.chain.now().timestamp())),
        "multiaddr": f"0x{MULTIADDR.hex()}",
    }


def test_every_member_of_the_entity_is_there(desk: Desk) -> None:
    receipt = desk.send(BOB, '{"a":"bool"}', "")
    dataset = abi.DATASET_SCHEMA.decode(desk._announced(receipt))["dataset"].lower()
    row = desk.ask(
        "query($id: ID!) { protectedData(id: $id) { name jsonSchema schema { path type } checksum transactionHash "
        "blockNumber isRentable isForSale isIncludedInSubscription collection { id } sales { id } rentals { id } "
        "rentalParams { price } consumptions { mode } owner { datasets(where: {id: $id2}) { id } } } }".replace(
            "$id2", f'"{dataset}"'
        ),
        id=dataset,
    )["protectedData"]
    assert row == {
        "name": "",
        "jsonSchema": '{"a":"bool"}',
        "schema": [{"path": "a", "type": "bool"}],
        "checksum": f"0x{desk.checksum.hex()}",
        "transactionHash": receipt["transactionHash"],
        "blockNumber": str(int(receipt["blockNumber"], 16)),
        "isRentable": False,
        "isForSale": False,
        "isIncludedInSubscription": False,
        "collection": None,
        "sales": [],
        "rentals": [],
        "rentalParams": None,
        "consumptions": [],
        "owner": {"datasets": [{"id": dataset}]},
    }


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ('{"b":"string","a":"i128"}', ["a:i128", "b:string"]),
        ('{"a":{"b":{"c":"f64"}}}', ["a.b.c:f64"]),
        ('{"v0":"number","v1":"boolean"}', ["v0:number", "v1:boolean"]),
        ('{"a":"image/png","b":"image/jpg"}', ["a:image/png"]),
        ('{"a b":"string","":"string","a.b":"string","é":"string","a-_9":"bool"}', ["a-_9:bool"]),
        ('{"a":{},"b":[],"c":["string"],"d":5,"e":null,"f":true}', []),
        ('{"x y":{"a":"string"},"z":{"x y":"string","ok":"string"}}', ["z.ok:string"]),
        ("{}", []),
        ("", []),
        ("{", []),
        ('["string"]', []),
        ('"string"', []),
        ("[" * 20_000, []),
        ('{"a":' * 20_000, []),
        (b"\xff\xfe", []),
    ],
    ids=lambda value: repr(value)[:24],
)
def test_a_schema_is_indexed_as_far_as_it_is_one(desk: Desk, schema: str | bytes, expected: list[str]) -> None:
    assert desk.entries(desk.protect(ALICE, schema)) == expected


def test_names_that_are_no_text_do_not_stop_the_index(desk: Desk) -> None:
    strange = desk.protect(BOB, '{"a":"bool"}', b"\xff\xfe")
    usual = desk.protect(BOB, '{"a":"bool"}', "usual")
    rows = {row["id"]: row["name"] for row in desk.listed()}
    assert (rows[strange.lower()], rows[usual.lower()]) == ("\ufffd\ufffd", "usual")


def test_datasets_that_were_not_protected_are_not_listed(desk: Desk) -> None:
    plain = desk.stack.dataset(ALICE)
    assert desk.listed({"id": plain}) == []
    # Its transfer finds nothing to change.
    _transfer(desk, plain, ALICE, BOB)
    assert desk.listed({"id": plain}) == []


def _transfer(desk: Desk, dataset: Address, sender: Wallet, receiver: Wallet) -> None:
    data = abi.SAFE_TRANSFER_FROM.encode(sender.address, receiver.address, int(dataset, 16))
    desk.stack.send(sender, desk.stack.chain.datasetregistry, data)


def test_the_owner_follows_a_transfer_also_within_one_look_at_the_chain(desk: Desk) -> None:
    seen, unseen = desk.protect(ALICE, "{}"), ""
    assert desk.listed({"id": seen})[0]["owner"]["id"] == ALICE.address.lower()
    before = desk.ask("{ _meta { block { number } } }")["_meta"]["block"]["number"]
    _transfer(desk, seen, ALICE, BOB)
    unseen = desk.protect(ALICE, "{}")
    _transfer(desk, unseen, ALICE, BOB)
    _transfer(desk, unseen, BOB, ALICE)
    assert desk.listed({"id": seen})[0]["owner"]["id"] == BOB.address.lower()
    assert desk.listed({"id": unseen})[0]["owner"]["id"] == ALICE.address.lower()
    text = f'{{ protectedData(id: "{seen}", block: {{number: {before}}}) {{ owner {{ id }} }} }}'
    assert desk.ask(text)["protectedData"]["owner"]["id"] == ALICE.address.lower()
    text = "query($id: ID!) { account(id: $id) { datasets(first: 1000) { id } } }"
    mine = desk.ask(text, id=ALICE.address.lower())["account"]
    assert unseen.lower() in [row["id"] for row in mine["datasets"]]
    assert seen.lower() not in [row["id"] for row in mine["datasets"]]


# What the SDK filters by.


@pytest.fixture(scope="module")
def three(desk: Desk) -> dict[str, Address]:
    carol = wallet("carol")
    desk.stack.fund(carol, rlc=0)
    made = {}
    for name, schema in (
        ("mail", {"email": "string", "body": {"text": "string"}}),
        ("photo", {"photo": "image/png", "email": "string"}),
        ("old", {"email": "string", "age": "number"}),
    ):
        desk.stack.travel(100)
        made[name] = desk.protect(carol, schema_text(schema), name)
    return made


def owned(desk: Desk, *filters: dict[str, Any], **page: int) -> list[str]:
    return [row["name"] for row in desk.listed({"owner": wallet("carol").address.lower()}, *filters, **page)]


def test_the_newest_comes_first_in_pages(desk: Desk, three: dict[str, Address]) -> None:
    assert owned(desk) == ["old", "photo", "mail"]
    assert owned(desk, count=2) == ["old", "photo"]
    assert owned(desk, start=2, count=2) == ["mail"]


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({"email": "string"}, ["old", "photo", "mail"]),
        ({"email": "string", "age": "number"}, ["old"]),
        ({"body": {"text": "string"}}, ["mail"]),
        ({"email": "i128"}, []),
        ({"photo": ["image/png", "image/jpeg"]}, ["photo"]),
        ({"photo": ["image/gif", "image/jpeg"]}, []),
        ({"email": ["string", "bool"], "age": ["i128", "number"]}, ["old"]),
    ],
    ids=str,
)
def test_a_required_schema_finds_what_has_it(
    desk: Desk, three: dict[str, Address], schema: dict[str, Any], expected: list[str]
) -> None:
    assert owned(desk, *search_filters(schema)) == expected


def test_data_is_found_by_its_time_of_creation_and_by_an_address_in_any_case(
    desk: Desk, three: dict[str, Address]
) -> None:
    [row] = desk.listed({"id": three["photo"]})
    moment = int(row["creationTimestamp"])
    assert owned(desk, {"creationTimestamp_gte": moment}) == ["old", "photo"]
    assert owned(desk, {"creationTimestamp_gte": str(moment + 1)}) == ["old"]
    assert desk.listed({"id": three["photo"].lower()}) == desk.listed({"id": three["photo"]}) == [row]
    # As on the live subgraph: accounts are compared as text.
    assert desk.listed({"owner": wallet("carol").address}) == []


def test_a_long_list_is_read_from_the_chain_in_four_requests(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    before = len(desk.listed())
    for number in range(60):
        desk.protect(BOB, '{"a":"bool"}', f"many {number}")
    requests: list[bytes] = []
    post = desk.stack.rpc._post

    def counted(body: bytes, deadline: float) -> bytes:
        requests.append(body)
        return post(body, deadline)

    monkeypatch.setattr(desk.stack.rpc, "_post", counted)
    assert len(desk.listed()) == before + 60
    # The newest block, the events, the times of their blocks, what the datasets say.
    assert len(requests) == 4


def test_json_schema_is_the_text_that_was_given(desk: Desk) -> None:
    text = json.dumps({"a": "bool"}, indent=3)
    dataset = desk.protect(ALICE, text)
    assert desk.ask(f'{{ protectedData(id: "{dataset}") {{ jsonSchema }} }}')["protectedData"]["jsonSchema"] == text

"""The query language of the sandbox's subgraphs: what The Graph's nodes answer, refuse and leave out."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import pytest

from iexec_nb.errors import Web3ProviderCallError
from iexec_nb.protocol.types import Address
from iexec_nb.sandbox.entities import Entities, Model, View, to_rlc
from iexec_nb.sandbox.graph_schema import plural
from iexec_nb.sandbox.subgraph import MAX_DEPTH, Subgraph, subgraph_app
from iexec_nb.services.receipts import Log

SCHEMA = """
interface Ware { id: ID! owner: Person! }
enum Colour { RED GREEN }
type Person @entity {
  id: ID!
  name: String
  age: BigInt
  wares: [Ware!]! @derivedFrom(field: "owner")
  books: [Book!]! @derivedFrom(field: "owner")
  lent: [Book!]! @derivedFrom(field: "readers")
}
type Book implements Ware @entity {
  id: ID!
  owner: Person!
  title: String!
  price: BigDecimal
  pages: Int
  cover: Colour
  isNew: Boolean
  print: Bytes
  words: [String!]!
  readers: [Person!]!
  box: Box
}
type Lamp implements Ware @entity { id: ID! owner: Person! }
type Box @entity {
  id: Bytes!
  book: Book @derivedFrom(field: "box")
}
"""


class Shelf:
    """An index of no chain: its entities are saved at blocks 1 to 3."""

    emitters: Sequence[Address] = ()

    def apply(self, entities: Entities, logs: Sequence[Log], times: Mapping[int, int]) -> None:
        if entities.get("Person", "ann") is not None:
            return
        entities.save("Person", "ann", 1, name="Ann", age=2**70)
        entities.save("Person", "bob", 1, name="bob%_")
        entities.save("Box", "0xab", 1)
        entities.save("Lamp", "l1", 1, owner="ann")
        entities.save("Book", "b1", 1, owner="bob", title="Ünder", words=[], readers=[])
        entities.save(
            "Book",
            "b2",
            2,
            owner="ann",
            title="under the sea",
            price=to_rlc(1_500_000_000),
            pages=7,
            cover="RED",
            isNew=True,
            print="0x00ff",
            words=["Sea", "salt"],
            readers=["bob", "nobody", "ann"],
            box="0xab",
        )
        entities.save("Book", "b1", 3, owner="ann", price=Decimal(0), pages=-3, cover="GREEN", isNew=False, print="0x")

    def catch_up(self, entities: Entities, block: int) -> None:
        assert block == 3


class Blocks:
    """A chain of three blocks without any event."""

    hub_address = "0x" + "00" * 20

    def __init__(self) -> None:
        self.rpc = self
        self.calls: list[str] = []
        self.gone = False

    def block_number(self) -> int:
        if self.gone:
            raise Web3ProviderCallError("the node is gone")
        return 3

    def call(self, method: str, *params: Any) -> Any:
        self.calls.append(method)
        return []

    def batch(self, calls: Sequence[tuple[str, Any]]) -> list[Any]:
        self.calls += [method for method, _ in calls]
        return [{"timestamp": "0x10", "hash": "0x" + "11" * 32, "parentHash": "0x" + "22" * 32} for _ in calls]


@pytest.fixture
def blocks() -> Blocks:
    return Blocks()


@pytest.fixture
def shelf(blocks: Blocks) -> Subgraph:
    return Subgraph(blocks, SCHEMA, Shelf())  # type: ignore[arg-type]


def data(shelf: Subgraph, text: str, **variables: Any) -> Any:
    answer = shelf.query(text, variables)
    assert list(answer) == ["data"], answer
    return answer["data"]


def problem(shelf: Subgraph, text: str, **variables: Any) -> str:
    answer = shelf.query(text, variables)
    assert list(answer) == ["errors"], answer
    return str(answer["errors"][0]["message"])


def found(shelf: Subgraph, where: str) -> str:
    return " ".join(book["id"] for book in data(shelf, f"{{ books(where: {{{where}}}) {{ id }} }}")["books"])


# One entity.


def test_an_entity_is_found_by_its_id_and_shows_its_fields_in_their_json_form(shelf: Subgraph) -> None:
    book = data(
        shelf,
        '{ book(id: "b2") { __typename id title price pages cover isNew print words owner { name age } '
        "readers { id } box { id book { id } } } }",
    )["book"]
    assert book == {
        "__typename": "Book",
        "id": "b2",
        "title": "under the sea",
        "price": "1.5",
        "pages": 7,
        "cover": "RED",
        "isNew": True,
        "print": "0x00ff",
        "words": ["Sea", "salt"],
        "owner": {"name": "Ann", "age": str(2**70)},
        # In the order of ids, and without those that there are not.
        "readers": [{"id": "ann"}, {"id": "bob"}],
        "box": {"id": "0xab", "book": {"id": "b2"}},
    }


def test_what_is_unset_is_null_and_a_decimal_has_no_zeros_at_its_end(shelf: Subgraph) -> None:
    assert data(shelf, '{ book(id: "b1") { price box { id } } person(id: "bob") { age } }') == {
        "book": {"price": "0", "box": None},
        "person": {"age": None},
    }


def test_an_id_in_another_case_is_nobody_unless_ids_are_bytes(shelf: Subgraph) -> None:
    assert data(shelf, '{ person(id: "ANN") { id } box(id: "0xAB") { id } other: box(id: "ab") { id } }') == {
        "person": None,
        "box": {"id": "0xab"},
        "other": {"id": "0xab"},
    }
    assert "Failed to decode `Bytes` value" in problem(shelf, '{ box(id: "0xzz") { id } }')


def test_one_question_may_look_for_an_id_among_all_kinds(shelf: Subgraph) -> None:
    answer = data(shelf, "query($x: ID!) { person(id: $x) { id } book(id: $x) { id } ware(id: $x) { id } }", x="b1")
    assert answer == {"person": None, "book": {"id": "b1"}, "ware": {"id": "b1"}}


def test_an_interface_is_asked_for_like_a_kind(shelf: Subgraph) -> None:
    wares = data(
        shelf, '{ wares { __typename id owner { id } ... on Book { pages } } person(id: "ann") { wares { id } } }'
    )
    assert [(ware["__typename"], ware.get("pages")) for ware in wares["wares"]] == [
        ("Book", -3),
        ("Book", 7),
        ("Lamp", None),
    ]
    assert [ware["id"] for ware in wares["person"]["wares"]] == ["b1", "b2", "l1"]


def test_the_other_side_of_a_reference_follows_when_the_reference_changes(shelf: Subgraph) -> None:
    assert data(shelf, "{ persons { id books { id } lent { id } } }")["persons"] == [
        {"id": "ann", "books": [{"id": "b1"}, {"id": "b2"}], "lent": [{"id": "b2"}]},
        {"id": "bob", "books": [], "lent": [{"id": "b2"}]},
    ]


# Lists.


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ('id: "b1"', "b1"),
        ('id_not: "b1"', "b2"),
        ('id_gt: "b1"', "b2"),
        ('id_in: ["b2", "b3"]', "b2"),
        ('id_not_in: ["b2", "b3"]', "b1"),
        ("id_in: []", ""),
        ('price: "1.50"', "b2"),
        ("price_lt: 1", "b1"),
        ("price_gt: 1.49", "b2"),
        ("price_gte: 0", "b1 b2"),
        ("pages_lte: -3", "b1"),
        ("pages_in: [7]", "b2"),
        ("cover: GREEN", "b1"),
        ("cover_not_in: [GREEN]", "b2"),
        ("isNew: true", "b2"),
        ("isNew_not: true", "b1"),
        ('print: "0x00FF"', "b2"),
        ('print_contains: "0xff"', "b2"),
        ('print_not_contains: "ff"', "b1"),
        ('title_contains: "under"', "b2"),
        ('title_contains_nocase: "UNDER"', "b2"),
        ('title_contains_nocase: "üNDER"', "b1"),
        ('title_starts_with: "under"', "b2"),
        ('title_not_starts_with_nocase: "UNDER"', "b1"),
        ('title_ends_with_nocase: "SEA"', "b2"),
        ('title_not_ends_with: "sea"', "b1"),
        ('title_gt: "z"', "b1"),
        ('words: ["salt", "Sea"]', "b2"),
        ("words: []", "b1"),
        ('words_not: ["Sea"]', "b1 b2"),
        ('words_contains: ["Sea"]', "b2"),
        ('words_contains: ["sea"]', ""),
        ('words_contains_nocase: ["sea", "SALT"]', "b2"),
        ('words_not_contains: ["Sea", "pepper"]', "b1 b2"),
        ("words_contains: []", "b1 b2"),
        ('owner: "ann"', "b1 b2"),
        ('owner_starts_with: "an"', "b1 b2"),
        ('owner_: {name: "Ann"}', "b1 b2"),
        ('owner_: {books_: {title_contains: "sea"}}', "b1 b2"),
        ('readers_contains: ["bob"]', "b2"),
        ('readers_: {name_ends_with: "%_"}', "b2"),
        ("box: null", "b1"),
        ("box_not: null", "b2"),
        ("box_: {}", "b2"),
        ('box_not: "0xcd"', "b2"),
        ("pages: null", ""),
        ("pages_gt: null", ""),
        ('and: [{owner: "ann"}, {pages_gt: 0}]', "b2"),
        ("or: [{pages: 7}, {cover: GREEN}]", "b1 b2"),
        ('and: [{or: [{pages: 7}, {pages: 8}]}, {or: [{cover: RED}]}], owner: "ann"', "b2"),
        ("and: []", "b1 b2"),
        ("or: []", ""),
        ("_change_block: {number_gte: 3}", "b1"),
        ("", "b1 b2"),
    ],
)
def test_a_condition_finds_what_it_says(shelf: Subgraph, where: str, expected: str) -> None:
    assert found(shelf, where) == expected


def test_column_conditions_beside_or_are_refused_as_the_graph_does(shelf: Subgraph) -> None:
    text = problem(shelf, '{ books(where: {or: [{pages: 7}], owner: "ann", cover: RED}) { id } }')
    assert text == (
        "Cannot mix column filters with 'or' operator at the same level. "
        "Found column filter(s) 'owner', 'cover' alongside 'or' operator."
    )


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        ("", "b1 b2"),
        ("orderDirection: desc", "b2 b1"),
        ("orderBy: pages", "b1 b2"),
        ("orderBy: pages, orderDirection: desc", "b2 b1"),
        ("orderBy: title", "b2 b1"),
        ("orderBy: box", "b2 b1"),
        ("orderBy: box, orderDirection: desc", "b1 b2"),
        ("orderBy: owner__name", "b1 b2"),
        ("orderBy: owner__age, orderDirection: desc", "b2 b1"),
        ("orderBy: words", "b1 b2"),
        ("first: 1", "b1"),
        ("first: 1, skip: 1", "b2"),
        ("skip: 5000", ""),
        ("first: null, skip: null", "b1 b2"),
    ],
)
def test_a_list_is_ordered_and_cut(shelf: Subgraph, order: str, expected: str) -> None:
    arguments = f"({order})" if order else ""
    assert " ".join(one["id"] for one in data(shelf, f"{{ books{arguments} {{ id }} }}")["books"]) == expected


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("first: 1001", "The `first` argument must be between 0 and 1000, but is 1001"),
        ("first: 0", "The `first` argument must be between 0 and 1000, but is 0"),
        ("skip: 5001", "The `skip` argument must be between 0 and 5000, but is 5001"),
        ("skip: -1", "The `skip` argument must be between 0 and 5000, but is -1"),
        ("orderBy: nothing", "Value 'nothing' does not exist in 'Book_orderBy' enum"),
        ("where: {nothing: 1}", "nothing"),
        ("where: {cover_gt: RED}", "cover_gt"),
        ('where: {price: "much"}', "Failed to decode `BigDecimal` value: `much`"),
        ('where: {price: "Infinity"}', "Failed to decode `BigDecimal`"),
        ("where: {print: true}", "Failed to decode `Bytes` value"),
        ("where: {print: 12}", "Failed to decode `Bytes` value"),
        ("where: {owner_: {age: 1.5}}", "Failed to decode `BigInt` value"),
        ("where: {price: true}", "Failed to decode `BigDecimal` value"),
        ('where: {print: "0x0"}', "Failed to decode `Bytes` value: `0x0`"),
        ('where: {owner_: {age: "1.5"}}', "Failed to decode `BigInt` value: `1.5`"),
        ("where: {_change_block: {}}", "number_gte"),
        ("block: {number: 4}", "has only indexed up to block number 3 and data for block number 4"),
        ("block: {number_gte: 4}", "is therefore not yet available"),
        ('block: {hash: "0x00"}', "finds only its newest block by hash"),
        ("block: {number: 1, number_gte: 1}", "only one of"),
    ],
)
def test_a_malformed_list_is_refused(shelf: Subgraph, arguments: str, words: str) -> None:
    assert words in problem(shelf, f"{{ books({arguments}) {{ id }} }}")


def test_the_lists_inside_of_entities_are_cut_and_filtered_too(shelf: Subgraph) -> None:
    answer = data(
        shelf,
        '{ person(id: "ann") { a: books(first: 1, orderBy: pages, orderDirection: desc) { id } '
        "b: books(where: {cover: GREEN}) { id } c: lent(skip: 1) { id } } }",
    )
    assert answer["person"] == {"a": [{"id": "b2"}], "b": [{"id": "b1"}], "c": []}
    assert "between 0 and 1000" in problem(shelf, '{ person(id: "ann") { books(first: 1001) { id } } }')


def test_a_list_without_first_ends_after_a_hundred(blocks: Blocks) -> None:
    class Many(Shelf):
        def apply(self, entities: Entities, logs: Sequence[Log], times: Mapping[int, int]) -> None:
            for number in range(150):
                entities.save("Person", f"{number:03}", 1)

    many = Subgraph(blocks, SCHEMA, Many())  # type: ignore[arg-type]
    answer = data(many, "{ persons { id } all: persons(first: 1000) { id } }")
    assert (len(answer["persons"]), len(answer["all"])) == (100, 150)
    assert answer["persons"][-1] == {"id": "099"}


# Time.


def test_a_block_shows_everything_as_it_was_then(shelf: Subgraph) -> None:
    text = "{ %s(block: {number: %d}) { id owner { id books { id } } } }"
    then = data(shelf, text % ("books", 1))["books"]
    assert then == [{"id": "b1", "owner": {"id": "bob", "books": [{"id": "b1"}]}}]
    assert data(shelf, "{ books(block: {number: 0}) { id } }")["books"] == []
    assert len(data(shelf, "{ books(block: {number_gte: 2}) { id } }")["books"]) == 2
    assert data(shelf, '{ book(id: "b2", block: {number: 1}) { id } }') == {"book": None}
    hash = "0x" + "11" * 32
    assert len(data(shelf, f'{{ books(block: {{hash: "{hash}"}}) {{ id }} }}')["books"]) == 2
    assert data(shelf, '{ persons(block: {number: 2}, where: {books_: {id: "b2"}}) { id } }')["persons"] == [
        {"id": "ann"}
    ]


def test_meta_tells_the_newest_block(shelf: Subgraph) -> None:
    text = "{ _meta { block { number hash timestamp parentHash } hasIndexingErrors deployment } }"
    assert data(shelf, text)["_meta"] == {
        "block": {"number": 3, "hash": "0x" + "11" * 32, "timestamp": 16, "parentHash": "0x" + "22" * 32},
        "hasIndexingErrors": False,
        "deployment": "sandbox",
    }
    older = data(shelf, "{ _meta(block: {number: 1}) { block { number hash } } }")["_meta"]
    assert older == {"block": {"number": 1, "hash": None}}


def test_events_are_read_once_for_each_new_block(shelf: Subgraph, blocks: Blocks) -> None:
    assert blocks.calls == []
    data(shelf, "{ books { id } }")
    assert blocks.calls == ["eth_getLogs", "eth_getBlockByNumber"]
    data(shelf, "{ books { id } }")
    assert len(blocks.calls) == 2


def test_a_node_that_is_gone_is_an_error_and_not_an_empty_list(shelf: Subgraph, blocks: Blocks) -> None:
    blocks.gone = True
    assert problem(shelf, "{ books { id } }") == "Store error: the node is gone"


# What is wrong, and what is hostile.


def test_a_missing_reference_that_may_not_be_null_is_an_error(blocks: Blocks) -> None:
    class Orphan(Shelf):
        def apply(self, entities: Entities, logs: Sequence[Log], times: Mapping[int, int]) -> None:
            entities.save("Book", "b1", 1, owner="nobody", title="x", words=[], readers=[])

    orphan = Subgraph(blocks, SCHEMA, Orphan())  # type: ignore[arg-type]
    assert "non-nullable field Book.owner" in problem(orphan, "{ books { owner { id } } }")
    assert data(orphan, "{ books { id } }")["books"] == [{"id": "b1"}]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "Syntax Error"),
        ("{", "Syntax Error"),
        ("{ nothing { id } }", "Cannot query field 'nothing'"),
        ("{ books }", "must have a selection"),
        ("query($x: ID!) { book(id: $x) { id } }", "Variable '$x'"),
        ("query A { books { id } } query B { books { id } }", "Must provide operation name"),
        ("fragment F on Book { id } { books { ...F ...F } } fragment F on Book { id }", "only one fragment named"),
        ("{ books { ...F } } fragment F on Book { owner { books { ...F } } }", "Cannot spread fragment 'F' within"),
        ("mutation { books { id } }", "mutation"),
        ("subscription { books { id } }", "subscription"),
    ],
)
def test_a_query_that_cannot_be_answered_says_why(shelf: Subgraph, text: str, words: str) -> None:
    assert words in problem(shelf, text)


@pytest.mark.parametrize("depth", [3, MAX_DEPTH // 2 - 1, MAX_DEPTH, 100_000])
def test_depth_is_bounded_and_what_is_allowed_is_answered(shelf: Subgraph, depth: int) -> None:
    text = "{ persons { " + "books { owner { " * depth + "id" + " } } " * depth + "} }"
    if 2 * depth + 2 > MAX_DEPTH:
        assert problem(shelf, text) == f"query has a depth that exceeds the limit of {MAX_DEPTH}"
        return
    answer = data(shelf, text.replace("books", "books(first: 1)"))
    for _ in range(depth):
        answer = answer["persons"][0]["books"][0] if "persons" in answer else answer["owner"]["books"][0]
    assert answer["owner"] == {"id": "ann"}


@pytest.mark.parametrize(("depth", "status"), [(MAX_DEPTH // 2 + 1, 200), (5000, 400)])
def test_deep_conditions_are_bounded_in_the_text_and_in_variables(shelf: Subgraph, depth: int, status: int) -> None:
    where = '{"and": [' * depth + "{}" + "]}" * depth
    text = "{ books(where: " + where.replace('"', "") + ") { id } }"
    assert problem(shelf, text) == f"query has a depth that exceeds the limit of {MAX_DEPTH}"
    body = json.dumps({"query": "query($w: Book_filter) { books(where: $w) { id } }", "variables": {"w": 0}})
    answer = post(shelf, body.replace('"w": 0', f'"w": {where}').encode())
    assert answer.status_code == status
    assert ("data" in answer.json) == (status == 200)


def test_a_message_is_short_whatever_was_sent(shelf: Subgraph) -> None:
    assert len(problem(shelf, "{ " + "x" * 100_000 + " }")) < 1100


def test_the_schema_can_be_asked_for(shelf: Subgraph) -> None:
    fields = {
        field["name"]
        for field in data(shelf, "{ __schema { queryType { fields { name } } } }")["__schema"]["queryType"]["fields"]
    }
    assert {"book", "books", "ware", "wares", "_meta"} <= fields
    names = data(shelf, '{ __type(name: "Person_filter") { inputFields { name } } }')["__type"]["inputFields"]
    assert {"name_contains_nocase", "wares_", "and", "or", "_change_block"} <= {one["name"] for one in names}


def test_lists_have_the_names_that_the_graph_gives_them() -> None:
    kinds = ("ProtectedData", "Category", "BulkSlice", "OrdersMatched", "TaskConsensus", "PolicyUpdate", "AppOrder")
    assert [plural(kind) for kind in kinds] == [
        "protectedDatas", "categories", "bulkSliceice", "ordersMatcheds", "taskConsensuses", "policyUpdates",
        "appOrders",
    ]  # fmt: skip


def test_prices_are_exact_up_to_34_digits() -> None:
    assert to_rlc(1) == Decimal("0.000000001")
    assert to_rlc(2**53 - 1) == Decimal("9007199.254740991")
    assert str(to_rlc(2**256 - 1)).startswith("1.157920892373161954235709850086879")


def test_an_earlier_state_of_an_entity_stays() -> None:
    entities = Entities(Model.parse(SCHEMA))
    entities.save("Person", "ann", 1, name="Ann")
    entities.save("Person", "ann", 1, age=5)
    entities.save("Person", "ann", 2, name="Ann")
    entities.save("Person", "ann", 4, name="Anna")
    states = entities.history("Person", "ann")
    assert [(state.block, state.values["name"], state.values["age"]) for state in states] == [
        (1, "Ann", 5),
        (4, "Anna", 5),
    ]
    person = entities.model.kinds["Person"]
    assert View(entities, 0).get(person, "ann") is None
    assert entities.get("Person", "bob") is None


# Over HTTP.


def post(shelf: Subgraph, body: bytes) -> Any:
    return subgraph_app("shelf", shelf).test_client().post("/", data=body, headers={"Origin": "http://localhost:3000"})


def test_a_query_over_http_is_answered_with_200_for_every_origin(shelf: Subgraph) -> None:
    query = "query A($x: ID!) { book(id: $x) { id } } query B { persons { id } }"
    answer = post(shelf, json.dumps({"query": query, "variables": {"x": "b1"}, "operationName": "A"}).encode())
    assert (answer.status_code, answer.json) == (200, {"data": {"book": {"id": "b1"}}})
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    refused = post(shelf, b'{"query": "{ nothing }", "variables": null}')
    assert refused.status_code == 200
    assert refused.json["errors"][0]["locations"] == [{"line": 1, "column": 3}]
    assert subgraph_app("shelf", shelf).test_client().options("/").status_code == 204


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"{}", b'{"query": 5}', b'{"query": "{ a }", "variables": []}', b"[" * 10_000, b"\xff",
     b'{"query": "{ a }", "operationName": 5}'],
)  # fmt: skip
def test_a_body_that_is_no_query_is_a_bad_request(shelf: Subgraph, body: bytes) -> None:
    answer = post(shelf, body)
    assert answer.status_code == 400
    assert answer.json["errors"][0]["message"].startswith("GraphQL server error (client error)")


def test_a_body_that_is_too_large_is_refused(shelf: Subgraph) -> None:
    assert post(shelf, b" " * (2 << 20)).status_code == 413

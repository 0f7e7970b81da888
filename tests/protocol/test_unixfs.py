"""Blocks of files and folders: what they say, what contradicts itself, and how much work a stranger can cause.

That real files and folders are read is proven in tests/interop/test_ipfs_agrees.py, by blocks that the JavaScript
packages make.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iexec_nb.errors import IpfsGatewayCallError, UnsafeArchiveError, ValidationError
from iexec_nb.protocol import unixfs as m
from iexec_nb.protocol.cid import DAG_PB, Cid, varint
from iexec_nb.protocol.file_layout import Layout, Tree
from iexec_nb.protocol.protobuf import fields


def field(number: int, value: int | bytes) -> bytes:
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def link(cid: Cid, name: str = "") -> bytes:
    return field(2, field(1, bytes(cid)) + field(2, name.encode()) + field(3, 1))


def node(
    *children: tuple[Cid, int], kind: int = 2, data: bytes = b"", size: int | None = None, names: bool = False
) -> bytes:
    """Return a block; children are CIDs with the sizes that are declared of them."""
    whole = len(data) + sum(part for _, part in children) if size is None else size
    sizes = b"".join(field(4, part) for _, part in children) if kind in (0, 2) else b""
    links = b"".join(link(cid, f"n{at}" if names else "") for at, (cid, _) in enumerate(children))
    message = field(1, kind) + (field(2, data) if data else b"") + (field(3, whole) if kind in (0, 2) else b"") + sizes
    return links + field(1, message)


class Graph:
    """Blocks by CID, and how often each was read."""

    def __init__(self) -> None:
        self.blocks: dict[Cid, bytes] = {}
        self.reads = 0

    def put(self, block: bytes, codec: int = DAG_PB) -> Cid:
        cid = Cid.of(block, codec)
        self.blocks[cid] = block
        return cid

    def raw(self, data: bytes) -> tuple[Cid, int]:
        return self.put(data, m.RAW), len(data)

    def read(self, root: Cid, max_bytes: int = 10**6) -> bytes:
        reader, body = m.FileReader(root, max_bytes=max_bytes), b""
        while wanted := reader.wanted():
            assert wanted[0].offset == len(body)
            self.reads += 1
            body += reader.take(self.blocks[wanted[0].cid])
        assert reader.size == len(body) == reader.offset
        return body


@pytest.fixture
def graph() -> Graph:
    return Graph()


# --- what a block says ------------------------------------------------------------------------------------------------


def test_bytes_of_a_node_come_before_those_of_its_children(graph: Graph) -> None:
    a, b = graph.raw(b"world"), graph.raw(b"!")
    inner = graph.put(node(a, b, data=b"hello "))
    assert graph.read(graph.put(node((inner, 12), graph.raw(b"\n"), data=b"> "))) == b"> hello world!\n"


def test_sizes_may_be_packed_into_one_field_and_data_may_come_first(graph: Graph) -> None:
    (a, _), (b, _) = graph.raw(b"x" * 300), graph.raw(b"y")
    message = field(1, 2) + field(3, 301) + field(4, varint(300) + varint(1))
    assert graph.read(graph.put(link(a) + link(b) + field(1, message))) == b"x" * 300 + b"y"
    assert graph.read(graph.put(field(1, message) + link(a) + link(b))) == b"x" * 300 + b"y"


def test_mode_and_time_are_read_over(graph: Graph) -> None:
    time = field(1, 1_600_000_000) + b"\x15\x05\x00\x00\x00"
    message = field(1, 2) + field(2, b"abc") + field(3, 3) + field(7, 0o755) + field(8, time)
    assert graph.read(graph.put(field(1, message))) == b"abc"


def test_a_file_without_its_size_has_that_of_its_parts(graph: Graph) -> None:
    message = field(1, 2) + field(4, 2)
    assert graph.read(graph.put(link(graph.raw(b"ab")[0]) + field(1, message))) == b"ab"


BAD = {
    "nothing": b"",
    "no protobuf": b"\xff" * 20,
    "no dag-pb": field(5, 1),
    "no UnixFS": field(1, b""),
    "an unknown kind": field(1, field(1, 6)),
    "a data field that is cut": field(1, field(1, 2))[:-1],
    "a link without a CID": field(2, field(2, b"name")) + field(1, field(1, 1)),
    "a link to no CID": field(2, field(1, b"\x12\x20short")) + field(1, field(1, 1)),
    "a name that is no text": field(2, field(1, bytes(Cid.of(b""))) + field(2, b"\xff\xfe")) + field(1, field(1, 1)),
    "more parts than sizes": link(Cid.of(b"")) + field(1, field(1, 2) + field(3, 0)),
    "more sizes than parts": field(1, field(1, 2) + field(3, 5) + field(4, 5)),
    "a size that is too small": field(1, field(1, 2) + field(2, b"abc") + field(3, 2)),
    "a size that is too large": field(1, field(1, 2) + field(2, b"abc") + field(3, 2**60)),
    "packed sizes that are cut": link(Cid.of(b"")) + field(1, field(1, 2) + field(4, b"\xff")),
    "a group": b"\x0b",
    "field zero": b"\x00\x01",
}


@pytest.mark.parametrize("name", BAD)
def test_a_block_that_makes_no_sense_is_a_typed_error(name: str) -> None:
    cid = Cid.of(BAD[name], DAG_PB)
    with pytest.raises(ValidationError, match="can be read") as caught:
        m.decode(cid, BAD[name])
    assert str(cid) in str(caught.value)
    assert caught.value.hint


@given(st.binary(max_size=120))
def test_any_block_is_a_node_or_a_typed_error(block: bytes) -> None:
    cid = Cid.of(block, DAG_PB)
    try:
        read = m.decode(cid, block)
        list(m.entries(cid, read))
    except ValidationError:
        return
    assert read.what in ("raw", "folder", "file", "metadata", "symlink")


@given(st.binary(max_size=60))
def test_any_bytes_are_fields_or_a_value_error(data: bytes) -> None:
    try:
        found = list(fields(data))
    except ValueError:
        return
    assert all(number > 0 and isinstance(value, int | bytes) for number, value in found)


@settings(max_examples=60)
@given(st.binary(max_size=400), st.integers(1, 40), st.integers(2, 5), st.booleans())
def test_what_is_cut_in_any_way_is_put_together_again(data: bytes, chunk: int, links: int, raw: bool) -> None:
    graph = Graph()

    def keep(cid: Cid, offset: int, size: int, block: bytes | None) -> None:
        leaf = data[offset : offset + size]
        graph.blocks[cid] = block if block is not None else leaf if raw else node(data=leaf)

    tree = Tree(Layout(1, raw, chunk, links), keep)
    tree.update(data)
    assert graph.read(tree.root()) == data


def test_steps_over_what_is_known_and_says_what_comes_next(graph: Graph) -> None:
    parts = [graph.raw(bytes([at]) * 10) for at in range(6)]
    halves = [(graph.put(node(*parts[at : at + 3])), 30) for at in (0, 3)]
    reader = m.FileReader(graph.put(node(*halves)), max_bytes=100)
    reader.take(graph.blocks[reader.cid])
    assert [(one.offset, one.size) for one in reader.wanted(9)] == [(0, 30), (30, 30)]
    reader.take(graph.blocks[halves[0][0]])
    reader.skip()
    assert [(one.cid, one.offset) for one in reader.wanted(3)] == [
        (parts[1][0], 10),
        (parts[2][0], 20),
        (halves[1][0], 30),
    ]
    for _ in range(3):
        reader.skip()
    assert (reader.wanted(), reader.offset) == ([], 60)


# --- lies and bombs ---------------------------------------------------------------------------------------------------


def test_a_part_that_is_not_as_large_as_it_was_declared_is_refused(graph: Graph) -> None:
    leaf, _ = graph.raw(b"abc")
    for declared in (1, 4, 2**40):
        with pytest.raises(ValidationError, match=f"declared as {declared} bytes has 3"):
            graph.read(graph.put(node((leaf, declared))), max_bytes=2**62)
    inner = graph.put(node((leaf, 3)))
    with pytest.raises(ValidationError, match="declared as 5 bytes has 3"):
        graph.read(graph.put(node((inner, 5))))


def test_a_file_that_declares_more_than_allowed_is_refused_after_its_first_block(graph: Graph) -> None:
    leaf, _ = graph.raw(b"x" * 1000)
    for _ in range(7):
        leaf = graph.put(node(*[(leaf, graph_size(graph, leaf))] * 100))
    assert (graph_size(graph, leaf), len(graph.blocks)) == (10**17, 8)
    with pytest.raises(IpfsGatewayCallError, match="larger than 1000000 bytes") as caught:
        graph.read(leaf)
    assert graph.reads == 1
    assert "max_bytes=" in str(caught.value)


def graph_size(graph: Graph, cid: Cid) -> int:
    return m.decode(cid, graph.blocks[cid]).size


def test_parts_without_bytes_cost_nothing_however_many_there_are(graph: Graph) -> None:
    empty = graph.put(node())
    for _ in range(20):
        empty = graph.put(node(*[(empty, 0)] * 1000))
    assert graph.read(graph.put(node((empty, 0), graph.raw(b"a"), (empty, 0)))) == b"a"
    assert graph.reads == 2


def test_a_tree_that_is_too_deep_is_refused(graph: Graph) -> None:
    cid = graph.raw(b"a")[0]
    for _ in range(m.MAX_DEPTH + 1):
        cid = graph.put(node((cid, 1)))
    with pytest.raises(UnsafeArchiveError, match="too deep or too wide") as caught:
        graph.read(cid)
    assert graph.reads <= m.MAX_DEPTH + 1
    assert "max_bytes" in str(caught.value.hint)


def test_a_tree_that_is_too_wide_is_refused_before_it_takes_memory(graph: Graph) -> None:
    leaf = graph.raw(b"a")
    cid, size = leaf
    for _ in range(4):
        children = [(cid, size)] + [leaf] * 20_000
        cid, size = graph.put(node(*children)), size + 20_000
    with pytest.raises(UnsafeArchiveError, match="too deep or too wide"):
        graph.read(cid)
    with pytest.raises(ValidationError, match="more than 65536"):
        m.decode(cid, node(*[leaf] * 70_000))
    with pytest.raises(ValidationError, match="more than 65536"):
        m.decode(cid, field(1, field(1, 2) + field(4, b"\x00" * 70_000)))


def test_a_file_in_too_many_pieces_is_refused(graph: Graph, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(m, "_FREE_BLOCKS", 10)
    root = graph.put(node(*[graph.raw(bytes([at])) for at in range(20)]))
    with pytest.raises(UnsafeArchiveError, match="too many blocks"):
        graph.read(root, max_bytes=100)
    assert graph.read(root, max_bytes=4096 * 30) == bytes(range(20))


@pytest.mark.parametrize("kind", [1, 3, 4, 5])
def test_a_part_of_a_file_is_a_file(graph: Graph, kind: int) -> None:
    for root in (graph.put(node(kind=kind)), graph.put(node((graph.put(node(kind=kind)), 3)))):
        with pytest.raises(ValidationError, match="not a file or a part of one"):
            graph.read(root)


def test_a_part_of_another_codec_is_refused(graph: Graph) -> None:
    with pytest.raises(ValidationError, match="its codec is 0x71"):
        graph.read(graph.put(node((graph.put(b"\xa0", 0x71), 1))))


# --- folders ----------------------------------------------------------------------------------------------------------


def listed(block: bytes) -> Iterator[tuple[str | None, Cid]]:
    cid = Cid.of(block, DAG_PB)
    return m.entries(cid, m.decode(cid, block))


def shard(*names: str, fanout: int = 256) -> bytes:
    links = b"".join(link(Cid.of(name.encode()), name) for name in names)
    return links + field(1, field(1, 5) + field(5, 0x22) + field(6, fanout))


def test_a_folder_has_names_and_a_part_of_a_large_one_has_places_before_them() -> None:
    plain = link(Cid.of(b"a"), "a.txt") + link(Cid.of(b"b"), "00") + field(1, field(1, 1))
    assert list(listed(plain)) == [("a.txt", Cid.of(b"a")), ("00", Cid.of(b"b"))]
    found = list(listed(shard("00", "0Ba.txt", "FF日本", fanout=256)))
    assert [name for name, _ in found] == [None, "a.txt", "日本"]
    assert [name for name, _ in listed(shard("0", "Fx", fanout=16))] == [None, "x"]
    assert [name for name, _ in listed(shard("000", "3FFx", fanout=1024))] == [None, "x"]


@pytest.mark.parametrize(
    "block",
    [shard("0"), shard("0a.txt"), shard("zz.txt"), shard(""), shard("00", fanout=0), shard("00", fanout=2**40),
     shard("00", fanout=257), shard(*(f"0{at}" for at in range(9)), fanout=8)],
    ids=["half a place", "small letters", "no place", "no name", "no fanout", "a huge fanout", "an odd fanout", "full"],
)  # fmt: skip
def test_a_part_of_a_large_folder_that_makes_no_sense_is_a_typed_error(block: bytes) -> None:
    with pytest.raises(ValidationError, match="large folder"):
        list(listed(block))

"""Protected data: what is written opens again, what the packages wrote opens, and what is hostile is refused."""

from __future__ import annotations

import base64
import io
import json
import stat
import struct
import zipfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iexec_nb.errors import ValidationError
from iexec_nb.protocol import protected_data as m
from iexec_nb.protocol.orders import DatasetOrder, RequestOrder
from iexec_nb.protocol.protected_content import Deserializer
from iexec_nb.protocol.protected_records import BulkRequest, GrantedAccess, ProtectedData

VECTORS = json.loads((Path(__file__).parent / "protected_data_vectors.json").read_text(encoding="utf-8"))
OLD, NEW = VECTORS
WHERE, SOMEBODY = "0x" + "12" * 20, "0x" + "34" * 20

keys = st.text("abcXYZ019-_", min_size=1, max_size=5)
scalars = st.one_of(
    st.booleans(),
    st.integers(-(2**127), 2**127 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    st.binary(max_size=20),
)
contents = st.dictionaries(
    keys, st.recursive(scalars, lambda inner: st.dictionaries(keys, inner, max_size=3), max_leaves=6), min_size=1
)


def zipped(content: dict[str, Any]) -> bytes:
    file = io.BytesIO()
    m.write_zip(content, file)
    return file.getvalue()


def a_zip(**files: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return file.getvalue()


@given(contents)
def test_what_is_written_is_read_again(content: dict[str, Any]) -> None:
    m.check(content)
    assert Deserializer(zipped(content)).values(m.extract_schema(content)) == content


@given(contents)
def test_a_schema_survives_the_subgraph(content: dict[str, Any]) -> None:
    schema = m.extract_schema(content)
    entries = m.schema_entries(schema)
    assert m.schema_entries(m.schema_of(entries)) == entries
    assert json.loads(m.schema_text(schema)) == schema


@pytest.mark.parametrize("made", VECTORS, ids=["version 0", "version 2"])
def test_what_the_packages_wrote_opens(made: dict[str, Any]) -> None:
    values = Deserializer(base64.b64decode(made["zip"])).values(made["schema"])
    assert values["text"] == "héllo €"
    assert (values["flag"], values["off"]) == (True, False)
    assert values["count"] == 1234
    assert values["bytes"] == b"\0\1\2\xff"
    assert values["nested"] == {"deep": {"flag": False, "a-b_c": "x"}}


def test_what_version_2_wrote_has_the_bytes_that_are_written_here() -> None:
    theirs = Deserializer(base64.b64decode(NEW["zip"]))
    content = theirs.values(NEW["schema"])
    ours = Deserializer(zipped(content))
    assert m.extract_schema(content) == NEW["schema"]
    assert sorted(ours.paths) == sorted(theirs.paths)
    for path in theirs.paths:
        assert ours.get_value(path, m.BINARY) == theirs.get_value(path, m.BINARY)


def test_the_old_format_needs_a_mode_that_knows_it() -> None:
    old = base64.b64decode(OLD["zip"])
    assert Deserializer(old, mode="legacy").get_value("count", "number") == 1234
    with pytest.raises(ValidationError, match='Unsupported schema "number" in "borsh" mode'):
        Deserializer(old, mode="borsh").get_value("count", "number")
    with pytest.raises(ValidationError, match='Failed to deserialize "text" as "string" in "borsh" mode'):
        Deserializer(old, mode="borsh").get_value("text", "string")


def test_the_same_data_gives_the_same_zip_and_files_are_read_as_bytes(tmp_path: Path) -> None:
    file = tmp_path / "photo.png"
    file.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(3_000_000))
    content = {"photo": file, "deep": {"note": "x"}}
    assert zipped(content) == zipped({"photo": file.read_bytes(), "deep": {"note": "x"}})
    assert m.extract_schema(content) == {"photo": "image/png", "deep": {"note": "string"}}
    info = {entry.filename: entry for entry in zipfile.ZipFile(io.BytesIO(zipped(content))).infolist()}
    assert set(info) == {"photo", "deep/", "deep/note"}
    assert stat.S_IMODE(info["photo"].external_attr >> 16) == 0o644


def test_bytes_keep_the_type_that_they_are_given() -> None:
    assert m.extract_schema({"a": m.Blob(b"GDP,year\n", m.BINARY), "b": b"GDP,year\n"}) == {
        "a": m.BINARY, "b": "video/mpeg",
    }  # fmt: skip
    with pytest.raises(ValidationError, match='Unsupported type "text/csv"'):
        m.Blob(b"", "text/csv")


@pytest.mark.parametrize(
    ("data", "message", "at"),
    [
        (None, "Unsupported null data", None),
        ([], "Unsupported array data", None),
        (("a",), "Unsupported array data", None),
        ("text", "Unsupported str data", None),
        (3, "Unsupported int data", None),
        ({}, "there is nothing in it", None),
        ({"": 1}, "Unsupported empty key", None),
        ({"a.b": 1}, "Unsupported special character in key", None),
        ({"a/../b": 1}, "Unsupported special character in key", None),
        ({"a\n": 1}, "Unsupported special character in key", None),
        ({"é": 1}, "Unsupported special character in key", None),
        ({"²": 1}, "Unsupported special character in key", None),
        ({1: 1}, "Unsupported special character in key", None),
        ({"a": {"b": None}}, "Unsupported null data", "a.b"),
        ({"a": {"b": [1]}}, "Unsupported array data", "a.b"),
        ({"a": {1, 2}}, "Unsupported array data", "a"),
        ({"a": 2**127}, "Unsupported integer value: out of i128 range", "a"),
        ({"a": -(2**127) - 1}, "Unsupported integer value: out of i128 range", "a"),
        ({"a": float("inf")}, "Unsupported number value: infinity", "a"),
        ({"a": float("nan")}, "Unsupported number value: infinity", "a"),
        ({"a": 1j}, "Unsupported complex data", "a"),
        ({"a": object()}, "Unsupported object data", "a"),
        ({"a": "\ud800"}, "Unsupported text: it has half of a surrogate pair", "a"),
        ({"a": Path("/nowhere/at/all")}, "'all' is not a file", None),
    ],
    ids=[
        "null", "list", "tuple", "text", "number", "nothing", "empty key", "dot", "path", "line break", "letter",
        "digit", "number as key", "null inside", "list inside", "set", "too big", "too small", "infinity", "nan",
        "complex", "object", "surrogate", "no file",
    ],
)  # fmt: skip
def test_data_that_cannot_be_protected_is_refused_with_its_place(data: Any, message: str, at: str | None) -> None:
    with pytest.raises(ValidationError) as caught:
        m.check(data)
    assert caught.value.message == f"data is not valid: {message}"
    assert caught.value.context.get("at") == at
    assert caught.value.hint


def test_nothing_of_the_data_is_in_an_error() -> None:
    for data in ({"a": "secret \ud800"}, {"a": {"b": ["secret"]}}, {"a": 2**127 + 123456789}):
        with pytest.raises(ValidationError) as caught:
            m.check(data)
        assert "secret" not in str(caught.value)
        assert "123456789" not in str(caught.value)
        assert caught.value.__context__ is None


def test_data_is_nested_so_deep_and_no_deeper() -> None:
    def nested(levels: int) -> dict[str, Any]:
        data: dict[str, Any] = {"a": 1}
        for _ in range(levels):
            data = {"a": data}
        return data

    m.check(nested(m.MAX_DEPTH))
    with pytest.raises(ValidationError, match="Unsupported depth"):
        m.check(nested(m.MAX_DEPTH + 1))
    loop: dict[str, Any] = {}
    loop["a"] = loop
    with pytest.raises(ValidationError, match="Unsupported depth"):
        m.check(loop)


def test_text_that_javascript_garbles_is_warned_about_by_its_name() -> None:
    with pytest.warns(UserWarning, match=r"notes\.long: apps that read it"):
        zipped({"notes": {"long": "é" * m.MAX_READABLE_TEXT, "short": "x" * m.MAX_READABLE_TEXT}})


def test_a_schema_to_search_for_becomes_filters_of_the_subgraph() -> None:
    wanted = {"a": "string", "b": {"c": ["bool"], "d": ["image/png", "image/gif"]}}
    assert m.search_filters(wanted) == [
        {"schema_contains": ["a:string", "b.c:bool"]},
        {"or": [{"schema_contains": ["b.d:image/png"]}, {"schema_contains": ["b.d:image/gif"]}]},
    ]
    assert m.search_filters({}) == []


@pytest.mark.parametrize(
    "schema", [None, [], "string", {"a": 3}, {"a": []}, {"a": ["x"]}, {"a b": "string"}, {"": "string"}, {"a": None}]
)
def test_a_schema_that_nothing_can_have_is_refused(schema: Any) -> None:
    with pytest.raises(ValidationError, match="requiredSchema is not valid: Unsupported"):
        m.search_filters(schema)


def test_a_schema_to_search_for_is_nested_so_deep_and_no_deeper() -> None:
    loop: dict[str, Any] = {}
    loop["a"] = loop
    with pytest.raises(ValidationError, match="Unsupported depth"):
        m.search_filters(loop)


def test_entries_that_contradict_each_other_make_a_schema_all_the_same() -> None:
    hostile = ["a:string", "a.b:bool", "c.d:f64", "c:i128", ":string", "x", ".".join("y" * 1000) + ":bool"]
    assert m.schema_of(hostile) == {"a": "string", "c": {"d": "f64"}, "": "string", "x": ""}


# --- reading ---------------------------------------------------------------------------------------------------------


def test_an_app_finds_the_data_of_its_task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data").write_bytes(zipped({"a": {"b": True}}))
    monkeypatch.setenv("IEXEC_IN", str(tmp_path))
    monkeypatch.setenv("IEXEC_DATASET_FILENAME", "data")
    reader = Deserializer()
    assert reader.get_value("a.b", "bool") is True
    assert reader.paths == ("a.b",)
    reader.close()
    monkeypatch.delenv("IEXEC_IN")
    with pytest.raises(ValidationError, match="Missing protected data"):
        Deserializer()


@pytest.mark.parametrize(
    "source", [b"", b"not a zip", zipped({"a": 1})[:-5], Path("/nowhere"), "/nowhere/at/all", 3],
    ids=["empty", "text", "cut", "no path", "no text path", "number"],
)  # fmt: skip
def test_what_is_no_zip_is_refused(source: Any) -> None:
    with pytest.raises(ValidationError):
        Deserializer(source)


@given(st.integers(0, 400), st.integers(1, 255))
def test_a_damaged_zip_gives_the_value_or_a_typed_error(position: int, change: int) -> None:
    raw = bytearray(zipped({"a": "hello", "b": {"c": 7}, "d": True}))
    raw[position % len(raw)] ^= change
    try:
        reader = Deserializer(bytes(raw))
        for path, kind in (("a", "string"), ("b.c", "i128"), ("d", "bool")):
            reader.get_value(path, kind)
    except ValidationError:
        pass


def test_a_value_of_another_type_is_an_error_that_holds_no_data() -> None:
    reader = Deserializer(zipped({"text": "a secret text", "number": 77, "flag": True}))
    for path, kind in (("text", "bool"), ("text", "i128"), ("number", "f64"), ("flag", "i128"), ("text", "number")):
        with pytest.raises(ValidationError, match=f'Failed to deserialize "{path}" as "{kind}"') as caught:
            reader.get_value(path, kind)
        assert "secret" not in str(caught.value)
        assert caught.value.__context__ is None


def test_a_path_that_is_not_there_is_answered_with_those_that_are() -> None:
    reader = Deserializer(zipped({"a": {"b": 1}, "c": 2}))
    for path in ("a", "a.", "b", "", "a.b.c", "../a"):
        with pytest.raises(ValidationError) as caught:
            reader.get_value(path, "i128")
        assert caught.value.context["paths"] == "a.b, c"
    with pytest.raises(ValidationError, match="path and schema are texts"):
        reader.get_value(3, "i128")  # type: ignore[arg-type]


def test_a_bomb_is_refused_before_and_after_it_announces_its_size() -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a", bytes(10_000_000))
    honest = file.getvalue()
    with pytest.raises(ValidationError, match="a is larger than 1000 bytes"):
        Deserializer(honest, max_bytes=1000).get_value("a", m.BINARY)
    # The central directory says 10 bytes; what comes out is ten million.
    liar = honest.replace(struct.pack("<I", 10_000_000), struct.pack("<I", 10))
    with pytest.raises(ValidationError, match="Failed to load path a"):
        Deserializer(liar, max_bytes=1000).get_value("a", m.BINARY)


def test_two_entries_of_one_name_are_refused() -> None:
    with pytest.raises(ValidationError, match="it has two entries of one name"):
        Deserializer(a_zip(ab=b"1", cd=b"2").replace(b"cd", b"ab"))


def test_a_table_of_contents_that_would_fill_the_memory_is_refused_before_it_is_read() -> None:
    head = b"PK\1\2" + bytes([20, 3, 20, 0]) + bytes(20) + struct.pack("<H", 6) + bytes(16)
    entries = b"".join(head + f"{i:06x}".encode() for i in range(200_000))

    def ended(table: bytes) -> bytes:
        return table + struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF, len(table), 0, 0)

    assert len(Deserializer(ended(entries[: 52 * 65_535])).paths) == 65_535
    with pytest.raises(ValidationError, match="it has too many entries"):
        Deserializer(ended(entries))
    # The record of big zips stands before the end, and would be believed more than the end itself.
    with pytest.raises(ValidationError, match="it has too many entries"):
        Deserializer(ended(entries[:52] + b"PK\6\7" + bytes(16)))


def test_a_mode_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValidationError, match="fast is not a mode"):
        Deserializer(zipped({"a": 1}), mode="fast")  # type: ignore[arg-type]


# --- records ---------------------------------------------------------------------------------------------------------


def row(**changes: Any) -> dict[str, Any]:
    return {
        "id": WHERE, "name": "x", "owner": {"id": SOMEBODY}, "schema": [{"id": "a:string"}],
        "creationTimestamp": "1700000000", "multiaddr": "0x" + b"https://example.com/x".hex(), **changes,
    }  # fmt: skip


def test_a_row_of_the_subgraph_becomes_a_record() -> None:
    record = ProtectedData.from_subgraph(row())
    assert record.schema == {"a": "string"}
    assert record.creationTimestamp.isoformat() == "2023-11-14T22:13:20+00:00"
    assert record.multiaddr == "https://example.com/x"
    assert record.to_json()["creationTimestamp"] == 1_700_000_000
    where = "0xa50322122038d76d7059153e707cd0951cf2ff64d17f69352a285503800c7787c3af0c63dd"
    assert ProtectedData.from_subgraph(row(multiaddr=where)).multiaddr == (
        "/p2p/QmSAY4mYRkCvdDzcD3A3sDeN5nChyn82p88xt7HhYHqXfi"
    )


@pytest.mark.parametrize("multiaddr", [None, "", "0x", "0xzz", 3, "0x" + b"http://insecure".hex(), "0xff"])
def test_a_place_that_cannot_be_read_is_no_place(multiaddr: Any) -> None:
    assert ProtectedData.from_subgraph(row(multiaddr=multiaddr)).multiaddr is None


@pytest.mark.parametrize(
    "changes",
    [
        {"id": "x"}, {"id": None}, {"name": None}, {"owner": None}, {"owner": {}}, {"owner": {"id": 3}},
        {"schema": None}, {"schema": [None]}, {"schema": [{"id": 3}]}, {"creationTimestamp": None},
        {"creationTimestamp": "x"}, {"creationTimestamp": str(2**60)}, {"creationTimestamp": -1},
        {"creationTimestamp": 1e300},
    ],
)  # fmt: skip
def test_a_row_that_is_not_of_protected_data_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        ProtectedData.from_subgraph(row(**changes))


def test_an_access_says_what_it_allows_and_has_the_members_of_the_sdk() -> None:
    order = DatasetOrder(dataset=WHERE, apprestrict=SOMEBODY, volume=3, salt="0x" + "AB" * 32, sign="0x" + "cd" * 65)
    access = GrantedAccess(order=order, remainingAccess=2)
    assert "for anybody, 2 times" in repr(access)
    body = access.to_json()
    assert list(body)[-1] == "remainingAccess"
    assert body["dataset"] == WHERE
    assert body["volume"] == "3"
    assert not access.is_bulk
    bulk = DatasetOrder(dataset=WHERE, volume=2**53 - 1)
    assert "in bulks too" in repr(GrantedAccess(order=bulk, remainingAccess=1))


@pytest.mark.parametrize(
    "changes",
    [{"dataset": SOMEBODY}, {"datasetmaxprice": 1}, {"sign": None}, {"params": {"iexec_args": "x"}}],
    ids=["dataset", "price", "not signed", "no bulk"],
)
def test_a_request_that_is_not_one_of_a_bulk_is_refused(changes: dict[str, Any]) -> None:
    cid = "QmSAY4mYRkCvdDzcD3A3sDeN5nChyn82p88xt7HhYHqXfi"
    fields: dict[str, Any] = {
        "app": WHERE, "requester": SOMEBODY, "category": 0, "params": {"bulk_cid": cid}, "salt": "0x" + "ab" * 32,
        "sign": "0x" + "cd" * 65,
    }  # fmt: skip
    assert BulkRequest(order=RequestOrder(**fields)).params["bulk_cid"] == cid
    with pytest.raises(ValidationError):
        BulkRequest(order=RequestOrder(**{**fields, **changes}))

"""The format of protected data, held against the packages that define it: each side opens what the other made."""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from protector import protector_sdk, received, sent
from sdk import Sdk, SdkError

from iexec_nb.errors import ValidationError
from iexec_nb.protocol import protected_data as m
from iexec_nb.protocol.protected_content import Deserializer

JPEG, PNG = b"\xff\xd8\xff\xe0 picture", b"\x89PNG\r\n\x1a\n picture"
CONTENT: dict[str, Any] = {
    "text": "héllo €\N{GRINNING FACE}", "empty": "", "yes": True, "no": False, "whole": 36, "negative": -1,
    "most": 2**127 - 1, "least": -(2**127), "ratio": 0.1, "tiny": 5e-324, "minus": -0.0, "bytes": b"\x00\x01\xff",
    "none": b"", "photo": PNG, "nested": {"deep": {"photo": JPEG, "a-b_c": "x"}, "folder": {}}, "10": "ten", "2": "two",
}  # fmt: skip

keys = st.text("abcXYZ019-_", min_size=1, max_size=4).filter(lambda key: key != "__proto__")
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
slow = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def js() -> Iterator[Sdk]:
    served = protector_sdk()
    yield served
    served.stop()


def zipped(content: dict[str, Any]) -> bytes:
    m.check(content)
    file = io.BytesIO()
    m.write_zip(content, file)
    return file.getvalue()


def leaves(content: dict[str, Any], parent: str = "") -> list[tuple[str, Any]]:
    """Return the path and the value of every value."""
    found: list[tuple[str, Any]] = []
    for key, value in content.items():
        path = f"{parent}.{key}" if parent else key
        found += leaves(value, path) if isinstance(value, dict) else [(path, value)]
    return found


def same(ours: Any, theirs: Any) -> bool:
    """Whether two values are equal to the last bit and of one type (JavaScript writes 3.0 as 3)."""
    if isinstance(ours, float):
        return ours == float(theirs) and math.copysign(1, ours) == math.copysign(1, theirs)
    return type(ours) is type(theirs) and bool(ours == theirs)


def opened_by_js(js: Sdk, content: dict[str, Any]) -> list[tuple[str, Any, Any]]:
    """Return what the npm deserializer reads from a zip made here: path, value, and what it says."""
    values = leaves(content)
    asked = [[path, m.type_of(value), None] for path, value in values]
    answers = js.ask("values", zip=zipped(content), asked=asked)
    return [(path, value, received(answer)) for (path, value), answer in zip(values, answers, strict=True)]


def test_the_npm_deserializer_opens_what_is_made_here(js: Sdk) -> None:
    opened = opened_by_js(js, CONTENT)
    assert len(opened) == 18
    for path, value, answer in opened:
        # JSON has no -0, which is how the test's wire writes it; its bytes are compared below.
        if value != 0 or not isinstance(value, float):
            assert same(value, answer.get("value")), (path, value, answer)


@slow
@given(content=contents)
def test_the_npm_deserializer_opens_whatever_is_made_here(js: Sdk, content: dict[str, Any]) -> None:
    for path, value, answer in opened_by_js(js, content):
        if value != 0 or not isinstance(value, float):
            assert same(value, answer.get("value")), (path, value, answer)


def test_what_the_sdk_made_opens_here(js: Sdk) -> None:
    made = js.ask("zip", content=sent(CONTENT))
    assert made["schema"] == m.extract_schema(CONTENT)
    opened = Deserializer(made["zip"]).values(made["schema"])
    for (path, ours), (_, theirs) in zip(leaves(CONTENT), leaves(opened), strict=False):
        assert dict(leaves(opened))[path] == ours, (path, ours, theirs)
    assert sorted(path for path, _ in leaves(opened)) == sorted(path for path, _ in leaves(CONTENT))


@slow
@given(content=contents)
def test_whatever_the_sdk_made_opens_here_and_has_the_bytes_that_are_made_here(
    js: Sdk, content: dict[str, Any]
) -> None:
    made = js.ask("zip", content=sent(content))
    theirs, ours = Deserializer(made["zip"]), Deserializer(zipped(content))
    assert made["schema"] == m.extract_schema(content)
    assert sorted(theirs.paths) == sorted(ours.paths)
    for path in ours.paths:
        assert ours.get_value(path, m.BINARY) == theirs.get_value(path, m.BINARY)
    assert theirs.values(made["schema"]) == content


@slow
@given(content=contents)
def test_the_schema_that_is_published_is_the_same_text(js: Sdk, content: dict[str, Any]) -> None:
    assert js.ask("schemaText", content=sent(content)) == m.schema_text(m.extract_schema(content))


@slow
@given(content=contents)
def test_a_schema_is_put_together_from_its_entries_as_the_sdk_does(js: Sdk, content: dict[str, Any]) -> None:
    entries = m.schema_entries(m.extract_schema(content))
    assert js.ask("reversed", entries=entries) == m.schema_of(entries)


def test_bytes_have_the_type_that_the_sdk_sees(js: Sdk) -> None:
    starts = [
        b"GIF87a", b"GIF89a", b"GIF88a", b"G", b"\xff\xd8\xff", b"RIFF\0\0\0\0WEBP", b"RIFF1234WAVE", b"RIFFabcdAVI ",
        b"RIFFabcdAVI", b"RIFFabcdXXXX", b"RIFFftypWEBP", b"SP01", b"\0\0\0\x18ftypisom", b"\0\0\0\x18ftypmif1",
        b"\0\0\0\x18ftypheic", b"\0\0\0\x18ftyp3gp4", b"\0\0\0\x18ftypqt  ", b"\0\0\0\x18ftypavif", b"\0\0\0\x18ftyp",
        b"\0\0\0\x18ftypmi", b"PK\3\4", b"PK\5\6", b"PK\7\x08", b"PK\1\2", PNG, PNG[:7], b"%PDF-1.7",
        b"\xef\xbb\xbf%PDF",        b"\xff\xfb", b"\xff\xf3", b"\xff\xf2", b"\xff\xf1", b"ID3",
        b"BM", b"MThd", b"<?xml ?>", b"<?xml?>",
        b"\0\0\1\xba", b"\0\0\1\xb3", b"\0\0\1\0", b"", b"\0", b"a,b\n1,2\n", b"{}", b"\x1f\x8b\x08",
    ]  # fmt: skip
    fillers = (b"", b"\0" * 20, b"ftyp", b"GIF89a")
    heads = [start + filler for start in starts for filler in fillers]
    assert js.ask("types", contents=heads) == [m.mime_type(head[:16]) for head in heads]


@slow
@given(head=st.binary(max_size=16), start=st.sampled_from([b"", b"RIFF", b"GIF8", b"\0\0\0\x20ftyp", b"PK", b"\xff"]))
def test_any_bytes_have_the_type_that_the_sdk_sees(js: Sdk, head: bytes, start: bytes) -> None:
    content = start + head
    assert js.ask("types", contents=[content]) == [m.mime_type(content[:16])]


def test_what_the_sdk_refuses_is_refused_here_in_its_words(js: Sdk) -> None:
    refused: list[dict[Any, Any]] = [
        {"": "x"}, {"a b": "x"}, {"a.b": "x"}, {"a/b": "x"}, {"é": "x"}, {"a\n": "x"}, {"a": None}, {"a": [1]},
        {"a": {"b": []}}, {"a": math.inf}, {"a": math.nan}, {"a": 2**127 + 1}, {"a": -(2**127) - 1}, {"a": {"": 1}},
    ]  # fmt: skip
    answers = js.ask("refusals", contents=sent(refused))
    for content, answer in zip(refused, answers, strict=True):
        with pytest.raises(ValidationError) as caught:
            m.check(content)
        assert caught.value.message == f"data is not valid: {answer['error']}"


def test_a_schema_to_search_for_is_refused_in_the_words_of_the_sdk(js: Sdk) -> None:
    refused: list[Any] = [
        None, [], {"": "string"}, {"a b": "string"}, {"a": "text"}, {"a": []}, {"a": ["string", "text"]},
        {"a": {"b": 1}}, {"a": {"b": [1]}},
    ]  # fmt: skip
    answers = js.ask("schemaRefusals", schemas=refused)
    for schema, answer in zip(refused, answers, strict=True):
        with pytest.raises(ValidationError) as caught:
            m.search_filters(schema)
        assert caught.value.message == f"requiredSchema is not valid: {answer['error']}"


def test_different_on_purpose_an_integer_that_the_sdk_turns_into_its_opposite(js: Sdk) -> None:
    made = js.ask("zip", content=sent({"a": 2**127}))
    assert Deserializer(made["zip"]).get_value("a", "i128") == -(2**127)
    with pytest.raises(ValidationError, match="out of i128 range"):
        m.check({"a": 2**127})


def test_different_on_purpose_text_that_the_npm_deserializer_garbles_is_warned_about(js: Sdk) -> None:
    long = {"a": "x" * 1_000_000}
    with pytest.warns(UserWarning, match="a: apps that read it with @iexec/dataprotector-deserializer"):
        garbled = zipped(long)
    (answer,) = js.ask("values", zip=garbled, asked=[["a", "string", None]])
    assert len(answer["value"]) != 1_000_000
    assert Deserializer(garbled).get_value("a", "string") == long["a"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        longest = zipped({"a": "x" * m.MAX_READABLE_TEXT})
    (answer,) = js.ask("values", zip=longest, asked=[["a", "string", None]])
    assert answer["value"] == "x" * m.MAX_READABLE_TEXT


MODES = ("optimistic", "legacy", "borsh")


@pytest.mark.parametrize("mode", MODES)
def test_each_mode_of_the_deserializer_answers_as_the_npm_package(js: Sdk, mode: str) -> None:
    content = {"flag": True, "text": "foo", "number": 1.5, "big": 7, "raw": b"\0\1"}
    made = js.ask("zip", content=sent(content))["zip"]
    kinds = ("bool", "f64", "i128", "string", "boolean", "application/octet-stream", "whatever")
    asked = [[path, kind, mode] for path in content for kind in kinds] + [["missing", "string", mode]]
    answers = received(js.ask("values", zip=made, asked=asked))
    reader = Deserializer(made, mode=mode)  # type: ignore[arg-type]
    with pytest.raises(ValidationError) as missing:
        reader.get_value("missing", "string")
    assert answers[-1] == {"error": missing.value.message}
    for (path, kind, _), answer in zip(asked[:-1], answers, strict=False):
        try:
            ours = {"value": reader.get_value(path, kind)}
        except ValidationError as error:
            ours = {"error": error.message}
        is_meant = kind not in (*m.SCALARS, *m.LEGACY_SCALARS) or m.type_of(content[path]) == kind
        # What is asked for as another type than it has is an error here, or the same; the npm package reads the first
        # bytes as if they fitted, takes any byte for a bool, and text that is none for replacement characters.
        assert (
            ours == answer if is_meant or "error" in answer else "error" in ours or ours == answer or kind == "string"
        )


def test_the_sdk_is_the_version_that_is_meant(js: Sdk) -> None:
    with pytest.raises(SdkError, match="is not a function"):
        js.ask("nothing")

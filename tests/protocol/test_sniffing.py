"""What a file is by what it holds, whatever it is called."""

import io
import json
import zipfile

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from iexec_nb.protocol.sniffing import HEAD_BYTES, kind_of, separator_of

FRAME = pd.DataFrame({"n": [1, 2], "name": ["a", "b"]})


def written(how):
    file = io.BytesIO()
    how(file)
    return file.getvalue()


def kind(content, name=""):
    return kind_of(content[:HEAD_BYTES], len(content), name).name


MADE = {
    "parquet": written(FRAME.to_parquet),
    "feather": written(FRAME.to_feather),
    "xlsx": written(lambda file: FRAME.to_excel(file, index=False)),
    "npy": written(lambda file: np.save(file, np.arange(3))),
    "npz": written(lambda file: np.savez(file, a=np.arange(3), b=np.eye(2))),
    "pickle": written(FRAME.to_pickle),
    "csv": FRAME.to_csv(index=False).encode(),
    "tsv": FRAME.to_csv(index=False, sep="\t").encode(),
    "json": FRAME.to_json().encode(),
    "jsonl": FRAME.to_json(orient="records", lines=True).encode(),
    "text": b"Es war einmal, und ist nicht mehr.\nEin Zeile ohne.\n",
    "html": b"<!DOCTYPE html>\n<html><body>x</body></html>",
    "svg": b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"></svg>',
    "xml": b'<?xml version="1.0"?><a/>',
    "png": b"\x89PNG\r\n\x1a\n" + bytes(20),
    "jpeg": b"\xff\xd8\xff\xe0" + bytes(20),
    "gif": b"GIF89a" + bytes(20),
    "webp": b"RIFF\x24\0\0\0WEBPVP8 " + bytes(20),
    "pdf": b"%PDF-1.7\n",
    "gzip": b"\x1f\x8b\x08\0" + bytes(9),
    "sqlite": b"SQLite format 3\0" + bytes(20),
    "binary": bytes(range(256)),
    "empty": b"",
}


@pytest.mark.parametrize("name", ["", "x.csv", "x.parquet", "x.png", "x"])
@pytest.mark.parametrize("expected", [one for one in MADE if one not in ("csv", "tsv", "text", "html", "svg", "xml")])
def test_a_format_with_a_mark_is_known_whatever_its_name(expected, name):
    assert kind(MADE[expected], name) == expected


@pytest.mark.parametrize("expected", MADE)
def test_every_kind_is_known_without_a_name(expected):
    assert kind(MADE[expected]) == expected


@pytest.mark.parametrize(
    ("content", "name", "expected"),
    [
        (b"42\n17\n", "column.csv", "csv"),
        (b"42\n17\n", "", "text"),
        (b'{"a": 1}', "x.jsonl", "jsonl"),
        (b'{"a": 1}', "x.txt", "text"),
        (b"42", "x.json", "json"),
        (b"not json, at all\nno, no\n", "x.json", "csv"),
        (b"a;b\n1,5;2\n", "", "csv"),
        (b'a,b\n"x, y",2\n', "", "csv"),
        (b"one, two\nthree\n", "", "text"),
        (b'{"a": [1, 2,\n', "", "text"),
        ("\ufeffa,b\n1,2\n".encode(), "", "csv"),
        ("\ufeffa,b\n1,2\n".encode("utf-16"), "x.csv", "binary"),
        (b"colours: \x1b[31mred\x1b[0m\n", "x.log", "text"),
        (b"bell \x07", "x.txt", "binary"),
        (b"PK\x03\x04 cut", "x.zip", "zip"),
        (b"\x80 not a pickle", "x.pkl", "binary"),
        (b"# Title\n\ntext\n", "README.md", "text"),
    ],
)
def test_text_is_what_it_looks_like_and_a_name_that_fits_decides(content, name, expected):
    assert kind(content, name) == expected


def test_a_letter_cut_at_the_end_of_the_head_is_no_reason_to_call_a_text_binary():
    text = ("a" + "é" * HEAD_BYTES).encode()
    assert kind(text, "long.txt") == "text"
    assert kind(text[:11] + b"\xff" + text[11:], "long.txt") == "binary"


def test_a_long_json_is_known_by_its_head():
    assert kind(json.dumps([{"a": n} for n in range(5000)]).encode()) == "json"
    assert kind(b"[" * 100_000, "deep.json") == "json"


def test_a_zip_is_a_zip_unless_its_first_entry_says_more():
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("report.txt", "x")
    assert kind(file.getvalue(), "x.xlsx") == "zip"


@pytest.mark.parametrize(
    ("content", "expected"),
    [(b"a,b\n1,2\n", ","), (b"a;b\n1,5;2\n", ";"), (b"a|b\n1|2\n", "|"), (b"42\n17\n", ","), (b"a\tb\n1\t2\n", "\t")],
)
def test_the_separator_is_the_one_that_all_lines_have(content, expected):
    assert separator_of(content, kind_of(content, len(content), "x.csv")) == expected


@given(st.binary(max_size=100), st.text(max_size=10))
def test_any_bytes_are_of_some_kind(content, name):
    found = kind_of(content, len(content), name)
    assert found.what
    assert separator_of(content, found)

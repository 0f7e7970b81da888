"""What a cell shows of a result: facts, files and small previews of what strangers wrote."""

from __future__ import annotations

import io
import re
import struct
import zipfile
import zlib
from typing import Any

import numpy as np
import pandas as pd
import pytest
from IPython.core.interactiveshell import InteractiveShell

from iexec_nb.actions.outcome import Result
from iexec_nb.notebook import display, result_view
from iexec_nb.protocol.archive import open_archive
from iexec_nb.protocol.results import Agreement


def result(files: dict[str, bytes], **facts: Any) -> Result:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return Result(open_archive(packed.getvalue()), **facts)


def png(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">L", len(data)) + kind + data + struct.pack(">L", zlib.crc32(kind + data))

    head = struct.pack(">2L5B", width, height, 8, 0, 0, 0, 0)
    body = chunk(b"IDAT", zlib.compress(b"\0" * (width + 1) * height)) if width * height < 10_000 else b""
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + body + chunk(b"IEND", b"")


def table_bytes(kind: str) -> bytes:
    file = io.BytesIO()
    getattr(pd.DataFrame({"n": range(3), "name": ["a", "<b>", "c"]}), f"to_{kind}")(file)
    return file.getvalue()


def test_files_and_facts_are_rows_and_a_lie_is_marked() -> None:
    shown = result({"out.csv": b"1234", "<b>": b""}, encrypted=True, agreement=Agreement(False, "NOT what was agreed"))
    view = result_view.result_view(shown)
    assert view.caption == "Result: 2 files"
    text = display.plain(view)
    assert "✖ NOT what was agreed" in text
    assert re.search(r"  out\.csv +4 bytes, a CSV table", text)
    assert "&lt;b&gt;" in display.html(view)


def test_a_result_of_many_files_is_cut_and_counted() -> None:
    view = result_view.result_view(result({f"{n}.txt": b"x" for n in range(1000)}))
    assert len(view.rows) < 60
    assert view.rows[-1].text == "950 more files"


def test_the_first_rows_the_head_of_a_text_and_a_picture_are_previewed() -> None:
    shown = result(
        {
            "table.csv": b"<b>,square\n" + b"".join(b"%d,%d\n" % (n, n * n) for n in range(100_000)),
            "text.log": b"first line\n" + b"more\n" * 1000,
            "plot.png": png(10, 10),
            "data.bin": table_bytes("parquet"),
        }
    )
    html = result_view.result_html(shown)
    assert ">16</bdi>" in html
    assert ">25</bdi>" not in html
    assert "first line" in html
    assert 'src="data:image/png;base64,' in html
    assert "3 rows x 2 columns" not in html  # no parser of a binary format runs because something is displayed
    assert "&lt;b&gt;" in html
    assert len(html) < 20_000
    text = result_view.result_text(shown)
    assert "first line" in text
    assert "square" in text
    assert "base64" not in text


HOSTILE = b'<script>alert(1)</script>,"<img src=x onerror=alert(1)>"\n1,\xe2\x80\xae2\n3,\x1b]0;x\x07\n'


@pytest.mark.parametrize("name", ["evil.csv", "evil.txt", "evil.json", "evil.html", "evil.svg", "<img src=x>.csv"])
def test_nothing_of_a_file_becomes_markup(name: str) -> None:
    for content in (HOSTILE, b"<svg onload=alert(1)></svg>", b'{"a": "<script>"}', b"<html><script>"):
        shown = result({name: content})
        html = result_view.result_html(shown)
        assert not re.search(r"<(script|svg|img|html)\b", html)
        assert "\u202e" not in html + result_view.result_text(shown)
        assert "\x1b" not in html + result_view.result_text(shown)


@pytest.mark.parametrize(
    "content",
    [
        png(60_000, 60_000),
        b"\x89PNG\r\n\x1a\n",
        png(10, 10) + bytes(600_000),
        b"\x93NUMPY\x01\x00",
        table_bytes("parquet")[:-9],
        b"a,b\n" + b"1,2,3,4\n" * 3,
        b"\x80\x04\x95junk.",
        b"",
        b"\xff" * 50,
    ],
    ids=range(9),
)
def test_what_cannot_be_shown_is_left_out_without_an_error(content: bytes) -> None:
    html = result_view.result_html(result({"odd.csv": content}))
    assert "odd.csv" in html
    assert "<img" not in html
    assert "odd.csv" in result_view.result_text(result({"odd.csv": content}))


def test_a_damaged_file_is_named_and_not_looked_into() -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("broken.csv", "".join(f"{n},{n * n}\n" for n in range(500)))
    data = bytearray(packed.getvalue())
    data[45:60] = b"\xff" * 15
    shown = Result(open_archive(bytes(data)))
    assert "damaged" in result_view.result_text(shown)
    assert "damaged" in result_view.result_html(shown)


def test_only_a_few_files_are_looked_into_and_the_main_one_comes_first() -> None:
    files = {f"{n:02}.txt": b"text %d" % n for n in range(40)}
    files["computed.json"] = b'{"deterministic-output-path": "/iexec_out/37.txt"}'
    text = result_view.result_text(result(files))
    assert text.index("37.txt:") < text.index("00.txt:")
    assert text.count(".txt:") == 4


def test_the_notebook_shows_both_forms() -> None:
    ip = InteractiveShell()  # type: ignore[no-untyped-call]
    display.register(ip)
    data, _ = ip.display_formatter.format(result({"out.txt": b"hello"}))  # type: ignore[union-attr]
    assert "hello" in data["text/html"]
    assert "hello" in data["text/plain"]
    display.unregister(ip)
    data, _ = ip.display_formatter.format(result({"out.txt": b"hello"}))  # type: ignore[union-attr]
    assert "text/html" not in data
    ip.history_manager.end_session()  # type: ignore[union-attr]


def test_an_array_is_named_and_not_drawn() -> None:
    file = io.BytesIO()
    np.save(file, np.arange(5))
    assert "a NumPy array" in result_view.result_text(result({"a.npy": file.getvalue()}))

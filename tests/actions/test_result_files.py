"""The files of a result as objects: each opens as what it holds, and says what it is where it does not."""

from __future__ import annotations

import hashlib
import io
import pickle
import struct
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from iexec_nb.actions import readers
from iexec_nb.actions.outcome import Result
from iexec_nb.errors import IExecError, ResultNotFoundError, UnsafeArchiveError, ValidationError
from iexec_nb.protocol import results
from iexec_nb.protocol.archive import open_archive
from iexec_nb.protocol.result_files import FolderFiles, NoFiles
from iexec_nb.protocol.sniffing import kind_of
from iexec_nb.protocol.zip_records import Source

FRAME = pd.DataFrame({"n": [1, 2, 3], "name": ["a", "b", "é"]})


def written(how: Any, **options: Any) -> bytes:
    file = io.BytesIO()
    how(file, **options)
    return file.getvalue()


def result(files: dict[str, bytes], **facts: Any) -> Result:
    def fill(file: io.BytesIO) -> None:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in files.items():
                archive.writestr(name, content)

    return Result(open_archive(written(fill)), **facts)


TABLES = {
    "csv": FRAME.to_csv(index=False).encode(),
    "semicolons": FRAME.to_csv(index=False, sep=";").encode(),
    "tsv": FRAME.to_csv(index=False, sep="\t").encode(),
    "parquet": written(FRAME.to_parquet),
    "feather": written(FRAME.to_feather),
    "xlsx": written(FRAME.to_excel, index=False),
    "json": FRAME.to_json(orient="records").encode(),
    "jsonl": FRAME.to_json(orient="records", lines=True).encode(),
}


@pytest.mark.parametrize("name", ["x.csv", "x", "x.png", "deep/x.parquet"])
@pytest.mark.parametrize("kind", TABLES)
def test_a_table_opens_whatever_it_is_called(kind: str, name: str) -> None:
    opened = result({name: TABLES[kind]})
    if kind in ("tsv", "semicolons") and name == "x.csv":
        assert opened[name].kind == "csv"
    pd.testing.assert_frame_equal(opened[name].table(), FRAME)
    pd.testing.assert_frame_equal(opened.table(), FRAME)


def test_options_go_to_the_reader_of_pandas() -> None:
    opened = result({"x.csv": TABLES["csv"], "y.parquet": TABLES["parquet"]})
    assert len(opened.table("x.csv", nrows=1)) == 1
    assert list(opened["y.parquet"].table(columns=["name"])) == ["name"]
    with pytest.raises(ValidationError, match="cannot be read as a table"):
        opened["x.csv"].table(no_such_option=1)


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"\x89PNG\r\n\x1a\n" + bytes(40), "a PNG picture"),
        (b"%PDF-1.7", "a PDF document"),
        (pickle.dumps(FRAME), "a Python pickle, which can run code"),
        (b"\x1f\x8b\x08" + bytes(9), "compressed with gzip"),
        (bytes(range(256)), "bytes of no known format"),
        (b"", "empty"),
        (TABLES["parquet"][:-8], "a Parquet table"),
        (TABLES["xlsx"][:-30], "an Excel workbook"),
        (TABLES["feather"][:-20], "a Feather"),
    ],
    ids=range(9),
)
def test_what_is_no_table_says_what_it_is(content: bytes, what: str) -> None:
    with pytest.raises(ValueError, match=r"table\.csv") as caught:
        result({"table.csv": content}).table("table.csv")
    assert isinstance(caught.value, ValidationError | UnsafeArchiveError)
    assert what in str(caught.value)


def test_a_file_is_bytes_enough() -> None:
    file = result({"a.txt": b"hello"})["a.txt"]
    assert bytes(file) == file.bytes == b"hello"
    assert file == b"hello"
    assert file != b"other"
    assert file == result({"b": b"hello"})["b"]
    assert (len(file), file.size, file.kind) == (5, 5, "text")
    assert bool(result({"empty": b""})["empty"])
    with file.open() as opened:
        assert opened.read(2) == b"he"
        opened.seek(4)
        assert opened.read() == b"o"
    assert repr(file) == "ResultFile('a.txt', 5 bytes, text)"


def test_text_and_json_are_read_or_say_what_they_are() -> None:
    opened = result(
        {"t.txt": "naïve".encode(), "j.json": b'{"a": 1}', "l.jsonl": b'{"a": 1}\n{"a": 2}\n', "p": b"\xff"}
    )
    assert opened.text("t.txt") == "naïve"
    assert opened.json("j.json") == {"a": 1}
    assert opened.json("l.jsonl") == [{"a": 1}, {"a": 2}]
    for broken in (lambda: opened["p"].text(), lambda: opened["t.txt"].json(), lambda: opened["t.txt"].text("no such")):
        with pytest.raises(ValidationError, match="cannot be read as"):
            broken()
    with pytest.raises(ValidationError, match="cannot be read as JSON"):
        result({"d.json": b"[" * 100_000})["d.json"].json()


def test_arrays_open_and_are_never_unpickled() -> None:
    a, b = np.arange(6).reshape(2, 3), np.eye(2)
    opened = result(
        {
            "a.npy": written(lambda file: np.save(file, a)),
            "ab.npz": written(lambda file: np.savez_compressed(file, a=a, b=b)),
            "one.npz": written(lambda file: np.savez(file, only=b)),
            "fields.npy": written(lambda file: np.save(file, np.array([(1, 2.0)], dtype=[("ä", "i4"), ("b", "f8")]))),
        }
    )
    np.testing.assert_array_equal(opened["a.npy"].array(), a)
    np.testing.assert_array_equal(opened.array("ab.npz", "b"), b)
    np.testing.assert_array_equal(opened["one.npz"].array(), b)
    assert opened["fields.npy"].array()["ä"][0] == 1
    assert list(opened["ab.npz"].arrays()) == ["a", "b"]
    with pytest.raises(ValidationError, match="2 arrays"):
        opened["ab.npz"].array()
    with pytest.raises(ValidationError, match="no 'c'"):
        opened["ab.npz"].array("c")
    evil = written(lambda file: np.save(file, np.array([{"a": 1}], dtype=object), allow_pickle=True))
    zipped = written(lambda file: np.savez(file, x=np.array([{}], dtype=object)))
    for content in (evil, zipped):
        with pytest.raises(ValidationError, match="Python objects"):
            result({"x": content})["x"].array()


@pytest.mark.parametrize("shape", [(10**12,), (2**62, 2**62), (5,), ()])
def test_an_array_that_declares_more_than_it_has_gets_no_memory(shape: tuple[int, ...]) -> None:
    header = repr({"descr": "<f8", "fortran_order": False, "shape": shape}).encode()
    content = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header) + 1) + header + b"\n" + bytes(16)
    with pytest.raises(ValidationError, match="declares"):
        result({"x.npy": content})["x.npy"].array()


@pytest.mark.parametrize("cut", range(0, 80, 7))
def test_a_cut_array_is_an_error_of_ours(cut: int) -> None:
    content = written(lambda file: np.save(file, np.arange(3)))[:cut]
    with pytest.raises(ValidationError):
        result({"x.npy": content})["x.npy"].array()


class Evil:
    """A pickle that would leave a trace."""

    def __reduce__(self) -> Any:
        return (Path.touch, (Path("trace-of-a-pickle"),))


def test_a_pickle_needs_words_that_nobody_writes_by_accident(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    opened = result({"evil.pkl": pickle.dumps(Evil()), "good.pkl": pickle.dumps([1, 2])})
    for attempt in (
        lambda: opened["evil.pkl"].table(),
        lambda: opened["evil.pkl"].json(),
        lambda: opened["evil.pkl"].array(),
        lambda: opened["evil.pkl"].image(),
        lambda: opened.unsafe_unpickle("evil.pkl"),
        lambda: opened.unsafe_unpickle("evil.pkl", i_trust_the_author="yes"),  # type: ignore[arg-type]
    ):
        with pytest.raises(ValidationError):
            attempt()
    assert list(tmp_path.iterdir()) == []
    assert opened.unsafe_unpickle("good.pkl", i_trust_the_author=True) == [1, 2]
    with pytest.raises(ValidationError, match="cannot be read as a pickle"):
        result({"x": b"\x80\x04junk"}).unsafe_unpickle("x", i_trust_the_author=True)


def png(width: int, height: int) -> bytes:
    return b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + struct.pack(">2L", width, height) + bytes(20)


def test_a_picture_is_known_by_its_bytes_and_measured() -> None:
    opened = result({"plot.csv": png(3, 2), "bomb.png": png(100_000, 100_000), "lie.png": b"a,b\n1,2\n"})
    assert opened["plot.csv"].image().format == "png"
    assert opened["plot.csv"].pixels == (3, 2)
    with pytest.raises(ValidationError, match="100000 x 100000 pixels") as caught:
        opened["bomb.png"].image()
    assert "max_pixels=10000000000" in str(caught.value.hint)
    assert opened["bomb.png"].image(max_pixels=10**10).format == "png"
    with pytest.raises(ValidationError, match="a CSV table"):
        opened["lie.png"].image()


@pytest.mark.parametrize(
    ("head", "size"),
    [
        (b"GIF89a" + struct.pack("<2H", 7, 5), (7, 5)),
        (b"\xff\xd8\xff\xe0\0\x04ab\xff\xc4\0\x03x\xff\xc2\0\x0b\x08\0\x05\0\x07\x03", (7, 5)),
        (b"\xff\xd8\xff\xe0\0\x04ab\xff\xda", None),
        (b"RIFF\0\0\0\0WEBPVP8X" + bytes(8) + b"\x06\0\0\x04\0\0", (7, 5)),
        (b"RIFF\0\0\0\0WEBPVP8L" + bytes(4) + b"/" + struct.pack("<L", 6 | 4 << 14), (7, 5)),
        (b"RIFF\0\0\0\0WEBPVP8 " + bytes(10) + struct.pack("<2H", 7, 5), (7, 5)),
        (b"RIFF\0\0\0\0WEBPVP9 " + bytes(10), None),
        (b"\x89PNG\r\n\x1a\n", None),
    ],
    ids=range(8),
)
def test_the_pixels_of_every_kind_of_picture_are_counted(head: bytes, size: tuple[int, int] | None) -> None:
    assert readers.picture_size(head, kind_of(head, len(head))) == size


def test_a_table_of_a_billion_equal_rows_gets_no_memory() -> None:
    """A few kilobytes of Parquet that repeat one value."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    file = io.BytesIO()
    column = pa.DictionaryArray.from_arrays(pa.array([0] * 2_000_000, pa.int32()), pa.array(["x"]))
    pq.write_table(pa.table({"c": column}), file)
    small = result({"x.parquet": file.getvalue()})
    assert len(file.getvalue()) < 100_000
    with pytest.raises(ValidationError, match="too large") as caught:
        small["x.parquet"].table(max_bytes=1_000_000)
    assert "max_bytes=16000000" in str(caught.value.hint)
    assert len(small["x.parquet"].table()) == 2_000_000
    feather = written(pd.DataFrame({"c": np.zeros(500_000)}).to_feather, compression="zstd")
    with pytest.raises(ValidationError, match="too large"):
        result({"x": feather})["x"].table(max_bytes=1_000_000)


def test_a_table_that_points_outside_itself_is_an_error_and_not_the_end_of_the_kernel() -> None:
    """Arrow reads foreign memory where an offset of a text says so; here it is asked to look before it reads."""
    import pyarrow as pa

    column = pa.array(["a", "b", "c"], pa.large_string())
    content = bytearray(written(lambda file: pa.feather.write_feather(pa.table({"c": column}), file, "uncompressed")))
    offsets = content.index(struct.pack("<4q", 0, 1, 2, 3))
    struct.pack_into("<q", content, offsets + 16, 2**33)
    with pytest.raises(ValidationError, match="a Feather") as caught:
        result({"x.csv": bytes(content)}).table()
    assert "offset" in str(caught.value)


def test_a_workbook_that_is_a_bomb_is_refused() -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("[Content_Types].xml", "<Types/>")
        archive.writestr("xl/worksheets/sheet1.xml", bytes(200_000_000))
    with pytest.raises(UnsafeArchiveError, match="unpack"):
        result({"x.xlsx": file.getvalue()}).table()


# --- the result ------------------------------------------------------------------------------------------------------

MAIN = b'{"deterministic-output-path": "/iexec_out/b.csv"}'


def test_a_result_is_a_mapping_that_knows_its_main_file() -> None:
    opened = result({"computed.json": MAIN, "a.csv": b"x\n1\n", "b.csv": b"y\n2\n", "t.txt": b"t"})
    assert opened.main.name == "b.csv"
    assert list(opened.table()) == ["y"]
    assert opened.text("t.txt") == "t"
    assert opened.computed == {"deterministic-output-path": "/iexec_out/b.csv"}
    assert sorted(opened) == ["a.csv", "b.csv", "computed.json", "t.txt"]
    with pytest.raises(ResultNotFoundError, match="did you mean"):
        opened["c.csv"]
    with pytest.raises(LookupError):
        opened["nothing like it"]
    assert "c.csv" not in opened
    assert 5 not in opened
    assert opened.get("c.csv") is None
    assert opened.get("a.csv") == b"x\n1\n"


def test_without_a_name_several_candidates_are_listed() -> None:
    opened = result({"a.csv": b"x\n1\n", "b.csv": b"y\n2\n"})
    with pytest.raises(ResultNotFoundError, match="2 candidates for a table") as caught:
        opened.table()
    assert "a.csv, b.csv" in str(caught.value)
    with pytest.raises(ResultNotFoundError, match="0 candidates for a picture"):
        opened.image()
    with pytest.raises(ResultNotFoundError, match="2 files"):
        _ = opened.main
    assert result({"only.bin": b"\x00"}).main.name == "only.bin"


def test_the_files_are_a_table() -> None:
    files = result({"computed.json": MAIN, "b.csv": b"a,b\n1,2\n", "p.csv": png(1, 1)}).files
    assert files["name"].tolist() == ["computed.json", "b.csv", "p.csv"]
    assert files["kind"].tolist() == ["json", "csv", "png"]
    assert files["main"].tolist() == [False, True, False]
    assert files.loc[files["main"], "size"].tolist() == [8]
    assert Result(NoFiles()).files.empty


@pytest.mark.parametrize("computed", [b"[]", b"no json", b'{"deterministic-output-path": 5}', b"{}", b"[" * 100_000])
def test_a_computed_json_that_says_nothing_is_no_obstacle(computed: bytes) -> None:
    opened = result({"computed.json": computed, "out.txt": b"x"})
    assert opened.main.name == "out.txt"
    assert opened.text() == "x"
    assert not opened.files["main"].any()


def test_the_archive_of_an_early_version_opens_by_the_names_of_the_app() -> None:
    opened = result(
        {
            "stdout.txt": b"hello",
            "iexec_out/computed.json": b'{"deterministic-output-path": "/iexec_out/r.txt"}',
            "iexec_out/r.txt": b"r",
        }
    )
    assert opened["r.txt"].text() == opened["iexec_out/r.txt"].text() == "r"
    assert "r.txt" in opened
    assert opened.main.text() == "r"
    assert results.result_digest(opened._source) == "0x" + hashlib.sha256(b"r").hexdigest()


def test_saving_keeps_what_is_there_and_nothing_is_half_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    opened = result({"deep/a.csv": b"x\n1\n", "t.txt": b"t"})
    assert [path.name for path in opened.save("out")] == ["a.csv", "t.txt"]
    file = opened["deep/a.csv"]
    assert file.save() == Path("a.csv")
    assert file.save("out") == Path("out/a.csv")
    assert file.save(tmp_path / "mine.csv", overwrite=True).read_bytes() == b"x\n1\n"
    assert (tmp_path / "mine.csv").stat().st_mode & 0o777 == 0o600
    with pytest.raises(ValidationError, match="exists"):
        file.save()
    with pytest.raises(ValidationError, match="does not exist"):
        file.save("no/such/folder.csv")
    for place in (5, "", "a\0b"):
        with pytest.raises(ValidationError, match="not a path"):
            file.save(place)  # type: ignore[arg-type]
    (tmp_path / "link").symlink_to("/etc/hostname")
    with pytest.raises(ValidationError, match="exists"):
        file.save("link")


def test_damage_is_told_when_the_file_is_read_and_leaves_nothing(tmp_path: Path) -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("good.txt", b"good")
        archive.writestr("bad.txt", b"x" * 100)
    opened = Result(open_archive(file.getvalue().replace(b"x" * 100, b"x" * 99 + b"y")))
    assert opened["good.txt"].text() == "good"
    for attempt in (
        lambda: opened["bad.txt"].bytes,
        lambda: opened["bad.txt"].open(),
        lambda: opened["bad.txt"].text(),
        lambda: opened["bad.txt"].save(tmp_path / "bad.txt"),
        lambda: opened.save(tmp_path / "out"),
    ):
        with pytest.raises(UnsafeArchiveError, match="size and checksum"):
            attempt()
    assert list(tmp_path.iterdir()) == []


def test_a_single_file_and_nothing_are_results_too() -> None:
    table = Result(results.open_files(Source(TABLES["parquet"])))
    assert list(table) == ["result.parquet"]
    pd.testing.assert_frame_equal(table.table(), FRAME)
    nothing = Result(results.open_files(Source(b"")))
    assert len(nothing) == 0
    assert "0 files" in repr(nothing)
    with pytest.raises(ResultNotFoundError):
        _ = nothing.main


def test_a_single_file_is_verified_where_it_is_what_the_digest_covers() -> None:
    files = results.open_files(Source(b"hello"))
    assert results.agreement(files, "0x" + hashlib.sha256(b"hello").hexdigest()).verified is True
    assert results.agreement(files, "0x" + "12" * 32).verified is None


def test_a_folder_is_a_result_and_links_in_it_are_refused(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "a.txt").write_text("a")
    (tmp_path / "computed.json").write_text('{"deterministic-output-path": "/iexec_out/deep/a.txt"}')
    opened = Result(FolderFiles(tmp_path))
    assert sorted(opened) == ["computed.json", "deep/a.txt"]
    assert opened.main.text() == "a"
    (tmp_path / "link").symlink_to("/etc/hostname")
    with pytest.raises(IExecError, match="link or a special file"):
        FolderFiles(tmp_path)


def test_what_a_result_prints_is_short_and_harmless() -> None:
    many = result({f"{n}\u202e.txt": b"x" for n in range(1000)})
    text = repr(many)
    assert len(text.splitlines()) < 30
    assert "and 980 more" in text
    assert "\u202e" not in text
    lie = results.agreement(result({"computed.json": MAIN, "b.csv": b"x"})._source, "0x\x1b[31m")
    assert lie.verified is False
    assert "\x1b" not in repr(Result(many._source, agreement=lie))
    assert "NOT what the workers agreed on" in repr(Result(many._source, agreement=replace(lie, text="")))

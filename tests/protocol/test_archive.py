"""Opening zips and saving what is in them: what is honest opens, what is hostile is refused and leaves nothing."""

import contextlib
import io
import os
import stat
import struct
import tracemalloc
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iexec_nb.errors import ConfigurationError, ResultNotFoundError, UnsafeArchiveError, ValidationError
from iexec_nb.protocol import archive as archives
from iexec_nb.protocol import zip_records
from iexec_nb.protocol.archive import open_archive
from iexec_nb.protocol.extraction import extract

COMPUTED = b'{"deterministic-output-path": "/iexec_out/result.txt"}'


def a_zip(*entries, method=zipfile.ZIP_DEFLATED):
    """Write entries of (name or ZipInfo, content) without any check."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in entries:
            archive.writestr(name, content, method)
    return buffer.getvalue()


def an_entry(name, mode=0, **changes):
    info = zipfile.ZipInfo("placeholder")
    info.filename = name
    info.external_attr = mode << 16
    for key, value in changes.items():
        setattr(info, key, value)
    return info


def damage(data):
    """Return what is wrong with a zip, content included, or None."""
    try:
        open_archive(data).check()
    except UnsafeArchiveError as error:
        return error.message
    return None


def patched(data, *changes, directory=True):
    """Overwrite 16- or 32-bit fields of the first central header (or the first local one)."""
    out = bytearray(data)
    at = data.index(b"PK\x01\x02") if directory else 0
    for offset, form, value in changes:
        struct.pack_into(form, out, at + offset, value)
    return bytes(out)


def honest():
    return a_zip(("computed.json", COMPUTED), ("result.txt", b"42\n"), ("deep/er/é ü.csv", b"a,b\n"), ("empty/", b""))


# --- honest archives -------------------------------------------------------------------------------------------------


def test_an_honest_archive_is_read_and_extracted(tmp_path):
    archive = open_archive(honest())
    assert archive.names == ("computed.json", "result.txt", "deep/er/é ü.csv")
    assert archive.sizes["result.txt"] == 3
    assert archive.read("result.txt") == b"42\n"
    assert repr(archive) == f"Archive(3 files, {len(COMPUTED) + 7} bytes)"
    paths = extract(archive, tmp_path / "out")
    assert [path.relative_to(tmp_path / "out").as_posix() for path in paths] == list(archive.names)
    assert (tmp_path / "out/deep/er/é ü.csv").read_bytes() == b"a,b\n"
    assert (tmp_path / "out/empty").is_dir()
    assert stat.S_IMODE(paths[0].stat().st_mode) == 0o600
    assert os.listdir(tmp_path) == ["out"]


def test_a_path_is_opened_like_bytes_and_may_vanish(tmp_path):
    path = tmp_path / "r.zip"
    path.write_bytes(honest())
    archive = open_archive(path)
    path.unlink()
    assert archive.read("result.txt") == b"42\n"


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("size", [0, 1, zip_records.PIECE, zip_records.PIECE + 1, 3 * zip_records.PIECE])
def test_content_of_any_size_comes_back(method, size):
    content = (bytes(range(256)) * (size // 256 + 1))[:size]
    data = a_zip(("x", content), method=method)
    assert open_archive(data).read("x") == content
    assert damage(data) is None


def test_an_archive_written_to_a_pipe_opens():
    class Pipe(io.RawIOBase):
        def __init__(self):
            self.data = b""

        def writable(self):
            return True

        def write(self, piece):
            self.data += bytes(piece)
            return len(piece)

    pipe = Pipe()
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("result.txt", b"42\n" * 100)
    assert open_archive(pipe.data).read("result.txt") == b"42\n" * 100


def test_dull_data_below_the_free_size_is_no_bomb():
    assert len(open_archive(a_zip(("zeros", bytes(5_000_000)))).read("zeros")) == 5_000_000


def test_a_missing_file_is_named_with_what_there_is():
    with pytest.raises(ResultNotFoundError, match=r"did you mean 'result\.txt'") as caught:
        open_archive(honest()).read("results.txt")
    assert "computed.json" in str(caught.value)
    with pytest.raises(ResultNotFoundError):
        open_archive(honest()).read("empty/")


# --- hostile archives ------------------------------------------------------------------------------------------------

HOSTILE_NAMES = [
    "../evil",
    "a/../../evil",
    "a/..",
    "..",
    ".",
    "a/./b",
    "a//b",
    "/etc/passwd",
    "//host/share",
    "C:/evil",
    "c:evil",
    "a\\..\\evil",
    "\\\\host\\share",
    "good.txt\0.evil",
    "new\nline",
    "bell\x07",
    "x" * 256,
    "x/" * 600 + "y",
    "",
    "/",
    ".. /evil",
    "... /evil",
    "a/ ",
    "a/" * 70 + "b",
    "CON",
    "nul",
    "aux.txt",
    "deep/PRN .tar.gz",
    "com1.csv",
    "CONIN$",
    "Aux/inside.txt",
]


@pytest.mark.parametrize("name", HOSTILE_NAMES, ids=range(len(HOSTILE_NAMES)))
def test_a_name_that_is_not_plainly_inside_is_refused_and_nothing_is_written(name, tmp_path):
    info = an_entry("n" * len(name.encode()))
    data = a_zip(("good.txt", b"fine"), (info, b"evil")).replace(b"n" * max(1, len(name.encode())), name.encode())
    with pytest.raises(UnsafeArchiveError):
        extract(open_archive(data), tmp_path / "out")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("kind", ["S_IFLNK", "S_IFIFO", "S_IFCHR", "S_IFBLK", "S_IFSOCK", "S_IFDIR"])
def test_links_and_special_files_are_refused(kind):
    with pytest.raises(UnsafeArchiveError, match="link or a special file"):
        open_archive(a_zip((an_entry("innocent", getattr(stat, kind) | 0o777), b"/etc/passwd")))


def test_a_regular_file_with_a_mode_is_accepted():
    assert open_archive(a_zip((an_entry("run.sh", stat.S_IFREG | 0o4755), b"x"))).names == ("run.sh",)


@pytest.mark.parametrize(
    ("first", "second"),
    [("a.txt", "a.txt"), ("A.txt", "a.TXT"), ("d/x", "D/X"), ("é", "e\u0301"), ("a", "a."), ("STRASSE", "straße")],
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_names_that_are_one_file_on_some_system_are_refused(first, second):
    with pytest.raises(UnsafeArchiveError, match="same name"):
        open_archive(a_zip((first, b"1"), (second, b"2")))


@pytest.mark.parametrize("entries", [["a", "a/b"], ["a/b", "A"], ["a/b/c", "a/b"]])
def test_a_file_that_is_also_a_folder_is_refused(entries):
    with pytest.raises(UnsafeArchiveError, match=r"file is also a folder"):
        open_archive(a_zip(*((name, b"x") for name in entries)))


def test_a_folder_with_content_is_refused():
    with pytest.raises(UnsafeArchiveError, match="folder has content"):
        open_archive(a_zip((an_entry("d/"), b"x")))


def test_a_bomb_by_ratio_is_refused():
    with pytest.raises(UnsafeArchiveError, match="claims to unpack"):
        open_archive(a_zip(("zeros", bytes(30_000_000))))


def test_a_bomb_of_many_dull_files_is_refused():
    with pytest.raises(UnsafeArchiveError, match="unpacks to too much"):
        open_archive(a_zip(*((f"{i}", bytes(9_000_000)) for i in range(12))))


def test_a_bomb_by_declared_total_is_refused():
    data = a_zip(("a", os.urandom(1000)))
    for directory in (True, False):
        data = patched(data, (24 if directory else 22, "<L", archives.MAX_BYTES + 1), directory=directory)
    with pytest.raises(UnsafeArchiveError, match="unpacks to too much"):
        open_archive(data)


def test_a_person_who_trusts_an_archive_raises_the_limits():
    dull, many = a_zip(("zeros", bytes(30_000_000))), a_zip(*((f"{i}", b"") for i in range(30)))
    with pytest.raises(UnsafeArchiveError) as caught:
        open_archive(dull)
    assert "max_bytes=30000000" in str(caught.value.hint)
    assert open_archive(dull, max_bytes=30_000_000).sizes == {"zeros": 30_000_000}
    with pytest.raises(UnsafeArchiveError, match="unpacks to too much"):
        open_archive(dull, max_bytes=29_999_999)
    with pytest.raises(UnsafeArchiveError, match="too many files") as caught:
        open_archive(many, max_files=29)
    assert "max_files=30" in str(caught.value.hint)
    assert len(open_archive(many, max_files=30).names) == 30


@pytest.mark.parametrize("limit", [0, -1, True, 1.5, "10", b""])
def test_a_limit_that_is_none_is_refused(limit):
    for name in ("max_bytes", "max_files"):
        with pytest.raises(ValidationError, match="not a limit"):
            open_archive(honest(), **{name: limit})


@pytest.mark.parametrize("declared", [0, 1, 99_999, 100_001])
def test_a_lie_about_the_size_is_found_before_anything_is_in_place(declared, tmp_path):
    data = a_zip(("first", b"fine"), ("zeros", bytes(100_000)))
    second = data.index(b"PK\x03\x04", 1)
    at = data.index(b"PK\x01\x02", data.index(b"PK\x01\x02") + 1)
    out = bytearray(data)
    struct.pack_into("<L", out, at + 24, declared)
    with pytest.raises(UnsafeArchiveError, match="contradicts itself"):
        open_archive(bytes(out))
    struct.pack_into("<L", out, second + 22, declared)
    archive = open_archive(bytes(out))
    with pytest.raises(UnsafeArchiveError, match="size and checksum"):
        extract(archive, tmp_path / "out")
    with pytest.raises(UnsafeArchiveError, match="size and checksum"):
        archive.read("zeros")
    assert os.listdir(tmp_path) == []
    assert damage(bytes(out)) is not None


@pytest.fixture(scope="module")
def crowd():
    """A zip of 100,000 files, which only the long records of zip64 can count."""
    return a_zip(*((f"{i:06}.txt", b"x") for i in range(100_000)), method=zipfile.ZIP_STORED)


def test_too_many_files_are_refused_before_they_fill_the_memory(crowd):
    tracemalloc.start()
    try:
        with pytest.raises(UnsafeArchiveError, match="too many files") as caught:
            open_archive(crowd, max_files=20_000)
        with pytest.raises(UnsafeArchiveError, match="directory is larger"):
            open_archive(crowd)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert caught.value.context["files"] == 100_000
    assert peak < 1_000_000


def test_many_files_open_where_they_are_wanted(crowd):
    archive = open_archive(crowd, max_files=100_000)
    assert len(archive.names) == 100_000
    assert archive.read("099999.txt") == b"x"


def test_a_giant_directory_of_few_files_is_refused_before_it_is_parsed():
    names = (f"{'x' * 240}/{'y' * 240}/{i}" for i in range(8_500))
    with pytest.raises(UnsafeArchiveError, match="directory is larger"):
        open_archive(a_zip(*((name, b"") for name in names), method=zipfile.ZIP_STORED))


def test_encrypted_entries_are_refused():
    data = a_zip(("a", b"x"))
    data = patched(patched(data, (8, "<H", 1)), (6, "<H", 1), directory=False)
    with pytest.raises(UnsafeArchiveError, match="zip password"):
        open_archive(data)


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_methods_of_packing_are_refused(method):
    with pytest.raises(UnsafeArchiveError, match="not deflate"):
        open_archive(a_zip(("a", b"x" * 100), method=method))


def test_overlapping_entries_are_refused():
    data = a_zip(("a", b"x" * 50), ("b", b"y" * 50), method=zipfile.ZIP_STORED)
    at = data.index(b"PK\x01\x02", data.index(b"PK\x01\x02") + 1)
    out = bytearray(data)
    struct.pack_into("<L", out, at + 42, 0)  # the second entry points to the header of the first
    out[at + 46 : at + 47] = b"a"
    struct.pack_into("<L", out, at + 16, struct.unpack_from("<L", data, 14)[0])
    with pytest.raises(UnsafeArchiveError, match=r"overlap"):
        open_archive(bytes(out))


def test_a_name_that_differs_between_directory_and_data_is_refused():
    data = a_zip(("a.txt", b"x")).replace(b"a.txt", b"b.txt", 1)
    with pytest.raises(UnsafeArchiveError, match="contradicts itself"):
        open_archive(data)


def test_data_behind_the_end_of_an_entry_is_refused():
    data = a_zip(("a", b"x" * 100))
    packed = struct.unpack_from("<L", data, 18)[0]
    cut = data.index(b"PK\x01\x02")
    grown = data[:cut] + b"hidden" + data[cut:]
    for directory in (True, False):
        grown = patched(grown, (20 if directory else 18, "<L", packed + 6), directory=directory)
    grown = bytearray(grown)
    struct.pack_into("<L", grown, len(grown) - 6, cut + 6)
    with pytest.raises(UnsafeArchiveError, match="goes on after its end"):
        open_archive(bytes(grown)).read("a")


@pytest.mark.parametrize("data", [b"", b"PK", b"not a zip at all", b"\0" * 1000, b"PK\x05\x06" + b"\xff" * 18])
def test_what_is_no_zip_is_refused(data):
    with pytest.raises(UnsafeArchiveError):
        open_archive(data)
    assert damage(data) is not None or data.startswith(b"PK\x05")


@pytest.mark.parametrize("data", ["r.zip", None, 3])
def test_what_is_neither_bytes_nor_a_path_is_refused(data):
    with pytest.raises(ValidationError, match="bytes or a Path"):
        open_archive(data)


def test_every_cut_of_an_archive_is_noticed():
    data = honest()
    for size in range(len(data)):
        assert damage(data[:size]) is not None


@given(at=st.integers(0, len(honest()) - 1), bit=st.integers(0, 7))
def test_a_flipped_bit_never_changes_content_unnoticed(at, bit):
    data = bytearray(honest())
    data[at] ^= 1 << bit
    try:
        archive = open_archive(bytes(data))
        content = {name: archive.read(name) for name in archive.names}
    except UnsafeArchiveError:
        return
    clean = open_archive(honest())
    assert content == {name: clean.read(name) for name in clean.names}


@given(st.binary(max_size=300))
def test_any_bytes_open_or_are_refused(data):
    for given_ in (data, honest()[: len(data)] + data + honest()[-100:]):
        with contextlib.suppress(UnsafeArchiveError):
            assert isinstance(open_archive(given_).names, tuple)


# --- where to --------------------------------------------------------------------------------------------------------


def test_extracting_twice_is_fine_and_other_content_is_kept(tmp_path):
    archive = open_archive(honest())
    extract(archive, tmp_path)
    extract(archive, tmp_path)
    (tmp_path / "result.txt").write_text("mine")
    (tmp_path / "computed.json").unlink()
    with pytest.raises(ValidationError, match="exists with other content"):
        extract(archive, tmp_path)
    assert (tmp_path / "result.txt").read_text() == "mine"
    assert not (tmp_path / "computed.json").exists()
    extract(archive, tmp_path, overwrite=True)
    assert (tmp_path / "result.txt").read_text() == "42\n"
    assert sorted(os.listdir(tmp_path)) == ["computed.json", "deep", "empty", "result.txt"]


def test_links_in_the_target_are_not_followed(tmp_path):
    outside, target = tmp_path / "outside", tmp_path / "target"
    outside.mkdir()
    target.mkdir()
    (target / "deep").symlink_to(outside)
    with pytest.raises(ValidationError, match="would be followed"):
        extract(open_archive(honest()), target, overwrite=True)
    assert os.listdir(outside) == []
    assert os.listdir(target) == ["deep"]


def test_a_file_where_a_folder_must_be_is_kept(tmp_path):
    (tmp_path / "deep").write_text("mine")
    with pytest.raises(ValidationError, match="is not a folder"):
        extract(open_archive(honest()), tmp_path, overwrite=True)
    (tmp_path / "deep").unlink()
    (tmp_path / "result.txt").mkdir()
    with pytest.raises(ValidationError, match="exists with other content"):
        extract(open_archive(honest()), tmp_path, overwrite=True)
    assert os.listdir(tmp_path) == ["result.txt"]
    file = tmp_path / "file"
    file.write_text("mine")
    with pytest.raises(ValidationError, match="is not a folder"):
        extract(open_archive(honest()), file)
    assert file.read_text() == "mine"


def test_folders_on_the_way_are_made(tmp_path):
    assert extract(open_archive(honest()), tmp_path / "a" / "b")[1] == tmp_path / "a" / "b" / "result.txt"


def test_a_relative_target_works(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    extract(open_archive(honest()), "out")
    assert Path("out/result.txt").read_text() == "42\n"
    assert os.listdir(tmp_path) == ["out"]


# --- one story -------------------------------------------------------------------------------------------------------


def test_names_near_those_of_devices_are_names():
    names = ("console.txt", "auxiliary/nul1", "com.txt", "lpt10", ".con")
    assert open_archive(a_zip(*((name, b"x") for name in names))).names == names


@pytest.mark.parametrize("where", ["front", "middle", "behind", "comment"])
def test_bytes_that_another_reader_would_take_for_files_are_refused(where):
    """A reader that goes from header to header, as Java's stream does, sees what the directory does not name."""
    hidden = a_zip(("evil.txt", b"hidden"), method=zipfile.ZIP_STORED)
    hidden = hidden[: hidden.index(b"PK\x01\x02")]
    data = a_zip(("a.txt", b"A"), ("b.txt", b"B"), method=zipfile.ZIP_STORED)
    directory = data.index(b"PK\x01\x02")
    second = data.index(b"PK\x03\x04", 1)
    at = {"front": 0, "middle": second, "behind": directory, "comment": len(data)}[where]
    out = bytearray(data[:at] + hidden + data[at:])
    if where != "comment":
        central = directory + len(hidden)
        struct.pack_into("<L", out, len(out) - 6, central)
        for entry, header in ((central, 0), (out.index(b"PK\x01\x02", central + 1), second)):
            struct.pack_into("<L", out, entry + 42, header + (len(hidden) if header >= at else 0))
    with pytest.raises(
        UnsafeArchiveError, match=r"bytes lie between its entries|contradicts itself|bytes follow its end"
    ):
        open_archive(bytes(out))


def test_a_comment_may_be_there_and_may_not_hide_a_second_end():
    file = io.BytesIO(honest())
    with zipfile.ZipFile(file, "a") as archive:
        archive.comment = b"made by a worker"
    assert open_archive(file.getvalue()).read("result.txt") == b"42\n"
    with zipfile.ZipFile(file, "a") as archive:
        archive.comment = b"PK\x05\x06" + bytes(18) + b"tail"
    with pytest.raises(UnsafeArchiveError):
        open_archive(file.getvalue())


def test_an_entry_with_a_second_name_is_refused():
    def named(name):
        info = an_entry("a.txt")
        info.extra = struct.pack("<2HBL", 0x7075, 5 + len(name), 1, 0) + name
        return a_zip((info, b"x"))

    assert open_archive(named(b"a.txt")).names == ("a.txt",)
    with pytest.raises(UnsafeArchiveError, match="contradicts itself"):
        open_archive(named(b"b.txt"))


def test_long_sizes_are_read_and_must_agree():
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("a", "w", force_zip64=True) as entry:
        entry.write(b"content")
    data = file.getvalue()
    assert open_archive(data).read("a") == b"content"
    # The long size of the header, which the directory does not repeat because it fits there.
    at = data.index(b"a" + struct.pack("<2H", 1, 16)) + 5
    wrong = data[:at] + struct.pack("<Q", 2**40) + data[at + 8 :]
    with pytest.raises(UnsafeArchiveError, match="contradicts itself"):
        open_archive(wrong)


def test_a_long_end_record_that_contradicts_the_short_one_is_refused(crowd):
    locator = crowd.index(b"PK\x06\x07")
    for offset, form, value in ((8, "<Q", 0), (4, "<L", 1), (16, "<L", 2)):
        out = bytearray(crowd)
        struct.pack_into(form, out, locator + offset, value)
        with pytest.raises(UnsafeArchiveError, match=r"directory is damaged|not a readable zip"):
            open_archive(bytes(out), max_files=100_000)
    record = crowd.index(b"PK\x06\x06")
    for offset in (4, 16, 20, 24, 32, 40, 48):
        out = bytearray(crowd)
        out[record + offset] ^= 1
        with pytest.raises(UnsafeArchiveError):
            open_archive(bytes(out), max_files=100_000)


# --- on the disk -----------------------------------------------------------------------------------------------------


@pytest.fixture
def on_disk(monkeypatch):
    """Let every archive count as a large one."""
    monkeypatch.setattr(zip_records, "IN_MEMORY_BYTES", 100)
    monkeypatch.setattr("iexec_nb.protocol.result_files.IN_MEMORY_BYTES", 100)


def test_a_large_archive_stays_on_the_disk_and_survives_its_name(tmp_path, on_disk):
    path = tmp_path / "large.zip"
    content = os.urandom(3_000_000)
    path.write_bytes(a_zip(("big", content), ("small", b"s")))
    archive = open_archive(path)
    path.unlink()
    with archive.open("big") as file:
        file.seek(2_999_990)
        assert file.read() == content[-10:]
    with archive.open("small") as file:
        assert file.read() == b"s"


def test_a_large_archive_costs_no_memory(tmp_path, on_disk):
    path = tmp_path / "large.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as made, made.open("big", "w", force_zip64=True) as file:
        for _ in range(64):
            file.write(bytes(1 << 20))
    archive = open_archive(path)
    tracemalloc.start()
    try:
        archive.check()
        archive.open("big").close()
        extract(archive, tmp_path / "out")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (tmp_path / "out" / "big").stat().st_size == 64 << 20
    assert peak < 4_000_000


def test_where_files_are_mapped_the_same_comes_out(tmp_path):
    path = tmp_path / "large.zip"
    path.write_bytes(honest())
    source = zip_records.Source(path.open("rb"), mapped=True)
    assert open_archive(source).read("result.txt") == b"42\n"
    empty = tmp_path / "empty.zip"
    empty.write_bytes(b"")
    assert zip_records.Source(empty.open("rb"), mapped=True).size == 0


def test_a_file_that_becomes_shorter_while_it_is_open_is_an_error(tmp_path, on_disk):
    path = tmp_path / "large.zip"
    path.write_bytes(a_zip(("big", os.urandom(2_000_000))))
    archive = open_archive(path)
    os.truncate(path, 1_000_000)
    with pytest.raises(UnsafeArchiveError, match="shorter"):
        archive.read("big")


@pytest.mark.parametrize("names", [("10:30.csv",), ("what?",), ("a.",), ("deep /x",), ("d./",)], ids=range(5))
def test_names_that_windows_would_change_are_not_written_there(tmp_path, names):
    archive = open_archive(a_zip(*((name, b"" if name.endswith("/") else b"x") for name in names)))
    with pytest.raises(UnsafeArchiveError, match="not a name on Windows"):
        extract(archive, tmp_path / "out", windows=True)
    assert os.listdir(tmp_path) == []
    extract(archive, tmp_path / "out", windows=False)


@pytest.mark.parametrize("place", ["", "a\0b", None, 5, b"out"], ids=repr)
def test_what_is_no_path_is_no_place_for_files(place):
    with pytest.raises(ValidationError, match="not a path"):
        extract(open_archive(honest()), place)


def test_a_folder_that_cannot_be_written_is_an_error_of_ours(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ConfigurationError, match="cannot be written"):
        extract(open_archive(honest()), tmp_path / "file" / "below")

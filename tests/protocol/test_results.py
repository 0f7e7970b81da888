"""Opening results: what is honest opens, everything hostile is refused and leaves nothing behind."""

import contextlib
import hashlib
import io
import os
import stat
import struct
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iexec_nb.errors import ResultNotFoundError, UnsafeArchiveError, ValidationError
from iexec_nb.protocol import results as m
from iexec_nb.protocol.types import keccak

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
    archive = m.open_archive(honest())
    assert archive.names == ("computed.json", "result.txt", "deep/er/é ü.csv")
    assert archive.sizes["result.txt"] == 3
    assert archive.read("result.txt") == b"42\n"
    assert archive.computed == {"deterministic-output-path": "/iexec_out/result.txt"}
    assert repr(archive) == f"Archive(3 files, {len(COMPUTED) + 7} bytes)"
    paths = archive.extract(tmp_path / "out")
    assert [path.relative_to(tmp_path / "out").as_posix() for path in paths] == list(archive.names)
    assert (tmp_path / "out/deep/er/é ü.csv").read_bytes() == b"a,b\n"
    assert (tmp_path / "out/empty").is_dir()
    assert stat.S_IMODE(paths[0].stat().st_mode) == 0o600
    assert os.listdir(tmp_path) == ["out"]


def test_a_path_is_opened_like_bytes_and_may_vanish(tmp_path):
    path = tmp_path / "r.zip"
    path.write_bytes(honest())
    archive = m.open_archive(path)
    path.unlink()
    assert archive.read("result.txt") == b"42\n"


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("size", [0, 1, m._PIECE, m._PIECE + 1, 3 * m._PIECE])
def test_content_of_any_size_comes_back(method, size):
    content = (bytes(range(256)) * (size // 256 + 1))[:size]
    data = a_zip(("x", content), method=method)
    assert m.open_archive(data).read("x") == content
    assert m.damage(data) is None


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
    assert m.open_archive(pipe.data).read("result.txt") == b"42\n" * 100


def test_dull_data_below_the_free_size_is_no_bomb():
    assert len(m.open_archive(a_zip(("zeros", bytes(5_000_000)))).read("zeros")) == 5_000_000


def test_a_missing_file_is_named_with_what_there_is():
    with pytest.raises(ResultNotFoundError, match=r"did you mean 'result\.txt'") as caught:
        m.open_archive(honest()).read("results.txt")
    assert "computed.json" in str(caught.value)
    with pytest.raises(ResultNotFoundError):
        m.open_archive(honest()).read("empty/")


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
]


@pytest.mark.parametrize("name", HOSTILE_NAMES, ids=range(len(HOSTILE_NAMES)))
def test_a_name_that_is_not_plainly_inside_is_refused_and_nothing_is_written(name, tmp_path):
    info = an_entry("n" * len(name.encode()))
    data = a_zip(("good.txt", b"fine"), (info, b"evil")).replace(b"n" * max(1, len(name.encode())), name.encode())
    with pytest.raises(UnsafeArchiveError):
        m.open_archive(data).extract(tmp_path / "out")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("kind", ["S_IFLNK", "S_IFIFO", "S_IFCHR", "S_IFBLK", "S_IFSOCK", "S_IFDIR"])
def test_links_and_special_files_are_refused(kind):
    with pytest.raises(UnsafeArchiveError, match="link or a special file"):
        m.open_archive(a_zip((an_entry("innocent", getattr(stat, kind) | 0o777), b"/etc/passwd")))


def test_a_regular_file_with_a_mode_is_accepted():
    assert m.open_archive(a_zip((an_entry("run.sh", stat.S_IFREG | 0o4755), b"x"))).names == ("run.sh",)


@pytest.mark.parametrize(
    ("first", "second"),
    [("a.txt", "a.txt"), ("A.txt", "a.TXT"), ("d/x", "D/X"), ("é", "e\u0301"), ("a", "a."), ("STRASSE", "straße")],
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_names_that_are_one_file_on_some_system_are_refused(first, second):
    with pytest.raises(UnsafeArchiveError, match="same name"):
        m.open_archive(a_zip((first, b"1"), (second, b"2")))


@pytest.mark.parametrize("entries", [["a", "a/b"], ["a/b", "A"], ["a/b/c", "a/b"]])
def test_a_file_that_is_also_a_folder_is_refused(entries):
    with pytest.raises(UnsafeArchiveError, match=r"file is also a folder"):
        m.open_archive(a_zip(*((name, b"x") for name in entries)))


def test_a_folder_with_content_is_refused():
    with pytest.raises(UnsafeArchiveError, match="folder has content"):
        m.open_archive(a_zip((an_entry("d/"), b"x")))


def test_a_bomb_by_ratio_is_refused():
    with pytest.raises(UnsafeArchiveError, match="claims to unpack"):
        m.open_archive(a_zip(("zeros", bytes(30_000_000))))


def test_a_bomb_of_many_dull_files_is_refused():
    with pytest.raises(UnsafeArchiveError, match="unpacks to too much"):
        m.open_archive(a_zip(*((f"{i}", bytes(9_000_000)) for i in range(12))))


def test_a_bomb_by_declared_total_is_refused():
    data = a_zip(("a", b"x" * 1000), method=zipfile.ZIP_STORED)
    for directory in (True, False):
        data = patched(data, (24 if directory else 22, "<L", m.MAX_BYTES + 1), directory=directory)
    with pytest.raises(UnsafeArchiveError, match="unpacks to too much"):
        m.open_archive(data)


@pytest.mark.parametrize("declared", [0, 1, 99_999, 100_001])
def test_a_lie_about_the_size_is_found_before_anything_is_in_place(declared, tmp_path):
    data = a_zip(("first", b"fine"), ("zeros", bytes(100_000)))
    second = data.index(b"PK\x03\x04", 1)
    at = data.index(b"PK\x01\x02", data.index(b"PK\x01\x02") + 1)
    out = bytearray(data)
    struct.pack_into("<L", out, at + 24, declared)
    with pytest.raises(UnsafeArchiveError, match="contradicts itself"):
        m.open_archive(bytes(out))
    struct.pack_into("<L", out, second + 22, declared)
    archive = m.open_archive(bytes(out))
    with pytest.raises(UnsafeArchiveError, match="size and checksum"):
        archive.extract(tmp_path / "out")
    with pytest.raises(UnsafeArchiveError, match="size and checksum"):
        archive.read("zeros")
    assert os.listdir(tmp_path) == []
    assert m.damage(bytes(out)) is not None


def test_too_many_files_are_refused():
    data = a_zip(*((f"{i}", b"") for i in range(m.MAX_FILES + 1)), method=zipfile.ZIP_STORED)
    with pytest.raises(UnsafeArchiveError, match="too many files"):
        m.open_archive(data)


def test_a_giant_directory_is_refused_before_it_is_parsed():
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 65535, 65535, 2**31, 0, 0)
    with pytest.raises(UnsafeArchiveError, match="directory is larger"):
        m.open_archive(end)


def test_encrypted_entries_are_refused():
    data = a_zip(("a", b"x"))
    data = patched(patched(data, (8, "<H", 1)), (6, "<H", 1), directory=False)
    with pytest.raises(UnsafeArchiveError, match="zip password"):
        m.open_archive(data)


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_methods_of_packing_are_refused(method):
    with pytest.raises(UnsafeArchiveError, match="not deflate"):
        m.open_archive(a_zip(("a", b"x" * 100), method=method))


def test_overlapping_entries_are_refused():
    data = a_zip(("a", b"x" * 50), ("b", b"y" * 50), method=zipfile.ZIP_STORED)
    at = data.index(b"PK\x01\x02", data.index(b"PK\x01\x02") + 1)
    out = bytearray(data)
    struct.pack_into("<L", out, at + 42, 0)  # the second entry points to the header of the first
    out[at + 46 : at + 47] = b"a"
    struct.pack_into("<L", out, at + 16, struct.unpack_from("<L", data, 14)[0])
    with pytest.raises(UnsafeArchiveError, match=r"overlap"):
        m.open_archive(bytes(out))


def test_a_name_that_differs_between_directory_and_data_is_refused():
    data = a_zip(("a.txt", b"x")).replace(b"a.txt", b"b.txt", 1)
    with pytest.raises(UnsafeArchiveError, match="contradicts itself"):
        m.open_archive(data)


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
        m.open_archive(bytes(grown)).read("a")


@pytest.mark.parametrize("data", [b"", b"PK", b"not a zip at all", b"\0" * 1000, b"PK\x05\x06" + b"\xff" * 18])
def test_what_is_no_zip_is_refused(data):
    with pytest.raises(UnsafeArchiveError):
        m.open_archive(data)
    assert m.damage(data) is not None or data.startswith(b"PK\x05")


@pytest.mark.parametrize("data", ["r.zip", None, 3])
def test_what_is_neither_bytes_nor_a_path_is_refused(data):
    with pytest.raises(ValidationError, match="bytes or a Path"):
        m.open_archive(data)


def test_every_cut_of_an_archive_is_noticed():
    data = honest()
    for size in range(len(data)):
        assert m.damage(data[:size]) is not None


@given(at=st.integers(0, len(honest()) - 1), bit=st.integers(0, 7))
def test_a_flipped_bit_never_changes_content_unnoticed(at, bit):
    data = bytearray(honest())
    data[at] ^= 1 << bit
    try:
        archive = m.open_archive(bytes(data))
        content = {name: archive.read(name) for name in archive.names}
    except UnsafeArchiveError:
        return
    clean = m.open_archive(honest())
    assert content == {name: clean.read(name) for name in clean.names}


@given(st.binary(max_size=300))
def test_any_bytes_open_or_are_refused(data):
    for given_ in (data, honest()[: len(data)] + data + honest()[-100:]):
        with contextlib.suppress(UnsafeArchiveError):
            assert isinstance(m.open_archive(given_).names, tuple)


# --- where to --------------------------------------------------------------------------------------------------------


def test_extracting_twice_is_fine_and_other_content_is_kept(tmp_path):
    archive = m.open_archive(honest())
    archive.extract(tmp_path)
    archive.extract(tmp_path)
    (tmp_path / "result.txt").write_text("mine")
    (tmp_path / "computed.json").unlink()
    with pytest.raises(ValidationError, match="exists with other content"):
        archive.extract(tmp_path)
    assert (tmp_path / "result.txt").read_text() == "mine"
    assert not (tmp_path / "computed.json").exists()
    archive.extract(tmp_path, overwrite=True)
    assert (tmp_path / "result.txt").read_text() == "42\n"
    assert sorted(os.listdir(tmp_path)) == ["computed.json", "deep", "empty", "result.txt"]


def test_links_in_the_target_are_not_followed(tmp_path):
    outside, target = tmp_path / "outside", tmp_path / "target"
    outside.mkdir()
    target.mkdir()
    (target / "deep").symlink_to(outside)
    with pytest.raises(ValidationError, match="would be followed"):
        m.open_archive(honest()).extract(target, overwrite=True)
    assert os.listdir(outside) == []
    assert os.listdir(target) == ["deep"]


def test_a_file_where_a_folder_must_be_is_kept(tmp_path):
    (tmp_path / "deep").write_text("mine")
    with pytest.raises(ValidationError, match="is not a folder"):
        m.open_archive(honest()).extract(tmp_path, overwrite=True)
    (tmp_path / "deep").unlink()
    (tmp_path / "result.txt").mkdir()
    with pytest.raises(ValidationError, match="exists with other content"):
        m.open_archive(honest()).extract(tmp_path, overwrite=True)
    assert os.listdir(tmp_path) == ["result.txt"]
    file = tmp_path / "file"
    file.write_text("mine")
    with pytest.raises(ValidationError, match="is not a folder"):
        m.open_archive(honest()).extract(file)
    assert file.read_text() == "mine"


def test_folders_on_the_way_are_made(tmp_path):
    assert m.open_archive(honest()).extract(tmp_path / "a" / "b")[1] == tmp_path / "a" / "b" / "result.txt"


def test_a_relative_target_works(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    m.open_archive(honest()).extract("out")
    assert Path("out/result.txt").read_text() == "42\n"
    assert os.listdir(tmp_path) == ["out"]


# --- descriptor and digest -------------------------------------------------------------------------------------------


def test_a_descriptor_is_written_as_workers_write_it_and_read_back():
    descriptor = m.ResultDescriptor("ipfs", "/ipfs/QmW2")
    assert descriptor.to_bytes() == b'{ "storage": "ipfs", "location": "/ipfs/QmW2" }'
    assert m.ResultDescriptor.from_bytes(descriptor.to_bytes()) == descriptor
    with pytest.raises(ValidationError):
        m.ResultDescriptor("ipfs", '"').to_bytes()


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", ("none", None)),
        (b"\xff\xfe", ("none", None)),
        (b"https://example.com/old", ("none", None)),
        (b"[1]", ("none", None)),
        (b"[" * 100_000, ("none", None)),
        (b"{}", ("none", None)),
        (b'{"storage": 5}', ("none", None)),
        (b'{"storage":"ipfs"}', ("ipfs", None)),
        (b'{"storage":"ipfs","location":7,"extra":1}', ("ipfs", None)),
        (b'{"storage":"dropbox","location":"/results/0x1"}', ("dropbox", "/results/0x1")),
    ],
)
def test_any_bytes_of_the_chain_make_a_descriptor(data, expected):
    assert m.ResultDescriptor.from_bytes(data) == m.ResultDescriptor(*expected)


def test_the_digest_of_a_file_is_its_sha256():
    assert m.result_digest(m.open_archive(honest())) == "0x" + hashlib.sha256(b"42\n").hexdigest()


def test_the_digest_of_a_folder_covers_the_files_directly_in_it_by_name():
    computed = b'{"deterministic-output-path": "/iexec_out/out/"}'
    archive = m.open_archive(
        a_zip(("computed.json", computed), ("out/b", b"B"), ("out/a", b"A"), ("out/sub/c", b"C"), ("outer", b"O"))
    )
    both = hashlib.sha256(b"A").digest() + hashlib.sha256(b"B").digest()
    assert m.result_digest(archive) == "0x" + keccak(both).hex()


def test_the_digest_of_a_callback_is_the_keccak_of_its_data():
    assert m.result_digest(m.open_archive(honest()), b"\x01\x02") == "0x" + keccak(b"\x01\x02").hex()
    with pytest.raises(ValidationError, match="must not be empty"):
        m.result_digest(m.open_archive(honest()), b"")


@pytest.mark.parametrize(
    "computed",
    [
        b"{}",
        b'{"deterministic-output-path": "/iexec_out/missing"}',
        b'{"deterministic-output-path": "/etc/passwd"}',
        b'{"deterministic-output-path": ""}',
        b'{"deterministic-output-path": 5}',
    ],
)
def test_no_output_means_no_digest(computed):
    with pytest.raises(ResultNotFoundError, match="names no output"):
        m.result_digest(m.open_archive(a_zip(("computed.json", computed), ("result.txt", b"42"))))


@pytest.mark.parametrize("computed", [b"", b"[]", b"nope", b"\xff"])
def test_a_broken_computed_json_is_refused(computed):
    with pytest.raises(ValidationError, match="not a JSON object"):
        _ = m.open_archive(a_zip(("computed.json", computed))).computed


def test_the_layout_of_old_workers_is_understood():
    assert m.open_archive(a_zip(("iexec_out/computed.json", b'{"a": 1}'), ("stdout.txt", b""))).computed == {"a": 1}
    assert m.open_archive(a_zip(("stdout.txt", b""))).computed == {}

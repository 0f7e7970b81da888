"""Where a result lies, what in it counts, and the digest that the workers agreed on."""

import hashlib
import io
import zipfile

import pytest

from iexec_nb.errors import ResultNotFoundError, ValidationError
from iexec_nb.protocol import results
from iexec_nb.protocol.archive import open_archive
from iexec_nb.protocol.types import keccak

COMPUTED = b'{"deterministic-output-path": "/iexec_out/result.txt"}'


def a_zip(*entries, method=zipfile.ZIP_DEFLATED):
    """Write entries of (name or ZipInfo, content) without any check."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in entries:
            archive.writestr(name, content, method)
    return buffer.getvalue()


def honest():
    return a_zip(("computed.json", COMPUTED), ("result.txt", b"42\n"), ("deep/er/é ü.csv", b"a,b\n"), ("empty/", b""))


# --- descriptor and digest -------------------------------------------------------------------------------------------


def test_a_descriptor_is_written_as_workers_write_it_and_read_back():
    descriptor = results.ResultDescriptor("ipfs", "/ipfs/QmW2")
    assert descriptor.to_bytes() == b'{ "storage": "ipfs", "location": "/ipfs/QmW2" }'
    assert results.ResultDescriptor.from_bytes(descriptor.to_bytes()) == descriptor
    with pytest.raises(ValidationError):
        results.ResultDescriptor("ipfs", '"').to_bytes()


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
    assert results.ResultDescriptor.from_bytes(data) == results.ResultDescriptor(*expected)


def test_the_digest_of_a_file_is_its_sha256():
    assert results.result_digest(open_archive(honest())) == "0x" + hashlib.sha256(b"42\n").hexdigest()


def test_the_digest_of_a_folder_covers_the_files_directly_in_it_by_name():
    computed = b'{"deterministic-output-path": "/iexec_out/out/"}'
    archive = open_archive(
        a_zip(("computed.json", computed), ("out/b", b"B"), ("out/a", b"A"), ("out/sub/c", b"C"), ("outer", b"O"))
    )
    both = hashlib.sha256(b"A").digest() + hashlib.sha256(b"B").digest()
    assert results.result_digest(archive) == "0x" + keccak(both).hex()


def test_the_digest_of_a_callback_is_the_keccak_of_its_data():
    assert results.result_digest(open_archive(honest()), b"\x01\x02") == "0x" + keccak(b"\x01\x02").hex()
    with pytest.raises(ValidationError, match="must not be empty"):
        results.result_digest(open_archive(honest()), b"")


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
        results.result_digest(open_archive(a_zip(("computed.json", computed), ("result.txt", b"42"))))


@pytest.mark.parametrize("computed", [b"", b"[]", b"nope", b"\xff"])
def test_a_broken_computed_json_is_refused(computed):
    with pytest.raises(ValidationError, match="not a JSON object"):
        results.computed(open_archive(a_zip(("computed.json", computed))))


def test_the_layout_of_old_workers_is_understood():
    assert results.computed(open_archive(a_zip(("iexec_out/computed.json", b'{"a": 1}'), ("stdout.txt", b"")))) == {
        "a": 1
    }
    assert results.computed(open_archive(a_zip(("stdout.txt", b"")))) == {}

"""Encryption of datasets: vectors of other implementations, and every way in which it must fail."""

import base64
import io
import os
import signal
import stat
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iexec_nb.errors import DecryptionError, ValidationError
from iexec_nb.protocol import encryption as m

KEY = bytes(range(32))
IV = bytes(range(16, 32))
PLAIN = b"hello iExec dataset"
CIPHERTEXT = bytes.fromhex(
    "101112131415161718191a1b1c1d1e1fc93d8fdc0f81706828f4171ed430411ada32c758e32d035cf81d40a7c55b42f5"
)
CHECKSUM = "0xbd9235579b305462394e2ce3a22c7684c0bbfde9b3b64c662b4e3bfd38cf0620"


# --- dataset keys ----------------------------------------------------------------------------------------------------


def test_a_dataset_key_is_44_letters_and_hides_itself():
    key = m.generate_dataset_key(KEY)
    assert key.reveal() == "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
    assert "AAEC" not in repr(key)
    assert m.dataset_key(key) == m.dataset_key(key.reveal()) == KEY
    with pytest.raises(ValidationError):
        m.generate_dataset_key(b"short")


def test_spellings_of_base64_that_node_reads_are_read():
    key = bytes([0xFB, 0xFF] * 16)
    text = base64.b64encode(key).decode()
    for spelling in (text, f" {text}\n", text.rstrip("="), text.replace("+", "-").replace("/", "_")):
        assert m.dataset_key(spelling) == key


@pytest.mark.parametrize(
    "value",
    ["UtmonCp7SKOWuOPpXyikHQ==", "ab" * 32, "", "canary!canary!canary!canary!canary!canary!ca", None, b"x" * 32, 42],
)
def test_what_is_not_32_bytes_of_base64_is_refused_without_showing_it(value):
    with pytest.raises(ValidationError, match="must be base64 encoded 256 bits key") as caught:
        m.dataset_key(value)
    assert "canary" not in str(caught.value)
    assert "Utmon" not in str(caught.value)


# --- bytes and files -------------------------------------------------------------------------------------------------


def test_the_format_is_the_iv_and_the_padded_cbc_ciphertext():
    assert m.encrypt_bytes(PLAIN, KEY, IV) == CIPHERTEXT
    assert m.decrypt_bytes(CIPHERTEXT, KEY) == PLAIN
    assert m.checksum(CIPHERTEXT) == CHECKSUM


@given(st.binary(max_size=200))
def test_what_was_encrypted_comes_back(data):
    sealed = m.encrypt_bytes(data, KEY, IV)
    assert len(sealed) == 16 + 16 * (len(data) // 16 + 1)
    assert m.decrypt_bytes(sealed, KEY) == data


@pytest.mark.parametrize("size", [0, 1, 15, 16, 17, 31, 32, 33, 999, 1000, 5000])
@pytest.mark.parametrize("chunk", [1, 16, 23, 1000, m.CHUNK_BYTES])
def test_files_are_encrypted_like_bytes_whatever_the_chunk(tmp_path, size, chunk):
    data = os.urandom(size)
    source, sealed, back = tmp_path / "source", tmp_path / "sealed", tmp_path / "back"
    source.write_bytes(data)
    seen = []
    done = m.encrypt_file(source, sealed, KEY, IV, chunk=chunk, progress=seen.append)
    assert sealed.read_bytes() == m.encrypt_bytes(data, KEY, IV)
    assert done == m.Encrypted(path=sealed, checksum=m.checksum(sealed), size=len(sealed.read_bytes()))
    assert seen[-1:] == ([size] if size else [])
    assert m.decrypt_file(sealed, back, KEY, chunk=chunk, checksum=done.checksum) == back
    assert back.read_bytes() == data
    assert sorted(os.listdir(tmp_path)) == ["back", "sealed", "source"]
    for path in (sealed, back):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_open_files_and_streams_without_readinto_are_encrypted_too(tmp_path):
    class Dribble:
        def __init__(self, data):
            self.data = data

        def read(self, size):
            piece, self.data = self.data[: min(size, 7)], self.data[min(size, 7) :]
            return piece

    for stream in (io.BytesIO(PLAIN), Dribble(PLAIN)):
        assert m.encrypt_file(stream, tmp_path / "sealed", KEY, IV).checksum == CHECKSUM
        assert m.decrypt_file(Dribble(CIPHERTEXT), tmp_path / "back", KEY).read_bytes() == PLAIN
    with pytest.raises(ValidationError, match="must be bytes, not str"):
        m.encrypt_file(io.StringIO("text"), tmp_path / "no", KEY, IV)
    assert sorted(os.listdir(tmp_path)) == ["back", "sealed"]


def test_memory_does_not_grow_with_the_file(tmp_path):
    source = tmp_path / "source"
    with source.open("wb") as file:
        file.truncate(64 << 20)
    tracemalloc.start()
    try:
        done = m.encrypt_file(source, tmp_path / "sealed", KEY, IV)
        m.decrypt_file(tmp_path / "sealed", tmp_path / "back", KEY, checksum=done.checksum)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert done.size == (64 << 20) + 32
    assert peak < 20 << 20


def test_an_interrupt_leaves_the_old_file_and_no_temporary_one(tmp_path):
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(bytes(1000))
    target.write_bytes(b"old")
    steps = [
        lambda progress: m.encrypt_file(source, target, KEY, IV, chunk=100, progress=progress),
        lambda progress: m.decrypt_file(io.BytesIO(CIPHERTEXT * 100), target, KEY, chunk=100, progress=progress),
    ]
    for step in steps:
        with pytest.raises(KeyboardInterrupt):
            step(lambda done: signal.raise_signal(signal.SIGINT) if done > 300 else None)
        assert target.read_bytes() == b"old"
        assert sorted(os.listdir(tmp_path)) == ["source", "target"]


def test_a_failing_disk_leaves_the_old_file_and_no_temporary_one(tmp_path):
    class Broken(io.RawIOBase):
        def readinto(self, buffer):
            raise OSError("disk")

    with pytest.raises(OSError, match="disk"):
        m.encrypt_file(Broken(), tmp_path / "target", KEY, IV)
    assert os.listdir(tmp_path) == []


def test_the_plaintext_is_never_visible_to_others_while_it_is_written(tmp_path):
    modes = []
    m.decrypt_file(
        io.BytesIO(m.encrypt_bytes(bytes(500), KEY, IV)),
        tmp_path / "back",
        KEY,
        chunk=100,
        progress=lambda done: modes.extend(stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()),
    )
    assert set(modes) == {0o600}


def test_a_source_that_is_no_file_or_the_target_itself_is_refused(tmp_path):
    file = tmp_path / "file"
    file.write_bytes(PLAIN)
    for source, target, message in [
        (tmp_path, tmp_path / "x", "is not a file"),
        (tmp_path / "missing", tmp_path / "x", "is not a file"),
        (file, file, "replaced by its own"),
        (file, tmp_path / "no" / "x", "is not a folder"),
    ]:
        with pytest.raises(ValidationError, match=message):
            m.encrypt_file(source, target, KEY, IV)
    with pytest.raises(ValidationError, match="is not a file"):
        m.checksum(tmp_path / "missing")
    assert file.read_bytes() == PLAIN
    assert os.listdir(tmp_path) == ["file"]


def test_wrong_sizes_of_key_or_iv_and_text_are_refused(tmp_path):
    for key, iv in ((KEY[:16], IV), (KEY, IV[:8])):
        with pytest.raises(ValidationError, match="32 bytes and an IV of 16"):
            m.encrypt_bytes(PLAIN, key, iv)
    with pytest.raises(ValidationError, match="must be bytes, not str"):
        m.encrypt_bytes("text", KEY, IV)


@pytest.mark.parametrize("cut", [0, 1, 15, 16, 17, 31, 33, 47])
def test_a_cut_dataset_is_an_error_that_names_the_key(tmp_path, cut):
    data = CIPHERTEXT[:cut]
    for decrypt in (
        lambda: m.decrypt_bytes(data, KEY),
        lambda: m.decrypt_file(io.BytesIO(data), tmp_path / "back", KEY),
    ):
        with pytest.raises(DecryptionError, match="needs: the key that the dataset was encrypted with"):
            decrypt()
    assert os.listdir(tmp_path) == []


def test_a_wrong_key_or_a_missing_block_is_an_error_and_writes_nothing(tmp_path):
    wrong = bytes(32)
    for data, key in ((CIPHERTEXT, wrong), (CIPHERTEXT[:32], KEY)):
        with pytest.raises(DecryptionError, match="padding is wrong"):
            m.decrypt_bytes(data, key)
        with pytest.raises(DecryptionError, match="padding is wrong") as caught:
            m.decrypt_file(io.BytesIO(data), tmp_path / "back", key, chunk=16)
        assert key.hex() not in str(caught.value)
    assert os.listdir(tmp_path) == []


def test_a_file_with_another_checksum_is_refused_though_it_decrypts(tmp_path):
    data = bytearray(CIPHERTEXT)
    data[0] ^= 1
    with pytest.raises(DecryptionError, match=CHECKSUM):
        m.decrypt_file(io.BytesIO(data), tmp_path / "back", KEY, checksum=CHECKSUM)
    assert os.listdir(tmp_path) == []
    m.decrypt_file(io.BytesIO(CIPHERTEXT), tmp_path / "back", KEY, checksum=CHECKSUM.upper().replace("0X", "0x"))

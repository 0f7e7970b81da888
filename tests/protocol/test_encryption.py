"""Encryption of datasets and results: vectors of other implementations, and every way in which it must fail."""

import base64
import hashlib
import io
import os
import signal
import stat
import struct
import tracemalloc
import zipfile

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import ECB
from hypothesis import given
from hypothesis import strategies as st

from iexec_nb.errors import DecryptionError, ValidationError
from iexec_nb.protocol import encryption as m
from iexec_nb.protocol import result_encryption as r
from iexec_nb.protocol.results import open_archive
from iexec_nb.protocol.types import Secret

KEY = bytes(range(32))
IV = bytes(range(16, 32))
PLAIN = b"hello iExec dataset"
CIPHERTEXT = bytes.fromhex(
    "101112131415161718191a1b1c1d1e1fc93d8fdc0f81706828f4171ed430411ada32c758e32d035cf81d40a7c55b42f5"
)
CHECKSUM = "0xbd9235579b305462394e2ce3a22c7684c0bbfde9b3b64c662b4e3bfd38cf0620"

# Made with Node 20 (RSA, AES) and JSZip, and opened by utils.decryptResult of the JavaScript SDK 9.0.1. The key was
# made for this test; it has never guarded anything.
JS_KEY_DER = base64.b64decode(
    """
    MIIEowIBAAKCAQEA0StnTvNLCebsWQie+BRU3V5jvyphP+vG4b8/utPNq0iMcgKFMsfAyOV3oPz/nLrjwy4L9CEY0Gsyner5yW0c
    i8ZjhkvBchLVu3CRW/i4DlOfkEYXMgGcQyDpdWgJ9iFoW/eM+dOx7HDmxsqfoAXxlbckzLwGHmshGetSRw7M+B8HptowdgcVRE5q
    nqBu/DWEZg64qhZPUMIsaFVq3p/gQK4lrx5eUBSNBW8EA8jPt6tDnjh/J2UyAvQVpg1KF8SjSXlT2mKsIVqWRDYrIcgQCCiozXNV
    UvEZGS7kGOqUF3XJsOJLqJagq+aoff6AUlU/L4YPLIp6fD77FjY3EAVLqwIDAQABAoIBACER7Svw0EDZBy4ObF/Jix9SsI+FSkna
    Y5/GZnOJ0B8QAdB2sIt2RHcevHqx9VHYxHDT42TuJKezAxYvk91ySEybCZoueP+plawkYH77hFITi4s6Yalw0r1UQ0TiNYz5/C9q
    JJpNC3jX4sy0NWeN+QOUKJfL9GWzx1B7QY9leieSKy0SPkYStR8aKwEXF31UAGZqBcL5+eiZXW8frvdGjAeOmcLxOAN06ZsQSEGR
    pAS9ZYM+5gBipIYkuM8ZD+RyKvDeK5FIRbjBjUi7jTDc4NUTsZW93qPMffp6gIIbDVED/zq4Gbu7pOJ9P2cqviAcyLN7iU34bdbs
    k6cOqFhuzSkCgYEA6eD2wgIvdK54kCJUZSmK4foO5S5DS0OTOLvdi+4E8STlt8FaH++5lr2iCymWx66/j9mNFLBx6bxHhjpgKUTI
    EOhHITUV23Nz5c1nAlgdXInHKDAMvXWWvzdckPtIoQmARgh7EdThxQbzhJu7hz89xrICm+BOPmZIGaLuYBQlhDkCgYEA5PQkQPJw
    zhAdYI0FbJpVzECtgsqIz8hE7YJ2tRmOdj10hF+3DSGdNj9BPziaVEVRlkbwSt60AqUln/2yamz4df2ZnCUmTA1fvVElzuG0cXQQ
    q4HtiFg3gfHrJ8b79VnAfMJf083dyC80vVDCZ1UcUVxDuW2SR++1OGca1rKQtwMCgYBtwP+rreDdTd8QLLwUOTmOsI166Yn08QJO
    toLSXuF81Mbkw9zqbdJXNiisOlki3hPRitNVKTRb7tpV2GE2HKwSmx5+K+5U7MovxoOXqwgkXBfU+S+RXXRfybgr5XCA+fdzZhlz
    FcbZclinG3oWjwwLiZAF3G57g/5D4Z0iA3JTqQKBgF4OOdKAhnzwu9DNPhw2bubA70baw0dww3g6719Ih3DloDc9RurbE0WUyM4b
    B7N04qZ0sARh5ttrUsCeLSxxZcS7EN7HmCsIF3ujmX+a01EEWFDMyHMJoov8gRlPMnTBkUTvaQSO/vxdADKBuctPeJmn6J6Fd+Gb
    hPwNx0XKB49XAoGBALAs/5D6cDrujyPDergUETyufFa7dPAnLpoovpJqSoqKvrY1WD07RiEPFUM9MDQeawGlI+VUAjgjvb3+GHsg
    veyRyXy0mZPd4LSAopp7+MeGGIarzc2OtX5tQdOLTEste5DKmL57VPMxnn9CwwmaEhDU6GdMNZjDXdPQBF5byGTK
    """
)
JS_CURRENT = base64.b64decode(
    """
    UEsDBAoAAAAIAAAAIVw5+gBrNQEAADABAAARAAAAaWV4ZWNfb3V0LnppcC5hZXMBMAHP/i52xLAf2UzQC5vSYK5jbjeAmSezGBnJ
    gggbWaXkUifNyDeV/LmSJwCLKQQNz1j2dwJfHyaSFsAfBO/IkXgeXGaKwKKHCaQ1MdzKG8oE4zmEOeux0UR4jJEEYy35kmZw3B1z
    UPFHi5phJXo1snvZcfY53A/GnDSNvZep4mCUrusXulL+Np81i+WoLQmOIrb7KeSIt34zJVKydPtFVDZNEOdhVzeJzd1/HQGZnYG5
    vuVV80kmDfnr9cNE65rN4h6mT2kC5TCYLWVWRsQgN6DVjwJIlc3IJGVNX2EyK6cHCCdvmi2z/USz95eRqx2Rj3W10Di3+7kUc1d1
    lgUEREHGsF4gDnyeNsQywNB8oYhmbgoSl2E3z6K/ma7toX6DtfMieVkGTfXacWf5O4YHStTstftQSwMECgAAAAgAAAAhXC4gtP8F
    AQAAAAEAAAsAAABhZXMta2V5LnJzYQEAAf/+DR3oJNGePAmCf+Xza0he0+6tBwJZpyfFcjxGNtzKrsg5a/OZxh8KoQwF0UHq1qDb
    gaTxU+w5iIAluUBJV0OUCjnRNV2UwDxQMfRKzFnKgwdkhiN12HHbDnzLD2lekX0EgAJzN6x7HHIZ35ydNWUS1eEIzEaqfwl58zw8
    /Q0oUcJj5yDVQQ67U3xdT6nWwcn9EdZVC7th8Ms/SL+NvE7J8hJR/agtEJsvr59R7uaiEaG/R8kCADG+gV+mSHl9lHH5AgEM8l03
    Hr/KfdHHYS6JHBlo3gLIn/CNXAWtNdmLy6yWnW7g0imSUUcvNUJWsBVSdz59l6n5FywV77outzlXJVBLAQIUAAoAAAAIAAAAIVw5
    +gBrNQEAADABAAARAAAAAAAAAAAAAAAAAAAAAABpZXhlY19vdXQuemlwLmFlc1BLAQIUAAoAAAAIAAAAIVwuILT/BQEAAAABAAAL
    AAAAAAAAAAAAAAAAAGQBAABhZXMta2V5LnJzYVBLBQYAAAAAAgACAHgAAACSAgAAAAA=
    """
)
JS_LEGACY = base64.b64decode(
    """
    UEsDBAoAAAAIAAAAIVxh07mNPAEAAIABAAARAAAAaWV4ZWNfb3V0LnppcC5hZXMFwVvbQjAAAOAf1MXGHNqlSZ6hKYeoOz7nZJhE
    v/573yu1oTiNlYa+O6YRMzvFa9kaUA3E1RNNnq/3Oe0WwpyqWpzmhRIxBceIZstYHjo6OI9VBNmmQK6bW6BT+XujP9LnTf/VTkf5
    kzS382O4nIjbkmugNL4gaLszsg1vICvTHKui7V5SkfZwMUF4GBfZWAs8/+CIX2XKLUOIO3A2qxzCRpquemy5eJXWI9cCoGveHgJz
    qjuE5x0wfuJVnQWA1PDcHmKpNodqJl5S3F9GGOHMRoefvkoXitP97ScQrCq0RYEtJlkuspj7tvvJaM3nw9Io+4hvjut+oXD05xKp
    x/ScGr1idPXoevs7U4vKqcO8n4Vrag5FqVtH9NPxRcCU5x4vmcou7TREPEEff7eACVE752XkRWsOSRyGf80/UEsDBAoAAAAIAAAA
    IVy+f4aNIwEAAFgBAAALAAAAYWVzLWtleS5yc2ENzcuWQzAAANAPsmgoxWIWXh0qrUT1hO5ovNqkxSFSXz9zf+CWFyVFmrC3Noa5
    lFRtQKDc0mZx2pdHENnInRnAfn2N2wWV4BElD+dABjrBcitjfQzGOXdouOYychn34MAqM1ufzf3QibZCRTURuhynVk3386InkKVv
    vUYF6lZkpZcdwEe+bE6VtBIrFvNDPJrd0z+tboht+hpe93q6dm+hmZOHZi2cB9iN57yWuqZoZKlpoQQgkKfv4Fl6p1x71kPMPyLL
    S96ex6jJnW1Oy72EWm8ZvQeou2coHe3G9auMmPZmdKIqbPaUjwpVxdk9cezEg8/BO+E+Eeb/0tB+jRTBYXBUC000SmyiMaxNS/7G
    xgfjbGEJ4Ns33m62Gkq2W39+/gBQSwECFAAKAAAACAAAACFcYdO5jTwBAACAAQAAEQAAAAAAAAAAAAAAAAAAAAAAaWV4ZWNfb3V0
    LnppcC5hZXNQSwECFAAKAAAACAAAACFcvn+GjSMBAABYAQAACwAAAAAAAAAAAAAAAABrAQAAYWVzLWtleS5yc2FQSwUGAAAAAAIA
    AgB4AAAAtwIAAAAA
    """
)
JS_PLAIN_SHA256 = "5079a0164d5ae46347ae702e3462fdacaf2195a769790b73e917da4948ff6651"


def pem(der, label="RSA PRIVATE KEY"):
    text = base64.encodebytes(der).decode()
    return f"-----BEGIN {label}-----\n{text}-----END {label}-----\n"


JS_KEY = pem(JS_KEY_DER)


@pytest.fixture(scope="module")
def pair():
    return r.generate_result_keypair(2048)


@pytest.fixture(scope="module")
def other_pair():
    return r.generate_result_keypair(2048)


@pytest.fixture(scope="module")
def plain():
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("computed.json", "{}")
        archive.writestr("out.csv", b"a,b\n1,2\n" * 50)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def encrypted(plain, pair):
    return r.encrypt_result(plain, pair.public_pem, KEY, IV)


def outer(**files):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr({"key": r.KEY_FILE, "payload": r.PAYLOAD_FILE}.get(name, name), content)
    return buffer.getvalue()


def parts(data):
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {"key": archive.read(r.KEY_FILE), "payload": archive.read(r.PAYLOAD_FILE)}


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


# --- results ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("data", [JS_CURRENT, JS_LEGACY], ids=["current", "legacy"])
def test_results_made_with_node_are_decrypted_with_a_key_in_either_form(data, tmp_path):
    key = serialization.load_pem_private_key(JS_KEY.encode(), None)
    pkcs8 = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path = tmp_path / "result.zip"
    path.write_bytes(data)
    for private in (JS_KEY, JS_KEY.encode(), Secret(JS_KEY), pkcs8, pkcs8.strip(), pkcs8.replace(b"\n", b"\r\n")):
        for given_ in (data, path):
            result = r.decrypt_result(given_, private)
            assert hashlib.sha256(result).hexdigest() == JS_PLAIN_SHA256
    assert r.is_encrypted_result(data)
    archive = open_archive(result)
    assert archive.read("result.txt") == b"42\n"


def test_a_result_is_encrypted_as_workers_do_it(encrypted, plain, pair):
    files = parts(encrypted)
    assert list(open_archive(encrypted).names) == [r.PAYLOAD_FILE, r.KEY_FILE]
    key = serialization.load_pem_private_key(pair.private_pem.reveal_bytes(), None)
    assert key.decrypt(files["key"], padding.PKCS1v15()) == KEY
    assert files["payload"] == m.encrypt_bytes(plain, KEY, IV)
    assert r.decrypt_result(encrypted, pair.private_pem) == plain
    # the public key as WebCrypto exports it has no final line feed
    assert r.decrypt_result(r.encrypt_result(plain, pair.public_pem.strip(), KEY, IV), pair.private_pem) == plain


def test_the_pair_has_the_forms_of_the_javascript_cli(pair):
    assert pair.public_pem.startswith("-----BEGIN PUBLIC KEY-----\n")
    assert pair.public_pem.endswith("-----END PUBLIC KEY-----\n")
    assert pair.private_pem.reveal().startswith("-----BEGIN PRIVATE KEY-----\n")
    assert "PRIVATE" not in repr(pair)
    with pytest.raises(ValidationError, match="protects nothing"):
        r.generate_result_keypair(1024)


def legacy(plain, pair, key=b"k" * 16):
    data = plain + m._padding(len(plain))
    encryptor = Cipher(AES(key), ECB()).encryptor()
    public = serialization.load_pem_public_key(pair.public_pem.encode())
    return outer(
        key=base64.b64encode(public.encrypt(base64.b64encode(key), padding.PKCS1v15())),
        payload=base64.b64encode(encryptor.update(data) + encryptor.finalize()),
    )


@pytest.mark.parametrize("form", ["current", "legacy"])
def test_another_key_is_an_error_every_time_though_openssl_answers_with_random_bytes(
    form, encrypted, plain, pair, other_pair
):
    data = encrypted if form == "current" else legacy(plain, pair)
    assert r.decrypt_result(data, pair.private_pem) == plain
    for _ in range(100):
        with pytest.raises(DecryptionError, match="Failed to decrypt") as caught:
            r.decrypt_result(data, other_pair.private_pem)
    text = str(caught.value)
    assert "needs: the private key of the beneficiary" in text
    assert "RSA-2048" in text
    assert other_pair.private_pem.reveal()[100:130] not in text


def test_a_sealed_key_that_decrypts_to_a_wrong_key_is_still_an_error(encrypted, pair):
    public = serialization.load_pem_public_key(pair.public_pem.encode())
    for wrong in (bytes(32), bytes(16), b"x" * 24, b""):
        sealed = public.encrypt(wrong, padding.PKCS1v15())
        with pytest.raises(DecryptionError, match="Failed to decrypt results"):
            r.decrypt_result(outer(key=sealed, payload=parts(encrypted)["payload"]), pair.private_pem)


def test_padding_that_fits_by_chance_does_not_make_garbage_a_result(pair):
    public = serialization.load_pem_public_key(pair.public_pem.encode())
    data = outer(key=public.encrypt(KEY, padding.PKCS1v15()), payload=m.encrypt_bytes(b"no zip", KEY, IV))
    with pytest.raises(DecryptionError, match="not an intact zip"):
        r.decrypt_result(data, pair.private_pem)


def test_a_key_of_another_size_is_named(encrypted):
    big = r.generate_result_keypair(3072)
    with pytest.raises(DecryptionError, match="not made by an RSA key of 3072 bits"):
        r.decrypt_result(encrypted, big.private_pem)


def test_every_cut_of_the_payload_is_an_error(encrypted, plain, pair):
    for data, step in ((encrypted, 5), (legacy(plain, pair), 7)):
        files = parts(data)
        for size in range(0, len(files["payload"]), step):
            with pytest.raises(DecryptionError):
                r.decrypt_result(outer(key=files["key"], payload=files["payload"][:size]), pair.private_pem)
        for size in (0, 1, 100, len(files["key"]) - 1):
            with pytest.raises(DecryptionError, match="results key"):
                r.decrypt_result(outer(key=files["key"][:size], payload=files["payload"]), pair.private_pem)


def test_every_damaged_block_of_the_payload_is_an_error(encrypted, plain, pair):
    for data in (encrypted, legacy(plain, pair)):
        files = parts(data)
        raw = files["payload"] if data is encrypted else base64.b64decode(files["payload"])
        for at in range(16 if data is encrypted else 0, len(raw), 16):
            damaged = bytearray(raw)
            damaged[at + 5] ^= 4
            payload = bytes(damaged) if data is encrypted else base64.b64encode(damaged)
            with pytest.raises(DecryptionError, match="results with decrypted results key"):
                r.decrypt_result(outer(key=files["key"], payload=payload), pair.private_pem)


def test_every_cut_of_the_outer_zip_is_an_error(encrypted, pair):
    for size in range(0, len(encrypted), 11):
        with pytest.raises(DecryptionError, match="Failed to load encrypted results zip file"):
            r.decrypt_result(encrypted[:size], pair.private_pem)


def test_a_result_that_is_not_encrypted_is_told_apart(plain, encrypted, pair):
    assert not r.is_encrypted_result(plain)
    assert not r.is_encrypted_result(b"nothing")
    with pytest.raises(DecryptionError, match=r"Missing aes-key\.rsa file in zip input file") as caught:
        r.decrypt_result(plain, pair.private_pem)
    assert "not encrypted: open it as it is" in str(caught.value)
    with pytest.raises(DecryptionError, match=r"Missing iexec_out\.zip\.aes file"):
        r.decrypt_result(outer(key=b"x"), pair.private_pem)


def test_a_sealed_key_that_is_too_large_is_refused(encrypted, pair):
    with pytest.raises(DecryptionError, match=r"aes-key\.rsa is too large"):
        r.decrypt_result(outer(key=bytes(1001), payload=parts(encrypted)["payload"]), pair.private_pem)


def test_a_payload_that_declares_too_much_is_refused_before_it_is_unpacked(encrypted, pair):
    files = parts(encrypted)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(r.PAYLOAD_FILE, files["payload"])
        archive.writestr(r.KEY_FILE, files["key"])
    data = bytearray(buffer.getvalue())
    for at in (22, data.index(b"PK\x01\x02") + 24):
        struct.pack_into("<L", data, at, r.MAX_PAYLOAD_BYTES + 1)
    with pytest.raises(DecryptionError):
        r.decrypt_result(bytes(data), pair.private_pem)


def test_a_bomb_in_the_outer_zip_is_refused(encrypted, pair):
    data = outer(key=parts(encrypted)["key"], payload=bytes(40_000_000))
    with pytest.raises(DecryptionError, match="Failed to load encrypted results zip file") as caught:
        r.decrypt_result(data, pair.private_pem)
    assert "claims to unpack" in str(caught.value)


def test_what_is_no_private_key_is_refused_without_showing_it(encrypted, pair):
    curve = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    locked = serialization.load_pem_private_key(pair.private_pem.reveal_bytes(), None).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"password"),
    )
    cut = pair.private_pem.reveal()[:500]
    for given_ in ("foo", "", pair.public_pem, curve, locked, cut, Secret("foo"), b"\xff"):
        with pytest.raises(ValidationError, match="Invalid beneficiary key") as caught:
            r.decrypt_result(encrypted, given_)
        assert cut[60:90] not in str(caught.value)


def test_results_are_encrypted_for_rsa_public_keys_only(plain, pair):
    curve = ec.generate_private_key(ec.SECP256R1()).public_key()
    other = curve.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    for given_ in (other, "foo", pair.private_pem.reveal()):
        with pytest.raises(ValidationError):
            r.encrypt_result(plain, given_, KEY, IV)

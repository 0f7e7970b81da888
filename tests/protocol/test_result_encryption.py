"""Encryption of results: vectors of other implementations, and every way in which it must fail."""

import base64
import hashlib
import io
import os
import struct
import tempfile
import zipfile

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import ECB

from iexec_nb.errors import DecryptionError, UnsafeArchiveError, ValidationError
from iexec_nb.protocol import encryption as m
from iexec_nb.protocol import result_encryption as r
from iexec_nb.protocol import zip_records
from iexec_nb.protocol.archive import open_archive
from iexec_nb.protocol.types import Secret

KEY = bytes(range(32))
IV = bytes(range(16, 32))

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
    texts = set()
    for _ in range(100):
        with pytest.raises(DecryptionError, match="Failed to decrypt") as caught:
            r.decrypt_result(data, other_pair.private_pem)
        texts.add(str(caught.value))
    assert all("needs: the private key of the beneficiary" in text for text in texts)
    # Random bytes of a length that a key could have are found out one step later, in other words.
    assert any("RSA-2048" in text for text in texts)
    assert not any(other_pair.private_pem.reveal()[100:130] in text for text in texts)


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


def test_parts_that_were_swapped_or_renamed_are_an_error(encrypted, pair):
    files = parts(encrypted)
    with pytest.raises(DecryptionError):
        r.decrypt_result(outer(key=files["payload"], payload=files["key"]), pair.private_pem)
    for name in (r.KEY_FILE, r.PAYLOAD_FILE):
        with pytest.raises(DecryptionError, match="Missing"):
            r.decrypt_result(encrypted.replace(name.encode(), name.upper().encode()), pair.private_pem)
    with zipfile.ZipFile(nested := io.BytesIO(), "w") as archive:
        archive.writestr("inner.zip", encrypted)
    with pytest.raises(DecryptionError, match="Missing"):
        r.decrypt_result(nested.getvalue(), pair.private_pem)


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


# --- large results, and results as archives --------------------------------------------------------------------------


@pytest.fixture(params=["in the memory", "on the disk"])
def size(request, monkeypatch):
    if request.param == "on the disk":
        for module in (r, zip_records):
            monkeypatch.setattr(module, "IN_MEMORY_BYTES", 100)


def test_an_encrypted_result_opens_as_an_archive(encrypted, plain, pair, size, tmp_path):
    path = tmp_path / "sealed.zip"
    for data in (encrypted, legacy(plain, pair)):
        path.write_bytes(data)
        opened = r.open_encrypted(path, pair.private_pem)
        there = open_archive(plain)
        assert {name: opened.read(name) for name in opened.names} == {name: there.read(name) for name in there.names}
        source = r.decrypted(path, pair.private_pem)
        assert bytes(source.read(0, source.size)) == plain


def test_damage_of_a_large_result_is_an_error_and_leaves_no_file(encrypted, pair, size, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    files = parts(encrypted)
    for cut in (0, 16, 17, 33, len(files["payload"]) - 1, len(files["payload"]) - 16):
        data = outer(key=files["key"], payload=files["payload"][:cut])
        for open_ in (r.open_encrypted, r.decrypted):
            with pytest.raises(DecryptionError):
                open_(data, pair.private_pem)
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_byte_is_found_by_the_file_that_it_is_in(pair):
    """Opening looks at the directory; a file is compared with its checksum when it is read, and all before saving."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("good", b"g" * 64)
        archive.writestr("bad", b"b" * 4096)
    payload = bytearray(parts(r.encrypt_result(made.getvalue(), pair.public_pem, KEY, IV))["payload"])
    payload[2000] ^= 1
    data = outer(key=parts(r.encrypt_result(b"", pair.public_pem, KEY, IV))["key"], payload=bytes(payload))
    opened = r.open_encrypted(data, pair.private_pem)
    assert opened.read("good") == b"g" * 64
    with pytest.raises(UnsafeArchiveError, match="size and checksum"):
        opened.read("bad")
    for whole in (r.decrypt_result, r.decrypted):
        with pytest.raises(DecryptionError, match="not an intact zip"):
            whole(data, pair.private_pem)


def test_a_payload_that_arrived_damaged_is_found_at_once(encrypted, pair):
    with zipfile.ZipFile(io.BytesIO(encrypted)) as archive:
        at = archive.getinfo(r.PAYLOAD_FILE).header_offset
    damaged = bytearray(encrypted)
    damaged[at + 30 + len(r.PAYLOAD_FILE) + 40] ^= 1
    with pytest.raises(DecryptionError):
        r.open_encrypted(bytes(damaged), pair.private_pem)


def test_limits_are_kept_and_can_be_raised(pair):
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros", bytes(20_000_000))
        archive.writestr("other", b"x")
    data = r.encrypt_result(made.getvalue(), pair.public_pem, KEY, IV)
    with pytest.raises(UnsafeArchiveError, match="claims to unpack") as caught:
        r.open_encrypted(data, pair.private_pem)
    assert "max_bytes=20000001" in str(caught.value.hint)
    assert r.open_encrypted(data, pair.private_pem, max_bytes=20_000_001).sizes["zeros"] == 20_000_000
    with pytest.raises(UnsafeArchiveError, match="too many files"):
        r.open_encrypted(data, pair.private_pem, max_files=1)
    with pytest.raises(DecryptionError, match=r"iexec_out\.zip\.aes is too large") as refused:
        r.open_encrypted(outer(key=parts(data)["key"], payload=os.urandom(2000)), pair.private_pem, max_bytes=1999)
    assert "max_bytes=2000" in str(refused.value.hint)


def test_a_result_that_is_encrypted_twice_is_told(encrypted, pair):
    twice = r.encrypt_result(encrypted, pair.public_pem, KEY, IV)
    with pytest.raises(DecryptionError, match="a second time"):
        r.open_encrypted(twice, pair.private_pem)
    assert r.decrypt_result(twice, pair.private_pem) == encrypted


def test_the_primes_of_a_key_are_checked_once_and_not_for_each_result(encrypted, plain, monkeypatch):
    seen = []
    load = serialization.load_pem_private_key
    monkeypatch.setattr(r, "_checked_keys", set())

    def counted(*args, **options):
        seen.append(options["unsafe_skip_rsa_key_validation"])
        return load(*args, **options)

    monkeypatch.setattr(r.forms, "load_pem_private_key", counted)
    own = r.generate_result_keypair(2048)
    data = r.encrypt_result(plain, own.public_pem, KEY, IV)
    for _ in range(3):
        assert r.decrypt_result(data, own.private_pem) == plain
    assert seen == [False, True, True]

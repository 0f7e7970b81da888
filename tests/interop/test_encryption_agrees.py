"""Each side decrypts what the other encrypted; OpenSSL, through node, is the third witness."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pytest
from people import World
from sdk import Sdk, SdkError

from iexec_nb.errors import DecryptionError
from iexec_nb.protocol import encryption, result_encryption
from iexec_nb.protocol.types import Secret

SIZES = (0, 1, 15, 16, 17, 4096, 100_003)
KEY = Secret("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=")


def content(size: int) -> bytes:
    return bytes(i * 7 % 251 for i in range(size))


def archive() -> bytes:
    """Return the same bytes at every call: an entry without a date of its own would carry the time of now."""
    contents = {"computed.json": '{"deterministic-output-path": "/iexec_out/é.txt"}', "é.txt": "naïve 🚀" * 100}
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as made:
        for name, text in contents.items():
            made.writestr(zipfile.ZipInfo(name), text, zipfile.ZIP_DEFLATED)
    return file.getvalue()


@pytest.fixture(scope="module")
def pair() -> result_encryption.KeyPair:
    return result_encryption.generate_result_keypair()


@pytest.mark.parametrize("size", SIZES)
def test_python_decrypts_a_dataset_that_the_sdk_encrypted(world: World, size: int) -> None:
    js = world.person().js
    encrypted = js("dataset", "encrypt", content(size), KEY.reveal())
    assert encryption.decrypt_bytes(encrypted, encryption.dataset_key(KEY)) == content(size)
    assert js("dataset", "computeEncryptedFileChecksum", encrypted) == encryption.checksum(encrypted)


@pytest.mark.parametrize("size", SIZES)
def test_openssl_decrypts_a_dataset_that_python_encrypted(world: World, tmp_path: Path, size: int) -> None:
    source = tmp_path / "plain"
    source.write_bytes(content(size))
    encrypted = encryption.encrypt_file(source, tmp_path / "sealed", encryption.dataset_key(KEY), bytes(range(16)))
    data = encrypted.path.read_bytes()
    assert world.sdk.ask("decryptDataset", data=data, key=KEY.reveal()) == content(size)
    assert world.person().js("dataset", "computeEncryptedFileChecksum", data) == encrypted.checksum


def test_a_key_made_by_the_sdk_is_one_for_python(world: World) -> None:
    key = world.person().js("dataset", "generateEncryptionKey")
    assert len(encryption.dataset_key(Secret(key))) == 32


def test_the_sdk_decrypts_a_result_that_python_encrypted(sdk: Sdk, pair: result_encryption.KeyPair) -> None:
    sealed = result_encryption.encrypt_result(archive(), pair.public_pem, bytes(range(32)), bytes(range(16)))
    assert sdk.ask("util", method="decryptResult", args=[sealed, pair.private_pem.reveal()]) == archive()


@pytest.mark.parametrize("legacy", [False, True], ids=["current", "legacy"])
def test_python_and_the_sdk_decrypt_the_same_result_of_openssl(
    sdk: Sdk, pair: result_encryption.KeyPair, *, legacy: bool
) -> None:
    sealed = sdk.ask("encryptedResult", pem=pair.public_pem, data=archive(), legacy=legacy)
    assert result_encryption.decrypt_result(sealed, pair.private_pem) == archive()
    assert sdk.ask("util", method="decryptResult", args=[sealed, pair.private_pem.reveal()]) == archive()


@pytest.mark.parametrize("legacy", [False, True], ids=["current", "legacy"])
def test_a_wrong_key_is_refused_by_both(sdk: Sdk, pair: result_encryption.KeyPair, *, legacy: bool) -> None:
    sealed = sdk.ask("encryptedResult", pem=pair.public_pem, data=archive(), legacy=legacy)
    other = result_encryption.generate_result_keypair(2048)
    with pytest.raises(DecryptionError):
        result_encryption.decrypt_result(sealed, other.private_pem)
    with pytest.raises(SdkError, match="Failed to decrypt results key"):
        sdk.ask("util", method="decryptResult", args=[sealed, other.private_pem.reveal()])

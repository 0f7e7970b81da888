"""Results made on one side open on the other: zips of JSZip, encryption of all versions, the files of the CLI."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from cli import Cli, CliError
from sdk import HERE, Sdk, SdkError, installed

from iexec_nb.actions.outcome import Result
from iexec_nb.errors import DecryptionError
from iexec_nb.protocol import result_encryption
from iexec_nb.protocol.archive import open_archive
from iexec_nb.services.keystore import create_wallet_file, new_private_key

ROOT = Path(__file__).resolve().parents[2]
FILES: dict[str, bytes] = {
    "computed.json": b'{"deterministic-output-path": "/iexec_out/\xc3\xa9 \xf0\x9f\x9a\x80.txt"}',
    "é 🚀.txt": "naïve 🚀".encode() * 1000,
    "deep/er/random.bin": bytes(i * i % 251 for i in range(300_000)),
    "empty.txt": b"",
}
OPTIONS: dict[str, dict[str, Any]] = {
    "stored": {"compression": "STORE"},
    "deflated": {"compression": "DEFLATE"},
    "streamed": {"compression": "DEFLATE", "streamFiles": True},
    "streamed and stored": {"compression": "STORE", "streamFiles": True},
    "of unix": {"compression": "DEFLATE", "platform": "UNIX"},
    "with a comment": {"compression": "DEFLATE", "comment": "made by a worker 🚀"},
}


@pytest.fixture(scope="module")
def pair() -> result_encryption.KeyPair:
    return result_encryption.generate_result_keypair()


@pytest.fixture(scope="module")
def seven() -> Iterator[Sdk]:
    served = Sdk(installed(HERE / "v7"))
    yield served
    served.stop()


@pytest.mark.parametrize("how", OPTIONS)
def test_a_zip_of_jszip_opens_byte_for_byte(sdk: Sdk, how: str) -> None:
    made = sdk.ask("zip", files={**FILES, "folder/": b""}, options=OPTIONS[how])
    archive = open_archive(made)
    assert {name: archive.read(name) for name in archive.names} == FILES
    assert "folder/" in archive.folders
    assert Result(archive).main.text().startswith("naïve 🚀")


@pytest.mark.parametrize("legacy", [False, True], ids=["current", "legacy"])
@pytest.mark.parametrize("how", ["stored", "streamed"])
def test_all_versions_and_python_decrypt_to_the_same_bytes(
    sdk: Sdk, seven: Sdk, pair: result_encryption.KeyPair, how: str, *, legacy: bool
) -> None:
    plain = sdk.ask("zip", files=FILES, options=OPTIONS[how])
    sealed = sdk.ask("encryptedResult", pem=pair.public_pem, data=plain, legacy=legacy)
    pem = pair.private_pem.reveal()
    assert result_encryption.decrypt_result(sealed, pem) == plain
    assert sdk.ask("util", method="decryptResult", args=[sealed, pem]) == plain
    if legacy:
        assert seven.ask("util", method="decryptResult", args=[sealed, pem]) == plain
    opened = result_encryption.open_encrypted(sealed, pem)
    assert {name: opened.read(name) for name in opened.names} == FILES


def test_what_the_sdk_lets_pass_is_an_error_here(sdk: Sdk, pair: result_encryption.KeyPair) -> None:
    """Version 9 gives back whatever comes out of a payload that was changed or cut."""
    plain = sdk.ask("zip", files=FILES, options=OPTIONS["stored"])
    sealed = sdk.ask("encryptedResult", pem=pair.public_pem, data=plain, legacy=False)
    with zipfile.ZipFile(BytesIO(sealed)) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    payload = bytearray(parts["iexec_out.zip.aes"])
    payload[len(payload) // 2] ^= 1
    for wrong in (bytes(payload), parts["iexec_out.zip.aes"][:-16], parts["iexec_out.zip.aes"][:-5]):
        damaged = sdk.ask("zip", files={**parts, "iexec_out.zip.aes": wrong}, options=OPTIONS["stored"])
        garbage = sdk.ask("util", method="decryptResult", args=[damaged, pair.private_pem.reveal()])
        assert garbage != plain
        with pytest.raises(DecryptionError):
            result_encryption.decrypt_result(damaged, pair.private_pem)


MISSING = {"aes-key.rsa": "Missing iexec_out.zip.aes file", "iexec_out.zip.aes": "Missing aes-key.rsa file"}


@pytest.mark.parametrize("only", MISSING)
def test_both_miss_the_same_file(sdk: Sdk, pair: result_encryption.KeyPair, only: str) -> None:
    made = sdk.ask("zip", files={only: b"x"}, options={})
    with pytest.raises(SdkError, match=MISSING[only]):
        sdk.ask("util", method="decryptResult", args=[made, pair.private_pem.reveal()])
    with pytest.raises(DecryptionError, match=MISSING[only]):
        result_encryption.decrypt_result(made, pair.private_pem)


# --- the files of the CLI --------------------------------------------------------------------------------------------


class Ours:
    """Our program in the same folder, called as `Cli` calls the official one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, *words: str) -> dict[str, Any]:
        home = {name: str(self.folder) for name in ("HOME", "USERPROFILE", "XDG_DATA_HOME")}
        done = subprocess.run(
            [sys.executable, "-m", "iexec_nb", *words, "--raw"],
            cwd=self.folder,
            env={**os.environ, **home, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        answer: dict[str, Any] = json.loads((done.stdout or done.stderr).strip().splitlines()[-1])
        if "error" in answer:
            raise CliError(f"{answer['error']['name']}: {answer['error']['message']}")
        return answer


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a wallet that is not encrypted."""
    create_wallet_file(new_private_key(), tmp_path)
    return tmp_path


@pytest.mark.parametrize("version", ["", "v7"], ids=["9", "7"])
@pytest.mark.parametrize("maker", ["official", "ours"])
def test_keys_made_by_one_program_decrypt_in_both(folder: Path, sdk: Sdk, maker: str, version: str) -> None:
    (folder / "iexec.json").write_text("{}")
    programs: Sequence[Any] = (Cli(folder, version), Ours(folder))
    made = programs[0 if maker == "official" else 1]("result", "generate-encryption-keypair")
    keys = folder / ".secrets" / "beneficiary"
    assert made == {
        "ok": True, "secretPath": str(keys), "privateKeyFile": made["privateKeyFile"],
        "publicKeyFile": f"{made['privateKeyFile']}.pub",
    }  # fmt: skip
    public = (keys / made["publicKeyFile"]).read_text()
    plain = sdk.ask("zip", files=FILES, options=OPTIONS["deflated"])
    sealed = sdk.ask("encryptedResult", pem=public, data=plain, legacy=version == "v7")
    (folder / "encryptedResults.zip").write_bytes(sealed)
    for program in programs:
        (folder / "results.zip").unlink(missing_ok=True)
        assert program("result", "decrypt") == {"ok": True, "resultsPath": str(folder / "results.zip")}
        assert (folder / "results.zip").read_bytes() == plain
        # Another name, and the key by its name in the folder.
        (folder / "results.zip").unlink()
        words = ("result", "decrypt", "encryptedResults.zip", "--beneficiary-key-file", made["privateKeyFile"])
        assert program(*words)["resultsPath"] == str(folder / "results.zip")
        with pytest.raises(CliError, match="Failed to load beneficiary encryption key from"):
            program("result", "decrypt", "--beneficiary-key-file", "none", "--force")
    assert stat.S_IMODE((folder / "results.zip").stat().st_mode) == 0o600


def test_both_ask_for_the_folder_of_keys_in_the_same_words(folder: Path) -> None:
    (folder / "encryptedResults.zip").write_bytes(b"")
    for program in (Cli(folder), Ours(folder)):
        with pytest.raises(CliError, match="Beneficiary secrets folder is missing did you forget to run"):
            program("result", "decrypt", "--beneficiary-keystoredir", "none")

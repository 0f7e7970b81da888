"""How long a result of 16 MB takes to decrypt: here, and in the official JavaScript SDK on the same machine.

The result is what a worker publishes: a zip of bytes that do not compress, encrypted with AES-256-CBC and RSA-4096, in
a second zip. What it costs at least is measured as well: the private key once, the cipher once, one checksum over all
bytes and one copy of them, each by itself.
"""

from __future__ import annotations

import io
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

SIZE = 16_000_000
REPEATS = 15
SDK_REPEATS = 3

Numbers = dict[str, float]

SCRIPT = """
import { readFileSync } from 'node:fs';
import * as sdk from 'iexec';
const { utils } = sdk.default ?? sdk;
const [, , sealed, pem, plain, repeats] = process.argv;
const spent = [];
for (let i = 0; i < Number(repeats); i += 1) {
  const data = readFileSync(sealed);
  const key = readFileSync(pem, 'utf8');
  const begin = process.hrtime.bigint();
  const opened = await utils.decryptResult(data, key);
  spent.push(Number(process.hrtime.bigint() - begin) / 1e6);
  if (!opened.equals(readFileSync(plain))) throw Error('not the plain result');
}
console.log(JSON.stringify(spent));
"""


def decrypt_result() -> Numbers:
    """Return milliseconds: ``here``, ``first`` (with the check of the key), ``limit`` of the parts, and ``sdk``."""
    from iexec_nb.protocol import result_encryption

    pair = result_encryption.generate_result_keypair()
    plain = _zip(os.urandom(SIZE))
    sealed = result_encryption.encrypt_result(plain, pair.public_pem, os.urandom(32), os.urandom(16))
    first = _milliseconds(lambda: result_encryption.decrypt_result(sealed, pair.private_pem), 1)
    assert result_encryption.decrypt_result(sealed, pair.private_pem) == plain
    return {
        "here": _milliseconds(lambda: result_encryption.decrypt_result(sealed, pair.private_pem)),
        "opened": _milliseconds(lambda: result_encryption.open_encrypted(sealed, pair.private_pem)),
        "first": first,
        "limit": _limit(pair.private_pem.reveal_bytes()),
        "sdk": _sdk(sealed, pair.private_pem.reveal_bytes(), plain),
    }


def _zip(content: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("result.bin", content)
        archive.writestr("computed.json", '{"deterministic-output-path": "/iexec_out/result.bin"}')
    return file.getvalue()


def _milliseconds(run: Callable[[], object], repeats: int = REPEATS) -> float:
    spent = []
    for _ in range(repeats):
        begin = time.perf_counter()
        run()
        spent.append(1000 * (time.perf_counter() - begin))
    return statistics.median(spent)


def _limit(pem: bytes) -> float:
    """Return what the key, the cipher and one checksum cost by themselves."""
    from cryptography.hazmat.primitives.asymmetric import padding, rsa
    from cryptography.hazmat.primitives.ciphers import Cipher
    from cryptography.hazmat.primitives.ciphers.algorithms import AES
    from cryptography.hazmat.primitives.ciphers.modes import CBC
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    key = load_pem_private_key(pem, password=None)
    assert isinstance(key, rsa.RSAPrivateKey)
    sealed = key.public_key().encrypt(bytes(32), padding.PKCS1v15())
    data, out = bytes(SIZE), bytearray(SIZE + 16)

    def decrypt() -> None:
        Cipher(AES(bytes(32)), CBC(bytes(16))).decryptor().update_into(data, out)

    parts = (lambda: key.decrypt(sealed, padding.PKCS1v15()), decrypt, lambda: zlib.crc32(data), lambda: bytes(out))
    return sum(_milliseconds(part) for part in parts)


def _sdk(sealed: bytes, pem: bytes, plain: bytes) -> float:
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "interop"))
    from sdk import installed, node  # type: ignore[import-not-found]

    folder = installed()
    with tempfile.TemporaryDirectory(prefix="bench-") as place:
        paths = [Path(place, name) for name in ("sealed.zip", "key.pem", "plain.zip")]
        for path, content in zip(paths, (sealed, pem, plain), strict=True):
            path.write_bytes(content)
        # A package is found from where the script lies.
        script = folder / f"bench-{os.getpid()}.mjs"
        script.write_text(SCRIPT)
        try:
            command = [node(), str(script), *map(str, paths), str(SDK_REPEATS)]
            said = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout
        finally:
            script.unlink()
    return float(statistics.median(json.loads(said.splitlines()[-1])))


if __name__ == "__main__":
    print(json.dumps(decrypt_result(), indent=2))

"""Runs as a startup file of a kernel: every key that the tour makes becomes one that the test knows.

The test and the kernel derive the same keys from their number; nothing of them is in the environment or in a cell.
"""

from __future__ import annotations

import base64
import hashlib
import itertools
import os
from pathlib import Path

SEED = b"canary of the tour"
PASSWORD = "hunter2-and-then-some"


def key(number: int) -> bytes:
    """Return the private key of the wallet that is made as number `number`; -1 is the dataset's key."""
    return hashlib.sha256(SEED + str(number).encode()).digest()


def forms(raw: bytes) -> set[str]:
    """Return the spellings in which bytes could leak."""
    code = base64.b64encode(raw).decode()
    return {raw.hex(), raw.hex().upper(), code, repr(raw)[2:-1], str(int.from_bytes(raw, "big"))}


def install() -> None:
    """Replace what makes keys, and keep all log records in a file."""
    import logging

    from iexec_nb.protocol import encryption, result_encryption
    from iexec_nb.protocol.types import Secret
    from iexec_nb.sandbox import network, treasury

    logging.basicConfig(filename=os.environ["CANARY_LOG"], level=logging.DEBUG, force=True)
    numbers = itertools.count()
    make = encryption.generate_dataset_key
    folder = Path(os.environ["CANARY_KEYS"])
    pair = result_encryption.KeyPair(
        public_pem=(folder / "public").read_text(), private_pem=Secret((folder / "private").read_text())
    )
    network.new_key = treasury.new_key = lambda: Secret(key(next(numbers)))  # type: ignore[attr-defined]
    encryption.generate_dataset_key = lambda random32: make(key(-1))
    result_encryption.generate_result_keypair = lambda bits=4096: pair

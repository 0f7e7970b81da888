"""The ABI codec, in a module of its own because the library under it takes a tenth of a second to import.

Whoever only declares or names contract functions, such as a page of help, does without it.
"""

from __future__ import annotations

from typing import Any

from eth_abi.codec import ABICodec
from eth_abi.decoding import AddressDecoder, StringDecoder
from eth_abi.encoding import AddressEncoder, TextStringEncoder
from eth_abi.exceptions import EncodingError
from eth_abi.registry import BaseEquals, registry

from iexec_nb.protocol.types import to_checksum

__all__ = ["CODEC", "EncodingError"]


class _ChecksumAddress(AddressDecoder):
    decoder_fn = staticmethod(to_checksum)  # type: ignore[assignment]


def _codec() -> ABICodec:
    # Names on the chain are anybody's bytes: a broken character is shown as one instead of hiding the whole object.
    text: Any = StringDecoder
    same: Any = BaseEquals
    own: Any = registry
    own = own.copy()
    own.unregister("string")
    own.register(same("string", with_sub=False), TextStringEncoder, text(handle_string_errors="replace"), "string")
    own.unregister("address")
    own.register(same("address", with_sub=False), AddressEncoder, _ChecksumAddress, "address")
    return ABICodec(own)


CODEC = _codec()

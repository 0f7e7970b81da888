"""CAR version 1: blocks with their CIDs one after the other, as a gateway sends a whole graph in one answer.

The header names roots, which readers of gateways are told to ignore, so nothing is taken from it but the version. What
a block is worth is decided where its hash is checked.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from iexec_nb.errors import ValidationError
from iexec_nb.protocol.cid import Cid, read_varint, varint
from iexec_nb.protocol.unixfs import MAX_BLOCK_BYTES

CAR_TYPE = "application/vnd.ipld.car"

_MAX_HEADER_BYTES = 2**16
_MAX_CID_BYTES = 256
_VERSION = b"\x67version"
_TAG_OF_CID = b"\xd8\x2a"


def car_header(roots: Sequence[Cid]) -> bytes:
    """Return the bytes that a CAR with these roots (at most 23) begins with."""
    links = b"".join(_TAG_OF_CID + _cbor_bytes(b"\0" + bytes(root)) for root in roots)
    header = b"\xa2\x65roots" + bytes([0x80 + len(roots)]) + links + _VERSION + b"\x01"
    return varint(len(header)) + header


def car_section(cid: Cid, block: bytes) -> bytes:
    """Return a block as it stands in a CAR."""
    name = bytes(cid)
    return varint(len(name) + len(block)) + name + block


def _cbor_bytes(data: bytes) -> bytes:
    size = len(data)
    return (bytes([0x40 + size]) if size < 24 else bytes([0x58, size])) + data


class CarReader:
    """Takes the bytes of a CAR as they come and gives its blocks, holding one block at most.

    The blocks are not checked against their CIDs.
    """

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._headed = False

    def feed(self, data: bytes) -> Iterator[tuple[Cid, bytes]]:
        """Take in the next bytes and yield the blocks that are complete.

        Raises
        ------
        ValidationError
            When it is no CAR of version 1, or a block is too large.
        """
        self._buffer += data
        at = 0
        try:
            while (found := self._section(at)) is not None:
                section, at = found
                if self._headed:
                    cid, after = Cid.read(section[:_MAX_CID_BYTES], 0)
                    yield cid, section[after:]
                elif _VERSION + b"\x01" not in section:
                    raise ValueError("not version 1")
                self._headed = True
        except ValueError as error:
            raise _not_car(str(error)) from error
        finally:
            del self._buffer[:at]

    def end(self) -> None:
        """Say that there are no more bytes.

        Raises
        ------
        ValidationError
            When a block, or the header, is not complete.
        """
        if self._buffer or not self._headed:
            raise _not_car("it ends within a block")

    def _section(self, at: int) -> tuple[bytes, int] | None:
        """Return the section at a position and where the next one begins, or None while it is not complete."""
        limit = MAX_BLOCK_BYTES + _MAX_CID_BYTES if self._headed else _MAX_HEADER_BYTES
        head = bytes(self._buffer[at : at + 9])
        if len(head) < 9 and all(byte >= 0x80 for byte in head):
            return None
        size, length = read_varint(head, 0)
        if not 0 < size <= limit:
            raise ValueError(f"a section of {size} bytes")
        start = at + length
        if len(self._buffer) < start + size:
            return None
        with memoryview(self._buffer) as view:
            return bytes(view[start : start + size]), start + size


def _not_car(reason: str) -> ValidationError:
    return ValidationError("this is no CAR of version 1", context={"reason": reason}, hint="ask for ?format=car")

"""The little of protocol buffers that blocks of IPFS are written in, read without trusting any length in it."""

from __future__ import annotations

from collections.abc import Iterator

Value = int | bytes


def fields(data: bytes) -> Iterator[tuple[int, Value]]:
    """Yield number and value of each field of a message; ``ValueError`` for what is none.

    Parameters
    ----------
    data
        The message. Numbers come as ``int`` (varints and fixed widths), everything with a length as ``bytes``.
    """
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        number, kind = key >> 3, key & 7
        if not number:
            raise ValueError("no such field")
        if kind == 0:
            value, at = _varint(data, at)
            yield number, value
            continue
        if kind == 2:
            size, at = _varint(data, at)
        else:
            size = {1: 8, 5: 4}.get(kind, -1)
        if size < 0 or at + size > len(data):
            raise ValueError("cut short, or a kind that is not in use")
        raw = data[at : at + size]
        yield number, raw if kind == 2 else int.from_bytes(raw, "little")
        at += size


def _varint(data: bytes, at: int) -> tuple[int, int]:
    number = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            break
        byte = data[at]
        at += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number & 0xFFFFFFFFFFFFFFFF, at
    raise ValueError("not a varint")

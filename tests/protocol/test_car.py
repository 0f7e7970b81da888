"""CAR version 1, against the bytes of its specification and of the JavaScript package, and against anything else."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iexec_nb.errors import ValidationError
from iexec_nb.protocol.car import CarReader, car_header, car_section
from iexec_nb.protocol.cid import RAW, Cid, varint
from iexec_nb.protocol.unixfs import MAX_BLOCK_BYTES

# What @ipld/car 5.4.7 writes for CarWriter.create([root]), root being the raw CID of b"hello", and that one block.
WRITTEN = bytes.fromhex(
    "3aa265726f6f747381d82a582500015512202cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b98246776657273696f6e01"
    "29015512202cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b982468656c6c6f"
)
HELLO = Cid.of(b"hello")


def read(data: bytes, step: int = 10**9) -> list[tuple[Cid, bytes]]:
    reader, found = CarReader(), []
    for at in range(0, len(data), step):
        found += list(reader.feed(data[at : at + step]))
    reader.end()
    return found


def test_what_the_javascript_package_writes_is_read_and_written_the_same() -> None:
    assert read(WRITTEN) == [(HELLO, b"hello")]
    assert car_header([HELLO]) + car_section(HELLO, b"hello") == WRITTEN


@given(st.lists(st.binary(max_size=300), max_size=6), st.integers(1, 40))
def test_blocks_come_back_however_the_bytes_arrive(blocks: list[bytes], step: int) -> None:
    pairs = [(Cid.of(block, RAW), block) for block in blocks]
    data = car_header([HELLO, HELLO]) + b"".join(car_section(*pair) for pair in pairs)
    assert read(data, step) == pairs


def test_small_cids_with_small_blocks_are_complete_as_soon_as_they_are() -> None:
    inline = Cid(1, RAW, b"", 0)
    assert read(car_header([]) + car_section(inline, b"\xff\xff")) == [(inline, b"\xff\xff")]


@pytest.mark.parametrize("end", [0, 1, 5, 58, 60, 80, len(WRITTEN) - 1])
def test_a_car_that_is_cut_is_no_car(end: int) -> None:
    with pytest.raises(ValidationError, match="no CAR of version 1"):
        read(WRITTEN[:end])


@pytest.mark.parametrize(
    "data",
    [
        bytes.fromhex("0aa16776657273696f6e02"),
        WRITTEN.replace(b"version\x01", b"version\x03"),
        b"<!doctype html><title>Welcome</title><p>Please log in to go on.",
        b"\x00" * 40,
        varint(2**40) + b"x",
        b"\xff" * 20,
        WRITTEN[:59] + varint(MAX_BLOCK_BYTES + 1000),
        WRITTEN[:59] + varint(20) + b"x" * 20,
        WRITTEN + b"\x00",
    ],
    ids=[
        "version 2",
        "version 3",
        "a page",
        "zeros",
        "a huge header",
        "no number",
        "a huge block",
        "no CID",
        "nothing",
    ],
)
def test_what_is_no_car_is_a_typed_error_and_is_not_waited_for(data: bytes) -> None:
    reader = CarReader()
    with pytest.raises(ValidationError, match="no CAR of version 1"):
        list(reader.feed(data))


@given(st.binary(max_size=200))
def test_any_bytes_behind_a_header_are_blocks_or_a_typed_error(data: bytes) -> None:
    with contextlib.suppress(ValidationError):
        assert all(isinstance(cid, Cid) for cid, _ in read(car_header([HELLO]) + data))

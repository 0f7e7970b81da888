"""Tags: the 256 bits in which orders say what hardware a computation needs.

Bit i is worth 2**i. A deal's tag is the union of the app's, the dataset's and the requester's, and the workerpool
must offer all of it. The names and rules are those of the SDK (tee since 3.1, scone and gramine 8.0 to 8.24, tdx
since 8.23).
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

from iexec_nb.errors import ValidationError
from iexec_nb.protocol.types import NULL_BYTES32, Bytes32, bytes32, shown

BITS = {"tee": 0, "scone": 1, "gramine": 2, "tdx": 3, "gpu": 8}
NAMES = {bit: name for name, bit in BITS.items()}
FRAMEWORKS = ("scone", "gramine", "tdx")
LIVE_FRAMEWORKS = ("tdx",)
TEE_TDX: Bytes32 = "0x" + f"{0b1001:064x}"

_FRAMEWORK_MASK = sum(1 << BITS[name] for name in FRAMEWORKS)


def encode(names: Iterable[str]) -> Bytes32:
    """Return the tag of tag names (the SDK's ``utils.encodeTag``); empty names are skipped.

    Raises
    ------
    ValidationError
        For an unknown name.
    """
    number = 0
    for name in names:
        if name == "":
            continue
        if not isinstance(name, str) or name not in BITS:
            close = get_close_matches(str(name), BITS, 1)
            hint = f"did you mean {close[0]!r}?" if close else f"use names of {', '.join(BITS)}"
            raise ValidationError(f"Unknown tag {shown(name)}", hint=hint)
        number |= 1 << BITS[name]
    return _text(number)


def decode(value: Bytes32) -> tuple[str, ...]:
    """Return the names in a tag, lowest bit first (the SDK's ``utils.decodeTag``).

    Raises
    ------
    ValidationError
        When a bit is set that has no name.
    """
    number = int(bytes32(value, "tag"), 16)
    bits = [bit for bit in range(256) if number >> bit & 1]
    for bit in bits:
        if bit not in NAMES:
            raise ValidationError(f"Unknown bit {bit} in tag", context={"tag": value})
    return tuple(NAMES[bit] for bit in bits)


def describe(value: Bytes32) -> tuple[str, ...]:
    """Return the names in a tag, with ``bit N`` for bits that have none; never fails on a 32-byte tag."""
    number = int(bytes32(value, "tag"), 16)
    return tuple(NAMES.get(bit, f"bit {bit}") for bit in range(256) if number >> bit & 1)


def tag(value: str | Iterable[str] | int | None, name: str = "tag") -> Bytes32:
    """Return a tag given in any form: bytes32 text, names, comma separated names, a number, or nothing.

    Raises
    ------
    ValidationError
        For an unknown name or malformed text. The rules about combinations are `check`'s.
    """
    if value is None:
        return NULL_BYTES32
    if type(value) is int and 0 <= value < 2**256:
        return _text(value)
    if isinstance(value, str) and value.lower().startswith("0x"):
        return bytes32(value.lower(), name)
    names = value.split(",") if isinstance(value, str) else value
    if not isinstance(names, list | tuple | set | frozenset):
        raise ValidationError(
            f"{shown(value)} is not a valid tag. Invalid tag",
            context={"argument": name},
            hint='give the tag as names, such as ["tee", "tdx"] or "tee,tdx"',
        )
    try:
        return encode(names)
    except ValidationError as error:
        given = shown(",".join(map(str, names)))
        message = f"{given} is not a valid tag. {error.message}"
        raise ValidationError(message, context={"argument": name}, hint=error.hint) from None


def union(*tags: Bytes32) -> Bytes32:
    """Return the tag that holds every bit of `tags` (the SDK's ``utils.sumTags``)."""
    number = 0
    for value in tags:
        number |= int(bytes32(value, "tag"), 16)
    return _text(number)


def missing(required: Bytes32, offered: Bytes32) -> tuple[str, ...]:
    """Return the names of the bits that `required` has and `offered` lacks; a bit without name gives its number."""
    lacking = int(required, 16) & ~int(offered, 16)
    return tuple(NAMES.get(bit, str(bit)) for bit in range(256) if lacking >> bit & 1)


def has(value: Bytes32, name: str) -> bool:
    """Tell whether the bit called `name` is set."""
    return bool(int(value, 16) >> BITS[name] & 1)


def without_frameworks(value: Bytes32) -> Bytes32:
    """Return the tag with the TEE framework bits (1 to 3) cleared, as the contracts do for a dataset's tag."""
    return _text(int(value, 16) & ~_FRAMEWORK_MASK)


def check(value: Bytes32, *, agnostic: bool, legacy: bool = False) -> list[str]:
    """Return what is wrong with a combination of tags, in the words of SDK 9.

    Parameters
    ----------
    value
        The tag.
    agnostic
        Whether ``tee`` may stand without a framework (dataset and request orders, orderbook filters).
    legacy
        Whether the retired frameworks scone and gramine are left out of account (dataset orders, whose frameworks the
        contracts ignore, and hubs older than SDK 9).
    """
    known = LIVE_FRAMEWORKS if legacy else FRAMEWORKS
    frameworks = [name for name in known if has(value, name)]
    quoted = "|".join(f"'{name}'" for name in LIVE_FRAMEWORKS)
    retired = [name for name in ("gramine", "scone") if name in frameworks]
    if retired:
        return [f"Unsupported legacy TEE framework tag ({', '.join(repr(name) for name in retired)})"]
    if has(value, "tee"):
        return [] if frameworks or agnostic else [f"'tee' tag must be used with a tee framework ({quoted})"]
    return [f"'{name}' tag must be used with 'tee' tag" for name in frameworks]


def _text(number: int) -> Bytes32:
    return f"0x{number:064x}"

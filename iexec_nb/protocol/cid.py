"""Names of content on IPFS, and the bytes that the chain keeps for them.

An app or dataset entry stores where its content lies as multiaddr bytes, and a result is named by its CID. A gateway is
a stranger: what it sends is worth something only when the bytes hash to the name that was asked for. This file parses
and writes both forms and holds a block against its name; what a file or folder is made of stands in `unixfs`.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import ipaddress
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

from iexec_nb.errors import ValidationError
from iexec_nb.protocol.types import shown

DAG_PB = 0x70
RAW = 0x55
SHA256 = 0x12
IDENTITY = 0x00
MAX_INLINE_BYTES = 128
"""The most that a CID may hold itself instead of a hash; longer ones are refused by every implementation."""

_MAX_TEXT = 320
_MAX_PATH = 4096
_BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_P2P = 421


# --- varints and base58 --------------------------------------------------------------------------------------------


def varint(number: int) -> bytes:
    """Return a number in the form in which small ones are short: seven bits a byte, the lowest first."""
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def read_varint(data: bytes, at: int) -> tuple[int, int]:
    """Return the number at `at` and the position after it; ``ValueError`` when it is cut or not the shortest form."""
    number = 0
    for index in range(9):
        if at + index >= len(data):
            break
        byte = data[at + index]
        number |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            if index and not byte:
                break
            return number, at + index + 1
    raise ValueError("not a varint")


def _base58_encode(data: bytes) -> str:
    number = int.from_bytes(data, "big")
    text = ""
    while number:
        number, digit = divmod(number, 58)
        text = _BASE58[digit] + text
    return "1" * (len(data) - len(data.lstrip(b"\0"))) + text


def _base58_decode(text: str) -> bytes:
    number = 0
    for character in text:
        number = number * 58 + _BASE58.index(character)
    zeros = len(text) - len(text.lstrip("1"))
    return b"\0" * zeros + number.to_bytes((number.bit_length() + 7) // 8, "big")


# --- CIDs ----------------------------------------------------------------------------------------------------------


class Hash(Protocol):
    """A hash that takes bytes as they come."""

    def update(self, data: bytes | bytearray | memoryview, /) -> None:
        """Add the next bytes."""

    def digest(self) -> bytes:
        """Return the hash of the bytes so far."""


# By multicodec, with the length of the digest; only hashes whose collisions nobody can make: SHA-1 is not among them.
_HASHES: dict[int, tuple[Callable[[], Hash], int]] = {
    SHA256: (hashlib.sha256, 32),
    0x13: (hashlib.sha512, 64),
    0x14: (hashlib.sha3_512, 64),
    0x16: (hashlib.sha3_256, 32),
    0xB220: (lambda: hashlib.blake2b(digest_size=32), 32),
    0xB240: (hashlib.blake2b, 64),
}


@dataclass(frozen=True, slots=True)
class Cid:
    """A content identifier whose hash can be computed here, or which holds its few bytes itself.

    Parameters
    ----------
    version
        0 (``Qm...``) or 1 (``baf...``).
    codec
        Multicodec of the block that it names: 0x70 (dag-pb, a UnixFS node) or 0x55 (the raw bytes), or another one.
    digest
        Hash of that block, 32 bytes for SHA-256; for the identity "hash" the block itself, at most 128 bytes.
    hash_code
        Multicodec of the hash: 0x12 (SHA-256), 0x00 (identity), or SHA-512, SHA3 and BLAKE2b.
    """

    version: int
    codec: int
    digest: bytes
    hash_code: int = SHA256

    @classmethod
    def parse(cls, text: str) -> Cid:
        """Read a CID of version 0 or 1, alone or as ``/ipfs/<cid>`` or ``/p2p/<cid>``.

        Parameters
        ----------
        text
            Base58 (``Qm...``, ``z...``), base32 (``b...``), base36 (``k...``) or base16 (``f...``) form.

        Raises
        ------
        ValidationError
            When it is not a CID, names something inside a folder, or uses a hash that is not known here.
        """
        bare = re.sub(r"\A/(?:ipfs|p2p)/", "", text) if isinstance(text, str) else ""
        try:
            return cls.from_bytes(_cid_bytes(bare.rstrip("/")))
        except (ValueError, binascii.Error) as error:
            raise ValidationError(
                f"{shown(text)} is not a CID that can be checked",
                context={"rule": "a CID of version 0 or 1 whose hash is SHA-256 or another safe one"},
                hint="give it as Qm..., baf... or /ipfs/Qm...",
            ) from error

    @classmethod
    def from_bytes(cls, raw: bytes) -> Cid:
        """Read the binary form, all of it; ``ValueError`` for anything else."""
        cid, end = cls.read(raw, 0)
        if end != len(raw):
            raise ValueError("something follows the CID")
        return cid

    @classmethod
    def read(cls, raw: bytes, at: int) -> tuple[Cid, int]:
        """Read the binary form at a position and return it with the position after it; ``ValueError`` otherwise."""
        if raw[at : at + 2] == b"\x12\x20":
            if len(raw) < at + 34:
                raise ValueError("cut short")
            return cls(0, DAG_PB, bytes(raw[at + 2 : at + 34])), at + 34
        version, at = read_varint(raw, at)
        codec, at = read_varint(raw, at)
        kind, at = read_varint(raw, at)
        size, at = read_varint(raw, at)
        expected = size if kind == IDENTITY and size <= MAX_INLINE_BYTES else _HASHES.get(kind, (None, -1))[1]
        if version != 1 or size != expected or len(raw) < at + size:
            raise ValueError("not a CID whose hash is known")
        return cls(1, codec, bytes(raw[at : at + size]), kind), at + size

    @classmethod
    def of(cls, block: bytes | memoryview, codec: int = RAW) -> Cid:
        """Return the CID of version 1, with SHA-256, of a block."""
        return cls(1, codec, hashlib.sha256(block).digest())

    @property
    def multihash(self) -> bytes:
        """The hash with its type and length in front, 34 bytes for SHA-256."""
        return varint(self.hash_code) + varint(len(self.digest)) + self.digest

    @property
    def inline(self) -> bytes | None:
        """The block itself, where the CID holds it."""
        return self.digest if self.hash_code == IDENTITY else None

    def hasher(self) -> Hash | None:
        """Return a new hash of the kind that the CID has; None where it holds the block itself."""
        return None if self.hash_code == IDENTITY else _HASHES[self.hash_code][0]()

    def names(self, *parts: bytes | bytearray | memoryview) -> bool:
        """Return whether the block that consists of these parts is the one that the CID names."""
        hasher = self.hasher()
        if hasher is None:
            return b"".join(parts) == self.digest
        for part in parts:
            hasher.update(part)
        return hasher.digest() == self.digest

    def __bytes__(self) -> bytes:
        return self.multihash if self.version == 0 else b"\x01" + varint(self.codec) + self.multihash

    def __str__(self) -> str:
        if self.version == 0:
            return _base58_encode(self.multihash)
        return "b" + base64.b32encode(bytes(self)).decode().lower().rstrip("=")


@dataclass(frozen=True, slots=True)
class Location:
    """Where content lies: a CID, and the names to follow from there through folders.

    Parameters
    ----------
    cid
        Of the file or the folder where the path begins.
    path
        Names inside, from the outermost folder on; empty for the CID itself.
    """

    cid: Cid
    path: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Location:
        """Read a CID, ``/ipfs/<cid>``, ``/ipfs/<cid>/folder/file``, ``ipfs://<cid>/file`` or ``/p2p/<cid>``.

        Raises
        ------
        ValidationError
            When there is no CID that can be checked, or the path is not in its plain form.
        """
        bare = re.sub(r"\A(?:/ipfs/|/p2p/|ipfs://)", "", text) if isinstance(text, str) else ""
        first, *path = bare.removesuffix("/").split("/")
        if len(bare) > _MAX_PATH or any(part in ("", ".", "..") or "\0" in part for part in path):
            raise ValidationError(
                f"{shown(text)} is not a place on IPFS", hint="give it as /ipfs/Qm... or /ipfs/Qm.../folder/file"
            )
        try:
            return cls(Cid.parse(first), tuple(path))
        except ValidationError as error:
            # What was given, and not the part of it that was taken for a CID.
            raise ValidationError(
                f"{shown(text)} is not a CID that can be checked", context=error.context, hint=error.hint
            ) from error

    def __str__(self) -> str:
        return "/".join((str(self.cid), *self.path))


def _cid_bytes(text: str) -> bytes:
    if len(text) > _MAX_TEXT:
        raise ValueError("too long")
    if len(text) == 46 and text.startswith("Qm"):
        return _base58_decode(text)
    kind, rest = text[:1], text[1:]
    if kind in ("b", "B"):
        return _binary_cid(base64.b32decode(rest.upper() + "=" * (-len(rest) % 8)))
    if kind == "z":
        return _binary_cid(_base58_decode(rest))
    if kind in ("k", "K"):
        return _binary_cid(_base36_decode(rest))
    if kind in ("f", "F"):
        return _binary_cid(bytes.fromhex(rest))
    raise ValueError("no such form")


def _base36_decode(text: str) -> bytes:
    if not re.fullmatch(r"[0-9a-zA-Z]+", text):
        raise ValueError("not base36")
    number = int(text, 36)
    return b"\0" * (len(text) - len(text.lstrip("0"))) + number.to_bytes((number.bit_length() + 7) // 8, "big")


def _binary_cid(raw: bytes) -> bytes:
    # Version 0 has only the one text form; with a letter for its base in front it is not a CID.
    if raw[:1] != b"\x01":
        raise ValueError("not version 1")
    return raw


# --- multiaddr -----------------------------------------------------------------------------------------------------


def _parse_port(text: str) -> bytes:
    if not re.fullmatch(r"0|[1-9][0-9]{0,4}", text) or int(text) > 65535:
        raise ValueError("not a port")
    return int(text).to_bytes(2, "big")


def _parse_ip6(text: str) -> bytes:
    if "%" in text:
        raise ValueError("the scope would be lost")
    return ipaddress.IPv6Address(text).packed


def _parse_peer(text: str) -> bytes:
    if text.startswith(("Qm", "1")):
        raw = _base58_decode(text)
        length, start = read_varint(raw, 1)
        if raw[0] not in (0x00, 0x12) or length != len(raw) - start:
            raise ValueError("not a multihash")
        return raw
    # The bases that every reader knows: base32 in lower case and base58.
    if not text.startswith(("b", "z")):
        raise ValueError("a base that others do not read")
    cid = Cid.from_bytes(_cid_bytes(text))
    # The chain keeps the hash only and every reader shows it as Qm...: right for dag-pb, another content for any other
    # codec or hash. Such a name stays text, which readers give back unchanged.
    if cid.codec != DAG_PB or cid.hash_code != SHA256:
        raise ValueError("the codec would be lost")
    return cid.multihash


@dataclass(frozen=True, slots=True)
class _Protocol:
    code: int
    name: str
    size: int | None = 0  # bytes of the value; None: a length stands in front
    parse: Callable[[str], bytes] = str.encode
    show: Callable[[bytes], str] = bytes.decode


def _show_ip(raw: bytes) -> str:
    return str(ipaddress.ip_address(raw))


def _show_port(raw: bytes) -> str:
    return str(int.from_bytes(raw, "big"))


_PROTOCOLS = (
    _Protocol(4, "ip4", 4, lambda text: ipaddress.IPv4Address(text).packed, _show_ip),
    _Protocol(6, "tcp", 2, _parse_port, _show_port),
    _Protocol(273, "udp", 2, _parse_port, _show_port),
    _Protocol(41, "ip6", 16, _parse_ip6, _show_ip),
    _Protocol(53, "dns", None),
    _Protocol(54, "dns4", None),
    _Protocol(55, "dns6", None),
    _Protocol(56, "dnsaddr", None),
    _Protocol(_P2P, "p2p", None, _parse_peer, _base58_encode),
    _Protocol(443, "https"),
    _Protocol(448, "tls"),
    _Protocol(477, "ws"),
    _Protocol(478, "wss"),
    _Protocol(480, "http"),
)
_BY_NAME = {protocol.name: protocol for protocol in _PROTOCOLS} | {"ipfs": _PROTOCOLS[8]}
_BY_CODE = {protocol.code: protocol for protocol in _PROTOCOLS}


def multiaddr_encode(text: str) -> bytes:
    """Return the bytes that a registry entry stores for where its content lies.

    Parameters
    ----------
    text
        ``/ipfs/<cid>`` or ``/p2p/<cid>`` and other multiaddrs become their binary form; anything else (an image name,
        a URL, a path inside an IPFS folder) becomes its UTF-8 bytes.

    Returns
    -------
    bytes
        As the JavaScript SDK writes them. One difference is wanted: a CID of version 1 that is not dag-pb stays text,
        because the binary form loses its codec and names another content.
    """
    if not text.startswith("/"):
        return text.encode()
    try:
        return b"".join(_encode_parts([part for part in text.split("/") if part]))
    except (ValueError, KeyError, IndexError, binascii.Error):
        return text.encode()


def _encode_parts(parts: list[str]) -> Iterable[bytes]:
    position = 0
    while position < len(parts):
        protocol = _BY_NAME[parts[position]]
        yield varint(protocol.code)
        if protocol.size != 0:
            value = protocol.parse(parts[position + 1])
            yield value if protocol.size else varint(len(value)) + value
        position += 1 if protocol.size == 0 else 2


def multiaddr_decode(data: bytes) -> str:
    """Return the text of the bytes that a registry entry stores: a multiaddr (``/p2p/Qm...``), else UTF-8.

    Parameters
    ----------
    data
        Bytes from the chain; what is neither is shown with replacement characters.
    """
    try:
        text = "".join(_decode_parts(data))
    except (ValueError, KeyError):
        text = ""
    # A text may happen to start like a binary multiaddr; it is one only if it can be written back the same.
    return text if text and multiaddr_encode(text) == data else data.decode(errors="replace")


def _decode_parts(data: bytes) -> Iterable[str]:
    at = 0
    while at < len(data):
        code, at = read_varint(data, at)
        protocol = _BY_CODE[code]
        yield f"/{protocol.name}"
        if protocol.size == 0:
            continue
        size, at = (protocol.size, at) if protocol.size else read_varint(data, at)
        if at + size > len(data):
            raise ValueError("cut short")
        yield "/" + protocol.show(data[at : at + size])
        at += size

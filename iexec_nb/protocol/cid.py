"""Names of content on IPFS: the bytes that the chain keeps for them, and the check that a gateway told the truth.

An app or dataset entry stores where its content lies as multiaddr bytes, and a result is named by its CID. A gateway is
a stranger: what it sends is worth something only when the bytes hash to the name that was asked for. This file parses
and writes both forms and computes, in one pass and without keeping the content, the CID that an IPFS node with default
settings gives to a file (chunks of 256 KiB, 174 links per node, balanced tree).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import ipaddress
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from iexec_nb.errors import ValidationError
from iexec_nb.protocol.types import shown

CHUNK_BYTES = 262_144
LINKS_PER_NODE = 174

_DAG_PB = 0x70
_RAW = 0x55
_SHA256_PREFIX = b"\x12\x20"
_BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_P2P = 421


# --- varints and base58 --------------------------------------------------------------------------------------------


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
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


@dataclass(frozen=True, slots=True)
class Cid:
    """A content identifier whose hash is SHA-256.

    Parameters
    ----------
    version
        0 (``Qm...``) or 1 (``baf...``).
    codec
        Multicodec of the block that it names: 0x70 (dag-pb, a UnixFS node) or 0x55 (the raw bytes), or another one.
    digest
        SHA-256 of that block, 32 bytes.
    """

    version: int
    codec: int
    digest: bytes

    @classmethod
    def parse(cls, text: str) -> Cid:
        """Read a CID of version 0 or 1, alone or as ``/ipfs/<cid>`` or ``/p2p/<cid>``.

        Parameters
        ----------
        text
            Base58 (``Qm...``, ``z...``), base32 (``b...``) or base16 (``f...``) form.

        Raises
        ------
        ValidationError
            When it is not a CID, names something inside a folder, or uses a hash other than SHA-256.
        """
        bare = re.sub(r"\A/(?:ipfs|p2p)/", "", text) if isinstance(text, str) else ""
        try:
            return cls._from_bytes(_cid_bytes(bare.rstrip("/")))
        except (ValueError, binascii.Error) as error:
            raise ValidationError(
                f"{shown(text)} is not a CID that can be checked",
                context={"rule": "a CID of version 0 or 1 whose hash is SHA-256"},
                hint="give it as Qm..., baf... or /ipfs/Qm...",
            ) from error

    @classmethod
    def _from_bytes(cls, raw: bytes) -> Cid:
        if raw[:2] == _SHA256_PREFIX and len(raw) == 34:
            return cls(0, _DAG_PB, raw[2:])
        version, at = _read_varint(raw, 0)
        codec, at = _read_varint(raw, at)
        if version != 1 or raw[at : at + 2] != _SHA256_PREFIX or len(raw) != at + 34:
            raise ValueError("not a CID with a SHA-256 hash")
        return cls(1, codec, raw[at + 2 :])

    @property
    def multihash(self) -> bytes:
        """The hash with its type and length in front, 34 bytes."""
        return _SHA256_PREFIX + self.digest

    def __bytes__(self) -> bytes:
        return self.multihash if self.version == 0 else b"\x01" + _varint(self.codec) + self.multihash

    def __str__(self) -> str:
        if self.version == 0:
            return _base58_encode(self.multihash)
        return "b" + base64.b32encode(bytes(self)).decode().lower().rstrip("=")


def _cid_bytes(text: str) -> bytes:
    if len(text) > 128:
        raise ValueError("too long")
    if len(text) == 46 and text.startswith("Qm"):
        return _base58_decode(text)
    kind, rest = text[:1], text[1:]
    if kind in ("b", "B"):
        return _binary_cid(base64.b32decode(rest.upper() + "=" * (-len(rest) % 8)))
    if kind == "z":
        return _binary_cid(_base58_decode(rest))
    if kind in ("f", "F"):
        return _binary_cid(bytes.fromhex(rest))
    raise ValueError("no such form")


def _binary_cid(raw: bytes) -> bytes:
    # Version 0 has only the one text form; with a letter for its base in front it is not a CID.
    if raw[:1] != b"\x01":
        raise ValueError("not version 1")
    return raw


# --- the tree of blocks that a node makes of a file ------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Node:
    cid: Cid
    file_bytes: int
    dag_bytes: int


def _field(number: int, payload: bytes) -> bytes:
    return bytes([number << 3 | 2]) + _varint(len(payload)) + payload


class _Tree:
    """Balanced UnixFS tree of one file, built leaf by leaf; it holds at most 174 hashes per level."""

    def __init__(self, version: int, raw_leaves: bool, chunk_bytes: int, links_per_node: int) -> None:
        self._version = version
        self._raw_leaves = raw_leaves
        self._chunk_bytes = chunk_bytes
        self._links = links_per_node
        self._rest = bytearray()
        self._levels: list[list[_Node]] = [[]]

    def update(self, data: bytes | bytearray | memoryview) -> None:
        view = memoryview(data).cast("B")
        if self._rest:
            missing = self._chunk_bytes - len(self._rest)
            self._rest += view[:missing]
            view = view[missing:]
            if len(self._rest) < self._chunk_bytes:
                return
            self._push(self._leaf(memoryview(bytes(self._rest))), 0)
            self._rest.clear()
        whole = len(view) - len(view) % self._chunk_bytes
        for at in range(0, whole, self._chunk_bytes):
            self._push(self._leaf(view[at : at + self._chunk_bytes]), 0)
        self._rest += view[whole:]

    def root(self) -> Cid:
        """Return the CID of everything so far; `update` may go on afterwards."""
        levels = [list(level) for level in self._levels]
        if self._rest or levels == [[]]:
            self._push(self._leaf(memoryview(bytes(self._rest))), 0, levels)
        height = 0
        while height + 1 < len(levels) or len(levels[height]) > 1:
            self._push(self._parent(levels[height]), height + 1, levels)
            height += 1
        return levels[height][0].cid

    def _push(self, node: _Node, height: int, levels: list[list[_Node]] | None = None) -> None:
        levels = self._levels if levels is None else levels
        if height == len(levels):
            levels.append([])
        # A full node is closed only when another child comes: 174 chunks are one node, not a node in a node.
        if len(levels[height]) == self._links:
            self._push(self._parent(levels[height]), height + 1, levels)
            levels[height] = []
        levels[height].append(node)

    def _leaf(self, chunk: memoryview) -> _Node:
        size = len(chunk)
        if self._raw_leaves:
            return _Node(Cid(1, _RAW, hashlib.sha256(chunk).digest()), size, size)
        head = b"\x08\x02" + (b"\x12" + _varint(size) if size else b"")
        tail = b"\x18" + _varint(size)
        head = b"\x0a" + _varint(len(head) + size + len(tail)) + head
        hasher = hashlib.sha256(head)
        hasher.update(chunk)
        hasher.update(tail)
        return _Node(Cid(self._version, _DAG_PB, hasher.digest()), size, len(head) + size + len(tail))

    def _parent(self, children: list[_Node]) -> _Node:
        links = b"".join(
            _field(2, _field(1, bytes(child.cid)) + b"\x12\x00\x18" + _varint(child.dag_bytes)) for child in children
        )
        size = sum(child.file_bytes for child in children)
        sizes = b"".join(b"\x20" + _varint(child.file_bytes) for child in children)
        block = links + _field(1, b"\x08\x02\x18" + _varint(size) + sizes)
        cid = Cid(self._version, _DAG_PB, hashlib.sha256(block).digest())
        return _Node(cid, size, len(block) + sum(child.dag_bytes for child in children))


class Hasher:
    """Compute the CID that ``ipfs add`` gives to a file, from its bytes as they come.

    Parameters
    ----------
    versions
        The CID versions wanted, 0 (dag-pb leaves) and 1 (raw leaves); both by default. Each costs a SHA-256 pass.
    chunk_bytes
        Size of a leaf in bytes.
    links_per_node
        Children of an inner node.
    """

    def __init__(self, *versions: int, chunk_bytes: int = CHUNK_BYTES, links_per_node: int = LINKS_PER_NODE) -> None:
        self._trees = {
            version: _Tree(version, version == 1, chunk_bytes, links_per_node) for version in versions or (0, 1)
        }

    def update(self, data: bytes | bytearray | memoryview) -> None:
        """Add the next bytes of the file."""
        for tree in self._trees.values():
            tree.update(data)

    def cid(self, version: int = 0) -> str:
        """Return the CID of the bytes so far, as text.

        Parameters
        ----------
        version
            0 for ``Qm...``, 1 for ``baf...``; one of those given to the constructor.
        """
        return str(self._trees[version].root())


def content_cid(data: bytes | bytearray | memoryview, version: int = 0) -> str:
    """Return the CID that ``ipfs add`` gives to `data`, as text.

    Parameters
    ----------
    data
        The whole file.
    version
        0 for ``Qm...`` (default of a node), 1 for ``baf...``.
    """
    hasher = Hasher(version)
    hasher.update(data)
    return hasher.cid(version)


class CidVerifier:
    """Check bytes from a gateway against the CID that was asked for, as they come.

    Files of one block and files laid out with a node's defaults are recognised; a CID of version 1 may have been made
    with raw or with dag-pb leaves, so both are computed for it.

    Parameters
    ----------
    cid
        ``Qm...``, ``baf...`` or ``/ipfs/<cid>``.

    Raises
    ------
    ValidationError
        When `cid` is not a CID, or names something that is neither a UnixFS node nor a raw block.
    """

    def __init__(self, cid: str) -> None:
        self.cid = Cid.parse(cid)
        self._bytes = 0
        self._raw = hashlib.sha256() if self.cid.codec == _RAW else None
        if self.cid.codec not in (_DAG_PB, _RAW):
            raise ValidationError(
                f"the content of {self.cid} cannot be checked",
                context={"codec": hex(self.cid.codec), "rule": "the CID of a file: codec 0x70 (dag-pb) or 0x55 (raw)"},
                hint="add the file with `ipfs add` and use the CID that it prints",
            )
        leaves = () if self._raw else (False,) if self.cid.version == 0 else (True, False)
        self._trees = [_Tree(self.cid.version, raw, CHUNK_BYTES, LINKS_PER_NODE) for raw in leaves]

    def update(self, data: bytes | bytearray | memoryview) -> None:
        """Add the next bytes that were received."""
        self._bytes += len(memoryview(data).cast("B"))
        if self._raw:
            self._raw.update(data)
        for tree in self._trees:
            tree.update(data)

    def finish(self) -> None:
        """Accept the bytes or refuse them.

        Raises
        ------
        ValidationError
            When the bytes are not those that the CID names, or the file was added with a layout other than the default.
        """
        digests = [self._raw.digest()] if self._raw else [tree.root().digest for tree in self._trees]
        if self.cid.digest not in digests:
            raise ValidationError(
                f"the bytes received are not the content of {self.cid}",
                context={
                    "received": f"{self._bytes} bytes",
                    "rule": f"chunks of {CHUNK_BYTES} bytes, {LINKS_PER_NODE} links per node (the defaults of a node)",
                },
                hint="try another gateway; a file added with other settings cannot be checked from its bytes alone",
            )


def matches(cid: str, chunks: Iterable[bytes]) -> bool:
    """Return whether the concatenated `chunks` are the content that `cid` names.

    Raises
    ------
    ValidationError
        When `cid` is not the CID of a file.
    """
    verifier = CidVerifier(cid)
    for chunk in chunks:
        verifier.update(chunk)
    try:
        verifier.finish()
    except ValidationError:
        return False
    return True


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
        length, start = _read_varint(raw, 1)
        if raw[0] not in (0x00, 0x12) or length != len(raw) - start:
            raise ValueError("not a multihash")
        return raw
    # The bases that every reader knows: base32 in lower case and base58.
    if not text.startswith(("b", "z")):
        raise ValueError("a base that others do not read")
    cid = Cid._from_bytes(_cid_bytes(text))
    # The chain keeps the hash only and every reader shows it as Qm...: right for dag-pb, another content for any other
    # codec. Such a name stays text, which readers give back unchanged.
    if cid.codec != _DAG_PB:
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
        yield _varint(protocol.code)
        if protocol.size != 0:
            value = protocol.parse(parts[position + 1])
            yield value if protocol.size else _varint(len(value)) + value
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
        code, at = _read_varint(data, at)
        protocol = _BY_CODE[code]
        yield f"/{protocol.name}"
        if protocol.size == 0:
            continue
        size, at = (protocol.size, at) if protocol.size else _read_varint(data, at)
        if at + size > len(data):
            raise ValueError("cut short")
        yield "/" + protocol.show(data[at : at + size])
        at += size

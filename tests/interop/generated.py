"""2,000 inputs for the differential test: the same ones in every run, half of them such as no honest program sends."""

from __future__ import annotations

import base64
import json
import random
import string
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from iexec_nb.protocol.orders import ORDERS
from iexec_nb.protocol.types import NULL_ADDRESS, to_checksum

SEED = "iexec_nb differential 1"

UNITS = (
    "RLC", "nRLC", "rlc", "NRLC", "Rlc", "nrlc", "wei", "kwei", "mwei", "gwei", "szabo", "finney", "ether", "eth",
    "ETH",
    "Gwei", "mRLC", "", "constructor", "RLC RLC", "RLC\u00a0", "ＲＬＣ",
)  # fmt: skip
SEPARATORS = (" ", " ", " ", "", "  ", "\t", "\u00a0", "\u2003", "_")
WHOLE = (
    0, 1, 7, 20, 255, 10**9, 2**31, 2**53 - 1, 2**53, 2**53 + 1, 2**64, 10**18, 10**30, 2**255, 2**256 - 1, 2**256,
    10**78, -1, -(10**9), -(2**53),
)  # fmt: skip
FRACTIONS = (0.5, 1.0, 1.5, 0.1, 1e-7, 1e21, 1e22, 123456789.987654321, -0.0, -1.5, float("nan"), float("inf"))
NUMERALS = (
    "0", "00", "007", "1", "1.5", "0.1", ".5", "5.", "1.000000001", "0.1234567891", "0.123456789000", "000.5", "0.",
    ".", "..", "1.2.3", "-1", "-0", "+1", "--1", "1e9", "1E9", "1e-9", "0x10", "0X1f", "0b11", "0o7", "1_000",
    "1,000",
    "1'000", "１２", "١٢", "½", "²", "Ⅷ", "", " ", "NaN", "Infinity", "null", "true", "1n", "1;", "$1",
    "99999999999999999999",
    "9" * 77, "9" * 78, "1" + "0" * 120, "0" * 150 + "1", "1." + "0" * 30,
    "115792089237316195423570985008687907853269984665640564039457584007913129639935",
    "115792089237316195423570985008687907853269984665640564039457584007913129639936", "\u200b1", "1\n", "1\r",
    "1\u2028",
)  # fmt: skip
TAG_NAMES = ("tee", "tdx", "scone", "gramine", "gpu")
ODD_NAMES = (
    "TEE", "Tdx", " tee", "tee ", "", "0", "8", "sgx", "constructor", "toString", "__proto__", "tée", "tee\n", "0x",
    "0x1",
)  # fmt: skip
ODD_THINGS: tuple[Any, ...] = (None, True, False, [], {}, {"a": 1}, [[]], [None], "[object Object]", "undefined")
TEXTS = (
    "hello", "", " ", "hé 日本語 🚀",
    'quotes " and \\ back', "tab\tline\nfeed\u0000null", "\u2028\u2029 / </script>", "\ud800",
    "\udc00\ud800", "a" * 4096, "é" * 2048, "x" * 4097, "é" * 2048 + "x", "42", "true", "null", "{}", "[1]",
    '"quoted"', "\ufeffbom",
)  # fmt: skip
V0 = "QmW2WQi7j6c7UgJTarActp7tDNikE4B2qXtFCfLPdsgaTQ"
V1 = "bafybeigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi"
RAW = "bafkreifzjut3te7nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e"
# A libp2p key (codec 0x72), a SHA-512 hash, and base58, base16 and upper-case forms of version 1.
CIDS = (
    V0, V1, RAW, V1.upper(), "zdj7WWeQ43G6JJvLWQWZpyHuAMq6uYWRjkBXFad11vE2LHhQ7", "f01551220" + "ab" * 32,
    "F01551220" + "AB" * 32,
    "bafzbeie5745rpv2m6tjyuugywy4d5ewrqgqqhfnf445he3omzpjbx5xqxe",
    "12D3KooWGC6TvWhfapngX6wvJHMYvKpDMXPb3ZnCZ6dMoaMtimQ5", V0[:-1], V0 + "x", V0.lower(), "Qm", "b", "z", "",
    "mAXASIA", "k51qzi5uqu5dlvj2baxnqndepeb86cbk3ng7n3i46uzyxzyqj2xjonzllnv0v8", "1" * 46, "Qm" + "0" * 44,
)  # fmt: skip


@dataclass(frozen=True)
class Case:
    """One input: what it is about, and the value or values."""

    kind: str
    given: Any

    def __repr__(self) -> str:
        text = repr(self.given)
        return f"{self.kind}({text if len(text) < 400 else text[:400] + '…'})"


class Draw(random.Random):
    """A random source with the vocabulary of the SDK."""

    def some(self, chance: float) -> bool:
        return self.random() < chance

    def digits(self, most: int) -> str:
        return "".join(self.choices(string.digits, k=self.randint(1, most)))

    def numeral(self) -> str:
        roll = self.random()
        if roll < 0.45:
            return self.choice(NUMERALS)
        if roll < 0.7:
            return f"{self.digits(12)}.{self.digits(20)}"
        return self.digits(85)

    def number(self) -> Any:
        """Something that may stand where a number is wanted."""
        roll = self.random()
        if roll < 0.25:
            return self.choice(WHOLE)
        if roll < 0.35:
            return self.choice(FRACTIONS)
        if roll < 0.42:
            return self.choice(ODD_THINGS)
        return self.numeral()

    def amount(self, units: tuple[str, ...]) -> Any:
        roll = self.random()
        unit = self.choice(units) if self.some(0.7) else self.choice(UNITS)
        if roll < 0.3:
            return self.number()
        if roll < 0.75:
            return f"{self.numeral()}{self.choice(SEPARATORS)}{unit}"
        if roll < 0.8:
            return f" {self.numeral()} {unit} "
        pair = [self.choice((self.numeral(), self.choice(WHOLE))), unit]
        return self.choice(
            (pair, pair, pair[:1], [*pair, "x"], [pair[0], None], [pair[0], ""], list(reversed(pair)), [])
        )

    def address(self) -> str:
        plain = self.randbytes(20).hex()
        return self.choice(("0x" + plain, "0x" + plain.upper(), to_checksum(bytes.fromhex(plain)), NULL_ADDRESS))

    # fmt: off
    def any_address(self) -> Any:
        good = self.address()
        if self.some(0.35):
            return good
        mixed = "".join(self.choice((c.lower(), c.upper())) for c in good[2:])
        return self.choice((
            "0x" + mixed, "0X" + mixed, mixed, good[2:], good[:-1], good + "0", good + " ", " " + good, good + "\n",
            good[:-1] + "g",
            "0x" + "０" * 40, "0x" + good, "x" + good, "0x" + self.randbytes(32).hex(),
            "XE7338O073KYGTWWZN0F2WZ0R8PX5ZPPZS",
            "xe7338o073kygtwwzn0f2wz0r8px5zppzs", "XE00" + "0" * 30, "name.eth", ".eth", "any", "0x", "", "0", 0,
            int(good, 16),
            *ODD_THINGS, [good], {"address": good},
        ))

    def bytes32(self) -> Any:
        good = "0x" + self.randbytes(32).hex()
        if self.some(0.5):
            return good
        return self.choice((
            good.upper(), "0x" + good[2:].upper(), good[2:], good[:-1], good + "00", good + "\n", " " + good, "0x",
            "", good[:-1] + "g", 0,
            int(good, 16), None, True, [good],
        ))

    def hex_tag(self) -> str:
        bits = self.sample((0, 1, 2, 3, 8), self.randint(0, 4))
        bits += self.sample(range(256), self.choice((0, 0, 0, 1, 3)))
        return f"0x{sum({1 << bit for bit in bits}):064x}"

    def tag(self) -> Any:
        roll = self.random()
        names = self.choices(TAG_NAMES, k=self.randint(0, 3))
        odd = [*names, self.choice(ODD_NAMES)]
        self.shuffle(odd)
        if roll < 0.3:
            return self.hex_tag()
        if roll < 0.45:
            return ",".join(names)
        if roll < 0.6:
            return names
        if roll < 0.75:
            return self.choice((odd, ",".join(odd), ", ".join(odd), ";".join(odd)))
        text = self.hex_tag()
        return self.choice((
            text.upper(), "0x" + text[2:].upper(), text[:-1], text + "0", text[2:], "0X" + text[2:], text + "\n",
            " " + text, "0x", "0x9", 9, 0,
            1.5, *ODD_THINGS, [text], [1], [names], 2**200,
        ))

    def text(self) -> str:
        return self.choice(TEXTS)

    def url(self) -> Any:
        return self.choice((
            "https://a.example/x", "http://a.example", "https://", "http://localhost:8080/f", "HTTPS://A.EXAMPLE",
            "ftp://a.example/x",
            "a.example", "", " https://a.example", "https://é.example/日本", "https://a.example/a,b",
            "https://127.0.0.1/x", "//a.example",
            "https://a .example", "javascript:alert(1)", 7, None, True, ["https://a.example"],
        ))

    def params(self) -> Any:
        roll = self.random()
        if roll < 0.07:
            return self.choice((self.text(), *ODD_THINGS, 7, 1.5))
        values: dict[str, Callable[[], Any]] = {
            "iexec_args": lambda: self.choice((self.text(), self.number(), self.choice(ODD_THINGS))),
            "iexec_input_files": lambda: self.choice((
                [self.url() for _ in range(self.randint(0, 3))], self.url(), "https://a.example,https://b.example",
            )),
            "iexec_result_encryption": lambda: self.choice((True, False, "true", "false", "TRUE", 1, 0, "1", "yes",
            "", None, 2)),
            "iexec_result_storage_provider": lambda: self.choice(
                ("ipfs", "ipfs", "dropbox", "IPFS", "s3", "", None, 5, True, ["ipfs"])
            ),
            "iexec_secrets": lambda: self.choice((
                {"1": "a"}, {"2": "b", "1": "a"}, {}, {"0": "a"}, {"01": "a"}, {"-1": "a"}, {"x": "a"}, {"1": ""},
                {"1": 5}, {"1": None},
                {"99999999999": "a", "3": "c"}, [], ["a"], "a", None, 5, {"1": "é 日本"}, {"1": "a", "1.5": "b"},
            )),
            "bulk_cid": lambda: self.choice((*CIDS, None, 5)),
            "iexec_developer_logger": lambda: self.choice((True, "false")),
            "iexec_result_storage_proxy": lambda: "https://proxy.example/",
            "unknown": lambda: self.choice((1, "x", None, [1, {"a": 2}])),
        }
        usual = ("iexec_args", "iexec_input_files", "iexec_result_encryption", "iexec_result_storage_provider")
        keys = self.sample(usual, self.randint(0, 4)) + self.sample(list(values)[4:], self.choice((0, 0, 1, 1, 2)))
        self.shuffle(keys)
        # Most values are those that a person would write, so that what the others do is seen one at a time.
        calm: Mapping[str, Any] = {
            "iexec_args": "--lines 3", "iexec_input_files": ["https://a.example/x"], "iexec_result_encryption": True,
            "iexec_result_storage_provider": "ipfs", "iexec_secrets": {"1": "key"}, "bulk_cid": V1,
        }
        drawn = {key: calm[key] if key in calm and self.some(0.5) else values[key]() for key in keys}
        return json.dumps(drawn, ensure_ascii=self.some(0.5)) if self.some(0.2) else drawn

    def multiaddr(self) -> str:
        cid = self.choice(CIDS)
        return self.choice((
            f"/ipfs/{cid}", f"/p2p/{cid}", cid, f"/ipfs/{cid}/file.txt", f"/ipfs/{cid}/", f"/ipfs//{cid}",
            f"https://ipfs.io/ipfs/{cid}",
            f"ipfs://{cid}", "docker.io/iexechub/python-hello-world:8.0.4", "registry.hub.docker.com/a/b:c", "", "/",
            "//", "/ipfs",
            "/ipfs/", "/ip4/127.0.0.1/tcp/8080", "/ip4/127.0.0.1/tcp/8080/http", "/ip4/127.0.0.1/udp/65535",
            "/ip4/256.0.0.1/tcp/1",
            "/ip4/1.2.3/tcp/1", "/ip4/01.2.3.4", "/ip6/::1/tcp/1", "/ip6/2001:db8::1", "/ip6/::ffff:1.2.3.4",
            "/ip6zone/x/ip6/fe80::1",
            "/tcp/65536", "/tcp/-1", "/tcp/080", "/tcp/x", "/tcp", "/dns4/a.example/tcp/443/https", "/dns/é.example",
            "/dnsaddr/x",
            "/unix/tmp/socket", "/onion3/x", "/unknown/x", "/http", "/https/http", "/ws", "/quic", "/quic-v1",
            "/tls/ws", "/memory/1",
            "/sctp/1", "/p2p-circuit", "/ip4", f"/ip4/1.2.3.4/tcp/1/p2p/{V0}", f"/p2p/{cid}/p2p-circuit/p2p/{V0}",
            " /ipfs/" + V0,
            "/IPFS/" + V0, "ipfs/" + V0, "/ipns/" + cid, "/garlic64/x", "日本", "/dns/日本", "/http-path/x",
            "/sni/a.example", "/webrtc",
            "/ip4/1.2.3.4/ipcidr/24", "/ip6/1:2:3:4:5:6:7:8", "/ip6/::g",
        ))

    def entry_bytes(self) -> bytes:
        start = bytes.fromhex("a503221220") + self.randbytes(32)
        return self.choice((
            start, start[:-1], start + b"\x00", start + b"\x06\x1f\x90", b"", b"\x00", b"https://a.example",
            b"\x04\x7f\x00\x00\x01\x06\x1f\x90",
            b"\x04\x7f", b"/ipfs/x", "日本".encode(), b"\xff\xfe", self.randbytes(self.randint(1, 40)), b"\x35\x03abc",
            b"\x35\x01/",
            b"\x35\x02\xff\xfe", b"\xe0\x03", b"\xbb\x03", b"docker.io/a",
            bytes.fromhex("a503241220") + self.randbytes(32), b"\x06\x1f",
            b"5\x05ether and more text", b"\xa5\x03\x22\x12\x20" + b"a" * 30,
        ))
    # fmt: on


def _calm_order(kind: str, draw: Draw) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for name in ORDERS[kind].FIELDS:
        if name == "tag":
            fields[name] = draw.choice(("tee,tdx", ["tee", "tdx"], f"0x{9:064x}", f"0x{9:064x}", f"0x{0x109:064x}"))
        elif name == "params":
            fields[name] = {"iexec_args": "--lines 3", "iexec_result_storage_provider": "ipfs"}
        elif name.endswith("price"):
            fields[name] = draw.choice((0, "1", "0.5 RLC", "20 nRLC", 10**9, str(2**200)))
        elif name in ("volume", "category", "trust"):
            fields[name] = draw.choice((1, "0", "3", 10**6, 2**53 - 1))
        else:
            fields[name] = draw.address()
    return fields


def _order(kind: str, draw: Draw, resource: str | None = None) -> dict[str, Any]:
    """Return the fields of an order in which up to three things are odd."""
    fields = _calm_order(kind, draw)
    if resource:
        fields[ORDERS[kind].RESOURCE] = resource
    for name in draw.sample(list(fields), draw.choice((0, 0, 1, 1, 2, 3))):
        if draw.some(0.15):
            del fields[name]
        elif name == "tag":
            fields[name] = draw.tag()
        elif name == "params":
            fields[name] = draw.params()
        elif name.endswith("price"):
            fields[name] = draw.amount(("RLC", "nRLC"))
        elif name in ("volume", "category", "trust"):
            fields[name] = draw.number()
        else:
            fields[name] = draw.any_address()
    return fields


def _signable(kind: str, draw: Draw) -> dict[str, Any]:
    """Return an order that every version signs: the resource is filled in by whoever deploys it."""
    fields = _calm_order(kind, draw)
    del fields[ORDERS[kind].RESOURCE]
    fields["tag"] = f"0x{draw.choice((9, 0x109)):064x}"
    params = {"iexec_args": draw.choice(TEXTS[:7]), "iexec_result_storage_provider": "ipfs"}
    return {**fields, "params": params} if kind == "request" else fields


def _salted(kind: str, draw: Draw) -> dict[str, Any]:
    """Return an order with a salt, whose tag, params or salt may be odd, or that lacks something."""
    fields = {**_calm_order(kind, draw), "salt": "0x" + draw.randbytes(32).hex() if draw.some(0.7) else draw.bytes32()}
    if draw.some(0.3):
        fields["tag"] = draw.tag()
    if draw.some(0.1):
        del fields[draw.choice(list(fields))]
    if "params" in fields and draw.some(0.5):
        fields["params"] = draw.choice(
            (
                "{}",
                '{"iexec_args": "spaces  kept"}',
                "[1]",
                "null",
                '{"a":1e400}',
                "{",
                "",
                '"\u2028"',
                '{"a":NaN}',
                "{'a':1}",
                "1" * 30,
            )
        )
    return fields


def _secret(draw: Draw) -> tuple[str, list[Any]]:
    value = draw.choice((draw.text(), draw.text(), draw.digits(40), None, 42, True, ["x"], {"a": "b"}))
    method = draw.choice(("pushAppSecret", "pushDatasetSecret", "pushRequesterSecret", "pushResultEncryptionKey"))
    if method == "pushRequesterSecret":
        name = draw.choice(
            ("my-secret", "a", "A_b-9", "x" * 64, "x" * 65, "", "é", "a b", "a/b", "..", "a?b", "a\n", 5, None, True)
        )
        return method, [name, value]
    if method == "pushResultEncryptionKey":
        blob = base64.b64encode(draw.randbytes(294)).decode()
        lines = "\n".join(blob[at : at + 64] for at in range(0, len(blob), 64))
        pem = f"-----BEGIN PUBLIC KEY-----\n{lines}\n-----END PUBLIC KEY-----"
        return method, [
            draw.choice((RSA_PEM, RSA_PEM + "\n", RSA_PEM.replace("\n", "\r\n"), pem, blob, value, "not base64!", ""))
        ]
    return method, [draw.any_address() if draw.some(0.6) else draw.address(), value]


KINDS: dict[str, tuple[int, Callable[[Draw], Any]]] = {
    "parseRLC": (120, lambda draw: draw.amount(("RLC", "nRLC"))),
    "parseEth": (110, lambda draw: draw.amount(("wei", "kwei", "mwei", "gwei", "szabo", "finney", "ether", "eth"))),
    "nRLC amount": (120, lambda draw: draw.amount(("RLC", "nRLC"))),
    "wei amount": (110, lambda draw: draw.amount(("wei", "gwei", "finney", "ether", "eth"))),
    "formatRLC": (40, lambda draw: draw.choice((draw.choice(WHOLE), int(draw.digits(30)), draw.digits(20),
    draw.number()))),
    "formatEth": (40, lambda draw: draw.choice((draw.choice(WHOLE), int(draw.digits(30)), draw.digits(20),
    draw.number()))),
    "encodeTag": (60, lambda draw: draw.choices((*TAG_NAMES * 3, *ODD_NAMES), k=draw.randint(0, 4))),
    "decodeTag": (60, lambda draw: draw.tag() if draw.some(0.4) else draw.hex_tag()),
    "sumTags": (40, lambda draw: [draw.hex_tag() for _ in range(draw.randint(0, 4))] + [draw.tag()] * draw.some(0.3)),
    "tag of an app": (70, Draw.tag),
    "tag of a dataset": (50, Draw.tag),
    "tag of a request": (50, Draw.tag),
    "address": (160, Draw.any_address),
    "uint256": (140, Draw.number),
    "bytes32": (50, Draw.bytes32),
    "params": (170, lambda draw: (draw.params(), draw.some(0.6), draw.some(0.2))),
    "params checked": (110, lambda draw: (draw.params(), draw.some(0.6), draw.some(0.2))),
    "created order": (170, lambda draw: (kind := draw.choice(list(ORDERS)), _order(kind, draw))),
    "order hash": (90, lambda draw: (kind := draw.choice(list(ORDERS)), _salted(kind, draw))),
    "signature": (40, lambda draw: (kind := draw.choice(list(ORDERS)), _signable(kind, draw))),
    "secret": (90, _secret),
    "multiaddr": (80, Draw.multiaddr),
    "multiaddr bytes": (30, Draw.entry_bytes),
}  # fmt: skip

RSA_PEM = """\
-----BEGIN PUBLIC KEY-----
MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAq43e3ZNZNCR9eKvxMt+1
0Hp2rl+N+npBosv+R49t2NJe6cNwjpn1E1SSJnX3OpL2SeCzOPPTvgGk/+NZPmHE
ErPxGu1vNsZChdP4P28UaE86ilwdeKqgd7GhPnccwe1NwcBiyNfq7K49Ucf37TI7
K5sZaB/9kay76lgXCpkABWK2Ju3V3zLddVMSuFHpLUyYHew632Gucyv8WIgHHMxZ
dH1aKc3tidqAUQdXuwHirWvCA3Ezmxs/iKa6YzfVcQY2hbMc5uTkSBM0qp6YU35V
V0Syp2q6FfPSn0hWio/a8AMz01uXEQNaOHddHhaFKLbl+4Lg7gjTvNAOKzLS2jiP
dQIDAQAB
-----END PUBLIC KEY-----"""


def generated(seed: str = SEED, times: int = 1) -> list[Case]:
    """Return the inputs, 2,000 or `times` as many; they stand together by kind."""
    cases = []
    for kind, (count, make) in KINDS.items():
        draw, seen = Draw(f"{seed} {kind}"), set()
        for _ in range(count * times):
            drawn = (make(draw) for _ in range(50))
            given = next((one for one in drawn if repr(one) not in seen), make(draw))
            seen.add(repr(given))
            cases.append(Case(kind, given))
    return cases

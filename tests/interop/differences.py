"""Where we answer differently from the SDK, and on purpose: each is told with its reason in docs/differences.md."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from answers import Answer, Us, ours
from generated import CIDS, RAW, RSA_PEM, V0, V1, Case

from iexec_nb.protocol.cid import multiaddr_encode
from iexec_nb.protocol.orders import ORDERS
from iexec_nb.protocol.types import NULL_ADDRESS, NULL_BYTES32, UINT256_MAX

AMOUNTS = ("parseRLC", "parseEth", "nRLC amount", "wei amount")
TAGS = ("tag of an app", "tag of a dataset", "tag of a request")
PARAMS = ("params", "params checked")
FORMATS = ("formatRLC", "formatEth")
BOTH = (9, 7)


@dataclass(frozen=True)
class Difference:
    """A rule that explains some disagreements, and inputs that show it.

    `explains` is given the input, their answer and ours; it is asked only where the two disagree.
    """

    name: str
    majors: tuple[int, ...]
    kinds: tuple[str, ...]
    explains: Callable[[Any, Answer, Answer], bool]
    examples: tuple[Case, ...]


def explaining(us: Us, major: int, case: Case, their: Answer, our: Answer) -> Iterator[str]:
    """Yield the names of the differences that explain a disagreement."""
    for one in DIFFERENCES:
        if major in one.majors and case.kind in one.kinds and one.explains(case.given, their, our):
            yield one.name
    if case.kind == "created order":
        yield from _in_whole(major, their, our) or _in_fields(us, major, case, their, our)
    if case.kind == "order hash":
        # Of a hash only the tag can be the reason: everything else in these orders is as it should be.
        tag = _field_case(case.given[0], "tag", case.given[1].get("tag"))
        no_hash = (their, Answer(NULL_BYTES32)) if _only_they_refuse(their, our) else (Answer(NULL_BYTES32), our)
        yield from explaining(us, major, tag, *no_hash)


_FIELD_KINDS = {"price": "nRLC amount", "number": "uint256", "address": "address"}


def _in_fields(us: Us, major: int, case: Case, their: Answer, our: Answer) -> list[str]:
    """Return what explains the disagreement about an order: for each field that disagrees, that of the field."""
    kind, given = case.given
    names: list[str] = []
    for name in ORDERS[kind].FIELDS:
        one = _field_case(kind, name, given.get(name))
        their_field = their if their.refusal is not None else Answer(their.value.get(name))
        our_field = ours(us, one) if our.refusal is not None else Answer(our.value.get(name))
        if repr(their_field) == repr(our_field) or (name not in given and our.refusal is not None):
            continue
        found = list(explaining(us, major, one, their_field, our_field))
        if not found and their.refusal is None and our.refusal is None:
            return []
        names += found
    return list(dict.fromkeys(names))


def _in_whole(major: int, their: Answer, our: Answer) -> list[str]:
    """Return what explains a disagreement that no field explains: one field decides what another is."""
    if _only_we_refuse(their, our) and our.refusal in ("0 is not a valid ethereum address", _FALSE):
        return ["false-is-not-nothing"]
    tagged = (
        _only_we_refuse(their, our) and " for non TEE tasks" in str(our.refusal) and int(their.value["tag"], 16) & 1
    )
    return ["no-forced-tag"] if tagged and major == 9 else []


def _field_case(kind: str, name: str, value: Any) -> Case:
    if name == "tag":
        return Case({"dataset": TAGS[1], "request": TAGS[2]}.get(kind, TAGS[0]), value)
    if name == "params":
        return Case("params", (value, True, False))
    if name.endswith("price"):
        return Case("nRLC amount", value)
    return Case("uint256" if name in ("volume", "category", "trust") else "address", value)


# --- what the rules are made of --------------------------------------------------------------------------------------


def _only_we_refuse(their: Answer, our: Answer) -> bool:
    return their.refusal is None and our.refusal is not None


def _only_they_refuse(their: Answer, our: Answer) -> bool:
    return their.refusal is not None and our.refusal is None


def _too_big(given: Any, their: Answer, our: Answer) -> bool:
    text = str(their.value)
    return _only_we_refuse(their, our) and text.isdigit() and int(text) > UINT256_MAX


def _has_float(given: Any, their: Answer, our: Answer) -> bool:
    return _only_we_refuse(their, our) and any(isinstance(one, float) for one in _items(given))


def _negative(given: Any, their: Answer, our: Answer) -> bool:
    minus = any(str(one).startswith("-") and not isinstance(one, float) for one in _items(given))
    return _only_we_refuse(their, our) and minus and (their.value == "0" or str(their.value).startswith("-"))


def _nothing(given: Any, their: Answer, our: Answer) -> bool:
    return _only_we_refuse(their, our) and their.value in ("0", "0.0") and not any(c.isdigit() for c in str(given))


def _pair(given: Any, their: Answer, our: Answer) -> bool:
    return _only_they_refuse(their, our) and isinstance(given, list)


def _words_after_unit(given: Any, their: Answer, our: Answer) -> bool:
    return _only_we_refuse(their, our) and " ".join(map(str, _items(given))).count(" ") > 1


def _zero_point(given: Any, their: Answer, our: Answer) -> bool:
    return _only_they_refuse(their, our) and str(_items(given)[0]).lstrip("0").startswith(".") and our.value == "0"


def _with_unit(given: Any, their: Answer, our: Answer) -> bool:
    return our.refusal is None and str(our.value).split(" ")[0] == str(their.value).removesuffix(".0")


def _odd_digits(given: Any, their: Answer, our: Answer) -> bool:
    return (
        _only_we_refuse(their, our)
        and isinstance(given, str)
        and not given.isdigit()
        and any(c.isdigit() for c in given)
    )


def _capital_hex(given: Any, their: Answer, our: Answer) -> bool:
    return _only_they_refuse(their, our) and any(str(one) != str(one).lower() for one in _items(given))


def _number_or_none(given: Any, their: Answer, our: Answer) -> bool:
    return _only_they_refuse(their, our) and (given is None or type(given) is int)


def _list_in_list(given: Any, their: Answer, our: Answer) -> bool:
    return _only_we_refuse(their, our) and any(isinstance(one, list) for one in _items(given))


def _newer_tag(given: Any, their: Answer, our: Answer) -> bool:
    return (
        _only_they_refuse(their, our)
        and re.search(r"Unknown (tag (tdx|scone|gramine)|bit [234]) ?", f"{their.refusal} ") is not None
    )


def _tag_rule(given: Any, their: Answer, our: Answer) -> bool:
    rules = ("Unsupported legacy TEE framework tag", "tag must be used with")
    return _only_we_refuse(their, our) and any(rule in str(our.refusal) for rule in rules)


def _last_bit(given: Any, their: Answer, our: Answer) -> bool:
    return our.refusal is None and their.refusal is None and int(our.value, 16) ^ int(their.value, 16) == 1 << 255


def _any_tag(given: Any, their: Answer, our: Answer) -> bool:
    """The SDK refuses to hash an order whose tags it would not sign."""
    return (
        _only_they_refuse(their, our)
        and re.search(r"tag must be used with|legacy TEE framework", str(their.refusal)) is not None
    )


def _text_of_ours(given: Any, their: Answer, our: Answer) -> bool:
    return their.refusal is None and our.value == (
        given.encode() if isinstance(given, str) else given.decode(errors="replace")
    )


def _other_protocol(given: str, their: Answer, our: Answer) -> bool:
    return _text_of_ours(given, their, our) and not _OTHERS.isdisjoint(given.split("/"))


def _port(given: str, their: Answer, our: Answer) -> bool:
    return _text_of_ours(given, their, our) and _PORT.search(given) is not None


def _name_kept(given: str, their: Answer, our: Answer) -> bool:
    """Ours stays text; what they write does not say the name that was given."""
    return _text_of_ours(given, their, our) and given.startswith(("/ipfs/", "/p2p/")) and not _KEPT.search(given)


def _newer_protocol(given: str, their: Answer, our: Answer) -> bool:
    return their.refusal is None and their.value == given.encode() and _NEWER.search(given) is not None


def _not_written_back(given: bytes, their: Answer, our: Answer) -> bool:
    written_back = given and str(their.value).startswith("/") and multiaddr_encode(their.value) == given
    return _text_of_ours(given, their, our) and not written_back


def _secret_checked(given: tuple[str, list[Any]], their: Answer, our: Answer) -> bool:
    rules = ("Secret key should contain", "Secret size should not", "must not be empty", "must be UTF-8 text")
    return _only_we_refuse(their, our) and any(rule in str(our.refusal) for rule in rules)


def _key_checked(given: tuple[str, list[Any]], their: Answer, our: Answer) -> bool:
    rules = ("not a result encryption key", "no RSA public key that a worker can read", "not a public key")
    return _only_we_refuse(their, our) and any(rule in str(our.refusal) for rule in rules)


def _app_path(given: tuple[str, list[Any]], their: Answer, our: Answer) -> bool:
    one, other = (their.value or [{}])[0], (our.value or [{}])[0]
    return (
        given[0] == "pushAppSecret"
        and one.get("url") == f"{other.get('url')}/1"
        and one["authorization"] == other["authorization"]
    )


def _key_encoded(given: tuple[str, list[Any]], their: Answer, our: Answer) -> bool:
    one, other = (their.value or [{}])[0], (our.value or [{}])[0]
    return given[0] == "pushResultEncryptionKey" and b64encode(one.get("body", b"")) == other.get("body")


def _no_params(given: Any, their: Answer, our: Answer) -> bool:
    return _only_they_refuse(their, our) and given[0] is None


def _no_secret_name(given: Any, their: Answer, our: Answer) -> bool:
    return _only_we_refuse(their, our) and our.refusal == "iexec_secrets mapping names must be strings"


def _no_file(given: Any, their: Answer, our: Answer) -> bool:
    return _only_we_refuse(their, our) and our.refusal == f"{CIDS[-3]} is not a valid CID"


def _infinite(given: Any, their: Answer, our: Answer) -> bool:
    return _only_we_refuse(their, our) and str(our.refusal).endswith("is not a number that JSON can hold")


def _other_keys(given: Any, their: Answer, our: Answer) -> bool:
    """Version 7 has two keys more and one less, and writes the keys in another order."""
    if their.refusal is not None or our.refusal is not None:
        return _OTHER_KEYS.search(f"{their.refusal} {our.refusal}") is not None
    ours_alike = {key: value for key, value in our.value.items() if key != "bulk_cid"}
    return {key: value for key, value in their.value.items() if key not in _OLD_KEYS} == ours_alike


def _all_digits(given: Any, their: Answer, our: Answer) -> bool:
    if their.refusal is not None or our.refusal is not None:
        return False
    one, other = str(our.value.get("iexec_args")), str(their.value.get("iexec_args"))
    rounded = re.fullmatch(r"[0-9.]+(e\+[0-9]+)?", other) is not None
    return one.isdigit() and rounded and one != other and float(one) == float(other)


def _stricter(given: Any, their: Answer, our: Answer) -> bool:
    refusal = str(their.refusal or our.refusal)
    return re.search(r'" is not a valid URL|` type, but the final value was: `null`', refusal) is not None


_OLD_KEYS = {"iexec_result_storage_proxy", "iexec_developer_logger"}
_OTHER_KEYS = re.compile(
    "iexec_result_storage_proxy is required|is not a valid CID|"
    "Unknown key .*(bulk_cid|iexec_result_storage_proxy|iexec_developer_logger)"
)


def _no_rule(given: Any, their: Answer, our: Answer) -> bool:
    """What `_in_whole` explains."""
    return False


def _unknown_field(given: Any, their: Answer, our: Answer) -> bool:
    return _only_we_refuse(their, our) and re.fullmatch(r"a \w+order has no field .*", str(our.refusal)) is not None


def _forced(given: Any, their: Answer, our: Answer) -> bool:
    both = their.refusal is None and our.refusal is None
    return both and int(their.value, 16) == int(our.value, 16) | 0b1001


def _default(given: Any, their: Answer, our: Answer) -> bool:
    return given is None and (their.value, our.value) == (NULL_BYTES32, f"0x{9:064x}")


_FALSE = "False is not a valid ethereum address"
_OTHERS = {
    "certhash", "dccp", "garlic32", "garlic64", "http-path", "ip6zone", "ipcidr", "memory", "noise", "onion", "onion3",
    "p2p-circuit", "p2p-stardust", "p2p-webrtc-direct", "p2p-webrtc-star", "p2p-websocket-star", "quic", "quic-v1",
    "sctp", "sni", "udt", "unix", "utp",
    "webrtc", "webrtc-direct", "webtransport",
}  # fmt: skip
_KEPT = re.compile(f"/({V0}|{V1}|zdj7[0-9A-Za-z]+)/?$")
_PORT = re.compile(r"/(tcp|udp)/(-1|0[0-9]+|65536|x)")
_NEWER = re.compile(r"/tls\b")


def _icap(given: Any, their: Answer, our: Answer) -> bool:
    return _only_we_refuse(their, our) and their.value == given and given.startswith("XE")


def _items(given: Any) -> list[Any]:
    return given if isinstance(given, list) and given else [given]


_APP_ORDER = {
    "app": NULL_ADDRESS, "appprice": 0, "volume": 1,
    "datasetrestrict": NULL_ADDRESS, "workerpoolrestrict": NULL_ADDRESS, "requesterrestrict": NULL_ADDRESS,
}  # fmt: skip
_SALTED = {**_APP_ORDER, "salt": "0x" + "aa" * 32}
DIFFERENCES: tuple[Difference, ...] = (
    # Amounts and numbers
    Difference(
        "no-number-over-uint256",
        BOTH,
        (*AMOUNTS, "uint256"),
        _too_big,
        (Case("nRLC amount", str(2**256)), Case("uint256", 2**256), Case("parseRLC", 2**255)),
    ),
    Difference(
        "no-floats",
        BOTH,
        (*AMOUNTS, *FORMATS, "uint256"),
        _has_float,
        (Case("parseRLC", 0.1), Case("parseEth", 1.5), Case("uint256", 1.0), Case("nRLC amount", [1.0, "RLC"])),
    ),
    Difference(
        "no-negative-amounts",
        BOTH,
        AMOUNTS,
        _negative,
        (Case("parseRLC", "-1"), Case("parseEth", -1), Case("nRLC amount", "-0")),
    ),
    Difference(
        "nothing-is-not-zero",
        BOTH,
        (*AMOUNTS, *FORMATS, "uint256"),
        _nothing,
        (Case("nRLC amount", ""), Case("wei amount", " gwei"), Case("nRLC amount", [[]]), Case("uint256", "")),
    ),
    Difference(
        "one-unit",
        BOTH,
        AMOUNTS,
        _words_after_unit,
        (Case("nRLC amount", "1 RLC RLC"), Case("parseEth", "1 wei or so")),
    ),
    Difference("amounts-as-pairs", BOTH, ("parseRLC", "parseEth"), _pair, (Case("parseRLC", [1, "RLC"]),)),
    Difference(
        "zero-with-a-point", BOTH, AMOUNTS, _zero_point, (Case("nRLC amount", "0."), Case("wei amount", "0. gwei"))
    ),
    Difference(
        "amounts-show-their-unit", BOTH, FORMATS, _with_unit, (Case("formatRLC", 10**9), Case("formatEth", "15"))
    ),
    Difference(
        "formatted-digits-only", BOTH, FORMATS, _odd_digits, (Case("formatRLC", "0x10"), Case("formatEth", "+1"))
    ),
    # Tags
    Difference(
        "capital-hex-digits",
        BOTH,
        ("decodeTag", "sumTags"),
        _capital_hex,
        (Case("decodeTag", "0x" + "0" * 61 + "10B"), Case("sumTags", ["0X" + "0" * 63 + "1"])),
    ),
    Difference(
        "tags-as-numbers", BOTH, TAGS, _number_or_none, (Case("tag of an app", 9), Case("tag of a dataset", None))
    ),
    Difference("tag-names-are-text", BOTH, TAGS, _list_in_list, (Case("tag of an app", [["gpu"]]),)),
    Difference(
        "tags-of-later-versions",
        (7,),
        ("encodeTag", "decodeTag", *TAGS),
        _newer_tag,
        (Case("encodeTag", ["tee", "tdx"]), Case("decodeTag", f"0x{0b10:064x}"), Case("tag of an app", "tee,tdx")),
    ),
    Difference(
        "tag-rules-of-version-9",
        (7,),
        TAGS,
        _tag_rule,
        (Case("tag of an app", "tee"), Case("tag of a request", f"0x{3:064x}")),
    ),
    Difference("the-last-bit-of-a-sum", (7,), ("sumTags",), _last_bit, (Case("sumTags", [f"0x{1 << 255:064x}"]),)),
    Difference(
        "no-forced-tag",
        (9,),
        TAGS,
        _forced,
        (
            Case("created order", ("app", {**_APP_ORDER, "tag": "gpu"})),
            Case("created order", ("dataset", {"dataset": NULL_ADDRESS, "tag": "tee,scone"})),
            Case(
                "created order",
                ("request", {"app": NULL_ADDRESS, "category": 0, "tag": [], "params": {"iexec_secrets": {"1": "a"}}}),
            ),
        ),
    ),
    Difference(
        "the-default-tag-of-version-9", (7,), TAGS, _default, (Case("created order", ("app", {"app": NULL_ADDRESS})),)
    ),
    Difference(
        "hash-of-any-tag",
        (9,),
        TAGS,
        _any_tag,
        (
            Case("order hash", ("app", {**_SALTED, "tag": f"0x{8:064x}"})),
            Case("order hash", ("app", {**_SALTED, "tag": "gpu,scone"})),
        ),
    ),
    Difference(
        "false-is-not-nothing",
        BOTH,
        ("created order",),
        _no_rule,
        (
            Case("created order", ("request", {"app": NULL_ADDRESS, "category": 0, "tag": [], "requester": False})),
            Case("created order", ("request", {"app": NULL_ADDRESS, "category": 0, "tag": [], "beneficiary": 0})),
        ),
    ),
    Difference(
        "unknown-fields-are-refused",
        BOTH,
        ("created order",),
        _unknown_field,
        (Case("created order", ("app", {**_APP_ORDER, "tag": f"0x{9:064x}", "price": 1})),),
    ),
    # Params
    Difference("params-may-be-left-out", BOTH, ("params",), _no_params, (Case("params", (None, True, False)),)),
    Difference(
        "secret-names-must-be-names",
        BOTH,
        PARAMS,
        _no_secret_name,
        (
            Case("params", ({"iexec_secrets": {"1": ""}}, True, False)),
            Case("params", ({"iexec_secrets": {"1": None}}, True, True)),
        ),
    ),
    Difference("a-bulk-is-a-file", (9,), PARAMS, _no_file, (Case("params", ({"bulk_cid": CIDS[-3]}, True, False)),)),
    Difference(
        "args-are-text-or-finite-numbers",
        BOTH,
        PARAMS,
        _infinite,
        (Case("params", ({"iexec_args": float("inf")}, True, False)),),
    ),
    Difference(
        "params-of-version-9",
        (7,),
        PARAMS,
        _other_keys,
        (
            Case("params", ({}, True, False)),
            Case("params", ({"iexec_developer_logger": True, "bulk_cid": V1}, True, True)),
            Case("params checked", ({"iexec_result_storage_provider": "ipfs"}, True, False)),
        ),
    ),
    Difference(
        "params-checks-of-version-9",
        (7,),
        PARAMS,
        _stricter,
        (
            Case("params", ({"iexec_input_files": ["http://localhost/x"]}, True, True)),
            Case("params", ({"iexec_result_storage_provider": None}, True, True)),
        ),
    ),
    Difference(
        "whole-numbers-keep-their-digits",
        BOTH,
        PARAMS,
        _all_digits,
        (Case("params", ('{"iexec_args": 18446744073709551617}', True, True)),),
    ),
    # Where content is
    Difference(
        "multiaddrs-of-files",
        BOTH,
        ("multiaddr",),
        _other_protocol,
        (Case("multiaddr", "/memory/1"), Case("multiaddr", "/p2p-circuit")),
    ),
    Difference(
        "a-name-that-would-be-lost-stays-text",
        BOTH,
        ("multiaddr",),
        _name_kept,
        (Case("multiaddr", "/ipfs/" + RAW), Case("multiaddr", f"/ipfs/{CIDS[7]}")),
    ),
    Difference(
        "ports-in-range", (7,), ("multiaddr",), _port, (Case("multiaddr", "/tcp/65536"), Case("multiaddr", "/tcp/-1"))
    ),
    Difference("multiaddrs-of-later-versions", (7,), ("multiaddr",), _newer_protocol, (Case("multiaddr", "/tls/ws"),)),
    Difference(
        "bytes-that-are-no-multiaddr",
        BOTH,
        ("multiaddr bytes",),
        _not_written_back,
        (Case("multiaddr bytes", b""), Case("multiaddr bytes", b"\x35\x01/")),
    ),
    # Secrets
    Difference(
        "secrets-are-checked-before-they-are-sent",
        BOTH,
        ("secret",),
        _secret_checked,
        (
            Case("secret", ("pushRequesterSecret", ["a b", "x"])),
            Case("secret", ("pushAppSecret", [NULL_ADDRESS, ""])),
            Case("secret", ("pushDatasetSecret", [NULL_ADDRESS, "x" * 4097])),
            Case("secret", ("pushAppSecret", [NULL_ADDRESS, "\ud800"])),
        ),
    ),
    Difference(
        "result-keys-are-checked-before-they-are-sent",
        BOTH,
        ("secret",),
        _key_checked,
        (
            Case("secret", ("pushResultEncryptionKey", ["not base64!"])),
            Case("secret", ("pushResultEncryptionKey", [RSA_PEM.replace("\n", "\r\n")])),
        ),
    ),
    Difference(
        "the-path-of-an-app-secret",
        (7,),
        ("secret",),
        _app_path,
        (Case("secret", ("pushAppSecret", [NULL_ADDRESS, "x"])),),
    ),
    Difference(
        "result-keys-are-encoded",
        (7,),
        ("secret",),
        _key_encoded,
        (Case("secret", ("pushResultEncryptionKey", [RSA_PEM])),),
    ),
    # Addresses
    Difference(
        "no-icap-addresses", BOTH, ("address",), _icap, (Case("address", "XE7338O073KYGTWWZN0F2WZ0R8PX5ZPPZS"),)
    ),
)

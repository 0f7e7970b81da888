"""CIDs in all their forms, places on IPFS, and multiaddrs against the JavaScript SDK."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iexec_nb.errors import ValidationError
from iexec_nb.protocol import cid as m

V1 = "bafybeigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi"


def test_a_cid_has_one_value_in_all_its_forms():
    v0 = m.Cid.parse("QmbWqxBEKC3P8tqsKc98xmWNzrzDtRLMiMPL8wBuTGsMnR")
    v1 = m.Cid.parse("/ipfs/bafybeigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi/")
    assert v0.digest == v1.digest
    assert (v0.version, v0.codec, v1.version, v1.codec) == (0, 0x70, 1, 0x70)
    assert str(v0) == "QmbWqxBEKC3P8tqsKc98xmWNzrzDtRLMiMPL8wBuTGsMnR"
    assert str(v1) == "bafybeigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi"
    assert m.Cid.parse("f" + bytes(v1).hex()) == v1
    assert m.Cid.parse("zdj7WhuEjrB52m1BisYCtmjH1hSKa7yZ3jEZ9JcXaFRD51wVz").multihash.hex() == (
        "1220b94d27b9934d3e08a52e52d7da7dabfac484efe37a5380ee9088f7ace2efcde9"
    )


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Qm",
        "QmbWqxBEKC3P8tqsKc98xmWNzrzDtRLMiMPL8wBuTGsMn0",  # 0 is not a letter of base58
        "QmbWqxBEKC3P8tqsKc98xmWNzrzDtRLMiMPL8wBuTGsMnR/cat.jpg",
        "bafybeigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzd",
        "bafybeigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzd1",
        "z" + "QmbWqxBEKC3P8tqsKc98xmWNzrzDtRLMiMPL8wBuTGsMnR",
        "f01701114" + "00" * 20,  # SHA-1
        "fzz",
        "b" * 5000,
        "https://example.com/x",
        None,
        b"Qm",
    ],
)
def test_what_is_not_a_checkable_cid_is_refused(text):
    with pytest.raises(ValidationError, match="is not a CID that can be checked"):
        m.Cid.parse(text)


def test_the_identity_cids_of_the_specification_hold_their_block():
    assert m.Cid.parse("bafkqaaa").inline == b""
    assert m.Cid.parse("bafyaabakaieac").inline == bytes.fromhex("0a020801")
    assert m.Cid.parse("bafkqaaa").names(b"")
    assert not m.Cid.parse("bafkqaaa").names(b"x")
    assert m.Cid.parse(V1).inline is None
    most = m.Cid(1, m.RAW, b"x" * 128, m.IDENTITY)
    assert m.Cid.parse(str(most)) == most
    with pytest.raises(ValidationError, match="is not a CID that can be checked"):
        m.Cid.parse(str(m.Cid(1, m.RAW, b"x" * 129, m.IDENTITY)))


@pytest.mark.parametrize("code", [0x12, 0x13, 0x14, 0x16, 0xB220, 0xB240])
def test_a_block_is_held_against_the_hash_that_its_cid_has(code):
    hasher = m.Cid(1, m.RAW, b"", code).hasher()
    hasher.update(b"block")
    cid = m.Cid(1, m.RAW, hasher.digest(), code)
    assert m.Cid.parse(str(cid)) == cid == m.Cid.parse("f" + bytes(cid).hex())
    assert cid.names(b"bl", b"ock")
    assert not cid.names(b"blocK")


@given(st.binary(min_size=32, max_size=32), st.sampled_from([m.RAW, m.DAG_PB, 0x71, 0x0129]))
def test_a_cid_survives_every_form(digest, codec):
    cid = m.Cid(1, codec, digest)
    number, letters = int.from_bytes(bytes(cid), "big"), "0123456789abcdefghijklmnopqrstuvwxyz"
    base36 = ""
    while number:
        number, digit = divmod(number, 36)
        base36 = letters[digit] + base36
    for text in (str(cid), str(cid).upper(), "f" + bytes(cid).hex(), "k" + base36):
        assert m.Cid.parse(text) == cid
    assert m.Cid.read(bytes(cid) + b"rest", 0) == (cid, len(bytes(cid)))
    with pytest.raises(ValueError):
        m.Cid.from_bytes(bytes(cid) + b"rest")
    for end in range(len(bytes(cid))):
        with pytest.raises(ValueError):
            m.Cid.from_bytes(bytes(cid)[:end])


@given(st.binary(max_size=80))
def test_any_bytes_are_a_cid_or_a_value_error(raw):
    with contextlib.suppress(ValueError):
        assert bytes(m.Cid.from_bytes(raw)) == raw


@pytest.mark.parametrize(
    ("text", "path"),
    [
        (V1, ()),
        (f"/ipfs/{V1}", ()),
        (f"/ipfs/{V1}/", ()),
        (f"/p2p/{V1}", ()),
        (f"ipfs://{V1}", ()),
        (f"{V1}/a.txt", ("a.txt",)),
        (f"/ipfs/{V1}/deep/er/日本 %20?#.txt", ("deep", "er", "日本 %20?#.txt")),
        (f"ipfs://{V1}/a/", ("a",)),
    ],
)
def test_a_place_is_a_cid_and_the_names_behind_it(text, path):
    place = m.Location.parse(text)
    assert (str(place.cid), place.path) == (V1, path)
    assert str(place) == "/".join((V1, *path))


@pytest.mark.parametrize(
    "text",
    [
        "", "/", "/ipfs/", "/ipfs/..", "/ipfs/../admin", f"/ipfs/{V1}/..", f"/ipfs/{V1}/a/../b", f"/ipfs/{V1}/./a",
        f"/ipfs/{V1}//a", f"/ipfs/{V1}/a\0b", f"/ipfs/{V1}?x", f"/ipns/{V1}", f"https://gateway.example/ipfs/{V1}",
        f"/ipfs/{V1}/" + "a/" * 3000, f"//ipfs/{V1}", None, 5, b"x", ["x"],
    ],
)  # fmt: skip
def test_what_is_no_place_is_refused_and_shown_as_it_was_given(text):
    with pytest.raises(ValidationError) as caught:
        m.Location.parse(text)
    assert caught.value.hint
    assert str(text)[:20].replace("\0", "\N{REPLACEMENT CHARACTER}") in caught.value.message


Q = "QmW2WQi7j6c7UgJTarActp7tDNikE4B2qXtFCfLPdsgaTQ"
Q_HEX = "a5032212207237a7f4091a74ae95514890fa86a2e8a36037c350ea71c06a34c8cbe25a5057"


@pytest.mark.parametrize(
    ("text", "encoded", "shown"),
    [
        (f"/ipfs/{Q}", Q_HEX, f"/p2p/{Q}"),
        (f"/p2p/{Q}/", Q_HEX, f"/p2p/{Q}"),
        (
            "/ipfs/bafybeigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi",
            "a503221220c3c4733ec8affd06cf9e9ff50ffc6bcd2ec85a6170004bb709669c31de94391a",
            "/p2p/QmbWqxBEKC3P8tqsKc98xmWNzrzDtRLMiMPL8wBuTGsMnR",
        ),
        (
            "/p2p/12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA",
            "a503260024080112202ffa35a99d3a3cfbb17bb7c1dc5561b18a8dcca4df38dc613ea859c37eb1336b",
            None,
        ),
        ("/ip4/127.0.0.1/tcp/4001", "047f000001060fa1", None),
        ("/ip6/::1/udp/53", "290000000000000000000000000000000191020035", None),
        ("/dns4/example.com/tcp/443/https", "360b6578616d706c652e636f6d0601bbbb03", None),
        (f"/dnsaddr/a.b/p2p/{Q}", "3803612e62" + Q_HEX, None),
        ("/dns4/é.com", "3606c3a92e636f6d", None),
    ],
)
def test_multiaddrs_are_those_of_the_javascript_sdk(text, encoded, shown):
    assert m.multiaddr_encode(text).hex() == encoded
    assert m.multiaddr_decode(bytes.fromhex(encoded)) == (shown or text)


@pytest.mark.parametrize(
    "text",
    [
        "docker.io/iexechub/python-hello-world:8.0.0",
        f"https://gateway.ipfs.io/ipfs/{Q}/cat.jpg",
        f"/ipfs/{Q}/cat.jpg",
        f" /ipfs/{Q}",
        f"/ipns/{Q}",
        "/ipfs/notacid",
        "/ip4/1.2.3/tcp/1",
        "/ip4/127.0.0.1/tcp/99999",
        "/tcp/080",
        "/ip6/::1%lo",
        "5registry.example/app:1",
        "",
    ],
)
def test_everything_else_is_text(text):
    assert m.multiaddr_encode(text) == text.encode()
    assert m.multiaddr_decode(text.encode()) == text


def test_a_cid_whose_codec_would_be_lost_stays_text():
    text = "/ipfs/bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku"
    assert m.multiaddr_decode(m.multiaddr_encode(text)) == text


@given(st.binary(max_size=60))
def test_any_bytes_of_the_chain_are_shown(data):
    assert isinstance(m.multiaddr_decode(data), str)


@given(st.text(max_size=60))
def test_any_text_comes_back_or_is_a_multiaddr(text):
    shown = m.multiaddr_decode(m.multiaddr_encode(text))
    assert shown == text or m.multiaddr_encode(shown) == m.multiaddr_encode(text)


@pytest.mark.parametrize("data", ["04", "0a", "a50322", "ff", "35ff", "047f00000106", "808080808080808080808001"])
def test_cut_multiaddr_bytes_are_shown_as_text(data):
    assert m.multiaddr_decode(bytes.fromhex(data)) == bytes.fromhex(data).decode(errors="replace")


@pytest.mark.parametrize("base", [str.upper, lambda text: "f" + bytes(m.Cid.parse(text)).hex()])
def test_a_base_that_others_do_not_read_stays_text(base):
    text = "/ipfs/" + base("bafybeigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi")
    assert m.multiaddr_encode(text) == text.encode()
    assert m.multiaddr_decode(text.encode()) == text

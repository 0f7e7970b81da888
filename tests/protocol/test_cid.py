"""CIDs against those that ipfs-unixfs-importer 17.1.1 (JavaScript) gives, and multiaddrs against the JavaScript SDK."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iexec_nb.errors import ValidationError
from iexec_nb.protocol import cid as m

CHUNK = 262_144


def rows(text, columns):
    words = text.split()
    return [(int(words[at]), *words[at + 1 : at + columns]) for at in range(0, len(words), columns)]


# size, version 0, version 1 with raw leaves, version 1 with dag-pb leaves; content: 0, 1, ... 250, 0, 1, ...
DEFAULTS = rows(
    """
    0 QmbFMke1KXqnYyBBWxB74N4c5SBnJMVAiMNRcGu6x1AwQH bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku
        bafybeif7ztnhq65lumvvtr4ekcwd2ifwgm3awq4zfr3srh462rwyinlb4y
    1 QmS9JArPwa55ePgDnyg6TzX24mYTS1b1vLqWNebyVotKxQ bafkreidogqfzz75tpkmjzjke425xqcrmpcib2p5tg44hnbirumdbpl5adu
        bafybeibyqyrkx66boqbutl5oktknecxgnl43cipcls3knonfmi727rdtnu
    262143 QmRfm83kqBpGJbGxJg1en9hpwq8eNnP4E2Dj8K73F4m983 bafkreiagptg6ztonoojy4wflk3wwusl5xt4vcy6uult4wa7oemsjtxhjsu
        bafybeibrpbmny4j6la42bnrvyqkzweuyrblxky3pxi3yetvtp4w3qsilba
    262144 QmeqfRyS3vkku7n6krqC3DgGMex3x2sCpSeKMDmrG13QQq bafkreibruh455iawsviqslif5c7uurdcfdemh22mtnytyzvnzn75kpejxy
        bafybeihvfgtilxh7thaf7o5zmjiissdd4swdao3qfltyhm62x2v3ubyasi
    262145 QmUSjGawaz4ptvREcMKSMJneWCa5j8dAz2wSAAvHtW2rnB bafybeiexg2oqkfnj56l7fcmawswqbijt5shq4b5rg6a546uwpkqqzwjioi
        bafybeidas2dvcqxlierzany6rt2e43v3yojj5ls4b7o7owukcgsgiarvrq
    524293 QmcTuR1TEPH69LxEd4kCMe5sK4qK4tn8443nCp6ivK77xk bafybeidqkzux5twxxhva7ppfr25h7bdmzysadhi6rofbzcx7cehyrise54
        bafybeihmsu2eonfkn5g4az6d3j2uzppm2bde2z3adefhk7ordbrq2wijjq
    45613055 QmSpC61nY4dcarPju8f7JsXaMpEL99ZAYsMbQnfymuVJBs bafybeihq7k7e5vdrnuuzu3rrsvjotsdjvaf7neht7uw4j5dhywvk5bwqyq
        bafybeicgm7mtqrnn4shnsjfoomccwjuklurs3aurdy53hwdl6pku3jibqq
    45613056 QmXCym15aFeWjAWyPFaAgwVmkuKB7EBsV77Skt54KmxChF bafybeihpe5snhzneq7xs53nivmsopto5lrogo3wjynauqylqeym5a3irbm
        bafybeifiin5lxhnjhsfqblkhcbt6i52nhhtuyqo44hv24slsom6prmmfbe
    45613057 QmTedsTekQQkgACJXb1sPZSW8bLdS9LPMrT7L4YdjNRd4n bafybeib4y7ghw2rq7bracc4xwtxrbzo7cfvagdpte2tmrkgwl6dyard3cm
        bafybeif6naoec4sq7ocfr3fyvgvu5ct7qwi377tfoduj2tuvshdelumpqi
    45875200 Qmbp67kThKoJFnWu7pUgwCu81WttemMnD13oG4uj9DiY5E bafybeie73j3heycdgkdsehpoe6cxh2y3iywtf6djpi3dzqrywevvjmazny
        bafybeif2tzc35alvncp3354mps5rld3mbz3v4vkhtsyzixy5rheajesarm
    """,
    4,
)
# chunks of 16 bytes, 3 links per node: size, version 0, version 1 with raw leaves
DEEP = rows(
    """
    48 QmVrfB6MbpQzDwUsWn1G4uFFKkLDeDm2inn4SWfuThe8qw bafybeifso5gvlkpo6oth5qb4i2kwr2l6cqr3nbswfenqvvpcp657obvady
    49 QmazvFF4eVzWkLd3etf3oy1vthSnV1bUPxH8pQoxU31joJ bafybeicz4slehp3a553s3vsqeqc7at7zugxovupv2odgp64jczb2g3vhoy
    96 QmQ3vWPMaM9jdKxWnmFonm3DQNrhhzs73VKUgzJs5q1A7S bafybeig2xexiiv5syx342hpvhbyxtv7uz4uezrx3ikcde5bvqoc2trzojy
    144 QmWpozGRBKpTGQTndfHoKJ71y74nSt8kidgwhkkkcGcidt bafybeifzyhkjt3p3ijr2evwxylvln7tlmkyymr3b6auuuvpzngm2ccpckq
    145 QmaDqVbCLvZJYsHcHxtoUjepC5yn6rkMAmN9LH4h11s6NU bafybeigbw7hh3toisd7xwtvs2h24txyodzojohiphlxmupm74uclsoc6ei
    146 Qmbit2A3r71CFoVPeYqhnXRQ1h2rHhKfUimxPkNPFsshAo bafybeicc66hwxddcpvwzx4xu5ag3hgmwvj4rserkxed2w7s6pzqsn3bspa
    288 QmU5tWPHZ6n1AxZeLPe1CD9ssgLyuvJy6ptSrzjNJWseRQ bafybeiepcy2qhglorn36a5pkbooioacbevmyd7gjenhi4g2plwvir473ky
    432 QmW2ZkVR7bf7dPLRnp4fUZt17VwxJdvp2sGczWcjfiJHGR bafybeiesn5wj36lm7xxkjd5ze2gff6bqdkz5lynaubmzyvqobqucwottym
    433 QmeoadEPWzF4PtUDjDXBP59FbPQAuJQDorFePoQktcigAM bafybeib2mroglz6gqbqcv2cghwgcujkskp4gi4kwoqvml6efqmaooxia5m
    1296 QmShHPvinr7T43LL3agx7cAx2FcS1T3hESCyumLsVXf9Ju bafybeic6wv2wlkb2xjqlvxxbjggpdizuoqvkvude52lae6o6glm7c5qxbu
    1297 QmQTC8JCR9mAdvXHFeikia9MGXZ4PjhkatniYnzqr85Qgz bafybeiasjktg2kahfkgarlz3rv6m4riuop2q6knmebqwad664yvgslv5he
    5000 QmNrJ73GdZzwo2F6yQdHy6QxESW9eszES6R5NX5Sp7FFn8 bafybeicgvtu3hcxedaxbtdzzxzdd7a3zikravilp5fapqkldv7ybpp7ewu
    """,
    3,
)


def content(size):
    return (bytes(range(251)) * (size // 251 + 1))[:size]


@pytest.mark.parametrize(("size", "v0", "v1", "v1_dag_pb"), DEFAULTS, ids=[str(row[0]) for row in DEFAULTS])
def test_the_cid_of_a_file_is_that_of_the_javascript_importer(size, v0, v1, v1_dag_pb):
    data = content(size)
    hasher = m.Hasher()
    hasher.update(data[:100_000])
    hasher.update(memoryview(data)[100_000:])
    assert (hasher.cid(0), hasher.cid(1)) == (v0, v1)
    if size < 10 * CHUNK:
        assert m.matches(v1_dag_pb, [data])
        assert m.matches(f"/ipfs/{v1}", [data[: size // 2], data[size // 2 :]])


@pytest.mark.parametrize(("size", "v0", "v1"), DEEP, ids=[str(row[0]) for row in DEEP])
@pytest.mark.parametrize("step", [1, 5, 16, 33, 10_000])
def test_trees_of_many_levels_are_those_of_the_javascript_importer(size, v0, v1, step):
    hasher = m.Hasher(chunk_bytes=16, links_per_node=3)
    data = content(size)
    for at in range(0, size, step):
        hasher.update(data[at : at + step])
    assert (hasher.cid(0), hasher.cid(1)) == (v0, v1)


def test_asking_for_the_cid_does_not_end_the_hashing():
    hasher = m.Hasher(0)
    for size, v0, *_ in DEFAULTS[:4]:
        hasher.update(content(size)[hasher_size(hasher) :])
        assert hasher.cid() == v0
    assert m.content_cid(content(1), 1) == DEFAULTS[1][2]


def hasher_size(hasher):
    tree = hasher._trees[0]
    return len(tree._rest) + CHUNK * len(tree._levels[0])


@pytest.mark.parametrize("column", [1, 2, 3])
def test_other_bytes_are_refused(column):
    for row in DEFAULTS[1:6]:
        data = bytearray(content(row[0]))
        data[-1] ^= 1
        assert not m.matches(row[column], [bytes(data)])
        assert not m.matches(row[column], [content(row[0])[:-1]])
        assert not m.matches(row[column], [content(row[0]), b"\0"])


def test_the_refusal_says_what_was_asked_and_that_other_layouts_exist():
    verifier = m.CidVerifier(DEFAULTS[1][1])
    verifier.update(b"no")
    with pytest.raises(ValidationError) as caught:
        verifier.finish()
    assert DEFAULTS[1][1] in str(caught.value)
    assert "2 bytes" in str(caught.value)
    assert "added with other settings" in str(caught.value)


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


def test_a_cid_of_something_else_than_a_file_cannot_be_checked():
    dag_cbor = "b" + base64.b32encode(b"\x01\x71\x12\x20" + bytes(32)).decode().lower().rstrip("=")
    with pytest.raises(ValidationError, match="cannot be checked") as caught:
        m.CidVerifier(dag_cbor)
    assert "0x71" in str(caught.value)


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

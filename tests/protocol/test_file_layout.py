"""CIDs of whole files against those that ipfs-unixfs-importer 17.1.1 (JavaScript) gives."""

import base64
import hashlib

import pytest

from iexec_nb.errors import ValidationError
from iexec_nb.protocol.cid import DAG_PB, Cid
from iexec_nb.protocol.file_layout import LAYOUTS, Hasher, Layout, Tree, content_cid, is_leaf, leaf_frame, names_file

CHUNK = 262_144


def rows(text, columns):
    words = text.split()
    return [(int(words[at]), *words[at + 1 : at + columns]) for at in range(0, len(words), columns)]


def matches(cid, chunks):
    return names_file(Cid.parse(cid), lambda: iter(chunks))


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
    hasher = Hasher()
    hasher.update(data[:100_000])
    hasher.update(memoryview(data)[100_000:])
    assert (hasher.cid(0), hasher.cid(1)) == (v0, v1)
    if size < 10 * CHUNK:
        assert matches(v1_dag_pb, [data])
        assert matches(v1, [data[: size // 2], data[size // 2 :]])


@pytest.mark.parametrize(("size", "v0", "v1"), DEEP, ids=[str(row[0]) for row in DEEP])
@pytest.mark.parametrize("step", [1, 5, 16, 33, 10_000])
def test_trees_of_many_levels_are_those_of_the_javascript_importer(size, v0, v1, step):
    hasher = Hasher(chunk_bytes=16, links_per_node=3)
    data = content(size)
    for at in range(0, size, step):
        hasher.update(data[at : at + step])
    assert (hasher.cid(0), hasher.cid(1)) == (v0, v1)


def test_asking_for_the_cid_does_not_end_the_hashing():
    hasher = Hasher(0)
    for size, v0, *_ in DEFAULTS[:4]:
        hasher.update(content(size)[hasher_size(hasher) :])
        assert hasher.cid() == v0
    assert content_cid(content(1), 1) == DEFAULTS[1][2]


def hasher_size(hasher):
    tree = hasher._trees[0]
    return len(tree._rest) + tree._bytes


@pytest.mark.parametrize("column", [1, 2, 3])
def test_other_bytes_are_refused(column):
    for row in DEFAULTS[1:6]:
        data = bytearray(content(row[0]))
        data[-1] ^= 1
        assert not matches(row[column], [bytes(data)])
        assert not matches(row[column], [content(row[0])[:-1]])
        assert not matches(row[column], [content(row[0]), b"\0"])


def test_the_layouts_of_newer_programs_are_known():
    data, state = bytearray(), 1
    for _ in range(600_000):
        state = (state * 1664525 + 1013904223) & 0xFFFFFFFF
        data.append(state >> 24)
    # What the JavaScript importer gives with the profile unixfs-v0-2015, named by a CID of version 1.
    assert matches("bafybeifgexpfttgw5xu52exp5nmndl4tostnb3ayz4eu7kp3t7dqv6r3na", [bytes(data)])
    for layout in LAYOUTS:
        tree = Tree(layout)
        for _ in range(7):
            tree.update(data)
        assert names_file(tree.root(), lambda: iter([bytes(data)] * 7))


def test_content_inside_the_cid_and_of_other_hashes_is_checked():
    data = b"few"
    for kind, digest in [(0, data), (0x13, hashlib.sha512(data).digest()), (0x16, hashlib.sha3_256(data).digest())]:
        cid = Cid(1, 0x55, digest, kind)
        assert names_file(cid, lambda: iter([b"f", b"ew"]))
        assert not names_file(cid, lambda: iter([b"fewer"]))


def test_a_cid_of_something_else_than_a_file_cannot_be_checked():
    dag_cbor = "b" + base64.b32encode(b"\x01\x71\x12\x20" + bytes(32)).decode().lower().rstrip("=")
    with pytest.raises(ValidationError, match="cannot be checked") as caught:
        matches(dag_cbor, [b""])
    assert "0x71" in str(caught.value)


@pytest.mark.parametrize("size", [0, 1, 127, 128, 300])
@pytest.mark.parametrize("kind", [0, 2])
def test_a_leaf_is_recognised_by_its_bytes(size, kind):
    data = content(size)
    head, tail = leaf_frame(size, kind)
    cid = Cid.of(head + data + tail, DAG_PB)
    assert is_leaf(cid, data)
    assert not is_leaf(cid, data + b"x")
    assert is_leaf(Cid.of(data), data)
    assert not is_leaf(Cid(1, 0x71, cid.digest), data)


@pytest.mark.parametrize("size", [0, 1, 16, 17, 200])
@pytest.mark.parametrize("raw", [False, True])
def test_a_tree_tells_of_every_block_of_the_file(size, raw):
    kept = []
    tree = Tree(Layout(1, raw, 16, 3), lambda *block: kept.append(block))
    tree.update(content(size))
    root = tree.root()
    leaves = [one for one in kept if one[3] is None]
    assert [(offset, length) for _, offset, length, _ in leaves] == [
        (at, min(16, size - at)) for at in range(0, max(size, 1), 16)
    ]
    assert all(is_leaf(cid, content(size)[offset : offset + length]) for cid, offset, length, _ in leaves)
    assert all(cid.names(block) for cid, _, _, block in kept if block is not None)
    assert kept[-1][0] == root

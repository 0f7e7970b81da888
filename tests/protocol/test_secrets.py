"""Challenges of the secret service, against captures of the JavaScript SDK; names and values that are refused."""

import base64

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from iexec_nb.errors import ValidationError
from iexec_nb.protocol import secrets as m
from iexec_nb.protocol.result_encryption import generate_result_keypair
from iexec_nb.protocol.typed_data import personal_digest, sign_digest
from iexec_nb.protocol.types import Secret

KEY = b"\x11" * 32
SIGNER = "0x19E7E376E7C213B7E7e7e46cc70A5dD086DAff2A"
APP = "0x" + "11" * 20

CAPTURED = [
    (
        m.web3_challenge(APP, "m7/kaM4WMTxHNPNAhaTAdC+8VJv8UdcsxPYpc94jls0="),
        "1465140bce5dfc0a060069746b3ec5153544555de27b8c0d62d935f053497a39",
        "0x0fa0403f72891a15219820e3be7d33582f73272b27dfa3a801a54bf7e3f85911"
        "50365ebc4e7b4692f3a06811c291aca0a73e88dc20f7a06941bd2b181832143a1b",
    ),
    (
        m.web2_challenge(SIGNER, m.RESULT_KEY_NAME, "QUJD"),
        "06d26fc5e079a3e9011134dd852dd7eba0149c20bfa53007137957deb1be44c7",
        "0x9734786d997012b9aa162e11b8f184e39f130ebdeef46527e6a80efeed5a3f93"
        "69bc9a11dab8805435fa929e0b169e253747fc0a327159c60535244cbc34b1cc1b",
    ),
    (
        m.requester_challenge(SIGNER.lower(), "my-secret", Secret("s3cr3t é")),
        "fcc0e186ab978ae12683123952d025dae0182f87401cdbad8abb85cb6bef5f4a",
        "0x7736c590b5c96da970e746fce6be2e3535fe922fe69c6fe47fcd0bfb7b59ead3"
        "03f9e509aaa8b559ea3f9061baae44e633afc06d0dd7361fac7335aada34eb9c1b",
    ),
    (
        m.app_challenge(APP, "app s3cr3t"),
        "1c98f81260a22e727e6e0dc7db0a75f2db86674c415e035b61a7d461f27dd582",
        "0x4c7867ea7b52e8a70526694c49d20f4ae2309e614372dcfe30bb86fcf60847b3"
        "449d077de750e9cfc2c3d965b82b0f78b7e46de476f4b888b48cb30395e181c11c",
    ),
]


@pytest.mark.parametrize(("challenge", "expected", "authorization"), CAPTURED, ids=["web3", "web2", "requester", "app"])
def test_challenges_and_signatures_are_those_of_the_javascript_sdk(challenge, expected, authorization):
    assert challenge.hex() == expected
    assert sign_digest(personal_digest(challenge), KEY) == authorization


def test_a_value_is_hashed_as_utf8_whatever_it_came_as():
    assert (
        m.check_secret_value("é")
        == m.check_secret_value(Secret("é"))
        == m.check_secret_value("é".encode())
        == b"\xc3\xa9"
    )
    assert m.check_secret_value("x" * 4096) == b"x" * 4096


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("é" * 2049, "Secret size should not exceed 4 Kb"),
        ("", "must not be empty"),
        (b"\xff canary", "must be UTF-8 text"),
        (42, "must be a `string` type"),
        (None, "must be a `string` type"),
    ],
)
def test_a_bad_value_is_refused_without_showing_it(value, message):
    with pytest.raises(ValidationError, match=message) as caught:
        m.web3_challenge(APP, value)
    assert "canary" not in str(caught.value)
    assert "éé" not in str(caught.value)


@pytest.mark.parametrize("name", ["a", "my-secret_1", "0" * 64])
def test_a_good_name_is_returned(name):
    assert m.check_secret_name(name) == name


@pytest.mark.parametrize("name", ["", "a" * 65, "é", "a b", "a\n", "a/b", None, 1])
def test_a_bad_name_is_refused_with_the_message_of_the_service(name):
    with pytest.raises(ValidationError, match=r"at most 64 characters from \[0-9A-Za-z-_\]"):
        m.requester_challenge(SIGNER, name, "v")


@pytest.fixture(scope="module")
def pair():
    return generate_result_keypair(2048)


def test_a_public_key_is_sent_as_base64_of_its_pem_as_given(pair):
    for pem in (pair.public_pem, pair.public_pem.rstrip()):
        value = m.result_public_key_value(pem)
        assert base64.b64decode(value).decode() == pem
        assert m.result_public_key_value(value) == value
        assert m.result_public_key_value(pem.encode()) == value


def test_base64_is_sent_unchanged_as_by_the_javascript_sdk():
    value = "RG8geW91IGtub3cgaG93IHRvIHJlYWQgYmFzZTY0Pw=="
    assert m.result_public_key_value(value) == value


def test_a_private_key_never_leaves(pair):
    private = pair.private_pem.reveal()
    for given in (private, private.encode(), base64.b64encode(private.encode()).decode(), None):
        with pytest.raises(ValidationError, match="was not sent") as caught:
            m.result_public_key_value(given)
        assert "BEGIN PRIVATE" not in str(caught.value)
        assert private[40:60] not in str(caught.value)


def test_keys_that_a_worker_cannot_read_are_refused(pair):
    curve = ec.generate_private_key(ec.SECP256R1()).public_key()
    others = [
        curve.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode(),
        pair.public_pem.replace("\n", "\r\n"),
        pair.public_pem.replace("A", "B"),
        pair.public_pem[:200],
        "",
        "foo bar",
        "-----BEGIN RSA PUBLIC KEY-----\nAAAA\n-----END RSA PUBLIC KEY-----\n",
    ]
    for other in others:
        with pytest.raises(ValidationError, match=r"holds no RSA public key|not a result encryption key"):
            m.result_public_key_value(other)


def test_half_a_character_is_refused_unsaid():
    for value in ("\ud800", Secret("secret\udc00"), "\udc00\ud800"):
        with pytest.raises(ValidationError, match="must be UTF-8 text") as caught:
            m.check_secret_value(value)
        assert "secret\udc00" not in str(caught.value)
    with pytest.raises(ValidationError):
        m.result_public_key_value("-----BEGIN PUBLIC KEY-----\ud800")

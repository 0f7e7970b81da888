"""Order hashes and signatures of the JavaScript SDK, the Java middleware and the contracts."""

# ruff: noqa: E501  (hashes and signatures stand on one line, as in the sources)

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iexec_nb.errors import InvalidSignatureError
from iexec_nb.protocol import typed_data as td
from iexec_nb.protocol.orders import ORDERS, AppOrder, DatasetOrder, Order, RequestOrder, WorkerpoolOrder
from iexec_nb.protocol.types import NULL_ADDRESS, NULL_BYTES32, Secret, address, keccak, to_checksum

KEY = b"\x11" * 32
S = "0x19E7E376E7C213B7E7e7e46cc70A5dD086DAff2A"
SALT = "0x" + "aa" * 32
ONE, TWO, THREE = ("0x" + digit * 40 for digit in "123")
HUBS = {
    134: "0x3eca1B216A7DF1C7689aEb259fFB83ADFB894E7f",
    42161: "0x098bFCb1E50ebcA0BaA92C12eA0c3F045A1aD9f0",
    421614: "0xB2157BF2fAb286b2A4170E3491Ac39770111Da3E",
}
MADE: dict[str, Order] = {
    "app": AppOrder(app=ONE, appprice=1000000000, volume=10, workerpoolrestrict=TWO, requesterrestrict=S, salt=SALT),
    "dataset": DatasetOrder(
        dataset=TWO, datasetprice=0, volume=9007199254740991, tag=NULL_BYTES32, apprestrict=ONE, salt=SALT
    ),
    "workerpool": WorkerpoolOrder(workerpool=THREE, workerpoolprice=25, volume=3, category=4, trust=1, salt=SALT),
    "request": RequestOrder(
        app=ONE,
        appmaxprice=1000000000,
        dataset=TWO,
        datasetmaxprice=0,
        workerpool=THREE,
        workerpoolmaxprice=25,
        requester=S,
        volume=1,
        category=4,
        trust=1,
        params={"iexec_result_storage_provider": "ipfs", "iexec_args": "hé"},  # type: ignore[arg-type]
        salt=SALT,
    ),
}
STRUCTS = {
    "app": "71b507ad05538a27a93dff9df38b40bfc146a497268bc9bf46e977aaa38054c0",
    "dataset": "7a7713029ee492f2b345d98e2e2cf940aa02f4221897f12b9c8c5cd288388da4",
    "workerpool": "73a09fa4cb8fb1b9afd57dd32d70a3eebddef576061f3fe33c866edccea3629d",
    "request": "7d6cf4c264cad680c54ea463601da0644a9992bb209dd3b78e4d4ee48be99725",
}
SEPARATORS = {
    134: "f2cbd98a556869939d25b73c3fa68ba45f19932f8c9a06f744c98290ed9ef860",
    42161: "3b211ab198ac0c745a332d34416d88c417c2f06a87bd9f0d2fdd37b242c75402",
    421614: "de6e7a8f1c22386ba73ee5376e4ec7089a2d2b07ebbfce54d4cb386daa34cc92",
}
SIGNED = [
    (134, "app", "8514bd6433ff5406fc27f50a640986fe3d8ac99cabef70763288533edad6c55a", "aca4c509622d7d7e310641c10a1faf3d4b3bda17ad95227dd6f8aa1221ed4d656c75e4a038172696c5b3105e7b858d18c622e442b33e19857672bb7847ecf2a61c"),
    (134, "dataset", "12ee3e8681850cd5d4652f9ce37be37531e751222dcd7d602bde11768797e3db", "90f0fda8381b2b3025312be19c8779dbbbe6feaa62189a40dbf08790b3abdbdd48ae8f58493aed14c22b90d4424f97215bb3140e0c2e748e4b60a61472ff541c1c"),
    (134, "workerpool", "3cea15fa88c3973b17708e7df9ae1b8b68d5c20b9b7c13fe6dd6bd69b7b4abfe", "197ac1d0b0b0c3834b8a450b89a076a061b2fd0721674be3d3eaaa28d6375eca5a94eda7ff4bb89fa17ab3c84f37f5ca9fa81d9f4c0454d951692475461af7461b"),
    (134, "request", "3addf6259fd5f194bdf560a6cbc529b8e11d56d96bb0cf5ae040db4e96363170", "7a1b46450b48f1250cdd49dc826d03a94b9caf8116bcc5ef54814be45a2e8b7e1e123ce923d79c4136e5abc0383a7d38dcfe09774d69cc9878e6be077fa98a581c"),
    (42161, "app", "26200de6243bd9b25ca00e096db373b0cccc895b9c48e9d5892159b49f50f08c", "1953e331dbfe3d38cba8a65d4568e5d894a8969b54613773f8958417665c61f45021a23d2ca71f28d7077ff4bf6de885bcb8145169864648526a6f7bae0e47af1b"),
    (42161, "dataset", "278c0e3ce035d4ad3fa4bfde9bf183937521875adb3f1aed6b50b8174ed87d6c", "57c7adc262ae54d58c7cc312ece1b9725ef97d68dcad9a65911c08da74bae0bb773ea3e5b407ab39e514500044155b0badbc726238de3064767c4be6723ff9ac1b"),
    (42161, "workerpool", "1fc8523c901128ae8ab54b18dad83d876000517aaae5b550fbccabe677e73fb4", "93be4660e016b36337012b9e45f67234ab37917adc7b1c0e50d99d13ee1b296e5ca89cc80819fdaa5e183edc594138b1ea7bc8496e840b638cf6c4bc6fadf6e11c"),
    (42161, "request", "082267584b9a860bb07d2cae5fc7bacee00ba942f19222e2b83aaf42f8cfd319", "04942f12dea05d634c17f804697d20730fc5a460407a2f6db97742328b8c4cc60caafd748fb740fb3e1505e22a1bf389d1c9a83c4e81ccf741f9fa297882f8351b"),
    (421614, "app", "f964cdbb564267bd241cf6636f74aa96c56e5be56ea3af969484a9379cf00050", "bca163d211d691f2e52b5ce267d027860f1312f54ad0b82e81fa9495ea29f8704d3642f72b3daf0b9ef282bdeedd13e9248b029c81f5fe9dfd5dd6d5d702f4981b"),
    (421614, "dataset", "b0c26958f58856ea3ff56e4492a18c1140e7077fa832fdcb980dee81bb2315a5", "aae699bc6a6c59bb08ff35f658c86e3c944aab8dcb386977123dc34dea4e21e029dc094043a2c4d6718dc4f35ebc44c7bef77ea107995d42400869dff9956c311c"),
    (421614, "workerpool", "0af4aab9041bbf1927e82f7eb181640e013bdbfadf245cef06c9b34f51cf28f4", "a187f7bf0e021265386e128fa38997dd4a4e1b2156695050ea290c0ca8133b8b261d0f53fa58157a9d89096d2ff3a81686cd75df58509a38da2ead3bea9574d31c"),
    (421614, "request", "0ce628cbbd40cd4b82531b2a8a12b1ba3cb86214dc5a51baa57c8e6b2771301d", "8eb4a6e4ab556a61b808dfbd37217840fcbfdc89325c29c595e3aad04c68e6e5588917ba5f7ba3c3ca38aee19312171a9ecfe54dfa18b1376f959f9f07bfb0431b"),
]  # fmt: skip
TYPE_HASHES = {
    "app": "60815a0eeec47dddf1615fe53b31d016c31444e01b9d796db365443a6445d008",
    "dataset": "6cfc932a5a3d22c4359295b9f433edff52b60703fa47690a04a83e40933dd47c",
    "workerpool": "aa3429fb281b34691803133d3d978a75bb77c617ed6bc9aa162b9b30920022bb",
    "request": "f24e853034a3a450aba845a82914fbb564ad85accca6cf62be112a154520fae0",
}


def test_the_vectors_signer_is_the_address_of_its_key() -> None:
    assert td.address_of(KEY) == td.address_of(Secret(KEY)) == S


@pytest.mark.parametrize("kind", TYPE_HASHES)
def test_type_hashes_are_those_of_the_contracts(kind: str) -> None:
    members = ",".join(f"{member['type']} {member['name']}" for member in td.MEMBERS[kind])
    assert keccak(f"{ORDERS[kind].__name__}({members})".encode()).hex() == TYPE_HASHES[kind]


@pytest.mark.parametrize("kind", STRUCTS)
def test_struct_hashes_are_the_sdks(kind: str) -> None:
    assert td.struct_hash(MADE[kind]).hex() == STRUCTS[kind]


@pytest.mark.parametrize("chain", HUBS)
def test_domain_separators_are_the_hubs(chain: int) -> None:
    assert td.Domain(chainId=chain, verifyingContract=HUBS[chain]).separator.hex() == SEPARATORS[chain]


@pytest.mark.parametrize(("chain", "kind", "digest", "sign"), SIGNED)
def test_hash_and_signature_are_the_sdks(chain: int, kind: str, digest: str, sign: str) -> None:
    domain, order = td.Domain(chainId=chain, verifyingContract=HUBS[chain]), MADE[kind]
    assert td.order_hash(order, domain) == "0x" + digest
    assert td.sign_digest(bytes.fromhex(digest), KEY) == "0x" + sign
    assert td.recover(bytes.fromhex(digest), "0x" + sign) == S
    assert td.verify_order(order.signed(SALT, "0x" + sign), domain, S, "0x" + digest) == "0x" + digest


JAVA_DOMAIN = td.Domain(chainId=133, verifyingContract="0x3eca1B216A7DF1C7689aEb259fFB83ADFB894E7f")
JAVA_KEY = bytes.fromhex("650fbe1e220c2e019202bceec7e0005c66c737111e42a33b700dad4579c0d2fc")
JAVA_SIGNER = "0x000a9c787a972F70F0903890E266F41c795C4DcA"
TAG1 = "0x" + "0" * 63 + "1"
JAVA_PARAMS = '{"iexec_tee_post_compute_fingerprint":"76bfdee97e692b729e989694f3a566cf0e1de95fc456ff5ee88c75b1cb865e33|1eb627c1c94bbca03178b099b13fb4d1|13076027fc67accba753a3ed2edf03227dfd013b450d68833a5589ec44132100","iexec_tee_post_compute_image":"iexechub/tee-worker-post-compute:1.0.0","iexec_result_storage_provider":"ipfs","iexec_result_storage_proxy":"https://result.viviani.iex.ec","iexec_result_encryption":false,"iexec_input_files":[],"iexec_args":"Alice"}'
JAVA: list[tuple[Order, str, str]] = [
    (
        AppOrder(app="0x2EbD509d777B187E8394566bA6ec093B9dd73DF1", tag=NULL_BYTES32, salt="0xbe858b0eee90cf2e85297bd3df81373f6b4de20c67a3e1f5db1a9d5be8abc3c4"),
        "ba3386e38e2048de59653fed9f717a2b4400efe2d704b2980f814a91ef1f90e1",
        "82c2d8a5f59f1088eb0b9a627c367ae7dae1772c8bd98c394699ae24830611e1171026f4e28d2c60302c34a04c60c4fc2f1363e165072dca04a9f203734978671c",
    ),
    (
        DatasetOrder(dataset="0x2550E5B60f48742aBce2275F34417e7cBf5AcA86", volume=1000000, tag=TAG1, salt="0xc49d07f99c47096900653b6ade4ccde4c52f773a5ad68f1da0a47c993cad4595"),
        "87c9e55f03233ddcbfd9f37dbef06b2932d7c20a9998ea01f26d1efe055edeb9",
        "94661cab25380e7a6e1c20762988f6f854c5123a17ad27c65580d7c3edcfa2025a9d255c679c4cf7d489560917c17d3af3da83737b3722824918d39aecfedf711c",
    ),
    (
        WorkerpoolOrder(workerpool="0x53Ef1328a96E40E125bca15b9a4da045C5e63E1A", category=0, tag=NULL_BYTES32, salt="0x40af1a4975ca6ca7285d7738e51c8da91a9daee4a23fb45d105068be56f85e56"),
        "66df04fcab380857d682cfc64a4c8906587e918857d481a29f79f7c3abd06620",
        "18bb5dbf608ade315c9e81f0b89929a93aa36aee0a1d51e9119c66799af126596c6cfd1e676ea394e346c616710a675388d5b270a195e494e75d107c87a45dce1c",
    ),
    (
        RequestOrder(app="0x6709CAe77CDa2cbA8Cb90A4F5a4eFfb5c8Fe8367", workerpool="0x506fA5EaCa52B5d2F133452a45FFA68aD1CfB3C5", requester="0x1ec09e1782a43a770d54e813379c730e0b29ad4b", beneficiary=NULL_ADDRESS, category=0, tag=TAG1, params=JAVA_PARAMS, salt="0xee5c64cd59eaa084f59dbaa8f20b87260c4d6ac35c83214da657681bfe4e7632"),
        "03f960f8c4153017ca091fe3eb5169a51af3b7b2eae9b85a72e1af9ed2493b45",
        "611511fa5169dff40f7b4c0013e9f149e79dfddacd80a19852a1e9b42294eaef4329367f01eb48930f990a418befed0c5634e493809f2e9a6a60727137964df51c",
    ),
]  # fmt: skip


def test_the_domain_of_the_java_suite() -> None:
    assert JAVA_DOMAIN.separator.hex() == "fe74a571c117ad1e52a111b47ec87ee86756b7100d374152c3d0f6c039575397"
    assert td.address_of(JAVA_KEY) == JAVA_SIGNER


@pytest.mark.parametrize(("order", "digest", "sign"), JAVA, ids=lambda value: getattr(value, "kind", ""))
def test_orders_of_the_java_suite(order: Order, digest: str, sign: str) -> None:
    assert td.order_hash(order, JAVA_DOMAIN) == "0x" + digest
    assert td.sign_digest(bytes.fromhex(digest), JAVA_KEY) == "0x" + sign


def test_challenge_vectors_of_the_java_suite() -> None:
    common = td.Domain(chainId=15, name="COMMON", version="1")
    other = td.Domain(chainId=13, name="OTHER DOMAIN", version="2")
    assert common.separator.hex() == "032ca689dd6e3f3369c7a74aae8b74a5cf8d5deb2511d68755eed205595e57a5"
    assert other.separator.hex() == "1ab64efc51b26dc09fa88c5377082acb34c14b43948c78d6a1472c0308a40aab"
    digest = td.challenge_digest("challenge", common)
    assert digest.hex() == "ea5ec041da81859f2c04a4876d5999ed8e66ad221b5b8699ca91f6814693a80e"
    struct = bytes.fromhex("ffa80746e15229833c32e80aa3a3c161e0c5a0e47ff6fd68e713c8501a1456e5")
    assert digest == keccak(b"\x19\x01" + common.separator + struct)
    abcd = bytes.fromhex("58c09e3e047920707563968aa3b3d1782e643869669d82283250c6ef75c8792f")
    assert td.challenge_digest("abcd", other) == keccak(b"\x19\x01" + other.separator + abcd)


def test_domains_with_and_without_contract() -> None:
    name = "iExec Custom Module Domain"
    with_contract = td.Domain(chainId=2, name=name, version="1", verifyingContract="0x" + "0" * 39 + "1")
    assert with_contract.separator.hex() == "b3b1dcc957351eff67866cbc947be104a71d09ff7e146a2c42e8f7edc2bf501c"
    without = td.Domain(chainId=2, name=name, version="1")
    assert without.separator.hex() == "c1ca0800eccc218e09b4b90ca3ba732ee9a923d115f880316caf56c466c0bc34"
    assert "verifyingContract" not in without.to_json()


def test_the_market_login_is_the_sdks() -> None:
    domain = td.Domain(chainId=421614, name="iExec Gateway", version="1")
    digest = td.challenge_digest("Sign this message to log into iExec Gateway: 0123456789abcdef", domain)
    assert digest.hex() == "8306cf85b4ea863f0d4b5d1448916f1c6582ee5d181652bafc9caa5a236b49de"
    assert td.sign_digest(digest, KEY) == (
        "0xc8ebedc5a118f22f5675f01780f1473c5d61d4ae2eebe902271d8b0eb3838a7e"
        "7c471c59f75ebac1a1a5d20e6ee3ebce5de20269a64dd4f21e6d6518e6b3ab021b"
    )


def test_personal_signatures_of_the_java_suite() -> None:
    message = bytes.fromhex("e6fe0ad9cc7e30e83c9f9b6ce818ad20d576a496dd332cb1a257e85a7ebf2ca3")
    sign = "0x7e78fbf387024f96211345c9caae47bafccf9a992fbf7924b3473d133f73c02a32204b44309bb2eaba2fcfa3be726c2c1d19f4ca560ba0c82dbd18b724ea52a11b"
    assert td.recover(td.personal_digest(message), sign) == "0x043B9300356351419d9F63E818054E99e6c831b2"
    key = bytes.fromhex("6dacd24b3d49d0c50c555aa728c60a57aa08beb363e3a90cce2e4e5d327c6ee2")
    assert td.address_of(key) == "0xd154eF7Ed41a66d8d1D01227388B2f904c436d70"
    message = bytes.fromhex("f0cea2ffdb802c106aef2a032b01c7d271a454473709016c2e2c406097acdfd3")
    assert td.sign_digest(td.personal_digest(message), key) == (
        "0x36a0678dbab83abb34e6c28a7f62ca8dd16499d1afd5e5762242b4051359a1ea"
        "2ce70da0dfd5614237d47390162e10415362f64598a32f3d5300193ddc92439f1c"
    )


def test_keccak_vectors_of_the_java_suite() -> None:
    first = bytes.fromhex("748e091bf16048cb5103E0E10F9D5a8b7fBDd860")
    second = bytes.fromhex("d94b63fc2d3ec4b96daf84b403bbafdc8c8517e8e2addd51fec0fa4e67801be8")
    third = bytes.fromhex("9a43BB008b7A657e1936ebf5d8e28e5c5E021596")
    assert keccak(first + second).hex() == "9ca8cbf81a285c62778678c874dae13fdc6857566b67a9a825434dd557e18a8d"
    assert keccak(first + second + third).hex() == "54a76d209e8167e1ffa3bde8e3e7b30068423ca9554e1d605d8ee8fd0f165562"


def test_typed_data_hashes_to_the_same_as_eth_accounts_general_encoder() -> None:
    from eth_account.messages import encode_typed_data

    domain = td.Domain(chainId=421614, verifyingContract=HUBS[421614])
    for order in MADE.values():
        data: Any = td.typed_data(order, domain)
        assert json.loads(json.dumps(data)) == data
        message = encode_typed_data(full_message=data)
        assert keccak(b"\x19\x01" + message.header + message.body) == td.order_digest(order, domain)
    login: Any = td.challenge_typed_data("abc", td.Domain(chainId=1, name="iExec Gateway", version="1"))
    message = encode_typed_data(full_message=login)
    expected = td.challenge_digest("abc", td.Domain(chainId=1, name="iExec Gateway", version="1"))
    assert keccak(b"\x19\x01" + message.header + message.body) == expected


@settings(max_examples=25, derandomize=True, deadline=None)
@given(key=st.binary(min_size=31, max_size=31), digest=st.binary(min_size=32, max_size=32))
def test_the_signer_is_recovered_from_long_and_short_signatures(key: bytes, digest: bytes) -> None:
    private = b"\x01" + key
    sign = td.sign_digest(digest, private)
    raw = bytes.fromhex(sign[2:])
    short = raw[:32] + (int.from_bytes(raw[32:64], "big") | (raw[64] - 27) << 255).to_bytes(32, "big")
    assert td.recover(digest, sign) == td.recover(digest, "0x" + short.hex()) == td.address_of(private)


N = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141


def test_malformed_signatures_are_refused() -> None:
    digest = keccak(b"x")
    raw = bytes.fromhex(td.sign_digest(digest, KEY)[2:])
    high = raw[:32] + (N - int.from_bytes(raw[32:64], "big")).to_bytes(32, "big") + bytes([55 - raw[64]])
    for bad in (b"", raw[:63], raw + b"\0", raw[:64] + b"\x00", raw[:64] + b"\x1d", high, bytes(64) + b"\x1b"):
        with pytest.raises(InvalidSignatureError):
            td.recover(digest, "0x" + bad.hex())


def test_a_tampered_order_is_refused_and_says_how() -> None:
    domain = td.Domain(chainId=421614, verifyingContract=HUBS[421614])
    app = MADE["app"]
    assert isinstance(app, AppOrder)
    signed = app.signed(SALT, td.sign_digest(td.order_digest(app, domain), KEY))
    digest = td.order_hash(app, domain)
    with pytest.raises(InvalidSignatureError, match="does not hash to its name"):
        td.verify_order(replace(signed, appprice=1), domain, S, digest)
    with pytest.raises(InvalidSignatureError, match="apporder invalid sign"):
        td.verify_order(replace(signed, appprice=1), domain, S)
    with pytest.raises(InvalidSignatureError, match="apporder invalid sign"):
        td.verify_order(signed, domain, address(to_checksum(b"\x01" * 20)), digest)
    with pytest.raises(InvalidSignatureError, match="not signed"):
        td.verify_order(app, domain, S)
    with pytest.raises(InvalidSignatureError, match="no salt"):
        td.order_hash(replace(app, salt=None), domain)


def test_an_order_of_one_chain_is_not_signed_for_another() -> None:
    app = MADE["app"]
    here, there = (td.Domain(chainId=chain, verifyingContract=HUBS[chain]) for chain in (134, 42161))
    signed = app.signed(SALT, td.sign_digest(td.order_digest(app, here), KEY))
    with pytest.raises(InvalidSignatureError):
        td.verify_order(signed, there, S)

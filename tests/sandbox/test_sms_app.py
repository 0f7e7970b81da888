"""The sandbox's SMS: challenges, owners and status codes of the real one, and no secret in any text."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from flask.testing import FlaskClient
from sandbox_stack import wallet

from iexec_nb.protocol.secrets import app_challenge, requester_challenge, web2_challenge, web3_challenge
from iexec_nb.protocol.types import Secret
from iexec_nb.sandbox.sms import Vault, sms_app

DATASET = "0x1111111111111111111111111111111111111111"
OWNER, OTHER = wallet("owner"), wallet("other")
VALUE = "m7/kaM4WMTxHNPNAhaTAdC+8VJv8UdcsxPYpc94jls0="
TEXT = {"Content-Type": "text/plain"}


@pytest.fixture
def vault() -> Vault:
    return Vault()


@pytest.fixture
def client(vault: Vault) -> FlaskClient:
    chain: Any = SimpleNamespace(owners=lambda wanted: {one: OWNER.address for one in wanted if one == DATASET})
    return sms_app(chain, vault).test_client()


def test_the_owner_of_a_dataset_sets_its_key_once(client: FlaskClient, vault: Vault) -> None:
    url = f"/secrets/web3?secretAddress={DATASET}"
    assert client.head(url).status_code == 404
    signed = {"Authorization": OWNER.personal(web3_challenge(DATASET, VALUE))}
    assert client.post(url, data=VALUE, headers=TEXT | signed).status_code == 204
    assert client.head(url).status_code == 204
    assert vault.get("web3", DATASET) == Secret(VALUE)
    assert client.post(url, data=VALUE, headers=signed).status_code == 409


def test_somebody_else_cannot_set_the_key_of_a_dataset(client: FlaskClient, vault: Vault) -> None:
    url = f"/secrets/web3?secretAddress={DATASET}"
    for authorization in (OTHER.personal(web3_challenge(DATASET, VALUE)), "0x1234", ""):
        assert client.post(url, data=VALUE, headers={"Authorization": authorization}).status_code == 401
    assert not vault.has("web3", DATASET)


def test_a_signature_of_another_value_does_not_count(client: FlaskClient) -> None:
    signed = {"Authorization": OWNER.personal(web3_challenge(DATASET, "another"))}
    assert client.post(f"/secrets/web3?secretAddress={DATASET}", data=VALUE, headers=signed).status_code == 401


def test_what_has_no_owner_on_the_chain_gets_no_secret(client: FlaskClient) -> None:
    url = f"/secrets/web3?secretAddress={OTHER.address}"
    signed = {"Authorization": OTHER.personal(web3_challenge(OTHER.address, VALUE))}
    assert client.post(url, data=VALUE, headers=signed).status_code == 401


def test_a_web2_secret_is_replaced_by_put_only(client: FlaskClient, vault: Vault) -> None:
    url = f"/secrets/web2?ownerAddress={OTHER.address.lower()}&secretName=iexec-result-encryption-public-key"

    def signed(value: str) -> dict[str, str]:
        return {
            "Authorization": OTHER.personal(web2_challenge(OTHER.address, "iexec-result-encryption-public-key", value))
        }

    assert client.put(url, data="one", headers=signed("one")).status_code == 404
    assert client.post(url, data="one", headers=signed("one")).status_code == 204
    assert client.post(url, data="two", headers=signed("two")).status_code == 409
    assert client.put(url, data="two", headers=signed("two")).status_code == 204
    assert vault.get("web2", OTHER.address, "iexec-result-encryption-public-key") == Secret("two")
    assert client.head(url).status_code == 204
    assert client.put(url, data="three", headers=signed("two")).status_code == 401


def test_app_secret_answers_are_json(client: FlaskClient) -> None:
    url = f"/apps/{DATASET}/secrets"
    assert client.head(url).status_code == 404
    refused = client.post(url, data="s", headers={"Authorization": OTHER.personal(app_challenge(DATASET, "s"))})
    assert (refused.status_code, refused.json) == (401, {"data": None, "error": ["Invalid authorization"]})
    signed = {"Authorization": OWNER.personal(app_challenge(DATASET, "s"))}
    assert client.post(url, data="s", headers=signed).status_code == 204
    again = client.post(url, data="s", headers=signed)
    assert (again.status_code, again.json["error"]) == (409, ["Secret already exists"])
    assert client.head(url).status_code == 204


def test_requester_secret_needs_a_valid_name(client: FlaskClient) -> None:
    url = f"/requesters/{OTHER.address}/secrets/my-secret"
    signed = {"Authorization": OTHER.personal(requester_challenge(OTHER.address, "my-secret", "s3cr3t é"))}
    assert client.head(url).status_code == 404
    assert client.post(url, data="s3cr3t é".encode(), headers=signed).status_code == 204
    assert client.post(url, data="s3cr3t é".encode(), headers=signed).status_code == 409
    assert client.head(url).status_code == 204
    bad = client.post(f"/requesters/{OTHER.address}/secrets/my.secret", data="x", headers=signed)
    assert bad.status_code == 400
    assert bad.json["error"] == ["Secret key should contain at most 64 characters from [0-9A-Za-z-_]"]


def test_values_over_4096_bytes_are_refused(client: FlaskClient) -> None:
    large = "é" * 2049
    assert client.post(f"/secrets/web3?secretAddress={DATASET}", data=large.encode()).status_code == 413
    assert client.post(f"/apps/{DATASET}/secrets", data=large.encode()).status_code == 413
    assert client.post(f"/requesters/{OTHER.address}/secrets/k", data=large.encode()).status_code == 400


def test_a_secret_is_never_read_back(client: FlaskClient, vault: Vault) -> None:
    vault.add("web3", DATASET, Secret(VALUE))
    assert client.get(f"/secrets/web3?secretAddress={DATASET}").status_code == 405
    assert VALUE not in repr(vault)
    assert VALUE not in str(vars(vault))

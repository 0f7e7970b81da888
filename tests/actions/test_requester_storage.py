"""Secrets of a requester and tokens of a storage: whose, under which name, and what the service answers."""

from __future__ import annotations

import getpass
from typing import Any

import pytest
from stage import NOBODY, person, wallet

from iexec_nb.client import IExec
from iexec_nb.commands import COMMANDS, parse
from iexec_nb.errors import ConfigurationError, SecretExistsError, SmsCallError, ValidationError
from iexec_nb.protocol.secrets import DROPBOX_TOKEN_NAME, IPFS_TOKEN_NAME
from iexec_nb.protocol.types import Secret
from iexec_nb.sandbox.network import Sandbox

TOKEN = "canary-token-93c1"


@pytest.fixture
def me(net: Sandbox) -> IExec:
    return net.client()


def raw(noun: str, verb: str, value: Any) -> Any:
    made = COMMANDS[noun, verb].raw
    assert made is not None
    return made(value)


@pytest.mark.parity("secrets.pushRequesterSecret", "requester push-secret")
@pytest.mark.parity("secrets.checkRequesterSecretExists", "requester check-secret")
def test_a_requesters_secret_has_a_name_and_is_set_once(net: Sandbox, me: IExec) -> None:
    before = me.requester.check_secret("my-secret_1")
    assert not before
    assert raw("requester", "check-secret", before) == {"isSet": False, "name": "my-secret_1"}
    pushed = me.requester.push_secret("my-secret_1", secret_value=Secret("x"))
    assert raw("requester", "push-secret", pushed) == {"isPushed": True, "name": "my-secret_1"}
    assert me.requester.check_secret("my-secret_1")
    assert net.user.requester.check_secret("my-secret_1", wallet(me).lower()).isSet
    assert not net.user.requester.check_secret("my-secret_1")
    assert not me.requester.check_secret("my-secret_2")
    with person(net, me) as again:
        with pytest.raises(SecretExistsError, match=f'Secret "my-secret_1" already exists for {wallet(me)}') as caught:
            again.client.requester.push_secret("my-secret_1", secret_value=Secret(TOKEN))
        assert TOKEN not in str(caught.value)
        assert not again.web.writes()


def test_two_who_push_the_same_name_at_once_are_told_by_the_service(net: Sandbox, me: IExec) -> None:
    with person(net, me) as late:
        seen: list[str] = []

        def meanwhile(request: Any) -> None:
            if request.method == "POST" and not seen:
                seen.append(request.url.path)
                me.requester.push_secret("race", secret_value=Secret("first"))

        late.web.before = meanwhile
        with pytest.raises(SecretExistsError, match="already exists"):
            late.client.requester.push_secret("race", secret_value=Secret("second"))
        assert seen


@pytest.mark.parametrize("name", ["", "a b", "é", "x" * 65, "a/b", "../x", "a\n", None, 5, ("a",), b"a", "\ud800"])
def test_a_name_that_the_service_does_not_know_is_refused_here(net: Sandbox, me: IExec, name: Any) -> None:
    with person(net, me) as one:
        for verb in (one.client.requester.check_secret, one.client.requester.push_secret):
            with pytest.raises(ValidationError, match="at most 64 characters") as caught:
                verb(name)
            assert caught.value.hint
        assert one.web.requests == []


def test_whose_secret_is_meant_has_to_be_an_address(net: Sandbox) -> None:
    with person(net, net.user, signer=None) as reader:
        assert not reader.client.requester.check_secret("x" * 64, NOBODY)
        for wrong in ("", "0x12", 5, "vitalik.eth"):
            with pytest.raises(ValidationError):
                reader.client.requester.check_secret("a", wrong)  # type: ignore[arg-type]
        with pytest.raises(ConfigurationError, match="not a signer"):
            reader.client.requester.check_secret("a")
        with pytest.raises(ConfigurationError, match="not a signer"):
            reader.client.requester.push_secret("a", secret_value=Secret("x"))
        assert len(reader.web.requests) == 1


@pytest.mark.parity("storage.pushStorageToken", "storage init", "storage.checkStorageTokenExists", "storage check")
def test_a_token_of_dropbox_is_pushed_and_replaced_when_that_is_said(net: Sandbox, me: IExec) -> None:
    assert me.storage.check("dropbox") is False
    pushed = me.storage.init("dropbox", token=Secret(TOKEN))
    assert (pushed.name, pushed.isUpdated) == (DROPBOX_TOKEN_NAME, False)
    assert raw("storage", "init", pushed) == {"isInitialized": True, "isUpdated": False}
    assert me.storage.check("dropbox") is True
    assert raw("storage", "check", net.user.storage.check("dropbox", user=wallet(me))) == {"isInitialized": True}
    assert net.user.storage.check("dropbox", user=NOBODY) is False
    message = "dropbox storage is already initialized, use --force-update option to update your storage token"
    with pytest.raises(SecretExistsError, match=message):
        me.storage.init("dropbox", token=Secret("other"))
    assert token(net, me) == TOKEN
    assert me.storage.init("dropbox", token=Secret("other"), force_update=True).isUpdated is True
    assert token(net, me) == "other"


def token(net: Sandbox, client: IExec, name: str = DROPBOX_TOKEN_NAME) -> str:
    assert net._parts is not None
    found = net._parts.vault.get("web2", wallet(client), name)
    assert found is not None
    return found.reveal()


def test_a_first_token_may_be_pushed_with_force(net: Sandbox, me: IExec) -> None:
    assert me.storage.init("dropbox", token=Secret(TOKEN), force_update=True).isUpdated is False
    assert token(net, me) == TOKEN


def test_a_token_is_asked_for_only_where_it_can_be_pushed(
    net: Sandbox, me: IExec, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompts: list[str] = []

    def ask(prompt: str = "") -> str:
        prompts.append(prompt)
        return TOKEN

    monkeypatch.setattr(getpass, "getpass", ask)
    for provider in ("ipfs", "nowhere"):
        with pytest.raises(ValidationError):
            me.storage.init(provider)
    assert prompts == []
    assert parse(["storage", "init", "dropbox"]).on(me).isPushed
    assert prompts == ["Paste your dropbox token: "]
    with pytest.raises(SecretExistsError):
        me.storage.init("dropbox")
    assert len(prompts) == 1


@pytest.mark.parametrize("verb", ["init", "check"])
def test_storages_without_a_token_are_named_in_the_words_of_the_sdk(net: Sandbox, me: IExec, verb: str) -> None:
    with person(net, me) as one:
        call = getattr(one.client.storage, verb)
        with pytest.raises(ValidationError, match='Storage provider "ipfs" does not support authentication tokens'):
            call("ipfs")
        unknown = "is not a valid storage provider, use one of the supported providers"
        for wrong in ("default", "", "Dropbox", None, 5, ["dropbox"], "\ud800"):
            with pytest.raises(ValidationError, match=unknown) as caught:
                call(wrong)
            assert caught.value.hint
        assert one.web.requests == []


@pytest.mark.parametrize("provider", ["ipfs", "default"])
def test_chains_of_older_sdks_have_a_token_for_ipfs(net: Sandbox, me: IExec, provider: str) -> None:
    me.require_tdx = False
    assert me.storage.check(provider) is False
    assert me.storage.init(provider, token=Secret(TOKEN)).name == IPFS_TOKEN_NAME
    assert me.storage.check(provider) is True
    assert token(net, me, IPFS_TOKEN_NAME) == TOKEN
    with pytest.raises(ValidationError, match="not a valid storage provider"):
        me.storage.check("s3")


def test_a_refused_token_is_not_repeated(net: Sandbox, me: IExec) -> None:
    import httpx

    with person(net, me) as one:
        one.web.before = lambda request: httpx.Response(401) if request.method == "POST" else None
        with pytest.raises(SmsCallError) as caught:
            one.client.storage.init("dropbox", token=Secret(TOKEN))
        assert TOKEN not in str(caught.value)
        for wrong in (TOKEN, b"x", 5):
            with pytest.raises(ValidationError) as refused:
                one.client.storage.init("dropbox", token=wrong)  # type: ignore[arg-type]
            assert TOKEN not in str(refused.value)
    assert me.storage.check("dropbox") is False

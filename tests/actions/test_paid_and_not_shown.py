"""What was paid is named, also where the node that was told of it does not show it: nobody pays again to find it."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from stage import Person, person, wallet

from iexec_nb.actions import run as runs
from iexec_nb.errors import ObjectNotFoundError, Web3ProviderSendError
from iexec_nb.sandbox.network import Sandbox
from iexec_nb.services import abi


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "_LAG_PAUSES_S", (0.0, 0.0))


def behind(me: Person, name: str, times: int, patch: pytest.MonkeyPatch) -> list[str]:
    """Let the node know nothing of deals or datasets for a number of questions after a transaction was sent."""
    chain, asked = me.client.chain, []
    read = getattr(chain, name)

    def late(where: str, *args: Any) -> Any:
        if me.node.sent:
            asked.append(where)
            if len(asked) <= times:
                raise ObjectNotFoundError(name, where, chain.chain_id)
        return read(where, *args)

    patch.setattr(chain, name, late)
    return asked


@pytest.mark.parametrize("key", [None, "paid"])
def test_a_run_whose_deal_is_not_shown_is_an_error_that_names_it(
    net: Sandbox, app: str, key: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    with person(net) as me:
        behind(me, "deal", 1000, monkeypatch)
        with pytest.raises(Web3ProviderSendError, match="the run was paid") as caught:
            me.client.app.run(app, args="x", category=0, idempotency_key=key)
        monkeypatch.undo()
        error = caught.value
        assert me.client.chain.receipt(str(error.tx_hash)) is not None
        dealid = str(error.context["deal"])
        assert error.hint == f"it need not be run again: iexec.deal.attach({dealid!r})"
        assert me.client.deal.attach(dealid).deal.requester == wallet(me.client)
        if key is not None:
            assert me.client.app.run(app, args="x", category=0, idempotency_key=key).dealid == dealid
        assert me.node.sent == 1


@pytest.mark.parametrize("key", [None, "late"])
def test_a_deal_that_is_shown_late_is_waited_for(
    net: Sandbox, app: str, key: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    with person(net) as me:
        asked = behind(me, "deal", 2, monkeypatch)
        run = me.client.app.run(app, args="x", category=0, idempotency_key=key)
        assert run.txHash is not None
        assert asked == [run.dealid] * 3
        assert me.node.sent == 1


def test_ctrl_c_between_the_match_and_its_deal_names_the_deal(
    net: Sandbox, app: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(dealid: str) -> None:
        raise KeyboardInterrupt

    with person(net) as me:
        monkeypatch.setattr(me.client.chain, "deal", stop)
        with pytest.raises(KeyboardInterrupt) as caught:
            me.client.app.run(app, args="x", category=0)
        monkeypatch.undo()
        chain = me.client.chain
        mine = [event["dealid"] for _, event in chain.logs(abi.ORDERS_MATCHED, from_block=0)]
        (dealid,) = [one for one in mine if chain.deal(one).requester == wallet(me.client)]
        assert caught.value.__notes__ == [f"The run was paid. To go on with it: iexec.deal.attach({dealid!r})"]


def test_protected_data_that_is_not_shown_is_an_error_that_says_how_to_go_on(
    net: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    with person(net, net.client(rlc="1 RLC")) as me:
        behind(me, "dataset", 1000, monkeypatch)
        with pytest.raises(Web3ProviderSendError, match="was registered, and the node does not show it") as caught:
            me.client.protected_data.protect({"email": "alice@example.com"}, name="mine")
        monkeypatch.undo()
        error = caught.value
        where = str(error.context["dataset"])
        assert error.tx_hash is not None
        assert error.hint is not None
        assert error.hint.endswith(f"dataset.push_secret({where!r})")
        assert not me.client.sms.has_web3(where)
        assert me.client.dataset.push_secret(where)
        assert me.client.protected_data.open(where)["email"] == "alice@example.com"
        assert me.node.sent == 1


@pytest.mark.parametrize("host", ["a" * 64, "xn--"], ids=["long", "punycode"])
def test_a_scheduler_at_an_address_that_is_none_keeps_no_run_from_its_end(net: Sandbox, app: str, host: str) -> None:
    def named(request: httpx.Request, response: httpx.Response) -> httpx.Response:
        if "compass" not in request.url.host:
            return response
        return httpx.Response(200, json={"apiUrl": f"https://{host}.example"}, request=request)

    def looked_up(request: httpx.Request) -> None:
        if host in request.url.host:
            # What the socket module says of such a name before it asks anybody.
            request.url.host.encode("idna")

    with person(net) as me:
        me.web.change, me.web.before = named, looked_up
        run = me.client.app.run(app, args="x", category=0).wait()
        assert run.status == "completed"
        assert me.web.to("compass")

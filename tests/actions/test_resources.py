"""Apps, datasets, workerpools and categories: deployed, counted, sold, handed on; by arguments and by project files."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from stage import NOBODY, RLC, deploy_app, deploy_dataset, nonce, person, state, wallet

from iexec_nb.actions import preflight
from iexec_nb.client import IExec
from iexec_nb.commands import COMMANDS, parse
from iexec_nb.errors import (
    ConfigurationError,
    IExecError,
    InsufficientFundsError,
    MarketCallError,
    ObjectNotFoundError,
    ValidationError,
)
from iexec_nb.protocol.orders import AppOrder
from iexec_nb.protocol.resources import mrenclave_bytes, mrenclave_framework
from iexec_nb.protocol.types import NULL_ADDRESS, NULL_BYTES32, Secret
from iexec_nb.sandbox.network import Sandbox
from iexec_nb.services import abi

KINDS = ("app", "dataset", "workerpool")
CHECKSUM = "0x" + "5a" * 32
SCONE = {
    "framework": "SCONE", "version": "v5.9", "entrypoint": "python /app/app.py", "heapSize": 1073741824,
    "fingerprint": "2d4b",
}  # fmt: skip


def arguments(kind: str) -> dict[str, str]:
    """What deploying one more of a kind takes."""
    name = f"{kind} {time.time_ns()}"
    return {
        "app": {"name": name, "multiaddr": "docker.io/me/app:1", "checksum": CHECKSUM},
        "dataset": {"name": name, "multiaddr": "https://data.test/x", "checksum": CHECKSUM},
        "workerpool": {"description": name},
    }[kind]


def raw(noun: str, verb: str, value: Any) -> Any:
    """What the shell's ``--raw`` is made of."""
    made = COMMANDS[noun, verb].raw
    assert made is not None
    return made(value)


@pytest.fixture(scope="module")
def owner(net: Sandbox) -> IExec:
    return net.client(deposit="1 RLC")


@pytest.fixture(scope="module", params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def sold(owner: IExec, kind: str) -> str:
    """Something of each kind, of `owner`."""
    return str(getattr(owner, kind).deploy(**arguments(kind)).address)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def project(folder: Path, **members: Any) -> None:
    (folder / "iexec.json").write_text(json.dumps({"description": "mine", **members, "unknown": [1]}, indent=2))


def entry(me: IExec, kind: str, **changes: Any) -> dict[str, Any]:
    """An entry of ``iexec.json``."""
    own = {"type": "DOCKER"} if kind == "app" else {}
    return {"owner": wallet(me), **own, **arguments(kind), **changes}


# What is there.


@pytest.mark.parity("app.predictAppAddress", "dataset.predictDatasetAddress", "workerpool.predictWorkerpoolAddress")
@pytest.mark.parity("app.checkDeployedApp", "dataset.checkDeployedDataset", "workerpool.checkDeployedWorkerpool")
@pytest.mark.parity("app.countUserApps", "dataset.countUserDatasets", "workerpool.countUserWorkerpools")
@pytest.mark.parity("app.deployApp", "dataset.deployDataset", "workerpool.deployWorkerpool")
@pytest.mark.parity("app.showUserApp", "dataset.showUserDataset", "workerpool.showUserWorkerpool")
@pytest.mark.parity("app count", "dataset count", "workerpool count")
def test_an_address_is_known_before_it_is_deployed_and_counted_after(net: Sandbox, kind: str) -> None:
    me = net.client()
    noun, given = getattr(me, kind), arguments(kind)
    predicted = noun.predict_address(**given)
    assert noun.check_deployed(predicted) is False
    assert noun.count() == 0
    made = noun.deploy(**given)
    assert made.address == predicted == noun.predict_address(**given, owner=wallet(me).lower())
    assert noun.predict_address(**given, owner=NOBODY) != predicted
    assert noun.check_deployed(predicted.lower()) is True
    assert noun.count() == getattr(net.user, kind).count(user=wallet(me)) == 1
    assert noun.show(0).address == noun.show("0").address == predicted
    assert raw(kind, "deploy", made) == {"address": predicted, "txHash": made.txHash}


def test_predicting_needs_a_wallet_only_where_no_owner_is_given(net: Sandbox, kind: str) -> None:
    with person(net, net.user, signer=None) as me:
        noun, given = getattr(me.client, kind), arguments(kind)
        assert noun.predict_address(**given, owner=NOBODY).startswith("0x")
        with pytest.raises(ConfigurationError, match="not a signer"):
            noun.predict_address(**given)
        for reading in (noun.count, lambda: noun.show(0)):
            with pytest.raises(ConfigurationError, match="Missing option --user <address> or wallet"):
                reading()


@pytest.mark.parity("app show", "app.showApp")
@pytest.mark.parity("dataset show", "dataset.showDataset")
@pytest.mark.parity("workerpool show", "workerpool.showWorkerpool")
def test_what_is_shown_has_the_members_of_the_cli(owner: IExec, kind: str, sold: str) -> None:
    members = {
        "app": {"registry", "owner", "appName", "appType", "appMultiaddr", "appChecksum", "appMREnclave"},
        "dataset": {"registry", "owner", "datasetName", "datasetMultiaddr", "datasetChecksum"},
        "workerpool": {
            "registry", "owner", "workerpoolDescription", "workerStakeRatioPolicy", "schedulerRewardRatioPolicy",
        },
    }  # fmt: skip
    shown = raw(kind, "show", getattr(owner, kind).show(sold))
    assert shown["address"] == sold
    assert set(shown[kind]) == members[kind]
    assert shown[kind]["owner"] == wallet(owner)


@pytest.mark.parity("workerpool.getWorkerpoolApiUrl")
def test_a_workerpool_says_where_its_scheduler_answers(net: Sandbox, owner: IExec) -> None:
    known = net.workerpools[0]
    url = owner.workerpool.get_api_url(known)
    assert url is not None
    assert url.startswith("http")
    assert (
        owner.workerpool.show(known).apiUrl == url == raw("workerpool", "show", owner.workerpool.show(known))["apiUrl"]
    )
    silent = owner.workerpool.deploy(description=f"silent {time.time_ns()}").address
    assert owner.workerpool.get_api_url(silent) is None
    assert owner.workerpool.show(silent).apiUrl is None


def test_a_workerpool_is_shown_although_compass_is_broken(net: Sandbox, owner: IExec) -> None:
    import httpx

    with person(net, owner) as me:
        me.web.before = lambda request: httpx.Response(500) if request.url.host.startswith("compass") else None
        assert me.client.workerpool.show(net.workerpools[0]).apiUrl is None
        with pytest.raises(IExecError, match="Compass"):
            me.client.workerpool.get_api_url(net.workerpools[0])


# Measurements of enclaves, in the forms of every SDK.


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("", b""),
        ("any text é", "any text é".encode()),
        (b"\x00\xff", b"\x00\xff"),
        (
            {"provider": "SCONE", "version": "v5", "entrypoint": "python", "heapSize": 1073741824, "fingerprint": "ec"},
            b'{"provider":"SCONE","version":"v5","entrypoint":"python","heapSize":1073741824,"fingerprint":"ec"}',
        ),
        (
            {"framework": "GRAMINE", "version": "v0", "fingerprint": "c8"},
            b'{"framework":"GRAMINE","version":"v0","fingerprint":"c8"}',
        ),
        (SCONE, json.dumps(SCONE, separators=(",", ":")).encode()),
    ],
)
def test_a_measurement_is_kept_as_each_sdk_writes_it(given: Any, kept: bytes) -> None:
    assert mrenclave_bytes(given) == kept


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (5, "mrenclave is not a valid mrenclave"),
        (None, "mrenclave is not a valid mrenclave"),
        ("\ud800", "mrenclave is not a valid mrenclave"),
        ({}, "framework is not a valid TEE framework"),
        ({**SCONE, "framework": "SGX"}, "framework is not a valid TEE framework"),
        ({**SCONE, "more": 1}, 'Unknown key "more" in mrenclave'),
        ({**SCONE, "framework": "gramine"}, 'Unknown key "entrypoint" in mrenclave'),
        ({**SCONE, "provider": "SCONE"}, 'Unknown key "provider" in mrenclave'),
        ({**SCONE, "heapSize": -1}, "not a valid uint256"),
        ({**SCONE, "version": 5}, "version must be a `string` type"),
        ({"provider": "SCONE", "version": "v5", "fingerprint": "ec"}, "entrypoint is a required field"),
        ({"framework": "tdx", "version": ""}, "version is a required field"),
    ],
)
def test_a_measurement_that_is_none_is_refused(given: Any, said: str) -> None:
    with pytest.raises(ValidationError, match=said) as caught:
        mrenclave_bytes(given)
    assert caught.value.hint


def test_the_framework_of_an_app_follows_from_its_measurement() -> None:
    assert mrenclave_framework("") == "tdx"
    assert mrenclave_framework(json.dumps(SCONE)) == "scone"
    for unclear in ("x", "{}", "[]", '{"provider": "SCONE"}', '{"framework": 1}', "[" * 10_000):
        assert mrenclave_framework(unclear) is None


def test_an_app_with_a_measurement_is_shown_with_it(net: Sandbox, owner: IExec) -> None:
    made = owner.app.deploy(**arguments("app"), mrenclave=SCONE)
    assert json.loads(owner.app.show(made.address).appMREnclave) == SCONE
    with pytest.raises(ValidationError, match="has an MREnclave, which is no longer supported"):
        owner.app.publish(made.address)
    old = net.client(signer=owner.signer)
    old.require_tdx = False
    with pytest.raises(ValidationError, match="Tag mismatch the TEE framework specified by app") as caught:
        old.app.publish(made.address, tag="tee,tdx")
    assert "scone" in str(caught.value.hint)
    preflight.check_order(old, AppOrder(app=made.address, tag="tee,scone"))


# Handing on.


@pytest.mark.parity("app.transferApp", "dataset.transferDataset", "workerpool.transferWorkerpool")
@pytest.mark.parity("app transfer", "dataset transfer", "workerpool transfer")
def test_what_is_transferred_belongs_to_the_other_and_is_sold_by_the_other(net: Sandbox, kind: str) -> None:
    giver, taker = net.client(), net.client(deposit="1 RLC")
    where = getattr(giver, kind).deploy(**arguments(kind)).address
    with person(net, giver) as me:
        noun = getattr(me.client, kind)
        given = noun.transfer(where.lower(), to=wallet(taker).lower())
        assert (given.address, given.to) == (where, wallet(taker))
        assert len(me.asked) == 1
        assert where in me.asked[0]
        assert wallet(taker) in me.asked[0]
        assert noun.show(where).owner == wallet(taker)
        with pytest.raises(ValidationError, match="must be the resource owner"):
            noun.publish(where, skip_preflight_check=True) if kind != "workerpool" else noun.publish(where)
    seller = getattr(taker, kind)
    assert seller.publish(where, skip_preflight_check=True) if kind != "workerpool" else seller.publish(where)


def test_only_the_owner_hands_on_and_never_to_nobody(net: Sandbox, owner: IExec, kind: str, sold: str) -> None:
    with person(net, net.client()) as me:
        noun = getattr(me.client, kind)
        before = state(net, me.client)
        with pytest.raises(ValidationError, match=f"Only {kind} owner can transfer {kind} ownership") as caught:
            noun.transfer(sold, to=NOBODY)
        assert wallet(owner) in str(caught.value)
        with pytest.raises(ValidationError, match=f"Invalid {kind} address"):
            noun.transfer(NOBODY, to=NOBODY)
        for wrong in (NULL_ADDRESS, "", "0x12", None, 5, "vitalik.eth"):
            with pytest.raises(ValidationError):
                noun.transfer(sold, to=wrong)
        for wrong in ("", None, 5, 0):
            with pytest.raises(ValidationError):
                noun.transfer(wrong, to=NOBODY)
        assert not me.asked
        assert state(net, me.client) == before


def test_a_transfer_that_is_not_approved_does_not_happen(net: Sandbox, owner: IExec, kind: str, sold: str) -> None:
    with person(net, owner) as me:
        me.answer = False
        with pytest.raises(ConfigurationError, match="aborted"):
            getattr(me.client, kind).transfer(sold, to=NOBODY)
        assert me.node.sent == 0
        assert getattr(me.client, kind).show(sold).owner == wallet(owner)


# Selling.


@pytest.mark.parity("app publish", "dataset publish", "workerpool publish")
def test_publishing_asks_once_and_lists_an_order_with_the_defaults_of_the_cli(
    net: Sandbox, owner: IExec, kind: str, sold: str
) -> None:
    with person(net, owner) as me:
        skip = {} if kind == "workerpool" else {"skip_preflight_check": True}
        name = getattr(me.client, kind).publish(sold, price="0.25 RLC", requesterrestrict=NOBODY, **skip)
        assert len(me.asked) == 1
        assert "0.25 RLC" in me.asked[0]
        assert NOBODY in me.asked[0]
    listed = net.user.order.show(kind, name)
    order: Any = listed.order
    assert order.price == RLC // 4
    assert order.volume == (1 if kind == "workerpool" else 1_000_000)
    assert order.requesterrestrict.lower() == NOBODY
    assert order.resource == sold
    assert getattr(order, "category", 0) == 0
    assert raw(kind, "publish", name) == {"orderHash": name}


@pytest.mark.parity("app unpublish", "dataset unpublish", "workerpool unpublish")
def test_the_last_order_or_all_are_taken_off_the_market(net: Sandbox, owner: IExec, kind: str) -> None:
    where = getattr(owner, kind).deploy(**arguments(kind)).address
    noun = getattr(owner, kind)
    skip = {} if kind == "workerpool" else {"skip_preflight_check": True}
    names = [noun.publish(where, price=price, **skip) for price in (1, 2, 3)]
    gone = noun.unpublish(where)
    assert gone == names[-1]
    assert raw(kind, "unpublish", gone) == {"unpublished": gone}
    assert set(noun.unpublish(where, all=True)) == set(names[:2])
    for name in names:
        with pytest.raises(MarketCallError):
            net.user.order.show(kind, name)
    with pytest.raises(MarketCallError):
        noun.unpublish(where)


def test_a_dataset_without_its_key_in_the_secret_service_is_not_offered(net: Sandbox, owner: IExec) -> None:
    bare = deploy_dataset(net, owner, secret=False)
    with person(net, owner) as me:
        with pytest.raises(ValidationError, match="Dataset encryption key is not set"):
            me.client.dataset.publish(bare, price=5)
        assert not me.asked
        assert not me.web.writes()
    owner.dataset.push_secret(bare)
    assert owner.dataset.publish(bare, price=5).startswith("0x")


@pytest.mark.parametrize(
    "wrong",
    [{"price": "1 rlc"}, {"price": -1}, {"price": 0.1}, {"volume": 0.5}, {"tag": "sgx"},
     {"requesterrestrict": "me"}],
    ids=str,
)  # fmt: skip
def test_an_offer_with_a_wrong_term_is_refused_before_it_is_signed(
    net: Sandbox, owner: IExec, kind: str, sold: str, wrong: dict[str, Any]
) -> None:
    with person(net, owner) as me:
        with pytest.raises(ValidationError) as caught:
            getattr(me.client, kind).publish(sold, **wrong)
        assert caught.value.hint
        assert not me.asked
        assert not me.web.writes()


@pytest.mark.parametrize("noun", ["app", "workerpool"])
def test_the_tag_of_hardware_names_its_framework(net: Sandbox, owner: IExec, noun: str) -> None:
    where = getattr(owner, noun).deploy(**arguments(noun)).address
    with person(net, owner) as me:
        with pytest.raises(ValidationError, match="'tee' tag must be used with a tee framework"):
            getattr(me.client, noun).publish(where, tag="tee")
        assert not me.asked


# The project files.


@pytest.mark.parity("app deploy", "dataset deploy", "workerpool deploy")
def test_a_folder_says_what_is_deployed_shown_and_sold(net: Sandbox, folder: Path, kind: str) -> None:
    me = net.client(deposit="1 RLC")
    project(folder, **{kind: entry(me, kind)})
    noun = getattr(me, kind)
    predicted = noun.predict_address()
    made = parse([kind, "deploy"]).on(me)
    assert made.address == predicted
    kept = json.loads((folder / "deployed.json").read_text())
    assert kept == {kind: {str(net.chain_id): made.address}}
    assert noun.show().address == made.address
    assert noun.check_deployed() is True
    if kind == "workerpool":
        assert noun.get_api_url() is None
        name = noun.publish(price=1)
    else:
        assert noun.check_secret() is False
        name = noun.publish(price=1, skip_preflight_check=True)
    assert noun.unpublish() == name
    assert json.loads((folder / "iexec.json").read_text())["unknown"] == [1]
    with pytest.raises(ValidationError, match="already deployed"):
        noun.deploy()


def test_a_new_deployment_keeps_what_deployed_json_has_of_other_chains(net: Sandbox, folder: Path) -> None:
    me = net.client()
    project(folder, app=entry(me, "app"))
    old = {"dataset": {"1": NOBODY}, "app": {"42161": NOBODY, str(net.chain_id): NOBODY}}
    (folder / "deployed.json").write_text(json.dumps(old))
    made = me.app.deploy()
    kept = json.loads((folder / "deployed.json").read_text())
    assert kept["dataset"] == {"1": NOBODY}
    assert kept["app"] == {"42161": NOBODY, str(net.chain_id): made.address}


def test_deploying_by_arguments_leaves_the_folder_alone(net: Sandbox, folder: Path, kind: str) -> None:
    me = net.client()
    project(folder)
    before = sorted(path.name for path in folder.iterdir())
    getattr(me, kind).deploy(**arguments(kind))
    assert sorted(path.name for path in folder.iterdir()) == before


def test_without_a_project_the_verbs_say_what_is_missing(net: Sandbox, folder: Path, kind: str) -> None:
    with person(net, net.user) as me:
        noun = getattr(me.client, kind)
        with pytest.raises(ConfigurationError, match=r'Missing "iexec.json" file, did you forget to run "iexec init"'):
            noun.deploy()
        missing = f'Missing {kind}Address and no {kind} found in "deployed.json" for chain {net.chain_id}'
        verbs = ["show", "check_deployed", "publish", "unpublish"]
        verbs += ["get_api_url"] if kind == "workerpool" else ["check_secret", "push_secret"]
        for verb in verbs:
            with pytest.raises(ConfigurationError, match=missing):
                getattr(noun, verb)()
        project(folder)
        with pytest.raises(
            ConfigurationError, match=f'Missing {kind} in "iexec.json". Did you forget to run "iexec {kind}'
        ):
            noun.deploy()
        assert not me.touched
    assert [path.name for path in folder.iterdir()] == ["iexec.json"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"owner": None}, "owner is a required field"),
        ({"owner": NULL_ADDRESS}, "cannot own"),
        ({"owner": "me"}, "not a valid ethereum address"),
        ({"name": ""}, "name is a required field"),
        ({"name": ["x"]}, "not a valid name"),
        ({"type": "VM"}, "VM is not a valid type"),
        ({"multiaddr": 5}, "not a valid multiaddr"),
        ({"checksum": None}, "checksum is a required field"),
        ({"checksum": "0x12"}, "not a bytes32"),
        ({"mrenclave": {"framework": "x"}}, "not a valid TEE framework"),
    ],
    ids=str,
)
def test_a_wrong_entry_names_the_file_and_nothing_is_sent(
    net: Sandbox, folder: Path, changes: dict[str, Any], said: str
) -> None:
    with person(net, net.user) as me:
        project(folder, app=entry(net.user, "app", **changes))
        with pytest.raises(ValidationError, match=said) as caught:
            me.client.app.deploy()
        assert caught.value.context["file"] == "iexec.json"
        assert caught.value.context["key"] == f"app.{next(iter(changes))}"
        assert not me.asked
        assert me.node.sent == 0


def test_a_broken_deployed_json_is_found_before_a_deployment_is_paid_for(net: Sandbox, folder: Path) -> None:
    with person(net, net.user) as me:
        project(folder, app=entry(net.user, "app"))
        (folder / "deployed.json").write_text('{"app": {')
        with pytest.raises(ValidationError, match=r"deployed\.json"):
            me.client.app.deploy()
        assert not me.asked
        assert me.node.sent == 0
        assert (folder / "deployed.json").read_text() == '{"app": {'


def test_an_address_is_not_lost_when_the_folder_cannot_be_written(
    net: Sandbox, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from iexec_nb.services.project import Project

    def full(*args: object) -> None:
        raise ConfigurationError('"deployed.json" cannot be written: No space left on device')

    me = net.client()
    project(folder, app=entry(me, "app"))
    predicted = me.app.predict_address()
    monkeypatch.setattr(Project, "set_deployed", full)
    with pytest.raises(ConfigurationError) as caught:
        me.app.deploy()
    assert caught.value.context["deployed"] == predicted
    assert me.app.check_deployed(predicted)


# Running.


@pytest.mark.parity("app run")
def test_a_run_takes_app_dataset_and_workerpool_from_deployed_json(
    net: Sandbox, seller: IExec, buyer: IExec, folder: Path
) -> None:
    app = deploy_app(net, seller, price=1)
    dataset = deploy_dataset(net, seller, price=2)
    with pytest.raises(ConfigurationError, match="Missing appAddress and no app found"):
        buyer.app.run()
    pool = net.workerpools[0]
    for kind, given in (("dataset", {"dataset": "deployed"}), ("workerpool", {"workerpool": "deployed"})):
        with pytest.raises(ConfigurationError, match=f'No {kind} found in "deployed.json" for chain {net.chain_id}'):
            buyer.app.run(app, **given)  # type: ignore[arg-type]
    here = str(net.chain_id)
    (folder / "deployed.json").write_text(
        json.dumps({"app": {here: app}, "dataset": {here: dataset}, "workerpool": {here: pool}})
    )
    run = parse(["app", "run", "--dataset", "deployed", "--workerpool", "deployed", "--args", "x", "--watch"]).on(buyer)
    assert (run.deal.app.pointer, run.deal.dataset.pointer, run.deal.workerpool.pointer) == (app, dataset, pool)
    members = raw("app", "run", run)
    [task] = members.pop("tasks")
    assert (task["taskid"], task["statusName"]) == (run.taskids[0], "COMPLETED")
    assert members == {"deals": [{"dealid": run.dealid, "volume": 1, "txHash": run.txHash}]}
    assert buyer.chain.find_event(buyer.chain.wait(run.txHash), abi.ORDERS_MATCHED)["dealid"] == run.dealid  # type: ignore[index]


@pytest.mark.parity("app request-execution")
def test_a_request_is_put_on_the_market_with_the_most_that_is_paid(
    net: Sandbox, seller: IExec, buyer: IExec, app: str
) -> None:
    dataset = deploy_dataset(net, seller, price=5)
    with person(net, buyer) as me:
        line = ["app", "request-execution", app, "--dataset", dataset, "--app-price", "0.1", "RLC"]
        line += ["--dataset-price", "5", "--workerpool-price", "0.2 RLC", "--volume", "3", "--category", "2"]
        name = parse([*line, "--args", "hello", "--trust", "1", "--beneficiary", NOBODY]).on(me.client)
        assert len(me.asked) == 1
        assert "0.900000015 RLC" in me.asked[0]
        assert me.node.sent == 0
    order: Any = net.user.order.show("request", name).order
    assert (order.app, order.appmaxprice, order.dataset, order.datasetmaxprice) == (app, RLC // 10, dataset, 5)
    assert (order.workerpool, order.workerpoolmaxprice, order.volume) == (NULL_ADDRESS, RLC // 5, 3)
    assert (order.category, order.trust, order.requester) == (2, 1, wallet(buyer))
    assert order.beneficiary.lower() == NOBODY
    assert json.loads(order.params) == {"iexec_result_storage_provider": "ipfs", "iexec_args": "hello"}
    assert raw("app", "request-execution", name) == {"orderHash": name}


def test_a_request_that_cannot_be_paid_or_filled_is_not_signed(net: Sandbox, app: str) -> None:
    poor = net.client(deposit="1 RLC")
    with person(net, poor) as me:
        request = me.client.app.request_execution
        with pytest.raises(
            InsufficientFundsError, match=r"Not enough RLC on your account \(2 RLC required\)"
        ) as caught:
            request(app, workerpool_price="1 RLC", volume=2)
        assert 'deposit("1 RLC")' in str(caught.value.hint)
        for where in ({"dataset": NOBODY}, {"workerpool": NOBODY}, {"category": 99}):
            with pytest.raises(ObjectNotFoundError):
                request(app, **where)
        with pytest.raises(ObjectNotFoundError):
            request(NOBODY)
        for wrong in ({"volume": 0}, {"volume": "x"}, {"app_price": 0.5}, {"category": -1}, {"secrets": ["1"]}):
            with pytest.raises(ValidationError):
                request(app, **wrong)
        with pytest.raises(ValidationError, match='Requester secret "nope" is not set'):
            request(app, secrets={1: "nope"})
        with pytest.raises(ValidationError, match="result encryption key is not set"):
            request(app, encrypt_result=True)
        assert not me.asked
        assert not me.touched
        assert request(app, app_price="0.1 RLC", encrypt_result=True, skip_preflight_check=True).startswith("0x")


def test_a_price_for_no_dataset_is_not_part_of_the_request(net: Sandbox, buyer: IExec, app: str) -> None:
    name = buyer.app.request_execution(app, app_price="0.1 RLC", dataset_price="100000 RLC")
    order: Any = net.user.order.show("request", name).order
    assert order.datasetmaxprice == 0


# Categories.


@pytest.fixture(scope="module")
def hub() -> Iterator[tuple[Sandbox, IExec]]:
    """A sandbox of its own, whose hub belongs to a client."""
    with Sandbox() as own:
        client = own.client()
        chain = client.chain
        owner = chain.owners([chain.hub_address])[chain.hub_address]
        data = abi.Function("transferOwnership(address)").encode(wallet(client))
        call = {"from": owner, "to": chain.hub_address, "data": "0x" + data.hex()}
        chain.rpc.call("anvil_impersonateAccount", owner)
        chain.wait(chain.rpc.call("eth_sendTransaction", call))
        yield own, client


def test_what_a_deployment_and_a_transfer_cost_at_most_is_shown_first(net: Sandbox) -> None:
    with person(net, net.client()) as me:
        made = me.client.workerpool.deploy(description="priced")
        me.client.workerpool.transfer(made.address, to=NOBODY)
        assert [re.findall(r"fee: at most \S+ ether\n", text) != [] for text in me.asked] == [True, True]


@pytest.mark.parity("hub.createCategory", "category create")
@pytest.mark.parity("hub.countCategory", "category count")
@pytest.mark.parity("hub.showCategory", "category show")
@pytest.mark.parity("hub.getTimeoutRatio")
def test_the_owner_of_the_hub_makes_a_category_by_arguments_and_from_the_folder(
    hub: tuple[Sandbox, IExec], folder: Path
) -> None:
    net, me = hub
    count = me.category.count()
    made = me.category.create(name="XXL", description="days", workClockTimeRef="86400")
    assert made.catid == count
    shown = net.user.category.show(made.catid)
    assert (shown.name, shown.description, shown.workClockTimeRef) == ("XXL", "days", 86400)
    assert raw("category", "show", shown) == {
        "index": made.catid, "category": {"name": "XXL", "description": "days", "workClockTimeRef": 86400},
    }  # fmt: skip
    project(folder, category={"name": "S", "description": "s", "workClockTimeRef": "100"})
    assert parse(["category", "create"]).on(me).catid == count + 1 == me.category.count() - 1
    table = me.category.list()
    assert table.catid.tolist() == list(range(count + 2))
    assert table.workClockTimeRef.iloc[-1] == 100
    assert table.name.iloc[-2:].tolist() == ["XXL", "S"]
    assert raw("category", "list", table)["categories"][-1] == {
        "catid": count + 1, "name": "S", "description": "s", "workClockTimeRef": 100,
    }  # fmt: skip
    assert me.category.timeout_ratio() == 10


def test_nobody_else_makes_a_category(hub: tuple[Sandbox, IExec], folder: Path) -> None:
    net, me = hub
    other = net.client()
    before = (nonce(other), me.category.count())
    with pytest.raises(ValidationError, match=f"only category owner {wallet(me)} can create new categories"):
        other.category.create(name="a", description="b", workClockTimeRef=1)
    for wrong in (
        {"name": "", "description": "b", "workClockTimeRef": 1}, {"name": "a", "description": "b"},
        {"name": "a", "description": "b", "workClockTimeRef": -1}, {"workClockTimeRef": 1.5},
    ):  # fmt: skip
        with pytest.raises(ValidationError):
            me.category.create(**wrong)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match=r"iexec\.json"):
        me.category.create()
    project(folder, category={"name": "a", "description": "b", "workClockTimeRef": "soon"})
    with pytest.raises(ValidationError, match="soon is not a valid uint256") as caught:
        me.category.create()
    assert caught.value.context["file"] == "iexec.json"
    assert (nonce(other), me.category.count()) == before


def test_nothing_of_the_registry_can_be_asked_with_a_secret_in_the_answer(owner: IExec, sold: str, kind: str) -> None:
    with pytest.raises(ValidationError) as caught:
        getattr(owner, kind).show(Secret("hidden"))
    assert "hidden" not in str(caught.value)
    assert NULL_BYTES32 not in str(caught.value)

"""Orders of a project's folder: templates of iexec.json are signed into orders.json, published, filled and ended."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from stage import NOBODY, Four, deploy_app, person, wallet

from iexec_nb.client import IExec
from iexec_nb.commands import COMMANDS, parse
from iexec_nb.errors import (
    ConfigurationError,
    MarketCallError,
    OrderConsumedError,
    OrderMismatchError,
    ValidationError,
    Web3ProviderSendError,
)
from iexec_nb.protocol import tags
from iexec_nb.protocol.orders import ORDERS
from iexec_nb.sandbox.network import Sandbox
from iexec_nb.services.project import Project

KINDS = ("app", "dataset", "workerpool", "request")


class Folder:
    """A project's folder whose owner has an app, a dataset, a workerpool and money."""

    def __init__(self, net: Sandbox, path: Path) -> None:
        self.path = path
        self.net = net
        self.four = Four(net)
        self.owner = f = net.client(deposit="20 RLC")
        self.where = {
            "app": deploy_app(net, f),
            "dataset": f.dataset.deploy(
                name=f"project {time.time_ns()}", multiaddr="https://project.example/d", checksum="0x" + "11" * 32
            ).address,
            "workerpool": f.workerpool.deploy(description=f"project {time.time_ns()}").address,
        }
        self.templates: dict[str, dict[str, Any]] = {
            "apporder": {"app": self.where["app"], "appprice": "1", "volume": "10", "tag": [], **_limits("app")},
            "datasetorder": {
                "dataset": self.where["dataset"], "datasetprice": "2", "volume": "10", "tag": [], **_limits("dataset"),
            },
            "workerpoolorder": {
                "workerpool": self.where["workerpool"], "workerpoolprice": "3", "volume": "5", "tag": ["tee", "tdx"],
                "category": "0", "trust": "0", **_limits("workerpool"),
            },
            "requestorder": {
                "app": self.where["app"], "appmaxprice": "0.000000001 RLC", "dataset": "0x" + "0" * 40,
                "datasetmaxprice": "0", "workerpool": self.where["workerpool"], "workerpoolmaxprice": 3, "volume": 1,
                "category": "0", "trust": "0", "tag": "tee,tdx", "beneficiary": wallet(f), "callback": "0x" + "0" * 40,
                "params": {"iexec_args": "hello", "unknown": "dropped"}, "requester": wallet(f),
            },
        }  # fmt: skip
        self.write("iexec.json", {"description": "mine", "order": self.templates, "buyConf": {}})

    def write(self, name: str, content: Any) -> None:
        text = content if isinstance(content, str) else json.dumps(content, indent=2)
        (self.path / name).write_text(text, encoding="utf-8")

    def read(self, name: str) -> Any:
        return json.loads((self.path / name).read_text(encoding="utf-8"))

    def signed(self, kind: str) -> Any:
        return self.read("orders.json")[str(self.net.chain_id)][f"{kind}order"]

    def person(self) -> Any:
        return person(self.net, self.owner)


def _limits(kind: str) -> dict[str, str]:
    return {name: "0x" + "0" * 40 for name in ORDERS[kind].FIELDS if name.endswith("restrict")}


@pytest.fixture
def folder(net: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Folder:
    monkeypatch.chdir(tmp_path)
    return Folder(net, tmp_path)


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def command(client: IExec, line: str) -> Any:
    return parse(line.split()).on(client)


def raw(line: str, value: Any) -> Any:
    noun, verb, *_ = line.split()
    member = COMMANDS[noun, verb].raw
    assert member is not None
    return json.loads(json.dumps(member(value)))


# Sign.


@pytest.mark.parity(
    "order sign", "order.signApporder", "order.signDatasetorder", "order.signWorkerpoolorder", "order.signRequestorder"
)
def test_all_templates_are_signed_and_saved_after_one_question_that_shows_them(folder: Folder) -> None:
    with folder.person() as me:
        signed = command(me.client, "order sign --skip-preflight-check")
        [text] = me.asked
        assert not me.touched
    for words in (*folder.where.values(), "0.000000003 RLC", "hello", "5 tasks", "tee, tdx"):
        assert words in text
    assert list(signed) == [f"{kind}order" for kind in KINDS]
    for kind in KINDS:
        order = signed[f"{kind}order"]
        assert folder.signed(kind) == order.to_json()
        assert order.is_signed
        # An old template has no tags; the live network needs them.
        assert order.tag == tags.TEE_TDX
    assert raw("order sign", signed) == folder.read("orders.json")[str(folder.net.chain_id)]
    request = signed["requestorder"]
    assert (request.appmaxprice, request.workerpoolmaxprice, request.volume) == (1, 3, 1)
    assert json.loads(request.params) == {"iexec_result_storage_provider": "ipfs", "iexec_args": "hello"}
    content = folder.read("iexec.json")
    assert content == {"description": "mine", "order": folder.templates, "buyConf": {}}


def test_only_the_named_templates_are_signed_and_the_others_stay_in_the_file(folder: Folder) -> None:
    other = {"apporder": {"app": "of another chain"}}
    folder.write("orders.json", {"1": other})
    first = folder.owner.order.sign(app=True)
    folder.owner.order.sign(workerpool=True)
    assert list(first) == ["apporder"]
    saved = folder.read("orders.json")
    assert saved["1"] == other
    assert list(saved[str(folder.net.chain_id)]) == ["apporder", "workerpoolorder"]
    assert saved[str(folder.net.chain_id)]["apporder"] == first["apporder"].to_json()


def test_what_can_be_signed_is_signed_and_the_rest_is_named(folder: Folder) -> None:
    del folder.templates["workerpoolorder"]
    folder.templates["apporder"]["app"] = folder.four.app
    folder.write("iexec.json", {"order": folder.templates})
    with folder.person() as me:
        signed = command(me.client, "order sign")
        [text] = me.asked
    assert list(signed) == ["requestorder", "fail"]
    lines = "\n".join(signed["fail"])
    assert "apporder: Invalid order signer, must be the resource owner" in lines
    assert "datasetorder: Dataset requirements check failed: Dataset encryption key is not set" in lines
    assert 'workerpoolorder: Missing workerpoolorder. You probably forgot to run "iexec order init' in lines
    for line in signed["fail"]:
        assert f"not {line}" in text
    assert list(folder.read("orders.json")[str(folder.net.chain_id)]) == ["requestorder"]
    body = raw("order sign", signed)
    assert body["fail"] == list(signed["fail"])
    assert body["requestorder"] == folder.signed("request")


def test_nothing_is_saved_when_the_answer_is_no_or_everything_fails(folder: Folder) -> None:
    with folder.person() as me:
        me.answer = False
        with pytest.raises(ConfigurationError, match="aborted"):
            me.client.order.sign(app=True)
        folder.templates["apporder"]["app"] = folder.templates["requestorder"]["app"] = NOBODY
        folder.write("iexec.json", {"order": folder.templates})
        with pytest.raises(ValidationError, match=r"Failed to sign: apporder: No app .*; requestorder: No app "):
            me.client.order.sign(app=True, request=True)
        assert len(me.asked) == 1
    assert not (folder.path / "orders.json").exists()


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("appprice", "a lot", "a lot is not a valid amount"),
        ("appprice", 1.5, "1.5"),
        ("volume", {}, "{} is not a valid uint256"),
        ("tag", ["tea"], "tea is not a valid tag"),
        ("tag", 1.5, "1.5 is not a valid tag"),
        ("requesterrestrict", "me", "me is not a valid ethereum address"),
        ("app", ["x"], "is not a valid ethereum address"),
    ],
)
def test_a_wrong_value_in_a_template_is_found_with_file_line_and_key(
    folder: Folder, key: str, value: Any, words: str
) -> None:
    folder.templates["apporder"][key] = value
    folder.write("iexec.json", {"order": folder.templates})
    text = (folder.path / "iexec.json").read_text(encoding="utf-8")
    line = next(n for n, one in enumerate(text.splitlines(), 1) if one.strip().startswith(f'"{key}"'))
    with pytest.raises(ValidationError) as caught:
        folder.owner.order.sign(app=True)
    assert words in caught.value.message
    assert caught.value.context["file"] == "iexec.json"
    assert caught.value.context["line"] == line
    assert caught.value.context["key"] == f"order.apporder.{key}"


@pytest.mark.parametrize("content", ['{"order": {"apporder": {', "[]", '{"order": 5}', '{"order": {"apporder": "x"}}'])
def test_a_broken_file_is_named_and_left_as_it_is(folder: Folder, content: str) -> None:
    folder.write("iexec.json", content)
    with pytest.raises(ValidationError, match=r"iexec\.json"):
        folder.owner.order.sign(app=True)
    assert (folder.path / "iexec.json").read_text(encoding="utf-8") == content
    assert not (folder.path / "orders.json").exists()


def test_a_broken_orders_file_keeps_everything_from_happening(folder: Folder) -> None:
    folder.write("orders.json", '{"134134": ')
    for verb in ("publish", "cancel", "unpublish", "show", "explain"):
        with pytest.raises(ValidationError, match=r"orders\.json"):
            getattr(folder.owner.order, verb)(app=True)
    for verb in ("sign", "presign"):
        with folder.person() as me:
            with pytest.raises(ValidationError, match=r"orders\.json"):
                getattr(me.client.order, verb)(app=True)
            assert not me.asked
            assert not me.touched
    assert (folder.path / "orders.json").read_text(encoding="utf-8") == '{"134134": '


def test_a_wrong_value_in_a_signed_order_is_found_with_file_line_and_key(folder: Folder) -> None:
    folder.owner.order.sign(app=True)
    orders = folder.read("orders.json")
    orders[str(folder.net.chain_id)]["apporder"]["salt"] = "0x12"
    folder.write("orders.json", orders)
    with pytest.raises(ValidationError) as caught:
        folder.owner.order.publish(app=True)
    assert caught.value.context["key"] == f"{folder.net.chain_id}.apporder.salt"
    text = (folder.path / "orders.json").read_text(encoding="utf-8")
    assert '"salt": "0x12"' in text.splitlines()[caught.value.context["line"] - 1]  # type: ignore[operator]


# Publish, show, unpublish, cancel.


@pytest.mark.parity(
    "order publish", "order show", "order unpublish", "order cancel", "order.publishApporder",
    "order.publishDatasetorder", "order.publishWorkerpoolorder", "order.publishRequestorder",
)  # fmt: skip
def test_a_folder_sells_shows_takes_back_and_ends_its_orders(folder: Folder) -> None:
    client = folder.owner
    command(client, "order sign --skip-preflight-check")
    published = command(client, "order publish --app --dataset --workerpool --skip-preflight-check")
    published |= command(client, "order publish --request --skip-request-check")
    hashes = {name: client.order.hash(json.dumps(folder.signed(name.removesuffix("order")))) for name in published}
    assert published == hashes
    assert raw("order publish", published) == {name: {"orderHash": one} for name, one in hashes.items()}
    shown = command(client, "order show --app --request --deals")
    assert {name: one.published.orderHash for name, one in shown.items()} == {
        name: hashes[name] for name in ("apporder", "requestorder")
    }
    gone = command(client, f"order unpublish --dataset --workerpool {hashes['workerpoolorder']}")
    assert gone == {name: hashes[name] for name in ("datasetorder", "workerpoolorder")}
    with pytest.raises(MarketCallError, match="datasetorder not found"):
        command(client, "order show --dataset")
    ended = command(client, f"order cancel --app --workerpool --request {hashes['requestorder']}")
    assert {name: one.orderHash for name, one in ended.items()} == {
        name: hashes[name] for name in ("apporder", "workerpoolorder", "requestorder")
    }
    assert raw("order cancel", ended) == {name: {"txHash": one.txHash} for name, one in ended.items()}
    with pytest.raises(OrderConsumedError, match="apporder already canceled"):
        command(client, "order cancel --app")


@pytest.mark.parametrize("verb", ["publish", "cancel", "unpublish", "show", "explain"])
def test_several_orders_are_done_after_one_question(folder: Folder, verb: str) -> None:
    folder.owner.order.sign(app=True, workerpool=True)
    if verb in ("unpublish", "show"):
        folder.owner.order.publish(app=True, workerpool=True)
    with folder.person() as me:
        done = command(me.client, f"order {verb} --app --workerpool --request")
        assert len(me.asked) == (0 if verb in ("show", "explain") else 1)
    assert list(done) == ["apporder", "workerpoolorder", "fail"]
    [line] = done["fail"]
    message = {
        "unpublish": 'No orderHash specified and no signed requestorder found for chain 134134 in "orders.json"',
        "show": 'Missing requestorder in "orders.json" for chain 134134',
    }.get(verb, 'Missing signed requestorder for chain 134134 in "orders.json"')
    assert line == f"requestorder: {message}"


def test_deployed_addresses_say_whose_orders_are_taken_off(folder: Folder) -> None:
    folder.owner.order.sign(app=True)
    folder.owner.order.publish(app=True)
    with pytest.raises(ConfigurationError, match=r"no app found in .deployed\.json. for chain 134134"):
        command(folder.owner, "order unpublish --app --last")
    folder.write("deployed.json", {"app": {str(folder.net.chain_id): folder.where["app"]}})
    one = folder.owner.order.hash(json.dumps(folder.signed("app")))
    assert command(folder.owner, "order unpublish --app --last") == {"apporder": one}


def test_presigned_templates_are_saved_one_by_one(folder: Folder) -> None:
    done = command(folder.owner, "order presign --app --workerpool")
    assert {kind: folder.signed(kind)["sign"] for kind in ("app", "workerpool")} == {"app": "0x", "workerpool": "0x"}
    folder.owner.order.sign(request=True)
    matched = command(folder.owner, "order fill")
    assert matched.volume == 1
    assert raw("order presign", done)["apporder"] == {"txHash": done["apporder"].txHash}
    with pytest.raises(ValidationError, match="No option specified"):
        command(folder.owner, "order presign")


def test_a_transaction_whose_end_is_not_known_is_named_by_its_hash(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.owner.order.sign(app=True, workerpool=True)
    send = type(folder.owner.chain).send
    calls: list[Any] = []

    def lost(chain: Any, *args: Any, **options: Any) -> Any:
        calls.append(args)
        if len(calls) > 1:
            raise Web3ProviderSendError("the transaction was not confirmed", tx_hash="0x" + "ab" * 32)
        return send(chain, *args, **options)

    monkeypatch.setattr(type(folder.owner.chain), "send", lost)
    done = folder.owner.order.cancel(app=True, workerpool=True)
    assert list(done) == ["apporder", "fail"]
    assert done["fail"] == (f"workerpoolorder: the transaction was not confirmed (transaction 0x{'ab' * 32})",)


# Fill.


@pytest.mark.parity("order fill", "order.matchOrders", "order.estimateMatchOrders")
def test_the_orders_of_a_folder_become_a_deal(folder: Folder) -> None:
    folder.owner.order.sign(app=True, workerpool=True, request=True)
    cost = command(folder.owner, "order estimate")
    assert (cost.volume, cost.total) == (1, 4)
    assert raw("order estimate", cost) == {"volume": "1", "total": "4"}
    matched = command(folder.owner, "order fill --skip-preflight-check")
    deal = folder.owner.deal.show(matched.dealid)
    assert (deal.app.pointer, deal.workerpool.pointer) == (folder.where["app"], folder.where["workerpool"])
    assert json.loads(deal.params)["iexec_args"] == "hello"
    with pytest.raises(OrderConsumedError, match="requestorder is fully consumed"):
        command(folder.owner, "order fill")


def test_params_make_a_request_for_the_orders_of_the_folder_with_its_dataset(folder: Folder) -> None:
    folder.owner.order.sign(skip_preflight_check=True)
    line = ["order", "fill", "--params", '{"iexec_args":"other"}', "--skip-preflight-check"]
    with folder.person() as me:
        matched = parse(line).on(me.client)
        assert len(me.asked) == 1
        assert folder.where["dataset"] in me.asked[0]
    deal = folder.owner.deal.show(matched.dealid)
    assert deal.dataset.pointer == folder.where["dataset"]
    assert (deal.total_cost, json.loads(deal.params)["iexec_args"]) == (6, "other")


def test_orders_of_the_market_and_of_the_folder_are_filled_together(folder: Folder) -> None:
    f = folder.four
    pool = f.pool_owner.order.publish(f.sign(replace(f.workerpoolorder, workerpoolprice=3)))
    folder.owner.order.sign(app=True)
    matched = command(folder.owner, f"order fill --workerpool {pool} --params {{}}")
    assert folder.owner.deal.show(matched.dealid).workerpool.pointer == f.workerpool


@pytest.mark.parametrize(
    ("saved", "words"),
    [
        ((), "Missing apporder"),
        (("app",), "Missing workerpoolorder"),
        (("app", "workerpool"), "Missing requestorder"),
    ],
)
def test_an_order_that_is_missing_for_a_fill_is_named(folder: Folder, saved: tuple[str, ...], words: str) -> None:
    if saved:
        folder.owner.order.sign(**dict.fromkeys(saved, True))
    with folder.person() as me:
        with pytest.raises(ValidationError, match=words) as caught:
            command(me.client, "order fill")
        assert "%iexec order sign" in str(caught.value.hint)
        assert not me.touched


def test_a_request_for_a_dataset_needs_its_order(folder: Folder) -> None:
    folder.templates["requestorder"]["dataset"] = folder.where["dataset"]
    folder.write("iexec.json", {"order": folder.templates})
    folder.owner.order.sign(app=True, workerpool=True, request=True, skip_preflight_check=True)
    with pytest.raises(ValidationError, match="Missing datasetorder"):
        command(folder.owner, "order fill --skip-preflight-check")
    folder.owner.order.sign(dataset=True, skip_preflight_check=True)
    with pytest.raises(OrderMismatchError, match="datasetmaxprice too low"):
        command(folder.owner, "order fill --skip-preflight-check")


def test_given_orders_do_not_take_a_dataset_from_the_folder(folder: Folder) -> None:
    folder.owner.order.sign(skip_preflight_check=True)
    orders = {kind: json.dumps(folder.signed(kind)) for kind in ("app", "workerpool", "request")}
    matched = folder.owner.order.match(
        apporder=orders["app"], workerpoolorder=orders["workerpool"], requestorder=orders["request"]
    )
    assert int(folder.owner.deal.show(matched.dealid).dataset.pointer, 16) == 0


def test_all_orders_given_by_hash_need_no_folder(net: Sandbox, empty: Path) -> None:
    f = Four(net)
    hashes = {one.kind: f.signer_of(one.kind).order.publish(one) for one in f.orders().values()}
    words = " ".join(f"--{kind} {one}" for kind, one in hashes.items())
    assert command(f.requester, f"order fill {words}").volume == 2
    assert not list(empty.iterdir())


@pytest.mark.parametrize("verb", ["publish", "cancel", "unpublish", "show", "explain", "presign", "sign"])
def test_without_a_project_nothing_is_read_written_or_sent(net: Sandbox, empty: Path, verb: str) -> None:
    with person(net, net.user) as me:
        with pytest.raises((ValidationError, ConfigurationError)) as caught:
            command(me.client, f"order {verb} --app")
        assert "%iexec" in str(caught.value.hint)
        assert not me.touched
        assert not me.asked
    assert not list(empty.iterdir())


def test_a_presigned_order_is_returned_when_it_cannot_be_saved(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Project, chain_id: int, orders: Any) -> None:
        raise ConfigurationError('"orders.json" cannot be written: No space left on device')

    monkeypatch.setattr(Project, "save_signed", full)
    with pytest.warns(UserWarning, match="No space left"):
        done = folder.owner.order.presign(app=True)["apporder"]
    assert done.order.sign == "0x"
    assert done.orderHash == folder.owner.order.hash(done.order)


def test_a_template_made_here_is_signed_as_it_is(net: Sandbox, empty: Path) -> None:
    owner = net.client()
    where = deploy_app(net, owner)
    (empty / "iexec.json").write_text("{}", encoding="utf-8")
    (empty / "deployed.json").write_text(json.dumps({"app": {str(net.chain_id): where}}), encoding="utf-8")
    template = command(owner, "order init --app")["apporder"]
    signed = command(owner, "order sign --app")["apporder"]
    assert (signed.app, signed.volume, signed.appprice) == (where, int(template["volume"]), int(template["appprice"]))
    assert signed.tag == tags.tag(template["tag"])

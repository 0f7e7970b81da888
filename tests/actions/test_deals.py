"""Deals and tasks: shown, listed, watched and explained, by the chain, the market and the scheduler."""

from __future__ import annotations

import json
import threading
import zipfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from stage import Four, NoSigner, crash, deploy_app, hello, json_answer, person, wallet

from iexec_nb import tables
from iexec_nb.client import IExec
from iexec_nb.errors import (
    CompassCallError,
    ConfigurationError,
    DecryptionError,
    MarketCallError,
    ObjectNotFoundError,
    TaskFailedError,
    ValidationError,
    WorkerpoolCallError,
)
from iexec_nb.protocol.execution import Deal, Task, TaskStatus, task_id
from iexec_nb.protocol.offchain import OffchainInfo, TaskDownload
from iexec_nb.protocol.results import ResultDescriptor
from iexec_nb.sandbox.network import Sandbox
from iexec_nb.sandbox.treasury import new_key
from iexec_nb.services import abi

NOTHING = "0x" + "12" * 32


def initialize(four: Four, dealid: str, *indexes: int) -> None:
    """Start tasks as their scheduler would."""
    chain, owner = four.pool_owner.chain, four.pool_owner.signer
    assert owner is not None
    data = abi.INITIALIZE_ARRAY.encode([bytes.fromhex(dealid[2:])] * len(indexes), list(indexes))
    chain.send(owner, chain.hub_address, data)


@pytest.fixture(scope="module")
def quiet(net: Sandbox) -> Four:
    """Four orders whose workerpool computes nothing by itself."""
    return Four(net)


# --- deals -----------------------------------------------------------------------------------------------------------


@pytest.mark.parity("deal.show", "deal show")
def test_a_deal_is_shown_and_after_a_watch_its_tasks_with_it(net: Sandbox, app: str, buyer: IExec) -> None:
    run = buyer.app.run(app, args="x", category=0)
    deal = buyer.deal.show(run.dealid)
    assert isinstance(deal, Deal)
    assert (deal.requester, deal.app.pointer, deal.taskids) == (wallet(buyer), app, run.taskids)
    last = buyer.deal.show(run.dealid, watch=True)
    assert not isinstance(last, Deal)
    assert (last.event, last.done, last.failed) == ("DEAL_COMPLETED", True, False)
    assert (last.tasksCount, last.completedTasksCount, last.failedTasksCount) == (1, 1, 0)
    assert [task.status for task in last.tasks] == [TaskStatus.COMPLETED]
    with pytest.raises(ObjectNotFoundError, match=f"No deal found for id {NOTHING} on chain {net.chain_id}"):
        buyer.deal.show(NOTHING)
    with pytest.raises(ValidationError):
        buyer.deal.show("0x12")


def test_a_watched_deal_whose_app_crashed_is_shown_with_what_failed(net: Sandbox, seller: IExec, buyer: IExec) -> None:
    run = buyer.app.run(deploy_app(net, seller, crash, price=0), category=0)
    last: Any = buyer.deal.show(run.dealid, watch=True)
    assert (last.phase, last.event, last.failed) == ("failed", "DEAL_UPDATED", True)
    assert [task.taskid for task in last.failedTasks] == list(run.taskids)
    assert last.failedTasksCount == 1


@pytest.mark.parity("deal.computeTaskId")
def test_the_id_of_a_task_is_computed_without_the_chain(quiet: Four) -> None:
    dealid = quiet.requester.order.match(**quiet.orders()).dealid
    deal = quiet.requester.deal.show(dealid)
    with person(quiet.net, quiet.requester) as me:
        made = [me.client.deal.compute_task_id(dealid, idx) for idx in (0, "1")]
        assert sum(me.node.methods.values()) == 0
    assert tuple(made) == deal.taskids
    for wrong in (-1, "x", 1.5, None, 2**256):
        with pytest.raises(ValidationError):
            quiet.requester.deal.compute_task_id(dealid, wrong)  # type: ignore[arg-type]
    with pytest.raises(ValidationError):
        quiet.requester.deal.compute_task_id("0x12", 0)


@pytest.mark.parity(
    "deal.fetchRequesterDeals", "deal.fetchDealsByApporder", "deal.fetchDealsByDatasetorder",
    "deal.fetchDealsByWorkerpoolorder", "deal.fetchDealsByRequestorder",
)  # fmt: skip
def test_deals_are_listed_by_requester_by_what_was_sold_by_owner_and_by_order(net: Sandbox) -> None:
    f = Four(net)
    orders = f.orders()
    dealids = [f.requester.order.match(**orders).dealid]
    orders = f.orders(request={"volume": 1}, app={"volume": 1})
    dealids.insert(0, f.requester.order.match(**orders).dealid)
    me = f.requester
    table = me.deal.list()
    assert list(table.columns) == list(tables.DEALS.dtypes)
    assert table["dealid"].tolist() == dealids
    assert table["botSize"].tolist() == [1, 2]
    assert table["appPrice"].tolist() == [3, 3]
    assert table["sponsor"].tolist() == [wallet(me)] * 2
    assert table.attrs["chain_id"] == net.chain_id
    found: list[dict[str, Any]] = [
        {"app": f.app}, {"dataset": f.dataset}, {"workerpool": f.workerpool}, {"beneficiary": wallet(me)},
        {"requester": "any", "workerpool": f.workerpool}, {"requester": wallet(me).lower()},
        {"app_owner": wallet(f.seller)}, {"workerpool_owner": wallet(f.pool_owner)}, {"category": "0"},
    ]  # fmt: skip
    for filters in found:
        assert me.deal.list(**filters)["dealid"].tolist() == dealids, filters
    for name, order in orders.items():
        chosen: Any = {name: me.order.hash(order)}
        assert net.user.deal.list(**chosen)["dealid"].tolist() == dealids[:1], name
    assert me.deal.list(limit=1)["dealid"].tolist() == dealids[:1]
    assert len(me.deal.list(limit="0")) == 0
    assert len(f.seller.deal.list()) == 0
    empty = me.deal.list(app=wallet(me))
    assert (len(empty), list(empty.columns)) == (0, list(tables.DEALS.dtypes))


def test_wrong_filters_of_deals_are_refused_before_anything_is_asked(net: Sandbox, buyer: IExec) -> None:
    wrong: list[dict[str, Any]] = [
        {"requester": "me"}, {"app": "0x12"}, {"dataset": 7}, {"workerpool_owner": "any"}, {"category": -1},
        {"limit": "few"}, {"apporder": "0x12"}, {"requestorder": b"x"}, {"beneficiary": ""},
    ]  # fmt: skip
    with person(net, buyer) as me:
        for filters in wrong:
            with pytest.raises(ValidationError):
                me.client.deal.list(**filters)
        assert me.web.requests == []
    with person(net, net.user, signer=None) as guest, pytest.raises(ConfigurationError, match="is not a signer"):
        guest.client.deal.list()


def test_deals_of_the_market_that_are_not_those_that_were_asked_for_are_not_shown(net: Sandbox, quiet: Four) -> None:
    mine = quiet.requester.order.match(**quiet.orders()).dealid
    stranger = Four(net)
    other = stranger.requester.order.match(**stranger.orders()).dealid
    with person(net, quiet.requester) as me:

        def lie(request: httpx.Request, response: httpx.Response) -> httpx.Response:
            if request.url.path != "/deals":
                return response
            rows = [{"dealid": other}, {"dealid": NOTHING}, {"dealid": mine, "app": {"price": -7}}, {"dealid": mine}]
            return json_answer(response, {"ok": True, "count": 4, "deals": rows})

        me.web.change = lie
        table = me.client.deal.list()
        assert table["dealid"].tolist() == [mine]
        assert table["appPrice"].tolist() == [3]


@pytest.mark.parametrize(
    "body",
    [{"ok": True, "deals": "none"}, {"ok": True, "deals": [{"dealid": None}]}, {"ok": False}, {"deals": []}],
    ids=["text", "no id", "not ok", "no ok"],
)
def test_a_market_that_sends_no_list_of_deals_is_an_error(net: Sandbox, buyer: IExec, body: Any) -> None:
    with person(net, buyer) as me:
        me.web.change = lambda request, response: json_answer(response, body)
        with pytest.raises(MarketCallError, match="An error occurred while getting deals"):
            me.client.deal.list()


def test_an_id_of_a_deal_that_is_none_is_the_fault_of_the_market(net: Sandbox, buyer: IExec) -> None:
    with person(net, buyer) as me:
        body = {"ok": True, "count": 1, "deals": [{"dealid": "0x12"}]}
        me.web.change = lambda request, response: json_answer(response, body)
        with pytest.raises(MarketCallError, match="0x12"):
            me.client.deal.list()


def test_a_run_is_attached_by_the_id_of_its_deal_alone(net: Sandbox, app: str, buyer: IExec) -> None:
    run = buyer.app.run(app, args="x", category=0)
    again = net.user.deal.attach(run.dealid)
    assert (again.dealid, again.taskids, again.price) == (run.dealid, run.taskids, run.price)
    assert again.wait().dealid == run.dealid
    with pytest.raises(ObjectNotFoundError):
        buyer.deal.attach(NOTHING)


# --- watching --------------------------------------------------------------------------------------------------------


@pytest.mark.parity("deal.obsDeal", "task.obsTask")
def test_a_deal_and_its_task_are_watched_to_their_end_with_the_events_of_the_observables(
    net: Sandbox, app: str, buyer: IExec
) -> None:
    run = buyer.app.run(app, args="x", category=0)
    events = [update.event for update in buyer.deal.watch(run.dealid)]
    assert events[-1] == "DEAL_COMPLETED"
    assert set(events[:-1]) <= {"DEAL_UPDATED"}
    [update] = buyer.task.watch(run.taskids[0])
    assert (update.event, update.tasks[0].status) == ("TASK_COMPLETED", TaskStatus.COMPLETED)
    assert "TASK_COMPLETED" in repr(update)


def test_a_task_that_is_not_started_is_watched_when_its_deal_is_known(quiet: Four) -> None:
    dealid = quiet.requester.order.match(**quiet.orders()).dealid
    deal = quiet.requester.deal.show(dealid)
    with pytest.raises(ObjectNotFoundError, match="No task found") as missing:
        quiet.requester.task.watch(deal.taskids[1])
    assert "dealid" in str(missing.value.hint)
    with pytest.raises(ObjectNotFoundError, match="No task found"):
        quiet.requester.task.watch(task_id(dealid, 7), dealid=dealid)
    updates = quiet.requester.task.watch(deal.taskids[1], dealid=dealid)
    assert (first := next(updates)).event == "TASK_UPDATED"
    assert (first.phase, first.tasks[0].idx, first.tasks[0].taskid) == ("matched", 1, deal.taskids[1])
    initialize(quiet, dealid, 1)
    assert next(updates).phase == "initialized"


def test_a_thousand_tasks_on_the_real_contracts_cost_two_requests_a_tick(net: Sandbox) -> None:
    f = Four(net, requester=net.client(rlc="1 RLC", deposit="1 RLC"))
    much = {"volume": 1000}
    orders = f.orders(request=much, app=much, dataset=much, workerpool=much)
    dealid = f.requester.order.match(**orders).dealid
    with person(net, f.requester) as me:
        requests = [0]

        def count(_: object) -> None:
            requests[0] += 1

        me.node.before, me.web.before = count, count
        ticks = []
        from iexec_nb.actions.poll import Poll

        poll = Poll(me.client)
        poll.add(me.client.deal.show(dealid))
        for step in range(8):
            requests[0] = 0
            if step == 4:
                initialize(f, dealid, *range(500, 520))
            changed = poll.tick()
            ticks.append((requests[0], len(changed)))
        assert max(cost for cost, _ in ticks) <= 2
        assert [changed for _, changed in ticks[:4]] == [1000, 0, 0, 0]
        assert sum(changed for _, changed in ticks[4:]) == 20
    phases = [state.phase for state in poll.states.values()]
    assert phases == ["matched"] * 500 + ["initialized"] * 20 + ["matched"] * 480


def test_a_result_is_seen_within_a_few_looks_of_its_transaction(net: Sandbox, app: str, buyer: IExec) -> None:
    # Seconds are measured by `make bench`; here, that no pause is longer than the sandbox's.
    assert buyer.poll_s == 0.1
    assert IExec("arbitrum-sepolia-testnet").poll_s == 2.0


# --- tasks -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def done(net: Sandbox, seller: IExec) -> tuple[IExec, str, str]:
    """A buyer, and the deal and the task of a run that is over."""
    buyer = net.client(deposit="5 RLC")
    run = buyer.app.run(deploy_app(net, seller, hello, price=0), args="one two", category=0).wait()
    return buyer, run.dealid, run.taskids[0]


@pytest.fixture(scope="module")
def crashed(net: Sandbox, seller: IExec) -> tuple[IExec, str, str]:
    """A buyer, and the deal and the task of a run whose app failed."""
    buyer = net.client(deposit="5 RLC")
    run = buyer.app.run(deploy_app(net, seller, crash, price=0), args="42", category=0)
    with pytest.raises(TaskFailedError):
        run.wait()
    return buyer, run.dealid, run.taskids[0]


@pytest.mark.parity("task.show", "task show", "task.fetchResults")
def test_a_task_is_shown_and_its_result_downloaded(
    done: tuple[IExec, str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    buyer, _, taskid = done
    monkeypatch.chdir(tmp_path)
    task = buyer.task.show(taskid, watch=True)
    assert (task.taskid, task.status, task.results.storage) == (taskid, TaskStatus.COMPLETED, "ipfs")
    for download, name in (
        (True, f"{taskid}.zip"),
        ("mine", "mine.zip"),
        ("other.zip", "other.zip"),
        (".zip", ".zip.zip"),
    ):
        shown = buyer.task.show(taskid, download=download)
        assert isinstance(shown, TaskDownload)
        assert shown.task == task
        assert shown.resultPath is not None
        assert shown.resultPath.absolute() == tmp_path / name
        with zipfile.ZipFile(tmp_path / name) as archive:
            assert archive.read("out.txt") == b"one two"


def test_the_result_of_a_task_that_is_not_completed_is_not_downloaded_and_that_is_said(
    quiet: Four, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    dealid = quiet.requester.order.match(**quiet.orders()).dealid
    taskid = task_id(dealid, 0)
    with pytest.raises(ObjectNotFoundError):
        quiet.requester.task.show(taskid, download=True)
    shown = quiet.requester.task.show(taskid, download="x", dealid=dealid)
    assert isinstance(shown, TaskDownload)
    assert (shown.resultPath, shown.task.status) == (None, TaskStatus.UNSET)
    assert "not COMPLETED" in str(shown.note)
    assert "not COMPLETED" in repr(shown)
    assert list(tmp_path.iterdir()) == []


def test_a_key_without_a_download_is_refused(done: tuple[IExec, str, str]) -> None:
    buyer, _, taskid = done
    wrong: list[dict[str, Any]] = [{"decrypt": True}, {"beneficiary_key_file": "x"}, {"beneficiary_keystoredir": "x"}]
    for options in wrong:
        with pytest.raises(ValidationError, match="downloaded"):
            buyer.task.show(taskid, **options)


def test_a_task_is_of_the_deal_that_is_named_or_is_not_found(done: tuple[IExec, str, str], quiet: Four) -> None:
    buyer, dealid, taskid = done
    other = quiet.requester.order.match(**quiet.orders()).dealid
    assert buyer.task.show(taskid, dealid=dealid) == buyer.task.show(taskid)
    asked: list[Any] = [
        buyer.task.show, buyer.task.watch, buyer.task.claim, buyer.task.offchain_info, buyer.task.logs, buyer.task.debug
    ]  # fmt: skip
    for ask in asked:
        with pytest.raises(ObjectNotFoundError, match="No task found") as caught:
            ask(taskid, dealid=other)
        assert other in str(caught.value.hint)
        for wrong in ("x", 7, b"x", "0x12"):
            with pytest.raises(ValidationError):
                ask(taskid, dealid=wrong)
            with pytest.raises(ValidationError):
                ask(wrong)


def test_a_result_that_is_not_encrypted_is_not_decrypted(
    done: tuple[IExec, str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    buyer, _, taskid = done
    monkeypatch.chdir(tmp_path)
    with pytest.raises((DecryptionError, ConfigurationError)):
        buyer.task.show(taskid, download="plain", decrypt=True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parity("task.fetchOffchainInfo")
def test_the_scheduler_tells_the_history_of_a_task_and_of_its_workers(
    done: tuple[IExec, str, str], crashed: tuple[IExec, str, str], net: Sandbox
) -> None:
    buyer, _, taskid = done
    info = buyer.task.offchain_info(taskid)
    assert info.task.status == "COMPLETED"
    steps = [step.status for step in info.task.statusHistory]
    assert steps[-1] == "COMPLETED"
    assert "RUNNING" in steps
    dates = [step.date for step in info.task.statusHistory if step.date is not None]
    assert len(dates) == len(steps)
    assert dates == sorted(dates)
    assert all(date.utcoffset() == timedelta(0) for date in dates)
    [replicate] = info.replicates
    assert replicate.worker == buyer.task.show(taskid).contributors[0]
    assert (replicate.exitCode, info.exitCode) == (0, 0)
    buyer, dealid, taskid = crashed
    info = net.user.task.offchain_info(taskid, dealid=dealid)
    assert (info.task.status, info.exitCode) == ("FAILED", 7)
    assert "exit code 7" in repr(info)
    assert any(step.cause for one in info.replicates for step in one.statusHistory)


@pytest.mark.parity("task.fetchLogs")
def test_the_requester_and_nobody_else_reads_what_the_app_printed(
    crashed: tuple[IExec, str, str], net: Sandbox
) -> None:
    buyer, dealid, taskid = crashed
    logs = buyer.task.logs(taskid)
    assert len(logs) == 1
    assert logs[0].worker == buyer.task.offchain_info(taskid).replicates[0].worker
    assert [one.stdout for one in logs] == [logs.stdout]
    assert "started with ['42']" in logs.stdout
    assert "the sensor is on fire" in logs.stderr
    assert "on fire" not in repr(logs)
    with person(net, net.user, signer=NoSigner(new_key())) as stranger:
        with pytest.raises(ValidationError, match=f"Only task requester {wallet(buyer)} can access replicates logs"):
            stranger.client.task.logs(taskid, dealid=dealid)
        # A login is not signed for a deal of somebody else, whose scheduler could use it elsewhere.
        with pytest.raises(ValidationError, match=f"Only task requester {wallet(buyer)} can access replicates logs"):
            stranger.client.deal.attach(dealid).logs()
        assert stranger.web.requests == []
    with person(net, net.user, signer=None) as guest, pytest.raises(ConfigurationError, match="is not a signer"):
        guest.client.task.logs(taskid)


@pytest.mark.parity("task debug")
def test_everything_about_a_task_is_there_at_once(crashed: tuple[IExec, str, str], net: Sandbox) -> None:
    buyer, _, taskid = crashed
    plain = buyer.task.debug(taskid)
    assert (plain.onchainData, plain.appLogs, plain.warnings) == (buyer.task.show(taskid), None, ())
    assert plain.offchainData == buyer.task.offchain_info(taskid)
    full = buyer.task.debug(taskid, logs=True)
    assert full.appLogs == buyer.task.logs(taskid)
    assert "FAILED" in repr(full)
    with pytest.raises(ConfigurationError), person(net, net.user, signer=None) as guest:
        guest.client.task.debug(taskid, logs=True)
    stranger = net.client().task.debug(taskid, logs=True)
    assert stranger.appLogs is None
    [warning] = stranger.warnings
    assert warning.startswith("Failed to fetch app logs: Only task requester")


def test_what_the_scheduler_does_not_tell_is_a_warning_in_debug_and_an_error_elsewhere(
    done: tuple[IExec, str, str], net: Sandbox
) -> None:
    buyer, _, taskid = done
    with person(net, buyer) as me:
        me.web.before = lambda request: httpx.Response(404, request=request) if "compass" in request.url.host else None
        for ask in (me.client.task.offchain_info, me.client.task.logs):
            with pytest.raises(WorkerpoolCallError, match="Impossible to resolve API url for workerpool 0x"):
                ask(taskid)
        found = me.client.task.debug(taskid, logs=True)
        assert found.onchainData.taskid == taskid
        assert [text.partition(":")[0] for text in found.warnings] == [
            "Failed to fetch off-chain data", "Failed to fetch app logs"
        ]  # fmt: skip
        me.web.before = lambda request: httpx.Response(503, request=request) if "compass" in request.url.host else None
        with pytest.raises(CompassCallError):
            me.client.task.offchain_info(taskid)
        unknown = json.dumps({}).encode()
        me.web.before = lambda request: (
            httpx.Response(404, content=unknown, request=request) if request.url.path.startswith("/tasks/0x") else None
        )
        with pytest.raises(WorkerpoolCallError, match="does not know the task"):
            me.client.task.offchain_info(taskid)


# --- what the scheduler sends ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        {}, {"currentStatus": 7, "dateStatusList": "x", "replicates": {"0": {}}},
        {"dateStatusList": [None, 1, {}, {"status": []}], "replicates": [None, [], {"statusUpdateList": 3}]},
        {"currentStatus": "\x1b[2J" * 100, "replicates": [{"walletAddress": {}, "appExitCode": 2**80}]},
        {"dateStatusList": [{"date": 1e400}, {"date": -(2**70)}, {"date": True}, {"date": "9" * 999}, {"date": {}}]},
    ],
    ids=["empty", "other kinds", "holes", "long", "dates"],
)  # fmt: skip
def test_whatever_a_scheduler_sends_is_read_without_an_error(body: Any) -> None:
    info = OffchainInfo.from_json(body)
    assert "\x1b" not in info.task.status
    assert len(info.task.status) < 300
    assert info.exitCode is None
    assert all(step.date is None for step in info.task.statusHistory)
    assert repr(info).startswith("OffchainInfo(")


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        ("2024-03-01T12:00:00.250+00:00", datetime(2024, 3, 1, 12, 0, 0, 250_000, UTC)),
        ("2024-03-01T12:00:00Z", datetime(2024, 3, 1, 12, tzinfo=UTC)),
        ("2024-03-01T14:00:00+02:00", datetime(2024, 3, 1, 12, tzinfo=UTC)),
        ("2024-03-01T12:00:00", datetime(2024, 3, 1, 12, tzinfo=UTC)),
        (1709294400000, datetime(2024, 3, 1, 12, tzinfo=UTC)),
    ],
    ids=["offset", "zulu", "elsewhere", "naive", "milliseconds"],
)
def test_dates_of_schedulers_are_times_in_utc(sent: object, expected: datetime) -> None:
    [step] = OffchainInfo.from_json({"dateStatusList": [{"status": "A", "date": sent}]}).task.statusHistory
    assert step.date == expected


def test_a_task_without_a_result_has_the_storage_none(quiet: Four) -> None:
    dealid = quiet.requester.order.match(**quiet.orders()).dealid
    task = quiet.requester.task.show(task_id(dealid, 0), dealid=dealid)
    assert isinstance(task, Task)
    assert task.results == ResultDescriptor("none")


def test_waiting_for_a_deal_is_stopped_by_an_event_of_another_thread(quiet: Four) -> None:
    from iexec_nb.actions.watch import watch

    dealid = quiet.requester.order.match(**quiet.orders()).dealid
    over = threading.Event()
    updates = watch(quiet.requester, quiet.requester.deal.show(dealid), over=over)
    assert next(updates).phase == "matched"
    over.set()
    assert list(updates) == []

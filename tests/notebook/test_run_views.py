"""Quotes, costs, logs and protected data in a cell: units, what is in the way, and nothing of a stranger as markup."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from IPython.core.interactiveshell import InteractiveShell

from iexec_nb.notebook import display
from iexec_nb.protocol.execution import Task, TaskStatus
from iexec_nb.protocol.offchain import AppLog, OffchainInfo, TaskDebug, TaskLogs
from iexec_nb.protocol.protected_records import ProtectedData
from iexec_nb.protocol.quotes import Gas, Quote, RunCost
from iexec_nb.protocol.results import ResultDescriptor
from iexec_nb.protocol.types import NULL_BYTES32, address

APP, POOL, ME = (address("0x" + digit * 40) for digit in "abc")
HOSTILE = "<script>alert(1)</script>\x1b[2J\u202e"
QUOTE = Quote(
    app=APP, dataset=None, workerpool=POOL, category=0, trust=0, volume=2, appprice=10**8, datasetprice=0,
    workerpoolprice=4 * 10**8, orders={}, gas=Gas(units=700_000, price=10**9, note="simulated"), requester=ME,
    stake=3 * 10**8, allowance=0, wei=10**18, nRLC=5, problems=("the account has too little",),
    hints=('iexec.account.deposit("0.7 RLC")',),
)  # fmt: skip
TASK = Task(
    taskid="0x" + "11" * 32, dealid="0x" + "22" * 32, idx=0, status=TaskStatus.ACTIVE, timeref=60,
    contributionDeadline=None, revealDeadline=None, finalDeadline=datetime(2026, 1, 1, tzinfo=UTC),
    consensusValue=NULL_BYTES32, revealCounter=0, winnerCounter=0, contributors=(), resultDigest=NULL_BYTES32,
    results=ResultDescriptor("none"), resultsTimestamp=None, resultsCallback=b"",
)  # fmt: skip


@pytest.fixture
def shell() -> Iterator[InteractiveShell]:
    ip = InteractiveShell()  # type: ignore[no-untyped-call]
    display.register(ip)
    yield ip
    ip.history_manager.end_session()  # type: ignore[union-attr]


def shown(ip: InteractiveShell, value: object) -> tuple[str, str]:
    data, _ = ip.display_formatter.format(value)  # type: ignore[union-attr]
    return data["text/html"], data["text/plain"]


def test_a_quote_says_what_it_costs_what_is_missing_and_what_to_type(shell: InteractiveShell) -> None:
    for page in shown(shell, QUOTE):
        for part in ("1 RLC", "0.4 RLC", "0.0007 ether", "0.7 RLC", "the account has too little", "deposit("):
            assert part in page


def test_a_cost_says_what_came_back(shell: InteractiveShell) -> None:
    cost = RunCost(volume=3, app=1, dataset=0, workerpool=10**9, refunded=10**9, gasUsed=10, fee=10**15)
    for page in shown(shell, cost):
        assert "3.000000003 RLC" in page
        assert "refunded" in page
        assert "0.001 ether" in page


def test_logs_are_their_last_lines_as_they_are(shell: InteractiveShell) -> None:
    printed = "\n".join(f"line {n}" for n in range(100))
    logs = TaskLogs(taskid=TASK.taskid, replicates=(AppLog(worker=ME, stdout=printed, stderr=HOSTILE),))
    page, text = shown(shell, logs)
    assert "line 99" in page
    assert "line 69\n" not in text
    assert "the last 30 of 100 lines" in text
    assert "<script>" not in page
    for one in (page, text):
        assert "\x1b" not in one
        assert "\u202e" not in one


def test_everything_about_a_task_is_one_page(shell: InteractiveShell) -> None:
    info = OffchainInfo.from_json(
        {
            "currentStatus": "RUNNING_FAILED",
            "dateStatusList": [{"status": "RUNNING", "date": "2026-01-01T00:00:00Z", "cause": HOSTILE}],
            "replicates": [{"walletAddress": ME, "currentStatus": "COMPUTE_FAILED", "appExitCode": 3}],
        }
    )
    debug = TaskDebug(onchainData=TASK, offchainData=info, warnings=(f"no logs {HOSTILE}",))
    page, text = shown(shell, debug)
    for one in (page, text):
        for part in ("ACTIVE", "RUNNING_FAILED", "exit code 3", "no logs"):
            assert part in one
        assert "\x1b" not in one
    assert "<script>" not in page


def test_protected_data_shows_its_schema_and_no_markup(shell: InteractiveShell) -> None:
    data = ProtectedData(
        name=HOSTILE, address=APP, owner=ME, schema={"email": "string"}, multiaddr=None,
        creationTimestamp=datetime(2026, 1, 1, tzinfo=UTC),
    )  # fmt: skip
    page, text = shown(shell, data)
    assert "<script>" not in page
    assert "email: string" in text

"""Deals and tasks as the chain gives them: ids, dates, lateness."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from eth_abi import decode, encode

from iexec_nb.errors import ObjectNotFoundError, ValidationError
from iexec_nb.protocol import execution as m
from iexec_nb.protocol.results import ResultDescriptor
from iexec_nb.protocol.types import NULL_ADDRESS, NULL_BYTES32, address, keccak

DEAL_ID = "0xa0b0fd396b0f79f14e4d6b34af7180bd9e80e2d86afda91c6127c5c17a268e66"
TASK_IDS = {
    0: "0xe06c86d6bb750dbd9be9e002482854b3b3f21550dbe37236767b9cac29e3ce28",
    1: "0x50c8d29b113463ddfd6c70d203f79f1446d22f80602e4bf17ea9d1a78eb4e6ac",
    10: "0x26aca3bf194d84c649e4443b3e4380e04d80baabec40b85c19586d5151a9ce04",
}
RESOURCE = "(address,address,uint256)"
DEAL = (
    f"({RESOURCE},{RESOURCE},{RESOURCE},uint256,uint256,bytes32,address,address,address,string,"
    "uint256,uint256,uint256,uint256,uint256,address)"
)
TASK = (
    "(uint8,bytes32,uint256,uint256,uint256,uint256,uint256,bytes32,uint256,uint256,"
    "address[],bytes32,bytes,uint256,bytes)"
)
START = 1_767_225_600
WHEN = datetime(2026, 1, 1, tzinfo=UTC)


def an(byte):
    return "0x" + byte * 20


def raw_deal(**changes):
    fields = {
        "app": (an("a1"), an("a2"), 5),
        "dataset": (an("d1"), an("d2"), 3),
        "workerpool": (an("c1"), an("c2"), 2),
        "trust": 1,
        "category": 0,
        "tag": bytes(31) + b"\x09",
        "requester": an("aa"),
        "beneficiary": an("bb"),
        "callback": NULL_ADDRESS,
        "params": '{"iexec_args":"hé"}',
        "startTime": START,
        "botFirst": 0,
        "botSize": 2,
        "workerStake": 0,
        "schedulerRewardRatio": 1,
        "sponsor": an("cc"),
    } | changes
    (decoded,) = decode([DEAL], encode([DEAL], [tuple(fields.values())]))
    return decoded


def a_deal(**changes):
    return m.Deal.from_chain(DEAL_ID, raw_deal(**changes), final_deadline_ratio=10, category_seconds=300)


def raw_task(**changes):
    fields = {
        "status": 1,
        "dealid": bytes.fromhex(DEAL_ID[2:]),
        "idx": 1,
        "timeref": 300,
        "contributionDeadline": START + 2100,
        "revealDeadline": 0,
        "finalDeadline": START + 3000,
        "consensusValue": bytes(32),
        "revealCounter": 0,
        "winnerCounter": 0,
        "contributors": [],
        "resultDigest": bytes(32),
        "results": b"",
        "resultsTimestamp": 0,
        "resultsCallback": b"",
    } | changes
    (decoded,) = decode([TASK], encode([TASK], [tuple(fields.values())]))
    return decoded


def a_task(**changes):
    return m.Task.from_chain(TASK_IDS[1], raw_task(**changes))


@pytest.mark.parametrize("idx", TASK_IDS)
def test_task_ids_are_those_of_the_javascript_sdk(idx):
    assert m.task_id(DEAL_ID.upper().replace("0X", "0x"), idx) == TASK_IDS[idx]


def test_ids_and_hashes_pack_their_parts_as_the_contracts_do():
    worker = "0x748e091bf16048cb5103E0E10F9D5a8b7fBDd860"
    taskid = "0xd94b63fc2d3ec4b96daf84b403bbafdc8c8517e8e2addd51fec0fa4e67801be8"
    enclave = "0x9a43BB008b7A657e1936ebf5d8e28e5c5E021596"
    # vectors of the Java worker library
    assert m.authorization_hash(worker, taskid, enclave).hex() == (
        "54a76d209e8167e1ffa3bde8e3e7b30068423ca9554e1d605d8ee8fd0f165562"
    )
    digest = "0x" + "ab" * 32
    assert m.result_seal(worker, taskid, digest) == (
        "0x" + keccak(bytes.fromhex(worker[2:] + taskid[2:] + digest[2:])).hex()
    )
    assert m.result_hash(taskid, digest) == "0x" + keccak(bytes.fromhex(taskid[2:] + digest[2:])).hex()
    assert m.deal_id(taskid, 7) == "0x" + keccak(encode(["bytes32", "uint256"], [bytes.fromhex(taskid[2:]), 7])).hex()


@pytest.mark.parametrize("bad", [-1, 2**256, 1.0, True, "0x1", None])
def test_an_index_that_is_no_uint256_is_refused(bad):
    with pytest.raises(ValidationError, match="is not a valid uint256"):
        m.task_id(DEAL_ID, bad)
    with pytest.raises(ValidationError, match="is not a bytes32"):
        m.task_id("0x12", 0)


def test_a_deal_is_read_with_dates_checksummed_addresses_and_text():
    deal = a_deal()
    assert deal.app == m.DealResource(pointer=address(an("a1")), owner=address(an("a2")), price=5)
    assert deal.requester == "0xaAaAaAaaAaAaAaaAaAAAAAAAAaaaAaAaAaaAaaAa"
    assert (deal.beneficiary, deal.callback) == (address(an("bb")), NULL_ADDRESS)
    assert deal.tag == "0x" + "0" * 63 + "9"
    assert deal.params == '{"iexec_args":"hé"}'
    assert deal.startTime == WHEN
    assert deal.finalTime == WHEN + timedelta(seconds=3000)
    assert deal.total_cost == 20
    assert deal.taskids == (TASK_IDS[0], TASK_IDS[1])


def test_task_ids_start_at_the_first_index_of_the_deal():
    assert a_deal(botFirst=10, botSize=1).taskids == (TASK_IDS[10],)


def test_a_deal_of_a_hub_without_sponsors_is_paid_by_its_requester():
    deal = m.Deal.from_chain(DEAL_ID, raw_deal()[:15], final_deadline_ratio=10, category_seconds=300)
    assert deal.sponsor == deal.requester
    assert a_deal().sponsor.lower() == an("cc")


def test_a_deal_of_a_million_tasks_does_not_list_them():
    deal = a_deal(botSize=2**53 - 1)
    with pytest.raises(ValidationError, match="at most 100000 ids"):
        _ = deal.taskids
    assert deal.total_cost == 10 * (2**53 - 1)


def test_an_empty_deal_or_task_is_not_found():
    empty = raw_deal(app=(NULL_ADDRESS, NULL_ADDRESS, 0))
    with pytest.raises(ObjectNotFoundError, match=f"No deal found for id {DEAL_ID} on chain 134"):
        m.Deal.from_chain(DEAL_ID, empty, final_deadline_ratio=10, category_seconds=300, chain_id=134)
    with pytest.raises(ObjectNotFoundError, match="No task found"):
        a_task(dealid=bytes(32))


def test_a_deal_without_tasks_is_refused_because_no_hub_makes_one():
    with pytest.raises(ValidationError, match=f"deal {DEAL_ID} has no tasks"):
        a_deal(botSize=0)


def test_a_deadline_is_reached_at_its_second_and_not_before():
    deal = a_deal()
    assert not deal.deadline_reached(deal.finalTime - timedelta(seconds=1))
    assert deal.deadline_reached(deal.finalTime)
    with pytest.raises(ValidationError, match="has no time zone"):
        deal.deadline_reached(datetime(2026, 1, 1))


@pytest.mark.parametrize("start", [0, 2**64, 2**256 - 1])
def test_times_beyond_the_calendar_are_its_end(start):
    deal = a_deal(startTime=start)
    assert deal.finalTime <= datetime.max.replace(tzinfo=UTC)
    assert deal.deadline_reached(WHEN) is (start == 0)


def test_deadlines_follow_the_ratios_of_the_contracts():
    limits = m.deadlines(WHEN, 300)
    assert limits.contribution == WHEN + timedelta(seconds=2100)
    assert limits.final == WHEN + timedelta(seconds=3000)
    assert limits.reveal_s == 600


def test_a_task_is_read_with_dates_and_descriptor():
    task = a_task(
        status=3,
        contributors=[an("0e")],
        results=b'{ "storage": "ipfs", "location": "/ipfs/Qm" }',
        resultsTimestamp=START + 60,
        resultsCallback=b"\x01",
        winnerCounter=1,
    )
    assert task.status is m.TaskStatus.COMPLETED
    assert task.results == ResultDescriptor("ipfs", "/ipfs/Qm")
    assert task.contributors[0].lower() == an("0e")
    assert task.resultsTimestamp == WHEN + timedelta(seconds=60)
    assert task.contributionDeadline == WHEN + timedelta(seconds=2100)
    assert task.revealDeadline is None
    assert (task.taskid, task.dealid, task.idx, task.resultsCallback) == (TASK_IDS[1], DEAL_ID, 1, b"\x01")


@pytest.mark.parametrize(
    ("status", "before", "after", "late"),
    [
        (1, "ACTIVE", "TIMEOUT", True),
        (2, "REVEALING", "TIMEOUT", True),
        (3, "COMPLETED", "COMPLETED", False),
        (4, "FAILED", "FAILED", True),
    ],
)
def test_an_unfinished_task_times_out_at_its_final_deadline(status, before, after, late):
    task = a_task(status=status)
    end = task.finalDeadline
    assert task.status_name(end - timedelta(seconds=1)) == before
    assert not task.timed_out(end - timedelta(seconds=1))
    assert task.ended(end - timedelta(seconds=1)) is (status >= 3)
    assert task.status_name(end) == after
    assert task.timed_out(end) is late
    assert task.ended(end)


def test_a_task_that_was_never_initialized_is_late_with_its_deal():
    deal = a_deal()
    task = m.Task.unset(deal, 1)
    assert (task.taskid, task.status_name(WHEN), task.consensusValue) == (TASK_IDS[1], "UNSET", NULL_BYTES32)
    assert task.status_name(deal.finalTime) == "TIMEOUT"
    assert not replace(task, finalDeadline=None).timed_out(deal.finalTime)


def test_a_state_that_the_protocol_does_not_know_is_refused():
    with pytest.raises(ValidationError, match="5 is not a task status"):
        a_task(status=5)

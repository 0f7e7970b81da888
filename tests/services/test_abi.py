from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import pytest
from eth_abi.abi import encode
from hypothesis import given
from hypothesis import strategies as st

from iexec_nb.errors import ValidationError, Web3ProviderCallError
from iexec_nb.protocol.orders import AppOrder, DatasetOrder, RequestOrder, WorkerpoolOrder
from iexec_nb.protocol.types import keccak
from iexec_nb.services import abi
from iexec_nb.services.abi import Event, Function, decode_values, split_types
from iexec_nb.services.reverts import MATCH_CODES, revert_reason

ADDRESS = "0x" + "11" * 20
CHECKSUM = "0x19E7E376E7C213B7E7e7e46cc70A5dD086DAff2A"

# Computed from the JSON ABIs in the npm packages @iexec/poco 6.1.0 and rlc-faucet-contract 1.0.10.
SELECTORS = """
DOMAIN=c2fb26a6 DOMAIN_SEPARATOR=9910fd72 TOKEN=fc0c546a APP_REGISTRY=45b637a9 DATASET_REGISTRY=b1b11d2c
WORKERPOOL_REGISTRY=90a0f546 OWNER=8da5cb5b CONTRIBUTION_DEADLINE_RATIO=74ed5244
REVEAL_DEADLINE_RATIO=2b8857c1 FINAL_DEADLINE_RATIO=db8aaa26 WORKERPOOL_STAKE_RATIO=6112f6fd
CREATE_CATEGORY=298503d9 VIEW_CATEGORY=4f5f44ec COUNT_CATEGORY=c140996f VIEW_ACCOUNT=6b55f4a5 DEPOSIT=b6b55f25
DEPOSIT_FOR=36efd16f DEPOSIT_NATIVE=d0e30db0 WITHDRAW=2e1a7d4d WITHDRAW_TO=c86283c8 APPROVE=095ea7b3
ALLOWANCE=dd62ed3e APPROVE_AND_CALL=cae9ca51 BALANCE_OF=70a08231 TOKEN_TRANSFER=a9059cbb
VIEW_CONSUMED=4b2bec8c VIEW_PRESIGNED=d286eb16 VERIFY_SIGNATURE=01751998 VERIFY_PRESIGNATURE=c87b582a
MANAGE_APP_ORDER=b2b07e66 MANAGE_DATASET_ORDER=4b747106 MANAGE_WORKERPOOL_ORDER=7e34a077
MANAGE_REQUEST_ORDER=8dd971d5 MATCH_ORDERS=156194d4 SPONSOR_MATCH_ORDERS=2f391533 COMPUTE_DEAL_VOLUME=66517ca6
ASSERT_DATASET_DEAL_COMPATIBILITY=80f03425 VIEW_DEAL=b74861b2 VIEW_TASK=adccf0d5 VIEW_CONTRIBUTION=e741363b
RESULT_FOR=d09cc57e INITIALIZE=5b36c66b INITIALIZE_ARRAY=b504681d CONTRIBUTE=34623484 REVEAL=fc334e8c
REOPEN=f6c68e10 FINALIZE=8fc375e5 CONTRIBUTE_AND_FINALIZE=5facd761 CLAIM=bd66528a CLAIM_ARRAY=fa055d7e
INITIALIZE_AND_CLAIM_ARRAY=f722cb32 CREATE_APP=3f7868ff CREATE_DATASET=3354bcdb CREATE_WORKERPOOL=e40238f4
PREDICT_APP=e92118ed PREDICT_DATASET=fe17fc7a PREDICT_WORKERPOOL=064a6c2a IS_REGISTERED=c3c5a547
TOKEN_OF_OWNER_BY_INDEX=2f745c59 SAFE_TRANSFER_FROM=42842e0e REGISTRY=7b103999 APP_NAME=358982a3
APP_TYPE=f8c2ceb3 APP_MULTIADDR=39e75d45 APP_CHECKSUM=84aaf12e APP_MRENCLAVE=e30d26a8 DATASET_NAME=0847c431
DATASET_MULTIADDR=a61ca6c5 DATASET_CHECKSUM=1ba99d7e WORKERPOOL_DESCRIPTION=584feb3a
WORKER_STAKE_RATIO_POLICY=b55e75af SCHEDULER_REWARD_RATIO_POLICY=87639c68 CHANGE_POLICY=f199413c
KEY_HAS_PURPOSE=d202158d CREATE_DATASET_WITH_SCHEMA=167fbf5f
"""

# First four bytes of the topic / number of indexed members, from the same ABIs.
TOPICS = """
ORDERS_MATCHED=d811b592/0 SCHEDULER_NOTICE=692ad610/1 CATEGORY_CREATED=62bf0836/0 TASK_INITIALIZE=252992fb/2
TASK_CONTRIBUTE=3fdb8d77/2 TASK_CONSENSUS=f6d49bf3/1 TASK_REVEAL=4b1763d4/2 TASK_REOPEN=3afe0f24/1
TASK_FINALIZE=78ce8a8b/1 TASK_CLAIMED=cbc308b5/1 TRANSFER=ddf252ad/2 APPROVAL=8c5be1e5/2
REGISTRY_TRANSFER=ddf252ad/3 LOCK=625fed98/0 UNLOCK=6381d981/0 REWARD=c2aca55a/0 SEIZE=1bccc549/0
CLOSED_ORDER.app=7343f75b/0 CLOSED_ORDER.dataset=cf52e322/0 CLOSED_ORDER.workerpool=145ad51e/0
CLOSED_ORDER.request=582f43f2/0 SIGNED_ORDER.app=50933cf5/0 SIGNED_ORDER.dataset=79ce8590/0
SIGNED_ORDER.workerpool=3a61aabf/0 SIGNED_ORDER.request=3b0ac041/0 DATASET_SCHEMA=37b19b89/1
"""


@dataclass(frozen=True)
class Log:
    topics: tuple[str, ...]
    data: bytes


def constant(name: str) -> Any:
    name, _, key = name.partition(".")
    value = getattr(abi, name)
    return value[key] if key else value


@pytest.mark.parametrize("line", SELECTORS.split())
def test_the_selector_is_the_one_of_the_deployed_contracts(line: str) -> None:
    name, selector = line.split("=")
    assert constant(name).selector.hex() == selector


@pytest.mark.parametrize("line", TOPICS.split())
def test_the_topic_is_the_one_of_the_deployed_contracts(line: str) -> None:
    name, expected = line.split("=")
    event: Event = constant(name)
    assert f"{event.topic[2:10]}/{sum(indexed for _, _, indexed in event.members)}" == expected


def test_every_function_and_event_is_in_the_tables() -> None:
    known = {line.split("=")[0].split(".")[0] for line in (SELECTORS + TOPICS).split()}
    declared = {name for name, value in vars(abi).items() if isinstance(value, Function | Event)}
    assert declared <= known


def test_types_are_split_at_the_top_level_only() -> None:
    assert split_types("a,(b,(c,d))[],e") == ("a", "(b,(c,d))[]", "e")
    assert split_types("") == ()


def test_orders_encode_to_the_structs_of_the_contract() -> None:
    orders = (
        AppOrder(app=ADDRESS, appprice=2**255),
        DatasetOrder(dataset=ADDRESS),
        WorkerpoolOrder(workerpool=ADDRESS, category=4),
        RequestOrder(app=ADDRESS, requester=CHECKSUM, category=4, params='{"iexec_args":"h\u00e9"}'),
    )
    signed = [order.signed("0x" + "aa" * 32, "0x" + "bb" * 65).to_abi() for order in orders]
    data = abi.MATCH_ORDERS.encode(*signed)
    app, _, _, request = decode_values(abi.MATCH_ORDERS.inputs, data[4:], "matchOrders")
    assert app[1] == 2**255
    assert request[6] == CHECKSUM
    assert request[13] == '{"iexec_args":"h\u00e9"}'
    assert request[15] == b"\xbb" * 65


def test_addresses_come_back_with_checksum_and_bytes_as_bytes() -> None:
    owner, multiaddr = decode_values(["address", "bytes"], encode(["address", "bytes"], [CHECKSUM.lower(), b"\1"]), "x")
    assert (owner, multiaddr) == (CHECKSUM, b"\1")


def test_a_name_that_is_not_utf8_is_shown_with_replacement_characters() -> None:
    assert abi.APP_NAME.decode(encode(["bytes"], [b"my \xff app"])) == "my \ufffd app"


def test_a_function_without_a_result_decodes_to_none() -> None:
    assert abi.CLAIM.decode(b"") is None


@pytest.mark.parametrize("args", [(), (1, 2), ("no address",), (ADDRESS, ADDRESS), (None,), (2**300,)])
def test_arguments_that_do_not_fit_are_refused(args: tuple[object, ...]) -> None:
    with pytest.raises(ValidationError, match="viewAccount"):
        abi.VIEW_ACCOUNT.encode(*args)


@pytest.mark.parametrize("fn", [abi.APP_NAME, abi.APP_MULTIADDR, abi.VIEW_TASK, abi.VIEW_DEAL, abi.DOMAIN])
@pytest.mark.parametrize("length", [1, 2**32, 2**63, 2**255])
def test_a_hostile_length_or_offset_is_a_typed_error(fn: Function, length: int) -> None:
    word = length.to_bytes(32, "big")
    for data in (b"", word, word * 4, (32).to_bytes(32, "big") + word + b"\xff" * 31):
        with pytest.raises(Web3ProviderCallError, match="cannot be decoded"):
            fn.decode(data)


@given(st.binary(max_size=1200), st.sampled_from([abi.VIEW_TASK, abi.VIEW_DEAL, abi.VIEW_CATEGORY, abi.DOMAIN]))
def test_random_answers_decode_or_fail_with_the_typed_error(data: bytes, fn: Function) -> None:
    with suppress(Web3ProviderCallError):
        fn.decode(data)


def test_an_event_without_indexed_members_is_read_from_its_data() -> None:
    hashes = [bytes([i]) * 32 for i in range(1, 6)]
    log = Log((abi.ORDERS_MATCHED.topic,), b"".join(hashes) + (7).to_bytes(32, "big"))
    event = abi.ORDERS_MATCHED.decode(log)
    assert list(event) == ["dealid", "appHash", "datasetHash", "workerpoolHash", "requestHash", "volume"]
    assert event["dealid"] == "0x" + "01" * 32
    assert event["volume"] == 7


def test_the_transfers_of_a_token_and_of_a_registry_are_told_apart_by_what_is_indexed() -> None:
    word = "0x" + CHECKSUM[2:].lower().rjust(64, "0")
    registry = Log((abi.TRANSFER.topic, word, word, word), b"")
    token = Log((abi.TRANSFER.topic, word, word), (5).to_bytes(32, "big"))
    assert abi.REGISTRY_TRANSFER.matches(registry)
    assert not abi.REGISTRY_TRANSFER.matches(token)
    assert abi.REGISTRY_TRANSFER.decode(registry)["tokenId"] == int(CHECKSUM, 16)
    assert abi.TRANSFER.decode(token) == {"from": CHECKSUM, "to": CHECKSUM, "value": 5}
    with pytest.raises(Web3ProviderCallError):
        abi.TRANSFER.decode(registry)


def test_indexed_members_become_topics_of_a_filter() -> None:
    topics = abi.TASK_INITIALIZE.filter_topics(workerpool=CHECKSUM)
    assert topics == [abi.TASK_INITIALIZE.topic, None, "0x" + CHECKSUM[2:].lower().rjust(64, "0")]
    assert abi.TASK_CLAIMED.filter_topics(taskid="0x" + "ab" * 32)[1] == "0x" + "ab" * 32
    with pytest.raises(ValidationError, match="no indexed member"):
        abi.ORDERS_MATCHED.filter_topics(dealid=b"")


def error_string(text: bytes) -> bytes:
    return keccak(b"Error(string)")[:4] + encode(["bytes"], [text])


@pytest.mark.parametrize("code", MATCH_CODES)
def test_every_match_code_becomes_a_sentence_that_keeps_the_code(code: str) -> None:
    reason = revert_reason(error_string(b"iExecV5-matchOrders-" + code.encode()))
    assert reason == f"{MATCH_CODES[code]} (iExecV5-matchOrders-{code})"


@pytest.mark.parametrize(
    ("data", "message", "expected"),
    [
        (b"", "execution reverted", "the contract refused without a reason"),
        (b"", "execution reverted: iExecV5-matchOrders-0x60", "fully consumed or canceled"),
        (b"", "VM Exception while processing transaction: revert task-pending", "the task is not completed"),
        (error_string(b"IexecEscrow: Transfer amount exceeds balance"), "", "deposit more first"),
        (error_string(b"something new"), "", "something new"),
        (keccak(b"Panic(uint256)")[:4] + (0x11).to_bytes(32, "big"), "", "range of the contract's numbers"),
        (keccak(b"Panic(uint256)")[:4] + (0x99).to_bytes(32, "big"), "", "panicked with code 0x99"),
        (
            keccak(b"IncompatibleDatasetOrder(string)")[:4] + encode(["string"], ["Deal not found"]),
            "",
            "the dataset order does not fit the deal: Deal not found",
        ),
        (keccak(b"CallerIsNotTheRequester()")[:4], "", "only the requester"),
        (b"\x12\x34\x56\x78", "execution reverted", "error 0x12345678"),
        (keccak(b"Error(string)")[:4] + b"\xff" * 40, "", "malformed Error(string)"),
    ],
)
def test_a_revert_becomes_a_sentence(data: bytes, message: str, expected: str) -> None:
    assert expected in revert_reason(data, message)


def test_control_characters_of_a_contract_do_not_reach_the_terminal() -> None:
    assert "\x1b" not in revert_reason(error_string(b"\x1b[31mred"))

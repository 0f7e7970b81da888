from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
import rlp
from eth_account import Account
from fake_node import BLOCK, CHAIN_ID, FakeNode, NodeError

from iexec_nb.errors import (
    ConfigurationError,
    InsufficientFundsError,
    Web3ProviderCallError,
    Web3ProviderSendError,
)
from iexec_nb.protocol.types import Secret, keccak
from iexec_nb.services import keystore
from iexec_nb.services import rpc as rpc_module
from iexec_nb.services import transactions as module
from iexec_nb.services.locks import send_lock
from iexec_nb.services.rpc import Rpc
from iexec_nb.services.transactions import Transactions
from iexec_nb.services.wallet import KeystoreSigner, PrivateKeySigner

SIGNER = PrivateKeySigner(b"\7" * 32)
TO = "0x19E7E376E7C213B7E7e7e46cc70A5dD086DAff2A"


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rpc_module, "backoff", lambda attempt: 0.0)
    monkeypatch.setattr(module, "_NONCE_LAG_S", 0.2)


def sender(node: FakeNode | Rpc, **options: Any) -> Transactions:
    rpc = node.rpc(timeout_s=2) if isinstance(node, FakeNode) else node
    return Transactions(rpc, CHAIN_ID, **{"timeout_s": 5, "lookup_s": 0.3, **options})


def sent(node: FakeNode) -> int:
    return node.asked.count("eth_sendRawTransaction")


class LosingNode(FakeNode):
    """Loses the answer to a transaction, after or before the transaction reached it."""

    def __init__(self, *, reached: bool, **answers: Any) -> None:
        super().__init__(**answers)
        self.reached = reached
        self.sends = 0

    def handle(self, request: httpx.Request) -> httpx.Response:
        if b"eth_sendRawTransaction" in request.content:
            self.sends += 1
            if self.reached:
                super().handle(request)
            raise httpx.ReadTimeout("the answer was lost")
        return super().handle(request)


def test_a_transaction_is_simulated_signed_and_sent_once_and_its_receipt_comes_back() -> None:
    node = FakeNode()
    receipt = sender(node).send(SIGNER, TO, b"\1\2", value=5)
    (raw,) = node.mined.values()
    assert receipt.tx_hash == "0x" + keccak(raw).hex()
    assert receipt.status == 1
    assert Account.recover_transaction(raw) == SIGNER.address
    assert sent(node) == 1
    assert node.asked.index("eth_call") < node.asked.index("eth_sendRawTransaction")


def test_fees_are_those_of_eip_1559_with_room_for_a_rising_base_fee_and_gas_has_a_margin() -> None:
    quote = sender(FakeNode()).quote(SIGNER.address, TO, b"")
    assert quote.fees == {"maxFeePerGas": 3 * 10**9, "maxPriorityFeePerGas": 10**9}
    assert quote.gas == 26_250
    assert quote.max_cost == 26_250 * 3 * 10**9


def test_a_chain_without_base_fee_gets_a_legacy_transaction() -> None:
    node = FakeNode(eth_getBlockByNumber={**BLOCK, "baseFeePerGas": None})
    assert sender(node).quote(SIGNER.address, TO, b"").fees == {"gasPrice": 2 * 10**9}
    sender(node).send(SIGNER, TO, b"")
    assert next(iter(node.mined.values()))[0] >= 0xC0


def test_a_node_that_knows_no_priority_fee_is_asked_for_the_gas_price() -> None:
    node = FakeNode(eth_maxPriorityFeePerGas=NodeError(-32601, "not found"))
    assert sender(node).quote(SIGNER.address, TO, b"").fees["maxPriorityFeePerGas"] == 10**9


def test_a_wallet_without_coins_can_send_on_a_chain_without_gas_costs() -> None:
    node = FakeNode(eth_getBalance="0x0", eth_getBlockByNumber={**BLOCK, "baseFeePerGas": "0x0"})
    assert sender(node).send(SIGNER, TO, b"").status == 1


def test_too_little_ether_is_said_with_the_amounts_before_anything_is_signed() -> None:
    node = FakeNode(eth_getBalance=hex(10**12))
    with pytest.raises(InsufficientFundsError, match=r"0\.000001 ether.*0\.00007875 ether"):
        sender(node).send(SIGNER, TO, b"")
    node.answers["eth_getBalance"] = hex(10**18)
    with pytest.raises(InsufficientFundsError, match="up to 2 ether"):
        sender(node).send(SIGNER, TO, b"", value=2 * 10**18)
    assert sent(node) == 0


def test_a_transaction_that_would_revert_is_not_sent_and_its_reason_is_told() -> None:
    node = FakeNode(eth_call=NodeError(3, "execution reverted: iExecV5-matchOrders-0x60"))
    with pytest.raises(Web3ProviderCallError, match="not sent: at least one of the orders is fully consumed"):
        sender(node).send(SIGNER, TO, b"")
    assert sent(node) == 0


def test_a_node_of_another_chain_is_refused_before_anything_is_sent() -> None:
    node = FakeNode(eth_chainId="0x1")
    with pytest.raises(ConfigurationError, match="of chain 1, not of chain 1234"):
        sender(node).send(SIGNER, TO, b"")
    assert sent(node) == 0


def test_a_node_that_asks_absurd_fees_is_not_believed() -> None:
    node = FakeNode(eth_maxPriorityFeePerGas=hex(10**15), eth_getBalance=hex(10**22))
    with pytest.raises(Web3ProviderSendError, match="not believed"):
        sender(node).send(SIGNER, TO, b"")
    assert sent(node) == 0


def test_a_transaction_whose_answer_was_lost_is_found_by_its_hash_and_not_sent_again() -> None:
    node = LosingNode(reached=True)
    assert sender(node).send(SIGNER, TO, b"").status == 1
    assert node.sends == 1


def test_a_transaction_of_unknown_fate_is_an_error_that_names_it_and_is_not_sent_again() -> None:
    node = LosingNode(reached=False)
    with pytest.raises(Web3ProviderSendError, match="may have been sent, or not") as caught:
        sender(node).send(SIGNER, TO, b"")
    assert node.sends == 1
    assert caught.value.tx_hash is not None
    assert caught.value.tx_hash in str(caught.value)
    assert "KEY" not in str(caught.value)


def test_a_node_that_knows_the_transaction_already_counts_as_sent() -> None:
    node = FakeNode()

    def known(raw: str) -> str:
        node.mine(raw)
        raise NodeError(-32000, "already known")

    node.answers["eth_sendRawTransaction"] = known
    assert sender(node).send(SIGNER, TO, b"").status == 1
    assert sent(node) == 1


def test_a_nonce_that_is_too_low_because_the_transaction_is_mined_already_counts_as_sent() -> None:
    node = FakeNode()

    def mined_through_a_retrying_proxy(raw: str) -> str:
        node.mine(raw)
        raise NodeError(-32000, "nonce too low")

    node.answers["eth_sendRawTransaction"] = mined_through_a_retrying_proxy
    assert sender(node).send(SIGNER, TO, b"").status == 1


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("nonce too low", "has taken nonce 0"),
        ("replacement transaction underpriced", "has taken nonce 0"),
        ("transaction underpriced", "the node refused the transaction"),
        ("max fee per gas less than block base fee", "the node refused the transaction"),
    ],
)
def test_a_clear_refusal_is_not_signed_again_and_has_no_hash_to_look_for(message: str, expected: str) -> None:
    node = FakeNode(eth_sendRawTransaction=NodeError(-32000, message))
    with pytest.raises(Web3ProviderSendError, match=expected) as caught:
        sender(node).send(SIGNER, TO, b"")
    assert caught.value.tx_hash is None
    assert sent(node) == 1


def test_an_unclear_refusal_keeps_the_hash() -> None:
    node = FakeNode(eth_sendRawTransaction=NodeError(-32603, "internal error"))
    with pytest.raises(Web3ProviderSendError, match="internal error") as caught:
        sender(node).send(SIGNER, TO, b"")
    assert caught.value.tx_hash is not None


def test_a_node_that_sees_too_little_gas_money_is_an_error_about_funds() -> None:
    node = FakeNode(eth_sendRawTransaction=NodeError(-32000, "insufficient funds for gas * price + value"))
    with pytest.raises(InsufficientFundsError):
        sender(node).send(SIGNER, TO, b"")


def test_a_transaction_that_is_not_mined_in_time_is_an_error_that_names_it() -> None:
    node = FakeNode(eth_getTransactionReceipt=None)
    with pytest.raises(Web3ProviderSendError, match=r"not confirmed within 0\.1 s") as caught:
        sender(node, timeout_s=0.1).send(SIGNER, TO, b"")
    assert caught.value.tx_hash in node.mined


def test_confirmations_are_waited_for() -> None:
    heads = iter(["0x10", "0x11", "0x12"])
    node = FakeNode(eth_blockNumber=lambda: next(heads))
    sender(node, confirms=3).send(SIGNER, TO, b"")
    assert next(heads, None) is None


def test_a_node_that_fails_while_the_receipt_is_waited_for_is_asked_again() -> None:
    node = FakeNode()
    failures = [NodeError(-32603, "busy"), {"noise": 1}, NodeError(-32603, "busy")]
    node.answers["eth_getTransactionReceipt"] = lambda tx: failures.pop() if failures else node.receipt(tx)
    assert sender(node).send(SIGNER, TO, b"").status == 1
    assert sent(node) == 1


def test_a_mined_transaction_that_reverted_tells_why_and_keeps_its_hash() -> None:
    node = FakeNode()
    calls = iter(["0x", NodeError(3, "execution reverted: task-pending")])
    node.answers["eth_call"] = lambda *_: next(calls)
    node.answers["eth_getTransactionReceipt"] = lambda tx: {**(node.receipt(tx) or {}), "status": "0x0"}
    with pytest.raises(
        Web3ProviderSendError, match="mined and the contract refused it: the task is not completed"
    ) as caught:
        sender(node).send(SIGNER, TO, b"")
    assert caught.value.tx_hash in node.mined


@pytest.mark.parametrize("stage", ["eth_sendRawTransaction", "eth_getTransactionReceipt"])
def test_a_ctrl_c_after_signing_passes_and_names_the_transaction(stage: str) -> None:
    node = FakeNode()

    def interrupt(argument: str) -> object:
        raise KeyboardInterrupt

    node.answers[stage] = interrupt
    with pytest.raises(KeyboardInterrupt) as caught:
        sender(node).send(SIGNER, TO, b"")
    assert "0x" in caught.value.__notes__[0]


def test_threads_of_one_wallet_never_use_the_same_nonce() -> None:
    node = FakeNode()
    slow = node.mine

    def mine(raw: str) -> str:
        time.sleep(0.005)
        return slow(raw)

    node.answers["eth_sendRawTransaction"] = mine
    transactions = sender(node)
    threads = [threading.Thread(target=transactions.send, args=(SIGNER, TO, bytes([i]))) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(node.mined) == 8
    assert sent(node) == 8


def test_a_node_that_lags_behind_does_not_get_a_used_nonce() -> None:
    node = FakeNode()
    transactions = sender(node)
    transactions.send(SIGNER, TO, b"\1")
    counts = iter(["0x0", "0x0", "0x1"])
    node.answers["eth_getTransactionCount"] = lambda *_: next(counts)
    transactions.send(SIGNER, TO, b"\2")
    assert next(counts, None) is None


@pytest.mark.parametrize("method", ["eth_getBalance", "eth_gasPrice", "eth_estimateGas", "eth_getBlockByNumber"])
@pytest.mark.parametrize("answer", [None, "zz", [], {"gasLimit": 5}, "0x" + "f" * 70])
def test_a_hostile_answer_before_sending_is_a_typed_error(method: str, answer: object) -> None:
    node = FakeNode(**{method: answer})
    with pytest.raises(Web3ProviderCallError):
        sender(node).send(SIGNER, TO, b"")
    assert sent(node) == 0


def test_a_chosen_gas_price_replaces_what_the_node_proposes() -> None:
    node = FakeNode()
    quote = sender(node, gas_price=7 * 10**9).quote(SIGNER.address, TO, b"")
    assert (quote.fees, quote.max_fee) == ({"gasPrice": 7 * 10**9}, 26_250 * 7 * 10**9)
    sender(node, gas_price=7 * 10**9).send(SIGNER, TO, b"")
    # A transaction of the first kind, whose price is fixed: its encoding is a list and not a type and a list.
    assert next(iter(node.mined.values()))[0] >= 0xC0


def test_a_gas_price_of_nothing_is_taken_where_gas_costs_nothing_and_refused_elsewhere() -> None:
    free = FakeNode(eth_getBalance="0x0", eth_getBlockByNumber={**BLOCK, "baseFeePerGas": "0x0"})
    assert sender(free, gas_price=0).send(SIGNER, TO, b"").status == 1
    for price in (0, 10**9 - 1):
        node = FakeNode()
        with pytest.raises(ConfigurationError, match=f"a gas price of {price} wei is below") as caught:
            sender(node, gas_price=price).send(SIGNER, TO, b"")
        assert "--gas-price" in str(caught.value.hint)
        assert sent(node) == 0


def test_an_absurd_gas_price_is_not_paid() -> None:
    node = FakeNode(eth_getBalance=hex(10**22))
    with pytest.raises(Web3ProviderSendError, match=r"a gas price of 1000000000000000 wei comes to up to 26\.25 ether"):
        sender(node, gas_price=10**15).send(SIGNER, TO, b"")
    assert sent(node) == 0


def test_no_more_is_paid_than_was_shown() -> None:
    node = FakeNode()
    shown = sender(node).quote(SIGNER.address, TO, b"")
    dearer = {**BLOCK, "baseFeePerGas": hex(14 * 10**8)}
    node.answers["eth_getBlockByNumber"] = lambda *_: dearer
    later = sender(node).quote(SIGNER.address, TO, b"", max_fee=shown.max_fee)
    assert later.max_fee == shown.max_fee
    assert later.fees == {"maxFeePerGas": 3 * 10**9, "maxPriorityFeePerGas": 10**9}
    node.answers["eth_getBlockByNumber"] = lambda *_: {**BLOCK, "baseFeePerGas": hex(31 * 10**8)}
    with pytest.raises(Web3ProviderSendError, match=r"risen above the 0\.00007875 ether that was shown"):
        sender(node).send(SIGNER, TO, b"", max_fee=shown.max_fee)
    assert sent(node) == 0


def test_a_fixed_price_that_rose_is_not_lowered_behind_the_chain_s_back() -> None:
    node = FakeNode(eth_getBlockByNumber={**BLOCK, "baseFeePerGas": None})
    shown = sender(node).quote(SIGNER.address, TO, b"")
    node.answers["eth_gasPrice"] = hex(3 * 10**9)
    with pytest.raises(Web3ProviderSendError, match="have risen above"):
        sender(node).send(SIGNER, TO, b"", max_fee=shown.max_fee)
    assert sent(node) == 0


def test_a_transaction_that_needs_more_gas_than_was_shown_costs_no_more() -> None:
    node = FakeNode()
    shown = sender(node).quote(SIGNER.address, TO, b"")
    node.answers["eth_estimateGas"] = hex(42_000)
    later = sender(node).quote(SIGNER.address, TO, b"", max_fee=shown.max_fee)
    assert (later.gas, later.fees["maxFeePerGas"]) == (52_500, 15 * 10**8)
    assert later.max_fee <= shown.max_fee


def spent(node: FakeNode) -> tuple[int, int, int]:
    """Return gas, price and value of the one transaction that was sent."""
    (raw,) = node.mined.values()
    fields = rlp.decode(raw[1:]) if raw[0] == 2 else [b"", *rlp.decode(raw)]
    numbers = [int.from_bytes(one, "big") for one in fields[:7]]
    return (numbers[4], numbers[3], numbers[6]) if raw[0] == 2 else (numbers[3], numbers[2], numbers[5])


@pytest.mark.parametrize("base", [hex(10**9), hex(7), None, "0x0"])
@pytest.mark.parametrize("gas_price", [None, 5 * 10**9])
def test_everything_is_sent_to_the_last_wei(base: str | None, gas_price: int | None) -> None:
    node = FakeNode(eth_getBlockByNumber={**BLOCK, "baseFeePerGas": base})
    transactions = sender(node, gas_price=gas_price)
    shown = transactions.quote_all(SIGNER.address, TO, at_most=10**18)
    value, receipt = transactions.send_all(SIGNER, TO, at_most=10**18, max_fee=shown.max_fee)
    gas, price, sent_value = spent(node)
    assert (value, receipt.status, gas) == (sent_value, 1, 21_000)
    assert value + gas * price == 10**18
    # What is agreed to is charged, so that nothing stays behind.
    assert len(set(shown.fees.values())) == 1
    assert sent(node) == 1


def test_on_a_chain_that_charges_for_bytes_everything_is_sent_with_room_in_the_gas() -> None:
    node = FakeNode(eth_estimateGas=hex(60_000))
    value, _ = sender(node).send_all(SIGNER, TO, at_most=10**18, max_fee=10**18)
    gas, price, _ = spent(node)
    assert gas == 75_000
    assert value + gas * price == 10**18


def test_no_more_is_sent_than_was_agreed_to_however_much_there_is() -> None:
    node = FakeNode(eth_getBalance=hex(5 * 10**18))
    value, _ = sender(node).send_all(SIGNER, TO, at_most=10**18, max_fee=10**17)
    gas, price, _ = spent(node)
    assert value + gas * price == 10**18


@pytest.mark.parametrize("funds", [0, 1, 21_000 * 25 * 10**8])
def test_fees_that_are_all_that_there_is_send_nothing(funds: int) -> None:
    node = FakeNode(eth_getBalance=hex(funds))
    with pytest.raises(InsufficientFundsError, match="Tx fees are greater than wallet balance"):
        sender(node).send_all(SIGNER, TO, at_most=10**18, max_fee=10**18)
    assert sent(node) == 0


def test_everything_is_not_counted_while_a_transaction_is_on_its_way() -> None:
    counts = {"pending": "0x3", "latest": "0x2"}
    node = FakeNode(eth_getTransactionCount=lambda _, block: counts[block])
    with pytest.raises(Web3ProviderSendError, match="is on its way") as caught:
        sender(node).send_all(SIGNER, TO, at_most=10**18, max_fee=10**18)
    assert caught.value.tx_hash is None
    assert sent(node) == 0
    counts["latest"] = "0x3"
    assert sender(node).send_all(SIGNER, TO, at_most=10**18, max_fee=10**18)[1].status == 1


def test_a_password_is_asked_for_before_the_wallet_is_taken_from_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keystore, "SCRYPT", {"n": 2, "r": 8, "p": 1})
    path = keystore.create_keystore(Secret(b"\7" * 32), Secret("pw"), tmp_path)
    free: list[bool] = []

    def ask() -> str:
        lock = send_lock(CHAIN_ID, SIGNER.address)._threads
        free.append(lock.acquire(blocking=False))
        lock.release()
        return "pw"

    sender(FakeNode()).send(KeystoreSigner(path, ask), TO, b"")
    sender(FakeNode()).send_all(KeystoreSigner(path, ask), TO, at_most=10**18, max_fee=10**18)
    assert free == [True, True]


def test_hash_and_nonce_are_told_before_the_node_sees_the_transaction() -> None:
    node = FakeNode()
    told: list[tuple[str, int, int]] = []
    transactions = sender(node)
    for _ in range(2):
        receipt = transactions.send(
            SIGNER, TO, b"\1", on_signed=lambda tx_hash, nonce: told.append((tx_hash, nonce, sent(node)))
        )
        assert told[-1][0] == receipt.tx_hash
    assert [one[1:] for one in told] == [(0, 0), (1, 1)]


def test_a_transaction_that_cannot_be_written_down_is_not_sent_and_its_nonce_is_free() -> None:
    node = FakeNode()
    transactions = sender(node)

    def full(tx_hash: str, nonce: int) -> None:
        raise ConfigurationError("the disk is full")

    with pytest.raises(ConfigurationError, match="the disk is full"):
        transactions.send(SIGNER, TO, b"\1", on_signed=full)
    assert sent(node) == 0
    nonces: list[int] = []
    transactions.send(SIGNER, TO, b"\1", on_signed=lambda tx_hash, nonce: nonces.append(nonce))
    assert nonces == [0]


def test_a_transaction_is_pending_while_the_node_knows_it_and_no_block_has_it() -> None:
    node = FakeNode()
    receipt = sender(node).send(SIGNER, TO, b"\1")
    transactions = sender(node)
    assert transactions.receipt(receipt.tx_hash) == receipt
    assert not transactions.pending(receipt.tx_hash)
    node.answers["eth_getTransactionReceipt"] = None
    assert transactions.pending(receipt.tx_hash)
    assert transactions.receipt(receipt.tx_hash) is None
    assert not transactions.pending("0x" + "00" * 32)


@pytest.mark.parametrize(("said", "price"), [({}, None), ({"effectiveGasPrice": "0x5"}, 5)], ids=["silent", "said"])
def test_a_receipt_tells_what_a_unit_of_gas_cost_where_the_node_does(said: dict[str, str], price: int | None) -> None:
    node = FakeNode()
    node.answers["eth_getTransactionReceipt"] = lambda tx_hash: {**(node.receipt(tx_hash) or {}), **said}
    assert sender(node).send(SIGNER, TO, b"\1").gas_price == price

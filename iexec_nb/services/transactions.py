"""Transactions: prepared and priced in one batch of reads, signed once, sent once, waited for.

Here money can be lost twice: by sending the same wish again after an answer went missing, and by not knowing that it
was sent. So nothing is signed before the node has simulated it and the balance covers it; what was signed is never
signed again; the hash is computed here before the node sees the bytes; and every way out after that carries the hash.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from iexec_nb.errors import (
    ConfigurationError,
    InsufficientFundsError,
    Web3ProviderCallError,
    Web3ProviderSendError,
)
from iexec_nb.protocol.types import Address, Bytes32, address, keccak
from iexec_nb.protocol.units import format_ether
from iexec_nb.services.answers import RpcFailure, quantity
from iexec_nb.services.fees import Fees, Market
from iexec_nb.services.locks import send_lock
from iexec_nb.services.receipts import Receipt
from iexec_nb.services.wallet import KeystoreSigner, Signer

if TYPE_CHECKING:
    from iexec_nb.services.rpc import Rpc

MAX_COST_WEI = 5 * 10**17
"""Half an ether: a node that asks for more in fees for one transaction is not believed."""

OnSigned = Callable[[Bytes32, int], None]
"""What is told the hash and the nonce of a transaction that is signed, before the node sees it."""

_PLAIN_GAS = 21_000
"""What sending ether to an address without code takes, to the unit, on Ethereum."""
_FIRST_PAUSE_S = 0.005
_LAST_PAUSE_S = 1.0
_NONCE_LAG_S = 3.0
_SENT_ALREADY = ("already known", "known transaction", "already imported", "already exists", "alreadyknown")
_NOT_TAKEN = (
    "underpriced",
    "intrinsic gas",
    "gas limit",
    "base fee",
    "chain id",
    "chainid",
    "nonce too high",
    "invalid sender",
    "rate limit",
    "too many requests",
    "method not found",
)


@dataclass(frozen=True, kw_only=True)
class Quote:
    """What a transaction will need: `gas` units, `fees` per unit, and `max_cost` in wei, `value` included."""

    gas: int
    fees: Fees
    value: int
    max_cost: int

    @property
    def max_fee(self) -> int:
        """The most that the fees come to, in wei."""
        return self.max_cost - self.value


class Transactions:
    """Sends transactions on one chain.

    Parameters
    ----------
    rpc
        The node.
    chain_id
        The chain that was asked for; the node is asked again before every transaction.
    confirms
        Blocks to wait for, the one that holds the transaction included.
    timeout_s
        Seconds to wait for them.
    lookup_s
        Seconds to look for a transaction whose sending was not answered.
    max_cost
        The most that one transaction may cost in fees, in wei.
    gas_price
        Wei for a unit of gas, instead of what the node proposes.
    """

    def __init__(
        self,
        rpc: Rpc,
        chain_id: int,
        *,
        confirms: int = 1,
        timeout_s: float = 180.0,
        lookup_s: float = 10.0,
        max_cost: int = MAX_COST_WEI,
        gas_price: int | None = None,
    ) -> None:
        self._rpc = rpc
        self._chain_id = chain_id
        self._confirms = confirms
        self._timeout_s = timeout_s
        self._lookup_s = lookup_s
        self._max_cost = max_cost
        self._gas_price = gas_price
        self._used_nonce: dict[Address, int] = {}

    def quote(
        self,
        account: Address,
        to: Address,
        data: bytes,
        *,
        value: int = 0,
        gas: int | None = None,
        max_fee: int | None = None,
    ) -> Quote:
        """Simulate a transaction and return what it needs; nothing is signed or sent.

        Raises
        ------
        Web3ProviderCallError
            When the contract would refuse, with its reason.
        InsufficientFundsError
            When the account cannot pay the value and the gas, with the amounts in ether.
        ConfigurationError
            When the node is of another chain, or the gas price that was chosen is too low.
        Web3ProviderSendError
            When the fees come to more than `max_fee` wei, or than any transaction should cost.
        """
        call = {"from": account, "to": to, "data": "0x" + data.hex(), "value": hex(value)}
        requests: list[tuple[str, list[Any]]] = [("eth_call", [call, "latest"])]
        if gas is None:
            requests.append(("eth_estimateGas", [call]))
        funds, market, (simulated, *estimate) = self._look(account, requests)
        if funds < value:
            raise _too_poor(account, funds, value, value)
        self._check_simulation(simulated)
        needed = gas if gas is not None else self._with_margin(estimate[0], market.gas_limit, account, funds)
        fees = market.fees(self._gas_price)
        if market.base == 0 and self._gas_price is None and funds < needed * max(fees.values()) + value:
            # On a chain without gas costs nodes still propose a tip; a wallet without coins sends without it.
            fees = {"maxFeePerGas": 0, "maxPriorityFeePerGas": 0}
        fees = market.within(fees, needed, max_fee)
        fee = needed * max(fees.values())
        if funds < fee + value:
            raise _too_poor(account, funds, fee + value, value)
        self._check_fee(fee)
        return Quote(gas=needed, fees=fees, value=value, max_cost=fee + value)

    def send(
        self,
        signer: Signer,
        to: Address,
        data: bytes,
        *,
        value: int = 0,
        gas: int | None = None,
        max_fee: int | None = None,
        on_signed: OnSigned | None = None,
    ) -> Receipt:
        """Sign a transaction, send it once, wait until it is confirmed, and return its receipt.

        Parameters
        ----------
        signer
            The wallet that pays.
        to, data
            The contract and the call; no data sends ether and nothing else.
        value
            Wei to send along.
        gas
            Gas limit; estimated with a quarter on top when None.
        max_fee
            The most that the fees may come to, in wei: what was shown to the person who agreed.
        on_signed
            Called with the hash and the nonce before the node sees the transaction; when it raises, nothing is sent.

        Raises
        ------
        Web3ProviderCallError, InsufficientFundsError, ConfigurationError
            As `quote`; nothing was sent.
        Web3ProviderSendError
            When the node refused it, it reverted, or its fate is unknown; `.tx_hash` is set where it may be mined.
        """
        account, to = address(signer.address), address(to, "to")
        quote = self.quote(account, to, data, value=value, gas=gas, max_fee=max_fee)
        _unlock(signer)
        with send_lock(self._chain_id, account):
            tx_hash = self._sign_and_send(signer, to, data, quote, self._nonce(account), on_signed)
        return self._done(tx_hash, {"from": account, "to": to, "data": "0x" + data.hex(), "value": hex(value)}, quote)

    def quote_all(self, account: Address, to: Address, *, at_most: int, max_fee: int | None = None) -> Quote:
        """Return what it takes to send everything: all wei of a wallet, of which nothing but the fees is kept back.

        Parameters
        ----------
        account, to
            From whom to whom; `to` has no code.
        at_most
            Wei of the wallet that may leave it, fees included.
        max_fee
            As for `send`.

        Raises
        ------
        InsufficientFundsError
            When the fees are all that there is, or more.
        Web3ProviderCallError, ConfigurationError, Web3ProviderSendError
            As `quote`.
        """
        # Of the size that the real value has: some chains charge for bytes.
        call = {"from": account, "to": to, "data": "0x", "value": hex(at_most // 2)}
        funds, market, (estimate,) = self._look(account, [("eth_estimateGas", [call])])
        gas = self._with_margin(estimate, market.gas_limit, account, funds, exact=_PLAIN_GAS)
        fees = market.within(market.fees_paid_whole(self._gas_price), gas, max_fee)
        fee, sum_ = gas * max(fees.values()), min(funds, at_most)
        if fee >= sum_:
            raise InsufficientFundsError(
                "Tx fees are greater than wallet balance",
                context={"wallet": account, "balance": format_ether(sum_), "fees": format_ether(fee)},
            )
        self._check_fee(fee)
        return Quote(gas=gas, fees=fees, value=sum_ - fee, max_cost=sum_)

    def send_all(self, signer: Signer, to: Address, *, at_most: int, max_fee: int) -> tuple[int, Receipt]:
        """Send everything that `quote_all` counts, once; return the wei that arrived and the receipt.

        Raises
        ------
        InsufficientFundsError, Web3ProviderCallError, ConfigurationError
            As `quote_all`; nothing was sent.
        Web3ProviderSendError
            As `send`; also when another transaction of the wallet is on its way, which would have to be paid too.
        """
        account, to = address(signer.address), address(to, "to")
        _unlock(signer)
        with send_lock(self._chain_id, account):
            nonce = self._settled_nonce(account)
            quote = self.quote_all(account, to, at_most=at_most, max_fee=max_fee)
            tx_hash = self._sign_and_send(signer, to, b"", quote, nonce)
        call = {"from": account, "to": to, "data": "0x", "value": hex(quote.value)}
        return quote.value, self._done(tx_hash, call, quote)

    def wait(self, tx_hash: Bytes32, *, confirms: int | None = None, timeout_s: float | None = None) -> Receipt:
        """Wait until a transaction is confirmed and return its receipt, of whatever status.

        Raises
        ------
        Web3ProviderSendError
            When that does not happen within `timeout_s`; the transaction may still be mined later.
        """
        confirms = self._confirms if confirms is None else confirms
        limit = self._timeout_s if timeout_s is None else timeout_s
        deadline = time.monotonic() + limit
        pause = _FIRST_PAUSE_S
        problem: Web3ProviderCallError | None = None
        with _Naming(tx_hash):
            while True:
                try:
                    receipt = self._confirmed(tx_hash, confirms)
                except Web3ProviderCallError as error:
                    receipt, problem = None, error
                if receipt is not None:
                    return receipt
                left = deadline - time.monotonic()
                if left <= 0:
                    break
                time.sleep(min(pause, left))
                pause = min(pause * 1.5, _LAST_PAUSE_S)
        raise Web3ProviderSendError(
            f"the transaction was sent and not confirmed within {limit:g} s; it may still be",
            tx_hash=tx_hash,
            context={"transaction": tx_hash, "confirmations": confirms, "node": self._rpc.host},
            hint="look it up before you send it again",
        ) from problem

    def receipt(self, tx_hash: Bytes32) -> Receipt | None:
        """Return the receipt of a transaction that was mined, of whatever status, or None."""
        return self._confirmed(tx_hash, 1)

    def pending(self, tx_hash: Bytes32) -> bool:
        """Return whether the node knows a transaction that is not mined yet."""
        known, receipt = self._rpc.batch(
            [("eth_getTransactionByHash", [tx_hash]), ("eth_getTransactionReceipt", [tx_hash])]
        )
        return isinstance(known, dict) and receipt is None

    def _look(self, account: Address, requests: Sequence[tuple[str, list[Any]]]) -> tuple[int, Market, list[Any]]:
        """Return the balance in wei, what gas costs, and the answers to more requests, from one batch."""
        chain_id, balance, block, price, tip, *rest = self._rpc.outcomes(
            [
                ("eth_chainId", []),
                ("eth_getBalance", [account, "latest"]),
                ("eth_getBlockByNumber", ["latest", False]),
                ("eth_gasPrice", []),
                ("eth_maxPriorityFeePerGas", []),
                *requests,
            ]
        )
        self._check_chain(self._number(chain_id))
        return self._number(balance), Market.from_rpc(block, price, tip, self._rpc.host), rest

    def _sign_and_send(
        self, signer: Signer, to: Address, data: bytes, quote: Quote, nonce: int, on_signed: OnSigned | None = None
    ) -> Bytes32:
        account = address(signer.address)
        body = {"chainId": self._chain_id, "nonce": nonce, "to": to, "value": quote.value, "gas": quote.gas}
        raw = signer.sign_transaction({**body, "data": data, **quote.fees})
        tx_hash = "0x" + keccak(raw).hex()
        if on_signed is not None:
            on_signed(tx_hash, nonce)
        with _Naming(tx_hash):
            self._broadcast(raw, tx_hash, account, nonce)
        self._used_nonce[account] = nonce
        return tx_hash

    def _done(self, tx_hash: Bytes32, call: Mapping[str, str], quote: Quote) -> Receipt:
        receipt = self.wait(tx_hash)
        if receipt.status != 1:
            raise self._reverted(receipt, call, quote)
        return receipt

    def _check_chain(self, answered: int) -> None:
        if answered != self._chain_id:
            raise ConfigurationError(
                f"the node is of chain {answered}, not of chain {self._chain_id}; nothing was sent",
                context={"node": self._rpc.host},
                hint=f"give an RPC URL of chain {self._chain_id}",
            )

    def _check_simulation(self, outcome: object) -> None:
        if not isinstance(outcome, RpcFailure):
            return
        context = {"node": self._rpc.host, "code": outcome.code}
        if outcome.reverted:
            raise Web3ProviderCallError(
                f"the contract would refuse this transaction, so it was not sent: {outcome.reason}", context=context
            )
        raise Web3ProviderCallError(
            f"the node could not simulate this transaction, so it was not sent: {outcome.message}", context=context
        )

    def _with_margin(self, estimate: object, limit: int, account: Address, funds: int, exact: int | None = None) -> int:
        if isinstance(estimate, RpcFailure):
            text = estimate.message.lower()
            if "insufficient funds" in text or "exceeds allowance" in text:
                raise _too_poor(account, funds, None, 0)
            self._check_simulation(estimate)
        gas = quantity(estimate)
        if gas == exact:
            return gas
        return min(gas + gas // 4, limit) if limit >= gas else gas

    def _check_fee(self, fee: int) -> None:
        if fee > self._max_cost:
            asks = "the node asks" if self._gas_price is None else f"a gas price of {self._gas_price} wei comes to"
            raise Web3ProviderSendError(
                f"{asks} up to {format_ether(fee)} in fees for this transaction, which is not believed",
                context={"limit": format_ether(self._max_cost), "node": self._rpc.host},
                hint="nothing was sent; try another RPC URL, or raise the limit",
            )

    def _number(self, outcome: object) -> int:
        if isinstance(outcome, RpcFailure):
            raise outcome.error(self._rpc.host)
        return quantity(outcome)

    def _nonce(self, account: Address) -> int:
        # Behind a load balancer another node may not have seen yet what was sent a moment ago, and the same nonce
        # with a higher fee would replace it.
        deadline = time.monotonic() + _NONCE_LAG_S
        while True:
            nonce = quantity(self._rpc.call("eth_getTransactionCount", account, "pending"))
            if nonce > self._used_nonce.get(account, -1) or time.monotonic() >= deadline:
                return nonce
            time.sleep(0.05)

    def _settled_nonce(self, account: Address) -> int:
        """Return the nonce of a wallet none of whose transactions is on its way."""
        deadline = time.monotonic() + _NONCE_LAG_S
        while True:
            nonce = self._nonce(account)
            if quantity(self._rpc.call("eth_getTransactionCount", account, "latest")) == nonce:
                return nonce
            if time.monotonic() >= deadline:
                raise Web3ProviderSendError(
                    "another transaction of this wallet is on its way, so what will be left is not known; "
                    "nothing was sent",
                    context={"wallet": account},
                    hint="wait until it is mined, then run it again",
                )
            time.sleep(0.05)

    def _broadcast(self, raw: bytes, tx_hash: Bytes32, account: Address, nonce: int) -> None:
        context = {"transaction": tx_hash, "from": account, "nonce": nonce, "node": self._rpc.host}
        try:
            answer = self._rpc.send_raw(raw)
        except Web3ProviderCallError as error:
            if self._found(tx_hash, self._lookup_s):
                return
            raise _unknown_fate(f"{error.message}", tx_hash, context) from error
        if not isinstance(answer, RpcFailure):
            return
        text = answer.message.lower()
        if any(words in text for words in _SENT_ALREADY) or self._found(tx_hash, 0):
            return
        if "insufficient funds" in text:
            raise InsufficientFundsError(
                f"the wallet cannot pay for the gas: {answer.message}; nothing was sent", context=context
            )
        if "nonce too low" in text or "replacement" in text:
            raise Web3ProviderSendError(
                f"another transaction of this wallet has taken nonce {nonce}; this one was not sent",
                context=context,
                hint="wait until the other one is mined, then run it again",
            )
        if any(words in text for words in _NOT_TAKEN):
            raise Web3ProviderSendError(f"the node refused the transaction: {answer.message}", context=context)
        raise _unknown_fate(f"the node answered: {answer.message}", tx_hash, context)

    def _found(self, tx_hash: Bytes32, within_s: float) -> bool:
        deadline = time.monotonic() + within_s
        pause = 0.1
        while True:
            try:
                answers = self._rpc.outcomes(
                    [("eth_getTransactionByHash", [tx_hash]), ("eth_getTransactionReceipt", [tx_hash])]
                )
            except Web3ProviderCallError:
                answers = []
            if any(isinstance(a, dict) and tx_hash in (a.get("hash"), a.get("transactionHash")) for a in answers):
                return True
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            time.sleep(min(pause, left))
            pause = min(pause * 2, _LAST_PAUSE_S)

    def _confirmed(self, tx_hash: Bytes32, confirms: int) -> Receipt | None:
        requests: list[tuple[str, list[Any]]] = [("eth_getTransactionReceipt", [tx_hash])]
        if confirms > 1:
            requests.append(("eth_blockNumber", []))
        answer, *head = self._rpc.batch(requests)
        if answer is None:
            return None
        receipt = Receipt.from_rpc(answer, tx_hash)
        if head and quantity(head[0]) < receipt.block_number + confirms - 1:
            return None
        return receipt

    def _reverted(self, receipt: Receipt, call: Mapping[str, str], quote: Quote) -> Web3ProviderSendError:
        reason = "out of gas" if receipt.gas_used >= quote.gas else "no reason given"
        try:
            outcome = self._rpc.outcomes([("eth_call", [dict(call), hex(receipt.block_number)])])[0]
            reason = outcome.reason if isinstance(outcome, RpcFailure) and outcome.reverted else reason
        except Web3ProviderCallError:
            # The reason is a courtesy; that it reverted is known.
            pass
        return Web3ProviderSendError(
            f"the transaction was mined and the contract refused it: {reason}",
            tx_hash=receipt.tx_hash,
            context={"transaction": receipt.tx_hash, "block": receipt.block_number, "gas used": receipt.gas_used},
        )


class _Naming:
    """Adds the hash to a Ctrl-C, so that a person who stops the waiting knows what to look for."""

    def __init__(self, tx_hash: Bytes32) -> None:
        self._tx_hash = tx_hash

    def __enter__(self) -> None:
        """Begin."""

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """Name the transaction in what interrupts."""
        if isinstance(error, KeyboardInterrupt):
            error.add_note(f"transaction {self._tx_hash} may be on its way: look it up before you send it again")


def _unknown_fate(message: str, tx_hash: Bytes32, context: Mapping[str, object]) -> Web3ProviderSendError:
    return Web3ProviderSendError(
        f"the transaction may have been sent, or not: {message}",
        tx_hash=tx_hash,
        context=context,
        hint="look the transaction up before you try again; it was not signed a second time",
    )


def _too_poor(account: Address, funds: int, needed: int | None, value: int) -> InsufficientFundsError:
    context = {"wallet": account, "balance": format_ether(funds)}
    if needed is None:
        return InsufficientFundsError(
            "the wallet has too little ether for the gas of this transaction", context=context
        )
    context["needed at most"] = format_ether(needed)
    if value:
        context["of it sent along"] = format_ether(value)
    return InsufficientFundsError(
        f"the wallet holds {format_ether(funds)}, the transaction needs up to {format_ether(needed)}; nothing was sent",
        context=context,
        hint="send ether to the wallet: the chain's gas is paid in it",
    )


def _unlock(signer: Signer) -> None:
    # Before the lock is taken: a person may take their time with the password.
    if isinstance(signer, KeystoreSigner):
        signer.unlock()

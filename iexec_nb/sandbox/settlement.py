"""How a result gets onto the chain: the transactions and signatures of scheduler, workers and enclave.

Trust 0 and 1 take the short way, ``initialize`` and ``contributeAndFinalize``. More trust takes four steps, with as
many workers as the contract wants before it believes them: ``contribute`` locks their stake, ``reveal`` shows the
result, ``finalize`` pays (contracts ``IexecPoco2Facet``, section 5 and 6 of the protocol reference).
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from iexec_nb.errors import SandboxError
from iexec_nb.protocol.execution import TaskStatus, authorization_hash, result_hash, result_seal
from iexec_nb.protocol.typed_data import address_of, personal_digest, sign_digest
from iexec_nb.protocol.types import NULL_ADDRESS, Address, Secret, hexbytes, keccak
from iexec_nb.sandbox.postcompute import Product
from iexec_nb.sandbox.records import RunRecords
from iexec_nb.sandbox.session import Assignment
from iexec_nb.services import abi
from iexec_nb.services.receipts import Receipt

if TYPE_CHECKING:
    from iexec_nb.services.chain import Chain

RECEIPT_TIMEOUT_S = 30.0

_RECEIPT_POLL_S = 0.005


@dataclass(frozen=True, slots=True)
class _Claim:
    """What one worker puts forward: its result, and that scheduler and enclave stand behind it."""

    worker: Address
    enclave: Address
    enclave_sign: bytes
    authorization_sign: bytes
    result_hash: bytes
    result_seal: bytes


class Settlement:
    """Sends the transactions of schedulers and workers.

    Parameters
    ----------
    chain
        The local chain; its node signs for the senders.
    accounts
        The workers, the first one first.
    """

    def __init__(self, chain: Chain, accounts: Sequence[Address]) -> None:
        self._chain = chain
        self._accounts = tuple(accounts)
        self._owners: dict[Address, tuple[Address, Secret]] = {}
        self._lock = threading.Lock()
        self._impersonated: set[Address] = set()
        self._sending = threading.Lock()
        for account in self._accounts:
            self._impersonate(account)

    @property
    def pools(self) -> frozenset[Address]:
        """The workerpools that work."""
        return frozenset(self._owners)

    def add_pool(self, workerpool: Address, owner_key: Secret) -> None:
        """Let a workerpool work; its owner's key signs the authorizations."""
        owner = address_of(owner_key)
        self._impersonate(owner)
        self._owners[workerpool] = (owner, owner_key)

    def initialize(self, task: Assignment) -> int:
        """Send ``initialize`` for a task, unless somebody did; return the block number."""
        if self._chain.tasks([task.taskid])[0] is not None:
            return self._chain.block_number()
        data = abi.INITIALIZE.encode(hexbytes(task.deal.dealid), task.idx)
        return self._send(self._scheduler(task)[0], data, "initialize").block_number

    def settle(self, task: Assignment, product: Product, records: RunRecords) -> None:
        """Bring a result onto the chain and record each step.

        Parameters
        ----------
        task
            The initialized task.
        product
            Its result.
        records
            Where the steps are written.

        Raises
        ------
        IExecError
            When the chain refuses a step: a deadline has passed, or a worker lacks stake.
        """
        if task.deal.trust <= 1:
            self._in_one_step(task, product, records)
        else:
            self._in_four_steps(task, product, records)

    def _in_one_step(self, task: Assignment, product: Product, records: RunRecords) -> None:
        claim = self._claim(task, product, self._accounts[0])
        records.replicate_status(task.taskid, claim.worker, "CONTRIBUTE_AND_FINALIZE_ONGOING")
        data = abi.CONTRIBUTE_AND_FINALIZE.encode(
            hexbytes(task.taskid),
            hexbytes(product.digest),
            product.results,
            product.callback,
            claim.enclave,
            claim.enclave_sign,
            claim.authorization_sign,
        )
        self._send(claim.worker, data, "contributeAndFinalize")
        records.replicate_status(task.taskid, claim.worker, "CONTRIBUTE_AND_FINALIZE_DONE", "COMPLETING", "COMPLETED")
        records.task_status(task.taskid, "FINALIZED", "COMPLETED")

    def _in_four_steps(self, task: Assignment, product: Product, records: RunRecords) -> None:
        workers = self._contribute(task, product, records)
        records.task_status(task.taskid, "CONSENSUS_REACHED")
        for worker in workers:
            records.replicate_status(task.taskid, worker, "REVEALING")
            self._send(worker, abi.REVEAL.encode(hexbytes(task.taskid), hexbytes(product.digest)), "reveal")
            records.replicate_status(task.taskid, worker, "REVEALED")
        records.task_status(task.taskid, "AT_LEAST_ONE_REVEALED", "RESULT_UPLOADING", "RESULT_UPLOADED", "FINALIZING")
        data = abi.FINALIZE.encode(hexbytes(task.taskid), product.results, product.callback)
        self._send(self._scheduler(task)[0], data, "finalize")
        for worker in workers:
            records.replicate_status(task.taskid, worker, "COMPLETING", "COMPLETED")
        records.task_status(task.taskid, "FINALIZED", "COMPLETED")

    def _contribute(self, task: Assignment, product: Product, records: RunRecords) -> list[Address]:
        """Let one worker after the other contribute until the contract believes them; return those who did."""
        workers: list[Address] = []
        for worker in self._accounts:
            claim = self._claim(task, product, worker)
            records.replicate_status(task.taskid, worker, "CONTRIBUTING")
            data = abi.CONTRIBUTE.encode(
                hexbytes(task.taskid),
                claim.result_hash,
                claim.result_seal,
                claim.enclave,
                claim.enclave_sign,
                claim.authorization_sign,
            )
            self._send(worker, data, "contribute")
            records.replicate_status(task.taskid, worker, "CONTRIBUTED")
            workers.append(worker)
            if self._chain.task(task.taskid).status is TaskStatus.REVEALING:
                return workers
        raise SandboxError(
            f"{len(workers)} workers are too few for a deal with trust {task.deal.trust}",
            hint="start the sandbox with more workers, or ask for less trust",
        )

    def _claim(self, task: Assignment, product: Product, worker: Address) -> _Claim:
        hashed = hexbytes(result_hash(task.taskid, product.digest))
        seal = hexbytes(result_seal(worker, task.taskid, product.digest))
        enclave, enclave_sign = NULL_ADDRESS, b""
        if task.tee:
            # Where no broker is set the contract takes any key for that of the enclave.
            key = secrets.token_bytes(32)
            enclave, enclave_sign = address_of(key), _signed(keccak(hashed + seal), key)
        authorization = authorization_hash(worker, task.taskid, enclave)
        owner_key = self._scheduler(task)[1]
        return _Claim(worker, enclave, enclave_sign, _signed(authorization, owner_key.reveal_bytes()), hashed, seal)

    def _scheduler(self, task: Assignment) -> tuple[Address, Secret]:
        return self._owners[task.deal.workerpool.pointer]

    def _impersonate(self, account: Address) -> None:
        with self._lock:
            if account not in self._impersonated:
                self._chain.rpc.call("anvil_impersonateAccount", account)
                self._impersonated.add(account)

    def _send(self, sender: Address, data: bytes, what: str) -> Receipt:
        """Send a transaction of an account that the node signs for, and wait until it is mined."""
        rpc = self._chain.rpc
        call = {"from": sender, "to": self._chain.hub_address, "data": "0x" + data.hex()}
        # The estimate runs the transaction: a refusal is known, with its reason, before anything is sent.
        gas = int(rpc.call("eth_estimateGas", call), 16)
        with self._sending:
            # The node counts the nonces: it would give one number to two transactions that arrive together.
            tx_hash = rpc.call("eth_sendTransaction", {**call, "gas": hex(gas * 2)})
        deadline = time.monotonic() + RECEIPT_TIMEOUT_S
        while (answer := rpc.call("eth_getTransactionReceipt", tx_hash)) is None:
            if time.monotonic() > deadline:
                raise SandboxError(f"{what} was not mined within {RECEIPT_TIMEOUT_S:g} s")
            time.sleep(_RECEIPT_POLL_S)
        receipt = Receipt.from_rpc(answer, tx_hash)
        if receipt.status != 1:
            raise SandboxError(f"{what} was refused by the chain")
        return receipt


def _signed(message: bytes, key: bytes) -> bytes:
    return hexbytes(sign_digest(personal_digest(message), key))

"""The sandbox's workers: they notice deals of the sandbox's pools, run the apps, and bring the results onto the chain.

What a real workerpool does with a scheduler, many machines and enclaves, one object does here with the same
contracts: authorizations signed by the pool's owner, results signed for by an enclave key, contributions with stake
where the deal asks for trust. An app that fails contributes nothing, as on iExec; the scheduler's record says why.
"""

from __future__ import annotations

import logging
import queue
import shutil
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from iexec_nb.errors import IExecError, SandboxError
from iexec_nb.protocol.execution import Deal, TaskStatus, task_id
from iexec_nb.protocol.types import NULL_ADDRESS, Address, Bytes32, Secret, shown
from iexec_nb.sandbox.ipfs import BlockStore
from iexec_nb.sandbox.postcompute import Product, conclude
from iexec_nb.sandbox.precompute import Sources, prepare
from iexec_nb.sandbox.records import RunRecords, TaskRecord
from iexec_nb.sandbox.runner import Images, Job, Outcome, Runner
from iexec_nb.sandbox.session import Assignment, StageError, open_session
from iexec_nb.sandbox.settlement import Settlement
from iexec_nb.sandbox.sms import Vault
from iexec_nb.services import abi

if TYPE_CHECKING:
    import httpx

    from iexec_nb.services.chain import Chain

STOP_TIMEOUT_S = 5.0

PARALLEL = 4
"""Tasks that run at the same time: a map shows its bounded concurrency on the smallest machine, too."""

_LOG = logging.getLogger(__name__)
_APP_FAILED = "APP_COMPUTE_FAILED"


class Worker:
    """Watches the chain in a thread and runs the tasks of the sandbox's workerpools in others.

    A pool that is not given here is idle: its tasks are never started and time out.

    Parameters
    ----------
    chain
        The local chain.
    pools
        Workerpools that work, with the private key of their owner, who is the scheduler.
    accounts
        Addresses of the workers; the node signs transactions for them and for the owners, or lets itself be told to
        (``anvil_impersonateAccount``). They need ether, and stake where a deal asks for trust above 1.
    store
        The sandbox's IPFS.
    vault
        The secrets of the sandbox's SMS.
    records
        What the scheduler API answers from.
    images
        Which programs stand for which apps.
    time_limit_s
        Seconds that an app may run; the time reference of the deal's category unless given.
    parallel
        How many tasks run at the same time.
    poll_s
        Seconds between two looks at the chain.
    cache
        A folder that apps may keep caches in between runs.
    transport
        What carries downloads of input files instead of the network.
    within
        Where the folders of tasks are made; the system's place for temporary folders unless given.
    """

    def __init__(
        self,
        chain: Chain,
        *,
        pools: Mapping[Address, Secret],
        accounts: Sequence[Address],
        store: BlockStore,
        vault: Vault,
        records: RunRecords,
        images: Images,
        time_limit_s: float | None = None,
        parallel: int = PARALLEL,
        poll_s: float = 0.02,
        cache: Path | None = None,
        transport: httpx.BaseTransport | None = None,
        within: str | None = None,
    ) -> None:
        self._within = within
        if not accounts:
            raise SandboxError("a worker needs at least one account")
        self._chain = chain
        self._store, self._vault, self._records = store, vault, records
        self._accounts = tuple(accounts)
        self._settlement = Settlement(chain, self._accounts)
        for pool, key in pools.items():
            self._settlement.add_pool(pool, key)
        self._runner = Runner(images, cache)
        self._sources = Sources(store, transport)
        self._time_limit_s = time_limit_s
        self._poll_s = poll_s
        self._stopping = threading.Event()
        self._waiting: queue.SimpleQueue[tuple[Deal, int] | None] = queue.SimpleQueue()
        self._next_block = 0
        self._threads = [
            threading.Thread(target=self._watch, name="iexec_nb-scheduler", daemon=True),
            *(
                threading.Thread(target=self._work, name=f"iexec_nb-worker-{i}", daemon=True)
                for i in range(max(1, parallel))
            ),
        ]

    def __repr__(self) -> str:
        return f"Worker({len(self._settlement.pools)} pools, {len(self._accounts)} accounts)"

    def add_pool(self, workerpool: Address, owner_key: Secret) -> None:
        """Let another workerpool work.

        Parameters
        ----------
        workerpool
            Its address.
        owner_key
            Private key of its owner, who is the scheduler.
        """
        self._settlement.add_pool(workerpool, owner_key)

    def start(self, *, from_block: int | None = None) -> None:
        """Watch the chain.

        Parameters
        ----------
        from_block
            The first block whose deals are taken; that after the latest one unless given.
        """
        self._next_block = self._chain.block_number() + 1 if from_block is None else from_block
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End the apps that are running and the threads; calling it again does nothing."""
        self._stopping.set()
        self._runner.stop()
        for _ in self._threads:
            self._waiting.put(None)
        for thread in self._threads:
            if thread.is_alive() and thread is not threading.current_thread():
                thread.join(STOP_TIMEOUT_S)

    def _watch(self) -> None:
        while not self._stopping.wait(self._poll_s):
            try:
                self._look()
            except IExecError:
                # The node may be busy, or gone a moment before the sandbox stops its worker.
                continue
            except Exception:
                # A thread that ends here would leave everybody waiting for results that never come.
                _LOG.exception("the sandbox's worker could not take new deals")

    def _look(self) -> None:
        newest = self._chain.block_number()
        if newest < self._next_block:
            return
        notices = self._chain.logs(abi.SCHEDULER_NOTICE, from_block=self._next_block, to_block=newest)
        ours = [notice["dealid"] for _, notice in notices if notice["workerpool"] in self._settlement.pools]
        # All deals are read before the first one is taken: a failure here leaves the blocks for the next look.
        deals = [self._chain.deal(dealid) for dealid in ours]
        self._next_block = newest + 1
        for deal in deals:
            for idx in range(deal.botFirst, deal.botFirst + deal.botSize):
                self._waiting.put((deal, idx))

    def _work(self) -> None:
        while (item := self._waiting.get()) is not None and not self._stopping.is_set():
            deal, idx = item
            taskid = task_id(deal.dealid, idx)
            try:
                self._take(deal, idx, taskid)
            except Exception as error:  # one broken task must not end the worker
                self._give_up(taskid, error)

    def _take(self, deal: Deal, idx: int, taskid: Bytes32) -> None:
        """Bring one task from its deal to its end; one that was taken before or has ended is left alone."""
        (on_chain,) = self._chain.tasks([taskid])
        if self._records.get(taskid) is not None or (on_chain and on_chain.status is not TaskStatus.ACTIVE):
            return
        task = self._assignment(deal, idx, taskid)
        worker = self._accounts[0]
        self._records.add(self._record(task))
        self._records.task_status(taskid, "RECEIVED", "INITIALIZING")
        block = self._settlement.initialize(task)
        self._described(taskid, block)
        self._records.task_status(taskid, "INITIALIZED", "RUNNING")
        self._records.replicate_status(taskid, worker, "CREATED", "STARTING", "STARTED")
        product = self._compute(task, worker)
        if product is None:
            self._records.task_status(taskid, "RUNNING_FAILED", "FAILED")
            return
        record = self._records.get(taskid)
        if record is not None:
            record.result_link, record.uploader = product.link, worker
            record.callback_data = "0x" + product.callback.hex() if product.callback else None
        self._settle(task, product, worker)

    def _compute(self, task: Assignment, worker: Address) -> Product | None:
        """Run the three stages in a folder of their own; return None, with the reason recorded, where one fails."""
        folder = Path(tempfile.mkdtemp(prefix="iexec_nb-task-", dir=self._within))
        try:
            return self._stages(task, worker, folder)
        except StageError as error:
            self._fail(task.taskid, worker, error.cause, error.message)
            return None
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _stages(self, task: Assignment, worker: Address, folder: Path) -> Product:
        records, taskid = self._records, task.taskid
        job = self._job(task, folder, {})
        for path in (job.inputs, job.outputs):
            path.mkdir()
        session = open_session(task, self._vault)
        if not self._runner.runnable(task.app.appMultiaddr):
            outcome = self._runner.run(task.app.appMultiaddr, job)
            raise StageError("APP_IMAGE_DOWNLOAD_FAILED", outcome.stderr)
        records.replicate_status(taskid, worker, "APP_DOWNLOADING", "APP_DOWNLOADED", "DATA_DOWNLOADING")
        variables = prepare(task, session, job.inputs, sources=self._sources, vault=self._vault, chain=self._chain)
        records.replicate_status(taskid, worker, "DATA_DOWNLOADED", "COMPUTING")
        job = self._job(task, folder, variables)
        outcome = self._run(task, job)
        records.output(taskid, worker, exit_code=outcome.exit_code, stdout=outcome.stdout, stderr=outcome.stderr)
        _check(outcome)
        product = conclude(task, session, job.outputs, self._store)
        records.replicate_status(taskid, worker, "COMPUTED")
        return product

    def _job(self, task: Assignment, folder: Path, variables: Mapping[str, str]) -> Job:
        seconds = task.category.workClockTimeRef if self._time_limit_s is None else self._time_limit_s
        return Job(folder, variables, task.params.args, seconds)

    def _run(self, task: Assignment, job: Job) -> Outcome:
        try:
            return self._runner.run(task.app.appMultiaddr, job)
        except IExecError as error:
            return Outcome(None, "", f"[sandbox] {error}\n", started=False)

    def _settle(self, task: Assignment, product: Product, worker: Address) -> None:
        try:
            self._settlement.settle(task, product, self._records)
        except IExecError as error:
            cause = "STAKE_TOO_LOW" if "exceeds balance" in str(error) else "CHAIN_RECEIPT_NOT_VALID"
            self._fail(task.taskid, worker, cause, error.message, status="CONTRIBUTE_FAILED")
            self._records.task_status(task.taskid, "RUNNING_FAILED", "FAILED")

    def _fail(self, taskid: Bytes32, worker: Address, cause: str, message: str, status: str = "COMPUTE_FAILED") -> None:
        """Record why a run failed beside what the app printed; the last line is the one that says most."""
        record = self._records.get(taskid)
        known = record.replicates.get(worker) if record else None
        exit_code, stdout, stderr = (known.exit_code, known.stdout, known.stderr) if known else (None, "", "")
        why = f"[sandbox] {cause}: {message}\n"
        text = why + stderr if cause == _APP_FAILED else stderr + why
        self._records.output(taskid, worker, exit_code=exit_code, stdout=stdout, stderr=text)
        self._records.replicate_status(taskid, worker, status, cause=cause)

    def _give_up(self, taskid: Bytes32, error: Exception) -> None:
        if self._records.get(taskid) is None:
            return
        reason = error.message if isinstance(error, IExecError) else type(error).__name__
        self._fail(taskid, self._accounts[0], "UNKNOWN", shown(reason, 300))
        self._records.task_status(taskid, "FAILED")

    def _assignment(self, deal: Deal, idx: int, taskid: Bytes32) -> Assignment:
        has_dataset = deal.dataset.pointer != NULL_ADDRESS
        return Assignment(
            taskid=taskid,
            idx=idx,
            deal=deal,
            app=self._chain.app(deal.app.pointer),
            dataset=self._chain.dataset(deal.dataset.pointer) if has_dataset else None,
            category=self._chain.category(deal.category),
        )

    def _record(self, task: Assignment) -> TaskRecord:
        deal = task.deal
        return TaskRecord(
            taskid=task.taskid,
            dealid=deal.dealid,
            requester=deal.requester,
            workerpool=deal.workerpool.pointer,
            tag=deal.tag,
            trust=deal.trust,
            app_type=task.app.appType,
            app_name=task.app.appMultiaddr,
            command_line=task.params.args,
            max_execution_s=task.category.workClockTimeRef,
        )

    def _described(self, taskid: Bytes32, block: int) -> None:
        record = self._records.get(taskid)
        on_chain = self._chain.task(taskid)
        if record is not None:
            record.initialization_block = block
            record.contribution_deadline = on_chain.contributionDeadline
            record.final_deadline = on_chain.finalDeadline


def _check(outcome: Outcome) -> None:
    """Raise the cause of a run of an app that did not end well."""
    if outcome.timed_out:
        raise StageError("APP_COMPUTE_TIMEOUT", "the app ran out of time")
    if outcome.stopped:
        raise StageError("ABORTED_BY_WORKER", "the sandbox stopped")
    if not outcome.ok:
        code = "did not start" if outcome.exit_code is None else f"ended with exit code {outcome.exit_code}"
        raise StageError(_APP_FAILED, f"the app {code}")

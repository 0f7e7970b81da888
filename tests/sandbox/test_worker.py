"""Workers of the sandbox: what an app is given, what becomes of its files, and how failures are told."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import secrets
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sandbox_stack import RLC, Stack, running_stack, wallet

from iexec_nb.protocol.archive import open_archive
from iexec_nb.protocol.cid import multiaddr_encode
from iexec_nb.protocol.encryption import checksum, encrypt_bytes
from iexec_nb.protocol.execution import Task, TaskStatus, task_id
from iexec_nb.protocol.orders import NULL_DATASETORDER, AppOrder, DatasetOrder, RequestOrder, WorkerpoolOrder
from iexec_nb.protocol.result_encryption import decrypt_result, generate_result_keypair, is_encrypted_result
from iexec_nb.protocol.results import computed, result_digest
from iexec_nb.protocol.types import Secret, keccak
from iexec_nb.sandbox.ipfs import BlockStore
from iexec_nb.sandbox.records import Replicate, RunRecords
from iexec_nb.sandbox.runner import Images, Runner
from iexec_nb.sandbox.sms import Vault
from iexec_nb.sandbox.worker import Worker
from iexec_nb.services import abi

OWNER, REQUESTER, WORKERS = wallet("w owner"), wallet("w requester"), [wallet(f"worker {i}") for i in range(3)]
NO_TAG = f"0x{0:064x}"


# --- apps: each runs in a process of its own, so each brings what it needs -----------------------------------------


def write_result(text: str = "42") -> Callable[[], None]:
    def app() -> None:
        import json
        from pathlib import Path

        out = Path(os.environ["IEXEC_OUT"])
        (out / "result.txt").write_text(text)
        (out / "computed.json").write_text(json.dumps({"deterministic-output-path": str(out / "result.txt")}))

    return app


def dump_everything(arguments: list[str]) -> None:
    import json
    from pathlib import Path

    out, given = Path(os.environ["IEXEC_OUT"]), Path(os.environ["IEXEC_IN"])
    files = {path.name: path.read_bytes().decode() for path in given.iterdir()}
    seen = {"args": arguments, "env": dict(os.environ), "files": files}
    (out / "seen.json").write_text(json.dumps(seen))
    (out / "computed.json").write_text(json.dumps({"deterministic-output-path": str(out / "seen.json")}))


# --- whole runs on the real contracts ------------------------------------------------------------------------------


class Pool:
    """A stack with a working pool, and one call from orders to the end of the task."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.store, self.vault, self.records, self.images = BlockStore(), Vault(), RunRecords(), Images()
        self.pool = stack.workerpool(OWNER)
        self.worker = self.new_worker()

    def new_worker(self, **options: Any) -> Worker:
        return Worker(
            self.stack.chain,
            pools={self.pool: OWNER.secret},
            accounts=[one.address for one in WORKERS],
            store=self.store,
            vault=self.vault,
            records=self.records,
            images=self.images,
            **options,
        )

    def deal(
        self,
        run: Any,
        *,
        params: Mapping[str, object] | str = "{}",
        dataset: str | None = None,
        trust: int = 1,
        tag: str | None = None,
        image: str | None = None,
        volume: int = 1,
        pool: str | None = None,
        price: int = 1000,
        callback: str | None = None,
    ) -> tuple[str, str]:
        """Make a deal for `run` and return its id and the app's address."""
        stack = self.stack
        multiaddr = image or f"docker.io/test/{secrets.token_hex(6)}:1"
        if run is not None:
            self.images.set(multiaddr, run)
        app = stack.app(OWNER, multiaddr)
        extra = {} if tag is None else {"tag": tag}
        app_order = stack.sign(AppOrder(app=app, volume=volume, **extra), OWNER)
        pool_order = stack.sign(
            WorkerpoolOrder(
                workerpool=pool or self.pool, category=0, trust=trust, volume=volume, workerpoolprice=price, **extra
            ),
            OWNER,
        )
        data_order = NULL_DATASETORDER
        if dataset is not None:
            data_order = stack.sign(DatasetOrder(dataset=dataset, **extra), OWNER)
            extra["dataset"] = dataset
        if callback is not None:
            extra["callback"] = callback
        request = stack.sign(
            RequestOrder(
                app=app,
                requester=REQUESTER.address,
                category=0,
                trust=trust,
                volume=volume,
                workerpoolmaxprice=price,
                params=params,
                **extra,
            ),
            REQUESTER,
        )
        return stack.match(app_order, pool_order, request, data_order), app

    def run(self, run: Any, **deal: Any) -> Task:
        """Make a deal for one task, wait for its end, and return the task."""
        dealid, _ = self.deal(run, **deal)
        return self.end(dealid)

    def end(self, dealid: str, idx: int = 0) -> Task:
        taskid = task_id(dealid, idx)
        assert self.records.wait(taskid, timeout_s=60), self.records.get(taskid)
        return self.stack.chain.task(taskid, dealid)

    def failure(self, task: Task) -> tuple[str | None, Replicate]:
        """Return the cause of a failed run and the worker's record of it."""
        record = self.records.get(task.taskid)
        assert record is not None
        assert record.status == "FAILED", record
        assert "RUNNING_FAILED" in [change.status for change in record.history]
        (replicate,) = record.replicates.values()
        return replicate.history[-1].cause, replicate

    def result(self, task: Task) -> bytes:
        assert task.status is TaskStatus.COMPLETED, self.records.get(task.taskid)
        assert task.results.storage == "ipfs"
        data = self.store.get((task.results.location or "").removeprefix("/ipfs/"))
        assert data is not None
        return data

    def encrypted_dataset(self, plain: bytes, key: bytes) -> str:
        sealed = encrypt_bytes(plain, key, bytes(range(16)))
        cid = self.store.add(sealed)
        digest = bytes.fromhex(checksum(sealed)[2:])
        return self.stack.dataset(OWNER, multiaddr_encode(f"/ipfs/{cid}"), digest)

    def close(self) -> None:
        self.worker.stop()
        self.store.close()


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with running_stack() as running:
        running.fund(OWNER, REQUESTER, *WORKERS, rlc=10_000 * RLC)
        yield running


@pytest.fixture(scope="module")
def pool(stack: Stack) -> Iterator[Pool]:
    made = Pool(stack)
    made.worker.start()
    yield made
    made.close()


def seen_by(pool: Pool, task: Task) -> dict[str, Any]:
    with zipfile.ZipFile(io.BytesIO(pool.result(task))) as archive:
        body: dict[str, Any] = json.loads(archive.read("seen.json"))
        return body


def test_a_run_ends_with_a_result_whose_digest_stands_on_the_chain(pool: Pool) -> None:
    task = pool.run(write_result("hello"))
    archive = open_archive(pool.result(task))
    assert sorted(archive.names) == ["computed.json", "result.txt"]
    assert archive.read("result.txt") == b"hello"
    assert computed(archive)["deterministic-output-path"] == "/iexec_out/result.txt"
    assert task.resultDigest == result_digest(archive) == "0x" + hashlib.sha256(b"hello").hexdigest()
    record = pool.records.get(task.taskid)
    assert record is not None
    assert [change.status for change in record.history] == [
        "RECEIVED", "INITIALIZING", "INITIALIZED", "RUNNING", "FINALIZED", "COMPLETED",
    ]  # fmt: skip
    assert record.result_link == f'{{ "storage": "ipfs", "location": "{task.results.location}" }}'


def test_the_app_finds_the_variables_of_a_real_worker(pool: Pool) -> None:
    task = pool.run(dump_everything, params={"iexec_args": "--n 3"})
    seen = seen_by(pool, task)
    env = seen["env"]
    assert seen["args"] == ["--n", "3"]
    assert (env["IEXEC_TASK_ID"], env["IEXEC_DEAL_ID"]) == (task.taskid, task.dealid)
    assert [env[f"IEXEC_{name}"] for name in ("TASK_INDEX", "BOT_SIZE", "BOT_FIRST_INDEX", "BOT_TASK_INDEX")] == [
        "0", "1", "0", "0",
    ]  # fmt: skip
    assert env["IEXEC_INPUT_FILES_NUMBER"] == "0"
    assert not Path(env["IEXEC_IN"]).exists()


def test_an_encrypted_dataset_reaches_the_app_in_clear(pool: Pool) -> None:
    key = secrets.token_bytes(32)
    dataset = pool.encrypted_dataset(b"a,b\n1,2\n", key)
    pool.vault.add("web3", dataset, Secret(base64.b64encode(key).decode()))
    seen = seen_by(pool, pool.run(dump_everything, dataset=dataset))
    assert seen["files"] == {dataset.lower(): "a,b\n1,2\n"}
    assert seen["env"]["IEXEC_DATASET_FILENAME"] == dataset.lower()


def test_a_dataset_without_key_with_a_wrong_key_or_other_bytes_fails_the_run(pool: Pool) -> None:
    # No random key: a wrong one passes the check of the padding once in 256 times, as in the real format.
    key = bytes(range(32))
    dataset = pool.encrypted_dataset(b"x" * 100, key)
    cause, _ = pool.failure(pool.run(write_result(), dataset=dataset))
    assert cause == "TEE_SESSION_GENERATION_PRE_COMPUTE_GET_DATASET_SECRET_FAILED"
    pool.vault.add("web3", dataset, Secret(base64.b64encode(bytes(32)).decode()))
    cause, replicate = pool.failure(pool.run(write_result(), dataset=dataset))
    assert cause == "PRE_COMPUTE_DATASET_DECRYPTION_FAILED"
    assert base64.b64encode(bytes(32)).decode() not in replicate.stderr
    cid = pool.store.add(encrypt_bytes(b"y", key, bytes(16)))
    changed = pool.stack.dataset(OWNER, multiaddr_encode(f"/ipfs/{cid}"), bytes(32))
    pool.vault.add("web3", changed, Secret(base64.b64encode(key).decode()))
    assert pool.failure(pool.run(write_result(), dataset=changed))[0] == "PRE_COMPUTE_INVALID_DATASET_CHECKSUM"
    absent = pool.stack.dataset(OWNER, multiaddr_encode("/ipfs/QmWfVY9y3xjsixTgbd9AorQxH7VtMpzfx2HaWtsoUYecaX"))
    pool.vault.add("web3", absent, Secret(base64.b64encode(key).decode()))
    assert pool.failure(pool.run(write_result(), dataset=absent))[0] == "PRE_COMPUTE_DATASET_DOWNLOAD_FAILED"


def test_secrets_of_developer_and_requester_reach_the_app(pool: Pool) -> None:
    pool.vault.add("requester", REQUESTER.address, Secret("r3q"), "my-secret")
    dealid, app = "", ""
    params = {"iexec_secrets": {"1": "my-secret", "2": "not-there", "x": "my-secret"}}
    pool.worker.stop()
    dealid, app = pool.deal(dump_everything, params=params)
    pool.vault.add("app", app, Secret("d3v"), "1")
    _restart(pool, dealid)
    env = seen_by(pool, pool.end(dealid))["env"]
    assert (env["IEXEC_REQUESTER_SECRET_1"], env["IEXEC_APP_DEVELOPER_SECRET"]) == ("r3q", "d3v")
    assert env["IEXEC_APP_DEVELOPER_SECRET_1"] == "d3v"
    assert "IEXEC_REQUESTER_SECRET_2" not in env


def _restart(pool: Pool, dealid: str) -> None:
    """Start a worker that looks at the chain from its first block on."""
    pool.worker = pool.new_worker()
    pool.worker.start(from_block=0)
    assert pool.records.wait(task_id(dealid, 0), timeout_s=60)


def test_without_the_tee_tag_no_secret_is_given(pool: Pool) -> None:
    pool.vault.add("requester", REQUESTER.address, Secret("r3q"), "my-secret")
    task = pool.run(dump_everything, tag=NO_TAG, params='{"iexec_secrets":{"1":"my-secret"}}')
    assert "IEXEC_REQUESTER_SECRET_1" not in seen_by(pool, task)["env"]


def test_a_result_is_encrypted_for_the_beneficiary(pool: Pool) -> None:
    params = {"iexec_result_encryption": True}
    cause, _ = pool.failure(pool.run(write_result(), params=params))
    assert cause == "TEE_SESSION_GENERATION_POST_COMPUTE_GET_ENCRYPTION_TOKENS_FAILED_EMPTY_BENEFICIARY_KEY"
    pair = generate_result_keypair(2048)
    value = Secret(base64.b64encode(pair.public_pem.encode()).decode())
    pool.vault.add("web2", REQUESTER.address, value, "iexec-result-encryption-public-key")
    task = pool.run(write_result("for your eyes"), params=params)
    sealed = pool.result(task)
    assert is_encrypted_result(sealed)
    archive = open_archive(decrypt_result(sealed, pair.private_pem))
    assert archive.read("result.txt") == b"for your eyes"
    assert task.resultDigest == result_digest(archive)
    broken = Secret(base64.b64encode(b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----").decode())
    pool.vault.replace("web2", REQUESTER.address, broken, "iexec-result-encryption-public-key")
    cause, _ = pool.failure(pool.run(write_result(), params=params))
    assert cause == "POST_COMPUTE_MALFORMED_ENCRYPTION_PUBLIC_KEY"


def test_a_failing_app_contributes_nothing_and_says_why(pool: Pool) -> None:
    def app() -> None:
        print("working")
        raise ValueError("no such column")

    task = pool.run(app)
    cause, replicate = pool.failure(task)
    assert (cause, replicate.exit_code, replicate.stdout) == ("APP_COMPUTE_FAILED", 1, "working\n")
    assert "ValueError: no such column" in replicate.stderr
    assert (task.status, task.contributors) == (TaskStatus.ACTIVE, ())


def _computed(body: str, **files: str) -> Callable[[], None]:
    def app() -> None:
        from pathlib import Path

        out = Path(os.environ["IEXEC_OUT"])
        (out / "computed.json").write_text(body)
        for name, text in files.items():
            (out / name).write_text(text)

    return app


def _link() -> None:
    from pathlib import Path

    out = Path(os.environ["IEXEC_OUT"])
    (out / "passwd").symlink_to("/etc/passwd")
    (out / "computed.json").write_text('{"deterministic-output-path": "/iexec_out/passwd"}')


@pytest.mark.parametrize(
    ("app", "cause"),
    [
        (lambda: None, "POST_COMPUTE_COMPUTED_FILE_NOT_FOUND"),
        (_computed("not json"), "POST_COMPUTE_COMPUTED_FILE_NOT_FOUND"),
        (_computed("{}"), "POST_COMPUTE_RESULT_DIGEST_COMPUTATION_FAILED"),
        (
            _computed('{"deterministic-output-path": "/iexec_out/no.txt"}'),
            "POST_COMPUTE_RESULT_DIGEST_COMPUTATION_FAILED",
        ),
        (
            _computed('{"deterministic-output-path": "/iexec_out"}', **{"n" * 32: "x"}),
            "POST_COMPUTE_TOO_LONG_RESULT_FILE_NAME",
        ),
        (_link, "POST_COMPUTE_OUT_FOLDER_ZIP_FAILED"),
    ],
)
def test_an_app_that_leaves_no_proper_result_fails(pool: Pool, app: Any, cause: str) -> None:
    assert pool.failure(pool.run(app))[0] == cause


def test_a_folder_can_be_the_deterministic_output(pool: Pool) -> None:
    task = pool.run(_computed('{"deterministic-output-path": "/iexec_out/"}', a="1", b="2"))
    assert task.resultDigest == result_digest(open_archive(pool.result(task)))


def test_an_image_that_nobody_can_run_fails_with_advice(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Runner, "engine", None)
    cause, replicate = pool.failure(pool.run(None))
    assert cause == "APP_IMAGE_DOWNLOAD_FAILED"
    assert "net.image(" in replicate.stderr


def test_input_files_are_named_by_their_url_and_missing_ones_fail(pool: Pool) -> None:
    cause, _ = pool.failure(pool.run(write_result(), params={"iexec_input_files": ["http://127.0.0.1:9/x?token=abc"]}))
    assert cause == "PRE_COMPUTE_INPUT_FILE_DOWNLOAD_FAILED"


def test_the_callback_of_a_deal_gets_the_bytes_of_the_app(pool: Pool) -> None:
    data = "0x" + "2a".rjust(64, "0")
    task = pool.run(_computed(json.dumps({"callback-data": data})), callback=wallet("a contract").address)
    assert task.status is TaskStatus.COMPLETED
    assert (task.results.storage, task.results.location) == ("ethereum", wallet("a contract").address.lower())
    assert task.resultsCallback == bytes.fromhex(data[2:])
    assert task.resultDigest == "0x" + keccak(bytes.fromhex(data[2:])).hex()
    cause, _ = pool.failure(pool.run(write_result(), callback=wallet("a contract").address))
    assert cause == "POST_COMPUTE_RESULT_DIGEST_COMPUTATION_FAILED"


def test_dropbox_needs_a_token_and_is_not_here(pool: Pool) -> None:
    params = {"iexec_result_storage_provider": "dropbox"}
    cause, _ = pool.failure(pool.run(write_result(), params=params))
    assert cause == "TEE_SESSION_GENERATION_POST_COMPUTE_GET_STORAGE_TOKENS_FAILED"
    pool.vault.add("web2", REQUESTER.address, Secret("t"), "iexec-result-dropbox-token")
    assert pool.failure(pool.run(write_result(), params=params))[0] == "POST_COMPUTE_DROPBOX_UPLOAD_FAILED"


@pytest.mark.parametrize(("trust", "tag", "workers"), [(2, NO_TAG, 1), (5, None, 3)])
def test_more_trust_takes_four_steps_and_more_workers(pool: Pool, trust: int, tag: str | None, workers: int) -> None:
    task = pool.run(write_result(), trust=trust, tag=tag)
    assert task.status is TaskStatus.COMPLETED
    assert (len(task.contributors), task.revealCounter) == (workers, workers)
    record = pool.records.get(task.taskid)
    assert record is not None
    statuses = [change.status for change in record.history]
    assert statuses[4:] == [
        "CONSENSUS_REACHED", "AT_LEAST_ONE_REVEALED", "RESULT_UPLOADING", "RESULT_UPLOADED", "FINALIZING",
        "FINALIZED", "COMPLETED",
    ]  # fmt: skip


def test_more_trust_than_workers_is_a_failed_run(pool: Pool) -> None:
    task = pool.run(write_result(), trust=10_000)
    record = pool.records.get(task.taskid)
    assert record is not None
    assert record.status == "FAILED"
    assert "too few for a deal with trust 10000" in record.replicates[WORKERS[0].address].stderr


def test_a_bulk_gives_each_task_the_datasets_of_its_slice(pool: Pool) -> None:
    orders = []
    for text in (b"one", b"two", b"three"):
        key = secrets.token_bytes(32)
        dataset = pool.encrypted_dataset(text, key)
        pool.vault.add("web3", dataset, Secret(base64.b64encode(key).decode()))
        orders.append(pool.stack.sign(DatasetOrder(dataset=dataset, volume=2**53 - 1), OWNER))
    slices = [json.dumps([order.to_json() for order in part]).encode() for part in (orders[:2], orders[2:])]
    root = pool.store.add(json.dumps([pool.store.add(part) for part in slices]).encode())
    dealid, _ = pool.deal(dump_everything, volume=2, params={"bulk_cid": root})
    first, second = (seen_by(pool, pool.end(dealid, idx)) for idx in (0, 1))
    # Named as the slice writes them: only the dataset of a deal is written in lower case.
    assert first["files"] == {orders[0].dataset: "one", orders[1].dataset: "two"}
    assert first["env"]["IEXEC_BULK_SLICE_SIZE"] == "2"
    assert first["env"]["IEXEC_DATASET_2_FILENAME"] == orders[1].dataset
    assert second["files"] == {orders[2].dataset: "three"}


@pytest.mark.parametrize(
    "content", [b"[]", b"no JSON", b'["QmNowhere"]', b"[" * 100_000, None], ids=lambda one: repr(one)[:16]
)
def test_a_bulk_without_the_slice_of_a_task_gives_it_no_datasets(pool: Pool, content: bytes | None) -> None:
    root = "QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWnPbdG" if content is None else pool.store.add(content)
    seen = seen_by(pool, pool.run(dump_everything, params={"bulk_cid": root}))
    assert seen["files"] == {}
    assert seen["env"]["IEXEC_BULK_SLICE_SIZE"] == "0"
    assert "IEXEC_DATASET_1_FILENAME" not in seen["env"]


def test_an_order_that_was_not_signed_for_bulks_fails_the_task(pool: Pool) -> None:
    key = secrets.token_bytes(32)
    dataset = pool.encrypted_dataset(b"one", key)
    pool.vault.add("web3", dataset, Secret(base64.b64encode(key).decode()))
    part = json.dumps([pool.stack.sign(DatasetOrder(dataset=dataset, volume=2**53 - 3), OWNER).to_json()]).encode()
    root = pool.store.add(json.dumps([pool.store.add(part)]).encode())
    cause, replicate = pool.failure(pool.run(dump_everything, params={"bulk_cid": root}))
    assert cause == "PRE_COMPUTE_DATASET_URL_MISSING"
    assert f"volume {2**53 - 3} of its order is invalid for bulk processing" in replicate.stderr


def test_a_bulk_with_an_order_that_the_contracts_refuse_fails(pool: Pool) -> None:
    key = secrets.token_bytes(32)
    dataset = pool.encrypted_dataset(b"one", key)
    pool.vault.add("web3", dataset, Secret(base64.b64encode(key).decode()))
    foreign = DatasetOrder(dataset=dataset, volume=2**53 - 1, requesterrestrict=OWNER.address)
    part = json.dumps([pool.stack.sign(foreign, OWNER).to_json()]).encode()
    root = pool.store.add(json.dumps([pool.store.add(part)]).encode())
    cause, replicate = pool.failure(pool.run(dump_everything, params={"bulk_cid": root}))
    assert cause == "PRE_COMPUTE_DATASET_URL_MISSING"
    assert "equester restriction" in replicate.stderr


def test_every_task_of_a_deal_is_run(pool: Pool) -> None:
    dealid, _ = pool.deal(write_result(), volume=3)
    assert [pool.end(dealid, idx).status for idx in range(3)] == [TaskStatus.COMPLETED] * 3


def meet(words: list[str]) -> None:
    """An app that ends when as many others are running as it is told."""
    import time
    from pathlib import Path

    folder, others = Path(words[0]), int(words[1])
    (folder / os.environ["IEXEC_TASK_INDEX"]).touch()
    end = time.monotonic() + 50
    while len(list(folder.iterdir())) < others:
        assert time.monotonic() < end, "nobody came"
        time.sleep(0.01)
    out = Path(os.environ["IEXEC_OUT"])
    (out / "computed.json").write_text('{"deterministic-output-path": "/iexec_out"}')


def test_three_tasks_run_at_the_same_time(pool: Pool, tmp_path: Path) -> None:
    dealid, _ = pool.deal(meet, params={"iexec_args": f"{tmp_path} 3"}, volume=6)
    ends = [pool.end(dealid, idx) for idx in range(6)]
    assert [task.status for task in ends] == [TaskStatus.COMPLETED] * 6


def test_an_idle_pool_never_works_and_its_task_can_be_claimed(pool: Pool) -> None:
    idle = pool.stack.workerpool(OWNER)
    dealid, _ = pool.deal(write_result(), pool=idle)
    assert pool.run(write_result()).status is TaskStatus.COMPLETED
    assert pool.records.get(task_id(dealid, 0)) is None
    assert pool.stack.chain.tasks([task_id(dealid, 0)]) == [None]


def test_stop_ends_the_running_app_and_removes_its_folder(stack: Stack) -> None:
    pool = Pool(stack)

    def app() -> None:
        import time
        from pathlib import Path

        Path(os.environ["IEXEC_OUT"], "started").touch()
        time.sleep(60)

    with _temp_folder() as temp:
        pool.worker.start()
        pool.deal(app)
        _until(lambda: any(temp.glob("*/iexec_out/started")))
        pool.worker.stop()
        pool.worker.stop()
        assert not list(temp.glob("iexec_nb-task-*"))
    pool.close()


@contextmanager
def _temp_folder() -> Iterator[Path]:
    import tempfile

    before = tempfile.tempdir
    with tempfile.TemporaryDirectory() as folder:
        tempfile.tempdir = folder
        try:
            yield Path(folder)
        finally:
            tempfile.tempdir = before


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_late_result_is_refused_by_the_chain_and_recorded(stack: Stack) -> None:
    pool = Pool(stack)
    dealid, _ = pool.deal(write_result())
    stack.travel(300 * 8)
    pool.worker.start(from_block=0)
    task = pool.end(dealid)
    cause, _ = pool.failure(task)
    assert (cause, task.status) == ("CHAIN_RECEIPT_NOT_VALID", TaskStatus.ACTIVE)
    stack.travel(300 * 3)
    stack.send(REQUESTER, stack.chain.hub_address, abi.CLAIM.encode(bytes.fromhex(task.taskid[2:])))
    assert stack.chain.task(task.taskid).status is TaskStatus.FAILED
    pool.close()

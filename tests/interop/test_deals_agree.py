"""Deals and tasks side by side with the official SDK: shown, watched, listed, debugged and claimed alike."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from people import Person, World
from sdk import Sdk, SdkError
from test_cli_agrees import AT_ONCE, HASH, ROOT, TIMEOUT_S, Room, Said, official, our_command, project, said

from iexec_nb import IExec, Sandbox
from iexec_nb.actions import deal_raw
from iexec_nb.errors import IExecError, TaskNotCompletedError, Web3ProviderCallError
from iexec_nb.protocol.orders import AppOrder, RequestOrder, WorkerpoolOrder
from iexec_nb.protocol.result_encryption import generate_result_keypair
from iexec_nb.services import abi

IMAGE = "docker.io/interop/speak:1.0"
CRASHING = "docker.io/interop/crash:1.0"
DAY_S = 86_400


def speak() -> None:
    import json
    import os
    import sys
    from pathlib import Path

    out = Path(os.environ["IEXEC_OUT"])
    print("spoken:", *sys.argv[1:])
    (out / "said.txt").write_text(" ".join(sys.argv[1:]))
    (out / "computed.json").write_text(json.dumps({"deterministic-output-path": "/iexec_out/said.txt"}))


def crash() -> None:
    import sys

    print("lost", file=sys.stderr)
    sys.exit(3)


@dataclass(frozen=True)
class Deals:
    """A folder with a project whose wallet bought, and what it bought."""

    room: Room
    person: Person
    done: str
    crashed: str
    waiting: str

    def taskid(self, dealid: str, idx: int = 0) -> str:
        return self.person.python.deal.compute_task_id(dealid, idx)


@pytest.fixture(scope="module")
def deals(world: World, tmp_path_factory: pytest.TempPathFactory) -> Deals:
    """One deal that was computed with an encrypted result, one that failed, one of two tasks that nobody computes."""
    room = project(world, tmp_path_factory.mktemp("deals"), our_command)
    python = room.client
    key = "0x" + json.loads((room.folder / "wallet.json").read_text())["privateKey"].removeprefix("0x")
    js = world.sdk.client(room.me, rpc=world.endpoints.rpc, key=key, options=world.endpoints.js_options())
    pool = world.net.workerpool("deals agree", price=0, category=0)
    lazy = world.net.workerpool("deals are left", price=0, category=0, idle=True)
    apps = {}
    for image, function in ((IMAGE, speak), (CRASHING, crash)):
        world.net.image(image, function)
        apps[image] = python.app.deploy(name=image, multiaddr=image).address
        python.app.publish(apps[image], volume=100, skip_preflight_check=True)
    pair = generate_result_keypair(2048)
    beneficiary = room.folder / ".secrets" / "beneficiary"
    beneficiary.mkdir(parents=True)
    (beneficiary / f"{room.me}_key").write_bytes(pair.private_pem.reveal_bytes())
    python.result.push_encryption_key(pair.public_pem)
    run = partial(python.app.run, category=0)
    done = run(apps[IMAGE], args="one two", workerpool=pool, encrypt_result=True)
    crashed = run(apps[CRASHING], workerpool=pool)
    waiting = run(apps[IMAGE], workerpool=lazy)
    done.wait()
    with pytest.raises(IExecError):
        crashed.wait()
    return Deals(room, Person(bytes.fromhex(key[2:]), python, js), done.dealid, crashed.dealid, waiting.dealid)


# --- the command line ------------------------------------------------------------------------------------------------

READS = (
    "deal show {done}",
    "deal show {waiting}",
    "deal show {done} --watch",
    "task show {done_task}",
    "task show {done_task} --watch",
    "task show {crashed_task}",
    "task show {crashed_task} --download nothing --decrypt",
    "task debug {done_task}",
    "task debug {done_task} --logs",
    "task debug {crashed_task} --logs",
)
REFUSED = (
    f"deal show {HASH}",
    f"deal show {HASH} --watch",
    f"deal claim {HASH}",
    f"task show {HASH}",
    f"task show {HASH} --watch",
    f"task show {HASH} --download",
    f"task debug {HASH}",
    f"task claim {HASH}",
    "task claim {done_task}",
    "task show {waiting_task}",
    "task show {waiting_task} --watch",
    "deal show 0x12",
    "task show 0x12",
    "task debug",
    "deal claim",
)
BEGIN_ALIKE = {
    "deal claim {waiting}": "Cannot claim a deal before reaching the final time: ",
    "task claim {crashed_task}": "Cannot claim a task before reaching the consensus deadline date: ",
}
"""Lines that both refuse with a date, which each writes in its own way."""


@pytest.fixture(scope="module")
def answers(world: World, deals: Deals) -> dict[str, tuple[Said, Said]]:
    ids = {name: getattr(deals, name) for name in ("done", "crashed", "waiting")}
    ids |= {f"{name}_task": deals.taskid(dealid) for name, dealid in ids.items()}
    lines = (*READS, *REFUSED, *BEGIN_ALIKE)
    typed = [line.format(**ids).split() for line in lines]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        theirs = pool.map(lambda words: said(official(world), deals.room.folder, words), typed)
        ours = pool.map(lambda words: said(our_command, deals.room.folder, words), typed)
        return dict(zip(lines, zip(theirs, ours, strict=True), strict=True))


@pytest.mark.parametrize("line", READS)
def test_what_is_shown_is_the_same(answers: dict[str, tuple[Said, Said]], line: str) -> None:
    there, here = answers[line]
    assert here.body == there.body
    assert (here.code, here.stream, there.code, there.stream) == (0, "out", 0, "out")


@pytest.mark.parametrize("line", REFUSED)
def test_what_is_refused_is_refused_in_the_same_words(answers: dict[str, tuple[Said, Said]], line: str) -> None:
    there, here = answers[line]
    assert (here.code, here.stream) == (there.code, there.stream) == (1, "err")
    assert here.message == there.message


@pytest.mark.parametrize("line", BEGIN_ALIKE)
def test_what_is_refused_for_now_is_refused_in_the_same_words(answers: dict[str, tuple[Said, Said]], line: str) -> None:
    there, here = answers[line]
    assert (here.code, here.stream) == (there.code, there.stream) == (1, "err")
    for one in (there, here):
        assert one.message.startswith(BEGIN_ALIKE[line])


def test_a_result_is_downloaded_and_decrypted_into_a_file_of_the_same_name(world: World, deals: Deals) -> None:
    taskid = deals.taskid(deals.done)
    read: list[dict[str, bytes]] = []
    for program in (official(world), our_command):
        answer = said(program, deals.room.folder, ("task", "show", taskid, "--download", "result", "--decrypt"))
        assert answer.body["ok"], answer
        path = Path(answer.body["resultPath"])
        assert path == deals.room.folder / "result.zip"
        with zipfile.ZipFile(path) as archive:
            read.append({name: archive.read(name) for name in archive.namelist()})
        path.unlink()
    assert read[0] == read[1]
    assert read[0]["said.txt"] == b"one two"
    encrypted = []
    for program in (official(world), our_command):
        answer = said(program, deals.room.folder, ("task", "show", taskid, "--download"))
        path = Path(answer.body["resultPath"])
        assert path == deals.room.folder / f"{taskid}.zip"
        encrypted.append(path.read_bytes())
        path.unlink()
    assert encrypted[0] == encrypted[1]


def test_a_download_of_no_name_lands_nowhere(deals: Deals) -> None:
    beside = sorted(deals.room.folder.parent.iterdir())
    refused = deals.room("task", "show", deals.taskid(deals.done), "--download", ".")
    assert (refused.code, refused.message) == (1, ". is not the name of a file")
    assert sorted(deals.room.folder.parent.iterdir()) == beside


def test_the_hint_for_a_task_that_was_not_started_finds_it(deals: Deals) -> None:
    python, taskid = deals.person.python, deals.taskid(deals.waiting)
    with pytest.raises(TaskNotCompletedError) as caught:
        python.result.download(taskid, dealid=deals.waiting)
    assert f"iexec.task.show({taskid!r}, watch=True, dealid={deals.waiting!r})" in str(caught.value.hint)
    assert python.task.show(taskid, dealid=deals.waiting).status.name == "UNSET"


def test_the_key_for_a_download_is_found_where_the_official_cli_looks(world: World, deals: Deals) -> None:
    taskid = deals.taskid(deals.done)
    folder = deals.room.folder
    keys = folder / "other keys"
    keys.mkdir()
    own = folder / ".secrets" / "beneficiary" / f"{deals.room.me}_key"
    (keys / "mine.pem").write_bytes(own.read_bytes())
    chosen = ("--beneficiary-keystoredir", "other keys", "--beneficiary-key-file", "mine.pem")
    wrong = ("--beneficiary-keystoredir", "other keys", "--beneficiary-key-file", "no.pem")
    for program in (official(world), our_command):
        words = ("task", "show", taskid, "--download", "chosen", "--decrypt")
        answer = said(program, folder, (*words, *chosen))
        assert answer.body["ok"], answer
        Path(answer.body["resultPath"]).unlink()
        refused = said(program, folder, (*words, *wrong))
        assert refused.code == 1
        assert "Failed to load beneficiary" in refused.message


def test_a_run_that_is_watched_ends_with_the_same_members(world: World, deals: Deals) -> None:
    python, folder = deals.person.python, deals.room.folder
    done, crashed = (python.deal.show(dealid) for dealid in (deals.done, deals.crashed))
    words = ("app", "run", done.app.pointer, "--workerpool", done.workerpool.pointer, "--category", "0", "--watch")
    tagged = (*words, "--tag", "tee,tdx", "--force")
    there, here = (said(program, folder, tagged) for program in (official(world), our_command))
    assert (here.code, here.stream) == (there.code, there.stream) == (0, "out")
    assert sorted(here.body) == sorted(there.body) == ["deals", "ok", "tasks"]
    for member in ("deals", "tasks"):
        assert [sorted(one) for one in here.body[member]] == [sorted(one) for one in there.body[member]]
    assert [(one["idx"], one["statusName"]) for one in here.body["tasks"]] == [("0", "COMPLETED")]
    # It is paid whatever becomes of it. The official CLI waits for the deadline, and gives these members then.
    failed = said(our_command, folder, (*tagged[:2], crashed.app.pointer, *tagged[3:]))
    assert (failed.code, failed.stream, failed.body["error"]["name"]) == (1, "err", "TaskFailedError")
    [deal], [task] = failed.body["deals"], failed.body["failedTasks"]
    assert sorted(deal) == sorted(there.body["deals"][0])
    assert (task["taskid"], task["dealid"]) == (deals.taskid(deal["dealid"]), deal["dealid"])
    assert failed.body["tasks"] == [task]


def test_somebody_who_waits_is_told_at_once_what_was_bought(deals: Deals) -> None:
    deal = deals.person.python.deal.show(deals.crashed)
    words = ("app", "run", deal.app.pointer, "--workerpool", deal.workerpool.pointer, "--category", "0", "--watch")
    told = shown_to_people(deals.room, *words, "--yes")
    bought, task, *news = told.stderr.splitlines()
    dealid = bought.removeprefix("Deal ")
    assert (told.returncode, task.split()) == (1, ["task", deals.taskid(dealid)])
    assert "failed: 0 of 1 completed" in news
    shown = shown_to_people(deals.room, "task", "show", deals.taskid(deals.done), "--watch")
    assert "completed: 1 of 1 completed" in shown.stderr
    assert "resultsCallback: 0x" in shown.stdout.splitlines()


def shown_to_people(room: Room, *words: str) -> subprocess.CompletedProcess[str]:
    home = {name: str(room.folder) for name in ("HOME", "USERPROFILE", "XDG_DATA_HOME", "XDG_RUNTIME_DIR")}
    return subprocess.run(
        our_command(*words), cwd=room.folder, env={**os.environ, **home, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL, capture_output=True, text=True, encoding="utf-8", timeout=TIMEOUT_S, check=False,
    )  # fmt: skip


# --- the library -----------------------------------------------------------------------------------------------------


def test_both_libraries_show_the_same_deal_task_and_ids(deals: Deals) -> None:
    python, js = deals.person.python, deals.person.js
    for dealid in (deals.done, deals.waiting):
        assert plain(deal_raw.deal(python.deal.show(dealid))) == js("deal", "show", dealid)
        ids = [js("deal", "computeTaskId", dealid, idx) for idx in (0, 1, 2**53)]
        assert [python.deal.compute_task_id(dealid, idx) for idx in (0, 1, 2**53)] == ids
    taskid = deals.taskid(deals.done)
    assert plain(deal_raw.task(python.task.show(taskid))) == js("task", "show", taskid)


def test_both_libraries_list_the_same_deals(world: World, deals: Deals) -> None:
    python, js = deals.person.python, deals.person.js
    ours = python.deal.list()
    theirs = js("deal", "fetchRequesterDeals", deals.person.address)
    assert ours["dealid"].tolist() == [one["dealid"] for one in theirs["deals"]]
    assert theirs["count"] == len(ours) >= 3
    for row, one in zip(ours.to_dict("records"), theirs["deals"], strict=True):
        for kind in ("app", "dataset", "workerpool"):
            assert (row[kind], row[f"{kind}Owner"], row[f"{kind}Price"]) == (
                one[kind]["pointer"], one[kind]["owner"], one[kind]["price"]
            )  # fmt: skip
        same = ("requester", "beneficiary", "callback", "params", "category", "tag", "trust", "botFirst", "botSize")
        assert {name: row[name] for name in same} == {name: one[name] for name in same}
    app = python.deal.show(deals.crashed).app.pointer
    theirs = js("deal", "fetchRequesterDeals", deals.person.address, {"appAddress": app})
    of_app = python.deal.list(app=app)["dealid"].tolist()
    assert of_app == [one["dealid"] for one in theirs["deals"]]
    assert deals.crashed in of_app
    assert deals.done not in of_app
    with pytest.raises(SdkError, match="is not a valid ethereum address"):
        js("deal", "fetchRequesterDeals", "0x12")
    with pytest.raises(IExecError, match="is not a valid ethereum address"):
        python.deal.list("0x12")


def test_both_libraries_watch_to_the_same_end(world: World, deals: Deals) -> None:
    python, js = deals.person.python, deals.person.js
    taskid = deals.taskid(deals.done)
    theirs = world.sdk.ask("follow", client=js.name, dealid=deals.done, taskid=taskid)
    [last] = python.deal.watch(deals.done)
    [end] = theirs["deal"]
    counts = ("tasksCount", "completedTasksCount", "failedTasksCount")
    assert (last.event, *(getattr(last, name) for name in counts)) == (end["message"], *(end[name] for name in counts))
    assert plain(deal_raw.deal(last.deal)) == end["deal"]
    [update] = python.task.watch(taskid)
    [end] = theirs["task"]
    assert (update.event, plain(deal_raw.task(update.tasks[0]))) == (end["message"], end["task"])


def test_both_libraries_fetch_the_same_off_chain_information_and_logs(world: World, deals: Deals) -> None:
    python, js = deals.person.python, deals.person.js
    for dealid in (deals.done, deals.crashed):
        taskid = deals.taskid(dealid)
        assert plain(deal_raw.offchain(python.task.offchain_info(taskid, dealid=dealid))) == js(
            "task", "fetchOffchainInfo", taskid
        )
        assert plain(deal_raw.logs(python.task.logs(taskid))) == js("task", "fetchLogs", taskid)
    stranger = world.person()
    with pytest.raises(SdkError, match=f"Only task requester {deals.person.address} can access replicates logs"):
        stranger.js("task", "fetchLogs", taskid)
    with pytest.raises(IExecError, match=f"Only task requester {deals.person.address} can access replicates logs"):
        stranger.python.task.logs(taskid)


def plain(value: Any) -> Any:
    """Return a value as it is after a travel through JSON."""
    return json.loads(json.dumps(value))


# --- claims ----------------------------------------------------------------------------------------------------------
# Both programs ask the computer's clock whether a deal is late. The chain's clock is days ahead here; so are theirs.

_AHEAD_JS = "const now=Date.now.bind(Date);Date.now=()=>now()+{seconds}000;"
_AHEAD_PY = """
import os, sys
from datetime import datetime, timedelta
import iexec_nb.actions.deal_raw as raw
class Ahead(datetime):
    @classmethod
    def now(cls, zone=None):
        return datetime.now(zone) + timedelta(seconds=int(os.environ["AHEAD_S"]))
raw.datetime = Ahead
from iexec_nb.cli import main
sys.exit(main())
"""


class Late:
    """A sandbox of its own, in which a person buys from somebody who never computes."""

    def __init__(self, sdk: Sdk, folder: Path) -> None:
        self.net = Sandbox(workerpools=0).start()
        self._ahead_s = 0
        self.world = World(self.net, self.net.serve(), sdk)
        self.room = project(self.world, folder, our_command)
        me = self.room.client
        self.app = me.app.deploy(name="late", multiaddr="docker.io/late:1").address
        self.pool = me.workerpool.deploy(description="late").address

    def match(self, volume: int, *, parts: int = 1, started: tuple[int, ...] = ()) -> list[str]:
        """Return the deals of one request over tasks of nobody's, some of them initialized."""
        me = self.room.client
        sign = partial(me.order.sign, skip_preflight_check=True)
        app = sign(AppOrder(app=self.app, volume=volume))
        request: Any = sign(RequestOrder(
            app=self.app, workerpool=self.pool, workerpoolmaxprice=7, requester=self.room.me, category=0, volume=volume,
            params='{"iexec_result_storage_provider":"ipfs"}',
        ))  # fmt: skip
        dealids = []
        for _ in range(parts):
            pool = me.order.sign(
                WorkerpoolOrder(workerpool=self.pool, workerpoolprice=7, category=0, volume=volume // parts)
            )
            dealids.append(me.order.match(apporder=app, workerpoolorder=pool, requestorder=request).dealid)
        for idx in started:
            where = dealids[idx * parts // volume]
            data = abi.INITIALIZE.encode(bytes.fromhex(where[2:]), idx)
            me.chain.send(me.require_signer(), me.chain.hub_address, data)
        return dealids

    def travel(self) -> None:
        """Let all deadlines pass, for the chain and for the programs."""
        self.net.travel(seconds=DAY_S)
        self._ahead_s += DAY_S

    def run(self, program: Callable[..., list[str]], *words: str) -> Said:
        script = quote(_AHEAD_JS.format(seconds=self._ahead_s))
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("NODE_OPTIONS", f"--import=data:text/javascript,{script}")
            patch.setenv("AHEAD_S", str(self._ahead_s))
            return said(program, self.room.folder, words)


def ours_ahead(*words: str) -> list[str]:
    return [sys.executable, "-c", _AHEAD_PY, *words]


@pytest.fixture(scope="module")
def late(sdk: Sdk, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Late]:
    made = Late(sdk, tmp_path_factory.mktemp("late"))
    yield made
    made.net.stop()


def test_both_programs_claim_the_same_in_the_same_words(late: Late) -> None:
    programs = (official(late.world), ours_ahead)
    # Deals of one kind: between two transactions the official CLI reuses its nonce on a chain that mines at once.
    unseen = [late.match(2)[0] for _ in programs]
    started = [late.match(2, started=(0, 1))[0] for _ in programs]
    single = [late.match(1, started=(0,))[0] for _ in programs]
    late.travel()
    me = late.room.client
    before = me.account.show(late.room.me)
    for dealids in (unseen, started):
        for line in ("show", "show --watch", "claim", "show --watch", "claim"):
            assert_alike([late.run(*words) for words in typed(programs, f"deal {line}", dealids)], dealids)
    tasks = [me.deal.compute_task_id(dealid, 0) for dealid in single]
    for line in ("show", "show --watch", "claim", "show --watch", "claim"):
        assert_alike([late.run(*words) for words in typed(programs, f"task {line}", tasks)], single)
    after = me.account.show(late.room.me)
    # The price comes back; what the workerpool staked does not.
    assert (after.stake - before.stake, after.locked) == (10 * 7, 0)
    made = [me.deal.show(dealid) for dealid in (*unseen, *started, *single)]
    assert {task.status.name for deal in made for task in me.chain.deal_tasks(deal)} == {"FAILED"}


def typed(programs: Any, line: str, ids: list[str]) -> Iterator[list[Any]]:
    """Yield what each program is told about its own deal or task; ours wants a yes before it sends something."""
    for program, one in zip(programs, ids, strict=True):
        noun, verb, *rest = line.split()
        answer = ["--yes"] if program is ours_ahead and verb == "claim" else []
        yield [program, noun, verb, one, *rest, *answer]


def assert_alike(both: list[Said], dealids: list[str]) -> None:
    there, here = both
    for one in both:
        one.body.get("error", {}).pop("name", None)
    assert (here.code, here.stream) == (there.code, there.stream)
    assert neutral(here.body, dealids[1]) == neutral(there.body, dealids[0])


def neutral(value: Any, dealid: str) -> Any:
    """Return JSON with names for the ids of a deal and its tasks, and without hashes and times."""
    names = {dealid: "<deal>", **{IExec("bellecour").deal.compute_task_id(dealid, idx): f"<{idx}>" for idx in range(3)}}
    if isinstance(value, dict):
        return {
            name: "<...>" if name.endswith(("Time", "Deadline", "txHash")) else neutral(one, dealid)
            for name, one in value.items()
        }
    if isinstance(value, list):
        return [neutral(one, dealid) for one in value]
    return names.get(value, value) if isinstance(value, str) else value


def test_the_second_deal_of_a_request_is_claimed_here_where_the_official_cli_fails(late: Late) -> None:
    first, second = late.match(4, parts=2)
    late.travel()
    there = late.run(official(late.world), "deal", "claim", second)
    assert there.code == 1
    me = late.room.client
    here = me.deal.claim(second)
    assert {idx: me.deal.compute_task_id(second, idx) for idx in (2, 3)} == dict(here.claimed)
    assert late.run(official(late.world), "deal", "claim", first).code == 0
    with pytest.raises(IExecError, match="Nothing to claim"):
        me.deal.claim(first)


def test_a_task_that_was_never_started_is_claimed_when_its_deal_is_known(late: Late) -> None:
    [dealid] = late.match(1)
    me = late.room.client
    taskid = me.deal.compute_task_id(dealid, 0)
    late.travel()
    for program in (official(late.world), ours_ahead):
        refused = late.run(program, "task", "claim", taskid)
        assert refused.message == f"No task found for id {taskid} on chain {late.net.chain_id}"
    mine = late.run(ours_ahead, "task", "claim", taskid, "--dealid", dealid, "--yes")
    assert sorted(mine.body) == ["ok", "txHash"]
    assert me.task.show(taskid).status.name == "FAILED"
    with pytest.raises(Web3ProviderCallError):
        me.chain.quote(late.room.me, me.chain.hub_address, abi.CLAIM.encode(bytes.fromhex(taskid[2:])))

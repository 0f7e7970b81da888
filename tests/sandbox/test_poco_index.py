"""The PoCo subgraph of the sandbox: resources, deals, tasks and bulks as iExec's own subgraph tells them."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import pytest
from sandbox_stack import RLC, Stack, running_stack, wallet

from iexec_nb.errors import SandboxError
from iexec_nb.protocol import typed_data
from iexec_nb.protocol.execution import task_id
from iexec_nb.protocol.orders import NULL_DATASETORDER, AppOrder, DatasetOrder, RequestOrder, WorkerpoolOrder
from iexec_nb.protocol.types import NULL_ADDRESS
from iexec_nb.sandbox import poco_bulk
from iexec_nb.sandbox.blocks import BlockStore
from iexec_nb.sandbox.poco_index import poco_subgraph
from iexec_nb.sandbox.records import RunRecords
from iexec_nb.sandbox.runner import Images
from iexec_nb.sandbox.sms import Vault
from iexec_nb.sandbox.subgraph import Subgraph
from iexec_nb.sandbox.treasury import Treasury
from iexec_nb.sandbox.worker import Worker
from iexec_nb.services import abi
from iexec_nb.services.reads import Call

OWNER, REQUESTER = wallet("p owner"), wallet("p requester")
WORKERS = [wallet(f"p worker {i}") for i in range(3)]
NOWHERE = "QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWnPbdG"
NULL = NULL_ADDRESS
BULK_QUERY = """
    query ($where: Deal_filter) {
      deals(where: $where) {
        tasks {
          taskId: id
          bulkSlice {
            datasets {
              id
            }
          }
        }
      }
    }
"""
"""Word by word what @iexec/dataprotector 2 asks about a bulk."""
APP = [
    "python",
    "-c",
    "import os, json; out = os.environ['IEXEC_OUT']; open(out + '/a.txt', 'w').write('a'); "
    "json.dump({'deterministic-output-path': out + '/a.txt'}, open(out + '/computed.json', 'w'))",
]


class World:
    """A stack with a subgraph, a pool that works and one that does not."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.store, self.records, self.images = BlockStore(), RunRecords(), Images()
        self.images.set("docker.io/test/app:1", APP)
        self.idle, self.pool = stack.workerpool(OWNER), stack.workerpool(OWNER)
        self.worker = Worker(
            stack.chain,
            pools={self.pool: OWNER.secret},
            accounts=[one.address for one in WORKERS],
            store=self.store,
            vault=Vault(),
            records=self.records,
            images=self.images,
        )
        self.worker.start()
        self.subgraph: Subgraph = poco_subgraph(stack.chain, self.store.path)

    def ask(self, text: str, **variables: Any) -> Any:
        answer = self.subgraph.query(text, variables)
        assert list(answer) == ["data"], answer
        return answer["data"]

    def match(
        self,
        *,
        params: Any = "{}",
        dataset: str = NULL,
        works: bool = False,
        trust: int = 1,
        volume: int = 1,
        **request: Any,
    ) -> Any:
        """Make a deal and return its id with the four orders."""
        stack = self.stack
        pool = self.pool if works else self.idle
        app = stack.sign(AppOrder(app=stack.app(OWNER), appprice=3, volume=volume), OWNER)
        data = NULL_DATASETORDER
        if dataset != NULL:
            data = stack.sign(DatasetOrder(dataset=dataset, datasetprice=4, volume=volume), OWNER)
        offer = WorkerpoolOrder(workerpool=pool, workerpoolprice=5 * RLC, category=0, trust=trust, volume=volume)
        wish = RequestOrder(
            app=app.app,
            appmaxprice=3,
            dataset=dataset,
            datasetmaxprice=4,
            workerpoolmaxprice=5 * RLC,
            requester=REQUESTER.address,
            category=0,
            trust=trust,
            volume=volume,
            **request,
        )
        orders = app, stack.sign(offer, OWNER), self.sign(wish, params), data
        return stack.match(*orders), orders

    def sign(self, wish: RequestOrder, params: Any) -> RequestOrder:
        """Sign a request with any text as its params, which other programs do not check."""
        signed = self.stack.sign(wish, REQUESTER)
        object.__setattr__(signed, "params", params if isinstance(params, str) else json.dumps(params))
        digest = typed_data.order_digest(signed, self.stack.chain.domain)
        object.__setattr__(signed, "sign", typed_data.sign_digest(digest, REQUESTER.key))
        return signed

    def end(self, dealid: str, idx: int = 0) -> str:
        taskid = task_id(dealid, idx)
        assert self.records.wait(taskid, timeout_s=60), self.records.get(taskid)
        return taskid

    def upload(self, content: Any) -> str:
        return self.store.add(content if isinstance(content, bytes) else json.dumps(content).encode())

    def bulk_order(self, **changes: Any) -> dict[str, Any]:
        dataset = self.stack.dataset(OWNER)
        order = self.stack.sign(DatasetOrder(dataset=dataset, volume=2**53 - 1), OWNER)
        return {**order.to_json(), **changes}

    def bulk(self, *slices: Any) -> str:
        return self.upload([self.upload(one) for one in slices])

    def slices(self, dealid: str) -> Any:
        """Return the bulk of a deal: None, or the datasets of its slices by index."""
        text = "query($id: ID!) { deal(id: $id) { bulk { slices(orderBy: index) { index datasets { id } } } } }"
        bulk = self.ask(text, id=dealid)["deal"]["bulk"]
        if bulk is None:
            return None
        return {one["index"]: [dataset["id"] for dataset in one["datasets"]] for one in bulk["slices"]}


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with running_stack() as running:
        running.fund(OWNER, REQUESTER, *WORKERS, rlc=10_000 * RLC)
        made = World(running)
        yield made
        made.worker.stop()
        made.store.close()


# Resources.


def test_resources_are_told_with_what_their_owners_say_about_them(world: World) -> None:
    stack = world.stack
    app = stack.create("app", OWNER.address, "Ünïcode", "DOCKER", b"docker.io/a/b:1", bytes([7] * 32), b"{}")
    dataset = stack.create("dataset", OWNER.address, "data", b"\xa5\x03", bytes([8] * 32))
    pool = stack.create("workerpool", OWNER.address, "a pool")
    now = str(int(stack.chain.now().timestamp()))
    answer = world.ask(
        "query($a: ID!, $d: ID!, $w: ID!) { app(id: $a) { owner { id } name type multiaddr checksum mrenclave "
        "timestamp usageCount lastUsageTimestamp usages { id } } dataset(id: $d) { name multiaddr checksum timestamp } "
        "workerpool(id: $w) { description usageCount } }",
        a=app.lower(),
        d=dataset.lower(),
        w=pool.lower(),
    )
    assert answer == {
        "app": {
            "owner": {"id": OWNER.address.lower()},
            "name": "Ünïcode",
            "type": "DOCKER",
            "multiaddr": f"0x{b'docker.io/a/b:1'.hex()}",
            "checksum": "0x" + "07" * 32,
            "mrenclave": "0x7b7d",
            "timestamp": answer["dataset"]["timestamp"],
            "usageCount": "0",
            "lastUsageTimestamp": "0",
            "usages": [],
        },
        "dataset": {"name": "data", "multiaddr": "0xa503", "checksum": "0x" + "08" * 32, "timestamp": now},
        "workerpool": {"description": "a pool", "usageCount": "0"},
    }
    text = "query($o: String!) { ressources(where: {owner: $o}, first: 1000) { __typename id } }"
    found = world.ask(text, o=OWNER.address.lower())
    assert {"__typename": "Dataset", "id": dataset.lower()} in found["ressources"]


def test_a_resource_that_changes_hands_is_counted_anew(world: World) -> None:
    dealid, orders = world.match(volume=2)
    app = orders[0].app
    text = "query($id: ID!) { app(id: $id) { owner { id } usageCount lastUsageTimestamp usages { id } } }"
    used = world.ask(text, id=app.lower())["app"]
    assert used["usageCount"] == "2"
    assert used["lastUsageTimestamp"] == str(int(world.stack.chain.now().timestamp()))
    data = abi.SAFE_TRANSFER_FROM.encode(OWNER.address, REQUESTER.address, int(app, 16))
    world.stack.send(OWNER, world.stack.chain.appregistry, data)
    assert world.ask(text, id=app.lower())["app"] == {
        "owner": {"id": REQUESTER.address.lower()},
        "usageCount": "0",
        "lastUsageTimestamp": "0",
        "usages": [{"id": dealid}],
    }


def test_the_categories_are_those_of_the_hub(world: World) -> None:
    rows = world.ask("{ categories { id name description workClockTimeRef } }")["categories"]
    assert rows[0] == {"id": "0", "name": "XS", "description": "{}", "workClockTimeRef": "300"}
    assert [row["id"] for row in rows] == [str(number) for number in range(world.stack.chain.category_count())]


# Deals.


def test_a_deal_is_told_with_its_orders_and_prices_in_rlc(world: World) -> None:
    dataset = world.stack.dataset(OWNER)
    dealid, orders = world.match(dataset=dataset, volume=3, beneficiary=OWNER.address, params={"iexec_args": "x"})
    app, pool, request, data = (world.stack.order_hash(order) for order in orders)
    deal = world.ask(
        "query($id: ID!) { deal(id: $id) { app { id } appOwner { id } appPrice dataset { id } datasetOwner { id } "
        "datasetPrice workerpool { id } workerpoolOwner { id } workerpoolPrice trust category { name } tag "
        "requester { id } beneficiary { id } callback { id } params startTime botFirst botSize completedTasksCount "
        "claimedTasksCount workerStake schedulerRewardRatio sponsor { id } timestamp apporder { id appprice volume } "
        "datasetorder { id datasetprice } workerpoolorder { id workerpoolprice } requestorder { id requester { id } "
        "appmaxprice } bulk { id } tasks { id } } }",
        id=dealid,
    )["deal"]
    seen = world.stack.chain.deal(dealid)
    owner, requester = {"id": OWNER.address.lower()}, {"id": REQUESTER.address.lower()}
    assert deal == {
        "app": {"id": orders[0].app.lower()},
        "appOwner": owner,
        "appPrice": "0.000000003",
        "dataset": {"id": dataset.lower()},
        "datasetOwner": owner,
        "datasetPrice": "0.000000004",
        "workerpool": {"id": world.idle.lower()},
        "workerpoolOwner": owner,
        "workerpoolPrice": "5",
        "trust": "1",
        "category": {"name": "XS"},
        "tag": seen.tag,
        "requester": requester,
        "beneficiary": owner,
        "callback": {"id": NULL},
        "params": seen.params,
        "startTime": str(int(seen.startTime.timestamp())),
        "botFirst": "0",
        "botSize": "3",
        "completedTasksCount": "0",
        "claimedTasksCount": "0",
        "workerStake": str(seen.workerStake),
        "schedulerRewardRatio": str(seen.schedulerRewardRatio),
        "sponsor": {"id": seen.sponsor.lower()},
        "timestamp": str(int(seen.startTime.timestamp())),
        # Of orders only what the deal tells is known.
        "apporder": {"id": app, "appprice": "0.000000003", "volume": None},
        "datasetorder": {"id": data, "datasetprice": "0.000000004"},
        "workerpoolorder": {"id": pool, "workerpoolprice": "5"},
        "requestorder": {"id": request, "requester": requester, "appmaxprice": None},
        "bulk": None,
        "tasks": [],
    }


def test_a_deal_without_a_dataset_names_none(world: World) -> None:
    dealid, _ = world.match()
    text = "query($id: ID!) { deal(id: $id) { dataset { id } datasetorder { id } datasetPrice } }"
    assert world.ask(text, id=dealid)["deal"] == {"dataset": None, "datasetorder": None, "datasetPrice": "0"}
    found = world.ask("query($d: String!) { deals(where: {dataset: $d}, first: 1000) { id } }", d=NULL)["deals"]
    assert {"id": dealid} in found


def test_deals_are_found_by_requester_and_by_request(world: World) -> None:
    dealid, orders = world.match()
    text = "query($r: String!, $o: String!) { deals(where: {requester: $r, requestorder: $o}) { id } }"
    hash = world.stack.order_hash(orders[2])
    assert world.ask(text, r=REQUESTER.address.lower(), o=hash) == {"deals": [{"id": dealid}]}
    mine = "query($r: ID!) { account(id: $r) { dealRequester(orderBy: timestamp, orderDirection: desc) { id } } }"
    assert {"id": dealid} in world.ask(mine, r=REQUESTER.address.lower())["account"]["dealRequester"]


# Tasks.


TASK = (
    "query($id: ID!) { task(id: $id) { status index deal { id completedTasksCount claimedTasksCount } requester { id } "
    "consensus resultDigest results resultsCallback contributionDeadline revealDeadline finalDeadline bulkSlice { id } "
    "} }"
)


@pytest.mark.parametrize("trust", [1, 3])
def test_a_task_is_told_to_its_end(world: World, trust: int) -> None:
    dealid, _ = world.match(works=True, trust=trust)
    taskid = world.end(dealid)
    chain = world.stack.chain
    (seen,) = chain.read([Call(chain.hub_address, abi.VIEW_TASK, [bytes.fromhex(taskid[2:])])])
    assert world.ask(TASK, id=taskid)["task"] == {
        "status": "COMPLETED",
        "index": "0",
        "deal": {"id": dealid, "completedTasksCount": "1", "claimedTasksCount": "0"},
        "requester": {"id": REQUESTER.address.lower()},
        "contributionDeadline": str(seen[4]),
        "revealDeadline": str(seen[5]),
        "finalDeadline": str(seen[6]),
        "consensus": f"0x{seen[7].hex()}",
        "resultDigest": f"0x{seen[11].hex()}",
        "results": f"0x{seen[12].hex()}",
        "resultsCallback": "0x",
        "bulkSlice": None,
    }
    assert json.loads(seen[12])["storage"] == "ipfs"


def test_a_task_is_unknown_until_it_is_initialized_and_failled_when_it_is_claimed(world: World) -> None:
    stack = world.stack
    dealid, _ = world.match(volume=2)
    first, second = (task_id(dealid, idx) for idx in (0, 1))
    assert world.ask(TASK, id=first)["task"] is None
    stack.send(OWNER, stack.chain.hub_address, abi.INITIALIZE.encode(bytes.fromhex(dealid[2:]), 0))
    active = world.ask(TASK, id=first)["task"]
    assert (active["status"], active["consensus"], active["results"]) == ("ACTIVE", None, None)
    stack.travel(8 * 24 * 3600)
    stack.send(OWNER, stack.chain.hub_address, abi.CLAIM.encode(bytes.fromhex(first[2:])))
    both = abi.INITIALIZE_AND_CLAIM_ARRAY.encode([bytes.fromhex(dealid[2:])], [1])
    stack.send(OWNER, stack.chain.hub_address, both)
    text = "query($id: ID!) { deal(id: $id) { claimedTasksCount tasks(orderBy: index) { id status } } }"
    assert world.ask(text, id=dealid)["deal"] == {
        "claimedTasksCount": "2",
        "tasks": [{"id": first, "status": "FAILLED"}, {"id": second, "status": "FAILLED"}],
    }


# Bulks.


def test_the_bulk_of_a_request_is_told_task_by_task(world: World) -> None:
    orders = [world.bulk_order() for _ in range(3)]
    cid = world.bulk(orders[:2], orders[2:])
    dealid, made = world.match(works=True, volume=2, params={"bulk_cid": cid})
    for idx in (0, 1):
        world.end(dealid, idx)
    hash = world.stack.order_hash(made[2])
    [deal] = world.ask(BULK_QUERY, where={"requestorder": hash})["deals"]
    found = {task["taskId"]: [dataset["id"] for dataset in task["bulkSlice"]["datasets"]] for task in deal["tasks"]}
    # Lists are in the order of ids.
    assert found == {
        task_id(dealid, 0): sorted(order["dataset"].lower() for order in orders[:2]),
        task_id(dealid, 1): [orders[2]["dataset"].lower()],
    }


def test_a_slice_tells_the_orders_and_a_dataset_the_slices_that_use_it(world: World) -> None:
    order = world.bulk_order()
    part = world.upload([order])
    cid = world.upload([part])
    dealid, _ = world.match(params={"bulk_cid": cid})
    bulk = world.ask(
        "query($id: ID!) { bulk(id: $id) { hash deal { id } slices { id hash index task { id } datasetOrders { id "
        "dataset { id } datasetprice volume tag apprestrict workerpoolrestrict requesterrestrict salt sign } } } }",
        id=dealid,
    )["bulk"]
    [one] = bulk.pop("slices")
    assert bulk == {"hash": cid, "deal": {"id": dealid}}
    assert one == {
        "id": f"{dealid}-0",
        "hash": part,
        "index": "0",
        # There is no such task until it is initialized.
        "task": None,
        "datasetOrders": [
            {
                "id": f"{task_id(dealid, 0)}-0",
                "dataset": {"id": order["dataset"].lower()},
                "datasetprice": "0",
                "volume": str(2**53 - 1),
                "tag": order["tag"],
                "apprestrict": NULL,
                "workerpoolrestrict": NULL,
                "requesterrestrict": NULL,
                "salt": order["salt"],
                "sign": order["sign"],
            }
        ],
    }
    text = "query($d: ID!) { bulkSliceice(where: {datasets_: {id: $d}}) { id } dataset(id: $d) { bulkUsages { id } } }"
    used = world.ask(text, d=order["dataset"].lower())
    assert used == {"bulkSliceice": [{"id": one["id"]}], "dataset": {"bulkUsages": [{"id": one["id"]}]}}


def test_a_deal_has_the_slices_of_its_own_tasks_only(world: World) -> None:
    orders = [world.bulk_order() for _ in range(3)]
    cid = world.bulk(*([order] for order in orders))
    stack = world.stack
    wish = RequestOrder(
        app=stack.app(OWNER),
        workerpoolmaxprice=0,
        requester=REQUESTER.address,
        category=0,
        volume=3,
        params={"bulk_cid": cid},
    )
    request = stack.sign(wish, REQUESTER)
    deals = []
    for volume in (1, 2):
        app = stack.sign(AppOrder(app=wish.app, volume=volume), OWNER)
        pool = stack.sign(WorkerpoolOrder(workerpool=world.idle, category=0, volume=volume), OWNER)
        data = abi.MATCH_ORDERS.encode(app.to_abi(), NULL_DATASETORDER.to_abi(), pool.to_abi(), request.to_abi())
        receipt = stack.send(OWNER, stack.chain.hub_address, data)
        [dealid] = [log["data"][:66] for log in receipt["logs"] if log["topics"][0] == abi.ORDERS_MATCHED.topic]
        deals.append(dealid)
    names = [[order["dataset"].lower()] for order in orders]
    assert world.slices(deals[0]) == {"0": names[0]}
    assert world.slices(deals[1]) == {"1": names[1], "2": names[2]}


def test_a_bulk_is_told_as_soon_as_its_files_are_there(world: World) -> None:
    order = world.bulk_order(salt="0x" + secrets.token_hex(32))
    with BlockStoreAside() as aside:
        part = aside.add(json.dumps([order]).encode())
        root = aside.add(json.dumps([part]).encode())
    dealid, _ = world.match(params={"bulk_cid": root})
    assert world.slices(dealid) is None
    assert world.upload([part]) == root
    assert world.slices(dealid) == {}
    world.upload([order])
    assert world.slices(dealid) == {"0": [order["dataset"].lower()]}
    # What was said about an earlier block stays as it was.
    assert world.slices(dealid) == {"0": [order["dataset"].lower()]}


class BlockStoreAside(BlockStore):
    """Names files without keeping them where the subgraph looks."""

    def __enter__(self) -> BlockStoreAside:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


@pytest.mark.parametrize(
    "params",
    ["", "[]", "5", "{", '{"bulk_cid": 5}', '{"bulk_cid": null}', '{"x": 1}', "[" * 5000],
    ids=lambda text: repr(text)[:20],
)
def test_params_that_name_no_bulk_have_none(world: World, params: str) -> None:
    dealid, _ = world.match(params=params)
    assert world.slices(dealid) is None


@pytest.mark.parametrize("cid", [NOWHERE, "", "../../etc/passwd", "x" * 1000, "bafkqaaa"], ids=lambda cid: cid[:20])
def test_a_bulk_that_is_nowhere_is_no_error(world: World, cid: str) -> None:
    dealid, _ = world.match(params={"bulk_cid": cid})
    assert world.slices(dealid) in (None, {})


@pytest.mark.parametrize(
    "content",
    [b"", b"\xff", b"{}", b"5", b"[" * 10_000, b'[{"dataset": 1}]', b"[5, null, {}, []]"],
    ids=lambda content: repr(content)[:20],
)
def test_a_bulk_that_is_none_has_no_slices(world: World, content: bytes) -> None:
    dealid, _ = world.match(params={"bulk_cid": world.upload(content)})
    assert world.slices(dealid) == {}


def test_a_file_that_is_too_large_is_not_read(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    cid = world.bulk([world.bulk_order()])
    monkeypatch.setattr(poco_bulk, "MAX_FILE_BYTES", 10)
    dealid, _ = world.match(params={"bulk_cid": cid})
    assert world.slices(dealid) is None


WRONG: dict[str, dict[str, Any]] = {
    "a number for the volume": {"volume": 5},
    "a leading zero": {"volume": "01"},
    "a sign": {"datasetprice": "-1"},
    "no digits": {"datasetprice": ""},
    "other digits": {"datasetprice": "١"},
    "more digits than there are numbers": {"volume": "9" * 5000},
    "no address": {"apprestrict": "any"},
    "an address too long": {"dataset": "0x" + "0" * 41},
    "a tag in capitals": {"tag": "0x" + "A" * 64},
    "a salt too short": {"salt": "0x00"},
    "half a byte": {"sign": "0x0"},
    "no signature": {"sign": None},
}


@pytest.mark.parametrize("changes", WRONG.values(), ids=WRONG.keys())
def test_an_order_that_is_none_is_left_out_and_the_others_stay(world: World, changes: dict[str, Any]) -> None:
    good = world.bulk_order()
    dealid, _ = world.match(params={"bulk_cid": world.bulk([{**good, **changes}, good])})
    assert world.slices(dealid) == {"0": [good["dataset"].lower()]}
    orders = world.ask("query($id: ID!) { bulk(id: $id) { slices { datasetOrders { id } } } }", id=dealid)["bulk"]
    assert orders["slices"][0]["datasetOrders"] == [{"id": f"{task_id(dealid, 0)}-1"}]


def test_a_slice_that_is_none_is_there_without_datasets(world: World) -> None:
    dealid, _ = world.match(volume=2, params={"bulk_cid": world.bulk("no list", [5])})
    assert world.slices(dealid) == {"0": [], "1": []}


def test_a_dataset_that_was_never_deployed_is_not_listed(world: World) -> None:
    ghost = "0x" + "Ab" * 20
    dealid, _ = world.match(params={"bulk_cid": world.bulk([world.bulk_order(dataset=ghost)])})
    assert world.slices(dealid) == {"0": []}
    text = "query($d: String!) { bulkSliceice(where: {datasets_contains: [$d]}) { id } }"
    assert world.ask(text, d=ghost.lower())["bulkSliceice"] == [{"id": f"{dealid}-0"}]


def test_a_deal_with_a_dataset_has_no_bulk(world: World) -> None:
    dataset = world.stack.dataset(OWNER)
    dealid, _ = world.match(dataset=dataset, params={"bulk_cid": world.bulk([world.bulk_order()])})
    assert world.slices(dealid) is None


def test_an_order_for_a_whitelist_is_for_its_members_only(world: World) -> None:
    stack = world.stack
    treasury = Treasury(stack.rpc, stack.operator, stack.deployment)
    for members, refused in (([REQUESTER.address], False), ([OWNER.address], True)):
        app = stack.app(OWNER)
        order = AppOrder(app=app, requesterrestrict=treasury.whitelist(members))
        offer = WorkerpoolOrder(workerpool=world.idle, category=0, apprestrict=treasury.whitelist([app]))
        wish = RequestOrder(app=app, requester=REQUESTER.address, category=0)
        orders = stack.sign(order, OWNER), stack.sign(offer, OWNER), stack.sign(wish, REQUESTER)
        with pytest.raises(SandboxError, match="refused: match orders") if refused else nullcontext():
            dealid = stack.match(*orders)
            assert world.ask("query($id: ID!) { deal(id: $id) { app { id } } }", id=dealid)["deal"]


def test_orders_keep_their_hash_when_they_are_used_again(world: World) -> None:
    dealid, orders = world.match()
    again = world.stack.sign(replace(orders[2], salt=None, sign=None), REQUESTER)
    assert world.stack.order_hash(again) != world.stack.order_hash(orders[2])
    text = "query($id: ID!) { requestOrder(id: $id) { deals { id } } }"
    assert world.ask(text, id=world.stack.order_hash(orders[2]))["requestOrder"] == {"deals": [{"id": dealid}]}
    assert world.ask(text, id=world.stack.order_hash(again))["requestOrder"] is None

"""Bulks: many datasets for one request, from their owners' orders to what the app reads, and every rule before that."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import httpx
import pytest
from stage import NOBODY, Four, deploy_app, deploy_dataset, person, publish, wallet

from iexec_nb.actions import bulk
from iexec_nb.client import IExec
from iexec_nb.commands import COMMANDS, parse
from iexec_nb.errors import ConfigurationError, ValidationError
from iexec_nb.protocol import tags
from iexec_nb.protocol.orders import DATASET_INFINITE_VOLUME, AppOrder, DatasetOrder, Order, RequestOrder
from iexec_nb.protocol.params import dumps
from iexec_nb.protocol.types import NULL_BYTES32
from iexec_nb.sandbox.network import Sandbox

BULK: dict[str, Any] = {"datasetprice": 0, "volume": DATASET_INFINITE_VOLUME}


def read_all() -> None:
    """An app that writes what is in its datasets."""
    import json
    import os

    count = int(os.environ.get("IEXEC_BULK_SLICE_SIZE", "0"))
    names = [os.environ[f"IEXEC_DATASET_{n}_FILENAME"] for n in range(1, count + 1)]
    texts = []
    for name in names:
        with open(os.path.join(os.environ["IEXEC_IN"], name)) as file:
            texts.append(file.read())
    with open(os.path.join(os.environ["IEXEC_OUT"], "out.txt"), "w") as file:
        file.write(",".join(texts))
    with open(os.path.join(os.environ["IEXEC_OUT"], "computed.json"), "w") as file:
        json.dump({"deterministic-output-path": "/iexec_out/out.txt"}, file)


class Shop:
    """Three datasets with orders for bulks, an app that reads them, and somebody who pays."""

    def __init__(self, net: Sandbox) -> None:
        self.net = net
        self.seller = net.client()
        self.buyer = net.client(deposit="10 RLC")
        self.app = deploy_app(net, self.seller, read_all)
        self.datasets = [deploy_dataset(net, self.seller, f"data {n}".encode()) for n in range(3)]
        self.orders = [self.order(one) for one in self.datasets]

    def order(self, dataset: str, **fields: Any) -> DatasetOrder:
        """Return a signed order, made without any check."""
        order = self.seller.order._signed(DatasetOrder(dataset=dataset, **{**BULK, **fields}))
        assert isinstance(order, DatasetOrder)
        return order

    def upload(self, content: Any) -> str:
        return self.buyer.ipfs.add(content if isinstance(content, bytes) else dumps(content).encode())

    def hand_made(self, *slices: list[Order]) -> str:
        """Return the CID of a bulk that nobody checked."""
        return self.upload([self.upload([order.to_json() for order in one]) for one in slices])

    def request(self, cid: str, **fields: Any) -> RequestOrder:
        order = self.buyer.order.create(
            "request", **{"app": self.app, "category": 0, "volume": 1, "params": {"bulk_cid": cid}, **fields}
        )
        assert isinstance(order, RequestOrder)
        return order


@pytest.fixture(scope="module")
def shop(net: Sandbox) -> Shop:
    return Shop(net)


def refusal(shop: Shop, order: RequestOrder) -> str:
    """Return what signing a request is refused with; the wallet is not asked."""
    with person(shop.net, shop.buyer) as me:
        with pytest.raises(ValidationError) as caught:
            me.client.order.sign(order)
        assert caught.value.hint
        assert not me.asked
        assert not me.touched
    return caught.value.message


@pytest.mark.parity("order.prepareDatasetBulk")
def test_one_request_reads_all_datasets_of_a_bulk_in_as_many_tasks_as_are_needed(net: Sandbox, shop: Shop) -> None:
    made = shop.buyer.order.prepare_dataset_bulk(shop.orders, max_dataset_per_task=2)
    assert (made.volume, made.datasets) == (2, 3)
    member = COMMANDS["order", "prepare-dataset-bulk"].raw
    assert member is not None
    assert member(made) == {"cid": made.cid, "volume": 2}
    app = shop.seller.order._signed(AppOrder(app=shop.app, volume=10))
    [pool] = net.user.orderbook.workerpool(category=0, limit=1).iexec.orders()
    request = shop.buyer.order.sign(shop.request(made.cid, volume=made.volume))
    matched = shop.buyer.order.match(apporder=app, workerpoolorder=pool, requestorder=request)
    run = shop.buyer.deal.attach(matched.dealid)
    texts = [run.result(index)["out.txt"].text() for index in range(2)]
    assert texts == ["data 0,data 1", "data 2"]


def test_what_is_uploaded_is_slices_of_orders_under_a_list_of_their_cids(shop: Shop) -> None:
    made = shop.buyer.order.prepare_dataset_bulk(shop.orders, max_dataset_per_task="2")
    slices = json.loads(shop.buyer.ipfs.get(made.cid, max_bytes=10**6))
    found = [json.loads(shop.buyer.ipfs.get(one, max_bytes=10**6)) for one in slices]
    assert [[order["dataset"] for order in one] for one in found] == [shop.datasets[:2], shop.datasets[2:]]
    first = found[0][0]
    assert list(first) == [*DatasetOrder.FIELDS, "salt", "sign"]
    assert (first["datasetprice"], first["volume"]) == ("0", str(DATASET_INFINITE_VOLUME))
    assert shop.buyer.ipfs.get(made.cid, max_bytes=10**6) == dumps(slices).encode()


def test_orders_are_given_as_objects_texts_hashes_or_a_table(shop: Shop) -> None:
    hashes = [shop.seller.order.publish(order) for order in shop.orders]
    table = shop.buyer.orderbook.dataset(dataset_owner=wallet(shop.seller), bulk_only=True)
    publish(shop.seller, "dataset", dataset=shop.datasets[0], datasetprice=1)
    assert len(shop.buyer.orderbook.dataset(dataset_owner=wallet(shop.seller), bulk_only=True)) == 3
    texts = [json.dumps(order.to_json()) for order in shop.orders]
    prepare = shop.buyer.order.prepare_dataset_bulk
    cids = {prepare(given).cid for given in (shop.orders, texts, hashes, tuple(hashes))}
    assert len(cids) == 1
    assert prepare(table).datasets == 3
    line = ["order", "prepare-dataset-bulk", *hashes[:2], "--max-dataset-per-task", "1"]
    assert parse(line).on(shop.buyer).volume == 2
    assert parse(["order", "prepare-dataset-bulk", "$orders"], {"orders": table}).on(shop.buyer).datasets == 3


@pytest.mark.parametrize(
    ("most", "words"),
    [
        (0, "maxDatasetPerTask must be greater than 0"),
        (101, "maxDatasetPerTask must be less than or equal to 100"),
        (-1, "-1 is not a valid uint256"),
        (1.5, "1.5 is not a valid uint256"),
        (True, "True is not a valid uint256"),
        (None, "None is not a valid uint256"),
    ],
)
def test_a_slice_holds_one_to_a_hundred_orders(shop: Shop, most: Any, words: str) -> None:
    with pytest.raises(ValidationError, match=words) as caught:
        shop.buyer.order.prepare_dataset_bulk(shop.orders, max_dataset_per_task=most)
    assert caught.value.hint


@pytest.mark.parametrize("given", [[], (), None, 5, "0x12", [None], [{}], b"x", [[]]])
def test_what_is_no_order_makes_no_bulk(net: Sandbox, given: Any) -> None:
    with person(net, net.user) as me:
        with pytest.raises(ValidationError) as caught:
            me.client.order.prepare_dataset_bulk(given)
        assert caught.value.hint
        assert not me.web.requests


def test_everything_that_is_wrong_with_orders_is_named_at_once_and_nothing_is_uploaded(shop: Shop) -> None:
    revoked = shop.order(shop.datasets[0])
    shop.seller.order.cancel(revoked)
    stranger = shop.buyer.order._signed(replace(shop.orders[1], salt=None, sign=None))
    cases: list[tuple[Any, str]] = [
        (shop.order(shop.datasets[0], datasetprice=3), "[0].datasetprice (3) is not valid for bulk datasetorder"),
        (shop.order(shop.datasets[0], volume=5), "[1].volume (5) is not valid for bulk datasetorder expected DATASET_"),
        (replace(shop.orders[0], sign=None), "[2].sign is a required field"),
    ]
    genuine: list[tuple[Any, str]] = [
        (revoked, "[0]: Dataset order is revoked or fully consumed"),
        (stranger, "[1]: Invalid dataset order signature"),
        (shop.order(shop.app), f"[2]: No dataset deployed at address {shop.app}"),
    ]
    for wrong in (cases, genuine):
        with person(shop.net, shop.buyer) as me:
            with pytest.raises(ValidationError) as caught:
                me.client.order.prepare_dataset_bulk([order for order, _ in wrong])
            for _, words in wrong:
                assert f"datasetorders{words}" in caught.value.message
            assert not me.web.writes()
    with pytest.raises(ValidationError, match="a apporder was given as datasetorder"):
        shop.buyer.order.prepare_dataset_bulk([AppOrder(app=shop.app)])


def test_an_order_of_an_older_program_with_one_task_less_is_taken(shop: Shop) -> None:
    order = shop.order(shop.datasets[0], volume=DATASET_INFINITE_VOLUME - 1)
    assert shop.buyer.order.prepare_dataset_bulk([order]).volume == 1


def test_presigned_orders_can_be_in_a_bulk(shop: Shop) -> None:
    done = shop.seller.order.presign(DatasetOrder(dataset=shop.datasets[0], **BULK))
    assert shop.buyer.order.prepare_dataset_bulk([done.order]).datasets == 1


def test_many_faults_are_counted_after_the_first_ten(shop: Shop) -> None:
    orders = [shop.order(shop.datasets[0], datasetprice=1) for _ in range(30)]
    with pytest.raises(ValidationError, match="; and 20 more") as caught:
        shop.buyer.order.prepare_dataset_bulk(orders)
    assert "[9]" in caught.value.message
    assert "[10]" not in caught.value.message


def test_a_retired_network_has_no_bulks(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    client = shop.net.client()
    client.require_tdx = False
    with pytest.raises(ConfigurationError, match="Bulk processing is not available on network"):
        client.order.prepare_dataset_bulk(shop.orders)


def test_the_subgraph_gets_a_copy_where_it_lists_bulks_and_its_absence_is_told(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk, "THEGRAPH_CHAINS", {shop.net.chain_id})
    uploads: list[bytes] = []
    cids = {}

    def answer(request: httpx.Request) -> httpx.Response | None:
        if request.url.host != "ipfs.thegraph.com":
            return None
        if request.method == "HEAD":
            return httpx.Response(200, request=request)
        content = request.read().split(b"\r\n\r\n", 1)[1].rsplit(b"\r\n--", 1)[0]
        uploads.append(content)
        cids[content] = shop.upload(content)
        return httpx.Response(200, json={"Hash": cids[content]}, request=request)

    with person(shop.net, shop.buyer) as me:
        me.web.before = answer
        made = me.client.order.prepare_dataset_bulk(shop.orders, max_dataset_per_task=2)
        assert len(uploads) == 3
        assert cids[uploads[-1]] == made.cid
        me.web.before = lambda request: (
            httpx.Response(503, request=request) if request.url.host == "ipfs.thegraph.com" else None
        )
        with pytest.warns(UserWarning, match="subgraph will not list"):
            again = me.client.order.prepare_dataset_bulk(shop.orders, max_dataset_per_task=2)
        assert again == made


# Requests that name a bulk.


FAULTS: dict[str, tuple[Callable[[Shop], RequestOrder], str]] = {
    "a dataset of its own": (
        lambda s: s.request(s.hand_made(list(s.orders)), dataset=s.datasets[0]),
        "A request with a bulk takes no dataset of its own",
    ),
    "no TEE": (
        lambda s: s.request(s.hand_made(list(s.orders)), tag=NULL_BYTES32),
        "bulk_cid is not supported for non TEE tasks",
    ),
    "too many tasks": (
        lambda s: s.request(s.hand_made(list(s.orders)), volume=3),
        "has 1 slices, so that tasks from the 2th fail",
    ),
    "nothing there": (
        lambda s: s.request("QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWnPbdG"),
        "The bulk QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWnPbdG cannot be used",
    ),
    "no list": (lambda s: s.request(s.upload({"a": 1})), "it is not a list of the CIDs of slices"),
    "an empty list": (lambda s: s.request(s.upload([])), "it is not a list of the CIDs of slices"),
    "no JSON": (lambda s: s.request(s.upload(b"\xff{")), "it is not a list of the CIDs of slices"),
    "a deep list": (lambda s: s.request(s.upload(b"[" * 5000)), "it is not a list of the CIDs of slices"),
    "no slice": (lambda s: s.request(s.upload([s.upload("hello")])), "slice 0 is not a list of dataset orders"),
    "no CID": (lambda s: s.request(s.upload(["../../etc"])), "../../etc"),
    "no order": (lambda s: s.request(s.upload([s.upload([{"dataset": 5}])])), "datasetprice is a required field"),
    "a price": (
        lambda s: s.request(s.hand_made([s.order(s.datasets[0], datasetprice=1)])),
        "order 0 of slice 0.datasetprice (1) is not valid for bulk datasetorder",
    ),
    "for another app": (
        lambda s: s.request(s.hand_made([s.orders[0], s.order(s.datasets[0], apprestrict=NOBODY)])),
        f"order 1 of slice 0: datasetorder is restricted to app {NOBODY}",
    ),
    "for another requester": (
        lambda s: s.request(s.hand_made([s.order(s.datasets[0], requesterrestrict=NOBODY)])),
        f"datasetorder is restricted to requester {NOBODY}",
    ),
    "for another workerpool": (
        lambda s: s.request(s.hand_made([s.order(s.datasets[0], workerpoolrestrict=NOBODY)]), workerpool=s.app),
        f"datasetorder is restricted to workerpool {NOBODY}",
    ),
    "for a GPU": (
        lambda s: s.request(s.hand_made([s.order(s.datasets[0], tag=tags.encode(["tee", "gpu"]))])),
        "needs tags [gpu] that the deal does not have",
    ),
    "signed by a stranger": (
        lambda s: s.request(s.hand_made([replace(s.orders[0], salt="0x" + "7" * 64)])),
        "Invalid dataset order signature",
    ),
    "of no dataset": (lambda s: s.request(s.hand_made([s.order(s.app)])), "No dataset deployed at address"),
    "without a key": (
        lambda s: s.request(s.hand_made([s.order(deploy_dataset(s.net, s.seller, secret=False))])),
        "Dataset encryption key is not set for dataset",
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_bulk_that_would_fail_in_the_worker_is_refused_before_a_request_is_signed(shop: Shop, name: str) -> None:
    make, words = FAULTS[name]
    assert words in refusal(shop, make(shop))


def test_a_revoked_order_in_a_bulk_is_found(shop: Shop) -> None:
    order = shop.order(shop.datasets[1])
    request = shop.request(shop.hand_made([order]))
    shop.buyer.order.sign(request)
    shop.seller.order.cancel(order)
    assert "Dataset order is revoked or fully consumed" in refusal(shop, request)


def test_only_the_slices_that_a_request_pays_for_are_judged(shop: Shop) -> None:
    cid = shop.hand_made([shop.orders[0]], [shop.order(shop.datasets[1], apprestrict=NOBODY)])
    assert shop.buyer.order.sign(shop.request(cid)).is_signed
    assert "order 0 of slice 1" in refusal(shop, shop.request(cid, volume=2))


def test_the_check_can_be_skipped_and_is_made_again_for_a_match_with_its_workerpool(net: Sandbox, shop: Shop) -> None:
    f = Four(net, requester=shop.buyer)
    order = shop.order(shop.datasets[0], workerpoolrestrict=NOBODY)
    request = shop.request(shop.hand_made([order]), app=f.app, appmaxprice=3, workerpoolmaxprice=10, trust=1)
    # Which workerpool it will be is open while the request is signed.
    signed = shop.buyer.order.sign(request)
    orders = {**f.orders(), "requestorder": signed, "datasetorder": None}
    with person(net, shop.buyer) as me:
        with pytest.raises(ValidationError, match=f"restricted to workerpool {NOBODY}"):
            me.client.order.match(**orders)
        assert not me.asked
        assert not me.touched
        assert me.client.order.match(**orders, skip_preflight_check=True).volume == 1


def test_a_bulk_of_more_than_is_believed_is_not_read_to_its_end(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk, "MAX_DATASETS", 2)
    cid = shop.hand_made(*([one] for one in shop.orders), shop.orders, shop.orders)
    asked: list[str] = []
    get = shop.buyer.ipfs.get

    def counted(location: str, *, max_bytes: int) -> bytes:
        asked.append(location)
        return get(location, max_bytes=max_bytes)

    monkeypatch.setattr(shop.buyer.ipfs, "get", counted)
    with pytest.raises(ValidationError, match="it has more than 2 datasets"):
        bulk.datasets(shop.buyer, cid, 5)
    assert len(asked) == 1 + 3
    assert len(bulk.datasets(shop.buyer, cid, 2)) == 2
    empty = shop.hand_made(*[[]] * 5)
    with pytest.raises(ValidationError, match="it has more than 2 datasets"):
        bulk.datasets(shop.buyer, empty, 5)


def test_a_group_that_lets_the_requester_in_is_asked(net: Sandbox, shop: Shop) -> None:
    group = "0x" + "9b" * 20
    net.user.chain.rpc.call("anvil_setCode", group, "0x600160005260206000f3")
    order = shop.order(shop.datasets[0], requesterrestrict=group, apprestrict=group)
    assert shop.buyer.order.sign(shop.request(shop.hand_made([order]))).is_signed


def test_many_faults_of_a_bulk_are_counted(shop: Shop) -> None:
    orders: list[Order] = [shop.order(shop.datasets[0], apprestrict=NOBODY) for _ in range(25)]
    text = refusal(shop, shop.request(shop.hand_made(orders)))
    assert "And 15 more of the same bulk." in text


def test_a_market_that_lists_unfit_orders_as_bulk_is_not_believed(net: Sandbox, shop: Shop) -> None:
    dataset = deploy_dataset(net, shop.seller)
    publish(shop.seller, "dataset", dataset=dataset, datasetprice=4)
    with person(net, net.user) as me:

        def loosened(request: httpx.Request) -> None:
            request.url = request.url.copy_set_param("bulkOnly", "false")

        me.web.before = loosened
        with pytest.warns(UserWarning, match="datasetprice"):
            assert not len(me.client.orderbook.dataset(dataset, bulk_only=True))


def test_a_client_without_a_node_to_upload_to_says_so(net: Sandbox, shop: Shop) -> None:
    reader = net.client()
    bare = IExec(
        net.chain_id, rpc=reader.network.rpc, hub_address=reader.hub_address, sms="https://sms.invalid",
        ipfs_gateway="https://gateway.invalid",
    )  # fmt: skip
    try:
        with pytest.raises(ConfigurationError, match="no IPFS node"):
            bare.order.prepare_dataset_bulk(shop.orders)
    finally:
        bare.close()


def test_a_run_of_an_app_reads_a_bulk_and_is_refused_where_it_would_fail(net: Sandbox, shop: Shop) -> None:
    publish(shop.seller, "app", app=shop.app, volume=10)
    made = shop.buyer.order.prepare_dataset_bulk(shop.orders)
    run = shop.buyer.app.run(shop.app, params={"bulk_cid": made.cid}, category=0)
    assert run.result()["out.txt"].text() == "data 0,data 1,data 2"
    bad = shop.hand_made([shop.order(shop.datasets[0], apprestrict=NOBODY)])
    with person(net, shop.buyer) as me:
        with pytest.raises(ValidationError, match=f"restricted to app {NOBODY}"):
            me.client.app.run(shop.app, params={"bulk_cid": bad}, category=0)
        assert not me.touched
        assert not me.asked

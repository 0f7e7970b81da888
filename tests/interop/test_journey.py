"""The official SDK lives in the sandbox: it reads, buys and sells with the same contracts, market and services."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from people import Person, World
from sdk import cli_command

from iexec_nb.errors import MarketCallError
from iexec_nb.protocol.result_encryption import decrypt_result
from iexec_nb.protocol.types import NULL_ADDRESS

IMAGE = "docker.io/interop/count-rows:1.0"
CSV = b"city,people\nLyon,522000\nNantes,323000\nLille,236000\n"


def count_rows() -> None:
    import json
    import os
    from pathlib import Path

    rows = Path(os.environ["IEXEC_IN"], os.environ["IEXEC_DATASET_FILENAME"]).read_text().splitlines()
    out = Path(os.environ["IEXEC_OUT"])
    (out / "rows.json").write_text(json.dumps({"rows": len(rows) - 1, "args": os.sys.argv[1:]}))  # type: ignore[attr-defined]
    (out / "computed.json").write_text(json.dumps({"deterministic-output-path": "/iexec_out/rows.json"}))


@pytest.fixture(scope="module")
def seller(world: World) -> Person:
    return world.person(deposit="1 RLC")


@pytest.fixture(scope="module")
def buyer(world: World) -> Person:
    return world.person(deposit="5 RLC")


@pytest.fixture(scope="module")
def app(world: World, seller: Person) -> str:
    world.net.image(IMAGE, count_rows)
    address = seller.python.app.deploy(name="count rows", multiaddr=IMAGE, checksum="0x" + "ab" * 32).address
    order = seller.python.order.create("app", app=address, appprice="0.01 RLC", volume=100)
    seller.python.order.publish(seller.python.order.sign(order))
    return address


@pytest.fixture(scope="module")
def dataset(seller: Person) -> str:
    python = seller.python
    encrypted = python.dataset.encrypt(CSV)
    multiaddr = python.storage.add(encrypted)
    address = python.dataset.deploy(name="cités", multiaddr=multiaddr, checksum=encrypted.checksum).address
    python.dataset.push_secret(address)
    python.order.publish(
        python.order.sign(python.order.create("dataset", dataset=address, datasetprice="0.02 RLC", volume=50))
    )
    return address


@pytest.fixture(scope="module")
def workerpool(world: World) -> str:
    return world.net.workerpool("interop pool", price="0.03 RLC", category=0)


def _entry(record: Any, kind: str) -> dict[str, Any]:
    """Return a record as the SDK shows it: getters by name, ratios as text."""
    names = {
        "app": ("owner", "appName", "appType", "appMultiaddr", "appChecksum", "appMREnclave", "registry"),
        "dataset": ("owner", "datasetName", "datasetMultiaddr", "datasetChecksum", "registry"),
        "workerpool": (
            "owner", "workerpoolDescription", "workerStakeRatioPolicy", "schedulerRewardRatioPolicy", "registry",
        ),
    }[kind]  # fmt: skip
    return {name: v if isinstance(v := getattr(record, name), str) else str(v) for name in names}


def test_the_sdk_shows_resources_with_the_same_values(
    world: World, buyer: Person, app: str, dataset: str, workerpool: str
) -> None:
    python, js = buyer.python, buyer.js
    assert js("app", "showApp", app)["app"] == _entry(python.app.show(app), "app")
    assert js("dataset", "showDataset", dataset)["dataset"] == _entry(python.dataset.show(dataset), "dataset")
    shown = js("workerpool", "showWorkerpool", workerpool)["workerpool"]
    assert shown == _entry(python.workerpool.show(workerpool), "workerpool")
    assert js("workerpool", "getWorkerpoolApiUrl", workerpool) == world.endpoints.workerpool_api


def test_the_sdk_sees_the_same_money_and_categories(buyer: Person) -> None:
    python, js = buyer.python, buyer.js
    account, wallet = python.account.show(), python.wallet.show()
    assert js("account", "checkBalance", buyer.address) == {"stake": str(account.stake), "locked": str(account.locked)}
    assert js("wallet", "checkBalances", buyer.address) == {"wei": str(wallet.wei), "nRLC": str(wallet.nRLC)}
    assert js("hub", "countCategory") == str(python.category.count())
    category = python.category.show(2)
    assert js("hub", "showCategory", 2) == {
        "name": category.name, "description": category.description, "workClockTimeRef": str(category.workClockTimeRef),
    }  # fmt: skip


def test_the_sdk_reads_the_same_four_orderbooks(
    buyer: Person, seller: Person, app: str, dataset: str, workerpool: str
) -> None:
    python = buyer.python
    request = python.order.create("request", app=app, workerpoolmaxprice=7, category=0, volume=3, appmaxprice="1 RLC")
    python.order.publish(python.order.sign(request))
    books = {
        "App": (python.orderbook.app(app), {"app": app}),
        "Dataset": (python.orderbook.dataset(dataset), {"dataset": dataset}),
        "Workerpool": (python.orderbook.workerpool(workerpool), {"workerpool": workerpool}),
        "Request": (python.orderbook.requester(buyer.address), {"requester": buyer.address}),
    }
    for name, (ours, query) in books.items():
        theirs = buyer.js("orderbook", f"fetch{name}Orderbook", query)
        assert theirs["count"] == len(ours) >= 1
        assert [order["orderHash"] for order in theirs["orders"]] == ours.orderHash.tolist()
        first = ours.iexec.order(0).to_json()
        assert {key: str(value) for key, value in theirs["orders"][0]["order"].items()} == first


@pytest.mark.parametrize("kind", ["app", "dataset", "workerpool", "request"])
def test_an_order_that_the_sdk_published_is_read_and_verified_by_python(
    seller: Person, app: str, dataset: str, kind: str
) -> None:
    python, js = seller.python, seller.js
    fields: dict[str, Any] = {
        "app": {"app": app, "appprice": "0.5 RLC"},
        "dataset": {"dataset": dataset, "datasetprice": "0.25 RLC"},
        "workerpool": {"workerpool": python.workerpool.deploy(description=f"offers {kind}").address, "category": 1},
        "request": {"app": app, "appmaxprice": "0.01 RLC", "category": 3, "params": {"iexec_args": "hé 🚀"}},
    }[kind]
    draft = js("order", f"create{kind.capitalize()}order", {**fields, "volume": 3})
    signed = js("order", f"sign{kind.capitalize()}order", draft)
    name = js("order", f"publish{kind.capitalize()}order", signed)
    published = python.order.show(kind, name)
    assert published.order.to_json() == signed
    assert published.remaining == 3
    assert published.signer == seller.address
    assert js("order", f"unpublish{kind.capitalize()}order", name) == name
    with pytest.raises(MarketCallError, match="not found"):
        python.order.show(kind, name)


def test_secrets_pushed_by_one_side_are_seen_by_the_other(buyer: Person, seller: Person, dataset: str) -> None:
    assert buyer.js("dataset", "checkDatasetSecretExists", dataset) is True
    pem = buyer.python.result.generate_encryption_keypair(force=True).public_key
    assert buyer.js("result", "checkResultEncryptionKeyExists", buyer.address) is False
    assert buyer.js("result", "pushResultEncryptionKey", pem) == {"isPushed": True, "isUpdated": False}
    assert buyer.python.result.check_encryption_key() is True
    other = seller.js("dataset", "deployDataset", {
        "owner": seller.address, "name": "js", "multiaddr": "/ipfs/QmW2WQi7j6c7UgJTarActp7tDNikE4B2qXtFCfLPdsgaTQ",
        "checksum": "0x" + "01" * 32,
    })["address"]  # fmt: skip
    assert seller.python.dataset.check_secret(other) is False
    key = seller.js("dataset", "generateEncryptionKey")
    assert seller.js("dataset", "pushDatasetSecret", other, key) is True
    assert seller.python.dataset.check_secret(other) is True
    assert seller.js("result", "checkResultEncryptionKeyExists", seller.address) is False
    assert seller.python.result.push_encryption_key(pem).isPushed
    assert seller.js("result", "checkResultEncryptionKeyExists", seller.address) is True


def test_requester_and_app_secrets_pushed_by_one_side_are_seen_by_the_other(seller: Person) -> None:
    sms, signer, js = seller.python.sms, seller.python.require_signer(), seller.js
    assert sms.has_requester(seller.address, "from-js") is False
    assert js("secrets", "pushRequesterSecret", "from-js", "s3cret ☃") == {"isPushed": True}
    assert sms.has_requester(seller.address, "from-js") is True
    assert js("secrets", "checkRequesterSecretExists", seller.address, "from-python") is False
    sms.push_requester("from-python", "s3cret ☃", signer)
    assert js("secrets", "checkRequesterSecretExists", seller.address, "from-python") is True
    one, two = (
        seller.python.app.deploy(name=name, multiaddr=f"docker.io/interop/{name}:1").address for name in ("one", "two")
    )
    assert sms.has_app(one) is False
    assert js("app", "pushAppSecret", one, "s3cret ☃") is True
    assert sms.has_app(one) is True
    assert js("app", "checkAppSecretExists", two) is False
    sms.push_app(two, "s3cret ☃", signer)
    assert js("app", "checkAppSecretExists", two) is True


@pytest.mark.usefixtures("workerpool")
def test_the_sdk_matches_orders_signed_by_python_and_decrypts_the_result(
    world: World, seller: Person, app: str, dataset: str, workerpool: str
) -> None:
    buyer = world.person(deposit="1 RLC")
    python, js = buyer.python, buyer.js
    keys = python.result.generate_encryption_keypair()
    python.result.push_encryption_key()
    orders = {
        "apporder": python.orderbook.app(app).iexec.order(0),
        "datasetorder": python.orderbook.dataset(dataset).iexec.order(0),
        "workerpoolorder": python.orderbook.workerpool(workerpool).iexec.order(0),
        "requestorder": python.order.sign(
            python.order.create(
                "request", app=app, appmaxprice="0.01 RLC", dataset=dataset, datasetmaxprice="0.02 RLC",
                workerpool=workerpool, workerpoolmaxprice="0.03 RLC", category=0,
                params={"iexec_args": "one 'two three'", "iexec_result_encryption": True},
            )
        ),
    }  # fmt: skip
    given = {name: order.to_json() for name, order in orders.items()}
    cost = python.order.estimate(**orders)
    assert js("order", "estimateMatchOrders", given) == {"volume": "1", "total": str(cost.total)}
    matched = js("order", "matchOrders", given)
    deal = python.deal.show(matched["dealid"])
    assert deal.total_cost == cost.total == 60_000_000
    followed = world.sdk.ask("follow", client=js.name, dealid=matched["dealid"], taskid=deal.taskids[0])
    assert followed["deal"][-1]["message"] == "DEAL_COMPLETED"
    assert followed["deal"][-1]["completedTasksCount"] == 1
    assert followed["task"][-1]["message"] == "TASK_COMPLETED"
    results = python.task.show(deal.taskids[0]).results
    assert followed["task"][-1]["task"]["results"] == asdict(results)
    task = js("task", "show", deal.taskids[0])
    assert task["statusName"] == "COMPLETED"
    assert task["taskid"] == js("deal", "computeTaskId", deal.dealid, 0)
    encrypted = world.sdk.ask("fetchResults", client=js.name, taskid=deal.taskids[0])
    assert encrypted == python.ipfs.get(results.location, max_bytes=10**6)
    pem = keys.private_key_file.read_text()
    plain = world.sdk.ask("util", method="decryptResult", args=[encrypted, pem])
    assert plain == decrypt_result(encrypted, pem)
    result = python.result.fetch(deal.taskids[0])
    assert result.encrypted
    assert result.verified
    assert result.json("rows.json") == {"rows": 3, "args": ["one", "two three"]}
    theirs = js("deal", "show", deal.dealid)
    assert theirs["tasks"] == list(deal.taskids)
    assert theirs["finalTime"] == str(int(deal.finalTime.timestamp()))
    logs = js("task", "fetchLogs", deal.taskids[0])
    assert [entry["worker"] for entry in logs] == [entry["worker"] for entry in python.deal.attach(deal.dealid).logs()]


def test_python_runs_an_app_on_a_dataset_that_the_sdk_sold(world: World, app: str, workerpool: str) -> None:
    provider, buyer = world.person(), world.person(deposit="1 RLC")
    js = provider.js
    key = js("dataset", "generateEncryptionKey")
    encrypted = js("dataset", "encrypt", CSV, key)
    checksum = js("dataset", "computeEncryptedFileChecksum", encrypted)
    multiaddr = provider.python.storage.add(encrypted)
    address = js("dataset", "deployDataset", {
        "owner": provider.address, "name": "by js", "multiaddr": multiaddr, "checksum": checksum,
    })["address"]  # fmt: skip
    js("dataset", "pushDatasetSecret", address, key)
    draft = js("order", "createDatasetorder", {"dataset": address, "datasetprice": "0.1 RLC", "volume": 1})
    js("order", "publishDatasetorder", js("order", "signDatasetorder", draft))
    result = buyer.python.app.run(app, dataset=address, workerpool=workerpool, args="from-python").result()
    assert result.json("rows.json") == {"rows": 3, "args": ["from-python"]}


def test_what_python_claims_is_failed_and_paid_back_for_the_sdk_too(world: World, app: str, dataset: str) -> None:
    # The SDK's own claim asks the computer's clock, which does not travel.
    buyer = world.person(deposit="1 RLC")
    lazy = world.net.workerpool("never answers", price="0.1 RLC", idle=True)
    run = buyer.python.app.run(app, dataset=dataset, workerpool=lazy, category=0)
    locked = buyer.js("account", "checkBalance", buyer.address)
    assert locked == {"stake": str(10**9 - run.price), "locked": str(run.price)}
    world.net.travel(hours=2)
    assert buyer.python.deal.claim(run.dealid).claimed == {0: run.taskids[0]}
    assert buyer.js("account", "checkBalance", buyer.address) == {"stake": str(10**9), "locked": "0"}
    assert buyer.js("task", "show", run.taskids[0])["statusName"] == "FAILED"


def test_the_command_line_of_the_sdk_works_in_a_folder_with_our_chain_json(
    world: World, tmp_path: Path, app: str, workerpool: str
) -> None:
    world.endpoints.write(tmp_path)

    def iexec(*words: str) -> Any:
        home = {**os.environ, "HOME": str(tmp_path)}
        command = cli_command(world.sdk.folder, *words, "--raw")
        done = subprocess.run(command, cwd=tmp_path, env=home, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    shown = iexec("app", "show", app)
    assert shown["app"] == _entry(world.net.user.app.show(app), "app")
    book = iexec("orderbook", "workerpool", workerpool)
    ours = world.net.user.orderbook.workerpool(workerpool)
    assert [row["orderHash"] for row in book["workerpoolOrders"]] == ours.orderHash.tolist()
    info = iexec("info")
    assert info["hubAddress"] == world.endpoints.hub_address
    assert info["rlcAddress"] == world.endpoints.token
    assert NULL_ADDRESS not in info.values()

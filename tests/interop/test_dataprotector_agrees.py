"""The official DataProtector SDK lives in the sandbox: what it protects and grants is used here, and the reverse."""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import cloudpickle
import pytest
from people import Person, World
from protector import Protector, protector, protector_sdk
from sdk import SdkError

from iexec_nb.errors import IExecError, ValidationError
from iexec_nb.protocol import result_encryption
from iexec_nb.protocol.orders import RequestOrder
from iexec_nb.protocol.protected_content import Deserializer
from iexec_nb.protocol.protected_records import BulkRequest
from iexec_nb.protocol.types import NULL_ADDRESS, Secret, address

CONTENT: dict[str, Any] = {
    "email": "älice@example.com", "age": 36, "height": 1.75, "adult": True, "photo": b"\x89PNG\r\n\x1a\n...",
    "home": {"city": "Lyon"},
}  # fmt: skip
SCHEMA = {
    "email": "string", "age": "i128", "height": "f64", "adult": "bool", "photo": "image/png",
    "home": {"city": "string"},
}  # fmt: skip


def read_one() -> None:
    """An app that says what it reads, and what it is told."""
    import json
    import os
    from pathlib import Path

    from iexec_nb.protocol.protected_content import Deserializer

    data = Deserializer()
    found = [data.get_value("email", "string"), data.get_value("age", "i128"), data.get_value("home.city", "string")]
    found.append(os.environ.get("IEXEC_REQUESTER_SECRET_1", "none"))
    out = Path(os.environ["IEXEC_OUT"])
    (out / "result.txt").write_text(json.dumps(found))
    (out / "computed.json").write_text(json.dumps({"deterministic-output-path": str(out / "result.txt")}))


def read_many() -> None:
    """An app that reads every protected data of its slice."""
    import json
    import os
    from pathlib import Path

    from iexec_nb.protocol.protected_content import Deserializer

    count = int(os.environ["IEXEC_BULK_SLICE_SIZE"])
    files = [Path(os.environ["IEXEC_IN"], os.environ[f"IEXEC_DATASET_{i + 1}_FILENAME"]) for i in range(count)]
    out = Path(os.environ["IEXEC_OUT"])
    (out / "result.txt").write_text(",".join(Deserializer(one).get_value("email", "string") for one in files))
    (out / "computed.json").write_text(json.dumps({"deterministic-output-path": str(out / "result.txt")}))


@dataclass(frozen=True)
class Both:
    """One wallet, seen from both sides."""

    person: Person
    js: Protector

    @property
    def python(self) -> Any:
        return self.person.python.protected_data

    @property
    def address(self) -> str:
        return self.person.address


class Stage:
    """The DataProtector SDK beside the world, and apps that everybody may run."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.sdk = protector_sdk()
        dev = world.person()
        self.reader = self._app(dev, "reader", read_one)
        self.bulk_reader = self._app(dev, "bulk-reader", read_many)
        world.net.workerpool("protected pool", price=0, category=0)

    def _app(self, dev: Person, name: str, run: Any) -> str:
        cloudpickle.register_pickle_by_value(sys.modules[run.__module__])
        image = f"docker.io/interop/{name}:1.0"
        self.world.net.image(image, run)
        app = dev.python.app.deploy(name=name, multiaddr=image).address
        orders = dev.python.order
        orders.publish(orders.sign(orders.create("app", app=app, appprice=0, volume=1000)))
        return app

    def both(self, **funds: Any) -> Both:
        person, endpoints = self.world.person(**funds), self.world.endpoints
        settings = {
            "address": endpoints.dataprotector_address, "subgraph": endpoints.dataprotector_subgraph,
            "pocoSubgraph": endpoints.poco_subgraph, "workerpool": person.python.network.dataprotector_workerpool,
        }  # fmt: skip
        return Both(person, protector(self.sdk, person, endpoints.js_options(), settings, endpoints.rpc))


@pytest.fixture(scope="module")
def stage(world: World) -> Iterator[Stage]:
    made = Stage(world)
    yield made
    made.sdk.stop()


@pytest.fixture(scope="module")
def owner(stage: Stage) -> Both:
    return stage.both()


@pytest.fixture(scope="module")
def user(stage: Stage) -> Both:
    return stage.both(deposit="5 RLC")


@pytest.fixture(scope="module")
def made_here(owner: Both) -> Any:
    return owner.python.protect(CONTENT, name="made in Python")


@pytest.fixture(scope="module")
def made_there(owner: Both) -> Any:
    return owner.js("protectData", data=CONTENT, name="made in JavaScript")


def test_the_sdk_has_the_methods_that_are_here(owner: Both) -> None:
    methods = set(owner.js.sdk.ask("methods", client=owner.js.name))
    assert methods == {
        "protectData", "grantAccess", "revokeOneAccess", "revokeAllAccess", "transferOwnership",
        "processProtectedData", "prepareBulkRequest", "processBulkRequest", "inspectBulkRequest", "getProtectedData",
        "getGrantedAccess", "waitForTaskCompletion", "getResultFromCompletedTask",
    }  # fmt: skip


@pytest.mark.parity("dataProtectorCore.protectData")
def test_both_protect_the_same_data_in_the_same_form(owner: Both, made_here: Any, made_there: Any) -> None:
    assert made_there["schema"] == made_here.schema == SCHEMA
    ours, theirs = Deserializer(made_here.zipFile), Deserializer(made_there["zipFile"])
    assert ours.values(SCHEMA) == theirs.values(SCHEMA) == CONTENT
    python = owner.person.python
    here, there = (python.dataset.show(one) for one in (made_here.address, made_there["address"]))
    assert here.owner == there.owner == owner.address
    assert here.registry == there.registry
    assert (here.datasetName, there.datasetName) == ("made in Python", "made in JavaScript")
    assert there.datasetMultiaddr == made_there["multiaddr"]
    assert here.datasetMultiaddr == made_here.multiaddr
    assert [one.datasetMultiaddr[:7] for one in (here, there)] == ["/p2p/Qm", "/p2p/Qm"]
    assert python.dataset.check_secret(made_there["address"])


def test_what_the_sdk_protected_opens_here_with_its_key(owner: Both, made_there: Any) -> None:
    key = Secret(made_there["encryptionKey"])
    assert owner.python.open(made_there["address"], key=key) == CONTENT


@pytest.mark.parity("dataProtectorCore.getProtectedData")
def test_what_was_protected_here_is_listed_by_the_sdk_with_the_same_members(
    owner: Both, made_here: Any, made_there: Any
) -> None:
    theirs = owner.js("getProtectedData", owner=owner.address)
    listed = owner.python.list(owner=owner.address)
    by_address = {row["address"]: row for row in theirs}
    assert set(by_address) >= {made_here.address.lower(), made_there["address"].lower()}
    assert list(listed["address"]) == [address(row["address"]) for row in theirs]
    for row in listed.to_dict("records"):
        other = by_address[row["address"].lower()]
        assert (other["name"], other["schema"]) == (row["name"], row["schema"])
        assert address(other["owner"]) == row["owner"]
        assert other["multiaddr"] == row["multiaddr"]
        assert other["creationTimestamp"] == int(row["creationTimestamp"].timestamp())


@pytest.mark.parametrize(
    "wanted",
    [
        {"email": "string"}, {"home": {"city": "string"}}, {"photo": ["image/png", "image/gif"]}, {"email": ["string"]},
        {"email": "number"}, {"age": ["f64", "i128"], "adult": "bool"}, {"home": {"city": ["bool", "f64"]}}, {},
    ],
    ids=["one", "nested", "any-of", "list-of-one", "none", "both", "nested-none", "all"],
)  # fmt: skip
def test_both_find_the_same_data_by_its_schema(owner: Both, made_here: Any, made_there: Any, wanted: Any) -> None:
    theirs = owner.js("getProtectedData", owner=owner.address, requiredSchema=wanted)
    ours = owner.python.list(owner=owner.address, required_schema=wanted)
    assert list(ours["address"]) == [address(row["address"]) for row in theirs]


@pytest.mark.parity("dataProtectorCore.grantAccess", "dataProtectorCore.getGrantedAccess")
def test_both_grant_the_same_order(owner: Both, user: Both, stage: Stage, made_here: Any, made_there: Any) -> None:
    theirs = owner.js(
        "grantAccess", protectedData=made_there["address"], authorizedApp=stage.reader, authorizedUser=user.address,
        pricePerAccess=7.0, numberOfAccess=3.0,
    )  # fmt: skip
    ours = owner.python.grant(
        made_here.address, authorized_app=stage.reader, authorized_user=user.address, price_per_access=7,
        number_of_access=3,
    )  # fmt: skip
    own = ours.to_json()
    assert theirs.keys() == own.keys()
    same = {name for name in own if own[name] == theirs[name]}
    assert same == own.keys() - {"dataset", "salt", "sign"}
    for one in (made_here.address, made_there["address"]):
        listed = owner.python.granted_access(one)
        accesses = owner.js("getGrantedAccess", protectedData=one)
        assert accesses["count"] == len(listed) == 1
        assert accesses["grantedAccess"][0]["sign"] == listed.iexec.order(0).sign
        assert accesses["grantedAccess"][0]["remainingAccess"] == listed["remaining"][0]


def test_both_refuse_a_second_grant_in_the_same_words(
    owner: Both, user: Both, stage: Stage, made_here: Any, made_there: Any
) -> None:
    arguments = {"authorizedApp": stage.reader, "authorizedUser": user.address}
    with pytest.raises(SdkError) as theirs:
        owner.js("grantAccess", protectedData=made_here.address, **arguments)
    with pytest.raises(ValidationError) as ours:
        owner.python.grant(made_there["address"], authorized_app=stage.reader, authorized_user=user.address)
    assert ours.value.message in str(theirs.value)


@pytest.mark.parametrize(
    ("arguments", "own"),
    [
        ({"allowBulk": True, "pricePerAccess": 1.0}, {"allow_bulk": True, "price_per_access": 1}),
        ({"allowBulk": True, "numberOfAccess": 2.0}, {"allow_bulk": True, "number_of_access": 2}),
        ({"numberOfAccess": 0.0}, {"number_of_access": 0}),
        ({"authorizedApp": NULL_ADDRESS}, {"authorized_app": NULL_ADDRESS}),
        ({"authorizedApp": "0x" + "12" * 20}, {"authorized_app": "0x" + "12" * 20}),
    ],
    ids=["priced bulk", "limited bulk", "no access", "any app", "no app"],
)
def test_both_refuse_a_wrong_grant_in_the_same_words(
    owner: Both, stage: Stage, made_here: Any, arguments: dict[str, Any], own: dict[str, Any]
) -> None:
    somebody = "0x" + "34" * 20
    theirs = {"protectedData": made_here.address, "authorizedApp": stage.reader, "authorizedUser": somebody}
    with pytest.raises(SdkError) as there:
        owner.js("grantAccess", **{**theirs, **arguments})
    with pytest.raises(IExecError) as here:
        owner.python.grant(made_here.address, **{"authorized_app": stage.reader, "authorized_user": somebody, **own})
    assert here.value.message in str(there.value)


def test_the_sdk_processes_what_was_protected_and_granted_here(user: Both, stage: Stage, made_here: Any) -> None:
    done = user.js(
        "processProtectedData", protectedData=made_here.address, app=stage.reader, dataMaxPrice=7.0,
        secrets={"1": "from JavaScript"}, path="result.txt",
    )  # fmt: skip
    assert json.loads(done["result"]) == ["älice@example.com", 36, "Lyon", "from JavaScript"]
    # The same result, read here by the task's id.
    assert bytes(user.python.result(done["taskId"], "result.txt")) == done["result"]
    assert user.python.wait(done["taskId"]).to_json() == {"status": "COMPLETED", "success": True}


@pytest.mark.parity("dataProtectorCore.processProtectedData")
def test_what_the_sdk_protected_and_granted_is_processed_here(user: Both, stage: Stage, made_there: Any) -> None:
    run = user.python.process(
        made_there["address"], app=stage.reader, data_max_price=7, secrets={1: Secret("from Python")}
    )
    assert user.python.wait(run.taskids[0], dealid=run.dealid).success
    content = bytes(user.python.result(run.taskids[0], "result.txt"))
    assert json.loads(content) == ["älice@example.com", 36, "Lyon", "from Python"]
    # The same result, read there.
    theirs = user.js("getResultFromCompletedTask", taskId=run.taskids[0], path="result.txt")
    assert theirs["result"] == content
    assert user.js("waitForTaskCompletion", taskId=run.taskids[0], dealId=run.dealid) == {
        "status": "COMPLETED", "success": True,
    }  # fmt: skip


def test_a_result_that_was_encrypted_for_a_key_of_the_sdk_opens_here(user: Both, stage: Stage, made_here: Any) -> None:
    pem = result_encryption.generate_result_keypair(2048).private_pem
    done = user.js(
        "processProtectedData", protectedData=made_here.address, app=stage.reader, dataMaxPrice=7.0,
        encryptResult=True, pemPrivateKey=pem.reveal(), waitForResult=False,
    )  # fmt: skip
    assert user.python.wait(done["taskId"], dealid=done["dealId"]).success
    ours = bytes(user.python.result(done["taskId"], "result.txt", pem_private_key=pem))
    theirs = user.js("getResultFromCompletedTask", taskId=done["taskId"], path="result.txt", pemPrivateKey=pem.reveal())
    assert json.loads(ours)[0] == "älice@example.com"
    assert theirs["result"] == ours


@pytest.mark.parity("dataProtectorCore.getResultFromCompletedTask")
def test_a_result_that_was_encrypted_for_a_key_given_here_opens_in_the_sdk(
    user: Both, stage: Stage, made_there: Any
) -> None:
    pem = result_encryption.generate_result_keypair(2048).private_pem
    run = user.python.process(
        made_there["address"], app=stage.reader, data_max_price=7, encrypt_result=True, pem_private_key=pem
    )
    assert user.python.wait(run.taskids[0], dealid=run.dealid).success
    theirs = user.js("getResultFromCompletedTask", taskId=run.taskids[0], path="result.txt", pemPrivateKey=pem.reveal())
    assert json.loads(theirs["result"])[0] == "älice@example.com"
    assert bytes(user.python.result(run.taskids[0], "result.txt", pem_private_key=pem)) == theirs["result"]


@pytest.mark.parity("dataProtectorCore.revokeAllAccess")
def test_each_side_revokes_what_the_other_granted(
    stage: Stage, owner: Both, user: Both, made_here: Any, made_there: Any
) -> None:
    listed = owner.js("getGrantedAccess", protectedData=made_here.address)["grantedAccess"]
    gone = owner.js("revokeOneAccess", **{**listed[0], "remainingAccess": float(listed[0]["remainingAccess"])})
    assert gone["access"]["sign"] == listed[0]["sign"]
    back = owner.python.revoke_all(made_there["address"])
    assert [one.access.order.requesterrestrict for one in back] == [user.address]
    for one in (made_here.address, made_there["address"]):
        assert len(owner.python.granted_access(one)) == 0
        assert owner.js("getGrantedAccess", protectedData=one)["count"] == 0


@pytest.mark.parity(
    "dataProtectorCore.prepareBulkRequest",
    "dataProtectorCore.processBulkRequest",
    "dataProtectorCore.inspectBulkRequest",
)
def test_each_side_takes_the_bulk_request_of_the_other(stage: Stage, owner: Both, user: Both) -> None:
    contents = [{"email": f"u{i}@example.com"} for i in range(3)]
    ours = [owner.python.protect(one).address for one in contents]
    for one in ours:
        owner.js(
            "grantAccess", protectedData=one, authorizedApp=stage.bulk_reader, authorizedUser=user.address,
            allowBulk=True,
        )  # fmt: skip
    accesses = user.python.granted_access(
        authorized_app=stage.bulk_reader, authorized_user=user.address, bulk_only=True
    )
    theirs = user.js(
        "getGrantedAccess", authorizedApp=stage.bulk_reader, authorizedUser=user.address, bulkOnly=True
    )["grantedAccess"]  # fmt: skip
    assert sorted(one["sign"] for one in theirs) == sorted(accesses["sign"])

    made_here = user.python.prepare_bulk(accesses, app=stage.bulk_reader, max_protected_data_per_task=2)
    accesses_there = [{**one, "remainingAccess": float(one["remainingAccess"])} for one in theirs]
    made_there = user.js(
        "prepareBulkRequest", bulkAccesses=accesses_there, app=stage.bulk_reader, maxProtectedDataPerTask=2.0
    )["bulkRequest"]
    other = BulkRequest(order=RequestOrder.from_json(made_there))
    names = ("app", "workerpool", "requester", "volume", "category", "tag", "trust", "beneficiary", "callback")
    assert [getattr(other.order, name) for name in names] == [getattr(made_here.order, name) for name in names]
    assert {**made_here.params, "bulk_cid": other.params["bulk_cid"], "iexec_secrets": {}} == other.params

    # Each processes and inspects what the other prepared.
    done = user.js(
        "processBulkRequest", bulkRequest=made_here.to_json(), path="result.txt", waitForResult=True
    )["tasks"]  # fmt: skip
    mails = sorted(mail for task in done for mail in task["result"].decode().split(","))
    assert mails == sorted(one["email"] for one in contents)
    own = user.python.inspect_bulk(made_here, with_result=True, detailed=True, path="result.txt")
    assert own.bulkStatus == "FINISHED"
    assert [(task["taskId"], task["dealId"], task["bulkIndex"]) for task in done] == [
        (row["taskid"], row["dealid"], row["bulkIndex"]) for row in own.tasks.to_dict("records")
    ]
    assert [task["result"] for task in done] == [bytes(one) for one in own.tasks["result"]]

    mine = user.python.process_bulk(made_there, wait=True, path="result.txt")
    assert sorted(mail for one in mine.tasks["result"] for mail in one.text().split(",")) == mails
    seen = user.js("inspectBulkRequest", bulkRequest=made_there, detailed=True)
    again = user.python.inspect_bulk(made_there, detailed=True).to_json()
    # A subgraph lists by address; here they stand in the order of the bulk.
    for task in (*seen["tasks"], *again["tasks"]):
        task["protectedDataAddresses"] = sorted(task["protectedDataAddresses"])
    assert seen == again


@pytest.mark.parity("dataProtectorCore.transferOwnership")
def test_protected_data_that_the_sdk_gave_away_is_the_others_here(stage: Stage, owner: Both, user: Both) -> None:
    made = owner.python.protect({"note": "for you"})
    moved = owner.js("transferOwnership", protectedData=made.address, newOwner=user.address)
    assert address(moved["to"]) == user.address
    assert list(user.python.list(made.address)["owner"]) == [user.address]
    back = user.python.transfer(made.address, new_owner=owner.address)
    assert address(owner.js("getProtectedData", protectedDataAddress=made.address)[0]["owner"]) == back.to


def test_the_key_that_opens_it_is_the_one_that_the_secret_service_has(owner: Both, made_here: Any) -> None:
    assert len(base64.b64decode(made_here.encryptionKey.reveal())) == 32
    assert owner.person.python.dataset.check_secret(made_here.address)

"""Processing protected data: the orders that are taken, what is handed over and when, results, and bulks."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any

import cloudpickle
import pytest
from stage import NOBODY, Person, crash, deploy_app, nonce, person, publish, wallet

from iexec_nb import tables
from iexec_nb.client import IExec
from iexec_nb.errors import (
    ConfigurationError,
    DecryptionError,
    IExecError,
    InsufficientFundsError,
    ObjectNotFoundError,
    OrderMismatchError,
    ResultNotFoundError,
    TaskTimeoutError,
    ValidationError,
)
from iexec_nb.protocol import result_encryption
from iexec_nb.protocol.protected_records import BulkRequest
from iexec_nb.protocol.types import NULL_ADDRESS, Secret
from iexec_nb.sandbox.network import Sandbox


def read_email() -> None:
    """An app that writes what it reads and what it is told."""
    import json
    import os
    from pathlib import Path

    from iexec_nb import Deserializer

    found = {"email": Deserializer().get_value("email", "string"), "args": os.sys.argv[1:]}  # type: ignore[attr-defined]
    found["secret"] = os.environ.get("IEXEC_REQUESTER_SECRET_7")
    out = Path(os.environ["IEXEC_OUT"])
    (out / "result.json").write_text(json.dumps(found))
    (out / "computed.json").write_text(json.dumps({"deterministic-output-path": str(out / "result.json")}))


def read_emails() -> None:
    """An app that writes the emails of its slice."""
    import json
    import os
    from pathlib import Path

    from iexec_nb import Deserializer

    count = int(os.environ["IEXEC_BULK_SLICE_SIZE"])
    files = [Path(os.environ["IEXEC_IN"], os.environ[f"IEXEC_DATASET_{i + 1}_FILENAME"]) for i in range(count)]
    out = Path(os.environ["IEXEC_OUT"])
    (out / "emails.txt").write_text("\n".join(Deserializer(one).get_value("email", "string") for one in files))
    (out / "computed.json").write_text(json.dumps({"deterministic-output-path": str(out / "emails.txt")}))


@pytest.fixture(scope="module")
def owner(net: Sandbox) -> IExec:
    return net.client(rlc="1 RLC")


@pytest.fixture(scope="module")
def reader(net: Sandbox, seller: IExec) -> str:
    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    return deploy_app(net, seller, read_email, price=0, volume=10_000)


@pytest.fixture(scope="module")
def bulk_reader(net: Sandbox, seller: IExec) -> str:
    return deploy_app(net, seller, read_emails, price=0, volume=10_000)


@pytest.fixture(scope="module")
def shared(owner: IExec, reader: str) -> str:
    """Protected data that everybody may process with the reader, for 0.1 RLC."""
    made = owner.protected_data.protect({"email": "alice@example.com"})
    owner.protected_data.grant(
        made, authorized_app=reader, authorized_user=NULL_ADDRESS, price_per_access="0.1 RLC", number_of_access=10_000
    )
    return made.address


@pytest.fixture
def bob(net: Sandbox) -> Iterator[Person]:
    with person(net) as one:
        yield one


def result_of(client: IExec, run: Any) -> Any:
    assert client.protected_data.wait(run.taskids[0], dealid=run.dealid).success
    return client.protected_data.result(run.taskids[0], "result.json").json()


# --- process ---------------------------------------------------------------------------------------------------------


def test_the_question_says_price_and_secrets_and_nothing_is_handed_over_before_the_yes(
    bob: Person, shared: str, reader: str
) -> None:
    bob.answer = False
    arguments: dict[str, Any] = {
        "app": reader, "data_max_price": "0.1 RLC", "secrets": {7: Secret("the password")}, "encrypt_result": True,
    }  # fmt: skip
    with pytest.raises(ConfigurationError, match="Operation aborted by user"):
        bob.client.protected_data.process(shared, **arguments)
    assert not bob.touched
    (question,) = bob.asked
    assert f"run app {reader} for 0.1 RLC in all" in question
    assert f"dataset: {shared}" in question
    assert "gives the secret service your secrets 7" in question
    assert "results of yours are encrypted" in question
    assert "the password" not in question
    bob.answer = True
    bob.asked.clear()
    run = bob.client.protected_data.process(shared, **arguments)
    assert len(bob.asked) == 1
    assert result_of(bob.client, run) == {"email": "alice@example.com", "args": [], "secret": "the password"}
    assert run.price == 100_000_000
    assert bob.node.sent == 1


def test_a_secret_from_a_line_of_the_shell_is_a_number_and_a_value(bob: Person, shared: str, reader: str) -> None:
    given: Any = Secret("7=pass=word")
    run = bob.client.protected_data.process(shared, app=reader, data_max_price="0.1 RLC", secrets=given)
    assert result_of(bob.client, run)["secret"] == "pass=word"
    # Base64 ends with the sign that parts a number from its secret.
    for text in ("unhidden", "unhidden=", "unhidden==", "unhidden=1", "12345678901234567890="):
        wrong: Any = Secret(text)
        with pytest.raises(ValidationError, match="secrets must be an object with numeric keys") as caught:
            bob.client.protected_data.process(shared, app=reader, secrets=wrong)
        assert text[:8] not in str(caught.value)


def test_two_secrets_of_one_number_are_refused(bob: Person, shared: str, reader: str) -> None:
    both: Any = {1: Secret("x"), "1": Secret("y")}
    with pytest.raises(ValidationError, match="there are two secrets 1"):
        bob.client.protected_data.process(shared, app=reader, secrets=both)
    assert not bob.touched


def test_args_reach_the_app_and_a_run_without_secrets_has_one_question(bob: Person, shared: str, reader: str) -> None:
    run = bob.client.protected_data.process(shared, app=reader, data_max_price="0.1 RLC", args="hello world")
    assert len(bob.asked) == 1
    assert result_of(bob.client, run)["args"] == ["hello", "world"]
    assert not bob.web.to("sms", method="POST")


def test_data_of_ones_own_needs_no_grant(net: Sandbox, reader: str) -> None:
    client = net.client(deposit="1 RLC")
    made = client.protected_data.protect({"email": "me@example.com"})
    assert result_of(client, client.protected_data.process(made, app=reader))["email"] == "me@example.com"


@pytest.mark.parametrize(
    ("limits", "kind"),
    [({}, "Dataset"), ({"data_max_price": "0.09 RLC"}, "Dataset")],
    ids=["nothing", "too little"],
)
def test_an_order_above_its_limit_is_not_taken(bob: Person, shared: str, reader: str, limits: Any, kind: str) -> None:
    with pytest.raises(OrderMismatchError, match=f"No {kind} order found for the desired price") as caught:
        bob.client.protected_data.process(shared, app=reader, **limits)
    assert caught.value.hint is not None
    assert "data_max_price" in caught.value.hint
    assert not bob.touched


def test_the_app_and_the_pool_have_limits_of_their_own(net: Sandbox, seller: IExec, owner: IExec, bob: Person) -> None:
    app = deploy_app(net, seller, read_email, price="0.2 RLC")
    made = owner.protected_data.protect({"email": "x"})
    owner.protected_data.grant(made, authorized_app=app, authorized_user=NULL_ADDRESS)
    verb = bob.client.protected_data
    with pytest.raises(OrderMismatchError, match="No App order found for the desired price"):
        verb.process(made.address, app=app, data_max_price="5 RLC")
    pool = net.workerpool("dear pool", price="0.3 RLC", category=0)
    with pytest.raises(OrderMismatchError, match="No Workerpool order found for the desired price"):
        verb.process(made.address, app=app, app_max_price="0.2 RLC", workerpool=pool)
    run = verb.process(made.address, app=app, app_max_price="0.2 RLC", workerpool=pool, workerpool_max_price="0.3 RLC")
    assert run.price == 500_000_000


@pytest.mark.parametrize(
    "changes",
    [
        {"app": "x"}, {"app": NOBODY}, {"data_max_price": 0.1}, {"app_max_price": "x"}, {"workerpool_max_price": -1},
        {"input_files": ["ftp://x"]}, {"secrets": ["x"]}, {"secrets": {1: "unhidden"}},
        {"secrets": {0: Secret("x")}}, {"secrets": {"a": Secret("x")}}, {"secrets": {1: Secret("x" * 5000)}},
        {"workerpool": "x"}, {"category": "x"}, {"pem_private_key": Secret("x")}, {"user_whitelist": "x"},
        {"pem_private_key": Secret("x"), "encrypt_result": True}, {"user_whitelist": NOBODY}, {"idempotency_key": 3},
    ],
    ids=lambda changes: "-".join(f"{name}-{value!r}"[:30] for name, value in changes.items()),
)  # fmt: skip
def test_a_wrong_argument_is_refused_before_anything_is_sent(
    bob: Person, shared: str, reader: str, changes: dict[str, Any]
) -> None:
    given = {"app": reader, "data_max_price": "0.1 RLC", **changes}
    with pytest.raises(IExecError) as caught:
        bob.client.protected_data.process(shared, **given)
    assert not isinstance(caught.value, OrderMismatchError)
    assert "unhidden" not in str(caught.value)
    assert not bob.touched
    assert not bob.asked


def test_what_does_not_exist_is_said(bob: Person, reader: str) -> None:
    with pytest.raises(ObjectNotFoundError):
        bob.client.protected_data.process(NOBODY, app=reader)
    with pytest.raises(ValidationError):
        bob.client.protected_data.process("x", app=reader)


def test_a_poor_account_is_known_before_secrets_are_handed_over(net: Sandbox, shared: str, reader: str) -> None:
    with person(net, net.client(rlc="1 RLC")) as poor:
        with pytest.raises(InsufficientFundsError):
            poor.client.protected_data.process(shared, app=reader, data_max_price="0.1 RLC", secrets={1: Secret("x")})
        assert not poor.touched
        assert not poor.asked


def test_a_cell_that_is_run_again_pays_once_and_gives_secrets_once(bob: Person, shared: str, reader: str) -> None:
    arguments: dict[str, Any] = {
        "app": reader, "data_max_price": "0.1 RLC", "secrets": {7: Secret("s")}, "idempotency_key": "monday",
    }  # fmt: skip
    first = bob.client.protected_data.process(shared, **arguments)
    pushed = len(bob.web.to("sms", method="POST"))
    again = bob.client.protected_data.process(shared, **arguments)
    assert again.dealid == first.dealid
    assert bob.node.sent == 1
    assert len(bob.web.to("sms", method="POST")) == pushed == 1
    with pytest.raises(ValidationError, match="was begun with another"):
        bob.client.protected_data.process(shared, **{**arguments, "data_max_price": "0.2 RLC"})
    with pytest.raises(ValidationError, match="was begun with another"):
        bob.client.protected_data.process(shared, **{**arguments, "args": "x"})


def test_a_kernel_that_died_after_the_secrets_goes_on_with_the_same_names(
    bob: Person, shared: str, reader: str
) -> None:
    arguments: dict[str, Any] = {
        "app": reader, "data_max_price": "0.1 RLC", "secrets": {7: Secret("s")}, "idempotency_key": "tuesday",
    }  # fmt: skip

    def die(methods: list[str]) -> None:
        if "eth_sendRawTransaction" in methods:
            raise SystemExit

    bob.node.before = die
    with pytest.raises(SystemExit):
        bob.client.protected_data.process(shared, **arguments)
    bob.node.before = None
    run = bob.client.protected_data.process(shared, **arguments)
    assert result_of(bob.client, run)["secret"] == "s"


# --- groups ----------------------------------------------------------------------------------------------------------


def test_a_member_of_a_whitelist_uses_what_was_granted_to_it(net: Sandbox, owner: IExec, reader: str) -> None:
    member, stranger = net.client(deposit="1 RLC"), net.client(deposit="1 RLC")
    group = net.whitelist([wallet(member)])
    made = owner.protected_data.protect({"email": "group@example.com"})
    owner.protected_data.grant(made, authorized_app=reader, authorized_user=group, number_of_access=3)
    run = member.protected_data.process(made.address, app=reader, user_whitelist=group)
    assert result_of(member, run)["email"] == "group@example.com"
    with pytest.raises(ValidationError, match="As a user, you are not in the whitelist"):
        stranger.protected_data.process(made.address, app=reader, user_whitelist=group)
    with pytest.raises(ValidationError, match="userWhitelist is not a valid whitelist contract"):
        member.protected_data.process(made.address, app=reader, user_whitelist=reader)
    with pytest.raises(OrderMismatchError, match="No Dataset order found"):
        stranger.protected_data.process(made.address, app=reader)


def test_an_access_for_a_whitelist_of_apps_serves_its_apps(
    net: Sandbox, owner: IExec, bob: Person, reader: str
) -> None:
    apps = net.whitelist([reader])
    made = owner.protected_data.protect({"email": "apps@example.com"})
    owner.protected_data.grant(made, authorized_app=apps, authorized_user=wallet(bob.client))
    run = bob.client.protected_data.process(made.address, app=reader)
    assert result_of(bob.client, run)["email"] == "apps@example.com"


# --- wait and result -------------------------------------------------------------------------------------------------


@pytest.mark.parity("dataProtectorCore.waitForTaskCompletion")
def test_how_a_task_ended_is_told_and_not_raised(net: Sandbox, seller: IExec, owner: IExec, bob: Person) -> None:
    app = deploy_app(net, seller, crash, price=0)
    made = owner.protected_data.protect({"email": "x"})
    owner.protected_data.grant(made, authorized_app=app, authorized_user=NULL_ADDRESS)
    run = bob.client.protected_data.process(made.address, app=app)
    ended = bob.client.protected_data.wait(run.taskids[0], dealid=run.dealid)
    assert (ended.status, ended.success) == ("FAILED", False)


def test_a_wait_ends_at_its_limit(net: Sandbox, owner: IExec, bob: Person, reader: str) -> None:
    made = owner.protected_data.protect({"email": "x"})
    owner.protected_data.grant(made, authorized_app=reader, authorized_user=NULL_ADDRESS)
    pool = net.workerpool("idle pool", price=0, category=0, idle=True)
    run = bob.client.protected_data.process(made.address, app=reader, workerpool=pool)
    with pytest.raises(TaskTimeoutError, match="is not over after 0 s"):
        bob.client.protected_data.wait(run.taskids[0], dealid=run.dealid, timeout_s=0)


@pytest.mark.parametrize("taskid", ["x", None, 3, "0x12"], ids=str)
def test_an_id_that_is_none_is_refused_in_the_words_of_the_sdk(bob: Person, taskid: Any) -> None:
    for verb in (bob.client.protected_data.wait, bob.client.protected_data.result):
        with pytest.raises(ValidationError, match="taskId must be a valid iExec task ID"):
            verb(taskid)
    with pytest.raises(ValidationError, match="dealId must be a valid iExec task ID"):
        bob.client.protected_data.wait("0x" + "12" * 32, dealid="x")


def test_a_file_that_is_not_in_the_result_is_said(bob: Person, shared: str, reader: str) -> None:
    run = bob.client.protected_data.process(shared, app=reader, data_max_price="0.1 RLC")
    assert bob.client.protected_data.wait(run.taskids[0], dealid=run.dealid).success
    verb = bob.client.protected_data.result
    assert "result.json" in verb(run.taskids[0])  # type: ignore[operator]
    with pytest.raises(ResultNotFoundError, match=r'No "other\.txt" file found in decrypted zip'):
        verb(run.taskids[0], "other.txt")
    with pytest.raises(ValidationError, match="path should be a string"):
        verb(run.taskids[0], 3)  # type: ignore[arg-type]


def test_a_result_for_a_key_of_ones_own_opens_with_that_key_only(bob: Person, shared: str, reader: str) -> None:
    pem = result_encryption.generate_result_keypair().private_pem
    run = bob.client.protected_data.process(
        shared, app=reader, data_max_price="0.1 RLC", encrypt_result=True, pem_private_key=pem
    )
    assert bob.client.protected_data.wait(run.taskids[0], dealid=run.dealid).success
    with pytest.raises(DecryptionError):
        bob.client.protected_data.result(run.taskids[0])
    found = bob.client.protected_data.result(run.taskids[0], "result.json", pem_private_key=pem)
    assert json.loads(bytes(found))["email"] == "alice@example.com"  # type: ignore[arg-type]


# --- bulks -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def crowd(owner: IExec, bulk_reader: str) -> list[Any]:
    """Five accesses for bulks that everybody may use."""
    verb = owner.protected_data
    made = [verb.protect({"email": f"u{i}@example.com"}) for i in range(5)]
    return [verb.grant(one, authorized_app=bulk_reader, authorized_user=NULL_ADDRESS, allow_bulk=True) for one in made]


def test_a_bulk_is_processed_slice_by_slice_and_says_what_each_task_read(
    bob: Person, crowd: list[Any], bulk_reader: str
) -> None:
    verb = bob.client.protected_data
    request = verb.prepare_bulk(crowd, app=bulk_reader, max_protected_data_per_task=2)
    before = verb.inspect_bulk(request, detailed=True)
    assert (before.bulkStatus, before.tasksToCreateCount, len(before.tasks)) == ("INITIALIZING", 3, 0)
    assert {name: str(kind) for name, kind in before.tasks.dtypes.items()} == tables.BULK_TASKS.dtypes
    bob.asked.clear()
    done = verb.process_bulk(request, wait=True, path="emails.txt")
    (question,) = bob.asked
    assert f"process a bulk: 3 of 3 tasks of app {bulk_reader}" in question
    assert (done.bulkStatus, done.tasksCompletedCount, done.tasksTotalCount) == ("FINISHED", 3, 3)
    mails = [one.text().split() for one in done.tasks["result"]]
    assert mails == [["u0@example.com", "u1@example.com"], ["u2@example.com", "u3@example.com"], ["u4@example.com"]]
    detail = verb.inspect_bulk(json.dumps(request.to_json()), detailed=True)
    assert detail.tasks["protectedData"].tolist() == [
        tuple(one.order.dataset for one in crowd[at : at + 2]) for at in (0, 2, 4)
    ]
    sent = bob.node.sent
    assert verb.process_bulk(request).bulkStatus == "FINISHED"
    assert bob.node.sent == sent


def test_a_bulk_goes_on_where_orders_ran_out_and_no_task_is_matched_twice(
    net: Sandbox, crowd: list[Any], bulk_reader: str
) -> None:
    with person(net) as bob:
        pool = net.workerpool("small pool", price="1 RLC", category=0, volume=2)
        verb = bob.client.protected_data
        bulk = verb.prepare_bulk(
            crowd, app=bulk_reader, max_protected_data_per_task=1, workerpool=pool, workerpool_max_price="1 RLC"
        )
        with pytest.raises(OrderMismatchError, match="No Workerpool order found for the desired price") as caught:
            verb.process_bulk(bulk)
        assert caught.value.context["matched"] == "2 of 5 tasks"
        half = verb.inspect_bulk(bulk)
        assert (half.tasksToCreateCount, len(half.tasks)) == (3, 2)
        assert half.bulkStatus == "INITIALIZING"


def test_a_bulk_that_is_matched_by_somebody_else_is_paid_by_who_signed_it(
    net: Sandbox, bob: Person, crowd: list[Any], bulk_reader: str
) -> None:
    other = net.client()
    request = bob.client.protected_data.prepare_bulk(crowd, app=bulk_reader)
    done = other.protected_data.process_bulk(request.to_json(), wait=True)
    assert done.bulkStatus == "FINISHED"
    deal = bob.client.chain.deal(done.tasks["dealid"][0])
    assert deal.requester == wallet(bob.client)


def test_a_bulk_that_was_cancelled_is_finished_with_what_it_had(
    bob: Person, crowd: list[Any], bulk_reader: str
) -> None:
    request = bob.client.protected_data.prepare_bulk(crowd, app=bulk_reader, max_protected_data_per_task=1)
    bob.client.order.cancel(request.order)
    found = bob.client.protected_data.inspect_bulk(request)
    assert (found.bulkStatus, found.tasksTotalCount, found.tasksToCreateCount) == ("FINISHED", 0, 0)


def test_secrets_and_the_key_of_a_bulk_are_handed_over_after_the_yes(
    bob: Person, crowd: list[Any], bulk_reader: str
) -> None:
    verb = bob.client.protected_data
    bob.answer = False
    arguments: dict[str, Any] = {"app": bulk_reader, "secrets": {1: Secret("hush")}, "encrypt_result": True}
    with pytest.raises(ConfigurationError):
        verb.prepare_bulk(crowd, **arguments)
    assert not bob.web.to("sms", method="POST")
    assert not bob.web.to("sms", method="PUT")
    bob.answer = True
    bob.asked.clear()
    request = verb.prepare_bulk(crowd, **arguments)
    (question,) = bob.asked
    assert "gives the secret service your secrets 1" in question
    assert "hush" not in question
    assert request.is_encrypted
    done = verb.process_bulk(request, wait=True, path="emails.txt")
    assert done.tasks["result"][0].text().startswith("u0@example.com")


def test_the_key_of_a_bulk_is_asked_for_before_it_is_paid(
    net: Sandbox, bob: Person, crowd: list[Any], bulk_reader: str
) -> None:
    verb = bob.client.protected_data
    pem = result_encryption.generate_result_keypair().private_pem
    sealed = verb.prepare_bulk(crowd, app=bulk_reader, encrypt_result=True, pem_private_key=pem)
    before = nonce(bob.client)
    with pytest.raises(ValidationError, match="Missing pemPrivateKey required for result decryption"):
        verb.process_bulk(sealed, wait=True)
    plain = verb.prepare_bulk(crowd, app=bulk_reader)
    with pytest.raises(ValidationError, match="pemPrivateKey is passed but result encryption is not enabled"):
        verb.process_bulk(plain, wait=True, pem_private_key=pem)
    with pytest.raises(ValidationError, match="path parameter is only allowed when withResult is true"):
        verb.inspect_bulk(plain, path="x")
    assert nonce(bob.client) == before
    done = verb.process_bulk(sealed, wait=True, path="emails.txt", pem_private_key=pem)
    assert done.tasks["result"][0].text().startswith("u0@example.com")


@pytest.mark.parametrize("given", [None, 3, "x", "{}", {}, {"bulkRequest": {}}, []], ids=str)
def test_what_is_no_bulk_request_is_refused(bob: Person, given: Any) -> None:
    for verb in (bob.client.protected_data.process_bulk, bob.client.protected_data.inspect_bulk):
        with pytest.raises(ValidationError):
            verb(given)
    assert not bob.touched


@pytest.mark.parametrize("given", [None, [], "", 3, [3], ["x"]], ids=str)
def test_a_bulk_of_nothing_is_refused(bob: Person, bulk_reader: str, given: Any) -> None:
    with pytest.raises(ValidationError):
        bob.client.protected_data.prepare_bulk(given, app=bulk_reader)
    assert not bob.touched


def test_accesses_that_allow_no_bulk_are_named(bob: Person, owner: IExec, bulk_reader: str) -> None:
    made = owner.protected_data.protect({"email": "x"})
    access = owner.protected_data.grant(made, authorized_app=bulk_reader, authorized_user=NULL_ADDRESS)
    with pytest.raises(ValidationError, match="is not valid for bulk datasetorder") as caught:
        bob.client.protected_data.prepare_bulk([access], app=bulk_reader)
    assert caught.value.context["step"] == "Failed to prepare bulk request"
    assert not bob.asked


def test_an_access_that_is_not_for_this_app_is_named_before_the_request_is_signed(
    bob: Person, crowd: list[Any], reader: str
) -> None:
    with pytest.raises(ValidationError, match="order 0 of slice 0"):
        bob.client.protected_data.prepare_bulk(crowd, app=reader)
    assert not bob.asked


def test_a_request_says_how_many_tasks_it_has(bob: Person, crowd: list[Any], bulk_reader: str) -> None:
    request = bob.client.protected_data.prepare_bulk(crowd, app=bulk_reader, max_protected_data_per_task=2)
    assert isinstance(request, BulkRequest)
    assert repr(request).startswith(f"BulkRequest(3 tasks of app {bulk_reader}, bulk_cid=Qm")


def test_a_failed_task_of_a_bulk_is_a_row_that_says_why(net: Sandbox, seller: IExec, owner: IExec, bob: Person) -> None:
    app = deploy_app(net, seller, crash, price=0)
    made = owner.protected_data.protect({"email": "x"})
    access = owner.protected_data.grant(made, authorized_app=app, authorized_user=NULL_ADDRESS, allow_bulk=True)
    request = bob.client.protected_data.prepare_bulk([access], app=app)
    done = bob.client.protected_data.process_bulk(request, wait=True)
    (row,) = done.tasks.to_dict("records")
    assert (row["status"], row["success"], row["result"]) == ("FAILED", False, None)
    assert "7" in row["error"]
    assert done.bulkStatus == "FINISHED"


def test_the_market_may_hold_orders_that_do_not_fit(net: Sandbox, bob: Person, shared: str, reader: str) -> None:
    pool_owner = net.client(deposit="1 RLC")
    pool = pool_owner.workerpool.deploy(description="far").address
    publish(pool_owner, "workerpool", workerpool=pool, workerpoolprice=0, category=1, volume=5)
    with pytest.raises(OrderMismatchError, match="No Workerpool order found for the desired price"):
        bob.client.protected_data.process(shared, app=reader, data_max_price="0.1 RLC", workerpool=pool)


def test_a_bulk_waits_for_orders_as_long_as_it_is_told_to(
    net: Sandbox, bob: Person, crowd: list[Any], bulk_reader: str
) -> None:
    pool_owner = net.client(deposit="1 RLC")
    pool = pool_owner.workerpool.deploy(description="slow pool").address
    verb = bob.client.protected_data
    request = verb.prepare_bulk(crowd, app=bulk_reader, max_protected_data_per_task=2, workerpool=pool)
    bob.client.poll_s = 0.001
    books: list[str] = []

    def publishing(asked: Any) -> None:
        if "workerpoolorders" in asked.url.path:
            books.append(asked.url.path)
            # One task at a time, and not every time that somebody asks.
            if len(books) % 3 == 0:
                publish(pool_owner, "workerpool", workerpool=pool, workerpoolprice=0, category=0, volume=1)

    bob.web.before = publishing
    found = verb.process_bulk(request, timeout_s=60)
    assert (found.tasksToCreateCount, len(found.tasks)) == (0, 3)
    assert found.tasks["dealid"].nunique() == 3
    assert list(found.tasks["bulkIndex"]) == [0, 1, 2]
    assert found.bulkStatus == "IN_PROGRESS"

"""Runs that do not end well: an app that crashes, a wait that is interrupted, an answer that is late."""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any

import pytest
from stage import (
    RLC,
    crash,
    deploy_app,
    person,
    publish,
)

from iexec_nb.actions import poll
from iexec_nb.actions.poll import Poll
from iexec_nb.client import IExec
from iexec_nb.errors import (
    TaskFailedError,
    TaskNotCompletedError,
    TaskTimeoutError,
    ValidationError,
    Web3ProviderCallError,
)
from iexec_nb.sandbox.network import Sandbox


def slow() -> None:
    time.sleep(float(sys.argv[1]))
    with open(os.path.join(os.environ["IEXEC_OUT"], "computed.json"), "w") as file:
        json.dump({"deterministic-output-path": "/iexec_out/computed.json"}, file)


def test_an_app_that_crashes_is_an_error_with_its_output_and_exit_code(
    net: Sandbox, seller: IExec, buyer: IExec
) -> None:
    app = deploy_app(net, seller, crash, price="0.2 RLC")
    run = buyer.app.run(app, args="42", category=0)
    with pytest.raises(TaskFailedError) as caught:
        run.wait()
    error = caught.value
    assert error.exit_code == 7
    assert "started with ['42']" in error.stdout
    assert "the sensor is on fire" in error.stderr
    for words in (run.taskids[0], "the sensor is on fire", "7"):
        assert words in str(error)
    assert f"iexec.deal.claim({run.dealid!r})" in str(error.hint)
    assert (
        f"its scheduler says so, not the chain: should a result come all the same, iexec.deal.attach({run.dealid!r})"
        in str(error.hint)
    )
    with pytest.raises(TaskFailedError):
        run.result()
    with pytest.raises(TaskFailedError):
        buyer.task.show(run.taskids[0], watch=True)
    with pytest.raises(TaskNotCompletedError):
        buyer.result.fetch(run.taskids[0])
    assert buyer.account.show().locked == RLC // 5


def test_an_app_that_raises_shows_its_own_traceback(net: Sandbox, seller: IExec, buyer: IExec) -> None:
    def bad() -> None:
        raise RuntimeError("column 'price' is missing")

    run = buyer.app.run(deploy_app(net, seller, bad, price=0), category=0)
    with pytest.raises(TaskFailedError, match="column 'price' is missing") as caught:
        run.result()
    assert "RuntimeError" in caught.value.stderr


def test_an_app_without_computed_json_and_one_without_an_image_say_so(
    net: Sandbox, seller: IExec, buyer: IExec
) -> None:
    def lazy() -> None:
        print("done")

    with pytest.raises(TaskFailedError, match=r"computed\.json"):
        buyer.app.run(deploy_app(net, seller, lazy, price=0), category=0).wait()
    nowhere = seller.app.deploy(name="nowhere", multiaddr="docker.io/no/such:1").address
    publish(seller, "app", app=nowhere)
    with pytest.raises(TaskFailedError, match="APP_IMAGE_DOWNLOAD_FAILED"):
        buyer.app.run(nowhere, category=0).wait()


def test_a_stranger_sees_that_a_run_failed_but_not_its_output(net: Sandbox, seller: IExec, buyer: IExec) -> None:
    run = buyer.app.run(deploy_app(net, seller, crash, price=0), category=0)
    with pytest.raises(TaskFailedError) as caught:
        net.user.deal.attach(run.dealid).wait()
    assert (caught.value.stdout, caught.value.stderr, caught.value.exit_code) == ("", "", 7)


def test_waiting_gives_up_after_its_own_limit_and_the_task_goes_on(net: Sandbox, seller: IExec, buyer: IExec) -> None:
    run = buyer.app.run(deploy_app(net, seller, slow, price=0), args="1.5", category=0)
    with pytest.raises(TaskTimeoutError, match=r"not finished after 0\.2 s; the task goes on") as caught:
        run.wait(timeout_s=0.2)
    assert run.dealid in str(caught.value.hint)
    assert set(run.tasks()["statusName"]) <= {"ACTIVE", "UNSET"}
    for wrong in ("soon", -1, True, float("nan")):
        with pytest.raises(ValidationError, match="timeout_s"):
            run.wait(timeout_s=wrong)  # type: ignore[arg-type]
    assert run.wait().tasks()["statusName"].tolist() == ["COMPLETED"]


def test_ctrl_c_while_waiting_keeps_the_paid_task_and_says_how_to_go_on(
    net: Sandbox, seller: IExec, buyer: IExec, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = buyer.app.run(deploy_app(net, seller, slow, price=0), args="0.5", category=0)

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Poll, "pause", interrupted)
        with pytest.raises(KeyboardInterrupt) as caught:
            run.wait()
    [note] = caught.value.__notes__
    assert run.dealid in note
    assert "the paid task goes on" in note
    expression = note.partition("To wait again: ")[2]
    assert eval(expression, {"iexec": buyer}).tasks()["statusName"].tolist() == ["COMPLETED"]


def test_ctrl_c_while_a_transaction_is_confirmed_names_the_transaction(
    net: Sandbox, app: str, buyer: IExec, monkeypatch: pytest.MonkeyPatch
) -> None:
    with person(net, buyer, confirm=False) as me:

        def stop(methods: list[str], response: Any) -> Any:
            if "eth_sendRawTransaction" in methods:
                raise KeyboardInterrupt
            return response

        me.node.after = stop
        with pytest.raises(KeyboardInterrupt) as caught:
            me.client.app.run(app, category=0)
        assert "0x" in caught.value.__notes__[0]
        assert me.node.sent == 1


def test_a_node_that_is_lost_while_waiting_ends_the_waiting_and_not_the_task(
    net: Sandbox, seller: IExec, buyer: IExec, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = buyer.app.run(deploy_app(net, seller, slow, price=0), args="0.3", category=0)

    def lost(*_: object, **__: object) -> None:
        raise Web3ProviderCallError("the node cannot be reached")

    with monkeypatch.context() as patch:
        patch.setattr(poll, "read_tasks", lost)
        with pytest.raises(Web3ProviderCallError) as caught:
            run.wait()
    [note] = caught.value.__notes__
    assert "the paid task goes on" in note
    assert run.dealid in note
    assert run.wait().tasks()["statusName"].tolist() == ["COMPLETED"]

"""How users write against the public names; `make check` runs mypy --strict over this file, nothing executes it."""

from __future__ import annotations

from typing import assert_type

import pandas as pd

from iexec_nb import IExec, Sandbox
from iexec_nb.actions.outcome import Result
from iexec_nb.actions.run import Run
from iexec_nb.protocol.orders import AppOrder
from iexec_nb.protocol.resources import App


def a_sandbox_gives_clients() -> None:
    with Sandbox() as net:
        assert_type(net.client(rlc="10 RLC"), IExec)
        net.image("registry.example/app:1.0", lambda arguments: None)
        net.travel(days=1)


def a_book_is_a_plain_dataframe(iexec: IExec) -> None:
    assert_type(iexec.orderbook.workerpool(category=0), pd.DataFrame)


def a_run_leads_to_a_result(iexec: IExec, app: str) -> None:
    assert_type(iexec.app.show(app), App)
    run = iexec.app.run(app, args="hello", category=0)
    assert_type(run, Run)
    assert_type(run.wait(timeout_s=60), Run)
    result = run.result()
    assert_type(result, Result)
    assert_type(result["out.csv"].table(), pd.DataFrame)
    assert_type(result["out.txt"].text(), str)


async def a_run_can_be_awaited(run: Run) -> None:
    assert_type(await run, Run)


def money_is_int(iexec: IExec, app: str) -> None:
    order = AppOrder(app=app, appprice=1_000_000_000)
    assert_type(order.appprice, int)
    iexec.app.run(app, max_price="0.5 RLC")
    iexec.app.run(app, max_price=0.5)  # type: ignore[arg-type]

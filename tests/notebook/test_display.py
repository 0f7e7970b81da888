"""How records look in a cell: readable, escaped whatever strangers wrote, with a plain-text twin."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from html.parser import HTMLParser
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from IPython.core.interactiveshell import InteractiveShell

from iexec_nb.notebook import display
from iexec_nb.protocol.execution import Deal, DealResource, Task, TaskStatus
from iexec_nb.protocol.orders import AppOrder, PublishedOrder, RequestOrder
from iexec_nb.protocol.receipts import Balances, EncryptedDataset, Sent, WalletFile, WalletKeys
from iexec_nb.protocol.resources import Account, App, Category, Dataset
from iexec_nb.protocol.results import ResultDescriptor
from iexec_nb.protocol.types import NULL_ADDRESS, NULL_BYTES32, Secret, address

APP, POOL, ME = (address("0x" + digit * 40) for digit in "abc")
WHEN = datetime(2026, 11, 20, 8, 30, tzinfo=UTC)
ROOT = Path(__file__).resolve().parents[2]

HOSTILE = [
    "<script>alert(1)</script>",
    '" onmouseover="alert(1)',
    "</td></tr></table><img src=x onerror=alert(1)>",
    "invoice\u202egnp.exe",
    "two\nlines\r\x1b[2J\x00",
    "\ud800 lone",
    "e" + "\u0301" * 50,
    "x" * 1_000_000,
]


@pytest.fixture
def shell() -> Iterator[InteractiveShell]:
    ip = InteractiveShell()  # type: ignore[no-untyped-call]
    display.register(ip)
    yield ip
    ip.history_manager.end_session()  # type: ignore[union-attr]


def shown(ip: InteractiveShell, value: object) -> dict[str, str]:
    data: dict[str, str]
    data, _ = ip.display_formatter.format(value)  # type: ignore[union-attr]
    return data


class Page(HTMLParser):
    """Collects what a browser would see: tags, attributes, text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def dataset(name: str) -> Dataset:
    return Dataset(
        address=APP, owner=ME, registry=POOL, datasetName=name, datasetMultiaddr="/p2p/Qm", datasetChecksum=NULL_BYTES32
    )


def deal(**changes: Any) -> Deal:
    fields: dict[str, Any] = {
        "dealid": "0x" + "d" * 64, "app": DealResource(pointer=APP, owner=ME, price=1),
        "dataset": DealResource(pointer=NULL_ADDRESS, owner=NULL_ADDRESS, price=0),
        "workerpool": DealResource(pointer=POOL, owner=ME, price=5 * 10**8), "trust": 1, "category": 0,
        "tag": "0x" + "0" * 63 + "9", "requester": ME, "beneficiary": ME, "callback": NULL_ADDRESS, "params": "{}",
        "startTime": WHEN, "botFirst": 0, "botSize": 2, "workerStake": 0, "schedulerRewardRatio": 1, "sponsor": ME,
        "finalTime": WHEN,
    }  # fmt: skip
    return Deal(**fields | changes)


def task(status: TaskStatus = TaskStatus.COMPLETED, **changes: Any) -> Task:
    fields: dict[str, Any] = {
        "taskid": "0x" + "a" * 64, "dealid": "0x" + "d" * 64, "idx": 0, "status": status, "timeref": 300,
        "contributionDeadline": WHEN, "revealDeadline": None, "finalDeadline": WHEN, "consensusValue": NULL_BYTES32,
        "revealCounter": 0, "winnerCounter": 0, "contributors": (POOL,) * 9, "resultDigest": NULL_BYTES32,
        "results": ResultDescriptor("ipfs", "/ipfs/Qm"), "resultsTimestamp": None, "resultsCallback": b"",
    }  # fmt: skip
    return Task(**fields | changes)


def test_an_order_shows_price_unit_tag_names_and_who_may_use_it(shell: InteractiveShell) -> None:
    order = AppOrder(app=APP, appprice=5 * 10**8, requesterrestrict=ME)
    page = Page(shown(shell, order)["text/html"])
    assert page.words[0] == "App order"
    rows = dict(zip(page.words[1::2], page.words[2::2], strict=True))
    assert rows["appprice"] == "0.5 RLC"
    assert rows["volume"] == "1 task"
    assert rows["tag"] == "tee, tdx"
    assert rows["datasetrestrict"] == "anyone"
    assert rows["requesterrestrict"] == f"{ME[:6]}…{ME[-4:]}"
    assert ("title", ME) in page.attributes
    assert ("title", "0.5 RLC (500,000,000 nRLC)") in page.attributes


def test_a_table_has_a_caption_row_headers_and_no_colour_of_its_own(shell: InteractiveShell) -> None:
    html = shown(shell, AppOrder(app=APP))["text/html"]
    page = Page(html)
    assert page.tags[:2] == ["table", "caption"]
    assert page.tags.count("th") == page.attributes.count(("scope", "row")) == page.tags.count("tr")
    assert not {"script", "style", "img", "iframe"} & set(page.tags)
    assert "white" not in html
    assert "color:#" not in html


def test_the_plain_twin_shows_the_same_rows_in_full(shell: InteractiveShell) -> None:
    text = shown(shell, AppOrder(app=APP, appprice=7))["text/plain"]
    assert text.splitlines()[0] == "App order"
    assert f"  app                 {APP}" in text
    assert "0.000000007 RLC (7 nRLC)" in text


def test_a_published_order_shows_the_order_inside(shell: InteractiveShell) -> None:
    order = RequestOrder(app=APP, requester=ME, category=0).signed("0x" + "1" * 64, "0x" + "2" * 130)
    record = PublishedOrder(
        orderHash="0x" + "e" * 64, order=order, chainId=1, remaining=1, status="open", signer=ME,
        publicationTimestamp=WHEN.astimezone(timezone(timedelta(hours=5))),
    )  # fmt: skip
    words = Page(shown(shell, record)["text/html"]).words
    assert "2026-11-20 08:30:00 UTC" in words
    assert words[words.index("dataset") + 1] == "none"
    assert words[words.index("workerpool") + 1] == "anyone"
    assert words[words.index("orderHash") + 1] == "0xeeee…eeee"


def test_a_deal_shows_its_resources_and_what_it_costs(shell: InteractiveShell) -> None:
    text = shown(shell, deal())["text/plain"]
    assert "workerpoolPrice       0.5 RLC" in text
    assert "total_cost            1.000000002 RLC" in text
    assert "datasetOwner" not in text
    assert "schedulerRewardRatio  1 %" in text


@pytest.mark.parametrize(("status", "words"), [(TaskStatus.COMPLETED, "✔ COMPLETED"), (TaskStatus.FAILED, "✖ FAILED")])
def test_a_state_is_a_sign_and_a_word(shell: InteractiveShell, status: TaskStatus, words: str) -> None:
    data = shown(shell, task(status))
    assert words in Page(data["text/html"]).words
    assert words in data["text/plain"]
    assert f"{POOL} and 6 more" in data["text/plain"]
    short = f"{POOL[:6]}…{POOL[-4:]}"
    assert f"{short}, {short}, {short} and 6 more" in Page(data["text/html"]).words
    assert "timeref               300 s" in data["text/plain"]


@pytest.mark.parametrize("name", HOSTILE, ids=lambda name: ascii(name[:20]))
def test_hostile_names_do_nothing(shell: InteractiveShell, name: str) -> None:
    calm = shown(shell, dataset("calm"))
    data = shown(shell, dataset(name))
    page, reference = Page(data["text/html"]), Page(calm["text/html"])
    assert page.tags == reference.tags
    assert {key for key, _ in page.attributes} <= {"class", "style", "scope", "title"}
    assert len(data["text/plain"].splitlines()) == len(calm["text/plain"].splitlines())
    for text in data.values():
        assert len(text) < 8000
        assert all(char.isprintable() or char == "\n" for char in text)
        text.encode()


def test_hostile_text_stays_readable() -> None:
    assert display.clean("invoice\u202egnp.exe\n") == "invoice\\u202egnp.exe\\n"
    assert display.clean("naïve 名前 🧮") == "naïve 名前 🧮"
    assert display.clean("x" * 1_000_000) == "x" * 200 + "… (1,000,000 characters)"


@given(st.text())
def test_clean_text_is_one_printable_line(text: str) -> None:
    cleaned = display.clean(text)
    assert cleaned.isprintable()
    assert len(cleaned.encode()) <= 200 * 10 + 30


def test_secrets_and_folders_are_not_shown(shell: InteractiveShell) -> None:
    record = EncryptedDataset(path=Path("/home/me/a.enc"), checksum="0x" + "1" * 64, size=1, key=Secret("sesame"))
    for text in shown(shell, record).values():
        assert "****" in text
        assert "a.enc" in text
        assert "1 byte" in text
        assert "sesame" not in text
        assert "/home" not in text


def test_the_keys_of_a_wallet_are_not_displayed_even_as_stars(shell: InteractiveShell) -> None:
    keys = WalletKeys(address=ME, publicKey="0x04" + "ab" * 64, privateKey=Secret("sesame"))
    for text in shown(shell, Balances(address=ME, wei=1, nRLC=1, wallet=keys)).values():
        assert "sesame" not in text
        assert "Key" not in text
        assert "abab" not in text


def test_amounts_name_their_unit(shell: InteractiveShell) -> None:
    wallet = shown(shell, Balances(address=ME, wei=10**16, nRLC=2**256 - 1))["text/plain"]
    assert "0.01 ether (10,000,000,000,000,000 wei)" in wallet
    account = shown(shell, Account(address=ME, stake=10**9, locked=0))["text/plain"]
    assert "1 RLC" in account
    category = shown(shell, Category(catid=3, name="L", description="", workClockTimeRef=3600))["text/plain"]
    assert "3,600 s" in category


def test_a_list_keeps_one_line_for_each_record(shell: InteractiveShell) -> None:
    order = AppOrder(app=APP)
    assert shown(shell, [order])["text/plain"] == f"[{order!r}]"


def test_an_unknown_bit_in_a_tag_is_named_by_its_number(shell: InteractiveShell) -> None:
    order = replace(AppOrder(app=APP), tag="0x8" + "0" * 63)
    assert "bit 255" in shown(shell, order)["text/plain"]


def test_a_run_shows_its_deal_without_asking_the_chain() -> None:
    view = display.run_view(SimpleNamespace(deal=deal()))
    text = display.plain(view)
    assert text.startswith("Run\n")
    assert f"app         {APP}" in text
    assert "dataset     none" in text
    assert "total_cost  1.000000002 RLC" in text


def test_every_registered_class_exists() -> None:
    ip = InteractiveShell()  # type: ignore[no-untyped-call]
    display.register(ip)
    names = {key for key in ip.display_formatter.formatters["text/html"].deferred_printers if "iexec_nb" in key[0]}  # type: ignore[union-attr]
    ip.history_manager.end_session()  # type: ignore[union-attr]
    assert len(names) > 15
    for module, name in names:
        assert isinstance(getattr(import_module(module), name), type)


def test_unregistering_leaves_the_plain_record_and_both_may_be_done_twice(shell: InteractiveShell) -> None:
    order = AppOrder(app=APP)
    display.register(shell)
    assert "text/html" in shown(shell, order)
    display.unregister(shell)
    display.unregister(shell)
    assert shown(shell, order) == {"text/plain": repr(order)}


def test_registering_imports_nothing_heavy() -> None:
    code = (
        "import sys\n"
        "from IPython.core.interactiveshell import InteractiveShell\n"
        "from iexec_nb.notebook import display, progress\n"
        "ip = InteractiveShell(); display.register(ip)\n"
        "heavy = {'pandas', 'matplotlib', 'web3', 'eth_account', 'httpx', 'ipywidgets', 'iexec_nb.protocol.orders'}\n"
        "sys.exit(', '.join(sorted(heavy & set(sys.modules))) or None)\n"
    )
    finished = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (finished.returncode, finished.stderr) == (0, "")


def test_what_is_empty_reads_none(shell: InteractiveShell) -> None:
    app = App(
        address=ME,
        owner=ME,
        registry=ME,
        appName="",
        appType="DOCKER",
        appMultiaddr="x",
        appChecksum=NULL_BYTES32,
        appMREnclave=b"",  # type: ignore[arg-type]
    )
    bundle = shown(shell, app)
    for name in ("appName", "appMREnclave"):
        assert re.search(rf"{name} +none$", bundle["text/plain"], re.MULTILINE)
    assert bundle["text/html"].count(">none<") == 3


def test_money_that_was_sent_is_shown_in_its_own_unit() -> None:
    for currency, amount, shown in (("RLC", 5 * 10**8, "0.5 RLC"), ("ether", 5 * 10**17, "0.5 ether")):
        sent = Sent(amount=amount, currency=currency, sender=NULL_ADDRESS, to="0x" + "12" * 20, txHash="0x" + "34" * 32)
        view = display.sent_view(sent)
        assert shown in display.plain(view)
        assert f">{shown}<" in display.html(view)


def test_the_file_of_a_wallet_is_shown_without_its_folder() -> None:
    path = Path("/home/somebody/keys/UTC--2026--ab")
    file = WalletFile(address="0x" + "12" * 20, fileName=str(path), path=path, content={"crypto": 1})
    view = display.wallet_file_view(file)
    assert "somebody" not in display.plain(view) + display.html(view)
    assert path.name in display.plain(view)

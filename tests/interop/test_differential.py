"""2,000 generated inputs give the same value here and in the SDK, versions 9.0.1 and 7.2.5, or both refuse.

Where the two differ on purpose, the difference has a name in `differences`, a reason in docs/differences.md and inputs
that show it. A disagreement that no difference explains fails, and so does a difference that nothing shows.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from answers import PROXY, Answer, Side, Us, agree, ours, theirs
from differences import DIFFERENCES, explaining
from generated import KINDS, Case, generated
from people import World
from sdk import HERE, Sdk, installed

from iexec_nb import PrivateKeySigner

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "differences.md"
KEY = bytes.fromhex("11" * 32)
MAJORS = (9, 7)


@pytest.fixture(scope="module")
def us(world: World) -> Us:
    client = world.net.client(signer=PrivateKeySigner(KEY))
    checksum = "0x" + "11" * 32
    resources = {
        "app": client.app.deploy(name="same", multiaddr="docker.io/same:1").address,
        "dataset": client.dataset.deploy(name="same", multiaddr="https://same.example/d", checksum=checksum).address,
        "workerpool": client.workerpool.deploy(description="same").address,
        "request": client.require_signer().address,
    }
    return Us(client, KEY, resources)


@pytest.fixture(scope="module")
def sides(world: World, sdk: Sdk) -> Iterator[dict[int, Side]]:
    seven = Sdk(installed(HERE / "v7"))
    options = {**world.endpoints.js_options(), "resultProxyURL": PROXY}

    def side(major: int, served: Sdk) -> Side:
        listening = {**options, "smsURL": served.ask("recorder")}
        one, other = (
            served.client(name, rpc=world.endpoints.rpc, key="0x" + KEY.hex(), options=chosen)
            for name, chosen in (("differential", options), ("differential, listening", listening))
        )
        return Side(major, served, one, other)

    yield {9: side(9, sdk), 7: side(7, seven)}
    seven.stop()


def compared(side: Side, us: Us, cases: list[Case]) -> Iterator[tuple[Case, Answer, Answer]]:
    """Yield the inputs about which the two disagree, with both answers."""
    for case, their in zip(cases, theirs(side, us, cases), strict=True):
        our = ours(us, case)
        if not agree(us, case, their, our):
            yield case, their, our


def by_kind(cases: list[Case]) -> list[Case]:
    return sorted(cases, key=lambda case: list(KINDS).index(case.kind))


@pytest.mark.parity(
    *(
        f"utils.{name}"
        for name in ("parseRLC", "parseEth", "formatRLC", "formatEth", "encodeTag", "decodeTag", "sumTags")
    ),
    *(f"order.create{kind}order" for kind in ("App", "Dataset", "Workerpool", "Request")),
    *(f"order.hash{kind}order" for kind in ("App", "Dataset", "Workerpool", "Request")),
)
@pytest.mark.parametrize("major", MAJORS)
def test_2000_generated_inputs_give_the_same_value_or_a_refusal_or_a_difference_that_is_on_purpose(
    us: Us, sides: dict[int, Side], major: int
) -> None:
    cases = generated()
    assert len(cases) == 2000
    disagreements = list(compared(sides[major], us, cases))
    unexplained = [
        f"{case}\n  theirs {their}\n  ours   {our}"
        for case, their, our in disagreements
        if not list(explaining(us, major, case, their, our))
    ]
    assert not unexplained, f"{len(unexplained)} unexplained:\n" + "\n".join(unexplained[:20])
    # The inputs are worth something only if most of them agree, and not because most are refused.
    kinds = Counter(case.kind for case, *_ in disagreements)
    assert len(cases) - kinds.total() > 1200, kinds


@pytest.mark.parametrize("major", MAJORS)
def test_every_difference_that_is_listed_is_one(us: Us, sides: dict[int, Side], major: int) -> None:
    listed = [one for one in DIFFERENCES if major in one.majors]
    cases = by_kind([case for one in listed for case in one.examples])
    shown: dict[str, list[str]] = {}
    for case, their, our in compared(sides[major], us, cases):
        shown.setdefault(repr(case), []).extend(explaining(us, major, case, their, our))
    unseen = [
        one.name for one in listed if not any(one.name in shown.get(repr(example), ()) for example in one.examples)
    ]
    assert unseen == []


def test_every_difference_is_told_with_its_reason_and_its_versions() -> None:
    rows = re.findall(
        r"^\| `([a-z0-9-]+)` \| ([0-9, ]+) \| (\S.*) \| (\S.*) \|$", DOCUMENT.read_text("utf-8"), re.MULTILINE
    )
    told = {name: tuple(int(major) for major in majors.split(", ")) for name, majors, *_ in rows}
    assert told == {one.name: one.majors for one in DIFFERENCES}
    assert len(rows) == len(told)

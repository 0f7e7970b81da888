"""Why orders do not match: every rule of the contracts and of the SDK, alone and all at once."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iexec_nb.errors import OrderConsumedError, OrderMismatchError
from iexec_nb.protocol import matching
from iexec_nb.protocol.matching import ChainFacts, candidate_reasons, check, cost, reasons, restriction, volume
from iexec_nb.protocol.orders import NULL_DATASETORDER, AppOrder, DatasetOrder, Order, RequestOrder, WorkerpoolOrder
from iexec_nb.protocol.tags import tag
from iexec_nb.protocol.typed_data import Domain, order_hash
from iexec_nb.protocol.types import NULL_ADDRESS

APP, DATASET, POOL, REQUESTER, OWNER, OTHER = ("0x" + digit * 40 for digit in "123456")
GROUP = "0x" + "7" * 40
DOMAIN = Domain(chainId=421614, verifyingContract="0x" + "9" * 40)
SIGNED: dict[str, Any] = {"salt": "0x" + "aa" * 32, "sign": "0x" + "01" * 65}

app = AppOrder(app=APP, appprice=10, volume=8, **SIGNED)
dataset = DatasetOrder(dataset=DATASET, datasetprice=3, volume=7, **SIGNED)
pool = WorkerpoolOrder(workerpool=POOL, workerpoolprice=25, volume=6, category=2, trust=5, **SIGNED)
request = RequestOrder(
    app=APP,
    appmaxprice=10,
    dataset=DATASET,
    datasetmaxprice=3,
    workerpool=POOL,
    workerpoolmaxprice=25,
    requester=REQUESTER,
    volume=5,
    category=2,
    trust=5,
    **SIGNED,
)
without_dataset = replace(request, dataset=NULL_ADDRESS)


def facts(**changes: Any) -> ChainFacts:
    everything: dict[str, Any] = {
        "remaining": {order_hash(order, DOMAIN): order.volume for order in (app, dataset, pool, request)},
        "deployed": {("app", APP): True, ("dataset", DATASET): True, ("workerpool", POOL): True},
        "owners": {APP: OWNER, DATASET: OWNER, POOL: OWNER},
        "stakes": {OWNER: 10**9, REQUESTER: 10**9},
        "valid_signatures": {order_hash(order, DOMAIN): True for order in (app, dataset, pool, request)},
        "category_count": 5,
    }
    return ChainFacts(domain=DOMAIN, **(everything | changes))


def found(*changed: Order, facts_: ChainFacts | None = None, with_dataset: bool = True, **kw: Any) -> dict[str, str]:
    four: dict[str, Any] = {"app": app, "dataset": dataset, "workerpool": pool, "request": request}
    four |= {order.kind: order for order in changed}
    data = four["dataset"] if with_dataset else None
    got = reasons(four["app"], four["workerpool"], four["request"], data, facts=facts_, **kw)
    return {reason.code: reason.message for reason in got}


def test_orders_that_match_have_no_reason_with_and_without_facts() -> None:
    assert found() == {}
    assert found(facts_=facts()) == {}
    assert found(without_dataset, facts_=facts(), with_dataset=False) == {}
    assert found(without_dataset, NULL_DATASETORDER, facts_=facts()) == {}


@pytest.mark.parametrize(
    ("changed", "code", "message"),
    [
        (replace(request, category=1), "0x00", "category mismatch between requestorder (1) and workerpoolorder (2)"),
        (replace(request, trust=6), "0x02", "workerpoolorder trust is too low (expected 6, got 5)"),
        (replace(app, appprice=11), "0x03", "appmaxprice too low (expected 11 nRLC, got 10 nRLC)"),
        (replace(dataset, datasetprice=4), "0x04", "datasetmaxprice too low (expected 4 nRLC, got 3 nRLC)"),
        (replace(pool, workerpoolprice=26), "0x05", "workerpoolmaxprice too low (expected 26 nRLC, got 25 nRLC)"),
        (replace(request, tag=tag("tee,tdx,gpu")), "0x06", "Missing tags [gpu] in workerpoolorder"),
        (replace(pool, tag=tag(0)), "0x06", "Missing tags [tee,tdx] in workerpoolorder"),
        (replace(pool, tag=tag("tee,tdx"), trust=5), None, ""),
        (
            replace(request, app=OTHER),
            "0x10",
            f"app address mismatch between requestorder ({OTHER}) and apporder ({APP})",
        ),
        (
            replace(request, dataset=OTHER),
            "0x11",
            f"dataset address mismatch between requestorder ({OTHER}) and datasetorder ({DATASET})",
        ),
        (
            without_dataset,
            "0x11",
            f"dataset address mismatch between requestorder ({NULL_ADDRESS}) and datasetorder ({DATASET})",
        ),
        (
            replace(request, workerpool=OTHER),
            "0x12",
            f"workerpool address mismatch between requestorder ({OTHER}) and workerpoolorder ({POOL})",
        ),
        (
            replace(app, datasetrestrict=OTHER),
            "0x13",
            f"apporder is restricted to dataset {OTHER} and does not allow dataset {DATASET}",
        ),
        (
            replace(app, workerpoolrestrict=OTHER),
            "0x14",
            f"apporder is restricted to workerpool {OTHER} and does not allow workerpool {POOL}",
        ),
        (
            replace(app, requesterrestrict=OTHER),
            "0x15",
            f"apporder is restricted to requester {OTHER} and does not allow requester {REQUESTER}",
        ),
        (
            replace(dataset, apprestrict=OTHER),
            "0x16",
            f"datasetorder is restricted to app {OTHER} and does not allow app {APP}",
        ),
        (
            replace(dataset, workerpoolrestrict=OTHER),
            "0x17",
            f"datasetorder is restricted to workerpool {OTHER} and does not allow workerpool {POOL}",
        ),
        (
            replace(dataset, requesterrestrict=OTHER),
            "0x18",
            f"datasetorder is restricted to requester {OTHER} and does not allow requester {REQUESTER}",
        ),
        (
            replace(pool, apprestrict=OTHER),
            "0x19",
            f"workerpoolorder is restricted to app {OTHER} and does not allow app {APP}",
        ),
        (
            replace(pool, datasetrestrict=OTHER),
            "0x1a",
            f"workerpoolorder is restricted to dataset {OTHER} and does not allow dataset {DATASET}",
        ),
        (
            replace(pool, requesterrestrict=OTHER),
            "0x1b",
            f"workerpoolorder is restricted to requester {OTHER} and does not allow requester {REQUESTER}",
        ),
        (replace(app, volume=0), "consumed", "apporder is fully consumed (0 of 0 tasks left)"),
        (replace(request, volume=0), "consumed", "requestorder is fully consumed (0 of 0 tasks left)"),
    ],
)
def test_each_rule_alone_gives_its_code_and_its_numbers(changed: Order, code: str | None, message: str) -> None:
    assert found(changed) == ({code: message} if code else {})


def test_an_app_that_is_not_for_tees_is_told_by_the_tee_bit() -> None:
    # SDK 8 tested the scone bit here; an app order with scone alone must not pass for a TEE app.
    assert found(replace(app, tag=tag(0))) == {"0x07": "Missing tag [tee] in apporder"}
    scone = found(replace(app, tag=tag("scone")), replace(pool, tag=tag("tee,scone,tdx")), require_tdx=False)
    assert scone == {"0x07": "Missing tag [tee] in apporder"}


def test_a_datasets_framework_does_not_count() -> None:
    assert found(replace(dataset, tag=tag("tee,scone"))) == {}
    assert found(replace(dataset, tag=tag("tee,gpu"))) == {"0x06": "Missing tags [gpu] in workerpoolorder"}


def test_the_deals_tag_must_be_a_valid_one() -> None:
    legacy = found(replace(request, tag=tag("tee,scone")), replace(pool, tag=tag("tee,scone,tdx")))
    assert legacy == {
        "tag": "Matching order would produce an invalid deal tag. Unsupported legacy TEE framework tag ('scone')"
    }
    plain = replace(app, tag=tag(0)), replace(request, tag=tag(0)), replace(dataset, tag=tag(0))
    text = "Resulting deal tag must have both [tee] and [tdx] tags active. Matching orders have incompatible tags."
    assert found(*plain) == {"tdx": text}
    assert found(*plain, require_tdx=False) == {}


def test_an_unknown_bit_is_named_by_its_number() -> None:
    assert found(replace(request, tag=tag(0b1001 | 1 << 100))) == {"0x06": "Missing tags [100] in workerpoolorder"}


def test_a_request_with_a_dataset_but_no_datasetorder_says_so_once() -> None:
    got = found(with_dataset=False)
    assert list(got) == ["0x11"]
    assert NULL_ADDRESS in got["0x11"]


def test_an_order_restricted_to_a_dataset_does_not_serve_a_request_without() -> None:
    got = found(without_dataset, replace(app, datasetrestrict=DATASET), with_dataset=False)
    assert got == {"0x13": f"apporder is restricted to dataset {DATASET} and does not allow no dataset"}


def test_every_reason_comes_at_once() -> None:
    bad_app = replace(app, app=OTHER, appprice=11, tag=tag("tee,tdx,gpu"), requesterrestrict=OTHER, volume=0)
    bad_pool = replace(pool, category=1, trust=0, workerpoolprice=26, tag=tag(0), apprestrict=APP)
    got = found(bad_app, bad_pool)
    assert set(got) == {"0x00", "0x02", "0x03", "0x05", "0x06", "0x10", "0x15", "0x19", "consumed"}
    numbers = {r.code: (r.expected, r.got) for r in reasons(bad_app, bad_pool, request, dataset)}
    assert numbers["0x03"] == (11, 10)
    assert numbers["0x02"] == (5, 0)
    assert numbers["0x06"] == (("tee", "tdx", "gpu"), ())


def test_a_restriction_may_be_a_group_of_accounts() -> None:
    def members(restrict: str, account: str) -> bool:
        return (restrict, account) in {(GROUP, REQUESTER), (GROUP, POOL)}

    grouped = replace(app, requesterrestrict=GROUP), replace(request, workerpool=GROUP)
    assert set(found(*grouped)) == {"0x12", "0x15"}
    assert found(*grouped, facts_=facts(groups=members)) == {}
    assert restriction(NULL_ADDRESS, OTHER)
    assert restriction(OTHER, OTHER)
    assert not restriction(GROUP, OTHER, members)
    assert restriction(GROUP, REQUESTER, members)


@pytest.mark.parametrize(
    ("changes", "codes"),
    [
        ({"category_count": 2}, {"0x01"}),
        ({"category_count": None}, set()),
        ({"deployed": {("app", APP): False, ("dataset", DATASET): True, ("workerpool", POOL): True}}, {"0x20"}),
        (
            {"deployed": {("app", APP): False, ("dataset", DATASET): False, ("workerpool", POOL): False}},
            {"0x20", "0x30", "0x40"},
        ),
        ({"deployed": {}, "owners": {}, "stakes": {}, "valid_signatures": {}, "remaining": {}}, set()),
        ({"valid_signatures": {order_hash(o, DOMAIN): False for o in (app, dataset)}}, {"0x21", "0x31"}),
        ({"valid_signatures": {order_hash(o, DOMAIN): False for o in (pool, request)}}, {"0x41", "0x50"}),
        ({"remaining": {order_hash(dataset, DOMAIN): 0}}, {"consumed"}),
    ],
)
def test_the_chain_is_heard(changes: dict[str, Any], codes: set[str]) -> None:
    assert set(found(facts_=facts(**changes))) == codes


def test_the_messages_about_the_chain_name_what_is_wrong() -> None:
    got = found(facts_=facts(category_count=2, deployed={("workerpool", POOL): False}))
    assert got["0x01"] == "category 2 does not exist (there are 2, counted from 0)"
    assert got["0x40"] == f"No workerpool deployed at address {POOL}"
    bad = facts(valid_signatures={order_hash(request, DOMAIN): False, order_hash(pool, DOMAIN): False})
    by_code = {reason.code: reason for reason in reasons(app, pool, request, dataset, facts=bad)}
    assert by_code["0x50"].message == "requestorder invalid sign"
    assert by_code["0x50"].expected == REQUESTER
    assert by_code["0x41"].expected == OWNER


def test_without_a_dataset_nothing_is_asked_of_its_order() -> None:
    nothing = facts(
        deployed={("dataset", DATASET): False, ("app", APP): True, ("workerpool", POOL): True}, remaining={}
    )
    assert found(without_dataset, facts_=nothing, with_dataset=False) == {}
    assert volume(app, pool, without_dataset, NULL_DATASETORDER, facts()) == 5


def test_an_order_that_is_still_to_be_signed_is_judged_by_all_but_its_signature() -> None:
    draft = replace(request, salt=None, sign=None)
    assert found(draft, facts_=facts()) == {}
    assert set(found(replace(draft, category=1), facts_=facts())) == {"0x00"}


def test_the_volume_is_the_least_that_is_left() -> None:
    assert volume(app, pool, request, dataset) == 5
    assert volume(app, pool, request, dataset, facts(remaining={order_hash(pool, DOMAIN): 2})) == 2
    assert volume(app, pool, replace(request, volume=100), replace(dataset, volume=0)) == 0
    assert volume(app, pool, replace(without_dataset, volume=100), dataset) == 6


def test_the_cost_adds_up_per_task_and_in_total() -> None:
    price = cost(app, pool, dataset, volume=5)
    assert (price.per_task, price.total) == (38, 190)
    # 30 percent of 25 is 7.5: rounded down for each task, then multiplied.
    assert price.workerpool_stake == 35
    assert cost(app, pool, volume=1).total == 35


@settings(max_examples=60, derandomize=True, deadline=None)
@given(st.integers(0, 2**128), st.integers(0, 2**128), st.integers(0, 2**128), st.integers(0, 2**64))
def test_costs_are_exact(a: int, b: int, c: int, tasks: int) -> None:
    price = cost(
        replace(app, appprice=a), replace(pool, workerpoolprice=c), replace(dataset, datasetprice=b), volume=tasks
    )
    assert price.total == (a + b + c) * tasks
    assert 0 <= c * 30 * tasks - price.workerpool_stake * 100 < 100 * max(tasks, 1)


DEPOSIT = "you should deposit to top up your account"


def test_a_requester_who_cannot_pay_one_task_is_told_the_amounts() -> None:
    got = found(facts_=facts(stakes={OWNER: 35, REQUESTER: 37}))
    assert got == {
        "requester-stake": "Cost per task (38 nRLC) is greater than requester account stake (37 nRLC). "
        f"Orders can't be matched. If you are the requester, {DEPOSIT}"
    }


def test_a_requester_who_cannot_pay_all_tasks_is_told_the_total() -> None:
    got = found(facts_=facts(stakes={OWNER: 35, REQUESTER: 189}))
    assert got == {
        "requester-stake": "Total cost for 5 tasks (190 nRLC) is greater than requester account stake (189 nRLC). "
        f"Orders can't be matched. If you are the requester, {DEPOSIT} or reduce your requestorder volume"
    }
    assert found(facts_=facts(stakes={OWNER: 35, REQUESTER: 190})) == {}
    assert found(facts_=facts(stakes={OWNER: 35, REQUESTER: 0}), solvable=False) == {}


def test_a_workerpool_owner_who_cannot_stake_is_told_the_amounts() -> None:
    got = found(facts_=facts(stakes={OWNER: 6, REQUESTER: 190}))
    assert got == {
        "workerpool-stake": "workerpool required stake (7 nRLC) is greater than workerpool owner's account stake "
        f"(6 nRLC). Orders can't be matched. If you are the workerpool owner, {DEPOSIT}"
    }
    # The contract does not match fewer tasks when the stake is short, it reverts.
    got = found(facts_=facts(stakes={OWNER: 34, REQUESTER: 190}))
    assert got["workerpool-stake"].startswith("workerpool required stake for 5 tasks (35 nRLC) is greater than")


def test_a_workerpool_that_is_free_needs_no_stake() -> None:
    assert found(replace(pool, workerpoolprice=3), facts_=facts(stakes={OWNER: 0, REQUESTER: 10**9})) == {}


def test_a_requester_who_owns_the_workerpool_pays_and_stakes_from_one_account() -> None:
    own = {"owners": {APP: OWNER, DATASET: OWNER, POOL: REQUESTER}}
    assert found(facts_=facts(**own, stakes={REQUESTER: 225})) == {}
    got = found(facts_=facts(**own, stakes={REQUESTER: 224}))
    assert list(got) == ["requester-stake"]
    assert "(225 nRLC)" in got["requester-stake"]


def test_check_returns_the_cost_of_orders_that_match() -> None:
    price = check(app, pool, request, dataset, facts=facts(remaining={order_hash(app, DOMAIN): 2}))
    assert (price.volume, price.total) == (2, 76)


def test_check_tells_consumed_from_mismatching() -> None:
    gone = facts(remaining={order_hash(pool, DOMAIN): 0})
    with pytest.raises(OrderConsumedError) as consumed:
        check(app, pool, request, dataset, facts=gone)
    assert [reason.code for reason in consumed.value.reasons] == ["consumed"]
    assert "workerpoolorder is fully consumed (0 of 6 tasks left)" in str(consumed.value)
    with pytest.raises(OrderMismatchError) as mismatch:
        check(replace(app, appprice=11), pool, request, dataset, facts=gone)
    assert not isinstance(mismatch.value, OrderConsumedError)
    assert {reason.code for reason in mismatch.value.reasons} == {"0x03", "consumed"}


def test_check_says_how_much_to_deposit() -> None:
    with pytest.raises(OrderMismatchError) as caught:
        check(app, pool, request, dataset, facts=facts(stakes={REQUESTER: 90}))
    assert caught.value.hint == "deposit at least 0.0000001 RLC: account.deposit(...)"


def wanted(order: Any, **changes: Any) -> set[str]:
    asked: dict[str, Any] = {
        "requester": REQUESTER,
        "app": APP,
        "dataset": DATASET,
        "workerpool": POOL,
        "tag": tag("tee,tdx"),
        "category": 2,
        "trust": 5,
    }
    return {reason.code for reason in candidate_reasons(order, **(asked | changes))}


def test_candidates_that_serve_the_request_have_no_reason() -> None:
    for order in (app, dataset, pool):
        assert wanted(order) == set()
        assert wanted(order, workerpool=None, category=None, max_price=25, tasks=6) == set()


@pytest.mark.parametrize(
    ("order", "changes", "codes"),
    [
        (pool, {"category": 1}, {"0x00"}),
        (pool, {"trust": 6}, {"0x02"}),
        (pool, {"tag": tag("tee,tdx,gpu")}, {"0x06"}),
        (pool, {"workerpool": OTHER}, {"0x12"}),
        (pool, {"max_price": 24}, {"0x05"}),
        (pool, {"tasks": 7}, {"volume"}),
        (pool, {"remaining": 0}, {"consumed"}),
        (replace(pool, apprestrict=OTHER, requesterrestrict=OTHER), {}, {"0x19", "0x1b"}),
        (replace(pool, datasetrestrict=DATASET), {"dataset": None}, {"0x1a"}),
        (app, {"app": OTHER}, {"0x10"}),
        (replace(app, tag=tag("")), {}, {"0x07"}),
        (replace(app, tag=tag("tee,tdx,gpu")), {}, {"tag"}),
        (app, {"max_price": 9, "remaining": -1}, {"0x03", "consumed"}),
        (replace(app, workerpoolrestrict=OTHER), {}, {"0x14"}),
        (replace(app, workerpoolrestrict=OTHER), {"workerpool": None}, set()),
        (dataset, {"dataset": OTHER}, {"0x11"}),
        (replace(dataset, tag=tag("tee,scone")), {}, set()),
        (replace(dataset, tag=tag("gpu")), {}, {"tag"}),
        (replace(dataset, apprestrict=OTHER), {}, {"0x16"}),
        (pool, {"category": 9, "trust": 9, "tag": tag("gpu"), "remaining": 0}, {"0x00", "0x02", "0x06", "consumed"}),
    ],
)
def test_a_candidate_is_out_for_every_reason_that_applies(order: Any, changes: dict[str, Any], codes: set[str]) -> None:
    assert wanted(order, **changes) == codes


def test_a_named_workerpool_may_be_a_group() -> None:
    assert wanted(pool, workerpool=GROUP) == {"0x12"}
    assert (
        wanted(pool, workerpool=GROUP, groups=lambda restrict, account: (restrict, account) == (GROUP, POOL)) == set()
    )


@settings(max_examples=40, derandomize=True, deadline=None)
@given(
    st.sampled_from([0, 9, 1, 3, 11, 265]),
    st.sampled_from([0, 9, 1, 3, 265]),
    st.sampled_from([0, 9, 11, 265]),
    st.sampled_from([NULL_ADDRESS, REQUESTER, OTHER]),
    st.integers(0, 3),
)
def test_the_search_keeps_no_workerpool_that_the_match_would_refuse(
    app_tag: int, dataset_tag: int, pool_tag: int, restrict: str, category: int
) -> None:
    from iexec_nb.protocol.tags import union, without_frameworks

    an_app, data = replace(app, tag=tag(app_tag)), replace(dataset, tag=tag(dataset_tag))
    a_pool = replace(pool, tag=tag(pool_tag), requesterrestrict=restrict, category=category)
    needed = union(an_app.tag, without_frameworks(data.tag), request.tag)
    out = candidate_reasons(
        a_pool, requester=REQUESTER, app=APP, dataset=DATASET, workerpool=POOL, tag=needed, category=2, trust=5
    )
    full = reasons(an_app, a_pool, request, data)
    assert {r.code for r in out} == {r.code for r in full} & {"0x00", "0x02", "0x06", "0x12", "0x19", "0x1a", "0x1b"}


def test_reasons_print_as_their_sentence() -> None:
    (reason,) = reasons(replace(app, appprice=11), pool, request, dataset)
    assert str(reason) == reason.message
    assert (reason.field, reason.expected, reason.got) == ("appmaxprice", 11, 10)
    assert matching.WORKERPOOL_STAKE_PERCENT == 30

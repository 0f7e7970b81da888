from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import pytest
from fake_node import FakeNode, NodeError

from iexec_nb.errors import (
    ConfigurationError,
    ObjectNotFoundError,
    ValidationError,
    Web3ProviderCallError,
)
from iexec_nb.protocol import matching
from iexec_nb.protocol.execution import TaskStatus
from iexec_nb.protocol.orders import AppOrder, DatasetOrder, RequestOrder, WorkerpoolOrder
from iexec_nb.protocol.typed_data import Domain, order_hash
from iexec_nb.protocol.types import NULL_ADDRESS, Address, address_from_uint
from iexec_nb.sandbox import contracts, packages
from iexec_nb.sandbox.chain import Operator, deploy, give, stake
from iexec_nb.sandbox.node import Node
from iexec_nb.services import abi
from iexec_nb.services.chain import Chain
from iexec_nb.services.rpc import Rpc
from iexec_nb.services.wallet import PrivateKeySigner

T = TypeVar("T", AppOrder, DatasetOrder, WorkerpoolOrder, RequestOrder)

CHAIN_ID = 134_777
RLC = 10**9
# Runtime code that answers every call: with ERC-1271's magic value, and with true.
ERC1271 = "0x631626ba7e60e01b60005260206000f3"
ALWAYS_TRUE = "0x600160005260206000f3"
REVERTING = "0x60006000fd"


class CountingRpc(Rpc):
    """Counts HTTP requests."""

    posts = 0

    def _post(self, body: bytes, deadline: float) -> bytes:
        self.posts += 1
        return super()._post(body, deadline)


@dataclass
class World:
    """The real contracts on a local node, with one app, dataset and workerpool deployed and everybody funded."""

    chain: Chain
    rpc: CountingRpc
    seller: PrivateKeySigner
    pool_owner: PrivateKeySigner
    requester: PrivateKeySigner
    app: Address
    dataset: Address
    workerpool: Address

    def orders(self, **changes: Any) -> tuple[AppOrder, DatasetOrder, WorkerpoolOrder, RequestOrder]:
        app = AppOrder(app=self.app, appprice=3, volume=50, **changes.get("app", {}))
        dataset = DatasetOrder(dataset=self.dataset, datasetprice=2, volume=50)
        pool = WorkerpoolOrder(workerpool=self.workerpool, workerpoolprice=100, volume=50, category=2)
        request = RequestOrder(
            app=app.app,
            appmaxprice=3,
            dataset=self.dataset,
            datasetmaxprice=2,
            workerpool=self.workerpool,
            workerpoolmaxprice=100,
            requester=self.requester.address,
            volume=2,
            category=2,
            params='{"iexec_args":"h\u00e9"}',
        )
        sign = self.sign
        return (
            sign(app, self.seller),
            sign(dataset, self.seller),
            sign(pool, self.pool_owner),
            sign(request, self.requester),
        )

    def sign(self, order: T, signer: PrivateKeySigner) -> T:
        salted = replace(order, salt="0x" + secrets.token_hex(32))
        return salted.signed(salted.salt or "", signer.sign_order(salted, self.chain.domain))

    def create(self, kind: str, signer: PrivateKeySigner, *args: object) -> Address:
        chain = self.chain
        receipt = chain.send(signer, chain.registry(kind), abi.CREATE[kind].encode(*args))
        event = chain.find_event(receipt, abi.REGISTRY_TRANSFER)
        assert event is not None
        return address_from_uint(event["tokenId"])


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    node = Node(packages.anvil(), chain_id=CHAIN_ID)
    rpc = CountingRpc(node.url)
    try:
        operator = Operator(rpc)
        deployment = deploy(rpc, operator, contracts.load(), CHAIN_ID)
        signers = [PrivateKeySigner(secrets.token_bytes(32)) for _ in range(3)]
        wallets = [signer.address for signer in signers]
        operator.send(
            [
                *stake(deployment, operator.address, dict.fromkeys(wallets, 2 * RLC)),
                *(give(deployment, one, 5 * RLC) for one in wallets),
            ]
        )
        rpc.batch([("anvil_setBalance", [one, hex(10**19)]) for one in wallets])
        chain = Chain(rpc, deployment.hub, chain_id=CHAIN_ID)
        seller, pool_owner, requester = signers
        made = World(chain, rpc, seller, pool_owner, requester, NULL_ADDRESS, NULL_ADDRESS, NULL_ADDRESS)
        made.app = made.create(
            "app", signers[0], wallets[0], "my \U0001f600", "DOCKER", b"docker.io/x:1", b"\1" * 32, b""
        )
        made.dataset = made.create("dataset", signers[0], wallets[0], "data", b"/ipfs/Qm", b"\2" * 32)
        made.workerpool = made.create("workerpool", signers[1], wallets[1], "pool")
        yield made
    finally:
        rpc.close()
        node.stop()


def posts(world: World, action: Callable[[], Any]) -> int:
    before = world.rpc.posts
    action()
    return world.rpc.posts - before


# The hub.


def test_the_constants_of_the_hub_come_from_one_request_and_are_kept(world: World) -> None:
    chain = Chain(world.rpc, world.chain.hub_address.lower(), chain_id=CHAIN_ID)
    assert posts(world, lambda: chain.hub) == 1
    assert (
        posts(world, lambda: (chain.domain, chain.token, chain.appregistry, chain.timeout_ratio, chain.chain_id)) == 0
    )
    assert chain.domain == Domain(chainId=CHAIN_ID, verifyingContract=world.chain.hub_address)
    assert chain.timeout_ratio == 10
    assert not chain.native


def test_a_node_of_another_chain_is_refused(world: World) -> None:
    with pytest.raises(ConfigurationError, match=f"of chain {CHAIN_ID}, not of chain 42161"):
        _ = Chain(world.rpc, world.chain.hub_address, chain_id=42161).domain


@pytest.mark.parametrize("what", ["app", "pool_owner"])
def test_an_address_that_is_not_a_hub_is_refused(world: World, what: str) -> None:
    at = world.app if what == "app" else world.pool_owner.address
    with pytest.raises(ConfigurationError, match="there is no iExec hub"):
        _ = Chain(world.rpc, at).domain


@pytest.mark.parametrize(
    ("place", "value"), [(0, "iExecOBD"), (1, "3.0-alpha"), (2, 5), (3, "0x19E7E376E7C213B7E7e7e46cc70A5dD086DAff2A")]
)
def test_a_hub_that_signs_for_another_domain_is_refused(place: int, value: object) -> None:
    hub = "0x3eca1B216A7DF1C7689aEb259fFB83ADFB894E7f"
    domain = ["iExecODB", "5.0.0", 1234, hub]
    domain[place] = value

    def call(transaction: dict[str, str], _: str) -> str:
        if transaction["data"] == "0x" + abi.DOMAIN.selector.hex():
            return "0x" + abi.encode_values(["(string,string,uint256,address)"], [domain], "domain").hex()
        return "0x" + hub[2:].rjust(64, "0")

    with pytest.raises(ConfigurationError, match="is not an iExec hub of chain 1234") as caught:
        _ = Chain(FakeNode(eth_call=call).rpc(), hub).domain
    assert "expected" in str(caught.value)


@pytest.mark.parametrize("confirms", [0, -1, 1.5, True])
def test_confirmations_are_a_positive_number(confirms: int) -> None:
    with pytest.raises(ValidationError):
        Chain(FakeNode().rpc(), NULL_ADDRESS, confirms=confirms)


# Reads.


def test_money_inside_and_outside_the_hub_is_told_apart(world: World) -> None:
    stranger = "0x" + "ab" * 20
    assert world.chain.balances(stranger) == (0, 0)
    assert world.chain.balances(world.requester.address) == (10**19, 5 * RLC)
    accounts = world.chain.accounts([stranger, world.requester.address, stranger])
    assert [account.stake for account in accounts.values()] == [0, 2 * RLC]


def test_all_categories_come_from_two_requests_and_then_from_memory(world: World) -> None:
    chain = Chain(world.rpc, world.chain.hub_address)
    assert posts(world, chain.categories) == 2
    assert [category.workClockTimeRef for category in chain.categories()] == [300, 1200, 3600, 10800, 36000]
    assert posts(world, lambda: chain.category(3)) == 0
    with pytest.raises(ObjectNotFoundError, match="No category found for id 5"):
        chain.category(5)


def test_an_app_a_dataset_and_a_workerpool_are_shown_as_deployed(world: World) -> None:
    app = world.chain.app(world.app.lower())
    assert (app.appName, app.appType, app.appMultiaddr) == ("my \U0001f600", "DOCKER", "docker.io/x:1")
    assert (app.appChecksum, app.appMREnclave, app.owner) == ("0x" + "01" * 32, "", world.seller.address)
    assert app.registry == world.chain.appregistry
    assert world.chain.dataset(world.dataset).datasetName == "data"
    pool = world.chain.workerpool(world.workerpool)
    assert (pool.workerStakeRatioPolicy, pool.schedulerRewardRatioPolicy) == (30, 1)


def test_an_app_is_one_request(world: World) -> None:
    assert posts(world, lambda: world.chain.app(world.app)) == 1


@pytest.mark.parametrize("kind", ["app", "dataset"])
def test_what_is_not_registered_is_not_found(world: World, kind: str) -> None:
    for at in (world.workerpool, world.requester.address, NULL_ADDRESS):
        with pytest.raises(ObjectNotFoundError, match=f"No {kind} found for id {at} on chain {CHAIN_ID}"):
            getattr(world.chain, kind)(at)


def test_entries_are_counted_and_found_by_their_number(world: World) -> None:
    assert world.chain.count("workerpool", world.pool_owner.address) == 1
    assert world.chain.by_index("workerpool", world.pool_owner.address, 0) == world.workerpool
    with pytest.raises(ObjectNotFoundError, match="index 1"):
        world.chain.by_index("workerpool", world.pool_owner.address, 1)


def test_the_predicted_address_is_the_deployed_one(world: World) -> None:
    args = (world.seller.address, "data", b"/ipfs/Qm", b"\2" * 32)
    assert world.chain.predict("dataset", args) == world.dataset


def test_owners_leave_out_what_has_none(world: World) -> None:
    assert world.chain.owners([world.app, world.requester.address]) == {world.app: world.seller.address}
    assert world.chain.registered("app", [world.app, world.dataset]) == {world.app: True, world.dataset: False}


def test_the_time_of_the_chain_is_that_of_its_latest_block(world: World) -> None:
    world.rpc.call("evm_mine")
    assert world.chain.now() == world.chain.block().time
    assert world.chain.block_number() == world.chain.block().number
    assert world.chain.block_gas_limit() == 30_000_000


def test_contracts_and_wallets_are_told_apart_by_their_code(world: World) -> None:
    code = world.chain.code([world.app, world.requester.address])
    assert code[world.app]
    assert code[world.requester.address] == b""


# Orders, deals, tasks.


def test_the_facts_of_a_match_come_from_two_requests_and_find_nothing_wrong_with_good_orders(world: World) -> None:
    app, dataset, pool, request = world.orders()
    assert posts(world, lambda: world.chain.facts(app, dataset, pool, request)) == 2
    facts = world.chain.facts(app, dataset, pool, request)
    assert matching.reasons(app, pool, request, dataset, facts=facts) == ()
    assert matching.volume(app, pool, request, dataset, facts) == 2
    assert facts.stakes == {world.requester.address: 2 * RLC, world.pool_owner.address: 2 * RLC}
    assert facts.category_count == 5


def test_the_facts_tell_a_wrong_signer_and_an_address_that_is_no_app(world: World) -> None:
    app, dataset, pool, request = world.orders()
    forged = world.sign(app, world.requester)
    nowhere = world.sign(replace(app, app=world.requester.address), world.seller)
    assert (
        world.chain.facts(forged, dataset, pool, request).valid_signatures[order_hash(forged, world.chain.domain)]
        is False
    )
    facts = world.chain.facts(nowhere, dataset, pool, request)
    assert facts.deployed["app", world.requester.address] is False
    assert facts.valid_signatures[order_hash(nowhere, world.chain.domain)] is False
    assert world.requester.address not in facts.owners


def test_a_restriction_to_a_group_contract_lets_its_members_in(world: World) -> None:
    group, strict = "0x" + "e1" * 20, "0x" + "e2" * 20
    world.rpc.batch([("anvil_setCode", [group, ALWAYS_TRUE]), ("anvil_setCode", [strict, REVERTING])])
    group, strict = (next(iter(world.chain.code([at]))) for at in (group, strict))
    _, dataset, pool, request = world.orders()
    for restrict, expected in ((group, True), (strict, False), (world.seller.address, False)):
        app = world.orders(app={"requesterrestrict": restrict})[0]
        facts = world.chain.facts(app, dataset, pool, request)
        assert facts.groups(app.requesterrestrict, request.requester) is expected
        assert world.chain.group_member(restrict, request.requester) is expected


def test_an_order_of_a_contract_wallet_is_valid_when_the_contract_says_so(world: World) -> None:
    wallet = "0x" + "c1" * 20
    world.rpc.call("anvil_setCode", wallet, ERC1271)
    app = world.create("app", world.seller, wallet, "theirs", "DOCKER", b"x", b"\1" * 32, b"")
    _, dataset, pool, request = world.orders()
    order = replace(world.orders()[0], app=app, sign="0x1234")
    facts = world.chain.facts(order, dataset, pool, request)
    assert facts.valid_signatures[order_hash(order, world.chain.domain)] is True
    assert world.chain.verify_signatures([(wallet, order)]) == [True]


def test_a_presigned_order_is_valid_without_a_signature(world: World) -> None:
    app, dataset, pool, request = world.orders()
    unsigned = replace(app, sign="0x")
    assert world.chain.verify_signatures([(world.seller.address, unsigned)]) == [False]
    data = abi.MANAGE_APP_ORDER.encode((unsigned.to_abi(), 0, b""))
    receipt = world.chain.send(world.seller, world.chain.hub_address, data)
    digest = order_hash(app, world.chain.domain)
    assert world.chain.find_event(receipt, abi.SIGNED_ORDER["app"]) == {"appHash": digest}
    assert world.chain.verify_signatures([(world.seller.address, unsigned), (world.requester.address, unsigned)]) == [
        True,
        False,
    ]
    assert world.chain.facts(unsigned, dataset, pool, request).valid_signatures[digest] is True


def test_a_match_becomes_a_deal_whose_tasks_are_found_before_and_after_they_start(world: World) -> None:
    chain = world.chain
    orders = world.orders()
    receipt = chain.send(world.requester, chain.hub_address, abi.MATCH_ORDERS.encode(*(o.to_abi() for o in orders)))
    event = chain.find_event(receipt, abi.ORDERS_MATCHED)
    assert event is not None
    assert event["volume"] == 2
    request_hash = order_hash(orders[3], chain.domain)
    assert event["requestHash"] == request_hash
    assert chain.consumed([request_hash]) == {request_hash: 2}

    deal = chain.deal(event["dealid"])
    assert (deal.params, deal.botSize, deal.total_cost) == ('{"iexec_args":"h\u00e9"}', 2, 210)
    assert (deal.finalTime - deal.startTime).total_seconds() == 36000
    first, second = deal.taskids
    chain.send(world.requester, chain.hub_address, abi.INITIALIZE.encode(bytes.fromhex(deal.dealid[2:]), 0))
    assert posts(world, lambda: chain.deal_tasks(deal)) == 1
    assert [(task.taskid, task.status) for task in chain.deal_tasks(deal)] == [
        (first, TaskStatus.ACTIVE),
        (second, TaskStatus.UNSET),
    ]
    assert [task.idx for task in chain.deal_tasks(deal, [second])] == [1]
    assert chain.task(first).finalDeadline == deal.finalTime
    assert chain.task(second, deal.dealid).idx == 1
    with pytest.raises(ObjectNotFoundError, match="No task found"):
        chain.task(second)
    with pytest.raises(ObjectNotFoundError, match="No task found"):
        chain.deal_tasks(deal, ["0x" + "12" * 32])

    logs = chain.logs(abi.TASK_INITIALIZE, from_block=0, taskid=first)
    assert [event["workerpool"] for _, event in logs] == [world.workerpool]
    assert chain.logs(abi.TASK_INITIALIZE, from_block=0, taskid=second) == []
    with pytest.raises(Web3ProviderCallError, match="0x60"):
        chain.send(world.requester, chain.hub_address, abi.MATCH_ORDERS.encode(*(o.to_abi() for o in orders)))


def test_a_deal_that_does_not_exist_is_not_found(world: World) -> None:
    with pytest.raises(ObjectNotFoundError, match="No deal found"):
        world.chain.deal("0x" + "12" * 32)


# A node that lies.


@pytest.mark.parametrize("answer", [None, 5, [], {"x": 1}, "0x", "hello", "0x" + "00" * 31, "0x" + "zz" * 32])
def test_an_answer_of_the_wrong_kind_is_a_typed_error(answer: object) -> None:
    chain = Chain(FakeNode(eth_call=answer).rpc(), NULL_ADDRESS)
    with pytest.raises(ConfigurationError, match="there is no iExec hub"):
        _ = chain.hub
    with pytest.raises(Web3ProviderCallError):
        chain.consumed(["0x" + "11" * 32])
    with pytest.raises(Web3ProviderCallError):
        chain.category_count()


def test_a_hub_that_claims_endless_categories_is_not_believed() -> None:
    chain = Chain(FakeNode(eth_call="0x" + "ff" * 32).rpc(), NULL_ADDRESS)
    with pytest.raises(Web3ProviderCallError, match="claims to have"):
        chain.categories()


@pytest.mark.parametrize("block", [None, [], {}, {"number": "0x1", "timestamp": "0x" + "f" * 20, "gasLimit": "0x1"}])
def test_a_malformed_block_is_a_typed_error(block: object) -> None:
    with pytest.raises(Web3ProviderCallError):
        Chain(FakeNode(eth_getBlockByNumber=block).rpc(), NULL_ADDRESS).now()


@pytest.mark.parametrize("logs", [None, {}, [5], [{"topics": []}], [{"topics": ["0x1"], "address": NULL_ADDRESS}]])
def test_malformed_logs_are_a_typed_error(logs: object) -> None:
    with pytest.raises(Web3ProviderCallError):
        Chain(FakeNode(eth_getLogs=logs).rpc(), NULL_ADDRESS).logs(abi.ORDERS_MATCHED, from_block=0)


def test_a_node_that_refuses_is_not_taken_for_a_contract_that_refuses() -> None:
    chain = Chain(FakeNode(eth_call=NodeError(-32601, "eth_call is not allowed")).rpc(), NULL_ADDRESS)
    with pytest.raises(Web3ProviderCallError, match="not allowed"):
        chain.owners([NULL_ADDRESS])

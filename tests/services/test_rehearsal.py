"""What a match would need is asked of the node before anything is signed, with words of storage that say it is."""

from __future__ import annotations

from typing import Any

import pytest
from fake_node import BLOCK, CHAIN_ID, FakeNode, NodeError

from iexec_nb.errors import Web3ProviderCallError
from iexec_nb.protocol.orders import NULL_DATASETORDER, AppOrder, Order, RequestOrder, WorkerpoolOrder
from iexec_nb.protocol.typed_data import Domain, order_hash
from iexec_nb.protocol.types import hexbytes, keccak
from iexec_nb.services import rehearsal
from iexec_nb.services.abi import MATCH_ORDERS
from iexec_nb.services.reads import Hub, Reader
from iexec_nb.services.rehearsal import Rehearsal, rehearse_match

HUB = "0x3eca1B216A7DF1C7689aEb259fFB83ADFB894E7f"
PAYER = "0x19E7E376E7C213B7E7e7e46cc70A5dD086DAff2A"
SALT, SIGN = "0x" + "01" * 32, "0x" + "02" * 65


def orders() -> list[Order]:
    app = AppOrder(app="0x" + "11" * 20).signed(SALT, SIGN)
    pool = WorkerpoolOrder(workerpool="0x" + "22" * 20, category=0).signed(SALT, SIGN)
    request = RequestOrder(app=app.app, requester=PAYER, category=0).signed(SALT, "0x")
    return [app, NULL_DATASETORDER, pool, request]


def rehearsed(node: FakeNode, **options: Any) -> Rehearsal:
    reader = Reader(node.rpc(retries=0), HUB, chain_id=CHAIN_ID)
    domain = Domain(chainId=CHAIN_ID, verifyingContract=HUB)
    reader.hub = Hub(address=HUB, domain=domain, token=PAYER, registries={}, timeout_ratio=10)
    return rehearse_match(reader, orders(), PAYER, 7, **options)


def test_the_place_of_the_hub_s_state_is_that_of_its_name() -> None:
    inner = int.from_bytes(keccak(b"iexec.poco.storage.PocoStorage")) - 1
    assert int.from_bytes(keccak(inner.to_bytes(32))) & ~0xFF == rehearsal.STORAGE


def test_orders_without_a_signature_are_presigned_and_the_payer_is_rich_for_the_node_alone() -> None:
    asked: list[Any] = []

    def estimate(*params: Any) -> str:
        asked.append(params)
        return "0x64"

    node = FakeNode(eth_estimateGas=estimate)
    assert rehearsed(node) == Rehearsal(units=100, price=0x77359400, max_price=2 * 0x3B9ACA00 + 0x3B9ACA00)
    [(call, block, overrides)] = asked
    assert (call["from"], call["to"], block) == (PAYER, HUB, "latest")
    assert hexbytes(call["data"])[:4] == MATCH_ORDERS.selector
    request = orders()[3]
    digest = order_hash(request, Domain(chainId=CHAIN_ID, verifyingContract=HUB))
    presigned = "0x" + keccak(hexbytes(digest) + (rehearsal.STORAGE + 12).to_bytes(32)).hex()
    held = "0x" + keccak(int(PAYER, 16).to_bytes(32) + (rehearsal.STORAGE + 8).to_bytes(32)).hex()
    assert overrides[HUB] == {
        "stateDiff": {presigned: f"0x{int(PAYER, 16):064x}", held: f"0x{7:064x}"},
    }
    assert int(overrides[PAYER]["balance"], 16) > 10**29
    assert "eth_sendRawTransaction" not in node.asked
    assert node.posts == 1


@pytest.mark.parametrize(
    ("block", "options", "prices"),
    [
        ({**BLOCK, "baseFeePerGas": "0x0"}, {}, (0x77359400, 0)),
        ({**BLOCK, "baseFeePerGas": "0x0"}, {"gas_price": 5}, (5, 5)),
        ({name: value for name, value in BLOCK.items() if name != "baseFeePerGas"}, {}, (0x77359400, 0x77359400)),
    ],
    ids=["free", "chosen", "before EIP-1559"],
)
def test_the_price_of_gas_is_that_of_the_chain_or_the_chosen_one(
    block: dict[str, str], options: dict[str, int], prices: tuple[int, int]
) -> None:
    found = rehearsed(FakeNode(eth_getBlockByNumber=lambda *_: block), **options)
    assert (found.price, found.max_price) == prices


def test_a_node_that_refuses_to_simulate_leaves_the_units_open() -> None:
    assert rehearsed(FakeNode(eth_estimateGas=NodeError(-32602, "too many arguments"))).units is None
    with pytest.raises(Web3ProviderCallError):
        rehearsed(FakeNode(eth_estimateGas="many"))
    with pytest.raises(Web3ProviderCallError):
        rehearsed(FakeNode(eth_gasPrice=NodeError(-32000, "no")))

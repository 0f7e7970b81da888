"""A workerpool order book as one meets it on a live market: several sellers, all sizes of task, prices that scatter.

Prices are drawn as whole nRLC from a seeded generator, so that a notebook shows the same book each time it is run; the
keys and salts are fresh, so that the hashes differ.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from random import Random

from iexec_nb.protocol import tags
from iexec_nb.protocol.orders import WorkerpoolOrder
from iexec_nb.protocol.typed_data import Domain
from iexec_nb.protocol.types import Address, bytes32
from iexec_nb.sandbox.treasury import Pool
from iexec_nb.services.market import Market

MAX_OPEN_ORDERS = 50
"""How many open orders of one kind the market lists for one wallet."""

NAMES = (
    "Aurora TDX cluster",
    "Basalt confidential compute",
    "Cobalt cloud, Frankfurt",
    "Delta GPU farm",
    "Ember small tasks",
    "Fjord green compute",
    "Granite batch",
    "Harbor research pool",
)
_BASE_NRLC = (40_000_000, 110_000_000, 260_000_000, 700_000_000, 1_900_000_000)
"""What a task of each category costs about."""
_CATEGORIES = (0, 0, 0, 0, 1, 1, 1, 2, 2, 3, 3, 4)
_TRUSTS = (0, 0, 1, 1, 1, 3, 5)
_VOLUMES = (1, 1, 2, 3, 5, 10, 20, 50)
_GPU = tags.encode(["tee", "tdx", "gpu"])
_STEP_NRLC = 100_000


@dataclass(frozen=True, slots=True)
class _Seller:
    pool: Address
    level: int
    """Its prices in percent of the usual ones."""
    gpu: bool


def names(count: int) -> list[str]:
    """Return that many different descriptions of workerpools."""
    return [NAMES[i % len(NAMES)] + ("" if i < len(NAMES) else f" {i // len(NAMES) + 1}") for i in range(count)]


def draw(pools: Sequence[Address], orders: int, seed: int, categories: int) -> Iterator[WorkerpoolOrder]:
    """Yield unsigned orders, the pools in turn.

    Parameters
    ----------
    pools
        Who sells.
    orders
        How many in all.
    seed
        The same one gives the same prices, categories, volumes and trusts.
    categories
        How many categories the hub has.
    """
    random = Random(seed)  # noqa: S311 - prices of a demonstration
    sellers = [_Seller(pool, random.randint(75, 135), i % 4 == 3) for i, pool in enumerate(pools)]
    for number in range(orders):
        yield _order(random, sellers[number % len(sellers)], categories)


def _order(random: Random, seller: _Seller, categories: int) -> WorkerpoolOrder:
    category = min(random.choice(_CATEGORIES), categories - 1)
    trust = random.choice(_TRUSTS)
    # The sum of three dice: most sellers are near the usual price and a few are far from it.
    scatter = sum(random.randint(15, 55) for _ in range(3))
    gpu = seller.gpu and random.random() < 0.5
    price = _BASE_NRLC[category] * seller.level * scatter * (100 + 12 * trust) * (160 if gpu else 100) // 100**4
    return WorkerpoolOrder(
        workerpool=seller.pool,
        workerpoolprice=max(price // _STEP_NRLC, 1) * _STEP_NRLC,
        volume=random.choice(_VOLUMES),
        tag=_GPU if gpu else tags.TEE_TDX,
        category=category,
        trust=trust,
    )


def required_stake(orders: Sequence[WorkerpoolOrder]) -> int:
    """Return the nRLC that a pool's owner has to have so that all its orders can be matched at once."""
    # The hub locks 30 % of the price of each task.
    return sum(order.workerpoolprice * 30 // 100 * order.volume for order in orders)


def publish(market: Market, domain: Domain, pool: Pool, order: WorkerpoolOrder) -> WorkerpoolOrder:
    """Sign an order as the pool's owner, publish it and return it signed."""
    salt = bytes32(secrets.token_bytes(32), "salt")
    signed = order.signed(salt, pool.owner.sign_order(replace(order, salt=salt), domain))
    market.publish(signed, pool.owner)
    return signed

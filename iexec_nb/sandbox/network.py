"""A complete local iExec: the real contracts on a local chain, all services, and a worker that runs apps.

Everything that the rest of the package talks to is here behind the same doors, so that a whole journey (sell, buy, run,
decrypt, claim) runs with no network, no account and no tokens, on code that is unchanged.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from iexec_nb.client import IExec, set_active
from iexec_nb.errors import SandboxError, ValidationError
from iexec_nb.protocol.networks import Network
from iexec_nb.protocol.orders import WorkerpoolOrder
from iexec_nb.protocol.tags import TEE_TDX, tag
from iexec_nb.protocol.types import NULL_ADDRESS, Address, address, shown, uint256
from iexec_nb.protocol.units import nrlc, wei
from iexec_nb.sandbox import populate
from iexec_nb.sandbox.endpoints import NAME, Endpoints
from iexec_nb.sandbox.mount import HostTransport, loopback
from iexec_nb.sandbox.parts import DATAPROTECTOR_SUBGRAPH, POCO_SUBGRAPH, Parts
from iexec_nb.sandbox.runner import Run
from iexec_nb.sandbox.treasury import Grant, Pool, new_key
from iexec_nb.services.chain import Chain
from iexec_nb.services.wallet import PrivateKeySigner, Signer

CHAIN_ID = 134134
"""The default chain id; no public chain has it."""
USER_GRANT = Grant(wallet=100 * 10**9, account=100 * 10**9, wei=10 * 10**18)
"""What the client that ``%iexec`` uses starts with: 100 RLC in its wallet, 100 RLC on its account, 10 ether."""

_MAX_CHAIN_ID = 2**53 - 1
_MAX_ORDERS = 10_000
_MAX_MEMBERS = 500


class Sandbox:
    """A local iExec that lives as long as its ``with`` block, or from `start` to `stop`.

    Nothing of it outlives the kernel: the chain is a child process that ends with its parent however that one ends.
    The contracts are iExec's own, with one exception: DataProtector's bytecode is in no package, so one of ours with
    its published interface stands for it (source: ``iexec_nb/sandbox/solidity``).
    While it runs, ``%iexec`` and `iexec_nb.client.active` use `user`, a client with play money.

    Parameters
    ----------
    chain_id
        The chain id that it announces.
    port
        Port of the node, or 0 for a free one.
    workerpools
        How many workerpools there are from the start; each computes and offers tasks of every category for nothing.

    Raises
    ------
    ValidationError
        When a number is out of its range.

    Examples
    --------
    >>> with Sandbox() as net:
    ...     buyer = net.client(rlc="10 RLC")
    ...     buyer.wallet.show().nRLC
    10000000000
    """

    def __init__(self, *, chain_id: int = CHAIN_ID, port: int = 0, workerpools: int = 1) -> None:
        self.chain_id = _between(chain_id, 1, _MAX_CHAIN_ID, "chain_id")
        self._port = _between(port, 0, 65535, "port")
        self._first_pools = _between(workerpools, 0, 100, "workerpools")
        self._lock = threading.RLock()
        self._parts: Parts | None = None
        self._user: IExec | None = None
        self._finalizer: weakref.finalize[Any, Any] | None = None

    # Life.

    def start(self) -> Self:
        """Start everything and return the sandbox; when it runs already, nothing happens.

        Raises
        ------
        SandboxError
            When a part cannot be fetched or started; nothing stays behind.
        """
        with self._lock:
            if self.running:
                return self
            stack = ExitStack()
            try:
                parts = Parts(stack, chain_id=self.chain_id, port=self._port)
                self._parts = parts
                self._deploy_first_pools(parts)
                self._user = user = self._client(PrivateKeySigner(new_key()))
                parts.treasury.grant({_wallet(user): USER_GRANT})
                stack.callback(_deactivate, set_active(user), parts)
            except BaseException:
                self._parts = self._user = None
                stack.close()
                raise
            # Also at the interpreter's exit, and when nobody holds the sandbox any more.
            self._finalizer = weakref.finalize(self, _close, stack, os.getpid())
        return self

    def stop(self) -> None:
        """Stop everything and free every port; a second call does nothing."""
        with self._lock:
            self._parts = self._user = None
            if self._finalizer:
                self._finalizer()

    @property
    def running(self) -> bool:
        """Whether it is started."""
        return self._parts is not None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def __repr__(self) -> str:
        state = f"node={self._parts.node.url}" if self._parts else "stopped"
        return f"Sandbox(chain_id={self.chain_id}, {state})"

    # People.

    @property
    def user(self) -> IExec:
        """The client that ``%iexec`` uses while the sandbox runs; it has play money (`USER_GRANT`)."""
        user, _ = self._user, self._live
        assert user is not None
        return user

    def client(
        self,
        rlc: object = "0 RLC",
        deposit: object = None,
        eth: object = "10 ether",
        *,
        signer: Signer | None = None,
    ) -> IExec:
        """Return a client for a new person.

        Parameters
        ----------
        rlc
            What its wallet holds: nRLC, or text such as ``"10 RLC"``.
        deposit
            What is on its iExec account besides; nothing unless given.
        eth
            What it can pay fees with: wei, or text such as ``"10 ether"``.
        signer
            A wallet to use; a fresh random key unless given.

        Raises
        ------
        ValidationError
            When an amount is malformed.
        """
        grant = Grant(wallet=nrlc(rlc, "rlc"), account=nrlc(deposit or 0, "deposit"), wei=wei(eth, "eth"))
        parts = self._live
        person = self._client(signer or PrivateKeySigner(new_key()))
        parts.treasury.grant({_wallet(person): grant})
        return person

    def fund(self, account: object, *, rlc: object = 0, deposit: object = 0, eth: object = 0) -> None:
        """Give an address RLC (into its wallet, or as `deposit` onto its iExec account) and ether, besides what it has.

        Parameters
        ----------
        account
            An address, or a client.
        rlc, deposit
            nRLC, or text such as ``"10 RLC"``.
        eth
            wei, or text such as ``"1 ether"``.

        Raises
        ------
        ValidationError
            When the address or an amount is malformed.
        """
        to = _wallet(account) if isinstance(account, IExec) else address(account, "account")
        grant = Grant(wallet=nrlc(rlc, "rlc"), account=nrlc(deposit, "deposit"), wei=wei(eth, "eth"))
        self._live.treasury.grant({to: grant})

    # Time.

    def now(self) -> datetime:
        """Return the chain's time, UTC."""
        return self._live.chain.now()

    def mine(self, blocks: int = 1) -> int:
        """Mine empty blocks and return the number of the newest block."""
        count = _between(blocks, 1, 100_000, "blocks")
        parts = self._live
        parts.rpc.call("anvil_mine", hex(count))
        return parts.chain.block_number()

    def travel(
        self, delta: timedelta | None = None, *, days: int = 0, hours: int = 0, minutes: int = 0, seconds: int = 0
    ) -> datetime:
        """Move the chain's time forward, mine a block and return the new time, UTC.

        Parameters
        ----------
        delta
            How far; or give `days`, `hours`, `minutes` and `seconds`.

        Raises
        ------
        ValidationError
            When it would not go forward: a chain's time never goes back.
        """
        way = timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds) + (delta or timedelta())
        if way < timedelta(seconds=1):
            raise ValidationError(
                f"{way} is not a way forward in time", hint="travel(days=1), or travel(timedelta(hours=3))"
            )
        parts = self._live
        parts.clock.advance(way)
        parts.rpc.batch([("evm_increaseTime", [int(way.total_seconds())]), ("evm_mine", [])])
        return parts.chain.now()

    # Work.

    def image(self, multiaddr: str, run: Run) -> None:
        """Say what the worker runs for apps with this multiaddr.

        Parameters
        ----------
        multiaddr
            As in ``app.deploy``, such as ``docker.io/me/app:1.0``.
        run
            A function, or a command as a list of words. It runs in a process of its own and finds its folders and
            variables as on a real worker: ``IEXEC_IN``, ``IEXEC_OUT``, ``IEXEC_DATASET_FILENAME`` and so on. The
            arguments of the run are in ``sys.argv[1:]``; a function with a parameter is given the list of them.

        Raises
        ------
        ValidationError
            When `run` is neither.
        """
        self._live.images.set(multiaddr, run)

    @property
    def workerpools(self) -> tuple[Address, ...]:
        """The workerpools of the sandbox, in the order of their deployment."""
        return tuple(self._live.pools)

    def workerpool(
        self,
        description: str = "sandbox workerpool",
        *,
        price: object = None,
        category: int | Iterable[int] = 0,
        volume: int = 100,
        trust: int = 1,
        order_tag: str | Iterable[str] = TEE_TDX,
        idle: bool = False,
    ) -> Address:
        """Deploy a workerpool that the sandbox owns and works for, and return its address.

        Parameters
        ----------
        description
            What it is called.
        price
            nRLC for a task, or text such as ``"0.1 RLC"``; with it an order is published for each category.
        category
            One category or several.
        volume
            Tasks per order.
        trust
            The highest trust that its orders offer.
        order_tag
            Tag of its orders.
        idle
            Whether nobody computes for it: its tasks run into their deadlines.

        Raises
        ------
        ValidationError
            When a value is malformed.
        ObjectNotFoundError
            When there is no such category.
        """
        parts = self._live
        numbers = [category] if isinstance(category, int) else list(category)
        offer: dict[str, Any] = {
            "workerpoolprice": nrlc(price or 0, "price"),
            "volume": volume,
            "tag": tag(order_tag),
            "trust": trust,
        }
        # Whatever is wrong with the orders is said before there is a workerpool.
        orders = [
            WorkerpoolOrder(workerpool=NULL_ADDRESS, category=parts.chain.category(number).catid, **offer)
            for number in (numbers if price is not None else ())
        ]
        [pool] = parts.treasury.workerpools([description], idle=idle)
        parts.add_pool(pool)
        self._publish(pool, [replace(order, workerpool=pool.address) for order in orders])
        return pool.address

    def populate(self, orders: int = 220, pools: int = 5, seed: int = 1) -> tuple[Address, ...]:
        """Fill the workerpool order book as on a live market and return the new workerpools.

        All orders are signed and published as real ones are, and can be matched: the sandbox computes for these pools.

        Parameters
        ----------
        orders
            How many orders in all; the market lists at most 50 for each pool's owner.
        pools
            How many sellers.
        seed
            The same one gives the same prices.

        Raises
        ------
        ValidationError
            When there are more orders than the pools may list.
        """
        count = _between(pools, 1, _MAX_ORDERS, "pools")
        most = count * populate.MAX_OPEN_ORDERS
        if _between(orders, 1, _MAX_ORDERS, "orders") > most:
            least = -(-orders // populate.MAX_OPEN_ORDERS)
            raise ValidationError(
                f"{orders} orders are more than {pools} pools may list",
                context={"orders listed for each owner at most": populate.MAX_OPEN_ORDERS},
                hint=f"populate(orders={orders}, pools={least})",
            )
        parts = self._live
        made = parts.treasury.workerpools(populate.names(count))
        addresses = tuple(pool.address for pool in made)
        drawn = list(populate.draw(addresses, orders, seed, parts.chain.category_count()))
        for pool in made:
            parts.add_pool(pool)
            self._publish(pool, [order for order in drawn if order.workerpool == pool.address])
        return addresses

    def whitelist(self, members: Iterable[object]) -> Address:
        """Deploy a group of addresses (ERC-734) and return where it is.

        An order restricted to it is for its members: apps in ``apprestrict``, people in ``requesterrestrict``.

        Parameters
        ----------
        members
            Addresses of apps, workerpools or people, or clients.

        Raises
        ------
        ValidationError
            When one is not an address, or there are more than 500.
        """
        wallets = [_wallet(one) if isinstance(one, IExec) else address(one, "member") for one in members]
        if len(wallets) > _MAX_MEMBERS:
            raise ValidationError(
                f"{len(wallets)} members are more than one transaction can name",
                hint=f"give at most {_MAX_MEMBERS}",
            )
        return self._live.treasury.whitelist(wallets)

    # Ports.

    def serve(
        self,
        host: str = "127.0.0.1",
        *,
        market: int = 0,
        sms: int = 0,
        ipfs: int = 0,
        compass: int = 0,
        workerpool_api: int = 0,
        poco_subgraph: int = 0,
        dataprotector_subgraph: int = 0,
    ) -> Endpoints:
        """Put the services on loopback ports, for programs other than this kernel, and return where they are.

        The node is on a port anyway; choose it by ``Sandbox(port=...)``. A second call returns the same endpoints.

        Parameters
        ----------
        host
            A loopback address.
        market, sms, ipfs, compass, workerpool_api, poco_subgraph, dataprotector_subgraph
            Ports; 0 takes a free one.

        Raises
        ------
        SandboxError
            When a port is taken; then none is used.
        ValidationError
            When other machines could reach `host`.
        """
        ports = {
            "market": market, "sms": sms, "ipfs": ipfs, "compass": compass, "scheduler": workerpool_api,
            POCO_SUBGRAPH: poco_subgraph, DATAPROTECTOR_SUBGRAPH: dataprotector_subgraph,
        }  # fmt: skip
        chosen = {name: _between(port, 0, 65535, name) for name, port in ports.items()}
        with self._lock:
            return self._live.serve(loopback(host), chosen)

    @property
    def _live(self) -> Parts:
        if self._parts is None:
            raise SandboxError(
                "the sandbox is not running", hint="with Sandbox() as net: ...   or   net = Sandbox().start()"
            )
        if not self._parts.node.running:
            raise SandboxError("the local chain has ended", hint="net.stop(), then start a new sandbox")
        return self._parts

    def _client(self, signer: Signer) -> IExec:
        parts = self._live
        url = parts.transport.url
        person = IExec(
            self.chain_id,
            signer=signer,
            rpc=parts.node.url,
            hub_address=parts.deployment.hub,
            transport=parts.transport,
            # Its money is worth nothing, so nobody is asked.
            confirm=False,
            store=Path(parts.folder) / "stores" / signer.address,
            market=url("market"),
            sms=url("sms"),
            ipfs_gateway=url("ipfs"),
            ipfs_node=url("ipfs"),
            compass=url("compass"),
            poco_subgraph=url(POCO_SUBGRAPH),
            dataprotector_address=parts.deployment.dataprotector,
            dataprotector_subgraph=url(DATAPROTECTOR_SUBGRAPH),
        )
        person.network = Network(
            chain_id=self.chain_id,
            name=NAME,
            rpc=parts.node.url,
            hub_address=parts.deployment.hub,
            dataprotector_address=parts.deployment.dataprotector,
            dataprotector_workerpool=next(iter(parts.pools), None),
        )
        # One pool of connections for all: they are closed with the sandbox.
        person.chain = Chain(parts.rpc, parts.deployment.hub, chain_id=self.chain_id)
        return person

    def _deploy_first_pools(self, parts: Parts) -> None:
        names = ["sandbox workerpool" + (f" {i + 1}" if i else "") for i in range(self._first_pools)]
        if not names:
            return
        for pool in parts.treasury.workerpools(names):
            parts.add_pool(pool)
            free = [
                WorkerpoolOrder(workerpool=pool.address, workerpoolprice=0, volume=1000, category=number, trust=1)
                for number in range(parts.chain.category_count())
            ]
            self._publish(pool, free)

    def _publish(self, pool: Pool, orders: list[WorkerpoolOrder]) -> None:
        parts = self._live
        needed = populate.required_stake(orders)
        if needed:
            parts.treasury.grant({pool.owner.address: Grant(account=needed)})
        for order in orders:
            populate.publish(parts.market_client, parts.chain.domain, pool, order)


def _between(value: object, least: int, most: int, name: str) -> int:
    number = uint256(value, name)
    if not least <= number <= most:
        raise ValidationError(f"{shown(value)} is not a valid {name}", hint=f"give {name} as {least} to {most}")
    return number


def _wallet(client: IExec) -> Address:
    return client.require_signer("hold money").address


def _deactivate(before: IExec | None, parts: Parts) -> None:
    """Make the client active that was so before the sandbox, unless the user chose one that is not the sandbox's."""
    ended = before is not None and isinstance(before.transport, HostTransport) and not before.transport.running
    current = set_active(None if ended else before)
    if current is not None and current.transport is not parts.transport:
        set_active(current)


def _close(stack: ExitStack, pid: int) -> None:
    # A forked child has the object too, and must not stop its parent's chain.
    if os.getpid() == pid:
        stack.close()

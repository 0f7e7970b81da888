"""The parts of a running sandbox, opened in the order in which they need each other and closed in the opposite one."""

from __future__ import annotations

import shutil
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from functools import cached_property

from flask import Flask

from iexec_nb.errors import MarketCallError
from iexec_nb.protocol.types import Address
from iexec_nb.sandbox import contracts, packages
from iexec_nb.sandbox.chain import Operator, deploy
from iexec_nb.sandbox.compass import compass_app, scheduler_app
from iexec_nb.sandbox.endpoints import Endpoints
from iexec_nb.sandbox.ipfs import BlockStore, ipfs_app
from iexec_nb.sandbox.market import market_app
from iexec_nb.sandbox.mount import HostTransport, Server
from iexec_nb.sandbox.node import Node
from iexec_nb.sandbox.poco_index import poco_subgraph
from iexec_nb.sandbox.protector import dataprotector_subgraph
from iexec_nb.sandbox.records import RunRecords
from iexec_nb.sandbox.runner import Images
from iexec_nb.sandbox.sms import Vault, sms_app
from iexec_nb.sandbox.subgraph import subgraph_app
from iexec_nb.sandbox.treasury import Pool, Treasury
from iexec_nb.sandbox.worker import Worker
from iexec_nb.services.chain import Chain
from iexec_nb.services.http import Http
from iexec_nb.services.market import Market
from iexec_nb.services.rpc import Rpc

WORKERS = 3
"""How many workers contribute where a deal asks for trust."""

POCO_SUBGRAPH = "poco-subgraph"
"""The host name of the index of deals and tasks."""
DATAPROTECTOR_SUBGRAPH = "dataprotector-subgraph"
"""The host name of the index of protected data."""

_SCHEDULER = "scheduler"


class Clock:
    """The time of the machine, and how far the sandbox has travelled from it."""

    def __init__(self) -> None:
        self._ahead = timedelta()

    def __call__(self) -> datetime:
        """Return the sandbox's time, UTC."""
        return datetime.now(UTC) + self._ahead

    def advance(self, way: timedelta) -> None:
        """Travel."""
        self._ahead += way


class _ApiUrls(Mapping[Address, str]):
    """The same scheduler for every workerpool, those to come included."""

    def __init__(self, pools: Mapping[Address, Pool], url: str) -> None:
        self._pools = pools
        self._url = url

    def __getitem__(self, workerpool: Address) -> str:
        self._pools[workerpool]
        return self._url

    def __iter__(self) -> Iterator[Address]:
        return iter(self._pools)

    def __len__(self) -> int:
        return len(self._pools)


class Parts:
    """A local chain with its contracts, the services on it and the worker.

    Parameters
    ----------
    stack
        Gets the closing of everything, also of what was opened before a failure.
    chain_id, port
        Of the node.

    Raises
    ------
    SandboxError
        When a part does not start.
    """

    def __init__(self, stack: ExitStack, *, chain_id: int, port: int) -> None:
        self._stack = stack
        self.folder = tempfile.mkdtemp(prefix="iexec_nb-sandbox-")
        stack.callback(shutil.rmtree, self.folder, ignore_errors=True)
        self.node = Node(packages.anvil(), chain_id=chain_id, port=port, scratch=self.folder)
        stack.callback(self.node.stop)
        # The node is a child on this machine: what it does not answer at once, it does not answer.
        self.rpc = Rpc(self.node.url, timeout_s=30.0, retries=0)
        stack.callback(self.rpc.close)
        operator = Operator(self.rpc)
        self.deployment = deploy(self.rpc, operator, contracts.load(), chain_id)
        self.chain = Chain(self.rpc, self.deployment.hub, chain_id=chain_id)
        self.treasury = Treasury(self.rpc, operator, self.deployment)
        self.clock = Clock()
        self.pools: dict[Address, Pool] = {}
        self.images = Images()
        self.records = RunRecords(self.clock)
        self.blocks = BlockStore(self.folder)
        stack.callback(self.blocks.close)
        self.vault = Vault()
        self._apps = self._make_apps()
        self.transport = HostTransport(self._apps)
        stack.callback(self.transport.shut_down)
        self.worker = self._start_worker()
        self._endpoints: Endpoints | None = None
        self._serving = threading.Lock()

    @cached_property
    def market_client(self) -> Market:
        """The market as a client sees it; the sandbox's own orders go the same way as everybody's."""
        http = Http(self.transport.url("market"), service="Market API", error=MarketCallError, transport=self.transport)
        return Market(http, self.chain.chain_id)

    def add_pool(self, pool: Pool) -> None:
        """Make a workerpool known to compass and to the worker."""
        self.pools[pool.address] = pool
        if not pool.idle:
            self.worker.add_pool(pool.address, pool.key)

    def serve(self, host: str, ports: Mapping[str, int]) -> Endpoints:
        """Put the apps on ports of a loopback address, once; see `Sandbox.serve`."""
        with self._serving:
            if self._endpoints is None:
                self._endpoints = self._serve(host, ports)
            return self._endpoints

    def _start_worker(self) -> Worker:
        # Kept between sandboxes: a plot's first run spends seconds on its list of fonts.
        cache = packages.cache_dir() / "apps"
        cache.mkdir(exist_ok=True)
        worker = Worker(
            self.chain,
            pools={},
            accounts=self.treasury.workers(WORKERS),
            store=self.blocks,
            vault=self.vault,
            records=self.records,
            images=self.images,
            cache=cache,
            transport=self.transport,
            within=self.folder,
        )
        self._stack.callback(worker.stop)
        worker.start()
        return worker

    def _make_apps(self) -> dict[str, Flask]:
        return {
            "market": market_app(self.chain),
            "sms": sms_app(self.chain, self.vault),
            "ipfs": ipfs_app(self.blocks),
            "compass": compass_app(_ApiUrls(self.pools, HostTransport.url(_SCHEDULER))),
            _SCHEDULER: scheduler_app(self.records, self.chain),
            POCO_SUBGRAPH: subgraph_app("poco_subgraph", poco_subgraph(self.chain, self.blocks.path)),
            DATAPROTECTOR_SUBGRAPH: subgraph_app(
                "dataprotector_subgraph", dataprotector_subgraph(self.chain, self.deployment.dataprotector)
            ),
        }

    def _serve(self, host: str, ports: Mapping[str, int]) -> Endpoints:
        with ExitStack() as opened:
            urls: dict[str, str] = {}
            apps = dict(self._apps)
            # The scheduler first: the compass that is reached from outside has to tell its port.
            for name in sorted(apps, key=lambda name: name != _SCHEDULER):
                app = apps[name] if name != "compass" else compass_app(_ApiUrls(self.pools, urls[_SCHEDULER]))
                server = Server(app, host=host, port=ports[name])
                opened.callback(server.stop)
                urls[name] = server.url
            self._stack.enter_context(opened.pop_all())
        return Endpoints(
            chain_id=self.chain.chain_id,
            rpc=self.node.url,
            sms=urls["sms"],
            market=urls["market"],
            ipfs_gateway=urls["ipfs"],
            ipfs_node=urls["ipfs"],
            compass=urls["compass"],
            workerpool_api=urls[_SCHEDULER],
            poco_subgraph=urls[POCO_SUBGRAPH],
            dataprotector_subgraph=urls[DATAPROTECTOR_SUBGRAPH],
            hub_address=self.deployment.hub,
            token=self.deployment.token,
            dataprotector_address=self.deployment.dataprotector,
            **{f"{kind}registry": registry for kind, registry in self.deployment.registries.items()},
        )

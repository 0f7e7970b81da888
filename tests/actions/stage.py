"""Props of the tests of the verbs: people with proxies between them and the services, orders that match, and apps."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import cloudpickle
import httpx

from iexec_nb.client import IExec
from iexec_nb.protocol.orders import AppOrder, DatasetOrder, Order, RequestOrder, WorkerpoolOrder
from iexec_nb.protocol.types import Address
from iexec_nb.sandbox.network import Sandbox
from iexec_nb.services.chain import Chain
from iexec_nb.services.rpc import Rpc
from iexec_nb.services.wallet import PrivateKeySigner

RLC = 10**9
WEB = ("market", "sms", "ipfs", "compass", "scheduler")


class Service(httpx.BaseTransport):
    """Stands between a client and the sandbox's services: writes down every request, and may change every answer."""

    def __init__(self, net: Sandbox) -> None:
        self._inner = net.user.transport
        self.requests: list[tuple[str, str, str]] = []
        self.change: Callable[[httpx.Request, httpx.Response], httpx.Response] | None = None
        self.before: Callable[[httpx.Request], httpx.Response | None] | None = None

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.requests.append((request.method, request.url.host.partition(".")[0], request.url.path))
        if self.before is not None and (instead := self.before(request)) is not None:
            return instead
        assert self._inner is not None
        response = self._inner.handle_request(request)
        if self.change is None:
            return response
        response.read()
        return self.change(request, response)

    def writes(self) -> list[tuple[str, str, str]]:
        return [one for one in self.requests if one[0] not in ("GET", "HEAD")]

    def to(self, host: str, path: str = "", method: str = "") -> list[tuple[str, str, str]]:
        return [one for one in self.requests if one[1] == host and one[2].startswith(path) and method in ("", one[0])]


class Node(httpx.BaseTransport):
    """Stands between a client and the node: counts methods, and may break before or after the node has heard them."""

    def __init__(self) -> None:
        # The node has no certificate, and reading the system's takes longer than most tests.
        self._inner = httpx.HTTPTransport(verify=False)
        self.methods: Counter[str] = Counter()
        self.raw: list[str] = []
        self.before: Callable[[list[str]], httpx.Response | None] | None = None
        self.after: Callable[[list[str], httpx.Response], httpx.Response] | None = None

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        body = json.loads(request.read())
        calls = body if isinstance(body, list) else [body]
        methods = [call["method"] for call in calls]
        self.methods.update(methods)
        self.raw += [call["params"][0] for call in calls if call["method"] == "eth_sendRawTransaction"]
        if self.before is not None and (instead := self.before(methods)) is not None:
            return instead
        response = self._inner.handle_request(request)
        response.read()
        return response if self.after is None else self.after(methods, response)

    def close(self) -> None:
        self._inner.close()

    @property
    def sent(self) -> int:
        return self.methods["eth_sendRawTransaction"]


class Person:
    """A client whose every request, transaction and question is written down."""

    def __init__(
        self,
        net: Sandbox,
        client: IExec,
        *,
        confirm: Any = None,
        signer: Any = "same",
        timeout_s: float = 10.0,
        store: Path | None = None,
    ) -> None:
        self.web, self.node = Service(net), Node()
        self.asked: list[str] = []
        self.answer = True
        url = {name: f"http://{name}.sandbox.test" for name in WEB}
        assert client.network.rpc is not None
        self.client = IExec(
            net.chain_id,
            signer=client.signer if signer == "same" else signer,
            rpc=client.network.rpc,
            hub_address=client.hub_address,
            transport=self.web,
            confirm=self._ask if confirm is None else confirm,
            store=store or client.store.folder,
            timeout_s=timeout_s,
            market=url["market"],
            sms=url["sms"],
            ipfs_gateway=url["ipfs"],
            ipfs_node=url["ipfs"],
            compass=url["compass"],
            poco_subgraph=client.url("poco_subgraph"),
            dataprotector_address=client.dataprotector_address,
            dataprotector_subgraph=client.url("dataprotector_subgraph"),
        )
        self._rpc = Rpc(client.network.rpc, transport=self.node, timeout_s=timeout_s)
        assert client.hub_address is not None
        self.client.chain = Chain(self._rpc, client.hub_address, chain_id=net.chain_id)
        # The services' clients are made on first use: the chain has to be this one before.
        assert self.client.market.chain_id == net.chain_id
        self.node.methods.clear()

    def _ask(self, text: str) -> bool:
        self.asked.append(text)
        return self.answer

    def close(self) -> None:
        self._rpc.close()

    @property
    def touched(self) -> bool:
        """Whether anything was written anywhere: a transaction, a signature request, a POST."""
        return bool(self.node.sent or self.web.writes())


@contextmanager
def person(net: Sandbox, client: IExec | None = None, **options: Any) -> Iterator[Person]:
    one = Person(net, client if client is not None else net.client(rlc="10 RLC", deposit="5 RLC"), **options)
    try:
        yield one
    finally:
        one.close()


class NoSigner(PrivateKeySigner):
    """A wallet that must not be asked for a signature."""

    def _key(self) -> bytes:
        raise AssertionError("something was signed")


def wallet(client: IExec) -> Address:
    assert client.signer is not None
    return client.signer.address


def nonce(client: IExec) -> int:
    return int(client.chain.rpc.call("eth_getTransactionCount", wallet(client), "pending"), 16)


def state(net: Sandbox, client: IExec) -> tuple[Any, ...]:
    """What a refused verb must leave as it was: nonce, money, and how much the market lists."""
    metrics = net.user.market.metrics()
    listed = json.dumps(metrics.get("orders", metrics), sort_keys=True)
    return (nonce(client), client.chain.balances(wallet(client)), client.chain.account(wallet(client)), listed)


def hello() -> None:
    """An app that writes its arguments."""
    import json
    import os
    import sys

    args = tuple(sys.argv[1:])

    out = os.environ["IEXEC_OUT"]
    with open(os.path.join(out, "out.txt"), "w") as file:
        file.write(" ".join(args))
    with open(os.path.join(out, "computed.json"), "w") as file:
        json.dump({"deterministic-output-path": "/iexec_out/out.txt"}, file)
    print("hello", *args)


def crash() -> None:
    """An app that says something on both streams and fails."""
    import sys

    print("started with", sys.argv[1:])
    print("the sensor is on fire", file=sys.stderr)
    sys.exit(7)


def deploy_app(net: Sandbox, owner: IExec, run: Any = hello, price: object = None, **order: Any) -> Address:
    # As in a notebook: the function travels by itself, and the worker's process need not import these tests.
    cloudpickle.register_pickle_by_value(sys.modules[run.__module__])
    name = f"app-{time.time_ns()}"
    image = f"docker.io/tests/{name}:1"
    net.image(image, run)
    app = owner.app.deploy(name=name, multiaddr=image).address
    if price is not None:
        publish(owner, "app", app=app, appprice=price, **{"volume": 100, **order})
    return app


def deploy_dataset(
    net: Sandbox,
    owner: IExec,
    content: bytes = b"a,b\n1,2\n",
    *,
    secret: bool = True,
    price: object = None,
    **order: Any,
) -> Address:
    encrypted = owner.dataset.encrypt(content)
    multiaddr = owner.storage.add(encrypted)
    made = owner.dataset.deploy(name=f"data-{time.time_ns()}", multiaddr=multiaddr, checksum=encrypted.checksum)
    if secret:
        owner.dataset.push_secret(made.address)
    if price is not None:
        publish(owner, "dataset", dataset=made.address, datasetprice=price, **{"volume": 100, **order})
    return made.address


def publish(owner: IExec, kind: str, **fields: Any) -> str:
    return owner.order.publish(owner.order.sign(owner.order.create(kind, **fields)))


class Four:
    """Four orders of four owners that match, unsigned, and who may sign them; `signed` signs whatever was changed."""

    def __init__(self, net: Sandbox, *, requester: IExec | None = None) -> None:
        self.net = net
        self.seller = net.client()
        self.requester = requester if requester is not None else net.client(deposit="10 RLC")
        self.pool_owner = net.client(deposit="10 RLC")
        self.app = deploy_app(net, self.seller)
        self.dataset = deploy_dataset(net, self.seller)
        self.workerpool = self.pool_owner.workerpool.deploy(description=f"pool {time.time_ns()}").address
        self.apporder = AppOrder(app=self.app, appprice=3, volume=5)
        self.datasetorder = DatasetOrder(dataset=self.dataset, datasetprice=4, volume=6)
        self.workerpoolorder = WorkerpoolOrder(
            workerpool=self.workerpool, workerpoolprice=10, volume=7, category=0, trust=1
        )
        self.requestorder = RequestOrder(
            app=self.app, appmaxprice=3, dataset=self.dataset, datasetmaxprice=4, workerpoolmaxprice=10,
            requester=wallet(self.requester), volume=2, category=0, trust=1,
            params={"iexec_result_storage_provider": "ipfs"},
        )  # fmt: skip

    def signer_of(self, kind: str) -> IExec:
        return {"app": self.seller, "dataset": self.seller, "workerpool": self.pool_owner, "request": self.requester}[
            kind
        ]

    def sign(self, order: Order, by: IExec | None = None) -> Order:
        """Sign without any check, as a hostile or careless program would."""
        owner = by if by is not None else self.signer_of(order.kind)
        return owner.order._signed(order)

    def orders(self, **changes: dict[str, Any]) -> dict[str, Any]:
        """Return the four orders signed, with fields replaced: ``app={"appprice": 9}``."""
        plain = {
            "app": self.apporder, "dataset": self.datasetorder, "workerpool": self.workerpoolorder,
            "request": self.requestorder,
        }  # fmt: skip
        return {f"{kind}order": self.sign(replace(one, **changes.get(kind, {}))) for kind, one in plain.items()}


def json_answer(response: httpx.Response, body: Any) -> httpx.Response:
    return httpx.Response(response.status_code, json=body, request=response.request if response._request else None)


def in_threads(count: int, work: Callable[[int], Any]) -> list[Any]:
    """Run `work` in threads that start together; what one raises is its result."""
    barrier = threading.Barrier(count)
    results: list[Any] = [None] * count

    def run(index: int) -> None:
        barrier.wait()
        try:
            results[index] = work(index)
        except Exception as error:
            results[index] = error

    threads = [threading.Thread(target=run, args=(index,)) for index in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


NOBODY = "0x" + "12" * 20

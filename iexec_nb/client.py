"""One way in: a network, a signer and the services, with every noun as an attribute.

Everything remote is opened on first use, so that making a client costs nothing and works offline. The client that was
activated last (a started sandbox activates its own) is the one that ``%iexec`` and `active` use.
"""

from __future__ import annotations

import os
import secrets
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from iexec_nb.actions.account import AccountActions
from iexec_nb.actions.app import AppActions
from iexec_nb.actions.category import CategoryActions
from iexec_nb.actions.dataset import DatasetActions
from iexec_nb.actions.deal import DealActions
from iexec_nb.actions.hub import HubActions
from iexec_nb.actions.order import OrderActions
from iexec_nb.actions.orderbook import OrderbookActions
from iexec_nb.actions.project import ProjectActions
from iexec_nb.actions.protected_data import ProtectedDataActions
from iexec_nb.actions.registry import RegistryActions
from iexec_nb.actions.requester import RequesterActions
from iexec_nb.actions.result import ResultActions
from iexec_nb.actions.storage import StorageActions
from iexec_nb.actions.store import Store
from iexec_nb.actions.task import TaskActions
from iexec_nb.actions.wallet import WalletActions
from iexec_nb.actions.workerpool import WorkerpoolActions
from iexec_nb.errors import (
    ApiCallError,
    CompassCallError,
    ConfigurationError,
    IpfsGatewayCallError,
    MarketCallError,
    SmsCallError,
    SubgraphCallError,
    ValidationError,
    WorkerpoolCallError,
)
from iexec_nb.protocol import foreign
from iexec_nb.protocol.networks import DEFAULT, NETWORKS, Network, network
from iexec_nb.protocol.types import Address, Secret, address, shown, uint256
from iexec_nb.protocol.units import wei
from iexec_nb.services.lazy import lazy
from iexec_nb.services.wallet import PrivateKeySigner, ReadOnlySigner, Signer

if TYPE_CHECKING:
    import httpx
    from eth_account.signers.local import LocalAccount

    from iexec_nb.services.chain import Chain
    from iexec_nb.services.http import Http
    from iexec_nb.services.ipfs import Ipfs
    from iexec_nb.services.market import Market
    from iexec_nb.services.project import Project
    from iexec_nb.services.rpc import Rpc
    from iexec_nb.services.sms import Sms
    from iexec_nb.services.subgraph import Subgraph
    from iexec_nb.services.workerpool import Compass, WorkerpoolApi

Confirm = Callable[[str], bool]

_answered: ContextVar[tuple[object, ...]] = ContextVar("answered", default=())
"""Clients whose questions are answered with yes: for one command, and not for what other threads do meanwhile."""
_asking = threading.RLock()


class IExec:
    """iExec on one chain, for one wallet or none.

    Parameters
    ----------
    chain
        A chain's name or id, or a `Network`. Default: the environment's ``IEXEC_NB_CHAIN``, else
        ``arbitrum-sepolia-testnet``. With `rpc` and `hub_address` given, any chain id will do.
    signer
        A `Signer`, a private key as `Secret`, a ``LocalAccount`` of eth-account, or nothing: then the client reads and
        says so when something needs a signature.
    rpc
        URL of the node, or a ``web3.Web3`` object that is connected over HTTP.
    hub_address, sms, market, ipfs_gateway, ipfs_node, compass, poco_subgraph, dataprotector_subgraph,
    dataprotector_address
        Addresses that replace the network's own. `ipfs_gateway` may be several: each is asked where those before it
        fail, and none is trusted.
    confirms
        Blocks to wait for after a transaction, at least 1.
    gas_price
        Price of a unit of gas in wei, or text with a unit such as ``"0.1 gwei"``; then transactions have a fixed
        price (``gasPrice``) instead of the market's. Default: what the node proposes.
    keystoredir
        Folder of the wallets' keystore files: ``global`` (that of the operating system), ``local`` or a path.
    tee_framework
        Which secret service is meant, where a chain has one for each framework (SDK 8): ``scone``, ``gramine`` or
        ``tdx``.
    confirm
        Who is asked before something is signed that spends: a function that is shown the text and says yes or no.
        Default: ask the person at the keyboard, and refuse where there is none. ``False`` asks nobody.
    store
        Folder for keys of datasets and results (mode 700). Default: the user's data folder.
    timeout_s
        Seconds until a service or node that does not answer is given up.
    transport
        An ``httpx`` transport under all services except the node; the sandbox mounts itself here.

    Examples
    --------
    >>> client = IExec("arbitrum-mainnet")
    >>> client.network.chain_id
    42161
    """

    def __init__(
        self,
        chain: str | int | Network | None = None,
        *,
        signer: Signer | Secret | LocalAccount | None = None,
        rpc: Any = None,
        hub_address: str | None = None,
        sms: str | None = None,
        market: str | None = None,
        ipfs_gateway: str | Sequence[str] | None = None,
        ipfs_node: str | None = None,
        compass: str | None = None,
        poco_subgraph: str | None = None,
        dataprotector_address: str | None = None,
        dataprotector_subgraph: str | None = None,
        confirms: int = 1,
        gas_price: int | str | None = None,
        keystoredir: str | None = None,
        tee_framework: str | None = None,
        confirm: Confirm | bool | None = None,
        store: Path | str | None = None,
        timeout_s: float = 10.0,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        _check(confirms, confirm, timeout_s)
        self._made_with = {name: value for name, value in locals().items() if name != "self"}
        self.network = _network(chain, rpc, hub_address, tee_framework)
        self.signer = _signer(signer)
        gateways = _gateways(ipfs_gateway)
        given = {
            "rpc": _endpoint(rpc), "sms": sms, "market": market, "ipfs_gateway": gateways[0], "ipfs_node": ipfs_node,
            "compass": compass, "poco_subgraph": poco_subgraph, "dataprotector_subgraph": dataprotector_subgraph,
        }  # fmt: skip
        self._urls = {name: url or getattr(self.network, name) for name, url in given.items()}
        # Those that are asked where the first gateway fails.
        self._other_gateways = [url for url in gateways[1:] if url]
        self.hub_address: Address | None = (
            address(hub_address, "hub_address") if hub_address else self.network.hub_address
        )
        self.dataprotector_address: Address | None = (
            address(dataprotector_address, "dataprotector_address")
            if dataprotector_address
            else self.network.dataprotector_address
        )
        self.confirms = confirms
        self.gas_price = None if gas_price is None else wei(gas_price, "gas_price")
        self.keystoredir = keystoredir
        self.tee_framework = tee_framework
        # Retired chains follow the rules of their time, from before SDK 9 asked for the tags tee and tdx.
        self.require_tdx = not any(known.chain_id == self.network.chain_id and not known.live for known in NETWORKS)
        # Seconds between two looks at unfinished tasks, at most. A node on this machine costs nothing to ask.
        self.poll_s = 0.1 if _is_local(self._urls["rpc"]) else 2.0
        self.trusts_project = False
        self.timeout_s = timeout_s
        self.transport = transport
        self.store = Store(store)
        self._connections: list[Rpc | Http] = []
        self._schedulers: dict[str, WorkerpoolApi] = {}
        self._subgraphs: dict[str, Subgraph] = {}
        self.random_bytes: Callable[[int], bytes] = secrets.token_bytes
        self._confirm = confirm

        self.wallet = WalletActions(self)
        self.account = AccountActions(self)
        self.app = AppActions(self)
        self.dataset = DatasetActions(self)
        self.workerpool = WorkerpoolActions(self)
        self.category = CategoryActions(self)
        self.order = OrderActions(self)
        self.orderbook = OrderbookActions(self)
        self.hub = HubActions(self)
        self.deal = DealActions(self)
        self.task = TaskActions(self)
        self.result = ResultActions(self)
        self.requester = RequesterActions(self)
        self.storage = StorageActions(self)
        self.project = ProjectActions(self)
        self.registry = RegistryActions(self)
        self.protected_data = ProtectedDataActions(self)

    @lazy
    def chain(self) -> Chain:
        """The node and the contracts (`services.chain`), seen to be of the chain that is meant.

        Raises
        ------
        ConfigurationError
            When the node is of another chain, or there is no iExec hub at the address.
        """
        from iexec_nb.services.chain import Chain
        from iexec_nb.services.rpc import Rpc

        if self.hub_address is None:
            raise self._unset("hub_address")
        rpc = Rpc(self._url("rpc"), timeout_s=self.timeout_s)
        chain = Chain(
            rpc, self.hub_address, confirms=self.confirms, chain_id=self.network.chain_id, gas_price=self.gas_price
        )
        try:
            # Two chains may have a hub at one address: what a node of the other chain says would be believed.
            _ = chain.hub
        except BaseException:
            rpc.close()
            raise
        self._connections.append(rpc)
        return chain

    @lazy
    def market(self) -> Market:
        """The market API (`services.market`)."""
        from iexec_nb.services.market import Market

        return Market(self._http("market", "Market API", MarketCallError), self.chain.chain_id)

    @lazy
    def sms(self) -> Sms:
        """The secret management service (`services.sms`)."""
        from iexec_nb.services.sms import Sms

        return Sms(self._http("sms", "SMS", SmsCallError))

    @lazy
    def ipfs(self) -> Ipfs:
        """The IPFS gateways and, where there is one, the upload node (`services.ipfs`)."""
        from iexec_nb.services.ipfs import Ipfs

        urls = (self._url("ipfs_gateway"), *self._other_gateways)
        gateways = [self._open(url, "IPFS gateway", IpfsGatewayCallError) for url in urls]
        node = self._http("ipfs_node", "IPFS node", IpfsGatewayCallError) if self._urls["ipfs_node"] else None
        return Ipfs(gateways, node)

    @lazy
    def compass(self) -> Compass | None:
        """The registry of workerpool API addresses, or None where the network has none."""
        from iexec_nb.services.workerpool import Compass

        if not self._urls["compass"]:
            return None
        return Compass(self._http("compass", "Compass API", CompassCallError), self.chain.chain_id)

    def subgraph(self, name: str) -> Subgraph:
        """Return an index of the chain (`services.subgraph`): ``poco_subgraph`` or ``dataprotector_subgraph``."""
        from iexec_nb.services.subgraph import Subgraph

        if name not in self._subgraphs:
            self._subgraphs[name] = Subgraph(self._http(name, "Subgraph", SubgraphCallError))
        return self._subgraphs[name]

    @property
    def files(self) -> Project:
        """The project files of the current working directory, as the iExec CLI writes them (`services.project`)."""
        from iexec_nb.services.project import Project

        return Project()

    def workerpool_api(self, url: str) -> WorkerpoolApi:
        """Return the scheduler API of a workerpool at this URL (from `compass`)."""
        from iexec_nb.services.workerpool import WorkerpoolApi

        # One for each address: every wait asks for it, and each would keep a connection.
        if url not in self._schedulers:
            self._schedulers[url] = WorkerpoolApi(self._open(url, "Workerpool API", WorkerpoolCallError))
        return self._schedulers[url]

    @property
    def web3(self) -> Any:
        """A ``web3.Web3`` connected to the same node, for whatever lies beyond iExec."""
        with foreign.same_recursion_limit():
            from web3 import HTTPProvider, Web3

        return Web3(HTTPProvider(self._url("rpc")))

    @property
    def is_mainnet(self) -> bool:
        """Whether RLC on this chain is real money."""
        return self.network.chain_id in (1, 134, 42161)

    def require_signer(self, purpose: str = "sign") -> Signer:
        """Return the signer.

        Raises
        ------
        ConfigurationError
            When the client has none: it reads only.
        Web3ProviderSignMessageError
            When it is an address without a key, and more than the address is needed.
        """
        if isinstance(self.signer, ReadOnlySigner) and not purpose.startswith("know"):
            raise self.signer.refusal(purpose)
        if self.signer is None:
            raise ConfigurationError(
                "The current provider is not a signer, impossible to sign messages or transactions",
                context={"needed to": purpose},
                hint="make a wallet: %iexec wallet create; or a client that has one: IExec(signer=...), in the sandbox "
                "net.client(rlc='10 RLC')",
            )
        return self.signer

    def approve(self, text: str | Callable[[], str], *, replaces: bool = False) -> None:
        """Show what is about to be signed or replaced and ask; return when the answer is yes.

        Parameters
        ----------
        text
            What the person reads, or what gives it where somebody is asked; the chain is added.
        replaces
            Whether it is about files of the person. A client that spends without asking (``confirm=False``, as in the
            sandbox) asks about these all the same: they are as real as ever.

        Raises
        ------
        ConfigurationError
            When the answer is no, or when nobody can be asked.
        """
        if any(one is self for one in _answered.get()) or (self._confirm is False and not replaces):
            return
        ask = self._confirm if callable(self._confirm) else _ask
        text = text() if callable(text) else text
        # Names of files and chains are somebody else's text: none moves the cursor, and a line is a line.
        lines = [shown(line, len(line)) for line in text.split("\n")]
        chosen = self.network.chosen_by_file
        origin = f", from chain.json: {', '.join(chosen)}" if chosen else ""
        lines.append(f"  chain: {shown(self.network.name)} ({self.network.chain_id}){origin}")
        # One at a time: a yes must not be taken for the question of another thread.
        with _asking:
            if not ask("\n".join(lines)):
                raise ConfigurationError("Operation aborted by user.")

    def approve_secret(self, what: str) -> None:
        """Ask before a secret goes to a secret service that a file in the working folder chose.

        In a shell, whoever runs a command in a folder means that folder; a notebook that came with one may not.

        Raises
        ------
        ConfigurationError
            As `approve`.
        """
        if not self.trusts_project and "sms" in self.network.chosen_by_file:
            self.approve(f"give {what} to the secret service at {shown(self.url('sms'))}")

    @contextmanager
    def without_asking(self) -> Iterator[None]:
        """Take every question as answered with yes, for one command (``--yes``) in this thread and no other."""
        token = _answered.set((*_answered.get(), self))
        try:
            yield
        finally:
            _answered.reset(token)

    def with_options(
        self,
        *,
        chain: str | None = None,
        wallet_address: str | None = None,
        wallet_file: str | None = None,
        keystoredir: str | None = None,
        password: Secret | None = None,
        gas_price: int | str | None = None,
        confirms: int | str | None = None,
        tee_framework: str | None = None,
    ) -> IExec:
        """Return a client like this one with some things changed: what the options of a command line say.

        Parameters
        ----------
        chain
            Another chain; then the services are that chain's own, and it asks before it spends (``confirm=False`` was
            said about the chain of this client).
        wallet_address, wallet_file, keystoredir, password
            Another wallet, found as the CLI finds it.
        gas_price, confirms, tee_framework
            As for a new client.

        Raises
        ------
        ConfigurationError
            When there is no such chain or wallet.
        """
        given: dict[str, Any] = dict(self._made_with)
        given |= {"chain": self.network, "signer": self.signer, "confirm": self._confirm}
        if chain is not None and chain not in (self.network.name, str(self.network.chain_id)):
            keep = ("signer", "confirms", "gas_price", "keystoredir", "confirm", "store", "timeout_s")
            given = {name: given[name] for name in keep} | {"chain": chain}
            given["confirm"] = None if self._confirm is False else self._confirm
            if self.transport is not None:
                # A sandbox's store ends with the sandbox, and with it the keys of what is real elsewhere.
                del given["store"]
        elif tee_framework is not None and (found := _of_project(self.network.name, tee_framework)):
            given["chain"] = found if found.chain_id == self.network.chain_id else self.network
        changed = {"gas_price": gas_price, "keystoredir": keystoredir, "tee_framework": tee_framework}
        given |= {name: value for name, value in changed.items() if value is not None}
        if confirms is not None:
            given["confirms"] = uint256(confirms, "confirms")
        if any(one is not None for one in (wallet_address, wallet_file, keystoredir, password)):
            from iexec_nb.services.wallet import find_wallet

            given["signer"] = find_wallet(
                wallet_file=wallet_file, wallet_address=wallet_address, keystoredir=given["keystoredir"],
                password=password,
            )  # fmt: skip
        return IExec(**given)

    def activate(self) -> IExec:
        """Make this the client that ``%iexec`` and `active` use; return it."""
        global _active
        _active = self
        return self

    def close(self) -> None:
        """Close the connections to the node and the services; they are opened again when they are needed."""
        # Those that it opened itself: clients of one sandbox share its connection to the node.
        for connection in self._connections:
            connection.close()

    def __repr__(self) -> str:
        if "signer" not in vars(self):
            # Tracebacks show objects whose making failed, too.
            return "IExec(not made)"
        who = self.signer.address if self.signer else "read-only"
        return f"IExec({shown(self.network.name)}, {who})"

    def _http(self, name: str, service: str, error: type[ApiCallError]) -> Http:
        return self._open(self._url(name), service, error)

    def _open(self, url: str, service: str, error: type[ApiCallError]) -> Http:
        from iexec_nb.services.http import Http

        http = Http(url, service=service, error=error, transport=self.transport, timeout_s=self.timeout_s)
        self._connections.append(http)
        return http

    def url(self, name: str) -> str | None:
        """Return the address that is used of a service (``rpc sms market ipfs_gateway ...``), if there is one."""
        return self._urls[name]

    def _url(self, name: str) -> str:
        if url := self._urls[name]:
            return url
        raise self._unset(name)

    def _unset(self, name: str) -> ConfigurationError:
        return ConfigurationError(
            f"{name} option not set and no default value for your chain {self.network.chain_id}",
            hint=f"IExec({self.network.chain_id}, {name}='...')",
        )


_active: IExec | None = None


def active() -> IExec:
    """Return the client that was activated last, or a read-only one of the default chain."""
    return _active if _active is not None else IExec().activate()


def set_active(client: IExec | None) -> IExec | None:
    """Make `client` the active one (None: the default again) and return the one that was active before."""
    global _active
    before, _active = _active, client
    return before


def _check(confirms: object, confirm: object, timeout_s: object) -> None:
    if type(confirms) is not int or confirms < 1:
        raise ConfigurationError(f"invalid confirms: {confirms!r}", hint="give confirms as a whole number from 1")
    if not (confirm is None or isinstance(confirm, bool) or callable(confirm)):
        raise ConfigurationError(
            f"invalid confirm: {shown(confirm)}", hint="give confirm as a function that is shown a text, or as False"
        )
    if type(timeout_s) not in (int, float) or not timeout_s > 0:  # type: ignore[operator]
        raise ConfigurationError(f"invalid timeout_s: {shown(timeout_s)}", hint="give timeout_s in seconds, such as 10")


def _signer(given: Signer | Secret | LocalAccount | None) -> Signer | None:
    if isinstance(given, Secret):
        return PrivateKeySigner(given)
    if given is None or isinstance(given, Signer):
        return given
    if type(given).__module__.startswith("eth_account."):
        # A LocalAccount signs in its own way; its key signs in ours, which asks before and sends once.
        return PrivateKeySigner(Secret(bytes(given.key)))
    # It may be a key as plain text, so it is not repeated.
    raise ConfigurationError(
        f"a {type(given).__name__} is not a signer",
        hint="signer=Secret(private_key), or signer=KeystoreSigner(path)",
    )


def _network(
    chain: str | int | Network | None, rpc: Any, hub_address: str | None, tee_framework: str | None
) -> Network:
    if isinstance(chain, Network):
        return chain
    # Whoever gives node and contracts means those, whatever a file in the folder says.
    if (rpc is None or hub_address is None) and (found := _of_project(chain, tee_framework)):
        return found
    wanted = chain if chain is not None else os.environ.get("IEXEC_NB_CHAIN", DEFAULT)
    try:
        return network(wanted)
    except (ConfigurationError, LookupError, ValidationError):
        if rpc is None or hub_address is None or not str(wanted).isdigit():
            if Path("chain.json").is_file():
                # It says which chains its file has.
                _project_network(chain, tee_framework)
            raise
        return Network(chain_id=int(wanted), name=f"chain {wanted}")


def _of_project(chain: str | int | None, tee_framework: str | None) -> Network | None:
    """Return the chain as the ``chain.json`` of the working folder has it, where there is such a file that knows it."""
    # Most people have no project, and the module that reads one is not needed then.
    if not Path("chain.json").is_file():
        return None
    from iexec_nb.services.project import Project

    if chain is None or Project().has_chain(chain):
        return _project_network(chain, tee_framework)
    return None


def _project_network(chain: str | int | None, tee_framework: str | None) -> Network:
    from iexec_nb.services.project import Project

    return Project().network(chain, tee_framework=tee_framework, needs_host=False)


def _endpoint(rpc: Any) -> str | None:
    if rpc is None or isinstance(rpc, str):
        return rpc
    url = getattr(getattr(rpc, "provider", rpc), "endpoint_uri", None)
    if url is None:
        raise ConfigurationError(
            f"Unsupported provider: {type(rpc).__name__}",
            hint="give rpc as a URL, or as a Web3 object with an HTTPProvider",
        )
    return str(url)


def _gateways(given: object) -> tuple[str | None, ...]:
    """Return the addresses of the gateways in their order; one None where none were given."""
    if given is None or isinstance(given, str):
        return (given,)
    if isinstance(given, Sequence) and given and all(isinstance(one, str) and one for one in given):
        return tuple(given)
    raise ConfigurationError(
        f"invalid ipfs_gateway: {shown(given)}", hint='ipfs_gateway="https://a", or ["https://a", "https://b"]'
    )


def _is_local(url: str | None) -> bool:
    with suppress(ValueError):
        return urlsplit(url or "").hostname in ("127.0.0.1", "localhost", "::1")
    return False


def _ask(text: str) -> bool:
    try:
        answer = input(f"{text}\nGo on? [y/N] ")
    except (EOFError, OSError, RuntimeError, NotImplementedError) as error:
        raise ConfigurationError(
            "this needs a yes, and there is nobody to ask",
            context={"what": text},
            hint="answer on the line with --yes; in Python make the client with confirm=False, or with a function; "
            "a file is replaced with force=True",
        ) from error
    return answer.strip().lower() in ("y", "yes")

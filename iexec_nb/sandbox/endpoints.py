"""Where a served sandbox is, in the forms in which other programs want to be told.

The keys are those of the iExec CLI's ``chain.json`` and of the JavaScript SDK's options (version 9), so that both can
be pointed at the sandbox without a translation by hand.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from iexec_nb.errors import ValidationError
from iexec_nb.protocol.types import Address

NAME = "sandbox"
"""What the sandbox is called in ``chain.json``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoints:
    """The addresses of a served sandbox: URLs of its services, and its contracts.

    Parameters
    ----------
    chain_id
        The chain id.
    rpc, sms, market, ipfs_gateway, ipfs_node, compass, workerpool_api, poco_subgraph, dataprotector_subgraph
        URLs on loopback ports.
    hub_address, token, appregistry, datasetregistry, workerpoolregistry, dataprotector_address
        Contract addresses.
    """

    chain_id: int
    rpc: str
    sms: str
    market: str
    ipfs_gateway: str
    ipfs_node: str
    compass: str
    workerpool_api: str
    poco_subgraph: str
    dataprotector_subgraph: str
    hub_address: Address
    token: Address
    appregistry: Address
    datasetregistry: Address
    workerpoolregistry: Address
    dataprotector_address: Address

    def chain_json(self) -> dict[str, Any]:
        """Return a ``chain.json`` for the iExec CLI 9, with the sandbox as its default chain.

        It has no upload node: the CLI 9 refuses a file with that key.
        """
        chain = {
            "id": str(self.chain_id),
            "host": self.rpc,
            "hub": self.hub_address,
            "sms": self.sms,
            "ipfsGateway": self.ipfs_gateway,
            "iexecGateway": self.market,
            "compass": self.compass,
            "pocoSubgraph": self.poco_subgraph,
        }
        return {"default": NAME, "chains": {NAME: chain}}

    def js_options(self) -> dict[str, str]:
        """Return the second argument of the JavaScript SDK's ``new IExec({ethProvider}, options)``."""
        return {
            "hubAddress": self.hub_address,
            "smsURL": self.sms,
            "iexecGatewayURL": self.market,
            "ipfsGatewayURL": self.ipfs_gateway,
            "ipfsNodeURL": self.ipfs_node,
            "compassURL": self.compass,
            "pocoSubgraphURL": self.poco_subgraph,
        }

    def dataprotector_options(self) -> dict[str, Any]:
        """Return the second argument of ``new IExecDataProtector(ethProvider, options)`` of ``@iexec/dataprotector`` 2.

        It knows a workerpool to process with for the chains of iExec only, and refuses all others: start the sandbox
        with ``Sandbox(chain_id=421614)``, and name one of its workerpools in every call.
        """
        return {
            "dataprotectorContractAddress": self.dataprotector_address,
            "subgraphUrl": self.dataprotector_subgraph,
            "ipfsNode": self.ipfs_node,
            "ipfsGateway": self.ipfs_gateway,
            "iexecOptions": self.js_options(),
        }

    def options(self) -> dict[str, Any]:
        """Return the keyword arguments of `IExec` with which another kernel on this machine joins the sandbox."""
        names = (
            "rpc", "hub_address", "sms", "market", "ipfs_gateway", "ipfs_node", "compass", "poco_subgraph",
            "dataprotector_address", "dataprotector_subgraph",
        )  # fmt: skip
        return {"chain": self.chain_id, **{name: getattr(self, name) for name in names}}

    def write(self, folder: Path | str, *, overwrite: bool = False) -> Path:
        """Write ``chain.json`` into a project folder and return its path.

        Parameters
        ----------
        folder
            An existing folder.
        overwrite
            Whether a file that is there may be replaced.

        Raises
        ------
        ValidationError
            When there is one already, or there is no such folder.
        """
        path = Path(folder) / "chain.json"
        try:
            with path.open("w" if overwrite else "x", encoding="utf-8") as file:
                json.dump(self.chain_json(), file, indent=2)
        except FileExistsError as error:
            raise ValidationError(
                f"{path} exists", hint="write(folder, overwrite=True) replaces it; or choose another folder"
            ) from error
        except OSError as error:
            raise ValidationError(
                f"{path} cannot be written: {error.strerror}", hint="give an existing folder"
            ) from error
        return path

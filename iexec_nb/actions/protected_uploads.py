"""Where encrypted data is put, and where it is had from: IPFS, or Arweave for what is small."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Protocol
from urllib.parse import unquote, urlsplit

from iexec_nb.errors import ApiCallError, ConfigurationError, ValidationError
from iexec_nb.protocol.encryption import Encrypted
from iexec_nb.protocol.file_layout import Hasher
from iexec_nb.protocol.types import shown

if TYPE_CHECKING:
    from iexec_nb.client import IExec
    from iexec_nb.services.http import Http

IPFS, ARWEAVE = "ipfs", "arweave"
_CHUNK = 1 << 20


class Uploads(Protocol):
    """A place for encrypted files."""

    place: str

    def expected(self, made: Encrypted) -> str:
        """Return where a file will be, or something of the same length: it decides about the fee."""
        ...

    def add(self, path: Path) -> str:
        """Upload a file and return where it is."""
        ...


def uploads_of(client: IExec, mode: object) -> Uploads:
    """Return where files are uploaded to.

    Parameters
    ----------
    client
        Whose services.
    mode
        ``ipfs`` or ``arweave``.

    Raises
    ------
    ValidationError
        For anything else.
    ConfigurationError
        When the chain has no such service.
    """
    if mode == IPFS:
        if not client.url("ipfs_node"):
            raise ConfigurationError("no IPFS node to upload to is set", hint='give ipfs_node="https://..."')
        return _OnIpfs(client)
    if mode != ARWEAVE:
        raise ValidationError(
            f"uploadMode must be one of the following values: ipfs, arweave, not {shown(mode)}",
            hint=f'upload_mode="{IPFS}"',
        )
    network = client.network
    if network.arweave_upload is None or network.arweave_gateway is None:
        raise ConfigurationError(f"Arweave is not available on chain {network.chain_id}", hint=f'upload_mode="{IPFS}"')
    return _OnArweave(client, network.arweave_upload, network.arweave_gateway)


class _OnIpfs:
    place = "IPFS"

    def __init__(self, client: IExec) -> None:
        self._client = client

    def expected(self, made: Encrypted) -> str:
        hasher = Hasher(0)
        with made.path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                hasher.update(chunk)
        return f"/p2p/{hasher.cid(0)}"

    def add(self, path: Path) -> str:
        return f"/p2p/{self._client.ipfs.add(path)}"


class _OnArweave:
    place = "Arweave"

    def __init__(self, client: IExec, upload: str, gateway: str) -> None:
        self._client = client
        self._upload = upload
        self._gateway = gateway

    def expected(self, made: Encrypted) -> str:
        from iexec_nb.services import arweave

        arweave.check_size(made.size)
        return f"{self._gateway}/{'x' * arweave.ID_BYTES}"

    def add(self, path: Path) -> str:
        from iexec_nb.services.arweave import Arweave

        with closing(_http(self._client, self._upload)) as upload, closing(_http(self._client, self._gateway)) as reads:
            return f"{self._gateway}/{Arweave(upload, reads).add(path)}"


def fetch(client: IExec, location: str, target: Path, *, max_bytes: int) -> None:
    """Download what a dataset's multiaddr names; whoever asked compares it with the checksum on the chain.

    Raises
    ------
    ApiCallError
        When it cannot be had.
    ValidationError
        When the location is neither on IPFS nor an https address.
    """
    if not location.startswith("https://"):
        client.ipfs.download(location, target, max_bytes=max_bytes)
        return
    from iexec_nb.services import arweave

    try:
        parts = urlsplit(location)
    except ValueError as error:
        raise ValidationError(
            f"{shown(location)} is not an address", hint="the owner has to protect the data again"
        ) from error
    with closing(_http(client, f"https://{parts.netloc}")) as http, target.open("wb") as file:
        arweave.download(http, unquote(parts.path) or "/", file, max_bytes=max_bytes)


def _http(client: IExec, url: str) -> Http:
    from iexec_nb.services.http import Http

    return Http(url, service="Arweave", error=ApiCallError, transport=client.transport, timeout_s=client.timeout_s)

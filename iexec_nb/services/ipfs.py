"""Files on IPFS: upload through a node, download through a gateway, with every byte checked against the CID.

A gateway is a stranger that could send anything, so nothing that it sends is kept before its hash is right: a download
goes into a temporary file that takes its name at the end, or disappears. A node that reports another CID than the bytes
have is refused as well.
"""

from __future__ import annotations

import contextlib
import io
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from iexec_nb.errors import ConfigurationError, IpfsGatewayCallError, ValidationError
from iexec_nb.protocol import foreign
from iexec_nb.protocol.cid import Cid, CidVerifier
from iexec_nb.protocol.types import shown
from iexec_nb.services.http import Http, status_text

_UPLOAD_TIMEOUT_S = 60.0
_CHUNK = 2**20


class Ipfs:
    """A gateway to read from and, where there is one, a node to upload to.

    Parameters
    ----------
    gateway
        Serves ``/ipfs/<cid>``; its error is :class:`~iexec_nb.errors.IpfsGatewayCallError`.
    node
        The RPC API of a Kubo node (``/api/v0`` unless its address has a path); the same error.
    """

    def __init__(self, gateway: Http, node: Http | None = None) -> None:
        self.gateway = gateway
        self.node = node

    def add(self, data: bytes | Path, name: str | None = None) -> str:
        """Upload a file, see that the gateway serves it, and return its CID.

        Parameters
        ----------
        data
            The bytes, or a file that is read as it is sent.
        name
            What the upload calls it; it changes nothing about the CID and is public. None sends ``file``.

        Raises
        ------
        ConfigurationError
            There is no node.
        ValidationError
            `data` is a path that is not a file.
        IpfsGatewayCallError
            The node refused or reported a CID that is not that of the bytes, or the gateway does not serve them.

        Notes
        -----
        ``POST /api/v0/add`` of the node with the multipart field ``file``, then ``HEAD /ipfs/<cid>`` of the gateway.
        """
        if self.node is None:
            raise ConfigurationError("no IPFS node to upload to is set", hint='give ipfs_node="https://..."')
        api = self.node.base_path.rstrip("/") or "/api/v0"
        with _opened(data) as file:
            response = self.node.request(
                "POST",
                f"{api}/add",
                params=(("stream-channels", True), ("progress", False)),
                files={"file": (name or "file", file, "application/octet-stream")},
                timeout_s=max(self.node.timeout_s, _UPLOAD_TIMEOUT_S),
            )
        if not response.is_success:
            code = response.status_code
            self.node.fail(f"Failed to upload to {self.node.origin}: API error: {status_text(code)}", code)
        cid = _last_hash(response.content)
        if cid is None:
            self.node.fail("The IPFS node did not report a CID", response.status_code)
        self._check_report(self.node, cid, data)
        self._check_served(cid)
        return cid

    def get(self, location: str, *, max_bytes: int) -> bytes:
        """Return the content of a file, which is what its CID names.

        Parameters
        ----------
        location
            A CID of version 0 or 1, alone or as ``/ipfs/<cid>`` or ``/p2p/<cid>``.
        max_bytes
            More is refused.

        Raises
        ------
        ValidationError
            `location` is not the CID of a file.
        IpfsGatewayCallError
            The gateway failed, sent too much, or sent other bytes than the CID names.
        """
        body = io.BytesIO()
        self._fetch(location, body, max_bytes)
        return body.getvalue()

    def download(self, location: str, target: Path, *, max_bytes: int) -> Path:
        """Write the content of a file to `target`, which appears when all of it is there and right, and return it.

        Parameters
        ----------
        location
            As for :meth:`get`.
        target
            A file in a folder that exists; replaced where it exists, untouched after an error. Its mode is 600.
        max_bytes
            More is refused.

        Raises
        ------
        ValidationError
            `location` is not the CID of a file, or the folder does not exist.
        IpfsGatewayCallError
            The gateway failed, sent too much, or sent other bytes than the CID names.
        """
        target = Path(target)
        if not target.parent.is_dir():
            raise ValidationError(f"the folder {target.parent} does not exist", hint="create it first")
        with _appearing(target) as file:
            self._fetch(location, file, max_bytes)
        return target

    def check(self, location: str) -> bool:
        """Return whether the gateway serves a file (``HEAD /ipfs/<cid>``).

        Raises
        ------
        ValidationError
            `location` is not a CID.
        IpfsGatewayCallError
            The gateway does not know: it failed, or did not answer.
        """
        response = self.gateway.request("HEAD", f"/ipfs/{Cid.parse(location)}")
        code = response.status_code
        if not response.is_success and code not in (404, 410):
            self.gateway.fail(f"{self.gateway.origin} answered: {status_text(code)}", code)
        return response.is_success

    def _fetch(self, location: str, file: BinaryIO, max_bytes: int) -> None:
        verifier = CidVerifier(location)
        cid = str(verifier.cid)
        self.gateway.stream_to(f"/ipfs/{cid}", file, max_bytes, verifier.update)
        try:
            verifier.finish()
        except ValidationError as error:
            self.gateway.fail(
                f"{self.gateway.origin} sent other bytes than {cid} names; nothing was kept",
                cause=error,
                hint=error.hint,
                received=error.context.get("received"),
            )

    def _check_report(self, node: Http, cid: str, data: bytes | Path) -> None:
        try:
            verifier = CidVerifier(cid)
            with _opened(data) as file:
                while chunk := file.read(_CHUNK):
                    verifier.update(chunk)
            verifier.finish()
        except ValidationError as error:
            node.fail(f"The IPFS node reports {shown(cid)}, which is not the CID of the bytes sent", cause=error)

    def _check_served(self, cid: str) -> None:
        hint = "the file is on the node; the gateway may need a moment: check it again in a minute"
        try:
            served = self.check(cid)
        except IpfsGatewayCallError as error:
            error.context["uploaded"] = cid
            error.hint = hint
            raise
        if not served:
            self.gateway.fail(f"Failed to load uploaded file at {self.gateway.origin}", 404, hint=hint, uploaded=cid)


@contextlib.contextmanager
def _opened(data: bytes | Path) -> Iterator[BinaryIO]:
    if isinstance(data, bytes):
        yield io.BytesIO(data)
        return
    if not isinstance(data, Path) or not data.is_file():
        raise ValidationError(f"{shown(str(data))} is not a file", hint="give bytes, or a pathlib.Path of one file")
    with data.open("rb") as file:
        yield file


@contextlib.contextmanager
def _appearing(target: Path) -> Iterator[BinaryIO]:
    """Give a private temporary file beside `target` that takes its name on success and disappears on failure."""
    handle, name = tempfile.mkstemp(prefix=".iexec-", suffix=".part", dir=target.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
        os.replace(name, target)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise


def _last_hash(body: bytes) -> str | None:
    """Return the hash in the last line of a node's answer, which is the file itself."""
    last = body.strip().rpartition(b"\n")[2]
    try:
        entry = foreign.loads(last)
    except (ValueError, RecursionError):
        return None
    value = entry.get("Hash") if isinstance(entry, dict) else None
    return value if isinstance(value, str) else None

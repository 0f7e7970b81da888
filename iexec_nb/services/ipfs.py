"""Files on IPFS: upload through a node, download through gateways, with every byte checked against the CID.

A gateway is a stranger that could send anything, so nothing that it sends is kept under the name that was asked for
before its hash is right. Gateways are asked in order, and each goes on where the one before it failed. A node that
reports another CID than the bytes have is refused as well.
"""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from iexec_nb.errors import ConfigurationError, IExecError, IpfsGatewayCallError, UnsafeArchiveError, ValidationError
from iexec_nb.protocol import foreign
from iexec_nb.protocol.cid import Cid, Location
from iexec_nb.protocol.file_layout import names_file
from iexec_nb.protocol.types import shown
from iexec_nb.services import transfers
from iexec_nb.services.http import Http, status_text
from iexec_nb.services.ipfs_download import Download
from iexec_nb.services.ipfs_parts import Disk, Memory
from iexec_nb.services.transfers import Progress

MAX_FILES = 10_000
"""Files and folders in one folder that is downloaded, unless more are allowed."""

_UPLOAD_TIMEOUT_S = 60.0
_CHUNK = 2**20


class Ipfs:
    """Gateways to read from and, where there is one, a node to upload to.

    Parameters
    ----------
    gateway
        Serves ``/ipfs/<cid>``; its error is :class:`~iexec_nb.errors.IpfsGatewayCallError`. Several are asked in order.
    node
        The RPC API of a Kubo node (``/api/v0`` unless its address has a path); the same error.
    """

    def __init__(self, gateway: Http | Sequence[Http], node: Http | None = None) -> None:
        self.gateways = (gateway,) if isinstance(gateway, Http) else tuple(gateway)
        self.node = node

    @property
    def gateway(self) -> Http:
        """The gateway that is asked first."""
        return self.gateways[0]

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
            A CID of version 0 or 1, alone or as ``/ipfs/<cid>``, ``/ipfs/<cid>/folder/file`` or ``/p2p/<cid>``.
        max_bytes
            More is refused.

        Raises
        ------
        ValidationError
            `location` is not a CID, or names no file.
        IpfsGatewayCallError
            No gateway sent the bytes that the CID names, or they are more than allowed.
        UnsafeArchiveError
            The content is made to do harm.

        Notes
        -----
        ``GET /ipfs/<cid>`` with ``?format=car`` and ``?format=raw`` (IPFS Trustless Gateway), else as it is served.
        """
        place = Memory()
        self._download(Location.parse(location), place, max_bytes, MAX_FILES, None)
        return place.content

    def download(
        self,
        location: str,
        target: Path,
        *,
        max_bytes: int,
        max_files: int = MAX_FILES,
        on_progress: Progress | None = None,
    ) -> Path:
        """Write a file or folder to `target`, which appears when all of it is there and right, and return it.

        After an interruption the same call goes on from what has arrived: that is beside `target`, in a file or folder
        whose name ends with ``.part``.

        Parameters
        ----------
        location
            As for :meth:`get`; also of a folder.
        target
            A name in a folder that exists. A file is replaced where it exists and untouched after an error; a folder
            may only replace an empty one. The mode of files is 600, that of folders 700.
        max_bytes
            More is refused; of a folder all its files count.
        max_files
            How many files and folders a folder may hold.
        on_progress
            Is told the bytes that have arrived and the bytes in all, which are None where that is not known. Without it
            a notebook, and the shell command on a terminal, show a bar after two seconds.

        Raises
        ------
        ValidationError
            `location` is not a CID or names nothing that can be read, or `target` cannot be written.
        IpfsGatewayCallError
            No gateway sent the bytes that the CID names, or they are more than allowed.
        UnsafeArchiveError
            The content is made to do harm, or holds more than allowed; nothing of it was kept.

        Notes
        -----
        As :meth:`get`.
        """
        place_of = Location.parse(location)
        try:
            place = Disk(Path(target), place_of)
        except TypeError as error:
            raise ValidationError(f"{shown(target)} is not a path", hint="give text or a pathlib.Path") from error
        with contextlib.ExitStack() as stack:
            if on_progress is None and transfers.on_download is not None:
                on_progress = stack.enter_context(transfers.on_download(f"Download of {place.target.name}"))
            try:
                self._download(place_of, place, max_bytes, max_files, on_progress)
                return place.finish()
            except (UnsafeArchiveError, ValidationError):
                place.drop()
                raise
            except OSError as error:
                place.leave()
                if isinstance(error, IExecError):
                    raise
                raise ValidationError(
                    f"{place.target} cannot be written: {error.strerror or type(error).__name__}",
                    hint="make room, or choose another place; run again, it goes on from what has arrived",
                ) from error
            except BaseException:
                place.leave()
                raise

    def check(self, location: str) -> bool:
        """Return whether a gateway serves a file or folder (``HEAD /ipfs/<cid>``).

        Raises
        ------
        ValidationError
            `location` is not a CID.
        IpfsGatewayCallError
            No gateway has it, and not all of them know: one failed, or did not answer.
        """
        path = f"/ipfs/{Location.parse(location)}"
        unknown: IpfsGatewayCallError | None = None
        for gateway in self.gateways:
            try:
                if _serves(gateway, path):
                    return True
            except IpfsGatewayCallError as error:
                unknown = unknown or error
        if unknown is not None:
            raise unknown
        return False

    def _download(
        self, location: Location, place: Memory | Disk, max_bytes: int, max_files: int, on_progress: Progress | None
    ) -> None:
        for name, value in (("max_bytes", max_bytes), ("max_files", max_files)):
            if type(value) is not int or value < 0:
                raise ValidationError(f"{shown(value)} is not a valid {name}", hint=f"give {name} as a whole number")
        Download(
            self.gateways, location, place, max_bytes=max_bytes, max_files=max_files, on_progress=on_progress
        ).run()

    def _check_report(self, node: Http, cid: str, data: bytes | Path) -> None:
        cause = None
        try:
            with _opened(data) as file:
                if names_file(Cid.parse(cid), lambda: _pieces(file)):
                    return
        except ValidationError as error:
            cause = error
        node.fail(f"The IPFS node reports {shown(cid)}, which is not the CID of the bytes sent", cause=cause)

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


def _serves(gateway: Http, path: str) -> bool:
    response = gateway.request("HEAD", path)
    code = response.status_code
    if not response.is_success and code not in (404, 410):
        gateway.fail(f"{gateway.origin} answered: {status_text(code)}", code)
    return response.is_success


@contextlib.contextmanager
def _opened(data: bytes | Path) -> Iterator[BinaryIO]:
    if isinstance(data, bytes):
        yield io.BytesIO(data)
        return
    if not isinstance(data, Path) or not data.is_file():
        raise ValidationError(f"{shown(str(data))} is not a file", hint="give bytes, or a pathlib.Path of one file")
    with data.open("rb") as file:
        yield file


def _pieces(file: BinaryIO) -> Iterator[bytes]:
    file.seek(0, os.SEEK_SET)
    while piece := file.read(_CHUNK):
        yield piece


def _last_hash(body: bytes) -> str | None:
    """Return the hash in the last line of a node's answer, which is the file itself."""
    last = body.strip().rpartition(b"\n")[2]
    try:
        entry = foreign.loads(last)
    except (ValueError, RecursionError):
        return None
    value = entry.get("Hash") if isinstance(entry, dict) else None
    return value if isinstance(value, str) else None

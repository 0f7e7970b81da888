"""The sandbox's IPFS: files named by the real CID of their bytes, a gateway to read them, and the upload call of kubo.

Clients check what a gateway sends against the CID, so the names have to be those that a real node gives (UnixFS,
chunks of 256 KiB). Files live in a temporary folder and not in memory: an encrypted dataset can be a gigabyte.
"""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from flask import Flask, Response, request, send_file
from werkzeug.datastructures import FileStorage

from iexec_nb.protocol.cid import Hasher
from iexec_nb.sandbox.web import dumps, new_app

_CHUNK_BYTES = 1 << 20
_UNSUPPORTED = ("only-hash", "wrap-with-directory", "trickle", "nocopy", "inline")


class BlockStore:
    """Files by CID, kept in a temporary folder that disappears with `close` or with the object.

    Parameters
    ----------
    within
        Where the temporary folder is made; the system's place for such folders unless given.
    """

    def __init__(self, within: str | None = None) -> None:
        self._within = within
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._lock = threading.Lock()
        self._files: dict[str, Path] = {}
        self._drafts = 0

    def __repr__(self) -> str:
        return f"BlockStore({len(self._files)} files)"

    def add(self, data: bytes | BinaryIO, *, version: int = 0) -> str:
        """Keep bytes, or a file read to its end, and return their CID.

        Parameters
        ----------
        data
            The content.
        version
            0 for the default of kubo (``Qm...``), 1 for raw leaves (``baf...``).
        """
        source = BytesIO(data) if isinstance(data, bytes) else data
        hasher = Hasher(version)
        draft = self._draft()
        with draft.open("wb") as file:
            for chunk in _chunks(source):
                file.write(chunk)
                hasher.update(chunk)
        cid = hasher.cid(version)
        with self._lock:
            self._files[cid] = draft.replace(draft.with_name(cid))
        return cid

    def path(self, cid: str) -> Path | None:
        """Return the file of a CID, or None; the file must not be changed."""
        with self._lock:
            return self._files.get(cid)

    def get(self, cid: str) -> bytes | None:
        """Return the bytes of a CID, or None."""
        path = self.path(cid)
        return None if path is None else path.read_bytes()

    def close(self) -> None:
        """Forget everything and remove the temporary folder; calling it again does nothing."""
        with self._lock:
            self._files.clear()
            if self._folder is not None:
                self._folder.cleanup()
                self._folder = None

    def _draft(self) -> Path:
        with self._lock:
            if self._folder is None:
                self._folder = tempfile.TemporaryDirectory(
                    prefix="iexec_nb-ipfs-", dir=self._within, ignore_cleanup_errors=True
                )
            self._drafts += 1
            return Path(self._folder.name) / f"draft-{self._drafts}"


def ipfs_app(store: BlockStore) -> Flask:
    """Return the gateway (``GET /ipfs/<cid>``) and the node's upload call (``POST /api/v0/add``) as one WSGI app.

    Parameters
    ----------
    store
        Where the files are kept; the worker reads and writes the same one.
    """
    app = new_app("ipfs")

    @app.get("/ipfs/<path:location>")
    def read(location: str) -> Response:
        path = store.path(location.rstrip("/"))
        if path is None:
            return Response(f"failed to resolve /ipfs/{location}: no such content here", 404, mimetype="text/plain")
        response = send_file(path, mimetype="application/octet-stream", etag=False, conditional=True)
        response.headers["X-Ipfs-Path"] = f"/ipfs/{location}"
        response.headers["X-Ipfs-Roots"] = location
        response.headers["Etag"] = f'"{location}"'
        response.headers["Cache-Control"] = "public, max-age=29030400, immutable"
        return response

    @app.post("/api/v0/add")
    def add() -> Response:
        refused = [name for name in _UNSUPPORTED if request.args.get(name) == "true"]
        if refused:
            return _node_error(f"the sandbox's node does not know the option {refused[0]}")
        files = [file for _, file in request.files.items(multi=True)]
        if not files:
            return _node_error("file argument 'path' is required", 400)
        version = 1 if request.args.get("cid-version") == "1" else 0
        lines = [_added(store, file, version) for file in files]
        return Response("".join(f"{line}\n" for line in lines), mimetype="application/json")

    return app


def _added(store: BlockStore, file: FileStorage, version: int) -> str:
    cid = store.add(file.stream, version=version)  # type: ignore[arg-type]
    path = store.path(cid)
    size = 0 if path is None else path.stat().st_size
    return dumps({"Name": file.filename or cid, "Hash": cid, "Size": str(size)})


def _node_error(message: str, status: int = 500) -> Response:
    return Response(dumps({"Message": message, "Code": 0, "Type": "error"}), status, mimetype="application/json")


def _chunks(source: BinaryIO) -> Iterator[bytes]:
    while chunk := source.read(_CHUNK_BYTES):
        yield chunk

"""The sandbox's IPFS: a gateway that serves files, blocks and CARs, and the upload call of kubo.

Clients check what a gateway sends against the CID, so the names have to be those that a real node gives, and the blocks
behind them have to be there: a client that trusts nobody reads those and not the file.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import escape
from urllib.parse import quote

from flask import Flask, Response, request, send_file
from werkzeug.datastructures import FileStorage

from iexec_nb.errors import ValidationError
from iexec_nb.protocol.car import CAR_TYPE, car_header, car_section
from iexec_nb.protocol.cid import Cid, Location
from iexec_nb.protocol.unixfs import decode, entries
from iexec_nb.sandbox.blocks import BlockStore
from iexec_nb.sandbox.web import dumps, new_app

__all__ = ["BlockStore", "ipfs_app"]

RAW_TYPE = "application/vnd.ipld.raw"

_UNSUPPORTED = ("only-hash", "wrap-with-directory", "trickle", "nocopy", "inline")
_SCOPES = ("all", "entity", "block")


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
        cid = _resolved(store, location)
        if cid is None:
            return Response(f"failed to resolve /ipfs/{location}: no such content here", 404, mimetype="text/plain")
        kind = _format()
        if kind not in ("", "raw", "car"):
            return Response(f"unsupported format {kind}", 400, mimetype="text/plain")
        response = _raw(store, cid) if kind == "raw" else _car(store, cid) if kind == "car" else _plain(store, cid)
        response.headers["X-Ipfs-Path"] = quote(f"/ipfs/{location}")
        response.headers["X-Ipfs-Roots"] = str(cid)
        response.headers["Etag"] = f'"{cid}{"." if kind else ""}{kind}"'
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


def _resolved(store: BlockStore, location: str) -> Cid | None:
    """Return the CID at the end of a path through folders, if all of it is here."""
    try:
        place = Location.parse(location)
        cid = place.cid
        for name in place.path:
            found = (child for child_name, child in _listed(store, cid) if child_name == name)
            below = next(found, None)
            if below is None:
                return None
            cid = below
    except ValidationError:
        return None
    return cid if store.block(cid) is not None else None


def _listed(store: BlockStore, cid: Cid) -> Iterator[tuple[str, Cid]]:
    left = [cid]
    while left:
        here = left.pop()
        node = decode(here, store.block(here) or b"")
        for name, child in entries(here, node) if node.is_folder else ():
            if name is None:
                left.append(child)
            else:
                yield name, child


def _format() -> str:
    """Return which format is asked for: the query says it, else the header; nothing means the file itself."""
    if wanted := request.args.get("format"):
        return wanted
    accept = request.headers.get("Accept", "")
    return "raw" if RAW_TYPE in accept else "car" if CAR_TYPE in accept else ""


def _raw(store: BlockStore, cid: Cid) -> Response:
    block = store.block(cid) or b""
    response = Response(block, mimetype=RAW_TYPE)
    _attach(response, f"{cid}.bin")
    response.make_conditional(request, accept_ranges=True, complete_length=len(block))
    return response


def _car(store: BlockStore, cid: Cid) -> Response:
    scope = request.args.get("dag-scope", "all")
    version = request.args.get("car-version", "1")
    if scope not in _SCOPES or version != "1":
        return Response(f"unsupported dag-scope {scope} or car-version {version}", 400, mimetype="text/plain")
    asked = re.search(r"dups=([yn])", request.headers.get("Accept", ""))
    dups = request.args.get("car-dups") or (asked[1] if asked else "n")

    def sections() -> Iterator[bytes]:
        yield car_header([cid])
        seen: set[bytes] = set()
        for name, block in store.walk(cid, scope):
            if name.inline is None and (dups == "y" or name.digest not in seen):
                yield car_section(name, block)
            seen.add(name.digest)

    response = Response(sections(), content_type=f"{CAR_TYPE}; version=1; order=dfs; dups={dups}")
    _attach(response, f"{cid}.car")
    return response


def _plain(store: BlockStore, cid: Cid) -> Response:
    path = store.path(str(cid))
    if path is not None:
        return send_file(path, mimetype="application/octet-stream", etag=False, conditional=True)
    try:
        names = [name for name, _ in _listed(store, cid)]
    except ValidationError as error:
        return Response(error.message, 500, mimetype="text/plain")
    links = "".join(f'<li><a href="{quote(name)}">{escape(name)}</a></li>' for name in names)
    return Response(f"<!doctype html><title>{cid}</title><ul>{links}</ul>", mimetype="text/html")


def _attach(response: Response, name: str) -> None:
    response.headers["Content-Disposition"] = f'attachment; filename="{name}"'
    response.headers["X-Content-Type-Options"] = "nosniff"


def _added(store: BlockStore, file: FileStorage, version: int) -> str:
    cid = store.add(file.stream, version=version)  # type: ignore[arg-type]
    path = store.path(cid)
    size = 0 if path is None else path.stat().st_size
    return dumps({"Name": file.filename or cid, "Hash": cid, "Size": str(size)})


def _node_error(message: str, status: int = 500) -> Response:
    return Response(dumps({"Message": message, "Code": 0, "Type": "error"}), status, mimetype="application/json")

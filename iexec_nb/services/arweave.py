"""Files on Arweave, which keeps them for good: small uploads for free through iExec's API, and downloads."""

from __future__ import annotations

import hashlib
import re
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from iexec_nb.errors import ValidationError

if TYPE_CHECKING:
    from iexec_nb.services.http import Http

MAX_UPLOAD_BYTES = 100 * 1024
"""From this size on the API takes nothing for free."""
ID_BYTES = 43

_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


class Arweave:
    """Where files are uploaded to, and a gateway that serves them.

    Parameters
    ----------
    upload, gateway
        The services, with `ApiCallError` as their error.
    """

    def __init__(self, upload: Http, gateway: Http) -> None:
        self.upload = upload
        self.gateway = gateway

    def add(self, path: Path) -> str:
        """Upload a file, see that the gateway serves it, and return its id.

        Raises
        ------
        ValidationError
            When it is too large.
        ApiCallError
            When the API refuses, or the gateway serves something else.

        Notes
        -----
        ``POST /upload`` with the multipart field ``file``, answered by ``{"arweaveId"}``; then ``GET /<id>``.
        """
        check_size(path.stat().st_size)
        content = path.read_bytes()
        response = self.upload.request("POST", "/upload", files={"file": ("blob", content, "application/octet-stream")})
        if not response.is_success:
            code = response.status_code
            self.upload.fail(f"Arweave upload API answered with status {code}", code, wait=response)
        found = self.upload.json(response).get("arweaveId")
        if not isinstance(found, str) or not _ID.fullmatch(found):
            self.upload.fail("Arweave upload API answered with an invalid response")
        served = self.gateway.request("GET", f"/{found}")
        if not served.is_success:
            text = f"Failed to load uploaded file at {self.gateway.origin}"
            self.gateway.fail(text, served.status_code, uploaded=found)
        if hashlib.sha256(served.content).digest() != hashlib.sha256(content).digest():
            self.gateway.fail(f"{self.gateway.origin} serves other bytes than were uploaded", uploaded=found)
        return found


def check_size(size: int) -> None:
    """Refuse what the API does not take.

    Raises
    ------
    ValidationError
        When it is too large.
    """
    if size >= MAX_UPLOAD_BYTES:
        raise ValidationError(
            f"Arweave upload {MAX_UPLOAD_BYTES // 1024}kb size limit reached",
            context={"size": f"{size} bytes"},
            hint='upload_mode="ipfs" takes any size',
        )


def download(http: Http, path: str, target: BinaryIO, *, max_bytes: int) -> None:
    """Write what is at a path into a file.

    Raises
    ------
    ApiCallError
        When it is not there, or more than `max_bytes`.
    """
    with http.open(path) as stream:
        if stream.status != HTTPStatus.OK:
            http.fail(f"Failed to download from {http.origin}", stream.status)
        for chunk in stream.chunks(max_bytes):
            target.write(chunk)

"""Which names of files from strangers are safe on every system, whatever system this is."""

from __future__ import annotations

import re
import unicodedata

MAX_NAME_BYTES = 255
MAX_PATH_BYTES = 1024
MAX_DEPTH = 64

_DEVICE = re.compile(r"(CON|PRN|AUX|NUL|CONIN\$|CONOUT\$|(COM|LPT)[0-9¹²³])", re.IGNORECASE)


def problem_of_name(name: str) -> str | None:
    """Return why a name is no plain file or folder below another folder, or None where it is one.

    Parameters
    ----------
    name
        With ``/`` between folders; one at the end is allowed.
    """
    parts = name.removesuffix("/").split("/")
    if re.search(r"[\x00-\x1f\x7f-\x9f\\]", name):
        return "a name holds a control character or a backslash"
    if name.startswith("/") or re.match(r"[A-Za-z]:", name):
        return "a name is an absolute path"
    # Windows takes the dots and spaces off the end of a name: ".. " is ".." there.
    if any(not part.strip(" .") for part in parts):
        return "a name leaves its folder or is not in its plain form"
    if any(_DEVICE.fullmatch(part.partition(".")[0].rstrip(" ")) for part in parts):
        return "a name is that of a device on Windows"
    if len(name.encode(errors="replace")) > MAX_PATH_BYTES or any(
        len(part.encode(errors="replace")) > MAX_NAME_BYTES for part in parts
    ):
        return "a name is too long"
    if len(parts) > MAX_DEPTH:
        return f"a name lies in more than {MAX_DEPTH} folders"
    return None


def same_name_key(name: str) -> str:
    """Return what two names share that are one file on some system: case, accents in two spellings, a final dot."""
    folded = unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())
    return "/".join(part.rstrip(" .") for part in folded.rstrip("/").split("/"))

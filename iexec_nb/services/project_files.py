"""Reading and writing one file of a project: whole or not at all, and never over a file that cannot be read.

The official CLI opens a file and writes into it; a full disk or a killed process leaves half of it. Here the new
content is a file beside the old one first. A file that somebody broke while editing still holds their work, so nothing
is written over it.
"""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import RLock
from typing import Any

from iexec_nb.errors import ConfigurationError, ValidationError
from iexec_nb.protocol import foreign
from iexec_nb.protocol.json_text import Keys, dotted, keys_at, line_of, not_a_number, stringify
from iexec_nb.protocol.types import shown

MAX_BYTES = 8 << 20

_writing = RLock()
_held: set[Path] = set()


@dataclass(frozen=True, slots=True)
class Document:
    """A file of a project that was read: its name, its text and the object that the text stands for."""

    name: str
    text: str = field(repr=False)
    content: dict[str, Any] = field(repr=False)

    def refusal(self, keys: Keys, message: str, hint: str | None = None) -> ValidationError:
        """Return the error for what stands under these keys, with file, line and key."""
        return _refusal(self.name, message, self.line(keys), keys, hint)

    def line(self, keys: Keys) -> int:
        """Return the line, from 1, of what stands under these keys."""
        return line_of(self.text, keys)

    def object_at(self, *keys: str) -> dict[str, Any] | None:
        """Return the object under these keys, or None where there is nothing.

        Raises
        ------
        ValidationError
            When something else than an object stands there, or on the way.
        """
        value = self.content
        for depth, key in enumerate(keys, 1):
            if key not in value:
                return None
            value = value[key]
            if not isinstance(value, dict):
                named = dotted(keys[:depth])
                raise self.refusal(
                    keys[:depth],
                    f'"{shown(named)}" in {self.name} is {_kind(value)}, not an object',
                    "an object stands in braces: { ... }",
                )
        return value


def read(path: Path) -> Document:
    """Return a file of a project.

    Raises
    ------
    ConfigurationError
        When it is missing or cannot be read.
    ValidationError
        When it is not a JSON object: with file, line and key.
    """
    try:
        # A pipe or a device of that name would never end.
        if not stat.S_ISREG(path.stat().st_mode):
            raise ConfigurationError(f'"{path.name}" is not a file', hint=f"move {path.name} away")
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise ConfigurationError(
            f'Missing "{path.name}" file, did you forget to run "iexec init"?',
            context={"folder": path.parent},
            hint="%iexec init --skip-wallet, or go to the folder of the project",
        ) from None
    except OSError as error:
        raise ConfigurationError(f'"{path.name}" cannot be read: {error.strerror}') from error
    if len(raw) > MAX_BYTES:
        raise ValidationError(f'"{path.name}" is larger than {MAX_BYTES} bytes', hint="no file of a project is")
    return _document(path.name, raw)


def write(path: Path, content: Mapping[str, Any]) -> Path:
    """Write a file of a project, whole or not at all, and return its path; the mode of a file that is there stays.

    Raises
    ------
    ValidationError
        When the file that is there cannot be read: it is left as it is.
    ConfigurationError
        When the folder cannot be written.
    """
    with locked(path.parent):
        if path.exists():
            read(path)
        write_bytes(path, stringify(content).encode(), mode=0o666, keep_mode=True)
    return path


def write_bytes(path: Path, content: bytes, *, mode: int, keep_mode: bool = False) -> Path:
    """Write a file whole or not at all.

    Parameters
    ----------
    path, content
        Where, and what.
    mode
        The mode of a new file, before the user's umask.
    keep_mode
        Whether a file that is there keeps its mode, and a link to one stays a link.

    Raises
    ------
    ConfigurationError
        When it cannot be written.
    """
    # A file that is edited may be a link and stays one: what it points to is replaced. One that is made anew takes the
    # place of a link, which came with somebody's folder and may lead anywhere.
    goal = Path(os.path.realpath(path)) if keep_mode else path
    beside = goal.with_name(f".{goal.name}.{secrets.token_hex(8)}")
    try:
        try:
            kept = stat.S_IMODE(goal.stat().st_mode) if keep_mode and goal.exists() else None
            # A chain.json that only its owner may read holds keys of nodes: no copy of it is ever wider.
            handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode if kept is None else 0o600)
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            if kept is not None:
                beside.chmod(kept)
            os.replace(beside, goal)
        finally:
            beside.unlink(missing_ok=True)
    except OSError as error:
        raise ConfigurationError(f'"{path.name}" cannot be written: {error.strerror}') from error
    return path


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other threads and programs from changing the files of a folder between a read and a write."""
    with _writing:
        if folder in _held:
            yield
            return
        handle = -1
        _held.add(folder)
        try:
            # Not everywhere can a folder be locked; then only threads are kept apart.
            with suppress(ImportError, OSError):
                import fcntl

                handle = os.open(folder, os.O_RDONLY)
                fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            _held.discard(folder)
            if handle >= 0:
                os.close(handle)


def _document(name: str, raw: bytes) -> Document:
    text, place = _decoded(name, raw)
    if place is None:
        problem, place, value = _parsed(text)
        if place is None and isinstance(value, dict):
            return Document(name, text, value)
        if place is None:
            raise _refusal(name, f"{name} holds {_kind(value)}, not an object", 1, (), 'it begins with "{"')
    else:
        problem = "bytes that are not UTF-8"
    keys = keys_at(text, place)
    raise _refusal(
        name, f"{name} is not valid JSON: {problem}", text.count("\n", 0, place) + 1, keys,
        "mend it by hand; it was left as it is",
    )  # fmt: skip


def _decoded(name: str, raw: bytes) -> tuple[str, int | None]:
    if raw.startswith(b"\xef\xbb\xbf"):
        raise _refusal(
            name, f"{name} begins with a byte order mark, which JSON does not allow", 1, (),
            'save it as "UTF-8" instead of "UTF-8 with BOM"',
        )  # fmt: skip
    try:
        return raw.decode(), None
    except UnicodeDecodeError as error:
        good = raw[: error.start].decode()
        return good, len(good)


def _parsed(text: str) -> tuple[str, int | None, Any]:
    """Return what is wrong and where, or the value; nothing is raised, because a parser's error holds the text."""
    import json

    if (place := not_a_number(text)) is not None:
        return "NaN and Infinity are no numbers in JSON", place, None
    try:
        return "", None, foreign.loads(text)
    except json.JSONDecodeError as error:
        return f"{error.msg.lower()} (column {error.colno})", error.pos, None
    except ValueError as error:
        return shown(str(error)), 0, None


def _refusal(name: str, message: str, line: int, keys: Keys, hint: str | None) -> ValidationError:
    context: dict[str, object] = {"file": name, "line": line}
    if keys:
        context["key"] = shown(dotted(keys))
    return ValidationError(message, context=context, hint=hint)


def _kind(value: object) -> str:
    named = {bool: "true or false", str: "text", list: "a list", dict: "an object"}
    return "null" if value is None else named.get(type(value), "a number")

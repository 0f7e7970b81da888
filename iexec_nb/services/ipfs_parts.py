"""Where a download grows: in memory, or beside the place that it takes in the end.

Nothing stands under the name that was asked for before all of it is there and right. Until then it is in a file or
folder that ends with ``.part``; a download that was interrupted, or whose program was killed, is found there and goes
on. What lies there is believed no more than a gateway: each piece is held against its hash before it is used.
"""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO

from iexec_nb.errors import ValidationError
from iexec_nb.protocol.cid import Cid, Location
from iexec_nb.protocol.file_layout import is_leaf
from iexec_nb.protocol.types import shown
from iexec_nb.protocol.unixfs import MAX_BLOCK_BYTES, Want

WORTH_KEEPING_BYTES = 2**16
"""Less than this is not kept after a failure: it is asked for again sooner than somebody wonders what it is."""

_PIECE = 2**20
_Path = tuple[str, ...]


class Part:
    """A file that grows.

    Parameters
    ----------
    file
        Open for reading and writing. What it holds already may be right or not.

    Attributes
    ----------
    present
        Bytes in it.
    verified
        Bytes from its start that are known to be right.
    """

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.present = file.seek(0, os.SEEK_END)
        self.verified = 0

    def holds(self, want: Want) -> bool:
        """Tell whether the bytes for which a block stands are in the file already."""
        if want.size is None or want.size > MAX_BLOCK_BYTES or want.offset + want.size > self.present:
            return False
        self.file.seek(want.offset)
        return is_leaf(want.cid, self.file.read(want.size))

    def write(self, offset: int, data: bytes) -> None:
        """Put bytes at a place."""
        self.file.seek(offset)
        self.file.write(data)
        self.present = max(self.present, offset + len(data))

    def cut(self, size: int) -> None:
        """Drop what is behind the first `size` bytes."""
        self.file.truncate(size)
        self.present = min(self.present, size)
        self.verified = min(self.verified, size)

    def read(self) -> Iterator[bytes]:
        """Yield the bytes from the start."""
        self.file.seek(0)
        while piece := self.file.read(_PIECE):
            yield piece


class Memory:
    """A download of one file into memory."""

    kept: Path | None = None

    def __init__(self) -> None:
        self._body = io.BytesIO()
        self._part = Part(self._body)

    def open(self, path: _Path) -> Part:
        """Return the file; there is only the one."""
        return self._part

    def folder(self, path: _Path, cid: Cid) -> None:
        """Refuse a folder.

        Raises
        ------
        ValidationError
            Always.
        """
        raise ValidationError(f"{cid} is a folder, not a file", hint=f"ipfs.download({str(cid)!r}, 'folder')")

    def has(self, path: _Path) -> bool:
        """Tell that there are no files inside."""
        return False

    def shut(self, path: _Path) -> None:
        """Do nothing: the file is complete."""

    @property
    def is_empty(self) -> bool:
        """Whether nothing is there that was not put there by this download."""
        return True

    @property
    def content(self) -> bytes:
        """The bytes of the file."""
        return self._body.getvalue()


class Disk:
    """A download of a file or a folder, which takes its place at the end.

    Parameters
    ----------
    target
        What it is called in the end, in a folder that exists.
    location
        Of the content; downloads of other content to the same place have other parts.

    Raises
    ------
    ValidationError
        When the folder does not exist, or there is a folder with something in it at that place.
    """

    def __init__(self, target: Path, location: Location) -> None:
        if target.name in ("", "..") or "\0" in str(target):
            raise ValidationError(f"{shown(str(target))} is not the name of a file", hint="give a path with a name")
        with _writing(target):
            if not target.parent.is_dir():
                raise ValidationError(f"the folder {target.parent} does not exist", hint="create it first")
            if target.is_dir() and any(target.iterdir()):
                raise ValidationError(
                    f"{target} is a folder with something in it", hint="give a name that is not taken"
                )
        self.target = target
        name = target.name.encode()[:200].decode(errors="ignore")
        inside = f"-{sha256('/'.join(location.path).encode()).hexdigest()[:8]}" if location.path else ""
        self._own = target.with_name(f"{name}.{str(location.cid)[-12:]}{inside}.part")
        # Before anything is opened: a part that is there was left by an earlier download.
        self.is_empty = not self._own.exists()
        self._lock = -1
        self._claimed = False
        self._is_folder = False
        self._open: dict[_Path, Part] = {}
        self._made: set[_Path] = set()

    @property
    def kept(self) -> Path | None:
        """What is kept after a failure, if it is worth that."""
        return self._own if self._bytes() >= WORTH_KEEPING_BYTES else None

    def open(self, path: _Path) -> Part:
        """Return the file at a path inside (empty: the download is that file), opened where it is not yet.

        Raises
        ------
        ValidationError
            When it cannot be written.
        """
        if path not in self._open:
            with _writing(self.target):
                self._open[path] = Part(self._inside(path) if path else self._alone())
            self._made.add(path)
        return self._open[path]

    def has(self, path: _Path) -> bool:
        """Tell whether there is a file at a path inside, from an earlier download."""
        return not self.is_empty and self._own.joinpath(*path).is_file()

    def folder(self, path: _Path, cid: Cid) -> None:
        """Make a folder at a path inside (empty: the download is that folder), where it is not there yet."""
        with _writing(self.target):
            if not path and not self._is_folder:
                self._claim_folder()
            if path:
                _make_own_folder(self._own.joinpath(*path))
        self._made.add(path)

    def shut(self, path: _Path) -> None:
        """Close a file that is complete."""
        self._open.pop(path).file.close()

    def finish(self) -> Path:
        """Give the download its name and return it."""
        with _writing(self.target):
            if sys.platform == "win32":
                self._close()
            for part in self._open.values():
                part.file.flush()
            if self._is_folder:
                self._tidy()
                if self.target.is_dir():
                    self.target.rmdir()
            # Before the lock is given up, so that nobody takes it for a part that was left.
            os.replace(self._own, self.target)
        self._close()
        return self.target

    def leave(self) -> None:
        """Close everything after a failure; what is worth going on from stays."""
        if self._bytes() < WORTH_KEEPING_BYTES:
            self.drop()
        self._close()

    def drop(self) -> None:
        """Close everything and remove what has arrived."""
        if sys.platform == "win32":
            self._close()
        # A part of an earlier download that this one never touched is not its own to remove.
        if self._claimed:
            with contextlib.suppress(OSError):
                shutil.rmtree(self._own) if self._is_folder else self._own.unlink()
        self._close()

    def _bytes(self) -> int:
        if self._is_folder:
            return sum(file.stat().st_size for file in self._own.rglob("*") if file.is_file())
        return sum(part.present for part in self._open.values())

    def _tidy(self) -> None:
        """Remove what somebody put among the files meanwhile: the folder is what its CID names, and nothing else."""
        for found in sorted(self._own.rglob("*"), reverse=True):
            if found.relative_to(self._own).parts not in self._made:
                shutil.rmtree(found) if found.is_dir() and not found.is_symlink() else found.unlink()

    def _close(self) -> None:
        for part in self._open.values():
            part.file.close()
        self._open.clear()
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _alone(self) -> BinaryIO:
        """Open the part as a file that no other download writes; where another one does, a new part."""
        if self.target.is_dir():
            raise ValidationError(f"{self.target} is a folder, and this is a file", hint="give the name of a file")
        handle = _private(self._own)
        if handle < 0:
            handle, name = tempfile.mkstemp(prefix=f"{self._own.stem}.", suffix=".part", dir=self.target.parent)
            self._own = Path(name)
        self._claimed = True
        return os.fdopen(handle, "r+b")

    def _inside(self, path: _Path) -> BinaryIO:
        place = self._own.joinpath(*path)
        handle = _private(place)
        if handle < 0:
            # What lies there is no file of this download alone, such as a link to another one.
            place.unlink(missing_ok=True)
            handle = os.open(place, os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o600)
        return os.fdopen(handle, "r+b")

    def _claim_folder(self) -> None:
        if self._open:
            # A gateway sent a page in place of the folder.
            self.drop()
        self._is_folder = True
        with contextlib.suppress(FileExistsError):
            self._own.mkdir(mode=0o700)
        if not _is_own_folder(self._own) or not self._locked():
            self._own = Path(tempfile.mkdtemp(prefix=f"{self._own.stem}.", suffix=".part", dir=self.target.parent))
        elif sys.platform != "win32":
            os.fchmod(self._lock, 0o700)
        self._claimed = True

    def _locked(self) -> bool:
        if sys.platform == "win32":
            return True
        self._lock = os.open(self._own, os.O_RDONLY | os.O_CLOEXEC)
        return _lock(self._lock)


def _private(path: Path) -> int:
    """Open a part and return its handle, or -1 where somebody else has it."""
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    try:
        handle = os.open(path, flags, 0o600)
    except OSError:
        return -1
    found = os.fstat(handle)
    ours = stat.S_ISREG(found.st_mode) and found.st_nlink == 1 and found.st_uid == getattr(os, "getuid", lambda: 0)()
    # Whoever was faster may have given it its name meanwhile: then it is no part any more.
    if ours and _lock(handle) and path.exists() and os.path.samestat(os.stat(path), found):
        if sys.platform != "win32":
            os.fchmod(handle, 0o600)
        return handle
    os.close(handle)
    return -1


def _make_own_folder(path: Path) -> None:
    with contextlib.suppress(FileExistsError):
        path.mkdir(mode=0o700)
    if not _is_own_folder(path):
        # A link that came with a folder from somewhere would lead all that is written to another place.
        path.unlink()
        path.mkdir(mode=0o700)


def _is_own_folder(path: Path) -> bool:
    found = path.lstat()
    return stat.S_ISDIR(found.st_mode) and found.st_uid == getattr(os, "getuid", lambda: 0)()


def _lock(handle: int) -> bool:
    """Keep other downloads of the same content to the same place out, until the handle is closed."""
    if sys.platform == "win32":
        import msvcrt

        try:
            os.lseek(handle, 2**40, os.SEEK_SET)
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True
    import fcntl

    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        # A drive that knows no locks.
        return True
    return True


@contextlib.contextmanager
def _writing(target: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ValidationError(
            f"{target} cannot be written: {error.strerror or type(error).__name__}", hint="choose another place"
        ) from error

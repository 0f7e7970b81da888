"""The files of a result, wherever they lie: in a zip, alone, or in a folder of IPFS.

What opens, shows, saves or hashes files need not know how they came. A file is read piece by piece, so that its size
does not matter, and it is checked by whoever knows how: a zip has checksums, bytes of IPFS were checked before.
"""

from __future__ import annotations

import difflib
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, BinaryIO, cast

from iexec_nb.errors import ConfigurationError, ResultNotFoundError, UnsafeArchiveError
from iexec_nb.protocol.types import shown
from iexec_nb.protocol.zip_records import IN_MEMORY_BYTES, Source

_NAMES_SHOWN = 20
_NAMES_COMPARED = 1000


class Files(ABC):
    """Files by name.

    Parameters
    ----------
    sizes
        Size of each file in bytes, in the order in which they are shown.
    folders
        Folders that are there even when nothing is in them, each with a final ``/``.

    Attributes
    ----------
    sizes, folders
        As given.
    """

    def __init__(self, sizes: Mapping[str, int], folders: tuple[str, ...] = ()) -> None:
        self.sizes = sizes
        self.folders = folders

    @abstractmethod
    def _pieces(self, name: str) -> Iterator[bytes | memoryview]:
        """Yield the content of a file that is there."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self.sizes)} files, {sum(self.sizes.values())} bytes)"

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the files, without the folders."""
        return tuple(self.sizes)

    def pieces(self, name: str) -> Iterator[bytes | memoryview]:
        """Yield a file piece by piece; what is wrong with it is told behind the last one.

        Raises
        ------
        ResultNotFoundError
            When there is no such file.
        UnsafeArchiveError
            When its content is not what the archive declares.
        """
        if name not in self.sizes:
            raise self.missing(name)
        return self._pieces(name)

    def head(self, name: str, count: int) -> bytes:
        """Return the first bytes of a file; its checksum is not compared, because the rest is not read."""
        found = bytearray()
        for piece in self.pieces(name):
            found += piece[: count - len(found)]
            if len(found) >= count:
                break
        return bytes(found)

    def read(self, name: str) -> bytes:
        """Return the content of a file.

        Raises
        ------
        ResultNotFoundError, UnsafeArchiveError
            As `pieces`.
        """
        return b"".join(self.pieces(name))

    def copy(self, name: str, file: IO[bytes]) -> None:
        """Write a file into another that is open; what is there after an error is not the content."""
        for piece in self.pieces(name):
            file.write(piece)

    def open(self, name: str) -> BinaryIO:
        """Return a file to read from, all of it checked before; a large one is unpacked to a nameless file on the disk.

        Raises
        ------
        ResultNotFoundError, UnsafeArchiveError
            As `pieces`.
        """
        self.pieces(name)
        if self.sizes[name] <= IN_MEMORY_BYTES:
            return BytesIO(self.read(name))
        return spooled(lambda file: self.copy(name, file))

    def check(self) -> None:
        """Read everything and compare it with its checksums.

        Raises
        ------
        UnsafeArchiveError
            When the content of a file is not what the archive declares.
        """
        for name in self.names:
            for _ in self._pieces(name):
                pass

    def missing(self, name: object) -> ResultNotFoundError:
        """Return the error for a name that no file has, with the one that may have been meant."""
        near = difflib.get_close_matches(str(name), self.names[:_NAMES_COMPARED], n=1)
        there = ", ".join(shown(each, 40) for each in self.names[:_NAMES_SHOWN])
        more = f" and {len(self.sizes) - _NAMES_SHOWN} more" if len(self.sizes) > _NAMES_SHOWN else ""
        return ResultNotFoundError(
            f'No "{shown(name)}" file found in the result',
            context={"files": f"{there}{more}" or "none"},
            hint=f"did you mean {shown(near[0])!r}?" if near else "take one of the files listed",
        )


class SingleFile(Files):
    """A result that is one file and no zip.

    Parameters
    ----------
    name
        What to call it: the result has no name for it.
    source
        Its content.
    """

    def __init__(self, name: str, source: Source) -> None:
        super().__init__({name: source.size})
        self.source = source

    def _pieces(self, name: str) -> Iterator[bytes | memoryview]:
        return self.source.pieces(0, self.source.size)


class NoFiles(Files):
    """A result without files: an empty one, or one whose data went to a callback."""

    def __init__(self) -> None:
        super().__init__({})

    def _pieces(self, name: str) -> Iterator[bytes | memoryview]:
        raise self.missing(name)


class FolderFiles(Files):
    """The files in a folder, which links do not belong to; each is opened when it is read.

    Parameters
    ----------
    folder
        The folder.
    keeper
        What must stay alive as long as the files are used, such as the temporary folder around it.

    Raises
    ------
    UnsafeArchiveError
        When something in it is a link or no file.
    """

    def __init__(self, folder: Path, keeper: object = None) -> None:
        self._folder = folder
        self._keeper = keeper
        sizes: dict[str, int] = {}
        folders: list[str] = []
        for place, inner, files in os.walk(folder):
            inner.sort()
            relative = Path(place).relative_to(folder)
            folders += [(relative / name).as_posix() + "/" for name in inner]
            sizes |= {(relative / name).as_posix(): _size(Path(place, name)) for name in sorted(files)}
        super().__init__(sizes, tuple(folders))

    def _pieces(self, name: str) -> Iterator[bytes | memoryview]:
        source = Source.of(self._folder / name)
        return source.pieces(0, source.size)


def _size(path: Path) -> int:
    if path.is_symlink() or not path.is_file():
        raise UnsafeArchiveError(f"{shown(path.name)} in the result is a link or a special file")
    return path.stat().st_size


def spooled(write: Callable[[IO[bytes]], None]) -> BinaryIO:
    """Return a nameless file of mode 600 that `write` filled, at its first byte; it goes when it is closed.

    Raises
    ------
    ConfigurationError
        When the disk is full.
    """
    file = cast(BinaryIO, TemporaryFile(prefix="iexec_nb_"))  # noqa: SIM115 - the caller closes it
    try:
        write(file)
        file.seek(0)
    except OSError as error:
        file.close()
        raise ConfigurationError(
            f"a temporary file cannot be written: {error.strerror}", hint="make room, or set TMPDIR to a larger disk"
        ) from error
    except BaseException:
        file.close()
        raise
    return file

"""One file of a result, opened as what it is.

What it is follows from what it holds, not from its name: a table that was written as Parquet opens, whatever it is
called, and a picture that calls itself a table says so. Nothing in here runs code from a result: no pickle, no HTML, no
SVG.
"""

from __future__ import annotations

import builtins
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, BinaryIO

from iexec_nb.actions import readers
from iexec_nb.errors import ValidationError
from iexec_nb.protocol import foreign
from iexec_nb.protocol.extraction import path_of, save_file
from iexec_nb.protocol.result_files import Files
from iexec_nb.protocol.sniffing import HEAD_BYTES, Kind, kind_of
from iexec_nb.protocol.types import shown

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from IPython.display import Image

MAX_PIXELS = 100_000_000


class ResultFile:
    """One file of a result; it is read when it is asked for.

    Parameters
    ----------
    files
        The files of the result.
    name
        Which one.

    Attributes
    ----------
    name
        Its name in the result, with ``/`` between folders.
    """

    def __init__(self, files: Files, name: str) -> None:
        self._files = files
        self.name = name

    @cached_property
    def sniffed(self) -> Kind:
        """What the file is, by its content: one word, and the same for people."""
        return kind_of(self.head(HEAD_BYTES), self.size, self.name)

    @property
    def kind(self) -> str:
        """What the file is, by its content, in one word: ``csv``, ``parquet``, ``png``, ``text``, ``binary`` ..."""
        return self.sniffed.name

    @property
    def size(self) -> int:
        """Its size in bytes."""
        return self._files.sizes[self.name]

    @property
    def bytes(self) -> bytes:
        """The content.

        Raises
        ------
        UnsafeArchiveError
            When it is not what the archive declares: damaged, or made to do harm.
        """
        return self._files.read(self.name)

    def head(self, count: int) -> builtins.bytes:
        """Return the first bytes, without a look at the rest."""
        return self._files.head(self.name, count)

    def open(self) -> BinaryIO:
        """Return the content as a file to read from; all of it was checked before the first byte is given out.

        A large one is unpacked to a nameless file on the disk, which goes when it is closed.

        Raises
        ------
        UnsafeArchiveError
            As `bytes`.
        """
        return self._files.open(self.name)

    def save(self, path: str | Path | None = None, *, overwrite: bool = False) -> Path:
        """Write the file to the disk with mode 600 and return its path.

        Parameters
        ----------
        path
            Where to: a folder that exists, or the path of the file. Default: its own name in the working folder.
        overwrite
            Replace a file that is there.

        Raises
        ------
        ValidationError
            When there is a file already, or the folder does not exist.
        UnsafeArchiveError
            As `bytes`; nothing is written then.
        """
        target = path_of(path) if path is not None else Path()
        return save_file(self._files, self.name, target, overwrite=overwrite)

    def text(self, encoding: str = "utf-8") -> str:
        """Return the content as text.

        Raises
        ------
        ValidationError
            When it is not text in that encoding.
        """
        try:
            return self.bytes.decode(encoding)
        except (UnicodeError, LookupError) as error:
            raise readers.unreadable(self.name, self.sniffed, f"text ({shown(encoding)})", error) from error

    def json(self) -> Any:
        """Return the value of a JSON file; of JSON lines a list.

        Raises
        ------
        ValidationError
            When it is not JSON.
        """
        content = self.bytes
        try:
            if self.kind == "jsonl":
                return [foreign.loads(line) for line in content.splitlines() if line.strip()]
            return foreign.loads(content)
        except (ValueError, RecursionError) as error:
            raise readers.unreadable(self.name, self.sniffed, "JSON", error) from error

    def table(self, *, max_bytes: int | None = None, **options: Any) -> pd.DataFrame:
        """Return a CSV, TSV, Parquet, Feather, JSON, JSON lines or Excel file as a DataFrame.

        Parameters
        ----------
        max_bytes
            How large the table may become in the memory; default: 2 GB.
        options
            For the reader of pandas, such as ``nrows=10`` or ``sheet_name="costs"``; of Parquet and Feather
            ``columns=[...]``.

        Raises
        ------
        ValidationError
            When the file is not a table; what it is is said.
        """
        if not self.sniffed.is_table:
            raise readers.unreadable(self.name, self.sniffed, "a table")
        with self.open() as file, readers.reading(self.name, self.sniffed, "a table"):
            return readers.read_table(file, self.sniffed, max_bytes, options)

    def array(self, name: str | None = None, *, max_bytes: int | None = None) -> np.ndarray[Any, Any]:
        """Return a NumPy array (``.npy``), or one of several (``.npz``); nothing is ever unpickled.

        Parameters
        ----------
        name
            Which of several; not needed where there is one.
        max_bytes
            How large the arrays of an ``.npz`` may be together; default: 2 GB.

        Raises
        ------
        ValidationError
            When the file holds no array, Python objects, or several and `name` is none of them.
        """
        found = self.arrays(max_bytes=max_bytes)
        if name is None and len(found) == 1:
            return next(iter(found.values()))
        if name is not None and name in found:
            return found[name]
        raise ValidationError(
            f"{shown(self.name)!r} has {len(found)} arrays" + (f" and no {shown(name)!r}" if name is not None else ""),
            context={"arrays": ", ".join(shown(one, 40) for one in list(found)[:20]) or "none"},
            hint="give the name of one: array('...')",
        )

    def arrays(self, *, max_bytes: int | None = None) -> dict[str, np.ndarray[Any, Any]]:
        """Return all arrays of an ``.npz`` file by name, and that of an ``.npy`` file under the file's own.

        Raises
        ------
        ValidationError
            When the file holds no array, or Python objects.
        """
        if self.kind not in ("npy", "npz"):
            raise readers.unreadable(self.name, self.sniffed, "an array")
        with readers.reading(self.name, self.sniffed, "an array"):
            if self.kind == "npz":
                return readers.read_arrays(self.bytes, max_bytes)
            return {PurePosixPath(self.name).stem: readers.read_array(self.bytes)}

    def image(self, *, max_pixels: int = MAX_PIXELS) -> Image:
        """Return a PNG, JPEG, GIF or WebP picture, which a notebook shows.

        Parameters
        ----------
        max_pixels
            A small file can declare a picture that no browser survives; more pixels than this are refused.

        Raises
        ------
        ValidationError
            When the bytes are none of these, whatever the name says, or the picture is too large.
        """
        from IPython.display import Image

        if not self.sniffed.is_picture:
            raise readers.unreadable(self.name, self.sniffed, "a picture")
        width, height = self.pixels or (0, 0)
        if width * height > max_pixels:
            raise ValidationError(
                f"{shown(self.name)!r} has {width} x {height} pixels",
                context={"limit": f"{max_pixels} pixels"},
                hint=f"where you trust it: image(max_pixels={width * height})",
            )
        return Image(data=self.bytes, format=self.kind)  # type: ignore[no-untyped-call]

    @property
    def pixels(self) -> tuple[int, int] | None:
        """Width and height of a picture, as it declares them; None for what is no picture or does not say."""
        return readers.picture_size(self.head(HEAD_BYTES), self.sniffed)

    def unsafe_unpickle(self, *, i_trust_the_author: bool = False) -> Any:
        """Return the object in a Python pickle. Opening one RUNS WHATEVER ITS AUTHOR WANTS on this machine.

        The author is whoever wrote the app, ran the worker, or had either in hand.

        Parameters
        ----------
        i_trust_the_author
            Must be True, written out.

        Raises
        ------
        ValidationError
            When that is not said, or it is no pickle.
        """
        if i_trust_the_author is not True:
            raise ValidationError(
                f"{shown(self.name)!r} is not unpickled: a pickle runs code of its author on this machine",
                hint="ask for CSV, Parquet, JSON or .npy; or, where you trust whoever made this with everything here: "
                "unsafe_unpickle(i_trust_the_author=True)",
            )
        import pickle

        with readers.reading(self.name, self.sniffed, "a pickle"):
            return pickle.loads(self.bytes)  # noqa: S301 - said twice by the caller

    def __bytes__(self) -> builtins.bytes:
        return self.bytes

    def __len__(self) -> int:
        return self.size

    def __bool__(self) -> bool:
        # An empty file is a file.
        return True

    def __eq__(self, other: object) -> bool:
        if isinstance(other, ResultFile):
            return self is other or (self.size == other.size and self.bytes == other.bytes)
        return isinstance(other, bytes | bytearray | memoryview) and self.bytes == other

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"ResultFile({shown(self.name)!r}, {self.size:,} bytes, {self.kind})"

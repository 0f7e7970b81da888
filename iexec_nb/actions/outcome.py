"""What a run gave back: files of a checked archive that open as tables, pictures, text or JSON.

The archive was checked before its first byte was read, and the result says whether what is in it is what the workers
agreed on.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from iexec_nb.actions.result_file import ResultFile
from iexec_nb.errors import ResultNotFoundError
from iexec_nb.protocol import results
from iexec_nb.protocol.execution import Task
from iexec_nb.protocol.extraction import extract
from iexec_nb.protocol.receipts import ListedFile
from iexec_nb.protocol.result_files import Files
from iexec_nb.protocol.results import NOT_ASKED, OUTPUT_FOLDER, Agreement
from iexec_nb.protocol.types import shown

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from IPython.display import Image

FILES_SHOWN = 20

_TABLES = ("csv", "tsv", "parquet", "feather", "xlsx", "jsonl", "json")
_TEXTS = ("text", "csv", "tsv", "json", "jsonl", "html", "xml", "svg")


class Result(Mapping[str, ResultFile]):
    """The files of one task's result, by name.

    Attributes
    ----------
    task
        The task, or None for a result that was opened from the disk.
    encrypted
        Whether it came encrypted for the beneficiary.
    callback
        What the app gave to the callback contract; empty for a task without one.
    path
        Where the plain zip was written, or None.
    """

    def __init__(
        self,
        files: Files,
        *,
        task: Task | None = None,
        encrypted: bool = False,
        agreement: Agreement = NOT_ASKED,
        callback: bytes = b"",
        path: Path | None = None,
    ) -> None:
        self._source = files
        self._files = {name: ResultFile(files, name) for name in files.names}
        self._agreement = agreement
        self.task = task
        self.encrypted = encrypted
        self.callback = callback
        self.path = path

    def __getitem__(self, name: str) -> ResultFile:
        found = self._find(name)
        if found is None:
            raise self._source.missing(name)
        return found

    def __contains__(self, name: object) -> bool:
        return self._find(name) is not None

    def get(self, name: str, default: Any = None) -> Any:
        """Return a file, or `default` where there is none of that name."""
        found = self._find(name)
        return default if found is None else found

    def _find(self, name: object) -> ResultFile | None:
        # Archives of early versions hold the app's folder itself; the app's own names find its files there, too.
        if not isinstance(name, str):
            return None
        found = self._files.get(name)
        return self._files.get(f"{OUTPUT_FOLDER}/{name}") if found is None else found

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)

    @property
    def verified(self) -> bool | None:
        """Whether the content has the digest that the workers agreed on; None where that is not known."""
        return self._agreement.verified

    @property
    def verification(self) -> str:
        """What `verified` says, as a sentence: what was compared, or why nothing was."""
        return self._agreement.text

    @property
    def computed(self) -> dict[str, Any]:
        """What the app wrote in ``computed.json``; empty where it wrote nothing.

        Raises
        ------
        ValidationError
            When it is not a JSON object.
        """
        return results.computed(self._source)

    @property
    def main(self) -> ResultFile:
        """The output that ``computed.json`` names, or the only file there is.

        Raises
        ------
        ResultNotFoundError
            When it names none, or a folder of several.
        """
        names = self._main_names() or tuple(name for name in self if name not in self._descriptions())
        if len(names) == 1:
            return self._files[names[0]]
        raise ResultNotFoundError(
            f"the result has {len(names)} files that may be meant",
            context={"files": _listed(names)},
            hint="take one by its name: result['...']",
        )

    @property
    def files(self) -> pd.DataFrame:
        """The files as a DataFrame of schema `tables.FILES`: ``name``, ``size`` in bytes, ``kind`` and ``main``.

        The kind is what a file is by its content.
        """
        from iexec_nb import tables

        main = set(self._main_names())
        rows = (
            ListedFile(name=one.name, size=one.size, kind=one.kind, main=one.name in main)
            for one in self._files.values()
        )
        return tables.frame(tables.FILES, rows, attrs={"source": self.task.taskid if self.task else "result"})

    def table(self, name: str | None = None, **options: Any) -> pd.DataFrame:
        """Return a file as a DataFrame; without a name the main one or the only table (see `ResultFile.table`).

        Raises
        ------
        ResultNotFoundError
            When there is no such file, or no or several tables.
        ValidationError
            When the file is not a table.
        """
        return self._pick(name, _TABLES, "table").table(**options)

    def json(self, name: str | None = None) -> Any:
        """Return the value of a JSON file; without a name the main one or the only one there is.

        Raises
        ------
        ResultNotFoundError, ValidationError
            As `table`.
        """
        return self._pick(name, ("json", "jsonl"), "JSON file").json()

    def text(self, name: str | None = None) -> str:
        """Return a file as text; without a name the main one or the only text there is.

        Raises
        ------
        ResultNotFoundError, ValidationError
            As `table`.
        """
        return self._pick(name, _TEXTS, "text").text()

    def image(self, name: str | None = None) -> Image:
        """Return a picture, which a notebook shows; without a name the only one there is.

        Raises
        ------
        ResultNotFoundError, ValidationError
            As `table`.
        """
        return self._pick(name, ("png", "jpeg", "gif", "webp"), "picture").image()

    def array(self, name: str | None = None, array: str | None = None) -> np.ndarray[Any, Any]:
        """Return a NumPy array of an ``.npy`` or ``.npz`` file; nothing is ever unpickled.

        Parameters
        ----------
        name
            The file; default: the only one of these kinds.
        array
            Which array of an ``.npz`` file with several.

        Raises
        ------
        ResultNotFoundError, ValidationError
            As `table`.
        """
        return self._pick(name, ("npy", "npz"), "array").array(array)

    def open(self, name: str) -> BinaryIO:
        """Return a file to read from; see `ResultFile.open`.

        Raises
        ------
        ResultNotFoundError
            When there is no such file.
        UnsafeArchiveError
            When its content is damaged.
        """
        return self[name].open()

    def unsafe_unpickle(self, name: str, *, i_trust_the_author: bool = False) -> Any:
        """Return the object in a pickle, which RUNS WHATEVER ITS AUTHOR WANTS; see `ResultFile.unsafe_unpickle`.

        Raises
        ------
        ResultNotFoundError
            When there is no such file.
        ValidationError
            When `i_trust_the_author` is not True.
        """
        return self[name].unsafe_unpickle(i_trust_the_author=i_trust_the_author)

    def save(self, folder: str | Path, *, overwrite: bool = False) -> list[Path]:
        """Write all files into a folder, which is made, or none; return their paths.

        Parameters
        ----------
        folder
            Where to.
        overwrite
            Replace files that are there with other content.

        Raises
        ------
        ValidationError
            When a file with other content, or a link, is in the way.
        UnsafeArchiveError
            When a file is damaged or would land outside the folder; nothing is written then.
        """
        return extract(self._source, folder, overwrite=overwrite)

    def __repr__(self) -> str:
        many = f"{len(self)} file{'' if len(self) == 1 else 's'}"
        head = f"Result({many}, {'encrypted, ' if self.encrypted else ''}{self._checked()})"
        lines = [head, f"  {self.verification}"]
        if self.callback:
            lines.append(f"  callback: {len(self.callback):,} bytes 0x{self.callback[:16].hex()}")
        if self.path is not None:
            lines.append(f"  written to {self.path.name}")
        files = list(self._files.values())
        lines += [f"  {shown(file.name)}  {file.size:,} bytes" for file in files[:FILES_SHOWN]]
        if len(files) > FILES_SHOWN:
            lines.append(f"  and {len(files) - FILES_SHOWN:,} more")
        return "\n".join(lines)

    def _checked(self) -> str:
        return {True: "verified", False: "NOT what the workers agreed on", None: "not verified"}[self.verified]

    def _main_names(self) -> tuple[str, ...]:
        try:
            return tuple(name for name in results.main_files(self._source) if name not in self._descriptions())
        except ValueError:
            # A computed.json that is damaged names nothing; asked for by name, it says what is wrong with it.
            return ()

    @staticmethod
    def _descriptions() -> tuple[str, ...]:
        return results.COMPUTED, f"{OUTPUT_FOLDER}/{results.COMPUTED}"

    def _pick(self, name: str | None, kinds: tuple[str, ...], what: str) -> ResultFile:
        if name is not None:
            return self[name]
        files = [one for one in self._files.values() if one.name not in self._descriptions() and one.kind in kinds]
        main = [one for one in files if one.name in self._main_names()]
        if len(files) == 1 or len(main) == 1:
            return files[0] if len(files) == 1 else main[0]
        raise ResultNotFoundError(
            f"the result has {len(files)} candidates for a {what}",
            context={"found": _listed([one.name for one in files]), "files": _listed(tuple(self))},
            hint="give the name of the file",
        )


def _listed(names: tuple[str, ...] | list[str]) -> str:
    more = f" and {len(names) - FILES_SHOWN:,} more" if len(names) > FILES_SHOWN else ""
    return ", ".join(shown(name, 60) for name in names[:FILES_SHOWN]) + more or "none"

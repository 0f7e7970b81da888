"""What a run gave back: files of a checked archive that open as tables, pictures, text or JSON.

Nothing in here runs code from a result: no pickle, no HTML, no SVG. The archive was checked before its first byte was
read.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from iexec_nb.errors import ResultNotFoundError, ValidationError
from iexec_nb.protocol import foreign
from iexec_nb.protocol.execution import Task
from iexec_nb.protocol.results import Archive
from iexec_nb.protocol.types import shown

if TYPE_CHECKING:
    import pandas as pd
    from IPython.display import Image

_TABLES = (".csv", ".tsv", ".parquet", ".json", ".jsonl")
_IMAGES = {b"\x89PNG\r\n\x1a\n": "png", b"\xff\xd8\xff": "jpeg", b"GIF8": "gif"}


class ResultFile:
    """One file of a result; it is read when it is asked for."""

    def __init__(self, archive: Archive, name: str) -> None:
        self._archive = archive
        self.name = name

    @property
    def bytes(self) -> bytes:
        """The content."""
        return self._archive.read(self.name)

    def text(self, encoding: str = "utf-8") -> str:
        """Return the content as text.

        Raises
        ------
        ValidationError
            When it is not text in that encoding.
        """
        try:
            return self.bytes.decode(encoding)
        except (UnicodeDecodeError, LookupError) as error:
            raise self._unreadable(f"text ({encoding})", error) from error

    def json(self) -> Any:
        """Return the value of a JSON file.

        Raises
        ------
        ValidationError
            When it is not JSON.
        """
        try:
            return foreign.loads(self.bytes)
        except (ValueError, RecursionError) as error:
            raise self._unreadable("JSON", error) from error

    def table(self, **options: Any) -> pd.DataFrame:
        """Return a CSV, TSV, Parquet or JSON file as a DataFrame; options go to the pandas reader.

        Raises
        ------
        ValidationError
            When the file is not a table.
        """
        import pandas as pd

        readers: dict[str, Any] = {
            ".csv": pd.read_csv,
            ".tsv": lambda file, **more: pd.read_csv(file, sep="\t", **more),
            ".parquet": pd.read_parquet,
            ".json": pd.read_json,
            ".jsonl": lambda file, **more: pd.read_json(file, lines=True, **more),
        }
        reader = readers.get(PurePosixPath(self.name).suffix.lower())
        if reader is None:
            raise ValidationError(f"{self.name!r} is not a table", hint=f"tables end in {', '.join(_TABLES)}")
        try:
            table: pd.DataFrame = reader(io.BytesIO(self.bytes), **options)
        except (ValueError, ImportError, UnicodeDecodeError) as error:
            raise self._unreadable("a table", error) from error
        return table

    def image(self) -> Image:
        """Return a PNG, JPEG or GIF as an image that a notebook shows.

        Raises
        ------
        ValidationError
            When the bytes are none of these, whatever the name says.
        """
        from IPython.display import Image

        content = self.bytes
        kind = next((kind for start, kind in _IMAGES.items() if content.startswith(start)), None)
        if kind is None:
            raise ValidationError(
                f"{self.name!r} is not a picture", hint="PNG, JPEG and GIF are shown; read it as .bytes"
            )
        return Image(data=content, format=kind)  # type: ignore[no-untyped-call]

    def __len__(self) -> int:
        return self._archive.sizes[self.name]

    def __repr__(self) -> str:
        return f"ResultFile({shown(self.name)!r}, {len(self)} bytes)"

    def _unreadable(self, what: str, error: Exception) -> ValidationError:
        return ValidationError(
            f"{self.name!r} cannot be read as {what}",
            context={"reason": shown(str(error), 200)},
            hint="read it as .bytes",
        )


class Result(Mapping[str, ResultFile]):
    """The files of one task's result, by name.

    Attributes
    ----------
    task
        The task, or None for an archive that was opened from disk.
    encrypted
        Whether it came encrypted for the beneficiary.
    verified
        Whether the content has the digest that the workers agreed on; None where that is not known.
    """

    def __init__(self, archive: Archive, *, task: Task | None, encrypted: bool, verified: bool | None) -> None:
        self._archive = archive
        self._files = {name: ResultFile(archive, name) for name in archive.names}
        self.task = task
        self.encrypted = encrypted
        self.verified = verified

    def __getitem__(self, name: str) -> ResultFile:
        if name in self._files:
            return self._files[name]
        from difflib import get_close_matches

        close = get_close_matches(str(name), self._files, 1)
        hint = f"did you mean {close[0]!r}?" if close else f"the files are {', '.join(map(repr, self._files))}"
        raise ResultNotFoundError(f"the result has no file {shown(name)!r}", hint=hint)

    def __contains__(self, name: object) -> bool:
        return name in self._files

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)

    @property
    def computed(self) -> dict[str, Any]:
        """What the app wrote in ``computed.json``."""
        return self._archive.computed

    def table(self, name: str | None = None, **options: Any) -> pd.DataFrame:
        """Return a file as a DataFrame; without a name the only table there is (see `ResultFile.table`)."""
        return self[name or self._only(_TABLES, "table")].table(**options)

    def json(self, name: str | None = None) -> Any:
        """Return the value of a JSON file; without a name the only one there is."""
        return self[name or self._only((".json",), "JSON file")].json()

    def text(self, name: str | None = None) -> str:
        """Return a file as text; without a name the only text file there is."""
        return self[name or self._only((".txt", ".md", ".log"), "text file")].text()

    def image(self, name: str | None = None) -> Image:
        """Return a picture; without a name the only one there is."""
        return self[name or self._only((".png", ".jpg", ".jpeg", ".gif"), "picture")].image()

    def save(self, folder: str | Path) -> list[Path]:
        """Write all files into a folder, which is made; return their paths.

        Raises
        ------
        UnsafeArchiveError
            When a file would land outside the folder; nothing is written then.
        """
        return self._archive.extract(Path(folder).expanduser())

    def __repr__(self) -> str:
        checked = {True: "verified", False: "NOT what the workers agreed on", None: "digest not checked"}[self.verified]
        files = "".join(f"\n  {shown(file.name)}  {len(file)} bytes" for file in self._files.values())
        return f"Result({len(self)} files, {'encrypted, ' if self.encrypted else ''}{checked}){files}"

    def _only(self, suffixes: tuple[str, ...], what: str) -> str:
        names = [n for n in self._files if n.lower().endswith(suffixes) and n != "computed.json"]
        if len(names) == 1:
            return names[0]
        found = ", ".join(map(repr, names)) or "none"
        raise ResultNotFoundError(
            f"the result has {len(names)} candidates for a {what}", context={"found": found, "files": ", ".join(self)},
            hint="give the name of the file",
        )  # fmt: skip

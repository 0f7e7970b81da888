"""How the files of a result reach a folder: all of them or none, and none outside it.

Everything is written and checked in a temporary folder beside the goal first and then moved. What is there already is
kept, unless it is the same or the person says that it may go; links are not followed.
"""

from __future__ import annotations

import filecmp
import os
import re
import shutil
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO

from iexec_nb.errors import ConfigurationError, UnsafeArchiveError, ValidationError
from iexec_nb.protocol.result_files import Files
from iexec_nb.protocol.types import shown

_NOT_ON_WINDOWS = re.compile(r'[<>:"|?*]|[ .](/|$)')


def extract(
    files: Files, directory: str | Path, *, overwrite: bool = False, windows: bool = os.name == "nt"
) -> list[Path]:
    """Write all files, or none, and return their paths; they get mode 600.

    Parameters
    ----------
    files
        The files, whose names were judged.
    directory
        Where to; made when it does not exist.
    overwrite
        Replace files that are there already with other content.
    windows
        Whether names must be such that Windows knows.

    Raises
    ------
    UnsafeArchiveError
        When the content of a file is not what the archive declares, or this system would give a file another name.
    ValidationError
        When a file with other content, or a link, is in the way.
    ConfigurationError
        When the folder cannot be written.
    """
    target = path_of(directory)
    _check_names(files, windows)
    try:
        home = target if target.is_dir() else target.absolute().parent
        home.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=".result-", suffix=".part", dir=home))
    except OSError as error:
        raise ConfigurationError(f'"{target.name}" cannot be written: {error.strerror}') from error
    try:
        _unpack(files, staging)
        if target.is_dir():
            _move(files, staging, target, overwrite)
        else:
            _make_way(target)
            staging.rename(target)
    except OSError as error:
        raise ConfigurationError(f'"{target.name}" cannot be written: {error.strerror}') from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return [target / name for name in files.names]


def path_of(given: object) -> Path:
    """Return a path that has a name, with ``~`` as the person's own folder.

    Raises
    ------
    ValidationError
        When it is something else.
    """
    with suppress(RuntimeError):
        # "~somebody" of whom this machine knows no home
        if isinstance(given, str | os.PathLike) and str(given) and "\0" not in str(given):
            return Path(given).expanduser()
    raise ValidationError(f"{shown(given)!r} is not a path", hint="give the path of a file or folder as text or a Path")


def _check_names(files: Files, windows: bool) -> None:
    # "a.txt:b" is a hidden part of a.txt there, and "a. " is a.
    for name in (*files.names, *(folder.rstrip("/") for folder in files.folders)) if windows else ():
        if _NOT_ON_WINDOWS.search(name):
            raise UnsafeArchiveError(
                f"{shown(name)} is not a name on Windows",
                context={"written": "nothing"},
                hint="read it from the result, result[name].bytes, and write it under another name",
            )


def _unpack(files: Files, folder: Path) -> None:
    for name in files.folders:
        (folder / name).mkdir(parents=True, exist_ok=True)
    for name in files.names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "xb", opener=_private) as file:
            files.copy(name, file)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _move(files: Files, staging: Path, target: Path, overwrite: bool) -> None:
    for name in (*files.folders, *files.names):
        _check_place(target, name, staging / name, overwrite)
    for name in files.folders:
        (target / name).mkdir(parents=True, exist_ok=True)
    for name in files.names:
        place = target / name
        place.parent.mkdir(parents=True, exist_ok=True)
        (staging / name).replace(place)


def _make_way(target: Path) -> None:
    if target.is_symlink() or target.exists():
        raise ValidationError(
            f"{target} is in the way and is not a folder",
            hint="give the name of a folder, or of one that does not exist",
        )


def _check_place(target: Path, name: str, new: Path, overwrite: bool) -> None:
    place = target
    parts = name.rstrip("/").split("/")
    for part in parts:
        place = place / part
        if place.is_symlink():
            raise ValidationError(f"{place} is a link and would be followed", hint="save into another folder")
    for folder in list(place.parents)[: len(parts) - 1] + ([place] if name.endswith("/") else []):
        if folder.exists() and not folder.is_dir():
            raise ValidationError(f"{folder} is in the way and is not a folder", hint="save into another folder")
    if name.endswith("/") or not place.exists():
        return
    if place.is_dir() or not (overwrite or filecmp.cmp(place, new, shallow=False)):
        raise ValidationError(
            f"{place} exists with other content", hint="save into another folder, or pass overwrite=True"
        )


def save_file(files: Files, name: str, target: Path, *, overwrite: bool = False) -> Path:
    """Write one file, whole or not at all, with mode 600, and return its path.

    Parameters
    ----------
    files, name
        Which one.
    target
        A folder that exists, where it gets the last part of its own name, or the path of the file.
    overwrite
        Replace a file that is there.

    Raises
    ------
    ValidationError
        When there is a file already, a link is in the way, or the folder does not exist.
    UnsafeArchiveError
        As `extract`; nothing is written then.
    ConfigurationError
        When it cannot be written.
    """
    place = target / name.rpartition("/")[2] if target.is_dir() else target
    return write_whole(lambda file: files.copy(name, file), place, overwrite=overwrite)


def write_whole(write: Callable[[IO[bytes]], None], target: Path, *, overwrite: bool = False) -> Path:
    """Have a file of mode 600 written beside its place, which it takes when all is well, and return its path.

    Parameters
    ----------
    write
        Writes the content into an open file.
    target
        The place, in a folder that exists.
    overwrite
        Replace a file that is there.

    Raises
    ------
    ValidationError
        When there is something already, or the folder does not exist.
    ConfigurationError
        When it cannot be written.
    """
    if not target.parent.is_dir():
        raise ValidationError(f"the folder {target.parent} does not exist", hint="make it first")
    if target.is_dir() or (not overwrite and os.path.lexists(target)):
        raise ValidationError(f"{target} exists", hint="give another name, or pass overwrite=True")
    try:
        handle, beside = tempfile.mkstemp(prefix=f".{target.name[:100]}-", suffix=".part", dir=target.parent)
        try:
            with open(handle, "wb") as file:
                write(file)
            os.replace(beside, target)
        finally:
            Path(beside).unlink(missing_ok=True)
    except OSError as error:
        raise ConfigurationError(f'"{target.name}" cannot be written: {error.strerror}') from error
    return target

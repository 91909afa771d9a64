"""Files that are written atomically: whole, or not at all."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hiermodels.core.messages import short
from hiermodels.errors import DataError


class MissingFileError(DataError, FileNotFoundError):
    """There is no such file."""


def as_path(path: str | os.PathLike[str]) -> Path:
    """Return a path that the system can look up, whether there is anything or not.

    Raises
    ------
    DataError
        If it is no path, or one that no file can have.
    """
    try:
        place = Path(path)
        place.exists()
    except (TypeError, ValueError) as error:
        raise DataError(f"expected a path; found {short(path)}") from error
    except OSError as error:
        raise DataError(f"{short(str(path))}: {error.strerror or error}") from error
    return place


def target(path: str | os.PathLike[str]) -> Path:
    """Return the file that a path stands for, links followed, if a file can be written there.

    Raises
    ------
    DataError
        If the folder is missing or may not be written to, or the path is a folder or something
        else that is no file.
    """
    place = Path(os.path.realpath(as_path(path)))
    if place.exists() and not place.is_file():
        what = "a folder" if place.is_dir() else "not a regular file"
        raise DataError(f"cannot write {str(path)!r}: it is {what}; name a file")
    _require_writable(path, place.parent)
    return place


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a new, empty file that takes a path's place when all went well, and else is removed.

    It lies in the same folder and has the same suffix.  Until the end of the block nothing is
    changed at the path itself; then the new file, which has reached the disk, is moved there in
    one step.

    Raises
    ------
    DataError
        If the file cannot be written: no folder, no permission, no space.
    """
    final = target(path)
    temporary = final.with_name(f".{secrets.token_hex(8)}{final.suffix}")
    try:
        try:
            temporary.open("xb").close()
            if final.exists():
                shutil.copymode(final, temporary)
            yield temporary
            _flush(temporary)
            os.replace(temporary, final)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise DataError(
            f"cannot write {str(path)!r}: {error.strerror or error}. What was there before is as "
            f"it was"
        ) from error


@contextmanager
def replacing_folder(
    path: str | os.PathLike[str], may_replace: Callable[[Path], bool]
) -> Iterator[Path]:
    """Give a new, empty folder that takes a path's place when all went well, and else is removed.

    It lies beside the path.  A folder that is there is set aside for the moment of the change,
    put back if that fails, and removed afterwards.

    Parameters
    ----------
    path : str or path
    may_replace : callable
        Whether a folder that is there, and not empty, is of a kind that may be replaced.

    Raises
    ------
    DataError
        If the folder may not be replaced, or cannot be written: no permission, no space.
    """
    final = _target_folder(path, may_replace)
    temporary, aside = (final.with_name(f".{secrets.token_hex(8)}") for _ in range(2))
    try:
        try:
            temporary.mkdir()
            yield temporary
            for file in temporary.rglob("*"):
                if file.is_file():
                    _flush(file)
            if final.exists():
                os.replace(final, aside)
            try:
                os.replace(temporary, final)
            except OSError:
                if aside.exists():
                    os.replace(aside, final)
                raise
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(aside, ignore_errors=True)
    except OSError as error:
        raise DataError(
            f"cannot write {str(path)!r}: {error.strerror or error}. What was there before is as "
            f"it was"
        ) from error


def _target_folder(path: str | os.PathLike[str], may_replace: Callable[[Path], bool]) -> Path:
    """Return the folder that a path stands for, links followed, if it can be written there."""
    folder = Path(os.path.realpath(as_path(path)))
    if folder.exists() and not folder.is_dir():
        raise DataError(f"cannot write {str(path)!r}: it is a file; name a folder")
    if folder.is_dir() and any(folder.iterdir()) and not may_replace(folder):
        raise DataError(
            f"cannot write {str(path)!r}: this folder holds something else, which would be lost. "
            f"Name another folder, or remove this one"
        )
    _require_writable(path, folder.parent)
    return folder


def _require_writable(path: str | os.PathLike[str], folder: Path) -> None:
    """Raise DataError if the folder is missing or may not be written to."""
    if not folder.is_dir():
        raise DataError(f"cannot write {str(path)!r}: there is no folder {str(folder)!r}")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise DataError(f"cannot write {str(path)!r}: no permission to write in {str(folder)!r}")


def _flush(path: Path) -> None:
    """Wait until a file's content is on the disk."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


@contextmanager
def needing(package: str, extra: str, what: str) -> Iterator[None]:
    """Import a package that not everybody has.

    Raises
    ------
    DataError
        If it is not there, with how to install it.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != package:
            raise
        raise DataError(
            f"{what} needs the package {package!r}, which is not installed; pip install "
            f"'hiermodels[{extra}]'"
        ) from error


def read_matrix(path: Path) -> Any:
    """Read a matrix of numbers: ``.csv`` without names, or ``.npy``.

    Raises
    ------
    DataError
        If there is no such file, or it holds something else.
    """
    import numpy as np

    if path.suffix not in (".csv", ".npy"):
        raise DataError(f"{str(path)!r}: expected a matrix in a file .csv or .npy")
    try:
        return np.load(path) if path.suffix == ".npy" else np.loadtxt(path, delimiter=",", ndmin=2)
    except (OSError, ValueError, EOFError) as error:
        if not path.exists():
            raise DataError(f"there is no file {str(path)!r}") from error
        raise DataError(f"{str(path)!r} cannot be read: {error}") from error

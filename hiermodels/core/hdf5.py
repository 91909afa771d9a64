"""HDF5 files looked at before they are read: whether they are damaged, and what they would do.

HDF5 believes what a file says.  One that is damaged can keep it busy for ever, and one that was
made for it can name other files, groups inside themselves, or arrays larger than any memory.
"""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import Any

import h5py

MARK = b"\nhiermodels sha256 "  # what a seal begins with; a checksum and the end of a line follow
SEAL = len(MARK) + 64 + 1  # bytes
MAX_FOLD = 1100  # times smaller than its numbers a file may be: deflate reaches 1032
DEEPEST = 32  # groups within groups


def sealed(image: bytes) -> bytes:
    """A file's content with its own checksum behind its end, where HDF5 does not look.

    HDF5 cuts a seal off when it changes a file.
    """
    return image + MARK + sha256(image).hexdigest().encode() + b"\n"


def screen(file: Path) -> None:
    """Raise ValueError if a file is not as it was sealed, or holds what no netCDF file needs.

    Raises
    ------
    ValueError
        If a seal does not agree with the content; or there are links to groups elsewhere in the
        file, or to other files; or arrays are declared that the file is too small for.
    OSError
        If it is no HDF5.
    """
    _check_seal(file)
    with h5py.File(file) as opened:
        declared = _declared(opened)
    size = file.stat().st_size
    if declared > MAX_FOLD * size:
        raise ValueError(f"arrays of {declared:,} bytes declared in a file of {size:,}")


def _check_seal(file: Path) -> None:
    size = file.stat().st_size
    with file.open("rb") as opened:
        opened.seek(max(size - SEAL, 0))
        end = opened.read()
        if not end.startswith(MARK):
            return
        opened.seek(0)
        if _digest(opened, size - SEAL) != end[len(MARK) : -1].decode("ascii", "replace"):
            raise ValueError("content that does not agree with its checksum")


def _digest(opened: Any, size: int) -> str:
    """Checksum of the first bytes of a file."""
    digest = sha256()
    while size > 0 and (part := opened.read(min(size, 1 << 20))):
        digest.update(part)
        size -= len(part)
    return digest.hexdigest()


def _declared(opened: h5py.File) -> int:
    """Bytes of all arrays as they are declared, all links being looked at."""
    total, seen = 0, {_place(opened)}
    waiting: list[tuple[h5py.Group, int]] = [(opened, 0)]
    while waiting:
        group, depth = waiting.pop()
        for name in group:
            _require_plain(group, name)
            item = group[name]
            if isinstance(item, h5py.Dataset):
                total += _size(item)
            elif isinstance(item, h5py.Group):
                if _place(item) in seen or depth == DEEPEST:
                    raise ValueError(f"a group {item.name[:80]!r} within itself, or too deep")
                seen.add(_place(item))
                waiting.append((item, depth + 1))
    return total


def _require_plain(group: h5py.Group, name: str) -> None:
    """Raise ValueError if there are links by name, which may lead anywhere."""
    link = group.get(name, getlink=True)
    if not isinstance(link, h5py.HardLink):
        raise ValueError(f"a link {name!r} to {link.path!r}, elsewhere")


def _size(dataset: h5py.Dataset) -> int:
    """Bytes that an array takes, if they are in this file."""
    if dataset.external or dataset.is_virtual:
        raise ValueError(f"an array {dataset.name!r} whose numbers are in another file")
    return int(dataset.size or 0) * dataset.dtype.itemsize


def _place(group: h5py.Group) -> int:
    """Where in the file a group stands, whatever it is called."""
    return int(h5py.h5o.get_info(group.id).addr)

"""A netCDF file with groups of a datatree, and one more group with all that is no array."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from hiermodels.core.codec import pack, unpack
from hiermodels.core.files import MissingFileError, as_path, replacing
from hiermodels.core.hdf5 import screen, sealed
from hiermodels.core.messages import listed
from hiermodels.errors import DataError, SpecError

FORMAT = 1  # raised when a file is laid out so that older versions cannot read it
OWN = "/hiermodels"  # group of a file that is no group of the datatree
ENGINE: Any = "h5netcdf"


type Groups = dict[str, xr.Dataset]


def write(path: str | os.PathLike[str], groups: Groups, content: Mapping[str, Any]) -> Path:
    """Write groups of a datatree, and this package's own group beside them.

    Raises
    ------
    SpecError, DataError
        As :func:`save`.
    """
    groups, renamed = without_spaces(groups)
    arrays: dict[str, Any] = {}
    packed = {name: pack(value, name, arrays) for name, value in content.items()}
    own = xr.Dataset(arrays)
    groups |= {OWN: own}
    checksums = _checksums(groups)
    record = {"content": packed, "renamed": renamed, "axes": _axes(groups), "checksums": checksums}
    own.attrs = _attrs(record)
    image = _image(groups)
    with replacing(path) as temporary:
        temporary.write_bytes(image)
        check_written(temporary, checksums)
    return Path(path)


def read(path: str | os.PathLike[str]) -> tuple[Groups, dict[str, Any]]:
    """Read what :func:`write` has written; of a file from elsewhere, its groups and no content.

    Raises
    ------
    FileNotFoundError, DataError
        As for :func:`load`.
    """
    groups = read_groups(path)
    own = groups.pop(OWN, xr.Dataset())
    if "format_version" not in own.attrs:
        return groups, {}
    check_version(path, own)
    with explaining(path):
        return groups, restored(groups, own)


def restored(groups: Groups, own: xr.Dataset) -> dict[str, Any]:
    """Check a file's groups against its record, restore them, and return what else it holds."""
    record = _record(own)
    if not record["checksums"].items() <= _checksums(groups | {OWN: own}).items():
        raise ValueError("numbers or text that do not agree with their checksums")
    _restore_axes(groups | {OWN: own}, record["axes"])
    for name, names in record["renamed"].items():
        groups[name] = groups[name].rename(names)
    return {name: unpack(stored, own) for name, stored in record["content"].items()}


def read_groups(path: str | os.PathLike[str]) -> Groups:
    """Read all groups of a file into memory, by their paths."""
    file = as_path(path)
    if not file.exists():
        raise MissingFileError(f"there is no file {str(path)!r}")
    if not file.is_file():
        what = "a folder" if file.is_dir() else "what is not a regular file"
        raise DataError(f"{str(path)!r}: expected a netCDF file; found {what}")
    with explaining(path):
        screen(file)
        with _opened(file) as opened:
            return {name: dataset.load().drop_encoding() for name, dataset in opened.items()}


@contextmanager
def _opened(file: Path) -> Iterator[Groups]:
    groups = xr.open_groups(file, engine=ENGINE, cache=False, phony_dims="access")
    try:
        yield groups
    finally:
        for dataset in groups.values():
            dataset.close()


@contextmanager
def explaining(path: str | os.PathLike[str]) -> Iterator[None]:
    """Tell all that may go wrong with a foreign or damaged file: HDF5 raises many kinds."""
    try:
        yield
    except DataError as error:
        raise DataError(f"{str(path)!r} cannot be read: {error}") from error
    except Exception as error:
        raise DataError(
            f"{str(path)!r} cannot be read: expected a whole netCDF-4 (HDF5) file; found "
            f"{type(error).__name__}: {error}. It may be another kind of file, cut off or damaged"
        ) from error


def check_version(path: str | os.PathLike[str], own: xr.Dataset) -> None:
    """Raise DataError if this version does not read the file's format."""
    from hiermodels import __version__

    version = own.attrs["format_version"]
    if version != FORMAT:
        raise DataError(
            f"{str(path)!r} was written by hiermodels {own.attrs.get('hiermodels_version')} in "
            f"format {version}; this version, {__version__}, reads format {FORMAT}. Install that "
            f"version or a later one"
        )


def groups_of(tree: xr.DataTree) -> Groups:
    """The groups of a datatree by their paths."""
    groups = {node.path: node.to_dataset(inherit=False) for node in tree.subtree}
    if OWN in groups:
        raise SpecError(f"datatree: a group {OWN!r} cannot be stored; give it another name")
    return groups


def without_spaces(groups: Groups) -> tuple[Groups, dict[str, dict[str, str]]]:
    """Rename coordinates that netCDF could not tell from data; returns how to undo it, too.

    It lists the coordinates that are no dimensions with spaces between them.
    """
    renamed: dict[str, dict[str, str]] = {}
    for path, dataset in groups.items():
        spaced = [str(name) for name in dataset.coords if " " in str(name)]
        for name in set(spaced).difference(map(str, dataset.dims)):
            new = name.replace(" ", "_")
            while new in dataset.variables:
                new += "_"
            dataset = dataset.rename({name: new})
            renamed.setdefault(path, {})[new] = name
        groups = groups | {path: dataset}
    return groups, renamed


def _axes(groups: Groups) -> dict[str, list[int]]:
    """Order of the axes in memory, the slowest first, where it is not their own order.

    The last digits of a sum depend on it.
    """
    orders = {}
    for path, dataset in groups.items():
        for name, variable in dataset.data_vars.items():
            order = np.argsort([-step for step in variable.to_numpy().strides], kind="stable")
            if (order != np.arange(variable.ndim)).any():
                orders[f"{path}/{name}"] = order.tolist()
    return orders


def _restore_axes(groups: Groups, orders: Mapping[str, list[int]]) -> None:
    """Lay variables out in memory as they were."""
    for path, order in orders.items():
        group, _, name = path.rpartition("/")
        values = groups[group][name].to_numpy()
        ordered = np.ascontiguousarray(values.transpose(order))
        groups[group][name].data = ordered.transpose(np.argsort(order))


def _checksums(groups: Groups) -> dict[str, str]:
    """Checksums of groups' attributes and of variables, by path; HDF5 overlooks some damage."""
    attributes = {path: text_checksum(_plain(dataset.attrs)) for path, dataset in groups.items()}
    attributes.pop(OWN, None)  # where the checksums are
    variables = {
        f"{path}/{name}": _checksum(variable, is_coordinate=name in dataset.coords)
        for path, dataset in groups.items()
        for name, variable in dataset.variables.items()
    }
    return attributes | variables


def _checksum(variable: xr.Variable, is_coordinate: bool) -> str:
    values = variable.to_numpy()
    text: list[Any] = [variable.dims, values.shape, is_coordinate, _plain(variable.attrs)]
    if values.dtype.kind in "OUT":
        text.append(values.tolist())
    digest = sha256(text_checksum(text).encode())
    if values.dtype.kind in "biuf":
        for part in [values] if values.flags.c_contiguous else values:  # no copy of all draws
            digest.update(np.ascontiguousarray(part))
    return digest.hexdigest()


def _plain(attrs: Mapping[Any, Any]) -> dict[str, Any]:
    """Attributes as lists: netCDF knows no difference between a list of one and the one."""
    return {str(name): np.atleast_1d(value).tolist() for name, value in attrs.items()}


def text_checksum(value: Any) -> str:
    """Checksum of what JSON can write."""
    return sha256(json.dumps(value, default=str).encode()).hexdigest()


def _image(groups: Groups) -> bytes:
    """Make the file in memory: HDF5 does not survive a disk that is full."""
    plain = {name: dataset.drop_encoding() for name, dataset in groups.items()}
    encoding = {
        name: {
            variable: {"_FillValue": None}
            for variable, values in dataset.variables.items()
            if values.dtype.kind == "f"
        }
        for name, dataset in plain.items()
    }
    image = BytesIO()
    try:
        xr.DataTree.from_dict(plain).to_netcdf(image, engine=ENGINE, encoding=encoding)
    except Exception as error:  # of many kinds
        raise SpecError(
            f"this fit cannot be stored as netCDF: {type(error).__name__}: {error}. It holds text "
            f"without NUL and numbers; names must not be empty or '.'"
        ) from error
    return sealed(image.getvalue())


def check_written(file: Path, checksums: Mapping[str, str]) -> None:
    """Raise SpecError if a file would not be read as it was written: netCDF reserves some names."""
    with _opened(file) as opened:
        stored = _checksums(opened)
    differ = [name for name, checksum in checksums.items() if stored.get(name) != checksum]
    if differ:
        raise SpecError(
            f"this fit cannot be stored as netCDF: {listed(differ)} would not be read as it is "
            f"written. Give the columns other names"
        )


def _attrs(record: Mapping[str, Any]) -> dict[str, Any]:
    """Attributes of this package's own group."""
    from hiermodels import __version__

    text = json.dumps(record)
    return {
        "format_version": FORMAT,
        "hiermodels_version": __version__,
        "record": text,
        "record_sha256": text_checksum(text),
    }


def _record(own: xr.Dataset) -> dict[str, Any]:
    """Read the record, if it is the one that was written."""
    text = own.attrs["record"]
    if text_checksum(text) != own.attrs["record_sha256"]:
        raise ValueError("a record of the model that does not agree with its checksum")
    record: dict[str, Any] = json.loads(text)
    return record

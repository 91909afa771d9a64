"""Posteriors as files, and back, bit for bit.

A file is netCDF, with the groups of ``datatree`` as ArviZ knows them, and one more group, called
``hiermodels``: arrays of the data, and as JSON in its attribute ``record`` all that is no array.
Nothing in a file is ever executed: objects are stored as the name of one of a few classes and the
values of its fields.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from hiermodels.core.files import MissingFileError, as_path, replacing, target
from hiermodels.core.hdf5 import screen, sealed
from hiermodels.core.messages import listed
from hiermodels.data.design import Design
from hiermodels.data.grouped import GroupedData, GroupedRows
from hiermodels.data.roles import Roles
from hiermodels.data.statistics import SufficientStatistics
from hiermodels.errors import DataError, SpecError
from hiermodels.exact.kernels.tree.tree import UpperDraws
from hiermodels.exact.marginal import DrawsOnDemand, Marginal, Values
from hiermodels.exact.standardize import standardize
from hiermodels.model.priors import PRIORS
from hiermodels.model.spec import Spec
from hiermodels.posterior.record import SAMPLE_DIMS, Posterior

FORMAT = 1  # raised when a file is laid out so that older versions cannot read it
STATISTICS = "statistics"
OWN = "/hiermodels"  # group of a file that is no group of the datatree
ENGINE: Any = "h5netcdf"
CLASSES: Mapping[str, type[Any]] = {
    **{
        kind.__name__: kind
        for kind in (Spec, GroupedRows, SufficientStatistics, Roles, Design, UpperDraws)
    },
    **PRIORS,
}

type Groups = dict[str, xr.Dataset]


def save(posterior: Posterior, path: str | os.PathLike[str]) -> Path:
    """Write a posterior to a file, whole or not at all.

    The file is made in memory, which takes as much as the draws do, and compared with what it
    shall hold before anything is written.

    Parameters
    ----------
    posterior : Posterior
    path : str or path
        A file that is there already is replaced, in one step, at the end.

    Returns
    -------
    Path
        Of the file.

    Raises
    ------
    SpecError
        If something cannot be stored: a prior of a class of the user's own, or names that netCDF
        has not.
    DataError
        If the file cannot be written; what was there before is as it was.
    """
    target(path)
    content = {
        "spec": posterior.spec,
        "data": posterior.data,
        "engine": posterior.engine,
        "certificate": posterior.certificate,
        "draw_groups": _on_demand(posterior),
    }
    return write(path, groups_of(posterior.datatree), content)


def save_statistics(statistics: SufficientStatistics, path: str | os.PathLike[str]) -> Path:
    """Write statistics to a file, whole or not at all, as :func:`save` does.

    Raises
    ------
    SpecError, DataError
        As :func:`save`.
    """
    target(path)
    return write(path, {}, {STATISTICS: statistics})


def write(path: str | os.PathLike[str], groups: Groups, content: Mapping[str, Any]) -> Path:
    """Write groups of a datatree, and this package's own group beside them.

    Raises
    ------
    SpecError, DataError
        As :func:`save`.
    """
    groups, renamed = without_spaces(groups)
    arrays: dict[str, Any] = {}
    packed = {name: _pack(value, name, arrays) for name, value in content.items()}
    own = xr.Dataset(arrays)
    groups |= {OWN: own}
    checksums = _checksums(groups)
    record = {"content": packed, "renamed": renamed, "axes": _axes(groups), "checksums": checksums}
    own.attrs = _attrs(record)
    image = _image(groups)
    with replacing(path) as temporary:
        temporary.write_bytes(image)
        _check_written(temporary, checksums)
    return Path(path)


def load(path: str | os.PathLike[str]) -> Posterior:
    """Read a posterior that :func:`save` has written.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    DataError
        If it is not a file of this kind, is damaged, or was written by a later version.
    """
    groups = _read(path)
    _require_draws(path, groups)
    own = groups.pop(OWN, xr.Dataset())
    if "format_version" not in own.attrs:
        raise DataError(
            f"{str(path)!r}: expected a fit saved by Fit.to_netcdf; found draws from elsewhere. "
            f"They can be opened with xarray.open_datatree and given to hiermodels.compare"
        )
    _check_version(path, own)
    with _explaining(path):
        content = _content(groups, own)
        draw_groups = _draw_groups(content.pop("draw_groups"), content["spec"], content["data"])
        tree = xr.DataTree.from_dict(groups)
        return Posterior(**content, datatree=tree, draw_groups=draw_groups)


def load_statistics(path: str | os.PathLike[str]) -> SufficientStatistics:
    """Read statistics that :func:`save_statistics` has written.

    Raises
    ------
    FileNotFoundError, DataError
        As for :func:`load`.
    """
    content = read(path)[1]
    if STATISTICS not in content:
        raise DataError(
            f"{str(path)!r}: expected statistics saved by SufficientStatistics.to_netcdf; found "
            f"something else. hiermodels.load reads fits"
        )
    statistics: SufficientStatistics = content[STATISTICS]
    return statistics


def read(path: str | os.PathLike[str]) -> tuple[Groups, dict[str, Any]]:
    """Read what :func:`write` has written; of a file from elsewhere, its groups and no content.

    Raises
    ------
    FileNotFoundError, DataError
        As for :func:`load`.
    """
    groups = _read(path)
    own = groups.pop(OWN, xr.Dataset())
    if "format_version" not in own.attrs:
        return groups, {}
    _check_version(path, own)
    with _explaining(path):
        return groups, _content(groups, own)


def _content(groups: Groups, own: xr.Dataset) -> dict[str, Any]:
    """Check a file's groups against its record, restore them, and return what else it holds."""
    record = _record(own)
    if not record["checksums"].items() <= _checksums(groups | {OWN: own}).items():
        raise ValueError("numbers or text that do not agree with their checksums")
    _restore_axes(groups | {OWN: own}, record["axes"])
    for name, names in record["renamed"].items():
        groups[name] = groups[name].rename(names)
    return {name: _unpack(stored, own) for name, stored in record["content"].items()}


def read_draws(path: str | os.PathLike[str]) -> xr.DataTree:
    """Read the groups of any netCDF file with draws, saved here or from elsewhere.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    DataError
        If it is no netCDF-4 file, is damaged, or has no draws.
    """
    groups = _read(path)
    _require_draws(path, groups)
    groups.pop(OWN, None)
    return xr.DataTree.from_dict(groups)


def is_saved_fit(path: str | os.PathLike[str]) -> bool:
    """Whether a file with draws was saved here, with its model and data.

    Raises
    ------
    FileNotFoundError, DataError
        As for :func:`read_draws`.
    """
    groups = _read(path)
    _require_draws(path, groups)
    return OWN in groups


def _read(path: str | os.PathLike[str]) -> Groups:
    """Read all groups of a file into memory, by their paths."""
    file = as_path(path)
    if not file.exists():
        raise MissingFileError(f"there is no file {str(path)!r}")
    if not file.is_file():
        what = "a folder" if file.is_dir() else "what is not a regular file"
        raise DataError(f"{str(path)!r}: expected a netCDF file; found {what}")
    with _explaining(path):
        screen(file)
        with _opened(file) as opened:
            return {name: dataset.load().drop_encoding() for name, dataset in opened.items()}


def _require_draws(path: str | os.PathLike[str], groups: Groups) -> None:
    """Refuse a file without draws."""
    posterior = groups.get("/posterior", xr.Dataset())
    if not set(SAMPLE_DIMS) <= set(posterior.dims):
        raise DataError(
            f"{str(path)!r}: expected netCDF with a group 'posterior' of dimensions 'chain' and "
            f"'draw'; found the groups {listed(list(groups))} and there the dimensions "
            f"{listed(list(posterior.dims))}"
        )


@contextmanager
def _opened(file: Path) -> Iterator[Groups]:
    groups = xr.open_groups(file, engine=ENGINE, cache=False, phony_dims="access")
    try:
        yield groups
    finally:
        for dataset in groups.values():
            dataset.close()


@contextmanager
def _explaining(path: str | os.PathLike[str]) -> Iterator[None]:
    """Tell all that may go wrong with a foreign or damaged file: HDF5 raises many kinds."""
    try:
        yield
    except Exception as error:
        raise DataError(
            f"{str(path)!r} cannot be read: expected a whole netCDF-4 (HDF5) file; found "
            f"{type(error).__name__}: {error}. It may be another kind of file, cut off or damaged"
        ) from error


def _check_version(path: str | os.PathLike[str], own: xr.Dataset) -> None:
    from hiermodels import __version__

    found = own.attrs["format_version"]
    if found != FORMAT:
        raise DataError(
            f"{str(path)!r} was written by hiermodels {own.attrs.get('hiermodels_version')} in "
            f"format {found}; this version, {__version__}, reads format {FORMAT}. Install that "
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
    attributes = {path: _text_checksum(_plain(dataset.attrs)) for path, dataset in groups.items()}
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
    digest = sha256(_text_checksum(text).encode())
    if values.dtype.kind in "biuf":
        for part in [values] if values.flags.c_contiguous else values:  # no copy of all draws
            digest.update(np.ascontiguousarray(part))
    return digest.hexdigest()


def _plain(attrs: Mapping[Any, Any]) -> dict[str, Any]:
    """Attributes as lists: netCDF knows no difference between a list of one and the one."""
    return {str(name): np.atleast_1d(value).tolist() for name, value in attrs.items()}


def _text_checksum(value: Any) -> str:
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


def _check_written(file: Path, checksums: Mapping[str, str]) -> None:
    """Refuse a file that would not be read as it was written: netCDF reserves some names."""
    with _opened(file) as opened:
        found = _checksums(opened)
    differ = [name for name, checksum in checksums.items() if found.get(name) != checksum]
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
        "record_sha256": _text_checksum(text),
    }


def _record(own: xr.Dataset) -> dict[str, Any]:
    """Read the record, if it is the one that was written."""
    text = own.attrs["record"]
    if _text_checksum(text) != own.attrs["record_sha256"]:
        raise ValueError("a record of the model that does not agree with its checksum")
    record: dict[str, Any] = json.loads(text)
    return record


def _pack(value: Any, name: str, arrays: dict[str, Any]) -> Any:
    """Turn a value into what JSON holds; arrays of numbers are put into ``arrays``, by name."""
    if isinstance(value, np.generic):
        return value.item()
    if value is None or isinstance(value, (str, int, float)):
        return value
    if isinstance(value, (tuple, list)):
        return [_pack(item, f"{name}.{i}", arrays) for i, item in enumerate(value)]
    if isinstance(value, np.ndarray):
        if value.dtype.kind not in "biuf":
            return {"labels": value.tolist()}
        arrays[name] = ([f"{name}.{axis}" for axis in range(value.ndim)], value)
        return {"array": name}
    if isinstance(value, Mapping):
        parts = {key: _pack(item, f"{name}.{key}", arrays) for key, item in value.items()}
        return {"mapping": parts}
    kind = type(value)
    if CLASSES.get(kind.__name__) is not kind:
        raise SpecError(
            f"{value!r} in {name} cannot be stored: a file holds numbers and text, and these "
            f"priors: {', '.join(PRIORS)}"
        )
    parts = {  # an empty mapping that is the default is left out: earlier versions read the file
        field.name: _pack(getattr(value, field.name), f"{name}.{field.name}", arrays)
        for field in fields(kind)
        if not (field.default_factory is dict and not getattr(value, field.name))
    }
    return {"class": kind.__name__, "fields": parts}


def _unpack(stored: Any, own: xr.Dataset) -> Any:
    """Undo :func:`_pack`; lists come back as tuples."""
    if isinstance(stored, list):
        return tuple(_unpack(item, own) for item in stored)
    if not isinstance(stored, dict):
        return stored
    if "array" in stored:
        return own[stored["array"]].to_numpy()
    if "labels" in stored:
        return np.array(stored["labels"])
    if "mapping" in stored:
        return {key: _unpack(item, own) for key, item in stored["mapping"].items()}
    parts = {key: _unpack(part, own) for key, part in stored["fields"].items()}
    return CLASSES[stored["class"]](**parts)


def _on_demand(posterior: Posterior) -> dict[str, Any] | None:
    """What draws the groups' values, where that is done on demand."""
    draw = posterior.draw_groups
    if draw is None:
        return None
    if not isinstance(draw, DrawsOnDemand):
        raise SpecError(
            f"draws of the groups that are made on demand by {draw!r} cannot be stored; raise "
            f"memory_budget, so that they are kept"
        )
    values = draw.values
    return {
        "chains": draw.chains,
        "sds": values.sds,
        "upper": values.upper,
        "entropy": values.seed.entropy,
        "spawn_key": values.seed.spawn_key,
    }


def _draw_groups(
    stored: Mapping[str, Any] | None, spec: Spec, data: GroupedData
) -> DrawsOnDemand | None:
    """Undo :func:`_on_demand`."""
    if stored is None:
        return None
    seed = np.random.SeedSequence(stored["entropy"], spawn_key=stored["spawn_key"])
    marginal = Marginal.of(spec, standardize(data))
    return DrawsOnDemand(Values(marginal, stored["sds"], stored["upper"], seed), stored["chains"])

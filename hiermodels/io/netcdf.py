"""Posteriors as files, and back, bit for bit.

A file is netCDF, with the groups of ``datatree`` as ArviZ knows them, and one more group, called
``hiermodels``: arrays of the data, and as JSON in its attribute ``record`` all that is no array.
Nothing in a file is ever executed: objects are stored as the name of one of a few classes and the
values of its fields.
"""

from __future__ import annotations

import os
from pathlib import Path

import xarray as xr

from hiermodels.core.container import (
    OWN,
    Groups,
    check_version,
    explaining,
    groups_of,
    read,
    read_groups,
    restored,
    write,
)
from hiermodels.core.files import target
from hiermodels.core.messages import listed
from hiermodels.core.names import SAMPLE_DIMS
from hiermodels.data.statistics import STATISTICS, SufficientStatistics
from hiermodels.errors import DataError
from hiermodels.io.on_demand import restored_draws, stored_draws
from hiermodels.posterior.record import Posterior


def save(posterior: Posterior, path: str | os.PathLike[str]) -> Path:
    """Write a posterior to a file, atomically.

    The file is made in memory, which takes as much as the draws do, and compared with what it
    shall hold before anything is written.

    Path and errors are those of :meth:`hiermodels.Fit.to_netcdf`.
    """
    target(path)
    content = {
        "spec": posterior.spec,
        "data": posterior.data,
        "engine": posterior.engine,
        "certificate": posterior.certificate,
        "draw_groups": stored_draws(posterior),
    }
    return write(path, groups_of(posterior.datatree), content)


def load(path: str | os.PathLike[str]) -> Posterior:
    """Read a posterior that :func:`save` has written.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    DataError
        If it is not a file of this kind, is damaged, or was written by a later version.
    """
    groups = read_groups(path)
    _require_draws(path, groups)
    own = groups.pop(OWN, xr.Dataset())
    if "format_version" not in own.attrs:
        raise DataError(
            f"{str(path)!r}: expected a fit saved by Fit.to_netcdf; found draws from elsewhere. "
            f"They can be opened with xarray.open_datatree and given to hiermodels.compare"
        )
    check_version(path, own)
    with explaining(path):
        content = restored(groups, own)
        kept = content.pop("draw_groups")
        draw_groups = restored_draws(kept, content["spec"], content["data"])
        tree = xr.DataTree.from_dict(groups)
        return Posterior(**content, datatree=tree, draw_groups=draw_groups)


def load_statistics(path: str | os.PathLike[str]) -> SufficientStatistics:
    """Read statistics that :meth:`SufficientStatistics.to_netcdf` has written.

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


def read_draws(path: str | os.PathLike[str]) -> xr.DataTree:
    """Read the groups of any netCDF file with draws, saved here or from elsewhere.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    DataError
        If it is no netCDF-4 file, is damaged, or has no draws.
    """
    groups = read_groups(path)
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
    groups = read_groups(path)
    _require_draws(path, groups)
    return OWN in groups


def _require_draws(path: str | os.PathLike[str], groups: Groups) -> None:
    """Raise DataError if a file has no draws."""
    posterior = groups.get("/posterior", xr.Dataset())
    if not set(SAMPLE_DIMS) <= set(posterior.dims):
        raise DataError(
            f"{str(path)!r}: expected netCDF with a group 'posterior' of dimensions 'chain' and "
            f"'draw'; found the groups {listed(list(groups))} and there the dimensions "
            f"{listed(list(posterior.dims))}"
        )

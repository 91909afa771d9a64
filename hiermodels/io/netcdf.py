"""Posteriors as files, and back, bit for bit.

A file is netCDF, with the groups of ``datatree`` as ArviZ knows them, and one more group, called
``hiermodels``: arrays of the data, and as JSON in its attribute ``record`` all that is no array.
Nothing in a file is ever executed: objects are stored as the name of one of a few classes and the
values of its fields.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
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
from hiermodels.data.grouped import GroupedData
from hiermodels.data.statistics import STATISTICS, SufficientStatistics
from hiermodels.errors import DataError, SpecError
from hiermodels.exact.effects import DrawsOnDemand, Effects
from hiermodels.exact.kernels.records import UpperDraws
from hiermodels.exact.marginal import Marginal
from hiermodels.exact.standardize import standardize
from hiermodels.model.spec import Spec
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
        "draw_groups": _on_demand(posterior),
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
        draw_groups = _draw_groups(content.pop("draw_groups"), content["spec"], content["data"])
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


def _on_demand(posterior: Posterior) -> dict[str, Any] | None:
    """What draws the groups' effects, where that is done on demand."""
    draw = posterior.draw_groups
    if draw is None:
        return None
    if not isinstance(draw, DrawsOnDemand) or not isinstance(draw.effects, Effects):
        raise SpecError(
            f"draws of the groups that are made on demand by {draw!r} cannot be stored; raise "
            f"memory_budget, so that they are kept"
        )
    effects = draw.effects
    return {
        "chains": draw.chains,
        "sds": effects.sds,
        "upper": _turned(effects.upper),
        "entropy": effects.seed.entropy,
        "spawn_key": effects.seed.spawn_key,
    }


def _draw_groups(
    stored: Mapping[str, Any] | None, spec: Spec, data: GroupedData
) -> DrawsOnDemand | None:
    """Undo :func:`_on_demand`."""
    if stored is None:
        return None
    seed = np.random.SeedSequence(stored["entropy"], spawn_key=stored["spawn_key"])
    marginal = Marginal.of(spec, standardize(data))
    upper = _turned(stored["upper"])
    return DrawsOnDemand(Effects(marginal, stored["sds"], upper, seed), stored["chains"])


def _turned(upper: UpperDraws) -> UpperDraws:
    """Turn the order of the levels: in files they run from the groups' parents to the root."""
    return replace(upper, levels=upper.levels[::-1])

"""Draws from other packages in the shapes of this one: members of a variable, and correlations.

Where other packages have a variable for each effect of a group, these are put together; where they
have a matrix of correlations, its numbers below the diagonal are taken.
"""

from __future__ import annotations

import numpy as np
import xarray as xr

from hiermodels.core.names import SAMPLE_DIMS
from hiermodels.errors import SpecError
from hiermodels.model.level import Level
from hiermodels.posterior.coordinates import coords_of
from hiermodels.posterior.engine import Prepared


def in_shape(draws: xr.Dataset, reference: Prepared) -> xr.Dataset:
    """Put members together, and take correlations from matrices.

    Parameters
    ----------
    draws : Dataset
        With ``tau[Intercept]`` and ``tau[Days]``, say, in place of ``tau``, or with a matrix in
        place of ``rho``.
    reference : Prepared
        The exact posterior, or a fit of it.
    """
    for name in reference.spec.variables:
        draws = _together(draws, reference, name)
    for level in reference.spec.levels:
        if level.correlation in draws:
            draws = _below_diagonal(draws, level)
    return draws


def _together(draws: xr.Dataset, reference: Prepared, name: str) -> xr.Dataset:
    """A variable from its members along its last dimension, if all of these are there."""
    dims = reference.spec.dims(name)
    if name in draws or not dims:
        return draws
    labels = [str(label) for label in coords_of(reference.spec, reference.data)[dims[-1]]]
    members = [f"{name}[{label}]" for label in labels]
    if not all(member in draws for member in members):
        return draws
    along = xr.DataArray(labels, dims=dims[-1], name=dims[-1])
    whole = xr.concat([draws[member] for member in members], along)
    return draws.drop_vars(members).assign({name: whole})


def _below_diagonal(draws: xr.Dataset, level: Level) -> xr.Dataset:
    """Correlations below the diagonal of a matrix, row by row."""
    assert level.correlation is not None
    matrix = draws[level.correlation]
    dims = [dim for dim in matrix.dims if dim not in SAMPLE_DIMS]
    if len(dims) != 2:
        return draws
    e = len(level.terms)
    if any(matrix.sizes[dim] != e for dim in dims):
        raise SpecError(
            f"the draws of {level.correlation!r} have the shape {matrix.shape}; expected a matrix "
            f"of {e} × {e} correlations, or the numbers below its diagonal"
        )
    values = matrix.transpose(*SAMPLE_DIMS, *dims).to_numpy()
    below = values[..., *np.tril_indices(e, -1)]
    own: tuple[tuple[str, ...], np.ndarray] = (SAMPLE_DIMS, below[..., 0])
    rest = draws.drop_vars(level.correlation)
    if len(level.pairs) > 1:
        own = ((*SAMPLE_DIMS, level.dims[1]), below)
        rest = rest.assign_coords({level.dims[1]: list(level.pairs)})
    return rest.assign({level.correlation: own})

"""Rows given all variables: their log density, and rows drawn anew, whether correlated or not.

Where the errors of rows are correlated a row by itself is one given the others: its log density is
``log p(y_i | y_(−i), θ, β)``, which do not add up to that of all rows.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from hiermodels.core.arrays import Floats
from hiermodels.data.grouped import GroupedRows
from hiermodels.model.spec import Spec


def log_likelihoods(
    spec: Spec, rows: GroupedRows, eta: Floats, columns: Mapping[str, Floats]
) -> Floats:
    """Log density of each row, given the others where these say more of it; (..., N).

    Parameters
    ----------
    rows : GroupedRows
    eta, columns
        As :func:`hiermodels.posterior.record.rows_given` returns them.
    """
    if rows.covariance is not None:
        return rows.covariance.log_densities_given_others(rows.y - eta)
    return spec.family.log_likelihood(rows.y, eta, columns)


def log_likelihood(
    spec: Spec, rows: GroupedRows, eta: Floats, columns: Mapping[str, Floats]
) -> Floats:
    """Log density of all rows together; (...,)."""
    if rows.covariance is not None:
        return rows.covariance.log_density(rows.y - eta)
    return np.asarray(spec.family.log_likelihood(rows.y, eta, columns).sum(axis=-1))


def draw(
    spec: Spec,
    rows: GroupedRows,
    eta: Floats,
    columns: Mapping[str, Floats],
    rng: np.random.Generator,
) -> Floats:
    """Draw outcomes of all rows; (..., N)."""
    if rows.covariance is not None:
        return eta + rows.covariance.draw(math.prod(eta.shape[:-1]), rng).reshape(eta.shape)
    return spec.family.draw(eta, columns, rng)

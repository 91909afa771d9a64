"""The joint log density of groups with several effects: rows, then effects level by level.

    Σ_i log N(y_i; z_i'θ + x_i'β, σ²  or  se_i²),    Σ_u log N(θ_u; θ_parent, T),

T with sds τ and correlations ρ.  The first has the sum of squares of what is left of each group's
D_y, and of the rows that are free of effects (:mod:`hiermodels.exact.kernels.blocks.blocks`).  In
units of the sds, a member's deviation is d, and

    log N = −½ (e log 2π + 2 Σ log τ + log det C + d'C⁻¹d).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from hiermodels.core.arrays import LOG_2PI, Floats, Indices
from hiermodels.data.grouped import GroupedData
from hiermodels.exact.block_data import Layout
from hiermodels.exact.kernels.blocks.blocks import Blocks
from hiermodels.model.level import Level
from hiermodels.model.priors.covariance import correlation_matrix
from hiermodels.model.spec import Spec
from hiermodels.posterior.shown_effects import coefficient_of_members


def log_density_of_effects(
    spec: Spec, data: GroupedData, variables: Mapping[str, Floats]
) -> Floats:
    """Log density of the effects of all levels given those above, sds and correlations; (...,).

    Effects whose sd is fixed at 0 are their parents', and have no density of their own.

    Parameters
    ----------
    variables : mapping of str to array
        Draws of any shape (...,): scalars with this shape, others (..., u) or (..., u, e).
    """
    total: Floats = np.zeros(())
    for number, level in enumerate(spec.levels):
        deviation = _effects(level, variables) - parents_effects(spec, data, number, variables)
        sds = variables[level.sd]
        sds = sds if level.has_slopes else sds[..., None]
        some = [j for j, name in enumerate(level.sds) if spec.fixed.get(name) != 0]
        deviation, sds = deviation[..., some], sds[..., some]
        matrix = correlation_matrices(level, variables)[..., some, :][..., some]
        total = total + _log_normal(deviation / sds[..., None, :], matrix)
        total = total - deviation.shape[-2] * np.log(sds).sum(axis=-1)
    return total


def sum_of_squares(
    spec: Spec,
    data: GroupedData,
    blocks: Blocks,
    variables: Mapping[str, Floats],
    members: Indices | slice = slice(None),
) -> Floats:
    """``Σ_i ω_i (y_i − z_i'θ − x_i'β)²``, of any rows that hold what these rows say; (n,).

    Parameters
    ----------
    blocks : Blocks
    variables : mapping of str to array
        Draws: scalars (n,), others (n, u) or (n, u, e).
    members : (g,), optional
        Which groups the blocks are of, by default all.
    """
    layout, groups = Layout(spec), len(spec.levels) - 1
    theta, beta = (
        [coefficient_of_members(spec, data, variables, groups, term) for term in terms]
        for terms in (layout.terms, layout.others)
    )
    theta = [own[..., members] if own.shape[-1] > 1 else own for own in theta]
    left = blocks.rest[:, -1] - sum(b * blocks.rest[:, j] for j, b in enumerate(beta))
    total = (np.atleast_2d(left) ** 2).sum(axis=-1)
    for i, (own, outcome) in enumerate(zip(blocks.designs, blocks.outcome, strict=True)):
        left = outcome[-1] - sum(b * outcome[j] for j, b in enumerate(beta))
        left = left - sum(own[j, blocks.design] * theta[j] for j in range(i, blocks.p))
        total = total + (left**2).sum(axis=-1)
    return total


def _effects(level: Level, variables: Mapping[str, Floats]) -> Floats:
    """Draws (..., u, e) of a level's effects."""
    effects = variables[level.effect]
    return effects if level.has_slopes else effects[..., None]


def parents_effects(
    spec: Spec, data: GroupedData, number: int, variables: Mapping[str, Floats]
) -> Floats:
    """What the effects of a level are distributed around; (..., u or 1, e).

    Parameters
    ----------
    number : int
        Of the level, from the outermost on.
    variables : mapping of str to array
        Draws of all that stands above it, of any shape (...,).
    """
    columns, parent = [], data.levels[number].parent
    for term in spec.levels[number].terms:
        above = coefficient_of_members(spec, data, variables, number - 1, term)
        columns.append(above if above.shape[-1] == 1 else above[..., parent])
    return np.stack(np.broadcast_arrays(*columns), axis=-1)


def correlation_matrices(level: Level, variables: Mapping[str, Floats]) -> Floats:
    """Correlation matrices (..., e, e) of a level's effects."""
    if level.correlation is None:
        return np.eye(len(level.terms))
    rho = variables[level.correlation]
    return correlation_matrix(rho if len(level.pairs) > 1 else rho[..., None])


def _log_normal(deviation: Floats, matrix: Floats) -> Floats:
    """Sum over the members of ``log N(d; 0, C)``, of d (..., u, e) and C (..., e, e); (...,)."""
    inverse = np.linalg.inv(matrix)
    squares = np.einsum("...ui,...ij,...uj->...", deviation, inverse, deviation)
    u, e = deviation.shape[-2:]
    log_det = np.linalg.slogdet(matrix)[1]
    return -0.5 * (u * (e * LOG_2PI + log_det) + squares)

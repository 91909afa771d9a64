"""What the rows of each group of a level say of its effects by themselves, of several effects."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from hiermodels.core.arrays import Flags, Floats
from hiermodels.data.grouped import GroupedData
from hiermodels.exact.block_data import Layout, block_model, residual_sds
from hiermodels.exact.kernels.blocks.blocks import Blocks
from hiermodels.exact.kernels.blocks.upward import said_of_groups
from hiermodels.model.level import INTERCEPT, Level
from hiermodels.model.priors.covariance import correlation_matrix
from hiermodels.model.spec import Spec
from hiermodels.posterior.shown_effects import coefficient_of_members

DETERMINED = 1e-8  # how near to 1 an effect's share in what the rows determine has to be


def coefficients(spec: Spec, data: GroupedData, variables: Mapping[str, Any], level: int) -> Floats:
    """Intercept and slopes of each group of a level, its own or from above it; (u, 1 + q).

    Parameters
    ----------
    variables : mapping of str to array
        A value of each: scalars, effects (u,) or (u, e), and ``beta`` (q,).
    level : int
        0 is the outermost.
    """
    terms, size = (INTERCEPT, *spec.covariates), len(data.levels[level])
    columns = (coefficient_of_members(spec, data, variables, level, term) for term in terms)
    return np.column_stack([np.broadcast_to(column, size) for column in columns])


def raw_coefficients(
    spec: Spec, data: GroupedData, variables: Mapping[str, Any], level: int
) -> Floats:
    """The same, those that vary at this level by least squares from the group's rows; (u, 1 + q).

    With ``D = R θ + D_x β + N(0, σ²I)`` for what the rows below a group say (see
    :mod:`hiermodels.exact.kernels.blocks.blocks`) they minimise ``|D_y − D_x β − R θ|²``, all other
    coefficients being as they are in ``variables``.  At levels above the innermost the groups in
    between are weighted by their own variances.

    Parameters
    ----------
    spec, data, level
        As in :func:`coefficients`.
    variables : mapping of str to array
        As in :func:`coefficients`, sds and correlations of the levels below among them.

    Returns
    -------
    (u, 1 + q)
        nan for what a group's rows do not determine, such as the slope of one row.
    """
    layout, blocks = Layout(spec), _blocks(spec, data, variables)
    table = coefficients(spec, data, variables, level)
    places = {term: j for j, term in enumerate((INTERCEPT, *spec.covariates))}
    said = _said(blocks, layout, data, variables, level)
    r, x, y = np.split(np.moveaxis(said, 2, 0), [blocks.p, blocks.p + blocks.q], axis=2)
    others = [places[term] for term in layout.others]
    own = layout.effects(level)
    rest = [j for j in range(blocks.p) if j not in own]
    held = [places[layout.terms[j]] for j in rest]
    left = y[:, :, 0] - np.einsum("upj,uj->up", x, table[:, others])
    left = left - np.einsum("upj,uj->up", r[:, :, rest], table[:, held])
    solved, determined = _least_squares(r[:, :, own], left)
    table[:, [places[layout.terms[j]] for j in own]] = np.where(determined, solved, np.nan)
    return table


def _residual_sds(spec: Spec, data: GroupedData, variables: Mapping[str, Any]) -> Floats:
    """Residual sds in the order of the arrays, 1 where errors are known; (K, 1)."""
    known = {name: np.asarray(variables[name]) for name in ["sigma"] if spec.has_sigma}
    return np.array(residual_sds(spec, data, known, 1))


def _blocks(spec: Spec, data: GroupedData, variables: Mapping[str, Any]) -> Blocks:
    """The rows, those of strata with their residual sds."""
    blocks, sds = block_model(spec, data).blocks, _residual_sds(spec, data, variables)
    return blocks.given(sds[-1] / sds) if blocks.strata else blocks


def _said(
    blocks: Blocks, layout: Layout, data: GroupedData, variables: Mapping[str, Any], level: int
) -> Floats:
    """[R | D_x | D_y] of each member of a level; (p, p + q + 1, u)."""
    if level == len(blocks.sizes) - 1:
        return said_of_groups(blocks, (), level)[..., 0]
    sigma = float(_residual_sds(layout.spec, data, variables)[-1, 0])
    factors = [
        _factor(layout, number, own, variables) / sigma
        for number, own in enumerate(layout.spec.levels)
    ]
    factors += [np.zeros_like(factors[0])] * (len(blocks.sizes) - len(factors))  # cells of strata
    return said_of_groups(blocks, factors, level)[..., 0]


def _factor(layout: Layout, number: int, own: Level, variables: Mapping[str, Any]) -> Floats:
    """Lower triangular L of a level's covariance; (p, p, 1)."""
    some, sds = layout.effects(number), np.atleast_1d(variables[own.sd])
    matrix = np.eye(len(some))
    if own.correlation:
        matrix = correlation_matrix(np.atleast_1d(variables[own.correlation]))
    factor = np.zeros((len(layout.terms), len(layout.terms), 1))
    factor[np.ix_(some, some, [0])] = (sds[:, None] * np.linalg.cholesky(matrix))[..., None]
    return factor


def _least_squares(r: Floats, d: Floats) -> tuple[Floats, Flags]:
    """θ (u, e) that minimises ``|d − r θ|``, and which of its numbers r (u, p, e) determines."""
    size = np.sqrt((r**2).sum(axis=1, keepdims=True))
    size = np.where(size > 0, size, 1.0)
    inverse = np.linalg.pinv(r / size, rcond=1e-10)
    share = np.einsum("uip,upi->ui", inverse, r / size)
    return np.einsum("uip,up->ui", inverse, d) / size[:, 0], np.abs(share - 1) < DETERMINED

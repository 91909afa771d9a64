"""``log p(y, θ, …)``: the joint log density of the outcome and of all variables of a posterior.

For rows i in groups c, in outer groups s if there are two levels, it is the sum of

    Σ_i log N(y_i; theta_c + x_i'beta, se_i²  or  sigma²)
    Σ_c log N(theta_c; mu  or  mu_s, tau²)       Σ_s log N(mu_s; lam, kappa²)

(of crossed groups ``Σ_i log N(y_i; mu + theta_a + theta_b + x_i'beta, …)`` and, of each column,
``Σ_a log N(theta_a; 0, tau_a²)``)
and of the log densities of the priors.  These are densities of the variables as they are stored: of
an sd τ, also where its prior is stated on the variance, so that ``p(τ²) = 1`` is ``2τ`` and
``p(σ²) = 1/σ²`` is ``2/σ``; a flat prior of a mean, a coefficient or an sd is a factor of 1.  There
is no Jacobian of any other coordinates.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np

from hiermodels.core.arrays import LOG_2PI, Floats, Indices
from hiermodels.core.blas import one_blas_thread
from hiermodels.core.threads import for_each
from hiermodels.data.cells import rows_of_cells
from hiermodels.data.grouped import GroupedData
from hiermodels.data.statistics import statistics_of
from hiermodels.exact.block_data import Layout, block_model, blocks_of_statistics
from hiermodels.exact.block_joint import log_density_of_effects, sum_of_squares
from hiermodels.exact.row_sums import RowSums
from hiermodels.exact.standardize import standardize
from hiermodels.exact.standardized import Standardized
from hiermodels.model.prior_densities import prior_log_densities
from hiermodels.model.spec import Spec
from hiermodels.posterior.record import rows_given
from hiermodels.posterior.rows import log_likelihood

BLOCK = 1 << 17  # draws of effects that are worked on at a time: 1 MiB stays near the processor


def lp(spec: Spec, data: GroupedData, variables: Mapping[str, Floats]) -> dict[str, Floats]:
    """``lp``, as it stands in ``sample_stats``; nothing if the groups' effects were left out."""
    complete = variables.keys() >= set(spec.variables)
    return {"lp": log_joint(spec, data, variables)} if complete else {}


@one_blas_thread()
def log_joint(spec: Spec, data: GroupedData, variables: Mapping[str, Floats]) -> Floats:
    """Joint log density of the outcome and of the variables, at draws of these.

    Effects on the outcome's scale, such as ``p``, are functions of these and have no density.

    Parameters
    ----------
    spec : Spec
    data : GroupedData
    variables : mapping of str to array
        Draws of all variables: scalars (...,), effects and coefficients (..., u).

    Returns
    -------
    array
        Of shape (...,).
    """
    name = spec.variables[0]
    total = np.zeros(np.shape(variables[name])[: -1 if spec.dims(name) else None])
    for values in prior_log_densities(spec, variables).values():
        total += values.sum(axis=-1) if values.ndim > total.ndim else values
    if spec.has_slopes or spec.sampling is not None or spec.strata:
        total += log_density_of_effects(spec, data, variables)
        return total + _log_likelihood_given(spec, data)(spec, data, variables)
    if spec.is_crossed:
        total += _log_density_of_crossed(spec, variables)
        of = _log_likelihood_of_rows if data.has_rows else _log_likelihood_of_cells
        return total + of(spec, data, variables)
    if spec.is_regression:
        return total + _log_likelihood_of_rows(spec, data, variables)
    if not spec.groups:
        return total + _log_likelihood_of_one(data.y, variables["theta"], variables["sigma"])
    draws = {
        name: np.moveaxis(v, -1, 0).reshape(v.shape[-1], -1) if spec.dims(name) else v.reshape(-1)
        for name, v in variables.items()
        if name != spec.levels[-1].effect
    }
    effects = variables[spec.levels[-1].effect]
    below = _log_density_of_groups(spec, data, draws, effects)
    if not spec.is_normal:
        below += _log_likelihood_of_rows(spec, data, variables).ravel()
    return total + below.reshape(total.shape)


def _log_likelihood_given(
    spec: Spec, data: GroupedData
) -> Callable[[Spec, GroupedData, Mapping[str, Floats]], Floats]:
    """How the log likelihood of rows of blocks is computed."""
    if spec.strata and not data.has_rows:
        return _log_likelihood_of_strata
    by_row = spec.sampling is not None or bool(spec.strata)
    return _log_likelihood_of_rows if by_row else _log_likelihood_of_blocks


def _log_density_of_crossed(spec: Spec, variables: Mapping[str, Floats]) -> Floats:
    """``Σ_u log N(theta_u; 0, tau²)`` of all columns whose sd is not fixed at 0; (...,)."""
    total: Floats = np.zeros(())
    for level in spec.levels:
        if spec.fixed.get(level.sd) != 0:
            effects = variables[level.effect]
            squares = (effects**2).sum(axis=-1)
            total = total + _log_normal_sum(squares, effects.shape[-1], variables[level.sd])
    return total


def _log_likelihood_of_one(y: Floats, theta: Floats, sigma: Floats) -> Floats:
    """``Σ log N(y_i; θ, σ²)`` at draws of any shape."""
    centre = y.mean()
    centre += (y - centre).mean()
    squares = ((y - centre) ** 2).sum() + len(y) * (centre - theta) ** 2
    return _log_normal_sum(squares, len(y), sigma)


def _log_likelihood_of_rows(
    spec: Spec, data: GroupedData, variables: Mapping[str, Floats]
) -> Floats:
    """Log likelihood of all rows given all variables, at draws of any shape (...,).

    Of some draws at a time, and of sums of rows where these add up: neither all draws of all rows
    nor the rows themselves need be many numbers.
    """
    rows = RowSums.of(spec, data)

    def given(some: Mapping[str, Floats]) -> Floats:
        eta, columns = rows_given(spec, rows.sums, some)
        return log_likelihood(spec, rows.sums, eta, columns)

    by_draw = _some_at_a_time(spec, variables, len(rows.sums.y), given)
    return rows.log_given_sums(data) + by_draw


def _log_likelihood_of_blocks(
    spec: Spec, data: GroupedData, variables: Mapping[str, Floats]
) -> Floats:
    """The same where slopes vary, from what the rows say of each group."""
    blocks = block_model(spec, data).blocks
    squares = _some_at_a_time(
        spec, variables, len(blocks.design), partial(sum_of_squares, spec, data, blocks)
    )
    sigma = variables["sigma"] if spec.has_sigma else 1.0
    return 0.5 * blocks.log_weight + _log_normal_sum(squares, blocks.n_rows, sigma)


def _log_likelihood_of_strata(
    spec: Spec, data: GroupedData, variables: Mapping[str, Floats]
) -> Floats:
    """The same of statistics of strata, from what the rows of each say of each group."""
    statistics, layout = statistics_of(data), Layout(spec)
    total: Floats = np.asarray(0.5 * statistics.log_weight)
    for k, part in enumerate(statistics.by_stratum):
        blocks = blocks_of_statistics(layout, part, 0.0)
        of = partial(sum_of_squares, spec, data, blocks, members=part.group)
        squares = _some_at_a_time(spec, variables, len(part.group), of)
        total = total + _log_normal_sum(squares, blocks.n_rows, variables["sigma"][..., k])
    return total


def _log_likelihood_of_cells(
    spec: Spec, data: GroupedData, variables: Mapping[str, Floats]
) -> Floats:
    """The same of crossed groups, from statistics of cells: their means, and the scatter within."""
    statistics, cells = statistics_of(data), rows_of_cells(data)

    def squares_given(some: Mapping[str, Floats]) -> Floats:
        left = cells.y - rows_given(spec, cells, some)[0]
        none = np.zeros((len(left), 0))
        row = np.hstack([-some.get("beta", none), np.ones((len(left), 1))])
        return left**2 @ cells.precision + ((row @ statistics.scatter) * row).sum(axis=1)

    squares = _some_at_a_time(spec, variables, len(cells.y), squares_given)
    sigma = variables["sigma"] if spec.has_sigma else 1.0
    return 0.5 * statistics.log_weight + _log_normal_sum(squares, statistics.n_rows, sigma)


def _some_at_a_time(
    spec: Spec,
    variables: Mapping[str, Floats],
    size: int,
    evaluate: Callable[[Mapping[str, Floats]], Floats],
) -> Floats:
    """A number for each draw, by a function of some draws that holds ``size`` numbers for each."""
    name = spec.variables[0]
    shape = np.shape(variables[name])[: -1 if spec.dims(name) else None]
    total = np.empty(math.prod(shape))
    flat = {n: v.reshape(total.shape + v.shape[len(shape) :]) for n, v in variables.items()}
    step = max(1, BLOCK // size)
    for first in range(0, len(total), step):
        part = slice(first, first + step)
        total[part] = evaluate({name: values[part] for name, values in flat.items()})
    return total.reshape(shape)


def _log_density_of_groups(
    spec: Spec, data: GroupedData, draws: Mapping[str, Floats], theta: Floats
) -> Floats:
    """Log density of all effects, and of the rows where these are normal; shape (n,).

    Effects whose sd is fixed at 0 are their parents', and have no density of their own.

    Parameters
    ----------
    draws : mapping of str to array
        Scalars (n,), effects and coefficients (u, n).
    theta : (..., g)
    """
    *outer, groups = spec.levels
    top = draws[spec.intercept] if spec.intercept else np.zeros_like(draws[groups.sd])
    above = [top[None], *(draws[level.effect] for level in outer)]  # each level's parents
    parent = data.levels[-1].parent
    rows = _Rows.of(standardize(data), draws.get("beta")) if spec.is_normal else None
    around_theta, around_parent = _sums_of_squares(rows, theta, above[-1], parent)
    total = np.zeros_like(around_parent)
    if rows:
        total += rows.log_likelihood(around_theta, draws.get("sigma"))
    if spec.fixed.get(groups.sd) != 0:
        total += _log_normal_sum(around_parent, data.n_groups, draws[groups.sd])
    for number, level in reversed(list(enumerate(outer))):
        if spec.fixed.get(level.sd) != 0:
            deviation = draws[level.effect] - above[number][data.levels[number].parent]
            squares = (deviation**2).sum(axis=0)
            total += _log_normal_sum(squares, len(deviation), draws[level.sd])
    return total


def _log_normal_sum(squares: Floats, count: int, sd: Floats | float) -> Floats:
    """Sum of so many log densities of ``N(0, sd²)`` with this sum of squares."""
    return -count * (0.5 * LOG_2PI + np.log(sd)) - 0.5 * squares / sd**2


@dataclass(frozen=True)
class _Rows:
    """The rows at draws of β: ``Σ_i ω_i (y_i − θ_c − x_i'β)² = Σ_c ω_c (r_c − θ_c)² + S(β)``.

    The draws ``beta`` (q, n) are those of the coefficients of the tree's columns less those of its
    preliminary fit, in the outcome's unit.
    """

    standard: Standardized
    beta: Floats
    at_centre: Floats  # x'β where these columns are 0; (n,) or (1,)

    @classmethod
    def of(cls, standard: Standardized, beta: Floats | None) -> _Rows:
        """Turn draws of β (q, n) to the tree's columns."""
        if beta is None:
            return cls(standard, np.empty((0, 1)), np.zeros(1))
        fitted = standard.scale * standard.tree.left.anchor[:, None]
        return cls(standard, np.linalg.solve(standard.basis, beta) - fitted, standard.centre @ beta)

    def residuals(self, part: slice) -> Floats:
        """``r_c = ȳ_c − x̄_c'β`` of some groups; (part, n) or (part, 1)."""
        mean = self.standard.tree.residual_mean[part]
        residual = self.standard.location + self.standard.scale * mean[:, -1:] - self.at_centre
        return residual - mean[:, :-1] @ self.beta if len(self.beta) else residual

    def log_likelihood(self, squares: Floats, sigma: Floats | None) -> Floats:
        """``log p(y | θ, β, σ)`` given ``Σ_c ω_c (r_c − θ_c)²``; (n,)."""
        tree, scale = self.standard.tree, self.standard.scale
        rest = np.vstack([-self.beta, np.full((1, self.beta.shape[1]), scale)])
        within = ((tree.left.scatter @ rest) * rest).sum(axis=0)
        unit = scale if sigma is None else sigma  # sd of a row of weight 1
        return 0.5 * tree.log_weight + _log_normal_sum(squares + within, tree.n_rows, unit)


def _sums_of_squares(
    rows: _Rows | None, theta: Floats, above: Floats, parent: Indices
) -> tuple[Floats, Floats]:
    """``Σ_c ω_c (r_c − θ_c)²``, 0 without rows, and ``Σ_c (θ_c − μ)²``; both (n,).

    Some groups at a time.

    Parameters
    ----------
    theta : (..., g)
    above : (s, n)
        The effects of the groups' parents.
    parent : (g,)
    """
    size = above.shape[-1]
    step = max(1, BLOCK // size)
    parts = [slice(first, first + step) for first in range(0, len(parent), step)]
    sums = np.zeros((2, len(parts), size))

    def add(number: int) -> None:
        part = parts[number]
        values = np.moveaxis(theta[..., part], -1, 0).reshape(-1, size)
        if rows:
            deviations = values - rows.residuals(part)
            weight = rows.standard.tree.weight[part]
            sums[0, number] = weight @ np.square(deviations, out=deviations)
        deviations = values - (above if len(above) == 1 else above[parent[part]])
        sums[1, number] = np.ones(len(deviations)) @ np.square(deviations, out=deviations)

    for_each(add, range(len(parts)))
    around_theta, around_parent = sums.sum(axis=1)
    return around_theta, around_parent

"""Densities of one unit's rows given all other rows and the variances.

A unit is what is left out: a row, or a member of a level with all rows below it.

Effects of all groups and β are integrated out.  Given β first: let m_P be what all that lies below
a parent P says of its effect, with error e_P, and row_P its conditional mean.  A child c with mean
m_c and variance v_c around P is predicted from all the *other* rows with

    deviation  v_c δ_c/Γ_c  and variance  v_c²/Γ_c,  where
    δ_c = m_c − row_P = (m_c − m_P) + B_P δ_P  and
    Γ_c = v_c − Var(effect of P) = (v_c − e_P) + B_P² Γ_P.

B_P = e_P/v_P is the weight of P's own parent in its conditional mean.  This is the leverage
``1 − Γ/v`` of leave-one-out residuals, telescoped from the root downwards so that nothing cancels
where one variance is small against another.  A row is a child of its group, with its own variance.

So ``log p(y_u | the rest, β) = a − ½ Q(β)`` with a quadratic form Q, and since
``1/p(y_u | the rest) = E[1/p(y_u | the rest, β) | y]`` with ``β | y ~ N(β̂, C)``, in closed form

    log p(y_u | the rest) = a − ½ Q(β̂) + ½ log|I − C K| − ½ g'(C⁻¹ − K)⁻¹ g,

where ``Q(β̂ + t) = Q(β̂) − 2 g't + t'K t``.  With all signs of K turned, the same holds of the
density of other rows, with the same outcomes, of a new member under the same parent.

Shapes: ``n`` nodes (settings of the variances), ``u`` units or members of a level, ``q``
covariates; rows ``z = [x, y]`` have q + 1 numbers, a residual is ``z_y − z_x'β``.

References
----------
Christensen, Pearson & Johnson (1992), Technometrics 34:38 (deletion of cases and clusters).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from hiermodels.core.arrays import LOG_2PI, Floats, Indices
from hiermodels.exact.kernels.records import Densities, Rows
from hiermodels.exact.kernels.tree.conditional import shrinkage
from hiermodels.exact.kernels.tree.marginal import Pooled, Upward, upward
from hiermodels.exact.kernels.tree.tree import Coefficients, Tree, Variances
from hiermodels.exact.kernels.tree.within import Within
from hiermodels.numerics.group_sums import starts

BLOCK = 1 << 17  # numbers in a temporary array
MAX_NODES = 256  # that are worked on at a time


@dataclass(frozen=True)
class _Away:
    """Members of a level as seen from their parents, given β: δ, Γ and v of the module's text."""

    row: Floats
    left: Floats
    variance: Floats


def residual_tree(tree: Tree) -> Tree:
    """The tree of the residuals of the preliminary fit, which are 0 where it leaves nothing.

    In them, priors are ``prior.less(anchor)`` and coefficients ``β − anchor``, with the anchor
    ``tree.left.anchor``; densities are what they are of the outcome.
    """
    return replace(tree, mean=tree.residual_mean, scatter=tree.left.scatter, residuals=None)


def log_densities(
    tree: Tree,
    variances: Variances,
    prior: Coefficients,
    of: Rows | Within,
    level: int,
    units: Indices,
) -> Iterator[tuple[slice, slice, Densities]]:
    """Yield log densities of units' rows, in blocks of nodes and of units.

    Parameters
    ----------
    of : Rows or Within
        Rows, each of which is a unit; or what the units' rows say beside their groups' means.
    level : int
        Of the units, where they are not rows.
    units : (u,)
        Which, ascending.
    """
    c = tree.mean.shape[1]
    for first in range(0, len(variances), MAX_NODES):
        nodes = slice(first, min(first + MAX_NODES, len(variances)))
        part = variances[nodes]
        up = upward(tree, part, prior)
        step = max(1, BLOCK // (len(part) * (c if isinstance(of, Rows) else c * c)))
        for i in range(0, len(units), step):
            some = units[i : i + step]
            densities = (
                _of_rows(tree, part, up, prior, of, some)
                if isinstance(of, Rows)
                else _of_members(tree, part, up, prior, of, level, some)
            )
            yield nodes, slice(i, i + len(some)), densities


def log_densities_given(
    tree: Tree, within: Within, variances: Variances, root: Floats, beta: Floats
) -> Floats:
    """Log densities of the rows of each outermost member, given the intercept and β.

    Effects of these, and of all below them, are integrated out.

    Parameters
    ----------
    variances : Variances
        n settings.
    root : (n,)
    beta : (n, q)

    Returns
    -------
    (n, u)
    """
    level, members = 0, np.arange(tree.sizes[0])
    log_density = np.empty((len(variances), len(members)))
    q = tree.n_covariates
    any_prior = Coefficients(np.zeros(q + 1), 0.0, np.zeros(q), np.eye(q))  # pooling needs none
    step = max(1, BLOCK // (tree.n_groups * tree.mean.shape[1] ** 2))
    for i in range(0, len(log_density), step):
        part = slice(i, i + step)
        some = variances[part]
        pooled = upward(tree, some, any_prior).pooled
        mean, error = _mean_and_error(tree, some, pooled, level)
        log_factor, product = _inner(tree, some, pooled, within, level, members)
        variance = error + some.between[level][:, None]
        residual = _residual(mean, beta[part]) - root[part, None]
        square = _square(product, beta[part])[1] + residual**2 / variance
        log_density[part] = log_factor - 0.5 * (LOG_2PI + np.log(variance) + square)
    return log_density


def _of_rows(
    tree: Tree, variances: Variances, up: Upward, prior: Coefficients, rows: Rows, which: Indices
) -> Densities:
    """Rows: their δ and Γ are those of their groups, and their deviations from these.

    With D = Γ − d'C d and e the residual, at β̂, of δ = (d, ·), a row of variance s² has

        log p(y_i | the rest) = −½ log 2π − log s² + ½ log D − ½ e²/D,

    and a new one of its group the variance s² + (s² − D).
    """
    groups, place = np.unique(rows.group[which], return_inverse=True)
    above = _away(tree, variances, up, prior, tree.innermost, groups)
    own, of_group = rows.weight[which], tree.weight[groups][place]
    alone = own == of_group
    z = np.where(alone[:, None], 0.0, rows.z[which] - tree.mean[rows.group[which]])
    beyond = (of_group - own) / (own * of_group)
    shrink = shrinkage(
        variances.sigma2[:, None] / tree.weight[groups], variances.between[-1][:, None]
    )
    far = shrink * _residual(above.row, up.beta)
    e = z[:, -1] - up.beta @ z[:, :-1].T + far[:, place]
    total = variances.sigma2[:, None] * beyond + (shrink**2 * above.left)[:, place]
    left = total
    if tree.n_covariates:
        x = z[:, :-1] + (shrink[:, :, None] * above.row[:, :, :-1])[:, place]
        left = total - ((x @ up.beta_covariance) * x).sum(axis=2)
    variance = variances.sigma2[:, None] / own
    return Densities(
        left_out=0.5 * (np.log(left) - LOG_2PI - e**2 / left) - np.log(variance),
        again=-0.5 * (LOG_2PI + np.log(2 * variance - left) + e**2 / (2 * variance - left)),
        kept=left / total,
    )


def _of_members(
    tree: Tree,
    variances: Variances,
    up: Upward,
    prior: Coefficients,
    within: Within,
    level: int,
    members: Indices,
) -> Densities:
    """Members of a level, with all rows below them.

    K is ``δδ'/Γ``, of the member's mean, and the products of all that lies below around it.
    """
    above = _away(tree, variances, up, prior, level, members)
    log_factor, product = _inner(tree, variances, up.pooled, within, level, members)
    outer = _outer(above.row)
    left, more = above.left, 2 * above.variance - above.left
    log_left = 0.5 * (np.log(left) - LOG_2PI) - np.log(above.variance) + log_factor
    log_more = -0.5 * (np.log(more) + LOG_2PI) + log_factor
    left_out, kept = _over_coefficients(outer / left + product, up, -1)
    again, _ = _over_coefficients(outer / more + product, up, 1)
    return Densities(log_left + left_out, log_more + again, kept)


def _over_coefficients(quadratic: Floats, up: Upward, sign: int) -> tuple[Floats, Floats]:
    """``log E[exp(−½ Q(β))]`` under ``β ~ N(β̂, C)``, or ``−log E[exp(½ Q(β))]`` for sign −1.

    Elimination of the first q rows of ``[[C⁻¹ ± K, g], [g', 0]]`` leaves ``−g'(C⁻¹ ± K)⁻¹ g`` and
    has the determinant's factors for pivots.

    Parameters
    ----------
    quadratic : (q + 1, q + 1, n, u)
        Q at rows ``(−β, 1)``.

    Returns
    -------
    (n, u)
    kept : (n, u)
        ``|I ± C K|``.
    """
    q = len(quadratic) - 1
    product, square = _square(quadratic, up.beta)
    if not q:
        return -0.5 * square, np.ones_like(square)
    matrix = np.empty_like(quadratic)
    precision = np.linalg.inv(up.beta_covariance)
    matrix[:q, :q] = np.moveaxis(precision, 0, 2)[..., None] + sign * quadratic[:q, :q]
    matrix[:q, q] = matrix[q, :q] = product[:q]
    matrix[q, q] = 0.0
    log_kept = np.repeat(np.linalg.slogdet(up.beta_covariance)[1][:, None], square.shape[1], axis=1)
    for j in range(q):
        log_kept += np.log(matrix[j, j])
        factor = matrix[j + 1 :, j] / matrix[j, j]
        matrix[j + 1 :, j + 1 :] -= factor[:, None] * matrix[j, j + 1 :]
    gain = -matrix[q, q] - log_kept
    return 0.5 * (sign * gain - square), np.exp(log_kept)


def _square(quadratic: Floats, beta: Floats) -> tuple[Floats, Floats]:
    """``K v`` (c, n, u) and ``v'K v`` (n, u) with ``v = (−β, 1)``, for K (c, c, n, u)."""
    vector = np.column_stack([-beta, np.ones(len(beta))]).T[:, :, None]
    product = (quadratic * vector).sum(axis=1)
    return product, (product * vector).sum(axis=0)


def _outer(rows: Floats) -> Floats:
    """``z z'`` of rows (n, u, c); shape (c, c, n, u)."""
    columns = np.ascontiguousarray(np.moveaxis(rows, 2, 0))
    return columns[:, None] * columns


def _away(
    tree: Tree, variances: Variances, up: Upward, prior: Coefficients, level: int, members: Indices
) -> _Away:
    """Some members of a level as seen from their parents, from the root downwards.

    ``B_P δ_P`` and ``B_P² Γ_P`` of the root are what the prior of the intercept pulls it by: 0, if
    that is flat.
    """
    root = up.pooled[0]
    shrink = shrinkage(root.error, prior.root_spread)
    row, left = shrink[:, :, None] * (root.mean - prior.root_row), shrink * root.error
    for current in range(level + 1):
        some = members if current == level else np.arange(tree.sizes[current])
        mean, error = _mean_and_error(tree, variances, up.pooled, current, some)
        parent, above = tree.parent(current), up.pooled[current]
        several = (np.bincount(parent)[parent] > 1)[some]
        parent = parent[some]
        variance = error + variances.between[current][:, None]
        row = row[:, parent] + np.where(several[:, None], mean - above.mean[:, parent], 0.0)
        left = left[:, parent] + np.where(several, variance - above.error[:, parent], 0.0)
        if current == level:
            break
        shrink = shrinkage(error, variances.between[current][:, None])
        row, left = shrink[:, :, None] * row, shrink**2 * left
    return _Away(row, left, variance)


def _mean_and_error(
    tree: Tree,
    variances: Variances,
    pooled: tuple[Pooled, ...],
    level: int,
    members: Indices | slice = slice(None),
) -> tuple[Floats, Floats]:
    """What lies below some members of a level says of their effects; (n or 1, u, c) and (n, u)."""
    if level < tree.innermost:
        return pooled[level + 1].mean[:, members], pooled[level + 1].error[:, members]
    return tree.mean[None, members], variances.sigma2[:, None] / tree.weight[members]


def _inner(
    tree: Tree,
    variances: Variances,
    pooled: tuple[Pooled, ...],
    within: Within,
    level: int,
    members: Indices,
) -> tuple[Floats, Floats]:
    """What the rows below some members of a level say beside these members' means.

    Returns
    -------
    log factor : (n, u)
    product : (c, c, n, u)
        The log density of the rows given β is ``log factor − ½ (−β, 1) product (−β, 1)'``, plus
        that of the member's mean.
    """
    if level == tree.innermost:
        sigma2 = variances.sigma2[:, None]
        log_factor = -0.5 * (within.count[members] - 1) * np.log(2 * np.pi * sigma2)
        log_factor = log_factor + 0.5 * (within.log_weight - np.log(tree.weight))[members]
        return log_factor, within.scatter[:, :, None, members] / sigma2
    parent = tree.parent(level + 1)
    children = np.flatnonzero(np.isin(parent, members))
    of = np.searchsorted(members, parent[children])
    log_factor, product = _inner(tree, variances, pooled, within, level + 1, children)
    mean, error = _mean_and_error(tree, variances, pooled, level + 1, children)
    variance = error + variances.between[level + 1][:, None]
    centre, above = _mean_and_error(tree, variances, pooled, level, members)
    product = product + _outer(mean - centre[:, of]) / variance
    log_factor = log_factor - 0.5 * (LOG_2PI + np.log(variance))
    first = starts(of)
    total = np.add.reduceat(log_factor, first, axis=1) + 0.5 * (LOG_2PI + np.log(above))
    return total, np.add.reduceat(product, first, axis=3)


def _residual(row: Floats, beta: Floats) -> Floats:
    """``row_y − row_x'β`` for rows (n, u, q + 1) and β (n, q); shape (n, u)."""
    return row[:, :, -1] - (row[:, :, :-1] @ beta[:, :, None])[:, :, 0]

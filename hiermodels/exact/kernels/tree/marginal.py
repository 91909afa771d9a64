"""The marginal likelihood of the hyperparameters: from the rows upwards."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from hiermodels.core.arrays import LOG_2PI, Floats, Indices
from hiermodels.core.names import ROOT
from hiermodels.exact.kernels.tree.tree import Coefficients, Tree, Variances
from hiermodels.numerics.group_sums import starts

UPWARD = 1 << 17  # likewise of those in the upward pass
MAX_NODES = 1024  # nodes that are worked on at a time
ROUNDED_ROWS = 8  # rounding errors of a row that its residual takes part in
SMALLEST_SHARE = 1e-8  # of a direction in the information of the data that is not rounding, a root


@dataclass(frozen=True)
class Pooled:
    """What all that lies below a member of a level, or below the root, says of its location."""

    mean: Floats  # precision-weighted mean row; (n, u, q + 1)
    precision: Floats  # of the mean around that effect; (n, u)

    @cached_property
    def error(self) -> Floats:
        """Variance of the mean around that effect; (n, u)."""
        return 1 / self.precision


@dataclass(frozen=True)
class Upward:
    """The result of the upward pass.

    Attributes
    ----------
    log_likelihood : (n,)
        ``log p(y | variances)``, all effects and coefficients integrated out; under a
        flat prior, which integrates to no number, up to the constant 1 in its place.
    pooled : tuple of Pooled
        For each level, the outermost first, what its members say of their parents: so the first is
        of the root.
    beta : (n, q)
        Mean of ``β | variances, y``.
    beta_covariance : (n, q, q)
        Covariance of the same.
    explained : (n,)
        What this mean explains of the sum of squares that the preliminary fit leaves.  Of a sum so
        large, digits are lost in the difference.
    """

    log_likelihood: Floats
    pooled: tuple[Pooled, ...]
    beta: Floats
    beta_covariance: Floats
    explained: Floats

    def below(self, level: int) -> Pooled:
        """What lies below the members of a level above the groups says of them."""
        return self.pooled[level + 1]

    def plus(self, anchor: Floats) -> Upward:
        """The same of the outcome, from that of the residuals of ``x'anchor``."""
        if not anchor.any():
            return self
        for pooled in self.pooled:
            pooled.mean[:, :, -1] += pooled.mean[:, :, :-1] @ anchor
        return replace(self, beta=self.beta + anchor)


def upward(tree: Tree, variances: Variances, prior: Coefficients) -> Upward:
    """Integrate out all effects and coefficients, from the rows to the root.

    With ``v`` the variance of a member's mean around its parent and ``w = 1/v``, the members of
    one parent, ``A = Σ w`` and ``m = Σ w·mean / A``, have density

        Π N(mean; φ, v) = Π N(mean; m, v) · (2π/A)^½ · N(m; φ, 1/A),

    where φ is the parent's effect: a factor that is free of φ, and one observation of φ, which
    is carried to the next level.  Arithmetic: O(n·k·(u·q + q²)) for the groups and O(n·u·q²) for
    each level above them, whatever the number of rows.
    """
    above, quadratic = pool_groups(tree, variances)
    log_density = _log_factor_of_groups(tree, variances, above)
    pooled = [above]
    for level in range(tree.innermost - 1, ROOT, -1):
        between, below = variances.between[level], above
        above, product = pool(below, between, tree.parent(level))
        pooled.insert(0, above)
        quadratic += product
        log_density += _log_factor(below, between, above)
    quadratic += tree.left.scatter / variances.sigma2[:, None, None]
    log_density -= 0.5 * (tree.n_rows - tree.n_groups) * np.log(2 * np.pi * variances.sigma2)
    log_density += tree.log_constant
    anchor = tree.left.anchor
    integrated = _integrate_coefficients(tuple(pooled), quadratic, log_density, prior.less(anchor))
    return integrated.plus(anchor)


def pool_groups(tree: Tree, variances: Variances) -> tuple[Pooled, Floats]:
    """Pool the groups under their parents, by weight: see :class:`WeightClasses`.

    Returns
    -------
    pooled : Pooled
    product : (n, q + 1, q + 1)
        Weighted cross-products of the groups' means around these.
    """
    sizes, columns = tree.by_weight, tree.mean.shape[1]
    weight = 1 / _variance_of_groups(tree, variances)
    sums = (weight @ sizes.sums).reshape(len(weight), columns + 1, -1)
    precision = sums[:, 0]
    shift = np.moveaxis(sums[:, 1:] / sums[:, :1], 1, 2)
    product = (weight @ sizes.product).reshape(-1, columns, columns)
    product -= _weighted_products(precision, shift)
    return Pooled(sizes.centre + shift, precision), product


def _variance_of_groups(tree: Tree, variances: Variances) -> Floats:
    """Variance of the means of groups of each weight around their parents; (n, w)."""
    return variances.between[-1][:, None] + variances.sigma2[:, None] / tree.by_weight.weight


def _log_factor_of_groups(tree: Tree, variances: Variances, above: Pooled) -> Floats:
    """Log of the factors of the groups' density that are free of their parents' effects; (n,)."""
    log_variance = np.log(_variance_of_groups(tree, variances))
    log_factor: Floats = -0.5 * (LOG_2PI + log_variance) @ tree.by_weight.groups
    log_factor += 0.5 * (LOG_2PI - np.log(above.precision)).sum(axis=1)
    return log_factor


def pool(below: Pooled, between: Floats, parent: Indices) -> tuple[Pooled, Floats]:
    """Pool the members of one level under their parents: see :func:`pool_groups`."""
    first = starts(parent)
    weight = 1 / (below.error + between[:, None])
    precision = np.add.reduceat(weight, first, axis=1)
    some = below.mean[:, first]
    deviation = below.mean - to_children(some, parent)
    mean = (
        some
        + np.add.reduceat(weight[:, :, None] * deviation, first, axis=1) / precision[:, :, None]
    )
    deviation = below.mean - to_children(mean, parent)
    return Pooled(mean, precision), _weighted_products(weight, deviation)


def _log_factor(below: Pooled, between: Floats, above: Pooled) -> Floats:
    """Log of the factors of members' density that are free of their parents' effects; (n,)."""
    variance = below.error + between[:, None]
    log_factor: Floats = -0.5 * (LOG_2PI + np.log(variance)).sum(axis=1)
    log_factor += 0.5 * (LOG_2PI - np.log(above.precision)).sum(axis=1)
    return log_factor


def to_children(values: Floats, parent: Indices) -> Floats:
    """Parents' values (n, p, …) as their children's (n, u, …); (n, 1, …) where there is one."""
    return values if values.shape[1] == 1 else values[:, parent]


def _weighted_products(weight: Floats, rows: Floats) -> Floats:
    """``Σ_u w_u z_u z_u'`` for weights (n, u) and rows (n, u, c); shape (n, c, c)."""
    return (weight[:, :, None] * rows).swapaxes(1, 2) @ rows


def _integrate_coefficients(
    pooled: tuple[Pooled, ...], quadratic: Floats, log_density: Floats, prior: Coefficients
) -> Upward:
    """Integrate out the intercept and β.

    The root's mean m has variance ``e + 1/P`` around the intercept's prior mean, with e its
    error and P the prior precision.  With T the sum of all cross-products,

        β | variances, y ~ N(β̂, T_xx⁻¹),  β̂ = T_xx⁻¹ T_xy,

    and ``exp(−½(T_yy − T_yx β̂))`` remains; a normal prior of β adds to T.
    """
    q = quadratic.shape[1] - 1
    root = pooled[0]
    if prior.root_precision > 0:
        variance = root.error[:, 0] + prior.root_spread
        deviation = root.mean[:, 0] - prior.root_row
        quadratic = (
            quadratic + deviation[:, :, None] * deviation[:, None, :] / variance[:, None, None]
        )
        log_density = log_density - 0.5 * (LOG_2PI + np.log(variance))
    if q == 0:
        return Upward(
            log_density + prior.log_normalizer - 0.5 * quadratic[:, 0, 0],
            pooled,
            beta=quadratic[:, 0, :0],
            beta_covariance=quadratic[:, :0, :0],
            explained=np.zeros(len(quadratic)),
        )
    if prior.is_graded:
        solved = _solve_with_factor(quadratic, prior)
    else:
        solved = _solve_normal_equations(quadratic, prior)
    log_density = log_density + prior.log_normalizer + 0.5 * q * LOG_2PI
    log_density -= 0.5 * (solved.log_det + solved.square)
    return Upward(log_density, pooled, solved.beta, solved.covariance, solved.explained)


@dataclass(frozen=True)
class _Solved:
    """β given the variances: mean (n, q) and covariance (n, q, q), and what is left at the mean.

    ``log_det`` (n,) is that of the precision, ``square`` (n,) the sum of squares that remains and
    ``explained`` (n,) the one that does not.
    """

    beta: Floats
    covariance: Floats
    log_det: Floats
    square: Floats
    explained: Floats


def _solve_normal_equations(quadratic: Floats, prior: Coefficients) -> _Solved:
    """Solve ``T_xx β = T_xy``, with T_xx scaled to a diagonal of 1."""
    q = len(prior.mean)
    weighted = prior.precision @ prior.mean
    t_xx = quadratic[:, :q, :q] + prior.precision
    t_xy = quadratic[:, :q, q] + weighted
    t_yy = quadratic[:, q, q] + prior.mean @ weighted
    size = np.sqrt(np.einsum("nii->ni", t_xx))
    correlation = t_xx / size[:, :, None] / size[:, None, :]
    covariance = np.linalg.inv(correlation) / size[:, :, None] / size[:, None, :]
    beta = np.einsum("nij,nj->ni", covariance, t_xy)
    log_det = np.linalg.slogdet(correlation)[1] + 2 * np.log(size).sum(axis=1)
    explained = np.einsum("ni,ni->n", t_xy, beta)
    return _Solved(beta, covariance, log_det, t_yy - explained, explained)


def _solve_with_factor(quadratic: Floats, prior: Coefficients) -> _Solved:
    """The same by least squares on the rows ``[root; factor]``, where ``root`` is that of the data.

    The data and a prior may differ by many more orders of magnitude than digits: they are not
    added, and in square roots it is half as many.
    """
    assert prior.factor is not None
    n, q = len(quadratic), len(prior.mean)
    size = np.sqrt(np.einsum("nii->ni", quadratic[:, :q, :q]))
    size = np.where(size > 0, size, 1.0)
    share, axes = np.linalg.eigh(quadratic[:, :q, :q] / size[:, :, None] / size[:, None, :])
    share = np.sqrt(np.maximum(share, 0.0))
    loading = np.einsum("nij,ni->nj", axes, quadratic[:, :q, q] / size)
    loading = np.divide(loading, share, out=np.zeros_like(loading), where=share > SMALLEST_SHARE)
    rows = np.zeros((n, q + len(prior.factor), q + 1))
    rows[:, :q, :q] = share[:, :, None] * axes.swapaxes(1, 2) * size[:, None, :]
    rows[:, :q, q] = loading
    rows[:, q:, :q] = prior.factor
    rows[:, q:, q] = prior.factor @ prior.mean
    triangle = np.linalg.qr(rows, mode="r")
    inverse = np.linalg.inv(triangle[:, :q, :q])
    explained = (loading**2).sum(axis=1)
    square = quadratic[:, q, q] - explained
    if triangle.shape[1] > q:
        square += triangle[:, q, q] ** 2
    return _Solved(
        beta=np.einsum("nij,nj->ni", inverse, triangle[:, :q, q]),
        covariance=inverse @ inverse.swapaxes(1, 2),
        log_det=2 * np.log(np.abs(np.einsum("nii->ni", triangle[:, :q, :q]))).sum(axis=1),
        square=square,
        explained=explained,
    )


def log_likelihood(tree: Tree, variances: Variances, prior: Coefficients) -> Floats:
    """``log p(y | variances)`` at many nodes, in blocks that stay in the cache; shape (n,)."""
    parts = batches(tree, variances)
    return np.concatenate([upward(tree, variances[part], prior).log_likelihood for part in parts])


def rounding_error(tree: Tree, variances: Variances, prior: Coefficients) -> Floats:
    """Rounding error of the log likelihood, in order of magnitude; shape (n,).

    Of the sum of squares that the coefficients explain, digits are lost in the difference; and
    means of groups and fitted values are rounded like the outcome y, by

        ε √(Σ ω y² / (n σ²))  standard deviations of a row.
    """
    parts = [upward(tree, variances[part], prior) for part in batches(tree, variances)]
    explained = np.concatenate([part.explained for part in parts])
    squares = tree.weight @ tree.mean[:, -1] ** 2 + tree.scatter[-1, -1]
    rows = np.sqrt(squares / tree.n_rows / variances.sigma2)
    return np.finfo(float).eps * (explained + ROUNDED_ROWS * rows)


def profile_log_likelihood(tree: Tree, variances: Variances, intercept: bool = True) -> Floats:
    """``log p(y | variances, intercept, β)`` at the best intercept, if there is one, and β; (n,).

    With flat priors their integral is ``(2π)^(p/2) |X'V⁻¹X|^(−½)`` times that, p counting the
    intercept; the determinant is that of the intercept's precision times that of β's.
    """
    prior, profile = Coefficients.flat(tree.n_covariates, intercept), []
    for part in batches(tree, variances):
        up = upward(tree, variances[part], prior)
        log_det = -np.linalg.slogdet(up.beta_covariance)[1]
        if intercept:
            log_det = -np.log(up.pooled[0].error[:, 0]) + log_det
        p = tree.n_covariates + intercept
        profile.append(up.log_likelihood - 0.5 * (p * LOG_2PI - log_det))
    return np.concatenate(profile)


def beta_moments(tree: Tree, variances: Variances, prior: Coefficients) -> tuple[Floats, Floats]:
    """Mean (n, q) and covariance (n, q, q) of β given the variances, at many nodes."""
    parts = [upward(tree, variances[part], prior) for part in batches(tree, variances)]
    return (
        np.concatenate([part.beta for part in parts]),
        np.concatenate([part.beta_covariance for part in parts]),
    )


def batches(tree: Tree, variances: Variances) -> list[slice]:
    """Cut the nodes so that temporary arrays stay within ``UPWARD``."""
    above = (1, *tree.sizes[:-1])
    width = max(len(tree.by_weight.weight), *(size * (tree.n_covariates + 2) for size in above))
    step = min(max(1, UPWARD // width), MAX_NODES)
    return [slice(i, i + step) for i in range(0, len(variances), step)]

"""The recursion for normal hierarchies: likelihood upwards, means and variances downwards.

Every model of this package is one tree.  Rows hang under groups, groups under their
parents (schools), the last of them under one root whose value is the intercept, or known to be 0:

    root (intercept)  →  [schools]  →  groups  →  rows

A unit's value is its parent's value plus normal noise, with one variance a level (the
*spread*).  A row is its group's value plus ``x'β`` plus noise of variance ``σ²/ω``: an
unknown σ² has ``ω = 1``; a known standard error is the weight ``ω = 1/se²`` with ``σ² = 1``.

Covariates need no second derivation.  All formulas are linear or quadratic in the residual
``r = y − x'β``, so they are carried out once on the columns ``z = [x, y]``: a mean becomes a
row of ``q + 1`` numbers, a sum of squares a ``(q + 1, q + 1)`` matrix, and β is put in at the
end.  Shapes below: ``n`` nodes (settings of the variances), ``g`` groups, ``u`` units of a
level, ``q`` covariates (the intercept is the root, not a column).

Nothing here divides by a spread: a spread of exactly 0 is an ordinary value.

References
----------
Lindley & Smith (1972), JRSS B 34:1 (the linear model with several levels).
Gelman et al. (2013), Bayesian Data Analysis, 3rd ed., section 5.4 (two levels).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from hiermodels.core.arrays import LOG_2PI, Floats, Indices
from hiermodels.core.codec import storable
from hiermodels.core.threads import for_each
from hiermodels.numerics.chebyshev import Interpolation
from hiermodels.numerics.group_sums import starts, sum_by

BLOCK = 1 << 15  # numbers in the largest temporary array: 256 KiB stay in the cache
UPWARD = 1 << 17  # likewise of those in the upward pass
MOST_NODES = 1024  # nodes that are worked on at a time
FEW = 2  # times fewer weights that have to stand for others, to be worth it
DENSE = 8  # numbers for each group that a table of sums may have and still be a plain array
GROUPS_PER_STREAM = 16  # groups that share a random stream
WIDEST_RATIO = 1e4  # of prior sds of coefficients whose precisions are added to the data's
SMALLEST_SHARE = 1e-8  # of a direction in the information of the data that is not rounding, a root


@dataclass(frozen=True)
class Tree:
    """What the rows say about their groups, and how the groups hang together.

    Attributes
    ----------
    mean : (g, q + 1)
        Weighted mean row ``[x̄, ȳ]`` of each group.
    weight : (g,)
        Sum of the row weights ω of each group: the error variance of its mean is ``σ²/weight``.
    scatter : (q + 1, q + 1)
        Weighted cross-products of the rows around their group's mean, over all groups.
    n_rows : int
        Number of rows.
    log_weight : float
        Sum of ``log ω`` over the rows.
    parents : tuple of (u,)
        For each level from the groups upwards, except the last one below the root: the index
        of every unit's parent, ascending, with no parent left out.
    residuals : Residuals, optional
        What a preliminary fit leaves of the outcome; by default, all of it.
    """

    mean: Floats
    weight: Floats
    scatter: Floats
    n_rows: int
    log_weight: float
    parents: tuple[Indices, ...] = ()
    residuals: Residuals | None = None

    @property
    def n_covariates(self) -> int:
        """Number of columns of x (q)."""
        return self.mean.shape[1] - 1

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """Number of units at each level, from the groups upwards."""
        return (len(self.weight), *(int(parent[-1]) + 1 for parent in self.parents))

    @cached_property
    def log_constant(self) -> float:
        """``½ (Σ log ω − Σ log weight)``: what the weights alone add to a log likelihood."""
        return 0.5 * (self.log_weight - float(np.log(self.weight).sum()))

    def parent(self, level: int) -> Indices:
        """Index of the parent of each unit of a level; the root's, 0, above the last."""
        if level < len(self.parents):
            return self.parents[level]
        return np.zeros(self.sizes[level], dtype=np.intp)

    @cached_property
    def left(self) -> Residuals:
        """What a preliminary fit leaves of the outcome: all of it, where there was no fit."""
        if self.residuals is not None:
            return self.residuals
        return Residuals(np.zeros(self.n_covariates), self.mean[:, -1], self.scatter)

    @cached_property
    def residual_mean(self) -> Floats:
        """Mean row ``[x̄, ȳ − x̄'anchor]`` of each group; (g, q + 1)."""
        if self.residuals is None:
            return self.mean
        return np.column_stack([self.mean[:, :-1], self.residuals.mean])

    @cached_property
    def by_weight(self) -> Sizes:
        """The groups put together by weight."""
        return _sizes(self)


@dataclass(frozen=True)
class Residuals:
    """The outcome less a preliminary fit ``x'anchor``.

    The likelihood has the same form in the residuals, with ``β − anchor`` for β.  Where the fit
    leaves nothing at a level, its 0 is exact, whatever variance it is divided by.

    Attributes
    ----------
    anchor : (q,)
    mean : (g,)
        Weighted mean residual of each group.
    scatter : (q + 1, q + 1)
        Weighted cross-products of covariates and residuals around their group's mean.
    """

    anchor: Floats
    mean: Floats
    scatter: Floats


@dataclass(frozen=True)
class Sizes:
    """The groups put together by weight.

    The variance ``spread + σ²/ω`` of a group mean depends on ω alone.  So all that the
    likelihood takes from the groups are sums over those with equal weight, for each of the
    ``k`` distinct weights: with group sizes for weights, far fewer than the groups.

    As a function of log ω, the variance has no 0 within π of the real line.  So its inverse and
    its logarithm are known from few weights: where there are many, each group's part in the sums
    is divided among Chebyshev points in log ω (:mod:`hiermodels.numerics.chebyshev`), to rounding.

    Attributes
    ----------
    weight : (k,)
        The distinct weights, or those few that stand for them.
    groups : (k,)
        Number of groups that have each; of those that stand for others, no whole numbers.
    product : (k, (q + 1)²)
        Sum of the cross-products of ``mean − centre``, by weight.
    sums : (k, (q + 2)·u)
        By weight and parent, the number of groups, then the sums of ``mean − centre``; a sparse
        matrix where most are 0.
    centre : (u, q + 1)
        Weighted mean of each parent's groups: a fixed point in their midst, so that the sums
        above lose no digits.
    """

    weight: Floats
    groups: Floats
    product: Floats
    sums: Any
    centre: Floats


@dataclass(frozen=True)
class Coefficients:
    """Normal priors of the intercept and of β; precision 0 is a flat prior.

    Without an intercept the root's value is known: its precision is infinite, its spread 0.

    Attributes
    ----------
    root_row : (q + 1,)
        The intercept's prior mean as a row ``[x, y]``, so that it may depend on β.
    root_precision : float
    mean : (q,)
        Prior mean of β.
    precision : (q, q)
        Prior precision of β.
    log_normalizer : float
        Logarithm of the factor before the exponential in the prior density of β.
    factor : (r, q), optional
        A matrix with ``factor'factor = precision``, a row for each coefficient with a normal prior.
    """

    root_row: Floats
    root_precision: float
    mean: Floats
    precision: Floats
    log_normalizer: float = 0.0
    factor: Floats | None = None

    @classmethod
    def flat(cls, q: int = 0, intercept: bool = True) -> Coefficients:
        """Flat priors on the intercept and on q coefficients; without it, the root is 0."""
        precision = 0.0 if intercept else np.inf
        return cls(np.zeros(q + 1), precision, np.zeros(q), np.zeros((q, q)))

    @cached_property
    def is_graded(self) -> bool:
        """Whether priors of some β are flat, or far wider than others.

        The information in the data, added to such a precision, would lose its digits.
        """
        if self.factor is None or not len(self.factor):
            return False
        size = np.linalg.svd(self.factor, compute_uv=False)
        return len(size) < len(self.mean) or size[0] > WIDEST_RATIO * size[-1]

    def less(self, anchor: Floats) -> Coefficients:
        """Priors of the intercept and of ``β − anchor``, as rows of residuals have them."""
        if not anchor.any():
            return self
        row = self.root_row - np.append(np.zeros_like(anchor), self.root_row[:-1] @ anchor)
        return replace(self, root_row=row, mean=self.mean - anchor)

    @property
    def root_spread(self) -> float:
        """Prior variance of the intercept; infinite if its prior is flat, 0 if it is known."""
        return 1 / self.root_precision if self.root_precision > 0 else float("inf")


@dataclass(frozen=True)
class Variances:
    """Settings of the variances, a node each.

    Attributes
    ----------
    spreads : tuple of (n,)
        Variance of the units of each level around their parent, from the groups upwards.
    sigma2 : (n,)
        Variance of a row of weight 1 around its group.
    """

    spreads: tuple[Floats, ...]
    sigma2: Floats

    def __len__(self) -> int:
        return len(self.sigma2)

    def __getitem__(self, rows: slice | Indices) -> Variances:
        return Variances(tuple(spread[rows] for spread in self.spreads), self.sigma2[rows])


@dataclass(frozen=True)
class Pooled:
    """What all that lies below a unit says about the unit's own value.

    Attributes
    ----------
    mean : (n, u, q + 1)
        Precision-weighted mean row.
    error : (n, u)
        Variance of ``mean`` around the unit's value.
    """

    mean: Floats
    error: Floats


@dataclass(frozen=True)
class Upward:
    """The result of the upward pass.

    Attributes
    ----------
    log_likelihood : (n,)
        ``log p(y | variances)``, values of all units and coefficients integrated out; under a
        flat prior, which integrates to no number, up to the constant 1 in its place.
    pooled : tuple of Pooled
        The levels above the groups, the root last.
    beta : (n, q)
        Mean of ``β | variances, y``.
    beta_covariance : (n, q, q)
        Covariance of the same.
    """

    log_likelihood: Floats
    pooled: tuple[Pooled, ...]
    beta: Floats
    beta_covariance: Floats

    def plus(self, anchor: Floats) -> Upward:
        """The same of the outcome, from that of the residuals of ``x'anchor``."""
        if not anchor.any():
            return self
        for pooled in self.pooled:
            pooled.mean[:, :, -1] += pooled.mean[:, :, :-1] @ anchor
        return replace(self, beta=self.beta + anchor)


def _sizes(tree: Tree) -> Sizes:
    """Put together the groups of a tree that have the same weight."""
    parent = tree.parent(0)
    first = starts(parent)
    share = tree.weight / np.add.reduceat(tree.weight, first)[parent]
    mean = tree.residual_mean
    some = mean[first]
    centre = some + np.add.reduceat(share[:, None] * (mean - some[parent]), first)
    away = mean - centre[parent]
    products = (away[:, :, None] * away[:, None, :]).reshape(len(away), -1)
    weight, kind = np.unique(tree.weight, return_inverse=True)
    columns = np.column_stack([np.ones(len(away)), away])
    sizes = Sizes(
        weight=weight,
        groups=np.bincount(kind).astype(float),
        product=sum_by(kind, products, len(weight)),
        sums=_table(kind, parent, columns, len(weight), len(first)),
        centre=centre,
    )
    return _by_few_weights(sizes)


def _by_few_weights(sizes: Sizes) -> Sizes:
    """Let few weights stand for all of them, where that saves work."""
    least = sizes.weight[0]
    x = np.log(sizes.weight / least)
    if x[-1] == 0:
        return sizes
    few, units = Interpolation(x), len(sizes.centre)
    if FEW * len(few) > len(x) or len(few) * units > DENSE * sizes.groups.sum():
        return sizes
    return Sizes(
        weight=least * np.exp(few.points),
        groups=few.moved(sizes.groups[:, None])[:, 0],
        product=few.moved(sizes.product),
        sums=few.moved(sizes.sums),
        centre=sizes.centre,
    )


def _table(rows: Indices, parents: Indices, columns: Floats, k: int, u: int) -> Any:
    """Sums of columns (g, c) by row and parent; shape (k, c·u), sparse if mostly 0."""
    g, c = columns.shape
    if k * u <= DENSE * g:
        table = sum_by(rows * u + parents, columns, k * u).reshape(k, u, c)
        return table.swapaxes(1, 2).reshape(k, c * u)
    from scipy.sparse import csr_array

    places = parents[:, None] + u * np.arange(c)
    index = (np.repeat(rows, c), places.ravel())
    return csr_array((columns.ravel(), index), shape=(k, c * u))


def upward(tree: Tree, variances: Variances, prior: Coefficients) -> Upward:
    """Integrate out all values and coefficients, from the rows to the root.

    With ``v`` the variance of a unit's mean around its parent and ``w = 1/v``, the units of
    one parent, ``A = Σ w`` and ``m = Σ w·mean / A``, have density

        Π N(mean; φ, v) = Π N(mean; m, v) · (2π/A)^½ · N(m; φ, 1/A),

    where φ is the parent's value: a factor that is free of φ, and one observation of φ, which
    is carried to the next level.  Arithmetic: O(n·k·(u·q + q²)) for the groups and O(n·u·q²) for
    each level above them, whatever the number of rows.
    """
    above, quadratic, log_density = _pool_groups(tree, variances)
    pooled = [above]
    for level, spread in enumerate(variances.spreads[1:], start=1):
        above, product, log_factor = _pool(pooled[-1], spread, tree.parent(level))
        pooled.append(above)
        quadratic += product
        log_density += log_factor
    quadratic += tree.left.scatter / variances.sigma2[:, None, None]
    log_density -= 0.5 * (tree.n_rows - tree.sizes[0]) * np.log(2 * np.pi * variances.sigma2)
    log_density += tree.log_constant
    anchor = tree.left.anchor
    found = _integrate_coefficients(tuple(pooled), quadratic, log_density, prior.less(anchor))
    return found.plus(anchor)


def _pool_groups(tree: Tree, variances: Variances) -> tuple[Pooled, Floats, Floats]:
    """Pool the groups under their parents, by weight: see :class:`Sizes`."""
    sizes, columns = tree.by_weight, tree.mean.shape[1]
    variance = variances.spreads[0][:, None] + variances.sigma2[:, None] / sizes.weight
    weight = 1 / variance
    sums = (weight @ sizes.sums).reshape(len(weight), columns + 1, -1)
    precision = sums[:, 0]
    shift = np.moveaxis(sums[:, 1:] / sums[:, :1], 1, 2)
    product = (weight @ sizes.product).reshape(-1, columns, columns)
    product -= _weighted_products(precision, shift)
    log_factor = -0.5 * (LOG_2PI + np.log(variance)) @ sizes.groups
    log_factor += 0.5 * (LOG_2PI - np.log(precision)).sum(axis=1)
    return Pooled(sizes.centre + shift, 1 / precision), product, log_factor


def _pool(below: Pooled, spread: Floats, parent: Indices) -> tuple[Pooled, Floats, Floats]:
    """Pool the units of one level under their parents."""
    first = starts(parent)
    variance = below.error + spread[:, None]
    weight = 1 / variance
    precision = np.add.reduceat(weight, first, axis=1)
    some = below.mean[:, first]
    away = below.mean - _to_children(some, parent)
    mean = some + np.add.reduceat(weight[:, :, None] * away, first, axis=1) / precision[:, :, None]
    away = below.mean - _to_children(mean, parent)
    product = _weighted_products(weight, away)
    log_factor = -0.5 * (LOG_2PI + np.log(variance)).sum(axis=1)
    log_factor += 0.5 * (LOG_2PI - np.log(precision)).sum(axis=1)
    return Pooled(mean, 1 / precision), product, log_factor


def _to_children(values: Floats, parent: Indices) -> Floats:
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
    root = pooled[-1]
    if prior.root_precision > 0:
        variance = root.error[:, 0] + prior.root_spread
        away = root.mean[:, 0] - prior.root_row
        quadratic = quadratic + away[:, :, None] * away[:, None, :] / variance[:, None, None]
        log_density = log_density - 0.5 * (LOG_2PI + np.log(variance))
    if q == 0:
        return Upward(
            log_density + prior.log_normalizer - 0.5 * quadratic[:, 0, 0],
            pooled,
            beta=quadratic[:, 0, :0],
            beta_covariance=quadratic[:, :0, :0],
        )
    if prior.is_graded:
        solved = _solve_with_factor(quadratic, prior)
    else:
        solved = _solve_normal_equations(quadratic, prior)
    log_density = log_density + prior.log_normalizer + 0.5 * q * LOG_2PI
    log_density -= 0.5 * (solved.log_det + solved.square)
    return Upward(log_density, pooled, solved.beta, solved.covariance)


@dataclass(frozen=True)
class _Solved:
    """β given the variances: mean (n, q) and covariance (n, q, q), and what is left at the mean.

    ``log_det`` (n,) is that of the precision, ``square`` (n,) the sum of squares that remains.
    """

    beta: Floats
    covariance: Floats
    log_det: Floats
    square: Floats


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
    return _Solved(beta, covariance, log_det, t_yy - np.einsum("ni,ni->n", t_xy, beta))


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
    square = quadratic[:, q, q] - (loading**2).sum(axis=1)
    if triangle.shape[1] > q:
        square += triangle[:, q, q] ** 2
    return _Solved(
        beta=np.einsum("nij,nj->ni", inverse, triangle[:, :q, q]),
        covariance=inverse @ inverse.swapaxes(1, 2),
        log_det=2 * np.log(np.abs(np.einsum("nii->ni", triangle[:, :q, :q]))).sum(axis=1),
        square=square,
    )


def log_likelihood(tree: Tree, variances: Variances, prior: Coefficients) -> Floats:
    """``log p(y | variances)`` at many nodes, in blocks that stay in the cache; shape (n,)."""
    parts = _parts(tree, variances)
    return np.concatenate([upward(tree, variances[part], prior).log_likelihood for part in parts])


def profile_log_likelihood(tree: Tree, variances: Variances, intercept: bool = True) -> Floats:
    """``log p(y | variances, intercept, β)`` at the best intercept, if there is one, and β; (n,).

    With flat priors their integral is ``(2π)^(p/2) |X'V⁻¹X|^(−½)`` times that, p counting the
    intercept; the determinant is that of the intercept's precision times that of β's.
    """
    prior, found = Coefficients.flat(tree.n_covariates, intercept), []
    for part in _parts(tree, variances):
        up = upward(tree, variances[part], prior)
        log_det = -np.linalg.slogdet(up.beta_covariance)[1]
        if intercept:
            log_det = -np.log(up.pooled[-1].error[:, 0]) + log_det
        p = tree.n_covariates + intercept
        found.append(up.log_likelihood - 0.5 * (p * LOG_2PI - log_det))
    return np.concatenate(found)


def beta_moments(tree: Tree, variances: Variances, prior: Coefficients) -> tuple[Floats, Floats]:
    """Mean (n, q) and covariance (n, q, q) of β given the variances, at many nodes."""
    parts = [upward(tree, variances[part], prior) for part in _parts(tree, variances)]
    return (
        np.concatenate([part.beta for part in parts]),
        np.concatenate([part.beta_covariance for part in parts]),
    )


def _parts(tree: Tree, variances: Variances) -> list[slice]:
    """Cut the nodes so that temporary arrays stay within ``UPWARD``."""
    above = (*tree.sizes[1:], 1)
    width = max(len(tree.by_weight.weight), *(size * (tree.n_covariates + 2) for size in above))
    step = min(max(1, UPWARD // width), MOST_NODES)
    return [slice(i, i + step) for i in range(0, len(variances), step)]


def shrinkage(error: Floats, spread: Floats | float) -> Floats:
    """Weight of the parent in a unit's conditional mean: ``B = error / (error + spread)``.

    1 at a spread of 0 (complete pooling), 0 for an infinite one (no pooling).
    """
    return error / (error + spread)


def own_share(error: Floats, spread: Floats) -> Floats:
    """Weight of a unit's own mean: ``1 − B``, with all its digits where B is nearly 1."""
    return spread / (error + spread)


@dataclass(frozen=True)
class Conditional:
    """Values of some units given the variances, as functions of β.

    Attributes
    ----------
    row : (n, u, q + 1)
        The mean given β is ``row_y − row_x'β``.
    own : (n, u)
        The variance given β.
    """

    row: Floats
    own: Floats

    def of(self, units: Indices) -> Conditional:
        """The same for some of the units."""
        return Conditional(self.row[:, units], self.own[:, units])

    def moments(self, up: Upward, origin: Floats) -> tuple[Floats, Floats]:
        """Mean and variance at ``x = −origin``, (q,) or (u, q), with β integrated out; (n, u).

        Values belong to x = 0 in the tree's coordinates, which may have been centred.
        """
        if not origin.shape[-1]:
            return self.row[:, :, 0], self.own
        x, y = self.row[:, :, :-1] + origin, self.row[:, :, -1]
        mean = y - (x @ up.beta[:, :, None])[:, :, 0]
        return mean, self.own + ((x @ up.beta_covariance) * x).sum(axis=2)

    def covariance(self, up: Upward) -> Floats:
        """Covariance with β of the values at x = 0; (n, u, q)."""
        return -self.row[:, :, :-1] @ up.beta_covariance


def root_conditional(up: Upward, prior: Coefficients) -> Conditional:
    """The intercept given the variances: its prior shrinks the root's mean.

    Its variance is ``(1 − B)·error``; B is 1 for a root whose value is known, 0 for a flat prior.
    """
    root = up.pooled[-1]
    shrink = shrinkage(root.error, prior.root_spread)
    with np.errstate(divide="ignore"):
        keep = 1 / (1 + root.error / prior.root_spread)
    row = shrink[:, :, None] * prior.root_row + keep[:, :, None] * root.mean
    return Conditional(row, keep * root.error)


def child_conditional(
    parent: Conditional, mean: Floats, error: Floats, spread: Floats, index: Indices
) -> Conditional:
    """One level down: from parents' values to their children's.

    With ``B = error / (error + spread)`` a child's value given its parent's value φ is
    N(B·φ + (1 − B)·mean, (1 − B)·error), and the variance of φ comes down as B² of it.

    Parameters
    ----------
    parent : Conditional
        The parents.
    mean : (n, u, q + 1) or (1, u, q + 1)
        What lies below each child says of it.
    error : (n, u)
        Variance of ``mean``.
    spread : (n,)
        Variance of the children around their parent.
    index : (u,)
        Each child's parent.
    """
    shrink, keep = shrinkage(error, spread[:, None]), own_share(error, spread[:, None])
    row = parent.row[:, index] * shrink[:, :, None]
    row += keep[:, :, None] * mean
    own = shrink**2
    own *= parent.own[:, index]
    keep *= error
    own += keep
    return Conditional(row, own)


def downward(
    tree: Tree,
    variances: Variances,
    up: Upward,
    prior: Coefficients,
    groups: Indices | None = None,
) -> Iterator[tuple[int, slice, Conditional]]:
    """Yield every level's values given the variances, the root first.

    Parameters
    ----------
    groups : (g',), optional
        Which groups; all by default.

    Yields
    ------
    level : int
        0 for the groups; ``len(tree.sizes)`` for the root.
    units : slice
        The units that this part holds: the groups come in blocks.
    values : Conditional
    """
    top = len(tree.sizes)
    values = root_conditional(up, prior)
    yield top, slice(0, 1), values
    for level in range(top - 1, 0, -1):
        below = up.pooled[level - 1]
        spread = variances.spreads[level]
        values = child_conditional(values, below.mean, below.error, spread, tree.parent(level))
        yield level, slice(0, tree.sizes[level]), values
    parent = tree.parent(0)
    size = tree.sizes[0] if groups is None else len(groups)
    step = max(1, BLOCK // (len(variances) * tree.mean.shape[1]))
    for i in range(0, size, step):
        part = slice(i, min(i + step, size))
        own = part if groups is None else groups[part]
        error = variances.sigma2[:, None] / tree.weight[own]
        spread = variances.spreads[0]
        yield 0, part, child_conditional(values, tree.mean[None, own], error, spread, parent[own])


def level_moments(
    tree: Tree,
    variances: Variances,
    prior: Coefficients,
    origin: Floats,
    level: int,
    units: Indices | None = None,
) -> tuple[Floats, Floats]:
    """Mean and variance of one level's values at each node, with β integrated out.

    Parameters
    ----------
    origin : (q,) or (u, q)
        Values are taken at ``x = −origin``: see :meth:`Conditional.moments`.
    level : int
        0 for the groups; ``len(tree.sizes)`` for the root.
    units : (u,), optional
        Which of its units; all by default.

    Returns
    -------
    mean, variance : (n, u)
    """
    units = np.arange((*tree.sizes, 1)[level]) if units is None else units
    mean, variance = (np.empty((len(variances), len(units))) for _ in range(2))
    for nodes, up, part, values in _chosen(tree, variances, prior, level, units):
        own = origin if origin.ndim == 1 else origin[part]
        mean[nodes, part], variance[nodes, part] = values.moments(up, own)
    return mean, variance


@dataclass(frozen=True)
class Moments:
    """Means and variances of mixtures over the nodes, one for each row of weights.

    Attributes
    ----------
    means, variances : tuple of (m, u)
        Of the units' values at each level, from the groups to the root.
    beta : (m, q)
        Mean of β.
    beta_covariance : (m, q, q)
        Covariance of β.
    """

    means: tuple[Floats, ...]
    variances: tuple[Floats, ...]
    beta: Floats
    beta_covariance: Floats


class _Mixture:
    """Sums for the mean and covariance of mixtures, around anchors to keep all digits.

    ``E θ = a + Σ w (m − a)`` and ``Var θ = Σ w (v + (m − a)²) − (E θ − a)²``, where m and v
    are the components' means and variances and the anchor a is one of the means.
    """

    def __init__(self, anchors: list[Floats], beta: Floats, n_mixtures: int) -> None:
        q = len(beta)
        self.anchors, self.beta = anchors, beta
        self.first = [np.zeros((n_mixtures, len(anchor))) for anchor in anchors]
        self.second = [np.zeros((n_mixtures, len(anchor))) for anchor in anchors]
        self.beta_first = np.zeros((n_mixtures, q))
        self.beta_second = np.zeros((n_mixtures, q, q))

    def add(self, level: int, units: slice, share: Floats, mean: Floats, variance: Floats) -> None:
        """Add values of some units at nodes with weights ``share`` (m, n)."""
        away = mean - self.anchors[level][units]
        self.first[level][:, units] += share @ away
        away *= away
        away += variance
        self.second[level][:, units] += share @ away

    def add_coefficients(self, share: Floats, up: Upward) -> None:
        """Add β at nodes with weights ``share`` (m, n)."""
        away = up.beta - self.beta
        self.beta_first += share @ away
        self.beta_second += np.einsum("mn,nij->mij", share, up.beta_covariance)
        self.beta_second += np.einsum("mn,ni,nj->mij", share, away, away)

    def moments(self) -> Moments:
        """Put the sums together."""
        sums = zip(self.anchors, self.first, self.second, strict=True)
        means, variances = zip(*((a + m, v - m**2) for a, m, v in sums), strict=True)
        outer = self.beta_first[:, :, None] * self.beta_first[:, None, :]
        return Moments(means, variances, self.beta + self.beta_first, self.beta_second - outer)


def mixture_moments(
    tree: Tree,
    variances: Variances,
    weights: Floats,
    prior: Coefficients,
    origin: Floats | Sequence[Floats],
    groups: Indices | None = None,
) -> Moments:
    """Mean and variance of every value and of β, over weighted nodes.

    Parameters
    ----------
    weights : (m, n)
        Weights of the nodes, of sum 1 in each row: m mixtures are taken at once.
    origin : (q,), or a sequence of (q,) or (u, q)
        Values are taken at ``x = −origin``, see :meth:`Conditional.moments`: one for all, or one
        for each level, from the groups (those that are asked for) to the root.
    groups : (g',), optional
        Which groups; all by default.
    """
    heaviest = int(np.argmax(weights[0]))
    one = variances[slice(heaviest, heaviest + 1)]
    size = tree.sizes[0] if groups is None else len(groups)
    anchors = [np.empty(size) for size in (size, *tree.sizes[1:], 1)]

    def origin_of(level: int, units: slice) -> Floats:
        own = origin if isinstance(origin, np.ndarray) else origin[level]
        return own if own.ndim == 1 else own[units]

    up = upward(tree, one, prior)
    for level, units, values in downward(tree, one, up, prior, groups):
        anchors[level][units] = values.moments(up, origin_of(level, units))[0][0]
    total = _Mixture(anchors, up.beta[0], len(weights))
    for part in _parts(tree, variances):
        nodes, share = variances[part], weights[:, part]
        up = upward(tree, nodes, prior)
        total.add_coefficients(share, up)
        for level, units, values in downward(tree, nodes, up, prior, groups):
            total.add(level, units, share, *values.moments(up, origin_of(level, units)))
    return total.moments()


@dataclass(frozen=True)
class Joint:
    """Means and covariances of some units' values at x = 0 together with β, at n nodes.

    Attributes
    ----------
    mean : (n, u)
    variance : (n, u)
    covariance : (n, u, q)
        Of each value with β.
    beta : (n, q)
    beta_covariance : (n, q, q)
    """

    mean: Floats
    variance: Floats
    covariance: Floats
    beta: Floats
    beta_covariance: Floats

    def at(self, units: Indices, x: Floats) -> tuple[Floats, Floats]:
        """Mean and variance of ``v + x'β`` for values v of units (r,) and x (r, q); both (n, r).

        ``Var(v + x'β) = Var v + 2 x'Cov(β, v) + x'Var(β) x``.
        """
        mean, variance = self.mean[:, units], self.variance[:, units]
        if not x.shape[1]:
            return mean, variance
        both = 2 * self.covariance[:, units] + x @ self.beta_covariance
        return mean + self.beta @ x.T, variance + np.einsum("nrq,rq->nr", both, x)


def level_joint(
    tree: Tree, variances: Variances, prior: Coefficients, level: int, units: Indices
) -> Joint:
    """Values of some units of a level together with β, given the variances.

    Parameters
    ----------
    level : int
        0 for the groups; ``len(tree.sizes)`` for the root.
    units : (u,)
    """
    n, u, q = len(variances), len(units), tree.n_covariates
    mean, variance, covariance = np.empty((n, u)), np.empty((n, u)), np.empty((n, u, q))
    beta, beta_covariance = np.empty((n, q)), np.empty((n, q, q))
    for nodes, up, part, values in _chosen(tree, variances, prior, level, units):
        mean[nodes, part], variance[nodes, part] = values.moments(up, np.zeros(q))
        covariance[nodes, part] = values.covariance(up)
        beta[nodes], beta_covariance[nodes] = up.beta, up.beta_covariance
    return Joint(mean, variance, covariance, beta, beta_covariance)


def mixture_joint(
    tree: Tree,
    variances: Variances,
    weights: Floats,
    prior: Coefficients,
    level: int,
    units: Indices,
) -> Joint:
    """The same over weighted nodes (n,), of weights with sum 1: a single node for all of them."""
    heaviest = int(np.argmax(weights))
    one = level_joint(tree, variances[slice(heaviest, heaviest + 1)], prior, level, units)
    anchor, anchor_beta, origin = one.mean[0], one.beta[0], np.zeros(tree.n_covariates)
    total = _Mixture([anchor], anchor_beta, 1)
    cross = np.zeros((len(units), tree.n_covariates))
    for nodes, up, part, values in _chosen(tree, variances, prior, level, units):
        share = weights[None, nodes]
        mean, variance = values.moments(up, origin)
        total.add(0, part, share, mean, variance)
        cross[part] += (share * (mean - anchor[part]).T) @ (up.beta - anchor_beta)
        cross[part] += np.einsum("n,nuq->uq", share[0], values.covariance(up))
        if part.start == 0:
            total.add_coefficients(share, up)
    found = total.moments()
    cross -= np.outer(found.means[0][0] - anchor, found.beta[0] - anchor_beta)
    return Joint(found.means[0], found.variances[0], cross[None], found.beta, found.beta_covariance)


def _chosen(
    tree: Tree, variances: Variances, prior: Coefficients, level: int, units: Indices
) -> Iterator[tuple[slice, Upward, slice, Conditional]]:
    """Yield blocks of nodes, and for each of them blocks of the units."""
    for nodes in _parts(tree, variances):
        up = upward(tree, variances[nodes], prior)
        for current, part, values in downward(tree, variances[nodes], up, prior, units):
            if current == level == 0:
                yield nodes, up, part, values
            elif current == level:
                yield nodes, up, slice(0, len(units)), values.of(units)
                break


@storable
@dataclass(frozen=True)
class UpperDraws:
    """Draws of β and of all values above the groups, one for each node.

    Attributes
    ----------
    levels : tuple of (u, n)
        The levels above the groups, the root last; a unit's draws are side by side in memory.
    beta : (q, n)
    """

    levels: tuple[Floats, ...]
    beta: Floats


def draw_upper(
    tree: Tree,
    variances: Variances,
    prior: Coefficients,
    seed: np.random.SeedSequence,
) -> UpperDraws:
    """Draw β and the values above the groups once for each node, from the top downwards.

    Each level has a random stream of its own.  The upward pass is computed in blocks of nodes: for
    all of them together it would take several times the draws' memory.
    """
    streams = [np.random.default_rng(child) for child in seed.spawn(len(tree.sizes) + 1)]
    n = len(variances)
    beta = streams[0].standard_normal((n, tree.n_covariates)).T
    levels = [streams[1].standard_normal((1, n))]
    for level in range(len(tree.sizes) - 1, 0, -1):
        levels.append(streams[level + 1].standard_normal((tree.sizes[level], n)))
    for part in _parts(tree, variances):
        block = [values[:, part] for values in levels]
        _turn_into_draws(beta[:, part], block, tree, variances[part], prior)
    return UpperDraws(tuple(reversed(levels)), beta)


def _turn_into_draws(
    beta: Floats,
    levels: Sequence[Floats],
    tree: Tree,
    variances: Variances,
    prior: Coefficients,
) -> None:
    """Turn standard normal noise, β (q, n) and levels (u, n) from the root down, into draws."""
    up = upward(tree, variances, prior)
    factor = np.linalg.cholesky(up.beta_covariance)
    beta[:] = (up.beta + np.einsum("nij,nj->ni", factor, beta.T)).T
    top = root_conditional(up, prior)
    levels[0][:] = (_residual(top.row, beta) + np.sqrt(top.own) * levels[0].T).T
    descent = range(len(tree.sizes) - 1, 0, -1)
    for level, above, values in zip(descent, levels[:-1], levels[1:], strict=True):
        below, spread = up.pooled[level - 1], variances.spreads[level][:, None]
        keep = own_share(below.error, spread)
        mean = shrinkage(below.error, spread) * _to_children(above.T, tree.parent(level))
        mean += keep * _residual(below.mean, beta)
        values *= np.sqrt(keep * below.error).T
        values += mean.T


def _residual(row: Floats, beta: Floats) -> Floats:
    """``row_y − row_x'β`` for rows (n, u, q + 1) and β (q, n); shape (n, u)."""
    if not len(beta):
        return row[:, :, -1]
    return row[:, :, -1] - np.einsum("nui,in->nu", row[:, :, :-1], beta)


def draw_groups(
    tree: Tree,
    variances: Variances,
    upper: UpperDraws,
    seed: np.random.SeedSequence,
    unit: tuple[float, Floats],
    groups: Indices | None = None,
) -> Floats:
    """Draw the values of groups given all above them, one for each node.

    Parameters
    ----------
    unit : (float, (n,))
        Scale and location of each draw: values come out as ``location + scale·value``.
    groups : (g',), optional
        Which groups; all by default.  Blocks of groups have random streams of their own, so
        that a group's draws are the same whichever others are drawn.

    Returns
    -------
    (g', n)
        A group's draws are side by side in memory.
    """
    n, n_groups = len(variances), tree.sizes[0]
    block = _GroupDraws(tree, variances, upper, seed, unit)
    if groups is None:
        out = np.empty((n_groups, n))

        def draw(number: int) -> None:
            block.draw(number, out[number * GROUPS_PER_STREAM :][:GROUPS_PER_STREAM])

        for_each(draw, range(-(-n_groups // GROUPS_PER_STREAM)))
        return out
    out = np.empty((len(groups), n))
    for number in np.unique(groups // GROUPS_PER_STREAM):
        first = int(number) * GROUPS_PER_STREAM
        drawn = np.empty((min(GROUPS_PER_STREAM, n_groups - first), n))
        block.draw(int(number), drawn)
        here = groups // GROUPS_PER_STREAM == number
        out[here] = drawn[groups[here] - first]
    return out


class _GroupDraws:
    """Draws blocks of groups: ``B·φ + (1 − B)·mean + √((1 − B)·error)·noise``."""

    def __init__(
        self,
        tree: Tree,
        variances: Variances,
        upper: UpperDraws,
        seed: np.random.SeedSequence,
        unit: tuple[float, Floats],
    ) -> None:
        self._tree, self._variances, self._upper = tree, variances, upper
        self._seed, self._unit = seed, unit
        distinct, self._kind = np.unique(tree.weight, return_inverse=True)
        few = 2 * len(distinct) <= len(tree.weight)  # else a table would save nothing
        self._table = self._shares_and_scale(distinct) if few else None

    def _shares_and_scale(self, weight: Floats) -> tuple[Floats, Floats, Floats]:
        """``B``, ``1 − B`` and ``√((1 − B)·error)`` for groups with these weights, all (b, n)."""
        error, spread = self._variances.sigma2 / weight[:, None], self._variances.spreads[0]
        keep = own_share(error, spread)
        return shrinkage(error, spread), keep, np.sqrt(keep * error)

    def draw(self, number: int, out: Floats) -> None:
        """Draw the block with this number into (b, n)."""
        part = slice(number * GROUPS_PER_STREAM, number * GROUPS_PER_STREAM + len(out))
        if self._table is None:
            shrink, keep, scale = self._shares_and_scale(self._tree.weight[part])
        else:
            shrink, keep, scale = (values[self._kind[part]] for values in self._table)
        own = self._tree.mean[part, -1:] - self._tree.mean[part, :-1] @ self._upper.beta
        own *= keep
        pulled = self._upper.levels[0][self._tree.parent(0)[part]]
        pulled *= shrink
        pulled += own
        key = (*self._seed.spawn_key, number)
        stream = np.random.SeedSequence(self._seed.entropy, spawn_key=key)
        np.random.default_rng(stream).standard_normal(out=out)
        out *= scale
        out += pulled
        out *= self._unit[0]
        out += self._unit[1]

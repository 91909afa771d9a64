"""The recursion for normal hierarchies: likelihood upwards, means and variances downwards.

Every model of this package is one tree.  Rows hang under groups, groups under their
parents (schools), the last of them under one root whose value is the intercept, or known to be 0:

    root (intercept)  →  [schools]  →  groups  →  rows

A member's effect is its parent's effect, or at the outermost level the root's value, plus normal
noise, with one variance a level (the variance *between* its members).  A row is its group's effect
plus ``x'β`` plus noise of variance ``σ²/ω``: an unknown σ² has ``ω = 1``; a known standard error is
the weight ``ω = 1/se²`` with ``σ² = 1``.

Covariates need no second derivation.  All formulas are linear or quadratic in the residual
``r = y − x'β``, so they are carried out once on the columns ``z = [x, y]``: a mean becomes a
row of ``q + 1`` numbers, a sum of squares a ``(q + 1, q + 1)`` matrix, and β is put in at the
end.  Shapes below: ``n`` nodes (settings of the variances), ``g`` groups, ``u`` members of a
level, ``q`` covariates (the intercept is the root, not a column).

Nothing here divides by a variance between members: exactly 0 is an ordinary value.

References
----------
Lindley & Smith (1972), JRSS B 34:1 (the linear model with several levels).
Gelman et al. (2013), Bayesian Data Analysis, 3rd ed., section 5.4 (two levels).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from hiermodels.core.arrays import Floats, Indices
from hiermodels.numerics.chebyshev import Interpolation
from hiermodels.numerics.group_sums import starts, sum_by

FEW = 2  # times fewer weights that have to stand for others, to be worth it
DENSE = 8  # numbers for each group that a table of sums may have and still be a plain array
WIDEST_RATIO = 1e4  # of prior sds of coefficients whose precisions are added to the data's


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
        For each level but the outermost, from there downwards: the index of every member's parent
        in the level above, ascending, with no parent left out.
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

    @property
    def n_groups(self) -> int:
        """Number of groups (g), the members of the innermost level."""
        return len(self.weight)

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """Number of members at each level, from the outermost to the groups."""
        return (*(int(parent[-1]) + 1 for parent in self.parents), self.n_groups)

    @property
    def innermost(self) -> int:
        """Number of the groups' level; the outermost has 0, and the root ``ROOT``."""
        return len(self.parents)

    @cached_property
    def log_constant(self) -> float:
        """``½ (Σ log ω − Σ log weight)``: what the weights alone add to a log likelihood."""
        return 0.5 * (self.log_weight - float(np.log(self.weight).sum()))

    def parent(self, level: int) -> Indices:
        """Index of the parent of each member of a level; the root's, 0, above the outermost."""
        return self.parents[level - 1] if level else np.zeros(self.sizes[0], dtype=np.intp)

    @property
    def group_parent(self) -> Indices:
        """Index of the parent of each group; (g,)."""
        return self.parent(self.innermost)

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
    def by_weight(self) -> WeightClasses:
        """The groups put together by weight."""
        return weight_classes(self)


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
class WeightClasses:
    """The groups put together by weight.

    The variance ``between + σ²/ω`` of a group mean depends on ω alone.  So all that the
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

    Without an intercept the root's value is known: its precision is infinite, its variance 0.

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
    between : tuple of (n,)
        Variance of the members of each level around their parent, the outermost level first.
    sigma2 : (n,)
        Variance of a row of weight 1 around its group.
    """

    between: tuple[Floats, ...]
    sigma2: Floats

    @classmethod
    def of(cls, values: Sequence[Floats], levels: int) -> Variances:
        """Of each level, the outermost first, and last σ² unless it is known; (n,) each."""
        sigma2 = values[levels] if len(values) > levels else np.ones(len(values[0]))
        return cls(tuple(values[:levels]), sigma2)

    def __len__(self) -> int:
        return len(self.sigma2)

    def __getitem__(self, rows: slice | Indices) -> Variances:
        return Variances(tuple(variance[rows] for variance in self.between), self.sigma2[rows])


def weight_classes(tree: Tree) -> WeightClasses:
    """Put together the groups of a tree that have the same weight."""
    parent = tree.group_parent
    first = starts(parent)
    share = tree.weight / np.add.reduceat(tree.weight, first)[parent]
    mean = tree.residual_mean
    some = mean[first]
    centre = some + np.add.reduceat(share[:, None] * (mean - some[parent]), first)
    deviation = mean - centre[parent]
    products = (deviation[:, :, None] * deviation[:, None, :]).reshape(len(deviation), -1)
    weight, kind = np.unique(tree.weight, return_inverse=True)
    columns = np.column_stack([np.ones(len(deviation)), deviation])
    sizes = WeightClasses(
        weight=weight,
        groups=np.bincount(kind).astype(float),
        product=sum_by(kind, products, len(weight)),
        sums=_table(kind, parent, columns, len(weight), len(first)),
        centre=centre,
    )
    return _by_few_weights(sizes)


def _by_few_weights(sizes: WeightClasses) -> WeightClasses:
    """Let few weights stand for all of them, where that saves work."""
    least = sizes.weight[0]
    x = np.log(sizes.weight / least)
    if x[-1] == 0:
        return sizes
    few, n_parents = Interpolation(x), len(sizes.centre)
    if FEW * len(few) > len(x) or len(few) * n_parents > DENSE * sizes.groups.sum():
        return sizes
    return WeightClasses(
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

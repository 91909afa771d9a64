"""Covariates as orthonormal columns, sorted by the lowest level at which they vary."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from hiermodels.core.arrays import Floats, Indices
from hiermodels.exact.kernels.tree.tree import Residuals, Tree
from hiermodels.exact.standardized import Standardized
from hiermodels.numerics.group_sums import starts, sum_by, symmetric

SMALLEST_RESIDUAL = 1e-13  # share of a sum of squares that is rounding error
ROUNDS = 8  # of generalised least squares: the error is squared in each


def divided(columns: Floats, size: Floats) -> Floats:
    """Scale columns (n, q) to size 1; one of size 0 stays as it is."""
    return columns / np.where(size > 0, size, 1.0)


@dataclass(frozen=True)
class GroupSums:
    """Means of groups with columns ``[x, y]`` on a unit scale, and the rows around them.

    Attributes
    ----------
    mean : (g, q + 1)
    weight : (g,)
    root : (m, q + 1)
        A matrix with ``root'root = scatter``, of the rows' deviations from their group's mean.
    scatter : (q + 1, q + 1)
    n_rows, log_weight, parents
        As in :class:`hiermodels.exact.kernels.tree.tree.Tree`.
    """

    mean: Floats
    weight: Floats
    root: Floats
    scatter: Floats
    n_rows: int
    log_weight: float
    parents: tuple[Indices, ...]

    @property
    def tree(self) -> Tree:
        """The same as a tree."""
        return Tree(
            self.mean, self.weight, self.scatter, self.n_rows, self.log_weight, self.parents
        )

    @property
    def chain(self) -> tuple[Indices, ...]:
        """Parent of each member of each level, from the outermost level to the groups."""
        outermost = int(self.parents[0][-1]) + 1 if self.parents else len(self.weight)
        return (np.zeros(outermost, dtype=np.intp), *self.parents)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Number of members at each level, from the root, and of rows."""
        return (1, *map(len, self.chain), self.n_rows)


@dataclass(frozen=True)
class Deviations:
    """Means of groups as a sum: the root's, and at each level the members' deviations from it.

    Attributes
    ----------
    root : (c,)
    members : tuple of (u, c)
        Weighted means of the members of a level less those of their parents, the outermost level
        first.
    weights : tuple of (u,)
    chain : tuple of (u,)
    """

    root: Floats
    members: tuple[Floats, ...]
    weights: tuple[Floats, ...]
    chain: tuple[Indices, ...]

    @classmethod
    def of(cls, groups: GroupSums) -> Deviations:
        """Take the groups' means apart."""
        mean, weight = groups.mean, groups.weight
        members, weights = [], []
        for parent in reversed(groups.chain):  # means are taken of what lies below
            first = starts(parent)
            total = np.add.reduceat(weight, first)
            some = mean[first]
            share = (weight / total[parent])[:, None]
            centre = some + sum_by(parent, share * (mean - some[parent]), len(total))
            members.append(mean - centre[parent])
            weights.append(weight)
            mean, weight = centre, total
        return cls(mean[0], tuple(members[::-1]), tuple(weights[::-1]), groups.chain)

    def factors(self) -> list[Floats]:
        """For each level a matrix (u, c) whose cross-products are those of the deviations."""
        return [np.sqrt(w)[:, None] * d for w, d in zip(self.weights, self.members, strict=True)]

    def rebuilt(self, basis: Floats, anchor: Floats, keep: NDArray[np.bool_]) -> Floats:
        """Means of the groups in the columns ``[x @ basis, y − x @ basis @ anchor]``; (g, q + 1).

        Parameters
        ----------
        basis : (q, q)
        anchor : (q,)
        keep : (levels, q + 1)
            Whether a new column has deviations at a level; where not, they are 0 exactly.  The
            first is the root's, if its mean is a deviation from 0.
        """
        mean, n_roots = _transformed(self.root[None], basis, anchor), len(keep) - len(self.members)
        for kept in keep[:n_roots]:
            mean = np.where(kept, mean, 0.0)
        for deviation, parent, kept in zip(self.members, self.chain, keep[n_roots:], strict=True):
            mean = mean[parent] + np.where(kept, _transformed(deviation, basis, anchor), 0.0)
        return mean


def _transformed(z: Floats, basis: Floats, anchor: Floats) -> Floats:
    """Columns ``[x @ basis, y − x @ basis @ anchor]`` of ``z = [x, y]``."""
    x = z[:, :-1] @ basis
    return np.column_stack([x, z[:, -1] - x @ anchor])


def orthonormalized(
    groups: GroupSums,
    location: float,
    scale: float,
    centre: Floats,
    size: Floats,
    noise: tuple[float, float],
    intercept: bool,
) -> Standardized:
    """Make the covariates orthonormal, level by level, and take a first fit from the outcome.

    Levels are eliminated one after another from the rows upwards: this is the order of the factors
    and of all that comes of them, up to where it is stored.
    """
    deviations, unit = Deviations.of(groups), np.sqrt(groups.weight.sum())
    upwards = (groups.root, *reversed(deviations.factors()))
    factors = [np.linalg.qr(f / unit, mode="r") for f in upwards]
    sizes = np.array(groups.sizes[::-1])
    if not intercept:
        origin = np.append(divided(centre, size), location / scale)
        groups = replace(groups, mean=groups.mean + origin)
        deviations = replace(deviations, root=deviations.root + origin)
        factors, sizes = [*factors, deviations.root[None]], np.append(sizes, 0)
        location, centre = 0.0, np.zeros_like(centre)
    basis, step = _basis(factors, noise)
    belongs = step == np.arange(len(factors))[:, None]  # (levels with the rows, q)
    varies = np.logical_or.accumulate(belongs, axis=0)
    x = [np.where(v, f[:, :-1] @ basis, 0.0) for v, f in zip(varies, factors, strict=True)]
    y = [f[:, -1] for f in factors]
    df = sizes[:-1] - sizes[1:] - belongs.sum(axis=1)
    full = _levels_without_df(df)
    tree = groups.tree
    if len(basis):
        anchor = _fit(x, y, belongs, df)
        rest = y[0] - x[0] @ anchor if full == 0 else np.zeros_like(y[0])
        keep = np.column_stack([varies[1:], np.arange(1, len(df)) >= full])
        residual = deviations.rebuilt(basis, anchor, keep[::-1])
        tree = _with_residuals(tree, residual, anchor, unit * np.column_stack([x[0], rest]))
    n_levels, explained = len(deviations.members), _explained(x, y)
    level, explained = n_levels - step, (*explained[:n_levels], explained[-1])[::-1]
    return Standardized(tree, location, scale, centre, divided(basis.T, size).T, level, explained)


def _with_residuals(tree: Tree, residual: Floats, anchor: Floats, root: Floats) -> Tree:
    """A tree of the new covariates, with what the first fit leaves of the outcome.

    Parameters
    ----------
    residual : (g, q + 1)
        New covariates and residuals of the groups' means.
    anchor : (q,)
        Coefficients of the first fit.
    root : (m, q + 1)
        A matrix whose cross-products are those of the rows around their groups' means.
    """
    scatter = symmetric(root.T @ root)
    back = np.eye(len(anchor) + 1)
    back[:-1, -1] = anchor
    return replace(
        tree,
        mean=np.column_stack([residual[:, :-1], tree.mean[:, -1]]),
        scatter=symmetric(back.T @ scatter @ back),
        residuals=Residuals(anchor, residual[:, -1], scatter),
    )


def _basis(factors: Sequence[Floats], noise: tuple[float, float]) -> tuple[Floats, Indices]:
    """Columns that are orthonormal over all rows, those of the highest level first.

    Parameters
    ----------
    factors : sequence of (m, q + 1)
        Deviations at each level, from the rows upwards; of sum of squares at most 1 a column.
    noise : (float, float)
        Singular values that count as 0: among the rows, and at the levels above.

    Returns
    -------
    basis : (q, q)
    step : (q,)
        The factor that each new column belongs to.
    """
    q = factors[0].shape[1] - 1
    null, blocks = np.eye(q), []
    for i, factor in enumerate(factors):
        rows, rest = _split(factor[:, :q] @ null, noise[i > 0])
        blocks.append(null @ rows)
        null = null @ rest
    blocks.append(null)
    step = np.repeat(np.arange(len(blocks)), [block.shape[1] for block in blocks])[::-1]
    columns = np.hstack(blocks[::-1])
    varies = step <= np.arange(len(factors))[:, None]
    stacked = [np.where(v, f[:, :q] @ columns, 0.0) for v, f in zip(varies, factors, strict=True)]
    some = step < len(factors)
    triangle = np.eye(q)
    triangle[np.ix_(some, some)] = np.linalg.qr(np.vstack(stacked)[:, some], mode="r")
    return columns @ np.linalg.inv(triangle) * np.sign(np.diag(triangle)), step


def _split(columns: Floats, noise: float) -> tuple[Floats, Floats]:
    """Orthonormal directions along which columns (m, k) vary, and those along which they do not.

    Where it is columns that do not vary, rather than combinations of them, they stay as they are.
    """
    axes = np.eye(columns.shape[1])
    varies = np.linalg.norm(columns, axis=0) > noise
    if np.linalg.matrix_rank(columns[:, varies], tol=noise) == varies.sum():
        return axes[:, varies], axes[:, ~varies]
    _, size, axes = np.linalg.svd(columns, full_matrices=True)
    rank = int((size > noise).sum())
    return axes[:rank].T, axes[rank:].T


def _fit(
    x: Sequence[Floats], y: Sequence[Floats], belongs: NDArray[np.bool_], df: Indices
) -> Floats:
    """Coefficients of a first fit; (q,).

    The levels are fitted one after another, from the rows upwards, each by the covariates that
    belong to it.  Where the lowest levels have no degree of freedom, it stays so: a variance that
    goes to 0 leaves nothing but that fit.  From the first level that has one, feasible generalised
    least squares follow: they minimise ``Σ_l |y_l − x_l β|²/v_l``, with the mean squares of the fit
    before for ``v_l``.  So near to the best coefficients, the likelihood's sum of squares is no
    small difference of large ones, however far the variances of the levels lie apart.

    Parameters
    ----------
    x : sequence of (m, q)
        Covariates' deviations at each level, from the rows upwards.
    y : sequence of (m,)
    belongs : (levels, q)
        Whether a covariate belongs to a level.
    df : (levels,)
        Degrees of freedom that the covariates of a level leave there.
    """
    beta = np.zeros(belongs.shape[1])
    for columns, outcome, own in zip(x, y, belongs, strict=True):
        beta += _least_squares(columns, outcome - columns @ beta, own)
    first = _levels_without_df(df)
    own = belongs[first:].any(axis=0)
    if not own.any():
        return beta
    below, beta = np.where(own, 0.0, beta), np.where(own, beta, 0.0)
    x, y = x[first:], [b - a @ below for a, b in zip(x[first:], y[first:], strict=True)]
    for _ in range(ROUNDS):
        root = np.sqrt(_mean_squares(x, y, beta, df[first:]))
        columns = np.vstack([a / r for a, r in zip(x, root, strict=True)])
        outcome = np.concatenate([b / r for b, r in zip(y, root, strict=True)])
        beta = _least_squares(columns, outcome, own)
    return below + beta


def _levels_without_df(df: Indices) -> int:
    """Number of the lowest levels, up to the first that has a degree of freedom."""
    return int(np.argmax(df > 0)) if df.any() else len(df)


def _mean_squares(x: Sequence[Floats], y: Sequence[Floats], beta: Floats, df: Indices) -> Floats:
    """Mean square of each level's residuals, no smaller than those of the levels below; (levels,).

    It estimates the rows' variance plus a multiple of those of the levels up to its own.
    """
    squares = np.array([np.square(b - a @ beta).sum() for a, b in zip(x, y, strict=True)])
    least = np.finfo(float).eps ** 2 * sum(float(b @ b) for b in y) or 1.0
    return np.maximum.accumulate(np.maximum(squares / np.maximum(df, 1), least))


def _least_squares(columns: Floats, outcome: Floats, own: NDArray[np.bool_]) -> Floats:
    """Coefficients of the columns named by ``own`` (q,), of full rank; 0 for the others; (q,)."""
    beta = np.zeros(len(own))
    orthonormal, triangle = np.linalg.qr(columns[:, own])
    beta[own] = np.linalg.solve(triangle, orthonormal.T @ outcome)
    return beta


def _explained(x: Sequence[Floats], y: Sequence[Floats]) -> tuple[bool, ...]:
    """Whether, at each level, the members and the covariates leave only rounding errors."""
    explained = []
    for count in range(1, len(y) + 1):
        columns, outcome = np.vstack(list(x[:count])), np.concatenate(y[:count])
        orthonormal = np.linalg.qr(columns[:, columns.any(axis=0)])[0]
        rest = outcome - orthonormal @ (orthonormal.T @ outcome)
        least = SMALLEST_RESIDUAL * max(float(outcome @ outcome), SMALLEST_RESIDUAL)
        explained.append(bool(rest @ rest <= least))
    return tuple(explained)

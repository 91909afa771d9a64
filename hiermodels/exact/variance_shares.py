"""Each level's share of the total variance, and moments of the sds' squares.

Over the lattice of the variances every share of the total variance is a smooth function: its
mean and sd are sums like any other, and its distribution function is summed line by line.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from hiermodels.core.arrays import Floats, Indices
from hiermodels.core.blas import one_blas_thread
from hiermodels.data.grouped import GroupedData, require_rows
from hiermodels.exact.lattice_mixture import LatticeMixture
from hiermodels.families.normal import STRATA, WEIGHTS
from hiermodels.model.spec import Spec
from hiermodels.numerics.lattice import Lattice, ModesAndScale, grow
from hiermodels.posterior.moments import FOURTH
from hiermodels.posterior.tables import shown
from hiermodels.posterior.variance_shares import VarianceShares

SPACING = {
    0: 1.0,
    1: 0.25,
    2: 0.35,
    3: 0.5,
    4: 0.75,
}  # of lattices for distribution functions of shares
TAIL_MASS = 1e-14  # weight of a point, as a part of the largest
XTOL = 1e-10  # of the logit of a share that is a quantile


def variance_shares(exact: LatticeMixture, probabilities: Floats) -> VarianceShares:
    """Mean, sd and quantiles of each level's share of the total variance."""
    spreads, names = LatticeSpreads(exact), exact.marginal.names
    numbers = {level.column: names.index(level.sd) for level in exact.spec.levels}
    rows = Shares.of(spreads, numbers).rows(probabilities)
    return VarianceShares(rows, notes_of_shares(exact.spec, exact.data))


def notes_of_shares(spec: Spec, data: GroupedData) -> tuple[str, ...]:
    """What is said of the shares below their table."""
    note = "share[…]: part of the total variance"
    if spec.has_slopes:
        slopes = [level.column for level in spec.levels if level.has_slopes]
        note += f", and var[{', '.join(slopes)}] the groups' variance at the same x"
    if spec.has_known_errors:
        note += f"; residual: a typical row's sampling variance, {shown(typical_se(data))}²"
    if spec.strata:
        note += f"; of rows of each {spec.columns[STRATA]}"
    if WEIGHTS in spec.columns:
        note += "; residual: the variance of a row of weight 1"
    if len(spec.groups) == 1 or spec.is_crossed:
        return (note,)
    inner = spec.groups[-1]
    return note, f"icc[{inner}]: correlation of two rows of one {inner}"


def typical_se(data: GroupedData) -> float:
    """Root of a typical sampling variance, ``(N − 1) Σw / ((Σw)² − Σw²)`` with ``w = 1/se²``.

    With equal standard errors, or a single row, it is theirs.  The share of the groups' variance in
    the sum of both is then I².

    References
    ----------
    Higgins & Thompson (2002), Statistics in Medicine 21:1539, equation 9.
    """
    se = require_rows(data, "the typical standard error").se
    assert se is not None
    smallest = se.min()
    if len(se) == 1:
        return float(smallest)
    weight = (smallest / se) ** 2
    total = weight.sum()
    return float(smallest * np.sqrt((len(weight) - 1) * total / (total**2 - (weight**2).sum())))


def variance_moments(exact: LatticeMixture, names: Sequence[str]) -> list[tuple[float, float]]:
    """Mean and sd of each sd's square, nan where they do not exist."""
    marginal = exact.marginal
    lattice = marginal.lattice(exact.lattice.spacing, FOURTH)
    log_weights = lattice.log_density - lattice.log_sum
    log_weights -= np.log(np.exp(log_weights).sum())  # digits that a huge ``log_sum`` has lost
    log_sds, unit = marginal.log_sds(lattice.points), marginal.data.scale**2
    moments = []
    for name in names:
        column, mean, sd = log_sds[:, marginal.names.index(name)], np.nan, np.nan
        if name in exact.spec.fixed:
            moments.append((exact.spec.fixed[name] ** 2, 0.0))
            continue
        if marginal.tails.sd_moment_exists(name, 2):
            mean = float(np.exp(2 * column + log_weights).sum())
        if marginal.tails.sd_moment_exists(name, FOURTH):
            with np.errstate(divide="ignore"):
                log_deviation = np.log(np.abs(np.expm1(2 * column - np.log(mean))))
            sd = mean * float(np.sqrt(np.exp(2 * log_deviation + log_weights).sum()))
        moments.append((unit * mean, unit * sd))
    return moments


class Spreads(Protocol):
    """Variances of the levels, up to a common factor, as functions of a lattice's coordinates."""

    @property
    def lattice(self) -> Lattice:
        """Lattice for the moments of shares."""

    @property
    def columns(self) -> tuple[int, ...]:
        """Column of the variance that each coordinate belongs to; all others are fixed."""

    @property
    def mode_and_scale(self) -> ModesAndScale:
        """Where the posterior lies."""

    def log_density(self, points: Floats) -> Floats:
        """Of the coordinates (n, d); (n,)."""

    def variances(self, points: Floats) -> Floats:
        """Variances at points, the residual one last; (n, c)."""

    def coordinate(self, axis: int, variance: Floats) -> Floats:
        """Where a variance of a coordinate stands on its axis; (n,)."""


@dataclass(frozen=True)
class LatticeSpreads:
    """The variances of a posterior on a lattice of all sds.

    Attributes
    ----------
    exact : LatticeMixture
    """

    exact: LatticeMixture

    @property
    def lattice(self) -> Lattice:
        """The posterior's."""
        return self.exact.lattice

    @property
    def columns(self) -> tuple[int, ...]:
        """See :class:`Spreads`."""
        return self.exact.marginal.free

    @property
    def mode_and_scale(self) -> ModesAndScale:
        """See :class:`Spreads`."""
        return self.exact.marginal.mode_and_scale

    def log_density(self, points: Floats) -> Floats:
        """See :class:`Spreads`."""
        return self.exact.marginal.log_density(points)

    def variances(self, points: Floats) -> Floats:
        """Standardised variances, from the groups upwards."""
        marginal = self.exact.marginal
        variances = np.exp(2 * marginal.log_sds(points))
        if not self.exact.spec.se:
            return variances
        typical = typical_se(self.exact.data) / marginal.data.scale
        return np.column_stack([variances, np.full(len(variances), typical**2)])

    def coordinate(self, axis: int, variance: Floats) -> Floats:
        """See :class:`Spreads`."""
        marginal = self.exact.marginal
        return marginal.coordinate(self.columns[axis], marginal.data.scale * np.sqrt(variance))


@dataclass(frozen=True)
class Shares:
    """Posterior of each level's share of the total variance.

    Attributes
    ----------
    spreads : Spreads
    numbers : mapping of str to int
        Column of the variance of each level, by its column of groups, the outermost first.
    lines : Lines or None
        For distribution functions; None where all sds are fixed, and the shares with them.
    """

    spreads: Spreads
    numbers: Mapping[str, int]
    lines: Lines | None

    @classmethod
    @one_blas_thread()
    def of(cls, spreads: Spreads, numbers: Mapping[str, int]) -> Shares:
        """Lay the lattice for distribution functions."""
        return cls(spreads, numbers, Lines.of(spreads) if spreads.columns else None)

    @one_blas_thread()
    def rows(self, probabilities: Floats) -> dict[str, list[float]]:
        """Mean, sd and quantiles of each share, from the top downwards."""
        residual, rows = len(self.numbers), {}
        for name, j in [*self.numbers.items(), ("residual", residual)]:
            quantiles = [self.quantile(j, p) for p in probabilities]
            rows[f"share[{name}]"] = [*self.moments(j), *quantiles]
        if len(self.numbers) > 1:
            mean, sd = self.moments(residual)
            rest = [1 - self.quantile(residual, 1 - p) for p in probabilities]
            rows[f"icc[{list(self.numbers)[-1]}]"] = [1 - mean, sd, *rest]
        return rows

    def quantile(self, j: int, probability: float) -> float:
        """Quantile of a level's share."""
        if self.lines is None or not self.lines.variances[:, j].any():
            return self.moments(j)[0]
        return self.lines.quantile(j, probability)

    def moments(self, j: int) -> tuple[float, float]:
        """Mean and sd of a level's share."""
        lattice = self.spreads.lattice
        variances = self.spreads.variances(lattice.points)
        share = variances[:, j] / variances.sum(axis=1)
        mean = float(lattice.weights @ share)
        return mean, float(np.sqrt(lattice.weights @ (share - mean) ** 2))


@dataclass(frozen=True)
class Lines:
    """A lattice cut into lines, along which one variance v grows and all others are fixed.

    That one is the least certain of all, so that functions of the others, which must be smooth
    from one line to the next, are so.

    Attributes
    ----------
    spreads : Spreads
    axis : int
        Which of the coordinates is that of v.
    variances : (n, c)
        At each point of the lattice, the residual one last.
    weights : (n,)
        Share of each point in the posterior.
    x : (n,)
        Coordinate of v at each point.
    spacing : float
        Distance of points along a line.
    first : (lines,)
        A point of each line.
    line : (n,)
        The line of each point.
    """

    spreads: Spreads
    axis: int
    variances: Floats
    weights: Floats
    x: Floats
    spacing: float
    first: Indices
    line: Indices

    @classmethod
    def of(cls, spreads: Spreads) -> Lines:
        """Lay a lattice with lines along the coordinate of which the posterior is widest."""
        axis = int(np.argmax((spreads.mode_and_scale.basis**2).sum(axis=1)))
        lattice, back = _lattice_along(spreads, axis, SPACING[len(spreads.columns)])
        kept = lattice.weights > TAIL_MASS * lattice.weights.max()
        weights = lattice.weights[kept] / lattice.weights[kept].sum()
        _, first, line = np.unique(
            lattice.index[kept, :-1], axis=0, return_index=True, return_inverse=True
        )
        points = lattice.points[kept]
        variances, spacing = spreads.variances(points[:, back]), float(lattice.step[-1, -1])
        x = points[:, -1]
        return cls(spreads, axis, variances, weights, x, spacing, first, line.ravel())

    def cdf(self, j: int, logit: float) -> float:
        """Probability that a share s is at most that with ``log(s/(1 − s)) = logit``.

        On each line the share passes this value at one v*: it grows with v if v is its own
        variance, and falls otherwise.  The line's part in the probability is the integral up to
        v* of its sinc interpolant, ``Σ p_k (½ + Si(π(x* − x_k)/h)/π)``.
        """
        from scipy.special import sici

        fixed, column = self.variances[self.first], self.spreads.columns[self.axis]
        fixed[:, column] = 0.0
        own, odds = fixed[:, j], np.exp(logit)
        rest = np.delete(fixed, j, axis=1).sum(axis=1)
        limit = odds * rest if j == column else own / odds - rest
        limit = np.maximum(limit, np.finfo(float).tiny)
        x = self.spreads.coordinate(self.axis, limit)[self.line]
        below = float(self.weights @ (0.5 + sici(np.pi * (x - self.x) / self.spacing)[0] / np.pi))
        return below if j == column else 1 - below

    def quantile(self, j: int, probability: float) -> float:
        """Share that is exceeded with probability ``1 − probability``."""
        from scipy.optimize import brentq
        from scipy.special import expit

        others = np.delete(self.variances, j, axis=1).sum(axis=1)
        if not others.any():
            return 1.0
        logit = np.log(self.variances[:, j]) - np.log(others)
        order = np.argsort(logit)
        total = np.cumsum(self.weights[order])
        about = logit[order[np.searchsorted(total, probability)]]
        low = high = about
        width = 0.5
        while self.cdf(j, low) > probability:
            low, width = low - width, 2 * width
        while self.cdf(j, high) < probability:
            high, width = high + width, 2 * width
        return float(expit(brentq(lambda z: self.cdf(j, z) - probability, low, high, xtol=XTOL)))


def _lattice_along(spreads: Spreads, axis: int, spacing: float) -> tuple[Lattice, list[int]]:
    """Lay a lattice whose lines along the last axis run along one of the coordinates.

    Returns
    -------
    Lattice
        In coordinates of which this is the last.
    list of int
        Where each of the posterior's coordinates stands among them.
    """
    d = len(spreads.columns)
    order = [*(i for i in range(d) if i != axis), axis]
    back = [order.index(i) for i in range(d)]
    scale = spreads.mode_and_scale
    covariance = (scale.basis @ scale.basis.T)[np.ix_(order, order)]
    turned = ModesAndScale(scale.modes[:, order], np.linalg.cholesky(covariance))
    lattice = grow(
        lambda u: spreads.log_density(u[:, back]), turned, spacing, lambda u: np.zeros(len(u))
    )
    return lattice, back

"""Each level's share of the total variance, and moments of the sds' squares.

Over the lattice of the variances every share of the total variance is a smooth function: its
mean and sd are sums like any other, and its distribution function is summed line by line.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hiermodels.core.arrays import Floats, Indices
from hiermodels.core.blas import one_blas_thread
from hiermodels.data.grouped import GroupedData, require_rows
from hiermodels.exact.lattice_mixture import LatticeMixture
from hiermodels.exact.marginal import Marginal
from hiermodels.families.normal import WEIGHTS
from hiermodels.numerics.lattice import Lattice, ModesAndScale, grow
from hiermodels.posterior.moments import FOURTH
from hiermodels.posterior.tables import shown
from hiermodels.posterior.variance_shares import VarianceShares

SPACING = {0: 1.0, 1: 0.25, 2: 0.35, 3: 0.5}  # of lattices for distribution functions of shares
TAIL_MASS = 1e-14  # weight of a point, as a part of the largest
XTOL = 1e-10  # of the logit of a share that is a quantile


def variance_shares(exact: LatticeMixture, probabilities: Floats) -> VarianceShares:
    """Mean, sd and quantiles of each level's share of the total variance."""
    spec = exact.spec
    note = "share[…]: part of the total variance"
    if spec.se:
        note += f"; residual: a typical row's sampling variance, {shown(typical_se(exact.data))}²"
    if WEIGHTS in spec.columns:
        note += "; residual: the variance of a row of weight 1"
    notes = [note]
    if len(spec.groups) > 1:
        notes.append(f"icc[{spec.groups[-1]}]: correlation of two rows of one {spec.groups[-1]}")
    return VarianceShares(Shares.of(exact).rows(probabilities), tuple(notes))


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


@dataclass(frozen=True)
class Shares:
    """Posterior of each level's share of the total variance.

    Variances have the numbers of the columns of :attr:`Marginal.names`; the residual is the last.

    Attributes
    ----------
    exact : LatticeMixture
    lines : Lines or None
        For distribution functions; None where all sds are fixed, and the shares with them.
    """

    exact: LatticeMixture
    lines: Lines | None

    @classmethod
    @one_blas_thread()
    def of(cls, exact: LatticeMixture) -> Shares:
        """Lay the lattice for distribution functions."""
        return cls(exact, Lines.of(exact) if exact.marginal.free else None)

    @one_blas_thread()
    def rows(self, probabilities: Floats) -> dict[str, list[float]]:
        """Mean, sd and quantiles of each share, from the top downwards."""
        levels, names = self.exact.spec.levels, self.exact.marginal.names
        residual = len(levels)
        numbers = {level.column: names.index(level.sd) for level in levels}
        rows = {}
        for name, j in [*numbers.items(), ("residual", residual)]:
            quantiles = [self.quantile(j, p) for p in probabilities]
            rows[f"share[{name}]"] = [*self.moments(j), *quantiles]
        if len(levels) > 1:
            mean, sd = self.moments(residual)
            rest = [1 - self.quantile(residual, 1 - p) for p in probabilities]
            rows[f"icc[{levels[-1].column}]"] = [1 - mean, sd, *rest]
        return rows

    def quantile(self, j: int, probability: float) -> float:
        """Quantile of a level's share."""
        if self.lines is None or self.exact.marginal.fixed.get(j) == 0:
            return self.moments(j)[0]
        return self.lines.quantile(j, probability)

    def moments(self, j: int) -> tuple[float, float]:
        """Mean and sd of a level's share."""
        lattice = self.exact.lattice
        variances = _variances(self.exact, lattice.points)
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
    exact : LatticeMixture
    axis : int
        Which of the variances is v.
    variances : (n, c)
        Standardised, at each point of the lattice, from the groups upwards, the residual one last.
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

    exact: LatticeMixture
    axis: int
    variances: Floats
    weights: Floats
    x: Floats
    spacing: float
    first: Indices
    line: Indices

    @classmethod
    def of(cls, exact: LatticeMixture) -> Lines:
        """Lay a lattice with lines along the coordinate of which the posterior is widest."""
        marginal = exact.marginal
        axis = int(np.argmax((marginal.mode_and_scale.basis**2).sum(axis=1)))
        lattice, back = _lattice_along(marginal, axis, SPACING[len(marginal.free)])
        kept = lattice.weights > TAIL_MASS * lattice.weights.max()
        weights = lattice.weights[kept] / lattice.weights[kept].sum()
        _, first, line = np.unique(
            lattice.index[kept, :-1], axis=0, return_index=True, return_inverse=True
        )
        points = lattice.points[kept]
        variances = _variances(exact, points[:, back])
        spacing = float(lattice.step[-1, -1])
        return cls(
            exact,
            marginal.free[axis],
            variances,
            weights,
            points[:, -1],
            spacing,
            first,
            line.ravel(),
        )

    def cdf(self, j: int, logit: float) -> float:
        """Probability that a share s is at most that with ``log(s/(1 − s)) = logit``.

        On each line the share passes this value at one v*: it grows with v if v is its own
        variance, and falls otherwise.  The line's part in the probability is the integral up to
        v* of its sinc interpolant, ``Σ p_k (½ + Si(π(x* − x_k)/h)/π)``.
        """
        from scipy.special import sici

        fixed = self.variances[self.first]
        fixed[:, self.axis] = 0.0
        own, odds = fixed[:, j], np.exp(logit)
        rest = np.delete(fixed, j, axis=1).sum(axis=1)
        limit = odds * rest if j == self.axis else own / odds - rest
        sd = np.sqrt(np.maximum(limit, np.finfo(float).tiny))
        marginal = self.exact.marginal
        x = marginal.coordinate(self.axis, marginal.data.scale * sd)[self.line]
        below = float(self.weights @ (0.5 + sici(np.pi * (x - self.x) / self.spacing)[0] / np.pi))
        return below if j == self.axis else 1 - below

    def quantile(self, j: int, probability: float) -> float:
        """Share that is exceeded with probability ``1 − probability``."""
        from scipy.optimize import brentq
        from scipy.special import expit

        others = np.delete(self.variances, j, axis=1).sum(axis=1)
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


def _lattice_along(marginal: Marginal, axis: int, spacing: float) -> tuple[Lattice, list[int]]:
    """Lay a lattice whose lines along the last axis run along one of the coordinates.

    Returns
    -------
    Lattice
        In coordinates of which this is the last.
    list of int
        Where each of the posterior's coordinates stands among them.
    """
    order = [*(i for i in range(len(marginal.free)) if i != axis), axis]
    back = [order.index(i) for i in range(len(order))]
    scale = marginal.mode_and_scale
    covariance = (scale.basis @ scale.basis.T)[np.ix_(order, order)]
    turned = ModesAndScale(scale.modes[:, order], np.linalg.cholesky(covariance))
    lattice = grow(
        lambda u: marginal.log_density(u[:, back]), turned, spacing, lambda u: np.zeros(len(u))
    )
    return lattice, back


def _variances(exact: LatticeMixture, points: Floats) -> Floats:
    """Standardised variances at points, from the groups upwards, the residual one last; (n, c)."""
    marginal = exact.marginal
    variances = np.exp(2 * marginal.log_sds(points))
    if not exact.spec.se:
        return variances
    residual = np.full(len(variances), (typical_se(exact.data) / marginal.data.scale) ** 2)
    return np.column_stack([variances, residual])

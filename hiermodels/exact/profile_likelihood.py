"""The restricted and the profiled likelihood of the variances, and their maxima."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations

import numpy as np

from hiermodels.core.arrays import Floats
from hiermodels.exact.kernels.tree.marginal import log_likelihood, profile_log_likelihood
from hiermodels.exact.kernels.tree.tree import Coefficients, Tree
from hiermodels.exact.marginal import Marginal
from hiermodels.numerics.modes import peaks

SCAN_STEP = 1.0  # of the first look at the likelihood, in log variances
MAX_ASCENTS = 8  # from peaks of the pilot grid, the highest first
MAX_STEPS = 200
LONGEST_STEP = 2.0  # in log variances
SMALL_STEP = 1e-5  # from here on Newton's steps are taken as they are: the likelihood is rounded
SMALL_STEPS = 4  # that are taken
ESCAPED = 30.0  # log variances beyond the pilot grid at which an ascent is given up
AT_ZERO = 1e-10  # of the log likelihood: what a variance must gain to be larger than 0
STEP = 0.05  # of difference quotients, in log variances
PLACES = np.array([-5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5])
FIRST = np.array([-2, 25, -150, 600, -2100, 0, 2100, -600, 150, -25, 2]) / 2520
SECOND = np.array([8, -125, 1000, -6000, 42000, -73766, 42000, -6000, 1000, -125, 8]) / 25200


@dataclass(frozen=True)
class ProfileLikelihood:
    """Log likelihood of the variances with flat coefficients, restricted or profiled.

    With V the covariance matrix of the rows and X all columns, an intercept among them,

        restricted   −½ log|V| − ½ log|X'V⁻¹X| − ½ (y − Xβ̂)'V⁻¹(y − Xβ̂)
        profiled     −½ log|V|                 − ½ (y − Xβ̂)'V⁻¹(y − Xβ̂)

    up to constants.  Both are taken in the logarithms of variances of means,

        w_σ = log σ²,  w_τ = log(τ² + e),  w_κ = log(κ² + (τ² + e)/c),

    with e the least error variance of a group's mean and c the most groups of a parent: in
    balanced data each has a term of its own, and a variance of 0 is an ordinary place.

    References
    ----------
    Patterson & Thompson (1971), Biometrika 58:545.
    """

    marginal: Marginal
    restricted: bool

    @property
    def tree(self) -> Tree:
        """What the rows say about their groups."""
        return self.marginal.data.tree

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the sds, in the order of the columns: the groups', those above, the rows'."""
        return self.marginal.names

    @property
    def n_spreads(self) -> int:
        """Number of group-level sds."""
        return len(self.marginal.spec.levels)

    def __call__(self, columns: Floats) -> Floats:
        """Log likelihood at standardised variances (n, d)."""
        intercept = self.marginal.spec.has_intercept
        flat = Coefficients.flat(self.tree.n_covariates, intercept)
        variances = self.marginal.variances_from(columns)
        if self.restricted:
            return log_likelihood(self.tree, variances, flat)
        return profile_log_likelihood(self.tree, variances, intercept)

    @cached_property
    def _shares(self) -> Floats:
        """Least error of a group's mean, as a multiple of σ²; then 1/c for each level above.

        In the order of the columns.
        """
        sizes = [np.bincount(parent).max() for parent in reversed(self.tree.parents)]
        return 1 / np.array([self.tree.weight.max(), *sizes])

    @cached_property
    def fixed(self) -> dict[int, float]:
        """Columns of the variances that are fixed, and their standardised values."""
        scale = self.marginal.data.scale
        return {j: (value / scale) ** 2 for j, value in self.marginal.fixed.items()}

    def columns(self, w: Floats, free: tuple[int, ...]) -> Floats:
        """Variances (n, d) from the coordinates (n, f) of those in ``free``.

        The others are fixed, or 0.

        They may be negative, as long as the variances of all means are not.
        """
        variances = np.zeros((len(w), len(self.names)))
        coordinates = dict(zip(free, np.exp(w).T, strict=True))
        total = np.ones(len(w))
        for j, value in self.fixed.items():
            variances[:, j] = value
        if len(self.names) > self.n_spreads:
            total = variances[:, -1] = coordinates.get(self.n_spreads, variances[:, -1])
        for j in range(self.n_spreads):
            error = total * self._shares[j]
            total = coordinates.get(j, error + variances[:, j])
            variances[:, j] = total - error if j in coordinates else variances[:, j]
        return variances

    def coordinates(self, columns: Floats, free: tuple[int, ...]) -> Floats:
        """Coordinates (n, f) of variances (n, d)."""
        total = self.marginal.variances_from(columns).sigma2
        totals = {self.n_spreads: total}
        for j in range(self.n_spreads):
            total = columns[:, j] + total * self._shares[j]
            totals[j] = total
        return np.log(np.stack([totals[j] for j in free], axis=1))

    def pilot_grid(self, free: tuple[int, ...]) -> tuple[Floats, Floats]:
        """Variances of a coarse grid (…, d), and the log likelihood at each.

        Those not in ``free`` are fixed, or 0.
        """
        ranges = self.marginal.informed
        axes = [
            np.exp(np.arange(ranges[j, 0], ranges[j, 1], SCAN_STEP))
            if j in free
            else np.full(1, self.fixed.get(j, 0.0))
            for j in range(len(self.names))
        ]
        grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
        return grid, self(grid.reshape(-1, len(axes))).reshape(grid.shape[:-1])

    def slopes(self, columns: Floats) -> Floats:
        """Derivatives by each variance that is not fixed, at variances (n, d); (n, f)."""
        n, d = columns.shape
        free = list(self.marginal.free)
        steps = np.exp(STEP * PLACES[:, None, None] * np.eye(d)[free])
        at = columns[:, None, None] * steps
        values = self(at.reshape(-1, d)).reshape(n, len(PLACES), len(free))
        return FIRST @ values / STEP / columns[:, free]


def maximum(likelihood: ProfileLikelihood, variable: tuple[int, ...]) -> Floats | None:
    """Standardised variances (d,) at which a likelihood is highest; those not variable are 0.

    The highest place has a slope of 0 in the variances that are not 0 there.  So each set of
    group-level variances is held at 0 in turn, from the largest, and the others are maximised over.
    """
    best, highest = None, -np.inf
    spreads = [j for j in variable if j < likelihood.n_spreads]
    residual = tuple(j for j in variable if j >= likelihood.n_spreads)
    escaped = -np.inf
    for number in range(len(spreads) + 1):
        for some in combinations(spreads, number):
            for columns, value, is_peak in ascents(likelihood, (*some, *residual)):
                if not is_peak:
                    escaped = max(escaped, value)
                elif value > highest + AT_ZERO:
                    best, highest = columns, value
    return best if highest >= escaped else None


def ascents(
    likelihood: ProfileLikelihood, free: tuple[int, ...]
) -> Iterator[tuple[Floats, float, bool]]:
    """Yield where ascents end: variances, the log likelihood there, and whether it is a peak.

    Those with a negative variance are left out: the highest place is then one with fewer.
    """
    if not free:
        columns = likelihood.columns(np.empty((1, 0)), ())
        yield columns[0], float(likelihood(columns)[0]), True
        return
    grid, log_likelihoods = likelihood.pilot_grid(free)
    highest = np.flatnonzero(peaks(log_likelihoods))
    highest = highest[np.argsort(-log_likelihoods.flat[highest], kind="stable")][:MAX_ASCENTS]
    starts = likelihood.coordinates(grid.reshape(-1, grid.shape[-1])[highest], free)

    def value(w: Floats) -> Floats:
        return likelihood(likelihood.columns(w, free))

    for start in starts:
        end = newton_ascent(value, start)
        columns = likelihood.columns(end[None], free)[0]
        is_peak = bool((np.abs(end - start) < ESCAPED).all())
        if (columns[list(free)] <= 0).any():
            continue
        yield np.maximum(columns, 0.0), float(value(end[None])[0]), is_peak


def newton_ascent(function: Callable[[Floats], Floats], start: Floats) -> Floats:
    """Climb to a peak of a smooth function by Newton's method with damped steps.

    Parameters
    ----------
    function : callable
        Of places (n, d), with values (n,); smooth over distances of 1.
    start : (d,)
    """
    at, small = start, 0
    for _ in range(MAX_STEPS):
        value, gradient, curvature = _derivatives(function, at)
        sizes, axes = np.linalg.eigh(curvature)
        sizes = np.maximum(np.abs(sizes), np.finfo(float).tiny ** 0.25)
        step = axes @ ((axes.T @ gradient) / sizes)
        step *= min(1.0, LONGEST_STEP / max(float(np.linalg.norm(step)), LONGEST_STEP))
        if np.abs(step).max() < SMALL_STEP:
            small += 1
        else:
            step = _damped(function, at, step, value)
        at = at + step
        if small == SMALL_STEPS or not step.any() or (np.abs(at - start) > ESCAPED).any():
            break
    return at


def _damped(function: Callable[[Floats], Floats], at: Floats, step: Floats, value: float) -> Floats:
    """A step, or the first of its halves that leads upwards; 0 if none does."""
    halves = step * 0.5 ** np.arange(12)[:, None]
    upwards = np.flatnonzero(function(at + halves) > value)
    return halves[upwards[0]] if len(upwards) else np.zeros_like(step)


def _derivatives(function: Callable[[Floats], Floats], at: Floats) -> tuple[float, Floats, Floats]:
    """Value, gradient (d,) and second derivatives (d, d), by differences of the tenth order.

    The mixed derivatives, of which a Newton step needs few digits, are of the second order.
    """
    d = len(at)
    axes = STEP * np.eye(d)
    along = at + (PLACES[:, None, None] * axes).reshape(-1, d)
    pairs = list(combinations(range(d), 2))
    signs = ((1, 1), (1, -1), (-1, 1), (-1, -1))
    corners = [at + a * axes[i] + b * axes[j] for i, j in pairs for a, b in signs]
    values = function(np.concatenate([along, np.array(corners).reshape(-1, d)]))
    value = float(values[PLACES.tolist().index(0) * d])
    central = values[: len(along)].reshape(len(PLACES), d) - value
    mixed = values[len(along) :].reshape(-1, len(signs)) @ [1, -1, -1, 1] / (2 * STEP) ** 2
    curvature = np.diag(SECOND @ central) / STEP**2
    for (i, j), second in zip(pairs, mixed, strict=True):
        curvature[i, j] = curvature[j, i] = second
    return value, FIRST @ central / STEP, curvature

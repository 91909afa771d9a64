"""Estimates of the sds as single numbers: maximum likelihood, restricted or not, and moments.

The priors play no part here, so that the numbers are those of lme4 and of metafor.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from hiermodels.core.arrays import Floats
from hiermodels.core.blas import one_blas_thread
from hiermodels.core.messages import short
from hiermodels.errors import SpecError
from hiermodels.exact.kernels.tree.marginal import log_likelihood, profile_log_likelihood
from hiermodels.exact.kernels.tree.tree import Coefficients, Tree, Variances
from hiermodels.exact.marginal import Marginal, peaks
from hiermodels.posterior.tables import shown

LIKELIHOOD = {"reml": "restricted maximum likelihood", "ml": "maximum likelihood"}
MOMENTS = {
    "dl": "DerSimonian–Laird",
    "pm": "Paule–Mandel",
    "he": "Hedges",
    "eb": "empirical Bayes",
    "sj": "Sidik–Jonkman",
}
METHODS = LIKELIHOOD | MOMENTS
SCAN_STEP = 1.0  # of the first look at the likelihood, in log variances
MOST_CLIMBS = 8  # from peaks of the scan, the highest first
MOST_STEPS = 200
LONGEST_STEP = 2.0  # in log variances
SMALL_STEP = 1e-5  # from here on Newton's steps are taken as they are: the likelihood is rounded
SMALL_STEPS = 4  # that are taken
ESCAPED = 30.0  # log variances beyond the scan at which a climb is given up
AT_ZERO = 1e-10  # of the log likelihood: what a variance must gain to be larger than 0
STEP = 0.05  # of difference quotients, in log variances
PLACES = np.array([-5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5])
FIRST = np.array([-2, 25, -150, 600, -2100, 0, 2100, -600, 150, -25, 2]) / 2520
SECOND = np.array([8, -125, 1000, -6000, 42000, -73766, 42000, -6000, 1000, -125, 8]) / 25200
LOOKS = 16  # places at which the likelihood's slopes are compared
SAME = 1e-7  # share of the slopes below which the likelihood does not change in a direction
WITHIN = 1e-12  # share of the covariates' sums of squares that is rounding error


@dataclass(frozen=True)
class PointEstimate:
    """Estimates of the sds, and what to say of them.

    Attributes
    ----------
    sds : dict of str to float
        In the outcome's unit; NaN where the data do not determine an sd.
    sums : dict of str to float
        What they determine in its place, such as ``{"tau² + sigma²": 2.5}``.
    notes : tuple of str
        How they were found, and what could not be.
    points : (m, d)
        Sds at which estimates of all else may be taken.  Where the sds are not determined there
        are two that the data cannot tell apart: what differs between them is not determined.
    """

    sds: dict[str, float]
    points: Floats
    sums: dict[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@one_blas_thread()
def estimate_sds(marginal: Marginal, method: object = "reml") -> PointEstimate:
    """Estimate the sds; their priors, and those of the coefficients, play no part.

    Raises
    ------
    SpecError
        If there is no such method, or it is not for this model.
    """
    if not isinstance(method, str) or method not in METHODS:
        known = ", ".join(f"{name!r} ({text})" for name, text in METHODS.items())
        raise SpecError(f"method: expected one of {known}; found {short(method)}")
    fixed = {name: float(value) for name, value in marginal.spec.fixed.items()}
    if not marginal.free:
        note = ", ".join(f"{name} = {shown(value)}" for name, value in fixed.items())
        points = np.array([[fixed[name] for name in marginal.names]])
        return PointEstimate(fixed, points, notes=(f"{note}: fixed, not estimated",))
    if method in MOMENTS:
        return _by_moments(marginal, method)
    return _by_likelihood(_Likelihood(marginal, restricted=method == "reml"), METHODS[method])


@dataclass(frozen=True)
class _Likelihood:
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
        return self.marginal.data.tree

    @property
    def names(self) -> tuple[str, ...]:
        return self.marginal.names

    @property
    def n_spreads(self) -> int:
        return len(self.marginal.spec.spreads)

    def __call__(self, columns: Floats) -> Floats:
        """Log likelihood at standardised variances (n, d)."""
        intercept = self.marginal.spec.has_intercept
        flat = Coefficients.flat(self.tree.n_covariates, intercept)
        variances = self._variances(columns)
        if self.restricted:
            return log_likelihood(self.tree, variances, flat)
        return profile_log_likelihood(self.tree, variances, intercept)

    def _variances(self, columns: Floats) -> Variances:
        known = self.marginal.spec.se is not None
        sigma2 = np.ones(len(columns)) if known else columns[:, -1]
        return Variances(tuple(columns[:, : self.n_spreads].T), sigma2)

    @cached_property
    def _shares(self) -> Floats:
        """Least error of a group's mean, as a multiple of σ²; then 1/c for each level above."""
        sizes = [np.bincount(parent).max() for parent in self.tree.parents]
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
        found = np.zeros((len(w), len(self.names)))
        coordinates = dict(zip(free, np.exp(w).T, strict=True))
        total = np.ones(len(w))
        for j, value in self.fixed.items():
            found[:, j] = value
        if len(self.names) > self.n_spreads:
            total = found[:, -1] = coordinates.get(self.n_spreads, found[:, -1])
        for level in range(self.n_spreads):
            error = total * self._shares[level]
            total = coordinates.get(level, error + found[:, level])
            found[:, level] = total - error if level in coordinates else found[:, level]
        return found

    def coordinates(self, columns: Floats, free: tuple[int, ...]) -> Floats:
        """Coordinates (n, f) of variances (n, d)."""
        total = self._variances(columns).sigma2
        found = {self.n_spreads: total}
        for level in range(self.n_spreads):
            total = columns[:, level] + total * self._shares[level]
            found[level] = total
        return np.log(np.stack([found[j] for j in free], axis=1))

    def scan(self, free: tuple[int, ...]) -> tuple[Floats, Floats]:
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


def _by_likelihood(likelihood: _Likelihood, method: str) -> PointEstimate:
    """The highest place of a likelihood, or what of it is determined."""
    names, marginal = likelihood.names, likelihood.marginal
    free = [names[j] for j in marginal.free]
    rows, middle = _determined(likelihood)
    pivots = tuple(int(np.flatnonzero(row)[-1]) for row in rows)
    found = _highest(likelihood, pivots) if len(pivots) else np.zeros(len(names))
    if found is None:
        points = np.stack([middle, middle * np.arange(2, 2 + len(names))])
        note = (
            f"{method}: the likelihood has no maximum, it rises as sds go to 0 or to infinity; "
            f"no estimate of {' and '.join(free)}"
        )
        sds = dict.fromkeys(names, float("nan")) | marginal.spec.fixed
        return PointEstimate(sds, _in_unit(marginal, points), notes=(note,))
    alone = [j for j, row in zip(pivots, rows, strict=True) if np.count_nonzero(row) == 1]
    scale = marginal.data.scale
    sds = {
        name: scale * float(np.sqrt(found[j])) if j in alone else float("nan")
        for j, name in enumerate(names)
    }
    sds |= marginal.spec.fixed
    if len(alone) == len(free):
        return PointEstimate(sds, _in_unit(marginal, found[None]))
    sums = {
        _sum_of(names, row): scale**2 * float(found[j])
        for j, row in zip(pivots, rows, strict=True)
        if j not in alone
    }
    points = np.stack([found, _elsewhere(found, rows, pivots, middle)])
    points[0] = np.where(_in(rows), found, middle)
    return PointEstimate(sds, _in_unit(marginal, points), sums, _undetermined(sds, sums))


def _in(rows: Floats) -> NDArray[np.bool_]:
    """Which variances have a part in what is determined; (d,)."""
    return np.asarray((rows != 0).any(axis=0))


def _in_unit(marginal: Marginal, columns: Floats) -> Floats:
    sds = marginal.data.scale * np.sqrt(columns)
    for j, value in marginal.fixed.items():
        sds[:, j] = value
    return sds


def _undetermined(sds: dict[str, float], sums: dict[str, float]) -> tuple[str, ...]:
    """Say what is not determined, and what is in its place."""
    missing = [name for name, sd in sds.items() if np.isnan(sd)]
    if not sums:
        return (f"the data say nothing of {' and '.join(missing)}: no estimate",)
    given = ", ".join(f"{name} = {shown(value)}" for name, value in sums.items())
    return (
        f"of {' and '.join(missing)} the data determine only {given}: the likelihood is the same "
        f"however it is split. NaN where the split is needed",
    )


def _sum_of(names: tuple[str, ...], row: Floats) -> str:
    """Write a sum of variances, as ``tau² + 0.5 sigma²``."""
    terms = [
        f"{name}²" if part == 1 else f"{shown(part)} {name}²"
        for name, part in zip(names, row, strict=True)
        if part
    ]
    return " + ".join(terms)


def _determined(likelihood: _Likelihood) -> tuple[Floats, Floats]:
    """Combinations of the variances that the likelihood depends on, and a place in its midst.

    The likelihood does not change in a direction δ of the variances if ``Σ δ_j V_j`` is 0
    between contrasts of the rows, V_j being what variance j adds to their covariance matrix.
    Then its slopes at any places, as rows of a matrix, have a null vector δ.

    Returns
    -------
    rows : (r, d)
        In reduced echelon form, of which each has a 1 at a variance, the last of those in it,
        that no other row has.
    middle : (d,)
    """
    ranges, free = likelihood.marginal.informed, list(likelihood.marginal.free)
    middle = np.exp(ranges.mean(axis=1))
    part = np.random.default_rng(1).uniform(0.3, 0.9, (LOOKS, len(ranges)))
    places = np.exp(ranges[:, 0] + part * np.diff(ranges, axis=1)[:, 0])
    for j, value in likelihood.fixed.items():
        middle[j] = places[:, j] = value
    slopes = likelihood.slopes(places)
    sizes = np.abs(slopes * places[:, free]).max(axis=1, keepdims=True)
    n_rows = likelihood.tree.n_rows
    slopes = np.where(sizes > SAME * SAME * n_rows, slopes / np.where(sizes > 0, sizes, 1), 0.0)
    _, singular, vectors = np.linalg.svd(slopes * middle[free])
    some = singular > SAME * max(singular[0], SAME)
    rows = np.zeros((int(some.sum()), len(ranges)))
    rows[:, free] = _echelon(vectors[: len(rows)] / middle[free])
    return rows, middle


def _echelon(rows: Floats) -> Floats:
    """Reduced echelon form from the last column on; entries that are rounding errors are 0."""
    rows = rows.copy()
    free = list(range(len(rows)))
    done = []
    for column in reversed(range(rows.shape[1])):
        if not free:
            break
        size = np.abs(rows[:, column]) / np.abs(rows).max(axis=1)
        best = max(free, key=lambda i: size[i])
        if size[best] < np.sqrt(SAME):
            continue
        rows[best] /= rows[best, column]
        for i in range(len(rows)):
            if i != best:
                rows[i] -= rows[i, column] * rows[best]
        free.remove(best)
        done.append(best)
    rows = rows[done]
    whole = np.round(rows)
    rows = np.where(np.abs(rows - whole) < np.sqrt(SAME), whole, rows)
    return np.where(np.abs(rows) < np.sqrt(SAME), 0.0, rows)


def _elsewhere(found: Floats, rows: Floats, pivots: tuple[int, ...], middle: Floats) -> Floats:
    """Other variances with the same sums: half of each is given to the others in it."""
    other = found.copy()
    for row, pivot in zip(rows, pivots, strict=True):
        others = [j for j in np.flatnonzero(row) if j != pivot]
        for j in others:
            other[j] = 0.5 * found[pivot] / len(others) / row[j]
            other[pivot] -= row[j] * other[j]
    return np.where(_in(rows), other, 2 * middle)


def _highest(likelihood: _Likelihood, variable: tuple[int, ...]) -> Floats | None:
    """Standardised variances (d,) at which a likelihood is highest; those not variable are 0.

    The highest place has a slope of 0 in the variances that are not 0 there.  So each set of
    group-level variances is held at 0 in turn, from the largest, and what is left is climbed.
    """
    best, height = None, -np.inf
    spreads = [j for j in variable if j < likelihood.n_spreads]
    residual = tuple(j for j in variable if j >= likelihood.n_spreads)
    escaped = -np.inf
    for number in range(len(spreads) + 1):
        for some in combinations(spreads, number):
            for columns, value, is_peak in _climbs(likelihood, (*some, *residual)):
                if not is_peak:
                    escaped = max(escaped, value)
                elif value > height + AT_ZERO:
                    best, height = columns, value
    return best if height >= escaped else None


def _climbs(likelihood: _Likelihood, free: tuple[int, ...]) -> Iterator[tuple[Floats, float, bool]]:
    """Yield places where a climb ends: variances, the height there, and whether it is a peak.

    Those with a negative variance are left out: the highest place is then one with fewer.
    """
    if not free:
        columns = likelihood.columns(np.empty((1, 0)), ())
        yield columns[0], float(likelihood(columns)[0]), True
        return
    grid, heights = likelihood.scan(free)
    highest = np.flatnonzero(peaks(heights))
    highest = highest[np.argsort(-heights.flat[highest], kind="stable")][:MOST_CLIMBS]
    starts = likelihood.coordinates(grid.reshape(-1, grid.shape[-1])[highest], free)

    def height(w: Floats) -> Floats:
        return likelihood(likelihood.columns(w, free))

    for start in starts:
        end = climb(height, start)
        columns = likelihood.columns(end[None], free)[0]
        is_peak = bool((np.abs(end - start) < ESCAPED).all())
        if (columns[list(free)] <= 0).any():
            continue
        yield np.maximum(columns, 0.0), float(height(end[None])[0]), is_peak


def climb(function: Callable[[Floats], Floats], start: Floats) -> Floats:
    """Climb to a peak of a smooth function by Newton's method with damped steps.

    Parameters
    ----------
    function : callable
        Of places (n, d), with values (n,); smooth over distances of 1.
    start : (d,)
    """
    at, small = start, 0
    for _ in range(MOST_STEPS):
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


@dataclass(frozen=True)
class _Studies:
    """Estimates y (k,) with known variances v (k,), and columns X (k, p).

    With weights W = diag(w), ``P = W − WX(X'WX)⁻¹X'W``.
    """

    y: Floats
    v: Floats
    x: Floats

    @property
    def freedom(self) -> int:
        """``k − p``."""
        return self.x.shape[0] - self.x.shape[1]

    def weighted(self, w: Floats) -> tuple[Floats, Floats]:
        """``Py`` (k,) and ``(X'WX)⁻¹`` (p, p)."""
        inverse = np.linalg.inv(self.x.T @ (w[:, None] * self.x))
        beta = inverse @ (self.x.T @ (w * self.y))
        return w * (self.y - self.x @ beta), inverse

    def square(self, w: Floats) -> float:
        """``y'Py``."""
        return float(self.y @ self.weighted(w)[0])

    def trace(self, w: Floats, u: Floats) -> float:
        """``tr(P diag(u)) = Σ wu − tr((X'WX)⁻¹ X'W diag(u) WX)``."""
        _, inverse = self.weighted(w)
        return float((w * u).sum() - np.sum(inverse * (self.x.T @ ((w**2 * u)[:, None] * self.x))))


def hedges(studies: _Studies) -> float:
    """``τ² = (y'Py − tr(PV))/(k − p)`` with weights of 1.

    Hedges (1983), Psychological Bulletin 93:388; with covariates as in Raudenbush (2009), in
    Cooper et al., The Handbook of Research Synthesis, 2nd ed., p. 295.
    """
    ones = np.ones_like(studies.v)
    return (studies.square(ones) - studies.trace(ones, studies.v)) / studies.freedom


def dersimonian_laird(studies: _Studies) -> float:
    """``τ² = (y'Py − (k − p))/tr(P)`` with weights ``1/v``.

    DerSimonian & Laird (1986), Controlled Clinical Trials 7:177; with covariates as in Raudenbush
    (2009).
    """
    w = 1 / studies.v
    return (studies.square(w) - studies.freedom) / studies.trace(w, np.ones_like(w))


def sidik_jonkman(studies: _Studies) -> float:
    """``τ² = τ₀² y'Py/(k − p)`` with weights ``1/(v + τ₀²)`` and ``τ₀² = Σ(y − ȳ)²/k``.

    Sidik & Jonkman (2005), JRSS C 54:367.
    """
    first = float(np.var(studies.y))
    return first * studies.square(1 / (studies.v + first)) / studies.freedom


def paule_mandel(studies: _Studies) -> float:
    """τ² at which ``y'Py = k − p`` with weights ``1/(v + τ²)``; negative if it is less at τ² = 0.

    Also the empirical Bayes estimate of Morris (1983), JASA 78:47, which solves the same equation.
    ``y'Py`` falls in τ², with the slope ``−|Py|²``, and is convex: Newton's steps from 0 stay
    below the solution.

    Paule & Mandel (1982), J. Res. Natl. Bur. Stand. 87:377.
    """
    tau2 = 0.0
    for _ in range(MOST_STEPS):
        shares, _ = studies.weighted(1 / (studies.v + tau2))
        step = float((studies.y @ shares - studies.freedom) / (shares @ shares))
        tau2 += step
        if step <= 1e-15 * tau2:
            break
    return tau2


FORMULAS: dict[str, Callable[[_Studies], float]] = {
    "dl": dersimonian_laird,
    "pm": paule_mandel,
    "he": hedges,
    "eb": paule_mandel,
    "sj": sidik_jonkman,
}


def _by_moments(marginal: Marginal, method: str) -> PointEstimate:
    """An estimate of τ² from the groups' estimates and their known variances."""
    spec, tree, scale = marginal.spec, marginal.data.tree, marginal.data.scale
    name = f"method {method!r} ({METHODS[method]})"
    if not spec.se or len(spec.groups) != 1:
        raise SpecError(
            f"{name} is for two levels with known standard errors; use "
            f"{' or '.join(map(repr, LIKELIHOOD))}"
        )
    within = np.diag(tree.scatter)[:-1]
    if (within > WITHIN * tree.weight.sum()).any():
        raise SpecError(
            f"{name} takes one estimate of each {spec.groups[0]}, and covariates differ between "
            f"rows of one {spec.groups[0]}; use {' or '.join(map(repr, LIKELIHOOD))}"
        )
    x = np.hstack([np.ones((tree.sizes[0], int(spec.has_intercept))), tree.mean[:, :-1]])
    studies = _Studies(tree.mean[:, -1], 1 / tree.weight, x)
    if studies.freedom < 1:
        raise SpecError(
            f"{name} needs more {spec.groups[0]} groups than coefficients; there are "
            f"{x.shape[0]}, and {x.shape[1]} coefficients"
        )
    tau2 = FORMULAS[method](studies)
    sds = {"tau": scale * float(np.sqrt(max(tau2, 0.0)))}
    notes = (f"tau: the estimate of tau² is {shown(scale**2 * tau2)}, so 0",) if tau2 < 0 else ()
    if tau2 < 0 and FORMULAS[method] is paule_mandel:
        notes = ("tau: no tau² above 0 solves the equation of the estimate, so 0",)
    return PointEstimate(sds, np.array([[sds["tau"]]]), notes=notes)

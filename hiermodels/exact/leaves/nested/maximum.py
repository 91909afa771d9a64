"""Maximum likelihood of κ, τ and the coefficients γ of three levels, all effects integrated out.

Inside, in ``(log κ, log τ, γ)``, by Newton's method with differences of the log likelihood, from
the best place that a simplex finds; γ is counted in standard errors from its place without variance
at either level.  On the edges, without variance at one of the levels, it is where κ = 0 the
likelihood of two levels (:mod:`hiermodels.exact.leaves.maximum`), of all groups; and where τ = 0
that of outer groups with their counts pooled, or with covariates the same as inside with τ known.
The highest of these is taken.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from hiermodels.core.arrays import Floats
from hiermodels.core.blas import one_blas_thread
from hiermodels.errors import PrecisionError
from hiermodels.exact.leaves import maximum
from hiermodels.exact.leaves.mass_sums import Function
from hiermodels.exact.leaves.model import LeafModel
from hiermodels.exact.leaves.nested.line_table import InnerTables, LineTable
from hiermodels.exact.leaves.nested.marginal import Line, NestedMarginal
from hiermodels.exact.leaves.nested.masses import LineMasses, MeanMasses
from hiermodels.exact.leaves.nested.model import NestedModel
from hiermodels.exact.leaves.nested.moments import inner_sums, moments_around, outer_sums
from hiermodels.families.leaves import Leaves
from hiermodels.model.priors.variance import FlatVariance

XATOL, FATOL = 0.03, 1e-4  # of the simplex
FARTHEST = 12.0  # |log sd| within which a maximum is looked for, from the centres' spread
DIFFERENCE = 1e-3  # of log sds and of γ in standard errors, between which it is compared
MAX_STEPS = 20  # of Newton's method
NEAR = 1e-9  # expected gain of a step, after which there is no other
FLATTEST = 1e-7  # bend of the log likelihood that differences tell from none
AROUND = (-1.5, 0.0, 1.5)  # log sds from the first
FIRST = 0.5  # of the simplex's first edges
SHARES = (0.1, 0.3, 0.7, 0.9)  # of the groups' centres, whose quantiles λ may be near
GAIN = 1e-8  # by which the inside must be higher than the edges

type LogLikelihood = Callable[[Floats], float]


@dataclass(frozen=True)
class NestedPlace:
    """A highest place of the likelihood.

    Attributes
    ----------
    kappa, tau : float
    gamma : (p,)
        Coefficients.
    value : float
        Log likelihood, leaves relative to their suprema.
    covariance : (p, p)
        Of γ, the sds that are not 0 unknown too: the inverse of the information.
    """

    kappa: float
    tau: float
    gamma: Floats
    value: float
    covariance: Floats


@dataclass(frozen=True)
class NestedMaximum:
    """What the likelihood determines.

    Attributes
    ----------
    place : NestedPlace or None
        None if it rises as an sd goes to infinity, or does not depend on one.
    pooled : (p,)
        γ without variance at either level.
    is_sum : bool
        Whether it depends on ``κ² + τ²`` alone: then the place is the one with κ = 0.
    """

    place: NestedPlace | None
    pooled: Floats
    is_sum: bool = False


@one_blas_thread()
def maximum_likelihood(marginal: NestedMarginal, outer_leaves: Leaves) -> NestedMaximum:
    """Maximise the likelihood; priors play no part, but that sds that are fixed are known.

    Parameters
    ----------
    marginal : NestedMarginal
    outer_leaves : Leaves
        S of them: the rows of each outer group, as if they had one effect.

    Raises
    ------
    PrecisionError
        If Newton's method does not get to the highest place.
    """
    model = marginal.model
    of_groups = _two_levels(model, model.leaves, model.x, level=1)
    pooled = of_groups.pooled
    without_kappa = _on_edge(marginal, of_groups, 0)
    if _is_sum(model):
        return NestedMaximum(without_kappa, pooled.gamma, is_sum=True)
    edges = [without_kappa, _without_tau(marginal, outer_leaves, pooled)]
    best = max(filter(None, edges), key=lambda place: place.value, default=None)
    inside, ends = (None, False) if 0.0 in model.fixed_sds else _inside(marginal, pooled)
    if inside is not None and (best is None or inside.value > best.value + GAIN):
        best = None if ends else inside
    return NestedMaximum(best, pooled.gamma)


def _is_sum(model: NestedModel) -> bool:
    """Whether no outer group has two groups that say something, and no sd is fixed."""
    says = model.leaves.falls_below | model.leaves.falls_above
    most = np.bincount(model.parent[says]).max(initial=0)
    return bool(most <= 1 and model.fixed_sds == (None, None))


def _two_levels(model: NestedModel, leaves: Leaves, x: Floats, level: int) -> maximum.Maximum:
    """The maximum with variance at one level alone: of outer groups (0), or of groups (1)."""
    own = (model.outer_prior, model.prior)[level]
    prior = own if model.fixed_sds[level] is not None else FlatVariance()
    nothing = np.zeros_like(model.mean)
    return maximum.maximum_likelihood(LeafModel(leaves, x, nothing, nothing, prior))


def _without_tau(
    marginal: NestedMarginal, outer_leaves: Leaves, pooled: maximum.Place
) -> NestedPlace | None:
    """The highest place with τ = 0, if that may be."""
    model = marginal.model
    if model.fixed_sds[1] not in (None, 0.0):
        return None
    if not model.n_slopes:
        ones = np.ones((len(outer_leaves), len(model.mean)))
        return _on_edge(marginal, _two_levels(model, outer_leaves, ones, level=0), 1)
    if model.fixed_sds[0] == 0.0:
        return None  # the other edge has it
    place, ends = _inside(NestedMarginal(model.with_fixed_sd(1, 0.0)), pooled)
    return None if ends else place


def _on_edge(marginal: NestedMarginal, found: maximum.Maximum, level: int) -> NestedPlace | None:
    """The same as a place, if the level's sd may be 0; values are relative to all leaves."""
    if found.place is None or marginal.model.fixed_sds[level] not in (None, 0.0):
        return None
    tau, gamma = found.place.tau, found.place.gamma
    sds = (0.0, tau) if level == 0 else (tau, 0.0)
    value = _log_likelihood(marginal, *sds, gamma)
    return NestedPlace(*sds, gamma, value, found.place.score.covariance)


def _log_likelihood(marginal: NestedMarginal, kappa: float, tau: float, gamma: Floats) -> float:
    line, mean = _line_at(marginal, tau, gamma)
    own = line.log_integrals(mean, np.array([kappa]))
    return float(marginal.kinds.multiplicity @ own[:, 0])


def _line_at(marginal: NestedMarginal, tau: float, gamma: Floats) -> tuple[Line, Floats]:
    """What lies above the inner groups, and the mean (1,) of outer effects at the middle."""
    kinds, slopes = marginal.kinds, marginal.model.slopes_of(gamma[None])[0]
    if len(slopes):
        table = LineTable.at_slopes(kinds, InnerTables.of(kinds, tau), slopes)
        return Line.above(table), marginal.mean_of(gamma[None])
    return Line.of(kinds, tau), marginal.mean_of(gamma[None])


def _inside(marginal: NestedMarginal, pooled: maximum.Place) -> tuple[NestedPlace | None, bool]:
    """The highest place with the sds above 0 that are not fixed, and whether one has no end."""
    from scipy.optimize import minimize

    model, fixed = marginal.model, marginal.model.fixed_sds
    free = [level for level in (0, 1) if fixed[level] is None]
    middle = [np.mean(axis.informed) / 2 for axis in marginal.coordinates.all_sd_axes]
    size, axes = np.linalg.eigh(pooled.score.covariance)
    error = axes * np.sqrt(np.abs(size))

    def parameters(x: Floats) -> tuple[float, float, Floats]:
        sds = [np.nan if known is None else known for known in fixed]
        for level, log_sd in zip(free, x[: len(free)], strict=True):
            sds[level] = float(np.exp(log_sd))
        return sds[0], sds[1], pooled.gamma + error @ x[len(free) :]

    def value(x: Floats) -> float:
        if (np.abs(x[: len(free)] - start[: len(free)]) > FARTHEST).any():
            return -np.inf
        return _log_likelihood(marginal, *parameters(x))

    start = np.array([*(middle[level] for level in free), *np.zeros(len(pooled.gamma))])
    if not len(start):
        return NestedPlace(*parameters(start), value(start), np.empty((0, 0))), False
    if not model.leaves.log_concave:
        start = _highest(value, start, len(free), _places_of(model, pooled.gamma, error))
    edges = np.vstack([start, start + FIRST * np.eye(len(start))])
    options = {"xatol": XATOL, "fatol": FATOL, "maxiter": 2000, "initial_simplex": edges}
    rough = minimize(lambda x: -value(x), start, method="Nelder-Mead", options=options).x
    away = rough[: len(free)] - start[: len(free)]
    if (np.abs(away) > FARTHEST - 1).any():
        return NestedPlace(*parameters(rough), value(rough), np.nan * error), bool((away > 0).any())
    place, covariance = _newton(value, rough)
    of_gamma = error @ covariance[len(free) :, len(free) :] @ error.T
    return NestedPlace(*parameters(place), value(place), of_gamma), False


def _places_of(model: NestedModel, gamma: Floats, error: Floats) -> Floats:
    """Where λ may be highest, from γ (1,), in standard errors (1, 1); none without λ."""
    if not model.has_intercept:
        return np.empty(0)
    return (np.append(gamma, np.quantile(model.leaves.centre, SHARES)) - gamma) / error[0, 0]


def _highest(value: LogLikelihood, start: Floats, n_sds: int, places: Floats) -> Floats:
    """The highest of some places, where there may be several maxima: of log sds, and of λ."""
    around = [start[i] + np.array(AROUND) for i in range(n_sds)]
    if len(places):
        around.append(places)
    grid = np.stack(np.meshgrid(*around, indexing="ij"), axis=-1).reshape(-1, len(start))
    return np.asarray(max(grid, key=value))


def _newton(value: LogLikelihood, place: Floats) -> tuple[Floats, Floats]:
    """The maximum near a place (d,), and the inverse of the information there (d, d).

    Where the likelihood bends upwards along an axis of the information, its bend is taken for
    downwards: the step goes up there too, and not to the saddle.
    """
    for _ in range(MAX_STEPS):
        slope, information = _derivatives(value, place)
        bend, axes = np.linalg.eigh(information)
        covariance = (axes / np.maximum(np.abs(bend), FLATTEST)) @ axes.T
        step = covariance @ slope
        gain = float(slope @ step)
        if gain <= NEAR and bend[0] > -FLATTEST:
            return place + step, covariance
        place = place + step / max(1.0, np.abs(step).max())
    raise PrecisionError(
        f"the likelihood's highest place was not found: after {MAX_STEPS} steps it may still gain "
        f"{gain:.1e}. See .summary() for the posterior"
    )


def _derivatives(value: LogLikelihood, place: Floats) -> tuple[Floats, Floats]:
    """Slope (d,) and information (d, d), from differences."""
    d, h = len(place), DIFFERENCE
    steps, middle = h * np.eye(d), value(place)
    up, down = (np.array([value(place + side * step) for step in steps]) for side in (1, -1))
    information = np.diag((2 * middle - up - down) / h**2)
    for i in range(d):
        for j in range(i):
            both = [value(place + side * (steps[i] + steps[j])) for side in (1, -1)]
            rest = up[i] + down[i] + up[j] + down[j] - 2 * middle
            information[i, j] = information[j, i] = -(sum(both) - rest) / (2 * h**2)
    return (up - down) / (2 * h), information


def effects_given(
    marginal: NestedMarginal, place: NestedPlace, level: int, function: Function | None = None
) -> tuple[Floats, Floats]:
    """Means and sds of a level's effects, or of a function of the groups', given all above them.

    Those of outer groups are at the middle of the covariates, those of groups at their own.
    """
    function, kinds = function or (lambda effect: effect), marginal.kinds
    line, mean = _line_at(marginal, place.tau, place.gamma)
    if place.kappa == 0 and (level == 0 or place.tau == 0):
        known = marginal.model.x @ place.gamma if level else np.full(marginal.model.n_outer, mean)
        return function(known), np.zeros(len(known))
    lines = [LineMasses.of(line, mean, np.array([place.kappa]), np.ones((2, 1)))]
    if level == 0:
        own = moments_around(kinds.origin, *outer_sums(kinds, lines))
        means, sds = (part[:, kinds.kind_of] for part in own)
    else:
        sums = inner_sums(kinds, MeanMasses.of(lines), function)
        own = moments_around(function(kinds.leaves.centre)[kinds.leaf], *sums)
        means, sds = (part[:, kinds.entry_of] for part in own)
    return means[0], sds[0]

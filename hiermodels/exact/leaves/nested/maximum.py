"""Maximum likelihood of κ, τ and λ of three levels, all effects integrated out.

Inside, in ``(log κ, log τ, λ)``, by Newton's method with differences of the log likelihood, from
the best place that a simplex finds.  On the edges, without variance at one of the levels, it is the
likelihood of two levels (:mod:`hiermodels.exact.leaves.maximum`): of all groups where κ = 0, and of
outer groups with their counts pooled where τ = 0.  The highest of these is taken.
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
from hiermodels.exact.leaves.nested.marginal import Line, NestedMarginal
from hiermodels.exact.leaves.nested.masses import LineMasses, MeanMasses
from hiermodels.exact.leaves.nested.model import NestedModel
from hiermodels.exact.leaves.nested.moments import inner_sums, moments_around, outer_sums
from hiermodels.families.leaves import Leaves
from hiermodels.model.priors.variance import FlatVariance

XATOL = 1e-3  # of the simplex
FARTHEST = 12.0  # |log sd| within which a maximum is looked for, from the centres' spread
DIFFERENCE = 1e-3  # of log sds and of λ, between which the likelihood is compared
MAX_STEPS = 20  # of Newton's method
NEAR = 1e-9  # expected gain of a step, after which there is no other
FLATTEST = 1e-7  # bend of the log likelihood that differences tell from none
AROUND = (-1.5, 0.0, 1.5)  # log sds from the first
SHARES = (0.1, 0.3, 0.7, 0.9)  # of the groups' centres, whose quantiles λ may be near
GAIN = 1e-8  # by which the inside must be higher than the edges

type LogLikelihood = Callable[[Floats], float]


@dataclass(frozen=True)
class NestedPlace:
    """A highest place of the likelihood.

    Attributes
    ----------
    kappa, tau, lam : float
        λ is 0 where there is none.
    value : float
        Log likelihood, leaves relative to their suprema.
    se : float
        Of λ, the sds that are not 0 unknown too.
    """

    kappa: float
    tau: float
    lam: float
    value: float
    se: float


@dataclass(frozen=True)
class NestedMaximum:
    """What the likelihood determines.

    Attributes
    ----------
    place : NestedPlace or None
        None if it rises as an sd goes to infinity, or does not depend on one.
    pooled : float
        λ without variance at either level.
    is_sum : bool
        Whether it depends on ``κ² + τ²`` alone: then the place is the one with κ = 0.
    """

    place: NestedPlace | None
    pooled: float
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
    edges = [_edge(model, outer_leaves, level) for level in (0, 1)]
    pooled = edges[0].pooled
    lam = float(pooled.gamma[0]) if model.has_intercept else 0.0
    if _is_sum(model):
        return NestedMaximum(_on_edge(marginal, edges[0], 0), lam, is_sum=True)
    on_edges = (_on_edge(marginal, edge, level) for level, edge in enumerate(edges))
    best = max(filter(None, on_edges), key=lambda place: place.value, default=None)
    inside, ends = _inside(marginal, lam)
    if inside is not None and (best is None or inside.value > best.value + GAIN):
        best = None if ends else inside
    return NestedMaximum(best, lam)


def _is_sum(model: NestedModel) -> bool:
    """Whether no outer group has two groups that say something, and no sd is fixed."""
    says = model.leaves.falls_below | model.leaves.falls_above
    most = np.bincount(model.parent[says]).max(initial=0)
    return bool(most <= 1 and model.fixed_sds == (None, None))


def _edge(model: NestedModel, outer_leaves: Leaves, level: int) -> maximum.Maximum:
    """The maximum without variance at a level: of outer groups (0), or of groups (1)."""
    leaves = model.leaves if level == 0 else outer_leaves
    ones = np.ones((len(leaves), len(model.mean)))
    other = (model.prior, model.outer_prior)[level]
    prior = other if model.fixed_sds[1 - level] is not None else FlatVariance()
    nothing = np.zeros_like(model.mean)
    return maximum.maximum_likelihood(LeafModel(leaves, ones, nothing, nothing, prior))


def _on_edge(marginal: NestedMarginal, found: maximum.Maximum, level: int) -> NestedPlace | None:
    """The same as a place, if the level's sd may be 0; values are relative to all leaves."""
    model = marginal.model
    if found.place is None or model.fixed_sds[level] not in (None, 0.0):
        return None
    tau, gamma = found.place.tau, found.place.gamma
    lam = float(gamma[0]) if model.has_intercept else 0.0
    sds = (0.0, tau) if level == 0 else (tau, 0.0)
    se = float(np.sqrt(found.place.score.covariance[0, 0])) if model.has_intercept else np.nan
    value = _log_likelihood(marginal, *sds, lam)
    return NestedPlace(*sds, lam, value, se)


def _log_likelihood(marginal: NestedMarginal, kappa: float, tau: float, lam: float) -> float:
    line = Line.of(marginal.kinds, tau)
    own = line.log_integrals(np.array([lam]), np.array([kappa]))
    return float(marginal.kinds.multiplicity @ own[:, 0])


def _inside(marginal: NestedMarginal, lam: float) -> tuple[NestedPlace | None, bool]:
    """The highest place with both sds above 0, and whether it lies at the end of their range."""
    from scipy.optimize import minimize

    model, fixed = marginal.model, marginal.model.fixed_sds
    if 0.0 in fixed:
        return None, False
    free = [level for level in (0, 1) if fixed[level] is None]
    middle = [np.mean(axis.informed) / 2 for axis in marginal.coordinates.all_sd_axes]

    def parameters(x: Floats) -> tuple[float, float, float]:
        sds = [np.nan if known is None else known for known in fixed]
        for level, log_sd in zip(free, x[: len(free)], strict=True):
            sds[level] = float(np.exp(log_sd))
        return sds[0], sds[1], float(x[-1]) if model.has_intercept else 0.0

    def value(x: Floats) -> float:
        if (np.abs(x[: len(free)] - start[: len(free)]) > FARTHEST).any():
            return -np.inf
        return _log_likelihood(marginal, *parameters(x))

    start = np.array([*(middle[level] for level in free), *([lam] * model.has_intercept)])
    if not len(start):
        return NestedPlace(*parameters(start), value(start), np.nan), False
    if not model.leaves.log_concave:
        start = _highest(value, start, len(free), model.leaves.centre)
    options = {"xatol": XATOL, "fatol": XATOL**2, "maxiter": 2000}
    rough = minimize(lambda x: -value(x), start, method="Nelder-Mead", options=options).x
    away = rough[: len(free)] - start[: len(free)]
    if (np.abs(away) > FARTHEST - 1).any():
        return NestedPlace(*parameters(rough), value(rough), np.nan), bool((away > 0).any())
    place, covariance = _newton(value, rough)
    se = float(np.sqrt(covariance[-1, -1])) if model.has_intercept else np.nan
    return NestedPlace(*parameters(place), value(place), se), False


def _highest(value: LogLikelihood, start: Floats, n_sds: int, centre: Floats) -> Floats:
    """The highest of some places, where there may be several maxima: of log sds, and of λ."""
    around = [start[i] + np.array(AROUND) for i in range(n_sds)]
    if len(start) > n_sds:
        around.append(np.append(start[-1], np.quantile(centre, SHARES)))
    places = np.stack(np.meshgrid(*around, indexing="ij"), axis=-1).reshape(-1, len(start))
    return np.asarray(max(places, key=value))


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
    """Means and sds of a level's effects, or of a function of the groups', given all above them."""
    function = function or (lambda effect: effect)
    if place.kappa == 0 and (level == 0 or place.tau == 0):
        size = len(marginal.model.leaves) if level else marginal.model.n_outer
        return function(np.full(size, place.lam)), np.zeros(size)
    kinds = marginal.kinds
    line = Line.of(kinds, place.tau)
    at = np.array([place.lam]), np.array([place.kappa]), np.ones((2, 1))
    lines = [LineMasses.of(line, *at)]
    if level == 0:
        own = moments_around(kinds.origin, *outer_sums(kinds, lines))
        mean, sd = (part[:, kinds.kind_of] for part in own)
    else:
        sums = inner_sums(kinds, MeanMasses.of(lines), function)
        own = moments_around(function(kinds.leaves.centre)[kinds.leaf], *sums)
        mean, sd = (part[:, kinds.entry_of] for part in own)
    return mean[0], sd[0]

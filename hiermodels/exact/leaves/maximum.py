"""Maximum likelihood of τ and of the coefficients, all effects integrated out.

Along τ the likelihood, at its highest in γ there, is a curve whose slope by τ² passes 0 at each of
its peaks; τ = 0 is one if the slope is not positive there.  So peaks are found where the slope
changes its sign between places of a grid, and the highest is taken.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Protocol

import numpy as np

from hiermodels.core.arrays import Floats
from hiermodels.core.blas import one_blas_thread
from hiermodels.errors import PrecisionError
from hiermodels.exact.leaves.coordinates import Coordinates
from hiermodels.exact.leaves.mass_sums import Function, moments_of_masses
from hiermodels.exact.leaves.model import LeafModel
from hiermodels.exact.leaves.score import Score
from hiermodels.families.leaves import Leaves

STEP = 2.0  # of log τ² on the grid
FARTHER = 25.0  # log τ² beyond the grid, at which the likelihood is said to rise for ever
SAME = 1e-9  # slope of the likelihood by log τ², for each group, that is none
MAX_STEPS = 100  # of Newton's method
MAX_HALVINGS = 40
NEAR = 1e-10  # expected gain of a step of Newton's method, after which that of one more is 1e-20
ROUNDING = 1e-12  # of a log likelihood, relative to its size
XTOL = 1e-13  # of log τ² at a peak
OWN_XTOL = 1e-11  # of the highest place of one group's likelihood
FEW = 12  # leaves from whose centres one coefficient is sought where there may be several peaks


@dataclass(frozen=True)
class Place:
    """The highest place of the likelihood in γ at one τ.

    Attributes
    ----------
    tau : float
    gamma : (p,)
    score : Score
        Of both.
    """

    tau: float
    gamma: Floats
    score: Score


class Setting(Protocol):
    """A τ, and coefficients."""

    @property
    def tau(self) -> float:
        """Of the groups' effects."""

    @property
    def gamma(self) -> Floats:
        """(p,)."""


class Determined(Protocol):
    """What of τ and γ the likelihood determines, as :class:`Maximum`."""

    @property
    def place(self) -> Setting | None:
        """The highest; None if there is none."""

    @property
    def pooled(self) -> Setting:
        """The highest at τ = 0."""

    @property
    def is_flat(self) -> bool:
        """Whether there is none because the likelihood does not depend on τ."""


@dataclass(frozen=True)
class Maximum:
    """What of τ and γ the likelihood determines.

    Attributes
    ----------
    place : Place or None
        The highest; None if there is none.
    pooled : Place
        The highest at τ = 0.
    is_flat : bool
        Whether there is none because the likelihood does not depend on τ.
    """

    place: Place | None
    pooled: Place
    is_flat: bool = False


@one_blas_thread()
def maximum_likelihood(model: LeafModel) -> Maximum:
    """Maximise the likelihood; priors play no part, but that a τ that is fixed is taken as known.

    Parameters
    ----------
    model : LeafModel
        Whose coefficients are bounded by the groups.

    Raises
    ------
    PrecisionError
        If Newton's method does not get to the highest place.
    """
    flat = replace(model, mean=np.zeros_like(model.mean), precision=np.zeros_like(model.mean))
    if model.fixed_sd is not None:
        fixed = _highest(flat, model.fixed_sd)
        fixed = replace(fixed, score=replace(fixed.score, bend=0.0))  # none of τ is unknown
        return Maximum(fixed, _highest(flat, 0.0, fixed.gamma))
    places = _grid(flat)
    pooled = places[0]
    slopes = [place.score.by_variance * place.tau**2 for place in places]
    if np.abs(slopes).max() < SAME * len(flat.leaves):
        return Maximum(None, pooled, is_flat=True)
    candidates = [pooled] if pooled.score.by_variance <= 0 else []
    for lower, upper in pairwise(places):
        if lower.score.by_variance > 0 >= upper.score.by_variance:
            candidates.append(_peak_between(flat, lower, upper))
    if not candidates:
        return Maximum(None, pooled)
    return Maximum(max(candidates, key=lambda place: place.score.value), pooled)


def _grid(model: LeafModel) -> list[Place]:
    """Places at 0 and at rising τ, as far as the likelihood rises there."""
    low, high = Coordinates(model).axis.informed
    place = None
    falling: list[Place] = []
    for log_variance in np.arange(high, low - STEP, -STEP):
        place = _highest(model, float(np.exp(log_variance / 2)), place.gamma if place else None)
        falling.append(place)
    place = falling[0]
    rising: list[Place] = []
    beyond = np.arange(high + STEP, high + FARTHER, STEP)
    for log_variance in beyond:
        if place.score.by_variance <= 0:
            break
        place = _highest(model, float(np.exp(log_variance / 2)), place.gamma)
        rising.append(place)
    return [_highest(model, 0.0, falling[-1].gamma), *reversed(falling), *rising]


def _peak_between(model: LeafModel, lower: Place, upper: Place) -> Place:
    """The place between two at which the slope by τ² is 0."""
    from scipy.optimize import brentq

    from_zero = lower.tau == 0

    def at(x: float) -> Place:
        return _highest(model, float(np.sqrt(x) if from_zero else np.exp(x / 2)), lower.gamma)

    ends = [place.tau**2 if from_zero else 2 * np.log(place.tau) for place in (lower, upper)]
    xtol = XTOL * ends[1] if from_zero else XTOL
    return at(brentq(lambda x: at(x).score.by_variance, *ends, xtol=xtol))


def _highest(model: LeafModel, tau: float, start: Floats | None = None) -> Place:
    """Maximise the likelihood in γ at one τ."""
    starts = [] if start is None else [start]
    if start is None or not model.leaves.log_concave:
        starts.append(Coordinates(model).whitening(np.array([tau])).b[0])
    if not model.leaves.log_concave and len(model.mean) == 1:
        some = np.flatnonzero(model.x[:, 0])
        centres = np.sort(model.leaves.centre[some] / model.x[some, 0])
        starts += list(np.quantile(centres, np.linspace(0, 1, FEW))[:, None])
    return max((_ascent(model, tau, own) for own in starts), key=lambda place: place.score.value)


def _ascent(model: LeafModel, tau: float, gamma: Floats) -> Place:
    """Newton's method in γ, with steps that are halved until the likelihood does not fall."""
    here = Score.of(model, gamma, tau)
    for _ in range(MAX_STEPS):
        step = _newton_step(here)
        gain = float(here.slope @ step)
        for _ in range(MAX_HALVINGS):
            there = Score.of(model, gamma + step, tau)
            if there.value >= here.value - ROUNDING * max(1.0, abs(here.value)):
                break
            step = step / 2
        else:
            break
        gamma, here = gamma + step, there
        if gain <= NEAR:
            return Place(tau, gamma, here)
    raise PrecisionError(
        f"the likelihood's highest place in the coefficients was not found at an sd of {tau:g}: "
        f"after {MAX_STEPS} steps it may still gain {gain:.1e}. See .summary() for the posterior"
    )


def _newton_step(score: Score) -> Floats:
    """``I⁻¹ × slope``, with the absolute values of the information's eigenvalues."""
    size, vectors = np.linalg.eigh(score.information)
    tiny = np.finfo(float).tiny
    return np.asarray(vectors @ ((vectors.T @ score.slope) / np.maximum(np.abs(size), tiny)))


def effects_given(
    model: LeafModel, place: Setting, function: Function | None = None
) -> tuple[Floats, Floats]:
    """Means and sds of effects given τ and γ, or of a function of them; (k,) each."""
    function = function or (lambda theta: theta)
    if place.tau == 0:
        return function(model.x @ place.gamma), np.zeros(len(model.leaves))
    mean, sd = np.empty((2, len(model.leaves)))
    tau, both = np.array([place.tau]), np.ones((2, 1))
    for alike in model.alike:
        mu, integrals = np.array([alike.x @ place.gamma]), alike.integrals
        masses = integrals.masses(mu, tau, both, integrals.log_integrals(mu, tau))
        own = moments_of_masses(masses, len(alike.counts), function)
        mean[alike.groups], sd[alike.groups] = (part[0][alike.leaf_of] for part in own)
    return mean, sd


def own_maxima(leaves: Leaves) -> tuple[Floats, Floats]:
    """Where each log-concave leaf is highest, and ``information^−½`` there; nan at ±∞; (k,) each.

    Newton's method from the leaves' centres, with steps of at most 1.
    """
    inside = np.flatnonzero(leaves.falls_below & leaves.falls_above)
    some = leaves.take(inside)
    theta = some.centre[:, None].copy()
    for _ in range(MAX_STEPS):
        slope, information = some.slope_and_information(theta)
        step = np.clip(slope / information, -1.0, 1.0)
        theta += step
        if np.abs(step).max(initial=0.0) <= OWN_XTOL:
            break
    else:
        raise PrecisionError(f"highest places of groups' likelihoods: not within {OWN_XTOL:g}")
    own, error = np.full((2, len(leaves)), np.nan)
    own[inside] = theta[:, 0]
    error[inside] = some.slope_and_information(theta)[1][:, 0] ** -0.5
    return own, error

"""The highest likelihood of τ and the coefficients, the groups' effects integrated out."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from hiermodels.core.arrays import Floats
from hiermodels.exact.glmm.modes import CountModel, Mode, find_mode, scale_of_variance

FIRST = 0.1  # of s, the first τ that is tried
SCAN = 1.5  # ratio of the values of τ that are tried
FALLEN = 20.0  # of the log likelihood from its highest, beyond which none is tried
FARTHEST = 1e4  # τ beyond which the likelihood is said to rise for ever
XTOL = 1e-9  # of the logarithm of τ² + s²
STEP = 1e-3  # of log τ in differences


@dataclass(frozen=True)
class Highest:
    """Where the likelihood is highest.

    Attributes
    ----------
    tau : float
    gamma : (p,)
    covariance : (p, p)
        Inverse of the information on τ and γ together, its part of γ; given τ where that is 0 or
        known.
    log_likelihood : float
        Without the constants of the rows.
    """

    tau: float
    gamma: Floats
    covariance: Floats
    log_likelihood: float

    @classmethod
    def of(cls, mode: Mode, tau: float) -> Self:
        """The coefficients at one τ."""
        return cls(tau, mode.gamma, mode.covariance, mode.height)

    def in_basis(self, basis: Floats) -> Self:
        """With coefficients ``basis γ``."""
        covariance = basis @ self.covariance @ basis.T
        return replace(self, gamma=basis @ self.gamma, covariance=covariance)


@dataclass(frozen=True)
class GlmmMaximum:
    """What of τ and γ the likelihood determines.

    Attributes
    ----------
    place : Highest or None
        None if it rises as τ → ∞.
    pooled : Highest
        At τ = 0.
    is_flat : bool
        Whether there is none because the likelihood does not depend on τ.
    """

    place: Highest | None
    pooled: Highest
    is_flat: bool = False


def maximum_likelihood(model: CountModel, fixed: float | None = None) -> GlmmMaximum:
    """Maximise over τ the highest likelihood in γ at each.

    Parameters
    ----------
    model : CountModel
        With flat priors.
    fixed : float, optional
        τ, where it is known.
    """
    begin = find_mode(model, 0.0, model.mean, None)
    pooled = Highest.of(begin, 0.0)
    if fixed is not None:
        return GlmmMaximum(Highest.of(find_mode(model, fixed, begin.gamma, None), fixed), pooled)
    shift = scale_of_variance(model.rows, begin.gamma)
    taus, modes = [0.0], [begin]
    tau = FIRST * np.sqrt(shift)
    while modes[-1].height > max(mode.height for mode in modes) - FALLEN:
        if tau > FARTHEST:
            return GlmmMaximum(None, pooled)
        modes.append(find_mode(model, tau, modes[-1].gamma, None))
        taus.append(float(tau))
        tau *= SCAN
    best = int(np.argmax([mode.height for mode in modes]))
    if best == 0:
        return GlmmMaximum(pooled, pooled)
    ends = taus[best - 1], taus[best + 1]
    return GlmmMaximum(_between(model, ends, modes[best].gamma, shift), pooled)


def _between(model: CountModel, ends: tuple[float, float], gamma: Floats, shift: float) -> Highest:
    """The highest place between two values of τ."""
    from scipy.optimize import minimize_scalar

    def falls(place: float) -> float:
        return -find_mode(model, _tau(place, shift), gamma, None).height

    low, high = (float(np.log(tau**2 + shift)) for tau in ends)
    found = minimize_scalar(falls, bounds=(low, high), method="bounded", options={"xatol": XTOL})
    tau = _tau(float(found.x), shift)
    places = (tau * float(np.exp(step)) for step in (-STEP, 0.0, STEP))
    below, middle, above = (find_mode(model, each, gamma, None) for each in places)
    bend = (2 * middle.height - below.height - above.height) / STEP**2
    slope = (above.gamma - below.gamma) / (2 * STEP)
    covariance = middle.covariance + np.outer(slope, slope) / bend
    return Highest(tau, middle.gamma, covariance, middle.height)


def _tau(place: float, shift: float) -> float:
    return float(np.sqrt(max(np.exp(place) - shift, 0.0)))

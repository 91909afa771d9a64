"""Integrals of log-concave leaves against normal densities far from them, in logarithms.

Of a pair of a group and a node the integrand ``L(θ) N(θ | μ, τ²)`` is log-concave.  Its mode θ̂ is
where ``θ = μ + τ² ℓ'(θ)``; so, as the slope ℓ' falls, it is between any place c and
``μ + τ² ℓ'(c)``.  Around it, with its width s,

    θ = θ̂ + s·sinh v,    m = Σ_v h s cosh(v) L(θ) N(θ | μ, τ²),

as far to either side as the integrand has dropped by ``DROP``.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from hiermodels.core.arrays import LOG_2PI, Floats
from hiermodels.families.leaves import Leaves

PLACES = 128
DROP = 40.0
BISECTIONS = 1000  # at most, from 1e300 sds; Newton's method needs few of them
CLOSE = 1e-9  # sds of the mode
DOUBLINGS = 60


def pair_places(leaves: Leaves, mu: Floats, tau: Floats) -> tuple[Floats, Floats]:
    """Places of P pairs, and logarithms of the terms of their integrals.

    Parameters
    ----------
    leaves : Leaves
        One for each pair.
    mu, tau : (P,)

    Returns
    -------
    theta, log_terms : (P, Z)
    """
    mode, sd = _modes(leaves, mu, tau)
    centre = (mode - mu) / tau

    def log_integrand(away: Floats) -> Floats:
        """Log integrand at ``θ̂ + away`` (P, Z): z from there, of which θ may not know a digit."""
        z = centre[:, None] + away / tau[:, None]
        log_normal = -0.5 * (z**2 + LOG_2PI) - np.log(tau)[:, None]
        return leaves.log_likelihood(mode[:, None] + away) + log_normal

    low, high = (np.arcsinh(_reach(log_integrand, sd * side)) for side in (-1.0, 1.0))
    v = np.linspace(-low, high, PLACES, axis=1)
    away = sd[:, None] * np.sinh(v)
    log_step = np.log((low + high) / (PLACES - 1) * sd)[:, None]
    return mode[:, None] + away, log_integrand(away) + log_step + np.log(np.cosh(v))


def pair_shares(leaves: Leaves, mu: Floats, tau: Floats) -> tuple[Floats, Floats]:
    """The places of :func:`pair_places`, and the share of each in its integral; (P, Z) each."""
    theta, log_terms = pair_places(leaves, mu, tau)
    return theta, np.exp(log_terms - np.logaddexp.reduce(log_terms, axis=1)[:, None])


@np.errstate(over="ignore", invalid="ignore")
def _modes(leaves: Leaves, mu: Floats, tau: Floats) -> tuple[Floats, Floats]:
    """Modes of the integrands and their widths, by Newton's method within brackets; (P,) each.

    As ℓ' falls, the mode is between any θ and ``μ + τ² ℓ'(θ)``.  At μ itself this may be as far
    away as ``e^μ``, too far for bisection, but not near the leaf's centre, where Newton begins.
    """
    slope = leaves.slope_and_information(mu[:, None])[0][:, 0]
    other = mu + tau**2 * slope
    low, high = np.minimum(mu, other), np.maximum(mu, other)
    at = np.clip(leaves.centre, low, high)
    for _ in range(BISECTIONS):
        slope, information = (x[:, 0] for x in leaves.slope_and_information(at[:, None]))
        gradient, curvature = slope - (at - mu) / tau**2, information + tau**-2.0
        rises, other = gradient > 0, mu + tau**2 * slope
        low = np.maximum(low, np.where(rises, at, other))
        high = np.minimum(high, np.where(rises, other, at))
        new = at + gradient / curvature
        is_close = np.abs(new - at) * np.sqrt(curvature) < CLOSE  # it stays, while others move
        new = np.where(is_close | (new > low) & (new < high), new, (low + high) / 2)
        moved, at = np.abs(new - at) * np.sqrt(curvature), new
        if (moved < CLOSE).all():
            break
    information = leaves.slope_and_information(at[:, None])[1][:, 0]
    return at, (information + tau**-2.0) ** -0.5


def _reach(log_integrand: Callable[[Floats], Floats], sd: Floats) -> Floats:
    """How many sds from the mode the integrand has dropped, to the side that sd has a sign of."""
    top = log_integrand(np.zeros((len(sd), 1)))
    reach = np.full(len(sd), np.sqrt(2 * DROP))
    for _ in range(DOUBLINGS):
        near = (log_integrand((reach * sd)[:, None]) > top - DROP)[:, 0]
        if not near.any():
            break
        reach = np.where(near, 1.3 * reach, reach)
    return reach

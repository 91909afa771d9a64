"""The likelihood of τ and γ, all effects integrated out, and its derivatives.

    ℓ(γ, τ) = Σ_i ℓ_i(μ_i, τ),    ℓ_i = log ∫ L_i(θ) N(θ | μ_i, τ²) dθ,    μ_i = x_i'γ.

With moments of ``z = (θ_i − μ_i)/τ`` given γ, τ and the rows, and s = log τ,

    ∂ℓ_i/∂μ = E z/τ                      ∂ℓ_i/∂τ² = (E z² − 1)/(2τ²)
    ∂²ℓ_i/∂μ² = (Var z − 1)/τ²           ∂²ℓ_i/∂μ∂s = (Cov(z, z²) − 2 E z)/τ
    ∂²ℓ_i/∂s² = Var z² − 2 E z²

and at τ = 0, with the derivatives ``l', l''`` of log L_i at μ, ``∂ℓ_i/∂τ² = (l'² + l'')/2``.

References
----------
Louis (1982), JRSS B 44:226 (derivatives of a likelihood with something integrated out).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hiermodels.core.arrays import Floats
from hiermodels.exact.leaves.model import Alike, LeafModel


@dataclass(frozen=True)
class Score:
    """The log likelihood at one τ and γ, leaves relative to their suprema, and its derivatives.

    Attributes
    ----------
    value : float
    slope : (p,)
        By γ.
    information : (p, p)
        Minus the second derivatives by γ.
    by_variance : float
        By τ².
    cross : (p,)
        By γ and log τ; 0 at τ = 0.
    bend : float
        Minus the second by log τ; 0 at τ = 0.
    """

    value: float
    slope: Floats
    information: Floats
    by_variance: float
    cross: Floats
    bend: float

    @classmethod
    def of(cls, model: LeafModel, gamma: Floats, tau: float) -> Score:
        """Add up the groups' terms."""
        p = len(gamma)
        slope, cross, information = np.zeros(p), np.zeros(p), np.zeros((p, p))
        alone = np.zeros(3)
        for alike in model.alike:
            x, terms = alike.x, alike.counts @ _terms(alike, float(alike.x @ gamma), tau)
            alone += terms[[0, 3, 5]]
            slope += terms[1] * x
            information += terms[2] * np.outer(x, x)
            cross += terms[4] * x
        value, by_variance, bend = alone.tolist()
        return cls(value, slope, information, by_variance, cross, bend)

    @property
    def covariance(self) -> Floats:
        """Of γ, from the information on it and on log τ, where there is any on that; (p, p)."""
        information = self.information
        if self.bend > 0:
            information = information - np.outer(self.cross, self.cross) / self.bend
        return np.linalg.inv(information)


def _terms(alike: Alike, mu: float, tau: float) -> Floats:
    """A row for each distinct leaf: what :class:`Score` is made of, in its order; (u, 6)."""
    leaves, at = alike.integrals.leaves, np.array([mu])
    if tau == 0:
        slope, information = (part[:, 0] for part in leaves.slope_and_information(at))
        value, nothing = leaves.log_likelihood(at)[:, 0], np.zeros(len(slope))
        by_variance = (slope**2 - information) / 2
        return np.stack([value, slope, information, by_variance, nothing, nothing], axis=1)
    log_integrals = alike.integrals.log_integrals(at, np.array([tau]))
    first, second, third, fourth = _moments(alike, mu, tau, log_integrals)
    square = second + first**2
    of_both = third + 2 * first * second
    of_square = fourth - second**2 + 4 * first * third + 4 * first**2 * second
    columns = [
        log_integrals[:, 0],
        first / tau,
        (1 - second) / tau**2,
        (square - 1) / (2 * tau**2),
        (of_both - 2 * first) / tau,
        2 * square - of_square,
    ]
    return np.stack(columns, axis=1)


def _moments(alike: Alike, mu: float, tau: float, log_integrals: Floats) -> Floats:
    """Mean of z, and its second to fourth central moments, of each distinct leaf; (4, u)."""
    one = np.ones((1, 1))
    parts = list(alike.integrals.masses(np.array([mu]), np.array([tau]), one, log_integrals))
    total, mean = np.zeros((2, len(log_integrals)))
    for part in parts:
        z = np.broadcast_to((part.theta - mu) / tau, part.mass[0].shape)
        np.add.at(total, part.groups, part.mass[0].sum(axis=1))
        np.add.at(mean, part.groups, (part.mass[0] * z).sum(axis=1))
    mean /= total
    central = np.zeros((3, len(mean)))
    for part in parts:
        away = (part.theta - mu) / tau - mean[part.groups, None]
        terms = part.mass[0] * away
        for row in central:
            terms *= away  # a power of its own would take many times longer
            np.add.at(row, part.groups, terms.sum(axis=1))
    return np.vstack([mean, central / total])

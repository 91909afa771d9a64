"""Points of one lattice over τ and few coefficients, around the modes given τ.

At each τ the coefficients are ``γ = γ̂ + U·3 sinh(t/3)``: then t is about standard normal, and tails
that fall exponentially fall doubly so.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np

from hiermodels.core.arrays import Floats
from hiermodels.exact.glmm.draws import log_densities
from hiermodels.exact.glmm.points import WeightedPoints, moments_at
from hiermodels.exact.glmm.proposals import Proposals
from hiermodels.exact.precision import both_weights, errors_of_values
from hiermodels.numerics import lattice
from hiermodels.numerics.lattice import Lattice, LogWeight, ModesAndScale
from hiermodels.numerics.modes import find_modes

LARGEST = 5  # dimensions, of τ and the coefficients
SPACING = {1: 0.3, 2: 0.5, 3: 0.6, 4: 0.75, 5: 0.8}
MOST_POINTS = 22  # along τ, from its mode
DROP = 20.0  # the lattice ends where the density is exp(−20) of its largest
LIGHTEST = 1e-10  # weight of a point that counts, of the heaviest
LINEAR = 3.0  # t, up to which the sinh is about straight


@dataclass(frozen=True, eq=False)
class LatticePoints(WeightedPoints):
    """Those of a lattice that count."""

    @staticmethod
    def can_hold(proposals: Proposals) -> bool:
        """Whether there are few dimensions, and few points along that of τ, down to 0."""
        at = _Coordinates(proposals)
        if at.dimension > LARGEST:
            return False
        of_tau = proposals.lattice
        heavy = of_tau.index[of_tau.log_density > of_tau.log_density.max() - DROP]
        points = np.abs(heavy).max(initial=0) * of_tau.spacing.max(initial=0)
        return bool(points / SPACING[at.dimension] < MOST_POINTS)

    @classmethod
    def of(cls, proposals: Proposals) -> Self:
        """Lay the lattice, and look at what the groups say at its points."""
        at = _Coordinates(proposals)
        laid = lattice.grow_weighted(at.evaluate, at.scale, SPACING[at.dimension], DROP)
        kept = laid.weights > LIGHTEST * laid.weights.max()
        index, log_density = laid.index[kept], laid.log_density[kept]
        known = Lattice(laid.origin, laid.step, index, log_density, laid.spacing)
        tau, gamma, _ = at.values(known.points)
        moments = moments_at(proposals.path, tau, gamma)
        return cls(proposals.path, known, tau, known.weights, gamma, *moments)

    def errors(self, values: Floats) -> Floats:
        """What the means of values (m, n) differ by over every second point; (m,)."""
        whole, half = (values @ weights for weights in both_weights(self.lattice))
        return np.abs(half - whole)

    @cached_property
    def error(self) -> float:
        """About the largest error of a mean or an sd of τ and γ, in posterior sds."""
        values = np.column_stack([self.lattice.points, self.tau, self.gamma])
        free = np.ptp(values, axis=0) > 0
        return float(errors_of_values(values[:, free], self.lattice).max(initial=0.0))

    @property
    def is_random(self) -> bool:
        """None of them is."""
        return False

    @property
    def how(self) -> str:
        """What the points are, in words."""
        return (
            f"{len(self.tau):,} points of a lattice over tau and the coefficients; wider ones "
            f"tell the precision"
        )


@dataclass(frozen=True, eq=False)
class _Coordinates:
    """That of τ, unless it is fixed, and t."""

    proposals: Proposals

    @property
    def n_sds(self) -> int:
        """1, or 0 where τ is fixed."""
        return int(self.proposals.axis is not None)

    @property
    def dimension(self) -> int:
        """Number of coordinates, d."""
        return self.n_sds + self.proposals.path.gamma.shape[1]

    def values(self, points: Floats) -> tuple[Floats, Floats, Floats]:
        """τ (n,), γ (n, p) and ``log|dγ/dt|`` (n,) at points (n, d)."""
        path = self.proposals.path
        tau = self.proposals.tau_of(points[:, : self.n_sds])
        weights, t = path.weights(tau), points[:, self.n_sds :]
        factor = path.factors(weights)
        away = (factor @ (LINEAR * np.sinh(t / LINEAR))[..., None])[..., 0]
        volume = np.log(np.diagonal(factor, axis1=1, axis2=2)).sum(axis=1)
        stretched = np.log(np.cosh(t / LINEAR)).sum(axis=1)
        return tau, weights @ path.gamma + away, volume + stretched

    def log_density(self, points: Floats) -> Floats:
        """Of points (n, d); (n,)."""
        path = self.proposals.path
        tau, gamma, log_jacobian = self.values(points)
        prior = self.proposals.log_prior(points[:, : self.n_sds])
        result = np.full(len(points), -np.inf)
        some = np.isfinite(prior)
        own = log_densities(path, tau[some], gamma[some], path.weights(tau[some]))
        result[some] = prior[some] + own + log_jacobian[some]
        return result

    def evaluate(self, points: Floats) -> tuple[Floats, LogWeight]:
        """The same, and a weight of 1."""
        return self.log_density(points), lambda some: np.zeros(int(some.sum()))

    @property
    def scale(self) -> ModesAndScale:
        """Where the posterior lies, from the law of τ and standard normal t."""
        of_tau, d = self.proposals.lattice, self.dimension
        start = np.zeros((1, d))
        if self.n_sds:
            start[0, 0] = of_tau.points[np.argmax(of_tau.log_density), 0]
        return find_modes(self.log_density, start)

"""The posterior of τ, κ and λ at single points, without tables.

    log p(y, τ, κ, λ) = log prior + Σ_s log ∫ exp(F_s(μ)) N(μ | λ, κ²) dμ,

by the trapezoid rule in μ at places of each point, as near to each other as the integrand may be
narrow and as far from λ as it is not negligible.  Tables serve many points with the same τ; where
each has its own, as draws have, and the density is not smooth enough to be interpolated between the
points of a lattice, this takes far fewer integrals.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hiermodels.core.arrays import LOG_2PI, Flags, Floats, Indices
from hiermodels.core.blas import one_blas_thread
from hiermodels.errors import PrecisionError
from hiermodels.exact.leaves.nested.marginal import NestedMarginal

STEP = 0.4  # sds of the integrand
SHARPEST = 2.0  # curvature of a leaf, of its information, at the most
REACH = 9.0  # κ from λ, to begin with
DROP = 32.0  # of the log integrand, where it is negligible
MAX_DOUBLINGS = 12
MAX_NUMBERS = 1 << 20  # integrals that are held at a time


@dataclass(frozen=True, eq=False)
class DirectDensity:
    """The log density of a posterior without covariates, as a function of points (n, d)."""

    marginal: NestedMarginal

    @one_blas_thread()
    def __call__(self, points: Floats) -> Floats:
        """Log density at points; (n,)."""
        log_density, sds, gamma = self.marginal.coordinates.log_prior(points)
        log_density += self.marginal.model.constant
        lam, (kappa, tau) = self.marginal.mean_of(gamma), sds.T
        steps, k = self._steps(kappa, tau), len(self.marginal.kinds.leaves)
        reach, left = REACH, np.arange(len(points))
        for _ in range(MAX_DOUBLINGS):
            size, done = np.ceil(2 * reach * steps[left]) + 1, np.zeros(len(left), dtype=bool)
            for some in _parts(size, k):
                at, z = left[some], np.linspace(-reach, reach, int(size[some].max()))
                own, done[some] = self._log_integrals(lam[at], kappa[at], tau[at], z)
                log_density[at] += np.where(done[some], own, 0.0)
            left, reach = left[~done], 2 * reach
            if not len(left):
                return log_density
        raise PrecisionError(
            f"effects of outer groups reach more than {reach / 2:g} kappa from their mean at "
            f"{len(left):,} draws: they cannot be drawn. Use engine='nuts'"
        )

    def _log_integrals(
        self, lam: Floats, kappa: Floats, tau: Floats, z: Floats
    ) -> tuple[Floats, Flags]:
        """Sums of log integrals at points (n,) with places ``λ + κz``, and whether these do."""
        kinds, mu = self.marginal.kinds, lam[:, None] + kappa[:, None] * z
        own = kinds.small_integrals(mu.ravel(), np.repeat(tau, len(z)))
        terms = kinds.sums(own).reshape(len(kinds), *mu.shape) - 0.5 * z**2
        reaches = (terms[..., [0, -1]].max(axis=2) < terms.max(axis=2) - DROP).all(axis=0)
        log_weight = np.log(z[1] - z[0]) - 0.5 * LOG_2PI
        own = np.logaddexp.reduce(terms, axis=2) + log_weight
        return kinds.multiplicity @ own, reaches

    def _steps(self, kappa: Floats, tau: Floats) -> Floats:
        """Places for each κ that serve the integrands of all kinds at points (n,); (n,)."""
        kinds, leaves = self.marginal.kinds, self.marginal.kinds.leaves
        narrow = tau**2 + 1 / (SHARPEST * leaves.information[:, None])
        curvature = kinds.sums(1 / narrow).max(axis=0)
        smooth = np.hypot(leaves.step.min(), tau / 2)
        return np.asarray(np.maximum(np.sqrt(1 + kappa**2 * curvature) / STEP, kappa / smooth))


def _parts(size: Floats, k: int) -> list[Indices]:
    """Points (n,) by how many places they have, as many at a time as can be held."""
    order = np.argsort(size, kind="stable")
    total = np.cumsum(size[order]) * k // MAX_NUMBERS
    return np.split(order, np.flatnonzero(np.diff(total)) + 1)

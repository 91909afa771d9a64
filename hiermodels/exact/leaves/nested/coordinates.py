"""Coordinates of τ, κ and λ in which the posterior suits a lattice.

The first two are those of one sd each (:mod:`hiermodels.exact.sd_axis`), τ before κ, so that points
with the same τ are lines of the lattice.  With the inner leaves' centres c_i and variances v_i for
data an outer group s has, given τ,

    w_i = 1/(τ² + v_i),    W_s = Σ_{i in s} w_i,    c_s = Σ_{i in s} w_i c_i / W_s,

and given κ too λ is nearly ``N(b, c²)`` with

    c⁻² = Σ_s 1/(κ² + 1/W_s) + P,    c⁻² b = Σ_s c_s/(κ² + 1/W_s) + P m,

m and P being its prior's.  It is taken as ``b + c·3 sinh(t/3)``, as with two levels.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from hiermodels.core.arrays import Flags, Floats
from hiermodels.exact.leaves.coordinates import MAX_NUMBERS, Whitening
from hiermodels.exact.leaves.nested.model import NestedModel
from hiermodels.exact.sd_axis import SdAxis

BEYOND = 4.0  # of a log variance, beyond where the data speak


@dataclass(frozen=True, eq=False)
class NestedCoordinates:
    """Points (n, d): the coordinates of τ and of κ, unless they are fixed, and t of λ."""

    model: NestedModel

    @property
    def n_sds(self) -> int:
        """Number of coordinates before t."""
        return sum(fixed is None for fixed in self.model.fixed_sds)

    @property
    def dimension(self) -> int:
        """Number of coordinates, d."""
        return self.n_sds + len(self.model.mean)

    @cached_property
    def sd_axes(self) -> tuple[tuple[int, SdAxis] | None, tuple[int, SdAxis] | None]:
        """Which coordinates are those of κ and of τ, and their axes; None where one is fixed."""
        outer, inner = self.model.fixed_sds
        kappa, tau = self.all_sd_axes
        return (
            (int(inner is None), kappa) if outer is None else None,
            (0, tau) if inner is None else None,
        )

    @cached_property
    def all_sd_axes(self) -> tuple[SdAxis, SdAxis]:
        """Of κ and τ: the data speak of the variances between what one would see, and see."""
        model, some = self.model, self._informative
        variance, centre, parent = self._variance, model.leaves.centre[some], model.parent[some]
        weight, outer_centre = self._outer(np.zeros(1))
        within = float(np.mean((centre - outer_centre[0][parent]) ** 2))
        tau = SdAxis(model.prior, 1.0, _informed(variance, within))
        weight, outer_centre = self._outer(np.sqrt([within]))
        seen = weight[0] > 0
        middle = np.average(outer_centre[0][seen], weights=weight[0][seen])
        between = float(np.mean((outer_centre[0][seen] - middle) ** 2))
        return SdAxis(model.outer_prior, 1.0, _informed(1 / weight[0][seen], between)), tau

    @cached_property
    def _informative(self) -> Flags:
        """Which groups' leaves are not constant, or all if all are; (k,)."""
        leaves = self.model.leaves
        some = leaves.falls_below | leaves.falls_above
        return some if some.any() else np.ones(len(leaves), dtype=bool)

    @cached_property
    def _variance(self) -> Floats:
        """About the variances of the informative leaves."""
        return 1 / self.model.leaves.information[self._informative]

    def _outer(self, tau: Floats) -> tuple[Floats, Floats]:
        """W_s and c_s of all outer groups at values of τ (R,), 0 where there are none; (R, S)."""
        model, some = self.model, self._informative
        parent, centre, size = model.parent[some], model.leaves.centre[some], model.n_outer
        weight, first = np.empty((2, len(tau), size))
        for row, value in enumerate(tau):
            own = 1 / (value**2 + self._variance)
            weight[row] = np.bincount(parent, own, size)
            first[row] = np.bincount(parent, own * centre, size)
        return weight, first / np.where(weight > 0, weight, 1.0)

    def sds(self, points: Floats) -> Floats:
        """Values of κ and τ at points (n, d); (n, 2)."""
        columns = [
            np.full(len(points), fixed) if free is None else self._sd(free, points)
            for free, fixed in zip(self.sd_axes, self.model.fixed_sds, strict=True)
        ]
        return np.stack(columns, axis=1)

    @staticmethod
    def _sd(free: tuple[int, SdAxis], points: Floats) -> Floats:
        number, axis = free
        return np.exp(axis.log_sd(points[:, number]))

    def gamma(self, points: Floats) -> Floats:
        """Coefficients at points (n, d); (n, p)."""
        return self.whitening(self.sds(points)).gamma(points[:, self.n_sds :])

    def whitening(self, sds: Floats) -> Whitening:
        """The coordinates of λ at values of κ and τ (J, 2), once for each distinct pair."""
        pairs, inverse = np.unique(sds, axis=0, return_inverse=True)
        own, inverse = self._whitening(pairs), inverse.ravel()
        return Whitening(own.b[inverse], own.c[inverse])

    def _whitening(self, sds: Floats) -> Whitening:
        model = self.model
        if not model.has_intercept:
            return Whitening(np.zeros((len(sds), 0)), np.zeros((len(sds), 0, 0)))
        precision, mean = np.empty((2, len(sds)))
        distinct, line = np.unique(sds[:, 1], return_inverse=True)
        weight, centre = self._outer(distinct)
        step = max(1, MAX_NUMBERS // weight.shape[1])
        for some in (slice(first, first + step) for first in range(0, len(sds), step)):
            own = weight[line[some]]
            share = own / (1 + sds[some, :1] ** 2 * own)
            precision[some] = share.sum(axis=1) + model.precision[0]
            mean[some] = (share * centre[line[some]]).sum(axis=1)
        b = (mean + model.precision[0] * model.mean[0]) / precision
        return Whitening(b[:, None], (precision**-0.5)[:, None, None])

    def log_prior(self, points: Floats) -> tuple[Floats, Floats, Floats]:
        """Log prior density of the coordinates (n,), with sds (n, 2) and γ (n, p) there."""
        log_prior = np.zeros(len(points))
        for free in self.sd_axes:
            if free is not None:
                number, axis = free
                log_sd = axis.log_sd(points[:, number])
                log_prior += axis.log_prior(log_sd) + axis.log_slope(points[:, number])
        sds, t = self.sds(points), points[:, self.n_sds :]
        whitening = self.whitening(sds)
        gamma = whitening.gamma(t)
        return log_prior + self.model.log_prior(gamma) + whitening.log_jacobian(t), sds, gamma


def _informed(variance: Floats, between: float) -> tuple[float, float]:
    """Log variances between which data of some variances speak, that differ by ``between``."""
    middle = float(np.median(variance))
    low = np.log(middle) - 0.5 * np.log(max(1, len(variance))) - BEYOND
    return float(low), float(np.log(max(between, middle)) + BEYOND)

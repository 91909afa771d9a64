"""Coordinates of τ and γ in which the posterior suits a lattice.

The first is that of one sd (:mod:`hiermodels.exact.sd_axis`).  Given τ the coefficients are nearly

    γ | τ ~ N(b, C C'),    (C C')⁻¹ = X'WX + P,    C C' (X'Wc + Pm) = b,    W = diag 1/(τ² + v_i),

with the leaves' centres c and variances v for data, and the prior's mean m and precision P.  They
are taken as ``γ = b + C·3 sinh(t/3)``: what would widen as τ grows is a strip in t, and tails that
fall exponentially, as those of few counts, fall doubly so.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from hiermodels.core.arrays import Floats
from hiermodels.exact.leaves.model import LeafModel
from hiermodels.exact.sd_axis import SdAxis

MAX_NUMBERS = 1 << 20  # that are held at a time
LINEAR = 3.0  # t, up to which the sinh is about straight


@dataclass(frozen=True)
class Whitening:
    """``γ = b + C·3 sinh(t/3)`` at J values of τ.

    Attributes
    ----------
    b : (J, p)
    c : (J, p, p)
        Lower triangular.
    """

    b: Floats
    c: Floats

    def gamma(self, t: Floats) -> Floats:
        """Coefficients at t; both (J, p)."""
        return self.b + (self.c @ (LINEAR * np.sinh(t / LINEAR))[..., None])[..., 0]

    def log_jacobian(self, t: Floats) -> Floats:
        """``log |dγ/dt|``; (J,)."""
        stretched = np.log(np.cosh(t / LINEAR)).sum(axis=1)
        return np.log(np.diagonal(self.c, axis1=1, axis2=2)).sum(axis=1) + stretched


@dataclass(frozen=True, eq=False)
class Coordinates:
    """Points (n, d): the coordinate of τ, unless it is fixed, and t of each coefficient."""

    model: LeafModel

    @cached_property
    def n_sds(self) -> int:
        """Number of coordinates before t: 1, or 0 where τ is fixed."""
        return int(self.model.fixed_sd is None)

    @property
    def dimension(self) -> int:
        """Number of coordinates, d."""
        return self.n_sds + len(self.model.mean)

    @cached_property
    def axis(self) -> SdAxis:
        """The coordinate of τ."""
        leaves = self.model.leaves
        some = self.model.is_informative > 0 if self.model.is_informative.any() else slice(None)
        variance = float(np.median(1 / leaves.information[some]))
        k = max(1, len(leaves.centre[some]))
        low = np.log(variance) - 0.5 * np.log(k) - 4
        high = np.log(max(self._between, variance)) + 4
        return SdAxis(self.model.prior, 1.0, (float(low), float(high)))

    @property
    def sd_axes(self) -> tuple[tuple[int, SdAxis] | None]:
        """Which coordinate is that of τ, and its axis; None if τ is fixed."""
        return ((0, self.axis) if self.n_sds else None,)

    @property
    def typical_sd(self) -> float:
        """About as large as τ and the leaves' sds together."""
        leaves = self.model.leaves
        return float(np.sqrt(max(self._between, float(np.median(1 / leaves.information)))))

    @property
    def _between(self) -> float:
        """Mean square of the leaves' centres around their regression on the covariates."""
        model = self.model
        at = self.whitening(np.zeros(1)).b[0]
        weight = model.is_informative
        residual = model.leaves.centre - model.x @ at
        return float(weight @ residual**2 / max(weight.sum(), 1.0))

    def tau(self, points: Floats) -> Floats:
        """Values of τ at points (n, d); (n,)."""
        if self.model.fixed_sd is not None:
            return np.full(len(points), self.model.fixed_sd)
        return np.exp(self.axis.log_sd(points[:, 0]))

    def sds(self, points: Floats) -> Floats:
        """The same as a column; (n, 1)."""
        return self.tau(points)[:, None]

    def gamma(self, points: Floats) -> Floats:
        """Coefficients at points (n, d); (n, p)."""
        return self.whitening(self.tau(points)).gamma(points[:, self.n_sds :])

    def whitening(self, tau: Floats) -> Whitening:
        """The coordinates of γ at values of τ (J,), computed once for each distinct one."""
        distinct, inverse = np.unique(tau, return_inverse=True)
        own = self._whitening(distinct)
        return Whitening(own.b[inverse], own.c[inverse])

    def _whitening(self, tau: Floats) -> Whitening:
        model, p = self.model, len(self.model.mean)
        variance, sums = self._by_variance
        totals, size = np.empty((len(tau), p * p + p)), max(1, MAX_NUMBERS // (1 + len(variance)))
        for some in (slice(first, first + size) for first in range(0, len(tau), size)):
            totals[some] = 1 / (tau[some, None] ** 2 + variance) @ sums
        left, right = np.split(totals, [p * p], axis=1)
        covariance = np.linalg.inv(left.reshape(len(tau), p, p) + np.diag(model.precision))
        b = covariance @ (right + model.precision * model.mean)[..., None]
        return Whitening(b[..., 0], np.linalg.cholesky(covariance))

    @cached_property
    def _by_variance(self) -> tuple[Floats, Floats]:
        """Variances that differ (v,), and over the leaves of each the sums of xx' and of xc."""
        model, p = self.model, len(self.model.mean)
        some = np.flatnonzero(model.is_informative)
        x, centre = model.x[some], model.leaves.centre[some, None]
        rows = np.hstack([(x[:, :, None] * x[:, None, :]).reshape(len(x), p * p), x * centre])
        variance, of_row = np.unique(1 / model.leaves.information[some], return_inverse=True)
        order = np.argsort(of_row, kind="stable")
        first = np.searchsorted(of_row[order], np.arange(len(variance)))
        return variance, np.add.reduceat(rows[order], first, axis=0)

    def log_prior(self, points: Floats) -> tuple[Floats, Floats, Floats]:
        """Log prior density of the coordinates (n,), with τ (n,) and γ (n, p) there."""
        log_prior = np.zeros(len(points))
        if self.n_sds:
            log_tau = self.axis.log_sd(points[:, 0])
            log_prior += self.axis.log_prior(log_tau) + self.axis.log_slope(points[:, 0])
        tau, t = self.tau(points), points[:, self.n_sds :]
        whitening = self.whitening(tau)
        gamma = whitening.gamma(t)
        return log_prior + self.model.log_prior(gamma) + whitening.log_jacobian(t), tau, gamma

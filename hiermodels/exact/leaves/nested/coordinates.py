"""Coordinates of τ, β, κ and λ in which the posterior suits a lattice.

Those of τ and κ are those of one sd each (:mod:`hiermodels.exact.sd_axis`).  With the inner leaves'
centres c_i and variances v_i for data an outer group s has, given τ,

    w_i = 1/(τ² + v_i),    W_s = Σ_{i in s} w_i,
    c_s = Σ_{i in s} w_i c_i / W_s,    x_s = Σ_{i in s} w_i x_i / W_s,

and given κ and β too λ is nearly ``N(b, c²)`` with

    c⁻² = Σ_s 1/(κ² + 1/W_s) + P,    c⁻² b = Σ_s (c_s − x_s'β)/(κ² + 1/W_s) + P m,

m and P being its prior's.  It is taken as ``b + c·3 sinh(t/3)``, as with two levels.  So are the
coefficients β, with the mean and covariance of generalised least squares at one typical κ: they
depend on τ alone, and points with the same τ and β are lines of the lattice.  The order is τ, β, κ,
λ.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from hiermodels.core.arrays import Flags, Floats, Indices
from hiermodels.exact.leaves.coordinates import LINEAR, MAX_NUMBERS, Whitening
from hiermodels.exact.leaves.nested.model import NestedModel
from hiermodels.exact.sd_axis import SdAxis

BEYOND = 4.0  # of a log variance, beyond where the data speak


@dataclass(frozen=True)
class NestedWhitening(Whitening):
    """The same of (λ, β), from coordinates of β and λ, in this order.

    C's rows are those of λ, where there is an intercept, and β; its columns those of the
    coordinates.
    """

    has_intercept: bool = True

    def log_jacobian(self, t: Floats) -> Floats:
        """``log |dγ/dt|``; (J,)."""
        stretched = np.log(np.cosh(t / LINEAR)).sum(axis=1)
        turned = np.roll(self.c, -1, axis=1) if self.has_intercept else self.c
        return np.log(np.diagonal(turned, axis1=1, axis2=2)).sum(axis=1) + stretched


@dataclass(frozen=True, eq=False)
class NestedCoordinates:
    """Points (n, d): coordinates of τ, of β, of κ, and of λ; none of an sd that is fixed."""

    model: NestedModel

    @property
    def dimension(self) -> int:
        """Number of coordinates, d."""
        return sum(fixed is None for fixed in self.model.fixed_sds) + len(self.model.mean)

    @cached_property
    def sd_axes(self) -> tuple[tuple[int, SdAxis] | None, tuple[int, SdAxis] | None]:
        """Which coordinates are those of κ and of τ, and their axes; None where one is fixed."""
        outer, inner = self.model.fixed_sds
        kappa, tau = self.all_sd_axes
        first = int(inner is None)
        return (
            (first + self.model.n_slopes, kappa) if outer is None else None,
            (0, tau) if inner is None else None,
        )

    @cached_property
    def axes(self) -> list[SdAxis | None]:
        """Of all coordinates; None of those that are not of an sd."""
        axes: list[SdAxis | None] = [None] * self.dimension
        for free in self.sd_axes:
            if free is not None:
                axes[free[0]] = free[1]
        return axes

    @cached_property
    def of_coefficients(self) -> Indices:
        """Which coordinates are those of β and λ; (p,)."""
        return np.flatnonzero([axis is None for axis in self.axes])

    @cached_property
    def all_sd_axes(self) -> tuple[SdAxis, SdAxis]:
        """Of κ and τ: the data speak of the variances between what one would see, and see."""
        model = self.model
        within, between, seen = self._scatter
        tau = SdAxis(model.prior, 1.0, _informed(self._variance, within))
        return SdAxis(model.outer_prior, 1.0, _informed(seen, between)), tau

    @cached_property
    def _scatter(self) -> tuple[float, float, Floats]:
        """Mean squares of centres in outer groups, and of these; variances of the latter (S',).

        With covariates around a regression, which weighs by the scatter without them.
        """
        centre = self._centre
        scatter = self._scatter_of(centre)
        if not self.model.n_slopes:
            return scatter
        tau, kappa = np.sqrt(scatter[0]), np.sqrt(scatter[1])
        slopes, _ = self._regression(float(tau), float(kappa))
        return self._scatter_of(centre - self._x @ slopes)

    def _scatter_of(self, centre: Floats) -> tuple[float, float, Floats]:
        """The same, around outer groups' means and their mean, of centres (k',)."""
        parent = self.model.parent[self._informative]
        weight, first = self._outer(np.zeros(1), centre)
        within = float(np.mean((centre - first[0][parent]) ** 2))
        weight, first = self._outer(np.sqrt([within]), centre)
        seen = weight[0] > 0
        middle = np.average(first[0][seen], weights=weight[0][seen])
        between = float(np.mean((first[0][seen] - middle) ** 2))
        return within, between, 1 / weight[0][seen]

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

    @cached_property
    def _centre(self) -> Floats:
        return self.model.leaves.centre[self._informative]

    @cached_property
    def _x(self) -> Floats:
        """Covariates of the informative leaves; (k', q)."""
        return self.model.slopes_x[self._informative]

    def _outer(self, tau: Floats, values: Floats) -> tuple[Floats, Floats]:
        """W_s of all outer groups at values of τ (R,), and means of values (k',); (R, S) each.

        Both are 0 where an outer group has no informative leaf.
        """
        model = self.model
        parent, size = model.parent[self._informative], model.n_outer
        weight, first = np.empty((2, len(tau), size))
        for row, value in enumerate(tau):
            own = 1 / (value**2 + self._variance)
            weight[row] = np.bincount(parent, own, size)
            first[row] = np.bincount(parent, own * values, size)
        return weight, first / np.where(weight > 0, weight, 1.0)

    def _regression(self, tau: float, kappa: float) -> tuple[Floats, Floats]:
        """Mean (q,) and covariance (q, q) of β by generalised least squares, with its prior.

        An outer group's centres have the covariance ``diag(1/w_i) + κ²``, whose inverse is
        ``diag(w_i) − w w' κ²/(1 + κ² W_s)``.
        """
        model = self.model
        parent, size = model.parent[self._informative], model.n_outer
        weight = 1 / (tau**2 + self._variance)
        columns = np.column_stack([model.x[self._informative], self._centre])
        sums = np.stack([np.bincount(parent, weight * own, size) for own in columns.T])
        total = np.bincount(parent, weight, size)
        moments = (columns.T * weight) @ columns
        moments -= sums * (kappa**2 / (1 + kappa**2 * total)) @ sums.T
        covariance = np.linalg.inv(moments[:-1, :-1] + np.diag(model.precision))
        gamma = covariance @ (moments[:-1, -1] + model.precision * model.mean)
        slopes = slice(int(model.has_intercept), None)
        return gamma[slopes], covariance[slopes, slopes]

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
        return self.whitening(self.sds(points)).gamma(points[:, self.of_coefficients])

    def whitening(self, sds: Floats) -> NestedWhitening:
        """The coordinates of λ and β at values of κ and τ (J, 2), once for each distinct pair."""
        pairs, inverse = np.unique(sds, axis=0, return_inverse=True)
        own, inverse = self._whitening(pairs), inverse.ravel()
        return NestedWhitening(own.b[inverse], own.c[inverse], self.model.has_intercept)

    def _whitening(self, sds: Floats) -> Whitening:
        model, q = self.model, self.model.n_slopes
        distinct, line = np.unique(sds[:, 1], return_inverse=True)
        b, c = self._slopes(distinct)
        b, c = b[line], c[line]
        if not model.has_intercept:
            return Whitening(b, c)
        weight, centre = self._outer(distinct, self._centre)
        precision, sums = np.empty((2, len(sds)))
        along = np.empty((len(sds), q))
        means = [self._outer(distinct, own)[1] for own in self._x.T]
        step = max(1, MAX_NUMBERS // weight.shape[1])
        for some in (slice(first, first + step) for first in range(0, len(sds), step)):
            own = weight[line[some]]
            share = own / (1 + sds[some, :1] ** 2 * own)
            precision[some] = share.sum(axis=1) + model.precision[0]
            sums[some] = (share * centre[line[some]]).sum(axis=1)
            for column, mean in zip(along[some].T, means, strict=True):
                column[:] = (share * mean[line[some]]).sum(axis=1)
        along /= -precision[:, None]
        top = (sums + model.precision[0] * model.mean[0]) / precision
        whole = np.zeros((len(sds), 1 + q, 1 + q))
        whole[:, 0, q] = precision**-0.5
        whole[:, 0, :q] = (along[:, None] @ c)[:, 0]
        whole[:, 1:, :q] = c
        return Whitening(np.column_stack([top + (along * b).sum(axis=1), b]), whole)

    def _slopes(self, tau: Floats) -> tuple[Floats, Floats]:
        """The mean b (R, q) and C (R, q, q) of β at values of τ (R,)."""
        q = self.model.n_slopes
        b, c = np.zeros((len(tau), q)), np.zeros((len(tau), q, q))
        if q:
            fixed = self.model.fixed_sds[0]
            kappa = float(np.sqrt(self._scatter[1])) if fixed is None else fixed
            for row, value in enumerate(tau):
                b[row], covariance = self._regression(float(value), kappa)
                c[row] = np.linalg.cholesky(covariance)
        return b, c

    def log_prior(self, points: Floats) -> tuple[Floats, Floats, Floats]:
        """Log prior density of the coordinates (n,), with sds (n, 2) and γ (n, p) there."""
        log_prior = np.zeros(len(points))
        for free in self.sd_axes:
            if free is not None:
                number, axis = free
                log_sd = axis.log_sd(points[:, number])
                log_prior += axis.log_prior(log_sd) + axis.log_slope(points[:, number])
        sds, t = self.sds(points), points[:, self.of_coefficients]
        whitening = self.whitening(sds)
        gamma = whitening.gamma(t)
        return log_prior + self.model.log_prior(gamma) + whitening.log_jacobian(t), sds, gamma


def _informed(variance: Floats, between: float) -> tuple[float, float]:
    """Log variances between which data of some variances speak, that differ by ``between``."""
    middle = float(np.median(variance))
    low = np.log(middle) - 0.5 * np.log(max(1, len(variance))) - BEYOND
    return float(low), float(np.log(max(between, middle)) + BEYOND)

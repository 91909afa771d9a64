"""What weighted points say of τ, of coefficients, of effects, and of linear predictors."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from hiermodels.core.arrays import Floats, Indices
from hiermodels.exact.glmm.integrals import rows_left_out
from hiermodels.exact.glmm.normal_kernels import NormalKernels, kernel_width
from hiermodels.exact.glmm.points import WeightedPoints
from hiermodels.exact.kernels.leaves.grid import ThetaGrid
from hiermodels.exact.leaves.effect_law import EffectLaws
from hiermodels.exact.leaves.laws import LeafLaws, OfRows
from hiermodels.exact.leaves.model import LeafModel
from hiermodels.exact.leaves.on_lattice import SdsOnLattice
from hiermodels.exact.sd_axis import SdAxis
from hiermodels.families.leaves import Leaves
from hiermodels.numerics.lattice import Lattice

EVEN = 8.0  # sds of an effect, over which a grid is even
LINES = 9.0  # sds of the points' own distributions, to which it reaches
RESOLVED = 0.4  # widths of the narrowest component, between two places
LIGHTEST = 1e-9  # weight of a point that counts in a grid, of the heaviest
LIGHTEST_FOR_ROWS = 1e-6  # the same where rows are left out, which takes longer
MAX_NUMBERS = 1 << 20  # of rows, points and places that are worked on at a time
HERMITE = 40  # places of Gauss's rule for a new group


@dataclass(frozen=True)
class SdsOfPoints:
    """What a model of one column of groups asks of its coordinates.

    Attributes
    ----------
    axis : SdAxis, optional
        Of τ; None where it is fixed.
    fixed : float, optional
        Its value, where it is.
    coefficients : (n, p)
        At the points, which are the only ones at which they are known.
    """

    axis: SdAxis | None
    fixed: float | None
    coefficients: Floats

    @property
    def dimension(self) -> int:
        """1, or 0 where τ is fixed."""
        return int(self.axis is not None)

    @property
    def sd_axes(self) -> tuple[tuple[int, SdAxis] | None, ...]:
        """Which coordinate is that of τ, and its axis; None if τ is fixed."""
        return (None if self.axis is None else (0, self.axis),)

    def sds(self, points: Floats) -> Floats:
        """Values of τ at points (n, d); (n, 1)."""
        if self.axis is None:
            return np.full((len(points), 1), self.fixed)
        return np.exp(self.axis.log_sd(points[:, 0]))[:, None]

    def gamma(self, points: Floats) -> Floats:
        """Coefficients at the points; (n, p)."""
        del points
        return self.coefficients


@dataclass(frozen=True, eq=False)
class GlmmSums(SdsOnLattice):
    """Weighted points: along τ a lattice.

    Attributes
    ----------
    points : WeightedPoints
    groups : LeafModel
        Of the groups as if each had the mean of its rows' covariates: its priors, and which moments
        exist.
    basis : (p, p)
        From the points' coordinates to the coefficients.
    axis : SdAxis, optional
    constant : float
        Logs of what the rows' densities have beside ``exp(v_i)``, summed.
    """

    points: WeightedPoints
    groups: LeafModel
    basis: Floats
    axis: SdAxis | None
    constant: float

    @property
    def lattice(self) -> Lattice:  # type: ignore[override]
        """Over τ."""
        return self.points.lattice

    @property
    def model(self) -> LeafModel:
        """What is assumed of the groups."""
        return self.groups

    @property
    def coordinates(self) -> SdsOfPoints:
        """That of τ."""
        return SdsOfPoints(self.axis, self.groups.fixed_sd, self.coefficients)

    @property
    def certificate(self) -> float:
        """Twice the largest standard error of a mean or an sd, in posterior sds."""
        return self.points.error

    @property
    def log_integral(self) -> float:
        """Log marginal likelihood, with all constants."""
        return self.lattice.log_integral + self.constant

    @cached_property
    def coefficients(self) -> Floats:
        """Coefficients γ at the points; (n, p)."""
        return self.points.gamma @ self.basis.T

    def linear_moments(self, x: Floats) -> tuple[Floats, Floats]:
        """Means and sds of linear predictors ``x'γ`` at rows (m, p); (m,) each."""
        values = x @ self.coefficients.T
        mean = self.points.means(values)
        sd = np.sqrt(self.points.means((values - mean[:, None]) ** 2))
        lacks = [~self.groups.coefficient_moments_exist(order) for order in (1, 2)]
        exist = [~((x != 0) & lack).any(axis=1) for lack in lacks]
        return np.where(exist[0], mean, np.nan), np.where(exist[1], sd, np.nan)


@dataclass(frozen=True, eq=False)
class GlmmLaws(LeafLaws):
    """Sums over weighted points."""

    posterior: GlmmSums

    @property
    def _points(self) -> WeightedPoints:
        return self.posterior.points

    def share_quantiles(self, levels: list[int], rest: float, probabilities: Floats) -> Floats:
        """Quantiles of ``τ²/(τ² + rest)``, which rises with τ."""
        variance = self.posterior.sd_quantiles(0, probabilities) ** 2
        return variance / (variance + rest) if levels else np.zeros(len(probabilities))

    def linear(self, x: Floats) -> NormalKernels:
        """The distribution of ``x'γ``, for (p,)."""
        values = self.posterior.coefficients @ x
        return NormalKernels.of(self._points.weight, values, np.zeros(1))

    def effect_moments(self, level: int, x: Floats | None = None) -> tuple[Floats, Floats]:
        """Means and sds of the effects, at the groups' mean covariates or at others (k, p)."""
        points, at = self._points, self.posterior.groups.x if x is None else x
        values = at @ self.posterior.coefficients.T + points.mean
        mean = points.means(values)
        variance = points.means(points.variance + (values - mean[:, None]) ** 2)
        return mean, np.sqrt(variance)

    def function_moments(self, function: Callable[[Floats], Floats]) -> tuple[Floats, Floats]:
        """Means and sds of a function of the effects, at the groups' mean covariates; (k,)."""
        moments = [laws.moments(function) for laws in self.effect_laws(0)]
        mean, sd = (np.concatenate(part) for part in zip(*moments, strict=True))
        return mean, sd

    def effect_laws(
        self, level: int, members: Indices | None = None, x: Floats | None = None
    ) -> Iterator[EffectLaws]:
        """Yield the law of the effect of each group, or of some; x as above, or one for all."""
        model = self.posterior.groups
        groups = np.arange(len(model.x)) if members is None else members
        at = model.x if x is None else np.broadcast_to(x, model.x.shape)
        for group in groups:
            yield self._law(int(group), at[group], int(group))

    def predictor_laws(self, level: int, members: Indices, x: Floats) -> Iterator[EffectLaws]:
        """Yield the law of each row's linear predictor, of rows of known groups."""
        for row, (group, at) in enumerate(zip(members, x, strict=True)):
            yield self._law(int(group), at, row)

    def predictor_means(self, level: int, members: Indices, x: Floats, function: OfRows) -> Floats:
        """Means of a function of the same linear predictors; (r,)."""
        laws = self.predictor_laws(level, members, x)
        return np.concatenate([own.means(function) for own in laws])

    def new_law(self, x: Floats) -> NormalKernels:
        """The linear predictor of a row of a new group, at covariates (p,)."""
        values = self.posterior.coefficients @ x
        return NormalKernels.of(self._points.weight, values, self._points.tau**2)

    def new_means(self, x: Floats, function: Callable[[Floats], Floats], order: int = 0) -> Floats:
        """Means of functions of it, from (1, Z) to (m, Z), that grow as ``e^(order·η)``; (m,).

        ``E f(η) = Σ_j w_j e^(mc_j + ½m²τ_j²) E f(η) e^(−mη)`` under ``N(c_j + mτ_j², τ_j²)``.
        """
        points, mean = self._points, self.posterior.coefficients @ x
        z, share = np.polynomial.hermite_e.hermegauss(HERMITE)
        log_weight = order * mean + 0.5 * (order * points.tau) ** 2
        eta = (mean + order * points.tau**2)[:, None] + points.tau[:, None] * z
        weight = (points.weight * np.exp(log_weight))[:, None] * share / share.sum()
        values = function(eta.reshape(1, -1)) * np.exp(-order * eta).ravel()
        return np.atleast_2d(values) @ weight.ravel()

    def exchanged(self, groups: Indices, leaves: Leaves) -> tuple[Floats, Floats]:
        """Not known: rows of a group have covariates of their own."""
        raise NotImplementedError

    def of_new_groups(self, x: Floats, leaves: Leaves) -> Floats:
        """Not needed: outcomes of new groups are taken from the law of their linear predictor."""
        raise NotImplementedError

    def leave_out(self, level: int) -> tuple[Floats, Floats]:
        """``−log E[1/m_g]`` of each group's integral m_g, and its error; (k,) each."""
        return self._inverse(-self._points.log_likelihood)

    def again(self, level: int) -> Floats:
        """``log E m_g``; (k,)."""
        return self._log_means(self._points.log_likelihood)

    def rows_left_out(self) -> tuple[Floats, Floats, Floats]:
        """The same of each row in the model's order: left out, its error, and again; (N,) each."""
        points, rows = self._points, self._points.path.model.rows
        logs = np.full((2, len(rows.y), len(points.tau)), -np.inf)
        kept = np.flatnonzero(points.weight > LIGHTEST_FOR_ROWS * points.weight.max())
        step = max(1, MAX_NUMBERS // len(rows.y))
        for start in range(0, len(kept), step):
            some = kept[start : start + step]
            tau, gamma = points.tau[some], points.gamma[some]
            middles = points.path.near_middles(gamma, points.path.weights(tau))
            logs[:, :, some] = rows_left_out(rows, rows.linear(gamma), tau, middles)
        left_out, error = self._inverse(logs[0])
        return left_out, error, self._log_means(logs[1])

    def _log_means(self, logs: Floats) -> Floats:
        """Logs of the means of exponentials (m, n); (m,)."""
        top = logs.max(axis=1)
        return top + np.log(self._points.means(np.exp(logs - top[:, None])))

    def _inverse(self, logs: Floats) -> tuple[Floats, Floats]:
        """Minus the same, and its error."""
        log_mean = self._log_means(logs)
        return -log_mean, self._points.errors(np.exp(logs - log_mean[:, None]))

    def _law(self, group: int, x: Floats, number: int) -> EffectLaws:
        """The law of the linear predictor of a group at covariates (p,).

        It is the mean of the densities given τ and γ.  Those that are narrow beside the whole are
        taken as normal ones, which are widened as in :class:`NormalKernels`.
        """
        points = self._points
        kept = points.weight > LIGHTEST * points.weight.max()
        weight = points.weight[kept] / points.weight[kept].sum()
        shift = self.posterior.coefficients[kept] @ x
        mean, variance = shift + points.mean[group, kept], points.variance[group, kept]
        middle = float(weight @ mean)
        sd = float(np.sqrt(weight @ (variance + (mean - middle) ** 2)))
        least = kernel_width(weight) * sd
        narrow = variance < least**2
        grid = _grid_of(mean, np.sqrt(np.maximum(variance, least**2)), (middle, sd), least)
        density = np.zeros(len(grid))
        if narrow.any():
            share = float(weight[narrow].sum())
            own = NormalKernels.of(weight[narrow] / share, mean[narrow], variance[narrow], least)
            density += share * own.density(grid.theta)
        if not narrow.all():
            chosen = np.flatnonzero(kept)[~narrow]
            density += self._resolved(group, chosen, (weight[~narrow], shift[~narrow]), grid.theta)
        mass = density * grid.weight
        return EffectLaws(np.array([number]), grid, (mass / mass.sum())[None])

    def _resolved(
        self, group: int, chosen: Indices, of_points: tuple[Floats, Floats], theta: Floats
    ) -> Floats:
        """Sum over points of weight times the density of ``shift + b``, at places (K,); (K,)."""
        weight, shift = of_points
        points, rows = self._points, self._points.path.model.rows
        index = (rows.first[group] + np.arange(rows.sizes[group]))[None]
        own, total = rows.take(index[0], np.zeros(1, dtype=np.intp)), np.zeros(len(theta))
        step = max(1, MAX_NUMBERS // (len(theta) * min(16, index.size)))
        for start in range(0, len(chosen), step):
            some, part = chosen[start : start + step], slice(start, start + step)
            eta, tau = own.linear(points.gamma[some]), points.tau[some, None]
            b = theta - shift[part, None]
            log_density = (own.y @ eta - points.log_likelihood[group, some])[:, None]
            log_density = log_density + own.total[0] * b - 0.5 * (b / tau) ** 2
            log_density -= rows.normaliser(eta[None], index, b[None])[0]
            total += (weight[part] / tau[:, 0]) @ np.exp(log_density)
        return total / np.sqrt(2 * np.pi)


def _grid_of(mean: Floats, sd: Floats, whole: tuple[float, float], narrowest: float) -> ThetaGrid:
    """Places even around the middle of the whole, that reach as far as each of its components."""
    middle, spread = whole
    even = middle - EVEN * spread, middle + EVEN * spread
    ends = float((mean - LINES * sd).min()), float((mean + LINES * sd).max())
    return ThetaGrid.of(even, ends, RESOLVED * narrowest)

"""The posterior by quadrature over the variances.

Given the variances, every value is normal; so over the lattice of the variances each has a
finite mixture of normals for its posterior.  The sds themselves are integrated on the lattice.

Where there are very many groups they say nearly all there is to say of the variances, so that
the moments of a group's value hardly bend over the lattice.  Then a few of its points, with
weights that integrate polynomials up to some degree as the lattice does, take its place in what
is computed group by group: :mod:`hiermodels.numerics.cubature`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hiermodels.core.arrays import Floats, Indices
from hiermodels.core.blas import one_blas_thread
from hiermodels.core.threads import for_each
from hiermodels.data.covariates import Place
from hiermodels.data.grouped import GroupedData
from hiermodels.errors import PrecisionError, PrecisionWarning, SpecError, warn
from hiermodels.exact.kernels.tree.conditional import BLOCK
from hiermodels.exact.kernels.tree.marginal import beta_moments
from hiermodels.exact.kernels.tree.moments import (
    Moments,
    level_joint,
    level_moments,
    mixture_joint,
    mixture_moments,
)
from hiermodels.exact.kernels.tree.tree import Tree, Variances
from hiermodels.exact.marginal import Marginal
from hiermodels.exact.moments import HierarchyMoments
from hiermodels.exact.standardize import standardize
from hiermodels.model.spec import Spec
from hiermodels.numerics import normal_mixture as mixture
from hiermodels.numerics.cubature import compress
from hiermodels.numerics.lattice import Lattice
from hiermodels.posterior.reference_posterior import TOLERANCE, ReferencePosterior, Target, reached

SPACING = {0: 1.0, 1: 0.25, 2: 0.5, 3: 0.5}  # of the first lattice
MANY, WIDE = 200, 0.6  # units of each level that make a density in 3 dimensions nearly normal
SAFELY = 0.1  # of the tolerance, for means and sds of the unknown sds
FINER = (0.5, 0.85)  # bounds of the next spacing, where a lattice misses the tolerance
FALLS = 0.7  # of the rate at which an error falls, if a first lattice told it
WARY = 0.7  # bound of the next spacing, where two lattices tell the rate
MOST_LATTICES = 8
MOST_POINTS = 2_000_000  # of a lattice that is laid because the one before misses the tolerance
THINNED = 1e-9  # posterior sds that part of a lattice may differ by from the whole
MOST_UNITS = 256  # whose values are held at all nodes at a time
NEGLIGIBLE = 1e-10  # share of the posterior that distribution functions of values leave out
MOST_WORK = {1: 1e7, 2: 1e7, 3: 1e8}  # points times groups, beyond which few points are tried
DEGREES = {1: range(4, 31, 4), 2: range(2, 15, 2), 3: range(4, 9, 2)}  # that are tried
AGREE = 1e-10  # posterior sds, or probability, that two degrees may differ by
PANEL = 32  # groups on whom they are compared, by each of several orders
AT = np.array([-3.0, -1.0, 1.0, 3.0])[:, None]  # sds from the mean, likewise
MOST_NUMBERS = 1 << 22  # of means of components that are held at a time: 32 MiB


@dataclass(frozen=True)
class Few:
    """Few points that stand for a lattice in sums over them.

    Attributes
    ----------
    points : (n, d)
    weights : (2, n)
        For the whole lattice, and for half of it.
    error : float
        By how much values differ between this degree and the one before, in posterior sds.
    """

    points: Floats
    weights: Floats
    error: float

    @property
    def whole(self) -> tuple[Floats, Floats]:
        """Points and weights that stand for the whole lattice."""
        some = self.weights[0] > 0
        return self.points[some], self.weights[0, some]


@dataclass(frozen=True, repr=False)
class IntegratedPosterior(ReferencePosterior):
    """The posterior as a mixture over a lattice of the variances.

    Attributes
    ----------
    spec : Spec
    data : GroupedData
    marginal : Marginal
        Posterior of the variances.
    lattice : Lattice
        On which it is integrated.
    place : Place, optional
        Values of the covariates that the values of all levels belong to; without it x = 0.
    """

    spec: Spec
    data: GroupedData
    marginal: Marginal
    lattice: Lattice
    place: Place | None = None

    @classmethod
    @one_blas_thread()
    def of(cls, spec: Spec, data: GroupedData, tol: float = TOLERANCE) -> IntegratedPosterior:
        """Integrate the posterior, with ever finer lattices until two spacings agree.

        The error falls about as ``exp(−c/spacing)`` along each axis, which says how fine the next
        is to be there: with a c that two lattices tell, or below the one of ``exp(−c/spacing)``.

        Parameters
        ----------
        spec, data
        tol : float
            Posterior sds that two spacings may differ by.

        Raises
        ------
        ImproperPosteriorError
            If the posterior does not exist.
        PrecisionError
            If two spacings differ by more than 1e-3.

        Warns
        -----
        PrecisionWarning
            If they differ by more than ``tol``.
        """
        marginal = Marginal.of(spec, standardize(data))
        d = len(marginal.free)
        normal = d == 3 and min(marginal.data.tree.sizes) >= MANY
        spacing = np.full(d, WIDE if normal else SPACING[d])
        found = cls(spec, data, marginal, marginal.lattice(spacing))
        path: list[tuple[Floats, Floats]] = []
        for _ in range(MOST_LATTICES - 1):
            if found._errors.max(initial=0.0) <= SAFELY * tol and found._reached <= tol:
                break
            path.append((spacing, found._errors))
            finer = _finer(path, SAFELY * tol)
            if len(found.lattice) > MOST_POINTS * finer.prod():
                break
            spacing = spacing * finer
            try:
                found = cls(spec, data, marginal, marginal.lattice(spacing))
            except PrecisionError:  # too many points along an axis: as fine as it gets
                break
        _vouch(found._reached, tol)
        return found

    @cached_property
    def _errors(self) -> Floats:
        """Errors of the moments of the unknown sds, by axis; (d,)."""
        return errors_by_axis(self.marginal, self.lattice)

    @property
    def _reached(self) -> float:
        """The certificate, or where the groups are too many to look at all that of the sds."""
        return float(self._errors.max(initial=0.0)) if self._is_much else self.certificate

    @property
    def _is_much(self) -> bool:
        """Whether there is so much work for the groups' values that few points are tried."""
        d = len(self.marginal.free)
        return d > 0 and len(self.lattice) * self.marginal.data.tree.sizes[0] > MOST_WORK[d]

    @cached_property
    @one_blas_thread()
    def certificate(self) -> float:
        """Largest difference between two spacings, in posterior sds.

        Over the means and sds of all unknown sds and of all values: see ``Lattice.half``.
        Where few points stand for the lattice, it includes what that may change.
        """
        moments = self._moments
        worst = [self._errors.max(initial=0.0), self._few.error if self._few else 0.0]
        levels = zip(self.spec.values, moments.means, moments.variances, strict=False)
        betas = ("beta", moments.beta, np.diagonal(moments.beta_covariance, axis1=1, axis2=2))
        for name, mean, variance in [*levels, *([betas] if self.spec.covariates else [])]:
            sd = np.sqrt(variance)
            if self.moment_exists(name, 1):
                worst.append((np.abs(mean[1] - mean[0]) / sd[0]).max())
            if self.moment_exists(name, 2):
                worst.append(np.abs(sd[1] / sd[0] - 1).max())
        return float(np.max(worst))

    @one_blas_thread()
    def predictive_moments(self, target: Target) -> tuple[Floats, Floats]:
        """Means and sds of predicted values, whether they exist or not; both (r,)."""
        standard, weights = self.marginal.data, self.lattice.weights
        variances = self.marginal.variances(self.lattice.points)
        units, place = np.unique(target.units, return_inverse=True)
        joint = mixture_joint(
            standard.tree, variances, weights, self.marginal.coefficients, target.level, units
        )
        mean, variance = joint.at(place, self._standard_x(target))
        variance = variance + weights @ self._variance_below(target, variances)
        return standard.location + standard.scale * mean[0], standard.scale * np.sqrt(variance[0])

    @one_blas_thread()
    def predictive_cdf(self, target: Target, values: Floats) -> Floats:
        """Distribution functions of predicted values at values (..., r)."""
        standard, weights = self.marginal.data, self._nodes[1]
        standardized = (values - standard.location) / standard.scale
        found = np.empty(values.shape)
        for part, mean, sd in self._predictive(target):
            found[..., part] = mixture.cdf(weights, mean, sd, standardized[..., part])
        return found

    @one_blas_thread()
    def predictive_quantiles(self, target: Target, probabilities: Floats) -> Floats:
        """Quantiles of predicted values; shape (p, r)."""
        standard, weights = self.marginal.data, self._nodes[1]
        found = np.empty((len(probabilities), len(target.units)))
        for part, mean, sd in self._predictive(target):
            for i, p in enumerate(probabilities):
                found[i, part] = mixture.quantile(weights, mean, sd, p)
        return standard.location + standard.scale * found

    def _predictive(self, target: Target) -> Iterator[tuple[slice, Floats, Floats]]:
        """Yield standardised means and sds (n, r) of predicted values at the nodes, in blocks."""
        standard, points = self.marginal.data, self._nodes[0]
        variances = self.marginal.variances(points)
        below = self._variance_below(target, variances)
        x = self._standard_x(target)
        for i in range(0, len(x), MOST_UNITS):
            units, place = np.unique(target.units[i : i + MOST_UNITS], return_inverse=True)
            joint = level_joint(
                standard.tree, variances, self.marginal.coefficients, target.level, units
            )
            step = max(1, BLOCK // len(points))
            for j in range(0, len(place), step):
                part = slice(i + j, min(i + j + step, i + len(place)))
                mean, variance = joint.at(place[j : j + step], x[part])
                more = below if below.shape[1] == 1 else below[:, part]
                yield part, mean, np.sqrt(variance + more)

    def _standard_x(self, target: Target) -> Floats:
        """Covariates in the tree's coordinates."""
        return (target.x - self.marginal.data.centre) @ self.marginal.data.basis

    def _variance_below(self, target: Target, variances: Variances) -> Floats:
        """Standardised variance that new units and a row add; (n, 1), or (n, r) by row."""
        total = np.zeros(len(variances))
        for spread in variances.spreads[: target.level]:
            total = total + spread
        if not target.outcome:
            return total[:, None]
        if target.se is None:
            return (total + variances.sigma2)[:, None]
        return total[:, None] + (target.se / self.marginal.data.scale) ** 2

    @one_blas_thread()
    def _means(self) -> Mapping[str, Any]:
        standard = self.marginal.data
        levels = dict(zip(self.spec.values, self._moments.means, strict=False))
        values = {name: standard.location + standard.scale * m[0] for name, m in levels.items()}
        sds = self._moments_of_sds[0][0]
        beta = standard.scale * standard.basis @ self._moments.beta[0]
        return values | {"beta": beta} | dict(zip(self.marginal.names, sds, strict=True))

    @one_blas_thread()
    def _sds(self) -> Mapping[str, Any]:
        standard = self.marginal.data
        levels = dict(zip(self.spec.values, self._moments.variances, strict=False))
        values = {name: standard.scale * np.sqrt(v[0]) for name, v in levels.items()}
        sds = self._moments_of_sds[1][0]
        covariance = standard.basis @ self._moments.beta_covariance[0] @ standard.basis.T
        beta = standard.scale * np.sqrt(np.diag(covariance))
        return values | {"beta": beta} | dict(zip(self.marginal.names, sds, strict=True))

    def _log_evidence(self) -> float:
        return self.lattice.log_integral

    def how(self) -> list[str]:
        """How it was computed, for people to read."""
        d = len(self.marginal.free)
        if d == 0:
            return ["closed form: all sds are fixed"]
        return [
            f"quadrature: {len(self.lattice)} points in {d} dimension{'s' if d > 1 else ''}, "
            f"spacing {self.lattice.spacing.min():.3g} sd",
            f"precision: {reached(self.certificate)} digits; two spacings differ by "
            f"{self.certificate:.1e} posterior sd",
            *([self._few_points] if self._few else []),
        ]

    @property
    def _few_points(self) -> str:
        assert self._few is not None
        (dim,) = self.spec.dims("theta")
        return (
            f"values of {dim}: {len(self._few.whole[1])} points with the lattice's moments; two "
            f"degrees differ by {self._few.error:.1e} posterior sd"
        )

    @one_blas_thread()
    def _quantiles(self, name: str, probabilities: Floats) -> Floats:
        if name in self.spec.fixed:
            return np.full(len(probabilities), self.spec.fixed[name])
        if name in self.marginal.names:
            return self._sd_quantiles(name, probabilities)
        if not self.spec.dims(name):
            weights, mean, sd = self._components(name)
            return np.array([mixture.quantile(weights, mean, sd, p)[0] for p in probabilities])
        return self.unit_quantiles(name, probabilities, np.arange(self._size(name)))

    @one_blas_thread()
    def unit_quantiles(self, name: str, probabilities: Floats, units: Indices) -> Floats:
        """Quantiles of some units' values, or of some coefficients; shape (p, u)."""
        found = np.empty((len(probabilities), len(units)))
        for first in range(0, len(units), self._step(name)):
            part = slice(first, first + self._step(name))
            weights, mean, sd = self._components(name, units[part])
            step = max(1, BLOCK // len(weights))
            out = found[:, part]

            def solve(i: int) -> None:
                some = slice(i, i + step)  # noqa: B023
                for row, p in zip(out, probabilities, strict=True):  # noqa: B023
                    row[some] = mixture.quantile(weights, mean[:, some], sd[:, some], p)  # noqa: B023

            for_each(solve, range(0, mean.shape[1], step))
        return found

    def _size(self, name: str) -> int:
        """Number of units of a level, or of coefficients."""
        return len(self.data.coords[self.spec.dims(name)[0]])

    def _step(self, name: str) -> int:
        """Number of units whose components are held at a time."""
        return max(MOST_UNITS, MOST_NUMBERS // len(self._nodes_of(name)[1]))

    @one_blas_thread()
    def _cdf(self, name: str, values: Floats) -> Floats:
        if name in self.spec.fixed:
            return np.where(values >= self.spec.fixed[name], 1.0, 0.0)
        if name in self.marginal.names:
            column, axis = self._axis(name)
            inside = np.maximum(values, np.finfo(float).tiny)
            x = self.marginal.coordinate(column, inside.ravel())
            found = self.lattice.cdf(axis, x).reshape(values.shape)
            return np.where(values > 0, found, 0.0)
        weights, mean, sd = self._components(name)
        if not self.spec.dims(name):
            return mixture.cdf(weights, mean, sd, values[..., None])[..., 0]
        shape = np.broadcast_shapes(values.shape, (mean.shape[1],))
        return mixture.cdf(weights, mean, sd, np.broadcast_to(values, shape))

    @one_blas_thread()
    def _density(self, name: str, values: Floats) -> Floats:
        if name in self.spec.fixed:
            value = self.spec.fixed[name]
            raise SpecError(f"{name} is fixed at {value:g}: a mass at one place has no density")
        if name in self.marginal.names:
            return self._sd_density(name, values)
        weights, mean, sd = self._components(name)
        if not self.spec.dims(name):
            return mixture.density(weights, mean, sd, values[..., None])[..., 0]
        shape = np.broadcast_shapes(values.shape, (mean.shape[1],))
        return mixture.density(weights, mean, sd, np.broadcast_to(values, shape))

    @cached_property
    def _moments_of_sds(self) -> tuple[Floats, Floats]:
        """Means and sds of the unknown sds, over the whole lattice and over half of it."""
        return _sd_moments(self.marginal, self.lattice, _both_weights(self.lattice))

    @cached_property
    def _moments(self) -> Moments:
        """Moments of the values over the whole lattice, and over half of it."""
        every, few = (self.lattice.points, _both_weights(self.lattice)), self._few
        if few is None:
            return self._moments_over(*every)
        above = self._moments_over(*every, groups=np.empty(0, dtype=np.intp))
        groups = self._moments_over(few.points, few.weights)
        return replace(
            above,
            means=(groups.means[0], *above.means[1:]),
            variances=(groups.variances[0], *above.variances[1:]),
        )

    def _moments_over(
        self, points: Floats, weights: Floats, groups: Indices | None = None
    ) -> Moments:
        """Moments over points (n, d) with weights (m, n), of all groups or of some."""
        marginal, levels = self.marginal, range(len(self.spec.groups) + 1)
        return mixture_moments(
            marginal.data.tree,
            marginal.variances(points),
            weights,
            marginal.coefficients,
            [self._origin(level, groups if level == 0 else None) for level in levels],
            groups,
        )

    def _origin(self, level: int, units: Indices | None = None) -> Floats:
        """What values of a level are taken at, in the tree's coordinates; (q,) or (u, q)."""
        standard = self.marginal.data
        if self.place is None:
            return standard.origin
        x = self.place.levels[level]
        return standard.origin_at(x if units is None or x.ndim == 1 else x[units])

    def _at(self, place: Place) -> IntegratedPosterior:
        if place.is_zero:
            return self if self.place is None else replace(self, place=None)
        return replace(self, place=place)

    @cached_property
    def _few(self) -> Few | None:
        """Few points for the groups' values, if there is much work and two degrees agree.

        The difference falls geometrically: where it falls too slowly, no degree is good enough.
        """
        tree = self.marginal.data.tree
        d = len(self.marginal.free)
        if not self._is_much:
            return None
        panel, degrees = panel_of(tree), DEGREES[d]
        whole = self.lattice.points, self.lattice.weights
        found: list[Floats] = []
        errors: list[float] = []
        for left, degree in zip(reversed(range(len(degrees))), degrees, strict=True):
            rule = compress(*whole, degree)
            found.append(self._on_panel(*rule, panel))
            if len(found) < 2:
                continue
            errors.append(float(np.abs(found[-1] - found[-2]).max()))
            if errors[-1] <= AGREE:
                return Few(*_with_half(self.lattice, rule, degree), errors[-1])
            if len(errors) > 1 and errors[-1] * (errors[-1] / errors[-2]) ** left > AGREE:
                return None
        return None

    def _on_panel(self, chosen: Indices, weights: Floats, panel: Indices) -> Floats:
        """Means, log sds and distribution functions of a panel's values, in their posterior sds."""
        points, (middle, unit) = self.lattice.points[chosen], self._place_of_panel
        moments = self._moments_over(points, weights[None], panel)
        sd = np.sqrt(moments.variances[0])
        components = self._standard_components(0, points, panel)
        below = mixture.cdf(weights, *components, middle + AT * unit)
        return np.concatenate([(moments.means[0] - middle) / unit, np.log(sd / unit), below])

    @cached_property
    def _place_of_panel(self) -> tuple[Floats, Floats]:
        """Standardised means and sds of the panel's values at the lattice's heaviest point."""
        best = self.lattice.points[[np.argmax(self.lattice.weights)]]
        mean, sd = self._standard_components(0, best, panel_of(self.marginal.data.tree))
        return mean[0], sd[0]

    @cached_property
    def _nodes(self) -> tuple[Floats, Floats]:
        """Points that hold all but a negligible part of the posterior, and their weights.

        Distribution functions take many passes over the points.  In three dimensions they use a
        quarter or a half of them, if sums over these are those over the whole to ``THINNED``.
        """
        points, weights = self.lattice.points, self.lattice.weights
        if len(self.marginal.free) == 3:
            parts = [self.lattice.quarter, self.lattice.half]
            errors = _differences(self.marginal, self.lattice, parts)
            thin = (part for part, error in zip(parts, errors, strict=True) if error <= THINNED)
            some = next(thin, slice(None))
            points, weights = points[some], weights[some] / weights[some].sum()
        order = np.argsort(-weights, kind="stable")
        enough = np.searchsorted(np.cumsum(weights[order]), 1 - NEGLIGIBLE) + 1
        kept = np.sort(order[:enough])
        return points[kept], weights[kept] / weights[kept].sum()

    def _nodes_of(self, name: str) -> tuple[Floats, Floats]:
        """Points and weights over which the distribution of a value is summed."""
        return self._few.whole if name == "theta" and self._few else self._nodes

    def _components(self, name: str, units: Indices | None = None) -> tuple[Floats, Floats, Floats]:
        """Weights (n,), means and sds (n, u) of the mixtures of a value, in the outcome's unit."""
        standard, prior = self.marginal.data, self.marginal.coefficients
        points, weights = self._nodes_of(name)
        if name == "beta":
            variances = self.marginal.variances(points)
            beta, covariance = beta_moments(standard.tree, variances, prior)
            covariance = standard.basis @ covariance @ standard.basis.T
            sd = standard.scale * np.sqrt(np.diagonal(covariance, axis1=1, axis2=2))
            some = slice(None) if units is None else units
            return weights, (standard.scale * beta @ standard.basis.T)[:, some], sd[:, some]
        mean, sd = self._standard_components(self.spec.values.index(name), points, units)
        return weights, standard.location + standard.scale * mean, standard.scale * sd

    def _standard_components(
        self, level: int, points: Floats, units: Indices | None = None
    ) -> tuple[Floats, Floats]:
        """Standardised means and sds of a level's values at points; both (n, u)."""
        marginal = self.marginal
        mean, variance = level_moments(
            marginal.data.tree,
            marginal.variances(points),
            marginal.coefficients,
            self._origin(level, units),
            level,
            units,
        )
        return mean, np.sqrt(variance)

    def _axis(self, name: str) -> tuple[int, int]:
        """Column of an sd among all, and its axis among the coordinates of the lattice."""
        column = self.marginal.names.index(name)
        return column, self.marginal.free.index(column)

    def _sd_quantiles(self, name: str, probabilities: Floats) -> Floats:
        """Quantiles of an sd."""
        column, axis = self._axis(name)
        points = np.zeros((len(probabilities), len(self.marginal.free)))
        points[:, axis] = self.lattice.quantile(axis, probabilities)
        return self.marginal.sds(points)[:, column]

    def _sd_density(self, name: str, values: Floats) -> Floats:
        """Density of an sd: of its coordinate u, divided by ``dsd/du = sd · d(log sd)/du``."""
        column, axis = self._axis(name)
        inside = np.maximum(values.ravel(), np.finfo(float).tiny)
        u = self.marginal.coordinate(column, inside)
        log_slope = self.marginal.log_slope_along(column, u) + np.log(inside)
        found = self.lattice.density(axis, u) * np.exp(-log_slope)
        return np.where(values > 0, found.reshape(values.shape), 0.0)

    @cached_property
    def moments(self) -> HierarchyMoments:
        """Which moments exist."""
        return HierarchyMoments(self.spec, self.marginal.tails)


def sd_certificate(marginal: Marginal, lattice: Lattice) -> float:
    """Largest difference between two spacings in the moments of the unknown sds.

    In posterior sds; the mass, and the moments of the coordinates x (which always exist), count
    as well.

    A lattice of spacing h errs by the density's Fourier transform at the multiples of 2π/h along
    each axis.  Every second point as on a chessboard adds (π/h, π/h, …), and may agree with the
    whole although a skewed density has a transform that falls slowly along one axis alone.  So
    every second plane across each axis counts too, which adds π/h along it: by the square of its
    difference, as a transform that falls exponentially is at 2π/h the square of that at π/h.
    """
    return float(errors_by_axis(marginal, lattice).max(initial=0.0))


def _finer(path: list[tuple[Floats, Floats]], tol: float) -> Floats:
    """Factors of the spacings for the next lattice, from the spacings and errors of those before.

    Where an error falls as ``A exp(−c/spacing)`` it reaches the tolerance at a spacing with

        1/spacing' = 1/spacing + log(error/tol)/c.

    Two lattices tell c; of one, it is a part of what it were with A = 1, which is too large.
    """
    spacing, errors = path[-1]
    if errors.max() <= tol:  # the values need what the sds do not
        return np.full(len(errors), FINER[1])
    with np.errstate(divide="ignore", invalid="ignore"):
        rate, widest = -FALLS * np.log(errors) * spacing, np.full(len(errors), FINER[0])
        for before, old in path[-2:-1]:
            secant = np.log(old / errors) / (1 / spacing - 1 / before)
            told = np.isfinite(secant)
            rate = np.where(told, secant, rate)
            widest = np.where(told, WARY, widest)
        more = np.where(rate > 0, spacing * np.log(errors / tol) / rate, np.inf)
        factors = np.clip(1 / (1 + more), widest, FINER[1])
    return np.where(errors > tol, factors, np.where(np.isfinite(errors), 1.0, FINER[0]))


def _vouch(error: float, tol: float) -> None:
    """Warn of a quadrature that missed its precision, or refuse it."""
    if error <= tol:
        return
    warn(
        f"the quadrature reached {reached(error)} digits: its finest two spacings differ by "
        f"{error:.1e} posterior sd, more than {tol:g}. Tables show no more digits than that",
        PrecisionWarning,
    )


def errors_by_axis(marginal: Marginal, lattice: Lattice) -> Floats:
    """What each axis adds to :func:`sd_certificate`; (d,)."""
    if not marginal.free:
        return np.zeros(0)
    planes = [e == 0 for e in lattice.index.T % 2]
    together, *across = _differences(marginal, lattice, [lattice.half, *planes])
    if len(planes) == 1:
        return np.array([together])
    return np.maximum(np.square(across), together)


def _differences(
    marginal: Marginal, lattice: Lattice, parts: Sequence[NDArray[np.bool_]]
) -> Iterator[float]:
    """Yield the largest difference between sums over the whole lattice and over a part of it.

    Of the means and sds of the coordinates and, if their moments exist, of the unknown sds, in
    posterior sds; and of the mass, which is the part's share of the points.
    """
    exists = marginal.tails.sd_moment_exists
    some = [j for j in marginal.free if exists(marginal.names[j], 2)]
    values = np.hstack([lattice.points, np.exp(marginal.log_sds(lattice.points)[:, some])])
    means, sds = _moments_of(values, lattice.weights[None])
    for part in parts:
        weights = lattice.weights[part]
        mass = weights.sum()
        some_means, some_sds = _moments_of(values[part], weights[None] / mass)
        worst = [abs(mass * round(1 / mass) - 1)]
        worst += [(np.abs(some_means - means) / sds).max(), np.abs(some_sds / sds - 1).max()]
        yield float(np.max(worst))  # nan, where a sum is none


def _both_weights(lattice: Lattice) -> Floats:
    """Weights over the whole lattice and over half of its points; shape (2, n)."""
    half = np.where(lattice.half, lattice.weights, 0.0)
    return np.stack([lattice.weights, half / half.sum()])


def _with_half(
    lattice: Lattice, rule: tuple[Indices, Floats], degree: int
) -> tuple[Floats, Floats]:
    """Few points (n, d) of a lattice, and their weights (2, n) for the whole of it and for half.

    The rule for the whole is given.
    """
    rules = [rule, compress(lattice.points, _both_weights(lattice)[1], degree)]
    chosen = np.unique(np.concatenate([places for places, _ in rules]))
    weights = np.zeros((2, len(chosen)))
    for row, (places, found) in zip(weights, rules, strict=True):
        row[np.searchsorted(chosen, places)] = found
    return lattice.points[chosen], weights


def panel_of(tree: Tree) -> Indices:
    """Groups that stand for all: from the least to the largest in each respect that matters."""
    parent = tree.parent(0)
    away = tree.residual_mean - tree.by_weight.centre[parent]
    siblings = np.bincount(parent)[parent]
    respects = (tree.weight, siblings, *away.T, np.sqrt(tree.weight) * away[:, -1])
    ranks = np.linspace(0, len(parent) - 1, min(PANEL, len(parent))).astype(np.intp)
    return np.unique([np.argpartition(values, ranks)[ranks] for values in respects])


def _sd_moments(marginal: Marginal, lattice: Lattice, weights: Floats) -> tuple[Floats, Floats]:
    """Means and sds of the unknown sds, over the whole lattice and half of it; (2, d) each."""
    means, sds = _moments_of(np.exp(marginal.log_sds(lattice.points)), weights)
    means, sds = marginal.data.scale * means, marginal.data.scale * sds
    for j, value in marginal.fixed.items():
        means[:, j], sds[:, j] = value, 0.0
    return means, sds


def _moments_of(values: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """Means and sds of values (n, d) under weights (m, n), both (m, d)."""
    means = weights @ values
    variances = [w @ (values - mean) ** 2 for w, mean in zip(weights, means, strict=True)]
    return means, np.sqrt(variances)

"""The posterior by quadrature over the variances.

Given the variances, every effect is normal; so over the lattice of the variances each has a
finite mixture of normals for its posterior.  The sds themselves are integrated on the lattice.

Where there are very many groups they say nearly all there is to say of the variances, so that
the moments of a group's effect hardly bend over the lattice.  Then a few of its points, with
weights that integrate polynomials up to some degree as the lattice does, take its place in what
is computed group by group: :mod:`hiermodels.numerics.cubature`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import numpy as np

from hiermodels.core.arrays import Floats, Indices
from hiermodels.core.blas import one_blas_thread
from hiermodels.core.threads import for_each
from hiermodels.data.covariates import Place
from hiermodels.data.grouped import GroupedData
from hiermodels.errors import PrecisionError
from hiermodels.exact.compressed import few_points
from hiermodels.exact.kernels.tree.conditional import BLOCK
from hiermodels.exact.marginal import Marginal
from hiermodels.exact.plug_in import plug_in_mixture
from hiermodels.exact.point_mass import PointMass
from hiermodels.exact.precision import (
    errors_by_axis,
    refinement,
    require_digits,
    require_precision,
    rounding,
)
from hiermodels.exact.predictive import PredictiveMixture
from hiermodels.exact.standardize import standardize
from hiermodels.exact.tree_left_out import leave_out_of_tree
from hiermodels.exact.variance_shares import variance_moments, variance_shares
from hiermodels.model.spec import Spec
from hiermodels.numerics import normal_mixture as mixture
from hiermodels.posterior.estimation import PlugIn
from hiermodels.posterior.left_out import LogDensities, Units
from hiermodels.posterior.precision import TOLERANCE, reached
from hiermodels.posterior.variance_shares import VarianceShares

SPACING = {0: 1.0, 1: 0.25, 2: 0.5, 3: 0.5}  # of the first lattice
MANY, WIDE = 200, 0.6  # members of each level that make a density in 3 dimensions nearly normal
SAFELY = 0.1  # of the tolerance, for means and sds of the unknown sds
MAX_LATTICES = 8
MAX_POINTS = 2_000_000  # of a lattice that is laid because the one before misses the tolerance


@dataclass(frozen=True, repr=False)
class IntegratedPosterior(PredictiveMixture):
    """A mixture over a lattice of the variances that is fine enough, and what it says."""

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

        It raises and warns as :meth:`hiermodels.exact.blocks.sd_posterior.SdPosterior.of`.
        """
        marginal = Marginal.of(spec, standardize(data))
        d = len(marginal.free)
        normal = d == 3 and min(marginal.data.tree.sizes) >= MANY
        spacing = np.full(d, WIDE if normal else SPACING[d])
        posterior = cls(spec, data, marginal, marginal.lattice(spacing))
        path: list[tuple[Floats, Floats]] = []
        for _ in range(MAX_LATTICES - 1):
            if posterior._errors.max(initial=0.0) <= SAFELY * tol and posterior._reached <= tol:
                break
            path.append((spacing, posterior._errors))
            finer = refinement(path, SAFELY * tol)
            if len(posterior.lattice) > MAX_POINTS * finer.prod():
                break
            spacing = spacing * finer
            try:
                posterior = cls(spec, data, marginal, marginal.lattice(spacing))
            except PrecisionError:  # too many points along an axis: as fine as it gets
                break
        require_digits(posterior._rounding, tol)
        require_precision(posterior._reached, tol)
        return posterior

    @cached_property
    def _errors(self) -> Floats:
        """Errors of the moments of the unknown sds, by axis; (d,)."""
        return errors_by_axis(self.marginal, self.lattice)

    @cached_property
    def _rounding(self) -> float:
        """Error of the moments by rounding, which no finer lattice mends."""
        return rounding(self.marginal, self.lattice)

    @property
    def _reached(self) -> float:
        """What two spacings tell of all moments, or if the groups are very many of the sds'."""
        return float(self._errors.max(initial=0.0)) if self._is_much else self._differences

    @property
    def n_points(self) -> int:
        """Number of points at which the posterior is summed up."""
        return len(self.lattice)

    @cached_property
    @one_blas_thread()
    def certificate(self) -> float:
        """Largest difference between two spacings or error by rounding, in posterior sds."""
        return max(self._differences, self._rounding)

    @cached_property
    @one_blas_thread()
    def _differences(self) -> float:
        """Largest difference between two spacings, in posterior sds.

        Over the means and sds of all unknown sds, of the intercept, of all effects and of the
        coefficients: see ``Lattice.checkerboard``.  Where few points stand for the lattice, it
        includes what that may change.
        """
        moments = self._moments
        worst = [self._errors.max(initial=0.0), self._few.error if self._few else 0.0]
        both = self.spec.named(list(zip(moments.means, moments.variances, strict=True)))
        if self.spec.covariates:
            covariance = np.diagonal(moments.beta_covariance, axis1=1, axis2=2)
            both["beta"] = moments.beta, covariance
        for name, (mean, variance) in both.items():
            sd = np.sqrt(variance)
            if self.moment_exists(name, 1):
                worst.append((np.abs(mean[1] - mean[0]) / sd[0]).max())
            if self.moment_exists(name, 2):
                worst.append(np.abs(sd[1] / sd[0] - 1).max())
        return float(np.max(worst))

    @one_blas_thread()
    def _means(self) -> Mapping[str, Any]:
        standard = self.marginal.data
        levels = self.spec.named(self._moments.means)
        values = {name: standard.location + standard.scale * m[0] for name, m in levels.items()}
        sds = self._moments_of_sds[0][0]
        beta = standard.scale * standard.basis @ self._moments.beta[0]
        return values | {"beta": beta} | dict(zip(self.marginal.names, sds, strict=True))

    @one_blas_thread()
    def _sds(self) -> Mapping[str, Any]:
        standard = self.marginal.data
        levels = self.spec.named(self._moments.variances)
        values = {name: standard.scale * np.sqrt(v[0]) for name, v in levels.items()}
        sds = self._moments_of_sds[1][0]
        covariance = standard.basis @ self._moments.beta_covariance[0] @ standard.basis.T
        beta = standard.scale * np.sqrt(np.diag(covariance))
        return values | {"beta": beta} | dict(zip(self.marginal.names, sds, strict=True))

    def leave_out(self, units: Units) -> LogDensities:
        """Log density of each unit given all others."""
        return leave_out_of_tree(self, units, partial(type(self).of, self.spec))

    def plug_in(self, method: str | None, place: Place) -> PlugIn:
        """Estimates of groups given sds as numbers; by default by restricted likelihood."""
        return plug_in_mixture(self, "reml" if method is None else method, place)

    def variance_moments(self, names: Sequence[str]) -> list[tuple[float, float]]:
        """Mean and sd of the squares of sds, nan where they do not exist."""
        return variance_moments(self, names)

    def variance_shares(self, probabilities: Floats) -> VarianceShares:
        """Mean, sd and quantiles of each level's share of the total variance."""
        return variance_shares(self, probabilities)

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
            f"precision: {reached(self.certificate)} digits; {self._cause} {self.certificate:.1e} "
            f"posterior sd",
            *few_points(self._few, self.spec.dims("theta")[0]),
        ]

    @property
    def _cause(self) -> str:
        """What the quadrature error is: the larger of two errors."""
        is_rounding = self._rounding > self._differences
        return "rounding errors are about" if is_rounding else "two spacings differ by"

    @one_blas_thread()
    def _quantiles(self, name: str, probabilities: Floats) -> Floats:
        if name in self.spec.fixed:
            return PointMass(name, self.spec.fixed[name]).quantiles(probabilities)
        if name in self.marginal.names:
            return self._sd_quantiles(name, probabilities)
        if not self.spec.dims(name):
            weights, mean, sd = self._components(name)
            return np.array([mixture.quantile(weights, mean, sd, p)[0] for p in probabilities])
        return self.member_quantiles(name, probabilities, np.arange(self._size(name)))

    @one_blas_thread()
    def member_quantiles(self, name: str, probabilities: Floats, members: Indices) -> Floats:
        """Quantiles of effects of some members of a level, or of some coefficients; (p, u)."""
        quantiles = np.empty((len(probabilities), len(members)))
        for first in range(0, len(members), self._step(name)):
            part = slice(first, first + self._step(name))
            weights, mean, sd = self._components(name, members[part])
            step = max(1, BLOCK // len(weights))
            out = quantiles[:, part]

            def solve(i: int) -> None:
                some = slice(i, i + step)  # noqa: B023
                for row, p in zip(out, probabilities, strict=True):  # noqa: B023
                    row[some] = mixture.quantile(weights, mean[:, some], sd[:, some], p)  # noqa: B023

            for_each(solve, range(0, mean.shape[1], step))
        return quantiles

    @one_blas_thread()
    def _cdf(self, name: str, values: Floats) -> Floats:
        if name in self.spec.fixed:
            return PointMass(name, self.spec.fixed[name]).cdf(values)
        if name in self.marginal.names:
            column, axis = self._axis(name)
            inside = np.maximum(values, np.finfo(float).tiny)
            x = self.marginal.coordinate(column, inside.ravel())
            probability = self.lattice.cdf(axis, x).reshape(values.shape)
            return np.where(values > 0, probability, 0.0)
        weights, mean, sd = self._components(name)
        if not self.spec.dims(name):
            return mixture.cdf(weights, mean, sd, values[..., None])[..., 0]
        shape = np.broadcast_shapes(values.shape, (mean.shape[1],))
        return mixture.cdf(weights, mean, sd, np.broadcast_to(values, shape))

    @one_blas_thread()
    def _density(self, name: str, values: Floats) -> Floats:
        if name in self.spec.fixed:
            return PointMass(name, self.spec.fixed[name]).density(values)
        if name in self.marginal.names:
            return self._sd_density(name, values)
        weights, mean, sd = self._components(name)
        if not self.spec.dims(name):
            return mixture.density(weights, mean, sd, values[..., None])[..., 0]
        shape = np.broadcast_shapes(values.shape, (mean.shape[1],))
        return mixture.density(weights, mean, sd, np.broadcast_to(values, shape))

    def _at(self, place: Place) -> IntegratedPosterior:
        return replace(self, place=place)

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
        log_slope = self.marginal.axes[column].log_slope(u) + np.log(inside)
        density = self.lattice.density(axis, u) * np.exp(-log_slope)
        return np.where(values > 0, density.reshape(values.shape), 0.0)

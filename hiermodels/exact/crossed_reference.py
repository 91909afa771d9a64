"""The posterior of crossed groups without Monte Carlo error."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any, Self

import numpy as np

from hiermodels.core.arrays import Floats, Indices
from hiermodels.core.blas import one_blas_thread
from hiermodels.core.messages import plural
from hiermodels.core.names import ROOT
from hiermodels.data.covariates import Place
from hiermodels.data.grouped import GroupedData
from hiermodels.exact.block_mixture import MAX_MEMBERS, Components
from hiermodels.exact.blocks.hyper_laws import HyperLaws
from hiermodels.exact.compressed import few_points
from hiermodels.exact.crossed.model import CrossedModel
from hiermodels.exact.crossed.posterior import CrossedPosterior
from hiermodels.exact.crossed_data import CrossedMoments, crossed_model
from hiermodels.exact.crossed_left_out import leave_out_of_crossed
from hiermodels.exact.crossed_plug_in import plug_in_crossed
from hiermodels.exact.crossed_predictive import CrossedPredictive
from hiermodels.exact.leaf_data import with_intercept
from hiermodels.exact.sd_squares import SdSpreads, SdSquares
from hiermodels.exact.variance_shares import Shares, typical_se
from hiermodels.families.normal import WEIGHTS
from hiermodels.model.spec import Spec
from hiermodels.numerics import normal_mixture
from hiermodels.numerics.lattice import Lattice
from hiermodels.posterior.estimation import PlugIn
from hiermodels.posterior.left_out import LogDensities, Units
from hiermodels.posterior.precision import TOLERANCE, reached
from hiermodels.posterior.tables import shown
from hiermodels.posterior.variance_shares import VarianceShares


@dataclass(frozen=True, repr=False)
class CrossedReference(CrossedPredictive):
    """A lattice over the sds, all effects and coefficients integrated out.

    Effects are deviations, the same wherever the intercept is shown.

    Attributes
    ----------
    spec, data, place
        As in :class:`ReferencePosterior`.
    posterior : CrossedPosterior
        On arrays.
    """

    @classmethod
    def of(
        cls,
        spec: Spec,
        data: GroupedData,
        tol: float = TOLERANCE,
        model: CrossedModel | None = None,
    ) -> Self:
        """Integrate the posterior: see :meth:`CrossedPosterior.of`."""
        return cls(spec, data, CrossedPosterior.of(model or crossed_model(spec, data), tol))

    @cached_property
    def moments(self) -> CrossedMoments:
        """Which moments exist."""
        return CrossedMoments(self.spec, self.posterior.marginal.tails)

    @property
    def n_points(self) -> int:
        """Number of points at which the posterior is summed up."""
        return len(self.posterior.lattice)

    @property
    def certificate(self) -> float:
        """Largest difference between two spacings, in posterior sds."""
        return self.posterior.certificate

    @property
    def lattice(self) -> Lattice:
        """The lattice over sds."""
        return self.posterior.lattice

    def how(self) -> list[str]:
        """How it was computed, for people to read."""
        d = self.posterior.marginal.coordinates.dimension
        if not d:
            return ["closed form: all sds are fixed", *self._parts]
        integrated = "; sigma integrated at each" if self.posterior.model.relative else ""
        is_rounding = self.posterior.rounding > self.posterior.differences
        cause = "rounding errors are about" if is_rounding else "two spacings differ by"
        return [
            f"quadrature: {self.n_points} points in {d} dimension{plural(d)}{integrated}",
            f"precision: {reached(self.certificate)} digits; {cause} {self.certificate:.1e} "
            f"posterior sd",
            *few_points(self.posterior.few, "effects"),
            *self._parts,
        ]

    @property
    def _parts(self) -> list[str]:
        """What is said of two columns of groups whose members fall into parts."""
        model = self.posterior.model
        if len(model.columns) != 2:
            return []
        number = len(np.unique(model.rows.parts(0, 1)))
        a, b = model.columns
        return [f"{a} and {b} fall into {number} parts that share no rows"] if number > 1 else []

    def _at(self, place: Place) -> CrossedReference:
        return replace(self, place=place)

    def _log_evidence(self) -> float:
        return self.posterior.log_integral

    def _means(self) -> Mapping[str, Any]:
        return {name: mean for name, (mean, _) in self._both_moments.items()}

    def _sds(self) -> Mapping[str, Any]:
        return {name: sd for name, (_, sd) in self._both_moments.items()}

    @cached_property
    @one_blas_thread()
    def _both_moments(self) -> dict[str, tuple[Any, Any]]:
        return {name: self._moments_of(name) for name in self.spec.variables}

    def _moments_of(self, name: str) -> tuple[Any, Any]:
        """Mean and sd of a variable."""
        if name in self._sd_places:
            mean, sd = self.posterior.sd_moments()
            return mean[self._sd_places[name]], sd[self._sd_places[name]]
        if name in self.spec.effects:
            return self.posterior.effect_moments(self.spec.level_of(name))
        mean, sd = self.posterior.coefficient_moments()
        if name == "beta":
            return mean[len(self.spec.top) :], sd[len(self.spec.top) :]
        row = self._root_row
        variance = row @ self.posterior.coefficient_covariance() @ row
        return float(row[row != 0] @ mean[row != 0]), float(np.sqrt(variance))

    @property
    def _root_row(self) -> Floats:
        """What the intercept that is shown is of the coefficients; (c,)."""
        x = np.zeros(len(self.spec.covariates)) if self.place is None else self.place.of(ROOT)
        return with_intercept(self.spec, x[None])[0]

    @property
    def _sd_places(self) -> dict[str, int]:
        """Places of the sds among those of the arrays, by name."""
        names = [*(level.sd for level in self.spec.levels), "sigma"]
        return {name: j for j, name in enumerate(names) if name in self.spec.variables}

    @cached_property
    def _laws(self) -> HyperLaws:
        return HyperLaws(self.posterior)

    def _components(self, name: str) -> Iterator[Components]:
        """Components of all members of a variable, some at a time."""
        if name == "beta":
            weights, mean, sd = self.mixtures.coefficients()
            yield weights, mean[:, len(self.spec.top) :], sd[:, len(self.spec.top) :]
        elif name in self.spec.top:
            yield self.mixtures.of_root(self._root_row[None])
        else:
            level = self.spec.level_of(name)
            size = len(self.data.levels[level])
            for first in range(0, size, MAX_MEMBERS):
                members = np.arange(first, min(first + MAX_MEMBERS, size))
                yield self.mixtures.effects(level, members)

    @one_blas_thread()
    def _quantiles(self, name: str, probabilities: Floats) -> Floats:
        if name in self._sd_places:
            return self._laws.sd_quantiles(self._sd_places[name], probabilities)
        parts = [_quantiles_of(own, probabilities) for own in self._components(name)]
        found = np.concatenate(parts, axis=1)
        return found if self.spec.dims(name) else found[:, 0]

    def member_quantiles(self, name: str, probabilities: Floats, members: Indices) -> Floats:
        """Quantiles of the effects of some members of a column; (p, u)."""
        level = self.spec.level_of(name)
        parts = [
            _quantiles_of(self.mixtures.effects(level, members[i : i + MAX_MEMBERS]), probabilities)
            for i in range(0, len(members), MAX_MEMBERS)
        ]
        return np.concatenate([np.empty((len(probabilities), 0)), *parts], axis=1)

    def _cdf(self, name: str, values: Floats) -> Floats:
        return self._at_values("cdf", name, values)

    def _density(self, name: str, values: Floats) -> Floats:
        return self._at_values("density", name, values)

    @one_blas_thread()
    def _at_values(self, what: str, name: str, values: Floats) -> Floats:
        """Distribution functions or densities at values (..., *members)."""
        if name in self._sd_places:
            of_sd = getattr(self._laws, f"sd_{what}")
            found = of_sd(self._sd_places[name], values.ravel())
            return np.asarray(found).reshape(values.shape)
        dims = self.spec.dims(name)
        size = len(self.data.coords[dims[0]]) if dims else 1
        shape = (*values.shape[:-1], size) if dims else values.shape
        flat = np.broadcast_to(values, shape).reshape(-1, size)
        of, result, first = getattr(normal_mixture, what), np.empty(flat.shape), 0
        for components in self._components(name):
            part = slice(first, first + components[1].shape[1])
            result[:, part] = of(*components, flat[:, part])
            first = part.stop
        return result.reshape(shape)

    def variance_moments(self, names: Sequence[str]) -> list[tuple[float, float]]:
        """Mean and sd of the squares of sds, nan where they do not exist."""
        squares = SdSquares(self.posterior)
        return [squares.moments_of_sd(self._sd_places[name]) for name in names]

    def variance_shares(self, probabilities: Floats) -> VarianceShares:
        """Mean, sd and quantiles of each column's share of the total variance."""
        spec, typical = self.spec, typical_se(self.data) if self.spec.se else 1.0
        numbers = {level.column: k for k, level in enumerate(spec.levels)}
        rows = Shares.of(SdSpreads(self.posterior, typical**2), numbers).rows(probabilities)
        del rows[f"icc[{spec.groups[-1]}]"]
        note = "share[…]: part of the total variance"
        if spec.se:
            note += f"; residual: a typical row's sampling variance, {shown(typical)}²"
        if WEIGHTS in spec.columns:
            note += "; residual: the variance of a row of weight 1"
        return VarianceShares(rows, (note,))

    def plug_in(self, method: str | None, place: Place) -> PlugIn:
        """Estimates of groups given sds as numbers; by default by restricted likelihood."""
        return plug_in_crossed(self.spec, self.posterior, method, place)

    def leave_out(self, units: Units) -> LogDensities:
        """Log density of each unit given all others."""
        return leave_out_of_crossed(
            self, self.posterior.marginal, units, partial(_refit, self.spec)
        )

    def _relaid(self, spacing: float | Floats) -> Lattice:
        """Another lattice over the same posterior."""
        return self.posterior.marginal.lattice(spacing)

    def lattice_error(self) -> float:
        """How well the lattice holds the posterior, in posterior sds."""
        return float(self.posterior.errors_by_axis.max(initial=0.0))


def _refit(spec: Spec, data: GroupedData) -> CrossedReference:
    return CrossedReference.of(spec, data)


def _quantiles_of(components: Components, probabilities: Floats) -> Floats:
    """Quantiles (p, r) of mixtures of normals."""
    return np.array([normal_mixture.quantile(*components, p) for p in probabilities])

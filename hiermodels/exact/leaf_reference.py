"""The posterior of counts and other rows that are not normal, without Monte Carlo error."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import xarray as xr

from hiermodels.core.arrays import Floats, Indices
from hiermodels.core.blas import one_blas_thread
from hiermodels.core.names import ROOT
from hiermodels.data.covariates import Place
from hiermodels.data.grouped import GroupedData
from hiermodels.errors import SpecError
from hiermodels.exact.leaf_data import leaf_model, leaf_moments, with_intercept
from hiermodels.exact.leaf_left_out import leave_out_groups
from hiermodels.exact.leaf_moments import LeafMoments
from hiermodels.exact.leaf_predictive import LeafPredictive
from hiermodels.exact.leaf_shares import latent_shares, square_moments
from hiermodels.exact.leaves.effects import effect_laws
from hiermodels.exact.leaves.linear import LinearLaw
from hiermodels.exact.leaves.posterior import LeafPosterior
from hiermodels.families.links import linked, log_slope
from hiermodels.model.spec import Spec
from hiermodels.posterior.left_out import LogDensities, Units
from hiermodels.posterior.precision import TOLERANCE, reached
from hiermodels.posterior.variance_shares import VarianceShares


@dataclass(frozen=True, repr=False)
class LeafReference(LeafPredictive):
    """A lattice over τ, the intercept and β, on which the groups' effects are integrated out.

    Attributes
    ----------
    spec, data, place
        As in :class:`ReferencePosterior`.
    exact : LeafPosterior
        On arrays.
    existing : LeafMoments
        Which moments exist.
    """

    spec: Spec
    data: GroupedData
    exact: LeafPosterior
    existing: LeafMoments
    place: Place | None = None

    @classmethod
    def of(cls, spec: Spec, data: GroupedData, tol: float = TOLERANCE) -> LeafReference:
        """Integrate the posterior: see :meth:`LeafPosterior.of`."""
        model = leaf_model(spec, data)
        existing = leaf_moments(spec, data, model)
        return cls(spec, data, LeafPosterior.of(model, tol), existing)

    @property
    def moments(self) -> LeafMoments:
        """Which moments exist."""
        return self.existing

    @property
    def n_points(self) -> int:
        """Number of points at which the posterior is summed up."""
        return len(self.exact.lattice)

    @property
    def certificate(self) -> float:
        """Largest difference between two spacings, in posterior sds."""
        return self.exact.certificate

    def how(self) -> list[str]:
        """How it was computed, for people to read."""
        lattice = self.exact.lattice
        d = self.exact.marginal.coordinates.dimension
        if not d:
            return ["closed form but for one integral for each group: all above it is fixed"]
        return [
            f"quadrature: {len(lattice)} points in {d} dimension{'s' if d > 1 else ''}, spacing "
            f"{lattice.spacing.min():.3g} sd; each group's effect integrated out at each",
            f"precision: {reached(self.certificate)} digits; two spacings differ by "
            f"{self.certificate:.1e} posterior sd",
        ]

    def _means(self) -> Mapping[str, Any]:
        return {name: mean for name, (mean, _) in self._both_moments.items()}

    def _sds(self) -> Mapping[str, Any]:
        return {name: sd for name, (_, sd) in self._both_moments.items()}

    @cached_property
    @one_blas_thread()
    def _both_moments(self) -> dict[str, tuple[Any, Any]]:
        """Mean and sd of each variable, which come out together."""
        return {name: self._moments_of(name) for name in self.spec.variables}

    def _moments_of(self, name: str) -> tuple[Any, Any]:
        """Mean and sd of a variable, whether they exist or not."""
        exact = self.exact
        if name in self.spec.fixed:
            return self.spec.fixed[name], 0.0
        if name == "tau":
            return exact.sd_moments(0)
        if name in self.spec.top:
            mean, sd = exact.linear_moments(self._root_x[None])
            return mean[0], sd[0]
        if name == "beta":
            mean, sd = exact.coefficient_moments()
            return mean[len(self.spec.top) :], sd[len(self.spec.top) :]
        if name in self.spec.on_outcome_scale:
            return self._outcome_moments
        return exact.effect_moments(*self._effect_x)

    @cached_property
    def _outcome_moments(self) -> tuple[Floats, Floats]:
        """Means and sds of the effects on the outcome's scale; (k,) each."""
        return self.exact.function_moments(self.spec.family.inverse_link)

    def _dataset(self, moments: Mapping[str, Any], order: int) -> xr.Dataset:
        """Moments of all variables; those that do not exist as nan, of effects each by itself."""
        dataset = super()._dataset(moments, order)
        for name in (*self.spec.effects, "beta"):
            if name in dataset and "note" in dataset[name].attrs:
                own = np.where(self.existing.lacking(name, order), np.nan, moments[name])
                dataset[name] = dataset[name].copy(data=own)
        return dataset

    @property
    def _root_x(self) -> Floats:
        """Covariates at which the intercept is shown; (p,)."""
        q = len(self.spec.covariates)
        return with_intercept(self.spec, np.zeros(q) if self.place is None else self.place.of(ROOT))

    @cached_property
    def _effect_x(self) -> tuple[Floats, ...]:
        """Covariates at which the groups' effects are shown, (k, p); none without covariates."""
        if not self.spec.covariates:
            return ()
        at = np.zeros(len(self.spec.covariates))
        if self.place is not None:
            at = self.place.of(len(self.spec.levels) - 1)
        return (np.broadcast_to(with_intercept(self.spec, at), self.exact.model.x.shape),)

    def leave_out(self, units: Units) -> LogDensities:
        """Log density of each unit given all others."""
        return leave_out_groups(self.spec, self.data, self.exact, units)

    def variance_moments(self, names: Sequence[str]) -> list[tuple[float, float]]:
        """Mean and sd of the squares of sds, nan where they do not exist."""
        return [square_moments(self.exact, self.existing) for _ in names]

    def variance_shares(self, probabilities: Floats) -> VarianceShares:
        """Mean, sd and quantiles of the groups' share of the variance on the latent scale."""
        return latent_shares(self.spec, self.exact, probabilities)

    def _log_evidence(self) -> float:
        return self.exact.log_integral

    @one_blas_thread()
    def _quantiles(self, name: str, probabilities: Floats) -> Floats:
        if name in self.spec.fixed:
            return np.full(len(probabilities), self.spec.fixed[name])
        if name == "tau":
            return self.exact.sd_quantiles(0, probabilities)
        if name in self.spec.top:
            return self._linear(self._root_x).quantile(probabilities)
        if name == "beta":
            return np.stack([law.quantile(probabilities) for law in self._coefficients], axis=1)
        if name not in self.spec.on_outcome_scale:
            return self._effect_quantiles(self._effect_x, probabilities)
        if self._effect_x:
            return self.spec.family.inverse_link(self._effect_quantiles((), probabilities))
        return self.spec.family.inverse_link(
            self._kept_quantiles(self.spec.effects[0], probabilities)
        )

    def _effect_quantiles(
        self, at: tuple[Floats, ...], probabilities: Floats, members: Indices | None = None
    ) -> Floats:
        """Quantiles of effects of all groups, or of some, at their own covariates or at others."""
        quantiles = np.empty((len(probabilities), len(self.exact.model.leaves)))
        for laws in effect_laws(self.exact, members, *at):
            quantiles[:, laws.groups] = laws.quantile(probabilities).T
        return quantiles if members is None else quantiles[:, members]

    @one_blas_thread()
    def member_quantiles(self, name: str, probabilities: Floats, members: Indices) -> Floats:
        """Quantiles of effects of some members of a level, or of some coefficients; (p, u)."""
        if name in self.spec.on_outcome_scale:
            return self.spec.family.inverse_link(self._effect_quantiles((), probabilities, members))
        if name == self.spec.effects[0]:
            return self._effect_quantiles(self._effect_x, probabilities, members)
        return self._quantiles(name, probabilities)[:, members]

    @one_blas_thread()
    def _cdf(self, name: str, values: Floats) -> Floats:
        if name in self.spec.fixed:
            return np.where(values >= self.spec.fixed[name], 1.0, 0.0)
        if name == "tau":
            return self.exact.sd_cdf(0, np.ravel(values)).reshape(values.shape)
        if name in self.spec.top:
            return self._linear(self._root_x).cdf(values)
        if name == "beta":
            return self._by_member(values, [law.cdf for law in self._coefficients])
        if name in self.spec.on_outcome_scale:
            return self._on_effects("cdf", (), linked(self.spec.family.link, values))
        return self._on_effects("cdf", self._effect_x, values)

    @one_blas_thread()
    def _density(self, name: str, values: Floats) -> Floats:
        if name in self.spec.fixed:
            value = self.spec.fixed[name]
            raise SpecError(f"{name} is fixed at {value:g}: a mass at one place has no density")
        if name == "tau":
            return self.exact.sd_density(0, np.ravel(values)).reshape(values.shape)
        if name in self.spec.top:
            return self._linear(self._root_x).density(values)
        if name == "beta":
            return self._by_member(values, [law.density for law in self._coefficients])
        if name in self.spec.on_outcome_scale:
            return self._density_on_outcome_scale(values)
        return self._on_effects("density", self._effect_x, values)

    def _on_effects(self, what: str, at: tuple[Floats, ...], values: Floats) -> Floats:
        """Distribution functions or densities of all groups' effects at values (..., k)."""
        k = len(self.exact.model.leaves)
        shape = np.broadcast_shapes(values.shape, (k,))
        flat = np.broadcast_to(values, shape).reshape(-1, k)
        result = np.empty(flat.shape)
        for laws in effect_laws(self.exact, None, *at):
            result[:, laws.groups] = getattr(laws, what)(flat[:, laws.groups].T).T
        return result.reshape(shape)

    def _density_on_outcome_scale(self, values: Floats) -> Floats:
        """Density of ``link⁻¹(θ)``: that of θ divided by the slope; 0 beyond the scale's ends."""
        effects = linked(self.spec.family.link, values)
        inside = np.isfinite(effects)
        effects = np.where(inside, effects, 0.0)
        density = self._on_effects("density", (), effects)
        slope = np.exp(log_slope(self.spec.family.link, effects))
        return np.where(inside, density / slope, 0.0)

    @staticmethod
    def _by_member(values: Floats, functions: list[Any]) -> Floats:
        shape = np.broadcast_shapes(values.shape, (len(functions),))
        columns = np.moveaxis(np.broadcast_to(values, shape), -1, 0)
        return np.stack([f(v) for f, v in zip(functions, columns, strict=True)], axis=-1)

    def _linear(self, x: Floats) -> LinearLaw:
        return LinearLaw.of(self.exact, x)

    @cached_property
    def _coefficients(self) -> list[LinearLaw]:
        """Laws of the coefficients of the covariates."""
        unit = np.eye(len(self.spec.means))
        return [self._linear(row) for row in unit[len(self.spec.top) :]]

    def _at(self, place: Place) -> LeafReference:
        return replace(self, place=place)

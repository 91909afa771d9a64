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
from hiermodels.exact.leaf_data import leaf_model, leaf_moments, with_intercept
from hiermodels.exact.leaf_left_out import leave_out_units
from hiermodels.exact.leaf_moments import LeafMoments
from hiermodels.exact.leaf_nested_plug_in import nested_plug_in
from hiermodels.exact.leaf_plug_in import leaf_plug_in
from hiermodels.exact.leaf_predictive import LeafPredictive
from hiermodels.exact.leaf_shares import latent_shares, square_moments
from hiermodels.exact.leaves.laws import Distribution, LeafLaws
from hiermodels.exact.leaves.on_lattice import SdsOnLattice
from hiermodels.exact.leaves.structures import integrate
from hiermodels.exact.point_mass import PointMass
from hiermodels.families.links import linked, log_slope
from hiermodels.model.spec import Spec
from hiermodels.posterior.estimation import PlugIn
from hiermodels.posterior.left_out import LogDensities, Units
from hiermodels.posterior.precision import TOLERANCE, reached
from hiermodels.posterior.variance_shares import VarianceShares


@dataclass(frozen=True, repr=False)
class LeafReference(LeafPredictive):
    """A lattice over the sds, the intercept and β, all groups' effects integrated out.

    Attributes
    ----------
    spec, data, place
        As in :class:`ReferencePosterior`.
    laws : LeafLaws
        On arrays.
    existing : LeafMoments
        Which moments exist.
    """

    spec: Spec
    data: GroupedData
    laws: LeafLaws
    existing: LeafMoments
    place: Place | None = None

    @classmethod
    def of(cls, spec: Spec, data: GroupedData, tol: float = TOLERANCE) -> LeafReference:
        """Integrate the posterior: see :func:`~hiermodels.exact.leaves.structures.integrate`."""
        model = leaf_model(spec, data)
        existing = leaf_moments(spec, data, model)
        return cls(spec, data, integrate(model, tol), existing)

    @property
    def moments(self) -> LeafMoments:
        """Which moments exist."""
        return self.existing

    @property
    def _sums(self) -> SdsOnLattice:
        return self.laws.posterior

    def how(self) -> list[str]:
        """How it was computed, for people to read."""
        d = self.laws.dimension
        if not d:
            return ["closed form but for one integral for each group: all above it is fixed"]
        return [
            f"quadrature: {self.n_points} points in {d} dimension{'s' if d > 1 else ''}, spacing "
            f"{self.laws.spacing:.3g} sd; each group's effect integrated out at each",
            f"precision: {reached(self.certificate)} digits; two spacings differ by "
            f"{self.certificate:.1e} posterior sd",
        ]

    def _moments_of(self, name: str) -> tuple[Any, Any]:
        """Mean and sd of a variable, whether they exist or not."""
        if name in self.spec.fixed:
            return self.spec.fixed[name], 0.0
        if name in self._level_of_sd:
            return self._sums.sd_moments(self._level_of_sd[name])
        if name in self.spec.top:
            mean, sd = self._sums.linear_moments(self._root_x[None])
            return mean[0], sd[0]
        if name == "beta":
            return self._sums.linear_moments(self._unit_rows)
        if name in self.spec.on_outcome_scale:
            return self._outcome_moments
        level = self.spec.level_of(name)
        return self.laws.effect_moments(level, self._effect_x(level))

    @cached_property
    def _outcome_moments(self) -> tuple[Floats, Floats]:
        """Means and sds of the effects on the outcome's scale; (k,) each."""
        return self.laws.function_moments(self.spec.family.inverse_link)

    @property
    def _level_of_sd(self) -> dict[str, int]:
        """Number of the level of each sd, by its name."""
        return {level.sd: number for number, level in enumerate(self.spec.levels)}

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

    def _effect_x(self, level: int) -> Floats | None:
        """Covariates at which a level's effects are shown, (u, p); None without covariates."""
        if not self.spec.covariates:
            return None
        at = np.zeros(len(self.spec.covariates)) if self.place is None else self.place.of(level)
        x = with_intercept(self.spec, at)
        return np.broadcast_to(x, (len(self.data.levels[level]), x.shape[-1]))

    @property
    def _unit_rows(self) -> Floats:
        """Covariates of which the linear predictors are the coefficients β; (q, p)."""
        return np.eye(len(self.spec.means))[len(self.spec.top) :]

    def leave_out(self, units: Units) -> LogDensities:
        """Log density of each unit given all others."""
        return leave_out_units(self.spec, self.data, self.laws, units)

    def plug_in(self, method: str | None, place: Place) -> PlugIn:
        """Estimates of groups given the maximum of the likelihood."""
        method = "ml" if method is None else method
        if self.laws.innermost:
            return nested_plug_in(self.spec, self.data, method, place)
        return leaf_plug_in(self.spec, self.data, method, place)

    def variance_moments(self, names: Sequence[str]) -> list[tuple[float, float]]:
        """Mean and sd of the squares of sds, nan where they do not exist."""
        levels = self._level_of_sd
        return [square_moments(self.laws, levels[name], name, self.existing) for name in names]

    def variance_shares(self, probabilities: Floats) -> VarianceShares:
        """Mean, sd and quantiles of the levels' shares of the variance on the latent scale."""
        return latent_shares(self.spec, self.laws, probabilities)

    @one_blas_thread()
    def _quantiles(self, name: str, probabilities: Floats) -> Floats:
        if name in self.spec.fixed:
            return PointMass(name, self.spec.fixed[name]).quantiles(probabilities)
        if name in self._level_of_sd:
            return self._sums.sd_quantiles(self._level_of_sd[name], probabilities)
        if name in self.spec.top:
            return self.laws.linear(self._root_x).quantile(probabilities)
        if name == "beta":
            return np.stack([law.quantile(probabilities) for law in self._coefficients], axis=1)
        level = self.spec.level_of(name)
        if name not in self.spec.on_outcome_scale:
            return self._effect_quantiles(level, self._effect_x(level), probabilities)
        if self.spec.covariates:
            own = self._effect_quantiles(level, None, probabilities)
        else:
            own = self._kept_quantiles(self.spec.levels[level].effect, probabilities)
        return self.spec.family.inverse_link(own)

    def _effect_quantiles(
        self, level: int, x: Floats | None, probabilities: Floats, members: Indices | None = None
    ) -> Floats:
        """Quantiles of effects of all groups, or of some, at their own covariates or at others."""
        quantiles = np.empty((len(probabilities), len(self.data.levels[level])))
        for laws in self.laws.effect_laws(level, members, x):
            quantiles[:, laws.groups] = laws.quantile(probabilities).T
        return quantiles if members is None else quantiles[:, members]

    @one_blas_thread()
    def member_quantiles(self, name: str, probabilities: Floats, members: Indices) -> Floats:
        """Quantiles of effects of some members of a level, or of some coefficients; (p, u)."""
        if name == "beta":
            return self._quantiles(name, probabilities)[:, members]
        level = self.spec.level_of(name)
        if name in self.spec.on_outcome_scale:
            own = self._effect_quantiles(level, None, probabilities, members)
            return self.spec.family.inverse_link(own)
        return self._effect_quantiles(level, self._effect_x(level), probabilities, members)

    @one_blas_thread()
    def _cdf(self, name: str, values: Floats) -> Floats:
        if name in self.spec.fixed:
            return PointMass(name, self.spec.fixed[name]).cdf(values)
        if name in self._level_of_sd:
            below = self._sums.sd_cdf(self._level_of_sd[name], np.ravel(values))
            return below.reshape(values.shape)
        if name in self.spec.top:
            return self.laws.linear(self._root_x).cdf(values)
        if name == "beta":
            return self._by_member(values, [law.cdf for law in self._coefficients])
        level = self.spec.level_of(name)
        if name in self.spec.on_outcome_scale:
            return self._on_effects("cdf", level, None, linked(self.spec.family.link, values))
        return self._on_effects("cdf", level, self._effect_x(level), values)

    @one_blas_thread()
    def _density(self, name: str, values: Floats) -> Floats:
        if name in self.spec.fixed:
            return PointMass(name, self.spec.fixed[name]).density(values)
        if name in self._level_of_sd:
            density = self._sums.sd_density(self._level_of_sd[name], np.ravel(values))
            return density.reshape(values.shape)
        if name in self.spec.top:
            return self.laws.linear(self._root_x).density(values)
        if name == "beta":
            return self._by_member(values, [law.density for law in self._coefficients])
        if name in self.spec.on_outcome_scale:
            return self._density_on_outcome_scale(values)
        level = self.spec.level_of(name)
        return self._on_effects("density", level, self._effect_x(level), values)

    def _on_effects(self, what: str, level: int, x: Floats | None, values: Floats) -> Floats:
        """Distribution functions or densities of all effects of a level at values (..., u)."""
        u = len(self.data.levels[level])
        shape = np.broadcast_shapes(values.shape, (u,))
        flat = np.broadcast_to(values, shape).reshape(-1, u)
        result = np.empty(flat.shape)
        for laws in self.laws.effect_laws(level, None, x):
            result[:, laws.groups] = getattr(laws, what)(flat[:, laws.groups].T).T
        return result.reshape(shape)

    def _density_on_outcome_scale(self, values: Floats) -> Floats:
        """Density of ``link⁻¹(θ)``: that of θ divided by the slope; 0 beyond the scale's ends."""
        effects = linked(self.spec.family.link, values)
        inside = np.isfinite(effects)
        effects = np.where(inside, effects, 0.0)
        density = self._on_effects("density", len(self.spec.levels) - 1, None, effects)
        slope = np.exp(log_slope(self.spec.family.link, effects))
        return np.where(inside, density / slope, 0.0)

    @staticmethod
    def _by_member(values: Floats, functions: list[Any]) -> Floats:
        shape = np.broadcast_shapes(values.shape, (len(functions),))
        columns = np.moveaxis(np.broadcast_to(values, shape), -1, 0)
        return np.stack([f(v) for f, v in zip(functions, columns, strict=True)], axis=-1)

    @cached_property
    def _coefficients(self) -> list[Distribution]:
        """Distributions of the coefficients of the covariates."""
        return [self.laws.linear(row) for row in self._unit_rows]

    def _at(self, place: Place) -> LeafReference:
        return replace(self, place=place)

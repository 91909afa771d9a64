"""The posterior of groups with several effects, or of many levels, without Monte Carlo error."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any, Self

import numpy as np
import xarray as xr

from hiermodels.core.arrays import Floats, Indices
from hiermodels.core.blas import one_blas_thread
from hiermodels.core.names import ROOT
from hiermodels.data.covariates import Place
from hiermodels.data.grouped import GroupedData
from hiermodels.exact.block_data import block_model, blocks_of
from hiermodels.exact.block_left_out import leave_out_of_blocks
from hiermodels.exact.block_mixture import (
    MAX_MEMBERS,
    BlockMixture,
    Components,
    moments_of_mixture,
)
from hiermodels.exact.block_moments import BlockMoments
from hiermodels.exact.block_plug_in import mean_shrinkage, plug_in_blocks
from hiermodels.exact.block_variances import BlockVariances
from hiermodels.exact.blocks.hyper_laws import HyperLaws
from hiermodels.exact.blocks.model import BlockModel
from hiermodels.exact.blocks.pair_nodes import PairNodes
from hiermodels.exact.blocks.posterior import BlockPosterior
from hiermodels.exact.compressed import few_points
from hiermodels.exact.marginal import Marginal
from hiermodels.exact.moments import moments_of, require_existence
from hiermodels.exact.plug_in import plug_in
from hiermodels.exact.quadrature import IntegratedPosterior
from hiermodels.exact.standardize import standardize
from hiermodels.model.level import INTERCEPT
from hiermodels.model.spec import Spec
from hiermodels.numerics import normal_mixture
from hiermodels.numerics.lattice import Lattice
from hiermodels.posterior.coordinates import coords_of
from hiermodels.posterior.estimation import PlugIn
from hiermodels.posterior.left_out import LogDensities, Units
from hiermodels.posterior.moments import ExistingMoments
from hiermodels.posterior.precision import TOLERANCE, reached
from hiermodels.posterior.variance_shares import VarianceShares


@dataclass(frozen=True, repr=False)
class BlockReference(BlockMixture):
    """A lattice over sds and correlations, all effects and coefficients integrated out.

    Attributes
    ----------
    laws : HyperLaws, optional
        Of the sds and correlations, which are the same wherever effects are shown.
    """

    laws: HyperLaws | None = None

    @classmethod
    def of(
        cls,
        spec: Spec,
        data: GroupedData,
        tol: float = TOLERANCE,
        model: BlockModel | None = None,
    ) -> Self:
        """Integrate the posterior: see :meth:`BlockPosterior.of`.

        Parameters
        ----------
        spec, data, tol
        model : BlockModel, optional
            What was made of these before.
        """
        require_existence(spec, data)
        return cls(spec, data, BlockPosterior.of(model or block_model(spec, data), tol))

    @cached_property
    def moments(self) -> ExistingMoments:
        """Which moments exist."""
        if self.spec.is_blocks:
            return BlockMoments(self.spec, self.layout, self.posterior.marginal.tails)
        return moments_of(self.spec, self.data)

    @property
    def n_points(self) -> int:
        """Number of points at which the posterior is summed up."""
        return len(self.posterior.lattice)

    @property
    def certificate(self) -> float:
        """Largest difference between two spacings, in posterior sds."""
        return self.posterior.certificate

    def how(self) -> list[str]:
        """How it was computed, for people to read."""
        d = self.posterior.marginal.coordinates.dimension
        if not d:
            return ["closed form: all sds are fixed"]
        integrated = "; sigma integrated at each" if self.posterior.model.relative else ""
        lattice = self.posterior.lattice
        points = f"{self.n_points} points in {d} dimension{'s' if d > 1 else ''}"
        if isinstance(lattice, PairNodes):
            parts = lattice.product.first, lattice.product.second
            sizes = " and ".join(f"{len(part)} in {len(part.origin)} dimensions" for part in parts)
            points = f"{self.n_points} nodes for all pairs of two lattices' points, {sizes}"
        return [
            f"quadrature: {points}{integrated}",
            f"precision: {reached(self.certificate)} digits; {self._cause} {self.certificate:.1e} "
            f"posterior sd",
            *few_points(self.posterior.few, self.spec.dims(self.spec.effects[0])[0]),
        ]

    @property
    def _cause(self) -> str:
        """What the quadrature error is: the larger of two errors."""
        is_rounding = self.posterior.rounding > self.posterior.differences
        if is_rounding:
            return "rounding errors are about"
        if isinstance(self.lattice, PairNodes):
            return "twice the largest difference of lattices and of nodes is"
        return "two spacings differ by"

    @property
    def precision(self) -> list[str]:
        """What tables say of a quadrature that missed its precision; else nothing.

        Quantiles lie between points of the lattice.  Interpolation errs there by the density's
        Fourier transform from π/h on, whose square it has at 2π/h, by which sums err.
        """
        of_quantiles = f"quantiles by {np.sqrt(self.certificate):.0e}"
        return [f"{note}, {of_quantiles}" for note in super().precision]

    def leave_out(self, units: Units) -> LogDensities:
        """Log density of each unit given all others."""
        refit = partial(integrated, self.spec)
        return leave_out_of_blocks(self, self.posterior.marginal, units, refit)

    @property
    def lattice(self) -> Lattice | PairNodes:
        """The lattice over sds and correlations."""
        return self.posterior.lattice

    def _relaid(self, spacing: float | Floats) -> Lattice:
        """Another lattice over the same posterior."""
        return self.posterior.marginal.lattice(spacing)

    def lattice_error(self) -> float:
        """How well the lattice holds the posterior, in posterior sds."""
        return float(self.posterior.errors_by_axis.max(initial=0.0))

    def plug_in(self, method: str | None, place: Place) -> PlugIn:
        """Estimates of groups given sds as numbers; by default by restricted likelihood."""
        if self.spec.is_blocks:
            return plug_in_blocks(self.spec, self.posterior, method, place)
        marginal = Marginal.of(self.spec, standardize(self.data))
        shrinkage = partial(mean_shrinkage, self.posterior)
        return plug_in(marginal, shrinkage, "reml" if method is None else method, place)

    def variance_moments(self, names: Sequence[str]) -> list[tuple[float, float]]:
        """Mean and sd of the squares of sds, nan where they do not exist."""
        return self._variances.moments_of_squares(names)

    def variance_shares(self, probabilities: Floats) -> VarianceShares:
        """Mean, sd and quantiles of each level's share of the total variance."""
        return self._variances.shares(probabilities)

    @cached_property
    def _variances(self) -> BlockVariances:
        x = np.zeros(len(self.spec.covariates)) if self.place is None else self.place.of(ROOT)
        return BlockVariances(self.spec, self.data, self.posterior, x)

    def _means(self) -> Mapping[str, Any]:
        return {name: mean for name, (mean, _) in self._both_moments.items()}

    def _sds(self) -> Mapping[str, Any]:
        return {name: sd for name, (_, sd) in self._both_moments.items()}

    @cached_property
    @one_blas_thread()
    def _both_moments(self) -> dict[str, tuple[Any, Any]]:
        """Mean and sd of each variable; nan where it does not exist."""
        return {name: self._moments_of(name) for name in self.spec.variables}

    def _moments_of(self, name: str) -> tuple[Any, Any]:
        """Mean and sd of a variable."""
        if name in self._places:
            own = self._places[name]
            some = self._sd_moments if self._is_sd(name) else self._correlation_moments
            return some[0][own], some[1][own]
        if name == "beta":
            mean, sd = self.posterior.coefficient_moments()
            return mean[self.layout.beta], sd[self.layout.beta]
        if name in self.spec.top:
            return self._intercept_moments
        level = self.spec.level_of(name)
        mean, sd = (part[self.layout.effects(level)] for part in self._effect_moments(level))
        return (mean.T, sd.T) if self.spec.levels[level].has_slopes else (mean[0], sd[0])

    @cached_property
    def _sd_moments(self) -> tuple[Floats, Floats]:
        return self.posterior.sd_moments()

    @cached_property
    def _correlation_moments(self) -> tuple[Floats, Floats]:
        return self.posterior.correlation_moments()

    @property
    def _intercept_moments(self) -> tuple[float, float]:
        """Of the intercept, at the covariates where it is shown."""
        row, mean = self._root_row, self.posterior.coefficient_moments()[0]
        variance = row @ self.posterior.coefficient_covariance() @ row
        return float(row[row != 0] @ mean[row != 0]), float(np.sqrt(variance))

    def _effect_moments(self, level: int) -> tuple[Floats, Floats]:
        """Means and sds of a level's effects, as they are shown; (p, u) each."""
        mean, sd = self.posterior.effect_moments(level)
        if not self._is_moved(level):
            return mean, sd
        j = self.layout.terms.index(INTERCEPT)
        members = np.arange(mean.shape[1])
        parts = [members[i : i + MAX_MEMBERS] for i in range(0, len(members), MAX_MEMBERS)]
        moved = [moments_of_mixture(*self._shown(level, j, some)) for some in parts]
        mean, sd = mean.copy(), sd.copy()
        shown = np.concatenate([np.stack(both) for both in moved], axis=1)
        mean[j], sd[j] = np.where(np.isfinite([mean[j], sd[j]]), shown, np.nan)
        return mean, sd

    @cached_property
    def _laws(self) -> HyperLaws:
        return self.laws or HyperLaws(self.posterior)

    def _is_sd(self, name: str) -> bool:
        return name not in {level.correlation for level in self.spec.levels}

    def _log_evidence(self) -> float:
        return self.posterior.log_integral

    @one_blas_thread()
    def _quantiles(self, name: str, probabilities: Floats) -> Floats:
        if name in self._places:
            laws, own = self._laws, self._places[name]
            of = laws.sd_quantiles if self._is_sd(name) else laws.correlation_quantiles
            if np.ndim(own):
                return np.stack([of(int(i), probabilities) for i in own], axis=-1)
            return of(int(own), probabilities)
        parts = [
            np.array([normal_mixture.quantile(*components, p) for p in probabilities])
            for components in self._components(name)
        ]
        return self._shaped(name, np.concatenate(parts, axis=1))

    @one_blas_thread()
    def member_quantiles(self, name: str, probabilities: Floats, members: Indices) -> Floats:
        """Quantiles of the effects of some members of a level; (p, u) or (p, u, e)."""
        level = self.spec.level_of(name)
        effects = self.layout.effects(level)
        quantiles = np.empty((len(probabilities), len(members), len(effects)))
        for j, effect in enumerate(effects):
            for first in range(0, len(members), MAX_MEMBERS):
                part = slice(first, first + MAX_MEMBERS)
                components = self._shown(level, int(effect), members[part])
                for row, p in zip(quantiles, probabilities, strict=True):
                    row[part, j] = normal_mixture.quantile(*components, p)
        return quantiles if self.spec.levels[level].has_slopes else quantiles[..., 0]

    def _cdf(self, name: str, values: Floats) -> Floats:
        return self._at_values("cdf", name, values)

    def _density(self, name: str, values: Floats) -> Floats:
        return self._at_values("density", name, values)

    @one_blas_thread()
    def _at_values(self, what: str, name: str, values: Floats) -> Floats:
        """Distribution functions or densities at values (..., *members)."""
        shape = np.broadcast_shapes(values.shape, self._shape(name))
        flat = np.broadcast_to(values, shape).reshape(-1, max(1, int(np.prod(self._shape(name)))))
        if name in self._places:
            kind = "sd" if self._is_sd(name) else "correlation"
            of, own = getattr(self._laws, f"{kind}_{what}"), np.atleast_1d(self._places[name])
            if len(own) > 1 and (kind, what) == ("sd", "density"):
                of = self._laws.sd_density_if_any
            every = [of(int(i), column) for i, column in zip(own, flat.T, strict=True)]
            return np.array(every).T.reshape(shape)
        of, result, first = getattr(normal_mixture, what), np.empty(flat.shape), 0
        columns = self._unshaped(name, flat)
        for components in self._components(name):
            part = slice(first, first + components[1].shape[1])
            result[:, part] = of(*components, columns[:, part])
            first = part.stop
        return self._shaped(name, result).reshape(shape)

    def _components(self, name: str) -> list[Components]:
        """Components of all members of a variable, some at a time, effect by effect."""
        if name in self.spec.top or name == "beta":
            weights, mean, sd = self._mixtures.coefficients()
            if name == "beta":
                return [(weights, mean[:, self.layout.beta], sd[:, self.layout.beta])]
            return [self._mixtures.of_root(self._root_row[None])]
        level = self.spec.level_of(name)
        members = np.arange(len(self.data.levels[level]))
        return [
            self._shown(level, int(effect), members[i : i + MAX_MEMBERS])
            for effect in self.layout.effects(level)
            for i in range(0, len(members), MAX_MEMBERS)
        ]

    def _shape(self, name: str) -> tuple[int, ...]:
        """Numbers of members of a variable along its dimensions."""
        coords = coords_of(self.spec, self.data)
        return tuple(len(coords[dim]) for dim in self.spec.dims(name))

    def _shaped(self, name: str, columns: Floats) -> Floats:
        """From (k, members) effect by effect to (k, *members)."""
        shape = self._shape(name)
        if len(shape) < 2:
            return columns.reshape(len(columns), *shape)
        return columns.reshape(len(columns), *shape[::-1]).swapaxes(1, 2)

    def _unshaped(self, name: str, columns: Floats) -> Floats:
        """From (k, members) group by group to effect by effect."""
        shape = self._shape(name)
        if len(shape) < 2:
            return columns
        return columns.reshape(len(columns), *shape).swapaxes(1, 2).reshape(len(columns), -1)

    def _dataset(self, moments: Mapping[str, Any], order: int) -> xr.Dataset:
        """Moments of all variables; those that do not exist as nan, each by itself."""
        dataset = super()._dataset(moments, order)
        if not self.spec.is_blocks:
            return dataset
        for name in dataset:
            if "note" in dataset[name].attrs:
                own = np.asarray(moments[str(name)], dtype=float)
                dataset[name] = dataset[name].copy(data=own.reshape(dataset[name].shape))
        return dataset

    def _at(self, place: Place) -> BlockReference:
        return replace(self, place=place, laws=self._laws)


def integrated(
    spec: Spec, data: GroupedData, tol: float = TOLERANCE
) -> BlockReference | IntegratedPosterior:
    """The posterior of groups with normal rows, by quadrature over what is left of the sds."""
    model = blocks_of(spec, data)
    if model is None:
        return IntegratedPosterior.of(spec, data, tol)
    return BlockReference.of(spec, data, tol, model)

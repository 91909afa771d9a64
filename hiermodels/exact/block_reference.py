"""The posterior of groups with several effects, or of many levels, without Monte Carlo error."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, Self

import numpy as np
import xarray as xr

from hiermodels.core.arrays import Floats
from hiermodels.core.names import ROOT
from hiermodels.data.covariates import Place
from hiermodels.data.grouped import GroupedData
from hiermodels.exact.block_data import block_model, blocks_of
from hiermodels.exact.block_left_out import leave_out_of_blocks
from hiermodels.exact.block_mixture import BlockMixture
from hiermodels.exact.block_moments import BlockMoments
from hiermodels.exact.block_plug_in import mean_shrinkage, plug_in_blocks
from hiermodels.exact.block_variances import BlockVariances
from hiermodels.exact.blocks.model import BlockModel
from hiermodels.exact.blocks.pair_nodes import PairNodes
from hiermodels.exact.blocks.posterior import BlockPosterior
from hiermodels.exact.marginal import Marginal
from hiermodels.exact.moments import moments_of
from hiermodels.exact.plug_in import plug_in
from hiermodels.exact.quadrature import IntegratedPosterior
from hiermodels.exact.sd_reference import parts_of
from hiermodels.exact.standardize import standardize
from hiermodels.model.level import INTERCEPT
from hiermodels.model.spec import Spec
from hiermodels.numerics import normal_mixture
from hiermodels.posterior.estimation import PlugIn
from hiermodels.posterior.left_out import LogDensities, Units
from hiermodels.posterior.moments import ExistingMoments
from hiermodels.posterior.precision import TOLERANCE
from hiermodels.posterior.variance_shares import VarianceShares


@dataclass(frozen=True, repr=False)
class BlockReference(BlockMixture):
    """A lattice over sds and correlations of nested groups, all else integrated out.

    Attributes
    ----------
    existing : ExistingMoments, optional
        Which moments exist, where that was counted before.
    """

    existing: ExistingMoments | None = None

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
        existing = None if spec.is_blocks else moments_of(spec, data)
        posterior = BlockPosterior.of(model or block_model(spec, data), tol)
        return cls(spec, data, posterior, existing=existing)

    @cached_property
    def moments(self) -> ExistingMoments:
        """Which moments exist."""
        if self.existing is not None:
            return self.existing
        if self.spec.is_blocks:
            return BlockMoments(self.spec, self.layout, self.posterior.marginal.tails)
        return moments_of(self.spec, self.data)

    def _counted(self, dimension: int) -> str:
        """The points at which the posterior is summed up, for people to read."""
        if not isinstance(self.lattice, PairNodes):
            return super()._counted(dimension)
        parts = self.lattice.product.first, self.lattice.product.second
        sizes = " and ".join(f"{len(part)} in {len(part.origin)} dimensions" for part in parts)
        return f"{self.n_points} nodes for all pairs of two lattices' points, {sizes}"

    @property
    def _cause(self) -> str:
        """What the quadrature error is: the larger of two errors."""
        is_rounding = self.posterior.rounding > self.posterior.differences
        if isinstance(self.lattice, PairNodes) and not is_rounding:
            return "twice the largest difference of lattices and of nodes is"
        return super()._cause

    @property
    def _of_few(self) -> str:
        """Of what few points are used in place of all."""
        return self.spec.dims(self.spec.effects[0])[0]

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

    def _effect_moments(self, level: int) -> tuple[Floats, Floats]:
        """Means and sds of a level's effects, as they are shown; (u,) each, or (u, p)."""
        mean, sd = (part[self.layout.effects(level)] for part in self._moments_of_level(level))
        return (mean.T, sd.T) if self.spec.levels[level].has_slopes else (mean[0], sd[0])

    def _moments_of_level(self, level: int) -> tuple[Floats, Floats]:
        """Means and sds of all p effects of a level, as they are shown; (p, u) each."""
        mean, sd = self.posterior.effect_moments(level)
        if not self._is_moved(level):
            return mean, sd
        j = self.layout.terms.index(INTERCEPT)
        members = np.arange(mean.shape[1])
        parts = [members[part] for part in parts_of(len(members))]
        moved = [normal_mixture.moments(*self._shown(level, j, some)) for some in parts]
        mean, sd = mean.copy(), sd.copy()
        shown = np.concatenate([np.stack(both) for both in moved], axis=1)
        mean[j], sd[j] = np.where(np.isfinite([mean[j], sd[j]]), shown, np.nan)
        return mean, sd

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


def integrated(
    spec: Spec, data: GroupedData, tol: float = TOLERANCE
) -> BlockReference | IntegratedPosterior:
    """The posterior of groups with normal rows, by quadrature over what is left of the sds."""
    model = blocks_of(spec, data)
    if model is None:
        return IntegratedPosterior.of(spec, data, tol)
    return BlockReference.of(spec, data, tol, model)

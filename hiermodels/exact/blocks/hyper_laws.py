"""Distribution functions, densities and quantiles of all sds, of σ and of correlations.

Where σ is integrated, those of sds are in :mod:`hiermodels.exact.blocks.sd_laws`.  All others have
an axis of the lattice of their own.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from hiermodels.core.arrays import Floats
from hiermodels.core.blas import one_blas_thread
from hiermodels.errors import SpecError
from hiermodels.exact.blocks import correlations
from hiermodels.exact.blocks.sd_laws import SdLaw, sd_laws
from hiermodels.exact.blocks.sd_posterior import SdPosterior
from hiermodels.exact.sd_axis import SdAxis

SMALLEST = float(np.finfo(float).tiny)  # sd


@dataclass(frozen=True, eq=False)
class HyperLaws:
    """Laws of a posterior's hyperparameters.

    Attributes
    ----------
    posterior : SdPosterior
    """

    posterior: SdPosterior[Any]

    def sd_cdf(self, sd: int, values: Floats) -> Floats:
        """Probability that an sd, σ being behind the last, is at most each of the values; (n,)."""
        axis = self._axis(sd)
        if not isinstance(axis, SdAxis | SdLaw):
            return np.where(values >= axis, 1.0, 0.0)
        inside = np.maximum(values, SMALLEST)
        if isinstance(axis, SdLaw):
            below = axis.cdf(np.log(inside))
        else:
            below = self.posterior.lattice.cdf(self._place(sd), axis.coordinate(inside))
        return np.where(values > 0, below, 0.0)

    def sd_density(self, sd: int, values: Floats) -> Floats:
        """Density of an sd at values (n,); (n,).

        Raises
        ------
        SpecError
            If it is fixed.
        """
        axis = self._axis(sd)
        inside = np.maximum(values, SMALLEST)
        if isinstance(axis, SdLaw):
            density = axis.density(np.log(inside))
        elif isinstance(axis, SdAxis):
            u = axis.coordinate(inside)
            density = self.posterior.lattice.density(self._place(sd), u)
            density = density * np.exp(-axis.log_slope(u))
        else:
            raise SpecError(f"the sd is fixed at {axis:g}: it has no density")
        return np.where(values > 0, density / inside, 0.0)

    def sd_density_if_any(self, sd: int, values: Floats) -> Floats:
        """The same, nan of an sd that is fixed beside others that are not."""
        if isinstance(self._axis(sd), SdLaw | SdAxis):
            return self.sd_density(sd, values)
        return np.full(len(values), np.nan)

    def sd_quantiles(self, sd: int, probabilities: Floats) -> Floats:
        """Quantiles of an sd; (p,)."""
        axis = self._axis(sd)
        if isinstance(axis, SdLaw):
            return np.exp(axis.quantiles(probabilities))
        if not isinstance(axis, SdAxis):
            return np.full(len(probabilities), axis)
        u = self.posterior.lattice.quantile(self._place(sd), probabilities)
        return np.exp(axis.log_sd(u)) * axis.scale

    def correlation_cdf(self, pair: int, values: Floats) -> Floats:
        """Probability that a correlation is at most each of the values (n,); (n,)."""
        inside = np.abs(values) < 1
        u = correlations.coordinate(np.arctanh(np.where(inside, values, 0.0)))
        below = self.posterior.lattice.cdf(self._pair(pair), u)
        return np.where(inside, below, np.where(values >= 1, 1.0, 0.0))

    def correlation_density(self, pair: int, values: Floats) -> Floats:
        """Density of a correlation at values (n,); (n,)."""
        inside = np.abs(values) < 1
        z = np.arctanh(np.where(inside, values, 0.0))
        u = correlations.coordinate(z)
        log_slope = correlations.log_slope(u) + 2 * correlations.log_sech(z)
        density = self.posterior.lattice.density(self._pair(pair), u) * np.exp(-log_slope)
        return np.where(inside, density, 0.0)

    def correlation_quantiles(self, pair: int, probabilities: Floats) -> Floats:
        """Quantiles of a correlation; (p,)."""
        u = self.posterior.lattice.quantile(self._pair(pair), probabilities)
        return np.tanh(correlations.z_of(u))

    @cached_property
    @one_blas_thread()
    def _laws(self) -> tuple[SdLaw, ...]:
        return sd_laws(self.posterior)

    def _axis(self, sd: int) -> SdLaw | SdAxis | float:
        """Law or axis of an sd, or the sd if it is fixed."""
        coordinates = self.posterior.marginal.coordinates
        if self.posterior.marginal.residual.relative:
            return self._laws[sd]
        every = (*coordinates.axes, coordinates.sigma_axis)
        axis = every[sd]
        assert axis is not None
        return axis

    def _place(self, sd: int) -> int:
        """Axis of the lattice that an sd has."""
        coordinates = self.posterior.marginal.coordinates
        place = (*coordinates.on_lattice, coordinates.dimension - 1)[sd]
        assert place is not None
        return place

    def _pair(self, pair: int) -> int:
        """Axis of the lattice that a correlation has, being the only one of its level."""
        return self.posterior.marginal.coordinates.n_sds + pair

"""Predicted rows of known and of new groups that are crossed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from hiermodels.core.arrays import Floats
from hiermodels.core.blas import one_blas_thread
from hiermodels.data.covariates import Place
from hiermodels.data.grouped import GroupedData
from hiermodels.exact.block_mixture import MAX_MEMBERS, Components, moments_of_mixture
from hiermodels.exact.crossed.mixtures import NEW, CrossedMixtures
from hiermodels.exact.crossed.posterior import CrossedPosterior
from hiermodels.exact.leaf_data import with_intercept
from hiermodels.families.normal import WEIGHTS
from hiermodels.model.spec import Spec
from hiermodels.numerics import normal_mixture
from hiermodels.posterior.moments import Lack, worst_of
from hiermodels.posterior.reference_posterior import ReferencePosterior
from hiermodels.posterior.target import Target


@dataclass(frozen=True, repr=False)
class CrossedPredictive(ReferencePosterior):
    """Over the nodes of a lattice, at each of which all effects and coefficients are normal.

    Attributes
    ----------
    spec, data, place
        As in :class:`ReferencePosterior`.
    posterior : CrossedPosterior
        On arrays.
    """

    spec: Spec
    data: GroupedData
    posterior: CrossedPosterior
    place: Place | None = None

    @cached_property
    def mixtures(self) -> CrossedMixtures:
        """Laws of sums of effects and coefficients."""
        return CrossedMixtures(self.posterior)

    @one_blas_thread()
    def predictive_moments(self, target: Target) -> tuple[Floats, Floats]:
        """Means and sds of predicted values, whether they exist or not; both (r,)."""
        parts = [moments_of_mixture(*components) for _, components in self._predictive(target)]
        mean, sd = np.concatenate([np.stack(part) for part in parts], axis=1)
        return mean, sd

    @one_blas_thread()
    def predictive_cdf(self, target: Target, values: Floats) -> Floats:
        """Distribution functions of predicted values at values (..., r)."""
        below = np.empty(values.shape)
        for part, components in self._predictive(target):
            below[..., part] = normal_mixture.cdf(*components, values[..., part])
        return below

    @one_blas_thread()
    def predictive_quantiles(self, target: Target, probabilities: Floats) -> Floats:
        """Quantiles of predicted values; shape (p, r)."""
        quantiles = np.empty((len(probabilities), len(target.members)))
        for part, components in self._predictive(target):
            for row, p in zip(quantiles, probabilities, strict=True):
                row[part] = normal_mixture.quantile(*components, p)
        return quantiles

    def predictive_lacks(self, target: Target, order: int) -> list[Lack | None]:
        """What a moment of each predicted value lacks; None where it exists."""
        always = (*self.spec.top, *(("sigma",) if target.outcome and self.spec.has_sigma else ()))
        found: dict[tuple[bool, ...], Lack | None] = {}
        lacks = []
        for new in zip(*(own < 0 for own in target.units), strict=True):
            key = tuple(map(bool, new))
            if key not in found:
                both = zip(key, self.spec.levels, strict=True)
                own = [level.sd if is_new else level.effect for is_new, level in both]
                found[key] = worst_of(self.moments.shortage(n, order) for n in (*always, *own))
            lacks.append(found[key])
        return lacks

    def _predictive(self, target: Target) -> Iterator[tuple[slice, Components]]:
        """Yield components of predicted values, some at a time."""
        x = with_intercept(self.spec, target.x)
        weights_of = target.columns.get(WEIGHTS, np.ones(len(x)))
        is_noisy = target.outcome and target.se is None
        noise = 1 / weights_of if is_noisy else np.zeros(len(x))
        for first in range(0, len(x), MAX_MEMBERS):
            part = slice(first, min(first + MAX_MEMBERS, len(x)))
            members = [np.where(own[part] < 0, NEW, own[part]) for own in target.units]
            weights, mean, sd = self.mixtures.sums(members, x[part], noise[part])
            if target.outcome and target.se is not None:
                sd = np.sqrt(sd**2 + target.se[part] ** 2)
            yield part, (weights, mean, sd)

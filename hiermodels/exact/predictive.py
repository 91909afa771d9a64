"""Predicted values of known and of new groups, as mixtures over a lattice of the variances."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from hiermodels.core.arrays import Floats
from hiermodels.core.blas import one_blas_thread
from hiermodels.exact.kernels.kernel import Given
from hiermodels.exact.kernels.tree.conditional import BLOCK
from hiermodels.exact.lattice_mixture import MAX_MEMBERS, LatticeMixture
from hiermodels.families.normal import WEIGHTS
from hiermodels.numerics import normal_mixture as mixture
from hiermodels.posterior.target import Target


@dataclass(frozen=True, repr=False)
class PredictiveMixture(LatticeMixture):
    """A mixture over the nodes of a lattice that predicts."""

    @one_blas_thread()
    def predictive_moments(self, target: Target) -> tuple[Floats, Floats]:
        """Means and sds of predicted values, whether they exist or not; both (r,)."""
        standard, weights = self.marginal.data, self.lattice.weights
        given = self.marginal.given(self.lattice.points)
        members, place = np.unique(target.members, return_inverse=True)
        joint = given.mixture_joint(weights, target.level, members)
        mean, variance = joint.at(place, self._standard_x(target))
        variance = variance + weights @ self._variance_below(target, given)
        return standard.location + standard.scale * mean[0], standard.scale * np.sqrt(variance[0])

    @one_blas_thread()
    def predictive_cdf(self, target: Target, values: Floats) -> Floats:
        """Distribution functions of predicted values at values (..., r)."""
        standard, weights = self.marginal.data, self._nodes[1]
        standardized = (values - standard.location) / standard.scale
        probabilities = np.empty(values.shape)
        for part, mean, sd in self._predictive(target):
            probabilities[..., part] = mixture.cdf(weights, mean, sd, standardized[..., part])
        return probabilities

    @one_blas_thread()
    def predictive_quantiles(self, target: Target, probabilities: Floats) -> Floats:
        """Quantiles of predicted values; shape (p, r)."""
        standard, weights = self.marginal.data, self._nodes[1]
        quantiles = np.empty((len(probabilities), len(target.members)))
        for part, mean, sd in self._predictive(target):
            for i, p in enumerate(probabilities):
                quantiles[i, part] = mixture.quantile(weights, mean, sd, p)
        return standard.location + standard.scale * quantiles

    def _predictive(self, target: Target) -> Iterator[tuple[slice, Floats, Floats]]:
        """Yield standardised means and sds (n, r) of predicted values at the nodes, in blocks."""
        points = self._nodes[0]
        given = self.marginal.given(points)
        below = self._variance_below(target, given)
        x = self._standard_x(target)
        for i in range(0, len(x), MAX_MEMBERS):
            members, place = np.unique(target.members[i : i + MAX_MEMBERS], return_inverse=True)
            joint = given.joint(target.level, members)
            step = max(1, BLOCK // len(points))
            for j in range(0, len(place), step):
                part = slice(i + j, min(i + j + step, i + len(place)))
                mean, variance = joint.at(place[j : j + step], x[part])
                more = below if below.shape[1] == 1 else below[:, part]
                yield part, mean, np.sqrt(variance + more)

    def _standard_x(self, target: Target) -> Floats:
        """Covariates in the tree's coordinates."""
        return (target.x - self.marginal.data.centre) @ self.marginal.data.basis

    def _variance_below(self, target: Target, given: Given) -> Floats:
        """Standardised variance that new groups and a row add; (n, 1), or (n, r) by row."""
        total = given.variance_below(target.level)
        if not target.outcome:
            return total[:, None]
        if target.se is None:
            weights = target.columns.get(WEIGHTS, np.ones(1))
            return total[:, None] + given.variance_of_row()[:, None] / weights
        return total[:, None] + (target.se / self.marginal.data.scale) ** 2

"""What the posterior of two levels says of its one level of groups."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from hiermodels.core.arrays import Floats, Indices
from hiermodels.exact.leaves.effect_law import EffectLaws
from hiermodels.exact.leaves.effects import effect_laws, predictor_laws
from hiermodels.exact.leaves.exchanged import log_means, log_ratios
from hiermodels.exact.leaves.laws import LeafLaws, OfRows, rounds
from hiermodels.exact.leaves.linear import LinearLaw
from hiermodels.exact.leaves.mass_sums import Function
from hiermodels.exact.leaves.outcomes import NewLaw
from hiermodels.exact.leaves.posterior import LeafPosterior
from hiermodels.exact.leaves.predictive import (
    NewEffect,
    grown,
    leave_out,
    new_group_means,
    new_groups,
)
from hiermodels.exact.precision import both_weights
from hiermodels.families.leaves import Leaves


@dataclass(frozen=True, eq=False)
class TwoLevelLaws(LeafLaws):
    """Sums over a lattice of τ and γ.

    Attributes
    ----------
    posterior : LeafPosterior
    """

    posterior: LeafPosterior

    def share_quantiles(self, levels: list[int], rest: float, probabilities: Floats) -> Floats:
        """Quantiles of ``τ²/(τ² + rest)``, which rises with τ; (p,)."""
        (level,) = levels
        variance = self.posterior.sd_quantiles(level, probabilities) ** 2
        return variance / (variance + rest)

    def linear(self, x: Floats) -> LinearLaw:
        """The distribution of ``x'γ``, for (p,)."""
        return LinearLaw.of(self.posterior, x)

    def effect_moments(self, level: int, x: Floats | None = None) -> tuple[Floats, Floats]:
        """Means and sds of the effects, at their own covariates or at others (k, p)."""
        del level
        return self.posterior.effect_moments(x)

    def function_moments(self, function: Function) -> tuple[Floats, Floats]:
        """Means and sds of a function of the effects, at their own covariates; (k,)."""
        return self.posterior.function_moments(function)

    def effect_laws(
        self, level: int, members: Indices | None = None, x: Floats | None = None
    ) -> Iterator[EffectLaws]:
        """Yield the laws of the effects of all groups, or of some."""
        del level
        return effect_laws(self.posterior, members, x)

    def predictor_laws(self, level: int, members: Indices, x: Floats) -> Iterator[EffectLaws]:
        """Yield the laws of linear predictors of rows (r,) of known groups, at x (r, p)."""
        del level
        return predictor_laws(self.posterior, members, x)

    def predictor_means(self, level: int, members: Indices, x: Floats, function: OfRows) -> Floats:
        """Means of a function of the same linear predictors; (r,)."""
        del level
        means = np.empty(len(members))
        is_own = (x == self.x[members]).all(axis=1)
        own, others = np.flatnonzero(is_own), np.flatnonzero(~is_own)
        row_of = np.zeros(len(self.leaves), dtype=np.intp)

        def of_groups(groups: Indices, theta: Floats) -> Floats:
            return function(row_of[groups], theta)

        for part in rounds(members[own]):
            rows = own[part]
            row_of[members[rows]] = rows
            means[rows] = self.posterior.effect_means(of_groups)[members[rows]]
        for laws in predictor_laws(self.posterior, members[others], x[others]):
            laws = replace(laws, groups=others[laws.groups])
            means[laws.groups] = laws.means(function)
        return means

    def new_law(self, x: Floats) -> NewLaw:
        """The linear predictor of a row of a new group, at covariates (p,)."""
        return NewLaw(NewEffect.of(self.posterior, x))

    def new_means(self, x: Floats, function: Callable[[Floats], Floats], order: int = 0) -> Floats:
        """Means of functions of it, from (1, Z) to (m, Z), that grow as ``e^(order·η)``; (m,)."""
        posterior = grown(self.posterior, x, order) if order else self.posterior
        return new_group_means(posterior, x, function, order)

    def exchanged(self, groups: Indices, leaves: Leaves) -> tuple[Floats, Floats]:
        """``log E[m'/m]`` with leaves (V,) in the place of groups' own, and its error; (V,)."""
        return log_ratios(self.posterior, groups, leaves)

    def of_new_groups(self, x: Floats, leaves: Leaves) -> Floats:
        """``log E[m']`` of leaves (V,) of new groups at covariates (p,); (V,)."""
        return log_means(self.posterior, leaves, x)[0]

    def leave_out(self, level: int) -> tuple[Floats, Floats]:
        """Log density of each group's rows given all other groups, and its error; (k,).

        The error is what sums over the whole lattice and over half of it differ by.
        """
        del level
        left_out = leave_out(self.posterior)
        if not self.dimension:
            return left_out, np.zeros_like(left_out)
        _, half = both_weights(self.posterior.lattice)
        return left_out, np.abs(leave_out(self.posterior, half) - left_out)

    def again(self, level: int) -> Floats:
        """Log density of a new group with the same rows and covariates, given all; (k,)."""
        del level
        log_density = np.empty(len(self.leaves))
        for alike in self.posterior.model.alike:
            own = self.leaves.take(alike.groups)
            log_density[alike.groups] = new_groups(self.posterior, own, alike.x)
        return log_density

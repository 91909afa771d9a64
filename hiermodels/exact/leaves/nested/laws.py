"""What the posterior of three levels says of its levels."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property, partial

import numpy as np

from hiermodels.core.arrays import Floats, Indices
from hiermodels.core.blas import one_blas_thread
from hiermodels.exact.leaves.effect_law import EffectLaws
from hiermodels.exact.leaves.exchanged import new_ratios
from hiermodels.exact.leaves.laws import LeafLaws, OfRows, rounds
from hiermodels.exact.leaves.linear import LinearLaw
from hiermodels.exact.leaves.mass_sums import Function
from hiermodels.exact.leaves.nested.effects import effect_laws, moved_mean, new_group_laws
from hiermodels.exact.leaves.nested.exchanged import (
    further_groups,
    further_outer,
    leave_out_outer,
    log_ratios,
)
from hiermodels.exact.leaves.nested.linear import linear_law
from hiermodels.exact.leaves.nested.outer_densities import OuterDensities
from hiermodels.exact.leaves.nested.posterior import NestedPosterior
from hiermodels.exact.leaves.nested.shares import share_quantiles
from hiermodels.exact.leaves.outcomes import Law, MemberLaw, NewLaw
from hiermodels.exact.leaves.predictive import NewEffect, normal_means
from hiermodels.families.binomial_leaves import BinomialLeaves
from hiermodels.families.leaves import Leaves


@dataclass(frozen=True, eq=False)
class NestedLaws(LeafLaws):
    """Sums over a lattice of τ, β, κ and λ.

    Attributes
    ----------
    posterior : NestedPosterior
    """

    posterior: NestedPosterior

    @cached_property
    def outer(self) -> OuterDensities:
        """Densities of the outer effects."""
        return OuterDensities.of(self.posterior)

    def share_quantiles(self, levels: list[int], rest: float, probabilities: Floats) -> Floats:
        """Quantiles of the share of some levels' variances in those of all levels and a rest."""
        return share_quantiles(self.posterior, levels, rest, probabilities)

    def linear(self, x: Floats) -> LinearLaw:
        """The distribution of ``x'γ``, for (p,)."""
        return linear_law(self.posterior, x, np.zeros(len(self.posterior.sds)))

    def effect_moments(self, level: int, x: Floats | None = None) -> tuple[Floats, Floats]:
        """Means and sds of the effects of a level, see :meth:`NestedPosterior.effect_moments`."""
        return self.posterior.effect_moments(level, x)

    def function_moments(self, function: Function) -> tuple[Floats, Floats]:
        """Means and sds of a function of the groups' effects; (k,)."""
        return self.posterior.function_moments(function)

    def effect_laws(
        self, level: int, members: Indices | None = None, x: Floats | None = None
    ) -> Iterator[EffectLaws]:
        """Yield the laws of the effects of all members of a level, or of some."""
        return effect_laws(self.posterior, level, members, self.outer, x)

    def predictor_laws(self, level: int, members: Indices, x: Floats) -> Iterator[EffectLaws]:
        """Yield the laws of rows of known groups, or of new groups in known outer groups."""
        if level == 0:
            kinds = self.posterior.marginal.kinds.kind_of[members]
            yield new_group_laws(self.posterior, self.outer, kinds, x)
            return
        pairs = np.column_stack([members, x])
        _, first, pair_of = np.unique(pairs, axis=0, return_index=True, return_inverse=True)
        for part in rounds(members[first]):
            own, at = first[part], self.x.copy()
            at[members[own]] = x[own]
            rows = np.flatnonzero(np.isin(pair_of, part))
            for laws in effect_laws(self.posterior, 1, members[own], self.outer, at):
                row, law = np.nonzero(members[rows][:, None] == laws.groups)
                yield replace(laws, groups=rows[row], mass=laws.mass[law])

    def predictor_means(self, level: int, members: Indices, x: Floats, function: OfRows) -> Floats:
        """Means of a function of the same linear predictors; (r,)."""
        means, model = np.empty(len(members)), self.posterior.model
        if not model.n_slopes or not level:
            for laws in self._laws_for_means(level, members, x):
                means[laws.groups] = laws.means(lambda rows, theta: function(rows, theta[None]))
            return means
        away = model.slopes_of(x) - model.slopes_x[members]
        pairs = np.column_stack([members, away])
        distinct, which = np.unique(pairs, axis=0, return_inverse=True)
        for number, (member, *own) in enumerate(distinct):
            rows = np.flatnonzero(which.ravel() == number)
            of_rows = partial(function, rows)
            means[rows] = moved_mean(
                self.posterior, self.outer, int(member), np.array(own), of_rows
            )
        return means

    def _laws_for_means(self, level: int, members: Indices, x: Floats) -> Iterator[EffectLaws]:
        """Laws whose means are right, if not their densities."""
        if level:
            return self.predictor_laws(level, members, x)
        kinds = self.posterior.marginal.kinds.kind_of[members]
        return iter([new_group_laws(self.posterior, self.outer, kinds, x, for_means=True)])

    def _new_sd(self, posterior: NestedPosterior) -> Floats:
        """Sds of a new group's effect in a new outer group around λ, at the nodes; (J,)."""
        return np.hypot(*posterior.sds.T)

    def new_law(self, x: Floats) -> Law:
        """The effect of a new group in a new outer group, ``N(λ + x'β, κ² + τ²)``."""
        if self.posterior.model.n_slopes:
            return MemberLaw(self._new_laws(x))
        return NewLaw(NewEffect(linear_law(self.posterior, x, self._new_sd(self.posterior))))

    def _new_laws(self, x: Floats, *, for_means: bool = False) -> EffectLaws:
        """The same on a grid."""
        kinds = np.array([len(self.posterior.marginal.kinds)])
        return new_group_laws(self.posterior, self.outer, kinds, x[None], for_means=for_means)

    @one_blas_thread()
    def new_means(self, x: Floats, function: Callable[[Floats], Floats], order: int = 0) -> Floats:
        """Means of functions of it, from (1, Z) to (m, Z), that grow as ``e^(order·η)``; (m,)."""
        if self.posterior.model.n_slopes and not order:
            laws = self._new_laws(x, for_means=True)
            return np.asarray(function(laws.grid.theta[None]) @ laws.mass[0] / laws.mass.sum())
        posterior = self._grown(x, order) if order else self.posterior
        mean, sd = posterior.gamma @ x, self._new_sd(posterior)
        return normal_means(posterior.lattice, mean, sd, function, order)

    def _grown(self, x: Floats, order: int) -> NestedPosterior:
        """The posterior on a lattice that holds the mean of ``e^(order·η)``."""

        def growth(sds: Floats, gamma: Floats) -> Floats:
            return np.asarray(order * gamma @ x + 0.5 * order**2 * (sds**2).sum(axis=1))

        own = self.posterior
        laid = own.marginal.lattice(own.lattice.spacing, growth=growth)
        return NestedPosterior(own.marginal, laid)

    def exchanged(self, groups: Indices, leaves: Leaves) -> tuple[Floats, Floats]:
        """``log E[m'/m]`` with leaves (V,) in the place of those of groups (V,), and its error.

        The error is taken to be that of the posterior.
        """
        log_ratio = log_ratios(self.posterior, self.outer, groups, leaves)
        return log_ratio, np.full(len(log_ratio), self.posterior.certificate)

    @one_blas_thread()
    def of_new_groups(self, x: Floats, leaves: Leaves) -> Floats:
        """``log E[m']`` of leaves (V,) of new groups in new outer groups; (V,)."""
        own = self.posterior
        return new_ratios(own.both_weights, own.gamma @ x, self._new_sd(own), leaves)[0]

    def leave_out(self, level: int) -> tuple[Floats, Floats]:
        """Log density of each group's rows given all other groups of a level, and its error."""
        if level == self.innermost:
            nothing = BinomialLeaves.of(*np.zeros((2, len(self.leaves))))
            log_ratio, error = self.exchanged(np.arange(len(self.leaves)), nothing)
            return self.leaves.constant - log_ratio, error
        whole, half = leave_out_outer(self.posterior)
        return whole, np.abs(half - whole)

    def again(self, level: int) -> Floats:
        """Log density of the same rows in a further group of the same parent, given all."""
        if level == self.innermost:
            return further_groups(self.posterior, self.outer)
        return further_outer(self.posterior)

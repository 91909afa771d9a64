"""What moves under another flat prior of one sd, as sums over one lattice with other weights."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from hiermodels.core.arrays import Floats, Indices
from hiermodels.core.blas import one_blas_thread
from hiermodels.core.names import ROOT
from hiermodels.data.covariates import AUTO, locate
from hiermodels.exact.compressed import probe_groups
from hiermodels.exact.kernels.records import Moments
from hiermodels.exact.prior_move import (
    ONE_SD,
    Move,
    hardly_differ,
    moved,
    notable,
    other_weights,
)
from hiermodels.exact.quadrature import IntegratedPosterior
from hiermodels.numerics.lattice import Lattice
from hiermodels.posterior.moments import SD, ExistingMoments

TAIL_MASS = 1e-6  # weight of a point, as a part of the largest
MAX_GROUPS = 200  # of which all are looked at; of more, some that stand for them


@one_blas_thread()
def prior_moves(exact: IntegratedPosterior, name: str) -> Iterator[Move]:
    """What moves notably under the other flat prior of an sd: of each kind what moves most."""
    known = exact.moments
    log_sd = exact.marginal.log_sds(exact.lattice.points)[:, exact.marginal.names.index(name)]
    both, ratio = other_weights(exact.lattice.weights, log_sd)
    if hardly_differ(both, ratio) and known.exist([name], SD):
        return
    look = _Look(exact, known, both)
    yield from notable((look.sds(name, ratio), look.effects(), look.new_members()))


@dataclass(frozen=True)
class _Look:
    """The posterior under both flat priors of one sd."""

    exact: IntegratedPosterior
    known: ExistingMoments
    weights: Floats  # of the lattice's points under the default prior and the other; (2, n)

    def sds(self, name: str, ratio: Floats) -> Iterator[Move]:
        """Yield the moves of the sds' means, or of the median of the one whose prior is another."""
        marginal = self.exact.marginal
        values = marginal.sds(self.exact.lattice.points)
        means = self.weights @ values
        spread = np.sqrt(self.weights[0] @ (values - means[0]) ** 2)
        for j in marginal.free:
            if self.known.exist([marginal.names[j]], SD):
                yield moved(f"posterior mean of {marginal.names[j]}", means[:, j], spread[j])
        if not self.known.exist([name], SD):
            laid = self.exact.lattice
            other = replace(laid, log_density=laid.log_density + np.log(ratio))
            low, old, high = self._quantiles(laid, name)
            _, new, _ = self._quantiles(other, name)
            yield moved(f"posterior median of {name}", np.array([old, new]), (high - low) / 2)

    def effects(self) -> Iterator[Move]:
        """Yield the moves of the means of groups' effects, of the intercept and of coefficients."""
        spec, standard = self.exact.spec, self.exact.marginal.data
        for name in spec.locations:
            if self.known.exist([name], SD):
                means = standard.location + standard.scale * spec.named(self._moments.means)[name]
                variance = spec.named(self._moments.variances)[name][0]
                spread = standard.scale * np.sqrt(variance)
                sizes = np.abs(means[1] - means[0]) / spread
                worst = int(sizes.argmax())
                label = self._label(name, worst)
                yield moved(
                    f"posterior mean of {name}{label}{self._where}", means[:, worst], spread[worst]
                )
        if spec.covariates and self.known.exist(["beta"], SD):
            yield from self._coefficients()

    def _coefficients(self) -> Iterator[Move]:
        standard = self.exact.marginal.data
        means = standard.scale * self._moments.beta @ standard.basis.T
        covariance = standard.basis @ self._moments.beta_covariance[0] @ standard.basis.T
        spreads = standard.scale * np.sqrt(np.diag(covariance))
        for name, both, spread in zip(self.exact.spec.coefficients, means.T, spreads, strict=True):
            yield moved(f"posterior mean of {name}", both, spread)

    def new_members(self) -> Iterator[Move]:
        """Yield by how much the sd of a new group's effect changes, at each level."""
        spec, marginal = self.exact.spec, self.exact.marginal
        squares = self.weights @ marginal.sds(self.exact.lattice.points) ** 2
        parents = (spec.intercept, *(level.effect for level in spec.levels[:-1]))
        places = zip(spec.levels, parents, self._moments.variances, strict=False)
        for level, parent, variances in reversed(list(places)):
            if self.known.exist((*([parent] if parent else []), level.sd), SD):
                above = marginal.data.scale**2 * variances
                sds = np.sqrt(squares[:, [marginal.names.index(level.sd)]] + above)
                worst = int(np.abs(sds[1] / sds[0] - 1).argmax())
                what = f"sd of a new {level.column}{self._where}"
                yield moved(what, sds[:, worst], sds[0, worst])

    @property
    def _where(self) -> str:
        """Where effects are looked at; nothing without covariates."""
        return " at the covariates' means" if self.exact.spec.covariates else ""

    @cached_property
    def _moments(self) -> Moments:
        """Moments of effects at the covariates' means, over the points that matter.

        Of all effects; of many groups, those of some.
        """
        marginal = self.exact.marginal
        largest = self.weights.max(axis=1, keepdims=True)
        kept = (self.weights > TAIL_MASS * largest).any(axis=0)
        weights = self.weights[:, kept]
        return marginal.given(self.exact.lattice.points[kept]).mixture(
            weights / weights.sum(axis=1, keepdims=True),
            marginal.data.origin_at(locate(self.exact.data, AUTO).of(ROOT)),
            self._groups,
        )

    @cached_property
    def _groups(self) -> Indices:
        tree = self.exact.marginal.data.tree
        return np.arange(tree.n_groups) if tree.n_groups <= MAX_GROUPS else probe_groups(tree)

    def _label(self, name: str, place: int) -> str:
        """How a group is called, in brackets; nothing for the intercept."""
        level, levels = self.exact.spec.level_of(name), self.exact.data.levels
        if level == ROOT:
            return ""
        member = self._groups[place] if level == len(levels) - 1 else place
        return f"[{levels[level].labels[member]}]"

    def _quantiles(self, laid: Lattice, name: str) -> Floats:
        """Median of an sd, between the ends of its central 68 % interval."""
        other = replace(self.exact, lattice=laid)
        return other.quantile(ONE_SD, [name])[name].to_numpy()

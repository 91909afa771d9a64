"""What moves of counts under another flat prior of their sd, over the same lattice."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from hiermodels.core.arrays import Floats
from hiermodels.core.blas import one_blas_thread
from hiermodels.core.names import ROOT
from hiermodels.data.covariates import AUTO, locate
from hiermodels.data.grouped import GroupedData
from hiermodels.exact.leaf_data import with_intercept
from hiermodels.exact.leaf_moments import LeafMoments
from hiermodels.exact.leaves.nested.posterior import NestedPosterior
from hiermodels.exact.leaves.posterior import LeafPosterior
from hiermodels.exact.prior_move import (
    ONE_SD,
    Move,
    hardly_differ,
    moved,
    notable,
    other_weights,
)
from hiermodels.model.spec import Spec
from hiermodels.posterior.moments import SD

MAX_WORK = 3e6  # points times groups that are not alike, beyond which no groups are looked at


@one_blas_thread()
def leaf_prior_moves(
    spec: Spec,
    data: GroupedData,
    posterior: LeafPosterior | NestedPosterior,
    existing: LeafMoments,
    name: str,
) -> Iterator[Move]:
    """What moves notably under the other flat prior of the sd: of each kind what moves most."""
    number = [level.sd for level in spec.levels].index(name)
    both, ratio = other_weights(posterior.lattice.weights, np.log(posterior.sds[:, number]))
    if hardly_differ(both, ratio) and existing.exist([name], SD):
        return
    look = _Look(spec, data, posterior, existing, both)
    kinds = look.sd(number, ratio), look.coefficients(), look.effects(), look.new_groups()
    yield from notable(kinds)


@dataclass(frozen=True)
class _Look:
    """The posterior under both flat priors."""

    spec: Spec
    data: GroupedData
    posterior: LeafPosterior | NestedPosterior
    existing: LeafMoments
    weights: Floats  # of the lattice's points under the default prior and the other; (2, J)

    def sd(self, level: int, ratio: Floats) -> Iterator[Move]:
        """Yield the move of the mean of a level's sd, or of its median where there is no mean."""
        name = self.spec.levels[level].sd
        if self.existing.exist([name], SD):
            yield self._of_nodes(f"posterior mean of {name}", self.posterior.sds[:, level])
            return
        laid = self.posterior.lattice
        other = replace(laid, log_density=laid.log_density + np.log(ratio))
        low, old, high = self.posterior.sd_quantiles(level, np.array(ONE_SD))
        (new,) = replace(self.posterior, lattice=other).sd_quantiles(level, np.array([0.5]))
        yield moved(f"posterior median of {name}", np.array([old, new]), (high - low) / 2)

    def coefficients(self) -> Iterator[Move]:
        """Yield the moves of the means of the intercept and of the coefficients."""
        place = locate(self.data, AUTO)
        rows = np.eye(len(self.spec.means))
        if self.spec.has_intercept:
            rows[0] = with_intercept(self.spec, place.of(ROOT))
        for name, row in zip(self.spec.means, rows, strict=True):
            variable = name.partition("[")[0]
            if self.existing.exist([variable], SD):
                where = f" {place.words}" if variable in self.spec.top and place.words else ""
                yield self._of_nodes(f"posterior mean of {name}{where}", self.posterior.gamma @ row)

    def effects(self) -> Iterator[Move]:
        """Yield the moves of the means of groups' effects, if possible on the outcome's scale."""
        if self.posterior.work * len(self.posterior.lattice) > MAX_WORK:
            return
        name, level = self.spec.effects[0], self.spec.levels[-1]
        function = self.spec.family.inverse_link
        lacks = np.zeros(len(self.data.coords[level.column]), dtype=bool)
        for own in self.spec.on_outcome_scale:
            name = own
        if name == self.spec.effects[0]:
            lacks = self.existing.lacking(name, SD, own=True) | lacks
        mean, sd = self.posterior.moments_over(self.weights, function)
        for i in np.flatnonzero(~lacks & (sd[0] > 0)).tolist():
            label = self.data.coords[level.column][i]
            yield moved(f"posterior mean of {name}[{label}]", mean[:, i], sd[0, i])

    def new_groups(self) -> Iterator[Move]:
        """Yield by how much the sd of a new group's effect changes, on the scale of the link."""
        level, top = self.spec.levels[-1], self.spec.top
        if not self.existing.exist([*top, *self.spec.spreads], SD):
            return
        row = with_intercept(self.spec, locate(self.data, AUTO).of(ROOT))
        predictor = self.posterior.gamma @ row
        around = self.weights @ predictor**2 - (self.weights @ predictor) ** 2
        sds = np.sqrt(self.weights @ (self.posterior.sds**2).sum(axis=1) + around)
        scale = "" if self.spec.family.link == "identity" else " on the scale of the link"
        yield moved(f"sd of a new {level.column}{scale}", sds, float(sds[0]))

    def _of_nodes(self, what: str, values: Floats) -> Move:
        """The move of the mean of a function of the sds and the coefficients, (J,)."""
        means = self.weights @ values
        sd = np.sqrt(self.weights[0] @ (values - means[0]) ** 2)
        return moved(what, means, float(sd))

"""Which moments of a posterior exist, and in plain words why one does not.

With few groups the posterior of a variance has a tail so heavy that its mean, or its sd, is
infinite, and so is that of all that the variance is part of.  Draws have a finite mean in any
case: one that says nothing and changes with the seed.  So whatever shows a mean or an sd asks
here, and where there is none shows nan, the reason and the median.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hiermodels.data.grouped import GroupedData
from hiermodels.exact import propriety
from hiermodels.exact.block_moments import BlockMoments
from hiermodels.exact.crossed_data import CrossedMoments
from hiermodels.exact.leaf_data import moments_by_counting
from hiermodels.exact.propriety import Tails
from hiermodels.exact.standardize import standardize
from hiermodels.model.spec import Spec
from hiermodels.posterior.moments import ExistingMoments, PopulationMoments, Shortage


@dataclass(frozen=True)
class HierarchyMoments(ExistingMoments):
    """The moments of a model with groups, from the tails of its sds.

    Attributes
    ----------
    spec : Spec
    tails : Tails
    """

    spec: Spec
    tails: Tails

    def shortage(self, name: str, order: int) -> Shortage | None:
        """What a variable's moment of this order lacks, of the sds that it depends on."""
        lacks = [
            Shortage(self.tails.sizes[lowest], propriety.members_of(self.spec, lowest), needed)
            for sd in self._sds(name)
            for lowest, needed in self.tails.lacking(sd, order).items()
        ]
        return max(lacks, key=lambda lack: lack.gap, default=None)

    def _sds(self, name: str) -> Sequence[str]:
        """Sds whose moments a variable's moment needs.

        A coefficient needs those that leave it unbounded as they grow; a value these, and those of
        the levels below it, unless it is an intercept that has a prior.
        """
        if name in self.spec.sds:
            return [name]
        if name == "beta":
            return self.tails.loose
        if name in self.spec.top and not self.tails.intercept_is_flat:
            return self.tails.loose
        rows = () if self.spec.se else ("sigma",)
        first = self.spec.level_of(name) + 1
        below = [level.sd for level in reversed(self.spec.levels[first:])]
        return list(dict.fromkeys([*self.tails.loose, *rows, *below]))


def moments_of(spec: Spec, data: GroupedData) -> ExistingMoments:
    """Find out which moments of a posterior exist: by counting, without computing it.

    Raises
    ------
    ImproperPosteriorError
        If the posterior does not exist.
    """
    if not spec.is_normal:
        return moments_by_counting(spec, data)
    if spec.is_crossed:
        return CrossedMoments.of(spec, data)
    if spec.is_blocks:
        return BlockMoments.of(spec, data)
    if not spec.groups:
        return PopulationMoments.of(spec, data.n_rows)
    return HierarchyMoments(spec, propriety.check(spec, standardize(data)))

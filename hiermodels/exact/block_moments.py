"""Which moments of a posterior of groups with several effects, or of many levels, exist."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from hiermodels.data.grouped import GroupedData
from hiermodels.exact.block_data import Layout, block_model
from hiermodels.exact.blocks.propriety import Tails, check
from hiermodels.exact.blocks.rays import Ray
from hiermodels.model.spec import Spec
from hiermodels.posterior.moments import ExistingMoments, Shortage


@dataclass(frozen=True)
class BlockMoments(ExistingMoments):
    """The moments, from how the posterior falls where sds grow without end.

    Attributes
    ----------
    spec : Spec
    layout : Layout
    tails : Tails
    """

    spec: Spec
    layout: Layout
    tails: Tails

    @classmethod
    def of(cls, spec: Spec, data: GroupedData) -> BlockMoments:
        """By counting, without computing the posterior.

        Raises
        ------
        ImproperPosteriorError
            If the posterior does not exist.
        """
        return cls(spec, Layout(spec), check(block_model(spec, data)))

    def shortage(self, name: str, order: int) -> Shortage | None:
        """What a variable's moment of this order lacks, if that of one of its members does."""
        if self._exists(name, order):
            return None
        slow = [ray for ray in self._rays(name) if ray.exponent + order / 2 >= 0]
        worst = max(slow, key=lambda ray: ray.exponent)
        return Shortage(
            worst.contrasts.number,
            f"contrasts between groups that say something of {self._names(worst)}",
            math.floor(2 * worst.prior + order) + 1,
        )

    def _exists(self, name: str, order: int) -> bool:
        """Whether all members of a variable have a moment."""
        tails = self.tails
        if name == "sigma":
            return all(tails.moment_exists(sd, order) for sd in self._residual_sds)
        if name in self.spec.residual_sds:
            return tails.moment_exists(self._residual_sd(name), order)
        for number, level in enumerate(self.spec.levels):
            if name in (level.sd, *level.sds):
                sds = self._sds(number, name)
                return all(tails.moment_exists(sd, order) for sd in sds)
            if name == level.correlation:
                return True
            if name == level.effect:
                return bool(tails.effects_exist(number, order).all())
        exist = tails.coefficients_exist(order)
        some = [self.layout.intercept] if name in self.spec.top else self.layout.beta
        return bool(np.all(exist[some]))

    @property
    def _residual_sds(self) -> list[int]:
        """Which of the model's sds are residual."""
        return list(range(len(self.tails.model.sds), len(self.tails.model.sd_priors) + 1))

    def _residual_sd(self, name: str) -> int:
        """Which of the model's sds is that of a stratum."""
        model = self.tails.model
        return (*model.names, model.sigma_name).index(name)

    def _sds(self, number: int, name: str) -> list[int]:
        """Which of the model's sds have a name: one of a level's, or all of them."""
        level, every = self.spec.levels[number], self.layout.sds(number).tolist()
        if not level.has_slopes or name == level.sd:
            return every
        return [every[level.sds.index(name)]]

    def _rays(self, name: str) -> list[Ray]:
        """Rays along which a variable's moments may grow."""
        own = self._residual_sds if name == "sigma" else []
        if name in self.spec.residual_sds and name != "sigma":
            own = [self._residual_sd(name)]
        for number, level in enumerate(self.spec.levels):
            if name in (level.sd, *level.sds):
                own = self._sds(number, name)
        return [ray for ray in self.tails.rays if not own or set(own) & set(ray.sds)]

    def _names(self, ray: Ray) -> str:
        return " and ".join(map(self.tails.model.sd_name, ray.sds))

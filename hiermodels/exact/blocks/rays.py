"""Ways in which sds go to infinity, and which moments exist along them.

See :mod:`hiermodels.exact.blocks.propriety` and :mod:`hiermodels.exact.crossed.propriety`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from hiermodels.core.arrays import Flags, Floats
from hiermodels.exact.blocks.contrasts import Contrasts
from hiermodels.exact.blocks.normal_model import NormalModel


@dataclass(frozen=True)
class Ray:
    """A way in which sds go to infinity.

    Attributes
    ----------
    sds : tuple of int
        Which of the model's; σ is the one behind the last.
    contrasts : Contrasts
        Their number is D.
    prior : float
        Exponent of the priors.
    direction : tuple of float, optional
        u, of the sds' effects.
    """

    sds: tuple[int, ...]
    contrasts: Contrasts
    prior: float
    direction: tuple[float, ...] = ()

    @property
    def exponent(self) -> float:
        """Of λ in the posterior's density of log λ."""
        return self.prior - self.contrasts.number / 2


@dataclass(frozen=True)
class RayTails[M: NormalModel]:
    """How the posterior falls along all rays.

    Attributes
    ----------
    model : NormalModel
    rays : tuple of Ray
    highest : int
        Up to which moments are asked for.
    """

    model: M
    rays: tuple[Ray, ...]
    highest: int = 2

    def moment_exists(self, sd: int, order: int) -> bool:
        """Whether an sd, σ being behind the last, has a finite moment."""
        return all(ray.exponent + order / 2 < 0 for ray in self.rays if sd in ray.sds)

    @cached_property
    def orders(self) -> Floats:
        """Highest moment of each sd, σ last, that is asked for and exists; (m + 1,)."""
        orders = range(1, self.highest + 1)
        every = range(len(self.model.sd_priors) + 1)
        return np.array([float(sum(self.moment_exists(j, m) for m in orders)) for j in every])

    def coefficients_exist(self, order: int) -> Flags:
        """Which coefficients have a moment of an order; (c,).

        Those with normal priors, and those that are identified along every ray along which the
        posterior falls too slowly.
        """
        exist = np.ones(len(self.model.precision), dtype=bool)
        for ray in self.slow(order):
            exist &= ~ray.contrasts.free | (self.model.precision > 0)
        return exist

    def slow(self, order: int) -> list[Ray]:
        """Rays along which the posterior falls too slowly for a moment of an order."""
        return [ray for ray in self.rays if ray.exponent + order / 2 >= 0]

"""Whether the posterior exists, and which of its moments do.

Let the sds of a set A go to infinity together, all others staying.  The likelihood then falls as
λ^(−D/2), with λ their square, and where Z_A has the columns of the effects of A, member by member,

    D(A) = rank [X Z_A] − rank X,

the number of contrasts between members; with σ in A, n − rank X.  Priors grow as λ^Σ upper_tail.
The posterior exists if, for every A,

    Σ_A upper_tail − ½ D(A) < 0,

and an sd's moment of order m if this holds with m/2 more wherever A has it.  Correlated effects may
also go to infinity along one direction u only, T becoming a matrix of rank one.  Then D is that of
the single column z'u, all sds of u grow, and for each but one of these the prior of correlations,
LKJ(η) of e effects, takes ``η + (e − 2)/2`` away.

As σ → 0 the likelihood grows as σ^(−(n − rank [X Z])), unless all rows can be fitted exactly.

References
----------
Hobert & Casella (1996), JASA 91:1461 (propriety in mixed models).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from hiermodels.core.arrays import Flags, Floats
from hiermodels.errors import ImproperPosteriorError
from hiermodels.exact.blocks.contrasts import (
    Contrasts,
    coefficient_rank,
    contrasts,
    directions,
    full_rank,
)
from hiermodels.exact.blocks.model import BlockModel
from hiermodels.model.priors.base import Prior
from hiermodels.model.priors.covariance import FlatCovariance, PowerOfSD


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
class Tails:
    """How the posterior falls along all rays.

    Attributes
    ----------
    model : BlockModel
    rays : tuple of Ray
    highest : int
        Up to which moments are asked for.
    """

    model: BlockModel
    rays: tuple[Ray, ...]
    highest: int = 2

    def moment_exists(self, sd: int, order: int) -> bool:
        """Whether an sd has a finite moment."""
        return all(ray.exponent + order / 2 < 0 for ray in self.rays if sd in ray.sds)

    @property
    def orders(self) -> Floats:
        """Highest moment of each sd, σ last, that is asked for and exists; (m + 1,)."""
        orders = range(1, self.highest + 1)
        every = range(len(self.model.sds) + 1)
        return np.array([float(sum(self.moment_exists(j, m) for m in orders)) for j in every])

    def coefficients_exist(self, order: int) -> Flags:
        """Which coefficients have a moment of an order; (c,).

        Those with normal priors, and those that are identified along every ray along which the
        posterior falls too slowly.
        """
        exist = np.ones(len(self.model.precision), dtype=bool)
        for ray in self._slow(order):
            exist &= ~ray.contrasts.free | (self.model.precision > 0)
        return exist

    def effects_exist(self, level: int, order: int) -> Flags:
        """Which members of a level have a moment of an order for all their effects; (u,).

        Along rays along which the posterior falls too slowly, those of which their own rows say
        all, β and the levels below standing still.
        """
        blocks, m = self.model.blocks, len(self.model.sds)
        exist = np.ones(blocks.sizes[level], dtype=bool)
        for ray in self._slow(order):
            inside = all(j < m and self.model.sds[j][0] <= level for j in ray.sds)
            free = ray.contrasts.free[len(ray.contrasts.free) - blocks.q :].any()
            exist &= full_rank(blocks, level) if inside and not free else False
        return exist

    def _slow(self, order: int) -> list[Ray]:
        return [ray for ray in self.rays if ray.exponent + order / 2 >= 0]


def check(model: BlockModel) -> Tails:
    """Decide along which rays the posterior falls.

    Raises
    ------
    ImproperPosteriorError
        If along one it does not.
    """
    rays = tuple(_rays(model))
    slow = [ray for ray in rays if ray.exponent >= 0]
    if slow:
        worst = max(slow, key=lambda ray: (_groups_needed(model, ray) or 0, ray.exponent))
        raise ImproperPosteriorError(_message(model, worst))
    _check_small_sigma(model)
    return Tails(model, rays)


def _rays(model: BlockModel) -> Iterator[Ray]:
    """All rays along which priors let sds go to infinity."""
    free = [j for j, prior in enumerate(model.sd_priors) if math.isfinite(prior.upper_tail)]
    tails = [prior.upper_tail for prior in model.sd_priors]
    for size in range(1, len(free) + 1):
        for some in combinations(free, size):
            growth = sum(tails[j] for j in some)
            yield Ray(some, model.contrasts([model.sds[j] for j in some]), growth)
    yield from _correlated_rays(model, free, tails)
    if math.isfinite(model.sigma.upper_tail):
        n = model.blocks.n_rows - coefficient_rank(model.blocks)
        grow = sum(max(0.0, tails[j]) for j in free)
        some = tuple(j for j in free if tails[j] > 0)
        every = Contrasts(n, np.ones(model.blocks.n_coefficients, dtype=bool))
        yield Ray((*some, len(tails)), every, grow + model.sigma.upper_tail)


def _correlated_rays(
    model: BlockModel, free: Sequence[int], tails: Sequence[float]
) -> Iterator[Ray]:
    """Rays along one direction of the correlated effects of a level."""
    for i, level in enumerate(model.levels):
        own = [j for j in free if model.sds[j][0] == i]
        if level.eta is None or len(own) < 2:
            continue
        effects = [model.sds[j][1] for j in own]
        for u in directions(model.blocks, effects):
            some = [k for k in range(len(u)) if u[k] != 0]
            if len(some) < 2:
                continue
            singular = level.eta + (len(level.varying) - 2) / 2
            prior = sum(tails[own[k]] for k in some) - singular * (len(some) - 1)
            column = np.zeros(model.blocks.p)
            column[effects] = u
            number = contrasts(model.blocks, [(i, column[:, None])])
            yield Ray(tuple(own[k] for k in some), number, prior, tuple(u))


def _check_small_sigma(model: BlockModel) -> None:
    """Raise if σ can go to 0: rows that effects and coefficients can fit exactly."""
    if model.residual_df > 0 or model.sigma.lower_tail > 0:
        return
    raise ImproperPosteriorError(
        f"the posterior does not exist: effects and coefficients fit all {model.blocks.n_rows} "
        f"rows exactly, {model.groups_name(len(model.levels) - 1)} having {model.blocks.p} "
        f"effects each, so that sigma may go to 0, where its prior {model.sigma} has infinite "
        f"mass. Give sigma a proper prior, or use fewer effects"
    )


def _message(model: BlockModel, ray: Ray) -> str:
    """What is wrong along a ray, with the numbers that decide and what would do."""
    what = " and ".join(model.sd_name(j) for j in ray.sds)
    along = ", all in one direction" if ray.direction else ""
    groups = _groups_needed(model, ray)
    enough = f", which takes {groups} groups" if groups else ""
    them, remedy = ("it", "a proper prior") if len(ray.sds) == 1 else ("them", "proper priors")
    more = f", or use {groups} groups" if groups else ", or use more groups"
    return (
        f"the posterior does not exist: {what} may grow without end{along}. {_groups(model, ray)} "
        f"say of {them} as much as {ray.contrasts.number} independent contrasts, and "
        f"{_prior_text(model, ray)} needs at least {math.floor(2 * ray.prior) + 1}{enough}. Give "
        f"{them} {remedy}, such as HalfNormal(…){more}"
    )


def _groups(model: BlockModel, ray: Ray) -> str:
    """Who says something of the sds of a ray."""
    if len(model.sds) in ray.sds:
        return f"The {model.blocks.n_rows} rows"
    levels = sorted({model.sds[j][0] for j in ray.sds})
    return "The " + " and ".join(model.groups_name(level) for level in levels)


def _prior_text(model: BlockModel, ray: Ray) -> str:
    """The priors of a ray's sds, in words."""
    priors = [str(prior) for prior in dict.fromkeys(_priors_of(model, ray))]
    return f"the prior{'s' if len(priors) > 1 else ''} {' and '.join(priors)}"


def _priors_of(model: BlockModel, ray: Ray) -> list[Prior]:
    every = (*model.sd_priors, model.sigma)
    return [FlatCovariance() if isinstance(every[j], PowerOfSD) else every[j] for j in ray.sds]


def _groups_needed(model: BlockModel, ray: Ray) -> int | None:
    """Least number of groups at which the posterior falls along a ray, if more groups are enough.

    That is where each group but one is a contrast for each sd, or for the direction of a ray.
    """
    levels = {model.sds[j][0] for j in ray.sds if j < len(model.sds)}
    if len(levels) != 1 or len(model.sds) in ray.sds:
        return None
    each = 1 if ray.direction else len(ray.sds)
    if ray.contrasts.number != each * (model.blocks.sizes[levels.pop()] - 1):
        return None
    return math.ceil((math.floor(2 * ray.prior) + 1) / each) + 1

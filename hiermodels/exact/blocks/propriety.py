"""Whether the posterior exists, and which of its moments do.

Let the sds of a set A go to infinity together, all others staying.  The likelihood then falls as
λ^(−D/2), with λ their square, and where Z_A has the columns of the effects of A, member by member,

    D(A) = rank [X Z_A] − rank X,

the number of contrasts between members; with σ in A, n − rank X.  With the residual sds of some
strata of the rows, which have n_B rows together, Z_A has all columns of these rows, so that

    D(A) = n_B + rank [X Z_A] of the other rows − rank X.

Priors grow as λ^Σ upper_tail.  The posterior exists if, for every A,

    Σ_A upper_tail − ½ D(A) < 0,

and an sd's moment of order m if this holds with m/2 more wherever A has it.  Correlated effects may
also go to infinity along one direction u only, T becoming a matrix of rank one.  Then D is that of
the single column z'u, all sds of u grow, and for each but one of these the prior of correlations,
LKJ(η) of e effects, takes ``η + (e − 2)/2`` away.

As σ → 0 the likelihood grows as σ^(−(n − rank [X Z])), unless all rows can be fitted exactly.  So
with the residual sd of a stratum, n and the rank being those of its rows; if rows are left in every
stratum they are left in every set of strata, as ranks of sets of rows add up at most.

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
from hiermodels.core.messages import plural
from hiermodels.errors import ImproperPosteriorError
from hiermodels.exact.blocks.contrasts import (
    Contrasts,
    coefficient_rank,
    contrasts,
    directions,
    full_rank,
    residual_share,
)
from hiermodels.exact.blocks.model import BlockModel
from hiermodels.exact.blocks.rays import Ray, RayTails
from hiermodels.model.priors.base import Prior
from hiermodels.model.priors.covariance import FlatCovariance, PowerOfSD
from hiermodels.model.priors.variance import Fixed

NOISE = 1e-14  # part of the outcome's length that may be rounding errors


@dataclass(frozen=True)
class Tails(RayTails[BlockModel]):
    """How the posterior of groups with several effects falls along all rays."""

    def effects_exist(self, level: int, order: int) -> Flags:
        """Which members of a level have a moment of an order for all their effects; (u,).

        Along rays along which the posterior falls too slowly, those of which their own rows say
        all, β and the levels below standing still.
        """
        blocks, m = self.model.blocks, len(self.model.sds)
        exist = np.ones(blocks.sizes[level], dtype=bool)
        for ray in self.slow(order):
            inside = all(j < m and self.model.sds[j][0] <= level for j in ray.sds)
            free = ray.contrasts.free[len(ray.contrasts.free) - blocks.q :].any()
            exist &= full_rank(blocks, level) if inside and not free else False
        return exist


def check(model: BlockModel) -> Tails:
    """Decide along which rays the posterior falls.

    Raises
    ------
    ImproperPosteriorError
        If along one it does not.
    """
    if model.strata:  # what a stratum lacks is clearer than what its sd does
        _check_small_sigma(model)
    rays = tuple(_rays(model))
    slow = [ray for ray in rays if ray.exponent >= 0]
    if slow:
        worst = max(slow, key=lambda ray: (_groups_needed(model, ray) or 0, ray.exponent))
        raise ImproperPosteriorError(_message(model, worst))
    _check_small_sigma(model)
    return Tails(model, rays)


def _rays(model: BlockModel) -> Iterator[Ray]:
    """All rays along which priors let sds go to infinity."""
    ways = list(_ways(model))
    for way in ways:
        number = contrasts(model.blocks, way.columns, model.flat)
        yield Ray(way.sds, number, way.prior, way.direction)
    if model.strata:
        yield from _rays_of_strata(model, ways)
    elif math.isfinite(model.sigma.upper_tail):
        n = model.blocks.n_rows - coefficient_rank(model.blocks, model.flat)
        tails = [prior.upper_tail for prior in model.sd_priors]
        some = tuple(j for j, tail in enumerate(tails) if tail > 0)
        every = Contrasts(n, np.ones(model.blocks.n_coefficients, dtype=bool))
        grow = sum(tails[j] for j in some)
        yield Ray((*some, len(tails)), every, grow + model.sigma.upper_tail)


@dataclass(frozen=True)
class _Way:
    """A way in which sds of groups grow: see :class:`Ray`.

    Attributes
    ----------
    columns : list of (int, (p, k))
        Levels, and columns of effects there.
    """

    sds: tuple[int, ...] = ()
    columns: tuple[tuple[int, Floats], ...] = ()
    prior: float = 0.0
    direction: tuple[float, ...] = ()


def _ways(model: BlockModel) -> Iterator[_Way]:
    """All ways in which priors let sds of groups go to infinity."""
    priors = [prior for _, _, prior in model.sds]
    free = [j for j, prior in enumerate(priors) if math.isfinite(prior.upper_tail)]
    tails = [prior.upper_tail for prior in priors]
    for size in range(1, len(free) + 1):
        for some in combinations(free, size):
            columns = model.columns_of([model.sds[j] for j in some])
            yield _Way(some, columns, sum(tails[j] for j in some))
    yield from _correlated_ways(model, free, tails)


def _rays_of_strata(model: BlockModel, ways: Sequence[_Way]) -> Iterator[Ray]:
    """Rays along which residual sds go to infinity, by themselves or with those of groups.

    More sds make more contrasts.  So those with priors that do not grow may be left out, but for
    one, whose moments are asked for.
    """
    blocks, first = model.blocks, len(model.sds)
    assert blocks.strata is not None
    tails = [prior.upper_tail for prior in (*model.strata, model.sigma)]
    growing = [k for k, tail in enumerate(tails) if 0 < tail < math.inf]
    sets = {
        tuple(sorted({*some, k}))
        for size in range(len(growing) + 1)
        for some in combinations(growing, size)
        for k, tail in enumerate(tails)
        if math.isfinite(tail)
    }
    rank = coefficient_rank(blocks, model.flat)
    for own in sorted(sets):
        others = np.ones(len(tails), dtype=bool)
        others[list(own)] = False
        rest, n = blocks.only(others), int(blocks.strata.n_rows[~others].sum())
        left, prior = coefficient_rank(rest, model.flat) - rank, sum(tails[k] for k in own)
        for way in (_Way(), *(way for way in ways if growing or way.prior > 0)):
            found = contrasts(rest, way.columns, model.flat)
            sds = (*way.sds, *(first + k for k in own))
            number = n + left + found.number
            yield Ray(sds, Contrasts(number, found.free), way.prior + prior, way.direction)


def _correlated_ways(
    model: BlockModel, free: Sequence[int], tails: Sequence[float]
) -> Iterator[_Way]:
    """Ways along one direction of the correlated effects of a level."""
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
            columns = ((i, column[:, None]),)
            yield _Way(tuple(own[k] for k in some), columns, prior, tuple(u))


def _check_small_sigma(model: BlockModel) -> None:
    """Raise if σ can go to 0: rows that effects and coefficients can fit exactly."""
    for own in model.by_stratum:
        if own.residual_df > 0:
            _check_noise(own)
        if own.residual_df > 0 or own.sigma.lower_tail > 0:
            continue
        n, of = own.blocks.n_rows, f" that have {own.sigma_name}" if model.strata else ""
        rows = f"the only row{of.replace('have', 'has')}" if n == 1 else f"all {n} rows{of}"
        p, sigma = model.blocks.p, own.sigma_name
        raise ImproperPosteriorError(
            f"the posterior does not exist: effects and coefficients fit {rows} exactly, "
            f"{model.groups_name(model.innermost)} having {p} effect{plural(p)} each, so that "
            f"{sigma} may go to 0, where its prior {own.sigma} has infinite mass. Give {sigma} a "
            f"proper prior, or use fewer effects"
        )


def _check_noise(model: BlockModel) -> None:
    """Raise if coefficients and effects leave no noise, so that σ goes to 0."""
    if 2 * model.sigma.lower_tail > model.residual_df or isinstance(model.sigma, Fixed):
        return
    varying = [sd for sd in model.sds if sd[2] != Fixed(0)]
    if residual_share(model.blocks, model.columns_of(varying)) > NOISE:
        return
    sigma = model.sigma_name
    of = "" if sigma == "sigma" else f" that have {sigma}"
    raise ImproperPosteriorError(
        f"the posterior does not exist: the {model.blocks.n_rows} rows{of} are explained by "
        f"effects and coefficients without a remainder, so that the likelihood is infinite where "
        f"{sigma} is 0, and the prior {model.sigma} lets it go there. Are rows copies of means, or "
        f"without errors? If errors are known, name the column of standard errors (se=…); or give "
        f"{sigma} a prior that ends before 0, such as InverseGamma(…)"
    )


def _message(model: BlockModel, ray: Ray) -> str:
    """What is wrong along a ray, with the numbers that decide and what would do."""
    what = " and ".join(model.sd_name(j) for j in ray.sds)
    along = ", all in one direction" if ray.direction else ""
    groups = _groups_needed(model, ray)
    enough = f", which takes {groups} groups" if groups else ""
    them, remedy = ("it", "a proper prior") if len(ray.sds) == 1 else ("them", "proper priors")
    units = "rows" if max(ray.sds) >= len(model.sds) else "groups"
    more = f", or use {groups} groups" if groups else f", or use more {units}"
    return (
        f"the posterior does not exist: {what} may grow without end{along}. {_groups(model, ray)} "
        f"say of {them} as much as {ray.contrasts.number} independent contrasts, and "
        f"{_prior_text(model, ray)} needs at least {math.floor(2 * ray.prior) + 1}{enough}. Give "
        f"{them} {remedy}, such as HalfNormal(…){more}"
    )


def _groups(model: BlockModel, ray: Ray) -> str:
    """Who says something of the sds of a ray."""
    if max(ray.sds) >= len(model.sds):
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
    if len(levels) != 1 or max(ray.sds) >= len(model.sds):
        return None
    each = 1 if ray.direction else len(ray.sds)
    if ray.contrasts.number != each * (model.blocks.sizes[levels.pop()] - 1):
        return None
    return math.ceil((math.floor(2 * ray.prior) + 1) / each) + 1

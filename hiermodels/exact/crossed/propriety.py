"""Whether the posterior of crossed groups exists, and which of its moments do.

Let the sds of a set A of factors go to infinity together, all others staying.  The likelihood then
falls as λ^(−D/2), with λ their square, and where Z_A has the columns of all members of A,

    D(A) = rank [X Z_A] − rank X,

X being the columns of coefficients with flat priors; with σ in A, n − rank X.  Priors grow as
λ^Σ upper_tail.  The posterior exists if, for every A,

    Σ_A upper_tail − ½ D(A) < 0,

and an sd's moment of order m if this holds with m/2 more wherever A has it.  As σ → 0 the
likelihood grows as σ^(−(n − rank [X Z])), unless all rows can be fitted exactly.

Of two factors the rank of Z is that of a graph with their members for nodes and the rows for edges:
members less connected parts.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from hiermodels.errors import ImproperPosteriorError, SpecError
from hiermodels.exact.blocks.contrasts import Contrasts
from hiermodels.exact.blocks.rays import Ray, RayTails
from hiermodels.exact.crossed.model import CrossedModel, rank_of
from hiermodels.model.priors.variance import Fixed

RANK_TOLERANCE = 1e-8  # of a column's size
NOISE = 1e-12  # part of the outcome's length that may be rounding errors
ROUNDED_DIGITS = 8  # last digits of the outcome that may be, likewise
ROUNDED = 1e-6  # part of a direction that is none


@dataclass(frozen=True)
class CrossedTails(RayTails[CrossedModel]):
    """How the posterior of crossed groups falls along all rays."""

    def effects_exist(self, factor: int, order: int) -> bool:
        """Whether the deviations of a factor's members have a moment of an order.

        They have a part in common of the size of the sd, of which the rows say nothing beside the
        intercept.
        """
        return all(factor not in ray.sds for ray in self.slow(order))


def check(model: CrossedModel) -> CrossedTails:
    """Decide along which rays the posterior falls.

    Raises
    ------
    ImproperPosteriorError
        If along one it does not.
    SpecError
        If two factors are the same groups, so that only the sum of their variances is known, or if
        rows have an unknown sd and leave it no degree of freedom.
    """
    _check_partitions(model)
    rays = tuple(_rays(model))
    slow = [ray for ray in rays if ray.exponent >= 0]
    if slow:
        raise ImproperPosteriorError(_message(model, max(slow, key=lambda ray: ray.exponent)))
    _check_small_sigma(model)
    return CrossedTails(model, rays)


def contrasts(model: CrossedModel, factors: tuple[int, ...]) -> Contrasts:
    """What rows say of the effects of some factors beside coefficients with flat priors."""
    rows, flat = model.rows, model.precision == 0
    x = rows.weighted[:, :-1][:, flat]
    size = np.linalg.norm(x, axis=0)
    unit = np.where(size > 0, size, 1.0)
    rank = rank_of(rows.without_effects((), x), size)
    left = rows.without_effects(factors, x) / unit
    _, values, axes = np.linalg.svd(left, full_matrices=False)
    null = axes[values <= RANK_TOLERANCE] / unit
    free = np.zeros(len(flat), dtype=bool)
    biggest = np.abs(null).max(axis=1, initial=0.0)[:, None]
    free[flat] = (np.abs(null) > ROUNDED * biggest).any(axis=0)
    number = rows.rank_of_effects(factors) + x.shape[1] - len(null) - rank
    return Contrasts(number, free)


def _rays(model: CrossedModel) -> Iterator[Ray]:
    """All rays along which priors let sds go to infinity."""
    tails = [prior.upper_tail for prior in model.sd_priors]
    free = [k for k, tail in enumerate(tails) if math.isfinite(tail)]
    for size in range(1, len(free) + 1):
        for some in combinations(free, size):
            yield Ray(some, contrasts(model, some), sum(tails[k] for k in some))
    if math.isfinite(model.sigma.upper_tail):
        flat = model.precision == 0
        x = model.rows.weighted[:, :-1][:, flat]
        n = model.n_rows - rank_of(x, np.linalg.norm(x, axis=0))
        some = tuple(k for k in free if tails[k] > 0)
        every = Contrasts(n, np.ones(model.n_coefficients, dtype=bool))
        grow = sum(tails[k] for k in some) + model.sigma.upper_tail
        yield Ray((*some, len(tails)), every, grow)


def _check_partitions(model: CrossedModel) -> None:
    """Raise if two factors with unknown sds are the same groups under other names."""
    for first, second in combinations(model.varying, 2):
        if any(math.isinf(model.sd_priors[k].upper_tail) for k in (first, second)):
            continue
        pairs = np.unique(np.stack([model.rows.members[k] for k in (first, second)]), axis=1)
        if pairs.shape[1] == model.rows.used(first) == model.rows.used(second):
            a, b = model.columns[first], model.columns[second]
            raise SpecError(
                f"{a!r} and {b!r} are the same {pairs.shape[1]} groups: all rows of one {a!r} have "
                f"one {b!r}, and the other way round, so that only the sum of their variances is "
                f"known. Leave one of them out"
            )


def _check_small_sigma(model: CrossedModel) -> None:
    """Raise if σ can go to 0: rows that effects and coefficients can fit exactly."""
    if isinstance(model.sigma, Fixed):
        return
    if model.residual_df <= 0 and model.sigma.lower_tail <= 0:
        raise ImproperPosteriorError(
            f"the posterior does not exist: effects and coefficients fit all {model.n_rows} rows "
            f"exactly, as {_groups(model, model.varying)} and {model.n_coefficients} coefficients "
            f"leave none, so that sigma may go to 0, where its prior {model.sigma} has infinite "
            f"mass. Give sigma a proper prior, or use fewer groups"
        )
    if model.residual_df <= 0:
        raise SpecError(
            f"the exact engine takes crossed groups of more rows than effects and coefficients can "
            f"fit; found {model.n_rows} rows, {_groups(model, model.varying)} and "
            f"{model.n_coefficients} coefficients. Name the column of standard errors (se=…) if "
            f"they are known, use fewer groups, or engine='nuts'"
        )
    if 2 * model.sigma.lower_tail > model.residual_df:
        return
    if model.residual_square <= _rounding_square(model):
        raise ImproperPosteriorError(
            f"the posterior does not exist: the {model.n_rows} rows are explained by effects and "
            f"coefficients without a remainder, so that the likelihood is infinite where sigma is "
            f"0, and the prior {model.sigma} lets it go there. Are rows copies of means, or "
            f"without errors? If errors are known, name the column of standard errors (se=…); or "
            f"give sigma a prior that ends before 0, such as InverseGamma(…)"
        )


def _rounding_square(model: CrossedModel) -> float:
    """Sum of squares that rounding errors may leave: of digits, and of fits."""
    y, weights = model.rows.y, model.rows.weights
    digits = (ROUNDED_DIGITS * np.finfo(float).eps) ** 2 * float(weights @ y**2)
    within = float((model.rows.weighted[len(y) :, -1] ** 2).sum())
    return max(digits, NOISE**2 * (float(weights @ (y - y.mean()) ** 2) + within))


def _groups(model: CrossedModel, factors: list[int] | tuple[int, ...]) -> str:
    """Factors with their numbers of members, in words."""
    return " and ".join(f"{model.rows.used(k):,} {model.columns[k]!r} groups" for k in factors)


def _message(model: CrossedModel, ray: Ray) -> str:
    """What is wrong along a ray, with the numbers that decide and what would do."""
    factors = [k for k in ray.sds if k < len(model.sd_priors)]
    what = " and ".join([*model.names, "sigma"][j] for j in ray.sds)
    own = [(*model.sd_priors, model.sigma)[j] for j in ray.sds]
    names = list(dict.fromkeys(map(str, own)))
    if len(factors) < len(ray.sds):
        who = f"The {model.n_rows} rows"
    else:
        who = "The " + _groups(model, factors)
    them, remedy = ("it", "a proper prior") if len(ray.sds) == 1 else ("them", "proper priors")
    return (
        f"the posterior does not exist: {what} may grow without end. {who} say of {them} as much "
        f"as {ray.contrasts.number} independent contrasts{_confounded(model, ray, factors)}, and "
        f"the prior{'s' if len(names) > 1 else ''} {' and '.join(names)} needs at least "
        f"{math.floor(2 * ray.prior) + 1}. Give {them} {remedy}, such as HalfNormal(…), or use "
        f"more {'groups' if factors else 'rows'}"
    )


def _confounded(model: CrossedModel, ray: Ray, factors: list[int]) -> str:
    """Why there are no contrasts, where there are none."""
    if ray.contrasts.number or len(ray.sds) != 1 or not factors:
        return ""
    column = model.columns[factors[0]]
    if model.rows.used(factors[0]) == 1:
        return f" ({column!r} has a single group, beside the intercept)"
    return (
        f" ({column!r} is a function of the covariates: their coefficients explain all its groups)"
    )

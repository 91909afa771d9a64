"""Whether the posterior of counts exists, and how heavy its tails are.

Of each group i the likelihood is a function ``L_i`` of one number, its linear predictor, which is
``N(x_i'γ, τ²)`` a priori.  ``L_i`` falls to 0 on both sides (the group is *informative*), on one (a
count of 0, or of all trials) or on none (no trials).  With the effects integrated out, at large τ
and ``γ = τη`` an informative group's factor is ``φ(x_i'η) ∫L_i/τ``, that of a one-sided one
``Φ(±x_i'η)`` and that of no trials 1.  So the posterior exists if

1. nothing separates: there is no ``d ≠ 0`` among the p coefficients with flat priors with
   ``x_i'd ≥ 0`` where ``L_i`` falls below and ``x_i'd ≤ 0`` where it falls above;
2. ``upper_tail + (p − k)/2 < 0``, k counting the informative groups alone, and ``lower_tail > 0``.

It is the rule of normal rows (``propriety``) with informative groups counted in place of groups.
With three levels, ``N(μ_s + x_i'β, τ²)`` and ``μ_s ~ N(λ, κ²)``, the exponent of κ² has

    D_κ = S − dim{(u, b) : u_s + x_i'b keeps to the sides of rule 1} − [λ is flat]

with S outer groups and b the flat β: without any, the outer groups less those whose counts,
pooled, are one-sided, less one.  The tails are those of ``propriety``.

References
----------
Natarajan & Kass (2000), JASA 95:227; Michalak & Morris (2016), Bayesian Analysis 11:545; Tak &
Morris (2017), Bayesian Analysis 12:533, who count informative groups of the beta-binomial model.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from hiermodels.core.arrays import Flags, Floats, Indices
from hiermodels.exact import leaf_refusals
from hiermodels.exact.leaf_design import LeafDesign
from hiermodels.exact.propriety import Tails
from hiermodels.numerics.cones import clean, null_space, strict_rows
from hiermodels.numerics.group_sums import sum_by

FEW = 3  # inequalities of an outer group and sign that are looked at before all of them


@dataclass(frozen=True)
class OuterCone:
    """Where outer groups and flat β may go together, κ growing and τ staying.

    Attributes
    ----------
    dimension : int
        Of the set in the rule for ``D_κ``.
    n_informative : int
        Number of outer groups whose counts, pooled, fall on both sides.
    moves_slopes : bool
        Whether some flat β grows.
    moves_outer : (S,) bool
        Whether each outer group's effect grows.
    moves_predictor : (k,) bool
        Whether each group's linear predictor grows.
    """

    dimension: int
    n_informative: int
    moves_slopes: bool
    moves_outer: Flags
    moves_predictor: Flags


@dataclass(frozen=True)
class LeafTails:
    """Tails of a posterior of counts that exists.

    Attributes
    ----------
    design : LeafDesign
    tails : Tails
        Exponents, the sizes being numbers of informative groups of each level.
    outer : OuterCone or None
        With three levels.
    """

    design: LeafDesign
    tails: Tails
    outer: OuterCone | None


def check(design: LeafDesign) -> LeafTails:
    """Raise ImproperPosteriorError if the posterior does not exist.

    Raises
    ------
    ImproperPosteriorError
        With the groups or covariates that leave it open, or the count that failed, and a remedy.
    """
    if _separates(design):
        leaf_refusals.refuse_separation(design, _exists)
    outer = None if design.parent is None else outer_cone(design)
    inner = int(design.is_informative.sum())
    contrasts, sizes = _contrasts(design, outer), [inner]
    if outer:
        sizes.insert(0, outer.n_informative)
    failing, names = list(_failing(design, contrasts)), tuple(design.priors)
    for level in failing:
        if design.priors[names[level]].lower_tail <= 0:
            leaf_refusals.refuse_mass_at_zero(design, names[level], _exists)
    if failing:
        bounded = leaf_refusals.sds_to_bound(design, _exists)
        level = next((level for level in failing if names[level] in bounded), failing[0])
        counted = leaf_refusals.Counted(
            level, _upper_tail_above(design, level), sizes[level], contrasts[level]
        )
        leaf_refusals.refuse_count(design, counted, _exists)
    tails = Tails(
        prior={name: prior.upper_tail for name, prior in design.priors.items()},
        contrasts=dict(zip(names, contrasts, strict=True)),
        sizes=dict(zip(names, sizes, strict=True)),
        intercept_is_flat=design.intercept_is_flat,
        loose=_loose(design, outer),
    )
    return LeafTails(design, tails, outer)


def _exists(design: LeafDesign) -> bool:
    """Whether the posterior exists: for remedies, which are tried before they are proposed."""
    if _separates(design):
        return False
    outer = None if design.parent is None else outer_cone(design)
    return not any(True for _ in _failing(design, _contrasts(design, outer)))


def _separates(design: LeafDesign) -> bool:
    """Whether flat coefficients may go on along some direction without the likelihood falling."""
    basis, _ = design.separation(np.ones(len(design.flat_names), dtype=bool))
    return basis.shape[1] > 0


def _contrasts(design: LeafDesign, outer: OuterCone | None) -> list[int]:
    """``D`` of the rule for the sd of each level, the outermost first."""
    inner = int(design.is_informative.sum()) - len(design.flat_names)
    if outer is None:
        return [inner]
    return [design.n_parents - outer.dimension - int(design.intercept_is_flat), inner]


def _failing(design: LeafDesign, contrasts: list[int]) -> Iterator[int]:
    """Yield levels whose sd has a prior that breaks rule 2, the innermost first."""
    for level, prior in reversed(list(enumerate(design.priors.values()))):
        tail = prior.upper_tail + _upper_tail_above(design, level)
        if prior.lower_tail <= 0 or tail - contrasts[level] / 2 >= 0:
            yield level


def _upper_tail_above(design: LeafDesign, level: int) -> float:
    """Sum of the positive ``upper_tail`` of the priors above a level."""
    return sum(max(0.0, prior.upper_tail) for prior in list(design.priors.values())[:level])


def outer_cone(design: LeafDesign) -> OuterCone:
    """Find where outer groups and flat β may go together.

    Within an outer group that has an informative group ``u_s`` is minus the mean of ``x'b`` over
    these, and the others are compared with it.  One with groups of either side alone, or of none,
    bounds no b.  Between the sides of one with both, but without an informative group, lies a
    ``u_s`` of its own.  Inequalities that hold with equality everywhere make their groups
    informative in turn.
    """
    assert design.parent is not None
    x, parent, size = design.flat_slopes, design.parent, design.n_parents
    below, above = design.falls_below, design.falls_above

    def some(groups: Flags) -> Flags:
        return np.bincount(parent[groups], minlength=size) > 0

    tied = below & above
    pooled = some(below) & some(above)
    _, centred = _centred(x, parent, tied, size)
    basis = null_space(centred[tied])
    one_sided = np.flatnonzero((below ^ above) & pooled[parent])
    if basis.shape[1] and len(one_sided):
        rows, owner = clean(centred[one_sided] @ basis), parent[one_sided]
        has_own, sign = ~some(tied)[owner], np.where(above[one_sided], 1.0, -1.0)
        few = _few_of_each(owner, sign)
        if not _allow_only_zero(rows[few], owner[few], has_own[few], sign[few]):
            one_sided = one_sided[~_strict(rows, owner, has_own, sign)]
    tied[one_sided] = True
    means, centred = _centred(x, parent, tied, size)
    basis = null_space(centred[tied])
    free = ~some(tied)
    return OuterCone(
        dimension=basis.shape[1] + int(free.sum()),
        n_informative=int((~free).sum()),
        moves_slopes=basis.shape[1] > 0,
        moves_outer=free | (clean(means @ basis) != 0).any(axis=1),
        moves_predictor=free[parent] | (clean(centred @ basis) != 0).any(axis=1),
    )


def _centred(x: Floats, parent: Indices, tied: Flags, size: int) -> tuple[Floats, Floats]:
    """Means of x over the tied groups of each outer group, 0 if there are none; x less these."""
    count = np.bincount(parent[tied], minlength=size)
    means = sum_by(parent[tied], x[tied], size) / np.maximum(count, 1)[:, None]
    return means, x - means[parent]


def _few_of_each(owner: Indices, sign: Floats) -> Indices:
    """A few inequalities of each outer group and sign."""
    order = np.lexsort((sign, owner))
    is_first = np.diff(2 * owner[order] + (sign[order] > 0), prepend=-1) != 0
    first = np.flatnonzero(is_first)
    return order[np.arange(len(order)) - first[np.cumsum(is_first) - 1] < FEW]


def _allow_only_zero(rows: Floats, owner: Indices, has_own: Flags, sign: Floats) -> bool:
    """Whether inequalities allow no direction but 0: then so do more of them."""
    size = int(owner.max()) + 1
    _, centred = _centred(rows, owner, has_own, size)
    return null_space(centred).shape[1] == 0 and not _strict(rows, owner, has_own, sign).any()


def _strict(rows: Floats, owner: Indices, has_own: Flags, sign: Floats) -> Flags:
    """Which inequalities, of rows (n, r) and of the ``u_s`` that are variables, are strict."""
    both = _with_own(rows, owner, has_own)
    return strict_rows(both.multiply(sign[:, None]).tocsr())


def _with_own(rows: Floats, owner: Indices, has_own: Flags) -> Any:
    """Rows (n, r), and a column for each outer group whose ``u_s`` is a variable; sparse."""
    from scipy import sparse

    at = np.flatnonzero(has_own)
    distinct, column = np.unique(owner[at], return_inverse=True)
    own = sparse.csr_array((np.ones(len(at)), (at, column)), shape=(len(rows), len(distinct)))
    return sparse.hstack([sparse.csr_array(rows), own], format="csr")


def _loose(design: LeafDesign, outer: OuterCone | None) -> tuple[str, ...]:
    """Sds that leave some flat β unbounded as they grow, the innermost first."""
    names = tuple(design.priors)[::-1]
    if not design.flat_slopes.shape[1]:
        return ()
    return names if outer is None or outer.moves_slopes else names[:1]

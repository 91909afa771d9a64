"""Errors that say why a posterior of counts does not exist, and what to do."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import NoReturn

import numpy as np

from hiermodels.core.arrays import Flags
from hiermodels.core.messages import listed, plural
from hiermodels.errors import ImproperPosteriorError
from hiermodels.exact.leaf_design import LeafDesign
from hiermodels.model.priors.variance import FlatSD, FlatVariance, HalfNormal
from hiermodels.numerics.cones import clean

IMPROPER = "the posterior does not exist:"

type Exists = Callable[[LeafDesign], bool]
"""Whether the posterior exists: so that only remedies that work are proposed."""


def refuse_separation(design: LeafDesign, exists: Exists) -> NoReturn:
    """Raise the error that names the coefficients along which the likelihood never falls."""
    basis, moves = design.separation(np.ones(len(design.flat_names), dtype=bool))
    open_ones = (clean(basis) != 0).any(axis=1)
    names = [n for n, is_open in zip(design.flat_names, open_ones, strict=True) if is_open]
    groups, n = design.wording.groups[-1], len(design.falls_below)
    speaks = design.falls_below | design.falls_above
    is_one_sided = not (design.falls_below.any() and design.falls_above.any())
    slopes = [name for name in names if not (design.has_intercept and name == _top(design))]
    if not speaks.any():
        reason = f"none of the {n:,} {groups} says anything of {_joined(names)}"
    elif is_one_sided and _top(design) in names:
        side, bound = _side(design)
        every = f"all {n:,} {groups}" if speaks.all() else f"all {groups} that have data"
        reason = f"{every} have {side}, so nothing bounds {_top(design)} from {bound}"
    elif (moves & speaks).any():
        reason = (
            f"{_joined(slopes)} separate{plural(3 - len(slopes))} the counts: of the {groups} that "
            f"{'it moves' if len(slopes) == 1 else 'they move'}, {_sides(design, moves)}"
        )
    else:
        verb = "do not tell {} apart" if len(names) > 1 else "say nothing of {}"
        reason = f"the {groups} that have data {verb.format(_joined(names))}"
    needed = _needed(design, [*slopes, *(name for name in names if name not in slopes)])
    bounded = replace(design, is_flat=design.is_flat & ~np.isin(design.coefficients, needed))
    priors = dict.fromkeys(needed, design.wording.mean_prior)
    priors |= dict.fromkeys(sds_to_bound(bounded, exists), design.wording.sd_prior)
    kept = np.array([name not in slopes for name in design.coefficients])
    rest = tuple(name for name in design.coefficients if name not in slopes)
    less = replace(design, x=design.x[:, kept], coefficients=rest, is_flat=design.is_flat[kept])
    leave = f", leave {_joined(slopes)} out" if slopes and exists(less) else ""
    raise ImproperPosteriorError(f"{IMPROPER} {reason}. {_give(priors)}{leave}, or add data.")


def refuse_mass_at_zero(design: LeafDesign, name: str, exists: Exists) -> NoReturn:
    """Raise the error that an sd's prior has infinite mass where the likelihood is finite."""
    flat = [
        prior
        for prior in (FlatSD(), FlatVariance())
        if exists(replace(design, priors={**design.priors, name: prior}))
    ]
    others = f"{', '.join(map(str, flat))} or " if flat else ""
    raise ImproperPosteriorError(
        f"{IMPROPER} {design.priors[name]} on {name} has infinite mass at {name} = 0, which no "
        f"data rule out. Use {others}a proper prior such as HalfNormal(sd=…)."
    )


@dataclass(frozen=True)
class Counted:
    """A level whose sd has a prior that falls too slowly.

    Attributes
    ----------
    level : int
    above : float
        Sum of the positive ``upper_tail`` of the priors above it.
    informative, contrasts : int
        Groups of this level that are informative, and ``D`` of the rule.
    """

    level: int
    above: float
    informative: int
    contrasts: int


def refuse_count(design: LeafDesign, counted: Counted, exists: Exists) -> NoReturn:
    """Raise the error that tells the count, what was needed and what to do."""
    level, above, contrasts = counted.level, counted.above, counted.contrasts
    informative = counted.informative
    name, prior = list(design.priors.items())[level]
    is_inner = level == len(design.priors) - 1
    size = len(design.falls_below) if is_inner else design.n_parents
    spent = informative - contrasts
    needed = spent + int(np.floor(2 * (prior.upper_tail + above))) + 1
    number = f"{informative:,} are" if informative > 1 else ("1 is" if informative else "none is")
    pooled = "" if is_inner else ", their counts pooled"
    found = f"of {size:,} {design.wording.groups[level]} {number} informative{pooled}"
    remedy = _give(dict.fromkeys(sds_to_bound(design, exists), design.wording.sd_prior))
    if exists(replace(design, priors={**design.priors, name: FlatSD()})):
        remedy += f" or FlatSD() (which needs {spent + int(2 * above) + 2})"
    flat = f"with {spent} flat coefficient{plural(spent)}, " if spent else ""
    raise ImproperPosteriorError(
        f"{IMPROPER} {found}{_why_not(design)}; {flat}{prior} on {name} needs {needed}. "
        f"{remedy}, or add data."
    )


def _give(priors: Mapping[str, str]) -> str:
    """Propose proper priors."""
    what = "a proper prior" if len(priors) == 1 else "proper priors"
    said = ", ".join(f"{name!r}: {prior}" for name, prior in priors.items())
    return f"Give {_joined(list(priors))} {what}, such as priors={{{said}}}"


def sds_to_bound(design: LeafDesign, exists: Exists) -> list[str]:
    """The fewest sds, inner ones first, with which bounded the posterior exists."""
    names = list(design.priors)
    for size in range(len(names)):
        for some in combinations(reversed(names), size):
            priors = {**design.priors, **dict.fromkeys(some, HalfNormal(1.0))}
            if exists(replace(design, priors=priors)):
                return [name for name in names if name in some]
    return names


def _top(design: LeafDesign) -> str:
    """Name of the intercept; nothing where there is none."""
    return design.coefficients[0] if design.has_intercept else ""


def _joined(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def _side(design: LeafDesign) -> tuple[str, str]:
    """What all groups have, none of which falls on the other side, and where that is."""
    if design.falls_above.any():
        return design.wording.zero, "below"
    return design.wording.full, "above"


def _sides(design: LeafDesign, moves: Flags) -> str:
    """How many of some groups fall on one side only, and which these are."""
    wording = design.wording
    counts = [
        f"{int(groups.sum()):,} have {what}"
        for groups, what in (
            (moves & design.falls_above, wording.zero),
            (moves & design.falls_below, wording.full),
        )
        if groups.any()
    ]
    one_sided = np.flatnonzero(moves & (design.falls_above | design.falls_below))
    labels = listed([design.labels[int(i)] for i in one_sided])
    return f"{' and '.join(counts)} ({labels}), and none has a count in between"


def _why_not(design: LeafDesign) -> str:
    """Why some groups are not informative; nothing if all are."""
    wording = design.wording
    found = [
        what
        for groups, what in (
            (design.falls_above & ~design.falls_below, wording.zero),
            (design.falls_below & ~design.falls_above, wording.full),
        )
        if groups.any()
    ]
    return f" ({' or '.join(found)} tells one side only)" if found else ""


def _needed(design: LeafDesign, names: Sequence[str]) -> Sequence[str]:
    """The first of some coefficients whose prior alone is enough, or else all of them."""
    for name in names:
        basis, _ = design.separation(np.array([other != name for other in design.flat_names]))
        if not basis.shape[1]:
            return [name]
    return names

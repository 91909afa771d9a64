"""Errors that say why a posterior of counts does not exist, and what to do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn

import numpy as np

from hiermodels.core.arrays import Flags
from hiermodels.core.messages import listed, plural
from hiermodels.errors import ImproperPosteriorError
from hiermodels.exact.leaf_design import LeafDesign
from hiermodels.model.priors.base import VariancePrior
from hiermodels.numerics.cones import clean

IMPROPER = "the posterior does not exist:"


def refuse_separation(design: LeafDesign) -> NoReturn:
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
    priors = ", ".join(f"{name!r}: {design.wording.mean_prior}" for name in needed)
    leave = f"leave {_joined(slopes)} out, " if slopes else ""
    raise ImproperPosteriorError(
        f"{IMPROPER} {reason}. Give {_joined(needed)} a proper prior, such as "
        f"priors={{{priors}}}, {leave}or add data."
    )


def refuse_mass_at_zero(name: str, prior: VariancePrior) -> NoReturn:
    """Raise the error that an sd's prior has infinite mass where the likelihood is finite."""
    raise ImproperPosteriorError(
        f"{IMPROPER} {prior} on {name} has infinite mass at {name} = 0, which no data rule out. "
        f"Use FlatSD(), FlatVariance() or a proper prior such as HalfNormal(sd=…)."
    )


def refuse_count(
    design: LeafDesign, level: int, above: float, informative: int, contrasts: int
) -> NoReturn:
    """Raise the error that tells the count, what was needed and what to do.

    Parameters
    ----------
    design : LeafDesign
    level : int
        Whose prior falls too slowly.
    above : float
        Sum of the positive ``upper_tail`` of the priors above it.
    informative, contrasts : int
        Groups of this level that are informative, and ``D`` of the rule.
    """
    name, prior = list(design.priors.items())[level]
    is_inner = level == len(design.priors) - 1
    size = len(design.falls_below) if is_inner else design.n_parents
    spent = informative - contrasts
    needed = spent + int(np.floor(2 * (prior.upper_tail + above))) + 1
    number = f"{informative:,} are" if informative > 1 else ("1 is" if informative else "none is")
    pooled = "" if is_inner else ", their counts pooled"
    counted = f"of {size:,} {design.wording.groups[level]} {number} informative{pooled}"
    remedy = f"priors={{{name!r}: {design.wording.sd_prior}}}"
    if prior.upper_tail > 0.5 and 0.5 + above - contrasts / 2 < 0:
        remedy += f" or FlatSD() (which needs {spent + int(2 * above) + 2})"
    flat = f"with {spent} flat coefficient{plural(spent)}, " if spent else ""
    raise ImproperPosteriorError(
        f"{IMPROPER} {counted}{_why_not(design)}; {flat}{prior} on {name} needs {needed}. "
        f"Give {name} a proper prior, such as {remedy}, or add data."
    )


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

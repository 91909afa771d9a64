"""How a PyMC model states its levels, and why so.

The effects of a level are sampled themselves (centred), or through their offsets from their
parents in units of the level's sd (non-centred)::

    centered      theta ~ N(mu, tau²)
    noncentered   theta = mu + tau·theta_offset     theta_offset ~ N(0, 1)

Whichever depends less on tau and mu once the data are known is the easier to sample.  Let e² be
the variance of what lies below a group as a measurement of its effect.  Given mu and tau, the
effect's posterior mean gives the data the weight ``1 − B``, and its parent the weight

    B = e² / (e² + tau²).

Where B is near 0 the data fix the effects, and offsets would have to follow tau; where it is near 1
the data leave the offsets alone, and effects would have to follow mu and tau.  Of rows that are not
normal e² is that of a normal measurement in their place (:mod:`hiermodels.mcmc.approximation`).

References
----------
Papaspiliopoulos, Roberts & Sköld (2007), Statistical Science 22:59.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Any, Literal

import numpy as np

from hiermodels.core.arrays import Floats
from hiermodels.core.messages import short
from hiermodels.core.options import one_of
from hiermodels.data.grouped import GroupedData
from hiermodels.errors import SpecError
from hiermodels.exact.marginal import Marginal
from hiermodels.mcmc.approximation import marginal_of
from hiermodels.mcmc.block_approximation import BlockApproximation
from hiermodels.mcmc.crossed_approximation import LikelySds
from hiermodels.model.spec import Spec

type Form = Literal["noncentered", "centered"]
type Parameterization = Literal["auto", "noncentered", "centered", "marginal"] | Mapping[str, Form]
type Observed = Literal["means", "rows"]

FORMS = ("noncentered", "centered")
PARAMETERIZATIONS = (*FORMS, "marginal")
OBSERVED = ("means", "rows")
HALF = 0.5  # of an effect's posterior mean: from there on its own data outweigh its parent
SAFELY = 0.8  # probability that they do, of crossed groups
UNLIKELY = 1e-3  # of the highest probability: what lies below has no say in an expectation


@dataclass(frozen=True)
class Choice:
    """A form for each level, and the reason.

    Attributes
    ----------
    forms : mapping of str to {"noncentered", "centered"}
        By the name of the level's effects, the innermost first; empty where all effects are
        integrated out, or where there are no groups.
    name : str
        In a word where one will do: ``"centered"``, ``"theta centered, mu noncentered"``.
    reason : str
        For people to read.
    can_be_marginal : bool
        Whether effects could be integrated out instead.
    """

    forms: Mapping[str, Form]
    name: str
    reason: str

    can_be_marginal: bool = True

    @property
    def stated(self) -> Parameterization:
        """The choice as a parameterization: what to ask for to have the same again."""
        return self.forms or ("marginal" if self.name == "marginal" else "centered")


def choose(
    parameterization: Parameterization,
    spec: Spec,
    data: GroupedData,
    observed: Observed = "means",
) -> Choice:
    """Settle how a model's levels are stated.

    Parameters
    ----------
    parameterization : {"auto", "noncentered", "centered", "marginal"} or mapping
        ``"auto"`` chooses for each level by how much the data say of its members; a mapping, such
        as ``{"theta": "centered", "mu": "noncentered"}``, names the form of each.
    spec : Spec
    data : GroupedData
    observed : {"means", "rows"}
        What the likelihood takes.

    Raises
    ------
    ImproperPosteriorError
        If ``"auto"`` finds that the posterior does not exist.
    SpecError
        If there is no such parameterization, or it cannot be had with these observations.
    """
    _check(parameterization, spec, observed)
    if not spec.groups:
        return Choice({}, "centered", "a model without groups has no levels to choose for")
    if parameterization == "auto":
        if spec.is_crossed:
            return _automatic_of_crossed(spec, data)
        return _automatic_of_blocks(spec, data) if spec.is_blocks else _automatic(spec, data)
    if parameterization == "marginal":
        return Choice({}, "marginal", "as asked for")
    if isinstance(parameterization, str):
        forms: Mapping[str, Form] = dict.fromkeys(spec.effects, parameterization)
    else:
        forms = {name: parameterization[name] for name in spec.effects}
    for level in reversed(spec.levels):
        at_zero = [name for name in level.sds if spec.fixed.get(name) == 0]
        if at_zero and forms[level.effect] == "centered":
            raise SpecError(
                f"parameterization: {level.effect} has no density around its parent, as "
                f"{at_zero[0]} is fixed at 0; take 'noncentered' for it, or 'auto'"
            )
    return Choice(forms, _name(forms), "as asked for", spec.is_normal and not spec.is_crossed)


def weights_of_data(marginal: Marginal, sds: Floats) -> list[Floats]:
    """The weight ``1 − B`` of the data in the posterior mean of each effect, given the sds.

    A member measures its parent with the variance ``e² + tau²``; the precisions of siblings add up.

    Parameters
    ----------
    marginal : Marginal
    sds : (d,)
        In the outcome's unit, in the order of ``spec.sds``.

    Returns
    -------
    list of (u,)
        For each level, the outermost first.
    """
    tree, variances = marginal.data.tree, marginal.variances_of(sds[None])
    error = variances.sigma2 / tree.weight
    weights: list[Floats] = []
    for level, [variance] in reversed(list(enumerate(variances.between))):
        weights.insert(0, variance / (error + variance))
        precision = np.bincount(tree.parent(level), weights=1 / (error + variance))
        error = 1 / precision
    return weights


def _automatic(spec: Spec, data: GroupedData) -> Choice:
    """Choose by the weight that the data are expected to have in a level's median member.

    The expectation is over the posterior of the sds, on the pilot grid, whose
    places are not evenly spaced.
    """
    marginal = marginal_of(spec, data)
    points, probability = _likely(marginal)
    medians = [
        [float(np.median(level)) for level in weights_of_data(marginal, sds)]
        for sds in marginal.sds(points)
    ]
    expected = np.average(medians, axis=0, weights=probability)
    forms: dict[str, Form] = {}
    reasons = []
    for level, weight in reversed(list(zip(spec.levels, expected.tolist(), strict=True))):
        forms[level.effect] = "centered" if weight >= HALF else "noncentered"
        reasons.append(_reason(f"{level.column}'s {level.effect}", weight))
    return Choice(forms, _name(forms), "; ".join(reasons), spec.is_normal)


def _automatic_of_blocks(spec: Spec, data: GroupedData) -> Choice:
    """Choose by the weight of the data in a level's median member, on average over its effects.

    At about the mode of the sds.
    """
    near = BlockApproximation.of(spec, data)
    forms: dict[str, Form] = {}
    reasons = []
    for level, weights in reversed(list(zip(spec.levels, near.weights_of_data(), strict=True))):
        weight = float(np.median(weights, axis=0).mean())
        several = ", on average over its effects," if len(level.terms) > 1 else ""
        forms[level.effect] = "centered" if weight >= HALF else "noncentered"
        reasons.append(_reason(f"{level.column}'s {level.effect}{several}", weight))
    return Choice(forms, _name(forms), "; ".join(reasons), spec.is_normal)


def _automatic_of_crossed(spec: Spec, data: GroupedData) -> Choice:
    """Choose by how likely the data outweigh the prior in a column's median member.

    An expected weight would not do: of a column with few groups little is known of its sd, and
    where that may be small as well as large, effects that are centred get stuck.
    """
    forms: dict[str, Form] = {}
    reasons = []
    chances = LikelySds.of(spec, data).chances().tolist()
    for level, chance in reversed(list(zip(spec.levels, chances, strict=True))):
        forms[level.effect] = "centered" if chance >= SAFELY else "noncentered"
        reasons.append(
            f"the data have at least half the weight in the median {level.column}'s "
            f"{level.effect} with probability {chance:.2f}, "
            f"{'at least' if chance >= SAFELY else 'less than'} {SAFELY:g}"
        )
    return Choice(forms, _name(forms), "; ".join(reasons), can_be_marginal=False)


def _reason(what: str, weight: float) -> str:
    return (
        f"the data's weight in the median {what} is {weight:.2f}, "
        f"{'at least' if weight >= HALF else 'less than'} ½"
    )


def _likely(marginal: Marginal) -> tuple[Floats, Floats]:
    """Places of the pilot grid (n, d) that matter, and their probabilities (n,) up to a factor."""
    if not marginal.free:
        return np.empty((1, 0)), np.ones(1)
    grid, log_densities = marginal.pilot_grid
    axes = (np.unique(grid[..., axis]) for axis in range(grid.shape[-1]))
    cells = reduce(np.multiply.outer, map(np.gradient, axes))
    probability = cells * np.exp(log_densities - log_densities.max())
    likely = probability > UNLIKELY * probability.max()
    return grid[likely], probability[likely]


def _name(forms: Mapping[str, Form]) -> str:
    """One word for all levels, or one for each."""
    if len(set(forms.values())) == 1:
        return next(iter(forms.values()))
    return ", ".join(f"{name} {form}" for name, form in forms.items())


def _check(parameterization: Parameterization, spec: Spec, observed: Observed) -> None:
    """Raise SpecError if a choice is not known, or does not go with the others."""
    one_of("observed", observed, OBSERVED)
    given: Any = parameterization
    if isinstance(given, Mapping):
        forms, levels = dict(given), spec.effects
        if set(forms) != set(levels) or not set(forms.values()) <= set(FORMS):
            raise SpecError(
                f"parameterization: expected 'noncentered' or 'centered' for each of "
                f"{', '.join(levels)}; found {forms!r}"
            )
    elif not isinstance(given, str) or given not in ("auto", *PARAMETERIZATIONS):
        raise SpecError(
            f"parameterization: expected one of 'auto', "
            f"{', '.join(map(repr, PARAMETERIZATIONS))}, or a mapping with a form for each level; "
            f"found {short(given)}"
        )
    if parameterization == "marginal" and spec.is_crossed:
        raise SpecError(
            "parameterization='marginal' integrates out the effects of nested groups, and these "
            "are crossed; take 'centered' or 'noncentered', or engine='exact', which integrates "
            "them out"
        )
    if parameterization == "marginal" and not spec.is_normal:
        raise SpecError(
            f"parameterization='marginal' integrates effects out in closed form, which only normal "
            f"rows have, and these are {spec.family!r}; take 'centered' or 'noncentered', or "
            f"engine='exact', which integrates them out numerically"
        )
    if parameterization == "marginal" and observed == "rows":
        raise SpecError(
            "parameterization='marginal' integrates out the values that rows would have for their "
            "means; leave out observed='rows', or take 'centered' or 'noncentered'"
        )

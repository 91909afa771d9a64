"""Variance components of rows that are not normal, on the scale of the link."""

from __future__ import annotations

from functools import partial

import numpy as np

from hiermodels.core.arrays import Floats
from hiermodels.exact.leaf_moments import LeafMoments
from hiermodels.exact.leaves.laws import LeafLaws
from hiermodels.model.spec import Spec
from hiermodels.posterior.moments import FOURTH, SD
from hiermodels.posterior.variance_shares import VarianceShares

LATENT_VARIANCE = {"logit": np.pi**2 / 3}  # of a standard logistic variable


def latent_shares(spec: Spec, laws: LeafLaws, probabilities: Floats) -> VarianceShares:
    """Mean, sd and quantiles of the levels' shares of the variance, with a logit link.

    On the scale of the link a binary outcome is whether ``θ + e`` exceeds 0, with a standard
    logistic e of variance π²/3.  Of two levels the groups' share is ``τ²/(τ² + π²/3)``, the
    intraclass correlation of two trials of one group; of three, those of the outer groups and of
    the groups within them are ``κ²`` and ``τ²`` over ``κ² + τ² + π²/3``, and the correlation of two
    trials of one group is the sum of both.

    References
    ----------
    Nakagawa & Schielzeth (2010), Biological Reviews 85:935.
    """
    rest = LATENT_VARIANCE.get(spec.family.link)
    if rest is None:
        return VarianceShares({}, ("on the scale of the link",))
    every = range(len(spec.levels))
    levels = {f"share[{spec.groups[i]}]": [i] for i in every}
    within = f"icc[{spec.groups[-1]}]"
    levels |= {within: list(every)} if len(every) > 1 else {}
    rows = {
        name: [
            *laws.variance_moments(partial(_share, own, rest)),
            *laws.share_quantiles(own, rest, probabilities),
        ]
        for name, own in levels.items()
    }
    squares = " + ".join(f"{level.sd}²" for level in spec.levels)
    names = " and ".join(name for name in levels if name != within)
    notes = [f"{names}: of {squares} + π²/3, the variance of the latent scale"]
    if within in levels:
        notes.append(f"{within}: correlation of two trials of one {spec.groups[-1]}")
    return VarianceShares(rows, ("on the scale of the link", *notes))


def _share(levels: list[int], rest: float, variances: Floats) -> Floats:
    """Share of some levels in the variances (levels, J) of all and a rest; (J,)."""
    return variances[levels].sum(axis=0) / (variances.sum(axis=0) + rest)


def square_moments(
    laws: LeafLaws, level: int, name: str, existing: LeafMoments
) -> tuple[float, float]:
    """Mean and sd of the square of a level's sd, nan where they do not exist."""
    mean, sd = laws.variance_moments(lambda v: v[level])
    exist = existing.exist
    return mean if exist([name], SD) else np.nan, sd if exist([name], FOURTH) else np.nan

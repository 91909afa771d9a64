"""Variance components of rows that are not normal, on the scale of the link."""

from __future__ import annotations

import numpy as np

from hiermodels.core.arrays import Floats
from hiermodels.exact.leaf_moments import LeafMoments
from hiermodels.exact.leaves.posterior import LeafPosterior
from hiermodels.model.spec import Spec
from hiermodels.posterior.moments import FOURTH, SD
from hiermodels.posterior.variance_shares import VarianceShares

LATENT_VARIANCE = {"logit": np.pi**2 / 3}  # of a standard logistic variable


def latent_shares(spec: Spec, exact: LeafPosterior, probabilities: Floats) -> VarianceShares:
    """Mean, sd and quantiles of the groups' share of the variance, with a logit link.

    On the scale of the link a binary outcome is whether ``θ + e`` exceeds 0, with a standard
    logistic e of variance π²/3; the groups' share is ``τ²/(τ² + π²/3)``, the intraclass
    correlation of two trials of one group.

    References
    ----------
    Nakagawa & Schielzeth (2010), Biological Reviews 85:935.
    """
    rest = LATENT_VARIANCE.get(spec.family.link)
    if rest is None:
        return VarianceShares({}, ("on the scale of the link",))

    def share(tau: Floats) -> Floats:
        return tau**2 / (tau**2 + rest)

    name = f"share[{spec.groups[-1]}]"
    rows = {
        name: [*_moments(exact, share(exact.tau)), *share(exact.sd_quantiles(0, probabilities))]
    }
    note = f"{name}: of tau² + π²/3, the variance of the latent scale"
    return VarianceShares(rows, ("on the scale of the link", note))


def square_moments(exact: LeafPosterior, existing: LeafMoments) -> tuple[float, float]:
    """Mean and sd of τ², nan where they do not exist."""
    mean, sd = _moments(exact, exact.tau**2)
    exist = existing.exist
    return mean if exist(["tau"], SD) else np.nan, sd if exist(["tau"], FOURTH) else np.nan


def _moments(exact: LeafPosterior, values: Floats) -> tuple[float, float]:
    """Mean and sd of values at the nodes (J,)."""
    weights = exact.lattice.weights
    mean = float(weights @ values)
    return mean, float(np.sqrt(weights @ (values - mean) ** 2))

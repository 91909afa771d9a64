"""Variance components of counts, on the scale of the link."""

from __future__ import annotations

import numpy as np
import pandas as pd

from hiermodels.core.arrays import Floats
from hiermodels.exact.leaf_reference import LeafReference
from hiermodels.posterior.moments import FOURTH, KINDS, MEAN, SD, Moment, of_variables
from hiermodels.posterior.reference_posterior import NO_ERROR
from hiermodels.posterior.tables import (
    Summary,
    interval_label,
    interval_note,
    tails,
    with_header,
)

LATENT_VARIANCE = {"logit": np.pi**2 / 3}  # of a standard logistic variable


def latent_components(reference: LeafReference, ci_prob: float) -> Summary:
    """Tabulate the sd of the groups and its square, and with a logit link its share.

    On the scale of the link a binary outcome is whether ``θ + e`` exceeds 0, with a standard
    logistic e of variance π²/3; the groups' share is ``τ²/(τ² + π²/3)``, the intraclass
    correlation of two trials of one group.

    References
    ----------
    Nakagawa & Schielzeth (2010), Biological Reviews 85:935.
    """
    spec, link = reference.spec, reference.spec.family.link
    label = interval_label(ci_prob)
    ends = [f"{label}_lb", "median", f"{label}_ub"]
    table = pd.DataFrame(reference.summary(["tau"], ci_prob))
    mean, sd = _square_moments(reference)
    table.loc["tau²"] = pd.Series({"mean": mean, "sd": sd, **(table.loc["tau", ends] ** 2)})
    notes = [NO_ERROR, interval_note(ci_prob), "on the scale of the link"]
    if link in LATENT_VARIANCE:
        rest = LATENT_VARIANCE[link]
        low, high = tails(ci_prob)
        tau = reference.quantile([low, 0.5, high], "tau")["tau"].to_numpy()
        share = tau**2 / (tau**2 + rest)
        mean, sd = _moments(reference, reference.exact.tau**2 / (reference.exact.tau**2 + rest))
        (dim,) = spec.groups
        values = {"mean": mean, "sd": sd, **dict(zip(ends, share, strict=True))}
        table.loc[f"share[{dim}]"] = pd.Series(values)
        notes.append(f"share[{dim}]: of tau² + π²/3, the variance of the latent scale")
    squares = {MEAN: SD, SD: FOURTH}
    shown = [
        *of_variables(["tau"]),
        *(Moment(KINDS[m], "tau²", n, ("tau",)) for m, n in squares.items()),
    ]
    lacking = reference.moments.why(shown)
    notes += [*reference.precision, *([lacking] if lacking else [])]
    return with_header(table, spec, *notes, digits=reference.digits)


def _moments(reference: LeafReference, values: Floats) -> tuple[float, float]:
    """Mean and sd of a function of τ at the nodes."""
    weights = reference.exact.lattice.weights
    mean = float(weights @ values)
    return mean, float(np.sqrt(weights @ (values - mean) ** 2))


def _square_moments(reference: LeafReference) -> tuple[float, float]:
    """Mean and sd of τ², nan where they do not exist."""
    mean, sd = _moments(reference, reference.exact.tau**2)
    exist = reference.moments.exist
    return mean if exist(["tau"], SD) else np.nan, sd if exist(["tau"], FOURTH) else np.nan

"""Variance components: how much of the outcome's variance lies at each level."""

from __future__ import annotations

import numpy as np
import pandas as pd

from hiermodels.posterior.moments import FOURTH, KINDS, MEAN, SD, Moment, of_variables
from hiermodels.posterior.reference_posterior import NO_ERROR, ReferencePosterior
from hiermodels.posterior.tables import (
    CI_PROB,
    Summary,
    interval_label,
    interval_note,
    tails,
    with_header,
)


def variance_components(reference: ReferencePosterior, ci_prob: float = CI_PROB) -> Summary:
    """Tabulate sds, variances and shares of the total variance, without Monte Carlo error.

    Parameters
    ----------
    reference : ReferencePosterior
    ci_prob : float
        Probability of the equal-tailed intervals.

    Raises
    ------
    SpecError
        If the model has no groups.
    """
    spec = reference.spec
    probabilities = np.array([tails(ci_prob)[0], 0.5, tails(ci_prob)[1]])
    shares = reference.variance_shares(probabilities)
    names = [*(level.sd for level in spec.levels), *(("sigma",) if spec.has_sigma else ())]
    label = interval_label(ci_prob)
    sds = pd.DataFrame(reference.summary(names, ci_prob))
    ends = [f"{label}_lb", "median", f"{label}_ub"]
    variances = sds[ends] ** 2
    variances["mean"], variances["sd"] = zip(*reference.variance_moments(names), strict=True)
    variances.index = pd.Index([f"{name}²" for name in names])
    of_total = pd.DataFrame.from_dict(
        dict(shares.rows), orient="index", columns=["mean", "sd", *ends]
    )
    table = pd.concat([part for part in (sds, variances, of_total) if len(part)])[sds.columns]
    squares = {MEAN: SD, SD: FOURTH}  # orders of the moments of an sd that those of its square take
    shown_moments = [
        *of_variables(names),
        *(Moment(KINDS[m], f"{name}²", n, (name,)) for m, n in squares.items() for name in names),
    ]
    lacking = reference.moments.why(shown_moments)
    notes = [NO_ERROR, interval_note(ci_prob), *shares.notes]
    notes += [*reference.precision, *([lacking] if lacking else [])]
    return with_header(table, spec, *notes, digits=reference.digits)

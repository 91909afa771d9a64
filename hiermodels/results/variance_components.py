"""Variance components: how much of the outcome's variance lies at each level."""

from __future__ import annotations

import numpy as np
import pandas as pd

from hiermodels.data.covariates import AUTO, At, locate
from hiermodels.errors import SpecError
from hiermodels.posterior import tables
from hiermodels.posterior.moments import FOURTH, KINDS, MEAN, SD, Moment, of_variables
from hiermodels.posterior.reference_posterior import ReferencePosterior
from hiermodels.posterior.tables import CI_PROB, Summary


def variance_components(
    reference: ReferencePosterior, ci_prob: float = CI_PROB, at: At = AUTO
) -> Summary:
    """Tabulate sds, variances and shares of the total variance.

    Parameters
    ----------
    reference : ReferencePosterior
    ci_prob : float
        Probability of the equal-tailed intervals.
    at : {"auto", "means", "zero"} or mapping of str to value
        Where slopes vary, the covariates at which the groups' variances are.

    Raises
    ------
    SpecError
        If the model has no groups, or ``at`` is each group's own covariates.
    """
    spec, place = reference.spec, locate(reference.data, at)
    if any(np.ndim(x) > 1 for x in place.x):
        raise SpecError(
            f"at: a variance between groups is at the same covariates for all of them; found "
            f"{at!r}. Use 'means', 'zero' or a mapping of columns to values"
        )
    reference = reference.at(at)
    probabilities = np.insert(tables.tails(ci_prob), 1, 0.5)
    shares = reference.variance_shares(probabilities)
    names = [*(level.sd for level in spec.levels), *(("sigma",) if spec.has_sigma else ())]
    label = tables.interval_label(ci_prob)
    sds = pd.DataFrame(reference.summary(names, ci_prob))
    ends = [f"{label}_lb", "median", f"{label}_ub"]
    variances = sds[ends] ** 2
    names = list(sds.index)
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
    error = f"{'all else: ' if shares.are_drawn else ''}{reference.error_in_words}"
    notes = [error, tables.interval_note(ci_prob), *shares.notes]
    notes += place.note(["variances and shares"]) if spec.has_slopes else []
    notes += [*reference.precision, *([lacking] if lacking else [])]
    return tables.with_header(table, spec, *notes, digits=reference.digits)

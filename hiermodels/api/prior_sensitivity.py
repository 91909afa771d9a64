"""How far the posterior moves, level by level, when a prior of a variance is another one.

The lecture says that subtle changes near the top of a hierarchy matter little at the bottom.
Here it is a table: each alternative prior has a posterior of its own, without Monte Carlo error,
and its distance from the first is told in posterior sds.

References
----------
Gelman (2006), Bayesian Analysis 1:515 (priors of variances with few groups).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Unpack

from hiermodels.data.arguments import takes_columns
from hiermodels.data.prepare import announce, prepare
from hiermodels.data.read_rows import Missing
from hiermodels.exact.noise_free import reference_posterior
from hiermodels.model.formula.columns import ColumnNames
from hiermodels.model.priors.base import Priors
from hiermodels.results.alternatives import Alternative, Sensitivity, compare_priors


@takes_columns
def sensitivity(
    data: Any,
    formula: str | None = None,
    *,
    priors: Mapping[str, Alternative] | None = None,
    baseline: Priors = None,
    missing: Missing = "error",
    **columns: Unpack[ColumnNames],
) -> Sensitivity:
    """Compare the posterior with those under other priors, straight from a data frame.

    Parameters
    ----------
    data, formula, outcome, groups, se, variance, covariates, missing
        As in :func:`hiermodels.fit`.
    family, trials, exposure, offset, weights, residual_by, covariance, sampling_correlation
        Likewise: what the rows are.
    priors : mapping of str to mapping, optional
        For each alternative a name and the priors that it changes, such as ``{"sceptical":
        {"tau": hm.HalfNormal(2)}}``, or a set of priors, as in ``{"weak": "weak"}``.  By default
        each group-level sd in turn is given :class:`FlatVariance`, :class:`FlatSD`,
        :class:`HalfNormal` and :class:`HalfCauchy` with the sd of the outcome for their scale (all
        rows, two digits; not where that is 0; of counts, whose effects are logarithms or log odds,
        1; of slopes, that sd over the covariate's), and the notorious
        ``InverseGamma(0.001, 0.001)``; correlations are given ``LKJ(1)`` and ``LKJ(2)``, and with
        their sds a :class:`FlatCovariance`.  Those under which the posterior does not exist have a
        row that says so.
    baseline : mapping of str to Prior, or {"weak", "lecture"}, optional
        The priors that all alternatives start from and are compared with: ``priors`` of
        :func:`hiermodels.fit`.

    Returns
    -------
    Sensitivity

    Raises
    ------
    ImproperPosteriorError
        If a posterior that was asked for does not exist.

    References
    ----------
    Gelman (2006), Bayesian Analysis 1:515.

    Examples
    --------
    >>> import hiermodels as hm
    >>> moved = hm.sensitivity(
    ...     hm.datasets.load_eight_schools(), priors={"flat sd": {"tau": hm.FlatSD()}}
    ... )
    outcome = y, groups = school, se = sigma (se, outcome, groups inferred)
    >>> round(float(moved.table.loc[("flat sd", "theta"), "shift_max"]), 2)
    0.31
    """
    spec, grouped = prepare(data, formula, **columns, priors=baseline, missing=missing)
    announce(grouped)
    return compare_priors(reference_posterior(spec, grouped), priors)

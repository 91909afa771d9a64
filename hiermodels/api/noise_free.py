"""The posterior without Monte Carlo error, straight from a data frame."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from hiermodels.core.arguments import checked
from hiermodels.data.grouped import Missing
from hiermodels.data.prepare import announce, prepare
from hiermodels.exact.noise_free import reference_posterior
from hiermodels.model.priors.base import Priors
from hiermodels.posterior.reference_posterior import TOLERANCE, ReferencePosterior


@checked
def reference(
    data: Any,
    formula: str | None = None,
    *,
    outcome: str | None = None,
    groups: Sequence[str] | str | None = None,
    se: str | Literal[False] | None = None,
    variance: str | None = None,
    covariates: Sequence[str] | str | None = None,
    priors: Priors = None,
    missing: Missing = "error",
    tol: float = TOLERANCE,
) -> ReferencePosterior:
    """Return the posterior without Monte Carlo error, straight from a data frame.

    Parameters
    ----------
    data, formula, outcome, groups, se, variance, covariates, priors, missing
        As in :func:`hiermodels.fit`.
    tol : float
        The quadrature is refined until two spacings agree to so many posterior sds.

    Raises
    ------
    DataError, SpecError, ImproperPosteriorError
        As in :func:`hiermodels.fit`.
    PrecisionError
        If two spacings still differ by more than 1e-3 posterior sds.

    Warns
    -----
    PrecisionWarning
        If they still differ by more than ``tol``: tables then show only the digits that are right.

    Examples
    --------
    >>> import hiermodels as hm
    >>> exact = hm.reference(hm.datasets.load_eight_schools(), priors={"tau": hm.HalfCauchy(5)})
    outcome = y, groups = school, se = sigma (se, outcome, groups inferred)
    >>> round(float(exact.mean["tau"]), 6)
    3.633867
    """
    spec, grouped = prepare(
        data,
        formula,
        outcome=outcome,
        groups=groups,
        se=se,
        variance=variance,
        covariates=covariates,
        priors=priors,
        missing=missing,
    )
    announce(grouped)
    return reference_posterior(spec, grouped, tol)

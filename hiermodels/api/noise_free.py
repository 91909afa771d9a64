"""The posterior without Monte Carlo error, straight from a data frame."""

from __future__ import annotations

from typing import Any, Unpack

from hiermodels.data.arguments import ModelArguments, takes_model
from hiermodels.data.prepare import announce, prepare
from hiermodels.exact.noise_free import reference_posterior
from hiermodels.posterior.precision import TOLERANCE
from hiermodels.posterior.reference_posterior import ReferencePosterior


@takes_model
def reference(
    data: Any,
    formula: str | None = None,
    *,
    tol: float = TOLERANCE,
    **model: Unpack[ModelArguments],
) -> ReferencePosterior:
    """Return the posterior without Monte Carlo error, straight from a data frame.

    Parameters
    ----------
    data, formula, outcome, groups, se, variance, covariance, sampling_correlation, covariates
        As in :func:`hiermodels.fit`.
    family, trials, exposure, offset, weights, residual_by, priors, missing
        Likewise.
    tol : float
        The quadrature is refined until two spacings agree to so many posterior sds.

    Raises
    ------
    DataError, SpecError, ImproperPosteriorError
        As in :func:`hiermodels.fit`.
    PrecisionError
        If two spacings still differ by more than 1e-3 posterior sds, or rounding errors exceed it.

    Warns
    -----
    PrecisionWarning
        If either is more than ``tol``: tables then show only the digits that are right.

    Examples
    --------
    >>> import hiermodels as hm
    >>> exact = hm.reference(hm.datasets.load_eight_schools(), priors={"tau": hm.HalfCauchy(5)})
    outcome = y, groups = school, se = sigma (se, outcome, groups inferred)
    >>> round(float(exact.mean["tau"]), 6)
    3.633867
    """
    spec, grouped = prepare(data, formula, **model)
    announce(grouped)
    return reference_posterior(spec, grouped, tol)

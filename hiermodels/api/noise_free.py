"""The posterior without Monte Carlo error, straight from a data frame."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from hiermodels.core.arguments import checked
from hiermodels.core.options import real_number
from hiermodels.data.grouped import GroupedData, Missing
from hiermodels.data.prepare import announce, prepare
from hiermodels.errors import SpecError
from hiermodels.exact.conjugate import ConjugatePosterior
from hiermodels.exact.quadrature import IntegratedPosterior
from hiermodels.exact.regression import RegressionPosterior
from hiermodels.model.priors import Priors
from hiermodels.model.spec import Spec
from hiermodels.posterior.reference_posterior import (
    LEAST_TOLERANCE,
    TOLERANCE,
    WORST,
    ReferencePosterior,
)


def reference_posterior(
    spec: Spec, data: GroupedData, tol: float = TOLERANCE
) -> ReferencePosterior:
    """Compute the posterior of a specification: in closed form, or by quadrature.

    Parameters
    ----------
    spec, data
    tol : float
        Posterior sds that two spacings of a quadrature may differ by.

    Raises
    ------
    ImproperPosteriorError
        If the posterior does not exist.
    PrecisionError
        If two spacings of the quadrature differ by more than 1e-3 posterior sds.

    Warns
    -----
    PrecisionWarning
        If they differ by more than ``tol``.
    """
    if not LEAST_TOLERANCE <= real_number("tol", tol) <= WORST:
        raise SpecError(
            f"tol: expected posterior sds between {LEAST_TOLERANCE:g} and {WORST:g}; found {tol!r}"
        )
    if spec.groups:
        return IntegratedPosterior.of(spec, data, tol)
    return (RegressionPosterior if spec.is_regression else ConjugatePosterior).of(spec, data)


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

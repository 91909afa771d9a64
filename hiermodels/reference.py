"""The posterior without Monte Carlo error, straight from a data frame."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from hiermodels.conjugate import ConjugatePosterior
from hiermodels.data import GroupedData, Missing
from hiermodels.inputs import announce, prepare
from hiermodels.integrated import IntegratedPosterior
from hiermodels.noise_free import ReferencePosterior
from hiermodels.priors import Priors
from hiermodels.regression import RegressionPosterior
from hiermodels.spec import Spec


def reference_posterior(spec: Spec, data: GroupedData) -> ReferencePosterior:
    """Compute the posterior of a specification: in closed form, or by quadrature.

    Raises
    ------
    ImproperPosteriorError
        If the posterior does not exist.
    """
    if spec.groups:
        return IntegratedPosterior.of(spec, data)
    return (RegressionPosterior if spec.is_regression else ConjugatePosterior).of(spec, data)


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
) -> ReferencePosterior:
    """Return the posterior without Monte Carlo error, straight from a data frame.

    Parameters
    ----------
    data, formula, outcome, groups, se, variance, covariates, priors, missing
        As in :func:`hiermodels.fit`.

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
    return reference_posterior(spec, grouped)

"""Draws against the exact posterior, in units of Monte Carlo error."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import xarray as xr

from hiermodels.core.arguments import checked
from hiermodels.core.options import mapping, names, require_probability
from hiermodels.data.covariates import ZERO
from hiermodels.posterior.moments import of_variables
from hiermodels.posterior.reference_posterior import ReferencePosterior
from hiermodels.posterior.tables import flatten
from hiermodels.results.comparison import DIGITS, Comparison
from hiermodels.results.draw_tests import (
    STATISTICS,
    other_evidence,
    probability_transform,
    tests_of,
)
from hiermodels.results.matching import (
    FitLike,
    matching_draws,
    require_kept,
    require_same_data,
    require_same_model,
    require_same_outcomes,
    require_sides,
)


@checked
def compare(
    mcmc: FitLike | xr.DataTree,
    exact: FitLike | ReferencePosterior,
    alpha: float = 0.01,
    *,
    rename: Mapping[str, str] | None = None,
    var_names: Sequence[str] | str | None = None,
) -> Comparison:
    """Compare draws with the exact posterior.

    Each scalar's mean, quantiles and whole distribution function are tested against the exact
    ones, with Monte Carlo errors that allow for autocorrelation; all tests together give one
    verdict, which right draws fail with probability ``alpha``.  Sds are shown, not tested: their
    own error depends on moments that may not exist, and the uniformity sees a wrong spread.  So
    are means without a fourth moment.

    Parameters
    ----------
    mcmc : Fit or DataTree
        The draws.  A DataTree, from PyMC, Stan, NumPyro or bambi, has a group ``posterior`` with
        dimensions ``chain`` and ``draw``.
    exact : Fit or ReferencePosterior
        The exact posterior; of a Fit, its :meth:`Fit.reference`, not its draws.
    alpha : float
        Probability of a false alarm over all statistics together.
    rename : mapping of str to str, optional
        From the DataTree's names of variables and dimensions to those of this package, such as
        ``{"sd_school": "tau"}``.  Where other packages have a variable for each effect, these
        stand for its members: ``{"Days|Subject_sigma": "tau[Days]"}``; a matrix of correlations
        stands for ``rho``.  ``theta`` is a group's own value, population part included: bambi's
        and brms' deviations have to be added to that first.
    var_names : str or sequence of str, optional
        Variables to compare, in this package's names; all by default, but effects on the outcome's
        scale where these are a function of those on the scale of the link alone, and are tested
        with them.

    Returns
    -------
    Comparison

    Raises
    ------
    SpecError
        If the draws are of another model, other data or other labels, if they lack a variable,
        or if they are too few or not finite.

    References
    ----------
    See :mod:`hiermodels.results.draw_tests` and :mod:`hiermodels.numerics.monte_carlo_error`.

    Examples
    --------
    >>> import hiermodels as hm
    >>> fit = hm.fit(hm.datasets.load_eight_schools(), random_seed=1)
    outcome = y, groups = school, se = sigma (se, outcome, groups inferred)
    >>> hm.compare(fit, fit).passed
    True
    """
    require_probability("alpha", alpha)
    names_of = mapping("rename", rename, "{'sd_school': 'tau'}")
    wanted = names("var_names", "variable", var_names) or None
    require_sides(mcmc, exact)
    if isinstance(mcmc, xr.DataTree):
        require_same_outcomes(mcmc, exact.data)
        tree = mcmc
    else:
        require_same_model(mcmc.spec, exact.spec)
        require_same_data(mcmc.data, exact.data)
        require_kept(mcmc, wanted)
        tree = mcmc.datatree
    reference = exact if isinstance(exact, ReferencePosterior) else exact.reference()
    if reference.place is not None:
        reference = reference.at(ZERO)  # as draws are kept
    draws = matching_draws(tree, reference, names_of, wanted)
    pit = xr.Dataset(
        {name: probability_transform(reference, str(name), draws[name]) for name in draws}
    )
    parts = [tests_of(reference, str(name), draws[name], pit[name]) for name in draws]
    labels = flatten(reference.mean[list(draws)]).index
    table = pd.DataFrame(
        {column: np.concatenate([part[column] for part in parts]) for column in parts[0]},
        pd.MultiIndex.from_product([labels, STATISTICS], names=["quantity", "statistic"]),
    )
    table.attrs["digits"] = min(DIGITS, reference.digits or DIGITS)
    lacking = reference.moments.why(of_variables(map(str, draws)))
    notes = (*reference.precision, *((lacking,) if lacking else ()))
    return Comparison(table, alpha, pit, tuple(other_evidence(tree)), notes)

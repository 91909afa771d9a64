"""Draws against the exact posterior, in units of Monte Carlo error."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from hiermodels.core.arguments import checked
from hiermodels.core.options import mapping, names, require_probability
from hiermodels.data.covariates import ZERO
from hiermodels.exact.moments import moments_of
from hiermodels.exact.noise_free import has_monte_carlo_error
from hiermodels.posterior.engine import INDEPENDENT
from hiermodels.posterior.moments import MEAN, SD, of_variables
from hiermodels.posterior.reference_posterior import ReferencePosterior
from hiermodels.posterior.tables import flatten
from hiermodels.results.comparison import DIGITS, Comparison
from hiermodels.results.draw_tests import (
    LIGHT_TAIL,
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
from hiermodels.results.two_samples import share_below, tests_of_both


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
        The exact posterior; of a Fit, its :meth:`Fit.reference`, not its draws.  Where that is
        summed along random directions, as of counts with many coefficients that vary within groups,
        the draws of a Fit by ``"exact"`` or ``"importance"`` are taken, with Monte Carlo errors of
        both sides; a ReferencePosterior is taken as it is.
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
    See :mod:`hiermodels.results.draw_tests`, :mod:`hiermodels.results.two_samples` and
    :mod:`hiermodels.numerics.monte_carlo_error`.

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
    if not isinstance(exact, ReferencePosterior) and _by_draws(tree, exact, wanted):
        return _with_draws(tree, exact, alpha, names_of, wanted)
    reference = exact if isinstance(exact, ReferencePosterior) else exact.reference()
    if reference.place is not None:
        reference = reference.at(ZERO)  # as draws are kept
    draws = matching_draws(tree, reference, names_of, wanted)
    pit = xr.Dataset(
        {name: probability_transform(reference, str(name), draws[name]) for name in draws}
    )
    parts = [tests_of(reference, str(name), draws[name], pit[name]) for name in draws]
    table = _table(parts, flatten(reference.mean[list(draws)]).index)
    table.attrs["digits"] = min(DIGITS, reference.digits or DIGITS)
    lacking = reference.moments.why(of_variables(map(str, draws)))
    notes = (*reference.precision, *((lacking,) if lacking else ()))
    return Comparison(table, alpha, pit, tuple(other_evidence(tree)), notes)


def _by_draws(tree: xr.DataTree, exact: FitLike, wanted: Sequence[str] | None) -> bool:
    """Whether independent draws of a fit stand for its posterior, which has Monte Carlo error."""
    kept = exact.datatree["posterior"].to_dataset()
    if exact.posterior.engine not in INDEPENDENT:
        return False
    if not set(wanted or exact.spec.distinct_variables) <= {*kept.data_vars}:
        return False
    if not has_monte_carlo_error(exact.spec, exact.data):
        return False
    name = exact.spec.levels[0].sd
    mine = tree["posterior"].to_dataset() if "posterior" in tree.children else kept
    return not (name in mine and np.array_equal(mine[name].to_numpy(), kept[name].to_numpy()))


def _with_draws(
    tree: xr.DataTree,
    exact: FitLike,
    alpha: float,
    rename: Mapping[str, str],
    wanted: Sequence[str] | None,
) -> Comparison:
    """Compare draws with independent draws, which have Monte Carlo error, too."""
    draws = matching_draws(tree, exact, rename, wanted)
    known = matching_draws(exact.datatree, exact, {}, [str(name) for name in draws])
    moments = moments_of(exact.spec, exact.data)
    parts = [
        tests_of_both(
            draws[name],
            known[name],
            tuple(moments.exist([str(name)], order) for order in (MEAN, SD, LIGHT_TAIL)),
        )
        for name in draws
    ]
    table = _table(parts, flatten(known.isel(chain=0, draw=0, drop=True)).index)
    pit = xr.Dataset({name: share_below(draws[name], known[name]) for name in draws})
    lacking = moments.why(of_variables(map(str, draws)))
    size = known.sizes["chain"] * known.sizes["draw"]
    notes = [
        f"Monte Carlo error on both sides: the exact side is {size:,} draws of engine "
        f"{exact.posterior.engine!r}",
        *exact.posterior.caveats,
        *([lacking] if lacking else []),
    ]
    return Comparison(table, alpha, pit, tuple(other_evidence(tree)), tuple(notes))


def _table(parts: Sequence[Mapping[str, Any]], labels: pd.Index) -> pd.DataFrame:
    """All statistics of all scalars."""
    return pd.DataFrame(
        {column: np.concatenate([part[column] for part in parts]) for column in parts[0]},
        pd.MultiIndex.from_product([labels, STATISTICS], names=["quantity", "statistic"]),
    )

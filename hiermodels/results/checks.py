"""Predictive checks: whether these data look like data from the model.

Replicated data are drawn from the posterior, for the same design.  Two kinds of replicates ask two
questions.  With the *same* groups, their effects are kept and the rows drawn anew: is each group's
effect, and the noise around it, right?  With *new* groups, the effects are drawn anew from their
parents too: do the groups look like draws from one normal distribution?  The second is the check
of the hierarchy; the first hardly tests it, because each effect was fitted to the group's own data.

Statistics of normal rows are functions of the groups' weighted means and of the scatter of the rows
around these, which are drawn directly; other rows are drawn one by one.

References
----------
Gelman, Meng & Stern (1996), Statistica Sinica 6:733.
Gelman et al. (2013), Bayesian Data Analysis, 3rd ed., chapter 6.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import pandas as pd
import xarray as xr

from hiermodels.core.seeds import Seed
from hiermodels.exact.moments import moments_of
from hiermodels.exact.replicates import (
    NEW,
    Statistics,
    describe,
    levels_anew,
    statistics_of,
    top_level,
)
from hiermodels.model.spec import Spec
from hiermodels.posterior.moments import KINDS, MEAN, SD, Moment
from hiermodels.posterior.record import Posterior
from hiermodels.posterior.tables import (
    CI_PROB,
    Summary,
    interval_label,
    interval_note,
    tails,
    with_header,
)


def check(posterior: Posterior, *, replicate: str = NEW, random_seed: Seed = None) -> Summary:
    """Compare test statistics of the data with their posterior predictive distributions.

    At each level: the largest and the smallest of the groups' means, and their sd (for inner
    groups around their outer group's mean), or the mean of a single group; and the sd of the rows
    within groups, in units of their standard errors where these are known.  Means are weighted by
    ``1/se²`` where standard errors are known.  Where slopes vary between groups there are likewise
    the groups' slopes by least squares, where their rows determine them, and the sd of the rows
    around lines of their own in each group.  Of crossed groups there are the same of each column,
    and the sd of the rows that share all their groups.

    Of counts proportions or rates take the place of means (of 2×2 tables log odds ratios, ½ added
    to each count), and besides there are the total, and the numbers of groups without any event
    and without anything else.  Groups without observations are left out.

    Parameters
    ----------
    posterior : Posterior
    replicate : str
        ``"groups"``: new groups at every level.  ``"rows"``: the same groups, new rows.  The name
        of a column: new groups at this level and below; of crossed groups, in this column.
    random_seed : int or numpy.random.Generator, optional

    Returns
    -------
    Summary
        A row for each statistic: ``observed``; ``mean`` and ``sd`` of the replicates, nan where
        these have none, and then the ``median`` besides; ``p``, the probability of a larger value,
        where equal ones count half.  Where rows are not normal there are the ``median`` and an
        equal-tailed interval in place of mean and sd.
        A p near 0 or 1 is a misfit; p is not uniform under the model, but gathers around ½.

    Raises
    ------
    SpecError
        If the model has no groups, or ``replicate`` is none of the above.

    References
    ----------
    Gelman, Meng & Stern (1996), Statistica Sinica 6:733.

    Examples
    --------
    >>> import hiermodels as hm
    >>> fit = hm.fit(hm.datasets.load_eight_schools(), random_seed=1)
    outcome = y, groups = school, se = sigma (se, outcome, groups inferred)
    >>> fit.check(random_seed=1).index.tolist()
    ['largest school mean', 'smallest school mean', 'sd of school means']
    """
    statistics = statistics_of(posterior, replicate=replicate, random_seed=random_seed)
    sizes = statistics.replicated.sizes
    notes = [f"{sizes['chain'] * sizes['draw']} replicates: {describe(posterior, replicate)}"]
    notes += posterior.caveats
    if posterior.spec.is_normal:
        table, note = _with_moments(posterior, statistics, replicate)
    else:
        table, note = _with_quantiles(statistics), interval_note(CI_PROB)
    return with_header(table, posterior.spec, *notes, *([note] if note else []))


def _with_moments(
    posterior: Posterior, statistics: Statistics, replicate: str
) -> tuple[pd.DataFrame, str | None]:
    """The table with means and sds, and why some of them do not exist."""
    columns = {
        "observed": statistics.observed,
        "mean": statistics.replicated.mean(),
        "sd": statistics.replicated.std(ddof=1),
        "p": statistics.tail_probability,
    }
    table = pd.DataFrame({name: _numbers(values) for name, values in columns.items()})
    known = moments_of(posterior.spec, posterior.data)
    if posterior.spec.is_crossed:
        shown = list(_moments_of_crossed(posterior, replicate, table.index))
    else:
        shown = list(_moments(posterior.spec, top_level(posterior, replicate), table.index))
    why = known.why(shown)
    if why:
        medians = _numbers(statistics.replicated.median())
        table.insert(list(table.columns).index("sd") + 1, "median", medians)
        for moment in shown:
            if not known.exist(moment.names, moment.order):
                table.loc[moment.label, {MEAN: "mean", SD: "sd"}[moment.order]] = np.nan
    return table, why


def _with_quantiles(statistics: Statistics) -> pd.DataFrame:
    """The table with medians and intervals, which exist whatever the family."""
    low, high = tails(CI_PROB)
    ends = statistics.replicated.quantile([low, 0.5, high])
    label = interval_label(CI_PROB)
    columns = {
        "observed": statistics.observed,
        "median": ends.isel(quantile=1),
        f"{label}_lb": ends.isel(quantile=0),
        f"{label}_ub": ends.isel(quantile=2),
        "p": statistics.tail_probability,
    }
    return pd.DataFrame({name: _numbers(values) for name, values in columns.items()})


def _numbers(values: xr.Dataset) -> pd.Series[float]:
    """A number for each statistic."""
    return pd.Series({str(name): float(value) for name, value in values.items()})


def _moments(spec: Spec, top: int, statistics: Iterable[str]) -> Iterator[Moment]:
    """Means and sds of statistics of replicates, and the sds of which each is made up.

    What is drawn anew is as wide as the sds of the levels up to the top one; sds of groups that
    share a parent do not see those above.  Where covariates leave an effect at x = 0 unbounded, the
    means of rows at their own x are not.
    """
    rows = ("sigma",) if spec.has_sigma else ()
    outer, inner = f"sd of {spec.groups[0]} means", f"sd of {spec.groups[-1]} means"
    for name in statistics:
        seen = top
        if name != outer and name.startswith(inner):
            seen = max(top, len(spec.levels) - 1)
        elif name != outer and name.startswith("sd of rows"):
            seen = len(spec.levels)
        sds = [level.sd for level in reversed(spec.levels[seen:])]
        for order in (MEAN, SD):
            yield Moment(KINDS[order], name, order, (*sds, *rows))


def _moments_of_crossed(
    posterior: Posterior, replicate: str, statistics: Iterable[str]
) -> Iterator[Moment]:
    """The same of crossed groups, whose statistics are as wide as all columns drawn anew."""
    spec = posterior.spec
    rows = ("sigma",) if spec.has_sigma else ()
    sds = [spec.levels[number].sd for number in levels_anew(posterior, replicate)]
    for name in statistics:
        own = () if name.startswith("sd of rows") else tuple(sds)
        for order in (MEAN, SD):
            yield Moment(KINDS[order], name, order, (*own, *rows))

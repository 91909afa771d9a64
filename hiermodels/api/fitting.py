"""``fit``: from a data frame to a posterior."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Unpack

from hiermodels.api.added_groups import AddedGroups
from hiermodels.api.arguments import FitArguments, split
from hiermodels.api.result import Fit
from hiermodels.core.options import count
from hiermodels.core.seeds import Seed
from hiermodels.data.arguments import takes_model
from hiermodels.data.prepare import announce, in_names_of, other_readings, prepare
from hiermodels.errors import ImproperPosteriorError, SpecError
from hiermodels.exact.grid import grid_of
from hiermodels.mcmc.options import NutsOptions
from hiermodels.posterior.engine import INDEPENDENT, Request, get_engine, refuse_option
from hiermodels.posterior.memory import MEMORY_BUDGET
from hiermodels.results.default_prior import warn_of_default_prior


@takes_model
def fit(
    data: Any,
    formula: str | None = None,
    *,
    engine: str = "exact",
    draws: int = 1000,
    chains: int = 4,
    random_seed: Seed = None,
    progressbar: bool | None = None,
    memory_budget: float = MEMORY_BUDGET,
    log_likelihood: bool | Literal["conditional", "marginal"] = False,
    log_prior: bool = False,
    posterior_predictive: bool = False,
    prior: bool = False,
    **engine_options: Unpack[FitArguments],
) -> Fit:
    """Fit a hierarchical model: of normal outcomes, or of counts.

    The model, for rows i in groups g (classrooms), in outer groups s (schools) if there are two
    levels::

        y_i ~ Normal(theta_g + x_i'beta, se_i)      or      Normal(theta_g + x_i'beta, sigma)
        theta_g ~ Normal(mu, tau)                   or      Normal(mu_s, tau)
                                                            mu_s ~ Normal(lam, kappa)

    or for the rows, in place of the first line, with ``eta_i = theta_g + x_i'beta``::

        y_i ~ Binomial(trials_i, 1/(1 + exp(-eta_i)))      or      Poisson(exposure_i exp(eta_i))

    Parameters
    ----------
    data : data frame or SufficientStatistics
        A row for each observation or estimate; pandas, whose index may hold columns, polars,
        pyarrow; a dict of arrays, a pandas series, or xarray of one dimension.  Of what is lazy,
        such as a polars LazyFrame, a DuckDB relation, a table of Ibis, Dask or PySpark, the engine
        computes the statistics of the groups, and rows stay where they are.  Statistics say
        themselves what their columns are.
    formula : str, optional
        In the notation of lme4 and bambi, ``"score ~ ses + (1 | school/classroom)"``, in place of
        ``outcome``, ``groups`` and ``covariates``.  With ``0 + …`` the mean at the top is 0.
        Slopes, ``(1 + ses | school)``, and crossed groups, ``(1 | rater) + (1 | essay)``, are said
        in a formula alone.
    outcome : str, optional
        Column of y.  Inferred: ``y`` or ``yi``, or the only continuous column left.
    groups : str or sequence of str, optional
        Columns of the group labels, from the outer to the inner level.  Inferred: the columns of
        text or categories.  ``[]``, or a formula without groups, is the model of one population,
        or, with covariates or known standard errors, a regression.
    se : str, (N,) or False, optional
        Column of the known standard errors of y (sds, not variances), or the numbers themselves.
        Inferred: ``sigma``, ``se``, ``std_err`` or ``sei``.  Without one, the sd of the rows is
        unknown: ``sigma``; ``se=False`` says so whatever columns are called.
    variance : str or (N,), optional
        Column of the known variances of y, the squares of standard errors, in place of ``se``.
        Inferred: ``vi``.
    covariance : (N, N) matrix, or mapping of label to (m, m) matrix, optional
        Known covariance V of the errors of all rows, in place of ``se`` and ``variance``: an array,
        a sparse matrix or a data frame over the rows as they stand in the data, 0 between rows of
        different outermost groups; or a matrix for each of these groups, by its label, over its
        rows in their order.
    sampling_correlation : float, optional
        Correlation r of the known errors of rows of one outermost group, such as a study, whose
        covariance is ``r se_i se_j``; with ``se`` or ``variance``.
    covariates : str or sequence of str, optional
        Columns of x: numbers, truth values, or text and categories in treatment coding.  Those of
        an empty cell of an interaction are left out, with a note.  Those with flat priors must not
        be linear combinations of one another.
    priors : mapping of str to Prior, or {"weak", "lecture"}, optional
        By parameter name, such as ``{"tau": hm.HalfNormal(5)}``, or as text,
        ``{"tau": "HalfNormal(5)"}``; ``beta`` stands for all coefficients and ``beta[ses]``
        for one.  Defaults: flat on means and coefficients and on group-level variances,
        ``1/sigma²`` on an unknown residual variance; ``"lecture"`` is these, stated.  ``"weak"``:
        half-t with 3 degrees of freedom on every group-level sd and on an unknown residual sd,
        with the scale ``max(2.5, 1.4826 · median |y − median y|)``, rounded to one decimal, of the
        outcomes y (of the effects, where standard errors are known), as in brms, and 2.5 for
        counts; flat on means and coefficients.  The scale stands in every table.
    missing : {"error", "drop"}
        What to do with rows in which a needed value is missing.
    family : str or family, optional
        Distribution of the rows: ``"normal"``, ``"binomial"``, ``"poisson"``, or
        ``hm.NegativeBinomial(size=…)``, ``hm.StudentT(nu=…)`` (with known standard errors) or
        ``hm.OddsRatio()``.  Inferred: binomial where ``trials`` are given, Poisson where an
        ``exposure`` is; else normal.
    trials : str or (N,), optional
        Column of the numbers of trials, of which the outcomes are the counts of successes.
        Without it, with ``family="binomial"``, each row is one trial: 0 or 1, or a truth value.
    exposure : str or (N,), optional
        Column of what counts of events are proportional to, such as expected counts or hours.
    offset : str or (N,), optional
        Column of a known part of the linear predictor, on the scale of the link.
    weights : str or (N,), optional
        Column of weights w of normal rows, whose variance is ``sigma²/w``, as in lme4: such as the
        number of measurements that a row is the mean of.
    residual_by : str, optional
        Column of labels of strata, such as a sex or a laboratory: normal rows of each have a
        residual sd of their own, ``sigma[label]``, as with nlme's ``varIdent``.
    engine : {"exact", "importance", "nuts"}
        Independent draws from the exact posterior; of counts with covariates that vary within
        groups, where these would take too long, draws resampled by importance, with weights, ESS
        and k-hat in every table; or PyMC's NUTS.
    draws : int
        Number of draws in each chain.
    chains : int
        Number of chains.  Exact draws are independent within chains and between them.
    random_seed : int or numpy.random.Generator, optional
        The same seed gives the same draws, bit for bit.
    progressbar : bool, optional
        Whether to show progress, where there is something to wait for; by default in a terminal,
        and in a notebook with ipywidgets.
    memory_budget : float
        Bytes that what is kept of draws may take, 2 GiB by default; estimated before anything is
        computed.  The exact engine leaves draws of the groups' effects out where all would take
        more, and makes them on demand, see :meth:`Fit.draws`.  What cannot be left out is
        refused: draws of NUTS, those of outer groups (beyond 64 MiB), and a number for each draw
        and row.
    log_likelihood : bool or {"conditional", "marginal"}
        What to add to ``datatree`` for ArviZ: with ``"conditional"``, or True, the log likelihood
        of each row given its group's effect (and the other rows, where errors are correlated), on
        which ``arviz_stats.loo`` fails where groups have few rows (:meth:`Fit.loo` does not);
        with ``"marginal"`` that of all rows of each outermost group given the hyperparameters,
        effects of groups integrated out.
    log_prior : bool
        Whether to add the log densities of the proper priors, for ``arviz_stats.psense_summary``.
    posterior_predictive : bool
        Whether to add outcomes of the same rows drawn anew, for predictive checks.
    prior : bool
        Whether to add ``draws`` draws from the priors, and outcomes drawn from these, for
        ``arviz_plots.plot_prior_posterior``; the same as :meth:`Fit.prior_predictive` makes with
        this seed.  All priors must be proper.
    **engine_options
        For ``"exact"`` and ``"importance"`` there are none.  For ``"nuts"``:
        ``parameterization``, chosen by how much the data say of each group; ``observed``,
        ``"means"`` (of counts, the sums of rows that share group and covariates) or ``"rows"``;
        ``nuts_sampler`` and what ``pm.sample`` takes.

    Returns
    -------
    Fit

    Raises
    ------
    DataError, SpecError, ImproperPosteriorError
        All are ``HierModelsError``; the message says what to do.

    Warns
    -----
    PriorWarning
        Where the data leave a group-level variance so uncertain that its default prior drives the
        answer: a hyperparameter has no mean or no sd; or with a prior that is flat on the sd, in
        place of the variance, a hyperparameter, a group's effect (of counts its probability or
        rate) or the sd of a new group, at any level, is more than a quarter of a posterior sd away.
    DataWarning
        Where a column given as ``se`` has the name of variances, or the other way round.

    Examples
    --------
    >>> import hiermodels as hm
    >>> fit = hm.fit(hm.datasets.load_eight_schools(), priors={"tau": hm.FlatSD()}, random_seed=1)
    outcome = y, groups = school, se = sigma (se, outcome, groups inferred)
    >>> round(float(fit.reference().mean["theta"].sel(school="A")), 2)
    11.4
    """
    count("draws", draws)
    count("chains", chains)
    sample = get_engine(engine)
    model, options = split(engine_options)
    _require_options(engine, options)
    spec, grouped = prepare(data, formula, **model)
    added = AddedGroups(log_likelihood, log_prior, posterior_predictive, prior)
    added.require_possible(spec, grouped, draws * chains, memory_budget)
    announce(grouped)
    grid = grid_of(spec, grouped)
    request = Request(
        draws=draws,
        chains=chains,
        random_seed=random_seed,
        progressbar=progressbar,
        memory_budget=memory_budget,
        grid=grid,
    )
    try:
        posterior = sample(spec, grouped, request, **options)
    except ImproperPosteriorError as error:
        more = other_readings(data, grouped.roles)
        if not more:
            raise
        raise ImproperPosteriorError(f"{str(error).rstrip('.')}{more}") from error
    warn_of_default_prior(grid, in_names_of(spec, model.get("priors"), grouped.roles))
    return Fit(added.add_to(posterior, draws, random_seed))


def _require_options(engine: str, options: Mapping[str, Any]) -> None:
    """Raise SpecError before anything is read, if an engine of independent draws has an option.

    Of NUTS they are checked where it takes them.
    """
    for name in options if engine in INDEPENDENT else ():
        if name in NutsOptions.__annotations__:
            raise SpecError(f"engine {engine!r} has no option {name!r}: engine='nuts' has it")
        refuse_option(engine, name)

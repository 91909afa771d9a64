"""``fit``: from a data frame to a posterior.  ``Fit``: what one does with it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import xarray as xr

from hiermodels.core.arguments import checked, checked_methods
from hiermodels.core.options import count
from hiermodels.core.seeds import Seed, named_seed
from hiermodels.data.covariates import MEANS, At
from hiermodels.data.grouped import GroupedData, Missing, require_rows
from hiermodels.data.prepare import announce, prepare
from hiermodels.data.statistics import SufficientStatistics
from hiermodels.errors import SpecError
from hiermodels.exact.grid import Grid
from hiermodels.exact.group_likelihood import require_groups_of_rows, with_group_log_likelihood
from hiermodels.exact.noise_free import reference_posterior
from hiermodels.model.priors.base import Priors
from hiermodels.model.spec import Spec
from hiermodels.posterior import memory
from hiermodels.posterior.arviz_groups import (
    with_log_likelihood,
    with_log_prior,
    with_parents,
    with_posterior_predictive,
    with_seed,
)
from hiermodels.posterior.engine import get_engine
from hiermodels.posterior.memory import MEMORY_BUDGET
from hiermodels.posterior.record import Posterior, group_draws
from hiermodels.posterior.reference_posterior import TOLERANCE, ReferencePosterior
from hiermodels.posterior.tables import CI_PROB
from hiermodels.results.alternatives import Alternative, Sensitivity, compare_priors
from hiermodels.results.default_prior import warn_of_default_prior
from hiermodels.results.simulation import prior_predictive, require_proper, with_prior

if TYPE_CHECKING:
    from arviz_plots import PlotCollection

    from hiermodels.posterior.tables import Summary
    from hiermodels.results.loo import ExactLOO
    from hiermodels.results.prediction import Prediction
    from hiermodels.results.ranking import Ranking
    from hiermodels.results.shrinkage import Estimates


@checked_methods
@dataclass(frozen=True)
class Fit:
    """A posterior, and what can be done with it.

    Attributes
    ----------
    posterior : Posterior
        The record: specification, data, draws, engine and its certificate.
    """

    posterior: Posterior

    @property
    def spec(self) -> Spec:
        """What is assumed."""
        return self.posterior.spec

    @property
    def data(self) -> GroupedData:
        """What was observed."""
        return self.posterior.data

    @property
    def datatree(self) -> xr.DataTree:
        """Draws and data, for ArviZ."""
        return self.posterior.datatree

    @property
    def engine(self) -> str:
        """Name of the engine that drew."""
        return self.posterior.engine

    def summary(
        self, var_names: Sequence[str] | str | None = None, *, at: At = MEANS, **options: Any
    ) -> Summary:
        """Return ArviZ's summary of the draws, below the model and its priors.

        A group's value is an intercept: its ``theta`` belongs to x = 0, which may be far from the
        data.  So with covariates effects of every level, and the intercept among them, are shown
        as ``theta + x'beta`` at an x that the header names.  The posterior that is kept, in
        ``datatree`` and ``reference()``, stays at x = 0.

        Values of more than 500 units are left out unless they are asked for, as the header then
        says: ArviZ takes some milliseconds for each.

        Parameters
        ----------
        var_names : str or sequence of str, optional
            Which variables.
        at : {"means", "own", "zero"} or mapping of str to value
            x: the covariates' means over the rows (default); each unit's own, the mean of its rows
            (weighted with ``1/se²`` where standard errors are known) and that of all rows for the
            intercept; 0; or some columns of the data at these values, numbers or levels, in the
            data's own unit, and the others at their means.  Products such as ``x:sex`` are averaged
            over the rows as they are.  Without covariates there is nothing to choose.
        **options
            Passed to ``arviz_stats.summary``, such as ``ci_prob`` and ``kind``.
        """
        from hiermodels.results.summary import summarize

        return summarize(self.posterior, var_names, at, **options)

    def variance_components(self, ci_prob: float = CI_PROB) -> Summary:
        """Tabulate sds, variances and each level's share of them, without Monte Carlo error.

        Parameters
        ----------
        ci_prob : float
            Probability of the equal-tailed intervals.

        Returns
        -------
        Summary
            Rows ``tau`` and ``tau²``, with their like at other levels; ``share[group]``, the part
            of the total variance that lies between groups, at the top level the intraclass
            correlation; with three levels ``icc[group]``, the correlation of two rows of one
            innermost group.  Where the standard errors are known, the residual variance is that
            of a typical row, so that the shares are I² (Higgins & Thompson 2002).

        Examples
        --------
        >>> import hiermodels as hm
        >>> fit = hm.fit(hm.datasets.load_pastes(), groups=["batch", "cask"], random_seed=1)
        outcome = strength, groups = batch/cask (outcome inferred)
        >>> fit.variance_components()["median"].round(2).tail(3)
        share[cask]        0.67
        share[residual]    0.05
        icc[cask]          0.95
        Name: median, dtype: float64
        """
        from hiermodels.results.variance_components import variance_components

        return variance_components(self.reference(), ci_prob)

    def reference(self, tol: float = TOLERANCE) -> ReferencePosterior:
        """Return the same posterior without Monte Carlo error, whatever the engine was.

        Parameters
        ----------
        tol : float
            The quadrature is refined until two spacings agree to so many posterior sds.

        Raises
        ------
        PrecisionError
            If two spacings still differ by more than 1e-3 posterior sds.

        Warns
        -----
        PrecisionWarning
            If they still differ by more than ``tol``: tables then show only the digits that are
            right.
        """
        if tol == TOLERANCE:
            return self._reference
        return reference_posterior(self.spec, self.data, tol)

    def draws(
        self, groups: Sequence[Any] | None = None, memory_budget: float = MEMORY_BUDGET
    ) -> xr.DataArray:
        """Return draws of the groups' values ``theta``.

        Where all groups' draws would not fit into the memory budget they are not kept in
        ``datatree``; this makes those of the groups that are asked for, the same at every call.

        Parameters
        ----------
        groups : label or sequence of labels, optional
            All by default.
        memory_budget : float
            Bytes that draws which were not kept may take, 2 GiB by default.

        Returns
        -------
        DataArray
            (chain, draw, group).  With two levels of groups a coordinate names each group's parent,
            such as ``classroom_school``.

        Raises
        ------
        DataError
            If there is no group of that label.
        SpecError
            If the draws would take more than the budget.
        """
        found = group_draws(self.posterior, groups, memory_budget=memory_budget)
        return with_parents(self.posterior, found)

    def estimates(
        self,
        truth: Any = None,
        *,
        method: str = "reml",
        ci_prob: float = CI_PROB,
        at: At = MEANS,
    ) -> Estimates:
        """Put unpooled, pooled, empirical Bayes and posterior estimates of the groups together.

        Parameters
        ----------
        truth : Series, mapping or sequence, optional
            Known true values: by group label, or else (a Series numbered 0, 1, … counts as a
            sequence) in the order of the groups in the data.  Adds a table of errors.  With
            covariates, true values at the same x.
        method : str
            How the sds are estimated that empirical Bayes takes for known.  No prior plays a part
            in them, nor in what is estimated given them.

            - ``"reml"``: restricted maximum likelihood, of any model, as in lme4 and metafor;
            - ``"ml"``: maximum likelihood, of any model;
            - with two levels and known standard errors, as in metafor's ``rma``: ``"dl"``
              DerSimonian–Laird, ``"pm"`` Paule–Mandel, ``"he"`` Hedges, ``"eb"`` empirical Bayes
              (Morris; the same number as ``"pm"``), ``"sj"`` Sidik–Jonkman.  A negative estimate
              of the variance becomes 0, and the table says so.
        ci_prob : float
            Probability of the intervals of the coefficients, 0.89 by default.
        at : {"means", "own", "zero"} or mapping of str to value
            Values of the covariates that effects and the intercept are shown at, as in
            :meth:`summary`.

        Returns
        -------
        Estimates
            With ``table``, ``outer`` (three levels), ``coefficients``, ``errors`` and ``sds``.

        Raises
        ------
        SpecError
            If there is no such method, or it is not for this model.
        DataError
            If the truth is not that of the groups.

        References
        ----------
        Efron & Morris (1975), JASA 70:311.  Viechtbauer (2005), J. Educ. Behav. Stat. 30:261,
        and Veroniki et al. (2016), Res. Synth. Methods 7:55, compare the methods.

        Examples
        --------
        >>> import hiermodels as hm
        >>> players = hm.datasets.load_baseball()
        >>> fit = hm.fit(players, outcome="y", groups="player", se="sigma", random_seed=1)
        >>> fit.estimates(truth=players["ability"]).errors.round(4)
                           sse    rmse  closer  groups
        estimate
        raw             0.0754  0.0647       0      18
        pooled          0.0243  0.0367      14      18
        eb              0.0217  0.0347      16      18
        posterior mean  0.0247  0.0370      16      18
        """
        from hiermodels.results.shrinkage import estimate

        return estimate(self.reference(), truth, method, ci_prob, at)

    def rank(
        self,
        level: str | None = None,
        *,
        threshold: float | None = None,
        top: float | None = None,
        highest_first: bool = True,
        ci_prob: float = CI_PROB,
        at: At = MEANS,
    ) -> Ranking:
        """Return the league table of a level: the posterior of each unit's rank.

        Parameters
        ----------
        level : str, optional
            Column of the groups, or the variable of their values (``theta``, ``mu``); the
            innermost by default.
        threshold : float, optional
            Adds the probability that a unit's value exceeds this number, without Monte Carlo
            error.
        top : int or float, optional
            Adds the probability of being among the first: this many (an int), or this share of
            all (a float below 1, rounded to a number of units, at least one).
        highest_first : bool
            Whether rank 1, the best, is the highest value or the lowest.
        ci_prob : float
            Probability of the equal-tailed interval of the rank.
        at : {"means", "own", "zero"} or mapping of str to value
            Values of the covariates that effects are shown at, as in :meth:`summary`.

        References
        ----------
        Goldstein & Spiegelhalter (1996), JRSS A 159:385.

        Examples
        --------
        >>> import hiermodels as hm
        >>> fit = hm.fit(hm.datasets.load_eight_schools(), random_seed=1)
        outcome = y, groups = school, se = sigma (se, outcome, groups inferred)
        >>> league = fit.rank(top=3, threshold=0)
        >>> league.table.index[0], league.prob_greater("A", "C") > 0.7
        ('A', True)
        """
        from hiermodels.results.ranking import rank_units

        return rank_units(
            self.posterior,
            self.reference(),
            level,
            threshold=threshold,
            top=top,
            highest_first=highest_first,
            ci_prob=ci_prob,
            at=at,
        )

    def predict(
        self,
        new_data: Any = None,
        *,
        at: At = MEANS,
        outcomes: bool = True,
        random_seed: Seed = None,
        memory_budget: float = MEMORY_BUDGET,
    ) -> Prediction:
        """Predict rows: of known groups, of new groups in known ones, and of new ones altogether.

        A row's group is looked up by its labels, inner ones within outer ones.  A new group's
        value is drawn from the distribution of the groups around its parent, known or new::

            known classroom                  theta_c
            new classroom, known school      theta ~ Normal(mu_s, tau)
            new school                       mu ~ Normal(lam, kappa)   theta ~ Normal(mu, tau)

        Rows with the same new label share one new group.

        Parameters
        ----------
        new_data : data frame, optional
            Columns of the group labels, of the covariates, and of the known standard errors; the
            outcome is not needed.  Labels are compared as they are written, numbers and dates by
            their value: 3.0 is group 3.  A row whose label is missing (None, NaN) has a new group
            of its own; so has each row without the column of the innermost groups, or of all.
            Without ``new_data``: a row for each group and, at each level above, for a new group in
            each known unit; at the covariates that ``at`` says, and with the median of the known
            standard errors of that unit's rows.
        at : {"means", "own", "zero"} or mapping of str to value
            Without ``new_data``: values of the covariates, as in :meth:`summary`.  ``"own"`` are
            those of the row's lowest known unit.
        outcomes : bool
            Whether to predict outcomes beside their means ``theta + x'beta``.  Means alone need
            no standard errors.
        random_seed : int or numpy.random.Generator, optional
            Of the draws.  May be the one of the fit: the streams are different.
        memory_budget : float
            Bytes that the draws may take, 2 GiB by default.

        Returns
        -------
        Prediction
            ``.to_frame()``, ``.mean``, ``.sd``, ``.quantile`` and ``.cdf`` without Monte Carlo
            error; joint draws in ``.datatree``.

        Raises
        ------
        DataError
            If a column, or a value that is no label, is missing, or if it is not clear what a
            label stands for.

        Warns
        -----
        DataWarning
            Where a label of a new group is nearly that of a known one: they differ in capitals,
            spaces, or the way to write the same characters.

        Examples
        --------
        >>> import hiermodels as hm
        >>> roles = {"groups": ["batch", "cask"], "outcome": "strength"}
        >>> fit = hm.fit(hm.datasets.load_pastes(), **roles, random_seed=1)
        >>> new = (
        ...     hm.datasets.load_pastes()
        ...     .iloc[[0, 0, 0]]
        ...     .assign(batch=["A", "A", "K"], cask=["a", "d", "a"])
        ... )
        >>> fit.predict(new).to_frame()[["batch", "cask", "kind", "mean", "sd"]].round(2)
          batch cask                     kind   mean    sd
        0     A    a               known cask  62.64  0.59
        0     A    d  new cask in known batch  61.19  3.46
        0     K    a                new batch  60.05  4.05
        """
        from hiermodels.results.prediction import predict

        return predict(
            self.posterior,
            self.reference,
            new_data,
            at=at,
            outcomes=outcomes,
            random_seed=random_seed,
            memory_budget=memory_budget,
        )

    def prior_predictive(
        self,
        draws: int = 1000,
        random_seed: Seed = None,
        memory_budget: float = MEMORY_BUDGET,
    ) -> xr.DataTree:
        """Draw from the priors, and outcomes of the same rows from what was drawn.

        Parameters
        ----------
        draws : int
        random_seed : int or numpy.random.Generator, optional
            May be the one of the fit: the streams are different.
        memory_budget : float
            Bytes that the draws may take, 2 GiB by default.

        Raises
        ------
        SpecError
            If a prior is improper: there is nothing to draw from.  If the draws would take more
            than the budget.
        """
        count("draws", draws)
        require_rows(self.data, "a prior predictive")
        _require_memory(self.spec, self.data, ["prior_predictive"], draws, memory_budget)
        rng = np.random.default_rng(named_seed(random_seed, "prior_predictive"))
        return prior_predictive(self.spec, self.data, draws, rng)

    def check(self, *, replicate: str = "groups", random_seed: Seed = None) -> Summary:
        """Compare statistics of the data with those of data replicated from the posterior.

        Parameters
        ----------
        replicate : str
            ``"groups"``: new units at every level.  ``"rows"``: the same units, new rows.  The
            name of a column: new units at this level and below.
        random_seed : int or numpy.random.Generator, optional
            May be the one of the fit: the streams are different.

        Returns
        -------
        Summary
            A row for each statistic, see :func:`hiermodels.results.checks.check`.
        """
        from hiermodels.results.checks import check

        return check(self.posterior, replicate=replicate, random_seed=random_seed)

    def loo(self, unit: str = "row") -> ExactLOO:
        """Cross-validate: log densities of units given all others, without Monte Carlo error.

        All values and coefficients are integrated out in closed form, the sds by quadrature on the
        lattice of :meth:`reference`, whatever the engine was::

            1/p(y_u | the rest) = E[1/p(y_u | the rest, sds) | y]

        Where the lattice cannot hold the posterior without a unit, that is integrated anew.  Of one
        population, and of a regression without groups, densities are in closed form.

        Importance sampling as in ``arviz_stats.loo``, from the log likelihood of each row given its
        own group's value, fails where groups have few rows: without its only row a group's value
        goes back to its parent, where hardly any draws are.

        Parameters
        ----------
        unit : {"row", "group", "outer"}
            What is left out at a time: a row, while the other rows of its group stay; all rows of
            an innermost group; or, with two grouping columns, all rows of an outer group.

        Returns
        -------
        ELPDData
            As ArviZ has it, for ``arviz_stats.compare({"a": a.loo(), "b": b.loo()})``: ``elpd``,
            ``se``, ``p`` and, by unit, ``elpd_i``.  Beside these the estimated error
            ``certificate``, ``n_refits``, and ``reasons`` why a unit cannot be left out: without it
            the posterior does not exist, and ``elpd`` is nan.  ``p`` is what the same sum is larger
            by, of log densities given all rows: of a row, those of another row of its group with
            the same outcome; of a group, those of another group under the same parent.

        Raises
        ------
        ImproperPosteriorError
            If no unit can be left out.
        SpecError
            If there is no such unit; if the data are statistics, which have no rows (of groups of
            one row each, groups can be left out); if very many units would each need a fit of their
            own.

        Notes
        -----
        Improper priors are allowed: predictive densities are proper wherever the posterior without
        the unit is, since a constant in the prior cancels.  So ``elpd`` is defined where the
        marginal likelihood is not.

        References
        ----------
        Vehtari, Gelman & Gabry (2017), Statistics and Computing 27:1413.

        Examples
        --------
        >>> import hiermodels as hm
        >>> schools = hm.datasets.load_eight_schools()
        >>> fit = hm.fit(schools, priors={"tau": hm.HalfCauchy(5)}, random_seed=1)
        outcome = y, groups = school, se = sigma (se, outcome, groups inferred)
        >>> fit.loo().elpd_i.sel(row=0).round(4).item(), round(fit.loo().elpd, 4)
        (-4.6225, -30.8233)
        """
        from hiermodels.results.loo import leave_one_out

        return leave_one_out(self.reference(), unit)

    def sensitivity(self, priors: Mapping[str, Alternative] | None = None) -> Sensitivity:
        """Compare the posterior with those under other priors, without Monte Carlo error.

        Parameters
        ----------
        priors : mapping of str to mapping, optional
            As in :func:`hiermodels.sensitivity`, which has the defaults.
        """
        return compare_priors(self.reference(), priors)

    def plot_caterpillar(self, **options: Any) -> PlotCollection:
        """Show units from the highest posterior mean to the lowest, and how sure their ranks are.

        Parameters
        ----------
        **options
            See :func:`hiermodels.plots.plot_caterpillar`.
        """
        from hiermodels.plots.caterpillar import plot_caterpillar

        return plot_caterpillar(self.posterior, **options)

    def plot_shrinkage(self, **options: Any) -> PlotCollection:
        """Show how each unit's raw mean is pulled towards the others.

        Parameters
        ----------
        **options
            See :func:`hiermodels.plots.plot_shrinkage`.
        """
        from hiermodels.plots.shrinkage import plot_shrinkage

        return plot_shrinkage(self.posterior, **options)

    def plot_trace_tau(self, **options: Any) -> PlotCollection:
        """Show how each unit's estimate depends on the sd of the units.

        Parameters
        ----------
        **options
            See :func:`hiermodels.plots.plot_trace_tau`.
        """
        from hiermodels.plots.trace import plot_trace_tau

        return plot_trace_tau(self.posterior, **options)

    def plot_variance(self, **options: Any) -> PlotCollection:
        """Show the posteriors of the sds, and of each level's share of the variance.

        Parameters
        ----------
        **options
            See :func:`hiermodels.plots.plot_variance`.
        """
        from hiermodels.plots.variance import plot_variance

        return plot_variance(self.posterior, **options)

    def plot_ppc(self, kind: str = "stat", **options: Any) -> PlotCollection:
        """Compare the data with data replicated from the posterior predictive distribution.

        Parameters
        ----------
        kind : {"stat", "group", "dist", "ecdf", "loo_pit"}
        **options
            See :func:`hiermodels.plots.plot_ppc`.
        """
        from hiermodels.plots.predictive import plot_ppc

        return plot_ppc(self.posterior, kind, **options)

    def to_netcdf(self, path: str | os.PathLike[str]) -> Path:
        """Save the fit, whole or not at all; :func:`hiermodels.load` reads it, bit for bit.

        The file is netCDF with the groups of ``datatree``, which ArviZ reads as any other, and a
        group ``hiermodels`` with what else belongs to the fit.

        Parameters
        ----------
        path : str or path
            A file that is there already is replaced, in one step, at the end.

        Returns
        -------
        Path
            Of the file.

        Raises
        ------
        SpecError
            If a file cannot hold the fit: a prior of a class of your own, or a name that netCDF
            does not allow.
        DataError
            If the file cannot be written; what was there before is as it was.
        """
        from hiermodels.io.netcdf import save

        return save(self.posterior, path)

    def to_parquet(
        self,
        path: str | os.PathLike[str],
        level: str | None = None,
        *,
        ci_prob: float = CI_PROB,
        at: At = MEANS,
        row_group_size: int = 65_536,
        progressbar: bool | None = None,
    ) -> Path:
        """Write a row for each unit of a level, without Monte Carlo error, to a Parquet file.

        Units are worked on and written some at a time, so that a million take little more memory
        than their statistics.  The file is written whole or not at all.

        Columns are the labels of the unit and of what it is in, as they stand in the data
        (integers, else text); ``n``, its number of rows, and ``raw_mean``, their mean outcome,
        weighted with ``1/se²`` where standard errors are known; then those of
        ``reference().summary()``: ``mean``, ``sd``, ``median``, ``eti89_lb``, ``eti89_ub``.  A
        moment that does not exist is nan.  A column of labels keeps its name; of the others one
        with the same name gets a ``_``.  Model, priors, certificate and version are in the file's
        metadata, as JSON under the key ``hiermodels``.

        Parameters
        ----------
        path : str or path
            A file that is there already is replaced, in one step, at the end.
        level : str, optional
            Column of the groups, or the variable of their values (``theta``, ``mu``); the
            innermost by default.
        ci_prob : float
            Probability of the equal-tailed interval.
        at : {"means", "own", "zero"} or mapping of str to value
            Values of the covariates that effects are shown at, as in :meth:`summary`.
        row_group_size : int
            Units that are worked on at a time.
        progressbar : bool, optional
            Whether to show progress; by default on a terminal.

        Returns
        -------
        Path
            Of the file.

        Raises
        ------
        SpecError
            If there is no such level, or an option is wrong.
        DataError
            If the file cannot be written, or pyarrow is missing (``pip install
            'hiermodels[parquet]'``); what was there before is as it was.

        Examples
        --------
        >>> from pathlib import Path
        >>> from tempfile import TemporaryDirectory
        >>> import hiermodels as hm
        >>> import pandas as pd
        >>> fit = hm.fit(hm.datasets.load_pastes(), groups=["batch", "cask"], random_seed=1)
        outcome = strength, groups = batch/cask (outcome inferred)
        >>> with TemporaryDirectory() as folder:
        ...     path = fit.to_parquet(Path(folder) / "casks.parquet")
        ...     table = pd.read_parquet(path)
        >>> table.iloc[:2, :6].round(2)
          batch cask  n  raw_mean   mean    sd
        0     A    a  2      62.7  62.64  0.59
        1     A    b  2      61.2  61.20  0.59
        """
        from hiermodels.io.parquet import write_parquet

        count("row_group_size", row_group_size)
        return write_parquet(
            self.posterior,
            self.reference(),
            path,
            level,
            ci_prob=ci_prob,
            at=at,
            row_group_size=row_group_size,
            progressbar=progressbar,
        )

    def to_zarr(self, folder: str | os.PathLike[str], *, progressbar: bool | None = None) -> Path:
        """Write ``datatree`` as a Zarr store, with the draws of all groups, whole or not at all.

        Draws that were not kept, being too many for the memory, are made and written some groups
        at a time: the same, bit for bit, as :meth:`draws` makes.  They are read lazily with
        ``xarray.open_datatree(folder, engine="zarr")``: only those of the groups that are
        selected, in chunks of all draws of some groups.

        Parameters
        ----------
        folder : str or path
            A store that was written here is replaced, at the end; another folder that is not
            empty is left alone.
        progressbar : bool, optional
            Whether to show progress; by default on a terminal.

        Returns
        -------
        Path
            Of the folder.

        Raises
        ------
        SpecError
            If a column's name cannot be that of a folder.
        DataError
            If the store cannot be written, or zarr is missing (``pip install
            'hiermodels[zarr]'``); what was there before is as it was.

        Examples
        --------
        >>> from pathlib import Path
        >>> from tempfile import TemporaryDirectory
        >>> import hiermodels as hm
        >>> import xarray as xr
        >>> schools = hm.datasets.load_eight_schools()
        >>> fit = hm.fit(schools, random_seed=1, memory_budget=0)
        outcome = y, groups = school, se = sigma (se, outcome, groups inferred)
        >>> with TemporaryDirectory() as folder:
        ...     path = fit.to_zarr(Path(folder) / "schools.zarr")
        ...     with xr.open_datatree(path, engine="zarr") as tree:
        ...         theta = tree["posterior"]["theta"].sel(school=["A"]).load()
        >>> theta.equals(fit.draws(["A"]))
        True
        """
        from hiermodels.io.zarr import write_zarr

        return write_zarr(self.posterior, folder, progressbar)

    def report(
        self,
        path: str | os.PathLike[str],
        *,
        source: str | os.PathLike[str] | None = None,
        title: str | None = None,
        sensitivity: bool | None = None,
        progress: Callable[[str], object] | None = None,
    ) -> Path:
        """Write a page that says all there is to say of the fit, whole or not at all.

        One file in HTML, to read on any screen or on paper, which loads nothing and runs nothing:
        model, priors, data, certificate of the draws; tables and pictures of every level;
        predictive checks, sensitivity to the priors; and the code that makes the same fit again.
        The same fit gives the same page.

        Parameters
        ----------
        path : str or path
            A file that is there already is replaced, in one step, at the end.
        source : str or path, optional
            File that the data were read from, ``.csv`` or ``.parquet``, for the code to read.
        title : str, optional
        sensitivity : bool, optional
            Whether to compare the posterior with those under other priors.  By default where
            that takes a few seconds at the most.
        progress : callable, optional
            Is given the title of each section before it is made.

        Returns
        -------
        Path
            Of the file.

        Raises
        ------
        DataError
            If the file cannot be written; what was there before is as it was.

        Examples
        --------
        >>> from pathlib import Path
        >>> from tempfile import TemporaryDirectory
        >>> import hiermodels as hm
        >>> one = hm.fit(hm.datasets.load_dyestuff(), groups=[], random_seed=1)
        outcome = yield_ (outcome inferred)
        >>> with TemporaryDirectory() as folder:
        ...     page = one.report(Path(folder) / "report.html").read_text(encoding="utf-8")
        >>> page.startswith("<!DOCTYPE html>")
        True
        """
        from hiermodels.results.report.write import write

        return write(
            self.posterior,
            self.reference,
            path,
            source=None if source is None else os.fspath(source),
            title=title,
            sensitivity=sensitivity,
            progress=progress,
        )

    @cached_property
    def _reference(self) -> ReferencePosterior:
        return reference_posterior(self.spec, self.data)

    def _sections(self) -> dict[str, list[str]]:
        sizes = self.datatree["posterior"].sizes
        priors = self.spec.describe_priors()
        return {
            "model": self.spec.describe(),
            "priors": [f"{name} ~ {text}" for name, text in priors.items()],
            "data": [str(self.data), str(self.data.roles)],
            "engine": [
                f"{self.engine}, {sizes['chain']} chains × {sizes['draw']} draws",
                *(f"{name}: {text}" for name, text in self.posterior.certificate.items()),
            ],
        }

    def __repr__(self) -> str:
        lines = ["hiermodels.Fit"]
        for title, content in self._sections().items():
            lines += [f"{title if not i else '':<8}{line}" for i, line in enumerate(content)]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        rows = [
            f"<tr><th style='text-align:left;vertical-align:top'>{title}</th>"
            f"<td style='text-align:left'>{'<br>'.join(map(escape, content))}</td></tr>"
            for title, content in self._sections().items()
        ]
        return f"<b>hiermodels.Fit</b><table>{''.join(rows)}</table>"


@checked
def fit(
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
    **engine_options: Any,
) -> Fit:
    """Fit a normal hierarchical model.

    The model, for rows i in groups g (classrooms), in outer groups s (schools) if there are two
    levels::

        y_i ~ Normal(theta_g + x_i'beta, se_i)      or      Normal(theta_g + x_i'beta, sigma)
        theta_g ~ Normal(mu, tau)                   or      Normal(mu_s, tau)
                                                            mu_s ~ Normal(lam, kappa)

    Parameters
    ----------
    data : data frame or SufficientStatistics
        A row for each observation or estimate; pandas, polars, pyarrow.  Of what is lazy, such as
        a polars LazyFrame, a DuckDB relation, a table of Ibis, Dask or PySpark, the engine
        computes the statistics of the groups, and rows stay where they are.  Statistics say
        themselves what their columns are.
    formula : str, optional
        In the notation of lme4 and bambi, ``"score ~ ses + (1 | school/classroom)"``, in place of
        ``outcome``, ``groups`` and ``covariates``.  With ``0 + …`` the mean at the top is 0.
    outcome : str, optional
        Column of y.  Inferred: ``y`` or ``yi``, or the only continuous column left.
    groups : str or sequence of str, optional
        Columns of the group labels, from the outer to the inner level.  Inferred: the columns of
        text or categories.  ``[]``, or a formula without groups, is the model of one population,
        or, with covariates or known standard errors, a regression.
    se : str or False, optional
        Column of the known standard errors of y (sds, not variances).  Inferred: ``sigma``,
        ``se``, ``std_err`` or ``sei``.  Without one, the sd of the rows is unknown: ``sigma``;
        ``se=False`` says so whatever columns are called.
    variance : str, optional
        Column of the known variances of y, the squares of standard errors, in place of ``se``.
        Inferred: ``vi``.
    covariates : str or sequence of str, optional
        Columns of x: numbers, truth values, or text and categories in treatment coding.  Those of
        an empty cell of an interaction are left out, with a note.  Those with flat priors must not
        be linear combinations of one another.
    priors : mapping of str to Prior, or {"weak", "lecture"}, optional
        By parameter name, such as ``{"tau": hm.HalfNormal(5)}``; ``beta`` stands for all
        coefficients and ``beta[ses]`` for one.  Defaults: flat on means and coefficients and on
        group-level variances, ``1/sigma²`` on an unknown residual variance; ``"lecture"`` is
        these, stated.  ``"weak"``: half-t with 3 degrees of freedom on every group-level sd and
        on an unknown residual sd, with the scale ``max(2.5, 1.4826 · median |y − median y|)``,
        rounded to one decimal, of the outcomes y (of the effects, where standard errors are
        known), as in brms; flat on means and coefficients.  The scale stands in every table.
    missing : {"error", "drop"}
        What to do with rows in which a needed value is missing.
    engine : {"exact", "nuts"}
        Independent draws from the exact posterior, or PyMC's NUTS.
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
        computed.  The exact engine leaves draws of the groups' values out where all would take
        more, and makes them on demand, see :meth:`Fit.draws`.  What cannot be left out is
        refused: draws of NUTS, those of outer groups (beyond 64 MiB), and a number for each draw
        and row.
    log_likelihood : bool or {"conditional", "marginal"}
        What to add to ``datatree`` for ArviZ: with ``"conditional"``, or True, the log likelihood
        of each row given its group's value, on which ``arviz_stats.loo`` fails where groups have
        few rows (:meth:`Fit.loo` does not); with ``"marginal"`` that of all rows of each outermost
        group given the hyperparameters, values of groups integrated out.
    log_prior : bool
        Whether to add the log densities of the proper priors, for ``arviz_stats.psense_summary``.
    posterior_predictive : bool
        Whether to add outcomes of the same rows drawn anew, for predictive checks.
    prior : bool
        Whether to add ``draws`` draws from the priors, and outcomes drawn from these, for
        ``arviz_plots.plot_prior_posterior``; the same as :meth:`Fit.prior_predictive` makes with
        this seed.  All priors must be proper.
    **engine_options
        For ``"exact"`` there are none.  For ``"nuts"``: ``parameterization``, chosen by how much
        the data say of each group; ``observed``, ``"means"`` or ``"rows"``; ``nuts_sampler`` and
        what ``pm.sample`` takes.

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
        place of the variance, a hyperparameter, a group's value or the sd of a new group, at any
        level, is more than a quarter of a posterior sd away.
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
    if prior:
        require_proper(spec, "prior=True")
    conditional = _is_conditional(log_likelihood)
    asked = {
        "log_likelihood": conditional,
        "posterior_predictive": posterior_predictive,
        "prior_predictive": prior,
    }
    by_row = [name for name, is_asked in asked.items() if is_asked]
    for name in by_row:
        require_rows(grouped, name)
    if by_row:
        _require_memory(spec, grouped, by_row, draws * chains, memory_budget)
    by_group = bool(log_likelihood) and not conditional
    if by_group:
        require_groups_of_rows(spec, grouped)
        _require_memory_by_group(grouped, draws * chains, memory_budget)
    announce(grouped)
    if "grid" in engine_options:
        raise SpecError(f"engine {engine!r} has no option 'grid'")
    grid = Grid(spec, grouped)
    posterior = sample(
        spec,
        grouped,
        grid=grid,
        draws=draws,
        chains=chains,
        random_seed=random_seed,
        progressbar=progressbar,
        memory_budget=memory_budget,
        **engine_options,
    )
    warn_of_default_prior(grid, priors)
    posterior = with_seed(posterior, random_seed)
    if conditional:
        posterior = with_log_likelihood(posterior)
    if by_group:
        posterior = with_group_log_likelihood(posterior)
    if log_prior:
        posterior = with_log_prior(posterior)
    if posterior_predictive:
        posterior = with_posterior_predictive(posterior, random_seed)
    if prior:
        posterior = with_prior(posterior, draws, random_seed)
    return Fit(posterior)


@checked
def load(path: str | os.PathLike[str]) -> Fit:
    """Read a fit that :meth:`Fit.to_netcdf` has saved.

    Parameters
    ----------
    path : str or path

    Returns
    -------
    Fit
        With the same draws, data, priors and certificate as the one that was saved, bit for bit.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    DataError
        If it is not a saved fit, is damaged, or was written by a later version.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> import hiermodels as hm
    >>> fit = hm.fit(hm.datasets.load_eight_schools(), random_seed=1)
    outcome = y, groups = school, se = sigma (se, outcome, groups inferred)
    >>> with TemporaryDirectory() as folder:
    ...     path = fit.to_netcdf(Path(folder) / "schools.nc")
    ...     again = hm.load(path)
    >>> again.datatree.identical(fit.datatree)
    True
    """
    from hiermodels.io.netcdf import load as load_posterior

    return Fit(load_posterior(path))


@checked
def load_statistics(path: str | os.PathLike[str]) -> SufficientStatistics:
    """Read statistics that :meth:`SufficientStatistics.to_netcdf` has saved.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    DataError
        If it does not hold statistics, is damaged, or was written by a later version.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> import hiermodels as hm
    >>> roles = {"outcome": "strength", "groups": ["batch", "cask"]}
    >>> statistics = hm.SufficientStatistics.of(hm.datasets.load_pastes(), **roles)
    >>> with TemporaryDirectory() as folder:
    ...     path = statistics.to_netcdf(Path(folder) / "pastes.nc")
    ...     hm.load_statistics(path)
    SufficientStatistics(60 rows in 10 batch, 30 cask)
    """
    from hiermodels.io.netcdf import load_statistics

    return load_statistics(path)


def _require_memory(
    spec: Spec, data: GroupedData, by_row: Sequence[str], draws: int, budget: float
) -> None:
    """Refuse a number for each draw and row, which takes draws of all groups, if it is too much."""
    needs = memory.of_variables(spec, data, draws)
    needs |= memory.of_numbers(by_row, data.n_rows, draws)
    remedy = f"Ask for fewer draws, raise memory_budget, or leave out {' and '.join(by_row)}"
    memory.require(needs, draws, budget, remedy, always=0)


def _require_memory_by_group(data: GroupedData, draws: int, budget: float) -> None:
    """Refuse a number for each draw and outermost group, if it is too much."""
    needs = memory.of_numbers(["log_likelihood"], len(data.labels[0]), draws)
    memory.require(needs, draws, budget, "Ask for fewer draws, or leave out log_likelihood")


def _is_conditional(log_likelihood: Any) -> bool:
    """Whether the log likelihood of each row is asked for."""
    known = (True, False, "conditional", "marginal")
    if not isinstance(log_likelihood, (bool, np.bool_, str)) or log_likelihood not in known:
        raise SpecError(
            f"log_likelihood: expected True or 'conditional' (each row given its group's value), "
            f"'marginal' (all rows of an outermost group, values of groups integrated out) or "
            f"False; found {log_likelihood!r}"
        )
    return log_likelihood in (True, "conditional")

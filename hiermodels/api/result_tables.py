"""Tables of a fit: parameters, shares of variance, groups, checks and other priors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hiermodels.api.result_base import ResultBase
from hiermodels.core.arguments import checked_methods
from hiermodels.core.seeds import Seed
from hiermodels.data.covariates import AUTO, At
from hiermodels.posterior.tables import CI_PROB
from hiermodels.results.alternatives import Alternative, Sensitivity, compare_priors

if TYPE_CHECKING:
    from hiermodels.posterior.tables import Summary
    from hiermodels.results.ranking import Ranking
    from hiermodels.results.shrinkage import Estimates


@checked_methods
class ResultTables(ResultBase):
    """Tables of a posterior."""

    def summary(
        self, var_names: Sequence[str] | str | None = None, *, at: At = AUTO, **options: Any
    ) -> Summary:
        """Return ArviZ's summary of the draws, below the model and its priors.

        A group's effect is an intercept: its ``theta`` belongs to x = 0, which may be far from the
        data.  So with covariates effects of every level, and the intercept among them, are shown
        as ``theta + x'beta`` at an x that the header names.  The posterior that is kept, in
        ``datatree`` and ``reference()``, stays at x = 0.

        Effects of more than 500 groups are left out unless they are asked for, as the header then
        says: ArviZ takes some milliseconds for each.

        Parameters
        ----------
        var_names : str or sequence of str, optional
            Which variables.
        at : {"auto", "means", "own", "zero"} or mapping of str to value
            x.  ``"auto"``, the default: the covariates' means, or 0 where slopes vary between
            groups, as ``tau`` and ``rho`` are those of intercepts at 0.  ``"means"``: the
            covariates' means over the rows.  ``"own"``: each group's own, the mean of its rows
            (weighted with ``1/se²`` where standard errors are known), and that of all rows for the
            intercept.  ``"zero"``: 0.  A mapping: some columns of the data at these values, numbers
            or levels, in the data's own unit, and the others at their means.  Products such as
            ``x:sex`` are averaged over the rows as they are.  Without covariates there is nothing
            to choose.
        **options
            Passed to ``arviz_stats.summary``, such as ``ci_prob`` and ``kind``.
        """
        from hiermodels.results.summary import summarize

        return summarize(self.posterior, var_names, at, **options)

    def variance_components(self, ci_prob: float = CI_PROB, at: At = AUTO) -> Summary:
        """Tabulate sds, variances and each level's share of them, without Monte Carlo error.

        Parameters
        ----------
        ci_prob : float
            Probability of the equal-tailed intervals.
        at : {"auto", "means", "zero"} or mapping of str to value
            Where slopes vary, the covariates x at which the groups' variances are, as in
            :meth:`summary`; elsewhere they are the same at all x.

        Returns
        -------
        Summary
            Rows ``tau`` and ``tau²``, with their like at other levels; ``share[group]``, the part
            of the total variance that lies between groups, at the top level the intraclass
            correlation; with three levels ``icc[group]``, the correlation of two rows of one
            innermost group.  Where the standard errors are known, the residual variance is that
            of a typical row, so that the shares are I² (Higgins & Thompson 2002).  Where slopes
            vary, ``var[group]`` is the groups' variance at x, of intercept and slopes together.
            Quantiles of that, and of shares where slopes vary or there are three columns of
            groups, are those of exact draws; the header states their Monte Carlo error.

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

        return variance_components(self.reference(), ci_prob, at)

    def estimates(
        self,
        truth: Any = None,
        *,
        method: str | None = None,
        ci_prob: float = CI_PROB,
        at: At = AUTO,
    ) -> Estimates:
        """Put unpooled, pooled, empirical Bayes and posterior estimates of the groups together.

        Parameters
        ----------
        truth : Series, mapping or sequence, optional
            Known true effects: by group label, or else (a Series numbered 0, 1, … counts as a
            sequence) in the order of the groups in the data.  Adds a table of errors.  With
            covariates, true effects at the same x.
        method : str, optional
            How the sds are estimated that empirical Bayes takes for known.  No prior plays a part
            in them, nor in what is estimated given them.

            - ``"reml"``: restricted maximum likelihood, as in lme4 and metafor, the default where
              rows are normal;
            - ``"ml"``: maximum likelihood, of any model; the only one, and the default, where they
              are not: of ``tau`` and the coefficients together, all effects integrated out by
              quadrature, as ``glmer`` does with many points (``nAGQ = 25``);
            - with two levels and known standard errors, as in metafor's ``rma``: ``"dl"``
              DerSimonian–Laird, ``"pm"`` Paule–Mandel, ``"he"`` Hedges, ``"eb"`` empirical Bayes
              (Morris; the same number as ``"pm"``), ``"sj"`` Sidik–Jonkman.  A negative estimate
              of the variance becomes 0, and the table says so.
        ci_prob : float
            Probability of the intervals of the coefficients, 0.89 by default.
        at : {"auto", "means", "own", "zero"} or mapping of str to value
            Values of the covariates that effects and the intercept are shown at, as in
            :meth:`summary`.

        Returns
        -------
        Estimates
            With ``table``, ``outer`` (three levels), ``on_link`` (counts), ``coefficients``,
            ``errors`` and ``sds``.

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
        effect: str | None = None,
        threshold: float | None = None,
        top: float | None = None,
        highest_first: bool = True,
        ci_prob: float = CI_PROB,
        at: At = AUTO,
    ) -> Ranking:
        """Return the league table of a level: the posterior of each group's rank.

        Parameters
        ----------
        level : str, optional
            Column of the groups, or the variable of their effects (``theta``, ``mu``; of counts
            also ``p`` or ``rate``, their effects on the outcome's scale); by default the innermost
            groups' effects on the scale of the link.
        effect : str, optional
            Which of a group's effects, where slopes vary between the groups of this level, such as
            ``"Days"``; by default the intercept at ``at``, so that ``at={"Days": 5}`` ranks the
            groups' values at five days.
        threshold : float, optional
            Adds the probability that a group's effect exceeds this number, without Monte Carlo
            error.
        top : int or float, optional
            Adds the probability of being among the first: this many (an int), or this share of
            all (a float below 1, rounded to a number of groups, at least one).
        highest_first : bool
            Whether rank 1, the best, is the highest value or the lowest.
        ci_prob : float
            Probability of the equal-tailed interval of the rank.
        at : {"auto", "means", "own", "zero"} or mapping of str to value
            Values of the covariates that effects are shown at, as in :meth:`summary`.  Slopes are
            the same at all of them.

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
        from hiermodels.results.ranking import rank_members

        return rank_members(
            self.posterior,
            self.reference(),
            level,
            effect=effect,
            threshold=threshold,
            top=top,
            highest_first=highest_first,
            ci_prob=ci_prob,
            at=at,
        )

    def check(self, *, replicate: str = "groups", random_seed: Seed = None) -> Summary:
        """Compare statistics of the data with those of data replicated from the posterior.

        Parameters
        ----------
        replicate : str
            ``"groups"``: new groups at every level.  ``"rows"``: the same groups, new rows.  The
            name of a column: new groups at this level and below.
        random_seed : int or numpy.random.Generator, optional
            May be the one of the fit: the streams are different.

        Returns
        -------
        Summary
            A row for each statistic, see :func:`hiermodels.results.checks.check`.
        """
        from hiermodels.results.checks import check

        return check(self.posterior, replicate=replicate, random_seed=random_seed)

    def sensitivity(self, priors: Mapping[str, Alternative] | None = None) -> Sensitivity:
        """Compare the posterior with those under other priors, without Monte Carlo error.

        Parameters
        ----------
        priors : mapping of str to mapping, optional
            As in :func:`hiermodels.sensitivity`, which has the defaults.
        """
        return compare_priors(self.reference(), priors)

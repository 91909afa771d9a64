"""Predictions of a fit: of new rows, from the priors, and of what is left out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from hiermodels.api.added_groups import require_memory_by_row
from hiermodels.api.result_base import ResultBase
from hiermodels.core.arguments import checked_methods
from hiermodels.core.options import count
from hiermodels.core.seeds import Seed, named_seed
from hiermodels.data.covariates import MEANS, At
from hiermodels.data.grouped import require_rows
from hiermodels.posterior.memory import MEMORY_BUDGET
from hiermodels.results.simulation import prior_predictive

if TYPE_CHECKING:
    from hiermodels.results.loo import ExactLOO
    from hiermodels.results.prediction import Prediction


@checked_methods
class ResultPredictions(ResultBase):
    """Predictions from a posterior."""

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
        effect is drawn from the distribution of the groups around its parent, known or new::

            known classroom                  theta_c
            new classroom, known school      theta ~ Normal(mu_s, tau)
            new school                       mu ~ Normal(lam, kappa)   theta ~ Normal(mu, tau)

        Rows with the same new label share one new group, and where slopes vary all its effects,
        which have the posterior's correlations.  Of counts, what is predicted is the
        probability ``p`` or the ``rate`` of each row, at its own covariates and offset, and the
        count of so many trials, or of such an exposure; :meth:`Prediction.pmf` has its exact
        probabilities.  Errors of new rows are independent, of those in the data too; where these
        have a covariance matrix, the standard errors of new rows are in a column ``se``.

        Parameters
        ----------
        new_data : data frame, optional
            Columns of the group labels, of the covariates, of an offset, and of the known standard
            errors, numbers of trials or exposures; the outcome is not needed.  Labels are compared
            as they are written, numbers and dates by their value: 3.0 is group 3.  A row whose
            label is missing (None, NaN) has a new group of its own; so has each row without the
            column of the innermost groups, or of all.
            Without ``new_data``: a row for each group and, at each level above, for a new group in
            each known group; at the covariates that ``at`` says, and with the median of the known
            standard errors, trials or exposures of that group's rows.
        at : {"auto", "means", "own", "zero"} or mapping of str to value
            Without ``new_data``: values of the covariates, as in :meth:`summary`, and by default
            their means, whether slopes vary or not.  ``"own"`` are those of the row's lowest known
            group.
        outcomes : bool
            Whether to predict outcomes beside their means ``theta + x'beta``, probabilities or
            rates, which alone need no standard errors, trials or exposures.
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
        from hiermodels.results.predicting import predict

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
        require_memory_by_row(self.spec, self.data, ["prior_predictive"], draws, memory_budget)
        rng = np.random.default_rng(named_seed(random_seed, "prior_predictive"))
        return prior_predictive(self.spec, self.data, draws, rng)

    def loo(self, unit: str = "row") -> ExactLOO:
        """Cross-validate: log densities of units given all others, without Monte Carlo error.

        The intercept, all effects and coefficients are integrated out in closed form, the sds and
        correlations by quadrature on the lattice of :meth:`reference`, whatever the engine was::

            1/p(y_u | the rest) = E[1/p(y_u | the rest, sds) | y]

        Where the lattice cannot hold the posterior without a unit, that is integrated anew.  Of
        counts the intercept and coefficients are on the lattice too, which holds all of them.  Of
        one population, and of a regression without groups, densities are in closed form.

        Importance sampling as in ``arviz_stats.loo``, from the log likelihood of each row given its
        own group's effect, fails where groups have few rows: without its only row a group's effect
        goes back to its parent, where hardly any draws are.

        Parameters
        ----------
        unit : str
            What is left out at a time: ``"row"``, while the other rows of its group stay;
            ``"group"``, all rows of an innermost group; ``"outer"``, with several grouping columns,
            all rows of a group that holds these; or, by the name of its column or effects, all
            rows of a group of any level.  Where errors are correlated, the rest says something of
            the errors of a row that is left out: a row is predicted from the others of its study.

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

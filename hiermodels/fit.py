"""``fit``: from a data frame to a posterior.  ``Fit``: what one does with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from hiermodels.data import GroupedData, Missing
from hiermodels.engines import Seed, get_engine, integer_seed
from hiermodels.errors import SpecError
from hiermodels.inputs import announce, prepare
from hiermodels.noise_free import ReferencePosterior
from hiermodels.posterior import Posterior, group_draws, with_log_likelihood
from hiermodels.priors import Prior
from hiermodels.reference import reference_posterior
from hiermodels.spec import Spec

if TYPE_CHECKING:
    from arviz_plots import PlotCollection

    from hiermodels.summary import Summary


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

    def summary(self, **options: Any) -> Summary:
        """Return ArviZ's summary of the draws, below the model and its priors.

        Parameters
        ----------
        **options
            Passed to ``arviz_stats.summary``, such as ``var_names`` and ``ci_prob``.
        """
        from hiermodels.summary import summarize

        return summarize(self.posterior, **options)

    def reference(self) -> ReferencePosterior:
        """Return the same posterior without Monte Carlo error, whatever the engine was."""
        return self._reference

    def draws(self, groups: Sequence[Any] | None = None) -> xr.DataArray:
        """Return draws of the groups' values ``theta``.

        Where all groups' draws would not fit into the memory budget they are not kept in
        ``datatree``; this makes those of the groups that are asked for, the same at every call.

        Parameters
        ----------
        groups : sequence of labels, optional
            All by default.
        """
        return group_draws(self.posterior, groups)

    def prior_predictive(self, draws: int = 1000, random_seed: Seed = None) -> xr.DataTree:
        """Draw from the priors, and outcomes of the same rows from what was drawn.

        Parameters
        ----------
        draws : int
        random_seed : int or numpy.random.Generator, optional

        Raises
        ------
        SpecError
            If a prior is improper: there is nothing to draw from.
        """
        from hiermodels.simulation import prior_predictive

        rng = np.random.default_rng(integer_seed(random_seed))
        return prior_predictive(self.spec, self.data, draws, rng)

    def plot_shrinkage(self, **options: Any) -> PlotCollection:
        """Show how each group's raw mean is pulled towards the others.

        Parameters
        ----------
        **options
            See :func:`hiermodels.plots.plot_shrinkage`.
        """
        from hiermodels.plots import plot_shrinkage

        return plot_shrinkage(self.posterior, **options)

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


def fit(
    data: Any,
    formula: str | None = None,
    *,
    outcome: str | None = None,
    groups: Sequence[str] | str | None = None,
    se: str | None = None,
    covariates: Sequence[str] | str | None = None,
    priors: Mapping[str, Prior] | None = None,
    missing: Missing = "error",
    engine: str = "exact",
    draws: int = 1000,
    chains: int = 4,
    random_seed: Seed = None,
    progressbar: bool | None = None,
    log_likelihood: bool = False,
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
    data : data frame
        A row for each observation or estimate; pandas, polars, pyarrow.
    formula : str, optional
        In the notation of lme4 and bambi, ``"score ~ ses + (1 | school/classroom)"``, in place of
        ``outcome``, ``groups`` and ``covariates``.
    outcome : str, optional
        Column of y.  Inferred: ``y``, or the only continuous column left.
    groups : str or sequence of str, optional
        Columns of the group labels, from the outer to the inner level.  Inferred: the columns of
        text or categories.  ``[]`` is the model of one population.
    se : str, optional
        Column of the known standard errors of y (sds, not variances).  Inferred: ``sigma``,
        ``se`` or ``std_err``.  Without one, the sd of the rows is unknown: ``sigma``.
    covariates : str or sequence of str, optional
        Columns of x: numbers, truth values, or text and categories in treatment coding.
    priors : mapping of str to Prior, optional
        By parameter name, such as ``{"tau": hm.HalfNormal(5)}``; ``beta`` stands for all
        coefficients and ``beta[ses]`` for one.  Defaults: flat on means and coefficients and on
        group-level variances, ``1/sigma²`` on an unknown residual variance.
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
        Whether to show progress, where there is something to wait for.
    log_likelihood : bool
        Whether to add the log likelihood of each row to ``datatree``, for ``arviz_stats.loo``.
    **engine_options
        For ``"exact"``: ``memory_budget``, the bytes that draws of the groups may take (2 GiB);
        beyond, they are drawn on demand, see :meth:`Fit.draws`.  For ``"nuts"``:
        ``parameterization``, ``nuts_sampler`` and what ``pm.sample`` takes.

    Returns
    -------
    Fit

    Raises
    ------
    DataError, SpecError, ImproperPosteriorError
        All are ``HierModelsError``; the message says what to do.

    Examples
    --------
    >>> import hiermodels as hm
    >>> fit = hm.fit(hm.datasets.load_eight_schools(), priors={"tau": hm.FlatSD()}, random_seed=1)
    outcome = y, groups = school, se = sigma (se, outcome, groups inferred)
    >>> round(float(fit.reference().mean["theta"].sel(school="A")), 2)
    11.4
    """
    _require_count("draws", draws)
    _require_count("chains", chains)
    sample = get_engine(engine)
    spec, grouped = prepare(
        data,
        formula,
        outcome=outcome,
        groups=groups,
        se=se,
        covariates=covariates,
        priors=priors,
        missing=missing,
    )
    announce(grouped)
    posterior = sample(
        spec,
        grouped,
        draws=draws,
        chains=chains,
        random_seed=random_seed,
        progressbar=progressbar,
        **engine_options,
    )
    return Fit(with_log_likelihood(posterior) if log_likelihood else posterior)


def _require_count(name: str, count: Any) -> None:
    is_count = isinstance(count, (int, np.integer)) and not isinstance(count, bool)
    if not (is_count and count > 0):
        raise SpecError(f"{name}: expected a positive integer; found {count!r}")

"""Pictures of a fit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hiermodels.api.result_base import ResultBase
from hiermodels.core.arguments import checked_methods

if TYPE_CHECKING:
    from arviz_plots import PlotCollection


@checked_methods
class ResultPictures(ResultBase):
    """Pictures of a posterior."""

    def plot_caterpillar(self, **options: Any) -> PlotCollection:
        """Show groups from the highest posterior mean to the lowest, and how sure their ranks are.

        Parameters
        ----------
        **options
            See :func:`hiermodels.plots.plot_caterpillar`.
        """
        from hiermodels.plots.caterpillar import plot_caterpillar

        return plot_caterpillar(self.posterior, **options)

    def plot_shrinkage(self, **options: Any) -> PlotCollection:
        """Show how each group's raw mean is pulled towards the others.

        Parameters
        ----------
        **options
            See :func:`hiermodels.plots.plot_shrinkage`.
        """
        from hiermodels.plots.shrinkage import plot_shrinkage

        return plot_shrinkage(self.posterior, **options)

    def plot_lines(self, **options: Any) -> PlotCollection:
        """Show each group's line over a covariate whose slopes vary, raw and shrunken.

        Parameters
        ----------
        **options
            See :func:`hiermodels.plots.plot_lines`.
        """
        from hiermodels.plots.lines import plot_lines

        return plot_lines(self.posterior, **options)

    def plot_trace_tau(self, **options: Any) -> PlotCollection:
        """Show how each group's estimate depends on the sd of the groups.

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

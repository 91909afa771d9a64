"""Pictures of a posterior, in the way of arviz-plots: each returns a ``PlotCollection``."""

from __future__ import annotations

from hiermodels.plots.alternatives import plot_sensitivity
from hiermodels.plots.caterpillar import plot_caterpillar
from hiermodels.plots.comparison import plot_compare
from hiermodels.plots.predictive import plot_ppc
from hiermodels.plots.shrinkage import plot_shrinkage
from hiermodels.plots.trace import plot_trace_tau
from hiermodels.plots.variance import plot_variance

__all__ = [
    "plot_caterpillar",
    "plot_compare",
    "plot_ppc",
    "plot_sensitivity",
    "plot_shrinkage",
    "plot_trace_tau",
    "plot_variance",
]

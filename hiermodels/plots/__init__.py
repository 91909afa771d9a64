"""Pictures of a posterior, in the way of arviz-plots: each returns a ``PlotCollection``.

Users import this room.  A picture is a file with a function ``plot_…``, named below and in
``__all__``; what it shows is computed in ``exact`` or ``posterior``, or comes in as a result.

- ``alternatives``: one posterior under several priors
- ``caterpillar``: groups in the order of their posterior means, with their ranks
- ``comparison``: where draws depart from the exact posterior
- ``lines``: lines of groups whose slopes vary
- ``predictive``: replicated data beside the observed
- ``shrinkage``: how estimates of groups are pulled together; ``pairs``, two effects of each group
- ``trace``: how estimates depend on the sd of their groups
- ``variance``: how large the variance is at each level
- ``layout``: what the pictures share; ``effects``, which effects of groups they show;
  ``raw_lines``, least squares of each group
"""

from __future__ import annotations

from hiermodels.plots.alternatives import plot_sensitivity
from hiermodels.plots.caterpillar import plot_caterpillar
from hiermodels.plots.comparison import plot_compare
from hiermodels.plots.lines import plot_lines
from hiermodels.plots.predictive import plot_ppc
from hiermodels.plots.shrinkage import plot_shrinkage
from hiermodels.plots.trace import plot_trace_tau
from hiermodels.plots.variance import plot_variance

__all__ = [
    "plot_caterpillar",
    "plot_compare",
    "plot_lines",
    "plot_ppc",
    "plot_sensitivity",
    "plot_shrinkage",
    "plot_trace_tau",
    "plot_variance",
]

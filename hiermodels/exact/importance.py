"""Draws by importance, of counts whose exact draws would take too long.

τ and the coefficients are resampled from weighted proposals
(:mod:`hiermodels.exact.glmm.importance`); given these, the groups' effects are drawn exactly.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from hiermodels.core.blas import one_blas_thread
from hiermodels.core.progress import showing_progress
from hiermodels.core.seeds import named_seed
from hiermodels.data.grouped import GroupedData
from hiermodels.errors import SpecError
from hiermodels.exact.drawn import Job, refits_by, with_effects
from hiermodels.exact.glmm.importance import ResampledDraws
from hiermodels.exact.glmm_effects import GlmmEffects
from hiermodels.exact.glmm_grid import GlmmGrid
from hiermodels.exact.grid import grid_of
from hiermodels.model.spec import Spec
from hiermodels.posterior.engine import Request
from hiermodels.posterior.record import WEIGHTS, Posterior


@one_blas_thread()
def sample(spec: Spec, data: GroupedData, request: Request, /, **options: Any) -> Posterior:
    """Draw from the posterior by importance, and say how well that went.

    Parameters
    ----------
    spec, data, request
        As for :func:`hiermodels.exact.sample.sample`.

    Raises
    ------
    ImproperPosteriorError
        If the posterior does not exist.
    PrecisionError
        If the weights vary too much to be trusted.
    SpecError
        If the model is one whose draws are exact, an option is given, or the draws take more than
        the budget.
    """
    job = Job("importance", spec, data, request)
    seed = named_seed(request.random_seed, "importance")  # apart from exact draws
    rng = np.random.default_rng(seed)
    job.require_possible(options)
    grid = request.grid or grid_of(spec, data)
    if not isinstance(grid, GlmmGrid):
        raise SpecError(
            "engine 'importance' is for binomial and Poisson rows in one column of groups or two "
            "nested ones, with covariates that vary within groups or with many of them. Draws of "
            "this model are exact: use engine='exact'"
        )
    with showing_progress("Drawing", job.size, request.progressbar) as progress:
        effects, drawn = GlmmEffects.resampled(grid, job.size, rng, progress)
    weighted = drawn.proposals
    attrs = {
        "proposals": float(len(weighted.tau)),
        "importance_ess": weighted.ess,
        "pareto_k": weighted.k,
        "largest_weight": weighted.largest,
    }
    stats = {"importance_weight": drawn.weight}
    said = _certificate(
        drawn, f"{len(grid.marginal.path)} values of {' and '.join(own.sd for own in spec.levels)}"
    )
    return job.posterior(with_effects(effects, attrs, said, job.keep, stats))


def _certificate(drawn: ResampledDraws, nodes: str) -> dict[str, str]:
    """What is said of the draws."""
    weighted, size = drawn.proposals, len(drawn.tau)
    n = len(weighted.tau)
    return {
        "draws": f"not exact: {size:,} resampled from {n:,} weighted proposals around the modes of "
        f"{nodes}; effects of groups given these are exact",
        WEIGHTS: f"ESS {weighted.ess:,.0f} of {n:,}, k-hat {weighted.k:.2f}, the largest "
        f"{weighted.largest:.1f} times the mean",
        "repeated": f"{drawn.distinct:,} of {size:,} are different; repeated ones stand beside "
        f"each other, so that mcse and ESS of tables count them once",
    }


prepare_refits = refits_by(sample)

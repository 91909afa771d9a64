"""From the rows that a user gives, or from all groups, to their prediction."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hiermodels.core.messages import short
from hiermodels.core.options import real_number
from hiermodels.core.seeds import Seed, named_seed
from hiermodels.data.covariates import MEANS, At, locate
from hiermodels.data.every_member import every_member, what_was_taken
from hiermodels.data.new_rows import read_new_rows
from hiermodels.errors import SpecError
from hiermodels.posterior.record import Posterior
from hiermodels.posterior.reference_posterior import ReferencePosterior
from hiermodels.results.prediction import Prediction


def predict(
    posterior: Posterior,
    reference: Callable[[], ReferencePosterior],
    new_data: Any,
    *,
    at: At,
    outcomes: bool,
    random_seed: Seed,
    memory_budget: float,
) -> Prediction:
    """Predict rows.

    Parameters
    ----------
    posterior : Posterior
    reference : callable
        Returns the same posterior without Monte Carlo error.
    new_data, at, outcomes, random_seed, memory_budget
        See :meth:`hiermodels.Fit.predict`.
    """
    data = posterior.data
    notes, where = [], locate(data, at)
    if new_data is None:
        rows = every_member(data, where, outcomes=outcomes)
        notes += [where.words] if where.words else []
        notes += what_was_taken(data, rows)
    elif at != MEANS:
        raise SpecError(
            f"at: new_data have covariates of their own, so that nothing is shown at {short(at)}. "
            f"Leave out at=…, or new_data"
        )
    else:
        rows = read_new_rows(new_data, data, outcomes=outcomes)
    seed = named_seed(random_seed, "predict")
    memory_budget = real_number("memory_budget", memory_budget)
    return Prediction(posterior, rows, outcomes, tuple(notes), reference, seed, memory_budget)

"""What ``fit`` adds to ``datatree`` beside draws, where it is asked for and possible."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from hiermodels.core.seeds import Seed
from hiermodels.data.grouped import GroupedData, require_rows
from hiermodels.errors import SpecError
from hiermodels.exact.group_likelihood import require_groups_of_rows, with_group_log_likelihood
from hiermodels.model.spec import Spec
from hiermodels.posterior import memory
from hiermodels.posterior.arviz_groups import (
    with_log_likelihood,
    with_log_prior,
    with_posterior_predictive,
)
from hiermodels.posterior.record import Posterior
from hiermodels.results.simulation import require_proper, with_prior


@dataclass(frozen=True)
class AddedGroups:
    """What is asked for beside draws, as the arguments of :func:`hiermodels.fit` say."""

    log_likelihood: bool | Literal["conditional", "marginal"]
    log_prior: bool
    posterior_predictive: bool
    prior: bool

    @property
    def by_row(self) -> list[str]:
        """What has a number for each draw and row."""
        asked = {
            "log_likelihood": _is_conditional(self.log_likelihood),
            "posterior_predictive": self.posterior_predictive,
            "prior_predictive": self.prior,
        }
        return [name for name, is_asked in asked.items() if is_asked]

    @property
    def by_group(self) -> bool:
        """Whether the log likelihood has a number for each draw and outermost group."""
        return bool(self.log_likelihood) and not _is_conditional(self.log_likelihood)

    def require_possible(self, spec: Spec, data: GroupedData, draws: int, budget: float) -> None:
        """Raise an error if model or data cannot give this, or it takes too much memory.

        Parameters
        ----------
        draws : int
            Of all chains.
        budget : float
            Bytes.

        Raises
        ------
        DataError, SpecError
            If something that is asked for cannot be had.
        """
        if self.prior:
            require_proper(spec, "prior=True")
        by_row = self.by_row
        for name in by_row:
            require_rows(data, name)
        if by_row:
            require_memory_by_row(spec, data, by_row, draws, budget)
        if self.by_group:
            require_groups_of_rows(spec, data)
            _require_memory_by_group(data, draws, budget)

    def add_to(self, posterior: Posterior, draws: int, random_seed: Seed) -> Posterior:
        """Return the posterior with all that is asked for; ``draws`` of each from the priors."""
        if _is_conditional(self.log_likelihood):
            posterior = with_log_likelihood(posterior)
        if self.by_group:
            posterior = with_group_log_likelihood(posterior)
        if self.log_prior:
            posterior = with_log_prior(posterior)
        if self.posterior_predictive:
            posterior = with_posterior_predictive(posterior, random_seed)
        if self.prior:
            posterior = with_prior(posterior, draws, random_seed)
        return posterior


def require_memory_by_row(
    spec: Spec, data: GroupedData, by_row: Sequence[str], draws: int, budget: float
) -> None:
    """Raise an error if a number for each draw and row, and draws of all groups, are too much."""
    needs = memory.of_variables(spec, data, draws)
    needs |= memory.of_numbers(by_row, data.n_rows, draws)
    remedy = f"Ask for fewer draws, raise memory_budget, or leave out {' and '.join(by_row)}"
    memory.require(needs, draws, budget, remedy, always=0)


def _require_memory_by_group(data: GroupedData, draws: int, budget: float) -> None:
    """Raise an error if a number for each draw and outermost group is too much."""
    needs = memory.of_numbers(["log_likelihood"], len(data.labels[0]), draws)
    memory.require(needs, draws, budget, "Ask for fewer draws, or leave out log_likelihood")


def _is_conditional(log_likelihood: Any) -> bool:
    """Whether the log likelihood of each row is asked for."""
    known = (True, False, "conditional", "marginal")
    if not isinstance(log_likelihood, (bool, np.bool_, str)) or log_likelihood not in known:
        raise SpecError(
            f"log_likelihood: expected True or 'conditional' (each row given its group's effect), "
            f"'marginal' (all rows of an outermost group, effects of groups integrated out) or "
            f"False; found {log_likelihood!r}"
        )
    return log_likelihood in (True, "conditional")

"""What every part of a fit rests on: a posterior, its draws, and the same without error."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import xarray as xr

from hiermodels.core.arguments import checked_methods
from hiermodels.data.grouped import GroupedData
from hiermodels.exact.noise_free import reference_posterior
from hiermodels.model.spec import Spec
from hiermodels.posterior.arviz_groups import with_parents
from hiermodels.posterior.memory import MEMORY_BUDGET
from hiermodels.posterior.precision import TOLERANCE
from hiermodels.posterior.record import Posterior, group_draws
from hiermodels.posterior.reference_posterior import ReferencePosterior


@checked_methods
@dataclass(frozen=True)
class ResultBase:
    """A posterior."""

    posterior: Posterior  # the record: specification, data, draws, engine and its certificate

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

    def reference(self, tol: float = TOLERANCE) -> ReferencePosterior:
        """Return the same posterior without Monte Carlo error, whatever the engine was.

        Parameters
        ----------
        tol : float
            The quadrature is refined until two spacings agree to so many posterior sds.

        Raises
        ------
        PrecisionError
            If two spacings still differ by more than 1e-3 posterior sds, or rounding errors exceed
            it.

        Warns
        -----
        PrecisionWarning
            If either is more than ``tol``: tables then show only the digits that are right.
        """
        if tol == TOLERANCE:
            return self._reference
        return reference_posterior(self.spec, self.data, tol)

    def draws(
        self,
        groups: Sequence[Any] | None = None,
        level: str | None = None,
        *,
        memory_budget: float = MEMORY_BUDGET,
    ) -> xr.DataArray:
        """Return draws of the effects of a level's groups.

        Where all groups' draws would not fit into the memory budget they are not kept in
        ``datatree``; this makes those of the groups that are asked for, the same at every call.

        Parameters
        ----------
        groups : label or sequence of labels, optional
            All by default.
        level : str, optional
            Column of the groups, or the variable of their effects (``theta``, ``mu``; of counts
            also ``p`` or ``rate``); the innermost, or of crossed columns the last, by default.
        memory_budget : float
            Bytes that draws which were not kept may take, 2 GiB by default.

        Returns
        -------
        DataArray
            (chain, draw, group), of several effects (chain, draw, group, effect).  With several
            levels of groups coordinates name what each group is in, such as ``classroom_school``.

        Raises
        ------
        DataError
            If there is no group of that label.
        SpecError
            If there is no such level, or the draws would take more than the budget.
        """
        draws = group_draws(self.posterior, groups, memory_budget=memory_budget, level=level)
        return with_parents(self.posterior, draws)

    @cached_property
    def _reference(self) -> ReferencePosterior:
        return reference_posterior(self.spec, self.data)

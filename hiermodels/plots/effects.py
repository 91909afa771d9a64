"""Which effects of groups a picture shows, where, and beside what line."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import xarray as xr

import hiermodels.plots.layout as layout
from hiermodels.data.covariates import At, Place, locate
from hiermodels.posterior.record import Posterior, at_covariates, level_draws


@dataclass(frozen=True)
class ShownEffects:
    """Effects of the groups of a level.

    Attributes
    ----------
    posterior : Posterior
        With effects on the scale of the link at these covariates.
    draws : DataArray
        (chain, draw, group); its name is the variable's.
    place : Place
        The covariates.
    grand : float
        Where the line of all groups stands.
    dashed : str
        What this line shows.
    words : str
        Covariates that the effects belong to; nothing if there are none.
    """

    posterior: Posterior
    draws: xr.DataArray
    place: Place
    grand: float
    dashed: str
    words: str

    @classmethod
    def of(cls, posterior: Posterior, level: str | None, at: At) -> Self:
        """Find the effects of a level, by default the innermost groups' as people see them.

        Those on the outcome's scale, such as ``p``, are at each group's own covariates wherever
        others are shown; the line is ``p`` of a group at the intercept, at the place.
        """
        spec = posterior.spec
        name = spec.effect_of(level or (spec.shown_effect if spec.levels else None))
        place = locate(posterior.data, at)
        moved = at_covariates(posterior, place, [*spec.effects, *spec.top])
        grand, dashed = layout.centre_line(moved, place)
        if name not in spec.on_outcome_scale:
            return cls(moved, level_draws(moved, name), place, grand, dashed, place.words)
        grand = float(spec.family.inverse_link(xr.DataArray(grand).to_numpy()))
        words = f"{name}: own covariates; dashed: {place.words}" if place.words else ""
        draws = level_draws(posterior, name)
        return cls(moved, draws, place, grand, f"{name} at {dashed}", words)

    def ordered(self, order: object) -> ShownEffects:
        """The same with the groups in another order."""
        return replace(self, draws=self.draws.isel({self.draws.dims[-1]: order}))

    @property
    def name(self) -> str:
        """Name of the variable."""
        return str(self.draws.name)

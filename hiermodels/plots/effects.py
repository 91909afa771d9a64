"""Which effects of groups a picture shows, where, and beside what line."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import xarray as xr

import hiermodels.plots.layout as layout
from hiermodels.core.options import one_of
from hiermodels.data.covariates import At, Place, locate
from hiermodels.model.level import INTERCEPT
from hiermodels.model.spec import Spec
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
    term : str or None
        Which of several effects of each group it is.
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
    term: str | None
    place: Place
    grand: float
    dashed: str
    words: str

    @classmethod
    def of(cls, posterior: Posterior, level: str | None, at: At, effect: str | None = None) -> Self:
        """Find the effects of a level, by default the innermost groups' as people see them.

        Those on the outcome's scale, such as ``p``, are at each group's own covariates wherever
        others are shown; the line is ``p`` of a group at the intercept, at the place.  Of several
        effects of a group the one that is asked for is shown, by default the first, beside the
        population's.
        """
        spec = posterior.spec
        name = spec.effect_of(level or (spec.shown_effect if spec.levels else None))
        place = locate(posterior.data, at)
        term = term_of(spec, name, effect)
        moved = at_covariates(posterior, place, [*spec.effects, *spec.top])
        if term is not None:
            return cls._of_term(moved, name, term, place)
        if spec.is_crossed:  # deviations, which are the same at all covariates
            return cls(moved, level_draws(moved, name), None, place, 0.0, "0", "")
        grand, dashed = layout.centre_line(moved, place)
        if name not in spec.on_outcome_scale:
            return cls(moved, level_draws(moved, name), None, place, grand, dashed, place.words)
        grand = float(spec.family.inverse_link(xr.DataArray(grand).to_numpy()))
        words = f"{name}: own covariates; dashed: {place.words}" if place.words else ""
        draws = level_draws(posterior, name)
        return cls(moved, draws, None, place, grand, f"{name} at {dashed}", words)

    @classmethod
    def _of_term(cls, moved: Posterior, name: str, term: str, place: Place) -> Self:
        """One of several effects of each group; covariates matter to intercepts alone."""
        level = moved.spec.levels[moved.spec.level_of(name)]
        draws = level_draws(moved, name).isel({level.dims[0]: level.terms.index(term)}, drop=True)
        if term == INTERCEPT:
            grand, dashed = layout.centre_line(moved, place)
            return cls(moved, draws, term, place, grand, dashed, place.words)
        middle, word = layout.centre(moved, moved.datatree["posterior"].to_dataset()["beta"])
        grand = float(middle[moved.spec.covariates.index(term)])
        dashed = f"beta[{term}]" if word == "mean" else f"median of beta[{term}]"
        return cls(moved, draws, term, place, grand, dashed, "")

    def ordered(self, order: object) -> ShownEffects:
        """The same with the groups in another order."""
        return replace(self, draws=self.draws.isel({self.draws.dims[-1]: order}))

    @property
    def name(self) -> str:
        """Name of the variable."""
        return str(self.draws.name)

    @property
    def label(self) -> str:
        """What people are told that this is, such as ``theta[Days]``."""
        return self.name if self.term is None else f"{self.name}[{self.term}]"


def term_of(spec: Spec, name: str, effect: str | None) -> str | None:
    """Which of several effects is asked for, by default the first; None of intercepts alone.

    Raises
    ------
    SpecError
        If there is no such effect.
    """
    level = spec.levels[spec.level_of(name)]
    known = level.terms if level.has_slopes else (INTERCEPT,)
    if effect is not None:
        one_of("effect", effect, known)
    return (effect or known[0]) if level.has_slopes else None

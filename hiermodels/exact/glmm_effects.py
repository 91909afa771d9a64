"""Draws of all variables of counts whose covariates vary within groups."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from hiermodels.core.arrays import Floats, Indices
from hiermodels.core.blas import one_blas_thread
from hiermodels.core.seeds import spawned
from hiermodels.data.grouped import GroupedData
from hiermodels.exact.effects import Stored
from hiermodels.exact.glmm.draws import CountDraws, draw
from hiermodels.exact.glmm.effects import draw_effects
from hiermodels.exact.glmm.importance import ResampledDraws, draw_resampled
from hiermodels.exact.glmm.nested_effects import draw_outer_effects
from hiermodels.exact.glmm.nested_model import NestedCountModel
from hiermodels.exact.glmm_data import GlmmData
from hiermodels.exact.glmm_grid import GlmmGrid
from hiermodels.model.spec import Spec


@dataclass(frozen=True, eq=False)
class GlmmEffects:
    """Draws of the sds and of the coefficients, and exact ones of effects when these are asked for.

    Attributes
    ----------
    spec : Spec
    arrays : GlmmData
    sds : (n,), or (n, 2)
        τ; with two columns of groups κ and τ.
    gamma : (n, p)
        In the coordinates of the arrays' model.
    outer : (H, n), optional
        Effects of outer groups, around 0.
    seed : numpy.random.SeedSequence
        Of the effects: the same at every call.
    """

    spec: Spec
    arrays: GlmmData
    sds: Floats
    gamma: Floats
    outer: Floats | None
    seed: np.random.SeedSequence

    @classmethod
    @one_blas_thread()
    def draw(
        cls,
        grid: GlmmGrid,
        size: int,
        rng: np.random.Generator,
        progress: Callable[[int], None] = lambda done: None,
    ) -> tuple[GlmmEffects, CountDraws]:
        """Draw from a posterior that exists; returns how rejection went, too."""
        seed, of_outer = spawned(rng, 2)
        drawn = draw(grid.marginal, size, rng, progress)
        return cls._of(grid, drawn, seed, of_outer), drawn

    @classmethod
    @one_blas_thread()
    def resampled(
        cls,
        grid: GlmmGrid,
        size: int,
        rng: np.random.Generator,
        progress: Callable[[int], None] = lambda done: None,
    ) -> tuple[GlmmEffects, ResampledDraws]:
        """Draw the sds and the coefficients by importance; returns their weights, too."""
        seed, of_outer = spawned(rng, 2)
        drawn = draw_resampled(grid.marginal, size, rng, progress)
        return cls._of(grid, drawn, seed, of_outer), drawn

    @classmethod
    def _of(
        cls,
        grid: GlmmGrid,
        drawn: CountDraws | ResampledDraws,
        seed: np.random.SeedSequence,
        of_outer: np.random.SeedSequence,
    ) -> GlmmEffects:
        """With effects of outer groups drawn, if there are any."""
        model, outer = grid.arrays.model, None
        if isinstance(model, NestedCountModel):
            outer = draw_outer_effects(model.nested, drawn.gamma, drawn.tau, of_outer)
        return cls(grid.spec, grid.arrays, drawn.tau, drawn.gamma, outer, seed)

    @classmethod
    def restored(cls, spec: Spec, data: GroupedData, kept: Stored) -> GlmmEffects:
        """Undo :meth:`stored`: the same draws, bit for bit."""
        stored, seed = kept
        outer = stored.get("outer")
        return cls(spec, GlmmData.of(spec, data), stored["tau"], stored["gamma"], outer, seed)

    def stored(self) -> Stored:
        """See :class:`GroupEffects`."""
        outer = {} if self.outer is None else {"outer": self.outer}
        return {"tau": self.sds, "gamma": self.gamma, **outer}, self.seed

    def above_groups(self) -> dict[str, Floats]:
        """All variables but the groups' effects: scalars (n,), outer effects and β (u, n)."""
        beta = self._coefficients[:, len(self.spec.top) :]
        variables = dict.fromkeys(self.spec.top, self._coefficients[:, 0])
        variables |= {"beta": beta.T} if self.spec.covariates else {}
        if self.outer is None:
            return {"tau": self.sds} | variables
        above = self.spec.levels[0]
        of_outer = {above.sd: self.sds[:, 0], above.effect: self.outer + self._top}
        return {self.spec.levels[1].sd: self.sds[:, 1], **of_outer} | variables

    def of_groups(self, groups: Indices | None = None) -> Floats:
        """Effects at x = 0 of all groups or of some, the same whichever others are drawn; (g, n).

        They are ``mu + b``, or ``b`` without an intercept; with outer groups ``mu[outer] + b``.
        """
        model, tau, above = self.arrays.model, self.sds, self._top
        if isinstance(model, NestedCountModel) and self.outer is not None:
            tau, of_groups = self.sds[:, 1], self.outer[model.nested.outer]
            own = draw_effects(model.rows, self.gamma, tau, self.seed, groups, of_groups)
            return own + above + (of_groups if groups is None else of_groups[groups])
        return draw_effects(model.rows, self.gamma, tau, self.seed, groups) + above

    @property
    def _top(self) -> Floats | float:
        """Draws of the intercept, if there is one; (n,)."""
        return self._coefficients[:, 0] if self.spec.top else 0.0

    @cached_property
    def _coefficients(self) -> Floats:
        """Draws of the intercept, if there is one, and of β; (n, p)."""
        return self.arrays.coefficients(self.gamma)

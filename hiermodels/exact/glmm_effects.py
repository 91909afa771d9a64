"""Draws of all variables of counts whose covariates vary within groups."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from hiermodels.core.arrays import Floats, Indices
from hiermodels.core.blas import one_blas_thread
from hiermodels.data.grouped import GroupedData
from hiermodels.exact.effects import Stored
from hiermodels.exact.glmm.draws import CountDraws, draw
from hiermodels.exact.glmm.effects import draw_effects
from hiermodels.exact.glmm.importance import ResampledDraws, draw_resampled
from hiermodels.exact.glmm_data import GlmmData
from hiermodels.exact.glmm_grid import GlmmGrid
from hiermodels.model.spec import Spec


@dataclass(frozen=True, eq=False)
class GlmmEffects:
    """Draws of τ and of the coefficients, and exact ones of effects when these are asked for.

    Attributes
    ----------
    spec : Spec
    arrays : GlmmData
    tau : (n,)
    gamma : (n, p)
        In the coordinates of the arrays' model.
    seed : numpy.random.SeedSequence
        Of the effects: the same at every call.
    """

    spec: Spec
    arrays: GlmmData
    tau: Floats
    gamma: Floats
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
        seed = _own_seed(rng)
        drawn = draw(grid.marginal, size, rng, progress)
        return cls(grid.spec, grid.arrays, drawn.tau, drawn.gamma, seed), drawn

    @classmethod
    @one_blas_thread()
    def resampled(
        cls,
        grid: GlmmGrid,
        size: int,
        rng: np.random.Generator,
        progress: Callable[[int], None] = lambda done: None,
    ) -> tuple[GlmmEffects, ResampledDraws]:
        """Draw τ and the coefficients by importance; returns their weights, too."""
        seed = _own_seed(rng)
        drawn = draw_resampled(grid.marginal, size, rng, progress)
        return cls(grid.spec, grid.arrays, drawn.tau, drawn.gamma, seed), drawn

    @classmethod
    def restored(cls, spec: Spec, data: GroupedData, kept: Stored) -> GlmmEffects:
        """Undo :meth:`stored`: the same draws, bit for bit."""
        stored, seed = kept
        return cls(spec, GlmmData.of(spec, data), stored["tau"], stored["gamma"], seed)

    def stored(self) -> Stored:
        """See :class:`GroupEffects`."""
        return {"tau": self.tau, "gamma": self.gamma}, self.seed

    def above_groups(self) -> dict[str, Floats]:
        """All variables but the groups' effects: scalars (n,), and β (q, n)."""
        top, beta = self.spec.top, self._coefficients[:, len(self.spec.top) :]
        variables = {"tau": self.tau} | dict.fromkeys(top, self._coefficients[:, 0])
        return variables | ({"beta": beta.T} if self.spec.covariates else {})

    def of_groups(self, groups: Indices | None = None) -> Floats:
        """Effects at x = 0 of all groups or of some, the same whichever others are drawn; (g, n).

        They are ``mu + b``, or ``b`` without an intercept.
        """
        effects = draw_effects(self.arrays.model.rows, self.gamma, self.tau, self.seed, groups)
        return effects + self._coefficients[:, 0] if self.spec.top else effects

    @cached_property
    def _coefficients(self) -> Floats:
        """Draws of the intercept, if there is one, and of β; (n, p)."""
        return self.arrays.coefficients(self.gamma)


def _own_seed(rng: np.random.Generator) -> np.random.SeedSequence:
    """That of the groups' effects."""
    (seed,) = rng.bit_generator.seed_seq.spawn(1)  # type: ignore[attr-defined]
    return seed

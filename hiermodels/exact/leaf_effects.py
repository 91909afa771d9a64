"""Draws of effects of groups whose rows are not normal, and of all that stands above them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hiermodels.core.arrays import Floats, Indices
from hiermodels.data.grouped import GroupedData
from hiermodels.exact.effects import Stored
from hiermodels.exact.grid import LeafGrid
from hiermodels.exact.leaf_data import nested_model, two_level_model
from hiermodels.exact.leaves.draws import EffectDraws, LeafDraws
from hiermodels.exact.leaves.marginal import LeafMarginal
from hiermodels.exact.leaves.nested.draws import NestedDraws, NestedEffects
from hiermodels.exact.leaves.nested.marginal import NestedMarginal
from hiermodels.model.spec import Spec
from hiermodels.numerics.lattice import Lattice
from hiermodels.numerics.rejection import Draws


@dataclass(frozen=True, eq=False)
class LeafEffects:
    """Exact draws of all variables of a model of counts.

    Attributes
    ----------
    spec : Spec
    points : (n, d)
        Draws of the sds and coefficients, in the lattice's coordinates.
    draws : EffectDraws or NestedEffects
        The same, and linear predictors when asked for: of two levels, or of three.
    """

    spec: Spec
    points: Floats
    draws: EffectDraws | NestedEffects

    @classmethod
    def draw(
        cls, grid: LeafGrid, size: int, rng: np.random.Generator
    ) -> tuple[LeafEffects, Lattice, Draws]:
        """Draw from a posterior that exists; returns the lattice and how rejection went, too."""
        if isinstance(grid.marginal, LeafMarginal):
            made = LeafDraws.draw(grid.marginal, size, rng, grid.lattice)
            return cls(grid.spec, made.points, made), made.lattice, made.drawn
        nested = NestedDraws.draw(grid.marginal, size, rng)
        return cls(grid.spec, nested.drawn.points, nested.effects), nested.lattice, nested.drawn

    @classmethod
    def restored(cls, spec: Spec, data: GroupedData, kept: Stored) -> LeafEffects:
        """Undo :meth:`stored`: the same draws, bit for bit."""
        stored, seed = kept
        points = stored["points"]
        if len(spec.levels) == 1:
            marginal = LeafMarginal(two_level_model(spec, data))
            return cls(spec, points, EffectDraws(marginal, points, seed))
        nested = NestedMarginal(nested_model(spec, data))
        return cls(spec, points, NestedEffects.at(nested, points, seed))

    def stored(self) -> Stored:
        """See :class:`GroupEffects`."""
        return {"points": self.points}, self.draws.seed

    def above_groups(self) -> dict[str, Floats]:
        """All variables but the groups' effects: scalars (n,), outer effects and β (u, n)."""
        variables = {"tau": self.draws.tau}
        if isinstance(self.draws, NestedEffects):
            outer = self.spec.levels[0]
            variables |= {outer.sd: self.draws.kappa, outer.effect: self.draws.effects(0)}
        if self.spec.top:
            variables |= dict.fromkeys(self.spec.top, self.draws.gamma[:, 0])
        return variables | ({"beta": self._beta.T} if self.spec.covariates else {})

    def of_groups(self, groups: Indices | None = None) -> Floats:
        """Effects at x = 0 of all groups, or of some, the same whichever others are drawn; (g, n).

        They are the linear predictors at the groups' own covariates less x'β.
        """
        if isinstance(self.draws, NestedEffects):
            effects, x = self.draws.effects(1, groups), self.draws.model.x
        else:
            effects, x = self.draws.effects(groups), self.draws.marginal.model.x
        if self.spec.covariates:
            own = x[:, len(self.spec.top) :]
            effects = effects - (own if groups is None else own[groups]) @ self._beta.T
        return np.asarray(effects)

    @property
    def _beta(self) -> Floats:
        """Draws of the coefficients of the covariates; (n, q)."""
        return self.draws.gamma[:, len(self.spec.top) :]

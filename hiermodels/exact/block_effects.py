"""Draws of all variables of groups with several effects, or of many levels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hiermodels.core.arrays import Floats
from hiermodels.exact.block_data import Layout
from hiermodels.exact.blocks.draws import BlockDraws
from hiermodels.exact.blocks.marginal import BlockMarginal
from hiermodels.model.spec import Spec
from hiermodels.numerics.lattice import Lattice


@dataclass(frozen=True, eq=False)
class BlockEffects:
    """Exact draws by the names of a specification.

    Attributes
    ----------
    spec : Spec
    draws : BlockDraws
        On arrays.
    """

    spec: Spec
    draws: BlockDraws

    @classmethod
    def draw(
        cls,
        spec: Spec,
        marginal: BlockMarginal,
        size: int,
        rng: np.random.Generator,
        lattice: Lattice | None = None,
    ) -> BlockEffects:
        """Draw from a posterior that exists."""
        return cls(spec, BlockDraws.draw(marginal, size, rng, lattice))

    def variables(self) -> dict[str, Floats]:
        """Draws of all variables: scalars (n,), others (u, n) or (u, e, n)."""
        spec, layout, draws = self.spec, Layout(self.spec), self.draws
        sds, correlations = draws.sds, draws.correlations
        variables: dict[str, Floats] = {}
        for number, level in enumerate(spec.levels):
            own = sds[layout.sds(number)]
            variables[level.sd] = own if level.has_slopes else own[0]
            if level.correlation:
                pairs = correlations[layout.correlations(number)]
                variables[level.correlation] = pairs if len(pairs) > 1 else pairs[0]
            effects = draws.effects[number][layout.effects(number)]
            variables[level.effect] = effects.swapaxes(0, 1) if level.has_slopes else effects[0]
        if spec.intercept:
            variables[spec.intercept] = draws.coefficients[layout.intercept]
        if spec.covariates:
            variables["beta"] = draws.coefficients[layout.beta]
        if spec.has_sigma:
            variables["sigma"] = draws.sigma
        return variables

"""Draws of effects of groups whose rows are not normal, and of all that stands above them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from hiermodels.core.arrays import Floats, Indices
from hiermodels.data.grouped import GroupedData
from hiermodels.exact.leaf_data import leaf_model
from hiermodels.exact.leaves.draws import EffectDraws
from hiermodels.exact.leaves.marginal import LeafMarginal
from hiermodels.model.spec import Spec


@dataclass(frozen=True, eq=False)
class LeafEffects:
    """Exact draws of all variables of a model of counts.

    Attributes
    ----------
    spec : Spec
    draws : EffectDraws
        Of τ and the coefficients, and of linear predictors when asked for.
    """

    spec: Spec
    draws: EffectDraws

    @property
    def _beta(self) -> Floats:
        """Draws of the coefficients of the covariates; (n, q)."""
        return self.draws.gamma[:, len(self.spec.top) :]

    @classmethod
    def restored(
        cls,
        spec: Spec,
        data: GroupedData,
        stored: Mapping[str, Any],
        seed: np.random.SeedSequence,
    ) -> LeafEffects:
        """Undo :meth:`stored`: the same draws, bit for bit."""
        marginal = LeafMarginal(leaf_model(spec, data))
        return cls(spec, EffectDraws(marginal, stored["points"], seed))

    def stored(self) -> tuple[dict[str, Any], np.random.SeedSequence]:
        """What makes the same draws again, beside the model and the data; and the seed."""
        return {"points": self.draws.points}, self.draws.seed

    def above_groups(self) -> dict[str, Floats]:
        """All variables but the groups' effects: scalars (n,), coefficients (q, n)."""
        variables = {"tau": self.draws.tau}
        variables |= dict.fromkeys(self.spec.top, self.draws.gamma[:, 0])
        return variables | ({"beta": self._beta.T} if self.spec.covariates else {})

    def of_groups(self, groups: Indices | None = None) -> Floats:
        """Effects at x = 0 of all groups, or of some, the same whichever others are drawn; (g, n).

        They are the linear predictors at the groups' own covariates less x'β.
        """
        effects = self.draws.effects(groups)
        if self.spec.covariates:
            x = self.draws.marginal.model.x[:, len(self.spec.top) :]
            effects = effects - (x if groups is None else x[groups]) @ self._beta.T
        return np.asarray(effects)

"""The posterior of blocks as mixtures of normals: effects as they are shown, and predictions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from hiermodels.core.arrays import Floats, Indices
from hiermodels.core.names import ROOT
from hiermodels.exact.block_data import Layout, place_of_residual_sds
from hiermodels.exact.blocks.mixtures import Mixtures
from hiermodels.exact.blocks.posterior import BlockPosterior
from hiermodels.exact.sd_reference import SdReference, parts_of
from hiermodels.families.normal import STRATA, WEIGHTS
from hiermodels.model.level import INTERCEPT
from hiermodels.numerics.normal_mixture import Components
from hiermodels.posterior.target import Target


@dataclass(frozen=True, repr=False)
class BlockMixture(SdReference):
    """Effects as they are shown, and predictions, of nested groups."""

    posterior: BlockPosterior

    @cached_property
    def layout(self) -> Layout:
        """Where the parameters stand among those of the arrays."""
        return Layout(self.spec)

    @property
    def _root_row(self) -> Floats:
        """What the intercept that is shown is of the coefficients; (c,)."""
        row = np.zeros(len(self.layout.coefficients))
        row[self.layout.intercept] = 1.0
        if self.place is not None:
            row[self.layout.beta] = self.place.of(ROOT)
        return row

    @property
    def _beta(self) -> Indices:
        """Which of the coefficients are β."""
        return self.layout.beta

    def _effects_of(self, level: int) -> Indices:
        """Which of the p effects vary at a level."""
        return self.layout.effects(level)

    def _is_moved(self, level: int) -> bool:
        """Whether a level's intercepts are shown elsewhere than at x = 0."""
        has_intercept = INTERCEPT in self.spec.levels[level].terms
        return self.place is not None and has_intercept and bool(self.place.of(level).any())

    def _shown(self, level: int, effect: int, members: Indices) -> Components:
        """Components of one of the p effects of some members, as it is shown."""
        size = len(members)
        z, x = np.zeros((size, len(self.layout.terms))), np.zeros((size, len(self.layout.others)))
        z[:, effect] = 1.0
        if self.place is not None and self.layout.terms[effect] == INTERCEPT:
            at = np.atleast_2d(self.place.of(level))
            at = np.broadcast_to(at if len(at) == 1 else at[members], (size, at.shape[1]))
            z, x = self.layout.split(at)
        return self._mixtures.combinations(level, members, z, x)

    @cached_property
    def _mixtures(self) -> Mixtures:
        return Mixtures(self.posterior)

    @cached_property
    def _places(self) -> dict[str, Any]:
        """Places of sds and correlations among those of the arrays, by variable."""
        places: dict[str, Any] = {}
        for number, level in enumerate(self.spec.levels):
            own = self.layout.sds(number)
            places[level.sd] = own if level.has_slopes else own[0]
            if level.correlation:
                pairs = self.layout.correlations(number)
                places[level.correlation] = pairs if len(pairs) > 1 else pairs[0]
        if self.spec.has_sigma:
            own = place_of_residual_sds(self.spec, self.data)
            places["sigma"] = own if self.spec.strata else own[0]
        return places

    def _predictive(self, target: Target) -> Iterator[tuple[slice, Components]]:
        """Yield components of predicted values, some at a time."""
        z, x = self.layout.split(target.x)
        innermost = len(self.spec.levels) - 1
        for part in parts_of(len(z)):
            asked = target.level, target.members[part], z[part], x[part]
            known = target.level == innermost
            of = self._mixtures.combinations if known else self._mixtures.of_new_members
            weights, mean, sd = of(*asked)
            if target.outcome:
                nodes = self._mixtures.nodes_of(target.level) if known else self._mixtures.nodes
                sigma2 = nodes.law.sigma2[:, None]
                if STRATA in target.columns:
                    code = target.columns[STRATA][part].astype(np.intp)
                    sigma2 = self._mixtures.residual_variances(nodes, self._places["sigma"][code])
                if WEIGHTS in target.columns:
                    sigma2 = sigma2 / target.columns[WEIGHTS][part]
                sd = np.sqrt(sd**2 + (sigma2 if target.se is None else target.se[part] ** 2))
            yield part, (weights, mean, sd)

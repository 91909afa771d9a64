"""Draws of all variables of crossed groups."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from hiermodels.core.arrays import Floats, Indices
from hiermodels.data.grouped import GroupedData
from hiermodels.exact.crossed.draws import CrossedGiven
from hiermodels.exact.crossed.marginal import CrossedMarginal
from hiermodels.exact.crossed_data import crossed_model
from hiermodels.exact.effects import Stored
from hiermodels.model.spec import Spec

STORED = ("theta", "sigma", "coefficients")


@dataclass(frozen=True, eq=False)
class CrossedEffects:
    """Exact draws by the names of a specification.

    Attributes
    ----------
    spec : Spec
    draws : CrossedGiven
        On arrays.
    """

    spec: Spec
    draws: CrossedGiven

    @classmethod
    def given(
        cls, spec: Spec, data: GroupedData, known: Mapping[str, Floats], rng: np.random.Generator
    ) -> CrossedEffects:
        """Draw coefficients and effects given draws (n,) of the sds by name."""
        marginal = CrossedMarginal.of(crossed_model(spec, data))
        sds = np.array([known[level.sd] for level in spec.levels])
        sigma = known["sigma"] if spec.has_sigma else np.ones(sds.shape[1])
        return cls(spec, CrossedGiven.given(marginal, sds / sigma, sigma, rng))

    @classmethod
    def restored(cls, spec: Spec, data: GroupedData, kept: Stored) -> CrossedEffects:
        """Undo :meth:`stored`: the same draws, bit for bit."""
        stored, seed = kept
        marginal = CrossedMarginal.of(crossed_model(spec, data))
        return cls(
            spec, CrossedGiven(marginal=marginal, **{n: stored[n] for n in STORED}, seed=seed)
        )

    def stored(self) -> Stored:
        """See :class:`GroupEffects`."""
        return {name: getattr(self.draws, name) for name in STORED}, self.draws.seed

    def variables(self) -> dict[str, Floats]:
        """Draws of all variables: scalars (n,), others (u, n)."""
        names = (level.effect for level in self.spec.levels)
        return self.above_groups() | dict(zip(names, self._effects, strict=True))

    def above_groups(self) -> dict[str, Floats]:
        """Draws of all variables but the effects."""
        spec, draws = self.spec, self.draws
        top = len(spec.top)
        variables = dict(zip((level.sd for level in spec.levels), draws.sds, strict=True))
        variables |= dict(zip(spec.top, draws.coefficients[:top], strict=True))
        if spec.covariates:
            variables["beta"] = draws.coefficients[top:]
        if spec.has_sigma:
            variables["sigma"] = draws.sigma
        return variables

    @cached_property
    def _effects(self) -> list[Floats]:
        sizes = self.draws.marginal.model.rows.sizes
        return self.draws.effects([(k, np.arange(size)) for k, size in enumerate(sizes)])

    def of_groups(self, groups: Indices | None = None) -> Floats:
        """Effects of all groups of the last column, or of some; (g, n)."""
        last = len(self.spec.levels) - 1
        if groups is None:
            groups = np.arange(self.draws.marginal.model.rows.sizes[last])
        return self.of_column(last, groups)

    def of_column(self, number: int, groups: Indices) -> Floats:
        """Effects of some groups of a column; (g, n)."""
        return self.draws.effects([(number, groups)])[0]

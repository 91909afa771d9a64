"""Effects of all groups, and all that stands above them, drawn given the sds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Protocol

import numpy as np

from hiermodels.core.arrays import Floats, Indices
from hiermodels.core.blas import one_blas_thread
from hiermodels.core.seeds import spawned
from hiermodels.data.grouped import GroupedData
from hiermodels.exact.kernels.kernel import Given
from hiermodels.exact.kernels.records import UpperDraws
from hiermodels.exact.marginal import Marginal
from hiermodels.exact.standardize import standardize
from hiermodels.model.spec import Spec
from hiermodels.posterior.record import by_chain

type Stored = tuple[Mapping[str, Any], np.random.SeedSequence]
"""What makes the same draws again, beside the model and the data; and the seed of these."""


@dataclass(frozen=True)
class Effects:
    """Exact draws of all variables given draws of the unknown sds, in the outcome's unit.

    Attributes
    ----------
    marginal : Marginal
    sds : (n, c)
        All of them, in the outcome's unit.
    upper : UpperDraws
        What stands above the groups, on the standardised scale.
    seed : numpy.random.SeedSequence
        Of the groups' effects: these are drawn when asked for, the same at every call.
    """

    marginal: Marginal
    sds: Floats
    upper: UpperDraws
    seed: np.random.SeedSequence

    @classmethod
    @one_blas_thread()
    def draw(cls, marginal: Marginal, sds: Floats, rng: np.random.Generator) -> Effects:
        """Draw what stands above the groups.

        Parameters
        ----------
        marginal : Marginal
        sds : (n, d)
            In the outcome's unit.
        rng : numpy.random.Generator
            Seeds the streams.
        """
        upper_seed, seed = spawned(rng, 2)
        upper = marginal.given_sds(sds).draw_upper(upper_seed)
        return cls(marginal, sds, upper, seed)

    @classmethod
    def restored(cls, spec: Spec, data: GroupedData, kept: Stored) -> Effects:
        """Undo :meth:`stored`: the same draws, bit for bit."""
        stored, seed = kept
        marginal = Marginal.of(spec, standardize(data))
        return cls(marginal, stored["sds"], _turned(stored["upper"]), seed)

    def stored(self) -> Stored:
        """See :class:`GroupEffects`."""
        return {"sds": self.sds, "upper": _turned(self.upper)}, self.seed

    def above_groups(self) -> dict[str, Floats]:
        """All variables but the groups' effects: scalars (n,), effects (u, n)."""
        spec, standard = self.marginal.spec, self.marginal.data
        variables = dict(zip(self.marginal.names, self.sds.T, strict=True))
        scale, location = self._unit
        above = (spec.intercept, *(level.effect for level in spec.levels[:-1]))
        for name, drawn in zip(above, self.upper.levels, strict=True):
            if name:
                moved = scale * drawn
                moved += location
                variables[name] = moved if spec.dims(name) else moved[0]
        if spec.covariates:
            variables["beta"] = standard.scale * (standard.basis @ self.upper.beta)
        return variables

    @one_blas_thread()
    def of_groups(self, groups: Indices | None = None) -> Floats:
        """Effects of all groups, or of some, the same whichever others are drawn; (g, n)."""
        return self._given.draw_groups(self.upper, self.seed, self._unit, groups)

    @cached_property
    def _given(self) -> Given:
        return self.marginal.given_sds(self.sds)

    @property
    def _unit(self) -> tuple[float, Floats]:
        """From standardised values at the covariates' means to the outcome's unit at x = 0."""
        standard = self.marginal.data
        at_zero = standard.location - standard.scale * (standard.origin @ self.upper.beta)
        return standard.scale, np.broadcast_to(at_zero, len(self.sds))


class GroupEffects(Protocol):
    """Draws of the effects of groups, the same at every call."""

    def of_groups(self, groups: Indices | None = None) -> Floats:
        """Effects of all groups, or of some; (g, n)."""

    def stored(self) -> Stored:
        """What makes the same draws again, beside the model and the data; and the seed."""


@dataclass(frozen=True)
class DrawsOnDemand:
    """Draws of the groups' effects, made when they are asked for, the same at every call."""

    effects: GroupEffects
    chains: int  # into how many the draws are divided

    def __call__(self, groups: Indices) -> Floats:
        """Draw the effects of groups (g,); shape (chains, draws, g)."""
        return by_chain(self.effects.of_groups(groups), self.chains)

    def of_column(self, number: int, groups: Indices) -> Floats:
        """Draw the effects of groups (g,) of any column, if groups are crossed."""
        of: Any = self.effects
        return by_chain(of.of_column(number, groups), self.chains)


def _turned(upper: UpperDraws) -> UpperDraws:
    """Turn the order of the levels: in files they run from the groups' parents to the root."""
    return replace(upper, levels=upper.levels[::-1])

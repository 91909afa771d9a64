"""Draws of all variables of groups with several effects, or of many levels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from hiermodels.core.arrays import Floats, Indices
from hiermodels.core.blas import one_blas_thread
from hiermodels.data.grouped import GroupedData
from hiermodels.exact.block_data import (
    Layout,
    block_model,
    place_of_residual_sds,
    residual_sds,
)
from hiermodels.exact.blocks import correlations
from hiermodels.exact.blocks.draws import GivenDraws
from hiermodels.exact.blocks.marginal import BlockMarginal
from hiermodels.exact.blocks.propriety import check
from hiermodels.exact.blocks.sd_coordinates import Values
from hiermodels.exact.effects import Stored
from hiermodels.exact.kernels.blocks.draws import EffectDraws
from hiermodels.model.spec import Spec

STORED = ("factors", "gamma", "sigma", "above")


@dataclass(frozen=True, eq=False)
class BlockEffects:
    """Exact draws by the names of a specification.

    Attributes
    ----------
    spec : Spec
    data : GroupedData
    draws : GivenDraws
        On arrays.
    """

    spec: Spec
    data: GroupedData
    draws: GivenDraws

    @classmethod
    def given(
        cls, spec: Spec, data: GroupedData, known: Mapping[str, Floats], rng: np.random.Generator
    ) -> BlockEffects:
        """Draw coefficients and effects given sds and correlations.

        Parameters
        ----------
        known : mapping of str to array
            Draws of the sds and correlations by name: scalars (n,), others (n, members).
        """
        model, size = block_model(spec, data), len(known[spec.levels[0].sd])
        *of_strata, sigma = residual_sds(spec, data, known, size)
        log_sds, z = [np.empty((0, size))], [np.empty((0, size))]
        for level in spec.levels:
            with np.errstate(divide="ignore"):  # an sd may be fixed at 0
                log_sds.append(np.log(known[level.sd].reshape(size, -1).T))
            if level.correlation:
                z.append(correlations.z_of_correlations(known[level.correlation].reshape(size, -1)))
        log_sds += [np.log(own)[None] for own in of_strata]
        log_theta = np.concatenate(log_sds) - np.log(sigma)
        values = Values(log_theta, np.concatenate(z), np.log(sigma), np.zeros(size))
        marginal = BlockMarginal(model, check(model))
        return cls(spec, data, GivenDraws.given(marginal, values, sigma, rng))

    def variables(self) -> dict[str, Floats]:
        """Draws of all variables: scalars (n,), others (u, n) or (u, e, n)."""
        return {**self.above_groups(), self.spec.levels[-1].effect: self.groups.of_groups()}

    def above_groups(self) -> dict[str, Floats]:
        """Draws of all variables but the groups' effects."""
        spec, layout, draws = self.spec, Layout(self.spec), self.draws
        sds, rho = draws.sds, draws.correlations
        variables: dict[str, Floats] = {}
        for number, level in enumerate(spec.levels):
            own = sds[layout.sds(number)]
            variables[level.sd] = own if level.has_slopes else own[0]
            if level.correlation:
                pairs = rho[layout.correlations(number)]
                variables[level.correlation] = pairs if len(pairs) > 1 else pairs[0]
        for number, level in enumerate(spec.levels[:-1]):
            variables[level.effect] = _of_level(layout, number, draws.members.above[number])
        if spec.intercept:
            variables[spec.intercept] = draws.coefficients[layout.intercept]
        if spec.covariates:
            variables["beta"] = draws.coefficients[layout.beta]
        if spec.has_sigma:
            every = np.vstack([sds, draws.sigma])
            own = every[place_of_residual_sds(spec, self.data)]
            variables["sigma"] = own if spec.strata else own[0]
        return variables

    @property
    def groups(self) -> BlockGroups:
        """Draws of the groups' effects."""
        return BlockGroups(self.spec, self.draws.members)


@dataclass(frozen=True, eq=False)
class BlockGroups:
    """Draws of the groups' effects, made when asked for, the same at every call.

    Attributes
    ----------
    spec : Spec
    draws : EffectDraws
        On arrays.
    """

    spec: Spec
    draws: EffectDraws

    @classmethod
    def restored(cls, spec: Spec, data: GroupedData, kept: Stored) -> BlockGroups:
        """Undo :meth:`stored`: the same draws, bit for bit."""
        stored, seed = kept
        model = block_model(spec, data)
        blocks = BlockMarginal(model, check(model)).residual.blocks
        if blocks.strata is not None:
            blocks = blocks.given(stored["inverse"])
        return cls(spec, EffectDraws(blocks, **{name: stored[name] for name in STORED}, seed=seed))

    def stored(self) -> Stored:
        """See :class:`GroupEffects`."""
        made, strata = (
            {name: getattr(self.draws, name) for name in STORED},
            self.draws.blocks.strata,
        )
        return made | ({} if strata is None else {"inverse": strata.inverse}), self.draws.seed

    @one_blas_thread()
    def of_groups(self, groups: Indices | None = None) -> Floats:
        """Effects of all groups, or of some; (g, n), or (g, e, n) of e effects each."""
        layout, number, above = Layout(self.spec), len(self.spec.levels) - 1, self.draws.above
        if number < len(above):  # cells of strata stand below the groups
            own = above[number] if groups is None else above[number][:, groups]
        else:
            own = self.draws.of_groups(groups)
        return _of_level(layout, number, own)


def _of_level(layout: Layout, number: int, effects: Floats) -> Floats:
    """From effects (p, u, n) to those that vary at a level: (u, n), or (u, e, n)."""
    own = layout.effects(number)
    if not layout.spec.levels[number].has_slopes:
        return effects[own[0]]  # no copy
    return effects[own].swapaxes(0, 1)

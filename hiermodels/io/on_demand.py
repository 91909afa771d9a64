"""Draws of groups' effects that are made on demand: what a file keeps of them, and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from hiermodels.data.grouped import GroupedData
from hiermodels.errors import SpecError
from hiermodels.exact.effects import DrawsOnDemand, Effects, GroupEffects
from hiermodels.exact.kernels.records import UpperDraws
from hiermodels.exact.leaf_effects import LeafEffects
from hiermodels.exact.marginal import Marginal
from hiermodels.exact.standardize import standardize
from hiermodels.model.spec import Spec
from hiermodels.posterior.record import Posterior


def stored_draws(posterior: Posterior) -> dict[str, Any] | None:
    """What makes the draws of the groups' effects again; None where these were kept.

    Raises
    ------
    SpecError
        If they are made by something that cannot be stored.
    """
    draw = posterior.draw_groups
    if draw is None:
        return None
    if isinstance(draw, DrawsOnDemand) and isinstance(draw.effects, Effects):
        own = {"sds": draw.effects.sds, "upper": _turned(draw.effects.upper)}
        seed = draw.effects.seed
    elif isinstance(draw, DrawsOnDemand) and isinstance(draw.effects, LeafEffects):
        own, seed = {"points": draw.effects.draws.points}, draw.effects.draws.seed
    else:
        raise SpecError(
            f"draws of the groups that are made on demand by {draw!r} cannot be stored; raise "
            f"memory_budget, so that they are kept"
        )
    return {"chains": draw.chains, **own, "entropy": seed.entropy, "spawn_key": seed.spawn_key}


def restored_draws(
    stored: Mapping[str, Any] | None, spec: Spec, data: GroupedData
) -> DrawsOnDemand | None:
    """Undo :func:`stored_draws`: the same draws, bit for bit."""
    if stored is None:
        return None
    seed = np.random.SeedSequence(stored["entropy"], spawn_key=stored["spawn_key"])
    effects: GroupEffects
    if "points" in stored:
        effects = LeafEffects.from_points(spec, data, stored["points"], seed)
    else:
        marginal = Marginal.of(spec, standardize(data))
        effects = Effects(marginal, stored["sds"], _turned(stored["upper"]), seed)
    return DrawsOnDemand(effects, stored["chains"])


def _turned(upper: UpperDraws) -> UpperDraws:
    """Turn the order of the levels: in files they run from the groups' parents to the root."""
    return replace(upper, levels=upper.levels[::-1])

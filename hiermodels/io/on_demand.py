"""Draws of groups' effects that are made on demand: what a file keeps of them, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from hiermodels.data.grouped import GroupedData
from hiermodels.errors import SpecError
from hiermodels.exact.block_effects import BlockGroups
from hiermodels.exact.crossed_effects import CrossedEffects
from hiermodels.exact.effects import DrawsOnDemand, Effects, GroupEffects
from hiermodels.exact.glmm_effects import GlmmEffects
from hiermodels.exact.leaf_effects import LeafEffects
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
    if not isinstance(draw, DrawsOnDemand):
        raise SpecError(
            f"draws of the groups that are made on demand by {draw!r} cannot be stored; raise "
            f"memory_budget, so that they are kept"
        )
    own, seed = draw.effects.stored()
    return {"chains": draw.chains, **own, "entropy": seed.entropy, "spawn_key": seed.spawn_key}


def restored_draws(
    stored: Mapping[str, Any] | None, spec: Spec, data: GroupedData
) -> DrawsOnDemand | None:
    """Undo :func:`stored_draws`: the same draws, bit for bit."""
    if stored is None:
        return None
    kept = stored, np.random.SeedSequence(stored["entropy"], spawn_key=stored["spawn_key"])
    if spec.is_crossed:
        effects: GroupEffects = CrossedEffects.restored(spec, data, kept)
    elif "factors" in stored:
        effects = BlockGroups.restored(spec, data, kept)
    elif "gamma" in stored:
        effects = GlmmEffects.restored(spec, data, kept)
    elif spec.is_normal:
        effects = Effects.restored(spec, data, kept)
    else:
        effects = LeafEffects.restored(spec, data, kept)
    return DrawsOnDemand(effects, stored["chains"])

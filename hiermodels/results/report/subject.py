"""What a page is about."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import xarray as xr

from hiermodels.data.grouped import require_rows
from hiermodels.posterior.record import Posterior
from hiermodels.posterior.reference_posterior import ReferencePosterior

LONGEST_LABEL = 32  # characters, in pictures


@dataclass(frozen=True)
class Subject:
    """What a page is about."""

    posterior: Posterior
    make_reference: Callable[[], ReferencePosterior]  # of the same model and data
    source: str | None  # file that the data were read from
    sensitivity: bool | None  # whether to compare priors; None for: where it is quick

    @property
    def reference(self) -> ReferencePosterior:
        """The posterior without Monte Carlo error."""
        return self.make_reference()

    @property
    def levels(self) -> dict[str, str]:
        """Names of the groups' effects and their columns, from the top downwards."""
        spec = self.posterior.spec
        return {level.effect: level.column for level in spec.levels}

    def effects(self, name: str) -> tuple[str | None, ...]:
        """Names of the effects of each group of a level; None for one that has no name."""
        spec = self.posterior.spec
        level = spec.levels[spec.level_of(name)]
        return level.terms if level.has_slopes else (None,)

    @property
    def hyperparameters(self) -> list[str]:
        """Names of the variables that are not of groups."""
        spec = self.posterior.spec
        of_groups = (*self.levels, *spec.on_outcome_scale)
        return [name for name in spec.variables if name not in of_groups]

    @property
    def shown_levels(self) -> dict[str, str]:
        """The same as :attr:`levels`, the innermost groups' effects on the outcome's scale."""
        spec = self.posterior.spec
        shown = {level.effect: level.effect for level in spec.levels}
        shown |= {level.effect: spec.shown_effect for level in spec.levels[-1:]}
        return {shown[name]: column for name, column in self.levels.items()}

    @cached_property
    def pictured(self) -> Posterior:
        """The posterior with labels that fit into a picture."""
        return with_short_labels(self.posterior)


def with_short_labels(posterior: Posterior) -> Posterior:
    """Cut long labels of groups, and number those that are then alike; for pictures."""
    data, columns = require_rows(posterior.data, "report"), posterior.spec.groups
    labels = tuple(map(_short, data.labels))
    if all(map(np.array_equal, labels, data.labels)):
        return posterior
    tree = posterior.datatree.copy()
    draws = tree["posterior"].to_dataset()
    coords: dict[str, Any] = {
        name: short for name, short in zip(columns, labels, strict=True) if name in draws.coords
    }
    tree["posterior"] = xr.DataTree(draws.assign_coords(coords))
    return replace(posterior, data=replace(data, labels=labels), datatree=tree)


def _short(labels: Any) -> Any:
    if labels.dtype.kind != "U":
        return labels
    seen: dict[str, int] = {}
    texts = []
    for label in labels.tolist():
        text = " ".join(label.split()) or "·"
        text = text if len(text) <= LONGEST_LABEL else f"{text[: LONGEST_LABEL - 1]}…"
        seen[text] = seen.get(text, 0) + 1
        texts.append(text if seen[text] == 1 else f"{text} ({seen[text]})")
    return np.array(texts)

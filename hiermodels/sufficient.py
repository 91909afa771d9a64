"""From rows to what the likelihood takes from them: one tree, on a unit scale."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hiermodels.data import GroupedData
from hiermodels.gaussian import Floats, Tree, sum_by


@dataclass(frozen=True)
class Standardized:
    """A tree of ``(y − location) / scale``.

    The posterior is equivariant under both, floating-point arithmetic is not: sums of squares
    keep their digits only around a centre, and stay in range only on a unit scale.

    Attributes
    ----------
    tree : Tree
    location : float
        Centre of the outcome.
    scale : float
        Typical size of its deviations and errors: a power of two, so that dividing by it is
        exact.
    """

    tree: Tree
    location: float
    scale: float

    @property
    def group_means(self) -> Floats:
        """Raw mean of each group's outcomes, in the outcome's unit; shape (g,)."""
        return self.location + self.scale * self.tree.mean[:, -1]

    @property
    def log_jacobian(self) -> float:
        """What ``log p(y)`` has over the log density of the standardised outcome."""
        return -self.tree.n_rows * float(np.log(self.scale))


def standardize(data: GroupedData) -> Standardized:
    """Reduce rows to weighted group means and their scatter, in two passes over the rows.

    The first pass takes group means, the second the deviations from them: no difference of
    large sums is ever formed.
    """
    location = float(np.median(data.y))
    centred = data.y - location
    spread = float(np.abs(centred).max())
    if data.se is not None:
        spread = max(spread, float(np.median(data.se)))
    scale = float(2.0 ** np.round(np.log2(spread))) if spread > 0 else 1.0
    rows = (centred / scale)[:, None]
    weight = np.ones(len(rows)) if data.se is None else (data.se / scale) ** -2.0
    return Standardized(_tree(rows, weight, data), location, scale)


def _tree(rows: Floats, weight: Floats, data: GroupedData) -> Tree:
    size = data.sizes[0]
    total = np.bincount(data.group, weights=weight, minlength=size)
    share = (weight / total[data.group])[:, None]
    first = np.empty(size, dtype=np.intp)
    first[data.group[::-1]] = np.arange(len(rows))[::-1]
    some = rows[first]
    mean = some + sum_by(data.group, share * (rows - some[data.group]), size)
    away = rows - mean[data.group]
    return Tree(
        mean=mean,
        weight=total,
        scatter=(weight[:, None] * away).T @ away,
        n_rows=len(rows),
        log_weight=float(np.log(weight).sum()),
        parents=data.parents,
    )

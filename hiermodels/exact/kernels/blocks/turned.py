"""Groups whose rows' errors are correlated with others', in the axes of their covariance."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from hiermodels.core.arrays import Floats, Indices


@dataclass(frozen=True, eq=False)
class Turned:
    """Groups of one effect, turned into axes in which what their rows say is independent.

    Rows ``y = Z θ + x β + N(0, V)`` of the groups of one parent, ``V = C C'``, are rotated with
    the singular values ``C⁻¹ Z = P S Q'``: ``P'C⁻¹ y = S Q'θ + P'C⁻¹ x β + N(0, I)``.  Effects
    ``θ = 1 φ + N(0, τ² I)`` around a parent's φ become ``a = Q'θ = H φ + N(0, τ² I)``, ``H = Q'1``:
    they are independent still, and the groups of
    :class:`~hiermodels.exact.kernels.blocks.blocks.Blocks` are these a.

    Attributes
    ----------
    loading : (k,)
        H of each design.
    axes : sparse (g, g) or (n, g)
        Q of all parents: ``θ = Q a``; or other combinations of the same.
    group : (n,), optional
        With whose parent each combination is; by default each group has one.
    """

    loading: Floats
    axes: Any
    group: Indices | None = None

    def of(self, combinations: Any, group: Indices) -> Turned:
        """Sparse combinations (n, g) of the effects of some groups, all below one parent each."""
        return replace(self, axes=combinations @ self.axes, group=group)

    def alone(self, r: Floats, outcome: Floats) -> Floats:
        """Turn rows R (g,) and [D_x | D_y] (q + 1, g) back: each over the root of its variance.

        As if there were no other rows; (1, q + 2, g).
        """
        rows = np.vstack([np.ones(len(r)), (self.axes @ (outcome / r).T).T])
        return (rows / np.sqrt(self.axes.power(2) @ r**-2.0))[None]

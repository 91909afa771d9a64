"""Groups of one row each whose errors are correlated, in the axes of their covariance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from hiermodels.core.arrays import Floats


@dataclass(frozen=True, eq=False)
class Turned:
    """Groups of one row and one effect, turned into the axes of their errors' covariance V.

    With ``V = U Λ U'`` for the rows of each parent, ``U'y = U'θ + U'x β + N(0, Λ)``.  Effects
    ``θ = 1 φ + N(0, τ² I)`` around a parent's φ become ``a = U'θ = H φ + N(0, τ² I)``, ``H = U'1``:
    they are independent still, and the groups of
    :class:`~hiermodels.exact.kernels.blocks.blocks.Blocks` are these a.

    Attributes
    ----------
    loading : (k,)
        H of each design.
    axes : sparse (g, g)
        U of all parents: ``θ = U a``.
    """

    loading: Floats
    axes: Any

    def alone(self, r: Floats, outcome: Floats) -> Floats:
        """Turn rows R (g,) and [D_x | D_y] (q + 1, g) back: each over the root of its variance.

        As if there were no other rows; (1, q + 2, g).
        """
        rows = np.vstack([np.ones(len(r)), (self.axes @ (outcome / r).T).T])
        return (rows / np.sqrt(self.axes.power(2) @ r**-2.0))[None]

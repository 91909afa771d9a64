"""Exact draws of effects given their mean and sd."""

from __future__ import annotations

import numpy as np

from hiermodels.core.arrays import Floats
from hiermodels.exact.kernels.leaves.interpolated import draw_from_interpolants
from hiermodels.exact.kernels.leaves.tangents import draw_below_tangents
from hiermodels.families.leaves import Leaves


def draw_effects(leaves: Leaves, mu: Floats, tau: Floats, rng: np.random.Generator) -> Floats:
    """Draw ``θ ∝ L_i(θ) N(θ | μ, τ²)`` once for each pair.

    Parameters
    ----------
    leaves : Leaves
        k of them.
    mu : (M,) or (k, M)
    tau : (M,)
        Where it is 0, θ is μ.
    rng : numpy.random.Generator

    Returns
    -------
    (k, M)
    """
    draw = draw_below_tangents if leaves.log_concave else draw_from_interpolants
    return draw(leaves, mu, tau, rng)

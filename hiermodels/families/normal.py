"""Normal rows."""

from __future__ import annotations

import numpy as np

from hiermodels.core.arrays import LOG_2PI, Floats


def log_normal(y: Floats, mean: Floats | float, sd: Floats | float) -> Floats:
    """Log density of ``N(mean, sd²)`` at y."""
    return -0.5 * (LOG_2PI + ((y - mean) / sd) ** 2) - np.log(sd)

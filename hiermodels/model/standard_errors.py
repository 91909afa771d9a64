"""Known standard errors of the rows, stated as they are or as variances."""

from __future__ import annotations

from typing import Literal

import numpy as np

from hiermodels.core.arrays import Floats
from hiermodels.core.messages import LARGEST

type Scale = Literal["sd", "variance"]


KINDS: dict[Scale, str] = {"sd": "standard errors", "variance": "variances"}
SMALLEST: dict[Scale, float] = {"sd": 1 / LARGEST, "variance": LARGEST**-2}


def error_role(scale: Scale) -> str:
    """Name of the argument that names a column of known errors on a scale."""
    return "variance" if scale == "variance" else "se"


def to_se(values: Floats, scale: Scale) -> Floats:
    """Standard errors of the values of a column that states them on a scale."""
    return np.sqrt(values) if scale == "variance" else values


def from_se(se: Floats, scale: Scale) -> Floats:
    """Undo :func:`to_se`: what a column on that scale would hold."""
    return se**2 if scale == "variance" else se

"""Sets of priors that have a name."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from hiermodels.core.arrays import Floats
from hiermodels.model.priors.base import Prior
from hiermodels.model.priors.variance import HalfStudentT

WEAK, LECTURE = "weak", "lecture"  # sets of priors that have a name
WEAK_FREEDOM, WEAK_SCALE = 3.0, 2.5  # of the half-t distribution, the latter at the least
MAD_OF_NORMAL = 1.4826  # sd of a normal distribution over its median absolute deviation


def weak_scale(values: Floats | None = None) -> float:
    """Scale of weakly informative priors of sds: ``max(2.5, mad)``.

    Parameters
    ----------
    values : (n,), optional
        Outcomes, of whose spread ``mad = 1.4826 · median |y − median y|`` is a robust estimate; it
        is rounded to one decimal.  On the scale of a link there are none, and the scale is 2.5.

    References
    ----------
    Bürkner (2017), brms, Journal of Statistical Software 80(1): the defaults of that package.
    """
    if values is None:
        return WEAK_SCALE
    deviation = MAD_OF_NORMAL * float(np.median(np.abs(values - np.median(values))))
    return max(WEAK_SCALE, round(deviation, 1))


def weak_priors(sds: Iterable[str], scale: float) -> dict[str, Prior]:
    """Half-t distributions with 3 degrees of freedom for some sds, by their names."""
    return dict.fromkeys(sds, HalfStudentT(WEAK_FREEDOM, scale))

"""How precise a quadrature is, in posterior sds, and in digits."""

from __future__ import annotations

import numpy as np

from hiermodels.errors import PrecisionError

TOLERANCE = 1e-8  # posterior sds that two spacings of a quadrature may differ by,
MIN_TOLERANCE, WORST = 1e-13, 1e-3  # the least that can be asked for, and the largest of all


def reached(error: float) -> int:
    """Digits of the posterior sd that a quadrature reached, from its error.

    Raises
    ------
    PrecisionError
        If they are fewer than 3.
    """
    if not error <= WORST:
        raise PrecisionError(
            f"the posterior cannot be integrated: the finest two spacings still differ by "
            f"{error:.1e} posterior sd, more than {WORST:g}. The priors of the sds may lie too far "
            f"from the data, or the data leave an sd open over very many orders of magnitude: "
            f"check units, and give the sds proper priors of the size of the data; or take draws, "
            f"hm.fit, if need be with engine='nuts'"
        )
    return int(np.floor(-np.log10(max(error, np.finfo(float).tiny)) + 1e-9))

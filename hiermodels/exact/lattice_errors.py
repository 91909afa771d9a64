"""What is said of posteriors that no lattice can hold."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from hiermodels.errors import PrecisionError
from hiermodels.numerics.lattice import LatticeError


@contextmanager
def within_range(what: str, advice: str) -> Iterator[None]:
    """Raise PrecisionError in place of LatticeError, with what stands in the way.

    Parameters
    ----------
    what : str
        What the posterior is of, such as ``"the sds and correlations"``.
    advice : str
        A sentence on what may be wrong.
    """
    try:
        with np.errstate(over="ignore", invalid="ignore"):
            yield
    except LatticeError as error:
        raise PrecisionError(
            f"the posterior of {what} cannot be integrated: {error}. {advice}"
        ) from error

"""Newton's method for the maximum of three levels of counts, where it may go astray."""

from __future__ import annotations

import numpy as np
import pytest

from hiermodels.errors import PrecisionError
from hiermodels.exact.leaves.nested.maximum import _newton


@pytest.mark.parametrize("start", [0.02, 0.3, -0.3])
def test_a_saddle_is_left_upwards(start):
    """Between two maxima, at −1 and 1, the information is not positive definite."""

    def two_maxima(x):
        return -((x[0] ** 2 - 1) ** 2) - 2 * x[1] ** 2

    place, covariance = _newton(two_maxima, np.array([start, 0.4]))
    np.testing.assert_allclose(place, [np.sign(start), 0], atol=1e-5)
    np.testing.assert_allclose(covariance, np.diag([1 / 8, 1 / 4]), rtol=1e-4, atol=1e-6)


def test_a_saddle_is_no_maximum():
    """Where the slope is 0 there is no way up, and none is returned."""
    with pytest.raises(PrecisionError, match="highest place was not found"):
        _newton(lambda x: x[0] ** 2 - x[1] ** 2, np.zeros(2))

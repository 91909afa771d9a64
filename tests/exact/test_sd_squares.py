"""Moments of squares of sds, over nodes whose weights may be a little below 0."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from hiermodels.exact.sd_squares import SdSquares

WEIGHTS = np.array([0.5, -1e-6, 0.3, 0.2 + 1e-6])
CENTER, VARIANCE = np.array([1.0, 7.0, 2.0, 0.5]), np.array([0.1, 3.0, 0.2, 0.3])


class Some(SdSquares):
    """Of four nodes, with a given law of the residual variance at each."""

    weights = WEIGHTS
    sigma2 = (CENTER, VARIANCE)
    _marginal = SimpleNamespace(tails=SimpleNamespace(moment_exists=lambda sd, order: True))


def test_weights_below_0():
    q = np.array([2.0, 1.0, 0.5, 3.0])
    mean, sd = Some(None).moments(q, (0,))
    expected = WEIGHTS @ (q * CENTER)
    second = WEIGHTS @ (q**2 * (VARIANCE + CENTER**2))
    assert mean == pytest.approx(expected, rel=1e-14)
    assert sd == pytest.approx(np.sqrt(second - expected**2), rel=1e-13)

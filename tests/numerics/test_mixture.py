"""Mixtures of normals, against many digits."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest
from scipy.special import ndtr

from hiermodels.numerics import normal_mixture as mixture


def components(spread: float, random_seed: int, size: int = 40) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(random_seed)
    weights = rng.dirichlet(np.ones(size))
    mean = 3 + spread * rng.standard_normal((size, 5))
    return weights, mean, np.exp(min(spread, 2) * rng.standard_normal((size, 5)))


@pytest.mark.parametrize("spread", [1e-9, 1e-4, 0.1, 1.0, 30.0])
@pytest.mark.parametrize("p", [1e-9, 0.055, 0.5, 0.945, 1 - 1e-9])
def test_quantiles_are_where_the_distribution_function_is_p(spread, p):
    """To 40 digits it is below p just before and above p just after, wherever components lie."""
    weights, mean, sd = components(spread, 1)
    found = mixture.quantile(weights, mean, sd, p)
    with mpmath.workdps(40):
        total = mpmath.fsum(map(mpmath.mpf, weights))
        for j in range(2):
            parts = [
                (mpmath.mpf(w), mpmath.mpf(m), mpmath.mpf(s))
                for w, m, s in zip(weights, mean[:, j], sd[:, j], strict=True)
            ]

            def away(x, parts=parts):
                return mpmath.fsum(w * mpmath.ncdf((x - m) / s) for w, m, s in parts) / total - p

            slope = mixture.density(weights, mean, sd, found)[j]
            rounding = 4 * np.finfo(float).eps / slope  # of the distribution function
            near = mpmath.mpf(1e-12 * (abs(found[j]) + sd[:, j].min()) + rounding)
            assert away(found[j] - near) < 0 < away(found[j] + near)


def test_components_without_spread_lie_at_their_means():
    """Half of the second column is at 2, and all of the third at 0."""
    weights = np.array([0.5, 0.5])
    mean, sd = np.array([[1.0, 2.0, 0.0], [1.0, 2.0, 0.0]]), np.array([[1.0, 0, 0], [1.0, 1, 0]])
    below = mixture.cdf(weights, mean, sd, np.array([[1.0, 1.999, -1e-9], [1.0, 2.0, 0.0]]))
    expected = [[0.5, 0.5 * ndtr(-0.001), 0.0], [0.5, 0.75, 1.0]]
    np.testing.assert_allclose(below, expected, rtol=1e-12)
    found = mixture.density(weights, mean, sd, np.array([[1.0, 2.0, 0.0], [1.0, 3.0, 1.0]]))
    peak = (2 * np.pi) ** -0.5
    np.testing.assert_allclose(
        found, [[peak, np.inf, np.inf], [peak, 0.5 * peak * np.exp(-0.5), 0.0]], rtol=1e-12
    )
    same = np.array([0, 2])
    columns = mean[:, same], sd[:, same]
    np.testing.assert_array_equal(mixture.quantile(weights, *columns, 0.5), [1.0, 0.0])

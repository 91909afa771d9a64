"""The exact test of uniformity: enumeration, simulation, and what it finds."""

from __future__ import annotations

from itertools import product
from math import comb, factorial

import numpy as np
import pytest
from scipy import stats

from hiermodels.numerics import uniformity


def gamma(counts, n, k):
    """Smallest two-sided binomial tail at i/k, from SciPy."""
    z = np.arange(1, k) / k
    below, above = stats.binom.cdf(counts, n, z), stats.binom.sf(np.asarray(counts) - 1, n, z)
    return 2 * np.minimum(below, above).min()


@pytest.mark.parametrize("n", [2, 3, 4, 5, 6])
def test_enumeration(n):
    """For n values in n cells of equal width, every count is summed over."""
    cells = [c for c in product(range(n + 1), repeat=n) if sum(c) == n]
    weight = np.array([factorial(n) / np.prod([factorial(i) for i in c]) for c in cells]) / n**n
    found = np.array([gamma(np.cumsum(c)[:-1], n, n) for c in cells])
    assert len(cells) == comb(2 * n - 1, n)
    for cell, value in zip(cells, found, strict=True):
        sample = np.repeat((np.arange(n) + 0.5) / n, cell)
        expected = weight[found <= value * (1 + 1e-9)].sum()
        assert uniformity.p_value(sample) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("n", [50, 250])
def test_p_values_of_uniform_samples_are_uniform(n):
    rng = np.random.default_rng(1)
    p = np.array([uniformity.p_value(rng.random(n)) for _ in range(4000)])
    for alpha in (0.5, 0.1, 0.01):
        error = np.sqrt(alpha * (1 - alpha) / len(p))
        assert abs((p <= alpha).mean() - alpha) < 4 * error + 0.05 * alpha  # it is discrete


@pytest.mark.parametrize("n", [20, 100, 250])
def test_the_band_is_left_by_what_the_test_rejects(n):
    level = 0.05
    points, lower, upper = uniformity.band(n, level)
    assert points[0] == lower[0] == upper[0] == 0
    assert points[-1] == lower[-1] == upper[-1] == 1
    rng = np.random.default_rng(2)
    left = []
    for _ in range(2000):
        sample = rng.random(n)
        path = np.searchsorted(np.sort(sample), points, side="right") / n
        left.append(((path < lower) | (path > upper))[1:-1].any())
        assert left[-1] == (uniformity.p_value(sample) <= level)
    assert np.mean(left) <= level + 4 * np.sqrt(level / 2000)
    assert np.mean(left) > level / 2


@pytest.mark.parametrize("law", [stats.beta(0.6, 0.6), stats.beta(2, 2), stats.beta(1.4, 1)])
def test_other_laws_are_found(law):
    rng = np.random.default_rng(3)
    p = [uniformity.p_value(law.rvs(200, random_state=rng)) for _ in range(50)]
    assert np.median(p) < 1e-3


def test_the_power_is_as_documented():
    """Ranks in normal posteriors with an sd a third too small, among eleven quantities."""
    rng = np.random.default_rng(4)
    for n, least, most in ((100, 0.6, 0.8), (200, 0.97, 1.0)):
        pits = stats.norm.cdf(1.5 * rng.standard_normal((300, n)))
        found = np.mean([uniformity.p_value(pit) <= 0.01 / 11 for pit in pits])
        assert least < found <= most


def test_the_distance_is_kolmogorov_s():
    sample = np.random.default_rng(1).random((37, 2, 3)) ** 1.5
    expected = [
        [stats.kstest(sample[:, i, j], "uniform").statistic for j in range(3)] for i in range(2)
    ]
    np.testing.assert_allclose(uniformity.distance(sample), expected, rtol=1e-12)

"""A density on all pairs of two lattices' points, and what stands for it."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from hiermodels.numerics import product_sums, rejection
from hiermodels.numerics.cross_approximation import CrossApproximation, Pairs, cross_approximate
from hiermodels.numerics.interpolation_nodes import Span
from hiermodels.numerics.lattice import ModesAndScale, grow
from hiermodels.numerics.product_lattice import ProductLattice
from hiermodels.numerics.product_sums import ProductSums

MEAN = np.array([0.3, -1.0, 2.0])
COVARIANCE = np.array([[1.0, 0.4, -0.3], [0.4, 2.0, 0.5], [-0.3, 0.5, 0.7]])
FIRST, SECOND = np.array([2, 0]), np.array([1])  # coordinates of both parts
NORMAL = stats.multivariate_normal(MEAN, COVARIANCE)


def approximated(function, n, m, tol, max_rank=40):
    rng = np.random.default_rng(2)
    i, j = rng.integers(n, size=300), rng.integers(m, size=300)
    pairs = Pairs(i, j, function(i, j), np.full(300, 1 / 300))
    return cross_approximate(
        CrossApproximation.empty(n, m),
        (lambda row: function(row, np.arange(m)), lambda column: function(np.arange(n), column)),
        (np.ones(n), np.ones(m)),
        pairs,
        tol,
        max_rank,
    )


@pytest.fixture(scope="module")
def normal():
    """A normal density on all pairs of a lattice in two dimensions and one in one."""
    parts = []
    for some in (FIRST, SECOND):
        own = stats.multivariate_normal(MEAN[some], COVARIANCE[np.ix_(some, some)])
        scale = ModesAndScale(MEAN[some][None], np.linalg.cholesky(COVARIANCE[np.ix_(some, some)]))
        spacing = np.full(len(some), 0.5)
        parts.append(
            grow(
                lambda x, own=own: own.logpdf(x).reshape(-1),
                scale,
                spacing,
                lambda x: np.zeros(len(x)),
            )
        )
    first, second = parts
    height = -1.0

    def function(i, j):
        i, j = np.broadcast_arrays(i, j)
        points = np.empty((len(i), 3))
        points[:, FIRST], points[:, SECOND] = first.points[i], second.points[j]
        a, b = first.log_density[i] - height, second.log_density[j] - height
        return NORMAL.logpdf(points) - height - a - b

    cross = approximated(function, len(first), len(second), 1e-11)
    return ProductLattice(first, second, (FIRST, SECOND), cross, height)


def test_a_function_of_low_rank_is_found_in_as_many_terms():
    x, y = np.linspace(0, 1, 60), np.linspace(-1, 1, 50)

    def function(i, j):
        return np.sin(x[i]) * y[j] + x[i] ** 2 * np.exp(y[j]) - 3 * y[j] ** 2

    cross = approximated(function, 60, 50, 1e-12)
    assert cross.left.shape == (60, 3)
    every = function(np.arange(60)[:, None], np.arange(50))
    assert cross.left @ cross.right == pytest.approx(every, abs=1e-12)
    assert cross.error < 1e-12


def test_a_function_that_needs_more_terms_than_allowed_says_how_wrong_it_is():
    def function(i, j):
        return np.exp(-np.abs(i - j) / 5.0)

    cross = approximated(function, 60, 60, 1e-9, max_rank=8)
    every = function(np.arange(60)[:, None], np.arange(60))
    actual = np.abs(np.expm1(cross.left @ cross.right - every)).mean()
    assert cross.left.shape[1] == 8
    assert cross.error == pytest.approx(actual, rel=0.3)


def test_nothing_is_left_of_a_function_that_is_zero():
    cross = approximated(lambda i, j: 0.0 * (i + j), 4, 5, 1e-9)
    assert cross.left.shape[1] == 0
    assert cross.error == 0


def test_sums_over_all_pairs(normal):
    assert normal.log_integral == pytest.approx(0, abs=1e-9)
    sums = ProductSums.of(normal, 1e-10)
    assert sums.error < 1e-10
    assert sums.log_integral == pytest.approx(0, abs=1e-9)
    for lattice, some in zip(sums.marginals, (FIRST, SECOND), strict=True):
        mean = lattice.weights @ lattice.points
        away = lattice.points - mean
        assert mean == pytest.approx(MEAN[some], abs=1e-9)
        covariance = (lattice.weights[:, None] * away).T @ away
        assert covariance == pytest.approx(COVARIANCE[np.ix_(some, some)], abs=1e-8)


def test_few_products_sum_what_whole_rows_and_columns_sum(normal):
    sums = ProductSums.of(normal, 1e-10)
    every = normal.densities(np.arange(len(normal.first)))
    columns = np.array([normal.column(j) for j in (0, 5, 17)])
    np.testing.assert_allclose(columns.T, every[:, [0, 5, 17]], rtol=1e-12)
    total = every.sum()
    assert sums.sums[0] == pytest.approx(every.sum(axis=1), abs=1e-10 * total)
    assert sums.sums[1] == pytest.approx(every.sum(axis=0), abs=1e-10 * total)
    rng = np.random.default_rng(5)
    a, b = rng.normal(size=(3, len(every))), rng.normal(size=(2, every.shape[1]))
    assert sums.outward(b) == pytest.approx(every @ b.T, abs=1e-9 * total)
    assert sums.inward(a) == pytest.approx(every.T @ a.T, abs=1e-9 * total)


def test_too_few_products_say_how_wrong_sums_are(monkeypatch, normal):
    monkeypatch.setattr(product_sums, "MAX_RANK", 4)
    sums = ProductSums.of(normal, 1e-10)
    rows = normal.densities(np.arange(len(normal.first))).sum(axis=1)
    actual = np.abs(sums.sums[0] - rows).sum() / rows.sum()
    assert actual > 1e-3
    assert sums.error == pytest.approx(actual, rel=0.5)


def test_draws_from_all_pairs_are_exact(normal):
    def log_density(points):
        return NORMAL.logpdf(points)

    drawn = rejection.draw_from(normal, log_density, 20_000, np.random.default_rng(3))
    assert drawn.largest_ratio <= drawn.bound
    assert drawn.acceptance > 0.85
    white = np.linalg.solve(np.linalg.cholesky(COVARIANCE), (drawn.points - MEAN).T)
    for row in (*white, white[:2].sum(axis=0) / np.sqrt(2), white.sum(axis=0) / np.sqrt(3)):
        assert stats.kstest(row, "norm").pvalue > 1e-3


def test_draws_do_not_depend_on_how_well_the_density_is_known(normal):
    rough = replace(normal.cross, left=0.97 * normal.cross.left)
    other = ProductLattice(normal.first, normal.second, (FIRST, SECOND), rough, normal.height)
    drawn = rejection.draw_from(other, NORMAL.logpdf, 20_000, np.random.default_rng(4))
    white = np.linalg.solve(np.linalg.cholesky(COVARIANCE), (drawn.points - MEAN).T)
    for row in (*white, white.sum(axis=0) / np.sqrt(3)):
        assert stats.kstest(row, "norm").pvalue > 1e-3


def test_functions_in_a_span_are_interpolated():
    x = np.linspace(-3, 3, 200)
    weights = stats.norm.pdf(x)
    values = np.array([np.ones(200), x, x**2, np.exp(x / 2), np.exp(x / 2) + 3 * x]).T
    found = Span.of(values, weights / weights.sum()).interpolation(1e-10)
    assert len(found.chosen) == 4
    assert values[found.chosen].T @ found.matrix == pytest.approx(values.T, abs=1e-9)

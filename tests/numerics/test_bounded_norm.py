"""The shortest bounded solution: against closed forms and a quadratic program of SciPy's."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import optimize, sparse

from hiermodels.numerics.bounded_norm import is_solvable, least_square


def test_without_bounds_it_is_the_least_squares_solution():
    rng = np.random.default_rng(1)
    matrix, target, free = rng.normal(size=(9, 3)), rng.normal(size=3), np.full(9, np.inf)
    shortest = np.linalg.pinv(matrix.T) @ target
    expected = shortest @ shortest / 2
    assert least_square(matrix, target, -free, free) == pytest.approx(expected, rel=1e-9)
    found = least_square(sparse.csr_array(matrix), target, -free, free)
    assert found == pytest.approx(expected, rel=1e-9)


def test_bounds_leave_the_rest_to_the_others():
    """Σ v = 3 with one v of at most ½: the others are 1¼ each."""
    found = least_square(np.ones((3, 1)), np.array([3.0]), np.zeros(3), np.array([0.5, 9, np.inf]))
    assert found == pytest.approx((0.25 + 2 * 1.25**2) / 2, rel=1e-9)


@pytest.mark.parametrize("limit", [0.9, 1.0])
def test_where_bounds_are_too_narrow_there_is_no_solution(limit):
    """Nor where a solution touches all of them."""
    bound, ones = np.full(3, limit), np.ones((3, 1))
    assert not is_solvable(ones, np.array([3.0]), -bound, bound)
    assert is_solvable(ones, np.array([2.6]), -bound, bound)
    assert is_solvable(sparse.csr_array(ones), np.array([-2.6]), -bound, bound)
    assert not is_solvable(ones, np.array([-1e-9]), 0 * bound, bound)


def test_nothing_is_needed_for_nothing():
    assert least_square(np.ones((3, 0)), np.zeros(0), np.zeros(3), np.zeros(3)) == 0
    assert least_square(np.ones((3, 1)), np.zeros(1), np.zeros(3), np.zeros(3)) == 0
    assert is_solvable(np.ones((3, 1)), np.zeros(1), np.zeros(3), np.zeros(3))


@pytest.mark.parametrize("seed", range(10))
def test_it_is_what_a_quadratic_program_finds(seed):
    rng = np.random.default_rng(seed)
    matrix = np.column_stack([np.ones(8), rng.normal(size=(8, 2))])
    lower, upper = -rng.poisson(1.0, 8) / 4, np.where(rng.random(8) < 0.5, 0.7, np.inf)
    inside = np.clip(rng.normal(size=8), 0.9 * lower, np.minimum(0.9 * upper, 2))
    target = matrix.T @ inside
    program = optimize.minimize(
        lambda v: v @ v / 2,
        inside,
        jac=lambda v: v,
        bounds=np.stack([lower, upper], axis=1),
        constraints={
            "type": "eq",
            "fun": lambda v: matrix.T @ v - target,
            "jac": lambda v: matrix.T,
        },
        method="SLSQP",
        options={"ftol": 1e-15, "maxiter": 1000},
    )
    assert program.success
    assert least_square(matrix, target, lower, upper) == pytest.approx(program.fun, rel=1e-7)

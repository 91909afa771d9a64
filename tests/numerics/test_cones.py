"""Cones of directions: against their definition, cases solved by hand, and enumerated rays."""

from __future__ import annotations

import itertools
import time

import numpy as np
import pytest
from scipy import sparse

from hiermodels.numerics import cones
from hiermodels.numerics.cones import cone_span, null_space, strict_rows


def test_the_null_space_is_that_of_the_matrix():
    rng = np.random.default_rng(1)
    matrix = rng.normal(size=(50, 3)) @ rng.normal(size=(3, 5))
    basis = null_space(matrix)
    assert basis.shape == (5, 2)
    np.testing.assert_allclose(matrix @ basis, 0, atol=1e-12)
    np.testing.assert_allclose(basis.T @ basis, np.eye(2), atol=1e-12)


@pytest.mark.parametrize("shape", [(0, 3), (4, 3)])
def test_without_rows_or_of_zeros_everything_is_in_it(shape):
    assert np.linalg.matrix_rank(null_space(np.zeros(shape))) == 3


def strict_by_enumeration(rows):
    """Rows that are strict on some extreme ray of a pointed cone, or on a line in it."""
    d = rows.shape[1]
    strict = np.zeros(len(rows), dtype=bool)
    for chosen in itertools.combinations(range(len(rows)), d - 1):
        _, singular, basis = np.linalg.svd(rows[list(chosen)])
        if (singular > 1e-9).sum() < d - 1:
            continue
        for ray in (basis[-1], -basis[-1]):
            if (rows @ ray < 1e-9).all():
                strict |= rows @ ray < -1e-9
    return strict


@pytest.mark.parametrize("seed", range(40))
def test_strict_rows_are_those_that_enumeration_finds(seed):
    """Small integers make many rows that hold with equality; the last rows make it pointed."""
    rng = np.random.default_rng(seed)
    rows = rng.integers(-1, 2, size=(rng.integers(2, 7), 3)).astype(float)
    rows = np.vstack([rows, [[-1, 0, 0], [0, -1, 0], [0, 0, -1]]])
    expected = strict_by_enumeration(rows)
    np.testing.assert_array_equal(strict_rows(rows), expected)
    np.testing.assert_array_equal(strict_rows(sparse.csr_array(rows)), expected)
    np.testing.assert_array_equal(strict_rows(1e-3 * rows), expected)


def test_the_span_of_a_cone_that_is_a_half_plane_a_line_or_nothing():
    """z₂ = 0 and z₁ ≥ 0; and what a further ``−z₁ ≥ 0`` leaves: z₃ alone."""
    x = np.array([[0.0, 1, 0], [1, 0, 0], [-1, 3, 0]])
    both, one = np.array([True, False, False]), np.ones(3, dtype=bool)
    basis, moves = cone_span(x[:2], one[:2], both[:2])
    assert basis.shape == (3, 2)
    np.testing.assert_allclose(basis[1], 0, atol=1e-12)
    assert moves.tolist() == [False, True]
    basis, moves = cone_span(x, one, both)
    np.testing.assert_allclose(np.abs(basis[:, 0]), [0, 0, 1], atol=1e-12)
    assert not moves.any()
    basis, _ = cone_span(np.vstack([x, [0, 0, 1]]), np.ones(4, dtype=bool), np.ones(4, dtype=bool))
    assert basis.shape == (3, 0)


def test_overlap_by_one_row_of_thirty_thousand():
    """Separated classes leave a cone, whose interior is open; one row on the wrong side none."""
    rng = np.random.default_rng(3)
    x = np.column_stack([np.ones(30_000), rng.normal(size=(30_000, 2))])
    side = x @ [0.3, 1.0, -2.0]
    start = time.perf_counter()
    basis, moves = cone_span(x, side > 0, side < 0)
    assert basis.shape == (3, 3)
    assert moves.all()
    wrong = np.argmax(side)
    side[wrong] *= -1
    x[wrong, 1:] *= 10  # outside of what the others span
    basis, moves = cone_span(x, side > 0, side < 0)
    assert basis.shape[1] == moves.sum() == 0
    assert time.perf_counter() - start < 10


@pytest.mark.parametrize("seed", range(20))
def test_few_inequalities_decide_only_what_all_of_them_do(monkeypatch, seed):
    """Separated classes, but for none, one or two rows."""
    rng = np.random.default_rng(seed)
    n, p = int(rng.integers(600, 1200)), int(rng.integers(1, 4))
    x = np.column_stack([np.ones(n), rng.normal(size=(n, p)).round(int(rng.integers(0, 2)))])
    side = x @ rng.normal(size=p + 1) > 0
    side[rng.integers(0, n, seed % 3)] ^= True
    basis, moves = cone_span(x, side, ~side)
    monkeypatch.setattr(cones, "FEW", 10_000)
    expected, of_all = cone_span(x, side, ~side)
    assert basis.shape == expected.shape
    assert (moves == of_all).all()

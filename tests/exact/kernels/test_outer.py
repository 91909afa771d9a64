"""Functions of outer groups' effects from tables, against the integrals that they tabulate."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import special

from hiermodels.exact.kernels.leaves.outer import OuterGroups, OuterTables
from hiermodels.families.binomial_leaves import BinomialLeaves
from hiermodels.families.poisson_leaves import PoissonLeaves

COUNTS, TRIALS = np.array([0.0, 3, 5, 10, 2, 0]), np.array([4.0, 9, 10, 12, 40, 7])
STARTS, ROW = np.array([0, 2, 5, 6]), np.array([0, 1, 1, 0, 1, 0])
TAU = np.array([0.0, 0.02, 0.3, 0.9, 2.5])
LAM, KAPPA = np.array([0.0, -1.0, 0.5, 0.2, -3.0]), np.array([1.0, 0.3, 2.0, 0.7, 0.5])
SHIFTS = np.array([[0.0, 0.4, -1.0, 0.2, 0.1], [0.5, 0.0, 0.3, -0.7, 0.0]])
DRAWS = np.arange(5)


def functions_of(leaves):
    groups = OuterGroups(leaves, STARTS, ROW, SHIFTS, TAU, LAM, KAPPA)
    return groups, OuterTables.of(groups, (1.5, 1.5)).functions(np.arange(3), DRAWS)


def places(far):
    """Some for each pair: where effects are likely, or far beyond."""
    spread = KAPPA * np.random.default_rng(1).uniform(-3, 3, (3, 5))
    return (LAM + spread + far)[:, :, None]


@pytest.mark.parametrize("far", [0.0, 12.0])
@pytest.mark.parametrize("family", [BinomialLeaves, PoissonLeaves], ids=lambda f: f.__name__)
def test_values_and_derivatives_are_those_of_the_integrals(family, far):
    far = far if family is BinomialLeaves else -far  # where Poisson leaves are not too small
    groups, functions = functions_of(family.of(COUNTS, TRIALS))
    mu, h = places(far), 2e-3
    near = mu + h * np.array([-2.0, -1.0, 0.0, 1.0, 2.0])
    right = np.stack([groups.values(s, near[s], DRAWS) for s in range(3)])
    slope = right @ np.array([1, -8, 0, 8, -1]) / (12 * h)
    bend = right @ np.array([-1, 16, -30, 16, -1]) / (12 * h**2)
    beyond = []

    def counted(group, some, draws):
        beyond.append(some.shape)
        return groups.values(group, some, draws)

    found = replace(functions, exact=counted).expansion(mu.reshape(-1, 1))
    assert beyond or far <= 0  # of Poisson leaves, tables reach there
    scale = 1 + np.abs(right[:, :, 2]).max()
    scale *= 100 if far else 1  # places are farther apart there
    for own, known, tolerance in zip(
        found, (right[:, :, 2], slope, -bend), (1e-9, 1e-6, 1e-4), strict=True
    ):
        np.testing.assert_allclose(own.ravel(), known.ravel(), rtol=0, atol=tolerance * scale)
    np.testing.assert_array_equal(functions.log_likelihood(mu.reshape(-1, 1)), found[0])


def test_integrals_are_those_of_a_plain_sum():
    _, functions = functions_of(BinomialLeaves.of(COUNTS, TRIALS))
    mu, z = places(0.0), np.linspace(-9, 9, 361)
    total = np.zeros((3, 5))
    for i, s in enumerate(np.repeat(np.arange(3), np.diff(STARTS))):
        theta = mu[s] + SHIFTS[ROW[i]][:, None] + TAU[:, None] * z
        log_leaf = special.xlogy(COUNTS[i], special.expit(theta))
        log_leaf += special.xlogy(TRIALS[i] - COUNTS[i], special.expit(-theta))
        top = special.xlogy(COUNTS[i], COUNTS[i] / TRIALS[i])
        top += special.xlogy(TRIALS[i] - COUNTS[i], 1 - COUNTS[i] / TRIALS[i])
        terms = log_leaf - top - z**2 / 2
        total[s] += special.logsumexp(terms, axis=1) - np.log(np.exp(-(z**2) / 2).sum())
    found = functions.log_likelihood(mu.reshape(-1, 1))
    np.testing.assert_allclose(found.ravel(), total.ravel(), rtol=0, atol=1e-8)


def test_some_pairs_have_the_functions_that_they_have_among_all():
    _, functions = functions_of(BinomialLeaves.of(COUNTS, TRIALS))
    mu, some = places(0.0).reshape(-1, 1), np.array([11, 2, 2, 7])
    expected = functions.expansion(mu)
    for own, among_all in zip(functions.take(some).expansion(mu[some]), expected, strict=True):
        np.testing.assert_allclose(own, among_all[some], rtol=1e-13)

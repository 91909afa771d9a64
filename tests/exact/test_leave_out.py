"""Densities of units given the rest, against one large multivariate normal distribution."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import multivariate_normal

from hiermodels.exact.kernels.records import Rows
from hiermodels.exact.kernels.tree.leave_out import log_densities, log_densities_given
from hiermodels.exact.kernels.tree.tree import Coefficients, Tree, Variances
from hiermodels.exact.kernels.tree.within import Within
from tests.oracles.dense import joint, random_design

CLOSE = {"rtol": 0, "atol": 1e-9}


def a_design(levels, q, known, seed):
    rng = np.random.default_rng(seed)
    design = random_design(rng, levels, q, known)
    spreads = tuple(np.array([s]) for s in rng.uniform(0.2, 2, levels))
    variances = Variances(spreads, np.array([1.0 if known else rng.uniform(0.3, 2)]))
    row = np.append(np.zeros(q), rng.normal())
    precision = np.diag(rng.uniform(0.2, 2, q)) if q else np.zeros((0, 0))
    log_normalizer = 0.5 * (np.log(np.diag(precision)) - np.log(2 * np.pi)).sum()
    prior = Coefficients(row, rng.uniform(0.3, 2), rng.normal(size=q), precision, log_normalizer)
    return design, variances, prior


def dense_normal(design, variances, prior):
    mean, covariance, matrix, noise = joint(design, variances, prior)
    return matrix @ mean, matrix @ covariance @ matrix.T + np.diag(noise)


def given(mean, covariance, y, unit):
    """Log density of a unit's rows given the others, by the formula of conditional normals."""
    rest = ~unit
    gain = covariance[np.ix_(unit, rest)] @ np.linalg.inv(covariance[np.ix_(rest, rest)])
    centre = mean[unit] + gain @ (y - mean)[rest]
    left = covariance[np.ix_(unit, unit)] - gain @ covariance[np.ix_(rest, unit)]
    return multivariate_normal(centre, left).logpdf(y[unit])


def collected(tree, variances, prior, of, level, units):
    shape = (len(variances), len(units))
    found = {name: np.empty(shape) for name in ("left_out", "again", "kept")}
    for nodes, part, values in log_densities(tree, variances, prior, of, level, units):
        for name, whole in found.items():
            whole[nodes, part] = getattr(values, name)
    return found


def rows_of(design):
    return Rows(np.column_stack([design.x, design.y]), design.weight, design.group)


CASES = [(levels, q, known) for levels in (1, 2) for q in (0, 1, 2) for known in (True, False)]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("levels", "q", "known"), CASES)
def test_left_out_units_are_the_dense_ones(levels, q, known, seed):
    design, variances, prior = a_design(levels, q, known, seed)
    tree, rows = design.tree, rows_of(design)
    normal = dense_normal(design, variances, prior)
    units = {"row": (np.arange(len(design.y)), rows, levels)}
    units["group"] = design.group, Within.of(tree, rows), levels - 1
    if levels == 2:
        units["outer"] = design.parent[design.group], Within.of(tree, rows), 0
    for name, (index, of, level) in units.items():
        which = np.arange(index.max() + 1)
        found = collected(tree, variances, prior, of, level, which)["left_out"][0]
        expected = [given(*normal, design.y, index == i) for i in which]
        np.testing.assert_allclose(found, expected, **CLOSE, err_msg=name)
        some = which[1::2]
        again = collected(tree, variances, prior, of, level, some)["left_out"][0]
        np.testing.assert_allclose(again, found[some], **CLOSE, err_msg=name)


@pytest.mark.parametrize(("levels", "q", "known"), CASES)
def test_new_units_with_the_same_outcomes_are_the_dense_ones(levels, q, known):
    design, variances, prior = a_design(levels, q, known, 7)
    tree, rows = design.tree, rows_of(design)
    n, groups = len(design.y), len(tree.weight)
    cases = {"row": (rows, levels, np.arange(n))}
    cases["group"] = Within.of(tree, rows), levels - 1, design.group
    if levels == 2:
        cases["outer"] = Within.of(tree, rows), 0, design.parent[design.group]
    for name, (of, level, index) in cases.items():
        found = collected(tree, variances, prior, of, level, np.arange(index.max() + 1))["again"][0]
        for u in (0, index.max()):
            own = np.flatnonzero(index == u)
            more = design.group[own] + (0 if name == "row" else groups)
            parent = design.parent
            if parent is not None and name != "row":
                shift = 0 if name == "group" else parent.max() + 1
                parent = np.concatenate([parent, parent + shift])[: more.max() + 1]
            twice = [np.concatenate([a, a[own]]) for a in (design.x, design.y, design.weight)]
            both = type(design)(*twice, np.concatenate([design.group, more]), parent)
            mean, covariance = dense_normal(both, variances, prior)
            new = np.arange(len(both.y)) >= n
            assert found[u] == pytest.approx(given(mean, covariance, both.y, new), abs=1e-9), name


@pytest.mark.parametrize(("levels", "q"), [(1, 0), (1, 2), (2, 0), (2, 1)])
def test_densities_given_the_hyperparameters_are_the_dense_ones(levels, q):
    design, _, _ = a_design(levels, q, True, 3)
    rng = np.random.default_rng(5)
    spreads = tuple(rng.uniform(0.2, 2, 3) for _ in range(levels))
    nodes = Variances(spreads, rng.uniform(0.5, 2, 3))
    root, beta = rng.normal(size=3), rng.normal(size=(3, q))
    within = Within.of(design.tree, rows_of(design))
    found = log_densities_given(design.tree, within, nodes, root, beta)
    outer = design.group if levels == 1 else design.parent[design.group]
    for k in range(3):
        inside = np.equal.outer(design.group, design.group) * spreads[-1][k]
        inside = inside + np.diag(nodes.sigma2[k] / design.weight)
        if levels == 2:
            inside += spreads[0][k]
        mean = root[k] + design.x @ beta[k]
        for u in range(outer.max() + 1):
            own = outer == u
            law = multivariate_normal(mean[own], inside[np.ix_(own, own)])
            assert found[k, u] == pytest.approx(law.logpdf(design.y[own]), abs=1e-10)


@pytest.mark.parametrize("spread", [1e-14, 1e-6, 1.0, 1e6, 1e14])
def test_no_digits_are_lost_where_one_variance_is_small_against_another(spread):
    """Groups of one row: the leverage of a row is 1 to rounding where tau² is 1e14."""
    import mpmath as mp

    weight = np.array([1.0, 4.0, 0.25, 2.0])
    x, y = np.array([0.3, -1.0, 0.5, 1.2]), np.array([0.1, 1.3, -0.7, 2.1])
    tree = Tree(np.column_stack([x, y]), weight, np.zeros((2, 2)), 4, float(np.log(weight).sum()))
    variances = Variances((np.array([spread]),), np.ones(1))
    rows = Rows(tree.mean, weight, np.arange(4))
    found = collected(tree, variances, Coefficients.flat(1), rows, 0, np.arange(4))["left_out"][0]
    groups = Within.of_single_rows(tree)
    same = collected(tree, variances, Coefficients.flat(1), groups, 0, np.arange(4))["left_out"][0]
    with mp.workdps(60):
        v = mp.diag([mp.mpf(spread) + 1 / mp.mpf(w) for w in weight])
        design = mp.matrix([[1, a] for a in x.tolist()])
        inverse = v**-1
        bread = (design.T * inverse * design) ** -1
        projection = inverse - inverse * design * bread * design.T * inverse
        residual = projection * mp.matrix(y.tolist())
        expected = [
            float(
                (mp.log(projection[i, i] / (2 * mp.pi)) - residual[i] ** 2 / projection[i, i]) / 2
            )
            for i in range(4)
        ]
    np.testing.assert_allclose(found, expected, rtol=1e-13, atol=1e-12)
    np.testing.assert_allclose(same, expected, rtol=1e-13, atol=1e-12)

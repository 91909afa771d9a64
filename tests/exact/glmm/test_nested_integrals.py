"""The likelihood of counts in nested groups: against adaptive quadrature, and its differences."""

from __future__ import annotations

import numpy as np
import pytest

from hiermodels.exact.glmm.integrals import expand as expand_two_levels
from hiermodels.exact.glmm.nested_integrals import expand, log_integrals
from hiermodels.exact.glmm.nested_rows import NestedRows
from hiermodels.exact.glmm.rows import BinomialRows, PoissonRows
from hiermodels.exact.glmm.windows import Windows
from tests.oracles.nested_rows_of_counts import log_likelihood

SIZES = np.array([4, 9, 1, 12, 2, 3])
FIRST = np.concatenate([[0], np.cumsum(SIZES)[:-1]])
GROUP = np.repeat(np.arange(len(SIZES)), SIZES)
OUTER = np.array([0, 0, 0, 1, 1, 2])[GROUP]
KINDS = ("single", "binomial", "poisson")
GAMMA = np.array([-0.5, 0.4, -0.3])


def rows(kind, seed=1):
    """Three covariates; a group of one row, one without any success, an outer group of one."""
    rng = np.random.default_rng(seed)
    n = len(GROUP)
    x, offset = np.column_stack([np.ones(n), rng.normal(size=(n, 2))]), 0.3 * rng.normal(size=n)
    if kind == "poisson":
        own = PoissonRows(rng.poisson(2.0 * (GROUP != 4)).astype(float), x, offset, FIRST)
    else:
        trials = np.ones(n) if kind == "single" else rng.integers(0, 9, n).astype(float)
        y = rng.binomial(trials.astype(int), 0.3) * (GROUP != 4)
        own = BinomialRows(y.astype(float), x, offset, FIRST, trials)
    return NestedRows(own, np.array([0, 3, 5]))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "sds", [(0.0, 0.0), (0.7, 0.0), (0.0, 0.7), (1e-4, 1e-4), (0.5, 0.05), (0.2, 1.0), (2.0, 3.0)]
)
def test_value(kind, sds):
    given = rows(kind)
    own = given.rows
    size = own.trials if kind != "poisson" else np.zeros(len(GROUP))
    of = "poisson" if kind == "poisson" else "binomial"
    eta = own.linear(GAMMA[None])[:, 0]
    expected = log_likelihood(of, own.y, size, eta, GROUP, OUTER, sds)
    assert expand(given, np.array(sds), GAMMA).value == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("sds", [(0.0, 0.0), (0.6, 0.01), (0.5, 0.4), (2.0, 1.0)])
def test_derivatives(kind, sds):
    """Central differences: their own error is about 1e-9."""
    given, h, sds = rows(kind), 1e-4, np.array(sds)
    here = expand(given, sds, GAMMA)
    beside = [[expand(given, sds, GAMMA + s * h * e) for s in (1, -1)] for e in np.eye(3)]
    slope = [(up.value - down.value) / (2 * h) for up, down in beside]
    bend = [(up.gradient - down.gradient) / (2 * h) for up, down in beside]
    np.testing.assert_allclose(here.gradient, slope, atol=1e-6)
    np.testing.assert_allclose(here.information.sum(axis=0), -np.array(bend), atol=1e-5)
    z = [(up.middles.z - down.middles.z)[:, 0] / (2 * h) for up, down in beside]
    np.testing.assert_allclose(here.slope, np.transpose(z), atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_one_sd_of_0_leaves_two_levels(kind):
    given = rows(kind)
    outer = expand_two_levels(given.whole, 0.8, GAMMA)
    own = expand(given, np.array([0.8, 0.0]), GAMMA)
    assert own.value == pytest.approx(outer.value, abs=1e-9)
    np.testing.assert_allclose(own.information, outer.information, atol=1e-8)
    inner = expand_two_levels(given.rows, 0.8, GAMMA)
    own = expand(given, np.array([0.0, 0.8]), GAMMA)
    assert own.value == pytest.approx(inner.value, abs=1e-9)
    np.testing.assert_allclose(own.information, given.sums(inner.information), atol=1e-8)


@pytest.mark.parametrize("kind", KINDS)
def test_many_settings_are_each_by_itself(kind):
    """From windows that are a little off."""
    given, rng = rows(kind), np.random.default_rng(2)
    gamma, sds = 0.4 * rng.normal(size=(9, 3)), rng.uniform(0, 2, (9, 2))
    sds[:3, 1] *= 0.02
    each = [expand(given, s, g) for s, g in zip(sds, gamma, strict=True)]
    every = [list(vars(one.middles).values()) for one in each]
    arrays = [np.concatenate(own, axis=1) for own in zip(*every, strict=True)]
    at = Windows(*arrays).moved(0.3 * rng.normal(size=(3, 9)))
    found = log_integrals(given, given.rows.linear(gamma), sds, at)
    np.testing.assert_allclose(found.sum(axis=0), [one.value for one in each], atol=1e-8)

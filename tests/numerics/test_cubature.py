"""Few points with a lattice's moments, and what the noise-free posterior does with them."""

from __future__ import annotations

from itertools import product

import numpy as np
import pandas as pd
import pytest

import hiermodels as hm
from hiermodels.exact import compressed
from hiermodels.exact import lattice_mixture as integrated
from hiermodels.exact.block_reference import BlockReference
from hiermodels.exact.blocks import few_nodes
from hiermodels.numerics.cubature import compress


def weighted_points(d: int, random_seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A lattice under a skewed density, correlated and far from the origin."""
    axes = np.meshgrid(*[np.arange(-5, 5.1, 0.5)] * d, indexing="ij")
    z = np.stack(axes, axis=-1).reshape(-1, d)
    weights = np.exp(-0.5 * (z**2).sum(axis=1) + 0.1 * z[:, 0] ** 3 * (np.abs(z[:, 0]) < 4))
    mix = np.random.default_rng(random_seed).normal(size=(d, d))
    return 100 + z @ mix, weights / weights.sum()


@pytest.mark.parametrize(("d", "degree"), [(1, 4), (1, 9), (2, 6), (3, 4)])
def test_few_points_have_the_moments_of_all(d, degree):
    points, weights = weighted_points(d)
    chosen, found = compress(points, weights, degree)
    assert len(chosen) <= np.prod([(degree + k + 1) / (k + 1) for k in range(d)]) + 1e-9
    assert (found > 0).all()
    z = (points - 100) / points.std(axis=0)
    for power in product(range(degree + 1), repeat=d):
        if sum(power) <= degree:
            values = (z**power).prod(axis=1)
            size = weights @ np.abs(values)
            assert abs(found @ values[chosen] - weights @ values) < 1e-10 * size
    beyond = z[:, 0] ** (2 * degree)  # what is not promised is not so
    assert abs(found @ beyond[chosen] - weights @ beyond) > 1e-6 * (weights @ beyond)


def estimates() -> pd.DataFrame:
    rng = np.random.default_rng(1)
    se = rng.uniform(0.5, 2.0, 400)
    y = rng.normal(3, 1, 400) + se * rng.standard_normal(400)
    return pd.DataFrame({"group": np.arange(400), "y": y, "se": se})


def pupils(schools: int = 60) -> pd.DataFrame:
    return hm.datasets.simulate_classrooms(schools, (3, 6), (4, 9), beta=0.4, random_seed=2)


CASES = {
    "own standard errors": (estimates, "y ~ 1 + (1 | group)", compressed.AGREE),
    "unknown sigma": (pupils, "score ~ 1 + (1 | classroom)", compressed.AGREE),
    "covariate": (pupils, "score ~ ses + (1 | classroom)", compressed.AGREE),
    "three levels": (pupils, "score ~ 1 + (1 | school/classroom)", 1e-4),
    "no intercept": (pupils, "score ~ 0 + ses + (1 | classroom)", compressed.AGREE),
}


def _try_few_from(monkeypatch, work: float) -> None:
    """Try few nodes from this many nodes times groups on."""
    monkeypatch.setattr(integrated, "MAX_WORK", dict.fromkeys((1, 2, 3), work))
    monkeypatch.setattr(few_nodes, "MAX_WORK", work)
    monkeypatch.setattr(few_nodes, "MANY", 0)


def _few_of(exact):
    return exact.posterior.few if isinstance(exact, BlockReference) else exact._few


@pytest.mark.parametrize(("make", "formula", "agree"), CASES.values(), ids=CASES)
def test_few_points_take_the_place_of_the_lattice(make, formula, agree, monkeypatch):
    """In three dimensions hundreds of schools would be needed for the usual agreement."""
    data = make()
    _try_few_from(monkeypatch, 0)
    monkeypatch.setattr(compressed, "AGREE", agree)
    few = hm.reference(data, formula)
    chosen = _few_of(few)
    assert chosen is not None
    assert 3 * len(chosen.whole[1]) < len(few.lattice)
    assert chosen.error <= few.certificate < max(agree, 1e-8)
    _try_few_from(monkeypatch, np.inf)
    whole = hm.reference(data, formula)
    assert _few_of(whole) is None
    sd = whole.sd["theta"]
    close = 2 * few.certificate
    assert np.abs((few.mean["theta"] - whole.mean["theta"]) / sd).max() < close
    assert np.abs(few.sd["theta"] / sd - 1).max() < close
    q = [0.01, 0.3, 0.9]
    gap = (few.quantile(q, "theta") - whole.quantile(q, "theta"))["theta"] / sd
    assert np.abs(gap).max() < 10 * close + 1e-8
    for name in set(few.spec.variables) - {"theta"}:
        np.testing.assert_allclose(few.mean[name], whole.mean[name], rtol=1e-13)
    assert "points with the lattice's moments" in repr(few)


def test_where_degrees_do_not_agree_the_lattice_stays(monkeypatch):
    schools = hm.datasets.load_eight_schools()
    roles = {"outcome": "y", "groups": "school", "se": "sigma", "priors": {"tau": hm.FlatSD()}}
    usual = hm.reference(schools, **roles)
    _try_few_from(monkeypatch, 0)
    found = hm.reference(schools, **roles)
    assert found._few is None
    assert found.mean.identical(usual.mean)
    assert found.sd.identical(usual.sd)


def test_members_are_taken_in_parts(monkeypatch):
    data = pupils()
    whole = hm.reference(data, "score ~ ses + (1 | classroom)")
    parts = hm.reference(data, "score ~ ses + (1 | classroom)")
    monkeypatch.setattr(integrated, "MAX_NUMBERS", 1)
    monkeypatch.setattr(integrated, "MAX_MEMBERS", 7)
    for name in ("theta", "beta", "mu"):
        expected, found = (one.quantile([0.1, 0.5], name)[name] for one in (whole, parts))
        np.testing.assert_allclose(found, expected, rtol=1e-13)

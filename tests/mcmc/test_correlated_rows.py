"""PyMC models of rows with correlated known errors: their densities, and NUTS."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import multivariate_normal

import hiermodels as hm
from hiermodels.data.prepare import prepare
from hiermodels.exact.joint import log_joint
from hiermodels.mcmc.model import build_model
from tests.mcmc.test_blocks_models import CLOSE, Point, log_density
from tests.mcmc.test_nuts import assert_agrees
from tests.oracles.correlated import indicators, studies

PRIORS = {"beta": hm.Normal(0, 4), "tau": hm.HalfNormal(1)}
MODELS = {
    "nested": ("y ~ x + (1 | study/effect)", {"lam": hm.Normal(0, 4), "kappa": hm.HalfNormal(1)}),
    "arms": ("y ~ x + (1 | study/arm)", {"lam": hm.Normal(0, 4), "kappa": hm.HalfNormal(1)}),
    "one level": ("y ~ x + (1 | study)", {"mu": hm.Normal(0, 4)}),
    "several outcomes": ("y ~ 0 + a + b + c + (0 + a + b + c || study)", {}),
}


def a_point(name):
    """Values of all variables."""
    frame, v = studies(3)
    frame["arm"] = frame.groupby("study").cumcount() // 2
    formula, more = MODELS[name]
    spec, data = prepare(frame, formula, covariance=v, priors=PRIORS | more)
    rng = np.random.default_rng(5)
    values = {name: np.asarray(rng.normal()) for name in spec.top}
    values["beta"] = rng.normal(size=len(spec.covariates))
    for level in spec.levels:
        u, e = len(data.levels[spec.level_of(level.effect)]), len(level.terms)
        values[level.effect] = rng.normal(size=(u, e) if level.has_slopes else u)
        values[level.sd] = rng.uniform(0.5, 2, e) if level.has_slopes else np.array(0.8)
    return Point(spec, data, values), v


@pytest.mark.parametrize(
    ("name", "observed"), [*((name, "means") for name in MODELS), ("several outcomes", "rows")]
)
def test_the_density_is_the_joint_one(name, observed):
    point, _ = a_point(name)
    model = build_model(point.spec, point.data, "centered", observed)
    expected = log_joint(point.spec, point.data, point.values)
    found = log_density(model, point.sampled(model, "centered"))
    assert found == pytest.approx(expected, **CLOSE)


@pytest.mark.parametrize("name", ["nested", "arms", "one level"])
def test_the_marginal_density_is_that_of_dense_algebra(name):
    point, v = a_point(name)
    spec, data = point.spec, point.data
    total = v + 16 + 16 * np.outer(*[data.design.matrix[:, 0]] * 2)
    member = data.group
    for level, groups in zip(spec.levels[::-1], data.levels[::-1], strict=True):
        own = indicators(member, np.arange(len(groups)))
        total += point.values[level.sd] ** 2 * own @ own.T
        member = groups.parent[member]
    expected = multivariate_normal.logpdf(data.y, np.zeros(len(data.y)), total)
    for level in spec.levels:
        expected += hm.HalfNormal(1).log_density_log_sd(np.log(point.values[level.sd]))
        expected -= np.log(point.values[level.sd])
    model = build_model(spec, data, "marginal")
    found = log_density(model, point.sampled(model, {}))
    assert found == pytest.approx(float(expected), rel=1e-9)


@pytest.mark.slow
def test_nuts_agrees():
    frame, v = studies(3, (3, 2, 3, 1, 2, 3, 1, 2, 3, 2))
    formula, more = MODELS["nested"]
    model = {"covariance": v, "priors": PRIORS | more}
    assert_agrees(hm.fit(frame, formula, engine="nuts", random_seed=1, **model).posterior)

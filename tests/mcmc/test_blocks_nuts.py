"""NUTS of slopes and of three columns of groups against the noise-free posterior."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import hiermodels as hm
from hiermodels.model.priors.covariance import correlation_matrix
from tests.mcmc.test_nuts import assert_agrees, sample

pytestmark = pytest.mark.filterwarnings("ignore::hiermodels.mcmc.convergence.ConvergenceWarning")

FORMULA = "Reaction ~ Days + (1 + Days | Subject)"


@pytest.fixture(scope="module")
def sleep():
    return hm.datasets.load_sleepstudy()


def test_sleep_study(sleep):
    posterior = sample(sleep, FORMULA)
    assert_agrees(posterior)
    draws = posterior.datatree["posterior"].to_dataset()
    assert draws.attrs["parameterization"] == "centered"
    exact = hm.fit(sleep, FORMULA, draws=5).datatree["posterior"].to_dataset()
    assert list(draws.data_vars) == list(exact.data_vars)
    for name, values in exact.data_vars.items():
        assert draws[name].dims == values.dims
        for dim in values.dims[2:]:
            assert draws[name][dim].equals(values[dim])


def four_levels():
    rng = np.random.default_rng(3)
    c = np.repeat(np.arange(36), 3)
    effects = [np.repeat(rng.normal(0, 1, n), 36 // n)[c] for n in (6, 12, 36)]
    x = rng.normal(size=len(c))
    y = 5 + 0.5 * x + sum(effects) + rng.normal(0, 0.7, len(c))
    return pd.DataFrame({"y": y, "x": x, "c": c, "b": c // 3, "a": c // 6})


OTHERS = {
    "four levels": (four_levels, "y ~ x + (1 | a/b/c)", "auto"),
    "outer slopes": (four_levels, "y ~ x + (1 + x | a) + (1 | a:b)", "marginal"),
    "uncorrelated": (hm.datasets.load_sleepstudy, FORMULA.replace("|", "||"), "noncentered"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", OTHERS)
def test_other_models_and_forms(name):
    load, formula, form = OTHERS[name]
    posterior = sample(load(), formula, parameterization=form)
    assert_agrees(posterior)
    assert list(posterior.datatree["posterior"].data_vars) == list(posterior.spec.variables)


@pytest.mark.slow
def test_a_known_sd_and_three_effects(sleep):
    """More effects than the exact engine has room for; an sd that is fixed does not move."""
    frame = sleep.assign(late=(sleep["Days"] > 5).astype(float))
    formula = "Reaction ~ Days + late + (1 + Days + late | Subject)"
    posterior = sample(frame, formula, priors={"tau[late]": hm.Fixed(2.0)}, draws=100, tune=200)
    draws = posterior.datatree["posterior"]
    assert (draws["tau"].sel(effect="late") == 2.0).all()
    assert draws["rho"].dims == ("chain", "draw", "pair")
    assert np.isfinite(posterior.datatree["sample_stats"]["lp"]).all()
    assert "nan" not in posterior.certificate["r_hat"] + posterior.certificate["ess"]
    matrix = correlation_matrix(draws["rho"].to_numpy())
    assert np.linalg.eigvalsh(matrix).min() > 0


@pytest.mark.slow
@pytest.mark.parametrize("by", ["Sex", "half"])
def test_residual_sds_by_stratum(by):
    growth = hm.datasets.load_orthodont()
    growth["half"] = np.where(growth["age"] < 11, "early", "late")
    how = {"residual_by": by, "progressbar": False, "random_seed": 1}
    drawn = hm.fit(growth, "distance ~ age + (1 | Subject)", engine="nuts", **how)
    assert hm.compare(drawn, drawn.reference()).passed

"""Simulation from the model: the law of every prior, and of what follows from them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from scipy import stats

import hiermodels as hm
from hiermodels.data.prepare import prepare
from hiermodels.results.simulation import draw_outcomes, draw_variables, prior_predictive

FAR = 5  # standard errors
SIZE = 40_000


def classrooms(seed=0):
    """Rows in rooms in schools, of unequal sizes."""
    rng = np.random.default_rng(seed)
    rooms = np.repeat(np.arange(12), rng.integers(1, 5, 12))
    return pd.DataFrame(
        {
            "school": [f"s{room // 3}" for room in rooms],
            "room": [f"r{room % 3}" for room in rooms],
            "score": rng.normal(size=len(rooms)),
            "ses": rng.normal(3, 1, len(rooms)),
        }
    )


def three_levels():
    priors = {"lam": hm.Normal(2.0, 1.0), "beta": hm.Normal(3.0, 0.5)}
    priors |= {"tau": hm.HalfNormal(1.0), "kappa": hm.Uniform(3.0), "sigma": hm.Exponential(0.5)}
    return prepare(classrooms(), "score ~ ses + (1 | school/room)", priors=priors)


def test_values_descend_the_tree():
    """Standardised steps from level to level are standard normal and independent."""
    spec, data = three_levels()
    drawn = draw_variables(spec, data, SIZE, np.random.default_rng(1))
    assert list(drawn) == list(spec.variables)
    steps = np.column_stack(
        [
            drawn["lam"] - 2,
            (drawn["mu"] - drawn["lam"][:, None]) / drawn["kappa"][:, None],
            (drawn["theta"] - drawn["mu"][:, data.parents[0]]) / drawn["tau"][:, None],
            (drawn["beta"] - 3) / 0.5,
        ]
    )
    assert steps.shape[1] == 1 + 4 + 12 + 1
    for step in steps.T:
        assert stats.kstest(step, "norm").pvalue > 1e-4
    correlations = np.corrcoef(steps.T)[np.triu_indices(steps.shape[1], 1)]
    assert np.abs(correlations).max() < FAR / np.sqrt(SIZE)


def test_rows_have_their_mean_and_sd():
    spec, data = three_levels()
    rng = np.random.default_rng(2)
    drawn = draw_variables(spec, data, SIZE, rng)
    y = draw_outcomes(spec, data, drawn, rng)
    mean = drawn["theta"][:, data.group] + drawn["beta"] * data.design.matrix[:, 0]
    for row in ((y - mean) / drawn["sigma"][:, None]).T:
        assert stats.kstest(row, "norm").pvalue > 1e-4


def test_known_errors_are_sds(schools):
    priors = {"mu": hm.Normal(0, 1), "tau": hm.HalfNormal(1)}
    spec, data = prepare(schools, priors=priors)
    rng = np.random.default_rng(3)
    drawn = draw_variables(spec, data, SIZE, rng)
    y = draw_outcomes(spec, data, drawn, rng)
    sd = (y - drawn["theta"]).std(axis=0)
    np.testing.assert_allclose(sd, schools["sigma"], rtol=FAR / np.sqrt(2 * SIZE))


def test_one_population_is_a_student_t():
    """``y ~ Student-t(2α, m, β(1 + s²)/α)`` under the conjugate prior."""
    prior = hm.NormalInverseGamma(m=3.0, s=2.0, alpha=3.0, beta=4.0)
    frame = pd.DataFrame({"y": [3.0, 5.5, 4.1]})
    spec, data = prepare(frame, outcome="y", groups=(), priors={"theta": prior})
    rng = np.random.default_rng(4)
    y = draw_outcomes(spec, data, draw_variables(spec, data, SIZE, rng), rng)
    law = stats.t(6, loc=3, scale=np.sqrt(4 * 5 / 3))
    assert stats.kstest(y[:, 1], law.cdf).pvalue > 1e-4


def test_outcomes_that_overflow_are_refused(schools):
    wide = {"mu": hm.Normal(0, 1), "tau": hm.InverseGamma(1e-3, 1e-3)}
    spec, data = prepare(schools, priors=wide)
    rng = np.random.default_rng(1)
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        drawn = draw_variables(spec, data, 100, rng)
        with pytest.raises(hm.SpecError, match=r"cannot be simulated: mu ~ .*narrower"):
            draw_outcomes(spec, data, drawn, rng)


def test_groups_called_sample_have_a_prior_predictive_too(recwarn):
    """As they have a posterior: without ArviZ's warning of a dimension of that name."""
    priors = {"mu": hm.Normal(2.0, 1.0), "tau": hm.HalfNormal(1.0), "sigma": hm.Exponential(0.5)}
    data = classrooms().rename(columns={"room": "sample"})
    spec, grouped = prepare(data, "score ~ (1 | sample)", priors=priors)
    tree = prior_predictive(spec, grouped, 10, np.random.default_rng(1))
    assert tree["prior"]["theta"].dims == ("chain", "draw", "sample")
    assert not [str(each.message) for each in recwarn if "sample" in str(each.message)]


def test_prior_predictive_needs_proper_priors(schools):
    spec, data = prepare(schools, priors={"mu": hm.Normal(0.0, 10.0)})
    with pytest.raises(hm.SpecError, match=r"nothing to draw from in tau ~ FlatVariance\(\), on"):
        prior_predictive(spec, data, 10, np.random.default_rng(1))


def test_the_prior_predictive_of_a_fit_needs_proper_priors(schools):
    fit = hm.fit(schools, draws=10)
    with pytest.raises(hm.SpecError, match=r"needs proper priors.* mu ~ Flat\(\)"):
        fit.prior_predictive()


def test_prior_predictive_has_the_moments_of_the_priors():
    priors = {"lam": hm.Normal(2.0, 1.0), "beta": hm.Normal(3.0, 0.5)}
    priors |= dict.fromkeys(["tau", "kappa", "sigma"], hm.HalfNormal(1.0))
    fit = hm.fit(classrooms(), "score ~ ses + (1 | school/room)", priors=priors, draws=10)
    tree = fit.prior_predictive(draws=4000, random_seed=1)
    ses = fit.data.design.matrix[:, 0]
    drawn = tree["prior_predictive"]["score"]
    assert drawn.sizes == {"chain": 1, "draw": 4000, "row": len(fit.data.y)}
    variance = 1 + 0.25 * ses**2 + 3  # lam, beta, and kappa² + tau² + sigma²
    away = (drawn.mean(["chain", "draw"]) - (2 + 3 * ses)) / np.sqrt(variance / 4000)
    assert float(np.abs(away).max()) < FAR
    np.testing.assert_allclose(drawn.var(["chain", "draw"]), variance, rtol=0.2)
    assert set(tree["prior"].data_vars) == set(fit.spec.variables)
    assert tree["prior"]["theta"].dims == ("chain", "draw", "room")
    again = fit.prior_predictive(draws=4000, random_seed=1)
    xr.testing.assert_equal(again["prior"].to_dataset(), tree["prior"].to_dataset())

"""NUTS of counts against quadrature, and against reference figures of published data."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import arviz_stats
import numpy as np
import pandas as pd
import pytest

import hiermodels as hm
from hiermodels.data.prepare import prepare
from hiermodels.mcmc import sample as nuts
from hiermodels.posterior.engine import Request
from tests.oracles.rows_of_counts import binary, grid_means

pytestmark = pytest.mark.filterwarnings("ignore::hiermodels.mcmc.convergence.ConvergenceWarning")

FAR = 5  # Monte Carlo standard errors: a right sampler gets so far once in a million
PRIORS = {"mu": hm.Normal(-0.5, 1.0), "tau": hm.HalfNormal(0.7), "beta": hm.Normal(0.0, 1.0)}


def require_means(draws, means):
    errors = arviz_stats.mcse(draws)
    for name, expected in means.items():
        away = (draws[name].mean(["chain", "draw"]) - np.asarray(expected)) / errors[name]
        assert float(np.abs(away).max()) < FAR, (name, away)


@cache
def refit():
    spec, data = prepare(binary(), "y ~ x + (1 | room)", family="binomial", priors=PRIORS)
    return data, nuts.prepare_refits(spec, data, draws=1500, chains=4)


@pytest.mark.parametrize("flipped", [False, True])
def test_covariates_that_differ_within_groups(flipped):
    """Two outcomes of the same rows, with one compilation."""
    data, fit = refit()
    frame = binary()
    frame["y"] ^= flipped
    posterior = fit(replace(data, y=frame["y"].to_numpy(dtype=float)), 3)
    draws = posterior.datatree["posterior"].to_dataset()
    assert list(draws.data_vars) == ["mu", "tau", "theta", "beta", "p"]
    assert draws.attrs["divergences"] == 0
    expected = grid_means(frame)
    require_means(draws, {name: expected[name] for name in draws.data_vars})


def three_levels():
    """100 counts in 20 outer groups, by a rule that is stated with the reference figures."""
    rng = np.random.default_rng(7)
    outer = np.repeat(np.arange(20), 5)
    theta = rng.normal(rng.normal(-1, 0.6, 20)[outer], 0.4)
    n = rng.integers(5, 60, 100)
    r = rng.binomial(n, 1 / (1 + np.exp(-theta)))
    return pd.DataFrame({"outer": outer, "inner": np.arange(100), "r": r, "n": n})


def test_three_levels():
    """Figures of an integration of its own, right to 1e-10."""
    fit = hm.fit(
        three_levels(),
        "p(r, n) ~ 1 + (1 | outer/inner)",
        priors={"tau": hm.HalfNormal(1), "kappa": hm.HalfNormal(1)},
        engine="nuts",
        random_seed=1,
    )
    draws = fit.datatree["posterior"].to_dataset()
    assert list(draws.data_vars) == ["lam", "kappa", "mu", "tau", "theta", "p"]
    assert draws["p"].dims == ("chain", "draw", "inner")
    known = {"tau": 0.2522672825, "kappa": 0.5511451868, "lam": -1.2903701982}
    require_means(draws, known)
    ends = draws[["p", "mu"]].isel(inner=[0, -1], outer=[0, -1])
    require_means(ends, {"p": [0.1980116267, 0.1714187735], "mu": [-1.3365979143, -1.5919686701]})


# Niel-Weise et al. (2007), of central venous catheters, as in Stijnen et al. (2010): infections and
# patients in the treated arm, and in the control arm.
CATHETERS = {
    "a": [0, 1, 2, 0, 5, 1, 1, 1, 1, 1, 0, 0, 3, 6, 0, 0, 1, 4],
    "n1": [116, 44, 208, 130, 151, 98, 174, 74, 97, 113, 66, 70, 188, 187, 118, 252, 345, 64],
    "c": [3, 3, 9, 7, 6, 4, 3, 2, 19, 2, 7, 1, 5, 11, 0, 1, 3, 1],
    "n2": [117, 35, 195, 136, 157, 139, 177, 39, 103, 122, 64, 58, 175, 180, 105, 262, 362, 69],
}


def test_odds_ratios():
    """Figures of an integration of its own; a study without infections says nothing."""
    frame = pd.DataFrame(CATHETERS).assign(study=range(18))
    frame["both"] = frame["a"] + frame["c"]
    priors = {"tau": hm.HalfNormal(0.5)}
    spec, data = prepare(frame, outcome="a", trials="n1", groups="study", priors=priors)
    tables = {"control_trials": "n2", "total_events": "both"}
    more = {role: frame[name].to_numpy(dtype=float) for role, name in tables.items()}
    spec = replace(spec, family=hm.OddsRatio(), columns={**spec.columns, **tables})
    data = replace(data, columns={**data.columns, **more})
    draws = nuts.sample(spec, data, Request(random_seed=1)).datatree["posterior"].to_dataset()
    assert list(draws.data_vars) == ["mu", "tau", "theta"]
    require_means(draws, {"tau": 0.5975286701, "mu": -1.3124803551})
    errors = arviz_stats.mcse(draws[["tau", "mu"]], method="sd")
    for name, sd in {"tau": 0.2985500029, "mu": 0.3071690445}.items():
        assert abs(float(draws[name].std() - sd)) < FAR * float(errors[name]), name
    some = draws.isel(study=[0, 8, 17])
    require_means(some, {"theta": [-1.5470450910, -1.9262615707, -0.5254211886]})


@pytest.mark.slow
def test_pumps():
    """Gaver & O'Muircheartaigh (1987): failures in thousands of hours of operation."""
    frame = pd.DataFrame(
        {
            "pump": range(1, 11),
            "failures": [5, 1, 5, 14, 3, 19, 1, 1, 4, 22],
            "hours": [94.3, 15.7, 62.9, 126, 5.24, 31.4, 1.05, 1.05, 2.1, 10.5],
        }
    )
    priors = {"tau": hm.HalfNormal(1)}
    roles = {"outcome": "failures", "exposure": "hours", "groups": "pump", "priors": priors}
    fit = hm.fit(frame, **roles, engine="nuts", random_seed=1)
    draws = fit.datatree["posterior"].to_dataset()
    require_means(draws, {"tau": 1.3552460206, "mu": -1.1839847244})
    ends = {"theta": [-2.8297693175, 0.6609638158], "rate": [0.0639757983, 1.9834865541]}
    require_means(draws.isel(pump=[0, -1]), ends)


@pytest.mark.slow
def test_seeds():
    """Crowder (1978), Applied Statistics 27:34: germination on 21 plates."""
    frame = pd.DataFrame(
        {
            "plate": range(21),
            "r": [10, 23, 23, 26, 17, 5, 53, 55, 32, 46, 10, 8, 10, 8, 23, 0, 3, 22, 15, 32, 3],
            "n": [39, 62, 81, 51, 39, 6, 74, 72, 51, 79, 13, 16, 30, 28, 45, 4, 12, 41, 30, 51, 7],
            "seed": np.repeat([0, 1], [11, 10]),
            "extract": np.repeat([0, 1, 0, 1], [5, 6, 5, 5]),
        }
    )
    priors = {"tau": hm.HalfNormal(1)}
    formula = "p(r, n) ~ seed + extract + (1 | plate)"
    fit = hm.fit(frame, formula, priors=priors, engine="nuts", random_seed=1)
    draws = fit.datatree["posterior"].to_dataset()
    require_means(draws, {"tau": 0.3885511, "mu": -0.3795934, "beta": [-0.3824492, 1.0309873]})
    require_means(draws.isel(plate=[0, -1]), {"p": [0.3258086, 0.5378791]})

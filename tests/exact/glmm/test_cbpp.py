"""Contagious bovine pleuropneumonia: the worked example of lme4, and every question to its fit."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import special, stats

import hiermodels as hm

FORMULA = "incidence | trials(size) ~ period + (1 | herd)"
PRIORS = {"tau": hm.HalfNormal(1)}


@pytest.fixture(scope="module")
def fit():
    return hm.fit(hm.datasets.load_cbpp(), FORMULA, priors=PRIORS, random_seed=1)


@pytest.fixture(scope="module")
def exact(fit):
    with pytest.warns(hm.PrecisionWarning):
        return fit.reference()


def test_draws_come_from_the_reference(fit, exact):
    """Means, and shares below quantiles, within 4.5 standard errors."""
    draws = fit.datatree["posterior"].to_dataset().stack(sample=["chain", "draw"])
    q = [0.05, 0.5, 0.95]
    ends = exact.quantile(q, ["mu", "tau", "beta"])
    for name in ("mu", "tau", "theta", "beta", "p"):
        values = draws[name].transpose(..., "sample").to_numpy().reshape(-1, 4000)
        mean, sd = (part[name].to_numpy().reshape(-1, 1) for part in (exact.mean, exact.sd))
        z = (values - mean).mean(axis=1) / (sd[:, 0] / np.sqrt(4000))
        assert np.abs(z).max() < 4.5, name
        for k, share in enumerate(q if name in ends else ()):
            below = (values < ends[name].isel(quantile=k).to_numpy().reshape(-1, 1)).mean(axis=1)
            z = (below - share) / np.sqrt(share * (1 - share) / 4000)
            assert np.abs(z).max() < 4.5, (name, share)


def test_it_says_how_exact_the_draws_are(fit):
    stats_of_draws = fit.datatree["posterior"].attrs
    assert 0.99 < stats_of_draws["largest_ratio"] <= 1
    assert "below a proven bound" in str(fit)
    assert "exact and independent" in str(fit)


def test_posterior_means(exact):
    """Figures of weighted draws by another program: tau 0.727, with sd 0.206."""
    assert exact.mean["tau"].item() == pytest.approx(0.7279, abs=2e-4)
    assert exact.sd["tau"].item() == pytest.approx(0.2073, abs=2e-4)


def test_lme4_s_maximum(fit):
    """``glmer(…, nAGQ = 9)`` of lme4's own example: sd 0.6475, and the coefficients."""
    estimates = fit.estimates(at="zero")
    assert estimates.sds["tau"] == pytest.approx(0.6475, abs=1e-4)
    found = estimates.coefficients["estimate"].tolist()
    assert found == pytest.approx([-1.3992, -0.9914, -1.1278, -1.5795], abs=1e-4)


def test_predictions(fit, exact):
    """Of a known herd and of a new one, against draws of the same."""
    new = pd.DataFrame({"herd": ["8", "new"], "period": ["2", "4"], "size": [20, 20]})
    predicted = fit.predict(new)
    draws = fit.datatree["posterior"].to_dataset().stack(sample=["chain", "draw"])
    rng = np.random.default_rng(1)
    beta = {p: draws["beta"].sel(coef=f"period[{p}]").to_numpy() for p in "234"}
    known = draws["theta"].sel(herd="8").to_numpy() + beta["2"]
    fresh = draws["mu"].to_numpy() + draws["tau"].to_numpy() * rng.normal(size=4000) + beta["4"]
    for row, eta in enumerate((known, fresh)):
        p = special.expit(eta)
        table = predicted.to_frame().iloc[row]
        error = p.std() / np.sqrt(4000)
        assert table["mean"] == pytest.approx(p.mean(), abs=4.5 * error)
        pmf = predicted.pmf(np.arange(21)[:, None])[:, row]
        expected = stats.binom.pmf(np.arange(21)[:, None], 20, p).mean(axis=1)
        np.testing.assert_allclose(pmf, expected, atol=0.012)
        assert pmf.sum() == pytest.approx(1, abs=1e-9)

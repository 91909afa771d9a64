"""One group, or one study: what the priors say of the sds, and the data of the rest."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import integrate, stats

import hiermodels as hm

MU, TAU = hm.Normal(0.5, 2.0), hm.HalfNormal(1.5)
ONE = pd.DataFrame({"study": ["A"], "y": [2.0], "se": [0.7]})


def integral(function):
    """``∫ function(τ) HalfNormal(τ) dτ``."""
    density = stats.halfnorm(scale=TAU.sd).pdf
    return integrate.quad(lambda t: function(t) * density(t), 0, 15, epsabs=0, epsrel=1e-12)[0]


def test_one_study_against_quadrature():
    """Given τ, y ~ N(0.5, s² + τ² + 2²), and all else is a regression on y."""
    y, s2, m, v = 2.0, 0.7**2, MU.mean, MU.sd**2

    def density(tau):
        return stats.norm.pdf(y, m, np.sqrt(s2 + tau**2 + v))

    def share(tau):
        return (tau**2 + v) / (s2 + tau**2 + v)

    evidence = integral(density)
    exact = hm.reference(ONE, priors={"mu": MU, "tau": TAU})
    found = {
        "mu": integral(lambda t: density(t) * (m + v / (s2 + t**2 + v) * (y - m))) / evidence,
        "tau": integral(lambda t: density(t) * t) / evidence,
        "theta": integral(lambda t: density(t) * (m + share(t) * (y - m))) / evidence,
    }
    for name, mean in found.items():
        assert float(exact.mean[name].squeeze()) == pytest.approx(mean, rel=1e-8)
    assert exact.log_marginal_likelihood == pytest.approx(np.log(evidence), abs=1e-8)
    second = integral(lambda t: density(t) * t**2) / evidence
    assert float(exact.sd["tau"]) == pytest.approx(np.sqrt(second - found["tau"] ** 2), rel=1e-8)


def test_a_flat_mean_is_enough():
    """Given τ the group's value is flat, so that one study says nothing of τ, and θ ~ N(y, s²)."""
    exact = hm.reference(ONE, priors={"tau": TAU})
    q = np.array([0.05, 0.5, 0.95])
    np.testing.assert_allclose(
        exact.quantile(q)["tau"], stats.halfnorm(scale=TAU.sd).ppf(q), rtol=1e-8
    )
    np.testing.assert_allclose(
        exact.quantile(q)["theta"].squeeze(), stats.norm(2.0, 0.7).ppf(q), rtol=1e-8
    )


def test_one_school_of_three_levels_leaves_kappa_as_it_was():
    rng = np.random.default_rng(3)
    data = pd.DataFrame({"school": "S", "room": np.repeat(list("abcd"), 3)})
    data["y"] = rng.normal(size=12) + rng.normal(size=4).repeat(3)
    priors = {"tau": hm.HalfNormal(1), "kappa": TAU}
    nested = hm.reference(data, "y ~ (1 | school/room)", priors=priors)
    flat = hm.reference(data, "y ~ (1 | room)", priors={"tau": hm.HalfNormal(1)})
    q = np.array([0.05, 0.5, 0.95])
    np.testing.assert_allclose(
        nested.quantile(q)["kappa"], stats.halfnorm(scale=TAU.sd).ppf(q), rtol=1e-7
    )
    for name in ("tau", "sigma", "theta"):
        np.testing.assert_allclose(nested.mean[name], flat.mean[name], rtol=1e-8)
    np.testing.assert_allclose(nested.mean["mu"].squeeze(), flat.mean["mu"], rtol=1e-8)


def test_flat_priors_of_the_sd_are_refused():
    for prior in (hm.FlatSD(), hm.FlatVariance()):
        with pytest.raises(hm.ImproperPosteriorError, match="column 'study' has one group only"):
            hm.reference(ONE, priors={"tau": prior, "mu": MU})


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_everything_is_done_with_one_study(tmp_path: Path):
    fit = hm.fit(ONE, priors={"mu": MU, "tau": TAU}, draws=50, random_seed=1)
    assert fit.check(random_seed=1).index.tolist() == ["study mean"]
    shares = fit.variance_components()
    assert shares.loc["share[study]", "mean"] + shares.loc["share[residual]", "mean"] == (
        pytest.approx(1)
    )
    assert fit.predict(ONE).to_frame()["kind"].tolist() == ["known study"]
    assert fit.rank().table["rank_mean"].tolist() == [1.0]
    assert set(fit.sensitivity({"other": {"tau": hm.HalfNormal(3)}}).references) == {"other"}
    fit.report(tmp_path / "one.html", sensitivity=False)
    again = hm.load(fit.to_netcdf(tmp_path / "one.nc"))
    assert again.datatree.identical(fit.datatree)

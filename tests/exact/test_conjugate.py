"""The conjugate model of one population against quadrature and SciPy's distributions."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import hiermodels as hm

PRIOR = hm.NormalInverseGamma(m=1.0, s=2.0, alpha=3.0, beta=4.0)


def frame(n=12, seed=0, shift=0.0):
    return pd.DataFrame({"y": shift + np.random.default_rng(seed).normal(2.0, 1.5, n)})


def reference(data, prior=PRIOR):
    return hm.reference(data, outcome="y", groups=[], priors={"theta": prior} if prior else None)


@pytest.fixture(scope="module")
def integrals():
    """Evidence and moments by the trapezoid rule for θ and x = log σ², as the model states them."""
    y = frame()["y"].to_numpy()
    theta, x = np.linspace(-12, 16, 3001)[:, None], np.linspace(-3, 7, 501)
    sigma2 = np.exp(x)
    density = sum(stats.norm.logpdf(value, theta, np.sqrt(sigma2)) for value in y)
    density += stats.norm.logpdf(theta, PRIOR.m, PRIOR.s * np.sqrt(sigma2))
    density += stats.invgamma.logpdf(sigma2, PRIOR.alpha, scale=PRIOR.beta) + x
    weight = np.exp(density)
    mass = weight.sum() * (theta[1, 0] - theta[0, 0]) * (x[1] - x[0])
    weight /= weight.sum()
    values = {"theta": theta, "theta²": theta**2, "sigma": np.sqrt(sigma2), "sigma²": sigma2}
    return mass, {name: float((weight * value).sum()) for name, value in values.items()}


def test_evidence_and_moments(integrals):
    mass, moments = integrals
    exact = reference(frame())
    assert exact.log_marginal_likelihood == pytest.approx(np.log(mass), abs=1e-8)
    for name in ("theta", "sigma"):
        mean = moments[name]
        sd = np.sqrt(moments[f"{name}²"] - mean**2)
        assert float(exact.mean[name]) == pytest.approx(mean, rel=1e-8)
        assert float(exact.sd[name]) == pytest.approx(sd, rel=1e-7)
    assert exact.certificate == 0


def test_marginals_are_student_and_inverse_gamma():
    """θ | y ~ t(2α*, mean, β*/(α* prec)), σ² | y ~ IG(α*, β*), with the textbook's updates."""
    y = frame()["y"].to_numpy()
    n, kappa = len(y), 1 / PRIOR.s**2
    mean = (n * y.mean() + PRIOR.m * kappa) / (n + kappa)
    alpha = PRIOR.alpha + n / 2
    squares = ((y - y.mean()) ** 2).sum() + n * (y.mean() - PRIOR.m) ** 2 / (1 + n * PRIOR.s**2)
    beta = PRIOR.beta + squares / 2
    exact = reference(frame())
    q = np.array([0.001, 0.05, 0.5, 0.95, 0.999])
    theta = stats.t(2 * alpha, mean, np.sqrt(beta / (alpha * (n + kappa))))
    sigma2 = stats.invgamma(alpha, scale=beta)
    quantiles = exact.quantile(q)
    np.testing.assert_allclose(quantiles["theta"], theta.ppf(q), rtol=1e-10)
    np.testing.assert_allclose(quantiles["sigma"], np.sqrt(sigma2.ppf(q)), rtol=1e-10)
    np.testing.assert_allclose(exact.cdf("theta", quantiles["theta"]), q, rtol=1e-10)
    np.testing.assert_allclose(exact.cdf("sigma", quantiles["sigma"]), q, rtol=1e-10)
    assert exact.cdf("sigma", [-1.0, 0.0]).tolist() == [0.0, 0.0]


def test_flat_prior_gives_the_classical_interval():
    """Flat θ and 1/σ²: θ ~ t(n − 1, ȳ, s²/n), the confidence interval of any textbook."""
    data = frame()
    y = data["y"].to_numpy()
    law = stats.t(len(y) - 1, y.mean(), y.std(ddof=1) / np.sqrt(len(y)))
    q = np.array([0.025, 0.5, 0.975])
    np.testing.assert_allclose(reference(data, None).quantile(q)["theta"], law.ppf(q), rtol=1e-10)


@pytest.mark.parametrize("shift", [1e6, 1e9])
def test_a_large_mean_costs_no_digits(shift):
    plain, moved = frame(), frame(shift=shift)
    survived = pd.DataFrame({"y": moved["y"] - shift})
    one, other = reference(survived, None), reference(moved, None)
    assert float(other.mean["sigma"]) == pytest.approx(float(one.mean["sigma"]), rel=1e-12)
    assert float(other.sd["theta"]) == pytest.approx(float(one.sd["theta"]), rel=1e-12)
    assert len(plain) == len(moved)


@pytest.mark.parametrize("prior", [PRIOR, None], ids=["conjugate", "flat"])
def test_draws(prior):
    priors = {"theta": prior} if prior else None
    fit = hm.fit(frame(), outcome="y", groups=[], priors=priors, draws=5000, random_seed=1)
    exact, draws = fit.reference(), fit.datatree["posterior"].to_dataset()
    assert list(draws.data_vars) == ["theta", "sigma"]
    for name in ("theta", "sigma"):
        pit = exact.cdf(name, draws[name].to_numpy().ravel())
        assert stats.kstest(pit, stats.uniform.cdf).pvalue > 1e-3
    # jointly: θ given σ is normal with sd σ/√κ*
    z = (draws["theta"] - exact.law.mean) * np.sqrt(exact.law.kappa) / draws["sigma"]
    assert stats.kstest(z.to_numpy().ravel(), stats.norm.cdf).pvalue > 1e-3
    assert hm.compare(fit, exact).passed


def test_moments_that_do_not_exist():
    """Flat priors and n rows: θ is Student's t with n − 1 degrees of freedom."""
    two, three = reference(frame(2), None), reference(frame(3), None)
    assert np.isnan(two.mean["theta"])
    assert np.isfinite(three.mean["theta"])
    assert np.isnan(three.sd["theta"])
    assert np.isfinite(reference(frame(4), None).sd["theta"])


def test_flat_priors_need_two_rows_that_differ():
    with pytest.raises(hm.ImproperPosteriorError, match="need two rows that differ"):
        reference(pd.DataFrame({"y": [3.0, 3.0, 3.0]}), None)


def test_flat_priors_have_no_marginal_likelihood():
    with pytest.raises(hm.ImproperPosteriorError, match="needs proper priors"):
        _ = reference(frame(), None).log_marginal_likelihood


def test_what_a_model_without_groups_does_not_take():
    with pytest.raises(hm.SpecError, match="a model without groups takes"):
        hm.fit(frame(), outcome="y", groups=[], priors={"theta": hm.Normal(0, 1)})
    with pytest.raises(hm.SpecError, match="needs groups"):
        hm.fit(frame(), outcome="y", groups=[]).plot_shrinkage()
    with pytest.raises(hm.SpecError, match="no draws of groups"):
        hm.fit(frame(), outcome="y", groups=[]).draws()


def test_priors_are_stated():
    fit = hm.fit(frame(), outcome="y", groups=[], priors={"theta": PRIOR}, draws=10)
    assert "theta ~ NormalInverseGamma(m=1, s=2, alpha=3, beta=4), with sigma²" in repr(fit)
    assert "closed form: theta ~ Student-t(18," in repr(fit.reference())

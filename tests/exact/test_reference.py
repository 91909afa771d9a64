"""The noise-free posterior: closed forms, brute force, equivariance, boundaries."""

from __future__ import annotations

import gc
import warnings
import weakref

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from scipy import integrate, stats

import hiermodels as hm
from hiermodels.exact import quadrature as integrated
from hiermodels.exact.noise_free import reference_posterior
from hiermodels.posterior.precision import reached


def frame(y, sigma):
    return pd.DataFrame({"group": [f"g{i}" for i in range(len(y))], "y": y, "sigma": sigma})


def reference(data, **priors):
    return hm.reference(data, outcome="y", groups="group", se="sigma", priors=priors)


def truncated(y, sigma):
    """Closed form for equal se and flat priors: V = σ² + τ² ~ IG((k−3)/2, S/2), V > σ²."""
    k, squares = len(y), ((y - y.mean()) ** 2).sum()
    law = stats.invgamma((k - 3) / 2, scale=squares / 2)
    return law, law.sf(sigma**2)


@pytest.mark.parametrize(("k", "sigma"), [(4, 1.0), (6, 0.3), (18, 0.8), (60, 1.3)])
def test_closed_form_for_equal_se(k, sigma):
    y = np.random.default_rng(k).normal(0, 1, k)
    law, mass = truncated(y, sigma)
    exact = reference(frame(y, sigma))
    tau = np.array([0.01, 0.1, 0.3, 0.7, 1.0, 2.0, 5.0])
    expected = 1 - law.sf(sigma**2 + tau**2) / mass
    np.testing.assert_allclose(exact.cdf("tau", tau), expected, rtol=0, atol=1e-9)
    q = np.array([0.01, 0.25, 0.5, 0.75, 0.99])
    quantiles = np.sqrt(law.isf(mass * (1 - q)) - sigma**2)
    np.testing.assert_allclose(exact.quantile(q, ["tau"])["tau"], quantiles, rtol=1e-8)
    if k > 5:  # E μ² needs E τ², which needs more than five groups
        second = integrate.quad(lambda v: v * law.pdf(v), sigma**2, np.inf, epsabs=0)[0] / mass
        assert float(exact.sd["mu"]) == pytest.approx(np.sqrt(second / k), rel=1e-8)
        assert float(exact.mean["mu"]) == pytest.approx(y.mean(), abs=1e-9)


PRIORS = {
    "half-normal": hm.HalfNormal(2.0),
    "half-Cauchy": hm.HalfCauchy(0.5),
    "flat sd": hm.FlatSD(),
}


@pytest.mark.parametrize("prior", PRIORS.values(), ids=PRIORS)
@pytest.mark.parametrize("mu", [hm.Flat(), hm.Normal(1.0, 2.0)], ids=["flat", "normal"])
def test_adaptive_quadrature_agrees(prior, mu):
    """Brute force over τ with SciPy's adaptive quadrature, μ by the textbook's formulas."""
    rng = np.random.default_rng(4)
    y, sigma = rng.normal(2, 1.5, 7), rng.uniform(0.5, 2, 7)
    exact = reference(frame(y, sigma), tau=prior, mu=mu)

    def parts(tau):
        variance = sigma**2 + tau**2
        mean, precision = mu.mean_and_precision()
        total = (1 / variance).sum() + precision
        centre = ((y / variance).sum() + mean * precision) / total
        log_density = stats.norm.logpdf(y, centre, np.sqrt(variance)).sum() - np.log(total) / 2
        if precision:
            log_density += stats.norm.logpdf(centre, mean, precision**-0.5)
        shrink = sigma**2 / variance
        theta = shrink * centre + (1 - shrink) * y
        return np.exp(log_density + prior.log_density(tau)), centre, theta

    def integral(f):
        pieces = [(0, 1), (1, 5), (5, 50), (50, np.inf)]
        return sum(integrate.quad(f, a, b, epsabs=0, epsrel=1e-11)[0] for a, b in pieces)

    mass = integral(lambda tau: parts(tau)[0])
    tau_mean = integral(lambda tau: tau * parts(tau)[0]) / mass
    mu_mean = integral(lambda tau: parts(tau)[1] * parts(tau)[0]) / mass
    theta_mean = integral(lambda tau: parts(tau)[2][3] * parts(tau)[0]) / mass
    assert float(exact.mean["tau"]) == pytest.approx(tau_mean, rel=1e-8)
    assert float(exact.mean["mu"]) == pytest.approx(mu_mean, rel=1e-8)
    assert float(exact.mean["theta"][3]) == pytest.approx(theta_mean, rel=1e-8)
    below = integrate.quad(lambda tau: parts(tau)[0], 0, 1.2, epsabs=0)[0] / mass
    assert float(exact.cdf("tau", 1.2)) == pytest.approx(below, abs=1e-9)


def test_log_marginal_likelihood_is_the_dense_integral():
    rng = np.random.default_rng(5)
    y, sigma = rng.normal(30, 4, 5), rng.uniform(2, 5, 5)
    prior = hm.HalfNormal(3.0)
    exact = reference(frame(y, sigma), tau=prior, mu=hm.Normal(20.0, 10.0))

    def density(tau):
        covariance = np.diag(sigma**2 + tau**2) + 100.0
        law = stats.multivariate_normal(np.full(5, 20.0), covariance)
        return law.pdf(y) * stats.halfnorm(scale=3).pdf(tau)

    expected = np.log(integrate.quad(density, 0, 60, epsabs=0, epsrel=1e-11)[0])
    assert exact.log_marginal_likelihood == pytest.approx(expected, abs=1e-9)


def test_log_marginal_likelihood_needs_proper_priors(schools):
    exact = hm.reference(schools, priors={"tau": hm.HalfNormal(5)})
    with pytest.raises(hm.ImproperPosteriorError, match=r"these are not: mu ~ Flat\(\)\. Give"):
        _ = exact.log_marginal_likelihood


def assert_equivariant(plain, changed, shift, scale, tolerance):
    """The posterior of ``shift + scale·y`` is the plain one, shifted and scaled."""
    for name in ("mu", "theta", "tau"):
        moved = 0.0 if name == "tau" else shift
        away = (changed.mean[name] - (moved + scale * plain.mean[name])) / (scale * plain.sd[name])
        assert float(np.abs(away).max()) < tolerance
        ratio = changed.sd[name] / (scale * plain.sd[name])
        assert float(np.abs(ratio - 1).max()) < tolerance


@pytest.mark.parametrize("scale", [1e-100, 1e-9, 3.7, 1e9, 1e100])
def test_scaling_y_and_se_scales_the_posterior(baseball, scale):
    plain = hm.reference(baseball)
    scaled = hm.reference(baseball.assign(y=baseball["y"] * scale, sigma=0.06 * scale))
    assert_equivariant(plain, scaled, 0.0, scale, 1e-9)


def test_scaling_se_alone_far_up_or_down_gives_the_two_limits(schools):
    """No pooling when se → 0; complete pooling, with y adding nothing, when se → ∞."""
    none = hm.reference(schools.assign(sigma=schools["sigma"] * 1e-100))
    np.testing.assert_allclose(none.mean["theta"], schools["y"], rtol=1e-12)
    vast = schools.assign(sigma=schools["sigma"] * 1e100)
    alone = hm.reference(vast.assign(y=0.0))
    pooled = hm.reference(vast)
    np.testing.assert_allclose(pooled.sd["tau"], alone.sd["tau"], rtol=1e-9)


@pytest.mark.parametrize(("name", "shift"), [("schools", 1e9), ("baseball", 1e9)])
def test_shifting_y_shifts_the_posterior(request, name, shift):
    """Exactly so for data that survive the shift: floating point rounds y + 1e9 to 1.2e-7."""
    data = request.getfixturevalue(name)
    shifted = data.assign(y=data["y"] + shift)
    survived = data.assign(y=shifted["y"] - shift)
    plain, changed = hm.reference(survived), hm.reference(shifted)
    # the mean itself is reported as a number near 1e9, whose last digit is 1.2e-7
    resolution = 2e-7 / float(plain.sd["theta"].min())
    assert_equivariant(plain, changed, shift, 1.0, max(1e-9, resolution))
    for values in ("tau", "mu", "theta"):
        np.testing.assert_allclose(changed.sd[values], plain.sd[values], rtol=1e-9)


def test_equal_group_means():
    """No spread at all between the groups: τ has its posterior at 0, every θ the same mean."""
    exact = reference(frame(np.full(8, 3.0), 1.0))
    np.testing.assert_allclose(exact.mean["theta"], 3.0, rtol=1e-12)
    # V ∝ V^{-7/2} on V > 1, so 1/V^{5/2} is uniform: τ = sqrt(u^{-2/5} − 1)
    q = np.array([0.05, 0.5, 0.95])
    np.testing.assert_allclose(
        exact.quantile(q, ["tau"])["tau"], np.sqrt((1 - q) ** -0.4 - 1), rtol=1e-8
    )


def test_spread_far_below_the_errors():
    y = np.linspace(-1e-6, 1e-6, 10)
    exact = reference(frame(y, 1.0))
    _law, mass = truncated(y, 1.0)
    assert mass < 1e-30  # the untruncated law would be useless here
    q = np.array([0.05, 0.5, 0.95])  # V ∝ V^{-9/2} on V > 1
    np.testing.assert_allclose(
        exact.quantile(q, ["tau"])["tau"], np.sqrt((1 - q) ** (-2 / 7) - 1), rtol=1e-7
    )
    assert all(np.isfinite(values).all() for values in exact.sd.values())


def test_many_groups_whose_spread_is_below_their_errors():
    """k = 100,000, s² 10 % below σ²: both incomplete gammas of the closed form underflow.

    There τ² is small against σ², and log p(V) = −(k−1)/2 (log V + r/V) with r = s²/σ² = 0.9 is
    linear in τ²/σ² to first order, with slope −(k−1)/2·(1 − r): τ²/σ² is nearly exponential.
    """
    k = 100_000
    y = stats.norm.ppf((np.arange(k) + 0.5) / k)
    y *= np.sqrt(0.9 / y.var(ddof=1))
    exact = reference(frame(y, 1.0))

    def density(t):  # of t = τ², up to a constant, exactly
        return np.exp(-(k - 1) / 2 * (np.log1p(t) + 0.9 / (1 + t) - 0.9))

    end = 0.02
    mass = integrate.quad(density, 0, end, epsabs=0, epsrel=1e-12, limit=500, points=[1e-3])[0]
    first = integrate.quad(
        lambda t: np.sqrt(t) * density(t), 0, end, epsabs=0, epsrel=1e-11, limit=500, points=[1e-3]
    )[0]
    assert float(exact.mean["tau"]) == pytest.approx(first / mass, rel=1e-8)
    assert first / mass == pytest.approx(np.sqrt(np.pi / 4 / 5000), rel=0.01)


def test_standard_errors_of_very_different_size():
    """One group known to 1e-8 among seven known to 1: it fixes μ up to τ."""
    y = np.array([0.0, 0.5, -0.3, 1.1, 0.2, -0.9, 0.4, 0.6])
    sigma = np.array([1e-8, 1, 1, 1, 1, 1, 1, 1.0])
    exact = reference(frame(y, sigma), tau=hm.FlatSD())
    assert float(exact.mean["theta"][0]) == pytest.approx(0.0, abs=1e-7)
    assert exact.certificate < 1e-7


def test_moments_that_do_not_exist_are_not_numbers():
    """Flat on τ² with k = 4: no E τ; with k = 5: E τ but no E τ²; quantiles always."""
    y = np.array([-2.0, 0.5, 1.0, 3.0])
    four = reference(frame(y, 1.0))
    assert np.isnan(four.mean["tau"])
    assert np.isnan(four.sd["tau"])
    assert np.isnan(four.mean["mu"])
    assert "does not exist" in four.mean["mu"].attrs["note"]
    assert np.isfinite(four.mean["theta"]).all()
    assert np.isfinite(four.sd["theta"]).all()
    assert np.isfinite(four.quantile([0.01, 0.99]).to_array()).all()
    five = reference(frame(np.append(y, 0.2), 1.0))
    assert np.isfinite(five.mean["tau"])
    assert np.isnan(five.sd["tau"])
    six = reference(frame(np.append(y, [0.2, 0.7]), 1.0))
    assert np.isfinite(six.sd["tau"])
    assert np.isfinite(six.sd["mu"])


def test_quantiles_are_computed_once_and_are_the_callers_own(schools, monkeypatch):
    exact = hm.reference(schools)
    first = exact.quantile([0.1, 0.9])
    expected = first.copy(deep=True)
    first["theta"].to_numpy()[:] = np.nan
    monkeypatch.setattr(type(exact), "_quantiles", pytest.fail)
    xr.testing.assert_identical(exact.quantile([0.1, 0.9]), expected)
    xr.testing.assert_identical(exact.quantile([0.1, 0.9], "tau"), expected[["tau"]])
    monkeypatch.undo()
    assert exact.quantile(0.2)["tau"].item() > expected["tau"][0].item()


def test_one_in_use_is_handed_out_to_all_who_ask_for_the_same(schools):
    fit = hm.fit(schools, draws=4, random_seed=1)
    first = fit.reference()
    assert reference_posterior(fit.spec, fit.data) is first
    assert reference_posterior(fit.spec, fit.data, 1e-6) is not first
    other = hm.fit(schools, draws=4, priors={"tau": hm.HalfNormal(9)}, random_seed=1)
    own = reference_posterior(other.spec, other.data)
    alone = hm.reference(schools, priors={"tau": hm.HalfNormal(9)})
    xr.testing.assert_identical(own.mean, alone.mean)
    place, known = weakref.ref(first), float(first.mean["tau"])
    del first, fit
    gc.collect()
    assert place() is None
    assert float(hm.reference(schools).mean["tau"]) == known


def test_quantiles_invert_the_distribution_function(schools):
    exact = hm.reference(schools)
    q = np.array([0.001, 0.05, 0.5, 0.95, 0.999])
    quantiles = exact.quantile(q)
    for name in ("mu", "tau", "theta"):
        found = exact.cdf(name, quantiles[name].to_numpy())
        np.testing.assert_allclose(found.T, np.broadcast_to(q, found.T.shape), atol=1e-9)


def test_the_distribution_function_begins_at_zero(schools):
    exact = hm.reference(schools)
    assert exact.cdf("tau", [-1.0, 0.0]).tolist() == [0.0, 0.0]


def test_splitting_a_row_into_two_leaves_the_posterior_alone(schools):
    """Two measurements with √2 times the se, and the same mean, say what one says."""
    whole = hm.reference(schools, outcome="y", groups="school", se="sigma")
    first = schools.iloc[[0, 0]].assign(y=[26.0, 30.0], sigma=15.0 * np.sqrt(2))
    split = hm.reference(
        pd.concat([first, schools.iloc[1:]], ignore_index=True),
        outcome="y",
        groups="school",
        se="sigma",
    )
    for name in ("mu", "tau", "theta"):
        np.testing.assert_allclose(split.mean[name], whole.mean[name], rtol=1e-9)
        np.testing.assert_allclose(split.sd[name], whole.sd[name], rtol=1e-9)


def test_order_of_rows_does_not_matter(schools):
    plain = hm.reference(schools)
    shuffled = hm.reference(schools.sample(frac=1, random_state=3))
    order = plain.mean["theta"]["school"]
    np.testing.assert_allclose(
        shuffled.mean["theta"].sel(school=order), plain.mean["theta"], rtol=1e-10
    )


def test_summary_has_intervals_and_no_monte_carlo_columns(schools):
    table = hm.reference(schools).summary(ci_prob=0.9)
    assert list(table.columns) == ["mean", "sd", "median", "eti90_lb", "eti90_ub"]
    assert list(table.index[:3]) == ["mu", "tau", "theta[A]"]
    assert float(hm.reference(schools).cdf("mu", table.loc["mu", "eti90_lb"])) == pytest.approx(
        0.05
    )


def test_unknown_variables_and_probabilities_are_refused(schools):
    exact = hm.reference(schools)
    with pytest.raises(hm.SpecError, match="no variable 'kappa'; this model has mu, tau, theta"):
        exact.quantile(0.5, ["kappa"])
    with pytest.raises(hm.SpecError, match="strictly between 0 and 1"):
        exact.quantile([0.5, 1.0])


@pytest.fixture
def coarse(monkeypatch):
    """Make every quadrature end with one lattice of a given spacing."""

    def set_spacing(spacing):
        monkeypatch.setattr(integrated, "SPACING", dict.fromkeys((1, 2, 3), spacing))
        monkeypatch.setattr(integrated, "MAX_LATTICES", 1)

    return set_spacing


@pytest.mark.parametrize(("spacing", "digits"), [(0.33, 4), (0.4, 3)])
def test_a_quadrature_that_misses_its_precision_says_so_and_shows_no_more_digits(
    schools, coarse, spacing, digits
):
    """Numbers of which two spacings disagreed in the first digit were shown without a word."""
    fit = hm.fit(schools, priors={"tau": hm.HalfNormal(10)}, random_seed=1)
    right = hm.reference(schools, priors={"tau": hm.HalfNormal(10)})
    coarse(spacing)
    with pytest.warns(
        hm.PrecisionWarning, match=f"reached {digits} digits.*more than 1e-08"
    ) as got:
        exact = fit.reference()
    assert got[0].filename == __file__
    assert 10.0**-digits >= exact.certificate > 10.0 ** -(digits + 1)
    away = np.abs((exact.mean - right.mean) / right.sd).to_array()
    assert float(away.max()) <= exact.certificate
    tables = [
        exact.summary(),
        fit.variance_components(),
        fit.estimates().table,
        fit.rank().table,
        fit.predict(random_seed=1),
    ]
    for table in tables:
        assert f"{digits} digits: off by" in repr(table)
    for table in tables[:3]:
        shown = [row.split() for row in repr(table).splitlines()[-len(table) :]]
        numbers = [cell for row in shown for cell in row[1:]]
        assert max(len(number.strip("-0.").replace(".", "")) for number in numbers) == digits


def test_a_quadrature_without_three_digits_shows_nothing(schools, coarse):
    coarse(4.0)
    with pytest.raises(hm.PrecisionError, match=r"differ by .* posterior sd, more than 0\.001"):
        hm.reference(schools)


def test_a_sum_that_is_no_number_is_no_precision():
    for error in (np.nan, np.inf, 1.0):
        with pytest.raises(hm.PrecisionError):
            reached(error)


def test_the_tolerance_can_be_chosen(schools):
    fit = hm.fit(schools, random_seed=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rough, fine = fit.reference(tol=1e-4), fit.reference(tol=1e-11)
    assert len(rough.lattice) <= len(fit.reference().lattice) <= len(fine.lattice)
    assert rough.certificate <= 1e-4
    assert fine.certificate <= 1e-11
    for wrong in (0, 1e-2, "a"):
        with pytest.raises(hm.SpecError, match="tol: expected"):
            hm.reference(schools, tol=wrong)

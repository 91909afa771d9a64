"""Data and priors of extreme size, held against thirty digits and against themselves."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from mpmath import mp, mpf
from scipy import stats

import hiermodels as hm
from tests.oracles.manydigits import Sharing

pytestmark = pytest.mark.filterwarnings("error", "ignore::hiermodels.PriorWarning")

CLOSE = 1e-8  # in posterior sds


def log_half_normal(sd):
    log_sd = mp.log(mpf(sd))
    return lambda t: mp.log(2 / mp.pi) / 2 + (t - log_sd) - mp.exp(2 * (t - log_sd)) / 2


def log_half_cauchy(scale):
    log_scale = mp.log(mpf(scale))
    return lambda t: mp.log(2 / mp.pi) + (t - log_scale) - mp.log1p(mp.exp(2 * (t - log_scale)))


def log_inverse_gamma(alpha, beta):
    alpha, beta = mpf(alpha), mpf(beta)
    constant = mp.log(2) + alpha * mp.log(beta) - mp.loggamma(alpha)
    return lambda t: constant - 2 * alpha * t - beta * mp.exp(-2 * t)


def rows(se, y):
    """A data frame of classes of groups with equal standard errors."""
    table = [(error, value) for error, values in zip(se, y, strict=True) for value in values]
    se, y = zip(*table, strict=True)
    return pd.DataFrame({"group": [f"g{i}" for i in range(len(y))], "y": y, "se": se})


def reference(data, tau, **priors):
    return hm.reference(data, outcome="y", groups="group", se="se", priors={"tau": tau, **priors})


def draws(data, tau):
    roles = {"outcome": "y", "groups": "group", "se": "se", "priors": {"tau": tau}}
    return hm.fit(data, **roles, random_seed=1, draws=4000).datatree["posterior"]


def assert_close(found, expected, digits=CLOSE):
    """Mean and sd agree, in posterior sds."""
    (mean, sd), (true_mean, true_sd) = found, expected
    assert abs(mean - true_mean) / true_sd < digits
    assert abs(sd / true_sd - 1) < digits


def assert_exact(exact, truth, y, digits=CLOSE):
    """Moments of τ, μ and the first value of each class, one quantile of τ, and log p(y)."""
    assert exact.certificate < digits
    moments = exact.mean, exact.sd
    for name in ("tau", "mu"):
        assert_close([float(of[name]) for of in moments], getattr(truth, name)(), digits)
    first = 0
    for number, values in enumerate(y):
        found = [float(of["theta"][first]) for of in moments]
        assert_close(found, truth.theta(number, values[0]), digits)
        first += len(values)
    assert exact.lattice.log_integral == pytest.approx(truth.log_evidence, rel=1e-10, abs=1e-8)
    tau = float(exact.quantile(0.3, "tau")["tau"][0])
    assert truth.tau_below(tau) == pytest.approx(0.3, abs=1e-8)


SE = (0.7, 1.9)
Y = ((0.3, -1.2, 2.2, 0.9), (4.1, -2.5, 1.0))
FAR = {
    "half-normal, 1e-12": (hm.HalfNormal(1e-12), log_half_normal(1e-12), (-60, -28, -24)),
    "half-normal, 1e12": (hm.HalfNormal(1e12), log_half_normal(1e12), (-36, 0, 1, 28, 31)),
    "half-Cauchy, 1e-6": (hm.HalfCauchy(1e-6), log_half_cauchy(1e-6), (-50, -14, 0, 1, 24)),
    "inverse gamma, 1e6": (
        hm.InverseGamma(1.0, 1e12),
        log_inverse_gamma(1.0, 1e12),
        (9, 13.8, 25),
    ),
    "narrow, 1e-6": (
        hm.InverseGamma(1e6, 1e-6),
        log_inverse_gamma(1e6, 1e-6),
        (-13.85, -13.81, -13.78),
    ),
}


@pytest.mark.parametrize(("prior", "log_prior", "ends"), FAR.values(), ids=FAR)
def test_priors_far_from_the_data(prior, log_prior, ends):
    exact = reference(rows(SE, Y), prior)
    digits = 1e-7 if "1e+06, beta=1e-06" in str(prior) else CLOSE  # exponents of 1e6 have less
    assert_exact(exact, Sharing(SE, Y, log_prior, ends), Y, digits)


TWO, FOUR = ((0.3,), (1.4,)), ((0.3, -0.8), (1.4, 2.2))
ENDS_FAR_AWAY = {
    "half-normal": (hm.HalfNormal(1e6), log_half_normal(1e6), TWO, (-40, 0, 12, 17)),
    "exponential": (
        hm.Exponential(1e6),
        lambda t: t - mp.log(10**6) - mp.exp(t) / 10**6,
        TWO,
        (-40, 0, 12, 19),
    ),
    "inverse gamma": (
        hm.InverseGamma(0.001, 1e-9),
        log_inverse_gamma(0.001, 1e-9),
        FOUR,
        (-13, -10, 0, 40),
    ),
}


@pytest.mark.parametrize(
    ("prior", "log_prior", "y", "ends"), ENDS_FAR_AWAY.values(), ids=ENDS_FAR_AWAY
)
def test_a_prior_that_ends_far_from_the_data_which_do_not_bound_tau(prior, log_prior, y, ends):
    """The density is almost straight from the data to the prior's end, and falls off there.

    In a coordinate that was compressed there the end was a cliff, which lattices missed.
    """
    assert_exact(reference(rows(SE, y), prior), Sharing(SE, y, log_prior, ends), y)


def test_two_modes_far_apart():
    """Four precise groups agree to 1e-6, three others are spread by 1e3: τ is one or the other."""
    se, y = (1e-6, 118.0), ((1e-6, -2e-6, 0.5e-6, 2e-6), (900.0, -1100.0, 400.0))
    truth = Sharing(se, y, log_half_cauchy(1e-4), (-50, -16, -13, -10, 4, 7, 45))
    exact = reference(rows(se, y), hm.HalfCauchy(1e-4))
    low = truth.tau_below(1.0)
    assert 0.1 < low < 0.9
    assert float(exact.cdf("tau", 1.0)) == pytest.approx(low, abs=1e-9)
    assert_exact(exact, truth, y)
    drawn = draws(rows(se, y), hm.HalfCauchy(1e-4))
    assert drawn.attrs["largest_ratio"] <= drawn.attrs["ratio_bound"]
    count = int((drawn["tau"] < 1.0).sum())
    assert stats.binomtest(count, drawn["tau"].size, low).pvalue > 1e-4


def test_a_mode_that_both_spacings_stepped_over():
    """Three groups known to 1e-60 and 3,000 known to 1: τ is near 1e-60 or near 0.7.

    Found from a coarse scan alone, the mode at 1e-60 was missed, and two spacings agreed on it.
    """
    spread = stats.norm.ppf((np.arange(3000) + 0.5) / 3000)
    se, y = (1e-60, 1.0), ((1e-60, -2e-60, 0.5e-60), tuple(1.23 * spread))
    truth = Sharing(se, y, lambda t: t, (-170, -138, -130, -3, -1, 0, 2))
    exact = reference(rows(se, y), hm.FlatSD())
    low = truth.tau_below(1e-10)
    assert 0.004 < low < 0.005
    assert float(exact.cdf("tau", 1e-10)) == pytest.approx(low, abs=1e-8)
    assert exact.lattice.log_integral == pytest.approx(truth.log_evidence, abs=1e-8)
    assert_close([float(exact.mean["tau"]), float(exact.sd["tau"])], truth.tau())


@pytest.mark.parametrize("ratio", [1e4, 1e8, 1e12])
def test_a_badly_known_value_keeps_its_spread_around_the_mean(ratio):
    """Its variance given τ and μ is ``(1 − B)·se²``, τ² nearly, where B is 1 to rounding."""
    se, y = (1.0, ratio), ((0.3, -1.2, 2.2, 0.9, 0.1), (0.7 * ratio, -0.2 * ratio))
    truth = Sharing(se, y, log_half_normal(2.0), (-40, -2, 0, 2, 4))
    exact = reference(rows(se, y), hm.HalfNormal(2.0))
    assert_exact(exact, truth, y)
    drawn = draws(rows(se, y), hm.HalfNormal(2.0))
    theta = drawn["theta"].to_numpy()[..., 5].ravel()
    mean, sd = truth.theta(1, y[1][0])
    assert abs(theta.mean() - mean) < 4 * sd / np.sqrt(theta.size)
    assert theta.std() == pytest.approx(sd, rel=0.05)


def test_precise_values_in_a_gap_between_others_keep_their_digits():
    """One of eight lies below them, seven above: the median is the precise values' neighbour."""
    se, y = (1e-6, 1e3), ((1e-6, -2e-6, 0.5e-6, 3e-6), (1e6, 2e6, 3e6, 4e6, 1.5e6))
    truth = Sharing(se, y, log_half_normal(1e6), (-20, 10, 12, 14, 17))
    assert_exact(reference(rows(se, y), hm.HalfNormal(1e6)), truth, y)


def test_a_prior_beyond_the_scan_is_found(schools):
    """Nothing of the density was left where the first look was taken: an IndexError."""
    scale = 1e40
    exact = hm.reference(schools, priors={"tau": hm.InverseGamma(2.0, scale**2)})
    # of y nothing is left: k − 1 contrasts with variance τ², ~ IG(2 + 7/2, scale²)
    law = stats.invgamma(2 + 7 / 2)
    q = np.array([0.1, 0.5, 0.9])
    np.testing.assert_allclose(
        exact.quantile(q, "tau")["tau"], scale * np.sqrt(law.ppf(q)), rtol=1e-9
    )


@pytest.mark.parametrize(
    "prior", [hm.HalfNormal(1e-139), hm.Uniform(1e-140), hm.InverseGamma(2.0, 1e290)], ids=str
)
def test_priors_beyond_all_range_are_refused(schools, prior):
    with pytest.raises(hm.SpecError, match=r"posterior of 'tau' cannot be integrated.*check their"):
        hm.reference(schools, priors={"tau": prior})


def statistics(counts, rng):
    """Statistics of groups with so many rows, of outcomes with an sd of 2 around 5."""
    size = len(counts)
    some = pd.DataFrame({"group": np.repeat(np.arange(size), 2), "y": rng.normal(size=2 * size)})
    return replace(
        hm.SufficientStatistics.of(some, outcome="y", groups="group"),
        count=counts,
        weight=counts.astype(float),
        mean=rng.normal(5, 1, (size, 1)),
        rest=np.zeros((size, 1)),
        scatter=np.array([[4.0 * (counts.sum() - size)]]),
    )


def test_groups_of_one_row_to_a_billion():
    counts = np.logspace(0, 9, 10).round().astype(np.int64)
    data = statistics(counts, np.random.default_rng(0))
    exact = hm.reference(data)
    assert exact.certificate < 1e-6
    n = counts.sum() - 10  # σ² | y ~ IG(n/2, 4n/2): the groups' means say nothing of it
    assert float(exact.mean["sigma"]) == pytest.approx(2.0, rel=1e-8)
    assert float(exact.sd["sigma"]) == pytest.approx(2 / np.sqrt(2 * n), rel=1e-4)
    [(mean, sd)] = exact.variance_moments(["sigma"])
    assert mean == pytest.approx(4.0, rel=1e-8)
    assert sd == pytest.approx(4 * np.sqrt(2 / n), rel=1e-4)


SCALES = [1e-100, 1e100]


@pytest.mark.parametrize("scale", SCALES)
def test_tables_of_outcomes_of_extreme_size(schools, scale):
    """Squares and fourth powers leave the range of floating-point numbers; tables do not."""
    plain, scaled = (
        hm.fit(
            schools.assign(y=schools["y"] * unit, sigma=schools["sigma"] * unit),
            outcome="y",
            groups="school",
            se="sigma",
            priors={"tau": hm.HalfCauchy(5 * unit)},
            random_seed=1,
            draws=200,
        )
        for unit in (1.0, scale)
    )
    for table in ("rank", "estimates", "predict", "sensitivity"):
        first, second = (repr(getattr(fit, table)()) for fit in (plain, scaled))
        assert second.lower().count("nan") == first.lower().count("nan")
        assert "inf" not in second.lower().replace("inferred", "")
    first, second = plain.summary(), scaled.summary()
    for column in first:
        unit = 1.0 if column.startswith(("ess", "r_hat")) else scale
        close = 1e-3 if column == "r_hat" else 1e-6  # ranks of ties depend on rounding
        np.testing.assert_allclose(second[column] / unit, first[column], rtol=close)
    first, second = plain.reference().summary(), scaled.reference().summary()
    np.testing.assert_allclose(second / scale, first, rtol=1e-9)
    first, second = plain.variance_components(), scaled.variance_components()
    for row in first.index:
        unit = scale**2 if row.endswith("²") else 1.0 if "[" in row else scale
        np.testing.assert_allclose(second.loc[row] / unit, first.loc[row], rtol=1e-7)


FORMULA = "score ~ ses + (1 | school/classroom)"


@pytest.fixture(scope="module")
def pupils():
    """Scores that are multiples of 1/64, so that they survive an offset of 1e12."""
    frame = hm.datasets.simulate_classrooms(beta=0.4, random_seed=3)
    return frame.assign(score=np.round(frame["score"] * 64) / 64)


@pytest.mark.parametrize("scale", [2.0**-498, 2.0**490])
def test_three_levels_of_any_size(pupils, scale):
    """1e-150 and 3e147, by powers of two, which cost no digits."""
    plain = hm.reference(pupils, FORMULA)
    scaled = hm.reference(pupils.assign(score=pupils["score"] * scale), FORMULA)
    for name in plain.spec.variables:
        gap = (scaled.mean[name] / scale - plain.mean[name]) / plain.sd[name]
        assert float(np.abs(gap).max()) < 1e-10
        assert float(np.abs(scaled.sd[name] / scale / plain.sd[name] - 1).max()) < 1e-10


def test_an_offset_of_a_million_millions_costs_no_digits(pupils):
    plain = hm.reference(pupils, FORMULA)
    moved = hm.reference(pupils.assign(score=pupils["score"] + 1e12), FORMULA)
    for name in plain.spec.variables:
        assert float(np.abs(moved.sd[name] / plain.sd[name] - 1).max()) < 1e-12
    for name in ("tau", "kappa", "sigma", "beta"):
        assert float(np.abs((moved.mean[name] - plain.mean[name]) / plain.sd[name]).max()) < 1e-12
    gap = moved.mean["theta"] - 1e12 - plain.mean["theta"]
    assert float(np.abs(gap).max()) <= np.spacing(1e12)


@pytest.mark.parametrize("k", [10, 5000])
def test_groups_that_are_all_alike(k):
    """Flat in τ², V = 1 + τ² has the density V^−a from 1 on, a = (k − 1)/2: moments are betas."""
    alike = pd.DataFrame({"g": np.arange(k), "y": 3.0, "se": 1.0})
    found = hm.reference(alike, outcome="y", groups="g", se="se")
    a = mpf(k - 1) / 2
    mean = (a - 1) * mp.beta(mpf(3) / 2, a - mpf(3) / 2)
    square = (a - 1) * mp.beta(2, a - 2)
    sd = mp.sqrt(square - mean**2)
    assert_close((found.mean["tau"].item(), found.sd["tau"].item()), (float(mean), float(sd)))
    np.testing.assert_allclose(found.mean["theta"], 3.0, rtol=1e-14)


def test_outcomes_with_heavy_ties():
    """Of 1,000 rows that are 0 or 1 only their number and sum matter in each group."""
    rng = np.random.default_rng(0)
    ties = pd.DataFrame({"g": np.repeat(np.arange(50), 20), "y": rng.integers(0, 2, 1000) * 1.0})
    p = ties.groupby("g")["y"].mean().to_numpy()
    other = np.sqrt(p * (1 - p))[:, None] * np.where(np.arange(20) % 2, 1, -1) + p[:, None]
    untied = ties.assign(y=other.ravel())  # the same means and sums of squares
    one, two = (hm.reference(frame, groups="g", outcome="y") for frame in (ties, untied))
    for name in one.spec.variables:
        gap = (one.mean[name] - two.mean[name]) / one.sd[name]
        assert float(np.abs(gap).max()) < 1e-10
        assert float(np.abs(one.sd[name] / two.sd[name] - 1).max()) < 1e-10

"""The lecture's sampler and the exact engine against closed forms, and against each other."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
from scipy import special, stats

import hiermodels as hm
from hiermodels.lecture import gamma_below_one

LEAST = 1e-4  # of a p-value; seeds are fixed
DRAWS = 100_000
PRIOR = {"m": 1500.0, "s": 0.5, "alpha": 3.0, "beta": 5000.0}
DYE = hm.datasets.load_dyestuff()

# Means of groups, and their standard error: from groups that differ by far more than their noise
# to groups that do not differ at all.
CASES = {
    "baseball": (hm.datasets.load_baseball()["y"].to_numpy(), 0.06),
    "wide": (np.array([-30.0, 2.0, 11.0, 60.0, 5.0]), 0.5),
    "four groups": (np.array([1.0, 2.0, 4.0, 3.0]), 1.0),
    "close": (np.random.default_rng(0).normal(100.0, 1.0, 60), 2.0),
    "closer": (np.random.default_rng(0).normal(0.0, 0.1, 200), 1.0),
    "equal": (np.full(9, 3.0), 2.0),
}


def shape_and_rate(y, error):
    """Of B = e/V, which is gamma distributed below 1, as V is inverse gamma above e."""
    return (len(y) - 3) / 2, ((y - y.mean()) ** 2).sum() / (2 * error**2)


def reference(y, error):
    frame = pd.DataFrame({"y": y, "g": [f"g{i}" for i in range(len(y))], "se": error})
    return hm.reference(frame, outcome="y", groups="g", se="se", priors="lecture")


def kolmogorov(values, law):
    return stats.kstest(values, law).pvalue


@pytest.mark.parametrize("case", ["baseball", "wide", "four groups", "close"])
def test_the_engine_has_the_truncated_inverse_gamma_s_quantiles(case):
    y, error = CASES[case]
    shape, rate = shape_and_rate(y, error)
    q = np.array([0.01, 0.1, 0.5, 0.9, 0.99])
    below = special.gammaincinv(shape, (1 - q) * special.gammainc(shape, rate)) / rate
    closed = error * np.sqrt((1 - below) / below)
    found = reference(y, error).quantile(q, ["tau"])["tau"].to_numpy()
    assert found == pytest.approx(closed, rel=1e-8)


def test_the_engine_has_the_conjugate_model_s_quantiles():
    y, m, s = DYE["yield_"].to_numpy(), PRIOR["m"], PRIOR["s"]
    n, kappa = len(y), len(y) + s**-2
    mean = (n * y.mean() + m / s**2) / kappa
    squares = ((y - y.mean()) ** 2).sum() + n * (y.mean() - m) ** 2 / (1 + n * s**2)
    shape, scale = PRIOR["alpha"] + n / 2, PRIOR["beta"] + squares / 2
    q = np.array([0.01, 0.5, 0.99])
    found = conjugate().quantile(q)
    theta = stats.t(2 * shape, mean, np.sqrt(scale / (shape * kappa))).ppf(q)
    sigma = np.sqrt(stats.invgamma.ppf(q, shape, scale=scale))
    assert found["theta"].to_numpy() == pytest.approx(theta, rel=1e-10)
    assert found["sigma"].to_numpy() == pytest.approx(sigma, rel=1e-10)


def conjugate():
    priors = {"theta": hm.NormalInverseGamma(**PRIOR)}
    return hm.reference(DYE, outcome="yield_", groups=[], priors=priors)


@pytest.mark.parametrize("case", CASES)
def test_draws_of_two_levels_follow_the_equations(case):
    """Each given what was drawn before it: normal when standardized, and independent."""
    y, error = CASES[case]
    tau2, mu, theta = hm.lecture.draw_two_levels(y, error, DRAWS, np.random.default_rng(1))
    shape, rate = shape_and_rate(y, error)
    B = error**2 / (error**2 + tau2)
    below = B**shape
    if rate:
        below = special.gammainc(shape, rate * B) / special.gammainc(shape, rate)
    centre = B[:, None] * mu[:, None] + (1 - B[:, None]) * y
    z = np.column_stack(
        [
            stats.norm.ppf(below),
            (mu - y.mean()) / np.sqrt((tau2 + error**2) / len(y)),
            (theta - centre)[:, :3] / (error * np.sqrt(1 - B[:, None])),
        ]
    )
    for column in z.T:
        assert kolmogorov(column, "norm") > LEAST
    correlations = np.corrcoef(np.column_stack([z[1:], z[:-1]]).T)
    assert np.abs(np.triu(correlations, 1)).max() < 5 / np.sqrt(DRAWS)


@pytest.mark.parametrize("case", ["baseball", "four groups", "close"])
def test_draws_of_two_levels_follow_the_engine_s_marginals(case):
    y, error = CASES[case]
    tau2, mu, theta = hm.lecture.draw_two_levels(y, error, 4000, np.random.default_rng(2))
    exact = reference(y, error)
    for name, drawn in {"tau": np.sqrt(tau2), "mu": mu}.items():
        assert kolmogorov(exact.cdf(name, drawn), "uniform") > LEAST
    for below in exact.cdf("theta", theta)[:, [0, 3]].T:
        assert kolmogorov(below, "uniform") > LEAST


def test_draws_of_one_population_follow_the_engine_s_marginals_and_the_equations():
    y, rng = DYE["yield_"], np.random.default_rng(1)
    sigma2, theta = hm.lecture.draw_one_population(y, **PRIOR, draws=DRAWS, rng=rng)
    exact = conjugate()
    for name, drawn in {"sigma": np.sqrt(sigma2), "theta": theta}.items():
        assert kolmogorov(exact.cdf(name, drawn), "uniform") > LEAST
    kappa = len(y) + PRIOR["s"] ** -2
    mean = (y.sum() + PRIOR["m"] / PRIOR["s"] ** 2) / kappa
    z = (theta - mean) / np.sqrt(sigma2 / kappa)
    assert kolmogorov(z, "norm") > LEAST
    assert abs(np.corrcoef(z, sigma2)[0, 1]) < 5 / np.sqrt(DRAWS)


def test_the_means_of_n_observations_have_the_variance_of_one_over_n():
    y, error = CASES["baseball"]
    one = hm.lecture.draw_two_levels(y, error, 10, np.random.default_rng(1))
    many = hm.lecture.draw_two_levels(list(y), 3 * error, 10, np.random.default_rng(1), n=9)
    for first, second in zip(one, many, strict=True):
        assert first == pytest.approx(second, rel=1e-12)
    assert [part.shape for part in one] == [(10,), (10,), (10, 18)]


@pytest.mark.parametrize("shape", [0.5, 1.0, 4.0, 30.0, 1e3, 1e6])
@pytest.mark.parametrize("ratio", [0, 0.3, 0.49, 0.51, 0.9, 0.98, 1.0, 1.1, 50.0, 1e100])
def test_more_than_one_in_ten_is_accepted(shape, ratio, monkeypatch):
    """Whatever the data are, the loop ends after a few turns."""
    turns = []
    concatenate = np.concatenate
    monkeypatch.setattr(np, "concatenate", lambda parts: turns.append(1) or concatenate(parts))
    drawn = gamma_below_one(shape, ratio * shape, 10_000, np.random.default_rng(1))
    assert len(drawn) == 10_000
    assert 0 < drawn.min() <= drawn.max() <= 1
    assert len(turns) <= 5


GIVEN = {"y": [1.0, 2.0, 4.0, 3.0], "sigma": 1.0, "draws": 5, "rng": np.random.default_rng(1)}


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        ({"y": [1.0, np.nan, 2.0, 3.0]}, hm.DataError, "y: expected a list of numbers"),
        ({"y": [[1.0, 2.0], [3.0, 4.0]]}, hm.DataError, "y: expected a list of numbers"),
        ({"y": ["a"]}, hm.DataError, r"found \['a'\]"),
        ({"y": [1, 2, 3]}, hm.ImproperPosteriorError, "at least 4 groups; found 3"),
        ({"sigma": 0}, hm.SpecError, "sigma: expected a positive number"),
        ({"sigma": [1.0, 2.0]}, hm.SpecError, "sigma: expected a number"),
        ({"n": -1}, hm.SpecError, "n: expected a positive number"),
        ({"draws": 2.0}, hm.SpecError, "draws: expected an integer from 1 to 25,000,000"),
        ({"draws": 10**9}, hm.SpecError, "found 1000000000"),
        ({"rng": 1}, hm.SpecError, r"rng: expected a generator, such as numpy.random.default_rng"),
    ],
)
def test_wrong_arguments_are_named(wrong, error, message):
    with pytest.raises(error, match=message):
        hm.lecture.draw_two_levels(**(GIVEN | wrong))


@pytest.mark.parametrize("name", ["s", "alpha", "beta"])
def test_parameters_of_the_conjugate_prior_are_positive(name):
    with pytest.raises(hm.SpecError, match=f"{name}: expected a positive number"):
        hm.lecture.draw_one_population([1.0], **(PRIOR | {name: -1}), draws=1, rng=GIVEN["rng"])


def test_numbers_of_single_precision_are_numbers():
    y = np.array([1.0, 2.0, 4.0, 3.0])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        single = hm.lecture.draw_two_levels(
            y.astype(np.float32), np.float32(1), 9, np.random.default_rng(1)
        )
    double = hm.lecture.draw_two_levels(y, 1.0, 9, np.random.default_rng(1))
    np.testing.assert_array_equal(single.theta, double.theta)

"""Predictions of counts and of other rows that are not normal: exact laws, draws, refusals."""

from __future__ import annotations

from functools import lru_cache, partial

import numpy as np
import pandas as pd
import pytest
from scipy import special, stats

import hiermodels as hm
from hiermodels.exact import leaf_outcomes
from tests.oracles.brute_counts import (
    BruteForce,
    StudentGiven,
    binomial,
    negative_binomial,
    poisson,
)

GROUPS = list("abcd")
PRIORS = {"mu": hm.Normal(0, 1), "tau": hm.HalfNormal(1)}
BINOMIAL = pd.DataFrame({"g": GROUPS, "y": [0, 3, 7, 2], "n": [5, 9, 20, 4]})
POISSON = pd.DataFrame({"g": GROUPS, "y": [0, 3, 9, 2], "e": [1.5, 2.0, 3.0, 0.5]})
STUDENT = pd.DataFrame({"g": GROUPS, "y": [0.3, -1.2, 2.5, 0.8], "sd": [0.5, 1.0, 0.7, 0.3]})
TABLES = pd.DataFrame(
    {
        "g": GROUPS,
        "y": [1, 3, 0, 2],
        "n": [20, 30, 15, 25],
        "m": [22, 28, 15, 20],
        "t": [3, 4, 2, 5],
    }
)


def tabled(eta, n, m, t):
    """Probabilities of all counts of a 2×2 table; (..., n + 1)."""
    count = np.arange(n + 1)
    weight = special.comb(n, count) * special.comb(m, t - count)
    p = weight * np.exp(count * np.asarray(eta)[..., None])
    return p / p.sum(axis=-1, keepdims=True)


# By family: data, what is said of them, and the law of an outcome, given its column.
CASES = {
    "binomial": (BINOMIAL, {"trials": "n"}, binomial),
    "poisson": (POISSON, {"exposure": "e"}, poisson),
    "negative binomial": (
        POISSON,
        {"exposure": "e", "family": hm.NegativeBinomial(size=2.5)},
        partial(negative_binomial, size=2.5),
    ),
    "student": (STUDENT, {"se": "sd", "family": hm.StudentT(nu=5)}, partial(StudentGiven, 5)),
}
NEW = {  # rows to predict: of a known group with columns unlike its own, and of a new one
    "binomial": pd.DataFrame({"g": ["b", "c", "new"], "n": [30, 3, 12]}),
    "poisson": pd.DataFrame({"g": ["b", "c", "new"], "e": [4.0, 0.3, 1.0]}),
    "negative binomial": pd.DataFrame({"g": ["b", "c", "new"], "e": [4.0, 0.3, 1.0]}),
    "student": pd.DataFrame({"g": ["b", "c", "new"], "sd": [0.2, 3.0, 1.0]}),
}
PLACES = [1, 2, None]
_FITS: dict[str, hm.Fit] = {}


def fitted(name, **more):
    data, said, _ = CASES[name]
    options = {"outcome": "y", "groups": "g", "priors": PRIORS, "random_seed": 1, "draws": 2500}
    if name not in _FITS or more:
        fit = hm.fit(data, **{**options, **said, **more})
        if more:
            return fit
        _FITS[name] = fit
    return _FITS[name]


@lru_cache(maxsize=1)  # its arrays are large: tests of one family follow one another
def brute(name):
    data, _, law = CASES[name]
    y, given = data["y"].to_numpy(), [law(column) for column in data.iloc[:, 2]]
    step = 0.06 if name == "student" else 0.1
    return BruteForce(lambda i, eta: given[i].density(y[i], eta), len(y), step=step)


COUNTS = [name for name in CASES if name != "student"]


@pytest.fixture(params=CASES, scope="module")
def name(request):
    return request.param


def spread(exact, moments, group):
    """Mean and sd of what has moments given the effect."""
    centre = exact.mean(lambda eta: moments(eta)[0], group)

    def away(eta):
        mean, variance = moments(eta)
        return variance + (mean - centre) ** 2

    return centre, np.sqrt(exact.mean(away, group))


def rows_of(name):
    """Rows to predict: number, group, and the law of the outcome given η."""
    for row, (group, column) in enumerate(zip(PLACES, NEW[name].iloc[:, 1], strict=True)):
        yield row, group, CASES[name][2](column)


def test_means_and_sds_by_brute_force(name):
    found, exact = fitted(name).predict(NEW[name]), brute(name)
    family = fitted(name).spec.family
    effect = family.inverse_link if family.effect else (lambda eta: eta)
    for row, group, given in rows_of(name):
        if group is None and family.effect == "rate":
            continue
        shown = spread(exact, lambda eta: (effect(eta), 0.0), group)
        outcome = spread(exact, given.moments, group)
        for variable, (mean, sd) in zip(found.names, (shown, outcome), strict=True):
            assert float(found.mean[variable][row]) == pytest.approx(mean, abs=1e-8 * sd)
            assert float(found.sd[variable][row]) == pytest.approx(sd, rel=1e-8)


def test_distribution_functions_by_brute_force(name):
    exact, values = brute(name), np.array([0.0, 2.5])
    found = fitted(name).predict(NEW[name]).cdf("y", values[:, None])
    for row, group, given in rows_of(name):
        for value, below in zip(values, found[:, row], strict=True):
            assert below == pytest.approx(exact.mean(partial(given.cdf, value), group), abs=3e-8)


@pytest.mark.parametrize("name", COUNTS)
def test_probabilities_are_ratios_of_marginal_likelihoods(name):
    """``p(y_new | y) = p(y, y_new)/p(y)``, of a row in a known group and in a new one."""
    data, said, _ = CASES[name]
    options = {"outcome": "y", "groups": "g", "priors": PRIORS, **said}
    counts, once = np.array([0, 2]), hm.reference(data, **options)
    found = fitted(name).predict(NEW[name]).pmf(counts[:, None])
    for row in range(3):
        for count, p in zip(counts, found[:, row], strict=True):
            more = NEW[name].iloc[[row]].assign(y=count)
            both = hm.reference(pd.concat([data, more], ignore_index=True), **options)
            ratio = np.exp(both.log_marginal_likelihood - once.log_marginal_likelihood)
            assert p == pytest.approx(ratio, rel=1e-9)


@pytest.mark.parametrize("name", COUNTS)
def test_probabilities_add_up_to_one_and_to_the_moments(name):
    found = fitted(name).predict(NEW[name][:2])
    counts = np.arange({"binomial": 31, "poisson": 300}.get(name, 60))[:, None]
    p = found.pmf(counts)
    np.testing.assert_allclose(found.cdf("y", counts[:40]), p.cumsum(axis=0)[:40], atol=1e-8)
    if name == "negative binomial":
        return
    np.testing.assert_allclose(p.sum(axis=0), 1.0, rtol=1e-12)
    mean = (counts * p).sum(axis=0)
    np.testing.assert_allclose(found.mean["y"], mean, rtol=1e-9)
    sd = np.sqrt(((counts - mean) ** 2 * p).sum(axis=0))
    np.testing.assert_allclose(found.sd["y"], sd, rtol=1e-8)
    assert found.pmf([-1]).tolist() == [0, 0]
    assert found.pmf([0.5]).tolist() == [0, 0]
    for level in (0.01, 0.5, 0.99):
        quantile = found.quantile(level)["y"].to_numpy()[0]
        assert (quantile == np.argmax(p.cumsum(axis=0) >= level, axis=0)).all()


def test_surgical_probabilities_sum_to_one():
    said = {"outcome": "deaths", "trials": "cases", "groups": "hospital"}
    fit = hm.fit(hm.datasets.load_surgical(), **said, priors={"tau": hm.HalfNormal(1)}, draws=10)
    new = pd.DataFrame({"hospital": ["A", "D", "H", "none"], "cases": [47, 100, 30, 60]})
    p = fit.predict(new).pmf(np.arange(101)[:, None])
    np.testing.assert_allclose(p.sum(axis=0), 1.0, atol=1e-12)


@pytest.mark.parametrize("name", COUNTS)
def test_many_counts_are_integrals_with_the_same_law(name, monkeypatch):
    found = fitted(name).predict(NEW[name])
    values = np.array([0.0, 1, 4, 20])[:, None]
    summed = found.cdf("y", values), found.quantile([0.1, 0.7])["y"].to_numpy()
    monkeypatch.setattr(leaf_outcomes, "LIMIT", 0)
    np.testing.assert_allclose(found.cdf("y", values), summed[0], atol=1e-9)
    np.testing.assert_array_equal(found.quantile([0.1, 0.7])["y"], summed[1])


def test_quantiles_of_counts_in_the_millions():
    found = fitted("poisson").predict(pd.DataFrame({"g": ["b", "new"], "e": [2e7, 1e6]}))
    for level in (0.9,):
        quantile = found.quantile(level)["y"].to_numpy()[0]
        assert (found.cdf("y", quantile) >= level).all()
        assert (found.cdf("y", quantile - 1) < level).all()


def test_quantiles_of_effects_and_of_real_outcomes(name):
    found = fitted(name).predict(NEW[name])
    for variable in found.names[: 1 if name in COUNTS else 2]:
        places = found.quantile([0.05, 0.5, 0.9])[variable].to_numpy()
        below = found.cdf(variable, places)
        np.testing.assert_allclose(
            below, np.broadcast_to([[0.05], [0.5], [0.9]], (3, 3)), atol=1e-8
        )


def test_draws_are_joint_and_have_the_exact_means(name):
    found = fitted(name).predict(NEW[name], random_seed=3)
    drawn = found.datatree["predictions"].to_dataset()
    for variable in found.names:
        draws = drawn[variable].stack(sample=("chain", "draw"))
        middle = found.quantile([0.2, 0.8])[variable]
        for level, place in zip((0.2, 0.8), middle.to_numpy(), strict=True):
            below = found.cdf(variable, place)
            share = (draws <= place[:, None]).mean("sample")
            assert (np.abs(share - below) < 4.5 * np.sqrt(below * (1 - below) / 10_000)).all()
            assert (below > level - 1e-8).all()


@pytest.mark.parametrize("scale", [0.3, 0.85])
def test_the_mean_of_a_new_rate_where_it_exists(scale):
    """``E e^(μ + τ²/2)``, of which a wide τ has much."""
    priors = {"mu": hm.Normal(0, 1), "tau": hm.HalfNormal(scale)}
    found = fitted("poisson", priors=priors).predict(pd.DataFrame({"g": ["x"], "e": [2.0]}))
    y, e = POISSON["y"].to_numpy(), POISSON["e"].to_numpy()
    z = np.arange(-9, 9.001, 0.1)
    places = np.linspace(-9, 9, 101), np.exp(np.linspace(-25, 2.8, 141))
    mu, tau = np.meshgrid(*places, indexing="ij")
    theta = mu[..., None] + tau[..., None] * z
    share = np.exp(-0.5 * z**2) / np.exp(-0.5 * z**2).sum()
    weight = stats.norm.pdf(mu) * stats.halfnorm(scale=scale).pdf(tau) * tau
    for count, exposure in zip(y, e, strict=True):
        weight = weight * (poisson(exposure).density(count, theta) @ share)
    rate = (weight * np.exp(mu + tau**2 / 2)).sum() / weight.sum()
    assert float(found.mean["rate"][0]) == pytest.approx(rate, rel=1e-7)
    assert float(found.mean["y"][0]) == pytest.approx(2 * rate, rel=1e-7)
    if scale < 0.5:
        square = (weight * np.exp(2 * mu + 2 * tau**2)).sum() / weight.sum()
        assert float(found.sd["rate"][0]) == pytest.approx(np.sqrt(square - rate**2), rel=1e-7)
        variance = 4 * (square - rate**2) + 2 * rate
        assert float(found.sd["y"][0]) == pytest.approx(np.sqrt(variance), rel=1e-7)
    else:
        assert np.isnan(found.sd["rate"][0])


def test_a_new_rate_without_a_mean_says_why():
    found = fitted("poisson").predict(NEW["poisson"])
    assert np.isnan(found.mean["rate"][2])
    assert np.isnan(found.mean["y"][2])
    assert np.isfinite(found.mean["rate"][:2]).all()
    table = found.to_frame()
    assert "HalfNormal(sd=1) on tau falls too slowly" in table.attrs["notes"][0]
    assert table["median"].notna().all()
    assert "y_mean" in table


def test_columns_that_outcomes_need():
    fit = fitted("binomial")
    with pytest.raises(
        hm.DataError, match=r"no column 'n'.*the trials of each row.*outcomes=False"
    ):
        fit.predict(pd.DataFrame({"g": ["a"]}))
    assert fit.predict(pd.DataFrame({"g": ["a"]}), outcomes=False).names == ("p",)
    with pytest.raises(hm.DataError, match=r"column 'n'.*whole number.*found -1"):
        fit.predict(pd.DataFrame({"g": ["a"], "n": [-1]}))
    with pytest.raises(hm.SpecError, match="no variable 'y'"):
        fit.predict(NEW["binomial"], outcomes=False).pmf([0])
    with pytest.raises(hm.SpecError, match="only counts have probabilities"):
        fitted("student").predict(NEW["student"]).pmf([0])
    with pytest.raises(hm.SpecError, match=r"add an axis"):
        fit.predict(NEW["binomial"]).pmf([0, 1, 2, 3])


def test_rows_that_nobody_gave_have_the_median_of_their_group():
    data = pd.DataFrame({"g": list("aaabbc"), "y": [1, 2, 3, 4, 5, 6], "n": [10, 30, 20, 8, 6, 40]})
    options = {"outcome": "y", "trials": "n", "groups": "g", "priors": PRIORS, "draws": 10}
    found = hm.fit(data, **options).predict()
    assert found.rows.columns["trials"].tolist() == [20, 6, 40, 10]
    assert "n: of the known group's row with the median n" in repr(found)
    assert found.datatree["predictions_constant_data"]["n"].to_numpy().tolist() == [20, 6, 40, 10]
    statistics = hm.SufficientStatistics.of(data, outcome="y", trials="n", groups="g")
    from_totals = hm.fit(statistics, priors=PRIORS, draws=10)
    new = pd.DataFrame({"g": ["a", "z"], "n": [5, 5]})
    p = found.posterior and hm.fit(data, **options).predict(new).pmf([1])
    np.testing.assert_allclose(from_totals.predict(new).pmf([1]), p, rtol=1e-10)
    with pytest.raises(hm.SpecError, match="rows"):
        from_totals.predict()


def test_offsets_move_what_is_predicted():
    data = POISSON.assign(o=np.log(POISSON["e"]))
    options = {"outcome": "y", "groups": "g", "priors": PRIORS, "draws": 10}
    by_offset = hm.fit(data, offset="o", family="poisson", **options)
    new = pd.DataFrame({"g": ["b", "new"], "e": [4.0, 0.3], "o": np.log([4.0, 0.3])})
    one, other = by_offset.predict(new), fitted("poisson").predict(new)
    np.testing.assert_allclose(one.pmf([2]), other.pmf([2]), rtol=1e-9)
    np.testing.assert_allclose(one.mean["rate"][0], 4 * other.mean["rate"][0], rtol=1e-9)
    np.testing.assert_allclose(
        one.quantile(0.3)["rate"], [[4.0, 0.3]] * other.quantile(0.3)["rate"], rtol=1e-7
    )
    with pytest.raises(hm.DataError, match="no column 'o'"):
        by_offset.predict(new.drop(columns="o"), outcomes=False)


def test_rows_at_other_covariates_than_their_group():
    """Draws are θ + x'β; what is summed over the lattice agrees with them."""
    data = pd.DataFrame(
        {"g": list("abcdef"), "y": [1, 4, 2, 7, 3, 9], "n": [9, 12, 10, 15, 8, 14], "x": range(6)}
    )
    priors = {"mu": hm.Normal(0, 2), "beta": hm.Normal(0, 1), "tau": hm.HalfNormal(1)}
    fit = hm.fit(data, "y | trials(n) ~ x + (1 | g)", priors=priors, random_seed=1, draws=5000)
    new = pd.DataFrame({"g": ["a", "a", "c", "z"], "n": [20, 20, 5, 10], "x": [0.0, 4.0, 1.0, 2.0]})
    found = fit.predict(new, random_seed=2)
    p = found.pmf(np.arange(21)[:, None])
    np.testing.assert_allclose(p.sum(axis=0), 1.0, atol=1e-9)
    drawn = found.datatree["predictions"].to_dataset()
    for name in found.names:
        draws = drawn[name].stack(sample=("chain", "draw")).to_numpy()
        error = draws.std(axis=1) / np.sqrt(draws.shape[1])
        assert (np.abs(draws.mean(axis=1) - found.mean[name]) < 4.5 * error).all()
        np.testing.assert_allclose(draws.std(axis=1), found.sd[name], rtol=0.03)
        places = found.quantile([0.3, 0.8])[name].to_numpy()
        below = found.cdf(name, places)
        share = (draws <= places[..., None]).mean(axis=-1)
        assert (np.abs(share - below) < 4.5 * np.sqrt(below * (1 - below) / 20_000)).all()
    np.testing.assert_allclose(found.cdf("y", [3]), p[:4].sum(axis=0), atol=1e-8)

"""Replicates of slopes and of three grouping columns, and densities of whole groups."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from scipy import stats
from scipy.special import gammaln

import hiermodels as hm
from hiermodels.exact.slope_replicates import Lines, effects_anew
from tests.exact.test_block_left_out import PRIORS, SLOPES, few_subjects, four_levels

PRIORS_OF_SLOPES = {**PRIORS, "rho": hm.LKJ(2)}


@pytest.fixture(scope="module")
def slopes():
    return hm.fit(few_subjects(), SLOPES, priors=PRIORS_OF_SLOPES, random_seed=1)


def test_a_check_of_slopes_has_them_among_its_statistics(slopes):
    table = slopes.check(random_seed=1)
    assert table.index.tolist() == [
        "largest Subject mean",
        "smallest Subject mean",
        "sd of Subject means",
        "largest Subject Days slope",
        "smallest Subject Days slope",
        "sd of Subject Days slopes",
        "sd of rows around lines of Subject",
    ]
    frame = few_subjects()
    lines = [np.polyfit(g["Days"], g["Reaction"], 1) for _, g in frame.groupby("Subject")]
    slope = np.array(lines)[:, 0]
    assert table.loc["largest Subject Days slope", "observed"] == pytest.approx(slope.max())
    assert table.loc["sd of Subject Days slopes", "observed"] == pytest.approx(slope.std(ddof=1))
    left = [
        g["Reaction"] - np.polyval(line, g["Days"])
        for line, (_, g) in zip(lines, frame.groupby("Subject"), strict=True)
    ]
    expected = np.sqrt((np.concatenate(left) ** 2).sum() / (len(frame) - 2 * len(lines)))
    observed = table.loc["sd of rows around lines of Subject", "observed"]
    assert observed == pytest.approx(expected)
    assert table["p"].between(0.02, 0.98).all()


def unbiased(n):
    """c₄: the mean of the sd of n standard normal numbers."""
    return float(np.sqrt(2 / (n - 1)) * np.exp(gammaln(n / 2) - gammaln((n - 1) / 2)))


def test_replicated_slopes_have_the_moments_that_the_model_says():
    """The slope of a new group: mean β, variance τ² plus that of least squares."""
    many = hm.fit(few_subjects(), SLOPES, priors=PRIORS_OF_SLOPES, draws=10_000, random_seed=2)
    table = many.check(random_seed=3)
    draws = many.datatree["posterior"].to_dataset()
    days = np.array([0, 2, 4, 6, 8])
    error = draws["sigma"] ** 2 / ((days - days.mean()) ** 2).sum()
    sd = np.sqrt(draws["tau"].sel(effect="Days") ** 2 + error)
    found = table.loc["sd of Subject Days slopes"]
    error = 4.5 * found["sd"] / 200  # 40,000 draws
    assert found["mean"] == pytest.approx(float(sd.mean()) * unbiased(8), abs=error)
    found = table.loc["sd of rows around lines of Subject"]
    expected = float(draws["sigma"].mean()) * unbiased(40 - 16 + 1)
    assert found["mean"] == pytest.approx(expected, abs=4.5 * found["sd"] / 200)


def test_effects_drawn_anew_have_the_covariance_that_they_should():
    fit = hm.fit(few_subjects(), SLOPES, priors=PRIORS_OF_SLOPES, draws=10, random_seed=1)
    n = 50_000
    given = {"mu": np.full(n, 2.0), "beta": np.full((n, 1), -1.0), "rho": np.full(n, -0.6)}
    given["tau"] = np.tile([3.0, 0.5], (n, 1))
    rng = np.random.default_rng(1)
    theta = effects_anew(fit.spec, fit.data, given, 0, rng)["theta"]
    assert theta.shape == (n, 8, 2)
    flat = theta.reshape(-1, 2)
    np.testing.assert_allclose(flat.mean(axis=0), [2, -1], atol=0.02)
    covariance = [[9, -0.9], [-0.9, 0.25]]
    np.testing.assert_allclose(np.cov(flat.T), covariance, rtol=0.02)
    np.testing.assert_allclose(np.cov(theta[:, 0, 0], theta[:, 1, 0])[0, 1], 0, atol=0.2)


def test_groups_whose_rows_do_not_determine_a_slope_have_none():
    z = np.column_stack([np.ones(7), [0, 1, 2, 5, 5, 5, 3]])
    lines = Lines(z, np.ones(7), np.array([0, 0, 0, 1, 1, 1, 2]))
    y = np.array([[1.0, 3, 5, 2, 4, 6, 9]])
    coefficients, known = lines.coefficients(y)
    assert known.tolist() == [[True, True], [False, False], [False, False]]
    np.testing.assert_allclose(coefficients[0, 0], [1, 2])
    assert lines.df == 7 - 4
    np.testing.assert_allclose(lines.squares(y).sum(axis=-1), 8)


@pytest.mark.parametrize("replicate", ["groups", "rows", "Subject"])
def test_pictures_of_replicates(slopes, replicate):
    for kind in ("stat", "group", "dist"):
        assert slopes.plot_ppc(kind=kind, replicate=replicate) is not None


def test_replicates_of_three_grouping_columns():
    """A new group at every level: its mean has the sum of all variances."""
    frame, priors = four_levels(), {f"tau_{name}": hm.HalfNormal(1) for name in "abc"}
    roles = {"se": "se", "priors": priors, "random_seed": 1}
    fit = hm.fit(frame, "y ~ 1 + (1 | a/b/c)", **roles, draws=5000)
    table = fit.check(random_seed=2)
    draws = fit.datatree["posterior"].to_dataset()
    weight = frame.assign(w=frame["se"] ** -2.0).groupby("c", sort=False)["w"].sum()
    within = draws["tau_c"] ** 2 + 1 / xr.DataArray(weight.to_numpy(), dims="c")
    expected = np.sqrt(within.mean("c"))  # two c in each b, of unequal errors
    found = table.loc["sd of c means within b"]
    assert float(found["mean"]) < float(expected.mean())
    assert float(found["mean"]) > 0.97 * float(expected.mean()) * unbiased(11)
    for replicate in ("a", "b", "c", "rows"):
        assert len(fit.check(replicate=replicate, random_seed=1)) == len(table)


def dense(frame, outcome, mean, parts, noise, groups):
    """``log N(y; mean, Σ Z T Z' + noise)`` of the rows of each group."""
    total = np.diag(noise)
    for labels, z, covariance in parts:
        same = labels.to_numpy()[:, None] == labels.to_numpy()[None]
        total = total + same * (z @ covariance @ z.T)
    found = []
    for label in dict.fromkeys(groups):
        own = np.flatnonzero(groups == label)
        law = stats.multivariate_normal(mean[own], total[np.ix_(own, own)])
        found.append(law.logpdf(frame[outcome].to_numpy()[own]))
    return found


def test_densities_of_groups_with_slopes_are_the_dense_ones():
    frame = few_subjects()
    roles = {"priors": PRIORS_OF_SLOPES, "draws": 3, "chains": 2, "random_seed": 1}
    fit = hm.fit(frame, SLOPES, **roles, log_likelihood="marginal")
    found = fit.datatree["log_likelihood"]["Reaction"]
    assert found.dims == ("chain", "draw", "Subject")
    z = np.column_stack([np.ones(len(frame)), frame["Days"]])
    draws = fit.datatree["posterior"].to_dataset()
    for chain, draw in ((0, 0), (1, 2)):
        at = draws.isel(chain=chain, draw=draw)
        tau, rho = at["tau"].to_numpy(), float(at["rho"])
        covariance = np.outer(tau, tau) * [[1, rho], [rho, 1]]
        noise = np.full(len(frame), float(at["sigma"]) ** 2)
        mean = z @ [float(at["mu"]), float(at["beta"][0])]
        part = (frame["Subject"], z, covariance)
        expected = dense(frame, "Reaction", mean, [part], noise, frame["Subject"])
        np.testing.assert_allclose(found[chain, draw], expected, rtol=0, atol=1e-8)


def test_densities_of_outer_groups_of_two_levels_with_slopes_are_the_dense_ones():
    """Slopes at the outer level, another covariate, known standard errors."""
    frame = four_levels()
    frame["w"] = np.linspace(-1, 1, len(frame)) ** 2
    priors = {"tau_a[x]": hm.HalfNormal(1), "rho_a": hm.LKJ(1)}
    priors |= {name: hm.HalfNormal(1) for name in ("tau_a", "tau_b")}
    roles = {"se": "se", "priors": priors, "draws": 2, "chains": 1, "random_seed": 1}
    fit = hm.fit(frame, "y ~ x + w + (1 + x | a) + (1 | a:b)", **roles, log_likelihood="marginal")
    at = fit.datatree["posterior"].to_dataset().isel(chain=0, draw=1)
    z = np.column_stack([np.ones(len(frame)), frame["x"]])
    tau, rho = at["tau_a"].to_numpy(), float(at["rho_a"])
    outer = np.outer(tau, tau) * [[1, rho], [rho, 1]]
    inner = (frame["b"], z[:, :1], np.array([[float(at["tau_b"]) ** 2]]))
    mean = float(at["mu"]) + frame[["x", "w"]].to_numpy() @ at["beta"].to_numpy()
    expected = dense(
        frame, "y", mean, [(frame["a"], z, outer), inner], frame["se"] ** 2, frame["a"]
    )
    found = fit.datatree["log_likelihood"]["y"][0, 1]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9)

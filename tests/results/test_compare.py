"""The comparison passes right draws and catches wrong ones."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from scipy import integrate, stats
from scipy.stats import kstest, norm

import hiermodels as hm
from hiermodels.numerics.monte_carlo_error import batch_means, combine, excess
from hiermodels.results.comparison import Comparison
from tests.statistical.samplers import autoregressive


@pytest.fixture(scope="module")
def fit(schools):
    return hm.fit(schools, priors={"tau": hm.HalfCauchy(5)}, random_seed=1)


def changed(fit, **variables):
    draws = fit.datatree["posterior"].to_dataset().assign(variables)
    return xr.DataTree.from_dict({"posterior": draws})


def test_right_draws_pass(fit):
    comparison = hm.compare(fit, fit)
    assert comparison.passed
    assert comparison.verdict.startswith("The draws agree with the exact posterior")


def test_the_table_has_every_scalar_and_statistic(fit):
    table = hm.compare(fit, fit).table
    assert table.index.names == ["quantity", "statistic"]
    assert len(table) == 10 * 6
    assert list(table.loc["tau"].index) == ["mean", "sd", "5%", "50%", "95%", "uniformity"]
    tau = fit.datatree["posterior"]["tau"].to_numpy()
    row = table.loc[("tau", "mean")]
    assert row["mcmc"] == pytest.approx(tau.mean(), rel=1e-12)
    assert row["z"] == pytest.approx((row["mcmc"] - row["exact"]) / row["mcse"])
    assert row["mcse"] == pytest.approx(tau.std() / np.sqrt(4000), rel=0.2)
    assert row["ess"] == pytest.approx((3.262556 / row["mcse"]) ** 2, rel=1e-5)
    row = table.loc[("tau", "50%")]
    assert row["exact"] == pytest.approx(2.774182, abs=1e-5)
    assert row["mcmc"] == pytest.approx(np.median(tau), rel=1e-3)
    assert row["z"] == pytest.approx(
        (0.5 - (tau <= row["exact"]).mean()) / np.sqrt(0.25 / 4000), rel=0.2
    )
    assert table["p"].between(0, 1).all()
    assert table.loc[("tau", "uniformity"), "ess"] == pytest.approx(4000, rel=0.2)
    row = table.loc[("tau", "sd")]
    assert row["mcmc"] == pytest.approx(tau.std(ddof=1), rel=1e-12)
    assert row["mcse"] == pytest.approx(
        np.sqrt(((tau - tau.mean()) ** 2).var() / 4000) / (2 * row["exact"]), rel=0.2
    )


def test_the_transform_is_the_exact_distribution_function(fit):
    pit = hm.compare(fit, fit).pit
    draws = fit.datatree["posterior"]
    tau = draws["tau"].to_numpy()
    assert (
        np.abs(pit["tau"] - fit.reference().cdf("tau", tau.ravel()).reshape(4, 1000)).max() < 5e-4
    )
    theta = draws["theta"].to_numpy().reshape(4000, 8)
    exact = fit.reference().cdf("theta", theta).reshape(4, 1000, 8)
    assert np.abs(pit["theta"] - exact).max() < 5e-4
    distance = kstest(pit["theta"].isel(school=2).to_numpy().ravel(), "uniform").statistic
    row = hm.compare(fit, fit).table.loc[("theta[C]", "uniformity")]
    assert row["mcmc"] == pytest.approx(distance, rel=1e-9)


def test_draws_of_two_values_have_their_transforms(fit):
    tau = fit.datatree["posterior"]["tau"].copy()
    tau[:] = np.where(np.arange(1000) % 3, 2.0, 5.0)
    found = hm.compare(changed(fit, tau=tau), fit, var_names="tau").pit["tau"].to_numpy()
    expected = fit.reference().cdf("tau", tau.to_numpy().ravel()).reshape(4, 1000)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("far", [60.0, 1e5])
def test_draws_far_beyond_all_others_have_their_transforms(fit, far):
    """Beyond all knots but the last; the exact probability at 1e5 is 0 or 1."""
    exact = fit.reference()
    mean, sd = (moment["mu"].item() for moment in (exact.mean, exact.sd))
    mu = norm.ppf(np.arange(1, 80_000, 2) / 80_000, mean, sd)
    mu[[0, -1]] = -far, far
    draws = xr.Dataset({"mu": (("chain", "draw"), mu.reshape(4, 10_000))})
    tree = xr.DataTree.from_dict({"posterior": draws})
    found = hm.compare(tree, exact, var_names="mu").pit["mu"].to_numpy().ravel()
    some = [0, *range(1, 40_000, 997), -1]
    np.testing.assert_allclose(found[some], exact.cdf("mu", mu[some]), rtol=0, atol=5e-4)


def test_many_units_are_judged_in_pieces(fit, monkeypatch):
    whole = hm.compare(fit, fit).table
    monkeypatch.setattr("hiermodels.results.draw_tests.CHUNK", 3)
    pd.testing.assert_frame_equal(hm.compare(fit, fit).table, whole, rtol=1e-10)


def test_alpha_is_where_the_verdict_turns(fit):
    p = hm.compare(fit, fit).p_value
    assert hm.compare(fit, fit, alpha=0.99 * p).passed
    assert not hm.compare(fit, fit, alpha=1.01 * p).passed


def test_another_prior_is_caught(schools, fit):
    wrong = hm.fit(schools, priors={"tau": hm.FlatSD()}, random_seed=1)
    comparison = hm.compare(wrong.datatree, fit)
    assert not comparison.passed
    assert "do NOT agree" in comparison.verdict
    assert "tau is too high" in comparison.verdict


def test_a_fit_under_another_prior_is_refused(schools, fit):
    wrong = hm.fit(schools, priors={"tau": hm.HalfCauchy(4)}, random_seed=1)
    message = r"the prior of tau is HalfCauchy\(beta=4\) for the draws, and HalfCauchy\(beta=5\)"
    with pytest.raises(hm.SpecError, match=message):
        hm.compare(wrong, fit)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"y": lambda d: d["y"] + 1e-6}, "the outcomes differ"),
        ({"sigma": lambda d: d["sigma"] * 1.001}, "the standard errors differ"),
        ({"school": lambda d: list("ABCDEFGI")}, "different 'school' labels"),
    ],
)
def test_a_fit_of_other_data_is_refused(schools, fit, change, message):
    other = hm.fit(schools.assign(**change), priors={"tau": hm.HalfCauchy(5)}, random_seed=1)
    with pytest.raises(hm.SpecError, match=message):
        hm.compare(other, fit)


def test_other_rows_of_the_same_groups_are_refused(schools, fit):
    twice = hm.datasets.load_eight_schools().iloc[[*range(8), 0]]
    other = hm.fit(
        twice,
        outcome="y",
        groups="school",
        se="sigma",
        priors={"tau": hm.HalfCauchy(5)},
        random_seed=1,
    )
    with pytest.raises(hm.SpecError, match="9 and 8 rows"):
        hm.compare(other, fit)


def test_the_order_of_rows_does_not_matter(schools, fit):
    other = hm.fit(schools.iloc[::-1], priors={"tau": hm.HalfCauchy(5)}, random_seed=1)
    assert hm.compare(other, fit).passed


def test_observed_data_of_a_tree_are_checked(schools, fit):
    other = hm.fit(schools.assign(y=schools["y"] + 1), priors={"tau": hm.HalfCauchy(5)})
    with pytest.raises(hm.SpecError, match="'y' in the group observed_data is not the outcome"):
        hm.compare(other.datatree, fit)


def test_names_from_elsewhere_are_translated(fit):
    draws = fit.datatree["posterior"].to_dataset()
    names = {"tau": "sd_1", "mu": "b_Intercept", "theta": "group_mean", "school": "J"}
    foreign = draws.rename(names).transpose("J", "draw", "chain").isel(J=[3, 1, 0, 2, 7, 6, 5, 4])
    back = {theirs: ours for ours, theirs in names.items()}
    tree = xr.DataTree.from_dict({"posterior": foreign})
    found = hm.compare(tree, fit, rename=back)
    pd.testing.assert_frame_equal(found.table, hm.compare(fit, fit).table)
    with pytest.raises(hm.SpecError, match=r"no variable 'mu'.*rename=.*var_names="):
        hm.compare(tree, fit)
    with pytest.raises(hm.SpecError, match="rename: the draws have no variable or dimension 'sd'"):
        hm.compare(tree, fit, rename={"sd": "tau"})


def test_some_variables_can_be_chosen(fit):
    tree = xr.DataTree.from_dict({"posterior": fit.datatree["posterior"].to_dataset()[["tau"]]})
    comparison = hm.compare(tree, fit, var_names=["tau"])
    assert set(comparison.table.index.get_level_values("quantity")) == {"tau"}
    with pytest.raises(hm.SpecError, match="no variable 'mu'"):
        hm.compare(tree, fit, var_names=["tau", "mu"])


def test_a_variable_is_chosen_by_its_name(fit):
    assert set(hm.compare(fit, fit, var_names="tau").pit) == {"tau"}
    assert list(fit.reference().quantile(0.5, "tau")) == ["tau"]
    assert list(fit.predict().quantile(0.5, "y_mean")) == ["y_mean"]


def test_names_that_are_taken_are_refused(fit):
    with pytest.raises(hm.SpecError, match="rename: the draws have a variable 'tau' already"):
        hm.compare(fit.datatree, fit, rename={"mu": "tau"})
    swapped = changed(fit, mu=fit.datatree["posterior"]["tau"], tau=fit.datatree["posterior"]["mu"])
    names = {"mu": "tau", "tau": "mu"}
    pd.testing.assert_frame_equal(
        hm.compare(swapped, fit, rename=names).table, hm.compare(fit, fit).table
    )


def test_sides_that_are_exchanged_are_refused(fit):
    with pytest.raises(hm.SpecError, match=r"mcmc: expected draws.*found IntegratedPosterior"):
        hm.compare(fit.reference(), fit)
    with pytest.raises(hm.SpecError, match=r"exact: expected a Fit or .*; found DataTree"):
        hm.compare(fit, fit.datatree)


def test_draws_that_were_not_kept_are_refused_with_a_way_out(schools):
    fit = hm.fit(schools, random_seed=1, memory_budget=10)
    with pytest.raises(hm.SpecError, match=r"'theta' were not kept.*var_names=\['mu', 'tau'\]"):
        hm.compare(fit, fit)
    assert hm.compare(fit, fit, var_names=["mu", "tau"]).passed


def test_other_parents_are_refused():
    data = hm.datasets.simulate_classrooms(4, classrooms=3, pupils=2, random_seed=1)
    data["classroom"] = data["school"].astype(str) + data["classroom"].astype(str)
    first = hm.fit(data, "score ~ (1 | school/classroom)", draws=100, random_seed=1)
    schools, rooms = data["school"].unique(), data["classroom"].unique()
    moved = data.assign(school=data["school"].where(data["classroom"] != rooms[0], schools[1]))
    other = hm.fit(moved, "score ~ (1 | school/classroom)", draws=100, random_seed=1)
    with pytest.raises(hm.SpecError, match="'school' that those of 'classroom' belong to differ"):
        hm.compare(first, other)
    mixed = data.sample(frac=1, random_state=1)
    assert hm.compare(first, hm.reference(mixed, "score ~ (1 | school/classroom)")).passed


def test_covariates_and_one_population_are_compared_too(schools):
    data = schools.assign(x=np.arange(8.0))
    fit = hm.fit(data, "y ~ x + (1 | school)", se="sigma", log_likelihood=True, random_seed=1)
    comparison = hm.compare(fit, fit)
    assert comparison.passed
    assert "beta[x]" in comparison.table.index.get_level_values("quantity")
    one = hm.fit(schools[["y"]], outcome="y", groups=[], random_seed=1)
    assert hm.compare(one, one).passed


def test_units_without_labels_are_refused(fit):
    draws = fit.datatree["posterior"].to_dataset().drop_vars("school")
    with pytest.raises(hm.SpecError, match=r"no labels on dimension 'school'.*assign_coords"):
        hm.compare(xr.DataTree.from_dict({"posterior": draws}), fit)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_draws_that_are_not_numbers_are_refused(fit, value):
    tau = fit.datatree["posterior"]["tau"].copy()
    tau[0, 3] = value
    with pytest.raises(hm.SpecError, match="'tau' are not all finite"):
        hm.compare(changed(fit, tau=tau), fit)


def test_too_few_draws_are_refused(fit):
    few = fit.datatree["posterior"].to_dataset().isel(draw=slice(7))
    with pytest.raises(hm.SpecError, match="at least 32 draws in all chains; found 28"):
        hm.compare(xr.DataTree.from_dict({"posterior": few}), fit)


def test_one_chain_is_enough(fit):
    one = fit.datatree["posterior"].to_dataset().isel(chain=[0])
    assert hm.compare(xr.DataTree.from_dict({"posterior": one}), fit).passed


def test_a_chain_that_never_moves_is_caught(fit):
    tau = fit.datatree["posterior"]["tau"]
    comparison = hm.compare(changed(fit, tau=xr.full_like(tau, 2.0)), fit)
    assert not comparison.passed
    assert comparison.table.loc[("tau", "mean"), "p"] < 1e-100


@pytest.mark.parametrize(
    ("change", "direction"),
    [
        (lambda x: x + 0.2 * x.std(), "too high"),
        (lambda x: x - 0.2 * x.std(), "too low"),
        (lambda x: x.mean() + 0.8 * (x - x.mean()), "too narrow"),
        (lambda x: x.mean() + 1.2 * (x - x.mean()), "too wide"),
    ],
)
def test_the_direction_is_told(fit, change, direction):
    theta = fit.datatree["posterior"]["theta"].copy()
    theta.loc[{"school": "C"}] = change(theta.sel(school="C"))
    comparison = hm.compare(changed(fit, theta=theta), fit)
    assert comparison.table.loc[("theta[C]", "uniformity"), "direction"] == direction
    assert "theta[C]" in comparison.verdict
    assert ";" not in comparison.verdict  # nothing is named that is not wrong


def test_a_shift_is_caught_and_named(fit):
    shifted = changed(fit, mu=fit.datatree["posterior"]["mu"] - 0.5)
    verdict = hm.compare(shifted, fit).verdict
    assert "mu is too low" in verdict


def test_groups_in_another_order_are_matched_by_label(fit):
    draws = fit.datatree["posterior"].to_dataset().isel(school=slice(None, None, -1))
    assert hm.compare(xr.DataTree.from_dict({"posterior": draws}), fit).passed


def test_other_groups_are_refused(fit, schools):
    other = hm.fit(schools.assign(school=list("STUVWXYZ")), priors={"tau": hm.HalfCauchy(5)})
    message = (
        r"different 'school' labels: .* The draws have \['S', 'T', 'U'\] …, the exact posterior "
        r"\['A', 'B', 'C'\] …$"
    )
    for draws in (other, changed(other)):  # the second without what was observed
        with pytest.raises(hm.SpecError, match=message):
            hm.compare(draws, fit)


def test_a_variable_that_the_draws_alone_have_is_not_passed_over(fit):
    draws = fit.datatree["posterior"].to_dataset()
    tree = xr.DataTree.from_dict({"posterior": draws.assign(other=draws["mu"])})
    with pytest.raises(hm.SpecError, match="the draws have no variable 'other'; expected mu"):
        hm.compare(tree, fit, var_names=["mu", "other"])


def test_missing_variables_are_refused(fit):
    draws = fit.datatree["posterior"].to_dataset().drop_vars("tau")
    with pytest.raises(hm.SpecError, match="the draws have no variable 'tau'"):
        hm.compare(xr.DataTree.from_dict({"posterior": draws}), fit)


@pytest.mark.parametrize("alpha", [0.0, 1.0, -0.1, np.nan])
def test_alpha_must_be_a_probability(fit, alpha):
    with pytest.raises(hm.SpecError, match="alpha: expected a number between 0 and 1"):
        hm.compare(fit, fit, alpha=alpha)


def test_moments_that_do_not_exist_are_left_out(schools):
    few = hm.fit(schools.iloc[:4], random_seed=1)
    comparison = hm.compare(few, few)
    assert np.isnan(comparison.table.loc[("tau", "mean"), "z"])
    assert comparison.table.loc[("tau", "mean"), "direction"] == ""
    assert comparison.passed


def test_a_share_that_is_as_it_should_be_has_no_direction(fit):
    """Draws at the exact quantiles of 1/80, 3/80, … have half of them below the median."""
    exact = fit.reference()
    mu = exact.quantile(np.arange(1, 80, 2) / 80, "mu")["mu"].to_numpy()
    draws = xr.Dataset({"mu": (("chain", "draw"), mu.reshape(10, 4).T)})
    table = hm.compare(xr.DataTree.from_dict({"posterior": draws}), exact, var_names="mu").table
    assert table.loc[("mu", "50%"), "z"] == 0
    assert table.loc[("mu", "50%"), "direction"] == ""


@pytest.mark.parametrize(
    ("shift", "direction"), [(0.01, "skewed to the right"), (-0.01, "skewed to the left")]
)
def test_a_small_disagreement_has_its_direction_too(fit, shift, direction):
    """A shift s of all transforms moves the third polynomial, scaled, by 2√7 s: the most."""
    exact = fit.reference()
    mu = exact.quantile(np.arange(1, 80, 2) / 80 + shift, "mu")["mu"].to_numpy()
    draws = xr.Dataset({"mu": (("chain", "draw"), mu.reshape(10, 4).T)})
    table = hm.compare(xr.DataTree.from_dict({"posterior": draws}), exact, var_names="mu").table
    assert 0 < np.sign(shift) * table.loc[("mu", "uniformity"), "z"] < 1
    assert table.loc[("mu", "uniformity"), "direction"] == direction


@pytest.fixture(scope="module")
def table(fit):
    return hm.compare(fit, fit).table


@pytest.mark.parametrize(("name", "label"), [("tau", "tau"), ("theta", "theta[C]")])
def test_errors_of_means_and_sds_are_those_of_batches(fit, table, name, label):
    exact = fit.reference()
    draws = fit.datatree["posterior"][name]
    x = draws.to_numpy() if name == "tau" else draws.sel(school="C").to_numpy()
    at = {} if name == "tau" else {"school": "C"}
    mean, sd = (float(moment[name].sel(at)) for moment in (exact.mean, exact.sd))
    means, squares = (batch_means(h[:, :, None]) for h in (x - mean, (x - mean) ** 2 - sd**2))
    for row, truth, error, ess in (
        (table.loc[(label, "mean")], means, means.error, sd**2 / means.error**2),
        (
            table.loc[(label, "sd")],
            squares,
            squares.error / (2 * sd),
            ((x - mean) ** 2).var() / squares.error**2,
        ),
    ):
        found = row[["mcse", "z", "p", "ess", "df"]].to_numpy(float)
        p = 2 * stats.t.sf(np.abs(truth.t), truth.df)
        expected = np.ravel([error, truth.t, p, ess, truth.df])
        np.testing.assert_allclose(found, expected, rtol=1e-9)


@pytest.mark.parametrize(("thin", "in_order"), [(1, False), (20, False), (20, True)])
def test_errors_of_quantiles_are_those_of_shares(fit, thin, in_order):
    """In units of the quantity from the spacing of the draws; with half the error at the least.

    Draws in ascending order know so little that the error of a share reaches beyond 0 and 1.
    """
    draws = fit.datatree["posterior"].to_dataset()[["tau"]].isel(draw=slice(None, None, thin))
    if in_order:
        draws = draws.assign(tau=draws["tau"].copy(data=np.sort(draws["tau"], None).reshape(4, -1)))
    comparison = hm.compare(xr.DataTree.from_dict({"posterior": draws}), fit, var_names="tau")
    x, u = draws["tau"].to_numpy(), comparison.pit["tau"].to_numpy()
    floor = batch_means(np.sqrt(3) * (2 * u - 1)[:, :, None])
    for label, q in (("5%", 0.05), ("50%", 0.5), ("95%", 0.95)):
        row = comparison.table.loc[("tau", label)]
        share = batch_means((q - (u <= q))[:, :, None])
        seen = q - share.mean.item()
        own = share.error.item() and share.error.item() * np.sqrt(q * (1 - q) / (seen * (1 - seen)))
        least = np.sqrt(q * (1 - q) / 2) * floor.error.item()
        error = max(own, least)
        ends = np.quantile(x, np.clip([q - error, q + error], 0, 1))
        z = share.mean.item() / error
        df = (floor if own < least else share).df.item()
        expected = {
            "mcmc": np.quantile(x, q),
            "exact": fit.reference().quantile(q, "tau")["tau"].item(),
            "mcse": np.diff(ends).item() / 2,
            "z": z,
            "p": 2 * stats.t.sf(abs(z), df),
            "ess": q * (1 - q) / error**2,
            "df": df,
        }
        assert row[list(expected)].to_dict() == pytest.approx(expected, rel=1e-9)
        assert row["direction"] == ("too high" if z > 0 else "too low")


@pytest.mark.parametrize(
    ("thin", "tail", "slow"), [(1, None, False), (20, 0.05, False), (1, 0.05, True)]
)
def test_uniformity_is_neyman_s_test_with_both_ends(fit, thin, tail, slow):
    """Legendre's polynomials written out; a tail expects 20 effective draws, or 5 % of them.

    In draws in the order of a slow autoregression their errors have different degrees of freedom.
    """
    draws = fit.datatree["posterior"].to_dataset()[["mu"]].isel(draw=slice(None, None, thin))
    if slow:
        series = autoregressive((4, 1000), 0.9, np.random.default_rng(1))
        places = stats.rankdata(series).reshape(4, 1000).astype(int) - 1
        draws = draws.assign(mu=draws["mu"].copy(data=np.sort(draws["mu"], None)[places]))
    comparison = hm.compare(xr.DataTree.from_dict({"posterior": draws}), fit, var_names=["mu"])
    u = comparison.pit["mu"].to_numpy()[:, :, None]
    smooth = [
        np.sqrt(3) * (2 * u - 1),
        np.sqrt(5) * (6 * u**2 - 6 * u + 1),
        np.sqrt(7) * (20 * u**3 - 30 * u**2 + 12 * u - 1),
        3 * (70 * u**4 - 140 * u**3 + 90 * u**2 - 20 * u + 1),
    ]
    parts = [batch_means(h) for h in smooth]
    assert (parts[0].df.item() != parts[1].df.item()) == slow
    size = 1 / parts[0].error.item() ** 2
    tail = tail or 20 / size
    least = np.sqrt(tail * (1 - tail))
    parts += [excess(v <= tail, tail).at_least(least, parts[0]) for v in (u, 1 - u)]
    worst = max(parts, key=lambda means: abs(means.t.item()))
    row = comparison.table.loc[("mu", "uniformity")]
    expected = {
        "mcmc": kstest(u.ravel(), "uniform").statistic,
        "exact": 0.0,
        "z": worst.t.item(),
        "p": combine([means.p.item() for means in parts]),
        "ess": size,
        "df": parts[0].df.item(),
    }
    assert row[list(expected)].to_dict() == pytest.approx(expected, rel=1e-9)
    assert np.isnan(row["mcse"])


def legendre(j):
    """Distribution function of a density that departs from 1 by the jth polynomial alone."""
    series = np.polynomial.Legendre.basis(j, domain=[0, 1])
    return lambda u: u + 0.4 * (series.integ()(u) - series.integ()(0))


@pytest.mark.parametrize(
    ("sign", "law", "direction"),
    [
        (1, legendre(1), "too high"),
        (-1, legendre(1), "too low"),
        (1, legendre(2), "too wide"),
        (-1, legendre(2), "too narrow"),
        (1, legendre(3), "skewed to the right"),
        (-1, legendre(3), "skewed to the left"),
        (1, legendre(4), "too heavy in the tails and the middle"),
        (-1, legendre(4), "too light in the tails and the middle"),
        (1, lambda u: u + 0.02 * (np.minimum(u / 0.004, 1) - u), "too often very small"),
        (-1, lambda u: u + 0.006 * (np.minimum(u / 0.006, 1) - u), "too rarely very small"),
        (1, lambda u: u + 0.02 * (np.maximum((u - 0.996) / 0.004, 0) - u), "too often very large"),
        (
            -1,
            lambda u: u + 0.006 * (np.maximum(1 + (u - 1) / 0.006, 0) - u),
            "too rarely very large",
        ),
    ],
)
def test_each_component_of_uniformity_has_its_words(fit, sign, law, direction):
    """Draws whose transforms have a law that departs from the uniform one in one way alone."""
    exact = fit.reference()
    grid = np.linspace(0, 1, 20_001)
    below = grid + sign * (law(grid) - grid)
    u = np.interp((np.arange(4000) + 0.5) / 4000, below, grid)
    x = np.linspace(*exact.quantile([1e-5, 1 - 1e-5], "mu")["mu"].to_numpy(), 4001)
    mu = np.random.default_rng(1).permutation(np.interp(u, exact.cdf("mu", x), x))
    draws = xr.Dataset({"mu": (("chain", "draw"), mu.reshape(4, 1000))})
    comparison = hm.compare(xr.DataTree.from_dict({"posterior": draws}), exact, var_names="mu")
    row = comparison.table.loc[("mu", "uniformity")]
    assert row["direction"] == direction
    assert sign * row["z"] > 4


def by_hand(rows, alpha=0.01, vectors=(), **options):
    """A comparison from rows (quantity, statistic, z, p, direction), of 100 effective draws."""
    index = pd.MultiIndex.from_tuples([row[:2] for row in rows], names=["quantity", "statistic"])
    table = pd.DataFrame([row[2:] for row in rows], index, ["z", "p", "direction"])
    table = table.assign(ess=100.0, df=30.0)
    dims = {"theta": ("chain", "draw", "school")}
    pit = xr.Dataset(
        {
            name: (dims.get(name, ("chain", "draw")), np.zeros((1,) * len(dims.get(name, "ab"))))
            for name in dict.fromkeys(label.split("[")[0] for label, _ in index)
        }
    )
    return Comparison(table, alpha, pit, **options)


ROWS = [
    ("mu", "mean", -5.6, 1e-7, "too low"),
    ("mu", "sd", 40.0, 1e-99, "too large"),
    ("mu", "uniformity", -5.5, 2e-7, "too low"),
    ("tau", "mean", np.nan, np.nan, ""),
    ("tau", "95%", 5.71, 1e-7, "too high"),
    ("tau", "uniformity", 0.3, 0.8, "too high"),
    ("theta[A]", "mean", 0.2, 0.8, "too high"),
    ("theta[A]", "uniformity", 5.4, 3e-7, "too wide"),
    ("theta[B]", "uniformity", 5.2, 4e-7, "skewed to the right"),
]


def test_a_verdict_names_the_three_worst():
    """By p, then by the size of z, each quantity once; sds and empty rows are not tested."""
    comparison = by_hand(ROWS, warnings=("It diverged.",))
    p = np.array([row[3] for row in ROWS if row[1] != "sd" and row[3] == row[3]])
    expected = np.arctan2(1, np.mean(1 / np.tan(np.pi * p))) / np.pi
    assert comparison.p_value == pytest.approx(expected, rel=1e-12)
    assert comparison.verdict.startswith(
        f"The draws do NOT agree with the exact posterior (p = {expected:.2g} over 7 statistics, "
        "alpha = 0.01): the 95% quantile of tau is too high (z = +5.7); mu is too low (mean, "
        "z = -5.6); theta[A] is too wide (uniformity, z = +5.4). With 100 effective draws of "
    )
    assert comparison.verdict.endswith(" would be seen with probability 90%. It diverged.")


def test_a_verdict_names_what_is_wrong_by_itself_or_the_worst():
    """What is below alpha/rows, or the smallest p where none is."""

    def verdict(second):
        rows = [
            ("mu", "uniformity", -3.0, 0.0026, "too low"),
            ("tau", "uniformity", 3.1, second, "too high"),
            ("theta[A]", "uniformity", 2.8, 0.0051, "too high"),
            ("theta[B]", "uniformity", 2.8, 0.0051, "too high"),
        ]
        return by_hand(rows).verdict

    worst = "): mu is too low (uniformity, z = -3.0). With"
    assert worst in verdict(0.0027)
    assert worst not in verdict(0.0025)
    assert "): tau is too high (uniformity, z = +3.1). With" in verdict(0.0025 - 1e-6)
    both = "): tau is too high (uniformity, z = +3.1); mu is too low (uniformity, z = -3.0). With"
    assert both in verdict(0.0026)


def test_draws_pass_where_p_is_alpha():
    rows = [("mu", "uniformity", 2.0, 0.04, "too high")]
    p = by_hand(rows).p_value
    assert p == pytest.approx(0.04, rel=1e-12)
    assert by_hand(rows, alpha=p).passed
    assert not by_hand(rows, alpha=np.nextafter(p, 1)).passed
    assert by_hand(rows, alpha=0.025).verdict.startswith(
        "The draws agree with the exact posterior (p = 0.04 over 1 statistics, alpha = 0.025). "
    )


def test_the_bias_that_would_be_seen():
    """A shift δ of a normal law moves √3(2u − 1) by √(3/π) δ; 1.28 is the 90 % point."""

    def moved(shift):
        mean = integrate.quad(
            lambda x: np.sqrt(3) * (2 * norm.cdf(x + shift) - 1) * norm.pdf(x), -9, 9
        )
        return mean[0]

    slope = (moved(1e-4) - moved(-1e-4)) / 2e-4
    comparison = by_hand(ROWS)
    comparison.table.loc[("tau", "uniformity"), ["ess", "df"]] = 64.0, 15.0
    comparison.table.loc[("theta[B]", "uniformity"), "ess"] = 9.0
    found = comparison.detectable
    assert found.name == "detectable"
    for name, ess, df in (("mu", 100, 30), ("tau", 64, 15), ("theta[B]", 9, 30)):
        limit = stats.t(df).isf(0.01 / (2 * 6 * 7))
        expected = (limit + norm.ppf(0.9)) / (slope * np.sqrt(ess))
        assert found[name] == pytest.approx(expected, rel=1e-7)
    # the hardest of mu and tau; of theta only where there is nothing else
    assert (
        f"With 64 effective draws of tau, a bias of {found['tau']:.2g} posterior sd in it would be "
        f"seen with probability 90%."
    ) in comparison.verdict
    groups = by_hand([row for row in ROWS if row[0].startswith("theta")])
    groups.table.loc[("theta[A]", "uniformity"), "ess"] = 12345.6
    assert "With 100 effective draws of theta[B], a bias" in groups.verdict
    one = by_hand(ROWS[2:3])
    one.table["ess"] = 12345.6
    assert "With 12,346 effective draws of mu, a bias" in one.verdict


def test_what_is_shown_is_the_verdict_and_the_table():
    rows = [(f"<b{i}>", "uniformity", 1.23456, 0.5, "too high") for i in range(60)]
    comparison = by_hand(rows)
    text, page = repr(comparison), comparison._repr_html_()
    assert text.startswith(comparison.verdict + "\n")
    assert page.startswith("<p>The draws agree")
    assert "effective draws of &lt;b0&gt;, a bias" in page
    for shown in (text, page):
        assert "1.235" in shown
        assert "1.2345" not in shown
        assert shown.count("1.235") == 48
    assert page.count("<table") == 1


def tree_of(fit, **groups):
    posterior = fit.datatree["posterior"].to_dataset()
    return xr.DataTree.from_dict({"posterior": posterior} | groups)


def test_divergences_are_told(fit):
    diverging = xr.DataArray(np.zeros((4, 1000), bool), dims=("chain", "draw"))
    diverging[1, [3, 5]] = True
    found = hm.compare(tree_of(fit, sample_stats=xr.Dataset({"diverging": diverging})), fit)
    assert found.warnings == (
        "2 of the draws diverged: there the sampler may have missed a part of the posterior.",
    )
    assert found.verdict.endswith(found.warnings[0])
    none = xr.Dataset({"diverging": xr.zeros_like(diverging)})
    assert hm.compare(tree_of(fit, sample_stats=none), fit).warnings == ()
    other = xr.Dataset({"lp": diverging})
    assert hm.compare(tree_of(fit, sample_stats=other), fit).warnings == ()


def test_observed_data_by_another_name_are_left_alone(schools, fit):
    observed = xr.Dataset({"y": ("row", schools["y"].to_numpy()[::-1] * (1 + 1e-8))})
    assert hm.compare(tree_of(fit, observed_data=observed), fit).passed
    other = observed.rename(y="score") + 1
    assert hm.compare(tree_of(fit, observed_data=other), fit).passed
    for wrong in (observed.isel(row=slice(7)), observed * (1 + 3e-6)):
        with pytest.raises(hm.SpecError, match="'y' in the group observed_data is not"):
            hm.compare(tree_of(fit, observed_data=wrong), fit)


def test_observed_rows_beside_statistics_are_counted():
    """Rows cannot be compared with sums of them one by one, but their number can."""
    data = hm.datasets.load_pastes()
    roles = {"outcome": "strength", "groups": "batch"}
    rows = hm.fit(data, **roles, random_seed=1)
    exact = hm.reference(hm.SufficientStatistics.of(data, **roles))
    assert hm.compare(rows.datatree, exact).passed
    assert hm.compare(rows, exact).passed
    moved = data.assign(strength=data["strength"].where(data["batch"] != "A", data["strength"] + 1))
    message = "are of different data: the means of the groups differ"
    others = hm.SufficientStatistics.of(moved, **roles)
    sums = hm.fit(others, draws=50, random_seed=1)
    for found, other in ((rows, hm.reference(others)), (sums, hm.reference(data, **roles))):
        with pytest.raises(hm.SpecError, match=message):
            hm.compare(found, other)
    fewer = xr.Dataset({"strength": ("row", data["strength"].to_numpy()[:59])})
    with pytest.raises(hm.SpecError, match="'strength' in the group observed_data is not"):
        hm.compare(tree_of(rows, observed_data=fewer), exact)


@pytest.mark.parametrize(
    ("priors", "formula", "message"),
    [
        ({}, "y ~ x + (1 | g)", r"covariates is \('x',\) for the draws, and \(\) for the exact"),
        ({}, "y ~ (1 | h)", r"levels is \('h',\) for the draws, and \('g',\) for the exact"),
        (
            {"sigma": hm.HalfNormal(2)},
            "y ~ (1 | g)",
            r"the prior of sigma is HalfNormal\(sd=2\) for",
        ),
    ],
)
def test_other_models_are_refused(priors, formula, message):
    rng = np.random.default_rng(1)
    group = np.repeat(list("abcde"), 4)
    data = pd.DataFrame(
        {"y": rng.normal(size=20), "x": rng.normal(size=20), "g": group, "h": group}
    )
    found = hm.fit(data, formula, priors=priors, draws=50, random_seed=1)
    with pytest.raises(hm.SpecError, match="are of different models: " + message):
        hm.compare(found, hm.reference(data, "y ~ (1 | g)"))


def test_known_and_unknown_errors_are_different_models(schools, fit):
    columns = schools[["school", "y"]]
    twice = pd.concat([columns, columns.assign(y=columns["y"] + 1)])
    other = hm.fit(twice, "y ~ (1 | school)", draws=50, random_seed=1)
    with pytest.raises(hm.SpecError, match="se is False for the draws, and True for the exact"):
        hm.compare(other, fit)


def test_other_covariates_are_refused():
    rng = np.random.default_rng(1)
    group = np.repeat(list("abcde"), 4)
    data = pd.DataFrame({"y": rng.normal(size=20), "x": rng.normal(size=20), "g": group})
    formula = "y ~ x + (1 | g)"
    found = hm.fit(data, formula, draws=50, random_seed=1)
    assert hm.compare(found, hm.reference(data.sample(frac=1, random_state=1), formula)).passed
    with pytest.raises(hm.SpecError, match="of different data: the covariates differ"):
        hm.compare(found, hm.reference(data.assign(x=data["x"] * (1 + 1e-9)), formula))


def grouped(seed=1):
    rng = np.random.default_rng(seed)
    group = np.repeat(list("abcdef"), [2, 3, 4, 5, 6, 7])
    data = pd.DataFrame({"y": rng.normal(1e6, 1, 27), "x": rng.normal(size=27), "g": group})
    return data.assign(se=rng.uniform(0.5, 1, 27))


ROLES = {"outcome": "y", "groups": "g", "se": "se", "covariates": ["x"]}


def changed_statistics(change, size):
    statistics = hm.SufficientStatistics.of(grouped(), **ROLES)
    name, at, amount = {
        "numbers of rows": ("count", [0, 1], np.array([1, -1])),
        "weights": ("weight", 2, statistics.weight[2]),
        "means": ("mean", (3, 1), -1.0),
        "covariate": ("mean", (3, 0), 1.0),
        "scatter": ("scatter", (1, 1), statistics.scatter[1, 1]),
    }[change]
    values = getattr(statistics, name).copy()
    values[at] += amount if name == "count" else amount * size
    return replace(statistics, **{name: values})


@pytest.mark.parametrize("change", ["numbers of rows", "weights", "means", "covariate", "scatter"])
def test_other_statistics_are_refused(change):
    """Beyond 1e-9 of their spread, within which sums are as they come."""
    found = hm.fit(hm.SufficientStatistics.of(grouped(), **ROLES), draws=50, random_seed=1)
    name = {"covariate": "means"}.get(change, change)
    message = f"the draws and the exact posterior are of different data: the {name} of the groups"
    with pytest.raises(hm.SpecError, match=message):
        hm.compare(found, hm.reference(changed_statistics(change, 4e-9)))
    if change != "numbers of rows":
        assert hm.compare(found, hm.reference(changed_statistics(change, 2e-10))).passed


def test_statistics_in_another_order_are_the_same():
    found = hm.fit(hm.SufficientStatistics.of(grouped(), **ROLES), draws=50, random_seed=1)
    mixed = grouped().sample(frac=1, random_state=1)
    assert hm.compare(found, hm.reference(hm.SufficientStatistics.of(mixed, **ROLES))).passed


def test_draws_of_other_dimensions_are_refused(fit):
    draws = fit.datatree["posterior"].to_dataset()
    with pytest.raises(
        hm.SpecError, match="no group 'posterior'; found prior, posterior_predictive"
    ):
        hm.compare(xr.DataTree.from_dict({"prior": draws, "posterior_predictive": draws}), fit)
    with pytest.raises(hm.SpecError, match="no group 'posterior'; found none"):
        hm.compare(xr.DataTree(), fit)
    message = r"no dimension 'school'; found mu, tau, theta on J\. Say with rename=\{…\} what it"
    with pytest.raises(hm.SpecError, match=message):
        hm.compare(changed_names(draws, school="J"), fit)
    many = draws.assign(tau=draws["tau"].expand_dims(copy=2))
    message = (
        r"draws of 'tau' have dimensions \('copy', 'chain', 'draw'\); expected \['chain', 'draw'\]"
    )
    with pytest.raises(hm.SpecError, match=message):
        hm.compare(xr.DataTree.from_dict({"posterior": many}), fit)
    other = draws.drop_vars("tau").assign(rho=("K", [1.0, 2.0]))
    message = r"'tau'; expected mu, tau, theta, found mu, theta, rho on school, K\. Say with"
    with pytest.raises(hm.SpecError, match=message):
        hm.compare(xr.DataTree.from_dict({"posterior": other}), fit)
    scalars = xr.DataTree.from_dict({"posterior": draws[["mu", "tau"]]})
    with pytest.raises(hm.SpecError, match=r"no variable 'theta'; .*, found mu, tau\. Say with"):
        hm.compare(scalars, fit)


def changed_names(draws, **names):
    return xr.DataTree.from_dict({"posterior": draws.rename(names)})


def test_few_draws_are_enough(fit):
    draws = fit.datatree["posterior"].to_dataset().isel(draw=slice(8))
    assert hm.compare(xr.DataTree.from_dict({"posterior": draws}), fit).passed


@pytest.mark.parametrize("backend", ["matplotlib", "plotly", "bokeh"])
def test_the_plot_shows_the_differences_and_scores(fit, backend):
    comparison = hm.compare(fit, fit)
    plot = comparison.plot(backend=backend)
    assert set(plot.viz["ecdf"].data_vars) == {"mu", "tau", "theta"}
    if backend != "matplotlib":
        return
    x, y = plot.get_viz("ecdf", "tau").get_data()
    share = (comparison.pit["tau"].to_numpy() <= x[30]).mean()
    assert y[30] == pytest.approx(share - x[30])
    points = plot.get_viz("scores", "theta").get_offsets()
    assert len(points) == 5 * 8
    rows = comparison.table.loc[[f"theta[{label}]" for label in "ABCDEFGH"]]
    p = rows.xs("95%", level="statistic")["p"].to_numpy()
    assert 2 * norm.sf(np.abs(points[24:32, 1])) == pytest.approx(p)


def test_layers_that_the_plot_has_not_are_refused(fit):
    with pytest.raises(hm.SpecError, match=r"visuals: expected band, .*; found 'bands'"):
        hm.compare(fit, fit).plot(visuals={"bands": False})

"""The comparison passes right draws and catches wrong ones."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from scipy.stats import kstest, norm

import hiermodels as hm


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
    with pytest.raises(hm.SpecError, match="different 'school' labels"):
        hm.compare(other, fit)


def test_missing_variables_are_refused(fit):
    draws = fit.datatree["posterior"].to_dataset().drop_vars("tau")
    with pytest.raises(hm.SpecError, match="the draws have no variable 'tau'"):
        hm.compare(xr.DataTree.from_dict({"posterior": draws}), fit)


def test_alpha_must_be_a_probability(fit):
    with pytest.raises(hm.SpecError, match="alpha: expected a number between 0 and 1"):
        hm.compare(fit, fit, alpha=1.0)


def test_moments_that_do_not_exist_are_left_out(schools):
    few = hm.fit(schools.iloc[:4], random_seed=1)
    comparison = hm.compare(few, few)
    assert np.isnan(comparison.table.loc[("tau", "mean"), "z"])
    assert comparison.passed


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

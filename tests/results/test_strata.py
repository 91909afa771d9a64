"""Residual sds by stratum in everything that is done with a fit."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import hiermodels as hm
from hiermodels.cli import main
from hiermodels.data.prepare import prepare
from hiermodels.results.report.recipe import command, snippet
from hiermodels.results.simulation import draw_outcomes, draw_variables

GROWTH = "distance ~ age + (1 | Subject)"
LABELS = ["Male", "Female"]


@pytest.fixture(scope="module")
def growth():
    return hm.datasets.load_orthodont()


@pytest.fixture(scope="module")
def fit(growth):
    return hm.fit(growth, GROWTH, residual_by="Sex", draws=500, random_seed=1)


def test_sigma_has_the_labels_of_its_column(fit):
    sigma = fit.datatree["posterior"]["sigma"]
    assert sigma.dims == ("chain", "draw", "Sex")
    assert sigma["Sex"].values.tolist() == LABELS
    assert fit.reference().mean["sigma"]["Sex"].values.tolist() == LABELS
    assert "distance ~ Normal(theta[Subject] + x'beta, sigma[Sex])" in repr(fit)
    assert {"sigma[Male]", "sigma[Female]"} <= set(fit.summary().index)
    rows = fit.datatree["constant_data"]["Sex"]
    assert rows.values.tolist() == ["Male"] * 64 + ["Female"] * 44


def test_new_rows_name_their_stratum(fit):
    new = pd.DataFrame({"Subject": ["M01", "F01", "a", "b"], "age": 12, "Sex": LABELS * 2})
    drawn = fit.predict(new, random_seed=1).to_frame()
    exact = fit.reference()
    sigma2 = exact.mean["sigma"] ** 2 + exact.sd["sigma"] ** 2
    tau2 = float(exact.mean["tau"] ** 2 + exact.sd["tau"] ** 2)
    noise = drawn["distance_sd"] ** 2 - drawn["sd"] ** 2
    np.testing.assert_allclose(noise[:2], sigma2.sel(Sex=LABELS), rtol=1e-8)
    np.testing.assert_allclose(noise[2:], sigma2.sel(Sex=LABELS), rtol=1e-8)
    assert (drawn["sd"][2:] ** 2 > tau2).all()
    tree = fit.predict(new, random_seed=1).datatree
    draws = next(group for group in tree.values() if "distance" in group)["distance"]
    np.testing.assert_allclose(draws.std(("chain", "draw")), drawn["distance_sd"], rtol=0.06)


@pytest.mark.parametrize(
    ("new", "text"),
    [
        ({"Sex": ["Male", "male"]}, "'male' in row 1 is none of the strata that were fitted"),
        ({}, "there is no column 'Sex'; .* Outcomes need the stratum of each row"),
    ],
)
def test_new_rows_of_other_strata(fit, new, text):
    frame = pd.DataFrame({"Subject": ["M01", "M02"], "age": 12, **new})
    with pytest.raises(hm.DataError, match=text):
        fit.predict(frame)
    assert len(fit.predict(frame.drop(columns="Sex", errors="ignore"), outcomes=False)) == 2


def test_shares_are_of_rows_of_each_stratum(fit):
    table = fit.variance_components()
    exact = fit.reference()
    for label in LABELS:
        own = table.loc[[f"share[Subject, {label}]", f"share[residual, {label}]"], "mean"]
        assert own.sum() == pytest.approx(1.0, abs=1e-12)
        second = exact.mean["sigma"].sel(Sex=label) ** 2 + exact.sd["sigma"].sel(Sex=label) ** 2
        assert table.loc[f"sigma[{label}]²", "mean"] == pytest.approx(float(second), rel=1e-9)
    draws = fit.datatree["posterior"].to_dataset()
    share = draws["tau"] ** 2 / (draws["tau"] ** 2 + draws["sigma"].sel(Sex="Female") ** 2)
    assert table.loc["share[Subject, Female]", "mean"] == pytest.approx(
        float(share.mean()), abs=0.005
    )


def test_estimates_shrink_by_the_noise_of_the_stratum(fit):
    estimates = fit.estimates()
    tau, female = estimates.sds["tau"], estimates.sds["sigma[Female]"]
    own = estimates.table.loc["F01", "shrinkage_eb"]
    assert own == pytest.approx(1 / (1 + 4 * tau**2 / female**2), rel=1e-9)
    assert estimates.table.loc["F01", "raw_se"] == pytest.approx(female / 2, rel=1e-9)


def test_checks_see_the_spread_of_each_stratum(fit, growth):
    table = fit.check(random_seed=1)
    assert table.loc["sd of rows within Subject, Male", "p"] > 0.02
    plain = hm.fit(growth, GROWTH, draws=500, random_seed=1)
    assert "sd of rows within Subject, Male" not in plain.check(random_seed=1).index


def test_what_else_is_done_with_a_fit(fit, tmp_path):
    assert hm.load(fit.to_netcdf(tmp_path / "fit.nc")).spec == fit.spec
    assert hm.load(fit.to_netcdf(tmp_path / "fit.nc")).data.strata.tolist() == LABELS
    assert hm.compare(fit, fit.reference()).passed
    assert set(fit.rank(top=3).table.columns) >= {"rank_median", "p_top3"}
    assert "sigma" in set(fit.sensitivity().table.reset_index()["variable"])
    assert "residual_by='Sex'" in snippet(fit.posterior, "growth.csv")
    fit.to_parquet(tmp_path / "fit.parquet")
    table = pd.read_parquet(tmp_path / "fit.parquet").set_index("Subject")
    assert table.loc["F01", "mean"] == pytest.approx(
        fit.summary().loc["theta[F01]", "mean"], abs=0.1
    )
    assert "--residual-by Sex" in str(command(fit.posterior, "growth.csv"))
    fit.plot_variance()


def test_priors_of_all_strata_and_of_one(growth):
    priors = {"sigma": hm.HalfNormal(2), "sigma[Female]": hm.HalfNormal(1)}
    exact = hm.reference(growth, GROWTH, residual_by="Sex", priors=priors)
    assert exact.spec.priors["sigma[Male]"] == hm.HalfNormal(2)
    assert exact.spec.priors["sigma[Female]"] == hm.HalfNormal(1)
    with pytest.raises(hm.SpecError, match=r"no parameter 'sigma\[M\]'; it has .*sigma\[Male\]"):
        hm.fit(growth, GROWTH, residual_by="Sex", priors={"sigma[M]": hm.Jeffreys()})
    drawn = hm.fit(growth, GROWTH, residual_by="Sex", priors=priors, draws=50, log_prior=True)
    assert drawn.datatree["log_prior"]["sigma"].dims == ("chain", "draw", "Sex")


def test_comparison_refuses_draws_of_another_model(fit, growth):
    with pytest.raises(hm.SpecError, match="residual_by is Sex for the draws, and None"):
        hm.compare(fit, hm.reference(growth, GROWTH))


def with_bad_columns(frame):
    return frame.assign(one="a", row=[f"r{i}" for i in range(len(frame))])


@pytest.mark.parametrize(
    ("roles", "kind", "text"),
    [
        ({"residual_by": "sex"}, hm.DataError, "there is no column 'sex'; the data have"),
        ({"residual_by": "one"}, hm.DataError, "has the one label 'a' in all rows.*Leave residual"),
        ({"residual_by": "row"}, hm.DataError, "two rows or more in each stratum of 'row'; found"),
        ({"residual_by": "distance"}, hm.DataError, "given more than one role"),
        ({"residual_by": "Sex", "se": "age"}, hm.SpecError, "residual_by: .* learnt, .* se='age'"),
        ({"residual_by": "Sex", "variance": "age"}, hm.SpecError, "known here, variance='age'"),
        ({"residual_by": 3}, hm.SpecError, "residual_by: expected the name of a column as text"),
    ],
)
def test_bad_strata(growth, roles, kind, text):
    formula = GROWTH.replace("age + ", "") if "age" in roles.values() else GROWTH
    with pytest.raises(kind, match=text):
        hm.fit(with_bad_columns(growth), formula, **roles)


def test_a_stratum_of_one_row_is_named_with_its_row(growth):
    growth.loc[5, "Sex"] = "Other"
    with pytest.raises(hm.DataError, match=r"found one of 'Other', in row 5. Join strata"):
        hm.fit(growth, GROWTH, residual_by="Sex")
    growth.loc[5, "Sex"] = "Male"


def test_models_that_have_no_strata(growth):
    with pytest.raises(hm.SpecError, match=r"residual_by: a residual sd .* needs groups"):
        hm.fit(growth, "distance ~ age", residual_by="Sex")
    counts = growth.assign(n=growth["age"])
    with pytest.raises(hm.SpecError, match="residual_by: rows of the family 'poisson' have no"):
        hm.fit(counts, "n ~ (1 | Subject)", family="poisson", residual_by="Sex")
    inner = growth.assign(Sex=growth["Subject"].str[0])
    with pytest.raises(hm.SpecError, match="residual_by: 'Subject' is a column of groups within"):
        hm.fit(inner, "distance ~ age + (1 | Sex/Subject)", residual_by="Subject")


def test_strata_of_the_outermost_groups():
    rng = np.random.default_rng(1)
    frame = pd.DataFrame({"lab": np.repeat([7, 3], 20), "g": np.repeat(np.arange(10), 4)})
    frame["y"] = rng.normal(size=10)[frame["g"]] + rng.normal(size=40) * (frame["lab"] == 7)
    frame["y"] += 0.2 * rng.normal(size=40)
    priors = {"kappa": hm.Fixed(0.5), "tau": hm.HalfNormal(2)}
    exact = hm.reference(frame, "y ~ (1 | lab/g)", residual_by="lab", priors=priors)
    assert exact.mean["sigma"]["lab"].values.tolist() == [7, 3]
    assert exact.mean["mu"].dims == ("lab",)
    assert "lam" in exact.mean
    assert float(exact.mean["sigma"].sel(lab=7)) > 2 * float(exact.mean["sigma"].sel(lab=3))


def test_on_the_command_line(growth, tmp_path, capsys):
    growth.to_csv(tmp_path / "growth.csv", index=False)
    words = ["fit", str(tmp_path / "growth.csv"), "--formula", GROWTH, "--residual-by", "Sex"]
    assert main([*words, "--prior", "sigma[Male]=HalfNormal(3)", "--draws", "50"]) == 0
    shown = capsys.readouterr().out
    assert "sigma[Female]" in shown
    assert "sigma[Male] ~ HalfNormal(sd=3)" in shown


def test_what_the_rows_say_does_not_depend_on_their_order(growth, fit):
    mixed = growth.sample(frac=1.0, random_state=1).reset_index(drop=True)
    other = hm.reference(mixed, GROWTH, residual_by="Sex")
    assert hm.compare(fit, other).passed


def test_marginal_likelihoods_of_groups_are_dense(growth):
    growth = growth.assign(by=np.where(growth["age"] < 11, "early", "late"))
    for by in ("Sex", "by"):
        how = {"residual_by": by, "draws": 3, "random_seed": 1, "log_likelihood": "marginal"}
        draws = hm.fit(growth, GROWTH, **how).datatree
        one = draws["posterior"].to_dataset().isel(chain=1, draw=2)
        own = growth[growth["Subject"] == "F03"]
        sd = one["sigma"].sel({by: own[by].to_numpy()}).to_numpy()
        mean = float(one["mu"]) + own["age"].to_numpy() * float(one["beta"][0])
        law = stats.multivariate_normal(mean, np.diag(sd**2) + float(one["tau"]) ** 2)
        known = draws["log_likelihood"].to_dataset().isel(chain=1, draw=2)
        (values,) = known.data_vars.values()
        expected = law.logpdf(own["distance"])
        assert float(values.sel(Subject="F03")) == pytest.approx(expected, rel=1e-10)


def test_draws_from_the_priors(growth):
    priors = {"mu": hm.Normal(20, 5), "beta": hm.Normal(0, 1), "tau": hm.HalfNormal(2)}
    priors |= {"sigma": hm.HalfNormal(0.1), "sigma[Female]": hm.HalfNormal(10)}
    spec, data = prepare(growth, GROWTH, residual_by="Sex", priors=priors)
    rng = np.random.default_rng(1)
    drawn = draw_variables(spec, data, 400, rng)
    assert drawn["sigma"].shape == (400, 2)
    rows = draw_outcomes(spec, data, drawn, rng)
    away = rows - drawn["theta"][:, data.group] - drawn["beta"] * growth["age"].to_numpy()
    assert away[:, 64:].std() == pytest.approx(10, rel=0.15)
    assert away[:, :64].std() == pytest.approx(0.1, rel=0.15)


def test_groups_drawn_on_demand_are_the_same(growth, tmp_path):
    growth = growth.assign(by=np.where(growth["age"] < 11, "early", "late"))
    how = {"residual_by": "by", "draws": 300, "random_seed": 1}
    kept = hm.fit(growth, GROWTH, **how).draws(["M03", "F01"])
    made = hm.fit(growth, GROWTH, **how, memory_budget=90_000)
    assert "theta" not in made.datatree["posterior"]
    np.testing.assert_array_equal(made.draws(["M03", "F01"]), kept)
    again = hm.load(made.to_netcdf(tmp_path / "made.nc"))
    np.testing.assert_array_equal(again.draws(["M03", "F01"]), kept)

"""Groups that ArviZ reads beside the posterior: log prior, posterior predictive."""

from __future__ import annotations

import arviz_plots as azp
import arviz_stats as azs
import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from scipy import stats

import hiermodels as hm

mpl.use("Agg")
GROUPS = {"log_likelihood": True, "log_prior": True, "posterior_predictive": True}
PASTES = {"outcome": "strength", "groups": ["batch", "cask"]}


def draws_of(fit, group="posterior"):
    return fit.datatree[group].to_dataset()


@pytest.fixture(scope="module")
def eight(schools):
    return hm.fit(schools, priors={"tau": hm.HalfCauchy(5)}, random_seed=1, **GROUPS)


@pytest.fixture(scope="module")
def pastes():
    priors = {"tau": hm.HalfNormal(3), "sigma": hm.InverseGamma(2, 1.5), "lam": hm.Normal(60, 10)}
    data = hm.datasets.load_pastes()
    return hm.fit(data, **PASTES, priors=priors, random_seed=1, **GROUPS)


@pytest.fixture(scope="module")
def classrooms():
    data = hm.datasets.simulate_classrooms(8, 3, 5, beta=0.5, random_seed=1)
    data["age"] = np.random.default_rng(1).normal(size=len(data))
    priors = {"beta[age]": hm.Normal(1, 2)}
    formula = "score ~ ses + age + (1 | school/classroom)"
    return hm.fit(data, formula, priors=priors, random_seed=1, **GROUPS)


def test_log_priors_are_densities_of_the_posteriors_variables(pastes):
    draws, found = draws_of(pastes), draws_of(pastes, "log_prior")
    assert set(found) == {"tau", "sigma", "lam"}  # flat on κ² has no density
    expected = {
        "lam": stats.norm(60, 10).logpdf(draws["lam"]),
        "tau": stats.halfnorm(scale=3).logpdf(draws["tau"]),
        # stated on the variance: its density times dσ²/dσ = 2σ
        "sigma": stats.invgamma(2, scale=1.5).logpdf(draws["sigma"] ** 2)
        + np.log(2 * draws["sigma"].to_numpy()),
    }
    for name, values in expected.items():
        assert found[name].dims == ("chain", "draw")
        np.testing.assert_allclose(found[name], values, rtol=1e-10)


def test_log_priors_of_coefficients_are_those_that_are_proper(classrooms):
    found = draws_of(classrooms, "log_prior")
    assert list(found) == ["beta"]
    assert found["coef"].values.tolist() == ["age"]
    beta = draws_of(classrooms)["beta"].sel(coef=["age"])
    np.testing.assert_allclose(found["beta"], stats.norm(1, 2).logpdf(beta), rtol=1e-10)


def test_log_prior_of_one_population():
    """The two variables add up to the joint density of θ and σ."""
    prior = hm.NormalInverseGamma(1.0, 2.0, 1.5, 2.5)
    data = pd.DataFrame({"y": [3.1, 4.7, 2.2]})
    fit = hm.fit(data, groups=[], priors={"theta": prior}, draws=20, log_prior=True)
    draws = draws_of(fit)
    theta, sigma = draws["theta"].to_numpy(), draws["sigma"].to_numpy()
    joint = stats.norm(1, 2 * sigma).logpdf(theta) + np.log(2 * sigma)
    joint += stats.invgamma(1.5, scale=2.5).logpdf(sigma**2)
    found = draws_of(fit, "log_prior")
    np.testing.assert_allclose(found["theta"] + found["sigma"], joint, rtol=1e-10)


def test_priors_that_have_no_density(schools):
    with pytest.raises(hm.SpecError, match=r"there is no proper prior, .* tau ~ FlatVariance"):
        hm.fit(schools, draws=10, log_prior=True)


def test_replicates_have_the_rows_means_and_sds(classrooms, pastes):
    for fit in (classrooms, pastes):
        draws, found = draws_of(fit), draws_of(fit, "posterior_predictive")[fit.spec.outcome]
        data = fit.data
        mean = draws["theta"].to_numpy()[..., data.group]
        if fit.spec.covariates:
            mean = mean + draws["beta"].to_numpy() @ data.design.matrix.T
        z = (found.to_numpy() - mean) / draws["sigma"].to_numpy()[..., None]
        assert found.dims == ("chain", "draw", "row")
        assert stats.kstest(z.ravel()[::7], stats.norm.cdf).pvalue > 1e-3
        spread = np.corrcoef(z.reshape(-1, z.shape[-1])[:, :8].T) - np.eye(8)
        assert np.abs(spread).max() < 4.5 / np.sqrt(4000)


def test_replicates_of_known_errors(eight, schools):
    draws, found = draws_of(eight), draws_of(eight, "posterior_predictive")["y"]
    z = (found.to_numpy() - draws["theta"].to_numpy()) / schools["sigma"].to_numpy()
    assert stats.kstest(z.ravel(), stats.norm.cdf).pvalue > 1e-3


def test_replicates_are_seeded(schools):
    first, second, other = (
        draws_of(hm.fit(schools, random_seed=s, posterior_predictive=True), "posterior_predictive")
        for s in (1, 1, 2)
    )
    assert first.equals(second)
    assert not first.equals(other)


def test_groups_that_are_not_kept():
    data = hm.datasets.load_pastes()
    with pytest.raises(hm.SpecError, match=r"200 draws need .*leave out posterior_predictive"):
        hm.fit(data, **PASTES, draws=50, memory_budget=1000, posterior_predictive=True)


@pytest.mark.parametrize("name", ["eight", "pastes", "classrooms"])
@pytest.mark.filterwarnings("ignore::UserWarning")  # few groups: large Pareto k
def test_arviz_reads_the_groups_as_they_are(name, request):
    fit = request.getfixturevalue(name)
    table = azs.psense_summary(fit.datatree, var_names=list(fit.spec.sds))
    assert list(table.index) == list(fit.spec.sds)
    assert np.isfinite(azs.loo(fit.datatree).elpd)
    scalars = [fit.spec.intercept, *fit.spec.sds]
    for plot in (
        azp.plot_ppc_dist(fit.datatree, num_samples=10, backend="none"),
        azp.plot_loo_pit(fit.datatree, backend="none"),
        azp.plot_rank_dist(fit.datatree, var_names=scalars, backend="none"),
        azp.plot_forest(fit.datatree, backend="none"),
    ):
        assert isinstance(plot, azp.PlotCollection)


def test_psense_finds_what_closed_forms_say(schools):
    """A prior of μ that is far from the data and narrow, and one that hardly matters."""
    tau = hm.HalfNormal(5)
    wide, narrow = (
        hm.fit(
            schools, priors={"mu": prior, "tau": tau}, random_seed=1, draws=4000, **GROUPS
        ).datatree
        for prior in (hm.Normal(0, 1000), hm.Normal(-20, 4))
    )
    options = {"var_names": ["mu"], "prior_var_names": ["mu"]}
    assert azs.psense_summary(wide, **options)["prior"].astype(float).item() < 0.02
    assert azs.psense_summary(narrow, **options)["prior"].astype(float).item() > 0.1


# What the tree holds beside draws of the posterior.

PROPER = {"mu": hm.Normal(250, 50), "tau": hm.HalfNormal(50), "sigma": hm.HalfNormal(50)}
PROPER["beta"] = hm.Normal(0, 20)


def nights():
    """Subjects on ten nights each; a number and a factor."""
    rng = np.random.default_rng(1)
    subject, night = np.repeat(np.arange(6), 10), np.tile(np.arange(10.0), 6)
    return pd.DataFrame(
        {
            "subject": [f"s{i}" for i in subject],
            "night": night,
            "sex": np.where(subject % 2, "F", "M"),
            "time": 250 + 10 * night + rng.normal(0, 30, 6)[subject] + rng.normal(0, 20, 60),
        }
    )


@pytest.fixture(scope="module")
def whole():
    formula = "time ~ night + sex + (1 | subject)"
    return hm.fit(nights(), formula, priors=PROPER, random_seed=1, prior=True, **GROUPS)


def test_groups_say_what_made_them_as_arviz_s_schema_has_it(whole):
    tree = whole.datatree
    assert {"prior", "prior_predictive", "log_likelihood", "log_prior"} < set(tree.children)
    predictions = whole.predict(nights().head(3), random_seed=1).datatree
    for name, group in {**tree.children, **predictions.children}.items():
        attrs, dims = group.attrs, [] if name.endswith("data") else ["chain", "draw"]
        assert attrs["sample_dims"] == dims, name
        assert attrs["inference_library"] == "hiermodels"
        assert attrs["inference_library_version"] == hm.__version__
        assert attrs["creation_library"] == "ArviZ"
        assert pd.Timestamp(attrs["created_at"]).tzinfo is not None
    time = tree["posterior"].attrs["sampling_time"]
    assert 0 < time == tree["sample_stats"].attrs["sampling_time"]


def test_prior_draws_stand_beside_those_of_the_posterior(whole):
    expected = whole.prior_predictive(random_seed=1)
    for name in ("prior", "prior_predictive"):
        assert draws_of(whole, name).equals(expected[name].to_dataset())
    prior = draws_of(whole, "prior")
    assert stats.kstest(prior["tau"].to_numpy().ravel() / 50, stats.halfnorm.cdf).pvalue > 1e-3
    plot = azp.plot_prior_posterior(whole.datatree, var_names=["mu", "tau"], backend="none")
    assert isinstance(plot, azp.PlotCollection)


def test_prior_draws_of_improper_priors_are_refused_by_name(schools):
    with pytest.raises(hm.SpecError, match=r"prior=True needs proper .* in mu ~ Flat\(\)\. Give"):
        hm.fit(schools, priors={"tau": hm.HalfNormal(5)}, prior=True)
    with pytest.raises(hm.SpecError, match="prior: expected True or False"):
        hm.fit(schools, prior={"tau": hm.HalfNormal(5)})
    statistics = hm.SufficientStatistics.of(nights(), outcome="time", groups=["subject"])
    priors = {name: PROPER[name] for name in ("mu", "tau", "sigma")}
    with pytest.raises(hm.SpecError, match="prior_predictive needs rows"):
        hm.fit(statistics, priors=priors, prior=True)


def test_covariates_stand_beside_the_rows_by_their_names(whole):
    data, constant = nights(), whole.datatree["constant_data"]
    assert list(constant.data_vars) == ["night", "sex[M]", "group"]
    assert constant["night"].dims == ("row",)
    assert constant["night"].values.tolist() == data["night"].tolist()
    assert constant["sex[M]"].values.tolist() == (data["sex"] == "M").astype(float).tolist()
    assert isinstance(azp.plot_lm(whole.datatree, backend="none"), azp.PlotCollection)


def test_predictions_are_plotted_by_arviz(whole):
    new = nights().head(10).assign(night=np.arange(3.0, 13.0))
    tree = whole.predict(new, random_seed=1).datatree
    assert tree["predictions_constant_data"]["night"].values.tolist() == new["night"].tolist()
    options = {"group": "predictions", "backend": "none"}
    for plot in (
        azp.plot_lm(tree, x="night", y="time", **options),
        azp.plot_forest(tree, **options),
        azp.plot_dist(tree, **options),
        azp.plot_ppc_dist(tree, num_samples=5, **options),
    ):
        assert isinstance(plot, azp.PlotCollection)
    assert len(azs.summary(tree, group="predictions")) == 20


ODD = ["group", "kind", "sample", "cask_batch", "a/b", "a_b", ".", "..", "\\", "é" * 150]


def test_covariates_whose_names_are_taken_or_cannot_be_kept(tmp_path):
    pastes, rng = hm.datasets.load_pastes(), np.random.default_rng(2)
    data = pastes.assign(**{name: rng.normal(size=60) for name in ODD})
    fit = hm.fit(data, **PASTES, covariates=ODD, draws=10, random_seed=1)
    constant = fit.datatree["constant_data"]
    names = list(constant.data_vars)
    assert names[:9] == [
        "group_",
        "kind_",
        "sample_",
        "cask_batch_",
        "a_b",
        "a_b_",
        "_.",
        "_..",
        "_",
    ]
    assert names[9:] == ["é" * 100, "group", "cask_batch"]
    for name, odd in zip(names, ODD, strict=False):
        assert constant[name].values.tolist() == data[odd].tolist()
    assert constant["cask_batch"].values.tolist() == [x[0] for x in constant["cask"].values]
    assert hm.load(fit.to_netcdf(tmp_path / "fit.nc")).datatree.identical(fit.datatree)
    with xr.open_datatree(fit.to_zarr(tmp_path / "fit.zarr"), engine="zarr") as tree:
        assert tree["constant_data"].to_dataset().load().identical(constant.to_dataset())


def test_the_parent_of_each_group_is_a_coordinate_of_its_draws(pastes):
    draws = pastes.draws()
    assert draws["cask_batch"].values.tolist() == [label[0] for label in draws["cask"].values]
    assert pastes.draws(["C/b", "A/a"])["cask_batch"].values.tolist() == ["C", "A"]
    assert pastes.draws("C", "batch").equals(pastes.datatree["posterior/mu"].sel(batch=["C"]))
    assert len(azs.summary(draws)) == 30
    assert len(azs.summary(pastes.datatree)) == 44
    by_batch = draws.groupby("cask_batch").mean(["chain", "draw", "cask"])
    assert by_batch.sizes == {"cask_batch": 10}


def test_groups_may_be_called_group():
    """Each row's group is a variable of this name; its labels are a coordinate all the same."""
    data = hm.datasets.load_pastes().rename(columns={"cask": "group"})
    fit = hm.fit(data, outcome="strength", groups=["batch", "group"], draws=10, random_seed=1)
    constant = fit.datatree["constant_data"].to_dataset()
    assert constant["group"].to_numpy().tolist() == fit.data.labels[-1].tolist()
    assert constant["group_batch"].dims == ("group",)

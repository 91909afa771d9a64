"""Residual sds by stratum: the posterior against a plain grid, published estimates and refits."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import hiermodels as hm
from hiermodels.data.prepare import prepare
from hiermodels.errors import ImproperPosteriorError, PrecisionError, SpecError
from hiermodels.exact.block_data import block_model
from hiermodels.exact.block_reference import BlockReference
from hiermodels.exact.blocks.likelihood import maximize
from hiermodels.exact.blocks.marginal import BlockMarginal
from hiermodels.exact.blocks.model import BlockModel
from hiermodels.exact.blocks.posterior import BlockPosterior
from hiermodels.exact.blocks.propriety import check
from hiermodels.exact.blocks.sd_coordinates import Values
from tests.oracles.strata import Grid

GROWTH = "distance ~ age + (1 | Subject)"
PROPER = {
    "mu": hm.Normal(20, 10),
    "beta": hm.Normal(0, 2),
    "tau": hm.HalfNormal(3),
    "sigma": hm.HalfNormal(2),
    "sigma[Female]": hm.Exponential(1.0),
}


@pytest.fixture(scope="module")
def growth():
    return hm.datasets.load_orthodont()


@pytest.fixture(scope="module")
def exact(growth):
    return hm.reference(growth, GROWTH, residual_by="Sex")


@pytest.fixture(scope="module")
def plain(growth):
    x = np.stack([np.ones(108), growth["age"]], axis=1).reshape(27, 4, 2)
    y = growth["distance"].to_numpy().reshape(27, 4)
    stratum = (growth["Sex"] == "Female").to_numpy().reshape(27, 4)[:, 0].astype(int)
    low, high = (-1.6, -0.45, -1.5), (2.7, 1.75, 1.35)
    return Grid(x, y, stratum, low, high, 70)


def test_the_posterior_is_that_of_a_plain_grid(exact, plain):
    mean, sd = exact.at("zero").mean, exact.at("zero").sd
    known_mean, known_sd = plain.sds()
    found = np.array([mean["tau"], *mean["sigma"].sel(Sex=["Male", "Female"]).values])
    np.testing.assert_allclose((found - known_mean) / known_sd, 0.0, atol=1e-8)
    found = np.array([sd["tau"], *sd["sigma"].sel(Sex=["Male", "Female"]).values])
    np.testing.assert_allclose(found / known_sd, 1.0, atol=1e-8)
    known_mean, known_sd = plain.beta()
    found = np.array([mean["mu"], mean["beta"][0]])
    np.testing.assert_allclose((found - known_mean) / known_sd, 0.0, atol=1e-8)
    found = np.array([sd["mu"], sd["beta"][0]])
    np.testing.assert_allclose(found / known_sd, 1.0, atol=1e-8)


def test_quantiles_are_those_of_a_plain_grid(exact, plain):
    for p in (0.025, 0.5, 0.9):
        quantiles = exact.quantile(p, ["tau", "sigma"])
        sigma = quantiles["sigma"].isel(quantile=0).sel(Sex=["Male", "Female"])
        own = [quantiles["tau"], *sigma]
        found = [plain.below(j, value.item()) for j, value in enumerate(own)]
        np.testing.assert_allclose(found, p, atol=1e-6)


def test_two_spacings_agree(growth, exact):
    assert exact.certificate < 1e-8
    spec, data = prepare(growth, GROWTH, residual_by="Sex")
    marginal = BlockMarginal.of(block_model(spec, data))
    finer = BlockPosterior(marginal, *marginal.laid(0.35))
    coarser = BlockPosterior(marginal, *marginal.laid(0.5))
    (mean, sd), (other, other_sd) = finer.sd_moments(), coarser.sd_moments()
    np.testing.assert_allclose((mean - other) / sd, 0.0, atol=1e-9)
    np.testing.assert_allclose(other_sd / sd, 1.0, atol=1e-9)


def test_sigma_on_the_lattice_gives_the_same(growth):
    spec, data = prepare(growth, GROWTH, residual_by="Sex")
    model = block_model(spec, data)
    one, other = (
        BlockPosterior.of(replace(model, integrate_sigma=integrate)) for integrate in (True, False)
    )
    assert other.marginal.coordinates.dimension == one.marginal.coordinates.dimension + 1
    (mean, sd), (other_mean, other_sd) = one.sd_moments(), other.sd_moments()
    np.testing.assert_allclose((mean - other_mean) / sd, 0.0, atol=1e-7)
    np.testing.assert_allclose(other_sd / sd, 1.0, atol=1e-7)


def test_estimates_are_those_that_are_published(growth):
    """Pinheiro & Bates (2000), ``fm3Orth.lme``, with weights = varIdent(form = ~ 1 | Sex)."""
    growth = growth.assign(age=growth["age"] - 11)
    model = block_model(
        *prepare(growth, "distance ~ Sex*age + (1 + age | Subject)", residual_by="Sex")
    )
    found = maximize(model, restricted=True)
    female, male = found.residual_sds
    assert male == pytest.approx(1.62959, abs=2e-5)
    assert female / male == pytest.approx(0.40885, abs=2e-5)
    root = found.factors[0][..., 0] * found.sigma
    sds = np.sqrt((root**2).sum(axis=1))
    assert sds == pytest.approx([1.85498, 0.15652], abs=2e-5)
    assert (root @ root.T)[0, 1] / sds.prod() == pytest.approx(0.394, abs=6e-4)
    assert found.log_likelihood == pytest.approx(-205.76, abs=6e-3)


def scattered(groups=8, seed=3):
    """Rows of several strata within each group, in two schools."""
    rng = np.random.default_rng(seed)
    group = np.repeat(np.arange(groups), rng.integers(3, 7, groups))
    n = len(group)
    frame = pd.DataFrame({"g": group, "school": group // 4, "x": rng.normal(size=n)})
    frame["by"] = rng.choice(["lab", "field"], n)
    noise = np.where(frame["by"] == "lab", 0.4, 1.5) * rng.normal(size=n)
    return frame.assign(y=5 + frame["x"] + rng.normal(size=groups)[group] + noise)


def test_labels_of_strata_do_not_matter():
    """The stratum with the most rows, to which others are relative, is chosen by number."""
    frame = scattered()
    one = hm.reference(frame, "y ~ x + (1 | g)", residual_by="by", priors="weak")
    swapped = frame.sort_values("by", kind="stable")
    other = hm.reference(swapped, "y ~ x + (1 | g)", residual_by="by", priors="weak")
    for name in ("sigma", "tau", "mu"):
        xa = one.mean[name] - other.mean[name].reindex_like(one.mean[name])
        assert float(np.abs(xa / one.sd[name]).max()) < 1e-8


def test_equal_sds_by_a_prior_that_ties_them_is_the_model_without_strata():
    frame = scattered().assign(by=lambda df: np.where(df.index % 2, "a", "b"))
    fixed = {"sigma": hm.Fixed(1.1)}
    one = hm.reference(frame, "y ~ x + (1 | g)", residual_by="by", priors=fixed)
    other = hm.reference(frame, "y ~ x + (1 | g)", priors=fixed)
    for name in ("tau", "mu", "theta", "beta"):
        away = (one.mean[name] - other.mean[name]) / other.sd[name]
        assert float(np.abs(away).max()) < 1e-8


@pytest.mark.parametrize("formula", ["y ~ x + (1 | g)", "y ~ x + (1 | school/g)"])
def test_rows_and_groups_left_out_are_those_of_refits(formula):
    """With proper priors, ``p(y)/p(the rest)``."""
    frame = scattered()
    priors = {"sigma": hm.HalfNormal(2), "tau": hm.HalfNormal(2), "beta": hm.Normal(0, 3)}
    top = "lam" if "school" in formula else "mu"
    priors |= {top: hm.Normal(5, 5)} | ({"kappa": hm.Fixed(0.6)} if top == "lam" else {})
    how = {"residual_by": "by", "priors": priors}
    fit = hm.fit(frame, formula, **how, draws=250, random_seed=1)
    whole = fit.reference().log_marginal_likelihood
    loo = fit.loo()
    for row in (0, 17):
        rest = hm.reference(frame.drop(index=row), formula, **how).log_marginal_likelihood
        assert float(loo.elpd_i[row]) == pytest.approx(whole - rest, abs=1e-7)
    by_group = fit.loo("g")
    rest = hm.reference(frame[frame["g"] != 2], formula, **how).log_marginal_likelihood
    assert float(by_group.elpd_i[2]) == pytest.approx(whole - rest, abs=1e-7)


def test_draws_agree_with_the_posterior(growth):
    fit = hm.fit(growth, GROWTH, residual_by="Sex", priors=PROPER, random_seed=1)
    assert fit.datatree["posterior"]["sigma"].dims == ("chain", "draw", "Sex")
    assert hm.compare(fit, fit.reference()).passed
    within = hm.fit(scattered(), "y ~ x + (1 + x || g)", residual_by="by", random_seed=2)
    assert hm.compare(within, within.reference()).passed


def log_density(model, tau, deltas, sigma):
    """Log likelihood of two strata at single values."""
    log_theta = np.log(np.array([[tau], [deltas]]) / sigma)
    values = Values(log_theta, np.empty((0, 1)), np.log([sigma]), np.zeros(1))
    marginal = BlockMarginal(model, check(model))
    return float(marginal.log_density_of(values, marginal.root(values))[0])


def test_the_posterior_falls_along_rays_as_counted():
    """Of σ_k to infinity by itself, and with τ: exponents of its square."""
    model = block_model(*prepare(scattered(), "y ~ x + (1 | g)", residual_by="by"))
    far = np.array([1e4, 1e5])
    alone = [log_density(model, 1.0, value, 1.0) for value in far]
    both = [log_density(model, value, value, 1.0) for value in far]
    rays = {ray.sds: ray for ray in check(model).rays}
    for values, sds in ((alone, (1,)), (both, (0, 1))):
        slope = (values[1] - values[0]) / np.log((far[1] / far[0]) ** 2)
        assert slope == pytest.approx(-rays[sds].contrasts.number / 2, abs=1e-6)


def test_a_stratum_with_no_rows_to_spare_needs_a_proper_prior():
    """A single row in each of some groups, whose effects fit it exactly."""
    frame = scattered()
    frame.loc[frame.groupby("g").head(1).index[:4], "by"] = "new"
    model = block_model(*prepare(frame, "y ~ x + (1 | g)", residual_by="by"))
    assert [own.residual_df for own in model.by_stratum if "new" in own.sigma_name] == [0]
    with pytest.raises(ImproperPosteriorError, match=r"all 4 rows that have sigma\[new\] exactly"):
        hm.fit(frame, "y ~ x + (1 | g)", residual_by="by")
    proper = {"sigma[new]": hm.HalfNormal(1), "tau": hm.HalfNormal(2)}
    exact = hm.reference(frame, "y ~ x + (1 | g)", residual_by="by", priors=proper)
    assert exact.certificate < 1e-6
    spread = exact.sd["sigma"].sel(by="new")
    assert float(spread) == pytest.approx(0.6, abs=0.2)  # as under the prior, 0.60


def test_too_many_strata_are_refused_with_a_remedy(growth):
    with pytest.raises(SpecError, match=r"27 unknown sds .* engine='nuts'"):
        hm.reference(growth, GROWTH, residual_by="Subject")


def test_names_of_arrays_by_number(growth):
    model = block_model(*prepare(growth, GROWTH, residual_by="Sex"))
    plain = BlockModel(
        model.blocks, model.levels, model.sigma, model.mean, model.precision, strata=model.strata
    )
    assert [plain.sd_name(j) for j in (1, 2)] == ["the residual sd of stratum 0", "sigma"]
    assert [model.sd_name(j) for j in (0, 1, 2)] == ["tau", "sigma[Female]", "sigma[Male]"]


def test_a_lattice_that_cannot_be_laid_anew_is_done_without(monkeypatch):
    """Units for which a sum would take a finer lattice have a posterior of their own instead."""
    frame = scattered()
    priors = {"sigma": hm.HalfNormal(2), "tau": hm.HalfNormal(2)}
    fit = hm.fit(
        frame, "y ~ x + (1 | g)", residual_by="by", priors=priors, draws=100, random_seed=1
    )
    before = fit.loo().elpd_i

    def refuse(self, spacing):
        raise PrecisionError("no lattice")

    monkeypatch.setattr(BlockReference, "_relaid", refuse)
    again = hm.Fit(replace(fit.posterior, data=replace(fit.data))).loo().elpd_i
    np.testing.assert_allclose(again, before, atol=1e-7)

"""Statistics of crossed groups, and lazy frames of them, say what their rows do."""

from __future__ import annotations

import numpy as np
import pandas as pd
import polars as pl
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import hiermodels as hm
from hiermodels.exact.joint import log_joint

SIZES = 8, 5
PRIORS = {"tau": hm.HalfNormal(2.0), "mu": hm.Normal(100.0, 10.0), "beta": hm.Normal(0.0, 9.0)}
PLAIN, KNOWN, WEIGHTED = {"se": False}, {"se": "se"}, {"weights": "w", "se": False}
FORMULAS = {
    "none": "y ~ 1 + (1 | a) + (1 | b)",
    "within and between": "y ~ x + z + (1 | a) + (1 | b)",
    "no intercept": "y ~ 0 + x + (1 | a) + (1 | b)",
    "three": "y ~ x + (1 | a/c) + (1 | b)",
}


@pytest.fixture(scope="module")
def frame():
    """Cells of several rows, of one, and of none; the outcome far from 0."""
    rng, n = np.random.default_rng(3), 90
    a, b = rng.integers(0, SIZES[0], n), rng.integers(0, SIZES[1], n)
    made = pd.DataFrame({"a": [f"A{k}" for k in a], "b": b, "c": rng.integers(0, 2, n)})
    effects = rng.normal(size=SIZES[0])[a] + rng.normal(size=SIZES[1])[b]
    made["x"], made["z"] = rng.normal(size=n), (a % 3) * 1.0
    made["se"], made["w"] = rng.uniform(0.5, 2, n), rng.integers(1, 5, n)
    made["y"] = 100 + made.x + effects + rng.normal(size=n)
    return made


def agree(found, expected):
    """Means and sds of everything, to 1e-10."""
    for name, mean in expected.mean.items():
        labels, sd = {dim: mean[dim] for dim in mean.dims}, expected.sd[name]
        assert (np.abs(found.mean[name].sel(labels) - mean) <= 1e-10 * sd).all()
        assert_allclose(found.sd[name].sel(labels), sd, rtol=1e-10)


@pytest.mark.parametrize(
    ("kind", "columns"),
    [
        ("none", PLAIN),
        ("none", KNOWN),
        ("within and between", PLAIN),
        ("within and between", WEIGHTED),
        ("no intercept", KNOWN),
        ("three", PLAIN),
    ],
)
def test_the_posterior_is_that_of_the_rows(frame, kind, columns):
    """Of statistics, of parts that are added, and of a frame that is never collected."""
    formula = FORMULAS[kind]
    priors = {"tau": hm.HalfNormal(2.0)}
    if kind == "three":  # one lattice dimension less
        priors["tau_c"] = hm.Fixed(0.3)
        priors["sigma"] = hm.Fixed(1.0)
    expected = hm.reference(frame, formula, priors=priors, **columns)
    parts = [
        hm.SufficientStatistics.of(own, formula, **columns) for own in (frame[:40], frame[40:])
    ]
    agree(hm.reference(sum(parts), priors=priors), expected)
    lazy = pl.from_pandas(frame).lazy()
    agree(hm.reference(lazy, formula, priors=priors, **columns), expected)


@pytest.fixture(scope="module")
def statistics(frame):
    return hm.SufficientStatistics.of(frame, FORMULAS["within and between"], se=False)


@pytest.fixture(scope="module")
def fits(frame, statistics):
    priors = PRIORS | {"sigma": hm.HalfNormal(3.0)}
    formula = FORMULAS["within and between"]
    rows = hm.fit(frame, formula, se=False, priors=priors, draws=50, random_seed=1)
    return hm.fit(statistics, priors=priors, draws=50, random_seed=1), rows


def test_evidence_and_joint_densities(fits):
    found, expected = (fit.reference().log_marginal_likelihood for fit in fits)
    assert found == pytest.approx(expected, abs=1e-9)
    posterior = fits[1].datatree["posterior"].to_dataset()
    variables = {name: values.to_numpy() for name, values in posterior.data_vars.items()}
    densities = [log_joint(fit.spec, fit.data, variables) for fit in fits]
    assert_allclose(*densities, rtol=0, atol=1e-10)
    assert set(fits[0].datatree["posterior"].data_vars) == set(variables)
    assert fits[0].datatree["observed_data"].sizes == {"cell": len(fits[0].data.count)}


def test_tables_files_and_predictions(fits, tmp_path):
    new = pd.DataFrame({"a": ["A1", "new"], "b": [2, 3], "x": [0.0, 1.0], "z": [1.0, 0.0]})
    for ask in (
        lambda fit: fit.predict(new).to_frame(),
        lambda fit: fit.rank("a").table,
        lambda fit: pd.read_parquet(fit.to_parquet(tmp_path / "groups.parquet", level="a")),
    ):
        pd.testing.assert_frame_equal(ask(fits[0]), ask(fits[1]), rtol=1e-5, check_exact=False)
    again = hm.load(fits[0].to_netcdf(tmp_path / "fit.nc"))
    assert_array_equal(again.data.crossed, fits[0].data.crossed)
    agree(again.reference(), fits[0].reference())
    for refused in (lambda fit: fit.loo("a"), lambda fit: fit.loo(), lambda fit: fit.check()):
        with pytest.raises(hm.SpecError, match="Fit the rows themselves"):
            refused(fits[0])


def test_statistics_are_saved_and_say_what_they_are(statistics, tmp_path):
    again = hm.load_statistics(statistics.to_netcdf(tmp_path / "statistics.nc"))
    assert_array_equal(again.crossed, statistics.crossed)
    assert str(again) == "90 rows in 8 a, 5 b"
    assert repr(again) == "SufficientStatistics(90 rows in 8 a, 5 b)"


def test_pymc_models_are_the_same(frame, statistics):
    models = [
        hm.build_model(statistics, priors=PRIORS),
        hm.build_model(frame, FORMULAS["within and between"], se=False, priors=PRIORS),
    ]
    assert set(models[0].named_vars) == set(models[1].named_vars)
    first, second = (float(m.compile_logp(mode="FAST_COMPILE")(m.initial_point())) for m in models)
    assert first == pytest.approx(second, rel=1e-12)


def test_statistics_whose_groups_are_nested():
    pastes = hm.datasets.load_pastes()
    pastes["jar"] = pastes["batch"] + pastes["cask"]
    formula = "strength ~ 1 + (1 | jar) + (1 | batch)"
    statistics = hm.SufficientStatistics.of(pastes[:30], formula)
    statistics += hm.SufficientStatistics.of(pastes[30:], formula)
    assert statistics.roles.nesting  # parts may be nested by chance
    priors = {"tau_batch": hm.HalfNormal(3.0), "tau_jar": hm.HalfNormal(5.0)}
    expected = hm.reference(pastes, formula, priors=priors)
    assert "mu" in expected.mean
    agree(hm.reference(statistics, priors=priors), expected)
    agree(hm.reference(pl.from_pandas(pastes).lazy(), formula, priors=priors), expected)


def test_parts_have_to_cross_the_same_columns(frame):
    parts = [
        hm.SufficientStatistics.of(frame, formula, se=False)
        for formula in ("y ~ 1 + (1 | a) + (1 | b)", "y ~ 1 + (1 | a/b)")
    ]
    with pytest.raises(hm.SpecError, match="nesting is"):
        parts[0] + parts[1]
    named = frame.rename(columns={"b": "cell"})
    with pytest.raises(hm.SpecError, match="rename it"):
        hm.SufficientStatistics.of(named, "y ~ 1 + (1 | a) + (1 | cell)", se=False)

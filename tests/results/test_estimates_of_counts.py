"""Estimates of groups of counts: raw, pooled, maximum likelihood, posterior."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import special

import hiermodels as hm
from tests.oracles.count_figures import model

SURGICAL = {"outcome": "deaths", "trials": "cases", "groups": "hospital"}
HALF = {"tau": hm.HalfNormal(1)}


def fit(data, **options):
    return hm.fit(data, draws=10, random_seed=1, **{"priors": HALF, **options})


@pytest.fixture(scope="module")
def surgical():
    return fit(hm.datasets.load_surgical(), **SURGICAL)


def test_the_table_of_hospitals(surgical):
    data, found = hm.datasets.load_surgical(), surgical.estimates()
    table, r, n = found.table, data["deaths"].to_numpy(), data["cases"].to_numpy()
    assert list(table) == ["raw", "raw_se", "pooled", "eb", "eb_sd", "mean", "sd"]
    np.testing.assert_allclose(table["raw"], r / n, rtol=1e-10)
    se = np.sqrt(r / n * (1 - r / n) / n)
    np.testing.assert_allclose(table["raw_se"], np.where(r > 0, se, np.nan), rtol=1e-9)
    np.testing.assert_allclose(table["pooled"], r.sum() / n.sum(), rtol=1e-10)
    exact = surgical.reference()
    np.testing.assert_array_equal(table["mean"], exact.mean["p"])
    np.testing.assert_array_equal(table["sd"], exact.sd["p"])
    assert found.method == "ml"
    assert found.sds["tau"] == pytest.approx(0.3576982, rel=1e-6)  # 4,001 even places, Nelder–Mead
    assert found.coefficients.loc["mu", "estimate"] == pytest.approx(-2.5439590, rel=1e-7)
    np.testing.assert_array_equal(found.on_link["mean"], exact.mean["theta"])
    raw = found.on_link["raw"].to_numpy()
    assert np.isnan(raw[0])
    np.testing.assert_allclose(raw[1:], special.logit((r / n)[1:]), rtol=1e-10)
    between = (table["eb"] - table["pooled"]) * (table["raw"] - table["pooled"])
    assert (between > 0).all()
    assert "deaths ~ Binomial" in repr(found)
    assert "on the scale of the link" in repr(found)


def test_published_estimates_of_rare_events():
    """metafor, ``rma.glmm(measure = "OR", model = "CM.EL")`` of Niel-Weise et al. 2007."""
    data, said = model("nielweise2007_half_normal0.5")
    found = fit(data, **said).estimates()
    assert found.on_link is None
    assert found.sds["tau"] == pytest.approx(0.8327, abs=5e-5)
    assert found.coefficients.loc["mu", "estimate"] == pytest.approx(-1.3532, abs=5e-5)


def test_rows_of_one_trial_and_sums_say_the_same(surgical):
    data = hm.datasets.load_surgical()
    events = [[1] * r + [0] * (n - r) for r, n in zip(data["deaths"], data["cases"], strict=True)]
    rows = data.loc[data.index.repeat(data["cases"]), ["hospital"]].assign(
        died=np.concatenate(events)
    )
    single = fit(
        rows.reset_index(drop=True), outcome="died", groups="hospital", family="binomial"
    ).estimates()
    summed = fit(rows_as_statistics(data), **SURGICAL).estimates()
    for other in (single, summed):
        pd.testing.assert_frame_equal(
            pd.DataFrame(other.table), pd.DataFrame(surgical.estimates().table), rtol=1e-7
        )
        assert other.sds["tau"] == pytest.approx(surgical.estimates().sds["tau"], rel=1e-8)


def rows_as_statistics(data):
    import duckdb

    return duckdb.connect().from_df(data)


def test_exposures_that_are_offsets():
    pumps = hm.datasets.load_pumps()
    said = {"outcome": "failures", "groups": "pump"}
    by_exposure = fit(pumps, exposure="hours", **said).estimates()
    logs = pumps.assign(log_hours=np.log(pumps["hours"]))
    by_offset = fit(logs, offset="log_hours", family="poisson", **said).estimates()
    rates = pumps["failures"] / pumps["hours"]
    np.testing.assert_allclose(by_exposure.table["raw"], rates, rtol=1e-10)
    np.testing.assert_allclose(
        by_exposure.table["raw_se"], np.sqrt(pumps["failures"]) / pumps["hours"], rtol=1e-9
    )
    columns = ["raw", "raw_se", "pooled", "eb", "eb_sd"]
    np.testing.assert_allclose(by_offset.table[columns], by_exposure.table[columns], rtol=1e-8)


def test_effects_at_other_covariates():
    data, said = model("seeds_half_normal1")
    seeds = fit(data, **said)
    own, zero = (seeds.estimates(at=at) for at in ("own", "zero"))
    beta = own.coefficients["estimate"].to_numpy()[1:]
    shift = data[["x1", "x2"]].to_numpy(float) @ beta
    for column in ("raw", "pooled", "eb"):
        pooled = column == "pooled"  # whose slopes are others
        moved = own.on_link[column] - zero.on_link[column]
        known = np.isfinite(moved)
        assert np.allclose(moved[known], shift[known], atol=1e-9) != pooled
    np.testing.assert_array_equal(own.on_link["eb_sd"], zero.on_link["eb_sd"])
    pd.testing.assert_frame_equal(pd.DataFrame(own.table), pd.DataFrame(zero.table))
    assert "all at each group's own covariates" in zero.table.attrs["notes"]
    middle = seeds.estimates(at="means").coefficients
    at = data[["x1", "x2"]].to_numpy(float).mean(axis=0)
    expected = own.coefficients if np.allclose(at, 0) else zero.coefficients
    assert middle.loc["mu", "estimate"] == pytest.approx(
        expected.loc["mu", "estimate"] + at @ beta, rel=1e-9
    )
    assert middle.loc["mu", "se"] != pytest.approx(zero.coefficients.loc["mu", "se"], rel=1e-3)


def test_errors_against_the_truth(surgical):
    truth = surgical.reference().mean["p"].to_numpy()
    errors = surgical.estimates(truth=truth).errors
    assert errors.loc["posterior mean", "sse"] == 0
    assert errors.loc["raw", "sse"] > errors.loc["eb", "sse"] > 0


def test_a_group_without_trials_has_no_raw_value():
    data = hm.datasets.load_surgical()
    data.loc[1, ["deaths", "cases"]] = 0
    found = fit(data, **SURGICAL).estimates(truth=np.full(12, 0.1))
    assert np.isnan(found.table["raw"]).tolist() == [i == 1 for i in range(12)]
    assert np.isfinite(found.table["eb"]).all()
    assert np.isnan(found.errors.loc["raw", "sse"])
    assert found.table["eb"].iloc[1] != found.table["pooled"].iloc[1]


@pytest.mark.parametrize(
    ("method", "words"),
    [("reml", "contrasts of normal rows"), ("dl", "known standard errors"), ("x", "expected one")],
)
def test_methods_that_are_not_of_counts(surgical, method, words):
    with pytest.raises(hm.SpecError, match=words):
        surgical.estimates(method=method)


def test_the_method_of_counts_can_be_named(surgical):
    pd.testing.assert_frame_equal(
        pd.DataFrame(surgical.estimates(method="ml").table),
        pd.DataFrame(surgical.estimates().table),
    )


def test_coefficients_that_only_priors_bound():
    data = hm.datasets.load_surgical().assign(deaths=0)
    proper = fit(data, **SURGICAL, priors={"mu": hm.Normal(0, 2.5), **HALF})
    with pytest.raises(hm.SpecError, match="nothing bounds mu"):
        proper.estimates()


def test_what_the_likelihood_does_not_determine():
    rows = pd.DataFrame({"g": list("abcdef"), "y": [0, 1, 1, 0, 1, 1]})
    found = fit(rows, outcome="y", groups="g", family="binomial").estimates()
    assert np.isnan(found.sds["tau"])
    assert np.isnan(found.table[["eb", "eb_sd"]]).all(axis=None)
    np.testing.assert_allclose(found.table["pooled"], 4 / 6, rtol=1e-9)
    assert "does not depend on tau" in " ".join(found.table.attrs["notes"])


def test_a_fixed_tau():
    known = fit(hm.datasets.load_surgical(), **SURGICAL, priors={"tau": hm.Fixed(0.3)}).estimates()
    assert known.sds == {"tau": 0.3}
    assert "fixed, not estimated" in " ".join(known.table.attrs["notes"])
    assert (known.table["eb_sd"] > 0).all()


def test_estimates_in_a_report(surgical, tmp_path):
    page = surgical.report(tmp_path / "page.html").read_text(encoding="utf-8")
    assert "Estimates of each hospital, without, with full and with partial pooling" in page
    assert "the group&#x27;s own proportion" in page or "the group's own proportion" in page

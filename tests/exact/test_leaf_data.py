"""Likelihoods and covariates of groups of counts, from rows, from their totals, and lazily."""

from __future__ import annotations

import numpy as np
import pandas as pd
import polars as pl
import pytest

import hiermodels as hm
from hiermodels.data.prepare import prepare
from hiermodels.exact.leaf_data import group_covariates
from hiermodels.exact.moments import moments_of
from tests.data import counts

PROPER = {"mu": hm.Normal(0, 2), "tau": hm.HalfNormal(1)}
CASES = {
    "shifted trials": "deaths | trials(cases) ~ offset(shift) + (1 | hospital)",
    "exposure": "events | rate(hours) ~ (1 | hospital)",
    "shifted events": "events ~ offset(own) + offset(log(hours)) + (1 | hospital)",
}


def test_covariates_of_rows_are_left_to_nuts():
    frame = counts.rows().rename(columns={"own": "weight"})
    _, rows = prepare(frame, "deaths | trials(cases) ~ size + weight + (1 | hospital)")
    with pytest.raises(hm.SpecError) as told:
        group_covariates(rows)
    first = frame["hospital"][0]
    assert str(told.value).startswith(
        "covariates: engine 'exact' takes covariates that are constant within each group where "
        f"rows are not normal; 'weight' differs within hospital '{first}'"
    )
    assert "engine='nuts'" in str(told.value)


def test_covariates_of_groups_are_those_of_their_rows():
    frame = counts.rows()
    _, rows = prepare(frame, "deaths | trials(cases) ~ size + C(kind) + (1 | hospital)")
    found = group_covariates(rows)
    for label, x in zip(rows.labels[0], found, strict=True):
        row = frame[frame["hospital"] == label].iloc[0]
        assert x.tolist() == [row["size"], row["kind"] == "b", row["kind"] == "c"]


@pytest.mark.parametrize("case", CASES)
def test_posteriors_are_those_of_the_rows(case):
    """From statistics of them, of two parts, and from where they lie; with all constants."""
    frame, formula = counts.rows(), CASES[case]
    of = hm.SufficientStatistics.of
    exact = hm.reference(frame, formula, priors=PROPER)
    others = {
        "statistics": of(frame, formula),
        "parts": of(frame[:150], formula) + of(frame[150:], formula),
    }
    found = {name: hm.reference(data, priors=PROPER) for name, data in others.items()}
    found["lazy"] = hm.reference(pl.from_pandas(frame).lazy(), formula, priors=PROPER)
    for other in found.values():
        for name in exact.spec.variables:
            same = {dim: exact.mean[dim] for dim in exact.spec.dims(name)}
            gap = (other.mean[name].sel(same) - exact.mean[name]) / exact.sd[name]
            assert float(np.abs(gap).max()) < 1e-9
        marginal = exact.log_marginal_likelihood
        assert other.log_marginal_likelihood == pytest.approx(marginal, abs=1e-9)


@pytest.mark.parametrize("case", CASES)
def test_draws_from_statistics_are_those_from_the_rows(case):
    frame = counts.rows()
    roles = {"priors": PROPER, "draws": 20, "random_seed": 1}
    exact = hm.fit(frame, CASES[case], **roles)
    found = hm.fit(hm.SufficientStatistics.of(frame, CASES[case]), **roles)
    for name, draws in exact.datatree["posterior"].data_vars.items():
        np.testing.assert_allclose(found.datatree["posterior"][name], draws, rtol=1e-8, atol=1e-9)
    lp = [one.datatree["sample_stats"]["lp"] for one in (found, exact)]
    np.testing.assert_allclose(*lp, rtol=1e-9)
    dim = found.data.observations.dim
    assert found.datatree["observed_data"][found.spec.outcome].dims == (dim,)


def test_statistics_of_counts_in_a_file_are_fitted_as_before(tmp_path):
    formula = CASES["exposure"]
    statistics = hm.SufficientStatistics.of(counts.rows(), formula)
    loaded = hm.load_statistics(statistics.to_netcdf(tmp_path / "statistics.nc"))
    roles = {"priors": PROPER, "draws": 20, "random_seed": 1}
    a, b = hm.fit(statistics, **roles), hm.fit(loaded, **roles)
    assert a.datatree.equals(b.datatree)
    again = hm.load(a.to_netcdf(tmp_path / "fit.nc"))
    assert again.datatree.equals(a.datatree)
    assert again.data.totals["exposure"].tolist() == statistics.totals["exposure"].tolist()


def test_moments_are_counted_where_the_exact_engine_cannot_go():
    """Of three levels, and of covariates that differ within groups, which NUTS takes."""
    data = pd.DataFrame({"o": list("aabbccdd") * 3, "g": list("stuvwxyz") * 3, "r": 1, "n": 4})
    data["x"] = np.repeat([0.0, 1.0, 3.0], 8)
    roles = {"outcome": "r", "trials": "n"}
    for groups, priors, exists in (
        (["o", "g"], {"kappa": hm.HalfNormal(1), "tau": hm.HalfNormal(1)}, True),
        (["o", "g"], {"kappa": hm.FlatVariance(), "tau": hm.HalfNormal(1)}, False),
    ):
        spec, grouped = prepare(data, **roles, groups=groups, priors=priors)
        assert moments_of(spec, grouped).exist(["kappa"], 2) is exists
    spec, grouped = prepare(data, **roles, groups="g", covariates="x")
    assert moments_of(spec, grouped).exist(["tau", "mu", "theta", "beta"], 2)

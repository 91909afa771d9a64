"""Groups of counts left out: against figures of another code, and fits without them."""

from __future__ import annotations

import numpy as np
import pytest

import hiermodels as hm
from tests.oracles.count_figures import FIGURES, model

NAMES = ["surgical_half_normal1", "surgical_flat_variance", "pumps_half_normal1"]


@pytest.mark.parametrize("name", NAMES)
def test_figures_of_another_code(name):
    data, said = model(name)
    loo = hm.fit(data, **said, draws=10, random_seed=1).loo("group")
    figures = FIGURES[name]
    assert loo.certificate < 1e-6
    assert loo.elpd == pytest.approx(figures["elpd"], abs=1e-8)
    np.testing.assert_allclose(loo.elpd_i, figures["elpd_i"], atol=1e-9)
    by_row = hm.fit(data, **said, draws=10, random_seed=1).loo()
    np.testing.assert_array_equal(by_row.elpd_i, loo.elpd_i)


def test_the_difference_of_two_marginal_likelihoods():
    data, said = model("surgical_proper")
    loo = hm.fit(data, **said, draws=10, random_seed=1).loo("group")
    whole = hm.reference(data, **said).log_marginal_likelihood
    for group in (0, 7):
        rest = hm.reference(data.drop(index=group), **said).log_marginal_likelihood
        assert loo.elpd_i[group].item() == pytest.approx(whole - rest, abs=1e-9)


def test_a_group_that_the_posterior_needs():
    data = hm.datasets.load_surgical().head(5)
    said = {"outcome": "deaths", "trials": "cases", "groups": "hospital"}
    fit = hm.fit(data, **said, draws=10, random_seed=1)
    with pytest.warns(UserWarning, match="'B', 'C', 'D', 'E' cannot be left out"):
        loo = fit.loo("group")
    assert np.isnan(loo.elpd_i).values.tolist() == [False, True, True, True, True]


def test_rows_of_groups_with_several():
    data, said = model("surgical_half_normal1")
    twice = data.assign(r=data["r"] * 2, n=data["n"] * 2)
    rows = twice.loc[twice.index.repeat(2)].assign(r=data["r"].repeat(2), n=data["n"].repeat(2))
    fit = hm.fit(rows.reset_index(drop=True), **said, draws=10, random_seed=1)
    with pytest.raises(hm.SpecError, match="Say unit='group'"):
        fit.loo()


def test_variance_components_are_on_the_latent_scale():
    data, said = model("surgical_half_normal1")
    fit = hm.fit(data, **said, draws=4000, random_seed=1)
    table = fit.variance_components()
    tau = fit.datatree["posterior"]["tau"].to_numpy().ravel()
    share = tau**2 / (tau**2 + np.pi**2 / 3)
    for name, values in (("tau", tau), ("tau²", tau**2), ("share[group]", share)):
        z = (values.mean() - table.loc[name, "mean"]) / values.std() * np.sqrt(len(values))
        assert abs(z) < 4
        assert table.loc[name, "sd"] == pytest.approx(values.std(), rel=0.05)
        below = (values < table.loc[name, "median"]).mean()
        assert below == pytest.approx(0.5, abs=0.02)
